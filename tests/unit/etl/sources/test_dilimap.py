"""DILImap: tiny files in the authors' layout, the rules of its quality control, and the simulated study."""

from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest
from scipy import sparse

from etl.errors import BadInputError
from etl.expression.profiles import checked_blocks
from etl.formats import h5ad as reader
from etl.harmonize.samples import harmonize_samples
from etl.simulate import dilimap as simulated
from etl.simulate import h5ad
from etl.simulate.study import Study
from etl.sources import dilimap_quality
from etl.sources.base import AnnotatedSource, TranscriptomicSource
from etl.sources.dilimap import Dilimap
from etl.sources.dilimap_doses import ReportedDose, nominal_doses, with_nominal_doses
from etl.validation import check_reported
from schemas.reported import (
    ReportedAnnotation,
    ReportedCompound,
    ReportedContext,
    ReportedGene,
    ReportedSample,
)

TRAINING, VALIDATION = "adata_training_counts.h5ad", "adata_validation_counts.h5ad"
LABELS = "compound_DILI_labels.csv"
GENES = pl.DataFrame({"gene": ["ALB", "MT-CO1", "APOA1"], "gene_id": ["ENSG1", "ENSG2", "ENSG3"]})
COUNTS = (900.0, 30.0, 70.0)


def observation(
    well: str, compound: str = "Aspirin", dose: float = 10.0, **changed: object
) -> dict[str, object]:
    """One well of plate P1 as the authors list it."""
    row = {
        "sample": f"{compound}_{dose}",
        "COMPOUND": compound,
        "CONCENTRATION_UM": dose,
        "TIMEPOINT_HOURS": 24.0,
        "PLATE_NAME": "P1",
        "WELL_ID": well,
        "LIBRARY_ID": "L1",
        "SPECIES": "Human",
        "BATCH_ID": "B1",
        "SPLIT": "validation",
        "CMPD_DOSE": f"{compound}_{dose}",
        "LDH_QC": "",
    }
    return row | changed


def write(
    folder: Path,
    *rows: dict[str, object],
    values: np.ndarray | sparse.csr_matrix | None = None,
    file: str = VALIDATION,
    genes: pl.DataFrame = GENES,
) -> Path:
    """Write wells of one part; without values, all have the same counts."""
    if values is None:
        values = np.tile(np.array(COUNTS, dtype=np.float32), (len(rows), 1))
    h5ad.write(folder / file, values, obs=pl.DataFrame(rows), var=genes)
    return folder


def samples(raw: Path) -> pl.DataFrame:
    return check_reported(Dilimap().samples(raw), ReportedSample, dataset_id="dilimap")


def facts(raw: Path, key: str) -> dict[str, str]:
    """Return one annotation by sample key."""
    rows = check_reported(Dilimap().annotations(raw), ReportedAnnotation, dataset_id="dilimap")
    return dict(rows.filter(pl.col("key") == key).select("sample_key", "value").iter_rows())


def expression(raw: Path) -> tuple[list[str], np.ndarray]:
    """Return keys and dense values of all blocks."""
    keys: list[str] = []
    values = []
    for block in Dilimap().expression(raw):
        keys += block.sample_keys
        values.append(block.values if isinstance(block.values, np.ndarray) else block.values.toarray())
    return keys, np.concatenate(values)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dilimap")
    simulated.write(folder, Study(7))
    return folder


# The adapter


def test_is_an_annotated_transcriptomic_source() -> None:
    assert isinstance(Dilimap(), TranscriptomicSource)
    assert isinstance(Dilimap(), AnnotatedSource)


def test_a_well_keeps_the_publishers_words(tmp_path: Path) -> None:
    row = samples(write(tmp_path, observation("A01"))).row(0, named=True)
    assert row == {
        "sample_key": "P1_A01_L1",
        "sample_kind": "compound",
        "context_reported": "primary human hepatocytes",
        "compound_reported": "Aspirin",
        "dose": "10.0",
        "dose_unit": "uM",
        "time": "24.0",
        "time_unit": "h",
        "plate": "P1",
        "well": "A01",
        "replicate": None,
        "batch": "B1",
        "donor_id": None,
        "vehicle_group": "",
        "n_cells": None,
        "is_low_quality": False,
    }


