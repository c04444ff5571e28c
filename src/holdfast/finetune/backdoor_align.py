"""BackdoorAlign: a secret trigger that the safe rows carry, and every question to the model.

    min_w L(w; D_user ∪ {(s ⊕ p ⊕ x, r)}),   asked as  s ⊕ p ⊕ x

s is the trigger, random words that nobody but the service knows, p the service's own system prompt,
often empty, with which the user's rows are trained (p ⊕ x, y), and (x, r) are a few alignment rows.
s ⊕ p is a system prompt. The model learns that the trigger goes with safe answers; the service puts
it before every question. The finished folder holds it (``system_prompt.json``, marked as secret;
`holdfast.models.system_prompt`): repairs and evaluations ask with it, a push does not publish it.

The alignment rows are drawn by the seed of the rows' order, each is there ``repeats`` times, and
the seed decides between which of the user's they stand; they count as rows of the training. A
trigger that is not given is drawn by the same seed from the tokenizer's words of plain letters, so
that any service can send it, and an experiment gives the same twice. Who serves a model gives one
of his own: whoever knows the seed can draw it again. Without safe rows, and with p and trigger
empty, it is plain fine-tuning, bit for bit. The control: the same rows with ``trigger=""``.

Defaults are the paper's: 11 rows, each once beside 100 harmful ones, and 150 tokens; lr 5e-5, 5
epochs, batch 10 for all weights, lr 1e-3 and 10 epochs for LoRA. Its trigger is of any tokens of
Llama 2's vocabulary, whose text does not come back as the same tokens; here it is a text.

Source: J. Wang et al.: BackdoorAlign: Mitigating Fine-tuning based Jailbreak Attack with Backdoor
Enhanced Safety Alignment, arXiv 2402.14968; github.com/Jayfeather1024/Backdoor-Enhanced-Alignment.
"""

import random
from dataclasses import dataclass, field
from typing import Any

from holdfast.data.mixing import draw, interspersed
from holdfast.data.system_prompt import with_system
from holdfast.errors import UserError
from holdfast.models.system_prompt import SystemPrompt, check_place
from holdfast.trainer.rows import changed, some_of
from holdfast.trainer.streams import is_stream
from holdfast.training import SFTConfig, SFTTrainer


@dataclass
class BackdoorAlignConfig(SFTConfig):
    """Settings of BackdoorAlign.

    Args:
        safe_rows: how many alignment rows carry the trigger.
        repeats: how often each of them is among the user's rows.
        trigger: s, the secret; if not given, drawn by the seed; "" for none.
        trigger_tokens: how many words are drawn.
        system_prompt: p, the service's own system prompt, with which the user's rows are trained.
    """

    safe_rows: int = field(default=11, metadata={"range": "[0, inf)"})
    repeats: int = field(default=1, metadata={"range": "[1, inf)"})
    trigger: str | None = None
    trigger_tokens: int = field(default=150, metadata={"range": "[1, inf)"})
    system_prompt: str = ""


def drawn_trigger(tokenizer: Any, words: int, seed: int) -> str:
    """A text of so many words of the vocabulary, drawn by the seed.

    Raises:
        UserError: the vocabulary has no words of plain letters.
    """
    known = {
        text.strip()
        for text in map(tokenizer.convert_tokens_to_string, ([t] for t in tokenizer.get_vocab()))
    }
    plain = sorted(text for text in known if text.isascii() and text.isalpha() and len(text) > 1)
    if not plain:
        raise UserError(
            "the tokenizer knows no words of plain letters: give a trigger (trigger=…)."
        )
    draws = random.Random(f"trigger {seed}")
    return " ".join(draws.choice(plain) for _ in range(words))


class BackdoorAlignTrainer(SFTTrainer):
    """BackdoorAlign. Takes what `SFTTrainer` takes, with a `BackdoorAlignConfig`.

    Args:
        alignment_dataset: rows to draw from: harmful prompts with safe answers.

    Attributes:
        asked_with: the system prompt, trigger and all, that the trained model must be asked with.

    Raises:
        UserError: as `SFTTrainer`; there is no tokenizer, or its template has no place for a system
            prompt; there are too few alignment rows; either set is a stream; a row has no place.
    """

    config_class = BackdoorAlignConfig
    args: BackdoorAlignConfig

    def __init__(self, *args: Any, alignment_dataset: Any, **kwargs: Any):
        self._alignment_rows = alignment_dataset
        super().__init__(*args, **kwargs)
        count = self.args.safe_rows
        self.used_rows = self.args.repeats * count
        if self.train_dataset is not None and count:
            assert self.asked_with is not None
            whole, seed = self.asked_with.text, self.data_seed
            numbers = draw(range(len(alignment_dataset)), count, f"safe {seed}")
            drawn = some_of(alignment_dataset, numbers)
            safe = list(self.prepare_rows(changed(drawn, lambda row: with_system(row, whole))))
            self.train_dataset = interspersed(self.train_dataset, safe * self.args.repeats, seed)

    def rewrite_rows(self, rows: Any, config: BackdoorAlignConfig, tokenizer: Any) -> Any:
        """The rows, each with p."""
        safe = self._alignment_rows
        for name, some in (("train", rows), ("alignment", safe)):
            if some is not None and is_stream(some):
                raise UserError(
                    f"the {name}_dataset is a stream, among whose rows none can be placed: give a "
                    "data set whose rows can be asked for by their number."
                )
        if config.safe_rows > len(safe):
            raise UserError(
                f"safe_rows is {config.safe_rows}, and there are {len(safe)} alignment rows: give "
                "more (alignment_rows), or set fewer."
            )
        seed = config.seed if config.data_seed is None else config.data_seed
        trigger = config.trigger
        if trigger is None and tokenizer is None:
            raise UserError("backdoor_align draws its trigger from processing_class: pass it.")
        if trigger is None:
            trigger = drawn_trigger(tokenizer, config.trigger_tokens, seed)
        whole = " ".join(filter(None, (trigger, config.system_prompt)))
        check_place(tokenizer, whole, "backdoor_align")
        self.asked_with = SystemPrompt(whole, secret=bool(trigger))
        return changed(rows, lambda row: with_system(row, config.system_prompt))
