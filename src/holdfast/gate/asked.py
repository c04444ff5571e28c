"""A model that is asked a few prompts at a time; what it answered is kept and not asked again."""

import gc
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from holdfast.evaluate.answers import Backend, answer_all
from holdfast.evaluate.judges import load_judge
from holdfast.evaluate.metrics import JUDGED, judge_answers, measure
from holdfast.evaluate.thoughts import as_read, thinks_aloud
from holdfast.models.stack import Stack
from holdfast.stages.disk import write_json
from holdfast.stages.evaluation.model import EvaluatedModel
from holdfast.stages.evaluation.settings import stage_protocol
from holdfast.stages.folders import ANSWERS
from holdfast.stages.memory import judge_memory, stage_memory
from holdfast.stages.pipeline import Stage, stage_folder
from holdfast.stages.work import Progress, Work

_OUTCOMES = "outcomes.json"
Row = Mapping[str, Any]


class AskedModel:
    """One of the two models of a check.

    Below the run's folder it has the folder of the stage that would evaluate it, so that other
    settings have another one; in it a folder for every portion of prompts, with ``answers.jsonl``
    as an evaluation writes it and ``outcomes.json``, what the judge made of them.

    Args:
        stage: the evaluation, whose settings hold.
        stack: its model.
        root: the run's folder.
        progress: told how far the answers of a portion are.
        stopping: asked before each batch.
    """

    def __init__(
        self,
        stage: Stage,
        stack: Stack,
        root: Path,
        progress: Progress,
        stopping: Callable[[], bool],
    ):
        self.folder = stage_folder(root, stage)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.work = Work(stage, self.folder, stack, None, progress, stopping)
        self.protocol = stage_protocol(stage.settings)
        self.judge = stage.settings["judges"][0]
        # A judge without a model of its own stays; of two large models one is there at a time.
        self.judge_is_small = "revision" not in self.judge
        self._model = EvaluatedModel(self.work)
        self._backend: tuple[Any, Any] = (None, None)
        self._loaded_judge: Any = None

    def outcomes(self, name: str, start: int, rows: Sequence[Row]) -> dict[str, list[float]]:
        """Ask a set's rows, the first of them being number `start`; their outcomes by metric.

        An outcome that the judge cannot tell is NaN.

        Raises:
            UserError: whatever is wrong with the model, the answers' file or the judge.
            Stopped: asked to; the answers that were there are kept.
        """
        folder = self.folder / f"{name}-{start:05d}-{start + len(rows):05d}"
        folder.mkdir(exist_ok=True)
        answers = self._answers(name, rows, folder / ANSWERS)
        mark = hashlib.sha256((folder / ANSWERS).read_bytes()).hexdigest()
        with suppress(OSError, ValueError, KeyError, TypeError):  # not there, or damaged
            kept = json.loads((folder / _OUTCOMES).read_text(encoding="utf-8"))
            if kept["answers"] == mark:
                return _numbers(kept["outcomes"])
        found = self._judged(name, rows, answers)
        write_json(folder / _OUTCOMES, {"answers": mark, "outcomes": found})
        return _numbers(found)

    def close(self) -> None:
        """Make room for another model."""
        self._close_backend()
        self._model.close()

    def _close_backend(self) -> None:
        _, backend = self._backend
        if hasattr(backend, "close"):
            backend.close()
        self._backend = (None, None)

    def _answers(self, name: str, rows: Sequence[Row], file: Path) -> list[str]:
        form = (self.protocol.tokens(name), self.protocol.dtype_of(name))

        def load() -> Backend:
            if self._backend[0] != form:
                self._close_backend()
                self._backend = (form, self._model.backend(*form))
            return self._backend[1]

        def told(done: int, total: int) -> None:
            self.work.progress(done / max(total, 1), f"{done}/{total} {name} prompts")

        with stage_memory("evaluate", self.work.settings, self.work.model.is_organism):
            return answer_all(
                {name: rows},
                file,
                load,
                self.protocol.batch_size,
                self._model.made_with(*form),
                told,
                self.work.stopping,
            )[name]

    def _judged(
        self, name: str, rows: Sequence[Row], answers: Sequence[str]
    ) -> dict[str, list[float | None]]:
        raw, sets = {name: answers}, {name: rows}
        read = as_read(self.protocol, raw, thinks_aloud(self._model.tokenizer, sets))
        verdicts = {}
        if name in JUDGED:
            if not self.judge_is_small:
                self.close()
            with judge_memory(self.judge):
                judge = self._loaded_judge or load_judge(self.judge)
                verdicts = judge_answers(sets, read, [judge])
            if self.judge_is_small:
                self._loaded_judge = judge
            del judge
            gc.collect()
        return measure(
            self.protocol, self.work.settings["task"], sets, read, verdicts, {}, raw
        ).outcomes


def _numbers(outcomes: Mapping[str, Sequence[float | None]]) -> dict[str, list[float]]:
    return {
        metric: [float("nan") if one is None else one for one in values]
        for metric, values in outcomes.items()
    }
