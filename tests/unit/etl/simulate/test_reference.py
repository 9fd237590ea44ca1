import gzip
from pathlib import Path

import polars as pl
import pytest
from rdkit import Chem

from etl.simulate.catalogue import COMPOUNDS

FILE = Path("reference") / "lincs_pertinfo.tsv.gz"

# Standard InChIKeys as published for these drugs: they prove that the catalogue's structures are the drugs.
PUBLISHED_KEYS = {
    "vorinostat": "WAEXFXRVDQXREF-UHFFFAOYSA-N",
    "trametinib": "LIRYPHYGHXZJBZ-UHFFFAOYSA-N",
    "paclitaxel": "RCINICONZNJXQF-MZXODVADSA-N",
    "vincristine": "OGWKCGZFUXNPDA-XQKSVPLYSA-N",
    "bortezomib": "GXJABQQUPOEUTA-RDJZCZTQSA-N",
    "JQ1": "DNVXATUJJDPFDM-KRWDZBQOSA-N",
    "palbociclib": "AHJRHEGDXFFMBM-UHFFFAOYSA-N",
}


@pytest.fixture(scope="module")
def table(simulated: Path) -> pl.DataFrame:
    return pl.read_csv(gzip.decompress((simulated / FILE).read_bytes()), separator="\t", infer_schema=False)


def test_table_has_the_published_columns(table: pl.DataFrame, realdata: Path) -> None:
    with gzip.open(realdata / "raw" / FILE, "rt") as file:
        assert table.columns == file.readline().rstrip("\n").split("\t")


@pytest.mark.parametrize(("name", "key"), PUBLISHED_KEYS.items())
def test_catalogue_structures_have_the_published_keys(name: str, key: str) -> None:
    smiles = next(compound.smiles for compound in COMPOUNDS if compound.name == name)
    assert Chem.MolToInchiKey(Chem.MolFromSmiles(smiles)) == key


def test_published_ids_stand_for_the_same_skeletons(table: pl.DataFrame, realdata: Path) -> None:
    with gzip.open(realdata / "raw" / FILE) as file:
        real = pl.read_csv(file.read(), separator="\t", infer_schema=False, quote_char=None)
    both = table.filter(pl.col("pert_type") == "trt_cp", pl.col("pert_iname") != "doxorubicin").join(
        real, on="pert_id", suffix="_real"
    )
    skeleton, real_skeleton = (both[name].str.slice(9, 14) for name in ("inchi_key", "inchi_key_real"))
    assert both.height >= 20
    assert both.filter(skeleton != real_skeleton)["pert_iname"].to_list() == []


def test_two_compounds_of_the_plates_are_left_out(table: pl.DataFrame) -> None:
    missing = {compound.name for compound in COMPOUNDS} - set(table["pert_iname"])
    assert missing == {"AZD-8055", "JQ1"}


def test_one_compound_is_listed_as_its_salt(table: pl.DataFrame) -> None:
    salts = table.filter(pl.col("canonical_smiles").str.contains(".", literal=True))
    assert salts["pert_iname"].to_list() == ["doxorubicin"]
