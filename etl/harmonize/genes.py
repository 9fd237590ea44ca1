"""Reported genes and probes to Ensembl gene ids, kept as small integers, by a ladder of evidence.

Here: which rung decides, what it rests on, what else was possible, and the rows of ``core/gene_name`` and
``core/gene``. What is known of genes, and from which files, belongs to ``gene_reference``. Retired Ensembl
ids without one successor keep their own number: an id that no reference lists is still an id.
"""

from collections.abc import Mapping
from typing import Final

import polars as pl

from etl.accounting import RowAccount
from etl.errors import BadInputError
from etl.harmonize import spreadsheet_dates
from etl.harmonize.gene_files import chromosomes, ensembl_gene_ids, gene_ids
from etl.harmonize.gene_reference import NAME_RANKS, GeneReference
from etl.harmonize.overrides import FILE_NAME, NO_OVERRIDES, Override
from schemas.core.gene import GENE
from schemas.core.gene_name import GENE_NAME
from schemas.reported import ReportedGene
from schemas.table import polars_schema

_ANY_ENSEMBL_ID = r"^ENS[A-Z]*\d{11}"
_TRANSCRIPT_OR_PROTEIN = r"^ENS[A-Z]*[TP]\d{11}"
_ENTREZ_KEY = r"^(?i:ENTREZ(?:ID|GENE|_ID)?[:_ ]\s*|LOC)(\d{1,18})$"
_NUMBER_AT = r"^(\d{1,18})_at$"
_PROBE_SET = r"^\S+_at$"
_AFFYMETRIX_ONLY = r"^\d+_[a-z]_at$"
_SPIKE_IN = r"^ERCC-\d{5}$"
_ON_CHROMOSOME = r"^(.+?),\s*(?:[A-Za-z0-9.]+_)?(chr\w+|\d{1,2}|X|Y|MT?)$"
_REPEATED = r"^(.+)[-.]\d{1,2}$"
_ORF = r"^C(\d{1,2}|X|Y)ORF(\d+\w*)$"

_KIND_OF_RANK: Final = {rank: kind for kind, rank in NAME_RANKS.items()}
_CONFIDENCE_OF_RANK: Final = {
    rank: "high" if kind == "symbol" else "medium" for rank, kind in _KIND_OF_RANK.items()
}
_VERDICT: Final = pl.Struct(
    {
        "gene_id": pl.Int32,
        "method": pl.String,
        "confidence": pl.String,
        "candidates": pl.List(pl.Int32),
        "rule": pl.String,
        "origin": pl.String,
        "reason": pl.String,
    }
)
_NO_GENES = pl.lit([], pl.List(pl.Int32))
_NO_TEXT = pl.lit(None, pl.String)


