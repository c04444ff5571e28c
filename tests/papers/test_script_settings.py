"""The papers' studies have the settings of the authors' scripts, or it is said how they differ."""

import re
from functools import cache
from pathlib import Path

import pytest

from holdfast.models.stack import Stack
from holdfast.protocols import papers
from holdfast.settings import load_yaml
from holdfast.stages.resolve import resolve
from holdfast.studies.grid import points
from holdfast.studies.study import read_study

ROOT = Path(__file__).parents[2]
PROJECTS = load_yaml(Path(__file__).with_name("script_settings.yaml"))
SCRIPTS = [(project, name) for project, it in PROJECTS.items() for name in it["scripts"]]
PAGE = (ROOT / "docs" / "reproduce-the-papers.md").read_text(encoding="utf-8")
KINDS = ("align", "finetune", "repair")


@cache
def pipelines(study: str) -> list[tuple[dict, dict]]:
    """The place of every pipeline of a study, and its resolved settings by stage."""
    found = []
    for point in points(read_study(papers.find(f"paper/{study}"))):
        spec, stages = point.spec, {}
        for kind in KINDS:
            if spec.get(kind) is None:
                continue
            own = {"seed": point.seed, **spec[kind]}
            if kind == "finetune":
                own = {"task": spec["task"], "harmful_ratio": spec["harmful_ratio"], **own}
            stages[kind] = resolve(kind, own, Stack(str(spec["model"])), study)
        found.append(({**spec, **point.coords}, stages))
    return found


def unlike(said: dict, settings: dict) -> dict[str, tuple]:
    """What differs of what a script says: (its value, the study's)."""
    found = {}
    for key, value in said.items():
        own = settings.get(key)
        if isinstance(value, dict):
            found |= {f"{key}.{k}": pair for k, pair in unlike(value, own or {}).items()}
        elif own != value:
            found[key] = (value, own)
    return found


def differences(project: str, name: str) -> dict[str, tuple]:
    script = PROJECTS[project]["scripts"][name]
    places = [
        (at, stages)
        for at, stages in pipelines(script["study"])
        if at["variant"] == script["variant"]
        and all(at[key] == value for key, value in script.get("at", {}).items())
    ]
    assert places, f"{script['study']} has no such variant and place"
    swept = set(load_yaml(papers.find(f"paper/{script['study']}")).get("vary", {}))
    found: dict[str, tuple] = {}
    for kind in KINDS:
        if kind not in script:
            continue
        # What the study sweeps must have the script's value among its own.
        at_some = [
            {
                f"{kind}.{key}": pair
                for key, pair in unlike(script[kind], stages.get(kind, {})).items()
            }
            for _, stages in places
        ]
        axes = swept | {f"{kind}.harmful_ratio"} if len(places) > 1 else swept
        for key in set().union(*at_some):
            always = all(key in one for one in at_some)
            if always or key not in axes:
                found[key] = next(one[key] for one in at_some if key in one)
    return found


@pytest.mark.parametrize(("project", "name"), SCRIPTS)
def test_a_study_has_its_scripts_settings(project, name):
    script = PROJECTS[project]["scripts"][name]
    if "missing" in script:
        return
    told = script.get("differs", {})
    found = differences(project, name)
    assert set(found) == set(told), found
    note = load_yaml(papers.find(f"paper/{script['study']}"))["note"]
    for words in told.values():
        assert words in " ".join(f"{section('How a run differs')} {note}".split()), words


@pytest.mark.parametrize("reference", [one.reference for one in papers.papers()])
def test_every_pipeline_has_what_train_py_sets(reference):
    project, code = reference.split("/")[1], {}
    code = PROJECTS[project]["code"]
    for at, stages in pipelines(reference.removeprefix("paper/")):
        for kind, settings in stages.items():
            said = {**code.get(kind, {}), **code.get(f"{kind}.{settings['method']}", {})}
            assert unlike(said, settings) == {}, (at["variant"], kind)


def test_a_difference_is_found(monkeypatch):
    """Antidote's epochs once had the dense ratio of another sweep."""
    script = PROJECTS["antidote"]["scripts"]["finetune/antidote_ep_gsm8k.sh"]
    assert differences("antidote", "finetune/antidote_ep_gsm8k.sh") == {}
    monkeypatch.setitem(script["repair"], "dense_ratio", 0.2)
    found = differences("antidote", "finetune/antidote_ep_gsm8k.sh")
    assert found == {"repair.dense_ratio": (0.2, 0.05)}


def section(title: str) -> str:
    return re.split(rf"^## {title}.*$", PAGE, flags=re.MULTILINE)[1].split("\n## ")[0]


def test_the_page_lists_every_script_with_its_study_or_what_is_missing():
    lines = [line for line in section("The scripts").splitlines() if line.startswith("|")]
    listed: dict[str, str] = {}
    project = ""
    for line in lines[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        project = cells[0] or project
        for name in re.findall(r"`([^`]+)`", cells[1]):
            listed[f"{project}/{name}"] = cells[2]
    for project, name in SCRIPTS:
        script = PROJECTS[project]["scripts"][name]
        wanted = script["missing"] if "missing" in script else f"`paper/{script['study']}`"
        assert wanted in listed.pop(f"{project}/{name.removesuffix('.sh')}"), (project, name)
    assert not listed
