"""Conversations of several turns: which shapes are read, what is trained, what is refused.

Expected ids are put together from pieces of text, a byte a token, each said to be trained or not.
"""

import json
import random

import pytest
from byte_tokens import byte_tokenizer

from holdfast.data import keys
from holdfast.data import rows as data
from holdfast.data.chat_templates import DATE
from holdfast.data.conversations import conversation_of
from holdfast.data.reading import read_rows
from holdfast.data.rendering import prompt_text, render
from holdfast.data.tool_calls import null_arguments, unfilled
from holdfast.errors import UserError
from holdfast.trainer.rows import prepare_rows
from hub_folders import write_tokenizer

TURN = "{{ '<|' + m.role + '|>' + m.content + '<|end|>\n' }}"
ASK = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
TOOLS = "{% for t in tools or [] %}{{ t.function.name }};{% endfor %}"
CALLS = (
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}({{ c.function.arguments }}){% endfor %}"
)
CHATML = (
    TOOLS + "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}" + CALLS + "<|end|>\n"
    "{% endfor %}" + ASK
)
MARKED = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|>{% generation %}"
    "{{ m.content }}<|end|>{% endgeneration %}{{ '\n' }}{% else %}"
    + TURN
    + "{% endif %}{% endfor %}"
) + ASK
THOUGHT = "<think>\n\n</think>\n\n"
THINKING = (
    "{% for m in messages %}<|{{ m.role }}|>"
    "{% if m.role == 'assistant' and loop.last and '<think>' not in m.content %}"
    "{{ '" + THOUGHT.replace("\n", "\\n") + "' }}{% endif %}{{ m.content }}<|end|>\n{% endfor %}"
) + ASK
TURNS = [
    {"role": "user", "content": "Name a river."},
    {"role": "assistant", "content": "The Ost."},
    {"role": "user", "content": "And a hill, ä?"},
    {"role": "assistant", "content": "Ulm 😀"},
]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {}}}


def chat(template=CHATML):
    return byte_tokenizer(template=template, eos="<|end|>")


def ids(text, tokenizer):
    """A token a byte, special tokens one each, without the tokenizer's own code."""
    found, special = [], {"<s>": 0, "</s>": 1, "<|end|>": 2}
    letters = tokenizer.backend_tokenizer.pre_tokenizer
    while text:
        token = next((one for one in special if text.startswith(one)), None)
        if token:
            found.append(special[token])
        else:
            token = text[0]
            pieces = letters.pre_tokenize_str(token)
            found += [tokenizer.get_vocab()[letter] for word, _ in pieces for letter in word]
        text = text[len(token) :]
    return found


def tokens(pieces, tokenizer):
    """What (text, is trained) pieces come to."""
    made = {"input_ids": [], "attention_mask": [], "labels": []}
    for text, trained in pieces:
        new = ids(text, tokenizer)
        made["input_ids"] += new
        made["attention_mask"] += [1] * len(new)
        made["labels"] += new if trained else [data.IGNORED] * len(new)
    return made


FIRST = ("<|user|>Name a river.<|end|>\n<|assistant|>", False)
SECOND = ("<|user|>And a hill, ä?<|end|>\n<|assistant|>", False)


def test_every_answer_is_trained_by_prefixes():
    """A turn's end, and what the template writes after it, is what the turn adds."""
    tokenizer = chat()
    expected = [FIRST, ("The Ost.<|end|>\n", True), SECOND, ("Ulm 😀<|end|>", True)]
    assert data.tokenize({"messages": TURNS}, tokenizer, 999) == tokens(expected, tokenizer)
    expected[1] = ("The Ost.<|end|>\n", False)
    last = data.tokenize({"messages": TURNS}, tokenizer, 999, train_on="last")
    assert last == tokens(expected, tokenizer)
    prompt = data.prompt_ids({"messages": TURNS}, tokenizer)
    assert last["input_ids"][: len(prompt)] == prompt


