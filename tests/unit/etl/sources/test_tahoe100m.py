"""Tahoe-100M: tiny files in both layouts of the publisher, and the simulated study in both."""

from collections.abc import Callable
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
from etl.simulate import tahoe100m as simulated
from etl.simulate.study import Study
from etl.simulate.tahoe100m import PLATE_FILE
from etl.sources.base import AnnotatedSource, ExpressionBlock, TranscriptomicSource
from etl.sources.single_cell import Pseudobulked, SingleCellSource
from etl.sources.tahoe100m import Tahoe100m
from etl.validation import check_reported
from schemas.reported import (
    ReportedAnnotation,
    ReportedCompound,
    ReportedContext,
    ReportedGene,
    ReportedSample,
)

GENES = [f"G{number}" for number in range(298)] + ["MALAT1", "MT-CO1"]
COUNTS = np.array([3] * 298 + [40, 6])
"""Of every cell: enough genes, counts and MALAT1, few mitochondrial ones."""

Row = dict[str, object]


def cell(barcode: str, drug: str = "Bortezomib", dose: float = 0.5, **changed: object) -> Row:
    """One cell of plate 3 as the publisher lists it."""
    row: Row = {
        "barcode": barcode,
        "plate": "plate3",
        "sample": "smp_1783" if drug == "Bortezomib" else "smp_1800",
        "drug": drug,
        "drugname_drugconc": repr([(drug, dose, "uM")]),
        "cell_line": "CVCL_0023",
        "cell_name": "A549",
        "gene_count": len(COUNTS),
        "tscp_count": int(COUNTS.sum()),
        "pcnt_mito": 0.01,
        "phase": "G1",
        "pass_filter": "full",
    }
    return row | changed


TREATED = cell("02_001_052-lib_1105")
VEHICLE = cell("13_001_052-lib_1105", "DMSO_TF", 0.0)


def write_plate(folder: Path, *rows: Row, plate: int = 3, values: np.ndarray | None = None) -> Path:
    counts = np.tile(COUNTS, (len(rows), 1)) if values is None else values
    h5ad.write(
        folder / PLATE_FILE.format(plate),
        sparse.csr_matrix(counts.astype(np.float32)),
        obs=pl.DataFrame(rows),
        var=pl.DataFrame({"gene_name": GENES}),
    )
    return folder


def write_tables(folder: Path) -> None:
    tables = folder / "metadata"
    tables.mkdir(exist_ok=True)
    ids = [f"ENSG{number:011}" for number in range(len(GENES))]
    tokens = list(range(3, 3 + len(GENES)))
    genes = pl.DataFrame({"gene_symbol": GENES, "ensembl_id": ids, "token_id": tokens})
    genes.write_parquet(tables / "gene_metadata.parquet")
    samples = {"sample": ["smp_1783", "smp_1800"], "plate": ["plate3", "plate3"]}
    conditions = [str(TREATED["drugname_drugconc"]), str(VEHICLE["drugname_drugconc"])]
    listed = pl.DataFrame(samples | {"drugname_drugconc": conditions})
    listed.write_parquet(tables / "sample_metadata.parquet")
    drugs = {"drug": ["Bortezomib", "DMSO_TF"], "targets": [["PSMB5", "PSMB1"], None]}
    drugs |= {"moa-broad": ["inhibitor/antagonist", None], "moa-fine": ["Proteasome inhibitor", None]}
    drugs |= {"human-approved": ["yes", None], "clinical-trials": ["yes", None]}
    drugs |= {"canonical_smiles": ["CC(C)CC", ""], "pubchem_cid": ["387447", ""]}
    pl.DataFrame(drugs).write_parquet(tables / "drug_metadata.parquet")
    line = {"cell_name": "A549", "Cell_ID_DepMap": "ACH-000681", "Cell_ID_Cellosaur": "CVCL_0023"}
    lines = [line | {"Organ": "Lung", "Driver_Gene_Symbol": driver} for driver in ("KRAS", "STK11")]
    pl.DataFrame(lines).write_parquet(tables / "cell_line_metadata.parquet")


