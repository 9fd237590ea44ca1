"""Simulated Tahoe-100M in both layouts of the publisher: one h5ad per plate, or shards of token lists.

Three plates, one dose each; two wells of vehicle and one of each of five drugs on a plate; a pool of three
lines in every well. As published: concentrations in the text of a Python list, drugs whose names hold
parentheses or a blank at the end, the well in the barcode, a mark before the genes of each
shard's cell; cells that have lost their nucleus, cells full of mitochondria, and poor ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from etl.simulate import h5ad
from etl.simulate.catalogue import COMPOUNDS, LINES, CellLine, Compound
from etl.simulate.landing import write_truth
from etl.simulate.study import Study, Treatment, true_effects

TAHOE100M: Final = "tahoe100m"
PLATE_FILE: Final = "plate{}_filt_Vevo_Tahoe100M_WServicesFrom_ParseGigalab.h5ad"

DOSES_UM: Final = (0.05, 0.5, 5.0)
"""Of the plates 1, 2 and 3."""

DRUGS: Final = {
    "Vorinostat": ("vorinostat", 5311),
    "Trametinib (DMSO_TF solvate)": ("trametinib", 11707110),
    "Crizotinib": ("crizotinib", 11626560),
    "Lapatinib ": ("lapatinib", 208908),
    "Tanespimycin": ("tanespimycin", 6505803),
}
"""Name here: name in the catalogue, and CID. One ends in a blank in cells, not in the table of drugs."""

VEHICLE: Final = "DMSO_TF"
VEHICLE_WELLS: Final = (1, 96)
POOL: Final = {
    "CVCL_0023": ("A549", "ACH-000681", "Lung"),
    "CVCL_0031": ("MCF7", "ACH-000019", "Breast"),
    "CVCL_0035": ("PC3", "ACH-000090", "Prostate"),
}
"""Accession: name of the line in the catalogue, DepMap id, organ."""

CELLS_OF_LINE: Final = 18
"""Mean number of cells of a line in a well."""
N_GENES: Final = 900
COUNTS_OF_CELL: Final = 2_400
MALAT1, MITOCHONDRIAL = (251_562, "MALAT1"), (198_804, "MT-CO1")
LOST_NUCLEUS, DYING, POOR = 0.05, 0.05, 0.05
"""Shares of cells without MALAT1, with half their counts mitochondrial, and with few counts."""
FIRST_TOKEN: Final = 3
MARK: Final = (1, -2.0)


@dataclass(frozen=True, slots=True)
class Well:
    """One well; ``drug`` is that of the catalogue, None for the vehicle."""

    plate: int
    number: int
    name: str
    dose_um: float
    drug: Compound | None

    @property
    def sample(self) -> str:
        """The publisher's name of the well."""
        return f"smp_{1_400 + 96 * self.plate + self.number}"

    @property
    def condition(self) -> str:
        """Drug and concentration as the publisher writes them."""
        return repr([(self.name, self.dose_um, "uM")])

    def treatment(self, accession: str) -> Treatment | None:
        """The condition of a line in a treated well."""
        if self.drug is None:
            return None
        return Treatment(self.drug, _line(accession), accession, self.name.strip(), self.dose_um, 24.0)


@dataclass(frozen=True, slots=True)
class _Cells:
    """All cells of a plate, their rows of ``obs`` and their counts."""

    obs: pl.DataFrame
    counts: NDArray[np.int64]


def write(folder: Path, study: Study) -> None:
    """Write one h5ad per plate, the tables beside them, and the truth."""
    genes = _genes(study)
    for plate, cells in _plates(study):
        index = cells.obs.select("BARCODE_SUB_LIB_ID", pl.exclude("BARCODE_SUB_LIB_ID"))
        h5ad.write(
            folder / PLATE_FILE.format(plate),
            sparse.csr_matrix(cells.counts.astype(np.float32)),
            obs=index,
            var=genes.select(gene_name="gene_symbol"),
        )
    _write_beside(folder, study)


