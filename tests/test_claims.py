"""What a mean says by itself: bounds against scipy, and coverage where it is worst."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.statistics.claims import (
    bounded_p,
    claimed_interval,
    queries_to_resolve,
    share_p,
    smallest_p,
    spread_p,
)


@pytest.mark.parametrize(("count", "n"), [(0, 20), (1, 20), (57, 80), (20, 20)])
def test_a_share_has_the_interval_of_clopper_and_pearson(count: int, n: int):
    expected = stats.binomtest(count, n).proportion_ci(0.95, method="exact")
    found = claimed_interval(share_p, count / n, n)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_a_spread_has_the_interval_of_t():
    values = np.random.default_rng(3).beta(2, 1, 40)
    expected = stats.ttest_1samp(values, 0.5)
    p = spread_p(float(values.std(ddof=1)))
    assert p(float(values.mean()), 40, 0.5) == pytest.approx(expected.pvalue, rel=1e-9)
    span = expected.confidence_interval(0.95)
    found = claimed_interval(p, float(values.mean()), 40)
    assert found == pytest.approx((span.low, span.high), abs=1e-9)


@pytest.mark.parametrize("mean", [0.0, 0.1, 0.5, 0.71, 1.0])
@pytest.mark.parametrize("n", [1, 10, 80, 5000])
def test_the_bound_for_any_values_is_wider_than_the_exact_one_for_0_and_1(mean: float, n: int):
    count = round(mean * n)
    widest, exact = (claimed_interval(p, count / n, n) for p in (bounded_p, share_p))
    assert 0 <= widest.low <= exact.low + 1e-9
    assert exact.high - 1e-9 <= widest.high <= 1


@pytest.mark.parametrize("shape", [(0.05, 0.05), (0.2, 0.1), (5.0, 5.0)])
def test_the_bound_rejects_a_true_mean_in_no_more_than_5_percent(shape: tuple[float, float]):
    draws = np.random.default_rng(5).beta(*shape, (2000, 30)).mean(axis=1)
    true = shape[0] / sum(shape)
    assert np.mean([bounded_p(float(mean), 30, true) <= 0.05 for mean in draws]) <= 0.05


def test_no_p_is_below_the_smallest_one():
    for n in (1, 3, 10, 50):
        for target in (0.1, 0.5, 0.7):
            assert bounded_p(1.0, n, target) == pytest.approx(smallest_p(n, target, above=True))
            assert bounded_p(0.0, n, target) == pytest.approx(smallest_p(n, target, above=False))


def test_one_query_less_than_what_resolves_does_not():
    for rule in (share_p, bounded_p, spread_p(0.3)):
        n = queries_to_resolve(rule, 0.75, 0.70)
        assert n is not None
        assert rule(0.75, n, 0.70) <= 0.05 < rule(0.75, n - 1, 0.70)
    assert queries_to_resolve(spread_p(0.3), 0.7, 0.7) is None
