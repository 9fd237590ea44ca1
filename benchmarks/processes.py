"""Time, CPU time and memory of work in a fresh process and all processes that it starts (Linux).

Belongs here: how a process is measured. Does not belong here: what it does.
"""

import multiprocessing
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

SAMPLED_EVERY = 0.05
"""Seconds between two looks at the memory of the processes."""

THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")

_spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process used, with all that it started.

    Args:
        wall: seconds from before its start to after its end, imports included.
        cpu: seconds of user and system time.
        peak_bytes: resident memory of all of them together at its highest; shared pages count for each.
    """

    wall: float
    cpu: float
    peak_bytes: int


def in_fresh_process(
    work: Callable[..., None], *args: Any, n_threads: int | None = None
) -> tuple[Any, Usage]:
    """Call ``work(sender, *args)`` in a spawned process; return what it sends, and what it used.

    Args:
        work: what to call.
        args: its arguments after the connection.
        n_threads: limit of the libraries' own threads; None leaves it to them.

    Raises:
        RuntimeError: it ended without sending anything.
    """
    receiver, sender = _spawn.Pipe(duplex=False)
    process = _spawn.Process(target=work, args=(sender, *args))
    cpu, wall = _cpu_of_children(), time.perf_counter()
    with _limits(n_threads):
        process.start()
    sender.close()
    assert process.pid is not None
    memory = _Memory(process.pid)
    try:
        answer = _received(receiver)
        process.join()
    finally:
        peak = memory.stop()
        if process.is_alive():
            started = _tree(process.pid)
            process.terminate()
            process.join()
            _wait_for_end_of(started)
    used = Usage(time.perf_counter() - wall, _cpu_of_children() - cpu, peak)
    if process.exitcode or answer is None:
        raise RuntimeError(f"the measured process ended with code {process.exitcode}")
    return answer, used


@contextmanager
def _limits(n_threads: int | None) -> Iterator[None]:
    """Set what libraries read when they are loaded."""
    before = {name: os.environ.get(name) for name in THREAD_LIMITS}
    if n_threads is not None:
        os.environ.update(dict.fromkeys(THREAD_LIMITS, str(n_threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _received(receiver: Connection) -> Any:
    try:
        return receiver.recv()
    except EOFError:
        return None


def _wait_for_end_of(pids: list[int], seconds: float = 10.0) -> None:
    """Wait until processes have ended: they may still write into what is to be removed."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(Path(f"/proc/{pid}").exists() for pid in pids):
        time.sleep(SAMPLED_EVERY)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class _Memory:
    """The highest resident memory of a process and its descendants, watched by a thread."""

    def __init__(self, pid: int) -> None:
        self._pid, self._peak = pid, 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """Return the peak, in bytes."""
        self._ended.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLED_EVERY):
            now, highest = 0, 0
            for pid in _tree(self._pid):
                current, peak = _resident(pid)
                now, highest = now + current, max(highest, peak)
            # The kernel's own high-water mark catches what falls between two looks at one process.
            self._peak = max(self._peak, now, highest)


def _tree(pid: int) -> list[int]:
    """Return a process and its descendants."""
    found = [pid]
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += _tree(int(child))
    return found


def _resident(pid: int) -> tuple[int, int]:
    """Return resident bytes of a process: now, and at its highest."""
    sizes = {"VmRSS": 0, "VmHWM": 0}
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in sizes:
                sizes[name] = int(value.split()[0]) * 1024
    return sizes["VmRSS"], sizes["VmHWM"]
