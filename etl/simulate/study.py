"""The truth behind all simulated datasets: what each drug does to each line, whoever measures it.

Here: effects, baselines and viability curves as functions of compound, line, dose and time, drawn from one
seed. Because every dataset is made from the same truth, agreement between datasets is planted. Not here:
measurement noise and plates, which belong to the datasets, nor file layouts.

The model: with the Hill fraction f = dose^h / (dose^h + EC50^h), the log2 fold change of a gene is the sum
over the mechanism's programmes of strength × weight × attenuation(line, gene) × sensitivity(line) × f × time
factor; the viability at 72 h is 1 − sensitivity(line) × (1 − E_inf) × f, with the same EC50 and h.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.harmonize.gene_reference import load_gene_reference
from etl.harmonize.reference_folder import EMBEDDED_ONLY
from etl.simulate.catalogue import DEFAULT_SENSITIVITY, LINES, PROGRAMMES, CellLine, Compound

Values = NDArray[np.float64]

EARLY_FACTOR = 0.6
"""Share of the 24 h response that is there after 6 h."""

N_OTHER_CODING, N_NON_CODING = 1_900, 100
"""Genes of the universe beside the landmarks: together about 3,000, enough for a small DRUG-seq matrix."""

PSEUDOAUTOSOMAL = (182378, 178605, 169093, 2586)
"""Genes of the pseudoautosomal region (PLCXD1, GTPBP6, ASMTL, CD99), listed twice: again as ``_PAR_Y``."""

N_LESSER_GENES = 300
LESSER_SCALE = 0.5
"""Lesser genes of a programme among the landmarks, and again among the others, beside those that the
catalogue names; and the scale of the Laplace distribution of their weights, log2."""


@dataclass(frozen=True, slots=True)
class Curve:
    """True viability curve: 1 at dose 0, ``e_inf`` at infinite dose."""

    ec50_um: float
    slope: float
    e_inf: float

    def viability(self, dose_um: Values) -> Values:
        """Return the viability, as a fraction of the vehicle, at doses in µM."""
        return 1 - (1 - self.e_inf) * hill(dose_um, self.ec50_um, self.slope)


def hill(dose_um: Values | float, ec50_um: float, slope: float) -> Values:
    """Return the share of the full response at a dose: 0 at dose 0, one half at the EC50.

    >>> hill(np.array([0.0, 2.0, 1e9]), 2.0, 1.0).round(3).tolist()
    [0.0, 0.5, 1.0]
    """
    dose = np.asarray(dose_um, dtype=np.float64) ** slope
    return dose / (dose + ec50_um**slope)


class Study:
    """The truth drawn from one seed.

    Attributes:
        seed: seed of everything random.
        genes: gene universe in ``gene_id`` order: gene_id, symbol, entrez_id, biotype, is_landmark; effects
            and baselines follow this order.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        # The embedded table and not a newer HGNC release, so that a seed means the same genes everywhere.
        reference = load_gene_reference(EMBEDDED_ONLY).genes
        reference = reference.select("gene_id", "symbol", "entrez_id", "biotype", "is_landmark").sort(
            "gene_id"
        )
        self._reference_ids = frozenset(reference["gene_id"].to_list())
        self.genes = self._choose_genes(reference)
        self._programmes = {name: self._programme(name) for name in PROGRAMMES}
        rng = self.rng("lines")
        n_genes = self.genes.height
        common = np.clip(rng.normal(8.4, 2.2, n_genes), 3.6, 14.0)
        names = [line.name for line in LINES]
        self._baselines = {name: np.clip(common + rng.normal(0, 0.8, n_genes), 3.3, 14.3) for name in names}
        self._attenuations = {name: rng.uniform(0.6, 1.0, n_genes) for name in names}

    def rng(self, *purpose: str) -> np.random.Generator:
        """Return the generator of one purpose: adding a purpose leaves the numbers of the others alone."""
        return np.random.default_rng([self.seed, zlib.crc32("/".join(purpose).encode())])

    @property
    def landmarks(self) -> NDArray[np.int64]:
        """Positions of the L1000 landmark genes in the universe."""
        return np.flatnonzero(self.genes["is_landmark"].to_numpy())

    def unknown_gene_ids(self, count: int) -> list[int]:
        """Return numbers of Ensembl ids that the gene reference does not hold."""
        first = 288_000
        return [number for number in range(first, first + 50_000) if number not in self._reference_ids][
            :count
        ]

    def baseline(self, line: CellLine) -> Values:
        """Return the log2 expression of untreated cells, 3.3 to 14.3."""
        return self._baselines[line.name]

    def curve(self, compound: Compound, line: CellLine) -> Curve:
        """Return the true viability curve after 72 h."""
        shift = self.rng("potency", compound.name, line.name).normal(0, 0.12)
        e_inf = 1 - self.sensitivity(compound, line) * (1 - compound.e_inf)
        return Curve(ec50_um=compound.ec50_um * 10**shift, slope=compound.slope, e_inf=e_inf)

    def sensitivity(self, compound: Compound, line: CellLine) -> float:
        """Return the share of the full response that the line shows, 0 to 1."""
        return compound.mechanism.sensitivity.get(line.name, DEFAULT_SENSITIVITY)

    def log2_fold_change(
        self, compound: Compound, line: CellLine, *, dose_um: float, time_h: float
    ) -> Values:
        """Return the true effect on every gene of the universe; 0 outside the compound's programmes."""
        curve = self.curve(compound, line)
        fraction = float(hill(dose_um, curve.ec50_um, curve.slope)) * self.sensitivity(compound, line)
        if time_h < 12:
            fraction *= EARLY_FACTOR
        full = np.zeros(self.genes.height)
        for name, strength in compound.mechanism.programmes.items():
            full += strength * self._programmes[name]
        return full * self._attenuations[line.name] * fraction

    def _choose_genes(self, reference: pl.DataFrame) -> pl.DataFrame:
        rng = self.rng("genes")
        is_landmark = reference["is_landmark"].to_numpy()
        biotype = reference["biotype"].fill_null("")
        coding = np.flatnonzero(biotype.str.contains("protein").to_numpy() & ~is_landmark)
        non_coding = np.flatnonzero(biotype.str.contains("(?i)rna").to_numpy() & ~is_landmark)
        pseudoautosomal = np.flatnonzero(reference["gene_id"].is_in(PSEUDOAUTOSOMAL).to_numpy())
        chosen = [np.flatnonzero(is_landmark), pseudoautosomal]
        for pool, count in ((coding, N_OTHER_CODING), (non_coding, N_NON_CODING)):
            chosen.append(rng.choice(pool, min(count, len(pool)), replace=False))
        return reference[np.unique(np.concatenate(chosen))]

    def _programme(self, name: str) -> Values:
        rng = self.rng("programme", name)
        weights = np.zeros(self.genes.height)
        # Half of the lesser genes are landmarks, so that L1000 and DRUG-seq both see the programme.
        landmarks = self.landmarks
        others = np.setdiff1d(np.arange(self.genes.height), landmarks)
        for pool in (landmarks, others):
            lesser = rng.choice(pool, min(N_LESSER_GENES, len(pool)), replace=False)
            weights[lesser] = np.clip(rng.laplace(0, LESSER_SCALE, len(lesser)), -2.5, 2.5)
        position = {symbol: index for index, symbol in enumerate(self.genes["symbol"].to_list())}
        for symbol, weight in PROGRAMMES[name].items():
            if symbol in position:
                weights[position[symbol]] = weight
        return weights


