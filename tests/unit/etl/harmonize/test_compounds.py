"""Rung by rung: what a compound is resolved on, how far it is trusted, and why it is not."""

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.accounting import RowAccount
from etl.errors import BadInputError
from etl.harmonize.compounds import (
    NOT_ASKED,
    UNKNOWN,
    CompoundReference,
    load_compound_reference,
    merge_compounds,
    name_key,
    resolve_compounds,
)
from etl.harmonize.pubchem import PubChem
from schemas.core.compound import Compound
from schemas.core.compound_name import CompoundName
from schemas.reported import ReportedCompound
from schemas.table import polars_schema

ASPIRIN, ASPIRIN_KEY = "CC(=O)Oc1ccccc1C(=O)O", "BSYNRYMUTXBXSQ-UHFFFAOYSA-N"
CAFFEINE, CAFFEINE_KEY = "Cn1c(=O)c2c(ncn2C)n(C)c1=O", "RYYVLZVUVIJVGH-UHFFFAOYSA-N"

REFERENCE_TEXT = f"""pert_id\tpert_iname\tpert_type\tpubchem_cid\tcanonical_smiles\tinchi_key
BRD-K00000001\taspirin\ttrt_cp\t2244\t{ASPIRIN}\tInChIKey={ASPIRIN_KEY}
BRD-K00000002\tJQ1\ttrt_cp\t-666\tC[C@H](N)C(=O)NCc1ccccc1\t-666
BRD-K00000003\tJQ1\ttrt_cp\t-666\tC[C@@H](N)C(=O)NCc1ccccc1\t-666
BRD-K00000004\tsecret\ttrt_cp\t5\trestricted\t-666
TRCN01\tTP53\ttrt_sh\t-666\t-666\t-666
"""


class KnownPubChem(PubChem):
    """PubChem with fixed answers, in place of the service."""

    names: dict[str, list[int]]
    smiles: dict[int, str]

    def cids_by_name(self, names: Iterable[str]) -> dict[str, list[int]]:
        return {name: self.names.get(name, []) for name in names}

    def cids_by_inchikey(self, inchikeys: Iterable[str]) -> dict[str, list[int]]:
        return {key: self.names.get(key, []) for key in inchikeys}

    def structures_by_cid(self, cids: Iterable[int]) -> dict[int, str]:
        return {cid: self.smiles[cid] for cid in cids if cid in self.smiles}


@pytest.fixture
def reference(tmp_path: Path) -> CompoundReference:
    (tmp_path / "lincs_pertinfo.tsv.gz").write_bytes(gzip.compress(REFERENCE_TEXT.encode()))
    return load_compound_reference(tmp_path)


def reported(*rows: dict[str, Any]) -> pl.DataFrame:
    empty = dict.fromkeys(polars_schema(ReportedCompound).names())
    return pl.DataFrame([empty | row for row in rows], schema=polars_schema(ReportedCompound))


def resolve(
    folder: Path,
    reference: CompoundReference,
    *rows: dict[str, Any],
    names: dict[str, list[int]] | None = None,
    smiles: dict[int, str] | None = None,
) -> tuple[list[dict[str, Any]], RowAccount]:
    kind = PubChem if names is None else KnownPubChem
    with kind(folder / "pubchem.sqlite", mode="offline") as pubchem:
        if isinstance(pubchem, KnownPubChem):
            pubchem.names, pubchem.smiles = names or {}, smiles or {}
        frame = reported(*rows)
        resolved, account = resolve_compounds(frame, dataset_id="toy", reference=reference, pubchem=pubchem)
    CompoundName.validate(resolved)
    assert resolved["compound_reported"].to_list() == frame["compound_reported"].to_list()
    return resolved.rows(named=True), account


@pytest.mark.parametrize(
    ("given_", "method", "confidence"),
    [
        ({"smiles": ASPIRIN + ".[Na+].[Cl-]"}, "structure", "high"),
        ({"inchikey": ASPIRIN_KEY}, "inchikey", "high"),
        ({"pubchem_cid": 2244}, "pubchem_cid", "high"),
        ({"vendor_id": "BRD-K00000001-236-03-1"}, "vendor_id", "high"),
        ({"name": "Aspirin"}, "reference_name", "medium"),
        ({"name": "Aspirin (sodium)"}, "reference_name", "medium"),
    ],
)
def test_each_rung_leads_to_the_same_parent(
    tmp_path: Path, reference: CompoundReference, given_: dict[str, Any], method: str, confidence: str
) -> None:
    [row], account = resolve(tmp_path, reference, {"compound_reported": "c1"} | given_)
    assert (row["compound_id"], row["method"], row["confidence"]) == (ASPIRIN_KEY, method, confidence)
    assert account.noted == {f"resolved by {method}": 1}


