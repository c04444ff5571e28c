"""SPPFT: the frozen layers stay bit for bit, the others take plain steps."""

import copy
import math

import pytest
import torch
import transformers
from side_runs import divide_weights
from steps import arguments, collator, relative_error, rows
from torch.nn.functional import cross_entropy
from torch.utils.data import IterableDataset

from holdfast import SPPFTConfig, SPPFTTrainer, UserError
from holdfast.finetune.plans import SPPFTPlan
from holdfast.finetune.safety_layers import (
    angle_gaps,
    common_beginning,
    first_range,
    localized,
    scaled,
)
from holdfast.models.blocks import decoder_layers
from holdfast.plans import Pass
from holdfast.stages.making import make_stage
from tiny_models import lora, tiny_model


def model_of(adapter):
    model = tiny_model("llama", layers=4)
    return lora(model, init_lora_weights=False) if adapter else model


def run(folder, adapter=True, collate=None, resume=None, **settings):
    own = {"first_layer": 1, "last_layer": 2, "learning_rate": 0.05, "optim": "sgd"}
    args = SPPFTConfig(**arguments(folder, **own | {"weight_decay": 0.0} | settings))
    trainer = SPPFTTrainer(model_of(adapter), args, collate or collator(), rows(12))
    trainer.train(resume_from_checkpoint=resume)
    return {name: w.detach().clone() for name, w in trainer.model.named_parameters()}


@pytest.mark.parametrize("adapter", [True, False])
def test_three_steps_by_hand(tmp_path, adapter):
    seen = []

    def watch(batch_rows):
        seen.append(batch_rows)
        return collator()(batch_rows)

    found = run(tmp_path, adapter, watch)
    model = model_of(adapter)
    start = {name: w.detach().clone() for name, w in model.named_parameters()}
    trained = {
        name: w
        for name, w in model.named_parameters()
        if w.requires_grad and "layers.1." not in name and "layers.2." not in name
    }
    for batch_rows in seen:
        batch = collator()(batch_rows)
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        loss = cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
        gradients = torch.autograd.grad(loss, list(trained.values()))
        with torch.no_grad():
            for w, g in zip(trained.values(), gradients, strict=True):
                w -= 0.05 * g
    moved = {name: found[name] - start[name] for name in trained}
    assert relative_error(moved, {n: w.detach() - start[n] for n, w in trained.items()}) < 1e-5
    assert all(torch.equal(found[n], start[n]) for n in start if n not in trained)


def test_resumed_with_the_same_layers_frozen(tmp_path):
    settings = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 4}
    whole = run(tmp_path, **settings)
    resumed = run(tmp_path, resume=str(tmp_path / "checkpoint-4"), **settings)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_mistakes_are_told(tmp_path):
    with pytest.raises(UserError, match="last_layer is 0, before first_layer, 1"):
        run(tmp_path, last_layer=0)
    with pytest.raises(UserError, match="last_layer is 4, and the model's layers are 0 to 3"):
        run(tmp_path, last_layer=4)
    with pytest.raises(UserError, match="nothing to train"):
        run(tmp_path, first_layer=0, last_layer=3)


# The search for the layers, against the paper's steps on numbers that are made up.


def test_the_gap_is_that_of_the_mean_angles():
    generator = torch.Generator().manual_seed(0)
    normal, harmful = (torch.randn(n, 3, 8, generator=generator) for n in (4, 2))
    for layer, gap in enumerate(angle_gaps(normal, harmful).tolist()):

        def angle(a, b, layer=layer):
            a, b = a[layer].double(), b[layer].double()
            return math.acos(float(a @ b / a.norm() / b.norm()))

        across = [angle(n, m) for n in normal for m in harmful]
        within = [angle(normal[i], normal[k]) for i in range(4) for k in range(4) if i != k]
        assert gap == pytest.approx(sum(across) / 8 - sum(within) / 12, abs=1e-9)


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        ([0.0, 0.0, 0.1, 0.5, 0.8, 0.85, 0.86, 0.86], (3, 4)),
        ([0.0, 0.01, 0.3, 0.32, 0.34, 0.5], (2, 2)),
        ([0.4, 0.5, 0.5, 0.5], (1, 1)),
        ([0.271, 0.24, 0.267, 0.338, 0.34, 0.306], (2, 3)),
        ([0.2], (0, 0)),
        ([0.1, 0.2, 0.3, 0.9], (3, 3)),
        ([0.0, 0.5, 0.5, 0.1], (1, 1)),
    ],
)
def test_the_first_range_is_where_the_gap_grows(gaps, expected):
    assert first_range(gaps) == expected


