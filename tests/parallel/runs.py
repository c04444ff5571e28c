"""Short trainings of every method, in one process or, started by torchrun, in several.

As a program (`runs.py FOLDER MODE …`) it runs all of them in each mode, and a stage whose job lies
in the folder, in one group of processes, since starting that is what takes the time; the first
process writes what it found to the folder.
"""

import json
import os
import sys
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "training")]

import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from steps import arguments, collator, rows  # noqa: E402
from torch.distributed.tensor import DTensor  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402
from transformers import TrainerCallback  # noqa: E402

import holdfast  # noqa: E402
from holdfast.errors import Stopped  # noqa: E402
from holdfast.stages.launch import STOP  # noqa: E402
from holdfast.stages.launched import Share  # noqa: E402
from holdfast.stages.train import run_training  # noqa: E402
from holdfast.trainer.divided import whole  # noqa: E402
from tiny_models import lora, tiny_model  # noqa: E402

METHODS = {
    "sft": ("SFT", {}),
    "vaccine": ("Vaccine", {"rho": 1.5}),
    "vaccine_every": ("Vaccine", {"rho": 1.5, "every": 3}),
    "t_vaccine": ("TVaccine", {"rho": 1.5, "layers": 2, "probe_every": 3, "draw_every": 3}),
    "random_total": ("RandomPerturbation", {"rho": 1.5}),
    "random_element": ("RandomPerturbation", {"rho": 0.1, "norm": "element"}),
    "lisa": ("Lisa", {"rho": 0.5, "alignment_steps": 2, "user_steps": 3}),
    "vlguard": ("finetune.vlguard:VLGuard", {"lam": 0.7}),
    "booster": ("align.booster:Booster", {"lam": 2.0, "alpha": 0.3}),
    "safegrad": ("finetune.safegrad:SafeGrad", {"rho": 0.7}),
    "panacea": ("finetune.panacea:Panacea", {"rho": 0.3, "lam": 0.5}),
    "ctrap": ("align.ctrap:CTRAP", {"lam": 0.5}),
    "tar": (
        "align.tar:TAR",
        {"lam": 0.5, "attack_steps": 2, "tamper_every": 1, "attack_learning_rate": 0.01},
    ),
    "bds": ("BDS", {"selector_rate": 0.3, "lam": 0.7}),
    "seal": (
        "SEAL",
        {"selector_rate": 0.3, "safe_weight": 0.7, "choosing_epochs": 1.0, "share": 0.5},
    ),
}
SAVING = {"save_strategy": "steps", "save_steps": 4}


@dataclass(frozen=True)
class Run:
    """One training of a method (`METHODS`), with or without an adapter, with other settings."""

    method: str
    adapter: bool = True
    accumulate: int = 1
    settings: dict[str, Any] = field(default_factory=dict)
    resumes: bool = False
    modes: tuple[str, ...] = ("ddp", "fsdp2")

    @property
    def name(self) -> str:
        """What tells it from the others."""
        kind = "lora" if self.adapter else "full"
        return "-".join([self.method, kind, str(self.accumulate), *self.settings])


# A resumed run goes on from step 4: within an epoch, between two draws, in Lisa's user state.
RUNS = [
    Run("sft"),
    Run("sft", adapter=False, accumulate=2),
    Run("vaccine", resumes=True),
    Run("vaccine", adapter=False, accumulate=2),
    Run("vaccine", settings={"gradient_checkpointing": True}),
    Run("vaccine_every", accumulate=2),
    Run("t_vaccine", resumes=True),
    Run("t_vaccine", adapter=False, settings={"gradient_checkpointing": True}, resumes=True),
    Run("t_vaccine", accumulate=2, settings={"freeze": "attention", "probe_batch_size": 1}),
    Run("random_total", accumulate=2),
    Run("random_element", adapter=False),
    Run("lisa", resumes=True),
    Run("lisa", adapter=False, accumulate=2),
    Run("vlguard", modes=("ddp",)),
    Run("booster", accumulate=2, modes=("ddp",)),
    Run("safegrad", adapter=False, resumes=True, modes=("ddp",)),
    Run("panacea", resumes=True, modes=("ddp",)),
    Run("ctrap", adapter=False, accumulate=2, modes=("ddp",)),
    Run("tar", settings={"gradient_checkpointing": True}, modes=("ddp",)),
    Run("bds", accumulate=2, settings={"scheduler": "neural"}, modes=("ddp",)),
    Run("seal", resumes=True, modes=("ddp",)),
]
# 9 user rows in batches of 4 end in a batch of one row, which one of two processes gets.
USER, ALIGNMENT, HARMFUL = rows(9), rows(7, seed=2), rows(5, seed=1)
_HARMFUL, _ALIGNMENT = {"harmful_dataset": HARMFUL}, {"alignment_dataset": ALIGNMENT}
EXTRA = {
    **dict.fromkeys(("t_vaccine", "booster", "panacea", "ctrap", "tar"), _HARMFUL),
    **dict.fromkeys(("lisa", "vlguard", "safegrad", "bds", "seal"), _ALIGNMENT),
}
MODES: dict[str, dict[str, Any]] = {
    "ddp": {},
    "fsdp2": {
        "fsdp": True,
        "fsdp_config": {"version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP"},
    },
}