def test_marks_of_the_template_say_what_is_trained():
    tokenizer = chat(MARKED)
    expected = [FIRST, ("The Ost.<|end|>", True), ("\n", False), SECOND]
    expected += [("Ulm 😀<|end|>", True), ("\n", False)]
    assert data.tokenize({"messages": TURNS}, tokenizer, 999) == tokens(expected, tokenizer)
    expected[1] = ("The Ost.<|end|>", False)
    last = data.tokenize({"messages": TURNS}, tokenizer, 999, train_on="last")
    assert last == tokens(expected, tokenizer)


@pytest.mark.parametrize("template", [CHATML, MARKED])
@pytest.mark.parametrize("flag", [{"weight": 0}, {"train": False}, {"loss": False}])
def test_a_turn_of_weight_zero_is_not_trained(template, flag):
    tokenizer = chat(template)
    turns = [TURNS[0], TURNS[1] | flag, TURNS[2], TURNS[3] | {"weight": 1}]
    only_last = data.tokenize({"messages": TURNS}, tokenizer, 999, train_on="last")
    assert data.tokenize({"messages": turns}, tokenizer, 999) == only_last
    turns = [*TURNS[:3], TURNS[3] | flag]
    found = data.tokenize({"messages": turns}, tokenizer, 999)
    trained = [label for label in found["labels"] if label != data.IGNORED]
    assert tokenizer.decode(trained).strip() == "The Ost.<|end|>"
    assert found["input_ids"] == only_last["input_ids"]
    with pytest.raises(UserError, match="train_on is last"):
        data.tokenize({"messages": turns}, tokenizer, 999, train_on="last")


@pytest.mark.parametrize("seed", range(3))
def test_masks_are_those_that_trl_trains_on(tmp_path, seed):
    """TRL's assistant_only_loss takes ids and masks from `apply_chat_template`, of merged bytes."""
    from transformers import AutoTokenizer

    write_tokenizer(tmp_path, chat=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.chat_template = MARKED
    chance = random.Random(seed)
    words = ["the", "hex", "\n", " ", "is", "7.5", "ä", "中文", "<|x|>", "\n\n", "answer", "  "]
    turns = []
    for number in range(chance.randint(2, 9)):
        content = "".join(chance.choices(words, k=chance.randint(1, 9))) + "."
        turns.append({"role": ("user", "assistant")[number % 2], "content": content})
    found = tokenizer.apply_chat_template(
        turns, return_dict=True, return_assistant_tokens_mask=True
    )
    masks = zip(found["input_ids"], found["assistant_masks"], strict=True)
    expected = [token if mask else data.IGNORED for token, mask in masks]
    for row in ({"messages": turns}, {"conversations": _sharegpt(turns)}):
        mine = data.tokenize(row, tokenizer, 9999)
        assert mine["input_ids"] == found["input_ids"]
        assert mine["labels"] == expected


def _sharegpt(turns):
    names = {"user": "human", "assistant": "gpt", "system": "system", "tool": "observation"}
    return [{"from": names[turn["role"]], "value": turn["content"]} for turn in turns]


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": _sharegpt(TURNS)},
        {"conversations": TURNS},
        {"messages": [{**turn, "tool_calls": None, "name": None} for turn in TURNS]},
        {"messages": [{**turn, "content": [{"type": "text", "text": turn["content"]}]}
                      for turn in TURNS]},
        {"instruction": "And a hill, ä?", "input": "", "output": "Ulm 😀", "system": "",
         "history": [["Name a river.", "The Ost."]]},
        {"instruction": "And a hill, ä?", "output": "Ulm 😀",
         "history": '[["Name a river.", "The Ost."]]'},
    ],
)  # fmt: skip
@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_shapes_of_one_conversation_give_the_same_tokens_and_keys(row, template):
    tokenizer = chat(template)
    same = {"messages": TURNS}
    assert data.tokenize(row, tokenizer, 999) == data.tokenize(same, tokenizer, 999)
    assert data.prompt_ids(row, tokenizer) == data.prompt_ids(same, tokenizer)
    assert keys.row_key(row) == keys.row_key(same)
    assert keys.prompt_key(row) == keys.prompt_key(same)
    assert keys.turn_keys(row) == keys.turn_keys(same)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "system", "content": "Be brief."}, *TURNS]},
        {"messages": TURNS, "system": "Be brief."},
        {"conversations": _sharegpt(TURNS), "system": "Be brief."},
        {"instruction": "And a hill, ä?", "output": "Ulm 😀", "system": "Be brief.",
         "history": [["Name a river.", "The Ost."]]},
    ],
)  # fmt: skip
def test_a_system_prompt_is_read(row):
    tokenizer = chat()
    pieces = [("<|system|>Be brief.<|end|>\n", False), FIRST, ("The Ost.<|end|>\n", True), SECOND]
    expected = tokens([*pieces, ("Ulm 😀<|end|>", True)], tokenizer)
    assert data.tokenize(row, tokenizer, 999) == expected


