"""The papers' study files: they expand, their settings exist, their numbers add up."""

from statistics import fmean

import pytest
from rich.console import Console

from holdfast.commands.list import print_lists
from holdfast.errors import UserError
from holdfast.models.stack import Stack
from holdfast.protocols import papers
from holdfast.settings import load_yaml
from holdfast.stages.resolve import resolve
from holdfast.studies.grid import points
from holdfast.studies.study import read_study

REFERENCES = [experiment.reference for experiment in papers.papers()]
METRICS = {"HS", "FA", "seconds_per_step", "memory_gb", "PPL"}
# Variants that stand in the published numbers alone.
ELSEWHERE = {"Filter + SFT", "Filter + Lisa"}


def published(reference, metric, variant, **at):
    study = load_yaml(papers.find(reference))
    return [
        entry[metric]
        for entry in study["published"]
        if entry["variant"] == variant and all(entry[k] == v for k, v in at.items())
    ]


def test_every_paper_has_its_experiments():
    by_paper = {}
    for experiment in papers.papers():
        by_paper.setdefault(experiment.paper, []).append(experiment.reference.split("/")[2])
    assert list(by_paper) == [
        *("vaccine", "t-vaccine", "lisa", "antidote", "booster"),
        *("repnoise", "safe-lora", "lox", "panacea", "constrained-sft"),
    ]
    assert all("one-cell" in names for names in by_paper.values())
    own = ["base-model", "drift", "figure3", "one-cell"]
    assert by_paper["vaccine"] == [*(f"table{n}" for n in range(1, 12)), *own]
    assert by_paper["lisa"] == [*(f"table{n}" for n in range(1, 14)), "one-cell"]
    sweeps = {"harmful-ratio", "sample-number", "tasks", "models", "benign", "system", "one-cell"}
    own = {"rho", "layers", "probe-interval", "consumer-gpu"}
    assert sweeps | own == set(by_paper["t-vaccine"])
    assert sweeps | {
        "learning-rate", "learning-rate-sst2", "epochs", "epochs-sst2", "dense-ratio",
        "dense-ratio-sst2", "harmful-ratio-gsm8k", "combinations", "realignment-rows",
        "no-harmful-rows", "llama3", "full", "ablation", "alpaca", "perplexity", "gsm8k-zh",
        "drift-epochs", "drift-learning-rate", "ldifs-rho",
    } == set(by_paper["antidote"])  # fmt: skip


@pytest.mark.parametrize("reference", REFERENCES)
def test_expands_to_settings_that_the_stages_have(reference):
    study = read_study(papers.find(reference))
    assert study.title
    assert set(study.about) == {"paper", "source", "note"}
    assert study.about["paper"] == reference.split("/")[1]
    for point in points(study):
        for kind in ("align", "finetune", "repair", "evaluate"):
            if point.spec.get(kind) is not None:
                resolve(kind, point.spec[kind], Stack("meta-llama/Llama-2-7b-hf"), reference)


@pytest.mark.parametrize("reference", REFERENCES)
def test_published_numbers_stand_at_places_of_the_grid(reference):
    study = read_study(papers.find(reference))
    places = [point.coords for point in points(study)]
    seen = []
    for entry in study.published:
        at = {key: value for key, value in entry.items() if key not in METRICS}
        assert METRICS & entry.keys()
        assert at not in seen
        seen.append(at)
        if at["variant"] in ELSEWHERE:
            at.pop("variant")
        assert any(all(key in p and p[key] == v for key, v in at.items()) for p in places), entry


