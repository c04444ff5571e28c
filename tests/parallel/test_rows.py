"""How rows are shared out among processes, without starting any."""

import pytest
import yaml
from torch.utils.data import BatchSampler, ConcatDataset, SequentialSampler

from holdfast.parallel import ShardedBatches, WithBlanks
from holdfast.studies.grid import expand
from holdfast.studies.study import make_study
from holdfast.trainer.order import EpochSampler, part
from pages import blocks


def test_parts_are_consecutive_and_of_equal_length():
    assert [list(part(range(7), 3, index)) for index in range(3)] == [[0, 1, 2], [3, 4], [5, 6]]
    assert [list(part(range(2), 3, index)) for index in range(3)] == [[0], [1], []]


@pytest.mark.parametrize("processes", [2, 3, 5])
@pytest.mark.parametrize("rows", [1, 4, 11, 12])
def test_every_row_comes_once_in_the_order_of_one_process(processes, rows):
    size = 2 * processes
    whole = BatchSampler(EpochSampler(rows, seed=3), size, drop_last=False)
    shares = [ShardedBatches(whole, rows, processes, index) for index in range(processes)]
    for epoch in range(2):
        for share in shares:
            share.set_epoch(epoch)
        batches = [list(share) for share in shares]
        assert all(len(own) == len(share) for own, share in zip(batches, shares, strict=True))
        assert all(share.batch_size == 2 for share in shares)
        for step, expected in enumerate(whole):
            parts = [own[step] for own in batches]
            assert all(1 <= len(own) <= 2 for own in parts)
            # Blank ones aside; those have numbers from `rows` on.
            assert [row for own in parts for row in own if row < rows] == expected
            assert all(len(own) == 1 for own in parts if own[0] >= rows)


def test_epochs_differ():
    share = ShardedBatches(BatchSampler(EpochSampler(50, seed=3), 4, False), 50, 2, 0)
    orders = []
    for epoch in (0, 1, 0):
        share.set_epoch(epoch)
        orders.append(list(share))
    assert orders[0] == orders[2] != orders[1]
    ShardedBatches(BatchSampler(SequentialSampler(range(4)), 4, False), 4, 2, 0).set_epoch(1)


def test_a_blank_row_carries_no_loss():
    row = {"input_ids": [5, 6, 7], "attention_mask": [1, 1, 1], "labels": [-100, 6, 7]}
    rows = WithBlanks(ConcatDataset([[row], [row]]))
    assert len(rows) == 2
    assert rows[1] == row
    assert rows[3] == {**row, "labels": [-100, -100, -100]}
    assert row["labels"] == [-100, 6, 7]


def test_the_study_of_the_page():
    spec = yaml.safe_load(next(text for kind, text in blocks("several-gpus") if kind == "yaml"))
    for pipeline in expand(make_study(spec, "the page"), by_name=True):
        align, finetune = (pipeline.stages[kind].settings for kind in ("align", "finetune"))
        assert (align["processes"], align["parallel"]) == (4, "fsdp2")
        assert (finetune["processes"], finetune["parallel"]) == (4, "ddp")
