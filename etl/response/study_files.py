"""The publishers' columns that the study's triples are made of, word for word and in the order of the files.

Not the adapters of ``etl.sources``: the study matches names exactly and lets the last row of a file win. The
adapters normalize blanks, which GDSC's drug names end in, promise no order, and leave out gCSI's
``Norm_DrugName``, ``Norm_CellLineName`` and ``GR_05uM_fit``. Read here:

* ctrpv2: ``v20.data.curves_post_qc.txt`` and the names of ``v20.meta.per_experiment.txt``,
  ``v20.meta.per_cell_line.txt``, ``v20.meta.per_compound.txt``;
* gdsc2: ``GDSC2_fitted_dose_response_<date>.xlsx``: CELL_LINE_NAME, DRUG_NAME, AUC, LN_IC50;
* gcsi: ``gCSI_GRmetrics_v1.3.tsv``: Norm_CellLineName, Norm_DrugName and the metrics.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from etl.errors import BadInputError, PerturbhouseError
from etl.formats import delimited, xlsx
from etl.formats.delimited import TextTable

_MISSING = r"^\s*(NA|NaN)?\s*$"


def read_responses(dataset_id: str, column: str, raw: Path) -> pl.DataFrame:
    """Return one row per published curve, in file order: line, drug (names), response (Float64, may be null).

    Args:
        dataset_id: ``ctrpv2``, ``gdsc2`` or ``gcsi``.
        column: the publisher's column of the response.
        raw: the dataset's raw folder.

    Raises:
        BadInputError: a file is missing or twice there, lacks a column, holds a response that is no number,
            or refers to a line or compound that another file lacks.
        PerturbhouseError: the study does not use the dataset.
    """
    if dataset_id == "ctrpv2":
        table, line, drug = _ctrpv2(raw, column), "ccl_name", "cpd_name"
    elif dataset_id == "gdsc2":
        path = _located(dataset_id, raw, "GDSC2_fitted_dose_response_*.xlsx")
        line, drug, column = "cell_line_name", "drug_name", column.lower()
        table = xlsx.read_table(
            path, (line, drug, column), dataset_id=dataset_id, header=r"^drug_name$", missing=_MISSING
        )
    elif dataset_id == "gcsi":
        line, drug = "Norm_CellLineName", "Norm_DrugName"
        table = _read(dataset_id, raw, "gCSI_GRmetrics_v1.3.tsv", (line, drug, column))
    else:
        raise PerturbhouseError(f"the study uses ctrpv2, gdsc2 and gcsi, not {dataset_id!r}")
    table.require_present(line, drug)
    table = table.with_numbers(column, may_be_infinite=True)
    return table.rows.select(line=line, drug=drug, response=column)


def _ctrpv2(raw: Path, column: str) -> TextTable:
    """Return the curves with the names of line and compound."""
    curves = _read("ctrpv2", raw, "v20.data.curves_post_qc.txt", ("experiment_id", "master_cpd_id", column))
    for file, key, value in (
        ("v20.meta.per_experiment.txt", "experiment_id", "master_ccl_id"),
        ("v20.meta.per_cell_line.txt", "master_ccl_id", "ccl_name"),
        ("v20.meta.per_compound.txt", "master_cpd_id", "cpd_name"),
    ):
        # An experiment has a row per run: of several rows of a key the last counts.
        names = _read("ctrpv2", raw, file, (key, value)).rows.unique(key, keep="last", maintain_order=True)
        joined = curves.rows.join(names.select(key, value), on=key, how="left", maintain_order="left")
        curves = curves.with_rows(joined)
        curves.require(pl.col(value).is_not_null(), key, f"not listed in {file}")
    return curves


def _read(dataset_id: str, raw: Path, name: str, columns: Sequence[str]) -> TextTable:
    path = _located(dataset_id, raw, name)
    return delimited.read(path, columns, dataset_id=dataset_id, separator="\t", missing=_MISSING)


def _located(dataset_id: str, raw: Path, name: str) -> Path:
    found = sorted(raw.glob(f"**/{name}")) if raw.is_dir() else []
    if len(found) != 1:
        count = f"{len(found)} files match" if found else "no file matches"
        raise BadInputError(f"{count} {name} in the raw folder; one is needed", dataset_id=dataset_id)
    return found[0]
