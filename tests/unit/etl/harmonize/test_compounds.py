"""What a compound is resolved on, how far it is trusted, what agrees and what contradicts."""

import gzip
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from etl.accounting import RowAccount
from etl.errors import BadInputError
from etl.harmonize.compound_names import name_key
from etl.harmonize.compound_reference import NO_REFERENCE, CompoundReference, load_compound_reference
from etl.harmonize.compounds import (
    NOT_ASKED,
    UNKNOWN,
    merge_compounds,
    reported_again,
    resolve_compounds,
)
from etl.harmonize.overrides import Override
from etl.harmonize.reference_folder import ReferenceFolder
from etl.harmonize.structures import tautomer_keys
from schemas.core.compound import Compound
from schemas.core.compound_name import CompoundName
from schemas.reported import ReportedCompound
from schemas.table import polars_schema

ASPIRIN, ASPIRIN_KEY = "CC(=O)Oc1ccccc1C(=O)O", "BSYNRYMUTXBXSQ-UHFFFAOYSA-N"
CAFFEINE, CAFFEINE_KEY = "Cn1c(=O)c2c(ncn2C)n(C)c1=O", "RYYVLZVUVIJVGH-UHFFFAOYSA-N"
THALIDOMIDE = "O=C1CCC(N2C(=O)c3ccccc3C2=O)C(=O)N1"
S_THALIDOMIDE, R_THALIDOMIDE = (f"O=C1CC[C@{turn}H](N2C(=O)c3ccccc3C2=O)C(=O)N1" for turn in ("", "@"))

REFERENCE_TEXT = f"""pert_id\tpert_iname\tpert_type\tpubchem_cid\tcanonical_smiles\tinchi_key
BRD-K00000001\taspirin\ttrt_cp\t2244\t{ASPIRIN}\tInChIKey={ASPIRIN_KEY}
BRD-K00000002\tJQ1\ttrt_cp\t-666\tC[C@H](N)C(=O)NCc1ccccc1\t-666
BRD-K00000003\tJQ1\ttrt_cp\t-666\tC[C@@H](N)C(=O)NCc1ccccc1\t-666
BRD-K00000004\tthalidomide\ttrt_cp\t-666\t{THALIDOMIDE}\t-666
BRD-K00000005\tthalidomide\ttrt_cp\t-666\t{S_THALIDOMIDE}\t-666
BRD-K00000006\tmany\ttrt_cp\t-666\t{ASPIRIN}\t-666
BRD-K00000007\tmany\ttrt_cp\t-666\t{ASPIRIN}.[Na+].[OH-]\t-666
BRD-K00000008\tmany\ttrt_cp\t-666\t{CAFFEINE}\t-666
BRD-K00000009\ttwo\ttrt_cp\t-666\t{ASPIRIN}\t-666
BRD-K00000010\ttwo\ttrt_cp\t-666\t{CAFFEINE}\t-666
BRD-K00000011\tcoffee\ttrt_cp\t2519\t{CAFFEINE}\tInChIKey={CAFFEINE_KEY}
"""


