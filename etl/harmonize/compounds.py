"""Reported compounds to parent structures, by the strongest evidence the publisher gives.

The ladder is climbed once for a whole dataset: structure, InChIKey, PubChem CID, registry id, name in the
LINCS compound table, name in PubChem. Each rung takes only what the rungs above left open, and says what it
rests on. Chemistry is in ``structures.py``, the service in ``pubchem.py``.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from etl.accounting import RowAccount
from etl.errors import BadInputError
from etl.formats import delimited
from etl.harmonize.identifiers import unresolved_id
from etl.harmonize.pubchem import PubChem
from etl.harmonize.structures import describe, standardize
from schemas.core.compound import COMPOUND
from schemas.core.compound_name import COMPOUND_NAME

NOT_ASKED: Final = "not asked: PubChem offline"
UNKNOWN: Final = "unknown to PubChem"

_REFERENCE_SCHEMA = pl.Schema(
    {
        "vendor_id": pl.String,
        "name_key": pl.String,
        "inchikey": pl.String,
        "pubchem_cid": pl.Int64,
        "smiles": pl.String,
    }
)
_LINCS_COLUMNS = ("pert_id", "pert_iname", "pert_type", "pubchem_cid", "canonical_smiles", "inchi_key")
_LINCS_MISSING = ("-666", "restricted", "")
_INCHIKEY = re.compile(r"[A-Z]{14}-[A-Z]{10}-[A-Z]")
_BROAD_ID = re.compile(r"(BRD-[A-Z]\d{8})(?:-.*)?")
_TRAILING_PARENTHESIS = re.compile(r"(.+?)\s*\(([^()]*)\)\s*")
_GREEK = str.maketrans(
    {"α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "κ": "kappa", "λ": "lambda"}
    | {"μ": "mu", "π": "pi", "σ": "sigma", "ς": "sigma", "τ": "tau", "ω": "omega"}
)
_ROTATIONS = (
    ("(+/-)", "rac"),
    ("(+-)", "rac"),
    ("(±)", "rac"),
    ("(+)", "plus"),
    ("(-)", "minus"),
    ("(−)", "minus"),
)


@dataclass(frozen=True, slots=True)
class CompoundReference:
    """Compounds with known structure, by registry id, name, InChIKey and CID.

    Args:
        compounds: columns ``vendor_id``, ``name_key`` (:func:`name_key`), ``inchikey``, ``pubchem_cid``,
            ``smiles``; every row has a SMILES, as published and not yet standardized.
    """

    compounds: pl.DataFrame


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A structure proposed for a compound, with the CID that goes with it."""

    smiles: str
    pubchem_cid: int | None


def load_compound_reference(folder: Path | None) -> CompoundReference:
    """Return the compounds (``trt_cp``) of the folder's ``lincs_pertinfo.tsv.gz``; empty where it is missing.

    Raises:
        BadInputError: the file cannot be read, or lacks a column.
    """
    path = folder / "lincs_pertinfo.tsv.gz" if folder is not None else None
    if path is None or not path.is_file():
        return CompoundReference(pl.DataFrame(schema=_REFERENCE_SCHEMA))
    raw = delimited.read_reference(path, _LINCS_COLUMNS, separator="\t")
    stated = raw.filter(pl.col("pert_type") == "trt_cp").select(
        pl.when(~pl.col(column).str.strip_chars().is_in(_LINCS_MISSING)).then(
            pl.col(column).str.strip_chars()
        )
        for column in _LINCS_COLUMNS
    )
    cid = pl.col("pubchem_cid").cast(pl.Int64, strict=False)
    compounds = stated.drop_nulls("canonical_smiles").select(
        vendor_id="pert_id",
        name_key=pl.col("pert_iname").map_elements(name_key, return_dtype=pl.String),
        inchikey=pl.col("inchi_key").str.strip_prefix("InChIKey="),
        pubchem_cid=pl.when(cid > 0).then(cid),
        smiles="canonical_smiles",
    )
    return CompoundReference(compounds)