class Recorder(TrainerCallback):
    """Keeps the gradients of the first and the last step, as the optimizer uses them."""

    def __init__(self) -> None:
        self.kept: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        """Before every optimizer step."""
        place = {0: "first", state.max_steps - 1: "last"}.get(state.global_step)
        for name, weight in model.named_parameters():
            if place and weight.grad is not None:
                self.kept[f"{place}.{name}"] = whole(weight.grad).detach().clone()


def make(run: Run, folder: Path, batch_size: int, **settings: Any) -> tuple[Any, Recorder]:
    """The trainer of a run, and what records its gradients."""
    place, own = METHODS[run.method]
    module, _, kind = place.rpartition(":")
    home = import_module(f"holdfast.{module}") if module else holdfast
    model = tiny_model("llama", layers=4)
    config = getattr(home, f"{kind}Config")(
        **arguments(
            folder / run.name,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=run.accumulate,
            num_train_epochs=2,
            learning_rate=2e-3,
            max_grad_norm=1.0,
            weight_decay=0.1,
            logging_strategy="steps",
            logging_steps=2,
            **{**own, **run.settings, **settings},
        )
    )
    recorder = Recorder()
    trainer = getattr(home, f"{kind}Trainer")(
        lora(model, init_lora_weights=False) if run.adapter else model,
        config,
        train_dataset=USER,
        data_collator=collator(),
        callbacks=[recorder],
        **EXTRA.get(run.method, {}),
    )
    return trainer, recorder


def train(
    run: Run, folder: Path, batch_size: int, resume: str | None = None, **settings: Any
) -> tuple[dict[str, torch.Tensor], Any]:
    """The gradients and the final weights by name, and the trainer."""
    trainer, recorder = make(run, folder, batch_size, **settings)
    trainer.train(resume_from_checkpoint=resume)
    found = recorder.kept
    for name, weight in trainer.model.named_parameters():
        if weight.requires_grad:
            found[f"final.{name}"] = whole(weight.detach()).clone()
    return found, trainer


def main(out: Path, modes: list[str]) -> None:
    """Run everything and write it down."""
    for mode in modes:
        os.environ.pop("ACCELERATE_USE_FSDP", None)
        for run in (run for run in RUNS if mode in run.modes):
            settings = {**MODES[mode], **(SAVING if run.resumes else {})}
            found, trainer = train(run, out / mode, 2, **settings)
            if mode == "fsdp2":
                assert all(isinstance(w, DTensor) for w in trainer.model.parameters())
            else:
                assert isinstance(trainer.model_wrapped, DistributedDataParallel)
            if run.resumes:
                checkpoint = str(out / mode / run.name / "checkpoint-4")
                resumed, _ = train(run, out / mode, 2, checkpoint, **settings)
                found |= {f"resumed.{n}": w for n, w in resumed.items() if "final." in n}
            if trainer.args.process_index == 0:
                found = {name: weight.contiguous() for name, weight in found.items()}
                save_file(found, out / f"{mode}.{run.name}.safetensors")
                text = json.dumps(trainer.state.log_history)
                (out / f"{mode}.{run.name}.json").write_text(text)
                print(mode, run.name, flush=True)


class Stopping(Share):
    """A stage's share that is asked to stop after four steps, of which one process knows.

    It logs every two steps; what is logged next after a stop in between averages fewer of them.
    """

    def progress(self, share: float, note: str) -> None:
        """After every step."""
        if self.is_main and note.startswith("step 4/"):
            (self.place / STOP).touch()


def run_stage(place: Path) -> None:
    """Run a stage with FSDP2, stop it and go on, as `holdfast.stages.launched` does."""
    # What accelerate launch makes of the configuration file that a stage gives it.
    os.environ |= {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    }
    try:
        run_training(Stopping(place))
    except Stopped:
        assert (place.parent / "checkpoints" / "checkpoint-4" / "trainer_state.json").exists()
    else:
        raise AssertionError("it went on")
    torch.distributed.barrier()
    (place / STOP).unlink(missing_ok=True)
    torch.distributed.barrier()
    share = Share(place)
    budget = run_training(share)
    if share.is_main:
        (place / "budget.json").write_text(json.dumps(budget))


if __name__ == "__main__":
    run_stage(Path(sys.argv[1]) / "stage" / "processes")
    main(Path(sys.argv[1]), sys.argv[2:])
