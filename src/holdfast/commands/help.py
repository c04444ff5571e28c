"""How every command shows its ``--help``: a list of terms with their meanings, at any width.

Typer's own panels cut long words in narrow terminals, and a table of settings does so at 80 columns
already; here a term that is too long for its column has a line of its own.
"""

import inspect
import io
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from holdfast.errors import UserError

_WIDEST = 110  # columns; longer lines are hard to read
_COLUMN = 24  # where meanings begin


class Section(NamedTuple):
    """A part of a help text.

    Args:
        title: its heading.
        terms: what it explains, each with its meaning.
        note: a sentence below them.
    """

    title: str
    terms: Sequence[tuple[str, str]]
    note: str = ""


class _Help:
    """Puts `render`'s text in the place of Typer's."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(render(self, ctx))


class Command(_Help, TyperCommand):
    """A command of ``holdfast``."""

    def more_help(self, everything: bool = False) -> Sequence[Section]:
        """What its help has beside arguments and options."""
        return ()


class StageCommand(Command):
    """A command whose help ends with the settings of its stage and of the stage's methods."""

    def more_help(self, everything: bool = False) -> Sequence[Section]:
        """The settings: those that most people set, or all."""
        from holdfast.commands.settings_help import sections

        return sections(str(self.name), everything)


class Group(_Help, TyperGroup):
    """A group of commands; a command that it does not have is told with the nearest."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the first word names.

        Raises:
            UserError: there is none of that name.
        """
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            from holdfast.settings import nearest

            close = nearest(args[0], known)
            hint = f"did you mean '{close}'? " if close else ""
            raise UserError(
                f"there is no command '{ctx.command_path} {args[0]}'; {hint}known are "
                f"{', '.join(known)}."
            )
        return super().resolve_command(ctx, args)


class App(typer.Typer):
    """A Typer application whose commands show their help as above."""

    def __init__(self, help: str):
        super().__init__(
            cls=Group,
            help=help,
            no_args_is_help=True,
            add_completion=False,
            pretty_exceptions_enable=False,
            context_settings={"help_option_names": ["-h", "--help"]},
        )

    def command(self, name: str | None = None, *, cls: Any = Command, **options: Any) -> Any:
        """Add a command, as `typer.Typer.command` does."""
        return super().command(name, cls=cls, **options)


def show_everything(ctx: typer.Context, asked: bool) -> None:
    """Print a command's whole help: what ``--help-all`` does."""
    if asked:
        typer.echo(render(ctx.command, ctx, everything=True), nl=False)
        raise typer.Exit


def render(command: Any, ctx: Any, everything: bool = False) -> str:
    """A command's help, as wide as the terminal.

    Args:
        command: the command or group.
        ctx: the context in which it is asked.
        everything: whether all settings are shown, where the command has any.
    """
    params = [one for one in command.get_params(ctx) if not getattr(one, "hidden", False)]
    arguments = [one for one in params if one.param_type_name == "argument"]
    options = [one for one in params if one.param_type_name == "option"]
    sections = [
        Section("Arguments", [(_metavar(one), one.help or "") for one in arguments]),
        Section("Options", [_option(one) for one in options]),
    ]
    if isinstance(command, Group):
        found = [(name, command.get_command(ctx, name)) for name in command.list_commands(ctx)]
        terms = [(name, _first(one.help or "")) for name, one in found if one and not one.hidden]
        sections.append(Section("Commands", terms))
    else:
        sections += command.more_help(everything)
    words = [ctx.command_path, "[OPTIONS]", *map(_metavar, arguments)]
    words += ["COMMAND"] if isinstance(command, Group) else []
    return _written(" ".join(words), inspect.cleandoc(command.help or ""), sections)


def _metavar(argument: Any) -> str:
    if argument.metavar:
        return argument.metavar
    name = argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _option(option: Any) -> tuple[str, str]:
    both = (option.opts, option.secondary_opts)
    names = " / ".join(", ".join(sorted(some, key=len)) for some in both if some)
    if option.is_flag:
        return names, option.help or ""
    meaning = option.help or ""
    if option.default is not None and option.show_default:
        meaning = f"{meaning.removesuffix('.')} (default: {option.default})."
    return f"{names} {option.metavar or option.name.upper()}", meaning


def _first(text: str) -> str:
    """The first paragraph in one line."""
    return " ".join(inspect.cleandoc(text).split("\n\n")[0].split())


def _written(usage: str, about: str, sections: Sequence[Section]) -> str:
    width = max(40, min(_WIDEST, shutil.get_terminal_size().columns))
    page = Text(f"Usage: {usage}\n")
    for paragraph in about.split("\n\n"):
        page.append("\n" + "\n".join(_wrapped(paragraph, width, "  ")) + "\n")
    for section in sections:
        if section.terms or section.note:
            page.append(f"\n{section.title}\n", style="bold")
        for term, meaning in section.terms:
            for line in _entry(term, meaning, width):
                page.append_text(line).append("\n")
        if section.note:
            page.append("\n".join(_wrapped(section.note, width, "  ")) + "\n")
    plain = io.StringIO()
    # Click takes the colours out again where its output is no terminal.
    Console(file=plain, force_terminal=True, width=100_000, legacy_windows=False).print(
        page, end="", highlight=False, soft_wrap=True
    )
    return plain.getvalue()


def _entry(term: str, meaning: str, width: int) -> Iterator[Text]:
    """The lines of a term and its meaning: beside it, or below where the term is long."""
    lines = _wrapped(meaning, width, " " * _COLUMN)
    beside = 2 + len(term) + 2 <= _COLUMN
    start = Text("  ").append(term, style="bold cyan")
    if beside and lines:
        start.append(" " * (_COLUMN - len(start.plain)) + lines.pop(0).lstrip())
    yield start
    yield from map(Text, lines)


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    """Lines that are broken between words alone."""
    return textwrap.wrap(
        " ".join(text.split()),
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