def name_key(name: str) -> str:
    """Return the form in which names are compared: no case, spaces or punctuation, Greek letters spelled.

    The sign of optical rotation is kept as a word, since it tells enantiomers apart.

    >>> name_key("γ-Oryzanol"), name_key("(+)-JQ1"), name_key("PLX-4720")
    ('gammaoryzanol', 'plusjq1', 'plx4720')
    """
    text = name.casefold()
    for sign, word in _ROTATIONS:
        text = text.replace(sign, word)
    return "".join(character for character in text.translate(_GREEK) if character.isalnum())


def resolve_compounds(
    reported: pl.DataFrame, *, dataset_id: str, reference: CompoundReference, pubchem: PubChem
) -> tuple[pl.DataFrame, RowAccount]:
    """Resolve reported compounds (``ReportedCompound``) into the columns of ``core/compound_name``.

    Every input row comes out once, in the same order. Rungs and confidences:

    1. the reported structure: high;
    2. the reported InChIKey, structure from the reference or PubChem: high;
    3. the reported PubChem CID, likewise: high;
    4. the registry id in the reference: high;
    5. the reported InChIKey itself where no structure was found: low; a name never overrides a key;
    6. the name in the reference, if it means one parent: medium;
    7. CAS number, then name in PubChem: medium if all candidates share one skeleton, else low; the lowest
       CID is chosen and all candidates are kept.

    What stays open is ``unresolved:<dataset_id>:<compound_reported>`` with the reason.

    Raises:
        BadInputError: a compound is reported twice, or its key is blank.
    """
    if (repeated := reported.filter(pl.col("compound_reported").is_duplicated())).height:
        raise BadInputError(
            f"compound {repeated['compound_reported'][0]!r} is reported more than once",
            dataset_id=dataset_id,
            column="compound_reported",
        )
    is_cid = pl.col("pubchem_cid") > 0
    not_cids = reported.filter(~is_cid)["compound_reported"]
    reported = reported.with_columns(pubchem_cid=pl.when(is_cid).then("pubchem_cid"))
    ladder = _Ladder(reported.rows(named=True), reference, pubchem)
    for key in not_cids:
        ladder.notes[key].append("the reported PubChem CID is not positive")
    ladder.climb()
    rows = [_row(dataset_id, row, ladder) for row in reported.iter_rows(named=True)]
    names = pl.DataFrame(rows, schema=COMPOUND_NAME.polars_schema, orient="row")
    noted = Counter(
        f"unresolved: {ladder.cause_of(key)}" if method == "unresolved" else f"resolved by {method}"
        for key, method in names.select("compound_reported", "method").iter_rows()
    )
    noted |= {what: n for what, n in _asked(pubchem).items() if n}
    return names, RowAccount(
        n_in=reported.height, n_out=names.height, noted=dict(sorted(noted.items())), unit="compounds"
    )


def _asked(pubchem: PubChem) -> dict[str, int]:
    """Return how many look-ups ended how."""
    return {
        "PubChem look-ups answered": pubchem.n_asked,
        "PubChem look-ups answered from the cache": pubchem.n_from_cache,
        f"PubChem look-ups not made ({pubchem.offline_reason})": pubchem.n_not_asked,
    }


