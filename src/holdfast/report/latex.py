r"""Sheets in LaTeX: booktabs, every special character escaped, a document that compiles as it is.

It asks for pdflatex with booktabs, geometry and fontenc, which every TeX distribution has. A table
can be taken out of the document and put into a paper: from \begin{table} to \end{table}.
"""

import unicodedata
from collections.abc import Sequence

from holdfast.escape import visible
from holdfast.report.sheet import Entry, Sheet

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "-": r"{-}",  # or two of them would become a dash
    "[": r"{[}",  # or one at the beginning of a line would be an option of \\
    "]": r"{]}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "‘": r"\textquoteleft{}",
    "’": r"\textquoteright{}",
    "–": r"{--}",
    "—": r"{---}",
    "…": r"\ldots{}",
    "−": r"\ensuremath{-}",
    "×": r"\ensuremath{\times}",
    "·": r"\ensuremath{\cdot}",
    "≈": r"\ensuremath{\approx}",
    "≤": r"\ensuremath{\leq}",
    "≥": r"\ensuremath{\geq}",
    "±": r"\ensuremath{\pm}",
    "↓": r"\ensuremath{\downarrow}",
    "↑": r"\ensuremath{\uparrow}",
    "→": r"\ensuremath{\rightarrow}",
}
_NOT_IN_T1 = "ĸĿŀŉŦŧſ"
_GREEK = {"LAMDA": "lambda", "FINAL SIGMA": "varsigma", "OMICRON": "o"}
# Capitals that TeX writes with a Latin letter.
_LATIN = {
    "ALPHA": "A",
    "BETA": "B",
    "EPSILON": "E",
    "ZETA": "Z",
    "ETA": "H",
    "IOTA": "I",
    "KAPPA": "K",
    "MU": "M",
    "NU": "N",
    "OMICRON": "O",
    "RHO": "P",
    "TAU": "T",
    "UPSILON": "Y",
    "CHI": "X",
}


def latex_text(text: str) -> str:
    """The text for LaTeX: nothing in it is a command, and every character can be set.

    A letter that the fonts of pdflatex lack becomes its code point, as in [U+4E2D].
    """
    return "".join(map(_character, visible(text)))


def _character(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if character.isascii():
        return character
    greek = unicodedata.name(character, "").partition("GREEK ")[2]
    case, _, letter = greek.partition(" LETTER ")
    if case == "SMALL" and " WITH " not in letter:
        name = _GREEK.get(letter, letter.lower())
        return rf"\ensuremath{{\{name}}}" if name != "o" else "o"
    if case == "CAPITAL" and " WITH " not in letter:
        name = _GREEK.get(letter, letter.lower()).capitalize()
        return _LATIN.get(letter, rf"\ensuremath{{\{name}}}")
    if ord(character) < 0x180 and character not in _NOT_IN_T1:
        return character  # Latin letters with accents, and signs of Western keyboards
    return f"{{[}}U+{ord(character):04X}{{]}}"


def latex_sheet(sheet: Sheet) -> str:
    """A sheet as a table with its title as caption and its notes below."""
    layout = "".join("r" if column.right else "l" for column in sheet.columns)
    lines = [
        r"\begin{table}[htbp]",
        r"\centering\small",
        rf"\caption{{{latex_text(sheet.title)}}}",
        r"\setlength{\tabcolsep}{3pt}",
        # No wider than the page.
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{@{{}}{layout}@{{}}}}",
        r"\toprule",
        " & ".join(latex_text(column.title) for column in sheet.columns) + r" \\",
        r"\midrule",
        *(" & ".join(map(_cell, row)) + r" \\" for row in sheet.rows),
        r"\bottomrule",
        r"\end{tabular}}",
    ]
    if sheet.notes:
        notes = r" \\ ".join(latex_text(note) for note in sheet.notes)
        lines.append(rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize {notes}}}")
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _cell(entry: Entry) -> str:
    text = latex_text(entry.text)
    if entry.look == "best":
        text = rf"\textbf{{{text}}}"
    if entry.look == "close":
        text = rf"\ensuremath{{\approx}}\,{text}"
    return rf"{text} {{\scriptsize {latex_text(entry.more)}}}" if entry.more else text


def latex_document(title: str, paragraphs: Sequence[str], sheets: Sequence[Sheet]) -> str:
    """A whole document: the title, paragraphs, the tables."""
    return "\n".join(
        [
            r"\documentclass{article}",
            r"\usepackage[T1]{fontenc}",
            r"\usepackage[utf8]{inputenc}",
            r"\usepackage{textcomp}",
            r"\usepackage{booktabs}",
            r"\usepackage{graphicx}",
            r"\usepackage[landscape,margin=2cm]{geometry}",
            r"\setlength{\parindent}{0pt}\setlength{\parskip}{4pt}",
            r"\begin{document}",
            rf"\section*{{{latex_text(title)}}}",
            *(latex_text(paragraph) + "\n" for paragraph in paragraphs),
            *map(latex_sheet, sheets),
            r"\end{document}",
            "",
        ]
    )
