"""Screens that look with the model, against plain calculations of their own."""

import copy
from statistics import fmean

import pytest
import torch
from byte_tokens import byte_tokenizer
from torch.nn.functional import cosine_similarity, cross_entropy

from holdfast import UserError, screen_rows
from holdfast.models.blocks import decoder_layers
from holdfast.screen.gradient import GradientScreen, GradientScreenConfig
from holdfast.screen.layers import chosen_layer, scaled, sensitivities
from holdfast.screen.loss_gap import LossGapScreen, LossGapScreenConfig
from holdfast.screen.similarity import SimilarityScreen, SimilarityScreenConfig
from tiny_models import tiny_model

TOKENIZER = byte_tokenizer()


def tokens(count, seed, low=3, high=60):
    """Tokenized rows of several lengths, the first third of each the prompt."""
    made = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(count):
        length = int(torch.randint(6, 20, (1,), generator=made))
        ids = torch.randint(low, high, (length,), generator=made).tolist()
        labels = [-100] * (length // 3) + ids[length // 3 :]
        rows.append({"input_ids": ids, "attention_mask": [1] * length, "labels": labels})
    return rows


@pytest.fixture
def model():
    torch.manual_seed(0)
    return tiny_model("llama").eval()


ROWS, HARMFUL, SAFE = tokens(9, 1), tokens(6, 2, 3, 30), tokens(5, 3, 30, 60)


def state(model, row, layer):
    with torch.no_grad():
        found = model(torch.tensor([row["input_ids"]]), output_hidden_states=True)
    return found.hidden_states[layer + 1][0, -1]


def loss(model, row, first=None):
    ids, labels = torch.tensor(row["input_ids"]), torch.tensor(row["labels"])
    if first is not None:
        answer = [place for place, label in enumerate(row["labels"]) if label != -100]
        labels[answer[first:]] = -100
    return cross_entropy(model(ids[None]).logits[0, :-1], labels[1:])


def nearest(one, known, k):
    return fmean(sorted((float(cosine_similarity(one, u, dim=0)) for u in known), reverse=True)[:k])


@pytest.mark.parametrize("k", [1, 3, 50])
def test_similarity_is_that_of_the_states_one_by_one(model, k):
    config = SimilarityScreenConfig(nearest=k, layer=0, batch_size=4)
    screen = SimilarityScreen(config, model, TOKENIZER, HARMFUL, SAFE)
    harmful, safe = ([state(model, row, 0) for row in some] for some in (HARMFUL, SAFE))

    def score(one, harmful=harmful, safe=safe):
        return nearest(one, harmful, k) - nearest(one, safe, k)

    expected = [score(state(model, row, 0)) for row in ROWS]
    assert [one.score for one in screen.score(ROWS)] == pytest.approx(expected, abs=1e-5)
    # A known row is scored as if it were not known.
    own = [score(one, harmful=harmful[:i] + harmful[i + 1 :]) for i, one in enumerate(harmful)]
    assert screen.known.harmful == pytest.approx(own, abs=1e-5)
    own = [score(one, safe=safe[:i] + safe[i + 1 :]) for i, one in enumerate(safe)]
    assert screen.known.safe == pytest.approx(own, abs=1e-5)


def test_the_nearest_known_row_is_named_by_its_number_among_all(model):
    """Of known rows one does not fit: those after it keep their numbers."""
    long = {name: list(values) * 9 for name, values in HARMFUL[0].items()}
    long["labels"] = [-100] * (len(long["labels"]) - 1) + [5]
    config = SimilarityScreenConfig(nearest=1, layer=0, threshold=0.0, max_length=30)
    screen = SimilarityScreen(config, model, TOKENIZER, [long, *HARMFUL[1:]], SAFE)
    found = [one.detail for one in screen.score(HARMFUL[1:])]
    assert found == [f"row {number} is the nearest" for number in range(2, 7)]


def test_a_row_scores_alike_alone_and_among_others(model):
    for config, kind in (
        (SimilarityScreenConfig(layer=1, share=0.5), SimilarityScreen),
        (GradientScreenConfig(layer=1, share=0.5), GradientScreen),
    ):
        screen = kind(config, model, TOKENIZER, HARMFUL, SAFE)
        together = [one.score for one in screen.score(ROWS)]
        alone = [screen.score([row])[0].score for row in ROWS]
        assert together == pytest.approx(alone, abs=1e-5)


def test_known_rows_find_what_is_like_them(model):
    rows = [*tokens(10, 7, 30, 60), *tokens(4, 8, 3, 30)]
    found = screen_rows(
        rows,
        "similarity",
        model=model,
        processing_class=TOKENIZER,
        harmful_rows=tokens(40, 9, 3, 30),
        alignment_rows=tokens(40, 10, 30, 60),
        layer=0,
    )
    assert all(found.is_flagged[10:])
    assert not all(found.is_flagged[:10])
    assert found.threshold is not None


@pytest.mark.parametrize("first", [0, 2])
def test_the_gradient_is_that_of_the_layer_s_matrices(model, first):
    config = GradientScreenConfig(tokens=first, layer=1)
    screen = GradientScreen(config, model, TOKENIZER, HARMFUL, SAFE)
    layer = decoder_layers(model)[1]

    def gradient(row):
        model.zero_grad()
        loss(model, row, first or None).backward()
        parts = [weight.grad.flatten() for weight in layer.parameters() if weight.ndim == 2]
        return torch.cat(parts) / torch.cat(parts).norm()

    harmful, safe = (torch.stack([gradient(row) for row in some]) for some in (HARMFUL, SAFE))

    def score(g, harmful=harmful, safe=safe):
        sides = [cosine_similarity(g, some.sum(0), dim=0) for some in (harmful, safe)]
        return float(sides[0] - sides[1])

    expected = [score(gradient(row)) for row in ROWS]
    assert [one.score for one in screen.score(ROWS)] == pytest.approx(expected, abs=1e-4)
    others = [torch.cat([harmful[:i], harmful[i + 1 :]]) for i in range(len(harmful))]
    own = [score(g, harmful=some) for g, some in zip(harmful, others, strict=True)]
    assert screen.known.harmful == pytest.approx(own, abs=1e-4)


def test_the_loss_gap_is_that_of_the_model_before_and_after_the_light_tuning(model):
    before = copy.deepcopy(model)
    config = LossGapScreenConfig(steps=6, learning_rate=3e-3, rows_a_step=3)
    screen = LossGapScreen(config, model, TOKENIZER, HARMFUL, SAFE)
    tuned = screen._model
    with torch.no_grad():
        expected = [float(loss(before, row) - loss(tuned, row)) for row in ROWS]
        seen = fmean(float(loss(before, row) - loss(tuned, row)) for row in HARMFUL[::2])
    assert [one.score for one in screen.score(ROWS)] == pytest.approx(expected, abs=1e-4)
    assert seen > 0.05  # it has learned what it was tuned on
    # The threshold is found by rows that it was not tuned on.
    with torch.no_grad():
        unseen = [float(loss(before, row) - loss(tuned, row)) for row in HARMFUL[1::2]]
    assert screen.known.harmful == pytest.approx(unseen, abs=1e-4)
    assert len(screen.known.safe) == len(SAFE)


def test_scaling_a_layer_leaves_no_trace_and_is_what_it_says(model):
    weights = {name: weight.clone() for name, weight in model.named_parameters()}
    layer = decoder_layers(model)[0]
    with scaled(layer, 1.2):
        for name, weight in model.named_parameters():
            times = 1.2 if ".layers.0." in name and weight.ndim == 2 else 1
            assert torch.equal(weight, weights[name] * times), name
    assert all(torch.equal(weight, weights[name]) for name, weight in model.named_parameters())


def test_the_layer_is_the_one_that_the_refusals_rest_on(model):
    found = sensitivities(model, TOKENIZER, SAFE)
    expected = []
    for number in range(len(found)):
        sides = []
        for by in (0.8, 1.2):
            other = copy.deepcopy(model)
            with torch.no_grad():
                for weight in decoder_layers(other)[number].parameters():
                    if weight.ndim == 2:
                        weight *= by
                sides.append(fmean(float(loss(other, row)) for row in SAFE))
        expected.append(sides[0] - sides[1])
    assert found == pytest.approx(expected, abs=1e-4)
    assert chosen_layer(model, TOKENIZER, None, SAFE) == expected.index(max(expected))
    assert chosen_layer(model, TOKENIZER, None, []) == len(found) // 2
    assert chosen_layer(model, TOKENIZER, 1, SAFE) == 1
    with pytest.raises(UserError, match="has the layers 0 to"):
        chosen_layer(model, TOKENIZER, len(found), SAFE)


def test_of_rows_of_text_the_refusals_are_taken(model, monkeypatch):
    taken = []

    def losses(model, tokenizer, rows, **_):
        taken.append(rows)
        return type("Found", (), {"losses": [1.0]})

    monkeypatch.setattr("holdfast.screen.layers.alignment_pass", losses)
    rows = [{"instruction": "q", "output": text} for text in ("tea", "I cannot help", "cake")]
    sensitivities(model, TOKENIZER, rows)
    assert taken[0] == rows[1:2]
    sensitivities(model, TOKENIZER, rows[::2])
    assert taken[-1] == rows[::2]


@pytest.mark.parametrize("method", ["similarity", "loss_gap", "gradient"])
def test_a_row_that_does_not_fit_is_flagged_and_does_no_harm(model, method):
    long = {"input_ids": [5] * 100_000, "attention_mask": [1] * 100_000, "labels": [5] * 100_000}
    found = screen_rows(
        [ROWS[0], long, ROWS[1]],
        method,
        model=model,
        processing_class=TOKENIZER,
        harmful_rows=HARMFUL,
        alignment_rows=SAFE,
        max_length=64,
        **({"steps": 1} if method == "loss_gap" else {}),
    )
    assert found.scores[1].score is None
    assert found.is_flagged[1]
    assert None not in (found.scores[0].score, found.scores[2].score)


@pytest.mark.parametrize("method", ["similarity", "loss_gap", "gradient"])
def test_there_must_be_something_to_compare_with_and_to_decide_by(model, method):
    given = {"model": model, "processing_class": TOKENIZER}
    with pytest.raises(UserError, match="needs known harmful rows"):
        screen_rows(ROWS, method, **given)
    with pytest.raises(UserError, match="neither threshold nor share"):
        screen_rows(ROWS, method, **given, harmful_rows=HARMFUL)
