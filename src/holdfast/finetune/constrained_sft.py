"""Constrained SFT: a token's loss fades once the model likes it more than it did at the start.

    min_w  -(1/N) Σ_t (2/β_t)·log σ(β_t·(log π_w(y_t) − log π_0(y_t)))

whose gradient is that of plain fine-tuning with each answer token's loss weighted by
w_t = 2·(1 − σ(β_t·(log π_w(y_t) − log π_0(y_t)))), detached: 1 where nothing changed, less where
the token became likelier. π_0 is the model as the training began, without dropout, t the token's
place in its answer from 1, N the number of answer tokens of the whole optimizer step. β_1 is
β·first_factor, β_2 … β_k are β·factor with k ``tokens``, the rest β: a strong hold on the first
tokens, where alignment is. log π_0 is computed once, before the training, for all rows: no
reference is needed from then on. β = 0 is plain fine-tuning bit for bit.

Paper and code agree; the code keeps w_t ≥ 0.001, as we do, has Adam's β1 at 0.5 in place of 0.9,
for plain fine-tuning too (``adam_beta1``), and warms up for 10 steps in the attacks. ``tokens=0``
holds all tokens alike: the control, of whether the place counts. Of a conversation's several
answers each has its own first tokens; the paper has single ones.

Source: X. Qi et al.: Safety Alignment Should Be Made More Than Just a Few Tokens Deep, arXiv
2406.05946, equation 3 and appendix D; the authors' code.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from holdfast.data.rows import IGNORED
from holdfast.errors import UserError
from holdfast.labelled import labelled_logits, labelled_positions
from holdfast.models.modes import evaluation_mode
from holdfast.trainer.counted import CountedMixin
from holdfast.trainer.kept import KeptMixin
from holdfast.trainer.numbered import ROW_NUMBER, Numbered, numbering
from holdfast.trainer.streams import is_stream
from holdfast.training import SFTConfig, SFTTrainer

LEAST = 1e-3


@dataclass
class ConstrainedSFTConfig(SFTConfig):
    """Settings of constrained SFT.

    Args:
        beta: β, how strongly tokens are held near the start; 0 is plain SFT.
        tokens: k, the first tokens of an answer, which are held more strongly; 0 for none.
        factor: how many times β these are held.
        first_factor: how many times β the very first one is; less, for its loss is large at first.
    """

    beta: float = field(default=0.1, metadata={"range": "[0, inf)"})
    tokens: int = field(default=5, metadata={"range": "[0, inf)"})
    factor: float = field(default=20.0, metadata={"range": "[0, inf)"})
    first_factor: float = field(default=5.0, metadata={"range": "[0, inf)"})


class ConstrainedSFTTrainer(CountedMixin, KeptMixin, SFTTrainer):
    """Constrained SFT. Takes what `SFTTrainer` takes, with a `ConstrainedSFTConfig`.

    Raises:
        UserError: as `SFTTrainer`; the rows are a stream; FSDP2 or DeepSpeed divides the weights.
    """

    config_class = ConstrainedSFTConfig
    args: ConstrainedSFTConfig

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.train_dataset is not None and is_stream(self.train_dataset):
            raise UserError("constrained SFT needs rows that can be counted, not a stream.")
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise UserError("constrained SFT asks whole weights before it starts: train with DDP.")
        if self.args.beta > 0 and self.train_dataset is not None:
            self.train_dataset = Numbered(self.train_dataset)
            self.data_collator = numbering(self.data_collator)

    def make_kept(self) -> dict[str, Tensor]:
        """log π_0 of every answer token, row after row, [tokens], and how many each row has."""
        if self.args.beta == 0:
            return {}
        rows, size = self.train_dataset.rows, self.args.per_device_train_batch_size
        found, counts = [], []
        with torch.no_grad(), evaluation_mode(self.model), self.compute_loss_context_manager():
            for start in range(0, len(rows), size):
                batch = self.data_collator(
                    [rows[i] for i in range(start, min(start + size, len(rows)))]
                )
                inputs = dict(self._prepare_inputs(batch))
                labels = inputs.pop("labels")
                with labelled_positions(self.model, {"labels": labels}):
                    logits = labelled_logits(self.model(**inputs).logits, labels)
                found.append(_log_likelihoods(logits, labels))
                counts.append((labels[:, 1:] != IGNORED).sum(1))
        return {"log_likelihoods": torch.cat(found), "counts": torch.cat(counts)}

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The weighted loss of a micro-batch; in evaluation the plain one."""
        numbers = inputs.pop(ROW_NUMBER, None)
        if numbers is None or not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs["labels"]
        with labelled_positions(self.model, inputs):
            loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        now = _log_likelihoods(labelled_logits(outputs.logits, labels), labels)
        start, places = self._start(numbers, labels), answer_places(labels)
        beta = self.args.beta * torch.ones_like(now)
        beta[places <= self.args.tokens] *= self.args.factor
        if self.args.tokens:
            beta[places == 1] = self.args.beta * self.args.first_factor
        weight = 2 * (1 - torch.sigmoid(beta * (now.detach() - start)))
        # The plain loss stays, with what a model adds to it; what the weights change joins.
        less = ((1 - weight.clamp(min=LEAST)) * now).sum()
        loss = loss + (less * self.share_of_step(num_items_in_batch)).to(loss)
        return (loss, outputs) if return_outputs else loss

    def _start(self, numbers: Tensor, labels: Tensor) -> Tensor:
        """log π_0 of the tokens of a batch, in their order."""
        kept = self.have_kept()
        ends = kept["counts"].cumsum(0)
        found = [
            kept["log_likelihoods"][ends[n] - kept["counts"][n] : ends[n]]
            for n, row in zip(numbers.tolist(), labels, strict=True)
            if (row[1:] != IGNORED).any()  # a row that fills up a batch has none
        ]
        return torch.cat(found) if found else kept["log_likelihoods"][:0]


def answer_places(labels: Tensor) -> Tensor:
    """The place of each answer token in its answer, from 1, [answer tokens], row after row."""
    answered = (labels != IGNORED).long()
    answered[:, 0] = 0  # the first token is not predicted
    counted = answered.cumsum(1)
    before = torch.where(answered == 0, counted, 0).cummax(1).values
    return (counted - before)[answered.bool()]


def _log_likelihoods(logits: Tensor, labels: Tensor) -> Tensor:
    shifted = pad(labels, (0, 1), value=IGNORED)[..., 1:]
    tokens = shifted[shifted != IGNORED].to(logits.device)
    return logits.float().log_softmax(-1).gather(-1, tokens[:, None])[:, 0]
