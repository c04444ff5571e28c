"""Adapters on a model: put one on, merge it, have several active at once."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper, get_pattern_key
from safetensors.torch import save_file
from torch import nn

from holdfast.errors import UserError
from holdfast.models.adapter_keys import check_names, read_weights, renamed
from holdfast.models.adapter_support import ADAPTER_CONFIG, ADAPTER_WEIGHTS, check_adapter

NEW = "default"  # PEFT's own name for an adapter; those below it are below0, below1, …


def with_entry(
    model: Any, entry: Path, name: str, trainable: bool, stacked: bool = False
) -> PeftModel:
    """``model`` with the adapter in a folder, beside those that it has; PEFT loads it.

    Args:
        model: a base model, or a PeftModel.
        entry: a folder in PEFT's format.
        name: the adapter's name in the model.
        trainable: whether it is to be trained; else it is frozen and drops nothing out.
        stacked: whether it will be saved as one with others, so that it may bring no whole weights
            of embedding or head but the base's own.

    Raises:
        UserError: it was made for a model of other shapes or names, its files are broken, or it is
            of a kind that cannot be used.
    """
    check_adapter(entry, "evaluate")
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    given = read_weights(entry)
    weights = renamed(given, base)
    own: Any = dict(base.named_parameters(remove_duplicate=False)) if stacked else {}
    try:
        config: Any = PeftConfig.from_pretrained(str(entry))
        config.task_type = "CAUSAL_LM"  # also where it was made on AutoModel
        if not trainable and hasattr(config, "lora_dropout"):
            config.lora_dropout = 0.0  # a frozen adapter is part of the model, also in training
        if stacked:
            _check_plain(entry, weights, own)
        with tempfile.TemporaryDirectory() as scratch:
            folder = entry
            if weights.keys() != given.keys():
                folder = Path(scratch)
                shutil.copy(entry / ADAPTER_CONFIG, folder)
                save_file(weights, folder / ADAPTER_WEIGHTS, {"format": "pt"})
            if isinstance(model, PeftModel):
                config.inference_mode = not trainable
                model.add_adapter(name, config)
                model.load_adapter(str(folder), name, is_trainable=trainable)
            else:
                model = PeftModel.from_pretrained(
                    model, str(folder), name, is_trainable=trainable, config=config
                )
        check_names(model, name, weights)
        if weights.keys() != given.keys():
            _check_patterns(model, name)
    except (UserError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # PEFT's forty types raise all kinds
        lines = [line.strip() for line in str(error).splitlines()] or [type(error).__name__]
        # torch's first line only says that others come, of which each names a weight and its shapes
        why = lines[1] if lines[0].endswith(":") and len(lines) > 1 else lines[0]
        raise UserError(
            f"the adapter {entry} does not fit its base model ({why.rstrip('.')})."
        ) from error
    return model


def _check_plain(
    entry: Path, weights: dict[str, torch.Tensor], base: dict[str, torch.Tensor]
) -> None:
    """Refuse whole weights beside the factors, unless they are the base's own.

    PEFT saves embedding and head with an adapter on them, mostly unchanged.
    """
    for key, weight in weights.items():
        if ".lora_" in key:
            continue
        name = key.removeprefix("base_model.model.").replace(".base_layer.", ".")
        own = base.get(name, base.get(name.replace(".weight", ".base_layer.weight")))
        if own is None or own.shape != weight.shape or not torch.equal(weight.to(own), own):
            raise UserError(
                f"the adapter {entry} brings whole weights of its own ({key}), which take the "
                "place of the base's, so it cannot be saved as one adapter with others; merge it "
                "into its base with PEFT's merge_and_unload, and name that as the model."
            )


def _check_patterns(model: PeftModel, name: str) -> None:
    """Of an adapter under other names, patterns of names must still mean something."""
    config: Any = model.peft_config[name]
    adapted = {
        module: layer
        for module, layer in model.get_base_model().named_modules()
        if isinstance(layer, BaseTunerLayer)
    }
    for option in ("rank_pattern", "alpha_pattern"):
        for pattern in getattr(config, option, None) or {}:
            if not any(get_pattern_key([pattern], module) == pattern for module in adapted):
                # PEFT gives back the module's own name where no pattern matches.
                raise ValueError(f"its {option} {pattern} matches no module of the model")


def merge(model: PeftModel, entry: Path) -> Any:
    """The base with its active adapter taken up into its weights, by PEFT.

    Embedding and head that share a weight are given one each first, where the adapter changes
    either of them: it would change both.

    Args:
        model: with the adapter on it.
        entry: the adapter's folder, for messages.

    Raises:
        UserError: PEFT cannot merge it.
    """
    base: Any = model.get_base_model()
    ends = base.get_input_embeddings(), base.get_output_embeddings()
    if all(isinstance(end, nn.Module) for end in ends):
        first, last = map(_inner, ends)
        if first.weight is last.weight and any(isinstance(end, BaseTunerLayer) for end in ends):
            last.weight = nn.Parameter(last.weight.detach().clone(), requires_grad=False)
    try:
        merged: Any = model.merge_and_unload()
    except (ValueError, RuntimeError, NotImplementedError) as error:
        first_line = str(error).splitlines()[0]
        raise UserError(
            f"the adapter {entry} cannot be merged into its base ({first_line})."
        ) from error
    ends = merged.get_input_embeddings(), merged.get_output_embeddings()
    tied = all(isinstance(end, nn.Module) for end in ends) and ends[0].weight is ends[1].weight
    if not tied and merged.config.get_text_config().tie_word_embeddings:
        # What is saved of it must hold both, and be loaded as two.
        merged.config.tie_word_embeddings = False
        merged.config.get_text_config().tie_word_embeddings = False
        merged.all_tied_weights_keys = {}
    return merged


def _inner(module: Any) -> Any:
    """The layer itself under PEFT's wrappers."""
    while isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper):
        inner = "base_layer" if isinstance(module, BaseTunerLayer) else "original_module"
        module = getattr(module, inner)
    return module


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
