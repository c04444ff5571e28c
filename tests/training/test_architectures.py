"""Every architecture of the table: gradients, answers, padding, and what the methods find.

The whole table takes minutes and is marked long; `FAST` is one of each kind.
"""

import inspect
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from architecture_table import ARCHITECTURES, COMMON, FAST, make, with_lora
from steps import arguments, relative_error, rows, step_gradients, weights

from holdfast import (
    LisaConfig,
    LisaTrainer,
    RandomPerturbationConfig,
    RandomPerturbationTrainer,
    SFTConfig,
    SFTTrainer,
    TVaccineConfig,
    TVaccineTrainer,
    UserError,
    VaccineConfig,
    VaccineTrainer,
)
from holdfast.evaluate.generation import Generator
from holdfast.models.blocks import attention_blocks, decoder_layers
from holdfast.models.padding import together
from holdfast.repair.antidote import AntidoteConfig, antidote

NEW = 6
PROMPTS = [[5, 6, 7], [9, 30, 31, 12, 13, 14, 15, 40, 41], [20], [44, 8, 61, 17, 50], [33, 34, 35]]
TOKENIZER = SimpleNamespace(
    pad_token_id=0, bos_token_id=1, eos_token_id=2, eos_token="</s>", padding_side="left"
)
every = pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.long) for n in ARCHITECTURES]
)
both = pytest.mark.parametrize("kind", ["lora", "full"])


def made(name: str, kind: str):
    model = make(name)
    return with_lora(name, model) if kind == "lora" else model


def padded(batch_rows, side: str, model) -> dict[str, torch.Tensor]:
    """A batch padded by hand; on the left with positions that do not count the padding."""
    width = max(len(row["input_ids"]) for row in batch_rows)
    batch = {}
    for key, fill in (("input_ids", 0), ("attention_mask", 0), ("labels", -100)):
        filled = [(row[key], [fill] * (width - len(row[key]))) for row in batch_rows]
        lines = [pad + ids if side == "left" else ids + pad for ids, pad in filled]
        batch[key] = torch.tensor(lines)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if "position_ids" in inspect.signature(base.forward).parameters and side == "left":
        batch["position_ids"] = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    return batch


def sft(model, folder, side: str, tokenizer=None) -> SFTTrainer:
    collate = None if tokenizer else lambda batch_rows: padded(batch_rows, side, model)
    return SFTTrainer(
        model,
        SFTConfig(**arguments(folder)),
        train_dataset=rows(8),
        data_collator=collate,
        processing_class=tokenizer,
    )


@every
@both
def test_gradients_do_not_depend_on_accumulation_or_padding(name, kind, tmp_path):
    model = made(name, kind)
    data = rows(8)
    trainer = sft(model, tmp_path, "right")
    whole = step_gradients(trainer, [padded(data, "right", model)])
    split = step_gradients(trainer, [padded([row], "right", model) for row in data])
    assert relative_error(split, whole) < 1e-5
    on_the_left = padded(data, "left", model)
    if ARCHITECTURES[name].together != "any":
        with pytest.raises(UserError, match="reads padding on the left"):
            step_gradients(sft(model, tmp_path, "left"), [on_the_left])
    else:
        left = step_gradients(sft(model, tmp_path, "left"), [on_the_left])
        assert relative_error(left, whole) < 1e-5
    # Our own collator, with a tokenizer that pads on the left, is right for all.
    trainer = sft(model, tmp_path, "", TOKENIZER)
    ours = step_gradients(trainer, [trainer.data_collator(data)])
    assert relative_error(ours, whole) < 1e-5


@torch.no_grad()
def plain_answer(model, ids: list[int]) -> list[int]:
    """Greedy, one prompt at a time, no cache, no padding."""
    answer: list[int] = []
    while len(answer) < NEW:
        logits = model(input_ids=torch.tensor([ids + answer]), use_cache=False).logits[0, -1]
        if int(logits.argmax()) == 2:
            break
        answer.append(int(logits.argmax()))
    return answer


