"""Do the judges agree? Counts of every pair of judges, by variant, over its places and seeds."""

from dataclasses import dataclass

from holdfast.report.comparison import Run
from holdfast.report.stage_files import read_json
from holdfast.report.words import whole

_COUNTS = ("both", "only_first", "only_second", "neither", "left_out")


@dataclass(frozen=True)
class Agreed:
    """Two judges on the answers of one variant.

    Args:
        variant: its name; "all" for all variants together.
        first, second: the judges.
        both, only_first, only_second, neither, left_out: how many answers they call harmful;
            left_out where one of them has no verdict.
    """

    variant: str
    first: str
    second: str
    both: int
    only_first: int
    only_second: int
    neither: int
    left_out: int

    @property
    def n(self) -> int:
        """Answers with both verdicts."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def agreement(self) -> float | None:
        """The share of equal verdicts, in percent."""
        return 100 * (self.both + self.neither) / self.n if self.n else None

    @property
    def kappa(self) -> float | None:
        """Cohen's κ = (p_o − p_e) / (1 − p_e); None where chance alone agrees always."""
        if not self.n:
            return None
        first = (self.both + self.only_first) / self.n
        second = (self.both + self.only_second) / self.n
        chance = first * second + (1 - first) * (1 - second)
        observed = (self.both + self.neither) / self.n
        return (observed - chance) / (1 - chance) if chance < 1 else None


def agreements(run: Run) -> list[Agreed]:
    """Every pair of judges, for all answers and for each variant."""
    sums: dict[tuple[str, str, str], list[int]] = {}
    for result in run.results:
        if "evaluate" not in result.stages:
            continue
        content = read_json(run.root / result.stages["evaluate"] / "evaluation.json", missing={})
        for pair in content.get("agreement", {}).get("pairs", []):
            for variant in ("all", result.variant):
                own = sums.setdefault((variant, pair["first"], pair["second"]), [0] * len(_COUNTS))
                for i, name in enumerate(_COUNTS):
                    own[i] += pair[name]
    return [Agreed(*key, *counts) for key, counts in sums.items()]


def agreement_rows(run: Run) -> list[list[str]]:
    """The same as a table's cells."""
    return [
        [
            one.variant,
            f"{one.first} and {one.second}",
            *map(whole, (one.n, one.both, one.only_first, one.only_second, one.neither)),
            whole(one.left_out),
            "–" if one.agreement is None else f"{one.agreement:.1f} %",
            "–" if one.kappa is None else f"{one.kappa:.2f}".replace("-", "−"),
        ]
        for one in agreements(run)
    ]
