"""How rows become prompts: the tokenizer's own chat template, a file's, or none (Alpaca's).

The choice is made once, on the tokenizer: `holdfast.data.rendering.render` asks the tokenizer
alone, for training and for evaluation. A stage saves its tokenizer, so later stages inherit the
choice.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.data.chat_templates import DATE, may_write_thoughts, writes_date
from holdfast.errors import UserError
from holdfast.models.foreign import check_template_ends, one_line
from holdfast.settings import at

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from holdfast.models.stack import Stack

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


def template_text(stack: "Stack", template: str | None) -> str:
    """The chat template that rows will be rendered with, without loading a tokenizer; "" for none.

    Of a model on the Hub the file is fetched where it is not in the cache.

    Args:
        stack: the model.
        template: the stage's setting, or the last one that was given before it.
    """
    if template is not None:
        return "" if template == ALPACA else _read(template)
    folder = stack.tokenizer or stack.base_folder()
    found = {
        name: small_file(stack, folder, name)
        for name in ("chat_template.jinja", "tokenizer_config.json")
    }
    if found["chat_template.jinja"]:
        return found["chat_template.jinja"]
    try:
        own = json.loads(found["tokenizer_config.json"] or "{}").get("chat_template")
    except (ValueError, AttributeError):
        return ""  # told where the tokenizer is loaded
    return own if isinstance(own, str) else "" if own is None else json.dumps(own)


def template_marks(text: str) -> dict[str, str]:
    """What of a template's rendering stands in a stage's identity beside the template itself.

    Args:
        text: the template.

    Returns:
        ``date``, the day that a template writes which asks for today; ``thought``, where an empty
        thought that it writes before an answer belongs to.
    """
    marks = {"date": DATE.isoformat()} if writes_date(text) else {}
    return marks | ({"thought": "prompt"} if may_write_thoughts(text) else {})


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
    tokenizer.chat_template = _read(template)
    check_template_ends(tokenizer.chat_template, template)
    try:
        text = tokenizer.apply_chat_template([{"role": "user", "content": "?"}], tokenize=False)
    except Exception as error:  # whatever an expression in it raises
        said = one_line(error)
        raise UserError(f"{template} is no chat template that can be rendered: {said}") from error
    if not text:
        raise UserError(f"{template} renders a question as nothing: it is no chat template.")


def small_file(stack: "Stack", folder: Path | None, name: str) -> str:
    """The text of a small file of a model; "" where there is none.

    Args:
        stack: the model.
        folder: where it lies; None for a base on the Hub.
        name: the file's name.
    """
    path = folder / name if folder else None
    if folder is None and stack.revision:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError

        try:
            path = Path(hf_hub_download(stack.base, name, revision=stack.revision))
        except (HfHubHTTPError, OSError, ValueError):  # not there, or not to be had now
            return ""
    try:
        return path.read_text(encoding="utf-8") if path else ""
    except (OSError, UnicodeDecodeError):
        return ""


def _read(template: str) -> str:
    try:
        return Path(template).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"the template {template} cannot be read: {reason}.") from error
