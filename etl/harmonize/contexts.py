"""Reported cell labels to cell lines (Cellosaurus) and primary cell types (Cell Ontology).

References: a curated table that ships with the project, DepMap's ``Model.csv`` and Cellosaurus where they are
present. Matching is exact up to case; the one looser rung, names without punctuation, must be unique and is
refused for names that are known to collide. Reading Cellosaurus itself is ``etl.formats.cellosaurus``.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import polars as pl

from etl.accounting import RowAccount
from etl.errors import BadInputError
from etl.formats import cellosaurus, delimited
from etl.harmonize.identifiers import unresolved_id
from schemas.core.context import CONTEXT
from schemas.core.context_name import CONTEXT_NAME

COLLISIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "tt": ("CVCL_1774", "CVCL_3174"),
    "kmh2": ("CVCL_1330", "CVCL_S641"),
    "pc3": ("CVCL_0035", "CVCL_S982"),
}
"""Different lines with the same letters: TT and T-T, KM-H2 and KMH-2, PC-3 and PC-3 [JPC-3]."""

_ATTRIBUTES = (
    "name",
    "kind",
    "species",
    "tissue",
    "disease",
    "sex",
    "age",
    "depmap_id",
    "sanger_model_id",
    "is_problematic",
)
_ACCESSION = re.compile(r"(CVCL_[A-Z0-9]{4}|CL_\d{7})")
_NAMED = {"curated": "high", "name": "medium", "synonym": "medium", "stripped_name": "medium"}
_MODEL_COLUMNS = (
    "ModelID",
    "CellLineName",
    "StrippedCellLineName",
    "RRID",
    "CCLEName",
    "SangerModelID",
    "OncotreeLineage",
    "OncotreePrimaryDisease",
    "Sex",
    "Age",
)
# Words of the sources' tissue vocabularies; the first that occurs decides. Sites that hold metastases of
# everything (lymph node, pleura, ascites) say nothing about origin and are left out.
_TISSUE_WORDS: Final = {
    "blood": (
        "bone marrow",
        "bone_marrow",
        "haemato",
        "hemato",
        "lymphoid",
        "myeloid",
        "blood",
        "lymphocyte",
    ),
    "nervous system": ("nervous", "autonomic", "cns", "brain"),
    "upper digestive": ("oesophag", "esophag", "stomach", "gastric"),
    "bowel": ("large_intestine", "large intestine", "small_intestine", "colo", "bowel", "rectum", "cecum"),
    "head and neck": ("aerodigestive", "head and neck", "tongue", "oral", "pharynx", "larynx", "salivary"),
    "cervix": ("cervix",),
    "uterus": ("endometri", "uterus"),
    "ovary": ("ovary", "ovarian"),
    "urinary": ("urinary", "bladder"),
    "lung": ("lung",),
    "breast": ("breast",),
    "skin": ("skin",),
    "kidney": ("kidney",),
    "liver": ("liver",),
    "pancreas": ("pancreas",),
    "prostate": ("prostate",),
    "thyroid": ("thyroid",),
    "mesenchyme": ("bone", "soft_tissue", "soft tissue", "muscle"),
    "testis": ("testis",),
    "eye": ("eye",),
}


@dataclass(frozen=True, slots=True)
class ContextReference:
    """Cell lines and cell types known by label.

    Args:
        contexts: one row per ``context_id`` with its attributes, as in ``core/context``.
        labels: ``rung``, ``label`` (as :func:`label_key` or :func:`stripped` gives it), ``context_id``;
            distinct rows.
        origins: where the contexts come from.
    """

    contexts: pl.DataFrame
    labels: pl.DataFrame
    origins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Match:
    """What a label resolves to, or why it does not."""

    context_id: str | None
    method: str = "unresolved"
    confidence: str = "none"
    reason: str | None = None


def label_key(label: str) -> str:
    """Return a label without case and outer or repeated spaces.

    >>> label_key(" U-2  OS ")
    'u-2 os'
    """
    return " ".join(label.split()).casefold()


def stripped(label: str) -> str:
    """Return a label without case and punctuation.

    >>> stripped("NIH:OVCAR-3")
    'nihovcar3'
    """
    return "".join(character for character in label.casefold() if character.isalnum())


def load_context_reference(folder: Path | None) -> ContextReference:
    """Return the curated table, joined by ``**/Model.csv`` and ``cellosaurus*.txt`` of the folder if present.

    Where several say something about one accession, the curated table goes before Cellosaurus and that before
    DepMap. Of several ``Model.csv`` the last in the order of their paths counts (``depmap_24Q2`` <
    ``depmap_24Q4``).

    Raises:
        BadInputError: ``Model.csv`` cannot be read or lacks a column, or Cellosaurus cannot be read.
    """
    curated = pl.read_csv(
        files("etl.harmonize").joinpath("reference/contexts.csv").read_bytes(), infer_schema=False
    )
    parts = [_from_curated(curated)]
    origins = ["curated"]
    if folder is not None:
        texts = sorted(folder.glob("cellosaurus*.txt"))
        models = sorted(folder.glob("**/Model.csv"))[-1:]
        parts += [_from_cellosaurus(cellosaurus.read(path)) for path in texts]
        parts += [_from_depmap(path) for path in models]
        origins += [path.relative_to(folder).as_posix() for path in (*texts, *models)]
    by_priority = pl.concat([contexts for contexts, _ in parts])
    contexts = by_priority.group_by("context_id", maintain_order=True).agg(
        *(
            pl.col(name).drop_nulls().first()
            for name in _ATTRIBUTES
            if name not in ("depmap_id", "is_problematic")
        ),
        depmap_id=pl.col("depmap_id").min(),
        is_problematic=pl.col("is_problematic").any(),
    )
    labels = pl.concat([labels for _, labels in parts]).drop_nulls()
    loose = labels.filter(pl.col("rung").is_in(["curated", "name", "synonym", "stripped_name"]))
    return ContextReference(
        contexts=contexts.select("context_id", *_ATTRIBUTES),
        labels=pl.concat(
            [
                labels.filter(pl.col("rung") != "stripped_name").with_columns(
                    label=pl.col("label").map_elements(label_key, return_dtype=pl.String)
                ),
                loose.with_columns(
                    rung=pl.lit("stripped_name"),
                    label=pl.col("label").map_elements(stripped, return_dtype=pl.String),
                ),
            ]
        ).unique(maintain_order=True),
        origins=tuple(origins),
    )


def resolve_contexts(
    reported: pl.DataFrame, *, dataset_id: str, reference: ContextReference
) -> tuple[pl.DataFrame, RowAccount]:
    """Resolve reported cell labels (``ReportedContext``) into the columns of ``core/context_name``.

    Ladder: accession, model id (DepMap, Sanger, CCLE name), curated label, exact name, exact synonym, name
    without punctuation. Of several candidates on a rung the reported tissue may choose one (confidence low);
    else the label stays unresolved and the reason names them. A reported tissue that contradicts the
    reference lowers the confidence to low.

    Raises:
        BadInputError: a label is reported twice, or is blank.
    """
    if (repeated := reported.filter(pl.col("context_reported").is_duplicated())).height:
        raise BadInputError(
            f"cell label {repeated['context_reported'][0]!r} is reported more than once",
            dataset_id=dataset_id,
            column="context_reported",
        )
    lookup = _Lookup(reference, reported)
    rows = []
    noted: Counter[str] = Counter()
    for row in reported.iter_rows(named=True):
        match = lookup.match(row)
        rows.append(
            {
                "dataset_id": dataset_id,
                "context_reported": row["context_reported"],
                "tissue_reported": row["tissue"],
                "context_id": match.context_id or unresolved_id(dataset_id, row["context_reported"]),
                "method": match.method,
                "confidence": match.confidence,
                "reason": match.reason,
            }
        )
        cause = (match.reason or "").split(":")[0]
        noted[f"unresolved: {cause}" if match.context_id is None else f"resolved by {match.method}"] += 1
    names = pl.DataFrame(rows, schema=CONTEXT_NAME.polars_schema, orient="row")
    return names, RowAccount(
        n_in=reported.height, n_out=names.height, noted=dict(sorted(noted.items())), unit="cell labels"
    )


def merge_contexts(context_names: pl.DataFrame, reference: ContextReference) -> pl.DataFrame:
    """Return ``core/context`` from all rows of ``core/context_name``, sorted by id."""
    is_resolved = ~pl.col("context_id").str.starts_with("unresolved:")
    kind = (
        pl.when(~is_resolved)
        .then(pl.lit("unresolved"))
        .when(pl.col("context_id").str.starts_with("CL_"))
        .then(pl.lit("primary_cell"))
        .otherwise(pl.lit("cell_line"))
    )
    return (
        context_names.group_by("context_id")
        .agg(
            label=pl.col("context_reported").min(), n_datasets=pl.col("dataset_id").n_unique().cast(pl.Int32)
        )
        .join(reference.contexts, on="context_id", how="left")
        .with_columns(
            is_resolved=is_resolved,
            name=pl.coalesce("name", "label"),
            kind=kind,
            is_problematic=pl.col("is_problematic").fill_null(value=False),
        )
        .select(CONTEXT.polars_schema.names())
        .sort("context_id")
    )


class _Lookup:
    """The part of the reference that the labels of one dataset touch."""

    def __init__(self, reference: ContextReference, reported: pl.DataFrame) -> None:
        texts = set(
            reported.select("context_reported", "name", "accession", "model_id")
            .unpivot()["value"]
            .drop_nulls()
        )
        texts |= {text.strip().replace("CL:", "CL_") for text in texts}
        wanted = pl.Series(
            sorted({label_key(text) for text in texts} | {stripped(text) for text in texts}), dtype=pl.String
        )
        self._ids: dict[tuple[str, str], list[str]] = {}
        touched = reference.labels.filter(pl.col("label").is_in(wanted.implode()))
        for rung, label, context_id in (
            touched.select("rung", "label", "context_id").sort(pl.all()).iter_rows()
        ):
            self._ids.setdefault((rung, label), []).append(context_id)
        ids = {*touched["context_id"], *reduce(tuple.__add__, COLLISIONS.values())}
        contexts = reference.contexts.filter(pl.col("context_id").is_in(sorted(ids)))
        self._contexts: dict[str, dict[str, Any]] = {
            row["context_id"]: row for row in contexts.iter_rows(named=True)
        }

    def match(self, row: dict[str, Any]) -> _Match:
        """Climb the ladder for one label."""
        label, tissue = row["context_reported"], row["tissue"]
        for text in (row["accession"], label):
            if (found := self._by_accession(text, tissue)) is not None:
                return found
        for text in (row["model_id"], label):
            if text is not None and (ids := self._ids.get(("model_id", label_key(text)))):
                return self._chosen(ids, text, tissue, method="model_id", confidence="high")
        names = [text for text in (label, row["name"]) if text is not None and text.strip()]
        for rung, confidence in _NAMED.items():
            key = stripped if rung == "stripped_name" else label_key
            for text in names:
                if ids := self._ids.get((rung, key(text))):
                    return self._chosen(ids, text, tissue, method=rung, confidence=confidence)
        return _Match(None, reason="label in no reference")

    def _by_accession(self, text: str | None, tissue: str | None) -> _Match | None:
        accession = (text or "").strip().replace("CL:", "CL_")
        if not _ACCESSION.fullmatch(accession):
            return None
        ids = self._ids.get(("accession", label_key(accession)))
        if ids is None:
            return _Match(accession, "accession", "low", "accession in no reference")
        found = self._chosen(ids, accession, tissue, method="accession", confidence="high")
        if found.context_id != accession and found.reason is None:
            return _Match(
                found.context_id, found.method, found.confidence, f"secondary accession {accession}"
            )
        return found

    def _chosen(
        self, ids: list[str], text: str, tissue: str | None, *, method: str, confidence: str
    ) -> _Match:
        """Return the only candidate, or the one that the reported tissue singles out."""
        rivals = COLLISIONS.get(stripped(text), ()) if method in _NAMED else ()
        agreeing = [rival for rival in rivals if self._agreement(rival, tissue) is True]
        if rivals and len(agreeing) == 1 and (method == "stripped_name" or agreeing != ids):
            return _Match(
                agreeing[0], method, "low", f"colliding name, chosen by tissue: {', '.join(rivals)}"
            )
        if rivals and method == "stripped_name":
            return _Match(None, reason=f"colliding name: {', '.join(rivals)}")
        if len(ids) > 1:
            agreeing = [context_id for context_id in ids if self._agreement(context_id, tissue) is True]
            if len(agreeing) == 1:
                return _Match(agreeing[0], method, "low", f"chosen by tissue among {', '.join(ids)}")
            return _Match(None, reason=f"ambiguous label: {', '.join(ids)}")
        [context_id] = ids
        remarks = []
        if self._agreement(context_id, tissue) is False:
            confidence = "low"
            remarks.append(f"reported tissue {tissue!r}, reference {self._contexts[context_id]['tissue']!r}")
        if self._contexts[context_id]["is_problematic"]:
            remarks.append("Cellosaurus lists the line as problematic")
        return _Match(context_id, method, confidence, "; ".join(remarks) or None)

    def _agreement(self, context_id: str, tissue: str | None) -> bool | None:
        """Say whether tissues agree; None where either is not known or not comparable."""
        groups = [_tissue_group(text) for text in (tissue, self._contexts.get(context_id, {}).get("tissue"))]
        return None if None in groups else groups[0] == groups[1]


def _tissue_group(tissue: str | None) -> str | None:
    text = (tissue or "").casefold()
    return next(
        (group for group, words in _TISSUE_WORDS.items() if any(word in text for word in words)), None
    )


def _from_curated(curated: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    contexts = curated.with_columns(is_problematic=pl.lit(value=False)).select("context_id", *_ATTRIBUTES)
    synonyms = curated.select(label=pl.col("synonyms").str.split("|"), context_id="context_id")
    return contexts, _labels(
        accession=[curated.select(label="context_id", context_id="context_id")],
        model_id=[
            curated.select(label=name, context_id="context_id") for name in ("depmap_id", "sanger_model_id")
        ],
        curated=[curated.select(label="name", context_id="context_id"), synonyms.explode("label")],
    )


def _from_cellosaurus(lines: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    lines = lines.filter(pl.col("accession").str.contains(r"^CVCL_[A-Z0-9]{4}$")).with_columns(
        context_id="accession"
    )
    sex = pl.when(pl.col("sex").is_in(["Male", "Female"])).then("sex")
    contexts = lines.with_columns(kind=pl.lit("cell_line"), tissue=pl.lit(None, pl.String), sex=sex).select(
        "context_id", *_ATTRIBUTES
    )
    return contexts, _labels(
        accession=[
            lines.select(label="accession", context_id="context_id"),
            lines.select(label="secondary_accessions", context_id="context_id").explode("label"),
        ],
        model_id=[
            lines.select(label=name, context_id="context_id") for name in ("depmap_id", "sanger_model_id")
        ],
        name=[lines.select(label="name", context_id="context_id")],
        synonym=[lines.select(label="synonyms", context_id="context_id").explode("label")],
    )


def _from_depmap(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    models = delimited.read_reference(path, _MODEL_COLUMNS, separator=",", quote_char='"')
    known = models.filter(pl.col("RRID").str.contains(r"^CVCL_[A-Z0-9]{4}$")).sort("ModelID")
    is_normal = pl.col("OncotreePrimaryDisease").str.to_lowercase().str.starts_with("non-cancer")
    contexts = known.select(
        context_id="RRID",
        name="CellLineName",
        kind=pl.lit("cell_line"),
        species=pl.lit("Homo sapiens"),
        tissue="OncotreeLineage",
        disease=pl.when(is_normal).then(pl.lit("normal")).otherwise("OncotreePrimaryDisease"),
        sex=pl.when(pl.col("Sex").is_in(["Male", "Female"])).then("Sex"),
        age=pl.col("Age").str.strip_suffix(".0"),
        depmap_id="ModelID",
        sanger_model_id="SangerModelID",
        is_problematic=pl.lit(value=False),
    )
    prefix = pl.col("CCLEName").str.split("_").list.first()
    return contexts, _labels(
        accession=[known.select(label="RRID", context_id="RRID")],
        model_id=[
            known.select(label=name, context_id="RRID") for name in ("ModelID", "SangerModelID", "CCLEName")
        ],
        name=[known.select(label="CellLineName", context_id="RRID")],
        stripped_name=[
            known.select(label=name, context_id="RRID") for name in ("StrippedCellLineName", prefix)
        ],
    )


def _labels(**rungs: Iterable[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(
        frame.select(rung=pl.lit(rung), label="label", context_id="context_id")
        for rung, frames in rungs.items()
        for frame in frames
    )
