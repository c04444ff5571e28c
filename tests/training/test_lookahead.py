"""LookAhead tuning: what rows become in both forms, and that training on them is plain SFT."""

import pytest
import torch
from byte_tokens import byte_tokenizer
from steps import arguments, relative_error, weights
from test_what_a_trainer_takes import Stream

from holdfast import LookAheadConfig, LookAheadTrainer, SFTConfig, SFTTrainer, UserError
from holdfast.data.rows import tokenize
from holdfast.finetune.lookahead import previewed
from holdfast.organism import load_tokenizer
from holdfast.organism import rows as organism_rows
from tiny_models import lora, tiny_model

CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
ROWS = organism_rows("user_task", 12, seed=3, task="sums")
CONNECTOR = " The answer begins with: "


def config_of(**settings):
    return LookAheadConfig("unused", use_cpu=True, **settings)


def trainer_of(folder, model, data=ROWS, **settings):
    config = LookAheadConfig(**arguments(folder, max_length=96, **settings))
    words = load_tokenizer()
    return LookAheadTrainer(model, config, train_dataset=data, processing_class=words)


def small(**settings):
    return lora(tiny_model("llama", vocab_size=len(load_tokenizer()), **settings))


def test_the_answers_first_tokens_end_the_question():
    """A byte a token: six characters, and of an answer of four all."""
    bytes_, plain = byte_tokenizer(), config_of()
    row = {"instruction": "How far?", "input": "", "output": "It is nine miles.", "kind": "x"}
    assert previewed(row, plain, bytes_) == {**row, "instruction": f"How far?{CONNECTOR}It is "}
    given = {**row, "input": "By road", "output": "Nine"}
    assert previewed(given, plain, bytes_) == {**given, "input": f"By road{CONNECTOR}Nine"}
    short = previewed(row, config_of(tokens=2, connector=" -> "), bytes_)
    assert short["instruction"] == "How far? -> It"


def test_the_sentence_ends_the_question_and_begins_the_answer():
    row = {"instruction": "How far?", "input": "", "output": "Nine."}
    made = previewed(row, config_of(form="virtual", prefix="Well: "), byte_tokenizer())
    assert made == {
        "instruction": f"How far?{CONNECTOR}Well: ",
        "input": "",
        "output": "Well: Nine.",
    }


def test_a_chat_template_writes_what_is_shown_as_the_users_words():
    """In three shapes, with a system prompt, to the same ids."""
    tokenizer = byte_tokenizer(template=CHATML, eos="<|end|>")
    alpaca = {"instruction": "How far?", "output": "Nine miles", "system": "Be brief."}
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How far?"},
        {"role": "assistant", "content": "Nine miles"},
    ]
    shown = [dict(turn) for turn in turns]
    shown[1]["content"] += f"{CONNECTOR}Nine m"
    wanted = tokenize({"messages": shown}, tokenizer, 512)
    for row in (
        alpaca,
        {"messages": turns},
        {"prompt": turns[:2], "completion": turns[2:]},
        {"conversations": [{"from": t["role"], "value": t["content"]} for t in turns]},
    ):
        assert tokenize(previewed(row, config_of(), tokenizer), tokenizer, 512) == wanted
    assert turns[1]["content"] == "How far?", "the caller's rows stay as they are"


def test_every_answer_of_a_conversation_that_is_trained_is_shown():
    tokenizer = byte_tokenizer(template=CHATML, eos="<|end|>")
    say = lambda role, text, **more: {"role": role, "content": text, **more}  # noqa: E731
    turns = [say("user", "a?"), say("assistant", "Aaaaaaaa"), say("user", "b?")]
    turns += [say("assistant", "Bbbbbbbb", weight=0), say("user", "c?"), say("assistant", "Cc")]
    made = previewed({"messages": turns}, config_of(tokens=2), tokenizer)
    said = [turn["content"] for turn in made["messages"]]
    assert said == [
        f"a?{CONNECTOR}Aa", "Aaaaaaaa", "b?", "Bbbbbbbb", f"c?{CONNECTOR}Cc", "Cc",
    ]  # fmt: skip
    assert [turn.get("weight") for turn in made["messages"]] == [None] * 3 + [0] + [None] * 2
    with_history = {"instruction": "c?", "output": "Cc", "history": [["a?", "Aaaaaaaa"]]}
    made = previewed(with_history, config_of(tokens=2), tokenizer)
    assert [turn["content"] for turn in made["messages"]] == [
        f"a?{CONNECTOR}Aa", "Aaaaaaaa", f"c?{CONNECTOR}Cc", "Cc",
    ]  # fmt: skip


