"""Time and memory of Antidote's scores: one batched forward against layer-by-layer replay.

    python benchmarks/antidote.py
    python benchmarks/antidote.py --rows 1024 --device cuda --json antidote.json

Wanda's procedure keeps the hidden states of all rows and replays the decoder layer by layer: a
first pass over a layer gives its scores, a second one the inputs of the next layer (there, the
layer is pruned in between; here it is not, so that all procedures measure the same model). A
replay in one pass, which takes the next inputs from the scoring pass, stands beside it.

All three get the same batches (rows sorted by length), sum squares in float64 and choose and zero
weights by the same code, so the masks must be equal; if they are not, the count of differing
entries is printed and the exit code is 1. Seconds are CPU time, which other load on the machine
changes little (on CUDA the clock's), of the fastest of a few runs. Peak memory is that of all
tensors alive at once, the model's own left out, counted at every operation in a run of its own (on
CUDA the allocator's count).
"""

import argparse
import json
import sys
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import LlamaConfig, LlamaForCausalLM

from holdfast.models.blocks import decoder_layers
from holdfast.repair.antidote import AntidoteConfig, antidote
from holdfast.repair.matrices import Matrix, find_matrices
from holdfast.repair.pruning import Repair, prune, top_scored

OURS, TWO_PASSES, ONE_PASS = "one batched forward", "replay, two passes", "replay, one pass"


def make_model(args: argparse.Namespace) -> nn.Module:
    """A random Llama, for LoRA with both factors random."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1000,
        hidden_size=args.hidden,
        intermediate_size=args.hidden * 8 // 3 // 8 * 8,
        num_hidden_layers=args.layers,
        num_attention_heads=8,
        num_key_value_heads=8,
        initializer_range=0.1,
    )
    model: nn.Module = LlamaForCausalLM(config)
    if args.weights == "lora":
        targets = ["q_proj", "k_proj", "v_proj"]
        lora = LoraConfig(r=16, target_modules=targets, init_lora_weights=False)
        model = get_peft_model(model, lora)  # pyright: ignore[reportArgumentType] (a Llama)
    return model.to(args.device, getattr(torch, args.dtype)).eval()


def make_rows(count: int, longest: int) -> list[dict[str, list[int]]]:
    """Tokenized rows of `longest`/4 to `longest` random tokens, the longest first."""
    generator = torch.Generator().manual_seed(1)
    rows = []
    for _ in range(count):
        length = int(torch.randint(longest // 4, longest + 1, (1,), generator=generator))
        ids = torch.randint(3, 1000, (length,), generator=generator).tolist()
        rows.append({"input_ids": ids, "attention_mask": [1] * length, "labels": ids})
    return sorted(rows, key=lambda row: len(row["input_ids"]), reverse=True)


def collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Pad ids and attention mask on the right."""
    longest = max(len(row["input_ids"]) for row in rows)
    return {
        key: torch.tensor([row[key] + [0] * (longest - len(row[key])) for row in rows])
        for key in ("input_ids", "attention_mask")
    }


def ours(model: nn.Module, rows: list[dict], args: argparse.Namespace) -> Repair:
    """The package's procedure."""
    config = AntidoteConfig(dense_ratio=args.dense_ratio, batch_size=args.batch_size)
    return antidote(model, rows, config, data_collator=collate)


@torch.no_grad()
def replay(model: nn.Module, rows: list[dict], args: argparse.Namespace, passes: int) -> Repair:
    """Layer-by-layer replay over the stored hidden states of all rows."""
    matrices, skipped = find_matrices(model)
    starts = range(0, len(rows), args.batch_size)
    batches = [collate(rows[start : start + args.batch_size]) for start in starts]
    states, settings = first_inputs(model, batches, args.device)
    tokens = [batch["attention_mask"].to(args.device) != 0 for batch in batches]
    owners = {id(module.weight): module for module in model.modules() if hasattr(module, "weight")}
    masks: dict[str, torch.Tensor] = {}
    for layer in decoder_layers(model):
        inside = set(layer.modules())
        here = [matrix for matrix in matrices if owners[id(matrix.weight)] in inside]
        sums = {matrix.name: torch.zeros((), device=args.device) for matrix in here}
        real = torch.empty(0)

        def add(matrix: Matrix, _: nn.Module, inputs: tuple[torch.Tensor]) -> None:
            squares = inputs[0][real].double().square().sum(0)  # noqa: B023 (used in this turn)
            sums[matrix.name] = sums[matrix.name] + squares  # noqa: B023

        hooks = [
            owners[id(matrix.weight)].register_forward_pre_hook(partial(add, matrix))
            for matrix in here
        ]
        following = []
        for state, setting, real in zip(states, settings, tokens, strict=True):  # noqa: B007
            following.append(layer(state, **setting))
            if passes == 2:
                following.pop()
        for hook in hooks:
            hook.remove()
        for matrix in here:
            scores = matrix.weight.abs().double() * (sums[matrix.name] / len(rows)).sqrt()
            masks[matrix.name] = top_scored(scores, args.dense_ratio, "row")
        if passes == 2:
            following = [layer(x, **kw) for x, kw in zip(states, settings, strict=True)]
        states = following
    return prune(model, "replay", matrices, masks, skipped)


