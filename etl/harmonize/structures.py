"""From a reported SMILES to its parent: salt stripped, neutralized, with an InChIKey.

Only chemistry of structures belongs here; which structure a reported compound has is decided in
``compounds.py``. Tautomers are not canonicalized: the InChIKey already ignores mobile hydrogens of the common
kinds, and full tautomer canonicalization destroys stereochemistry that assays distinguish.
"""

import csv
from dataclasses import astuple, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import polars as pl
from rdkit import Chem, rdBase
from rdkit.Chem.Descriptors import MolWt  # type: ignore[attr-defined]  # made at import time
from rdkit.Chem.MolStandardize import rdMolStandardize
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

MIN_ACTIVE_ATOMS = 10
"""Heavy atoms from which an organic fragment that is no salt former counts as an active component."""

MIN_ACTIVE_SHARE = 0.5
"""Share of the largest component's heavy atoms from which a smaller fragment counts as active, too."""

STRUCTURE_SCHEMA = pl.Schema(
    {
        "smiles_reported": pl.String,
        "parent_smiles": pl.String,
        "inchikey": pl.String,
        "compound_id": pl.String,
        "is_salt": pl.Boolean,
        "is_mixture": pl.Boolean,
        "problem": pl.String,
    }
)

_COUNTER_METALS = frozenset(("Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba", "Zn", "Al"))
_NON_METALS = frozenset(
    ("H", "He", "B", "C", "N", "O", "F", "Ne", "Si", "P", "S", "Cl", "Ar", "As", "Se", "Br", "Te", "I", "*")
)


@dataclass(frozen=True, slots=True)
class _Structure:
    """One row of :func:`standardize`."""

    smiles_reported: str
    parent_smiles: str | None = None
    inchikey: str | None = None
    compound_id: str | None = None
    is_salt: bool = False
    is_mixture: bool = False
    problem: str | None = None


def standardize(smiles: pl.Series) -> pl.DataFrame:
    """Return one row per distinct non-null SMILES, with the standardized parent or the problem.

    Rules, in order:

    1. Clean up (normalize, reionize) and separate counter-ion metals. Another metal (platinum, gold, iron …)
       belongs to the drug: its complex is a component as it is drawn, with everything else in the SMILES
       that is charged, inorganic, a salt former or small.
    2. Fragments of the list ``reference/salt_formers.csv`` are counter-ions or solvents, whatever their
       stereochemistry.
    3. Of the other organic fragments, the largest is the parent, neutralized. Further distinct ones of at
       least ``MIN_ACTIVE_ATOMS`` heavy atoms or ``MIN_ACTIVE_SHARE`` of the largest make the compound a
       mixture, whose ``inchikey`` is null and whose ``parent_smiles`` holds all components in the order of
       their keys.
    4. Fragments that differ in stereochemistry only are one compound, whose parent has no stereochemistry.
    5. If only salt formers are left, the largest organic one is the parent; a purely inorganic substance is
       its own parent.

    Columns: ``smiles_reported``, ``parent_smiles`` (canonical, with stereochemistry), ``inchikey`` of the
    parent, ``compound_id`` (that key, or ``mixture:`` and the sorted keys joined by ``+``), ``is_salt`` (a
    fragment of the input was left out), ``is_mixture``, ``problem`` (why there is no parent, else null).
    """
    distinct = smiles.drop_nulls().unique().sort().to_list()
    rows = [astuple(_standardized(text)) for text in distinct]
    return pl.DataFrame(rows, schema=STRUCTURE_SCHEMA, orient="row")


