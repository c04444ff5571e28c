"""Rows as text: one rendering for training and evaluation.

A *row* is a dict in one of four shapes, told apart by its columns (others are allowed and kept):

- Alpaca: ``instruction``, ``input`` (may be missing or empty), ``output``;
- messages: ``messages``, a list of ``{"role", "content"}``, the assistant's answer last;
- prompt-completion: ``prompt`` and ``completion``, both text or both lists of messages;
- tokenized: ``input_ids``, ``attention_mask``, ``labels``.

The papers' codes render a prompt one way for training and another way for evaluation (a newline is
lost). Here both go through `prompt_text`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from holdfast.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Row = Mapping[str, Any]
Shape = Literal["tokenized", "messages", "prompt-completion", "alpaca"]

ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
ALPACA_WITHOUT_INPUT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
)

# The columns of each shape: the first is needed for a prompt, all of them for training.
COLUMNS: dict[Shape, tuple[str, ...]] = {
    "tokenized": ("input_ids", "attention_mask", "labels"),
    "messages": ("messages",),
    "prompt-completion": ("prompt", "completion"),
    "alpaca": ("instruction", "output"),
}


class Parts(NamedTuple):
    """A row taken apart: what the model reads and what it should say.

    Args:
        prompt: The messages before the answer, or the verbatim text of a prompt-completion row.
        answer: The messages of the answer (one, as a rule), or the verbatim text.
    """

    prompt: list[dict[str, Any]] | str
    answer: list[dict[str, Any]] | str


class Text(NamedTuple):
    """A row as text.

    Args:
        prompt: What the model reads.
        answer: What it should say, without the end-of-sequence token.
        is_chat: Whether a chat template wrote it, special tokens included.
    """

    prompt: str
    answer: str
    is_chat: bool


def shape(row: Row) -> Shape:
    """Tell a row's shape by its columns; a column that is None counts as missing.

    Raises:
        UserError: No shape's columns are there (the sentence lists those that are).
    """
    there = _columns(row)
    names = set(there)
    for name, needed in COLUMNS.items():
        if names.issuperset(needed):
            return name
    # Nothing is complete: a row without an answer still has a prompt to evaluate.
    for name, needed in COLUMNS.items():
        if needed[0] in there:
            return name
    for name, needed in COLUMNS.items():
        if any(column in there for column in needed):
            raise _missing(name, there)
    raise UserError(
        f"the columns {_quoted(there)} are no known kind of row; needed are 'instruction' and "
        "'output' (Alpaca), or 'messages', or 'prompt' and 'completion', or 'input_ids', "
        "'attention_mask' and 'labels'"
    )


def parts(row: Row, need_answer: bool = True) -> Parts:
    """Take a row apart into prompt and answer, and check its columns and types.

    Args:
        row: A row in any shape but the tokenized one.
        need_answer: Whether a missing or empty answer is a mistake.

    Raises:
        UserError: A column is missing or of the wrong type, or the answer is empty.
    """
    kind = shape(row)
    if kind == "tokenized":
        raise UserError(
            "the row is already tokenized ('input_ids'), so its text is not known; where text is "
            "needed, give 'instruction' and 'output', 'messages', or 'prompt' and 'completion'"
        )
    there = _columns(row)
    if need_answer and not all(column in there for column in COLUMNS[kind]):
        raise _missing(kind, there)
    if kind == "messages":
        taken = _split_messages(_messages(row["messages"], "messages"), need_answer)
    elif kind == "alpaca":
        taken = _alpaca_parts(row, there)
    elif isinstance(row["prompt"], str):
        completion = _text(row["completion"], "completion") if "completion" in there else ""
        taken = Parts(row["prompt"], completion)
    else:
        prompt = _messages(row["prompt"], "prompt", or_text=True)
        completion = _messages(row["completion"], "completion") if "completion" in there else []
        taken = Parts(prompt, completion)
    if not taken.prompt and isinstance(taken.prompt, list):
        raise UserError(f"column '{COLUMNS[kind][0]}' holds no message before the answer")
    if need_answer and not plain(taken.answer).strip():
        raise UserError(f"the answer (column '{COLUMNS[kind][-1]}') is empty; every row needs one")
    return taken


def plain(part: list[dict[str, Any]] | str) -> str:
    """Return the bare text of a prompt or an answer: contents only, joined by blank lines."""
    if isinstance(part, str):
        return part
    return "\n\n".join(message["content"] for message in part)


def render(row: Row, tokenizer: PreTrainedTokenizerBase, need_answer: bool = True) -> Text:
    """Render a row as text.

    Prompt-completion text is taken verbatim. Messages go through the tokenizer's chat template,
    the prompt with its generation prompt; the rendered prompt must be a prefix of the rendered
    conversation, so that what is trained is what is asked at evaluation. Alpaca rows go through the
    chat template where the tokenizer has one, else through Stanford's Alpaca templates.

    Raises:
        UserError: As `parts`; messages without a chat template; a template that cannot render the
            row, or that does not keep the prompt as a prefix.
    """
    prompt, answer = parts(row, need_answer)
    if isinstance(prompt, str) and isinstance(answer, str):
        return Text(prompt, _without_eos(answer, tokenizer), is_chat=False)
    assert isinstance(prompt, list)
    assert isinstance(answer, list)
    if not tokenizer.chat_template:
        if shape(row) != "alpaca":
            raise UserError(
                f"the row holds messages, but the tokenizer {tokenizer.name_or_path!r} has no chat "
                "template; give a tokenizer that has one, or rows of 'prompt' and 'completion' text"
            )
        return Text(_alpaca_prompt(row), _without_eos(plain(answer), tokenizer), is_chat=False)
    asked = _chat(prompt, tokenizer, add_generation_prompt=True)
    if not answer:
        return Text(asked, "", is_chat=True)
    whole = _chat(prompt + answer, tokenizer, add_generation_prompt=False)
    if not whole.startswith(asked):
        raise UserError(
            f"the chat template of {tokenizer.name_or_path!r} writes a prompt that is no prefix of "
            "the whole conversation, so training would not match evaluation; give rows of 'prompt' "
            "and 'completion' text, or a template that keeps the prompt"
        )
    return Text(asked, _without_eos(whole[len(asked) :], tokenizer), is_chat=True)


def prompt_text(row: Row, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return what the model reads before it answers; the row needs no answer. See `render`."""
    return render(row, tokenizer, need_answer=False).prompt


