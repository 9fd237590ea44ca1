from pathlib import Path

import polars as pl
import pytest

from etl.errors import BadInputError
from etl.simulate import cigs as simulated
from etl.simulate.study import Study
from etl.simulate.workbooks import Cell, write_workbook
from etl.sources.base import AnnotatedSource, TranscriptomicSource
from etl.sources.cigs_tcm import CigsTcm
from etl.validation import check_reported
from schemas.reported import ReportedAnnotation, ReportedCompound, ReportedContext, ReportedSample

ID = "cigs_tcm"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated library."""
    raw = tmp_path_factory.mktemp("cigs_tcm")
    simulated.write_tcm(raw, Study(3))
    return raw


@pytest.fixture(scope="module")
def samples(library: Path) -> pl.DataFrame:
    return check_reported(CigsTcm().samples(library), ReportedSample, dataset_id=ID)


def test_is_an_annotated_transcriptomic_source() -> None:
    assert isinstance(CigsTcm(), TranscriptomicSource)
    assert isinstance(CigsTcm(), AnnotatedSource)


def test_numbers_that_subsets_share_are_told_apart(samples: pl.DataFrame) -> None:
    assert samples.height == 4 * 36
    assert samples["sample_key"].is_unique().all()
    assert samples["plate"].n_unique() == 8
    assert samples.row(0, named=True)["sample_key"] == "HEK293T_10uM.1"
    assert samples.row(0, named=True)["plate"] == "HEK293T_10uM.1"


def test_there_are_no_wells(samples: pl.DataFrame) -> None:
    assert samples["well"].null_count() == samples.height
    assert samples["replicate"].null_count() == samples.height
    assert set(samples["batch"]) == {"L1", "L2"}


def test_the_dose_is_that_of_the_subset(samples: pl.DataFrame) -> None:
    treated = samples.filter(pl.col("sample_kind") == "compound")
    shown = treated.select(pl.col("sample_key").str.extract(r"_(\d+)uM\."), "dose", "dose_unit").unique()
    assert sorted(shown.rows()) == [("10", "10", "uM"), ("20", "20", "uM")]


def test_both_spellings_of_a_number_are_one_compound(library: Path, samples: pl.DataFrame) -> None:
    assert set(samples["compound_reported"].drop_nulls()) == {*simulated.TCM_NUMBERS.values(), "JQ1"}
    stated = check_reported(CigsTcm().annotations(library), ReportedAnnotation, dataset_id=ID)
    assert stated.filter(pl.col("key") == "treat")["value"].str.starts_with("Compd").any()


def test_a_label_that_a_spreadsheet_made_a_number_is_a_line(library: Path) -> None:
    rows = check_reported(CigsTcm().contexts(library), ReportedContext, dataset_id=ID)
    assert rows.select("context_reported", "name").rows() == [("231", "MDA-MB-231"), ("293T", "HEK293T")]


def test_the_wrong_cas_number_is_replaced_only_where_it_is_wrong(library: Path) -> None:
    rows = check_reported(CigsTcm().compounds(library), ReportedCompound, dataset_id=ID)
    assert rows.select("compound_reported", "name", "cas", "pubchem_cid").rows() == [
        ("Cpd0021", "Paclitaxel", "33069-62-4", None),
        ("Cpd0133", "Vincris tine", "57-22-7", None),
        ("Cpd0164", "Geldanamycin", "30562-34-6", None),
        ("Cpd0165", "Amoxicillin", None, 24148538),
        ("Cpd0166", "Topotecan", "33289-85-9", None),
        ("JQ1", "JQ1", None, None),
    ]


def test_a_treatment_of_the_other_library_is_refused(tmp_path: Path) -> None:
    simulated.write_tcm(tmp_path, Study(3))
    header: list[Cell] = ["Sample_unique_id", "Treat", "Plate", "library", "Cell", "Dose", "Time"]
    rows: list[list[Cell]] = [header, ["1", "HY-10221", "1", "L1", "293T", "10uM", "24h"]]
    write_workbook(tmp_path / "TCM_Compounds_HEK293T_10_MetaData.xlsx", {"A": rows})
    counts: list[list[Cell]] = [["Sample_unique_id", "TP53"], ["1", 5]]
    write_workbook(tmp_path / "TCM_Compounds_HEK293T_10_Counts.xlsx", {"A": counts})
    with pytest.raises(BadInputError, match="row 2, column treat: neither a known control nor a compound"):
        CigsTcm().samples(tmp_path)


@pytest.mark.realdata
def test_the_published_library(realdata: Path) -> None:
    raw = realdata / "raw" / ID
    if not raw.is_dir():
        pytest.skip(f"{ID} is not among the real files")
    rows = check_reported(CigsTcm().samples(raw), ReportedSample, dataset_id=ID)
    assert rows.height == 25_202
    passed = rows.filter(~pl.col("is_low_quality"))
    kinds = dict(passed["sample_kind"].value_counts().iter_rows())
    assert kinds == {"compound": 21_112, "vehicle": 1_433, "positive_control": 1_329}
    treated = passed.filter(pl.col("sample_kind") == "compound")
    assert treated["compound_reported"].n_unique() == 1_856
    assert CigsTcm().genes(raw).collect().height == 3_407
