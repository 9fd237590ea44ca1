from pathlib import Path

import numpy as np
import polars as pl
import pytest

from etl.errors import BadInputError
from etl.expression.profiles import checked_blocks
from etl.harmonize.samples import harmonize_samples
from etl.simulate import gdpx2 as simulated
from etl.simulate.study import Study
from etl.sources.base import AnnotatedSource, TranscriptomicSource
from etl.sources.gdpx2 import Gdpx2
from etl.validation import check_reported
from schemas.reported import (
    ReportedAnnotation,
    ReportedCompound,
    ReportedContext,
    ReportedGene,
    ReportedSample,
)

ID = "gdpx2"
TREATED = {
    "sample_id": "101",
    "container_id": "1612103",
    "column_id": "10",
    "row_id": "4",
    "is_neg_control": "FALSE",
    "sample_type": "library",
    "cell_line": "human_dermal_fibroblast",
    "compound": "Dabrafenib",
    "compound_concentration": "28.5",
    "compound_concentration_unit": "nM",
    "timepoint": "24",
    "percent_volume_dmso": "0.0625",
    "ngenes3": "8000",
}
DMSO = TREATED | {
    "sample_id": "102",
    "sample_type": "Ginkgo Neg Control - DMSO",
    "compound": "DMSO",
    "compound_concentration": "0.625",
    "percent_volume_dmso": "0.625",
}
POSITIVE = TREATED | {
    "sample_id": "103",
    "sample_type": "Ginkgo Pos Control - Dexamethasone",
    "compound": "Dexamethasone",
}
ALL = (TREATED, DMSO, POSITIVE)


def write(folder: Path, *wells: dict[str, str], values: np.ndarray | None = None, measured: int = 0) -> Path:
    """Write wells, and counts of the first ``measured`` samples (all by default) on two genes."""
    lines = [",".join(well.values()) for well in wells]
    (folder / "Metadata.csv").write_text("\n".join([",".join(TREATED), *lines]) + "\n")
    ids = list(dict.fromkeys(well["sample_id"] for well in wells if well["sample_id"]))
    ids = ids[: measured or len(ids)]
    if values is None:
        values = np.arange(2.0 * len(ids)).reshape(-1, 2)
    simulated.write_matrix(folder / "GDPx2-GeneCounts.h5", ["TP53", "A1BG"], ids, values)
    return folder


def samples(raw: Path) -> pl.DataFrame:
    return check_reported(Gdpx2().samples(raw), ReportedSample, dataset_id=ID)


def test_is_an_annotated_transcriptomic_source() -> None:
    assert isinstance(Gdpx2(), TranscriptomicSource)
    assert isinstance(Gdpx2(), AnnotatedSource)


def test_a_sample_keeps_the_publishers_words(tmp_path: Path) -> None:
    assert samples(write(tmp_path, *ALL)).row(0, named=True) == {
        "sample_key": "101",
        "sample_kind": "compound",
        "context_reported": "human_dermal_fibroblast",
        "compound_reported": "Dabrafenib",
        "dose": "28.5",
        "dose_unit": "nM",
        "time": "24",
        "time_unit": "h",
        "plate": "1612103",
        "well": "D10",
        "replicate": None,
        "batch": None,
        "donor_id": None,
        "vehicle_group": "DMSO 0.0625%",
        "n_cells": None,
        "is_low_quality": False,
    }


def test_controls_are_told_by_sample_type_and_have_no_dose(tmp_path: Path) -> None:
    rows = samples(write(tmp_path, *ALL))
    assert rows.select("sample_kind", "compound_reported", "dose", "vehicle_group").rows() == [
        ("compound", "Dabrafenib", "28.5", "DMSO 0.0625%"),
        ("vehicle", None, None, "DMSO 0.625%"),
        ("positive_control", "Dexamethasone", "28.5", "DMSO 0.0625%"),
    ]


def test_exact_copies_of_a_row_are_one_sample(tmp_path: Path) -> None:
    assert samples(write(tmp_path, *ALL, *ALL)).equals(samples(write(tmp_path, *ALL)))


