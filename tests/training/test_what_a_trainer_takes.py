"""Every trainer takes what transformers.Trainer takes: its order, its settings or none, streams."""

import dataclasses
import inspect
import json

import datasets
import pytest
import torch
from steps import arguments, collator, rows, weights
from test_sft import METHODS
from torch.utils.data import IterableDataset
from transformers import Trainer, TrainingArguments

from holdfast import LisaConfig, SFTConfig, SFTTrainer, UserError, VaccineConfig, VaccineTrainer
from holdfast.organism import load_tokenizer
from tiny_models import lora, tiny_model

DATA = rows(12)


class Stream(IterableDataset):
    """Rows in their order; notes the pass that it was told."""

    def __init__(self, data):
        self.data, self.passes = data, []

    def __iter__(self):
        return iter(self.data)

    def set_epoch(self, epoch):
        self.passes.append(epoch)


class SizedStream(Stream):
    def __len__(self):
        return len(self.data)


def trained(method, args, data=DATA, layers=2, **other):
    trainer_class, _, extra, _ = METHODS[method]
    model = lora(tiny_model("llama", layers=layers))
    trainer = trainer_class(model, args, collator(), data, **{**extra, **other})
    trainer.train()
    return weights(trainer.model)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_parameters_are_in_transformers_order():
    theirs = list(inspect.signature(Trainer.__init__).parameters)
    ours = list(inspect.signature(SFTTrainer.__init__).parameters)
    assert ours[:8] == theirs[:8]


@pytest.mark.parametrize("method", METHODS)
def test_plain_training_arguments_are_taken(tmp_path, method):
    """The method's own settings are their defaults, of T-Vaccine eight layers."""
    settings, layers = arguments(tmp_path, num_train_epochs=2), 8 if method == "t_vaccine" else 2
    plain = TrainingArguments(**settings)
    before = dict(vars(plain))
    found = trained(method, plain, layers=layers)
    assert vars(plain) == before, "the caller's own object stays as it is"
    assert same(found, trained(method, METHODS[method][1](**settings), layers=layers))


def test_no_arguments_are_transformers_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer = SFTTrainer(lora(tiny_model("llama")), train_dataset=DATA, data_collator=collator())
    assert trainer.args == SFTConfig("tmp_trainer")
    assert VaccineTrainer(tiny_model("llama"), data_collator=collator()).args.rho == 2.0


def test_a_foreign_configuration_keeps_what_has_the_same_name(tmp_path):
    class Theirs(TrainingArguments):
        max_length = 77
        rho = 9.0

    given = Theirs(**arguments(tmp_path, remove_unused_columns=True))
    args = VaccineTrainer(tiny_model("llama"), given, collator()).args
    assert (args.max_length, args.rho, args.every) == (77, 9.0, 1)
    assert args.remove_unused_columns is True
    Theirs.rho = -1.0
    with pytest.raises(UserError, match="rho is -1"):
        VaccineTrainer(tiny_model("llama"), given, collator())


def test_another_methods_configuration_is_refused(tmp_path):
    with pytest.raises(UserError, match="LisaConfig: this trainer takes VaccineConfig"):
        VaccineTrainer(tiny_model("llama"), LisaConfig(str(tmp_path)), collator())
    with pytest.raises(UserError, match="args is a dict"):
        VaccineTrainer(tiny_model("llama"), {"output_dir": "x"}, collator())
    sft = SFTConfig(**arguments(tmp_path, max_length=99))
    args = VaccineTrainer(tiny_model("llama"), sft, collator()).args
    assert (type(args), args.max_length) == (VaccineConfig, 99)


