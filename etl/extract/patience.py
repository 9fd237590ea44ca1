"""How often and how long to wait for a server that fails for the moment.

Here: the rule. Not here: which faults may pass (``web.py``, ``ftp.py``).
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from etl.extract.errors import FetchError, TransientFault

CONTINUE: Final = "run it again: what is there is kept and continued"
_Reply = TypeVar("_Reply")


@dataclass(frozen=True, slots=True)
class Patience:
    """Doubling waits with jitter, or the wait that the server asks for.

    Args:
        n_retries: repeats without progress before giving up.
        wait_s: wait before the first repeat.
        longest_wait_s: a longer wait is not waited for; a server that asks for one is given up.
        gain_bytes: a download that gained this much since its last fault has its repeats anew.
        stop: set to end all waiting at once.
    """

    n_retries: int = 6
    wait_s: float = 1.0
    longest_wait_s: float = 120.0
    gain_bytes: int = 8 * 2**20
    stop: threading.Event = field(default_factory=threading.Event)

    def wait_out(self, fault: TransientFault, n_faults: int) -> None:
        """Wait after the ``n_faults``-th fault in a row.

        Raises:
            FetchError: it was one too many, the server asks for too long a wait, or all is to end.
        """
        if fault.wait_s is not None and fault.wait_s > self.longest_wait_s:
            raise FetchError(
                f"{fault.what}: the server asks to wait {fault.wait_s:.0f} s", remedy="run it again later"
            ) from fault
        if n_faults > self.n_retries:
            raise FetchError(
                f"{fault.what} ({n_faults} times in a row)",
                remedy=CONTINUE,
            ) from fault
        doubled = min(self.wait_s * 2 ** (n_faults - 1), self.longest_wait_s)
        jittered = doubled * random.uniform(0.5, 1)  # noqa: S311 (no secret)
        if self.stop.wait(fault.wait_s if fault.wait_s is not None else jittered):
            raise interrupted()

    def ask(self, question: Callable[[], _Reply]) -> _Reply:
        """Return the answer to a question that may have to be repeated.

        Raises:
            FetchError: there is none.
        """
        for n_faults in range(1, self.n_retries + 2):
            try:
                return question()
            except TransientFault as fault:
                self.wait_out(fault, n_faults)
        raise AssertionError("the last attempt returns or raises")


def interrupted() -> FetchError:
    """Return the error of what was ended from outside."""
    return FetchError("was interrupted", remedy=CONTINUE)