def test_a_sample_described_in_two_ways_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, *ALL, TREATED | {"ngenes3": "9"})
    with pytest.raises(BadInputError, match="row 2, 5, column sample_id: more than once: sample_id 101"):
        samples(raw)


def test_the_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    forward = samples(write(tmp_path, *ALL)).sort("sample_key")
    assert samples(write(tmp_path, *reversed(ALL))).sort("sample_key").equals(forward)


def test_a_well_without_counts_is_empty_and_describes_nothing(tmp_path: Path) -> None:
    raw = write(tmp_path, DMSO, TREATED, measured=1)
    assert samples(raw)["sample_kind"].to_list() == ["vehicle", "empty"]
    assert Gdpx2().compounds(raw).collect().is_empty()


def test_measures_of_quality_are_annotations(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED | {"is_neg_control": "NA"}, TREATED | {"is_neg_control": "NA"})
    rows = check_reported(Gdpx2().annotations(raw), ReportedAnnotation, dataset_id=ID)
    assert sorted(rows.select("key", "value").rows()) == [
        ("compound_concentration", "28.5"),
        ("compound_concentration_unit", "nM"),
        ("ngenes3", "8000"),
        ("percent_volume_dmso", "0.0625"),
        ("sample_type", "library"),
        ("timepoint", "24"),
    ]


def test_compounds_and_contexts_are_named(tmp_path: Path) -> None:
    raw = write(tmp_path, *ALL, TREATED | {"sample_id": "104", "cell_line": "other"})
    compounds = check_reported(Gdpx2().compounds(raw), ReportedCompound, dataset_id=ID)
    assert compounds["name"].to_list() == ["Dabrafenib", "Dexamethasone"]
    contexts = check_reported(Gdpx2().contexts(raw), ReportedContext, dataset_id=ID)
    assert contexts.select("context_reported", "name").rows() == [
        ("human_dermal_fibroblast", "fibroblast of dermis"),
        ("other", None),
    ]


def test_counts_are_on_the_axes_of_samples_and_genes(tmp_path: Path) -> None:
    raw = write(tmp_path, *ALL)
    genes = check_reported(Gdpx2().genes(raw), ReportedGene, dataset_id=ID)
    assert genes.rows() == [("TP53", "TP53", None), ("A1BG", "A1BG", None)]
    (block,) = Gdpx2().expression(raw)
    assert list(block.sample_keys) == ["101", "102", "103"]
    np.testing.assert_array_equal(block.values.toarray(), [[0, 1], [2, 3], [4, 5]])


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"sample_type": "Ginkgo Neg Control - Medium"}, "column sample_type: an unknown sample type"),
        ({"sample_type": ""}, "column sample_type: a missing value"),
        ({"compound": "DMSO"}, "column compound: contradicts its sample type: 'DMSO'"),
        ({"sample_type": "Ginkgo Neg Control - DMSO"}, "column compound: contradicts its sample type"),
        ({"percent_volume_dmso": "low"}, "column percent_volume_dmso: no percentage: 'low'"),
        ({"percent_volume_dmso": "NA"}, "column percent_volume_dmso: a missing value"),
        ({"row_id": "17"}, "column row_id: not within 1 and 16: '17'"),
        ({"row_id": ""}, "column row_id: a missing value"),
        ({"column_id": "0"}, "column column_id: not within 1 and 24: '0'"),
        ({"sample_id": ""}, "column sample_id: a missing value"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, change: dict[str, str], rule: str) -> None:
    with pytest.raises(BadInputError, match=f"Metadata.csv, row 2, {rule}"):
        samples(write(tmp_path, TREATED | change, DMSO))


def test_a_sample_of_the_matrix_that_the_table_lacks_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, *ALL)
    simulated.write_matrix(raw / "GDPx2-GeneCounts.h5", ["TP53"], ["101", "999"], np.ones((2, 1)))
    with pytest.raises(BadInputError, match=r"1 sample\(s\) of the matrix are not listed, the first is 999"):
        samples(raw)


