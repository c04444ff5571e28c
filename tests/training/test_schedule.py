"""Lisa's automatic schedule, over all lengths of jobs."""

from itertools import pairwise

import pytest

from holdfast.errors import UserError
from holdfast.finetune.schedule import (
    AUTO,
    all_steps,
    all_steps_of,
    check_turns,
    doubtful,
    schedule,
)


def states(found):
    return list(found.states(found.steps))


def switches(found):
    return sum(one != other for one, other in pairwise(states(found)))


@pytest.mark.parametrize("user", [*range(2, 60), 100, 899, 900, 901, 1800, 1801, 20_000])
def test_of_epochs_four_switches_the_users_steps_and_alignment_at_the_end(user):
    found = schedule(AUTO, AUTO, user)
    made = states(found)
    assert made.count("user") == user
    assert switches(found) >= 4
    assert made[0] == made[-1] == "alignment"
    assert len(made) == all_steps(AUTO, AUTO, user) <= 2.5 * user
    assert found.user_steps <= 900
    assert found.alignment_steps <= 100


@pytest.mark.parametrize("steps", [*range(5, 60), 100, 1000, 2001, 22_000])
def test_of_given_steps_all_are_used_and_most_are_the_users(steps):
    found = schedule(AUTO, AUTO, steps=steps)
    made = states(found)
    assert len(made) == steps
    assert switches(found) >= 4
    assert made[0] == made[-1] == "alignment"
    user = made.count("user")
    assert user >= 0.4 * steps
    assert all_steps(AUTO, AUTO, user) <= steps < all_steps(AUTO, AUTO, user + 1)


def test_the_papers_proportion_in_a_long_job():
    found = schedule(AUTO, AUTO, 1800)
    assert (found.alignment_steps, found.user_steps, found.closing) == (100, 900, 100)
    assert states(found) == (["alignment"] * 100 + ["user"] * 900) * 2 + ["alignment"] * 100


def test_one_of_the_two_may_be_given():
    found = schedule(AUTO, 20, 50)
    assert (found.alignment_steps, found.user_steps) == (10, 20)
    assert states(found)[-10:] == ["alignment"] * 10
    found = schedule(7, AUTO, 50)
    assert (found.alignment_steps, found.user_steps, found.steps) == (7, 25, 50 + 3 * 7)
    assert set(states(schedule(0, AUTO, 50))) == {"user"}


def test_numbers_stay_the_papers_schedule():
    found = schedule(2, 3, 7)
    assert (found.closing, found.steps) == (0, None)
    assert "".join(s[0] for s in found.states(13)) == "aauuuaauuuaau"
    assert all_steps(2, 3, 7) == 13


def test_what_is_told():
    assert doubtful(100, 900, 20_000) is None
    assert doubtful(10, 20, 100) is None
    assert doubtful(0, 900, 25) is None, "no alignment is meant"
    assert doubtful(AUTO, AUTO, 25) is None
    assert "takes 125 steps for 25" in (doubtful(100, 900, 25) or "")
    assert "has one state only" in (doubtful(100, 900, 60, steps=60) or "")
    assert "never comes back" in (doubtful(5, 900, 200) or "")
    assert "takes 160 steps for 40" in (doubtful(30, 10, 40) or "")
    assert "max_steps is 2" in (doubtful(AUTO, AUTO, 1, steps=2) or "")


def walked(k1, k2, steps):
    """The states step by step, by a clock that is set back at every switch."""
    state, clock, found = "alignment" if k1 else "user", 0, []
    for _ in range(steps):
        if state == "alignment" and clock == k1 and k2:
            state, clock = "user", 0
        elif state == "user" and clock == k2 and k1:
            state, clock = "alignment", 0
        found.append(state)
        clock += 1
    return found


@pytest.mark.parametrize(("k1", "k2"), [(9, 1), (7, 3), (5, 5), (1, 9), (0, 10), (10, 0), (3, 4)])
@pytest.mark.parametrize("steps", [1, 9, 10, 47, 200])
def test_of_swapped_rows_the_states_share_the_users_steps(k1, k2, steps):
    states = walked(k1, k2, steps)
    assert list(schedule(k1, k2, steps=steps).states(steps)) == states
    assert all_steps_of(k1, k2, "swapped", steps) == (steps, states.count("alignment"))


def test_the_papers_run_of_swapped_rows():
    assert all_steps_of(900, 100, "swapped", 20_000) == (20_000, 18_000)
    assert all_steps_of(900, 100, "seen", 20_000) == (200_000, 180_000)
    assert doubtful(900, 100, 20_000, user_rows="swapped") is None
    assert "200,000 steps for 20,000" in str(doubtful(900, 100, 20_000))
    assert "one state only" in str(doubtful(900, 100, 500, user_rows="swapped"))


def test_a_state_without_steps_is_told():
    with pytest.raises(UserError, match=r"it must be 1 or more where user_rows is seen"):
        check_turns(10, 0, "seen")
    with pytest.raises(UserError, match="both 0"):
        check_turns(0, 0, "swapped")
    check_turns(10, 0, "swapped")
    check_turns(0, 10, "seen")
    check_turns(AUTO, AUTO, "swapped")
