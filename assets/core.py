"""Core assets: what was done and measured, harmonized. One function per table."""

from functools import partial

import dagster as dg

from assets.definition import per_dataset, shared
from assets.partitions import register, unregister_others
from assets.resources import Warehouse, not_applicable, source_of
from etl.accounting import RowAccount, chained, merged, total, with_parts
from etl.expression.context_expression import context_expression_rows, tpm_axis
from etl.expression.profiles import expression_rows, gene_axis, library_sizes
from etl.harmonize.compound_reference import load_compound_reference
from etl.harmonize.compounds import merge_compounds, resolve_compounds
from etl.harmonize.context_reference import load_context_reference
from etl.harmonize.contexts import merge_contexts, resolve_contexts
from etl.harmonize.datasets import describe_dataset
from etl.harmonize.gene_reference import load_gene_reference
from etl.harmonize.genes import merge_genes, resolve_genes
from etl.harmonize.overrides import load_overrides
from etl.harmonize.samples import harmonize_annotations, harmonize_samples
from etl.harmonize.screens import harmonize_measurements
from etl.harmonize.structures import standardize, tautomer_keys
from etl.sources.base import (
    AccountedScreen,
    AnnotatedSource,
    ContextExpressionSource,
    ScreenSource,
    TranscriptomicSource,
)
from etl.sources.single_cell import Pseudobulked
from etl.threads import usable_cpus
from etl.validation import check_reported
from etl.warehouse.fit_units import fit_units, gone, remove
from schemas.core.compound import COMPOUND
from schemas.core.compound_name import COMPOUND_NAME
from schemas.core.context import CONTEXT
from schemas.core.context_expression import CONTEXT_EXPRESSION
from schemas.core.context_name import CONTEXT_NAME
from schemas.core.dataset import DATASET
from schemas.core.expression import EXPRESSION
from schemas.core.gene import GENE
from schemas.core.gene_name import GENE_NAME
from schemas.core.sample import SAMPLE
from schemas.core.sample_annotation import SAMPLE_ANNOTATION
from schemas.core.source_file import SOURCE_FILE
from schemas.core.viability import VIABILITY
from schemas.mart.dose_response import DOSE_RESPONSE
from schemas.reported import (
    ReportedAnnotation,
    ReportedCompound,
    ReportedContext,
    ReportedGene,
    ReportedMeasurement,
    ReportedSample,
)

NO_SAMPLES = "not transcriptomic: it has measurements in core/viability, or core/context_expression"
NO_GENES = "a drug-response screen: its measurements are in core/viability"
NO_ANNOTATIONS = "the source says no more of its samples than core/sample has columns for"
NO_MEASUREMENTS = "no drug-response screen"
NO_CONTEXT_EXPRESSION = "its samples are treated, or no expression was measured"


