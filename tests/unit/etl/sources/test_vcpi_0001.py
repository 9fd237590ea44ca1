"""The VCPI releases share a reader; what all do is tested here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from etl.errors import BadInputError
from etl.expression.profiles import checked_blocks
from etl.harmonize.samples import harmonize_samples
from etl.simulate import vcpi as simulated
from etl.simulate.study import Study
from etl.sources import vcpi
from etl.sources.base import AnnotatedSource, TranscriptomicSource
from etl.sources.vcpi_0001 import Vcpi0001
from etl.validation import check_reported
from schemas.reported import (
    ReportedAnnotation,
    ReportedCompound,
    ReportedContext,
    ReportedGene,
    ReportedSample,
)

ID = "vcpi_0001"
TREATED: dict[str, Any] = {
    "sequenced_id": 101,
    "job_id": "tvc-bhr-009",
    "container_id": 1650001,
    "row_id": 4,
    "column_id": 10,
    "compound": "uuid-1",
    "user_compound_id": "400123",
    "compound_concentration": 300.0,
    "compound_concentration_unit": "nM",
    "cell_line": "THP-1",
    "timepoint": "24h",
    "is_control": False,
    "ngenes3": 5000,
}
DMSO = TREATED | {
    "sequenced_id": 102,
    "compound": "uuid-2",
    "user_compound_id": "DMSO",
    "compound_concentration": 0.15,
    "compound_concentration_unit": "%",
    "is_control": True,
}
POSITIVE = TREATED | {
    "sequenced_id": 103,
    "compound": "uuid-3",
    "user_compound_id": "Staurosporin",
    "is_control": True,
}
ALL = (TREATED, DMSO, POSITIVE)
CHEMISTRY: tuple[dict[str, Any], ...] = (
    {"compound": "uuid-1", "user_compound_id": "400123", "smiles": "CCO", "inchi_key": "K-1"},
    {"compound": "uuid-3", "user_compound_id": "Staurosporin", "smiles": None, "inchi_key": None},
)
COUNTS = {
    "gene_id": ["ENSG00000141510", "ERCC-00002"],
    "102": [1.0, 0.0],
    "101": [2.0, 3.0],
    "103": [4.0, 5.0],
}


def write(
    folder: Path,
    *wells: dict[str, Any],
    counts: dict[str, list[Any]] = COUNTS,
    chemistry: tuple[dict[str, Any], ...] = CHEMISTRY,
) -> Path:
    pl.DataFrame(wells or ALL, strict=False).write_parquet(folder / "metadata.parquet")
    pl.DataFrame(chemistry).write_parquet(folder / "chemistry.parquet")
    pl.DataFrame(counts).write_parquet(folder / "data.parquet")
    return folder


def samples(raw: Path) -> pl.DataFrame:
    return check_reported(Vcpi0001().samples(raw), ReportedSample, dataset_id=ID)


def test_is_an_annotated_transcriptomic_source() -> None:
    assert isinstance(Vcpi0001(), TranscriptomicSource)
    assert isinstance(Vcpi0001(), AnnotatedSource)


def test_a_sample_keeps_the_publishers_words(tmp_path: Path) -> None:
    assert samples(write(tmp_path)).row(0, named=True) == {
        "sample_key": "101",
        "sample_kind": "compound",
        "context_reported": "THP-1",
        "compound_reported": "uuid-1",
        "dose": "300",
        "dose_unit": "nM",
        "time": "24h",
        "time_unit": None,
        "plate": "1650001",
        "well": "D10",
        "replicate": None,
        "batch": "tvc-bhr-009",
        "donor_id": None,
        "vehicle_group": "",
        "n_cells": None,
        "is_low_quality": False,
    }


def test_controls_are_told_apart_by_their_name(tmp_path: Path) -> None:
    rows = samples(write(tmp_path))
    assert rows.select("sample_kind", "compound_reported", "dose", "dose_unit").rows() == [
        ("compound", "uuid-1", "300", "nM"),
        ("vehicle", None, None, None),
        ("positive_control", "uuid-3", "300", "nM"),
    ]


def test_text_and_numbers_say_the_same(tmp_path: Path) -> None:
    as_numbers = samples(write(tmp_path))
    texts = [{key: str(value) for key, value in well.items()} for well in ALL]
    assert samples(write(tmp_path, *texts)).equals(as_numbers.with_columns(
        dose=pl.col("dose").str.replace("^300$", "300.0")
    ))  # fmt: skip


def test_a_time_without_unit_is_hours(tmp_path: Path) -> None:
    rows = samples(write(tmp_path, *(well | {"timepoint": 24} for well in ALL)))
    assert rows.select("time", "time_unit").unique().rows() == [("24", "h")]


def test_exact_copies_of_a_row_are_one_sample(tmp_path: Path) -> None:
    assert samples(write(tmp_path, *ALL, *ALL)).equals(samples(write(tmp_path)))


def test_the_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    forward = samples(write(tmp_path)).sort("sample_key")
    assert samples(write(tmp_path, *reversed(ALL))).sort("sample_key").equals(forward)


def test_a_sample_without_counts_is_empty_and_describes_nothing(tmp_path: Path) -> None:
    raw = write(tmp_path, counts={"gene_id": ["ENSG1"], "102": [1.0]})
    assert samples(raw)["sample_kind"].to_list() == ["empty", "vehicle", "empty"]
    assert Vcpi0001().compounds(raw).collect().is_empty()


def test_measures_of_quality_are_annotations(tmp_path: Path) -> None:
    rows = check_reported(Vcpi0001().annotations(write(tmp_path)), ReportedAnnotation, dataset_id=ID)
    assert sorted(rows.filter(pl.col("sample_key") == "101").select("key", "value").rows()) == [
        ("compound_concentration", "300"),
        ("compound_concentration_unit", "nM"),
        ("is_control", "false"),
        ("ngenes3", "5000"),
        ("user_compound_id", "400123"),
    ]


def test_a_bare_number_is_an_id_and_no_name(tmp_path: Path) -> None:
    rows = check_reported(Vcpi0001().compounds(write(tmp_path)), ReportedCompound, dataset_id=ID)
    assert rows.select("compound_reported", "name", "vendor_id", "smiles", "inchikey").rows() == [
        ("uuid-1", None, "400123", "CCO", "K-1"),
        ("uuid-3", "Staurosporin", "Staurosporin", None, None),
    ]


def test_a_compound_without_chemistry_keeps_its_id(tmp_path: Path) -> None:
    raw = write(tmp_path, chemistry=CHEMISTRY[1:])
    rows = check_reported(Vcpi0001().compounds(raw), ReportedCompound, dataset_id=ID)
    assert rows.row(0)[:3] == ("uuid-1", None, None)
    assert rows["vendor_id"].to_list() == ["400123", "Staurosporin"]


def test_a_canonical_structure_stands_in(tmp_path: Path) -> None:
    chemistry = tuple(row | {"canonical_smiles": "C"} for row in CHEMISTRY)
    rows = check_reported(
        Vcpi0001().compounds(write(tmp_path, chemistry=chemistry)), ReportedCompound, dataset_id=ID
    )
    assert rows["smiles"].to_list() == ["CCO", "C"]


def test_lots_of_a_compound_are_one_and_two_structures_are_refused(tmp_path: Path) -> None:
    lots = tuple(row | {"purity_pct": purity} for row in CHEMISTRY for purity in (98, 97))
    assert Vcpi0001().compounds(write(tmp_path, chemistry=lots)).collect().height == 2
    raw = write(tmp_path, chemistry=(*CHEMISTRY, CHEMISTRY[0] | {"smiles": "CCN"}))
    with pytest.raises(BadInputError, match=r"chemistry.parquet, row 1, 3, column compound: more than once"):
        Vcpi0001().compounds(raw)


def test_contexts_are_the_cell_labels(tmp_path: Path) -> None:
    rows = check_reported(Vcpi0001().contexts(write(tmp_path)), ReportedContext, dataset_id=ID)
    assert rows["context_reported"].to_list() == ["THP-1"]


def test_counts_are_on_the_axes_of_samples_and_genes(tmp_path: Path) -> None:
    raw = write(tmp_path)
    genes = check_reported(Vcpi0001().genes(raw), ReportedGene, dataset_id=ID)
    assert genes["gene_reported"].to_list() == COUNTS["gene_id"]
    (block,) = Vcpi0001().expression(raw)
    assert list(block.sample_keys) == ["102", "101", "103"]
    np.testing.assert_array_equal(block.values.toarray(), [[1, 0], [2, 3], [4, 5]])


def test_blocks_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vcpi, "BLOCK_BYTES", 2 * 2 * 28)
    blocks = list(Vcpi0001().expression(write(tmp_path)))
    assert [list(block.sample_keys) for block in blocks] == [["102", "101"], ["103"]]
    np.testing.assert_array_equal(blocks[1].values.toarray(), [[4, 5]])


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"is_control": "maybe"}, "row 1, column is_control: neither true nor false: 'maybe'"),
        ({"is_control": None}, "row 1, column is_control: a missing value"),
        ({"user_compound_id": None}, "row 1, column user_compound_id: a missing value"),
        ({"sequenced_id": 102}, "row 1, 2, column sequenced_id: more than once: sequenced_id 102"),
        ({"sequenced_id": None}, "row 1, column sequenced_id: a missing value"),
        ({"row_id": 17}, "row 1, column row_id: not within 1 and 16: '17'"),
        ({"column_id": "x"}, "row 1, column column_id: not a whole number: 'x'"),
        ({"row_id": None}, "row 1, column row_id: a missing value"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, change: dict[str, Any], rule: str) -> None:
    counts = {key: value for key, value in COUNTS.items() if key != "101"}
    wells = [{key: None if value is None else str(value) for key, value in well.items()}
             for well in (TREATED | change, DMSO, POSITIVE)]  # fmt: skip
    with pytest.raises(BadInputError, match=f"metadata.parquet, {rule}"):
        samples(write(tmp_path, *wells, counts=counts))


@pytest.mark.parametrize(
    ("counts", "rule"),
    [
        ({"gene_id": ["a"], "102": [1.0], "999": [1.0]}, "1 sample.* of the counts are not listed.*is 999"),
        ({"gene": ["a"], "102": [1.0]}, "column gene_id: one column is called gene_id, but not here"),
        ({"gene_id": ["a"]}, "the matrix is empty"),
        ({"gene_id": ["a", "a"], "102": [1.0, 2.0]}, "gene ids are unique, but 'a' is repeated"),
        ({"gene_id": ["a", None], "102": [1.0, 2.0]}, "every gene has an id, but gene 2 of 2 has none"),
        ({"gene_id": ["a", "b"], "102": [1.0, None]}, "row b, column 102: a missing count"),
        ({"gene_id": ["a"], "102": ["1"]}, "column 102: counts are numbers, not String"),
        ({"gene_id": ["a"], "102": [2**24 + 1]}, "row a, column 102: a count up to 16777216 is expected"),
        ({"gene_id": ["a"], "102": [0.5]}, "is fractional, but counts are declared"),
        ({"gene_id": ["a"], "102": [-1]}, "is negative, but counts are declared"),
    ],
)
def test_counts_that_cannot_be_are_refused(tmp_path: Path, counts: dict[str, list[Any]], rule: str) -> None:
    raw, source = write(tmp_path, DMSO, counts=counts), Vcpi0001()
    with pytest.raises(BadInputError, match=rule):
        keys = samples(raw)["sample_key"]
        list(source.genes(raw).collect())
        list(checked_blocks(source.expression(raw), sample_keys=keys, dataset_id=ID, value_scale="counts"))


@pytest.mark.parametrize("name", ["data", "metadata", "chemistry"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-20])])
def test_a_missing_or_truncated_file_is_refused(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    raw = write(tmp_path)
    damage(raw / f"{name}.parquet")
    with pytest.raises(BadInputError, match=f"no file matches {name}.parquet|is no complete Parquet file"):
        Vcpi0001().compounds(raw)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    wells = [{key: value for key, value in well.items() if key != "timepoint"} for well in ALL]
    with pytest.raises(BadInputError, match="column timepoint: the column is missing"):
        samples(write(tmp_path, *wells))


def test_a_column_of_lists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="column ngenes3: a column holds one value a row"):
        samples(write(tmp_path, *(well | {"ngenes3": [1, 2]} for well in ALL)))


def test_an_unknown_unit_is_refused_by_the_harmonizer(tmp_path: Path) -> None:
    reported = samples(write(tmp_path, TREATED | {"compound_concentration_unit": "mg/ml"}, DMSO, POSITIVE))
    compounds = {"compound_reported": ["uuid-1", "uuid-3"], "compound_id": ["u", "v"], "dataset_id": [ID] * 2}
    contexts = {"context_reported": ["THP-1"], "context_id": ["c"], "dataset_id": [ID]}
    with pytest.raises(BadInputError, match="a dose in an unknown unit"):
        harmonize_samples(
            reported,
            dataset_id=ID,
            assay="drugseq",
            compound_names=pl.DataFrame(compounds),
            context_names=pl.DataFrame(contexts),
        )


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated release."""
    raw = tmp_path_factory.mktemp("vcpi_0001")
    simulated.write(raw, Study(3), ID)
    return raw