class KnownPubChem:
    """PubChem with fixed answers, in place of a service or its files; counts what is asked."""

    def __init__(
        self,
        names: Mapping[str, list[int]] | None = None,
        smiles: Mapping[int, str] | None = None,
        *,
        is_local: bool = False,
        is_offline: bool = False,
    ) -> None:
        self.names, self.smiles = names or {}, smiles or {}
        self.is_local, self.is_offline = is_local, is_offline
        self.origin = "PubChem files of 2026-01-01" if is_local else "PubChem REST"
        self.offline_reason = "mode is offline" if is_offline else None
        self.asked: list[str] = []
        self.parents: dict[int, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    @property
    def n_asked(self) -> int:
        return len(self.asked)

    n_from_cache = n_not_asked = 0

    def cids_by_name(self, names: Iterable[str]) -> dict[str, list[int]]:
        if self.is_offline:
            return {}
        self.asked += names
        return {name: self.names.get(name, []) for name in names}

    cids_by_inchikey = cids_by_name

    def structures_by_cid(self, cids: Iterable[int]) -> dict[int, str]:
        return {} if self.is_offline else {cid: self.smiles[cid] for cid in cids if cid in self.smiles}

    def parents_by_cid(self, cids: Iterable[int]) -> dict[int, int]:
        return {cid: self.parents.get(cid, cid) for cid in cids}


OFFLINE = KnownPubChem(is_offline=True)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> CompoundReference:
    folder = tmp_path_factory.mktemp("reference")
    (folder / "lincs_pertinfo.tsv.gz").write_bytes(gzip.compress(REFERENCE_TEXT.encode()))
    return load_compound_reference(ReferenceFolder(folder))


def reported(*rows: dict[str, Any]) -> pl.DataFrame:
    empty = dict.fromkeys(polars_schema(ReportedCompound).names())
    return pl.DataFrame([empty | row for row in rows], schema=polars_schema(ReportedCompound))


def resolve_frame(
    reference: CompoundReference,
    frame: pl.DataFrame,
    pubchem: KnownPubChem = OFFLINE,
    overrides: Mapping[str, Override] | None = None,
) -> tuple[pl.DataFrame, RowAccount]:
    names, account = resolve_compounds(
        frame, dataset_id="toy", reference=reference, pubchem=pubchem, overrides=overrides or {}
    )
    CompoundName.validate(names)
    assert names["compound_reported"].to_list() == frame["compound_reported"].to_list()
    return names, account


def resolve(
    reference: CompoundReference,
    *rows: dict[str, Any],
    pubchem: KnownPubChem = OFFLINE,
    overrides: Mapping[str, Override] | None = None,
) -> list[dict[str, Any]]:
    names, _ = resolve_frame(reference, reported(*rows), pubchem, overrides)
    return names.rows(named=True)


@pytest.mark.parametrize(
    ("given_", "method", "confidence", "origin"),
    [
        ({"smiles": ASPIRIN + ".[Na+].[Cl-]"}, "structure", "high", None),
        ({"inchikey": ASPIRIN_KEY}, "inchikey", "high", "lincs_pertinfo.tsv.gz"),
        ({"inchikey": f"InChIKey={ASPIRIN_KEY}"}, "inchikey", "high", "lincs_pertinfo.tsv.gz"),
        ({"pubchem_cid": 2244}, "pubchem_cid", "high", "lincs_pertinfo.tsv.gz"),
        ({"vendor_id": "BRD-K00000001-236-03-1"}, "registry_id", "high", "lincs_pertinfo.tsv.gz"),
        ({"compound_reported": "BRD-K00000001"}, "registry_id", "high", "lincs_pertinfo.tsv.gz"),
        ({"name": "Aspirin"}, "name", "medium", "lincs_pertinfo.tsv.gz"),
        ({"name": "Aspirin (sodium)"}, "name_variant", "medium", "lincs_pertinfo.tsv.gz"),
        ({"name": "aspirin hydrochloride"}, "name_variant", "medium", "lincs_pertinfo.tsv.gz"),
        ({"name": "aspirin acetate"}, "name_variant", "low", "lincs_pertinfo.tsv.gz"),
        ({"name": "Aspirin (USP)"}, "name_variant", "low", "lincs_pertinfo.tsv.gz"),
    ],
)
def test_each_kind_of_evidence_leads_to_the_same_parent(
    reference: CompoundReference, given_: dict[str, Any], method: str, confidence: str, origin: str | None
) -> None:
    [row] = resolve(reference, {"compound_reported": "c1"} | given_)
    assert (row["compound_id"], row["method"], row["confidence"], row["origin"]) == (
        ASPIRIN_KEY,
        method,
        confidence,
        origin,
    )
    assert (row["rule"], row["conflicts"], row["candidates"]) == (None, [], [ASPIRIN_KEY])


def test_the_account_says_what_resolved_and_why_the_rest_did_not(reference: CompoundReference) -> None:
    frame = reported(
        {"compound_reported": "a", "smiles": ASPIRIN, "name": "coffee"},
        {"compound_reported": "aspirin"},
        {"compound_reported": "b"},
    )
    _, account = resolve_frame(reference, frame)
    assert account.noted == {
        "contradicted by other evidence": 1,
        "resolved by name": 1,
        "resolved by structure": 1,
        f"unresolved: {NOT_ASKED}": 1,
    }


# --- witnesses ---------------------------------------------------------------------------------------------


def test_the_structure_goes_before_everything_else_and_what_contradicts_it_is_reported(
    reference: CompoundReference,
) -> None:
    [row] = resolve(
        reference, {"compound_reported": "c", "smiles": CAFFEINE, "name": "aspirin", "pubchem_cid": 2244}
    )
    assert (row["compound_id"], row["pubchem_cid"], row["confidence"]) == (CAFFEINE_KEY, 2244, "medium")
    assert row["conflicts"] == [
        f"PubChem CID 2244 says {ASPIRIN_KEY}",
        f"name 'aspirin' says {ASPIRIN_KEY}",
    ]


def test_evidence_that_agrees_is_named(reference: CompoundReference) -> None:
    [row] = resolve(
        reference,
        {"compound_reported": "BRD-K00000001", "smiles": ASPIRIN, "name": "aspirin", "inchikey": ASPIRIN_KEY},
    )
    assert row["agreeing"] == ["inchikey", "registry_id", "name"]
    assert (row["confidence"], row["conflicts"]) == ("high", [])


def test_a_key_of_another_structure_is_noticed(reference: CompoundReference) -> None:
    unknown = "AAAAAAAAAAAAAA-UHFFFAOYSA-N"
    [row] = resolve(reference, {"compound_reported": "c", "smiles": CAFFEINE, "inchikey": unknown})
    assert row["compound_id"] == CAFFEINE_KEY
    assert row["conflicts"] == [f"InChIKey '{unknown}' belongs to another structure"]


def test_the_key_of_a_salt_does_not_contradict_its_parent(reference: CompoundReference) -> None:
    salt = {"compound_reported": "c", "smiles": f"{CAFFEINE}.Cl", "inchikey": "AAAAAAAAAAAAAA-UHFFFAOYSA-N"}
    [row] = resolve(reference, salt)
    assert (row["is_salt"], row["conflicts"]) == (True, [])


# --- weak and broken evidence ------------------------------------------------------------------------------


def test_a_cid_that_cannot_be_is_noted_and_not_used(reference: CompoundReference) -> None:
    [row] = resolve(reference, {"compound_reported": "aspirin", "pubchem_cid": 0})
    assert (row["method"], row["pubchem_cid_reported"], row["pubchem_cid"]) == ("name", 0, 2244)
    assert row["reason"] == "the reported PubChem CID is not positive"


def test_a_key_without_structure_is_used_with_low_confidence_and_no_name_overrides_it(
    reference: CompoundReference,
) -> None:
    unknown = "AAAAAAAAAAAAAA-UHFFFAOYSA-N"
    [row] = resolve(reference, {"compound_reported": "aspirin", "inchikey": unknown})
    assert (row["compound_id"], row["confidence"], row["parent_smiles"]) == (unknown, "low", None)
    assert row["reason"] == "no structure found for the reported InChIKey"
    assert row["conflicts"] == [f"name 'aspirin' says {ASPIRIN_KEY}"]


def test_a_broken_structure_is_said_and_the_next_evidence_tried(reference: CompoundReference) -> None:
    [row] = resolve(reference, {"compound_reported": "c", "smiles": "C(", "name": "aspirin"})
    assert (row["method"], row["reason"]) == ("name", "structure not parsed: not a SMILES")


def test_a_key_that_is_none_is_noted(reference: CompoundReference) -> None:
    [row] = resolve(reference, {"compound_reported": "aspirin", "inchikey": "BSYNRY"})
    assert (row["method"], row["reason"]) == ("name", "the reported InChIKey is not one")


def test_a_cas_number_that_is_none_is_noted_and_not_looked_up(reference: CompoundReference) -> None:
    pubchem = KnownPubChem({"58-08-3": [2519]}, {2519: CAFFEINE})
    [row] = resolve(reference, {"compound_reported": "brew", "cas": "58-08-3"}, pubchem=pubchem)
    assert (row["method"], "58-08-3" in pubchem.asked) == ("unresolved", False)
    assert row["reason"] == f"the reported CAS number is not one; {UNKNOWN}"


def test_an_enantiomer_is_the_compound_without_its_sign_only_with_low_confidence(
    reference: CompoundReference,
) -> None:
    [row] = resolve(reference, {"compound_reported": "(-)-aspirin"})
    assert (row["compound_id"], row["method"], row["confidence"]) == (ASPIRIN_KEY, "name_variant", "low")
    assert row["reason"] == "name without '(-)'"


def test_a_catalogue_number_is_not_a_name(reference: CompoundReference) -> None:
    pubchem = KnownPubChem({"S7792": [2244]}, {2244: ASPIRIN})
    [row] = resolve(reference, {"compound_reported": "S7792"}, pubchem=pubchem)
    assert (row["method"], row["reason"], pubchem.asked) == ("unresolved", "nothing to look up", [])


def test_an_antibody_is_classified_and_not_looked_up(reference: CompoundReference) -> None:
    pubchem = KnownPubChem()
    [row] = resolve(reference, {"compound_reported": "trastuzumab"}, pubchem=pubchem)
    assert (row["kind"], row["method"], pubchem.asked) == ("antibody", "unresolved", [])
    assert row["reason"] == "antibody: no small-molecule structure is expected"


# --- combinations ------------------------------------------------------------------------------------------


def test_a_combination_of_structures_is_a_mixture(reference: CompoundReference) -> None:
    [row] = resolve(reference, {"compound_reported": "c", "smiles": f"{ASPIRIN}.{CAFFEINE}"})
    assert (row["compound_id"], row["method"]) == (f"mixture:{ASPIRIN_KEY}+{CAFFEINE_KEY}", "structure")
    assert (row["is_mixture"], row["kind"]) == (True, "combination")


def test_a_combination_of_names_is_the_same_mixture(reference: CompoundReference) -> None:
    [named] = resolve(reference, {"compound_reported": "coffee:aspirin (2:1 mol/mol)"})
    [drawn] = resolve(reference, {"compound_reported": "c", "smiles": f"{ASPIRIN}.{CAFFEINE}"})
    assert named["compound_id"] == drawn["compound_id"]
    assert named["parent_smiles"] == drawn["parent_smiles"]
    assert (named["method"], named["confidence"], named["kind"]) == ("combination", "medium", "combination")
    assert "combination of coffee and aspirin" in named["reason"]


def test_a_combination_with_an_unknown_part_stays_open(reference: CompoundReference) -> None:
    [row] = resolve(reference, {"compound_reported": "aspirin:mystery (1:1 mol/mol)"})
    assert row["method"] == "unresolved"
    assert "a combination of which 'mystery' is not known" in row["reason"]


# --- several candidates ------------------------------------------------------------------------------------


def test_enantiomers_under_one_name_are_not_chosen_between(reference: CompoundReference) -> None:
    [row] = resolve(reference, {"compound_reported": "JQ1"})
    assert (row["compound_id"], row["confidence"]) == ("unresolved:toy:JQ1", "none")
    assert row["reason"] == f"ambiguous name: 2 parents; {NOT_ASKED}"
    assert len(row["candidates"]) == 2


def test_of_stereoisomers_the_one_that_claims_least_is_chosen(reference: CompoundReference) -> None:
    [row] = resolve(reference, {"compound_reported": "thalidomide"})
    assert (row["compound_id"], row["confidence"]) == ("UEJJHQNACJXSKW-UHFFFAOYSA-N", "low")
    assert row["rule"] == "of 2 stereoisomers the only one that leaves stereochemistry open"
    assert len(row["candidates"]) == 2


def test_of_parents_the_one_of_most_reference_rows_is_chosen(reference: CompoundReference) -> None:
    [row] = resolve(reference, {"compound_reported": "many"})
    assert (row["compound_id"], row["confidence"]) == (ASPIRIN_KEY, "low")
    assert row["rule"] == "of 2 parents the one of 2 in 3 reference rows"


def test_other_evidence_decides_between_candidates(reference: CompoundReference) -> None:
    pubchem = KnownPubChem({"58-08-2": [2519, 1]}, {2519: CAFFEINE, 1: THALIDOMIDE}, is_local=True)
    [row] = resolve(reference, {"compound_reported": "two", "cas": "58-08-2"}, pubchem=pubchem)
    assert (row["compound_id"], row["method"], row["confidence"]) == (CAFFEINE_KEY, "cas", "low")
    assert row["rule"] == "of 2 parents the only one that other evidence leads to as well"
    assert row["agreeing"] == ["name"]


def test_one_parent_in_pubchem_is_medium_and_several_are_low_in_its_order(
    reference: CompoundReference,
) -> None:
    pubchem = KnownPubChem(
        {"one": [7, 3], "several": [9, 3]}, {3: ASPIRIN, 7: ASPIRIN + ".[Na+].[OH-]", 9: CAFFEINE}
    )
    one, several = resolve(
        reference, {"compound_reported": "one"}, {"compound_reported": "several"}, pubchem=pubchem
    )
    assert (one["confidence"], one["compound_id"], one["candidate_cids"]) == ("medium", ASPIRIN_KEY, [7, 3])
    assert (several["confidence"], several["compound_id"]) == ("low", CAFFEINE_KEY)
    assert (several["candidate_cids"], several["pubchem_cid"]) == ([9, 3], 9)
    assert several["rule"] == "of 2 parents the first in PubChem's order"
    assert several["candidates"] == [ASPIRIN_KEY, CAFFEINE_KEY]


# --- PubChem -----------------------------------------------------------------------------------------------


def test_unknown_to_pubchem_differs_from_not_asked(reference: CompoundReference) -> None:
    row = {"compound_reported": "mystery"}
    assert resolve(reference, row)[0]["reason"] == NOT_ASKED
    assert resolve(reference, row, pubchem=KnownPubChem())[0]["reason"] == UNKNOWN


def test_a_service_is_asked_only_for_what_is_open_and_only_as_far_as_needed(
    reference: CompoundReference,
) -> None:
    pubchem = KnownPubChem({"58-08-2": [2519]}, {2519: CAFFEINE})
    rows = resolve(
        reference,
        {"compound_reported": "a", "smiles": ASPIRIN, "name": "something"},
        {"compound_reported": "b", "cas": "58-08-2", "name": "brew"},
        {"compound_reported": "aspirin"},
        pubchem=pubchem,
    )
    assert [row["compound_id"] for row in rows] == [ASPIRIN_KEY, CAFFEINE_KEY, ASPIRIN_KEY]
    assert pubchem.asked == ["58-08-2"]
    assert rows[1]["origin"] == "PubChem REST"


def test_files_are_asked_for_everything_so_that_conflicts_are_seen(reference: CompoundReference) -> None:
    pubchem = KnownPubChem({"brew": [2519]}, {2519: CAFFEINE}, is_local=True)
    [row] = resolve(reference, {"compound_reported": "a", "smiles": ASPIRIN, "name": "brew"}, pubchem=pubchem)
    assert row["conflicts"] == [f"name 'brew' says {CAFFEINE_KEY}"]


def test_the_cid_of_the_parent_goes_before_those_of_its_salts(reference: CompoundReference) -> None:
    salt_and_parent = {"salty": [7, 3]}
    smiles = {3: ASPIRIN, 7: ASPIRIN + ".[Na+].[OH-]"}
    pubchem = KnownPubChem(salt_and_parent, smiles, is_local=True)
    pubchem.parents = {7: 3}
    [row] = resolve(reference, {"compound_reported": "salty"}, pubchem=pubchem)
    assert (row["pubchem_cid"], row["candidate_cids"]) == (3, [7, 3])


def test_a_cid_whose_structure_only_pubchem_knows(reference: CompoundReference) -> None:
    pubchem = KnownPubChem({}, {999: CAFFEINE})
    [row] = resolve(reference, {"compound_reported": "c", "pubchem_cid": 999}, pubchem=pubchem)
    assert (row["compound_id"], row["method"], row["pubchem_cid"]) == (CAFFEINE_KEY, "pubchem_cid", 999)


def test_a_bare_key_is_asked_for_its_structure(reference: CompoundReference) -> None:
    key = "UEJJHQNACJXSKW-UHFFFAOYSA-N"
    pubchem = KnownPubChem({key: [5426]}, {5426: THALIDOMIDE})
    [row] = resolve(reference, {"compound_reported": "c", "inchikey": key}, pubchem=pubchem)
    assert (row["compound_id"], row["confidence"], row["pubchem_cid"]) == (key, "high", 5426)


# --- overrides ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [CAFFEINE, CAFFEINE_KEY, "CID:2519", "cid: 2519", f"{CAFFEINE}.Cl"], ids=str
)
def test_an_override_decides_before_all_evidence(reference: CompoundReference, value: str) -> None:
    [row] = resolve(
        reference,
        {"compound_reported": "c", "smiles": ASPIRIN},
        overrides={"c": Override(value, "mislabelled vial", "lab book")},
    )
    assert (row["compound_id"], row["method"], row["confidence"]) == (CAFFEINE_KEY, "override", "high")
    assert row["reason"] == "override: mislabelled vial (lab book)"
    assert row["origin"] == "overrides.csv"