@pytest.mark.parametrize(
    ("reference", "variant", "hs", "fa"),
    [  # the columns of averages, which the papers print beside the cells
        ("vaccine/table1", "Non-aligned", 67.52, 94.64),
        ("vaccine/table1", "SFT", 53.24, 94.40),
        ("vaccine/table1", "EWC", 50.60, 86.32),
        ("vaccine/table1", "Vaccine", 46.44, 93.4),
        ("vaccine/table2", "Non-aligned", 79.08, 95.00),
        ("vaccine/table2", "SFT", 55.20, 95.00),
        ("vaccine/table2", "Vaccine", 47.92, 93.60),
        ("lisa/table3", "NA-SFT", 48.64, 95.21),
        ("lisa/table3", "SFT", 48.28, 95.32),
        ("lisa/table3", "EWC", 42.94, 18.23),
        ("lisa/table3", "Vaccine-SFT", 46.86, 94.47),
        ("lisa/table3", "VLGuard", 43.28, 95.34),
        ("lisa/table3", "BSO", 46.12, 95.18),
        ("lisa/table3", "Lisa", 39.58, 94.75),
        ("lisa/table4", "NA-SFT", 54.56, 95.24),
        ("lisa/table4", "Vaccine-SFT", 46.84, 94.06),
        ("lisa/table4", "BSO", 47.20, 95.12),
        ("lisa/table4", "Lisa", 36.48, 93.59),
        ("lisa/table5", "SFT", 51.00, 17.67),
        ("lisa/table5", "Lisa", 36.17, 16.10),
        ("lisa/table6", "Vaccine-SFT", 42.25, 46.76),
        ("lisa/table6", "Lisa", 37.53, 63.74),
        ("lisa/table10", "proximal only", 32.46, 87.02),
        ("lisa/table11", "Vaccine-Lisa", 32.86, 93.97),
        ("lisa/table12", "Lisa", 39.92, 79.11),
        ("lisa/table12", "Filter + Lisa", 34.18, 81.67),
    ],
)
def test_cells_give_the_averages_that_the_papers_print(reference, variant, hs, fa):
    reference = f"paper/{reference}"
    assert fmean(published(reference, "HS", variant)) == pytest.approx(hs, abs=0.0051)
    assert fmean(published(reference, "FA", variant)) == pytest.approx(fa, abs=0.0051)


def test_settings_are_the_papers():
    """Hand-written from the papers' tables of settings, one default pipeline of each."""
    expected = {
        "paper/vaccine/table1": ((2000, 50, 1e-3, 5, 8, 4), (1000, 20, 1e-5, 5, 8, 1)),
        "paper/lisa/table3": ((10000, 30, 1e-3, 5, 16, 4), (5000, 20, 1e-5, 5, 8, 4)),
        "paper/antidote/tasks": ((5000, 20, 1e-3, 5, 256, 4), (5000, 20, 1e-4, 5, 256, 4)),
        "paper/t-vaccine/tasks": ((2000, 20, 1e-3, 10, 8, 4), (1000, 20, 1e-5, 5, 8, 1)),
    }
    for reference, (align, finetune) in expected.items():
        spec = next(
            p.spec
            for p in points(read_study(papers.find(reference)))
            if p.coords["variant"] == "SFT" and p.coords.get("harmful_ratio", 1) != 0
        )
        for kind, wanted in (("align", align), ("finetune", finetune)):
            s = spec[kind]
            assert (
                s["rows"],
                s["num_train_epochs"],
                s["learning_rate"],
                s["per_device_train_batch_size"],
                s["lora"]["r"],
                s["lora"]["alpha"],
            ) == wanted, (reference, kind)
        assert spec["evaluate"]["protocol"] == f"{reference.split('/')[1]}-2024"


def test_tasks_change_what_the_papers_change():
    def spec(reference, task, variant):
        return next(
            p.spec
            for p in points(read_study(papers.find(reference)))
            if (p.coords["variant"], p.coords["task"]) == (variant, task)
        )

    gsm8k = spec("paper/vaccine/table4", "gsm8k", "Vaccine")["finetune"]
    assert (gsm8k["rows"], gsm8k["num_train_epochs"], gsm8k["lora"]["alpha"]) == (5000, 50, 0.5)
    alpaca = spec("paper/vaccine/table4", "alpaca", "Vaccine")["finetune"]
    assert (alpaca["rows"], alpaca["num_train_epochs"], alpaca["lora"]["alpha"]) == (700, 100, 1)
    ratios = {
        task: spec("paper/antidote/tasks", task, "Antidote")["repair"]["dense_ratio"]
        for task in ("sst2", "agnews", "gsm8k")
    }
    assert ratios == {"sst2": 0.1, "agnews": 0.05, "gsm8k": 0.05}


def test_unknown_experiment_names_the_nearest_and_all_of_its_paper():
    with pytest.raises(UserError) as error:
        papers.find("paper/vacine/tabel2")
    message = str(error.value)
    assert "did you mean paper/vaccine/table2?" in message
    assert all(one in message for one in REFERENCES if one.startswith("paper/vaccine/"))
    assert "lisa" not in message
    with pytest.raises(UserError, match="paper/antidote/tasks"):
        papers.find("zzz")


def test_list_shows_how_to_run_each():
    console = Console(width=120, record=True)
    print_lists("papers", console)
    text = console.export_text()
    assert all(reference in text for reference in REFERENCES)
    assert "2410.09760" in text
    assert "--plan" in text
