"""What is known of human genes: the files of the reference folder, joined into indexes for looking genes up.

HGNC decides what a gene is called; annotations and NCBI complete it. Where there is no file of HGNC, an
embedded table of protein-coding and L1000 genes stands for it; the 978 landmarks always come from that table.
Reading single files belongs to ``gene_files``, resolving reported genes to ``genes``.
"""

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

import polars as pl

from etl.errors import BadInputError
from etl.harmonize import gene_files
from etl.harmonize.reference_folder import Reader, ReferenceFolder

EMBEDDED: Final = "embedded"
"""Origin of what the embedded table knows."""

REFERENCE_COLUMNS: Final = (
    "gene_id",
    "symbol",
    "hgnc_id",
    "entrez_id",
    "biotype",
    "chromosome",
    "is_landmark",
    "previous_symbols",
    "alias_symbols",
)
"""Columns of the embedded table."""

NAME_RANKS: Final = {
    "symbol": 1,
    "annotation_name": 2,
    "previous_symbol": 3,
    "alias_symbol": 4,
    "ncbi_synonym": 5,
}
"""Kinds of names, the more trusted first.

Where HGNC records a name as former and an annotation gives it to another gene, sequencing data mean the
annotation's: in all 28 such cases of a published DRUG-seq matrix that gives names and ids.
"""

DATE_WORDS: Final = {
    "JAN": 1,
    "FEB": 2,
    "MAR": 3,
    "MARC": 3,
    "MARCH": 3,
    "APR": 4,
    "APRIL": 4,
    "MAY": 5,
    "JUN": 6,
    "JUNE": 6,
    "JUL": 7,
    "JULY": 7,
    "AUG": 8,
    "SEP": 9,
    "SEPT": 9,
    "OCT": 10,
    "NOV": 11,
    "DEC": 12,
}
"""Beginnings of gene names that a spreadsheet takes for a month when a number from 1 to 31 follows."""

HGNC_FILES: Final = ("**/hgnc_complete_set*.txt", "**/hgnc_complete_set*.txt.gz")
ANNOTATION_FILES: Final = ("**/*.gtf", "**/*.gtf.gz", "**/*.gene.probemap")
EVENT_FILES: Final = ("**/stable_id_event.txt", "**/stable_id_event.txt.gz")
SESSION_FILES: Final = ("**/mapping_session.txt", "**/mapping_session.txt.gz")
GENE_INFO_FILES: Final = ("**/*gene_info.gz",)
GENE_HISTORY_FILES: Final = ("**/gene_history.gz",)
GENE2ENSEMBL_FILES: Final = ("**/gene2ensembl.gz",)
PROBE_FILES: Final = ("**/lincs_geneinfo*.tsv", "**/lincs_geneinfo*.tsv.gz")

