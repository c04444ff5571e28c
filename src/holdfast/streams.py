"""What is printed is UTF-8, also where the system's own encoding is a smaller one."""

import os
import sys


def speak_utf8() -> None:
    """Make this process's output, and that of processes it starts, UTF-8.

    On Windows what goes into a pipe or a file would be in the system's code page, which has no ≈, Δ
    or ↓; printing one of them would end the command.
    """
    os.environ.setdefault("PYTHONUTF8", "1")
    for stream in (sys.stdout, sys.stderr):
        encoding = getattr(stream, "encoding", None) or ""
        if hasattr(stream, "reconfigure") and not encoding.lower().startswith("utf"):
            stream.reconfigure(encoding="utf-8", errors=stream.errors)  # pyright: ignore[reportAttributeAccessIssue] (a text file has it, a caller's own stream need not)
