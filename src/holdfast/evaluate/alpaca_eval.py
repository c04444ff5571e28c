"""Answers in the format that AlpacaEval compares: its annotator, a language model, judges them.

AlpacaEval (github.com/tatsu-lab/alpaca_eval) reads a JSON file of the outputs of one model by
`alpaca_eval --model_outputs FILE`: a list of entries with ``instruction``, ``output``,
``generator`` (the model's name in its leaderboard) and ``dataset``. `studies.folders.write_json`
writes what is made here as such a file.
"""

from collections.abc import Sequence

from holdfast.data.prompts import Row, parts, plain
from holdfast.errors import UserError


def alpaca_eval_outputs(
    rows: Sequence[Row], answers: Sequence[str], generator: str
) -> list[dict[str, str]]:
    """One entry for each answer: ``instruction``, ``output``, ``generator``, ``dataset``.

    AlpacaEval finds the reference's answer by the instruction, so it must be the evaluation set's
    own. A row's ``input`` follows its instruction after a blank line, for AlpacaEval's templates
    know instructions only. A row's ``dataset`` is kept (AlpacaEval's own rows have one); elsewhere
    it is "holdfast".

    Raises:
        UserError: the rows and the answers are not equally many; a row without an instruction.
    """
    if len(rows) != len(answers):
        raise UserError(f"there are {len(rows)} rows and {len(answers)} answers to them")
    return [
        {
            "instruction": plain(parts(row, need_answer=False).prompt),
            "output": answer,
            "generator": generator,
            "dataset": str(row.get("dataset") or "holdfast"),
        }
        for row, answer in zip(rows, answers, strict=True)
    ]