def resolve_genes(
    reported: pl.DataFrame,
    *,
    dataset_id: str,
    reference: GeneReference,
    overrides: Mapping[str, Override] = NO_OVERRIDES,
) -> tuple[pl.DataFrame, RowAccount]:
    """Resolve reported genes (``ReportedGene``) into the columns of ``core/gene_name``, in the same order.

    Ladder, the first rung that leads to one gene decides:

    1. an override;
    2. the Ensembl gene id in ``gene_reported``: a retired one with a single successor is that successor, any
       other keeps its number;
    3. the Entrez id beside it, or in it: ``ENTREZ:7157``, ``LOC7157``, ``7157_at``. The last form is a probe
       set instead where the dataset has keys that only Affymetrix uses (``1007_s_at``);
    4. the probe set;
    5. the name, ``symbol`` before ``gene_reported``: current symbol of HGNC, name in an annotation, previous
       symbol, alias, symbol or synonym of NCBI. The first of these kinds that has the name decides, or
       leaves it ambiguous. Names are compared exactly, because case tells species apart, but for ``ORF`` of
       ``C1ORF112``. Of ``TP53,chr17`` only genes on that chromosome count: none there is unresolved;
    6. the name before a program changed it: dates of a spreadsheet, ``HLA.A`` for ``HLA-A``. ``MATR3-1``
       beside ``MATR3`` is recognized, but not resolved.

    Keys and names are compared without surrounding blanks. An Ensembl id of another species is not resolved,
    whatever stands beside it.

    Raises:
        BadInputError: an override names no human Ensembl gene id.
    """
    rows = _read_keys(reported)
    rows = rows.with_columns(_by_override(rows, overrides))
    rows = _by_ensembl_id(rows, reference)
    rows = _by_entrez_id(rows, reference)
    rows = _by_probe(rows, reference)
    rows = _by_name(rows, reference)
    rows = rows.with_columns(verdict=pl.coalesce("override", "ensembl", "entrez", "probe", "named"))
    rows = _by_restored_name(rows, reference)
    rows = rows.with_columns(verdict=pl.coalesce("verdict", "restored"))
    resolved = (
        _noted(_with_unresolved(rows))
        .unnest("verdict")
        .select(
            dataset_id=pl.lit(dataset_id),
            gene_reported="gene_reported",
            symbol_reported="symbol",
            entrez_id_reported="entrez_id",
            gene_id="gene_id",
            method="method",
            confidence="confidence",
            candidates="candidates",
            rule="rule",
            origin="origin",
            n_merged=pl.when(pl.col("gene_id").is_null())
            .then(1)
            .otherwise(pl.len().over("gene_id"))
            .cast(pl.Int32),
            reason="reason",
        )
    )
    assert dict(resolved.schema) == dict(GENE_NAME.polars_schema), "columns of core/gene_name"
    return resolved, _account(resolved)


def reported_again(names: pl.DataFrame) -> pl.DataFrame:
    """Return the reported genes (``ReportedGene``) that rows of ``core/gene_name`` were resolved from."""
    reported = names.select(
        gene_reported="gene_reported", symbol="symbol_reported", entrez_id="entrez_id_reported"
    )
    assert dict(reported.schema) == dict(polars_schema(ReportedGene)), "columns of ReportedGene"
    return reported


def merge_genes(gene_names: pl.DataFrame, reference: GeneReference) -> pl.DataFrame:
    """Return ``core/gene``: every gene that some row of ``core/gene_name`` resolves to, sorted by id.

    The symbol is that of the reference; where it does not list the gene, the first reported one in
    alphabetical order.
    """
    landmark = pl.col("is_landmark").fill_null(value=False)
    return (
        gene_names.filter(pl.col("gene_id").is_not_null())
        .group_by("gene_id")
        .agg(symbol_reported=pl.col("symbol_reported").min())
        .join(reference.genes, on="gene_id", how="left")
        .with_columns(
            ensembl_gene_id=ensembl_gene_ids(pl.col("gene_id")),
            symbol=pl.coalesce("symbol", "symbol_reported"),
            is_landmark=landmark,
        )
        .select(GENE.polars_schema.names())
        .sort("gene_id")
    )


def _verdict(
    gene_id: pl.Expr,
    *,
    method: pl.Expr | str,
    confidence: pl.Expr | str,
    origin: pl.Expr = _NO_TEXT,
    candidates: pl.Expr = _NO_GENES,
    rule: pl.Expr | str | None = None,
    reason: pl.Expr | str | None = None,
) -> pl.Expr:
    """Return what a rung says of a row, as one struct: the first that is not null decides."""

    def text(value: pl.Expr | str | None) -> pl.Expr:
        return value if isinstance(value, pl.Expr) else pl.lit(value, pl.String)

    return pl.struct(
        gene_id=gene_id,
        method=text(method),
        confidence=text(confidence),
        candidates=candidates,
        rule=text(rule),
        origin=origin,
        reason=text(reason),
    ).cast(_VERDICT)


