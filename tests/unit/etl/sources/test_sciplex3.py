"""sci-Plex 3: tiny files in the publisher's layout, the simulated study, and the published table of wells."""

import gzip
from importlib import resources
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from etl.errors import BadInputError
from etl.expression.profiles import checked_blocks
from etl.harmonize.samples import harmonize_samples
from etl.simulate import sciplex3 as simulated
from etl.simulate.sciplex3 import CELLS, COUNTS, GENES, NUCLEI, NUCLEUS_COLUMNS, WELLS
from etl.simulate.study import Study
from etl.sources.base import AnnotatedSource, ExpressionBlock, TranscriptomicSource
from etl.sources.sciplex3 import ACCESSION_BY_LINE, Sciplex3
from etl.sources.single_cell import Pseudobulked, SingleCellSource
from etl.validation import check_reported
from schemas.reported import (
    ReportedAnnotation,
    ReportedCompound,
    ReportedContext,
    ReportedGene,
    ReportedSample,
)

N_GENES = 60
UMIS = 2 * N_GENES + 5
"""Of a nucleus here: 2 of each human gene and 5 of a mouse gene."""


def nucleus(cell: str, **changed: object) -> dict[str, object]:
    """One nucleus of plate 44, treated with S2718 in well A9, as the publisher lists it."""
    row: dict[str, object] = dict.fromkeys(NUCLEUS_COLUMNS)
    row |= {"cell": cell, "sample": "Chem3_Screen2", "n.umi": UMIS, "rt_well": 100, "vehicle": False}
    row |= {"hash_umis_P": 50, "top_to_second_best_ratio_P": 9.5, "top_oligo_P": "plate44"}
    row |= {"hash_umis_W": 5, "top_to_second_best_ratio_W": "Inf", "top_oligo_W": "plate6_A9"}
    row |= {"cell_type": "MCF7", "replicate": "rep2", "time_point": 24, "dose": 10_000}
    row |= {"catalog_number": "S2718", "product_name": "TAK-901 (a name)", "target": "Aurora Kinase"}
    row |= {"pathway_level_1": "Cycle", "pathway_level_2": "Aurora kinase activity", "pathway": "Cell Cycle"}
    return row | changed


def vehicle(cell: str, **changed: object) -> dict[str, object]:
    row = nucleus(cell, top_oligo_W="plate6_B1", catalog_number="S0000", dose=0, vehicle=True)
    names = ("product_name", "target", "pathway", "pathway_level_1", "pathway_level_2")
    return row | dict.fromkeys(names, "Vehicle") | changed


TREATED = nucleus("c1")
VEHICLE = vehicle("c2")


def gz(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode()))


def write(folder: Path, *rows: dict[str, object], order: list[int] | None = None) -> Path:
    """Write nuclei with 2 counts of each human gene and 5 of a mouse gene that stands among them."""

    def cell(value: object) -> str:
        if value is None:
            return "NA"
        if isinstance(value, bool):
            return str(value).upper()
        return f'"{value}"' if isinstance(value, str) and value != "Inf" else str(value)

    cells = [str(row["cell"]) for row in rows]
    cells = [cells[place] for place in order] if order else cells
    table = [" ".join(f'"{name}"' for name in NUCLEUS_COLUMNS)]
    table += [" ".join(cell(row[name]) for name in NUCLEUS_COLUMNS) for row in rows]
    genes = [f"ENSG{number:011}.2 G{number}" for number in range(N_GENES)]
    genes.insert(1, "ENSMUSG00000000001.4 Gnai3")
    counts = [
        f"{gene + 1}\t{place + 1}\t{5 if gene == 1 else 2}"
        for place in range(len(cells))
        for gene in range(len(genes))
    ]
    gz(folder / NUCLEI, "\n".join([*table, ""]))
    gz(folder / CELLS, "".join(f"{name}\tChem3_Screen2\n" for name in cells))
    gz(folder / GENES, "\n".join(["id gene_short_name", *genes, ""]))
    gz(folder / COUNTS, "\n".join([*counts, ""]))
    return folder