def test_an_override_may_state_that_there_is_no_compound(reference: CompoundReference) -> None:
    [row] = resolve(
        reference, {"compound_reported": "aspirin"}, overrides={"aspirin": Override(None, "an extract", "me")}
    )
    assert (row["method"], row["reason"]) == ("unresolved", "override: an extract (me)")


def test_an_override_that_is_no_structure_is_refused(reference: CompoundReference) -> None:
    with pytest.raises(BadInputError, match="override of compound 'c' is no structure"):
        resolve(reference, {"compound_reported": "c"}, overrides={"c": Override("C(", "why", "who")})


def test_an_override_whose_cid_is_not_known_here_says_so(reference: CompoundReference) -> None:
    [row] = resolve(reference, {"compound_reported": "c"}, overrides={"c": Override("CID:99", "why", "who")})
    assert row["method"] == "unresolved"
    assert "99 is in no reference" in row["reason"]


# --- the whole ---------------------------------------------------------------------------------------------


def test_a_compound_reported_twice_is_refused(reference: CompoundReference) -> None:
    with pytest.raises(BadInputError, match="'c' is reported more than once"):
        resolve(reference, {"compound_reported": "c"}, {"compound_reported": "c"})


EVERYTHING: list[dict[str, Any]] = [
    {"compound_reported": "a", "smiles": ASPIRIN, "name": "coffee"},
    {"compound_reported": "b", "smiles": "C(", "name": "many"},
    {"compound_reported": "thalidomide"},
    {"compound_reported": "JQ1"},
    {"compound_reported": "aspirin mesylate"},
    {"compound_reported": "coffee:aspirin (2:1 mol/mol)"},
    {"compound_reported": "BRD-K00000011", "inchikey": ASPIRIN_KEY},
    {"compound_reported": "nothing at all", "pubchem_cid": 2244},
    {"compound_reported": "infliximab"},
]


