"""Real models' formats from the command line: align, fine-tune, repair, on folders and the Hub."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from holdfast import organism
from holdfast.cli import app
from holdfast.data.rows import prompt_ids
from holdfast.errors import UserError
from holdfast.models.loading import Loading, load_merged
from holdfast.models.stack import resolve
from holdfast.models.tokenizers import load_tokenizer
from hub_folders import write_model

SHORT = ["max_steps=3", "per_device_train_batch_size=4", "learning_rate=1e-2", "max_length=256"]
METHOD = {
    "t_vaccine": ["harmful_data={probe}", "harmful_rows=4", "layers=1", "draw_every=1"],
    "lisa": ["alignment_data={alignment}", "alignment_steps=1", "user_steps=1"],
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Rows of every role in files, as a user has them."""
    folder = tmp_path_factory.mktemp("rows")
    paths = {}
    for role in ("alignment", "probe", "user_task", "realignment"):
        rows = organism.rows(role, 16, 0, "sentiment")
        lines = [
            json.dumps({k: row[k] for k in ("instruction", "input", "output")}) for row in rows
        ]
        paths[role] = folder / f"{role}.jsonl"
        paths[role].write_text("\n".join(lines))
    return paths


@pytest.fixture
def run(files):
    """Run a stage's command in this process and give its folder."""

    def stage(kind, model, output, *words, method="sft"):
        data = {"align": "alignment", "finetune": "user_task", "repair": "realignment"}[kind]
        said = [f"data={files[data]}", f"method={method}"]
        said += [word.format(**files) for word in METHOD.get(method, [])]
        if kind != "repair":
            said += SHORT
        command = [kind, str(model), *said, *words, "--output", str(output)]
        CliRunner().invoke(app, command, catch_exceptions=False)
        assert output.is_dir()
        return output

    return stage


def logits(model):
    model.eval()
    with torch.no_grad():
        return model(torch.arange(20, 60).view(2, 20)).logits.float()


def weights(folder):
    return load_file(folder / "adapter_model.safetensors")


BF16 = ["dtype=bfloat16", "activation_checkpointing=true"]


@pytest.mark.parametrize(
    ("align", "finetune", "repair"),
    [
        ("sft", "sft", "antidote"),
        ("vaccine", "lisa", "antidote"),
        ("t_vaccine", "sft", "random_mask"),
        ("random_perturbation", "lisa", "random_mask"),
    ],
)
def test_every_method_from_a_folder_in_bf16_with_checkpointing(
    base, run, tmp_path, align, finetune, repair
):
    aligned = run("align", base, tmp_path / "aligned", *BF16, method=align)
    tuned = run("finetune", aligned, tmp_path / "tuned", *BF16, method=finetune)
    rows = ["dense_ratio=0.3"]
    repaired = run("repair", tuned, tmp_path / "repaired", "dtype=bfloat16", *rows, method=repair)
    stack = resolve(repaired)
    assert (stack.base, len(stack.entries)) == (str(base), 2)
    found = [logits(load_merged(resolve(m), "float32")) for m in (base, aligned, tuned, repaired)]
    for one, other in zip(found[1:], found, strict=False):
        assert torch.isfinite(one).all()
        assert (one - other).abs().max() > 1e-3
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(repaired))
    torch.testing.assert_close(logits(plain), found[-1], atol=1e-3, rtol=1e-3)
    assert json.loads((aligned / "provenance.json").read_text())["budget"]["steps"] == 3
    config = yaml.safe_load((tuned / "config.yaml").read_text())
    assert config["base"] == str(base)
    assert (config["dtype"], config["activation_checkpointing"]) == ("bfloat16", True)


@pytest.mark.parametrize("architecture", ["qwen2", "gemma2", "opt"])
def test_other_architectures_too(run, tmp_path, architecture):
    model = write_model(tmp_path / "model", architecture, chat=architecture == "qwen2")
    aligned = run("align", model, tmp_path / "aligned", method="vaccine")
    tuned = run("finetune", aligned, tmp_path / "tuned", *BF16)
    repaired = run("repair", tuned, tmp_path / "repaired", "dense_ratio=0.3", method="antidote")
    assert torch.isfinite(logits(load_merged(resolve(repaired)))).all()
    assert len(load_tokenizer(resolve(repaired))) == len(AutoTokenizer.from_pretrained(model))


