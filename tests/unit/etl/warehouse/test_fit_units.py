"""Fit units: which there are, which are out of date, and dropping those that are gone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from etl.provenance import Provenance, provenance_of
from etl.warehouse import delta
from etl.warehouse.fit_units import EFFECT_TABLES, FitUnit, fit_units, gone, remove
from etl.warehouse.freshness import are_shared_tables_fresh, provenance_of_all, stale_units, tables_of_all
from etl.warehouse.scan import scan
from schemas.core.expression import EXPRESSION
from schemas.core.sample import SAMPLE
from schemas.core.source_file import SOURCE_FILE
from schemas.mart.differential_expression import DIFFERENTIAL_EXPRESSION
from schemas.table import Table

Rows = Callable[..., pl.DataFrame]
ODD = "unresolved:toy:it's A/B"
A, B = FitUnit("toy", "CVCL_0023"), FitUnit("toy", ODD)


def blank(table: Table, **values: object) -> pl.DataFrame:
    """Return a row of a table with the given values; rules of its schema are not obeyed."""
    return pl.DataFrame([dict.fromkeys(table.polars_schema) | values], schema=table.polars_schema)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A dataset with two contexts, whose own tables are fresh and whose effects are missing."""
    monkeypatch.setattr(delta, "violations", lambda *_: [])
    root = str(tmp_path)
    samples = [
        blank(SAMPLE, dataset_id=unit.dataset_id, context_id=unit.context_id, sample_id=number)
        for number, unit in enumerate((A, A, B))
    ]
    files = blank(SOURCE_FILE, dataset_id="toy", path="toy/file.txt", sha256="0" * 64)
    made = provenance_of(files, run_id="core")
    for table, rows in ((SOURCE_FILE, files), (SAMPLE, pl.concat(samples)), (EXPRESSION, None)):
        empty = pl.DataFrame(schema=table.polars_schema)
        delta.replace(root, table, empty if rows is None else rows, {"dataset_id": "toy"}, provenance=made)
    return root


def fit(root: str, unit: FitUnit, rows: pl.DataFrame | None = None, fingerprint: str | None = None) -> None:
    """Commit effects of a unit to every table: those of differential expression, the others empty."""
    made = provenance_of(scan(SOURCE_FILE, root=root).collect(), run_id="fit")
    for table in EFFECT_TABLES:
        given = rows if table is DIFFERENTIAL_EXPRESSION else None
        given = pl.DataFrame(schema=table.polars_schema) if given is None else given
        provenance = replace(made, fingerprint=fingerprint or made.fingerprint)
        delta.replace(root, table, given, unit.where, provenance=provenance)


def test_units_are_the_contexts_of_the_samples(root: str, tmp_path: Path) -> None:
    assert fit_units(root=root) == {A: 2, B: 1}
    assert list(fit_units(root=root, dataset_ids=["toy"])) == [A, B]
    assert fit_units(root=root, dataset_ids=["other"]) == {}
    assert fit_units(root=str(tmp_path / "nothing")) == {}


def test_units_without_effects_are_stale_and_a_unit_that_was_fitted_is_not(root: str) -> None:
    assert stale_units(root=root) == {A: 2, B: 1}
    fit(root, B)
    assert stale_units(root=root) == {A: 2}
    fit(root, A, fingerprint="of other files")
    assert stale_units(root=root) == {A: 2}
    fit(root, A)
    assert stale_units(root=root) == {}


def test_a_unit_that_lacks_one_table_is_stale(root: str) -> None:
    made = provenance_of(scan(SOURCE_FILE, root=root).collect(), run_id="fit")
    for table in EFFECT_TABLES[:-1]:
        delta.replace(root, table, pl.DataFrame(schema=table.polars_schema), A.where, provenance=made)
    assert A in stale_units(root=root)


def test_no_unit_of_a_dataset_is_named_whose_own_tables_are_stale(root: str) -> None:
    other = blank(SOURCE_FILE, dataset_id="toy", path="toy/file.txt", sha256="1" * 64)
    made = provenance_of(other, run_id="core")
    delta.replace(root, SOURCE_FILE, other, {"dataset_id": "toy"}, provenance=made)
    assert stale_units(root=root) == {}
    empty = pl.DataFrame(schema=EXPRESSION.polars_schema)
    delta.replace(root, EXPRESSION, empty, {"dataset_id": "toy"}, provenance=made)
    assert stale_units(root=root) == {A: 2, B: 1}


def test_a_unit_that_is_gone_is_removed_from_every_table(root: str, effect_rows: Rows) -> None:
    fit(root, A)
    fit(root, B, effect_rows("toy", 1))
    assert gone(root=root, dataset_id="toy") == []
    made = provenance_of(scan(SOURCE_FILE, root=root).collect(), run_id="core")
    left = scan(SAMPLE, root=root).filter(context_id=A.context_id).collect()
    delta.replace(root, SAMPLE, left, {"dataset_id": "toy"}, provenance=made)
    assert gone(root=root, dataset_id="toy") == [B]
    assert gone(root=root, dataset_id="other") == []
    remove(B, root=root, run_id="removal")
    assert gone(root=root, dataset_id="toy") == []
    assert scan(DIFFERENTIAL_EXPRESSION, root=root).collect().is_empty()


def test_shared_tables_are_stale_once_another_unit_was_fitted(root: str) -> None:
    assert not are_shared_tables_fresh(root=root)
    share(root)
    assert are_shared_tables_fresh(root=root)
    fit(root, A)
    assert not are_shared_tables_fresh(root=root)
    share(root)
    assert are_shared_tables_fresh(root=root)


def share(root: str) -> None:
    provenance: Provenance = provenance_of_all(root=root, run_id="share")
    for table in tables_of_all():
        delta.replace(root, table, pl.DataFrame(schema=table.polars_schema), {}, provenance=provenance)
