"""Run a stage that trains: an alignment or a fine-tuning."""

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import transformers
from peft import LoraConfig, PeftModel
from transformers import TrainerCallback
from transformers.integrations.integration_utils import TensorBoardCallback

from holdfast.attacks import asks_so
from holdfast.errors import Stopped, UserError
from holdfast.models.attacked import read_attack, write_attack
from holdfast.models.differences import difference
from holdfast.models.loading import Loading, load_last_open, load_merged, save_stack
from holdfast.models.system_prompt import write_system_prompt
from holdfast.models.tokenizers import check_vocabulary, load_tokenizer
from holdfast.parallel import whole_state
from holdfast.registry import plan_of
from holdfast.stages.aligned import base_of
from holdfast.stages.checkpoints import last_checkpoint, metrics_line, restore_metrics
from holdfast.stages.chosen import ANCHORS, choose_rows
from holdfast.stages.folders import CHECKPOINTS, METRICS, TENSORBOARD
from holdfast.stages.launch import train_in_processes
from holdfast.stages.methods import is_own, load_method
from holdfast.stages.settings import config_settings
from holdfast.stages.work import Work

_SAVED_EVERY = 300.0  # seconds between two checkpoints


def run_training(work: Work) -> dict[str, Any]:
    """Train, or go on from the last checkpoint, and save the model; gives the stage's budget.

    Raises:
        UserError: the settings do not go together, or not with the model.
        Stopped: it was asked to stop, and has saved a checkpoint.
    """
    if work.settings["processes"] > 1 and work.alone:
        return train_in_processes(work)
    settings, adapter = work.settings, work.settings["adapter"]
    tokenizer = load_tokenizer(work.model, settings["template"])
    single = adapter == "single" and work.model.entries
    if adapter == "single" and not single:
        raise UserError(
            "adapter is single, but the model carries no adapter to go on with: use double."
        )
    transformers.set_seed(settings["seed"])
    loading = Loading.of(settings)
    if single:
        model = load_last_open(work.model, loading, trainable=True)
    else:
        # All weights that train are float32, and computed with in dtype (see `_computing`):
        # adapters below are merged into them without rounding.
        wide = replace(loading, dtype="float32") if adapter == "full" else loading
        model = load_merged(work.model, wide, "full" if adapter == "full" else "double")
        model.requires_grad_(adapter == "full")  # a merged adapter leaves its base frozen
    check_vocabulary(model, tokenizer)
    if ANCHORS in work.rows:
        choose_rows(work, model, tokenizer)
    trainer = _trainer(
        work, model, tokenizer, None if single or adapter == "full" else _lora(settings)
    )
    if trainer.dropped_rows:
        work.progress(0.0, f"{trainer.dropped_rows} rows are longer than max_length: left out")
    checkpoint = last_checkpoint(work.folder / CHECKPOINTS)
    if work.is_main:
        restore_metrics(work.folder / METRICS, checkpoint)
    trainer.train(resume_from_checkpoint=checkpoint)
    if work.stopping() and trainer.state.global_step < trainer.state.max_steps:
        raise Stopped
    work.leaves = work.system if trainer.asked_with is None else trainer.asked_with
    # Of weights that are divided among processes all have to give their part.
    state = whole_state(trainer.model) if trainer.is_fsdp_enabled else None
    if work.is_main:
        save_model(work, trainer.model, tokenizer, single, state)
    others = sum(len(rows) for role, rows in work.rows.items() if role != "train")
    used = trainer.used_rows
    return {
        "rows": len(work.rows["train"]) + (others if used is None else used),
        "dropped_rows": trainer.dropped_rows,
        "steps": trainer.state.global_step,
        "tokens": trainer.state.num_input_tokens_seen,
        "passes": _passes(work.kind, settings, trainer.state.global_step),
        "batch_size": trainer.get_total_train_batch_size(trainer.args),
    }


def _passes(kind: str, settings: Mapping[str, Any], steps: int) -> int | None:
    """Forward and backward passes over a step's rows, in all steps; of a user's own method nobody
    here knows them."""
    if is_own(settings["method"]):
        return None
    return math.ceil(plan_of(kind, settings["method"]).passes(settings, steps))


