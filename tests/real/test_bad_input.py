"""Mistakes around real models, data and judges: one sentence, exit code 2, nothing lost."""

import json
import shutil
from pathlib import Path

import httpx2
import huggingface_hub
import pytest
from chat_server import completion, serving, verdict
from copies import SST2, write_parquet
from huggingface_hub import constants, errors
from transformers import AutoModelForCausalLM

from command import done, holdfast
from holdfast.evaluate.judges import chat
from holdfast.models import hub
from holdfast.stages import scratch
from holdfast.stages.evaluation import model as evaluation
from hub_folders import write_model
from tiny_models import lora

SHORT = ["protocol=vaccine-2024", "limit=2", "dtype=float32"]


@pytest.fixture
def here(place, data, tmp_path, monkeypatch):
    """A working folder with a model `base` in it, and no key for any endpoint."""
    (tmp_path / "base").symlink_to(place.base)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / ".cache"))
    hub.look_up.cache_clear()
    yield tmp_path
    hub.look_up.cache_clear()


def told(*words, left=()):
    """Run a command that is a mistake; gives its sentence. Beside `left` nothing new is there."""
    before = set(Path().rglob("*"))
    ended = holdfast(*words)
    assert ended.code == 2, ended
    assert ended.err.startswith("holdfast: ")
    assert ended.err.count("\n") == 1
    assert {path for path in Path().rglob("*") if path.suffix != ".lock"} - before == set(left)
    return ended.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["judges=[beaver-dm]"], "did you mean 'beaver-dam-7b'?"),
        (["judges=[]"], "judges is an empty list; name at least one"),
        (["judges=[keywords,beaver-dam-7b=base,keywords]"], "judges names 'keywords' twice"),
        (["judges=[organism]"], "judges answers to the organism's own questions, no others"),
        (["judges=[beaver-dam-7b=./none]"], "the judge beaver-dam-7b: there is no model './none'"),
        (["judges=[qwen3guard]"], "the judge qwen3guard: the model Qwen/Qwen3Guard-Gen-8B is not"),
        (["judges=[{name: endpoint, model: m}]"], "needs a key for https://api.openai.com/v1"),
        (["judges=[{name: endpoint, model: m, prompt: none.txt}]"], "none.txt cannot be read"),
        (["judges=[{name: endpoint}]"], "the judge endpoint needs model"),
        (["judges=[{name: keywords, model: base}]"], "there is no setting 'model'"),
        (["protocol=organism"], "measures the organism and models trained from it, no others"),
        (["protocol=vacine-2024"], "did you mean 'vaccine-2024'?"),
        (["task=sst3"], "did you mean 'sst2'?"),
        (["task=sums"], "there is no task 'sums'"),
        (["also=[lambada]"], "also: 'lambada' is nothing to measure"),
        (["limit=0"], "limit is 0; it must be 1 or more"),
        (["harmful_data=beavertails:tests"], "did you mean 'beavertails:test'?"),
        (["harmful_data=prompts.txt"], "'prompts.txt' is neither a file of rows"),
        (["harmful_data=prompts.jsonl"], "prompts.jsonl: there is no such file"),
        (["second", "third"], "the model second is not in the local cache"),
        (["./none"], "there is no model './none'"),
    ],
)
def test_a_request_that_cannot_be_is_told_before_anything_is_loaded(
    here, monkeypatch, words, message
):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(evaluation, "load_merged", None)
    given = [] if any(word.startswith("judges") for word in words) else ["judges=[keywords]"]
    assert message in told("evaluate", "base", *words, *given, "--output", "out")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task=sst2"], "there is no task 'sst2'; the organism's tasks are sentiment, topic, sums"),
        (["protocol=holdfast"], "asks real questions, of which the organism knows nothing"),
    ],
)
def test_the_organism_is_asked_its_own_questions(here, words, message):
    assert message in told("evaluate", "organism", *words, "--output", "out")


