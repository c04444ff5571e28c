"""What an interrupted training goes on from."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from holdfast.stages.disk import write_text


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


def restore_metrics(path: Path, checkpoint: str | None) -> None:
    """Make metrics.jsonl what it was at a checkpoint; what came later is trained again."""
    path.unlink(missing_ok=True)
    if checkpoint is not None:
        text = (Path(checkpoint) / "trainer_state.json").read_text(encoding="utf-8")
        lines = [metrics_line(entry["step"], entry) for entry in json.loads(text)["log_history"]]
        write_text(path, "".join(lines))


def metrics_line(step: int, logs: Mapping[str, Any]) -> str:
    """A line of metrics.jsonl; sorted, as the trainer's own state has what it logged."""
    rest = {name: logs[name] for name in sorted(logs) if name != "step"}
    return json.dumps({"step": step, **rest}) + "\n"
