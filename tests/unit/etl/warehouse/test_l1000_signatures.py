"""Levels 4 and 5 from a warehouse: which wells make a signature, and its numbers by the definitions."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from etl.errors import PerturbhouseError
from etl.expression.l1000_levels import moderated_z, robust_z, signature_strength, transcriptional_activity
from etl.provenance import Provenance
from etl.warehouse import delta
from etl.warehouse.l1000_signatures import l1000_signatures, write_l1000_signatures
from schemas.core.dataset import DATASET
from schemas.core.expression import EXPRESSION
from schemas.core.gene import GENE
from schemas.core.sample import SAMPLE
from schemas.table import Table

LINE, OTHER = "CVCL_0132", "unresolved:toy:A/B"
N_GENES, N_LANDMARKS = 60, 50
GENES = np.arange(1, N_GENES + 1)
PLATES = {
    "CPC005_A375_6H_X1_B3": "CPC005_A375_6H",
    "CPC005_A375_6H_X2_B3": "CPC005_A375_6H",
    "CPC006_A375_6H_X1_B4": "CPC006_A375_6H",
}
CONDITIONS = (-5, 7, 9)
"""On every plate once, the first on the first plate twice."""
N_VEHICLE = {"CPC005_A375_6H_X1_B3": 4, "CPC005_A375_6H_X2_B3": 3, "CPC006_A375_6H_X1_B4": 2}


def write(root: Path, provenance: Provenance, table: Table, rows: pl.DataFrame) -> None:
    blank = pl.DataFrame(schema=table.polars_schema)
    full = pl.concat([blank, rows.cast({n: blank.schema[n] for n in rows.columns})], how="diagonal")
    parts = full.partition_by(table.partition_by, as_dict=True) if table.partition_by else {(): full}
    for keys, part in parts.items():
        where = dict(zip(table.partition_by, keys, strict=True))
        delta.replace(str(root), table, part.select(blank.columns), where, provenance=provenance)


@pytest.fixture
def wells() -> pl.DataFrame:
    rows = []
    for plate, n_vehicle in N_VEHICLE.items():
        again = CONDITIONS[:1] if plate.endswith("6H_X1_B3") else ()
        kinds = [("vehicle", None)] * n_vehicle + [("compound", one) for one in (*CONDITIONS, *again)]
        rows += [
            {"plate": plate, "sample_kind": kind, "condition_id": condition} for kind, condition in kinds
        ]
    ids = np.random.default_rng(1).permutation(len(rows)) - 5
    return pl.DataFrame(rows).with_columns(sample_id=pl.Series(ids)).sort("sample_id")


@pytest.fixture
def values(wells: pl.DataFrame) -> np.ndarray:
    rng = np.random.default_rng(2)
    shape = (wells.height, N_GENES)
    effects = {condition: rng.normal(0, 2, N_GENES) for condition in CONDITIONS} | {None: 0.0}
    treated = np.array([np.broadcast_to(effects[one], N_GENES) for one in wells["condition_id"]])
    return (8 + rng.normal(0, 1, shape) + treated).astype(np.float32)


@pytest.fixture
def root(
    tmp_path: Path,
    wells: pl.DataFrame,
    values: np.ndarray,
    provenance: Provenance,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    monkeypatch.setattr(delta, "violations", lambda *_: [])
    rows = pl.DataFrame(
        {
            "sample_id": np.repeat(wells["sample_id"].to_numpy(), N_GENES),
            "gene_id": np.tile(GENES, wells.height),
            "value": values.ravel(),
        }
    )
    # A gene that one well lacks, and a context with vehicle wells only.
    one = int(wells["sample_id"][0])
    rows = rows.remove((pl.col("gene_id") == N_GENES) & (pl.col("sample_id") == one))
    idle = pl.DataFrame({"sample_id": [900, 901], "sample_kind": "vehicle", "plate": "CPC007_B_6H_X1"})
    of_idle = (
        idle.select("sample_id").join(pl.DataFrame({"gene_id": GENES}), how="cross").with_columns(value=1.0)
    )
    here, other = ({"dataset_id": pl.lit("toy"), "context_id": pl.lit(one)} for one in (LINE, OTHER))
    samples = pl.concat([wells.with_columns(**here), idle.with_columns(**other)], how="diagonal")
    datasets = {
        "dataset_id": ["toy", "counts"],
        "assay": ["l1000", "drugseq"],
        "value_scale": ["log2", "counts"],
    }
    write(tmp_path, provenance, DATASET, pl.DataFrame(datasets))
    write(tmp_path, provenance, GENE, pl.DataFrame({"gene_id": GENES, "is_landmark": GENES <= N_LANDMARKS}))
    write(tmp_path, provenance, SAMPLE, samples)
    expression = pl.concat([rows.with_columns(**here), of_idle.with_columns(**other)], how="diagonal_relaxed")
    write(tmp_path, provenance, EXPRESSION, expression.sort("context_id", "sample_id", "gene_id"))
    return str(tmp_path)


def test_a_signature_is_of_one_condition_in_one_experiment(root: str, wells: pl.DataFrame) -> None:
    found = l1000_signatures("toy", LINE, root=root)
    keys = found.signatures.select("experiment", "condition_id", "n_replicates")
    sizes = {(experiment, condition): n for experiment, condition, n in keys.iter_rows()}
    assert sizes == {
        **{("CPC005_A375_6H", one): 3 if one == CONDITIONS[0] else 2 for one in CONDITIONS},
        **{("CPC006_A375_6H", one): 1 for one in CONDITIONS},
    }
    assert found.n_without_score == 0
    used = found.wells.join(wells, on="sample_id").join(found.signatures, on="signature")
    assert (used["condition_id"] == used["condition_id_right"]).all()
    assert used.height == wells["condition_id"].drop_nulls().len()
    sums = found.wells.group_by("signature").agg(pl.col("weight").sum())["weight"]
    assert sums.to_numpy() == pytest.approx(1)


@pytest.mark.parametrize("reference", ["population", "vehicle"])
def test_its_numbers_are_those_of_the_definitions(
    root: str, wells: pl.DataFrame, values: np.ndarray, reference: str
) -> None:
    found = l1000_signatures("toy", LINE, reference=reference, root=root)
    scores = {}
    for plate in PLATES:
        here = (wells["plate"] == plate).to_numpy()
        is_reference = here & ((wells["sample_kind"] == "vehicle").to_numpy() | (reference == "population"))
        # The last gene is missing from a well.
        if is_reference.sum() < 3:
            continue
        z = robust_z(values[here, :-1], values[is_reference, :-1])
        scores |= dict(zip(wells["sample_id"].filter(pl.Series(here)), z, strict=True))
    assert found.gene_ids.tolist() == GENES[:-1].tolist()
    level_4 = found.level_4().partition_by("sample_id", as_dict=True)
    for (sample_id,), rows in level_4.items():
        np.testing.assert_allclose(rows["z"], scores[sample_id], rtol=1e-5, atol=1e-6)
    for row in found.signatures.iter_rows(named=True):
        of_signature = found.wells.filter(signature=row["signature"]).sort("sample_id")
        expected = moderated_z(
            np.array([scores[one] for one in of_signature["sample_id"]]), np.arange(N_LANDMARKS)
        )
        signature = found.values[row["signature"]]
        np.testing.assert_allclose(signature, expected.values, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(of_signature["weight"], expected.weights, rtol=1e-6)
        n = row["n_replicates"]
        assert row["ss_ngene"] == signature_strength(signature[None, :N_LANDMARKS], n).n_genes[0]
        assert row["ss_ngene_unadjusted"] == signature_strength(signature[None, :N_LANDMARKS]).n_genes[0]
        if n == 1:
            assert row["cc_q75"] is None
            assert row["tas"] is None
        else:
            activity = transcriptional_activity(
                np.array([row["ss_ngene"]]), np.array([row["cc_q75"]]), n_genes=N_LANDMARKS
            )
            assert row["tas"] == pytest.approx(activity[0])
            assert 0 < row["tas"] <= 1


def test_wells_on_plates_with_too_few_vehicle_wells_are_counted(root: str) -> None:
    found = l1000_signatures("toy", LINE, reference="vehicle", root=root)
    assert set(found.signatures["experiment"]) == {"CPC005_A375_6H"}
    assert found.n_without_score == len(CONDITIONS)
    n_scored = sum(n + 3 + plate.endswith("6H_X1_B3") for plate, n in N_VEHICLE.items() if n >= 3)
    assert found.level_4()["sample_id"].n_unique() == n_scored


def test_a_dataset_is_written_whole_with_a_file_per_context(root: str, tmp_path: Path) -> None:
    out = tmp_path / "new" / "signatures"
    written = write_l1000_signatures("toy", out, root=root)
    assert written.rows() == [(LINE, 6, 10, 0), (OTHER, 0, 0, 0)]
    found = l1000_signatures("toy", LINE, root=root)
    signatures = pl.read_parquet(out / "signatures" / "*.parquet")
    assert signatures.equals(found.signatures)
    rows = pl.read_parquet(out / "level_5" / "*.parquet")
    assert rows.height == found.values.size
    assert np.array_equal(rows["z"].to_numpy().reshape(found.values.shape), found.values)
    assert rows["condition_id"].to_list()[:: len(found.gene_ids)] == signatures["condition_id"].to_list()
    assert pl.read_parquet(out / "wells" / "*.parquet").drop("context_id").equals(found.wells)
    assert pl.read_parquet(out / "level_4" / f"{LINE}.parquet").drop("context_id").equals(found.level_4())
    assert [path.name for path in out.parent.iterdir()] == ["signatures"]
    with pytest.raises(PerturbhouseError, match="exists"):
        write_l1000_signatures("toy", out, root=root)


def test_nothing_is_left_of_a_run_that_fails(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet = pl.DataFrame.write_parquet

    def fail(self: pl.DataFrame, file: Path, **options: object) -> None:
        if file.parent.name == "level_5":
            raise OSError("no space left on device")
        write_parquet(self, file, **options)

    monkeypatch.setattr(pl.DataFrame, "write_parquet", fail)
    with pytest.raises(OSError, match="no space left"):
        write_l1000_signatures("toy", tmp_path / "new" / "signatures", root=root)
    assert list((tmp_path / "new").iterdir()) == []


def test_what_is_no_l1000_dataset_is_refused(root: str, tmp_path: Path) -> None:
    for dataset_id in ("counts", "nobody"):
        with pytest.raises(PerturbhouseError, match="no L1000 dataset"):
            l1000_signatures(dataset_id, LINE, root=root)
        with pytest.raises(PerturbhouseError, match="no L1000 dataset"):
            write_l1000_signatures(dataset_id, tmp_path / "out", root=root)
    with pytest.raises(PerturbhouseError, match="no expression in CVCL_0001"):
        l1000_signatures("toy", "CVCL_0001", root=root)
