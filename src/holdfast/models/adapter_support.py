"""What can be done with an adapter: one table, by PEFT's types and by the options of LoRA.

Five uses are told apart. ``evaluate``: PEFT loads it and the model answers as it does in plain
PEFT. ``merge``: the base's weights can take it up, so that another adapter or a full fine-tuning
goes on top. ``stack``: it can be written together with other LoRA adapters as one, which a stage's
folder needs as soon as a model has two. ``single``: it can be trained on. ``repair``: single
weights of it can be set to zero.

What is not listed is not possible: a type or an option that PEFT gains is refused until somebody
has entered it here, and a test asks for that.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from holdfast.errors import UserError
from holdfast.models.hub import ADAPTER_CONFIG, ADAPTER_WEIGHTS

Use = Literal["evaluate", "merge", "stack", "single", "repair"]
USES: dict[Use, str] = {
    "evaluate": "evaluated",
    "merge": "merged into its base",
    "stack": "saved as one adapter with others, as a model of two or more needs",
    "single": "trained on (adapter=single)",
    "repair": "repaired",
}
Purpose = Literal["evaluate", "double", "full", "single", "repair"]


@dataclass(frozen=True)
class Support:
    """What is possible with a kind of adapter.

    Args:
        uses: the uses that are.
        why: what stands against the others; empty where nothing does.
    """

    uses: frozenset[str]
    why: str = ""


def _only(uses: str, why: str) -> Support:
    return Support(frozenset(uses.split()), why)


ALL = Support(frozenset(USES))
_OTHER = _only("evaluate merge", "its update is no product of two factors, as LoRA's is")
_BESIDE = _only("evaluate", "its weights act beside the base's and cannot be merged into them")
_BEFORE = _only(
    "", "it puts virtual tokens before the prompt, so no position is where the measures look for it"
)
_TASKS = _only("", "it wants a task's number with every row")
_NOT_TRIED = _only("", "it has not been tried with what it needs to run")

TYPES: dict[str, Support] = {
    "LORA": ALL,
    "ADALORA": _only("evaluate merge", "its ranks follow a schedule of its own training"),
    "PROMPT_TUNING": _BEFORE,
    "P_TUNING": _BEFORE,
    "CPT": _BEFORE,
    "MULTITASK_PROMPT_TUNING": _TASKS,
    "POLY": _TASKS,
    "PREFIX_TUNING": _BESIDE,
    "CARTRIDGE": _BESIDE,
    "ADAPTION_PROMPT": _BESIDE,
    "LILY": _only("", "its router looks at all rows of a batch at once, padding among them"),
    "BEFT": _BESIDE,
    "XLORA": _only("", "it mixes other adapters, which lie elsewhere"),
    "SHADOW": _only("", "it gives out hidden states of its own kind"),
    "ADAMSS": _NOT_TRIED,
    "BOFT": _OTHER,
    "IA3": _OTHER,
    "LOHA": _OTHER,
    "LOKR": _OTHER,
    "OFT": _OTHER,
    "LN_TUNING": _OTHER,
    "VERA": _OTHER,
    "FROD": _OTHER,
    "PVERA": _OTHER,
    "FOURIERFT": _OTHER,
    "GLORA": _OTHER,
    "HRA": _OTHER,
    "VBLORA": _OTHER,
    "UNILORA": _OTHER,
    "MISS": _OTHER,
    "RANDLORA": _OTHER,
    "ROAD": _OTHER,
    "TRAINABLE_TOKENS": _OTHER,
    "HIRA": _OTHER,
    "SHIRA": _OTHER,
    "C3A": _OTHER,
    "WAVEFT": _OTHER,
    "OSF": _OTHER,
    "DELORA": _OTHER,
    "GRALORA": _OTHER,
    "TINYLORA": _OTHER,
    "PSOFT": _OTHER,
    "PEANUT": _OTHER,
    "SUPERTUNING": _OTHER,
    "DEFT": _OTHER,
}

_START = "its starting point changes the base's own weights whenever it is loaded"
_NOT_ALONE = _only("evaluate merge single repair", "it changes more than LoRA's two factors can")

# By the name of LoraConfig's field; one that is empty, None or False counts as not used.
OPTIONS: dict[str, Support] = {
    **dict.fromkeys(
        [
            *("task_type", "peft_type", "auto_mapping", "peft_version", "inference_mode"),
            *("base_model_name_or_path", "revision", "runtime_config"),
            *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
            *("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora"),
            *("lora_dropout", "fan_in_fan_out"),
            # Each counts only with another option, which is decided by its own name.
            *("megatron_core", "qalora_group_size"),
            *("loftq_config", "eva_config", "corda_config", "lora_ga_config"),
        ],
        ALL,
    ),
    "bias": _NOT_ALONE,
    "modules_to_save": _NOT_ALONE,
    "trainable_token_indices": _NOT_ALONE,
    "lora_bias": _only(
        "evaluate single repair", "it adds a bias that not every layer of a base has a place for"
    ),
    "use_dora": _only(
        "evaluate merge single repair", "it scales the base's weights beside adding to them"
    ),
    "ensure_weight_tying": _only(
        "evaluate merge", "embedding and head share one adapter, which another could not"
    ),
    "target_parameters": _only(
        "evaluate merge single repair",
        "its factors belong to a bare parameter (a repair prunes the adapter's others)",
    ),
    "layer_replication": _only("evaluate", "it gives the model more layers than its base has"),
    "alora_invocation_tokens": _only("evaluate", "it acts on a part of the tokens alone"),
    "velora_config": _only("evaluate merge", "its training has a backward pass of its own"),
    "monteclora_config": _only("evaluate merge", "its training draws its weights at random"),
    "kasa_config": _only("evaluate merge", _START),
    "use_bdlora": _only("evaluate merge", "its factors are blocks and no whole matrices"),
    "arrow_config": _only("", "it mixes other adapters, which lie elsewhere"),
    "use_qalora": _NOT_TRIED,
    "megatron_config": _NOT_TRIED,
    "init_lora_weights": ALL,  # by its value, see STARTS
}

# By the value of init_lora_weights.
STARTS: dict[str, Support] = {
    **dict.fromkeys(("True", "False", "gaussian", "eva", "orthogonal"), ALL),
    "mica": _only("evaluate merge", "one of its factors is not trained"),
    "pissa": _only("evaluate merge single", _START),
    "olora": _only("evaluate merge single", _START),
    "pissa_niter_[number of iters]": _only(
        "", "its starting point changes the base's weights, at random whenever it is loaded"
    ),
    "loftq": _only("", "its starting point quantizes the base's own weights"),
    "corda": _only("", "its starting point needs the data that it was found with"),
    "lora_ga": _only("", "its starting point needs the gradients that it was found with"),
}

# Not an option but what may lie in the file: PEFT's save_embedding_layers.
WHOLE_WEIGHTS = _only(
    "evaluate merge single repair", "they take the place of the base's and cannot be added up"
)


def check_stack(entries: tuple[Path, ...], purpose: Purpose) -> None:
    """Find out before anything is loaded that a stack's adapters do not go with what is asked.

    Args:
        entries: the adapters' folders, lowest first.
        purpose: ``double`` trains a new adapter on top, ``full`` the merged weights, ``single`` the
            last entry; ``repair`` changes the last entry; ``evaluate`` changes nothing.

    Raises:
        UserError: names the adapter, its type or option, and what it cannot be.
    """
    last = len(entries) - 1
    for number, entry in enumerate(entries):
        uses: list[Use] = []
        if purpose in ("double", "full"):
            uses.append("stack" if purpose == "double" else "merge")
        elif purpose != "evaluate":
            if number == last:
                uses.append(purpose)
            if last:
                uses.append("stack")
        elif number < last:
            uses.append("merge")
        check_adapter(entry, *uses, "evaluate")


def check_adapter(entry: Path, *uses: Use) -> None:
    """Check one adapter's folder by its config.

    Raises:
        UserError: see `check_stack`.
    """
    found = list(_used(entry))
    for use in uses:
        for what, support in found:
            if use not in support.uses:
                can_merge = all("merge" in one.uses for _, one in found)
                raise UserError(_sentence(f"the adapter {entry}", what, support, use, can_merge))


def check_config(config: Any, use: Use) -> None:
    """Check an adapter that is on a model already, by its ``PeftConfig``.

    Raises:
        UserError: see `check_stack`.
    """
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    values["peft_type"] = getattr(config.peft_type, "value", config.peft_type)
    for what, support in _of_values(values):
        if use not in support.uses:
            raise UserError(_sentence("the model's adapter", what, support, use, False))


def mergeable(entry: Path) -> bool:
    """Whether the base's weights can take up the adapter in a folder."""
    return all("merge" in support.uses for _, support in _used(entry))


