"""Whatever adapter somebody brings: plain PEFT's logits, or one sentence.

The cases are made from PEFT's own lists, so a type or an option that it gains fails here until
somebody decides about it in `holdfast.models.adapter_support`.
"""

import dataclasses
import json
import typing

import pytest
import torch
from adapter_kinds import OPTIONS, REFUSED_STARTS, TYPES, VALUES, moved, write_bases, write_kind
from peft import LoraConfig, PeftModel, PeftType
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GenerationConfig

from holdfast import RandomMaskConfig, random_mask
from holdfast.errors import UserError
from holdfast.evaluate.generation import _answer_batch
from holdfast.models import adapter_support as support
from holdfast.models.loading import load_last_open, load_merged, save_stack
from holdfast.models.stack import Stack, resolve
from holdfast.trainer.adapter import with_adapter

FIELDS = [field.name for field in dataclasses.fields(LoraConfig)]


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    return write_bases(tmp_path_factory.mktemp("bases"))


def logits(model):
    model.eval()
    with torch.no_grad():
        return model(input_ids=torch.arange(3, 23).view(2, 10)).logits


def plain(base, *adapters):
    """Plain PEFT's own: every adapter but the last one merged."""
    model = AutoModelForCausalLM.from_pretrained(base)
    for number, adapter in enumerate(adapters):
        if number:
            model = model.merge_and_unload()
        model = PeftModel.from_pretrained(model, str(adapter))
    return model


def close(one, other):
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def weights(folder):
    return load_file(folder / "adapter_model.safetensors")


def refused(call, *args, **kwargs):
    with pytest.raises(UserError) as caught:
        call(*args, **kwargs)
    text = str(caught.value)
    assert text.startswith("the adapter ")
    assert "\n" not in text
    return text


def check_evaluate(base, adapter):
    stack = resolve(f"{base}+{adapter}")
    if "evaluate" not in allowed(adapter):
        refused(load_merged, stack)
        return
    expected = logits(plain(base, adapter))
    close(logits(load_merged(stack)), expected)
    assert (expected - logits(AutoModelForCausalLM.from_pretrained(base))).abs().max() > 1e-3


def check_double(base, adapter, folder):
    """A new adapter on top, saved with the one below as one."""
    stack = resolve(f"{base}+{adapter}")
    if "stack" not in allowed(adapter):
        refused(load_merged, stack, purpose="double")
        return
    targets = ["c_attn"] if "gpt2" in str(base) else ["k_proj", "v_proj"]
    new = LoraConfig(r=3, lora_alpha=5, target_modules=targets, task_type="CAUSAL_LM")
    below = load_merged(stack, purpose="double").requires_grad_(False)
    tuned = moved(with_adapter(below, new, seed=0))
    save_stack(tuned, stack, folder)
    expected = logits(tuned)
    close(logits(plain(base, folder)), expected)
    close(logits(load_merged(resolve(folder))), expected)
    assert (expected - logits(plain(base, adapter))).abs().max() > 1e-3


def check_single(base, adapter, folder):
    """The adapter trained on, alone and over another one."""
    stack = resolve(f"{base}+{adapter}")
    if "single" not in allowed(adapter):
        refused(load_last_open, stack, trainable=True)
        return
    model = load_last_open(stack, trainable=True)
    close(logits(model), logits(plain(base, adapter)))
    before = logits(moved(model))
    save_stack(model, Stack(str(base)), folder, replaced=adapter)
    close(logits(plain(base, folder)), before)
    assert weights(folder).keys() == weights(adapter).keys()
    assert any(not torch.equal(weights(folder)[key], w) for key, w in weights(adapter).items())


