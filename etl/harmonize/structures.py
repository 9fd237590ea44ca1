"""From a reported SMILES to its parent: salt stripped, neutralized, with an InChIKey.

Only chemistry of structures belongs here; which structure a reported compound has is decided in
``compounds.py``, how many of them are computed at once in ``structure_batches.py``. Tautomers are not
canonicalized, unless a key is asked for: the InChIKey already ignores mobile hydrogens of the common kinds,
and full tautomer canonicalization destroys stereochemistry that assays distinguish.
"""

import csv
import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from functools import cache as once
from importlib.resources import files
from typing import Any, Final

import polars as pl
from rdkit import Chem, rdBase
from rdkit.Chem.Descriptors import MolWt  # type: ignore[attr-defined]  # made at import time
from rdkit.Chem.MolStandardize import rdMolStandardize
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from etl.harmonize.structure_batches import rows_of
from etl.harmonize.structure_cache import Row, StructureCache

MIN_ACTIVE_ATOMS = 10
"""Heavy atoms from which an organic fragment that is no salt former counts as an active component."""

MIN_ACTIVE_SHARE = 0.5
"""Share of the largest component's heavy atoms from which a smaller fragment counts as active, too."""

MAX_CHARACTERS: Final = 5_000
"""Longest SMILES that is read: far more than the 1,023 atoms that have an InChIKey need, and whatever stands
there is done within seconds."""

MAX_ATOMS: Final = 1_023
"""Most atoms that a standard InChI can hold."""

MAX_TAUTOMERS: Final = 500
"""Tautomers enumerated before a molecule is given up."""

MAX_TRANSFORMS: Final = 500
"""Proton shifts tried before a molecule is given up."""

MAX_TAUTOMER_ATOMS: Final = 150
"""Heavy atoms above which a molecule is not tried; the slowest below it that was found took 7 s."""

MIN_PEPTIDE_RESIDUES: Final = 4
"""Consecutive alpha-amino acids, joined by three amide bonds, from which a molecule is called a peptide."""

STRUCTURE_SCHEMA = pl.Schema(
    {
        "smiles_reported": pl.String,
        "parent_smiles": pl.String,
        "inchikey": pl.String,
        "compound_id": pl.String,
        "kind": pl.String,
        "is_salt": pl.Boolean,
        "is_mixture": pl.Boolean,
        "has_isotopes": pl.Boolean,
        "has_undefined_stereo": pl.Boolean,
        "problem": pl.String,
    }
)

TAUTOMER_SCHEMA = pl.Schema({"parent_smiles": pl.String, "tautomer_key": pl.String, "problem": pl.String})

_COUNTER_METALS = (3, 11, 19, 37, 55, 12, 20, 38, 56, 30, 13)  # Li Na K Rb Cs Mg Ca Sr Ba Zn Al
_NON_METALS = (0, 1, 2, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 33, 34, 35, 52, 53)  # wildcard, H … Te, I
_TETRAHEDRAL = (Chem.ChiralType.CHI_TETRAHEDRAL_CW, Chem.ChiralType.CHI_TETRAHEDRAL_CCW)
_POLYMER_GROUPS = frozenset(("SRU", "MON", "MER", "COP", "CRO", "GRA", "MOD"))


def _none_of(numbers: Iterable[int]) -> Any:
    return Chem.MolFromSmarts("[" + "".join(f"!#{number}" for number in numbers) + "]")


_METAL = _none_of(_NON_METALS)
_DRUG_METAL = _none_of((*_NON_METALS, *_COUNTER_METALS))
_CARBON = Chem.MolFromSmarts("[#6]")
_EXPLICIT_HYDROGEN = Chem.MolFromSmarts("[#1]")
_CHARGED = Chem.MolFromSmarts("[!+0]")
_LONE = Chem.MolFromSmarts("[X0]")
_FIXED_CATION = Chem.MolFromSmarts("[+;H0;!$(*~[-])]")
_ACID = Chem.MolFromSmarts("[CX3,SX4,PX4;+0](=O)[OX2H1]")
_PEPTIDE = Chem.MolFromSmarts("N[CX4]C(=O)" * MIN_PEPTIDE_RESIDUES)
_ATOM_MAP = re.compile(r":\d+\]")
_NOT_TETRAHEDRAL = re.compile(r"@(?:SP|TB|OH|AL)")
_ISOTOPE = re.compile(r"\[\d")
_UNDEFINED_IN_INCHI = re.compile(r"/[bt][^/]*\?")


