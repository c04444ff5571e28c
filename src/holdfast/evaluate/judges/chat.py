"""A chat-completions server, asked with patience: retries and back-off.

Not by the `openai` package: what it does by itself had to be undone (it sends what machine this is
and OPENAI_CUSTOM_HEADERS to any address, follows redirects, bounds each read and not the attempt,
waits where Ctrl-C does not reach it), which took 64 lines more, and half a second to import.
"""

import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2

from holdfast.errors import UserError
from holdfast.escape import visible
from holdfast.evaluate.judges.spending import Counts, Spending

# Waits, in seconds: the first, the longest that we choose, the longest that a server may ask for.
_FIRST_WAIT, _LONGEST_WAIT, _LONGEST_ASKED = 1.0, 60.0, 300.0
# Local servers are given a word in the place of a key, such as EMPTY.
_SHORTEST_KEY = 8
_LARGEST_REPLY = 4 * 2**20  # bytes; no verdict is that long
_PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Reply:
    """What the server said.

    Args:
        text: The message's text; empty where it is none.
        why_empty: Why the text is empty, where the server says so.
        model: The model that the server says it used.
        counts: The tokens of input and of output that it counted; None where it did not say.
    """

    text: str
    why_empty: str = ""
    model: str = ""
    counts: Counts | None = None


class Halted(Exception):  # noqa: N818  nothing went wrong
    """The client was closed; nothing more is sent."""


class _Passing(Exception):  # noqa: N818  it may pass
    """Something that may be over in a moment.

    Args:
        what: What happened, for a message.
        wait: The seconds that the server asks to wait; None where it does not.
        billed: Whether the request may have been worked on, and so is paid for.
    """

    def __init__(self, what: str, wait: float | None = None, billed: bool = False):
        super().__init__(what)
        self.what, self.wait, self.billed = what, wait, billed


