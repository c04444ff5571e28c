"""Which text of a conversation is trained.

What the template marks by ``{% generation %}``, as TRL's ``assistant_only_loss`` has it; without
marks what an assistant's turn adds to the text before it: its answer and the turn's end, not the
header, which is part of every prompt.

Some templates write a turn otherwise once more turns follow:

- Qwen3 and its kin write a thought, if an empty one, before the last answer alone. Here each answer
  keeps what is written before it when it is the last, so that it is trained as it is asked; these
  are the ids of TRL's training template for Qwen3. (The last prompt then differs from the one that
  is asked, by the thoughts of earlier turns.)
- gpt-oss ends the last answer with another token. An earlier one is trained with the token that
  stands there, as by TRL's training template for it.

Whatever else changes is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from holdfast.data.chat_templates import (
    Span,
    TrainOn,
    asked_text,
    check_holds,
    has_marks,
    template_for,
    without_end,
    written,
)
from holdfast.data.conversations import Conversation, Message
from holdfast.data.tool_calls import readable
from holdfast.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from transformers import PreTrainedTokenizerBase

_THOUGHT = re.compile(
    r"\s*(?:<(?P<tag>think|thinking|thought|reasoning|seed:think)>.*?</(?P=tag)>"
    r"|\[THINK\].*?\[/THINK\])\s*",
    re.DOTALL,
)
_OPENED = re.compile(r"(?:<(?:think|thinking|thought|reasoning|seed:think)>|\[THINK\])\s*\Z")


class Trained(NamedTuple):
    """A conversation as training reads it.

    Args:
        prompt: The text before the last answer.
        answer: The text after it.
        spans: What is trained, in prompt + answer; None for all of the answer alone.
        has_end: Whether the end of sequence is still to follow.
    """

    prompt: str
    answer: str
    spans: tuple[Span, ...] | None
    has_end: bool


def trained_text(
    asked: str,
    row: Conversation,
    end: int,
    train_on: TrainOn,
    by_prefix: bool,
    tokenizer: PreTrainedTokenizerBase,
) -> Trained:
    """What is trained of a conversation.

    Args:
        asked: The prompt, as `asked_text` has it.
        row: The conversation.
        end: Before which of its turns it ends: what follows its last answer trains nothing.
        train_on: All answers that the row wants trained, or the last.
        by_prefix: Whether a template's marks are not looked at.
        tokenizer: Its template is used.

    Raises:
        UserError: As `asked_text`; the prompt is no prefix of the whole; an earlier turn is written
            otherwise once more follow; nothing is trained.
    """
    name = tokenizer.name_or_path
    chosen = [place for place in row.trained if train_on == "all" or place == end - 1]
    if not chosen:
        raise UserError("the row's last answer has the weight 0, and train_on is last")
    marks = has_marks(template_for(tokenizer, row.options)) and not by_prefix
    messages = row.messages if marks else row.messages[:end]
    whole = written(messages, row.options, tokenizer, asks=False)
    check_holds(whole, messages, row.options, tokenizer, answer=end - 1)
    if not whole.startswith(asked):
        raise UserError(
            f"the chat template of {name!r} writes a prompt that is no prefix of "
            "the whole conversation, so training would not match evaluation; give rows of 'prompt' "
            "and 'completion' text, or a template that keeps the prompt (an answer with a thought "
            "needs one that writes no empty thought where there is none)"
        )
    if marks:
        return Trained(asked, whole[len(asked) :], _marked(row, whole, chosen, tokenizer), False)
    if chosen == [row.asked] and end == row.asked + 1:
        return Trained(asked, without_end(whole[len(asked) :], tokenizer), None, True)
    return _by_turns(asked, row, whole, chosen, end, tokenizer)


def _by_turns(
    asked: str,
    row: Conversation,
    whole: str,
    chosen: Sequence[int],
    end: int,
    tokenizer: PreTrainedTokenizerBase,
) -> Trained:
    """Each chosen answer as it is written when it is the last, in the text around it."""
    text, spans, done, cut = "", [], 0, len(asked)
    stops = sorted({*chosen, row.asked, end - 1})
    for place, following in zip(stops, [*stops[1:], None], strict=True):
        header = written(row.messages[:place], row.options, tokenizer, asks=True)
        prompt = asked_text(row.messages[:place], row.options, tokenizer)
        text += header[done:] + prompt[len(header) :]
        start = len(text)
        if place == row.asked:
            cut = start
        if following is None:
            text += without_end(whole[len(prompt) :], tokenizer)
        else:
            after = written(row.messages[:following], row.options, tokenizer, asks=True)
            said, done = _answer(place, row, header, prompt, after, tokenizer)
            text += said
        if place in chosen:
            spans.append((start, len(text)))
    return Trained(text[:cut], text[cut:], tuple(spans), True)


def _answer(
    place: int,
    row: Conversation,
    header: str,
    prompt: str,
    after: str,
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[str, int]:
    """An earlier answer with its turn's end, and where that end is in the text of more turns.

    Args:
        place: Which turn it is.
        row: The conversation.
        header: What the template writes before it.
        prompt: The same, with the empty thought that follows.
        after: What it writes of more turns.
        tokenizer: Its template is used.
    """
    own = written(row.messages[: place + 1], row.options, tokenizer, asks=False)
    if own.startswith(prompt):
        said = own[len(prompt) :]
        for stands in (own, _without_thought(own, header)):
            if after.startswith(stands):
                return said, len(stands)
            # An end of sequence that it writes after a last turn alone.
            bare = without_end(stands, tokenizer)
            if bare != stands and after.startswith(bare):
                mark = _end_mark(after, len(bare), place, row, tokenizer)
                return without_end(said, tokenizer) + mark, len(bare + mark)
    raise UserError(
        f"the chat template of {tokenizer.name_or_path!r} writes turn {place + 1} otherwise once "
        "more turns follow, so that training on it would not match evaluation: set train_on=last, "
        "split the conversation, or give a template that marks the answers by {% generation %} "
        "(template=own.jinja)"
    )


def _without_thought(own: str, header: str) -> str:
    """The text up to an answer and with it, without the thought that the answer begins with."""
    opened = _OPENED.search(header)  # the header may open the thought, and then only there
    base = header[: opened.start()] if opened else header
    thought = _THOUGHT.match(own, len(base))
    return own[: len(base)] + own[thought.end() :] if thought else own


def _end_mark(
    after: str, stop: int, place: int, row: Conversation, tokenizer: PreTrainedTokenizerBase
) -> str:
    """The token that ends an earlier turn where the last one ends with the end of sequence.

    It is one if what stands between the answer and the next turn's words is that token and the
    header that such a turn has at the beginning of the conversation too.
    """
    following = row.messages[place + 1]
    alike = next(turn for turn in row.messages if turn["role"] == following["role"])
    words, first = (str(turn.get("content") or "").strip() for turn in (following, alike))
    typed: Any = tokenizer  # whose type does not know that this is a method
    known = sorted(typed.get_added_vocab(), key=len, reverse=True)
    mark = next((token for token in known if after.startswith(token, stop)), "")
    if not (words and first and mark) or alike is following:
        return ""
    between = after[stop:].partition(words)[0]
    before = after.partition(first)[0]
    header = between[len(mark) :]
    return mark if header and before.endswith(header) and not before.endswith(between) else ""


def _marked(
    row: Conversation, whole: str, chosen: list[int], tokenizer: PreTrainedTokenizerBase
) -> tuple[Span, ...]:
    """The text that the template marks, of the chosen turns."""
    name, messages = tokenizer.name_or_path, row.messages
    spans = _marks(messages, row.options, tokenizer)
    answers = [place for place, turn in enumerate(messages) if turn["role"] == "assistant"]
    if chosen != answers:
        # Which mark is of which turn is seen by leaving out what follows the turn.
        known: set[Span] = set()
        kept: list[Span] = []
        for place in answers:
            text = written(messages[: place + 1], row.options, tokenizer, asks=False)
            upto = _marks(messages[: place + 1], row.options, tokenizer)
            own = [span for span in upto if span in spans and span not in known]
            own = [span for span in own if text[: span[1]] == whole[: span[1]]]
            if place == answers[-1]:
                own = [span for span in spans if span not in known]
            known.update(own)
            if not own:
                raise UserError(
                    f"the chat template of {name!r} marks turn {place + 1} otherwise once more "
                    "turns follow, so that it cannot be told which answers are not to be trained"
                )
            kept += own if place in chosen else []
        spans = kept
    if not any(stop > start for start, stop in spans):
        raise UserError(
            f"the chat template of {name!r} marks nothing of the row by {{% generation %}}, so "
            "nothing would be trained"
        )
    return tuple(spans)


def _marks(
    messages: Sequence[Message], options: dict[str, Any], tokenizer: PreTrainedTokenizerBase
) -> list[Span]:
    from transformers.utils.chat_template_utils import render_jinja_template

    def write(turns: list[Message]) -> Any:
        return render_jinja_template(
            [turns],
            chat_template=template_for(tokenizer, options),
            return_assistant_tokens_mask=True,
            **{"tools": None, **tokenizer.special_tokens_map, **options},
        )

    _, marks = write(readable(messages, lambda turns: write(turns)[0][0]))
    return [(int(start), int(stop)) for start, stop in marks[0]]
