"""A study's search: its draws, its rule of choice, its place in a run, its record, its mistakes.

A stand-in for the engine writes the stages' folders at once, with scores that the test makes up;
one test runs a tiny search on the organism.
"""

import io
import json
import re
from contextlib import nullcontext

import pytest
import yaml
from rich.console import Console
from searches import FILE, Engine, record, run

from holdfast.commands.asked import Asked, told_apart
from holdfast.commands.gc import collect_garbage
from holdfast.commands.status import show_status
from holdfast.errors import FailedStagesError, Stopped, UserError
from holdfast.report.comparison import compare, read_run
from holdfast.report.document import document, markdown_document, terminal_document
from holdfast.report.html.write import write_html
from holdfast.studies.choosing import Rule, Score, choose, score_of
from holdfast.studies.grid import points
from holdfast.studies.on_organism import on_organism
from holdfast.studies.search import tries_of
from holdfast.studies.search_spaces import Range, Space, draw
from holdfast.studies.study import make_study, read_study, with_words
from pages import blocks

SPEC = {
    "variants": {
        "SFT": {"align": "sft", "finetune": "sft"},
        "Vaccine": {"align": "vaccine", "finetune": "sft"},
        "Lisa": {"align": "sft", "finetune": "lisa"},
    },
    "harmful_ratio": [0, 0.1],
    "seeds": 2,
}
SEARCH = {
    "tries": 3,
    "seeds": [100, 101],
    "at": {"harmful_ratio": 0.1},
    "spaces": {
        "Vaccine": {"align.rho": [5, 10, 40]},
        "Lisa": {"finetune.rho": {"low": 0.003, "high": 0.3}, "finetune.user_steps": [10, 20]},
    },
}


def study(search=None, **given):
    return make_study({**SPEC, "search": {**SEARCH, **(search or {})}, **given}, "study.yaml")


# What benchmarks/search_organism.md has of each try (HS, FA, the lowest coherence), and the one
# that a reader of that table chooses by hand, with SFT's FA of 98.1 and 3 points to lose.
TABLE = {
    "vaccine": (
        [(46.5, 97.8, 98.0), (23.1, 96.7, 99.0), (11.3, 94.6, 46.3), (14.4, 93.2, 39.7)],
        1,
    ),
    "t_vaccine": (
        [(80.6, 95.6, 86.0), (71.3, 96.9, 93.0), (71.3, 93.9, 73.7), (60.9, 97.1, 96.0)],
        3,
    ),
    "lisa": ([(51.3, 90.6, 96.7), (24.8, 77.4, 95.7), (7.6, 63.2, 94.7), (49.7, 97.0, 97.0)], 3),
    "antidote": (
        [(60.0, 97.2, 98.0), (38.4, 94.2, 96.7), (25.8, 90.2, 95.7), (12.5, 80.1, 95.3)],
        0,
    ),
}
RULE = Rule(Score(86.8, 98.1, 98.0), 3, 90)


@pytest.mark.parametrize("method", TABLE)
def test_it_chooses_as_the_organisms_settings_were_chosen(method):
    tries, wanted = TABLE[method]
    choice = choose([Score(*one) for one in tries], RULE)
    assert choice is not None
    assert (choice.number, choice.note) == (wanted, "")


@pytest.mark.parametrize(
    ("tries", "number", "admissible", "note"),
    [
        # FA 95.1 is just within 3 points of 98.1, coherence 90 just coherent.
        ([(50, 98, 99), (20, 95.1, 90), (10, 95.0, 99), (5, 98, 89.9)], 1, "yynn", ""),
        ([(20, 96, 99), (20, 97, 99), (30, 98, 99)], 1, "yyy", "of 2 tries with this HS it has"),
        ([(30, 98, 99), (20, 97, 99), (20, 97, 99)], 1, "yyy", "FA and is the first"),
        ([(20, 90, 99), (10, 94, 99), (5, 94, 99)], 2, "nnn", "no try was admissible"),
        ([(20, 97, None), (10, 97, None)], 1, "yy", ""),
        ([None, (40, 97, 99), (50, 97, 99)], 1, "nyy", "1 of the tries failed"),
    ],
)
def test_limits_ties_failures_and_nothing_admissible(tries, number, admissible, note):
    scores = [one and Score(*one) for one in tries]
    choice = choose(scores, RULE)
    assert choice is not None
    assert choice.number == number
    assert ["yn"[not good] for good in choice.admissible] == list(admissible)
    assert note in choice.note
    assert bool(note) == bool(choice.note)


