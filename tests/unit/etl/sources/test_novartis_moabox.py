from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from etl.errors import BadInputError
from etl.expression.profiles import checked_blocks
from etl.harmonize.gene_reference import load_gene_reference
from etl.harmonize.genes import resolve_genes
from etl.harmonize.reference_folder import EMBEDDED_ONLY
from etl.harmonize.samples import harmonize_annotations, harmonize_samples
from etl.simulate import novartis_moabox as simulated
from etl.simulate import rdata
from etl.simulate.study import Study
from etl.sources.base import AnnotatedSource, TranscriptomicSource
from etl.sources.novartis_moabox import POSITIVE_CONTROLS, VEHICLE, WATER, NovartisMoabox
from etl.validation import check_reported
from schemas.reported import (
    ReportedAnnotation,
    ReportedCompound,
    ReportedContext,
    ReportedGene,
    ReportedSample,
)

ID = "novartis_moabox"
COUNTS = "Exp_gzip.RData"
ROBUST = "robust_RC_ReferenceControl_DMSO_wells.txt"
COMPOUNDS = "MoABox_compounds_metadata.txt"
GENES = ("TP53,grch38_17", "EDC3,grch38_15")

Well = Mapping[str, str | float | int | None]
TREATED: Well = {
    "row_name": "VH1_AAAC",
    "batch_id": 13,
    "plate_barcode": "VH1",
    "well_id": "E02",
    "plate_replicate": 1,
    "external_biosample_id": "CE-17-BF79",
    "cmpd_sample_id": "FC-56-ZH16",
    "well_type": "SA",
    "cell_line_name": "U-2 OS",
    "concentration": 10.0,
    "unit": "uM",
    "hours_post_treatment": "24.0",
    "Sample": "FC-56-ZH16_10uM_24.0hr_13",
}
DMSO = {
    **TREATED,
    "row_name": "VH1_AAAG",
    "well_id": "A23",
    "external_biosample_id": "GE-15-QX77",
    "cmpd_sample_id": VEHICLE,
    "well_type": "RC",
    "concentration": None,
    "Sample": None,
}
OTHER_DMSO = {**DMSO, "row_name": "VH1_AAAT", "well_id": "B23", "external_biosample_id": "ID-37-NE71"}
POSITIVE = {**TREATED, "row_name": "VH1_AACA", "well_id": "A24", "cmpd_sample_id": "EA-18-FP00"}
UNUSED = {**DMSO, "row_name": "VH1_AACC", "well_id": "P24", "cmpd_sample_id": WATER, "well_type": "EMPTY"}
ALL: tuple[Well, ...] = (TREATED, DMSO, OTHER_DMSO, POSITIVE, UNUSED)


def plate(
    wells: Sequence[Well],
    *,
    genes: Sequence[str] = GENES,
    measured: Sequence[str] | None = None,
    values: np.ndarray | None = None,
) -> dict[str, rdata.Value]:
    """Return a plate whose counts list its wells in reverse: ``measured`` are their names."""
    annotation = pl.DataFrame(list(wells), infer_schema_length=None)
    names = [str(well["row_name"]) for well in reversed(wells)] if measured is None else list(measured)
    if values is None:
        values = np.arange(float(len(genes) * len(names))).reshape(len(names), len(genes))
    return {"UMI.counts": rdata.Matrix(list(genes), names, values), "Annotation": annotation}


