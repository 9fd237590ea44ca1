import random
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandera.config import ValidationDepth, config_context

from etl.errors import BadInputError
from etl.harmonize.screens import WITHOUT_MOLARITY, harmonize_curves, harmonize_measurements
from etl.sources import nci60
from etl.sources.base import AccountedScreen
from etl.sources.nci60 import NUMBERED, WITHOUT_PERCENT, Nci60
from schemas.core.viability import VIABILITY
from schemas.reported import ReportedCompound, ReportedContext, ReportedCurve, ReportedMeasurement

ROW = {
    "RELEASE_DATE": "20240101",
    "EXPID": "0303RS52",
    "PREFIX": "S",
    "NSC": "740",
    "CONCENTRATION_UNIT": "M",
    "LOG_HI_CONCENTRATION": "-4",
    "CONCENTRATION": "-5",
    "PANEL_NUMBER": "9",
    "CELL_NUMBER": "13",
    "PANEL_NAME": "Renal Cancer",
    "CELL_NAME": "LINE-1",
    "PANEL_CODE": "REN",
    "COUNT_GIPRCNT": "1",
    "AVERAGE_GIPRCNT": "-20.5",
    "STDDEV_GIPRCNT": "0",
    "COUNT_PTC": "1",
    "AVERAGE_PTC": "62.5",
    "STDDEV_PTC": "0",
}
NO_PERCENT = {"COUNT_PTC": "", "AVERAGE_PTC": "", "STDDEV_PTC": ""}


def line(change: Mapping[str, str] | None = None) -> str:
    return ",".join((ROW | dict(change or {})).values())


def text(*changes: Mapping[str, str]) -> str:
    return "".join(f"{each}\n" for each in (",".join(ROW), *map(line, changes)))


def write(folder: Path, content: str | bytes, name: str = "DOSERESP.zip") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("DOSERESP.csv", data)
    else:
        path.write_bytes(data)
    return path


def validated(model: type[pa.DataFrameModel], rows: pl.LazyFrame) -> pl.DataFrame:
    with config_context(validation_depth=ValidationDepth.SCHEMA_AND_DATA):
        return model.validate(rows.collect())


def measured(folder: Path) -> pl.DataFrame:
    return validated(ReportedMeasurement, pl.concat(Nci60().measurements(folder)).lazy())


def test_a_row_is_one_measurement(tmp_path: Path) -> None:
    write(tmp_path, text({}))
    assert measured(tmp_path).to_dicts() == [
        {
            "context_reported": "LINE-1",
            "compound_reported": "NSC740",
            "experiment": "0303RS52",
            "replicate": "-4",
            "plate": "",
            "well": "",
            "dose": "-5",
            "dose_unit": "log10 M",
            "time": "48",
            "time_unit": "h",
            "viability": 0.625,
            "viability_sd": None,
            "n_wells": 1,
            "growth_rate": None,
            "is_low_quality": False,
        }
    ]


@pytest.mark.parametrize("name", ["DOSERESP.zip", "DOSERESP.csv", "folder/DOSERESP.csv"])
def test_the_archive_and_the_unpacked_file_are_read_alike(tmp_path: Path, name: str) -> None:
    write(tmp_path, text({}, {"NSC": "741"}), name)
    assert measured(tmp_path)["compound_reported"].to_list() == ["NSC740", "NSC741"]


def test_both_at_once_are_refused(tmp_path: Path) -> None:
    write(tmp_path, text({}))
    write(tmp_path, text({}), "DOSERESP.csv")
    with pytest.raises(BadInputError, match="2 files match"):
        measured(tmp_path)


