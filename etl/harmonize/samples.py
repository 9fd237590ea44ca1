"""Reported samples to rows of ``core/sample``: ids, canonical doses and times, kinds and flags.

Compounds and contexts come resolved (``core/compound_name``, ``core/context_name``).
"""

import polars as pl

from etl.accounting import RowAccount
from etl.errors import BadInputError
from etl.flags import flag_list
from etl.harmonize.doses import dose_um, time_h
from etl.harmonize.identifiers import condition_ids, sample_ids
from etl.harmonize.resolved import with_resolved_ids
from schemas.core.sample import SAMPLE
from schemas.core.sample_annotation import SAMPLE_ANNOTATION
from schemas.vocabularies import CONTROL_KINDS, OUT_OF_SCOPE_KINDS

LOW_LIBRARY_SHARE = 0.1
"""A sample with less than this share of the dataset's median total count is flagged ``low_library``."""


def harmonize_samples(
    reported: pl.DataFrame,
    *,
    dataset_id: str,
    assay: str,
    compound_names: pl.DataFrame,
    context_names: pl.DataFrame,
    libraries: pl.DataFrame | None = None,
) -> tuple[pl.DataFrame, RowAccount]:
    """Return the dataset's rows of ``core/sample`` and the account of samples in and out.

    Args:
        reported: the adapter's samples (``ReportedSample``).
        dataset_id: the dataset.
        assay: its assay.
        compound_names: its rows of ``core/compound_name``.
        context_names: its rows of ``core/context_name``.
        libraries: sample_key, total_counts, n_genes of count data; None for normalized data.

    Raises:
        BadInputError: a treated sample names no compound, a sample no plate or cells, a compound or label is
            missing from the dataset's own lists, or a dose or time cannot be read.
    """
    excluded = reported.filter(pl.col("sample_kind").is_in(OUT_OF_SCOPE_KINDS))
    kept = reported.filter(~pl.col("sample_kind").is_in(OUT_OF_SCOPE_KINDS))
    is_control = pl.col("sample_kind").is_in(list(CONTROL_KINDS))
    kept = kept.with_columns(compound_reported=pl.when(~is_control).then("compound_reported"))
    _check_stated(kept.filter(~is_control), "compound_reported", dataset_id)
    _check_stated(kept, "context_reported", dataset_id)
    _check_stated(kept, "plate", dataset_id)
    kept = with_resolved_ids(kept, "compound", compound_names, dataset_id=dataset_id)
    kept = with_resolved_ids(kept, "context", context_names, dataset_id=dataset_id)
    if libraries is None:
        kept = kept.with_columns(total_counts=pl.lit(None, pl.Int64), n_genes=pl.lit(None, pl.Int32))
    else:
        kept = kept.join(libraries, on="sample_key", how="left", maintain_order="left", validate="1:1")
    samples = (
        kept.with_columns(
            dataset_id=pl.lit(dataset_id),
            assay=pl.lit(assay),
            sample_id=sample_ids(dataset_id, kept["sample_key"]),
            is_control=is_control,
            control_kind=pl.when(is_control).then(pl.col("sample_kind")),
            dose_um=dose_um(kept["dose"], kept["dose_unit"], dataset_id=dataset_id, keys=kept["sample_key"]),
            time_h=time_h(kept["time"], kept["time_unit"], dataset_id=dataset_id, keys=kept["sample_key"]),
            well=canonical_well(pl.col("well")),
        )
        .with_columns(qc_flags=_flags())
        .with_columns(
            dose_um=pl.when(~pl.col("is_control") & (pl.col("dose_um") > 0)).then(pl.col("dose_um"))
        )
    )
    samples = samples.with_columns(condition_id=condition_ids(samples)).rename(
        {
            "dose": "dose_reported",
            "dose_unit": "dose_unit_reported",
            "time": "time_reported",
            "time_unit": "time_unit_reported",
        }
    )
    account = RowAccount(
        n_in=reported.height,
        n_out=samples.height,
        dropped=_counts(excluded["sample_kind"]),
        unit="samples",
        noted=_counts(samples["sample_kind"]) | _counts(samples["qc_flags"].explode().drop_nulls()),
    )
    return samples.select(list(SAMPLE.polars_schema)).cast(SAMPLE.polars_schema), account


def harmonize_annotations(
    reported: pl.DataFrame, samples: pl.DataFrame, *, dataset_id: str
) -> tuple[pl.DataFrame, RowAccount]:
    """Return the dataset's rows of ``core/sample_annotation`` and the account of facts in and out.

    Args:
        reported: the adapter's annotations (``ReportedAnnotation``).
        samples: the dataset's rows of ``core/sample``; a fact about another sample is left out and counted.
        dataset_id: the dataset.

    Raises:
        BadInputError: a fact of a sample is stated more than once.
    """
    if (repeated := reported.filter(pl.struct("sample_key", "key").is_duplicated())).height:
        first = repeated.sort("sample_key", "key").row(0, named=True)
        raise BadInputError(
            f"{first['key']!r} is stated more than once ({repeated.height} such rows)",
            dataset_id=dataset_id,
            row=f"sample {first['sample_key']}",
        )
    kept = reported.join(samples.select("sample_key", "sample_id"), on="sample_key", how="inner")
    rows = kept.with_columns(dataset_id=pl.lit(dataset_id)).select(list(SAMPLE_ANNOTATION.polars_schema))
    n_others = reported.height - rows.height
    dropped = {"of a sample that is not kept": n_others} if n_others else {}
    return rows.sort("sample_id", "key"), RowAccount(reported.height, rows.height, dropped, unit="facts")


def canonical_well(well: pl.Expr) -> pl.Expr:
    """Return wells as row letters and two-digit column; a label of another form stays as it is.

    >>> wells = pl.DataFrame({"well": ["a3", "P17", "AF048", "row1_col2"]})
    >>> wells.select(canonical_well(pl.col("well")))["well"].to_list()
    ['A03', 'P17', 'AF48', 'row1_col2']
    """
    row = well.str.extract(r"^([A-Za-z]{1,2})0*(\d{1,2})$", 1).str.to_uppercase()
    column = well.str.extract(r"^([A-Za-z]{1,2})0*(\d{1,2})$", 2).str.zfill(2)
    return pl.when(row.is_not_null()).then(row + column).otherwise(well)


def _check_stated(samples: pl.DataFrame, column: str, dataset_id: str) -> None:
    """Check that a column is filled; of samples out of scope nothing is asked."""
    nameless = samples.filter(pl.col(column).is_null() | (pl.col(column) == ""))
    if nameless.height:
        raise BadInputError(
            f"{nameless.height} sample(s) state none",
            dataset_id=dataset_id,
            row=f"sample {nameless['sample_key'][0]}",
            column=column,
        )


def _flags() -> pl.Expr:
    """Return the list of flags of a sample, in the order of the vocabulary."""
    treated = ~pl.col("is_control")
    rules = {
        "dose_missing": treated & pl.col("dose_um").is_null(),
        "dose_zero": treated & (pl.col("dose_um") == 0),
        "time_missing": pl.col("time_h").is_null(),
        "low_quality_reported": pl.col("is_low_quality"),
        "low_library": (pl.col("total_counts") == 0)
        | (pl.col("total_counts") < LOW_LIBRARY_SHARE * pl.col("total_counts").median()),
    }
    return flag_list(rules)


def _counts(values: pl.Series) -> dict[str, int]:
    counted = values.value_counts(sort=True, name="n")
    return dict(zip(counted[values.name].to_list(), counted["n"].to_list(), strict=True))
