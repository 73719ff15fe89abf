"""Seeds: what the spread of several trainings adds to intervals, tests and posteriors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.statistics.seeds import seed_draws, seed_spread


def test_a_spread_over_seeds_widens_the_interval_over_queries_to_its_own():
    draw = np.random.default_rng(3)
    spread = seed_spread(draw.normal(0.05, 0.2, (150, 1)) + draw.normal(0, 0.02, (1, 3)))
    mean, low, high = spread.interval()
    half = spread.half_width(0.95)
    assert (mean, low, high) == (mean, mean - half, mean + half)
    assert spread.p < 0.05 if low > 0 or high < 0 else spread.p >= 0.05
    alone = stats.t.ppf(0.975, 149) * spread.se_queries
    assert spread.widen(alone, 0.95) == pytest.approx(half)
    assert spread.widened(mean - alone, mean + alone, 0.95) == pytest.approx((low, high))


def test_one_seed_adds_nothing_and_a_bound_that_knows_nothing_stays_so():
    spread = seed_spread(np.random.default_rng(3).normal(0.1, 0.2, (80, 1)))
    assert spread.se_seeds == 0
    assert spread.widen(0.03, 0.95) == 0.03
    assert np.isinf(spread.widen(np.inf, 0.95))
    values = np.random.default_rng(3).normal(0.1, 0.2, 80)
    assert spread.stretched(values) is values


def test_stretched_differences_have_the_p_of_queries_and_seeds():
    draw = np.random.default_rng(5)
    differences = draw.normal(0.05, 0.2, (200, 1)) + np.array([[-0.02, 0.0, 0.02]])
    spread = seed_spread(differences)
    stretched = spread.stretched(differences.mean(axis=1))
    plain = stats.ttest_1samp(differences.mean(axis=1), 0).pvalue
    assert plain < spread.p
    assert stats.ttest_1samp(stretched, 0).pvalue == pytest.approx(spread.p)
    assert stretched.mean() == pytest.approx(spread.difference)


def test_seed_draws_are_students_t_scaled_by_the_standard_error_over_seeds():
    means = np.array([[0.1, 0.5, 0.2], [0.2, 0.5, 0.4], [0.3, 0.5, 0.6]])
    drawn = seed_draws(means, seed=7, draws=100_000)
    scale = means.std(axis=0, ddof=1) / np.sqrt(3)
    assert (drawn[:, 1] == 0).all()
    for column in (0, 2):
        wanted = stats.t.ppf([0.1, 0.5, 0.9], 2) * scale[column]
        assert np.quantile(drawn[:, column], [0.1, 0.5, 0.9]) == pytest.approx(
            wanted, abs=0.03 * scale[column]
        )
    assert np.allclose(drawn[:, 2], 2 * drawn[:, 0])  # they share their seeds
