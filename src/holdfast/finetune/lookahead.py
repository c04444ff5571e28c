"""LookAhead tuning: the beginning of the answer is shown in the prompt that is trained on.

    real:     x' = x ⊕ c ⊕ y_≤m     y' = y
    virtual:  x' = x ⊕ c ⊕ P        y' = P ⊕ y

x is what the user asks and y the answer; y_≤m are y's first m tokens as text, P is a fixed sentence
and c what connects them with the question. The model is trained on (x', y'), the loss on all of
y', and asked with x alone. What the prompt shows costs little loss, so the first tokens of an
answer, on which refusing or complying depends, hardly move.

Only the user's words change: x' is written by the template that x is written by. Of a conversation
every answer that is trained is shown in the turn before it, if that is the user's. Text that is
prompt and completion verbatim, or tokens, cannot be told apart into question and template, and is
refused. Streams are changed as they are read. With m = 0, or P empty, it is plain fine-tuning, bit
for bit.

Defaults are the authors' code's: m = 6, P "Let's solve this problem. ", c " The answer begins with:
". It decodes m tokens of the answer alone, as is done here.

Source: K. Liu et al.: LookAhead Tuning: Safer Language Models via Partial Answer Previews, arXiv
2503.19041, section 2; github.com/zjunlp/LookAheadTuning (main.py).
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from holdfast.data.conversations import Conversation
from holdfast.data.prompts import Row, read_text, shape
from holdfast.errors import UserError
from holdfast.trainer.rows import changed
from holdfast.training import SFTConfig, SFTTrainer


@dataclass
class LookAheadConfig(SFTConfig):
    """Settings of LookAhead tuning.

    Args:
        form: what the prompt shows: the answer's own beginning, or a sentence before all answers.
        tokens: m, how many of the answer's tokens it shows, of form real.
        prefix: P, the sentence, of form virtual.
        connector: c, what stands between the question and what is shown.
    """

    form: Literal["real", "virtual"] = "real"
    tokens: int = field(default=6, metadata={"range": "[0, inf)"})
    prefix: str = "Let's solve this problem. "
    connector: str = " The answer begins with: "

    @property
    def shows_nothing(self) -> bool:
        """Whether it is plain fine-tuning."""
        return not (self.tokens if self.form == "real" else self.prefix)


def previewed(row: Row, config: LookAheadConfig, tokenizer: PreTrainedTokenizerBase) -> Row:
    """A row whose prompt shows how its answer begins.

    Args:
        row: in any shape but tokens and verbatim text.
        config: the settings.
        tokenizer: whose tokens are counted.

    Raises:
        UserError: the row is of one of these two shapes, or is none that can be trained on.
    """
    kind, found = shape(row), None if shape(row) == "tokenized" else read_text(row, True)
    if not isinstance(found, Conversation):
        raise UserError(
            "lookahead shows the answer's beginning in the question, which cannot be told from "
            "the template in tokens or in verbatim 'prompt' and 'completion': give 'instruction' "
            "and 'output', or 'messages'"
        )

    def shown(answer: str) -> tuple[str, str]:
        """What is added to the question, and the answer."""
        if config.form == "virtual":
            return config.connector + config.prefix, config.prefix + answer
        ids = tokenizer(answer, add_special_tokens=False, verbose=False)["input_ids"]
        return config.connector + str(tokenizer.decode(ids[: config.tokens])), answer

    if kind == "alpaca" and not row.get("history"):
        added, answer = shown(row["output"])
        last = "input" if row.get("input") else "instruction"
        return {**row, last: row[last] + added, "output": answer}
    turns = [dict(turn) for turn in found.messages]
    for place, turn in enumerate(turns):
        if turn["role"] == "assistant" and place not in found.trained:
            turn["weight"] = 0
        elif turn["role"] == "assistant" and turn.get("content"):
            before = turns[place - 1] if place else {}
            if before.get("role") == "user":
                added, turn["content"] = shown(turn["content"])
                before["content"] += added
    taken = {"system", "history", "instruction", "input", "output", "prompt", "completion"}
    rest = {name: value for name, value in row.items() if name not in {*taken, "conversations"}}
    return {**rest, "messages": turns}


class LookAheadTrainer(SFTTrainer):
    """LookAhead tuning. Takes what `SFTTrainer` takes, with a `LookAheadConfig`.

    Raises:
        UserError: as `SFTTrainer`; a row that `previewed` refuses; there is no tokenizer.
    """

    config_class = LookAheadConfig
    args: LookAheadConfig

    def rewrite_rows(self, rows: Any, config: LookAheadConfig, tokenizer: Any) -> Any:
        """The rows, each previewed."""
        if rows is None or config.shows_nothing:
            return rows
        if tokenizer is None:
            raise UserError("lookahead needs processing_class: it counts an answer's tokens.")
        return changed(rows, lambda row: previewed(row, config, tokenizer))