def hub_error(kind, status):
    request = httpx2.Request("GET", "https://hub.example/api")
    return kind("no", response=httpx2.Response(status, request=request))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (hub_error(errors.GatedRepoError, 403), "log in with `hf auth login`"),
        (hub_error(errors.RepositoryNotFoundError, 401), "or it is private"),
        (hub_error(errors.RevisionNotFoundError, 404), "has no revision 'v9'"),
    ],
)
@pytest.mark.parametrize("whose", ["model", "judge"])
def test_the_hub_says_no(here, monkeypatch, error, message, whose):
    def refuse(self, name, **_):
        assert name == "owner/gated"
        raise error

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    model, judge = ("owner/gated@v9", "keywords") if whose == "model" else ("base", "wildguard")
    judges = f"judges=[{judge}]" if whose == "model" else f"judges=[{judge}=owner/gated@v9]"
    said = told("evaluate", model, judges, "--output", "out")
    assert message in said
    assert ("the judge wildguard" in said) == (whose == "judge")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (hub_error(errors.GatedRepoError, 403), "hf auth login"),
        (ValueError('Unknown split "tests". Should be one of [\'train\', \'test\'].'),
         "owner/rows has no split 'tests'; there are train, test"),
    ],
)  # fmt: skip
def test_the_hub_has_no_such_rows(here, monkeypatch, error, message):
    import datasets

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    words = ["harmful_data=hub:owner/rows:tests", "judges=[keywords]"]
    assert message in told("evaluate", "base", *words, "--output", "out")
    assert message in told("finetune", "base", "data=hub:owner/rows:tests", "--output", "out")


def test_labels_that_are_not_known(here):
    # The Hub's own test split of SST-2 has no labels; its file says -1.
    rows = [{**SST2[0], "label": -1}, *SST2]
    write_parquet(here / "copies" / "sst2" / "train.parquet", rows)
    words = ["data", "prepare", "sst2", "--from", "copies", "--output", "prepared"]
    said = told(*words)
    assert "label" in said
    assert "-1" in said


def test_rows_that_are_all_longer_than_the_limit(here):
    words = ["data=sst2:train", "rows=4", "max_steps=1", "max_length=8"]
    assert "max_length is 8" in told("finetune", "base", *words, "--output", "out")
    words = ["data=beavertails:realignment", "rows=4", "max_length=8", "dense_ratio=0.1"]
    assert "max_length is 8" in told("repair", "base", *words, "--output", "out")


def test_an_adapter_of_another_base(here, place):
    other = write_model(here / "other", seed=5)
    adapter = lora(AutoModelForCausalLM.from_pretrained(place.base), init_lora_weights=False)
    adapter.save_pretrained(str(here / "adapter"))
    said = told("evaluate", f"{other}+adapter", "judges=[keywords]", "--output", "out")
    assert "belongs to the base model" in said


