"""Which models a repair compares: found by the stack itself, or refused before anything runs."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from holdfast import AsFTTrainer
from holdfast.errors import UserError
from holdfast.models.loading import load_merged
from holdfast.models.stack import Stack, resolve
from holdfast.stages.aligned import aligned_and_base, base_of
from holdfast.stages.execute import execute
from holdfast.stages.making import make_pipeline, make_stage
from three_models import adapter, as_stage, whole

OWN = '''
from dataclasses import dataclass


@dataclass
class HalveConfig:
    """No settings.

    Args:
        share: what is left.
    """

    share: float = 0.5


def halve(model, config, checkpoints):
    """Halve the update of every weight that the alignment changed too."""
    names = checkpoints.both()
    updates = {name: checkpoints.finetuning[name].times(config.share) for name in names}
    return checkpoints.replace(model, updates)
'''


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current folder with a repair that asks for what it compares."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("halves.py").write_text(OWN, encoding="utf-8")
    return tmp_path


def found(tuned: Stack, base_model: str | None = None) -> tuple[str, str]:
    """The aligned and the base model, written with their bases' and adapters' names."""
    models = aligned_and_base(tuned, {"method": "m", "base_model": base_model})
    return tuple("+".join(Path(p).name for p in (m.base, *m.entries)) for m in models)  # pyright: ignore


def test_a_stack_of_adapters_tells_its_models(tmp_path):
    whole(tmp_path / "base", 1)
    one, two = adapter(tmp_path / "one", 1), adapter(tmp_path / "two", 2)
    base = str(tmp_path / "base")
    assert found(resolve(f"{base}+{one}+{two}")) == ("base+one", "base")
    with pytest.raises(UserError, match="carries no adapter of one: name the model"):
        found(resolve(f"{base}+{one}"))
    assert found(resolve(f"{base}+{one}"), base_model=base) == ("base", "base")
    with pytest.raises(UserError, match="needs to know the model that the fine-tuning started"):
        found(resolve(base))


def test_a_stages_folder_tells_what_it_was_made_from(tmp_path):
    base = whole(tmp_path / "base", 1)
    aligned = as_stage(whole(tmp_path / "aligned", 2), "align", base, adapter="full")
    tuned = as_stage(whole(tmp_path / "tuned", 3), "finetune", aligned, adapter="full")
    repaired = as_stage(whole(tmp_path / "repaired", 4), "repair", tuned)
    for folder in (tuned, repaired):
        assert found(resolve(folder)) == ("aligned", "base")
    on_top = as_stage(
        adapter(tmp_path / "on_top", 5), "finetune", aligned, adapter="double", base=str(aligned)
    )
    assert found(resolve(on_top)) == ("aligned", "base")
    again = as_stage(
        adapter(tmp_path / "again", 6), "finetune", tuned, adapter="double", base=str(tuned)
    )
    with pytest.raises(UserError, match="tuned is fine-tuned: name the model"):
        found(resolve(again))
    assert found(resolve(again), str(base)) == ("tuned", "base")
    fixed = as_stage(whole(tmp_path / "fixed", 4), "repair", aligned)
    after = as_stage(whole(tmp_path / "after", 7), "finetune", fixed, adapter="full")
    assert found(resolve(after)) == ("fixed", "base")
    with pytest.raises(UserError, match="aligned is an alignment's"):
        found(resolve(aligned))


def test_one_adapter_for_both_trainings_is_compared_with_the_folder_of_the_first(tmp_path):
    base = whole(tmp_path / "base", 1)
    aligned = as_stage(adapter(tmp_path / "one", 1), "align", base, base=str(base))
    tuned = as_stage(
        adapter(tmp_path / "two", 2), "finetune", aligned, base=str(base), adapter="single"
    )
    assert found(resolve(tuned)) == ("base+one", "base")
    aligned.rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"needs the model that .*two was made from"):
        found(resolve(tuned))


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        ({"align": "sft", "finetune": "sft"}, ""),
        ({"align": "sft", "finetune": {"method": "sft", "adapter": "single"}}, ""),
        ({"align": {"method": "sft", "adapter": "full"}, "finetune": "sft"}, ""),
        ({"finetune": "sft", "base": "organism"}, ""),
        ({"finetune": "sft"}, "organism carries no adapter of one: name the model"),
        ({"align": "sft"}, "no fine-tuning comes before it"),
        ({}, "carries no adapter of one"),
    ],
)
def test_a_pipeline_is_refused_before_it_runs(here, stages, sentence, by_name):
    stages, repair = dict(stages), {"method": "halves:halve"}
    if "base" in stages:
        repair["base_model"] = stages.pop("base")
    spec = {"model": "organism", **stages, "repair": repair}
    if not stages:
        whole(here / "chat", 1)
        adapter(here / "tuned", 1)
        spec["model"] = f"{here / 'chat'}+{here / 'tuned'}"
        spec["evaluate"] = {"protocol": "holdfast"}
        if not by_name:
            return
    if not sentence:
        made = make_pipeline(spec, by_name=by_name).stages["repair"]
        assert ("base_model" in made.inputs) == ("base_model" in repair)
        return
    with pytest.raises(UserError, match=sentence):
        make_pipeline(spec, by_name=by_name)


@pytest.mark.parametrize(
    ("stages", "repair", "sentence"),
    [
        ({}, {"method": "safe_merge"}, ""),
        (
            {"finetune": {"adapter": "single"}},
            {"method": "safe_merge"},
            "needs a fine-tuning with adapter=double, and adapter is single in the one before it",
        ),
        ({"finetune": {"adapter": "full"}}, {"method": "safe_merge"}, "and adapter is full in"),
        ({}, {"method": "safe_lora", "quantization": "4bit"}, ""),
        (
            {"align": {"adapter": "full"}},
            {"method": "safe_lora", "quantization": "4bit"},
            "compares the models' own weights where adapter is full, and quantization is 4bit",
        ),
        ({}, {"method": "resta", "quantization": "4bit"}, ""),
        (
            {},
            {"method": "resta", "quantization": "4bit", "drop_rate": 0.1},
            "drop_rate of method=resta changes single weights",
        ),
    ],
)
def test_a_repair_that_cannot_compare_these_is_refused_before_the_run(stages, repair, sentence):
    plain = {kind: {"method": "sft", **stages.get(kind, {})} for kind in ("align", "finetune")}
    spec = {**plain, "repair": repair}
    if not sentence:
        assert make_pipeline(spec).stages["repair"].settings["method"] == repair["method"]
        return
    with pytest.raises(UserError, match=sentence):
        make_pipeline(spec)


def test_so_it_is_of_models_in_folders(tmp_path):
    base = whole(tmp_path / "base", 1)
    aligned = as_stage(adapter(tmp_path / "one", 1), "align", base, base=str(base))
    double = f"{base}+{aligned}+{adapter(tmp_path / 'double', 2)}"
    single = as_stage(
        adapter(tmp_path / "single", 3), "finetune", aligned, base=str(base), adapter="single"
    )
    repaired = as_stage(adapter(tmp_path / "repaired", 4), "repair", single, base=str(base))
    whole_one = as_stage(whole(tmp_path / "whole", 5), "repair", double)
    data = {"method": "safe_merge", "alignment_data": "beavertails:safe"}
    assert make_stage("repair", {"model": double, **data}, by_name=True).kind == "repair"
    for model, kind in ((single, "single"), (repaired, "single"), (whole_one, "full")):
        with pytest.raises(UserError, match=f"adapter=double, and adapter is {kind}"):
            make_stage("repair", {"model": str(model), **data}, by_name=True)


def test_a_base_model_for_a_repair_that_compares_nothing_is_refused(here):
    spec = {"finetune": "sft", "repair": {"method": "random_mask", "base_model": "organism"}}
    with pytest.raises(UserError, match="compares the model with none: leave base_model out"):
        make_pipeline(spec)


def test_another_base_model_is_another_stage(here):
    tuned = f"{whole(here / 'chat', 1)}+{adapter(here / 'tuned', 1)}"
    given = {"model": tuned, "method": "halves:halve"}
    bases = [str(whole(here / name, seed)) for name, seed in (("a", 2), ("b", 3), ("c", 2))]
    one, other, same = (make_stage("repair", {**given, "base_model": base}) for base in bases)
    assert one.identity == same.identity != other.identity


@pytest.mark.parametrize("adapter_of", ["double", "single", "full"])
def test_a_users_own_repair_gets_them_and_its_result_is_saved(here, adapter_of):
    short = {"rows": 20, "max_steps": 2, "lora": {"r": 3, "target_modules": ["v_proj"]}}
    given = {"align": short, "finetune": {**short, "adapter": adapter_of}}
    given["repair"] = {"method": "halves:halve", "share": 0.25}
    if adapter_of == "full":
        del given["finetune"]["lora"]
    last = resolve("organism")
    models = [last]
    for kind, words in given.items():
        stage = make_stage(kind, {**words, "model": last.source})
        last = resolve(execute(stage, here / kind, last))
        models.append(last)
    _, W_aligned, W, after = ({**load_merged(one).state_dict()} for one in models)
    assert any(not torch.equal(W[name], W_aligned[name]) for name in W)
    for name, weight in after.items():
        attention = "v_proj" in name
        share = 0.25 if attention else 1.0
        expected = W_aligned[name] + share * (W[name] - W_aligned[name])
        assert torch.allclose(weight, expected, rtol=0, atol=1e-6), name
    written = yaml.safe_load((here / "repair" / "config.yaml").read_text())
    assert written["base_model"] is None
    provenance = json.loads((here / "repair" / "provenance.json").read_text())
    assert provenance["kind"] == "repair"
    assert len(after) == len(W)


def adapter_of(spec) -> str:
    """The adapter that a pipeline's fine-tuning trains."""
    return make_pipeline(spec).stages["finetune"].settings["adapter"]


