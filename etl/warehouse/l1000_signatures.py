"""L1000 signatures: Levels 4 and 5 of the Connectivity Map, computed from ``core/expression`` when asked for.

They are not stored. Effects of this warehouse are those of linear models; the levels serve comparison with
published signatures and the quality measures that users of L1000 know. Definitions: ``l1000_levels``.

A signature stands for the wells of one condition on the replicate plates of one experiment, as the
publisher's do. What an experiment is, plates say by their names: ``CPC005_A375_6H_X1_B3_DUO52HI53LO`` is
replicate ``X1`` of ``CPC005_A375_6H``.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal, NamedTuple
from urllib.parse import quote

import numpy as np
import polars as pl

from etl.errors import PerturbhouseError
from etl.expression.l1000_levels import Floats, level_4, level_5, signature_strength
from etl.settings import DEFAULT_ROOT
from etl.warehouse.scan import expression_matrix, scan
from schemas.core.dataset import DATASET
from schemas.core.expression import EXPRESSION
from schemas.core.gene import GENE
from schemas.core.sample import SAMPLE

Reference = Literal["population", "vehicle"]

ASSAY: Final = "l1000"
REPLICATE_OF_PLATE: Final = r"_X\d.*$"

MIN_VEHICLE_WELLS: Final = 3
"""Below, the median absolute deviation of a plate's vehicle wells says nothing."""

SIGNATURE_SCHEMA: Final = pl.Schema(
    {
        "signature": pl.UInt32,
        "dataset_id": pl.String,
        "context_id": pl.String,
        "condition_id": pl.Int64,
        "experiment": pl.String,
        "n_replicates": pl.Int32,
        "cc_q75": pl.Float64,
        "ss_ngene": pl.Int32,
        "ss_ngene_unadjusted": pl.Int32,
        "tas": pl.Float64,
    }
)


class L1000Signatures(NamedTuple):
    """The signatures of one context.

    Attributes:
        signatures: a row per signature, see ``SIGNATURE_SCHEMA``; ``signature`` is its row, from 0. Null
            where a measure needs two replicates.
        wells: a row per well that is part of one: sample_id, signature, weight (sums to 1 in a signature).
        gene_ids: genes of the values, ascending.
        values: moderated z-scores (Level 5), signatures x genes, float32.
        sample_ids: every well of the context, ascending.
        scores: robust z-scores (Level 4), wells x genes, float32; NaN on plates with too few reference wells.
        n_without_score: wells of conditions on such plates.
    """

    signatures: pl.DataFrame
    wells: pl.DataFrame
    gene_ids: np.ndarray
    values: Floats
    sample_ids: np.ndarray
    scores: Floats
    n_without_score: int

    def level_4(self) -> pl.DataFrame:
        """Return the scores as rows: sample_id, gene_id, z; wells without a score have none."""
        is_scored = np.isfinite(self.scores).all(axis=1)
        named = pl.DataFrame({"sample_id": self.sample_ids[is_scored]})
        return _as_rows(named, self.gene_ids, self.scores[is_scored])

    def level_5(self) -> pl.DataFrame:
        """Return the values as rows: signature, condition_id, experiment, gene_id, z."""
        named = self.signatures.select("signature", "condition_id", "experiment")
        return _as_rows(named, self.gene_ids, self.values)


def l1000_signatures(
    dataset_id: str, context_id: str, *, reference: Reference = "population", root: str = DEFAULT_ROOT
) -> L1000Signatures:
    """Return the signatures of a context, with their wells and their quality.

    Level 4 is taken over all genes that every well has, correlations, strength and activity over the
    landmarks among them. Wells that the warehouse flags are part of their plate and of their condition, as
    at the publisher's.

    Args:
        dataset_id: an L1000 dataset.
        context_id: the context.
        reference: wells that z-scores are taken against: all of the plate, which is the publisher's choice,
            or its vehicle wells, at least ``MIN_VEHICLE_WELLS``.
        root: warehouse root.

    Raises:
        PerturbhouseError: no L1000 dataset, nothing of it in this context, or no landmark gene that all wells
            have.
    """
    _require_l1000(dataset_id, root)
    sample_ids, gene_ids, values = expression_matrix(dataset_id, context_id, value_scale="log2", root=root)
    if not len(sample_ids):
        raise PerturbhouseError(f"{dataset_id} has no expression in {context_id}")
    assert isinstance(values, np.ndarray)
    is_complete = np.isfinite(values).all(axis=0)
    gene_ids, values = gene_ids[is_complete], values[:, is_complete]
    landmarks = _landmarks(gene_ids, root)
    if not len(landmarks):
        raise PerturbhouseError(f"{dataset_id}, {context_id}: no landmark gene has a value in every well")
    wells = _wells(dataset_id, context_id, sample_ids, root)
    scores = _scores(values, wells, reference)
    is_treated = wells["condition_id"].is_not_null().to_numpy()
    is_used = is_treated & np.isfinite(scores[:, 0])
    used = wells.filter(pl.Series(is_used)).with_columns(
        signature=pl.struct("experiment", "condition_id").rank("dense").cast(pl.UInt32) - 1
    )
    named = used.select("signature", "condition_id", "experiment").unique().sort("signature")
    blank = L1000Signatures(
        signatures=pl.DataFrame(schema=SIGNATURE_SCHEMA),
        wells=pl.DataFrame(schema={"sample_id": pl.Int64, "signature": pl.UInt32, "weight": pl.Float64}),
        gene_ids=gene_ids,
        values=np.empty((0, len(gene_ids)), dtype=np.float32),
        sample_ids=sample_ids,
        scores=scores,
        n_without_score=int((is_treated & ~is_used).sum()),
    )
    if used.is_empty():
        return blank
    found = level_5(scores[is_used], used["signature"].to_numpy(), landmarks)
    quality = {
        "n_replicates": found.n_replicates,
        "cc_q75": found.cc_q75,
        "ss_ngene": found.ss_ngene,
        "ss_ngene_unadjusted": signature_strength(found.values[:, landmarks]).n_genes,
        "tas": found.tas,
    }
    signatures = named.with_columns(
        pl.lit(dataset_id).alias("dataset_id"),
        pl.lit(context_id).alias("context_id"),
        *(pl.Series(name, values).fill_nan(None) for name, values in quality.items()),
    )
    return blank._replace(
        signatures=signatures.select(SIGNATURE_SCHEMA.names()).cast(SIGNATURE_SCHEMA),
        wells=used.select("sample_id", "signature", weight=pl.Series(found.weights)),
        values=found.values,
    )


