"""What a check found, in the forms that people and CI systems read."""

import os
from pathlib import Path
from xml.etree import ElementTree

from rich.table import Table

from holdfast.errors import UserError
from holdfast.escape import markdown_text, terminal_text, visible
from holdfast.gate.limits import Checked, Found

_COLUMNS = ("limit", "bound", "value", "interval", "prompts", "kept")
_ANSWERS = {
    "yes": "yes: every limit is kept",
    "no": "no: a limit is not kept",
    "cannot tell": "the data cannot tell",
}
_SUMMARY = "GITHUB_STEP_SUMMARY"  # the file whose Markdown GitHub shows on a job's page


def headline(checked: Checked) -> str:
    """The answer in a line; a model's name may hold what would break it."""
    return f"holdfast check {visible(checked.tuned)}: {_ANSWERS[checked.verdict]}"


def about(checked: Checked) -> str:
    """How it was measured, and how sure it is."""
    protocol = checked.protocol
    return (
        f"protocol {protocol['name']} (version {protocol['version']}), judge {protocol['judge']}; "
        f"intervals hold at all times; the chance that any verdict is wrong is at most "
        f"{100 * checked.error:g} %"
    )


def _cells(one: Found) -> tuple[str, ...]:
    found = one.record()
    sign = "≤" if one.question.at_most else "≥"
    value = "–" if found["value"] is None else f"{found['value']:.1f}"
    return (
        one.question.title,
        f"{sign} {found['bound']:g}",
        value,
        f"{found['low']:.1f} … {found['high']:.1f}" if found["n"] else "–",
        str(found["n"]),
        one.verdict,
    )


def table(checked: Checked) -> Table:
    """The limits as a table of the terminal."""
    title, caption = terminal_text(headline(checked)), terminal_text(about(checked))
    shown = Table(*_COLUMNS, title=title, caption=caption)
    for one in checked.found:
        shown.add_row(*_cells(one))
    return shown


def markdown(checked: Checked) -> str:
    """The same as Markdown."""
    lines = [
        f"### {markdown_text(headline(checked))}",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        "|---|---:|---:|---:|---:|---|",
        *(f"| {' | '.join(_cells(one))} |" for one in checked.found),
        "",
        *(f"- {sentence}" for sentence in checked.sentences()),
        "",
        markdown_text(about(checked)),
    ]
    return "\n".join(lines) + "\n"


def junit(checked: Checked) -> str:
    """The same as JUnit's XML: a test case a limit.

    A limit that is not kept is a failure, one that the data cannot tell an error, and one that was
    not decided since another had ended the check is skipped.
    """
    kinds = {"no": "failure", "cannot tell": "skipped" if checked.verdict == "no" else "error"}
    verdicts = [one.verdict for one in checked.found]
    tags = [kinds.get(verdict, "") for verdict in verdicts]
    root = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name=f"holdfast check {visible(checked.tuned)}",
        tests=str(len(tags)),
        failures=str(tags.count("failure")),
        errors=str(tags.count("error")),
        skipped=str(tags.count("skipped")),
    )
    for one, tag, sentence in zip(checked.found, tags, checked.sentences(), strict=True):
        case = ElementTree.SubElement(
            suite, "testcase", classname="holdfast.check", name=one.question.title
        )
        if tag:
            ElementTree.SubElement(case, tag, message=sentence)
        else:
            ElementTree.SubElement(case, "system-out").text = sentence
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def github(checked: Checked) -> str:
    """The same as annotations of GitHub Actions; the table goes to the job's summary as well.

    Raises:
        UserError: the file that `GITHUB_STEP_SUMMARY` names cannot be written.
    """
    if summary := os.environ.get(_SUMMARY):
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(markdown(checked))
        except OSError as error:
            raise UserError(
                f"{_SUMMARY} is {summary}, which cannot be written: {error.strerror}."
            ) from error
    levels = {"yes": "notice", "no": "error", "cannot tell": "warning"}
    lines = [
        f"::{levels[one.verdict]} title=holdfast check::{_escaped(sentence)}"
        for one, sentence in zip(checked.found, checked.sentences(), strict=True)
    ]
    return "\n".join([*lines, headline(checked)]) + "\n"


def _escaped(text: str) -> str:
    """A message of a workflow command: a line break or a percent sign would end or change it."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


FORMS = {"markdown": markdown, "junit": junit, "github": github}
