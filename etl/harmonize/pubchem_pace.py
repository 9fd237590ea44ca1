"""When the next request to PubChem may go out.

Here: the published limits, and what each reply says about the state of the service. Not here: the requests
themselves and their repetition (``pubchem_rest.py``).

Limits and the header ``X-Throttling-Control`` are those of PubChem's usage policy ("Programmatic access",
"Dynamic request throttling"): at most 5 requests a second, 400 requests a minute and 300 s of running time a
minute. One request at a time cannot run for more than 60 s a minute, so the third limit needs no watching.
"""

import logging
import re
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Final, Protocol

REQUESTS_PER_SECOND: Final = 5.0
REQUESTS_PER_MINUTE: Final = 400
LONGEST_WAIT_S: Final = 300.0
"""A longer ``Retry-After`` is cut to this; a service that stays away ends the asking instead."""

BLOCKED_WAIT_S: Final = 60.0
"""Wait after *Black*: the limits are counted by the minute."""

_SLOWDOWN: Final = {"green": 1.0, "yellow": 2.0, "red": 5.0, "black": 5.0}
_IN_WORDS: Final = {"idle": "green", "moderate": "yellow", "busy": "red", "overloaded": "black"}
_STATUS: Final = re.compile(r"status:\s*([A-Za-z]+)")
_MINUTE_S: Final = 60.0
_log = logging.getLogger(__name__)


class Clock(Protocol):
    """Time that passes; another one makes tests that wait for minutes instant."""

    def now(self) -> datetime:
        """Return the time of day, UTC."""

    def elapsed_s(self) -> float:
        """Return seconds from some fixed moment; never goes back."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""


class SystemClock:
    """The computer's clock."""

    def now(self) -> datetime:
        """Return the time of day, UTC."""
        return datetime.now(UTC)

    def elapsed_s(self) -> float:
        """Return seconds from some fixed moment; never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)


@dataclass(slots=True)
class Pace:
    """The rhythm of requests: never faster than the limits, slower while the service is strained.

    Args:
        per_second: requests a second while all is green.
        per_minute: requests in any 60 s.
        clock: what tells and passes the time.
    """

    per_second: float = REQUESTS_PER_SECOND
    per_minute: int = REQUESTS_PER_MINUTE
    clock: Clock = field(default_factory=SystemClock)
    _sent: deque[float] = field(default_factory=deque, init=False)
    _not_before: float = field(default=float("-inf"), init=False)
    _status: str = field(default="green", init=False)

    def wait(self) -> None:
        """Sleep until the next request may go out, and count it as sent."""
        next_at = self._not_before
        if self._sent:
            next_at = max(next_at, self._sent[-1] + _SLOWDOWN[self._status] / self.per_second)
        if len(self._sent) >= self.per_minute:
            next_at = max(next_at, self._sent[0] + _MINUTE_S)
        if (seconds := next_at - self.clock.elapsed_s()) > 0:
            self.clock.sleep(seconds)
        self._sent.append(self.clock.elapsed_s())
        while len(self._sent) > self.per_minute:
            self._sent.popleft()

    def postpone(self, seconds: float) -> None:
        """Let no request go out before so many seconds have passed."""
        self._not_before = max(self._not_before, self.clock.elapsed_s() + seconds)

    def heed(self, headers: Message) -> None:
        """Take over what a reply, good or bad, says of the service's state.

        The worst of the stated statuses counts: *Yellow* halves the pace, *Red* makes it a fifth, *Black*
        waits for ``BLOCKED_WAIT_S``. ``Retry-After`` is respected up to ``LONGEST_WAIT_S``.
        """
        if (retry_after := headers.get("Retry-After")) is not None:
            seconds = self._seconds_of(retry_after)
            if seconds is not None:
                self.postpone(min(max(seconds, 0.0), LONGEST_WAIT_S))
        if (stated := headers.get("X-Throttling-Control")) is None:
            return
        status = _worst_status(stated)
        if status != self._status:
            _log.info("PubChem's state is %s: %s", status, stated)
        self._status = status
        if status == "black":
            self.postpone(BLOCKED_WAIT_S)

    def _seconds_of(self, retry_after: str) -> float | None:
        """Return the wait that ``Retry-After`` asks for, in seconds or until a date; null if neither."""
        text = retry_after.strip()
        if text.isascii() and text.isdigit():
            return float(text)
        try:
            until = parsedate_to_datetime(text)
        except ValueError:
            _log.info("PubChem's Retry-After is not understood: %r", retry_after)
            return None
        if until.tzinfo is None:
            until = until.replace(tzinfo=UTC)
        return (until - self.clock.now()).total_seconds()


def _worst_status(stated: str) -> str:
    """Return the worst colour of a throttling header; a header without any known one is green."""
    words = [word.lower() for word in _STATUS.findall(stated)]
    colours = [_IN_WORDS.get(word, word) for word in words]
    if "blacklisted" in stated.lower():
        colours.append("black")
    order = list(_SLOWDOWN)
    return max((colour for colour in colours if colour in _SLOWDOWN), key=order.index, default="green")
