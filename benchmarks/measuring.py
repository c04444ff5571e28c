"""What the benchmarks of training share: methods, random rows, trainers, peak memory."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import transformers
from torch.profiler import ProfilerActivity, profile

from holdfast import (
    LisaConfig,
    LisaTrainer,
    RandomPerturbationConfig,
    RandomPerturbationTrainer,
    SFTConfig,
    SFTTrainer,
    TVaccineConfig,
    TVaccineTrainer,
    VaccineConfig,
    VaccineTrainer,
)
from holdfast.trainer.collator import Collator


class Method(NamedTuple):
    """A training method with its settings, and the name under which it takes a second set of rows.

    Lisa's schedule is short, so that few steps hold both of its states.
    """

    trainer: Any
    config: Any
    settings: dict[str, Any]
    rows_key: str = ""


def methods(layers: int) -> dict[str, Method]:
    """The methods by name; T-Vaccine draws `layers` layers."""
    draws = {"layers": layers, "draw_every": 20, "probe_every": 200}  # the defaults
    states = {"alignment_steps": 2, "user_steps": 8, "proximal_warmup": 0.0}
    return {
        "SFT": Method(SFTTrainer, SFTConfig, {}),
        "random perturbation": Method(RandomPerturbationTrainer, RandomPerturbationConfig, {}),
        "Vaccine": Method(VaccineTrainer, VaccineConfig, {}),
        "T-Vaccine": Method(TVaccineTrainer, TVaccineConfig, draws, "harmful_dataset"),
        "Lisa": Method(LisaTrainer, LisaConfig, states, "alignment_dataset"),
    }


def random_rows(count: int, tokens: int, vocabulary: int = 1000) -> list[dict[str, list[int]]]:
    """Tokenized rows of random tokens, all of one length."""
    ids = torch.randint(3, vocabulary, (count, tokens)).tolist()
    return [{"input_ids": r, "attention_mask": [1] * len(r), "labels": r} for r in ids]


def collator() -> Collator:
    """Makes batches of such rows."""
    pads: Any = SimpleNamespace(pad_token_id=0, eos_token_id=2, padding_side="right")
    return Collator(pads)


def make_trainer(
    model: Any, method: Method, rows: list[dict], folder: str, **settings: Any
) -> transformers.Trainer:
    """A trainer that writes and prints nothing."""
    transformers.utils.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    args = method.config(
        output_dir=folder,
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **{**method.settings, **settings},
    )
    extra = {method.rows_key: rows} if method.rows_key else {}
    trainer = method.trainer(model, args, train_dataset=rows, data_collator=collator(), **extra)
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def peak_bytes(run: Callable[[], object], on_gpu: bool) -> int:
    """The most bytes that torch holds while `run` runs, what it held before included.

    On a CPU its profiler counts them, and what was held before is not known, so left out.
    """
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    with (
        _quiet_stderr(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled,
    ):
        run()
    held = peak = 0
    events: Any = profiled.profiler.kineto_results.events()  # pyright: ignore[reportOptionalMemberAccess]
    for event in sorted(events, key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """The profiler's own library writes remarks there."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
