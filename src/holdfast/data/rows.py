"""Rows as tokens. Their shapes are in `holdfast.data.prompts`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypedDict, cast

from holdfast.data.chat_templates import Span, TrainOn
from holdfast.data.prompts import Row, parts, shape
from holdfast.data.rendering import Text, render
from holdfast.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class AnswerCutError(UserError):
    """A row whose answer is cut away whole within `max_length`."""


IGNORED = -100  # the label that the cross-entropy of torch leaves out


class Tokens(TypedDict):
    """A tokenized row: three lists of one length; prompt positions have the label −100."""

    input_ids: list[int]
    attention_mask: list[int]
    labels: list[int]


def tokenize(
    row: Row,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    train_on: TrainOn = "all",
) -> Tokens:
    """Tokenize a row for training: prompt ids + answer ids + end of sequence, answers trained only.

    Prompt and answer are encoded separately, so the ids of the evaluation prompt (`prompt_ids`) are
    exactly the beginning of the training row. The attention mask comes from lengths and never from
    `ids != pad`, so the end of sequence is attended to and trained also where it is the padding
    token. What exceeds `max_length` is cut on the right. A row that is already tokenized passes
    through untouched, all its columns with it.

    With `train_on` all, the answers that a conversation's prompt holds are trained too. Where the
    chat template marks its answers by ``{% generation %}``, ids and labels are those of TRL's
    `assistant_only_loss`: all that the template writes, in one piece, and a token is trained if
    any character of it is marked.

    Raises:
        UserError: As `render`; nothing of the answer is left within `max_length`; the tokenizer has
            no end-of-sequence token; a tokenized row's columns differ in length or train nothing.
    """
    return _tokenize(row, tokenizer, max_length, train_on, lambda: _start_ids(tokenizer))


def _tokenize(
    row: Row,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    train_on: TrainOn,
    start: Callable[[], list[int]],
) -> Tokens:
    if shape(row) == "tokenized":
        return checked_tokens(row)
    end: Any = tokenizer.eos_token_id
    if end is None:
        raise UserError(
            f"the tokenizer {tokenizer.name_or_path!r} has no end-of-sequence token (eos_token), "
            "so a model could not learn where an answer ends"
        )
    text = render(row, tokenizer, train_on=train_on)
    if text.trained is not None:
        return _of_several(text, text.trained, end, tokenizer, max_length)
    prompt = _encode_prompt(text.prompt, text.is_chat, tokenizer, start)
    answer = [*_encode(text.answer, tokenizer), end]
    # The first position is never predicted, so an answer needs room after it.
    if max(len(prompt), 1) >= max_length:
        raise AnswerCutError(
            f"the whole answer is cut off: the prompt has {len(prompt)} tokens and the answer "
            f"{len(answer)}, and max_length is {max_length}; raise max_length or shorten the prompt"
        )
    ids = (prompt + answer)[:max_length]
    labels = ([IGNORED] * len(prompt) + answer)[:max_length]
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels}


def _of_several(
    text: Text,
    trained: Sequence[Span],
    end: int,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> Tokens:
    """The tokens of a conversation that has several answers, or marks in its template."""
    if text.has_end:  # the prompt apart, as it is asked
        cut, stop = len(text.prompt), len(text.prompt) + len(text.answer)
        ids, labels = _labelled(text.prompt, trained, tokenizer)
        after = [(start - cut, last - cut) for start, last in trained if last > cut]
        more = _labelled(text.answer, after, tokenizer)
        is_trained = any(last >= stop for _, last in trained)
        ids += [*more[0], end]
        labels += [*more[1], end if is_trained else IGNORED]
    else:
        ids, labels = _labelled(text.prompt + text.answer, trained, tokenizer)
    places = [place for place, label in enumerate(labels) if label != IGNORED]
    ids, labels = ids[:max_length], labels[:max_length]
    if not any(label != IGNORED for label in labels[1:]):
        raise AnswerCutError(
            f"all answers are cut off: the first begins after {places[0] if places else len(ids)} "
            f"tokens, and max_length is {max_length}; raise max_length or shorten the prompt"
        )
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels}


def _labelled(
    text: str, trained: Sequence[Span], tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], list[int]]:
    """A text's ids and labels: a token is trained if any of its characters is."""
    try:
        found = tokenizer(
            text, add_special_tokens=False, verbose=False, return_offsets_mapping=True
        )
    except NotImplementedError:
        raise UserError(
            f"the tokenizer {tokenizer.name_or_path!r} does not tell which characters a token is "
            "of, which several answers in a row need: give one with a tokenizer.json, or set "
            "train_on=last"
        ) from None
    ids = list(found["input_ids"])
    is_trained = bytearray(len(text))
    for start, stop in trained:
        start, stop = max(start, 0), min(stop, len(text))
        is_trained[start:stop] = b"\1" * max(stop - start, 0)
    labels = [
        token if any(is_trained[start:stop]) else IGNORED
        for token, (start, stop) in zip(ids, found["offset_mapping"], strict=True)
    ]
    return ids, labels


def tokenize_rows(
    rows: Iterable[Row],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    where: str = "",
    drop_cut: bool = False,
    train_on: TrainOn = "all",
) -> list[Tokens]:
    """Tokenize rows as `tokenize` does; an error names the row, counted from 1, and `where` it is.

    With `drop_cut` a row whose answers are cut away whole is left out instead.

    Raises:
        UserError: As `tokenize`; all rows are left out.
    """
    result = list(tokenized(rows, tokenizer, max_length, where, drop_cut, train_on))
    if not result:
        raise UserError(
            f"the answers of all rows are cut off: max_length is {max_length}, and no prompt is "
            "shorter; raise max_length"
        )
    return result


