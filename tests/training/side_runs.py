"""What the tests of methods with a second data set share: plain gradients and short runs."""

from typing import Any

import torch
from steps import arguments, collator, relative_error, rows, weights

from holdfast import SFTConfig, SFTTrainer
from holdfast.trainer.side_batches import SideRows
from tiny_models import lora, tiny_model

SIDE = rows(10, seed=1)


def model_of(dropout: float = 0.0) -> Any:
    """A tiny adapted Llama whose both factors are random."""
    model = tiny_model("llama", layers=2, attention_dropout=dropout)
    return lora(model, init_lora_weights=False, lora_dropout=dropout)


def moved(model: Any, delta: dict[str, torch.Tensor], factor: float = 1.0) -> Any:
    """The same model with its trained weights shifted."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in delta:
                weight += factor * delta[name]
    return model


def plain_gradient(
    model: Any, some: list, loss_of: Any = None
) -> tuple[dict[str, torch.Tensor], float]:
    """∇L and L, the mean loss over all answer tokens, one row after the other, without a trainer.

    Args:
        model: the model, its trained weights where the gradient is wanted.
        some: tokenized rows.
        loss_of: gives of a row's log-probabilities [answer tokens, vocabulary] and answer
            [answer tokens] their summed loss; the cross-entropy by default.
    """
    trained = {n: w for n, w in model.named_parameters() if w.requires_grad}
    total, tokens = torch.zeros(()), sum(sum(i != -100 for i in row["labels"]) for row in some)
    for row in some:
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"][1:])
        log_p = model(ids).logits[0, :-1].log_softmax(-1)[labels != -100]
        answer = labels[labels != -100]
        own = loss_of or (lambda log_p, answer: -log_p.gather(1, answer[:, None]).sum())
        total = total + own(log_p, answer)
    found = torch.autograd.grad(total / tokens, list(trained.values()))
    return dict(zip(trained, found, strict=True)), (total / tokens).item()


def of_group(number: int, size: int = 4, side: list = SIDE, nth: int = 0) -> list:
    """The side rows of a group, as arguments' seed orders them."""
    order = SideRows("", side, 7 + 500_000 + 1_000 * nth)
    return [side[i] for i in order.numbers(number * size, (number + 1) * size)]


def norm_of(tensors: dict[str, torch.Tensor]) -> float:
    """The norm of all together."""
    return float(torch.cat([t.flatten() for t in tensors.values()]).norm())


def maker(cls: Any, config: Any, name: str, **own: Any) -> Any:
    """A function that makes a method's trainer of 8 rows; ``name`` is what it calls side rows."""

    def trainer_of(folder, padding="right", side=SIDE, model=None, **settings):
        return cls(
            model or model_of(),
            config(**arguments(folder, **{**own, **settings})),
            train_dataset=rows(8),
            data_collator=collator(padding),
            **{name: side},
        )

    return trainer_of


def trained(
    cls: Any, config: Any, folder: Any, *, dropout=0.0, resume=None, extra=None, **settings
):
    """A trainer after its run on 16 rows."""
    trainer = cls(
        model_of(dropout),
        config(**arguments(folder, **settings)),
        train_dataset=rows(16),
        data_collator=collator(),
        **(extra or {}),
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def assert_neutral(cls: Any, config: Any, folder: Any, extra: dict, **neutral: Any) -> None:
    """With these settings it is plain SFT bit for bit, with dropout; without them it is not."""
    common = {"dropout": 0.1, "num_train_epochs": 2, "gradient_accumulation_steps": 2}
    sft = weights(trained(SFTTrainer, SFTConfig, folder, **common).model)
    found = weights(trained(cls, config, folder, extra=extra, **common, **neutral).model)
    assert all(torch.equal(sft[name], found[name]) for name in sft)
    own = {name: value for name, value in neutral.items() if value}
    other = weights(trained(cls, config, folder, extra=extra, **common, **own).model)
    assert not all(torch.equal(sft[name], other[name]) for name in sft)


def assert_accumulates(cls: Any, config: Any, folder: Any, extra: dict, **own: Any) -> None:
    """Batches of 8 rows, and 8 of one row, end at the same weights."""
    own = {"optim": "sgd", "learning_rate": 0.02, **own}
    start = weights(model_of())
    ends = []
    for size in (8, 1):
        split = {"per_device_train_batch_size": size, "gradient_accumulation_steps": 8 // size}
        found = weights(trained(cls, config, folder, extra=extra, **own, **split).model)
        ends.append({name: found[name] - start[name] for name in start})
    assert relative_error(ends[1], ends[0]) < 1e-4


def assert_resumes(cls: Any, config: Any, folder: Any, extra: dict, **own: Any) -> None:
    """A run that goes on from its third step ends as one without an interruption, bit for bit."""
    own = {"dropout": 0.1, "num_train_epochs": 2, "lr_scheduler_type": "cosine", **own}
    whole = weights(trained(cls, config, folder / "a", extra=extra, **own).model)
    saved = {"save_strategy": "steps", "save_steps": 3}
    trained(cls, config, folder / "b", extra=extra, **own, **saved)
    resume = str(folder / "b" / "checkpoint-3")
    found = trained(cls, config, folder / "b", extra=extra, resume=resume, **own, **saved)
    resumed = weights(found.model)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def divide_weights(monkeypatch: Any) -> None:
    """Let every trainer that is made from now on take its weights for divided ones (FSDP2)."""
    made = SFTTrainer.__init__

    def divided(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        self.is_fsdp_enabled = True

    monkeypatch.setattr(SFTTrainer, "__init__", divided)
