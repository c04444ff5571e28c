"""Evaluations that a model card shows, each of the very model that is published."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.errors import UserError
from holdfast.publish.lineage import StageRecord, read_stage
from holdfast.publish.paths import without_paths

_OTHER_UNITS = {"loss": " nats/token", "drift": "", "perplexity": "", "seconds": " s"}
_NOT_SHOWN = ("url",)  # of an endpoint: an address in somebody's own network


@dataclass(frozen=True)
class Metric:
    """One number of an evaluation, as the card shows it."""

    name: str
    value: float
    low: float
    high: float
    n: int
    unit: str

    @property
    def title(self) -> str:
        """Its name in words."""
        return self.name.replace("_", " ")

    @property
    def interval(self) -> str:
        """Its value with the 95 % interval and the unit."""
        digits = 1 if self.unit == " %" else 3
        low, high = f"{self.low:.{digits}f}", f"{self.high:.{digits}f}"
        return f"{self.value:.{digits}f}{self.unit} [{low}, {high}]"


@dataclass(frozen=True)
class Measurement:
    """One evaluation of the model.

    Args:
        protocol: What evaluation.json records of the protocol.
        judges: What it records of each judge, as "name: value" texts.
        metrics: The numbers, in their order.
        seed: The seed of the prompts.
    """

    protocol: Mapping[str, Any]
    judges: tuple[str, ...]
    metrics: tuple[Metric, ...]
    seed: int

    @property
    def title(self) -> str:
        """The protocol with its version."""
        return f"{self.protocol['name']} (version {self.protocol['version']})"


def read_measurement(folder: Path, model: Path, made_by: StageRecord) -> Measurement:
    """Read an evaluation, and make sure that it is of this model.

    Args:
        folder: The evaluation's folder.
        model: The folder of the model that is published.
        made_by: The stage that wrote it.

    Raises:
        UserError: there is no evaluation in the folder, or it is one of another model.
    """
    stage = read_stage(folder)
    file = folder / "evaluation.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        protocol, metrics = content["protocol"], content["metrics"]
        numbers = tuple(_metric(name, metric) for name, metric in metrics.items())
        _ = protocol["name"], protocol["version"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder} is no evaluation: it has no evaluation.json to read.") from None
    measured = Path(str(stage.settings.get("model", ""))).expanduser()
    same_folder = measured.exists() and measured.resolve() == model.resolve()
    if not same_folder and stage.provenance.get("parent") != made_by.provenance["identity"]:
        raise UserError(
            f"the evaluation in {folder} is of another model than {model}: it measured "
            f"{stage.settings.get('model')}."
        )
    judges = tuple(map(_judge, content.get("judges") or ()))
    seed = int(stage.settings.get("seed", 0))
    return Measurement(without_paths(protocol), judges, numbers, seed)


def _metric(name: str, metric: Mapping[str, Any]) -> Metric:
    unit = next((unit for part, unit in _OTHER_UNITS.items() if part in name), " %")
    value = float(metric["value"])
    low, high = float(metric.get("low", value)), float(metric.get("high", value))
    return Metric(name, value, low, high, int(metric.get("n", 0)), unit)


def _judge(record: Any) -> str:
    if not isinstance(record, Mapping):
        return str(without_paths(record))
    shown = {key: value for key, value in record.items() if key not in _NOT_SHOWN}
    return ", ".join(f"{key}: {value}" for key, value in without_paths(shown).items())
