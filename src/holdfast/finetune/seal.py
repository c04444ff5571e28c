"""SEAL: rank the user's rows by a trial training beside safe ones, then train on the best of them.

    choosing, S steps:  w ← w - opt(∇_w [c · L_safe(w) + (1 − c) · (1/B) Σ_i ω_i ℓ_i(w)])
                        p ← p - AdamW(∇_p (1/B) Σ_i ω_i ℓ_i(w)),     ω = N · softmax(p)
    then w = w_0 again, and T steps of plain fine-tuning on the ⌈s·N⌉ rows of the highest p

It is the bilevel problem min_p L_safe(w*(p)), w*(p) = argmin_w Σ_i ω_i ℓ_i(w), its lower level as a
penalty of strength γ = (1 − c)/c, which grows as c falls by a step every pass: from 1, where the
trial learns safe rows alone. Rows that a safe model fits badly lose weight. ℓ_i, ω and B are those
of `holdfast.trainer.row_weights`; L_safe is the mean over the answer tokens of as many alignment
rows, w_0 the trained weights at the start, of which one copy is kept.

The run has ⌈(E_s + s·E)·N / B⌉ steps, E_s passes over all rows and E over the chosen, and S is the
first part's share of them, E_s / (E_s + s·E), or of ``max_steps``. Optimizer and learning rate
begin again with the second part, and a checkpoint may be in either (`two_parts`). E_s = 0 takes
rows at random, the paper's control, and with s = 1 it is plain fine-tuning, bit for bit.

Defaults are the authors' code's: E_s = 3, s = 0.8, c = 1 less 0.03 a pass, rate 5e-3; E = 2, batch
64, lr 1e-5 constant, r 16 on q and v. It is the paper's form that keeps no second model for the
lower level's own optimum. There alignment rows count by rows, here by tokens, s·N is rounded down,
and p starts at 0.1, which softmax does not see.

Source: H. Shen et al.: SEAL, arXiv 2410.07471; github.com/hanshen95/SEAL. unverified: the paper's
text; its settings are those of the authors' scripts.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from holdfast.data.mixing import draw, share_count
from holdfast.finetune.plans import choosing_steps, passes_of_both
from holdfast.finetune.two_parts import TwoPartsMixin
from holdfast.trainer.row_weights import RowWeightsMixin
from holdfast.trainer.rows import some_of
from holdfast.trainer.side_batches import SideBatchesMixin
from holdfast.training import SFTConfig, SFTTrainer


@dataclass
class SEALConfig(SFTConfig):
    """Settings of SEAL.

    Args:
        share: s, how many of the user's rows are trained on; rounded up.
        choosing_epochs: E_s, passes over all of them to choose; 0 chooses at random.
        safe_weight: c of the first pass, how much the safe rows count; the user's count the rest.
        safe_weight_decay: by how much c falls with every pass, down to 0.
        selector_rate: the learning rate of the rows' weights.
    """

    share: float = field(default=0.8, metadata={"range": "(0, 1]"})
    choosing_epochs: float = field(default=3.0, metadata={"range": "[0, inf)"})
    safe_weight: float = field(default=1.0, metadata={"range": "[0, 1]"})
    safe_weight_decay: float = field(default=0.03, metadata={"range": "[0, 1]"})
    selector_rate: float = field(default=5e-3, metadata={"range": "[0, inf)"})


class SEALTrainer(TwoPartsMixin, RowWeightsMixin, SideBatchesMixin, SFTTrainer):
    """SEAL. Takes what `SFTTrainer` takes, with a `SEALConfig`.

    Args:
        alignment_dataset: alignment rows, in the shapes that ``train_dataset`` may have.

    Attributes:
        learned: p, float32 [N].

    Raises:
        UserError: as `SFTTrainer`, `RowWeightsMixin` and `TwoPartsMixin`; weights divided among
            processes.
    """

    config_class = SEALConfig
    args: SEALConfig

    def __init__(self, *args: Any, alignment_dataset: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.alignment_rows = self.side_rows(alignment_dataset, "alignment_dataset")
        if not self.is_one_pass():
            self.train_dataset = some_of(self.train_dataset.rows, self.chosen())

    def is_one_pass(self) -> bool:
        """Whether there is a part that chooses."""
        return self.args.choosing_epochs > 0

    def all_steps(self, group: int) -> int:
        """See `holdfast.finetune.plans.SEALPlan`."""
        return math.ceil(passes_of_both(vars(self.args)) * len(self.learned) / group)

    def first_steps(self, steps: int) -> int:
        """S."""
        return choosing_steps(vars(self.args), steps)

    def chosen(self) -> list[int]:
        """The numbers of the rows that are trained on, in their order."""
        rows, share = range(len(self.learned)), self.args.share
        count = share_count(len(rows), share)
        if not self.is_one_pass():
            return sorted(draw(rows, count, f"seal {self.data_seed}"))
        return sorted(self.learned.argsort(descending=True, stable=True)[:count].tolist())

    def safe_weight(self) -> float:
        """c of the coming step: of the pass over the rows that it begins in."""
        size = self._train_batch_size * self.accelerator.num_processes
        group = size * self.args.gradient_accumulation_steps
        number = self.state.global_step * group // len(self.learned)
        return max(0.0, self.args.safe_weight - self.args.safe_weight_decay * number)

    def user_share(self) -> float:
        """1 − c."""
        return 1 - self.safe_weight()

    def change_gradient(self) -> None:
        """While choosing: add c·∇L_safe(w), and move the scores."""
        if not self.is_one_pass() or self.in_second_part():
            return
        batches = self.side_batches(self.alignment_rows, self.state.global_step)
        self.add_to_gradient(self.gradient(batches)[0], self.safe_weight())
        self.move_scores()