def write_shard(
    folder: Path,
    *rows: Row,
    genes: list[int] | None = None,
    values: list[float] | None = None,
    number: int = 0,
) -> Path:
    """Write cells as token lists; ``genes`` and ``values`` stand in for those of the last one."""
    (folder / "data").mkdir(exist_ok=True)
    write_tables(folder)
    tokens = [[1, *range(3, 3 + len(GENES))] for _ in rows]
    expressions = [[-2.0, *COUNTS.astype(float).tolist()] for _ in rows]
    tokens[-1] = tokens[-1] if genes is None else genes
    expressions[-1] = expressions[-1] if values is None else values
    pl.DataFrame(
        {
            "genes": pl.Series(tokens, dtype=pl.List(pl.Int64)),
            "expressions": pl.Series(expressions, dtype=pl.List(pl.Float32)),
            "drug": [str(row["drug"]) for row in rows],
            "sample": [str(row["sample"]) for row in rows],
            "BARCODE_SUB_LIB_ID": [str(row["barcode"]) for row in rows],
            "cell_line_id": [str(row["cell_line"]) for row in rows],
            "plate": [str(row["plate"]) for row in rows],
        }
    ).write_parquet(folder / "data" / f"train-{number:05}-of-03388.parquet")
    return folder


BOTH = pytest.mark.parametrize("write", [write_plate, write_shard])


def dense(block: ExpressionBlock) -> np.ndarray:
    return block.values if isinstance(block.values, np.ndarray) else block.values.toarray()


def source() -> Pseudobulked:
    return Pseudobulked(Tahoe100m())


def samples(raw: Path) -> pl.DataFrame:
    return check_reported(source().samples(raw), ReportedSample, dataset_id="tahoe100m")


def dropped(raw: Path) -> dict[str, int]:
    return {reason: n for reason, n in source().account(raw).dropped.items() if n}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plates")
    simulated.write(folder, Study(7))
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    simulated.write_shards(folder, Study(7))
    return folder


def test_is_a_single_cell_source_and_wrapped_an_annotated_transcriptomic_one() -> None:
    assert isinstance(Tahoe100m(), SingleCellSource)
    assert isinstance(source(), TranscriptomicSource)
    assert isinstance(source(), AnnotatedSource)


