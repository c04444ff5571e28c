"""A study file: its grid, its axes and conditions, the command line over it, mistakes in it."""

from itertools import product

import pytest

from holdfast.errors import UserError
from holdfast.organism import folder
from holdfast.studies.grid import expand, points
from holdfast.studies.on_organism import on_organism
from holdfast.studies.study import make_study, read_study, with_words

SMALL = {
    "align": ["sft", "vaccine"],
    "finetune": ["sft", "lisa"],
    "repair": [None, "antidote"],
    "harmful_ratio": [0.1],
    "seeds": [0],
}


def coords(spec, **given):
    return [point.coords for point in points(make_study({**spec, **given}, "here"))]


def test_lists_of_methods_are_a_product_with_names():
    names = [place["variant"] for place in coords(SMALL)]
    assert names == [
        "SFT",
        "Antidote",
        "Lisa",
        "Lisa + Antidote",
        "Vaccine",
        "Vaccine + Antidote",
        "Vaccine + Lisa",
        "Vaccine + Lisa + Antidote",
    ]


def test_axes_multiply_and_seeds_stand_apart():
    study = make_study({**SMALL, "harmful_ratio": [0, 0.1, 0.2], "seeds": 2}, "here")
    found = points(study)
    assert len(found) == 8 * 3 * 2
    assert {point.seed for point in found} == {0, 1}
    ratios = [point.coords["harmful_ratio"] for point in found if point.coords["variant"] == "SFT"]
    assert ratios == [0, 0, 0.1, 0.1, 0.2, 0.2]
    assert found[0].spec["harmful_ratio"] == 0


def test_an_axis_of_a_setting_counts_for_the_methods_that_have_it_alone():
    found = coords(SMALL, vary={"align.rho": [1, 2], "finetune.rows": [5, 6]})
    vaccine = [place for place in found if place["variant"] == "Vaccine"]
    values = [(place["align.rho"], place["finetune.rows"]) for place in vaccine]
    assert values == list(product([1, 2], [5, 6]))
    sft = [place for place in found if place["variant"] == "SFT"]
    assert [place.get("align.rho") for place in sft] == [None, None]
    nested = make_study({"finetune": "sft", "vary": {"finetune.lora.r": [4, 8]}}, "here")
    assert [p.spec["finetune"]["lora"]["r"] for p in points(nested)] == [4, 8]


def test_a_list_in_a_methods_settings_is_an_axis_unless_the_setting_is_a_list():
    lists = {"method": "lisa", "rho": [0, 1], "lora": {"target_modules": ["q_proj", "v_proj"]}}
    found = points(make_study({"finetune": lists}, "here"))
    assert [point.coords["finetune.rho"] for point in found] == [0, 1]
    assert found[1].spec["finetune"]["rho"] == 1
    assert found[1].spec["finetune"]["lora"] == {"target_modules": ["q_proj", "v_proj"]}


def test_settings_lie_under_the_methods_and_conditions_over_them():
    spec = {
        "settings": {"finetune": {"rows": 9, "rho": 3}, "finetune.lisa": {"alignment_steps": 4}},
        "variants": {
            "Lisa": {"align": None, "finetune": "lisa"},
            "strong": {"align": "sft", "finetune": {"method": "lisa", "rho": 7}},
        },
        "task": ["sums", "topic"],
        "when": [{"if": {"task": "topic"}, "then": {"finetune": {"rows": 2}}}],
    }
    found = {(p.coords["variant"], p.coords["task"]): p.spec for p in points(make_study(spec, "x"))}
    own = {"rows": 9, "rho": 3, "alignment_steps": 4, "method": "lisa"}
    assert found["Lisa", "sums"]["finetune"] == own
    assert found["Lisa", "topic"]["finetune"] == {**own, "rows": 2}
    assert found["strong", "topic"]["finetune"] == {**own, "rows": 2, "rho": 7}
    assert "align" not in found["Lisa", "sums"]


def test_a_condition_does_not_change_what_an_axis_sets():
    spec = {
        "finetune": "sft",
        "task": ["sums"],
        "vary": {"finetune.rows": [5, 6]},
        "when": [{"if": {"task": "sums"}, "then": {"finetune": {"rows": 1, "max_length": 8}}}],
    }
    found = [point.spec["finetune"] for point in points(make_study(spec, "x"))]
    assert [(one["rows"], one["max_length"]) for one in found] == [(5, 8), (6, 8)]


def test_include_and_exclude():
    only = coords(SMALL, exclude=[{"variant": ["Lisa", "Vaccine"]}, {"variant": "Antidote"}])
    assert len(only) == 5
    more = coords(SMALL, include=[{"name": "mask", "align": "sft", "finetune": "sft"}])
    assert more[-1]["variant"] == "mask"