@every
@both
def test_answers_do_not_depend_on_the_cache_or_the_batch(name, kind, caplog):
    model = made(name, kind)
    plain = [plain_answer(model, ids) for ids in PROMPTS]
    assert len({tuple(answer) for answer in plain}) > 2
    with caplog.at_level(logging.WARNING, logger="holdfast"):
        batched = Generator(model, TOKENIZER, NEW, 4)
        assert batched.answer_ids(PROMPTS) == plain
        assert batched.answer_ids(PROMPTS) == plain
        assert Generator(model, TOKENIZER, NEW, 1).answer_ids(PROMPTS) == plain
    told = [r.getMessage() for r in caplog.records if r.name == "holdfast.evaluate.generation"]
    wanted = {"any": [], "equal": ["only prompts of equal length"], "alone": ["one by one"]}
    wanted = wanted[ARCHITECTURES[name].together]
    assert len(told) == len(wanted)  # once
    assert all(part in line for part, line in zip(wanted, told, strict=True))
    assert together(model) == ARCHITECTURES[name].together


METHODS = {
    "vaccine": (VaccineTrainer, VaccineConfig, {}, {"rho": 1.0}),
    "random_perturbation": (RandomPerturbationTrainer, RandomPerturbationConfig, {}, {"rho": 1.0}),
    "t_vaccine": (
        TVaccineTrainer,
        TVaccineConfig,
        {"harmful_dataset": rows(4, seed=1)},
        {"rho": 1.0, "layers": 1},
    ),
    "lisa": (
        LisaTrainer,
        LisaConfig,
        {"alignment_dataset": rows(4, seed=1)},
        {"alignment_steps": 1, "user_steps": 1},
    ),
}


@every
def test_methods_find_their_blocks_or_refuse_in_a_sentence(name, tmp_path):
    wanted = ARCHITECTURES[name]
    plain = make(name)
    assert len(decoder_layers(plain)) == plain.config.num_hidden_layers
    for method, (trainer_class, config_class, extra, own) in METHODS.items():
        model = with_lora(name, make(name))

        def trainer(model=model, of=trainer_class, config=config_class, extra=extra, own=own):
            return of(
                model,
                config(**arguments(tmp_path, max_steps=2, **own)),
                train_dataset=rows(8),
                data_collator=lambda batch_rows: padded(batch_rows, "right", model),
                **extra,
            )

        if wanted.attention == 0 and method != "lisa":
            with pytest.raises(UserError, match=f"{type(plain).__name__} has no attention blocks"):
                trainer()
            continue
        if method != "lisa":
            assert len(attention_blocks(model)) == wanted.attention
        before = weights(model)
        trainer().train()
        after = weights(model)
        assert any(not torch.equal(before[n], after[n]) for n in before)
        assert all(w.isfinite().all() for w in after.values())


@every
@both
def test_antidote_zeroes_what_it_says_on_every_architecture(name, kind):
    model = made(name, kind)

    def repaired(**settings):
        return antidote(
            model,
            rows(6),
            AntidoteConfig(dense_ratio=0.25, batch_size=4, **settings),
            data_collator=lambda batch_rows: padded(batch_rows, "right", model),
        )

    if ARCHITECTURES[name].unread:  # Mamba reads this matrix, but sends nothing through it
        with pytest.raises(UserError, match=ARCHITECTURES[name].unread):
            repaired()
        repair = repaired(target_modules=["in_proj"])
    else:
        repair = repaired()
    assert repair.masks
    for mask in repair.masks.values():
        assert 0.2 <= float(mask.float().mean()) <= 0.3


def test_layers_that_share_an_attention_block_are_refused():
    shared = make("llama")
    shared.model.layers[1].self_attn = shared.model.layers[0].self_attn
    with pytest.raises(UserError, match="share one attention block"):
        attention_blocks(shared)


def page_lines() -> list[str]:
    """The table of docs/architectures.md, as the expectations here say."""
    share = {"any": "any", "equal": "of equal length", "alone": "none: one by one"}
    lines = ["| architecture | attention blocks | prompts in one batch | router's loss |"]
    lines.append("|---|---|---|---|")
    for name, wanted in ARCHITECTURES.items():
        layers = {**COMMON, **wanted.settings}["num_hidden_layers"]
        blocks = "every layer" if wanted.attention == layers else "some layers"
        blocks = blocks if wanted.attention else "none"
        router = "whole step's" if wanted.experts else "–"
        lines.append(f"| `{name}` | {blocks} | {share[wanted.together]} | {router} |")
    return lines


def test_the_page_tells_what_is_tested():
    page = Path(__file__).parents[2] / "docs" / "architectures.md"
    table = page.read_text(encoding="utf-8").split("<!-- architectures -->\n")[1]
    assert table.split("<!-- /architectures -->")[0].splitlines() == page_lines()
    assert len(ARCHITECTURES) >= 25
