"""A stage's identity: a hash of all that decides its result, and of nothing else."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holdfast import organism
from holdfast.models.fingerprint import folder_fingerprint
from holdfast.models.stack import ORGANISM, Stack
from holdfast.studies.stages import NEUTRAL

# To be raised above 1 for a method, or for "evaluate", when its computation changes, so that
# results of the old one are not taken for the new one's. The package's version does not count: a
# change of the report keeps every result.
MECHANISMS: dict[str, int] = {}

# Where things lie and what they are called decides no result: their content is hashed instead.
_NAMES = {"model", "reference"}
_NAMES |= {"data", "harmful_data", "alignment_data", "columns", "sampling"}
# An evaluation's protocol and judges are hashed with all that is in them.
_NAMES |= {"benign_data", "task_data", "protocol", "judges", "limit"}


def stage_identity(
    kind: str,
    settings: Mapping[str, Any],
    parents: Mapping[str, str],
    data: Mapping[str, str],
) -> str:
    """The identity of a stage, 64 hexadecimal digits.

    Args:
        kind: the kind of stage.
        settings: its resolved settings.
        parents: the identities of what it starts from, by role ("model", "reference").
        data: the fingerprints of its sets of rows, by role.
    """
    decisive = {k: v for k, v in settings.items() if k not in NEUTRAL | _NAMES}
    mechanism = MECHANISMS.get(settings.get("method", kind), 1)
    return _hash([kind, mechanism, decisive, dict(parents), dict(data)])


def model_identity(stack: Stack) -> str:
    """The identity of a model that no stage here made: its base and its adapters, by content."""
    base = stack.base
    if base == ORGANISM:
        base = folder_fingerprint(organism.folder())
    elif Path(base).is_dir():
        base = folder_fingerprint(Path(base))
    return _hash([base, [folder_fingerprint(entry) for entry in stack.entries]])


def _hash(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
