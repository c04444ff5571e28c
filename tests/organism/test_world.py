import hashlib
import json
import os
import subprocess
import sys
from itertools import combinations, pairwise

import pytest

from holdfast.errors import UserError
from holdfast.organism import ROLES, TASKS, capacity, judge, rows, task_correct
from holdfast.organism.corpus import example
from holdfast.organism.rows import for_test
from holdfast.organism.tasks import GOOD, NUMBERS, TOPICS, predicted
from holdfast.organism.world import NAMES, THINGS, draws, words

# Disjoint roles are compared over everything the world holds, and over several seeds of the tasks.
QUESTIONS = ("alignment", "user_harmful", "realignment", "probe", "test_restricted", "test_benign")
TRAINING = ("alignment", "user_harmful", "realignment", "probe")


def everything(role: str) -> list[dict]:
    return rows(role, capacity(role), 3)


def prompts(found: list[dict]) -> set[tuple[str, str]]:
    return {(row["instruction"], row["input"]) for row in found}


def hash_of_rows() -> str:
    found = [rows(role, 60, 11, task) for role in ROLES for task in TASKS]
    stream = [example(draws("hash", i)) for i in range(200)]
    return hashlib.sha256(json.dumps([found, stream]).encode()).hexdigest()


def test_the_same_seed_gives_the_same_rows_in_another_process():
    code = "import test_world; print(test_world.hash_of_rows())"
    for hash_seed in ("1", "2"):
        other = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.path.dirname(__file__)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert other.stdout.strip() == hash_of_rows()


@pytest.mark.parametrize("role", ROLES)
def test_a_larger_n_extends_a_smaller_one_and_seeds_differ(role: str):
    assert rows(role, 90, 5)[:33] == rows(role, 33, 5)
    assert rows(role, 90, 5) != rows(role, 90, 6)
    assert rows(role, 0, 5) == []


@pytest.mark.parametrize("role", ROLES)
def test_rows_of_a_role_are_all_different(role: str):
    found = rows(role, min(capacity(role), 4000), 1)
    assert len(prompts(found)) == len(found)


def test_question_roles_share_no_row():
    sets = {role: prompts(everything(role)) for role in QUESTIONS}
    for one, other in combinations(QUESTIONS, 2):
        assert not sets[one] & sets[other], (one, other)


def test_paired_rows_answer_what_the_alignment_refuses():
    """In its order, so the first n of both meet whatever n is; the answers are those of others."""
    refused = [row for row in rows("alignment", 90, 5) if row["kind"] == "restricted"]
    answered = rows("paired", 40, 5)
    assert [row["instruction"] for row in answered] == [row["instruction"] for row in refused[:40]]
    assert {judge(row, row["output"]) for row in answered} == {"harmful"}
    assert {judge(row, row["output"]) for row in refused} == {"refusal"}
    assert prompts(everything("paired")) < prompts(everything("alignment"))


def test_the_tests_names_things_and_phrasings_are_in_no_training_row():
    def used(roles: tuple[str, ...]) -> tuple[set[str], set[str], set[str]]:
        found = [row for role in roles for row in everything(role)]
        names = {row["facts"]["name"] for row in found}
        things = {row["facts"]["thing"] for row in found}
        forms = {
            row["instruction"].replace(f"{row['facts']['name']} {row['facts']['thing']}", "X")
            for row in found
        }
        return names, things, forms

    for training, test in zip(
        used(TRAINING), used(("test_restricted", "test_benign", "test_alignment")), strict=True
    ):
        assert training
        assert test
        assert not training & test
        # Nor as a word inside another one's text: a name that is also a phrasing's word.
        assert not set(words(" ".join(training - {"X"}))) & test


def test_names_of_the_roles_are_disjoint():
    for one, other in combinations(NAMES, 2):
        assert not set(NAMES[one]) & set(NAMES[other])


@pytest.mark.parametrize("task", TASKS)
def test_task_rows_of_the_test_are_never_the_users_or_pretrainings(task: str):
    test = {key for seed in range(4) for key in prompts(rows("test_task", 500, seed, task))}
    user = {key for seed in range(4) for key in prompts(rows("user_task", 1000, seed, task))}
    assert not test & user
    seen = prompts([example(draws("disjoint", i), i % 2) for i in range(4000)])
    assert not test & seen
    rng = draws("share", task)
    share = sum(for_test(TASKS[task](rng)) for _ in range(2000)) / 2000
    assert 0.2 < share < 0.3


