"""Triples of the warehouse: one row per pair, whatever it was called and however often it was measured."""

from typing import Any

import polars as pl
import pytest

from etl.errors import PerturbhouseError
from etl.response.corrected import CORRECTED, corrected_triples
from schemas.mart.dose_response import DOSE_RESPONSE

X = "AAAAAAAAAAAAAA-AAAAAAAAAA-N"
Y = "BBBBBBBBBBBBBB-AAAAAAAAAA-N"
LINE = "CVCL_0132"


def curves(*rows: dict[str, Any]) -> pl.LazyFrame:
    """Return rows of mart/dose_response of dataset ``toy``, null where nothing is given."""
    filled = [
        {
            "dataset_id": "toy",
            "context_id": LINE,
            "compound_id": X,
            "context_reported": "A375",
            "compound_reported": "x",
            "experiment": "",
            "replicate": "",
            "replicate_level": "experiment" if row.get("experiment") else "pooled",
            "qc_flags": [],
        }
        | row
        for row in rows
    ]
    return pl.LazyFrame(filled, schema=DOSE_RESPONSE.polars_schema)


def test_experiments_are_collapsed_by_the_rule_asked_for_and_counted() -> None:
    given = curves(
        {"experiment": "c", "auc": 0.9},
        {"experiment": "a", "auc": 0.2},
        {"experiment": "b", "auc": 0.4},
        {"auc": 0.7},
        {"experiment": "a", "replicate": "1", "replicate_level": "replicate", "auc": 0.0},
        {"compound_id": Y, "compound_reported": "y", "auc": 0.3},
        {"dataset_id": "other", "auc": 0.8},
    )
    for rule, response in (("mean", 0.5), ("median", 0.4), ("first", 0.2)):
        rows, account = corrected_triples(given, dataset_id="toy", metric="auc", collapse=rule)
        assert rows.schema == CORRECTED
        assert rows.rows() == [(X, LINE, pytest.approx(response), 3), (Y, LINE, 0.3, 1)]
    assert (account.n_in, account.n_out) == (5, 2)
    assert dict(account.dropped) == {
        "pooled curve beside those of the experiments": 1,
        "collapsed into another curve of the pair": 2,
    }
    assert dict(account.noted) == {"pairs of several curves": 1}


def test_a_pooled_value_stands_where_no_experiment_has_one() -> None:
    given = curves({"experiment": "a"}, {"experiment": "b"}, {"auc_reported": 0.7})
    rows, account = corrected_triples(given, dataset_id="toy", metric="auc_reported", collapse="mean")
    assert rows.rows() == [(X, LINE, 0.7, 1)]
    assert dict(account.dropped) == {"no finite response": 2}


def test_two_names_of_one_compound_are_one_pair_and_the_unresolved_are_counted() -> None:
    unresolved = {"compound_id": "unresolved:toy:z", "compound_reported": "z", "auc": 1.0}
    given = curves(
        {"auc": 0.2},
        {"compound_reported": "x (rescreen)", "auc": 0.4},
        unresolved,
        unresolved | {"context_id": "unresolved:toy:Q", "context_reported": "Q"},
    )
    rows, account = corrected_triples(given, dataset_id="toy", metric="auc", collapse="mean")
    assert rows["response"].to_list() == pytest.approx([0.3, 1.0, 1.0])
    assert dict(account.noted) == {
        "pairs of several curves": 1,
        "pairs of an unresolved compound": 2,
        "pairs of an unresolved line": 1,
    }


def test_the_logarithm_of_a_dose_is_taken_before_doses_are_averaged() -> None:
    given = curves({"experiment": "a", "ic50_um": 0.1}, {"experiment": "b", "ic50_um": 1000.0})
    rows, _ = corrected_triples(given, dataset_id="toy", metric="log10_ic50_um", collapse="mean")
    assert rows["response"].to_list() == pytest.approx([1.0])


@pytest.mark.parametrize(
    ("metric", "collapse", "message"),
    [
        ("IC50", "mean", "no column of numbers 'IC50'"),
        ("model", "mean", "no column of numbers 'model'"),
        ("log10_auc", "mean", "no column of doses"),
        ("auc", "max", "not by 'max'"),
    ],
)
def test_an_unknown_metric_or_rule_is_refused(metric: str, collapse: Any, message: str) -> None:
    with pytest.raises(PerturbhouseError, match=message):
        corrected_triples(curves(), dataset_id="toy", metric=metric, collapse=collapse)


def test_a_dataset_without_curves_gives_no_triples() -> None:
    rows, account = corrected_triples(curves({"auc": 1.0}), dataset_id="none", metric="auc", collapse="first")
    assert rows.schema == CORRECTED
    assert (rows.height, account.n_in) == (0, 0)
