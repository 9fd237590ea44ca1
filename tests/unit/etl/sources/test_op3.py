"""OP3: tiny files in the publisher's layout, the simulated study, and the published tables where they are."""

from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest
from scipy import sparse

from etl.errors import BadInputError
from etl.expression.profiles import checked_blocks
from etl.harmonize.samples import harmonize_samples
from etl.simulate import h5ad
from etl.simulate import op3 as simulated
from etl.simulate.study import Study
from etl.sources.base import AnnotatedSource, TranscriptomicSource
from etl.sources.op3 import ACCESSION_BY_CELL_TYPE, POSITIVE_CONTROLS, Op3
from etl.validation import check_reported
from schemas.reported import (
    ReportedAnnotation,
    ReportedCompound,
    ReportedContext,
    ReportedGene,
    ReportedSample,
)

FILE = "pseudobulk_filtered_with_uns.h5ad"
SMILES = {"Dimethyl Sulfoxide": "CS(C)=O", "Belinostat": "NO", "Clotrimazole": "CC", "A (B);C": "CCC"}


def observation(well: str, sm_name: str, **changed: object) -> dict[str, object]:
    """One profile of plate 0 as the publisher lists it."""
    row = {
        "obs": f"plate_0_{well}_T cells",
        "dose_uM": 14.1 if sm_name == "Dimethyl Sulfoxide" else 1.0,
        "timepoint_hr": 24.0,
        "well": well,
        "plate_name": "plate_0",
        "cell_type": "T cells",
        "split": "train",
        "donor_id": "Donor 1",
        "sm_name": sm_name,
        "sm_lincs_id": f"LSM-{len(sm_name)}",
        "SMILES": SMILES.get(sm_name, "C"),
        "control": sm_name in {"Dimethyl Sulfoxide", "Belinostat"},
        "library_id": "Library - 1",
        "cell_count_by_well_celltype": 42,
    }
    return row | changed


VEHICLE = observation("A1", "Dimethyl Sulfoxide")
POSITIVE = observation("A2", "Belinostat", dose_uM=0.1)
TREATED = observation("A3", "Clotrimazole")
ALL = (VEHICLE, POSITIVE, TREATED)


def write(
    folder: Path, *rows: dict[str, object], values: np.ndarray | sparse.csr_matrix | None = None
) -> Path:
    """Write profiles and counts of three genes, profile i having counts i, 0 and 10."""
    if values is None:
        values = sparse.csr_matrix(np.array([[i, 0, 10] for i in range(len(rows))], dtype=np.float32))
    h5ad.write(
        folder / FILE, values, obs=pl.DataFrame(rows), var=pl.DataFrame({"gene": ["TP53", "MYC", "FOO.1"]})
    )
    return folder


def samples(raw: Path) -> pl.DataFrame:
    return check_reported(Op3().samples(raw), ReportedSample, dataset_id="op3")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("op3")
    simulated.write(folder, Study(7))
    return folder


def test_is_an_annotated_transcriptomic_source() -> None:
    assert isinstance(Op3(), TranscriptomicSource)
    assert isinstance(Op3(), AnnotatedSource)


def test_a_profile_keeps_the_publishers_words(tmp_path: Path) -> None:
    row = samples(write(tmp_path, TREATED)).row(0, named=True)
    assert row == {
        "sample_key": "plate_0_A3_T cells",
        "sample_kind": "compound",
        "context_reported": "T cells",
        "compound_reported": "Clotrimazole",
        "dose": "1.0",
        "dose_unit": "uM",
        "time": "24.0",
        "time_unit": "h",
        "plate": "plate_0",
        "well": "A3",
        "replicate": None,
        "batch": None,
        "donor_id": "Donor 1",
        "vehicle_group": "",
        "n_cells": 42,
        "is_low_quality": False,
    }


def test_the_flag_for_controls_is_split_into_vehicle_and_positive_control(tmp_path: Path) -> None:
    rows = samples(write(tmp_path, *ALL))
    assert rows.select("sample_kind", "compound_reported", "dose").rows() == [
        ("vehicle", None, "14.1"),
        ("positive_control", "Belinostat", "0.1"),
        ("compound", "Clotrimazole", "1.0"),
    ]


