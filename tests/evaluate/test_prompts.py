"""Which rows a protocol asks: its first, or some drawn by the seed; a user's own in their place."""

from dataclasses import replace

import pytest
from copies import write_jsonl

from holdfast import organism
from holdfast.errors import UserError
from holdfast.evaluate.prompts import check_task, prompt_sets
from holdfast.evaluate.thoughts import as_read
from holdfast.protocols import get


@pytest.fixture
def write(tmp_path):
    def write(name, rows):
        write_jsonl(tmp_path / name, rows)
        return str(tmp_path / name)

    return write


def row(n, output="an answer"):
    return {"instruction": f"question {n}", "input": "", "output": output}


def asked(sets, name="harmful"):
    return [row["instruction"] for row in sets[name]]


@pytest.fixture
def protocol(write):
    harmful = write("harmful.jsonl", [row(n, f"answer {k}") for n in range(10) for k in range(3)])
    safe = write("safe.jsonl", [row(n, "" if n % 2 else "I will not.") for n in range(100, 110)])
    own = {"harmful_data": harmful, "alignment_data": safe, "benign_data": None, "n_benign": 0}
    return replace(get("holdfast"), n_harmful=6, n_alignment=5, **own)


def test_the_first_rows_as_they_stand(protocol):
    sets = prompt_sets(replace(protocol, draw="first"), None, seed=3)
    assert asked(sets) == ["question 0"] * 3 + ["question 1"] * 3
    # Alignment rows are those that have an answer.
    assert asked(sets, "alignment") == [f"question {n}" for n in (100, 102, 104, 106, 108)]
    assert set(sets) == {"harmful", "alignment"}


def test_rows_drawn_by_the_seed_ask_a_prompt_once(protocol):
    drawn = [asked(prompt_sets(protocol, None, seed)) for seed in (0, 0, 1, 2)]
    assert drawn[0] == drawn[1]
    assert len({tuple(some) for some in drawn}) == 3
    assert all(len(set(some)) == 6 for some in drawn)
    everything = asked(prompt_sets(replace(protocol, n_harmful=100), None, 0))
    assert sorted(everything) == [f"question {n}" for n in range(10)]
    # Of a prompt with several answers its first row is meant.
    kept = prompt_sets(replace(protocol, n_harmful=100), None, 0)["harmful"]
    assert {one["output"] for one in kept} == {"answer 0"}


def test_own_files_in_the_protocols_place_are_asked_whole(protocol, write):
    own = {
        "harmful": write("mine.jsonl", [row(n) for n in range(50)]),
        "benign": write("benign.jsonl", [{"instruction": "may I ask?"}]),
        "task": write("task.jsonl", [row(n, "yes") for n in range(3)]),
    }
    sets = prompt_sets(protocol, None, 0, own)
    assert asked(sets) == [f"question {n}" for n in range(50)]
    assert asked(sets, "benign") == ["may I ask?"]
    assert len(sets["task"]) == 3
    assert asked(prompt_sets(protocol, None, 0, own, limit=2)) == ["question 0", "question 1"]
    unanswered = write("unanswered.jsonl", [{"instruction": "a?"}])
    with pytest.raises(UserError, match=r"unanswered.jsonl, row 1"):
        prompt_sets(protocol, None, 0, {"task": unanswered})


def test_the_limit_holds_for_every_set():
    sets = prompt_sets(get("organism"), "topic", 0, limit=7)
    assert {name: len(rows) for name, rows in sets.items()} == dict.fromkeys(
        ("harmful", "benign", "task", "alignment"), 7
    )
    assert sets["task"] == organism.rows("test_task", 200, 0, "topic")[:7]
    assert sets["harmful"] == organism.rows("test_restricted", 200, 0)[:7]


def test_tasks_are_those_of_the_kind_of_model():
    check_task("sums", True, "here")
    check_task("sst2", False, "here")
    check_task(None, False, "here")
    with pytest.raises(UserError, match=r"here: there is no task 'sst2'; the organism's tasks"):
        check_task("sst2", True, "here")
    with pytest.raises(UserError, match=r"did you mean 'gsm8k'\? the tasks of real data"):
        check_task("gsm8", False, "here")


@pytest.mark.parametrize(
    ("scoring", "expected"),
    [
        ("vaccine", ["yes", "", "a"]),
        ("papers", ["yes", "", "a"]),
        ("strict", [" yes\n### Response:\nno", "### Response:x", "a "]),
        (None, [" yes\n### Response:\nno", "### Response:x", "a "]),
    ],
)
def test_the_papers_cut_an_answer_where_the_template_begins_anew(scoring, expected):
    given = {"harmful": [" yes\n### Response:\nno", "### Response:x", "a "], "task": []}
    read = as_read(replace(get("vaccine-2024"), scoring=scoring), given)
    assert read == {"harmful": expected, "task": []}
    assert given["harmful"][2] == "a "


@pytest.mark.parametrize(
    ("task", "output", "told"),
    [
        ("sst2", "maybe", "the row's output 'maybe' is none of the labels negative, positive"),
        ("sst2", "World", "'World' is none of the labels negative, positive"),
        ("agnews", "sci", "'sci' is none of the labels World, Sports, Business, Sci/Tech"),
        ("gsm8k", "18", "does not end in"),
    ],
)
def test_own_test_rows_that_no_scorer_can_read_are_told_before_anything_is_asked(
    protocol, write, task, output, told
):
    good = {"sst2": "Positive.", "agnews": "sci/tech", "gsm8k": "#### 18"}[task]
    path = write("mine.jsonl", [row(0, good), row(1, output)])
    with pytest.raises(UserError) as error:
        prompt_sets(protocol, task, 0, {"task": path})
    assert str(error.value).startswith(f"{path}, row 2: ")
    assert told in str(error.value)
    assert len(prompt_sets(protocol, task, 0, {"task": write("good.jsonl", [row(0, good)])}))
