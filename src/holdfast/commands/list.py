"""``holdfast list``: what there is to choose from."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from holdfast import organism
from holdfast.attacks import ATTACKS
from holdfast.commands.answers import answer
from holdfast.errors import UserError
from holdfast.evaluate.judges import JUDGES, check_judge
from holdfast.protocols import PROTOCOLS
from holdfast.protocols.papers import papers
from holdfast.registry import METHODS, plan_of
from holdfast.settings import nearest
from holdfast.settings.fields import fields_of
from holdfast.settings.sources import source_of
from holdfast.stages.methods import method_of

_STAGES = {
    "align": "1, alignment: train a base model to refuse",
    "screen": "before 2, screening: take harmful rows out of the user's",
    "finetune": "2, user fine-tuning: train it on a user's rows, some of them harmful",
    "repair": "3, repair: change the fine-tuned model before it is served",
    "evaluate": "4, evaluation: harmful score, accuracy and what stands beside them",
}
# What each judge is shown, and what it says; by the class of its settings.
_JUDGES = {
    "OrganismConfig": "an answer to the organism's own question: it knows the right one",
    "KeywordsConfig": "the answer: 13 phrases of a refusal (AdvBench)",
    "AffirmativeConfig": "the answer's opening: is it the row's target's (AdvBench's success)",
    "EndpointConfig": "prompt and answer, in a rubric of holdfast's or your own",
    "BeaverDamConfig": "prompt and answer, 256 tokens of both together: 14 kinds of harm",
    "Qwen3GuardConfig": "prompt and answer as a chat: safe, controversial, unsafe; refusal",
    "LlamaGuard3Config": "prompt and answer as a chat: safe, or the hazards of MLCommons",
    "LlamaGuard4Config": "prompt and answer as a chat: safe, or the hazards of MLCommons",
    "WildGuardConfig": "prompt and answer: harmful request, refusal, harmful answer",
    "HarmBenchConfig": "prompt and answer: does the answer do what was asked",
}
# What a method asks for, by the name of its parameter.
_NEEDS = {
    "harmful_dataset": "harmful rows",
    "paired_dataset": "harmful answers to prompts of the alignment rows",
    "alignment_dataset": "alignment rows",
    "checkpoints": "the base and the aligned model",
    "alignment_update": "the base and the aligned model",
}
_VARIES = "what it varies, and where it stands in the paper"
WHAT = ("stages", "methods", "papers", "attacks", "protocols", "judges", "tasks")


@dataclass(frozen=True)
class _List:
    """One list.

    Args:
        title: its heading.
        columns: what it says of an entry: a key, and the column's heading.
        entries: the entries, by key.
        note: a sentence below it.
    """

    title: str
    columns: dict[str, str]
    entries: Sequence[Mapping[str, str | None]]
    note: str = ""

    def shown(self) -> Table:
        """The list as a table; in no column a word is cut."""
        table = Table(title=self.title, title_justify="left", caption_justify="left")
        table.caption = self.note or None
        for key, heading in self.columns.items():
            # Names and references are copied, so they are whole, in one line if it fits.
            whole = key in ("reference", next(iter(self.columns)))
            widest = max((len(one[key] or "") for one in self.entries), default=0)
            table.add_column(heading, overflow="fold", min_width=widest if whole else None)
        for one, following in zip(self.entries, [*self.entries[1:], None], strict=True):
            section = following and "reference" in one and one["paper"] != following["paper"]
            cells = (one[key] or "" for key in self.columns)
            table.add_row(*cells, end_section=bool(section))
        return table


def print_lists(what: str | None, console: Console) -> None:
    """Print one of the lists, or all of them.

    Raises:
        UserError: there is no such list.
    """
    if what is not None and what not in WHAT:
        close = nearest(what, WHAT)
        hint = f"did you mean '{close}'? " if close else ""
        raise UserError(f"there is no list of '{what}'; {hint}known are {', '.join(WHAT)}.")
    made = {
        "stages": _stages,
        "methods": _methods,
        "papers": _papers,
        "attacks": _attacks,
        "protocols": _protocols,
        "judges": _judges,
        "tasks": _tasks,
    }
    lists = {name: made[name]() for name in (WHAT if what is None else [what])}
    notes = []
    if what == "papers":
        lists["experiments"] = _experiments()
        notes = [
            Text(
                "Plan one by `holdfast run REFERENCE --plan`; try it small by `holdfast run "
                "REFERENCE --model organism`."
            )
        ]
    content = {name: one.entries for name, one in lists.items()}
    answer(console, "list", content, *(one.shown() for one in lists.values()), *notes)


def _stages() -> _List:
    entries = [{"command": command, "meaning": told} for command, told in _STAGES.items()]
    return _List("stages", {"command": "command", "meaning": "stage"}, entries)


def _methods() -> _List:
    entries = [
        {
            "stage": stage,
            "method": method,
            "meaning": _summary(entry.code.split(":")[0]),
            "needs": needs(stage, method),
            "unverified": entry.unverified or None,
        }
        for stage, methods in METHODS.items()
        for method, entry in methods.items()
    ]
    columns = {"stage": "stage", "method": "method", "meaning": "what it does", "needs": "needs"}
    note = (
        "needs: beside the rows that every method of its stage trains on. Your own: "
        "method=my_module:MyTrainer, see docs/add-your-own-method.md."
    )
    doubts = [f"{one['method']}: {one['unverified']}" for one in entries if one["unverified"]]
    if doubts:
        note += f" Not verified at the source: {'; '.join(doubts)}."
    return _List("methods", columns, entries, note)


def needs(stage: str, method: str) -> str:
    """What a method needs beside its stage's own rows, in words; "" for nothing."""
    asks, defaults = method_of(stage, method).asks, fields_of(METHODS[stage][method].config)
    given = {name: known.default for name, known in defaults.items()}
    if stage != "repair" and not plan_of(stage, method).reads_rows(given):
        asks = {name for name in asks if not name.endswith("_dataset")}
    found = [words for name, words in _NEEDS.items() if name in asks]
    return ", ".join(["harmful rows"] * (stage == "repair" and "dataset" in asks) + found)


