"""Adapters on a model: put one on, have several active at once."""

from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModel
from peft.utils import get_peft_model_state_dict
from safetensors import SafetensorError, safe_open

from holdfast.errors import UserError
from holdfast.models.stack import ADAPTER_WEIGHTS

NEW = "default"  # PEFT's own name for an adapter; those below it are below0, below1, …


def with_entry(model: Any, entry: Path, name: str, trainable: bool) -> PeftModel:
    """``model`` with the adapter in a folder, beside those that it has.

    Args:
        model: a base model, or a PeftModel.
        entry: a folder in PEFT's format.
        name: the adapter's name in the model.
        trainable: whether it is to be trained; else it is frozen and drops nothing out.

    Raises:
        UserError: it was made for a model of other shapes, or its files are broken.
    """
    try:
        config: Any = PeftConfig.from_pretrained(str(entry))
        if not trainable and hasattr(config, "lora_dropout"):
            config.lora_dropout = 0.0  # a frozen adapter is part of the model, also in training
        if isinstance(model, PeftModel):
            config.inference_mode = not trainable
            model.add_adapter(name, config)
            model.load_adapter(str(entry), name, is_trainable=trainable)
        else:
            model = PeftModel.from_pretrained(
                model, str(entry), name, is_trainable=trainable, config=config
            )
        _check_complete(model, entry, name)
    except (RuntimeError, ValueError, KeyError, OSError, SafetensorError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"the adapter {entry} does not fit its base model ({first_line})."
        ) from error
    return model


def _check_complete(model: PeftModel, entry: Path, name: str) -> None:
    """PEFT passes over weights that the model has no place for, and places that got no weights."""
    with safe_open(entry / ADAPTER_WEIGHTS, framework="pt") as file:
        given = sum(".lora_" in key for key in file.keys())  # noqa: SIM118 (no mapping)
    loaded = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    placed = sum(".lora_" in key for key in loaded)
    if given != placed:
        raise ValueError(f"it holds {given} matrices, and the model has places for {placed}")


def activate(model: PeftModel, trainable: bool) -> None:
    """Make every adapter active, and the newest one alone trainable, or none.

    What is saved of the model from then on is the newest adapter: those below it have their own
    files, and a Trainer that went on from a checkpoint with all of them would switch them off.
    """
    below = [name for name in model.peft_config if name != NEW]
    if not below:
        return
    # A Trainer goes on with the first active adapter, a repair prunes the last one.
    tuner: Any = model.base_model
    tuner.set_adapter([NEW, *below] if trainable else [*below, NEW])
    model.active_adapter = NEW
    model.set_requires_grad(below, False)
    model.set_requires_grad(NEW, trainable)
    save = model.save_pretrained
    model.save_pretrained = lambda *args, **kwargs: save(
        *args, **{"selected_adapters": [NEW], **kwargs}
    )