@dataclass(frozen=True, slots=True)
class _Structure:
    """One row of :func:`standardize`."""

    smiles_reported: str
    parent_smiles: str | None = None
    inchikey: str | None = None
    compound_id: str | None = None
    kind: str = "unknown"
    is_salt: bool = False
    is_mixture: bool = False
    has_isotopes: bool = False
    has_undefined_stereo: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class _Component:
    """A fragment with the names it goes by."""

    mol: Any
    key: str
    smiles: str


@dataclass(frozen=True, slots=True)
class _Steps:
    """RDKit's steps of a clean-up; making them costs as much as using them, so they are made once."""

    disconnector: Any
    normalizer: Any
    reionizer: Any
    uncharger: Any


def standardize(
    smiles: pl.Series, *, n_workers: int = 1, cache: StructureCache | None = None
) -> pl.DataFrame:
    """Return one row per distinct non-null SMILES, with the standardized parent or the problem.

    Rules, in order:

    1. Text after the first blank is a name or a CXSMILES extension. Atom-map numbers are left out. Centres
       of an "and" or "or" group (racemate, unknown enantiomer) have no stereochemistry: an InChIKey cannot
       say "both". A repeat unit makes it a polymer, which has no parent.
    2. Clean up (normalize, reionize) and separate counter-ion metals. Another metal (platinum, gold, iron …)
       belongs to the drug: its complex is a component as it is drawn, with everything else in the SMILES
       that is charged, inorganic, a salt former or small.
    3. Fragments of the list ``reference/salt_formers.csv`` are counter-ions or solvents, whatever their
       stereochemistry.
    4. Of the other organic fragments, the largest is the parent, neutralized; a charge that no proton can
       balance (quaternary amine) stays, balanced by an acid of the same molecule (betaine). Further distinct
       ones of at least ``MIN_ACTIVE_ATOMS`` heavy atoms or ``MIN_ACTIVE_SHARE`` of the largest make the
       compound a mixture, whose ``inchikey`` is null and whose ``parent_smiles`` holds all components in the
       order of their keys.
    5. Fragments that differ in stereochemistry only are one compound, whose parent has no stereochemistry;
       likewise isotopes.
    6. If only salt formers are left, the largest organic one is the parent; a purely inorganic substance is
       its own parent.

    Columns: ``smiles_reported``, ``parent_smiles`` (canonical, with stereochemistry), ``inchikey`` of the
    parent, ``compound_id`` (that key, or ``mixture:`` and the sorted keys joined by ``+``), ``kind``
    (``COMPOUND_KINDS``), ``is_salt`` (a fragment of the input was left out), ``is_mixture``,
    ``has_isotopes`` (the parent is labelled), ``has_undefined_stereo`` (the parent has a centre or double
    bond that its InChI could specify and does not), ``problem`` (why there is no parent, else null).

    Rows are sorted by SMILES; they depend neither on the number of workers nor on the cache.

    Args:
        smiles: structures as published.
        n_workers: processes, see :func:`etl.harmonize.structure_batches.rows_of`.
        cache: None to compute everything.
    """
    distinct = smiles.drop_nulls().unique().sort().to_list()
    rows = rows_of(distinct, _row, task="standardize", n_workers=n_workers, cache=cache)
    return pl.DataFrame(rows, schema=STRUCTURE_SCHEMA, orient="row")


def tautomer_keys(
    parent_smiles: pl.Series, *, n_workers: int = 1, cache: StructureCache | None = None
) -> pl.DataFrame:
    """Return ``parent_smiles``, ``tautomer_key`` and ``problem``, one row per distinct non-null parent.

    The key is the InChIKey of RDKit's canonical tautomer: of all tautomers its transforms reach, the one with
    the best score (aromatic rings, carbonyls, oximes …). Of a mixture it is the key of all components
    together.

    This is an option, not the identity of a compound, for three reasons. The canonical tautomer is the best
    by a score, not the one in the assay. The transforms reach through carbon (keto and enol), so that a
    centre beside a carbonyl loses its configuration, and so does a double bond that a proton can move to: two
    enantiomers that racemize on paper get one key although assays tell them apart; stereochemistry elsewhere
    stays. And the key changes with RDKit's scores. Use it to look for duplicates that the InChIKey keeps
    apart.

    A molecule that exceeds ``MAX_TAUTOMER_ATOMS``, ``MAX_TAUTOMERS`` or ``MAX_TRANSFORMS`` has no key, since
    which tautomers were seen by then depends on the order of atoms; nor has one that RDKit fails on. The
    ``problem`` says so. Rows are sorted by parent.

    Args:
        parent_smiles: as :func:`standardize` returns them.
        n_workers: processes, see :func:`etl.harmonize.structure_batches.rows_of`.
        cache: None to compute everything.
    """
    distinct = parent_smiles.drop_nulls().unique().sort().to_list()
    rows = rows_of(distinct, _tautomer_row, task="tautomer", n_workers=n_workers, cache=cache)
    return pl.DataFrame(rows, schema=TAUTOMER_SCHEMA, orient="row")


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