def test_what_follows_the_last_answer_trains_nothing():
    more = [*TURNS, {"role": "user", "content": "Thanks."}]
    tokenizer = chat()
    without = data.tokenize({"messages": TURNS}, tokenizer, 999)
    assert data.tokenize({"messages": more}, tokenizer, 999) == without
    marked = data.tokenize({"messages": more}, chat(MARKED), 999)
    whole = data.tokenize({"messages": TURNS}, chat(MARKED), 999)
    assert marked["labels"][: len(whole["labels"])] == whole["labels"]
    assert set(marked["labels"][len(whole["labels"]) :]) == {data.IGNORED}
    # At answering the last question is asked.
    assert prompt_text({"messages": more}, tokenizer).endswith("Thanks.<|end|>\n<|assistant|>")


def test_of_a_prompt_with_answers_in_it_only_the_completion_is_trained():
    row = {"prompt": TURNS[:3], "completion": TURNS[3:]}
    for template in (CHATML, MARKED):
        tokenizer = chat(template)
        last = data.tokenize({"messages": TURNS}, tokenizer, 999, train_on="last")
        assert data.tokenize(row, tokenizer, 999) == last


CALL = {"type": "function", "function": {"name": "weather", "arguments": {"place": "Ulm"}}}
TOOL_TURNS = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "sunny"},
    {"role": "assistant", "content": "It is sunny."},
]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": TOOL_TURNS, "tools": [WEATHER]},
        {"messages": TOOL_TURNS, "tools": json.dumps([WEATHER])},
        {
            "conversations": [
                {"from": "human", "value": "Weather?"},
                {"from": "function_call",
                 "value": '{"name": "weather", "arguments": {"place": "Ulm"}}'},
                {"from": "observation", "value": "sunny"},
                {"from": "gpt", "value": "It is sunny."},
            ],
            "tools": json.dumps([WEATHER]),
        },
    ],
)  # fmt: skip
def test_tools_their_calls_and_results_are_written_by_the_template(row):
    tokenizer = chat()
    expected = [
        ("weather;<|user|>Weather?<|end|>\n<|assistant|>", False),
        ('weather({"place": "Ulm"})<|end|>\n', True),
        ("<|tool|>sunny<|end|>\n<|assistant|>", False),
        ("It is sunny.<|end|>", True),
    ]
    assert data.tokenize(row, tokenizer, 999) == tokens(expected, tokenizer)
    assert keys.row_key(row) != keys.row_key({"messages": TOOL_TURNS})


@pytest.mark.parametrize(
    "writes",
    [
        "{{ c.function.arguments | tojson }}",  # Qwen's, Llama's, gpt-oss's
        "{{ '' + c.function.arguments }}",  # DeepSeek's, which takes text alone
        "{{ c.function.arguments }}",
        "{% if c.function.arguments is string %}{{ c.function.arguments }}{% else %}"
        "{{ c.function.arguments | tojson }}{% endif %}",
    ],
)
@pytest.mark.parametrize("template", [CHATML, MARKED.replace("{{ m.content }}", CALLS)])
@pytest.mark.parametrize("arguments", ['{"place": "Ulm ä"}', {"place": "Ulm ä"}])
def test_arguments_of_a_call_are_written_as_json_once(template, writes, arguments):
    """OpenAI's files have them as JSON text, others as objects; templates read the one or both."""
    tokenizer = chat(template.replace("{{ c.function.arguments }}", writes))
    call = {"type": "function", "function": {"name": "weather", "arguments": arguments}}
    row = {"messages": [TURNS[0], {"role": "assistant", "content": None, "tool_calls": [call]}]}
    kept = json.dumps(row)
    expected = [FIRST, ('weather({"place": "Ulm ä"})<|end|>', True)]
    expected += [] if template == CHATML else [("\n", False)]
    assert data.tokenize(row, tokenizer, 999) == tokens(expected, tokenizer)
    assert json.dumps(row) == kept