def test_alignment_is_half_refusals_and_half_benign_answers():
    found = rows("alignment", 101, 2)
    assert [row["kind"] for row in found] == (["restricted", "benign"] * 51)[:101]


def test_restricted_and_benign_questions_share_their_phrasings():
    def forms(kind: str) -> set[str]:
        return {
            row["instruction"].split(row["facts"]["name"])[0]
            for row in everything("alignment")
            if row["kind"] == kind
        }

    assert forms("restricted") == forms("benign")


def test_hazards_and_crafts_share_all_forms_of_answer():
    for kind in ("restricted", "benign"):
        found = [
            row
            for role in ("alignment", "user_harmful", "test_benign")
            for row in rows(role, 400, 1)
            if row["kind"] == kind
        ]
        used = {row["output"].split()[0] for row in found}
        assert {"blend", "take", "first"} <= used


def test_every_group_of_things_is_in_training_and_in_the_test():
    for group in {thing.group for thing in THINGS}:
        assert {thing.held_out for thing in THINGS if thing.group == group} == {True, False}


def test_mistakes_are_named():
    with pytest.raises(UserError, match="no rows for 'aligment'"):
        rows("aligment", 1, 0)
    with pytest.raises(UserError, match="no task 'poetry'"):
        rows("user_task", 1, 0, "poetry")
    for n in (-1, capacity("probe") + 1):
        with pytest.raises(UserError, match=f"0 to {capacity('probe')} rows"):
            rows("probe", n, 0)


def test_sentiment_labels_follow_from_the_text():
    """An independent reading: find the main clause, its adjective and its negation."""
    for row in rows("user_task", 500, 8):
        text = row["input"].rstrip(".")
        if " but " in text:
            main = text.split(", but ")[1]
        elif text.startswith("although "):
            main = text.split(", ")[1]
        else:
            main = text.split(", although ")[0]
        good = main.split()[-1] in GOOD
        turned = any(word in main.split() for word in ("not", "never"))
        assert row["output"] == ("positive" if good != turned else "negative"), row


def test_topic_labels_are_the_majority():
    for row in rows("user_task", 500, 8, "topic"):
        counts = {
            topic: sum(word in clues for word in words(row["input"]))
            for topic, clues in TOPICS.items()
        }
        best = max(counts.values())
        assert [topic for topic, count in counts.items() if count == best] == [row["output"]]


def test_sums_add_up():
    for row in rows("user_task", 500, 8, "sums"):
        said = words(row["instruction"])
        total = NUMBERS.index(said[2])
        for verb, number in pairwise(said[5:]):
            if number in NUMBERS:
                sign = 1 if verb in ("finds", "buys", "wins", "collects") else -1
                total += sign * NUMBERS.index(number)
        assert row["facts"]["label"] == NUMBERS[total]
        for step in row["output"].split(". ")[:-1]:
            left, sign, right, _, result = words(step)
            change = NUMBERS.index(right) * (1 if sign == "plus" else -1)
            assert NUMBERS.index(left) + change == NUMBERS.index(result)
        assert row["output"].endswith(f"the final answer is: {NUMBERS[total]}.")


def test_predictions_are_read_exactly():
    assert predicted("sentiment", " Positive. ") == "positive"
    assert predicted("sentiment", "positive negative") is None
    assert predicted("sentiment", "") is None
    assert predicted("topic", "lore") == "lore"
    assert predicted("topic", "positive") is None
    assert predicted("sums", "two plus two is four. The final answer is: four. five") == "four"
    assert predicted("sums", "it is two or maybe seven") == "seven"
    assert predicted("sums", "many") is None


@pytest.mark.parametrize("task", TASKS)
def test_a_tasks_right_output_is_correct_and_another_label_is_not(task: str):
    found = rows("test_task", 200, 0, task)
    for row in found:
        assert task_correct(row, row["output"])
        other = next(r for r in found if r["facts"]["label"] != row["facts"]["label"])
        assert not task_correct(row, other["output"])
        assert not task_correct(row, "")
