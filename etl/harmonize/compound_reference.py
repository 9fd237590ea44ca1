"""Reference tables of compounds: structures known by registry id, CAS number, name, InChIKey or CID.

Here: the files, each read into one row per structure with its identifiers. Not here: which of several
structures a reported compound means (``compounds.py``), and PubChem.

=================================  ==================================================================
file in the reference folder       what
=================================  ==================================================================
``**/lincs_pertinfo*.tsv[.gz]``    LINCS perturbagens: Broad id, name, structure, InChIKey, CID
``**/PortalCompounds.csv``         DepMap: names, synonyms, ids in several screens, ChEMBL id, CID
``**/chembl_*_chemreps.txt.gz``    ChEMBL: id, structure, InChIKey
``**/src*src*.txt.gz``             UniChem: pairs of ids, such as DrugBank and ChEMBL
``compounds/*.csv``                any other: columns of ``OWN_COLUMNS``, such as a vendor's catalogue
=================================  ==================================================================
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import polars as pl

from etl.errors import BadInputError
from etl.formats import delimited
from etl.harmonize.chembl import read_chemreps, read_unichem
from etl.harmonize.compound_names import name_key_expr
from etl.harmonize.reference_folder import Reader, ReferenceFolder
from etl.harmonize.registry_ids import registry_key

IdentifierKind = Literal["registry_id", "cas", "name", "inchikey", "pubchem_cid"]

TABLE_SCHEMA: Final = pl.Schema(
    {
        "smiles": pl.String(),
        "inchikey": pl.String(),
        "pubchem_cid": pl.Int64(),
        "registry_ids": pl.List(pl.String()),
        "cas": pl.List(pl.String()),
        "name_keys": pl.List(pl.String()),
    }
)
"""One row per structure as published, not yet standardized. Ids as ``registry_key`` and names as ``name_key``
give them. A row without SMILES has at least a CID."""

OWN_COLUMNS: Final = ("registry_id", "name", "cas", "inchikey", "pubchem_cid", "smiles")
"""Columns of a table of one's own; each may be missing but the last two not both. Several ids, names or CAS
numbers in a cell are separated by ``|``."""

_COLUMN: Final[Mapping[IdentifierKind, str]] = {
    "registry_id": "registry_ids",
    "cas": "cas",
    "name": "name_keys",
    "inchikey": "inchikey",
    "pubchem_cid": "pubchem_cid",
}
_LINCS_COLUMNS = ("pert_id", "pert_iname", "pert_type", "pubchem_cid", "canonical_smiles", "inchi_key")
_LINCS_MISSING = ("-666", "-666.0", "restricted", "")
_PORTAL_COLUMNS = (
    "CompoundID",
    "CompoundName",
    "Synonyms",
    "SampleIDs",
    "ChEMBLID",
    "SMILES",
    "InChIKey",
    "PubChemCID",
)
_UNICHEM_WRITTEN: Final = ("chembl", "drugbank")
"""Sources of UniChem whose ids are looked up as registry ids, in the form ``registry_key`` gives."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A structure proposed for a compound.

    Args:
        smiles: as published; None where only a CID or a key is known.
        inchikey: as published beside it.
        pubchem_cid: the CID that goes with it.
        origin: the reference that proposes it; None where the publisher does.
    """

    smiles: str | None
    inchikey: str | None = None
    pubchem_cid: int | None = None
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class CompoundReference:
    """Every reference table of compounds.

    Args:
        tables: rows of ``TABLE_SCHEMA``, by the name of their file.
        equivalents: ``registry_id`` and the ``equivalent`` registry id or ``pubchem_cid`` that UniChem pairs
            with it.
    """

    tables: Mapping[str, pl.DataFrame]
    equivalents: pl.DataFrame

    def candidates(self, kind: IdentifierKind, keys: Iterable[str | int]) -> dict[str | int, list[Candidate]]:
        """Return what the tables know under identifiers of one kind; what they do not know is absent.

        Candidates are ordered by table, then structure, each once.
        """
        column = _COLUMN[kind]
        dtype = pl.Int64 if kind == "pubchem_cid" else pl.String
        wanted = pl.Series("key", list(set(keys)), dtype=dtype).sort()
        found: defaultdict[str | int, dict[Candidate, None]] = defaultdict(dict)
        for origin, table in self.tables.items():
            rows = table.select("smiles", "inchikey", "pubchem_cid", key=column)
            if isinstance(TABLE_SCHEMA[column], pl.List):
                rows = rows.explode("key", empty_as_null=True)
            rows = rows.filter(pl.col("key").is_in(wanted.implode())).unique().sort(pl.all())
            for smiles, inchikey, cid, key in rows.iter_rows():
                found[key][Candidate(smiles, inchikey, cid, origin)] = None
        return {key: list(candidates) for key, candidates in found.items()}

    def equivalents_of(self, registry_ids: Iterable[str]) -> dict[str, list[str | int]]:
        """Return the registry ids and CIDs that UniChem pairs with registry ids; the unknown are absent."""
        wanted = pl.Series(sorted(set(registry_ids)), dtype=pl.String)
        rows = self.equivalents.filter(pl.col("registry_id").is_in(wanted.implode())).unique().sort(pl.all())
        found: defaultdict[str, list[str | int]] = defaultdict(list)
        for registry_id, equivalent, cid in rows.select(
            "registry_id", "equivalent", "pubchem_cid"
        ).iter_rows():
            found[registry_id].append(equivalent if equivalent is not None else cid)
        return dict(found)


_EQUIVALENTS_SCHEMA = pl.Schema({"registry_id": pl.String, "equivalent": pl.String, "pubchem_cid": pl.Int64})
NO_REFERENCE: Final = CompoundReference({}, pl.DataFrame(schema=_EQUIVALENTS_SCHEMA))


def load_compound_reference(folder: ReferenceFolder) -> CompoundReference:
    """Return the tables of every file that is there.

    Raises:
        BadInputError: a file cannot be read, or lacks a column.
    """
    tables = {
        folder.name_of(path): folder.parsed(path, read)
        for patterns, read in READERS.items()
        for path in folder.find(*patterns)
    }
    pairs = [folder.parsed(path, read_equivalents) for path in folder.find(*UNICHEM_FILES)]
    return CompoundReference(tables, pl.concat([NO_REFERENCE.equivalents, *pairs]))


def read_lincs(path: Path) -> pl.DataFrame:
    """Read the compounds (``trt_cp``) of the LINCS perturbagen table that have a structure or a CID.

    Raises:
        BadInputError: the file cannot be read, or lacks a column.
    """
    raw = delimited.read_reference(path, _LINCS_COLUMNS, separator="\t")
    stated = raw.filter(pl.col("pert_type") == "trt_cp").select(
        pl.when(~pl.col(column).str.strip_chars().is_in(_LINCS_MISSING)).then(
            pl.col(column).str.strip_chars()
        )
        for column in _LINCS_COLUMNS
    )
    return _table(
        stated.select(
            smiles="canonical_smiles",
            inchikey=pl.col("inchi_key").str.strip_prefix("InChIKey="),
            pubchem_cid=pl.col("pubchem_cid"),
            registry_ids=_listed(pl.col("pert_id")),
            cas=pl.lit([], dtype=pl.List(pl.String)),
            names=_listed(pl.col("pert_iname")),
        )
    )


def read_portal(path: Path) -> pl.DataFrame:
    """Read DepMap's table of compounds; sample ids other than Broad's keep the name of their screen.

    Raises:
        BadInputError: the file cannot be read, or lacks a column.
    """
    raw = delimited.read_reference(path, _PORTAL_COLUMNS, separator=",", quote_char='"')
    samples = _split(pl.col("SampleIDs"), ";").list.eval(pl.element().str.strip_prefix("BRD:"))
    return _table(
        raw.select(
            smiles="SMILES",
            inchikey="InChIKey",
            pubchem_cid=pl.col("PubChemCID").str.strip_suffix(".0"),
            registry_ids=pl.concat_list(samples, _listed(pl.col("CompoundID")), _listed(pl.col("ChEMBLID"))),
            cas=pl.lit([], dtype=pl.List(pl.String)),
            names=pl.concat_list(_listed(pl.col("CompoundName")), _split(pl.col("Synonyms"), ";")),
        )
    )


def read_chembl(path: Path) -> pl.DataFrame:
    """Read ChEMBL's structures.

    Raises:
        BadInputError: the file cannot be read, or lacks a column.
    """
    empty = pl.lit([], dtype=pl.List(pl.String))
    return read_chemreps(path).select(
        "smiles",
        "inchikey",
        pubchem_cid=pl.lit(None, pl.Int64),
        registry_ids=_listed(pl.col("registry_id")),
        cas=empty,
        name_keys=empty,
    )


def read_own(path: Path) -> pl.DataFrame:
    """Read a table of one's own in comma-separated text, see ``OWN_COLUMNS``.

    Raises:
        BadInputError: the file cannot be read, has neither structures nor CIDs, or no identifier.
    """
    try:
        raw = pl.read_csv(path, infer_schema=False)
    except pl.exceptions.PolarsError as fault:
        raise BadInputError(f"cannot be read: {' '.join(str(fault).split())}", file=path) from fault
    if not {"smiles", "pubchem_cid"} & set(raw.columns):
        raise BadInputError("a table of compounds has a column smiles or pubchem_cid", file=path)
    if not {"registry_id", "name", "cas", "inchikey"} & set(raw.columns):
        raise BadInputError(f"no column with an identifier: {', '.join(OWN_COLUMNS[:4])}", file=path)
    known = raw.select(
        pl.col(name) if name in raw.columns else pl.lit(None, pl.String).alias(name) for name in OWN_COLUMNS
    )
    numbers = known["pubchem_cid"].str.strip_chars()
    wrong = known.with_row_index("row", offset=2).filter(
        numbers.is_not_null() & (numbers != "") & numbers.cast(pl.Int64, strict=False).is_null()
    )
    if wrong.height:
        rule = f"a CID is a whole number, not {wrong['pubchem_cid'][0]!r}"
        raise BadInputError(rule, file=path, row=wrong["row"][0], column="pubchem_cid")
    return _table(
        known.select(
            "smiles",
            pl.col("inchikey").str.strip_prefix("InChIKey="),
            "pubchem_cid",
            registry_ids=_split(pl.col("registry_id"), "|"),
            cas=_split(pl.col("cas"), "|"),
            names=_split(pl.col("name"), "|"),
        )
    )


def read_equivalents(path: Path) -> pl.DataFrame:
    """Read a UniChem file of pairs as ``registry_id`` and what it is equivalent to, in both directions.

    Pairs of sources other than ChEMBL, DrugBank and PubChem are left out: their ids carry no sign of whose
    they are.

    Raises:
        BadInputError: the file cannot be read.
    """
    pairs = read_unichem(path)
    directions = [
        pairs,
        pairs.select(from_source="to_source", from_id="to_id", to_source="from_source", to_id="from_id"),
    ]
    both = pl.concat(directions).filter(pl.col("from_source").is_in(_UNICHEM_WRITTEN))
    is_cid = pl.col("to_source") == "pubchem"
    return both.filter(is_cid | pl.col("to_source").is_in(_UNICHEM_WRITTEN)).select(
        registry_id=pl.col("from_id").str.to_uppercase(),
        equivalent=pl.when(~is_cid).then(pl.col("to_id").str.to_uppercase()),
        pubchem_cid=pl.when(is_cid).then(pl.col("to_id").cast(pl.Int64, strict=False)),
    )


LINCS_FILES: Final = ("**/lincs_pertinfo*.tsv", "**/lincs_pertinfo*.tsv.gz")
PORTAL_FILES: Final = ("**/PortalCompounds.csv",)
CHEMBL_FILES: Final = ("**/chembl_*_chemreps.txt.gz",)
OWN_FILES: Final = ("compounds/*.csv",)
UNICHEM_FILES: Final = ("**/src*src*.txt.gz",)

READERS: Final[Mapping[tuple[str, ...], Reader]] = {
    LINCS_FILES: read_lincs,
    PORTAL_FILES: read_portal,
    CHEMBL_FILES: read_chembl,
    OWN_FILES: read_own,
}
"""Reader of each kind of file, by its patterns."""


def _table(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with ``names`` in the columns of ``TABLE_SCHEMA``; blank cells become null."""
    text = pl.col("smiles", "inchikey", "pubchem_cid").str.strip_chars()
    cid = pl.col("pubchem_cid").cast(pl.Int64, strict=False)
    return (
        rows.with_columns(text)
        .with_columns(pl.when(pl.col(pl.String) != "").then(pl.col(pl.String)).name.keep())
        .with_columns(
            pubchem_cid=pl.when(cid > 0).then(cid),
            registry_ids=pl.col("registry_ids").list.eval(
                pl.element().map_elements(registry_key, return_dtype=pl.String)
            ),
            name_keys=pl.col("names")
            .list.eval(name_key_expr(pl.element()))
            .list.eval(pl.element().filter(pl.element() != "")),
        )
        .filter(pl.col("smiles").is_not_null() | pl.col("pubchem_cid").is_not_null())
        .select(list(TABLE_SCHEMA))
        .cast(TABLE_SCHEMA)
    )


def _listed(column: pl.Expr) -> pl.Expr:
    """Return a cell as a list of itself; of nothing where it is null or blank."""
    return _split(column, None)


def _split(column: pl.Expr, separator: str | None) -> pl.Expr:
    """Return the parts of a cell without surrounding space; a null or blank cell has none."""
    text = column.fill_null("")
    parts = pl.concat_list(text) if separator is None else text.str.split(separator)
    return parts.list.eval(pl.element().str.strip_chars()).list.eval(pl.element().filter(pl.element() != ""))
