"""A chat template that cannot write the rows is told before a run, by the plan as well."""

import json
import subprocess
import sys

import pytest

from command import holdfast
from hub_folders import CHAT_TEMPLATE, write_model

ROWS = [{"instruction": f"Name river {n}.", "output": f"The Ouse, {n}."} for n in range(4)]
TALK = {
    "messages": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Name a bird."},
        {"role": "assistant", "content": "A wren."},
    ]
}
TEMPLATES = {
    "raises": ("{{ raise_exception('only in Latin') }}", "only in Latin"),
    "no question": (
        "{{ messages[-1].content if messages[-1].role == 'assistant' else 'Hm?' }}",
        "leaves out what turn 1 (user) says",
    ),
    "no answer": (
        CHAT_TEMPLATE.replace("message['content']", "message['content'][:13]"),
        "leaves out what turn",
    ),
    "date": ("{% set f = '%d' %}{{ strftime_now(f) }}" + CHAT_TEMPLATE, "today's date in a form"),
    "no prefix": (
        "{{ messages | length }}" + CHAT_TEMPLATE,
        "a prompt that is no prefix of the whole conversation",
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("rendered")
    write_model(place / "chat", chat=True)
    for name, rows in {"rows": ROWS[:3], "talks": [ROWS[3], TALK]}.items():
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, (template, _) in TEMPLATES.items():
        (place / f"{name}.jinja").write_text(template)
    (place / "no system.jinja").write_text(
        "{% for m in messages if m.role != 'system' %}<|{{ m.role }}|>{{ m.content }}<|end|>"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    return place


def told(place, monkeypatch, study, *options):
    """What a run of the study, or its plan, says; it is a mistake and leaves nothing."""
    monkeypatch.chdir(place)
    (place / "study.json").write_text(json.dumps({"model": "chat", **study}))
    ended = holdfast("run", "study.json", *options, "--output", "out")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended
    assert not (place / "out").exists()
    return ended.err


@pytest.mark.parametrize("options", [["--plan"], []], ids=["plan", "run"])
@pytest.mark.parametrize("fault", TEMPLATES)
def test_a_template_that_cannot_write_the_rows_is_told(fault, options, place, monkeypatch):
    align = {"method": "sft", "data": "rows.jsonl", "template": f"{fault}.jinja"}
    said = told(place, monkeypatch, {"align": align, "evaluate": EVALUATION}, *options)
    assert "align" in said
    assert "data, row 1: " in said or fault == "raises"  # which cannot even say a word
    assert TEMPLATES[fault][1] in said


EVALUATION = {"harmful_data": "rows.jsonl", "benign_data": "rows.jsonl", "task": None}
PLACES = {
    "data": ({"finetune": {"method": "sft", "data": "talks.jsonl"}}, "row 2"),
    "harmful_data": (
        {"align": {"method": "t_vaccine", "data": "rows.jsonl", "harmful_data": "talks.jsonl"}},
        "row 2",
    ),
    "alignment_data": (
        {"finetune": {"method": "lisa", "data": "rows.jsonl", "alignment_data": "talks.jsonl"}},
        "row 2",
    ),
    "benign_data": ({"evaluate": {**EVALUATION, "benign_data": "talks.jsonl"}}, "row 2"),
}


@pytest.mark.parametrize("options", [["--plan"], []], ids=["plan", "run"])
@pytest.mark.parametrize("key", PLACES)
def test_the_setting_and_the_row_are_named_whatever_the_stage(key, options, place, monkeypatch):
    study, row = PLACES[key]
    study = {"template": "no system.jinja", "evaluate": EVALUATION, **study}
    said = told(place, monkeypatch, study, *options)
    assert f"{key}, {row}: " in said
    assert "leaves out what turn 1 (system) says" in said


def test_rows_that_are_not_drawn_are_not_looked_at(place, monkeypatch):
    monkeypatch.chdir(place)
    study = {
        "model": "chat",
        "template": "no system.jinja",
        "finetune": {"method": "sft", "data": "talks.jsonl", "rows": 1},
        "evaluate": EVALUATION,
    }
    (place / "study.json").write_text(json.dumps(study))
    assert holdfast("run", "study.json", "--plan", "--output", "out").code == 0


def test_the_plan_of_a_model_of_the_hub_needs_no_tokenizer(place):
    study = {"model": "owner/name", "evaluate": EVALUATION}
    study["align"] = {"method": "sft", "data": "talks.jsonl", "template": "no system.jinja"}
    (place / "hub.json").write_text(json.dumps(study))
    code = (
        "import sys\n"
        "from holdfast.cli import main\n"
        "sys.argv = ['holdfast', 'run', 'hub.json', '--plan', '--output', 'out']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "assert not {'torch', 'transformers'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=place, check=True, timeout=100)