def write(
    folder: Path,
    *wells: Well,
    plates: Mapping[str, rdata.Value] | None = None,
    robust: Sequence[str] = ("GE-15-QX77",),
    **options: object,
) -> Path:
    """Write one plate, or given plates of one batch, and the two tables."""
    held = {"VH1": plate(wells, **options)} if plates is None else plates  # type: ignore[arg-type]
    rdata.write(folder / COUNTS, "Exp", {"13": held})
    (folder / ROBUST).write_text(
        "\n".join(["plate_barcode\texternal_biosample_id", *(f"VH1\t{x}" for x in robust)]) + "\n"
    )
    lines = [
        "cmpd_sample_id\tinchi_key\tsmiles\tcas_number\tmoa",
        "FC-56-ZH16\tKWGRBVOPPLSCSI-WPRPVWTQSA-N\tCN[C@@H](C)[C@H](O)c1ccccc1\t299-42-3\tAgonist;other",
        "EA-18-FP00\t\t\t\t",
        f"{VEHICLE}\tIAZDPXIOMUYVGZ-UHFFFAOYSA-N\tC[S+](C)[O-]\t\t",
        f"{WATER}\tXLYOFNOQVPJJNP-UHFFFAOYSA-N\tO\t\t",
    ]
    (folder / COMPOUNDS).write_text("\n".join(lines) + "\n")
    return folder


def samples(raw: Path) -> pl.DataFrame:
    return check_reported(NovartisMoabox().samples(raw), ReportedSample, dataset_id=ID)


def annotations(raw: Path) -> pl.DataFrame:
    return check_reported(NovartisMoabox().annotations(raw), ReportedAnnotation, dataset_id=ID)


def test_is_an_annotated_transcriptomic_source() -> None:
    assert isinstance(NovartisMoabox(), TranscriptomicSource)
    assert isinstance(NovartisMoabox(), AnnotatedSource)


def test_a_sample_keeps_the_publishers_words(tmp_path: Path) -> None:
    assert samples(write(tmp_path, *ALL)).row(0, named=True) == {
        "sample_key": "VH1_AAAC",
        "sample_kind": "compound",
        "context_reported": "U-2 OS",
        "compound_reported": "FC-56-ZH16",
        "dose": "10",
        "dose_unit": "uM",
        "time": "24.0",
        "time_unit": "h",
        "plate": "VH1",
        "well": "E02",
        "replicate": "1",
        "batch": "13",
        "donor_id": None,
        "vehicle_group": "",
        "n_cells": None,
        "is_low_quality": False,
    }


def test_kinds_come_from_type_compound_and_the_list_of_reference_wells(tmp_path: Path) -> None:
    rows = samples(write(tmp_path, *ALL))
    assert rows.select("sample_kind", "compound_reported", "dose", "is_low_quality").rows() == [
        ("compound", "FC-56-ZH16", "10", False),
        ("vehicle", None, None, False),
        ("vehicle", None, None, True),
        ("positive_control", "EA-18-FP00", "10", False),
        ("empty", None, None, False),
    ]


def test_what_has_no_column_is_an_annotation(tmp_path: Path) -> None:
    rows = annotations(write(tmp_path, *ALL)).sort("sample_key", "key")
    assert rows.filter(pl.col("sample_key") == "VH1_AAAC").select("key", "value").rows() == [
        ("Sample", "FC-56-ZH16_10uM_24.0hr_13"),
        ("cmpd_sample_id", "FC-56-ZH16"),
        ("concentration", "10"),
        ("external_biosample_id", "CE-17-BF79"),
        ("unit", "uM"),
        ("well_type", "SA"),
    ]
    said = rows.filter(pl.col("key") == "robust_reference_control")
    assert said.select("sample_key", "value").rows() == [("VH1_AAAG", "true"), ("VH1_AAAT", "false")]


def test_compounds_are_the_published_table_without_dmso_and_water(tmp_path: Path) -> None:
    raw = write(tmp_path, *ALL)
    rows = check_reported(NovartisMoabox().compounds(raw), ReportedCompound, dataset_id=ID)
    assert rows.select("compound_reported", "inchikey", "smiles", "cas", "mechanism").rows() == [
        ("EA-18-FP00", None, None, None, None),
        (
            "FC-56-ZH16",
            "KWGRBVOPPLSCSI-WPRPVWTQSA-N",
            "CN[C@@H](C)[C@H](O)c1ccccc1",
            "299-42-3",
            "Agonist;other",
        ),
    ]


