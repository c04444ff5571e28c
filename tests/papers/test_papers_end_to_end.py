"""Every experiment of the papers: planned for its real models, and run small on the organism."""

import io
import json
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

import holdfast
from holdfast.commands.run import run_files
from holdfast.errors import UserError
from holdfast.protocols import papers
from holdfast.settings import load_yaml
from holdfast.studies.grid import points
from holdfast.studies.on_organism import on_organism
from holdfast.studies.study import read_study

REFERENCES = [experiment.reference for experiment in papers.papers()]

# Pipelines of each study on the organism, by hand from the files: variants times axes. Models are
# one, the task alpaca is none, and of the axes that have equal values there those that differ.
PIPELINES = {
    "vaccine/table1": 6 * 5,
    "vaccine/table2": 4 * 5,
    "vaccine/table3": 4,
    "vaccine/table4": 4 * 3,
    "vaccine/table5": 2,
    "vaccine/table6": 6,
    "vaccine/table7": 12,
    "vaccine/table8": 4 * 3,
    "vaccine/table9": 5 * 3,
    "vaccine/table10": 1 + 4,  # plain SFT perturbs never; 1 and 100 are one
    "vaccine/table11": 3,
    "vaccine/figure3": 2,
    "vaccine/base-model": 2,
    "vaccine/drift": 3 * 2 * 3,
    "vaccine/one-cell": 2,
    "t-vaccine/harmful-ratio": 6 * 5,
    "t-vaccine/sample-number": 6 * 5,
    "t-vaccine/tasks": 6 * 3,
    "t-vaccine/models": 7,
    "t-vaccine/benign": 6,
    "t-vaccine/rho": 6,
    "t-vaccine/layers": 4,  # 16 and 32 are one
    "t-vaccine/probe-interval": 4,  # 1000 and 4000 are one
    "t-vaccine/system": 3,
    "t-vaccine/consumer-gpu": 4,
    "t-vaccine/one-cell": 2,
    "lisa/table1": 2 * 6,
    "lisa/table2": 7,
    "lisa/table3": 7 * 5,
    "lisa/table4": 7 * 5,
    "lisa/table5": 6,
    "lisa/table6": 6 * 3,
    "lisa/table7": 4,
    "lisa/table8": 7 * 2,
    "lisa/table9": 7,
    "lisa/table10": 4 * 5,
    "lisa/table11": 4 * 5,
    "lisa/table12": 4 * 5 - 2,  # of p = 1 an exact filter leaves no row
    "lisa/table13": 3 * 7,
    "lisa/one-cell": 2,
    "antidote/harmful-ratio": 6 * 5,
    "antidote/sample-number": 6 * 5,
    "antidote/tasks": 6 * 3,
    "antidote/models": 6,
    "antidote/llama3": 6,
    "antidote/learning-rate": 6 * 5,
    "antidote/epochs": 6 * 5,
    "antidote/dense-ratio": 2 * 6,
    "antidote/ldifs-rho": 4,
    "antidote/dense-ratio-sst2": 2 * 6,
    "antidote/learning-rate-sst2": 6 * 5,
    "antidote/epochs-sst2": 6 * 5,
    "antidote/drift-learning-rate": 6 * 5,
    "antidote/drift-epochs": 6 * 5,
    "antidote/harmful-ratio-gsm8k": 2 * 5,
    "antidote/combinations": 4 * 5,
    "antidote/realignment-rows": 1 + 4,
    "antidote/no-harmful-rows": 3,
    "antidote/gsm8k-zh": 2,
    "antidote/one-cell": 2,
    "antidote/benign": 7,
    "antidote/full": 2,
    "antidote/ablation": 4,
    "antidote/system": 6,
    "booster/harmful-ratio": 6 * 5,
    "booster/sample-number": 5 * 5,
    "booster/tasks": 5 * 3,
    "booster/models": 5,
    "booster/lam": 5,
    "booster/alpha": 5,
    "booster/harmful-rows": 5,
    "booster/system": 5,
    "booster/vlguard": 4,
    "booster/one-cell": 2,
    "repnoise/attacks": 4 * 3 * 2,
    "repnoise/before": 4,
    "repnoise/trainability": 2 * 3,
    "repnoise/ablation": 4,
    "repnoise/defence-rate": 3,
    "repnoise/demo": 4,
    "repnoise/one-cell": 2,
    "safe-lora/pure-bad": 6,
    "safe-lora/models": 6,
    "safe-lora/threshold": 5,
    "safe-lora/number": 1,  # the organism has no number of modules to take multiples of
    "safe-lora/one-cell": 2,
    "lox/gsm8k": 5,
    "lox/dolly": 5,
    "lox/pure-bad": 5,
    "lox/coefficient": 6,
    "lox/directions": 5,
    "lox/one-cell": 2,
    "panacea/harmful-ratio": 5 * 5,
    "panacea/tasks": 5 * 3,
    "panacea/models": 5,
    "panacea/chat-models": 2,
    "panacea/baselines": 5,
    "panacea/system": 5,
    "panacea/rho": 6,
    "panacea/lam": 5,
    "panacea/one-cell": 3,
    "constrained-sft/harmful-examples": 4,
    "constrained-sft/benign": 4,
    "constrained-sft/models": 4,
    "constrained-sft/beta": 4,
    "constrained-sft/deep-alignment": 4,
    "constrained-sft/one-cell": 2,
}
# The organism has nothing like the task of these, and says so.
NOT_THERE = ("antidote/alpaca", "antidote/perplexity", "safe-lora/mixed", "lox/alpaca")
METRICS = {"HS": 1, "FA": 1, "seconds_per_step": 3, "memory_gb": 2}  # digits
TITLES = {"HS": "HS ↓", "FA": "FA ↑", "seconds_per_step": "s a step", "memory_gb": "GiB"}
NUMBER = re.compile(r"\d+\.\d+( \[\d+\.\d+, \d+\.\d+\])?")
DIFFERENCE = re.compile(r"[+−]?\d+\.\d+( \[−?\d+\.\d+, −?\d+\.\d+\])?")

