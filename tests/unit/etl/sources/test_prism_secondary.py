"""PRISM's secondary screen: fold changes and curves as published, what cannot be read refused by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import BadInputError
from etl.harmonize.reference_folder import EMBEDDED_ONLY
from etl.preflight import check_input
from etl.simulate import prism_secondary as simulated_prism
from etl.simulate.study import Study
from etl.sources.base import AccountedScreen
from etl.sources.prism_secondary import ALIASES, SCREEN_RANK, PrismSecondary
from etl.validation import check_reported
from schemas.reported import ReportedCompound, ReportedContext, ReportedCurve, ReportedMeasurement

ID = "prism_secondary"
LINES = "secondary-screen-cell-line-info.csv"
CURVES = "secondary-screen-dose-response-curve-parameters.csv"
WELLS = "secondary-screen-logfold-change.csv"
TREATMENTS = "secondary-screen-replicate-treatment-info.csv"
COLLAPSED = "secondary-screen-replicate-collapsed-logfold-change.csv"
COLLAPSED_TREATMENTS = "secondary-screen-replicate-collapsed-treatment-info.csv"
FAILED = "PR500_ACH-000219_FAILED_STR"
KEY = ["context_reported", "compound_reported", "experiment", "replicate", "plate", "well", "dose"]
VORINOSTAT = "BRD-K81418486-001-02-3"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / ID
    folder.mkdir()
    simulated_prism.write(folder, Study(3))
    return folder


@pytest.fixture
def raw(simulated: Path, tmp_path: Path) -> Path:
    folder = tmp_path / ID
    folder.mkdir()
    for path in simulated.glob("*.csv"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def measured(raw: Path) -> pl.DataFrame:
    blocks = list(PrismSecondary().measurements(raw))
    return check_reported(pl.concat(blocks), ReportedMeasurement, dataset_id=ID)


def curves(raw: Path) -> pl.DataFrame:
    return check_reported(PrismSecondary().curves(raw), ReportedCurve, dataset_id=ID)


def alter(path: Path, change: Callable[[list[list[str]]], None]) -> None:
    """Change the cells of a file whose cells hold no commas."""
    cells = [line.split(",") for line in path.read_text().splitlines()]
    change(cells)
    path.write_text("\n".join(",".join(row) for row in cells) + "\n")


def test_it_is_a_screen_that_passes_as_a_whole(raw: Path) -> None:
    assert isinstance(PrismSecondary(), AccountedScreen)
    check_input(PrismSecondary(), raw, EMBEDDED_ONLY)


def test_viability_is_two_to_the_fold_change_and_never_capped(raw: Path) -> None:
    alter(raw / WELLS, lambda cells: cells[1].__setitem__(1, "1.5"))
    first = measured(raw).row(0, named=True)
    assert first["viability"] == pytest.approx(2**1.5)
    assert (first["dose_unit"], first["time"], first["experiment"]) == ("uM", "120", "MTS006")
    assert first["replicate"] == first["plate"] == "PMTS006_X1"


def test_cells_of_controls_and_without_a_value_are_no_measurements(raw: Path) -> None:
    cells = [line.split(",")[1:] for line in (raw / WELLS).read_text().splitlines()[1:]]
    n_controls = simulated_prism.N_REPLICATES * len(simulated_prism.CONTROLS)
    n_empty = sum(cell == "" for row in cells for cell in row)
    rows = measured(raw)
    account = PrismSecondary().account(raw)
    assert account.n_in == len(cells) * len(cells[0])
    assert account.dropped == {"wells of controls": len(cells) * n_controls, "no value": n_empty}
    assert account.n_out == rows.height
    n_failed = rows["is_low_quality"].sum()
    assert account.noted == {"of lines that failed their identity check": n_failed}
    assert n_empty > 0
    assert n_failed > 0


def test_a_line_that_failed_its_identity_check_is_kept_and_marked(raw: Path) -> None:
    rows = measured(raw)
    assert set(rows.filter("is_low_quality")["context_reported"]) == {FAILED}
    contexts = check_reported(PrismSecondary().contexts(raw), ReportedContext, dataset_id=ID)
    named = {row["context_reported"]: (row["model_id"], row["name"]) for row in contexts.to_dicts()}
    assert named[FAILED] == (None, None)
    assert named["PR500_ACH-000219"] == ("ACH-000219", "A375_SKIN")
    assert set(rows["context_reported"]) == set(named)


def test_a_line_said_not_to_have_passed_is_marked_under_its_own_name(raw: Path) -> None:
    alter(raw / LINES, lambda cells: cells[1].__setitem__(-1, "False"))
    marked = measured(raw).filter("is_low_quality")["context_reported"]
    assert set(marked) == {FAILED, "PR500_ACH-000019"}
    contexts = dict(
        PrismSecondary().contexts(raw).select("context_reported", "model_id").collect().iter_rows()
    )
    assert contexts["PR500_ACH-000019"] == "ACH-000019"


def test_a_line_without_a_model_id_goes_by_its_ccle_name(raw: Path) -> None:
    alter(raw / LINES, lambda cells: cells[1].__setitem__(1, "NA"))
    contexts = dict(
        PrismSecondary().contexts(raw).select("context_reported", "model_id").collect().iter_rows()
    )
    assert contexts["PR500_ACH-000019"] == "MCF7_BREAST"


def test_a_line_of_two_pools_is_two_labels_of_one_model(raw: Path) -> None:
    second, first = simulated_prism.SECOND_POOL
    contexts = dict(
        PrismSecondary().contexts(raw).select("context_reported", "model_id").collect().iter_rows()
    )
    assert contexts[first] == contexts[second] == "ACH-000681"
    rows = measured(raw)
    compounds = {
        label: set(rows.filter(context_reported=label)["compound_reported"]) for label in (first, second)
    }
    assert compounds[first]
    assert compounds[second]
    assert not compounds[first] & compounds[second]


def test_a_compound_twice_on_a_plate_is_two_replicates(raw: Path) -> None:
    rows = measured(raw)
    assert rows.select(KEY).is_unique().all()
    again = rows.filter(pl.col("replicate").str.contains("#"))
    assert set(again["compound_reported"]) == {VORINOSTAT}
    assert set(again["replicate"]) == {f"PMTS006_X{number}#2" for number in (1, 2, 3)}
    assert set(again["plate"]) == {f"PMTS006_X{number}" for number in (1, 2, 3)}


def test_all_screens_of_a_compound_are_kept(raw: Path) -> None:
    trametinib = curves(raw).filter(pl.col("context_reported") == "PR500_ACH-000681")
    found = trametinib.group_by("compound_reported").agg(pl.col("experiment").sort())
    assert sorted(found["experiment"].to_list())[-1] == ["MTS006", "MTS010"]
    assert set(curves(raw)["experiment"]) <= set(SCREEN_RANK)


def test_compounds_have_names_structures_and_registry_ids(raw: Path) -> None:
    compounds = check_reported(PrismSecondary().compounds(raw), ReportedCompound, dataset_id=ID)
    row = compounds.filter(compound_reported=VORINOSTAT).row(0, named=True)
    assert (row["name"], row["vendor_id"]) == ("vorinostat", VORINOSTAT)
    assert row["smiles"]
    assert compounds.height == len(simulated_prism.NAMES)


def test_published_curves_are_on_one_scale(raw: Path) -> None:
    rows = curves(raw)
    assert (rows["mean_viability"] == rows["auc"]).all()
    assert rows["mean_viability"].is_between(0, 1).all()
    assert rows["ic50_um"].null_count() > 0
    assert set(rows["replicate_level"]) == {"experiment"}


def test_a_dose_that_cannot_be_is_null_and_flagged(raw: Path) -> None:
    def change(cells: list[list[str]]) -> None:
        cells[1][cells[0].index("ec50")] = "Inf"
        cells[2][cells[0].index("ec50")] = "0"

    alter(raw / CURVES, change)
    rows = curves(raw)
    assert rows["ec50_um"][:2].to_list() == [None, None]
    assert rows["flags"][:3].to_list() == [["fit_not_finite_reported"]] * 2 + [[]]


@pytest.mark.parametrize("form", [1, -1])
def test_the_slope_is_positive_where_viability_falls_whichever_form_the_file_has(
    raw: Path, simulated: Path, form: int
) -> None:
    def change(cells: list[list[str]]) -> None:
        slope = cells[0].index("slope")
        for row in cells[1:]:
            row[slope] = str(form * float(row[slope]))

    alter(raw / CURVES, change)
    truth = pl.read_parquet(simulated / "truth" / "curves.parquet")
    both = curves(raw).join(truth, on=["context_reported", "compound_reported"], suffix="_true")
    assert both.height > 0
    assert (both["slope"] / both["slope_true"] - 1).abs().max() < 1e-5


def test_without_any_ic50_slopes_are_as_published(raw: Path) -> None:
    def change(cells: list[list[str]]) -> None:
        for row in cells[1:]:
            row[cells[0].index("ic50")] = "NA"
            row[cells[0].index("slope")] = "-1.5"

    alter(raw / CURVES, change)
    assert set(curves(raw)["slope"]) == {-1.5}


def test_a_fit_that_is_not_a_number_is_null(raw: Path) -> None:
    def change(cells: list[list[str]]) -> None:
        cells[1][cells[0].index("auc")] = "NaN"
        cells[2][cells[0].index("lower_limit")] = "-Inf"

    alter(raw / CURVES, change)
    first, second = curves(raw).head(2).to_dicts()
    assert (first["auc"], first["mean_viability"], first["auc_kind"], first["flags"]) == (
        None,
        None,
        None,
        [],
    )
    assert (second["e_inf"], second["flags"]) == (None, ["fit_not_finite_reported"])


def test_collapsed_fold_changes_are_read_where_the_wells_are_not_there(raw: Path) -> None:
    wells = measured(raw)
    for name in (WELLS, TREATMENTS):
        (raw / name).unlink()
    rows = measured(raw)
    assert set(rows["plate"]) == set(rows["replicate"]) == {""}
    key = ["context_reported", "compound_reported", "experiment", "dose"]
    medians = wells.group_by(key).agg(median=pl.col("viability").log(2).median())
    both = rows.join(medians, on=key)
    assert both.height == rows.height == medians.height
    assert (both["viability"].log(2) - both["median"]).abs().max() < 1e-5
    assert PrismSecondary().account(raw).dropped.keys() == {"no value"}


def test_columns_are_read_by_the_names_of_later_releases(raw: Path) -> None:
    before = measured(raw), curves(raw), PrismSecondary().compounds(raw).collect()
    for path in raw.glob("*-info.csv"):
        header, _, rest = path.read_text().partition("\n")
        names = [ALIASES.get(name, name) for name in header.split(",")]
        path.write_text(",".join(names) + "\n" + rest)
    after = measured(raw), curves(raw), PrismSecondary().compounds(raw).collect()
    assert all(one.equals(other) for one, other in zip(before, after, strict=True))


def test_cells_with_commas_and_quoted_names_are_read(raw: Path) -> None:
    text = (raw / CURVES).read_text().replace("HDAC inhibitor", '"HDAC inhibitor, ""pan"""')
    (raw / CURVES).write_text(text)
    for name in (TREATMENTS, COLLAPSED_TREATMENTS):
        alter(raw / name, lambda cells: [row.__setitem__(cells[0].index("target"), "") for row in cells[1:]])
    before = measured(raw)
    alter(raw / WELLS, lambda cells: cells.__setitem__(0, [f'"{name}"' for name in cells[0]]))
    alter(raw / WELLS, lambda cells: [row.__setitem__(0, f'"{row[0]}"') for row in cells[1:]])
    assert measured(raw).equals(before)
    compounds = PrismSecondary().compounds(raw).collect()
    assert compounds.filter(compound_reported=VORINOSTAT)["mechanism"].to_list() == ['HDAC inhibitor, "pan"']


