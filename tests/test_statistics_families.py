"""Families: max-T against full enumeration, Holm against five lines, degenerate columns."""

from itertools import product

import numpy as np
import pytest
import scipy.stats
from threadpoolctl import threadpool_limits

from harness.statistics import paired
from harness.statistics.families import holm, max_t

FIELDS = ("difference", "low", "high", "p", "p_adjusted", "p_holm")


def holm_by_hand(p: list[float]) -> list[float]:
    adjusted, largest = {}, 0.0
    for rank, test in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1, (len(p) - rank) * p[test]))
        adjusted[test] = largest
    return [adjusted[test] for test in range(len(p))]


def exact_max_t(differences: np.ndarray):
    """Visit all sign patterns: adjusted p, and the 95% quantile of max|t| around the means."""

    signs = np.array(list(product([-1.0, 1.0], repeat=len(differences))))

    def largest(columns: np.ndarray) -> np.ndarray:
        found = scipy.stats.ttest_1samp(columns * signs[:, :, None], 0, axis=1).statistic
        return np.asarray(np.abs(found).max(axis=1))

    observed = np.abs(scipy.stats.ttest_1samp(differences, 0).statistic)
    p = (largest(differences)[:, None] >= observed - 1e-9).mean(axis=0)
    centred = largest(differences - differences.mean(axis=0))
    return p, float(np.quantile(centred, 0.95, method="inverted_cdf"))


@pytest.mark.parametrize("case", range(3))
def test_adjusted_p_and_critical_value_equal_full_enumeration(case: int):
    differences = np.random.default_rng(case).normal([0.1, 0.5, 1.0], 1, size=(10, 3))
    p, critical = exact_max_t(differences)
    family = max_t(differences, seed=case, permutations=100_000)
    assert family.p_adjusted == pytest.approx(p, abs=0.006)
    assert family.critical == pytest.approx(critical, rel=0.02)


