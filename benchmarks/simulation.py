"""Simulated studies of a given shape: samples on plates, and values as a warehouse stores them.

Belongs here: values that cost the fit, the count filter and the compression what real ones do. Does not
belong here: the shapes (``workload.py``). ``etl/simulate`` writes publishers' files with a known truth; here
speed and size matter, and nobody asks what was planted.

A value is made of slices of two pools of normal numbers, drawn once, at offsets of its own: a few operations
on a slice instead of fresh random numbers.

    log2      mean of the gene + plate + effect + noise; float32, not rounded: the worst case for compression
    counts    x = exp(log mean of the gene + log depth + plate + effect)
              count = round(x + z sqrt(x + b x^2)), z normal: an approximation of the negative binomial with
              dispersion b, so that small means give zeros

Genes pass the count filter or fail it by construction: a gene to be tested reaches twice the cut in
``N_PLANTED`` samples at least, one that only the separate design tests in exactly one, and the others never
have more than one count in a sample.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import polars as pl

from benchmarks.workload import Shape, Unit
from etl.provenance import Provenance
from etl.warehouse import delta
from schemas.core.expression import EXPRESSION
from schemas.core.sample import SAMPLE

POOL = 2**21
BLOCK_CELLS = 3_000_000
"""Values that are stored at a time."""
WRITERS = 2
"""Blocks that are simulated at a time."""

N_PLANTED = 12
"""Samples in which a gene to be tested is surely above the cut."""
PLANTED = 20.0
"""Counts there, of a sample of median depth; the cut is 10."""
BACKGROUND = 0.05
"""Share of samples with one count of a gene that is not tested."""
BACKGROUND_SETS = 256

LOG_DEPTH_SD = 0.6
DEEPEST = 4.0
"""Depth of the deepest sample over the median, and of the median over the shallowest."""
LOW_ZEROS = 0.36
"""Share of zeros of a gene near the cut, as simulated."""
OVERDISPERSION = 0.08
PLATE_SD = 0.1
EFFECT_SHARE = 0.05
"""Share of genes that a condition changes."""

PROVENANCE = Provenance(run_id="benchmark", fingerprint="simulated", sources={})

T = TypeVar("T")
S = TypeVar("S")


class Pools:
    """Normal numbers, and effects of which most are zero, to take slices of.

    Args:
        n_genes: longest slice.
        rng: where they come from.
    """

    def __init__(self, n_genes: int, rng: np.random.Generator) -> None:
        self.noise = rng.standard_normal(POOL + n_genes, dtype=np.float32)
        is_changed = rng.random(POOL + n_genes, dtype=np.float32) < EFFECT_SHARE
        self.effect = np.where(is_changed, rng.standard_normal(POOL + n_genes, dtype=np.float32), 0)
        self.effect = self.effect.astype(np.float32)

    @staticmethod
    def offsets(n: int, rng: np.random.Generator) -> np.ndarray:
        """Return the starts of n slices."""
        return rng.integers(0, POOL, n)


def lay_out(unit: Unit, shape: Shape, rng: np.random.Generator) -> pl.DataFrame:
    """Return the samples of a fit unit: condition (-1 for controls), plate, map, by random order.

    Plates come in maps: the replicates of a condition stand on the plates of one map. A map has one time.
    """
    base, more = divmod(unit.treated, unit.conditions)
    replicates = np.full(unit.conditions, base)
    replicates[rng.permutation(unit.conditions)[:more]] += 1
    per_map = shape.plates_per_condition or int(replicates.max())
    n_maps = max(len(shape.times) if unit.plates >= len(shape.times) else 1, -(-unit.plates // per_map))
    n_maps = min(n_maps, unit.plates)
    plates_of_map = np.array_split(np.arange(unit.plates), n_maps)
    n_plates = np.array([len(plates) for plates in plates_of_map])
    first = np.cumsum(n_plates) - n_plates
    # Conditions in proportion to the plates of a map.
    map_of_condition = np.sort(np.arange(unit.conditions) % unit.plates)
    map_of_condition = np.repeat(np.arange(n_maps), n_plates)[map_of_condition]
    condition = np.repeat(np.arange(unit.conditions), replicates)
    replicate = np.arange(unit.treated) - np.repeat(np.cumsum(replicates) - replicates, replicates)
    of_map = map_of_condition[condition]
    # A condition with fewer replicates than its map has plates starts on any of them.
    start = rng.integers(0, n_plates[map_of_condition])[condition]
    plate = first[of_map] + (start + replicate) % n_plates[of_map]
    control_plate = np.arange(unit.controls) % unit.plates
    plate = np.concatenate([plate, control_plate])
    time = np.array(shape.times)[np.arange(n_maps) % len(shape.times)]
    map_of_plate = np.repeat(np.arange(n_maps), n_plates)
    order = rng.permutation(unit.samples)
    return pl.DataFrame(
        {
            "condition": np.concatenate([condition, np.full(unit.controls, -1)])[order],
            "plate": plate[order],
            "time_h": time[map_of_plate[plate]][order],
        }
    )


def sample_rows(unit: Unit, shape: Shape, dataset_id: str, rng: np.random.Generator) -> pl.DataFrame:
    """Return a fit unit's rows of ``core/sample``, and ``condition`` and ``plate_code`` beside them."""
    laid = lay_out(unit, shape, rng)
    condition_ids = pl.Series(rng.integers(-(2**62), 2**62, unit.conditions))
    treated = pl.col("condition") >= 0
    label = f"{unit.context_id}{unit.vehicle_group.replace(' ', '')}"
    compound = pl.col("condition") // shape.doses
    dose = pl.lit(0.01) * pl.lit(10.0).pow(pl.col("condition") % shape.doses)
    n_plates = max(unit.plates, 1)
    columns: dict[str, pl.Expr | pl.Series] = {
        "sample_id": pl.Series(np.sort(rng.integers(-(2**62), 2**62, unit.samples))),
        "sample_key": pl.format("{}:{}", pl.lit(label), pl.int_range(pl.len())),
        "dataset_id": pl.lit(dataset_id),
        "assay": pl.lit("l1000" if shape.scale == "log2" else "drugseq"),
        "context_id": pl.lit(unit.context_id),
        "compound_id": pl.when(treated).then(pl.format(f"unresolved:{dataset_id}:{{}}", compound)),
        "condition_id": pl.when(treated).then(
            pl.lit(condition_ids).gather(pl.max_horizontal("condition", pl.lit(0)))
        ),
        "sample_kind": pl.when(treated).then(pl.lit("compound")).otherwise(pl.lit("vehicle")),
        "is_control": ~treated,
        "control_kind": pl.when(~treated).then(pl.lit("vehicle")),
        "dose_um": pl.when(treated).then(dose),
        "plate": pl.format(f"{label}:{{}}", pl.col("plate")),
        "vehicle_group": pl.lit(unit.vehicle_group),
        "qc_flags": pl.lit([], dtype=pl.List(pl.String)),
        "context_reported": pl.lit(unit.context_id),
        "compound_reported": pl.when(treated).then(compound.cast(pl.String)),
    }
    if shape.donors:
        donor = pl.col("plate") * shape.donors // n_plates
        columns["donor_id"] = pl.format("donor {}", donor)
    missing = set(SAMPLE.polars_schema) - set(columns) - {"time_h"}
    rows = laid.with_columns(plate_code=pl.col("plate")).with_columns(
        **columns, **{name: pl.lit(None) for name in missing}
    )
    schema = dict(SAMPLE.polars_schema)
    return rows.select(
        *(pl.col(name).cast(dtype) for name, dtype in schema.items()), "condition", "plate_code"
    )


