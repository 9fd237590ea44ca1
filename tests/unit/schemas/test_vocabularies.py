"""Codes that the statistics give are those the tables declare."""

from etl.agreement import compare
from etl.agreement.similarity import METRICS
from etl.effects.design import ContrastStatus, ControlScope
from schemas.vocabularies import AGREEMENT_METRICS, AGREEMENT_STATUS, CONTROL_SCOPES, ESTIMABILITY


def test_estimability_is_what_a_design_can_say_and_what_a_fit_unit_adds() -> None:
    assert set(ESTIMABILITY) == {status.value for status in ContrastStatus} | {"no_usable_sample"}
    assert set(CONTROL_SCOPES) == {scope.value for scope in ControlScope}


def test_agreement_codes_are_those_of_the_comparison() -> None:
    assert tuple(AGREEMENT_METRICS) == METRICS
    reasons = {
        compare.TOO_FEW_GENES,
        compare.CONSTANT_PROFILE,
        compare.NO_SHARED_SIGNIFICANT_GENE,
        compare.TOO_FEW_SIGNIFICANT_GENES,
    }
    assert set(AGREEMENT_STATUS) == {compare.OK, *reasons}