def _read_keys(reported: pl.DataFrame) -> pl.DataFrame:
    """Add what the reported texts say by their form alone."""
    gene = pl.col("gene_reported").str.strip_chars()
    symbol = pl.col("symbol").str.strip_chars()
    rows = reported.with_row_index("row").with_columns(
        gene=gene,
        label=pl.coalesce(pl.when(symbol != "").then(symbol), gene),
        has_symbol=(symbol != "").fill_null(value=False),
    )
    is_affymetrix = rows["gene"].str.contains(_AFFYMETRIX_ONLY).any()
    number = pl.lit(None, pl.String) if is_affymetrix else pl.col("gene").str.extract(_NUMBER_AT)
    named = (pl.col(text).str.extract(_ENTREZ_KEY) for text in ("gene", "label"))
    key = pl.coalesce(*named, number).cast(pl.Int64)
    on_chromosome = pl.coalesce(
        pl.col("label").str.extract(_ON_CHROMOSOME, 2), pl.col("gene").str.extract(_ON_CHROMOSOME, 2)
    )
    return rows.with_columns(
        ensembl_id=gene_ids(pl.col("gene")),
        is_ensembl_like=pl.col("gene").str.contains(_ANY_ENSEMBL_ID),
        entrez_key=pl.coalesce("entrez_id", key),
        is_number_at=pl.col("entrez_id").is_null() & number.is_not_null(),
        key=pl.coalesce(pl.col("label").str.extract(_ON_CHROMOSOME, 1), "label"),
        chromosome=chromosomes(on_chromosome),
    )


def _by_override(rows: pl.DataFrame, overrides: Mapping[str, Override]) -> pl.Series:
    """Return the verdicts of a person."""
    schema = {"gene": pl.String, "value": pl.String, "text": pl.String}
    said = pl.DataFrame([(key, o.value, str(o)) for key, o in overrides.items()], schema, orient="row")
    settled = said.with_columns(gene_id=gene_ids(pl.col("value")))
    if (wrong := settled.filter(pl.col("value").is_not_null() & pl.col("gene_id").is_null())).height:
        raise BadInputError(
            f"the override of {wrong['gene'][0]!r} is no human Ensembl gene id: {wrong['value'][0]!r}",
            file=FILE_NAME,
            column="value",
        )
    is_gene = pl.col("gene_id").is_not_null()
    verdict = _verdict(
        pl.col("gene_id"),
        method=pl.when(is_gene).then(pl.lit("override")).otherwise(pl.lit("unresolved")),
        confidence=pl.when(is_gene).then(pl.lit("high")).otherwise(pl.lit("none")),
        origin=pl.lit(FILE_NAME),
        reason=pl.col("text"),
    )
    return rows.join(settled, on="gene", how="left", maintain_order="left").select(
        override=pl.when(pl.col("text").is_not_null()).then(verdict)
    )["override"]


def _by_ensembl_id(rows: pl.DataFrame, reference: GeneReference) -> pl.DataFrame:
    """Add the verdicts of Ensembl ids, which are final."""
    listed = reference.genes.select(ensembl_id="gene_id", listed_in="origin")
    history = reference.retired.select(ensembl_id="gene_id", successors="successors", retired_in="origin")
    n = pl.col("successors").list.len()
    is_nowhere = pl.col("listed_in").is_null() & pl.col("successors").is_null()
    kept = _verdict(
        pl.col("ensembl_id"),
        method="ensembl_id",
        confidence=pl.when(n > 1)
        .then(pl.lit("low"))
        .when(n == 0)
        .then(pl.lit("medium"))
        .otherwise(pl.lit("high")),
        origin=pl.coalesce("listed_in", "retired_in"),
        candidates=pl.when(n > 1).then("successors").otherwise(_NO_GENES),
        reason=pl.when(n > 1)
        .then(pl.format("retired, split into {} genes", n))
        .when(n == 0)
        .then(pl.lit("retired without successor"))
        .when(is_nowhere & pl.lit(reference.is_complete))
        .then(pl.lit("in no reference")),
    )
    replaced = _verdict(
        pl.col("successors").list.first(),
        method="retired_ensembl_id",
        confidence="medium",
        origin=pl.col("retired_in"),
    )
    foreign = _verdict(
        pl.lit(None, pl.Int32),
        method="unresolved",
        confidence="none",
        reason=pl.when(pl.col("gene").str.contains(_TRANSCRIPT_OR_PROTEIN))
        .then(pl.lit("an Ensembl id, but not of a gene"))
        .otherwise(pl.lit("not a human Ensembl gene id")),
    )
    return (
        rows.join(listed, on="ensembl_id", how="left", maintain_order="left")
        .join(history, on="ensembl_id", how="left", maintain_order="left")
        .with_columns(
            ensembl=pl.when(pl.col("ensembl_id").is_not_null() & (n == 1))
            .then(replaced)
            .when(pl.col("ensembl_id").is_not_null())
            .then(kept)
            .when("is_ensembl_like")
            .then(foreign)
        )
        .drop("listed_in", "retired_in", "successors")
    )


