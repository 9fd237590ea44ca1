"""Worker processes that fit units side by side: spawned, never forked; each one's death costs one unit.

``concurrent.futures`` gives up all that waits when one of its processes is killed, as the system does where
memory runs out. Here the unit it was fitting has failed and another process goes on with the next.
"""

import multiprocessing
import os
import signal
import threading
import uuid
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from typing import Any

import dagster as dg

from assets.fit import Fitted, fit
from assets.instance import instance_of
from assets.machine import usable_memory
from assets.resources import Warehouse
from etl.threads import usable_cpus
from etl.warehouse.fit_units import FitUnit

SMALL_MEMORY = 16 * 10**9
"""Bytes below which no more than two workers are started by default."""

WORTH_PROCESSES = 5_000
"""Samples from which more than one process is the default: starting one takes as long as fitting these."""

WORTH_ALL_THREADS = 1.5
"""A unit with more samples than this many times its share is best fitted alone, with all threads."""

GRACE = 5.0
"""Seconds that a worker has to end when it is told to."""

THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")

_spawn = multiprocessing.get_context("spawn")


def default_workers(n_samples: int) -> int:
    """Return how many processes are best for units of so many samples together on this machine."""
    if n_samples < WORTH_PROCESSES:
        return 1
    return usable_cpus() if usable_memory() >= SMALL_MEMORY else min(2, usable_cpus())


def divide(units: Mapping[FitUnit, int], n_workers: int) -> tuple[list[FitUnit], list[FitUnit]]:
    """Return the units to fit one by one with all threads, and those to fit side by side, largest first.

    >>> a, b, c = (FitUnit("own", label) for label in "abc")
    >>> divide({a: 10, b: 900, c: 12}, 2)[0] == [b]
    True

    Args:
        units: number of samples by unit.
        n_workers: processes that work side by side.
    """
    waiting = deque(sorted(units, key=lambda unit: (-units[unit], unit)))
    n_left, alone = sum(units.values()), []
    while waiting and units[waiting[0]] * n_workers > WORTH_ALL_THREADS * n_left:
        alone.append(waiting.popleft())
        n_left -= units[alone[-1]]
    return alone, list(waiting)


def fit_in_processes(
    units: Sequence[FitUnit],
    *,
    instance: dg.DagsterInstance,
    warehouse: Warehouse,
    n_workers: int,
    n_threads: int,
) -> Generator[Fitted]:
    """Fit units in worker processes, in the order given; yield each as it is done, or has failed.

    An interrupt, and closing the iterator, ends the workers and marks the runs they were in as failed.

    Args:
        units: the fit units.
        instance: keeps the history; workers open it anew.
        warehouse: where from and where to.
        n_workers: processes at most.
        n_threads: threads of each of them.
    """
    waiting = deque(units)
    workers: dict[Connection, _Worker] = {}
    try:
        for _ in range(min(n_workers, len(waiting))):
            started = _start(warehouse, n_threads)
            workers[started.connection] = started
            started.take(waiting.popleft())
        while workers:
            for connection in wait(list(workers)):
                assert isinstance(connection, Connection)
                worker = workers[connection]
                try:
                    fitted = connection.recv()
                except (EOFError, ConnectionError):
                    del workers[connection]
                    fitted = worker.bury(instance)
                    if waiting:
                        successor = _start(warehouse, n_threads)
                        workers[successor.connection] = successor
                        successor.take(waiting.popleft())
                    yield fitted
                    continue
                if waiting:
                    worker.take(waiting.popleft())
                else:
                    del workers[connection]
                    worker.end()
                yield fitted
    finally:
        for worker in workers.values():
            worker.process.terminate()
        for worker in workers.values():
            worker.bury(instance)


@dataclass(slots=True)
class _Worker:
    """A process and what it is doing."""

    process: SpawnProcess
    connection: Connection
    n_threads: int
    unit: FitUnit | None = None
    run_id: str = ""

    def take(self, unit: FitUnit) -> None:
        """Give the process its next unit; the run's id is chosen here, so that its death can be told."""
        self.unit, self.run_id = unit, str(uuid.uuid4())
        # Where it has died, reading from it will say so.
        with suppress(ConnectionError):
            self.connection.send((unit, self.run_id, self.n_threads))

    def end(self) -> int | None:
        """Wait until the process has ended, as it does when nobody talks to it; return its exit code."""
        self.connection.close()
        self.process.join(GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        code = self.process.exitcode
        self.process.close()
        return code

    def bury(self, instance: dg.DagsterInstance) -> Fitted:
        """Clean up after a process that has ended, or was told to, and mark the run it was in as failed."""
        code = self.end()
        how = f"killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
        hint = "; out of memory? fewer --workers need less" if code == -signal.SIGKILL else ""
        error = f"its worker process was {how}{hint}"
        run = instance.get_run_by_id(self.run_id)
        if run is not None and not run.is_finished:
            instance.report_run_failed(run, error)
        assert self.unit is not None, "a process is given a unit as soon as it is started"
        return Fitted(self.unit, error)


def _start(warehouse: Warehouse, n_threads: int) -> _Worker:
    connection, far_end = _spawn.Pipe()
    process = _spawn.Process(target=_work, args=(far_end, warehouse.settings()), daemon=True)
    with _thread_limits(n_threads):
        process.start()
    far_end.close()
    return _Worker(process, connection, n_threads)


@contextmanager
def _thread_limits(n_threads: int) -> Iterator[None]:
    """Set what libraries read when they are loaded: without it each worker would use all CPUs."""
    before = {name: os.environ.get(name) for name in THREAD_LIMITS}
    os.environ.update(dict.fromkeys(THREAD_LIMITS, str(n_threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _work(connection: Connection, settings: dict[str, Any]) -> None:
    """Fit units as they are handed in, until nobody hands in any more."""
    # Ctrl-C reaches every process of the terminal; who started the workers ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    warehouse = Warehouse(**settings)
    with instance_of(warehouse) as instance:
        while True:
            try:
                unit, run_id, n_threads = connection.recv()
            except EOFError:
                return
            fitted = fit(unit, instance=instance, warehouse=warehouse, run_id=run_id, n_threads=n_threads)
            connection.send(fitted)


def _end_with(parent: BaseProcess) -> None:
    """End this process when its parent does, however: a killed build leaves no workers behind."""
    parent.join()
    os._exit(1)
