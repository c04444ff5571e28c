"""Every training method × adapter × architecture × what must change nothing.

The methods are those of the registry, so that a new one is here with its row. A case trains four
steps of SGD twice, once plainly and once in the other way, and compares how far the weights moved.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from steps import arguments, collator, relative_error, rows, weights
from transformers import TrainerCallback

from holdfast.registry import METHODS
from holdfast.stages.methods import load_method
from measuring import random_update
from tiny_models import lora, tiny_model

ADAPTERS = ("double", "single", "full")
ARCHITECTURES = ("llama", "qwen3", "gemma3", "opt")
CHECKS = ("accumulation", "checkpointing", "padding", "resume", "bf16")
STEPS = 4
# Whole batches of four: what is left over of a pass would be one batch, or several.
USER, HARMFUL, SAFE = rows(4 * STEPS), rows(8, seed=1), rows(8, seed=2)
# A harmful answer to the prompt of each of the first rows.
PAIRED = [
    {**row, "input_ids": [*safe["input_ids"][:2], *row["input_ids"][2:]]}
    for row, safe in zip(HARMFUL, USER, strict=False)
]
ROWS = {"harmful_dataset": HARMFUL, "alignment_dataset": SAFE, "paired_dataset": PAIRED}
# What a method needs to do all that it does in four steps of two layers; its defaults otherwise.
OWN: dict[str, dict[str, Any]] = {
    "vaccine": {"rho": 1.0},
    "t_vaccine": {"rho": 1.0, "layers": 1, "draw_every": 1, "probe_every": 2}
    | {"probe_batch_size": 3},
    # Long steps: where states have hardly moved, rounding decides which way they are held back.
    "circuit_breakers": {"alpha": 0.3, "gamma": 1.0, "learning_rate": 0.5},
    "repnoise": {"alpha": 0.3, "beta": 1.0},
    "surgery": {"alpha": 30.0},
    "lisa": {"rho": 0.5, "alignment_steps": 1, "user_steps": 1},
    "ewc": {"strength": 0.02},
    "l2_sp": {"strength": 0.5},
    "vlguard": {"lam": 0.7},
    "booster": {"lam": 2.0},
    "safegrad": {"rho": 0.5},
    # What they change are texts, and these rows are tokens: here they train on rows as they are.
    "lookahead": {"tokens": 0},
    "panacea": {"rho": 0.2, "lam": 0.5},
    "ctrap": {"lam": 0.5},
    "tar": {"lam": 0.5, "attack_steps": 2, "tamper_every": 1, "attack_learning_rate": 0.01},
    "kl": {"strength": 2.0},
    "vaa": {"rho": 0.3, "sampler_rate": 0.1, "trial_steps": 2, "trial_learning_rate": 0.01}
    | {"trial_after": 0.25},
    "asft": {"lam": 0.2},
    "ldifs": {"rho": 0.2},
    "sppft": {"first_layer": 1, "last_layer": 1},
    "bds": {"selector_rate": 0.2},
    "seal": {"selector_rate": 0.2, "choosing_epochs": 0.5, "share": 0.5, "safe_weight": 0.7},
    "ptst": {"system_prompt": ""},
    "backdoor_align": {"trigger": "", "safe_rows": 4},
}
# What it needs of the model's own settings.
MODEL = {"surgery": {"attn_implementation": "eager"}}
# The largest relative difference of what the weights moved by.
BOUNDS = {check: 0.3 if check == "bf16" else 1e-5 for check in CHECKS}


@dataclass(frozen=True)
class Case:
    """One cell of the matrix."""

    stage: str
    method: str
    adapter: str
    architecture: str
    check: str

    def __str__(self) -> str:
        return f"{self.method}-{self.adapter}-{self.architecture}-{self.check}"


def product() -> list[Case]:
    """All cells."""
    return [
        Case(stage, method, adapter, architecture, check)
        for stage, method in _methods()
        for adapter in _adapters(stage, method)
        for architecture in ARCHITECTURES
        for check in CHECKS
    ]


def cover() -> list[Case]:
    """Cells in which every two values of two columns meet, but for architecture and adapter of one
    method: each method in each check, with another adapter and architecture each time."""
    found = []
    for number, (stage, method) in enumerate(_methods()):
        adapters = _adapters(stage, method)
        for place, check in enumerate(CHECKS):
            turn = number + place
            found.append(
                Case(
                    stage,
                    method,
                    adapters[turn % len(adapters)],
                    ARCHITECTURES[turn % len(ARCHITECTURES)],
                    check,
                )
            )
    return found


def _methods() -> list[tuple[str, str]]:
    named = [(stage, name) for stage in ("align", "finetune") for name in METHODS[stage]]
    return [one for one in named if one != ("finetune", "sft")]


def _adapters(stage: str, method: str) -> tuple[str, ...]:
    allowed = METHODS[stage][method].adapters
    if stage == "align":  # its "lora" is a fresh one
        allowed = tuple("double" if one == "lora" else one for one in allowed)
        return tuple(a for a in ("double", "full") if not allowed or a in allowed)
    return tuple(a for a in ADAPTERS if not allowed or a in allowed)


def difference(case: Case, folder: Path) -> float:
    """‖a − b‖ / ‖b‖ of what the weights moved by in the two trainings."""
    plain = moved(case, folder / "plain")
    if case.check == "accumulation":
        other = moved(
            case, folder / "o", per_device_train_batch_size=1, gradient_accumulation_steps=4
        )
    elif case.check == "checkpointing":
        other = moved(case, folder / "o", activation_checkpointing=True)
    elif case.check == "padding":
        other = moved(case, folder / "o", side="left")
    elif case.check == "bf16":
        other = moved(case, folder / "o", bf16=True)
    else:
        moved(case, folder / "o", save_strategy="steps", save_steps=2, callbacks=[_Stop()])
        other = moved(case, folder / "o", resume=str(folder / "o" / "checkpoint-2"))
    assert all(w.isfinite().all() for w in other.values())
    assert any(w.abs().max() > 0 for w in other.values())
    return relative_error(other, plain)


class _Stop(TrainerCallback):
    """An interruption after the second step."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After every step."""
        control.should_training_stop = state.global_step == 2


def given_to(model: Any) -> dict[str, Any]:
    """All that a method may ask for."""
    return {**ROWS, "alignment_update": random_update(model, rank=3)}


def moved(
    case: Case,
    folder: Path,
    side: str = "right",
    resume: str | None = None,
    callbacks: Sequence[Any] = (),
    **settings: Any,
) -> dict[str, torch.Tensor]:
    """By how much each weight moves in a training of four steps."""
    trainer_class, config_class, method = load_method(case.stage, case.method)
    model: Any = tiny_model(case.architecture, **MODEL.get(case.method, {}))
    if case.adapter != "full":
        model = lora(model, init_lora_weights=case.adapter == "double")
    before = weights(model)
    given = {"optim": "sgd", "learning_rate": 0.05, "max_steps": STEPS}
    trainer = trainer_class(
        model,
        config_class(**arguments(folder, **given | OWN.get(case.method, {}) | settings)),
        train_dataset=USER,
        data_collator=collator(side),
        callbacks=[*callbacks],
        **{name: some for name, some in given_to(model).items() if name in method.asks},
    )
    trainer.train(resume_from_checkpoint=resume)
    return {name: w - before[name] for name, w in weights(trainer.model).items()}