def merge_compounds(compound_names: pl.DataFrame) -> pl.DataFrame:
    """Return ``core/compound`` from all rows of ``core/compound_name``, sorted by id."""
    label = pl.coalesce("name_reported", "compound_reported")
    names = (
        compound_names.group_by("compound_id", name=label)
        .len()
        .sort("compound_id", "len", "name", descending=[False, True, False])
        .unique("compound_id", keep="first", maintain_order=True)
        .select("compound_id", "name")
    )
    merged = (
        compound_names.group_by("compound_id")
        .agg(
            smiles=pl.col("parent_smiles").min(),
            pubchem_cid=pl.col("pubchem_cid").min(),
            mechanism=_distinct("mechanism_reported"),
            targets=_distinct("targets_reported"),
            n_datasets=pl.col("dataset_id").n_unique().cast(pl.Int32),
        )
        .join(names, on="compound_id")
    )
    described = describe(merged["smiles"]).rename({"parent_smiles": "smiles"})
    is_resolved = ~pl.col("compound_id").str.starts_with("unresolved:")
    is_single = is_resolved & ~pl.col("compound_id").str.starts_with("mixture:")
    return (
        merged.join(described, on="smiles", how="left")
        .with_columns(
            is_resolved=is_resolved,
            inchikey_skeleton=pl.when(is_single).then(pl.col("compound_id").str.head(14)),
        )
        .select(COMPOUND.polars_schema.names())
        .sort("compound_id")
    )


