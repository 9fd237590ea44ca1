"""L1000 levels: by hand, against SciPy, by invariance, and against published values."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import median_abs_deviation, spearmanr

from etl.errors import BadInputError
from etl.expression import l1000_levels
from etl.expression.l1000_levels import (
    level_4,
    level_5,
    moderated_z,
    replicate_correlation,
    robust_z,
    signal_strength,
    signature_strength,
    transcriptional_activity,
)
from etl.formats import gct, gctx


def replicates(seed: int, n_replicates: int, n_genes: int = 60, noise: float = 1.0) -> np.ndarray:
    """Return replicates of one signature."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 2, n_genes) + rng.normal(0, noise, (n_replicates, n_genes))


# --- Level 4 ------------------------------------------------------------------------------------------------


def test_robust_z_by_hand() -> None:
    values = np.array([[1.0, 5.0], [3.0, 5.0], [8.0, 5.05]])
    # Medians 3 and 5; MADs 2 and 0, the latter raised to 0.1.
    expected = [[-2 / 2.9652, 0.0], [0.0, 0.0], [5 / 2.9652, 0.05 / 0.14826]]
    assert_allclose(robust_z(values), expected, rtol=1e-12)


def test_robust_z_is_scipys_where_no_mad_is_at_the_floor() -> None:
    values = np.random.default_rng(1).normal(8, 2, (40, 30))
    scale = median_abs_deviation(values, axis=0)
    assert (scale > 0.1).all()
    expected = (values - np.median(values, axis=0)) / (1.4826 * scale)
    assert_allclose(robust_z(values), expected, rtol=1e-12)


def test_vehicle_control_takes_median_and_mad_from_the_vehicle_wells() -> None:
    values = np.array([[1.0], [3.0], [5.0], [11.0]])
    vehicle = np.array([True, True, True, False])
    expected = np.array([[-2.0], [0.0], [2.0], [8.0]]) / (1.4826 * 2)
    assert_allclose(level_4(values, np.zeros(4, dtype=int), vehicle), expected, rtol=1e-12)


@given(shift=st.floats(-5, 5), factor=st.floats(0.5, 4))
def test_level_4_does_not_see_a_plate_effect(shift: float, factor: float) -> None:
    values = np.random.default_rng(3).normal(8, 1.5, (30, 20))
    plates = np.repeat(["one", "other"], 15)
    moved = values.copy()
    moved[15:] = moved[15:] * factor + shift
    assert_allclose(level_4(moved, plates), level_4(values, plates), rtol=1e-8, atol=1e-8)


def test_level_4_of_shuffled_wells_is_the_shuffled_level_4() -> None:
    rng = np.random.default_rng(4)
    values, plates = rng.normal(8, 1, (50, 8)), rng.choice(["a", "b", "c"], 50)
    order = rng.permutation(50)
    assert_array_equal(level_4(values[order], plates[order]), level_4(values, plates)[order])


def test_a_plate_is_scored_as_if_it_were_alone() -> None:
    rng = np.random.default_rng(5)
    values, plates = rng.normal(8, 1, (30, 8)), np.repeat([1, 2, 3], 10)
    assert_array_equal(level_4(values, plates)[10:20], robust_z(values[10:20]))


