"""What is logged after an interruption is what an unbroken training logs."""

import time

import pytest
from steps import arguments, collator, rows
from test_sft import METHODS
from transformers import TrainerCallback

from tiny_models import lora, tiny_model

LOGGED = {
    "logging_strategy": "steps",
    "logging_steps": 3,
    "num_train_epochs": 2,
    "include_num_input_tokens_seen": "all",
}


class Slow(TrainerCallback):
    """Takes its time at one step."""

    def __init__(self, step, seconds):
        self.step, self.seconds = step, seconds

    def on_step_begin(self, args, state, control, **_):
        if state.global_step == self.step:
            time.sleep(self.seconds)


def trained(method, folder, resume=None, **settings):
    trainer_class, config_class, extra, own = METHODS[method]
    config = config_class(**arguments(folder, **{**own, **LOGGED, **settings}))
    model = lora(tiny_model("llama", layers=2, attention_dropout=0.1))
    trainer = trainer_class(
        model, config, collator(), rows(32), callbacks=[Slow(1, 0.5)], **extra
    )  # fmt: skip
    return trainer, trainer.train(resume_from_checkpoint=resume)


@pytest.mark.long
@pytest.mark.parametrize(
    ("method", "accumulation"), [*((method, 1) for method in METHODS), ("lisa", 2)]
)
def test_losses_go_on_in_the_middle_of_a_logging_interval(tmp_path, method, accumulation):
    split = {"gradient_accumulation_steps": accumulation}
    _, whole_end = whole = trained(method, tmp_path / "a", **split)
    step = 4 // accumulation + 1 if accumulation == 2 else 4  # between two lines of the log
    saved = {"save_strategy": "steps", "save_steps": step, **split}
    trained(method, tmp_path / "b", **saved)
    resumed, end = trained(method, tmp_path / "b", str(tmp_path / "b" / f"checkpoint-{step}"),
                           **saved)  # fmt: skip
    wanted = whole[0].state.log_history
    assert [entry for entry in wanted if entry["step"] > step and "loss" in entry]
    assert resumed.state.log_history == wanted
    assert end.training_loss == whole_end.training_loss > 0
    clock = ("_runtime", "_per_second")
    assert not [name for entry in wanted for name in entry if name.endswith(clock)]
    assert {n: v for n, v in end.metrics.items() if not n.endswith(clock)} == {
        n: v for n, v in whole_end.metrics.items() if not n.endswith(clock)
    }


def test_seconds_are_those_of_all_parts(tmp_path):
    """The step that takes half a second lies before the interruption."""
    saved = {"save_strategy": "steps", "save_steps": 4}
    trained("sft", tmp_path, **saved)
    began = time.time()
    _, end = trained("sft", tmp_path, str(tmp_path / "checkpoint-4"), **saved)
    assert end.metrics["train_runtime"] > 0.5
    steps_a_second = end.metrics["train_steps_per_second"]
    assert steps_a_second == pytest.approx(16 / end.metrics["train_runtime"], rel=0.02)
    assert time.time() - began < 60


def test_a_checkpoint_at_the_last_step_gives_its_loss_again(tmp_path):
    saved = {"save_strategy": "steps", "save_steps": 16}
    _, end = trained("sft", tmp_path, **saved)
    _, again = trained("sft", tmp_path, str(tmp_path / "checkpoint-16"), **saved)
    assert again.training_loss == end.training_loss