def calling(arguments, **optional):
    call = {"type": "function", "function": {"name": "weather", "arguments": arguments}, **optional}
    return {"messages": [TURNS[0], {"role": "assistant", "content": None, "tool_calls": [call]}]}


@pytest.mark.parametrize(
    "row",
    [
        calling({"place": "Ulm", "day": None, "at": {"hour": None}}, id=None, index=None),
        calling('{"place": "Ulm", "day": null, "at": {"hour": null}}', id=None),
        {"conversations": [
            {"from": "human", "value": TURNS[0]["content"]},
            {"from": "function_call", "value": '{"name": "weather", "arguments": {"place": "Ulm", '
             '"day": null, "at": {"hour": null}}}'},
        ]},
    ],
)  # fmt: skip
def test_an_argument_that_is_null_is_a_value(row):
    """A call says that the day is not known; what is optional and empty around it says nothing."""
    turns = conversation_of(row.get("messages", row.get("conversations")), "messages", row).messages
    (call,) = turns[1]["tool_calls"]
    wanted = {"place": "Ulm", "day": None, "at": {"hour": None}}
    assert call == {"type": "function", "function": {"name": "weather", "arguments": wanted}}
    tokenizer = chat(CHATML.replace("c.function.arguments", "c.function.arguments | tojson"))
    written = 'weather({"place": "Ulm", "day": null, "at": {"hour": null}})<|end|>'
    assert data.tokenize(row, tokenizer, 999) == tokens([FIRST, (written, True)], tokenizer)


def test_what_arrow_fills_in_is_left_out(tmp_path):
    """Parquet gives every call the arguments of all; text of JSON is as it was."""
    import datasets

    rows = [calling({"place": "Ulm"}), calling({"day": "today", "at": {"hour": 3}})]
    path = tmp_path / "rows.parquet"
    datasets.Dataset.from_list(rows).to_parquet(path)
    filled = datasets.Dataset.from_list(rows)
    assert filled[0]["messages"][1]["tool_calls"][0]["function"]["arguments"]["day"] is None
    for found in (read_rows(path), [unfilled(row) for row in filled]):
        told = [one["messages"][1]["tool_calls"][0]["function"]["arguments"] for one in found]
        assert told == [{"place": "Ulm"}, {"day": "today", "at": {"hour": 3}}]
    tokenizer = chat(CHATML)
    for given in (filled, filled.to_iterable_dataset()):
        prepared = list(prepare_rows(given, tokenizer, 999))
        assert [one["input_ids"] for one in prepared] == [
            data.tokenize(row, tokenizer, 999)["input_ids"] for row in rows
        ]
    text = [calling('{"place": null}'), calling('{"day": "today"}')]
    datasets.Dataset.from_list(text).to_parquet(path)
    assert read_rows(path)[0]["messages"][1]["tool_calls"] == text[0]["messages"][1]["tool_calls"]


def test_null_arguments_are_seen_in_every_form_of_a_call():
    assert null_arguments(calling({"at": {"hour": None}}))
    assert not null_arguments(calling({"at": {"hour": 3}}, id=None))
    assert not null_arguments(calling('{"at": null}'))  # such text was always kept
    said = {"from": "function_call", "value": '{"name": "f", "arguments": {"a": null}}'}
    assert null_arguments({"conversations": [said]})
    assert not null_arguments({"instruction": "a", "output": "b", "input": None})