def _by_entrez_id(rows: pl.DataFrame, reference: GeneReference) -> pl.DataFrame:
    """Add the verdicts of Entrez ids that lead to one gene, and why others lead to none."""
    index = reference.entrez.select(
        "is_retired", entrez_key="entrez_id", entrez_genes="genes", entrez_in="origin"
    )
    n = pl.col("entrez_genes").list.len()
    is_retired = pl.col("is_retired")
    verdict = _verdict(
        pl.col("entrez_genes").list.first(),
        method=pl.when(is_retired).then(pl.lit("retired_entrez_id")).otherwise(pl.lit("entrez_id")),
        confidence=pl.when(is_retired).then(pl.lit("medium")).otherwise(pl.lit("high")),
        origin=pl.col("entrez_in"),
    )
    return (
        rows.join(index, on="entrez_key", how="left", maintain_order="left")
        .with_columns(
            entrez=pl.when(n == 1).then(verdict),
            entrez_remark=pl.when(n > 1)
            .then(pl.lit("Entrez id of several genes"))
            .when((n == 0) & is_retired)
            .then(pl.lit("withdrawn Entrez id"))
            .when(n == 0)
            .then(pl.lit("Entrez id without Ensembl gene id"))
            .when(n.is_null() & pl.col("entrez_key").is_not_null())
            .then(pl.lit("unknown Entrez id")),
        )
        .drop("is_retired", "entrez_in")
    )


def _by_probe(rows: pl.DataFrame, reference: GeneReference) -> pl.DataFrame:
    """Add the verdicts of probe sets that lead to one gene, and why others lead to none."""
    index = reference.probes.select("n_unknown", gene="probe", probe_genes="genes", probe_in="origin")
    n = pl.col("probe_genes").list.len()
    has_unknown = pl.col("n_unknown") > 0
    verdict = _verdict(
        pl.col("probe_genes").list.first(),
        method="probe_id",
        confidence=pl.when(has_unknown).then(pl.lit("medium")).otherwise(pl.lit("high")),
        origin=pl.col("probe_in"),
        reason=pl.when(has_unknown).then(pl.lit("other Entrez ids of the probe lead to no gene")),
    )
    is_probe_like = pl.col("gene").str.contains(_PROBE_SET) & pl.col("entrez_key").is_null()
    return (
        rows.join(index, on="gene", how="left", maintain_order="left")
        .with_columns(
            # What is a known probe was only by its form an Entrez id.
            entrez_remark=pl.when(~pl.col("is_number_at") | n.is_null()).then("entrez_remark"),
            probe=pl.when(n == 1).then(verdict),
            probe_remark=pl.when(n > 1)
            .then(pl.lit("probe of several genes"))
            .when(n == 0)
            .then(pl.lit("probe of no known gene"))
            .when(n.is_null() & is_probe_like)
            .then(pl.lit("unknown probe")),
        )
        .drop("n_unknown", "probe_in")
    )


