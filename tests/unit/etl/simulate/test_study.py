import numpy as np
import pytest

from etl.simulate.catalogue import COMPOUNDS, LINES, PROGRAMMES
from etl.simulate.study import Study, hill

BY_NAME = {compound.name: compound for compound in COMPOUNDS}
LINE = {line.name: line for line in LINES}


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(1)


def test_catalogue_names_and_ids_are_unique() -> None:
    assert len({compound.name for compound in COMPOUNDS}) == len(COMPOUNDS)
    assert len({compound.pert_id for compound in COMPOUNDS}) == len(COMPOUNDS)


def test_every_programme_of_a_mechanism_is_defined() -> None:
    named = {name for compound in COMPOUNDS for name in compound.mechanism.programmes}
    assert named <= PROGRAMMES.keys()


def test_every_head_gene_of_a_programme_is_in_the_universe(study: Study) -> None:
    symbols = set(study.genes["symbol"].to_list())
    assert {gene for programme in PROGRAMMES.values() for gene in programme} <= symbols


def test_effects_follow_the_hill_curve_of_the_dose(study: Study) -> None:
    compound, line = BY_NAME["trametinib"], LINE["A375"]
    curve = study.curve(compound, line)
    low = study.log2_fold_change(compound, line, dose_um=0.01, time_h=24)
    high = study.log2_fold_change(compound, line, dose_um=10, time_h=24)
    ratio = hill(0.01, curve.ec50_um, curve.slope) / hill(10, curve.ec50_um, curve.slope)
    np.testing.assert_allclose(low, high * ratio)
    assert high[study.genes["symbol"].to_list().index("DUSP6")] < -1


def test_inert_compound_has_no_effect_at_all(study: Study) -> None:
    compound, line = BY_NAME["amoxicillin"], LINE["A375"]
    assert not study.log2_fold_change(compound, line, dose_um=10, time_h=24).any()
    assert study.curve(compound, line).viability(np.array([0.1, 10.0])).tolist() == [1, 1]


def test_raf_inhibitor_acts_only_where_braf_is_mutant(study: Study) -> None:
    sensitive, resistant = (study.curve(BY_NAME["dabrafenib"], LINE[name]).e_inf for name in ("A375", "PC3"))
    assert sensitive < 0.3
    assert resistant > 0.9


def test_adding_a_purpose_leaves_other_draws_alone(study: Study) -> None:
    first = study.rng("one").normal(size=3)
    study.rng("another").normal(size=10)
    np.testing.assert_array_equal(study.rng("one").normal(size=3), first)


def test_universe_holds_the_landmarks_and_about_two_thousand_others(study: Study) -> None:
    assert len(study.landmarks) == 978
    assert 2_900 <= study.genes.height <= 3_000