@pytest.mark.parametrize("texts", [("True", "False"), ("true", "false"), ("1", "0")])
def test_the_flag_may_be_stored_as_text(tmp_path: Path, texts: tuple[str, str]) -> None:
    rows = [row | {"control": texts[0] if row["control"] else texts[1]} for row in ALL]
    assert samples(write(tmp_path, *rows))["sample_kind"].to_list() == [
        "vehicle",
        "positive_control",
        "compound",
    ]


def test_a_flag_that_is_neither_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, VEHICLE | {"control": "yes"}, TREATED | {"control": "no"})
    with pytest.raises(BadInputError, match="row plate_0_A1_T cells, column control: neither true nor false"):
        Op3().samples(raw)


@pytest.mark.parametrize(
    "row",
    [
        observation("A1", "DMSO", control=True),
        observation("A1", "dimethyl sulfoxide", control=True),
        observation("A1", "Clotrimazole", control=True),
        observation("A1", "Dimethyl Sulfoxide", control=False),
    ],
)
def test_a_control_that_nobody_knows_is_refused(tmp_path: Path, row: dict[str, object]) -> None:
    with pytest.raises(BadInputError, match="row plate_0_A1_T cells, column sm_name: a control is"):
        Op3().samples(write(tmp_path, row))


def test_compounds_have_structure_and_lincs_id_and_the_vehicle_is_none(tmp_path: Path) -> None:
    raw = write(tmp_path, *ALL, observation("A4", "A (B);C"))
    compounds = check_reported(Op3().compounds(raw), ReportedCompound, dataset_id="op3")
    assert compounds.select("compound_reported", "name", "smiles", "vendor_id").rows() == [
        ("A (B);C", "A (B);C", "CCC", "LSM-7"),
        ("Belinostat", "Belinostat", "NO", "LSM-10"),
        ("Clotrimazole", "Clotrimazole", "CC", "LSM-12"),
    ]


def test_a_compound_with_two_structures_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED, observation("A4", "Clotrimazole", SMILES="CCCC"))
    with pytest.raises(BadInputError, match="column sm_name: more than once: sm_name Clotrimazole"):
        Op3().compounds(raw)


def test_cell_types_have_their_accession_and_an_unknown_one_has_none(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED, observation("A4", "Clotrimazole", cell_type="Platelets"))
    contexts = check_reported(Op3().contexts(raw), ReportedContext, dataset_id="op3")
    assert contexts.select("context_reported", "accession", "tissue").rows() == [
        ("Platelets", None, "blood"),
        ("T cells", "CL_0000084", "blood"),
    ]


def test_annotations_hold_every_column_without_a_place_and_no_empty_cell(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED, VEHICLE | {"library_id": None})
    facts = check_reported(Op3().annotations(raw), ReportedAnnotation, dataset_id="op3")
    assert sorted(facts.rows()) == [
        ("plate_0_A1_T cells", "split", "train"),
        ("plate_0_A3_T cells", "library_id", "Library - 1"),
        ("plate_0_A3_T cells", "split", "train"),
    ]


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_counts_are_on_the_axes_of_samples_and_genes(tmp_path: Path, form: str) -> None:
    counts = np.array([[1, 0, 2], [0, 3, 0]], dtype=np.float32)
    forms = {"csr": sparse.csr_matrix(counts), "csc": sparse.csc_matrix(counts), "dense": counts}
    raw = write(tmp_path, TREATED, VEHICLE, values=forms[form])
    genes = check_reported(Op3().genes(raw), ReportedGene, dataset_id="op3")
    assert genes.rows() == [("TP53", "TP53", None), ("MYC", "MYC", None), ("FOO.1", "FOO.1", None)]
    (block,) = Op3().expression(raw)
    assert list(block.sample_keys) == ["plate_0_A3_T cells", "plate_0_A1_T cells"]
    values = block.values if isinstance(block.values, np.ndarray) else block.values.toarray()
    np.testing.assert_array_equal(values, counts)


