"""Screen rows that need not fit into memory: from a file or a data set into a folder.

The folder holds ``rows`` in the format of the rows that came in (what is kept), ``dropped`` (the
others, with their score and the reason), ``scores.jsonl`` (both of every row) and ``screen.json``
(how many rows of which kinds). Where rows are marked, ``rows`` holds all of them with three columns
more: `screen_action`, `screen_score`, `screen_reason`. It is written beside its place and renamed
into it; an interrupted screening goes on from the scores that are there.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from holdfast.data.columns import checked, renamed
from holdfast.data.keys import fingerprint
from holdfast.data.prompts import shape
from holdfast.data.rows import check_row
from holdfast.data.streaming import RowStream, RowWriter, of_rows, stream
from holdfast.errors import UserError
from holdfast.models.stack import ORGANISM, Stack
from holdfast.models.stack import resolve as resolve_model
from holdfast.screen.scoring import Decisions, decide, read_scores, score_rows
from holdfast.settings import at
from holdfast.stages.disk import disk_errors, write_config, write_json
from holdfast.stages.folders import (
    PROVENANCE,
    SCORES,
    begin,
    discard,
    finish,
    holds_results,
    stage_lock,
    working_folder,
)
from holdfast.stages.identity import stage_identity
from holdfast.stages.machine import one_thread, quiet_libraries
from holdfast.stages.making import given_identity
from holdfast.stages.memory import stage_memory
from holdfast.stages.methods import method_of
from holdfast.stages.resolve import resolve
from holdfast.stages.rows import known_rows, stage_rows
from holdfast.stages.screening.checks import check_decision, screened_by
from holdfast.stages.screening.run import REPORT, make_screen
from holdfast.stages.whole import is_complete, is_finished, written_files

# Called with what is being done, the rows that are done, and all of them where that is known.
Told = Callable[[str, int, int | None], None]
_COLUMNS = {"screen_action": "string", "screen_score": "double", "screen_reason": "string"}
_OF_A_STUDY = ("data", "task", "harmful_data", "harmful_ratio", "attack", "sampling", "sample_seed")


@dataclass(frozen=True)
class Screening:
    """A screening that is asked for, checked, with nothing loaded.

    Args:
        source: the rows.
        settings: the resolved settings.
        model: the aligned model; the organism where the method needs none.
        known: the known rows by their role, ``probe`` and ``alignment``.
        rows: how many rows there are.
        mark: whether all rows are kept, and marked.
        identity: a hash of all that decides the result.
        content: a hash of the rows alone.
    """

    source: RowStream
    settings: Mapping[str, Any]
    model: Stack
    known: Mapping[str, list[dict[str, Any]]]
    rows: int
    mark: bool
    identity: str
    content: str

    def all_rows(self) -> Iterator[dict[str, Any]]:
        """The rows as they came in."""
        return islice(self.source.rows(), self.rows)

    def read_rows(self) -> Iterator[dict[str, Any]]:
        """The rows with the columns of a known shape."""
        columns = self.settings["columns"]
        for row in self.all_rows():
            yield renamed([row], columns, self.source.reference)[0] if columns else row


def prepare(
    reference: str, given: Mapping[str, Any], mark: bool, where: str, told: Told
) -> Screening:
    """Check a screening before anything is loaded; goes through all rows once.

    Args:
        reference: names the rows, see `holdfast.data.streaming.stream`; or ``organism``, whose
            user's rows are then screened.
        given: what the user set.
        mark: whether all rows are kept, and marked.
        where: where the settings are from, for messages.
        told: told how far it is.

    Raises:
        UserError: whatever is wrong with the settings, the model's name or a row.
    """
    if "method" not in given:
        raise UserError(f"{where}: name the screen, such as --method similarity.")
    asks = method_of("screen", str(given["method"])).asks
    of_organism = reference == ORGANISM
    named = given.get("model", ORGANISM if of_organism or "model" not in asks else None)
    if named is None:
        raise UserError(
            f"{where}: method={given['method']} looks at the rows with the aligned model: name it "
            "(--model FOLDER)."
        )
    wrong = next((key for key in _OF_A_STUDY if key in given), None)
    if wrong and not of_organism:
        raise UserError(
            f"{at(where, wrong)}: {wrong} is a setting of a study's screen: the rows that are "
            "screened here are those that you name, all of them or the first (rows=N)."
        )
    if "model" in given and "model" not in asks:
        raise UserError(
            f"{at(where, 'model')}: method={given['method']} looks at no model: leave model out."
        )
    # Of a screen without a model the rows say whether the organism's settings are meant.
    model = Stack(ORGANISM if of_organism else "none")
    if "model" in asks:
        model = resolve_model(str(named))
    settings = resolve("screen", {**given, "model": str(named)}, model, where)
    check_decision(settings, model.is_organism, where)
    if of_organism:
        source = of_rows(ORGANISM, stage_rows("screen", settings, True)["train"])
    else:
        source = stream(reference)
    first = given.get("rows") and settings["rows"]
    count = _checked(source, settings["columns"], "processing_class" in asks, first, told)
    known = known_rows(settings, model.is_organism)
    parents = {"model": given_identity(str(named))} if "model" in asks else {}
    data = {role: fingerprint(rows) for role, rows in known.items()}
    content = source.identity()
    data |= {"train": content, "rows": str(count), "mark": str(mark)}
    data |= {"columns": json.dumps(settings["columns"], sort_keys=True)}
    data |= screened_by(settings, given_identity)
    identity = stage_identity("screen", {**settings, "rows": None}, parents, data)
    return Screening(source, settings, model, known, count, mark, identity, content)


def _checked(
    source: RowStream,
    columns: Mapping[str, str] | None,
    takes_tokens: bool,
    most: int | None,
    told: Told,
) -> int:
    """Check every row; gives how many there are."""
    count = 0
    for count, row in enumerate(islice(source.rows(), most), start=1):
        if count == 1:  # whose columns may have names that a hint can be given for
            checked([row], columns, source.reference)
        own = renamed([row], columns, source.reference)[0] if columns else row
        check_row(own, count, source.reference)
        if not takes_tokens and shape(own) == "tokenized":
            raise UserError(
                f"{source.reference}, row {count}: the row is already tokenized, and this screen "
                "reads text: choose one that reads tokens (similarity, loss_gap, gradient)."
            )
        if count % 500 == 0:
            told("checking", count, None)
    if not count:
        raise UserError(f"{source.reference}: there are no rows; at least one is needed")
    return count


def screen_file(
    asked: Screening, folder: Path, told: Told, stopping: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Screen rows into a folder, or find the result there already; gives what screen.json holds.

    Args:
        asked: as `prepare` gives it.
        folder: where the result goes, complete or not at all.
        told: told how far it is.
        stopping: asked now and then; True stops, and the same call goes on from there.

    Raises:
        UserError: whatever is wrong with the model, the known rows, the judge or the disk.
        BusyError: another process does the same.
        Stopped: ``stopping`` said so.
    """
    with disk_errors(folder), stage_lock(folder):
        if not is_finished(folder, asked.identity):
            partial = working_folder(folder)
            if not is_complete(partial, asked.identity):
                _screen(asked, begin(folder, asked.identity), told, stopping)
            finish(partial, folder)
    return json.loads((folder / REPORT).read_text(encoding="utf-8"))