class ChatClient:
    """Asks one server; several threads may at once.

    Args:
        url: The base address, up to and without ``/chat/completions``.
        key: The key; None for none. It is sent by https, or to this machine, and nowhere else.
        key_name: Where the key is from, for messages.
        timeout: Seconds for one attempt, from beginning to end.
        max_retries: How often a request is repeated after the first attempt.
        spending: What it costs.
        sleep: Waits some seconds; the tests' returns at once. The default wakes up when stopped.
        jitter: A number from 0 to 1 by chance.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        key_name: str,
        timeout: float,
        max_retries: int,
        spending: Spending,
        sleep: Callable[[float], object] | None = None,
        jitter: Callable[[], float] = random.random,
    ):
        self.url, self.key_name, self.timeout = url, key_name, timeout
        self.max_retries, self.spending, self.jitter = max_retries, spending, jitter
        parts = urlsplit(url)
        is_here = parts.hostname in _LOCAL_HOSTS
        self._key = key or ""
        self.sends_key = bool(key) and (parts.scheme == "https" or is_here)
        self.stopping = threading.Event()
        self.sleep = sleep or self.stopping.wait
        self._http = httpx2.Client(
            timeout=timeout,
            headers={"Authorization": f"Bearer {key}"} if self.sends_key else {},
            limits=httpx2.Limits(max_connections=None),
            # What is for this machine takes no way through a proxy that the environment names: it
            # would read the key.
            mounts=dict.fromkeys(("http://", "https://"), None) if is_here else None,
        )

    def close(self) -> None:
        """Stop waiting and close the connections."""
        self.stopping.set()
        self._http.close()

    def ask(self, request: Mapping[str, Any], most: float) -> Reply:
        """Send one request until a chat completion comes back.

        Args:
            request: The body of the request.
            most: The most that it can cost, US dollars; see `Spending.most`.

        Raises:
            UserError: the server refuses it, or did not answer in all the attempts.
            OverLimit: the limit on spending does not allow one more attempt.
            Halted: the client was closed.
        """
        for attempt in range(self.max_retries + 1):
            if self.stopping.is_set():
                raise Halted
            self.spending.set_aside(most)
            counts, billed = None, False
            try:
                reply = self._send(request)
                counts, billed = reply.counts, True
                return reply
            except _Passing as passing:
                billed, trouble = passing.billed, passing
            finally:
                self.spending.settle(most, counts, billed)
            if attempt == self.max_retries:
                tried = f"{attempt + 1} times" if attempt else "once"
                raise UserError(f"the judge at {self.url} {trouble.what}; it was asked {tried}.")
            self._wait(attempt, trouble)
        raise AssertionError

    def _wait(self, attempt: int, trouble: _Passing) -> None:
        """Back off: twice as long each time, by chance between half of it and all of it."""
        wait = min(_FIRST_WAIT * 2**attempt, _LONGEST_WAIT) * (1 + self.jitter()) / 2
        if trouble.wait is not None:
            if trouble.wait > _LONGEST_ASKED:
                raise UserError(
                    f"the judge at {self.url} {trouble.what} and asks to wait "
                    f"{trouble.wait:.0f} seconds: run the same command again later."
                )
            wait = max(wait, trouble.wait)
        self.sleep(wait)

    def _send(self, request: Mapping[str, Any]) -> Reply:
        deadline = time.monotonic() + self.timeout
        body, status, headers = bytearray(), 0, {}
        try:
            content = json.dumps(request).encode("ascii")
            with self._http.stream(
                "POST",
                f"{self.url}/chat/completions",
                content=content,
                headers={"Content-Type": "application/json"},
            ) as response:
                status, headers = response.status_code, response.headers
                for part in response.iter_bytes():
                    body += part
                    if time.monotonic() > deadline:
                        raise httpx2.ReadTimeout("slow")
                    if len(body) > _LARGEST_REPLY:
                        raise _Passing("answers without an end", None, True)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            why = "its certificate is not trusted" if "CERTIFICATE" in str(error) else "no server"
            raise _Passing(f"cannot be reached ({why} at that address)") from None
        except httpx2.TimeoutException:
            raise _Passing(f"gave no answer in {self.timeout:g} seconds", None, True) from None
        except httpx2.InvalidURL as error:
            raise UserError(f"'{self.url}' is no address of a server: {error}.") from None
        except (httpx2.HTTPError, RuntimeError):  # RuntimeError: the client was closed meanwhile
            raise _Passing("broke the connection off", None, True) from None
        if status != 200:
            self._complain(status, headers, bytes(body))
        return _read(bytes(body), self._without_key)

    def _without_key(self, text: str) -> str:
        """A text of a reply in which the key does not stand: some servers send it back.

        Nothing of a reply is shown or kept before this. A word of a few letters is no secret, and
        may stand in any text.
        """
        return text if len(self._key) < _SHORTEST_KEY else text.replace(self._key, "[the key]")

    def _complain(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        said, code = _said(body, self._without_key)
        if status in (401, 403):
            given = "no key was sent" if not self.sends_key else "the key was refused"
            raise UserError(
                f"the judge at {self.url} answers {status}, {given}: put a valid key in the "
                f"environment variable {self.key_name}{self._plain_http()}."
            )
        if status in _PASSING and code != "insufficient_quota":
            raise _Passing(f"answers {status}{said}", _retry_after(headers))
        hint = "" if said else "; the address must be what stands before /chat/completions"
        raise UserError(f"the judge at {self.url} answers {status}{said}{hint}.")

    def _plain_http(self) -> str:
        is_plain = urlsplit(self.url).scheme == "http" and not self.sends_key
        return " and use https, since a key is not sent in the clear" if is_plain else ""


def _read(body: bytes, cleaned: Callable[[str], str]) -> Reply:
    """A chat completion's text and counts; what is none counts as a passing trouble."""
    try:
        content = json.loads(body)
        choice = content["choices"][0]
        message = choice["message"]
        text, declined = message.get("content"), message.get("refusal")
        if not isinstance(text, str | None):
            raise TypeError
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        what = "answers nothing" if not body.strip() else "answers what is no chat completion"
        raise _Passing(what, None, True) from None
    why = f"it declined: {declined}" if declined else f"finish_reason {choice.get('finish_reason')}"
    usage = content.get("usage") if isinstance(content.get("usage"), Mapping) else {}
    return Reply(
        cleaned(text or ""),
        "" if text else visible(cleaned(why))[:200],
        cleaned(str(content.get("model") or "")),
        _counts(usage.get("prompt_tokens"), usage.get("completion_tokens")),
    )


def _counts(sent: object, answered: object) -> Counts | None:
    if isinstance(sent, int) and isinstance(answered, int) and min(sent, answered) >= 0:
        return sent, answered
    return None


def _said(body: bytes, cleaned: Callable[[str], str]) -> tuple[str, str]:
    """What an error's body says, for a message, and its code."""
    try:
        error = json.loads(body)["error"]
        message, code = str(error["message"]), str(error.get("code"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "", ""
    short = visible(" ".join(cleaned(message).split())).rstrip(".")
    return f" ({short[:200]})", code


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds of a Retry-After header, which may also be a date."""
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