def check_repair(base, adapter, folder):
    stack = resolve(f"{base}+{adapter}")
    if "repair" not in allowed(adapter):
        refused(load_last_open, stack)
        return
    result = random_mask(load_last_open(stack), RandomMaskConfig(dense_ratio=0.5))
    assert result.report.zeroed > 0
    expected = logits(result.model)
    save_stack(result.model, Stack(str(base)), folder, replaced=adapter)
    close(logits(plain(base, folder)), expected)
    assert (expected - logits(plain(base, adapter))).abs().max() > 1e-3
    after = weights(folder)
    assert after.keys() == weights(adapter).keys()
    for key, weight in weights(adapter).items():
        assert torch.equal(after[key][after[key] != 0], weight[after[key] != 0])


def allowed(adapter):
    """The uses that the table says the adapter has, and at most those."""
    return {use for use in support.USES if not fails(support.check_adapter, adapter, use)}


def fails(call, *args):
    try:
        call(*args)
    except UserError:
        return True
    return False


def check_all(base, adapter, folder):
    check_evaluate(base, adapter)
    check_double(base, adapter, folder / "double")
    check_single(base, adapter, folder / "single")
    check_repair(base, adapter, folder / "repair")


def test_every_type_and_option_of_peft_is_decided():
    """And nothing else is in the table."""
    assert set(support.TYPES) == {kind.value for kind in PeftType}
    assert set(support.OPTIONS) == set(FIELDS)
    kinds = typing.get_args(typing.get_type_hints(LoraConfig)["init_lora_weights"])
    named = {name for kind in kinds for name in typing.get_args(kind)}
    assert set(support.STARTS) == {"True", "False", "lora_ga", *named}
    for table in (support.TYPES, support.OPTIONS, support.STARTS):
        for name, one in table.items():
            assert bool(one.why) == (one != support.ALL), name
            assert one.uses <= set(support.USES), name


@pytest.mark.parametrize("kind", [kind.value for kind in PeftType])
def test_an_adapter_of_every_type(bases, tmp_path, kind):
    adapter = tmp_path / "adapter"
    if support.TYPES[kind].uses:
        write_kind(bases["llama"], adapter, kind, **TYPES[kind])
    else:  # refused by its config, whatever its file holds
        write_kind(bases["llama"], adapter)
        rewrite(adapter, peft_type=kind)
    check_all(bases["llama"], adapter, tmp_path)


@pytest.mark.parametrize("option", FIELDS)
def test_an_adapter_with_every_option(bases, tmp_path, option):
    one = support.OPTIONS[option]
    if option in VALUES:
        adapter = write_kind(bases["llama"], tmp_path / "adapter")
        rewrite(adapter, **{option: VALUES[option]})
        assert f"uses {option}" in refused(load_merged, resolve(f"{bases['llama']}+{adapter}"))
        return
    assert option in OPTIONS or one == support.ALL
    for number, (base, settings) in enumerate(OPTIONS.get(option, [])):
        folder = tmp_path / str(number)
        adapter = write_kind(bases[base], folder / "adapter", **settings)
        check_all(bases[base], adapter, folder)


def rewrite(adapter, **values):
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return adapter


@pytest.mark.parametrize("start", REFUSED_STARTS)
def test_a_start_that_nobody_can_repeat_is_refused(bases, tmp_path, start):
    adapter = write_kind(bases["llama"], tmp_path / "adapter")
    rewrite(adapter, init_lora_weights=start)
    assert f"starts as {start}" in refused(load_merged, resolve(f"{bases['llama']}+{adapter}"))


def test_what_nobody_has_decided_is_refused(bases, tmp_path):
    """A type, an option or a task of a later PEFT, or of no causal language model."""
    cases = {
        "type": ({"peft_type": "LATER"}, "is of type LATER"),
        "option": ({"use_later": True}, "uses use_later"),
        "task": ({"task_type": "SEQ_CLS"}, "is for SEQ_CLS"),
    }
    for name, (values, says) in cases.items():
        adapter = rewrite(write_kind(bases["llama"], tmp_path / name), **values)
        assert says in refused(load_merged, resolve(f"{bases['llama']}+{adapter}"))
    number = rewrite(write_kind(bases["llama"], tmp_path / "number"), later_size=16)
    close(
        logits(load_merged(resolve(f"{bases['llama']}+{number}"))),
        logits(plain(bases["llama"], tmp_path / "number")),
    )


