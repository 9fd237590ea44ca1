"""Tiny valid rows of a table partitioned twice and of one that is a single whole."""

from collections.abc import Callable

import polars as pl
import pytest

from etl.provenance import Provenance
from schemas import TABLES

EFFECTS = TABLES["mart/differential_expression"]
COMPOUNDS = TABLES["core/compound"]


@pytest.fixture
def provenance() -> Provenance:
    return Provenance(run_id="run-1", fingerprint="f1", sources={"a/file.txt": "0" * 64})


@pytest.fixture
def effect_rows() -> Callable[..., pl.DataFrame]:
    def rows(dataset_id: str, condition_id: int, *, n_genes: int = 3, value: float = 0.5) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "dataset_id": [dataset_id] * n_genes,
                "context_id": ["unresolved:toy:it's A/B"] * n_genes,
                "condition_id": [condition_id] * n_genes,
                "gene_id": list(range(1, n_genes + 1)),
                "log2_fold_change": [value] * n_genes,
                "standard_error": [0.1] * n_genes,
                "p_value": [0.01] * n_genes,
                "p_value_adjusted": [0.03] * n_genes,
            },
            schema=EFFECTS.polars_schema,
        )

    return rows


@pytest.fixture
def compound_rows() -> Callable[..., pl.DataFrame]:
    def rows(**names: str) -> pl.DataFrame:
        blank = dict.fromkeys(COMPOUNDS.polars_schema)
        return pl.DataFrame(
            [
                blank
                | {
                    "compound_id": f"unresolved:toy:{key}",
                    "is_resolved": False,
                    "kind": "unknown",
                    "has_isotopes": False,
                    "has_undefined_stereo": False,
                    "name": name,
                    "n_datasets": 1,
                }
                for key, name in names.items()
            ],
            schema=COMPOUNDS.polars_schema,
        )

    return rows
