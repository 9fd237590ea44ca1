from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from etl.errors import BadInputError
from etl.simulate.gdsc import RAW_COLUMNS
from etl.sources.gdsc_wells import Wells, read_names, read_wells
from etl.validation import check_reported
from schemas.reported import ReportedMeasurement

ROW = dict.fromkeys(RAW_COLUMNS, "NA") | {
    "BARCODE": "018_996_0005436",
    "SCAN_ID": "7",
    "CELL_ID": "500",
    "COSMIC_ID": "99",
    "CELL_LINE_NAME": "T-T",
    "SANGER_MODEL_ID": "SIDM00322",
    "DRUGSET_ID": "159",
    "DURATION": "3",
}


def row(
    position: int | str, tag: str, intensity: float | str, drug: str = "NA", conc: str = "NA", **other: str
):
    well = {"POSITION": str(position), "TAG": tag, "INTENSITY": str(intensity), "DRUG_ID": drug, "CONC": conc}
    return ROW | well | other


CONTROLS = [row(1, "B", 10), row(2, "NC-1", 110), row(3, "NC-0", 999)]
TREATED = row(50, "L1-D1-S", 60, "1510", "2.0")
LOWER = row(1536, "L1-D2-S", 110, "1510", "0.5")


def write(folder: Path, *rows: dict[str, str], end: str = "\n", quote: str = "") -> Path:
    path = folder / "GDSC2_public_raw_data_27Oct23.csv"
    lines = [RAW_COLUMNS, *(one.values() for one in rows)]
    cells = [[cell if cell == "NA" else f"{quote}{cell}{quote}" for cell in line] for line in lines]
    path.write_text("".join(",".join(line) + end for line in cells))
    return path


def read(
    folder: Path, *rows: dict[str, str], negative_control: str = "NC-1", end: str = "\n", quote: str = ""
) -> Wells:
    path = write(folder, *rows, end=end, quote=quote)
    wells = read_wells(path, dataset_id="gdsc2", negative_control=negative_control)
    check_reported(wells.measurements, ReportedMeasurement, dataset_id="gdsc2")
    return wells


@pytest.mark.parametrize(("end", "quote"), [("\n", ""), ("\r\n", ""), ("\n", '"')])
def test_a_treated_well_is_a_measurement(tmp_path: Path, end: str, quote: str) -> None:
    wells = read(tmp_path, *CONTROLS, TREATED, LOWER, end=end, quote=quote)
    first, second = wells.measurements.iter_rows(named=True)
    assert {name: value for name, value in first.items() if value is not None} == {
        "context_reported": "T-T",
        "compound_reported": "1510",
        "experiment": "2",
        "replicate": "500",
        "plate": "018_996_0005436",
        "well": "B02",
        "dose": "2.0",
        "dose_unit": "uM",
        "time": "3",
        "time_unit": "days",
        "viability": 0.5,
        "n_wells": 1,
        "is_low_quality": False,
    }
    assert (second["experiment"], second["well"], second["viability"]) == ("2", "AF48", 1.0)


def test_the_other_negative_control_is_never_taken_instead(tmp_path: Path) -> None:
    assert read(tmp_path, *CONTROLS, TREATED).plates["control"].item() == 110
    assert read(tmp_path, *CONTROLS, TREATED, negative_control="NC-0").plates["control"].item() == 999
    with pytest.raises(
        BadInputError, match=r"no plate has blanks \(tag B\) and negative controls \(tag NC-2\)"
    ):
        read(tmp_path, *CONTROLS, TREATED, negative_control="NC-2")


@pytest.mark.parametrize(("last", "well"), [("96", "E02"), ("384", "C02"), ("1536", "B02")])
def test_the_format_of_a_layout_follows_from_its_largest_position(
    tmp_path: Path, last: str, well: str
) -> None:
    # Another plate of the layout has the largest position.
    other = [one | {"BARCODE": "q", "SCAN_ID": "8"} for one in (*CONTROLS, row(last, "UN-USED", 1))]
    assert (
        read(tmp_path, *CONTROLS, row(50, "L1-D1-S", 60, "1", "2"), *other).measurements["well"].item()
        == well
    )