def write_l1000_signatures(
    dataset_id: str, folder: Path, *, reference: Reference = "population", root: str = DEFAULT_ROOT
) -> pl.DataFrame:
    """Write the signatures of all contexts of a dataset as Parquet, one context in memory at a time.

    ``signatures/``, ``wells/``, ``level_4/`` and ``level_5/`` get a file per context, with the tables of
    ``L1000Signatures``. The folder is whole or absent.

    Args:
        dataset_id: an L1000 dataset.
        folder: a folder that does not exist yet.
        reference: see ``l1000_signatures``.
        root: warehouse root.

    Returns:
        A row per context: context_id, n_signatures, n_wells, n_without_score.

    Raises:
        PerturbhouseError: the folder exists, or as ``l1000_signatures``.
    """
    if folder.exists():
        raise PerturbhouseError(f"{folder} exists; signatures are written to a new folder")
    _require_l1000(dataset_id, root)
    measured = scan(EXPRESSION, root=root).filter(dataset_id=dataset_id)
    contexts = measured.select("context_id").unique().collect()["context_id"].sort()
    folder.parent.mkdir(parents=True, exist_ok=True)
    account = []
    with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as staged:
        whole = Path(staged, folder.name)
        for context_id in contexts:
            found = l1000_signatures(dataset_id, context_id, reference=reference, root=root)
            parts = {
                "signatures": found.signatures,
                "wells": found.wells,
                "level_4": found.level_4(),
                "level_5": found.level_5(),
            }
            for name, rows in parts.items():
                file = whole / name / f"{quote(context_id, safe='')}.parquet"
                file.parent.mkdir(parents=True, exist_ok=True)
                rows.with_columns(context_id=pl.lit(context_id)).write_parquet(file, compression="zstd")
            account.append((context_id, found.signatures.height, found.wells.height, found.n_without_score))
        whole.rename(folder)
    return pl.DataFrame(
        account, schema=["context_id", "n_signatures", "n_wells", "n_without_score"], orient="row"
    )


def _as_rows(named: pl.DataFrame, gene_ids: np.ndarray, values: Floats) -> pl.DataFrame:
    """Return a row per name and gene, with its value as z."""
    n_names, n_genes = values.shape
    return named.select(pl.all().repeat_by(n_genes).explode()).with_columns(
        gene_id=pl.Series(np.tile(gene_ids, n_names), dtype=pl.Int32),
        z=pl.Series(values.ravel(), dtype=pl.Float32),
    )


def _require_l1000(dataset_id: str, root: str) -> None:
    facts = scan(DATASET, root=root).filter(dataset_id=dataset_id).select("assay", "value_scale").collect()
    if facts.rows() != [(ASSAY, "log2")]:
        raise PerturbhouseError(f"{dataset_id!r} is no L1000 dataset with log2 values of this warehouse")


def _scores(values: Floats, wells: pl.DataFrame, reference: Reference) -> Floats:
    """Return Level 4, NaN on plates with too few reference wells."""
    plates = wells["plate"].to_numpy()
    if reference == "population":
        return level_4(values, plates)
    is_vehicle = wells["sample_kind"].eq("vehicle").to_numpy()
    return level_4(values, plates, is_vehicle, min_reference=MIN_VEHICLE_WELLS)


def _landmarks(gene_ids: np.ndarray, root: str) -> np.ndarray:
    """Return the positions of the landmarks among genes."""
    landmarks = scan(GENE, root=root).filter("is_landmark").select("gene_id").collect()["gene_id"]
    return np.flatnonzero(np.isin(gene_ids, landmarks.to_numpy()))


def _wells(dataset_id: str, context_id: str, sample_ids: np.ndarray, root: str) -> pl.DataFrame:
    """Return the samples in the order of the values, with the experiment of their plate."""
    samples = (
        scan(SAMPLE, root=root)
        .filter(dataset_id=dataset_id, context_id=context_id)
        .select("sample_id", "sample_kind", "condition_id", "plate")
        .with_columns(experiment=pl.col("plate").str.replace(REPLICATE_OF_PLATE, ""))
        .collect()
    )
    wells = pl.DataFrame({"sample_id": sample_ids}).join(
        samples, on="sample_id", how="left", maintain_order="left", validate="1:1"
    )
    assert not wells["plate"].null_count(), "expression of samples that core/sample lacks"
    return wells