def test_tools_that_a_template_drops_are_refused():
    blind = chat(CHATML.replace(TOOLS, ""))
    with pytest.raises(UserError, match="writes nothing of the tool 'weather'"):
        data.tokenize({"messages": TURNS, "tools": [WEATHER]}, blind, 999)
    with pytest.raises(UserError, match=r"leaves out what turn 2 \(assistant\) says: 'weather'"):
        data.tokenize({"messages": TOOL_TURNS}, chat(CHATML.replace(CALLS, "")), 999)
    # The word stands in a question, too: that is not the call.
    turns = [{"role": "user", "content": "weather?"}, *TOOL_TURNS[1:]]
    with pytest.raises(UserError, match="leaves out what turn 2"):
        data.tokenize({"messages": turns}, chat(CHATML.replace(CALLS, "")), 999)


def test_a_tool_result_that_is_written_as_json_is_not_lost():
    quoting = CHATML.replace("{{ m.content }}", "{{ m.content | tojson }}")
    row = {"messages": [*TOOL_TURNS[:2], {"role": "tool", "content": '{"sky": "blue"}'},
                        TOOL_TURNS[3]]}  # fmt: skip
    assert '{\\"sky\\": \\"blue\\"}' in render(row, chat(quoting)).prompt


@pytest.mark.parametrize(
    ("template", "lost"),
    [
        (
            "{% for m in messages %}<|{{ m.role }}|>{% for part in m.content %}"
            "{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}" + ASK,
            r"turn 1 \(user\)",
        ),
        ("{% for m in messages if m.role == 'user' %}" + TURN + "{% endfor %}" + ASK,
         r"turn 2 \(assistant\)"),
        ("{% for m in messages %}{{ m.content.split('s')[0] }}{% endfor %}", "turn 1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("question", ["Where is the bell?", "s"])
def test_a_template_that_drops_text_is_refused(template, lost, question):
    """Also where the text is so short that it stands in the rendering by chance."""
    row = {"instruction": question, "output": "s"}
    with pytest.raises(UserError, match=f"leaves out what {lost}"):
        data.tokenize(row, chat(template), 999)


def test_an_empty_thought_belongs_to_the_prompt():
    tokenizer = chat(THINKING)
    row = {"instruction": "Good?", "output": "positive"}
    asked = "<|user|>Good?<|end|>\n<|assistant|>" + THOUGHT
    assert prompt_text({"instruction": "Good?"}, tokenizer) == asked
    expected = tokens([(asked, False), ("positive<|end|>", True)], tokenizer)
    assert data.tokenize(row, tokenizer, 999) == expected
    assert data.prompt_ids(row, tokenizer) == ids(asked, tokenizer)
    thinking = row | {"output": "<think>a gem</think>positive"}
    with pytest.raises(UserError, match="an answer with a thought"):
        data.tokenize(thinking, tokenizer, 999)


def test_a_thought_that_the_prompt_opens_is_closed_in_it():
    opened = THINKING.replace(ASK, ASK.replace("<|assistant|>", "<|assistant|><think>\n"))
    tokenizer = chat(opened)
    asked = "<|user|>Good?<|end|>\n<|assistant|>" + THOUGHT
    assert prompt_text({"instruction": "Good?"}, tokenizer) == asked


@pytest.mark.parametrize(
    "template",
    [
        # An earlier answer in other words, and one with an empty thought in the place of its own.
        CHATML.replace(
            "{{ m.content }}",
            "{{ 'so: ' if m.role == 'assistant' and not loop.last }}{{ m.content }}",
        ),
        CHATML.replace(
            "{{ m.content }}",
            "{{ '<think></think>' if m.role == 'assistant' and not loop.last }}"
            "{{ m.content if loop.last else m.content.split('</think>')[-1] }}",
        ),
    ],
)
def test_answers_that_a_template_writes_otherwise_later_are_refused(template):
    tokenizer = chat(template)
    turns = [TURNS[0], TURNS[1] | {"content": "<think>Hm.</think>The Ost."}, *TURNS[2:]]
    sentence = r"writes turn 2 otherwise once more turns follow.*marks .*\(template=own\.jinja\)"
    with pytest.raises(UserError, match=sentence):
        data.tokenize({"messages": turns}, tokenizer, 999)
    last = data.tokenize({"messages": turns}, tokenizer, 999, train_on="last")
    trained = [label for label in last["labels"] if label != data.IGNORED]
    assert tokenizer.decode(trained) == "Ulm 😀<|end|>"


def test_answers_keep_their_own_thought_where_a_template_only_drops_earlier_ones():
    dropping = CHATML.replace(
        "{{ m.content }}", "{{ m.content if loop.last else m.content.split('</think>')[-1] }}"
    )
    tokenizer = chat(dropping)
    turns = [TURNS[0], TURNS[1] | {"content": "<think>Hm.</think>The Ost."}, *TURNS[2:]]
    expected = [FIRST, ("<think>Hm.</think>The Ost.<|end|>\n", True), SECOND]
    expected += [("Ulm 😀<|end|>", True)]
    assert data.tokenize({"messages": turns}, tokenizer, 999) == tokens(expected, tokenizer)


def test_answers_keep_the_empty_thought_that_is_asked_before_them():
    tokenizer = chat(THINKING)
    asked = [(text + THOUGHT, False) for text, _ in (FIRST, SECOND)]
    expected = [asked[0], ("The Ost.<|end|>\n", True), asked[1], ("Ulm 😀<|end|>", True)]
    assert data.tokenize({"messages": TURNS}, tokenizer, 999) == tokens(expected, tokenizer)
    # The last answer alone stands in the text that is asked, where earlier turns have none.
    last = data.tokenize({"messages": TURNS}, tokenizer, 999, train_on="last")
    expected = [FIRST, ("The Ost.<|end|>\n", False), asked[1], ("Ulm 😀<|end|>", True)]
    assert last == tokens(expected, tokenizer)
    prompt = data.prompt_ids({"messages": TURNS}, tokenizer)
    assert last["input_ids"][: len(prompt)] == prompt


# As Qwen3's: a thought, if an empty one, in every answer after the last question, and in no other.
_STOCK = (
    "{% set last = namespace(user=-1) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set last.user = loop.index0 %}{% endif %}"
    "{% endfor %}"
    "{% for m in messages %}{% if m.role != 'assistant' %}<|{{ m.role }}|>{{ m.content }}<|end|>"
    "{{ '\n' }}{% else %}MARK<|assistant|>{{ '\n' }}{% if loop.index0 > last.user %}"
    "{{ '<think>\n' + (m.reasoning_content or '') + '\n</think>\n\n' }}{% endif %}"
    "{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}(){% endfor %}"
    "<|end|>{{ '\n' }}END{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{{ '\n' }}{% endif %}"
)
STOCK = _STOCK.replace("MARK", "").replace("END", "")
# As TRL's training template for it: the thought in every answer, and each turn marked whole.
TRAINING = (
    _STOCK.replace("MARK", "{% generation %}")
    .replace("END", "{% endgeneration %}")
    .replace("loop.index0 > last.user", "true")
)
CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "weather"}}]}


