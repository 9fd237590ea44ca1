"""Many structures at once: what the cache knows is not computed, what is new is shared among processes.

Here: where a row comes from and in which process it is made. The chemistry is in ``structures.py``, which
sees one structure at a time, so that a row never depends on its neighbours.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Final

from etl.errors import PerturbhouseError
from etl.harmonize.structure_cache import Row, StructureCache

WORTH_PROCESSES: Final = 2_000
"""New structures from which worker processes are started: two of them take about as long to start as one
process takes for these."""

CHUNK: Final = 500
"""Structures that a worker takes at once, and that one transaction of the cache holds."""

Compute = Callable[[str], Row]


def rows_of(
    texts: Sequence[str],
    compute: Compute,
    *,
    task: str,
    n_workers: int = 1,
    cache: StructureCache | None = None,
) -> list[Row]:
    """Return the row of each text, in the order of the texts.

    Every chunk is kept in the cache as soon as it is there, so that a killed run repeats little.

    Args:
        texts: distinct inputs.
        compute: a module-level function that makes a row of one text and raises nothing.
        task: the name of what is computed, in the cache.
        n_workers: processes; with 1, or fewer than ``WORTH_PROCESSES`` new texts, none is started. They are
            spawned, so a script that asks for several needs the usual ``if __name__ == "__main__"``.
        cache: rows of earlier runs; None to compute all.

    Raises:
        ValueError: fewer than one worker.
        PerturbhouseError: a worker process was ended from outside; the cache has what was done until then.
    """
    if n_workers < 1:
        raise ValueError(f"n_workers is {n_workers}: at least one is needed")
    known = cache.get_many(task, texts) if cache is not None else {}
    new = [text for text in texts if text not in known]
    chunks = [new[start : start + CHUNK] for start in range(0, len(new), CHUNK)]
    is_shared = n_workers > 1 and len(new) >= WORTH_PROCESSES
    made = (
        _made_in_processes(chunks, compute, n_workers) if is_shared else map(partial(_make, compute), chunks)
    )
    for chunk, rows in zip(chunks, made, strict=True):
        fresh = dict(zip(chunk, rows, strict=True))
        if cache is not None:
            cache.put_many(task, fresh)
        known |= fresh
    return [known[text] for text in texts]


def _make(compute: Compute, texts: Sequence[str]) -> list[Row]:
    return [compute(text) for text in texts]


def _made_in_processes(
    chunks: Sequence[Sequence[str]], compute: Compute, n_workers: int
) -> Iterator[list[Row]]:
    """Yield the rows of each chunk in the order of the chunks; what waits is given up on an error."""
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(n_workers, len(chunks)), mp_context=spawn)
    try:
        yield from pool.map(partial(_make, compute), chunks)
    except BrokenProcessPool as fault:
        raise PerturbhouseError(
            "a worker process that standardized structures was ended from outside (out of memory?); run "
            "again with fewer workers"
        ) from fault
    finally:
        pool.shutdown(cancel_futures=True)