def write_shards(folder: Path, study: Study) -> None:
    """Write the same cells as shards of token lists, with the same tables and truth."""
    (folder / "data").mkdir()
    rows = [_listed(cells) for _, cells in _plates(study)]
    for number, shard in enumerate(rows):
        path = folder / "data" / f"train-{number:05}-of-{len(rows):05}.parquet"
        shard.write_parquet(path, row_group_size=200)
    _write_beside(folder, study)


def _write_beside(folder: Path, study: Study) -> None:
    tables = folder / "metadata"
    tables.mkdir()
    genes = _genes(study).select("gene_symbol", "ensembl_id", "token_id")
    genes.write_parquet(tables / "gene_metadata.parquet")
    wells = list(_wells())
    pl.DataFrame(
        [
            {
                "sample": well.sample,
                "plate": f"plate{well.plate}",
                "mean_gene_count": 500.0,
                "drug": well.name,
                "drugname_drugconc": well.condition,
            }
            for well in wells
        ]
    ).write_parquet(tables / "sample_metadata.parquet")
    _drugs().write_parquet(tables / "drug_metadata.parquet")
    _lines().write_parquet(tables / "cell_line_metadata.parquet")
    treatments = [one for well in wells for line in POOL if (one := well.treatment(line)) is not None]
    write_truth(folder, "effects", true_effects(study, list(dict.fromkeys(treatments)), _measured(study)))


def _drugs() -> pl.DataFrame:
    rows = [{"drug": VEHICLE, "targets": None, "moa-fine": None, "canonical_smiles": "", "pubchem_cid": ""}]
    rows += [
        {
            "drug": name.strip(),
            "targets": _compound(of).mechanism.target,
            "moa-fine": _compound(of).mechanism.name,
            "canonical_smiles": _compound(of).smiles,
            "pubchem_cid": str(cid),
        }
        for name, (of, cid) in DRUGS.items()
    ]
    described = pl.DataFrame(rows, schema_overrides={"targets": pl.String, "moa-fine": pl.String})
    return described.with_columns(
        pl.lit("inhibitor/antagonist").alias("moa-broad"),
        pl.lit("yes").alias("human-approved"),
        pl.lit("yes").alias("clinical-trials"),
    )


def _lines() -> pl.DataFrame:
    """Return one row per line and driver mutation."""
    rows = [
        {
            "cell_name": name,
            "Cell_ID_DepMap": depmap,
            "Cell_ID_Cellosaur": accession,
            "Organ": organ,
            "Driver_Gene_Symbol": driver,
        }
        for accession, (name, depmap, organ) in POOL.items()
        for driver in ("TP53", "KRAS")
    ]
    return pl.DataFrame(rows)


def _compound(name: str) -> Compound:
    return next(one for one in COMPOUNDS if one.name == name)


def _line(accession: str) -> CellLine:
    return next(line for line in LINES if line.name == POOL[accession][0])


def _wells() -> Iterator[Well]:
    for plate, dose in enumerate(DOSES_UM, start=1):
        for number in VEHICLE_WELLS:
            yield Well(plate, number, VEHICLE, 0.0, None)
        for place, (name, (of, _)) in enumerate(DRUGS.items()):
            yield Well(plate, 13 * place + 2, name, dose, _compound(of))


def _measured(study: Study) -> NDArray[np.int64]:
    """Positions of the most abundant genes of the study; the two that quality asks for come on top."""
    baseline = np.mean([study.baseline(_line(accession)) for accession in POOL], axis=0)
    apart = study.genes["gene_id"].is_in([MALAT1[0], MITOCHONDRIAL[0]]).to_numpy()
    return np.sort(np.argsort(np.where(apart, np.inf, -baseline), kind="stable")[:N_GENES])


def _genes(study: Study) -> pl.DataFrame:
    listed = study.genes[_measured(study)].select("gene_id", gene_symbol="symbol")
    extra = pl.DataFrame([MALAT1, MITOCHONDRIAL], schema=listed.schema, orient="row")
    genes = pl.concat([listed, extra])
    return genes.select(
        "gene_symbol",
        ensembl_id=pl.format("ENSG{}", pl.col("gene_id").cast(pl.String).str.zfill(11)),
        token_id=pl.int_range(pl.len(), dtype=pl.Int64) + FIRST_TOKEN,
    )