def stackable(entry: Path) -> bool:
    """Whether the adapter in a folder is plain LoRA, whose update can be added to others'."""
    return all("stack" in support.uses for _, support in _used(entry))


def _sentence(adapter: str, what: str, support: Support, use: Use, can_merge: bool) -> str:
    advice = "; a repair prunes LoRA, or a model without adapter" if use == "repair" else ""
    if use in ("stack", "single", "repair") and can_merge:
        advice += "; merge it into its base with PEFT's merge_and_unload, and name that instead"
    return f"{adapter} {what}, and it cannot be {USES[use]}: {support.why}{advice}."


def _used(entry: Path) -> Iterator[tuple[str, Support]]:
    path = entry / ADAPTER_CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error
    if not isinstance(values, dict) or "peft_type" not in values:
        raise UserError(f"{path} is no adapter's config: it says no peft_type.")
    yield from _of_values(values)


def _shown(value: object) -> str:
    """A value of a foreign file in one line."""
    return str(value) if str(value).isprintable() else repr(value)


def _of_values(values: dict[str, Any]) -> Iterator[tuple[str, Support]]:
    kind = str(values["peft_type"])
    nobody = _only("", "nobody has decided what can be done with it")
    yield f"is of type {_shown(kind)}", TYPES.get(kind, nobody)
    task = values.get("task_type")
    if task not in (None, "CAUSAL_LM", "FEATURE_EXTRACTION"):
        yield f"is for {_shown(task)}", _only("", "it belongs to no causal language model")
    if kind != "LORA":
        return
    for name, value in values.items():
        if not value or (name == "bias" and value == "none"):
            continue
        if name == "init_lora_weights":
            yield f"starts as {_shown(value)}", start(value)
        elif name in OPTIONS:
            yield f"uses {name}", OPTIONS[name]
        elif not isinstance(value, int | float) or value is True:
            # A number that a later PEFT writes belongs to an option that is off or is told too.
            yield f"uses {name}", nobody


