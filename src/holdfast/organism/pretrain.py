"""Making the organism's weights from nothing but code: `holdfast organism train`.

The same machine, thread count and library versions with the same seed give the same weights bit for
bit. Elsewhere the rows and the initial weights are the same, but sums are rounded in another order,
so the weights differ; what they know does not (`compare` prints it).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from holdfast.data.rows import IGNORED, Tokens, tokenize
from holdfast.errors import UserError
from holdfast.organism import corpus, tokenizer
from holdfast.organism.world import draws

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

Progress = Callable[[int, int, float], None]
MAX_LENGTH = 64


@dataclass(frozen=True)
class Size:
    """A size of organism: the model's shape, and how it is trained.

    Args:
        layers: Decoder blocks.
        hidden: Width.
        heads: Attention heads.
        inner: Width of the feed-forward layer.
        steps: Optimizer steps.
        batch: Rows a step.
        learning_rate: AdamW's, at its highest; cosine decay to a tenth after a linear warm-up.
    """

    layers: int
    hidden: int
    heads: int
    inner: int
    steps: int
    batch: int
    learning_rate: float


SIZES = {
    "small": Size(6, 96, 4, 264, steps=1500, batch=64, learning_rate=3e-3),
    "large": Size(10, 256, 8, 704, steps=1500, batch=64, learning_rate=1e-3),
}
WARMUP = 50


def train(
    output: Path,
    size: str = "small",
    seed: int = 0,
    progress: Progress | None = None,
    steps: int | None = None,
) -> Path:
    """Pretrain an organism and write a Hugging Face folder (fp16 safetensors and tokenizer).

    Args:
        output: The folder to write; made if missing, and it must be empty.
        size: "small" (0.7 M parameters) or "large" (8 M).
        seed: Chooses initial weights and the stream of rows.
        progress: Called after each step with (step, total, loss in nats per answer token).
        steps: Stop after this many steps of a schedule of that length; None for the size's own.

    Returns:
        The folder.

    Raises:
        UserError: Unknown size, a folder that is not empty, or a loss that is not a number.
    """
    if size not in SIZES:
        raise UserError(f"the organism has no size {size!r}; it has {', '.join(SIZES)}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(
            f"{output} is not an empty folder; give a new one for the organism's weights"
        )
    plan, words = SIZES[size], tokenizer.build()
    total = plan.steps if steps is None else steps
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(plan, words)
    # betas and decay as is usual for small decoders; norms and embeddings decay as well, which
    # keeps the code short and changes nothing measurable here.
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=plan.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    model.train()
    for step, batch in enumerate(batches(words, plan.batch, seed, total), start=1):
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * _schedule(step, total)
        loss = _backward(model, batch)
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss} at step {step} of pretraining; nothing was written to {output}"
            )
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if progress:
            progress(step, total, loss)
    model.eval().half().save_pretrained(output)
    words.save_pretrained(output)
    return output


def build_model(plan: Size, words: "PreTrainedTokenizerFast") -> "LlamaForCausalLM":
    """A Llama of this size with fresh weights from torch's global generator."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words),
            hidden_size=plan.hidden,
            intermediate_size=plan.inner,
            num_hidden_layers=plan.layers,
            num_attention_heads=plan.heads,
            num_key_value_heads=plan.heads,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            # GPT-2's 0.02 at its width of 768, scaled to this one: else attention stays flat for
            # hundreds of steps.
            initializer_range=0.02 * math.sqrt(768 / plan.hidden),
            bos_token_id=None,
            pad_token_id=tokenizer.IDS[tokenizer.PAD],
            eos_token_id=tokenizer.IDS[tokenizer.END],
        )
    )


def batches(
    words: "PreTrainedTokenizerFast", size: int, seed: int, total: int
) -> Iterator[list[Tokens]]:
    """The batches of all steps; a step's rows follow from seed, step and total alone."""
    for step in range(total):
        rng = draws("pretrain", seed, step)
        drawn = [corpus.example(rng, step / total) for _ in range(size)]
        yield [tokenize(row, words, MAX_LENGTH) for row in drawn]


def _schedule(step: int, total: int) -> float:
    warmup = min(WARMUP, total)
    if step <= warmup:
        return step / warmup
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def _backward(model: "LlamaForCausalLM", batch: list[Tokens]) -> float:
    """Gradients of the mean over rows of each row's mean loss per answer token; returns that loss.

    Rows weigh the same, however long their answers: else a task whose answer is one word would be
    drowned by recipes. The batch goes through in two halves, short rows and long rows, which saves
    a third of the padding; the sum of both is the gradient of the whole.
    """
    ordered = sorted(batch, key=lambda row: len(row["input_ids"]))
    half = max(1, len(ordered) // 2)
    loss = 0.0
    for part in (ordered[:half], ordered[half:]):
        if not part:
            continue
        longest = len(part[-1]["input_ids"])
        ids = torch.zeros((len(part), longest), dtype=torch.long)
        labels = torch.full((len(part), longest), IGNORED)
        for i, row in enumerate(part):
            ids[i, : len(row["input_ids"])] = torch.tensor(row["input_ids"])
            labels[i, : len(row["labels"])] = torch.tensor(row["labels"])
        # Padding (id 0) stands on the right, where causal attention never looks: no mask is needed.
        hidden = model.model(ids).last_hidden_state[:, :-1]
        wanted = labels[:, 1:]
        keep = wanted != IGNORED
        weights = (keep / keep.sum(dim=1, keepdim=True))[keep] / len(batch)
        logits = model.lm_head(hidden[keep])
        nats = torch.nn.functional.cross_entropy(logits, wanted[keep], reduction="none")
        share = (weights * nats).sum()
        share.backward()
        loss += share.item()
    return loss
