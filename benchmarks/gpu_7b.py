"""Time and memory on a GPU of a 7B Llama with random weights: training, Antidote, generation.

    python benchmarks/gpu_7b.py --json gpu_7b.json
    python benchmarks/gpu_7b.py --tiny                the same code on a small model, on the CPU

The model is made on the device from its sizes alone (Llama-2-7B's, bf16), nothing is downloaded; in
4 bits it is written to a temporary folder (13.5 GB) and loaded from there, as a user's would be. A
LoRA adapter (r = 8, all seven linear layers, dropout 0.1, bf16 autocast) trains on random rows of
the papers' sizes: 10 rows of 200 tokens.

Time: the mean over the steps after the first three, on the device's clock. T-Vaccine's holds its
share of draws; its measurement of the layers (one in 200 steps) falls in the first step, so into
the memory and not into the time. Memory: the most that PyTorch holds at once, weights included
(on the CPU without them). Ratios are to SFT of the same precision and checkpointing, in this run.

What the memory should come to (d = 4096, L = 32, N = 6.74e9; holdfast.estimate.cost_model): weights
13.5 GB in bf16, 3.7 GB in 4 bits; a layer keeps about 0.24 MB a token, so 2,000 tokens keep 15 GB.
T-Vaccine keeps all of it for its 8 drawn layers, the adapters' inputs (a third) for none of the
others, nothing below the lowest drawn one: about 11 GB. So in bf16 without checkpointing it should
need some 26 GB with the logits, in 4 bits 16; with checkpointing, which keeps 8 kB a token and
layer and one layer whole, 16 GB in bf16 and 6 in 4 bits. On a card of 24 GB: checkpointing, 4 bits,
or 5 rows a batch (20 GB).
"""

import argparse
import gc
import json
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from holdfast.evaluate.generation import generate
from holdfast.models.loading import Loading, load_base
from holdfast.models.stack import Stack
from holdfast.repair.antidote import AntidoteConfig, antidote
from measuring import PAPERS, Method, collator, make_trainer, methods, peak_bytes, random_rows

WARM_UP = 3
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SIZES = {
    "layers": 32, "hidden": 4096, "intermediate": 11008, "heads": 32, "vocabulary": 32000,
    "drawn": 8, "batch": 10, "tokens": 200, "steps": 23, "antidote_rows": 2000, "rank": 256,
    "prompts": 500, "prompt_tokens": 60, "new_tokens": 128, "answers_at_once": 64,
}  # fmt: skip
TINY = {
    "layers": 2, "hidden": 64, "intermediate": 96, "heads": 4, "vocabulary": 200,
    "drawn": 1, "batch": 2, "tokens": 12, "steps": 4, "antidote_rows": 6, "rank": 32,
    "prompts": 3, "prompt_tokens": 4, "new_tokens": 5, "answers_at_once": 2,
}  # fmt: skip


def main(words: list[str] | None = None) -> dict[str, Any]:
    """Measure, print the tables, write the JSON; gives its content."""
    options = _options(words)
    sizes = TINY if options.tiny else SIZES
    on_gpu = torch.cuda.is_available() and not options.tiny
    if not on_gpu and not options.tiny:
        raise SystemExit("gpu_7b.py: there is no CUDA device here; --tiny runs on the CPU.")
    device = torch.cuda.get_device_name() if on_gpu else "cpu"
    console = Console()
    transformers.utils.logging.disable_progress_bar()
    console.print(f"{device}, torch {torch.__version__}, transformers {transformers.__version__}")
    torch.manual_seed(0)
    report: dict[str, Any] = {"device": device, "sizes": sizes, "training": [], "left_out": []}
    model = _model(sizes, "cuda" if on_gpu else "cpu")
    report["parameters"] = sum(p.numel() for p in model.parameters())
    _train_all(model, "bf16", sizes, report)
    report["antidote"] = _antidote(model, sizes)
    report["generation"] = _generation(model, sizes)
    if find_spec("bitsandbytes") is None:
        report["left_out"].append("4 bits: bitsandbytes is not installed")
    else:
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            del model
            gc.collect()
            model = load_base(Stack(folder), Loading("bfloat16", quantization="4bit"))
        _train_all(model, "4 bits", sizes, report)
    _print(report, console)
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def _options(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="a small model on the CPU")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    return parser.parse_args(words)


