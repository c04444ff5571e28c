"""A LoRA adapter that is trained in another one's place, on the model below it."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedTokenizerBase, TrainerCallback

from holdfast.models.adapters import NEW, activate
from holdfast.models.differences import adapter_updates
from holdfast.models.updates import Update
from holdfast.training import SFTConfig, SFTTrainer

_SAFE = "safe"


def safe_adapter(
    model: PeftModel,
    rows: Sequence[Mapping[str, Any]],
    training: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase | None = None,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Update]:
    """Train an adapter of the last one's rank and modules from the start, by plain SFT.

    Args:
        model: a model with adapters, the last of which is left out; it is as it was afterwards.
        rows: what is trained on.
        training: settings of `SFTConfig`; ``seed`` decides the first weights too.
        tokenizer: not needed for tokenized rows.
        progress: called after each step with the number of rows done, as parts of one pass.

    Returns:
        What the new adapter adds to each weight.
    """
    lora: Any = deepcopy(model.peft_config[NEW])
    lora.inference_mode, lora.init_lora_weights = False, True
    below = [name for name in model.peft_config if name != NEW]
    with torch.random.fork_rng():
        torch.manual_seed(training["seed"])
        model.add_adapter(_SAFE, lora)
    model.base_model.set_adapter([_SAFE, *below])  # pyright: ignore (a tuner's)
    model.active_adapter = _SAFE
    if below:
        model.set_requires_grad(below, False)
    with tempfile.TemporaryDirectory() as folder:
        args = SFTConfig(
            output_dir=folder,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=next(model.parameters()).device.type == "cpu",
            **training,
        )
        told = [_Told(progress, len(rows))] if progress else []
        trainer = SFTTrainer(
            model, args, train_dataset=rows, processing_class=tokenizer, callbacks=told
        )
        trainer.train()
    model.eval()
    safe = adapter_updates(model, _SAFE)
    model.delete_adapter(_SAFE)
    model.set_adapter(NEW)
    activate(model, trainable=False)
    model.requires_grad_(False)
    return safe


class _Told(TrainerCallback):
    """Tells how many rows are done, of as many as there are."""

    def __init__(self, progress: Callable[[int], object], rows: int):
        self.progress, self.rows = progress, rows

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After each step; later passes over the rows count as parts of one."""
        self.progress(round(state.global_step / state.max_steps * self.rows))
