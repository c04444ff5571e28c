"""What every judge that runs here has in common: where its model comes from, and asking it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedModel,
)

from holdfast.errors import UserError
from holdfast.evaluate.generation import Generator, positions
from holdfast.evaluate.judges.base import Item, Progress
from holdfast.evaluate.judges.rendering import Encoder, Template, fitted
from holdfast.models import hub
from holdfast.models.accelerator import automatic_dtype
from holdfast.models.fingerprint import folder_fingerprint
from holdfast.models.loading import load_errors
from holdfast.settings import check_ranges

logger = logging.getLogger(__name__)

_LLAMA_4_CHUNK = 8192


@dataclass(frozen=True)
class LocalJudgeConfig:
    """Where a judge's model comes from, and how it is run.

    Args:
        model: A folder, or a model of the Hub as owner/name or owner/name@revision.
        revision: The branch, tag or commit on the Hub.
        batch_size: The most answers at once; halved when memory runs out.
        dtype: The weights' number format; "auto" is bfloat16 on an accelerator and float32
            elsewhere.
        max_length: The most tokens of its input. The ends of longer prompts and answers are cut
            off, never the template.
    """

    model: str = ""
    revision: str | None = None
    batch_size: int = field(default=8, metadata={"range": "[1, inf)"})
    dtype: str = "auto"
    max_length: int = field(default=4096, metadata={"range": "[1, inf)"})

    def __post_init__(self) -> None:
        if not isinstance(getattr(torch, self.dtype, None), torch.dtype) and self.dtype != "auto":
            raise UserError(f"dtype must be 'auto' or one of torch's, and is '{self.dtype}'")
        check_ranges(self)


class LocalModel:
    """A judge's model and tokenizer, loaded.

    Args:
        config: where they come from.
        model_class: the class of transformers that loads the model; None for one that generates.

    Raises:
        UserError: there is no such model, no access to it, or a weight is missing in it.
    """

    def __init__(self, config: LocalJudgeConfig, model_class: Any = None):
        self.config = config
        self.place, self.revision = _place(config)
        at: dict[str, Any] = {"revision": self.revision} if self.revision else {}
        device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
        name = config.dtype
        if name == "auto":
            name = "float32" if device.type == "cpu" else automatic_dtype()
        options: dict[str, Any] = {"dtype": getattr(torch, name), "use_safetensors": True, **at}
        if device.type != "cpu":
            options["device_map"] = {"": device}
        with load_errors(self.place, self.revision, "the judge"):
            settings = AutoConfig.from_pretrained(self.place, trust_remote_code=False, **at)
            _complete(settings)
            loader = model_class or _generating(settings)
            model, report = loader.from_pretrained(
                self.place,
                config=settings,
                trust_remote_code=False,
                output_loading_info=True,
                **options,
            )
            self.tokenizer = _tokenizer(self.place, at)
        if missing := sorted(report["missing_keys"]):
            # transformers fills them with random numbers, and the judge would throw dice.
            raise UserError(
                f"the judge {self.place} lacks {len(missing)} of its weights ({missing[0]} …): its "
                f"files are incomplete, or it is no {type(model).__name__}"
            )
        self.model: PreTrainedModel = model.eval()
        self.encoder = Encoder(self.tokenizer)
        self.limit = min(config.max_length, positions(self.model))

    def record(self, template: Template) -> dict[str, str | int | float | None]:
        """What decides the verdicts, of all that the judges have in common.

        A model of the Hub is named with its commit, a folder by its last part and the fingerprint
        of what is in it; the template by the beginning of its SHA-256.
        """
        folder = Path(self.place)
        if folder.is_dir():
            named = {"model": folder.resolve().name, "fingerprint": folder_fingerprint(folder)}
        else:
            named = {"model": self.place, "revision": self.revision}
        text = "\0".join(map(str, template))
        return {
            **named,
            "template": hashlib.sha256(text.encode()).hexdigest()[:12],
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "max_length": self.limit,
        }

    def ask(
        self,
        template: Template,
        items: Sequence[Item],
        max_new_tokens: int,
        progress: Progress | None,
        start: Sequence[int] = (),
    ) -> list[str]:
        """What a judge that generates says about every answer: greedy, without special tokens.

        Args:
            template: its template.
            items: the answers, with what was asked.
            max_new_tokens: the longest that it says.
            progress: called with (answers judged, answers in all).
            start: ids before the template, such as the start of the sequence.
        """
        limit = self.limit - max_new_tokens - len(start)
        inputs = [fitted(self.encoder, template, item, limit) for item in items]
        if cut := sum(was_cut for _, was_cut in inputs):
            logger.warning("%d of %d answers were cut to fit the judge", cut, len(items))
        generate = Generator(
            self.model, self.tokenizer, max_new_tokens, min(self.config.batch_size, len(items) or 1)
        )
        new = generate.answer_ids([[*start, *ids] for ids, _ in inputs], progress)
        return [self.tokenizer.decode(ids, skip_special_tokens=True) for ids in new]


def _place(config: LocalJudgeConfig) -> tuple[str, str | None]:
    """A folder, or a name on the Hub and the commit that its revision stands for."""
    folder = Path(config.model).expanduser()
    if folder.is_dir():
        if config.revision:
            raise UserError(f"the judge's model {config.model} is a folder: it has no revision")
        return str(folder), None
    name, _, revision = config.model.partition("@")
    if name.count("/") != 1 or not hub.is_name(name):
        raise UserError(
            f"there is no judge model '{config.model}': name a folder that exists, or a model of "
            "the Hub as owner/name or owner/name@revision"
        )
    if revision and config.revision and revision != config.revision:
        raise UserError(f"the judge's model names two revisions: {revision} and {config.revision}")
    return name, hub.look_up(name, revision or config.revision).commit


def _tokenizer(place: str, at: dict[str, Any]) -> Any:
    try:
        return AutoTokenizer.from_pretrained(place, trust_remote_code=False, **at)
    except (ValueError, ImportError) as error:
        asked = any(word in str(error) for word in ("tiktoken", "sentencepiece", "protobuf"))
        if asked and not all(map(_is_installed, ("sentencepiece", "google.protobuf"))):
            # transformers asks for tiktoken, which could not read the file either.
            raise UserError(
                f"the tokenizer of the judge {place} is a file of sentencepiece: install "
                "sentencepiece and protobuf"
            ) from error
        raise


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package above it
        return False


def _complete(settings: Any) -> None:
    # The published Llama Guard 4 leaves its chunk open, and then cannot generate. Within one chunk
    # its size decides nothing, and no judge's input is as long as that of Llama 4.
    text = settings.get_text_config()
    if hasattr(text, "attention_chunk_size") and text.attention_chunk_size is None:
        text.attention_chunk_size = _LLAMA_4_CHUNK


def _generating(settings: Any) -> Any:
    multimodal = (settings.architectures or [""])[0].endswith("ForConditionalGeneration")
    return AutoModelForImageTextToText if multimodal else AutoModelForCausalLM