def test_the_bounds_are_moved_to_where_most_is_rejected():
    """The paper's numbers of Llama-3-8B-Instruct and of gemma-2b-it, Table 1; 0 elsewhere."""
    llama = {(7, 10): 272, (7, 11): 241, (7, 12): 283, (7, 13): 266, (7, 14): 256}
    llama |= {(8, 12): 334, (6, 12): 371, (5, 12): 358, (4, 12): 223}
    assert localized(lambda a, b: llama.get((a, b), 0), 7, 11, 32) == (6, 12)
    gemma = {(8, 9): 310, (8, 10): 335, (8, 11): 368, (8, 12): 343, (8, 13): 326}
    gemma |= {(7, 11): 371, (6, 11): 407, (5, 11): 404, (4, 11): 323}
    assert localized(lambda a, b: gemma.get((a, b), 0), 8, 13, 18) == (6, 11)
    llama_2 = {(9, 12): 187, (9, 13): 227, (9, 14): 237, (9, 15): 218, (9, 16): 219}
    llama_2 |= {(8, 14): 263, (7, 14): 268, (6, 14): 297, (5, 14): 189, (4, 14): 202}
    assert localized(lambda a, b: llama_2.get((a, b), 0), 9, 12, 32) == (6, 14)
    assert localized(lambda a, b: 0.0, 3, 5, 9) == (3, 5)
    assert localized(lambda a, b: b - a, 3, 5, 9) == (0, 8)


@pytest.mark.parametrize("architecture", ["llama", "opt"])
@pytest.mark.parametrize("adapter", [True, False])
def test_layers_are_scaled_as_their_matrices_would_be(architecture, adapter):
    model = tiny_model(architecture, layers=3).eval()
    model = lora(model, init_lora_weights=False) if adapter else model
    ids = torch.tensor([[5, 6, 7]])
    before = model(ids).logits
    with scaled(decoder_layers(model)[1:2], 1.3):
        found = model(ids).logits
    assert torch.equal(model(ids).logits, before)
    model = model.merge_and_unload() if adapter else model
    with torch.no_grad():
        for name, w in model.named_parameters():
            if ".1." in name and w.ndim == 2:
                w *= 1.3
    expected = model(ids).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert (found - before).norm() > 1e-2 * before.norm()


def test_a_rare_beginning_is_no_rejection():
    assert common_beginning([(1, 2), (3, 4), (1, 2)]) == (1, 2)
    with pytest.raises(UserError, match="begins 1 of 11 answers to harmful prompts alike"):
        common_beginning([(n, n) for n in range(11)])


LAYERS = 6
HARMFUL = [{**row, "labels": [-100, -100, *row["labels"][2:]]} for row in rows(6, seed=3)]


def searched(folder, model=None, harmful=HARMFUL, train=None, **settings):
    args = SPPFTConfig(**arguments(folder, layers="search", **settings))
    model = model_of(True) if model is None else model
    extra = {} if harmful is None else {"harmful_dataset": harmful}
    return SPPFTTrainer(model, args, collator(), rows(12) if train is None else train, **extra)


def plain_search(model, scale):
    """The same with copies of the model and loops."""
    model = model.eval()
    normal = [row["input_ids"][:2] for row in rows(12)]
    harmful = [row["input_ids"][:2] for row in HARMFUL]

    def states(prompt):
        seen = []
        hooks = [
            layer.register_forward_hook(lambda _layer, _given, out: seen.append(out))
            for layer in model.base_model.model.model.layers
        ]
        model(torch.tensor([prompt]))
        for hook in hooks:
            hook.remove()
        return seen

    def greedy(prompt):
        for _ in range(4):
            prompt = [*prompt, int(model(torch.tensor([prompt])).logits[0, -1].argmax())]
        return tuple(prompt[2:])

    answers = [greedy(p) for p in harmful]
    beginning = max(answers, key=lambda a: (answers.count(a), -answers.index(a)))
    N, M = ([[s[0, -1] for s in states(p)] for p in some] for some in (normal, harmful))

    def angle(a, b):
        return float(torch.arccos(torch.cosine_similarity(a.double(), b.double(), dim=0)))

    gaps = []
    for k in range(LAYERS):
        across = [angle(n[k], m[k]) for n in N for m in M]
        within = [angle(N[i][k], N[h][k]) for i in range(12) for h in range(i)]
        gaps.append(sum(across) / len(across) - sum(within) / len(within))

    def rejection(a, b):
        copied = copy.deepcopy(model).merge_and_unload()
        for layer in copied.model.layers[a : b + 1]:
            for w in layer.parameters():
                w.data *= scale if w.ndim == 2 else 1
        total = 0.0
        for prompt in normal:
            ids = torch.tensor([[*prompt, *beginning]])
            log_p = copied(ids).logits[0].log_softmax(-1)
            total += sum(float(log_p[1 + t, token]) for t, token in enumerate(beginning))
        return total

    i, j = first_range(gaps)
    upper = {b: rejection(i, b) for b in range(i, LAYERS)}
    while better := [b for b in (j - 1, j + 1) if upper.get(b, -math.inf) > upper[j]]:
        j = max(better, key=upper.__getitem__)
    lower = {a: rejection(a, j) for a in range(j + 1)}
    while better := [a for a in (i - 1, i + 1) if lower.get(a, -math.inf) > lower[i]]:
        i = max(better, key=lower.__getitem__)
    return i, j


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_search_is_the_papers_steps(tmp_path, seed):
    def model():
        return lora(tiny_model("llama", layers=LAYERS, seed=seed), init_lora_weights=False)

    with torch.no_grad():
        expected = plain_search(model(), 1.2)
    trainer = searched(tmp_path, model())
    assert trainer.safety_layers == expected
    assert trainer.model.training
    first, last = expected
    for number, layer in enumerate(decoder_layers(trainer.model)):
        frozen = not any(w.requires_grad for w in layer.parameters())
        assert frozen == (first <= number <= last)


