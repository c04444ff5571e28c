"""A study's numbers at the organism's size, and sentences that tell which is which.

``here = ours · value / theirs``, with ``theirs`` what the study starts from (its settings over the
method's defaults) and ``ours`` the organism's recipe. Whole numbers are rounded and stay within
what the organism has: layers, rows, training steps. Others stay within their setting's range. A
zero stays zero, and a share what it is.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from holdfast import organism
from holdfast.settings import Expression, Field
from holdfast.settings.ranges import parsed
from holdfast.stages.defaults import defaults
from holdfast.stages.settings import is_transformers, method_fields, stage_fields
from holdfast.studies.study import Study

SHARES = ("dense_ratio", "harmful_ratio", "proximal_warmup")
_ROWS = {
    ("align", "rows"): "alignment",
    ("align", "harmful_rows"): "probe",
    ("finetune", "rows"): "user_harmful",  # the scarcer ones, whatever the harmful ratio
    ("finetune", "alignment_rows"): "alignment",
    ("repair", "rows"): "realignment",
}
# Counted in training steps. Where the default is every step it says nothing of a run's length, and
# the number becomes the same share of the steps instead.
_STEPS = ("every", "probe_every", "draw_every")
_SHARE_OF_STEPS = ("every",)


class Scaling:
    """A study's numbers at the organism's size; remembers what it was asked, for `notes`."""

    def __init__(self, study: Study):
        self._study = study
        self._seen: dict[tuple[str, str, str], dict[Any, Any]] = {}

    def scaled(self, kind: str, method: str, key: str, value: Any) -> Any:
        """A number of a method's setting on the organism; None where there is nothing like it."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            return None
        here = self._scaled(kind, method, key, value)
        self._seen.setdefault((kind, method, key), {})[value] = here
        return here

    def notes(self, lost: Sequence[str] = ()) -> list[str]:
        """Sentences: what stands for what, values that fall together, settings that are left out.

        Args:
            lost: axes that are left out altogether.
        """
        # Here, for the report's modules import this package's.
        from holdfast.report.results import display_name

        found = []
        for (kind, method, key), values in self._seen.items():
            name = f"{kind}.{key}"
            # Settings that all methods of a stage have are nobody's own.
            alone = key in method_fields(kind, method) and not is_transformers(key)
            of = f" of {display_name(method)}" if alone else ""
            known = {value: here for value, here in values.items() if here is not None}
            moved = [f"{_plain(v)} is {_plain(here)}" for v, here in known.items() if v != here]
            if moved:
                found.append(f"{name}{of}: {', '.join(moved)} here.")
            found += self._together(kind, key, name, known)
            gone = [_plain(value) for value in values if value not in known]
            if gone and name not in lost:
                found.append(
                    f"{name}{of}: nothing here stands for {', '.join(gone)}; it keeps the "
                    "organism's own value."
                )
        found += [f"The axis {axis} has no counterpart: left out." for axis in lost]
        return found

    def _together(self, kind: str, key: str, name: str, known: Mapping[Any, Any]) -> list[str]:
        same: dict[Any, list[str]] = {}
        for value, here in known.items():
            same.setdefault(here, []).append(_plain(value))
        limit = _limit(kind, key)
        why = f": the organism has {limit[0]} {limit[1]}" if limit else ""
        if len(same) == 1 and len(known) > 1:
            here = _plain(next(iter(same)))
            return [f"{name}: all values are {here} here, so its axis tells nothing{why}."]
        return [
            f"{name}: {' and '.join(values)} are one and the same here"
            f"{why if limit and here == limit[0] else ''}."
            for here, values in same.items()
            if len(values) > 1
        ]

    def _scaled(self, kind: str, method: str, key: str, value: int | float) -> Any:
        fields: dict[str, Any] = {**stage_fields(kind), **method_fields(kind, method)}
        ours = defaults(kind, method, True).get(key, getattr(fields.get(key), "default", None))
        theirs = self._base(kind, method).get(key)
        if value == 0:
            return value
        if key in SHARES:
            return value
        if key in _SHARE_OF_STEPS:
            ours, theirs = _steps(defaults(kind, method, True)), _steps(self._base(kind, method))
        if not isinstance(ours, int | float) or not isinstance(theirs, int | float) or not theirs:
            return None
        here = ours * value / theirs
        if "int" in str(getattr(fields.get(key), "type", "")).replace("Literal", ""):
            here, limit = max(1, round(here)), _limit(kind, key)
            return min(here, limit[0]) if limit else here
        return float(f"{_within(here, getattr(fields.get(key), 'range', '')):.6g}")

    def _base(self, kind: str, method: str) -> dict[str, Any]:
        """What the study itself starts from: its settings over the method's defaults."""
        fields: dict[str, Any] = {**stage_fields(kind), **method_fields(kind, method)}
        own = {
            name: field.default
            for name, field in fields.items()
            if isinstance(field, Field) and not isinstance(field.default, Expression)
        }
        settings = self._study.settings
        written = {**settings.get(kind, {}), **settings.get(f"{kind}.{method}", {})}
        known = {name: value for name, value in written.items() if name in fields}
        return {**own, **known} if method else known


def _within(value: float, allowed: str) -> float:
    """The value, or the end of its range that it lies beyond, where that belongs to the range."""
    last = parsed(allowed)[-1] if allowed else None
    return last.high if last and last.with_high and value > last.high else value


def _limit(kind: str, key: str) -> tuple[int, str] | None:
    """The largest whole number of a setting on the organism, and of what."""
    if key == "layers":
        return _organism()["num_hidden_layers"], "layers"
    if key in _STEPS:
        steps = _steps(defaults(kind, "sft", True))
        return (steps, "training steps") if steps else None
    if (kind, key) in _ROWS:
        return organism.capacity(_ROWS[kind, key]), "such rows"
    return None


@cache
def _organism() -> dict[str, Any]:
    return json.loads((organism.folder() / "config.json").read_text(encoding="utf-8"))


def _steps(settings: Mapping[str, Any]) -> int | None:
    """The training steps of a stage."""
    if settings.get("max_steps", -1) > 0:
        return settings["max_steps"]
    names = ("rows", "num_train_epochs", "per_device_train_batch_size")
    rows, epochs, batch = (settings.get(name) for name in names)
    return round(rows * epochs / batch) if rows and epochs and batch else None


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
