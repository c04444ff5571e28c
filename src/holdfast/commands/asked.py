"""Studies as they are asked for together, and what a reader of their results must know."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from holdfast import protocols
from holdfast.protocols import papers
from holdfast.report.comparison import compare, read_run
from holdfast.report.published_table import published_table
from holdfast.stages.disk import disk_errors, write_text
from holdfast.studies.grid import points
from holdfast.studies.study import Study

PUBLISHED = "published.md"


@dataclass(frozen=True)
class Asked:
    """A study that was asked for.

    Args:
        name: as it was asked for: a file, or a paper's experiment.
        study: the study.
        notes: how it differs from the file's, where it runs on another model.
    """

    name: str
    study: Study
    notes: list[str]


def told_apart(asked: Sequence[Asked]) -> list[Asked]:
    """The studies with the file's name before their variants' if two have a place in common."""
    places = [{_place(point.coords) for point in points(one.study)} for one in asked]
    if not any(a & b for i, a in enumerate(places) for b in places[:i]):
        return list(asked)
    short = [Path(one.name).stem for one in asked]
    whole = [one.name.removeprefix(papers.PREFIX).removesuffix(".yaml") for one in asked]
    names = short if max(Counter(short).values()) == 1 else whole
    return [
        replace(one, study=_renamed(one.study, name))
        for one, name in zip(asked, names, strict=True)
    ]


def _place(coords: Mapping[str, Any]) -> str:
    return str(sorted(coords.items()))


def _renamed(study: Study, name: str) -> Study:
    def renamed(entry: Mapping[str, Any]) -> dict[str, Any]:
        if "variant" not in entry:
            return dict(entry)
        own = entry["variant"]
        new = [f"{name}: {v}" for v in own] if isinstance(own, list) else f"{name}: {own}"
        return {**entry, "variant": new}

    return replace(
        study,
        variants={f"{name}: {variant}": stages for variant, stages in study.variants.items()},
        exclude=tuple(map(renamed, study.exclude)),
        when=tuple((renamed(condition), then) for condition, then in study.when),
        published=tuple(map(renamed, study.published)),
        search=_renamed_search(study.search, name),
    )


def _renamed_search(search: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The search of a study whose variants have a file's name before theirs."""
    found = dict(search)
    if "baseline" in found:
        found["baseline"] = f"{name}: {found['baseline']}"
    if isinstance(found.get("spaces"), Mapping):
        found["spaces"] = {f"{name}: {v}": space for v, space in found["spaces"].items()}
    return found


def introduce(asked: Asked, console: Console) -> None:
    """Say what a study is before it runs."""
    study = asked.study
    if study.about:
        console.print(_title(study), markup=False, highlight=False, style="bold")
    for line in [study.about.get("note"), *asked.notes]:
        if line:
            console.print(line, markup=False, highlight=False)


def show_published(
    asked: Sequence[Asked], results: Mapping[str, Any], root: Path, console: Console
) -> None:
    """Show the published numbers beside the run's, and write them to published.md.

    Nothing is shown of studies that are of no paper and report no published numbers.
    """
    asked = [one for one in asked if one.study.published or "paper" in one.study.about]
    if not asked:
        return
    parts, comparison = [], compare(read_run(root))
    for one in asked:
        places = [point.coords for point in points(one.study)]
        differences = [*one.notes, *_differences(one.study, results)]
        reduced = "changed" in results["protocol"]["version"]
        published = one.study.published
        table = published_table(results, published, places, differences, reduced, comparison)
        console.print(table.terminal())
        parts.append(f"# {_title(one.study)}\n\n{table.markdown()}")
    if parts:
        with disk_errors(root / PUBLISHED):
            write_text(root / PUBLISHED, "\n".join(parts))


def _title(study: Study) -> str:
    where = ", ".join(study.about[key] for key in ("paper", "source") if key in study.about)
    return f"{study.title} ({where})" if where else study.title


def _differences(study: Study, results: Mapping[str, Any]) -> list[str]:
    """How this run's measuring differs from the paper's."""
    used = results["protocol"]
    wanted = study.settings.get("evaluate", {}).get("protocol")
    found = [f"Measured by {used['name']} (version {used['version']}): {used['description']}"]
    theirs = protocols.get(wanted) if wanted else None
    if theirs and theirs.name != used["name"]:
        found.append(f"The paper's protocol is {wanted}: {theirs.description}")
    if "note" in study.about:
        found.append(study.about["note"])
    seeds = {record["seed"] for record in results["records"]}
    if len(seeds) == 1:
        found.append("One seed, as in the paper: the difference may be the seed's.")
    return found
