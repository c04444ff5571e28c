"""The batches of a second data set and the gradients on them, against plain calculations."""

from types import SimpleNamespace

import pytest
import torch
from side_runs import SIDE, divide_weights, model_of, of_group, plain_gradient
from steps import arguments, collator, gradients, relative_error, rows, step_gradients, weights

from holdfast import SFTConfig, SFTTrainer, UserError
from holdfast.errors import DivergedError
from holdfast.trainer.side_batches import SideBatchesMixin, SideRows, inner, norm


class Sided(SideBatchesMixin, SFTTrainer):
    """Adds nothing unless a test says so."""

    def __init__(self, *args, side=SIDE, **kwargs):
        super().__init__(*args, **kwargs)
        self.side = self.side_rows(side, "side_dataset")
        self.calls = 0

    def change_gradient(self):
        self.calls += 1


def trainer_of(folder, model=None, padding="right", side=SIDE, cls=Sided, **settings):
    config = SFTConfig(**arguments(folder, **settings))
    return cls(
        model or model_of(),
        config,
        train_dataset=rows(8),
        data_collator=collator(padding),
        side=side,
    )


def test_the_order_is_seeded_without_end_and_every_pass_has_each_row_once():
    side = SideRows("side", SIDE, 3)
    order = side.numbers(0, 30)
    assert [sorted(order[i : i + 10]) for i in (0, 10, 20)] == [list(range(10))] * 3
    assert order[:10] != order[10:20]
    assert side.numbers(7, 23) == order[7:23]
    assert SideRows("side", SIDE, 4).numbers(0, 10) != order[:10]


def test_two_sets_of_equal_size_have_orders_of_their_own(tmp_path):
    trainer = trainer_of(tmp_path)
    one, other = (trainer.side_rows(SIDE, "side", number) for number in (0, 1))
    assert one.numbers(0, 10) != other.numbers(0, 10)


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize(
    "settings",
    [
        {"per_device_train_batch_size": 4},
        {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4},
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
        {"per_device_train_batch_size": 4, "gradient_checkpointing": True},
    ],
    ids=str,
)
def test_gradient_equals_a_plain_calculation_however_the_group_is_split(
    tmp_path, settings, padding
):
    trainer = trainer_of(tmp_path, padding=padding, **settings)
    for number in (0, 2):  # the third group goes on into a second pass of the ten rows
        expected, loss = plain_gradient(model_of(), of_group(number, 4))
        found, found_loss = trainer.gradient(trainer.side_batches(trainer.side, number))
        assert relative_error(found, expected) < 1e-5
        assert found_loss.item() == pytest.approx(loss, rel=1e-5)


def test_the_tokens_of_a_group_are_seen_once_however_often_it_is_passed(tmp_path):
    class Drawn(Sided):
        def change_gradient(self):
            side = self.side_batches(self.side, self.state.global_step)
            for _ in range(2):
                self.gradient(side)
            self.drawn += sum(batch["input_ids"].numel() for batch in side.batches)

    seen = {}
    for cls in (Sided, Drawn):
        settings = {"max_steps": 3, "per_device_train_batch_size": 2}
        trainer = trainer_of(tmp_path, cls=cls, include_num_input_tokens_seen="all", **settings)
        trainer.drawn = 0
        trainer.train()
        seen[cls] = trainer.state.num_input_tokens_seen - trainer.drawn
    assert trainer.drawn > 0
    assert seen[Drawn] == seen[Sided]


def test_gradient_of_another_loss(tmp_path):
    """The mean entropy of the answers' words."""
    trainer = trainer_of(tmp_path, gradient_accumulation_steps=2, per_device_train_batch_size=2)

    def entropy(inputs):
        kept = inputs.pop("labels")[:, 1:] != -100
        log_p = trainer.model(**inputs).logits[:, :-1][kept].log_softmax(-1)
        return -(log_p.exp() * log_p).sum(-1).mean()

    expected, loss = plain_gradient(
        model_of(), of_group(0, 4), lambda log_p, _: -(log_p.exp() * log_p).sum()
    )
    found, found_loss = trainer.gradient(trainer.side_batches(trainer.side, 0), entropy)
    assert relative_error(found, expected) < 1e-5
    assert found_loss.item() == pytest.approx(loss, rel=1e-5)


