"""What every method needs and costs, into docs/choose-a-method.md.

    python benchmarks/method_costs.py

Needs are what its code asks for, costs what its plan says, with the defaults on a model of 32
layers, where plain fine-tuning takes one pass over the rows in 1,000 steps. Nothing is measured;
`benchmarks/step_cost.py` measures.
"""

from pathlib import Path

from holdfast.commands.list import needs
from holdfast.models.stack import resolve as stack_of
from holdfast.plans import Pass
from holdfast.registry import METHODS, plan_of
from holdfast.stages.resolve import resolve

PAGE = Path(__file__).parent.parent / "docs" / "choose-a-method.md"
BEGIN, END = "<!-- written by python benchmarks/method_costs.py -->\n", "<!-- end -->\n"
LAYERS, STEPS = 32, 1000


def table() -> str:
    """The table's lines."""
    lines = ["| stage | method | paper | needs | passes | copies |", "|---|---|---|---|---:|---:|"]
    for kind in ("align", "finetune", "repair"):
        for name, entry in METHODS[kind].items():
            title = f"*{name}*" if entry.control_of or name == "sft" else name
            paper = f"[{entry.title}](https://arxiv.org/abs/{entry.arxiv})"
            cells = [kind, title, paper if entry.arxiv else entry.title, needs(kind, name)]
            cells += [*_cost(kind, name)] if kind != "repair" else ["–", "–"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cost(kind: str, name: str) -> tuple[str, str]:
    given = {"method": name, "dtype": "bfloat16"}
    settings = resolve(kind, given, stack_of("organism"))
    plan, one = plan_of(kind, name), Pass(forward=1.0, again=0.0, backward=1.0, weights=0.0)
    size = settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"]
    of_one_pass = {**settings, "num_train_epochs": 1, "rows": STEPS * size}
    steps = plan.steps(of_one_pass, STEPS)[0]
    passes = plan.operations(one, of_one_pass, LAYERS, steps) / one.whole * steps / STEPS
    return f"{passes:.3g}", f"{plan.copies:g}"


def page(text: str) -> str:
    """The page with the table in its place."""
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    return text[:start] + "\n" + table() + "\n" + text[end:]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