_watched: dict[str, list[str]] = {}


def _watch(event: str, args: tuple) -> None:
    if _watched and event in ("open", "socket.connect", "socket.getaddrinfo"):
        what = args[0] if event != "socket.connect" else args[1]
        _watched.setdefault(event, []).append(str(what))


sys.addaudithook(_watch)


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_plan_reads_the_study_and_nothing_else(reference, tmp_path):
    out = Console(file=io.StringIO(), width=80)
    _watched["start"] = []
    try:
        run_files([reference], None, tmp_path / "run", out, plan=True)
    finally:
        seen = dict(_watched)
        _watched.clear()
    assert "socket.connect" not in seen
    assert "socket.getaddrinfo" not in seen
    # Study files and defaults, and the sources of Python's packages, whose settings they name.
    files = {Path(name).suffix for name in seen["open"]}
    assert ".yaml" in files
    strange = [
        name
        for name in seen["open"]
        if not Path(name).suffix.startswith((".py", ".so"))
        and papers.FOLDER not in Path(name).parents
        and not name.isdecimal()  # a file that is open already
        and tmp_path not in Path(name).parents  # what may be there of an earlier run
    ]
    assert strange == []
    assert not (tmp_path / "run").exists()
    text = out.file.getvalue()
    assert "GPU hours on one A100" in text or "minutes on one core" in text  # a small model
    assert "are shared" in text


def test_each_experiment_is_counted_here():
    assert sorted(f"paper/{name}" for name in (*PIPELINES, *NOT_THERE)) == sorted(REFERENCES)


@pytest.mark.parametrize("reference", REFERENCES)
def test_the_organism_has_a_pipeline_for_each_point_of_the_papers(reference):
    if reference.removeprefix("paper/") in NOT_THERE:
        with pytest.raises(UserError, match="the task alpaca has no counterpart on the organism"):
            on_organism(read_study(papers.find(reference)))
        return
    small, _ = on_organism(read_study(papers.find(reference)))
    assert len(points(small)) == PIPELINES[reference.removeprefix("paper/")]


def small(reference: str) -> list[str]:
    """Settings that make a study tiny, for the stages and methods that it has."""
    study = read_study(papers.find(reference))
    methods: dict[str, set[str]] = {}
    for stages in study.variants.values():
        for kind in ("align", "finetune", "repair"):
            value = stages.get(kind)
            if value is not None:
                method = value.get("method", "sft") if isinstance(value, dict) else value
                methods.setdefault(kind, set()).add(method)
    words = ["evaluate.limit=4"]
    if "align" in methods:
        words += ["align.rows=20", "align.max_steps=2"]
    if "finetune" in methods:
        words.append("finetune.max_steps=1")
        if "finetune.rows" not in study.vary:
            words.append("finetune.rows=20")
    if methods.get("finetune", set()) & {"lisa", "ewc", "safe_mix", "vlguard"}:
        # A share of the user's rows, where their number is what the study varies.
        many = "safe_mix" in methods["finetune"] and "finetune.rows" in study.vary
        words.append(f"finetune.alignment_rows={1000 if many else 20}")
    if "backdoor_align" in methods.get("finetune", set()):
        words.append("finetune.safe_rows=10")
    if "repair" in methods and "repair.rows" not in study.vary:
        words.append("repair.rows=10")
    return words


@pytest.mark.long
def test_a_study_of_each_paper_runs_on_the_organism(tmp_path):
    run(["vaccine/table10", "t-vaccine/layers", "lisa/table9", "antidote/ablation"], tmp_path)


