"""Intervals, paired tests, clusters and risk: cases with a known answer and degenerate ones."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from harness.statistics import LARGEST_EFFECT, mean_interval, paired
from harness.statistics.pairs import tail_risk
from harness.statistics.sign_flips import coin_tosses, sign_flips
from harness.statistics.units import design_effect, units

FIELDS = ("difference", "low", "high", "p", "sd", "se", "effect_size", "mde")


def column(*values: float):
    return np.array(values, dtype=float)[:, None]


def test_interval_of_one_value_is_infinite():
    assert mean_interval(np.array([0.5])) == (0.5, -np.inf, np.inf)


def test_interval_without_variance_is_the_mean_itself():
    assert mean_interval(np.full(10, 0.1)) == pytest.approx((0.1, 0.1, 0.1), abs=1e-15)


def test_interval_widens_with_confidence():
    values = np.array([0.1, 0.5, 0.6, 0.9])
    narrow, wide = mean_interval(values, confidence=0.8), mean_interval(values, confidence=0.99)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


@pytest.mark.parametrize("values", [[], [0.1, np.nan], [np.inf]])
def test_no_value_and_values_that_are_no_number_are_refused(values: list[float]):
    with pytest.raises(ValueError, match=r"no query|NaN or infinite"):
        mean_interval(np.array(values))
    with pytest.raises(ValueError, match=r"no query|NaN or infinite"):
        paired(np.array(values).reshape(-1, 1), seed=0)


def test_identical_systems_have_p_one_and_no_effect():
    tests = paired(np.zeros((50, 1)), seed=0)
    assert (tests.p[0], tests.difference[0], tests.effect_size[0]) == (1, 0, 0)
    assert (tests.low[0], tests.high[0], tests.mde[0]) == (0, 0, 0)
    assert (tests.wins[0], tests.ties[0], tests.losses[0]) == (0, 50, 0)


def test_float_noise_does_not_decide_a_tie():
    """0.1 + 0.2 - 0.3 is not 0 in floats, yet every sign flip ties with the observed mean."""
    tests = paired(column(0.1, 0.2, -0.3), seed=0)
    assert tests.p[0] == 1


def test_same_difference_everywhere_has_no_spread_and_the_largest_effect():
    tests = paired(column(*(x + 0.1 - x for x in (0.1, 0.2, 0.3, 0.7))), seed=0)
    assert (tests.sd[0], tests.effect_size[0]) == (0, LARGEST_EFFECT)
    assert paired(column(-0.1, -0.1), seed=0).effect_size[0] == -LARGEST_EFFECT


def test_one_query_says_nothing_about_the_difference():
    tests = paired(column(0.3), seed=0)
    assert (tests.p[0], tests.low[0], tests.high[0], tests.mde[0]) == (1, -np.inf, np.inf, np.inf)


def test_wins_ties_and_losses_use_the_threshold():
    tests = paired(column(0.001, 0.0009, 0.0, -0.0009, -0.001, 0.5), seed=0)
    assert (tests.wins[0], tests.ties[0], tests.losses[0]) == (2, 3, 1)


def test_p_is_never_zero():
    assert paired(np.full((40, 1), 0.1), seed=0, permutations=99).p[0] == 1 / 100


def test_p_is_the_share_of_sign_patterns_that_reach_as_far():
    """Of the 2^4 patterns only ++++ and ---- reach the observed sum."""
    p = paired(column(0.1, 0.2, 0.3, 0.4), seed=3, permutations=100_000).p[0]
    assert p == pytest.approx(2 / 16, abs=0.005)


def test_minimum_detectable_effect_is_2_80_standard_errors():
    tests = paired(np.random.default_rng(0).normal(size=(300, 1)), seed=0)
    assert tests.mde[0] == pytest.approx(2.8016 * tests.sd[0] / np.sqrt(300), rel=1e-4)


def test_result_of_a_pair_does_not_depend_on_the_other_pairs():
    differences = np.random.default_rng(1).normal(0.05, 1, size=(211, 6))
    together = paired(differences, seed=7)
    for pair in range(6):
        alone = paired(differences[:, [pair]], seed=7)
        for name in FIELDS:
            assert getattr(alone, name)[0] == getattr(together, name)[pair]


def test_seed_decides_the_signs():
    differences = np.random.default_rng(1).normal(0.05, 1, size=(100, 1))
    assert paired(differences, seed=1).p == paired(differences, seed=1).p
    assert paired(differences, seed=1).p != paired(differences, seed=2).p
    assert paired(differences, seed=2**128 - 1).p != paired(differences, seed=2).p


def test_number_of_threads_changes_nothing():
    differences = np.random.default_rng(1).normal(0.05, 1, size=(3000, 40))
    with threadpool_limits(limits=1):
        alone = paired(differences, seed=5, permutations=2000)
    together = paired(differences, seed=5, permutations=2000)
    for name in FIELDS:
        assert getattr(alone, name).tobytes() == getattr(together, name).tobytes()


def test_size_of_the_blocks_changes_no_toss(monkeypatch: pytest.MonkeyPatch):
    large = np.concatenate(list(coin_tosses(100, seed=9, rows=50)))
    monkeypatch.setattr("harness.statistics.sign_flips._BLOCK_BYTES", 8 * 100 * 7)
    small = list(coin_tosses(100, seed=9, rows=50))
    assert len(small) == 8
    assert np.array_equal(np.concatenate(small), large)


def test_tosses_are_as_many_as_asked_and_fair():
    signs = np.concatenate(list(coin_tosses(65, seed=1, rows=20_000))) * 2.0 - 1
    assert signs.shape == (20_000, 65)
    assert set(np.unique(signs)) == {-1, 1}
    assert np.abs(signs.mean(axis=0)).max() < 0.035  # 5 standard errors
    assert np.abs(np.triu(signs.T @ signs / 20_000, 1)).max() < 0.035


def test_tosses_are_the_same_on_every_machine():
    """A stored p can be computed again: these are the first bits of Philox with key 13."""
    assert next(coin_tosses(12, seed=13, rows=2)).tolist() == [
        [1, 1, 0, 0, 0, 1, 0, 0, 1, 1, 1, 1],
        [1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 1],
    ]


@pytest.mark.parametrize("clusters", [None, np.array([0, 0, 1, 2, 2, 2, 3, 4, 5, 5, 6, 7])])
def test_share_of_a_flip_is_that_of_the_flipped_differences(clusters: np.ndarray | None):
    """R = t^2 / (t^2 + G - 1), of t computed anew from differences with their signs flipped."""
    differences = np.random.default_rng(0).normal(0.2, 1, size=(12, 3))
    sample = units(differences, clusters)
    flips = sign_flips(sample)
    flipped = next(flips.flips(seed=4, permutations=10))
    count = len(sample.sizes)
    signs = next(coin_tosses(count, seed=4, rows=10)) * 2.0 - 1
    member = np.arange(12) if clusters is None else clusters
    for row, sign in enumerate(signs):
        for around, shares in ((0, flips.shares), (1, flips.centred_shares)):
            flat = (differences - around * differences.mean(axis=0)) * sign[member][:, None]
            tests = paired(flat, seed=0, permutations=1, clusters=clusters)
            t = tests.difference / tests.se
            assert shares(flipped)[row] == pytest.approx(t**2 / (t**2 + count - 1), rel=1e-9)
            assert flips.t(shares(flipped)[row]) == pytest.approx(np.abs(t), rel=1e-9)


CLUSTERS = np.array([7, 7, 7, 3, 3, 9, 9, 9, 9, 1, 2, 2])


def test_clusters_of_one_query_change_nothing():
    """Whatever their numbers: units stay in the order of their first query."""
    differences = np.random.default_rng(1).normal(0.05, 1, size=(211, 6))
    single = np.random.default_rng(2).permutation(211)
    with_clusters = paired(differences, seed=7, clusters=single)
    without = paired(differences, seed=7)
    for name in FIELDS:
        assert getattr(with_clusters, name).tobytes() == getattr(without, name).tobytes()


def test_standard_error_of_clusters_is_that_of_their_sums():
    differences = np.random.default_rng(3).normal(size=(12, 2))
    residuals = differences - differences.mean(axis=0)
    sums = np.array([residuals[c == CLUSTERS].sum(axis=0) for c in (7, 3, 9, 1, 2)])
    expected = np.sqrt(5 / 4 * (sums**2).sum(axis=0)) / 12
    assert paired(differences, seed=0, clusters=CLUSTERS).se == pytest.approx(expected)


def test_copies_of_every_query_change_no_conclusion_once_they_are_clustered():
    differences = np.random.default_rng(4).normal(0.1, 1, size=(40, 3))
    copied, clusters = np.repeat(differences, 5, axis=0), np.repeat(np.arange(40), 5)
    once, five = paired(differences, seed=1), paired(copied, seed=1, clusters=clusters)
    for name in ("difference", "low", "high", "p", "se", "mde"):
        assert getattr(five, name) == pytest.approx(getattr(once, name), abs=1e-12)
    assert design_effect(copied, clusters) == pytest.approx(5, rel=0.03)
    assert paired(copied, seed=1).se == pytest.approx(once.se / np.sqrt(5), rel=0.03)


def test_clusters_count_less_where_one_holds_most_queries():
    values = np.random.default_rng(5).random(60)
    alike = mean_interval(values, clusters=np.repeat(np.arange(12), 5))
    lopsided = mean_interval(values, clusters=np.minimum(np.arange(60), 11))
    assert alike.high - alike.low < lopsided.high - lopsided.low < np.inf


def test_single_cluster_says_nothing_about_the_difference():
    tests = paired(column(0.1, 0.2), seed=0, clusters=np.array([4, 4]))
    assert (tests.p[0], tests.low[0], tests.high[0], tests.mde[0]) == (1, -np.inf, np.inf, np.inf)


def test_gains_and_losses_that_cancel_within_clusters_are_no_difference():
    tests = paired(column(0.1, 0.2, -0.3, 0.5, -0.5), seed=0, clusters=np.array([0, 0, 0, 1, 1]))
    assert (tests.p[0], tests.se[0]) == (1, 0)


def test_clusters_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"3 queries, but clusters of shape \(2,\)"):
        paired(column(1, 2, 3), seed=0, clusters=np.array([0, 1]))


def test_risk_of_pure_gain_is_its_mean():
    risk = tail_risk(column(0.1, 0.2, 0.3))
    assert risk.u_risk[0] == pytest.approx(0.2)
    assert risk.t_risk[0] == pytest.approx(0.2 / (0.1 / np.sqrt(3)))
    assert (risk.severe[0], risk.worst_decile[0]) == (0, pytest.approx(0.1))


def test_losses_count_as_often_as_asked():
    differences = column(0.4, -0.1, -0.1)
    weights = {0.0: 0.2 / 3, 1.0: 0.0, 5.0: (0.4 - 1.2) / 3}
    for alpha, expected in weights.items():
        assert tail_risk(differences, alpha=alpha).u_risk[0] == pytest.approx(expected, abs=1e-15)


def test_worst_decile_and_severe_losses_are_those_of_the_worst_queries():
    differences = np.linspace(-1, 0.9, 20)[:, None]
    risk = tail_risk(np.random.default_rng(0).permutation(differences))
    assert risk.worst_decile[0] == pytest.approx((-1 - 0.9) / 2)
    assert risk.severe[0] == 6 / 20  # -1, -0.9, ... -0.5: half a point counts, float noise or not


def test_risk_without_spread_is_cut_and_finite():
    risk = tail_risk(np.stack([np.zeros(5), np.full(5, -0.1)], axis=1))
    assert risk.t_risk.tolist() == [0, -LARGEST_EFFECT]


def test_risk_of_clustered_queries_is_less_certain():
    differences = np.repeat(np.random.default_rng(6).normal(0.2, 1, size=(30, 1)), 4, axis=0)
    clusters = np.repeat(np.arange(30), 4)
    naive, clustered = tail_risk(differences), tail_risk(differences, clusters=clusters)
    assert clustered.u_risk == pytest.approx(naive.u_risk)
    assert abs(clustered.t_risk[0]) < abs(naive.t_risk[0]) / 1.8
