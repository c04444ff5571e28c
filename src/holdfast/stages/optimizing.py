"""The optimizer and the schedule of a training stage, tried before any stage runs.

transformers tells late that they cannot be made, after models were loaded and perhaps after hours
of other stages. So its own code makes them here once, for a few made-up weights. That takes a few
seconds of imports, so it is done only where a setting is given that can be wrong: what every
recipe has (AdamW, a cosine) is known to be right.
"""

import json
import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from holdfast.errors import UserError
from holdfast.settings import at

# They follow a loss that is measured while training, and a stage has no rows to measure it on.
_MEASURED = ("reduce_lr_on_plateau", "greedy")
_KNOWN_OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "sgd", "adagrad", "rmsprop", "adafactor")
_KNOWN_SCHEDULES = (
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
)
_WITHOUT_SETTINGS = ("constant", "constant_with_warmup")
# What decides the two.
_DECIDE = ("optim", "optim_args", "optim_target_modules", "lr_scheduler_type")
_DECIDE += ("lr_scheduler_kwargs", "learning_rate", "warmup_steps", "weight_decay")
_DECIDE += ("adam_beta1", "adam_beta2", "adam_epsilon")
_STEPS = 10


def check_optimizer(settings: Mapping[str, Any], where: str) -> None:
    """Check that a training stage's optimizer and schedule can be made.

    Args:
        settings: the stage's resolved settings.
        where: where they are from, for messages.

    Raises:
        UserError: they cannot; it names the setting and says what transformers says.
    """
    schedule = settings.get("lr_scheduler_type")
    if schedule in _MEASURED:
        raise UserError(
            f"{at(where, 'lr_scheduler_type')}: lr_scheduler_type is {schedule}, which follows a "
            "loss that is measured while training, and a stage has no rows to measure on: take "
            "cosine, linear or constant."
        )
    if schedule in _WITHOUT_SETTINGS and settings.get("lr_scheduler_kwargs"):
        raise UserError(
            f"{at(where, 'lr_scheduler_kwargs')}: lr_scheduler_kwargs is "
            f"{settings['lr_scheduler_kwargs']!r:.80}: lr_scheduler_type={schedule} takes none, "
            "and would leave them out."
        )
    if not (
        settings.get("optim_args")
        or settings.get("lr_scheduler_kwargs")
        or settings.get("optim", _KNOWN_OPTIMIZERS[0]) not in _KNOWN_OPTIMIZERS
        or (schedule or _KNOWN_SCHEDULES[0]) not in _KNOWN_SCHEDULES
    ):
        return
    own = {key: settings[key] for key in _DECIDE if settings.get(key) is not None}
    wrong = _wrong(json.dumps(own, sort_keys=True))
    if wrong:
        key, why = wrong
        raise UserError(f"{at(where, key)}: {key} is {settings.get(key)!r:.80}: {why}")


@lru_cache(maxsize=256)
def _wrong(written: str) -> tuple[str, str] | None:
    """The setting that is wrong, and why; None where both can be made."""
    own = json.loads(written)
    pairs = _pairs(own)
    if any(pair.count("=") != 1 for pair in pairs):
        return "optim_args", "it must be name=value, or several: name=value, name=value."
    try:
        trainer, optimizer = _optimizer(own)
    except Exception as error:  # whatever an optimizer's package makes of a value
        blamed = "optim_args" if "optim_args" in own and _makes(own, "optim_args") else "optim"
        return blamed, _said(error)
    unread = _unread(own, pairs)
    if unread:
        return "optim_args", f"optim={own['optim']} takes no '{unread}', and would leave it out."
    try:
        with warnings.catch_warnings():  # no step of the optimizer comes before
            warnings.simplefilter("ignore")
            trainer.create_scheduler(_STEPS, optimizer).step()
    except Exception as error:
        if "lr_scheduler_kwargs" in own:
            return "lr_scheduler_kwargs", _said(error)
        return "lr_scheduler_type", f"it needs lr_scheduler_kwargs: {_said(error)}"
    return None


def _makes(own: Mapping[str, Any], without: str) -> bool:
    """Whether the optimizer can be made without one of its settings."""
    try:
        _optimizer({key: value for key, value in own.items() if key != without})
    except Exception:
        return False
    return True


def _optimizer(own: Mapping[str, Any]) -> tuple[Any, Any]:
    """A trainer of a few made-up weights, and the optimizer that it makes."""
    import torch
    from transformers import Trainer

    # Two matrices, and a vector that is not decayed: what an optimizer may treat apart.
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 64), torch.nn.Tanh())
    trainer = Trainer(model, _arguments(own))
    return trainer, trainer.create_optimizer()


def _arguments(own: Mapping[str, Any]) -> Any:
    from transformers import TrainingArguments

    told = dict(own)
    if "optim_target_modules" in told:
        told["optim_target_modules"] = "all-linear"  # its names are the real model's
    return TrainingArguments("unused", use_cpu=True, report_to="none", disable_tqdm=True, **told)


def _pairs(own: Mapping[str, Any]) -> list[str]:
    """The parts of `optim_args`, as transformers splits them."""
    return own["optim_args"].replace(" ", "").split(",") if "optim_args" in own else []


def _unread(own: Mapping[str, Any], pairs: list[str]) -> str | None:
    """The first of `optim_args` that the optimizer does not look at."""
    if "optim_target_modules" in own:  # what it looks at depends on a model's modules
        return None

    def made(args: list[str]) -> str:
        from transformers import Trainer

        try:
            given = {**own, "optim_args": ",".join(args)}
            return str(Trainer.get_optimizer_cls_and_kwargs(_arguments(given)))
        except Exception as error:
            return str(error)

    for pair in pairs:
        rest = [one for one in pairs if one != pair]
        name = pair.partition("=")[0]
        # Another value too: the given one may be what the optimizer has by itself.
        if made(pairs) == made(rest) == made([*rest, f"{name}=0.123"]):
            return name
    return None


def _said(error: Exception) -> str:
    """An error's first line, as a sentence."""
    text = str(error).strip().partition("\n")[0]
    if isinstance(error, TypeError):
        text = text.rpartition("() ")[2]
    if isinstance(error, KeyError):
        text = f"{error} is missing"
    return (text or type(error).__name__).rstrip(".") + "."


def is_checkpointed(settings: Mapping[str, Any]) -> bool:
    """Whether activations are computed again in the backward pass, by either name of the setting.

    transformers calls it activation_checkpointing, and gradient_checkpointing before version 5.
    """
    return bool(settings.get("activation_checkpointing") or settings.get("gradient_checkpointing"))
