"""How far the attention outputs moved, as the papers' code sums it.

    D_r = Σ_l ‖a_rl − b_rl‖_F

a_rl and b_rl are what attention block l gives out on row r in two models, [tokens, hidden]: one
Frobenius norm for a block of a row, summed over all blocks. The code of Antidote prints the sum of
D over the batches of its first 100, that of Vaccine the sum of D's squared norms over 10 batches;
here each row is read by itself, so no padding counts, and the mean over rows is given.
`holdfast.evaluate.alignment.drift` is another measure, of the last block's output alone.

Source: the public code of Vaccine (arXiv 2402.01109) and Antidote (arXiv 2408.09600).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedTokenizerBase

from holdfast.data.prompts import Row
from holdfast.data.rows import tokenize
from holdfast.evaluate.generation import positions
from holdfast.models.blocks import attention_blocks
from holdfast.models.modes import evaluation_mode

if TYPE_CHECKING:
    from holdfast.evaluate.generation import Model


def attention_outputs(
    model: Model, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]
) -> Iterator[list[torch.Tensor]]:
    """What every attention block gives out on prompt and answer, row by row.

    Args:
        model: a causal language model of transformers, bare or wrapped by PEFT.
        tokenizer: its tokenizer.
        rows: prompts with their safe answers.

    Yields:
        For each row a tensor [tokens, hidden] of every block, from the lowest, in the model's own
        number format, on the CPU.

    Raises:
        UserError: As `holdfast.data.rows.tokenize`; the model has no attention blocks.
    """
    found: dict[int, torch.Tensor] = {}
    blocks, limit = attention_blocks(model), positions(model)

    def keep(place: int) -> Callable[..., None]:
        def hook(_module: object, _args: object, output: torch.Tensor | tuple) -> None:
            states = output if isinstance(output, torch.Tensor) else output[0]
            found[place] = states[0].detach().cpu()

        return hook

    handles = [block.register_forward_hook(keep(i)) for i, block in enumerate(blocks)]
    try:
        for row in rows:
            tokens = tokenize(row, tokenizer, limit)
            seen = zip(tokens["input_ids"], tokens["attention_mask"], strict=True)
            ids = [token for token, counts in seen if counts]
            with torch.no_grad(), evaluation_mode(model):
                model(input_ids=torch.tensor([ids]).to(model.device), use_cache=False)
            yield [found[place] for place in range(len(blocks))]
    finally:
        for handle in handles:
            handle.remove()


def attention_drift(
    kept: Sequence[Sequence[torch.Tensor]], others: Iterator[list[torch.Tensor]]
) -> list[float]:
    """D of every row, between what was kept of one model and what another gives.

    Args:
        kept: the `attention_outputs` of one model, all of them.
        others: those of the other on the same rows, which are read one at a time.
    """
    return [
        sum((a.float() - b.float()).norm().item() for a, b in zip(mine, theirs, strict=True))
        for mine, theirs in zip(kept, others, strict=True)
    ]