def test_a_missing_file_names_its_origin(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no file matches .*wiki\.nci\.nih\.gov.*DOSERESP\.zip"):
        measured(tmp_path)


def test_the_cancelled_experiments_are_another_file(tmp_path: Path) -> None:
    write(tmp_path, text({"NSC": "1"}), "DOSERESP_Cancelled.csv")
    write(tmp_path, text({}), "DOSERESP.csv")
    assert measured(tmp_path)["compound_reported"].to_list() == ["NSC740"]


def test_doses_keep_their_text_and_say_their_unit(tmp_path: Path) -> None:
    units = [{"CONCENTRATION_UNIT": unit, "CONCENTRATION": "-5.3000"} for unit in "MuV"]
    write(tmp_path, text(*({**one, "NSC": str(n)} for n, one in enumerate(units, start=1))))
    rows = measured(tmp_path)
    assert rows.select("dose", "dose_unit").rows() == [
        ("-5.3000", "log10 M"),
        ("-5.3000", "log10 ug/ml"),
        ("-5.3000", "log10 v/v"),
    ]


def test_a_deviation_counts_where_there_are_several_determinations(tmp_path: Path) -> None:
    write(
        tmp_path,
        text(
            {"COUNT_PTC": "2", "STDDEV_PTC": "5"},
            {"NSC": "2", "COUNT_PTC": "2", "STDDEV_PTC": "0"},
            {"NSC": "3", "COUNT_PTC": "1", "STDDEV_PTC": "0"},
            {"NSC": "4", "COUNT_PTC": "0", "STDDEV_PTC": ""},
        ),
    )
    assert measured(tmp_path).select("n_wells", "viability_sd").rows() == [
        (2, 0.05),
        (2, 0.0),
        (1, None),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("experiment", "time"),
    [
        ("8812NS01", "48"),
        ("9001NS01", "48"),
        ("0001MD02", "48"),
        ("2312RS99", "48"),
        ("2401RS01", None),
        ("2604RS01", None),
        ("0013RS01", None),
        ("AVGDATA", None),
    ],
)
def test_the_time_is_told_where_no_other_screen_was_run(
    tmp_path: Path, experiment: str, time: str | None
) -> None:
    write(tmp_path, text({"EXPID": experiment}))
    unit = None if time is None else "h"
    assert measured(tmp_path).select("experiment", "time", "time_unit").row(0) == (experiment, time, unit)


def test_viability_is_never_clipped(tmp_path: Path) -> None:
    write(tmp_path, text({"AVERAGE_PTC": "-1.5"}, {"NSC": "2", "AVERAGE_PTC": "412.25"}))
    assert measured(tmp_path)["viability"].to_list() == pytest.approx([-0.015, 4.1225])


def test_a_row_without_percent_of_control_is_counted_and_no_measurement(tmp_path: Path) -> None:
    write(tmp_path, text({}, {"NSC": "2"} | NO_PERCENT, {"NSC": "3"} | NO_PERCENT))
    assert measured(tmp_path)["compound_reported"].to_list() == ["NSC740"]
    assert isinstance(Nci60(), AccountedScreen)
    account = Nci60().account(tmp_path)
    assert (account.n_in, account.n_out, account.dropped) == (3, 1, {WITHOUT_PERCENT: 2})
    compounds = Nci60().compounds(tmp_path).collect()
    assert compounds["compound_reported"].to_list() == ["NSC2", "NSC3", "NSC740"]


def test_where_every_row_has_it_nothing_is_accounted_for(tmp_path: Path) -> None:
    write(tmp_path, text({}))
    account = Nci60().account(tmp_path)
    assert (account.n_in, account.n_out, account.dropped, account.noted) == (1, 1, {}, {})


def test_two_series_of_one_experiment_are_replicates(tmp_path: Path) -> None:
    write(tmp_path, text({}, {"LOG_HI_CONCENTRATION": "-4.3"}))
    assert measured(tmp_path)["replicate"].to_list() == ["-4", "-4.3"]


def test_rows_that_are_alike_are_numbered_over_all_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alike = [{"CELL_NUMBER": str(n)} for n in range(5)]
    write(tmp_path, text(alike[0], {"NSC": "2"}, *alike[1:4], {"NSC": "3"} | NO_PERCENT, alike[4]))
    expected = [("NSC740", "-4"), ("NSC2", "-4"), *(("NSC740", f"-4#{n}") for n in range(2, 6))]
    assert measured(tmp_path).select("compound_reported", "replicate").rows() == expected
    monkeypatch.setattr(nci60, "BLOCK_BYTES", 150)
    assert len(list(Nci60().measurements(tmp_path))) > 2
    assert measured(tmp_path).select("compound_reported", "replicate").rows() == expected


def test_rows_without_percent_do_not_make_others_repeated(tmp_path: Path) -> None:
    write(tmp_path, text(NO_PERCENT, {}))
    assert measured(tmp_path)["replicate"].to_list() == ["-4"]


def test_a_number_of_another_series_is_another_compound(tmp_path: Path) -> None:
    write(tmp_path, text({}, {"PREFIX": "X"}))
    compounds = validated(ReportedCompound, Nci60().compounds(tmp_path))
    assert compounds.select("compound_reported", "vendor_id").rows() == [("NSC740",) * 2, ("X-740",) * 2]
    assert set(measured(tmp_path)["compound_reported"]) == {"NSC740", "X-740"}


def test_labels_are_as_written_but_for_outer_blanks(tmp_path: Path) -> None:
    changes = [
        {"CELL_NAME": "LINE-1  "},
        {"CELL_NAME": " LINE-1", "NSC": "2", "PANEL_NAME": "Renal Cancer "},
        {"CELL_NAME": "Line-1/ATCC", "PANEL_NAME": ""},
        {"CELL_NAME": "LINE-2", "PANEL_NAME": "Melanoma"},
        {"CELL_NAME": "LINE-2", "PANEL_NAME": "Breast Cancer", "NSC": "2"},
    ]
    write(tmp_path, text(*changes))
    contexts = validated(ReportedContext, Nci60().contexts(tmp_path))
    assert contexts.select("context_reported", "tissue").rows() == [
        ("LINE-1", "Renal Cancer"),
        ("LINE-2", "Breast Cancer; Melanoma"),
        ("Line-1/ATCC", None),
    ]
    assert set(measured(tmp_path)["context_reported"]) == set(contexts["context_reported"])


def test_no_curves_are_published_in_the_file(tmp_path: Path) -> None:
    write(tmp_path, text({}))
    assert validated(ReportedCurve, Nci60().curves(tmp_path)).height == 0


def test_quotes_and_windows_line_ends_mean_nothing(tmp_path: Path) -> None:
    plain = text({}, NO_PERCENT | {"NSC": "2"})
    quoted = "".join(",".join(f'"{cell}"' for cell in row.split(",")) + "\r\n" for row in plain.splitlines())
    write(tmp_path / "plain", plain)
    write(tmp_path / "quoted", "\ufeff" + quoted)
    assert measured(tmp_path / "quoted").equals(measured(tmp_path / "plain"))
    assert Nci60().account(tmp_path / "quoted").dropped == {WITHOUT_PERCENT: 1}


@pytest.mark.parametrize("name", ["LINE, THE FIRST", 'LINE "1"', '"1" LINE'])
def test_a_name_may_hold_separators_and_quotes(tmp_path: Path, name: str) -> None:
    cell = '"' + name.replace('"', '""') + '"'
    write(tmp_path, text({"CELL_NAME": cell}, {"NSC": "2"}))
    assert measured(tmp_path)["context_reported"].to_list() == [name, "LINE-1"]


def test_columns_may_stand_in_any_order_beside_others(tmp_path: Path) -> None:
    names = [*ROW, "NEW", "NEW"]
    random.Random(1).shuffle(names)
    cells = ",".join(ROW.get(name, "x") for name in names)
    write(tmp_path / "other", f"{','.join(names)}\n{cells}\n")
    write(tmp_path / "usual", text({}))
    assert measured(tmp_path / "other").equals(measured(tmp_path / "usual"))


def test_a_changed_file_is_surveyed_anew(tmp_path: Path) -> None:
    write(tmp_path, text({}))
    assert Nci60().compounds(tmp_path).collect().height == 1
    write(tmp_path, text({}, {"NSC": "2"}))
    assert Nci60().compounds(tmp_path).collect().height == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"AVERAGE_PTC": "high"}, "row 4, column AVERAGE_PTC: not a number: 'high' (1 such)"),
        ({"AVERAGE_PTC": "inf"}, "row 4, column AVERAGE_PTC: not a number: 'inf'"),
        ({"CONCENTRATION": "-"}, "row 4, column CONCENTRATION: not a number: '-'"),
        ({"CONCENTRATION": ""}, "row 4, column CONCENTRATION: a missing value"),
        ({"CELL_NAME": "  "}, "row 4, column CELL_NAME: a missing value"),
        ({"EXPID": ""}, "row 4, column EXPID: a missing value"),
        ({"LOG_HI_CONCENTRATION": ""}, "row 4, column LOG_HI_CONCENTRATION: a missing value"),
        ({"NSC": "7a"}, "row 4, column NSC: not a whole number: '7a'"),
        ({"CONCENTRATION_UNIT": "m"}, "row 4, column CONCENTRATION_UNIT: not one of M, u, V: 'm'"),
        ({"CONCENTRATION_UNIT": ""}, "row 4, column CONCENTRATION_UNIT: not one of M, u, V"),
        ({"STDDEV_PTC": "-1"}, "row 4, column STDDEV_PTC: a negative deviation: -1.0"),
        ({"COUNT_PTC": "1.5"}, "row 4, column COUNT_PTC: not a whole number: '1.5'"),
        ({"COUNT_PTC": "-1"}, "row 4, column COUNT_PTC: a negative number: -1"),
        ({"STDDEV_PTC": "0,0"}, "row 4: 19 fields where the header has 18"),
        ({"PANEL_NAME": '"Renal, Cancer'}, "row 4: not readable as a table"),
    ],
)
def test_a_bad_row_is_named_whatever_block_it_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], message: str
) -> None:
    write(tmp_path, text({"NSC": "1"}, {"NSC": "2"} | NO_PERCENT, change))
    for block_bytes in (nci60.BLOCK_BYTES, 1):
        monkeypatch.setattr(nci60, "BLOCK_BYTES", block_bytes)
        with pytest.raises(BadInputError) as error:
            measured(tmp_path)
        assert message in str(error.value)
        assert str(error.value).startswith("nci60, file DOSERESP.zip")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        (",".join(ROW) + "\n", "a header and no rows"),
        (text({}).replace("AVERAGE_PTC", "AVERAGE_GI"), "column AVERAGE_PTC: the column is missing"),
        (text({}).replace("PANEL_CODE", "NSC"), "column NSC: the column is repeated"),
        (text({}) + line().rsplit(",", 1)[0] + "\n", "row 3: 17 fields where the header has 18"),
        (text({}) + line() + ",0\n" + line().rsplit(",", 1)[0] + "\n", "row 3: 19 fields"),
        (text({}) + "\n", "row 3: 0 fields where the header has 18"),
        (text({}).encode().replace(b"LINE-1", b"LINE-\xb5"), "row 2: text that is not UTF-8"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    write(tmp_path, content)
    with pytest.raises(BadInputError) as error:
        measured(tmp_path)
    assert message in str(error.value)


def test_an_unpacked_file_whose_end_is_missing_is_refused(tmp_path: Path) -> None:
    write(tmp_path, text({}, {"NSC": "2"})[:-1], "DOSERESP.csv")
    with pytest.raises(BadInputError, match="row 3: the last line is not ended: the file is truncated"):
        measured(tmp_path)


def test_in_an_archive_the_last_line_needs_no_end(tmp_path: Path) -> None:
    write(tmp_path, text({}, {"NSC": "2"})[:-1])
    assert measured(tmp_path).height == 2


@pytest.mark.parametrize("damage", [lambda data: data[:-40], lambda data: data[: len(data) // 2]])
def test_a_truncated_archive_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = write(tmp_path, text(*({"NSC": str(n)} for n in range(1000))))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadInputError, match=r"DOSERESP\.zip: no zip archive, or it is truncated"):
        measured(tmp_path)


CELLS = st.fixed_dictionaries(
    {
        "EXPID": st.sampled_from(["0303RS52", "1109NS81"]),
        "NSC": st.integers(1, 3).map(str),
        "CONCENTRATION": st.sampled_from(["-4", "-5", "-5.5"]),
        "CELL_NAME": st.sampled_from(["LINE-1", "LINE-1 ", "LINE-2"]),
        "AVERAGE_PTC": st.one_of(st.just(""), st.floats(-50, 400).map(lambda value: f"{value:.4f}")),
    }
)


@given(st.lists(CELLS, min_size=1, max_size=12), st.sampled_from([1, 200, 1000, 10_000]))
@settings(max_examples=40)
def test_every_row_comes_out_once_under_a_key_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]], block_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    write(folder, text(*rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nci60, "BLOCK_BYTES", block_bytes)
        found = pl.concat(Nci60().measurements(folder))
        account = Nci60().account(folder)
    valued = [row for row in rows if row["AVERAGE_PTC"]]
    expected = [float(row["AVERAGE_PTC"]) / 100 for row in valued]
    assert found["viability"].to_list() == pytest.approx(expected, rel=1e-12)
    assert (account.n_in, account.n_out) == (len(rows), len(valued))
    assert account.noted.get(NUMBERED, 0) == found["replicate"].str.contains("#").sum()
    key = ("context_reported", "compound_reported", "experiment", "replicate", "plate", "well", "dose")
    assert found.select(key).is_unique().all()


def test_doses_without_moles_are_dropped_and_counted_downstream(tmp_path: Path) -> None:
    doses = ("-8", "-7", "-6", "-5", "-4")
    molar = [{"CONCENTRATION": dose, "LOG_HI_CONCENTRATION": top} for dose in doses for top in ("-4", "-3.9")]
    others = [
        {"CONCENTRATION_UNIT": unit, "NSC": "9", "CONCENTRATION": dose} for unit in "uV" for dose in "12"
    ]
    write(tmp_path, text(*molar, *others))
    source = Nci60()
    names = {
        "compound_names": source.compounds(tmp_path)
        .select("compound_reported", dataset_id=pl.lit("nci60"), compound_id="compound_reported")
        .collect(),
        "context_names": source.contexts(tmp_path)
        .select("context_reported", dataset_id=pl.lit("nci60"), context_id="context_reported")
        .collect(),
    }
    rows, account = harmonize_measurements(measured(tmp_path), dataset_id="nci60", **names)
    assert (account.n_in, account.n_out, account.dropped) == (14, 10, {WITHOUT_MOLARITY: 4})
    assert sorted(set(rows["dose_um"])) == [0.01, 0.1, 1, 10, 100]
    assert rows.select(VIABILITY.primary_key).is_unique().all()
    curves, _ = harmonize_curves(source.curves(tmp_path).collect(), rows, dataset_id="nci60", **names)
    assert sorted(curves["replicate_level"]) == ["experiment", "pooled", "replicate", "replicate"]


@pytest.mark.realdata
def test_the_published_file_has_its_known_counts(realdata: Path) -> None:
    raw = realdata / "raw" / "nci60"
    if not list(raw.glob("DOSERESP.*")):
        pytest.skip("the published file is not among the real ones")
    survey = Nci60()._survey(raw)
    assert survey.n_rows == 24_492_523
    assert Nci60().contexts(raw).collect().height == 163
    assert survey.n_without_percent >= 27_949
    units = pl.concat(block.group_by("dose_unit").len() for block in Nci60().measurements(raw))
    counts = dict(units.group_by("dose_unit").agg(pl.col("len").sum()).iter_rows())
    assert counts["log10 M"] == 24_280_072 - 27_949
    assert sum(counts.values()) == survey.n_rows - survey.n_without_percent