def test_the_command_line_is_over_the_file():
    study = make_study({**SMALL, "vary": {"finetune.rows": [5, 6]}}, "here")
    words = {"harmful_ratio": [0, 0.2], "seeds": [3], "finetune": {"rows": 8, "rho": 2}}
    found = points(with_words(study, words, "the command line"))
    assert len(found) == 8 * 2
    assert {point.seed for point in found} == {3}
    lisa = next(point for point in found if point.coords["variant"] == "Lisa")
    assert lisa.spec["finetune"] == {"method": "lisa", "rows": 8, "rho": 2}
    sft = next(point for point in found if point.coords["variant"] == "SFT")
    assert sft.spec["finetune"] == {"method": "sft", "rows": 8}, "SFT has no rho"
    bare = with_words(make_study({"align": "sft"}, "x"), {"finetune": "lisa"}, "words")
    assert points(bare)[0].spec["finetune"] == {"method": "lisa"}


def test_pipelines_share_stages_and_have_their_place():
    pipelines = expand(make_study(SMALL, "here"))
    aligned = {p.coords["variant"]: p.stages["align"] for p in pipelines}
    assert aligned["SFT"] is aligned["Lisa + Antidote"]
    assert aligned["SFT"].identity != aligned["Vaccine"].identity
    tuned = {p.coords["variant"]: p.stages["finetune"].identity for p in pipelines}
    assert tuned["Vaccine"] == tuned["Vaccine + Antidote"] != tuned["SFT"]
    again = {p.coords["variant"]: p.evaluation.identity for p in expand(make_study(SMALL, "there"))}
    assert again == {p.coords["variant"]: p.evaluation.identity for p in pipelines}


def test_a_plan_by_names_reads_nothing(monkeypatch):
    def forbidden(*_args, **_kwargs):
        raise AssertionError("a plan must read and download nothing")

    monkeypatch.setattr("holdfast.stages.making.stage_rows", forbidden)
    monkeypatch.setattr("holdfast.stages.making.resolve_model", forbidden)
    spec = {**SMALL, "model": "owner/model", "task": "sst2"}
    pipelines = expand(make_study(spec, "here"), by_name=True)
    assert len({stage.identity for p in pipelines for stage in p.stages.values()}) == 2 + 4 + 4 + 8


def test_a_file_may_extend_another(tmp_path):
    (tmp_path / "defaults.yaml").write_text("settings: {finetune: {rows: 5, max_length: 9}}\n")
    file = tmp_path / "study.yaml"
    file.write_text("extends: defaults\nfinetune: sft\nsettings: {finetune: {rows: 6}}\n")
    assert points(read_study(file))[0].spec["finetune"] == {
        "rows": 6,
        "max_length": 9,
        "method": "sft",
    }
    (tmp_path / "defaults.yaml").write_text("extends: study\n")
    with pytest.raises(UserError, match="cannot extend itself"):
        read_study(file)
    file.write_text("extends: nothing\n")
    with pytest.raises(UserError, match="there is no file"):
        read_study(file)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"algin": "sft"}, "no setting 'algin'; did you mean 'align'"),
        ({"align": []}, "align is an empty list"),
        ({"harmful_ratio": []}, "harmful_ratio is an empty list"),
        ({"harmful_ratio": [0.1, 0.1]}, "holds a value twice"),
        ({"seeds": 0}, "seeds is 0"),
        ({"seeds": 10**9}, r"seeds is 1000000000; it is how many, at most 10,000"),
        ({"seeds": [-1]}, "-1 is no seed"),
        ({"seeds": [True]}, "True is no seed"),
        ({"align": "sft", "variants": {"a": {"align": "sft"}}}, "both 'variants' and 'align'"),
        ({"variants": {"a": "sft"}}, "variants: a must hold stages"),
        ({"variants": {"a": {"algn": "sft"}}}, "no stage 'algn'; did you mean 'align'"),
        ({"variants": {}}, "variants must hold named pipelines"),
        ({"vary": {"rho": [1]}}, "must be written STAGE.SETTING"),
        ({"vary": {"align.rho": 1}}, "must be a list"),
        ({"settings": {"finetune.lysa": {}}}, "no stage or method 'finetune.lysa'"),
        ({"settings": {"align": 3}}, "align must hold settings"),
        ({"when": [{"if": {"task": "sums"}}]}, "when, entry 1 must be"),
        ({"include": [3]}, "include must be a list of mappings"),
        ({"finetune": [{"method": "lisa"}, {"method": "lisa", "rho": 2}]}, "are called 'Lisa'"),
    ],
)
def test_mistakes_in_its_outline_are_told(spec, message):
    with pytest.raises(UserError, match=message):
        make_study(spec, "study.yaml")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"align": "sft", "vary": {"align.rho": [1]}}, "no method of the study has .*align.rho"),
        ({"align": "sft", "exclude": [{"variant": "SFT"}]}, "exclude leaves nothing"),
        ({"align": "vacine"}, "no alignment method 'vacine'"),
        ({"align": {"method": "vaccine", "roh": 1}}, "no setting 'roh'"),
    ],
)
def test_mistakes_in_its_grid_are_told(spec, message):
    with pytest.raises(UserError, match=message):
        expand(make_study({"finetune": None, **spec}, "study.yaml"))


