"""Facts across tables: ids without a home, ids with two, and tables that are not there."""

from collections.abc import Callable
from pathlib import Path

import polars as pl

from etl.provenance import Provenance
from etl.warehouse import delta
from etl.warehouse.integrity import Reference, dangling, repeated_ids, resolution_shares
from schemas import TABLES

EFFECTS = TABLES["mart/differential_expression"]
CONDITION = TABLES["mart/condition"]
Rows = Callable[..., pl.DataFrame]


def condition_rows(dataset_id: str, *ids: int) -> pl.DataFrame:
    rows = [
        dict.fromkeys(CONDITION.polars_schema)
        | {
            "condition_id": number,
            "dataset_id": dataset_id,
            "context_id": "CVCL_0023",
            "compound_id": "RYYVLZVUVIJVGH-UHFFFAOYSA-N",
            "dose_um": 1.0,
            "time_h": 24.0,
            "vehicle_group": "",
            "n_treated": 1,
            "n_control": 2,
            "n_plates": 1,
            "is_estimable": True,
            "status": "estimable",
            "control_scope": "same_plate",
            "residual_df": 3.0,
            "n_genes_tested": 3,
            "n_genes_significant": 0,
            "n_genes_significant_unit": 0,
        }
        for number in ids
    ]
    return pl.DataFrame(rows, schema=CONDITION.polars_schema)


def test_ids_that_their_table_lacks_are_found(
    tmp_path: Path, effect_rows: Rows, provenance: Provenance
) -> None:
    root, where = str(tmp_path), {"dataset_id": "toy"}
    reference = Reference(EFFECTS.name, "condition_id", CONDITION.name)
    assert dangling(reference, root=root).is_empty()
    effects = pl.concat([effect_rows("toy", number) for number in (1, 2, 3)])
    delta.replace(root, EFFECTS, effects, where, provenance=provenance)
    delta.replace(root, CONDITION, condition_rows("toy", 2), where, provenance=provenance)
    assert dangling(reference, root=root).to_list() == [1, 3]


def test_an_id_that_two_datasets_share_is_found(tmp_path: Path, provenance: Provenance) -> None:
    root = str(tmp_path)
    assert repeated_ids(CONDITION, root=root).is_empty()
    for dataset_id, ids in (("one", (1, 2)), ("two", (2, 3))):
        where = {"dataset_id": dataset_id}
        delta.replace(root, CONDITION, condition_rows(dataset_id, *ids), where, provenance=provenance)
    assert repeated_ids(CONDITION, root=root).to_list() == [2]


def test_a_name_table_that_is_not_there_has_no_shares(tmp_path: Path) -> None:
    assert resolution_shares(TABLES["core/gene_name"], root=str(tmp_path)).is_empty()
