"""Answers to sets of prompts, in a file that grows batch by batch and survives an interruption."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from holdfast.data.keys import fingerprint
from holdfast.data.prompts import Row, parts, plain, shape
from holdfast.data.rows import prompt_ids
from holdfast.errors import Stopped, UserError

# Called with (prompts answered, prompts in all).
Progress = Callable[[int, int], None]

FORMAT = "holdfast answers 1"


class Backend(Protocol):
    """What answers: a `generation.Generator`, a `vllm_backend.VllmBackend`, any such function."""

    def __call__(self, prompts: Sequence[Row | str], /) -> list[str]:
        """One answer for each prompt, in their order."""
        ...


class _Slot(NamedTuple):
    """Whose answer a line of the file holds: a set and a row's place in it."""

    set: str
    index: int


def answer_all(
    sets: Mapping[str, Sequence[Row | str]],
    file: Path,
    load: Callable[[], Backend],
    batch_size: int,
    made_with: Mapping[str, Any],
    progress: Progress | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, list[str]]:
    """Answer every prompt of every set, going on where an earlier run of the same stopped.

    The file is JSON Lines. Its first line says what the answers are to and how they are made. Then
    comes a line for each answer: `{"set", "index", "prompt", "answer"}`, the index being the row's
    place in its set. Sets come in their order, in each the longest prompts first (by characters:
    that needs no tokenizer), in batches of `batch_size` that never mix two sets. A batch is written
    and flushed as soon as it is done. So a run that was killed and taken up again leaves the same
    bytes as an undisturbed one, given a backend that answers the same batch alike twice; and where
    no answer is missing, no model is loaded.

    Args:
        sets: rows (the answers that they may hold are not read) or texts, by the name of the set.
        file: where the answers are kept; its folder must exist.
        load: makes the backend; called once, and only if an answer is missing.
        batch_size: how many prompts the backend is given at once.
        made_with: all else that decides the answers, as JSON: the identity of the model, its
            tokenizer and chat template included, backend, dtype, max_new_tokens.
        progress: called with (prompts answered, prompts in all) at the start and after each batch.
        stopping: asked before each batch.

    Returns:
        For each set its answers, in the order of its rows.

    Raises:
        Stopped: `stopping` said so; all batches that were done are in the file.
        UserError: the file holds other answers, or something else; a row without a prompt.
    """
    if batch_size < 1:
        raise UserError(f"batch_size must be at least 1, and is {batch_size}")
    batches = [batch for name, rows in sets.items() for batch in _batches(name, rows, batch_size)]
    total = sum(map(len, batches))
    header = _header(sets, batch_size, made_with)
    found = _read(file, header, [slot for batch in batches for slot in batch])
    # Of a batch that was cut short nothing is kept: its answers are written together.
    todo = [batch for batch in batches if not all(slot in found for slot in batch)]
    missing = {slot for batch in todo for slot in batch}
    answers = {slot: text for slot, text in found.items() if slot not in missing}
    if progress:
        progress(len(answers), total)
    if todo:
        kept = header + b"".join(_answer_line(sets, slot, text) for slot, text in answers.items())
        with file.open("r+b" if file.exists() else "xb") as out:
            out.write(kept)  # the bytes that are there already, as far as they go
            out.truncate()
            out.flush()
            backend = None
            for batch in todo:
                if stopping():
                    raise Stopped
                backend = backend or load()
                texts = backend([sets[slot.set][slot.index] for slot in batch])
                new = dict(zip(batch, texts, strict=True))
                out.write(b"".join(_answer_line(sets, slot, text) for slot, text in new.items()))
                out.flush()
                answers.update(new)
                if progress:
                    progress(len(answers), total)
    return {name: [answers[_Slot(name, i)] for i in range(len(sets[name]))] for name in sets}


def copy_answers(
    others: Iterable[Path],
    file: Path,
    sets: Mapping[str, Sequence[Row | str]],
    batch_size: int,
    made_with: Mapping[str, Any],
) -> bool:
    """Copy to `file` the first of others that holds all answers `answer_all` would write there.

    A file that is gone holds none: of several evaluations at once one may just be finished.
    """
    header = _header(sets, batch_size, made_with)
    for other in others:
        with contextlib.suppress(FileNotFoundError), other.open("rb") as answers:
            if answers.readline() != header:
                continue
            if sum(1 for line in answers if line.endswith(b"\n")) == _count(sets):
                answers.seek(0)
                with file.open("wb") as out:
                    shutil.copyfileobj(answers, out)
                return True
    return False


