"""The study's rules for names of lines and genes."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import BadInputError
from etl.response.study_names import line_key, model_of_name, probemap_symbols, shared_genes

MODEL_COLUMNS = (
    "ModelID,CellLineName,StrippedCellLineName,OncotreeLineage,OncotreePrimaryDisease,"
    "RRID,Age,Sex,CCLEName,SangerModelID,COSMICID"
)


def key(name: str) -> str:
    return str(pl.select(line_key(pl.lit(name))).item())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MDA-MB-231", "MDAMB231"),
        ("T-T", "TT"),
        ("Hep 3B2.1-7", "HEP 3B2.17"),
        ("PE/CA-PJ15", "PE/CAPJ15"),
    ],
)
def test_only_the_hyphen_goes(name: str, expected: str) -> None:
    assert key(name) == expected


@given(st.text(st.characters(codec="ascii")))
def test_the_key_of_a_key_is_itself(name: str) -> None:
    assert key(key(name)) == key(name) == name.replace("-", "").upper()


def test_of_two_models_with_one_name_the_last_counts(tmp_path: Path) -> None:
    path = tmp_path / "Model.csv"
    rows = ["ACH-000001,T-T,TT", "ACH-000002,TT,TT", "ACH-000003,nameless,"]
    path.write_text("\n".join([MODEL_COLUMNS, *(f"{row}{',' * 8}" for row in rows)]) + "\n")
    assert model_of_name(path) == {"TT": "ACH-000002"}


def test_of_two_columns_of_a_symbol_the_first_is_kept_in_the_order_of_the_table() -> None:
    columns = ["ZZZ3 (26009)", "TP53 (7157)", "TP53 (1)", "A1BG (1)"]
    assert list(shared_genes(columns, {"TP53", "ZZZ3"}).items()) == [
        ("ZZZ3", "ZZZ3 (26009)"),
        ("TP53", "TP53 (7157)"),
    ]


def test_a_probemap_without_genes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.probemap"
    path.write_text("id\tgene\nENSG00000141510.1\t\n")
    with pytest.raises(BadInputError, match=r"x.probemap, column gene: no gene"):
        probemap_symbols(path)
    path.write_text("id\tgene\nENSG00000141510.1\tTP53\n")
    assert probemap_symbols(path) == {"TP53"}


@pytest.mark.realdata
def test_gencode_36_has_59427_symbols(realdata: Path) -> None:
    """Its 60,660 genes share some of them."""
    path = realdata / "raw" / "reference" / "gencode.v36.annotation.gtf.gene.probemap"
    assert len(probemap_symbols(path)) == 59_427


@pytest.mark.realdata
def test_839_of_the_887_screened_lines_of_ctrpv2_have_a_model(realdata: Path) -> None:
    """As the paper counts them; with DepMap 24Q2."""
    raw = realdata / "raw"
    experiments, lines = (
        pl.read_csv(
            raw / "ctrpv2" / f"v20.meta.{name}.txt", separator="\t", quote_char=None, infer_schema=False
        )
        for name in ("per_experiment", "per_cell_line")
    )
    names = experiments.join(lines, on="master_ccl_id")["ccl_name"].unique()
    models = model_of_name(raw / "reference" / "depmap_24Q2" / "Model.csv")
    assert (names.len(), sum(key(name) in models for name in names)) == (887, 839)