def dense(block: ExpressionBlock) -> np.ndarray:
    return block.values if isinstance(block.values, np.ndarray) else block.values.toarray()


def source() -> Pseudobulked:
    return Pseudobulked(Sciplex3())


def samples(raw: Path) -> pl.DataFrame:
    return check_reported(source().samples(raw), ReportedSample, dataset_id="sciplex3")


def dropped(raw: Path) -> dict[str, int]:
    return {reason: n for reason, n in source().account(raw).dropped.items() if n}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sciplex3")
    simulated.write(folder, Study(7))
    return folder


def test_is_a_single_cell_source_and_wrapped_an_annotated_transcriptomic_one() -> None:
    assert isinstance(Sciplex3(), SingleCellSource)
    assert isinstance(source(), TranscriptomicSource)
    assert isinstance(source(), AnnotatedSource)


def test_a_profile_is_a_well_in_the_publishers_words(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED, nucleus("c3"), VEHICLE)
    treated, control = samples(raw).rows(named=True)
    assert treated == {
        "sample_key": "plate44|plate6_A9|MCF7|rep2|24|S2718|10000",
        "sample_kind": "compound",
        "context_reported": "MCF7",
        "compound_reported": "S2718",
        "dose": "10000",
        "dose_unit": "nM",
        "time": "24",
        "time_unit": "h",
        "plate": "plate44",
        "well": "A9",
        "replicate": "rep2",
        "batch": None,
        "donor_id": None,
        "vehicle_group": "",
        "n_cells": 2,
        "is_low_quality": False,
    }
    assert (control["sample_kind"], control["compound_reported"], control["n_cells"]) == ("vehicle", None, 1)


def test_counts_are_sums_over_nuclei_on_human_genes(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED, nucleus("c3"), VEHICLE)
    genes = check_reported(source().genes(raw), ReportedGene, dataset_id="sciplex3")
    assert genes.row(0) == ("ENSG00000000000.2", "G0", None)
    assert genes.height == N_GENES
    (block,) = source().expression(raw)
    np.testing.assert_array_equal(dense(block), [[4] * N_GENES, [2] * N_GENES])


def test_the_order_of_the_table_of_nuclei_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    rows = [TREATED, VEHICLE, nucleus("c3", top_oligo_P=None)]
    first = samples(write(tmp_path / "a", *rows))
    assert first.equals(samples(write(tmp_path / "b", *rows, order=[2, 0, 1])))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"hash_umis_P": 4}, "no plate"),
        ({"top_to_second_best_ratio_P": 4.99}, "no plate"),
        ({"top_oligo_P": None}, "no plate"),
        ({"rt_well": 1}, "no plate"),
        ({"hash_umis_W": 4}, "no well"),
        ({"top_to_second_best_ratio_W": 4.99}, "no well"),
        ({"hash_umis_W": None, "top_to_second_best_ratio_W": None, "top_oligo_W": None}, "no well"),
        (dict.fromkeys(("cell_type", "replicate", "time_point", "dose", "catalog_number")), "no cell_line"),
    ],
)
def test_a_nucleus_that_the_publisher_leaves_out_is_counted(
    tmp_path: Path, changed: dict[str, object], reason: str
) -> None:
    raw = write(tmp_path, TREATED, VEHICLE, nucleus("c3") | changed)
    assert samples(raw)["n_cells"].to_list() == [1, 1]
    assert dropped(raw) == {reason: 1}


