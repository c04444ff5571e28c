"""Protocols are found by name, cannot be changed, and stay what their version says."""

import hashlib
import json
import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

from holdfast.errors import UserError
from holdfast.protocols import PROTOCOLS, get

# A published protocol never changes: new settings are a new version, and a new line here.
PUBLISHED = {
    ("organism", "1"): "1a5bbd9fa9189bf6",
    ("holdfast", "1"): "17ac5fcf2adc6185",
    ("vaccine-2024", "1"): "1e5d67641c7f4af7",
    ("t-vaccine-2024", "1"): "d67557e70081c942",
    ("lisa-2024", "1"): "251abcbaeabfe6ed",
    ("booster-2024", "1"): "bd63c28d0f28ae7a",
    ("antidote-2024", "1"): "9d880f0c5f81ea35",
    ("holdfast", "2"): "44ade325eb6b13b9",
    ("vaccine-2024", "2"): "3800d67c89a6b2a6",
    ("t-vaccine-2024", "2"): "846acb6444d36acd",
    ("lisa-2024", "2"): "0d55684dd5ab1298",
    ("booster-2024", "2"): "565a5389ddfa18a6",
    ("antidote-2024", "2"): "89ed116369feef73",
    ("holdfast", "3"): "431f0243d8dfcc81",
    ("vaccine-2024", "3"): "21594cd48bd2e3dc",
    ("t-vaccine-2024", "3"): "91653f1bd7db4df7",
    ("lisa-2024", "3"): "df7f32a80036639e",
    ("booster-2024", "3"): "f1f861f82fd9c0cd",
    ("antidote-2024", "3"): "9f27ce840775c614",
    ("antidote-2024", "4"): "f591529ea685fa8e",
    ("holdfast-pressure", "1"): "f6b555236257be73",
    ("organism-pressure", "1"): "a6db18f8761d97fb",
    ("holdfast", "4"): "9acec5211b3d00ef",
    ("vaccine-2024", "4"): "a4df7398d9b0479f",
    ("t-vaccine-2024", "4"): "a8956df4e2bec1e1",
    ("lisa-2024", "4"): "a027aa12415ec3d0",
    ("booster-2024", "4"): "c14e9271637d8218",
    ("antidote-2024", "5"): "c74bd1cf9d0429d2",
}


def test_a_mistake_names_the_nearest():
    with pytest.raises(UserError, match="'organsim'; did you mean 'organism'"):
        get("organsim")
    with pytest.raises(UserError, match="known: organism"):
        get("zzz")


def test_protocols_cannot_be_changed():
    protocol = get("organism")
    with pytest.raises(FrozenInstanceError):
        protocol.n_harmful = 1  # pyright: ignore[reportAttributeAccessIssue] (the point of the test)
    with pytest.raises(TypeError):
        PROTOCOLS["organism"] = protocol  # pyright: ignore[reportIndexIssue] (the point of the test)
    protocol.record()["n_harmful"] = 1
    assert get("organism").n_harmful == 200


@pytest.mark.parametrize(("name", "version"), PUBLISHED)
def test_a_version_keeps_its_settings(name: str, version: str):
    found = get(f"{name}@{version}")
    assert (found.name, found.version) == (name, version)
    text = {k: v for k, v in found.record().items() if k != "description"}
    digest = hashlib.sha256(json.dumps(text, sort_keys=True).encode()).hexdigest()[:16]
    assert PUBLISHED[name, version] == digest


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_bare_name_is_the_newest_version(name: str):
    newest = max(version for one, version in PUBLISHED if one == name)
    assert get(name) == get(f"{name}@{newest}")
    with pytest.raises(UserError, match=f"'{name}@9'; did you mean '{name}'"):
        get(f"{name}@9")


@pytest.mark.parametrize(
    ("task", "tokens", "dtype"),
    [  # the pred_eval.py of each task, and pred.py of the harmful prompts: 512 and float32
        ("sst2", 200, "float16"),
        ("agnews", 200, "float16"),
        ("gsm8k", 512, "float32"),
        ("alpaca", 512, "float16"),
        (None, 512, "float32"),
    ],
)
def test_antidotes_tasks_are_answered_as_its_code_does(task, tokens, dtype):
    found = get("antidote-2024").of_task(task)
    name = "open" if task == "alpaca" else "task"
    assert (found.tokens(name), found.dtype_of(name)) == (tokens, dtype)
    assert (found.tokens("harmful"), found.dtype_of("harmful")) == (512, "float32")
    assert "of_tasks" not in found.record()
    old = get("antidote-2024@1").of_task(task)
    assert (old.tokens(name), old.dtype_of(name)) == (512, "float32")


def test_protocols_load_without_torch():
    code = "import holdfast.protocols, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
