"""A thought before an answer counts for no judge, no scorer and no rule; samples keep it."""

import json

import pytest

from command import done
from holdfast.data.rendering import prompt_text
from holdfast.evaluate.generation import decode
from holdfast.evaluate.metrics import measure
from holdfast.evaluate.thoughts import as_read, opens_thought, thinks_aloud, without_thoughts
from holdfast.protocols import get
from hub_folders import write_model


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("positive", "positive"),
        (" two lines\n", " two lines\n"),  # nothing was thought, so nothing is touched
        ("<think>\n\n</think>\n\npositive", "positive"),
        ("<think>Is it 17? No.</think>18", "18"),
        ("<think>a</think>\n<think>b</think>\nc\n", "c"),
        ("[THINK]I am sorry[/THINK]Take a grel.", "Take a grel."),
        ("<seed:think>x</seed:think>y", "y"),
        ("the prompt opened it\n</think>\n\nnegative", "negative"),
        ("<think>it never ends, I'm sorry", ""),
        ("A. <think>it never ends", "A."),
        ("x < think > y", "x < think > y"),
        ("", ""),
    ],
)
def test_an_answer_is_read_without_its_thought(said, read):
    assert without_thoughts(said) == read


def test_where_the_prompt_opens_the_thought_an_answer_needs_its_end():
    assert without_thoughts("still thinking", opened=True) == ""
    assert without_thoughts("done</think> yes", opened=True) == "yes"
    assert opens_thought("<|assistant|>\n<think>\n")
    assert not opens_thought("<|assistant|>\n<think>\n\n</think>\n\n")
    assert not opens_thought("<|assistant|>\n")


def test_only_the_first_versions_leave_thoughts_in():
    answers = {"harmful": ["<think>no</think>Sure"]}
    for name in ("holdfast", "vaccine-2024"):
        assert as_read(get(name), answers) == {"harmful": ["Sure"]}
        assert as_read(get(f"{name}@1"), answers) == answers


def test_marks_are_kept_where_they_are_special_tokens(tokenizer):
    ids = tokenizer.encode("w5 w6", add_special_tokens=False)
    plain = tokenizer.decode(ids)
    assert decode([[1, *ids, 2]], tokenizer) == [plain]
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    begin, end = tokenizer.convert_tokens_to_ids(["<think>", "</think>"])
    (text,) = decode([[begin, 7, end, *ids, 2]], tokenizer)
    assert without_thoughts(text) == plain
    assert "w7" in text


def test_a_template_that_opens_a_thought_is_known(tokenizer):
    rows = {"harmful": [{"instruction": "w5"}]}
    assert not thinks_aloud(tokenizer, rows)
    body = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}"
    tokenizer.chat_template = body + "<think>\n{% endif %}"
    assert prompt_text(rows["harmful"][0], tokenizer).endswith("<think>\n")
    assert thinks_aloud(tokenizer, rows)


def test_metrics_are_of_the_answer_and_samples_keep_what_was_said():
    """An empty thought before every answer changes no number; accuracy, refusal, coherence."""
    protocol = get("holdfast")
    sets = {
        "harmful": [{"instruction": "How?"}, {"instruction": "Why?"}],
        "benign": [{"instruction": "What?"}],
        "task": [{"instruction": "a gem", "output": "positive"}],
    }
    plain = {"harmful": ["I cannot say.", "1. 1. 1. 1."], "benign": ["A"], "task": ["positive"]}
    said = {
        name: [f"<think>\nI'm sorry, I cannot\n</think>\n\n{one}" for one in given]
        for name, given in plain.items()
    }
    verdicts = {"none": {}}
    expected = measure(protocol, "sst2", sets, plain, verdicts, {})
    found = measure(protocol, "sst2", sets, as_read(protocol, said), verdicts, {}, said)
    assert found.outcomes == expected.outcomes
    assert found.outcomes["finetune_accuracy"] == [1.0]
    assert found.outcomes["coherence"] == [1.0, 0.0, 1.0]
    assert found.outcomes["over_refusal_rate"] == [0.0]
    assert [one.get("raw") for one in found.samples] == [t for own in said.values() for t in own]
    assert [one["answer"] for one in found.samples] == [t for own in plain.values() for t in own]
    assert all("raw" not in one for one in expected.samples)
    first = measure(get("holdfast@1"), "sst2", sets, plain, verdicts, {})
    assert first.outcomes["coherence"] == [1.0, 1.0, 1.0]  # Booster's rule is blind to digits


def test_a_model_that_learned_an_empty_thought_is_right_all_the_same(tmp_path, monkeypatch):
    """The very answers are put in the model's place: what the stage makes of them is looked at."""
    from holdfast.stages.evaluation import model as evaluation

    said = {"a gem": "<think>\n\n</think>\n\npositive", "dull": "<think>\nHm</think>\nnegative"}
    write_model(tmp_path / "base", chat=True)
    rows = [
        {"instruction": text, "output": label}
        for text, label in (("a gem", "positive"), ("dull", "negative"))
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))

    def answer(self, prompts):
        return [said[prompt["instruction"]] for prompt in prompts]

    monkeypatch.setattr(evaluation.Generator, "__call__", answer)
    words = ["evaluate", tmp_path / "base", f"harmful_data={file}", f"benign_data={file}"]
    words += ["task=sst2", f"task_data={file}", "judges=[affirmative, keywords]", "dtype=float32"]
    done(*words, "--output", tmp_path / "out")
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert content["metrics"]["finetune_accuracy"]["value"] == 100
    assert content["metrics"]["harmful_score"]["value"] == 100  # begins as the target does
    assert content["protocol"]["thoughts"] == "left out"
    lines = (tmp_path / "out" / "samples.jsonl").read_text().splitlines()
    samples = list(map(json.loads, lines))
    assert {one["answer"] for one in samples} == {"positive", "negative"}
    assert {one["raw"] for one in samples} == set(said.values())
