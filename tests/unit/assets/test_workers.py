"""How units are shared out among processes."""

import pytest

from assets import workers
from assets.workers import WORTH_PROCESSES, default_workers, divide
from etl.warehouse.fit_units import FitUnit

A, B, C, D = (FitUnit("own", f"CVCL_000{number}") for number in range(4))


def test_a_unit_that_outweighs_the_others_is_fitted_alone_and_the_others_largest_first() -> None:
    assert divide({A: 100, B: 9_000, C: 300, D: 200}, 2) == ([B], [C, D, A])


def test_units_of_one_size_go_side_by_side() -> None:
    assert divide({A: 100, B: 100, C: 100}, 2) == ([], [A, B, C])


def test_the_only_unit_has_all_threads() -> None:
    assert divide({A: 100}, 4) == ([A], [])
    assert divide({}, 4) == ([], [])


@pytest.mark.parametrize(
    ("n_samples", "memory", "cpus", "expected"),
    [
        (WORTH_PROCESSES - 1, 64, 8, 1),
        (WORTH_PROCESSES, 64, 8, 8),
        (WORTH_PROCESSES, 8, 8, 2),
        (WORTH_PROCESSES, 8, 1, 1),
    ],
)
def test_workers_by_default(
    n_samples: int, memory: int, cpus: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "usable_cpus", lambda: cpus)
    monkeypatch.setattr(workers, "usable_memory", lambda: memory * 10**9)
    assert default_workers(n_samples) == expected


def test_this_machine_has_cpus_and_memory() -> None:
    assert workers.usable_cpus() >= 1
    assert workers.usable_memory() > 10**8
