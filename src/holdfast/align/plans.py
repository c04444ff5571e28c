"""What can be told of Vaccine and T-Vaccine before they run."""

import math

from holdfast.plans import Pass, Plan, Settings


class VaccinePlan(Plan):
    """A first pass, without the weights' gradients, on every step that is perturbed."""

    def passes(self, settings: Settings, steps: int) -> float:
        """Two on every ``every``-th step."""
        return steps + math.ceil(steps / settings["every"])

    def operations(self, one: Pass, settings: Settings, layers: int, steps: int) -> float:
        """See `Plan.operations`."""
        first = (one.whole - one.weights) * math.ceil(steps / settings["every"])
        return one.whole + first / max(1, steps)

    def perturbed_layers(self, settings: Settings, layers: int) -> int:
        """All."""
        return layers


class TVaccinePlan(Plan):
    """Vaccine's two passes over the drawn layers and what lies above, and the probes."""

    def passes(self, settings: Settings, steps: int) -> float:
        """Two on every step, and one on every ``probe_every``-th."""
        return 2 * steps + math.ceil(steps / settings["probe_every"])

    def operations(self, one: Pass, settings: Settings, layers: int, steps: int) -> float:
        """See `Plan.operations`."""
        share = settings["layers"] / layers
        above = 1 - _share_below(settings, layers)
        rows = settings["per_device_train_batch_size"] * settings.get("processes", 1)
        size = rows * settings["gradient_accumulation_steps"]
        probes = math.ceil(steps / settings["probe_every"]) / max(1, steps)
        probed = probes * (settings.get("probe_batch_size") or size) / size
        two = one.forward + 2 * (one.again + one.backward)
        drawn = one.forward + above * two + share * one.weights
        return drawn + (one.whole - one.weights) * probed

    def trained_layers(self, settings: Settings, layers: int) -> tuple[float, float]:
        """The drawn ones; above the lowest of them the frozen ones."""
        if settings["adapter"] == "full":
            return layers, 0.0
        drawn = min(settings["layers"], layers)
        return drawn, layers * (1 - _share_below(settings, layers)) - drawn

    def perturbed_layers(self, settings: Settings, layers: int) -> int:
        """The drawn ones."""
        return settings["layers"]


class TARPlan(Plan):
    """An attacker's passes in every step, and those for the tamper resistance on its way."""

    def __init__(self):
        super().__init__(copies=6)  # attacked weights, their optimizer's two, three gradients

    def check(self, settings: Settings) -> tuple[str, str] | None:
        """An attack that is over before its first tamper-resistance gradient."""
        every, attack = settings["tamper_every"], settings["attack_steps"]
        if every > attack:
            return "tamper_every", (
                f"tamper_every is {every}, but the attacker takes {attack} steps: tamper "
                "resistance would never be trained."
            )
        return None

    def passes(self, settings: Settings, steps: int) -> float:
        """The training's own, the attacker's, and one on every ``tamper_every``-th of these."""
        attack = settings["attack_steps"]
        return steps * (1 + attack + attack // settings["tamper_every"])


class VAAPlan(Plan):
    """A second pass on the perturbed steps, and the trial attack."""

    def __init__(self):
        super().__init__(copies=5)  # ε, w; in the trial its weights, its optimizer's two, gradients

    def passes(self, settings: Settings, steps: int) -> float:
        """The training's own, those of the steps that are perturbed on average, and the trial's."""
        perturbed = settings["lam"] * (steps - 1) / 2 if settings["rho"] else 0.0
        return steps + perturbed + settings["trial_steps"]

    def operations(self, one: Pass, settings: Settings, layers: int, steps: int) -> float:
        """See `Plan.operations`; a pass over all rows before the trial, and one after."""
        rows = settings.get("rows") or 0
        size = settings["per_device_train_batch_size"] * settings.get("processes", 1)
        size *= settings["gradient_accumulation_steps"]
        twice = 2 * rows / size * one.forward if settings["trial_steps"] else 0.0
        return super().operations(one, settings, layers, steps) + twice / max(1, steps)


def _share_below(settings: Settings, layers: int) -> float:
    """The expected share of the layers below the lowest drawn one, all drawn alike."""
    if settings["adapter"] == "full" or settings["freeze"] == "attention":
        return 0.0
    drawn = min(settings["layers"], layers)
    return (layers - drawn) / ((drawn + 1) * layers)
