"""A row as the text that a model reads: by the tokenizer's chat template, or Alpaca's.

How a chat template writes a row is in `holdfast.data.chat_templates`, and which of its text is
trained in `holdfast.data.trained`. The papers' codes render a prompt one way for training and
another way for evaluation (a newline is lost). Here both go through `render`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from holdfast.data.chat_templates import Span, TrainOn, asked_text, without_end
from holdfast.data.conversations import Conversation
from holdfast.data.prompts import Parts, Row, Shape, end_of, plain, read_text, shape
from holdfast.data.system_prompt import asked_with, begins_instructions, with_system
from holdfast.data.trained import trained_text
from holdfast.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
ALPACA_WITHOUT_INPUT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
)
_OPENING = ALPACA_WITHOUT_INPUT.split("{instruction}")[0]


class Text(NamedTuple):
    """A row as text.

    Args:
        prompt: What the model reads before its last answer.
        answer: What it should say then, without the end-of-sequence token.
        is_chat: Whether a chat template wrote it, special tokens included.
        trained: What is trained, as spans of characters in prompt + answer; None for all of the
            answer and nothing else.
        has_end: Whether the end-of-sequence token is still to follow, and is trained with the
            answer; else prompt and answer are all that a template that marks its answers wrote.
    """

    prompt: str
    answer: str
    is_chat: bool
    trained: tuple[Span, ...] | None = None
    has_end: bool = True


def render(
    row: Row,
    tokenizer: PreTrainedTokenizerBase,
    need_answer: bool = True,
    train_on: TrainOn = "all",
) -> Text:
    """Render a row as text.

    Prompt-completion text is taken verbatim. Messages go through the tokenizer's chat template,
    the prompt with its generation prompt; the rendered prompt must be a prefix of the rendered
    conversation, so that what is trained is what is asked at evaluation. Alpaca rows go through the
    chat template where the tokenizer has one, else through Stanford's Alpaca templates. A row
    without a system prompt gets the one that the tokenizer's prompts are asked with
    (`holdfast.data.system_prompt`); as a rule there is none.

    Args:
        row: The row.
        tokenizer: Its chat template is used.
        need_answer: Whether a row without an answer is a mistake; without need nothing is trained.
        train_on: Which of the assistant's turns are trained: all, or the last.

    Raises:
        UserError: As `parts`; messages without a chat template; a template that cannot render the
            row, that leaves out some of its text, or that does not keep the prompt as a prefix;
            a row of which nothing is trained.
    """
    row = with_system(row, asked_with(tokenizer))
    found = read_text(row, need_answer)
    if isinstance(found, Parts):
        assert isinstance(found.prompt, str)
        assert isinstance(found.answer, str)
        return Text(found.prompt, without_end(found.answer, tokenizer), is_chat=False)
    messages = found.messages
    kind = shape(row)
    if not tokenizer.chat_template:
        system = ""
        if messages[0]["role"] == "system" and begins_instructions(tokenizer, _OPENING):
            system = messages[0]["content"]
            row = {**row, "instruction": f"{system} {row['instruction']}"}
        _check_plain(kind, found, tokenizer, before=1 if system else 0)
        answer = plain(messages[found.asked :])
        return Text(_alpaca_prompt(row), without_end(answer, tokenizer), is_chat=False)
    asked = asked_text(messages[: found.asked], found.options, tokenizer)
    if not need_answer:
        return Text(asked, "", is_chat=True)
    one_answer = kind == "alpaca" and found.trained == (found.asked,)
    made = trained_text(asked, found, end_of(found), train_on, one_answer, tokenizer)
    return Text(made.prompt, made.answer, True, made.spans, made.has_end)


def prompt_text(row: Row, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return what the model reads before it answers; the row needs no answer. See `render`."""
    return render(row, tokenizer, need_answer=False).prompt


def answer_text(row: Row, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return what is trained after the prompt, without the end-of-sequence token. See `render`."""
    return render(row, tokenizer).answer


def _alpaca_prompt(row: Row) -> str:
    if row.get("input"):
        return ALPACA_WITH_INPUT.format(instruction=row["instruction"], input=row["input"])
    return ALPACA_WITHOUT_INPUT.format(instruction=row["instruction"])


def _check_plain(
    kind: Shape, found: Conversation, tokenizer: PreTrainedTokenizerBase, before: int = 0
) -> None:
    """Refuse what only a chat template can write; ``before`` turns have a place all the same."""
    name = tokenizer.name_or_path
    if kind != "alpaca":
        raise UserError(
            f"the row holds messages, but the tokenizer {name!r} has no chat "
            "template; give a tokenizer that has one, or rows of 'prompt' and 'completion' text"
        )
    if found.asked > 1 + before or found.options:
        raise UserError(
            f"the row has a system prompt, a history or tools, but the tokenizer {name!r} has no "
            "chat template, and Alpaca's has no place for them: give a template (template=own."
            "jinja), or leave those columns out"
        )