def test_compounds_are_catalogue_numbers_and_the_vehicle_is_none(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED, VEHICLE, nucleus("c3", catalog_number="S1103", product_name="ZM 447439"))
    header = "\t".join(simulated.WELL_COLUMNS)
    row = dict.fromkeys(simulated.WELL_COLUMNS, "x")
    wells = [
        row | {"catalog_number": "S0000", "SMILES": "NA", "CAS.Number": "NA"},
        row | {"catalog_number": "S2718", "SMILES": "CCO", "CAS.Number": "934541-31-8"},
        row | {"catalog_number": "S2718", "SMILES": "CCO", "CAS.Number": "934541-31-8", "well_oligo": "y"},
    ]
    gz(raw / WELLS, "\n".join([header, *("\t".join(well.values()) for well in wells), ""]))
    compounds = check_reported(source().compounds(raw), ReportedCompound, dataset_id="sciplex3")
    columns = (
        "compound_reported",
        "vendor_id",
        "name",
        "smiles",
        "cas",
        "pubchem_cid",
        "mechanism",
        "targets",
    )
    activity = "Aurora kinase activity"
    assert compounds.select(columns).rows() == [
        ("S1103", "S1103", "ZM 447439", None, None, 9914412, activity, "Aurora Kinase"),
        ("S2718", "S2718", "TAK-901 (a name)", "CCO", "934541-31-8", None, activity, "Aurora Kinase"),
    ]


def test_a_repair_does_not_touch_another_compound_under_its_number(tmp_path: Path) -> None:
    raw = write(tmp_path, nucleus("c1", catalog_number="S1103", product_name="Aspirin"))
    assert source().compounds(raw).collect()["pubchem_cid"].to_list() == [None]


def test_a_catalogue_number_with_two_names_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED, nucleus("c3", product_name="TAK-902"))
    with pytest.raises(BadInputError, match="column catalog_number: more than once: catalog_number S2718"):
        source().compounds(raw)


def test_lines_have_their_accession(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED, nucleus("c3", cell_type="K562"), nucleus("c4", cell_type="PC3"))
    contexts = check_reported(source().contexts(raw), ReportedContext, dataset_id="sciplex3")
    assert contexts.select("context_reported", "accession").rows() == [
        ("K562", "CVCL_0004"),
        ("MCF7", "CVCL_0031"),
        ("PC3", None),
    ]


def test_annotations_hold_pathways_and_the_hash_of_the_well(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED)
    facts = check_reported(source().annotations(raw), ReportedAnnotation, dataset_id="sciplex3")
    stated = dict(facts.filter(~pl.col("key").str.contains("third")).select("key", "value").iter_rows())
    assert stated == {"well_oligo": "plate6_A9", "pathway": "Cell Cycle", "pathway_level_1": "Cycle"}


@pytest.mark.parametrize("changed", [{"vehicle": True}, {"catalog_number": "S0000"}, {"vehicle": None}])
def test_a_control_that_nobody_knows_is_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    raw = write(tmp_path, VEHICLE, nucleus("c3") | changed)
    with pytest.raises(
        BadInputError, match="row 3, column catalog_number: the vehicle is S0000, and only it"
    ):
        source().samples(raw)


def test_a_plate_without_vehicle_is_read(tmp_path: Path) -> None:
    assert samples(write(tmp_path, TREATED))["sample_kind"].to_list() == ["compound"]


def test_a_well_with_two_treatments_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED, nucleus("c3", dose=10))
    with pytest.raises(BadInputError, match="more than once: plate plate44, well plate6_A9"):
        source().samples(raw)


def test_nuclei_of_matrix_and_table_are_the_same(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED, VEHICLE)
    gz(raw / CELLS, "c1\tChem3_Screen2\nc9\tChem3_Screen2\n")
    with pytest.raises(
        BadInputError, match="row 2, column cell: a cell that the table of nuclei lacks: 'c9'"
    ):
        source().samples(raw)
    gz(raw / CELLS, "c1\tChem3_Screen2\n")
    with pytest.raises(BadInputError, match="row 3, column cell: a cell that the cells of the matrix lack"):
        source().samples(raw)


