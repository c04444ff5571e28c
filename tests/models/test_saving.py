"""A saved stack is the same to the last byte whichever process writes it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tiny_models import tiny_model

SAVES = """
import sys
from pathlib import Path
from holdfast.models.saving import save_stack
from holdfast.models.stack import resolve
from tiny_models import lora, tiny_model

base, entry, above = map(Path, sys.argv[1:])
tuned = lora(tiny_model("llama"), target_modules="all-linear")
save_stack(tuned, resolve(str(base)), entry)
save_stack(lora(tiny_model("llama"), target_modules="all-linear"), resolve(str(entry)), above)
"""


def test_the_names_in_its_configuration_have_one_order(tmp_path: Path):
    base = tmp_path / "base"
    tiny_model("llama").save_pretrained(base)
    written = []
    for seed in ("1", "2"):
        places = [tmp_path / seed / name for name in ("entry", "above")]
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": str(Path(__file__).parents[1]),
        }
        subprocess.run([sys.executable, "-c", SAVES, base, *places], check=True, env=environment)
        found = sorted((tmp_path / seed).rglob("adapter_config.json"))
        written.append([json.loads(file.read_text()) for file in found])
        names = [one["target_modules"] for one in written[-1]]
        assert len(found) >= 3
        assert all(one == sorted(one) and len(one) > 3 for one in names)
    strip = [[{**one, "base_model_name_or_path": ""} for one in run] for run in written]
    assert strip[0] == strip[1]
