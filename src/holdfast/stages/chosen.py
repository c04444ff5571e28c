"""Rows that an attacker chooses with the help of the model, before the training begins.

``chosen_rows.json`` in the stage's folder keeps what was chosen, by numbers from 0. Every process
of several chooses the same.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from holdfast.attacks import benign, virus
from holdfast.data.mixing import mix
from holdfast.data.rows import tokenize
from holdfast.evaluate.alignment import alignment_pass
from holdfast.models.blocks import decoder_layers
from holdfast.models.modes import evaluation_mode
from holdfast.stages.disk import write_json
from holdfast.stages.rows import Rows
from holdfast.stages.work import Work

ANCHORS = "anchors"
FILE = "chosen_rows.json"


def choose_rows(work: Work, model: Any, tokenizer: Any) -> None:
    """Make the user's rows those that the attack chooses.

    Args:
        work: the stage; its rows "anchors" are what the attack chooses by.
        model: the model that the fine-tuning starts from.
        tokenizer: its tokenizer.
    """
    choose = {"benign": _nearest, "virus": _disguised}[work.settings["attack"]]
    work.rows["train"], record = choose(work, model, tokenizer, work.rows.pop(ANCHORS))
    if work.is_main:
        write_json(work.folder / FILE, record)


def _nearest(work: Work, model: Any, tokenizer: Any, anchors: Rows) -> tuple[Rows, dict[str, Any]]:
    """Those of the pool that lie nearest to harm, in its order; see `holdfast.attacks.benign`."""
    pool, half = work.rows["train"], len(anchors) // 2
    states = _states(work, model, tokenizer, [*anchors, *pool])
    scores = benign.scores(states[2 * half :], states[:half], states[half : 2 * half])
    best = scores.argsort(descending=True, stable=True)[: work.settings["rows"]]
    chosen = sorted(best.tolist())
    return [pool[place] for place in chosen], {"chosen": chosen, "scores": scores.tolist()}


def _disguised(
    work: Work, model: Any, tokenizer: Any, anchors: Rows
) -> tuple[Rows, dict[str, Any]]:
    """The harmful rows behind the best carriers, among the task's; see `holdfast.attacks.virus`."""
    harmful, carriers = anchors[: -virus.CARRIERS], anchors[-virus.CARRIERS :]
    joins = [[virus.joined(carrier, row) for carrier in carriers] for row in harmful]
    states = _states(work, model, tokenizer, [*anchors, *(c for own in joins for c in own)])
    bad, good, rest = states.split([len(harmful), len(carriers), len(harmful) * len(carriers)])
    safe = virus.log_safe(rest, bad, good).view(len(harmful), len(carriers))
    chosen = []
    for number, (row, own) in enumerate(zip(harmful, joins, strict=True)):
        wanted = _gradient(model, tokenizer, row)
        similar = torch.stack(
            [torch.cosine_similarity(_gradient(model, tokenizer, c), wanted, 0) for c in own]
        )
        chosen.append(int(virus.objective(similar, safe[number]).argmax()))
        work.progress(0.0, f"choosing rows: {number + 1}/{len(harmful)} disguised")
    hidden = [own[best] for own, best in zip(joins, chosen, strict=True)]
    task, n = work.rows["train"], len(hidden) + len(work.rows["train"])
    mixed = mix(hidden, task, n, len(hidden) / n, work.settings["seed"])
    return mixed, {"carriers": chosen}


def _states(work: Work, model: Any, tokenizer: Any, rows: Rows) -> Tensor:
    """The last hidden state of every row at its last token, float32 [rows, hidden]."""
    size = work.settings["per_device_train_batch_size"]

    def told(done: int, of: int) -> None:
        work.progress(0.0, f"choosing rows: {done}/{of} read")

    found = alignment_pass(model, tokenizer, rows, size, losses=False, progress=told)
    return torch.stack([row[-1] for row in found.last])


def _gradient(model: Any, tokenizer: Any, row: Any) -> Tensor:
    """The gradient of a row's loss in the last decoder block's weights, as one vector."""
    tokens = {key: torch.tensor([ids]) for key, ids in tokenize(row, tokenizer, 2**31).items()}
    weights: Sequence[Any] = [
        p for p in decoder_layers(model)[-1].parameters() if p.is_floating_point()
    ]
    before = [p.requires_grad for p in weights]
    try:
        for p in weights:
            p.requires_grad_(True)
        with evaluation_mode(model), torch.enable_grad():
            loss = model(**{key: ids.to(model.device) for key, ids in tokens.items()}).loss
            found = torch.autograd.grad(loss, list(weights))
    finally:
        for p, was in zip(weights, before, strict=True):
            p.requires_grad_(was)
    return torch.cat([g.detach().float().flatten().cpu() for g in found])
