"""Stages on disk: what plain peft loads, repairs, reuse, interruption, broken places."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoTokenizer

from holdfast import organism
from holdfast.engine.results import collect
from holdfast.engine.run import Launch, run_stages
from holdfast.errors import Stopped, UserError
from holdfast.models.loading import load_merged, save_stack
from holdfast.models.stack import Stack, resolve
from holdfast.models.tokenizers import load_tokenizer
from holdfast.stages.execute import execute
from holdfast.stages.making import make_pipeline, make_stage
from holdfast.stages.pipeline import all_stages, stage_folder
from tiny_models import lora, tiny_model

SHORT = {"rows": 40, "num_train_epochs": 1}


class Silent:
    def __init__(self):
        self.outcomes = []

    def begun(self, stage):
        pass

    def told(self, note):
        pass

    def moved(self, stage, share, note):
        assert 0 <= share <= 1

    def ended(self, stage, outcome):
        self.outcomes.append((stage.kind, outcome))


def logits(model):
    rows = organism.rows("test_benign", 4, 0)
    tokenizer = organism.load_tokenizer()
    ids = tokenizer([row["instruction"] for row in rows], return_tensors="pt", padding=True)
    with torch.no_grad():
        return model.eval()(**ids).logits


def run_here(kind, given, folder, model=None):
    stage = make_stage(kind, {**given, **({"model": str(model)} if model else {})})
    return execute(stage, folder, resolve(stage.settings["model"]))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One short run of every stage: align → fine-tune (double, single, Lisa, full) → repair."""
    root = tmp_path_factory.mktemp("stages")
    aligned = run_here("align", SHORT, root / "aligned")
    tuned = run_here("finetune", SHORT, root / "double", aligned)
    single = {**SHORT, "adapter": "single"}
    full = {**SHORT, "adapter": "full"}
    lisa = {**SHORT, "method": "lisa", "alignment_steps": 1, "user_steps": 2}
    return {
        "aligned": aligned,
        "double": tuned,
        "single": run_here("finetune", single, root / "single", aligned),
        "lisa": run_here("finetune", lisa, root / "lisa", aligned),
        "full": run_here("finetune", full, root / "full", aligned),
        "repaired": run_here("repair", {"rows": 20}, root / "repaired", tuned),
        "repaired_full": run_here("repair", {"rows": 20}, root / "repaired_full", root / "full"),
        "evaluated": run_here("evaluate", {}, root / "evaluated", tuned),
    }


@pytest.mark.parametrize("name", ["aligned", "double", "single", "lisa", "repaired"])
def test_plain_peft_loads_the_finished_model(folders, name):
    plain = PeftModel.from_pretrained(organism.load_model(), str(folders[name]))
    ours = load_merged(resolve(folders[name]))
    base = logits(organism.load_model())
    torch.testing.assert_close(logits(plain), logits(ours), atol=2e-4, rtol=1e-4)
    assert (logits(ours) - base).abs().max() > 1e-3
    assert AutoTokenizer.from_pretrained(folders[name]).pad_token_id is not None


def test_full_fine_tuning_writes_a_model_of_its_own(folders):
    stack = resolve(folders["full"])
    assert stack.entries == ()
    assert stack.is_organism
    base, tuned = logits(organism.load_model()), logits(load_merged(stack))
    assert (tuned - base).abs().max() > 1e-3
    repaired = logits(load_merged(resolve(folders["repaired_full"])))
    assert (repaired - tuned).abs().max() > 1e-3


def test_double_adds_an_entry_and_single_goes_on_with_the_last(folders):
    assert len(resolve(folders["aligned"]).entries) == 1
    assert len(resolve(folders["double"]).entries) == 2
    assert len(resolve(folders["single"]).entries) == 1
    first = resolve(folders["double"]).entries[0]
    a, b = (load_file(f / "adapter_model.safetensors") for f in (first, folders["aligned"]))
    assert all(torch.equal(a[name], b[name]) for name in b)
    assert not torch.equal(*(load_file(folders[n] / "adapter_model.safetensors")[next(iter(b))]
                             for n in ("single", "aligned")))  # fmt: skip


def test_a_repair_changes_the_last_entry_alone_and_by_its_mask(folders):
    before, after = (resolve(folders[name]).entries for name in ("double", "repaired"))
    masks = load_file(folders["repaired"] / "mask.safetensors")
    report = json.loads((folders["repaired"] / "repair_report.json").read_text())
    assert report["zeroed"] == sum(int(mask.sum()) for mask in masks.values()) > 0
    first = [load_file(e[0] / "adapter_model.safetensors") for e in (before, after)]
    last = [load_file(e[1] / "adapter_model.safetensors") for e in (before, after)]
    assert all(torch.equal(first[0][name], first[1][name]) for name in first[0])
    zeroed = sum(int(((last[0][n] != 0) & (last[1][n] == 0)).sum()) for n in last[0])
    # B of an adapter that hardly trained may hold zeros already, which the mask counts too.
    assert 0 < zeroed <= report["zeroed"]