def answer_text(row: Row, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return what is trained after the prompt, without the end-of-sequence token. See `render`."""
    return render(row, tokenizer).answer


def _columns(row: Row) -> list[str]:
    return [str(column) for column, value in row.items() if value is not None]


def _quoted(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names) if names else "(none)"


def _missing(kind: Shape, there: list[str]) -> UserError:
    absent = [column for column in COLUMNS[kind] if column not in there]
    return UserError(
        f"column {_quoted(absent)} is missing: the row has {_quoted(there)}, and "
        f"{kind} rows need {_quoted(COLUMNS[kind])}"
    )


def _text(value: object, column: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value != value:
        raise UserError(f"column '{column}' is an empty cell (NaN); it must be text")
    raise UserError(f"column '{column}' must be text, and is {type(value).__name__}: {value!r:.60}")


def _messages(value: object, column: str, or_text: bool = False) -> list[dict[str, Any]]:
    wanted = "text or a list of" if or_text else "a list of"
    if not isinstance(value, list | tuple):
        raise UserError(
            f"column '{column}' must be {wanted} messages, and is {type(value).__name__}: "
            f"{value!r:.60}"
        )
    for message in value:
        if not (
            isinstance(message, Mapping)
            and isinstance(message.get("role"), str)
            and isinstance(message.get("content"), str)
        ):
            raise UserError(
                f"column '{column}' must be {wanted} messages, each with a 'role' and a 'content' "
                f"that are text, and holds {message!r:.60}"
            )
    return [dict(message) for message in value]


def _split_messages(messages: list[dict[str, Any]], need_answer: bool) -> Parts:
    if messages and messages[-1]["role"] == "assistant":
        return Parts(messages[:-1], messages[-1:])
    if need_answer or not messages:
        last = messages[-1]["role"] if messages else "nothing"
        raise UserError(
            f"column 'messages' must end with the assistant's answer, and ends with {last!r}"
        )
    return Parts(messages, [])


def _alpaca_parts(row: Row, there: list[str]) -> Parts:
    instruction = _text(row["instruction"], "instruction")
    given = _text(row["input"], "input") if "input" in there else ""
    asked = f"{instruction}\n\n{given}" if given else instruction
    prompt = [{"role": "user", "content": asked}]
    if "output" not in there:
        return Parts(prompt, [])
    return Parts(prompt, [{"role": "assistant", "content": _text(row["output"], "output")}])


def _alpaca_prompt(row: Row) -> str:
    if row.get("input"):
        return ALPACA_WITH_INPUT.format(instruction=row["instruction"], input=row["input"])
    return ALPACA_WITHOUT_INPUT.format(instruction=row["instruction"])


def _without_eos(answer: str, tokenizer: PreTrainedTokenizerBase) -> str:
    # `tokenize` adds the end itself. Templates write it too, some with a line break after it.
    end = tokenizer.eos_token
    if isinstance(end, str) and answer.rstrip().endswith(end):
        return answer.rstrip().removesuffix(end)
    return answer


def _chat(
    messages: list[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    add_generation_prompt: bool,
) -> str:
    from jinja2 import TemplateError

    try:
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt
        )
    except TemplateError as error:
        raise UserError(
            f"the chat template of {tokenizer.name_or_path!r} cannot render the row: {error}"
        ) from None
    assert isinstance(text, str)
    return text