def test_series_of_one_drug_with_two_top_doses_are_two_experiments(tmp_path: Path) -> None:
    second = [row(60, "L32-D1-S", 60, "1510", "10.0000001"), row(61, "L32-D2-S", 60, "1510", "2.0")]
    measured = read(tmp_path, *CONTROLS, TREATED, LOWER, *second).measurements
    assert measured.select("dose", "experiment").rows() == [
        ("2.0", "2"),
        ("0.5", "2"),
        ("10.0000001", "10"),
        ("2.0", "10"),
    ]


def test_a_plate_that_lacks_the_top_dose_belongs_to_the_series_of_its_layout(tmp_path: Path) -> None:
    other = [one | {"BARCODE": "q", "SCAN_ID": "8"} for one in (*CONTROLS, LOWER)]
    assert set(read(tmp_path, *CONTROLS, TREATED, *other).measurements["experiment"]) == {"2"}


def test_a_failed_well_is_kept_as_low_quality_and_a_failed_control_is_not_used(tmp_path: Path) -> None:
    failed = [row(50, "FAIL", 60), row(4, "NC-1", 5000), row(4, "FAIL", 5000)]
    wells = read(tmp_path, *CONTROLS, TREATED, LOWER, *failed)
    assert wells.measurements["is_low_quality"].to_list() == [True, False]
    assert wells.measurements["viability"].to_list() == [0.5, 1.0]
    assert wells.account.noted["wells marked FAIL"] == 1


NO_MEASUREMENT = {
    "blank": row(9, "B", 10),
    "negative control NC-1": row(9, "NC-1", 110),
    "negative control of the kind that is not used": row(9, "NC-0", 1),
    "drug in a combination": row(9, "L3-D2-C", 1, "5", "1"),
    "anchor drug alone": row(9, "A1-S", 1, "5", "1"),
    "positive control": row(9, "PC1-D1-S", 1, "5", "1"),
    "backfill marker": row(9, "DMSO", 1),
    "unused well": row(9, "UN-USED", 1),
    "seeding control": row(9, "SC", 1),
    "failure marker": row(9, "FAIL", 1),
    "unknown tag": row(9, "L3-D2", 1, "5", "1"),
    "treatment tag without drug or dose": row(9, "L3-D2-S", 1, "5"),
    "no intensity": row(9, "L3-D2-S", "NA", "5", "1"),
    "same treatment of a well under another tag": row(50, "R1-D1-S", 60, "1510", "2.0"),
    "plate without blanks": row(9, "L3-D2-S", 1, "5", "1", BARCODE="q", SCAN_ID="8"),
}


@pytest.mark.parametrize("reason", NO_MEASUREMENT)
def test_every_row_that_is_no_measurement_is_counted_with_its_reason(tmp_path: Path, reason: str) -> None:
    plain = read(tmp_path, *CONTROLS, TREATED)
    more = read(tmp_path, *CONTROLS, TREATED, NO_MEASUREMENT[reason])
    assert more.measurements.equals(plain.measurements)
    assert (more.account.n_in, more.account.n_out) == (5, 1)
    assert more.account.dropped[reason] == plain.account.dropped.get(reason, 0) + 1


@pytest.mark.parametrize("second", [row(50, "L2-D1-S", 60, "7", "1"), row(50, "A1-C", 60, "7", "1")])
def test_a_well_with_two_drugs_is_no_measurement(tmp_path: Path, second: dict[str, str]) -> None:
    wells = read(tmp_path, *CONTROLS, TREATED, LOWER, second)
    assert wells.measurements["well"].to_list() == ["AF48"]
    assert wells.account.dropped["well with several drugs"] == 1 + second["TAG"].startswith("L")


