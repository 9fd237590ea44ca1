from pathlib import Path

import numpy as np
import polars as pl
import pytest

from etl.errors import BadInputError
from etl.sources.base import TranscriptomicSource
from etl.sources.l1000_ljp005 import L1000Ljp005
from etl.validation import check_reported
from schemas.reported import ReportedCompound, ReportedContext, ReportedGene, ReportedSample

PLATE = "LJP005_A375_24H_X1_B19"
BASE = {
    "bead_batch": "b19",
    "cell_id": "A375",
    "det_plate": PLATE,
    "pert_dose": "-666",
    "pert_dose_unit": "-666",
    "pert_id": "DMSO",
    "pert_idose": "-666",
    "pert_iname": "DMSO",
    "pert_time": "24",
    "pert_time_unit": "h",
    "pert_type": "ctl_vehicle",
    "pert_vehicle": "-666",
    "x_hmsl_id": "-666",
}
TREATED = BASE | {
    "pert_dose": "3.33",
    "pert_dose_unit": "um",
    "pert_id": "BRD-K76908866",
    "pert_idose": "3.33 um",
    "pert_iname": "CP-724714",
    "pert_type": "trt_cp",
    "pert_vehicle": "DMSO",
    "x_hmsl_id": "HMSL10010",
}
POSCON = TREATED | {"pert_id": "BRD-A39996500", "pert_iname": "radicicol", "pert_type": "trt_poscon"}
GENES = {"200814_at": ("5720", "PSME1"), "218597_s_at": ("55847", "CISD1")}