def test_contexts_and_genes(tmp_path: Path) -> None:
    raw = write(tmp_path, *ALL)
    contexts = check_reported(NovartisMoabox().contexts(raw), ReportedContext, dataset_id=ID)
    assert contexts["context_reported"].to_list() == ["U-2 OS"]
    genes = check_reported(NovartisMoabox().genes(raw), ReportedGene, dataset_id=ID)
    assert genes.rows() == [("TP53,grch38_17", "TP53", None), ("EDC3,grch38_15", "EDC3", None)]


def test_genes_are_resolved_on_their_chromosome(tmp_path: Path) -> None:
    genes = (
        "PLCXD1,grch38_X",
        "PLCXD1,grch38_Y",
        "TP53,grch38_17",
        "TP53,grch38_3",
        "TP53,grch38_KI270711.1",
    )
    raw = write(tmp_path, TREATED, DMSO, genes=genes)
    reported = NovartisMoabox().genes(raw).collect()
    reference = load_gene_reference(EMBEDDED_ONLY)
    names, _ = resolve_genes(reported, dataset_id=ID, reference=reference)
    assert names["gene_id"].to_list() == [182378, 182378, 141510, None, 141510]


def test_counts_are_on_the_axes_of_samples_and_genes(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED, DMSO, values=np.array([[0.0, 1.0], [2.0, 3.0]]))
    (block,) = NovartisMoabox().expression(raw)
    # The counts list the wells in another order than the annotation.
    assert list(block.sample_keys) == ["VH1_AAAG", "VH1_AAAC"]
    assert isinstance(block.values, sparse.csr_matrix)
    assert block.values.dtype == np.float32
    np.testing.assert_array_equal(block.values.toarray(), [[0, 1], [2, 3]])


def test_integers_are_counts_too(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED, DMSO, values=np.array([[0, 1], [2, 3]], np.int32))
    (block,) = NovartisMoabox().expression(raw)
    np.testing.assert_array_equal(block.values.toarray(), [[0, 1], [2, 3]])


def second(well: Well) -> Well:
    return {
        **well,
        "row_name": str(well["row_name"]).replace("VH1", "VH2"),
        "plate_barcode": "VH2",
        "external_biosample_id": f"{well['external_biosample_id']}b",
    }


def test_plates_may_list_their_genes_in_any_order(tmp_path: Path) -> None:
    first = plate([TREATED, DMSO], values=np.array([[1.0, 0.0], [3.0, 4.0]]))
    other = plate(
        [second(TREATED), second(DMSO)], genes=GENES[::-1], values=np.array([[0.0, 1.0], [4.0, 3.0]])
    )
    raw = write(tmp_path, plates={"VH1": first, "VH2": other})
    one, two = (block.values for block in NovartisMoabox().expression(raw))
    np.testing.assert_array_equal(one.toarray(), two.toarray())
    assert samples(raw)["plate"].to_list() == ["VH1", "VH1", "VH2", "VH2"]


@pytest.mark.parametrize("genes", [("TP53,grch38_17", "A1BG,grch38_19"), ("TP53,grch38_17",)])
def test_plates_with_other_genes_are_refused(tmp_path: Path, genes: Sequence[str]) -> None:
    other = plate([second(TREATED), second(DMSO)], genes=genes)
    raw = write(tmp_path, plates={"VH1": plate([TREATED, DMSO]), "VH2": other})
    with pytest.raises(
        BadInputError, match=r"row Exp\[\[1\]\]\[\[2\]\]: a plate has other genes than the first"
    ):
        list(NovartisMoabox().expression(raw))


def test_the_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    forward, backward = tmp_path / "forward", tmp_path / "backward"
    for folder, wells in ((forward, ALL), (backward, tuple(reversed(ALL)))):
        folder.mkdir()
        write(folder, *wells)
    assert samples(forward).sort("sample_key").equals(samples(backward).sort("sample_key"))


