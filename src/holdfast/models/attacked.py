"""By what a model was attacked, where that decides how its attacker asks it: a file beside it.

``attack.json`` in a stage's folder names the attack of the fine-tuning, if the attacked model is
asked in another way than plainly (with a trigger, say). Later stages carry it on, and evaluations
ask the harmful prompts so, too.
"""

import json
from pathlib import Path

from holdfast.errors import UserError
from holdfast.models.foreign import read_object
from holdfast.models.stack import Stack

FILE = "attack.json"


def write_attack(folder: Path, name: str | None) -> None:
    """Write it into the folder of a finished model, if there is one."""
    if name is not None:
        (folder / FILE).write_text(json.dumps({"attack": name}) + "\n", encoding="utf-8")


def read_attack(stack: Stack) -> str | None:
    """The attack that a model in a folder carries; None for none.

    Raises:
        UserError: the file is there and names none.
    """
    folder = stack.tokenizer or stack.base_folder()
    if folder is None or not (folder / FILE).is_file():
        return None
    name = read_object(folder / FILE).get("attack")
    if not isinstance(name, str):
        raise UserError(f"{folder / FILE} is not what holdfast writes: it must hold 'attack'.")
    return name