def test_the_structure_goes_before_everything_else(tmp_path: Path, reference: CompoundReference) -> None:
    [row], _ = resolve(
        tmp_path,
        reference,
        {"compound_reported": "c", "smiles": CAFFEINE, "name": "aspirin", "pubchem_cid": 2244},
    )
    assert (row["compound_id"], row["pubchem_cid"]) == (CAFFEINE_KEY, 2244)


def test_a_cid_that_cannot_be_is_noted_and_not_kept(tmp_path: Path, reference: CompoundReference) -> None:
    [row], _ = resolve(tmp_path, reference, {"compound_reported": "aspirin", "pubchem_cid": 0})
    assert (row["method"], row["pubchem_cid_reported"]) == ("reference_name", None)
    assert row["reason"] == "the reported PubChem CID is not positive"


def test_a_key_of_another_structure_is_noticed(tmp_path: Path, reference: CompoundReference) -> None:
    [row], _ = resolve(
        tmp_path, reference, {"compound_reported": "c", "smiles": CAFFEINE, "inchikey": ASPIRIN_KEY}
    )
    assert row["compound_id"] == CAFFEINE_KEY
    assert row["reason"] == "the reported InChIKey belongs to another structure"


def test_a_key_without_structure_is_used_with_low_confidence_and_no_name_overrides_it(
    tmp_path: Path, reference: CompoundReference
) -> None:
    [row], _ = resolve(tmp_path, reference, {"compound_reported": "aspirin", "inchikey": CAFFEINE_KEY})
    assert (row["compound_id"], row["confidence"], row["parent_smiles"]) == (CAFFEINE_KEY, "low", None)


def test_a_broken_structure_is_said_and_the_next_rung_tried(
    tmp_path: Path, reference: CompoundReference
) -> None:
    [row], _ = resolve(tmp_path, reference, {"compound_reported": "c", "smiles": "C(", "name": "aspirin"})
    assert (row["method"], row["reason"]) == ("reference_name", "structure not parsed: not a SMILES")


def test_a_combination_is_a_mixture(tmp_path: Path, reference: CompoundReference) -> None:
    [row], _ = resolve(tmp_path, reference, {"compound_reported": "c", "smiles": f"{ASPIRIN}.{CAFFEINE}"})
    assert (row["compound_id"], row["method"]) == (f"mixture:{ASPIRIN_KEY}+{CAFFEINE_KEY}", "mixture")


def test_a_name_with_several_parents_is_not_chosen(tmp_path: Path, reference: CompoundReference) -> None:
    [row], account = resolve(tmp_path, reference, {"compound_reported": "JQ1"})
    assert (row["compound_id"], row["confidence"]) == ("unresolved:toy:JQ1", "none")
    assert row["reason"] == f"ambiguous name: 2 parents; {NOT_ASKED}"
    assert account.noted == {
        f"unresolved: {NOT_ASKED}": 1,
        "PubChem look-ups not made (mode is offline)": 1,
    }


def test_an_enantiomer_is_not_the_compound_without_its_sign(
    tmp_path: Path, reference: CompoundReference
) -> None:
    [row], _ = resolve(tmp_path, reference, {"compound_reported": "(-)-aspirin"})
    assert row["method"] == "unresolved"


def test_unknown_to_pubchem_differs_from_not_asked(tmp_path: Path, reference: CompoundReference) -> None:
    row = {"compound_reported": "mystery"}
    assert resolve(tmp_path, reference, row)[0][0]["reason"] == NOT_ASKED
    assert resolve(tmp_path, reference, row, names={})[0][0]["reason"] == UNKNOWN


def test_one_skeleton_in_pubchem_is_medium_and_several_are_low(
    tmp_path: Path, reference: CompoundReference
) -> None:
    rows, _ = resolve(
        tmp_path,
        reference,
        {"compound_reported": "one"},
        {"compound_reported": "several"},
        names={"one": [7, 3], "several": [9, 3]},
        smiles={3: ASPIRIN, 7: ASPIRIN + ".[Na+].[OH-]", 9: CAFFEINE},
    )
    assert [(row["confidence"], row["pubchem_cid"], row["candidate_cids"]) for row in rows] == [
        ("medium", 3, [7, 3]),
        ("low", 3, [9, 3]),
    ]
    assert rows[1]["reason"] == "2 parents among PubChem's candidates; lowest CID taken"


