"""Supervised fine-tuning: the plain method, and the ground that every training method stands on.

    L(w) = -(1/N) Σ log p_w(answer token | prompt, answer tokens before it)

N is the number of answer tokens of the whole optimizer step, over all micro-batches and
processes. Prompt tokens and padding carry no loss; the end-of-sequence token does.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from peft import PeftConfig, PeftModel
from torch.utils.data import BatchSampler, DataLoader, Sampler
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainingArguments
from transformers.trainer_utils import has_length

from holdfast import parallel
from holdfast.errors import DivergedError, UserError
from holdfast.labelled import labelled_positions
from holdfast.models.four_bits import keep_unpacked
from holdfast.models.loss import check_loss
from holdfast.models.padding import padding_leaks, refuse_left_padding
from holdfast.models.random_state import RandomState
from holdfast.models.router_loss import (
    Routing,
    adds_router_loss,
    coefficient,
    router_loss,
    routing,
)
from holdfast.models.system_prompt import SystemPrompt
from holdfast.settings import check_ranges
from holdfast.trainer.adapter import adapted, with_adapter
from holdfast.trainer.arguments import as_config
from holdfast.trainer.collator import Collator, collator_for
from holdfast.trainer.logged import LoggedMixin
from holdfast.trainer.order import EpochSampler
from holdfast.trainer.precision import train_in_float32
from holdfast.trainer.rows import prepare_rows
from holdfast.trainer.streams import StreamedBatches, is_stream, length


@dataclass
class SFTConfig(TrainingArguments):
    """Settings of supervised fine-tuning.

    Every field of ``transformers.TrainingArguments`` is a setting too.

    Args:
        max_length: longest row in tokens, prompt and answer together; a longer answer is cut, and
            a row whose answer would be cut away whole is an error.
        too_long: what happens to such a row: error stops before the training, drop leaves it out,
            as the papers' code in effect does, and counts it.
        train_on: which answers of a conversation are trained: all, or the last.
    """

    max_length: int = field(default=512, metadata={"range": "[1, inf)"})
    too_long: Literal["error", "drop"] = "error"
    train_on: Literal["all", "last"] = "all"

    # Rows reach the collator as they are: ours takes what it needs, a caller's own knows its rows.
    remove_unused_columns: bool | None = field(default=False)
    # A loss that is not a number stops the run (see SFTTrainer) and must not be averaged away.
    logging_nan_inf_filter: bool = field(default=False)

    def __post_init__(self):
        super().__post_init__()
        check_ranges(self)


class SFTTrainer(LoggedMixin, Trainer):
    """Plain supervised fine-tuning with the loss on the answers only.

    Takes what ``transformers.Trainer`` takes, and beside it a ``peft_config``. Under ``accelerate
    launch`` (DDP, FSDP2) P processes with batches of b rows take the steps of one with P·b rows.

    The weights that train are float32, also those of a model in 16 bits, which then computes in
    them by autocast (see `holdfast.trainer.precision`); so they are saved.

    Args:
        model: the model to train, bare or already wrapped by PEFT; None with a ``model_init``.
        args: the settings; of ``transformers.TrainingArguments``, or none at all, the method's own
            are at their defaults.
        data_collator: makes a batch of rows; by default pads on the tokenizer's side, or on the
            right where the model would read padding on its left as text.
        train_dataset: rows in any of holdfast's shapes (Alpaca, messages, prompt-completion), or
            already tokenized ones, which pass through untouched. A stream (an ``IterableDataset``)
            comes in its own order; one without a length needs ``max_steps`` and begins again when
            it ends.
        eval_dataset: rows in the same shapes.
        processing_class: the tokenizer; needed unless rows are tokenized and a collator is given.
        peft_config: trains a fresh adapter of this configuration instead of the weights.

    Raises:
        UserError: no rows, an unknown shape of rows, an answer that is all truncated, an adapter
            that matches no module, or, while training, a model whose loss is no next token's
            cross-entropy (`holdfast.models.loss`) or a loss that is not a finite number.
    """

    config_class: type[SFTConfig] = SFTConfig
    args: Any
    # Wider than transformers' own, which name every wrapper that a model may get.
    model: Any
    train_dataset: Any
    # What the trained model must be asked with; None where its method does not say.
    asked_with: SystemPrompt | None = None
    # How many rows of its other sets a method uses; None for all of them.
    used_rows: int | None = None
    _operations_a_token: float | None = None
    _routing: Routing | None = None

    def __init__(
        self,
        model: PreTrainedModel | PeftModel | None = None,
        args: TrainingArguments | None = None,
        data_collator: Callable | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        model_init: Callable | None = None,
        *further: Any,
        peft_config: PeftConfig | None = None,
        **kwargs: Any,
    ):
        config = as_config(args, self.config_class, SFTConfig)
        train_dataset = self.rewrite_rows(train_dataset, config, processing_class)
        if config.n_gpu > 1:
            # transformers would split every batch between them (torch.nn.DataParallel), and the
            # methods' sums over a batch with it. The process takes the first; a model that lies on
            # several (device_map) stays there.
            config._n_gpu = 1
        if model is not None:
            keep_unpacked(model)
        if data_collator is None and processing_class is None:
            raise UserError(
                "without a data_collator the trainer needs processing_class, the tokenizer."
            )
        if peft_config is not None and model_init is not None:
            model_init = adapted(model_init, peft_config, config.seed)
        elif peft_config is not None:
            model = with_adapter(model, peft_config, config.seed)
        if model is not None:
            config = train_in_float32(model, config)
        self.dropped_rows = 0

        def prepare(rows: Any) -> Any:
            drop = config.too_long == "drop"
            prepared = prepare_rows(
                rows, processing_class, config.max_length, drop, config.train_on
            )
            if drop and not is_stream(rows):
                self.dropped_rows += len(rows) - len(prepared)
            return prepared

        self.prepare_rows = prepare
        super().__init__(
            model,
            config,
            data_collator,
            None if train_dataset is None else self.prepare_rows(train_dataset),
            None if eval_dataset is None else self._prepare_eval(eval_dataset),
            processing_class,
            model_init,
            *further,
            **kwargs,
        )
        if data_collator is None:
            self.data_collator = collator_for(self.model, processing_class)
        if not isinstance(self.data_collator, Collator) or self.data_collator.left:
            padding_leaks(self.model)  # asked here, where no hook of a method's counts the passes

    def rewrite_rows(self, rows: Any, config: Any, tokenizer: Any) -> Any:
        """What is trained on in the place of train_dataset, before it is tokenized; may be None."""
        return rows

    def call_model_init(self, *args: Any, **kwargs: Any) -> Any:
        """As transformers does; the weights of each new model train in float32 too."""
        model = super().call_model_init(*args, **kwargs)
        keep_unpacked(model)
        needed = train_in_float32(model, self.args)
        if needed is not self.args:  # too late for the accelerator, which is made before any model
            raise UserError(
                f"model_init makes a model in 16 bits: set {needed.mixed_precision}=True in args, "
                "and its weights train in float32 while it computes in 16 bits."
            )
        return model

    def num_examples(self, dataloader: DataLoader) -> int:
        """The rows of a pass; of a stream its dataset is one of batches."""
        rows = getattr(dataloader.dataset, "total_length", None)
        return super().num_examples(dataloader) if rows is None else rows

    def create_accelerator_and_postprocess(self) -> None:
        """As transformers does; FSDP2 works on processors too."""
        super().create_accelerator_and_postprocess()
        parallel.allow_fsdp_on_cpu(self)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train; each of several processes has dropout masks of its own."""
        if self._takes_the_models_loss():
            with self.compute_loss_context_manager():
                check_loss(self.model, self.model_accepts_loss_kwargs)
        if self.args.process_index > 0:
            torch.manual_seed(self.args.seed + 1_000_003 * self.args.process_index)
        return super().train(*args, **kwargs)

    def get_train_dataloader(self) -> DataLoader:
        """As transformers does; several processes share each batch out so that no row comes twice
        or is left out, whatever their number is."""
        rows, args = self.train_dataset, self.args
        processes = self.accelerator.num_processes
        if rows is not None and is_stream(rows):
            endless = length(rows) is None
            size = processes * self._train_batch_size
            drop_last = args.dataloader_drop_last
            batches = StreamedBatches(rows, size, drop_last, endless)
            return parallel.stream_loader(self, batches, length(rows))
        ordered = args.train_sampling_strategy in ("random", "sequential")
        if processes == 1 or not ordered or not has_length(rows):
            return super().get_train_dataloader()
        sampler: Any = self._get_train_sampler(rows)
        size = processes * self._train_batch_size
        return parallel.loader(self, rows, BatchSampler(sampler, size, args.dataloader_drop_last))

    def _prepare_eval(self, dataset: Any) -> Any:
        if isinstance(dataset, dict):
            return {name: self.prepare_rows(rows) for name, rows in dataset.items()}
        return self.prepare_rows(dataset)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        """Shuffle by ``data_seed`` (or ``seed``) and epoch alone, so that a method's own random
        numbers never change the order of the rows."""
        rows = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "random" or not has_length(rows):
            return super()._get_train_sampler(train_dataset)
        return EpochSampler(len(rows), self.data_seed, rows)

    @property
    def data_seed(self) -> int:
        """The seed of the rows' order."""
        return self.args.seed if self.args.data_seed is None else self.args.data_seed

    def trainable_weights(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """The weights that train, by name."""
        return ((name, w) for name, w in self.model.named_parameters() if w.requires_grad)

    def loss_scale(self) -> float:
        """What mixed precision in fp16 scales the loss by, and so the gradients; 1 without it."""
        scaler = self.accelerator.scaler
        return 1.0 if scaler is None else scaler.get_scale()

    def floating_point_ops(self, inputs: dict[str, Any]) -> float:
        """As transformers estimates it, but the parameters are counted once, not every step."""
        if "input_ids" not in inputs:
            return super().floating_point_ops(inputs)
        tokens = inputs["input_ids"].numel()
        if self._operations_a_token is None:
            self._operations_a_token = super().floating_point_ops(inputs) / tokens
        return self._operations_a_token * tokens

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """One micro-batch; stops the run where the loss is not a finite number."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            raise DivergedError(
                f"the loss became {loss.item()} at step {self.state.global_step + 1} of "
                f"{self.state.max_steps} (learning rate {self._get_learning_rate():g}): lower the "
                "learning rate or the method's strength, or look for rows without an answer."
            )
        return loss

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The micro-batches of the coming optimizer step; see `holdfast.models.router_loss`."""
        batches, num_items = super().get_batch_samples(*args, **kwargs)
        self._routing = None
        split = len(batches) > 1 or self.accelerator.num_processes > 1
        if split and self._takes_the_models_loss() and adds_router_loss(self.model):
            self._routing = self._count_routing(batches)
        return batches, num_items

    def _takes_the_models_loss(self) -> bool:
        return self.label_smoother is None and self.compute_loss_func is None

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """As transformers does; without the logits of positions that nothing is learned at, and
        with the router's loss of the whole step where a model has one.

        The router's loss belongs to training: evaluation and T-Vaccine's probes leave it out.

        Raises:
            UserError: the batch is padded on the left and the model would read the padding.
        """
        mask = inputs.get("attention_mask")
        refuse_left_padding(self.model, mask)
        own = self._takes_the_models_loss()
        routed = own and adds_router_loss(self.model)
        if routed and (not model.training or num_items_in_batch is None):
            routed, inputs = False, {**inputs, "output_router_logits": False}
        fewer_logits = own and not return_outputs
        with labelled_positions(self.model, inputs) if fewer_logits else nullcontext():
            loss, outputs = super().compute_loss(
                model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch
            )
        if routed:
            loss = self._with_steps_routing(loss, outputs, mask)
        return (loss, outputs) if return_outputs else loss

    def _with_steps_routing(self, loss: Any, outputs: Any, mask: torch.Tensor | None) -> Any:
        """The loss with this pass's part of the step's router loss in the place of its own."""
        if self._routing is None:  # the step's first pass, of all its rows
            with torch.no_grad():
                self._routing = routing(self.model, outputs, mask)
            return loss
        part = router_loss(outputs, mask, self._routing)
        weight = coefficient(self.model) * self.accelerator.num_processes
        return loss + weight * (part - outputs.aux_loss.to(part.device)).to(loss.device)

    def _count_routing(self, batches: Sequence[dict[str, Any]]) -> Routing:
        """How the experts are taken in all micro-batches and processes: a pass without gradients,
        with the dropout masks that the training passes will meet."""
        self.model.train()
        counted = []
        state = RandomState(self.args.device)
        with torch.no_grad(), self.compute_loss_context_manager():
            for batch in batches:
                inputs = {k: v for k, v in self._prepare_inputs(batch).items() if k != "labels"}
                outputs = self.model(**inputs)
                counted.append(routing(self.model, outputs, inputs.get("attention_mask")))
        state.restore()
        total = sum(counted[1:], counted[0])
        reduce: Any = self.accelerator.reduce
        return Routing(reduce(total.counts, "sum"), reduce(total.tokens, "sum"))

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        # The trainer's state, which says that a checkpoint is complete, is written after this.
        self.accelerator.wait_for_everyone()