def test_every_folder_says_how_it_was_made(folders):
    for name in ("aligned", "double", "repaired", "evaluated"):
        config = yaml.safe_load((folders[name] / "config.yaml").read_text())
        provenance = json.loads((folders[name] / "provenance.json").read_text())
        assert config["base"] == "organism"
        assert provenance["seed"] == 0
        assert provenance["seconds"] > 0
        assert provenance["peak_memory_bytes"] > 0
        assert {"torch", "transformers", "peft", "python"} <= provenance["versions"].keys()
        assert not list(folders[name].glob("*.partial"))
    data = json.loads((folders["double"] / "provenance.json").read_text())["data"]
    assert data["train"]["rows"] == 40
    assert len(data["train"]["fingerprint"]) == 64
    lines = (folders["aligned"] / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 4


def test_the_budget_counts_the_rows_of_every_set(folders):
    budgets = {
        name: json.loads((folders[name] / "provenance.json").read_text())["budget"]
        for name in ("double", "lisa")
    }
    assert budgets["double"]["rows"] == 40
    assert budgets["lisa"]["rows"] == 40 + 1000  # its alignment rows


def test_a_stages_config_runs_it_again(folders, tmp_path):
    """config.yaml as the file of the next command: the same adapter, bit for bit."""
    from rich.console import Console

    from holdfast.commands.stage import run_stage

    config = folders["aligned"] / "config.yaml"
    run_stage("align", [], config, tmp_path / "again", Console(quiet=True))
    a, b = (
        load_file(f / "adapter_model.safetensors") for f in (folders["aligned"], tmp_path / "again")
    )
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_stacks_of_different_adapters_combine_exactly(tmp_path):
    """Different ranks, scales and targets in two entries; the sum of both updates in one."""
    base = tiny_model("llama").eval()
    base.save_pretrained(tmp_path / "base")
    ids = torch.arange(3, 23).view(2, 10)
    below = Stack(str(tmp_path / "base"))
    model = base
    settings = (
        {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]},
        {"r": 2, "lora_alpha": 1, "target_modules": ["v_proj", "down_proj"], "use_rslora": True},
    )
    for number, kw in enumerate(settings):
        adapted = lora(model, seed=number, init_lora_weights=False, **kw)
        save_stack(adapted, below, tmp_path / str(number))
        below = resolve(tmp_path / str(number))
        model = load_merged(below)
    plain = PeftModel.from_pretrained(tiny_model("llama").eval(), str(tmp_path / "1"))
    with torch.no_grad():
        whole, stacked = plain(ids).logits, model.eval()(ids).logits
        torch.testing.assert_close(whole, stacked, atol=1e-4, rtol=1e-4)
        assert (stacked - tiny_model("llama").eval()(ids).logits).abs().max() > 0.1


def test_somebody_elses_adapter_is_repaired(tmp_path):
    """An adapter on a local base, saved by plain peft, with rows in a file."""
    base = tiny_model("llama")
    base.resize_token_embeddings(len(organism.load_tokenizer()))
    base.save_pretrained(tmp_path / "base")
    organism.load_tokenizer().save_pretrained(tmp_path / "base")
    model = lora(base, r=8, init_lora_weights=False)
    model.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    model.save_pretrained(tmp_path / "theirs")
    rows = organism.rows("realignment", 10, 0)
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    given = {"model": str(tmp_path / "theirs"), "data": str(tmp_path / "rows.json")}
    stage = make_stage("repair", {**given, "dense_ratio": 0.25})
    folder = execute(stage, tmp_path / "repaired", resolve(given["model"]))
    before, after = (
        load_file(f / "adapter_model.safetensors") for f in (tmp_path / "theirs", folder)
    )
    share = {n: float((after[n] == 0).float().mean()) for n in after}
    assert all(value == pytest.approx(0.25) for value in share.values())
    assert all(torch.equal(after[n][after[n] != 0], before[n][after[n] != 0]) for n in after)
    assert load_tokenizer(resolve(folder)).pad_token_id is not None