def test_a_well_without_counts_is_empty(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED, DMSO, measured=["VH1_AAAG"])
    assert samples(raw)["sample_kind"].to_list() == ["empty", "vehicle"]


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    assert samples(write(tmp_path, TREATED, DMSO)).height == 2
    assert samples(write(tmp_path, *ALL)).height == 5


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"well_type": "XX"}, "column well_type: an unknown well type: 'XX'"),
        ({"well_type": None}, "column well_type: a missing value"),
        ({"well_type": "RC"}, "column cmpd_sample_id: contradicts its well type: 'FC-56-ZH16'"),
        ({"cmpd_sample_id": VEHICLE}, f"column cmpd_sample_id: contradicts its well type: '{VEHICLE}'"),
        ({"cmpd_sample_id": WATER}, f"column cmpd_sample_id: contradicts its well type: '{WATER}'"),
        (
            {"cmpd_sample_id": "AA-00-AA00"},
            f"cmpd_sample_id: a compound that {COMPOUNDS} lacks: 'AA-00-AA00'",
        ),
        ({"cmpd_sample_id": "NA"}, "column cmpd_sample_id: a missing value"),
        ({"plate_barcode": None}, "column plate_barcode: a missing value"),
        ({"well_id": "A23"}, "more than once: plate_barcode VH1, well_id A23"),
    ],
)
def test_a_bad_well_is_named(tmp_path: Path, change: Well, rule: str) -> None:
    with pytest.raises(BadInputError, match=f"file {COUNTS}, row VH1_AAAC.*{rule}"):
        samples(write(tmp_path, {**TREATED, **change}, DMSO))


def test_a_well_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    plates = {"VH1": plate([TREATED, DMSO]), "VH2": plate([TREATED])}
    with pytest.raises(BadInputError, match="more than once: sample_key VH1_AAAC"):
        samples(write(tmp_path, plates=plates))


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (
            plate([TREATED], measured=["VH1_AAAC", "VH1_TTTT"]),
            r"1 well\(s\) of UMI.counts are not in Annotation",
        ),
        (plate([TREATED], measured=["VH1_AAAC", "VH1_AAAC"]), "well ids are unique"),
        (plate([TREATED], genes=("A,grch38_1", "A,grch38_1")), "gene ids are unique"),
        ({"UMI.counts": ["none"]}, "a plate has UMI.counts and Annotation"),
        ({"UMI.counts": ["none"], "Annotation": ["none"]}, "a matrix of numbers with names"),
        ({**plate([TREATED]), "Annotation": ["none"]}, "a data frame is expected"),
        (
            plate([{key: cell for key, cell in TREATED.items() if key != "unit"}]),
            "column unit: the column is missing",
        ),
    ],
)
def test_a_broken_plate_is_refused(tmp_path: Path, broken: dict[str, rdata.Value], rule: str) -> None:
    with pytest.raises(BadInputError, match=rule):
        samples(write(tmp_path, plates={"VH1": broken}))


def test_a_file_without_plates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="Exp holds no plate"):
        samples(write(tmp_path, plates={}))


@pytest.mark.parametrize(
    ("robust", "rule"),
    [
        (("AA-00-AA00",), "row 2, column external_biosample_id: no DMSO well of the counts: 'AA-00-AA00'"),
        (("GE-15-QX77", "CE-17-BF79"), "row 3, column external_biosample_id: no DMSO well of the counts"),
        (("GE-15-QX77", "GE-15-QX77"), "row 2, 3, column external_biosample_id: more than once"),
        (("NA",), "row 2, column external_biosample_id: a missing value"),
    ],
)
def test_a_bad_reference_well_is_named(tmp_path: Path, robust: Sequence[str], rule: str) -> None:
    with pytest.raises(BadInputError, match=rule):
        samples(write(tmp_path, *ALL, robust=robust))


@pytest.mark.parametrize("name", [COUNTS, ROBUST, COMPOUNDS])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    raw = write(tmp_path, *ALL)
    (raw / name).unlink()
    with pytest.raises(BadInputError, match=f"no file matches {name}"):
        samples(raw)