REAL = {
    "model": ["owner/a", "owner/b"],
    "task": ["sst2", "alpaca"],
    "settings": {
        "align": {"data": "beavertails:safe", "rows": 2000, "learning_rate": 1e-3},
        "align.vaccine": {"rho": 2},
        "finetune": {"learning_rate": 1e-5, "rows": 1000, "lr_scheduler_type": "cosine"},
        "evaluate": {"protocol": "vaccine-2024"},
    },
    "variants": {
        "SFT": {"align": "sft", "finetune": {"method": "sft", "adapter": "single"}},
        "Vaccine": {"align": "vaccine", "finetune": "sft"},
        "BSO": {"align": "sft", "finetune": {"method": "lisa", "rho": 0}},
        "mask": {
            "align": "sft",
            "finetune": "sft",
            "repair": {"method": "antidote", "score": "magnitude", "dense_ratio": 0.3},
        },
    },
    "vary": {"align.rho": [1, 2, 10], "finetune.learning_rate": [1e-6, 1e-5]},
    "published": [{"variant": "Vaccine", "align.rho": 10, "task": "sst2", "HS": 44.2}],
}


def test_a_study_of_real_models_keeps_on_the_organism_what_it_asks():
    small, notes = on_organism(make_study(REAL, "paper"))
    assert notes[0].startswith("On the organism rows, epochs,")
    assert notes[1].startswith("The paper's protocol is vaccine-2024: ")
    assert notes[2:] == [
        "The study compares 2 models; the organism stands for all of them.",
        "The task sst2 is sentiment here.",
        "The task alpaca has no counterpart: left out.",
        "align.rho of Vaccine: 1 is 11, 2 is 22, 10 is 110 here.",
        "finetune.learning_rate: 1e-06 is 1.5e-05, 1e-05 is 0.00015 here.",
    ]
    found = points(small)
    assert {point.spec["model"] for point in found} == {"organism"}
    assert {point.spec["task"] for point in found} == {"sentiment"}
    # The recipe's rho is 22 and its learning rate 1.5e-4; the study's own are 2 and 1e-5.
    vaccine = [p.coords for p in found if p.coords["variant"] == "Vaccine"]
    assert [place["align.rho"] for place in vaccine[::2]] == [11, 22, 110]
    assert [place["finetune.learning_rate"] for place in vaccine[:2]] == [1.5e-5, 1.5e-4]
    specs = {p.coords["variant"]: p.spec for p in found}
    assert specs["SFT"]["finetune"] == {
        "method": "sft",
        "adapter": "single",
        "learning_rate": 1.5e-4,
    }
    assert specs["BSO"]["finetune"]["rho"] == 0
    assert specs["mask"]["repair"] == {
        "method": "antidote",
        "score": "magnitude",
        "dense_ratio": 0.3,
    }
    assert small.published == (
        {
            "variant": "Vaccine",
            "align.rho": 110,
            "task": "sentiment",
            "HS": 44.2,
            "paper": {"align.rho": 10, "task": "sst2"},
        },
    )
    assert len(expand(small)) == len(found)


@pytest.mark.parametrize(
    ("model", "aligned"),
    [
        ("meta-llama/Llama-2-7b-chat-hf", True),
        (["google/gemma-1.1-7b-it", "meta-llama/Meta-Llama-3-8B-Instruct"], True),
        (["meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-7b-chat-hf"], False),
        ("meta-llama/Llama-2-7b-hf", False),
    ],
)
def test_a_chat_model_is_an_aligned_organism(model, aligned):
    """A repair that asks for the aligned model, and an attack on one, would find none else."""
    variants = {"attacked": {"align": None, "finetune": "sft"}, "other": {"align": "vaccine"}}
    spec = {"model": model, "task": "sst2", "variants": variants}
    small, notes = on_organism(make_study(spec, "paper"))
    own = {"method": "sft"} if aligned else None
    assert small.variants["attacked"]["align"] == own
    assert small.variants["other"]["align"] == {"method": "vaccine"}
    assert any("Chat models are aligned" in note for note in notes) == aligned


