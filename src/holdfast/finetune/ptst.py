"""PTST, "pure tuning, safe testing": train without a safety prompt, and ask with one.

    min_w L(w; {(t ⊕ x, y)}),   asked as  s ⊕ x

t is the system prompt of the training, empty as a rule, and s the safety prompt of the service.
What a user's rows teach is learned for prompts that look like theirs; prompts that open otherwise
keep more of what the alignment taught, if it taught it for such prompts too. The weights are those
of plain fine-tuning with t, bit for bit with t empty: only the asking differs. So the finished
folder says what the model must be asked with (`holdfast.models.system_prompt`), which repairs and
evaluations read, and a service must send it with every question. The control is t = s: the same
prompt in training and asking. With both empty it is plain fine-tuning.

A row's own system prompt stays as it is, in training and at answering.

The paper compares templates of Llama-2-chat and others; s is by default its short form of Meta's
prompt ("llama-short" in the authors' code), and the long one is Meta's own default. Their training
code was not published: that t is empty in "chat:vanilla" is what the published templates say.

Source: K. Lyu et al.: Keeping LLMs Aligned After Fine-tuning: The Crucial Role of Prompt Templates,
arXiv 2402.18540; github.com/vfleaking/PTST (prompt_utils.py).
"""

from dataclasses import dataclass
from typing import Any

from holdfast.data.system_prompt import with_system
from holdfast.models.system_prompt import SystemPrompt, check_place
from holdfast.trainer.rows import changed
from holdfast.training import SFTConfig, SFTTrainer

SAFETY = (
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, "
    "while being safe."
)


@dataclass
class PTSTConfig(SFTConfig):
    """Settings of PTST.

    Args:
        system_prompt: s, the system prompt that the finished model must be asked with; if not
            given, the paper's short safety prompt; "" for none.
        train_prompt: t, the system prompt that it is trained with.
    """

    system_prompt: str | None = None
    train_prompt: str = ""


class PTSTTrainer(SFTTrainer):
    """PTST. Takes what `SFTTrainer` takes, with a `PTSTConfig`.

    Attributes:
        asked_with: what the trained model must be asked with.

    Raises:
        UserError: as `SFTTrainer`; there is no tokenizer, its template has no place for a system
            prompt, or, with a train_prompt, a row has none.
    """

    config_class = PTSTConfig
    args: PTSTConfig

    def rewrite_rows(self, rows: Any, config: PTSTConfig, tokenizer: Any) -> Any:
        """The rows, each with t."""
        asked = SAFETY if config.system_prompt is None else config.system_prompt
        for prompt in (asked, config.train_prompt):
            check_place(tokenizer, prompt, "ptst")
        self.asked_with = SystemPrompt(asked)
        if not config.train_prompt:
            return rows
        return changed(rows, lambda row: with_system(row, config.train_prompt))
