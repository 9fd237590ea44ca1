"""What is known of cell lines and cell types, and every label under which a reference knows them.

References: a curated table that ships with the project, Cellosaurus, DepMap's ``Model.csv`` and the Cell
Ontology where they are present. Which of several candidates a reported label means is decided in
``etl.harmonize.contexts``; the files themselves are read by ``etl.formats``.
"""

from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Final

import polars as pl

from etl.formats import cellosaurus, delimited, obo
from etl.harmonize.reference_folder import EMBEDDED_ONLY, ReferenceFolder

CURATED: Final = "curated"
"""Origin of what the curated table says; all others are named by their file."""

RUNGS: Final = ("accession", "model_id", "curated", "name", "synonym", "stripped_name", "weak_synonym")
"""Kinds of label, the surest first."""

COSMIC: Final = "COSMIC:"
LINCS_HMS: Final = "LINCS_HMS:"
"""What stands before a key that is a bare number: 697 and 5637 are cell lines too."""

# Not all of cellosaurus*.txt: the publisher's folder holds release notes and lists under such names, too.
CELLOSAURUS_FILES: Final = (
    "**/cellosaurus.txt",
    "**/cellosaurus[-_][0-9v]*.txt",
    "**/cellosaurus_excerpt*.txt",
)
MODEL_FILES: Final = ("**/Model.csv",)
ONTOLOGY_FILES: Final = ("**/cl.obo", "**/cl[-_]*.obo")

_TEXTS = pl.List(pl.String())
_CONTEXTS: Final[dict[str, pl.DataType]] = {
    "context_id": pl.String(),
    "name": pl.String(),
    "kind": pl.String(),
    "category": pl.String(),
    "species": pl.String(),
    "tissue": pl.String(),
    # Where the sample was taken; the tissue where no reference states a lineage.
    "site": pl.String(),
    "cell_type": pl.String(),
    "disease": pl.String(),
    "sex": pl.String(),
    "age": pl.String(),
    "ancestry": pl.String(),
    "depmap_ids": _TEXTS,
    "sanger_model_ids": _TEXTS,
    "cosmic_ids": _TEXTS,
    "parent_ids": _TEXTS,
    "problem": pl.String(),
}
_LISTS = tuple(name for name, dtype in _CONTEXTS.items() if dtype == _TEXTS)
_MODEL: Final = {"depmap_id": "depmap_id", "sanger_model_id": "sanger_model_id"}
# Begins with the name of the line that the model derives from: A375_SKIN_CJ1_RESISTANT, COLO829_MATCHED_….
_DERIVATIVE = r"_(RESISTANT|MATCHED_NORMAL_TISSUE)$"
# How Cellosaurus begins the site of a sample that was taken where the cells come from.
_ORIGIN = "In situ; "
# WTSIMasterCellID is not among them: it is no key of anything outside Sanger's own database.
_MODEL_COLUMNS = (
    "ModelID",
    "CellLineName",
    "StrippedCellLineName",
    "RRID",
    "CCLEName",
    "SangerModelID",
    "COSMICID",
    "OncotreeLineage",
    "OncotreePrimaryDisease",
    "Sex",
    "Age",
)


@dataclass(frozen=True, slots=True)
class ContextReference:
    """Cell lines and cell types known by label.

    Args:
        contexts: one row per ``context_id`` with its attributes, as in ``core/context``.
        labels: ``rung`` (``RUNGS``), ``label`` (as :func:`label_key`, or :func:`stripped` on the rung of that
            name), ``context_id`` (null where the reference gives the model no accession), ``depmap_id`` and
            ``sanger_model_id`` of the model that the label means, ``remark`` and ``origin``.
    """

    contexts: pl.DataFrame
    labels: pl.DataFrame


@dataclass(frozen=True, slots=True)
class _Part:
    """What one reference contributes; labels are as the reference writes them."""

    origin: str
    contexts: pl.DataFrame
    labels: pl.DataFrame


def label_key(label: pl.Expr) -> pl.Expr:
    """Return labels in lower case without outer or repeated white space; null where nothing is left.

    >>> pl.select(label_key(pl.lit(" U-2  OS "))).item()
    'u-2 os'
    """
    return _or_null(label.str.replace_all(r"\s+", " ").str.strip_chars().str.to_lowercase())


