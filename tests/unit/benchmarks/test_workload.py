import pytest

from benchmarks.workload import SHAPES, shape_named, units_of


def test_shapes_add_up_to_the_totals_of_the_specification():
    rows = [row for shape in SHAPES for row in (shape.grouped, shape.separate)]
    assert len(rows) == 32
    assert sum(row.jobs for row in rows) == 1_318
    assert sum(row.hours for row in rows) == pytest.approx(3_145, abs=1)
    assert sum(row.contrasts for row in rows) == pytest.approx(1_901_787, rel=2e-4)
    once = [shape for shape in SHAPES if not shape.name.endswith("_50")]
    assert len(once) == 13
    assert sum(shape.grouped.million_cells for shape in once) == pytest.approx(2_500, rel=0.05)
    assert sum(shape.separate.million_cells for shape in once) == pytest.approx(5_100, rel=0.05)


@pytest.mark.parametrize("name", [shape.name for shape in SHAPES])
def test_units_of_a_shape_add_up_to_it(name):
    shape = shape_named(name)
    units = units_of(shape)
    assert len(units) == shape.contexts * shape.vehicle_groups
    for number in ("treated", "conditions", "controls"):
        assert sum(getattr(unit, number) for unit in units) == getattr(shape, number)
    assert sum(unit.plates for unit in units) == shape.plates
    assert all(unit.conditions <= unit.treated for unit in units)
    assert all(unit.controls - unit.plates >= shape.least_residual_df for unit in units)
    assert sum(unit.cells for unit in units) == pytest.approx(shape.cells, rel=0.01)
    # Grouped and separate contrasts without duplicates; 0.04 % of L1000 phase 1 has no control.
    assert (shape.conditions, shape.treated) == pytest.approx(
        (shape.grouped.unique, shape.separate.unique), rel=5e-4
    )


def test_a_fraction_keeps_the_largest_context():
    shape = shape_named("l1000_phase1")
    whole, part = units_of(shape), units_of(shape, 0.25)
    assert part[0] == whole[0]
    share = sum(unit.cells for unit in part) / sum(unit.cells for unit in whole)
    assert 0.2 < share < 0.35