def _by_name(rows: pl.DataFrame, reference: GeneReference) -> pl.DataFrame:
    """Add the verdicts of names that lead to one gene, and why others lead to none."""
    labels = rows.select("row", "key", "chromosome")
    exact = _matched(labels, reference.names).with_columns(is_orf=pl.lit(value=False))
    rest = labels.join(exact, on="row", how="anti")
    capitals = rest.filter(pl.col("key").str.contains(_ORF)).with_columns(
        pl.col("key").str.replace(_ORF, "C${1}orf${2}")
    )
    by_orf = _matched(capitals, reference.names).with_columns(is_orf=pl.lit(value=True))
    rank, genes, others = pl.col("rank"), pl.col("name_genes"), pl.col("other_genes")
    kind = rank.replace_strict(_KIND_OF_RANK, return_dtype=pl.String)
    is_one = (pl.col("n_named") == 1) & (genes.list.len() == 1)
    has_others = others.list.len() > 0
    words = kind.str.replace("_", " ").str.replace("ncbi", "NCBI")
    verdict = _verdict(
        genes.list.first(),
        method=kind,
        confidence=pl.when(has_others)
        .then(pl.lit("low"))
        .otherwise(rank.replace_strict(_CONFIDENCE_OF_RANK, return_dtype=pl.String)),
        origin=pl.col("named_in"),
        candidates=pl.when(has_others).then(pl.concat_list(genes, others).list.sort()).otherwise(_NO_GENES),
        rule=pl.when(has_others)
        .then(pl.format("{} before weaker names", words))
        .when("is_orf")
        .then(pl.lit("orf in lower case"))
        .when(pl.col("chromosome").is_not_null())
        .then(pl.lit("genes on the chromosome only")),
    )
    return (
        rows.join(pl.concat([exact, by_orf]), on="row", how="left", maintain_order="left")
        .with_columns(
            named=pl.when(is_one).then(verdict),
            name_remark=pl.when(pl.col("n_named") == 0)
            .then(pl.lit("no gene of that name on the chromosome"))
            .when(is_one)
            .then(_NO_TEXT)
            .when(pl.col("n_named") == 1)
            .then(pl.format("{} without Ensembl gene id", words))
            .when(pl.col("n_named") > 1)
            .then(pl.format("ambiguous {}: {} genes", words, "n_named")),
            symbol_gene=pl.when(is_one & (rank == NAME_RANKS["symbol"]) & pl.col("has_symbol")).then(
                genes.list.first()
            ),
        )
        .drop("rank", "named_in", "is_orf")
    )


