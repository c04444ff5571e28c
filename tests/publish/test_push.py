"""Publishing: which files, what the card says and does not say, and what the Hub may answer."""

import json
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import create_autospec

import httpx2
import pytest
import torch
import yaml
from huggingface_hub import HfApi, ModelCard
from huggingface_hub import errors as hub_errors
from rich.console import Console
from safetensors.torch import load_file

from command import done, holdfast
from holdfast.commands.push import push_command
from holdfast.commands.stage import stage_of
from holdfast.errors import UserError
from holdfast.models.stack import resolve
from holdfast.publish.card import model_card
from holdfast.publish.files import PublishedFile, published_files
from holdfast.publish.lineage import read_lineage
from holdfast.publish.measurements import read_measurement
from holdfast.publish.paths import without_paths
from holdfast.publish.push import push
from holdfast.stages.execute import execute
from holdfast.stages.making import make_stage

SHORT = {"rows": 20, "num_train_epochs": 1}


def run_here(kind, given, folder, model=None):
    stage = make_stage(kind, {**given, **({"model": str(model)} if model else {})})
    return execute(stage, folder, resolve(stage.settings["model"]))


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """Alignment, fine-tuning and repair of the organism in a few steps; files that must stay."""
    root = tmp_path_factory.mktemp("secret-place")
    aligned = run_here("align", {**SHORT, "method": "vaccine"}, root / "aligned")
    tuned = run_here("finetune", {**SHORT, "harmful_ratio": 0.25}, root / "tuned", aligned)
    repaired = run_here("repair", {"method": "random_mask"}, root / "repaired", tuned)
    for name in ("samples.jsonl", "rows.jsonl", "README.md", "weights.bin", "notes.txt"):
        (repaired / name).write_text("private")
    (repaired / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    (repaired / "checkpoints" / "checkpoint-1" / "adapter_model.safetensors").write_text("private")
    return root


def evaluation(folder, model, identity=None, parent=None, **content):
    """An evaluation's folder as the evaluation stage writes it."""
    folder.mkdir(parents=True)
    protocol = {"name": "organism", "version": "1", "description": "What <b>it</b> is.",
                "judge": "organism (exact)", "n_harmful": 200}  # fmt: skip
    metrics = {
        "harmful_score": {"value": 12.5, "low": 8.6, "high": 17.8, "n": 200},
        "embedding_drift": {"value": 1.23456, "low": 1.0, "high": 1.5, "n": 100},
    }
    judges = [{"name": "endpoint", "model": "gpt-x", "url": "http://node12:8000/v1"}]
    found = {"protocol": protocol, "judges": judges, "metrics": metrics, "outcomes": {}, **content}
    (folder / "evaluation.json").write_text(json.dumps(found))
    (folder / "config.yaml").write_text(yaml.safe_dump({"stage": "evaluate", "model": str(model)}))
    made_by = Path(model) / "provenance.json"
    measured = json.loads(made_by.read_text())["identity"] if made_by.is_file() else parent
    provenance = {"identity": identity or "e" * 64, "kind": "evaluate", "parent": parent,
                  "model": measured}  # fmt: skip
    (folder / "provenance.json").write_text(json.dumps(provenance))
    return folder


def card_of(folder, *evaluations, base=None, repo="me/vaccinated"):
    lineage = read_lineage(folder)
    measurements = [read_measurement(one, folder, lineage.last) for one in evaluations]
    return model_card(repo, lineage, measurements, (folder / "adapter_config.json").exists(), base)


def test_only_what_belongs_to_the_model_is_published(stages):
    files = published_files(stages / "repaired", read_lineage(stages / "repaired"), None)
    assert {file.path for file in files} == {
        "adapter_config.json", "adapter_model.safetensors", "config.yaml", "mask.safetensors",
        "provenance.json", "repair_report.json", "stack/0/adapter_config.json",
        "stack/0/adapter_model.safetensors", "stack/1/adapter_config.json",
        "stack/1/adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip


def unpacked(files, folder):
    for file in files:
        place = folder / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        own = file.content
        place.write_bytes(own.read_bytes() if isinstance(own, Path) else own)
        assert place.stat().st_size == file.size
    return folder


def test_what_is_published_is_the_same_model_and_names_no_place(stages, tmp_path):
    folder = stages / "repaired"
    there = unpacked(published_files(folder, read_lineage(folder), None), tmp_path / "there")
    before, after = resolve(folder), resolve(there)
    assert (after.base, len(after.entries)) == ("organism", 2)
    for a, b in zip(before.entries, after.entries, strict=True):
        one, other = (load_file(entry / "adapter_model.safetensors") for entry in (a, b))
        assert all(torch.equal(one[name], other[name]) for name in one)
    for path in there.rglob("*"):
        if path.is_file() and path.suffix != ".safetensors":
            text = path.read_text()
            assert "secret-place" not in text, path
            assert str(Path.cwd()) not in text, path
            assert str(Path.home()) + "/" not in text, path
    config = json.loads((there / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "organism"
    config = yaml.safe_load((there / "config.yaml").read_text())
    assert (config["model"], config["base"], config["method"]) == (
        "tuned",
        "organism",
        "random_mask",
    )


def test_the_card_is_read_again(stages, tmp_path):
    one = evaluation(tmp_path / "measured", stages / "repaired")
    card_of(stages / "repaired", one).save(tmp_path / "README.md")
    card = ModelCard.load(tmp_path / "README.md")
    data = card.data.to_dict()
    assert data["library_name"] == "peft"
    assert "base_model" not in data  # the organism is not on the Hub
    assert "license" not in data
    assert {"holdfast", "lora", "vaccine", "random_mask"} <= set(data["tags"])
    score, drift = card.data.eval_results
    assert (score.metric_type, score.metric_value, score.dataset_type) == (
        "harmful_score", 12.5, "organism"
    )  # fmt: skip
    assert score.metric_args == {
        "protocol": "organism (version 1)", "low": 8.6, "high": 17.8, "n": 200
    }  # fmt: skip
    assert drift.metric_value == 1.2346
    text = card.text
    assert "| harmful score | 12.5 % \\[8.6, 17.8\\] | 200 |" in text
    assert "| embedding drift | 1.235 \\[1.000, 1.500\\] | 100 |" in text
    assert "What \\<b\\>it\\</b\\> is." in text
    assert "harmful rows on purpose** (harmful ratio 0.25)" in text
    assert "| 1. align | Vaccine |" in text
    assert "| 2. finetune | SFT | task sums, harmful ratio 0.25 | train 20 |" in text
    assert "| 3. repair | random mask |" in text
    rows = json.loads((stages / "tuned" / "provenance.json").read_text())["data"]["train"]
    assert f"finetune, train: {rows['fingerprint']}" in text
    assert "judge: name: endpoint, model: gpt-x" in text
    assert "node12" not in text
    for id in ("2402.01109", "2408.09600", "2409.18169"):  # Vaccine, the mask's paper, the survey
        assert f"(https://arxiv.org/abs/{id})" in text
    assert "2405.18641" not in text
    assert "A defended model is not a safe model" in text
    assert "Not measured: how often it refuses harmless prompts" in text
    assert "Not measured: how often it answers harmful prompts" not in text
    for place in ("secret-place", str(tmp_path), str(Path.cwd()), str(Path.home()) + "/"):
        assert place not in str(card)


def test_a_card_without_a_measurement_claims_nothing(stages):
    card = card_of(stages / "aligned")
    assert "Nothing is claimed about this model's safety" in card.text
    assert "model-index" not in card.data.to_dict()
    assert "on purpose" not in card.text
    assert card.text.count("Not measured:") == 4


def test_the_cards_commands_make_the_same_stages_again(stages, tmp_path):
    """Each block of settings, saved under its name, resolves to the very identity of its stage."""
    text = card_of(stages / "repaired").text
    blocks = re.findall(r"<summary>(\S+)</summary>\n\n```yaml\n(.*?)\n```", text, flags=re.DOTALL)
    commands = re.findall(
        r"^holdfast (\w+) (\S+) --config (\S+) --output (\S+)$", text, re.MULTILINE
    )
    assert [name for name, _ in blocks] == ["1-align.yaml", "2-finetune.yaml", "3-repair.yaml"]
    made = {"organism": "organism", "1-align": stages / "aligned", "2-finetune": stages / "tuned",
            "3-repair": stages / "repaired"}  # fmt: skip
    for (name, block), (kind, model, config, output) in zip(blocks, commands, strict=True):
        (tmp_path / name).write_text(block)
        again = stage_of(kind, [str(made[model])], tmp_path / config)
        recorded = json.loads((made[output] / "provenance.json").read_text())
        assert again.identity == recorded["identity"], kind


def stage_by_hand(folder, identity, kind="align", parent=None, adapter=True, **config):
    folder.mkdir(parents=True)
    own = {"stage": kind, "base": "owner/base", "base_revision": "c" * 40, "organism": False,
           "method": "sft", "model": "owner/base@" + "c" * 40, **config}  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(own, sort_keys=False))
    provenance = {"identity": identity, "kind": kind, "parent": parent, "base": own["base"]}
    (folder / "provenance.json").write_text(json.dumps(provenance))
    if adapter:
        config = {"base_model_name_or_path": own["base"], "revision": None}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


def test_a_base_on_the_hub_is_named_with_its_revision(tmp_path):
    card = card_of(stage_by_hand(tmp_path / "aligned", "a" * 64))
    assert card.data.to_dict()["base_model"] == "owner/base"
    assert f"Base: owner/base, revision {'c' * 40}." in card.text
    assert f"holdfast align owner/base@{'c' * 40} --config" in card.text


def test_a_base_in_a_folder_needs_its_name(tmp_path):
    base = tmp_path / "llama-secret"
    base.mkdir()
    made = {"base": str(base), "base_revision": None, "model": str(base)}
    folder = stage_by_hand(tmp_path / "aligned", "a" * 64, **made)
    lineage = read_lineage(folder)
    with pytest.raises(UserError, match="with --base OWNER/NAME"):
        published_files(folder, lineage, None)
    there = unpacked(published_files(folder, lineage, "owner/base"), tmp_path / "there")
    config = json.loads((there / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "owner/base"
    assert yaml.safe_load((there / "config.yaml").read_text())["base"] == "owner/base"
    assert json.loads((there / "provenance.json").read_text())["base"] == "owner/base"
    assert card_of(folder, base="owner/base").data.to_dict()["base_model"] == "owner/base"
    whole = card_of(folder)  # such as the card of a whole model that was trained from it
    assert "Base: a local model (llama-secret)." in whole.text
    assert str(tmp_path) not in str(whole)


def test_the_way_back_ends_where_a_folder_is_gone_or_is_another(tmp_path):
    below = stage_by_hand(tmp_path / "aligned", "a" * 64)
    made = {"kind": "finetune", "parent": "a" * 64, "model": str(below)}
    folder = stage_by_hand(tmp_path / "tuned", "b" * 64, **made)
    assert [s.kind for s in read_lineage(folder).stages] == ["align", "finetune"]
    assert read_lineage(folder).gap == ""
    (below / "provenance.json").write_text(json.dumps({"identity": "f" * 64, "parent": None}))
    lineage = read_lineage(folder)
    assert [s.kind for s in lineage.stages] == ["finetune"]
    assert lineage.gap == "a stage whose folder holds another result now (identity aaaaaaaaaaaa)"
    below.rename(tmp_path / "elsewhere")
    assert "is not at hand (identity aaaaaaaaaaaa)" in read_lineage(folder).gap
    card = card_of(folder)
    assert "Below the stages listed here there was a stage whose folder" in card.text
    assert "holdfast finetune MODEL --config" in card.text


def test_hostile_settings_stay_text(tmp_path):
    nasty = {"task": "a|b <img src=x> [x](evil.org) ```", "data": "/home/eve/own/rows.jsonl",
             "template": "one\n```\n\n# Heading\n\x1b[31m\u202e"}  # fmt: skip
    folder = stage_by_hand(tmp_path / "aligned", "a" * 64, **nasty)
    found = evaluation(tmp_path / "m", folder, metrics={"a|b\n# c": {"value": 1, "n": 3}})
    text = card_of(folder, found, repo="me/under_score").text
    assert "# under\\_score" in text
    assert not re.search(r"(?<!\\)<img", text.split("````")[0])
    assert "a\\|b \\<img" in text
    assert "[x](evil.org)" not in text.split("## Make it again")[0]
    assert "\n# Heading" not in text
    assert "\n# c" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "/home/eve" not in text
    assert "rows.jsonl" in text
    fences = re.findall(r"^`{3,}", text, re.MULTILINE)
    assert set(fences) == {"````"}  # none that the settings could close
    assert ModelCard(str(card_of(folder, found))).data.eval_results[0].metric_value == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("organism", "organism"),
        ("owner/name", "owner/name"),
        ("owner/name@rev", "owner/name@rev"),
        ("hub:owner/name@rev/config:train", "hub:owner/name@rev/config:train"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("beavertails:safe", "beavertails:safe"),
        ("/home/eve/model", "model"),
        ("/home/eve/model/", "model"),
        ("~/model", "model"),
        ("./model", "model"),
        ("../../model", "model"),
        ("runs/today/model", "model"),
        ("C:\\Users\\eve\\model", "model"),
        ("\\\\server\\share\\model", "model"),
        ("/", "folder"),
        ("owner/base+/home/eve/one+~/two", "owner/base+one+two"),
        ({"a": ["/x/y", 3, None, {"b": "/x/z"}]}, {"a": ["y", 3, None, {"b": "z"}]}),
        ("tests/publish", "publish"),
        ("tests/nothing-here", "tests/nothing-here"),
    ],
)
def test_paths_lose_their_folders(given, expected, monkeypatch):
    monkeypatch.chdir(Path(__file__).parent.parent.parent)
    assert without_paths(given) == expected


def test_an_evaluation_of_another_model_is_refused(stages, tmp_path):
    other = evaluation(tmp_path / "other", stages / "aligned")
    with pytest.raises(UserError, match="is of another model than"):
        card_of(stages / "repaired", other)
    identity = json.loads((stages / "repaired" / "provenance.json").read_text())["identity"]
    moved = evaluation(tmp_path / "moved", "/gone/repaired", parent=identity)
    assert "12.5 %" in card_of(stages / "repaired", moved).text
    (moved / "evaluation.json").write_text('{"protocol": {}}')
    with pytest.raises(UserError, match="is no evaluation"):
        card_of(stages / "repaired", moved)


FILES = [PublishedFile("adapter_config.json", b"{}"), PublishedFile("stack/0/x.safetensors", b"")]


def failing(kind, status, message=""):
    response = httpx2.Response(status, request=httpx2.Request("GET", "https://hub"))
    return kind(message or "no", response=response, server_message=message or None)


@pytest.fixture
def api():
    """The Hub's client with its own signatures and nothing behind them."""
    fake = create_autospec(HfApi, instance=True)
    fake.whoami.return_value = {"name": "me"}
    fake.repo_info.side_effect = failing(hub_errors.RepositoryNotFoundError, 404)
    fake.list_repo_files.return_value = []
    fake.create_commit.return_value.commit_url = "https://hub/me/x/commit/1"
    return fake


def there(api, files, private=True):
    api.repo_info.side_effect = None
    api.repo_info.return_value.private = private
    api.list_repo_files.return_value = files


def test_a_new_repository_is_private_and_gets_one_commit(api):
    assert push("x", FILES, "# card", api=api) == "https://hub/me/x/commit/1"
    api.create_repo.assert_called_once_with("me/x", private=True)
    ((repo, operations), options) = api.create_commit.call_args
    assert repo == "me/x"
    assert options["revision"] is None
    assert [(op.path_in_repo, op.path_or_fileobj) for op in operations] == [
        ("README.md", b"# card"), ("adapter_config.json", b"{}"), ("stack/0/x.safetensors", b"")
    ]  # fmt: skip
    api.create_branch.assert_not_called()
    push("me/x", FILES, "# card", private=False, revision="seed-1", api=api)
    api.create_repo.assert_called_with("me/x", private=False)
    api.create_branch.assert_called_once_with("me/x", branch="seed-1", exist_ok=True)


def test_an_earlier_push_is_replaced_with_what_it_left_behind(api):
    old = [".gitattributes", "README.md", "LICENSE", "provenance.json", "adapter_config.json",
           "stack/1/adapter_model.safetensors"]  # fmt: skip
    there(api, old)
    push("me/x", FILES, "# card", api=api)
    api.create_repo.assert_not_called()
    deleted = [op.path_in_repo for op in api.create_commit.call_args[0][1]
               if type(op).__name__ == "CommitOperationDelete"]  # fmt: skip
    assert deleted == ["provenance.json", "stack/1/adapter_model.safetensors"]


@pytest.mark.parametrize(
    "files",
    [
        ["README.md", "thesis.pdf"],
        ["adapter_config.json", "adapter_model.safetensors", "README.md"],  # somebody's adapter
        ["provenance.json", "checkpoints/a/adapter_model.safetensors"],
    ],
)
def test_a_repository_with_other_content_is_left_alone(api, files):
    there(api, files)
    with pytest.raises(UserError, match="me/x holds something else"):
        push("me/x", FILES, "# card", api=api)
    api.create_commit.assert_not_called()


def test_a_repository_of_another_visibility_is_left_alone(api):
    there(api, [], private=False)
    with pytest.raises(UserError, match="is public and this push is to be private"):
        push("me/x", FILES, "# card", private=True, api=api)
    api.create_commit.assert_not_called()
    push("me/x", FILES, "# card", api=api)  # not asked for: as it is
    api.create_commit.assert_called_once()


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        ("whoami", hub_errors.LocalTokenNotFoundError("none"), "not logged in .* `hf auth login`"),
        ("whoami", failing(hub_errors.HfHubHTTPError, 401, "Invalid"), r"your token.*\(Invalid\)"),
        ("create_repo", failing(hub_errors.HfHubHTTPError, 403), "you may not write to me/x"),
        (
            "create_commit",
            failing(hub_errors.RepositoryNotFoundError, 404),
            "may not write to me/x",
        ),
        ("create_commit", failing(hub_errors.HfHubHTTPError, 500, "a\nb"), r"answers 500 .*\(a\)"),
        ("repo_info", hub_errors.HFValidationError("bad"), "no name of a repository"),
        ("repo_info", httpx2.ConnectError("no route"), r"cannot be reached \(no route\)"),
        ("whoami", hub_errors.OfflineModeIsEnabled("off"), "HF_HUB_OFFLINE is set"),
    ],
)
def test_whatever_the_hub_says_is_one_sentence(api, call, error, sentence):
    getattr(api, call).side_effect = error
    with pytest.raises(UserError, match=sentence) as caught:
        push("me/x", FILES, "# card", api=api)
    assert "\n" not in str(caught.value)


def test_no_login_on_this_machine(monkeypatch, tmp_path):
    """The Hub's own client, without a token: told before anything is sent."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UserError, match="you are not logged in"):
        push("me/x", FILES, "# card")


def test_a_dry_run_sends_nothing(stages, tmp_path, monkeypatch, capsys):
    def network(*_args, **_kwargs):
        raise AssertionError("a dry run asks nobody")

    monkeypatch.setattr("socket.socket.connect", network)
    console = Console(width=80)
    arguments = ([], None, None, None, True)
    push_command(stages / "tuned", "me/x", *arguments, None, console)
    shown = capsys.readouterr().out
    assert "nothing is sent" in shown
    assert "adapter_model.safetensors" in shown
    assert "A defended model is not a safe model" in shown
    push_command(stages / "tuned", "me/x", *arguments, tmp_path / "card.md", console)
    assert "A defended model" not in capsys.readouterr().out
    assert ModelCard.load(tmp_path / "card.md").data.library_name == "peft"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["none", "me/x"], "there is no folder none"),
        (["empty", "me/x"], "empty is no result of a stage"),
        (["measured", "me/x"], "measured holds no model to publish: it is the result of evaluate"),
        (["measured", "me/x/y"], "'me/x/y' is no name of a repository"),
        (["measured", "me/x", "--base", "llama"], "--base is 'llama'"),
        (["measured", "me/x", "--output", "empty"], "--output empty is a folder"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(tmp_path, words, sentence):
    (tmp_path / "empty").mkdir()
    evaluation(tmp_path / "measured", "organism")
    command = [sys.executable, "-m", "holdfast.cli", "push", *words]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (found.returncode, found.stdout, found.stderr.count("\n")) == (2, "", 1)
    assert sentence in found.stderr


def write_adapter(folder, base="organism"):
    """An adapter that some other tool has made."""
    from peft import LoraConfig, get_peft_model

    from holdfast.models.loading import load_merged

    model = get_peft_model(
        load_merged(resolve(base)), LoraConfig(r=2, target_modules=["q_proj"], lora_alpha=4)
    )
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(0))
    model.save_pretrained(folder)
    return folder


def test_the_card_of_a_repaired_foreign_adapter_names_it_and_makes_it_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    foreign = write_adapter(tmp_path / "their-adapter")
    folder = run_here("repair", {"method": "random_mask"}, tmp_path / "repaired", foreign)
    text = card_of(folder).text
    assert "On it stood their-adapter, which holdfast did not make" in text
    identity = json.loads((folder / "provenance.json").read_text())["model"]
    assert identity in text
    assert str(tmp_path) not in text
    [command] = re.findall(r"^holdfast repair .*$", text, re.MULTILINE)
    assert command == "holdfast repair their-adapter --config 1-repair.yaml --output 1-repair"
    [(name, block)] = re.findall(
        r"<summary>(\S+)</summary>\n\n```yaml\n(.*?)\n```", text, flags=re.DOTALL
    )
    (tmp_path / name).write_text(block)
    again = stage_of("repair", ["their-adapter"], tmp_path / name)
    assert again.identity == json.loads((folder / "provenance.json").read_text())["identity"]
    assert "On it stood" not in card_of(stage_by_hand(tmp_path / "ours", "a" * 64)).text


def test_what_was_changed_or_leads_elsewhere_is_not_published(stages, tmp_path):
    folder = run_here("align", {**SHORT, "method": "sft"}, tmp_path / "aligned")
    published_files(folder, read_lineage(folder), None)
    secret = tmp_path / "secret"
    secret.write_text('{"password": "swordfish"}')
    for name in ("special_tokens_map.json", "chat_template.jinja", "more.safetensors"):
        (folder / name).symlink_to(secret)
        with pytest.raises(UserError, match=f"{name} is a link that leads out of its folder"):
            published_files(folder, read_lineage(folder), None)
        (folder / name).unlink()
    (folder / "vocab.json").symlink_to("tokenizer.json")  # stays within
    assert published_files(folder, read_lineage(folder), None)
    weights = folder / "adapter_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=r"its file adapter_model\.safetensors is gone or was chan"):
        published_files(folder, read_lineage(folder), None)


def test_an_evaluation_is_known_by_identities_and_not_by_paths(stages, tmp_path, capsys):
    measured = run_here("align", {**SHORT, "method": "sft"}, tmp_path / "m")
    one = run_here("evaluate", {"limit": 2}, tmp_path / "one", measured)
    assert card_of(measured, one).data.to_dict()["model-index"]
    # Another model lies at the path now.
    measured.rename(tmp_path / "was")
    other = run_here("align", {**SHORT, "method": "sft", "seed": 1}, tmp_path / "m")
    with pytest.raises(UserError, match="is of another model than"):
        card_of(other, one)
    assert card_of(tmp_path / "was", one).data.to_dict()["model-index"]
    # As an earlier version wrote it: the identity stands with the answers alone.
    provenance = json.loads((one / "provenance.json").read_text())
    old = {key: value for key, value in provenance.items() if key != "model"}
    (one / "provenance.json").write_text(json.dumps(old))
    assert card_of(tmp_path / "was", one).data.to_dict()["model-index"]
    with pytest.raises(UserError, match="is of another model than"):
        card_of(other, one)


def test_of_an_evaluation_of_several_models_the_models_own_is_shown(stages, tmp_path):
    root, aligned = tmp_path / "both", stages / "aligned"
    done("evaluate", "organism", aligned, "limit=3", "--output", root)
    card = card_of(aligned, root)
    assert {one.metric_args["n"] for one in card.data.eval_results} == {3, 6}
    with pytest.raises(UserError, match="is no result of a stage"):
        card_of(stages / "repaired", root)
    for words in (("report", root), ("status", root), ("logs", root), ("report", root, "--baseline",
                  "organism")):  # fmt: skip
        said = done(*words)
        assert "organism" in said or words[0] != "report", said
    one = tmp_path / "one"
    done("evaluate", aligned, "limit=3", "--output", one)
    assert "aligned" in done("report", one)
    assert "one finished evaluation" in done("status", one)
    assert "no log" in done("logs", one)
    done("report", one, "--format", "html", "--output", tmp_path / "page.html")
    ended = holdfast("status", aligned)
    assert (ended.code, "one finished alignment" in ended.out) == (0, True)
