"""Evaluations that a model card shows, each of the very model that is published."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.errors import UserError
from holdfast.models.stack import resolve
from holdfast.publish.lineage import StageRecord, read_stage
from holdfast.publish.paths import without_paths
from holdfast.stages.folders import ANSWERS, PROVENANCE, STAGES
from holdfast.stages.identity import model_identity
from holdfast.stages.whole import check_whole

FILE = "evaluation.json"
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
        folder: The evaluation's folder; of one of several models, the folder of them all.
        model: The folder of the model that is published.
        made_by: The stage that wrote it.

    Raises:
        UserError: there is no evaluation in the folder, it was changed, or it is one of another
            model.
    """
    folder = _one_of_several(folder, made_by)
    stage = read_stage(folder)
    file = folder / FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        protocol, metrics = content["protocol"], content["metrics"]
        numbers = tuple(_metric(name, metric) for name, metric in metrics.items())
        _ = protocol["name"], protocol["version"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder} is no evaluation: it has no evaluation.json to read.") from None
    check_whole(folder, anew=True)
    identity, weights = _measured(folder, stage)
    if identity != made_by.provenance["identity"] or not _has_weights(model, weights):
        raise UserError(
            f"the evaluation in {folder} is of another model than {model}: it measured "
            f"{stage.settings.get('model')}"
            + (f" (identity {str(identity)[:12]})." if identity else ", as far as it says.")
        )
    judges = tuple(map(_judge, content.get("judges") or ()))
    seed = int(stage.settings.get("seed", 0))
    return Measurement(without_paths(protocol), judges, numbers, seed)


def _one_of_several(folder: Path, made_by: StageRecord) -> Path:
    """Of the folder of `holdfast evaluate A B`, or of a run, the evaluation of this model."""
    if (folder / PROVENANCE).is_file():
        return folder
    for file in sorted(folder.glob(f"{STAGES}/*/{FILE}")):
        with suppress(UserError):
            if _measured(file.parent, read_stage(file.parent))[0] == made_by.provenance["identity"]:
                return file.parent
    return folder


def _measured(folder: Path, stage: StageRecord) -> tuple[str | None, str | None]:
    """The identity of the model that an evaluation measured, and the hash of its weights.

    An evaluation of an earlier version has the identity with its answers alone, and no hash.
    """
    about: Mapping[str, Any] = {}
    missing = (OSError, ValueError, LookupError, TypeError)
    with suppress(*missing), (folder / ANSWERS).open(encoding="utf-8") as answers:
        about = dict(json.loads(answers.readline())["made_with"])
    identity = stage.provenance.get("model") or stage.provenance.get("parent") or about.get("model")
    return identity, about.get("weights")


def _has_weights(model: Path, recorded: str | None) -> bool:
    """Whether the model has the weights that were measured: a stage may be made twice."""
    try:
        return recorded is None or model_identity(resolve(model)) == recorded
    except UserError:  # its base is not here
        return True


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