def test_a_plate_without_vehicle_has_no_score_and_others_keep_theirs() -> None:
    values = np.random.default_rng(6).normal(8, 1, (6, 3))
    plates = np.array(["a", "a", "a", "b", "b", "b"])
    vehicle = np.array([True, True, False, False, False, False])
    scores = level_4(values, plates, vehicle)
    assert np.isnan(scores[3:]).all()
    assert np.isfinite(scores[:3]).all()
    assert np.isnan(level_4(values, plates, vehicle, min_reference=3)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_is_kept(dtype: type) -> None:
    values = np.random.default_rng(7).normal(8, 1, (20, 30)).astype(dtype)
    scores = level_4(values, np.zeros(20, dtype=int))
    assert scores.dtype == dtype
    assert moderated_z(scores[:3]).values.dtype == dtype
    assert level_5(scores, np.arange(20) % 4).values.dtype == dtype


def test_mismatched_labels_are_refused() -> None:
    values = np.zeros((3, 2))
    with pytest.raises(BadInputError, match="plates has an entry per well: 3, not 2"):
        level_4(values, np.array(["a", "b"]))
    with pytest.raises(BadInputError, match="is_reference has an entry per well: 3, not 1"):
        level_4(values, np.array(["a", "b", "c"]), np.array([True]))
    with pytest.raises(BadInputError, match="groups has an entry per well: 3, not 2"):
        level_5(values, np.array(["a", "b"]))


def test_a_z_score_without_reference_is_refused() -> None:
    with pytest.raises(BadInputError, match="needs at least one reference well"):
        robust_z(np.zeros((2, 3)), np.zeros((0, 3)))


# --- Level 5 ------------------------------------------------------------------------------------------------


def test_modz_by_hand() -> None:
    scores = np.array([[1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, 5.0, 4.0], [5.0, 4.0, 3.0, 2.0, 1.0]])
    # Spearman: 0.9 between the first two; the third is the reverse of the first, -1 and -0.9, counted as 0.
    consensus = moderated_z(scores)
    assert_allclose(consensus.correlations, [[1, 0.9, -1], [0.9, 1, -0.9], [-1, -0.9, 1]], atol=1e-12)
    raw = np.array([0.45, 0.45, 0.01])
    assert_allclose(consensus.weights, raw / raw.sum(), rtol=1e-12)
    assert_allclose(consensus.values, raw @ scores / raw.sum(), rtol=1e-12)


def test_correlations_are_scipys_also_with_ties() -> None:
    scores = replicates(8, 5).round(0)
    expected = spearmanr(scores, axis=1).statistic
    assert_allclose(moderated_z(scores).correlations, expected, atol=1e-12)


def test_two_replicates_have_equal_weights_and_one_is_its_own_signature() -> None:
    scores = replicates(9, 2)
    assert_allclose(moderated_z(scores).weights, [0.5, 0.5])
    alone = moderated_z(scores[:1])
    assert_array_equal(alone.values, scores[0])
    assert_array_equal(alone.weights, [1.0])


def test_equal_replicates_give_themselves() -> None:
    scores = np.repeat(replicates(10, 1), 4, axis=0)
    assert_allclose(moderated_z(scores).values, scores[0], rtol=1e-12)


def test_an_outlier_counts_less_than_in_the_mean() -> None:
    scores = replicates(11, 4, n_genes=500, noise=0.5)
    scores[3] = np.random.default_rng(12).normal(0, 2, 500)
    weights = moderated_z(scores).weights
    assert weights[3] < 0.1
    assert_allclose(weights[:3], weights[:3].mean(), rtol=0.05)


def test_weights_see_only_the_order_of_the_genes() -> None:
    scores = replicates(13, 4) / 4
    stretched = np.sign(scores) * np.abs(scores) ** 1.5
    assert_allclose(moderated_z(stretched).weights, moderated_z(scores).weights, rtol=1e-12)


def test_weights_come_from_the_landmarks_and_apply_to_all_genes() -> None:
    scores = replicates(14, 3, n_genes=80)
    landmarks = np.arange(0, 80, 2)
    consensus = moderated_z(scores, landmarks)
    assert_allclose(consensus.weights, moderated_z(scores[:, landmarks]).weights)
    assert_allclose(consensus.values, consensus.weights @ scores, rtol=1e-12)


def test_scores_are_clipped_before_they_are_combined() -> None:
    scores = replicates(15, 2)
    scores[0, 0], scores[1, 0] = 71.8, 2.0
    assert moderated_z(scores).values[0] == pytest.approx(6.0)


def test_a_replicate_without_variation_keeps_the_least_weight() -> None:
    scores = np.vstack([replicates(16, 2, noise=0.1), np.zeros((1, 60))])
    consensus = moderated_z(scores)
    assert_array_equal(consensus.correlations[2], [0, 0, 1])
    assert 0 < consensus.weights[2] < 0.02


def test_scores_that_are_missing_are_refused() -> None:
    scores = replicates(17, 3)
    scores[1, 7] = np.nan
    with pytest.raises(BadInputError, match="row 1, column 7: a z-score that is not finite"):
        moderated_z(scores)
    with pytest.raises(BadInputError, match="not finite"):
        level_5(scores, np.zeros(3, dtype=int))
    with pytest.raises(BadInputError, match="at least one replicate"):
        moderated_z(scores[:0])
    with pytest.raises(BadInputError, match="at least one well"):
        level_5(scores[:0], np.array([]))


def test_level_5_is_modz_of_every_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(l1000_levels, "BATCH_VALUES", 500)
    rng = np.random.default_rng(18)
    groups = rng.choice([f"group {number}" for number in range(25)], 80)
    scores = rng.normal(0, 2, (80, 60))
    landmarks = np.arange(40)
    signatures = level_5(scores, groups, landmarks)
    assert_array_equal(signatures.groups, np.unique(groups))
    for index, group in enumerate(signatures.groups):
        members = groups == group
        expected = moderated_z(scores[members], landmarks)
        assert signatures.n_replicates[index] == members.sum()
        assert_allclose(signatures.values[index], expected.values, rtol=1e-10)
        assert_allclose(signatures.weights[members], expected.weights, rtol=1e-10)
        assert_allclose(signatures.cc_q75[index], replicate_correlation(expected.correlations), rtol=1e-10)
    changed = signature_strength(signatures.values[:, landmarks], signatures.n_replicates).n_genes
    assert_array_equal(signatures.ss_ngene, changed)
    activity = transcriptional_activity(changed, signatures.cc_q75, n_genes=40)
    assert_array_equal(signatures.tas, activity)


def test_level_5_does_not_depend_on_the_order_of_wells() -> None:
    rng = np.random.default_rng(19)
    groups, scores = rng.integers(0, 12, 50), rng.normal(0, 2, (50, 30)).astype(np.float32)
    order = rng.permutation(50)
    one, other = level_5(scores, groups), level_5(scores[order], groups[order])
    assert_array_equal(one.values, other.values)
    assert_array_equal(one.weights[order], other.weights)
    assert_array_equal(one.tas, other.tas)


def test_a_group_of_one_well_has_no_correlation_and_no_activity() -> None:
    signatures = level_5(replicates(20, 3), np.array(["a", "b", "b"]))
    assert_array_equal(np.isnan(signatures.cc_q75), [True, False])
    assert_array_equal(np.isnan(signatures.tas), [True, False])


# --- quality of signatures ----------------------------------------------------------------------------------


def test_the_upper_quartile_is_that_of_matlab() -> None:
    # prctile([0.1 0.2 0.3 0.4 0.5 0.6], 75) is 0.5 in MATLAB; the default quantile of NumPy is 0.475.
    correlations = np.eye(4)
    correlations[np.triu_indices(4, 1)] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert replicate_correlation(correlations) == pytest.approx(0.5)


def test_a_negative_replicate_correlation_is_reported_as_it_is() -> None:
    assert replicate_correlation(np.array([[1.0, -0.3], [-0.3, 1.0]])) == pytest.approx(-0.3)


def test_strength_counts_both_directions_and_the_cutoff_itself() -> None:
    strength = signature_strength(np.array([[2.0, 1.99, -2.0, -3.0, 0.0]]))
    assert (strength.n_up.tolist(), strength.n_down.tolist(), strength.n_genes.tolist()) == ([1], [2], [3])


def test_strength_is_adjusted_for_the_number_of_replicates() -> None:
    signatures = np.array([[1.0, 1.1, -0.9], [1.0, 1.1, -0.9]])
    assert signature_strength(signatures, np.array([1, 4])).n_genes.tolist() == [0, 2]


def test_signal_strength_by_hand() -> None:
    signatures = np.array([[3.0, -4.0, 1.0, 0.0, 5.0, -2.0]])
    assert signal_strength(signatures, n_extreme=2).tolist() == [(5 + 3) / 2 - (-4 - 2) / 2]
    with pytest.raises(BadInputError, match="needs 200 genes, not 6"):
        signal_strength(signatures)


def test_activity_by_hand() -> None:
    score = transcriptional_activity(np.array([978, 100, 0, 100]), np.array([1.0, 0.25, 0.5, -0.2]))
    expected = [1.0, np.sqrt(100 * 0.25 / 978), np.sqrt(0.001 * 0.5 / 978), np.sqrt(100 * 0.001 / 978)]
    assert_allclose(score, expected, rtol=1e-12)


@given(st.integers(0, 978), st.floats(-1, 1))
def test_activity_is_between_0_and_1_and_rises_with_both(strength: int, correlation: float) -> None:
    def score(ss: int, cc: float) -> float:
        return float(transcriptional_activity(np.array([ss]), np.array([cc]))[0])

    assert 0 <= score(strength, correlation) <= 1
    assert score(min(strength + 1, 978), correlation) >= score(strength, correlation)
    assert score(strength, min(correlation + 0.1, 1)) >= score(strength, correlation)


# --- published values ---------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_level_4_of_the_published_plate(realdata: Path) -> None:
    folder = realdata / "raw" / "l1000_ljp005"
    plate = gct.read(next(folder.glob("*.gct")))
    scores = level_4(plate.values, np.array(plate.column_metadata["det_plate"].to_list()))
    well = plate.column_ids.index("LJP005_A375_24H_X1_B19:A03")
    gene = plate.row_metadata["pr_gene_symbol"].to_list().index("DDR1")
    # GSE70138 Level 4 (ZSPCINF) has -0.3186 for this well and gene; vehicle control would give -0.3076.
    assert scores[well, gene] == pytest.approx(-0.3186, abs=5e-5)
    assert_allclose(np.median(scores, axis=0), 0, atol=1e-6)
    # At or above the floor the MAD of a gene's scores is that of a standard normal distribution.
    spread = 1.4826 * median_abs_deviation(scores, axis=0)
    assert spread.max() == pytest.approx(1, abs=1e-5)
    assert np.isfinite(scores).all()


@pytest.mark.realdata
def test_level_4_by_vehicle_of_the_published_plate(realdata: Path) -> None:
    plate = gct.read(next((realdata / "raw" / "l1000_ljp005").glob("*.gct")))
    vehicle = (plate.column_metadata["pert_type"] == "ctl_vehicle").to_numpy()
    plates = np.zeros(len(vehicle), dtype=int)
    by_vehicle, by_population = level_4(plate.values, plates, vehicle), level_4(plate.values, plates)
    assert_allclose(np.median(by_vehicle[vehicle], axis=0), 0, atol=1e-6)
    agreement = [
        spearmanr(one, other).statistic for one, other in zip(by_vehicle, by_population, strict=True)
    ]
    assert np.median(agreement) > 0.8


@pytest.mark.realdata
def test_strength_is_that_of_the_published_signatures(realdata: Path) -> None:
    file = gctx.read(realdata / "raw" / "l1000_level5" / "modzs_n272x978.gctx")
    facts = file.column_metadata
    strength = signature_strength(file.values)
    for found, name in ((strength.n_up, "up"), (strength.n_down, "dn")):
        assert_array_equal(found, facts[f"ngenes_modulated_{name}_lm"].cast(int).to_numpy())
    published = facts["distil_ss"].cast(float).to_numpy()
    assert_allclose(signal_strength(file.values), published, atol=1e-4)
    # Replicates are clipped before they are combined, so no signature leaves the range.
    assert np.abs(file.values).max() <= 10 + 1e-5


@pytest.mark.realdata
def test_activity_of_the_published_signatures_is_in_range(realdata: Path) -> None:
    file = gctx.read(realdata / "raw" / "l1000_level5" / "modzs_n272x978.gctx")
    n_replicates = file.column_metadata["distil_nsample"].cast(int).to_numpy()
    cc_q75 = file.column_metadata["distil_cc_q75"].cast(float).to_numpy().copy()
    assert_array_equal(cc_q75 == -666, n_replicates == 1)
    cc_q75[cc_q75 == -666] = np.nan
    # Negative ones are published: correlations are not cut at 0 before the quartile is taken.
    assert np.nanmin(cc_q75) < 0
    score = transcriptional_activity(signature_strength(file.values, n_replicates).n_genes, cc_q75)
    assert_array_equal(np.isnan(score), n_replicates == 1)
    gold = (file.column_metadata["is_gold"] == "1").to_numpy()
    assert np.nanmedian(score[gold]) > np.nanmedian(score[~gold])


@pytest.mark.realdata
def test_published_level_4_exceeds_the_range_that_signatures_are_clipped_to(realdata: Path) -> None:
    file = gctx.read(realdata / "raw" / "l1000_kj100" / "CORE_A_level4_ZSPCINF_n40x12328.gctx")
    assert np.abs(file.values).max() > 50
    facts = file.column_metadata
    groups = (facts["pert_id"] + facts["pert_idose"] + facts["pert_itime"]).to_numpy().astype(str)
    signatures = level_5(file.values, groups)
    assert signatures.n_replicates.tolist() == [2] * 20
    assert np.abs(signatures.values).max() <= 10
    assert_allclose(signatures.weights, 0.5)
