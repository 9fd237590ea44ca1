"""Working on the parts of an array in several threads.

Here: one pool for all short pieces of work, which release the interpreter's lock. Not here: processes.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(work: Callable[[slice], None], parts: Iterable[slice]) -> None:
    """Work on slices in as many threads as there are CPUs; the work must not call this again."""
    listed = list(parts)
    if len(listed) < 2:
        for part in listed:
            work(part)
        return
    list(_pool().map(work, listed))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(usable_cpus(), thread_name_prefix="parts")