def tokenized(
    rows: Iterable[Row],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    where: str = "",
    drop_cut: bool = False,
    train_on: TrainOn = "all",
) -> Iterator[Tokens]:
    """As `tokenize_rows`, each row as it is read."""
    start = cache(lambda: _start_ids(tokenizer))  # the same for all of them
    for number, row in enumerate(rows, start=1):
        try:
            yield _tokenize(row, tokenizer, max_length, train_on, start)
        except AnswerCutError as error:
            if not drop_cut:
                raise _at(number, where, error) from None
        except UserError as error:
            raise _at(number, where, error) from None


def readable(
    rows: Iterable[Row], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[Tokens | None]:
    """Tokenize rows as `tokenize` does; None for one that has no place within `max_length`.

    That is one whose answer is cut away whole, or which is tokenized already, so cut nowhere.
    """
    start = cache(lambda: _start_ids(tokenizer))
    found: list[Tokens | None] = []
    for row in rows:
        try:
            tokens = _tokenize(row, tokenizer, max_length, "all", start)
            found.append(tokens if len(tokens["input_ids"]) <= max_length else None)
        except AnswerCutError:
            found.append(None)
    return found


def prompt_ids(row: Row, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids that the model reads before it answers: the beginning of `tokenize`'s ids.

    The row needs no answer. Of a tokenized row it is what precedes the first trained label.
    """
    if shape(row) == "tokenized":
        tokens = checked_tokens(row)
        first = next(i for i, label in enumerate(tokens["labels"]) if label != IGNORED)
        return list(tokens["input_ids"][:first])
    text = render(row, tokenizer, need_answer=False)
    return _encode_prompt(text.prompt, text.is_chat, tokenizer, lambda: _start_ids(tokenizer))


def check_rows(rows: Sequence[Row], where: str, need_answer: bool = True) -> None:
    """Check every row's columns and types without a tokenizer, before a model is loaded.

    Args:
        rows: The rows.
        where: What to name in an error, such as the file.
        need_answer: Whether a row without an answer is a mistake.

    Raises:
        UserError: There is no row, or one that `prompts.parts` refuses; with its number from 1.
    """
    if not len(rows):
        raise UserError(f"{where}: there are no rows; at least one is needed")
    for number, row in enumerate(rows, start=1):
        check_row(row, number, where, need_answer)


def check_row(row: Row, number: int, where: str, need_answer: bool = True) -> None:
    """As `check_rows`, of one row, whose number counts from 1."""
    try:
        if shape(row) == "tokenized":
            checked_tokens(row)
        else:
            parts(row, need_answer)
    except UserError as error:
        raise _at(number, where, error) from None


def _at(number: int, where: str, error: UserError) -> UserError:
    return UserError(f"{where}, row {number}: {error}" if where else f"row {number}: {error}")


def _encode(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    # verbose=False: the length is checked against max_length, not against the model's own.
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _encode_prompt(
    text: str,
    is_chat: bool,
    tokenizer: PreTrainedTokenizerBase,
    start: Callable[[], list[int]],
) -> list[int]:
    ids = _encode(text, tokenizer)
    if is_chat:  # the template has written its special tokens itself
        return ids
    first = start()
    return ids if ids[: len(first)] == first else first + ids


def _start_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the special ids that the tokenizer puts before a text, such as [BOS]; often none."""
    bare = _encode("a", tokenizer)
    full = list(tokenizer("a")["input_ids"])
    ends = len(full) - len(bare)
    for count in range(ends + 1):
        if full[count : count + len(bare)] == bare:
            return full[:count]
    return []


def _are_whole_numbers(values: object) -> bool:
    """Whether these may be tokens, a mask or labels: a list of integers, or an array or tensor."""
    if isinstance(values, list | tuple):
        return all(issubclass(kind, Integral) for kind in set(map(type, values)))
    return hasattr(values, "__len__") and not isinstance(values, str | bytes | Mapping)


def checked_tokens(row: Row) -> Tokens:
    """A tokenized row as it is, if it can be trained on.

    Raises:
        UserError: a column is missing or holds no whole numbers, they differ in length, or nothing
            is trained.
    """
    columns = ("input_ids", "attention_mask", "labels")
    missing = [column for column in columns if row.get(column) is None]
    if missing:
        raise UserError(
            f"a tokenized row needs 'input_ids', 'attention_mask' and 'labels'; {missing[0]!r} is "
            "missing"
        )
    for column in columns:
        if not _are_whole_numbers(row[column]):
            raise UserError(
                f"a tokenized row's {column!r} is {row[column]!r:.60}; it must be a list of whole "
                "numbers"
            )
    lengths = [len(row[column]) for column in columns]
    if len(set(lengths)) > 1:
        raise UserError(
            "a tokenized row's 'input_ids', 'attention_mask' and 'labels' must be equally long, "
            f"and have {lengths[0]}, {lengths[1]} and {lengths[2]} entries"
        )
    if not any(label != IGNORED for label in row["labels"][1:]):
        raise UserError(
            "a tokenized row trains nothing: all its 'labels' after the first are -100, so its "
            "loss would not be a number"
        )
    return cast(Tokens, row)