def _row(smiles: str) -> Row:
    with rdBase.BlockLogs():
        return astuple(_standardized(smiles))


def _standardized(smiles: str) -> _Structure:
    if len(smiles) > MAX_CHARACTERS:
        return _Structure(smiles, problem=f"too large: {len(smiles)} characters, at most {MAX_CHARACTERS}")
    mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        return _Structure(smiles, problem=_parse_problem(smiles))
    if mol.GetNumAtoms() == 0:
        return _Structure(smiles, problem="no atoms")
    if mol.GetNumAtoms() > MAX_ATOMS:
        return _Structure(smiles, problem=f"too large: {mol.GetNumAtoms()} atoms, at most {MAX_ATOMS}")
    if _is_polymer(mol):
        return _Structure(smiles, kind="polymer", problem="a polymer: the structure is a repeat unit")
    try:
        parents, is_salt = _parents(_without_annotations(mol, smiles))
        keyed = sorted(parents, key=lambda parent: (parent.key, parent.smiles))
        keys = [parent.key for parent in keyed]
        if not all(keys):
            return _Structure(smiles, problem="no InChIKey (wildcard atom, or not representable)")
        is_mixture = len(keys) > 1
        return _Structure(
            smiles_reported=smiles,
            parent_smiles=".".join(parent.smiles for parent in keyed),
            inchikey=None if is_mixture else keys[0],
            compound_id="mixture:" + "+".join(keys) if is_mixture else keys[0],
            kind="combination" if is_mixture else _kind(keyed[0].mol),
            is_salt=is_salt,
            is_mixture=is_mixture,
            has_isotopes=any(_ISOTOPE.search(parent.smiles) is not None for parent in keyed),
            has_undefined_stereo=any(_has_undefined_stereo(parent.mol) for parent in keyed),
        )
    except (ValueError, RuntimeError) as fault:  # RDKit's sanitization and kekulization errors
        return _Structure(smiles, problem=f"standardization failed: {_first_line(fault)}")


def _is_polymer(mol: Any) -> bool:
    groups = Chem.GetMolSubstanceGroups(mol)
    return any(group.HasProp("TYPE") and group.GetProp("TYPE") in _POLYMER_GROUPS for group in groups)


def _without_annotations(mol: Any, smiles: str) -> Any:
    """Return the molecule without atom maps, and without stereochemistry that identifies nothing.

    That is: of "and" and "or" groups, and square-planar and the like on an atom that is no metal.
    """
    if _ATOM_MAP.search(smiles):
        for atom in mol.GetAtoms():
            atom.SetAtomMapNum(0)
    if _NOT_TETRAHEDRAL.search(smiles):
        for atom in mol.GetAtoms():
            if atom.GetAtomicNum() in _NON_METALS and atom.GetChiralTag() not in _TETRAHEDRAL:
                atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
    if not (groups := mol.GetStereoGroups()):
        return mol
    bare = Chem.RWMol(mol)
    for group in groups:
        if group.GetGroupType() != Chem.StereoGroupType.STEREO_ABSOLUTE:
            for atom in group.GetAtoms():
                bare.GetAtomWithIdx(atom.GetIdx()).SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
            for bond in group.GetBonds():
                bare.GetBondWithIdx(bond.GetIdx()).SetStereo(Chem.BondStereo.STEREONONE)
    bare.SetStereoGroups([])
    Chem.AssignStereochemistry(bare, cleanIt=True, force=True)
    return bare.GetMol()