@pytest.mark.parametrize("method", METHODS)
def test_a_stream_trains_as_its_rows_in_their_order(tmp_path, method):
    """Two passes over twelve rows in batches of five: the last of a pass is smaller."""
    _, config_class, extra, own = METHODS[method]
    settings = {"per_device_train_batch_size": 5, "train_sampling_strategy": "sequential", **own}
    if method == "repnoise":  # pairs are found among all rows
        config = config_class(**arguments(tmp_path, max_steps=6, **settings))
        with pytest.raises(UserError, match="pass train_dataset as a list or a Dataset"):
            trained(method, config, Stream(DATA))
        return
    if method == "lisa":
        # Its map-style rows are shuffled by its own sampler: both states are then streams.
        settings |= {"max_steps": 8}
        streamed = trained(
            method, config_class(**arguments(tmp_path, **settings)), Stream(DATA),
            alignment_dataset=Stream(extra["alignment_dataset"]),
        )  # fmt: skip
        assert same(streamed, lisa_by_hand(tmp_path, config_class, settings))
        return
    streamed = trained(
        method, config_class(**arguments(tmp_path, max_steps=6, **settings)), Stream(DATA)
    )
    as_rows = trained(
        method, config_class(**arguments(tmp_path, num_train_epochs=2, **settings)), DATA
    )
    assert same(streamed, as_rows)
    if method == "t_vaccine":
        probes = Stream(extra["harmful_dataset"])
        config = config_class(**arguments(tmp_path, num_train_epochs=2, **settings))
        assert same(trained(method, config, harmful_dataset=probes), as_rows)


def lisa_by_hand(folder, config_class, settings):
    """Lisa whose own sampler shuffles nothing."""
    from holdfast.finetune import bi_state

    ordered = bi_state.epoch_order
    bi_state.epoch_order = lambda size, seed, epoch: list(range(size))
    try:
        return trained("lisa", config_class(**arguments(folder, **settings)))
    finally:
        bi_state.epoch_order = ordered


def test_a_stream_of_the_user_goes_with_shuffled_alignment_rows(tmp_path):
    own = {"alignment_steps": 2, "user_steps": 1, "max_steps": 6}
    seen = []

    def watch(batch):
        seen.append([row["input_ids"] for row in batch])
        return collator()(batch)

    trainer_class, config_class, extra, _ = METHODS["lisa"]
    config = config_class(**arguments(tmp_path, **own))
    trainer_class(lora(tiny_model("llama")), config, watch, Stream(DATA), **extra).train()
    ids = [row["input_ids"] for row in DATA]
    assert seen[2] == ids[:4]
    assert seen[5] == ids[4:8]
    alignment = [row["input_ids"] for row in extra["alignment_dataset"]]
    first_pass = seen[0] + seen[1]
    assert sorted(first_pass) == sorted(alignment)
    assert first_pass != alignment


def test_a_resumed_stream_goes_on_in_its_second_pass(tmp_path):
    settings = {"max_steps": 6, "save_strategy": "steps", "save_steps": 4}
    config = SFTConfig(**arguments(tmp_path, **settings))
    whole = trained("sft", config, Stream(DATA))
    stream = Stream(DATA)
    trainer = SFTTrainer(lora(tiny_model("llama")), config, collator(), stream)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert same(weights(trainer.model), whole)
    assert stream.passes[:2] == [0, 1]


def test_a_stream_with_a_length_has_epochs(tmp_path):
    settings = {"num_train_epochs": 2, "train_sampling_strategy": "sequential"}
    config = SFTConfig(**arguments(tmp_path, **settings))
    stream = SizedStream(DATA)
    assert same(trained("sft", config, stream), trained("sft", config, DATA))
    assert stream.passes[-1] == 1
    trainer = SFTTrainer(tiny_model("llama"), config, collator(), SizedStream(DATA))
    assert trainer.num_examples(trainer.get_train_dataloader()) == 12


def test_rows_of_a_stream_are_tokenized_as_they_are_read(tmp_path):
    tokenizer = load_tokenizer()
    text = [{"instruction": f"question {i}", "output": "answer " * (1 + i % 3)} for i in range(8)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, text)))
    stream = datasets.load_dataset(
        "json", data_files=str(path), split="train", streaming=True, cache_dir=str(tmp_path)
    )
    found = []
    for data, settings in (
        (stream, {"max_steps": 2}),
        (text, {"train_sampling_strategy": "sequential"}),
    ):
        model = lora(tiny_model("llama", vocab_size=len(tokenizer)))
        config = SFTConfig(**arguments(tmp_path / "run", **settings))
        trainer = SFTTrainer(
            model, config, train_dataset=data, eval_dataset=data, processing_class=tokenizer
        )
        trainer.train()
        found.append((weights(trainer.model), trainer.evaluate()["eval_loss"]))
    assert same(found[0][0], found[1][0])
    assert found[0][1] == pytest.approx(found[1][1])