class _Ladder:
    """The compounds of one dataset on their way from open to resolved."""

    def __init__(
        self, reported: Sequence[dict[str, Any]], reference: CompoundReference, pubchem: PubChem
    ) -> None:
        self.open: dict[str, dict[str, Any]] = {row["compound_reported"]: row for row in reported}
        self.resolved: dict[str, dict[str, Any]] = {}
        self.notes: defaultdict[str, list[str]] = defaultdict(list)
        self.candidate_cids: dict[str, list[int]] = {}
        self._reference = reference.compounds
        self._pubchem = pubchem
        self._parents: dict[str, dict[str, Any]] = {}

    def climb(self) -> None:
        """Try rung after rung."""
        self._by_structure()
        self._by_identifier("inchikey", "inchikey", self._inchikey, self._structures_of_inchikeys)
        self._by_identifier(
            "pubchem_cid", "pubchem_cid", lambda row: row["pubchem_cid"], self._structures_of_cids
        )
        self._by_identifier("vendor_id", "vendor_id", _broad_id, lambda _: {})
        self._by_bare_inchikey()
        self._by_reference_name()
        self._by_pubchem_name()

    def cause_of(self, key: str) -> str:
        """Return the last thing noticed about a compound, without its details."""
        notes = self.notes[key]
        return notes[-1] if notes[-1] == NOT_ASKED else notes[-1].split(":")[0]

    def _by_structure(self) -> None:
        given = {key: row for key, row in self.open.items() if row["smiles"] is not None}
        proposals = {key: [_Candidate(row["smiles"], row["pubchem_cid"])] for key, row in given.items()}
        self._accept("structure", "high", proposals, what="structure")
        for key in given.keys() & self.resolved.keys():
            found, stated = self.resolved[key], self._inchikey(given[key])
            is_whole = not found["is_salt"] and not found["is_mixture"]
            if stated is not None and is_whole and stated[:14] != found["compound_id"][:14]:
                self.notes[key].append("the reported InChIKey belongs to another structure")

    def _by_identifier(
        self,
        method: str,
        column: str,
        identifier: Callable[[dict[str, Any]], Any],
        ask: Callable[[set[Any]], Mapping[Any, _Candidate]],
    ) -> None:
        """Take the structure that an identifier has in the reference, else in PubChem."""
        wanted = {key: value for key, row in self.open.items() if (value := identifier(row)) is not None}
        known = self._in_reference(column, set(wanted.values()))
        proposals = {key: known[value] for key, value in wanted.items() if value in known}
        self._accept(method, "high", proposals, what=f"{column} in the reference")
        wanted = {key: value for key, value in wanted.items() if key in self.open}
        answers = ask(set(wanted.values()))
        proposals = {key: [answers[value]] for key, value in wanted.items() if value in answers}
        self._accept(method, "high", proposals, what=column)

    def _by_bare_inchikey(self) -> None:
        for key, row in list(self.open.items()):
            if (inchikey := self._inchikey(row)) is not None:
                self.notes[key].append("no structure found for the reported InChIKey")
                parent = {
                    "compound_id": inchikey,
                    "parent_smiles": None,
                    "is_salt": False,
                    "is_mixture": False,
                }
                self._close(key, "inchikey", "low", parent, row["pubchem_cid"])

    def _by_reference_name(self) -> None:
        """Compare names; a trailing parenthesis (salt, synonym) is left out where the whole name fails."""
        whole = {key: name_key(_name(row)) for key, row in self.open.items()}
        shortened = {
            key: name_key(match[1])
            for key, row in self.open.items()
            if (match := _TRAILING_PARENTHESIS.fullmatch(_name(row)))
        }
        known = self._in_reference("name_key", {*whole.values(), *shortened.values()})
        for names, remark in ((whole, None), (shortened, "name without its parenthesis")):
            proposals = {
                key: known[name] for key, name in names.items() if name in known and key in self.open
            }
            self._accept("reference_name", "medium", proposals, what="name")
            if remark is not None:
                for key in proposals.keys() & self.resolved.keys():
                    self.notes[key].append(remark)

    def _by_pubchem_name(self) -> None:
        numbers = {key: row["cas"] for key, row in self.open.items() if row["cas"] is not None}
        by_number = self._pubchem.cids_by_name(numbers.values())
        found = {key: by_number[number] for key, number in numbers.items() if by_number.get(number)}
        names = {key: _name(row) for key, row in self.open.items() if key not in found}
        by_name = self._pubchem.cids_by_name(names.values())
        found |= {key: by_name[name] for key, name in names.items() if by_name.get(name)}
        for key, name in names.items():
            if key not in found:
                was_asked = name in by_name and (key not in numbers or numbers[key] in by_number)
                self.notes[key].append(UNKNOWN if was_asked else NOT_ASKED)
        self.candidate_cids |= found
        smiles = self._pubchem.structures_by_cid(cid for cids in found.values() for cid in cids)
        self._standardize(smiles.values())
        for key, cids in found.items():
            known = [
                cid for cid in sorted(cids) if cid in smiles and self._parents[smiles[cid]]["compound_id"]
            ]
            if not known:
                missing = not any(cid in smiles for cid in cids) and self._pubchem.is_offline
                self.notes[key].append(NOT_ASKED if missing else "no usable structure in PubChem")
                continue
            parents = {_skeleton(self._parents[smiles[cid]]["compound_id"]) for cid in known}
            if len(parents) > 1:
                self.notes[key].append(f"{len(parents)} parents among PubChem's candidates; lowest CID taken")
            if key in numbers and by_number.get(numbers[key]):
                self.notes[key].append("found by its CAS number")
            confidence = "medium" if len(parents) == 1 else "low"
            self._close(key, "pubchem_name", confidence, self._parents[smiles[known[0]]], known[0])

    def _accept(
        self, method: str, confidence: str, proposals: Mapping[str, Sequence[_Candidate]], *, what: str
    ) -> None:
        """Close every compound whose candidates have one parent; note why the others stay open."""
        self._standardize(candidate.smiles for candidates in proposals.values() for candidate in candidates)
        for key, candidates in proposals.items():
            parents = {
                parent["compound_id"]: (parent, candidate.pubchem_cid)
                for candidate in candidates
                if (parent := self._parents[candidate.smiles])["compound_id"] is not None
            }
            if len(parents) == 1:
                [(parent, cid)] = parents.values()
                self._close(key, method, confidence, parent, self.open[key]["pubchem_cid"] or cid)
            elif parents:
                self.notes[key].append(f"ambiguous {what}: {len(parents)} parents")
            else:
                problem = self._parents[candidates[0].smiles]["problem"]
                self.notes[key].append(f"structure not parsed: {problem}")

    def _close(self, key: str, method: str, confidence: str, parent: dict[str, Any], cid: int | None) -> None:
        del self.open[key]
        self.resolved[key] = parent | {
            "method": "mixture" if parent["is_mixture"] else method,
            "confidence": confidence,
            "pubchem_cid": cid,
        }

    def _standardize(self, smiles: Iterable[str]) -> None:
        new = pl.Series([text for text in smiles if text not in self._parents], dtype=pl.String)
        self._parents |= {row["smiles_reported"]: row for row in standardize(new).iter_rows(named=True)}

    def _in_reference(self, column: str, values: set[Any]) -> dict[Any, list[_Candidate]]:
        wanted = pl.Series(sorted(values), dtype=_REFERENCE_SCHEMA[column])
        rows = self._reference.filter(pl.col(column).is_in(wanted.implode()))
        found: defaultdict[Any, list[_Candidate]] = defaultdict(list)
        listed = rows.select(value=column, smiles="smiles", cid="pubchem_cid").sort(pl.all())
        for value, smiles, cid in listed.iter_rows():
            found[value].append(_Candidate(smiles, cid))
        return dict(found)

    def _structures_of_inchikeys(self, inchikeys: set[str]) -> dict[str, _Candidate]:
        cids = self._pubchem.cids_by_inchikey(sorted(inchikeys))
        lowest = {inchikey: min(found) for inchikey, found in cids.items() if found}
        structures = self._structures_of_cids(set(lowest.values()))
        return {inchikey: structures[cid] for inchikey, cid in lowest.items() if cid in structures}

    def _structures_of_cids(self, cids: set[int]) -> dict[int, _Candidate]:
        return {cid: _Candidate(smiles, cid) for cid, smiles in self._pubchem.structures_by_cid(cids).items()}

    def _inchikey(self, row: dict[str, Any]) -> str | None:
        """Return the reported InChIKey without prefix; what has another form is noted and not used."""
        if row["inchikey"] is None:
            return None
        text: str = row["inchikey"].strip().removeprefix("InChIKey=")
        if _INCHIKEY.fullmatch(text):
            return text
        note, notes = "the reported InChIKey is not one", self.notes[row["compound_reported"]]
        if note not in notes:
            notes.append(note)
        return None