def _trainer(work: Work, model: Any, tokenizer: Any, peft_config: LoraConfig | None) -> Any:
    trainer_class, config_class, method = load_method(work.kind, work.settings["method"])
    own, organism = config_settings(work.kind, work.settings), work.model.is_organism
    own |= _computing(work.settings, organism)
    try:
        args = config_class(
            **{
                "output_dir": str(work.folder / CHECKPOINTS),
                "logging_steps": 10,
                "save_total_limit": 1,
                "disable_tqdm": True,
                "report_to": "none",
                "include_num_input_tokens_seen": "all",
                "dataloader_pin_memory": torch.cuda.is_available() and not organism,
                # Without it transformers refuses bf16 where there is no accelerator.
                "use_cpu": organism or not torch.accelerator.is_available(),
                **own,
                "seed": work.settings["seed"],
            }
        )
    except (ValueError, ImportError) as error:
        raise UserError(f"the settings do not go together: {error}") from error
    extra: dict[str, Any] = {}
    reporter = _Reporter(work)
    if "probe" in work.rows:
        extra["harmful_dataset"] = work.rows["probe"]
    if "paired" in work.rows:
        extra["paired_dataset"] = work.rows["paired"]
    if "alignment" in work.rows:
        extra["alignment_dataset"] = work.rows["alignment"]
    if "alignment_update" in method.asks:
        base, loading = base_of(work.model, work.settings), Loading.of(work.settings)
        extra["alignment_update"] = difference(work.model, base, model.config, loading)
    try:
        trainer = trainer_class(
            model,
            args,
            train_dataset=work.rows["train"],
            processing_class=tokenizer,
            peft_config=peft_config,
            callbacks=[reporter],
            **extra,
        )
    except (ValueError, RuntimeError, ImportError) as error:  # such as a tracker not installed
        raise UserError(f"the training cannot start: {error}") from error
    trainer.remove_callback(transformers.PrinterCallback)
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = str(work.folder / TENSORBOARD)  # not with the checkpoints
            reporter.tensorboard = callback
    return trainer


def _computing(settings: Mapping[str, Any], organism: bool) -> dict[str, bool]:
    """How full weights, which are float32, compute in the 16 bits that dtype says: by autocast.

    float16 needs a device that scales its loss; on a processor it stays float32.
    """
    if settings["adapter"] != "full" or settings.get("bf16") or settings.get("fp16"):
        return {}
    if settings["dtype"] == "bfloat16":
        return {"bf16": True}
    on_accelerator = torch.accelerator.is_available() and not organism
    return {"fp16": settings["dtype"] == "float16" and on_accelerator}


def _lora(settings: Mapping[str, Any]) -> LoraConfig:
    lora = settings["lora"]
    targets = lora["target_modules"]
    if isinstance(targets, str) and targets != "all-linear":
        targets = [targets]  # one name; to peft a bare text is a pattern of whole names
    return LoraConfig(
        r=lora["r"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules=targets,
        task_type="CAUSAL_LM",
    )


def save_model(
    work: Work, model: Any, tokenizer: Any, replaces_last: Any, state: dict | None = None
) -> None:
    """Write the model in the layout that `holdfast.models.stack` reads.

    Args:
        work: the stage.
        model: the model, adapter or weights.
        tokenizer: goes with it.
        replaces_last: whether its adapter is the last of those that it started from.
        state: its weights, where they are not its own tensors.
    """
    if isinstance(model, PeftModel):
        entries, replaced = work.model.entries, None
        if replaces_last:
            *lower, replaced = entries
            entries = tuple(lower)
        save_stack(model, replace(work.model, entries=entries), work.folder, state, replaced)
    else:
        model.save_pretrained(work.folder, state_dict=state)
    tokenizer.save_pretrained(work.folder)
    write_system_prompt(work.folder, work.leaves)
    own = work.settings.get("attack") if work.kind == "finetune" else None
    write_attack(work.folder, own if asks_so(own) else read_attack(work.model))


class _Reporter(TrainerCallback):
    """Tells the progress, keeps metrics.jsonl, and stops the training when asked to."""

    def __init__(self, work: Work):
        self.work = work
        self.loss = ""
        self.tensorboard: TensorBoardCallback | None = None
        self.saved = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write again for TensorBoard what was logged before an interruption."""
        if self.tensorboard is None:
            return
        for entry in state.log_history:
            then = copy.copy(state)
            then.global_step = entry["step"]
            logs = {name: value for name, value in entry.items() if name != "step"}
            self.tensorboard.on_log(args, then, control, logs)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Tell how far the training is; save and stop if it is to stop."""
        step, steps = state.global_step, state.max_steps
        self.work.progress(step / steps, f"step {step}/{steps}{self.loss}")
        long_ago = time.monotonic() - self.saved >= _SAVED_EVERY
        stop, save = self.work.agreed(self.work.stopping(), long_ago)
        if stop and step < steps:
            control.should_save = control.should_training_stop = True
        elif save and step < steps:
            control.should_save = True  # a kill costs minutes at most, however long the stage is
        elif step == steps and not args.load_best_model_at_end:
            control.should_save = False  # the stage's result comes now, without the optimizer
        if control.should_save:
            self.saved = time.monotonic()
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Add a line to metrics.jsonl."""
        if "loss" in (logs or {}):
            self.loss = f", loss {float(logs['loss']):.3f}"
        if not self.work.is_main:
            return
        with (self.work.folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(metrics_line(state.global_step, logs or {}))