def test_plates_without_scale_are_named(tmp_path: Path) -> None:
    other = [one | {"BARCODE": "q", "SCAN_ID": "8"} for one in (*CONTROLS[1:], TREATED)]
    wells = read(tmp_path, *CONTROLS, TREATED, *other)
    assert wells.plates.select("plate", "fault").rows() == [
        ("018_996_0005436", None),
        ("q", "plate without blanks"),
    ]
    assert wells.account.noted["plate without blanks: q"] == 1


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row(51, "L1-D2-S", "high", "1", "1"), "row 6, column INTENSITY: not a number: 'high'"),
        (row(51, "L1-D2-S", "inf", "1", "1"), "row 6, column INTENSITY: not a number: 'inf'"),
        (row(51, "L1-D2-S", 1, "1", "1uM"), "row 6, column CONC: not a dose: '1uM'"),
        (row(51, "L1-D2-S", 1, "1", "-1"), "row 6, column CONC: not a dose: '-1'"),
        (row("B7", "L1-D2-S", 1, "1", "1"), "row 6, column POSITION: not a position: 'B7'"),
        (row(0, "L1-D2-S", 1, "1", "1"), "row 6, column POSITION: not a position: '0'"),
        (row(1537, "UN-USED", 1), "column POSITION: not a position of a plate of 1536 wells"),
        (row(51, "NA", 1), "row 6, column TAG: a missing value"),
        (row(51, "B", 1, CELL_ID="NA"), "row 6, column CELL_ID: a missing value"),
        (row(51, "B", 1, BARCODE="NA"), "row 6, column BARCODE: a missing value"),
        (row(51, "B", 1, CELL_LINE_NAME="TT"), "row 2, 6, column BARCODE: more than once"),
        (row(51, "B", 1, SCAN_ID="8"), "row 2, 6, column BARCODE: more than once"),
        (row(50, "L9-D1-S", 61, "1510", "2"), "row 5, column intensity: a well with two intensities"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, bad: dict[str, str], message: str) -> None:
    with pytest.raises(BadInputError) as error:
        read(tmp_path, *CONTROLS, TREATED, bad)
    assert message in str(error.value)
    assert str(error.value).startswith("gdsc2, file GDSC2_public_raw_data_27Oct23.csv")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",CONC,", ",CONCENTRATION,", "column CONC: the column is missing"),
        (",ASSAY,", ",CONC,", "column CONC: the column is repeated"),
        (",2.0,60\n", ",2.0\n", "row 5, column INTENSITY: nothing, or a line with too few fields"),
        (",2.0,60\n", ",2.0,60,1\n", "cannot be read as a table"),
        (",2.0,60\n", ",2.0,6", "the last line is not ended"),
        ("T-T", "T\udce9T", "cannot be read as a table"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write(tmp_path, *CONTROLS, TREATED)
    path.write_bytes(path.read_text().replace(old, new).encode(errors="surrogateescape"))
    with pytest.raises(BadInputError, match=message):
        read_wells(path, dataset_id="gdsc2", negative_control="NC-1")


@pytest.mark.parametrize(("content", "message"), [("", "empty"), (",".join(RAW_COLUMNS) + "\n", "no rows")])
def test_a_file_without_rows_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = write(tmp_path)
    path.write_text(content)
    with pytest.raises(BadInputError, match=message):
        read_wells(path, dataset_id="gdsc2", negative_control="NC-1")


def test_names_are_those_of_drugs_alone_and_of_all_lines(tmp_path: Path) -> None:
    path = write(tmp_path, *CONTROLS, TREATED, row(9, "A1-S", 1, "5", "1"), row(10, "PC-1", 1, "6", "1"))
    drugs, lines = read_names(path, dataset_id="gdsc2")
    assert drugs.rows() == [("1510", 5)]
    assert lines.rows() == [("T-T", "SIDM00322", "99", 2)]


tags = st.one_of(
    st.sampled_from([one["TAG"] for one in NO_MEASUREMENT.values()]),
    st.from_regex(r"[LRAP]C?[0-9]{1,2}(-D[0-9])?(-[SC])?", fullmatch=True),
    st.text("ABCDLNPRS-019", min_size=1, max_size=8).filter(lambda tag: tag != "NA"),
)


@given(st.lists(st.tuples(st.integers(4, 60), tags, st.sampled_from(["NA", "1", "2"])), max_size=12))
def test_every_row_has_one_fate_whatever_its_tag(
    tmp_path_factory: pytest.TempPathFactory, rows: list
) -> None:
    others = [row(place, tag, 50, drug, "1" if drug != "NA" else "NA") for place, tag, drug in rows]
    wells = read(tmp_path_factory.mktemp("wells"), *CONTROLS, *others)
    assert wells.account.n_in == len(CONTROLS) + len(rows)
    assert wells.account.n_out == wells.measurements.height
    assert wells.measurements.select("plate", "well").is_unique().all()