@pytest.mark.parametrize("value", [0.5, 2.58])
def test_fractions_and_log_values_are_no_counts(tmp_path: Path, value: float) -> None:
    raw = write(tmp_path, TREATED, values=np.array([[1, 0, value]], dtype=np.float32))
    blocks = checked_blocks(
        Op3().expression(raw),
        sample_keys=samples(raw)["sample_key"],
        dataset_id="op3",
        value_scale=Op3.spec.value_scale,
    )
    with pytest.raises(BadInputError, match="is fractional, but counts are declared"):
        list(blocks)


def test_a_profile_listed_twice_is_refused_by_name_and_by_place(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="column _index: more than once: _index plate_0_A3_T cells"):
        Op3().samples(write(tmp_path, TREATED, TREATED | {"well": "A4"}))
    with pytest.raises(BadInputError, match="more than once: plate_name plate_0, well A3, cell_type T cells"):
        Op3().samples(write(tmp_path, TREATED, TREATED | {"obs": "another"}))


@pytest.mark.parametrize("column", ["sm_name", "control", "SMILES", "plate_name", "cell_type", "dose_uM"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    raw = write(tmp_path, {name: value for name, value in TREATED.items() if name != column})
    with pytest.raises(BadInputError, match=f"column {column}: the column is missing"):
        Op3().samples(raw)


@pytest.mark.parametrize("column", ["plate_name", "cell_type", "sm_name"])
def test_a_missing_value_is_named(tmp_path: Path, column: str) -> None:
    raw = write(tmp_path, VEHICLE, TREATED | {column: ""})
    with pytest.raises(BadInputError, match=f"row plate_0_A3_T cells, column {column}: a missing value"):
        Op3().samples(raw)


def test_a_number_of_cells_is_whole(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED | {"cell_count_by_well_celltype": 1.5})
    with pytest.raises(BadInputError, match="column cell_count_by_well_celltype: not a whole number"):
        Op3().samples(raw)


def test_a_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no file matches pseudobulk_filtered.*; get it from https://"):
        Op3().samples(tmp_path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, *ALL) / FILE
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(BadInputError, match="complete HDF5 file"):
        Op3().samples(tmp_path)


@pytest.mark.parametrize("table", ["obs", "var"])
def test_a_file_without_one_of_its_tables_is_refused(tmp_path: Path, table: str) -> None:
    raw = write(tmp_path, *ALL)
    with h5py.File(raw / FILE, "r+") as file:
        del file[table]
    with pytest.raises(BadInputError, match=f"/{table}"):
        list(Op3().expression(raw))


@pytest.mark.parametrize("form", ["sparse", "dense"])
def test_a_matrix_with_more_samples_than_the_table_is_refused(tmp_path: Path, form: str) -> None:
    counts = np.ones((2, 3), dtype=np.float32)
    raw = write(tmp_path, TREATED, VEHICLE, values=counts if form == "dense" else sparse.csr_matrix(counts))
    with h5py.File(raw / FILE, "r+") as file:
        if form == "dense":
            del file["X"]
            file["X"] = np.ones((3, 3), dtype=np.float32)
        else:
            file["X"].attrs["shape"] = (3, 3)
    with pytest.raises(BadInputError, match=r"shape \(2, 3\)"):
        list(Op3().expression(raw))


def test_simulated_profiles_have_the_published_design(study: Path) -> None:
    rows = samples(study)
    vehicle = rows.filter(pl.col("sample_kind") == "vehicle")
    assert vehicle.select("plate", "context_reported").unique().height == 6 * 4
    assert rows.group_by("plate").agg(pl.col("donor_id").n_unique())["donor_id"].unique().to_list() == [1]
    assert rows["n_cells"].min() > 10
    # Profiles of few cells are missing, as published: not every well has all four types.
    assert rows.height < rows.select("plate", "well").unique().height * 4
    names = rows.filter(pl.col("sample_kind") == "positive_control")["compound_reported"].unique()
    assert sorted(names) == sorted(POSITIVE_CONTROLS)
    assert set(rows["context_reported"]) == set(ACCESSION_BY_CELL_TYPE)


def test_simulated_files_are_equal_bytes_for_equal_seeds(study: Path, tmp_path: Path) -> None:
    simulated.write(tmp_path, Study(7))
    assert (tmp_path / FILE).read_bytes() == (study / FILE).read_bytes()


def test_simulated_samples_harmonize(study: Path) -> None:
    source, rows = Op3(), samples(study)
    names = {
        f"{entity}_names": frame.select(
            pl.col(f"{entity}_reported"),
            pl.col(f"{entity}_reported").alias(f"{entity}_id"),
            dataset_id=pl.lit("op3"),
        )
        for entity, frame in (
            ("compound", source.compounds(study).collect()),
            ("context", source.contexts(study).collect()),
        )
    }
    kept, account = harmonize_samples(rows, dataset_id="op3", assay=source.spec.assay, **names)
    assert kept.height == rows.height == account.n_out
    assert kept.filter(pl.col("is_control"))["dose_um"].null_count() == kept["is_control"].sum()
    assert set(kept["dose_um"].drop_nulls()) == {0.1, 1.0}


def test_counts_show_the_planted_effect(study: Path) -> None:
    rows = samples(study)
    (block,) = Op3().expression(study)
    counts = block.values.toarray()
    share = np.log2((counts + 0.5) / counts.sum(axis=1, keepdims=True))
    of_t_cells = rows["context_reported"] == "T cells"
    is_treated = of_t_cells & (rows["compound_reported"] == "Belinostat").fill_null(value=False)
    is_vehicle = of_t_cells & (rows["sample_kind"] == "vehicle")
    effect = share[is_treated.to_numpy()].mean(axis=0) - share[is_vehicle.to_numpy()].mean(axis=0)
    truth = pl.read_parquet(study / "truth" / "effects.parquet").filter(
        pl.col("compound_reported") == "Belinostat", pl.col("context_reported") == "T cells"
    )
    position = {gene: i for i, gene in enumerate(Op3().genes(study).collect()["gene_reported"])}
    found = effect[[position[symbol] for symbol in truth["symbol"]]]
    assert np.corrcoef(found, truth["log2_fold_change"].to_numpy())[0, 1] > 0.9


@pytest.mark.realdata
def test_the_published_compounds_and_pairs_use_the_words_known_here(realdata: Path) -> None:
    folder = realdata / "raw" / "op3"
    compounds = pl.read_csv(folder / "compounds_from_de_train.csv", infer_schema=False)
    assert set(POSITIVE_CONTROLS) <= set(compounds["sm_name"])
    assert compounds["sm_name"].is_unique().all()
    assert compounds["sm_lincs_id"].str.starts_with("LSM-").all()
    assert compounds["SMILES"].null_count() == 0
    pairs = pl.read_csv(folder / "id_map.csv", infer_schema=False)
    assert set(pairs["cell_type"]) <= set(ACCESSION_BY_CELL_TYPE)


@pytest.mark.realdata
def test_the_published_compounds_are_read_as_they_stand(realdata: Path, tmp_path: Path) -> None:
    published = pl.read_csv(
        realdata / "raw" / "op3" / "compounds_from_de_train.csv", infer_schema=False
    ).sort("sm_name")
    rows = [
        observation(
            f"A{number}",
            row["sm_name"],
            SMILES=row["SMILES"],
            sm_lincs_id=row["sm_lincs_id"],
            control=row["sm_name"] in POSITIVE_CONTROLS,
        )
        for number, row in enumerate(published.iter_rows(named=True))
    ]
    compounds = Op3().compounds(write(tmp_path, *rows)).collect()
    assert (
        compounds.select("compound_reported", "vendor_id", "smiles").rows()
        == published.select("sm_name", "sm_lincs_id", "SMILES").rows()
    )


@pytest.mark.realdata
def test_the_published_pseudobulk(realdata: Path) -> None:
    raw, source = realdata / "raw" / "op3", Op3()
    if not (raw / FILE).is_file():
        pytest.skip(f"{FILE} is not among the real files")
    rows = samples(raw)
    kinds = dict(rows["sample_kind"].value_counts().iter_rows())
    assert kinds == {"compound": 1_621, "vehicle": 192, "positive_control": 384}
    assert source.genes(raw).collect().height == 5_317
    assert rows["donor_id"].n_unique() == 3
    assert rows["plate"].n_unique() == 6
    assert rows.filter(pl.col("sample_kind") == "compound")["compound_reported"].n_unique() == 138