@dataclass(frozen=True, slots=True)
class Treatment:
    """A condition of a transcriptomic dataset as the publisher reports it, and what it is in truth."""

    compound: Compound
    line: CellLine
    context_reported: str
    compound_reported: str
    dose_um: float
    time_h: float


def true_effects(study: Study, treatments: Sequence[Treatment], measured: NDArray[np.int64]) -> pl.DataFrame:
    """Return one row per treatment and affected gene: what an analysis of the dataset should find.

    Args:
        study: the truth.
        treatments: conditions of the dataset, each once.
        measured: positions of the measured genes in ``study.genes``.

    Returns:
        context_reported, compound_reported, compound (catalogue name, equal across datasets), dose_um,
        time_h, gene_id, ensembl_gene_id, symbol, log2_fold_change; a measured gene without a row has no
        effect.
    """
    genes = study.genes[measured].select(
        "gene_id",
        ensembl_gene_id=pl.format("ENSG{}", pl.col("gene_id").cast(pl.String).str.zfill(11)),
        symbol="symbol",
    )
    frames = []
    for one in treatments:
        effect = study.log2_fold_change(one.compound, one.line, dose_um=one.dose_um, time_h=one.time_h)[
            measured
        ]
        affected = np.flatnonzero(effect)
        frames.append(
            genes[affected].select(
                context_reported=pl.lit(one.context_reported),
                compound_reported=pl.lit(one.compound_reported),
                compound=pl.lit(one.compound.name),
                dose_um=pl.lit(one.dose_um, pl.Float64),
                time_h=pl.lit(one.time_h, pl.Float64),
                gene_id="gene_id",
                ensembl_gene_id="ensembl_gene_id",
                symbol="symbol",
                log2_fold_change=pl.Series(effect[affected].astype(np.float32)),
            )
        )
    return pl.concat(frames)
