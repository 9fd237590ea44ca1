"""Mart assets: computed and model-ready."""

from collections.abc import Iterator
from functools import partial

import dagster as dg
import polars as pl
from pydantic import Field

from assets.agreement_plot import forest, heatmap
from assets.definition import effect_spec, per_dataset, shared, shared_spec
from assets.partitions import unit_of
from assets.resources import Warehouse, not_applicable, source_of
from etl.accounting import RowAccount, total
from etl.agreement.baselines import N_CONTEXTS, N_PEERS, SEED
from etl.agreement.compare import status_account
from etl.agreement.matching import match_conditions
from etl.agreement.measure import loader, measure
from etl.agreement.replicates import compare_replicates, replicate_account
from etl.agreement.report import agreement_report
from etl.agreement.screens import agreement_account, compare_screens
from etl.agreement.summary import summarize, summary_account
from etl.dose_response.reconcile import reconcile, reconciliation_account
from etl.effects.fit_unit import fit_context
from etl.errors import PerturbhouseError
from etl.harmonize.screens import harmonize_curves
from etl.sources import SOURCES
from etl.sources.base import ScreenSource, TranscriptomicSource
from etl.validation import check_reported
from etl.warehouse.fit_units import EFFECT_TABLES, fit_units
from etl.warehouse.measurements import measurements_by_compound
from etl.warehouse.replicate_profiles import replicate_profiles
from etl.warehouse.reports import write_report
from etl.warehouse.scan import exists, expression_matrix
from schemas.core.compound import COMPOUND
from schemas.core.compound_name import COMPOUND_NAME
from schemas.core.context import CONTEXT
from schemas.core.context_name import CONTEXT_NAME
from schemas.core.expression import EXPRESSION
from schemas.core.sample import SAMPLE
from schemas.core.viability import VIABILITY
from schemas.mart.agreement import AGREEMENT
from schemas.mart.agreement_baseline import AGREEMENT_BASELINE
from schemas.mart.agreement_summary import AGREEMENT_SUMMARY
from schemas.mart.condition import CONDITION
from schemas.mart.condition_match import CONDITION_MATCH
from schemas.mart.differential_expression import DIFFERENTIAL_EXPRESSION
from schemas.mart.dose_response import DOSE_RESPONSE
from schemas.mart.gene_variance import GENE_VARIANCE
from schemas.mart.null_calibration import NULL_CALIBRATION
from schemas.mart.replicate_agreement import REPLICATE_AGREEMENT
from schemas.mart.replicate_effect import REPLICATE_EFFECT
from schemas.mart.replicate_retrieval import REPLICATE_RETRIEVAL
from schemas.mart.response_reconciliation import RESPONSE_RECONCILIATION
from schemas.mart.retrieval import RETRIEVAL
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


class AgreementConfig(dg.Config):
    """What matched conditions and replicates are compared with."""

    n_peers: int = Field(default=N_PEERS, ge=0, description="Peers looked at one by one, at most; 0: all.")
    n_contexts: int = Field(default=N_CONTEXTS, ge=0, description="Other contexts looked at, at most.")
    seed: int = Field(default=SEED, description="Of the choice of peers.")


@dg.multi_asset(
    name="compare_datasets",
    specs=[
        shared_spec(
            AGREEMENT,
            CONDITION_MATCH,
            DIFFERENTIAL_EXPRESSION,
            description="How far matched conditions say the same, metric by metric.",
        ),
        shared_spec(
            AGREEMENT_BASELINE,
            CONDITION_MATCH,
            DIFFERENTIAL_EXPRESSION,
            description="What they would score if the treatment did not matter: peers, centroids, elsewhere.",
        ),
        shared_spec(
            RETRIEVAL,
            CONDITION_MATCH,
            DIFFERENTIAL_EXPRESSION,
            description="Whether a condition finds its own compound in another dataset.",
        ),
    ],
    pool="mart_agreement",
)
def agreement(
    context: dg.AssetExecutionContext, config: AgreementConfig, warehouse: Warehouse
) -> Iterator[dg.MaterializeResult]:
    """Compare the profiles of matched conditions, and hold the result against baselines."""
    accounts: list[RowAccount] = []
    with warehouse.publishing(context, AGREEMENT, AGREEMENT_BASELINE, RETRIEVAL) as publication:
        conditions = warehouse.read_all(CONDITION)
        for measured in measure(
            warehouse.read_all(CONDITION_MATCH),
            conditions,
            loader(conditions, warehouse.scan_all(DIFFERENTIAL_EXPRESSION)),
            n_peers=config.n_peers,
            n_contexts=config.n_contexts,
            seed=config.seed,
        ):
            publication[AGREEMENT].add(measured.agreement)
            publication[AGREEMENT_BASELINE].add(measured.baseline)
            publication[RETRIEVAL].add(measured.retrieval)
            accounts.append(status_account(measured.agreement))
    yield publication.describe(AGREEMENT, total(accounts) if accounts else None)
    yield publication.describe(AGREEMENT_BASELINE)
    yield publication.describe(RETRIEVAL)