def write(folder: Path, *wells: dict[str, str], genes: dict[str, tuple[str, str]] = GENES) -> Path:
    """Write wells A01, A02, … as a GCT 1.3; value = 5 plus the number of the well plus a tenth per gene."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"A{number:02}" for number in range(1, len(wells) + 1)]
    wells = tuple({"det_well": name} | well for name, well in zip(names, wells, strict=True))
    fields = list(wells[0])
    lines = [
        "#1.3",
        f"{len(genes)}\t{len(wells)}\t2\t{len(fields)}",
        "\t".join(["id", "pr_gene_id", "pr_gene_symbol", *(f"{PLATE}:{name}" for name in names)]),
        *("\t".join([field, "na", "na", *(well[field] for well in wells)]) for field in fields),
        *(
            "\t".join([probe, *gene, *(f"{5 + i + row / 10}" for i in range(1, len(wells) + 1))])
            for row, (probe, gene) in enumerate(genes.items())
        ),
    ]
    path = folder / f"{PLATE}_QNORM_n{len(wells)}x{len(genes)}.gct"
    path.write_text("\n".join(lines) + "\n", encoding="latin-1")
    return folder


def samples(raw: Path) -> pl.DataFrame:
    return check_reported(L1000Ljp005().samples(raw), ReportedSample, dataset_id="l1000_ljp005")


def test_is_a_transcriptomic_source() -> None:
    assert isinstance(L1000Ljp005(), TranscriptomicSource)


def test_a_sample_keeps_the_publishers_words(tmp_path: Path) -> None:
    row = samples(write(tmp_path, BASE, TREATED)).row(1, named=True)
    assert row == {
        "sample_key": f"{PLATE}:A02",
        "sample_kind": "compound",
        "context_reported": "A375",
        "compound_reported": "BRD-K76908866",
        "dose": "3.33",
        "dose_unit": "um",
        "time": "24",
        "time_unit": "h",
        "plate": PLATE,
        "well": "A02",
        "replicate": "X1",
        "batch": "b19",
        "donor_id": None,
        "vehicle_group": "",
        "n_cells": None,
        "is_low_quality": False,
    }


def test_a_vehicle_well_has_neither_compound_nor_dose(tmp_path: Path) -> None:
    row = samples(write(tmp_path, BASE)).row(0, named=True)
    assert (row["sample_kind"], row["compound_reported"], row["dose"], row["dose_unit"]) == (
        "vehicle",
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("pert_type", "kind"),
    [
        ("trt_cp", "compound"),
        ("trt_poscon", "positive_control"),
        ("ctl_vehicle", "vehicle"),
        ("ctl_untrt", "untreated"),
        ("trt_sh", "genetic"),
        ("trt_sh.cgs", "genetic"),
        ("trt_oe.mut", "genetic"),
        ("trt_xpr", "genetic"),
        ("ctl_vector", "genetic"),
        ("trt_lig", "biologic"),
    ],
)
def test_a_pert_type_decides_the_sample_kind(tmp_path: Path, pert_type: str, kind: str) -> None:
    assert samples(write(tmp_path, BASE | {"pert_type": pert_type}))["sample_kind"].to_list() == [kind]


@pytest.mark.parametrize("pert_type", ["ctl_x", "trt_shadow", "-666", "TRT_CP"])
def test_an_unknown_pert_type_is_refused_by_name(tmp_path: Path, pert_type: str) -> None:
    named = "" if pert_type == "-666" else f": '{pert_type}'"
    with pytest.raises(
        BadInputError, match=rf"A02, column pert_type: an unknown pert_type{named} \(1 such\)"
    ):
        samples(write(tmp_path, BASE, TREATED | {"pert_type": pert_type}))


@pytest.mark.parametrize("missing", ["-666", "-666.0", "-666.000000", "", "restricted"])
def test_missing_markers_become_null(tmp_path: Path, missing: str) -> None:
    assert samples(write(tmp_path, TREATED | {"pert_dose": missing}))["dose"].to_list() == [None]


def test_a_micro_sign_in_latin_1_survives(tmp_path: Path) -> None:
    assert samples(write(tmp_path, TREATED | {"pert_dose_unit": "µM"}))["dose_unit"].to_list() == ["µM"]


def test_a_treated_well_without_compound_does_not_become_a_control(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED | {"pert_id": "-666", "pert_iname": "-666"})
    row = samples(raw).row(0, named=True)
    assert (row["sample_kind"], row["compound_reported"]) == ("compound", None)
    assert L1000Ljp005().compounds(raw).collect().is_empty()


def test_another_vehicle_is_a_group_of_its_own(tmp_path: Path) -> None:
    water = BASE | {"pert_id": "H2O", "pert_iname": "H2O"}
    treated = TREATED | {"pert_vehicle": "H2O"}
    groups = samples(write(tmp_path, BASE, TREATED, water, treated))["vehicle_group"].to_list()
    assert groups == ["", "", "H2O", "H2O"]


def test_a_nameless_vehicle_is_not_taken_for_dmso(tmp_path: Path) -> None:
    nameless = BASE | {"pert_id": "-666", "pert_iname": "-666"}
    assert samples(write(tmp_path, nameless))["vehicle_group"].to_list() == ["unknown"]


def test_positive_controls_are_compounds_and_vehicle_is_not(tmp_path: Path) -> None:
    compounds = check_reported(
        L1000Ljp005().compounds(write(tmp_path, BASE, TREATED, TREATED, POSCON)),
        ReportedCompound,
        dataset_id="l1000_ljp005",
    )
    assert compounds.select("compound_reported", "name", "vendor_id").rows() == [
        ("BRD-A39996500", "radicicol", "BRD-A39996500"),
        ("BRD-K76908866", "CP-724714", "BRD-K76908866"),
    ]


def test_the_hmsl_id_stands_in_where_there_is_no_brd_id(tmp_path: Path) -> None:
    compounds = L1000Ljp005().compounds(write(tmp_path, TREATED | {"pert_id": "CP-724714"})).collect()
    assert compounds["vendor_id"].to_list() == ["HMSL10010"]


def test_contexts_leave_out_what_is_out_of_scope(tmp_path: Path) -> None:
    genetic = BASE | {"pert_type": "trt_sh", "cell_id": "VCAP"}
    untreated = BASE | {"pert_type": "ctl_untrt", "cell_id": "PC3"}
    contexts = check_reported(
        L1000Ljp005().contexts(write(tmp_path, TREATED, genetic, untreated)),
        ReportedContext,
        dataset_id="l1000_ljp005",
    )
    assert contexts["context_reported"].to_list() == ["A375", "PC3"]


def test_values_are_on_the_axes_of_samples_and_genes(tmp_path: Path) -> None:
    raw, source = write(tmp_path, BASE, TREATED), L1000Ljp005()
    (block,) = source.expression(raw)
    genes = check_reported(source.genes(raw), ReportedGene, dataset_id="l1000_ljp005")
    assert list(block.sample_keys) == samples(raw)["sample_key"].to_list()
    assert genes.rows() == [("200814_at", "PSME1", 5720), ("218597_s_at", "CISD1", 55847)]
    np.testing.assert_allclose(block.values, [[6.0, 6.1], [7.0, 7.1]], rtol=1e-6)


def test_two_probes_of_one_gene_are_both_kept(tmp_path: Path) -> None:
    raw = write(tmp_path, BASE, genes={"1_at": ("5720", "PSME1"), "2_at": ("5720", "PSME1")})
    assert L1000Ljp005().genes(raw).collect()["entrez_id"].to_list() == [5720, 5720]


def test_an_entrez_id_that_is_no_number_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, BASE, genes={"1_at": ("5720///5721", "PSME1")})
    with pytest.raises(BadInputError, match="row 1_at, column pr_gene_id: not a whole number: '5720///5721'"):
        L1000Ljp005().genes(raw)


def test_a_missing_metadata_field_is_named(tmp_path: Path) -> None:
    raw = write(tmp_path, {field: text for field, text in BASE.items() if field != "pert_type"})
    with pytest.raises(BadInputError, match="column pert_type: the column is missing"):
        L1000Ljp005().samples(raw)


@pytest.mark.realdata
def test_the_published_plate(realdata: Path) -> None:
    raw, source = realdata / "raw" / "l1000_ljp005", L1000Ljp005()
    rows = samples(raw)
    kinds = dict(rows["sample_kind"].value_counts().iter_rows())
    assert kinds == {"compound": 328, "positive_control": 23, "vehicle": 26}
    treated = rows.filter(pl.col("sample_kind") != "vehicle")
    assert set(treated["dose"]) == {"10", "3.33", "1.11", "0.37", "0.12", "0.04"}
    assert set(treated["dose_unit"]) == {"um"}
    assert rows.filter(pl.col("sample_kind") == "vehicle")["dose"].null_count() == 26
    assert set(rows["vehicle_group"]) == {""}
    compounds = check_reported(source.compounds(raw), ReportedCompound, dataset_id="l1000_ljp005")
    assert compounds.height == 59
    assert set(compounds["compound_reported"]) == set(treated["compound_reported"])
    assert source.contexts(raw).collect()["context_reported"].to_list() == ["A375"]
    genes = check_reported(source.genes(raw), ReportedGene, dataset_id="l1000_ljp005")
    assert genes["entrez_id"].n_unique() == genes.height == 978
    (block,) = source.expression(raw)
    assert block.values.shape == (377, 978)
    assert set(block.sample_keys) == set(rows["sample_key"])
