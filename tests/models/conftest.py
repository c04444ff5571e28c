"""Tiny models and adapters in folders, and a Hub that is a folder or a few functions."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import constants, errors
from transformers import AutoModelForCausalLM

from holdfast import organism
from holdfast.models import hub
from hub_folders import write_model
from tiny_models import lora

COMMITS = {"main": "a" * 40, "v2": "b" * 40}


@pytest.fixture(autouse=True)
def _forget_commits():
    hub.look_up.cache_clear()
    yield
    hub.look_up.cache_clear()


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="session")
def write_adapter():
    """Write a LoRA adapter with random factors for the model in a folder."""

    def write(folder: Path, base: Path, name: str | None = None, seed: int = 1, **kw) -> Path:
        model = AutoModelForCausalLM.from_pretrained(base)
        adapter = lora(model, seed=seed, init_lora_weights=False, **kw)
        adapter.peft_config["default"].base_model_name_or_path = name or str(base)
        adapter.save_pretrained(str(folder))
        return folder

    return write


@pytest.fixture(scope="session")
def adapters(base, write_adapter):
    """Two adapters on the base, of different ranks and scales."""
    first = write_adapter(base.parent / "first", base, seed=1, r=4)
    return first, write_adapter(base.parent / "second", base, seed=2, r=2, lora_alpha=6)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and a local cache in `tmp_path`, laid out as the Hub's client lays it out."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def put(name: str, source: Path, revision: str = "main") -> str:
        folder = tmp_path / "cache" / f"models--{name.replace('/', '--')}"
        commit = COMMITS[revision]
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs" / revision).write_text(commit)
        shutil.copytree(source, folder / "snapshots" / commit)
        return commit

    return put


@pytest.fixture
def online(monkeypatch, tmp_path):
    """A Hub that answers: `online["owner/name"]` is a folder, an error, or revisions of them."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    there: dict = {}
    asked: list[tuple[str, str | None]] = []

    def folder_of(name, revision):
        answer = there[name]
        if isinstance(answer, dict):
            by_commit = {COMMITS[key]: value for key, value in answer.items()}
            answer = {**answer, **by_commit}[revision or "main"]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def model_info(self, name, revision=None, timeout=None):
        asked.append((name, revision))
        folder = folder_of(name, revision)
        files = [SimpleNamespace(rfilename=path.name) for path in folder.iterdir()]
        commit = COMMITS.get(revision or "main", revision)
        return SimpleNamespace(sha=commit, siblings=files, gated=False)

    def snapshot_download(name, revision, allow_patterns):
        return str(folder_of(name, revision))

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    there["asked"] = asked
    return there


def hub_error(kind: type, status: int) -> Exception:
    """An error as the Hub's client raises it for an answer with this status."""
    request = httpx2.Request("GET", "https://hub.example/api")
    return kind("no", response=httpx2.Response(status, request=request))


@pytest.fixture
def answers():
    """What the Hub may answer instead of a model."""
    return {
        "gated": hub_error(errors.GatedRepoError, 403),
        "unknown": hub_error(errors.RepositoryNotFoundError, 401),
        "revision": hub_error(errors.RevisionNotFoundError, 404),
        "down": hub_error(errors.HfHubHTTPError, 503),
        "forbidden": hub_error(errors.HfHubHTTPError, 403),
        "unreachable": httpx2.ConnectError("no route to host"),
        "slow": httpx2.ReadTimeout("timed out"),
        "offline": errors.OfflineModeIsEnabled("offline mode"),
    }


@pytest.fixture(scope="session")
def rows():
    return organism.rows("alignment", 24, 0)