@given(st.randoms(use_true_random=False))
@settings(max_examples=15)
def test_the_order_of_compounds_does_not_matter(reference: CompoundReference, rng: random.Random) -> None:
    shuffled = rng.sample(EVERYTHING, len(EVERYTHING))
    straight, _ = resolve_frame(reference, reported(*EVERYTHING))
    other, _ = resolve_frame(reference, reported(*shuffled))
    assert_frame_equal(straight.sort("compound_reported"), other.sort("compound_reported"))


def test_resolving_what_a_table_keeps_gives_the_same_table(reference: CompoundReference) -> None:
    once, _ = resolve_frame(reference, reported(*EVERYTHING))
    again, _ = resolve_frame(reference, reported_again(once))
    assert_frame_equal(once, again)


@given(
    name=st.sampled_from(["aspirin", "coffee"]),
    salt=st.sampled_from(["", " hydrochloride", " HCl", " (mesylate)", " Sodium"]),
    data=st.data(),
)
@settings(max_examples=30)
def test_case_spacing_and_salt_variants_of_a_name_meet(
    reference: CompoundReference, name: str, salt: str, data: st.DataObject
) -> None:
    text = f"{name}{salt}"
    cased = "".join(data.draw(st.sampled_from([c.lower(), c.upper()])) for c in text)
    between = data.draw(st.sampled_from([" ", "  "]))
    spaced = data.draw(st.sampled_from(["", " "])) + cased.replace(" ", between)
    [row] = resolve(reference, {"compound_reported": spaced})
    assert row["compound_id"] == {"aspirin": ASPIRIN_KEY, "coffee": CAFFEINE_KEY}[name]


