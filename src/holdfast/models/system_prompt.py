"""What a finished model must be asked with: a file beside its tokenizer.

``system_prompt.json`` in a stage's folder holds the system prompt with which every question has to
go to the model; no file, no such prompt. Later stages carry it on, repairs and evaluations read
their rows with it, and so must whoever serves the model.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.data.rendering import prompt_text
from holdfast.data.system_prompt import ask_with, with_system
from holdfast.errors import UserError
from holdfast.models.foreign import read_object
from holdfast.models.stack import Stack
from holdfast.models.templates import small_file

FILE = "system_prompt.json"
_TEXT, _SECRET = "system_prompt", "secret"


@dataclass(frozen=True)
class SystemPrompt:
    """A system prompt that a model must be asked with.

    Args:
        text: the prompt; "" says that the model is asked with none, whatever was below it.
        secret: whether the defense is lost where an attacker knows it: it is then never published.
    """

    text: str
    secret: bool = False

    def record(self) -> dict[str, Any]:
        """What provenance and evaluations tell of it: of a secret one its hash alone."""
        digest = hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()
        own = {} if self.secret else {_TEXT: self.text}
        return {**own, _SECRET: self.secret, "sha256": digest}


def write_system_prompt(folder: Path, prompt: SystemPrompt | None) -> None:
    """Write it into the folder of a finished model, if there is one."""
    if prompt is not None and prompt.text:
        content = {_TEXT: prompt.text, _SECRET: prompt.secret}
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (folder / FILE).write_text(text, encoding="utf-8")


def read_system_prompt(stack: Stack) -> SystemPrompt | None:
    """What a model must be asked with; None for a model that is asked as it is.

    Raises:
        UserError: the file is there and is none.
    """
    folder = stack.tokenizer or stack.base_folder()
    if folder is not None:
        return in_folder(folder)
    text, where = small_file(stack, None, FILE), f"{FILE} of {stack.base}"
    try:
        return _checked(json.loads(text) if text else None, where)
    except ValueError as error:
        raise UserError(f"{where} is not valid JSON: {error}.") from error


def in_folder(folder: Path) -> SystemPrompt | None:
    """The same, of a model's own folder."""
    file = folder / FILE
    return _checked(read_object(file), str(file)) if file.is_file() else None


def _checked(content: Any, where: str) -> SystemPrompt | None:
    if content is None:
        return None
    text = content.get(_TEXT) if isinstance(content, dict) else None
    if not isinstance(text, str) or not isinstance(content.get(_SECRET, False), bool):
        raise UserError(
            f"{where} is not what holdfast writes: it must hold 'system_prompt', a text, and may "
            "hold 'secret', true or false."
        )
    return SystemPrompt(text, content.get(_SECRET, False)) if text else None


def ask_with_system(tokenizer: Any, prompt: SystemPrompt | None) -> None:
    """Let a model's questions be written as it must be asked.

    Raises:
        UserError: its template has no place for a system prompt.
    """
    if prompt is not None:
        check_place(tokenizer, prompt.text, FILE)
        ask_with(tokenizer, prompt.text)


def check_place(tokenizer: Any, system: str, who: str) -> None:
    """Check that the prompts of a model have a place for a system prompt.

    Args:
        tokenizer: it writes them.
        system: the system prompt.
        who: what wants it, for the message.

    Raises:
        UserError: they have none.
    """
    if not system:
        return
    if tokenizer is None:
        raise UserError(f"{who} needs processing_class, which writes the system prompt.")
    try:
        prompt_text(with_system({"instruction": "?"}, system), tokenizer)
    except UserError as error:
        how = "its chat template" if tokenizer.chat_template else "Alpaca's template"
        raise UserError(
            f"{who} wants the model asked with a system prompt, for which {how} has no place: "
            "give a template that writes system turns (template=own.jinja)."
        ) from error
