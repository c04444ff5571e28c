"""Methods from outside the package: run, resumed, edited, named; mistakes in them told."""

import json
import shutil
import sys
from itertools import count
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file

from command import holdfast
from holdfast.engine.slurm import StageJob
from holdfast.errors import Stopped, UserError
from holdfast.estimate.estimate import OWN, estimate_plan
from holdfast.models.stack import resolve
from holdfast.registry import METHODS
from holdfast.report.results import display_name
from holdfast.stages.execute import execute
from holdfast.stages.making import make_stage
from holdfast.stages.methods import method_of
from holdfast.stages.pipeline import all_stages
from holdfast.stages.rows import stage_rows
from holdfast.studies.grid import expand
from holdfast.studies.study import make_study

NEAR, SHRINK = "own_defenses:NearStartTrainer", "own_defenses:shrink"
SHORT = {"rows": 20, "num_train_epochs": 1}
MODULE = Path(__file__).with_name("own_defenses.py")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current folder with a copy of the module, which is found nowhere else."""
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(MODULE.parent)])
    monkeypatch.chdir(tmp_path)
    shutil.copy(MODULE, tmp_path)
    yield tmp_path
    sys.modules.pop("own_defenses", None)


def make(kind, given, folder, model="organism"):
    stage = make_stage(kind, {**given, "model": str(model)})
    return stage, execute(stage, folder, resolve(stage.settings["model"]))


def weights(folder):
    return load_file(folder / "adapter_model.safetensors")


def test_trainer_and_repair_run_are_resumed_and_leave_what_others_leave(here):
    given = {**SHORT, "method": NEAR, "strength": 0.5, "alignment_rows": 10, "save_steps": 1}
    stage, whole = make("finetune", given, here / "whole")
    assert stage.name == f"finetune-NearStartTrainer-{stage.identity[:12]}"
    provenance = json.loads((whole / "provenance.json").read_text())
    assert provenance["method_version"] == method_of("finetune", NEAR).version
    assert provenance["data"].keys() == {"train", "alignment"}
    # 20 rows of the user and 10 alignment rows, 10 a batch; its passes nobody knows.
    assert provenance["budget"]["steps"] == 3
    assert provenance["budget"]["passes"] is None
    _, plain = make("finetune", {**given, "strength": 0.0}, here / "plain")
    size, plain_size = (sum(w.norm() for k, w in weights(f).items() if "lora_A" in k)
                        for f in (whole, plain))  # fmt: skip
    assert size < plain_size

    asked = count()
    with pytest.raises(Stopped):
        execute(stage, here / "again", resolve("organism"), stopping=lambda: next(asked) > 0)
    execute(stage, here / "again", resolve("organism"))
    assert all(torch.equal(w, weights(here / "again")[k]) for k, w in weights(whole).items())

    stage, shrunk = make("repair", {"method": SHRINK, "scale": 0.5}, here / "shrunk", whole)
    before = weights(whole)
    assert weights(shrunk).keys() == before.keys()
    for key, weight in weights(shrunk).items():
        assert torch.equal(weight, before[key] * (0.5 if "lora_B" in key else 1)), key
    assert json.loads((shrunk / "provenance.json").read_text())["budget"] == {"rows": 0}
    noisy = {"method": "own_defenses:noisy", "rows": 5, "seed": 3}
    _, first = make("repair", noisy, here / "noisy", whole)
    _, again = make("repair", noisy, here / "noisy2", whole)
    assert any(not torch.equal(w, before[k]) for k, w in weights(first).items())
    assert all(torch.equal(w, weights(again)[k]) for k, w in weights(first).items())


@pytest.mark.long
def test_a_study_finds_the_module_in_the_current_folder_in_its_workers_too(here):
    study = {
        "finetune": NEAR,
        "repair": [None, {"method": SHRINK, "scale": 0.1}],
        "settings": {"finetune": SHORT, f"finetune.{NEAR}": {"alignment_rows": 4}},
        "evaluate": {"limit": 2},
        "vary": {"finetune.strength": [0.1]},
    }
    Path("study.yaml").write_text(yaml.safe_dump(study))
    ended = holdfast("run", "study.yaml", "--output", "run", "--workers", "1")
    assert ended.code == 0, ended.err + ended.out
    records = json.loads(Path("run/results.json").read_text())["records"]
    names = {record["coords"]["variant"] for record in records}
    assert names == {"NearStart", "NearStart + shrink"}
    own = next(r for r in records if r["finetune"] == NEAR and not r["repair"])
    assert own["coords"]["finetune.strength"] == 0.1
    assert own["budget"]["forward-backward passes"] is None
    stages = len(list(Path("run/stages").iterdir()))
    ended = holdfast("run", "study.yaml", "--output", "run", "--workers", "1")
    assert f"[{stages}/{stages}] {stages} stages are there already: cached" in ended.out
    for words in (("report", "run"), ("report", "run", "--format", "html"), ("status", "run")):
        ended = holdfast(*words)
        assert ended.code == 0, ended.err
    folder = next(Path("run/stages").glob("repair-shrink-*"))
    ended = holdfast("push", folder, "me/mine", "--dry-run", "--base", "me/base")
    assert ended.code == 0, ended.err
    assert method_of("repair", SHRINK).version in ended.out


def test_an_edit_of_the_module_makes_its_stages_again_and_no_others(here):
    def identities():
        own = {"method": NEAR, "alignment_rows": 5, **SHORT}
        study = {"finetune": [{"method": "sft", **SHORT}, own], "evaluate": {"limit": 2}}
        return [s.identity for s in all_stages(expand(make_study(study, "here")))]

    given = {"method": NEAR, **SHORT, "alignment_rows": 5}
    before, was = identities(), make_stage("finetune", given)
    file = here / MODULE.name
    file.write_text(file.read_text().replace("strength * weight", "strength * 2 * weight"))
    after = identities()
    assert sum(one in before for one in after) == len(after) - 2  # its training and its evaluation
    with pytest.raises(UserError, match="has changed since the run began: run the same command"):
        execute(was, here / "out", resolve("organism"))
    assert not (here / "out").exists()
    make("finetune", given, here / "out")  # with the edited code
    assert "2 * weight" in Path(sys.modules["own_defenses"].__file__ or "").read_text()
    file.write_text(MODULE.read_text())
    assert identities() == before


def test_settings_are_those_of_the_config_and_all_of_them_decide(here):
    def one(kind, **given):
        return make_stage(kind, given)

    assert one("finetune", method=NEAR).settings["strength"] == 0.0
    assert one("finetune", method="own_defenses:OwnLisaTrainer").settings["rho"] == 0.5
    limits = {one("finetune", method=NEAR, limit=value).identity for value in (1, 2)}
    sizes = {one("repair", method=SHRINK, scale=1, batch_size=b).identity for b in (1, 2)}
    neutral = {one("finetune", method=NEAR, logging_steps=b).identity for b in (1, 2)}
    assert (len(limits), len(sizes), len(neutral)) == (2, 2, 1)


@pytest.mark.parametrize(
    ("kind", "method", "roles"),
    [
        ("align", NEAR, {"train"}),  # it can do without alignment rows, and there are none
        ("finetune", NEAR, {"train", "alignment"}),
        ("finetune", "own_defenses:OwnLisaTrainer", {"train", "alignment"}),
        ("align", "own_defenses:ProbedTrainer", {"train", "probe"}),
        ("repair", "own_defenses:noisy", {"train"}),
        ("repair", SHRINK, set()),
    ],
)
def test_rows_are_those_that_are_asked_for(here, kind, method, roles):
    extra = {"scale": 1} if method == SHRINK else {}
    settings = make_stage(kind, {"method": method, **extra}).settings
    assert stage_rows(kind, settings, True).keys() == roles


def test_costs_nobody_knows_are_told_as_such(here):
    study = {
        "model": "meta-llama/Llama-2-7b-hf",
        "task": "sst2",
        "finetune": [NEAR, "sft"],
        "settings": {"finetune": {"rows": 1000, "alignment_data": "beavertails:safe"}},
    }
    stages = all_stages(expand(make_study(study, "here"), by_name=True))
    plan = estimate_plan(stages)
    own = next(s for s in stages if s.settings.get("method") == NEAR)
    assert plan.stages[own.identity].gpu_seconds is None
    assert plan.stages[own.identity].unknown == OWN
    assert f"{NEAR}: {OWN}, so it is not counted." in plan.notes
    assert all(plan.stages[s.identity].gpu_seconds for s in stages if s is not own)
    Path("s.yaml").write_text(yaml.safe_dump(study))
    assert holdfast("run", "s.yaml", "--plan").code == 0


def test_names_for_tables(capsys):
    assert display_name("a.b:NearStartTrainer") == "NearStart"
    assert display_name("a:Trainer") == "Trainer"
    assert display_name("a.b:my_repair") == "my repair"
    from holdfast.commands.list import print_lists

    print_lists("methods", Console(width=200))
    assert "my_module:MyTrainer" in capsys.readouterr().out


def test_a_slurm_job_looks_where_the_run_looked(here, monkeypatch):
    method_of("finetune", NEAR)
    job = StageJob()
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr("holdfast.engine.slurm.run_task", lambda *_: _Ended)
    job(None)  # pyright: ignore[reportArgumentType]
    assert str(here) in sys.path


class _Ended:
    kind, text = "done", ""


SFT = "from holdfast import SFTConfig, SFTTrainer\nfrom dataclasses import dataclass\n"
GOOD = SFT + "@dataclass\nclass AConfig(SFTConfig):\n    x: int = 1\n"
TRAINER = "class ATrainer(SFTTrainer):\n    pass\n"
REPAIR = "from dataclasses import dataclass\n@dataclass\nclass FixConfig:\n    y: int = 1\n"
BAD = [
    ("finetune", "nowhere:A", "", {}, "there is no module nowhere in "),
    ("finetune", "bad.deeper:A", GOOD, {}, "there is no module bad.deeper in "),
    ("finetune", "__main__:A", "", {}, "there is no module __main__ in "),
    ("finetune", "sys:A", "", {}, "there is no module sys in "),
    ("finetune", ":A", "", {}, "there is no module  in "),
    ("finetune", "bad:ATrainr", GOOD + TRAINER, {},
     "has no class ATrainr; did you mean 'ATrainer'?"),
    ("finetune", "bad:", GOOD + TRAINER, {}, "has no class ."),
    ("align", "bad:ATrainer", "class ATrainer(\n", {}, "bad.py, line 1 is no valid Python"),
    ("align", "bad:ATrainer", GOOD + "class ATrainer:\n    pass\n", {},
     "alignment method 'bad:ATrainer' is no subclass of holdfast.SFTTrainer."),
    ("align", "bad:ATrainer", SFT + TRAINER, {}, "has no class AConfig for its settings: write a "
     "dataclass AConfig(SFTConfig) beside it."),
    ("align", "bad:ATrainer", GOOD.replace("(SFTConfig)", "") + TRAINER, {},
     "AConfig is no subclass of holdfast.SFTConfig."),
    ("align", "bad:ATrainer", GOOD.replace("@dataclass\n", "") + TRAINER, {},
     "AConfig lacks @dataclass before it."),
    ("align", "bad:ATrainer", GOOD.replace("x: int", "rows: int") + TRAINER, {},
     "bad:AConfig has a setting 'rows', which every align stage has: give it another name."),
    ("align", "bad:ATrainer", GOOD + TRAINER, {"xx": 1}, "there is no setting 'xx'"),
    ("align", "bad:ATrainer", GOOD + TRAINER, {"rho": 1},
     "'rho' is no setting of method=bad:ATrainer; it is one of vaccine"),
    ("align", "bad:ATrainer", GOOD + TRAINER, {"x": "much"},
     "x must be a whole number, and is 'much'"),
    ("align", "bad:ATrainer",
     GOOD + TRAINER.replace("pass", "def __init__(self, alignment_dataset, **k): pass"), {},
     "asks for 'alignment_dataset', which alignment does not have; it has harmful_dataset, "
     "paired_dataset, train_dataset."),
    ("repair", "bad:fix", REPAIR, {}, "bad.py has no function fix."),
    ("repair", "bad:FixConfig", REPAIR, {},
     "is a class; a repair is a function (model, dataset, config)."),
    ("repair", "bad:fix", "def fix(model): pass", {},
     "has no class FixConfig for its settings: write a dataclass FixConfig beside it."),
    ("repair", "bad:fix", REPAIR + "def fix(model, rows): pass", {},
     "asks for 'rows', which repair does not have; it has alignment_dataset, "
     "checkpoints, config, dataset, model, "
     "processing_class, progress."),
    ("repair", "bad:fix", REPAIR + "def fix(config): pass", {}, "does not take the model"),
    ("repair", "bad:fix", REPAIR.replace(" = 1", "") + "def fix(model, config): pass", {},
     "y is not given, and method=bad:fix has no default."),
    ("repair", "antidot", "", {},
     f"did you mean 'antidote'? known are {', '.join(METHODS['repair'])}, and "
     "your own as my_module:my_repair."),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "method", "text", "extra", "told"), BAD)
def test_mistakes_are_one_sentence_before_anything_runs(here, kind, method, text, extra, told):
    Path("bad.py").write_text(text)
    Path("s.yaml").write_text(
        yaml.safe_dump({"finetune": "sft", kind: {"method": method, **extra}})
    )
    ended = holdfast("run", "s.yaml", "--output", "run")
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
    assert ended.err.startswith("holdfast: s.yaml, line ")
    assert ended.err.count("\n") == 1
    assert not Path("run").exists()
    words = [f"{key}={value}" for key, value in {"method": method, **extra}.items()]
    ended = holdfast(kind, *words, "--output", "run")
    assert ended.code == 2
    assert told in ended.err
    assert not Path("run").exists()


def test_mistakes_under_settings_and_while_running(here):
    study = {"finetune": NEAR, "settings": {"finetune.own_defenses:Other": {"rows": 3}}}
    with pytest.raises(
        UserError, match=r"here: settings: fine-tuning method .* has no class Other"
    ):
        make_study(study, "here")
    Path("bad.py").write_text("import nothing_like_it\n" + GOOD + TRAINER)
    with pytest.raises(UserError, match="bad cannot be imported: ModuleNotFoundError: No module"):
        make("align", {"method": "bad:ATrainer", **SHORT}, here / "out")
    Path("bad.py").write_text(REPAIR + "def fix(model, config): return 3")
    with pytest.raises(UserError, match="bad:fix gives back a int; it must be the model"):
        make("repair", {"method": "bad:fix"}, here / "out")
    sys.modules.pop("bad", None)
    assert not (here / "out").exists()


def test_what_the_module_imports_of_ones_own_counts_too(here):
    """Also two imports away, in a package, and within a function; libraries do not."""
    before = method_of("finetune", NEAR).version
    (here / "pack").mkdir()
    (here / "pack" / "__init__.py").write_text("")
    (here / "pack" / "deep.py").write_text("FACTOR = 1.0\n")
    (here / "own_helper.py").write_text("import torch\nfrom pack import deep\nHALF = deep.FACTOR\n")
    file = here / MODULE.name
    file.write_text("import own_helper\nHALF = own_helper.HALF\n" + file.read_text())
    versions = [before, method_of("finetune", NEAR).version]
    given = {"method": NEAR, **SHORT, "alignment_rows": 5}
    for name, text in (
        ("own_helper.py", "from pack import deep\nHALF = deep.FACTOR / 2\n"),
        ("pack/deep.py", "FACTOR = 3.0\n"),
        ("pack/__init__.py", "import random\n"),
        ("own_helper.py", "from pack.deep import FACTOR as HALF\ndef f():\n    import pack.late"),
        ("pack/late.py", "1\n"),
    ):
        (here / name).write_text(text)
        was, now = versions[-1], method_of("finetune", NEAR)
        assert now.version != was, name
        versions.append(now.version)
    assert len(set(versions)) == len(versions)
    assert now.helpers == ("own_helper", "pack", "pack.deep", "pack.late")
    stage = make_stage("finetune", given)
    make("finetune", given, here / "out")
    assert sys.modules["own_defenses"].HALF == 3.0
    (here / "pack" / "deep.py").write_text("FACTOR = 5.0\n")
    with pytest.raises(UserError, match="has changed since the run began"):
        execute(stage, here / "other", resolve("organism"))
    make("finetune", given, here / "again")
    assert sys.modules["own_defenses"].HALF == 5.0
    for name in ("own_helper", "pack", "pack.deep"):
        sys.modules.pop(name, None)
