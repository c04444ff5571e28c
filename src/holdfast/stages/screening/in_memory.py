"""Screen rows in Python."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from holdfast.data.rows import check_rows
from holdfast.errors import UserError
from holdfast.screen.base import Row, Scored
from holdfast.screen.decide import threshold_of
from holdfast.screen.scoring import decide, scored_pieces
from holdfast.settings import check, fields_of
from holdfast.stages.methods import load_method, method_of


@dataclass(frozen=True)
class Screened:
    """What became of rows.

    Args:
        kept: the rows that are kept, in their order.
        flagged: the others.
        scores: of every row its score, and why it has it.
        is_flagged: of every row whether it is flagged.
        threshold: the score from which on a row was flagged; None where a share was.
    """

    kept: list[Any]
    flagged: list[Any]
    scores: list[Scored]
    is_flagged: list[bool]
    threshold: float | None


def screen_rows(
    rows: Sequence[Row],
    method: str,
    *,
    model: Any = None,
    processing_class: Any = None,
    harmful_rows: Sequence[Row] = (),
    alignment_rows: Sequence[Row] = (),
    **settings: Any,
) -> Screened:
    """Screen a user's rows before a model is trained on them.

    Args:
        rows: the rows, in any of holdfast's shapes.
        method: the screen: keywords, near_duplicates, similarity, judge, loss_gap, gradient,
            random, or one of your own.
        model: the aligned model, for a screen that looks at rows with it.
        processing_class: its tokenizer.
        harmful_rows: known harmful rows, for a screen that compares with them.
        alignment_rows: known safe rows, refusals among them, likewise.
        settings: the screen's own, such as threshold or share.

    Raises:
        UserError: there is no such screen or setting, something that it needs is not given, or
            something is wrong with the rows.
    """
    check_rows(rows, "rows")
    own = check(settings, fields_of(method_of("screen", method).config), f"screen_rows({method!r})")
    screen_class, config_class, found = load_method("screen", method)
    if "model" in found.asks and (model is None or processing_class is None):
        raise UserError(
            f"the screen {method!r} looks at rows with the aligned model: give model and "
            "processing_class."
        )
    config = config_class(**own)
    given = {
        "config": config,
        "model": model,
        "processing_class": processing_class,
        "harmful_dataset": harmful_rows,
        "alignment_dataset": alignment_rows,
    }
    screen = screen_class(**{k: v for k, v in given.items() if k in found.asks})
    threshold = threshold_of(config, getattr(screen, "known", None))
    scored = list(chain.from_iterable(scored_pieces(screen, rows)))
    decisions = decide(lambda: scored, threshold, config.share)
    flags = decisions.flagged.tolist()
    return Screened(
        [row for row, is_flagged in zip(rows, flags, strict=True) if not is_flagged],
        [row for row, is_flagged in zip(rows, flags, strict=True) if is_flagged],
        scored,
        flags,
        threshold,
    )
