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