def test_merging_gives_one_row_per_parent(reference: CompoundReference) -> None:
    rows, _ = resolve_frame(
        reference,
        reported(
            {
                "compound_reported": "a",
                "smiles": ASPIRIN,
                "name": "ASA",
                "targets": "PTGS2",
                "pubchem_cid": 9,
            },
            {"compound_reported": "b", "vendor_id": "BRD-K00000001", "name": "aspirin", "targets": "PTGS1"},
            {"compound_reported": "c", "smiles": ASPIRIN + ".[Na+].[Cl-]", "name": "aspirin"},
            {"compound_reported": "d", "smiles": f"{ASPIRIN}.{CAFFEINE}"},
            {"compound_reported": "e"},
        ),
    )
    merged = merge_compounds(rows, tautomer_keys=tautomer_keys)
    Compound.validate(merged)
    assert merged["compound_id"].to_list() == [
        ASPIRIN_KEY,
        f"mixture:{ASPIRIN_KEY}+{CAFFEINE_KEY}",
        "unresolved:toy:e",
    ]
    aspirin = merged.row(0, named=True)
    assert (aspirin["name"], aspirin["pubchem_cid"], aspirin["targets"]) == ("aspirin", 9, "PTGS1; PTGS2")
    assert (aspirin["formula"], aspirin["n_datasets"], aspirin["mechanism"]) == ("C9H8O4", 1, None)
    assert merged["is_resolved"].to_list() == [True, True, False]
    assert merged["kind"].to_list() == ["small_molecule", "combination", "unknown"]
    assert merged["tautomer_key"].to_list() == [ASPIRIN_KEY, None, None]
    assert merge_compounds(rows)["tautomer_key"].null_count() == 3