def _matched(labels: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    """Look names up.

    Args:
        labels: row, key, chromosome (null where none is reported).
        names: as in ``GeneReference``.

    Returns:
        For labels that are a name of something: row, rank (of the most trusted kind that has the name),
        n_named (genes that have it so, with or without Ensembl id; 0 if none is on the chromosome),
        name_genes (their ids; those elsewhere if none is), other_genes (genes that have it as a less trusted
        kind), named_in.
    """
    found = labels.join(names, on="key", how="inner", suffix="_known")
    stated, known = pl.col("chromosome"), pl.col("chromosome_known")
    is_there = (
        stated.is_null() | known.is_null() | (stated == known) | (known == "X,Y") & stated.is_in(["X", "Y"])
    )
    found = found.with_columns(is_there=is_there)
    fitting = found.filter("is_there").with_columns(least=pl.col("rank").min().over("row"))
    fitting = fitting.with_columns(is_best=pl.col("rank") == pl.col("least"))
    best = (
        fitting.filter("is_best")
        .group_by("row")
        .agg(
            pl.col("rank").first(),
            n_named=pl.len().cast(pl.Int32),
            name_genes=pl.col("gene_id").drop_nulls().sort(),
            named_in=pl.col("origin").min(),
        )
    )
    # A current symbol is not weakened by who else was called so, nor a name of HGNC by the synonyms of NCBI.
    is_rival = ~pl.col("is_best") & (pl.col("rank") < NAME_RANKS["ncbi_synonym"])
    others = (
        fitting.filter(is_rival, pl.col("least") > NAME_RANKS["symbol"])
        .drop_nulls("gene_id")
        .group_by("row")
        .agg(other_genes=pl.col("gene_id").sort())
    )
    elsewhere = (
        found.join(best, on="row", how="anti")
        .group_by("row")
        .agg(
            rank=pl.lit(None, pl.Int8).first(),
            n_named=pl.lit(0, pl.Int32).first(),
            name_genes=pl.col("gene_id").drop_nulls().unique().sort(),
            named_in=pl.lit(None, pl.String).first(),
        )
    )
    return (
        pl.concat([best, elsewhere])
        .join(others, on="row", how="left")
        .with_columns(pl.col("other_genes").fill_null(_NO_GENES))
    )


def _by_restored_name(rows: pl.DataFrame, reference: GeneReference) -> pl.DataFrame:
    """Add the verdicts of names that a program changed, and why others lead to no gene."""
    is_open = pl.col("verdict").is_null() & pl.col("n_named").is_null()
    labels = rows.filter(is_open).select("row", "key", "chromosome")
    restored = _restored_dates(labels, rows, reference)
    for restore in (_restored_hyphens, _repeated_names):
        rest = labels.join(restored, on="row", how="anti")
        restored = pl.concat([restored, restore(rest, rows, reference)])
    return rows.join(restored, on="row", how="left", maintain_order="left")


def _restored_dates(labels: pl.DataFrame, rows: pl.DataFrame, reference: GeneReference) -> pl.DataFrame:
    """Return what dates were before a spreadsheet made them: row, restored, restored_genes, restored_remark.

    A date may stand for several genes (``1-Mar`` for MARCHF1 and MTARC1); then the one is taken that no other
    row of the dataset leads to, if there is exactly one.
    """
    taken = rows["verdict"].struct.field("gene_id").drop_nulls().unique()
    dated = spreadsheet_dates.gene_candidates(labels, reference.dated, n_labels=rows.height)
    genes, left = pl.col("restored_genes"), pl.col("left")
    is_one, is_left = genes.list.len() == 1, left.list.len() == 1
    verdict = _verdict(
        pl.when(is_one).then(genes).otherwise(left).list.first(),
        method="restored_symbol",
        confidence="low",
        origin=pl.col("restored_in"),
        candidates=pl.when(pl.col("all_genes").list.len() > 1).then("all_genes").otherwise(_NO_GENES),
        rule=pl.when(is_one)
        .then(pl.lit("a date of a spreadsheet"))
        .otherwise(pl.lit("a date; the dataset lists the other genes")),
    )
    return dated.with_columns(
        left=genes.list.set_difference(pl.lit(taken.to_list(), pl.List(pl.Int32)))
    ).select(
        "row",
        "restored_genes",
        restored=pl.when(is_one | is_left).then(verdict),
        restored_remark=pl.format("date of {} genes", genes.list.len()),
    )


def _restored_hyphens(labels: pl.DataFrame, _rows: pl.DataFrame, reference: GeneReference) -> pl.DataFrame:
    """Return names whose hyphens R made dots, in the columns of :func:`_restored_dates`."""
    hyphenated = labels.filter(pl.col("key").str.contains(".", literal=True)).with_columns(
        pl.col("key").str.replace_all(".", "-", literal=True)
    )
    genes = pl.col("name_genes")
    verdict = _verdict(
        genes.list.first(),
        method="restored_symbol",
        confidence="low",
        origin=pl.col("named_in"),
        rule="dots for hyphens",
    )
    return _matched(hyphenated, reference.names).select(
        "row",
        restored_genes="name_genes",
        restored=pl.when((pl.col("n_named") == 1) & (genes.list.len() == 1)).then(verdict),
        restored_remark=pl.format("dots for hyphens of {} genes", genes.list.len()),
    )


def _repeated_names(labels: pl.DataFrame, rows: pl.DataFrame, reference: GeneReference) -> pl.DataFrame:
    """Return names that a number was added to because the dataset has them twice (``MATR3`` and ``MATR3-1``).

    Which of the genes of that name each of them is depends on the order of an annotation that is not known:
    they are not resolved. Columns as those of :func:`_restored_dates`.
    """
    base = pl.col("key").str.extract(_REPEATED)
    repeated = labels.with_columns(key=base).join(rows.select("key").unique(), on="key", how="semi")
    genes = repeated.join(reference.names.drop_nulls("gene_id"), on="key").group_by("row")
    return genes.agg(restored_genes=pl.col("gene_id").unique().sort()).select(
        "row",
        "restored_genes",
        restored=pl.lit(None, _VERDICT),
        restored_remark=pl.lit("number added to a repeated name"),
    )


def _with_unresolved(rows: pl.DataFrame) -> pl.DataFrame:
    """Add the verdicts of rows that no rung decides: every reason on the way, every candidate."""
    by_name = pl.coalesce(
        "name_remark",
        "restored_remark",
        pl.when(pl.col("gene").str.contains(_SPIKE_IN)).then(pl.lit("spike-in control")),
    )
    # A key that is a probe or an Entrez id by its form is not an unknown symbol as well.
    is_key = pl.coalesce("entrez_remark", "probe_remark").is_not_null() & pl.col("entrez_id").is_null()
    unknown = pl.when(pl.col("has_symbol") | ~is_key).then(pl.lit("unknown symbol"))
    lists = ("entrez_genes", "probe_genes", "name_genes", "restored_genes")
    candidates = pl.concat_list(pl.col(name).fill_null(_NO_GENES) for name in lists)
    verdict = _verdict(
        pl.lit(None, pl.Int32),
        method="unresolved",
        confidence="none",
        candidates=candidates.list.unique().list.sort(),
        reason=_joined("entrez_remark", "probe_remark", pl.coalesce(by_name, unknown)),
    )
    # Lists are slow: they are made for the rows that need them.
    unresolved = rows.filter(pl.col("verdict").is_null()).select("row", unresolved=verdict)
    return rows.join(unresolved, on="row", how="left", maintain_order="left").with_columns(
        verdict=pl.coalesce("verdict", "unresolved")
    )


def _noted(rows: pl.DataFrame) -> pl.DataFrame:
    """Add what contradicts a verdict: an identifier before it that led nowhere, a symbol of another gene."""
    part = pl.col("verdict").struct.field
    by_id = ("ensembl_id", "retired_ensembl_id", "entrez_id", "retired_entrez_id", "probe_id")
    is_contradicted = part("method").is_in(by_id) & (pl.col("symbol_gene") != part("gene_id"))
    after_probe = part("method").is_in([*NAME_RANKS, "restored_symbol"])
    after_entrez = after_probe | (part("method") == "probe_id")
    passed = _joined(pl.when(after_entrez).then("entrez_remark"), pl.when(after_probe).then("probe_remark"))
    rows = rows.with_columns(is_contradicted=is_contradicted.fill_null(value=False), passed=passed)
    both = pl.concat_list(part("candidates"), part("gene_id"), "symbol_gene").list.unique().list.sort()
    contradicted = rows.filter("is_contradicted").select("row", both=both)
    is_weakened = (pl.col("is_contradicted") | pl.col("passed").is_not_null()) & (
        part("confidence") == "high"
    )
    other = pl.when("is_contradicted").then(pl.lit("its symbol is another gene's"))
    noted = pl.struct(
        gene_id=part("gene_id"),
        method=part("method"),
        confidence=pl.when(is_weakened).then(pl.lit("medium")).otherwise(part("confidence")),
        candidates=pl.coalesce("both", part("candidates")),
        rule=pl.when("is_contradicted").then(pl.lit("identifier before symbol")).otherwise(part("rule")),
        origin=part("origin"),
        reason=_joined(part("reason"), "passed", other),
    )
    return rows.join(contradicted, on="row", how="left", maintain_order="left").with_columns(verdict=noted)


def _joined(*remarks: pl.Expr | str) -> pl.Expr:
    """Return remarks as one text; null where there is none."""
    text = pl.concat_str(*remarks, separator="; ", ignore_nulls=True)
    return pl.when(text != "").then(text)


def _account(resolved: pl.DataFrame) -> RowAccount:
    reason = pl.when(pl.col("method") == "unresolved").then("reason")
    counts = resolved.group_by("method", reason).len().sort("method", "reason")
    noted = {
        f"unresolved: {reason}" if method == "unresolved" else f"resolved by {method}": n
        for method, reason, n in counts.iter_rows()
    }
    if n_merged := resolved.filter(pl.col("n_merged") > 1).height:
        noted["shares its gene with another reported gene"] = n_merged
    return RowAccount(n_in=resolved.height, n_out=resolved.height, noted=noted, unit="genes")
