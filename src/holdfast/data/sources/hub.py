"""Rows from the Hub, with every way that this fails told in one sentence."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from holdfast.data.reading import read_rows
from holdfast.data.sources.base import Origin, Row
from holdfast.data.tool_calls import unfilled
from holdfast.errors import UserError

_COMMIT = re.compile(r"[0-9a-f]{40}")


def download(origin: Origin, split: str) -> tuple[list[Row], str]:
    """Return the rows of a split and the commit that they are of ("" where that is not known).

    Raises:
        UserError: No such data set, configuration, split or revision; no access; no network; or
            only another commit than the pinned one is there.
    """
    with _told(origin, split):
        if split in origin.files:
            rows, commit = _file(origin, origin.files[split])
        else:
            rows, commit = _split(origin, split)
    _check_commit(origin, commit)
    return rows, commit


def opened_split(origin: Origin, split: str) -> tuple[Any, str]:
    """A split as `datasets` holds it, on the disk, and its commit ("" where that is not known).

    Raises:
        UserError: as `download`.
    """
    with _told(origin, split):
        loaded, commit = _open(origin, split)
    _check_commit(origin, commit)
    return loaded, commit


def _check_commit(origin: Origin, commit: str) -> None:
    pinned = origin.revision
    if pinned and _COMMIT.fullmatch(pinned) and commit and commit != pinned:
        # Without a network `datasets` takes whatever commit it has at hand.
        raise UserError(
            f"the data set {origin.hub} is pinned to commit {pinned[:8]}, and only {commit[:8]} "
            "can be had here: try again with a network"
        )


def _file(origin: Origin, name: str) -> tuple[list[Row], str]:
    from huggingface_hub import hf_hub_download, snapshot_download

    at = {"repo_type": "dataset", "revision": origin.revision}
    if "*" in name:
        paths = sorted(Path(snapshot_download(origin.hub, allow_patterns=name, **at)).glob(name))
        if not paths:
            raise UserError(f"the data set {origin.hub} has no file {name}: it has changed")
    else:
        paths = [Path(hf_hub_download(origin.hub, name, **at))]
    commits = [part for part in paths[0].parts if _COMMIT.fullmatch(part)]
    rows = [row for path in paths for row in read_rows(path, origin.headerless)]
    return rows, commits[-1] if commits else ""


def _split(origin: Origin, split: str) -> tuple[list[Row], str]:
    loaded, commit = _open(origin, split)
    return [unfilled(row) for row in loaded.to_list()], commit


def _open(origin: Origin, split: str) -> tuple[Any, str]:
    import datasets

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    loaded: Any = datasets.load_dataset(
        origin.hub,
        origin.config,
        split=split,
        revision=origin.revision,
        trust_remote_code=False,
    )
    sources = loaded.info.download_checksums or {}
    found = re.search(rf"datasets/{re.escape(origin.hub)}@([0-9a-f]{{40}})/", " ".join(sources))
    return loaded, found[1] if found else ""


@contextmanager
def _told(origin: Origin, split: str) -> Iterator[None]:
    """Turn what the libraries raise into one sentence; silence their retries meanwhile."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        sentence = _sentence(origin, split, error)
        if sentence is None:
            raise
        raise UserError(sentence) from error
    finally:
        logger.setLevel(level)


def _sentence(origin: Origin, split: str, error: Exception) -> str | None:
    """What to say of an error, or None where it is none that a user can do something about."""
    named, message = f"the data set {origin.hub}", " ".join(str(error).split())
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "GatedRepoError" in kinds or "gated" in message:
        return (
            f"{named} is gated: ask for access at https://huggingface.co/datasets/{origin.hub}, "
            "then log in with `hf auth login`"
        )
    if "RevisionNotFoundError" in kinds or message.startswith("Revision "):
        return f"{named} has no revision '{origin.revision}'"
    if kinds & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectionError"} or (
        type(error).__module__.split(".")[0] in ("httpx", "httpcore", "requests")
    ):
        return (
            f"{named} cannot be reached and is not among the downloaded ones: check the network, "
            "or bring a copy and run `holdfast data prepare NAME --from FOLDER`"
        )
    if kinds & {"RepositoryNotFoundError", "DatasetNotFoundError"}:
        return (
            f"{named} is not on the Hub, or is private: check its name, or log in with "
            "`hf auth login`"
        )
    if "EntryNotFoundError" in kinds:
        return f"{named} has no file {origin.files.get(split, '')}: it has changed"
    if isinstance(error, RuntimeError) and "scripts are no longer supported" in message:
        return (
            f"{named} is a program, which holdfast does not run: bring its rows as a file, or name "
            "a converted copy"
        )
    if isinstance(error, ValueError):
        if message.startswith(("Unknown split", "Bad split")):
            known = _list(message.split("[", 1)[-1])
            return f"{named} has no split '{split}'; there are {known}"
        if "onfig" in message and "not found" in message:
            return f"{named} has no configuration '{origin.config}'; {_available(message)}"
        if "Config name is missing" in message:
            return (
                f"{named} has several configurations; name one: "
                f"hub:{origin.hub}/CONFIG:{split}, with {_available(message)}"
            )
    if "DatasetsError" in kinds or "EmptyDatasetError" in kinds:
        return f"{named} cannot be read: {message:.200}"
    return None


def _available(message: str) -> str:
    return f"there are {_list(message.split('[', 1)[-1])}"


def _list(text: str) -> str:
    return ", ".join(re.findall(r"['\"]([^'\"]+)['\"]", text.split("]", 1)[0]))
