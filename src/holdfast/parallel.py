"""Several processes (DDP, FSDP2) that together compute what one process would.

A step of P processes with batches of b rows is the step of one process with batches of P·b rows:
the same rows in the same order, one loss over all of their tokens, one gradient.
"""

import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from accelerate.state import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from holdfast.trainer.divided import whole
from holdfast.trainer.order import part
from holdfast.trainer.streams import ProcessBatches


class ShardedBatches(Sampler[list[int]]):
    """One process's part of every batch of all processes.

    Where a batch has fewer rows than there are processes, those that get none take a blank row
    (see `WithBlanks`), for every process must run as many passes as the others.

    Args:
        batches: the batches of indices of all processes together, in the same order in each.
        rows: how many rows there are; an index from there on names a blank row.
        processes: how many processes there are.
        index: which of them this is.
    """

    drop_last = False

    def __init__(self, batches: Any, rows: int, processes: int, index: int):
        self.batches, self.rows = batches, rows
        self.processes, self.index = processes, index
        self.batch_size = math.ceil(batches.batch_size / processes)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        sampler: Any = getattr(self.batches, "sampler", None)
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches:
            mine = list(part(batch, self.processes, self.index))
            yield mine or [self.rows + batch[0]]


class WithBlanks(Dataset):
    """Rows, and after them each row once more as a blank one: no token of it carries a loss.

    A blank row adds nothing to a loss that is a sum over tokens, divided by their number in the
    whole step, nor to its gradients.
    """

    def __init__(self, rows: Any):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        size = len(self.rows)
        if index < size:
            return self.rows[index]
        return blank(self.rows[index - size])

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose rows come next, where they differ."""
        if hasattr(self.rows, "set_epoch"):
            self.rows.set_epoch(epoch)


def blank(row: Any) -> Any:
    """The row with no token that carries a loss."""
    return {**row, "labels": [-100] * len(row["labels"])} if "labels" in row else row


def loader(trainer: Any, rows: Any, batches: Any) -> DataLoader:
    """The data loader of a trainer's process.

    Args:
        trainer: the trainer, with its accelerator, settings and collator.
        rows: all rows.
        batches: the batches of indices of all processes together.
    """
    accelerator = trainer.accelerator
    if accelerator.num_processes > 1:
        batches = ShardedBatches(
            batches, len(rows), accelerator.num_processes, accelerator.process_index
        )
        rows = WithBlanks(rows)
    return _placed(trainer, DataLoader(rows, batch_sampler=batches, **_options(trainer)))


def stream_loader(trainer: Any, batches: Any, rows: int | None) -> DataLoader:
    """The same for rows that come in batches already, as a stream.

    Args:
        trainer: the trainer, with its accelerator, settings and collator.
        batches: the batches of rows of all processes together, one after the other.
        rows: how many rows they hold, None if nobody knows.
    """
    accelerator = trainer.accelerator

    def mine(batch: Sequence[Any]) -> Sequence[Any]:
        share = part(batch, accelerator.num_processes, accelerator.process_index)
        return share or [blank(batch[0])]

    dataset = ProcessBatches(batches, mine, rows)
    return _placed(trainer, DataLoader(dataset, batch_size=None, **_options(trainer)))


def _options(trainer: Any) -> dict[str, Any]:
    args = trainer.args
    return {
        # As transformers' own loader: where remove_unused_columns is set, the model's stay.
        "collate_fn": trainer._get_collator_with_removed_columns(trainer.data_collator, "training"),
        "num_workers": args.dataloader_num_workers,
        "pin_memory": args.dataloader_pin_memory,
        "persistent_workers": args.dataloader_persistent_workers,
        "prefetch_factor": args.dataloader_prefetch_factor,
    }


def _placed(trainer: Any, made: DataLoader) -> DataLoader:
    # The rows are dealt out already: accelerate is not to do so again, only to place them.
    accelerator = trainer.accelerator
    return prepare_data_loader(
        made,
        device=accelerator.device,
        num_processes=1,
        process_index=0,
        put_on_device=accelerator.device_placement,
        non_blocking=accelerator.non_blocking,
        dispatch_batches=False,
    )


def first_row_numbers(trainer: Any, batches: Sequence[dict[str, Any]]) -> list[int]:
    """The numbers, in one process's whole step, of the first rows of its micro-batches.

    Args:
        trainer: the trainer, with its accelerator.
        batches: this process's micro-batches of the step.
    """
    accelerator = trainer.accelerator
    sizes = torch.tensor([len(b["input_ids"]) for b in batches], device=accelerator.device)
    sizes = accelerator.gather(sizes).view(accelerator.num_processes, -1)
    before = sizes.sum(0).cumsum(0) - sizes.sum(0)
    return (before + sizes[: accelerator.process_index].sum(0)).tolist()


def allow_fsdp_on_cpu(trainer: Any) -> None:
    """Let a trainer shard on processors too, where that is asked for.

    accelerate turns its FSDP plugin on for accelerators alone and would take DDP, without a word.
    torch's ``fully_shard``, which it calls, works on processors as well.
    """
    accelerator, settings = trainer.accelerator, trainer.args.fsdp_plugin_args
    asked = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    if accelerator.distributed_type != DistributedType.MULTI_CPU or not asked:
        return
    plugin = FullyShardedDataParallelPlugin(**(settings or {}))
    if accelerator.mixed_precision != "no":
        plugin.set_mixed_precision(accelerator.mixed_precision)
    accelerator.state.fsdp_plugin = plugin
    accelerator.state.distributed_type = DistributedType.FSDP
    PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    trainer.is_fsdp_enabled = True


def whole_state(model: Any) -> dict[str, Tensor]:
    """An adapter's weights, or all of a model without one, by name, whole and on the processor.

    All processes must call this. Tied weights come once, as saving wants them.
    """
    adapted = hasattr(model, "peft_config")
    weights = {n: w for n, w in model.named_parameters() if w.requires_grad or not adapted}
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    others = {n: w for n, w in model.state_dict().items() if n not in names and not adapted}
    return {name: whole(w.detach()).cpu() for name, w in {**weights, **others}.items()}
