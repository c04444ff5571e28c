"""What a user may name as a model, and what is no model."""

import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from holdfast.errors import UserError
from holdfast.models.loading import load_last_open, load_merged
from holdfast.models.stack import Stack, resolve
from holdfast.models.tokenizers import load_tokenizer
from holdfast.stages.identity import model_identity
from hub_folders import write_model, write_tokenizer

COMMIT, SECOND = "a" * 40, "b" * 40


def with_updates(base, *adapters):
    """The base's weights with every adapter's scale · B A added by hand."""
    model = AutoModelForCausalLM.from_pretrained(base)
    weights = dict(model.named_parameters())
    for adapter in adapters:
        config = json.loads((adapter / "adapter_config.json").read_text())
        scale = config["lora_alpha"] / config["r"]
        factors = load_file(adapter / "adapter_model.safetensors")
        for key in (key for key in factors if key.endswith("lora_A.weight")):
            name = key.removeprefix("base_model.model.").replace("lora_A.", "")
            update = factors[key.replace("lora_A", "lora_B")] @ factors[key]
            weights[name].data += scale * update
    return model


def logits(model):
    with torch.no_grad():
        return model(torch.arange(20, 60).view(2, 20)).logits


def test_a_stack_is_the_base_and_every_adapter_in_turn(base, adapters):
    first, second = adapters
    expected = logits(with_updates(base, first, second))
    for name in (f"{base}+{first}+{second}", f"{first}+{second}"):
        stack = resolve(name)
        assert (stack.base, stack.entries) == (str(base), (first, second))
        torch.testing.assert_close(logits(load_merged(stack)), expected, atol=1e-4, rtol=1e-4)
    opened = load_last_open(stack)
    torch.testing.assert_close(logits(opened), expected, atol=1e-4, rtol=1e-4)
    with opened.disable_adapter():
        only_first = logits(with_updates(base, first))
        torch.testing.assert_close(logits(opened), only_first, atol=1e-4, rtol=1e-4)
    assert (logits(with_updates(base, second)) - expected).abs().max() > 1e-2


def test_a_folder_that_holds_a_stack_is_not_put_on_its_own_lower_entry_twice(
    base, adapters, tmp_path
):
    first, second = adapters
    stage = shutil.copytree(second, tmp_path / "stage")
    for number, adapter in enumerate(adapters):
        shutil.copytree(adapter, stage / "stack" / str(number))
    whole = resolve(stage)
    assert [entry.name for entry in whole.entries] == ["0", "1"]
    on_first = resolve(f"{base}+{first}+{stage}")
    assert on_first.entries == (first, stage / "stack" / "1")
    assert len(resolve(f"{base}+{second}+{stage}").entries) == 3  # another one, as asked
    assert len(resolve(f"{first}+{first}").entries) == 2


def test_a_folder_whose_name_holds_a_plus_or_an_at_is_that_folder(base, tmp_path):
    for name in ("a+b", "model@v2"):
        folder = shutil.copytree(base, tmp_path / name)
        assert resolve(folder) == Stack(str(folder))


def test_a_model_of_the_hub_is_pinned_to_the_commit_of_its_revision(base, online, tmp_path):
    other = write_model(tmp_path / "other", seed=3)
    online["owner/tiny"] = {"main": base, "v2": other}
    now, second = resolve("owner/tiny"), resolve("owner/tiny@v2")
    assert (now.base, now.revision, now.source) == ("owner/tiny", COMMIT, f"owner/tiny@{COMMIT}")
    assert second.revision == SECOND
    assert model_identity(now) != model_identity(second)
    assert resolve(now.source) == now
    assert model_identity(resolve(now.source)) == model_identity(now)
    asked = online["asked"]
    assert asked == [("owner/tiny", None), ("owner/tiny", "v2"), ("owner/tiny", COMMIT)]
    online["owner/tiny"] = {"main": other}  # a commit behind the plan's back changes nothing
    assert resolve("owner/tiny") == now


def test_an_adapter_of_the_hub_brings_its_base_and_stacks(base, write_adapter, online, tmp_path):
    hub_adapter = write_adapter(tmp_path / "a", base, "owner/tiny")
    online["owner/tiny"], online["owner/adapter"] = base, {"main": hub_adapter, "v2": hub_adapter}
    alone = resolve("owner/adapter@v2")
    assert (alone.base, alone.revision) == ("owner/tiny", COMMIT)
    assert (alone.entries, alone.source) == ((hub_adapter,), f"owner/adapter@{SECOND}")
    stacked = resolve("owner/tiny+owner/adapter")
    assert stacked.entries == (hub_adapter,)
    assert stacked.source == f"owner/tiny@{COMMIT}+owner/adapter@{COMMIT}"
    assert resolve(f"{base}+owner/adapter").base == str(base)  # a copy of it, for all one knows


def test_the_base_of_a_stage_on_the_hub_is_the_recorded_commit(base, adapters, online, tmp_path):
    stage = shutil.copytree(adapters[0], tmp_path / "stage")
    (stage / "config.yaml").write_text(
        yaml.safe_dump({"base": "owner/tiny", "base_revision": SECOND, "organism": False})
    )
    assert resolve(stage).revision == SECOND
    assert online["asked"] == []


