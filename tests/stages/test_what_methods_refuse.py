"""What a method's row says that it cannot do is refused before anything runs."""

import dataclasses

import pytest

from holdfast.errors import UserError
from holdfast.models.stack import resolve as stack_of
from holdfast.registry import METHODS
from holdfast.stages.resolve import resolve

ROW = {
    "adapters": ("single",),
    "refuses": {
        "parallel=fsdp2": "it needs whole gradients",
        "quantization": "its weights must be read",
        "device_map": "its layers must be on one device",
    },
}


@pytest.fixture(autouse=True)
def limited(monkeypatch):
    entry = dataclasses.replace(METHODS["finetune"]["lisa"], **ROW)
    monkeypatch.setitem(METHODS["finetune"], "lisa", entry)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"adapter": "double"}, "adapter is double, and method=lisa needs adapter=single"),
        ({"quantization": "4bit"}, "quantization is 4bit, and method=lisa cannot do that: its wei"),
        ({"device_map": "auto"}, "device_map is auto, and method=lisa cannot do that: its layers"),
        (
            {"processes": 2, "parallel": "fsdp2"},
            "parallel is fsdp2, and method=lisa cannot do that: it needs whole gradients.",
        ),
    ],
)
def test_it_is_refused_in_one_sentence(given, told):
    with pytest.raises(UserError, match=told):
        resolve("finetune", {"method": "lisa", "adapter": "single", **given}, stack_of("organism"))


@pytest.mark.parametrize("given", [{"parallel": "fsdp2"}, {"processes": 2}, {}])
def test_what_it_can_do_is_not(given):
    given = {"method": "lisa", "adapter": "single", **given}
    assert resolve("finetune", given, stack_of("organism"))["method"] == "lisa"