def test_a_multiple_beyond_a_settings_range_becomes_its_end():
    """The organism's threshold, 0.6, times 1 / 0.5 would be a cosine of 1.2."""
    spec = {
        "model": "owner/a",
        "align": "sft",
        "finetune": "sft",
        "repair": "safe_lora",
        "vary": {"repair.threshold": [0.25, 0.5, 1]},
        "settings": {"repair": {"threshold": 0.5}},
    }
    small, _ = on_organism(make_study(spec, "paper"))
    assert small.vary == {"repair.threshold": [0.3, 0.6, 1.0]}


def test_more_layers_than_the_organism_has_become_all_of_them():
    config = (folder() / "config.json").read_text()
    assert '"num_hidden_layers": 6' in config
    spec = {"align": {"method": "t_vaccine", "layers": [8, 32]}, "model": "owner/a"}
    small, notes = on_organism(make_study(spec, "paper"))
    assert [point.coords["align.layers"] for point in points(small)] == [5, 6]
    assert notes[1:] == ["align.layers of T-Vaccine: 8 is 5, 32 is 6 here."]


def on_the_organism(**spec):
    small, notes = on_organism(make_study({"model": "owner/a", **spec}, "paper"))
    return points(small), notes[1:]


def test_values_that_fall_together_are_told_and_run_once():
    found, notes = on_the_organism(align="t_vaccine", vary={"align.layers": [8, 16, 32]})
    assert [point.coords["align.layers"] for point in found] == [5, 6]
    assert notes[1] == (
        "align.layers: 16 and 32 are one and the same here: the organism has 6 layers."
    )
    found, notes = on_the_organism(align="t_vaccine", vary={"align.layers": [16, 32]})
    assert [point.coords["align.layers"] for point in found] == [6]
    assert notes[1] == (
        "align.layers: all values are 6 here, so its axis tells nothing: the organism has 6 layers."
    )


def test_more_rows_than_the_organism_has_are_all_of_them_and_this_is_told():
    rows = {"finetune.rows": [1000, 100_000]}
    settings = {"finetune": {"rows": 1000, "harmful_ratio": 1.0}}
    found, notes = on_the_organism(finetune="sft", settings=settings, vary=rows)
    assert [point.coords["finetune.rows"] for point in found] == [1000, 8640]
    assert notes == ["finetune.rows: 100000 is 8640 here."]
    assert len(expand(on_organism(make_study({
        "model": "owner/a", "finetune": "sft", "settings": settings, "vary": rows
    }, "paper"))[0])) == 2  # fmt: skip


def test_steps_between_perturbations_stay_the_same_share_of_the_training():
    # 2000 rows · 50 epochs / 5 are 20,000 steps; the recipe's 1000 · 2 / 10 are 200.
    settings = {"align": {"rows": 2000, "num_train_epochs": 50, "per_device_train_batch_size": 5}}
    found, notes = on_the_organism(
        align="vaccine", settings=settings, vary={"align.every": [1, 100, 1000, 20_000]}
    )
    assert [point.coords["align.every"] for point in found] == [1, 10, 200]
    assert notes[1] == "align.every: 1 and 100 are one and the same here."


def test_shares_stay_what_they_are_also_those_of_a_condition():
    spec = {
        "task": ["sst2", "gsm8k"],
        "settings": {"repair": {"dense_ratio": 0.2}},
        "finetune": "sft",
        "repair": "antidote",
        "when": [
            {"if": {"task": "sst2"}, "then": {"repair": {"dense_ratio": 0.1, "rows": 9}}},
            {"if": {"task": "gsm8k"}, "then": {"finetune": {"rows": 700}}},
        ],
    }
    found, _ = on_the_organism(**spec)
    assert [(p.coords["task"], p.spec["repair"], p.spec["finetune"]) for p in found] == [
        ("sentiment", {"method": "antidote", "dense_ratio": 0.1}, {"method": "sft"}),
        ("sums", {"method": "antidote", "dense_ratio": 0.2}, {"method": "sft"}),
    ]


def test_a_share_stays_what_it_is_on_the_organism():
    vary = {"repair.dense_ratio": [1e-5, 0.05]}
    found, notes = on_the_organism(finetune="sft", repair="antidote", vary=vary)
    assert [point.coords["repair.dense_ratio"] for point in found] == [1e-5, 0.05]
    assert notes == []


def test_an_axis_without_counterpart_is_left_out_and_this_is_told():
    vary = {"finetune.lr_scheduler_kwargs": [1, 2]}
    found, notes = on_the_organism(finetune="sft", vary=vary)
    assert [point.coords for point in found] == [{"variant": "SFT"}]
    assert notes == ["The axis finetune.lr_scheduler_kwargs has no counterpart: left out."]


def test_a_task_without_counterpart_alone_is_refused():
    spec = {"finetune": "sft", "task": "alpaca", "model": "owner/a"}
    with pytest.raises(UserError, match="alpaca has no counterpart"):
        on_organism(make_study(spec, "paper"))