def _parents(mol: Any) -> tuple[list[_Component], bool]:
    """Return the active components as :func:`standardize` says, and whether a fragment was left out."""
    if mol.HasSubstructMatch(_DRUG_METAL):
        return [_component(complex_or_drug) for complex_or_drug in _complexes(mol)], False
    if not _is_organic(mol):
        return [_component(mol)], False
    fragments = _fragments(_cleaned(mol))
    isomers: dict[str, dict[str, _Component]] = {}
    for fragment in filter(_is_organic, fragments):
        found = _component(_neutral(fragment))
        same = isomers.setdefault(found.key[:14], {})
        # Two tautomers of one compound share the key: which of them is kept may not depend on their order.
        same[found.key] = min(found, same.get(found.key, found), key=lambda part: part.smiles)
    parts = {skeleton: _without_difference(found) for skeleton, found in isomers.items()}
    active = [part for skeleton, part in parts.items() if skeleton not in _salt_former_skeletons()]
    ranked = sorted(active or parts.values(), key=lambda part: (-part.mol.GetNumHeavyAtoms(), part.smiles))
    largest, *smaller = ranked
    threshold = min(MIN_ACTIVE_ATOMS, MIN_ACTIVE_SHARE * largest.mol.GetNumHeavyAtoms())
    others = [part for part in smaller if active and part.mol.GetNumHeavyAtoms() >= threshold]
    n_left_out = len(parts) - 1 - len(others) + sum(not _is_organic(fragment) for fragment in fragments)
    return [largest, *others], n_left_out > 0


def _component(mol: Any) -> _Component:
    return _Component(mol, Chem.MolToInchiKey(mol), Chem.MolToSmiles(mol))


def _cleaned(mol: Any) -> Any:
    """Clean up as ``rdMolStandardize.Cleanup`` does, in place, without steps that change nothing here.

    RDKit's steps, and when they are left out: hydrogens are removed (there is no explicit one), metals
    disconnected (there is none), groups normalized (never left out), charges moved to the strongest acid
    (there is no charge, and no lone atom that should have one), stereochemistry perceived (never left out).
    """
    steps = _steps()
    cleaned = Chem.RemoveHs(mol) if mol.HasSubstructMatch(_EXPLICIT_HYDROGEN) else mol
    if cleaned.HasSubstructMatch(_METAL):
        steps.disconnector.DisconnectInPlace(cleaned)
    steps.normalizer.normalizeInPlace(cleaned)
    if cleaned.HasSubstructMatch(_CHARGED) or cleaned.HasSubstructMatch(_LONE):
        steps.reionizer.reionizeInPlace(cleaned)
    Chem.AssignStereochemistry(cleaned, cleanIt=True, force=True)
    return cleaned


def _neutral(mol: Any) -> Any:
    """Return the molecule without the charges that protons can balance.

    A cation without hydrogen keeps its charge, and an acid of the same molecule is then its counter-ion: the
    hydrochloride of a betaine is drawn with the acid protonated, the betaine itself without. The acids are
    deprotonated, so that the uncharger decides in both cases which of them stays charged.
    """
    if not mol.HasSubstructMatch(_CHARGED):
        return mol
    if mol.HasSubstructMatch(_FIXED_CATION) and mol.HasSubstructMatch(_ACID):
        mol = Chem.RWMol(mol)
        for *_, oxygen in mol.GetSubstructMatches(_ACID):
            mol.GetAtomWithIdx(oxygen).SetFormalCharge(-1)
            mol.GetAtomWithIdx(oxygen).SetNumExplicitHs(0)
        Chem.SanitizeMol(mol)
    return _steps().uncharger.uncharge(mol)


def _fragments(mol: Any) -> tuple[Any, ...]:
    return Chem.GetMolFrags(mol, asMols=True) if len(Chem.GetMolFrags(mol)) > 1 else (mol,)


@once
def _steps() -> _Steps:
    return _Steps(
        disconnector=rdMolStandardize.MetalDisconnector(),
        normalizer=rdMolStandardize.Normalizer(),
        reionizer=rdMolStandardize.Reionizer(),
        uncharger=rdMolStandardize.Uncharger(),
    )


def _complexes(mol: Any) -> list[Any]:
    """Separate a metal complex from whole drugs beside it; a metal drawn as a bare ion keeps everything."""
    fragments = Chem.GetMolFrags(mol, asMols=True)
    if any(fragment.HasSubstructMatch(_DRUG_METAL) and fragment.GetNumAtoms() == 1 for fragment in fragments):
        return [mol]
    drugs = [
        fragment
        for fragment in fragments
        if not fragment.HasSubstructMatch(_DRUG_METAL)
        and _is_organic(fragment)
        and fragment.GetNumHeavyAtoms() >= MIN_ACTIVE_ATOMS
        and Chem.GetFormalCharge(fragment) == 0
        and Chem.MolToInchiKey(fragment)[:14] not in _salt_former_skeletons()
    ]
    # Of two tautomers with one key the last is kept, whatever their order in the input.
    distinct = {Chem.MolToInchiKey(drug): drug for drug in sorted(drugs, key=Chem.MolToSmiles)}
    rest = Chem.RWMol()
    for fragment in fragments:
        if not any(fragment is drug for drug in drugs):
            rest.InsertMol(fragment)
    Chem.SanitizeMol(rest)
    return [rest.GetMol(), *distinct.values()]