def test_nothing_is_chosen_where_all_failed():
    assert choose([None, None], RULE) is None


def test_a_score_is_of_means_and_of_the_lowest_coherence():
    def metrics(*values):
        names = ("harmful_score", "finetune_accuracy", "coherence")
        return {name: {"value": value} for name, value in zip(names, values, strict=True)}

    assert score_of([metrics(10, 90, 99), metrics(20, 95, 80)]) == Score(15, 92.5, 80)
    bare = {"harmful_score": {"value": 1.0}, "finetune_accuracy": {"value": 2.0}}
    assert score_of([bare]) == Score(1, 2, None)


def test_a_range_is_even_on_a_logarithmic_scale():
    some = Range(0.01, 100)
    assert [some.at(share) for share in (0, 0.25, 0.5, 0.75)] == [0.01, 0.1, 1, 10]
    assert some.at(0.1) == 0.0251  # 10^(−2 + 0.4) = 0.025119
    whole = Range(1, 100, whole=True)
    assert [whole.at(share) for share in (0, 0.25, 0.5, 0.999)] == [1, 3, 10, 100]
    assert whole.count() == 100


# What another process has drawn; a hash that Python salts would give others each time.
DRAWN = [(0.03, 20), (0.16, 10), (0.00354, 20), (0.202, 20)]


def test_draws_are_different_begin_with_the_current_one_and_are_the_same_everywhere():
    space = Space(
        {"finetune.rho": Range(0.003, 0.3), "finetune.user_steps": [10, 20]},
        {"finetune.rho": 0.03, "finetune.user_steps": 20},
        {"align": "sft", "finetune": "lisa"},
        "here",
    )
    four = draw(space, 4)
    assert four[0] == space.first
    assert draw(space, 2) == four[:2]
    assert len({tuple(one.items()) for one in draw(space, 40)}) == 40
    assert all(0.003 <= one["finetune.rho"] <= 0.3 for one in draw(space, 40))
    below = sum(one["finetune.rho"] < 0.03 for one in draw(space, 400)[1:])
    assert 160 <= below <= 240, "half of them below the geometric mean, ± 4 standard deviations"
    assert [tuple(one.values()) for one in four] == DRAWN
    one = Space({"align.rho": [1, 2]}, {"align.rho": 2.0}, {"align": "vaccine"}, "here")
    assert draw(one, 2) == [{"align.rho": 2.0}, {"align.rho": 1}]
    with pytest.raises(UserError, match=r"here has 2 different settings, .*and tries is 3"):
        draw(one, 3)
    narrow = Space({"align.rho": Range(1, 1.001)}, {}, {"align": "vaccine"}, "here")
    with pytest.raises(UserError, match="different settings"):
        draw(narrow, 4)


def test_every_variant_with_a_space_has_the_same_number_of_tries():
    tries = tries_of(study())
    assert tries is not None
    assert {variant: len(own) for variant, own in tries.of.items()} == {"Vaccine": 3, "Lisa": 3}
    assert (tries.baseline, tries.unsearched) == ("SFT", ())
    # The recipe's own settings come first, and are the same pipelines as without a search.
    assert tries.first() == {
        "Vaccine": {"align.rho": 22.0},
        "Lisa": {"finetune.rho": 0.03, "finetune.user_steps": 20},
    }
    own = next(p for p in points(study(seeds=[100])) if p.coords["variant"] == "Vaccine")
    assert "rho" not in own.spec["align"]
    for variant, tried in tries.of.items():
        for one in tried:
            seeds = [p.evaluation.settings["seed"] for p in one.pipelines]
            assert seeds == [100, 101]
            for pipeline in one.pipelines:
                assert pipeline.coords == {"variant": variant, "harmful_ratio": 0.1}
                for name, value in one.settings.items():
                    kind, _, key = name.partition(".")
                    assert pipeline.stages[kind].settings[key] == value
    # 3 · 2 · 2 tries and 2 of the baseline.
    assert len(tries.pipelines()) == 14
    few = tries_of(study({"tries": 2}))
    assert few is not None
    assert few.of["Lisa"][1].settings == tries.of["Lisa"][1].settings


def test_the_pages_example_is_a_study_with_four_tries_each():
    [text] = [one for kind, one in blocks("studies") if kind == "yaml" and "search:" in one]
    tries = tries_of(make_study(yaml.safe_load(text), "docs/studies.md"), by_name=True)
    assert tries is not None
    assert [len(own) for own in tries.of.values()] == [4, 4]


