"""What a name alone says: antibodies, biologics, polymers and combinations, and what only looks like one."""

from pathlib import Path

import polars as pl
import pytest

from etl.harmonize.compound_kinds import Combination, combination_parts, kind_of_name
from schemas.vocabularies import COMPOUND_KINDS

ANTIBODIES = """
    adalimumab; ado-trastuzumab emtansine; Trastuzumab deruxtecan; trastuzumab-dkst; PEMBROLIZUMAB;
    anti-CD3; Anti-PD-1 (clone RMP1-14); anti-human CD28; gotistobart; human IgG1; neutralizing antibody
"""
BIOLOGICS = """
    interferon gamma; peginterferon alfa-2a; IFN-gamma; IFNb; insulin; insulin glargine; etanercept;
    aflibercept; abatacept; EGF; HB-EGF; bFGF; FGF2; TNF-alpha; TNFα; IL-2; IL6; IL-17A; IL-1 beta; rhIL-2;
    recombinant human EGF; TGF-beta 1; GM-CSF; VEGF165; PDGF-BB; CXCL12; CX3CL1; Wnt3a; BMP4; IGF-1;
    insulin-like growth factor 1; filgrastim; epoetin alfa; alteplase; nusinersen; patisiran; siRNA pool;
    botulinum toxin A; onabotulinumtoxinA; L-asparaginase; bovine serum albumin
"""
POLYMERS = """
    poly(I:C); Poly I:C; poly(lactic-co-glycolic acid); polyethylene glycol; PEG 400; PEG-3350; dextran
    sulfate; heparin; enoxaparin; methylcellulose; hyaluronic acid; cholestyramine; polyvinylpyrrolidone;
    polybrene; poly-D-lysine; polysorbate 80; tyloxapol
"""
SMALL = """
    Aricept; CellCept; DMAB-anabaseine; fondaparinux; polymyxin B; polydatin; polythiazide; dapagliflozin;
    EGF receptor inhibitor; TNF-alpha inhibitor; VEGF-receptor-2-kinase-inhibitor-IV; insulin receptor
    agonist; anti-inflammatory agent; thymosin alpha; oligomycin-a; podophyllotoxin; HC-toxin; homatropine;
    pifithrin-alpha; 6-hydroxytropinone; AICA-ribonucleotide; 1,2-propylene-glycol; digitoxin; precept; PEG;
    kinetin; arsenic; Interleukinase antagonist; IL; heparin-binding probe; vitamin D
"""


def names(listed: str) -> list[str]:
    return [" ".join(name.split()) for name in listed.split(";")]


@pytest.mark.parametrize("name", names(ANTIBODIES))
def test_antibodies_go_by_stem_conjugate_or_antigen(name: str) -> None:
    assert kind_of_name(name) == "antibody"


@pytest.mark.parametrize("name", names(BIOLOGICS))
def test_biologics_go_by_stem_or_name(name: str) -> None:
    assert kind_of_name(name) == "biologic"


@pytest.mark.parametrize("name", names(POLYMERS))
def test_polymers_go_by_name(name: str) -> None:
    assert kind_of_name(name) == "polymer"


@pytest.mark.parametrize("name", [*names(SMALL), "", "?", "5-FU"])
def test_a_small_molecule_is_called_none_of_them(name: str) -> None:
    assert kind_of_name(name) is None


def test_spacing_and_underscores_do_not_matter() -> None:
    assert kind_of_name(" trastuzumab_deruxtecan ") == "antibody"
    assert kind_of_name("polyethylene  glycol") == "polymer"


def test_kinds_of_names_are_in_the_vocabulary() -> None:
    assert {"antibody", "biologic", "polymer"} <= COMPOUND_KINDS.keys()


@pytest.mark.parametrize(
    ("name", "parts", "ratio"),
    [
        ("carboplatin:etoposide (40:17 mol/mol)", ("carboplatin", "etoposide"), "40:17 mol/mol"),
        ("JQ-1:MK-0752 (1:1 mol/mol)", ("JQ-1", "MK-0752"), "1:1 mol/mol"),
        ("carbidopa:levodopa (1:4)", ("carbidopa", "levodopa"), "1:4"),
        ("Lopinavir + Ritonavir", ("Lopinavir", "Ritonavir"), None),
        ("(+)-JQ1 + (-)-Nutlin-3", ("(+)-JQ1", "(-)-Nutlin-3"), None),
        ("lopinavir+ritonavir", ("lopinavir", "ritonavir"), None),
        ("Sacubitril/Valsartan", ("Sacubitril", "Valsartan"), None),
        ("Trimethoprim / Sulfamethoxazole (1:5)", ("Trimethoprim", "Sulfamethoxazole"), "1:5"),
        ("Amoxicillin/clavulanate potassium", ("Amoxicillin", "clavulanate potassium"), None),
        ("Tezacaftor/Ivacaftor/Elexacaftor", ("Tezacaftor", "Ivacaftor", "Elexacaftor"), None),
    ],
)
def test_joined_names_come_apart(name: str, parts: tuple[str, ...], ratio: str | None) -> None:
    assert combination_parts(name) == Combination(parts, ratio)


@pytest.mark.parametrize(
    "name",
    [
        *("(+)-JQ1", "3:1", "1/2", "A + B", "X (2:1)", "17-AAG (3:1 w/w)", "poly(I:C)", "PE(16:0/18:1)"),
        *("Akti-1/2", "cis/trans-decalin", "E/Z-endoxifen", "alpha/beta-arteether", "vitamin B6/B12"),
        *("PI3K/mTOR inhibitor", "serotonin/dopamine antagonist", "AZD2281/Olaparib", "HDACi1,2+3_mix"),
        *(
            "Erlotinib + DMSO",
            "ethanol/water",
            "K+ channel",
            "(+/-)-7-hydroxy-2-(N,N-di-n-propylamino)tetralin",
        ),
        *("", "/", "+", ":", "aspirin:caffeine", "aspirin:caffeine (1:1:1)"),
    ],
)
def test_what_only_holds_a_separator_is_one_name(name: str) -> None:
    assert combination_parts(name) is None


def test_exactly_the_combinations_of_a_real_screen_come_apart(realdata: Path) -> None:
    path = realdata / "raw/ctrpv2/v20.meta.per_compound.txt"
    listed = pl.read_csv(path, separator="\t", infer_schema=False, quote_char=None)["cpd_name"].to_list()
    found = {name: parts for name in listed if (parts := combination_parts(name))}
    assert len(found) == 49
    assert set(found) == {name for name in listed if "mol/mol" in name}
    assert all(
        len(each.parts) == 2 and each.ratio.endswith(" mol/mol") for each in found.values() if each.ratio
    )


def test_of_real_names_with_a_structure_only_a_polymer_is_called_something_else(realdata: Path) -> None:
    path = realdata / "raw/reference/lincs_pertinfo.tsv.gz"
    table = pl.read_csv(path, separator="\t", infer_schema=False, quote_char=None)
    listed = table.filter(pl.col("pert_type") == "trt_cp")["pert_iname"].unique()
    kinds = {name: kind for name in listed if (kind := kind_of_name(name))}
    assert kinds == {"tyloxapol": "polymer"}
    assert not any(combination_parts(name) for name in listed)
