"""``holdfast list``: what there is to choose from."""

import ast

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from holdfast import organism
from holdfast.errors import UserError
from holdfast.evaluate.judges import JUDGES, check_judge
from holdfast.protocols import PROTOCOLS
from holdfast.protocols.papers import papers
from holdfast.registry import METHODS
from holdfast.settings import nearest
from holdfast.settings.fields import fields_of
from holdfast.settings.sources import source_of

_STAGES = {
    "align": "1, alignment: train a base model to refuse",
    "finetune": "2, user fine-tuning: train it on a user's rows, some of them harmful",
    "repair": "3, repair: change the fine-tuned model before it is served",
    "evaluate": "4, evaluation: harmful score, accuracy and what stands beside them",
}
_PAPERS = (
    ("Vaccine", "2402.01109", "align", "vaccine", "random_perturbation"),
    ("T-Vaccine", "2410.09760", "align", "t_vaccine", ""),
    ("Lisa", "2405.18641", "finetune", "lisa", "lisa with rho=0 (BSO)"),
    ("Antidote", "2408.09600", "repair", "antidote", "random_mask"),
)
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
WHAT = ("stages", "methods", "papers", "protocols", "judges", "tasks")


def print_lists(what: str | None, console: Console) -> None:
    """Print one of the lists, or all of them.

    Raises:
        UserError: there is no such list.
    """
    if what is not None and what not in WHAT:
        close = nearest(what, WHAT)
        hint = f"did you mean '{close}'? " if close else ""
        raise UserError(f"there is no list of '{what}'; {hint}known are {', '.join(WHAT)}.")
    tables = {
        "stages": _stages,
        "methods": _methods,
        "papers": _papers,
        "protocols": _protocols,
        "judges": _judges,
        "tasks": _tasks,
    }
    for name in WHAT if what is None else [what]:
        console.print(tables[name]())
    if what == "papers":
        _print_experiments(console)


def _stages() -> Table:
    table = Table("command", "stage", title="stages", title_justify="left")
    for command, meaning in _STAGES.items():
        table.add_row(command, meaning)
    return table


def _methods() -> Table:
    table = Table("stage", "method", "what it does", title="methods", title_justify="left")
    table.caption = "Your own: method=my_module:MyTrainer, see docs/add-your-own-method.md."
    table.caption_justify = "left"
    for stage, methods in METHODS.items():
        for method, (target, _) in methods.items():
            table.add_row(stage, method, escape(_summary(target.split(":")[0])))
    return table


def _papers() -> Table:
    table = Table("paper", "arXiv", "stage", "method", "its control", title="papers")
    table.title_justify = "left"
    for row in _PAPERS:
        table.add_row(*row)
    return table


def _print_experiments(console: Console) -> None:
    """The papers' experiments, with the reference by which each one runs."""
    experiments = papers()
    table = Table(title="experiments", title_justify="left")
    table.add_column("reference", min_width=max(len(one.reference) for one in experiments))
    table.add_column("what it varies, and where it stands in the paper")
    for number, experiment in enumerate(experiments):
        following = experiments[number + 1 : number + 2]
        table.add_row(
            experiment.reference,
            escape(f"{experiment.title}: {experiment.source}"),
            end_section=any(one.paper != experiment.paper for one in following),
        )
    console.print(table)
    console.print(
        "Plan one by `holdfast run REFERENCE --plan`; try it small by `holdfast run REFERENCE "
        "--model organism`.",
        highlight=False,
    )


def _protocols() -> Table:
    table = Table("protocol", "version", "what it measures", title="protocols")
    table.title_justify = "left"
    for protocol in PROTOCOLS.values():
        table.add_row(protocol.name, protocol.version, escape(protocol.description))
    return table


def _judges() -> Table:
    table = Table("judge", title="judges", title_justify="left")
    table.add_column("model", overflow="fold")
    table.add_column("what it reads, and what it tells")
    for name, (_, config) in JUDGES.items():
        table.add_row(name, escape(_model(name)), _JUDGES[config.split(":")[1]])
    return table


def _model(judge: str) -> str:
    """The model that a judge loads if it is given no other."""
    if "model" not in fields_of(JUDGES[judge][1]):
        return "–"
    return "the one that you name" if judge == "endpoint" else check_judge(judge)["model"]


def _tasks() -> Table:
    meanings = {
        "sentiment": "is a text positive or negative (SST-2's counterpart)",
        "topic": "which of four topics is a text about (AG News' counterpart)",
        "sums": "a sum in words, worked out step by step (GSM8K's counterpart)",
    }
    table = Table("task", "what it is", title="the organism's user tasks", title_justify="left")
    for task in organism.TASKS:
        table.add_row(task, meanings[task])
    return table


def _summary(module: str) -> str:
    """The first line of a module's docstring, without importing it."""
    docstring = ast.get_docstring(ast.parse(source_of(module).read_text(encoding="utf-8")))
    return (docstring or "").split("\n\n")[0].replace("\n", " ")