def _model(sizes: dict[str, int], device: str) -> Any:
    """A random Llama, made on the device in bf16."""
    config = transformers.LlamaConfig(
        vocab_size=sizes["vocabulary"],
        hidden_size=sizes["hidden"],
        intermediate_size=sizes["intermediate"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        max_position_embeddings=4096,
        dtype="bfloat16",
    )
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            return transformers.LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(torch.float32)


def _train_all(model: Any, precision: str, sizes: dict[str, int], report: dict[str, Any]) -> None:
    model.requires_grad_(False)
    for checkpointing in (False, True):
        base: dict[str, Any] = {}
        for name, method in methods(sizes["drawn"], PAPERS).items():
            row = {"precision": precision, "checkpointing": checkpointing, "method": name}
            try:
                row |= _training(model, method, checkpointing, sizes)
                base = base or row  # SFT comes first
                row["time_ratio"] = row["seconds"] / base["seconds"] if base else None
                row["memory_ratio"] = row["bytes"] / base["bytes"] if base else None
            except torch.OutOfMemoryError:
                row["out_of_memory"] = True
            gc.collect()  # outside the handler, whose traceback holds the failed step's memory
            report["training"].append(row)


def _training(
    model: Any, method: Method, checkpointing: bool, sizes: dict[str, int]
) -> dict[str, float]:
    adapter = LoraConfig(r=8, lora_alpha=8, lora_dropout=0.1, target_modules=ALL)
    wrapped = get_peft_model(model, adapter)
    clock = _Clock()
    try:
        with tempfile.TemporaryDirectory() as folder:
            trainer = make_trainer(
                wrapped,
                method,
                random_rows(sizes["batch"] * sizes["steps"], sizes["tokens"], sizes["vocabulary"]),
                folder,
                per_device_train_batch_size=sizes["batch"],
                max_steps=sizes["steps"],
                bf16=True,
                activation_checkpointing=checkpointing,
                use_cpu=not _on_gpu(model),
            )
            trainer.add_callback(clock)
            peak = peak_bytes(trainer.train, _on_gpu(model))
    finally:
        wrapped.unload()  # the model is itself again, also after an error
        model.activation_checkpointing_disable()
    return {"seconds": sum(clock.steps[WARM_UP:]) / len(clock.steps[WARM_UP:]), "bytes": peak}


def _on_gpu(model: Any) -> bool:
    return model.device.type == "cuda"


class _Clock(transformers.TrainerCallback):
    """Seconds of every step, once the device is done with it."""

    def __init__(self):
        self.steps: list[float] = []
        self.start = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self.start = _now()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop it."""
        self.steps.append(_now() - self.start)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _antidote(model: Any, sizes: dict[str, int]) -> dict[str, float]:
    """Scores and mask of an adapter as in the paper: r = 256 on q, k and v."""
    adapter = LoraConfig(r=sizes["rank"], target_modules=ALL[:3], init_lora_weights=False)
    wrapped = get_peft_model(model, adapter)
    rows = random_rows(sizes["antidote_rows"], sizes["tokens"], sizes["vocabulary"])
    start, seconds = _now(), []

    def run() -> None:
        antidote(wrapped, rows, AntidoteConfig(dense_ratio=0.1), data_collator=collator())
        seconds.append(_now() - start)

    peak = peak_bytes(run, _on_gpu(model))
    wrapped.unload()
    return {"seconds": seconds[0], "bytes": peak, "rows": len(rows)}


def _generation(model: Any, sizes: dict[str, int]) -> dict[str, float]:
    """Greedy answers of full length to prompts of one length."""
    words = {"<pad>": 0, "<s>": 1, "</s>": 2, **{f"w{i}": i for i in range(3, sizes["vocabulary"])}}
    inner = Tokenizer(WordLevel(words, unk_token="<pad>"))
    inner.pre_tokenizer = WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    rows = random_rows(sizes["prompts"], sizes["prompt_tokens"], sizes["vocabulary"])
    prompts = [" ".join(f"w{i}" for i in row["input_ids"]) for row in rows]
    answers: list[str] = []
    start, seconds = _now(), []

    def run() -> None:
        answers.extend(
            generate(model, tokenizer, prompts, sizes["new_tokens"], sizes["answers_at_once"])
        )
        seconds.append(_now() - start)

    peak = peak_bytes(run, _on_gpu(model))
    new = sum(len(answer.split()) for answer in answers)
    return {"seconds": seconds[0], "bytes": peak, "prompts": len(prompts), "new_tokens": new}


def _print(report: dict[str, Any], console: Console) -> None:
    table = Table("weights", "checkpointing", "method", "s a step", "/ SFT", "peak GiB", "/ SFT")
    for row in report["training"]:
        words = [row["precision"], "yes" if row["checkpointing"] else "no", row["method"]]
        if row.get("out_of_memory"):
            table.add_row(*words, "out of memory")
            continue
        ratios = [row["time_ratio"], row["memory_ratio"]]
        time_ratio, memory_ratio = ("–" if r is None else f"{r:.2f}" for r in ratios)
        gib = f"{row['bytes'] / 2**30:.2f}"
        table.add_row(*words, f"{row['seconds']:.3f}", time_ratio, gib, memory_ratio)
    console.print(table)
    for reason in report["left_out"]:
        console.print(f"left out: {reason}")
    scored, answered = report["antidote"], report["generation"]
    console.print(
        f"Antidote, {scored['rows']} rows: {scored['seconds']:.1f} s, "
        f"peak {scored['bytes'] / 2**30:.2f} GiB"
    )
    console.print(
        f"generation, {answered['prompts']} prompts, {answered['new_tokens']} new tokens: "
        f"{answered['seconds']:.1f} s, peak {answered['bytes'] / 2**30:.2f} GiB"
    )


if __name__ == "__main__":
    main()