def test_a_cas_number_is_asked_before_the_name(tmp_path: Path, reference: CompoundReference) -> None:
    [row], _ = resolve(
        tmp_path,
        reference,
        {"compound_reported": "coffee", "cas": "58-08-2"},
        names={"58-08-2": [2519], "coffee": [3]},
        smiles={2519: CAFFEINE, 3: ASPIRIN},
    )
    assert (row["compound_id"], row["reason"]) == (CAFFEINE_KEY, "found by its CAS number")


def test_a_compound_reported_twice_is_refused(tmp_path: Path, reference: CompoundReference) -> None:
    with pytest.raises(BadInputError, match="'c' is reported more than once"):
        resolve(tmp_path, reference, {"compound_reported": "c"}, {"compound_reported": "c"})


def test_only_compounds_with_structure_are_in_the_reference(reference: CompoundReference) -> None:
    assert reference.compounds["vendor_id"].to_list() == ["BRD-K00000001", "BRD-K00000002", "BRD-K00000003"]
    assert reference.compounds["pubchem_cid"].to_list() == [2244, None, None]


def test_without_the_file_the_reference_is_empty(tmp_path: Path) -> None:
    assert load_compound_reference(tmp_path / "nowhere").compounds.is_empty()
    assert load_compound_reference(None).compounds.is_empty()


@given(st.text(max_size=20))
def test_name_keys_are_idempotent_and_ignore_case_and_spaces(name: str) -> None:
    assert name_key(name_key(name)) == name_key(name)
    assert name_key(f" {name} ") == name_key(name)


def test_merging_gives_one_row_per_parent(tmp_path: Path, reference: CompoundReference) -> None:
    rows, _ = resolve(
        tmp_path,
        reference,
        {"compound_reported": "a", "smiles": ASPIRIN, "name": "ASA", "targets": "PTGS2", "pubchem_cid": 9000},
        {"compound_reported": "b", "vendor_id": "BRD-K00000001", "name": "aspirin", "targets": "PTGS1"},
        {"compound_reported": "c", "smiles": ASPIRIN + ".[Na+].[Cl-]", "name": "aspirin"},
        {"compound_reported": "d", "smiles": f"{ASPIRIN}.{CAFFEINE}"},
        {"compound_reported": "e"},
    )
    merged = merge_compounds(pl.DataFrame(rows, schema=polars_schema(CompoundName)))
    Compound.validate(merged)
    assert merged["compound_id"].to_list() == [
        ASPIRIN_KEY,
        f"mixture:{ASPIRIN_KEY}+{CAFFEINE_KEY}",
        "unresolved:toy:e",
    ]
    aspirin = merged.row(0, named=True)
    assert (aspirin["name"], aspirin["pubchem_cid"], aspirin["targets"]) == ("aspirin", 2244, "PTGS1; PTGS2")
    assert (aspirin["formula"], aspirin["n_datasets"], aspirin["mechanism"]) == ("C9H8O4", 1, None)
    assert merged["is_resolved"].to_list() == [True, True, False]


def test_real_combinations_of_ctrp_are_mixtures(tmp_path: Path, realdata: Path) -> None:
    table = pl.read_csv(realdata / "raw/ctrpv2/v20.meta.per_compound.txt", separator="\t", infer_schema=False)
    rows = [
        {"compound_reported": key, "name": name, "smiles": smiles}
        for key, name, smiles in table.select("master_cpd_id", "cpd_name", "cpd_smiles").iter_rows()
        if "mol/mol" in name
    ]
    resolved, _ = resolve(tmp_path, load_compound_reference(None), *rows)
    assert len(resolved) > 40
    assert {row["method"] for row in resolved} == {"mixture"}


def test_real_broad_ids_resolve_in_the_real_reference(tmp_path: Path, realdata: Path) -> None:
    table = pl.read_csv(
        realdata / "raw/l1000_phase1/GSE92742_subset_inst_info.txt", separator="\t", infer_schema=False
    )
    ids = table.filter(pl.col("pert_type") == "trt_cp")["pert_id"].unique().sort()
    reference = load_compound_reference(realdata / "raw/reference")
    _, account = resolve(tmp_path, reference, *({"compound_reported": i, "vendor_id": i} for i in ids))
    assert account.noted == {"resolved by vendor_id": 18}
