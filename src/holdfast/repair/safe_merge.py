"""SafeMERGE: mix a safe adapter into the modules whose update leaves the alignment's subspace.

    U ← w·U + (1 − w)·U_safe   where   cos(C·U, U) < τ,   C = V·Vᵀ / ‖V‖_F

U [out, in] is the fine-tuning's update, V the alignment's, and U_safe that of an adapter of the
same rank and modules that is trained here, from the aligned model, on ``alignment_dataset`` alone:
plain SFT on refusals. The cosine is Safe LoRA's (`holdfast.repair.subspace`). The mixture is exact,
an adapter of twice the rank: [w·B, (1 − w)·B_safe] [A; A_safe]. τ = −1 and w = 1 leave the model as
it is, bit for bit, and train nothing.

Source: A. Djuhera et al.: SafeMERGE, arXiv 2503.17239, and its code, whose defaults are τ = 0.35
and w = 0.8. There PEFT's "linear" mixes the factors, √w·B + √(1 − w)·B_safe and the same of A,
which adds the products of one's B with the other's A; and modules are paired by their order.
unverified: how the paper's safe adapter was trained (100 to 2,500 rows of a safety data set).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from peft import PeftModel
from torch import nn
from transformers import PreTrainedTokenizerBase

from holdfast.errors import UserError
from holdfast.repair.checkpoints import Checkpoints
from holdfast.repair.safe_adapter import safe_adapter
from holdfast.repair.subspace import cosines
from holdfast.settings import check_ranges


@dataclass
class SafeMergeConfig:
    """Settings of SafeMERGE.

    Args:
        threshold: τ; modules with a smaller cosine are mixed, with -1 none.
        weight: w, the fine-tuning's part in the mixture; 1 changes nothing.
        learning_rate: of the safe adapter.
        epochs: passes of its training over the alignment rows.
        rows_a_step: rows of one of its steps.
        max_length: longest row in tokens.
        seed: of its first weights and the order of the rows.
    """

    threshold: float = field(default=0.35, metadata={"range": "[-1, 1]"})
    weight: float = field(default=0.8, metadata={"range": "[0, 1]"})
    learning_rate: float = field(default=1e-4, metadata={"range": "(0, inf)"})
    epochs: int = field(default=1, metadata={"range": "[1, inf)"})
    rows_a_step: int = field(default=8, metadata={"range": "[1, inf)"})
    max_length: int = field(default=2048, metadata={"range": "[1, inf)"})
    seed: int = field(default=0, metadata={"range": "[0, 4294967295]"})

    def __post_init__(self):
        check_ranges(self)


def safe_merge(
    model: nn.Module,
    checkpoints: Checkpoints,
    alignment_dataset: Iterable[Mapping[str, Any]],
    config: SafeMergeConfig | None = None,
    processing_class: PreTrainedTokenizerBase | None = None,
    progress: Callable[[int], object] | None = None,
) -> nn.Module:
    """Train a safe adapter, and mix it into the modules that need it.

    Args:
        model: the fine-tuned model, with an adapter of its own on the aligned one.
        checkpoints: what it came from.
        alignment_dataset: harmful prompts with safe answers.
        config: the settings.
        processing_class: the tokenizer.
        progress: called after each step of the training with the number of rows done.

    Returns:
        The repaired model.

    Raises:
        UserError: the fine-tuning has no adapter of its own, or what `SFTTrainer` says of the rows.
    """
    config = SafeMergeConfig() if config is None else config
    if not isinstance(model, PeftModel) or checkpoints.inside:
        raise UserError(
            "safe_merge mixes two adapters on the aligned model, and the fine-tuning has none of "
            "its own: fine-tune with adapter=double."
        )
    found = cosines(checkpoints)
    chosen = [name for name, cosine in found.items() if cosine < config.threshold]
    if not chosen or config.weight == 1:
        return model
    training = {
        "learning_rate": config.learning_rate,
        "num_train_epochs": config.epochs,
        "per_device_train_batch_size": config.rows_a_step,
        "max_length": config.max_length,
        "seed": config.seed,
    }
    safe = safe_adapter(model, list(alignment_dataset), training, processing_class, progress)
    w, U = config.weight, checkpoints.finetuning
    mixed = {name: U[name].times(w).plus(safe[name].times(1 - w)) for name in chosen}
    return checkpoints.replace(model, mixed)