def _header(
    sets: Mapping[str, Sequence[Row | str]], batch_size: int, made_with: Mapping[str, Any]
) -> bytes:
    """The first line: what the answers are to, and how they are made."""
    return _json_line(
        {
            "format": FORMAT,
            "answers": _count(sets),
            "prompts": _prompts_fingerprint(sets),
            "made_with": {**made_with, "batch_size": batch_size},
        }
    )


def _count(sets: Mapping[str, Sequence[Row | str]]) -> int:
    return sum(map(len, sets.values()))


def _batches(name: str, rows: Sequence[Row | str], size: int) -> list[list[_Slot]]:
    order = sorted(range(len(rows)), key=lambda i: _length(rows[i]), reverse=True)
    return [[_Slot(name, i) for i in order[at : at + size]] for at in range(0, len(order), size)]


def _length(prompt: Row | str) -> int:
    """How long a prompt is, in characters; a tokenized one in tokens."""
    return len(_tokens(prompt) or _text(prompt) or "")


def _text(prompt: Row | str) -> str | None:
    """The prompt without any template; None for a tokenized one."""
    if isinstance(prompt, str):
        return prompt
    if shape(prompt) == "tokenized":
        return None
    return plain(parts(prompt, need_answer=False).prompt)


def _tokens(prompt: Row | str) -> list[int] | None:
    if isinstance(prompt, str) or shape(prompt) != "tokenized":
        return None
    # A tokenized row's prompt is what precedes its first trained label; no tokenizer is needed.
    return prompt_ids(prompt, cast(Any, None))


def _prompts_fingerprint(sets: Mapping[str, Sequence[Row | str]]) -> str:
    """SHA-256 of all that decides how the prompts render, and of their order."""
    content = []
    for name, rows in sets.items():
        for row in rows:
            text = _text(row)
            if isinstance(row, str) or text is None:
                content.append([name, _tokens(row), text])
                continue
            asked = parts(row, need_answer=False)
            options = [dict(asked.options)] if asked.options else []
            more = {key: row[key] for key in ("prefill", "sample") if key in row}
            options += [more] if more else []
            if shape(row) == "alpaca" and len(asked.prompt) == 1 and not options:
                content.append([name, row["instruction"], row.get("input") or ""])
            else:
                content.append([name, asked.prompt, *options])
    return fingerprint([{"prompts": content}])


def _answer_line(sets: Mapping[str, Sequence[Row | str]], slot: _Slot, answer: str) -> bytes:
    prompt = _text(sets[slot.set][slot.index])
    return _json_line({**slot._asdict(), "prompt": prompt, "answer": answer})


def _json_line(content: Mapping[str, Any]) -> bytes:
    # What UTF-8 cannot hold (a lone surrogate) becomes the escape that JSON has for it.
    return (json.dumps(content, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def _read(file: Path, header: bytes, slots: Sequence[_Slot]) -> dict[_Slot, str]:
    """The answers in the file, in its order; a last line that was cut short is left out."""
    *lines, torn = file.read_bytes().split(b"\n") if file.exists() else [b""]
    if not lines and header.startswith(torn):
        return {}
    if not lines or lines[0] + b"\n" != header:
        raise UserError(f"{file} holds {_difference(lines, header)}: remove it, or choose another.")
    if len(lines) - 1 > len(slots):
        raise UserError(f"{file} holds more answers than there are prompts: remove it.")
    answers: dict[_Slot, str] = {}
    for number, (slot, line) in enumerate(zip(slots, lines[1:], strict=False), start=2):
        try:
            entry = json.loads(line)
            intact = (entry["set"], entry["index"]) == slot and isinstance(entry["answer"], str)
        except (ValueError, KeyError, TypeError):
            intact = False
        if not intact:
            raise UserError(f"{file}, line {number}, is damaged: remove the file to answer again.")
        answers[slot] = entry["answer"]
    return answers


def _difference(lines: Sequence[bytes], header: bytes) -> str:
    """What the file holds instead of the answers that `header` announces."""
    ours = json.loads(header)
    try:
        theirs = json.loads(lines[0])
        there = theirs["made_with"]
        if theirs["format"] != FORMAT:
            return "no answers of this version of holdfast"
    except (ValueError, KeyError, TypeError, IndexError):
        return "something else than answers"
    wanted = ours["made_with"]
    changed = [
        f"{key} {there.get(key)!r} and not {wanted.get(key)!r}"
        for key in {**there, **wanted}
        if there.get(key) != wanted.get(key)
    ]
    if theirs["prompts"] != ours["prompts"]:
        changed.insert(0, "other prompts")
    return f"answers made with {', '.join(changed)}"
