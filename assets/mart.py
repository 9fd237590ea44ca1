"""Mart assets: computed and model-ready."""

from collections.abc import Iterator
from functools import partial

import dagster as dg
import polars as pl
from pydantic import Field

from assets.definition import effect_spec, per_dataset, shared
from assets.partitions import unit_of
from assets.resources import Warehouse, not_applicable, source_of
from etl.accounting import RowAccount, total
from etl.agreement.compare import compare, status_account
from etl.agreement.matching import match_conditions
from etl.agreement.screens import agreement_account, compare_screens
from etl.dose_response.reconcile import reconcile, reconciliation_account
from etl.effects.fit_unit import fit_context
from etl.errors import PerturbhouseError
from etl.harmonize.screens import harmonize_curves
from etl.sources import SOURCES
from etl.sources.base import ScreenSource, TranscriptomicSource
from etl.validation import check_reported
from etl.warehouse.fit_units import EFFECT_TABLES
from etl.warehouse.measurements import measurements_by_compound
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
from schemas.mart.null_calibration import NULL_CALIBRATION
from schemas.mart.replicate_effect import REPLICATE_EFFECT
from schemas.mart.response_reconciliation import RESPONSE_RECONCILIATION
from schemas.mart.screen_agreement import SCREEN_AGREEMENT
from schemas.reported import ReportedCurve

NO_CURVES = "transcriptomic: its effects are in mart/differential_expression"


class FitConfig(dg.Config):
    """How a fit unit is computed; what comes out is the same."""

    n_threads: int = Field(default=1, ge=1, description="Threads of the fit; 1 where runs go side by side.")


@dg.multi_asset(
    name="fit_effects",
    specs=[
        effect_spec(
            DIFFERENTIAL_EXPRESSION,
            SAMPLE,
            EXPRESSION,
            description="Effect of every estimable condition on every tested gene, adjusted for plates.",
        ),
        effect_spec(
            REPLICATE_EFFECT,
            SAMPLE,
            EXPRESSION,
            description="Effect of every single treated sample against the vehicle samples of its plate.",
        ),
        effect_spec(
            GENE_VARIANCE,
            SAMPLE,
            EXPRESSION,
            description="The variance models behind the effects, gene by gene.",
        ),
        effect_spec(
            NULL_CALIBRATION,
            SAMPLE,
            EXPRESSION,
            description="Whether p-values are uniform where nothing was done: vehicle against vehicle.",
        ),
        effect_spec(
            CONDITION,
            SAMPLE,
            EXPRESSION,
            description="Every condition, and whether its effect can be estimated.",
        ),
    ],
)
def fit_effects(
    context: dg.AssetExecutionContext, config: FitConfig, warehouse: Warehouse
) -> Iterator[dg.MaterializeResult]:
    """Fit one context of a dataset and publish the five effect tables together."""
    unit = unit_of(context.partition_key)
    source = SOURCES[unit.dataset_id]
    assert isinstance(source, TranscriptomicSource), "only transcriptomic datasets have samples"
    scale = source.spec.value_scale
    assert scale != "viability", "a transcriptomic source declares counts or log2"
    samples = warehouse.read(SAMPLE, unit.dataset_id, unit.context_id)
    if samples.is_empty():
        raise PerturbhouseError(f"{unit}: core/sample holds no sample of it; refresh {unit.dataset_id} first")
    fitted = fit_context(
        samples,
        *expression_matrix(unit.dataset_id, unit.context_id, value_scale=scale, root=warehouse.root),
        value_scale=scale,
        n_threads=config.n_threads,
    )
    accounts: list[RowAccount] = []
    replicate_accounts: list[RowAccount] = []
    calibrations: list[pl.DataFrame] = []
    with warehouse.publishing(context, *EFFECT_TABLES) as publication:
        for group in fitted:
            for rows in group.effect_rows():
                publication[DIFFERENTIAL_EXPRESSION].add(rows)
            for rows in group.replicate_rows():
                publication[REPLICATE_EFFECT].add(rows)
            publication[CONDITION].add(group.condition_rows())
            publication[GENE_VARIANCE].add(group.gene_variance_rows())
            calibrations.append(group.calibration_rows())
            accounts.append(group.account)
            replicate_accounts.append(group.replicate_account)
        publication[NULL_CALIBRATION].add(pl.concat(calibrations))
    yield publication.describe(DIFFERENTIAL_EXPRESSION)
    yield publication.describe(REPLICATE_EFFECT, total(replicate_accounts))
    yield publication.describe(GENE_VARIANCE)
    yield publication.describe(NULL_CALIBRATION)
    yield publication.describe(CONDITION, total(accounts))


@dg.asset(**per_dataset(DOSE_RESPONSE, VIABILITY))
def dose_response(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """Dose-response curves, refitted on one scale, beside the publisher's own metrics."""
    source, dataset_id = source_of(context), context.partition_key
    if not isinstance(source, ScreenSource):
        return not_applicable(DOSE_RESPONSE, NO_CURVES)
    published = source.curves(warehouse.raw_folder(dataset_id))
    curves = check_reported(published, ReportedCurve, dataset_id=dataset_id)
    harmonize = partial(
        harmonize_curves,
        dataset_id=dataset_id,
        compound_names=warehouse.read(COMPOUND_NAME, dataset_id),
        context_names=warehouse.read(CONTEXT_NAME, dataset_id),
    )
    accounts: list[RowAccount] = []
    with warehouse.publishing(context, DOSE_RESPONSE) as publication:
        for viability in measurements_by_compound(dataset_id, root=warehouse.root):
            is_here = pl.col("compound_reported").is_in(viability["compound_reported"].unique().implode())
            rows, account = harmonize(curves.filter(is_here), viability)
            publication[DOSE_RESPONSE].add(rows)
            accounts.append(account)
            curves = curves.filter(~is_here)
        rows, account = harmonize(curves, VIABILITY.empty())
        publication[DOSE_RESPONSE].add(rows)
        accounts.append(account)
    return publication.describe(DOSE_RESPONSE, total(accounts))


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


@dg.asset(**shared(SCREEN_AGREEMENT, DOSE_RESPONSE))
def screen_agreement(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """How far every two screens say the same, per compound and over all."""
    rows = compare_screens(warehouse.scan_all(DOSE_RESPONSE))
    return warehouse.publish(context, SCREEN_AGREEMENT, rows, agreement_account(rows))


@dg.asset(**shared(RESPONSE_RECONCILIATION, DOSE_RESPONSE))
def response_reconciliation(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """How far recomputed metrics of each screen equal the published ones."""
    rows = reconcile(warehouse.scan_all(DOSE_RESPONSE))
    return warehouse.publish(context, RESPONSE_RECONCILIATION, rows, reconciliation_account(rows))
