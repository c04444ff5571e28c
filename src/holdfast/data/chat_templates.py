"""What a tokenizer's chat template writes of a conversation, and which of that text is trained.

Three things that templates do would make a number wrong without a word:

- They write today's date (Llama 3.2, gpt-oss): it is pinned to `DATE`.
- They leave out text, such as a turn of a role that they do not know: such a row is refused.
- They write an empty thought before an answer that has none (Qwen3, ``<think>\\n\\n</think>``). It
  belongs to the prompt then, in training and at answering, so that no answer begins with it.

What of it is trained is in `holdfast.data.trained`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from holdfast.data.conversations import Message, thought
from holdfast.data.tool_calls import readable, render_errors, tool_name
from holdfast.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TrainOn = Literal["all", "last"]
Span = tuple[int, int]  # characters of a text, from and before

# What a template that asks for today's date gets: the day that Llama 3.1's template names itself.
DATE = date(2024, 7, 26)
_NOW = re.compile(r"strftime_now\(\s*(?P<quote>['\"])(?P<format>[^'\"\\]*)(?P=quote)\s*\)")
_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")
_EMPTY_THOUGHT = re.compile(
    r"\s*(?:<(?P<tag>think|thinking|thought|reasoning|seed:think)>\s*</(?P=tag)>"
    r"|\[THINK\]\s*\[/THINK\])\s*\Z"
)
_THINKS = re.compile(r"think|thought|reasoning", re.IGNORECASE)
_TAGS = re.compile(
    r"</?(?:think|thinking|thought|reasoning|seed:think)>|\[/?THINK\]", re.IGNORECASE
)
_WORD = "holdfastprobe"  # no template reads it, and no row has it
_TOOLS = -1  # stands for the tools among the places of turns


def pinned(template: str) -> str:
    """A chat template with `DATE` in the place of today.

    Raises:
        UserError: It asks for today in a form that is not written out in it.
    """
    fixed = _NOW.sub(lambda found: json.dumps(DATE.strftime(found["format"])), template)
    if re.search(r"strftime_now\s*\(", fixed):
        raise UserError(
            "the chat template writes today's date in a form that is not a text in it "
            "(strftime_now(…)), so its prompts would differ from day to day: write the date into a "
            "template of your own (template=own.jinja)"
        )
    return fixed


def writes_date(template: str) -> bool:
    """Whether a template asks for today's date."""
    return "strftime_now" in template


def may_write_thoughts(template: str) -> bool:
    """Whether a template has both tags of a thought, so that it may write an empty one."""
    return re.search(r"think(ing)?>|THINK\]|thought>|reasoning>", template) is not None and (
        "/think" in template or "/THINK" in template or "/thought" in template
    )


def has_marks(template: str) -> bool:
    """Whether a template marks what the assistant says by ``{% generation %}``."""
    return _MARK.search(template) is not None


def template_for(tokenizer: PreTrainedTokenizerBase, options: dict[str, Any]) -> str:
    """The template that a row is written with, its date pinned; of several that for its tools."""
    try:
        return pinned(tokenizer.get_chat_template(None, options.get("tools")))
    except ValueError as error:
        raise UserError(
            f"the tokenizer {tokenizer.name_or_path!r} has no chat template for the row: {error}"
        ) from None


def asked_text(
    messages: Sequence[Message], options: dict[str, Any], tokenizer: PreTrainedTokenizerBase
) -> str:
    """What the model reads before it answers: the turns and the beginning of its own.

    Raises:
        UserError: The template cannot write them, or leaves out some of their text.
    """
    text = written(messages, options, tokenizer, asks=True)
    check_holds(text, messages, options, tokenizer, answer=None)
    return text + _empty_thought(text, messages, options, tokenizer)


