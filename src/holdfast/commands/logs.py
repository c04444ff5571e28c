"""``holdfast logs``: the end of what a stage printed."""

from pathlib import Path

from rich.console import Console

from holdfast.commands.status import state_of
from holdfast.engine.record import read_record, stage_alone
from holdfast.errors import UserError
from holdfast.escape import terminal_text


def show_logs(root: Path, stage: str | None, lines: int, console: Console) -> None:
    """Show the end of a stage's log, or which logs there are.

    Raises:
        UserError: the folder is no run's, or there is no such stage or log.
    """
    if (alone := stage_alone(root)) is not None:
        said = f"{alone[:-1]}: it has no log, for what it printed went to the terminal."
        console.print(said, markup=False, highlight=False, soft_wrap=True)
        return
    study = read_record(root)
    logs = {path.stem: path for path in sorted((root / "logs").glob("*.log"))}
    if stage is None:
        if not logs:
            console.print("no stage has run yet.")
        order = sorted(logs, key=lambda name: state_of(root, name, study) != "failed")
        for name in order:
            console.print(f"{name}: {state_of(root, name, study)}", markup=False, highlight=False)
        return
    found = [name for name in {**study["stages"], **logs} if name.startswith(stage)]
    if stage in found:
        found = [stage]
    if not found:
        raise UserError(f"{root} has no stage '{stage}'; `holdfast logs {root}` lists them.")
    if len(found) > 1:
        raise UserError(f"'{stage}' may be {', '.join(found)}: name one of them.")
    if found[0] not in logs:
        raise UserError(f"{found[0]} has no log: it has not run in this folder.")
    text = logs[found[0]].read_text(encoding="utf-8", errors="replace")
    for line in text.splitlines()[-lines:]:
        console.print(terminal_text(line), highlight=False, soft_wrap=True)