@dg.asset(**per_dataset(COMPOUND_NAME, SOURCE_FILE, references="compound"), pool="pubchem")
def compound_name(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """Every reported compound with the structure it was resolved to, how, and how sure."""
    dataset_id, raw = context.partition_key, warehouse.raw_folder(context.partition_key)
    reported = check_reported(source_of(context).compounds(raw), ReportedCompound, dataset_id=dataset_id)
    with warehouse.pubchem() as pubchem, warehouse.structure_cache() as cache:
        rows, account = resolve_compounds(
            reported,
            dataset_id=dataset_id,
            reference=load_compound_reference(warehouse.references),
            pubchem=pubchem,
            overrides=load_overrides(warehouse.references).of("compound", dataset_id),
            standardize=partial(standardize, n_workers=usable_cpus(), cache=cache),
        )
    return warehouse.publish(context, COMPOUND_NAME, rows, account)


@dg.asset(**per_dataset(CONTEXT_NAME, SOURCE_FILE, references="context"))
def context_name(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """Every reported cell label with the cell line or cell type it was resolved to, and how."""
    dataset_id, raw = context.partition_key, warehouse.raw_folder(context.partition_key)
    reported = check_reported(source_of(context).contexts(raw), ReportedContext, dataset_id=dataset_id)
    rows, account = resolve_contexts(
        reported,
        dataset_id=dataset_id,
        reference=load_context_reference(warehouse.references),
        overrides=load_overrides(warehouse.references).of("context", dataset_id),
    )
    return warehouse.publish(context, CONTEXT_NAME, rows, account)


@dg.asset(**per_dataset(GENE_NAME, SOURCE_FILE, references="gene"))
def gene_name(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """Every reported gene or probe with the gene it was resolved to, and how."""
    source, dataset_id = source_of(context), context.partition_key
    if not isinstance(source, TranscriptomicSource | ContextExpressionSource):
        return not_applicable(GENE_NAME, NO_GENES)
    genes = source.genes(warehouse.raw_folder(dataset_id))
    reported = check_reported(genes, ReportedGene, dataset_id=dataset_id)
    rows, account = resolve_genes(
        reported,
        dataset_id=dataset_id,
        reference=load_gene_reference(warehouse.references),
        overrides=load_overrides(warehouse.references).of("gene", dataset_id),
    )
    return warehouse.publish(context, GENE_NAME, rows, account)


@dg.asset(**per_dataset(SAMPLE, COMPOUND_NAME, CONTEXT_NAME))
def sample(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """Wells and pseudobulk profiles with canonical compound, context, dose and time.

    Its contexts are the partitions of the effects; one that is gone leaves with its effects.
    """
    source, dataset_id = source_of(context), context.partition_key
    if not isinstance(source, TranscriptomicSource):
        return not_applicable(SAMPLE, NO_SAMPLES)
    raw = warehouse.raw_folder(dataset_id)
    is_counts = source.spec.value_scale == "counts"
    rows, account = harmonize_samples(
        check_reported(source.samples(raw), ReportedSample, dataset_id=dataset_id),
        dataset_id=dataset_id,
        assay=source.spec.assay,
        compound_names=warehouse.read(COMPOUND_NAME, dataset_id),
        context_names=warehouse.read(CONTEXT_NAME, dataset_id),
        libraries=library_sizes(source.expression(raw)) if is_counts else None,
    )
    if isinstance(source, Pseudobulked):
        account = with_parts(account, source.account(raw))
    published = warehouse.publish(context, SAMPLE, rows, account)
    units = fit_units(root=warehouse.root, dataset_ids=[dataset_id])
    register(context.instance, units)
    for unit in gone(root=warehouse.root, dataset_id=dataset_id):
        context.log.info(f"{unit} is gone: its effects are removed")
        remove(unit, root=warehouse.root, run_id=context.run.run_id)
    unregister_others(context.instance, units, dataset_id=dataset_id)
    return published


@dg.asset(**per_dataset(SAMPLE_ANNOTATION, SAMPLE))
def sample_annotation(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """What publishers say of their samples beyond the columns of core/sample."""
    source, dataset_id = source_of(context), context.partition_key
    if not isinstance(source, AnnotatedSource):
        return not_applicable(SAMPLE_ANNOTATION, NO_ANNOTATIONS)
    stated = source.annotations(warehouse.raw_folder(dataset_id))
    rows, account = harmonize_annotations(
        check_reported(stated, ReportedAnnotation, dataset_id=dataset_id),
        warehouse.read(SAMPLE, dataset_id),
        dataset_id=dataset_id,
    )
    return warehouse.publish(context, SAMPLE_ANNOTATION, rows, account)


@dg.asset(**per_dataset(EXPRESSION, SAMPLE, GENE_NAME))
def expression(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """Expression of every sample on the warehouse's gene axis, as measured."""
    source, dataset_id = source_of(context), context.partition_key
    if not isinstance(source, TranscriptomicSource):
        return not_applicable(EXPRESSION, NO_SAMPLES)
    raw, scale = warehouse.raw_folder(dataset_id), source.spec.value_scale
    axis = gene_axis(source.genes(raw).collect(), warehouse.read(GENE_NAME, dataset_id), value_scale=scale)
    with warehouse.publishing(context, EXPRESSION) as publication:
        for rows in expression_rows(
            source.expression(raw),
            axis=axis,
            samples=warehouse.read(SAMPLE, dataset_id),
            dataset_id=dataset_id,
            value_scale=scale,
        ):
            publication[EXPRESSION].add(rows)
    return publication.describe(EXPRESSION, axis.account)


@dg.asset(**per_dataset(CONTEXT_EXPRESSION, CONTEXT_NAME, GENE_NAME))
def context_expression(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """Expression of untreated cell lines on the warehouse's gene axis: features of models of response."""
    source, dataset_id = source_of(context), context.partition_key
    if not isinstance(source, ContextExpressionSource):
        return not_applicable(CONTEXT_EXPRESSION, NO_CONTEXT_EXPRESSION)
    raw = warehouse.raw_folder(dataset_id)
    axis = tpm_axis(source.genes(raw).collect(), warehouse.read(GENE_NAME, dataset_id))
    with warehouse.publishing(context, CONTEXT_EXPRESSION) as publication:
        for rows in context_expression_rows(
            source.context_expression(raw),
            axis=axis,
            context_names=warehouse.read(CONTEXT_NAME, dataset_id),
            dataset_id=dataset_id,
        ):
            publication[CONTEXT_EXPRESSION].add(rows)
    return publication.describe(CONTEXT_EXPRESSION, axis.account)


@dg.asset(**per_dataset(VIABILITY, COMPOUND_NAME, CONTEXT_NAME))
def viability(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """Measurements of drug-response screens as fractions of the vehicle control."""
    source, dataset_id = source_of(context), context.partition_key
    if not isinstance(source, ScreenSource):
        return not_applicable(VIABILITY, NO_MEASUREMENTS)
    names = {
        "compound_names": warehouse.read(COMPOUND_NAME, dataset_id),
        "context_names": warehouse.read(CONTEXT_NAME, dataset_id),
    }
    accounts, raw = [RowAccount(0, 0, unit="measurements")], warehouse.raw_folder(dataset_id)
    with warehouse.publishing(context, VIABILITY) as publication:
        for block in source.measurements(raw):
            measured = check_reported(block, ReportedMeasurement, dataset_id=dataset_id)
            rows, account = harmonize_measurements(measured, dataset_id=dataset_id, **names)
            publication[VIABILITY].add(rows)
            accounts.append(account)
    account = total(accounts)
    if isinstance(source, AccountedScreen):
        account = chained(source.account(raw), account)
    return publication.describe(VIABILITY, account)


@dg.asset(**per_dataset(DATASET, SOURCE_FILE, CONTEXT_NAME, SAMPLE, VIABILITY, DOSE_RESPONSE))
def dataset(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """What each dataset is, under which terms, and how much of it is here."""
    source, dataset_id = source_of(context), context.partition_key
    if isinstance(source, TranscriptomicSource):
        contents = warehouse.read(SAMPLE, dataset_id)
    elif isinstance(source, ContextExpressionSource):
        contents = warehouse.read(CONTEXT_NAME, dataset_id)
    else:
        curves = warehouse.read(DOSE_RESPONSE, dataset_id)
        contents = curves.unique(["context_reported", "compound_reported"])
    row = describe_dataset(source.spec, contents, warehouse.read(SOURCE_FILE, dataset_id))
    return warehouse.publish(context, DATASET, row)


@dg.asset(**shared(COMPOUND, COMPOUND_NAME))
def compound(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """The compounds of all datasets, one row per parent structure."""
    names = warehouse.read_all(COMPOUND_NAME)
    with warehouse.structure_cache() as cache:
        keys = partial(tautomer_keys, n_workers=usable_cpus(), cache=cache)
        rows = merge_compounds(names, tautomer_keys=keys if warehouse.with_tautomer_keys else None)
    return warehouse.publish(context, COMPOUND, rows, merged(names.height, rows.height, unit="names"))


@dg.asset(**shared(CONTEXT, CONTEXT_NAME))
def cell_context(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """The cell lines and primary cell types of all datasets."""
    reference = load_context_reference(warehouse.references)
    names = warehouse.read_all(CONTEXT_NAME)
    rows = merge_contexts(names, reference)
    return warehouse.publish(context, CONTEXT, rows, merged(names.height, rows.height, unit="cell labels"))


@dg.asset(**shared(GENE, GENE_NAME))
def gene(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """The genes of all datasets."""
    reference = load_gene_reference(warehouse.references)
    names = warehouse.read_all(GENE_NAME)
    rows = merge_genes(names, reference)
    return warehouse.publish(
        context, GENE, rows, merged(names["gene_id"].count(), rows.height, unit="resolved genes")
    )
