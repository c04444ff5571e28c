"""What can be told of the repairs before they run."""

from dataclasses import dataclass

from holdfast.plans import Plan, Settings


class AntidotePlan(Plan):
    """Its scores need rows, unless they are the weights' magnitudes alone."""

    def reads_rows(self, settings: Settings) -> bool:
        """Whether it scores by the rows."""
        return settings.get("score") != "magnitude"


@dataclass(frozen=True)
class RestaPlan(Plan):
    """DARE's mask makes a whole model of it, which quantized weights cannot take."""

    needs_rows: bool = False

    def check(self, settings: Settings) -> tuple[str, str] | None:
        """DARE beside quantization."""
        if not settings["drop_rate"] or not settings["quantization"]:
            return None
        return "quantization", (
            f"quantization is {settings['quantization']}, and drop_rate of method=resta changes "
            "single weights: leave one of them out."
        )


class SafeMergePlan(Plan):
    """It trains an adapter on its rows."""

    def passes(self, settings: Settings, steps: int) -> float:
        """Forward passes, and backward ones, which take as many operations."""
        return 2.0 * settings["epochs"] * steps
