"""Reported cell labels to cell lines (Cellosaurus) and primary cell types (Cell Ontology).

Here: which of the contexts that the references know a label means, and how sure that is. Keys go before
names, exact names before looser ones; what is loose must be unique, and names that are known to collide are
refused. Not here: what the references say and how their labels are compared (``context_reference``).
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Final, NamedTuple

import polars as pl

from etl.accounting import RowAccount
from etl.errors import BadInputError
from etl.harmonize.context_reference import COSMIC, CURATED, ContextReference, label_key, stripped
from etl.harmonize.identifiers import unresolved_id
from etl.harmonize.overrides import FILE_NAME, NO_OVERRIDES, Override
from schemas.core.context import CONTEXT
from schemas.core.context_name import CONTEXT_NAME
from schemas.reported import ReportedContext
from schemas.table import polars_schema

COLLISIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "tt": ("CVCL_1774", "CVCL_3174"),
    "kmh2": ("CVCL_1330", "CVCL_S641"),
    "pc3": ("CVCL_0035", "CVCL_S982"),
}
"""Different lines with the same letters: TT and T-T, KM-H2 and KMH-2, PC-3 and PC-3 [JPC-3]."""

_REPORTED = ("name", "accession", "model_id", "tissue", "species")
_ACCESSION = re.compile(r"(CVCL_[A-Z0-9]{4,}|CL_\d{7})")
_NAMED: Final = {
    "curated": "high",
    "name": "medium",
    "synonym": "medium",
    "stripped_name": "medium",
    "weak_synonym": "low",
}
"""Rungs of names with the confidence of a sole candidate."""
_EXACT = ("curated", "name", "synonym")
# Rules by which one of several candidates is chosen, as the table states them.
_BY_SPECIES = "the only candidate of the species"
_BY_TISSUE = "the only candidate of the reported tissue"
_BY_EXACTNESS = "the exact label goes before looser forms"
_BY_DEPMAP = "the only candidate that DepMap lists under the label"
_HUMAN = "homo sapiens"
_BINOMIALS: Final = {"human": _HUMAN, "mouse": "mus musculus", "rat": "rattus norvegicus"}
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
    "breast": ("breast", "mammary"),
    "skin": ("skin",),
    "kidney": ("kidney",),
    "liver": ("liver",),
    "biliary": ("biliary", "gallbladder", "bile duct"),
    "pancreas": ("pancreas",),
    "prostate": ("prostate",),
    "thyroid": ("thyroid",),
    "mesenchyme": ("bone", "soft_tissue", "soft tissue", "muscle"),
    "testis": ("testis",),
    "eye": ("eye",),
}


class _Hit(NamedTuple):
    """What a reference says of a label."""

    origin: str
    context_id: str | None
    depmap_id: str | None
    sanger_model_id: str | None
    remark: str | None


class _Text(NamedTuple):
    """The forms in which a label is looked up."""

    key: str | None
    stripped: str | None


@dataclass(frozen=True, slots=True)
class _Match:
    """What a label resolves to, or why it does not."""

    context_id: str | None = None
    method: str = "unresolved"
    confidence: str = "none"
    origin: str | None = None
    rule: str | None = None
    candidates: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def noting(
        self, remark: str, *, confidence: str | None = None, candidates: Iterable[str] = ()
    ) -> "_Match":
        """Return the match with one more remark, and what this makes of its confidence and candidates."""
        return replace(
            self,
            remarks=(*self.remarks, remark),
            confidence=confidence or self.confidence,
            candidates=(*self.candidates, *candidates),
        )


def resolve_contexts(
    reported: pl.DataFrame,
    *,
    dataset_id: str,
    reference: ContextReference,
    overrides: Mapping[str, Override] = NO_OVERRIDES,
) -> tuple[pl.DataFrame, RowAccount]:
    """Resolve reported cell labels (``ReportedContext``) into the columns of ``core/context_name``.

    Ladder: override, accession, key of another database (DepMap, Sanger, COSMIC, CCLE, LINCS), curated label,
    exact name, exact synonym, name without punctuation, known misspelling. A name means a line of the
    reported species, human where none is reported. A COSMIC id is a number in ``model_id``, or follows
    ``COSMIC:``; a bare number as a cell label is a name.

    Of several candidates of the species the reported tissue may choose one; else an exact label goes before
    looser forms of it, and of lines that share a synonym the one that DepMap lists under it before those that
    it does not. Such a choice lowers the confidence, and all candidates are kept. Where none of this decides,
    the label stays unresolved and the reason names them. A reported tissue or species that contradicts the
    reference lowers the confidence as well.

    Args:
        reported: the labels.
        dataset_id: whose labels they are.
        reference: what is known of contexts.
        overrides: what a person has settled, by label.

    Returns:
        One row per label, sorted by label, and their account.

    Raises:
        BadInputError: a label is reported twice, or is blank; an override is no accession.
    """
    labels = reported["context_reported"]
    for fault, rows in (
        ("is reported more than once", reported.filter(labels.is_duplicated())),
        ("is blank", reported.filter(labels.fill_null("").str.strip_chars() == "")),
    ):
        if rows.height:
            raise BadInputError(
                f"cell label {rows['context_reported'][0]!r} {fault}",
                dataset_id=dataset_id,
                column="context_reported",
            )
    lookup = _Lookup(reference, reported, overrides, dataset_id)
    names = pl.DataFrame(
        [lookup.resolved(row) for row in reported.sort("context_reported").iter_rows(named=True)],
        schema=CONTEXT_NAME.polars_schema,
        orient="row",
    )
    return names, _account(names)


def reported_again(names: pl.DataFrame) -> pl.DataFrame:
    """Return what was reported, in the columns of ``ReportedContext``, from rows of ``core/context_name``.

    Args:
        names: rows of one dataset.
    """
    columns = {name: f"{name}_reported" for name in _REPORTED}
    return names.select("context_reported", **columns).match_to_schema(polars_schema(ReportedContext))


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
    schema = CONTEXT.polars_schema
    lists = [name for name, dtype in schema.items() if dtype == pl.List]
    return (
        context_names.group_by("context_id")
        .agg(
            label=pl.col("context_reported").min(), n_datasets=pl.col("dataset_id").n_unique().cast(pl.Int32)
        )
        .join(reference.contexts, on="context_id", how="left")
        .with_columns(
            pl.col(lists).fill_null(pl.lit([], pl.List(pl.String()))),
            is_resolved=is_resolved,
            name=pl.coalesce("name", "label"),
            kind=kind,
            is_problematic=pl.col("problem").is_not_null(),
        )
        .select(schema.names())
        .sort("context_id")
    )


def _account(names: pl.DataFrame) -> RowAccount:
    noted: Counter[str] = Counter()
    for method, reason in names.select("method", "reason").iter_rows():
        cause = re.split("[:;]", reason or "")[0]
        noted[f"unresolved: {cause}" if method == "unresolved" else f"resolved by {method}"] += 1
    return RowAccount(
        n_in=names.height, n_out=names.height, noted=dict(sorted(noted.items())), unit="cell labels"
    )


class _Lookup:
    """The part of the reference that the labels of one dataset touch."""

    def __init__(
        self,
        reference: ContextReference,
        reported: pl.DataFrame,
        overrides: Mapping[str, Override],
        dataset_id: str,
    ) -> None:
        self._dataset_id = dataset_id
        self._overrides = overrides
        self._texts = _looked_up(reported)
        wanted = {form for text in self._texts.values() for form in (text.key, text.stripped) if form}
        values = {override.value for override in overrides.values()} | {*reported["accession"]}
        accessions = {_accession(value) for value in (*values, *reported["context_reported"])}
        wanted |= {accession.lower() for accession in accessions if accession}
        touched = reference.labels.filter(
            pl.col("label").is_in(pl.Series(sorted(wanted), dtype=pl.String).implode())
        )
        # The origin goes first: the references in the order in which they count.
        hits = touched.select("rung", "label", *_Hit._fields).unique()
        self._hits: dict[tuple[str, str], list[_Hit]] = {}
        for rung, label, *hit in hits.sort(pl.all()).iter_rows():
            self._hits.setdefault((rung, label), []).append(_Hit(*hit))
        ids = {*touched["context_id"].drop_nulls(), *reduce(tuple.__add__, COLLISIONS.values())}
        contexts = reference.contexts.filter(pl.col("context_id").is_in(sorted(ids)))
        self._contexts: dict[str, dict[str, Any]] = {
            row["context_id"]: row for row in contexts.iter_rows(named=True)
        }

    def resolved(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the row of ``core/context_name`` of one reported label."""
        label = row["context_reported"]
        match = self._override(label) or self._reviewed(self._match(row), row)
        depmap_id, sanger_model_id = self._models(match.context_id, row)
        return {
            "dataset_id": self._dataset_id,
            "context_reported": label,
            **{f"{name}_reported": row[name] for name in _REPORTED},
            "context_id": match.context_id or unresolved_id(self._dataset_id, label),
            "depmap_id": depmap_id,
            "sanger_model_id": sanger_model_id,
            "method": match.method,
            "origin": match.origin,
            "rule": match.rule,
            "confidence": match.confidence,
            "candidates": sorted(set(match.candidates)),
            "reason": "; ".join(match.remarks) or None,
        }

    def _match(self, row: dict[str, Any]) -> _Match:
        """Climb the ladder for one label."""
        return self._by_accession(row) or self._by_key(row) or self._by_name(row)

    def _override(self, label: str) -> _Match | None:
        override = self._overrides.get(label)
        if override is None:
            return None
        if override.value is None:
            return _Match(origin=FILE_NAME, remarks=(str(override),))
        accession = _accession(override.value)
        if accession is None:
            raise BadInputError(
                f"the override of cell label {label!r} is neither CVCL_… nor CL_…, but {override.value!r}",
                dataset_id=self._dataset_id,
                file=FILE_NAME,
                column="value",
            )
        found = self._listed(accession)
        remarks = (str(override), *found.remarks, *self._problem(found.context_id))
        if found.context_id is None:
            return replace(found, remarks=remarks)
        return replace(found, method="override", confidence="high", origin=FILE_NAME, remarks=remarks)

    def _by_accession(self, row: dict[str, Any]) -> _Match | None:
        for text in (row["accession"], row["context_reported"]):
            if (accession := _accession(text)) is not None:
                return self._listed(accession)
        return None

    def _listed(self, accession: str) -> _Match:
        """Return what an accession leads to; a primary one leads to itself."""
        hits = self._hits.get(("accession", accession.lower()), [])
        own = [hit for hit in hits if hit.context_id == accession]
        ids = _ids(own or hits)
        if len(ids) > 1:
            return _refused("ambiguous accession", ids)
        remarks = () if own else tuple(hit.remark for hit in hits[:1] if hit.remark)
        return _Match(
            context_id=ids[0] if ids else accession,
            method="accession",
            confidence="high" if ids else "low",
            origin=hits[0].origin if hits else None,
            candidates=tuple(ids) or (accession,),
            remarks=remarks or (() if hits else ("accession in no reference",)),
        )

    def _by_key(self, row: dict[str, Any]) -> _Match | None:
        """Match a key of another database: ``model_id``, else the label itself where it has that form."""
        for field in ("model_id", "context_reported"):
            text = self._text(row, field)
            hits = self._found("model_id", text)
            if ids := _ids(hits):
                if len(ids) == 1:
                    return _Match(ids[0], "model_id", "high", _origin(hits, ids[0]), None, tuple(ids))
                return self._chosen("model_id", ids, ids, row, text) or _refused("ambiguous key", ids)
        return None

    def _by_name(self, row: dict[str, Any]) -> _Match:
        """Match label and name by rung; a rung on which only a refused candidate stands ends the ladder."""
        texts = [text for field in ("context_reported", "name") if (text := self._text(row, field))]
        others: list[tuple[str, _Text, list[str]]] = []
        for rung in _NAMED:
            refused: _Match | None = None
            for text in texts:
                ids = _ids(self._found(rung, text))
                own = [context_id for context_id in ids if self._is_of_species(context_id, row)]
                if own:
                    found = self._by_rung(rung, text, own, row)
                    found = replace(found, candidates=(*found.candidates, *ids))
                    if found.context_id is not None:
                        return found
                    refused = refused or found
                elif ids:
                    others.append((rung, text, ids))
            if refused is not None:
                return refused
        return self._of_other_species(others, row) or self._without_candidate(texts, row)

    def _by_rung(self, rung: str, text: _Text, own: list[str], row: dict[str, Any]) -> _Match:
        """Return the only candidate of a rung, the one that a rule chooses, or a refusal."""
        rivals = COLLISIONS.get(text.stripped or "", ()) if rung != "weak_synonym" else ()
        looser = _ids(self._found("synonym", text)) if rung == "name" else []
        same_species = [context_id for context_id in looser if self._is_of_species(context_id, row)]
        candidates = sorted({*own, *rivals, *same_species})
        if len(candidates) == 1:
            return self._sole(rung, text, own[0], row)
        chosen = self._chosen(rung, own, candidates, row, text)
        return chosen or _refused("colliding name" if rivals else "ambiguous label", candidates)

    def _sole(self, rung: str, text: _Text, context_id: str, row: dict[str, Any]) -> _Match:
        """Return the only candidate of its species; that the species is human may be no more than assumed."""
        hits = self._found(rung, text)
        own = [hit for hit in hits if hit.context_id == context_id]
        remarks = tuple(hit.remark for hit in own[:1] if hit.remark and all(other.remark for other in own))
        is_rivalled = len(_ids(hits)) > 1
        return _Match(
            context_id=context_id,
            method=rung,
            confidence="low" if is_rivalled and row["species"] is None else _NAMED[rung],
            origin=own[0].origin,
            rule=_BY_SPECIES if is_rivalled else None,
            candidates=(context_id,),
            remarks=remarks,
        )

    def _chosen(
        self,
        rung: str,
        own: Sequence[str],
        candidates: Sequence[str],
        row: dict[str, Any],
        text: _Text | None,
    ) -> _Match | None:
        """Apply the rules that choose one of several candidates; None where none does."""
        agreeing = [other for other in candidates if self._agreement(other, row["tissue"]) is True]
        listed = {hit.context_id for hit in self._found("stripped_name", text) if hit.depmap_id}
        in_depmap = [other for other in candidates if other in listed]
        is_known_to_collide = text is not None and (text.stripped or "") in COLLISIONS
        if len(agreeing) == 1:
            chosen, rule = agreeing[0], _BY_TISSUE
        elif len(own) == 1 and rung in _EXACT:
            chosen, rule = own[0], _BY_EXACTNESS
        elif len(in_depmap) == 1 and rung == "synonym" and not is_known_to_collide:
            chosen, rule = in_depmap[0], _BY_DEPMAP
        else:
            return None
        is_confirmed = agreeing == list(own)
        origin = _origin(self._found(rung, text), chosen) or self._any_origin(text, chosen)
        return _Match(chosen, rung, "medium" if is_confirmed else "low", origin, rule, tuple(candidates))

    def _of_other_species(
        self, found: list[tuple[str, _Text, list[str]]], row: dict[str, Any]
    ) -> _Match | None:
        """Accept the one line that has the exact label, where no species contradicts it; else say why not."""
        if not found:
            return None
        rung, text, ids = found[0]
        kinds = ", ".join(f"{context_id} ({self._contexts[context_id]['species']})" for context_id in ids)
        if row["species"] is None and len(ids) == 1 and rung in _EXACT:
            origin = _origin(self._found(rung, text), ids[0])
            remark = f"no species reported: {kinds}"
            return _Match(ids[0], rung, "low", origin, None, tuple(ids), (remark,))
        return replace(_refused("other species", ids), remarks=(f"other species: {kinds}",))

    def _without_candidate(self, texts: list[_Text], row: dict[str, Any]) -> _Match:
        keys = [self._text(row, "model_id"), *texts]
        models = sorted(
            {
                hit.depmap_id
                for text in keys
                for rung in ("model_id", "name", "stripped_name")
                for hit in self._found(rung, text)
                if hit.depmap_id
            }
        )
        if models:
            return _Match(remarks=(f"model without accession: {', '.join(models)}",))
        return _Match(remarks=("label in no reference",))

    def _reviewed(self, match: _Match, row: dict[str, Any]) -> _Match:
        """Add what contradicts a match, and what is known against its line."""
        context_id = match.context_id
        if row["accession"] is not None and _accession(row["accession"]) is None:
            match = match.noting(f"reported accession {row['accession']!r} is none")
        if context_id is None:
            return match
        is_named = match.method in _NAMED
        lower = "low" if is_named or match.confidence == "low" else "medium"
        context = self._contexts.get(context_id, {})
        keyed = _ids(self._found("model_id", self._text(row, "model_id")))
        if match.method != "model_id" and keyed and context_id not in keyed:
            remark = f"model id {row['model_id']!r} leads to {', '.join(keyed)}"
            match = match.noting(remark, confidence=lower, candidates=keyed)
        elif is_named and row["model_id"] is not None and not keyed:
            match = match.noting(f"model id {row['model_id']!r} in no reference")
        if not is_named and (named := self._named_otherwise(context_id, row)):
            remark = f"the label names {', '.join(named)}"
            match = match.noting(remark, confidence=lower, candidates=named)
        if self._agreement(context_id, row["tissue"]) is False:
            remark = f"reported tissue {row['tissue']!r}, reference {context['tissue']!r}"
            match = match.noting(remark, confidence=lower)
        if row["species"] is not None and not self._is_of_species(context_id, row):
            remark = f"reported species {row['species']!r}, reference {context['species']!r}"
            match = match.noting(remark, confidence=lower)
        return replace(match, remarks=(*match.remarks, *self._problem(context_id)))

    def _named_otherwise(self, context_id: str, row: dict[str, Any]) -> list[str]:
        """Contexts that label or name state, where no reference knows the chosen one by either."""
        texts = [self._text(row, field) for field in ("context_reported", "name")]
        if any(context_id in _ids(self._found(rung, text)) for rung in _NAMED for text in texts):
            return []
        return _ids(hit for rung in ("curated", "name") for text in texts for hit in self._found(rung, text))

    def _problem(self, context_id: str | None) -> tuple[str, ...]:
        problem = self._contexts.get(context_id or "", {}).get("problem")
        return () if problem is None else (f"Cellosaurus lists the line as problematic: {problem}",)

    def _models(self, context_id: str | None, row: dict[str, Any]) -> tuple[str | None, str | None]:
        """DepMap and Sanger model that the label itself means, else the only one that its context has."""
        sources = [
            *(("model_id", field) for field in ("model_id", "context_reported")),
            *((rung, field) for rung in ("name", "stripped_name") for field in ("context_reported", "name")),
        ]
        found = [
            [hit for hit in self._found(rung, self._text(row, field)) if hit.context_id == context_id]
            for rung, field in sources
        ]
        context = self._contexts.get(context_id or "", {})
        lists = [context.get("depmap_ids", []), context.get("sanger_model_ids", [])]
        is_single = all(len(ids) <= 1 for ids in lists)
        meant: list[str | None] = []
        for index, attribute in enumerate(("depmap_id", "sanger_model_id")):
            told = [{getattr(hit, attribute) for hit in hits} - {None} for hits in found]
            ids = next((ids for ids in told if ids), set(lists[index]) if is_single else set())
            meant.append(min(ids) if len(ids) == 1 else None)
        return meant[0], meant[1]

    def _text(self, row: dict[str, Any], field: str) -> _Text | None:
        return self._texts.get((field, row[field])) if row[field] is not None else None

    def _found(self, rung: str, text: _Text | None) -> list[_Hit]:
        form = None if text is None else text.stripped if rung == "stripped_name" else text.key
        return [] if form is None else self._hits.get((rung, form), [])

    def _any_origin(self, text: _Text | None, context_id: str) -> str:
        """Where a candidate comes from that stands on another rung; collisions are curated."""
        hits = [hit for rung in _NAMED for hit in self._found(rung, text)]
        return _origin(hits, context_id) or CURATED

    def _is_of_species(self, context_id: str, row: dict[str, Any]) -> bool:
        """Say whether a context may be of the reported species; what is not known may be."""
        species = self._contexts.get(context_id, {}).get("species")
        wanted = (row["species"] or _HUMAN).strip().lower()
        return species is None or _BINOMIALS.get(wanted, wanted) in species.lower().split("; ")

    def _agreement(self, context_id: str, tissue: str | None) -> bool | None:
        """Say whether tissues agree; None where either is not known or not comparable."""
        groups = [_tissue_group(text) for text in (tissue, self._contexts.get(context_id, {}).get("tissue"))]
        return None if None in groups else groups[0] == groups[1]


