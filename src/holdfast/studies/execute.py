"""Run one stage: load what it starts from, train, repair or measure, and write its folder."""

import contextlib
import json
import math
import platform
import resource
import shutil
import signal
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, PeftModel
from safetensors import SafetensorError, safe_open
from transformers import TrainerCallback

from holdfast.data.rows import fingerprint
from holdfast.errors import DivergedError, Stopped, UserError
from holdfast.models.loading import (
    Loading,
    check_stackable,
    check_vocabulary,
    load_last_open,
    load_merged,
    load_tokenizer,
    save_stack,
)
from holdfast.models.stack import Stack
from holdfast.parallel import whole_state
from holdfast.settings import fields_of
from holdfast.studies.folders import (
    ANSWERS,
    CHECKPOINTS,
    ELAPSED,
    METRICS,
    PROGRESS,
    PROVENANCE,
    TASK_ANSWERS,
    begin,
    disk_errors,
    file_sizes,
    finish,
    is_finished,
    stage_lock,
    write_config,
    write_json,
    write_text,
)
from holdfast.studies.launch import train_in_processes
from holdfast.studies.methods import is_own, load_method, method_of
from holdfast.studies.plan import Stage, given_identity
from holdfast.studies.seen import check_against, overlaps_of, write_seen
from holdfast.studies.stage_data import stage_rows
from holdfast.studies.stages import config_settings

# Seconds between two lines for `holdfast status`, and between two checkpoints.
_TOLD_EVERY = 2.0
_SAVED_EVERY = 300.0

# Called with the share done (0…1) and a word on where the stage stands.
Progress = Callable[[float, str], None]