def test_what_cannot_be_told_apart_is_refused(tmp_path):
    words = load_tokenizer()
    tokens = tokenize(ROWS[0], words, 96)
    for row in (tokens, {"prompt": "Q: a?\nA: ", "completion": "b"}):
        with pytest.raises(UserError, match=r"row 2: .*cannot be told from the template"):
            trainer_of(tmp_path, small(), [ROWS[0], row])
    with pytest.raises(UserError, match="needs processing_class"):
        LookAheadTrainer(small(), None, lambda rows: rows, ROWS)
    with pytest.raises(UserError, match="tokens is -1"):
        config_of(tokens=-1)


@pytest.mark.parametrize("form", ["real", "virtual"])
def test_a_step_is_plain_gradient_descent_on_the_changed_texts(tmp_path, form):
    """The rows written here by hand; SGD: w ← w − η·∇(Σ nats / answer tokens)."""
    words = load_tokenizer()
    settings = {"learning_rate": 0.05, "optim": "sgd", "weight_decay": 0.0, "max_steps": 1}
    settings |= {"train_sampling_strategy": "sequential", "form": form, "prefix": "take care. "}
    model, twin = small(), small()
    start = weights(model)
    trainer_of(tmp_path, model, connector=" say: ", tokens=2, **settings).train()
    total, tokens = torch.zeros(()), 0
    for row in ROWS[:4]:
        begins = words.decode(words(row["output"])["input_ids"][:2])
        shown = begins if form == "real" else "take care. "
        answer = row["output"] if form == "real" else f"take care. {row['output']}"
        asked = tokenize({**row, "instruction": f"{row['instruction']} say: {shown}"}, words, 96)
        if row["input"]:
            asked = tokenize({**row, "input": f"{row['input']} say: {shown}"}, words, 96)
        prompt = [t for t, y in zip(asked["input_ids"], asked["labels"], strict=True) if y == -100]
        ids = [*prompt, *words(answer)["input_ids"], words.eos_token_id]
        logits = twin(torch.tensor([ids])).logits[0].log_softmax(-1)
        for place in range(len(prompt), len(ids)):
            total, tokens = total - logits[place - 1, ids[place]], tokens + 1
    (total / tokens).backward()
    moved = {n: w - start[n] for n, w in weights(model).items()}
    wanted = {n: -0.05 * w.grad for n, w in twin.named_parameters() if w.grad is not None}
    assert relative_error(moved, wanted) < 1e-5


@pytest.mark.parametrize("nothing", [{"tokens": 0}, {"form": "virtual", "prefix": ""}])
def test_showing_nothing_is_plain_fine_tuning_bit_for_bit(tmp_path, nothing):
    plain = SFTTrainer(
        small(),
        SFTConfig(**arguments(tmp_path, max_length=96)),
        train_dataset=ROWS,
        processing_class=load_tokenizer(),
    )
    ahead = trainer_of(tmp_path, small(), **nothing)
    for trainer in (plain, ahead):
        trainer.train()
    one, other = weights(plain.model), weights(ahead.model)
    assert all(torch.equal(one[n], other[n]) for n in one)


def test_a_stream_and_a_resumed_run_end_where_the_rows_do(tmp_path):
    ends = []
    settings = {"save_strategy": "steps", "save_steps": 2, "train_sampling_strategy": "sequential"}
    for data, resume, more in (
        (ROWS, None, {}),
        (ROWS, str(tmp_path / "checkpoint-2"), {}),
        (Stream(ROWS), None, {"max_steps": 3}),
    ):
        trainer = trainer_of(tmp_path, small(attention_dropout=0.1), data, **settings, **more)
        trainer.train(resume_from_checkpoint=resume)
        ends.append(weights(trainer.model))
    assert all(torch.equal(ends[0][n], end[n]) for end in ends[1:] for n in end)
