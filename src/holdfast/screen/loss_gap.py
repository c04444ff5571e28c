"""Loss gap: a row is flagged that a little harmful training makes much likelier.

    score(x, y) = ℓ_aligned(y | x) − ℓ_tuned(y | x)

ℓ is the mean negative log-likelihood of the row's answer tokens in nats, the first under the
aligned model, the second under the same model after few steps of LoRA on known harmful rows. An
aligned model resists harmful answers, and the light tuning lets them go; of a user's own task it
teaches nothing. The difference of two models' losses, one of them tuned on what is looked for, is
how Moore and Lewis (2010) choose data of a domain.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedTokenizerBase, PrinterCallback

from holdfast.data.rows import Tokens, readable
from holdfast.evaluate.alignment import alignment_pass
from holdfast.screen.base import Known, Row, Scored, ScreenConfig, check_known
from holdfast.screen.decide import check_decision
from holdfast.screen.reading import in_their_places, known_tokens
from holdfast.training import SFTConfig, SFTTrainer


@dataclass
class LossGapScreenConfig(ScreenConfig):
    """Settings of the screen ``loss_gap``.

    Args:
        steps: how many steps the light tuning takes.
        learning_rate: its learning rate, constant.
        rows_a_step: how many known harmful rows each of its steps reads.
        lora_r: the rank of its adapter, on all linear layers; its alpha is twice that.
        seed: decides the adapter's first weights and the order of the rows.
        max_length: the longest row in tokens; more of it is not read, as in a training.
        batch_size: rows in a forward pass.
    """

    steps: int = field(default=20, metadata={"range": "[1, inf)"})
    learning_rate: float = field(default=1e-4, metadata={"range": "(0, 10]"})
    rows_a_step: int = field(default=8, metadata={"range": "[1, inf)"})
    lora_r: int = field(default=8, metadata={"range": "[1, inf)"})
    seed: int = field(default=0, metadata={"range": "[0, 4294967295]"})
    max_length: int = field(default=512, metadata={"range": "[1, inf)"})
    batch_size: int = field(default=32, metadata={"range": "[1, inf)"})


class LossGapScreen:
    """Compares a row's loss under the aligned model with that under a lightly tuned one.

    Half of the known harmful rows, every second one, is tuned on where a threshold is to be found:
    the others then tell what rows score that the tuning has not seen.
    """

    def __init__(
        self,
        config: LossGapScreenConfig,
        model: Any,
        processing_class: PreTrainedTokenizerBase,
        harmful_dataset: Sequence[Row] = (),
        alignment_dataset: Sequence[Row] = (),
    ):
        check_known(harmful_dataset, "the screen 'loss_gap'", "probe_data")
        check_decision(config, bool(alignment_dataset))
        self._config, self._tokenizer = config, processing_class
        harmful = self._known_tokens(harmful_dataset, "known harmful")
        finds = config.finds_threshold
        tuned_on = harmful[::2] if finds else harmful
        self._model = _lightly_tuned(model, tuned_on, config, processing_class)
        self.known = None
        if finds:
            safe = self._known_tokens(alignment_dataset, "alignment")
            self.known = Known(self._gaps(harmful[1::2]), self._gaps(safe))

    def score(self, rows: Sequence[Row]) -> list[Scored]:
        """One score for each row."""
        tokens = readable(rows, self._tokenizer, self._config.max_length)
        return in_their_places(
            tokens, lambda there: [Scored(gap, "by its loss") for gap in self._gaps(there)]
        )

    def _known_tokens(self, rows: Sequence[Row], what: str) -> list[Tokens]:
        size = self._config.max_length
        return list(known_tokens(rows, self._tokenizer, size, what).values())

    def _gaps(self, tokens: Sequence[Tokens]) -> list[float]:
        if not tokens:
            return []
        with self._model.disable_adapter():
            before = self._losses(tokens)
        return [b - a for b, a in zip(before, self._losses(tokens), strict=True)]

    def _losses(self, tokens: Sequence[Tokens]) -> list[float]:
        size = self._config.batch_size
        return alignment_pass(self._model, self._tokenizer, tokens, size, states=False).losses


def _lightly_tuned(
    model: Any,
    rows: Sequence[Tokens],
    config: LossGapScreenConfig,
    tokenizer: PreTrainedTokenizerBase,
) -> PeftModel:
    """The model with an adapter that was trained on the rows a little."""
    lora: Any = LoraConfig(
        r=config.lora_r,
        lora_alpha=2 * config.lora_r,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        tuned: Any = get_peft_model(model, lora)
        with tempfile.TemporaryDirectory() as folder:
            args = SFTConfig(
                output_dir=folder,
                max_steps=config.steps,
                learning_rate=config.learning_rate,
                lr_scheduler_type="constant",
                per_device_train_batch_size=min(config.rows_a_step, len(rows)),
                max_length=config.max_length,
                seed=config.seed,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=next(model.parameters()).device.type == "cpu",
            )
            trainer = SFTTrainer(tuned, args, train_dataset=rows, processing_class=tokenizer)
            trainer.remove_callback(PrinterCallback)
            trainer.train()
    tuned.eval()
    return tuned.requires_grad_(False)
