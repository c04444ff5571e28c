"""Put an adapter on a model that is to be trained."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from transformers import set_seed

from holdfast.errors import UserError
from holdfast.models.adapters import NEW, activate


def with_adapter(model: Any, peft_config: PeftConfig, seed: int) -> PeftModel:
    """``model`` with a fresh adapter, initialised by ``seed``.

    Adapters of `holdfast.models.loading.load_merged`, which lie unmerged on a quantized base, stay
    active and frozen under it.

    Raises:
        UserError: the model has an adapter of its own already, or the adapter's target modules
            match nothing.
    """
    below = isinstance(model, PeftModel) and NEW not in model.peft_config
    if isinstance(model, PeftModel) and not below:
        raise UserError(
            "the model already carries an adapter: go on with it (leave peft_config out) or merge "
            "it first (model.merge_and_unload()) for a fresh one."
        )
    set_seed(seed)
    try:
        if not below:
            return get_peft_model(model, peft_config)
        model.add_adapter(NEW, peft_config)
        activate(model, trainable=True)
        return model
    except ValueError as error:
        if "arget modules" not in str(error):
            raise
        wanted = getattr(peft_config, "target_modules", None)
        wanted = ", ".join(sorted(wanted)) if isinstance(wanted, (set, list)) else wanted
        raise UserError(
            f"the adapter's target modules ({wanted}) match nothing in {type(model).__name__}, "
            f"whose linear modules are {', '.join(linear_names(model))}."
        ) from error


def linear_names(model: torch.nn.Module) -> list[str]:
    """The last parts of the names of a model's linear modules, for messages."""
    return sorted(
        {
            name.rsplit(".", 1)[-1]
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
    )


def adapted(model_init: Callable, peft_config: PeftConfig, seed: int) -> Callable:
    """``model_init`` with a fresh adapter on each model that it makes."""
    # transformers calls it with as many arguments as it has, none or the trial.
    if inspect.signature(model_init).parameters:
        return lambda trial: with_adapter(model_init(trial), peft_config, seed)
    return lambda: with_adapter(model_init(), peft_config, seed)
