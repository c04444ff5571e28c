"""What the benchmarks of training share: methods, random rows, trainers, peak memory."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import transformers
from torch.profiler import ProfilerActivity, profile

from holdfast.models.updates import Update
from holdfast.plans import Pass
from holdfast.registry import METHODS, plan_of
from holdfast.settings import fields_of
from holdfast.stages.methods import load_method
from holdfast.trainer.collator import Collator

# Lisa's schedule is short, so that few steps hold both of its states; TAR's attack takes 64 else.
_SETTINGS: dict[str, dict[str, Any]] = {
    "lisa": {"alignment_steps": 2, "user_steps": 8, "proximal_warmup": 0.0},
    "tar": {"attack_steps": 4, "tamper_every": 2},  # else an attack takes 64 steps
    "vaa": {"trial_steps": 5},  # of a short training
    "sppft": {"first_layer": 1, "last_layer": 1},
    # Methods that write other rows have nothing to write in rows of tokens.
    "lookahead": {"tokens": 0},
    "ptst": {"system_prompt": ""},
    "backdoor_align": {"trigger": "", "safe_rows": 4},
}
# Those of the papers that benchmarks/gpu_7b.py measures.
PAPERS = ("sft", "random_perturbation", "vaccine", "t_vaccine", "lisa")
_ROWS = ("harmful_dataset", "alignment_dataset", "paired_dataset")


class Method(NamedTuple):
    """A training method of the registry, with its settings."""

    kind: str
    name: str
    settings: dict[str, Any]

    def theory(self, blocks: int, steps: int) -> float:
        """What it should cost beside SFT: forward and backward passes through frozen weights.

        A forward pass and a backward pass to the activations take the same operations; the
        gradients of an adapter's few weights are left out.
        """
        fields = fields_of(METHODS[self.kind][self.name].config)
        given = {name: f.default for name, f in fields.items()}
        given |= {"adapter": "lora", "per_device_train_batch_size": 1}
        given |= {"gradient_accumulation_steps": 1, "rows": steps, **self.settings}
        one = Pass(forward=1.0, again=0.0, backward=1.0, weights=0.0)
        plan = plan_of(self.kind, self.name)
        return plan.operations(one, given, blocks, steps) / one.whole


def methods(layers: int, names: Sequence[str] = ()) -> dict[str, Method]:
    """All training methods, or some, by their titles; T-Vaccine draws `layers` layers."""
    own = {**_SETTINGS, "t_vaccine": {"layers": layers, "draw_every": 20, "probe_every": 200}}
    return {
        entry.title: Method(kind, name, own.get(name, {}))
        for kind in ("align", "finetune")
        for name, entry in METHODS[kind].items()
        if not names or name in names
    }


def random_rows(count: int, tokens: int, vocabulary: int = 1000) -> list[dict[str, list[int]]]:
    """Tokenized rows of random tokens, all of one length."""
    ids = torch.randint(3, vocabulary, (count, tokens)).tolist()
    return [{"input_ids": r, "attention_mask": [1] * len(r), "labels": r} for r in ids]


def random_update(model: Any, rank: int = 8, seed: int = 0) -> dict[str, Update]:
    """What an alignment by an adapter could have changed in every linear layer of a model."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, module in getattr(model, "get_base_model", lambda: model)().named_modules():
        if hasattr(module, "in_features") and ".lora_" not in name:
            sizes = (module.out_features, rank), (rank, module.in_features)
            left, right = (torch.randn(size, generator=generator) / 10 for size in sizes)
            found[name.removesuffix(".base_layer")] = Update(left, right)
    return found


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
    trainer_class, config_class, found = load_method(method.kind, method.name)
    args = config_class(
        output_dir=folder,
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **{**method.settings, **settings},
    )
    attention = METHODS[method.kind][method.name].organism.get("attn_implementation")
    if attention:
        getattr(model, "get_base_model", lambda: model)().set_attn_implementation(attention)
    extra: dict[str, Any] = {name: rows for name in found.asks if name in _ROWS}
    if "alignment_update" in found.asks:
        extra["alignment_update"] = random_update(model)
    trainer = trainer_class(model, args, train_dataset=rows, data_collator=collator(), **extra)
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


# A program: `holdfast` with the words that it is given; its last word on stderr is the most bytes
# that it held. Not getrusage's, which on Linux begins with the peak of who started the program.
HOLDFAST_AND_ITS_PEAK = """
import sys
from pathlib import Path
from holdfast.cli import main
try:
    main()
finally:
    if Path("/proc/self/status").exists():
        told = Path("/proc/self/status").read_text().split()
        peak = int(told[told.index("VmHWM:") + 1]) * 1024
    else:
        import resource
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak, file=sys.stderr)
"""