def _without_difference(isomers: dict[str, _Component]) -> _Component:
    """Return the only isomer; of several, the structure without stereochemistry and differing isotopes."""
    if len(isomers) == 1:
        return next(iter(isomers.values()))
    flat = [Chem.Mol(isomers[key].mol) for key in sorted(isomers)]
    for mol in flat:
        Chem.RemoveStereochemistry(mol)
    if len({Chem.MolToInchiKey(mol) for mol in flat}) > 1:
        for atom in flat[0].GetAtoms():
            atom.SetIsotope(0)
        flat[0] = Chem.RemoveHs(flat[0])
    return _component(flat[0])


def _kind(mol: Any) -> str:
    """Return the kind of a single parent; what its structure does not say (biologic) is said by its name."""
    if mol.HasSubstructMatch(_DRUG_METAL):
        return "metal_complex"
    if not _is_organic(mol):
        return "inorganic"
    return "peptide" if mol.HasSubstructMatch(_PEPTIDE) else "small_molecule"


def _has_undefined_stereo(mol: Any) -> bool:
    """Say whether the InChI of a molecule leaves a centre or a double bond open.

    RDKit finds what could be specified; InChI, told to write what is undefined as ``?``, has the last word.
    It knows what has no configuration of its own: inverting amines, the nitrogen of amidines and guanidines,
    phosphates, whose oxygens share a proton.
    """
    specified = Chem.StereoSpecified.Specified
    if all(centre.specified == specified for centre in Chem.FindPotentialStereo(mol)):
        return False
    return _UNDEFINED_IN_INCHI.search(Chem.MolToInchi(mol, options="-SUU")) is not None


def _tautomer_row(smiles: str) -> Row:
    with rdBase.BlockLogs():
        key, problem = _tautomer_key(smiles)
    return smiles, key, problem


def _tautomer_key(smiles: str) -> tuple[str | None, str | None]:
    mol = Chem.MolFromSmiles(smiles)
    if mol is None or mol.GetNumAtoms() == 0:
        return None, "not a SMILES"
    if (n_atoms := mol.GetNumHeavyAtoms()) > MAX_TAUTOMER_ATOMS:
        return None, f"too large: {n_atoms} heavy atoms, at most {MAX_TAUTOMER_ATOMS}"
    try:
        found = _enumerator().Enumerate(mol)
        if found.status != rdMolStandardize.TautomerEnumeratorStatus.Completed:
            return None, f"too many tautomers: given up after {MAX_TAUTOMERS}, or {MAX_TRANSFORMS} shifts"
        key = Chem.MolToInchiKey(_enumerator().PickCanonical(found))
    except (ValueError, RuntimeError) as fault:  # RDKit's sanitization and kekulization errors
        return None, f"tautomers failed: {_first_line(fault)}"
    return (key, None) if key else (None, "no InChIKey (wildcard atom, or not representable)")


@once
def _enumerator() -> Any:
    enumerator = rdMolStandardize.TautomerEnumerator()
    enumerator.SetMaxTautomers(MAX_TAUTOMERS)
    enumerator.SetMaxTransforms(MAX_TRANSFORMS)
    enumerator.SetRemoveSp3Stereo(True)
    enumerator.SetRemoveBondStereo(True)
    enumerator.SetReassignStereo(True)
    return enumerator


def _is_organic(mol: Any) -> bool:
    return bool(mol.HasSubstructMatch(_CARBON))


@once
def _salt_former_skeletons() -> frozenset[str]:
    """Return the first InChIKey blocks of the known counter-ions and solvents."""
    text = files("etl.harmonize").joinpath("reference/salt_formers.csv").read_text(encoding="utf-8")
    listed = csv.DictReader(text.splitlines())
    return frozenset(Chem.MolToInchiKey(Chem.MolFromSmiles(row["smiles"]))[:14] for row in listed)


def _parse_problem(smiles: str) -> str:
    mol = Chem.MolFromSmiles(smiles, sanitize=False)
    if mol is None:
        words = smiles.split(maxsplit=1)
        is_structure = len(words) > 1 and Chem.MolFromSmiles(words[0]) is not None
        return "the extension after the SMILES cannot be read" if is_structure else "not a SMILES"
    problems = [_first_line(problem.Message()) for problem in Chem.DetectChemistryProblems(mol)]
    return problems[0] if problems else "not a SMILES"


def _first_line(fault: object) -> str:
    return (str(fault).strip().splitlines() or ["no message"])[0]