def start(value: bool | str) -> Support:
    """What is possible with a value of init_lora_weights."""
    if str(value).startswith("pissa_niter_"):
        value = "pissa_niter_[number of iters]"
    nobody = _only("", "nobody has decided what can be done with it")
    return STARTS.get(str(value), STARTS.get(str(value).lower(), nobody))


def names_in(entry: Path) -> set[str]:
    """The names of the tensors in an adapter's file.

    Raises:
        UserError: the file is broken.
    """
    path = entry / ADAPTER_WEIGHTS
    try:
        with safe_open(path, framework="pt") as file:
            return set(file.keys())
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is broken or cut off ({error}): get it again.") from error


def as_markdown() -> str:
    """The table as docs/adapters.md shows it; what is decided in the same way shares a row."""
    parts = [
        ("type", TYPES),
        ("option of LoRA", {k: v for k, v in OPTIONS.items() if k != "init_lora_weights"}),
        ("init_lora_weights", STARTS),
        ("in the file", {"whole embedding or head (save_embedding_layers)": WHOLE_WEIGHTS}),
    ]
    texts = []
    for title, kinds in parts:
        together: dict[Support, list[str]] = {}
        for name, support in kinds.items():
            together.setdefault(support, []).append(name if " " in name else f"`{name}`")
        header = [title, *USES, "what stands against it"]
        rows = [
            [", ".join(names), *("yes" if use in one.uses else "no" for use in USES), one.why]
            for one, names in together.items()
        ]
        lines = [header, ["---"] * len(header), *rows]
        texts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(texts) + "\n"


if __name__ == "__main__":
    print(as_markdown(), end="")
