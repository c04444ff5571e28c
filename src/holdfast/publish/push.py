"""Upload to the Hub, in one commit: a push is there whole or not at all."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from holdfast.errors import UserError
from holdfast.escape import visible
from holdfast.publish.files import CARD, PublishedFile, is_ours
from holdfast.stages.folders import PROVENANCE

# What may lie in a repository beside what a push writes.
_NEUTRAL = {".gitattributes", CARD, "LICENSE", "LICENSE.md", "LICENSE.txt"}


def push(
    repo: str,
    files: Sequence[PublishedFile],
    card: str,
    private: bool | None = None,
    revision: str | None = None,
    api: HfApi | None = None,
) -> str:
    """Upload files and card with the Hub client's own login, and give the commit's address.

    A repository that is not there is made, private if not told otherwise. One that an earlier push
    filled gets a new commit, in which that push's files that are not among the new ones go. One
    with anything else in it is left alone.

    Args:
        repo: "owner/name", or "name" for the user's own.
        files: What to upload.
        card: The text of README.md.
        private: Who may see it; None for private where it is new, and as it is elsewhere.
        revision: A branch; made where it is not there. The main one if None.
        api: The Hub's client.

    Raises:
        UserError: no login, no right to write, a name that cannot be, a repository with other
            content or of another visibility, no connection.
    """
    api = api or HfApi()
    with _explained(repo):
        user = api.whoami()
        if "/" not in repo:
            repo = f"{user['name']}/{repo}"
        try:
            info = api.repo_info(repo)
        except RepositoryNotFoundError:
            api.create_repo(repo, private=private is not False)
            there: list[str] = []
        else:
            _check_visibility(repo, bool(info.private), private)
            there = _files_there(api, repo, revision)
            _check_content(repo, there)
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        new = {file.path for file in files}
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(CARD, card.encode()),
            *(CommitOperationAdd(file.path, file.content) for file in files),
            *(CommitOperationDelete(path) for path in there if is_ours(path) and path not in new),
        ]
        commit = api.create_commit(
            repo,
            operations,
            commit_message="Upload a model made with holdfast",
            revision=revision,
        )
    return str(commit.commit_url)


def _files_there(api: HfApi, repo: str, revision: str | None) -> list[str]:
    try:
        return api.list_repo_files(repo, revision=revision)
    except RevisionNotFoundError:
        return api.list_repo_files(repo)  # what the new branch will begin with


def _check_visibility(repo: str, is_private: bool, private: bool | None) -> None:
    if private is None or private == is_private:
        return
    now, asked = ("private", "public") if is_private else ("public", "private")
    raise UserError(
        f"{repo} is {now} and this push is to be {asked}: change that in the repository's settings "
        "on the Hub, or choose another name."
    )


def _check_content(repo: str, there: Sequence[str]) -> None:
    others = [path for path in there if path not in _NEUTRAL and not is_ours(path)]
    models = [path for path in there if is_ours(path)]
    if not others and (not models or PROVENANCE in models):
        return
    example = visible((others or models)[0])
    raise UserError(
        f"{repo} holds something else ({example}, for one), which is not ours to overwrite: choose "
        "another name."
    )


@contextmanager
def _explained(repo: str) -> Iterator[None]:
    """Every way in which the Hub says no, in one sentence."""
    try:
        yield
    except LocalTokenNotFoundError:
        raise UserError("you are not logged in to the Hub: run `hf auth login` first.") from None
    except HFValidationError:
        raise UserError(
            f"'{repo}' is no name of a repository on the Hub: it must be OWNER/NAME."
        ) from None
    except OfflineModeIsEnabled:
        raise UserError("HF_HUB_OFFLINE is set, and a push needs the Hub: unset it.") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        said = visible((error.server_message or str(error)).strip().split("\n")[0])[:200].rstrip(
            "."
        )
        if status == 401:
            what = "the Hub does not know your token: run `hf auth login` again"
        elif status == 403 or isinstance(error, RepositoryNotFoundError):
            what = f"you may not write to {repo}: log in with a token that may write there"
        else:
            what = f"the Hub answers {status} for {repo}: try again later"
        raise UserError(f"{what}{f' ({said})' if said else ''}.") from error
    except (httpx2.HTTPError, ConnectionError, TimeoutError) as error:
        raise UserError(
            f"the Hub cannot be reached ({visible(str(error))[:200]}): nothing is published."
        ) from error
