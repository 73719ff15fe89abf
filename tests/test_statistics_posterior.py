"""Posterior, several collections and several seeds: against scipy and against formulas."""

import numpy as np
import pytest
import scipy.stats
from threadpoolctl import threadpool_limits

from harness.statistics import paired
from harness.statistics.families import one_sided, real_gains
from harness.statistics.posterior import (
    macro_difference,
    posterior_interval,
    posterior_means,
)
from harness.statistics.seeds import seed_spread


def test_posterior_has_the_mean_and_variance_that_theory_gives():
    values = np.random.default_rng(0).beta(0.5, 0.5, size=(40, 3))
    draws = posterior_means(values, seed=1, draws=40_000)
    assert draws.mean(axis=0) == pytest.approx(values.mean(axis=0), abs=0.002)
    assert draws.var(axis=0) == pytest.approx(values.var(axis=0) / 41, rel=0.03)


def test_posterior_interval_agrees_with_scipy_bootstrap():
    values = np.random.default_rng(1).beta(0.5, 1, 300)
    low, high = posterior_interval(posterior_means(values[:, None], seed=1))
    expected = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert (low[0], high[0]) == pytest.approx(tuple(expected), abs=0.003)


def test_columns_are_drawn_jointly():
    scores = np.random.default_rng(2).random((200, 2))
    both = posterior_means(scores, seed=1)
    difference = posterior_means(scores[:, :1] - scores[:, 1:], seed=1)
    assert both[:, 0] - both[:, 1] == pytest.approx(difference[:, 0], abs=1e-7)


def test_column_without_variance_stays_exactly_at_its_mean():
    draws = posterior_means(np.column_stack([np.zeros(30), np.full(30, 0.01)]), seed=1)
    assert [(draws >= least).mean(axis=0).tolist() for least in (0.0, 0.01, 0.011)] == [
        [1, 1],
        [0, 1],
        [0, 0],
    ]


def test_probability_falls_as_the_asked_gain_grows():
    differences = np.random.default_rng(3).normal(0.02, 0.2, size=(400, 1))
    deltas = np.linspace(-0.05, 0.1, 20)
    probability = (posterior_means(differences, seed=1) >= deltas).mean(axis=0)
    assert (probability[0], probability[-1]) == (1, 0)
    assert (np.diff(probability) <= 0).all()
    found = paired(differences, seed=1, permutations=1)
    expected = scipy.stats.norm.sf(deltas, found.difference[0], found.se[0])
    assert probability == pytest.approx(expected, abs=0.02)


def test_clusters_are_drawn_as_one():
    values = np.random.default_rng(4).random((50, 2))
    clusters = np.repeat(np.arange(50), 3)
    once = posterior_means(values, seed=1)
    copied = posterior_means(np.repeat(values, 3, axis=0), seed=1, clusters=clusters)
    assert copied == pytest.approx(once, abs=1e-7)
    single = posterior_means(values, seed=1, clusters=np.arange(50)[::-1])
    assert single.tobytes() == once.tobytes()


def test_threads_and_size_of_the_blocks_change_no_bit_of_the_posterior(
    monkeypatch: pytest.MonkeyPatch,
):
    values = np.random.default_rng(5).random((2000, 25))
    together = posterior_means(values, seed=5, draws=500)
    with threadpool_limits(limits=1):
        alone = posterior_means(values, seed=5, draws=500)
    monkeypatch.setattr("harness.statistics.posterior._BLOCK_BYTES", 8 * 2000 * 37)
    small = posterior_means(values, seed=5, draws=500)
    assert together.tobytes() == alone.tobytes() == small.tobytes()


def test_other_columns_do_not_change_a_draw():
    values = np.random.default_rng(6).random((300, 8))
    together = posterior_means(values, seed=5, draws=500)
    assert np.array_equal(posterior_means(values[:, [3]], seed=5, draws=500)[:, 0], together[:, 3])


