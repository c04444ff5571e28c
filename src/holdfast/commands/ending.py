"""How the program ends: a user's mistake is one sentence on stderr and exit code 2."""

import errno
import os
import signal
import sys
from typing import Any

import typer

from holdfast.commands.mistakes import sentence
from holdfast.errors import FailedStagesError, Stopped, UserError
from holdfast.streams import speak_utf8

# What is wrong with a file's name, wherever it was written.
_OF_A_NAME = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR)


def _as_interrupt(number: int, frame: Any) -> None:
    """Take an asking to end (`holdfast cancel`, `kill`, a cluster) as Ctrl-C: work is saved."""
    interrupt = signal.getsignal(signal.SIGINT)
    if callable(interrupt):
        interrupt(number, frame)
    else:  # nohup, or a script that started this in the background, has Ctrl-C ignored
        raise KeyboardInterrupt


def _usage_error(error: Any, app: typer.Typer) -> int:
    """Tell what is wrong with the command's words; without any words, what words there are."""
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(error.format_message(), nl=False)
    else:
        print(f"holdfast: {sentence(error, _called(app))}", file=sys.stderr)
    return 2


def _called(app: typer.Typer) -> str:
    """The command that the program was called for: some errors come without it."""
    command: Any = typer.main.get_command(app)
    path = ["holdfast"]
    for word in sys.argv[1:]:
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            break
        path.append(word)
    return " ".join(path)


def run_program(app: typer.Typer) -> Any:
    """Run the command line; gives its exit code, None for success, or ends the process with it."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    speak_utf8()
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        return app(standalone_mode=False, prog_name="holdfast")
    except typer.Abort:  # Ctrl-C at a question
        print("holdfast: stopped.", file=sys.stderr)
        sys.exit(130)
    except typer.TyperException as error:
        return _usage_error(error, app)
    except UserError as error:
        print(f"holdfast: {error}", file=sys.stderr)
        sys.exit(2)
    except FailedStagesError as error:
        print(f"holdfast: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        from holdfast.stages.disk import disk_trouble

        told = disk_trouble(error)
        if told is None:
            if error.errno not in _OF_A_NAME:
                raise
            told = f"'{str(error.filename)[:300]}' cannot be read: {error.strerror}."
        print(f"holdfast: {told}", file=sys.stderr)
        sys.exit(2)
    except Stopped as stop:
        told = str(stop) or "stopped; the same command goes on from here."
        print(f"holdfast: {told}", file=sys.stderr)
        sys.exit(130)
