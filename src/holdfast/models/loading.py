"""Load a stack of adapters on its base."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    PreTrainedModel,
)

from holdfast import organism
from holdfast.errors import UserError
from holdfast.models import gguf, hub
from holdfast.models.accelerator import automatic_dtype
from holdfast.models.adapter_keys import not_finite
from holdfast.models.adapter_support import Purpose, check_stack, mergeable, stackable
from holdfast.models.adapters import NEW, activate, merge, with_entry
from holdfast.models.foreign import one_line
from holdfast.models.four_bits import keep_unpacked
from holdfast.models.gguf_loading import load_gguf
from holdfast.models.saving import combine, save_stack
from holdfast.models.stack import ORGANISM, Stack

__all__ = [
    "Loading",
    "combine",
    "load_base",
    "load_last_open",
    "load_merged",
    "save_stack",
]


@dataclass(frozen=True)
class Loading:
    """How a model's weights are loaded; the fields are settings of every stage.

    Args:
        dtype: a torch dtype's name; "auto" is bfloat16 on an accelerator (float16 on one
            without it) and float32 elsewhere.
            Of a quantized model it is the type of what is not quantized: embeddings, norms, head.
            ``float32`` is then what PEFT's ``prepare_model_for_kbit_training`` casts them to.
        attn_implementation: how attention is computed; None for the library's choice.
        device_map: "auto" spreads the layers over all accelerators and the processor; None puts
            the whole model on one.
        quantization: "4bit" (NF4 with double quantization, computing in bfloat16; in float16
            where dtype is), "8bit"
            (LLM.int8) or None.
    """

    dtype: str = "auto"
    attn_implementation: str | None = None
    device_map: str | None = None
    quantization: str | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Loading":
        """The loading settings among a stage's."""
        return cls(**{f.name: settings[f.name] for f in fields(cls) if f.name in settings})


def load_base(stack: Stack, loading: Loading | str = "auto") -> PreTrainedModel:
    """The base without any adapter, on the accelerator if there is one (the organism: never).

    Args:
        stack: names the base.
        loading: how; a text is a dtype.

    Raises:
        UserError: there is no such model, no access to it, or its files are broken or incomplete.
    """
    loading = Loading(loading) if isinstance(loading, str) else loading
    device = _device(stack)
    name = loading.dtype
    if name == "auto":
        name = "float32" if device.type == "cpu" else automatic_dtype()
    dtype = getattr(torch, name)
    options: dict[str, Any] = {"dtype": dtype}
    if device.type != "cpu" or loading.quantization:
        options["device_map"] = loading.device_map or {"": device}
    if loading.attn_implementation:
        options["attn_implementation"] = loading.attn_implementation
    if loading.quantization:
        options["quantization_config"] = _quantization(loading.quantization, dtype)
    place = str(organism.folder()) if stack.base == ORGANISM else stack.base
    file = gguf.base_file(stack.base)
    with load_errors(place, stack.revision, "the model", file):
        loaded: Any = (
            load_gguf(file, options)
            if file
            else AutoModelForCausalLM.from_pretrained(
                place,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **at_commit(stack.revision),
                **options,
            )
        )
    model, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        raise UserError(
            f"the model {place} lacks {len(missing)} of its weights ({missing[0]} …): its files "
            "are incomplete, or it is no causal language model."
        )
    keep_unpacked(model)
    bad = not_finite(dict(model.named_parameters()))
    if bad:
        raise UserError(
            f"the model {place} holds NaN or infinite numbers in {bad}{_in_file(place, bad)}: its "
            "training went wrong, or the file is damaged."
        )
    return model.eval()


def load_merged(
    stack: Stack, loading: Loading | str = "auto", purpose: Purpose = "evaluate"
) -> Any:
    """The base with every adapter of the stack in effect.

    Adapters are merged into the weights, bottom up. Quantized weights, whether they are quantized
    here or lie so in the base's files, cannot take them up without loss: there they stay beside the
    weights, all frozen and active, named below0, below1, …. So does, for an evaluation, a topmost
    adapter of a kind that cannot be merged.

    Args:
        stack: names the base and the adapters.
        loading: how; a text is a dtype.
        purpose: what for; see `holdfast.models.adapter_support.check_stack`.

    Returns:
        A PreTrainedModel, or a PeftModel where an adapter stays beside the weights.

    Raises:
        UserError: as `load_base`; an adapter does not fit, or not with the purpose.
    """
    check_stack(stack.entries, purpose)
    model: Any = load_base(stack, loading)
    stacked = purpose not in ("evaluate", "full")
    if is_quantized(model):
        if purpose == "full":
            raise UserError(
                f"the weights of {stack.base} are quantized, and quantized weights cannot be "
                "trained: train an adapter, or name the model in full precision."
            )
        return _with_frozen(model, stack, stacked)
    for entry in stack.entries:
        model = with_entry(model, entry, NEW, trainable=False, stacked=stacked)
        if not mergeable(entry):
            return model  # the last one, and only for an evaluation
        model = merge(model, entry)
    return model