def test_macro_mean_counts_every_collection_the_same():
    rng = np.random.default_rng(8)
    large, small = rng.normal(0.0, 0.2, (3000, 2)), rng.normal(0.3, 0.2, (60, 2))
    macro = macro_difference([large, small], seeds=[1, 2])
    assert macro.difference == pytest.approx((large.mean(axis=0) + small.mean(axis=0)) / 2)
    se = np.sqrt(large.var(axis=0) / 3000 + small.var(axis=0) / 60) / 2
    low, high = posterior_interval(macro.draws)
    assert high - low == pytest.approx(2 * 1.96 * se, rel=0.05)


def test_macro_of_one_collection_is_its_posterior():
    values = np.random.default_rng(9).normal(size=(100, 2))
    macro = macro_difference([values], seeds=[4], clusters=[np.arange(100) // 2])
    draws = posterior_means(values, seed=4, clusters=np.arange(100) // 2)
    assert np.array_equal(macro.draws, draws)


def test_collections_of_the_same_seed_are_refused():
    values = np.zeros((5, 1))
    with pytest.raises(ValueError, match="seeds of their own"):
        macro_difference([values, values], seeds=[1, 1])
    with pytest.raises(ValueError, match="no collection"):
        macro_difference([], seeds=[])


def test_count_of_gains_is_the_partial_conjunction_of_bonferroni():
    """k-hat is the largest u with max over v <= u of (n - v + 1) p_(v) at most alpha."""
    p = np.random.default_rng(10).random((6, 500)) ** 6
    gains = real_gains(p)
    counts = gains.sum(axis=0)
    for column, count in zip(p.T, counts, strict=True):
        partial = np.maximum.accumulate(np.sort(column) * np.arange(6, 0, -1))
        assert count == np.count_nonzero(partial <= 0.05)
    assert set(counts) == set(range(7))


def test_loss_is_no_gain_however_certain():
    p = one_sided(np.array([0.001, 0.001]), np.array([0.1, -0.1]))
    assert p.tolist() == [0.0005, 0.9995]
    assert one_sided(np.array([1.0]), np.array([0.0])).tolist() == [0.5]
    assert real_gains(p[:, None])[:, 0].tolist() == [True, False]


def test_interval_over_seeds_holds_both_variances():
    rng = np.random.default_rng(11)
    differences = rng.normal(0.1, 0.2, (300, 1)) + np.array([-0.05, 0.0, 0.05])
    found = seed_spread(differences)
    queries, seeds = float(differences.mean(axis=1).std(ddof=1)) / np.sqrt(300), 0.05
    assert (found.se_queries, found.sd_seeds) == pytest.approx((queries, seeds))
    se = np.sqrt(queries**2 + seeds**2 / 3)
    share = seeds**2 / 3 / se**2  # of the variance, for the quantile with two degrees of freedom
    half = np.dot([1 - share, share], scipy.stats.t.ppf(0.975, [299, 2])) * se
    mean, low, high = found.interval()
    assert (high - mean, mean - low) == pytest.approx((half, half))


@pytest.mark.parametrize("seeds", [1, 3])
def test_seeds_that_agree_leave_the_interval_over_queries(seeds: int):
    values = np.random.default_rng(12).normal(0.1, 0.2, (100, 1))
    found = seed_spread(np.repeat(values, seeds, axis=1)).interval()
    expected = paired(values, seed=0, permutations=1)
    assert (found.low, found.high) == pytest.approx((expected.low[0], expected.high[0]))


def test_one_query_leaves_the_interval_over_seeds_infinite():
    assert seed_spread(np.array([[0.1, 0.2, 0.3]])).interval()[1:] == (-np.inf, np.inf)


def test_no_difference_over_queries_and_seeds_is_a_point():
    found = seed_spread(np.zeros((10, 3)))
    assert (found.interval(), found.sd_seeds) == ((0, 0, 0), 0)


def test_clustered_queries_widen_the_interval_over_seeds():
    differences = np.repeat(np.random.default_rng(14).normal(size=(30, 3)), 4, axis=0)
    naive = seed_spread(differences)
    clustered = seed_spread(differences, clusters=np.repeat(np.arange(30), 4))
    assert clustered.se_queries > 1.8 * naive.se_queries


def test_a_single_query_leaves_no_draw_undefined() -> None:
    # About 1 in 100,000 weights rounds to 0, which was the only one of its draw.
    draws = posterior_means(np.array([[0.25]]), seed=1, draws=400_000)
    assert (draws == 0.25).all()
