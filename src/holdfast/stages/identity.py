"""A stage's identity: a hash of all that decides its result, and of nothing else."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from holdfast.attacks import MIXED, asks_so
from holdfast.models.fingerprint import folder_fingerprint
from holdfast.models.stack import Stack
from holdfast.models.templates import template_identity
from holdfast.registry import entry_of, plan_of
from holdfast.stages.elsewhere import NEUTRAL
from holdfast.stages.methods import is_own, method_of
from holdfast.stages.settings import mechanism_settings

# To be raised when the computation of an evaluation changes, so that results of the old one are not
# taken for the new one's; a method's stands in `holdfast.registry`. The package's version does not
# count: a change of the report keeps every result. That of a method from outside is its source's
# hash.
EVALUATION = 1

# Where things lie and what they are called decides no result: their content is hashed instead.
_NAMES = {"model", "reference", "base_model"}
# Of conversations it is in what their rows' fingerprints say; of other rows it changes nothing.
_NAMES |= {"train_on"}
_NAMES |= {"data", "harmful_data", "alignment_data", "probe_data", "columns", "sampling"}
# An evaluation's protocol and judges are hashed with all that is in them.
_NAMES |= {"judge", "words_file"}
_NAMES |= {"benign_data", "task_data", "protocol", "judges", "limit", "max_new_tokens"}


def stage_identity(
    kind: str,
    settings: Mapping[str, Any],
    parents: Mapping[str, str],
    data: Mapping[str, str],
) -> str:
    """The identity of a stage, 64 hexadecimal digits.

    Args:
        kind: the kind of stage.
        settings: its resolved settings.
        parents: the identities of what it starts from, by role ("model", "reference").
        data: the fingerprints of its sets of rows, by role.
    """
    method = settings.get("method", kind)
    entry = entry_of(kind, method)
    mechanism: int | str = entry.version if entry else EVALUATION
    left_out = NEUTRAL | _NAMES
    if is_own(method):
        mechanism = method_of(kind, method).version
        left_out -= mechanism_settings(kind, method)  # names that mean something else there
    decisive = {k: v for k, v in known_attack(settings).items() if k not in left_out}
    if decisive.get("processes") == 1:  # the only one there was, before there could be several
        decisive = {k: v for k, v in decisive.items() if k not in ("processes", "parallel")}
    newer = {"finetune": "probe_rows", "repair": "alignment_rows"}.get(kind, "")
    if newer in decisive and decisive[newer] is None:  # likewise
        del decisive[newer]
    if decisive.get("tensor_parallel_size") == 1:  # likewise
        del decisive["tensor_parallel_size"]
    if kind != "evaluate":
        decisive = plan_of(kind, method).decisive(decisive)
    elif decisive["system_prompt"] is None:  # then the model's identity says it
        del decisive["system_prompt"]
    if decisive.get("adapter") == "full" and decisive["dtype"] != "float32":
        decisive["trained_in"] = "float32"  # once the weights themselves were in 16 bits
    if "template" in decisive:
        decisive["template"] = template_identity(decisive["template"])
    return _hash([kind, mechanism, decisive, dict(parents), dict(data)])


def known_attack(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without an attack that changes nothing: of a stage that trains or repairs the
    only one that there was once, of an evaluation one that asks plainly."""
    attack = settings.get("attack")
    says = attack not in (None, MIXED) and ("protocol" not in settings or asks_so(attack))
    return {key: value for key, value in settings.items() if key != "attack" or says}


def model_identity(stack: Stack) -> str:
    """The identity of a model that no stage here made: its base and its adapters, by content.

    Of a base on the Hub the commit stands for its content. A tokenizer that an adapter brought
    counts too, as its chat template decides what the model reads.
    """
    folder = stack.base_folder()
    base = folder_fingerprint(folder) if folder else f"{stack.base}@{stack.revision}"
    parts: list[Any] = [base, [folder_fingerprint(entry) for entry in stack.entries]]
    if stack.tokenizer and stack.tokenizer not in stack.entries:
        parts.append(folder_fingerprint(stack.tokenizer))
    return _hash(parts)


def _hash(content: Any) -> str:
    text = json.dumps(_numbers(content), sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _numbers(content: Any) -> Any:
    """The same with whole numbers written one way: 16.0 is 16, however a setting came in."""
    if isinstance(content, float):
        return int(content) if content.is_integer() else content
    if content is None or isinstance(content, str | int):
        return content
    if isinstance(content, Mapping):
        return {key: _numbers(value) for key, value in content.items()}
    return [_numbers(v) for v in content] if isinstance(content, list | tuple) else content
