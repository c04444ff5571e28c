"""The command `holdfast` in this process, as `holdfast.cli.main` runs it."""

import signal
import sys
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from io import StringIO
from typing import NamedTuple
from unittest.mock import patch

from holdfast.cli import main


class Ended(NamedTuple):
    """How a command ended: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


def holdfast(*words: object) -> Ended:
    """Run `holdfast WORDS…`."""
    out, err = StringIO(), StringIO()
    with ExitStack() as stack:
        stack.enter_context(patch.object(sys, "argv", ["holdfast", *map(str, words)]))
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        # The command answers SIGTERM in its own way, which is not to outlast it.
        stack.callback(signal.signal, signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        try:
            code = main() or 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Ended(code, out.getvalue(), err.getvalue())


def done(*words: object) -> str:
    """Run a command that must succeed; gives what it wrote."""
    ended = holdfast(*words)
    assert ended.code == 0, ended.err or ended.out
    return ended.out
