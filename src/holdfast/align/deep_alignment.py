"""Deep alignment by data: refusals that begin after the first tokens of a harmful answer.

    min_w E [ -log p_w(r | x, h_≤k) ],   k = 0 with probability 1 - q, else k ~ U{1, …, min(C, |h|)}

x is a harmful prompt, h its harmful answer, r its refusal; h_≤k are h's first k tokens, which the
model reads and nothing trains: the loss is on r alone. Beside these triples go the other rows of
the alignment, whose answers are to stay as they are. The loss is the mean over the answers' tokens
of a step, triples and other rows together.

The paper's triples are of one prompt, so h is looked for by it: an alignment row whose
prompt a row of ``paired_dataset`` answers becomes a triple with it (of several one is drawn each
time), and every other row is trained on as it is. No row is added: a run has as many steps as plain
alignment. Of each triple a new k is drawn in every epoch, as by the authors' code, or one for the
whole run (``draw="row"``); it follows from the seed of the rows' order, the epoch and the row's
number alone. k never exceeds |h| without its end token, nor what ``max_length`` has room for beside
the whole refusal. With q = 0 it is plain fine-tuning, bit for bit.

Paper and code: the paper weighs the two kinds of rows by α = 0.2 and 1 - α; the authors' code takes
the mean over the tokens of 4 triples and 16 other rows, which is what is done here, and how many of
the rows are triples is the data's to say. There q = 0.5 and C = 100; 256 triples, 10 epochs, lr
2e-5, AdamW without warm-up, on a chat model that refuses already.

Source: X. Qi et al.: Safety Alignment Should Be Made More Than Just a Few Tokens Deep, arXiv
2406.05946, section 3; github.com/Unispac/shallow-vs-deep-alignment (trainer/trainer.py).
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch.utils.data import Dataset

from holdfast.data.pairs import prompt_of
from holdfast.data.rows import IGNORED
from holdfast.errors import UserError
from holdfast.trainer.streams import is_stream
from holdfast.training import SFTConfig, SFTTrainer


@dataclass
class DeepAlignmentConfig(SFTConfig):
    """Settings of deep alignment.

    Args:
        augmented: q, how often a refusal follows the beginning of a harmful answer.
        deepest: C, the longest such beginning, in tokens.
        draw: when its length is drawn: anew in every epoch, or once for each row.
    """

    augmented: float = field(default=0.5, metadata={"range": "[0, 1]"})
    deepest: int = field(default=100, metadata={"range": "[1, inf)"})
    draw: Literal["epoch", "row"] = "epoch"


class Triples(Dataset):
    """Tokenized rows, some with the beginning of a harmful answer before their own.

    ``harmful`` has the harmful answers, as tokens, to the prompts of some rows, by their numbers.
    """

    def __init__(
        self,
        rows: Sequence[Any],
        harmful: Mapping[int, Sequence[Sequence[int]]],
        config: DeepAlignmentConfig,
        seed: int,
    ):
        self.rows, self.harmful, self.config, self.seed = rows, harmful, config, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose beginnings come next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Any:
        row = self.rows[number]
        if number not in self.harmful:
            return row
        epoch = self.epoch if self.config.draw == "epoch" else 0
        draws = random.Random(f"deep {self.seed} {epoch} {number}")
        if draws.random() >= self.config.augmented:
            return row
        h = draws.choice(self.harmful[number])
        room = self.config.max_length - len(row["input_ids"])
        longest = min(self.config.deepest, len(h), room)
        return with_beginning(row, h[: draws.randint(1, longest)]) if longest > 0 else row


def with_beginning(row: Any, tokens: Sequence[int]) -> dict[str, list[int]]:
    """A tokenized row that reads ``tokens`` between its prompt and its answer."""
    start, added = len(prompt_of(row)), list(tokens)
    ids, labels = list(row["input_ids"]), list(row["labels"])
    return {
        "input_ids": [*ids[:start], *added, *ids[start:]],
        "attention_mask": [1] * (len(ids) + len(added)),
        "labels": [*labels[:start], *[IGNORED] * len(added), *labels[start:]],
    }


class DeepAlignmentTrainer(SFTTrainer):
    """Deep alignment. Takes what `SFTTrainer` takes, with a `DeepAlignmentConfig`.

    Args:
        paired_dataset: harmful answers to prompts of the train_dataset, in the shapes that it may
            have.

    Raises:
        UserError: as `SFTTrainer`; one of the two sets is a stream; none of the rows meet.
    """

    config_class = DeepAlignmentConfig
    args: DeepAlignmentConfig

    def __init__(self, *args: Any, paired_dataset: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        for name, rows in (("train", self.train_dataset), ("paired", paired_dataset)):
            if rows is not None and is_stream(rows):
                raise UserError(
                    f"the {name}_dataset is a stream, whose rows cannot be paired by their "
                    "prompts: give a data set whose rows can be asked for by their number."
                )
        if self.train_dataset is None or self.args.augmented == 0:
            return
        answers: dict[tuple[int, ...], list[list[int]]] = {}
        end = getattr(self.processing_class, "eos_token_id", None)
        for row in self.prepare_rows(paired_dataset):
            answer = [int(token) for token in row["labels"] if token != IGNORED]
            answer = answer[:-1] if answer[-1:] == [end] else answer
            answers.setdefault(prompt_of(row), []).append(answer)
        prompts = [prompt_of(row) for row in self.train_dataset]
        found = {n: answers[prompt] for n, prompt in enumerate(prompts) if prompt in answers}
        if not found:
            raise UserError(
                f"none of the {len(prompts)} alignment rows has a prompt that one of the "
                f"{len(paired_dataset)} harmful rows answers, so no refusal could follow the "
                "beginning of a harmful answer: name harmful rows of the same prompts."
            )
        self.train_dataset = Triples(self.train_dataset, found, self.args, self.data_seed)