def test_both_vehicle_names_are_vehicle_and_the_replaced_one_failed(tmp_path: Path) -> None:
    rows = samples(write(tmp_path, observation("A01", "DMSO", 0.0), observation("A02", "DMSO_replaced", 0.0)))
    assert rows.select("sample_kind", "compound_reported", "is_low_quality").rows() == [
        ("vehicle", None, False),
        ("vehicle", None, True),
    ]


@pytest.mark.parametrize(
    "row",
    [
        observation("A01", "DMSO_2", 0.0),
        observation("A01", "dmso", 0.0),
        observation("A01", "Medium", 0.0, DOSE_LEVEL="Control"),
    ],
)
def test_a_control_that_nobody_knows_is_refused(tmp_path: Path, row: dict[str, object]) -> None:
    with pytest.raises(BadInputError, match="column COMPOUND: a control is DMSO or"):
        Dilimap().samples(write(tmp_path, row))


def test_the_publishers_flag_of_cell_death_marks_the_well_and_stays_in_words(tmp_path: Path) -> None:
    raw = write(
        tmp_path,
        observation("A01"),
        observation("A02", LDH_QC="LDH > 3 sd"),
        observation("A03", LDH_QC=None),
    )
    assert samples(raw)["is_low_quality"].to_list() == [False, True, True]
    assert facts(raw, "LDH_QC") == {"P1_A02_L1": "LDH > 3 sd"}
    assert facts(raw, "ldh_qc_pass") == {
        "P1_A01_L1": "true",
        "P1_A02_L1": "false",
        "P1_A03_L1": "false",
    }


def test_repeated_names_of_observations_are_kept_beside_a_key_of_plate_well_and_library(
    tmp_path: Path,
) -> None:
    raw = write(tmp_path, observation("A01"), observation("A02"))
    assert samples(raw)["sample_key"].to_list() == ["P1_A01_L1", "P1_A02_L1"]
    assert set(facts(raw, "obs_name").values()) == {"Aspirin_10.0"}


def test_a_well_listed_twice_is_refused_in_one_file_and_across_both(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="more than once: sample_key P1_A01_L1"):
        Dilimap().samples(write(tmp_path, observation("A01"), observation("A01", "Ibuprofen")))
    write(tmp_path, observation("A01"))
    write(tmp_path, observation("A01"), file=TRAINING)
    with pytest.raises(BadInputError, match="more than once: sample_key P1_A01_L1"):
        Dilimap().samples(tmp_path)


def test_training_wells_come_first_where_their_file_is_there(tmp_path: Path) -> None:
    write(tmp_path, observation("A01"))
    assert facts(tmp_path, "part") == {"P1_A01_L1": "validation"}
    write(tmp_path, observation("A01", PLATE_NAME="P0"), file=TRAINING)
    assert facts(tmp_path, "part") == {"P0_A01_L1": "training", "P1_A01_L1": "validation"}
    assert expression(tmp_path)[0] == samples(tmp_path)["sample_key"].to_list() == ["P0_A01_L1", "P1_A01_L1"]


def test_the_public_file_is_needed_and_the_other_is_not(tmp_path: Path) -> None:
    write(tmp_path, observation("A01"), file=TRAINING)
    with pytest.raises(BadInputError, match=r"no file matches \*validation\*counts.h5ad.*get it from https"):
        Dilimap().samples(tmp_path)


def test_one_nominal_dose_has_one_text_and_the_reported_one_is_an_annotation(tmp_path: Path) -> None:
    write(tmp_path, observation("A01", dose=10.3), observation("A02", dose=30.0))
    write(tmp_path, observation("A01", dose=10.0, PLATE_NAME="P0"), file=TRAINING)
    assert samples(tmp_path)["dose"].to_list() == ["10.0", "10.0", "30.0"]
    assert facts(tmp_path, "CONCENTRATION_UM")["P1_A01_L1"] == "10.3"


def test_genes_are_named_by_ensembl_id_beside_their_symbol(tmp_path: Path) -> None:
    raw = write(tmp_path, observation("A01"))
    genes = check_reported(Dilimap().genes(raw), ReportedGene, dataset_id="dilimap")
    assert genes.rows() == [("ENSG1", "ALB", None), ("ENSG2", "MT-CO1", None), ("ENSG3", "APOA1", None)]


