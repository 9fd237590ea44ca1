"""Reported compounds to parent structures, by the strongest evidence the publisher gives.

Every piece of evidence a publisher gives (structure, InChIKey, CID, CAS number, registry id, name) is looked
up by itself. The strongest that leads to one parent decides; the others bear witness: they agree, or they are
reported as conflicts. Chemistry is in ``structures``, reference tables in ``compound_reference``, the service
in ``pubchem``; how names are compared in ``compound_names`` and ``name_variants``.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import polars as pl

from etl.accounting import RowAccount
from etl.errors import BadInputError
from etl.harmonize.compound_kinds import combination_parts, kind_of_name
from etl.harmonize.compound_names import name_key
from etl.harmonize.compound_reference import Candidate, CompoundReference, IdentifierKind
from etl.harmonize.identifiers import unresolved_id
from etl.harmonize.name_variants import name_variants
from etl.harmonize.overrides import FILE_NAME, NO_OVERRIDES, Override
from etl.harmonize.pubchem import PubChem
from etl.harmonize.registry_ids import cas_number, is_catalogue_number, known_registry_key, registry_key
from etl.harmonize.structures import describe, standardize
from schemas.core.compound import COMPOUND
from schemas.core.compound_name import COMPOUND_NAME
from schemas.reported import ReportedCompound
from schemas.table import polars_schema
from schemas.vocabularies import COMPOUND_METHODS

Standardize = Callable[[pl.Series], pl.DataFrame]
"""``structures.standardize`` with its number of workers and its cache."""

NOT_ASKED: Final = "not asked: PubChem offline"
UNKNOWN: Final = "unknown to PubChem"

EVIDENCE: Final = tuple(
    method for method in COMPOUND_METHODS if method not in ("override", "combination", "unresolved")
)
"""What a publisher can give, strongest first."""

NOT_SMALL: Final = ("antibody", "biologic", "polymer")
"""Kinds of substances, told by name, that have no small-molecule structure: their names are not asked."""

_BY_NAME: Final = ("name", "name_variant")
_CONFIDENCE: Final = {"name": "medium", "name_variant": "low"}
_WEAKER: Final = {"high": "medium", "medium": "low", "low": "low"}
_INCHIKEY: Final = re.compile(r"[A-Z]{14}-[A-Z]{10}-[A-Z]")
_CID: Final = re.compile(r"CID:\s?(\d+)", re.IGNORECASE)
_SHOWN: Final = 3

Value = str | int
"""What is looked up: a text, or a CID."""


@dataclass(frozen=True, slots=True)
class _Parent:
    """A standardized structure that a candidate leads to."""

    compound_id: str
    smiles: str | None
    cids: tuple[int, ...]
    n_rows: int
    pubchem_rank: int | None
    origins: tuple[str, ...]
    facts: Mapping[str, Any]

    @property
    def skeleton(self) -> str:
        """The part of the id that stereoisomers share; a mixture has none and stays whole."""
        return self.compound_id if self.compound_id.startswith("mixture:") else self.compound_id[:14]


@dataclass(slots=True)
class _Resolution:
    """What became of one reported compound."""

    parent: _Parent | None = None
    method: str = "unresolved"
    confidence: str = "none"
    rule: str | None = None
    origin: str | None = None
    notes: list[str] = field(default_factory=list)
    agreeing: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    candidates: Sequence[_Parent] = ()


def resolve_compounds(
    reported: pl.DataFrame,
    *,
    dataset_id: str,
    reference: CompoundReference,
    pubchem: PubChem,
    overrides: Mapping[str, Override] = NO_OVERRIDES,
    standardize: Standardize = standardize,
) -> tuple[pl.DataFrame, RowAccount]:
    """Resolve reported compounds (``ReportedCompound``) into the columns of ``core/compound_name``.

    Every input row comes out once, in the same order; the answer for one does not depend on the others. An
    override decides before any evidence. Then the strongest evidence that leads to one parent, in the order
    of ``COMPOUND_METHODS``. Where evidence leads to several, these rules may choose, and say so:

    1. the only parent that other evidence leads to as well;
    2. of stereoisomers, or of anything PubChem knows by a name, the first in PubChem's order;
    3. the parent that most rows of the reference tables give;
    4. of stereoisomers, the only one that leaves its stereochemistry open: it claims least.

    Else the next weaker evidence is tried. An InChIKey of which no structure is known is itself the id, with
    low confidence: no name overrides it. What stays open is ``unresolved:<dataset_id>:<compound_reported>``
    with the reason and every candidate.

    Args:
        reported: the compounds.
        dataset_id: the dataset.
        reference: tables of known compounds.
        pubchem: asked for everything where asking costs nothing, else for what the tables leave open.
        overrides: settled cases, by ``compound_reported``.
        standardize: makes parents of structures.

    Raises:
        BadInputError: a compound is reported twice, its key is blank, or an override has no readable value.
    """
    if (repeated := reported.filter(pl.col("compound_reported").is_duplicated())).height:
        raise BadInputError(
            f"compound {repeated['compound_reported'][0]!r} is reported more than once",
            dataset_id=dataset_id,
            column="compound_reported",
        )
    rows = reported.rows(named=True)
    resolver = _Resolver(rows, dataset_id, reference, pubchem, overrides, standardize)
    resolutions = resolver.resolve()
    names = pl.DataFrame(
        [_row(dataset_id, row, resolutions[row["compound_reported"]]) for row in rows],
        schema=COMPOUND_NAME.polars_schema,
        orient="row",
    )
    return names, _account(names, resolutions, pubchem)


def reported_again(names: pl.DataFrame) -> pl.DataFrame:
    """Return the ``ReportedCompound`` rows that rows of ``core/compound_name`` were made from."""
    schema = polars_schema(ReportedCompound)
    return names.select(
        pl.col("compound_reported" if name == "compound_reported" else f"{name}_reported").alias(name)
        for name in schema
    )


def merge_compounds(
    compound_names: pl.DataFrame, *, tautomer_keys: Callable[[pl.Series], pl.DataFrame] | None = None
) -> pl.DataFrame:
    """Return ``core/compound`` from all rows of ``core/compound_name``, sorted by id.

    Args:
        compound_names: the rows of all datasets.
        tautomer_keys: ``structures.tautomer_keys`` with its number of workers and its cache; None leaves that
            column empty.
    """
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
            kind=pl.col("kind").sort_by(pl.col("kind") == "unknown", "kind").first(),
            smiles=pl.col("parent_smiles").min(),
            pubchem_cid=pl.col("pubchem_cid").min(),
            has_isotopes=pl.col("has_isotopes").any(),
            has_undefined_stereo=pl.col("has_undefined_stereo").any(),
            mechanism=_distinct("mechanism_reported"),
            targets=_distinct("targets_reported"),
            n_datasets=pl.col("dataset_id").n_unique().cast(pl.Int32),
        )
        .join(names, on="compound_id")
    )
    described = describe(merged["smiles"]).rename({"parent_smiles": "smiles"})
    keys = pl.DataFrame(schema={"smiles": pl.String, "tautomer_key": pl.String})
    if tautomer_keys is not None:
        keys = tautomer_keys(merged["smiles"]).select(smiles="parent_smiles", tautomer_key="tautomer_key")
    is_resolved = ~pl.col("compound_id").str.starts_with("unresolved:")
    is_single = is_resolved & ~pl.col("compound_id").str.starts_with("mixture:")
    return (
        merged.join(described, on="smiles", how="left")
        .join(keys, on="smiles", how="left")
        .with_columns(
            is_resolved=is_resolved,
            inchikey_skeleton=pl.when(is_single).then(pl.col("compound_id").str.head(14)),
            tautomer_key=pl.when(is_single).then("tautomer_key"),
        )
        .select(COMPOUND.polars_schema.names())
        .sort("compound_id")
    )


class _Resolver:
    """The compounds of one dataset, what is looked up for them, and what that leads to."""

    def __init__(
        self,
        rows: Sequence[dict[str, Any]],
        dataset_id: str,
        reference: CompoundReference,
        pubchem: PubChem,
        overrides: Mapping[str, Override],
        standardize: Standardize,
    ) -> None:
        self._dataset_id = dataset_id
        self._values = {row["compound_reported"]: _evidence_of(row) for row in rows}
        self._names = {row["compound_reported"]: _name(row) for row in rows}
        self._combinations = {key: combination_parts(name) for key, name in self._names.items()}
        self._notes = {row["compound_reported"]: _notes_of(row) for row in rows}
        self._overrides = {key: overrides[key] for key in self._values if key in overrides}
        self._found = _Lookups(reference, pubchem, standardize)
        self._pubchem = pubchem

    def resolve(self) -> dict[str, _Resolution]:
        """Return what each compound is."""
        wanted: defaultdict[str, set[Value]] = defaultdict(set)
        for values in self._values.values():
            for method, found in values.items():
                wanted[method] |= set(found)
        for override in self._overrides.values():
            for method, value in self._settled(override).items():
                wanted[method].add(value)
        for combined in self._combinations.values():
            wanted["name"] |= set(combined.parts) if combined is not None else set()
        self._found.look_up(wanted)
        resolutions = {key: self._resolved(key) for key in self._values}
        if not self._pubchem.is_local:
            for method in EVIDENCE:
                still_open = [key for key, found in resolutions.items() if self._is_open(key, found)]
                asked = {value for key in still_open for value in self._asked_for(key, method)}
                if asked:
                    self._found.ask({method: asked})
                    resolutions |= {key: self._resolved(key) for key in still_open}
        else:
            self._prefer_parent_cids(resolutions.values())
        for key, resolution in resolutions.items():
            if resolution.parent is None:
                self._explain(key, resolution)
        return resolutions

    def _prefer_parent_cids(self, resolutions: Iterable[_Resolution]) -> None:
        """Put the CIDs that PubChem has for the parent itself before those of its salts."""
        several = [each for each in resolutions if each.parent is not None and len(each.parent.cids) > 1]
        parents = self._pubchem.parents_by_cid(
            {cid for each in several if each.parent is not None for cid in each.parent.cids}
        )
        for each in several:
            assert each.parent is not None, "it was filtered"
            ordered = sorted(each.parent.cids, key=lambda cid: parents.get(cid, cid) != cid)
            each.parent = replace(each.parent, cids=tuple(ordered))

    def _is_open(self, key: str, resolution: _Resolution) -> bool:
        """Whether PubChem may say more: nothing is known, or only a bare key or a weak form of the name."""
        is_settled = key in self._overrides and self._overrides[key].value is None
        bare = resolution.parent is not None and resolution.parent.smiles is None
        return not is_settled and (resolution.parent is None or bare or resolution.method == "name_variant")

    def _asked_for(self, key: str, method: str) -> list[Value]:
        """Return what PubChem can be asked of one kind of evidence."""
        if key in self._overrides:
            settled = self._settled(self._overrides[key])
            return [settled[method]] if method in settled and method != "structure" else []
        values = list(self._values[key].get(method, ())) if method != "structure" else []
        if method == "registry_id":
            return [value for value in values if known_registry_key(str(value)) is not None]
        if method == "name" and (combined := self._combinations[key]) is not None:
            values += combined.parts
        return values

    def _resolved(self, key: str) -> _Resolution:
        resolution = _Resolution(notes=list(self._notes[key]))
        if key in self._overrides:
            self._apply_override(key, self._overrides[key], resolution)
            return resolution
        parents = {
            method: self._parents(method, values, resolution) for method, values in self._values[key].items()
        }
        for method in EVIDENCE:
            if parents.get(method):
                chosen, rule = _choose(method, parents)
                if chosen is not None:
                    self._decide(resolution, method, chosen, rule, parents[method])
                    if method == "name_variant":
                        self._describe_variant(key, resolution)
                    break
                resolution.notes.append(f"ambiguous {_plain(method)}: {len(parents[method])} parents")
            if method == _LAST_IDENTIFIER and self._by_bare_inchikey(key, resolution):
                break
        if resolution.parent is None:
            self._by_combination(key, resolution)
        if resolution.parent is not None:
            self._hear_witnesses(key, resolution, parents)
        else:
            every = {p.compound_id: p for found in parents.values() for p in found}
            resolution.candidates = list(every.values())
        return resolution

    def _parents(self, method: str, values: Sequence[Value], resolution: _Resolution) -> list[_Parent]:
        """Return what evidence leads to; of the forms of a name, the first that leads anywhere."""
        for value in values:
            parents, problems = self._found.parents(method, value)
            if parents:
                return parents
            resolution.notes += [problem for problem in problems if problem not in resolution.notes]
        return []

    def _decide(
        self,
        resolution: _Resolution,
        method: str,
        chosen: _Parent,
        rule: str | None,
        candidates: Sequence[_Parent],
    ) -> None:
        resolution.parent, resolution.method, resolution.rule = chosen, method, rule
        resolution.candidates = candidates
        resolution.confidence = "low" if rule is not None else _CONFIDENCE.get(method, "high")
        resolution.origin = "; ".join(chosen.origins) or None

    def _describe_variant(self, key: str, resolution: _Resolution) -> None:
        """Say what was left out of the name; without its salt, a name is as good as the whole."""
        for variant in name_variants(self._names[key]):
            if self._found.parents("name_variant", variant.text)[0]:
                resolution.notes.append(variant.remark)
                if variant.is_same_parent and resolution.rule is None:
                    resolution.confidence = "medium"
                return

    def _by_bare_inchikey(self, key: str, resolution: _Resolution) -> bool:
        """Take a reported InChIKey as the id where nothing stronger led to a structure."""
        for inchikey in self._values[key].get("inchikey", ()):
            resolution.notes.append("no structure found for the reported InChIKey")
            parent = _bare_parent(str(inchikey))
            self._decide(resolution, "inchikey", parent, None, [parent])
            resolution.confidence = "low"
            return True
        return False

    def _by_combination(self, key: str, resolution: _Resolution) -> None:
        """Take a name that joins several compounds apart; all of them must be known."""
        if (combined := self._combinations[key]) is None:
            return
        chosen: list[_Parent] = []
        for part in combined.parts:
            parents, _ = self._found.parents("name", part)
            parent, _ = _choose("name", {"name": parents}) if parents else (None, None)
            if parent is None:
                resolution.notes.append(f"a combination of which {part!r} is not known")
                return
            chosen.append(parent)
        mixed = _mixed(chosen)
        self._decide(resolution, "combination", mixed, None, [mixed])
        resolution.confidence = "medium"
        ratio = f", {combined.ratio}" if combined.ratio else ""
        resolution.notes.append(f"combination of {' and '.join(combined.parts)}{ratio}")

    def _hear_witnesses(
        self, key: str, resolution: _Resolution, parents: Mapping[str, Sequence[_Parent]]
    ) -> None:
        """Say which other evidence agrees with the decision and which contradicts it."""
        assert resolution.parent is not None
        own = resolution.parent.skeleton
        for method in EVIDENCE:
            values = self._values[key].get(method, ())
            others = parents.get(method, ())
            if method == resolution.method or not values:
                continue
            if method == "inchikey" and self._is_key_of_parent(str(values[0]), resolution):
                resolution.agreeing.append(method)
            elif method == "inchikey" and not self._may_differ(resolution):
                resolution.conflicts.append(f"InChIKey {values[0]!r} belongs to another structure")
            elif own in {other.skeleton for other in others}:
                resolution.agreeing.append(method)
            elif others and method != "name_variant":
                said = ", ".join(other.compound_id for other in others[:_SHOWN])
                more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
                resolution.conflicts.append(f"{_plain(method)} {values[0]!r} says {said}{more}")
        if resolution.conflicts:
            resolution.confidence = _WEAKER[resolution.confidence]

    @staticmethod
    def _is_key_of_parent(inchikey: str, resolution: _Resolution) -> bool:
        assert resolution.parent is not None
        return inchikey[:14] == resolution.parent.skeleton

    @staticmethod
    def _may_differ(resolution: _Resolution) -> bool:
        """Whether the reported substance has another key than its parent, as salts and mixtures have."""
        assert resolution.parent is not None
        return bool(resolution.parent.facts["is_salt"] or resolution.parent.facts["is_mixture"])

    @staticmethod
    def _settled(override: Override) -> dict[str, Value]:
        """Return what an override says, as evidence of one kind; nothing where it says there is none."""
        if override.value is None:
            return {}
        if match := _CID.fullmatch(override.value):
            return {"pubchem_cid": int(match[1])}
        if _INCHIKEY.fullmatch(override.value):
            return {"inchikey": override.value}
        return {"structure": override.value}

    def _apply_override(self, key: str, override: Override, resolution: _Resolution) -> None:
        resolution.notes.append(str(override))
        settled = self._settled(override)
        if not settled:
            return
        [(method, value)] = settled.items()
        parents, problems = self._found.parents(method, value)
        if method == "structure" and not parents:
            fault = f"the override of compound {key!r} is no structure, InChIKey or CID: {problems[0]}"
            raise BadInputError(fault, dataset_id=self._dataset_id, file=FILE_NAME, column="value")
        if method == "inchikey" and not parents:
            parents = [_bare_parent(str(value))]
        if not parents:
            resolution.notes.append(f"{value} is in no reference, and PubChem was not asked or knows it not")
            return
        chosen, rule = _choose(method, {method: parents})
        if chosen is None:
            resolution.notes.append(f"the override leads to {len(parents)} parents")
            resolution.candidates = parents
            return
        self._decide(resolution, "override", chosen, rule, parents)
        resolution.confidence, resolution.origin = "high", FILE_NAME

    def _explain(self, key: str, resolution: _Resolution) -> None:
        """Add why PubChem did not help to what is unresolved."""
        if key in self._overrides and self._overrides[key].value is None:
            return
        kind = kind_of_name(self._names[key])
        if kind in NOT_SMALL:
            resolution.notes.append(f"{kind}: no small-molecule structure is expected")
            return
        asked = [value for method in EVIDENCE for value in self._asked_for(key, method)]
        if not all(self._found.was_asked(value) for value in asked):
            resolution.notes.append(NOT_ASKED)
        elif resolution.candidates:
            # The last note is what the account counts.
            resolution.notes.sort(key=lambda note: note.startswith("ambiguous"))
        else:
            resolution.notes.append(UNKNOWN if asked else "nothing to look up")


class _Lookups:
    """Candidates of every value looked up, and the parents of their structures."""

    def __init__(self, reference: CompoundReference, pubchem: PubChem, standardize: Standardize) -> None:
        self._reference, self._pubchem, self._standardize = reference, pubchem, standardize
        self._candidates: defaultdict[tuple[str, Value], list[Candidate]] = defaultdict(list)
        self._structures: dict[str, dict[str, Any]] = {}
        self._asked: set[Value] = set()
        self._ranks: dict[tuple[str, Value], dict[int | None, int]] = {}
        self._parents: dict[tuple[str, Value], tuple[list[_Parent], list[str]]] = {}

    def look_up(self, wanted: Mapping[str, set[Value]]) -> None:
        """Look values up in the reference tables and, where it costs nothing, in PubChem."""
        for method, values in wanted.items():
            if method == "structure":
                for smiles in values:
                    self._candidates[method, smiles].append(Candidate(str(smiles)))
            else:
                self._in_reference(method, values)
        if self._pubchem.is_local:
            self.ask(wanted)
        else:
            self._complete()

    def ask(self, wanted: Mapping[str, set[Value]]) -> None:
        """Ask PubChem for values, and for the structures of what it and the tables give as CIDs."""
        for method, values in wanted.items():
            if method == "structure":
                continue
            for value, cids in self._cids(method, values).items():
                self._asked.add(value)
                self._ranks[method, value] = {cid: rank for rank, cid in enumerate(cids)}
                known = {candidate.pubchem_cid for candidate in self._candidates[method, value]}
                self._candidates[method, value] += [
                    Candidate(None, None, cid, self._pubchem.origin) for cid in cids if cid not in known
                ]
                self._parents.pop((method, value), None)
        self._complete()

    def was_asked(self, value: Value) -> bool:
        """Say whether PubChem has answered for a value."""
        return value in self._asked

    def parents(self, method: str, value: Value) -> tuple[list[_Parent], list[str]]:
        """Return the parents that a value leads to, in the order of its candidates, and what went wrong."""
        if (method, value) not in self._parents:
            self._parents[method, value] = self._standardized(method, value)
        return self._parents[method, value]

    def _in_reference(self, method: str, values: set[Value]) -> None:
        kind: IdentifierKind = "name" if method in _BY_NAME else method  # type: ignore[assignment]
        by_key: defaultdict[Value, list[Value]] = defaultdict(list)
        for value in values:
            by_key[name_key(str(value)) if kind == "name" else value].append(value)
        found = self._reference.candidates(kind, by_key)
        for key, candidates in found.items():
            for value in by_key[key]:
                self._candidates[method, value] += candidates
        if method == "registry_id":
            self._by_equivalent({value for value in values if not self._candidates.get((method, value))})

    def _by_equivalent(self, registry_ids: set[Value]) -> None:
        pairs = self._reference.equivalents_of(map(str, registry_ids))
        others = {other for found in pairs.values() for other in found}
        known = self._reference.candidates("registry_id", {o for o in others if isinstance(o, str)})
        for registry_id, found in pairs.items():
            for other in found:
                if isinstance(other, int):
                    self._candidates["registry_id", registry_id].append(
                        Candidate(None, None, other, "UniChem")
                    )
                else:
                    self._candidates["registry_id", registry_id] += known.get(other, [])

    def _cids(self, method: str, values: set[Value]) -> Mapping[Any, list[int]]:
        if method == "pubchem_cid":
            asked = sorted(value for value in values if isinstance(value, int))
            return {} if self._pubchem.is_offline else {cid: [cid] for cid in asked}
        texts = sorted(map(str, values))
        if method == "inchikey":
            return self._pubchem.cids_by_inchikey(texts)
        if method == "registry_id":
            texts = [text for text in texts if known_registry_key(text) is not None]
        return self._pubchem.cids_by_name(texts)

    def _complete(self) -> None:
        """Find the structures of candidates known by CID only, and standardize what is new."""
        bare = {
            candidate.pubchem_cid
            for candidates in self._candidates.values()
            for candidate in candidates
            if candidate.smiles is None and candidate.pubchem_cid is not None
        }
        smiles = self._pubchem.structures_by_cid(sorted(bare)) if bare else {}
        for place, candidates in self._candidates.items():
            for position, candidate in enumerate(candidates):
                if candidate.smiles is None and candidate.pubchem_cid in smiles:
                    candidates[position] = Candidate(
                        smiles[candidate.pubchem_cid],
                        candidate.inchikey,
                        candidate.pubchem_cid,
                        candidate.origin,
                    )
                    self._parents.pop(place, None)
        new = {
            candidate.smiles
            for candidates in self._candidates.values()
            for candidate in candidates
            if candidate.smiles is not None and candidate.smiles not in self._structures
        }
        if new:
            made = self._standardize(pl.Series("smiles", sorted(new), dtype=pl.String))
            self._structures |= {row["smiles_reported"]: row for row in made.iter_rows(named=True)}

    def _standardized(self, method: str, value: Value) -> tuple[list[_Parent], list[str]]:
        ranks = self._ranks.get((method, value), {})
        grouped: dict[str, list[tuple[Candidate, dict[str, Any]]]] = {}
        problems: list[str] = []
        for candidate in self._candidates.get((method, value), ()):
            if candidate.smiles is None:
                continue
            made = self._structures[candidate.smiles]
            if made["compound_id"] is None:
                problems.append(f"structure not parsed: {made['problem']}")
            else:
                grouped.setdefault(made["compound_id"], []).append((candidate, made))
        return [_parent(compound_id, found, ranks) for compound_id, found in grouped.items()], problems


_LAST_IDENTIFIER: Final = "registry_id"
"""After it come names, which no longer decide where a key is reported."""


def _parent(
    compound_id: str, found: Sequence[tuple[Candidate, dict[str, Any]]], ranks: Mapping[int | None, int]
) -> _Parent:
    """Return the parent of candidates, which are in the order in which they were found."""
    _, made = found[0]
    return _Parent(
        compound_id=compound_id,
        smiles=made["parent_smiles"],
        cids=tuple(dict.fromkeys(c.pubchem_cid for c, _ in found if c.pubchem_cid is not None)),
        n_rows=len(found),
        pubchem_rank=min((ranks[c.pubchem_cid] for c, _ in found if c.pubchem_cid in ranks), default=None),
        origins=tuple(dict.fromkeys(c.origin for c, _ in found if c.origin is not None)),
        facts=made | {"is_salt": all(each["is_salt"] for _, each in found)},
    )


def _bare_parent(inchikey: str) -> _Parent:
    """Return a parent of which nothing but its key is known."""
    facts = {"kind": "small_molecule"} | dict.fromkeys(
        ("is_salt", "is_mixture", "has_isotopes", "has_undefined_stereo"), False
    )
    return _Parent(inchikey, None, (), 0, None, (), facts)


def _mixed(parts: Sequence[_Parent]) -> _Parent:
    """Return the mixture of parents; parts that are mixtures themselves are taken apart."""
    keyed = sorted(
        {
            (key, smiles)
            for part in parts
            for key, smiles in zip(
                part.compound_id.removeprefix("mixture:").split("+"),
                (part.smiles or "").split("."),
                strict=False,
            )
        }
    )
    is_one = len(keyed) == 1
    return _Parent(
        compound_id=keyed[0][0] if is_one else "mixture:" + "+".join(key for key, _ in keyed),
        smiles=".".join(smiles for _, smiles in keyed),
        cids=(),
        n_rows=1,
        pubchem_rank=None,
        origins=tuple(dict.fromkeys(origin for part in parts for origin in part.origins)),
        facts={
            "kind": "small_molecule" if is_one else "combination",
            "is_salt": False,
            "is_mixture": not is_one,
            "has_isotopes": any(part.facts["has_isotopes"] for part in parts),
            "has_undefined_stereo": any(part.facts["has_undefined_stereo"] for part in parts),
        },
    )


def _choose(method: str, parents: Mapping[str, Sequence[_Parent]]) -> tuple[_Parent | None, str | None]:
    """Return the parent that evidence means and the rule that chose it; None where no rule can."""
    candidates = parents[method]
    if len(candidates) == 1:
        return candidates[0], None
    others = [
        {other.compound_id for other in found}
        for name, found in parents.items()
        if name != method and found and name != "name_variant"
    ]
    n_witnesses = [sum(each.compound_id in ids for ids in others) for each in candidates]
    if max(n_witnesses) > 0 and n_witnesses.count(max(n_witnesses)) == 1:
        chosen = candidates[n_witnesses.index(max(n_witnesses))]
        return chosen, f"of {len(candidates)} parents the only one that other evidence leads to as well"
    are_isomers = len({each.skeleton for each in candidates}) == 1
    what = "stereoisomers" if are_isomers else "parents"
    ranked = [each for each in candidates if each.pubchem_rank is not None]
    if ranked:
        first = min(ranked, key=lambda each: each.pubchem_rank or 0)
        return first, f"of {len(candidates)} {what} the first in PubChem's order"
    n_rows = [each.n_rows for each in candidates]
    if max(n_rows) > sum(n_rows) / 2:
        chosen = candidates[n_rows.index(max(n_rows))]
        return chosen, f"of {len(candidates)} {what} the one of {max(n_rows)} in {sum(n_rows)} reference rows"
    undefined = [each for each in candidates if each.facts["has_undefined_stereo"]]
    if are_isomers and len(undefined) == 1:
        return undefined[
            0
        ], f"of {len(candidates)} stereoisomers the only one that leaves stereochemistry open"
    return None, None


def _evidence_of(row: Mapping[str, Any]) -> dict[str, list[Value]]:
    """Return what is looked up for a compound, by kind of evidence."""
    name = _name(row)
    registry_ids = [] if row["vendor_id"] is None else [registry_key(row["vendor_id"])]
    named_ids = [known_registry_key(text) for text in (row["compound_reported"], name)]
    registry_ids += [each for each in named_ids if each is not None]
    is_name = known_registry_key(name) is None and not is_catalogue_number(name) and bool(name_key(name))
    has_small_name = is_name and kind_of_name(name) not in NOT_SMALL
    values: dict[str, list[Any]] = {
        "structure": [row["smiles"]],
        "inchikey": [_inchikey(row["inchikey"])],
        "pubchem_cid": [row["pubchem_cid"] if (row["pubchem_cid"] or 0) > 0 else None],
        "cas": [cas_number(row["cas"] or "")],
        "registry_id": list(dict.fromkeys(registry_ids)),
        "name": [" ".join(name.split())] if has_small_name else [],
        "name_variant": [variant.text for variant in name_variants(name)] if has_small_name else [],
    }
    present = {method: [value for value in found if value] for method, found in values.items()}
    return {method: found for method, found in present.items() if found}


def _notes_of(row: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the evidence itself."""
    notes = []
    if row["pubchem_cid"] is not None and row["pubchem_cid"] <= 0:
        notes.append("the reported PubChem CID is not positive")
    if row["inchikey"] is not None and _inchikey(row["inchikey"]) is None:
        notes.append("the reported InChIKey is not one")
    if row["cas"] is not None and cas_number(row["cas"]) is None:
        notes.append("the reported CAS number is not one")
    return notes