def test_a_truncated_workspace_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, *ALL)
    content = (raw / COUNTS).read_bytes()
    (raw / COUNTS).write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInputError, match=f"file {COUNTS}: cannot be decompressed"):
        samples(raw)


def test_a_compound_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, *ALL)
    with (raw / COMPOUNDS).open("a") as file:
        file.write("FC-56-ZH16\t\t\t\t\n")
    with pytest.raises(BadInputError, match="row 2, 6, column cmpd_sample_id: more than once"):
        NovartisMoabox().compounds(raw)


@pytest.mark.parametrize(
    ("count", "rule"),
    [(0.5, "is fractional, but counts are declared"), (-1.0, "is negative"), (np.nan, "not a finite")],
)
def test_values_that_are_no_counts_are_refused(tmp_path: Path, count: float, rule: str) -> None:
    raw = write(tmp_path, TREATED, DMSO, values=np.array([[1, 2], [3, count]]))
    with pytest.raises(BadInputError, match=rule):
        list(
            checked_blocks(
                NovartisMoabox().expression(raw),
                sample_keys=samples(raw)["sample_key"],
                dataset_id=ID,
                value_scale="counts",
            )
        )


def test_a_count_that_a_float_does_not_hold_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path, TREATED, DMSO, values=np.array([[1, 2], [3, 2**24 + 1]], np.float64))
    with pytest.raises(BadInputError, match="a count up to 16777216 is expected, not 16777217"):
        list(NovartisMoabox().expression(raw))


def harmonized(raw: Path) -> pl.DataFrame:
    names = {
        f"{entity}_names": frame.select(
            pl.col(f"{entity}_reported"),
            pl.col(f"{entity}_reported").alias(f"{entity}_id"),
            dataset_id=pl.lit(ID),
        )
        for entity, frame in (
            ("compound", NovartisMoabox().compounds(raw).collect()),
            ("context", NovartisMoabox().contexts(raw).collect()),
        )
    }
    kept, _ = harmonize_samples(samples(raw), dataset_id=ID, assay="drugseq", **names)
    return kept


def test_an_unknown_unit_is_refused_by_the_harmonizer(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="a dose in an unknown unit"):
        harmonized(write(tmp_path, {**TREATED, "unit": "ng"}, DMSO))