def test_a_part_in_another_order_of_genes_is_put_on_the_axis(tmp_path: Path) -> None:
    write(tmp_path, observation("A01"))
    write(
        tmp_path,
        observation("A01", PLATE_NAME="P0"),
        file=TRAINING,
        genes=GENES[[2, 0, 1]],
        values=sparse.csr_matrix(np.array([[7, 90, 3]], dtype=np.float32)),
    )
    np.testing.assert_array_equal(expression(tmp_path)[1], [[90, 3, 7], COUNTS])


def test_parts_with_different_genes_are_refused(tmp_path: Path) -> None:
    write(tmp_path, observation("A01"))
    write(
        tmp_path,
        observation("A01", PLATE_NAME="P0"),
        file=TRAINING,
        genes=GENES.with_columns(gene_id=pl.Series(["ENSG1", "ENSG2", "ENSG4"])),
    )
    with pytest.raises(
        BadInputError, match=r"2 gene\(s\) are in one of the two files only, the first is ENSG3"
    ):
        Dilimap().samples(tmp_path)


def test_a_repeated_gene_id_is_refused(tmp_path: Path) -> None:
    genes = GENES.with_columns(gene_id=pl.Series(["ENSG1", "ENSG1", "ENSG3"]))
    with pytest.raises(BadInputError, match="column gene_id: more than once: gene_id ENSG1"):
        Dilimap().genes(write(tmp_path, observation("A01"), genes=genes))


@pytest.mark.parametrize("is_sparse", [False, True])
def test_fractions_are_rounded_not_cut_and_counted(tmp_path: Path, is_sparse: bool) -> None:
    counts = np.array([[900.6, 30, 0.5], [900, 30, 1.5]], dtype=np.float32)
    raw = write(
        tmp_path,
        observation("A01"),
        observation("A02"),
        values=sparse.csr_matrix(counts) if is_sparse else counts,
    )
    keys, values = expression(raw)
    np.testing.assert_array_equal(values, [[901, 30, 0], [900, 30, 2]])
    assert facts(raw, "n_fractional_counts") == {keys[0]: "2", keys[1]: "1"}
    blocks = checked_blocks(
        Dilimap().expression(raw),
        sample_keys=samples(raw)["sample_key"],
        dataset_id="dilimap",
        value_scale="counts",
    )
    assert len(list(blocks)) == 1


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ([[9.5, 3.1, 0.0], [9.1, 3.3, 1.0]], "look like logarithms"),
        ([[900.5, 30.0, 69.5], [800.5, 130.0, 69.5], [700.5, 230.0, 69.5]], "look normalized"),
    ],
)
def test_values_that_are_no_counts_are_refused_and_not_rounded(
    tmp_path: Path, values: list[list[float]], fault: str
) -> None:
    rows = [observation(f"A0{number}") for number in range(len(values))]
    raw = write(tmp_path, *rows, values=np.array(values, dtype=np.float32))
    with pytest.raises(BadInputError, match=fault):
        Dilimap().samples(raw)


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_an_impossible_count_is_named_by_its_row(tmp_path: Path, wrong: float, is_sparse: bool) -> None:
    counts = np.array([COUNTS, (1, wrong, 2)], dtype=np.float32)
    raw = write(
        tmp_path,
        observation("A01"),
        observation("A02"),
        values=sparse.csr_matrix(counts) if is_sparse else counts,
    )
    with pytest.raises(BadInputError, match="row observation 2: a count is a finite number"):
        expression(raw)


@pytest.mark.parametrize("column", ["COMPOUND", "LDH_QC", "CMPD_DOSE", "PLATE_NAME", "CONCENTRATION_UM"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    raw = write(tmp_path, {name: value for name, value in observation("A01").items() if name != column})
    with pytest.raises(BadInputError, match=f"column {column}: the column is missing"):
        Dilimap().samples(raw)


@pytest.mark.parametrize("column", ["COMPOUND", "PLATE_NAME", "WELL_ID"])
def test_a_missing_value_is_named(tmp_path: Path, column: str) -> None:
    raw = write(tmp_path, observation("A01"), observation("A02", **{column: ""}))
    with pytest.raises(BadInputError, match=f"column {column}: a missing value"):
        Dilimap().samples(raw)


def test_another_species_and_a_concentration_that_is_no_number_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="column SPECIES: a species other than human: 'Rat'"):
        Dilimap().samples(write(tmp_path, observation("A01", SPECIES="Rat")))
    with pytest.raises(BadInputError, match="column CONCENTRATION_UM: not a number: '10 uM'"):
        Dilimap().samples(write(tmp_path, observation("A01", CONCENTRATION_UM="10 uM")))


def test_a_truncated_file_and_one_without_its_table_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, observation("A01")) / VALIDATION
    with h5py.File(path, "r+") as file:
        del file["obs"]
    with pytest.raises(BadInputError, match="/obs"):
        Dilimap().samples(tmp_path)
    path = write(tmp_path, observation("A01")) / VALIDATION
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(BadInputError, match="complete HDF5 file"):
        Dilimap().samples(tmp_path)


