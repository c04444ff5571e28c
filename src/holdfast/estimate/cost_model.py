"""What training and answering cost on one GPU: operations, seconds, memory, from sizes alone.

N is the model's parameters, L its layers, d its width, f its MLP's width, V its vocabulary; a token
is one of a padded batch. All of it is arithmetic on these, right to perhaps a factor of two.

**Operations a token.** Forward 2N; backward to the activations 2N; to the weights 2N more in full
training. An adapter of P weights adds 6P. Activation checkpointing computes the forward twice.
Vaccine runs forward and backward twice on every τ-th step, the first time without weight gradients.
T-Vaccine does so with the layers below the lowest drawn one computed once and without backward; of
S layers drawn from L alike, a share (L−S)/((S+1)·L) lies below on average, and probe rows add a
forward and backward every K steps. Lisa's alignment steps come on top of the user's epochs. A
repair with scores is one forward over its rows.

**Answers.** The prompts' forward, then one step a new token for each batch. A step reads all
weights once, 2N bytes, or computes 2N for each row, whichever takes longer. Answers of sst2 and
agnews are 4 tokens, all others as long as the protocol allows. A judge that is a model counts as
one forward of 6.7 billion parameters over 256 tokens an answer.

**Lengths.** Rows are taken as `TOKENS` long with their padding, at most ``max_length``; the largest
batch, which decides the memory, as `LONGEST` (at most ``max_length``).

**Organism.** On one core, at `CORE_OPERATIONS` a second; a training takes `CORE_START` seconds more
to read its rows, and to save. Both are of an AMD EPYC core of 2024.

**Processor.** Where there is no GPU: the same operations, of one core at `PROCESSOR_OPERATIONS` a
second whatever the type. Measured once, by hand, on one AVX-512 core with a Llama of 135 M
parameters and LoRA on all its matrices: a step of 8 rows of 64 tokens took 6.1 s in float32 and 3.8
in bfloat16; this says 5.8. Passes without gradients are faster than training: answers and repairs
took about half of what this says. bfloat16 on a processor that does not compute in it takes several
times as long. Rows are often shorter than `TOKENS`. So: less rather than more, within a factor of
three. Several cores of one stage add up to less than their number.

**GPU.** One A100 of 80 GB: 312e12 operations a second in 16 bits (half in 32) and 2.0e12 bytes. The
share that training reaches of the former is `UTILISATION`, from the Vaccine paper's Table 5:
Llama-2-7B, SFT, batch 5, 200 tokens, 0.37 s a step on an A100 (its 2.7B model: 0.14 s). What
decoding by transformers' ``generate`` reaches of the bandwidth, a quarter, is assumed.

**Memory.** Weights in their type, 0.55 bytes each in 4 bits and 1.05 in 8; a second copy in 16 bits
where autocast (``bf16``) meets weights of another type, since the copies are kept for backward;
16 bytes for each weight that trains (weight, gradient, two of Adam, in 32 bits), an adapter's or,
in full training, the model's, with a copy in 16 bits beside it. For each token and layer, in bytes:

    16d (norms 8, attention 8) + 6f (MLP) + 3 · (inputs of adapted matrices; 2 without dropout)

with checkpointing (by either of its names) 2d a layer and one layer whole; for each token of the
logits 14V. A layer of T-Vaccine that is frozen keeps of its adapters' inputs only the dropout's
mask, 1 byte, and below the lowest drawn one nothing. Vaccine keeps 2 bytes for each of the token's
L·d perturbed numbers.
The activations count `RESERVE` times, so that the same Table 5 row gives its 38.45 GB, which is
what PyTorch reserved with the attention of 2023 (its weights in fp16 under bf16 autocast). An
evaluation holds the weights with the answers' keys, values and logits or, after them, with the
alignment rows' logits and one layer's activations; and then a judge in their place.
"""

from collections.abc import Mapping
from typing import Any

from holdfast.estimate.model_size import ModelSize
from holdfast.plans import Pass, Plan
from holdfast.registry import plan_of
from holdfast.stages.optimizing import is_checkpointed

PEAK_OPERATIONS = 312e12
BANDWIDTH = 2.0e12
UTILISATION = 0.23
DECODING = 0.25
RESERVE = 1.8
# A judge that is a model is beaver-dam-7b, a Llama of 7 billion weights (see "Answers").
JUDGE_PARAMETERS = 6.7e9
JUDGE_TOKENS = 256
JUDGE_LAYER = 16 * 4096 + 6 * 11008  # bytes of one layer's activations for a token
LONGEST = 512
# A row of each data set in tokens, template and padding included.
TOKENS = {"beavertails": 200, "sst2": 90, "agnews": 130, "gsm8k": 220, "alpaca": 160}
OTHER_TOKENS = 200
ORGANISM_TOKENS = 32
CORE_OPERATIONS = 40e9
CORE_START = 3.0
PROCESSOR_OPERATIONS = 50e9
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 2}
_QUANTIZED = {"4bit": 0.55, "8bit": 1.05}
# Matrices whose input, or output, is the MLP's width, and the names that all-linear stands for.
_FROM_WIDE = ("down_proj", "fc2", "dense_4h_to_h")
_TO_WIDE = ("gate_proj", "up_proj", "fc1", "dense_h_to_4h")
_ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def evaluation_bytes(
    settings: Mapping[str, Any], model: ModelSize, batch: int, longest: int, judges: int
) -> int:
    """The most bytes that an evaluation holds at once.

    Args:
        settings: its resolved settings.
        model: the model under evaluation.
        batch: rows answered at once.
        longest: tokens of the longest prompt and its answer.
        judges: how many of its judges are models; one is in memory at a time, after the answers.
    """
    width = _BYTES[settings["dtype"]]
    layer = 16 * model.hidden + 6 * model.intermediate
    cache = batch * longest * model.layers * 2 * model.kv_width * width
    # The next token's logits of every row, in their type and in 32 bits.
    answering = cache + batch * model.vocabulary * (width + 4)
    # One layer's activations, and the logits of the labels: at most all of the row's tokens.
    aligning = batch * OTHER_TOKENS * (layer + model.vocabulary * width)
    own = weight_bytes(settings, model.parameters) + max(answering, RESERVE * aligning)
    judging = JUDGE_PARAMETERS * _BYTES["bfloat16"] + batch * JUDGE_TOKENS * JUDGE_LAYER
    return round(max(own, judging if judges else 0))


