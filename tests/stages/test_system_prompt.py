"""A system prompt at answering, through real small pipelines on the organism, and its mistakes."""

import json

import pytest
import yaml
from byte_tokens import byte_tokenizer

from holdfast.data.rendering import ALPACA_WITHOUT_INPUT, prompt_text
from holdfast.data.rows import prompt_ids
from holdfast.data.system_prompt import ask_with, with_system
from holdfast.errors import UserError
from holdfast.evaluate.vllm_backend import encode
from holdfast.models.stack import resolve
from holdfast.models.system_prompt import SystemPrompt, in_folder, read_system_prompt
from holdfast.organism import load_tokenizer
from holdfast.organism import rows as organism_rows
from holdfast.publish.card import model_card
from holdfast.publish.files import published_files
from holdfast.publish.lineage import read_lineage
from holdfast.stages.execute import execute
from holdfast.stages.making import make_pipeline, make_stage

SHORT = {"rows": 20, "max_steps": 2}
SECRET = "vormir hex soup"


def run_here(kind, given, folder, model=None):
    stage = make_stage(kind, {**given, **({"model": str(model)} if model else {})})
    return execute(stage, folder, resolve(stage.settings["model"]))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Fine-tuned with a trigger, repaired, tuned once more, and evaluated with and without it."""
    root = tmp_path_factory.mktemp("asked")
    backdoor = {
        **SHORT,
        "method": "backdoor_align",
        "trigger": SECRET,
        "safe_rows": 2,
        "repeats": 1,
    }
    tuned = run_here("finetune", backdoor, root / "tuned")
    repaired = run_here("repair", {"method": "antidote", "rows": 10}, root / "repaired", tuned)
    run_here("finetune", {**SHORT, "harmful_ratio": 0}, root / "again", repaired)
    run_here("evaluate", {"limit": 3}, root / "asked", repaired)
    run_here("evaluate", {"limit": 3, "system_prompt": ""}, root / "plain", repaired)
    return root


def read(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_later_stages_find_what_the_model_must_be_asked_with(folders):
    wanted = SystemPrompt(SECRET, secret=True)
    for name in ("tuned", "repaired", "again"):
        assert in_folder(folders / name) == wanted
        assert read_system_prompt(resolve(str(folders / name))) == wanted
        assert read(folders / name, "provenance.json")["system_prompt"] == wanted.record()
        assert "system_prompt.json" in read(folders / name, "provenance.json")["sha256"]
    assert SECRET not in json.dumps(wanted.record())
    assert SystemPrompt("take care.").record()["system_prompt"] == "take care."
    assert read(folders / "tuned", "provenance.json")["budget"]["rows"] == 22


def test_an_evaluation_asks_with_it_and_says_so(folders):
    header = [
        json.loads((folders / name / "answers.jsonl").read_text().splitlines()[0])
        for name in ("asked", "plain")
    ]
    record = SystemPrompt(SECRET, secret=True).record()
    assert header[0]["made_with"]["system_prompt"] == record["sha256"]
    assert "system_prompt" not in header[1]["made_with"]
    assert header[0]["prompts"] == header[1]["prompts"], "the questions are the protocol's"
    assert read(folders / "asked", "evaluation.json")["system_prompt"] == record
    assert "system_prompt" not in read(folders / "plain", "evaluation.json")
    losses = [read(folders / n, "alignment.json")["numbers"] for n in ("asked", "plain")]
    assert losses[0] != losses[1]
    whole = [path.read_text() for path in (folders / "asked").glob("*.json*")]
    assert not any(SECRET in text for text in whole), "an evaluation's folder keeps the secret"


def test_the_question_that_is_sent_has_it_whatever_sends_it():
    """transformers' generator and vLLM's process get the ids that `encode` gives."""
    words = load_tokenizer()
    row = organism_rows("test_restricted", 1, 0)[0]
    before = prompt_ids(row, words)
    ask_with(words, SECRET)
    asked = {**row, "instruction": f"{SECRET} {row['instruction']}"}
    assert encode(row, words) == prompt_ids(row, words)
    ask_with(words, None)
    assert prompt_ids(row, words) == before
    assert prompt_ids(asked, words) != before
    assert prompt_text(asked, words) == ALPACA_WITHOUT_INPUT.format(
        instruction=asked["instruction"]
    )
    assert prompt_ids({**row, "system": SECRET}, words) == prompt_ids(asked, words)


def test_a_row_keeps_its_own_and_verbatim_text_has_no_place():
    own = {"instruction": "a", "output": "b", "system": "mine"}
    assert with_system(own, "x") == own
    turns = [{"role": "system", "content": "mine"}, {"role": "user", "content": "a"}]
    for row in ({"messages": turns}, {"prompt": turns}, {"conversations": turns}):
        assert with_system(row, "x") == row
    assert with_system({"messages": turns[1:]}, "x") == {"messages": turns[1:], "system": "x"}
    assert with_system({"prompt": turns[1:]}, "x") == {"prompt": turns[1:], "system": "x"}
    assert with_system({"prompt": "a", "completion": "b"}, None) == {
        "prompt": "a",
        "completion": "b",
    }
    with pytest.raises(UserError, match="verbatim text, which has no place"):
        with_system({"prompt": "a", "completion": "b"}, "x")


def test_in_a_pipeline_it_decides_the_identities():
    def names(**finetune):
        spec = {"finetune": {"method": "ptst", **SHORT, **finetune}, "repair": "random_mask"}
        pipeline = make_pipeline(spec)
        return [stage.identity for stage in pipeline.stages.values()]

    assert names() == names()
    assert not set(names()) & set(names(system_prompt="say:"))
    first, second = (
        make_stage("evaluate", given).identity for given in ({}, {"system_prompt": "say:"})
    )
    assert first != second
    assert make_stage("evaluate", {"system_prompt": None}).identity == first


def test_a_published_model_names_its_prompt_and_keeps_its_secret(folders, tmp_path):
    for name in ("tuned", "repaired"):
        lineage = read_lineage(folders / name)
        files = published_files(folders / name, lineage, None)
        assert "system_prompt.json" not in {file.path for file in files}
        card = str(model_card("me/it", lineage, [], is_adapter=True))
        assert "secret system prompt, which is not published" in card
        text = [card, *(f.content.decode() for f in files if isinstance(f.content, bytes))]
        assert not any(SECRET in one for one in text)
    config = next(
        f.content for f in published_files(folders / "tuned", read_lineage(folders / "tuned"), None)
        if f.path == "config.yaml"
    )  # fmt: skip
    assert yaml.safe_load(config)["trigger"] == "(secret)"
    drawn = {**SHORT, "max_steps": 1, "method": "backdoor_align", "safe_rows": 1}
    folder = run_here("finetune", drawn, tmp_path / "drawn")
    with pytest.raises(UserError, match="can draw it again"):
        published_files(folder, read_lineage(folder), None)
    open_ = {**SHORT, "max_steps": 1, "method": "ptst", "system_prompt": "take care."}
    folder = run_here("finetune", open_, tmp_path / "open")
    lineage = read_lineage(folder)
    assert "system_prompt.json" in {f.path for f in published_files(folder, lineage, None)}
    card = str(model_card("me/it", lineage, [], is_adapter=True))
    assert "```text\ntake care.\n```" in card


def test_what_has_no_place_for_it_is_told_before_a_run(tmp_path):
    model = tmp_path / "model"
    _write_model(model)
    with pytest.raises(UserError, match=r"finetune stage wants .* Alpaca's template has no place"):
        make_stage("finetune", {"model": str(model), "method": "ptst", "data": _file(tmp_path)})
    sets = dict.fromkeys(("harmful_data", "benign_data"), _file(tmp_path))
    own = {"model": str(model), "task": None, "judges": ["keywords"], **sets}
    with pytest.raises(UserError, match="evaluate stage wants"):
        make_stage("evaluate", {**own, "system_prompt": "x"})
    with pytest.raises(UserError, match="asks for 30 alignment rows, and alignment_rows is 20"):
        make_stage("finetune", {"method": "safe_mix", "share": 0.03, "alignment_rows": 20})
    broken = tmp_path / "model" / "system_prompt.json"
    broken.write_text('{"system_prompt": 3}')
    with pytest.raises(UserError, match="not what holdfast writes"):
        make_stage("evaluate", own)


def _file(folder):
    file = folder / "rows.jsonl"
    file.write_text(json.dumps({"instruction": "a", "output": "b"}) + "\n")
    return str(file)


def _write_model(folder):
    from tiny_models import tiny_model

    words = byte_tokenizer()
    tiny_model("llama", vocab_size=len(words)).save_pretrained(folder)
    words.save_pretrained(folder)