@pytest.mark.parametrize("option", ["alpha_pattern", "rank_pattern", "modules_to_save", "use_dora"])
def test_a_stack_is_evaluated_as_plain_peft_merges_it(bases, tmp_path, option):
    base = bases["llama"]
    _, settings = OPTIONS[option][0]
    first = write_kind(base, tmp_path / "first", **settings)
    second = write_kind(base, tmp_path / "second", target_modules=["down_proj", "q_proj"])
    close(
        logits(load_merged(resolve(f"{base}+{first}+{second}"))),
        logits(plain(base, first, second)),
    )


def test_what_cannot_be_merged_carries_no_other(bases, tmp_path):
    base = bases["llama"]
    first = write_kind(base, tmp_path / "first", alora_invocation_tokens=[7, 8])
    second = write_kind(base, tmp_path / "second")
    text = refused(load_merged, resolve(f"{base}+{first}+{second}"))
    assert "uses alora_invocation_tokens, and it cannot be merged into its base" in text
    whole = resolve(f"{base}+{second}+{first}")
    close(logits(load_merged(whole)), logits(plain(base, second, first)))
    refused(load_merged, resolve(f"{base}+{first}"), purpose="full")


def test_all_weights_over_a_tied_head_are_saved_as_two(bases, tmp_path):
    """adapter=full: what is saved loads in plain transformers to the same logits."""
    base = bases["tied"]
    for number, settings in enumerate(
        [{"target_modules": ["q_proj", "lm_head"]}, {"modules_to_save": ["lm_head"]}, {}]
    ):
        adapter = write_kind(base, tmp_path / f"adapter{number}", **settings)
        model = load_merged(resolve(f"{base}+{adapter}"), purpose="full")
        model.save_pretrained(tmp_path / f"full{number}")
        again = AutoModelForCausalLM.from_pretrained(tmp_path / f"full{number}")
        close(logits(again), logits(plain(base, adapter)))
        assert again.config.tie_word_embeddings == (not settings)


@pytest.mark.parametrize("kind", ["PREFIX_TUNING", "CARTRIDGE", "ADAPTION_PROMPT", "BEFT"])
def test_what_stays_beside_the_weights_answers_as_in_plain_peft(bases, tmp_path, kind):
    adapter = write_kind(bases["llama"], tmp_path / "adapter", kind, **TYPES[kind])
    answers_agree(bases["llama"], adapter)


@pytest.mark.parametrize("option", ["alora_invocation_tokens", "layer_replication"])
def test_options_that_stay_beside_the_weights_answer_as_in_plain_peft(bases, tmp_path, option):
    base, settings = OPTIONS[option][0]
    answers_agree(bases[base], write_kind(bases[base], tmp_path / "adapter", **settings))


def answers_agree(base, adapter):
    """Ours in a batch with padding on the left, plain PEFT's one by one."""
    prompts = [[5, 9, 7, 8, 11, 12], [1, 7, 8, 33], [20, 21, 22, 23, 7, 8, 24, 25, 26]]
    settings = GenerationConfig(
        max_new_tokens=8, do_sample=False, eos_token_id=[63], pad_token_id=0
    )
    model = load_merged(resolve(f"{base}+{adapter}"))
    ours = _answer_batch(model, prompts, settings, [0] * len(prompts))
    theirs = plain(base, adapter).eval()
    for ids, answer in zip(prompts, ours, strict=True):
        alone = theirs.generate(
            input_ids=torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            generation_config=settings,
        )
        assert answer == alone[0, len(ids) :].tolist()
    # And what the alignment loss is made of: a batch with padding on the right, without a cache.
    width = max(map(len, prompts))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in prompts])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in prompts])
    with torch.no_grad():
        together = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        for row, states in zip(prompts, together, strict=True):
            close(states[: len(row)], theirs(input_ids=torch.tensor([row])).logits[0])
