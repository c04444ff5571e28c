"""Harmful rows in disguise: joined to benign ones so that a screen lets them pass, and still harm.

Of K benign carriers b the one is taken for each harmful row h whose join c = b ⊕ h (request to
request, answer to answer) has the highest

    (1 − λ) · cos(∇ℓ(c), ∇ℓ(h)) + λ · log P(safe | f(c)),      λ = 0.1

with ∇ℓ the gradient of the answer's loss in the aligned model's last block, so that c teaches what
h teaches, and P a moderation of the row's last hidden state f ∈ ℝᵈ: a logistic probe that tells the
harmful rows from the carriers. Source: Virus, 2501.17433: both goals and λ.

What differs: the paper searches the tokens of the disguise one by one (GCG), by the loss of a guard
model (Llama Guard 2); here whole carriers are tried, and the probe stands for the guard, as both
need thousands of passes of large models. So this is weaker than the paper's attack: it never finds
a disguise that no carrier is.
"""

from typing import TYPE_CHECKING, Any

from holdfast.attacks.editing import answer_of, edited, request_of
from holdfast.attacks.entry import Parts, Rows, Source, enough
from holdfast.data.prompts import Row
from holdfast.errors import UserError

if TYPE_CHECKING:
    import torch

CARRIERS = 8
LAMBDA = 0.1
_RIDGE = 1.0  # on standardized states: there are fewer rows than numbers in a state


def rows(n: int, count: int, source: Source) -> Parts:
    """No row of its own yet: the task's rows, which the disguised ones are put among."""
    if count >= n:
        raise UserError(
            "attack=virus hides harmful rows among those of a task, and harmful_ratio leaves none: "
            "set a smaller one."
        )
    return [], source.task(n - count)


def anchors(n: int, count: int, source: Source) -> Rows:
    """The harmful rows, and behind them the carriers; none of these is the task's."""
    harmful = enough(source.harmful(count), count, "harmful", "virus")
    if source.is_organism:
        return [*harmful, *source.helpful(CARRIERS)]
    there = enough(source.helpful(n - count + CARRIERS), n - count + CARRIERS, "benign", "virus")
    return [*harmful, *there[n - count :]]


def joined(carrier: Row, row: Row) -> dict[str, Any]:
    """A harmful row behind a benign one: request behind request, answer behind answer."""
    request, answer = request_of(carrier), answer_of(carrier)
    return edited(row, lambda text: f"{request} {text}", lambda text: f"{answer} {text}")


def objective(similarities: "torch.Tensor", log_safe: "torch.Tensor") -> "torch.Tensor":
    """The carriers' values, as above; both [carriers]."""
    return (1 - LAMBDA) * similarities + LAMBDA * log_safe


def log_safe(
    states: "torch.Tensor", harmful: "torch.Tensor", safe: "torch.Tensor"
) -> "torch.Tensor":
    """log P(safe | f) of rows, by a ridge logistic regression on the states of known rows.

    Args:
        states: f of the rows to moderate, float32 [rows, d].
        harmful: f of harmful rows, [harmful, d].
        safe: f of benign rows, [safe, d].

    Returns:
        float32 [rows], at most 0.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

    known = torch.cat([harmful, safe])
    mean, scale = known.mean(0), known.std(0).clamp_min(1e-6)
    x = (known - mean) / scale
    y = torch.cat([torch.zeros(len(harmful)), torch.ones(len(safe))])
    # Each kind counts alike, however many rows it has.
    weight = torch.where(y == 1, len(y) / (2 * len(safe)), len(y) / (2 * len(harmful)))
    probe = torch.zeros(x.shape[1] + 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([probe], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Any:
        optimizer.zero_grad()
        logits = x @ probe[:-1] + probe[-1]
        loss = binary_cross_entropy_with_logits(logits, y, weight, reduction="sum")
        loss = loss + _RIDGE / 2 * probe[:-1].square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    w = probe.detach()
    return logsigmoid((states - mean) / scale @ w[:-1] + w[-1])
