"""How models and tokenizers are loaded, and what is told of files that cannot be."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from holdfast.errors import UserError
from holdfast.models import accelerator
from holdfast.models.loading import Loading, load_base, load_merged
from holdfast.models.stack import resolve
from holdfast.models.tokenizers import check_vocabulary, load_tokenizer
from holdfast.stages.identity import stage_identity
from holdfast.stages.resolve import resolve as resolve_settings


@pytest.fixture
def broken(base, tmp_path):
    return shutil.copytree(base, tmp_path / "broken")


def test_loading_settings_take_effect(base):
    stack = resolve(base)
    model = load_base(stack, Loading("bfloat16", "eager", "auto"))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert model.config._attn_implementation == "eager"
    assert load_base(stack, Loading()).config._attn_implementation == "sdpa"
    ids = torch.arange(20, 40)[None]
    with torch.no_grad():
        both = [load_base(stack, Loading("float32", kind))(ids).logits for kind in ("eager", None)]
    torch.testing.assert_close(*both, atol=1e-4, rtol=1e-4)


def test_flash_attention_that_is_not_there_is_told(base):
    with pytest.raises(UserError, match=r"the model .*base cannot be loaded: FlashAttention2"):
        load_base(resolve(base), Loading(attn_implementation="flash_attention_2"))


def test_quantization_without_its_package_is_told(base, monkeypatch):
    monkeypatch.setattr("holdfast.models.loading.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'needs bitsandbytes.*pip install "holdfast\[quantized\]"'):
        load_base(resolve(base), Loading(quantization="4bit"))


def test_weights_that_are_cut_off_are_told(broken):
    path = broken / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match="weights file that is broken or cut off"):
        load_base(resolve(broken))
    path.write_bytes(b"\x00" * 40)
    with pytest.raises(UserError, match="weights file that is broken or cut off"):
        load_base(resolve(broken))


def test_weights_that_are_missing_are_told(broken):
    """The library would start them at random and only warn."""
    weights = load_file(broken / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 of its weights \(model\.layers\.1\.mlp\.up_proj"):
        load_base(resolve(broken))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_told(base, adapters, broken, tmp_path, value):
    path, name = broken / "model.safetensors", "model.layers.1.mlp.up_proj.weight"
    weights = load_file(path)
    weights[name][3, 5] = value
    save_file(weights, path, {"format": "pt"})
    match = rf"the model .*broken holds NaN or infinite numbers in {name} \(model\.safetensors\)"
    with pytest.raises(UserError, match=match):
        load_base(resolve(broken))
    adapter = shutil.copytree(adapters[0], tmp_path / "adapter")
    path = adapter / "adapter_model.safetensors"
    weights = load_file(path)
    name = max(weights)
    weights[name][1, 2] = value
    save_file(weights, path, {"format": "pt"})
    match = rf"adapter_model\.safetensors holds NaN or infinite numbers in {name}"
    with pytest.raises(UserError, match=match):
        load_merged(resolve(f"{base}+{adapter}"))


def test_an_adapter_whose_weights_are_cut_off_is_told(base, adapters, tmp_path):
    adapter = shutil.copytree(adapters[0], tmp_path / "adapter")
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"adapter_model\.safetensors is broken or cut off"):
        load_merged(resolve(f"{base}+{adapter}"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "no_such"}, "cannot be loaded: .*no_such"),
        ({"model_type": "bert", "architectures": ["BertModel"]}, "lacks|cannot be loaded"),
        (
            {"model_type": "no_such", "auto_map": {"AutoConfig": "code.Config"}},
            r"needs code of its own \(trust_remote_code\)",
        ),
    ],
)
def test_a_model_of_an_unknown_kind_is_told(broken, change, message):
    path = broken / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=message):
        load_base(resolve(broken))


def test_a_folder_without_a_readable_tokenizer_is_told(broken):
    (broken / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"the tokenizer of .*broken cannot be loaded"):
        load_tokenizer(resolve(broken))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (broken / name).unlink()
    with pytest.raises(UserError, match=r"the tokenizer of .*broken cannot be loaded"):
        load_tokenizer(resolve(broken))


def test_the_padding_token_is_the_end_token_where_there_is_none(base):
    tokenizer = load_tokenizer(resolve(base))
    assert tokenizer.pad_token == tokenizer.eos_token == "</s>"


def test_a_token_without_an_embedding_is_told(base):
    stack = resolve(base)
    model, tokenizer = load_base(stack), load_tokenizer(stack)
    check_vocabulary(model, tokenizer)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    with pytest.raises(UserError, match=r"has 1025 tokens, up to '\[PAD\]', .* for 1024"):
        check_vocabulary(model, tokenizer)


def test_dtype_auto_is_resolved_when_a_stage_is_planned(base, monkeypatch):
    """So a result on a GPU and one on a processor never have one identity."""
    stack, found = resolve(base), {}
    for there, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(accelerator, "has_accelerator", lambda there=there: there)
        settings = resolve_settings("align", {}, stack)
        assert settings["dtype"] == expected
        found[there] = stage_identity("align", settings, {}, {})
        assert resolve_settings("align", {}, resolve("organism"))["dtype"] == "float32"
    assert found[True] != found[False]


def test_an_accelerator_is_what_torch_says(monkeypatch):
    assert accelerator.has_accelerator() == torch.accelerator.is_available()
    builds = {kind for kind in ("cuda", "hip", "xpu") if getattr(torch.version, kind, None)}
    assert accelerator.torch_builds() == builds
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert accelerator.nvidia_devices() == 0


def test_what_decides_a_result_is_in_its_identity_and_what_does_not_is_not(base, tmp_path):
    stack = resolve(base)

    def identity(**given):
        return stage_identity("align", resolve_settings("align", given, stack), {}, {})

    plain = identity()
    assert identity(device_map="auto") == plain
    template, copy = tmp_path / "a.jinja", tmp_path / "b.jinja"
    template.write_text("{{ messages }}")
    shutil.copy(template, copy)
    others = [
        identity(dtype="bfloat16"),
        identity(attn_implementation="eager"),
        identity(quantization="4bit"),
        identity(quantization="8bit"),
        identity(template="alpaca"),
        identity(template=str(template)),
    ]
    assert len({plain, *others}) == 7
    assert identity(template=str(copy)) == others[-1]
    template.write_text("{{ messages[0].content }}")
    assert identity(template=str(template)) != others[-1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"quantization": "4bit", "adapter": "full"}, "quantized weights cannot be trained"),
        ({"quantization": "3bit"}, "quantization must be one of '4bit', '8bit'"),
        ({"attn_implementation": "owner/kernel"}, "attn_implementation must be one of 'eager'"),
        ({"device_map": "balanced"}, "device_map must be one of 'auto'"),
        ({"template": "llama"}, r"template is 'llama'; it must be alpaca or a file .*\.jinja"),
        ({"template": "no/such.jinja"}, r"no/such\.jinja cannot be read: No such file"),
    ],
)
def test_mistakes_in_loading_settings_are_told(base, given, message):
    with pytest.raises(UserError, match=message):
        resolve_settings("align", given, resolve(base))


def test_the_weights_are_the_folders(base):
    ours, plain = load_base(resolve(base)), AutoModelForCausalLM.from_pretrained(base)
    theirs = dict(plain.named_parameters())
    assert all(torch.equal(p, theirs[name]) for name, p in ours.named_parameters())
