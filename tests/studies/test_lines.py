"""A mistake in a study's file is told with the file and the line where it stands."""

import pytest

from command import holdfast
from holdfast.errors import UserError
from holdfast.studies.grid import expand
from holdfast.studies.study import read_study, with_words

# The file, the line, what is said after it.
MISTAKES = [
    ("align: sft\nalgin: sft\n", 2, "there is no setting 'algin'; did you mean 'align'?"),
    ("finetune: sft\n\nalign: vacine\n", 3, "align: there is no alignment method 'vacine'"),
    ("align:\n  - sft\n  - vacine\n", 3, "vacine: align: there is no alignment method 'vacine'"),
    ("align:\n  method: vaccine\n  roh: 2\n", 3, "align: there is no setting 'roh'; did you"),
    ("align:\n  method: sft\n  rho: 2\n", 3, "align: 'rho' is no setting of method=sft; it is"),
    ("align:\n  method: sft\n  rows: many\n", 3, "align: rows must be a whole number"),
    ("align:\n  method: sft\n  rows: 0\n", 3, "align: rows is 0; it must be 1 or more."),
    ("align:\n  method: sft\n  rows: 99999\n", 1, "align: the organism holds 0 to"),
    ("align:\n  method: sft\n  lora:\n    r: 4\n    dropuot: 0\n", 5, "align: there is no setting"),
    ("align:\n  method: sft\n  lora: 3\n", 3, "align: lora must hold settings, such as lora.r"),
    ("align: sft\n\nharmful_ratio: []\n", 3, "harmful_ratio is an empty list"),
    ("align:\n  - sft\nfinetune: []\n", 3, "finetune is an empty list"),
    (
        "align: sft\nharmful_ratio: 2\nfinetune: sft\n",
        2,
        "harmful_ratio is 2; it must",
    ),
    ("align: sft\ntask: chess\n", 2, "evaluate: there is no task 'chess'"),
    ("align: sft\ndtype: float99\n", 2, "dtype must be one of"),
    (
        "align: sft\nvary:\n  align.rho: [1]\n",
        3,
        "no method of the study has a setting 'align.rho'",
    ),
    ("align: vaccine\nvary:\n  align.rho: [1, x]\n", 3, "align: rho must be a number"),
    ("align: vaccine\nvary:\n  align.rho: []\n", 3, "vary: align.rho is an empty list"),
    ("align: vaccine\nvary:\n  rho: [1]\n", 3, "vary: 'rho' must be written STAGE.SETTING"),
    ("align: sft\nseeds: [0, -1]\n", 2, "-1 is no seed"),
    ("align: sft\nseeds: 0\n", 2, "seeds is 0"),
    ("align: sft\nevaluate:\n", 2, "evaluate is null"),
    ("variants:\n  A: {align: sft}\n  B:\n    algn: sft\n", 4, "variants: B: there is no stage"),
    ("variants:\n  A: {align: sft}\n  B:\n    align: vacine\n", 4, "B: align: there is no"),
    ("variants:\n  A: {align: sft}\nfinetune: sft\n", 3, "both 'variants' and 'finetune'"),
    ("settings:\n  align: {rows: 9}\n  algin: {rows: 9}\nalign: sft\n", 3, "settings: there is no"),
    ("align: sft\nsettings:\n  align:\n    roes: 9\n", 4, "align: there is no setting 'roes'"),
    ("finetune: lisa\nsettings:\n  finetune.lisa:\n    roh: 9\n", 4, "finetune: there is no"),
    ("align: sft\nsettings:\n  evaluate:\n    judges: [nobody]\n", 4, "evaluate: judges"),
    ("align: sft\nsettings:\n  evaluate:\n    protocol: mine\n", 4, "evaluate: there is no prot"),
    (
        "align: sft\ntask: [sums, topic]\nwhen:\n- if: {task: sums}\n  then:\n    align:\n"
        "      roes: 1\n",
        7,
        "align: there is no setting 'roes'",
    ),
    ("align: sft\nwhen:\n- if: {taks: sums}\n  then: {}\n", 3, "when, entry 1: there is no axis"),
    ("align: sft\nwhen:\n- {}\n- if: {}\n", 3, "when, entry 1 must be"),
    ("align: sft\nexclude:\n- {task: sums}\n- {seed: 3}\n", 4, "exclude, entry 2: there is no"),
    (
        "align: sft\nexclude:\n- {variant: SFTT}\n",
        3,
        "exclude, entry 1: there is no variant 'SFTT'",
    ),
    ("align: sft\nexclude:\n- {variant: SFT}\n", 2, "exclude leaves nothing of the study"),
    ("align: sft\ninclude:\n- {align: vaccine}\n- {algn: sft}\n", 4, "include, entry 2: there is"),
    ("align: sft\ninclude:\n- {align: vacine}\n", 3, "vacine: align: there is no alignment"),
    ("align: sft\ninclude:\n- {finetune: sft}\n- {finetune: sft}\n", 3, "include, entry 1: there"),
    ("align: sft\nslurm:\n  - 3\n", 2, "slurm must hold settings"),
    ("align: sft\nextends: nothing\n", 2, "extends names 'nothing', and there is no file"),
    ("align: sft\nextends: study\n", 2, "extends leads back to study.yaml"),
    ("align: sft\n\trows: 3\n", 2, "a tab stands in the indentation"),
    ("align: {method: sft\nrows: 3\n", 2, ""),
    ("align: sft\nrows: 3\nalign: sft\n", 3, "the key 'align' is there twice"),
    ("align: &a\n  method: sft\n  lora: *a\n", 3, "an alias stands inside of what it is"),
    ("align: sft\nfinetune: &a\n- *a\n", 2, "an alias stands inside of what it is"),
]