def test_p_alone_is_that_of_the_paired_test():
    differences = np.random.default_rng(1).normal(0.1, 1, size=(80, 5))
    for clusters in (None, np.arange(80) // 3):
        family = max_t(differences, seed=3, clusters=clusters)
        tests = paired(differences, seed=3, clusters=clusters)
        assert np.array_equal(family.p, tests.p)
        assert np.array_equal(family.difference, tests.difference)


def test_family_of_one_is_the_t_interval_and_the_p_alone():
    differences = np.random.default_rng(1).normal(0.1, 1, size=(300, 1))
    family, tests = max_t(differences, seed=3), paired(differences, seed=3)
    assert family.p_adjusted == family.p == family.p_holm
    assert family.critical == pytest.approx(1.968, rel=0.03)
    assert family.low[0] <= tests.low[0]


def test_simultaneous_intervals_contain_the_single_ones():
    differences = np.random.default_rng(2).normal(0.1, 1, size=(60, 8))
    family, tests = max_t(differences, seed=3), paired(differences, seed=3)
    assert (family.low < tests.low).all()
    assert (family.high > tests.high).all()
    bonferroni = scipy.stats.t.ppf(1 - 0.025 / 8, 59)
    assert scipy.stats.t.ppf(0.975, 59) < family.critical < bonferroni * 1.03


def test_copies_of_a_pair_cost_nothing():
    """Max-T knows that copies stand and fall together, which Holm does not."""
    one = np.random.default_rng(3).normal(0.2, 1, size=(100, 1))
    alone, many = max_t(one, seed=1), max_t(np.repeat(one, 20, axis=1), seed=1)
    assert many.p_adjusted == pytest.approx(float(alone.p[0]))
    assert many.critical == alone.critical
    assert many.p_holm == pytest.approx(min(1, 20 * alone.p[0]))


def test_correction_only_raises_p_and_keeps_its_order():
    differences = np.random.default_rng(4).normal(np.linspace(0, 0.5, 12), 1, size=(100, 12))
    family = max_t(differences, seed=1)
    assert (family.p <= family.p_adjusted).all()
    assert (family.p <= family.p_holm).all()
    t = np.abs(scipy.stats.ttest_1samp(differences, 0).statistic)
    assert np.all(np.diff(family.p_adjusted[np.argsort(t)]) <= 0)


def test_identical_systems_do_not_affect_the_others():
    differences = np.random.default_rng(5).normal(0.2, 1, size=(50, 3))
    plain = max_t(differences, seed=1)
    family = max_t(np.column_stack([differences, np.zeros((50, 2))]), seed=1)
    for name in ("difference", "low", "high", "p", "p_adjusted"):
        assert np.array_equal(getattr(family, name)[:3], getattr(plain, name))
    assert family.p_adjusted.tolist()[3:] == [1, 1]
    assert (family.low.tolist()[3:], family.high.tolist()[3:]) == ([0, 0], [0, 0])


def test_same_difference_everywhere_does_not_widen_the_others():
    differences = np.random.default_rng(5).normal(0.2, 1, size=(50, 3))
    family = max_t(np.column_stack([differences, np.full(50, 0.1)]), seed=1)
    assert family.critical == max_t(differences, seed=1).critical
    one_more = [*np.full(50, 0.1), -1]
    expected = np.mean(one_more) - family.critical * scipy.stats.sem(one_more)
    assert family.low[3] == pytest.approx(expected)
    assert family.unseen_losses.tolist() == [False, False, False, True]
    assert family.p_adjusted[3] < 0.01


def test_family_of_identical_systems_is_all_ones():
    family = max_t(np.zeros((20, 3)), seed=1)
    assert family.p_adjusted.tolist() == [1, 1, 1]
    assert family.low.tolist() == family.high.tolist() == [0, 0, 0]
    assert np.isfinite(family.critical)


def test_too_few_queries_give_wide_intervals_instead_of_an_error():
    two = max_t(np.array([[0.1, 0.0], [0.3, 0.0]]), seed=1)
    assert (two.low[0], two.high[0]) == (-np.inf, np.inf)
    assert (two.low[1], two.high[1]) == (0, 0)
    one = max_t(np.array([[0.1]]), seed=1)
    assert (one.p_adjusted[0], one.low[0], one.high[0]) == (1, -np.inf, np.inf)


def test_no_pair_and_no_query_are_refused():
    with pytest.raises(ValueError, match="no pair"):
        max_t(np.zeros((5, 0)), seed=1)
    with pytest.raises(ValueError, match="no query"):
        max_t(np.zeros((0, 2)), seed=1)
    with pytest.raises(ValueError, match="NaN"):
        max_t(np.array([[np.nan, 1.0]]), seed=1)


def test_holm_equals_five_lines():
    rng = np.random.default_rng(6)
    for count in (1, 2, 7, 30):
        p = rng.random(count) ** 3
        p[:: max(1, count // 3)] = 0.01  # ties
        assert holm(p).tolist() == pytest.approx(holm_by_hand(p.tolist()))
    p = rng.random((9, 4))
    assert np.array_equal(holm(p), np.column_stack([holm(column) for column in p.T]))


@pytest.mark.parametrize("clusters", [None, np.arange(1500) // 4, np.arange(1500) % 700])
def test_threads_and_size_of_the_blocks_change_no_bit(
    clusters: np.ndarray | None, monkeypatch: pytest.MonkeyPatch
):
    differences = np.random.default_rng(7).normal(0.05, 1, size=(1500, 30))
    together = max_t(differences, seed=5, permutations=2000, clusters=clusters)
    with threadpool_limits(limits=1):
        alone = max_t(differences, seed=5, permutations=2000, clusters=clusters)
    monkeypatch.setattr("harness.statistics.sign_flips._BLOCK_BYTES", 8 * 1500 * 37)
    small = max_t(differences, seed=5, permutations=2000, clusters=clusters)
    for other in (alone, small):
        assert other.critical == together.critical
        for name in FIELDS:
            assert getattr(other, name).tobytes() == getattr(together, name).tobytes()


def test_order_of_the_pairs_changes_nothing():
    differences = np.random.default_rng(8).normal(0.05, 1, size=(200, 7))
    order = np.random.default_rng(9).permutation(7)
    there, back = max_t(differences, seed=5), max_t(differences[:, order], seed=5)
    assert there.critical == back.critical
    for name in FIELDS:
        assert np.array_equal(getattr(there, name)[order], getattr(back, name))
