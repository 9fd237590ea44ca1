from pathlib import Path

import polars as pl
import pytest

from etl.provenance import Provenance
from etl.warehouse import delta
from etl.warehouse.measurements import measurements_by_compound
from schemas.core.viability import VIABILITY


def measured(dataset_id: str, compound: str, n: int) -> pl.DataFrame:
    row = {
        "dataset_id": dataset_id,
        "experiment": "",
        "replicate": "",
        "plate": "",
        "well": "",
        "context_id": "CVCL_0023",
        "compound_id": f"unresolved:{dataset_id}:{compound}",
        "context_reported": "A549",
        "compound_reported": compound,
        "viability": 1.0,
        "qc_flags": [],
        "dose_unit_reported": "uM",
    }
    rows = [row | {"dose_um": 1.0 + dose, "dose_reported": str(1 + dose)} for dose in range(n)]
    return pl.DataFrame([dict.fromkeys(VIABILITY.polars_schema) | row for row in rows]).cast(
        VIABILITY.polars_schema  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(("block_rows", "blocks"), [(1, [3, 2, 4]), (5, [5, 4]), (100, [9])])
def test_all_rows_of_a_compound_stand_in_one_block(
    tmp_path: Path, provenance: Provenance, block_rows: int, blocks: list[int]
) -> None:
    root = str(tmp_path)
    own = pl.concat(measured("toy", compound, n) for compound, n in (("b", 2), ("a", 3), ("c", 4)))
    for dataset_id, rows in (("toy", own), ("other", measured("other", "a", 7))):
        delta.replace(root, VIABILITY, rows, {"dataset_id": dataset_id}, provenance=provenance)
    found = list(measurements_by_compound("toy", root=root, block_rows=block_rows))
    assert [block.height for block in found] == blocks
    assert pl.concat(found)["compound_reported"].to_list() == ["a"] * 3 + ["b"] * 2 + ["c"] * 4
    assert set(pl.concat(found)["dataset_id"]) == {"toy"}


def test_a_dataset_without_measurements_has_no_blocks(tmp_path: Path, provenance: Provenance) -> None:
    root = str(tmp_path)
    delta.replace(root, VIABILITY, measured("other", "a", 1), {"dataset_id": "other"}, provenance=provenance)
    assert list(measurements_by_compound("toy", root=root)) == []