def _looked_up(reported: pl.DataFrame) -> dict[tuple[str, str], _Text]:
    """The forms of every label, name and model id, by column and text."""
    text = pl.col("text")
    texts = (
        reported.select("context_reported", "name", "model_id")
        .unpivot(variable_name="field", value_name="text")
        .drop_nulls()
        .unique()
    )
    # A table that was read as numbers gives 905933.0.
    number = text.str.strip_chars().str.extract(r"^(\d+)(?:\.0)?$", 1)
    is_cosmic = (pl.col("field") == "model_id") & number.is_not_null()
    keyed = texts.with_columns(
        key=label_key(pl.when(is_cosmic).then(COSMIC + number).otherwise(text)), stripped=stripped(text)
    )
    return {
        (field, text): _Text(key, form)
        for field, text, key, form in keyed.select("field", "text", "key", "stripped").iter_rows()
    }


def _accession(text: str | None) -> str | None:
    """Return a text as an accession, ``CL:0000182`` as ``CL_0000182``; None where it has not that form."""
    accession = (text or "").strip().upper().replace("CL:", "CL_")
    return accession if _ACCESSION.fullmatch(accession) else None


def _ids(hits: Iterable[_Hit]) -> list[str]:
    return sorted({hit.context_id for hit in hits if hit.context_id is not None})


def _origin(hits: Iterable[_Hit], context_id: str) -> str | None:
    return next((hit.origin for hit in hits if hit.context_id == context_id), None)


def _refused(why: str, candidates: Sequence[str]) -> _Match:
    return _Match(candidates=tuple(candidates), remarks=(f"{why}: {', '.join(candidates)}",))


def _tissue_group(tissue: str | None) -> str | None:
    text = (tissue or "").casefold()
    return next(
        (group for group, words in _TISSUE_WORDS.items() if any(word in text for word in words)), None
    )
