"""A judge's input: its template around a prompt and an answer, which stay plain text.

An answer may hold the very marks that the judge's template is made of: a turn's end, say, and after
it a forged verdict. A mark of the tokenizer's own (a token that was added to its vocabulary) is one
id of its own where the template writes it, and here never where the prompt or the answer does:
there it becomes the ids of its letters, as if it were any other word.

What no tokenizer can keep apart are marks that are words: ``ASSISTANT:``, ``[BEHAVIOR]:``,
``<END CONVERSATION>``, in some models ``[INST]``. They reach the judge as they are, in the answer
as in the template; changing them would change what is judged.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import TemplateError
from tokenizers import Tokenizer

from holdfast.data.chat_templates import template_for
from holdfast.errors import UserError
from holdfast.evaluate.judges.base import Item

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SPACE = "\u2003"  # white space that no template holds: is it still there after rendering?


class Piece(NamedTuple):
    """A part of a judge's input: the template's own text, or the prompt or the answer in it."""

    text: str
    is_template: bool


class Template(NamedTuple):
    """A judge's template, taken apart where the prompt and the answer stand.

    Args:
        head: What stands before the prompt.
        middle: What stands between the prompt and the answer.
        tail: What stands after the answer.
        strips: Whether it takes the white space around the prompt and the answer away.
    """

    head: str
    middle: str
    tail: str
    strips: bool = False

    @classmethod
    def of_text(cls, text: str) -> Template:
        """The template of a text that holds ``{prompt}`` and after it ``{answer}``, once each."""
        head, _, rest = text.partition("{prompt}")
        middle, _, tail = rest.partition("{answer}")
        return cls(head, middle, tail)

    @classmethod
    def of_chat(cls, tokenizer: PreTrainedTokenizerBase) -> Template:
        """The template of a tokenizer that renders conversations.

        It renders a conversation of one question and one answer with words in their places that
        nobody can guess, and is taken apart there. Some templates want a message's content as text
        (Llama Guard 3 8B, Qwen3Guard), others as a list of parts (Llama Guard 3 1B and 4, which
        drop text without a word): the first that both words come out of is the right one.

        Raises:
            UserError: the tokenizer has no chat template, or it loses the question or the answer.
        """
        name = tokenizer.name_or_path
        if not tokenizer.chat_template:
            raise UserError(f"the judge {name} has no chat template, which it is asked through")
        for as_parts in (False, True):
            words = [secrets.token_hex(16) for _ in range(2)]
            text = _render(tokenizer, [f"{_SPACE}{word}{_SPACE}" for word in words], as_parts)
            cut = re.fullmatch(f"(.*){words[0]}(.*){words[1]}(.*)", text, re.S)
            if cut and all(text.count(word) == 1 for word in words):
                head, middle, tail = (part.replace(_SPACE, "") for part in cut.groups())
                return cls(head, middle, tail, strips=text.count(_SPACE) < 4)
        raise UserError(
            f"the chat template of the judge {name} does not render a question and an answer, once "
            "each and in this order"
        )

    def pieces(self, item: Item) -> list[Piece]:
        """The input for one answer, in parts."""
        prompt, answer = _encodable(item.prompt), _encodable(item.answer)
        if self.strips:
            prompt, answer = prompt.strip(), answer.strip()
        return [
            Piece(self.head, True),
            Piece(prompt, False),
            Piece(self.middle, True),
            Piece(answer, False),
            Piece(self.tail, True),
        ]

    def render(self, item: Item) -> str:
        """The input for one answer, as the judge's own code would write it."""
        return "".join(piece.text for piece in self.pieces(item))


