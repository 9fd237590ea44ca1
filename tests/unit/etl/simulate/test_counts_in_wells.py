"""Simulated counts in wells, read by their publishers' adapters: effects are where they were planted."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from etl.simulate import cigs, gdpx2, vcpi
from etl.simulate.study import Study
from etl.sources.base import TranscriptomicSource
from etl.sources.cigs_mce import CigsMce
from etl.sources.cigs_tcm import CigsTcm
from etl.sources.gdpx2 import Gdpx2
from etl.sources.vcpi_0001 import Vcpi0001
from etl.sources.vcpi_0002 import Vcpi0002

STUDIES: dict[str, tuple[TranscriptomicSource, Callable[[Path, Study], None], str]] = {
    "cigs_mce": (CigsMce(), cigs.write_mce, "HY-10224"),
    "cigs_tcm": (CigsTcm(), cigs.write_tcm, "Cpd0164"),
    "gdpx2": (Gdpx2(), gdpx2.write, "Vorinostat"),
    "vcpi_0001": (
        Vcpi0001(),
        lambda folder, study: vcpi.write(folder, study, "vcpi_0001"),
        vcpi.compound_key("Geldanamycin"),
    ),
    "vcpi_0002": (
        Vcpi0002(),
        lambda folder, study: vcpi.write(folder, study, "vcpi_0002"),
        vcpi.compound_key("Geldanamycin"),
    ),
}


@pytest.fixture(scope="module", params=STUDIES)
def study(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TranscriptomicSource, Path, str]:
    """An adapter, the folder of its simulated study, and a compound with strong effects."""
    source, write, compound = STUDIES[request.param]
    raw = tmp_path_factory.mktemp(request.param)
    write(raw, Study(5))
    return source, raw, compound


def test_every_plate_and_vehicle_group_has_vehicle(study: tuple[TranscriptomicSource, Path, str]) -> None:
    source, raw, _ = study
    samples = source.samples(raw).collect()
    of_plate = ["plate", "vehicle_group"]
    vehicles = samples.filter(pl.col("sample_kind") == "vehicle").select(of_plate).unique()
    treated = samples.filter(pl.col("sample_kind") == "compound").select(of_plate).unique()
    assert treated.join(vehicles, on=of_plate, how="anti").is_empty()


def test_counts_show_the_planted_effect(study: tuple[TranscriptomicSource, Path, str]) -> None:
    source, raw, compound = study
    samples = source.samples(raw).collect().filter(~pl.col("is_low_quality"))
    truth = pl.read_parquet(raw / "truth" / "effects.parquet").filter(pl.col("compound_reported") == compound)
    context, dose = truth["context_reported"][0], truth["dose_um"].max()
    truth = truth.filter(pl.col("context_reported") == context, pl.col("dose_um") == dose)

    keys, counts = _matrix(source, raw)
    log2_share = np.log2((counts + 0.5) / counts.sum(axis=1, keepdims=True) * 1e6)
    row = {key: index for index, key in enumerate(keys)}
    number = pl.col("dose").str.extract(r"([0-9.]+)").cast(pl.Float64)
    dose_um = pl.when(pl.col("dose_unit") == "nM").then(number / 1000).otherwise(number)
    treated = samples.filter(pl.col("compound_reported") == compound, dose_um == dose)
    treated = treated.filter(pl.col("context_reported") == context)
    effects = []
    for plate, group, key in treated.select("plate", "vehicle_group", "sample_key").iter_rows():
        vehicle = samples.filter(
            pl.col("sample_kind") == "vehicle", pl.col("plate") == plate, pl.col("vehicle_group") == group
        )
        mean = log2_share[[row[other] for other in vehicle["sample_key"]]].mean(axis=0)
        effects.append(log2_share[row[key]] - mean)
    effect = np.mean(effects, axis=0)

    genes = source.genes(raw).collect()["gene_reported"].to_list()
    name = "ensembl_gene_id" if genes[0].startswith("ENSG") else "symbol"
    position = {gene: index for index, gene in enumerate(genes)}
    columns = [position[gene] for gene in truth[name]]
    abundant = counts[:, columns].mean(axis=0) > 30
    planted = truth["log2_fold_change"].to_numpy()
    assert np.corrcoef(effect[columns][abundant], planted[abundant])[0, 1] > 0.8


def _matrix(source: TranscriptomicSource, raw: Path) -> tuple[list[str], np.ndarray]:
    blocks = list(source.expression(raw))
    keys = [key for block in blocks for key in block.sample_keys]
    values = [block.values.toarray() if sparse.issparse(block.values) else block.values for block in blocks]
    return keys, np.vstack(values).astype(float)
