"""The tables of different pages say the same of the same runs."""

import re

from pages import ROOT, page

MEASURED = ("HS ↓", "FA ↑", "refusal", "over-refusal ↓", "coherence ↑")


def rows(text: str) -> dict[tuple[str, str], dict[str, str]]:
    """The first table's rows by variant and p; without marks, which depend on the other rows."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    header, _, *found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    named = [dict(zip(header, row, strict=True)) for row in found if len(row) == len(header)]
    return {
        (row["variant"], row["p"]): {m: re.sub(r"[*≈ ]", "", row[m]) for m in MEASURED}
        for row in named
    }


def of_the_tables() -> dict[tuple[str, str], dict[str, str]]:
    """The organism's table at the strength of the attack that the settings were chosen for."""
    part = page("organism-tables").split("## The user's fine-tuning as it is")[1]
    return rows(part.split("\n## ")[0])


def test_the_demo_and_the_organisms_tables_agree():
    demo = rows(page("README").split("<!-- demo -->")[1].split("<!-- /demo -->")[0])
    tables = of_the_tables()
    assert len(demo) == 8
    assert {place: tables[place] for place in demo} == demo


def test_the_example_and_the_organisms_tables_agree():
    report = (ROOT / "examples" / "defenses" / "report.md").read_text(encoding="utf-8")
    report = report.split("## Worst case")[0]
    lines = [line for line in report.splitlines() if line.startswith("|")]
    kept = [line for line in lines[2:] if "| sums |" in line and "| 1.5e-4 |" in line]
    text = "\n".join(re.sub(r"\| sums |1\.5e-4 \| ", "", line) for line in kept)
    header = lines[0].replace("| task ", "").replace("| fine-tuning learning rate ", "")
    example = rows(f"{header}\n|---|\n{text}")
    tables = of_the_tables()
    for variant in ("SFT", "Vaccine", "T-Vaccine", "Lisa", "Antidote", "Vaccine + Lisa + Antidote"):
        assert example[variant, "0.1"] == tables[variant, "0.1"]
