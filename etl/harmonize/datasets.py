"""Datasets: what each one is, from its specification, and how much of it there is, counted."""

import polars as pl

from etl.provenance import is_simulated
from etl.sources.base import SourceSpec
from schemas.core.dataset import DATASET


def describe_dataset(spec: SourceSpec, contents: pl.DataFrame, sources: pl.DataFrame) -> pl.DataFrame:
    """Return the dataset's row of ``core/dataset``.

    Args:
        spec: facts the adapter states.
        contents: the dataset's rows of ``core/sample``, for a screen one curve per pair
            of compound and line of ``mart/dose_response``, for untreated lines its rows of
            ``core/context_name``.
        sources: its rows of ``core/source_file``.
    """
    row = {
        name: getattr(spec, name)
        for name in (
            "dataset_id",
            "title",
            "assay",
            "readout",
            "value_scale",
            "doi",
            "url",
            "license",
            "is_redistributable",
            "access",
            "release",
        )
    } | {
        "is_simulated": is_simulated(sources),
        "n_samples": contents.height,
        "n_compounds": contents["compound_id"].drop_nulls().n_unique() if "compound_id" in contents else 0,
        "n_contexts": contents["context_id"].n_unique(),
    }
    return pl.DataFrame([row], schema=DATASET.polars_schema)