def execute(
    stage: Stage,
    folder: Path,
    model: Stack,
    reference: Stack | None = None,
    progress: Progress = lambda share, note: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Path:
    """Run ``stage`` into ``folder``, or find it there already.

    Args:
        stage: what to run.
        folder: where its result goes, complete or not at all.
        model: the model that it starts from.
        reference: the aligned model of an evaluation.
        progress: told now and then how far the stage is.
        stopping: asked after every training step; True saves a checkpoint and stops.

    Raises:
        UserError: whatever is wrong with what the user asked for, or of the disk.
        BusyError: another process runs the same stage.
        Stopped: ``stopping`` said so; run the same stage again to go on.
    """
    with disk_errors(folder), stage_lock(folder):
        if not is_finished(folder, stage.identity):
            _execute(stage, folder, model, reference, progress, stopping)
    return folder


def _execute(
    stage: Stage,
    folder: Path,
    model: Stack,
    reference: Stack | None,
    progress: Progress,
    stopping: Callable[[], bool],
) -> None:
    _quiet()
    _check_version(stage)
    started, clock = datetime.now(UTC), time.perf_counter()
    _reset_peak_memory()
    run = {"repair": _repair, "evaluate": _evaluate}.get(stage.kind, _train)
    with _one_thread(model.is_organism):
        partial = begin(folder, stage.identity)
        with _nothing_half_written(partial), _timed(partial, clock) as seconds_before:
            work = Work(stage, partial, model, reference, progress, stopping)
            budget = run(work)
        sources = {"model": model.source}
        if reference is not None:
            sources["reference"] = reference.source
        if stage.kind != "evaluate":
            write_seen(partial, work.seen)
        write_config(partial, {**stage.settings, **sources}, **_about(stage, model))
        write_json(
            partial / PROVENANCE,
            {
                "identity": stage.identity,
                "kind": stage.kind,
                "parent": stage.parent.identity if stage.parent else None,
                "base": model.base,
                "base_revision": model.revision,
                "started": started.isoformat(timespec="seconds"),
                "seconds": round(seconds_before + time.perf_counter() - clock, 3),
                "peak_memory_bytes": max(_peak_memory(), work.peak_memory),
                "seed": stage.settings["seed"],
                **({"method_version": stage.version} if stage.version else {}),
                "data": work.data,
                "overlaps": [overlap.record() for overlap in work.overlaps],
                "budget": budget,
                "versions": _versions(),
                "files": file_sizes(partial),
            },
        )
        finish(partial, folder)


def _check_version(stage: Stage) -> None:
    """A run whose method's code was edited meanwhile must not take the new one's result for it."""
    if stage.version:
        now = method_of(stage.kind, stage.settings["method"]).version
        if now != stage.version:
            raise UserError(
                f"the code of {stage.settings['method']} has changed since the run began: run the "
                "same command again."
            )


class Work:
    """One stage under way: what it is, where it writes, whom it tells.

    A stage that trains in several processes is one in each of them as well, which shares the work
    with the others; see `holdfast.studies.launched`.
    """

    alone = True  # not one of several processes
    is_main = True  # the one of them that writes
    peak_memory = 0  # bytes, of the largest of other processes

    def __init__(
        self,
        stage: Stage,
        folder: Path,
        model: Stack,
        reference: Stack | None,
        progress: Progress,
        stopping: Callable[[], bool],
    ):
        self.kind, self.settings = stage.kind, stage.settings
        self.folder, self.model, self.reference = folder, model, reference
        self.model_identity = _identity(stage.parent, stage.settings["model"])
        self.reference_identity = _identity(stage.reference, stage.settings.get("reference"))
        self.stopping, self._progress = stopping, progress
        self._told = time.monotonic()
        self.rows = stage_rows(stage.kind, stage.settings, model.is_organism)
        self.data = {
            role: {"rows": len(rows), "fingerprint": fingerprint(rows)}
            for role, rows in self.rows.items()
        }
        self.seen, shared = check_against(self.kind, self.settings, self.rows, model)
        lineage = [(one.kind, one.settings) for one in stage.lineage()]
        self.overlaps = [*shared, *overlaps_of(lineage, model.is_organism)]

    def progress(self, share: float, note: str) -> None:
        """Tell the progress; a stage that has no checkpoints stops here if it is to stop."""
        self._progress(share, note)
        if time.monotonic() - self._told >= _TOLD_EVERY:
            self._told = time.monotonic()
            write_json(self.folder / PROGRESS, {"share": share, "note": note})
        if self.kind in ("repair", "evaluate") and self.stopping():
            raise Stopped

    def agreed(self, *wishes: bool) -> Sequence[bool]:
        """Which of the wishes any of the processes has: all must go the same way."""
        return wishes


def _identity(made: Stage | None, named: str | None) -> str | None:
    """The identity of a model that a stage starts from or is compared with."""
    if made is not None:
        return made.identity
    return given_identity(named) if named else None


def _train(work: Work) -> dict[str, Any]:
    if work.settings["processes"] > 1 and work.alone:
        return train_in_processes(work)
    settings, adapter = work.settings, work.settings["adapter"]
    tokenizer = load_tokenizer(work.model, settings["template"])
    single = adapter == "single" and work.model.entries
    if adapter == "single" and not single:
        raise UserError(
            "adapter is single, but the model carries no adapter to go on with: use double."
        )
    check_stackable(work.model)
    transformers.set_seed(settings["seed"])
    if single:
        model = load_last_open(work.model, Loading.of(settings), trainable=True)
    else:
        model = load_merged(work.model, Loading.of(settings))
        model.requires_grad_(adapter == "full")  # a merged adapter leaves its base frozen
    check_vocabulary(model, tokenizer)
    trainer = _trainer(
        work, model, tokenizer, None if single or adapter == "full" else _lora(settings)
    )
    if trainer.dropped_rows:
        work.progress(0.0, f"{trainer.dropped_rows} rows are longer than max_length: left out")
    checkpoint = _last_checkpoint(work.folder / CHECKPOINTS)
    if work.is_main:
        _cut_metrics(work.folder / METRICS, checkpoint)
    trainer.train(resume_from_checkpoint=checkpoint)
    if work.stopping() and trainer.state.global_step < trainer.state.max_steps:
        raise Stopped
    # Of weights that are divided among processes all have to give their part.
    state = whole_state(trainer.model) if trainer.is_fsdp_enabled else None
    if work.is_main:
        _save_model(work, trainer.model, tokenizer, single, state)
    return {
        "rows": len(work.rows["train"]),
        "dropped_rows": trainer.dropped_rows,
        "steps": trainer.state.global_step,
        "tokens": trainer.state.num_input_tokens_seen,
        "passes": _passes(settings, trainer.state.global_step),
        "batch_size": trainer.get_total_train_batch_size(trainer.args),
    }


def _passes(settings: Mapping[str, Any], steps: int) -> int | None:
    """Forward and backward passes over a step's rows, in all steps; of a user's own method nobody
    here knows them."""
    if is_own(settings["method"]):
        return None
    if settings["method"] == "vaccine":
        return steps + math.ceil(steps / settings["every"])
    if settings["method"] == "t_vaccine":
        return 2 * steps + math.ceil(steps / settings["probe_every"])
    return steps


def _trainer(work: Work, model: Any, tokenizer: Any, peft_config: LoraConfig | None) -> Any:
    trainer_class, config_class, _ = load_method(work.kind, work.settings["method"])
    own, organism = config_settings(work.kind, work.settings), work.model.is_organism
    try:
        args = config_class(
            **{
                "output_dir": str(work.folder / CHECKPOINTS),
                "logging_steps": 10,
                "save_total_limit": 1,
                "disable_tqdm": True,
                "report_to": "none",
                "include_num_input_tokens_seen": "all",
                "dataloader_pin_memory": torch.cuda.is_available() and not organism,
                # Without it transformers refuses bf16 where there is no accelerator.
                "use_cpu": organism or not torch.accelerator.is_available(),
                **own,
                "seed": work.settings["seed"],
            }
        )
    except (ValueError, ImportError) as error:
        raise UserError(f"the settings do not go together: {error}") from error
    extra = {}
    if "probe" in work.rows:
        extra["harmful_dataset"] = work.rows["probe"]
    if "alignment" in work.rows:
        extra["alignment_dataset"] = work.rows["alignment"]
    try:
        trainer = trainer_class(
            model,
            args,
            train_dataset=work.rows["train"],
            processing_class=tokenizer,
            peft_config=peft_config,
            callbacks=[_Reporter(work)],
            **extra,
        )
    except (ValueError, RuntimeError, ImportError) as error:  # such as a tracker not installed
        raise UserError(f"the training cannot start: {error}") from error
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def _lora(settings: Mapping[str, Any]) -> LoraConfig:
    lora = settings["lora"]
    targets = lora["target_modules"]
    if isinstance(targets, str) and targets != "all-linear":
        targets = [targets]  # one name; to peft a bare text is a pattern of whole names
    return LoraConfig(
        r=lora["r"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules=targets,
        task_type="CAUSAL_LM",
    )


def _save_model(
    work: Work, model: Any, tokenizer: Any, replaces_last: Any, state: dict | None = None
) -> None:
    """Write the model in the layout that `holdfast.models.stack` reads.

    Args:
        work: the stage.
        model: the model, adapter or weights.
        tokenizer: goes with it.
        replaces_last: whether its adapter is the last of those that it started from.
        state: its weights, where they are not its own tensors.
    """
    if isinstance(model, PeftModel):
        entries = work.model.entries[:-1] if replaces_last else work.model.entries
        save_stack(model, replace(work.model, entries=entries), work.folder, state)
    else:
        model.save_pretrained(work.folder, state_dict=state)
    tokenizer.save_pretrained(work.folder)


def _repair(work: Work) -> dict[str, Any]:
    from holdfast.repair.pruning import Repair, save_masks

    settings = work.settings
    function, config_class, method = load_method("repair", settings["method"])
    tokenizer = load_tokenizer(work.model, settings["template"])
    model = load_last_open(work.model, Loading.of(settings))
    check_vocabulary(model, tokenizer)
    own = config_settings("repair", settings)
    if "seed" in fields_of(method.config):
        own["seed"] = settings["seed"]
    rows = work.rows.get("train")
    total = len(rows) if rows else 1
    given = {
        "dataset": rows,
        "config": config_class(**own),
        "processing_class": tokenizer,
        "progress": lambda done: work.progress(done / total, "scoring"),
    }
    transformers.set_seed(settings["seed"])
    repair = function(
        model, **{name: value for name, value in given.items() if name in method.asks}
    )
    budget: dict[str, Any] = {"rows": len(rows or [])}
    if isinstance(repair, Repair):
        save_masks(repair.masks, work.folder / "mask.safetensors")
        write_json(work.folder / "repair_report.json", repair.report.to_dict())
        budget["zeroed"], repair = repair.report.zeroed, repair.model
    elif repair is not None and not isinstance(repair, torch.nn.Module):
        raise UserError(
            f"{settings['method']} gives back a {type(repair).__name__}; it must be the model, a "
            "holdfast.repair.pruning.Repair, or nothing where the model is changed in place."
        )
    _save_model(work, model if repair is None else repair, tokenizer, replaces_last=True)
    return budget


def _evaluate(work: Work) -> dict[str, Any]:
    # Here, for a training needs none of what an evaluation imports.
    from holdfast.studies.evaluation import run_evaluation

    return run_evaluation(work)


class _Reporter(TrainerCallback):
    """Tells the progress, keeps metrics.jsonl, and stops the training when asked to."""

    def __init__(self, work: Work):
        self.work = work
        self.loss = ""
        self.saved = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Tell how far the training is; save and stop if it is to stop."""
        step, steps = state.global_step, state.max_steps
        self.work.progress(step / steps, f"step {step}/{steps}{self.loss}")
        long_ago = time.monotonic() - self.saved >= _SAVED_EVERY
        stop, save = self.work.agreed(self.work.stopping(), long_ago)
        if stop and step < steps:
            control.should_save = control.should_training_stop = True
        elif save and step < steps:
            control.should_save = True  # a kill costs minutes at most, however long the stage is
        elif step == steps and not args.load_best_model_at_end:
            control.should_save = False  # the stage's result comes now, without the optimizer
        if control.should_save:
            self.saved = time.monotonic()
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Add a line to metrics.jsonl."""
        if "loss" in (logs or {}):
            self.loss = f", loss {float(logs['loss']):.3f}"
        if not self.work.is_main:
            return
        with (self.work.folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": state.global_step, **(logs or {})}) + "\n")


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C asks for a stop after the step under way, a second one stops at once."""
    asked = False

    def ask(_signal: int, _frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


def _last_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint."""
    whole = filter(_is_whole, folder.glob("checkpoint-*"))
    newest = max(whole, key=lambda path: int(path.name.split("-")[1]), default=None)
    return None if newest is None else str(newest)


def _is_whole(checkpoint: Path) -> bool:
    """Whether nothing of a checkpoint is missing or cut short."""
    try:
        # The trainer's state is what it writes last.
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        for path in checkpoint.glob("*.safetensors"):
            with safe_open(path, framework="pt"):
                pass
        return all(zipfile.is_zipfile(path) for path in checkpoint.glob("*.pt*"))
    except (OSError, ValueError, SafetensorError):
        return False


def _quiet() -> None:
    """No bars and remarks of the libraries between ours."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


@contextmanager
def _one_thread(is_organism: bool) -> Iterator[None]:
    """The organism computes on one thread.

    A second one gains a quarter, but the order of its sums, and so the last digits of every
    result, would depend on the machine; two stages side by side gain more.
    """
    threads = torch.get_num_threads()
    if is_organism:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _cut_metrics(path: Path, checkpoint: str | None) -> None:
    """Drop the lines of steps that are trained again after an interruption."""
    if not path.exists():
        return
    done = 0 if checkpoint is None else int(checkpoint.rsplit("-", 1)[1])
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= done:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue  # torn by a kill in the middle of a write
    write_text(path, "".join(line + "\n" for line in kept))


@contextmanager
def _nothing_half_written(partial: Path) -> Iterator[None]:
    """After an error only a state to go on from stays."""
    try:
        yield
    except Exception as error:
        answers = any((partial / name).exists() for name in (ANSWERS, TASK_ANSWERS))
        kept = _last_checkpoint(partial / CHECKPOINTS) or answers
        lost = isinstance(error, DivergedError) or not kept
        if lost:
            shutil.rmtree(partial, ignore_errors=True)
        (partial / PROGRESS).unlink(missing_ok=True)
        raise


@contextmanager
def _timed(partial: Path, clock: float) -> Iterator[float]:
    """Gives the seconds of the interrupted runs that this one goes on from, and keeps its own."""
    file = partial / ELAPSED
    before = 0.0
    with contextlib.suppress(OSError, ValueError):  # not there, or damaged
        before = float(file.read_text())
    try:
        yield before
    except Stopped:
        if partial.exists():
            write_text(file, str(before + time.perf_counter() - clock))
        raise


def _about(stage: Stage, model: Stack) -> dict[str, Any]:
    return {"stage": stage.kind, **model.about()}


def _reset_peak_memory() -> None:
    """Forget the peak of what this process did before the stage, where the system can."""
    if torch.accelerator.is_available():
        torch.accelerator.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory() -> int:
    """Bytes: of the accelerator if there is one, else the resident set of this process."""
    if torch.accelerator.is_available() and torch.accelerator.max_memory_allocated():
        return torch.accelerator.max_memory_allocated()
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _versions() -> dict[str, str]:
    packages = ("holdfast", "torch", "transformers", "peft", "accelerate", "tokenizers")
    return {
        **{package: version(package) for package in packages},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": _device(),
    }


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return (
        str(torch.accelerator.current_accelerator()) if torch.accelerator.is_available() else "cpu"
    )
