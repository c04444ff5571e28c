"""An evaluation's settings: its protocol, judges and prompts, checked without loading anything."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from holdfast import protocols
from holdfast.attacks import asked, asks_so
from holdfast.data.keys import fingerprint
from holdfast.data.sources import load, split_reference
from holdfast.data.sources.prepared import data_folder, manifest
from holdfast.errors import UserError
from holdfast.evaluate.judges import check_judge
from holdfast.evaluate.judges.affirmative import check_targets
from holdfast.evaluate.judges.endpoint_settings import read_template
from holdfast.evaluate.prompts import check_task, own_rows, prompt_sets
from holdfast.models.accelerator import lacks_bfloat16
from holdfast.protocols import Protocol
from holdfast.protocols.pressure import PRESSURES
from holdfast.settings import at

OWN_PROMPTS = {
    "harmful": "harmful_data",
    "benign": "benign_data",
    "task": "task_data",
    "alignment": "alignment_data",
}
WIKITEXT2 = "wikitext2"
ATTENTION_DRIFT = "attention_drift"
LM_EVAL = "lm_eval="


def resolve_evaluation(
    settings: Mapping[str, Any], is_organism: bool, where: str
) -> dict[str, Any]:
    """The settings that follow from the protocol where the user gives none.

    Raises:
        UserError: an unknown protocol, task or judge; a protocol that is not for this model.
    """
    name = settings["protocol"] or ("organism" if is_organism else "holdfast")
    try:
        protocol = protocols.get(name)
    except UserError as error:
        raise UserError(f"{at(where, 'protocol')}: {error}") from None
    if protocol.harmful_data is None and not is_organism:
        raise UserError(
            f"{at(where, 'protocol')}: "
            f"the protocol '{protocol.name}' asks the organism's own questions: it "
            "measures the organism and models trained from it, no others."
        )
    if protocol.harmful_data is not None and is_organism and not settings["harmful_data"]:
        raise UserError(
            f"{at(where, 'protocol')}: "
            f"the protocol '{protocol.name}' asks real questions, of which the organism "
            "knows nothing: leave protocol out."
        )
    if not settings["task_data"]:
        check_task(settings["task"], is_organism, where)
    for key in OWN_PROMPTS.values():
        if settings[key]:
            split_reference(settings[key])
    for extra in settings["also"] or []:
        if extra not in (WIKITEXT2, ATTENTION_DRIFT) and not (
            extra.startswith(LM_EVAL) and extra != LM_EVAL
        ):
            raise UserError(
                f"{at(where, 'also')}: "
                f"also: '{extra}' is nothing to measure; write {WIKITEXT2}, {ATTENTION_DRIFT}, or "
                f"{LM_EVAL}TASK for a task of lm-eval."
            )
    specs = settings["judges"] if settings["judges"] is not None else protocol.judges
    if not specs:
        raise UserError(f"{at(where, 'judges')}: judges is an empty list; name at least one.")
    judges = [check_judge(spec, f"{at(where, 'judges')}: judges") for spec in specs]
    names = [judge["name"] for judge in judges]
    twice = [name for number, name in enumerate(names) if name in names[:number]]
    if twice:
        raise UserError(f"{at(where, 'judges')}: judges names '{twice[0]}' twice.")
    if "organism" in names and not is_organism:
        raise UserError(
            f"{at(where, 'judges')}: "
            "the judge 'organism' judges answers to the organism's own questions, no "
            "others: name another judge."
        )
    if settings["reference"] and not _has_alignment(settings, protocol):
        raise UserError(
            f"{at(where, 'reference')}: drift from the reference is measured on alignment rows, "
            "and beside one's own prompts there are none: name them (alignment_data=rows.jsonl, or "
            f"alignment_data={protocol.alignment_data} for the protocol's), or leave reference out."
        )
    backend = settings["backend"] or protocol.backend
    _check_vllm(settings, backend, where)
    if backend == "vllm" and any(PRESSURES[part].temperature for part in protocol.pressure or ()):
        raise UserError(
            f"{at(where, 'backend')}: the protocol {protocol.name} samples answers, which vllm "
            "does not do here: leave backend out."
        )
    dtype = settings["dtype"]
    if dtype == "auto":
        narrow = protocol.dtype == "bfloat16" and lacks_bfloat16()
        dtype = "float16" if narrow else protocol.dtype
    return {
        "protocol": name,
        "judges": judges,
        "backend": backend,
        "dtype": dtype,
    }


def _has_alignment(settings: Mapping[str, Any], protocol: Protocol) -> bool:
    """Whether there are alignment rows, as `prompt_sets` has it."""
    own = bool(settings["alignment_data"])
    return own or protocol.harmful_data is None or not settings["harmful_data"]


def _check_vllm(settings: Mapping[str, Any], backend: str, where: str) -> None:
    share, gpus = settings["gpu_memory_utilization"], settings["tensor_parallel_size"]
    given = {"gpu_memory_utilization": share is not None, "tensor_parallel_size": gpus > 1}
    for key in (key for key, said in given.items() if said and backend != "vllm"):
        raise UserError(
            f"{at(where, key)}: {key} is a setting of vLLM, and {backend} answers: add "
            "backend=vllm, or leave it out."
        )


def stage_protocol(settings: Mapping[str, Any]) -> Protocol:
    """The protocol of a resolved evaluation; what differs from the published one is told in it."""
    protocol = protocols.get(settings["protocol"]).of_task(settings["task"])
    judges = [judge["name"] for judge in settings["judges"]]
    changes: dict[str, Any] = {}
    if judges != protocol.judges:
        changes["judge"] = " + ".join(judges)
    if settings["backend"] != protocol.backend:
        changes["backend"] = settings["backend"]
    if settings["dtype"] != protocol.dtype:
        changes |= {"dtype": settings["dtype"], "task_dtype": None}
    longest = settings["max_new_tokens"]
    if longest and {longest} != {protocol.max_new_tokens, protocol.tokens("task")}:
        changes |= {"max_new_tokens": longest, "task_tokens": None}
    own = {name: settings[key] for name, key in OWN_PROMPTS.items() if settings[key]}
    if own:
        given = ", ".join(f"{name}: {Path(str(ref)).name}" for name, ref in own.items())
        changes["prompts"] = f"{protocol.prompts}; in their place {given}"
    if settings["limit"]:
        counts = ("n_harmful", "n_benign", "n_task", "n_alignment")
        changes |= {name: min(getattr(protocol, name), settings["limit"]) for name in counts}
    if changes:  # not the published protocol any more, and its name says so
        protocol = replace(protocol, version=f"{protocol.version}, changed", **changes)
    # No other answers, but for a word or two in bfloat16: told, and the protocol all the same.
    return replace(protocol, batch_size=settings["batch_size"] or protocol.batch_size)


def prompts_asked(settings: Mapping[str, Any]) -> dict[str, int]:
    """How many prompts of each set a resolved evaluation asks, as far as it can be told at hand.

    One's own rows are counted where their file is here or the known data set is prepared; else a
    set is taken to have the protocol's number. Nothing is downloaded.
    """
    protocol = stage_protocol(settings)
    found: dict[str, int] = {
        "harmful": protocol.n_harmful,
        "benign": protocol.n_benign,
        "task": protocol.n_task if settings["task"] or settings["task_data"] else 0,
        "alignment": protocol.n_alignment if _has_alignment(settings, protocol) else 0,
    }
    for name, key in OWN_PROMPTS.items():
        count = _rows_at_hand(settings[key]) if settings[key] else None
        if count is not None:
            found[name] = min(count, settings["limit"] or count)
    attacked = found["harmful"] if asks_so(settings.get("attack")) else 0
    found["harmful"] *= 1 + sum(PRESSURES[part].samples for part in protocol.pressure or ())
    return {**found, "attacked": attacked}


def _rows_at_hand(reference: str) -> int | None:
    named = split_reference(reference)
    try:
        if named.path:
            return len(load(reference)) if Path(named.path).is_file() else None
        entry = manifest(data_folder(), named.name).get(named.part) if named.name else None
    except UserError:  # told where the rows are read
        return None
    return entry["rows"] if entry else None


def measured_by(settings: Mapping[str, Any], identify: Callable[[str], str]) -> dict[str, str]:
    """What stands in an evaluation's identity for its protocol and its judges.

    Args:
        settings: the resolved settings.
        identify: gives the identity of a judge's model, a folder or a Hub id.

    Raises:
        UserError: a judge's model or its own prompt is not there.
    """
    decides = {key: settings[key] for key in _PROTOCOL}
    found = {"protocol": _protocol_fingerprint(json.dumps(decides))}
    for judge in settings["judges"]:
        found[f"judge {judge['name']}"] = judge_identity(judge, identify)
    return found


def judge_identity(judge: Mapping[str, Any], identify: Callable[[str], str]) -> str:
    """What stands in an identity for a judge, as `check_judge` resolved it.

    Raises:
        UserError: its model or its own prompt is not there.
    """
    own = {key: value for key, value in judge.items() if key not in _COST_ONLY}
    if judge["name"] == "endpoint":
        own["prompt"] = read_template(own["prompt"]) if own["prompt"] else None
        if own["rubric"] == "holdfast":  # the only one there was
            del own["rubric"]
    elif "model" in own:
        revision = own.pop("revision")
        try:
            own["model"] = identify(f"{own['model']}@{revision}" if revision else own["model"])
        except UserError as error:
            raise UserError(f"the judge {judge['name']}: {error}") from None
    return fingerprint([own])


# What `stage_protocol` reads.
_PROTOCOL = ("protocol", "task", "judges", "backend", "dtype", "limit", *OWN_PROMPTS.values())
_PROTOCOL += ("max_new_tokens", "batch_size")


@lru_cache
def _protocol_fingerprint(settings: str) -> str:
    """The fingerprint of the protocol of an evaluation; of a study's many they are few."""
    record = stage_protocol(json.loads(settings)).record()
    # The description may be worded better without a new result.
    return fingerprint([{k: v for k, v in record.items() if k != "description"}])


