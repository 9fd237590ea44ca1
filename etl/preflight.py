"""A dataset's input, read and checked as a whole before any of its tables is touched.

A build commits table after table. Whatever is wrong with the files is therefore found here, first, by the
functions that the later steps use, so that bad input leaves every table of the dataset as it was. The price
is one more pass over the files.
"""

from pathlib import Path
from urllib.parse import quote

import polars as pl

from etl.errors import BadInputError
from etl.expression.profiles import checked_blocks, library_sizes
from etl.harmonize.compound_reference import load_compound_reference
from etl.harmonize.context_reference import load_context_reference
from etl.harmonize.gene_reference import load_gene_reference
from etl.harmonize.identifiers import unresolved_id
from etl.harmonize.overrides import load_overrides
from etl.harmonize.reference_folder import ReferenceFolder
from etl.harmonize.samples import harmonize_annotations, harmonize_samples
from etl.harmonize.screens import check_curves, curve_times, harmonize_curves, harmonize_measurements
from etl.sources.base import (
    AnnotatedSource,
    ContextExpressionSource,
    ScreenSource,
    Source,
    TranscriptomicSource,
)
from etl.unique_keys import UniqueKeys
from etl.validation import check_reported
from schemas.core.viability import VIABILITY
from schemas.reported import (
    ReportedAnnotation,
    ReportedCompound,
    ReportedContext,
    ReportedCurve,
    ReportedGene,
    ReportedMeasurement,
    ReportedSample,
)

MAX_LABEL_BYTES = 180
"""Longest cell label, percent-encoded: with its prefix it is one name of a path, which ends at 255 bytes."""


def check_input(source: Source, raw: Path, references: ReferenceFolder) -> None:
    """Read everything a build reads: a dataset's raw folder, and the folder of identifier references.

    PubChem's files, which are read in minutes, are not among them: they are compiled before, by themselves.

    Raises:
        BadInputError: a file is missing or broken, a column is missing, a key is repeated, a dose, time or
            unit cannot be read, values are off the declared scale, or parts of the dataset contradict others.
    """
    try:
        _check_input(source, raw)
        load_overrides(references)
        load_compound_reference(references)
        load_context_reference(references)
        load_gene_reference(references)
    except BadInputError as error:
        # Readers of exchange formats do not know whose file they read.
        error.dataset_id = error.dataset_id or source.spec.dataset_id
        raise


def _check_input(source: Source, raw: Path) -> None:
    dataset_id = source.spec.dataset_id
    compounds = check_reported(source.compounds(raw), ReportedCompound, dataset_id=dataset_id)
    contexts = check_reported(source.contexts(raw), ReportedContext, dataset_id=dataset_id)
    _check_labels(contexts, dataset_id)
    names = {
        "compound_names": _as_resolved(compounds, "compound", dataset_id),
        "context_names": _as_resolved(contexts, "context", dataset_id),
    }
    if isinstance(source, TranscriptomicSource):
        _check_profiles(source, raw, names)
    if isinstance(source, ScreenSource):
        _check_screen(source, raw, names)
    if isinstance(source, ContextExpressionSource):
        _check_context_expression(source, raw, contexts)


def _check_profiles(source: TranscriptomicSource, raw: Path, names: dict[str, pl.DataFrame]) -> None:
    spec = source.spec
    genes = check_reported(source.genes(raw), ReportedGene, dataset_id=spec.dataset_id)
    samples, _ = harmonize_samples(
        check_reported(source.samples(raw), ReportedSample, dataset_id=spec.dataset_id),
        dataset_id=spec.dataset_id,
        assay=spec.assay,
        **names,
    )
    if isinstance(source, AnnotatedSource):
        stated = check_reported(source.annotations(raw), ReportedAnnotation, dataset_id=spec.dataset_id)
        harmonize_annotations(stated, samples, dataset_id=spec.dataset_id)
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
    keys = UniqueKeys()
    times = [curve_times(VIABILITY.empty())]
    for block in source.measurements(raw):
        measured = check_reported(block, ReportedMeasurement, dataset_id=dataset_id)
        viability, _ = harmonize_measurements(measured, dataset_id=dataset_id, **names)
        keys.add(viability.select(VIABILITY.primary_key))
        times.append(curve_times(viability))
    if n_repeated := keys.n_repeated():
        rule = f"{n_repeated} measurement(s) come twice, with one {', '.join(VIABILITY.primary_key[1:])}"
        raise BadInputError(rule, dataset_id=dataset_id)
    curves = check_reported(source.curves(raw), ReportedCurve, dataset_id=dataset_id)
    check_curves(curves, pl.concat(times).unique(), dataset_id=dataset_id)
    # Without the points nothing is fitted, and everything else is put to the test.
    harmonize_curves(curves, VIABILITY.empty(), dataset_id=dataset_id, **names)


def _check_context_expression(source: ContextExpressionSource, raw: Path, contexts: pl.DataFrame) -> None:
    check_reported(source.genes(raw), ReportedGene, dataset_id=source.spec.dataset_id)
    blocks = source.context_expression(raw)
    labels = contexts["context_reported"]
    for _ in checked_blocks(
        blocks, sample_keys=labels, dataset_id=source.spec.dataset_id, value_scale="log2"
    ):
        pass


def _as_resolved(reported: pl.DataFrame, entity: str, dataset_id: str) -> pl.DataFrame:
    """Return a name table in which every reported name is known: only the input is put to the test."""
    key = f"{entity}_reported"
    ids = [unresolved_id(dataset_id, name) for name in reported[key]]
    return reported.select(
        key, pl.Series(f"{entity}_id", ids, dtype=pl.String), dataset_id=pl.lit(dataset_id)
    )


def _check_labels(contexts: pl.DataFrame, dataset_id: str) -> None:
    """Refuse a cell label that cannot be part of a path: context_id is a partition of the big tables."""
    for label in contexts["context_reported"]:
        if len(quote(label, safe="")) > MAX_LABEL_BYTES:
            raise BadInputError(
                f"a cell label of more than {MAX_LABEL_BYTES} bytes: {label[:40]!r}…",
                dataset_id=dataset_id,
                column="context_reported",
            )
