"""The settings that a stage has where the user gives none.

The organism's, and those in a method's row of `holdfast.registry`, were chosen by
`benchmarks/search_organism.py`, on seeds that no reported table uses and with an equal number of
tries for each method; its output is in `benchmarks/search_organism.md`.
"""

from typing import Any

from holdfast.registry import entry_of

# Transformers' settings that decide a result: they stand in every resolved configuration.
TRAINING = (
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "optim",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "weight_decay",
    "max_grad_norm",
    "label_smoothing_factor",
    "bf16",
    "fp16",
    "activation_checkpointing",
    "full_determinism",
)

ORGANISM: dict[str, dict[str, Any]] = {
    "align": {
        "rows": 1000,
        "lora": {"r": 16, "alpha": 16, "target_modules": ["q_proj", "k_proj", "v_proj"]},
        "learning_rate": 1e-3,
        "lr_scheduler_type": "cosine",
        "num_train_epochs": 2,
        "per_device_train_batch_size": 10,
        "max_length": 64,
    },
    "screen": {
        "task": "sums",
        "rows": 1000,
        "harmful_ratio": 0.1,
        "probe_rows": 100,
        "alignment_rows": 200,
    },
    "finetune": {
        "task": "sums",
        "rows": 1000,
        "harmful_ratio": 0.1,
        "alignment_rows": 1000,
        "lora": {"r": 16, "alpha": 16, "target_modules": ["q_proj", "k_proj", "v_proj"]},
        "learning_rate": 1.5e-4,
        "lr_scheduler_type": "constant",
        "num_train_epochs": 1,
        "per_device_train_batch_size": 10,
        "max_length": 64,
    },
    "repair": {"task": "sums", "rows": 500, "max_length": 64, "batch_size": 50},
    "evaluate": {"task": "sums"},
}

# The same wherever nothing better is known: common practice for LoRA on a 7B model.
GENERAL: dict[str, dict[str, Any]] = {
    "align": {
        "learning_rate": 1e-4,
        "lr_scheduler_type": "cosine",
        "per_device_train_batch_size": 8,
    },
    "finetune": {
        "learning_rate": 1e-4,
        "per_device_train_batch_size": 8,
    },
}


def defaults(kind: str, method: str, is_organism: bool) -> dict[str, Any]:
    """The settings of a stage of this kind and method that differ from the fields' own defaults."""
    entry = entry_of(kind, method)
    own = entry.organism if is_organism and entry else {}
    return {**(ORGANISM if is_organism else GENERAL).get(kind, {}), **own}