def _screen(asked: Screening, partial: Path, told: Told, stopping: Callable[[], bool]) -> None:
    quiet_libraries()
    scores = partial / SCORES
    organism = asked.model.is_organism
    try:
        with one_thread(organism), stage_memory("screen", asked.settings, organism):
            screen, threshold, share = make_screen(asked.settings, asked.model, asked.known)
            score_rows(
                screen,
                asked.read_rows(),
                scores,
                lambda done: told("screening", done, asked.rows),
                stopping,
            )
    except Exception:
        if not holds_results(partial):
            discard(partial)
        raise
    if asked.source.identity() != asked.content:
        discard(partial)  # some of its scores may be of other rows
        raise UserError(
            f"{asked.source.reference} was changed as its rows were screened: run the same command "
            "again, which takes it as it is now."
        )
    found = decide(lambda: read_scores(scores), threshold, share)
    files = _write(asked, found, partial, told)
    about = {"method": asked.settings["method"], "reference": asked.source.reference}
    about |= {"marked": asked.mark, "files": files}
    write_json(partial / REPORT, {**about, **found.record()})
    write_config(partial, asked.settings, stage="screen", source=asked.source.reference)
    content = {"identity": asked.identity, "kind": "screen", **written_files(partial)}
    write_json(partial / PROVENANCE, content)


def _write(asked: Screening, found: Decisions, partial: Path, told: Told) -> dict[str, str]:
    """Write the rows; gives the files' names by what is in them."""
    source, suffix = asked.source, asked.source.suffix
    kept, dropped = partial / f"rows{suffix}", partial / f"dropped{suffix}"
    more = dict(_COLUMNS)
    scored = zip(asked.all_rows(), read_scores(partial / SCORES), found.flagged, strict=True)
    if asked.mark:
        with RowWriter(kept, source.schema, more) as writer:
            for number, (row, one, is_flagged) in enumerate(scored, start=1):
                action = "flag" if is_flagged else "keep"
                marks = {"screen_action": action, "screen_score": one.score}
                writer.write({**row, **marks, "screen_reason": one.reason})
                told("writing", number, asked.rows)
        return {"marked": kept.name}
    del more["screen_action"]
    with (
        RowWriter(kept, source.schema) as keeping,
        RowWriter(dropped, source.schema, more) as dropping,
    ):
        for number, (row, one, is_flagged) in enumerate(scored, start=1):
            if is_flagged:
                marks = {"screen_score": one.score, "screen_reason": one.reason}
                dropping.write({**row, **marks})
            else:
                keeping.write(row)
            told("writing", number, asked.rows)
    return {"kept": kept.name, "dropped": dropped.name}