def message(path, words=None):
    with pytest.raises(UserError) as caught:
        expand(with_words(read_study(path), words or {}, "the command line"))
    return str(caught.value)


@pytest.mark.parametrize(("text", "line", "said"), MISTAKES)
def test_a_mistake_is_told_with_its_line(tmp_path, text, line, said):
    file = tmp_path / "study.yaml"
    file.write_text(text)
    told = message(file)
    assert told.startswith(f"{file}, line {line}: {said}")
    assert "\n" not in told


def test_what_a_file_takes_from_another_is_told_with_that_files_line(tmp_path):
    below, file = tmp_path / "below.yaml", tmp_path / "study.yaml"
    below.write_text("# nothing\nsettings:\n  align: {roes: 9}\n  finetune: {rows: 8}\n")
    file.write_text("extends: below\nalign: sft\nfinetune: sft\n")
    assert message(file).startswith(f"{below}, line 3: align: there is no setting 'roes'")
    file.write_text("extends: below\nalign: sft\nsettings:\n  align: {rows: 0}\n")
    assert "line 3: align: there is no setting 'roes'" in message(file)
    below.write_text("settings: {align: {rows: 0}}\n")
    file.write_text("extends: below\nalign: sft\nsettings:\n  align:\n    rows: -1\n")
    assert message(file).startswith(f"{file}, line 5: align: rows is -1")
    below.write_text("# first\nextends: study\n")
    assert message(file).startswith(f"{below}, line 2: extends leads back to study.yaml")


def test_what_was_typed_is_told_as_such_and_not_as_the_files(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("align:\n  method: vaccine\n  rho: 2\ntask: sums\n")
    assert message(file, {"align": {"rho": "x"}}).startswith("the command line: align: rho must be")
    assert message(file, {"task": "chess"}).startswith("the command line: evaluate: there is no ta")
    assert message(file, {"align": {"every": 1, "rows": 0}}).startswith("the command line: align:")
    told = message(file, {"finetune": {"rows": 9}})
    assert told == "the command line: no method of the study has a setting 'finetune.rows'."


def test_the_command_line_ends_with_2_and_one_sentence(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("align: sft\nseeds: 1001\n")
    ended = holdfast("run", file, "--output", tmp_path / "run")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"holdfast: {file}: the grid has 1,001 pipelines")
    assert "--plan" in ended.err
    assert "--yes" in ended.err
    file.write_text("method: sft\nrows: 5\nroes: 3\n")
    ended = holdfast("align", "--config", file, "--output", tmp_path / "run")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"holdfast: {file}, line 3: there is no setting 'roes'")
    file.write_text("method: sft\nrows: 0\n")
    ended = holdfast("align", "--config", file, "--output", tmp_path / "run")
    assert ended.err.startswith(f"holdfast: {file}, line 2: rows is 0")
    ended = holdfast("align", "--config", file, "rows=-3", "--output", tmp_path / "run")
    assert ended.err.startswith("holdfast: the command line: rows is -3")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing yet\n", "{}\n"])
def test_an_empty_file_is_told(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"study\.yaml is empty; a study names its methods"):
        read_study(path)
