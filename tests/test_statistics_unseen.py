"""Rare large losses that a sample may not show: error rates in five populations, and power."""

import numpy as np
import pytest
import scipy.stats
from populations import POPULATIONS, family, very_skewed

from harness.statistics import paired
from harness.statistics.families import max_t
from harness.statistics.posterior import (
    macro_difference,
    posterior_differences,
    posterior_interval,
    posterior_means,
)
from harness.statistics.units import units
from harness.statistics.unseen import cautious

SLOW = pytest.mark.slow


@pytest.mark.parametrize("name", POPULATIONS)
def test_populations_have_no_true_difference(name: str):
    drawn = POPULATIONS[name](np.random.default_rng(0), (1000, 1000))
    assert abs(drawn.mean()) < 4 * drawn.std() / 1000
    assert np.abs(drawn).max() <= (1 if name != "normal" else np.inf)


@pytest.mark.parametrize(
    ("repeats", "tolerance"), [(1500, 0.013), pytest.param(20_000, 0.004, marks=SLOW)]
)
@pytest.mark.parametrize("n", [30, 50, 100, 300, 1000])
@pytest.mark.parametrize("name", POPULATIONS)
def test_a_pair_errs_in_at_most_7_percent(name: str, n: int, repeats: int, tolerance: float):
    """In "very skewed" Student's t errs in 54% at n = 30, 13% at 100."""
    wrong, missed = [], []
    for start in range(0, repeats, 1500):
        differences = POPULATIONS[name](np.random.default_rng([1, n, start]), (n, 1500))
        tests = paired(differences, seed=start, permutations=399)
        wrong.append(tests.p <= 0.05)
        missed.append((tests.low > 0) | (tests.high < 0))
    assert np.mean(wrong) <= 0.07 + tolerance
    assert np.mean(missed) <= 0.07 + tolerance


@pytest.mark.parametrize(
    ("families", "tolerance"), [(120, 0.045), pytest.param(1500, 0.013, marks=SLOW)]
)
@pytest.mark.parametrize("n", [30, 100, 300])
@pytest.mark.parametrize("name", ["exchangeable", "skewed", "very skewed"])
def test_a_family_makes_any_false_claim_in_at_most_7_percent(
    name: str, n: int, families: int, tolerance: float
):
    wrong, missed = [], []
    for seed in range(families):
        differences = family(name, np.random.default_rng([2, n, seed]), (n, 20))
        tests = max_t(differences, seed=seed, permutations=399)
        wrong.append(bool(tests.p_adjusted.min() <= 0.05))
        missed.append(bool(((tests.low > 0) | (tests.high < 0)).any()))
    assert np.mean(wrong) <= 0.07 + tolerance
    assert np.mean(missed) <= 0.07 + tolerance


@pytest.mark.parametrize("n", [30, 60, 300])
@pytest.mark.parametrize("name", ["exchangeable", "normal"])
def test_symmetric_differences_lose_no_power(name: str, n: int):
    """A gain that Student's t finds in four of five cases."""
    differences = POPULATIONS[name](np.random.default_rng([3, n]), (n, 4000))
    differences += 2.8 * differences.std() / np.sqrt(n)
    plain = scipy.stats.ttest_1samp(differences, 0).pvalue <= 0.05
    tests = paired(differences, seed=1, permutations=1)
    assert np.mean(tests.low > 0) >= np.mean(plain) - (0.015 if n == 30 else 0.005)


@pytest.mark.parametrize("name", ["skewed", "very skewed"])
def test_where_it_widens_p_and_interval_say_the_same(name: str):
    rng = np.random.default_rng(4)
    for n in (30, 100, 300):
        differences = family(name, rng, (n, 200)) + 0.02
        tests = paired(differences, seed=1)
        against = tests.unseen_losses & (tests.difference > 0)
        assert against.sum() > 20
        assert np.array_equal((tests.p <= 0.05)[against], (tests.low > 0)[against])
        together = max_t(differences, seed=1, permutations=999)
        assert np.array_equal((together.p_adjusted <= 0.05)[against], (together.low > 0)[against])


def test_the_end_is_that_of_the_sample_and_one_query_that_loses_everything():
    gains = np.random.default_rng(5).uniform(0, 0.026, 60)
    tests = paired(gains[:, None], seed=1)
    assert tests.unseen_losses[0]
    longer = np.append(gains, -1)
    low = longer.mean() - scipy.stats.t.ppf(0.975, 59) * scipy.stats.sem(longer)
    assert tests.low[0] == pytest.approx(low)
    assert tests.p[0] > 0.05 > scipy.stats.ttest_1samp(gains, 0).pvalue


def test_gains_and_losses_are_mirrored():
    differences = family("skewed", np.random.default_rng(6), (80, 5))
    here, there = paired(differences, seed=1), paired(-differences, seed=1)
    assert here.low == pytest.approx(-there.high)
    assert here.p == pytest.approx(there.p)
    assert np.array_equal(here.unseen_losses, there.unseen_gains)


def test_nothing_is_unseen_where_nothing_differs_or_all_is_symmetric():
    same = cautious(units(np.zeros((50, 1))))
    assert not same.losses.any()
    assert (same.low(2.0)[0], same.high(2.0)[0]) == (0, 0)
    differences = POPULATIONS["normal"](np.random.default_rng(7), (200, 50))
    tests = paired(differences, seed=1, permutations=1)
    found = scipy.stats.ttest_1samp(differences, 0).confidence_interval()
    assert not (tests.unseen_losses | tests.unseen_gains).any()
    assert tests.low == pytest.approx(found.low)
    assert tests.high == pytest.approx(found.high)


def test_clusters_are_given_a_cluster_that_loses_everything():
    gains = np.random.default_rng(8).uniform(0, 0.026, (40, 1))
    once = paired(gains, seed=1)
    copied = paired(np.repeat(gains, 3, axis=0), seed=1, clusters=np.repeat(np.arange(40), 3))
    assert copied.low == pytest.approx(once.low)
    assert copied.p == pytest.approx(once.p)


def test_the_posterior_is_as_careful():
    """60 queries that all gain a little: without the phantom the gain is certain."""
    gains = very_skewed(np.random.default_rng(9), (60, 40))
    unlucky = gains[:, (gains > 0).all(axis=0)]
    plain = posterior_means(unlucky, seed=1)
    assert ((plain >= 0.005).mean(axis=0) > 0.99).all()
    drawn = posterior_differences(unlucky, seed=1)
    assert ((drawn >= 0.005).mean(axis=0) < 0.8).all()
    several = macro_difference([unlucky, unlucky], seeds=[1, 2])
    assert (posterior_interval(several.draws)[0] < 0).all()


def test_the_posterior_of_other_columns_does_not_change():
    rng = np.random.default_rng(10)
    plain = rng.normal(0, 0.3, (60, 2))
    beside = np.column_stack([plain, rng.uniform(0, 0.02, 60)])
    drawn = posterior_differences(beside, seed=1, draws=500)
    assert np.array_equal(drawn[:, :2], posterior_means(plain, seed=1, draws=500))
