"""What an interrupted training goes on from."""

import json
import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open

from holdfast.studies.folders import write_text


def last_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint."""
    whole = filter(_is_whole, folder.glob("checkpoint-*"))
    newest = max(whole, key=lambda path: int(path.name.split("-")[1]), default=None)
    return None if newest is None else str(newest)


def _is_whole(checkpoint: Path) -> bool:
    """Whether nothing of a checkpoint is missing or cut short."""
    try:
        # The trainer's state is what it writes last.
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        for path in checkpoint.glob("*.safetensors"):
            with safe_open(path, framework="pt"):
                pass
        return all(zipfile.is_zipfile(path) for path in checkpoint.glob("*.pt*"))
    except (OSError, ValueError, SafetensorError):
        return False


def cut_metrics(path: Path, checkpoint: str | None) -> None:
    """Drop the lines of steps that are trained again after an interruption."""
    if not path.exists():
        return
    done = 0 if checkpoint is None else int(checkpoint.rsplit("-", 1)[1])
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= done:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue  # torn by a kill in the middle of a write
    write_text(path, "".join(line + "\n" for line in kept))
