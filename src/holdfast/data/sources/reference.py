"""How a user names rows: a file, a part of a known data set, or a data set on the Hub."""

from __future__ import annotations

import re
from dataclasses import dataclass

from holdfast.data.reading import SUFFIXES
from holdfast.data.sources.advbench import ADVBENCH
from holdfast.data.sources.base import Source
from holdfast.data.sources.prompt_sets import PROMPT_SETS
from holdfast.data.sources.safety import BEAVERTAILS, XSTEST
from holdfast.data.sources.tasks import AGNEWS, ALPACA, GSM8K, SST2
from holdfast.data.sources.wikitext2 import WIKITEXT2
from holdfast.errors import UserError
from holdfast.settings import nearest

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        BEAVERTAILS,
        ADVBENCH,
        SST2,
        AGNEWS,
        GSM8K,
        ALPACA,
        XSTEST,
        *PROMPT_SETS,
        WIKITEXT2,
    )
}

_HUB = re.compile(
    r"hub:(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>[^/:@]+))?(/(?P<config>[^/:@]+))?:(?P<split>.+)"
)


@dataclass(frozen=True)
class Reference:
    """What a reference names: exactly one of `path`, `name` (with `part`) and `hub` is set.

    Args:
        path: A file.
        name: A known data set.
        part: Its part.
        hub: A data set's id on the Hub.
        revision: Its commit, branch or tag; None is the newest.
        config: Its configuration.
        split: Its split.
    """

    path: str = ""
    name: str = ""
    part: str = ""
    hub: str = ""
    revision: str | None = None
    config: str | None = None
    split: str = ""


def split_reference(reference: str) -> Reference:
    """Take a reference apart; nothing is read.

    `FILE`, `NAME` or `NAME:PART` (a name without a part stands for its `default`), or
    `hub:owner/name[@revision][/config]:split`.

    Raises:
        UserError: It is none of these, or there is no such data set or part.
    """
    if reference.startswith("hub:"):
        found = _HUB.fullmatch(reference)
        if found is None:
            raise UserError(
                f"'{reference}' names no data set of the Hub; write "
                "hub:owner/name[@revision][/config]:split, such as hub:openai/gsm8k/main:train"
            )
        groups = found.groupdict()
        return Reference(
            hub=groups["id"],
            revision=groups["revision"],
            config=groups["config"],
            split=groups["split"],
        )
    name, colon, part = reference.partition(":")
    if name in SOURCES:
        return _known(SOURCES[name], part if colon else None)
    if not reference.lower().removesuffix(".gz").endswith(SUFFIXES):
        close = nearest(name, SOURCES)
        hint = f"did you mean '{close}'? " if close else ""
        raise UserError(
            f"'{reference}' is neither a file of rows ({', '.join(SUFFIXES)}) nor a known data "
            f"set; {hint}known are {', '.join(SOURCES)}"
        )
    return Reference(path=reference)


def _known(source: Source, part: str | None) -> Reference:
    names = ", ".join(f"{source.name}:{name}" for name in source.parts)
    if part is None and source.default is None:
        raise UserError(f"{source.name} has several parts; name one: {names}")
    part = source.default if part is None else part
    if part not in source.parts:
        close = nearest(str(part), source.parts)
        hint = f"did you mean '{source.name}:{close}'? " if close else ""
        raise UserError(f"{source.name} has no part '{part}'; {hint}there are {names}")
    return Reference(name=source.name, part=str(part))
