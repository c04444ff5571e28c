"""Read what stages have left in their folders."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from holdfast.errors import UserError

# Which prompts a metric is of, by the names of new and of older provenance.
_SETS = {
    "attacked_harmful_score": ("attacked",),
    "over_refusal_rate": ("benign", "test_benign"),
    "benign_accuracy": ("benign", "test_benign"),
    "finetune_accuracy": ("task", "test_task"),
    "alignment_loss": ("alignment", "test_alignment"),
    "embedding_drift": ("alignment", "test_alignment"),
}
_HARMFUL = ("harmful", "test_restricted")
_COHERENCE = (*_HARMFUL, "benign", "test_benign")
# The records that a run writes anew.
_WHOLE_RUN = ("study.json", "results.json")
ALIGNMENT = "alignment.json"


def evaluation_of(folder: Path) -> dict[str, Any]:
    """The content of an evaluation's evaluation.json.

    Raises:
        UserError: it is broken.
    """
    path = folder / "evaluation.json"
    content = read_json(path)
    if not isinstance(content.get("metrics"), Mapping) or "protocol" not in content:
        raise UserError(f"{path} is broken: it has no 'metrics' and 'protocol'; run again.")
    return content


def prompts_of(folder: Path, metrics: list[str]) -> dict[str, str]:
    """By metric, the fingerprints of the sets that it is of."""
    data = read_json(folder / "provenance.json", missing={}).get("data", {})
    found = {}
    for metric in metrics:
        wanted = _COHERENCE if metric == "coherence" else _SETS.get(metric, _HARMFUL)
        marks = [data[name]["fingerprint"] for name in wanted if name in data]
        if marks:
            found[metric] = " ".join(marks)
    return found


def settings_of(folder: Path) -> dict[str, Any]:
    """A stage's settings; none where they cannot be read."""
    try:
        return yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError):
        return {}


def read_json(path: Path, missing: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object of a JSON file.

    Raises:
        UserError: it is broken, or not there and `missing` is None.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if missing is not None:
            return missing
        raise UserError(f"{path} is missing; run again.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
    except ValueError as error:
        raise UserError(f"{path} is broken: {error}; {remedy(path)}.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is broken: it holds no JSON object; {remedy(path)}.")
    return content


def remedy(path: Path) -> str:
    """What to do about a broken file; of a run's own records no finished stage depends on one."""
    if path.name in _WHOLE_RUN:
        return "run the study again, which writes it anew and runs no finished stage"
    return f"remove the folder {path.parent.name} and run again"


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines, one after the other; none where there is no file.

    Raises:
        UserError: a line is broken.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                try:
                    entry = json.loads(line)
                except ValueError as error:
                    raise UserError(f"{path}, line {number} is broken: {error}.") from None
                if not isinstance(entry, dict):
                    raise UserError(f"{path}, line {number} holds no JSON object.")
                yield entry
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from None