def test_what_a_stream_lacks_is_told(tmp_path):
    def train(data, method="sft", **settings):
        config_class = METHODS[method][1]
        return trained(method, config_class(**arguments(tmp_path, **settings)), data)

    with pytest.raises(ValueError, match="max_steps has to be specified"):
        train(Stream(DATA))
    with pytest.raises(UserError, match="gives no batch of rows"):
        train(Stream([]), max_steps=2)
    with pytest.raises(UserError, match="no batch of rows a second time"):
        train(iter(DATA), max_steps=4)
    with pytest.raises(UserError, match="there is no tokenizer"):
        train(Stream([{"instruction": "a", "output": "b"}]), max_steps=1)
    with pytest.raises(ValueError, match="max_steps has to be specified"):
        train(Stream(DATA), "lisa")


@dataclasses.dataclass
class TrlLike(TrainingArguments):
    """What TRL's SFTConfig has beyond transformers', with its defaults; TRL is not needed."""

    model_init_kwargs: dict | None = None
    chat_template_path: str | None = None
    dataset_text_field: str = "text"
    dataset_kwargs: dict | None = None
    dataset_num_proc: int | None = None
    eos_token: str | None = None
    max_length: int | None = 1024
    truncation_mode: str = "keep_start"
    shuffle_dataset: bool = False
    packing: bool = False
    packing_strategy: str = "bfd"
    padding_free: bool = False
    pad_to_multiple_of: int | None = None
    eval_packing: bool | None = None
    completion_only_loss: bool | None = None
    assistant_only_loss: bool = False
    loss_type: str | None = None
    activation_offloading: bool = False


def of_trl(folder, method="sft", **settings):
    trainer_class, _, extra, _ = METHODS[method]
    model = lora(tiny_model("llama", layers=8 if method == "t_vaccine" else 2))
    args = TrlLike(str(folder), use_cpu=True, report_to=[], **settings)
    return trainer_class(model, args, collator(), DATA, **extra)


@pytest.mark.parametrize("method", METHODS)
def test_what_trl_would_do_and_holdfast_would_not_is_refused(tmp_path, method):
    for name, value in {
        "packing": True,
        "eval_packing": True,
        "eos_token": "<|im_end|>",
        "chat_template_path": "template.jinja",
        "truncation_mode": "keep_end",
        "completion_only_loss": False,
        "loss_type": "dft",
        "shuffle_dataset": True,
        "dataset_text_field": "story",
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "max_length": None,
    }.items():
        with pytest.raises(UserError, match=rf"args \(TrlLike\) has {name}=") as told:
            of_trl(tmp_path, method, **{name: value})
        assert str(told.value).count(". ") == 0


def test_what_of_trl_changes_nothing_or_is_done_here_is_taken(tmp_path):
    for given in (
        {},
        {"max_length": 77},
        {"completion_only_loss": True, "assistant_only_loss": True, "loss_type": "nll"},
        {"padding_free": True, "dataset_num_proc": 4, "pad_to_multiple_of": 8},
        {"packing_strategy": "wrapped", "activation_offloading": True, "model_init_kwargs": {}},
    ):
        trainer = of_trl(tmp_path, **given)
        assert trainer.args.max_length == given.get("max_length", 1024)


def test_settings_of_a_callers_own_are_left_alone(tmp_path):
    @dataclasses.dataclass
    class Theirs(TrainingArguments):
        my_loss: str = "plain"

    args = Theirs(str(tmp_path), use_cpu=True, report_to=[], my_loss="other")
    trainer = SFTTrainer(lora(tiny_model("llama")), args, collator(), DATA)
    assert trainer.args.my_loss == "other"