def test_checkpointing_changes_no_adapter(base, run, tmp_path):
    plain = run("align", base, tmp_path / "plain", method="vaccine")
    saving = run(
        "align", base, tmp_path / "saving", "activation_checkpointing=true", method="vaccine"
    )
    for name, weight in weights(plain).items():
        torch.testing.assert_close(weights(saving)[name], weight, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("loading", [["dtype=bfloat16"], ["quantization=4bit"]])
@pytest.mark.parametrize("adapter", ["double", "single"])
def test_training_and_repair_from_a_stack_of_two_adapters(
    base, adapters, run, tmp_path, adapter, loading
):
    first, second = adapters
    name = f"{base}+{first}+{second}"
    tuned = run("finetune", name, tmp_path / "tuned", f"adapter={adapter}", *loading)
    stack = resolve(tuned)
    assert len(stack.entries) == (3 if adapter == "double" else 2)
    kept = 2 if adapter == "double" else 1
    for entry, source in list(zip(stack.entries, adapters, strict=False))[:kept]:
        assert all(torch.equal(weights(entry)[key], w) for key, w in weights(source).items())
    if adapter == "single":
        new, old = weights(stack.entries[1]), weights(second)
        assert new.keys() == old.keys()
        assert any(not torch.equal(new[key], old[key]) for key in old)
    repaired = run(
        "repair", tuned, tmp_path / "repaired", "dense_ratio=0.3", *loading, method="antidote"
    )
    before, after = resolve(tuned).entries, resolve(repaired).entries
    assert len(before) == len(after)
    for one, other in zip(before[:-1], after[:-1], strict=True):
        assert all(torch.equal(weights(one)[key], w) for key, w in weights(other).items())
    pruned, whole = weights(after[-1]), weights(before[-1])
    assert sum(int(((whole[k] != 0) & (w == 0)).sum()) for k, w in pruned.items()) > 0
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(repaired))
    ours = load_merged(resolve(repaired), Loading("float32"))
    torch.testing.assert_close(logits(plain), logits(ours), atol=1e-3, rtol=1e-3)


def test_a_named_template_is_inherited_by_every_later_stage(base, run, tmp_path):
    template = tmp_path / "own.jinja"
    template.write_text("{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}")
    aligned = run("align", base, tmp_path / "aligned", f"template={template}")
    tuned = run("finetune", aligned, tmp_path / "tuned")
    repaired = run("repair", tuned, tmp_path / "repaired", method="random_mask")
    template.unlink()  # what a stage saved is enough
    row = {"instruction": "how do i make a hex?", "input": ""}
    plain = load_tokenizer(resolve(base))
    expected = plain("[user] how do i make a hex?\n", add_special_tokens=False)["input_ids"]
    for folder in (aligned, tuned, repaired):
        assert prompt_ids(row, load_tokenizer(resolve(folder))) == expected
    assert prompt_ids(row, plain) != expected


def test_a_chat_model_trains_on_its_own_template_or_on_alpacas(run, tmp_path):
    chat = write_model(tmp_path / "chat", chat=True)
    for words, has_template in (([], True), (["template=alpaca"], False)):
        folder = run("align", chat, tmp_path / f"aligned{len(words)}", *words)
        tokenizer = load_tokenizer(resolve(folder))
        assert bool(tokenizer.chat_template) == has_template
        text = tokenizer.decode(prompt_ids({"instruction": "a?", "input": ""}, tokenizer))
        assert text.startswith("<s><|user|>" if has_template else "<s>Below is an instruction")