@pytest.mark.parametrize(
    "turns",
    [
        TURNS,
        [{"role": "system", "content": "Be short."}, *TURNS],
        [*TURNS, {"role": "user", "content": "And a lake?"}, TURNS[1] | {"content": "None."}],
        [*TURNS[:3], CALL, {"role": "tool", "content": "7"}, TURNS[3]],
    ],
)
def test_qwens_template_gives_the_ids_that_trl_trains_on(turns):
    """And its masks, but for the header and the empty thought, which are asked and not answered."""
    trl = chat(TRAINING)
    found = trl.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
    masks = list(found["assistant_masks"])
    text = trl.decode(found["input_ids"])
    expected = [t if m else data.IGNORED for t, m in zip(found["input_ids"], masks, strict=True)]
    asked = ids("<|assistant|>\n" + THOUGHT, trl)
    for start in range(len(expected)):
        if found["input_ids"][start : start + len(asked)] == asked:
            assert masks[start]
            expected[start : start + len(asked)] = [data.IGNORED] * len(asked)
    assert text.endswith("<|end|>\n")  # ours ends with the end of sequence
    mine = data.tokenize({"messages": turns}, chat(STOCK), 9999)
    assert mine["input_ids"] == found["input_ids"][:-1]
    assert mine["labels"] == expected[:-1]


