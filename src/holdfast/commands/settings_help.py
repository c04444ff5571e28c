"""The end of a stage command's ``--help``: every setting with its meaning and default."""

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from holdfast.registry import METHODS
from holdfast.settings import Expression, Field, fields_of
from holdfast.stages.defaults import TRAINING, defaults
from holdfast.stages.settings import method_fields, stage_fields


def print_settings(kind: str, console: Console) -> None:
    """Print the settings of a stage, of each of its methods, and of the training beneath them."""
    fields = dict(stage_fields(kind))
    lora = fields.pop("lora", {})
    recipe = defaults(kind, "", is_organism=True)
    general = defaults(kind, "", is_organism=False)
    console.print(_table(f"settings of {kind}", fields, general, recipe))
    if lora:
        adapter = {f"lora.{name}": field for name, field in lora.items()}
        own = {f"lora.{name}": value for name, value in recipe.get("lora", {}).items()}
        console.print(_table("the adapter", adapter, {}, own))
    training: Mapping[str, Field] = {}
    from_transformers = fields_of("transformers.training_args:TrainingArguments") if lora else {}
    for method in METHODS[kind]:
        own = method_fields(kind, method)
        training = {name: own[name] for name in TRAINING if name in own}
        mine = {name: field for name, field in own.items() if name not in from_transformers}
        both = (defaults(kind, method, is_organism) for is_organism in (False, True))
        console.print(_table(f"method={method}", mine, *both))
    if training:
        console.print(_table("training", training, general, recipe))
        console.print(
            "Any other field of transformers.TrainingArguments is a setting too.", highlight=False
        )
    console.print(
        "Where two defaults stand, the second is the one for the organism.", highlight=False
    )


def _table(
    title: str,
    fields: Mapping[str, Field],
    general: Mapping[str, object],
    organism: Mapping[str, object],
) -> Table:
    table = Table("key", "default", "meaning", title=title, title_justify="left", expand=True)
    for name, field in fields.items():
        usual = general.get(name, field.default)
        default = _shown(usual)
        if name in organism and organism[name] != usual:
            default += f" / {_shown(organism[name])}"
        table.add_row(name, escape(default), escape(_first_sentence(field.help)))
    return table


def _shown(value: object) -> str:
    if isinstance(value, Expression):
        return "set by transformers"
    if value is None:
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _first_sentence(text: str) -> str:
    """The first sentence of a long help; ours are one sentence, transformers' can be pages."""
    end = text.find(". ")
    return text if end < 0 else text[: end + 1]
