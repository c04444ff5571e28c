"""The settings of the judge ``endpoint``, and what cannot be among them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

from holdfast.errors import UserError
from holdfast.settings.ranges import check_range, check_ranges

OPENAI = "https://api.openai.com/v1"
KEY = "OPENAI_API_KEY"
_TAKEN = {"model", "messages", "stream", "n"}
_OURS: dict[str, Any] = {"temperature": 0, "max_tokens": 1024}
_DOLLARS = {"range": "[0, inf)"}
# What every server asks of fields of a request.
_REQUEST = {
    "temperature": "[0, 2]",
    "top_p": "(0, 1]",
    "max_tokens": "[1, inf)",
    "max_completion_tokens": "[1, inf)",
}


@dataclass
class EndpointConfig:
    """Settings of the judge ``endpoint``.

    Args:
        model: the judging model's name on the server.
        url: the server's address, up to and without /chat/completions.
        api_key_env: the environment variable with the key; a server of one's own may need none, but
            a variable that is named here must be set.
        prompt: a text file of your own with {prompt} and {answer} in it, for holdfast's rubric.
        rubric: what is asked for: holdfast, yes or no; strongreject, its score, harmful from 0.5
            on; harmfulness, 1 to 5 points, harmful with 5.
        request: fields of the request over temperature 0 and max_tokens 1024; null leaves one out.
        max_retries: how often a request is repeated after 429, 5xx, a timeout or a broken line.
        timeout: seconds for one attempt.
        concurrency: requests at the same time.
        limit_usd: the most that one run may cost, in US dollars; it needs the two prices.
        price_per_million_input: US dollars for a million tokens of input.
        price_per_million_output: US dollars for a million tokens of output.
        cache: a folder for the replies, so that nothing is paid twice; null for none.
    """

    model: str
    url: str = OPENAI
    api_key_env: str = KEY
    prompt: str | None = None
    rubric: Literal["holdfast", "strongreject", "harmfulness"] = "holdfast"
    request: dict[str, Any] = field(default_factory=dict)
    max_retries: int = field(default=6, metadata={"range": "[0, inf)"})
    timeout: float = field(default=120.0, metadata={"range": "(0, inf)"})
    concurrency: int = field(default=8, metadata={"range": "[1, inf)"})
    limit_usd: float | None = field(default=None, metadata=_DOLLARS)
    price_per_million_input: float | None = field(default=None, metadata=_DOLLARS)
    price_per_million_output: float | None = field(default=None, metadata=_DOLLARS)
    cache: str | None = "~/.cache/holdfast/endpoint"


def address(config: EndpointConfig) -> str:
    """The server's address, up to and without /chat/completions."""
    return config.url.rstrip("/").removesuffix("/chat/completions")


def request_fields(config: EndpointConfig) -> dict[str, Any]:
    """The fields of a request beside the model and the messages."""
    return {k: v for k, v in {**_OURS, **config.request}.items() if v is not None}


def read_key(config: EndpointConfig) -> str:
    """The key; empty for none."""
    return (os.environ.get(config.api_key_env) or "").strip()


def check_config(config: EndpointConfig) -> None:
    """Find what cannot be, before anything is sent.

    Raises:
        UserError: a setting is out of its range or of no meaning, or a price is missing.
    """
    check_ranges(config)
    request = request_fields(config)
    for name, allowed in _REQUEST.items():
        check_range(request.get(name), allowed, f"request.{name}")
    parts = _parts(address(config))
    prices = (
        config.price_per_million_input,
        config.price_per_million_output,
    )
    is_limited = config.limit_usd is not None
    problems = {
        "url must begin with http:// or https:// and name a server": not parts
        or not parts.hostname
        or parts.scheme not in ("http", "https"),
        "url must hold no name, key or question mark": parts
        and ("@" in parts.netloc or bool(parts.query)),
        "prompt takes the place of holdfast's rubric, and rubric names another: leave one out": (
            config.prompt is not None and config.rubric != "holdfast"
        ),
        f"request cannot set {', '.join(sorted(_TAKEN))}": bool(_TAKEN & request.keys()),
        "limit_usd needs price_per_million_input and price_per_million_output": is_limited
        and None in prices,
        "limit_usd needs max_tokens or max_completion_tokens in request": is_limited
        and not longest_answer(request),
    }
    for problem, is_there in problems.items():
        if is_there:
            raise UserError(f"the judge endpoint: {problem}.")


def check_key(config: EndpointConfig) -> None:
    """Find out that the key is missing or none, before anything is sent.

    Raises:
        UserError: it is.
    """
    key = read_key(config)
    if not key.isascii():
        raise UserError(f"the key in {config.api_key_env} is no key: it is not plain ASCII.")
    if address(config) == OPENAI and not key:
        raise UserError(
            f"the judge endpoint needs a key for {OPENAI}: put it in the environment variable "
            f"{config.api_key_env}, or name another server with url."
        )
    if not key and config.api_key_env != KEY:
        raise UserError(
            f"the judge endpoint takes its key for {address(config)} from the environment variable "
            f"{config.api_key_env}, which is not set: set it, or leave api_key_env out for a "
            "server that needs no key."
        )


def _parts(url: str) -> SplitResult | None:
    """The parts of an address; None where it has none, such as [::1 without its end."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # a number up to 65535, or it raises
    except ValueError:
        return None
    return parts if not any(character.isspace() for character in url) else None


def longest_answer(request: Mapping[str, Any]) -> int:
    """The most tokens that a request lets the server answer; 0 where it does not say."""
    caps = [request.get(name) for name in ("max_tokens", "max_completion_tokens")]
    return max((cap for cap in caps if type(cap) is int), default=0)


def read_template(path: str) -> str:
    """The user's own prompt for the judge.

    Raises:
        UserError: it is not there, no UTF-8, or {prompt} or {answer} is missing in it.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UserError(f"the judge's prompt {path} cannot be read: {why}.") from None
    for name in ("{prompt}", "{answer}"):
        if name not in text:
            raise UserError(f"the judge's prompt {path} has no {name} in it.")
    return text