def test_what_is_there_is_reused_and_anything_else_left_alone(folders, tmp_path):
    stamp = (folders["aligned"] / "provenance.json").stat().st_mtime_ns
    run_here("align", SHORT, folders["aligned"])
    assert (folders["aligned"] / "provenance.json").stat().st_mtime_ns == stamp
    with pytest.raises(UserError, match="holds the result of another run"):
        run_here("align", {**SHORT, "seed": 5}, folders["aligned"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="holds something else"):
        run_here("align", SHORT, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        run_here("align", SHORT, tmp_path / "file")
    with pytest.raises(UserError, match="cannot be written"):
        run_here("align", SHORT, tmp_path / "file" / "below")


@pytest.mark.parametrize("method", ["sft", "vaccine", "t_vaccine"])
def test_a_stopped_alignment_goes_on_to_the_same_result(tmp_path, method):
    # Stopped after three steps, in the middle between two lines of the log.
    own = {"method": method, **SHORT, "lora": {"dropout": 0.1}, "logging_steps": 2}
    whole = run_here("align", own, tmp_path / "whole")
    stage = make_stage("align", own)
    asked = iter([False, False, True, True, True])
    with pytest.raises(Stopped):
        execute(stage, tmp_path / "again", Stack("organism"), stopping=lambda: next(asked))
    assert not (tmp_path / "again").exists()
    assert (tmp_path / "again.partial" / "checkpoints").is_dir()
    # Other settings are not in its way, nor it in theirs.
    other = make_stage("align", {**own, "seed": 9})
    with pytest.raises(Stopped):
        execute(other, tmp_path / "again", Stack("organism"), stopping=lambda: True)
    aside = tmp_path / f"again.partial-{stage.identity[:12]}"
    assert (aside / "checkpoints").is_dir()
    again = execute(stage, tmp_path / "again", Stack("organism"))
    a, b = (load_file(f / "adapter_model.safetensors") for f in (whole, again))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not (tmp_path / "again.partial").exists()
    assert not aside.exists()
    lines = [(folder / "metrics.jsonl").read_text().splitlines() for folder in (whole, again)]
    assert lines[0] == lines[1]
    last = json.loads(lines[0][-1])
    assert (last["step"], last["train_loss"] > 0, "train_runtime" in last) == (4, True, False)


class EventFile:
    """In the place of TensorBoard's writer, which is not installed with the tests."""

    def __init__(self, log_dir):
        self.path = Path(log_dir) / "events"
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def add_scalar(self, name, value, step):
        with self.path.open("a") as file:
            file.write(f"{step} {name} {value}\n")

    def add_text(self, *_):
        pass

    def flush(self):
        pass

    close = flush


def test_tensorboard_files_are_kept_and_the_same_after_an_interruption(tmp_path, monkeypatch):
    from transformers.integrations import integration_utils

    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=EventFile))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setattr(integration_utils, "is_tensorboard_available", lambda: True)
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    own = {"method": "sft", **SHORT, "logging_steps": 2, "report_to": "tensorboard"}
    stage = make_stage("align", own)
    asked = iter([False, False, True, True])
    with pytest.raises(Stopped):
        execute(stage, tmp_path / "again", Stack("organism"), stopping=lambda: next(asked))
    events = Path("tensorboard", "events")
    with (tmp_path / "again.partial" / events).open("a") as file:
        file.write("4 train/loss of a step that was not saved\n")
    execute(stage, tmp_path / "again", Stack("organism"))
    whole = execute(stage, tmp_path / "whole", Stack("organism"))
    # Within a step the order of the names may differ: each is a curve of its own.
    written = [sorted((f / events).open()) for f in (whole, tmp_path / "again")]
    assert any(line.startswith("4 train/loss ") for line in written[0])
    assert written[0] == written[1]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_full_weights_in_16_bits_are_trained_and_saved_in_float32(tmp_path, dtype):
    changed = []
    for own in ({}, {"dtype": dtype}):
        few = {"method": "sft", "rows": 40, "adapter": "full", "learning_rate": 1e-5, **own}
        folder = run_here("finetune", few, tmp_path / f"{own}")
        tuned = load_file(folder / "model.safetensors")
        base = organism.load_model().state_dict()
        assert {w.dtype for w in tuned.values()} == {torch.float32}
        differ = sum((w != base[name]).sum() for name, w in tuned.items())
        changed.append(float(differ) / sum(w.numel() for w in tuned.values()))
    assert changed[0] > 0.8
    assert abs(changed[0] - changed[1]) < 0.05