def _row(dataset_id: str, row: dict[str, Any], ladder: _Ladder) -> dict[str, Any]:
    key = row["compound_reported"]
    nothing = {"compound_id": unresolved_id(dataset_id, key), "method": "unresolved", "confidence": "none"}
    resolution = ladder.resolved.get(key, nothing)
    return {
        "dataset_id": dataset_id,
        "compound_reported": key,
        "name_reported": row["name"],
        "smiles_reported": row["smiles"],
        "inchikey_reported": row["inchikey"],
        "cas_reported": row["cas"],
        "vendor_id_reported": row["vendor_id"],
        "pubchem_cid_reported": row["pubchem_cid"],
        "mechanism_reported": row["mechanism"],
        "targets_reported": row["targets"],
        "compound_id": resolution["compound_id"],
        "method": resolution["method"],
        "confidence": resolution["confidence"],
        "reason": "; ".join(ladder.notes[key]) or None,
        "parent_smiles": resolution.get("parent_smiles"),
        "pubchem_cid": resolution.get("pubchem_cid"),
        "candidate_cids": ladder.candidate_cids.get(key, []),
        "is_salt": resolution.get("is_salt", False),
        "is_mixture": resolution.get("is_mixture", False),
    }


def _name(row: dict[str, Any]) -> str:
    name: str = row["name"] if row["name"] is not None else row["compound_reported"]
    return name


def _broad_id(row: dict[str, Any]) -> str | None:
    """Return the registry id; a Broad id without its salt and batch suffix (``BRD-K12345678-001-01-6``)."""
    if row["vendor_id"] is None:
        return None
    text: str = row["vendor_id"].strip()
    match = _BROAD_ID.fullmatch(text)
    return match[1] if match else text


def _skeleton(compound_id: str) -> str:
    """Return the part of an id that stereoisomers share; a mixture has none and stays whole."""
    return compound_id if compound_id.startswith("mixture:") else compound_id[:14]


def _distinct(column: str) -> pl.Expr:
    values = pl.col(column).drop_nulls().unique().sort()
    return pl.when(values.len() > 0).then(values.str.join("; "))
