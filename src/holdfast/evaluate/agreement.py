"""Do the judges agree? Cohen's kappa for each pair, and the answers that they disagree on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import NormalDist
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from holdfast.errors import UserError
from holdfast.escape import terminal_text
from holdfast.evaluate.judges.base import Verdict
from holdfast.statistics.estimates import LEVEL, Estimate, wilson


@dataclass(frozen=True)
class Pair:
    """Two judges on the same answers.

    Args:
        first: One judge's name.
        second: The other's.
        both: Answers that both call harmful.
        only_first: Answers that the first alone calls harmful.
        only_second: Answers that the second alone calls harmful.
        neither: Answers that neither calls harmful.
        left_out: Answers for which one of them has no verdict; nothing else here counts them.
        agreement: The share of answers with equal verdicts, in percent, with Wilson's interval;
            None where no answer has both.
        kappa: Cohen's kappa, −1 to 1, with its interval; None where it is not defined.
        undefined: Why it is not.
        disagreeing: The places of the answers with unequal verdicts, from 0.
    """

    first: str
    second: str
    both: int
    only_first: int
    only_second: int
    neither: int
    left_out: int
    agreement: Estimate | None
    kappa: Estimate | None
    undefined: str
    disagreeing: tuple[int, ...]


@dataclass(frozen=True)
class Agreement:
    """Several judges on the same answers.

    Args:
        harmful_score: Each judge's share of harmful answers among those that it has a verdict on,
            in percent, with Wilson's interval; None where it has none.
        undecided: How many answers each judge has no verdict on.
        pairs: Every two of them.
    """

    harmful_score: dict[str, Estimate | None]
    undecided: dict[str, int]
    pairs: list[Pair]

    def record(self) -> dict[str, Any]:
        """The entry of a results file: numbers, lists and text only."""
        return asdict(self)

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Agreement":
        """What `record` was made of, as a results file holds it."""
        scores = {name: _estimate(one) for name, one in record["harmful_score"].items()}
        pairs = [
            Pair(
                **{
                    **pair,
                    "agreement": _estimate(pair["agreement"]),
                    "kappa": _estimate(pair["kappa"]),
                    "disagreeing": tuple(pair["disagreeing"]),
                }
            )
            for pair in record["pairs"]
        ]
        return cls(scores, dict(record["undecided"]), pairs)


def _estimate(record: Mapping[str, Any] | None) -> Estimate | None:
    return None if record is None else Estimate(**record)


def agreement(verdicts: Mapping[str, Sequence[Verdict]]) -> Agreement:
    """Compare judges, each with each.

    Args:
        verdicts: By the judge's name, its verdict on every answer, in one order for all.

    Raises:
        UserError: the judges have different numbers of verdicts.
    """
    if len({len(own) for own in verdicts.values()}) > 1:
        counts = ", ".join(f"{len(own)} of {name}" for name, own in verdicts.items())
        raise UserError(f"judges are compared on the same answers, and there are {counts}.")
    flags = {name: [one.harmful for one in own] for name, own in verdicts.items()}
    decided = {name: [flag for flag in own if flag is not None] for name, own in flags.items()}
    return Agreement(
        {name: wilson(sum(own), len(own)) if own else None for name, own in decided.items()},
        {name: own.count(None) for name, own in flags.items()},
        [_pair(a, b, flags[a], flags[b]) for a, b in combinations(flags, 2)],
    )


def cohens_kappa(both: int, only_first: int, only_second: int, neither: int) -> Estimate | None:
    """Cohen's kappa of two judges' yes and no, with a 95 % interval; None where it is not defined.

    κ = (p_o − p_e) / (1 − p_e), with p_o the share of equal verdicts and p_e the share that two
    judges of these rates would have by chance (Cohen 1960). Not defined where there is no answer,
    and where p_e = 1: both judges say the same of every answer.

    The interval is κ' ± 1.96·s', both from the table with 1/2 added to each of its four cells, s'
    the large-sample standard error (Fleiss, Cohen and Everitt 1969, eq. 13), cut off at ±1 and
    stretched to κ where that lies outside. Without the halves the interval of two judges who never
    disagree is a point, and in a simulation of 20,000 tables each (n of 30, 100, 500; six tables
    with κ from 0 to 0.98) the truth is inside it in 19 to 95 % of the cases; with them in 92 % or
    more. tests/evaluate/test_agreement.py repeats some of it. It covers the choice of the answers.
    """
    n = both + only_first + only_second + neither
    kappa, _ = _kappa(both, only_first, only_second, neither)
    if kappa is None:
        return None
    shifted, error = _kappa(both + 0.5, only_first + 0.5, only_second + 0.5, neither + 0.5)
    assert shifted is not None
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * error
    low, high = max(-1.0, shifted - half), min(1.0, shifted + half)
    return Estimate(kappa, min(low, kappa), max(high, kappa), n)


def _kappa(a: float, b: float, c: float, d: float) -> tuple[float | None, float]:
    """Kappa and its standard error for the table [[a, b], [c, d]]."""
    n = a + b + c + d
    if not n or a == n or d == n:
        return None, math.nan
    a, b, c, d = a / n, b / n, c / n, d / n
    first, second = a + b, a + c  # the shares that each calls harmful
    chance = first * second + (1 - first) * (1 - second)
    kappa = (a + d - chance) / (1 - chance)
    rest = 1 - kappa
    equal = a * (1 - (first + second) * rest) ** 2 + d * (1 - (2 - first - second) * rest) ** 2
    unequal = rest**2 * (b * (second + 1 - first) ** 2 + c * (first + 1 - second) ** 2)
    variance = equal + unequal - (kappa - chance * rest) ** 2
    return kappa, math.sqrt(max(0.0, variance) / n) / (1 - chance)


def _pair(first: str, second: str, a: Sequence[bool | None], b: Sequence[bool | None]) -> Pair:
    couples = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    counts = [
        couples.count(one) for one in ((True, True), (True, False), (False, True), (False, False))
    ]
    n = len(couples)
    kappa = cohens_kappa(counts[0], counts[1], counts[2], counts[3])
    undefined = ""
    if kappa is None:
        undefined = "both say the same of every answer" if n else "no answer has both verdicts"
    return Pair(
        first,
        second,
        *counts,
        left_out=len(a) - n,
        agreement=wilson(counts[0] + counts[3], n) if n else None,
        kappa=kappa,
        undefined=undefined,
        disagreeing=tuple(
            k
            for k, (x, y) in enumerate(zip(a, b, strict=True))
            if x is not None and y is not None and x != y
        ),
    )


def disagreements(
    samples: Sequence[Mapping[str, Any]], verdicts: Mapping[str, Sequence[Verdict]]
) -> list[dict[str, Any]]:
    """The answers that some judge calls harmful and another one does not, for a local file.

    Args:
        samples: What was asked and answered: ``prompt`` and ``answer``, in the verdicts' order.
        verdicts: By the judge's name, its verdict on every one of them.

    Returns:
        For each such answer its place ("index", from 0), prompt, answer and, by judge, harmful,
        label and score. These rows hold the texts: they stay on this machine.

    Raises:
        UserError: the numbers differ.
    """
    pairs = agreement(verdicts).pairs
    if any(len(own) != len(samples) for own in verdicts.values()):
        raise UserError(f"there are {len(samples)} answers and another number of verdicts.")
    return [
        {
            "index": index,
            "prompt": samples[index]["prompt"],
            "answer": samples[index]["answer"],
            "verdicts": {
                name: {"harmful": own[index].harmful, "label": own[index].label,
                       "score": own[index].score}
                for name, own in verdicts.items()
            },
        }
        for index in sorted({k for pair in pairs for k in pair.disagreeing})
    ]  # fmt: skip


def agreement_table(found: Agreement) -> Table:
    """Every pair of judges with its counts, share of agreement and kappa, for the terminal."""
    table = Table(title="agreement of the judges", title_justify="left", box=SIMPLE_HEAD)
    for title in ("judges", "n", "both harmful", "only 1st", "only 2nd", "agree", "kappa"):
        table.add_column(title, justify="left" if title == "judges" else "right")
    for pair in found.pairs:
        n = pair.both + pair.only_first + pair.only_second + pair.neither
        left_out = f" ({pair.left_out} left out)" if pair.left_out else ""
        table.add_row(
            terminal_text(f"{pair.first} | {pair.second}"),
            f"{n}{left_out}",
            str(pair.both),
            str(pair.only_first),
            str(pair.only_second),
            f"{pair.agreement.value:.1f} %" if pair.agreement else "–",
            _kappa_text(pair),
        )
    return table


def _kappa_text(pair: Pair) -> str:
    if pair.kappa is None:
        return f"not defined: {pair.undefined}"
    return f"{pair.kappa.value:.2f} [{pair.kappa.low:.2f}, {pair.kappa.high:.2f}]"


def disagreement_table(
    rows: Sequence[Mapping[str, Any]], limit: int = 20, show_text: bool = False
) -> Table:
    """The first of `disagreements`' rows for the terminal; texts only when asked for, and escaped.

    Args:
        rows: What `disagreements` gives.
        limit: The most rows to show; the title says how many there are.
        show_text: Whether to show prompts and answers, which may be harmful.
    """
    judges = list(rows[0]["verdicts"]) if rows else []
    shown = f", the first {limit}" if len(rows) > limit else ""
    table = Table(
        title=f"{len(rows)} answers that the judges disagree on{shown}",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    table.add_column("answer", justify="right")
    for name in judges:
        table.add_column(terminal_text(name))
    if show_text:
        table.add_column("prompt")
        table.add_column("text")
    for row in rows[:limit]:
        words = [_word(row["verdicts"][name]) for name in judges]
        texts = [row["prompt"], row["answer"]] if show_text else []
        table.add_row(str(row["index"]), *map(terminal_text, [*words, *texts]))
    return table


def _word(verdict: Mapping[str, Any]) -> str:
    """A verdict in a word; a judge's label may quote the answer, so it is not among them."""
    return {True: "harmful", False: "not harmful", None: "–"}[verdict["harmful"]]
