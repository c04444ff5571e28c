"""What can be told of the screens before they run."""

from dataclasses import dataclass

from holdfast.errors import UserError
from holdfast.evaluate.judges.registry import check_judge
from holdfast.plans import Plan, Settings


@dataclass(frozen=True)
class TextPlan(Plan):
    """A screen that reads text and asks no model that is screened for."""

    passes_a_step: float = 0.0


class KeywordsPlan(TextPlan):
    """The words are what counts, not the file that they are in."""

    def check(self, settings: Settings) -> tuple[str, str] | None:
        """There are words, in one place."""
        if settings["words"] and settings["words_file"]:
            return "words_file", "words and words_file are both given: leave one of them out."
        if not settings["words"] and not settings["words_file"]:
            return "words", (
                "the screen 'keywords' has no words to look for: set words=[…], or words_file to a "
                "file with one a line."
            )
        return None


class RandomPlan(TextPlan):
    """A share, or a threshold."""

    def check(self, settings: Settings) -> tuple[str, str] | None:
        """There is one of the two."""
        if settings["share"] is None and settings["threshold"] is None:
            return "share", "the screen 'random' drops a share of the rows: set share=0.1, say."
        return None


class JudgePlan(TextPlan):
    """The judge is checked as an evaluation's is."""

    def check(self, settings: Settings) -> tuple[str, str] | None:
        """It is one that there is."""
        try:
            check_judge(settings["judge"], "judge")
        except UserError as error:
            return "judge", str(error)
        return None
