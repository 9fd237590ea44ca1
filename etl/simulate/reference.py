"""The LINCS perturbagen table (``lincs_pertinfo.tsv.gz``) of the simulated studies, in its own columns.

It holds the catalogue's compounds but for the two marked absent, which the demo therefore shows as
unresolved, and the controls and hairpins of the simulated L1000 plates. One compound is listed as its
hydrochloride.
"""

from pathlib import Path

from rdkit import Chem, rdBase
from rdkit.Chem import Descriptors, rdMolDescriptors

from etl.simulate.catalogue import COMPOUNDS, Compound
from etl.simulate.landing import write_gzip

FILE_NAME = "lincs_pertinfo.tsv.gz"

COLUMNS = (
    "pert_id",
    "pert_iname",
    "pert_type",
    "num_gold",
    "num_inst",
    "num_sig",
    "in_summly",
    "pert_summary",
    "pubchem_cid",
    "molecular_formula",
    "molecular_wt",
    "pert_vendor",
    "canonical_smiles",
    "inchi_key",
    "inchi_string",
)

GENETIC_AND_CONTROLS = (
    ("DMSO", "DMSO", "ctl_vehicle"),
    ("TRCN0000072188", "GFP", "ctl_vector"),
    ("TRCN0000072237", "lacZ", "ctl_vector"),
    ("TRCN0000061833", "LMNA", "trt_sh"),
)
"""(pert_id, pert_iname, pert_type) of the perturbagens that are no compounds."""


def write(folder: Path) -> Path:
    """Write the table and return its path."""
    rows: list[dict[str, str]] = [
        {"pert_id": pert_id, "pert_iname": name, "pert_type": kind}
        for pert_id, name, kind in GENETIC_AND_CONTROLS
    ]
    # Nutlin-3 is a racemate: RDKit would warn that its InChI omits the open stereocentres.
    with rdBase.BlockLogs():
        rows += [_row(compound) for compound in COMPOUNDS if compound.is_in_reference]
    counts = {"num_gold": "0", "num_inst": "0", "num_sig": "0"}
    lines = ["\t".join(COLUMNS)]
    lines += ["\t".join({**counts, **row}.get(column, "") for column in COLUMNS) for row in rows]
    path = folder / FILE_NAME
    write_gzip(path, ("\n".join(lines) + "\n").encode())
    return path


def _row(compound: Compound) -> dict[str, str]:
    smiles = compound.smiles if compound.counter_ion is None else f"{compound.counter_ion}.{compound.smiles}"
    molecule = Chem.MolFromSmiles(smiles)
    assert molecule is not None, f"the catalogue's structure of {compound.name} is no SMILES"
    return {
        "pert_id": compound.pert_id,
        "pert_iname": compound.name,
        "pert_type": "trt_cp",
        "in_summly": "True",
        "molecular_formula": rdMolDescriptors.CalcMolFormula(molecule),
        "molecular_wt": f"{Descriptors.MolWt(molecule):.3f}",  # type: ignore[attr-defined]
        "canonical_smiles": smiles,
        "inchi_key": f"InChIKey={Chem.MolToInchiKey(molecule)}",
        "inchi_string": Chem.MolToInchi(molecule),
    }