def _inchikey(text: str | None) -> str | None:
    """Return an InChIKey without prefix; None where the text has another form."""
    key = (text or "").strip().removeprefix("InChIKey=")
    return key if _INCHIKEY.fullmatch(key) else None


def _name(row: Mapping[str, Any]) -> str:
    name: str = row["name"] if row["name"] is not None else row["compound_reported"]
    return name


def _plain(method: str) -> str:
    return {"inchikey": "InChIKey", "pubchem_cid": "PubChem CID", "cas": "CAS number"}.get(
        method, method.replace("_", " ")
    )


def _row(dataset_id: str, row: dict[str, Any], resolution: _Resolution) -> dict[str, Any]:
    parent = resolution.parent
    facts: Mapping[str, Any] = parent.facts if parent is not None else {}
    cid = row["pubchem_cid"] if (row["pubchem_cid"] or 0) > 0 else None
    if parent is not None and (cid is None or resolution.method == "override"):
        cid = parent.cids[0] if parent.cids else None
    return {f"{name}_reported": row[name] for name in _REPORTED} | {
        "dataset_id": dataset_id,
        "compound_reported": row["compound_reported"],
        "compound_id": parent.compound_id if parent else unresolved_id(dataset_id, row["compound_reported"]),
        "kind": facts.get("kind") or kind_of_name(_name(row)) or "unknown",
        "method": resolution.method,
        "origin": resolution.origin,
        "rule": resolution.rule,
        "confidence": resolution.confidence,
        "reason": "; ".join(resolution.notes) or None,
        "agreeing": resolution.agreeing,
        "conflicts": resolution.conflicts,
        "candidates": sorted(each.compound_id for each in resolution.candidates),
        "candidate_cids": list(dict.fromkeys(cid for each in resolution.candidates for cid in each.cids)),
        "parent_smiles": parent.smiles if parent is not None else None,
        "pubchem_cid": cid,
        "is_salt": facts.get("is_salt", False),
        "is_mixture": facts.get("is_mixture", False),
        "has_isotopes": facts.get("has_isotopes", False),
        "has_undefined_stereo": facts.get("has_undefined_stereo", False),
    }