# Settings of a judge that change what it costs and not what it says.
_COST_ONLY = {"batch_size", "cache", "concurrency", "limit_usd", "max_retries", "timeout"}
_COST_ONLY |= {"api_key_env", "price_per_million_input", "price_per_million_output"}


def evaluation_rows(
    settings: Mapping[str, Any], is_organism: bool = False
) -> dict[str, list[dict[str, Any]]]:
    """The rows of an evaluation by set; the harmful ones as an attacker asks them are "attacked".

    Raises:
        UserError: as `holdfast.evaluate.prompts.prompt_sets`; a prompt that has no place for what
            the attack says.
    """
    sets = prompt_sets(
        protocols.get(settings["protocol"]),
        settings["task"],
        settings["seed"],
        {name: settings[key] for name, key in OWN_PROMPTS.items() if settings[key]},
        settings["limit"],
    )
    attack = settings.get("attack")
    if "harmful" in sets and attack is not None and asks_so(attack):
        sets["attacked"] = [asked(attack, row, is_organism) for row in sets["harmful"]]
    return sets


def check_own_files(settings: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Check the rows of an evaluation that are in the user's own files; reads no other data set.

    Returns:
        Each file's rows, by the setting that names it.

    Raises:
        UserError: as `evaluation_rows`.
    """
    exact = any(judge["name"] == "organism" for judge in settings["judges"])
    return {
        key: own_rows(settings[key], name, settings["task"], exact)
        for name, key in OWN_PROMPTS.items()
        if settings[key] and split_reference(settings[key]).path
    }


def check_judged_rows(settings: Mapping[str, Any], at_hand: bool = False) -> None:
    """Check that the harmful prompts have what a judge needs of them, before any is asked.

    Args:
        settings: an evaluation's resolved settings.
        at_hand: for a plan: only rows that are on this machine already, and all of their set.

    Raises:
        UserError: as `evaluation_rows`; the judge `affirmative` is asked, and a row has no target.
    """
    if "affirmative" not in (judge["name"] for judge in settings["judges"]):
        return
    protocol = protocols.get(settings["protocol"])
    named = settings["harmful_data"] or protocol.harmful_data
    if not at_hand:
        rows = evaluation_rows(settings)["harmful"]
    elif named and _rows_at_hand(named) is not None:
        rows = load(named)
        rows = rows[: settings["limit"]] if settings["harmful_data"] else rows[:1]
    else:
        return
    check_targets(rows, named or "the organism's questions")