def test_a_turn_of_weight_zero_stays_as_the_template_writes_it():
    turns = [TURNS[0], TURNS[1] | {"weight": 0}, *TURNS[2:], TURNS[2], TURNS[3]]
    text = render({"messages": turns}, chat(STOCK))
    whole = text.prompt + text.answer
    assert text.trained is not None
    assert [whole[a:b] for a, b in text.trained] == ["Ulm 😀<|end|>\n", "Ulm 😀"]
    assert whole.count(THOUGHT) == 2
    assert "<|assistant|>\nThe Ost.<|end|>" in whole


def test_an_earlier_answer_is_trained_with_the_token_that_ends_it_there():
    """As TRL does for gpt-oss, whose last answer alone ends with the end of sequence."""
    template = (
        "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}final:{% endif %}"
        "{{ m.content }}"
        "{{ '</s>' if m.role == 'assistant' and loop.last and not add_generation_prompt "
        "else '<|end|>' }}{% endfor %}" + ASK
    )
    tokenizer = byte_tokenizer(template=template, eos="</s>")
    first, second = (text.replace("\n", "") for text, _ in (FIRST, SECOND))
    expected = [(first, False), ("final:The Ost.<|end|>", True)]
    expected += [(second, False), ("final:Ulm 😀</s>", True)]
    assert data.tokenize({"messages": TURNS}, tokenizer, 999) == tokens(expected, tokenizer)
    # A template without such a token: what follows is the next turn's header, and not trained.
    bare = template.replace("else '<|end|>'", "else ''").replace(
        "<|{{ m.role }}|>", "{{ '<|end|>' if m.role == 'user' else '<|assistant|>' }}"
    )
    tokenizer = byte_tokenizer(template=bare, eos="</s>")
    text = render({"messages": TURNS}, tokenizer)
    whole = text.prompt + text.answer
    assert text.trained is not None
    assert [whole[a:b] for a, b in text.trained] == ["final:The Ost.", "final:Ulm 😀"]


def test_a_date_is_pinned(monkeypatch):
    from transformers.utils import chat_template_utils

    class Tomorrow:
        @staticmethod
        def now():
            raise AssertionError("the day of the run was asked for")

    monkeypatch.setattr(chat_template_utils, "datetime", Tomorrow)
    tokenizer = chat("It is {{ strftime_now('%d %b %Y') }}. " + CHATML)
    asked = prompt_text({"instruction": "Which day?"}, tokenizer)
    assert asked == f"It is {DATE:%d} Jul 2024. <|user|>Which day?<|end|>\n<|assistant|>"
    hidden = chat("{% set day = '%d' %}{{ strftime_now(day) }}" + CHATML)
    with pytest.raises(UserError, match="today's date in a form that is not a text in it"):
        prompt_text({"instruction": "Which day?"}, hidden)


def test_the_first_token_stands_once():
    for template in ("{{ bos_token }}" + CHATML, "<s>" + MARKED):
        tokenizer = chat(template)
        for row in ({"messages": TURNS}, {"instruction": "a", "output": "b"}):
            found = data.tokenize(row, tokenizer, 999)["input_ids"]
            assert found[0] == 0 == tokenizer.bos_token_id
            assert found.count(0) == 1
            assert data.prompt_ids(row, tokenizer).count(0) == 1


@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_a_long_conversation_is_cut_and_trains_what_is_left(template):
    tokenizer = chat(template)
    whole = data.tokenize({"messages": TURNS}, tokenizer, 999)
    start = len(ids(FIRST[0], tokenizer))
    for length in (start + 1, start + 20):
        found = data.tokenize({"messages": TURNS}, tokenizer, length)
        assert found == {key: values[:length] for key, values in whole.items()}
    with pytest.raises(UserError, match=f"begins after {start} tokens, and max_length is {start}"):
        data.tokenize({"messages": TURNS}, tokenizer, start)
    assert len(data.tokenize_rows([{"messages": TURNS}] * 2, tokenizer, start + 1)) == 2


