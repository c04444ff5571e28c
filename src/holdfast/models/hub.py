"""Models of the Hub, each at one commit: which it is, what it holds, and what stands in the way.

Online the Hub is asked; without a connection the local cache answers. Nothing here imports torch.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from holdfast.errors import UserError

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
SAFETENSORS_ONLY = (
    "holdfast reads weights from safetensors files only, because a pickle can run code"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_SECONDS = 20.0
# An adapter and its tokenizer; `stack/` and config.yaml where a stage of ours was pushed.
_ADAPTER_FILES = [
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    "config.yaml",
    "stack/*/adapter_config.json",
    "stack/*/adapter_model.safetensors",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "system_prompt.json",
    "vocab.*",
    "merges.txt",
]


@dataclass(frozen=True)
class Repository:
    """A model repository of the Hub at one commit.

    Args:
        name: "owner/name".
        commit: 40 hexadecimal digits.
        is_adapter: whether it holds an adapter of PEFT's and no whole model.
    """

    name: str
    commit: str
    is_adapter: bool


def is_name(text: str) -> bool:
    """Whether a text can be the name of a model on the Hub, without a revision."""
    return _NAME.fullmatch(text) is not None and not text.startswith(".")


@cache
def look_up(name: str, revision: str | None = None) -> Repository:
    """Find the commit that a model's revision stands for now, and what kind of model it is.

    The answer holds for the whole process, so a plan and its run see the same commit. A commit
    that is in the local cache is not asked for again.

    Args:
        name: "owner/name".
        revision: a branch, a tag, a pull request (refs/pr/1) or a commit; the main branch if None.

    Raises:
        UserError: there is no such model or revision, no access to it, no connection to the Hub
            and nothing in the cache, or no weights in safetensors files.
    """
    from huggingface_hub import HfApi

    cached = _cached(name, revision)
    if cached and revision and _COMMIT.fullmatch(revision):
        return cached
    try:
        info = HfApi().model_info(name, revision=revision, timeout=_SECONDS)
        files = {file.rfilename for file in info.siblings or []}
        commit = str(info.sha)
        known = cached is not None and cached.commit == commit
        if info.gated and not known:
            HfApi().auth_check(name)
    except (_http_error(), OSError, ValueError) as error:
        if cached and _is_unreachable(error):
            return cached
        raise UserError(explain(name, revision, error)) from error
    _check_files(name, files)
    return Repository(name, commit, ADAPTER_CONFIG in files)


def is_downloaded(name: str, revision: str, file: str) -> bool:
    """Whether a file of a model is in the local cache."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, file, revision=revision), str)


def adapter_folder(repository: Repository) -> Path:
    """The adapter's files in the local cache, downloaded where they are missing.

    Raises:
        UserError: they are not there and cannot be downloaded.
    """
    from huggingface_hub import snapshot_download

    name, commit = repository.name, repository.commit
    try:
        folder = snapshot_download(name, revision=commit, allow_patterns=_ADAPTER_FILES)
    except (_http_error(), OSError, ValueError) as error:
        raise UserError(explain(name, commit, error)) from error
    return Path(folder)


def explain(name: str, revision: str | None, error: BaseException) -> str:
    """Say in one sentence why a model of the Hub cannot be had, and what to do.

    Args:
        name: "owner/name".
        revision: the revision that was asked for.
        error: what was raised; what it came from is looked at too, as libraries wrap these errors.
    """
    from huggingface_hub import errors

    at = f"{name}@{revision}" if revision else name
    chain = list(_causes(error))
    statuses = {getattr(getattr(e, "response", None), "status_code", None) for e in chain}

    def met(*kinds: type[BaseException]) -> bool:
        return any(isinstance(e, kinds) for e in chain)

    if met(errors.GatedRepoError) or 403 in statuses:
        return (
            f"no access to the gated model {name}: ask for it at https://huggingface.co/{name}, "
            "then log in with `hf auth login`."
        )
    if met(errors.RevisionNotFoundError):
        return f"the model {name} has no revision '{revision or 'main'}' on the Hub."
    if met(errors.RepositoryNotFoundError) or 401 in statuses:
        return (
            f"there is no model '{name}' on the Hub, or it is private: look at its name, and log "
            "in with `hf auth login` if it is private."
        )
    if met(errors.OfflineModeIsEnabled):
        return (
            f"the model {at} is not in the local cache and the Hub's offline mode is on "
            "(HF_HUB_OFFLINE): download it first, with `hf download`, or name a local folder."
        )
    if statuses - {None}:
        status = next(iter(statuses - {None}))
        return f"the Hub answers with error {status} for the model {at}: try again later."
    if met(errors.HFValidationError):
        return f"'{name}' is no name of a model on the Hub: it must be owner/name."
    return (
        f"the model {at} is not in the local cache and the Hub cannot be reached "
        f"({_first_line(error)}): check the connection, or name a local folder."
    )


def is_of_the_hub(error: BaseException) -> bool:
    """Whether an error comes from the Hub's client, and not from a file that is broken."""
    from huggingface_hub import errors

    kinds = (errors.HfHubHTTPError, errors.EntryNotFoundError, errors.OfflineModeIsEnabled)
    return any(isinstance(e, kinds) or _is_transport(e) for e in _causes(error))


def no_safetensors(where: str) -> str:
    """Say that a model has no weights that holdfast reads."""
    return (
        f"{where} has no weights in safetensors files, and {SAFETENSORS_ONLY}: convert it, or, on "
        "the Hub, name a pull request that has them as owner/name@refs/pr/NUMBER."
    )


def _cached(name: str, revision: str | None) -> Repository | None:
    """What the local cache knows of a revision; None where it lacks even the configuration."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    for file in (ADAPTER_CONFIG, "config.json"):
        try:
            path = try_to_load_from_cache(name, file, revision=revision)
        except HFValidationError:
            return None
        if isinstance(path, str):
            return Repository(name, Path(path).parent.name, file == ADAPTER_CONFIG)
    return None


def _check_files(name: str, files: set[str]) -> None:
    if ADAPTER_CONFIG in files:
        if ADAPTER_WEIGHTS not in files:
            raise UserError(no_safetensors(f"the adapter {name}"))
    elif "config.json" not in files:
        raise UserError(
            f"{name} on the Hub holds no model in Hugging Face's format: it has neither "
            f"config.json nor {ADAPTER_CONFIG}."
        )
    elif not any(file.endswith(".safetensors") and "/" not in file for file in files):
        raise UserError(no_safetensors(f"the model {name}"))


def _is_unreachable(error: BaseException) -> bool:
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    return isinstance(error, OfflineModeIsEnabled) or _is_transport(error)


def _is_transport(error: BaseException) -> bool:
    """Whether there was no answer at all: no connection, or none in time."""
    from huggingface_hub.errors import HfHubHTTPError

    known = isinstance(error, (_http_error(), ConnectionError, TimeoutError))
    return known and not isinstance(error, HfHubHTTPError)


def _http_error() -> type[Exception]:
    """The root of the errors of the HTTP library that the Hub's client uses, whichever it is."""
    from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage]

    return HTTPError


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
