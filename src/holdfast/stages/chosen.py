"""Rows that an attacker chooses with the help of the model, before the training begins."""

from typing import Any

import torch

from holdfast.attacks import benign
from holdfast.evaluate.alignment import alignment_pass
from holdfast.stages.disk import write_json
from holdfast.stages.work import Work

ANCHORS = "anchors"
FILE = "chosen_rows.json"


def choose_rows(work: Work, model: Any, tokenizer: Any) -> None:
    """Leave of the user's rows those that the attack chooses, in the pool's order.

    ``chosen_rows.json`` keeps which rows of the pool they are, counted from 0, and all scores.
    Every process of several chooses the same.

    Args:
        work: the stage; its rows "anchors" are what the attack chooses by.
        model: the model that the fine-tuning starts from.
        tokenizer: its tokenizer.
    """
    pool, anchors = work.rows["train"], work.rows.pop(ANCHORS)
    size, half = work.settings["per_device_train_batch_size"], len(anchors) // 2

    def told(done: int, of: int) -> None:
        work.progress(0.0, f"choosing rows: {done}/{of} read")

    found = alignment_pass(model, tokenizer, [*anchors, *pool], size, losses=False, progress=told)
    states = torch.stack([row[-1] for row in found.last])
    scores = benign.scores(states[2 * half :], states[:half], states[half : 2 * half])
    best = scores.argsort(descending=True, stable=True)[: work.settings["rows"]]
    chosen = sorted(best.tolist())
    work.rows["train"] = [pool[place] for place in chosen]
    if work.is_main:
        write_json(work.folder / FILE, {"chosen": chosen, "scores": scores.tolist()})
