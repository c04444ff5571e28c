"""A place for an evaluation whose numbers are shown and not kept."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.errors import Stopped, UserError
from holdfast.stages.folders import holds_answers


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that is removed at the end, unless answers would be lost with it.

    Generating them may have taken an hour, and then a judge's server is down: they stay, and the
    error says how to go on from them.

    Raises:
        UserError: as inside; the sentence names the folder if answers are kept there.
        Stopped: likewise.
    """
    root = Path(tempfile.mkdtemp(prefix="holdfast-"))
    folder = root / "evaluation"
    kept = f"the answers so far are kept: the same command with --output {folder} goes on from them"
    try:
        yield folder
    except BaseException as error:
        if not any(holds_answers(path) for path in root.rglob("*") if path.is_dir()):
            shutil.rmtree(root, ignore_errors=True)
            raise
        if isinstance(error, UserError):
            raise UserError(f"{str(error).rstrip('.')}; {kept}.") from error
        if isinstance(error, Stopped):
            raise Stopped(f"stopped; {kept}.") from error
        error.add_note(kept)
        raise
    shutil.rmtree(root, ignore_errors=True)