def test_a_search_changes_no_number_but_which_layers_train(tmp_path):
    """Searched layers train as the same layers when they are named."""

    def model():
        return lora(tiny_model("llama", layers=LAYERS, seed=2), init_lora_weights=False)

    trainer = searched(tmp_path / "a", model())
    first, last = trainer.safety_layers
    assert trainer.used_rows == len(HARMFUL)
    trainer.train()
    told = [line for line in trainer.state.log_history if "safety_layers" in line]
    assert [(line["step"], line["safety_layers"]) for line in told] == [(0, [first, last])]
    args = SPPFTConfig(**arguments(tmp_path / "b", first_layer=first, last_layer=last))
    named = SPPFTTrainer(model(), args, collator(), rows(12))
    named.train()
    for one, other in zip(trainer.model.parameters(), named.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not any("safety_layers" in line for line in named.state.log_history)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_search_meets_no_dropout(tmp_path, seed):
    def found(dropout):
        model = tiny_model("llama", layers=LAYERS, seed=seed)
        model = lora(model, init_lora_weights=False, lora_dropout=dropout)
        return searched(tmp_path, model).safety_layers

    assert found(0.9) == found(0.0)


def test_a_search_among_layers_of_another_size_than_the_words(tmp_path):
    """OPT-350m's."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "word_embed_proj_dim": 16, "ffn_dim": 32, "num_hidden_layers": 4}
    sizes |= {"vocab_size": 64, "num_attention_heads": 2, "max_position_embeddings": 64}
    config = transformers.OPTConfig(**sizes, do_layer_norm_before=False)
    first, last = searched(tmp_path, transformers.OPTForCausalLM(config)).safety_layers
    assert 0 <= first <= last < 4


def test_a_search_that_meets_no_numbers_ends(tmp_path):
    """At once, or where a range is scaled up."""
    broken = model_of(True)
    with torch.no_grad():
        decoder_layers(broken)[1].mlp.up_proj.weight.fill_(math.nan)
    for model, scale in ((broken, 1.2), (model_of(True), 1e30)):
        with pytest.raises(UserError, match=r"not finite numbers: .*layers=named"):
            searched(tmp_path, model, scale=scale)


class Stream(IterableDataset):
    """Rows without a length."""

    def __iter__(self):
        return iter(rows(4))


def test_what_a_search_lacks_is_told(tmp_path, monkeypatch):
    for lacking in ({"harmful": None}, {"harmful": Stream()}, {"train": Stream(), "max_steps": 1}):
        with pytest.raises(UserError, match="needs a train_dataset and a harmful_dataset of known"):
            searched(tmp_path, **lacking)
    with pytest.raises(UserError, match="two normal prompts and a harmful one"):
        searched(tmp_path, train=rows(1))
    with pytest.raises(UserError, match='layers is "found"'):
        SPPFTConfig(**arguments(tmp_path, layers="found"))
    with pytest.raises(UserError, match="scale is 1"):
        searched(tmp_path, scale=1.0)
    divide_weights(monkeypatch)
    with pytest.raises(UserError, match="asks a whole model"):
        searched(tmp_path)


def test_named_layers_ask_for_no_harmful_rows_and_keep_their_identity():
    made = make_stage("finetune", {"method": "sppft"})
    assert set(made.inputs) == {"model", "train"}
    other = make_stage("finetune", {"method": "sppft", "scale": 1.5, "probe_rows": 3})
    assert made.identity == other.identity
    search = make_stage("finetune", {"method": "sppft", "layers": "search"})
    assert set(search.inputs) == {"model", "train", "probe"}
    elsewhere = {"method": "sppft", "layers": "search", "first_layer": 1, "last_layer": 1}
    assert make_stage("finetune", elsewhere).identity == search.identity != made.identity
    given = {"method": "sppft", "layers": "search", "scale": 1.5}
    assert make_stage("finetune", given).identity != search.identity


def test_the_plan_counts_the_searchs_passes():
    """Of four layers five ranges, states, and the harmful prompts' five passes; ten rows a step."""
    one = Pass(forward=1.0, again=0.0, backward=1.0, weights=0.0)
    settings = {"per_device_train_batch_size": 10, "gradient_accumulation_steps": 1}
    assert SPPFTPlan().operations(one, {**settings, "layers": "named"}, 4, 50) == 2
    found = SPPFTPlan().operations(one, {**settings, "layers": "search"}, 4, 50)
    assert found == pytest.approx(2 + 100 * (4 + 2 + 5) / 10 / 50)
