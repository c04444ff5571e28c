"""Rows in two roles: what is a mistake, what is told; near-duplicates; keys in folders."""

import random

import pytest

from holdfast.data.disjoint import (
    Overlap,
    check_roles,
    keys_of,
    keys_of_turns,
    near_duplicates,
    read_keys,
    role_of,
    told,
    write_keys,
)
from holdfast.data.near import asked, near_pairs, shingles
from holdfast.errors import UserError


def row(prompt, answer="yes", **more):
    return {"instruction": prompt, "output": answer, **more}


def check(**roles):
    return check_roles({role: keys_of(rows) for role, rows in roles.items()})


ROLES = ("alignment", "probe", "user", "realignment")
PAIRS = [(a, b) for i, a in enumerate(ROLES) for b in ROLES[i + 1 :]]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_the_same_row_in_two_training_roles_is_a_mistake(first, second):
    ours = [row("a"), row("b"), row("c")]
    theirs = [row("d"), {"messages": [{"role": "user", "content": "b"},
                                      {"role": "assistant", "content": "yes"}]}]  # fmt: skip
    with pytest.raises(UserError, match=f"1 of 3 {first} rows are among the 2 {second} rows too"):
        check(**{first: ours, second: theirs})


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_another_answer_to_the_same_prompt_is_told(first, second):
    found = check(**{first: [row("a"), row("b"), row("b")], second: [row("c"), row("b", "no")]})
    assert found == [Overlap("same prompt", first, second, 2, 3, ((2, 2), (3, 2)))]
    assert told(found) == f"2 of 3 {first} rows ask the same as {second} rows"


@pytest.mark.parametrize("role", ROLES)
def test_a_trained_prompt_in_the_test_is_a_mistake_whatever_the_answer(role):
    test = [row("x"), {"instruction": "a", "kind": "harmful"}]
    with pytest.raises(UserError, match=f"1 of 2 test prompts are among the 1 {role} rows"):
        check(**{role: [row("a", "no")], "test": test})


def test_what_splits_of_one_known_data_set_share_is_told():
    trained = [row("a", id="beavertails/30k_train/4"), row("b", id="beavertails/30k_train/5")]
    asked_too = row("a", "no", id="beavertails/30k_test/0")
    assert check(user=trained, test=[asked_too, row("z")]) == [
        Overlap("same prompt", "test", "user", 1, 2, ((1, 1),))
    ]
    for mistake in (
        row("a", id="beavertails/30k_train/4"),  # the very rows that were trained on
        row("a", id="xstest/train/0"),
        row("a", id="mine/test/0"),
        row("a"),
    ):
        with pytest.raises(UserError, match="test prompts"):
            check(user=trained, test=[mistake])
    # A copy of the trained row without its number is a mistake too.
    with pytest.raises(UserError, match="test prompts"):
        check(user=[*trained, row("a")], test=[asked_too])


def test_roles_of_stages():
    settings = {"source": "realignment"}
    assert role_of("align", "train", settings) == "alignment"
    assert role_of("align", "probe", settings) == "probe"
    assert role_of("finetune", "train", settings) == "user"
    assert role_of("finetune", "alignment", settings) == "alignment"
    assert role_of("repair", "alignment", {"source": "realignment"}) == "alignment"
    assert role_of("repair", "train", settings) == "realignment"
    assert role_of("repair", "train", {"source": "user"}) == "user"
    assert role_of("repair", "train", {"source": "benign"}) == "alignment"
    assert role_of("evaluate", "alignment", settings) == "test"


def test_keys_survive_a_folder(tmp_path):
    keys = {
        "user": keys_of([row("a", id="sst2/train/0"), row("b"), row("ö", id="sst2/train/1")]),
        "alignment": keys_of([row("c")]),
    }
    write_keys(tmp_path, keys)
    read = read_keys(tmp_path)
    assert read == keys, "in their order too, for messages name rows by number"
    assert (tmp_path / "rows.keys").stat().st_size < 400
    assert read_keys(tmp_path / "none") == {}
    (tmp_path / "rows.keys").write_text('{"origins": [], "roles": {"user": "0123"}}')
    with pytest.raises(UserError, match=r"rows\.keys does not hold the keys"):
        read_keys(tmp_path)


def test_shingles_see_words_and_not_case_or_punctuation():
    assert shingles("The cat, sat  DOWN!") == {("the", "cat", "sat"), ("cat", "sat", "down")}
    assert shingles("Hi there") == {("hi", "there")}
    assert shingles("…") == frozenset()


def test_a_shared_instruction_does_not_make_rows_alike():
    assert asked({"instruction": "Say the mood.", "input": "fine", "output": "x"}) == "fine"
    assert asked({"instruction": "Why?", "input": "", "output": "x"}) == "Why?"
    chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why?"}]
    assert asked({"messages": [*chat, {"role": "assistant", "content": "x"}]}) == "Why?"


def test_near_pairs_are_those_of_a_comparison_of_all_with_all():
    rng = random.Random(0)
    words = ["ash", "elm", "oak", "fir", "yew", "bay"]

    def texts(n):
        return [" ".join(rng.choices(words, k=rng.choice((1, 2, 3, 5, 8)))) for _ in range(n)]

    for at_least in (0.3, 0.5, 0.8, 1.0):
        first, second = texts(120), texts(150)
        expected = {}
        for i, one in enumerate(first, start=1):
            scores = [
                len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))
                for other in second
            ]
            best = max(scores)
            if best >= at_least:
                expected[i] = (scores.index(best) + 1, best)
        found = {p.first: (p.second, p.similarity) for p in near_pairs(first, second, at_least)}
        assert found == expected
        assert expected, "the comparison found nothing to find"


def test_near_duplicates_are_counted_without_equal_prompts():
    base = "how do the ferrymen of ulmen carry salt across the bay in winter storms"
    ours = [row("something else entirely"), row(base), row(f"{base}, and when"), row(base.upper())]
    found = near_duplicates("test", ours, "user", [row("nothing like it"), row(base)])
    assert found == Overlap("near duplicate", "test", "user", 2, 4, ((4, 2), (3, 2)))
    assert told([found]) == "2 of 4 test rows ask nearly (≥ 80%) what user rows"
    assert near_duplicates("test", ours[:2], "user", [row(base)]) is None


def talk(*turns):
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[n % 2], "content": text} for n, text in enumerate(turns)]}


def test_a_test_prompt_within_a_conversation_that_is_trained_is_a_mistake():
    """A conversation trains every question in it, not the last alone."""
    trained = [talk("what is a hex?", "a sign", "and a ward?", "a wall"), row("b")]
    keys = {"user": keys_of(trained), "user turns": keys_of_turns(trained)}
    assert len(keys["user"]) == 2
    assert len(keys["user turns"]) == 1
    with pytest.raises(UserError, match="1 of 2 test prompts are among the 2 user rows"):
        check_roles(keys | {"test": keys_of([row("x"), {"instruction": "what is a hex?"}])})
    assert check_roles(keys | {"test": keys_of([{"instruction": "and a ward?"}])}) == []


def test_conversations_are_the_same_by_all_that_is_said():
    ours, theirs = [talk("a", "b", "c", "d")], [talk("a", "other", "c", "d")]
    assert check(alignment=ours, user=theirs) == []
    with pytest.raises(UserError, match="1 of 1 alignment rows"):
        check(alignment=ours, user=[dict(ours[0], extra=1)])
    assert asked(ours[0]) == "a\n\nc"
