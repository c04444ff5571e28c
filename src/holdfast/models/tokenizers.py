"""Load a model's tokenizer, checked against the model."""

from typing import Any

from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerBase,
)

from holdfast import organism
from holdfast.errors import UserError
from holdfast.models import gguf
from holdfast.models.foreign import check_template_ends
from holdfast.models.gguf import gguf_file
from holdfast.models.loading import at_commit, load_errors
from holdfast.models.stack import ORGANISM, Stack
from holdfast.models.templates import set_template


def load_tokenizer(stack: Stack, template: str | None = None) -> PreTrainedTokenizerBase:
    """The topmost adapter's own tokenizer, else the base's; its padding token may be its end token.

    Args:
        stack: names the base and the adapters.
        template: the stage's setting; see `holdfast.models.templates`.

    Raises:
        UserError: there is no tokenizer that can be read, or the template is none.
    """
    if stack.base == ORGANISM and stack.tokenizer is None:
        tokenizer: Any = organism.load_tokenizer()
    else:
        place = str(stack.tokenizer or stack.base)
        revision = None if stack.tokenizer else stack.revision
        file = None if stack.tokenizer else gguf.base_file(stack.base)
        with load_errors(place, revision, "the tokenizer of", file):
            tokenizer = AutoTokenizer.from_pretrained(
                str(file.parent) if file else place,
                # Said, for without it transformers asks whether to run the folder's own code.
                trust_remote_code=False,
                **at_commit(revision),
                **gguf_file(file),
            )
        if stack.tokenizer or stack.base != ORGANISM:
            _check_tokenizer(tokenizer, place)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    set_template(tokenizer, template)
    return tokenizer


def _check_tokenizer(tokenizer: Any, place: str) -> None:
    """Find what a tokenizer's files may say and no stage could work with."""
    longest = tokenizer.model_max_length
    if isinstance(longest, bool) or not isinstance(longest, int | float) or not longest > 0:
        raise UserError(
            f"the tokenizer of {place} has the model_max_length {longest!r:.80}; it must be a "
            "number of tokens (tokenizer_config.json)."
        )
    template = tokenizer.chat_template
    if template is not None and not isinstance(template, str | dict):
        raise UserError(f"the tokenizer of {place} has the chat template {template!r:.80}.")
    for text in template.values() if isinstance(template, dict) else [template]:
        if text:
            check_template_ends(str(text), f"the chat template of {place}")


def check_vocabulary(model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Find out before any batch that a token, padding among them, has no embedding.

    Raises:
        UserError: the tokenizer has more tokens than the model has embeddings.
    """
    places = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > places:
        last = tokenizer.convert_ids_to_tokens(len(tokenizer) - 1)
        raise UserError(
            f"the tokenizer {tokenizer.name_or_path} has {len(tokenizer)} tokens, up to {last!r}, "
            f"and the model embeddings for {places}: the tokenizer is another model's, or a token "
            "was added to it."
        )
