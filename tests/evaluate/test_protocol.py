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


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_version_keeps_its_settings(name: str):
    record = get(name).record()
    text = json.dumps({k: v for k, v in record.items() if k != "description"}, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert PUBLISHED[get(name).name, get(name).version] == digest


def test_protocols_load_without_torch():
    code = "import holdfast.protocols, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