class UnitValues:
    """The values of a fit unit, sample by sample.

    Args:
        unit: the fit unit.
        shape: its dataset.
        samples: what ``sample_rows`` returned.
        pools: where noise comes from.
        rng: decides what differs between genes, plates, conditions and samples.
    """

    def __init__(
        self, unit: Unit, shape: Shape, samples: pl.DataFrame, pools: Pools, rng: np.random.Generator
    ) -> None:
        self.is_counts, self._pools = shape.scale == "counts", pools
        self.n_samples, self.n_genes = samples.height, unit.genes_stored
        condition, plate = samples["condition"].to_numpy(), samples["plate_code"].to_numpy()
        self._noise_at = pools.offsets(self.n_samples, rng)
        self._plate_at = pools.offsets(unit.plates, rng)[plate]
        # The last potency is that of the controls, whose condition is -1.
        self._effect_at = pools.offsets(unit.conditions + 1, rng)[condition]
        self._potency = np.append(rng.gamma(1.0, 1.0, unit.conditions).clip(max=3), 0)[condition]
        self._potency = self._potency.astype(np.float32)
        n_tested = unit.genes_grouped if self.is_counts else unit.genes_stored
        if not self.is_counts:
            self._mean = rng.uniform(4, 13, n_tested).astype(np.float32)
            self._sd = np.sqrt(0.06 * 8 / rng.chisquare(8, n_tested)).astype(np.float32)
            return
        depth = np.exp(rng.normal(0, LOG_DEPTH_SD, self.n_samples)).clip(1 / DEEPEST, DEEPEST)
        self._log_depth = np.log(depth).astype(np.float32)
        genes = rng.permutation(unit.genes_stored)
        n_once = unit.genes_separate - unit.genes_grouped
        self._tested, once = np.sort(genes[:n_tested]), genes[n_tested : n_tested + n_once]
        self._mean = log_means(n_tested, shape.zeros, rng)
        self._dispersion = (OVERDISPERSION * 10 / rng.chisquare(10, n_tested)).astype(np.float32)
        self._background = [
            np.sort(rng.choice(genes[n_tested:], round(BACKGROUND * (unit.genes_stored - n_tested)), False))
            for _ in range(BACKGROUND_SETS)
        ]
        at = [rng.choice(self.n_samples, min(N_PLANTED, self.n_samples), False) for _ in self._tested]
        sample = np.concatenate([*at, rng.integers(0, self.n_samples, n_once)])
        gene = np.concatenate([np.repeat(self._tested, min(N_PLANTED, self.n_samples)), once])
        order = np.argsort(sample, kind="stable")
        self._planted_gene = gene[order]
        self._planted_at = np.searchsorted(sample[order], np.arange(self.n_samples + 1))

    def log2_block(self, part: slice) -> np.ndarray:
        """Return values of some samples, samples x genes, float32."""
        values = np.empty((part.stop - part.start, self.n_genes), dtype=np.float32)
        for row, i in zip(values, range(part.start, part.stop), strict=True):
            np.multiply(self._sd, self._slice(self._pools.noise, self._noise_at[i], self.n_genes), out=row)
            row += self._shift(i, self.n_genes)
            row += self._mean
        return values

    def counts_of(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the genes of a sample that have counts, ascending, and their counts, float32."""
        n = self._tested.size
        x = self._mean + self._log_depth[i]
        x += np.float32(np.log(2)) * self._shift(i, n)
        np.exp(x, out=x)
        spread = np.sqrt(x * (1 + self._dispersion * x))
        spread *= self._slice(self._pools.noise, self._noise_at[i], n)
        x += spread
        counts = np.zeros(self.n_genes, dtype=np.float32)
        counts[self._background[i % BACKGROUND_SETS]] = 1
        counts[self._tested] = np.rint(np.maximum(x, 0, out=x), out=x)
        planted = self._planted_gene[self._planted_at[i] : self._planted_at[i + 1]]
        least = np.float32(np.ceil(PLANTED * np.exp(self._log_depth[i]) + 5))
        counts[planted] = np.maximum(counts[planted], least)
        genes = np.flatnonzero(counts)
        return genes, counts[genes]

    def count_matrix(self) -> np.ndarray:
        """Return all counts, samples x genes, int32."""
        values = np.zeros((self.n_samples, self.n_genes), dtype=np.int32)
        for i, row in enumerate(values):
            genes, counts = self.counts_of(i)
            row[genes] = counts
        return values

    def block(self, part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the stored values of some samples: values per sample, gene of each value, the values."""
        if not self.is_counts:
            values = self.log2_block(part)
            genes = np.tile(np.arange(self.n_genes), len(values))
            return np.full(len(values), self.n_genes), genes, values.ravel()
        found = [self.counts_of(i) for i in range(part.start, part.stop)]
        lengths = np.array([len(genes) for genes, _ in found])
        return lengths, np.concatenate([g for g, _ in found]), np.concatenate([c for _, c in found])

    def _shift(self, i: int, n: int) -> np.ndarray:
        """Return plate and effect of a sample, log2."""
        shift = np.float32(PLATE_SD) * self._slice(self._pools.noise, self._plate_at[i], n)
        if self._potency[i]:
            shift += self._potency[i] * self._slice(self._pools.effect, self._effect_at[i], n)
        return shift

    @staticmethod
    def _slice(pool: np.ndarray, start: int, n: int) -> np.ndarray:
        return pool[start : start + n]


def log_means(n: int, zeros: float, rng: np.random.Generator) -> np.ndarray:
    """Return natural logarithms of mean counts of n tested genes, of whose values a share is to be zero.

    Some genes are near the cut, with a third of zeros, the others are far above it.
    """
    n_low = round(n * min(zeros / LOW_ZEROS, 0.95))
    low = np.log(0.6) + rng.exponential(0.4, n_low)
    high = rng.normal(np.log(60), 1.5, n - n_low).clip(min=np.log(8))
    return rng.permutation(np.concatenate([low, high])).astype(np.float32)


def store(units: list[Unit], shape: Shape, dataset_id: str, root: str, *, seed: int = 1) -> int:
    """Write samples and values of fit units into ``core/sample`` and ``core/expression``.

    Returns:
        the number of stored values.
    """
    rng = np.random.default_rng(seed)
    pools = Pools(shape.genes_stored, rng)
    gene_ids = np.sort(rng.choice(np.arange(1, 300_000), shape.genes_stored, False)).astype(np.int32)
    samples = [sample_rows(unit, shape, dataset_id, rng) for unit in units]
    stored = pl.concat(samples).select(list(SAMPLE.polars_schema))
    delta.replace(root, SAMPLE, stored, {"dataset_id": dataset_id}, provenance=PROVENANCE)
    n_values = 0
    contexts: dict[str, list[int]] = {}
    for i, unit in enumerate(units):
        contexts.setdefault(unit.context_id, []).append(i)
    for context_id, members in contexts.items():
        where = {"dataset_id": dataset_id, "context_id": context_id}
        with delta.replacing(root, {EXPRESSION: where}, provenance=PROVENANCE) as staged:
            for i in members:
                values = UnitValues(units[i], shape, samples[i], pools, rng)
                for rows in _expression_rows(values, samples[i], gene_ids, where):
                    staged[EXPRESSION.name].add(rows)
                    n_values += rows.height
    return n_values


def _expression_rows(
    values: UnitValues, samples: pl.DataFrame, gene_ids: np.ndarray, where: dict[str, str]
) -> Iterator[pl.DataFrame]:
    sample_ids = samples["sample_id"].to_numpy()
    step = max(1, BLOCK_CELLS // values.n_genes)
    constant = {name: pl.lit(value) for name, value in where.items()}

    def rows_of(start: int) -> pl.DataFrame:
        part = slice(start, min(start + step, values.n_samples))
        lengths, genes, found = values.block(part)
        columns = {
            "sample_id": np.repeat(sample_ids[part], lengths),
            "gene_id": gene_ids[genes],
            "value": found,
        }
        return pl.DataFrame(columns).with_columns(**constant).select(list(EXPRESSION.polars_schema))

    yield from _ahead(rows_of, range(0, values.n_samples, step))


def _ahead(work: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """Yield the results of work on items, in order, a few of them made ahead."""
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(WRITERS) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > WRITERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
