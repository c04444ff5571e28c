"""``holdfast push``: what the command does, once its words are read."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from holdfast.errors import UserError
from holdfast.escape import visible
from holdfast.models.hub import is_name
from holdfast.publish.files import CARD, published_files
from holdfast.publish.lineage import read_lineage
from holdfast.stages.disk import disk_errors, write_text


def push_command(
    folder: Path,
    repo: str,
    evaluations: Sequence[Path],
    base: str | None,
    private: bool | None,
    revision: str | None,
    dry_run: bool,
    output: Path | None,
    console: Console,
) -> None:
    """Publish a stage's folder, or show what would be published.

    Args:
        folder: The folder of an alignment, a fine-tuning or a repair.
        repo: "owner/name" on the Hub.
        evaluations: Folders of evaluations of it, for the card.
        base: What the base is called on the Hub, where it is a folder here.
        private: See `holdfast.publish.push.push`.
        revision: A branch.
        dry_run: Only show the files and the card.
        output: A file for the card.
        console: Where to show things.

    Raises:
        UserError: the folder holds no model, an evaluation is of another one, or what
            `holdfast.publish.push.push` says.
    """
    if not is_name(repo):
        raise UserError(f"'{repo}' is no name of a repository on the Hub: it must be OWNER/NAME.")
    if base is not None and not (is_name(base) and "/" in base):
        raise UserError(f"--base is '{base}'; it must be a model's name on the Hub, OWNER/NAME.")
    if output is not None and output.is_dir():
        raise UserError(f"--output {output} is a folder; name a file for the card.")
    lineage = read_lineage(folder)
    files = published_files(folder, lineage, base)

    from holdfast.publish.card import model_card
    from holdfast.publish.measurements import read_measurement

    measurements = [read_measurement(one, folder, lineage.last) for one in evaluations]
    is_adapter = any(file.path == "adapter_config.json" for file in files)
    card = str(model_card(repo, lineage, measurements, is_adapter, base))
    if output is not None:
        with disk_errors(output):
            write_text(output, card)
    if dry_run:
        _show(console, repo, [(CARD, len(card.encode())), *((f.path, f.size) for f in files)])
        if output is None:
            console.print(card, markup=False, highlight=False, soft_wrap=True)
        return

    from holdfast.publish.push import push

    console.print(visible(push(repo, files, card, private, revision)), soft_wrap=True)


def _show(console: Console, repo: str, files: Sequence[tuple[str, int]]) -> None:
    console.print(f"dry run: nothing is sent; {repo} would get", markup=False, highlight=False)
    for path, size in files:
        console.print(f"  {size:>14,}  {path}", markup=False, highlight=False, soft_wrap=True)
