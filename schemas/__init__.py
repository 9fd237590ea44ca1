"""Every table of the warehouse: ``TABLES`` maps its name to its record."""

from schemas.core.compound import COMPOUND
from schemas.core.compound_name import COMPOUND_NAME
from schemas.core.context import CONTEXT
from schemas.core.context_expression import CONTEXT_EXPRESSION
from schemas.core.context_name import CONTEXT_NAME
from schemas.core.dataset import DATASET
from schemas.core.expression import EXPRESSION
from schemas.core.gene import GENE
from schemas.core.gene_name import GENE_NAME
from schemas.core.reference_file import REFERENCE_FILE
from schemas.core.sample import SAMPLE
from schemas.core.sample_annotation import SAMPLE_ANNOTATION
from schemas.core.source_file import SOURCE_FILE
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
from schemas.table import Table

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        DATASET,
        SOURCE_FILE,
        REFERENCE_FILE,
        COMPOUND,
        COMPOUND_NAME,
        CONTEXT,
        CONTEXT_NAME,
        GENE,
        GENE_NAME,
        SAMPLE,
        SAMPLE_ANNOTATION,
        EXPRESSION,
        CONTEXT_EXPRESSION,
        VIABILITY,
        CONDITION,
        DIFFERENTIAL_EXPRESSION,
        REPLICATE_EFFECT,
        GENE_VARIANCE,
        NULL_CALIBRATION,
        DOSE_RESPONSE,
        RESPONSE_RECONCILIATION,
        SCREEN_AGREEMENT,
        CONDITION_MATCH,
        AGREEMENT,
        AGREEMENT_BASELINE,
        RETRIEVAL,
        REPLICATE_AGREEMENT,
        REPLICATE_RETRIEVAL,
        AGREEMENT_SUMMARY,
    )
}