def batch_rows(settings: Mapping[str, Any]) -> int:
    """The rows of a training stage's batch, of all its processes together."""
    return settings["per_device_train_batch_size"] * settings.get("processes", 1)


def training_operations(
    kind: str, settings: Mapping[str, Any], model: ModelSize, steps: int
) -> float:
    """Operations for each token of the rows, over all passes of a training stage."""
    n, adapter = model.parameters, adapter_weights(settings, model)
    weights = 2 * n if settings["adapter"] == "full" else 2 * adapter
    forward = 2 * n + 2 * adapter
    again = forward if is_checkpointed(settings) else 0
    one = Pass(forward, again, forward, weights)  # backward to the activations costs a forward
    plan = plan_of(kind, settings["method"])
    return plan.operations(one, settings, model.layers, steps)


def adapter_weights(settings: Mapping[str, Any], model: ModelSize) -> int:
    """P, the weights of the adapter that a training stage trains; 0 in full training."""
    if settings.get("adapter") == "full":
        return 0
    widths = [_shape(name, model) for name in _targets(settings)]
    return settings["lora"]["r"] * model.layers * sum(a + b for a, b in widths)


def _targets(settings: Mapping[str, Any]) -> tuple[str, ...]:
    names = settings["lora"]["target_modules"]
    if names == "all-linear":
        return _ALL
    return (names,) if isinstance(names, str) else tuple(names)


def _shape(name: str, model: ModelSize) -> tuple[int, int]:
    """Inputs and outputs of a matrix of that name."""
    if name in _FROM_WIDE:
        return model.intermediate, model.hidden
    if name in _TO_WIDE:
        return model.hidden, model.intermediate
    return model.hidden, model.kv_width if name in ("k_proj", "v_proj") else model.hidden


def training_bytes(
    kind: str, settings: Mapping[str, Any], model: ModelSize, organism: bool = False
) -> int:
    """The most bytes that a training stage holds at once, on one device."""
    n, adapter = model.parameters, adapter_weights(settings, model)
    plan = plan_of(kind, settings["method"])
    total = weight_bytes(settings, n)
    if settings["adapter"] == "full":
        total += 3 * n * _BYTES["float32"]
    total += 16 * adapter
    total += 4 * plan.copies * (adapter or n)
    if settings.get("parallel") == "fsdp2":
        total /= settings["processes"]
    longest = min(settings.get("max_length") or LONGEST, ORGANISM_TOKENS if organism else LONGEST)
    tokens = settings["per_device_train_batch_size"] * longest
    activations = 14 * model.vocabulary + _layers_bytes(plan, settings, model)
    total += 2 * tokens * plan.perturbed_layers(settings, model.layers) * model.hidden
    return round(total + RESERVE * tokens * activations)


def weight_bytes(settings: Mapping[str, Any], n: int) -> float:
    """Bytes of n weights, with the copies that autocast keeps."""
    quantization = settings.get("quantization")
    if quantization:
        return n * _QUANTIZED[quantization]
    own = settings["dtype"]
    if settings.get("adapter") == "full":  # trained in float32, computed with in 16 bits
        narrow = own != "float32" or settings.get("bf16") or settings.get("fp16")
        return n * (6 if narrow else 4)
    autocast = "bfloat16" if settings.get("bf16") else "float16" if settings.get("fp16") else None
    copied = autocast is not None and own not in (autocast, "auto")
    return n * (_BYTES[own] + (2 if copied else 0))


def _layers_bytes(plan: Plan, settings: Mapping[str, Any], model: ModelSize) -> float:
    """Bytes of activations that all layers keep for a token."""
    lora = settings["lora"]
    inputs = 0
    if settings["adapter"] != "full":
        inputs = sum(_shape(name, model)[0] for name in _targets(settings))
    plain = 16 * model.hidden + 6 * model.intermediate
    trained = plain + (3 if lora["dropout"] else 2) * inputs
    if settings["adapter"] == "full":
        trained = plain + 2 * (6 * model.hidden + model.intermediate)
    if is_checkpointed(settings):
        return 2 * model.layers * model.hidden + trained
    kept, passed = plan.trained_layers(settings, model.layers)
    return kept * trained + passed * (plain + (inputs if lora["dropout"] else 0))


def operations_a_second(settings: Mapping[str, Any]) -> float:
    """What the GPU computes in a second: half as much where nothing is in 16 bits."""
    wide = settings["dtype"] == "float32" and not (settings.get("bf16") or settings.get("fp16"))
    return PEAK_OPERATIONS * UTILISATION * (0.5 if wide else 1.0)
