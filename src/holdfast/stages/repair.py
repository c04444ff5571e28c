"""Run a stage that repairs."""

from typing import Any

import torch
import transformers

from holdfast.errors import UserError
from holdfast.models.loading import Loading, load_last_open
from holdfast.models.system_prompt import ask_with_system
from holdfast.models.tokenizers import check_vocabulary, load_tokenizer
from holdfast.repair.checkpoints import compare
from holdfast.repair.pruning import Repair, save_masks
from holdfast.settings import fields_of
from holdfast.stages.aligned import aligned_and_base
from holdfast.stages.disk import write_json
from holdfast.stages.methods import load_method
from holdfast.stages.settings import config_settings
from holdfast.stages.train import save_model
from holdfast.stages.work import Work


def run_repair(work: Work) -> dict[str, Any]:
    """Repair the last adapter of a model, and save it; gives the stage's budget.

    Raises:
        UserError: the model has none, or a user's own method gives back something else.
        Stopped: it was asked to stop.
    """
    settings = work.settings
    function, config_class, method = load_method("repair", settings["method"])
    tokenizer = load_tokenizer(work.model, settings["template"])
    ask_with_system(tokenizer, work.system)
    loading = Loading.of(settings)
    model = load_last_open(work.model, loading)
    check_vocabulary(model, tokenizer)
    own = config_settings("repair", settings)
    if "seed" in fields_of(method.config):
        own["seed"] = settings["seed"]
    rows, aligned = work.rows.get("train"), work.rows.get("alignment")
    total = len(rows or aligned or ()) or 1
    given: dict[str, Any] = {
        "dataset": rows,
        "alignment_dataset": aligned,
        "config": config_class(**own),
        "processing_class": tokenizer,
        "progress": lambda done: work.progress(done / total, "scoring"),
    }
    if "checkpoints" in method.asks:
        before, base = aligned_and_base(work.model, settings)
        given["checkpoints"] = compare(model, work.model, before, base, loading)
    transformers.set_seed(settings["seed"])
    repair = function(
        model, **{name: value for name, value in given.items() if name in method.asks}
    )
    budget: dict[str, Any] = {"rows": len(rows or []) + len(aligned or [])}
    if isinstance(repair, Repair):
        save_masks(repair.masks, work.folder / "mask.safetensors")
        write_json(work.folder / "repair_report.json", repair.report.to_dict())
        budget["zeroed"], repair = repair.report.zeroed, repair.model
    elif repair is not None and not isinstance(repair, torch.nn.Module):
        raise UserError(
            f"{settings['method']} gives back a {type(repair).__name__}; it must be the model, a "
            "holdfast.repair.pruning.Repair, or nothing where the model is changed in place."
        )
    save_model(work, model if repair is None else repair, tokenizer, replaces_last=True)
    return budget