_REPORTED: Final = tuple(name for name in polars_schema(ReportedCompound) if name != "compound_reported")


def _account(names: pl.DataFrame, resolutions: Mapping[str, _Resolution], pubchem: PubChem) -> RowAccount:
    noted = Counter(
        f"resolved by {resolution.method}"
        if resolution.parent is not None
        else f"unresolved: {cause_of(resolution.notes)}"
        for resolution in resolutions.values()
    )
    noted |= {
        "chosen among several": names["rule"].count(),
        "contradicted by other evidence": names.filter(pl.col("conflicts").list.len() > 0).height,
        "PubChem look-ups answered": pubchem.n_asked,
        "PubChem look-ups answered from the cache": pubchem.n_from_cache,
        f"PubChem look-ups not made ({pubchem.offline_reason})": pubchem.n_not_asked,
    }
    return RowAccount(
        n_in=len(resolutions),
        n_out=names.height,
        noted={remark: n for remark, n in sorted(noted.items()) if n},
        unit="compounds",
    )


def cause_of(notes: Sequence[str]) -> str:
    """Return the last thing noticed about an unresolved compound, without its details."""
    return notes[-1] if notes[-1] == NOT_ASKED else notes[-1].split(":")[0]


def _distinct(column: str) -> pl.Expr:
    values = pl.col(column).drop_nulls().unique().sort()
    return pl.when(values.len() > 0).then(values.str.join("; "))
