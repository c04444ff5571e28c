"""What can be told of fine-tuning methods before they run."""

import math
from typing import Any

from holdfast.data.mixing import share_count
from holdfast.plans import Pass, Plan, Settings

EAGER = "Surgery reads attention weights, which eager attention alone puts out"


class EWCPlan(Plan):
    """One pass over the alignment rows at the start; start values and Fisher information."""

    def __init__(self):
        super().__init__(copies=2.0)

    def passes(self, settings: Settings, steps: int) -> float:
        """The alignment rows' counted by their number."""
        rows = settings["per_device_train_batch_size"] * settings.get("processes", 1)
        size = rows * settings["gradient_accumulation_steps"]
        return steps + (settings.get("alignment_rows") or 0) / size


class SafeMixPlan(Plan):
    """Alignment rows among the user's."""

    def rows(self, settings: Settings, rows: int) -> int:
        """The user's and the share of them on top."""
        return rows + share_count(rows, settings["share"])

    def check(self, settings: Settings) -> tuple[str, str] | None:
        """Too few alignment rows, where both numbers are known."""
        if not settings["rows"]:
            return None
        return _too_few(settings, "share", share_count(settings["rows"], settings["share"]))


class PTSTPlan(Plan):
    """Another system prompt at answering than in training."""

    def asked_with(self, settings: Settings) -> str | None:
        """The setting, or a word in the place of the paper's."""
        return "safe" if settings["system_prompt"] is None else settings["system_prompt"]


class BackdoorAlignPlan(Plan):
    """A few marked alignment rows among the user's, and the mark before every question."""

    def rows(self, settings: Settings, rows: int) -> int:
        """The user's and the marked ones."""
        return rows + settings["safe_rows"] * settings["repeats"]

    def check(self, settings: Settings) -> tuple[str, str] | None:
        """Too few alignment rows, where their number is known."""
        return _too_few(settings, "safe_rows", settings["safe_rows"])

    def asked_with(self, settings: Settings) -> str | None:
        """The trigger, or a word in its place where it will be drawn, and the service's own."""
        trigger = "trigger" if settings["trigger"] is None else settings["trigger"]
        return " ".join(filter(None, (trigger, settings["system_prompt"])))


def _too_few(settings: Settings, name: str, wanted: int) -> tuple[str, str] | None:
    there: Any = settings["alignment_rows"]
    if there is None or wanted <= there:
        return None
    return name, (
        f"{name} is {settings[name]}, which asks for {wanted} alignment rows, and alignment_rows "
        f"is {there}: raise it, or set a smaller {name}."
    )


class TeacherPlan(Plan):
    """A pass of the model as it began for every pass; its start values where they are kept.

    They are kept of everything that trains but a fresh adapter; that is said for all, to be safe.
    """

    def __init__(self):
        super().__init__(forwards_a_step=1.0, copies=1.0)


class SPPFTPlan(Plan):
    """Its search reads harmful rows, and asks the model before it trains."""

    def reads_rows(self, settings: Settings) -> bool:
        """Where it searches."""
        return settings.get("layers") == "search"

    def decisive(self, settings: Settings) -> dict[str, Any]:
        """Without a search what stood there before there was one; with it not the named layers."""
        named = settings.get("layers") != "search"
        unused = {"layers", "scale", "probe_rows"} if named else {"first_layer", "last_layer"}
        return {k: v for k, v in settings.items() if k not in unused}

    def operations(self, one: Pass, settings: Settings, layers: int, steps: int) -> float:
        """See `Plan.operations`; forward passes over 100 normal prompts, one for each range and one
        for their states, and as many harmful ones, for these and four tokens of an answer."""
        plain = super().operations(one, settings, layers, steps)
        if not self.reads_rows(settings):
            return plain
        size = settings["per_device_train_batch_size"] * settings.get("processes", 1)
        size *= settings["gradient_accumulation_steps"]
        passes = 100 * (layers + 2 + 5) / size
        return plain + passes * one.forward / max(1, steps)


class BDSPlan(Plan):
    """A pass over alignment rows beside the user's; of the neural scheduler one at the start."""

    def __init__(self):
        super().__init__(passes_a_step=2.0, copies=1.0)

    def operations(self, one: Pass, settings: Settings, layers: int, steps: int) -> float:
        """With the pass that reads the rows."""
        reads = settings.get("scheduler") == "neural"
        known = super().operations(one, settings, layers, steps)
        return known + (one.forward / self.epochs(settings) if reads else 0)

    def decisive(self, settings: Settings) -> dict[str, Any]:
        """All but ``scheduler`` where it is what it always was before it could be chosen."""
        scalar = settings.get("scheduler") == "scalar"
        return {k: v for k, v in settings.items() if not (scalar and k == "scheduler")}


class SEALPlan(Plan):
    """Passes beside alignment rows that choose, then passes over the chosen rows."""

    def __init__(self):
        super().__init__(copies=2.0)

    def rows(self, settings: Settings, rows: int) -> int:
        """Those drawn, where none are chosen by training."""
        return rows if settings["choosing_epochs"] else share_count(rows, settings["share"])

    def epochs(self, settings: Settings) -> float:
        """Those that choose, and of those over the chosen rows their share."""
        return passes_of_both(settings)

    def steps(self, settings: Settings, plain: int) -> tuple[int, int]:
        """Whole batches in either part."""
        size = settings["per_device_train_batch_size"] * settings.get("processes", 1)
        size *= settings["gradient_accumulation_steps"]
        if settings["choosing_epochs"]:
            return math.ceil(passes_of_both(settings) * settings["rows"] / size), 0
        return math.ceil(settings["num_train_epochs"] * math.ceil(settings["rows"] / size)), 0

    def passes(self, settings: Settings, steps: int) -> float:
        """Two in a step that chooses."""
        return steps + choosing_steps(settings, steps)


def passes_of_both(settings: Settings) -> float:
    """SEAL's passes, those over chosen rows by their share: E_s + s·E, or E over rows drawn."""
    choosing, epochs = settings["choosing_epochs"], settings["num_train_epochs"]
    return choosing + settings["share"] * epochs if choosing else epochs


def choosing_steps(settings: Settings, steps: int) -> int:
    """S, SEAL's steps that choose rows, of all steps; either part has one if it can."""
    part = settings["choosing_epochs"] / passes_of_both(settings)
    return min(max(1, round(steps * part)), steps - 1) if part else 0


class SurgeryPlan(Plan):
    """A pass over harmful and one over safe rows, each measured without gradients before."""

    def __init__(self):
        super().__init__(passes_a_step=3.0, forwards_a_step=2.0, copies=1.0)

    def check(self, settings: Settings) -> tuple[str, str] | None:
        """Attention must be eager."""
        if settings.get("attn_implementation") == "eager":
            return None
        return "attn_implementation", f"{EAGER}: set attn_implementation=eager."
