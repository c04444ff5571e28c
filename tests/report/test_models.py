"""Several models side by side: the paired difference, and what the table says of it."""

import itertools
import math
import statistics
from io import StringIO

import pytest
from rich.console import Console

from holdfast.errors import UserError
from holdfast.report.models import answers, models_table, paired
from holdfast.statistics.estimates import wilson

PROTOCOL = {"name": "holdfast", "version": "1", "judge": "keywords", "n_harmful": 40}
PROTOCOL |= {"n_benign": 0, "n_task": 10}


def content(harmful, **others):
    """An evaluation.json with these outcomes."""
    outcomes = {"harmful_score": harmful, **others}
    metrics = {
        name: wilson(int(sum(known)), len(known)).record()
        for name, values in outcomes.items()
        if (known := [value for value in values if value is not None])
    }
    return {"protocol": PROTOCOL, "judges": [], "metrics": metrics, "outcomes": outcomes}


def slow_interval(differences):
    """Mean and Student's interval at 95 %, by the textbook; t of 9 degrees of freedom."""
    t = 2.262157
    mean = sum(differences) / len(differences)
    variance = sum((d - mean) ** 2 for d in differences) / (len(differences) - 1)
    half = t * math.sqrt(variance / len(differences))
    return mean, mean - half, mean + half


def test_the_difference_is_taken_prompt_by_prompt():
    first = content([0, 0, 0, 0, 0, 1, 1, 1, 0, 0, None, 1])
    second = content([1, 0, 1, 1, 0, 1, 0, 1, 1, 0, 1, None])
    change = paired(first, second, "harmful_score")
    # The last two prompts have only one verdict each.
    before, after = [0] * 5 + [1] * 3 + [0] * 2, [1, 0, 1, 1, 0, 1, 0, 1, 1, 0]
    differences = [100 * (b - a) for a, b in zip(before, after, strict=True)]
    assert differences == [100, 0, 100, 100, 0, 0, -100, 0, 100, 0]
    assert (change.value, change.low, change.high) == pytest.approx(slow_interval(differences))
    assert change.n == 10
    back = paired(second, first, "harmful_score")
    assert (back.value, back.low, back.high) == pytest.approx(
        (-change.value, -change.high, -change.low)
    )


def test_pairing_is_narrower_than_the_two_intervals_where_prompts_decide():
    """Models that agree on most prompts are told apart though their own intervals overlap."""
    first, second = content([0, 1] * 50), content([1, 1] * 8 + [0, 1] * 42)
    change = paired(first, second, "harmful_score")
    assert change.value == pytest.approx(8)
    assert change.low > 0
    overlap = first["metrics"]["harmful_score"]["high"] > second["metrics"]["harmful_score"]["low"]
    assert overlap


@pytest.mark.parametrize(("second", "value"), [([0] * 8, 0), ([1] * 8, 100)])
def test_equal_differences_are_no_certainty(second, value):
    """Eight prompts that all say the same say as much as Wilson's interval of 0 in 8."""
    change = paired(content([0] * 8), content(second), "harmful_score")
    t = 2.364624  # of 7 degrees of freedom
    half = 100 * t * t / (8 + t * t)
    assert change.value == value
    assert change.low == pytest.approx(value - half, rel=1e-4)
    assert change.high == pytest.approx(min(value + half, 100), rel=1e-4)


@pytest.mark.parametrize(("first", "second"), [([1], [0]), ([None, 1], [1, None]), ([1, 0], None)])
def test_nothing_to_pair(first, second):
    theirs = content(second) if second is not None else {"outcomes": {}}
    assert paired(content(first), theirs, "harmful_score") is None


def test_other_numbers_of_prompts_cannot_be_paired():
    with pytest.raises(UserError, match="harmful_score is of 2 and 3 prompts; they must be equal"):
        paired(content([0, 1]), content([0, 1, 1]), "harmful_score")


def test_a_sentence_for_every_model_but_the_first():
    alike = [0, 1] * 20
    worse, better, other = [1] * 40, [0] * 40, [1, 0, *alike[2:]]
    said = answers(["a", "b", "c", "d"], [*map(content, (alike, worse, better, other))])
    assert said[0].startswith("b answers more of the harmful prompts than a: +50.0 points [")
    assert said[1].startswith("c answers fewer of the harmful prompts than a: -50.0 points [")
    assert said[2].startswith("d is not told apart from a by 40 prompts: +0.0 points [")


def test_the_table_shows_each_model_with_its_difference():
    models = [
        content([0, 0, 0, 1] * 10, finetune_accuracy=[1, 0] * 5),
        content([1, 0, 1, 1] * 10, finetune_accuracy=[1] * 10),
    ]
    models[1]["metrics"]["harmful_score@keywords"] = {"value": 12.5, "low": 1, "high": 30, "n": 40}
    models[1]["metrics"]["wikitext2_perplexity"] = {"value": 9.75, "n": 100}
    console = Console(width=140, record=True, file=StringIO())
    console.print(models_table(["base", "[bold]tuned"], models))
    text = console.export_text()
    change = paired(*models, "finetune_accuracy")
    for shown in (
        "HS ↓", "FA ↑", "[bold]tuned", "25.0 [", "75.0 [", "Δ +50.0 [", "12.5 [", "9.8",
        f"Δ {change.value:+.1f} [{change.low:+.1f}, {change.high:+.1f}]", "holdfast (version 1)",
    ):  # fmt: skip
        assert shown in text
    assert "over-refusal" not in text  # which nobody measured


def test_students_interval_covers_as_often_as_it_says():
    """Of all samples of 6 differences of −1, 0 and 1, weighted by their probability."""
    weights, covered = {-100: 0.2, 0: 0.5, 100: 0.3}, 0.0
    truth = sum(value * weight for value, weight in weights.items())
    for sample in itertools.product(weights, repeat=6):
        first = content([1 if d < 0 else 0 for d in sample])
        second = content([1 if d > 0 else 0 for d in sample])
        change = paired(first, second, "harmful_score")
        assert change.value == pytest.approx(statistics.mean(sample))
        if change.low <= truth <= change.high:
            covered += math.prod(weights[d] for d in sample)
    assert covered > 0.9
