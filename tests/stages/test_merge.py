"""`holdfast merge`: the weights of the sum, its types and files, what it carries, its mistakes."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from command import done, holdfast
from holdfast import organism
from holdfast.models import loading
from holdfast.models.stack import resolve
from holdfast.models.system_prompt import SystemPrompt, in_folder, write_system_prompt


def adapter(folder, seed, targets=("q_proj", "down_proj")):
    """A random adapter of the organism, with r = 4 and a scale of 2."""
    torch.manual_seed(seed)
    config = LoraConfig(
        r=4, lora_alpha=8, target_modules=list(targets), init_lora_weights=False,
        task_type="CAUSAL_LM",
    )  # fmt: skip
    get_peft_model(organism.load_model(), config).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    root = tmp_path_factory.mktemp("adapters")
    return adapter(root / "one", 1), adapter(root / "two", 2, ("q_proj", "v_proj"))


def summed(*folders):
    """The organism's weights and what the adapters add to them, by the formula."""
    weights = {name: w.float() for name, w in organism.load_model().state_dict().items()}
    for folder in folders:
        factors = load_file(folder / "adapter_model.safetensors")
        for name, a in factors.items():
            if ".lora_A." in name:
                b = factors[name.replace(".lora_A.", ".lora_B.")]
                own = name.removeprefix("base_model.model.").replace(".lora_A.weight", ".weight")
                weights[own] = weights[own] + 2 * b @ a
    return weights


def test_the_merged_weights_are_the_sum(stack, tmp_path):
    one, two = stack
    words = ("merge", f"organism+{one}+{two}", "--output", tmp_path / "out")
    assert f"the merged model is in {tmp_path / 'out'}" in done(*words, "--dtype", "float32")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out", trust_remote_code=False)
    wanted = summed(one, two)
    for name, weight in merged.state_dict().items():
        torch.testing.assert_close(weight, wanted[name], atol=1e-6, rtol=1e-5)
    assert not list((tmp_path / "out").glob("adapter*"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out", trust_remote_code=False)
    assert len(tokenizer) == len(organism.load_tokenizer())


@pytest.mark.parametrize(("dtype", "kind"), [("auto", "float16"), ("bfloat16", "bfloat16")])
def test_the_type_is_that_of_the_base_or_the_one_that_is_named(stack, tmp_path, dtype, kind):
    done("merge", stack[0], "--dtype", dtype, "--output", tmp_path / "out")
    wanted = summed(stack[0])
    for name, weight in load_file(tmp_path / "out" / "model.safetensors").items():
        assert weight.dtype == getattr(torch, kind)
        # Rounded once, of the sum in float32.
        assert torch.equal(weight, wanted[name].to(weight.dtype)) or torch.allclose(
            weight.float(), wanted[name], atol=1e-6, rtol=2**-7
        )
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == kind


def test_shards(stack, tmp_path):
    done("merge", stack[0], "--shard", "100KB", "--output", tmp_path / "out")
    shards = sorted(tmp_path.glob("out/model-*.safetensors"))
    assert len(shards) > 2
    assert (tmp_path / "out" / "model.safetensors.index.json").is_file()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", trust_remote_code=False)
    assert loaded.num_parameters() == organism.load_model().num_parameters()


def test_it_is_a_model_of_the_organism_that_commands_take(stack, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done("merge", stack[0], "--output", "out")
    assert resolve("out").is_organism
    found = json.loads(done("evaluate", "out", "limit=3", "--format", "json"))
    same = json.loads(done("evaluate", str(stack[0]), "limit=3", "--format", "json"))
    assert found["protocol"] == same["protocol"]
    shown = done("push", "out", "me/merged", "--dry-run")
    for file in ("model.safetensors", "tokenizer.json", "config.yaml", "provenance.json"):
        assert file in shown
    assert "holdfast merge" in shown
    assert "--dtype float16" in shown
    assert "adapter_config.json" not in shown
    assert str(tmp_path) not in shown


def test_the_same_command_finds_it_and_another_is_refused(stack, tmp_path, monkeypatch):
    words = ("merge", stack[0], "--output", tmp_path / "out")
    done(*words)
    monkeypatch.setattr(loading, "load_merged", None)  # nothing is loaded
    assert "which it held already" in done(*words)
    for others in ((stack[1],), (stack[0], "--shard", "100KB"), (stack[0], "--dtype", "bfloat16")):
        other = holdfast("merge", *others, "--output", tmp_path / "out")
        assert other.code == 2
        assert "holds the result of another run" in other.err


def test_a_system_prompt_goes_with_it(stack, tmp_path):
    asked = adapter(tmp_path / "asked", 5)
    organism.load_tokenizer().save_pretrained(asked)
    write_system_prompt(asked, SystemPrompt("Be kind.", False))
    done("merge", asked, "--output", tmp_path / "out")
    assert in_folder(tmp_path / "out") == SystemPrompt("Be kind.", False)


def test_an_adapter_that_stays_beside_the_weights_is_refused(stack, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "is_quantized", lambda model: True)
    ended = holdfast("merge", stack[0], "--output", tmp_path / "out")
    assert ended.code == 2
    assert "cannot be merged: its weights are quantized" in ended.err
    assert [p.name for p in tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "nowhere"),
        (("organism", "--dtype", "int8"), "there is no --dtype int8"),
        (("organism", "--shard", "big"), "--shard is 'big'; it must be a size such as 5GB"),
    ],
)
def test_mistakes(words, said, tmp_path):
    ended = holdfast("merge", *words, "--output", tmp_path / "out")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert said in ended.err
    assert list(tmp_path.iterdir()) == []
