"""What results.json holds: checked, and its names and numbers as the reports take them."""

from collections.abc import Mapping
from typing import Any

from holdfast.errors import UserError
from holdfast.registry import named
from holdfast.statistics.estimates import Estimate

SCHEMA_VERSION = 1


def display_name(method: str | None) -> str:
    """A method's name as the papers write it; "none" for no method.

    One from outside this package is called as its class or function: my_module:MyTrainer is My.
    """
    if method is None:
        return "none"
    own = method.rpartition(":")[2]
    plain = own.removesuffix("Trainer") or own if own != method else method
    entry = named(method)
    return entry.title if entry else plain.replace("_", " ")


def check_results(results: object, where: str = "results") -> None:
    """Check the structure of results.json.

    Args:
        results: its content.
        where: what to call it in a message.

    Raises:
        UserError: another schema version, or an entry that is missing or of the wrong kind, with
            the record's number from 1.
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


def _key(record: Mapping[str, Any]) -> tuple[Any, ...]:
    axes = (record.get("coords") or {}).items()
    return (
        record.get("align"),
        record.get("screen"),
        record.get("finetune"),
        record.get("repair"),
        record.get("harmful_ratio"),
        record.get("variant", ""),
        tuple((axis, repr(value)) for axis, value in axes if axis != "harmful_ratio"),
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
    for name in ("align", "screen", "finetune", "repair"):
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
    for name in ("coords", "stages"):
        if not isinstance(record.get(name) or {}, Mapping):
            return f"'{name}' must be an object"
    if not all(isinstance(folder, str) for folder in (record.get("stages") or {}).values()):
        return "'stages' must name folders"
    seconds = record.get("seconds", {})
    if not isinstance(seconds, Mapping) or not all(map(_is_number, seconds.values())):
        return "'seconds' must be an object of numbers"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
