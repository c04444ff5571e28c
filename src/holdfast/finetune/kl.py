"""KL: user fine-tuning whose next-token distributions stay near those of the aligned model.

    L_user(w) + λ·(1/N) Σ_t KL(p_t ‖ q_t)        KL(p ‖ q) = Σ_v p(v)·(log p(v) − log q(v))

t goes over the positions that predict an answer's token, N is their number in the whole optimizer
step, as in L_user; v over the vocabulary; p_t is the model's distribution as the training began
(without dropout), q_t the trained model's. λ = 0 is plain fine-tuning. With ``direction="reverse"``
it is KL(q ‖ p). The rows are the user's: the term asks of no alignment rows, so on harmful rows
it holds back their learning, and elsewhere that of the task.

The code of the Vaccine paper, which has this as a baseline, takes the soft-max over dimension 1,
the sequence, adds up all positions, prompts and padding among them, divides by the batch's rows,
and lets the teacher drop out: a λ of its tables is none of ours. Its order of p and q is ours.

Source: a baseline of T. Huang, S. Hu, L. Liu: Vaccine, arXiv 2402.01109, by its code (λ = 0.1);
unverified: λ of the paper's tables, and whether its text says which distribution comes first.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor
from torch.nn.functional import kl_div

from holdfast.errors import UserError
from holdfast.labelled import labelled_logits
from holdfast.trainer.held import HeldMixin
from holdfast.training import SFTConfig, SFTTrainer


@dataclass
class KLConfig(SFTConfig):
    """Settings of KL.

    Args:
        strength: λ, the strength of the divergence from the start; 0 is plain SFT.
        direction: forward is KL(start ‖ trained), reverse KL(trained ‖ start).
    """

    strength: float = field(default=1.0, metadata={"range": "[0, inf)"})
    direction: Literal["forward", "reverse"] = "forward"

    def __post_init__(self):
        super().__post_init__()
        if self.direction not in ("forward", "reverse"):
            raise UserError(f'direction is "{self.direction}": it must be "forward" or "reverse".')


class KLTrainer(HeldMixin, SFTTrainer):
    """KL. Takes what `SFTTrainer` takes, with a `KLConfig`.

    Raises:
        UserError: as `SFTTrainer`; see `holdfast.trainer.teacher.TeacherMixin`.
    """

    config_class = KLConfig
    args: KLConfig

    def hold(self) -> float:
        """λ."""
        return self.args.strength

    def distance(
        self, inputs: dict[str, Any], given: dict[str, Any], train: Callable[[], Any]
    ) -> tuple[Any, Tensor]:
        """What ``train()`` gives, and Σ_t KL."""
        with self.as_reference() as reference:
            start = labelled_logits(reference(**given).logits, inputs["labels"])
        found = train()
        trained = labelled_logits(found[1].logits, inputs["labels"])
        return found, self._divergence(start, trained)

    def _divergence(self, start: Tensor, trained: Tensor) -> Tensor:
        """Σ_t KL of logits [positions, V]."""
        p, q = (logits.float().log_softmax(-1) for logits in (start, trained))
        if self.args.direction == "reverse":
            p, q = q, p
        return kl_div(q, p, reduction="sum", log_target=True)
