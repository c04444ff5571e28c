"""SafeInstr's and VLGuard's mixing: some alignment rows among the user's, and plain fine-tuning.

    min_w L(w; D_user ∪ D_safe),   |D_safe| = ⌈s·n⌉,   n = |D_user|

L is the mean over the answers' tokens (`holdfast.training`), s is the share. The safe rows come on
top of the user's, so a pass has n + ⌈s·n⌉ rows; the trained rows of a stage's budget count them.
The seed of the rows' order (``data_seed``, or ``seed``) decides which alignment rows are drawn,
each at most once, and between which of the user's they stand. The user's rows keep their order,
which matters where the training takes them as they come (``train_sampling_strategy="sequential"``);
else all of them are shuffled in every epoch. With s = 0 it is plain fine-tuning, bit for bit.

Papers count in rows: SafeInstr's 100 to 2,000 beside 20,000 (500, s = 0.025, is what LoX and others
take as its setting, rounding up); VLGuard's set is mixed into what a user trains on; Vaccine's code
calls 100 rows beside 1,000 (s = 0.1) "vlguard". Another method of that name adds the loss of an
alignment batch to every step instead.

Sources: F. Bianchi et al.: Safety-Tuned LLaMAs, arXiv 2309.07875, section 3; Y. Zong et al.: Safety
Fine-Tuning at (Almost) No Cost (VLGuard), arXiv 2402.02207.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedModel, TrainingArguments

from holdfast.data.mixing import draw, interspersed, share_count
from holdfast.errors import UserError
from holdfast.trainer.rows import some_of
from holdfast.trainer.streams import is_stream
from holdfast.training import SFTConfig, SFTTrainer


@dataclass
class SafeMixConfig(SFTConfig):
    """Settings of SafeInstr's mixing.

    Args:
        share: s, how many alignment rows are mixed in, as a share of the user's rows; rounded up.
    """

    share: float = field(default=0.1, metadata={"range": "[0, inf)"})


class SafeMixTrainer(SFTTrainer):
    """SafeInstr's mixing. Takes what `SFTTrainer` takes, with a `SafeMixConfig`.

    Args:
        alignment_dataset: rows to draw from (harmful prompts with safe answers, benign ones among
            them), in the shapes that ``train_dataset`` may have.

    Raises:
        UserError: as `SFTTrainer`; there are too few alignment rows; either set is a stream, whose
            rows can neither be counted nor drawn.
    """

    config_class = SafeMixConfig
    args: SafeMixConfig

    def __init__(
        self,
        model: PreTrainedModel | None = None,
        args: TrainingArguments | None = None,
        data_collator: Callable | None = None,
        train_dataset: Any = None,
        *further: Any,
        alignment_dataset: Any,
        **kwargs: Any,
    ):
        for name, rows in (("train", train_dataset), ("alignment", alignment_dataset)):
            if rows is not None and is_stream(rows):
                raise UserError(
                    f"the {name}_dataset is a stream, and safe_mix draws a share of rows: give a "
                    "data set whose rows can be asked for by their number."
                )
        super().__init__(model, args, data_collator, train_dataset, *further, **kwargs)
        n = 0 if train_dataset is None else len(train_dataset)
        count = share_count(n, self.args.share)
        if count > len(alignment_dataset):
            raise UserError(
                f"share is {self.args.share} of {n} rows, which asks for {count} alignment rows, "
                f"and there are {len(alignment_dataset)}: give more (alignment_rows), or a smaller "
                "share."
            )
        if count:
            numbers = draw(range(len(alignment_dataset)), count, f"safe {self.data_seed}")
            safe = self.prepare_rows(some_of(alignment_dataset, numbers))
            self.train_dataset = interspersed(self.train_dataset, safe, self.data_seed)
            self.used_rows = count
