"""Reported samples to core/sample: who is kept, with which ids and flags, and what is refused."""

import polars as pl
import pytest

from etl.accounting import RowAccount
from etl.errors import BadInputError
from etl.harmonize.samples import harmonize_annotations, harmonize_samples
from etl.validation import violations
from schemas.core.sample import SAMPLE
from schemas.core.sample_annotation import SampleAnnotation
from schemas.reported import ReportedSample
from schemas.table import polars_schema

CAFFEINE = "RYYVLZVUVIJVGH-UHFFFAOYSA-N"
COMPOUND_NAMES = pl.DataFrame(
    {"dataset_id": ["toy"], "compound_reported": ["caffeine"], "compound_id": [CAFFEINE]}
)
CONTEXT_NAMES = pl.DataFrame(
    {"dataset_id": ["toy"], "context_reported": ["A549"], "context_id": ["CVCL_0023"]}
)


def reported(**changes: object) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(polars_schema(ReportedSample))
    row |= {
        "sample_key": "w1",
        "sample_kind": "compound",
        "context_reported": "A549",
        "compound_reported": "caffeine",
        "dose": "10",
        "dose_unit": "um",
        "time": "24",
        "time_unit": "h",
        "plate": "P1",
        "well": "a3",
        "vehicle_group": "",
        "is_low_quality": False,
    }
    return row | changes


def harmonize(*rows: dict[str, object], libraries: pl.DataFrame | None = None):
    return harmonize_samples(
        pl.DataFrame(list(rows), schema=polars_schema(ReportedSample)),
        dataset_id="toy",
        assay="l1000",
        compound_names=COMPOUND_NAMES,
        context_names=CONTEXT_NAMES,
        libraries=libraries,
    )


def test_treated_and_control_samples_fit_the_table_and_are_accounted_for() -> None:
    samples, account = harmonize(
        reported(),
        reported(sample_key="w2", sample_kind="vehicle", compound_reported=None, dose=None, dose_unit=None),
        reported(sample_key="w3", sample_kind="untreated", compound_reported="Media", dose="0"),
        reported(sample_key="w4", sample_kind="genetic", compound_reported="TRCN1", context_reported="293T"),
        reported(sample_key="w5", sample_kind="empty"),
    )
    assert violations(samples, SAMPLE.model) == []
    assert (account.n_in, account.n_out) == (5, 3)
    assert account.dropped == {"genetic": 1, "empty": 1}
    assert account.noted == {"compound": 1, "vehicle": 1, "untreated": 1}
    treated, vehicle, untreated = samples.rows(named=True)
    assert (treated["compound_id"], treated["dose_um"], treated["well"]) == (CAFFEINE, 10.0, "A03")
    assert treated["condition_id"] is not None
    for control, kind in ((vehicle, "vehicle"), (untreated, "untreated")):
        assert control["is_control"]
        assert control["control_kind"] == kind
        assert control["compound_id"] is control["dose_um"] is control["condition_id"] is None


def test_replicates_share_a_condition_and_float_noise_does_not_split_it() -> None:
    samples, _ = harmonize(
        reported(dose="3.33"),
        reported(sample_key="w2", dose="3.32999992371", plate="P2"),
        reported(sample_key="w3", dose="3330", dose_unit="nM"),
        reported(sample_key="w4", dose="3.34"),
    )
    first, second, third, other = samples["condition_id"]
    assert first == second == third != other


def test_odd_samples_of_the_publisher_are_kept_with_a_flag_and_no_condition() -> None:
    samples, account = harmonize(
        reported(dose=None, dose_unit=None),
        reported(sample_key="w2", dose="0"),
        reported(sample_key="w3", time=None),
        reported(sample_key="w4", is_low_quality=True),
    )
    assert samples["qc_flags"].to_list() == [
        ["dose_missing"],
        ["dose_zero"],
        ["time_missing"],
        ["low_quality_reported"],
    ]
    assert samples["condition_id"].is_null().to_list() == [True, True, True, False]
    assert account.noted["dose_missing"] == 1
    assert violations(samples, SAMPLE.model) == []


def test_a_library_far_below_the_others_is_flagged() -> None:
    sizes = pl.DataFrame(
        {"sample_key": ["w1", "w2", "w3"], "total_counts": [1000, 1200, 50], "n_genes": [10, 12, 3]},
        schema_overrides={"n_genes": pl.Int32},
    )
    rows = [reported(sample_key=key) for key in sizes["sample_key"]]
    samples, _ = harmonize(*rows, libraries=sizes)
    assert samples["qc_flags"].to_list() == [[], [], ["low_library"]]
    assert samples["total_counts"].to_list() == [1000, 1200, 50]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"compound_reported": None}, "column compound_reported: 1 sample.* state none"),
        ({"plate": ""}, "sample w1, column plate"),
        ({"context_reported": None}, "column context_reported"),
        ({"compound_reported": "unlisted"}, "compound 'unlisted' is not in the dataset's own list"),
        ({"context_reported": "unlisted"}, "context 'unlisted' is not in the dataset's own list"),
        ({"dose_unit": "furlong"}, "furlong"),
        ({"dose": "-1"}, "-1"),
        ({"time": "soon"}, "soon"),
    ],
)
def test_input_that_cannot_be_read_is_refused_by_dataset_and_rule(changes: dict, rule: str) -> None:
    with pytest.raises(BadInputError, match=rule) as error:
        harmonize(reported(**changes))
    assert "toy" in str(error.value)


def test_facts_follow_their_samples_and_those_of_others_are_counted() -> None:
    samples = pl.DataFrame({"sample_key": ["w1", "w2"], "sample_id": [11, 22]})
    stated = pl.DataFrame(
        {"sample_key": ["w2", "w1", "w9"], "key": ["edge", "lane", "edge"], "value": ["yes", "4", "no"]}
    )
    rows, account = harmonize_annotations(stated, samples, dataset_id="toy")
    SampleAnnotation.validate(rows)
    assert rows.rows() == [("toy", 11, "lane", "4"), ("toy", 22, "edge", "yes")]
    assert account == RowAccount(3, 2, {"of a sample that is not kept": 1}, unit="facts")


def test_a_fact_stated_twice_is_refused() -> None:
    samples = pl.DataFrame({"sample_key": ["w1"], "sample_id": [11]})
    stated = pl.DataFrame({"sample_key": ["w1", "w1"], "key": ["edge", "edge"], "value": ["yes", "no"]})
    with pytest.raises(BadInputError, match="toy, row sample w1: 'edge' is stated more than once"):
        harmonize_annotations(stated, samples, dataset_id="toy")