@pytest.mark.long
def test_every_study_runs_on_the_organism(tmp_path):
    """One folder for all of them, so that what they have in common is made once."""
    used = run(list(PIPELINES), tmp_path)
    made = [folder.name for folder in (tmp_path / "run" / "stages").iterdir()]
    assert sorted(made) == sorted(set(used))
    assert len(made) < len(used) / 2


def run(names: list[str], folder: Path) -> list[str]:
    """Run studies and check what they have written and shown; gives the stages that they used."""
    used = []
    for reference in (f"paper/{name}" for name in names):
        out = Console(file=io.StringIO(), width=80)
        run_files([reference, *small(reference)], None, folder / "run", out, model="organism")
        used += check(reference, folder / "run", out.file.getvalue())
    return used


def check(reference: str, root: Path, shown: str) -> list[str]:
    """Check what one study has written and shown; gives the stages of its pipelines."""
    content = load_yaml(papers.find(reference))
    study = json.loads((root / "study.json").read_text(encoding="utf-8"))
    assert study["failures"] == {}, reference
    assert study["skipped"] == [], reference
    assert [about["title"] for about in study["about"]] == [content["title"]]
    assert study["notes"][0].startswith("On the organism"), reference

    records = json.loads((root / "results.json").read_text(encoding="utf-8"))["records"]
    places = [json.dumps([p["coords"], p["seed"]], sort_keys=True) for p in study["pipelines"]]
    found = [json.dumps([r["coords"], r["seed"]], sort_keys=True) for r in records]
    assert found == places, reference
    assert len(set(places)) == PIPELINES[reference.removeprefix("paper/")], reference
    for record in records:
        for name in ("harmful_score", "finetune_accuracy"):
            metric = record["metrics"][name]
            assert 0 <= metric["low"] <= metric["value"] <= metric["high"] <= 100, record["coords"]
        for stage in record["stages"].values():
            assert (root / stage / "config.yaml").exists(), record["coords"]
    for pipeline in study["pipelines"]:
        for stage in pipeline["stages"].values():
            assert (root / stage / "provenance.json").exists(), pipeline["coords"]

    check_published(reference, content.get("published", []), root)
    long = [line for line in shown.splitlines() if len(line) > 80]
    assert long == [], reference
    table = shown.rsplit("The paper's numbers and yours", 1)[1]
    assert "…" not in table, reference  # nothing is cut off
    return [Path(stage).name for p in study["pipelines"] for stage in p["stages"].values()]


def check_published(reference: str, published: list, root: Path) -> None:
    text = (root / "published.md").read_text(encoding="utf-8")
    assert "The paper's numbers and yours (organism, reduced" in text, reference
    if not published:
        assert "No published numbers of this experiment are known here." in text, reference
        return
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[unmarked(cell) for cell in line.strip("|").split(" | ")] for line in lines]
    heads, rows = rows[0], rows[2:]
    metrics = [name for name, title in TITLES.items() if f"{title} paper" in heads]
    assert len(rows) == len(published), reference
    for entry, cells in zip(published, rows, strict=True):
        assert cells[0] == entry["variant"], reference
        for axis, cell in zip(heads[1:], cells[1:], strict=True):
            if axis in entry and axis != "variant":
                value = entry[axis]
                theirs = f"{value:g}" if isinstance(value, float) else str(value)
                assert cell == theirs or cell.startswith(f"{theirs} (here "), (reference, entry)
        for metric in metrics:
            at = heads.index(f"{TITLES[metric]} paper")
            if metric not in entry:
                assert cells[at : at + 3] == ["–", "–", "–"], (reference, entry)
                continue
            theirs, ours, difference = cells[at : at + 3]
            assert theirs == f"{entry[metric]:.{METRICS[metric]}f}", (reference, entry)
            filtered = entry["variant"].startswith("Filter + ")
            if entry.get("task") == "alpaca" or (filtered and entry["harmful_ratio"] == 1):
                assert (ours, difference) == ("left out", "–"), (reference, entry)
            else:
                assert NUMBER.fullmatch(ours), (reference, entry, ours)
                assert DIFFERENCE.fullmatch(difference), (reference, entry)


def unmarked(cell: str) -> str:
    return re.sub(r"\\(.)", r"\1", cell).strip()


def test_the_organisms_value_stands_beside_the_papers(tmp_path):
    # Of the recipe's 22 at the paper's 2; nothing is run, the file's own entries are moved.
    study, notes = on_organism(read_study(papers.find("paper/vaccine/table6")))
    at = {entry["paper"]["align.rho"]: entry["align.rho"] for entry in study.published}
    assert at == {0.01: 0.11, 0.1: 1.1, 1: 11.0, 2: 22.0, 5: 55.0, 10: 110.0}
    assert any("2 is 22" in note for note in notes)


def test_the_package_is_the_one_of_this_folder():
    """Not another copy of it, installed before, whose papers would be tested in its place."""
    assert Path(holdfast.__file__).is_relative_to(Path(__file__).parents[2])