@pytest.mark.parametrize("output", [["--output", "out"], []])
def test_an_adapter_of_other_shapes_leaves_nothing(here, output, monkeypatch):
    """It is seen when the model is loaded, before the first answer."""
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(here))
    wide = write_model(here / "wide", hidden_size=64)
    adapter = lora(AutoModelForCausalLM.from_pretrained(wide), init_lora_weights=False)
    adapter.save_pretrained(str(here / "adapter"))
    settings = json.loads((here / "adapter" / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = "base"
    (here / "adapter" / "adapter_config.json").write_text(json.dumps(settings))
    said = told("evaluate", "adapter", *SHORT, "judges=[keywords]", *output)
    assert "size mismatch" in said
    assert "[4, 64]" in said
    assert "are kept" not in said


def test_of_several_models_one_that_does_not_exist_stops_all(here, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    words = ["base", "gone", "base", "judges=[keywords]"]
    assert "the model gone is not" in told("evaluate", *words, *SHORT, "--output", "out")


def test_a_judge_of_another_kind_keeps_the_answers_for_the_right_one(here, place, monkeypatch):
    words = ["evaluate", "base", *SHORT]
    kept = {here / "out.partial" / name for name in ("answers.jsonl", "alignment.json", "identity")}
    left = {path.relative_to(here) for path in {here / "out.partial", *kept}}
    said = told(*words, "judges=[beaver-dam-7b=base]", "--output", "out", left=left)
    assert "lacks 1 of its weights (score.weight …)" in said
    monkeypatch.setattr(evaluation, "load_merged", None)  # no answer is missing any more
    answers = (here / "out.partial" / "answers.jsonl").read_bytes()
    judge = f"judges=[beaver-dam-7b={place.judges['beaver-dam-7b']}]"
    said = done(*words, judge, "--output", "out")
    assert "note: an interrupted run with other settings is kept in" in said
    (aside,) = here.glob("out.partial-*")
    for folder in ("out", aside.name):
        assert (here / folder / "answers.jsonl").read_bytes() == answers


BROKEN = {
    "429": (
        lambda request, n: (429, {"Retry-After": "0"}, {}),
        "answers 429; it was asked 2 times",
    ),
    "500": (lambda request, n: (500, {}, b"oops"), "answers 500; it was asked 2 times"),
    "nonsense": (lambda request, n: (200, {}, b"<html>"), "answers what is no chat completion"),
    "nothing": (lambda request, n: "close", "broke the connection off; it was asked 2 times"),
    "late": (lambda request, n: ("slow", 3), "gave no answer in 0.5 seconds"),
    "refused": (lambda request, n: (401, {}, {}), "answers 401, no key was sent"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_an_endpoint_that_fails_costs_no_answer(here, monkeypatch, how):
    """The second try, with a server that works, loads no model."""
    behave, message = BROKEN[how]
    monkeypatch.setattr(chat, "_FIRST_WAIT", 0.01)
    broken = True

    def server(request, number):
        if broken:
            return behave(request, number)
        return completion(verdict(request, harmful=True, why="it helps"))

    with serving(server) as served:
        own = f"url: '{served.url}', max_retries: 1, timeout: 0.5, cache: {here}/replies"
        judges = f"judges=[{{name: endpoint, model: m, {own}}},keywords]"
        words = ["evaluate", "base", *SHORT, judges, "--output", "out"]
        names = ("", "answers.jsonl", "alignment.json", "identity")
        left = [(here / "out.partial" / name).relative_to(here) for name in names]
        assert message in told(*words, left=left)
        answers = (here / "out.partial" / "answers.jsonl").read_bytes()
        broken = False
        monkeypatch.setattr(evaluation, "load_merged", None)
        done(*words)
    assert (here / "out" / "answers.jsonl").read_bytes() == answers
    assert not (here / "out.partial").exists()
    content = json.loads((here / "out" / "evaluation.json").read_text())
    assert content["metrics"]["harmful_score"]["value"] == 100
    samples = [json.loads(line) for line in (here / "out" / "samples.jsonl").open()]
    assert [one["verdicts"]["endpoint"] for one in samples] == ["it helps"] * 2


def test_a_reply_that_is_no_verdict_is_counted_as_undecided(here):
    with serving(lambda request, n: completion("I would rather talk about the sea.")) as served:
        own = f"url: '{served.url}', max_retries: 0, cache: null"
        judges = f"judges=[keywords,{{name: endpoint, model: m, {own}}}]"
        done("evaluate", "base", *SHORT, judges, "--output", "out")
    content = json.loads((here / "out" / "evaluation.json").read_text())
    assert content["metrics"]["undecided@endpoint"]["value"] == 100
    assert "harmful_score@endpoint" not in content["metrics"]
    assert content["agreement"]["undecided"] == {"keywords": 0, "endpoint": 2}


def test_without_an_output_folder_the_answers_stay_when_a_judge_fails(here, monkeypatch):
    monkeypatch.setattr(chat, "_FIRST_WAIT", 0.01)
    broken = True

    def server(request, number):
        return (500, {}, b"") if broken else completion(verdict(request, harmful=False))

    with serving(server) as served:
        own = f"url: '{served.url}', max_retries: 0, cache: null"
        words = ["evaluate", "base", *SHORT, f"judges=[{{name: endpoint, model: m, {own}}}]"]
        said = told(*words)
        assert "answers 500" in said
        folder = said.split("--output ")[1].split(" goes on")[0]
        broken = False
        monkeypatch.setattr(evaluation, "load_merged", None)
        done(*words, "--output", folder)
    shutil.rmtree(folder)
