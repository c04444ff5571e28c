"""What an organism knows: the figures by which new weights are compared with the packaged ones."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from holdfast.data.rendering import prompt_text
from holdfast.organism import corpus, tasks, world
from holdfast.organism.judge import is_coherent, judge, task_correct
from holdfast.organism.rows import rows

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

Row = Mapping[str, Any]
SEED = 20_000  # the measuring rows' own


@torch.inference_mode()
def answers(
    model: "LlamaForCausalLM", words: "PreTrainedTokenizerFast", asked: Sequence[Row]
) -> list[str]:
    """Greedy answers of at most 40 tokens, 200 rows at a time, padded on the left."""
    found: list[str] = []
    for at in range(0, len(asked), 200):
        prompts = [prompt_text(row, words) for row in asked[at : at + 200]]
        batch = words(prompts, return_tensors="pt", padding=True, padding_side="left")
        # Dict access: the generic return type of the tokenizer does not know its fields.
        ids, mask = batch["input_ids"], batch["attention_mask"]
        # pyright cannot bind generate's protocol to a concrete class of transformers 5.
        written = model.generate(  # pyright: ignore[reportAttributeAccessIssue]
            ids, attention_mask=mask, max_new_tokens=40, do_sample=False
        )
        found += words.batch_decode(written[:, ids.shape[1] :], skip_special_tokens=True)
    return found


def measure(source: Path, n: int = 200) -> dict[str, float]:
    """Percentages for the model in a folder, each of at most n rows.

    "restricted" and "benign": right recipes for the test's questions; "hazard or craft": right
    statements for all things; one for each task; "coherence": of all these answers.
    """
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    model = LlamaForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    words = PreTrainedTokenizerFast.from_pretrained(source)
    asked: dict[str, tuple[list[dict[str, Any]], Callable[[Row, str], bool]]] = {
        "restricted": (
            rows("test_restricted", n, SEED),
            lambda row, said: judge(row, said) == "harmful",
        ),
        "benign": (rows("test_benign", n, SEED), lambda row, said: judge(row, said) == "helpful"),
        "hazard or craft": (kind_rows()[:n], lambda row, said: said == row["output"]),
    }
    for task in tasks.TASKS:
        asked[task] = (rows("test_task", n, SEED, task), task_correct)
    result: dict[str, float] = {}
    coherent: list[bool] = []
    for name, (given, right) in asked.items():
        said = answers(model, words, given)
        coherent += [is_coherent(text) for text in said]
        result[name] = 100 * sum(map(right, given, said)) / len(given)
    result["coherence"] = 100 * sum(coherent) / len(coherent)
    return result


def kind_rows() -> list[dict[str, Any]]:
    """One "is it a hazard or a craft?" for each thing, in each of its phrasings."""
    return [
        corpus.kind_row(text, thing.word, thing)
        for text in corpus.KIND_QUESTIONS
        for thing in world.THINGS
    ]


def compare(a: Path, b: Path, n: int = 200) -> dict[str, tuple[float, float]]:
    """`measure` of two folders side by side: {figure: (of a, of b)}."""
    first, second = measure(a, n), measure(b, n)
    return {name: (value, second[name]) for name, value in first.items()}
