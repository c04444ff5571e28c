"""The judge ``endpoint``: any server that speaks OpenAI's chat-completions API."""

import hashlib
import json
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path

from holdfast.errors import UserError
from holdfast.escape import visible
from holdfast.evaluate.judges.base import Item, Progress, Verdict
from holdfast.evaluate.judges.chat import ChatClient, Halted, Reply
from holdfast.evaluate.judges.endpoint_settings import (
    EndpointConfig,
    address,
    check_config,
    check_key,
    longest_answer,
    read_key,
    read_template,
    request_fields,
)
from holdfast.evaluate.judges.rubrics import RUBRICS
from holdfast.evaluate.judges.spending import OverLimit, Spending
from holdfast.evaluate.judges.verdicts import framed, item_id

# A well-formed reply without a verdict is asked for again this often: at temperature 0 the next one
# is mostly the same, and it is paid for.
_NONSENSE_RETRIES = 2
# With this many replies and no verdict among them, something is wrong with the prompt or the model.
_HOPELESS = 20


class EndpointJudge:
    """Asks a language model behind an endpoint for a verdict on each answer.

    The judge reads the rubric's frame as the system's message, which says how texts are marked and
    how to reply, and the rubric (`holdfast.evaluate.judges.rubrics`, or the user's own file in the
    place of holdfast's) as the user's, in which ``{prompt}`` and ``{answer}`` stand for the marked
    texts; see `holdfast.evaluate.judges.verdicts` for how an answer is kept from posing as anything
    else. A verdict is read from the server's reply alone; a reply without one is asked for
    `_NONSENSE_RETRIES` times more and then is ``Verdict(None, …)``, with the reply's beginning as
    its label.

    Replies with a verdict are kept in ``cache`` as they come, under a hash of all that decides
    them, so an interrupted judging goes on where it was. Equal answers to equal prompts are asked
    once.
    """

    name = "endpoint"

    def __init__(
        self,
        config: EndpointConfig,
        sleep: Callable[[float], object] | None = None,
        jitter: Callable[[], float] = random.random,
    ):
        """Check the settings; nothing is sent.

        Args:
            config: The settings.
            sleep: Waits some seconds between attempts.
            jitter: A number from 0 to 1 by chance, for those waits.

        Raises:
            UserError: a setting that cannot be, a prompt file that is not there, no key.
        """
        self.config, self._sleep, self._jitter = config, sleep, jitter
        check_config(config)
        check_key(config)
        self.url, self._key = address(config), read_key(config)
        self._request = request_fields(config)
        self._rubric = RUBRICS[config.rubric]
        self._template = read_template(config.prompt) if config.prompt else self._rubric.text
        self._cache = Path(config.cache).expanduser() if config.cache else None
        self._cached = 0
        self._served: set[str] = set()
        self.spending = Spending(
            config.limit_usd,
            config.price_per_million_input or 0.0,
            config.price_per_million_output or 0.0,
        )

    def record(self) -> dict[str, str | int | float | None]:
        """All that decides the verdicts: model, address, prompt, and the request's other fields."""
        prompt = f"{self.config.rubric} {self._rubric.version}"
        if self.config.prompt is not None:
            prompt = _digest(self._template)[:12]
        return {
            "name": self.name,
            "model": self.config.model,
            "url": self.url,
            "prompt": prompt,
            "request": json.dumps(self._request, sort_keys=True),
        }

    def usage(self) -> dict[str, int | float | str]:
        """What the judgings of this object took: tokens, US dollars, the models that answered."""
        return {
            "input_tokens": self.spending.input_tokens,
            "output_tokens": self.spending.output_tokens,
            "requests_without_a_count": self.spending.uncounted,
            "usd": round(self.spending.spent, 6),
            "from_cache": self._cached,
            "served_by": ", ".join(sorted(self._served)),
        }

    def judge(self, items: Sequence[Item], progress: Progress | None = None) -> list[Verdict]:
        """One verdict for each item, in their order.

        Raises:
            UserError: the server cannot be used (the sentence says why), the limit on spending is
                reached, or no reply is a verdict. What is judged by then is in the cache.
        """
        keys = [self._cache_key(item) for item in items]
        times, asked = Counter(keys), dict(zip(keys, items, strict=True))
        found: dict[str, Verdict] = {}
        for key, item in asked.items():
            verdict = self._rubric.read(self._from_cache(key), self._id(item))
            if verdict.harmful is not None:
                found[key] = verdict
        self._cached += len(found)
        done = sum(times[key] for key in found)
        if progress and done:
            progress(done, len(items))
        missing = {key: item for key, item in asked.items() if key not in found}
        # Closed here and now when `progress` raises: no request goes on behind the caller's back.
        with closing(self._ask_all(missing, len(found), len(asked))) as told:
            for key, verdict in told:
                found[key] = verdict
                done += times[key]
                if progress:
                    progress(done, len(items))
        return [found[key] for key in keys]

    def _ask_all(
        self, missing: Mapping[str, Item], before: int, total: int
    ) -> Generator[tuple[str, Verdict]]:
        """Give (key, verdict) as they come."""
        if not missing:
            return
        config = self.config
        client = ChatClient(
            self.url,
            self._key,
            config.api_key_env,
            config.timeout,
            config.max_retries,
            self.spending,
            self._sleep,
            self._jitter,
        )
        pool = ThreadPoolExecutor(max_workers=config.concurrency)
        try:
            futures = {
                pool.submit(self._ask, client, key, item): key for key, item in missing.items()
            }
            yield from self._collect(futures, before, total)
        except KeyboardInterrupt:
            client.close()
            raise
        finally:
            # What is under way comes to its end, for it is paid; nothing new is sent.
            client.stopping.set()
            pool.shutdown(wait=True, cancel_futures=True)
            client.close()

    def _collect(
        self, futures: Mapping[Future[Verdict], str], before: int, total: int
    ) -> Generator[tuple[str, Verdict]]:
        told = failed = 0
        for future in as_completed(futures):
            try:
                verdict = future.result()
            except Halted:
                continue  # on account of another one, which tells why
            except OverLimit:
                # Requests under way may still come back: their replies are paid for.
                late = sum(_is_told(other) for other in futures)
                raise UserError(self._over_limit(before + late, total)) from None
            told, failed = told + 1, failed + (verdict.harmful is None)
            if failed == told >= _HOPELESS:
                raise UserError(
                    f"the judge {self.config.model} gave no verdict in {told} replies; the last "
                    f"one begins '{verdict.label[:80]}': its prompt must ask for one, or the model "
                    "is too weak for it."
                )
            yield futures[future], verdict

    def _over_limit(self, done: int, total: int) -> str:
        kept = f"kept in {self._cache}" if self._cache else "lost, since cache is null"
        return (
            f"the judge stopped before going over limit_usd {self.config.limit_usd:g} (spent "
            f"{self.spending.spent:.4f}): {done} of {total} answers are judged and {kept}; raise "
            "the limit and run the same command again."
        )

    def _ask(self, client: ChatClient, key: str, item: Item) -> Verdict:
        try:
            return self._verdict(client, key, item)
        except (UserError, OverLimit):
            client.stopping.set()  # at once, and not when the main thread has come to it
            raise

    def _verdict(self, client: ChatClient, key: str, item: Item) -> Verdict:
        messages = self._messages(item)
        request = {"model": self.config.model, "messages": messages, **self._request}
        size = len(json.dumps(messages, ensure_ascii=False).encode())
        most = self.spending.most(size, longest_answer(self._request))
        verdict = Verdict(None, "")
        for _ in range(1 + min(_NONSENSE_RETRIES, self.config.max_retries)):
            reply = client.ask(request, most)
            if reply.model:
                self._served.add(visible(reply.model)[:100])
            verdict = self._rubric.read(reply.text, self._id(item))
            if verdict.harmful is not None:
                self._to_cache(key, reply)
                return verdict
            if reply.why_empty:
                verdict = verdict._replace(label=f"no text ({reply.why_empty})")
        return verdict

    def _messages(self, item: Item) -> list[dict[str, str]]:
        mark = self._id(item)
        texts = {"{prompt}": framed("prompt", item.prompt, mark)}
        texts["{answer}"] = framed("answer", item.answer, mark)
        # In one pass: what stands in the prompt for "{answer}" is not filled in.
        rubric = re.sub(r"\{prompt\}|\{answer\}", lambda m: texts[m[0]], self._template)
        return [
            {"role": "system", "content": self._rubric.frame.replace("{id}", mark)},
            {"role": "user", "content": rubric},
        ]

    def _id(self, item: Item) -> str:
        return item_id(self._template, item.prompt, item.answer)

    def _cache_key(self, item: Item) -> str:
        decisive = [self.url, self.config.model, self._request, self._messages(item)]
        return _digest(json.dumps(decisive, sort_keys=True))

    def _from_cache(self, key: str) -> str:
        """The reply that is kept; nothing where there is none, or only a part of one."""
        if self._cache is None:
            return ""
        try:
            kept = json.loads((self._cache / f"{key}.json").read_text(encoding="utf-8"))
            return str(kept["reply"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def _to_cache(self, key: str, reply: Reply) -> None:
        if self._cache is None:
            return
        content = {"reply": reply.text, "model": reply.model, "tokens": reply.counts}
        beside = self._cache / f"{key}.{os.getpid()}.new"
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(content), encoding="ascii")
            os.replace(beside, self._cache / f"{key}.json")
        except OSError as error:
            raise UserError(
                f"the judge's cache {self._cache} cannot be written: {error.strerror}."
            ) from error


def _is_told(future: "Future[Verdict]") -> bool:
    """Whether a request came back with a verdict, once it has ended."""
    if future.cancel():
        return False
    try:
        return future.result().harmful is not None
    except (UserError, OverLimit, Halted):
        return False


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