def test_the_simulated_release(release: Path) -> None:
    rows = samples(release)
    kinds = dict(rows["sample_kind"].value_counts().iter_rows())
    assert kinds == {"compound": 60, "vehicle": 16, "positive_control": 8}
    compounds = check_reported(Vcpi0001().compounds(release), ReportedCompound, dataset_id=ID)
    assert compounds.height == 7
    assert compounds["name"].drop_nulls().sort().to_list() == ["Bortezomib", "Geldanamycin"]
    assert compounds["smiles"].null_count() == 0
    keys = {key for block in Vcpi0001().expression(release) for key in block.sample_keys}
    assert keys == set(rows["sample_key"])
    truth = pl.read_parquet(release / "truth" / "effects.parquet")
    assert set(truth["compound_reported"]) <= set(rows["compound_reported"])
    assert Vcpi0001().genes(release).collect()["gene_reported"].str.starts_with("ERCC-").sum() == 3


def test_the_simulator_writes_equal_bytes(release: Path, tmp_path: Path) -> None:
    simulated.write(tmp_path, Study(3), ID)
    for name in ("data", "metadata", "chemistry"):
        path = f"{name}.parquet"
        assert (release / path).read_bytes() == (tmp_path / path).read_bytes(), name


@pytest.mark.realdata
def test_the_published_release(realdata: Path) -> None:
    raw = realdata / "raw" / "vcpi_0001"
    if not raw.is_dir():
        pytest.skip("vcpi_0001 is not among the real files")
    rows = check_reported(Vcpi0001().samples(raw), ReportedSample, dataset_id="vcpi_0001")
    kinds = dict(rows["sample_kind"].value_counts().iter_rows())
    assert kinds == {"compound": 26_969, "vehicle": 608, "positive_control": 1_211}
    features = Vcpi0001().genes(raw).collect()["gene_reported"]
    assert (features.len(), features.str.starts_with("ERCC-").sum()) == (78_778, 92)