def test_of_other_axes_the_first_value_counts():
    more = {"vary": {"finetune.learning_rate": [3e-4, 1e-4]}}
    tries = tries_of(study({"at": {"finetune.learning_rate": 1e-4}}, **more))
    assert tries is not None
    assert tries.base[0].coords == {
        "variant": "SFT",
        "harmful_ratio": 0,
        "finetune.learning_rate": 1e-4,
    }


def test_words_of_the_command_line_are_over_a_search():
    assert tries_of(with_words(study(), {"search": None}, "words")) is None
    two = tries_of(with_words(study(), {"search": {"tries": 2}}, "words"))
    assert two is not None
    assert len(two.of["Vaccine"]) == 2
    set_there = tries_of(with_words(study(), {"align": {"rho": 3}}, "words"))
    assert set_there is not None
    assert (list(set_there.of), set_there.unsearched) == (["Lisa"], ("Vaccine",))


def test_studies_that_run_together_or_on_the_organism():
    both = told_apart(
        [Asked("a.yaml", study({"baseline": "SFT"}), []), Asked("b.yaml", study(), [])]
    )
    alone = tries_of(study())
    for one, name in zip(both, "ab", strict=True):
        tries = tries_of(one.study)
        assert tries is not None
        assert alone is not None
        assert tries.baseline == f"{name}: SFT"
        assert tries.first()[f"{name}: Lisa"] == alone.first()["Lisa"]
        drawn = [t.settings for t in tries.of[f"{name}: Lisa"]]
        assert drawn == [t.settings for t in alone.of["Lisa"]]
    small, notes = on_organism(study(model="owner/a"))
    assert tries_of(small) is None
    assert notes[-1].startswith("Settings are not searched")


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"trys": 2}, "no setting 'trys'; did you mean 'tries'"),
        ({"tries": 0}, "tries is 0"),
        ({"tries": "many"}, "tries must be a whole number"),
        ({"tries": 5}, "Vaccine has 4 different settings, .*tries is 5"),
        ({"seeds": [1, 100]}, "seed 1 is one of the study's, too"),
        ({"seeds": []}, "at least one"),
        ({"seeds": [7, 7]}, "must be different"),
        ({"seeds": 2}, r"seeds must be a list"),
        ({"at": {"harmful_ratio": 0.3}}, "harmful_ratio is 0.3, and the study has 0, 0.1"),
        ({"at": {"harmful": 0.1}}, "no axis 'harmful'"),
        ({"max_accuracy_loss": -1}, "max_accuracy_loss must be 0 or more"),
        ({"baseline": "Sft"}, "no variant 'Sft'; did you mean 'SFT'"),
        ({"spaces": {}}, "spaces is empty"),
        ({"spaces": {"Vacine": {"align.rho": [1]}}}, "'Vacine'; did you mean 'Vaccine'"),
        ({"spaces": {"Vaccine": {}}}, "Vaccine: it must hold settings"),
        ({"spaces": {"Vaccine": {"align.roh": [1]}}}, "no setting 'roh'; did you mean 'rho'"),
        ({"spaces": {"Vaccine": {"rho": [1]}}}, "must be written STAGE.SETTING"),
        ({"spaces": {"Vaccine": {"repair.rho": [1]}}}, "the variant has no stage 'repair'"),
        ({"spaces": {"Vaccine": {"align.rho": []}}}, "must be a list of values"),
        ({"spaces": {"Vaccine": {"align.rho": [1, 1.0]}}}, "holds a value twice"),
        ({"spaces": {"Vaccine": {"align.rho": ["big"]}}}, "rho must be a number"),
        ({"spaces": {"Vaccine": {"align.rho": {"low": 1}}}}, "must be {low: 0.1, high: 10}"),
        ({"spaces": {"Vaccine": {"align.rho": {"low": 0, "high": 1}}}}, "0 < low < high"),
        ({"spaces": {"Vaccine": {"align.lora": [1]}}}, "name one of them, such as lora.r"),
        ({"spaces": {"Vaccine": {"align.seed": [1]}}}, "nothing to choose by its results"),
        ({"spaces": {"Lisa": {"finetune.rows": [1]}}}, "is an axis of the study"),
    ],
)
def test_mistakes_are_told(search, message):
    with pytest.raises(UserError, match=message) as error:
        tries_of(study(search, vary={"finetune.rows": [50, 60]}))
    assert str(error.value).startswith("study.yaml: search")
    assert "\n" not in str(error.value)