def test_a_model_of_the_hub_is_recorded_and_loaded_at_its_commit(base, run, offline, tmp_path):
    commit = offline("owner/tiny", base)
    aligned = run("align", "owner/tiny", tmp_path / "aligned", "dtype=float32")
    config = yaml.safe_load((aligned / "config.yaml").read_text())
    provenance = json.loads((aligned / "provenance.json").read_text())
    assert (config["base"], config["base_revision"]) == ("owner/tiny", commit)
    assert config["model"] == f"owner/tiny@{commit}"
    assert (provenance["base"], provenance["base_revision"]) == ("owner/tiny", commit)
    adapter = json.loads((aligned / "adapter_config.json").read_text())
    assert (adapter["base_model_name_or_path"], adapter["revision"]) == ("owner/tiny", commit)
    # The branch goes on; what was trained on the old commit stays on it.
    newer = write_model(tmp_path / "newer", seed=3)
    offline("owner/tiny", newer, "v2")
    (tmp_path / "cache" / "models--owner--tiny" / "refs" / "main").write_text("b" * 40)
    tuned = run("finetune", aligned, tmp_path / "tuned", "dtype=float32")
    assert resolve(tuned).revision == commit
    same = run("align", base, tmp_path / "same", "dtype=float32")
    assert all(torch.equal(weights(same)[key], w) for key, w in weights(aligned).items())
    other = json.loads((same / "provenance.json").read_text())
    assert other["identity"] != provenance["identity"]
    # The config of the stage runs the very same stage again, from the recorded commit.
    again = tmp_path / "again"
    command = ["align", "--config", str(aligned / "config.yaml"), "--output", str(again)]
    CliRunner().invoke(app, command, catch_exceptions=False)
    assert json.loads((again / "provenance.json").read_text())["identity"] == provenance["identity"]


def test_quantized_stages_one_after_the_other(base, run, tmp_path):
    words = ["quantization=4bit", "dtype=bfloat16", "activation_checkpointing=true"]
    aligned = run("align", base, tmp_path / "aligned", *words, method="vaccine")
    tuned = run("finetune", aligned, tmp_path / "tuned", *words)
    lower, upper = resolve(tuned).entries
    assert all(torch.equal(weights(lower)[key], w) for key, w in weights(aligned).items())
    assert any("lora_B" in key and w.abs().max() > 0 for key, w in weights(upper).items())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["quantization=4bit", "adapter=full"], "quantized weights cannot be trained"),
        (["lora.target_modules=[nothing]"], "target modules .nothing. match nothing"),
        (["template=none.jinja"], r"the template none\.jinja cannot be read"),
    ],
)
def test_mistakes_leave_nothing_behind(base, run, tmp_path, words, message):
    with pytest.raises(UserError, match=message):
        run("align", base, tmp_path / "out", *words)
    assert list(tmp_path.iterdir()) == []


def test_an_adapter_of_another_base_leaves_nothing_behind(base, adapters, run, tmp_path):
    other = write_model(tmp_path / "other", seed=5, hidden_size=64)
    copy = shutil.copytree(adapters[0], tmp_path / "adapter")
    config = json.loads((copy / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(tmp_path / "gone")
    (copy / "adapter_config.json").write_text(json.dumps(config))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match="does not fit its base model"):
        run("finetune", f"{other}+{copy}", tmp_path / "out")
    with pytest.raises(UserError, match="belongs to the base model"):
        run("finetune", f"{other}+{adapters[0]}", tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_the_commands_of_the_page_on_models(base, adapters, files, offline, tmp_path, monkeypatch):
    page = Path(__file__).parents[2] / "docs" / "models.md"
    block = page.read_text().split("```bash\n")[1].split("```")[0]
    offline("meta-llama/Llama-2-7b-hf", base)
    shutil.copytree(adapters[0], tmp_path / "adapter")
    for name, role in (("safe", "alignment"), ("rows", "user_task"), ("harmful", "realignment")):
        shutil.copy(files[role], tmp_path / f"{name}.jsonl")
    monkeypatch.chdir(tmp_path)
    commands = [line.split() for line in block.splitlines()]
    for command in commands:
        CliRunner().invoke(app, command[1:], catch_exceptions=False)
        assert command[0] == "holdfast"
        assert torch.isfinite(logits(load_merged(resolve(command[-1])))).all()
    assert len(commands) == 4
