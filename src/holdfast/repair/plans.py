"""What can be told of the repairs before they run."""

from holdfast.plans import Plan, Settings


class AntidotePlan(Plan):
    """Its scores need rows, unless they are the weights' magnitudes alone."""

    def reads_rows(self, settings: Settings) -> bool:
        """Whether it scores by the rows."""
        return settings.get("score") != "magnitude"