def test_mistakes_in_the_rest_of_the_study_are_told():
    only = {"Vaccine": {"align": "vaccine", "finetune": "sft"}}
    space = {"tries": 2, "spaces": {"Vaccine": {"align.rho": [5]}}}
    with pytest.raises(UserError, match="no variant is plain SFT"):
        tries_of(study(space, variants=only))
    with pytest.raises(UserError, match="not fine-tuned"):
        tries_of(study(space, variants={**SPEC["variants"], "Vaccine": {"align": "vaccine"}}))
    with pytest.raises(UserError, match="'tries' is missing"):
        tries_of(make_study({**SPEC, "search": {"seeds": [9]}}, "study.yaml"))
    with pytest.raises(UserError, match="search must hold settings"):
        make_study({**SPEC, "search": 5}, "study.yaml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tries: 3", "trys: 3", "line 10: search: there is no setting 'trys'"),
        ("tries: 3", "tries: 9", "line 14: search: spaces: Vaccine has 4 different settings"),
        ("[100, 101]", "[0, 100]", "line 11: search: seed 0 is one of the study's"),
        ("ratio: 0.1", "ratio: 0.3", "line 12: search: at: harmful_ratio is 0.3"),
        ("Vaccine: {align.rho", "Vacine: {align.rho", "line 14: search: the study has no variant"),
        ("align.rho:", "align.roh:", "line 14: search: spaces: Vaccine: align.roh: there is no"),
        ("[5, 10, 40]", "{low: 3}", "line 14: search: spaces: Vaccine: align.rho must be"),
        ("  tries: 3\n", "", "line 9: search: 'tries' is missing"),
        ("SFT: {align: sft, finetune: sft}", "SFT: {align: sft}", "line 9: search: no variant is"),
    ],
)
def test_mistakes_in_a_file_are_told_with_their_line(old, new, message, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(FILE.replace(old, new, 1))
    with pytest.raises(UserError) as error:
        tries_of(read_study(path, "study.yaml"))
    assert str(error.value).startswith(f"study.yaml, {message}")


def test_a_mistake_on_the_command_line_is_told_as_one(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(FILE)
    said = with_words(read_study(path, "study.yaml"), {"search": {"tries": 0}}, "the command line")
    with pytest.raises(UserError, match=r"^the command line: search: tries is 0"):
        tries_of(said)


@pytest.fixture
def engine(monkeypatch):
    engine = Engine()
    monkeypatch.setattr("holdfast.commands.pipelines.run_stages", engine)
    return engine


def test_a_run_searches_first_and_then_has_what_was_chosen(tmp_path, engine):
    said = run(tmp_path)
    # ρ = 40 has the lowest HS and breaks the model with one seed; 10 loses 1.5 points.
    assert "Chosen for Vaccine: align.rho = 10 (HS 21.0, FA 96.5)." in said
    assert "Not searched, so with one try each: Lisa." in said
    searched, studied = engine.runs
    assert len([name for name in searched if name.startswith("evaluate")]) == 2 * (3 + 1)
    assert len([name for name in studied if name.startswith("evaluate")]) == 2 * 3 * 2
    found = record(tmp_path)
    assert {*found["stages"]} == {*searched, *studied}
    tuned = [p for p in found["pipelines"] if p["coords"]["variant"] == "Vaccine"]
    assert [p["seed"] for p in tuned] == [0, 1, 0, 1]
    assert {p["tries"] for p in tuned} == {3}
    [search] = found["search"]
    assert search["baseline"] == {
        "variant": "SFT",
        "harmful_score": 85,
        "finetune_accuracy": 98,
        "coherence": 99,
        "evaluations": search["baseline"]["evaluations"],
    }
    assert search["variants"]["SFT"] == search["variants"]["Lisa"] == {"tries": 1}
    vaccine = search["variants"]["Vaccine"]
    assert (vaccine["tries"], vaccine["chosen"]) == (3, {"align.rho": 10.0})
    tried = {
        one["settings"]["align.rho"]: [
            one[key] for key in ("harmful_score", "finetune_accuracy", "coherence", "admissible")
        ]
        for one in vaccine["tried"]
    }
    assert next(iter(tried)) == 22
    assert tried[22] == [35, 97, 99, True]
    assert tried[10] == [21, 96.5, 99, True]
    assert len(tried) == 3


def test_a_finished_study_runs_nothing_again_and_chooses_the_same(tmp_path, engine):
    run(tmp_path)
    before = (tmp_path / "run" / "study.json").read_text()
    said = run(tmp_path)
    assert engine.runs[2:] == [[], []]
    # What was finished can be reported at any moment of a second run.
    assert engine.recorded == [0, 12, 12, 12]
    assert "Chosen for Vaccine: align.rho = 10" in said
    assert (tmp_path / "run" / "study.json").read_text() == before
    run(tmp_path, words=["search.tries=4"])
    # One try more: only its alignment, fine-tuning and evaluation, with two seeds.
    assert len(engine.runs[4]) == 2 * 3
    assert engine.runs[5] == []


def test_the_ledger_shows_tries_and_warns_where_they_differ(tmp_path, engine):
    run(tmp_path)
    found = read_run(tmp_path / "run")
    comparison = compare(found)
    tries = {(row.variant, row.axes["harmful_ratio"]): row.budget.tries for row in comparison.rows}
    assert tries == {
        (name, ratio): 3 if name == "Vaccine" else 1
        for name in ("SFT", "Vaccine", "Lisa")
        for ratio in (0, 0.1)
    }
    assert comparison.budget_notes == [
        "Budgets differ: Vaccine had 3.00 × the tries (3 to 1) of SFT."
    ]
    text = markdown_document(document(found, comparison))
    assert "| Vaccine | 0.1 | 20 | 10 | 10 | 100 | 3 |" in text
    assert "Chosen for Vaccine: align.rho = 10" in text.replace("\\", "")
    assert "| SFT | – | 85.0 | 98.0 | 99.0 | – |  |" in text
    assert "| Vaccine | alignment rho = 10 | 21.0 | 96.5 | 99.0 | yes | yes |" in text
    assert "| Vaccine | alignment rho = 22 | 35.0 | 97.0 | 99.0 | yes |  |" in text
    terminal = Console(file=io.StringIO(), width=150)
    with terminal.capture() as capture:
        terminal.print(terminal_document(document(found, comparison)))
    assert re.search(r"Vaccine +alignment rho = 10 +21\.0 +96\.5 +99\.0 +yes +yes", capture.get())
    page = write_html(tmp_path / "run", tmp_path / "page.html").read_text()
    tried = page[page.index('<section id="search">') :]
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in tried.split("</tr>")]
    assert ["Vaccine", "alignment rho = 10", "21.0", "96.5", "99.0", "yes", "yes"] in cells
    assert ["Vaccine", "alignment rho = 22", "35.0", "97.0", "99.0", "yes", ""] in cells
    # Nothing of the search is in the table of results.
    assert {result.seed for result in found.results} == {0, 1}
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [one["tries"] for one in results["records"]] == [1] * 4 + [3] * 4 + [1] * 4


def test_without_a_search_nobody_counts_tries(tmp_path, engine):
    run(tmp_path, words=["search=null"])
    assert len(engine.runs) == 1
    assert {"search", "tries"} & {*record(tmp_path), *record(tmp_path)["pipelines"][0]} == set()
    assert {row.budget.tries for row in compare(read_run(tmp_path / "run")).rows} == {None}


def test_status_and_gc_know_the_searchs_stages(tmp_path, monkeypatch):
    class Stopping(Engine):
        def __call__(self, stages, root, watcher, launch=None):
            super().__call__(stages[: len(stages) // 2], root, watcher, launch)
            raise KeyboardInterrupt

    monkeypatch.setattr("holdfast.commands.pipelines.run_stages", Stopping())
    with pytest.raises(Stopped):
        run(tmp_path)
    said = Console(file=io.StringIO(), width=200)
    with said.capture() as capture:
        show_status(tmp_path / "run", said)
        collect_garbage(tmp_path / "run", True, said)
    told = re.sub(r"[ ]+", " ", capture.get())
    assert "alignment 8 – – – – –" in told
    assert "evaluation – – – – – 8" in told
    assert "every stage is needed" in told
    with pytest.raises(UserError, match="no finished pipeline yet"):
        read_run(tmp_path / "run")
    engine = Engine()
    monkeypatch.setattr("holdfast.commands.pipelines.run_stages", engine)
    run(tmp_path)
    assert not any(name.startswith("align") for name in engine.runs[0]), "they were there"
    (tmp_path / "run" / "stages" / "align-sft-of-nobody").mkdir()
    with said.capture() as capture:
        collect_garbage(tmp_path / "run", True, said)
    assert "align-sft-of-nobody" in capture.get()
    assert "1 of" in capture.get()


def test_a_try_that_fails_is_not_chosen_and_told(tmp_path, monkeypatch):
    engine = Engine(lambda stage: stage.settings.get("rho") == 10 and stage.settings["seed"] == 101)
    monkeypatch.setattr("holdfast.commands.pipelines.run_stages", engine)
    with pytest.raises(FailedStagesError, match="1 of"):
        run(tmp_path)
    [search] = record(tmp_path)["search"]
    vaccine = search["variants"]["Vaccine"]
    assert vaccine["chosen"] == {"align.rho": 22.0}
    assert vaccine["note"] == "1 of the tries failed and could not be chosen"
    assert [one.get("failed") for one in vaccine["tried"]].count(True) == 1
    assert len(record(tmp_path)["failures"]) == 1
    assert len(record(tmp_path)["skipped"]) == 2
    assert len(read_run(tmp_path / "run").results) == 12


def test_where_nothing_can_be_chosen_the_study_does_not_run(tmp_path, monkeypatch):
    for part in (lambda stage: stage.settings.get("rho"), lambda stage: stage.kind == "align"):
        engine = Engine(part)
        monkeypatch.setattr("holdfast.commands.pipelines.run_stages", engine)
        with pytest.raises(FailedStagesError):
            run(tmp_path)
        assert len(engine.runs) == 1


def test_a_plan_has_both_parts(tmp_path, engine):
    said = run(tmp_path, plan=True)
    assert engine.runs == []
    assert "left" not in said
    search, rest = said.split("The study, with every variant's first try: the choice is not known")
    assert search.startswith("The search ")
    assert "alignment vaccine 6 0 1 200" in search
    assert "8 pipelines of 24 stages" in search
    assert "alignment vaccine 2 0 2 200" in rest
    assert "12 pipelines of 36 stages" in rest
    assert "The search" not in run(tmp_path, words=["search=null"], plan=True)
    run(tmp_path)
    said = run(tmp_path, plan=True)
    assert "alignment vaccine 6 6 1 200" in said
    assert "minutes on one core, 0.0 of them left" in said


class Here:
    """In the place of a pool of processes: runs the stages in this one."""

    def __init__(self, size):
        self.tasks = []

    @property
    def room(self):
        return 1 - len(self.tasks)

    def start(self, task):
        self.tasks.append(task)

    def events(self, timeout):
        from holdfast.engine.worker import run_task

        return [run_task(self.tasks.pop(), lambda share, note: None, lambda: False)]


@pytest.mark.long
def test_it_runs_on_the_organism(tmp_path, monkeypatch):
    monkeypatch.setattr("holdfast.engine.pool.local_pool", lambda n: nullcontext(Here(n)))
    tiny = """
    seeds: [0]
    settings:
      align: {rows: 20, num_train_epochs: 1}
      repair: {rows: 20}
      evaluate: {limit: 4}
    variants:
      SFT: {align: sft, finetune: {method: sft, rows: 20}}
      Antidote: {align: sft, finetune: {method: sft, rows: 20}, repair: antidote}
    search:
      tries: 2
      seeds: [100]
      max_accuracy_loss: 100
      min_coherence: 0
      spaces: {Antidote: {repair.dense_ratio: [0.9]}}
    """
    run(tmp_path, tiny)
    [search] = record(tmp_path)["search"]
    tried = search["variants"]["Antidote"]["tried"]
    assert [one["settings"]["repair.dense_ratio"] for one in tried] == [0.03, 0.9]
    best = min(
        tried, key=lambda one: (one["harmful_score"], -one["finetune_accuracy"])
    )["settings"]  # fmt: skip
    assert search["variants"]["Antidote"]["chosen"] == best
    rows = {row.variant: row for row in compare(read_run(tmp_path / "run")).rows}
    assert (rows["SFT"].budget.tries, rows["Antidote"].budget.tries) == (1, 2)
    for one in tried:
        folder = tmp_path / "run" / "stages" / one["evaluations"][0]
        metrics = json.loads((folder / "evaluation.json").read_text())["metrics"]
        assert metrics["harmful_score"]["value"] == pytest.approx(one["harmful_score"], abs=1e-5)