def test_fine_tuning_goes_on_with_the_adapter_that_an_alignment_protects():
    assert adapter_of({"align": "booster", "finetune": "sft"}) == "single"
    assert adapter_of({"align": "vaccine", "finetune": "sft"}) == "double"
    full = {"method": "booster", "adapter": "full"}
    assert adapter_of({"align": full, "finetune": "sft"}) == "double"
    given = {"method": "sft", "adapter": "single"}
    assert adapter_of({"align": "booster", "finetune": given}) == "single"


@pytest.mark.parametrize("other", ["double", "full"])
def test_another_adapter_than_the_protected_one_is_refused(other):
    tuned = {"method": "sft", "adapter": other}
    with pytest.raises(UserError, match=f"adapter is {other}, .*method=booster.*adapter=single"):
        make_pipeline({"align": "booster", "finetune": tuned})


def test_a_folder_tells_that_its_adapter_is_protected(tmp_path):
    folder = tmp_path / "aligned"
    stage = make_stage("align", {"method": "booster", "max_steps": 1, "rows": 10})
    execute(stage, folder, resolve("organism"))
    given = {"model": str(folder), "task": "sums"}
    assert make_stage("finetune", given).settings["adapter"] == "single"
    with pytest.raises(UserError, match="adapter is double"):
        make_stage("finetune", {**given, "adapter": "double"})


