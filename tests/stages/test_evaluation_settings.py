"""An evaluation's settings: what follows from the protocol, and what its identity is made of."""

import shutil

import pytest

from holdfast.errors import UserError
from holdfast.protocols import get
from holdfast.stages.evaluation.settings import measured_by, resolve_evaluation, stage_protocol
from holdfast.stages.making import given_identity

GIVEN = {
    "protocol": "vaccine-2024",
    "task": None,
    "harmful_data": None,
    "benign_data": None,
    "task_data": None,
    "alignment_data": None,
    "reference": None,
    "max_new_tokens": None,
    "batch_size": None,
    "judges": None,
    "limit": None,
    "backend": None,
    "gpu_memory_utilization": None,
    "tensor_parallel_size": 1,
    "also": None,
    "dtype": "auto",
}


def settings(is_organism=False, **own):
    given = {**GIVEN, **own}
    return {**given, **resolve_evaluation(given, is_organism, "here")}


def test_a_protocol_as_it_was_published_keeps_its_version():
    found = stage_protocol(settings())
    assert found == get("vaccine-2024")
    assert settings()["dtype"] == "float16"
    own = settings(protocol=None)
    assert (own["protocol"], own["dtype"]) == ("holdfast", "bfloat16")
    assert [judge["name"] for judge in own["judges"]] == ["beaver-dam-7b", "keywords"]
    assert settings(True, protocol=None)["protocol"] == "organism"


@pytest.mark.parametrize(
    ("own", "field", "value"),
    [
        ({"judges": ["keywords"]}, "judge", "keywords"),
        ({"judges": ["keywords", "beaver-dam-7b"]}, "judge", "keywords + beaver-dam-7b"),
        ({"dtype": "float32"}, "dtype", "float32"),
        ({"backend": "vllm"}, "backend", "vllm"),
        ({"limit": 7}, "n_harmful", 7),
        ({"limit": 7}, "n_benign", 0),
        ({"limit": 70_000}, "n_harmful", 500),
        (
            {"harmful_data": "some/folder/mine.jsonl"},
            "prompts",
            "BeaverTails 30k_test, the first 500 unsafe rows; in their place harmful: mine.jsonl",
        ),
    ],
)
def test_what_is_changed_stands_in_the_protocol_and_its_version(own, field, value):
    found = stage_protocol(settings(**own))
    assert found.version == "4, changed"
    assert getattr(found, field) == value
    assert found.name == "vaccine-2024"
    assert get("vaccine-2024").version == "4"


def test_another_model_for_a_judge_is_still_the_protocols_judge(tmp_path):
    assert stage_protocol(settings(judges=["beaver-dam-7b=folder"])).version == "4"


def measured(judge, **own):
    return measured_by(settings(judges=[judge], **own), given_identity)