@pytest.mark.parametrize("name", ["Metadata.csv", "GDPx2-GeneCounts.h5"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    raw = write(tmp_path, *ALL)
    (raw / name).unlink()
    with pytest.raises(BadInputError, match="no file matches"):
        samples(raw)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    raw = write(tmp_path, *ALL)
    path = raw / "Metadata.csv"
    path.write_text(path.read_text().replace("sample_type", "kind", 1))
    with pytest.raises(BadInputError, match="column sample_type: the column is missing"):
        samples(raw)


@pytest.mark.parametrize(
    ("value", "rule"),
    [(0.5, "is fractional, but counts are declared"), (-1.0, "is negative"), (np.nan, "not a finite")],
)
def test_values_that_are_no_counts_are_refused(tmp_path: Path, value: float, rule: str) -> None:
    raw = write(tmp_path, *ALL, values=np.array([[1, 2], [3, value], [4, 5]]))
    with pytest.raises(BadInputError, match=rule):
        list(
            checked_blocks(
                Gdpx2().expression(raw),
                sample_keys=samples(raw)["sample_key"],
                dataset_id=ID,
                value_scale="counts",
            )
        )


def test_an_unknown_unit_is_refused_by_the_harmonizer(tmp_path: Path) -> None:
    reported = samples(write(tmp_path, TREATED | {"compound_concentration_unit": "ng"}, DMSO))
    compounds = {"compound_reported": ["Dabrafenib"], "compound_id": ["u"], "dataset_id": [ID]}
    contexts = {"context_reported": ["human_dermal_fibroblast"], "context_id": ["c"], "dataset_id": [ID]}
    with pytest.raises(BadInputError, match="a dose in an unknown unit"):
        harmonize_samples(
            reported,
            dataset_id=ID,
            assay="drugseq",
            compound_names=pl.DataFrame(compounds),
            context_names=pl.DataFrame(contexts),
        )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated study."""
    raw = tmp_path_factory.mktemp("gdpx2")
    simulated.write(raw, Study(3))
    return raw


def test_the_simulated_study(study: Path) -> None:
    rows = samples(study)
    lines = (study / "Metadata.csv").read_text().count("\n") - 1
    assert lines == rows.height + rows.height // 2
    kinds = dict(rows["sample_kind"].value_counts().iter_rows())
    assert kinds == {"compound": 144, "vehicle": 48, "positive_control": 12}
    vehicles = rows.filter(pl.col("sample_kind") == "vehicle").group_by("plate", "vehicle_group").len()
    assert vehicles["len"].to_list() == [4] * 12
    stated = check_reported(Gdpx2().annotations(study), ReportedAnnotation, dataset_id=ID)
    flagged = stated.filter(pl.col("key") == "is_neg_control", pl.col("value") == "TRUE")
    assert flagged.height == 16
    keys = {key for block in Gdpx2().expression(study) for key in block.sample_keys}
    assert keys == set(rows["sample_key"])
    truth = pl.read_parquet(study / "truth" / "effects.parquet")
    assert set(truth["compound_reported"]) <= set(rows["compound_reported"])


def test_the_simulator_writes_equal_bytes(study: Path, tmp_path: Path) -> None:
    simulated.write(tmp_path, Study(3))
    for name in ("Metadata.csv", "GDPx2-GeneCounts.h5"):
        assert (study / name).read_bytes() == (tmp_path / name).read_bytes(), name


@pytest.mark.realdata
def test_the_published_study(realdata: Path) -> None:
    raw = realdata / "raw" / ID
    if not raw.is_dir():
        pytest.skip(f"{ID} is not among the real files")
    rows = samples(raw)
    kinds = dict(rows["sample_kind"].value_counts().iter_rows())
    assert kinds == {"compound": 8_928, "vehicle": 576, "positive_control": 2_304}
    vehicles = rows.filter(pl.col("sample_kind") == "vehicle")
    groups = vehicles.group_by("context_reported", "vehicle_group").agg(pl.len(), pl.col("plate").n_unique())
    assert groups.select("len", "plate").rows() == [(48, 8)] * 12
    assert Gdpx2().genes(raw).collect().height == 59_427