def test_a_fine_tuning_is_told_the_base_of_its_model_too(tmp_path):
    base = whole(tmp_path / "base", 1)
    one = adapter(tmp_path / "one", 1)
    aligned = as_stage(whole(tmp_path / "aligned", 2), "align", base, adapter="full")
    repaired = as_stage(adapter(tmp_path / "fixed", 4), "repair", aligned, base=str(aligned))
    none = {"method": "m", "base_model": None, "quantization": None}
    for model in (f"{base}+{one}", aligned, repaired):
        assert Path(base_of(resolve(str(model)), none).base).name == "base"
    with pytest.raises(UserError, match="carries no adapter of one: name the model"):
        base_of(resolve(str(base)), none)
    named = {**none, "base_model": str(base), "quantization": "4bit"}
    with pytest.raises(UserError, match="method=m compares the models' own weights"):
        base_of(resolve(str(aligned)), named)
    assert base_of(resolve(f"{base}+{one}"), named).base == str(base)


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        ({"align": "sft"}, ""),
        ({"finetune": {"base_model": "organism"}}, ""),
        ({}, "method=asft needs the base of the alignment, and organism carries no adapter of one"),
        (
            {"align": "sft", "finetune": {"method": "sft", "base_model": "organism"}},
            "method=sft compares the model with none: leave base_model out",
        ),
    ],
)
def test_a_fine_tuning_without_a_base_is_refused_before_it_runs(stages, sentence, by_name):
    finetune = {"method": "asft", **stages.get("finetune", {})}
    spec = {"model": "organism", **stages, "finetune": finetune}
    if not sentence:
        assert make_pipeline(spec, by_name=by_name).stages["finetune"].settings["lam"]
        return
    with pytest.raises(UserError, match=sentence):
        make_pipeline(spec, by_name=by_name)


def test_a_whole_alignment_below_quantized_weights_is_refused(here):
    aligned = make_stage("align", {"method": "sft", "adapter": "full"})
    given = {"method": "asft", "quantization": "4bit"}
    with pytest.raises(UserError, match="compares the models' own weights where adapter is full"):
        make_stage("finetune", given, parent=aligned)


@pytest.mark.parametrize("of_alignment", ["lora", "full"])
def test_asft_gets_what_the_alignment_changed(here, of_alignment, monkeypatch):
    short = {"rows": 20, "max_steps": 2}
    seen = {}
    made = AsFTTrainer.__init__

    def watched(self, *args, alignment_update, **kwargs):
        seen.update({name: alignment_update[name].whole() for name in alignment_update})
        made(self, *args, alignment_update=alignment_update, **kwargs)

    monkeypatch.setattr(AsFTTrainer, "__init__", watched)
    align = make_stage("align", {**short, "adapter": of_alignment})
    aligned = resolve(execute(align, here / "align", resolve("organism")))
    stage = make_stage("finetune", {**short, "method": "asft", "model": aligned.source})
    execute(stage, here / "finetune", aligned)
    before, after = (load_merged(m).state_dict() for m in (resolve("organism"), aligned))
    for name, V in seen.items():
        weight = f"{name}.weight"
        moved = (after[weight] - before[weight]).reshape(V.shape)
        torch.testing.assert_close(V, moved, rtol=1e-4, atol=1e-6)
    assert any(V.norm() > 0 for V in seen.values())
