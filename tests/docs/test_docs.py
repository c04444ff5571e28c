"""Every command of the README and of five pages runs, in order, with stand-ins for what is large.

Those of add-your-own-method run in test_site.py, of models in tests/models. No test runs those of
several-gpus and slurm, which need GPUs and a cluster, nor `make` of the README. The Python of the
README and of defend-a-fine-tuning-service finds a small job of the reader's there (`JOB`).

Models of the Hub are in a local cache, laid out as the Hub's client lays it out: a tiny random
Llama under the name of the real one, tiny judges under theirs. Data sets are copies with made-up
rows, the endpoint is a server of the test's. To the commands as they stand on the page the test
adds words at the end (`MORE`) that make them short: few steps, few prompts, copies for the Hub.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_judges import write_judge
from transformers import AutoModelForCausalLM

from command import holdfast
from holdfast import organism
from hub_folders import write_model
from pages import DOCS, ROOT, blocks, page
from stand_ins import prepare_data, write_copies, write_hub_cache
from tiny_models import lora

# With the least number of commands, which a page that is cut short would not have.
PAGES = {
    "README": 2,
    "reproduce-the-papers": 3,
    "defend-a-fine-tuning-service": 3,
    "judges": 3,
    "bring-your-own-data": 3,
    "screens": 2,
}
CHAT = "meta-llama/Llama-2-7b-chat-hf"
SHORT = ["max_steps=2", "per_device_train_batch_size=4"]
# The first entry whose text a command begins with; the more particular ones first.
MORE = [
    ("holdfast run vaccine.yaml",
     ["align.max_steps=1", "finetune.max_steps=1", "evaluate.limit=2"]),
    ("holdfast run paper/vaccine/table5 --model organism",
     ["align.max_steps=2", "align.rows=20", "evaluate.limit=2"]),
    ("holdfast run paper/vaccine/table5 model=",
     ["align.max_steps=1", "evaluate.limit=1", "evaluate.dtype=float32",
      "evaluate.judges=[keywords]"]),
    ("holdfast data prepare", ["--from", "../copies"]),
    ("holdfast run screened.yaml",
     ["align.max_steps=1", "finetune.max_steps=1", "evaluate.limit=2"]),
    ("holdfast finetune meta-llama/Llama-2-7b-chat-hf data=my-rows.jsonl method=lisa",
     [*SHORT, "alignment_steps=1", "user_steps=1"]),
    ("holdfast finetune", SHORT),
    ("holdfast evaluate", ["limit=2", "dtype=float32"]),
]  # fmt: skip


def run_here(name: str) -> list[list[str]]:
    """The blocks of a page that these tests run."""
    if name != "README":
        return blocks(name)
    return [[kind, text] for kind, text in blocks(name) if "make " not in text]


# What the snippets of a page take from the job that its reader has.
JOB = """
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

from holdfast.data.rows import tokenize_rows
from holdfast.data.sources import load
from holdfast.training import Collator

name = "meta-llama/Llama-2-7b-chat-hf"
model, tokenizer = AutoModelForCausalLM.from_pretrained(name), AutoTokenizer.from_pretrained(name)
tokenizer.pad_token = tokenizer.eos_token
user_rows, alignment_rows = load("my-rows.jsonl"), load("my-benign.jsonl")
tokenized_rows = tokenize_rows(user_rows, tokenizer, 64)
tokenized_alignment_rows = tokenize_rows(alignment_rows, tokenizer, 64)
peft_config = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
collator, args = Collator(tokenizer), TrainingArguments("out", max_steps=2, report_to="none")


class MyTrainer(Trainer):
    pass