def test_a_nucleus_listed_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="row 2, 3, column cell: more than once: cell c1"):
        source().samples(write(tmp_path, TREATED, nucleus("c1")))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1\t1\t0.5\n", "whole numbers"),
        ("62\t1\t1\n", "a gene index is 1 to 61"),
        ("1\t3\t1\n", "a cell index is 1 to 2"),
        ("1\t1\t2\n", "row 2, column n.umi: counts of .* add up to another n.umi: 125"),
    ],
)
def test_counts_that_are_not_those_of_the_nuclei_are_refused(tmp_path: Path, line: str, message: str) -> None:
    raw = write(tmp_path, TREATED, VEHICLE)
    gz(raw / COUNTS, line)
    with pytest.raises(BadInputError, match=message):
        source().samples(raw)


@pytest.mark.parametrize("name", [COUNTS, GENES, CELLS, NUCLEI])
def test_a_missing_file_says_where_to_get_it_and_a_truncated_one_is_refused(
    tmp_path: Path, name: str
) -> None:
    raw = write(tmp_path, TREATED, VEHICLE)
    whole = (raw / name).read_bytes()
    (raw / name).write_bytes(whole[:-6])
    with pytest.raises(BadInputError, match=r"decompressed|truncated"):
        source().samples(raw)
    (raw / name).unlink()
    with pytest.raises(BadInputError, match=f"get it from https://.*{name}"):
        source().samples(raw)


