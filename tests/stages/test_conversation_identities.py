"""What conversations and chat templates add to a stage's identity; nothing else is moved."""

import json
from datetime import date
from itertools import pairwise

import pytest
from transformers import AutoTokenizer

from holdfast.models import templates
from holdfast.stages import fingerprints
from holdfast.stages.making import make_stage
from hub_folders import CHAT_TEMPLATE, write_model
from tiny_models import tiny_model

TALK = {
    "messages": [
        {"role": ("user", "assistant")[number % 2], "content": text}
        for number, text in enumerate(["q", "a", "r", "b"])
    ]
}
PAIR = {"instruction": "q", "output": "a"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("chat") / "base", chat=True)


@pytest.fixture
def stage(base, tmp_path, monkeypatch):
    """Makes a fine-tuning of rows, with a chat template put into the base's folder."""
    monkeypatch.chdir(tmp_path)

    def make(rows, template=None, kind="finetune", **settings):
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if template:
            (tmp_path / "own.jinja").write_text(template)
            settings["template"] = "own.jinja"
        return make_stage(kind, {"model": str(base), "data": "rows.jsonl", **settings})

    return make


def test_which_answers_are_trained_counts_for_conversations_alone(stage):
    last = {"train_on": "last"}
    assert stage([PAIR]).identity == stage([PAIR], **last).identity
    one = {"messages": TALK["messages"][:2]}
    assert stage([one]).identity == stage([one], **last).identity
    assert stage([PAIR, TALK]).identity != stage([PAIR, TALK], **last).identity
    history = PAIR | {"history": [["a", "b"]]}
    assert stage([history]).identity != stage([history], **last).identity


def test_a_template_that_asks_for_the_last_turn_counts_where_several_answers_are_trained():
    asks = CHAT_TEMPLATE.replace("{% endfor %}", "{{ '' if loop.last }}{% endfor %}")
    sets = {"train": [TALK]}
    assert fingerprints._conversations(sets, "all", asks) != fingerprints._conversations(
        sets, "all", CHAT_TEMPLATE
    )
    for rows, train_on in (([PAIR], "all"), ([TALK], "last")):
        found = [
            fingerprints._conversations({"train": rows}, train_on, t) for t in (asks, CHAT_TEMPLATE)
        ]
        assert found[0] == found[1]


def test_a_template_s_date_stands_in_the_identity(stage, monkeypatch):
    dated = "{{ strftime_now('%Y') }}" + CHAT_TEMPLATE
    before = stage([PAIR], dated), stage([PAIR], CHAT_TEMPLATE)
    assert before[0].template == {"date": "2024-07-26"}
    assert before[1].template == {}
    monkeypatch.setattr(templates, "DATE", date(2025, 1, 1))
    after = stage([PAIR], dated), stage([PAIR], CHAT_TEMPLATE)
    assert after[0].identity != before[0].identity
    assert after[1].identity == before[1].identity


def test_a_template_is_read_where_the_tokenizer_has_it(base, stage, tmp_path):
    """In the model's own folder, whichever file it is in; a later stage inherits it."""
    dated = "{{ strftime_now('%Y') }}" + CHAT_TEMPLATE
    assert stage([PAIR]).template == {}
    (base / "chat_template.jinja").write_text(dated)
    first = stage([PAIR])
    assert first.template == {"date": "2024-07-26"}
    assert stage([PAIR], template=CHAT_TEMPLATE).template == {}
    assert make_stage("repair", {"method": "random_mask"}, first).template == first.template
    cleared = make_stage("finetune", {"template": "alpaca", "data": "rows.jsonl"}, first)
    assert cleared.template == {}
    assert make_stage("repair", {"method": "random_mask"}, cleared).template == {}
    (base / "chat_template.jinja").unlink()
    config = json.loads((base / "tokenizer_config.json").read_text())
    (base / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": dated}))
    assert stage([PAIR]).template == {"date": "2024-07-26"}
    (base / "tokenizer_config.json").write_text(json.dumps(config))
    (base / "chat_template.jinja").write_text(CHAT_TEMPLATE)


def test_the_trainer_trains_the_answers_that_its_settings_say(base, tmp_path):
    from holdfast.training import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(base)
    trained = []
    for train_on in ("all", "last"):
        args = SFTConfig(
            output_dir=str(tmp_path), train_on=train_on, use_cpu=True, report_to="none"
        )
        model = tiny_model("llama", vocab_size=1024, max_position_embeddings=1024)
        trainer = SFTTrainer(
            model, args, train_dataset=[TALK], processing_class=tokenizer, eval_dataset=[TALK]
        )
        assert trainer.train_dataset == trainer.eval_dataset
        labels = trainer.train_dataset[0]["labels"]
        batch = trainer.data_collator(trainer.train_dataset)
        assert batch["labels"].tolist() == [labels]
        trained.append(tokenizer.decode([label for label in labels if label != -100]))
    assert trained == ["a<|end|>\nb<|end|>", "b<|end|>"]
    assert all(len(one) > len(other) for one, other in pairwise(trained))