def describe(parent_smiles: pl.Series) -> pl.DataFrame:
    """Return ``parent_smiles``, ``formula`` and average ``molecular_weight`` (g/mol) of each distinct parent.

    A SMILES that RDKit cannot read has null in both.
    """
    rows = []
    with rdBase.BlockLogs():
        for smiles in parent_smiles.drop_nulls().unique().sort():
            mol = Chem.MolFromSmiles(smiles)
            rows.append((smiles, None, None) if mol is None else (smiles, CalcMolFormula(mol), MolWt(mol)))
    schema = {"parent_smiles": pl.String, "formula": pl.String, "molecular_weight": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _standardized(smiles: str) -> _Structure:
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
        if mol is None:
            return _Structure(smiles, problem=_parse_problem(smiles))
        if mol.GetNumAtoms() == 0:
            return _Structure(smiles, problem="no atoms")
        try:
            parents, is_salt = _parents(mol)
        except (ValueError, RuntimeError) as fault:  # RDKit's sanitization and kekulization errors
            return _Structure(smiles, problem=f"standardization failed: {_first_line(fault)}")
        keyed = sorted((Chem.MolToInchiKey(parent), Chem.MolToSmiles(parent)) for parent in parents)
        keys = [key for key, _ in keyed]
        if not all(keys):
            return _Structure(smiles, problem="no InChIKey (wildcard atom, or not representable)")
        is_mixture = len(keys) > 1
        return _Structure(
            smiles_reported=smiles,
            parent_smiles=".".join(text for _, text in keyed),
            inchikey=None if is_mixture else keys[0],
            compound_id="mixture:" + "+".join(keys) if is_mixture else keys[0],
            is_salt=is_salt,
            is_mixture=is_mixture,
        )


def _parents(mol: Any) -> tuple[list[Any], bool]:
    """Return the active components as :func:`standardize` says, and whether a fragment was left out."""
    if _has_drug_metal(mol):
        return _complexes(mol), False
    cleaned = rdMolStandardize.Cleanup(mol)
    uncharger = rdMolStandardize.Uncharger()
    fragments = Chem.GetMolFrags(cleaned, asMols=True)
    isomers: dict[str, dict[str, Any]] = {}
    for fragment in filter(_is_organic, fragments):
        neutral = uncharger.uncharge(fragment)
        key = Chem.MolToInchiKey(neutral)
        isomers.setdefault(key[:14], {})[key] = neutral
    if not isomers:
        return [mol], False
    parts = {skeleton: _without_difference(list(found.values())) for skeleton, found in isomers.items()}
    active = [part for skeleton, part in parts.items() if skeleton not in _salt_former_skeletons()]
    ranked = sorted(
        active or parts.values(), key=lambda part: (-part.GetNumHeavyAtoms(), Chem.MolToSmiles(part))
    )
    largest, *smaller = ranked
    threshold = min(MIN_ACTIVE_ATOMS, MIN_ACTIVE_SHARE * largest.GetNumHeavyAtoms())
    others = [part for part in smaller if active and part.GetNumHeavyAtoms() >= threshold]
    n_left_out = len(parts) - 1 - len(others) + sum(not _is_organic(fragment) for fragment in fragments)
    return [largest, *others], n_left_out > 0


def _complexes(mol: Any) -> list[Any]:
    """Separate a metal complex from whole drugs beside it; a metal drawn as a bare ion keeps everything."""
    fragments = Chem.GetMolFrags(mol, asMols=True)
    if any(_has_drug_metal(fragment) and fragment.GetNumAtoms() == 1 for fragment in fragments):
        return [mol]
    drugs = [
        fragment
        for fragment in fragments
        if not _has_drug_metal(fragment)
        and _is_organic(fragment)
        and fragment.GetNumHeavyAtoms() >= MIN_ACTIVE_ATOMS
        and Chem.GetFormalCharge(fragment) == 0
        and Chem.MolToInchiKey(fragment)[:14] not in _salt_former_skeletons()
    ]
    distinct = {Chem.MolToInchiKey(drug): drug for drug in drugs}
    rest = Chem.RWMol()
    for fragment in fragments:
        if not any(fragment is drug for drug in drugs):
            rest.InsertMol(fragment)
    Chem.SanitizeMol(rest)
    return [rest.GetMol(), *distinct.values()]


def _has_drug_metal(mol: Any) -> bool:
    return bool({atom.GetSymbol() for atom in mol.GetAtoms()} - _NON_METALS - _COUNTER_METALS)


def _without_difference(isomers: list[Any]) -> Any:
    """Return the only isomer, or the structure without stereochemistry where there are several."""
    if len(isomers) > 1:
        flat = Chem.Mol(isomers[0])
        Chem.RemoveStereochemistry(flat)
        return flat
    return isomers[0]


def _is_organic(mol: Any) -> bool:
    return any(atom.GetAtomicNum() == 6 for atom in mol.GetAtoms())


@cache
def _salt_former_skeletons() -> frozenset[str]:
    """Return the first InChIKey blocks of the known counter-ions and solvents."""
    text = files("etl.harmonize").joinpath("reference/salt_formers.csv").read_text(encoding="utf-8")
    listed = csv.DictReader(text.splitlines())
    return frozenset(Chem.MolToInchiKey(Chem.MolFromSmiles(row["smiles"]))[:14] for row in listed)


def _parse_problem(smiles: str) -> str:
    mol = Chem.MolFromSmiles(smiles, sanitize=False)
    if mol is None:
        return "not a SMILES"
    problems = [_first_line(problem.Message()) for problem in Chem.DetectChemistryProblems(mol)]
    return problems[0] if problems else "not a SMILES"


def _first_line(fault: object) -> str:
    return (str(fault).strip().splitlines() or ["no message"])[0]