def test_real_combinations_of_ctrp_are_mixtures(realdata: Path) -> None:
    table = pl.read_csv(realdata / "raw/ctrpv2/v20.meta.per_compound.txt", separator="\t", infer_schema=False)
    rows = [
        {"compound_reported": key, "name": name, "smiles": smiles}
        for key, name, smiles in table.select("master_cpd_id", "cpd_name", "cpd_smiles").iter_rows()
        if "mol/mol" in name
    ]
    resolved = resolve(NO_REFERENCE, *rows)
    assert len(resolved) == 49
    assert {row["kind"] for row in resolved} == {"combination"}


def test_real_broad_ids_resolve_in_the_real_reference(realdata: Path) -> None:
    table = pl.read_csv(
        realdata / "raw/l1000_phase1/GSE92742_subset_inst_info.txt", separator="\t", infer_schema=False
    )
    ids = table.filter(pl.col("pert_type") == "trt_cp")["pert_id"].unique().sort()
    reference = load_compound_reference(ReferenceFolder(realdata / "raw/reference"))
    _, account = resolve_frame(reference, reported(*({"compound_reported": i, "vendor_id": i} for i in ids)))
    assert account.noted["resolved by registry_id"] == 18


def test_names_are_compared_as_the_reference_compares_them() -> None:
    assert name_key("Aspirin ") == "aspirin"
