"""The drugs, cell lines and gene programmes of the simulated studies, frozen.

Here: real identifiers (names as each publisher spells them, LINCS ids, structures, line names) and the
invented biology that hangs on them (potencies, sensitivities, programme weights). The invented numbers are of
the right order of magnitude and carry no more meaning than that. Not here: anything drawn at random
(``study``) or any file layout (``l1000``, ``drugseq``, ``screens``, ``reference``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

LJP005: Final = "l1000_ljp005"
PHASE1: Final = "l1000_phase1"
KP6490: Final = "drugseq_kp6490"
GCSI: Final = "gcsi"
CCLE: Final = "ccle_2015"


@dataclass(frozen=True, slots=True, eq=False)
class CellLine:
    """A cell line (or primary culture) and its names.

    Args:
        name: the line's usual name, as LINCS writes it; identifies the line in the truth.
        gcsi: name in the gCSI tables; None where the line is not screened there.
        ccle: (CCLE name, primary name) in the CCLE table.
        drugseq: label in the DRUG-seq plate map; None where the line is not profiled there.
        tissue: gCSI primary tissue.
        doubling_time_h: population doubling time.
    """

    name: str
    gcsi: str | None = None
    ccle: tuple[str, str] | None = None
    drugseq: str | None = None
    tissue: str = ""
    doubling_time_h: float = 40.0


LINES: Final = (
    CellLine("A375", "A-375", ("A375_SKIN", "A-375"), "A375", "Skin", 25),
    CellLine("MCF7", "MCF-7", ("MCF7_BREAST", "MCF7"), "MCF7", "Breast", 30),
    CellLine("A549", "A549", ("A549_LUNG", "A549"), None, "Lung", 32),
    CellLine("PC3", "PC-3", ("PC3_PROSTATE", "PC-3"), None, "Prostate", 48),
    CellLine("HT29", "HT-29", ("HT29_LARGE_INTESTINE", "HT-29"), None, "Colon", 30),
    CellLine("HEPG2", "Hep G2", ("HEPG2_LIVER", "Hep G2"), None, "Liver", 29),
    # A primary ovarian culture that no cell line reference knows: stays unresolved, as in the real study.
    CellLine("VOA-4698", None, None, "VOA-4698"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Mechanism:
    """What a class of drugs does.

    Args:
        name: mechanism of action.
        target: target as CCLE writes targets.
        programmes: gene programmes it drives, with the strength of each.
        sensitivity: share of the full response in a line; ``DEFAULT_SENSITIVITY`` elsewhere.
    """

    name: str
    target: str
    programmes: Mapping[str, float]
    sensitivity: Mapping[str, float] = field(default_factory=dict)


DEFAULT_SENSITIVITY: Final = 0.9

MEK = Mechanism(
    "MEK inhibitor",
    "MEK",
    {"mapk": 1.0},
    {"A375": 1.0, "HT29": 0.9, "A549": 0.6, "MCF7": 0.45, "PC3": 0.3, "HEPG2": 0.6},
)
# BRAF inhibitors act where BRAF is V600E-mutant: A375 and HT29.
RAF = Mechanism(
    "RAF inhibitor",
    "RAF",
    {"mapk": 1.0},
    {"A375": 1.0, "HT29": 0.8, "MCF7": 0.08, "A549": 0.06, "PC3": 0.05, "HEPG2": 0.05, "VOA-4698": 0.05},
)
EGFR = Mechanism(
    "EGFR inhibitor",
    "EGFR",
    {"mapk": 0.5, "pi3k": 0.5},
    {"A375": 0.25, "MCF7": 0.55, "A549": 0.5, "PC3": 0.35, "HT29": 0.6, "HEPG2": 0.3},
)
MET = Mechanism("MET and ALK inhibitor", "c-MET", {"mapk": 0.5, "stress": 0.4}, {"MCF7": 0.3, "HEPG2": 0.6})
PI3K = Mechanism("PI3K inhibitor", "PI3K", {"pi3k": 1.0}, {"MCF7": 1.0, "A375": 0.6})
MTOR = Mechanism("mTOR inhibitor", "MTOR", {"pi3k": 1.0, "stress": 0.2}, {"MCF7": 1.0})
CDK46 = Mechanism("CDK4/6 inhibitor", "CDK4", {"cell_cycle": 1.0}, {"MCF7": 1.0, "A375": 0.8, "PC3": 0.4})
HDAC = Mechanism("HDAC inhibitor", "HDAC", {"hdac": 1.0, "cell_cycle": 0.3})
BET = Mechanism("BET inhibitor", "BET", {"bet": 1.0, "cell_cycle": 0.2})
HSP90 = Mechanism("HSP90 inhibitor", "HSP90", {"heat_shock": 1.0, "stress": 0.3})
PROTEASOME = Mechanism("proteasome inhibitor", "PSMB5", {"proteasome": 1.0, "heat_shock": 0.5, "stress": 0.4})
TUBULIN = Mechanism("tubulin inhibitor", "TUBB1", {"mitosis": 1.0, "stress": 0.2})
TOPOISOMERASE_1 = Mechanism("topoisomerase I inhibitor", "TOP1", {"dna_damage": 1.0, "cell_cycle": 0.4})
TOPOISOMERASE_2 = Mechanism("topoisomerase II inhibitor", "TOP2", {"dna_damage": 1.0, "stress": 0.3})
# MDM2 inhibitors need wild-type p53, which PC3 and HT29 lack.
MDM2 = Mechanism("MDM2 inhibitor", "MDM2", {"p53": 1.0, "cell_cycle": 0.4}, {"PC3": 0.04, "HT29": 0.05})
ANTIBIOTIC = Mechanism("penicillin", "", {}, {})

PROGRAMMES: Final[Mapping[str, Mapping[str, float]]] = {
    "mapk": {
        "DUSP6": -3.0,
        "DUSP4": -2.5,
        "EGR1": -2.5,
        "FOS": -2.0,
        "FOSL1": -2.0,
        "ETV1": -2.0,
        "MYC": -1.5,
        "CCND1": -2.0,
        "IER3": -1.8,
        "TRIB1": -1.5,
        "ERBB3": 1.5,
        "TSC22D3": 1.2,
        "CDKN1B": 1.2,
    },
    "pi3k": {
        "HMGCS1": -1.5,
        "INSIG1": -1.5,
        "CCND1": -1.0,
        "PCK2": -1.2,
        "SLC1A4": -1.0,
        "ERBB3": 1.5,
        "FOXO3": 1.2,
        "CDKN1B": 1.2,
        "SESN1": 1.5,
        "PIK3R3": 1.0,
    },
    "cell_cycle": {
        "CCNA2": -2.2,
        "CDK1": -2.2,
        "E2F2": -2.0,
        "PCNA": -1.5,
        "MCM3": -1.8,
        "BIRC5": -2.0,
        "TOP2A": -2.2,
        "CCNE2": -1.8,
        "RFC5": -1.2,
        "UBE2C": -1.8,
        "KIF20A": -1.8,
        "CDKN1B": 1.0,
    },
    "hdac": {
        "H2BC21": 2.8,
        "H2BC12": 2.4,
        "CDKN1A": 2.0,
        "STX1A": 2.2,
        "SNCA": 1.8,
        "TUBB6": 1.5,
        "HEBP1": 1.4,
        "MYC": -1.5,
        "CCND1": -1.0,
        "NUSAP1": -1.2,
    },
    "bet": {
        "MYC": -2.8,
        "H2BC12": 1.8,
        "H2BC21": 1.6,
        "SERPINE1": -1.5,
        "CCND1": -0.8,
        "FOSL1": -1.4,
        "HES1": -1.2,
    },
    "heat_shock": {
        "HSPA1A": 3.5,
        "DNAJB1": 3.2,
        "HSPA8": 2.2,
        "HSPB1": 2.0,
        "HSPD1": 1.3,
        "BAG3": 3.0,
        "HSPA4": 1.6,
        "FKBP4": 1.6,
        "ERBB2": -1.5,
        "AKT1": -1.0,
    },
    "proteasome": {
        "HMOX1": 3.2,
        "PSMD4": 2.0,
        "PSMD2": 1.8,
        "SQSTM1": 2.2,
        "TXNRD1": 1.6,
        "ATF5": 1.5,
        "DNAJB2": 1.5,
    },
    "mitosis": {
        "CCNB1": 2.2,
        "PLK1": 1.8,
        "CDC20": 2.2,
        "AURKA": 1.8,
        "KIF20A": 1.6,
        "CENPE": 1.6,
        "TUBB6": -1.6,
    },
    "dna_damage": {
        "CDKN1A": 2.6,
        "GADD45A": 2.2,
        "DDB2": 1.6,
        "FAS": 1.6,
        "SESN1": 1.8,
        "PMAIP1": 1.4,
        "MYC": -1.2,
    },
    "p53": {"CDKN1A": 3.0, "DDB2": 2.0, "FAS": 1.8, "SESN1": 2.0, "BAX": 1.6, "GADD45A": 1.0, "TP53BP1": 0.6},
    "stress": {
        "DDIT4": 1.8,
        "CHAC1": 2.2,
        "TRIB3": 2.2,
        "ATF5": 1.2,
        "HERPUD1": 1.4,
        "XBP1": 0.9,
        "PHGDH": 1.0,
    },
}
"""Genes that head each programme: log2 fold change at full response. ``study`` adds the lesser genes."""


@dataclass(frozen=True, slots=True, eq=False)
class Compound:
    """A drug, its names and its potency.

    Args:
        name: name in LINCS tables (``pert_iname``); identifies the compound in the truth.
        pert_id: LINCS perturbagen id.
        smiles: structure of the parent.
        mechanism: what it does.
        ec50_um: dose of half response, µM.
        e_inf: viability at infinite dose in a fully sensitive line.
        slope: Hill slope.
        reported: name in the other datasets that test it, by dataset.
        is_in_reference: whether the simulated LINCS table knows it; the two that it omits stay unresolved.
        counter_ion: SMILES of the counter-ion with which the LINCS table lists it.
    """

    name: str
    pert_id: str
    smiles: str
    mechanism: Mechanism
    ec50_um: float
    e_inf: float
    slope: float = 1.2
    reported: Mapping[str, str] = field(default_factory=dict)
    is_in_reference: bool = True
    counter_ion: str | None = None


COMPOUNDS: Final = (
    Compound(
        "vorinostat",
        "BRD-K81418486",
        "ONC(=O)CCCCCCC(=O)Nc1ccccc1",
        HDAC,
        1.2,
        0.12,
        1.5,
        {GCSI: "Vorinostat", KP6490: "Vorinostat"},
    ),
    # CCLE writes a non-breaking blank after this name.
    Compound(
        "panobinostat",
        "BRD-K02130563",
        "Cc1[nH]c2ccccc2c1CCNCc3ccc(/C=C/C(=O)NO)cc3",
        HDAC,
        0.03,
        0.05,
        1.6,
        {CCLE: "Panobinostat\N{NO-BREAK SPACE}", KP6490: "Panobinostat"},
    ),
    Compound(
        "selumetinib",
        "BRD-K57080016",
        "Cn1cnc2c(F)c(Nc3ccc(Br)cc3Cl)c(cc12)C(=O)NOCCO",
        MEK,
        0.25,
        0.25,
        1.0,
        {CCLE: "AZD6244", KP6490: "Selumetinib"},
    ),
    Compound(
        "PD-0325901",
        "BRD-K49865102",
        "OC[C@@H](O)CONC(=O)c1ccc(F)c(F)c1Nc1ccc(I)cc1F",
        MEK,
        0.03,
        0.2,
        1.1,
        {CCLE: "PD-0325901", KP6490: "Mirdametinib"},
    ),
    Compound(
        "trametinib",
        "BRD-K12343256",
        "CC(=O)Nc1cccc(c1)-n1c2c(C)c(=O)n(C)c(Nc3ccc(I)cc3F)c2c(=O)n(C2CC2)c1=O",
        MEK,
        0.02,
        0.2,
        1.1,
        {KP6490: "Trametinib"},
    ),
    Compound(
        "vemurafenib",
        "BRD-K56343971",
        "CCCS(=O)(=O)Nc1ccc(F)c(C(=O)c2c[nH]c3ncc(cc23)-c2ccc(Cl)cc2)c1F",
        RAF,
        0.3,
        0.2,
        1.2,
        {KP6490: "Vemurafenib"},
    ),
    Compound(
        "PLX-4720",
        "BRD-K16478699",
        "CCCS(=O)(=O)Nc1ccc(F)c(C(=O)c2c[nH]c3ncc(Cl)cc23)c1F",
        RAF,
        0.6,
        0.25,
        1.2,
        {GCSI: "PLX-4720", CCLE: "PLX4720"},
    ),
    Compound(
        "dabrafenib",
        "BRD-K09951645",
        "CC(C)(C)c1nc(c(s1)-c1ccnc(N)n1)-c1cccc(NS(=O)(=O)c2c(F)cccc2F)c1F",
        RAF,
        0.03,
        0.2,
        1.1,
        {GCSI: "Dabrafenib", KP6490: "Dabrafenib"},
    ),
    Compound(
        "lapatinib",
        "BRD-K19687926",
        "CS(=O)(=O)CCNCc1ccc(o1)-c1ccc2ncnc(Nc3ccc(OCc4cccc(F)c4)c(Cl)c3)c2c1",
        EGFR,
        2.0,
        0.3,
        1.4,
        {GCSI: "Lapatinib", CCLE: "Lapatinib"},
    ),
    Compound(
        "erlotinib",
        "BRD-K70401845",
        "COCCOc1cc2ncnc(Nc3cccc(C#C)c3)c2cc1OCCOC",
        EGFR,
        2.5,
        0.4,
        1.0,
        {GCSI: "Erlotinib", CCLE: "Erlotinib"},
    ),
    Compound(
        "neratinib",
        "BRD-K85606544",
        r"CCOc1cc2ncc(C#N)c(Nc3ccc(OCc4ccccn4)c(Cl)c3)c2cc1NC(=O)\C=C\CN(C)C",
        EGFR,
        0.4,
        0.15,
        1.4,
        {KP6490: "Neratinib"},
    ),
    Compound(
        "paclitaxel",
        "BRD-K62008436",
        "CC1=C2[C@H](C(=O)[C@@]3([C@H](C[C@@H]4[C@]([C@H]3[C@@H]([C@@](C2(C)C)(C[C@@H]1OC(=O)[C@@H]([C@H]"
        "(C5=CC=CC=C5)NC(=O)C6=CC=CC=C6)O)O)OC(=O)C7=CC=CC=C7)(CO4)OC(=O)C)O)C)OC(=O)C",
        TUBULIN,
        0.012,
        0.3,
        1.8,
        {GCSI: "Paclitaxel", CCLE: "Paclitaxel", KP6490: "Paclitaxel"},
    ),
    Compound(
        "vincristine",
        "BRD-K82109576",
        "CC[C@@]1(C[C@@H]2C[C@@](C3=C(CCN(C2)C1)C4=CC=CC=C4N3)(C5=C(C=C6C(=C5)[C@]78CCN9[C@H]7[C@@](C=CC9)"
        "([C@H]([C@@]([C@@H]8N6C=O)(C(=O)OC)O)OC(=O)C)CC)OC)C(=O)OC)O",
        TUBULIN,
        0.008,
        0.3,
        1.9,
        {GCSI: "Vincristine"},
    ),
    Compound(
        "tanespimycin",
        "BRD-K81473043",
        r"CO[C@H]1C[C@H](C)CC2=C(NCC=C)C(=O)C=C(NC(=O)\C(C)=C\C=C/[C@H](OC)[C@@H](OC(N)=O)\C(C)=C\[C@H](C)"
        "[C@H]1O)C2=O",
        HSP90,
        0.08,
        0.15,
        1.4,
        {GCSI: "17-AAG", CCLE: "17-AAG"},
    ),
    Compound(
        "geldanamycin",
        "BRD-K11528507",
        r"CO[C@H]1C[C@H](C)CC2=C(OC)C(=O)C=C(NC(=O)\C(C)=C\C=C/[C@H](OC)[C@@H](OC(N)=O)\C(C)=C\[C@H](C)"
        "[C@H]1O)C2=O",
        HSP90,
        0.15,
        0.15,
        1.4,
    ),
    Compound(
        "bortezomib",
        "BRD-K88510285",
        "CC(C)C[C@H](NC(=O)[C@H](Cc1ccccc1)NC(=O)c2cnccn2)B(O)O",
        PROTEASOME,
        0.008,
        0.02,
        2.5,
        {GCSI: "Bortezomib", KP6490: "Bortezomib"},
    ),
    Compound(
        "topotecan",
        "BRD-K55696337",
        "CC[C@@]1(O)C(=O)OCc2c1cc3-c4nc5ccc(O)c(CN(C)C)c5cc4Cn3c2=O",
        TOPOISOMERASE_1,
        0.08,
        0.08,
        1.1,
        {CCLE: "Topotecan"},
    ),
    Compound(
        "etoposide",
        "BRD-K37798499",
        "COc1cc(cc(OC)c1O)[C@H]2[C@@H]3[C@H](COC3=O)[C@H](O[C@@H]4O[C@@H]5CO[C@@H](C)O[C@H]5[C@H](O)[C@H]4O)"
        "c6cc7OCOc7cc26",
        TOPOISOMERASE_2,
        2.0,
        0.1,
        1.1,
        {GCSI: "Etoposide"},
    ),
    Compound(
        "doxorubicin",
        "BRD-K92093830",
        "COc1cccc2C(=O)c3c(O)c4C[C@](O)(C[C@H](O[C@H]5C[C@H](N)[C@H](O)[C@H](C)O5)c4c(O)c3C(=O)c12)C(=O)CO",
        TOPOISOMERASE_2,
        0.2,
        0.04,
        1.3,
        {KP6490: "Dox"},
        counter_ion="Cl",
    ),
    Compound(
        "mitoxantrone",
        "BRD-K21680192",
        "OCCNCCNc1ccc(NCCNCCO)c2C(=O)c3c(O)ccc(O)c3C(=O)c12",
        TOPOISOMERASE_2,
        0.1,
        0.04,
        1.3,
        {KP6490: "Mito"},
    ),
    Compound(
        "GDC-0941",
        "BRD-K52911425",
        "CS(=O)(=O)N1CCN(Cc2cc3nc(nc(N4CCOCC4)c3s2)-c2cccc3[nH]ncc23)CC1",
        PI3K,
        0.4,
        0.2,
        1.1,
        {GCSI: "GDC-0941"},
    ),
    Compound(
        "AZD-8055",
        "BRD-K69932463",
        "COc1ccc(cc1CO)-c1ccc2c(nc(nc2n1)N1CCOC[C@@H]1C)N1CCOC[C@@H]1C",
        MTOR,
        0.08,
        0.2,
        1.1,
        {GCSI: "AZD-8055"},
        is_in_reference=False,
    ),
    Compound(
        "palbociclib",
        "BRD-K51313569",
        "CC(=O)c1c(C)c2cnc(Nc3ccc(cn3)N3CCNCC3)nc2n(C2CCCC2)c1=O",
        CDK46,
        0.5,
        0.3,
        0.9,
        {GCSI: "Palbociclib", CCLE: "PD-0332991", KP6490: "Palbociclib"},
    ),
    Compound(
        "crizotinib",
        "BRD-K78431006",
        "C[C@@H](Oc1cc(cnc1N)-c1cnn(c1)C1CCNCC1)c1c(Cl)ccc(F)c1Cl",
        MET,
        1.8,
        0.1,
        1.8,
        {GCSI: "Crizotinib", CCLE: "PF2341066"},
    ),
    Compound(
        "JQ1",
        "BRD-K54606188",
        "Cc1sc-2c(c1C)C(=N[C@@H](CC(=O)OC(C)(C)C)c1nnc(C)n-21)c1ccc(Cl)cc1",
        BET,
        0.25,
        0.35,
        1.0,
        {GCSI: "JQ1"},
        is_in_reference=False,
    ),
    Compound(
        "nutlin-3",
        "BRD-A12230535",
        "COc1ccc(C2=NC(C(N2C(=O)N3CCNC(=O)C3)c4ccc(Cl)cc4)c5ccc(Cl)cc5)c(OC(C)C)c1",
        MDM2,
        2.5,
        0.25,
        1.3,
        {CCLE: "Nutlin-3"},
    ),
    # Without effect on human cells: what a true null looks like in every table.
    Compound(
        "amoxicillin",
        "BRD-K55044200",
        "CC1(C)S[C@@H]2[C@H](NC(=O)[C@H](N)c3ccc(O)cc3)C(=O)N2[C@H]1C(=O)O",
        ANTIBIOTIC,
        1.0,
        1.0,
    ),
)


def compounds_of(dataset_id: str) -> tuple[Compound, ...]:
    """Return the compounds that a DRUG-seq or screening dataset tests, in catalogue order."""
    return tuple(compound for compound in COMPOUNDS if dataset_id in compound.reported)