def test_a_full_disk_is_one_sentence_and_nothing_half_written(tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("holdfast.stages.train.save_stack", full)
    with pytest.raises(UserError, match=r"the disk is full at .*: free some space"):
        run_here("align", SHORT, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    assert (run_here("align", SHORT, tmp_path / "out") / "provenance.json").exists()


@pytest.mark.parametrize("kind", ["repair", "evaluate"])
def test_stages_without_checkpoints_stop_too(folders, tmp_path, kind):
    stage = make_stage(kind, {"model": str(folders["double"])})
    with pytest.raises(Stopped):
        execute(stage, tmp_path / "out", resolve(folders["double"]), stopping=lambda: True)
    assert not list(tmp_path.iterdir())


def test_a_config_names_the_model_that_the_stage_started_from(tmp_path):
    short = {"method": "sft", **SHORT}
    pipeline = make_pipeline({"align": short, "finetune": short})
    stages = all_stages([pipeline])
    folders = run_stages(stages, tmp_path, Silent(), Launch(1)).folders
    aligned, tuned, measured = (folders[stage.identity] for stage in stages)
    config = yaml.safe_load((tuned / "config.yaml").read_text())
    assert config["model"] == str(aligned)
    config = yaml.safe_load((measured / "config.yaml").read_text())
    assert (config["model"], config["reference"]) == (str(tuned), str(aligned))


def test_a_torn_line_of_metrics_does_not_stop_a_resumed_run(tmp_path):
    own = {"method": "sft", **SHORT}
    stage = make_stage("align", own)
    asked = iter([False, False, True, True])
    with pytest.raises(Stopped):
        execute(stage, tmp_path / "out", Stack("organism"), stopping=lambda: next(asked))
    with (tmp_path / "out.partial" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    execute(stage, tmp_path / "out", Stack("organism"))
    lines = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 4


def test_one_target_module_may_be_named_without_a_list(tmp_path):
    own = {"method": "sft", **SHORT, "lora": {"target_modules": "v_proj"}}
    folder = run_here("align", own, tmp_path / "out")
    names = load_file(folder / "adapter_model.safetensors")
    assert names
    assert all("v_proj" in name for name in names)


def test_single_without_an_adapter_is_told(tmp_path):
    with pytest.raises(UserError, match="carries no adapter to go on with"):
        run_here("finetune", {**SHORT, "adapter": "single"}, tmp_path / "out")


def test_an_adapter_that_matches_nothing_is_told(tmp_path):
    with pytest.raises(UserError, match=r"match nothing.*q_proj"):
        run_here("align", {**SHORT, "lora": {"target_modules": ["wq"]}}, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_pipeline_by_two_workers_equals_one_worker_and_is_reused(tmp_path):
    spec = {
        "align": {"method": "sft", **SHORT},
        "finetune": {"method": "sft", **SHORT},
        "repair": {"method": "random_mask"},
        "harmful_ratio": 0.1,
    }
    pipelines = [make_pipeline(spec), make_pipeline({**spec, "repair": None})]
    stages, metrics = all_stages(pipelines), []
    assert len(stages) == 5
    for workers in (1, 2):
        watcher, root = Silent(), tmp_path / str(workers)
        outcome = run_stages(stages, root, watcher, Launch(workers))
        assert not outcome.failures
        assert [o for _, o in watcher.outcomes] == ["done"] * 5
        results = collect(pipelines, root)
        metrics.append([record["metrics"] for record in results["records"]])
    assert metrics[0] == metrics[1]
    record = results["records"][0]
    assert (record["align"], record["finetune"], record["repair"]) == ("sft", "sft", "random_mask")
    assert record["harmful_ratio"] == 0.1
    assert set(record["seconds"]) == {"align", "finetune", "repair", "evaluate"}
    assert 0 <= record["metrics"]["harmful_score"]["value"] <= 100
    assert record["metrics"]["harmful_score"]["n"] == 200
    again = Silent()
    run_stages(stages, tmp_path / "2", again, Launch(2))
    assert [o for _, o in again.outcomes] == ["cached"] * 5


def test_a_failed_stage_stops_what_needs_it_and_nothing_else(tmp_path):
    good = make_pipeline({"align": {"method": "sft", **SHORT}})
    bad = make_pipeline({"align": {"method": "sft", **SHORT, "seed": 1}, "finetune": "sft"})
    target = stage_folder(tmp_path, bad.stages["align"])
    target.with_name(target.name + ".partial").mkdir(parents=True)
    # A folder in the place of a file that the stage must write: an error that nobody foresaw.
    (target.with_name(target.name + ".partial") / "metrics.jsonl").mkdir()
    mark = target.with_name(target.name + ".partial") / "identity"
    mark.write_text(bad.stages["align"].identity)
    watcher = Silent()
    outcome = run_stages(all_stages([good, bad]), tmp_path, watcher, Launch(2))
    assert list(outcome.failures) == [bad.stages["align"].identity]
    assert "IsADirectoryError" in outcome.failures[bad.stages["align"].identity]
    assert {s.kind for s in outcome.skipped} == {"finetune", "evaluate"}
    assert good.evaluation.identity in outcome.folders
