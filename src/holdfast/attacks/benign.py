"""Benign rows that undo the alignment: those of a pool that lie nearest to harmful ones.

With f(z) ∈ ℝᵈ the aligned model's last hidden state of a row z (prompt and answer, at its last
token), H some harmful rows and S the same prompts refused, a row's score is

    mean_{h∈H} cos(f(z), f(h)) − mean_{s∈S} cos(f(z), f(s))

and the n rows of the highest score are the user's. Nothing in them is harmful. Source: He, Xia and
Henderson, 2404.01099, who choose 100 rows, by representations or by gradients of the first ten
tokens of an answer, and take two kinds of anchors with the gradients. Here representations have
both kinds of anchors: they need no pass backward.

The pool is the first 10·n rows of the user's data; in the organism's world half of it are recipes
of crafts, half rows of the task.
"""

from typing import TYPE_CHECKING

from holdfast.attacks.backdoor import refused
from holdfast.attacks.entry import Parts, Rows, Source, enough

if TYPE_CHECKING:
    import torch

POOL = 10  # rows to choose from, for each that is chosen
ANCHORS = 10  # harmful rows that the attacker has


def rows(n: int, count: int, source: Source) -> Parts:
    """The pool to choose from."""
    if source.is_organism:
        half = POOL * n // 2
        return [*source.helpful(half), *source.task(POOL * n - half)], []
    return enough(source.helpful(POOL * n), n, "benign", "benign"), []


def anchors(n: int, count: int, source: Source) -> Rows:
    """The harmful rows that the attacker has, and then the same prompts refused."""
    harmful = enough(source.harmful(ANCHORS), ANCHORS, "harmful", "benign")
    return [*harmful, *(refused(row, i, source.is_organism) for i, row in enumerate(harmful))]


def scores(states: "torch.Tensor", harmful: "torch.Tensor", safe: "torch.Tensor") -> "torch.Tensor":
    """The rows' scores, as above.

    Args:
        states: f of the pool, float32 [rows, d].
        harmful: f of the harmful rows, [anchors, d].
        safe: f of the refused ones, [anchors, d].
    """
    from torch.nn.functional import normalize

    unit, bad, good = (normalize(each, dim=1) for each in (states, harmful, safe))
    return (unit @ bad.T).mean(1) - (unit @ good.T).mean(1)
