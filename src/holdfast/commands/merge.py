"""``holdfast merge``: what the command does, once its words are read."""

import re
from pathlib import Path
from typing import cast

from rich.console import Console

from holdfast.commands.answers import answer
from holdfast.errors import UserError
from holdfast.stages.merge import Dtype, merge_stack

_SIZE = re.compile(r"[1-9]\d*(KB|MB|GB|KiB|MiB|GiB)")


def merge_command(model: str, output: Path, dtype: str, shard: str, console: Console) -> None:
    """Write a stack as one model, and say where it is.

    Args:
        model: the stack.
        output: a new folder.
        dtype: see `holdfast.stages.merge.merge_stack`.
        shard: likewise.
        console: where to show it.

    Raises:
        UserError: whatever is wrong with the request.
    """
    if not _SIZE.fullmatch(shard):
        raise UserError(f"--shard is '{shard}'; it must be a size such as 5GB or 500MB.")
    is_new = merge_stack(model, output, cast(Dtype, dtype), shard)
    already = "" if is_new else ", which it held already"
    answer(
        console,
        "merge",
        {"folder": output, "model": model, "dtype": dtype},
        f"the merged model is in {output}{already}",
    )
