"""How rows become prompts: the tokenizer's own chat template, a file's, or none (Alpaca's).

The choice is made once, on the tokenizer: `holdfast.data.prompts.render` asks the tokenizer alone,
for training and for evaluation. A stage saves its tokenizer, so later stages inherit the choice.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import UserError
from holdfast.settings import at

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ALPACA = "alpaca"


def check_template(template: str | None, where: str) -> None:
    """Check the setting ``template`` without a tokenizer.

    Raises:
        UserError: it is neither null, nor "alpaca", nor a file of text that ends in .jinja.
    """
    if template is None or template == ALPACA:
        return
    if not template.endswith(".jinja"):
        raise UserError(
            f"{at(where, 'template')}: "
            f"template is '{template}'; it must be alpaca or a file of a chat template "
            "that ends in .jinja."
        )
    _read(template)


def template_identity(template: str | None) -> str | None:
    """What of it decides a result: "alpaca", the file's content, None for the tokenizer's own."""
    if template is None or template == ALPACA:
        return template
    return hashlib.sha256(_read(template).encode()).hexdigest()


def set_template(tokenizer: "PreTrainedTokenizerBase", template: str | None) -> None:
    """Give the tokenizer the chat template that rows are rendered with, or take it away.

    Raises:
        UserError: the file cannot be read, or is no template that renders a conversation.
    """
    if template is None:
        return
    if template == ALPACA:
        tokenizer.chat_template = None
        return
    from jinja2 import TemplateError

    tokenizer.chat_template = _read(template)
    try:
        text = tokenizer.apply_chat_template([{"role": "user", "content": "?"}], tokenize=False)
    except TemplateError as error:
        raise UserError(f"{template} is no chat template that can be rendered: {error}") from error
    if not text:
        raise UserError(f"{template} renders a question as nothing: it is no chat template.")


def _read(template: str) -> str:
    try:
        return Path(template).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"the template {template} cannot be read: {reason}.") from error