def load_last_open(stack: Stack, loading: Loading | str = "auto", trainable: bool = False) -> Any:
    """All adapters merged but the last one, which stays an adapter; without any, the base.

    On a quantized base the lower ones are not merged, but frozen and active (see `load_merged`).

    Returns:
        A PeftModel whose adapter "default" is the stack's last entry, or the base model.

    Raises:
        UserError: as `load_merged`.
    """
    if not stack.entries:
        return load_base(stack, loading)
    check_stack(stack.entries, "single" if trainable else "repair")
    lower = Stack(stack.base, stack.entries[:-1], stack.revision)
    below = load_merged(lower, loading, "double")
    model = with_entry(below, stack.entries[-1], NEW, trainable, stacked=bool(lower.entries))
    activate(model, trainable)
    return model


def is_quantized(model: Any) -> bool:
    """Whether a model's weights are quantized, by us or in its files."""
    return getattr(model, "hf_quantizer", None) is not None


def _with_frozen(model: Any, stack: Stack, stacked: bool) -> Any:
    if len(stack.entries) == 1 and not stackable(stack.entries[0]):
        return with_entry(model, stack.entries[0], NEW, trainable=False)
    names = [f"below{number}" for number in range(len(stack.entries))]
    if len(names) > 1:  # one would count on the weights without the other
        check_stack(stack.entries, "double")
    for name, entry in zip(names, stack.entries, strict=True):
        model = with_entry(model, entry, name, trainable=False, stacked=stacked or len(names) > 1)
    if names:
        model.base_model.set_adapter(names, inference_mode=True)
    return model


def _device(stack: Stack) -> torch.device:
    """Where the model goes: this process's accelerator; the organism's place is the processor.

    Weights that several processes will divide among them (FSDP) start there too: an accelerator
    need not hold all of them.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        return torch.device("cpu")
    accelerator = torch.accelerator.current_accelerator() if not stack.is_organism else None
    if accelerator is None or not torch.accelerator.is_available():
        return torch.device("cpu")
    # Several processes on one machine (accelerate launch) have a device each.
    return torch.device(accelerator.type, int(os.environ.get("LOCAL_RANK", 0)))


def _in_file(place: str, name: str) -> str:
    """Which of a folder's files holds a weight, for messages; empty where it is none of them."""
    for path in sorted(Path(place).glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            if name in set(file.keys()):
                return f" ({path.name})"
    return ""


def _quantization(kind: str, dtype: torch.dtype) -> BitsAndBytesConfig:
    if find_spec("bitsandbytes") is None:
        raise UserError(
            f"quantization={kind} needs bitsandbytes, which is not installed: "
            'pip install "holdfast[quantized]".'
        )
    if kind == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float16 if dtype == torch.float16 else torch.bfloat16,
        bnb_4bit_quant_storage=torch.uint8,
    )


def at_commit(revision: str | None) -> dict[str, str]:
    """What transformers is told of a model's commit; nothing where there is none."""
    return {"revision": revision} if revision else {}


@contextmanager
def load_errors(
    place: str, revision: str | None, what: str, file: Path | None = None
) -> Iterator[None]:
    """Tell in one sentence why a model could not be loaded; ``file`` is its GGUF file."""
    quiet = logging.getLogger("transformers.modeling_utils")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        yield
    except UserError:
        raise
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"{what} {place} does not fit into the accelerator's memory: try dtype=bfloat16, "
            "quantization=4bit or device_map=auto."
        ) from error
    except SafetensorError as error:
        raise UserError(
            f"{what} {place} has a weights file that is broken or cut off ({error}): get it again."
        ) from error
    except Exception as error:  # tokenizers raise nothing narrower
        if revision and hub.is_of_the_hub(error):
            raise UserError(hub.explain(place, revision, error)) from error
        if file is not None:  # its readers meet a damaged or unknown one with errors of every kind
            raise UserError(
                f"{what} {file} cannot be loaded: the file is damaged, or of a kind that "
                f"transformers does not read ({type(error).__name__}: {str(error)[:200]})."
            ) from error
        text = str(error)
        if revision and "does not appear to have" in text:  # the plan has seen them on the Hub
            raise UserError(
                f"{what} {place} is in the local cache in part only, and the Hub cannot be "
                f"reached: run `hf download {place}` with a connection."
            ) from error
        if "trust_remote_code" in text:
            raise UserError(
                f"{what} {place} needs code of its own (trust_remote_code), and holdfast runs no "
                "code from a model's folder."
            ) from error
        raise UserError(f"{what} {place} cannot be loaded: {one_line(error)}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of a library in Rust
            raise
        raise UserError(f"{what} {place} cannot be loaded: {one_line(error)}") from error
    finally:
        quiet.setLevel(level)