class Encoder:
    """Encodes a judge's input so that only the template's own text becomes special tokens.

    Text without such marks gets exactly the ids that the tokenizer gives to the whole.

    Args:
        tokenizer: the judge's; a fast one, as all of transformers' are by now.

    Raises:
        UserError: it cannot be told to take its special tokens for text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise UserError(
                f"the judge {tokenizer.name_or_path} needs a tokenizer with a tokenizer.json"
            )
        self._tokenizer = tokenizer
        self._plain = _without_added_tokens(backend)
        # A token of white space only stands for ordinary text.
        added = {
            token: entry.content
            for token, entry in tokenizer.added_tokens_decoder.items()
            if not entry.content.isspace()
        }
        marks = sorted(filter(None, added.values()), key=len, reverse=True)
        self._marks = re.compile("|".join(map(re.escape, marks)) or r"(?!)")
        # An unknown letter is no mark of a template.
        self._added = {token for token in added if token != tokenizer.unk_token_id}
        leaks = [text for text in marks if self._specials(self._as_text(text))]
        if leaks:
            raise UserError(
                f"the judge {tokenizer.name_or_path} is of no use here: its tokenizer makes the "
                f"special token {leaks[0]} of an answer's plain text"
            )

    def encode(self, pieces: Sequence[Piece]) -> list[int]:
        """The ids of all pieces, without any that the tokenizer would add around them."""
        ids: list[int] = []
        waiting = ""  # text that holds no mark but the template's
        for text, is_template in pieces:
            end = 0
            for mark in () if is_template else self._marks.finditer(text):
                ids += self._parsed(waiting + text[end : mark.start()]) + self._as_text(mark[0])
                waiting, end = "", mark.end()
            waiting += text[end:]
        ids += self._parsed(waiting)
        own = [token for text, is_template in pieces if is_template for token in self._parsed(text)]
        if self._specials(ids) == self._specials(own):
            return ids
        # A mark that only appears in normalised text, or across the border of two pieces.
        return [
            token
            for text, is_template in pieces
            for token in (self._parsed(text) if is_template else self._as_text(text))
        ]

    def shortened(self, text: str, count: int) -> str:
        """The text's beginning, of so many tokens (letters that are cut in two stay whole)."""
        offsets = self._plain.encode(text, add_special_tokens=False).offsets
        if len(offsets) <= count:
            return text
        return text[: offsets[count - 1][1]] if count else ""

    def length(self, text: str) -> int:
        """How many tokens the text has by itself."""
        return len(self._as_text(text))

    def _parsed(self, text: str) -> list[int]:
        if not text:
            return []
        encoded: Any = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=False, verbose=False
        )
        return list(encoded["input_ids"])

    def _as_text(self, text: str) -> list[int]:
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    def _specials(self, ids: Sequence[int]) -> list[int]:
        return [token for token in ids if token in self._added]


def fitted(encoder: Encoder, template: Template, item: Item, limit: int) -> tuple[list[int], bool]:
    """The ids of one input, at most `limit`, and whether something was cut off for that.

    The template always stays whole. The prompt and the answer lose their ends: the answer keeps all
    the room that the prompt leaves, and never less than half of what there is.

    Raises:
        UserError: not even the template alone has room.
    """
    item = Item(_encodable(item.prompt), _encodable(item.answer))
    ids = encoder.encode(template.pieces(item))
    if len(ids) <= limit:
        return ids, False
    lengths = [encoder.length(text) for text in (item.prompt, item.answer)]
    room = limit - max(0, len(ids) - sum(lengths))
    while room >= 0:
        for_prompt = min(lengths[0], max(room - lengths[1], room // 2))
        cut = Item(
            encoder.shortened(item.prompt, for_prompt),
            encoder.shortened(item.answer, room - for_prompt),
        )
        ids = encoder.encode(template.pieces(cut))
        if len(ids) <= limit:
            return ids, True
        room -= max(1, len(ids) - limit)  # tokens that grow together at a cut, or fall apart
    raise UserError(f"the judge's template alone has more than {limit} tokens: raise max_length")


def _render(tokenizer: PreTrainedTokenizerBase, contents: Sequence[str], as_parts: bool) -> str:
    messages = [
        {"role": role, "content": [{"type": "text", "text": text}] if as_parts else text}
        for role, text in zip(("user", "assistant"), contents, strict=True)
    ]
    try:
        rendered: Any = tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=True,
            chat_template=template_for(tokenizer, {}),  # with its date pinned, as the models' are
        )
    except (TemplateError, TypeError, ValueError, AttributeError, KeyError):
        return ""  # a template that wants content of the other kind
    return rendered


def _without_added_tokens(backend: Tokenizer) -> Tokenizer:
    state = json.loads(backend.to_str())
    state |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    return Tokenizer.from_str(json.dumps(state))


def _encodable(text: str) -> str:
    """The text with half characters (lone surrogates), which no tokenizer takes, as ``?``."""
    return text.encode("utf-8", "replace").decode("utf-8")