@dg.multi_asset(
    name="compare_replicates",
    specs=[
        shared_spec(
            REPLICATE_AGREEMENT,
            REPLICATE_EFFECT,
            GENE_VARIANCE,
            SAMPLE,
            description="How far single treated samples of one condition say the same.",
        ),
        shared_spec(
            REPLICATE_RETRIEVAL,
            REPLICATE_EFFECT,
            GENE_VARIANCE,
            SAMPLE,
            description="Whether the replicates of a condition find each other among other samples.",
        ),
    ],
    pool="mart_replicate_agreement",
)
def replicates(
    context: dg.AssetExecutionContext, config: AgreementConfig, warehouse: Warehouse
) -> Iterator[dg.MaterializeResult]:
    """Compare the single treated samples of each condition, and hold the result against baselines."""
    accounts: list[RowAccount] = []
    with warehouse.publishing(context, REPLICATE_AGREEMENT, REPLICATE_RETRIEVAL) as publication:
        # Where every fit failed there is no such table.
        has_effects = exists(REPLICATE_EFFECT, root=warehouse.root)
        for unit in fit_units(root=warehouse.root) if has_effects else ():
            samples, read = replicate_profiles(unit.dataset_id, unit.context_id, root=warehouse.root)
            rows = compare_replicates(
                unit.dataset_id, unit.context_id, samples, read, n_peers=config.n_peers, seed=config.seed
            )
            publication[REPLICATE_AGREEMENT].add(rows.agreement)
            publication[REPLICATE_RETRIEVAL].add(rows.retrieval)
            accounts.append(replicate_account(rows.agreement))
    yield publication.describe(REPLICATE_AGREEMENT, total(accounts) if accounts else None)
    yield publication.describe(REPLICATE_RETRIEVAL)


@dg.asset(
    **shared(
        AGREEMENT_SUMMARY,
        CONDITION_MATCH,
        AGREEMENT,
        AGREEMENT_BASELINE,
        RETRIEVAL,
        REPLICATE_AGREEMENT,
        REPLICATE_RETRIEVAL,
    )
)
def agreement_summary(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """How far two datasets, or the replicates of one, say the same on average, with intervals."""
    matches, measured, baseline, *rest = (
        warehouse.read_all(table)
        for table in (
            CONDITION_MATCH,
            AGREEMENT,
            AGREEMENT_BASELINE,
            RETRIEVAL,
            REPLICATE_AGREEMENT,
            REPLICATE_RETRIEVAL,
        )
    )
    rows = summarize(matches, measured, baseline, *rest)
    result = warehouse.publish(context, AGREEMENT_SUMMARY, rows, summary_account(rows))
    page = agreement_report(
        rows,
        measured,
        baseline,
        matches,
        compounds=warehouse.names(COMPOUND, "compound_id"),
        contexts=warehouse.names(CONTEXT, "context_id"),
        made_on=f"run {context.run.run_id}",
    )
    return result._replace(
        metadata={
            **(result.metadata or {}),
            "report": dg.MetadataValue.path(write_report(warehouse.root, "agreement.html", page)),
            "agreement": dg.MetadataValue.md(heatmap(rows)),
            "against_baselines": dg.MetadataValue.md(forest(rows)),
        }
    )


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