def test_a_file_without_wells_or_without_genes_is_refused(tmp_path: Path) -> None:
    empty = np.zeros((1, 0), dtype=np.float32)
    with pytest.raises(BadInputError, match="the file has no genes"):
        Dilimap().samples(write(tmp_path, observation("A01"), values=empty, genes=GENES[:0]))
    obs = pl.DataFrame([observation("A01")])[:0]
    h5ad.write(tmp_path / VALIDATION, np.zeros((0, 3), dtype=np.float32), obs=obs, var=GENES)
    with pytest.raises(BadInputError, match="the file has no observations"):
        Dilimap().samples(tmp_path)


def test_an_empty_text_is_missing_but_where_it_means_passed(tmp_path: Path) -> None:
    raw = write(tmp_path, observation("A01", BATCH_ID="", LIBRARY_ID=""))
    row = samples(raw).row(0, named=True)
    assert (row["sample_key"], row["batch"], row["is_low_quality"]) == ("P1_A01", None, False)


def test_a_matrix_with_more_wells_than_the_table_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, observation("A01")) / VALIDATION
    with h5py.File(path, "r+") as file:
        del file["X"]
        file["X"] = np.ones((2, 3), dtype=np.float32)
    with pytest.raises(BadInputError, match=r"has the shape \(1, 3\) by .*, but it is \(2, 3\)"):
        Dilimap().samples(tmp_path)


def test_compounds_have_the_structure_of_the_table_of_labels(tmp_path: Path) -> None:
    raw = write(
        tmp_path, observation("A01"), observation("A02", "Imipramine2"), observation("A03", "DMSO", 0.0)
    )
    (raw / LABELS).write_text('compound_name,smiles,label\nAspirin,CC(=O)Oc1ccccc1C(=O)O,"less, or none"\n')
    compounds = check_reported(Dilimap().compounds(raw), ReportedCompound, dataset_id="dilimap")
    assert compounds.select("compound_reported", "name", "smiles").rows() == [
        ("Aspirin", "Aspirin", "CC(=O)Oc1ccccc1C(=O)O"),
        ("Imipramine2", "Imipramine2", None),
    ]


def test_compounds_without_that_table_have_no_structure_and_two_structures_are_refused(
    tmp_path: Path,
) -> None:
    raw = write(tmp_path, observation("A01"))
    assert Dilimap().compounds(raw).collect()["smiles"].to_list() == [None]
    (raw / LABELS).write_text("compound_name,smiles\nAspirin,CC\nAspirin,CC\nAspirin,CCC\n")
    with pytest.raises(BadInputError, match="column compound_name: more than once: compound_name Aspirin"):
        Dilimap().compounds(raw)


def test_the_only_context_is_the_hepatocyte(tmp_path: Path) -> None:
    contexts = Dilimap().contexts(write(tmp_path, observation("A01")))
    row = check_reported(contexts, ReportedContext, dataset_id="dilimap").row(0, named=True)
    assert (row["accession"], row["tissue"], row["species"]) == ("CL_0000182", "liver", "human")


# Doses


def dose(text: str, n_samples: int = 3, *, is_training: bool = False) -> ReportedDose:
    return ReportedDose(float(text), text, n_samples, is_training)