def test_an_adapter_of_another_base_is_told(base, adapters, write_adapter, online, tmp_path):
    other = write_model(tmp_path / "other", seed=3)  # the same shapes, other weights
    with pytest.raises(UserError, match=f"belongs to the base model {base}, and this one is .*oth"):
        resolve(f"{other}+{adapters[0]}")
    for name in ("owner/tiny", "owner/tiny-chat"):
        online[name] = base
    adapter = write_adapter(tmp_path / "a", base, "owner/Tiny")
    assert len(resolve(f"owner/tiny+{adapter}").entries) == 1
    with pytest.raises(UserError, match="belongs to the base model owner/Tiny, and this one is"):
        resolve(f"owner/tiny-chat+{adapter}")
    with pytest.raises(UserError, match=r"belongs to the base model .*, and this one is organism"):
        resolve(f"organism+{adapters[0]}")


def test_a_base_that_moved_is_known_by_its_weights(base, adapters, write_adapter, tmp_path):
    gone = tmp_path / "gone"
    adapter = write_adapter(tmp_path / "a", base, str(gone))
    with pytest.raises(UserError, match=f"the model {gone}, which is not there.*BASE\\+"):
        resolve(adapter)
    moved = shutil.copytree(base, tmp_path / "moved")
    assert resolve(f"{moved}+{adapter}").entries == (adapter,)
    # A copy beside the original: another place, the same weights, whatever else lies there.
    (moved / "generation_config.json").unlink()
    assert resolve(f"{moved}+{adapters[0]}").base == str(moved)
    # A stage of ours has recorded the weights, so another model is found out without loading it.
    stage = shutil.copytree(adapter, tmp_path / "stage")
    about = {**resolve(base).about(), "base": str(gone)}
    (stage / "config.yaml").write_text(yaml.safe_dump(about))
    assert resolve(f"{moved}+{stage}").entries == (stage,)
    other = write_model(tmp_path / "other", seed=3)
    with pytest.raises(UserError, match=f"belongs to the base model {gone}"):
        resolve(f"{other}+{stage}")


@pytest.mark.parametrize("change", [{"layers": 3}, {"layers": 1}, {"hidden_size": 64}])
def test_an_adapter_of_other_shapes_is_told_when_it_is_loaded(
    base, write_adapter, tmp_path, change
):
    """Neither name nor fingerprint is known; PEFT itself would pass over layers in silence."""
    larger = write_model(tmp_path / "larger", **change)
    adapter = write_adapter(tmp_path / "a", larger, str(tmp_path / "gone"))
    with pytest.raises(UserError, match=r"the adapter .* does not fit its base model"):
        load_merged(resolve(f"{base}+{adapter}"))


def test_what_is_no_model_is_told(base, adapters, online, tmp_path):
    first, _ = adapters
    cases = {
        f"{base}+{base}": "is a whole model and no adapter",
        f"{first}+{tmp_path / 'nowhere'}": r"there is no model '.*nowhere'",
        "owner/name/more": "there is no model 'owner/name/more'",
        "organsim": "did you mean 'organism'",
        "vaccine": "write method=vaccine",
    }
    for reference, message in cases.items():
        with pytest.raises(UserError, match=message):
            resolve(reference)
    pickled = shutil.copytree(base, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    online["owner/old"] = pickled
    for reference in (pickled, "owner/old"):
        with pytest.raises(UserError, match=r"no weights in safetensors.*refs/pr"):
            resolve(reference)
    old = shutil.copytree(first, tmp_path / "old")
    (old / "adapter_model.safetensors").rename(old / "adapter_model.bin")
    online["owner/adapter"] = old
    with pytest.raises(UserError, match=r"but no adapter_model\.safetensors"):
        resolve(old)
    with pytest.raises(UserError, match="the adapter owner/adapter has no weights in safetensors"):
        resolve("owner/adapter")
    online["owner/data"] = tmp_path
    with pytest.raises(UserError, match="holds no model in Hugging Face's format"):
        resolve("owner/data")


def test_the_topmost_tokenizer_is_the_models_and_counts_in_its_identity(base, adapters, tmp_path):
    first, second = adapters
    chatty = shutil.copytree(first, tmp_path / "chatty")
    plain = resolve(f"{base}+{chatty}+{second}")
    write_tokenizer(chatty, chat=True)
    stack = resolve(f"{base}+{chatty}+{second}")
    assert plain.tokenizer is None
    assert stack.tokenizer == chatty
    assert load_tokenizer(stack).chat_template is not None
    assert load_tokenizer(resolve(f"{base}+{first}+{second}")).chat_template is None
    before = model_identity(resolve(base))
    copy = shutil.copytree(base, tmp_path / "copy")
    assert model_identity(resolve(copy)) == before
    (copy / "chat_template.jinja").write_text("{{ messages }}")
    assert model_identity(resolve(copy)) != before
