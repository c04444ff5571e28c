"""What an endpoint costs, and a limit on it that is not gone over."""

import threading
from dataclasses import dataclass, field

# Tokens of input and of output, as a server counted them.
Counts = tuple[int, int]


class OverLimit(Exception):  # noqa: N818  nothing went wrong
    """The next request could cost more than is left of the limit."""


@dataclass
class Spending:
    """What requests cost, and a limit that they cannot go over.

    Before a request is sent, the most that it can cost is set aside: one token for each byte of its
    text (no tokenizer makes more) and `_TEMPLATE` for the chat's own marks, and every token that it
    may answer. Afterwards the tokens that the server counted take that place. A reply without a
    count, and a request that was sent and never answered, cost what was set aside.

    Args:
        limit: US dollars; None for no limit.
        price_in: US dollars for a million tokens of input.
        price_out: US dollars for a million tokens of output.
    """

    limit: float | None = None
    price_in: float = 0.0
    price_out: float = 0.0
    spent: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    uncounted: int = 0
    _aside: float = 0.0
    _changed: threading.Condition = field(default_factory=threading.Condition, repr=False)
    _TEMPLATE = 256

    def most(self, size: int, output_tokens: int) -> float:
        """The most that a request can cost: its text's bytes, the tokens that it may answer."""
        return self._cost(size + self._TEMPLATE, output_tokens)

    def set_aside(self, most: float) -> None:
        """Wait until so much is left besides the requests under way.

        Raises:
            OverLimit: it is not, with none under way.
        """
        with self._changed:
            while self.limit is not None and self.spent + self._aside + most > self.limit:
                if not self._aside:
                    raise OverLimit
                self._changed.wait()
            self._aside += most

    def settle(self, most: float, counts: Counts | None, sent: bool) -> None:
        """Put what a request cost in the place of what was set aside for it.

        Args:
            most: What was set aside.
            counts: Tokens of input and of output that the server counted; None where it did not.
            sent: Whether it may be billed at all: it was sent, and not turned away.
        """
        with self._changed:
            self._aside = max(0.0, self._aside - most)
            if counts is not None:
                self.input_tokens += counts[0]
                self.output_tokens += counts[1]
                self.spent += self._cost(*counts)
            elif sent:
                self.uncounted += 1
                self.spent += most
            self._changed.notify_all()

    def _cost(self, input_tokens: int, output_tokens: int) -> float:
        return (input_tokens * self.price_in + output_tokens * self.price_out) / 1e6
