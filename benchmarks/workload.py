"""The reference's workload: the shape of every dataset it fitted, and how its samples are laid out on plates.

Belongs here: numbers, where each comes from, and the split of a dataset into fit units. Does not belong here:
simulated values (``simulation.py``) and timing (``differential_expression.py``).

**Where the numbers come from.** Sections and tables are those of ``transcriptomics.md``, the specification of
the reference.

======================== ====================================================================================
contrasts, duplicates,   table 7.2, logged
hours, jobs
tested genes             "genes kept" of table 7.2, from the lowest context to the highest; their mean over
                         contrasts is the row's cells / contrasts, or the middle of the range where the cells
                         have one digit
treated, conditions      appendix A: separate and grouped contrasts of table 7.2 without their duplicates.
                         L1000 phase 1 has 225 samples of 8 conditions more, without a control; here with one
controls                 table 1.1; with at least 10 or 50 cells: profiles of section 1.1 less treated samples
plates                   controls - residual degrees of freedom of the separate design (6.4); plates without a
                         control are left out
stored genes             table 4.3, after the remap
largest unit             "largest design" of table 7.2: rows less controls. Those of L1000 are batches of
                         2,700 treated samples; 7,426 - 2,700 = 4,726 controls, 4,534 of them residual (6.4)
times, donors, doses     table 1.1, section 1.5
======================== ====================================================================================

**What is assumed**, because the logs do not tell:

* Contexts become smaller geometrically, from the largest on, so that they add up. The largest contexts of
  L1000 are 330 samples on each of 192 and 67 plates. Phase 1 has then 37 contexts below 2,500 treated samples
  that together lack 67,000 of 2,500 each; by the batches and duplicates of table 7.2 it is 74,000.
* A condition has as many plates as replicates, except for Tahoe (one, section 1.3); replicates are as even as
  they can be. Conditions and plates are in proportion to treated samples. All times have as many plates.
* OP3 has 144 controls with at least 50 cells; the largest context of sci-Plex then has 1,200 treated samples.
* 27 % of the counts of tested genes are zero (``differential_expression.md``, section 3), 10 % in the bulk
  libraries of DILImap; of other genes 5 % of the counts are one.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np


@dataclass(frozen=True, slots=True)
class ReferenceRow:
    """One row of table 7.2: what the reference did with one design of a dataset."""

    contrasts: int
    """Saved contrasts, duplicates included."""
    duplicates: int
    genes: tuple[int, int]
    """Genes kept, in the context with fewest and in the one with most."""
    million_cells: float
    """Contrasts x genes, in millions."""
    hours: float
    """Job-hours."""
    jobs: int

    @property
    def unique(self) -> int:
        """Contrasts without the duplicates that padding of batches makes."""
        return self.contrasts - self.duplicates

    @property
    def mean_genes(self) -> float:
        """Genes per contrast."""
        low, high = self.genes
        if self.million_cells < 20:
            return (low + high) / 2
        return float(np.clip(self.million_cells * 1e6 / self.contrasts, low, high))


@dataclass(frozen=True, slots=True)
class Shape:
    """A dataset as the reference fitted it; both designs come from the same stored samples."""

    name: str
    scale: Literal["log2", "counts"]
    contexts: int
    treated: int
    conditions: int
    controls: int
    plates: int
    """Over all fit units; every one holds a control."""
    genes_stored: int
    grouped: ReferenceRow
    separate: ReferenceRow
    largest_treated: int | None = None
    """Treated samples of the largest fit unit; None for equal units."""
    largest_residual_df: int | None = None
    """Controls - plates of the largest fit unit."""
    least_residual_df: int = 1
    plates_per_condition: int | None = None
    """None: as many as a condition has replicates."""
    vehicle_groups: int = 1
    times: tuple[float, ...] = (24.0,)
    donors: int = 0
    doses: int = 4
    zeros: float = 0.27

    @property
    def cells(self) -> float:
        """Contrasts x genes of both designs, without duplicates."""
        return sum(row.unique * row.mean_genes for row in (self.grouped, self.separate))

    @property
    def hours(self) -> float:
        """Job-hours of both designs."""
        return self.grouped.hours + self.separate.hours


@dataclass(frozen=True, slots=True)
class Unit:
    """A context and vehicle group of a dataset."""

    context_id: str
    vehicle_group: str
    treated: int
    conditions: int
    controls: int
    plates: int
    genes_stored: int
    genes_grouped: int
    """Genes that pass the count filter of the grouped design."""
    genes_separate: int
    """Genes that pass the count filter of the separate design, those of the grouped one among them."""

    @property
    def samples(self) -> int:
        """Treated and control samples."""
        return self.treated + self.controls

    @property
    def cells(self) -> int:
        """Contrasts x genes of both designs."""
        return self.conditions * self.genes_grouped + self.treated * self.genes_separate


def _row(
    contrasts: int,
    genes: tuple[int, int] | int,
    million_cells: float,
    hours: float,
    jobs: int,
    duplicates: int = 0,
) -> ReferenceRow:
    span = genes if isinstance(genes, tuple) else (genes, genes)
    return ReferenceRow(contrasts, duplicates, span, million_cells, hours, jobs)


SHAPES: tuple[Shape, ...] = (
    Shape(
        "cigs_mce", "counts", contexts=2, treated=62_091, conditions=22_013, controls=1_631, plates=212,
        genes_stored=3_300, largest_residual_df=726, doses=1,
        grouped=_row(23_052, (2_345, 2_881), 60, 15.3, 26, 1_039),
        separate=_row(65_024, (2_345, 2_881), 170, 135.6, 26, 2_933),
    ),
    Shape(
        "cigs_tcm", "counts", contexts=2, treated=21_112, conditions=7_261, controls=1_433, plates=80,
        genes_stored=3_300, largest_residual_df=680, doses=2,
        grouped=_row(8_596, (1_816, 1_894), 16, 4.1, 10, 1_335),
        separate=_row(25_026, (1_816, 1_894), 46, 43.8, 10, 3_914),
    ),
    Shape(
        "dilimap_train", "counts", contexts=1, treated=3_082, conditions=994, controls=378, plates=52,
        genes_stored=57_385, zeros=0.1,
        grouped=_row(1_583, 21_210, 34, 7.1, 2, 589),
        separate=_row(5_002, 21_210, 106, 60.6, 2, 1_920),
    ),
    Shape(
        "dilimap_train_val", "counts", contexts=1, treated=3_691, conditions=1_192, controls=457, plates=62,
        genes_stored=57_385, zeros=0.1,
        grouped=_row(1_643, 21_370, 35, 6.5, 2, 451),
        separate=_row(5_000, 21_370, 107, 50.6, 2, 1_309),
    ),
    Shape(
        "gdpx2", "counts", contexts=4, vehicle_groups=3, treated=8_928, conditions=2_064, controls=576,
        plates=96, genes_stored=38_998, doses=2,
        grouped=_row(2_064, (9_570, 12_506), 22, 0.7, 12),
        separate=_row(8_928, (11_100, 17_148), 111, 4.7, 12),
    ),
    Shape(
        "l1000_phase1", "log2", contexts=70, treated=672_106, conditions=187_705, controls=27_170,
        plates=2_100, genes_stored=978, largest_treated=63_000, largest_residual_df=4_534,
        least_residual_df=8, times=(6.0, 24.0), doses=6, zeros=0.0,
        grouped=_row(196_142, 978, 192, 16.7, 310, 8_445),
        separate=_row(700_515, 978, 685, 638.6, 310, 28_634),
    ),
    Shape(
        "l1000_phase2", "log2", contexts=30, treated=314_422, conditions=99_067, controls=19_258,
        plates=953, genes_stored=978, largest_treated=22_000, largest_residual_df=2_106,
        least_residual_df=42, times=(3.0, 24.0), doses=6, zeros=0.0,
        grouped=_row(110_702, 978, 108, 9.3, 142, 11_635),
        separate=_row(351_487, 978, 344, 315.1, 142, 37_065),
    ),
    Shape(
        "novartis", "counts", contexts=1, treated=52_700, conditions=17_360, controls=312, plates=156,
        genes_stored=55_023,
        grouped=_row(18_176, 14_370, 261, 64.5, 22, 816),
        separate=_row(55_172, 20_881, 1_152, 492.3, 22, 2_472),
    ),
    Shape(
        "op3_10", "counts", contexts=4, treated=1_609, conditions=543, controls=192, plates=24,
        genes_stored=5_288, largest_treated=410, largest_residual_df=42, donors=3, doses=1,
        grouped=_row(543, (4_828, 5_288), 3, 0.1, 4),
        separate=_row(1_609, (4_828, 5_288), 8, 0.2, 4),
    ),
    Shape(
        "op3_50", "counts", contexts=4, treated=1_105, conditions=427, controls=144, plates=24,
        genes_stored=5_288, largest_treated=410, largest_residual_df=42, least_residual_df=2, donors=3,
        doses=1,
        grouped=_row(427, (4_828, 5_288), 2, 0.1, 4),
        separate=_row(1_105, (4_828, 5_288), 6, 0.2, 4),
    ),
    Shape(
        "sciplex_10", "counts", contexts=3, treated=4_645, conditions=2_399, controls=102, plates=51,
        genes_stored=56_799, largest_treated=1_671, largest_residual_df=18, times=(24.0, 72.0),
        grouped=_row(2_399, (7_199, 14_317), 25, 1.9, 3),
        separate=_row(4_645, (7_199, 14_317), 49, 6.5, 3),
    ),
    Shape(
        "sciplex_50", "counts", contexts=3, treated=2_545, conditions=1_499, controls=64, plates=37,
        genes_stored=56_799, largest_treated=1_200, largest_residual_df=14, least_residual_df=4,
        times=(24.0, 72.0),
        grouped=_row(1_499, (7_199, 14_317), 16, 0.6, 3),
        separate=_row(2_545, (7_199, 14_317), 27, 1.9, 3),
    ),
    Shape(
        "tahoe_10", "counts", contexts=50, treated=64_817, conditions=56_358, controls=1_390, plates=700,
        genes_stored=61_483, largest_treated=1_314, largest_residual_df=14, plates_per_condition=1, doses=3,
        grouped=_row(56_358, (2_088, 30_904), 1_376, 139.5, 50),
        separate=_row(64_817, (2_088, 30_904), 1_583, 187.2, 50),
    ),
    Shape(
        "tahoe_50", "counts", contexts=48, treated=61_943, conditions=53_910, controls=1_339, plates=672,
        genes_stored=61_483, largest_treated=1_305, largest_residual_df=14, plates_per_condition=1, doses=3,
        grouped=_row(53_910, (11_143, 30_791), 1_335, 233.7, 50),
        separate=_row(61_943, (11_143, 30_791), 1_535, 176.6, 50),
    ),
    Shape(
        "vcpi_0001", "counts", contexts=1, treated=26_969, conditions=13_661, controls=608, plates=77,
        genes_stored=78_677, doses=6,
        grouped=_row(13_955, 19_517, 272, 88.1, 11, 294),
        separate=_row(27_552, 19_517, 538, 246.8, 11, 583),
    ),
    Shape(
        "vcpi_0002", "counts", contexts=1, treated=17_791, conditions=8_957, controls=406, plates=51,
        genes_stored=78_677, doses=6,
        grouped=_row(10_091, 15_736, 159, 50.4, 8, 1_134),
        separate=_row(20_040, 15_736, 315, 146.1, 8, 2_249),
    ),
)  # fmt: skip
"""Thirteen datasets; those of single cells twice, with profiles of at least 10 and at least 50 cells."""


def shape_named(name: str) -> Shape:
    """Return a shape by name.

    Raises:
        ValueError: there is none of that name.
    """
    for shape in SHAPES:
        if shape.name == name:
            return shape
    raise ValueError(f"no shape {name!r}; there are: {', '.join(shape.name for shape in SHAPES)}")


def units_of(shape: Shape, fraction: float = 1.0) -> list[Unit]:
    """Return the fit units of a dataset, largest first, or those of about a fraction of it.

    Of several contexts every n-th is kept, from the largest on; of a single one the same share of its
    conditions, samples and plates.
    """
    if shape.contexts == 1:
        return _all_units(_part_of_context(shape, fraction))
    n_kept = max(1, round(shape.contexts * fraction))
    kept = {int(i * shape.contexts / n_kept) for i in range(n_kept)}
    return [unit for i, unit in enumerate(_all_units(shape)) if i // shape.vehicle_groups in kept]


def _part_of_context(shape: Shape, fraction: float) -> Shape:
    counts = {
        name: max(1, round(getattr(shape, name) * fraction))
        for name in ("treated", "conditions", "controls", "plates")
    }
    return replace(shape, **counts)


def _all_units(shape: Shape) -> list[Unit]:
    n = shape.contexts * shape.vehicle_groups
    treated = falling(shape.treated, n, shape.largest_treated)
    plates = 1 + shared_out(shape.plates - n, treated)
    least = shape.least_residual_df
    spare = shape.controls - int(plates.sum()) - n * least
    largest = None if shape.largest_residual_df is None else shape.largest_residual_df - least
    controls = plates + least + falling(spare, n, largest)
    conditions = np.minimum(shared_out(shape.conditions, treated), treated)
    contexts = np.arange(n) // shape.vehicle_groups
    of_grouped = genes_of_contexts(shape.grouped, conditions)
    of_separate = genes_of_contexts(shape.separate, treated)
    return [
        Unit(
            context_id=f"CVCL_{contexts[i]:04d}",
            vehicle_group=f"vehicle {i % shape.vehicle_groups}" if shape.vehicle_groups > 1 else "",
            treated=int(treated[i]),
            conditions=int(conditions[i]),
            controls=int(controls[i]),
            plates=int(plates[i]),
            genes_stored=shape.genes_stored,
            genes_grouped=int(min(of_grouped[i], of_separate[i])),
            genes_separate=int(of_separate[i]),
        )
        for i in range(n)
    ]


def genes_of_contexts(row: ReferenceRow, contrasts: np.ndarray) -> np.ndarray:
    """Return the tested genes of contexts, falling from the highest to the lowest.

    Args:
        row: has both, and the mean over contrasts that they are to have.
        contrasts: of each context.
    """
    low, high = row.genes
    if len(contrasts) == 1 or low == high:
        return np.full(len(contrasts), round(row.mean_genes))
    at = np.linspace(0, 1, len(contrasts))
    least, most = -6.0, 6.0
    for _ in range(60):
        power = (least + most) / 2
        genes = high - (high - low) * at ** np.exp(power)
        is_below = np.average(genes, weights=contrasts) < row.mean_genes
        least, most = (power, most) if is_below else (least, power)
    return np.round(genes).astype(np.int64)


def falling(total: int, n: int, largest: int | None) -> np.ndarray:
    """Return n whole numbers that fall geometrically from the largest and sum to the total; equal for None.

    >>> falling(100, 4, 40).tolist(), falling(10, 4, None).tolist()
    ([40, 28, 19, 13], [3, 3, 2, 2])
    """
    if largest is None or largest * n <= total or n == 1:
        return shared_out(total, np.ones(n))
    low, high = 0.0, 1.0
    for _ in range(60):
        ratio = (low + high) / 2
        low, high = (ratio, high) if largest * np.sum(ratio ** np.arange(n)) < total else (low, ratio)
    return shared_out(total, low ** np.arange(n))


def shared_out(total: int, weights: np.ndarray) -> np.ndarray:
    """Return whole numbers in proportion to weights that sum to the total (largest remainders).

    >>> shared_out(10, np.array([1.0, 1.0, 2.0])).tolist()
    [3, 2, 5]
    """
    exact = total * np.asarray(weights, dtype=np.float64) / np.sum(weights)
    whole = np.floor(exact).astype(np.int64)
    order = np.argsort(whole - exact, kind="stable")
    whole[order[: total - int(whole.sum())]] += 1
    return whole
