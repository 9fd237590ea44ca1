"""Mart assets: computed and model-ready."""

from collections.abc import Iterator
from functools import partial

import dagster as dg

from assets.definition import per_dataset, shared, spec
from assets.partitions import datasets
from assets.resources import Warehouse, not_applicable, source_of
from etl.accounting import total
from etl.agreement.compare import compare, status_account
from etl.agreement.matching import match_conditions
from etl.effects.fit_unit import fit_units
from etl.harmonize.screens import harmonize_curves
from etl.sources.base import ScreenSource, TranscriptomicSource
from etl.validation import check_reported
from etl.warehouse.scan import expression_matrix
from schemas.core.compound_name import COMPOUND_NAME
from schemas.core.context_name import CONTEXT_NAME
from schemas.core.expression import EXPRESSION
from schemas.core.sample import SAMPLE
from schemas.core.viability import VIABILITY
from schemas.mart.agreement import AGREEMENT
from schemas.mart.condition import CONDITION
from schemas.mart.condition_match import CONDITION_MATCH
from schemas.mart.differential_expression import DIFFERENTIAL_EXPRESSION
from schemas.mart.dose_response import DOSE_RESPONSE
from schemas.mart.gene_variance import GENE_VARIANCE
from schemas.reported import ReportedCurve

NO_SAMPLES = "a drug-response screen: its curves are in mart/dose_response"
NO_CURVES = "transcriptomic: its effects are in mart/differential_expression"
EFFECT_TABLES = (DIFFERENTIAL_EXPRESSION, GENE_VARIANCE, CONDITION)


@dg.multi_asset(
    specs=[
        spec(
            DIFFERENTIAL_EXPRESSION,
            EXPRESSION,
            description="Effect of every estimable condition on every tested gene, adjusted for plates.",
        ),
        spec(GENE_VARIANCE, EXPRESSION, description="The variance model behind the effects, gene by gene."),
        spec(CONDITION, EXPRESSION, description="Every condition, and whether its effect can be estimated."),
    ],
    partitions_def=datasets,
)
def effects(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[dg.MaterializeResult]:
    """Fit every unit of a dataset and publish the three effect tables together."""
    source, dataset_id = source_of(context), context.partition_key
    if not isinstance(source, TranscriptomicSource):
        yield from (not_applicable(table, NO_SAMPLES) for table in EFFECT_TABLES)
        return
    scale = source.spec.value_scale
    assert scale != "viability", "a transcriptomic source declares counts or log2"
    units = fit_units(
        warehouse.read(SAMPLE, dataset_id),
        partial(expression_matrix, dataset_id, value_scale=scale, root=warehouse.root),
        value_scale=scale,
    )
    accounts = []
    with warehouse.publishing(context, *EFFECT_TABLES) as staged:
        for unit in units:
            accounts.append(unit.account)
            staged[CONDITION.name].add(unit.conditions)
            staged[GENE_VARIANCE.name].add(unit.gene_variance)
            for rows in unit.effect_rows():
                staged[DIFFERENTIAL_EXPRESSION.name].add(rows)
    yield warehouse.describe(context, DIFFERENTIAL_EXPRESSION)
    yield warehouse.describe(context, GENE_VARIANCE)
    yield warehouse.describe(context, CONDITION, total(accounts))


@dg.asset(**per_dataset(DOSE_RESPONSE, VIABILITY))
def dose_response(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """Dose-response curves, refitted on one scale, beside the publisher's own metrics."""
    source, dataset_id = source_of(context), context.partition_key
    if not isinstance(source, ScreenSource):
        return not_applicable(DOSE_RESPONSE, NO_CURVES)
    published = source.curves(warehouse.raw_folder(dataset_id))
    rows, account = harmonize_curves(
        check_reported(published, ReportedCurve, dataset_id=dataset_id),
        warehouse.read(VIABILITY, dataset_id),
        dataset_id=dataset_id,
        compound_names=warehouse.read(COMPOUND_NAME, dataset_id),
        context_names=warehouse.read(CONTEXT_NAME, dataset_id),
    )
    return warehouse.publish(context, DOSE_RESPONSE, rows, account)


@dg.asset(**shared(CONDITION_MATCH, CONDITION))
def condition_match(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """Pairs of conditions in two datasets: same compound, context and time, nearest dose within tenfold."""
    pairs, account = match_conditions(warehouse.read_all(CONDITION))
    return warehouse.publish(context, CONDITION_MATCH, pairs, account)


@dg.asset(**shared(AGREEMENT, CONDITION_MATCH, DIFFERENTIAL_EXPRESSION))
def agreement(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """How far matched conditions say the same, metric by metric."""
    effects = warehouse.scan_all(DIFFERENTIAL_EXPRESSION)
    measured = compare(warehouse.read_all(CONDITION_MATCH), effects)
    return warehouse.publish(context, AGREEMENT, measured, status_account(measured))
