"""What modules of a model put out in a pass."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def recorded(modules: Sequence[nn.Module]) -> Iterator[dict[int, Any]]:
    """Within the context a pass fills in each module's output, by the module's number.

    Under gradient checkpointing a module runs again in the backward pass; its first output counts.
    """
    outputs: dict[int, Any] = {}

    def keep(number: int) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            outputs.setdefault(number, output)

        return hook

    with ExitStack() as stack:
        for number, module in enumerate(modules):
            stack.callback(module.register_forward_hook(keep(number)).remove)
        yield outputs


def tensor_of(output: Any) -> Tensor:
    """The hidden states, [rows, tokens, hidden], of a module that may put out more beside them."""
    return output[0] if isinstance(output, tuple | list) else output