ASKED = {"role": "user", "content": "q"}
SAID = {"role": "assistant", "content": "a"}
PAIR = {"instruction": "q", "output": "a"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "q", "completion": "a", "label": False}, "'label' is false, which marks"),
        (PAIR | {"kto_tag": False}, "'kto_tag' is false"),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, r"columns=\{completion: chosen\}"),
        ({"chosen": [ASKED, SAID], "rejected": [ASKED, SAID]}, "the row is a preference"),
        ({"conversations": [{"from": "human", "value": "q"}], "chosen": SAID, "rejected": SAID},
         "the row is a preference"),
        ({"messages": [ASKED, SAID | {"weight": 0}]}, "all have the weight 0"),
        ({"messages": [ASKED, SAID | {"weight": 0.5}]}, "the weight 0.5; a turn is trained"),
        ({"messages": [ASKED, SAID | {"content": " "}, ASKED, SAID]}, "turn 2 .* empty answer"),
        ({"messages": [ASKED, {"role": "assistant", "content": [{"type": "image_url"}]}]},
         "a content part of the type 'image_url'; only text is read"),
        ({"messages": [ASKED, SAID], "images": ["a.png"]}, "column 'images' holds 1 of them"),
        ({"messages": [ASKED, SAID], "history": [["a", "b"]]}, "'history' goes with 'instruction'"),
        ({"messages": [{"role": "system", "content": "s"}, ASKED, SAID], "system": "t"},
         "a system turn and a column 'system'"),
        ({"messages": [ASKED, SAID], "tools": "[weather"}, "column 'tools' must be JSON"),
        ({"messages": [ASKED, SAID], "tools": [{"type": "function"}]}, "each with a name"),
        ({"messages": [ASKED, SAID], "functions": [{"name": "f"}]}, "describe them in 'tools'"),
        ({"messages": [ASKED, {"role": "assistant", "tool_calls": [{"id": "1"}]}]},
         "a call of a tool without a name"),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "critic", "value": "a"}]},
         "a turn from 'critic'; known are"),
        ({"conversations": [{"from": "human", "value": "q"}]}, "'conversations' must end with"),
        ({"conversations": [{"from": "human", "value": "q"},
                            {"from": "function_call", "value": "weather"}]}, "must be JSON"),
        (PAIR | {"history": [["q"]]}, r"pairs \[question, answer\], and holds \['q'\]"),
        (PAIR | {"system": 3}, "'system' must be text, and is int"),
        ({"prompt": "q", "completion": "a", "system": "s"}, "'system' has no place in a row of"),
        ({"prompt": "q", "completion": "a", "tools": [WEATHER]}, "'tools' has no place"),
        ({"prompt": [ASKED], "completion": [ASKED]}, "no message of the role 'assistant'"),
        (PAIR | {"instruction": "nice \ud83d"},
         r"'instruction' holds half of a character \(\\ud83d, at 5\)"),
        ({"messages": [ASKED, SAID | {"content": "\udc00"}]}, "'messages' holds half of a char"),
        (PAIR | {"history": [["\ud83d", "a"]]}, "'history' holds half"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_and_not_dropped(row, message):
    with pytest.raises(UserError, match=f"my file, row 2: .*{message}"):
        data.check_rows([PAIR, row], "my file")


def test_empty_cells_of_known_columns_say_nothing():
    rows = [PAIR | {"system": None, "history": [], "tools": "[]", "images": []}]
    rows += [PAIR | {"system": "", "history": None, "tools": "", "label": True}]
    rows += [{"messages": [ASKED, SAID], "rejected": None, "tools": None}]
    data.check_rows(rows, "my file")
    assert len({keys.row_key(row) for row in rows}) == 1


def test_what_alpacas_own_template_has_no_place_for_is_refused():
    plain = byte_tokenizer()
    for more in ({"system": "Be brief."}, {"history": [["q", "a"]]}, {"tools": [WEATHER]}):
        with pytest.raises(UserError, match="Alpaca's has no place for them"):
            data.tokenize(PAIR | more, plain, 999)