@pytest.mark.parametrize(
    ("doses", "nominal"),
    [
        # 3.5 % apart is one dose, 3.6 % is two.
        ([dose("10.0", 9), dose("10.35")], {10.0: "10.0", 10.35: "10.0"}),
        ([dose("10.0", 9), dose("10.36")], {10.0: "10.0", 10.36: "10.36"}),
        # Fewest decimals, whatever is more frequent.
        (
            [dose("0.33", 9), dose("0.333", 1), dose("0.3325", 20)],
            {0.33: "0.33", 0.3325: "0.33", 0.333: "0.33"},
        ),
        # A float that carries noise loses to the number it stands for.
        ([dose("0.30000001192092896", 9), dose("0.3", 1)], {0.3: "0.3", 0.30000001192092896: "0.3"}),
        # Training members name the cluster, though the other has fewer decimals.
        ([dose("10.2", 1, is_training=True), dose("10.0", 9)], {10.0: "10.2", 10.2: "10.2"}),
        # An anchor is a member, not a mean: a chain does not run away.
        ([dose("10.0", 9), dose("10.3", 5), dose("10.6", 1)], {10.0: "10.0", 10.3: "10.0", 10.6: "10.6"}),
        # The nearest anchor, not the first.
        ([dose("10.0", 9), dose("10.4", 8), dose("10.25", 1)], {10.0: "10.0", 10.25: "10.4", 10.4: "10.4"}),
        # Zero is the dose of controls.
        ([dose("0.0", 9), dose("1.0")], {1.0: "1.0"}),
        ([], {}),
    ],
)
def test_close_concentrations_are_one_nominal_dose(
    doses: list[ReportedDose], nominal: dict[float, str]
) -> None:
    assert nominal_doses(doses) == nominal
    assert nominal_doses(doses[::-1]) == nominal


def test_doses_are_compared_within_a_compound_and_missing_ones_stay_missing() -> None:
    rows = pl.DataFrame(
        {
            "compound": ["a", "a", "b", "a", "a"],
            "dose": ["1.0", "1.02", "1.02", None, "0.0"],
            "is_training": [True, False, False, False, False],
        }
    )
    assert with_nominal_doses(rows)["nominal_dose"].to_list() == ["1.0", "1.0", "1.02", None, "0.0"]
    shuffled = with_nominal_doses(rows[[4, 2, 0, 1, 3]])
    assert shuffled["nominal_dose"].to_list() == ["0.0", "1.02", "1.0", "1.0", None]


# Quality control


