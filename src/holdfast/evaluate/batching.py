"""Work in batches of similar length that go on with half the rows when memory runs out."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


def longest_first(
    lengths: Sequence[int],
    run: Callable[[list[int]], Sequence[Result]],
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
    equal: bool = False,
) -> tuple[list[Result], int]:
    """Run a function over all rows, the longest first, so that memory runs out at once or never.

    A batch that does not fit in memory is halved, and so are all after it.

    Args:
        lengths: every row's length, in tokens.
        run: takes the indices of a batch and gives a result for each, in their order.
        batch_size: the most rows at once, at the beginning.
        progress: called with (rows done, rows in all) after every batch.
        equal: no batch holds rows of different lengths, so none needs padding.

    Returns:
        The results in the order of `lengths`, and the batch size that was left.

    Raises:
        RuntimeError: even one row alone does not fit in memory (torch.OutOfMemoryError on most
            devices), or whatever the function raises.
    """
    order = sorted(range(len(lengths)), key=lambda i: lengths[i], reverse=True)
    results: dict[int, Result] = {}
    while len(results) < len(order):
        batch = order[len(results) : len(results) + batch_size]
        if equal:
            batch = [i for i in batch if lengths[i] == lengths[batch[0]]]
        try:
            new = run(batch)
        except RuntimeError as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
            batch_size = len(batch) // 2
            new = None
        if new is None:  # outside the handler, whose traceback holds the failed batch's memory
            clear_device_cache()
            logger.warning("out of memory: going on with %d at once", batch_size)
            continue
        results.update(zip(batch, new, strict=True))
        if progress:
            progress(len(results), len(order))
    return [results[i] for i in range(len(order))], batch_size


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, of whatever device: Apple's and the processor's have no own error."""
    return isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)
