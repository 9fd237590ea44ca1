"""Counts in memory: samples x genes, sparse, at four bytes for an entry.

Belongs here: the layout, its construction from what a user or a table holds, and its transposition. Does not
belong here: what counts mean for a test (:mod:`etl.effects`), and where they come from.

A study of 62,000 samples and 21,000 genes has some 700 million counts above zero. SciPy keeps each in 8 to
16 bytes; here a gene is a uint16 up to 65,536 genes and a count is a uint16 up to 65,535, so that the study
takes 2.9 GB in one orientation.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy import sparse

from etl.arrays import BoolArray, FloatArray, IntArray, Matrix
from etl.errors import BadInputError

LARGEST_COUNT = 2**32 - 1
BLOCK_VALUES = 4_000_000
"""Values that are read at a time, so that working arrays stay near 100 MB."""
TILE_SAMPLES, TILE_GENES = 256, 512
"""Samples x genes that are transposed at a time."""
SHOWN = 5
"""Samples or genes that an error names."""

_RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "NaN or infinite; every count must be finite": lambda values: ~np.isfinite(values),
    "negative; counts are needed": lambda values: values < 0,
    "fractional; counts are needed": lambda values: values != np.floor(values),
    f"above {LARGEST_COUNT:,}, the largest count": lambda values: values > LARGEST_COUNT,
}
"""What no count may be; the first rule that a value breaks is the one it is reported for."""


@dataclass(frozen=True, slots=True, eq=False)
class SparseCounts:
    """Counts of N samples x G genes, by sample; genes ascend within a sample and no entry is zero."""

    indptr: IntArray
    """Entries of sample i stand at ``indptr[i] : indptr[i + 1]``, N + 1."""
    gene: np.ndarray
    """Gene of each entry: uint16 up to 65,536 genes, else int32."""
    count: np.ndarray
    """Count of each entry: uint16 where the largest fits, else uint32."""
    shape: tuple[int, int]
    """Samples, genes."""

    @classmethod
    def from_matrix(cls, values: Matrix) -> Self:
        """Return the counts of a dense or SciPy sparse matrix of samples x genes.

        Explicit zeros are dropped and repeated entries are summed, as SciPy does.

        Raises:
            BadInputError: not two-dimensional or not numeric, or a value is negative, fractional, not finite
                or above 4,294,967,295; the message names samples and genes.

        >>> counts = SparseCounts.from_matrix(np.array([[0, 3, 1], [2.0, 0, 0]]))
        >>> counts.indptr.tolist(), counts.gene.tolist(), counts.count.tolist(), counts.count.dtype.name
        ([0, 2, 3], [1, 2, 0], [3, 1, 2], 'uint16')
        """
        if not sparse.issparse(values):
            values = np.asarray(values)
        if values.ndim != 2:
            raise BadInputError(f"counts have shape {values.shape}; samples x genes are needed")
        rows = values if isinstance(values, np.ndarray) else values.tocsr()
        step = max(1, BLOCK_VALUES // max(1, values.shape[1]))
        blocks = (rows[start : start + step] for start in range(0, values.shape[0], step))
        return cls.from_blocks(blocks, values.shape[1])

    @classmethod
    def from_blocks(cls, blocks: Iterable[Matrix], n_genes: int) -> Self:
        """Return the counts of matrices that follow each other, so that only one is in memory beside them.

        Args:
            blocks: dense or SciPy sparse matrices of some samples x all genes.
            n_genes: genes of every block.

        Raises:
            BadInputError: as :meth:`from_matrix`; samples are counted over all blocks.
        """
        gene = np.empty(0, dtype=np.uint16 if n_genes <= 2**16 else np.int32)
        count = np.empty(0, dtype=np.uint16)
        lengths: list[np.ndarray] = [np.zeros(1, dtype=np.int64)]
        rejected = _Rejected()
        n_samples = 0
        for block in blocks:
            length, genes, values = _entries(block, n_genes)
            with np.errstate(invalid="ignore"):
                found = values.astype(np.uint32)
            if not (found == values).all():
                rejected.add(values, np.repeat(np.arange(n_samples, n_samples + len(length)), length), genes)
            if found.size and found.max() > np.iinfo(count.dtype).max:
                count = count.astype(np.uint32)
            # Grows in place (the system moves pages, it does not copy): twice the memory is never needed.
            filled = len(count)
            gene.resize(filled + len(genes), refcheck=False)
            count.resize(filled + len(found), refcheck=False)
            gene[filled:], count[filled:] = genes, found
            lengths.append(length)
            n_samples += len(length)
        rejected.raise_if_any()
        return cls(np.cumsum(np.concatenate(lengths)), gene, count, (n_samples, n_genes))

    def select(self, samples: npt.ArrayLike) -> Self:
        """Return the counts of some samples, given as positions or as a mask, in the order given.

        >>> SparseCounts.from_matrix(np.array([[1, 0], [2, 3], [0, 4]])).select([2, 0]).to_csr().toarray()
        array([[0, 4],
               [1, 0]])
        """
        chosen = np.arange(self.shape[0])[np.asarray(samples)]
        length = np.diff(self.indptr)[chosen]
        indptr = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(length)])
        gene, count = (np.empty(indptr[-1], dtype=of.dtype) for of in (self.gene, self.count))
        for target, source in enumerate(chosen.tolist()):
            to = slice(indptr[target], indptr[target + 1])
            entries = slice(self.indptr[source], self.indptr[source + 1])
            gene[to], count[to] = self.gene[entries], self.count[entries]
        return type(self)(indptr, gene, count, (len(chosen), self.shape[1]))

    def library_sizes(self, keep: BoolArray | None = None) -> FloatArray:
        """Return the counts per sample, N, of all genes or of those kept."""
        sizes = np.zeros(self.shape[0])
        for samples, entries in self._blocks():
            count = self.count[entries].astype(np.float64)
            if keep is not None:
                count *= keep[self.gene[entries]]
            # Sums between starts of samples; one without entries would repeat its neighbour's first count.
            starts = self.indptr[samples]
            filled = np.flatnonzero(self.indptr[samples.start + 1 : samples.stop + 1] > starts)
            if filled.size:
                sizes[samples.start + filled] = np.add.reduceat(count, starts[filled] - entries.start)
        return sizes

    def gene_totals(self) -> FloatArray:
        """Return the counts per gene over all samples, G."""
        totals = np.zeros(self.shape[1])
        for _, entries in self._blocks():
            totals += np.bincount(self.gene[entries], weights=self.count[entries], minlength=self.shape[1])
        return totals

    def by_gene(self, keep: BoolArray | None = None, *, n_threads: int = 1) -> "GeneMajorCounts":
        """Return the counts of the kept genes, by gene.

        Args:
            keep: True for the genes wanted, G; all without it.
            n_threads: threads; the result does not depend on it.

        >>> by_gene = SparseCounts.from_matrix(np.array([[1, 0, 5], [2, 3, 0]])).by_gene(
        ...     np.array([True, False, True])
        ... )
        >>> by_gene.indptr.tolist(), by_gene.sample.tolist(), by_gene.count.tolist()
        ([0, 2, 3], [0, 1, 0], [1, 2, 5])
        """
        n_samples, n_genes = self.shape
        kept = np.arange(n_genes) if keep is None else np.flatnonzero(keep)
        column = np.full(n_genes, -1, dtype=np.int32)
        column[kept] = np.arange(len(kept))

        parts = list(self.sample_ranges(n_threads))
        places = np.zeros((len(parts), len(kept)), dtype=np.int64)
        with ThreadPoolExecutor(n_threads) as pool:
            list(
                pool.map(
                    lambda part, tally: _tally_by_gene(
                        self.gene[self.indptr[part.start] : self.indptr[part.stop]], column, tally
                    ),
                    parts,
                    places,
                )
            )
            total = places.sum(axis=0)
            indptr = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(total)])
            # Each part writes the entries of a gene behind those of the parts before it.
            places[:] = np.cumsum(places, axis=0) - places + indptr[:-1]
            sample = np.empty(indptr[-1], dtype=np.uint16 if n_samples <= 2**16 else np.int32)
            count = np.empty(indptr[-1], dtype=self.count.dtype)
            list(
                pool.map(
                    lambda part, place: _fill_by_gene(
                        self.indptr,
                        self.gene,
                        self.count,
                        part.start,
                        part.stop,
                        column,
                        place,
                        sample,
                        count,
                    ),
                    parts,
                    places,
                )
            )
        return GeneMajorCounts(indptr, sample, count, kept, n_samples)

    def sample_ranges(self, n_parts: int) -> Iterator[slice]:
        """Yield at most n consecutive ranges of samples that hold about equally many entries.

        >>> counts = SparseCounts.from_matrix(np.ones((5, 3)))
        >>> list(counts.sample_ranges(2)), list(counts.sample_ranges(1))
        ([slice(0, 3, None), slice(3, 5, None)], [slice(0, 5, None)])
        """
        wanted = np.linspace(0, self.indptr[-1], n_parts + 1)[1:-1]
        bounds = [0, *np.searchsorted(self.indptr, wanted).tolist(), self.shape[0]]
        for start, stop in pairwise(bounds):
            if start < stop:
                yield slice(start, stop)

    def to_csr(self) -> sparse.csr_array:
        """Return the counts as a SciPy matrix of int64, which sums and differences do not overflow."""
        return sparse.csr_array((self.count.astype(np.int64), self.gene, self.indptr), shape=self.shape)

    def _blocks(self) -> Iterator[tuple[slice, slice]]:
        """Yield ranges of samples with their entries, about 4 million at a time."""
        for samples in self.sample_ranges(1 + int(self.indptr[-1]) // BLOCK_VALUES):
            yield samples, slice(int(self.indptr[samples.start]), int(self.indptr[samples.stop]))


@dataclass(frozen=True, slots=True, eq=False)
class GeneMajorCounts:
    """Counts of some genes, by gene; samples ascend within a gene and no entry is zero."""

    indptr: IntArray
    """Entries of the j-th gene stand at ``indptr[j] : indptr[j + 1]``, n_kept + 1."""
    sample: np.ndarray
    """Sample of each entry: uint16 up to 65,536 samples, else int32."""
    count: np.ndarray
    """Count of each entry: uint16 where the largest fits, else uint32."""
    genes: IntArray
    """Position of each gene on the axis it was taken from, n_kept."""
    n_samples: int

    @property
    def shape(self) -> tuple[int, int]:
        """Samples, genes."""
        return self.n_samples, len(self.genes)

    def dense(self, genes: slice) -> FloatArray:
        """Return the counts of consecutive genes as samples x genes, the values of a gene side by side.

        >>> by_gene = SparseCounts.from_matrix(np.array([[1, 0, 5], [2, 3, 0]])).by_gene()
        >>> by_gene.dense(slice(1, 3))
        array([[0., 5.],
               [3., 0.]])
        """
        start, stop, _ = genes.indices(len(self.genes))
        block = np.zeros((stop - start, self.n_samples))
        for row, gene in zip(block, range(start, stop), strict=True):
            entries = slice(self.indptr[gene], self.indptr[gene + 1])
            row[self.sample[entries]] = self.count[entries]
        return block.T


class _Rejected:
    """Values that are no counts, by the rule they break."""

    def __init__(self) -> None:
        self._places: dict[str, list[np.ndarray]] = {rule: [] for rule in _RULES}

    def add(self, values: np.ndarray, samples: np.ndarray, genes: np.ndarray) -> None:
        """Note where a block breaks which rule."""
        good = np.ones(len(values), dtype=bool)
        for rule, is_broken in _RULES.items():
            broken = is_broken(values) & good
            good &= ~broken
            self._places[rule].append(np.stack([samples[broken], genes[broken]]))

    def raise_if_any(self) -> None:
        """Raise BadInputError for the first rule that is broken anywhere."""
        for rule, parts in self._places.items():
            samples, genes = np.concatenate([np.zeros((2, 0), dtype=np.int64), *parts], axis=1)
            if len(samples):
                raise BadInputError(
                    f"{len(samples)} {'values are' if len(samples) > 1 else 'value is'} {rule}: "
                    f"{named('sample', np.unique(samples))}; {named('gene', np.unique(genes))}"
                )


def _entries(block: Matrix, n_genes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return entries per sample, and gene and value of every entry that is not zero, sample after sample."""
    if not sparse.issparse(block):
        block = np.asarray(block)
    if block.ndim != 2 or block.shape[1] != n_genes:
        raise BadInputError(f"counts have shape {block.shape}; samples x {n_genes} genes are needed")
    if block.dtype.kind not in "fiub":
        raise BadInputError(f"counts have the type {block.dtype}, numbers are needed")
    if isinstance(block, np.ndarray):
        present = block != 0
        return np.count_nonzero(present, axis=1), np.nonzero(present)[1], block[present]
    rows = block.tocsr()
    if not rows.has_canonical_format:
        # Wide values: sums of repeated entries must not overflow; astype copies, so the caller's stay.
        rows = rows.astype(np.float64 if rows.dtype.kind == "f" else np.int64, copy=True)
        rows.sum_duplicates()
    if rows.count_nonzero() < rows.nnz:
        rows = rows.copy()
        rows.eliminate_zeros()
    return np.diff(rows.indptr), rows.indices, rows.data


