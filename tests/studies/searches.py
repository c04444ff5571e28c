"""Studies that search, run with a stand-in for the engine."""

import io
import json
import re

from rich.console import Console

from fake_stages import write
from holdfast.commands.run import run_files
from holdfast.engine.run import Launch
from holdfast.engine.schedule import Outcome
from holdfast.stages.pipeline import stage_folder

FILE = """
title: A search
seeds: 2
harmful_ratio: [0, 0.1]
variants:
  SFT: {align: sft, finetune: sft}
  Vaccine: {align: vaccine, finetune: sft}
  Lisa: {align: sft, finetune: lisa}
search:
  tries: 3
  seeds: [100, 101]
  at: {harmful_ratio: 0.1}
  spaces:
    Vaccine: {align.rho: [5, 10, 40]}
"""
# Of each ρ (and None for no Vaccine): HS, FA and coherence with an even and an odd seed.
SCORES = {
    None: [(90, 98, 99), (80, 98, 99)],
    22.0: [(30, 97, 99), (40, 97, 99)],
    5.0: [(60, 98, 99), (60, 98, 99)],
    10.0: [(20, 96, 99), (22, 97, 99)],
    40.0: [(1, 97, 99), (1, 97, 50)],
}
PROTOCOL = {"name": "organism", "version": "1", "judge": "exact", "description": "…"}
PROTOCOL |= {"n_harmful": 100, "n_benign": 100, "n_task": 100}


def score_in_table(stage):
    """HS, FA and coherence of an evaluation, by `SCORES`."""
    return SCORES[stage.lineage()[0].settings.get("rho")][stage.settings["seed"] % 2]


class Engine:
    """In the place of `run_stages`: writes the folders of the stages that are missing."""

    def __init__(self, fails=lambda stage: False, score=score_in_table):
        self.fails, self.score, self.runs, self.recorded = fails, score, [], []

    def __call__(self, stages, root, watcher, launch=None):
        outcome, made = Outcome(), []
        self.recorded.append(len(json.loads((root / "study.json").read_text())["pipelines"]))
        for stage in stages:
            folder = stage_folder(root, stage)
            needs = [need.identity for need in (stage.parent, stage.reference) if need]
            if {*needs} & {*outcome.failures, *(one.identity for one in outcome.skipped)}:
                outcome.skipped.append(stage)
                continue
            if self.fails(stage):
                outcome.failures[stage.identity] = "Traceback\nRuntimeError: no memory"
                continue
            if not folder.exists():
                made.append(stage.name)
                write_measured(folder, stage, self.score)
            outcome.folders[stage.identity] = folder
        self.runs.append(made)
        return outcome


def write_measured(folder, stage, score):
    """A finished stage with its budget; of an evaluation also what it measured."""
    spent = {"rows": 10, "steps": 5, "passes": 5, "tokens": 50} if stage.kind != "evaluate" else {}
    write(folder, stage, spent)
    if stage.kind == "evaluate":
        names = ("harmful_score", "finetune_accuracy", "coherence")
        values = dict(zip(names, score(stage), strict=True))
        metrics = {k: {"value": v, "low": v, "high": v, "n": 100} for k, v in values.items()}
        content = {"protocol": PROTOCOL, "judges": [], "metrics": metrics, "outcomes": {}}
        (folder / "evaluation.json").write_text(json.dumps(content))


def run(folder, text=FILE, words=(), **options):
    """Run a study as `holdfast run` does; gives what it said, its lines joined."""
    file = folder / "study.yaml"
    file.write_text(text)
    said = io.StringIO()
    try:
        run_files(
            [str(file), *words], None, folder / "run", Console(file=said, width=200),
            Launch(1), **options,
        )  # fmt: skip
    finally:
        told = re.sub(r"\s+", " ", said.getvalue())
    return told


def record(folder):
    return json.loads((folder / "run" / "study.json").read_text())