def test_replicate_correlation_is_the_best_of_few_and_the_better_half_of_many() -> None:
    rng = np.random.default_rng(5)
    for n in (2, 4, 5, 8):
        counts = rng.poisson(rng.gamma(2, 50, size=40), size=(n, 40)).astype(np.float32)
        expected = np.corrcoef(counts)
        best, typical = dilimap_quality.replicate_correlations(counts)
        for well in range(n):
            others = sorted((expected[well, other] for other in range(n) if other != well), reverse=True)
            assert best[well] == pytest.approx(others[0], abs=1e-12)
            counted = others[:1] if n <= 4 else others[: n // 2]
            assert typical[well] == pytest.approx(np.mean(counted), abs=1e-12)


def test_a_well_that_does_not_vary_is_nobodys_replicate() -> None:
    counts = np.array([[1, 2, 3], [5, 5, 5], [2, 4, 7]])
    best, _ = dilimap_quality.replicate_correlations(counts)
    assert np.isnan(best[1])
    assert best[0] == best[2] > 0.9
    alone, _ = dilimap_quality.replicate_correlations(counts[:1])
    assert np.isnan(alone).all()


@pytest.mark.parametrize("step", [1, 3, 100])
def test_measures_do_not_depend_on_how_wells_are_split_into_blocks(step: int) -> None:
    rng = np.random.default_rng(3)
    counts = rng.poisson(20, size=(9, 30)).astype(np.float32)
    counts[4, 2] = 0.25
    groups = ["a", "b", "a", "c", "b", "a", "a", "a", "b"]
    is_mitochondrial = np.arange(30) < 4
    blocks = [sparse.csr_matrix(counts[start : start + step]) for start in range(0, 9, step)]
    measured = dilimap_quality.measure(groups, blocks, is_mitochondrial)
    np.testing.assert_allclose(measured["total"], counts.sum(axis=1))
    np.testing.assert_allclose(measured["largest"], counts.max(axis=1))
    np.testing.assert_allclose(
        measured["pct_mtRNA"], 100 * counts[:, :4].sum(axis=1) / counts.sum(axis=1), rtol=1e-6
    )
    assert measured["n_fractional_counts"].to_list() == [0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert measured["cross_rep_correlation"].is_null().to_list() == [group == "c" for group in groups]
    of_a = [i for i, group in enumerate(groups) if group == "a"]
    _, typical = dilimap_quality.replicate_correlations(counts[of_a])
    np.testing.assert_allclose(measured["cross_rep_correlation"].gather(of_a), typical)


def test_the_rna_rule_fails_small_libraries_and_mitochondrial_ones() -> None:
    wells = pl.DataFrame({"total": [1e6] * 20 + [1e4, 1e6, 0.0], "pct_mtRNA": [4.0] * 21 + [9.0, None]})
    level = np.log10([1e6] * 21 + [1e4])
    assert np.log10(1e4) < np.median(level) - 2.5 * level.std(ddof=1)
    verdict = dilimap_quality.with_rna_verdict(wells)["rna_qc_pass"].to_list()
    assert verdict == [True] * 20 + [False, False, False]


def test_the_replicate_rule_takes_the_lower_of_spread_and_floor() -> None:
    wells = pl.DataFrame(
        {
            "sample_key": [str(i) for i in range(8)],
            "plate": ["P"] * 8,
            "well": [f"A{i}" for i in range(8)],
            "group": ["a"] * 4 + ["b"] * 4,
            # Spread 0.0001 around 0.999: 0.995 fails by spread; 0.989 of the other group fails by the floor.
            "best_correlation": [0.999, 0.9991, 0.9989, 0.995, 0.989, 0.9891, 0.999, 0.999],
        }
    ).with_columns(cross_rep_correlation="best_correlation")
    spread = wells["best_correlation"].std(ddof=0)
    verdict = dilimap_quality.with_replicate_verdict(wells)
    floor = {"a": max(0.99, 0.99895 - 3 * spread), "b": max(0.99, 0.99405 - 3 * spread)}
    expected = [
        value > floor[group] for group, value in wells.select("group", "cross_rep_correlation").iter_rows()
    ]
    assert verdict["rep_corr_qc_pass"].to_list() == expected
    assert expected.count(False) == 2
    shuffled = dilimap_quality.with_replicate_verdict(wells[[7, 2, 5, 0, 1, 6, 3, 4]])
    assert shuffled.sort("sample_key")["rep_corr_qc_pass"].to_list() == expected


def test_every_treatment_weighs_alike_in_the_spread_of_a_plate() -> None:
    # One well of b, so one of a counts, the first by name of well: no spread, and the median is the limit.
    wells = pl.DataFrame(
        {
            "sample_key": ["1", "2", "3", "4"],
            "plate": ["P"] * 4,
            "well": ["A2", "A1", "A3", "A4"],
            "group": ["a", "a", "a", "b"],
            "best_correlation": [0.991, 0.995, 0.999, None],
        }
    ).with_columns(cross_rep_correlation="best_correlation")
    verdict = dilimap_quality.with_replicate_verdict(wells)["rep_corr_qc_pass"].to_list()
    assert verdict == [False, True, True, None]


# The simulated study


def test_simulated_wells_fail_as_planted(study: Path) -> None:
    wells = Dilimap()._wells_with_quality(study)
    failed = {check: wells.filter(~pl.col(check)).height for check in ("ldh_qc_pass", "rna_qc_pass")}
    # Two dead wells of each part and DMSO_replaced on each of four plates; a small library and a
    # mitochondrial one in each part.
    assert failed == {"ldh_qc_pass": 8, "rna_qc_pass": 4}
    unlike = wells.filter(
        pl.col("CMPD_DOSE").is_in(["Crizotinib_3.3", "Amoxicillin_125.0"]),
        ~pl.col("rep_corr_qc_pass"),
    )
    assert set(unlike["part"]) == {"training", "validation"}
    assert wells["rep_corr_qc_pass"].null_count() == 4
    rows = samples(study)
    assert rows.height == wells.height == 228
    assert 12 <= rows["is_low_quality"].sum() <= 20


def test_simulated_doses_of_both_parts_are_the_same_conditions(study: Path) -> None:
    doses = samples(study).filter(pl.col("compound_reported") == "Lapatinib").group_by("dose").len()
    assert dict(doses.iter_rows()) == {"1.0": 16, "3.3": 16, "10.0": 16, "30.0": 16}


def test_simulated_files_have_the_known_quirks(study: Path) -> None:
    names = facts(study, "obs_name")
    assert len(set(names.values())) < len(names)
    assert all(int(value) > 0 for value in facts(study, "n_fractional_counts").values())
    with h5py.File(study / TRAINING) as training, h5py.File(study / VALIDATION) as validation:
        assert isinstance(training["X"], h5py.Dataset)
        assert isinstance(validation["X"], h5py.Group)


def test_simulated_files_are_equal_bytes_for_equal_seeds(study: Path, tmp_path: Path) -> None:
    simulated.write(tmp_path, Study(7))
    for name in (TRAINING, VALIDATION, LABELS):
        assert (tmp_path / name).read_bytes() == (study / name).read_bytes()


def test_the_order_of_rows_in_the_files_changes_nothing(study: Path, tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(114)
    for name in (TRAINING, VALIDATION):
        with h5py.File(study / name) as file:
            values = file["X"][:] if isinstance(file["X"], h5py.Dataset) else None
        if values is None:
            (block,) = reader.row_blocks(study / name)
            values = block.values
        h5ad.write(
            tmp_path / name,
            values[order],
            obs=reader.read_obs(study / name)[order].rename({reader.INDEX: "sample"}),
            var=reader.read_var(study / name).rename({reader.INDEX: "gene"}),
        )
    assert samples(tmp_path).sort("sample_key").equals(samples(study).sort("sample_key"))


def test_simulated_samples_harmonize_and_failed_wells_are_flagged(study: Path) -> None:
    source, rows = Dilimap(), samples(study)
    names = {
        f"{entity}_names": frame.select(
            pl.col(f"{entity}_reported"),
            pl.col(f"{entity}_reported").alias(f"{entity}_id"),
            dataset_id=pl.lit("dilimap"),
        )
        for entity, frame in (
            ("compound", source.compounds(study).collect()),
            ("context", source.contexts(study).collect()),
        )
    }
    kept, account = harmonize_samples(rows, dataset_id="dilimap", assay=source.spec.assay, **names)
    assert kept.height == account.n_out == 228
    assert account.noted["low_quality_reported"] == rows["is_low_quality"].sum()


def test_counts_show_the_planted_effect(study: Path) -> None:
    rows = samples(study)
    _, counts = expression(study)
    share = np.log2((counts + 0.5) / counts.sum(axis=1, keepdims=True))
    good = ~rows["is_low_quality"] & rows["plate"].str.starts_with("DILI-T")
    is_treated = good & ((rows["compound_reported"] == "Crizotinib") & (rows["dose"] == "10.0")).fill_null(
        value=False
    )
    is_vehicle = good & (rows["sample_kind"] == "vehicle")
    effect = share[is_treated.to_numpy()].mean(axis=0) - share[is_vehicle.to_numpy()].mean(axis=0)
    truth = pl.read_parquet(study / "truth" / "effects.parquet").filter(
        pl.col("compound_reported") == "Crizotinib", pl.col("dose_um") == 10
    )
    position = {gene: i for i, gene in enumerate(Dilimap().genes(study).collect()["gene_reported"])}
    columns = np.array([position[gene] for gene in truth["ensembl_gene_id"]])
    abundant = counts[:, columns].mean(axis=0) > 50
    planted = truth["log2_fold_change"].to_numpy()
    assert np.corrcoef(effect[columns][abundant], planted[abundant])[0, 1] > 0.9


@pytest.fixture
def published(realdata: Path) -> Path:
    raw = realdata / "raw" / "dilimap"
    if not (raw / VALIDATION).is_file() or not (raw / TRAINING).is_file():
        pytest.skip("the counts of both parts are not among the real files")
    return raw


@pytest.mark.realdata
def test_the_published_wells_of_both_parts(published: Path) -> None:
    rows = samples(published)
    passed = rows.filter(~pl.col("is_low_quality"))
    assert (rows.height, passed.height) == (4_955, 4_148)
    assert passed.filter(pl.col("sample_kind") == "vehicle").height == 457
    assert rows["plate"].n_unique() == 52
    assert Dilimap().genes(published).collect().height == 58_676


@pytest.mark.realdata
def test_the_published_training_wells_alone(published: Path, tmp_path: Path) -> None:
    # By the other name, so that the limit on RNA is that of these wells only.
    (tmp_path / VALIDATION).symlink_to(published / TRAINING)
    rows, wells = samples(tmp_path), Dilimap()._wells_with_quality(tmp_path)
    checks = ("ldh_qc_pass", "rna_qc_pass", "rep_corr_qc_pass")
    assert [wells.filter(~pl.col(check)).height for check in checks] == [593, 57, 195]
    assert (rows.height, rows.filter(~pl.col("is_low_quality")).height) == (4_175, 3_460)
