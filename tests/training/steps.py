"""What the tests of the training methods share: rows, batches, trainers on tiny models."""

from types import SimpleNamespace
from typing import Any

import torch

from holdfast.trainer.collator import Collator


def rows(count: int, seed: int = 0, longest: int = 9) -> list[dict[str, list[int]]]:
    """Tokenized rows of different lengths; the first two tokens are the prompt."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        length = int(torch.randint(4, longest + 1, (1,), generator=generator))
        ids = torch.randint(3, 64, (length,), generator=generator).tolist()
        made.append(
            {
                "input_ids": ids,
                "attention_mask": [1] * length,
                "labels": [-100, -100, *ids[2:]],
            }
        )
    return made


def other_answers(made: list[dict[str, list[int]]], seed: int = 5) -> list[dict[str, list[int]]]:
    """Rows of the same prompts with answers of other tokens and lengths; some tokens are equal."""
    found = []
    for row, other in zip(made, rows(len(made), seed), strict=True):
        ids = [*row["input_ids"][:3], *other["input_ids"][2:]]
        labels = [-100, -100, *ids[2:]]
        found.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels})
    return found


def collator(side: str = "right") -> Collator:
    """Pads with token 0, whatever token a row ends with."""
    return Collator(SimpleNamespace(pad_token_id=0, eos_token_id=2, padding_side=side))  # type: ignore[arg-type] # a stand-in with what the collator reads


def arguments(folder: Any, **settings: Any) -> dict[str, Any]:
    """Settings that keep a tiny run quiet and plain; later ones win."""
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": 4,
        "num_train_epochs": 1,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_strategy": "no",
        "use_cpu": True,
        "seed": 7,
        **settings,
    }


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the weights that train."""
    return {n: w.detach().clone() for n, w in model.named_parameters() if w.requires_grad}


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the gradients that are there."""
    return {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}


def relative_error(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """‖a − b‖ / ‖b‖ over all tensors together."""
    assert a.keys() == b.keys()
    assert a
    difference = sum((a[n] - b[n]).double().square().sum() for n in b)
    return float((difference / sum(b[n].double().square().sum() for n in b)) ** 0.5)


def step_gradients(trainer: Any, batches: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The gradients that one optimizer step of ``trainer`` over ``batches`` would use."""
    trainer.model.zero_grad()
    trainer.current_gradient_accumulation_steps = len(batches)
    samples, num_items = trainer.get_batch_samples(iter(batches), len(batches), torch.device("cpu"))
    for number, batch in enumerate(samples, start=1):
        trainer.accelerator.gradient_state._set_sync_gradients(number == len(samples))
        trainer.training_step(trainer.model, batch, num_items)
    return gradients(trainer.model)
