"""A dataset's input, read and checked as a whole before any of its tables is touched.

A build commits table after table. Whatever is wrong with the files is therefore found here, first, by the
functions that the later steps use, so that bad input leaves every table of the dataset as it was. The price
is one more pass over the files.
"""

from pathlib import Path

import polars as pl

from etl.errors import BadInputError
from etl.expression.profiles import checked_blocks, library_sizes
from etl.harmonize.samples import harmonize_samples
from etl.harmonize.screens import harmonize_curves, harmonize_measurements
from etl.sources.base import ScreenSource, Source, TranscriptomicSource
from etl.validation import check_reported
from schemas.core.viability import VIABILITY
from schemas.reported import (
    ReportedCompound,
    ReportedContext,
    ReportedCurve,
    ReportedGene,
    ReportedMeasurement,
    ReportedSample,
)


def check_input(source: Source, raw: Path) -> None:
    """Read everything a build reads from a dataset's raw folder.

    Raises:
        BadInputError: a file is missing or broken, a column is missing, a key is repeated, a dose, time or
            unit cannot be read, values are off the declared scale, or parts of the dataset contradict others.
    """
    try:
        _check_input(source, raw)
    except BadInputError as error:
        # Readers of exchange formats do not know whose file they read.
        error.dataset_id = error.dataset_id or source.spec.dataset_id
        raise


def _check_input(source: Source, raw: Path) -> None:
    dataset_id = source.spec.dataset_id
    compounds = check_reported(source.compounds(raw), ReportedCompound, dataset_id=dataset_id)
    contexts = check_reported(source.contexts(raw), ReportedContext, dataset_id=dataset_id)
    names = {
        "compound_names": _as_resolved(compounds, "compound", dataset_id),
        "context_names": _as_resolved(contexts, "context", dataset_id),
    }
    if isinstance(source, TranscriptomicSource):
        _check_profiles(source, raw, names)
    if isinstance(source, ScreenSource):
        _check_screen(source, raw, names)


def _check_profiles(source: TranscriptomicSource, raw: Path, names: dict[str, pl.DataFrame]) -> None:
    spec = source.spec
    genes = check_reported(source.genes(raw), ReportedGene, dataset_id=spec.dataset_id)
    samples, _ = harmonize_samples(
        check_reported(source.samples(raw), ReportedSample, dataset_id=spec.dataset_id),
        dataset_id=spec.dataset_id,
        assay=spec.assay,
        **names,
    )
    if samples.is_empty() or genes.is_empty():
        raise BadInputError(
            f"the matrix is empty: {samples.height} usable sample(s), {genes.height} gene(s)",
            dataset_id=spec.dataset_id,
        )
    blocks = checked_blocks(
        source.expression(raw),
        sample_keys=samples["sample_key"],
        dataset_id=spec.dataset_id,
        value_scale=spec.value_scale,
    )
    sizes = library_sizes(blocks)
    if spec.value_scale == "counts" and sizes["total_counts"].sum() == 0:
        raise BadInputError("the matrix is empty: all counts are zero", dataset_id=spec.dataset_id)


def _check_screen(source: ScreenSource, raw: Path, names: dict[str, pl.DataFrame]) -> None:
    dataset_id = source.spec.dataset_id
    measurements = check_reported(source.measurements(raw), ReportedMeasurement, dataset_id=dataset_id)
    harmonize_measurements(measurements, dataset_id=dataset_id, **names)
    curves = check_reported(source.curves(raw), ReportedCurve, dataset_id=dataset_id)
    unfitted = pl.DataFrame(schema=VIABILITY.polars_schema)
    harmonize_curves(curves, unfitted, dataset_id=dataset_id, **names)


def _as_resolved(reported: pl.DataFrame, entity: str, dataset_id: str) -> pl.DataFrame:
    """Return a name table in which every reported name is known: only the input is put to the test."""
    key = f"{entity}_reported"
    return reported.select(
        key,
        pl.format(f"unresolved:{dataset_id}:{{}}", key).alias(f"{entity}_id"),
        dataset_id=pl.lit(dataset_id),
    )
