"""Which release of each identifier reference is here: the rows of ``core/reference_file``.

Here: the list of references this project reads, where each comes from, and how its files state their release.
Not here: what the files say (``compound_reference``, ``contexts``, ``genes``, ``pubchem_files``).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, Literal

import polars as pl

from etl.digests import sha256_of
from etl.formats import cellosaurus, obo
from etl.harmonize import chembl, compound_reference, gene_files, gene_reference, overrides
from etl.harmonize.context_reference import (
    CELLOSAURUS_FILES,
    MODEL_FILES,
    ONTOLOGY_FILES,
    read_models,
)
from etl.harmonize.pubchem_cache import PubChemCache
from etl.harmonize.pubchem_files import BULK_FILES, compile_pubchem
from etl.harmonize.reference_folder import Reader, ReferenceFolder
from schemas.core.reference_file import REFERENCE_FILE

Release = tuple[str | None, date | None]
PUBCHEM: Final = "pubchem"
PUBCHEM_LOOKUPS: Final = "pubchem_lookups"
"""Name of the reference that PUG REST is, through the cache of its answers."""

PUBCHEM_CACHE: Final = "pubchem.sqlite"
"""File of these answers in the folder of caches."""


def _not_stated(_: Path) -> Release:
    return None, None


def depmap_release(path: Path) -> Release:
    """Return the release that a folder of DepMap files is named for: ``…/depmap_24Q2/Model.csv`` is 24Q2.

    >>> depmap_release(Path("reference/depmap_24Q2/Model.csv"))
    ('24Q2', None)
    """
    for part in reversed(path.parts):
        if match := re.search(r"(\d{2}Q[1-4])", part, re.IGNORECASE):
            return match[1].upper(), None
    return None, None


@dataclass(frozen=True, slots=True)
class Reference:
    """One identifier reference.

    Args:
        name: as in the asset ``raw/reference/<name>``.
        title: what it is.
        entity: what it identifies.
        patterns: globs of its files below the reference folder.
        url: where it is published; None where it is one's own.
        license: its terms as the publisher states them; None where it is one's own.
        release: what a file states of its release.
        read: reader whose rows are counted; None where the file is not read whole.
    """

    name: str
    title: str
    entity: Literal["compound", "context", "gene", "all"]
    patterns: tuple[str, ...]
    url: str | None
    license: str | None
    release: Callable[[Path], Release] = _not_stated
    read: Reader | None = None


_CC_BY = "CC BY 4.0"
_CC0 = "CC0 1.0"
_NCBI = "no restrictions (NCBI)"
_EBI = "EMBL-EBI terms of use: no restrictions of its own"

REFERENCES: Final = (
    Reference(
        name="cellosaurus",
        title="Cellosaurus: cell lines, their names, donors and problems",
        entity="context",
        patterns=CELLOSAURUS_FILES,
        url="https://ftp.expasy.org/databases/cellosaurus/cellosaurus.txt",
        license=_CC_BY,
        release=cellosaurus.release,
        read=cellosaurus.read,
    ),
    Reference(
        name="cell_ontology",
        title="Cell Ontology: types of primary cells",
        entity="context",
        patterns=ONTOLOGY_FILES,
        url="http://purl.obolibrary.org/obo/cl.obo",
        license=_CC_BY,
        release=obo.release,
        read=obo.read,
    ),
    Reference(
        name="depmap_models",
        title="DepMap models: ids, lineages and diseases of cancer cell lines",
        entity="context",
        patterns=MODEL_FILES,
        url="https://depmap.org/portal/data_page/?tab=allData",
        license="CC BY 4.0 up to release 24Q4",
        release=depmap_release,
        read=read_models,
    ),
    Reference(
        name="hgnc",
        title="HGNC: human gene symbols, current, previous and alias",
        entity="gene",
        patterns=gene_reference.HGNC_FILES,
        url="https://www.genenames.org/download/",
        license=_CC0,
        release=gene_files.hgnc_release,
        read=gene_files.read_hgnc,
    ),
    Reference(
        name="gene_annotation",
        title="Ensembl or GENCODE: gene ids of a release",
        entity="gene",
        patterns=gene_reference.ANNOTATION_FILES,
        url="https://ftp.ensembl.org/pub/",
        license=_EBI,
        release=gene_files.annotation_release,
        read=gene_files.read_annotation,
    ),
    Reference(
        name="ensembl_history",
        title="Ensembl's history of stable ids: what became of a retired gene id",
        entity="gene",
        patterns=(*gene_reference.SESSION_FILES, *gene_reference.EVENT_FILES),
        url="https://ftp.ensembl.org/pub/current_mysql/",
        license=_EBI,
        release=gene_files.stable_id_release,
    ),
    Reference(
        name="ncbi_gene",
        title="NCBI Gene: Entrez ids, their history, synonyms and Ensembl ids",
        entity="gene",
        patterns=(
            *gene_reference.GENE_INFO_FILES,
            *gene_reference.GENE_HISTORY_FILES,
            *gene_reference.GENE2ENSEMBL_FILES,
        ),
        url="https://ftp.ncbi.nlm.nih.gov/gene/DATA/",
        license=_NCBI,
        release=gene_files.archive_release,
    ),
    Reference(
        name="lincs_genes",
        title="LINCS genes: probes of the L1000 platform and Affymetrix",
        entity="gene",
        patterns=gene_reference.PROBE_FILES,
        url="https://clue.io/data",
        license=None,
        release=gene_files.archive_release,
        read=gene_files.read_lincs_probes,
    ),
    Reference(
        name="lincs_compounds",
        title="LINCS perturbagens: structures by Broad id and name",
        entity="compound",
        patterns=compound_reference.LINCS_FILES,
        url="https://clue.io/data",
        license=None,
        read=compound_reference.read_lincs,
    ),
    Reference(
        name="depmap_compounds",
        title="DepMap compounds: structures by the ids of several screens",
        entity="compound",
        patterns=compound_reference.PORTAL_FILES,
        url="https://depmap.org/portal/data_page/?tab=allData",
        license="DepMap portal terms",
        release=depmap_release,
        read=compound_reference.read_portal,
    ),
    Reference(
        name="chembl",
        title="ChEMBL: structures by ChEMBL id",
        entity="compound",
        patterns=compound_reference.CHEMBL_FILES,
        url="https://ftp.ebi.ac.uk/pub/databases/chembl/ChEMBLdb/latest/",
        license="CC BY-SA 3.0",
        release=lambda path: (chembl.chembl_release(path), None),
        read=compound_reference.read_chembl,
    ),
    Reference(
        name="unichem",
        title="UniChem: pairs of ids of one structure",
        entity="compound",
        patterns=compound_reference.UNICHEM_FILES,
        url="https://ftp.ebi.ac.uk/pub/databases/chembl/UniChem/data/wholeSourceMapping/",
        license=_EBI,
        read=compound_reference.read_equivalents,
    ),
    Reference(
        name="own_compounds",
        title="Tables of compounds of one's own, such as a vendor's catalogue",
        entity="compound",
        patterns=compound_reference.OWN_FILES,
        url=None,
        license=None,
        read=compound_reference.read_own,
    ),
    Reference(
        name=PUBCHEM,
        title="PubChem's bulk files: names, structures, keys, parents and masses of all compounds",
        entity="compound",
        patterns=tuple(f"**/{name}" for name in BULK_FILES),
        url="https://ftp.ncbi.nlm.nih.gov/pubchem/Compound/Extras/",
        license=_NCBI,
    ),
    Reference(
        name=PUBCHEM_LOOKUPS,
        title="PubChem's service: the answers kept of earlier look-ups",
        entity="compound",
        patterns=(),
        url="https://pubchem.ncbi.nlm.nih.gov/rest/pug",
        license=_NCBI,
    ),
    Reference(
        name="overrides",
        title="Overrides: cases that a person has settled",
        entity="all",
        patterns=(overrides.FILE_NAME,),
        url=None,
        license=None,
        read=overrides.read_overrides,
    ),
)
"""Every reference this project reads, in the order in which they are listed."""


def snapshot(reference: Reference, folder: ReferenceFolder) -> pl.DataFrame:
    """Return the rows of ``core/reference_file`` of one reference; none where no file of it is there.

    What is read whole is parsed, and PubChem's bulk files are compiled, if that has not been done before.

    Raises:
        BadInputError: a file cannot be read.
    """
    if reference.name == PUBCHEM:
        rows = _pubchem_rows(reference, folder)
    elif reference.name == PUBCHEM_LOOKUPS:
        rows = _lookup_rows(reference, folder)
    else:
        rows = [_row(reference, path, folder) for path in folder.find(*reference.patterns)]
    return pl.DataFrame(rows, schema=REFERENCE_FILE.polars_schema).sort("path")


def _row(reference: Reference, path: Path, folder: ReferenceFolder) -> dict[str, object]:
    release, released_on = reference.release(path)
    return _of_file(reference, path) | {
        "path": folder.name_of(path),
        "release": release,
        "released_on": released_on,
        "n_records": None if reference.read is None else folder.parsed(path, reference.read).height,
        "sha256": sha256_of(path),
    }


def _of_file(reference: Reference, path: Path) -> dict[str, object]:
    stat = path.stat()
    return {
        "reference": reference.name,
        "n_bytes": stat.st_size,
        "retrieved_at": datetime.fromtimestamp(stat.st_mtime, UTC),
        "url": reference.url,
        "license": reference.license,
    }


def _pubchem_rows(reference: Reference, folder: ReferenceFolder) -> list[dict[str, object]]:
    """PubChem's files state no release: they are made anew every week, and their time is all they tell."""
    by_name = {folder.name_of(path): path for path in folder.find(*reference.patterns)}
    return [
        _of_file(reference, by_name[table.file])
        | {
            "path": table.file,
            "release": f"file of {table.released_at:%Y-%m-%d}",
            "released_on": table.released_at.date(),
            "n_records": table.n_lines,
            "sha256": table.sha256,
        }
        for table in compile_pubchem(folder)
    ]


def _lookup_rows(reference: Reference, folder: ReferenceFolder) -> list[dict[str, object]]:
    path = None if folder.cache is None else folder.cache / PUBCHEM_CACHE
    if path is None or not path.is_file():
        return []
    cache = PubChemCache(path)
    kept = cache.answers()
    cache.close()
    if kept.oldest is None or kept.newest is None:
        return []
    # The file's own size and time change without any answer, so that they would tell nothing.
    return [
        {
            "reference": reference.name,
            "path": PUBCHEM_CACHE,
            "release": f"answers of {kept.oldest:%Y-%m-%d} to {kept.newest:%Y-%m-%d}",
            "released_on": kept.newest.date(),
            "n_records": kept.n_answers,
            "sha256": None,
            "n_bytes": path.stat().st_size,
            "retrieved_at": kept.newest,
            "url": reference.url,
            "license": reference.license,
        }
    ]