@pytest.mark.parametrize("column", ["hash_umis_W", "top_to_second_best_ratio_P", "catalog_number", "n.umi"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    raw = write(tmp_path, TREATED)
    text = gzip.decompress((raw / NUCLEI).read_bytes()).decode()
    gz(raw / NUCLEI, text.replace(f'"{column}"', '"another"'))
    with pytest.raises(BadInputError, match=f"column {column}: the column is missing"):
        source().samples(raw)


def test_a_quality_that_is_no_number_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED, nucleus("c3", hash_umis_P="many"))
    with pytest.raises(BadInputError, match="row 3, column hash_umis_P: not a number: 'many'"):
        source().samples(raw)


def test_simulated_nuclei_have_the_published_design_and_its_dirt(study: Path) -> None:
    rows = samples(study)
    assert rows["plate"].n_unique() == 8
    assert set(rows["context_reported"]) == set(ACCESSION_BY_LINE)
    assert rows.filter(pl.col("time") == "72")["context_reported"].unique().to_list() == ["A549"]
    assert set(rows["dose"]) == {"0", "10", "100", "1000", "10000"}
    assert {"no plate", "no well", "no cell_line", "n_genes below 50"} <= set(dropped(study))
    account = source().account(study)
    assert account.n_in == rows["n_cells"].sum() + sum(account.dropped.values())
    names = source().compounds(study).collect()["name"]
    assert names.str.contains("?", literal=True).any()


def test_simulated_files_are_equal_bytes_for_equal_seeds(study: Path, tmp_path: Path) -> None:
    simulated.write(tmp_path, Study(7))
    for name in (COUNTS, GENES, CELLS, NUCLEI, WELLS):
        assert (tmp_path / name).read_bytes() == (study / name).read_bytes()


def test_simulated_samples_harmonize_and_their_values_are_counts(study: Path) -> None:
    rows = samples(study)
    names = {
        f"{entity}_names": frame.select(
            pl.col(f"{entity}_reported"),
            pl.col(f"{entity}_reported").alias(f"{entity}_id"),
            dataset_id=pl.lit("sciplex3"),
        )
        for entity, frame in (
            ("compound", source().compounds(study).collect()),
            ("context", source().contexts(study).collect()),
        )
    }
    kept, account = harmonize_samples(rows, dataset_id="sciplex3", assay="snrna", **names)
    assert kept.height == rows.height == account.n_out
    assert set(kept["dose_um"].drop_nulls()) == {0.01, 0.1, 1.0, 10.0}
    assert set(kept["time_h"]) == {24.0, 72.0}
    blocks = checked_blocks(
        source().expression(study),
        sample_keys=rows["sample_key"],
        dataset_id="sciplex3",
        value_scale="counts",
    )
    assert sum(len(block.sample_keys) for block in blocks) == rows.height


def test_profiles_show_the_planted_effect(study: Path) -> None:
    rows = samples(study)
    counts = np.vstack([dense(block) for block in source().expression(study)])
    of_line = (rows["context_reported"] == "MCF7") & (rows["time"] == "24")
    is_treated = (
        of_line & (rows["compound_reported"] == "S1047").fill_null(value=False) & (rows["dose"] == "10000")
    )
    is_vehicle = of_line & (rows["sample_kind"] == "vehicle")

    def log_share(chosen: pl.Series) -> np.ndarray:
        total = counts[chosen.to_numpy()].sum(axis=0)
        return np.log2((total + 2) / total.sum())

    effect = log_share(is_treated) - log_share(is_vehicle)
    truth = pl.read_parquet(study / "truth" / "effects.parquet").filter(
        pl.col("compound_reported") == "S1047",
        pl.col("context_reported") == "MCF7",
        pl.col("dose_um") == 10,
    )
    ids = source().genes(study).collect()["gene_reported"].str.replace(r"\.\d+$", "")
    position = {gene: place for place, gene in enumerate(ids)}
    places = np.array([position[gene] for gene in truth["ensembl_gene_id"]])
    is_abundant = counts[is_vehicle.to_numpy()].sum(axis=0)[places] >= 50
    found, planted = effect[places[is_abundant]], truth["log2_fold_change"].to_numpy()[is_abundant]
    assert np.corrcoef(found, planted)[0, 1] > 0.7


@pytest.mark.realdata
def test_the_published_table_of_wells_is_the_design_that_is_read_here(realdata: Path) -> None:
    columns = ("well_oligo", "plate_oligo", "cell_type", "replicate", "time_point", "drug_dose")
    wells = pl.read_csv(
        realdata / "raw" / "sciplex3" / "sciChem3_screen2_hashMeta_data.tsv",
        separator="\t",
        has_header=False,
        new_columns=columns,
        infer_schema=False,
    )
    assert wells.height == 4_992
    assert wells.select("plate_oligo", "well_oligo").is_duplicated().sum() == 0
    assert set(wells["cell_type"]) == set(ACCESSION_BY_LINE)
    assert set(wells["time_point"]) == {"24", "72"}
    # A plate is one line, replicate and time, and its wells carry the hashes of one plate of them.
    of_plate = wells.with_columns(
        pl.col("well_oligo").str.extract(r"^(plate\d+)_[A-H]\d+$", 1).alias("hashes")
    )
    distinct = of_plate.select("plate_oligo", "cell_type", "replicate", "time_point", "hashes").unique()
    assert distinct.height == wells["plate_oligo"].n_unique() == 52
    numbers = wells["drug_dose"].str.extract(r"^(S\d{4})_[1-4]$", 1)
    assert numbers.null_count() == 0
    assert numbers.filter(~numbers.str.starts_with("S00")).n_unique() == 188
    assert numbers.str.starts_with("S00").sum() == 2 * 52
    table = resources.files("etl.sources").joinpath("repairs", "sciplex3_compounds.csv").read_bytes()
    assert set(pl.read_csv(table)["catalog_number"]) <= set(numbers)


@pytest.mark.realdata
def test_the_published_nuclei(realdata: Path) -> None:
    raw = realdata / "raw" / "sciplex3"
    if not list(raw.glob("*UMI.count.matrix*")):
        pytest.skip("the counts are not among the real files")
    account = source().account(raw)
    assert account.n_in == 799_317
    rows = samples(raw)
    assert rows.filter(pl.col("sample_kind") == "compound")["compound_reported"].n_unique() == 188
    assert rows["plate"].n_unique() == 52
    assert rows.height <= 4_992