def stripped(label: pl.Expr) -> pl.Expr:
    """Return labels in lower case without anything but letters and digits; null where nothing is left.

    >>> pl.select(stripped(pl.lit("NIH:OVCAR-3"))).item()
    'nihovcar3'
    """
    return _or_null(label.str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]+", ""))


def load_context_reference(folder: ReferenceFolder = EMBEDDED_ONLY) -> ContextReference:
    """Return the curated table, joined by the references of the folder that are present.

    These are Cellosaurus' text, ``Model.csv`` of DepMap and the Cell Ontology, in any sub-folder. Of
    several ``Model.csv`` the last in the order of their paths counts (``depmap_24Q2`` < ``depmap_24Q4``).

    What the curated table and DepMap say of an accession that Cellosaurus has merged into another is said of
    that other. Where several say something about one accession, Cellosaurus and the Cell Ontology go before
    the curated table and that before DepMap. The tissue is the lineage that the curated table or DepMap
    states, for these are comparable between lines, else the site that Cellosaurus states, but never that of
    a metastasis.

    Raises:
        BadInputError: a reference cannot be read, or lacks a column.
    """
    records = [
        _from_cellosaurus(folder.name_of(path), folder.parsed(path, cellosaurus.read))
        for path in folder.find(*CELLOSAURUS_FILES)
    ]
    terms = [
        _from_ontology(folder.name_of(path), folder.parsed(path, obo.read))
        for path in folder.find(*ONTOLOGY_FILES)
    ]
    models = [
        _from_depmap(folder.name_of(path), folder.parsed(path, read_models))
        for path in folder.find(*MODEL_FILES)[-1:]
    ]
    retired = _retired([*records, *terms])
    parts = [*records, *terms, *(_updated(part, retired) for part in (_from_curated(), *models))]
    return ContextReference(
        contexts=_merged([part.contexts for part in parts]),
        labels=_keyed(parts),
    )


def read_models(path: Path) -> pl.DataFrame:
    """Read the columns of DepMap's ``Model.csv`` that identify and describe a model, as text.

    Raises:
        BadInputError: the file cannot be read or lacks a column.
    """
    return delimited.read_reference(path, _MODEL_COLUMNS, separator=",", quote_char='"')


def _or_null(text: pl.Expr) -> pl.Expr:
    return pl.when(text != "").then(text)


def _retired(parts: list[_Part]) -> dict[str, str]:
    """Accessions that were merged into one other, with that other."""
    if not parts:
        return {}
    accessions = pl.concat(part.labels for part in parts).filter(pl.col("rung") == "accession")
    merged = accessions.group_by("label").agg(pl.col("context_id").drop_nulls().unique())
    lone = merged.filter(pl.col("context_id").list.len() == 1).select(
        "label", pl.col("context_id").list.first()
    )
    return dict(lone.filter(pl.col("label") != pl.col("context_id")).iter_rows())


def _updated(part: _Part, retired: dict[str, str]) -> _Part:
    """Let what an older reference says of a retired accession be said of the one it was merged into."""
    current = pl.col("context_id").replace(retired)
    return replace(
        part, contexts=part.contexts.with_columns(current), labels=part.labels.with_columns(current)
    )


