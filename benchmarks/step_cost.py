"""What a training step of each method costs, as a ratio to plain SFT in the same run.

    python benchmarks/step_cost.py [--blocks 12] [--hidden 192] [--steps 20] [--rounds 6]

A random Llama with a LoRA adapter trains on random rows. Time: the methods take turns round by
round, each round training a few steps; a method's ratio is the median over the rounds of its time
by SFT's in the same round, so that a machine that slows down slows all. Memory: the most that
torch holds above the model; on a CPU by its profiler, on a GPU by its allocator. Lisa's step
is the mean over its schedule; T-Vaccine's holds its share of probes and draws. Beside the time
stands what theory says: passes through the model by SFT's.
"""

import argparse
import statistics
import tempfile
import time
from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model
from rich.console import Console
from rich.table import Column, Table

from measuring import Method, make_trainer, methods, peak_bytes, random_rows

BATCH = 10


def main() -> None:
    options = _options()
    known = _methods(options)
    times: dict[str, list[float]] = {name: [] for name in known}
    for round_number in range(options.rounds + 1):  # the first one warms up
        for name, method in known.items():
            seconds = _train(method, options)
            if round_number:
                times[name].append(seconds)
    memory = {name: _peak_memory(method, options) for name, method in known.items()}
    table = Table(
        Column("method", no_wrap=True),
        "passes / SFT",
        "ms a step",
        "time / SFT",
        "peak MiB",
        "memory / SFT",
    )
    table.title = (
        f"{options.blocks} blocks × {options.hidden}, {BATCH} rows × {options.tokens} tokens"
    )
    for name in known:
        ratios = [t / s for t, s in zip(times[name], times["SFT"], strict=True)]
        table.add_row(
            name,
            f"{known[name].theory(options.blocks, options.steps):.2f}",
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
    parser.add_argument("--rounds", type=int, default=6)
    return parser.parse_args()


def _methods(options: argparse.Namespace) -> dict[str, Method]:
    known = methods(options.layers)
    rarely = known["Vaccine"]._replace(settings={"every": 10})
    return {**known, "Vaccine, every 10th": rarely}


def _train(method: Method, options: argparse.Namespace) -> float:
    """Seconds a step."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(folder, method, options, options.steps)
        start = time.perf_counter()
        trainer.train()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / options.steps


def _peak_memory(method: Method, options: argparse.Namespace) -> float:
    """The most bytes above those of model and optimizer that training holds at once."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(folder, method, options, 6)
        on_gpu = torch.cuda.is_available()
        before = torch.cuda.memory_allocated() if on_gpu else 0
        return peak_bytes(trainer.train, on_gpu) - before


def _trainer(folder: str, method: Method, options: argparse.Namespace, steps: int) -> Any:
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
    rows = random_rows(BATCH * steps, options.tokens)
    return make_trainer(
        model, method, rows, folder, per_device_train_batch_size=BATCH, max_steps=steps
    )


if __name__ == "__main__":
    main()
