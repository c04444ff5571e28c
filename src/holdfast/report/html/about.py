"""What was run and on what: from study.json, the protocol, and the stages' provenance."""

import json
import platform
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from holdfast.data.disjoint import Overlap, told
from holdfast.report.comparison import Run
from holdfast.report.stage_files import read_json
from holdfast.report.words import short
from holdfast.stages.time_left import duration

# Of a stage's versions, those that are no packages.
_MACHINE = ("platform", "device", "python")


@dataclass(frozen=True)
class About:
    """The facts of a run, each as text.

    Args:
        facts: what a reader asks first, by name.
        commands: what to type to get it again.
        protocol: every field of the protocol.
        judges: every judge's record.
        versions: by package the versions that the stages ran with.
        data: by role of the rows: how many, and their fingerprint.
        overlaps: rows that two roles share, in words.
    """

    facts: dict[str, str]
    commands: list[str]
    protocol: dict[str, str]
    judges: list[dict[str, str]]
    versions: dict[str, str]
    data: list[list[str]]
    overlaps: list[str] = field(default_factory=list)


def about(run: Run) -> About:
    """Read the provenance of all stages."""
    stages = {folder: kind for r in run.results for kind, folder in r.stages.items()}
    made = {f: read_json(run.root / f / "provenance.json", missing={}) for f in stages}
    judges: dict[str, dict[str, str]] = {}
    for folder, kind in stages.items():
        if kind == "evaluate":
            evaluation = read_json(run.root / folder / "evaluation.json", missing={})
            for judge in evaluation.get("judges", []):
                judges[json.dumps(judge, sort_keys=True)] = {k: short(v) for k, v in judge.items()}
    versions = _distinct([entry.get("versions", {}) for entry in made.values()])
    return About(
        facts=_facts(run, list(made.values()), versions),
        commands=_commands(run, versions),
        protocol={name: short(value) for name, value in run.protocol.items()},
        judges=list(judges.values()),
        versions={k: ", ".join(v) for k, v in versions.items()},
        data=_data(stages, made),
        overlaps=_overlaps(list(made.values())),
    )


def _facts(
    run: Run, made: list[Mapping[str, Any]], versions: Mapping[str, list[str]]
) -> dict[str, str]:
    seeds = sorted({result.seed for result in run.results})
    places = {(r.variant, repr(r.axes)) for r in run.results}
    facts = {
        "Pipelines": f"{len(run.results)} finished ({len(places)} places × "
        f"{len(seeds)} {'seeds' if len(seeds) > 1 else 'seed'})",
    }
    if run.unfinished:
        states = [one.state for one in run.unfinished]
        words = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
        facts["Not finished"] = ", ".join(words)
    facts["Seeds"] = ", ".join(map(str, seeds))
    bases = dict.fromkeys(_base(entry) for entry in made if entry.get("base"))
    if bases:
        facts["Base model"] = ", ".join(bases)
    tasks = dict.fromkeys(str(r.axes["task"]) for r in run.results if "task" in r.axes)
    if tasks:
        facts["Tasks"] = ", ".join(tasks)
    protocol = run.protocol
    facts["Protocol"] = f"{protocol['name']}, version {protocol['version']}"
    if "judge" in protocol:
        facts["Judge"] = str(protocol["judge"])
    for name, title in (("device", "Device"), ("platform", "Platform")):
        if name in versions:
            facts[title] = ", ".join(versions[name])
    starts = [(datetime.fromisoformat(e["started"]), e["seconds"]) for e in made if "started" in e]
    if starts:
        begun = min(start for start, _ in starts)
        ended = max(start + timedelta(seconds=seconds) for start, seconds in starts)
        until = f"{ended:%H:%M}" if begun.date() == ended.date() else f"{ended:%Y-%m-%d %H:%M}"
        facts["Run"] = f"{begun:%Y-%m-%d %H:%M} to {until} UTC"
        facts["Computing"] = f"{duration(sum(s for _, s in starts))} in {len(starts)} stages"
    return facts


def _base(entry: Mapping[str, Any]) -> str:
    """A base as a reader knows it; of a local folder its last part."""
    name = str(entry["base"])
    name = Path(name).name if Path(name).is_absolute() else name
    return f"{name}@{entry['base_revision']}" if entry.get("base_revision") else name


def _commands(run: Run, versions: Mapping[str, list[str]]) -> list[str]:
    pins = [
        f"{name}=={found[0]}"
        for name, found in versions.items()
        if name not in _MACHINE and len(found) == 1
    ]
    if not pins and run.holdfast:
        pins = [f"holdfast=={run.holdfast}"]
    output = shlex.quote(run.root.resolve().name)
    commands = [f"pip install {' '.join(pins)}"] if pins else []
    if run.command:
        given = "" if "--output" in run.command else f" --output {output}"
        commands.append(f"{run.command}{given}")
    return [*commands, f"holdfast report {output} --format html"]


def _distinct(entries: list[Mapping[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in entries:
        for name, value in entry.items():
            own = found.setdefault(name, [])
            if str(value) not in own:
                own.append(str(value))
    return found


def _data(stages: Mapping[str, str], made: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Stage, role, rows, fingerprint and how many stages read them."""
    counts: dict[tuple[str, ...], int] = {}
    for folder, kind in stages.items():
        for role, entry in made[folder].get("data", {}).items():
            key = (kind, role, f"{entry['rows']:,}", str(entry["fingerprint"])[:12])
            counts[key] = counts.get(key, 0) + 1
    return [[*key, f"{count:,}"] for key, count in sorted(counts.items())]


def _overlaps(made: list[Mapping[str, Any]]) -> list[str]:
    found: dict[str, None] = {}
    for entry in made:
        shared = [Overlap(**{**one, "examples": ()}) for one in entry.get("overlaps", [])]
        if shared:
            found[told(shared)] = None
    return list(found)


def made_by() -> str:
    """Which holdfast wrote the page."""
    from importlib.metadata import version

    return f"holdfast {version('holdfast')}, Python {platform.python_version()}"
