"""What stands between a user and a model of the Hub is one sentence; a cache needs no Hub."""

import shutil

import huggingface_hub
import pytest
import torch
from huggingface_hub import errors

from holdfast.errors import UserError
from holdfast.models import hub
from holdfast.models.loading import load_base
from holdfast.models.stack import resolve
from holdfast.models.tokenizers import load_tokenizer
from hub_folders import write_model


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            "gated",
            "no access to the gated model owner/tiny: ask for it at "
            "https://huggingface.co/owner/tiny, then log in with `hf auth login`.",
        ),
        ("forbidden", "no access to the gated model owner/tiny"),
        ("unknown", "there is no model 'owner/tiny' on the Hub, or it is private.*hf auth login"),
        ("down", "the Hub answers with error 503 for the model owner/tiny@v2: try again later"),
        ("revision", "the model owner/tiny has no revision 'v2' on the Hub"),
        ("unreachable", r"owner/tiny@v2 is not in the local cache and the Hub cannot be reached"),
        ("slow", r"cannot be reached \(timed out\)"),
        ("offline", r"not in the local cache and the Hub's offline mode is on \(HF_HUB_OFFLINE\)"),
    ],
)
def test_what_the_hub_refuses_is_told(answer, message, answers, online):
    online["owner/tiny"] = answers[answer]
    with pytest.raises(UserError, match=message) as told:
        resolve("owner/tiny@v2")
    assert str(told.value).count("\n") == 0


def test_no_access_is_found_out_before_anything_is_loaded(base, answers, online, monkeypatch):
    """The Hub tells everyone the commit of a gated model; only its files are kept back."""
    online["owner/tiny"] = base
    inner = huggingface_hub.HfApi.model_info

    def gated(self, name, **options):
        info = inner(self, name, **options)
        info.gated = "manual"
        return info

    def refuse(self, name):
        raise answers["gated"]

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", gated)
    monkeypatch.setattr(huggingface_hub.HfApi, "auth_check", refuse)
    with pytest.raises(UserError, match="no access to the gated model owner/tiny"):
        resolve("owner/tiny")
    monkeypatch.setattr(huggingface_hub.HfApi, "auth_check", lambda self, name: None)
    assert resolve("owner/tiny").revision == "a" * 40


def test_offline_a_cached_model_is_resolved_and_loaded_at_its_commit(base, offline, tmp_path):
    other = write_model(tmp_path / "other", seed=3)
    offline("owner/tiny", base)
    offline("owner/tiny", other, "v2")
    first, second = resolve("owner/tiny"), resolve("owner/tiny@v2")
    assert (first.revision, second.revision) == ("a" * 40, "b" * 40)
    weights = [load_base(stack).lm_head.weight for stack in (first, second)]
    local = [load_base(resolve(folder)).lm_head.weight for folder in (base, other)]
    assert torch.equal(weights[0], local[0])
    assert torch.equal(weights[1], local[1])
    assert not torch.equal(*weights)
    assert load_tokenizer(second)("hex").input_ids == load_tokenizer(resolve(base))("hex").input_ids
    assert resolve(f"owner/tiny@{'b' * 40}") == second
    with pytest.raises(UserError, match="offline mode is on"):
        resolve("owner/tiny@v3")
    with pytest.raises(UserError, match="offline mode is on"):
        resolve("owner/nothing")


def test_offline_a_cached_adapter_is_found(base, adapters, offline):
    offline("owner/adapter", adapters[0])
    stack = resolve(f"{base}+owner/adapter")
    assert stack.entries[0].name == "a" * 40
    assert (stack.entries[0] / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("answer", ["unreachable", "slow", "down", "offline"])
def test_the_cache_answers_for_a_hub_that_does_not(answer, answers, base, online, offline):
    commit = offline("owner/tiny", base)
    online["owner/tiny"] = answers[answer]
    assert resolve("owner/tiny").revision == commit


@pytest.mark.parametrize("answer", ["gated", "unknown", "revision"])
def test_the_cache_does_not_hide_what_the_hub_answers(answer, answers, base, online, offline):
    offline("owner/tiny", base)
    online["owner/tiny"] = answers[answer]
    with pytest.raises(UserError, match="owner/tiny"):
        resolve("owner/tiny")


def test_files_missing_from_the_cache_are_told_when_they_are_loaded(base, offline, tmp_path):
    part = shutil.copytree(base, tmp_path / "part")
    (part / "model.safetensors").unlink()
    (part / "tokenizer.json").unlink()
    offline("owner/tiny", part)
    stack = resolve("owner/tiny")
    with pytest.raises(UserError, match="owner/tiny is in the local cache in part only"):
        load_base(stack)


def test_an_error_that_a_library_wrapped_is_told_by_its_cause(answers):
    wrapped = OSError("you are trying to access a gated repo")
    wrapped.__cause__ = answers["gated"]
    assert "no access to the gated model owner/tiny" in hub.explain("owner/tiny", None, wrapped)
    assert hub.is_of_the_hub(wrapped)
    assert not hub.is_of_the_hub(OSError("a directory is missing"))
    assert issubclass(errors.GatedRepoError, errors.RepositoryNotFoundError)  # so it comes first
