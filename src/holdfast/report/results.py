"""Read results.json, and bring the seeds of a pipeline together."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from holdfast.errors import UserError
from holdfast.report.statistics import Estimate, over_seeds

SCHEMA_VERSION = 1
NAMES = {
    "sft": "SFT",
    "vaccine": "Vaccine",
    "t_vaccine": "T-Vaccine",
    "random_perturbation": "random perturbation",
    "lisa": "Lisa",
    "antidote": "Antidote",
    "random_mask": "random mask",
}
# Their unit is not a percentage, so only zero bounds them.
_UNBOUNDED = ("alignment_loss", "embedding_drift")


@dataclass(frozen=True)
class Pipeline:
    """One pipeline's results over its seeds.

    Args:
        align: The alignment method's name in results.json; None for none.
        finetune: The fine-tuning method's; None for none.
        repair: The repair's; None for none.
        harmful_ratio: p, the harmful share of the user's rows; None where nobody fine-tuned.
        variant: What tells it from another pipeline of the same methods, such as a setting.
        axes: Its place on the other axes of its study: (name, value).
        metrics: Mean and interval by metric; see `over_seeds` for what the interval covers.
        seconds: Mean seconds of all stages together; None where none are recorded.
        seeds: How many seeds.
    """

    align: str | None
    finetune: str | None
    repair: str | None
    harmful_ratio: float | None
    variant: str
    axes: tuple[tuple[str, Any], ...]
    metrics: dict[str, Estimate]
    seconds: float | None
    seeds: int

    @property
    def label(self) -> str:
        """The methods that are not plain SFT, joined by +; "SFT" where there is none."""
        if self.align is self.finetune is self.repair is None:
            return "base model"
        methods = [m for m in (self.align, self.finetune, self.repair) if m not in ("sft", None)]
        name = " + ".join(display_name(method) for method in methods) or "SFT"
        told = [self.variant, *(f"{axis} = {value}" for axis, value in self.axes)]
        if any(told):
            name += f" ({', '.join(filter(None, told))})"
        if self.finetune is None:
            return f"{name}, not fine-tuned"
        return f"{name}, p = 0" if self.harmful_ratio == 0 else name


def display_name(method: str | None) -> str:
    """A method's name as the papers write it; "none" for no method."""
    return "none" if method is None else NAMES.get(method, method.replace("_", " "))


def read_results(path: Path) -> dict[str, Any]:
    """Read and check results.json.

    Raises:
        UserError: No such file, broken JSON, another schema version, or an entry that is missing or
            of the wrong kind, with the record's number from 1.
    """
    try:
        results = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}") from None
    check_results(results, str(path))
    return results


def check_results(results: object, where: str = "results") -> None:
    """Check the structure of results.json.

    Raises:
        UserError: As `read_results`.
    """
    if not isinstance(results, Mapping):
        raise UserError(f"{where} holds no JSON object with 'schema_version' and 'records'")
    version = results.get("schema_version")
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{where} has schema_version {version!r}, and this holdfast reads {SCHEMA_VERSION}"
        )
    protocol = results.get("protocol")
    if not (isinstance(protocol, Mapping) and {"name", "version"} <= set(protocol)):
        raise UserError(f"{where} names no 'protocol' with its 'name' and 'version'")
    records = results.get("records")
    if not isinstance(records, list) or not records:
        raise UserError(f"{where} has no 'records'")
    seen = set()
    for number, record in enumerate(records, start=1):
        problem = _problem(record)
        if problem:
            raise UserError(f"{where}, record {number}: {problem}")
        key = (*_key(record), record["seed"])
        if key in seen:
            raise UserError(f"{where}, record {number}: its pipeline and seed are there already")
        seen.add(key)


def pipelines(results: Mapping[str, Any]) -> list[Pipeline]:
    """Bring the seeds of every pipeline together, in the order of their first records.

    A metric that not all of a pipeline's seeds have is left out.

    Raises:
        UserError: As `read_results`.
    """
    check_results(results)
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for record in results["records"]:
        groups.setdefault(_key(record), []).append(record)
    found = []
    for key, records in groups.items():
        shared = [n for n in records[0]["metrics"] if all(n in r["metrics"] for r in records)]
        metrics = {
            name: over_seeds(
                [estimate_of(record["metrics"][name]) for record in records],
                bounds=(0.0, float("inf") if name in _UNBOUNDED else 100.0),
            )
            for name in shared
        }
        spent = [sum(r["seconds"].values()) for r in records if r.get("seconds")]
        seconds = fmean(spent) if spent else None
        found.append(Pipeline(*key, metrics=metrics, seconds=seconds, seeds=len(records)))
    return found


def _key(record: Mapping[str, Any]) -> tuple[Any, ...]:
    axes = record.get("coords", {}).items()
    return (
        record.get("align"),
        record.get("finetune"),
        record.get("repair"),
        record.get("harmful_ratio"),
        record.get("variant", ""),
        tuple((axis, value) for axis, value in axes if axis not in ("variant", "harmful_ratio")),
    )


def estimate_of(metric: float | Mapping[str, Any]) -> Estimate:
    """A metric of a record; a bare number has no interval of its own."""
    if isinstance(metric, Mapping):
        value = metric["value"]
        low, high = metric.get("low", value), metric.get("high", value)
        return Estimate(value, low, high, metric.get("n", 0))
    return Estimate(metric, metric, metric, 0)


def _problem(record: object) -> str | None:
    """What is wrong with a record, if anything."""
    if not isinstance(record, Mapping):
        return "it is no JSON object"
    for name in ("align", "finetune", "repair"):
        if not isinstance(record.get(name), str | None):
            return f"'{name}' must name a method or be null"
    ratio = record.get("harmful_ratio")
    if not (ratio is None or (_is_number(ratio) and 0 <= ratio <= 1)):
        return "'harmful_ratio' must be a number from 0 to 1, or null"
    if not isinstance(record.get("variant", ""), str):
        return "'variant' must be text"
    if not isinstance(record.get("seed"), int):
        return "'seed' must be a whole number"
    if not isinstance(record.get("metrics"), Mapping):
        return "'metrics' must be an object"
    for name, metric in record["metrics"].items():
        parts = metric if isinstance(metric, Mapping) else {"value": metric}
        if "value" not in parts or not all(_is_number(part) for part in parts.values()):
            return f"metric '{name}' must be a number, or an object with the number 'value'"
    seconds = record.get("seconds", {})
    if not isinstance(seconds, Mapping) or not all(map(_is_number, seconds.values())):
        return "'seconds' must be an object of numbers"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