def test_shifted_weights_come_back_bit_for_bit(tmp_path):
    trainer, twin = trainer_of(tmp_path), model_of()
    before = {n: (w, w.data_ptr()) for n, w in trainer.trainable_weights()}
    kept = weights(trainer.model)
    delta = {n: torch.randn_like(w) / 3 for n, w in kept.items()}
    with torch.no_grad():
        for name, weight in twin.named_parameters():
            if weight.requires_grad:
                weight += 0.5 * delta[name]
    side = trainer.side_batches(trainer.side, 0)
    with trainer.shifted(delta, 0.5):
        found, _ = trainer.gradient(side)
    assert relative_error(found, plain_gradient(twin, of_group(0, 4))[0]) < 1e-5
    with pytest.raises(ZeroDivisionError), trainer.shifted(delta):
        raise ZeroDivisionError
    for name, weight in trainer.trainable_weights():
        assert before[name] == (weight, weight.data_ptr())
        assert torch.equal(weight, kept[name])
    assert (
        relative_error(trainer.gradient(side)[0], plain_gradient(model_of(), of_group(0, 4))[0])
        < 1e-5
    )


def test_gradients_and_random_numbers_of_training_stay_as_they_are(tmp_path):
    trainer = trainer_of(tmp_path, model_of(dropout=0.3))
    before = step_gradients(trainer, [collator()(rows(4))])
    state = torch.get_rng_state()
    side = trainer.side_batches(trainer.side, 0)
    first, _ = trainer.gradient(side)
    assert torch.equal(torch.get_rng_state(), state)
    after = gradients(trainer.model)
    assert all(torch.equal(after[name], before[name]) for name in before)
    again, _ = trainer.gradient(side)
    assert all(torch.equal(first[name], again[name]) for name in first), "the same dropout masks"
    trainer.model.eval()
    assert relative_error(trainer.gradient(side)[0], first) == 0, "also outside of a step"
    torch.manual_seed(1)
    assert relative_error(trainer.gradient(side)[0], first) > 1e-2, "there are masks"


def test_a_group_is_measured_again_with_smoothed_labels(tmp_path):
    """transformers' smoothed loss takes the labels out of what it is given."""
    trainer = trainer_of(tmp_path, label_smoothing_factor=0.1)
    side = trainer.side_batches(trainer.side, 0)
    first, again = trainer.gradient(side), trainer.gradient(side)
    assert relative_error(again[0], first[0]) == 0


def test_a_step_is_changed_once_and_a_run_that_adds_nothing_is_sft_bit_for_bit(tmp_path):
    class Measures(Sided):
        def change_gradient(self):
            super().change_gradient()
            self.gradient(self.side_batches(self.side, self.state.global_step))

    settings = {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2}
    config = SFTConfig(**arguments(tmp_path, **settings))
    plain = SFTTrainer(model_of(0.2), config, train_dataset=rows(8), data_collator=collator())
    plain.train()
    trainer = trainer_of(tmp_path, model_of(0.2), cls=Measures, **settings)
    trainer.train()
    assert trainer.calls == trainer.state.global_step == 2
    expected, found = weights(plain.model), weights(trainer.model)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_term_is_added_and_scaled_as_fp16_scales_the_loss(tmp_path):
    trainer = trainer_of(tmp_path)
    term = weights(trainer.model)
    trainer.add_to_gradient(term, 2.0)
    trainer.accelerator.scaler = SimpleNamespace(get_scale=lambda: 16.0)
    trainer.add_to_gradient(term)
    found = gradients(trainer.model)
    for name, weight in term.items():
        torch.testing.assert_close(found[name], 18 * weight)
    # A gradient is measured with the loss scaled, by less where that is too large a number, and
    # given without the scale.
    side, expected = trainer.side_batches(trainer.side, 0), plain_gradient(model_of(), of_group(0))
    for scale in (16.0, 2.0**140):
        trainer.accelerator.scaler = SimpleNamespace(get_scale=lambda scale=scale: scale)
        assert relative_error(trainer.gradient(side)[0], expected[0]) < 1e-5


def test_norm_and_inner_product_are_over_all_weights():
    a, b = ({"x": torch.randn(3, 2), "y": torch.randn(4)} for _ in range(2))
    whole = [torch.cat([t.flatten() for t in of.values()]) for of in (a, b)]
    torch.testing.assert_close(norm(a), whole[0].norm())
    torch.testing.assert_close(inner(a, b), whole[0] @ whole[1])


def test_what_cannot_be_done_is_told(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="data set is empty"):
        trainer_of(tmp_path, side=[])
    mute = [{**row, "labels": [-100] * len(row["labels"])} for row in SIDE]
    trainer = trainer_of(tmp_path, side=mute)
    with pytest.raises(UserError, match="side_dataset has rows without an answer"):
        trainer.side_batches(trainer.side, 0)
    trainer = trainer_of(tmp_path)
    with pytest.raises(DivergedError, match="loss on side_dataset became nan at step 1"):
        trainer.gradient(
            trainer.side_batches(trainer.side, 0),
            lambda _: torch.tensor(float("nan"), requires_grad=True),
        )
    divide_weights(monkeypatch)
    with pytest.raises(UserError, match="Sided takes gradients of whole weights, which FSDP2"):
        trainer_of(tmp_path)
