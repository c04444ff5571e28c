"""What can be told of fine-tuning methods before they run."""

from holdfast.plans import Plan, Settings


class EWCPlan(Plan):
    """One pass over the alignment rows at the start; start values and Fisher information."""

    def __init__(self):
        super().__init__(copies=2.0)

    def passes(self, settings: Settings, steps: int) -> float:
        """The alignment rows' counted by their number."""
        rows = settings["per_device_train_batch_size"] * settings.get("processes", 1)
        size = rows * settings["gradient_accumulation_steps"]
        return steps + (settings.get("alignment_rows") or 0) / size