def _merged(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """One row per context: of each attribute what the first part says, of each list what any says."""
    texts = [name for name in _CONTEXTS if name not in ("context_id", *_LISTS)]
    merged = (
        pl.concat(parts)
        .group_by("context_id")
        .agg(
            pl.col(texts).drop_nulls().first(),
            pl.col(_LISTS).explode(empty_as_null=False).drop_nulls().unique().sort(),
        )
        .sort("context_id")
    )
    return merged.with_columns(tissue=pl.coalesce("tissue", "site")).drop("site")


def _keyed(parts: list[_Part]) -> pl.DataFrame:
    origins = pl.Enum([part.origin for part in parts])
    labels = pl.concat(part.labels.with_columns(origin=pl.lit(part.origin, origins)) for part in parts)
    is_name = pl.col("rung").is_in(["curated", "name", "synonym", "stripped_name"])
    return (
        pl.concat(
            [
                labels.filter(pl.col("rung") != "stripped_name").with_columns(label_key(pl.col("label"))),
                labels.filter(is_name).with_columns(
                    stripped(pl.col("label")), rung=pl.lit("stripped_name", pl.Enum(RUNGS))
                ),
            ]
        )
        .select("rung", "label", "origin", "context_id", "depmap_id", "sanger_model_id", "remark")
        .drop_nulls("label")
    )


def _from_curated() -> _Part:
    text = files("etl.harmonize").joinpath("reference/contexts.csv").read_bytes()
    curated = pl.read_csv(text, infer_schema=False).with_columns(pl.col("synonyms").str.split("|"))
    contexts = curated.with_columns(
        depmap_ids=_listed("depmap_id"), sanger_model_ids=_listed("sanger_model_id")
    )
    return _Part(
        CURATED,
        _contexts(contexts),
        pl.concat(
            [
                _labels(curated, "accession", "context_id"),
                _labels(curated, "model_id", "depmap_id", **_MODEL),
                _labels(curated, "model_id", "sanger_model_id", **_MODEL),
                _labels(curated, "curated", "name"),
                _labels(curated, "curated", "synonyms"),
            ]
        ),
    )


def _from_cellosaurus(origin: str, lines: pl.DataFrame) -> _Part:
    lines = lines.with_columns(
        context_id="accession",
        secondary=pl.format("secondary accession, now {}", "accession"),
        misspelling=pl.lit("a misspelling, says Cellosaurus"),
    )
    site = pl.col("site")
    contexts = lines.with_columns(
        kind=pl.lit("cell_line"),
        site=pl.when(site.str.starts_with(_ORIGIN)).then(site.str.strip_prefix(_ORIGIN)),
        sex=_donor_sex("sex"),
        ancestry=pl.coalesce("population", "genome_ancestry"),
        parent_ids="parent_accessions",
    )
    return _Part(
        origin,
        _contexts(contexts),
        pl.concat(
            [
                _labels(lines, "accession", "accession"),
                _labels(lines, "accession", "secondary_accessions", remark="secondary"),
                _labels(lines, "model_id", "depmap_ids", depmap_id="label"),
                _labels(lines, "model_id", "sanger_model_ids", sanger_model_id="label"),
                _labels(lines, "model_id", "ccle_names"),
                _labels(lines, "model_id", "cosmic_ids", prefix=COSMIC),
                _labels(lines, "model_id", "lincs_ldp_ids"),
                _labels(lines, "model_id", "lincs_hms_ids", prefix=LINCS_HMS),
                _labels(lines, "name", "name"),
                _labels(lines, "synonym", "synonyms"),
                _labels(lines, "weak_synonym", "misspellings", remark="misspelling"),
            ]
        ),
    )


def _from_ontology(origin: str, terms: pl.DataFrame) -> _Part:
    """Terms of the Cell Ontology; a file holds terms of other ontologies too, which are no contexts."""
    terms = terms.filter(pl.col("id").str.contains(r"^CL:\d{7}$")).with_columns(
        context_id=_underscored(pl.col("id"))
    )
    current = terms.filter(~pl.col("is_obsolete")).with_columns(
        kind=pl.lit("primary_cell"), related=pl.lit("a related synonym, says the Cell Ontology")
    )
    obsolete = terms.filter("is_obsolete").with_columns(
        term="context_id",
        context_id=pl.Series(_replacements(terms), dtype=pl.String),
        name=pl.col("name").str.strip_prefix("obsolete "),
    )
    obsolete = obsolete.with_columns(
        remark=pl.when(pl.col("context_id").is_null())
        .then(pl.format("{} is obsolete and has no replacement", "term"))
        .otherwise(pl.format("{} is obsolete, now {}", "term", "context_id"))
    )
    return _Part(
        origin,
        _contexts(current),
        pl.concat(
            [
                _labels(current, "accession", "context_id"),
                _labels(obsolete, "accession", "term", remark="remark"),
                _labels(current, "name", "name"),
                _labels(current, "synonym", "exact_synonyms"),
                _labels(obsolete, "synonym", "name", remark="remark"),
                _labels(obsolete, "synonym", "exact_synonyms", remark="remark"),
                _labels(current, "weak_synonym", "related_synonyms", remark="related"),
            ]
        ),
    )


def _replacements(terms: pl.DataFrame) -> list[str | None]:
    """The context that each obsolete term leads to, over terms that are obsolete themselves."""
    replaced_by = {
        term: others[0] if len(others) == 1 else None
        for term, others in terms.filter("is_obsolete").select("id", "replaced_by").iter_rows()
    }
    found: list[str | None] = []
    for term in replaced_by:
        seen = {term}
        other = replaced_by[term]
        while other in replaced_by and other not in seen:
            seen.add(other)
            other = replaced_by[other]
        is_known = other is not None and other not in seen and other.startswith("CL:")
        found.append(other.replace(":", "_") if is_known and other is not None else None)
    return found


def _from_depmap(origin: str, models: pl.DataFrame) -> _Part:
    accession, name = pl.col("RRID"), pl.col("CCLEName")
    models = models.sort("ModelID").with_columns(
        context_id=pl.when(accession.str.contains(r"^CVCL_[A-Z0-9]{4,}$")).then(accession),
        cosmic_id=pl.col("COSMICID").str.strip_suffix(".0"),
        ccle_prefix=pl.when(~name.str.contains(_DERIVATIVE)).then(name.str.split("_").list.first()),
    )
    is_normal = pl.col("OncotreePrimaryDisease").str.to_lowercase().str.starts_with("non-cancer")
    contexts = models.drop_nulls("context_id").with_columns(
        name="CellLineName",
        kind=pl.lit("cell_line"),
        species=pl.lit("Homo sapiens"),
        tissue="OncotreeLineage",
        disease=pl.when(is_normal).then(pl.lit("normal")).otherwise("OncotreePrimaryDisease"),
        sex=_donor_sex("Sex"),
        age=pl.col("Age").str.strip_suffix(".0"),
        depmap_ids=_listed("ModelID"),
        sanger_model_ids=_listed("SangerModelID"),
        cosmic_ids=_listed("cosmic_id"),
    )
    model = {"depmap_id": "ModelID", "sanger_model_id": "SangerModelID"}
    return _Part(
        origin,
        _contexts(contexts),
        pl.concat(
            [
                _labels(models.drop_nulls("context_id"), "accession", "RRID"),
                *(
                    _labels(models, "model_id", column, **model)
                    for column in ("ModelID", "SangerModelID", "CCLEName")
                ),
                _labels(models, "model_id", "cosmic_id", prefix=COSMIC, **model),
                _labels(models, "name", "CellLineName", **model),
                _labels(models, "stripped_name", "StrippedCellLineName", **model),
                _labels(models, "stripped_name", "ccle_prefix", **model),
                # CTRPv2 tells TTTHYROID from TTOESOPHAGUS.
                _labels(models, "stripped_name", "CCLEName", **model),
            ]
        ),
    )


def _listed(column: str) -> pl.Expr:
    return pl.concat_list(pl.col(column)).list.drop_nulls()


def _donor_sex(column: str) -> pl.Expr:
    return pl.when(pl.col(column).is_in(["Male", "Female"])).then(pl.col(column))


def _underscored(term: pl.Expr) -> pl.Expr:
    return term.str.replace(":", "_", literal=True)


def _contexts(rows: pl.DataFrame) -> pl.DataFrame:
    """The attributes that a reference states; null or empty where it has no such column."""
    nothing = {name: pl.lit([] if dtype == _TEXTS else None, dtype) for name, dtype in _CONTEXTS.items()}
    return rows.select(
        pl.col(name) if name in rows.columns else empty.alias(name) for name, empty in nothing.items()
    )


def _labels(
    rows: pl.DataFrame,
    rung: str,
    column: str,
    *,
    prefix: str = "",
    depmap_id: str | None = None,
    sanger_model_id: str | None = None,
    remark: str | None = None,
) -> pl.DataFrame:
    """One row per label that stands in a column, a list or not.

    Args:
        rows: what a reference says, with ``context_id``.
        rung: kind of label.
        column: where the labels stand.
        prefix: what tells the keys of a database that are bare numbers.
        depmap_id: column of the DepMap model that the label means; ``label`` for the label itself.
        sanger_model_id: likewise.
        remark: column of what is to be said where the label is used.
    """
    sources = {"depmap_id": depmap_id, "sanger_model_id": sanger_model_id, "remark": remark}
    labels = rows.select(
        _or_nothing(column).alias("label"),
        "context_id",
        *(_or_nothing(None if source == "label" else source).alias(name) for name, source in sources.items()),
    )
    if labels["label"].dtype == _TEXTS:
        labels = labels.explode("label", empty_as_null=False)
    own = {name: "label" for name, source in sources.items() if source == "label"}
    return (
        labels.drop_nulls("label")
        .with_columns(**own)
        .with_columns(rung=pl.lit(rung, pl.Enum(RUNGS)), label=prefix + pl.col("label"))
    )


def _or_nothing(column: str | None) -> pl.Expr:
    return pl.lit(None, pl.String) if column is None else pl.col(column)
