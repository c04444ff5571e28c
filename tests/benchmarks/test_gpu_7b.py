"""The GPU benchmark, at tiny size on the CPU."""

import json
import sys
from importlib.util import find_spec

import pytest
import torch

import gpu_7b
import step_cost


@pytest.mark.long
@pytest.mark.long
def test_tiny_runs_everything(tmp_path, capsys):
    report = gpu_7b.main(["--tiny", "--json", str(tmp_path / "report.json")])
    assert json.loads((tmp_path / "report.json").read_text()) == report
    four_bits = find_spec("bitsandbytes") is not None
    precisions = ["bf16", "4 bits"] if four_bits else ["bf16"]
    methods = ["SFT", "Vaccine", "T-Vaccine", "random perturbation", "Lisa"]
    assert [(r["precision"], r["checkpointing"], r["method"]) for r in report["training"]] == [
        (precision, checkpointing, method)
        for precision in precisions
        for checkpointing in (False, True)
        for method in methods
    ]
    assert bool(report["left_out"]) != four_bits
    by_name = {(r["precision"], r["checkpointing"], r["method"]): r for r in report["training"]}
    for (precision, checkpointing, method), row in by_name.items():
        sft = by_name[precision, checkpointing, "SFT"]
        assert row["seconds"] > 0
        assert row["time_ratio"] == row["seconds"] / sft["seconds"]
        assert row["memory_ratio"] == row["bytes"] / sft["bytes"]
        if method == "T-Vaccine":
            assert row["bytes"] < by_name[precision, checkpointing, "Vaccine"]["bytes"]
    assert report["antidote"]["rows"] == gpu_7b.TINY["antidote_rows"]
    assert report["generation"]["prompts"] == gpu_7b.TINY["prompts"]
    assert 0 < report["generation"]["new_tokens"] <= 3 * gpu_7b.TINY["new_tokens"]
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("T-Vaccine", "Antidote, 6 rows", "generation, 3 prompts"))


def test_both_sizes_say_the_same_things():
    assert gpu_7b.SIZES.keys() == gpu_7b.TINY.keys()


def test_without_a_gpu_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="--tiny"):
        gpu_7b.main([])


@pytest.mark.long
def test_step_cost_still_measures(capsys, monkeypatch):
    words = "step_cost.py --blocks 2 --hidden 32 --tokens 6 --layers 1 --steps 2 --rounds 1"
    monkeypatch.setattr(sys, "argv", words.split())
    step_cost.main()
    shown = capsys.readouterr().out
    assert "Vaccine, every 10th" in shown
    assert "Lisa" in shown
