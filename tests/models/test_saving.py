"""What a saved stack's configuration says does not depend on the process that writes it."""

import json
from pathlib import Path

from holdfast.models.saving import save_stack
from holdfast.models.stack import resolve
from tiny_models import lora, tiny_model


def test_the_names_in_its_configuration_have_one_order(tmp_path: Path):
    """PEFT keeps them as sets, whose order is another one in every process."""
    base, entry, above = (tmp_path / name for name in ("base", "entry", "above"))
    tiny_model("llama").save_pretrained(base)
    every = {"target_modules": "all-linear", "exclude_modules": ["k_proj", "down_proj", "a", "b"]}
    save_stack(lora(tiny_model("llama"), **every), resolve(str(base)), entry)
    save_stack(lora(tiny_model("llama"), **every), resolve(str(entry)), above)
    found = sorted(tmp_path.rglob("adapter_config.json"))
    assert len(found) == 4  # entry; above, as one and with what it consists of
    for file in found:
        config = json.loads(file.read_text(encoding="utf-8"))
        assert config["target_modules"] == sorted(config["target_modules"])
        assert len(config["target_modules"]) > 4
        assert sorted(config["exclude_modules"] or []) == (config["exclude_modules"] or [])