@BOTH
def test_a_profile_is_a_well_and_line_in_the_publishers_words(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    raw = write(tmp_path, TREATED, cell("02_002_052-lib_1105"), VEHICLE)
    control, treated = samples(raw).sort("n_cells").rows(named=True)
    assert treated == {
        "sample_key": "plate3|A2|smp_1783|CVCL_0023|Bortezomib|0.5|uM",
        "sample_kind": "compound",
        "context_reported": "CVCL_0023",
        "compound_reported": "Bortezomib",
        "dose": "0.5",
        "dose_unit": "uM",
        "time": "24",
        "time_unit": "h",
        "plate": "plate3",
        "well": "A2",
        "replicate": None,
        "batch": None,
        "donor_id": None,
        "vehicle_group": "",
        "n_cells": 2,
        "is_low_quality": False,
    }
    assert (control["sample_kind"], control["compound_reported"], control["well"]) == ("vehicle", None, "B1")
    (block,) = source().expression(raw)
    counts = dict(zip(block.sample_keys, dense(block), strict=True))
    np.testing.assert_array_equal(counts[treated["sample_key"]], 2 * COUNTS)


@BOTH
def test_a_plate_may_be_a_number_and_a_drug_end_in_a_blank(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    raw = write(tmp_path, TREATED | {"plate": "3", "drug": "Bortezomib "})
    assert samples(raw)["sample_key"].to_list() == ["plate3|A2|smp_1783|CVCL_0023|Bortezomib|0.5|uM"]
    assert source().compounds(raw).collect()["compound_reported"].to_list() == ["Bortezomib"]


@pytest.mark.parametrize(
    ("barcode", "well"),
    [("1", "A1"), ("12", "A12"), ("13", "B1"), ("96", "H12"), ("097", None), ("00", None)],
)
def test_the_barcode_counts_wells_along_rows(tmp_path: Path, barcode: str, well: str | None) -> None:
    raw = write_plate(tmp_path, cell(f"{barcode}_001_001-lib_1"), VEHICLE | {"barcode": "95_1-x"})
    found = samples(raw).filter(pl.col("sample_kind") == "compound")["well"].to_list()
    assert found == ([] if well is None else [well])
    assert dropped(raw) == ({"no well": 1} if well is None else {})


def test_several_plates_are_read_in_their_order(tmp_path: Path) -> None:
    for plate in (10, 2, 3):
        write_plate(tmp_path, TREATED | {"plate": f"plate{plate}"}, plate=plate)
    assert list(Tahoe100m().files(tmp_path)) == ["plate_2", "plate_3", "plate_10"]
    assert set(samples(tmp_path)["plate"]) == {"plate2", "plate3", "plate10"}


def test_published_quality_decides_and_is_computed_where_it_is_missing(tmp_path: Path) -> None:
    poor = cell("03_001_001-lib_1", gene_count=249)
    dying = cell("04_001_001-lib_1", pcnt_mito=0.21)
    unknown = cell("05_001_001-lib_1", gene_count=None, tscp_count=None, pcnt_mito=None)
    raw = write_plate(tmp_path, TREATED, poor, dying, unknown)
    assert dropped(raw) == {"n_genes below 250": 1, "fraction_mito above 0.2": 1}
    assert samples(raw)["well"].sort().to_list() == ["A2", "A5"]


def test_compounds_have_what_the_table_of_drugs_says(tmp_path: Path) -> None:
    raw = write_plate(tmp_path, TREATED, VEHICLE, cell("05_1-x", "Filgotinib", 5.0, sample="smp_1"))
    names = ("compound_reported", "smiles", "pubchem_cid", "mechanism", "targets")
    alone = check_reported(source().compounds(raw), ReportedCompound, dataset_id="tahoe100m")
    assert alone.select(names).rows() == [
        ("Bortezomib", None, None, None, None),
        ("Filgotinib", None, 49831257, None, None),
    ]
    write_tables(raw)
    described = check_reported(source().compounds(raw), ReportedCompound, dataset_id="tahoe100m")
    assert described.select(names).rows() == [
        ("Bortezomib", "CC(C)CC", 387447, "Proteasome inhibitor", "PSMB5, PSMB1"),
        ("Filgotinib", None, 49831257, None, None),
    ]


def test_contexts_have_accession_and_with_the_table_of_lines_more(tmp_path: Path) -> None:
    raw = write_plate(tmp_path, TREATED, VEHICLE)
    names = ("context_reported", "name", "accession", "model_id", "tissue")
    alone = check_reported(source().contexts(raw), ReportedContext, dataset_id="tahoe100m")
    assert alone.select(names).rows() == [("CVCL_0023", "A549", "CVCL_0023", None, None)]
    write_tables(raw)
    described = check_reported(source().contexts(raw), ReportedContext, dataset_id="tahoe100m")
    assert described.select(names).rows() == [("CVCL_0023", "A549", "CVCL_0023", "ACH-000681", "lung")]


def test_genes_have_their_ensembl_id_where_a_table_gives_it(tmp_path: Path) -> None:
    raw = write_plate(tmp_path, TREATED)
    assert source().genes(raw).collect().row(0) == ("G0", "G0", None)
    write_tables(raw)
    genes = check_reported(source().genes(raw), ReportedGene, dataset_id="tahoe100m")
    assert genes.row(1) == ("ENSG00000000001", "G1", None)


def test_annotations_hold_the_sample_and_what_is_said_of_the_drug(tmp_path: Path) -> None:
    raw = write_plate(tmp_path, TREATED)
    write_tables(raw)
    facts = check_reported(source().annotations(raw), ReportedAnnotation, dataset_id="tahoe100m")
    stated = dict(facts.filter(~pl.col("key").str.contains("third")).select("key", "value").iter_rows())
    assert stated == {
        "sample": "smp_1783",
        "moa-broad": "inhibitor/antagonist",
        "human-approved": "yes",
        "clinical-trials": "yes",
    }


@BOTH
def test_a_control_that_nobody_knows_is_refused(tmp_path: Path, write: Callable[..., Path]) -> None:
    raw = write(tmp_path, cell("01_1-x", "DMSO", 0.0))
    if write is write_shard:
        condition = {"drugname_drugconc": [repr([("DMSO", 0.0, "uM")])]}
        table = pl.DataFrame({"sample": ["smp_1800"]} | condition)
        table.write_parquet(raw / "metadata" / "sample_metadata.parquet")
    with pytest.raises(BadInputError, match="the vehicle is DMSO_TF, but a condition names 'DMSO'"):
        source().samples(raw)


@pytest.mark.parametrize(
    "text", ["Bortezomib 0.5", "[('A', 1, 'uM'), ('B', 2, 'uM')]", "[('A', 'x', 'uM')]", "[]"]
)
def test_a_condition_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    raw = write_plate(tmp_path, TREATED | {"drugname_drugconc": text})
    with pytest.raises(BadInputError, match="column drugname_drugconc: a condition is a list of one drug"):
        source().samples(raw)


def test_an_unknown_unit_is_passed_on_and_refused_where_doses_are_read(tmp_path: Path) -> None:
    rows = samples(write_plate(tmp_path, TREATED | {"drugname_drugconc": "[('Bortezomib', 0.5, 'bottles')]"}))
    names = pl.DataFrame({"dataset_id": ["tahoe100m"]})
    with pytest.raises(BadInputError, match="bottles"):
        harmonize_samples(
            rows,
            dataset_id="tahoe100m",
            assay="scrna",
            compound_names=names.with_columns(
                compound_reported=pl.lit("Bortezomib"), compound_id=pl.lit("c")
            ),
            context_names=names.with_columns(context_reported=pl.lit("CVCL_0023"), context_id=pl.lit("x")),
        )


def test_a_condition_of_another_drug_is_refused(tmp_path: Path) -> None:
    raw = write_plate(tmp_path, TREATED | {"drug": "Ixazomib"})
    with pytest.raises(
        BadInputError, match="row 02_001_052-lib_1105, column drug: the condition of the cell"
    ):
        source().samples(raw)


def test_a_well_with_two_conditions_is_refused(tmp_path: Path) -> None:
    raw = write_plate(tmp_path, TREATED, cell("02_002_001-x", dose=5.0))
    with pytest.raises(BadInputError, match="more than once: plate plate3, well A2, cell_line CVCL_0023"):
        source().samples(raw)


@BOTH
def test_a_cell_that_comes_twice_is_refused(tmp_path: Path, write: Callable[..., Path]) -> None:
    raw = write(tmp_path, TREATED, TREATED)
    with pytest.raises(BadInputError, match="1 cells have one that came before"):
        source().samples(raw)


def test_a_plate_without_vehicle_is_read(tmp_path: Path) -> None:
    assert samples(write_plate(tmp_path, TREATED))["sample_kind"].to_list() == ["compound"]


def test_cells_are_there_in_one_form(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"cells are plate<n>_filt_\*.h5ad or .*, but neither is"):
        source().samples(tmp_path)
    write_shard(write_plate(tmp_path, TREATED), TREATED)
    with pytest.raises(BadInputError, match="but both are in the raw folder"):
        source().samples(tmp_path)


def test_two_files_of_a_plate_are_refused(tmp_path: Path) -> None:
    write_plate(tmp_path, TREATED)
    (tmp_path / "plate3_filt_copy.h5ad").write_bytes(b"x")
    with pytest.raises(BadInputError, match="2 files match plate3_filt_"):
        source().samples(tmp_path)


def test_plates_with_other_genes_are_refused(tmp_path: Path) -> None:
    write_plate(tmp_path, TREATED)
    path = write_plate(tmp_path, TREATED | {"plate": "plate4"}, plate=4) / PLATE_FILE.format(4)
    with h5py.File(path, "r+") as file:
        file["var/gene_name"][0] = "other"
    with pytest.raises(BadInputError, match=r"file plate4_.*all plates have the same genes"):
        source().samples(tmp_path)


@pytest.mark.parametrize("column", ["plate", "sample", "drugname_drugconc", "cell_line", "pcnt_mito"])
def test_a_missing_column_of_a_plate_is_named(tmp_path: Path, column: str) -> None:
    raw = write_plate(tmp_path, {name: value for name, value in TREATED.items() if name != column})
    with pytest.raises(BadInputError, match=f"column {column}"):
        source().samples(raw)


@pytest.mark.parametrize("value", [0.5, 2.5, -1])
def test_log_values_and_fractions_are_no_counts(tmp_path: Path, value: float) -> None:
    raw = write_plate(tmp_path, TREATED, values=np.where(COUNTS == 3, value, COUNTS)[None, :])
    with pytest.raises(BadInputError, match=f"column G0: counts are whole numbers.*{value:g}"):
        source().samples(raw)


def test_a_share_above_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"column pcnt_mito: a share of counts is 0 to 1: 12\.0"):
        source().samples(write_plate(tmp_path, TREATED | {"pcnt_mito": 12.0}))


def test_a_truncated_plate_is_refused(tmp_path: Path) -> None:
    path = write_plate(tmp_path, TREATED) / PLATE_FILE.format(3)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(BadInputError, match="complete HDF5 file"):
        source().samples(tmp_path)


@pytest.mark.parametrize(
    ("genes", "values", "message"),
    [
        ([3, 4], [1, 2], "the first element is the mark, token 1 and value -2"),
        ([1, 4], [2, 2], "the first element is the mark"),
        ([1, 4], [-2], "lists are of one length"),
        ([], [], "lists are of one length, with a mark"),
        ([1, 2], [-2, 1], "every token is one of the table of genes"),
        ([1, 9999], [-2, 1], "every token is one of the table of genes"),
        ([1, -5], [-2, 1], "every token is one of the table of genes"),
        ([1, 4, 5, 4], [-2, 1, 1, 1], "a gene is listed once"),
    ],
)
def test_a_faulty_list_names_the_cell(
    tmp_path: Path, genes: list[int], values: list[float], message: str
) -> None:
    raw = write_shard(tmp_path, TREATED, VEHICLE, genes=genes, values=values)
    with pytest.raises(
        BadInputError, match=f"file train-00000-of-03388.parquet, row 13_001_052-lib_1105.*{message}"
    ):
        source().samples(raw)


def test_tokens_come_in_any_order(tmp_path: Path) -> None:
    tokens, values = list(range(3, 3 + len(GENES))), COUNTS.astype(float).tolist()
    raw = write_shard(tmp_path, TREATED, genes=[1, *tokens[::-1]], values=[-2.0, *values[::-1]])
    (block,) = source().expression(raw)
    np.testing.assert_array_equal(dense(block), COUNTS[None, :])


def test_counts_of_a_shard_are_whole_numbers(tmp_path: Path) -> None:
    raw = write_shard(tmp_path, TREATED, genes=[1, 4], values=[-2.0, 1.5])
    with pytest.raises(BadInputError, match=r"column ENSG00000000001: counts are whole numbers.*1\.5"):
        source().samples(raw)


def test_a_sample_that_the_tables_lack_is_refused(tmp_path: Path) -> None:
    raw = write_shard(tmp_path, TREATED | {"sample": "smp_1"})
    with pytest.raises(
        BadInputError, match=r"column sample: a sample that sample_metadata.parquet lacks: 'smp_1'"
    ):
        source().samples(raw)


@pytest.mark.parametrize("name", ["gene_metadata", "sample_metadata", "cell_line_metadata"])
def test_a_missing_table_beside_shards_says_where_to_get_it(tmp_path: Path, name: str) -> None:
    raw = write_shard(tmp_path, TREATED)
    (raw / "metadata" / f"{name}.parquet").unlink()
    with pytest.raises(BadInputError, match=f"beside shards there is {name}.parquet, but not here; get it"):
        source().samples(raw)


@pytest.mark.parametrize("name", ["data/train-00000-of-03388", "metadata/gene_metadata"])
def test_a_truncated_parquet_file_is_refused(tmp_path: Path, name: str) -> None:
    path = write_shard(tmp_path, TREATED) / f"{name}.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadInputError, match="is no complete Parquet file"):
        source().samples(tmp_path)


def test_a_shard_without_a_column_is_refused(tmp_path: Path) -> None:
    path = write_shard(tmp_path, TREATED) / "data" / "train-00000-of-03388.parquet"
    pl.read_parquet(path).drop("cell_line_id").write_parquet(path)
    with pytest.raises(BadInputError, match="column cell_line_id: the column is missing"):
        source().samples(tmp_path)


def test_both_forms_of_the_simulated_study_are_the_same_profiles(study: Path, shards: Path) -> None:
    assert samples(study).equals(samples(shards))
    of_plates, of_shards = (
        np.vstack([dense(block) for block in source().expression(raw)]) for raw in (study, shards)
    )
    np.testing.assert_array_equal(of_plates, of_shards)
    for table in ("genes", "compounds", "contexts", "annotations"):
        first, second = (getattr(source(), table)(raw).collect() for raw in (study, shards))
        assert first.equals(second), table
    assert dropped(study) == dropped(shards)


def test_simulated_cells_have_the_published_design_and_its_dirt(study: Path) -> None:
    rows = samples(study)
    vehicle = rows.filter(pl.col("sample_kind") == "vehicle")
    assert vehicle.group_by("plate", "context_reported").len()["len"].unique().to_list() == [2]
    # A compound at a dose is on one plate.
    treated = rows.filter(pl.col("sample_kind") == "compound")
    plates = treated.group_by("compound_reported", "dose").agg(pl.col("plate").n_unique())
    assert plates["plate"].unique().to_list() == [1]
    assert {"n_genes below 250", "fraction_mito above 0.2", "log_malat1 below 3.5"} <= set(dropped(study))


def test_simulated_files_are_equal_bytes_for_equal_seeds(study: Path, tmp_path: Path) -> None:
    simulated.write(tmp_path, Study(7))
    for path in study.glob("*.h5ad"):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_simulated_samples_harmonize_and_show_the_planted_effect(study: Path) -> None:
    rows = samples(study)
    names = {
        f"{entity}_names": frame.select(
            pl.col(f"{entity}_reported"),
            pl.col(f"{entity}_reported").alias(f"{entity}_id"),
            dataset_id=pl.lit("tahoe100m"),
        )
        for entity, frame in (
            ("compound", source().compounds(study).collect()),
            ("context", source().contexts(study).collect()),
        )
    }
    kept, _ = harmonize_samples(rows, dataset_id="tahoe100m", assay="scrna", **names)
    assert set(kept["dose_um"].drop_nulls()) == {0.05, 0.5, 5.0}
    blocks = checked_blocks(
        source().expression(study),
        sample_keys=rows["sample_key"],
        dataset_id="tahoe100m",
        value_scale="counts",
    )
    counts = np.vstack([dense(block) for block in blocks])
    of_line = (rows["context_reported"] == "CVCL_0031") & (rows["plate"] == "plate3")
    is_treated = of_line & (rows["compound_reported"] == "Vorinostat").fill_null(value=False)
    is_vehicle = of_line & (rows["sample_kind"] == "vehicle")
    treated, control = (counts[chosen.to_numpy()].sum(axis=0) for chosen in (is_treated, is_vehicle))
    effect = np.log2((treated + 1) / treated.sum()) - np.log2((control + 1) / control.sum())
    truth = pl.read_parquet(study / "truth" / "effects.parquet").filter(
        pl.col("compound_reported") == "Vorinostat",
        pl.col("context_reported") == "CVCL_0031",
        pl.col("dose_um") == 5,
    )
    position = {gene: place for place, gene in enumerate(source().genes(study).collect()["gene_reported"])}
    places = np.array([position[gene] for gene in truth["ensembl_gene_id"]])
    is_abundant = control[places] >= 50
    planted = truth["log2_fold_change"].to_numpy()[is_abundant]
    assert np.corrcoef(effect[places[is_abundant]], planted)[0, 1] > 0.8


@pytest.mark.realdata
def test_the_published_cells(realdata: Path) -> None:
    raw = realdata / "raw" / "tahoe100m"
    if not (raw.is_dir() and len(list(raw.glob("plate*_filt_*.h5ad"))) == 14):
        pytest.skip("the plates are not among the real files")
    rows, account = samples(raw), source().account(raw)
    assert (account.n_in, account.n_out) == (100_648_790, 96_484_144)
    assert rows.height == 67_018
    assert rows.filter(pl.col("n_cells") >= 10).height == 66_207
    assert rows.filter(pl.col("n_cells") >= 50).height == 63_282
    assert source().genes(raw).collect().height == 62_710
    vehicle = rows.filter(pl.col("sample_kind") == "vehicle")
    assert vehicle.group_by("context_reported").len()["len"].max() == 28