def without_end(answer: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The answer without the end of sequence, which tokenizing adds itself.

    Templates write it too, some with a line break after it.
    """
    end = tokenizer.eos_token
    if isinstance(end, str) and answer.rstrip().endswith(end):
        return answer.rstrip().removesuffix(end)
    return answer


def written(
    messages: Sequence[Message],
    options: dict[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    asks: bool,
) -> str:
    """What the template writes of some turns, and, where it asks, the beginning of the next.

    Raises:
        UserError: It cannot.
    """
    template = template_for(tokenizer, options)

    def write(turns: list[Message]) -> str:
        text: Any = tokenizer.apply_chat_template(
            turns,
            tokenize=False,
            add_generation_prompt=asks,
            chat_template=template,
            **options,
        )
        return text

    try:
        return write(readable(messages, write))
    except render_errors() as error:
        raise UserError(
            f"the chat template of {tokenizer.name_or_path!r} cannot render the row: {error}"
        ) from None


def _empty_thought(
    text: str,
    messages: Sequence[Message],
    options: dict[str, Any],
    tokenizer: PreTrainedTokenizerBase,
) -> str:
    """The empty thought, or what is left of one, that is written before an answer without any."""
    if not _THINKS.search(template_for(tokenizer, options)):
        return ""
    answer = {"role": "assistant", "content": _WORD}
    try:
        whole = written([*messages, answer], options, tokenizer, asks=False)
    except UserError:
        return ""
    before, found, _ = whole[len(text) :].partition(_WORD)
    if not found or not whole.startswith(text) or not before.strip():
        return ""
    tail = text[-64:]  # the prompt may have opened it
    thought = _EMPTY_THOUGHT.search(tail + before)
    return before if thought and thought.start() <= len(tail) else ""


def check_holds(
    text: str,
    messages: Sequence[Message],
    options: dict[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    answer: int | None,
) -> None:
    """Check that a rendering has all that the turns and the tools say.

    The thoughts of earlier answers may be gone, as models are used without them.
    """
    lost = _lost(
        template_for(tokenizer, options),
        json.dumps([_outline(turn) for turn in messages], default=str),
        json.dumps([tokenizer.special_tokens_map, options], default=str),
        answer is None,
    )
    for place, turn in enumerate(messages):
        for piece in _pieces(turn, place == answer):
            if place in lost or (
                piece not in text and json.dumps(piece, ensure_ascii=False)[1:-1] not in text
            ):
                raise UserError(
                    f"the chat template of {tokenizer.name_or_path!r} leaves out what turn "
                    f"{place + 1} ({turn['role']}) says: {piece!r:.60} is not in what it writes; "
                    "give a template that writes it (template=own.jinja), or leave it out of the "
                    "row"
                )
    for tool in options.get("tools", ()):
        if _TOOLS in lost or tool_name(tool) not in text:
            raise UserError(
                f"the chat template of {tokenizer.name_or_path!r} writes nothing of the tool "
                f"{tool_name(tool)!r}; give a template that knows tools, or rows without"
            )


def _pieces(turn: Message, is_answer: bool) -> list[str]:
    """The texts of a turn that a rendering must have."""
    found = [turn.get("content", "")]
    if turn["role"] == "assistant":
        found = _TAGS.split(found[0])
        found = [thought(turn), *found] if is_answer else found[-1:]
    found += [tool_name(call) for call in turn.get("tool_calls", ())]
    return [piece.strip() for piece in found if piece.strip()]


def _outline(turn: Message) -> Message:
    """A turn without its words."""
    words = _WORD if turn.get("content", "").strip() else ""
    return {**turn, "content": words} if "content" in turn else turn


@lru_cache(maxsize=4096)
def _lost(template: str, turns: str, context: str, asks: bool) -> frozenset[int]:
    """The turns whose words a template leaves out, found with words that stand nowhere else."""
    from transformers.utils.chat_template_utils import render_jinja_template

    messages = json.loads(turns)
    specials, options = json.loads(context)
    words: dict[int, list[str]] = {}
    for place, turn in enumerate(messages):
        if turn.get("content"):
            turn["content"] = f"{_WORD}{place}x"
            words[place] = [turn["content"]]
        words.setdefault(place, []).extend(_renamed(turn.get("tool_calls", ()), f"t{place}"))
    words[_TOOLS] = _renamed(options.get("tools", ()), "t")
    try:
        rendered, _ = render_jinja_template(
            [messages],
            chat_template=template,
            add_generation_prompt=asks,
            **{"tools": None, **specials, **options},
        )
    except render_errors():
        return frozenset()  # it reads the words themselves; the row's own are looked for
    return frozenset(
        place for place, some in words.items() if any(word not in rendered[0] for word in some)
    )


def _renamed(tools: Sequence[dict[str, Any]], mark: str) -> list[str]:
    """Give tools, or calls of them, names that stand nowhere else; gives the names."""
    names = [f"{_WORD}{mark}x{number}x" for number in range(len(tools))]
    for tool, name in zip(tools, names, strict=True):
        tool.get("function", tool)["name"] = name
    return names