def test_dmso_wells_that_are_no_references_are_kept_and_flagged(tmp_path: Path) -> None:
    kept = harmonized(write(tmp_path, *ALL))
    flagged = kept.filter(pl.col("qc_flags").list.contains("low_quality_reported"))
    assert flagged.select("sample_key", "control_kind").rows() == [("VH1_AAAT", "vehicle")]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated study."""
    raw = tmp_path_factory.mktemp(ID)
    simulated.write(raw, Study(3))
    return raw


def test_the_simulated_study(study: Path) -> None:
    rows = samples(study)
    kinds = dict(rows["sample_kind"].value_counts().iter_rows())
    assert kinds == {"compound": 156, "vehicle": 24, "positive_control": 24, "empty": 24}
    robust = rows.filter(pl.col("sample_kind") == "vehicle", ~pl.col("is_low_quality"))
    assert robust.group_by("plate").len()["len"].to_list() == [2] * 6
    blocks = list(NovartisMoabox().expression(study))
    assert {key for block in blocks for key in block.sample_keys} == set(rows["sample_key"])
    libraries = [total for block in blocks for total in block.values.sum(axis=1).A1.tolist()]
    assert libraries.count(0) == 1
    truth = pl.read_parquet(study / "truth" / "effects.parquet")
    assert set(truth["compound_reported"]) <= set(rows["compound_reported"])
    kept = harmonized(study)
    assert kept.height == 204
    stated, _ = harmonize_annotations(annotations(study), kept, dataset_id=ID)
    assert stated.filter(pl.col("key") == "robust_reference_control").height == 24


def test_the_simulated_genes_resolve(study: Path) -> None:
    reported = NovartisMoabox().genes(study).collect()
    names, _ = resolve_genes(reported, dataset_id=ID, reference=load_gene_reference(EMBEDDED_ONLY))
    unresolved = names.filter(pl.col("gene_id").is_null())["gene_reported"].to_list()
    assert unresolved == ["AC000000.1,grch38_1", "AC000001.1,grch38_KI270711.1"]


def test_counts_show_the_planted_effect(study: Path) -> None:
    rows = samples(study)
    truth = pl.read_parquet(study / "truth" / "effects.parquet")
    truth = truth.filter(pl.col("compound") == "vorinostat", pl.col("dose_um") == 10)
    blocks = list(NovartisMoabox().expression(study))
    counts = sparse.vstack([block.values for block in blocks]).toarray()
    keys = pl.DataFrame({"sample_key": [key for block in blocks for key in block.sample_keys]})
    wells = keys.join(rows, on="sample_key", how="left", maintain_order="left")
    share = np.log2((counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True))
    is_treated = (wells["compound_reported"] == truth["compound_reported"][0]) & (wells["dose"] == "10")
    is_vehicle = (wells["sample_kind"] == "vehicle") & (wells["batch"] == "13")
    effect = share[is_treated.fill_null(value=False).to_numpy()].mean(axis=0)
    effect -= share[is_vehicle.to_numpy()].mean(axis=0)
    symbols = NovartisMoabox().genes(study).collect()["symbol"].to_list()
    position = {symbol: index for index, symbol in reversed(list(enumerate(symbols)))}
    affected = np.array([position[symbol] for symbol in truth["symbol"]])
    # Of genes with a handful of counts, three wells do not show an effect.
    is_measured = counts.mean(axis=0)[affected] > 20
    found, planted = effect[affected], truth["log2_fold_change"].to_numpy()
    assert np.corrcoef(found[is_measured], planted[is_measured])[0, 1] > 0.8


def test_the_simulator_writes_equal_bytes(study: Path, tmp_path: Path) -> None:
    simulated.write(tmp_path, Study(3))
    for name in (COUNTS, ROBUST, COMPOUNDS):
        assert (study / name).read_bytes() == (tmp_path / name).read_bytes(), name


@pytest.mark.realdata
def test_the_published_compounds(realdata: Path, tmp_path: Path) -> None:
    raw = write(tmp_path, *ALL)
    (raw / COMPOUNDS).write_bytes((realdata / "raw" / ID / COMPOUNDS).read_bytes())
    rows = check_reported(NovartisMoabox().compounds(raw), ReportedCompound, dataset_id=ID)
    assert rows.height == 4_343
    assert rows["inchikey"].null_count() == rows["smiles"].null_count() == 508
    assert set(POSITIVE_CONTROLS) <= set(rows["compound_reported"])
    published = (raw / COMPOUNDS).read_text()
    assert f"\n{VEHICLE}\t" in published
    assert f"\n{WATER}\t" in published


@pytest.mark.realdata
def test_the_published_wells(realdata: Path) -> None:
    raw, source = realdata / "raw" / ID, NovartisMoabox()
    if not (raw / COUNTS).is_file():
        pytest.skip(f"{COUNTS} is not among the real files")
    rows = samples(raw)
    kinds = dict(rows["sample_kind"].value_counts().iter_rows())
    assert kinds["empty"] == 3_276
    assert kinds["vehicle"] == 312 + 2_184
    assert kinds["positive_control"] == 1_428
    assert rows.height == 59_904
    assert rows.filter(pl.col("sample_kind") == "vehicle", ~pl.col("is_low_quality")).height == 312
    assert rows["plate"].n_unique() == 156
    assert rows["batch"].n_unique() == 52
    assert source.genes(raw).collect().height == 59_594
    treated = rows.filter(pl.col("sample_kind") == "compound")
    assert treated["compound_reported"].n_unique() == 4_340
