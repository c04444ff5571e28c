"""The model inside PEFT's wrapper."""

from typing import Any


def bare(model: Any) -> Any:
    """A PEFT model's own base, with its adapters in place; any other model as it is."""
    get_base = getattr(model, "get_base_model", None)
    return get_base() if callable(get_base) else model