@settings(max_examples=15, deadline=None)
@given(
    changes=st.lists(
        st.lists(st.one_of(st.none(), st.floats(-20, 20, width=32)), min_size=3, max_size=3),
        min_size=1,
        max_size=5,
    )
)
def test_every_number_of_the_table_is_one_measurement(
    changes: list[list[float | None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    raw = tmp_path_factory.mktemp("raw")
    lines = [f"ACH-{row:06}" for row in range(len(changes))]
    facts = "name,moa,target,smiles,screen_id,perturbation_type,detection_plate\n"
    (raw / LINES).write_text(
        "row_name,depmap_id,ccle_name,primary_tissue\n" + "".join(f"{line},{line},,skin\n" for line in lines)
    )
    (raw / TREATMENTS).write_text(
        "column_name,broad_id,dose,"
        + facts
        + "".join(
            f"w{well},BRD-{well},{2**well},n,,,C,MTS010,experimental_treatment,P_X1\n" for well in range(3)
        )
    )
    rows = (",".join("" if one is None else repr(one) for one in row) for row in changes)
    (raw / WELLS).write_text(
        ",w2,w0,w1\n" + "".join(f"{line},{row}\n" for line, row in zip(lines, rows, strict=True))
    )
    found = {
        (row["context_reported"], row["compound_reported"]): row["viability"]
        for row in measured(raw).to_dicts()
    }
    expected = {
        (line, f"BRD-{well}"): 2.0**one
        for line, row in zip(lines, changes, strict=True)
        for well, one in zip((2, 0, 1), row, strict=True)
        if one is not None
    }
    assert found.keys() == expected.keys()
    assert np.allclose([found[key] for key in expected], list(expected.values()), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (WELLS, lambda c: c[2].__setitem__(3, "high"), "row 3, .*not a finite number: 'high'"),
        (WELLS, lambda c: c[0].__setitem__(1, "nowhere"), "column nowhere: 1 column.* are not listed"),
        (WELLS, lambda c: c[2].__setitem__(0, "ACH-999999"), "row 3: 'ACH-999999' is not listed"),
        (TREATMENTS, lambda c: c[1].__setitem__(3, "-1"), "row 2, column dose: a dose that is not positive"),
        (TREATMENTS, lambda c: c[1].__setitem__(3, "ten"), "row 2, column dose: not a number"),
        (TREATMENTS, lambda c: c[2].__setitem__(0, c[1][0]), "row 2, 3, column column_name: more than once"),
        (TREATMENTS, lambda c: c[0].__setitem__(3, "amount"), "column dose: the column is missing"),
        (CURVES, lambda c: c.append(c[1]), "row 2, .*: more than once"),
        (CURVES, lambda c: c[1].__setitem__(8, "low"), "row 2, column auc: not a number"),
        (CURVES, lambda c: c[1].__setitem__(-1, "ACH-9"), "row 2, column row_name: not listed"),
        (CURVES, lambda c: c[1].pop(), "row 2: 19 fields where the header has 20"),
        (CURVES, lambda c: c[1].append(""), "row 2: 21 fields where the header has 20"),
        (CURVES, lambda c: c.__delitem__(slice(1, None)), "a header and no rows"),
        (CURVES, lambda c: c[0].__setitem__(8, "area"), "column auc: the column is missing"),
        (CURVES, lambda c: c[0].__setitem__(14, "auc"), "column auc: the column is repeated"),
        (CURVES, lambda c: c[1].__setitem__(11, "other"), "more than once: broad_id"),
        (LINES, lambda c: c.append(c[1]), "row 2, 10, column row_name: more than once"),
    ],
)
def test_what_cannot_be_read_is_named(raw: Path, name: str, change: Callable, message: str) -> None:
    alter(raw / name, change)
    with pytest.raises(BadInputError, match=message) as refused:
        check_input(PrismSecondary(), raw, EMBEDDED_ONLY)
    assert refused.value.dataset_id == ID


@pytest.mark.parametrize(("end", "message"), [(-1, "the file is truncated"), (0, "the file is empty")])
def test_a_table_of_curves_that_is_cut_off_is_refused(raw: Path, end: int, message: str) -> None:
    (raw / CURVES).write_bytes((raw / CURVES).read_bytes()[:end])
    with pytest.raises(BadInputError, match=message):
        PrismSecondary().curves(raw)


def test_curves_alone_are_enough(raw: Path) -> None:
    for name in (WELLS, TREATMENTS, COLLAPSED, COLLAPSED_TREATMENTS):
        (raw / name).unlink()
    check_input(PrismSecondary(), raw, EMBEDDED_ONLY)
    assert list(PrismSecondary().measurements(raw)) == []
    assert PrismSecondary().account(raw).n_in == 0
    assert curves(raw).height > 0


def test_fold_changes_alone_are_enough(raw: Path) -> None:
    (raw / CURVES).unlink()
    assert curves(raw).height == 0
    assert measured(raw).height > 0


def test_fold_changes_without_their_treatments_are_refused(raw: Path) -> None:
    (raw / TREATMENTS).unlink()
    with pytest.raises(BadInputError, match="cannot be read without secondary-screen-replicate-treatment"):
        list(PrismSecondary().measurements(raw))


def test_neither_curves_nor_fold_changes_are_refused(raw: Path) -> None:
    for name in (CURVES, WELLS, COLLAPSED):
        (raw / name).unlink()
    with pytest.raises(BadInputError, match="neither curves nor fold changes"):
        PrismSecondary().curves(raw)


@pytest.mark.realdata
def test_the_published_release(realdata: Path) -> None:
    raw = realdata / "raw" / ID
    if not raw.is_dir():
        pytest.skip(f"{ID} is not among the real files")
    rows = curves(raw)
    assert rows["compound_reported"].n_unique() == 1_448
    lines = PrismSecondary().contexts(raw).select("context_reported", "model_id").collect()
    n_models = rows.join(lines, on="context_reported")["model_id"].drop_nulls().n_unique()
    assert 489 <= n_models <= 499
    assert set(rows["experiment"]) == set(SCREEN_RANK)
    assert rows.filter(experiment="MTS010")["compound_reported"].n_unique() == 147
    assert (rows["slope"] > 0).mean() > 0.9
    doses: pl.DataFrame | None = None
    for block in PrismSecondary().measurements(raw):
        part = block.select("compound_reported", "experiment", "dose").unique()
        doses = part if doses is None else pl.concat([doses, part]).unique()
    if doses is not None:
        n_doses = doses.group_by("compound_reported", "experiment").len()["len"]
        assert n_doses.median() == 8