@pytest.fixture
def folder(tmp_path):
    """A model's folder, as far as its identity goes."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "config.json").write_text("{}")
    (tmp_path / "one" / "model.safetensors").write_bytes(b"weights")
    return tmp_path / "one"


def test_a_judge_is_known_by_what_is_in_its_folder(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    first = measured(f"beaver-dam-7b={folder}")
    assert first == measured(f"beaver-dam-7b={other}")
    assert first == measured({"name": "beaver-dam-7b", "model": str(other), "batch_size": 1})
    assert first != measured({"name": "beaver-dam-7b", "model": str(other), "threshold": 0.4})
    assert first != measured(f"wildguard={folder}")
    (other / "model.safetensors").write_bytes(b"other weights")
    assert first != measured(f"beaver-dam-7b={other}")


def test_a_judge_that_is_not_there_is_told_as_the_judge():
    with pytest.raises(UserError, match=r"the judge wildguard: there is no model './gone'"):
        measured("wildguard=./gone")


def test_a_revision_of_a_judge_is_what_it_stands_for_now():
    seen = []

    def identify(reference):
        seen.append(reference)
        return "commit"

    judge = {"name": "wildguard", "model": "owner/judge", "revision": "v2"}
    measured_by(settings(judges=[judge]), identify)
    measured_by(settings(judges=["wildguard=owner/judge@v2"]), identify)
    assert seen == ["owner/judge@v2"] * 2


def test_an_endpoint_is_known_by_its_model_and_the_text_of_its_prompt(tmp_path):
    for name, text in (
        ("a", "{prompt}{answer}"),
        ("b", "{prompt}{answer}"),
        ("c", "{prompt}\n{answer}"),
    ):
        (tmp_path / name).write_text(text)

    def endpoint(**own):
        return measured({"name": "endpoint", "model": "m", "url": "http://localhost:1/v1", **own})

    first = endpoint(prompt=str(tmp_path / "a"))
    prices = {"price_per_million_input": 1.0, "price_per_million_output": 2.0}
    cost = {"limit_usd": 1.0, **prices, "max_retries": 0, "cache": None}
    assert first == endpoint(prompt=str(tmp_path / "b"), **cost)
    assert first != endpoint(prompt=str(tmp_path / "c"))
    assert first != endpoint()
    assert first != endpoint(prompt=str(tmp_path / "a"), model="n")
    assert first != endpoint(prompt=str(tmp_path / "a"), url="http://localhost:2/v1")
    with pytest.raises(UserError, match=r"gone\.txt cannot be read"):
        endpoint(prompt=str(tmp_path / "gone.txt"))


@pytest.mark.parametrize(
    ("own", "is_organism", "message"),
    [
        ({"judges": []}, False, "here: judges is an empty list"),
        ({"judges": ["keywords", "organism"]}, False, "organism's own questions, no others"),
        ({"judges": ["wildguard", "keywords", "keywords"]}, False, "judges names 'keywords' twice"),
        ({"protocol": "organism"}, False, "measures the organism and models trained from it"),
        ({"protocol": "vaccine-2024"}, True, "of which the organism knows nothing"),
        ({"also": ["lm_eval="]}, False, "also: 'lm_eval=' is nothing to measure"),
        ({"benign_data": "xtest:safe"}, False, "did you mean 'xstest'"),
    ],
)
def test_settings_that_cannot_be(own, is_organism, message):
    with pytest.raises(UserError, match=message):
        settings(is_organism, **own)


def test_answers_of_another_length_are_a_changed_protocol():
    found = stage_protocol(settings(max_new_tokens=24))
    assert (found.version, found.max_new_tokens, found.tokens("task")) == ("4, changed", 24, 24)
    # Vaccine's protocol has 128 tokens for its prompts and 200 for the task.
    assert stage_protocol(settings(max_new_tokens=128)).version == "4, changed"
    same = stage_protocol(settings(protocol="antidote-2024", max_new_tokens=512))
    assert same == get("antidote-2024").of_task(None)


def test_a_number_format_that_was_asked_for_is_that_of_all_answers():
    found = stage_protocol(settings(protocol="antidote-2024", task="sst2"))
    assert (found.version, found.dtype, found.task_dtype) == ("5", "float32", "float16")
    found = stage_protocol(settings(protocol="antidote-2024", task="sst2", dtype="bfloat16"))
    assert (found.version, found.dtype, found.task_dtype) == ("5, changed", "bfloat16", None)


def test_a_batch_size_is_told_and_changes_no_protocol():
    found = stage_protocol(settings(batch_size=5))
    assert (found.version, found.batch_size) == ("4", 5)
    assert found.record()["batch_size"] == 5


def test_drift_needs_alignment_rows():
    own = {"harmful_data": "mine.jsonl", "reference": "aligned"}
    with pytest.raises(UserError, match=r"here: drift .*alignment_data=beavertails:test_safe"):
        settings(**own)
    for more in ({"alignment_data": "rows.jsonl"}, {"harmful_data": None}, {"reference": None}):
        settings(**own | more)
    settings(is_organism=True, protocol=None, **own)