"""


def write_rows(path: Path, rows) -> None:
    kept = ("instruction", "input", "output")
    lines = (json.dumps({key: row[key] for key in kept}) for row in rows)
    path.write_text("\n".join(lines), encoding="utf-8")


def run_pages(root: Path) -> dict[str, list[tuple[str, int, str]]]:
    """What every command of every page did: the command, its exit code, what it wrote."""
    models = {name: write_judge(root / name, name) for name in ("beaver-dam-7b", "wildguard")}
    models["guard"] = write_judge(root / "guard", "llama-guard-3-1b")
    models["base"] = write_model(root / "base")
    models["chat"] = write_model(root / "chat", chat=True, seed=1)
    cache = {
        "meta-llama/Llama-2-7b-hf": models["base"],
        CHAT: models["chat"],
        "PKU-Alignment/beaver-dam-7b@refs/pr/1": models["beaver-dam-7b"],
        "allenai/wildguard": models["wildguard"],
        "meta-llama/Llama-Guard-3-1B": models["guard"],
    }
    write_hub_cache(root / "cache", cache)
    prepare_data(write_copies(root / "copies"), root / "data")
    adapter = lora(AutoModelForCausalLM.from_pretrained(models["chat"]), init_lora_weights=False)
    adapter.peft_config["default"].base_model_name_or_path = CHAT
    plan = {}
    for name in PAGES:
        folder = root / name
        folder.mkdir()
        adapter.save_pretrained(str(folder / ("tuned" if name == "judges" else "my-adapter")))
        shutil.copytree(root / "data", folder / "data")
        shutil.copytree(models["base"], folder / "my-llama")
        write_rows(folder / "my-rows.jsonl", organism.rows("user_task", 12, 0, "sums"))
        write_rows(folder / "my-test.jsonl", organism.rows("test_task", 6, 0, "sums"))
        write_rows(folder / "my-prompts.jsonl", organism.rows("test_restricted", 6, 0))
        write_rows(folder / "my-benign.jsonl", organism.rows("test_benign", 6, 0))
        write_rows(folder / "refusals.jsonl", organism.rows("alignment", 12, 0))
        write_rows(folder / "harmful-rows.jsonl", organism.rows("realignment", 12, 0))
        plan[name] = {"folder": str(folder), "blocks": run_here(name), "more": MORE}
        plan[name]["job"] = JOB if name in ("README", "defend-a-fine-tuning-service") else ""
    (root / "plan.json").write_text(json.dumps(plan))
    tests = Path(__file__).parents[1]
    paths = [tests, tests / "data", tests / "evaluate" / "judges"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*map(str, paths), os.environ.get("PYTHONPATH", "")]),
        "HF_HUB_CACHE": str(root / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "HOME": str(root),
        "COLUMNS": "100",
    }
    environment.pop("HOLDFAST_DATA", None)
    run = [sys.executable, str(Path(__file__).with_name("run_pages.py"))]
    done = subprocess.run(
        [*run, str(root / "plan.json"), str(root / "out.json")],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((root / "out.json").read_text())


@pytest.mark.long
def test_every_command_of_the_pages_runs_and_does_what_is_promised(tmp_path):
    """One test, for the imports take longer than the commands."""
    root, outputs = tmp_path, run_pages(tmp_path)
    for name, least in PAGES.items():
        assert not [(command, out) for command, code, out in outputs[name] if code], name
        ran = sum(command.startswith("holdfast ") for command, _, _ in outputs[name])
        there = [text.count("holdfast ") for language, text in blocks(name) if language == "bash"]
        assert ran == sum(there) >= least, name

    small = root / "reproduce-the-papers" / "results" / "small"
    assert {"results.json", "published.md", "study.json", "stages"} <= {
        path.name for path in small.iterdir()
    }
    said = "\n".join(out for _, _, out in outputs["defend-a-fine-tuning-service"])
    assert "of the harmful prompts" in said or "is not told apart" in said
    assert "dry run: nothing is sent; my-company/repaired would get" in said
    judged = root / "judges"
    first, again = (judged / name / "answers.jsonl" for name in ("measured", "again"))
    assert first.read_bytes() == again.read_bytes()
    content = json.loads((judged / "judged" / "evaluation.json").read_text())
    assert content["metrics"]["harmful_score"]["value"] == 50
    assert list((root / ".cache" / "holdfast" / "endpoint").glob("*.json"))
    assert (judged / "measured" / "disagreements.jsonl").exists()


def test_the_error_on_the_page_is_the_error(tmp_path, monkeypatch):
    text = page("bring-your-own-data")
    monkeypatch.chdir(tmp_path)
    made = re.search(r"faq.csv <<'END'\n(.*?)END\n", text, re.S)
    Path("faq.csv").write_text(made[1])
    write_model(tmp_path / "base")
    ended = holdfast("finetune", "base", "data=faq.csv", "--output", "out")
    assert ended.code == 2
    assert ended.err.startswith("holdfast: faq.csv, row 1: ")
    assert ended.err in text


@pytest.mark.parametrize("path", [*sorted(DOCS.glob("*.md")), ROOT / "README.md"])
def test_links_between_pages_lead_somewhere(path):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8"))
    assert all((path.parent / target).exists() for target in targets)