class _CaughtError(Exception):
    """Ends a forward pass at the first decoder layer."""


def first_inputs(
    model: nn.Module, batches: list[dict], device: str
) -> tuple[list[torch.Tensor], list[dict[str, Any]]]:
    """The first layer's hidden states, [rows, tokens, hidden], and its other arguments."""
    states: list[torch.Tensor] = []
    settings: list[dict[str, Any]] = []

    def catch(_: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        states.append(args[0])
        settings.append(kwargs)
        raise _CaughtError

    hook = decoder_layers(model)[0].register_forward_pre_hook(catch, with_kwargs=True)
    for batch in batches:
        try:
            model(**{key: value.to(device) for key, value in batch.items()}, use_cache=False)
        except _CaughtError:
            continue
    hook.remove()
    return states, settings


PROCEDURES: dict[str, Callable[..., Repair]] = {
    TWO_PASSES: partial(replay, passes=2),
    ONE_PASS: partial(replay, passes=1),
    OURS: ours,
}


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive at once, beside those there at the start."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.sizes = {
            p.untyped_storage()._cdata: 0 for p in [*model.parameters(), *model.buffers()]
        }
        self.now = self.peak = 0

    def __torch_dispatch__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Run the operation and look at the storages of what it returns."""
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor):
                storage = value.untyped_storage()
                key = storage._cdata
                if key not in self.sizes:
                    self.sizes[key] = storage.nbytes()
                    self.now += storage.nbytes()
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self.forget, key)
        return result

    def forget(self, key: int) -> None:
        """A storage was freed."""
        self.now -= self.sizes.pop(key)


def first_run(name: str, model: nn.Module, rows: list[dict], args: argparse.Namespace) -> dict:
    """Masks, and the peak memory above the model's own in bytes."""
    if args.device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        masks = PROCEDURES[name](model, rows, args).masks
        return {"masks": masks, "bytes": torch.cuda.max_memory_allocated() - before}
    with LiveTensors(model) as live:
        masks = PROCEDURES[name](model, rows, args).masks
    return {"masks": masks, "bytes": live.peak}


def timed_run(name: str, model: nn.Module, rows: list[dict], args: argparse.Namespace) -> float:
    """Seconds of one more run; that weights are zero by now changes no time."""
    clock = time.perf_counter if args.device == "cuda" else time.process_time
    start = clock()
    PROCEDURES[name](model, rows, args)
    if args.device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def main() -> int:
    """Measure, print the table, compare the masks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", choices=["lora", "full"], default="lora")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=192)
    parser.add_argument("--rows", type=int, default=192)
    parser.add_argument("--longest", type=int, default=48, help="tokens in the longest row")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--dense-ratio", type=float, default=0.1)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU; one varies least")
    parser.add_argument("--repeats", type=int, default=3, help="the fastest one counts")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    rows = make_rows(args.rows, args.longest)
    models = {name: make_model(args) for name in PROCEDURES}
    results = {name: first_run(name, models[name], rows, args) for name in PROCEDURES}
    masks = {name: result.pop("masks") for name, result in results.items()}
    seconds: dict[str, list[float]] = {name: [] for name in PROCEDURES}
    for _ in range(args.repeats):  # in turns, so that other load on the machine hits all of them
        for name, model in models.items():
            seconds[name].append(timed_run(name, model, rows, args))
    for name, result in results.items():
        result |= {"seconds": min(seconds[name]), "all_seconds": seconds[name]}
    differing = {
        name: sum(int((mask != theirs[key]).sum()) for key, mask in masks[OURS].items())
        for name, theirs in masks.items()
    }
    entries = sum(mask.numel() for mask in masks[OURS].values())
    zeroed = sum(int(mask.sum()) for mask in masks[OURS].values())

    print(
        f"{args.weights}, {args.layers} layers, width {args.hidden}, {args.rows} rows of up to "
        f"{args.longest} tokens, batch {args.batch_size}, {args.dtype} on {args.device}; "
        f"{zeroed:,} of {entries:,} weights zeroed"
    )
    print(f"{'':22}{'seconds':>9}{'ratio':>8}{'peak MiB':>10}{'differing mask entries':>25}")
    base = results[TWO_PASSES]
    for name, result in results.items():
        result["time_ratio"] = result["seconds"] / base["seconds"]
        result["differing"] = differing[name]
        print(
            f"{name:22}{result['seconds']:9.2f}{result['time_ratio']:8.2f}"
            f"{result['bytes'] / 2**20:10.1f}{differing[name]:25,}"
        )
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"settings": vars(args), "results": results}, file, indent=2)
    return int(any(differing.values()))


if __name__ == "__main__":
    sys.exit(main())