def _plates(study: Study) -> Iterator[tuple[int, _Cells]]:
    measured = _measured(study)
    for plate in range(1, len(DOSES_UM) + 1):
        rng = study.rng(TAHOE100M, f"plate{plate}")
        rows: list[dict[str, object]] = []
        counts = []
        for well in (well for well in _wells() if well.plate == plate):
            for accession in POOL:
                share = _share(study, well, accession, measured)
                for _ in range(int(rng.poisson(CELLS_OF_LINE))):
                    counts.append(rng.poisson(_mean(rng, share)))
                    rows.append(_cell(rng, len(rows), well, accession, counts[-1]))
        order = rng.permutation(len(rows))
        yield plate, _Cells(pl.DataFrame(rows)[order.tolist()], np.array(counts)[order])


def _share(study: Study, well: Well, accession: str, measured: NDArray[np.int64]) -> NDArray[np.float64]:
    expected = study.baseline(_line(accession))[measured]
    if (one := well.treatment(accession)) is not None:
        effect = study.log2_fold_change(one.compound, one.line, dose_um=one.dose_um, time_h=one.time_h)
        expected = expected + effect[measured]
    shares = np.exp2(expected)
    return np.concatenate([shares / shares.sum() * 0.93, [0.02, 0.05]])


def _mean(rng: np.random.Generator, share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected counts of one cell: most are whole, some are not."""
    mean = share * COUNTS_OF_CELL * rng.lognormal(0, 0.3)
    fate = rng.random()
    if fate < LOST_NUCLEUS:
        mean[-2] = 0
    elif fate < LOST_NUCLEUS + DYING:
        mean[-1] = mean[:-1].sum()
    elif fate < LOST_NUCLEUS + DYING + POOR:
        mean *= 0.1
    return mean


def _cell(
    rng: np.random.Generator, number: int, well: Well, accession: str, counts: NDArray[np.int64]
) -> dict[str, object]:
    name, total = POOL[accession][0], int(counts.sum())
    return {
        "sample": well.sample,
        "gene_count": int((counts > 0).sum()),
        "tscp_count": total,
        "mread_count": total + int(rng.integers(50, 500)),
        "drugname_drugconc": well.condition,
        "drug": well.name,
        "cell_line": accession,
        "sublibrary": f"lib_{well.plate}",
        "BARCODE": f"{well.number:02}_{number % 96 + 1:03}_{number // 96 + 1:03}",
        "BARCODE_SUB_LIB_ID": f"{well.number:02}_{number % 96 + 1:03}_{number // 96 + 1:03}-lib_{well.plate}",
        "pcnt_mito": counts[-1] / max(total, 1),
        "S_score": round(float(rng.normal(0, 0.1)), 4),
        "phase": "G1",
        "pass_filter": "full",
        "cell_name": name,
        "plate": f"plate{well.plate}",
    }


def _listed(cells: _Cells) -> pl.DataFrame:
    """Return the rows of a shard: genes of a cell in the order of tokens, after the mark."""
    tokens, values = [], []
    for counts in cells.counts:
        found = np.flatnonzero(counts)
        tokens.append([MARK[0], *(found + FIRST_TOKEN).tolist()])
        values.append([MARK[1], *counts[found].astype(float).tolist()])
    return cells.obs.select(
        genes=pl.Series(tokens, dtype=pl.List(pl.Int64)),
        expressions=pl.Series(values, dtype=pl.List(pl.Float32)),
        drug="drug",
        sample="sample",
        BARCODE_SUB_LIB_ID="BARCODE_SUB_LIB_ID",
        cell_line_id="cell_line",
        **{"moa-fine": pl.lit("unclear"), "canonical_smiles": pl.lit(""), "pubchem_cid": pl.lit("")},
        plate="plate",
    )