_ENTREZ_SCHEMA = pl.Schema({"entrez_id": pl.Int64, "gene_id": pl.Int32, "origin": pl.String})
_NAME_SCHEMA = pl.Schema(
    {
        "key": pl.String,
        "rank": pl.Int8,
        "gene_id": pl.Int32,
        "chromosome": pl.String,
        "origin": pl.String,
    }
)
_ANNOTATION_SCHEMA = pl.Schema(
    {
        "gene_id": pl.Int32,
        "name": pl.String,
        "biotype": pl.String,
        "chromosome": pl.String,
        "release": pl.Int32,
        "age": pl.Int32,
        "origin": pl.String,
    }
)
_PROBE_SCHEMA = pl.Schema(
    {"probe": pl.String(), "genes": pl.List(pl.Int32), "n_unknown": pl.Int32(), "origin": pl.String()}
)
_RETIRED_SCHEMA = pl.Schema({"gene_id": pl.Int32(), "successors": pl.List(pl.Int32), "origin": pl.String()})
_GENCODE_TO_ENSEMBL = 66
"""GENCODE n is Ensembl n + 66 from GENCODE 31 on, and a little less before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneReference:
    """Human genes, and indexes by everything they are called.

    Args:
        genes: one row per gene: ``REFERENCE_COLUMNS`` and origin, sorted by gene_id.
        names: key (a name, verbatim), rank (of ``NAME_RANKS``), gene_id (null for a gene of HGNC without
            Ensembl id), chromosome, origin.
        dated: names a spreadsheet takes for dates: month, number, rank, gene_id, origin.
        entrez: one row per GeneID: entrez_id, genes (list; empty where NCBI or HGNC knows no Ensembl gene),
            is_retired, origin.
        probes: one row per probe set: probe, genes (list), n_unknown (its GeneIDs that lead nowhere), origin.
        retired: one row per retired Ensembl gene: gene_id, successors (list of current genes), origin.
        is_complete: whether an annotation or the history of ids is there, so that an id found nowhere is odd.
    """

    genes: pl.DataFrame
    names: pl.DataFrame
    dated: pl.DataFrame
    entrez: pl.DataFrame
    probes: pl.DataFrame
    retired: pl.DataFrame
    is_complete: bool


def load_gene_reference(folder: ReferenceFolder) -> GeneReference:
    """Return what the files in the folder know; the embedded table stands for HGNC where that is missing.

    Every file is optional and looked for in all sub-folders: HGNC's complete set, gene annotations (GTF of
    Ensembl or GENCODE, probemaps), ``stable_id_event`` and ``mapping_session`` of Ensembl's MySQL dump,
    NCBI's ``gene_info``, ``gene_history`` and ``gene2ensembl``, and LINCS' gene table for probes.

    Raises:
        BadInputError: a file cannot be read or lacks a column, there are two of HGNC or of the dump, or
            stable-id events lack their sessions.
    """
    shipped = pl.read_parquet(files("etl.harmonize").joinpath("reference/genes.parquet").read_bytes())
    embedded = shipped.select(REFERENCE_COLUMNS)
    records = _hgnc(folder, embedded)
    annotation = _annotation(folder)
    retired = _retired(folder, records, annotation)
    annotation = _carried_on(annotation, retired)
    gene_info = _read(folder, GENE_INFO_FILES, gene_files.read_gene_info)
    gene2ensembl = _read(folder, GENE2ENSEMBL_FILES, gene_files.read_gene2ensembl)
    gene_history = _read(folder, GENE_HISTORY_FILES, gene_files.read_gene_history)
    linked = _linked(records, annotation, gene_info, gene2ensembl)
    records = _completed(records, linked, annotation)
    genes = _genes(records, annotation, embedded)
    entrez = _entrez(records, linked, gene_info, gene_history)
    names = _names(records, annotation, gene_info, entrez)
    return GeneReference(
        genes=genes,
        names=names,
        dated=_dated(names),
        entrez=entrez,
        probes=_probes(_read(folder, PROBE_FILES, gene_files.read_lincs_probes), entrez),
        retired=retired,
        is_complete=not (annotation.is_empty() and retired.is_empty()),
    )


def current_successors(events: pl.DataFrame, sessions: pl.DataFrame, current: pl.Series) -> pl.DataFrame:
    """Follow Ensembl gene ids that were retired to the ids that carry on.

    An id is current if it is listed as such, or if the last session that mentions it leaves it in place.
    The successors of an id are those of the session that retired it; a successor that was retired later
    stands for its own successors.

    Args:
        events: session, old_id, new_id.
        sessions: session, created; sorted by time.
        current: gene ids known to be current, whatever the events say.

    Returns:
        gene_id, successors (List[Int32], sorted; empty where nothing carries on) per retired id, sorted.
    """
    ordered = sessions.with_row_index("time").select("session", pl.col("time").cast(pl.Int64))
    timed = events.join(ordered, on="session", how="inner")
    mentioned = pl.concat(
        [
            timed.select(gene_id="old_id", time="time", is_left=pl.lit(value=False)),
            timed.select(gene_id="new_id", time="time", is_left=pl.lit(value=True)),
        ]
    ).drop_nulls("gene_id")
    last = mentioned.filter(pl.col("time") == pl.col("time").max().over("gene_id"))
    ended = last.group_by("gene_id").agg(pl.col("time").first(), is_left=pl.col("is_left").any())
    gone = ended.filter(~pl.col("is_left"), ~pl.col("gene_id").is_in(current.implode()))
    steps = (
        timed.join(gone, left_on=["old_id", "time"], right_on=["gene_id", "time"], how="inner")
        .select(gene_id="old_id", successor="new_id")
        .drop_nulls("successor")
        .unique()
    )
    reached = steps
    # A successor outlives its predecessor, so that a path is no longer than there are sessions.
    for _ in range(sessions.height):
        is_gone = pl.col("successor").is_in(gone["gene_id"].implode())
        if not reached.select(is_gone.any()).item():
            break
        onward = steps.rename({"gene_id": "successor", "successor": "next"})
        further = reached.filter(is_gone).join(onward, on="successor", how="inner")
        reached = pl.concat([reached.filter(~is_gone), further.select("gene_id", successor="next")]).unique()
    successors = reached.group_by("gene_id").agg(successors=pl.col("successor").unique().sort())
    return (
        gone.select("gene_id")
        .join(successors, on="gene_id", how="left")
        .with_columns(pl.col("successors").fill_null([]))
        .sort("gene_id")
    )


def _read(folder: ReferenceFolder, patterns: tuple[str, ...], reader: Reader) -> pl.DataFrame | None:
    """Return the rows of all files of a kind with the file they come from; None where there is none."""
    frames = [
        folder.parsed(path, reader).with_columns(origin=pl.lit(folder.name_of(path)))
        for path in folder.find(*patterns)
    ]
    return pl.concat(frames) if frames else None


def _hgnc(folder: ReferenceFolder, embedded: pl.DataFrame) -> pl.DataFrame:
    """Return the records of HGNC, or the embedded genes in their place, with their origin."""
    _refuse_several(folder, HGNC_FILES)
    read = _read(folder, HGNC_FILES, gene_files.read_hgnc)
    return embedded.drop("is_landmark").with_columns(origin=pl.lit(EMBEDDED)) if read is None else read


def _annotation(folder: ReferenceFolder) -> pl.DataFrame:
    """Return the genes of all annotations, with their origin; age 0 is the newest.

    Returns:
        gene_id, name, biotype, chromosome, release (of Ensembl, 0 where unknown), age, origin.
    """
    releases = {path: _ensembl_release(path) for path in folder.find(*ANNOTATION_FILES)}
    frames = [
        folder.parsed(path, gene_files.read_annotation).with_columns(
            release=pl.lit(releases[path], pl.Int32),
            age=pl.lit(age, pl.Int32),
            origin=pl.lit(folder.name_of(path)),
        )
        for age, path in enumerate(sorted(releases, key=lambda path: (-releases[path], path)))
    ]
    return pl.concat([pl.DataFrame(schema=_ANNOTATION_SCHEMA), *frames])


def _ensembl_release(path: Path) -> int:
    """Return the release of Ensembl that an annotation belongs to; 0 where it states none."""
    release, _ = gene_files.annotation_release(path)
    number = re.search(r"\d+", release or "")
    if release is None or number is None:
        return 0
    return int(number[0]) + (_GENCODE_TO_ENSEMBL if release.startswith("GENCODE") else 0)


def _carried_on(annotation: pl.DataFrame, retired: pl.DataFrame) -> pl.DataFrame:
    """Give what older annotations say of a retired gene to its only successor."""
    single = retired.filter(pl.col("successors").list.len() == 1).select(
        "gene_id", successor=pl.col("successors").list.first()
    )
    return (
        annotation.join(single, on="gene_id", how="left", maintain_order="left")
        .with_columns(gene_id=pl.coalesce("successor", "gene_id"))
        .select(annotation.columns)
    )


def _linked(
    records: pl.DataFrame,
    annotation: pl.DataFrame,
    gene_info: pl.DataFrame | None,
    gene2ensembl: pl.DataFrame | None,
) -> pl.DataFrame:
    """Return the Ensembl genes that NCBI names for its own: entrez_id, gene_id, origin.

    ``gene2ensembl`` before ``gene_info``. Copies of a gene on alternative sequences have ids of their own: of
    several ids, those that HGNC or an annotation lists count.
    """
    pairs = [pl.DataFrame(schema=_ENTREZ_SCHEMA)]
    if gene2ensembl is not None:
        pairs.append(gene2ensembl.select(_ENTREZ_SCHEMA.names()))
    if gene_info is not None:
        named = gene_info.explode("gene_ids").rename({"gene_ids": "gene_id"}).drop_nulls("gene_id")
        others = named.join(pairs[-1], on="entrez_id", how="anti")
        pairs.append(others.select(_ENTREZ_SCHEMA.names()))
    listed = pl.concat([records["gene_id"], annotation["gene_id"]]).drop_nulls().unique()
    is_listed = pl.col("gene_id").is_in(listed.implode())
    return (
        pl.concat(pairs)
        .unique(["entrez_id", "gene_id"], keep="first", maintain_order=True)
        .filter(is_listed | ~is_listed.any().over("entrez_id"))
    )


def _completed(records: pl.DataFrame, linked: pl.DataFrame, annotation: pl.DataFrame) -> pl.DataFrame:
    """Give records without Ensembl gene the only one that NCBI names, or an annotation calls so."""
    by_entrez = linked.filter(pl.len().over("entrez_id") == 1).select("entrez_id", ncbi_gene="gene_id")
    unlisted = annotation.filter(~pl.col("gene_id").is_in(records["gene_id"].drop_nulls().implode()))
    by_name = (
        _newest_names(unlisted).filter(pl.len().over("name") == 1).select(symbol="name", named_gene="gene_id")
    )
    return (
        records.join(by_entrez, on="entrez_id", how="left", maintain_order="left")
        .join(by_name, on="symbol", how="left", maintain_order="left")
        .with_columns(
            pl.coalesce("gene_id", "ncbi_gene", "named_gene"), is_completed=pl.col("gene_id").is_null()
        )
        .drop("ncbi_gene", "named_gene")
    )


def _newest_names(annotation: pl.DataFrame) -> pl.DataFrame:
    """Return the genes of each name by the newest annotation that has the name."""
    named = annotation.drop_nulls("name").filter(pl.col("age") == pl.col("age").min().over("name"))
    return named.unique(["name", "gene_id"], keep="first", maintain_order=True)


def _genes(records: pl.DataFrame, annotation: pl.DataFrame, embedded: pl.DataFrame) -> pl.DataFrame:
    """Return one row per gene: of HGNC, else as the newest annotation has it.

    Where two HGNC records share an Ensembl gene, one to which HGNC itself assigns it, and then the one with
    the lower number, stands for it.
    """
    described = annotation.unique("gene_id", keep="first", maintain_order=True).select(
        "gene_id", "name", "biotype", "chromosome", "origin"
    )
    landmarks = embedded.filter("is_landmark")
    own = (
        records.drop_nulls("gene_id")
        .sort("is_completed", gene_files.hgnc_numbers(pl.col("hgnc_id")), maintain_order=True)
        .unique("gene_id", keep="first", maintain_order=True)
        .join(described.select("gene_id", described_on="chromosome"), on="gene_id", how="left")
        .with_columns(
            chromosome=pl.coalesce("chromosome", "described_on"),
            is_landmark=pl.col("hgnc_id").is_in(landmarks["hgnc_id"].implode()),
        )
    )
    others = described.join(own, on="gene_id", how="anti").select(
        "gene_id",
        "biotype",
        "chromosome",
        "origin",
        symbol="name",
        is_landmark=pl.col("gene_id").is_in(landmarks["gene_id"].implode()),
        previous_symbols=pl.lit([], pl.List(pl.String)),
        alias_symbols=pl.lit([], pl.List(pl.String)),
    )
    both = pl.concat([own.select(*REFERENCE_COLUMNS, "origin"), others], how="diagonal")
    return both.select(*REFERENCE_COLUMNS, "origin").sort("gene_id")


def _entrez(
    records: pl.DataFrame,
    linked: pl.DataFrame,
    gene_info: pl.DataFrame | None,
    gene_history: pl.DataFrame | None,
) -> pl.DataFrame:
    """Return the index by GeneID: as HGNC has it, then NCBI's Ensembl ids, then NCBI's HGNC ids."""
    known = [records.select(_ENTREZ_SCHEMA.names()).drop_nulls("entrez_id")]
    known.append(linked.join(known[0].drop_nulls("gene_id"), on="entrez_id", how="anti"))
    if gene_info is not None:
        by_hgnc = gene_info.join(records.select("hgnc_id", "gene_id"), on="hgnc_id", how="left")
        found = pl.concat(known).drop_nulls("gene_id")
        known.append(by_hgnc.join(found, on="entrez_id", how="anti").select(_ENTREZ_SCHEMA.names()))
    index = (
        pl.concat(known)
        .group_by("entrez_id")
        .agg(
            genes=pl.col("gene_id").drop_nulls().unique().sort(),
            # The file that gives the gene, not one that knows the GeneID alone.
            origin=pl.coalesce(
                pl.col("origin").filter(pl.col("gene_id").is_not_null()).min(), pl.col("origin").min()
            ),
        )
        .with_columns(is_retired=pl.lit(value=False))
    )
    if gene_history is None:
        return index.sort("entrez_id")
    retired = _followed(gene_history).join(index.select("entrez_id"), on="entrez_id", how="anti")
    resolved = (
        retired.join(index.select(current_id="entrez_id", genes="genes"), on="current_id", how="left")
        .group_by("entrez_id")
        .agg(
            genes=pl.col("genes").explode().drop_nulls().unique().sort(),
            origin=pl.col("origin").min(),
        )
        .with_columns(is_retired=pl.lit(value=True))
    )
    return pl.concat([index, resolved]).sort("entrez_id")


def _followed(gene_history: pl.DataFrame) -> pl.DataFrame:
    """Follow discontinued GeneIDs to those that are not discontinued themselves."""
    onward = gene_history.select(current_id="entrez_id", next_id="current_id").unique()
    followed = gene_history
    # NCBI names the current id directly; a longer chain is one between two daily files.
    for _ in range(10):
        is_discontinued = pl.col("current_id").is_in(onward["current_id"].implode())
        if not followed.select(is_discontinued.any()).item():
            break
        further = followed.filter(is_discontinued).join(onward, on="current_id", how="inner")
        followed = pl.concat(
            [
                followed.filter(~is_discontinued.fill_null(value=False)),
                further.select("entrez_id", "origin", current_id="next_id").select(followed.columns),
            ]
        ).unique()
    return followed


def _names(
    records: pl.DataFrame,
    annotation: pl.DataFrame,
    gene_info: pl.DataFrame | None,
    entrez: pl.DataFrame,
) -> pl.DataFrame:
    """Return the index by name; a gene has a name once, and as HGNC has it if it does."""
    described = ("gene_id", "chromosome", "origin")
    former = {"previous_symbol": "previous_symbols", "alias_symbol": "alias_symbols"}
    kinds = [
        _ranked(records.select(*described, key="symbol"), "symbol"),
        *(
            _ranked(records.select(*described, key=column).explode("key"), kind)
            for kind, column in former.items()
        ),
        _ranked(_newest_names(annotation).select(*described, key="name"), "annotation_name"),
    ]
    if gene_info is not None:
        placed = records.drop_nulls("gene_id").unique("gene_id", keep="first", maintain_order=True)
        called = pl.concat_list(pl.concat_list("symbol"), "synonyms")
        synonyms = (
            gene_info.select("entrez_id", "origin", key=called)
            .join(entrez.select("entrez_id", gene_id="genes"), on="entrez_id")
            .explode("key")
            .explode("gene_id")
            .drop_nulls(["key", "gene_id"])
            .join(placed.select("gene_id", "chromosome"), on="gene_id", how="left")
        )
        kinds.append(_ranked(synonyms.select(*described, "key"), "ncbi_synonym"))
    return (
        pl.concat(kinds)
        .drop_nulls("key")
        .unique(["key", "gene_id"], keep="first", maintain_order=True)
        .sort("key", "rank", "gene_id")
    )


def _ranked(names: pl.DataFrame, kind: str) -> pl.DataFrame:
    return names.select(
        "key", pl.lit(NAME_RANKS[kind], pl.Int8).alias("rank"), "gene_id", "chromosome", "origin"
    ).cast(_NAME_SCHEMA)


def _dated(names: pl.DataFrame) -> pl.DataFrame:
    """Return the names that a spreadsheet takes for dates; whatever their case, as a date tells none."""
    pattern = rf"^({'|'.join(DATE_WORDS)})-?(\d{{1,2}})$"
    parts = pl.col("key").str.to_uppercase().str.extract_groups(pattern)
    return (
        names.drop_nulls("gene_id")
        .with_columns(parts.struct.field("1").alias("word"), parts.struct.field("2").alias("digits"))
        .drop_nulls("word")
        .select(
            month=pl.col("word").replace_strict(DATE_WORDS, return_dtype=pl.Int8),
            number=pl.col("digits").cast(pl.Int8),
            rank="rank",
            gene_id="gene_id",
            origin="origin",
        )
        .filter(pl.col("number").is_between(1, 31))
        .sort("rank", "gene_id", "origin")
        .unique(["month", "number", "gene_id"], keep="first", maintain_order=True)
    )


def _probes(probes: pl.DataFrame | None, entrez: pl.DataFrame) -> pl.DataFrame:
    """Return the index by probe set."""
    if probes is None:
        return pl.DataFrame(schema=_PROBE_SCHEMA)
    genes = pl.col("genes").explode().drop_nulls().unique().sort()
    return (
        probes.join(entrez.select("entrez_id", "genes"), on="entrez_id", how="left")
        .with_columns(is_unknown=pl.col("genes").list.len().fill_null(0) == 0)
        .group_by("probe")
        .agg(genes=genes, n_unknown=pl.col("is_unknown").sum().cast(pl.Int32), origin=pl.col("origin").min())
        .sort("probe")
    )


def _retired(folder: ReferenceFolder, records: pl.DataFrame, annotation: pl.DataFrame) -> pl.DataFrame:
    """Return the index of retired Ensembl ids.

    Ids of HGNC are current, and those of an annotation that is no older than the history.
    """
    _refuse_several(folder, EVENT_FILES)
    _refuse_several(folder, SESSION_FILES)
    events = _read(folder, EVENT_FILES, gene_files.read_stable_id_events)
    if events is None:
        return pl.DataFrame(schema=_RETIRED_SCHEMA)
    origin = folder.name_of(folder.find(*EVENT_FILES)[0])
    sessions = _read(folder, SESSION_FILES, gene_files.read_mapping_sessions)
    if sessions is None:
        raise BadInputError("mapping_session of the same dump is missing", file=origin)
    if unknown := set(events["session"]) - set(sessions["session"]):
        raise BadInputError(f"session {min(unknown)} is not in {sessions['origin'][0]}", file=origin)
    release = sessions["new_release"].cast(pl.Int32, strict=False).max()
    is_recent = (pl.col("release") == 0) | (pl.col("release") >= pl.lit(release, pl.Int32)).fill_null(
        value=True
    )
    current = pl.concat([records["gene_id"].drop_nulls(), annotation.filter(is_recent)["gene_id"]])
    return current_successors(events, sessions, current).with_columns(origin=pl.lit(origin))


def _refuse_several(folder: ReferenceFolder, patterns: tuple[str, ...]) -> None:
    """Refuse two releases of a file of which only one can be right."""
    paths = folder.find(*patterns)
    if len(paths) > 1:
        names = ", ".join(folder.name_of(path) for path in paths)
        raise BadInputError(f"more than one of its kind: {names}; keep one", file=paths[-1])
