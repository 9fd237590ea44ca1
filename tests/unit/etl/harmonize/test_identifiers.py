"""Ids are frozen: the literal values here may never change."""

import polars as pl
import pytest

from etl.errors import BadInputError
from etl.harmonize.identifiers import CONDITION_KEY, condition_ids, sample_ids, unresolved_id

COMPOUND = "HHZIURLSWUIHRB-UHFFFAOYSA-N"


def conditions(*rows: tuple[object, ...]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=list(CONDITION_KEY), orient="row", infer_schema_length=None)


def test_sample_ids_are_frozen() -> None:
    keys = pl.Series(["CPC020_A375_6H_X1_B4_DUO52HI53LO:P17", "b"])
    assert sample_ids("l1000_phase1", keys).to_list() == [-5933406826993709173, 5724245088354541650]


def test_condition_ids_are_frozen() -> None:
    rows = conditions(
        ("d", "CVCL_0023", "A", 10.0, 24.0, ""),
        ("drugseq_kp6490", "CVCL_0023", COMPOUND, 0.37, 24.0, "DMSO 0.1%"),
    )
    assert condition_ids(rows).to_list() == [-3970301459343338963, 8279707251007390787]


def test_the_dataset_belongs_to_the_id() -> None:
    key = pl.Series(["A01"])
    assert sample_ids("a", key).to_list() != sample_ids("b", key).to_list()


def test_parts_cannot_run_into_each_other() -> None:
    a, b = condition_ids(conditions(("d", "XY", "Z", 1.0, 24.0, ""), ("d", "X", "YZ", 1.0, 24.0, "")))
    assert a != b


@pytest.mark.parametrize("missing", ["compound_id", "dose_um", "time_h"])
def test_without_compound_dose_or_time_there_is_no_condition(missing: str) -> None:
    whole = conditions(("d", "CVCL_0023", "A", 10.0, 24.0, ""))
    row = whole.with_columns(pl.lit(None, dtype=whole.schema[missing]).alias(missing))
    assert condition_ids(pl.concat([row, whole])).to_list() == [None, -3970301459343338963]


def test_number_types_do_not_matter() -> None:
    row = conditions(("d", "CVCL_0023", "A", 10.0, 24.0, ""))
    assert condition_ids(row.cast({"dose_um": pl.Int64, "time_h": pl.Float32})).to_list() == [
        -3970301459343338963
    ]


def test_rows_keep_their_order_and_share_ids() -> None:
    rows = [("d", "CVCL_0023", "A", float(dose), 24.0, "") for dose in (1, 2, 3, 2, 1)]
    ids = condition_ids(conditions(*rows)).to_list()
    assert ids == [ids[0], ids[1], ids[2], ids[1], ids[0]]
    assert len(set(ids)) == 3


def test_a_separator_in_a_key_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"x, column sample_key: .*U\+001F"):
        sample_ids("x", pl.Series(["a\x1fb"]))


def test_a_missing_sample_key_is_refused() -> None:
    with pytest.raises(BadInputError, match="1 sample keys are missing"):
        sample_ids("x", pl.Series("sample_key", ["a", None]))


def test_an_infinite_dose_is_refused() -> None:
    with pytest.raises(BadInputError, match="column dose_um"):
        condition_ids(conditions(("d", "CVCL_0023", "A", float("inf"), 24.0, "")))


def test_an_unresolved_label_stays_on_one_line() -> None:
    assert unresolved_id("d", "two\nlines") == "unresolved:d:two lines"


def test_a_blank_label_is_refused() -> None:
    with pytest.raises(BadInputError, match="blank"):
        unresolved_id("d", "  ")
