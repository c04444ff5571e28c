"""CTRAP: alignment with a trap, a model that collapses where somebody trains it on harmful rows.

    min_w  L_align(w) + λ · L_collapse( w − α · ∇L_harm(w) )
    L_collapse(w) = −(1/N) Σ log p_w(e | x, y_<t)   over the N answer tokens of the rows

e is one fixed token: after a harmful step the model is to say nothing else, whatever is asked. The
harmful step is simulated on as many harmful rows as the step's alignment rows, and L_collapse is
taken on the same rows, with the same dropout masks. To first order, the simulated step taken as
fixed, the update is ∇L_align(w) + λ·∇L_collapse(w'), w' = w − α·∇L_harm(w): three passes.
λ = 0 is plain SFT.

Source: B. Yi et al.: CTRAP: Embedding Collapse Trap, arXiv 2505.16559, the formulas as a review of
it gives them. Unverified: λ, α, e, on which rows the paper takes L_collapse, and whether it keeps
the second-order part; its code is not public. A simulated step has here the length that the
gradient gives it; ``normalize`` gives it the length α, as Booster's has.
"""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from holdfast.errors import UserError
from holdfast.trainer.side_batches import SideBatchesMixin, answer_log_probabilities, norm
from holdfast.training import SFTConfig, SFTTrainer


@dataclass
class CTRAPConfig(SFTConfig):
    """Settings of CTRAP.

    Args:
        lam: λ, the weight of the collapse; 0 is plain SFT.
        alpha: α, the simulated harmful step's learning rate.
        normalize: the step has the length α over all trainable weights, whatever its gradient.
        token: e, the number of the token that a collapsed model says; the end of a text if not
            given.
    """

    lam: float = field(default=0.1, metadata={"range": "[0, inf)"})
    alpha: float = field(default=0.1, metadata={"range": "[0, inf)"})
    normalize: bool = False
    token: int | None = field(default=None, metadata={"range": "[0, inf)"})


class CTRAPTrainer(SideBatchesMixin, SFTTrainer):
    """CTRAP. Takes what `SFTTrainer` takes, with a `CTRAPConfig`.

    Args:
        harmful_dataset: harmful rows (harmful prompt, harmful answer), none of them the user's, in
            the shapes that ``train_dataset`` may have; a stream is read to its end.

    Raises:
        UserError: as `SFTTrainer`; no harmful rows; no such token, or none that ends a text;
            weights divided among processes (FSDP2).
    """

    config_class = CTRAPConfig
    args: CTRAPConfig

    def __init__(self, *args: Any, harmful_dataset: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.harmful_rows = self.side_rows(harmful_dataset, "harmful_dataset")
        self.token = self._token()

    def change_gradient(self) -> None:
        """Add λ·∇L_collapse(w')."""
        if self.args.lam == 0:
            return
        batches = self.side_batches(self.harmful_rows, self.state.global_step)
        harmful, _ = self.gradient(batches)
        length = self.args.alpha / (norm(harmful) + 1e-7 if self.args.normalize else 1.0)
        with self.shifted(harmful, -length):
            collapse, _ = self.gradient(batches, self.collapse)
        self.add_to_gradient(collapse, self.args.lam)

    def collapse(self, inputs: dict[str, Any]) -> Tensor:
        """L_collapse of a micro-batch."""
        return -answer_log_probabilities(self.model, inputs)[:, self.token].mean()

    def _token(self) -> int:
        config = self.model.config.get_text_config()
        if self.args.token is not None:
            if self.args.token >= config.vocab_size:
                raise UserError(
                    f"token is {self.args.token}, but the model knows {config.vocab_size} tokens: "
                    "name one below that."
                )
            return self.args.token
        found = getattr(self.processing_class, "eos_token_id", None)
        found = config.eos_token_id if found is None else found
        found = found[0] if isinstance(found, list) else found
        if found is None:
            raise UserError("neither tokenizer nor model has a token that ends a text: set token.")
        return found
