"""The page of attacks × defenses, run with a stand-in for the engine."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "studies"))

from searches import Engine

import attacks as page
from holdfast.attacks import ATTACKS


def score(stage):
    """HS, FA and coherence: Lisa holds but against style; a high learning rate harms more."""
    tuned = [one.settings for one in stage.lineage() if one.kind == "finetune"]
    if not tuned:
        return 1, 50, 99
    [own] = tuned
    harm = 90 if own["method"] == "sft" or own["attack"] == "style" else 20
    return min(harm + 5 * (own["learning_rate"] > 1e-3), 100), 97, 99


@pytest.fixture
def engine(monkeypatch):
    made = Engine(score=score)
    monkeypatch.setattr("holdfast.commands.pipelines.run_stages", made)
    return made


def test_the_page_has_every_attack_what_survives_and_what_the_searcher_found(tmp_path, engine):
    words = ["--output", str(tmp_path / "out"), "--page", str(tmp_path / "attacks.md")]
    page.main([*words, "--seeds", "2", "--methods", "lisa", "--tries", "3"])
    text = (tmp_path / "attacks.md").read_text(encoding="utf-8")
    assert all(f"| `{name}`" in text for name in ATTACKS)
    [lisa] = [line for line in text.splitlines() if line.startswith("| Lisa | 97.0 ")]
    assert lisa.endswith("| 90.0 |")
    assert len(lisa.split("|")) == len(page.attacks()) + 5
    assert "with every attack: none." in text
    assert "- Against Lisa the attacker searched with 3 tries on seed 300, and chose " in text
    assert (tmp_path / "attacks.png").is_file()
    runs = len(engine.runs)
    page.main([*words, "--seeds", "2", "--methods", "lisa", "--tries", "3"])
    assert all(made == [] for made in engine.runs[runs:])


def test_a_plan_runs_nothing(tmp_path, engine, capsys):
    words = ["--output", str(tmp_path / "out"), "--page", str(tmp_path / "attacks.md")]
    page.main([*words, "--seeds", "2", "--methods", "lisa", "--tries", "3", "--plan"])
    assert engine.runs == []
    assert not (tmp_path / "attacks.md").exists()
    assert "The attacker's search" in capsys.readouterr().out