def named(kind: str, positions: np.ndarray) -> str:
    """Return a short list of positions.

    >>> named("gene", np.arange(7))
    'genes 0, 1, 2, 3, 4 and 2 more'
    """
    shown = ", ".join(str(position) for position in positions[:SHOWN])
    more = f" and {len(positions) - SHOWN} more" if len(positions) > SHOWN else ""
    return f"{kind}{'s' if len(positions) > 1 else ''} {shown}{more}"


@njit(cache=True, nogil=True)
def _tally_by_gene(gene: np.ndarray, column: np.ndarray, tally: IntArray) -> None:
    """Add the number of entries of each kept gene."""
    for position in gene:
        target = column[position]
        if target >= 0:
            tally[target] += 1


@njit(cache=True, nogil=True)
def _fill_by_gene(
    indptr: IntArray,
    gene: np.ndarray,
    count: np.ndarray,
    start: int,
    stop: int,
    column: np.ndarray,
    position: IntArray,
    sample_out: np.ndarray,
    count_out: np.ndarray,
) -> None:
    """Write the entries of samples start to stop behind each kept gene's position, which moves on.

    Writing goes to as many places as there are genes. It goes tile by tile, so that the places of a tile stay
    in cache.
    """
    cursor = np.empty(TILE_SAMPLES, dtype=np.int64)
    for first in range(start, stop, TILE_SAMPLES):
        last = min(first + TILE_SAMPLES, stop)
        cursor[: last - first] = indptr[first:last]
        for tile in range(0, len(column), TILE_GENES):
            for sample in range(first, last):
                entry = cursor[sample - first]
                end = indptr[sample + 1]
                while entry < end and gene[entry] < tile + TILE_GENES:
                    target = column[gene[entry]]
                    if target >= 0:
                        place = position[target]
                        sample_out[place] = sample
                        count_out[place] = count[entry]
                        position[target] = place + 1
                    entry += 1
                cursor[sample - first] = entry
