"""Selection: the best of many options is not taken by chance, and one that gains is found."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def selection() -> ModuleType:
    """Return the benchmark, as a module."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import selection
    finally:
        sys.path.remove(str(BENCHMARKS))
    return selection


@pytest.mark.parametrize(
    ("n", "count"),
    # Between the fewest and many queries nothing else is done.
    [(30, 10), pytest.param(60, 10, marks=pytest.mark.slow), (200, 5)],
)
def test_options_that_gain_nothing_are_seldom_leaned_to(selection: ModuleType, n: int, count: int):
    found = selection.verdicts(n, [0.0] * count, replicates=40, seed=5)
    assert found.leaning <= 0.2  # 10%, with the chance of 40 suites
    assert found.recommended <= 0.125


def test_rare_catastrophes_are_not_recommended_on_few_queries(selection: ModuleType):
    found = selection.verdicts(100, [0.0] * 5, population="rare catastrophes", replicates=25)
    assert found.leaning + found.recommended <= 0.1


def test_one_of_ten_options_that_gains_is_found(selection: ModuleType):
    found = selection.verdicts(400, [0.12, *[0.0] * 9], replicates=15)
    assert found.right_recommended >= 0.8
    assert found.leaning + found.recommended - found.right_leaning - found.right_recommended <= 0.1


@pytest.mark.slow
@pytest.mark.parametrize("gain", [0.0, 0.005])
@pytest.mark.parametrize("n", [30, 60, 200, 1000, 2000])
@pytest.mark.parametrize("count", [1, 5, 10, 25])
def test_false_leans_and_recommendations_stay_at_their_levels(
    selection: ModuleType, n: int, count: int, gain: float
):
    """At most 10% are leaned to and 5% recommended, with three standard errors of the suites.

    That is 16 and 10% of 200 suites, and 22 and 13% of the 60 where each takes ten times longer.
    """
    suites = 200 if n < 1000 else 60
    found = selection.verdicts(n, [gain] * count, replicates=suites, seed=9)
    assert found.leaning <= 0.10 + 3 * (0.1 * 0.9 / suites) ** 0.5
    assert found.recommended <= 0.05 + 3 * (0.05 * 0.95 / suites) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("population", ["rare losses", "rare catastrophes"])
@pytest.mark.parametrize("n", [30, 100, 300])
@pytest.mark.parametrize("count", [1, 5])
def test_rare_losses_stay_at_the_levels_too(
    selection: ModuleType, population: str, n: int, count: int
):
    found = selection.verdicts(n, [0.0] * count, population=population, replicates=200, seed=9)
    assert found.leaning <= 0.10 + 3 * (0.1 * 0.9 / 200) ** 0.5
    assert found.recommended <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5
