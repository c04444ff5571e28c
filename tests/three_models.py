"""A base, an aligned and a fine-tuned model in folders, in every way that they come about."""

from pathlib import Path

import torch
import yaml

from holdfast.models.loading import load_last_open, load_merged
from holdfast.models.stack import Stack
from holdfast.repair.checkpoints import Checkpoints, compare
from tiny_models import lora, tiny_model

WAYS = ("double", "single", "full", "full alignment", "chat model")


def whole(folder: Path, seed: int, near: Path | None = None, **kw) -> Path:
    """A model's folder; ``near`` another one's weights, each moved a little."""
    model = tiny_model("llama", **kw)
    generator = torch.Generator().manual_seed(seed)
    if near is not None:
        model.load_state_dict(load_merged(Stack(str(near))).state_dict())
    for weight in model.parameters():
        weight.data += 0.05 * torch.randn(weight.shape, generator=generator)
    model.save_pretrained(folder)
    return folder


def adapter(folder: Path, seed: int, r: int = 4, **kw) -> Path:
    """An adapter's folder, whose two factors are both random."""
    kw = {"init_lora_weights": False, "target_modules": ["q_proj", "v_proj"], **kw}
    lora(tiny_model("llama"), r=r, seed=seed, **kw).save_pretrained(folder)
    return folder


def stacks(tmp: Path, way: str) -> tuple[Stack, Stack, Stack]:
    """The fine-tuned, the aligned and the base model; the adapters have scales of their own."""
    base = whole(tmp / "base", 1)
    plain = Stack(str(base))
    if way == "full":
        aligned = whole(tmp / "aligned", 2, near=base)
        return Stack(str(whole(tmp / "tuned", 3, near=aligned))), Stack(str(aligned)), plain
    tuned = adapter(tmp / "tuned", 5, r=4, lora_alpha=8, target_modules=["q_proj", "o_proj"])
    if way in ("full alignment", "chat model"):
        aligned = whole(tmp / "aligned", 2, near=base)
        return Stack(str(aligned), (tuned,)), Stack(str(aligned)), plain
    aligned = adapter(tmp / "aligned", 4, r=3, lora_alpha=2, use_rslora=True)
    if way == "single":
        tuned = adapter(tmp / "single", 5, r=3, lora_alpha=2, use_rslora=True)
        return Stack(str(base), (tuned,)), Stack(str(base), (aligned,)), plain
    return Stack(str(base), (aligned, tuned)), Stack(str(base), (aligned,)), plain


def opened(tmp: Path, way: str = "double") -> tuple[torch.nn.Module, Checkpoints]:
    """The fine-tuned model as a repair gets it, and what it came from."""
    tuned, aligned, base = stacks(tmp, way)
    model = load_last_open(tuned)
    return model, compare(model, tuned, aligned, base)


def dense(stack: Stack) -> dict[str, torch.Tensor]:
    """All weights of a stack, merged by PEFT."""
    return {name: weight.clone() for name, weight in load_merged(stack).state_dict().items()}


def effective(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """All weights of a model in memory, its adapters taken up."""
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()  # pyright: ignore
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Bit for bit."""
    assert one.keys() == other.keys()
    for name, weight in one.items():
        assert torch.equal(weight, other[name]), name


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """To 1e-5 of each weight's norm."""
    assert one.keys() == other.keys()
    for name, weight in one.items():
        gap = float((weight - other[name]).norm() / other[name].norm())
        assert gap <= 1e-5, (name, gap)


def as_stage(folder: Path, stage: str, model: str, **settings) -> Path:
    """Say in a folder which stage made it from which model."""
    content = {"stage": stage, "model": str(model), **settings}
    (folder / "config.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder
