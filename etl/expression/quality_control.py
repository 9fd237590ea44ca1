"""Quality of single cells: what is measured of a cell, and which cells go into a profile.

Belongs here: filters as data, one set per assay, each threshold with its reason; the metrics that they ask;
the account of the cells they drop. Does not belong here: quality of wells and of profiles, the least number
of cells of a profile (a choice of whoever tests them), adding cells up (:mod:`etl.expression.pseudobulk`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Self

import numpy as np
import polars as pl
from numba import njit
from scipy import sparse

from etl.accounting import RowAccount
from etl.arrays import BoolArray, FloatArray
from etl.errors import BadInputError
from etl.expression.counts import LARGEST_COUNT

Metric = Literal["n_genes", "n_counts", "fraction_mito", "log_malat1"]

METRICS: Final[Mapping[Metric, str]] = {
    "n_genes": "genes with a count above zero",
    "n_counts": "sum of all counts (UMIs, transcripts)",
    "fraction_mito": "share of counts on genes of the mitochondrial genome, 0 to 1",
    "log_malat1": "ln(1 + 10,000 x counts of MALAT1 / n_counts)",
}
"""What filters can ask. All but the last may come from the publisher; what is missing is computed."""

MALAT1: Final = "ENSG00000251562"
MITOCHONDRIAL_PREFIX: Final = "MT-"


@dataclass(frozen=True, slots=True)
class CellFilter:
    """One condition that a cell must meet.

    Args:
        metric: what is asked.
        at_least: least value that passes.
        at_most: largest value that passes.
        because: where the threshold comes from.
    """

    metric: Metric
    because: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def reason(self) -> str:
        """What the account says of a cell that fails.

        >>> CellFilter("n_genes", "Tahoe", at_least=250).reason
        'n_genes below 250'
        """
        bounds = {"below": self.at_least, "above": self.at_most}
        return f"{self.metric} " + " or ".join(f"{side} {b:g}" for side, b in bounds.items() if b is not None)

    def fails(self, values: FloatArray) -> BoolArray:
        """Return True for the values that do not pass; NaN cannot be judged and passes."""
        fails = np.zeros(len(values), dtype=bool)
        if self.at_least is not None:
            fails |= values < self.at_least
        if self.at_most is not None:
            fails |= values > self.at_most
        return fails


_TAHOE: Final = "Tahoe-100M publishes its cells with this threshold"
_NUCLEI: Final = (
    "sci-RNA-seq3 of hashed nuclei is several times sparser than whole-cell assays: Tahoe's thresholds would "
    "drop 47 % of sci-Plex's 799,317 nuclei. Profiles are sums, in which a nucleus weighs by its counts"
)

CELL_FILTERS: Final[Mapping[str, tuple[CellFilter, ...]]] = {
    "scrna": (
        CellFilter("n_genes", _TAHOE, at_least=250),
        CellFilter("n_counts", _TAHOE, at_least=700),
        CellFilter("fraction_mito", _TAHOE, at_most=0.2),
        CellFilter(
            "log_malat1",
            "MALAT1 stays in the nucleus: a cell almost without it is a fragment that has lost its nucleus",
            at_least=3.5,
        ),
    ),
    # No filter asks for MALAT1: every nucleus of a nuclear assay has been sorted as one, and at a few hundred
    # counts its absence is chance. In the reference it dropped 29 % of the nuclei that had passed the rest.
    "snrna": (
        CellFilter("n_genes", _NUCLEI + "; this many keep out barcodes of ambient RNA only", at_least=50),
        CellFilter("n_counts", _NUCLEI + "; this many keep out barcodes of ambient RNA only", at_least=100),
        CellFilter("fraction_mito", "nuclei have no mitochondria: more is a cell's debris", at_most=0.2),
    ),
}
"""Filters by assay (``schemas.vocabularies.ASSAYS``), in the order in which a dropped cell is counted."""


@dataclass(frozen=True, slots=True)
class QualityGenes:
    """Where the genes that metrics ask for stand on the gene axis.

    Args:
        is_mitochondrial: True for genes of the mitochondrial genome, G.
        malat1: position of MALAT1; None where the axis lacks it.
    """

    is_mitochondrial: BoolArray
    malat1: int | None

    @classmethod
    def of(cls, genes: pl.DataFrame) -> Self:
        """Find them by Ensembl id (with or without version) and symbol.

        Args:
            genes: ``gene_reported`` and ``symbol`` (``ReportedGene``) in the order of the axis.

        >>> genes = pl.DataFrame({"gene_reported": ["g1", "ENSG00000251562.8"], "symbol": ["MT-CO1", None]})
        >>> QualityGenes.of(genes)
        QualityGenes(is_mitochondrial=array([ True, False]), malat1=1)
        """
        symbol = pl.coalesce("symbol", "gene_reported").str.to_uppercase()
        is_malat1 = (pl.col("gene_reported").str.split(".").list.first() == MALAT1) | (symbol == "MALAT1")
        found = genes.select(
            is_mitochondrial=symbol.str.starts_with(MITOCHONDRIAL_PREFIX), is_malat1=is_malat1
        )
        positions = found["is_malat1"].arg_true()
        return cls(found["is_mitochondrial"].to_numpy(), int(positions[0]) if len(positions) else None)


def measure(cells: pl.DataFrame, counts: sparse.csr_matrix, genes: QualityGenes) -> dict[Metric, FloatArray]:
    """Return the metrics of some cells: the publisher's where ``cells`` has them, else computed.

    Args:
        cells: one row per cell; may have ``n_genes``, ``n_counts``, ``fraction_mito``.
        counts: cells x genes. Made canonical in place: positions ascend, none twice.
        genes: of the axis.

    Returns:
        Each metric, N; NaN where it cannot be known (no such gene on the axis and nothing published).

    Raises:
        BadInputError: a value is negative, fractional, not finite or too large for a count, or a position is
            not on the axis.
    """
    found = _metrics(counts, genes)
    for name in ("n_genes", "n_counts", "fraction_mito"):
        if name in cells.columns:
            published = cells[name].cast(pl.Float64).to_numpy()
            found[name] = np.where(np.isnan(published), found[name], published)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.nan_to_num(found["log_malat1"] / found["n_counts"])
    found["log_malat1"] = np.log1p(1e4 * share) if genes.malat1 is not None else np.full(len(share), np.nan)
    return found


def _metrics(counts: sparse.csr_matrix, genes: QualityGenes) -> dict[Metric, FloatArray]:
    """Return what the counts say; of MALAT1 the counts, which still have to be set in relation."""
    # Compiled code does not look: a position beyond the axis would be read from anywhere.
    if len(counts.indices) and not 0 <= counts.indices.min() <= counts.indices.max() < counts.shape[1]:
        raise BadInputError(f"counts stand at genes from 0 to {counts.shape[1] - 1}, but not all do")
    results = np.zeros((4, counts.shape[0]))
    malat1 = -1 if genes.malat1 is None else genes.malat1
    arrays = counts.data, counts.indices, counts.indptr
    wrong, is_canonical = _measure_cells(*arrays, genes.is_mitochondrial, malat1, results)
    if wrong >= 0:
        raise _no_count(counts, wrong)
    if not is_canonical:
        counts.has_canonical_format = False
        counts.has_sorted_indices = False
        counts.sum_duplicates()
        return _metrics(counts, genes)
    n_genes, n_counts, n_mito, n_malat1 = results
    n_filled = np.maximum(n_counts, 1)
    fraction = n_mito / n_filled if genes.is_mitochondrial.any() else np.full(len(n_mito), np.nan)
    return {"n_genes": n_genes, "n_counts": n_counts, "fraction_mito": fraction, "log_malat1": n_malat1}


def _no_count(counts: sparse.csr_matrix, cell: int) -> BadInputError:
    entries = slice(counts.indptr[cell], counts.indptr[cell + 1])
    values = counts.data[entries]
    with np.errstate(invalid="ignore"):
        is_count = (values >= 0) & (values <= LARGEST_COUNT) & (values == np.floor(values))
    first = np.flatnonzero(~is_count)[0]
    rule = f"counts are whole numbers from 0 to {LARGEST_COUNT:,}, but one is {values[first]}"
    return BadInputError(rule, row=cell, column=f"gene {counts.indices[entries][first]}")


@dataclass(slots=True)
class CellAccount:
    """Cells of a stream, and why some were dropped.

    Args:
        n_in: cells seen.
        n_out: cells kept.
        first: cells dropped, by the first reason that holds; they add up to ``n_in - n_out``.
        each: cells dropped, by every reason that holds.
        not_judged: cells for which a filter had nothing to ask, by its reason; they pass it.
    """

    n_in: int = 0
    n_out: int = 0
    first: Counter[str] = field(default_factory=Counter)
    each: Counter[str] = field(default_factory=Counter)
    not_judged: Counter[str] = field(default_factory=Counter)

    def screen(
        self,
        cells: pl.DataFrame,
        metrics: Mapping[Metric, FloatArray],
        filters: Sequence[CellFilter],
        key: Sequence[str],
    ) -> BoolArray:
        """Count the cells of a block and return True for those kept.

        A cell without a value of the key belongs to no profile; that is asked first.
        """
        failures = {f"no {column}": cells[column].is_null().to_numpy() for column in key}
        for cell_filter in filters:
            values = metrics[cell_filter.metric]
            failures[cell_filter.reason] = cell_filter.fails(values)
            self.not_judged += Counter({cell_filter.reason: int(np.isnan(values).sum())})
        keep = np.ones(cells.height, dtype=bool)
        for reason, fails in failures.items():
            self.each += Counter({reason: int(fails.sum())})
            self.first += Counter({reason: int((fails & keep).sum())})
            keep &= ~fails
        self.n_in += cells.height
        self.n_out += int(keep.sum())
        return keep

    def stated(self) -> dict[str, object]:
        """Return the account as JSON holds it."""
        counters = {name: dict(getattr(self, name)) for name in ("first", "each", "not_judged")}
        return {"n_in": self.n_in, "n_out": self.n_out, **counters}

    @property
    def rows(self) -> RowAccount:
        """The account of the step: cells in and out, by the first reason."""
        return RowAccount(self.n_in, self.n_out, dict(self.first), unit="cells")


@njit(cache=True, nogil=True)
def _measure_cells(
    data: np.ndarray,
    indices: np.ndarray,
    indptr: np.ndarray,
    is_mitochondrial: BoolArray,
    malat1: int,
    results: FloatArray,
) -> tuple[int, np.bool_]:
    """Fill genes, counts, mitochondrial counts and MALAT1; return the first wrong cell, and canonicity."""
    is_canonical: np.bool_ = np.bool_(True)
    for cell in range(len(indptr) - 1):
        n_genes = n_counts = n_mito = n_malat1 = np.int64(0)
        last, is_wrong = np.int64(-1), np.bool_(False)
        # Positions have no sign here: compiled code need not ask whether they count from the end.
        for entry in range(np.uint64(indptr[cell]), np.uint64(indptr[cell + 1])):
            value, gene = data[entry], np.uint64(indices[entry])
            # What is not finite becomes the least or largest integer, and neither is a count.
            count = np.int64(value)
            is_wrong |= (count < 0) | (count > 4_294_967_295) | (count != value)
            is_canonical &= np.int64(gene) > last
            last = np.int64(gene)
            n_counts += count
            n_genes += count > 0
            n_mito += count * is_mitochondrial[gene]
            n_malat1 += count * (last == malat1)
        if is_wrong:
            return cell, is_canonical
        results[0, cell], results[1, cell] = n_genes, n_counts
        results[2, cell], results[3, cell] = n_mito, n_malat1
    return -1, is_canonical
