"""SafeMERGE: the mixture against the merged weights, its safe adapter against plain training."""

import pytest
import torch
from peft import LoraConfig, PeftConfig, get_peft_model

from holdfast import SafeMergeConfig, SFTConfig, SFTTrainer, UserError, organism, safe_merge
from holdfast.models.adapters import NEW
from holdfast.models.differences import adapter_updates
from holdfast.models.loading import load_base, load_last_open, load_merged
from holdfast.models.stack import ORGANISM, Stack
from holdfast.models.tokenizers import load_tokenizer
from holdfast.models.updates import Update
from holdfast.repair.checkpoints import compare
from holdfast.repair.safe_adapter import safe_adapter
from holdfast.repair.subspace import cosines
from three_models import assert_close, assert_same, dense, effective, opened, stacks, state

ROWS = organism.rows("alignment", 12, 0)


def test_the_modules_below_the_threshold_are_mixed_with_the_safe_adapter(tmp_path, monkeypatch):
    tuned, aligned, base = stacks(tmp_path, "double")
    model = load_last_open(tuned)
    found = compare(model, tuned, aligned, base)
    generator = torch.Generator().manual_seed(7)
    safe = {
        name: Update(*(torch.randn(size, generator=generator) for size in ((32, 4), (4, 32))))
        for name in found.finetuning
    }
    monkeypatch.setattr("holdfast.repair.safe_merge.safe_adapter", lambda *_: safe)
    ordered = sorted(cosines(found).items(), key=lambda one: one[1])
    (low, cosine), (_, next_one) = ordered[:2]
    config = SafeMergeConfig(threshold=(cosine + next_one) / 2, weight=0.8)
    after = effective(safe_merge(model, found, ROWS, config))
    expected, W_aligned = dense(tuned), dense(aligned)
    key = f"{low}.weight"
    U = expected[key] - W_aligned[key]
    expected[key] = W_aligned[key] + 0.8 * U + 0.2 * safe[low].whole()
    assert_close(after, expected)


@pytest.mark.parametrize("config", [{"threshold": -1.0}, {"weight": 1.0, "threshold": 1.0}])
def test_nothing_mixed_is_the_model_bit_for_bit(tmp_path, config):
    model, found = opened(tmp_path)
    before = state(model)
    assert_same(state(safe_merge(model, found, ROWS, SafeMergeConfig(**config))), before)


def folder(path, seed):
    """An adapter on the organism."""
    config = LoraConfig(r=3, target_modules=["v_proj"], init_lora_weights=False)
    torch.manual_seed(seed)
    get_peft_model(load_base(Stack(ORGANISM)), config).save_pretrained(path)
    return path


@pytest.mark.parametrize("epochs", [1, 2])
def test_the_safe_adapter_is_plainly_trained_on_the_aligned_model(tmp_path, monkeypatch, epochs):
    one, two = folder(tmp_path / "one", 1), folder(tmp_path / "two", 2)
    tokenizer = load_tokenizer(Stack(ORGANISM))
    settings = {"learning_rate": 1e-3, "max_length": 64, "seed": 5}
    tuned, aligned = Stack(ORGANISM, (one, two)), Stack(ORGANISM, (one,))
    model, told, trained = load_last_open(tuned), [], []
    found, before = compare(model, tuned, aligned, Stack(ORGANISM)), state(model)

    def kept(*given):
        trained.append(safe_adapter(*given))
        assert_same(state(model), before)
        assert model.active_adapters == [NEW]
        return trained[0]

    monkeypatch.setattr("holdfast.repair.safe_merge.safe_adapter", kept)
    config = SafeMergeConfig(threshold=1.0, rows_a_step=5, epochs=epochs, **settings)
    safe_merge(model, found, ROWS, config, tokenizer, told.append)
    assert told == [round(12 * n / (3 * epochs)) for n in range(1, 3 * epochs + 1)]

    lora = PeftConfig.from_pretrained(str(two))
    lora.inference_mode, lora.init_lora_weights = False, True
    below = load_merged(aligned)
    torch.manual_seed(5)
    plain = get_peft_model(below, lora)
    args = SFTConfig(
        str(tmp_path), per_device_train_batch_size=5, num_train_epochs=epochs, report_to="none",
        use_cpu=True, save_strategy="no", **settings,
    )  # fmt: skip
    SFTTrainer(plain, args, train_dataset=ROWS, processing_class=tokenizer).train()
    for name, update in adapter_updates(plain, NEW).items():
        assert update.left.norm() > 0
        gap = (trained[0][name].whole() - update.whole()).norm() / update.whole().norm()
        assert gap <= 1e-5, (name, gap)


@pytest.mark.parametrize("way", ["single", "full"])
def test_a_fine_tuning_without_an_adapter_of_its_own_is_refused(tmp_path, way):
    model, found = opened(tmp_path, way)
    with pytest.raises(UserError, match="fine-tune with adapter=double"):
        safe_merge(model, found, ROWS)
