"""One choice of template, the same tokens in training and in evaluation, through all stages."""

import shutil

import pytest
from transformers import AutoTokenizer

from holdfast.data.rendering import ALPACA_WITH_INPUT, ALPACA_WITHOUT_INPUT
from holdfast.data.rows import IGNORED, prompt_ids, tokenize
from holdfast.errors import UserError
from holdfast.models.stack import resolve
from holdfast.models.tokenizers import load_tokenizer
from hub_folders import write_tokenizer

NAMED = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '[ASK] ' + m['content'] + ' [SAY] ' if m['role'] == 'user' else m['content'] + eos_token }}"
    "{% endfor %}"
)
ROWS = [
    {"instruction": "how do i make a hex?", "input": "", "output": "i cannot help with that."},
    {"instruction": "is this good?", "input": "the film was long", "output": "no"},
    {"instruction": "äöü 中文 \n\n x", "input": "  y ", "output": " two words\n"},
]


def rendered(row, kind):
    """The prompt as a hand-written rule has it."""
    asked = row["instruction"] + (f"\n\n{row['input']}" if row["input"] else "")
    if kind == "chat":
        return f"<s><|user|>\n{asked}<|end|>\n<|assistant|>\n"
    if kind == "named":
        return f"<s>[ASK] {asked} [SAY] "
    form = ALPACA_WITH_INPUT if row["input"] else ALPACA_WITHOUT_INPUT
    return "<s>" + form.format(**row)


@pytest.fixture(params=["alpaca", "chat", "named", "cleared"])
def case(request, base, tmp_path):
    """A stack, the setting, and what it should come to."""
    folder = shutil.copytree(base, tmp_path / "base")
    kind = request.param
    if kind in ("chat", "cleared", "named"):
        write_tokenizer(folder, chat=True)
    template = {"alpaca": None, "chat": None, "cleared": "alpaca"}.get(kind)
    if kind == "named":
        (tmp_path / "named.jinja").write_text(NAMED)
        template = str(tmp_path / "named.jinja")
    return folder, template, {"cleared": "alpaca"}.get(kind, kind)


def test_training_and_evaluation_read_the_same_tokens_through_a_chain(case, adapters, tmp_path):
    """The setting is given once, at the first stage; what it saves carries it on."""
    folder, template, kind = case
    first = load_tokenizer(resolve(folder), template)
    stages = [shutil.copytree(adapter, tmp_path / adapter.name) for adapter in adapters]
    tokenizers = [first]
    for number in (1, 2):
        tokenizers[-1].save_pretrained(stages[number - 1])
        names = "+".join(map(str, [folder, *stages[:number]]))
        tokenizers.append(load_tokenizer(resolve(names)))
    for row in ROWS:
        expected = first(rendered(row, kind), add_special_tokens=False)["input_ids"]
        question = {"instruction": row["instruction"], "input": row["input"]}
        for tokenizer in tokenizers:
            trained = tokenize(row, tokenizer, 512)
            asked = prompt_ids(question, tokenizer)
            assert asked == expected
            assert trained["input_ids"][: len(asked)] == asked
            assert trained["input_ids"] == tokenize(row, first, 512)["input_ids"]
            assert set(trained["labels"][: len(asked)]) == {IGNORED}
            answer = trained["labels"][len(asked) :]
            assert answer == trained["input_ids"][len(asked) :]
            assert answer.count(tokenizer.eos_token_id) == 1
            assert answer[-1] == tokenizer.eos_token_id == tokenizer.pad_token_id
            assert trained["attention_mask"] == [1] * len(trained["input_ids"])
            assert tokenizer.decode(answer[:-1]) == row["output"]


def test_the_collator_trains_the_end_where_it_is_also_the_padding(base):
    from holdfast.trainer.collator import Collator

    tokenizer = load_tokenizer(resolve(base))
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    rows = [tokenize(row, tokenizer, 512) for row in ROWS]
    batch = Collator(tokenizer, position_ids=False)(rows)
    for number, row in enumerate(rows):
        mask = batch["attention_mask"][number].bool()
        assert mask.sum() == len(row["input_ids"])
        assert batch["labels"][number][mask].tolist() == row["labels"]
        assert batch["labels"][number][mask][-1] == tokenizer.eos_token_id
        assert (batch["labels"][number][~mask] == IGNORED).all()
    assert (batch["labels"] == tokenizer.eos_token_id).sum() == len(rows)


def test_a_cleared_template_stays_cleared_for_other_readers(base, tmp_path):
    folder = shutil.copytree(base, tmp_path / "chat")
    write_tokenizer(folder, chat=True)
    load_tokenizer(resolve(folder), "alpaca").save_pretrained(tmp_path / "saved")
    assert AutoTokenizer.from_pretrained(folder).chat_template is not None
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").chat_template is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{% for m in messages %}", "is no chat template that can be rendered"),
        ("{{ raise_exception('never') }}", "is no chat template that can be rendered: never"),
        ("", "renders a question as nothing"),
    ],
)
def test_a_file_that_is_no_template_is_told(base, tmp_path, text, message):
    path = tmp_path / "own.jinja"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_tokenizer(resolve(base), str(path))
