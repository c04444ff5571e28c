"""The random numbers of dropout, to meet the same masks again."""

from typing import Any

import torch


class RandomState:
    """The state of the random number generators that dropout uses, to have the same masks again."""

    def __init__(self, device: torch.device):
        self.cpu = torch.get_rng_state()
        # Of all devices of its kind: a model may lie on several. Apple's has one and takes no name.
        module: Any = torch.get_device_module(device) if device.type != "cpu" else None
        several = hasattr(module, "get_rng_state_all")
        read = "get_rng_state_all" if several else "get_rng_state"
        self.accelerator = None if module is None else getattr(module, read)()
        self._set = getattr(module, read.replace("get", "set"), None)

    def restore(self) -> None:
        """Set the generators back to where they were."""
        torch.set_rng_state(self.cpu)
        if self._set is not None:
            self._set(self.accelerator)
