"""What a training step of each method costs, as a ratio to plain SFT in the same run.

    python benchmarks/step_cost.py [--blocks 12] [--hidden 192] [--steps 20] [--rounds 2]

A random Llama with a LoRA adapter trains on random rows. Time: the methods take turns round by
round, each round training a few steps; a method's ratio is the median over the rounds of its time
by SFT's in the same round, so that a machine that slows down slows all. Memory: the most that
torch holds above the model; on a CPU by its profiler, on a GPU by its allocator. Lisa's step
is the mean over its schedule; T-Vaccine's holds its share of probes and draws.
"""

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model
from rich.console import Console
from rich.table import Table
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
from holdfast.training import Collator

BATCH = 10


def main() -> None:
    options = _options()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    methods = _methods(options)
    times: dict[str, list[float]] = {name: [] for name in methods}
    for round_number in range(options.rounds + 1):  # the first one warms up
        for name in methods:
            seconds = _train(name, methods, options)
            if round_number:
                times[name].append(seconds)
    memory = {name: _peak_memory(name, methods, options) for name in methods}
    table = Table("method", "ms a step", "time / SFT", "peak MiB", "memory / SFT")
    table.title = (
        f"{options.blocks} blocks × {options.hidden}, {BATCH} rows × {options.tokens} tokens"
    )
    for name in methods:
        ratios = [t / s for t, s in zip(times[name], times["SFT"], strict=True)]
        table.add_row(
            name,
            f"{1e3 * statistics.median(times[name]):.0f}",
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f}…{max(ratios):.2f})",
            f"{memory[name] / 2**20:.0f}",
            f"{memory[name] / memory['SFT']:.2f}",
        )
    Console().print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=192)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--layers", type=int, default=4, help="layers that T-Vaccine draws")
    parser.add_argument("--steps", type=int, default=20, help="steps of a method in one round")
    parser.add_argument("--rounds", type=int, default=2)
    return parser.parse_args()


def _methods(options: argparse.Namespace) -> dict[str, tuple[Any, Any, dict[str, Any], str]]:
    draws = {"layers": options.layers, "draw_every": 20, "probe_every": 200}  # the defaults
    return {
        "SFT": (SFTTrainer, SFTConfig, {}, ""),
        "random perturbation": (RandomPerturbationTrainer, RandomPerturbationConfig, {}, ""),
        "Vaccine": (VaccineTrainer, VaccineConfig, {}, ""),
        "Vaccine, every 10th": (VaccineTrainer, VaccineConfig, {"every": 10}, ""),
        "T-Vaccine": (TVaccineTrainer, TVaccineConfig, draws, "harmful_dataset"),
        "Lisa": (
            LisaTrainer,
            LisaConfig,
            {"alignment_steps": 2, "user_steps": 8, "proximal_warmup": 0.0},
            "alignment_dataset",
        ),
    }


def _train(name: str, methods: dict[str, Any], options: argparse.Namespace) -> float:
    """Seconds a step."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(folder, methods[name], options, options.steps)
        start = time.perf_counter()
        trainer.train()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / options.steps


def _peak_memory(name: str, methods: dict[str, Any], options: argparse.Namespace) -> float:
    """The most bytes above those of model and optimizer that training holds at once."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(folder, methods[name], options, 6)
        if torch.cuda.is_available():
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            trainer.train()
            return torch.cuda.max_memory_allocated() - before
        with (
            _quiet_stderr(),
            profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled,
        ):
            trainer.train()
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


def _trainer(folder: str, method: Any, options: argparse.Namespace, steps: int) -> Any:
    trainer_class, config_class, settings, rows_key = method
    transformers.utils.logging.set_verbosity_error()
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=1000,
        hidden_size=options.hidden,
        intermediate_size=2 * options.hidden,
        num_hidden_layers=options.blocks,
        num_attention_heads=8,
    )
    model = transformers.LlamaForCausalLM(config)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
    model = get_peft_model(model, LoraConfig(r=8, target_modules=targets))
    args = config_class(
        output_dir=folder,
        per_device_train_batch_size=BATCH,
        max_steps=steps,
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **settings,
    )
    ids = torch.randint(3, 1000, (BATCH * steps, options.tokens)).tolist()
    rows = [{"input_ids": r, "attention_mask": [1] * len(r), "labels": r} for r in ids]
    pads: Any = SimpleNamespace(pad_token_id=0, eos_token_id=2, padding_side="right")
    extra = {rows_key: rows} if rows_key else {}
    trainer = trainer_class(model, args, train_dataset=rows, data_collator=Collator(pads), **extra)
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


if __name__ == "__main__":
    main()
