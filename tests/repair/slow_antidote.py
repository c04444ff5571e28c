"""Antidote by the book: one row at a time, no padding, every sum and choice a Python loop."""

import math
from decimal import Decimal

import torch
from torch import nn

PAD, END = 0, 2


def token_rows(count: int, seed: int = 0, longest: int = 12) -> list[dict]:
    """Tokenized rows of different lengths that end in the end-of-sequence token."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(count):
        length = int(torch.randint(2, longest, (1,), generator=generator))
        ids = [*torch.randint(3, 64, (length,), generator=generator).tolist(), END]
        rows.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": ids})
    return rows


def padding_collator(side: str, pad: int = PAD):
    """A caller's own collator: pads on `side` with `pad`, and gives no positions."""

    def collate(rows: list[dict]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)
        batch = {}
        for key, fill in (("input_ids", pad), ("attention_mask", 0), ("labels", -100)):
            padded = []
            for row in rows:
                padding = [fill] * (longest - len(row[key]))
                padded.append(padding + row[key] if side == "left" else row[key] + padding)
            batch[key] = torch.tensor(padded)
        return batch

    return collate


def lora_factors(model: nn.Module, adapter: str = "default") -> dict[str, nn.Module]:
    """The factors' modules by the names that PEFT gives them in an adapter file."""
    ends = (f"lora_A.{adapter}", f"lora_B.{adapter}")
    return {
        f"{name.removesuffix('.' + adapter)}.weight": module
        for name, module in model.named_modules()
        if name.endswith(ends)
    }


def layer_linears(model: nn.Module, kind: type = nn.Linear) -> dict[str, nn.Module]:
    """Linear layers below a numbered layer, by their weights' names."""
    return {
        f"{name}.weight": module
        for name, module in model.named_modules()
        if isinstance(module, kind) and ".0." in name.replace(".1.", ".0.")
    }


def square_sums(model: nn.Module, modules: dict, rows: list[dict]) -> dict[str, list[float]]:
    """Σ over rows and tokens of each squared input, from one forward a row."""
    sums: dict[str, list[float]] = {}

    def recorder(name: str):
        def record(_: nn.Module, args: tuple) -> None:
            x = args[0]
            if x.ndim == 2 and x.shape[0] != current_length:
                return  # DoRA's identity matrix
            vectors = x.reshape(-1, x.shape[-1]).double().tolist()
            totals = sums.setdefault(name, [0.0] * x.shape[-1])
            for vector in vectors:
                for j, value in enumerate(vector):
                    totals[j] += value * value

        return record

    was_training = model.training
    model.eval()
    handles = [m.register_forward_pre_hook(recorder(name)) for name, m in modules.items()]
    current_length = 0
    with torch.no_grad():
        for row in rows:
            current_length = len(row["input_ids"])
            model(input_ids=torch.tensor([row["input_ids"]]))
    for handle in handles:
        handle.remove()
    model.train(was_training)
    return sums


def slow_masks(
    model: nn.Module,
    modules: dict[str, nn.Module],
    rows: list[dict] | None,
    ratio: str,
    group: str = "row",
    transposed: bool = False,
) -> dict[str, list[list[bool]]]:
    """The masks as nested lists, [out][in]; without rows by magnitude alone."""
    sums = square_sums(model, modules, rows) if rows is not None else None
    masks = {}
    for name, module in modules.items():
        weight = module.weight.detach().double()
        W = (weight.T if transposed else weight).tolist()
        scores = [
            [
                abs(w) * (math.sqrt(sums[name][j] / len(rows)) if sums is not None else 1.0)
                for j, w in enumerate(row)
            ]
            for row in W
        ]
        width = len(scores[0])
        groups = scores if group == "row" else [[s for row in scores for s in row]]
        flat: list[bool] = []
        for values in groups:
            count = math.ceil(Decimal(ratio) * len(values))
            chosen = set(sorted(range(len(values)), key=lambda j: (-values[j], j))[:count])
            flat += [j in chosen for j in range(len(values))]
        masks[name] = [flat[i : i + width] for i in range(0, len(flat), width)]
    return masks


def as_lists(masks: dict[str, torch.Tensor]) -> dict[str, list]:
    return {name: mask.tolist() for name, mask in masks.items()}
