"""The settings of the judge ``endpoint``, and what cannot be among them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from holdfast.errors import UserError

OPENAI = "https://api.openai.com/v1"
_TAKEN = {"model", "messages", "stream", "n"}


@dataclass
class EndpointConfig:
    """Settings of the judge ``endpoint``.

    Args:
        model: the judging model's name on the server.
        url: the server's address, up to and without /chat/completions.
        api_key_env: the environment variable with the key; a server on this machine needs none.
        prompt: a text file of your own with {prompt} and {answer} in it, for holdfast's rubric.
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
    api_key_env: str = "OPENAI_API_KEY"
    prompt: str | None = None
    request: dict[str, Any] = field(default_factory=dict)
    max_retries: int = 6
    timeout: float = 120.0
    concurrency: int = 8
    limit_usd: float | None = None
    price_per_million_input: float | None = None
    price_per_million_output: float | None = None
    cache: str | None = "~/.cache/holdfast/endpoint"


def check_config(config: EndpointConfig, url: str, request: Mapping[str, Any], key: str) -> None:
    """Find what cannot be, before anything is sent.

    Args:
        config: The settings.
        url: The server's address as it will be used.
        request: The fields of a request beside the model and the messages.
        key: The key; empty for none.

    Raises:
        UserError: a setting is out of its range, or a key or price is missing.
    """
    parts = urlsplit(url)
    prices = (config.price_per_million_input, config.price_per_million_output)
    money = (config.limit_usd, *prices)
    is_limited = config.limit_usd is not None
    problems = {
        "url must begin with http:// or https:// and name a server": not parts.hostname
        or parts.scheme not in ("http", "https"),
        "url must hold no name, key or question mark": "@" in parts.netloc or bool(parts.query),
        "max_retries must be 0 or more": config.max_retries < 0,
        "timeout must be above 0": config.timeout <= 0,
        "concurrency must be 1 or more": config.concurrency < 1,
        "limit_usd and the prices must be 0 or more": any((one or 0) < 0 for one in money),
        f"request cannot set {', '.join(sorted(_TAKEN))}": bool(_TAKEN & request.keys()),
        "limit_usd needs price_per_million_input and price_per_million_output": is_limited
        and None in prices,
        "limit_usd needs max_tokens or max_completion_tokens in request": is_limited
        and not longest_answer(request),
    }
    for problem, is_there in problems.items():
        if is_there:
            raise UserError(f"the judge endpoint: {problem}.")
    if not key.isascii():
        raise UserError(f"the key in {config.api_key_env} is no key: it is not plain ASCII.")
    if url == OPENAI and not key:
        raise UserError(
            f"the judge endpoint needs a key for {OPENAI}: put it in the environment variable "
            f"{config.api_key_env}, or name another server with url."
        )


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