def _papers() -> _List:
    columns = {"paper": "paper", "arxiv": "arXiv", "stage": "stage", "method": "method"}
    columns["control"] = "its control"
    rows = [
        (entry.title, entry.arxiv, stage, method, entry.control)
        for stage, methods in METHODS.items()
        for method, entry in methods.items()
        if entry.arxiv
    ]
    entries = [{k: v or None for k, v in zip(columns, row, strict=True)} for row in rows]
    return _List("papers", columns, entries)


def _experiments() -> _List:
    """The papers' experiments, with the reference by which each one runs."""
    columns = {"reference": "reference", "meaning": _VARIES}
    entries = [
        {"reference": o.reference, "paper": o.paper, "meaning": f"{o.title}: {o.source}"}
        for o in papers()
    ]
    return _List("experiments", columns, entries)


def _attacks() -> _List:
    columns = {"attack": "attack", "meaning": "what the user's rows are", "knows": "it knows"}
    columns |= {"has": "it has", "arxiv": "arXiv"}
    entries = [
        {
            "attack": name,
            "meaning": one.what,
            "knows": one.knows,
            "has": one.has,
            "arxiv": one.arxiv,
            "asks": "in its own way, too" if one.asks else "plainly",
            "differs": one.differs or None,
            "organism": one.not_on_organism or None,
        }
        for name, one in ATTACKS.items()
    ]
    asking = ", ".join(name for name, one in ATTACKS.items() if one.asks)
    missing = ", ".join(name for name, one in ATTACKS.items() if one.not_on_organism)
    note = (
        f"attack=NAME is a setting of the fine-tuning. {asking}: the evaluation asks the harmful "
        f"prompts in the attack's way, too. {missing}: not on the organism."
    )
    return _List("attacks", columns, entries, note)


def _protocols() -> _List:
    columns = {"protocol": "protocol", "version": "version", "meaning": "what it measures"}
    entries = [
        {"protocol": one.name, "version": str(one.version), "meaning": one.description}
        for one in PROTOCOLS.values()
    ]
    return _List("protocols", columns, entries)


def _judges() -> _List:
    columns = {"judge": "judge", "model": "model", "meaning": "what it reads, and what it tells"}
    entries = [
        {"judge": name, "model": _model(name), "meaning": _JUDGES[config.split(":")[1]]}
        for name, (_, config) in JUDGES.items()
    ]
    return _List("judges", columns, entries)


def _model(judge: str) -> str:
    """The model that a judge loads if it is given no other."""
    if "model" not in fields_of(JUDGES[judge][1]):
        return "–"
    return "the one that you name" if judge == "endpoint" else check_judge(judge)["model"]


def _tasks() -> _List:
    meanings = {
        "sentiment": "is a text positive or negative (SST-2's counterpart)",
        "topic": "which of four topics is a text about (AG News' counterpart)",
        "sums": "a sum in words, worked out step by step (GSM8K's counterpart)",
    }
    entries = [{"task": task, "meaning": meanings[task]} for task in organism.TASKS]
    return _List("the organism's user tasks", {"task": "task", "meaning": "what it is"}, entries)


def _summary(module: str) -> str:
    """The first line of a module's docstring, without importing it."""
    docstring = ast.get_docstring(ast.parse(source_of(module).read_text(encoding="utf-8")))
    return (docstring or "").split("\n\n")[0].replace("\n", " ")
