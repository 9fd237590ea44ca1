"""What another release of the references would change: every reported name resolved again, and compared.

The name tables of a warehouse keep what the publisher reported, so that nothing but they and a folder of
references is needed. Nothing is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from etl.harmonize import compounds, contexts, genes
from etl.harmonize.compound_reference import load_compound_reference
from etl.harmonize.compounds import Standardize, resolve_compounds
from etl.harmonize.context_reference import load_context_reference
from etl.harmonize.contexts import resolve_contexts
from etl.harmonize.gene_reference import load_gene_reference
from etl.harmonize.genes import resolve_genes
from etl.harmonize.overrides import Entity, load_overrides
from etl.harmonize.pubchem import PubChem
from etl.harmonize.reference_folder import ReferenceFolder
from etl.harmonize.structures import standardize

DIFF_SCHEMA: Final = pl.Schema(
    {
        "entity": pl.String,
        "dataset_id": pl.String,
        "reported": pl.String,
        "change": pl.String,
        "id_before": pl.String,
        "id_after": pl.String,
        "method_before": pl.String,
        "method_after": pl.String,
        "confidence_before": pl.String,
        "confidence_after": pl.String,
        "reason_after": pl.String,
    }
)
"""One row per reported name whose resolution changes; ``change`` is one of ``REFERENCE_CHANGES``."""


@dataclass(frozen=True, slots=True)
class ReferenceDiff:
    """What would change.

    Args:
        rows: ``DIFF_SCHEMA``, sorted by entity, dataset and name.
        n_compared: reported names compared, by entity and dataset.
    """

    rows: pl.DataFrame
    n_compared: Mapping[tuple[str, str], int]


def reference_diff(
    names: Mapping[Entity, pl.DataFrame],
    *,
    folder: ReferenceFolder,
    pubchem: PubChem,
    standardize: Standardize = standardize,
) -> ReferenceDiff:
    """Resolve the names of a warehouse with other references, and return what changes.

    Args:
        names: rows of ``core/compound_name``, ``core/context_name`` and ``core/gene_name``, by entity.
        folder: the other references.
        pubchem: the PubChem that goes with them.
        standardize: makes parents of structures.

    Raises:
        BadInputError: a file of the folder cannot be read.
    """
    parts: list[pl.DataFrame] = []
    n_compared: dict[tuple[str, str], int] = {}
    for entity, before in names.items():
        after = resolve_again(entity, before, folder=folder, pubchem=pubchem, standardize=standardize)
        parts.append(_changes(entity, before, after))
        n_compared |= {
            (entity, dataset_id): n
            for dataset_id, n in before["dataset_id"].value_counts(sort=True).iter_rows()
        }
    rows = pl.concat([pl.DataFrame(schema=DIFF_SCHEMA), *parts])
    return ReferenceDiff(rows.sort("entity", "dataset_id", "reported"), n_compared)


def resolve_again(
    entity: Entity,
    names: pl.DataFrame,
    *,
    folder: ReferenceFolder,
    pubchem: PubChem,
    standardize: Standardize = standardize,
) -> pl.DataFrame:
    """Return the rows of a name table resolved anew with the references of a folder."""
    overrides = load_overrides(folder)
    resolved = [names.clear()]
    if entity == "compound":
        compound_reference = load_compound_reference(folder)
        for dataset_id, rows in _by_dataset(names):
            again, _ = resolve_compounds(
                compounds.reported_again(rows),
                dataset_id=dataset_id,
                reference=compound_reference,
                pubchem=pubchem,
                overrides=overrides.of("compound", dataset_id),
                standardize=standardize,
            )
            resolved.append(again)
    elif entity == "context":
        context_reference = load_context_reference(folder)
        for dataset_id, rows in _by_dataset(names):
            again, _ = resolve_contexts(
                contexts.reported_again(rows),
                dataset_id=dataset_id,
                reference=context_reference,
                overrides=overrides.of("context", dataset_id),
            )
            resolved.append(again)
    else:
        gene_reference = load_gene_reference(folder)
        for dataset_id, rows in _by_dataset(names):
            again, _ = resolve_genes(
                genes.reported_again(rows),
                dataset_id=dataset_id,
                reference=gene_reference,
                overrides=overrides.of("gene", dataset_id),
            )
            resolved.append(again)
    return pl.concat(resolved)


def _by_dataset(names: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    return [
        (dataset_id, names.filter(dataset_id=dataset_id))
        for dataset_id in names["dataset_id"].unique().sort()
    ]


def _changes(entity: Entity, before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    columns = {
        "dataset_id": "dataset_id",
        f"{entity}_reported": "reported",
        f"{entity}_id": "id",
        "method": "method",
        "confidence": "confidence",
        "reason": "reason",
    }
    old, new = (
        names.select(columns.keys()).rename(columns).with_columns(pl.col("id").cast(pl.String))
        for names in (before, after)
    )
    joined = old.join(new, on=["dataset_id", "reported"], how="inner", validate="1:1", suffix="_after")
    was, now = pl.col("method") != "unresolved", pl.col("method_after") != "unresolved"
    is_same = pl.col("id").eq_missing(pl.col("id_after"))
    differs = (pl.col("method") != pl.col("method_after")) | (
        pl.col("confidence") != pl.col("confidence_after")
    )
    change = (
        pl.when(~was & now)
        .then(pl.lit("gained"))
        .when(was & ~now)
        .then(pl.lit("lost"))
        .when(~is_same)
        .then(pl.lit("moved"))
        .when(differs)
        .then(pl.lit("evidence"))
    )
    renamed = {name: f"{name}_before" for name in ("id", "method", "confidence")}
    return (
        joined.with_columns(entity=pl.lit(entity), change=change)
        .drop_nulls("change")
        .rename(renamed)
        .select(list(DIFF_SCHEMA))
    )
