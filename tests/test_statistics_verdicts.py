"""Power, non-inferiority and verdicts: the tables of the design, rules at their edges."""

import numpy as np
import pytest
import scipy.stats

from harness.statistics import Interval, paired
from harness.statistics.inferiority import (
    Bounds,
    cap_losses,
    difference_bounds,
    queries_for_non_inferiority,
)
from harness.statistics.power import minimum_detectable, queries_for_effect
from harness.statistics.verdicts import Verdict, more_in_words, more_queries, verdict

# sd: detectable effect in points at these numbers of queries, queries for a margin of 1 point with
# a power of 0.80 and 0.90 (one-sided 0.025, as the design tabulates it).
SIZES = (50, 323, 1000, 3000, 6980)
POWER_TABLE = {
    0.05: (2.0, 0.8, 0.4, 0.3, 0.2, 197, 263),
    0.10: (4.0, 1.6, 0.9, 0.5, 0.3, 785, 1051),
    0.15: (5.9, 2.3, 1.3, 0.8, 0.5, 1767, 2365),
    0.20: (7.9, 3.1, 1.8, 1.0, 0.7, 3140, 4204),
    0.25: (9.9, 3.9, 2.2, 1.3, 0.8, 4906, 6568),
    0.35: (13.9, 5.5, 3.1, 1.8, 1.2, 9615, 12873),
}


@pytest.mark.parametrize("sd", POWER_TABLE)
def test_power_table_of_the_design_is_reproduced(sd: float):
    *effects, usual, sure = POWER_TABLE[sd]
    points = 100 * minimum_detectable(sd / np.sqrt(SIZES))
    assert points.round(1).tolist() == effects
    # A one-sided test of a margin, at half the level, has the same tails.
    assert queries_for_effect(sd, 0.01) == pytest.approx(usual, abs=2)
    assert queries_for_effect(sd, 0.01, power=0.9) == pytest.approx(sure, abs=2)


def test_detectable_effect_and_queries_needed_invert_each_other():
    for n in (50, 323, 6980):
        effect = float(minimum_detectable(np.array([0.2 / np.sqrt(n)]))[0])
        assert 0 <= queries_for_effect(0.2, effect) - n <= 3  # t, not the normal quantiles
        assert queries_for_effect(0.2, -effect) == queries_for_effect(0.2, effect)


@pytest.mark.parametrize("effect", [0.01, 0.02, 0.05, 0.1, 0.17, 0.5])
def test_queries_needed_reach_the_power_of_the_t_test(effect: float):
    """By the noncentral t, as statsmodels' TTestPower: at most one query more than it takes."""

    def power(n: int) -> float:
        critical = scipy.stats.t.ppf(0.975, n - 1)
        return float(scipy.stats.nct.sf(critical, n - 1, effect / 0.2 * np.sqrt(n)))

    needed = queries_for_effect(0.2, effect)
    assert power(needed) >= 0.8 > power(needed - 2)


def test_design_effect_multiplies_the_queries():
    assert queries_for_effect(0.2, 0.01, design_effect=3) == 3 * 3142
    plain = queries_for_non_inferiority(0.2, 0.01)
    assert queries_for_non_inferiority(0.2, 0.01, design_effect=3) == 3 * plain


def test_no_number_of_queries_finds_nothing():
    with pytest.raises(ValueError, match="difference of 0"):
        queries_for_effect(0.2, 0)


def test_bounds_are_t_bounds_with_one_more_query():
    differences = np.random.default_rng(0).uniform(-0.5, 0.5, size=(80, 2))
    found = difference_bounds(differences)
    for column in range(2):
        low = scipy.stats.ttest_1samp(
            np.append(differences[:, column], -1), 0, alternative="greater"
        ).confidence_interval(0.95)
        high = scipy.stats.ttest_1samp(
            np.append(differences[:, column], 1), 0, alternative="less"
        ).confidence_interval(0.95)
        assert found.low[column] == pytest.approx(low.low)
        assert found.high[column] == pytest.approx(high.high)
    assert found.difference == pytest.approx(differences.mean(axis=0))


def test_phantom_of_clusters_is_one_more_cluster():
    values = np.random.default_rng(1).uniform(-0.5, 0.5, size=(40, 1))
    copied, clusters = np.repeat(values, 3, axis=0), np.repeat(np.arange(40), 3)
    assert difference_bounds(copied, clusters=clusters).low == pytest.approx(
        difference_bounds(values).low
    )
    assert difference_bounds(copied).low > difference_bounds(values).low


def test_swapping_the_systems_mirrors_the_bounds():
    differences = np.random.default_rng(2).uniform(-0.5, 0.5, size=(80, 1))
    there, back = difference_bounds(differences), difference_bounds(-differences)
    assert there.low == pytest.approx(-back.high)


def test_difference_outside_of_a_metric_is_refused():
    with pytest.raises(ValueError, match="between -1 and 1"):
        difference_bounds(np.array([[1.1]]))
    difference_bounds(np.array([[1 + 1e-15], [0]]))


def test_identical_rankings_need_as_many_queries_as_the_margin_asks():
    """No loss among 264 queries does not exclude one in 100 that loses everything."""
    needed = queries_for_non_inferiority(0.0, 0.01)
    assert needed == 265
    assert equivalent(difference_bounds(np.zeros((needed, 1))), 0.01)
    assert difference_bounds(np.zeros((needed - 1, 1))).low[0] <= -0.01


def test_equivalence_asks_for_both_sides():
    gain = np.random.default_rng(3).normal(0.05, 0.1, size=(2000, 1)).clip(-1, 1)
    found = difference_bounds(gain)
    assert found.low[0] > -0.01
    assert not equivalent(found, 0.01)
    assert equivalent(found, 0.06)
    assert difference_bounds(-gain).low[0] <= -0.01


@pytest.mark.parametrize(("severe", "n"), [(0, 149), (1, 236), (2, 313), (5, 523)])
def test_cap_is_exact(severe: int, n: int):
    """The bound is the share at which so few losses have a chance of exactly 5%."""
    differences = np.zeros(n)
    differences[:severe] = -0.5
    found = cap_losses(differences)
    assert (found.severe, found.n) == (severe, n)
    assert scipy.stats.binom.cdf(severe, n, found.upper) == pytest.approx(0.05)
    expected = scipy.stats.binomtest(severe, n).proportion_ci(0.90).high
    assert found.upper == pytest.approx(expected)
    assert found.within_cap
    assert not cap_losses(differences[:-1]).within_cap


def test_losses_of_everything_have_no_upper_bound_below_one():
    assert cap_losses(np.full(10, -1.0)).upper == 1


def test_queries_without_a_loss_that_the_cap_takes():
    for cap, n in ((0.01, 299), (0.02, 149), (0.05, 59)):
        assert cap_losses(np.zeros(n), cap=cap).within_cap
        assert not cap_losses(np.zeros(n - 1), cap=cap).within_cap


def test_clustered_queries_count_less_towards_the_cap():
    assert cap_losses(np.zeros(149)).within_cap
    assert not cap_losses(np.zeros(149), design_effect=1.5).within_cap


def equivalent(found: Bounds, margin: float) -> bool:
    return bool(found.low[0] > -margin and found.high[0] < margin)


def interval(low: float, high: float):
    return Interval((low + high) / 2, low, high)


@pytest.mark.parametrize(
    ("low", "high", "bound_low", "bound_high", "expected"),
    [
        (0.02, 0.04, 0.018, 0.045, Verdict.BETTER),
        (0.001, 0.04, -0.002, 0.045, Verdict.BETTER),  # real; whether worthwhile is open
        (0.001, 0.005, -0.002, 0.008, Verdict.EQUIVALENT),  # real, and too small to matter
        (-0.005, -0.001, -0.008, 0.002, Verdict.EQUIVALENT),
        (-0.005, 0.005, -0.008, 0.008, Verdict.EQUIVALENT),
        (-0.04, -0.001, -0.045, 0.002, Verdict.WORSE),
        (-0.04, 0.04, -0.045, 0.045, Verdict.INCONCLUSIVE),
        (0.0, 0.04, -0.002, 0.045, Verdict.INCONCLUSIVE),
        (-0.011, 0.0, -0.0101, 0.002, Verdict.INCONCLUSIVE),
        (-0.005, 0.005, -0.01, 0.008, Verdict.INCONCLUSIVE),  # at the margin is not within it
    ],
)
def test_verdict_follows_the_rules(
    low: float, high: float, bound_low: float, bound_high: float, expected: Verdict
):
    found = verdict(interval(low, high), interval(bound_low, bound_high), margin=0.01, gain=0.01)
    assert found is expected


def test_gain_that_is_worthwhile_is_better_even_within_a_wider_margin():
    narrow, wider = interval(0.011, 0.015), interval(0.009, 0.017)
    assert verdict(narrow, wider, margin=0.02, gain=0.01) is Verdict.BETTER
    assert verdict(narrow, wider, margin=0.02, gain=0.012) is Verdict.EQUIVALENT


def test_verdict_reads_as_its_word():
    assert [f"{each}" for each in Verdict] == ["better", "equivalent", "worse", "inconclusive"]


def test_more_queries_take_the_cheaper_way():
    far = more_queries(0.03, 0.25, 100, margin=0.01)
    assert far == queries_for_effect(0.25, 0.03) - 100 == 448
    near = more_queries(0.0, 0.1, 100, margin=0.01)
    assert near == queries_for_non_inferiority(0.1, 0.01, power=0.9) - 100
    assert more_queries(0.0, 0.0, 100, margin=0.01) == 165


def test_more_queries_are_none_where_so_many_were_asked_already():
    assert more_queries(0.02, 0.1, 5000, margin=0.01) == 0


@pytest.mark.parametrize("gain", [0.001, 0.02, 0.1, 0.37, 1.0])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_a_handful_of_equal_gains_takes_what_excludes_an_unseen_loss(gain: float, n: int):
    """With one query fewer the bound with the phantom does not leave out 0, nor the margin."""
    needed = n + more_queries(gain, 0.0, n, margin=0.01)
    assert needed >= 6
    for queries, shown in ((needed - 1, False), (needed, True)):
        differences = np.full((queries, 1), gain)
        above = paired(differences, seed=1, permutations=1).low[0] > 0
        assert (above or equivalent(difference_bounds(differences), 0.01)) == shown


def test_a_rare_loss_takes_more_queries_than_its_spread_alone():
    alike = more_queries(0.03, 0.1, 40, margin=0.01)
    skewed = more_queries(0.03, 0.1, 40, margin=0.01, skewness=-6.0)
    assert more_queries(0.03, 0.1, 40, margin=0.01, skewness=6.0) == alike
    assert more_queries(-0.03, 0.1, 40, margin=0.01, skewness=6.0) == skewed > 1.5 * alike


def test_further_queries_are_told_in_words():
    assert [more_in_words(each) for each in (1, 2, 1200)] == [
        "1 more query",
        "2 more queries",
        "1,200 more queries",
    ]


def test_a_family_takes_more_queries_than_a_pair():
    pair = more_queries(0.03, 0.25, 100, margin=0.01)
    assert more_queries(0.03, 0.25, 100, margin=0.01, alpha=0.005) > 1.5 * pair


def test_more_queries_are_finite_and_the_same_for_gain_and_loss():
    sd, margin = 0.2, 0.01
    needed = [
        more_queries(difference, sd, 0, margin=margin) for difference in np.linspace(0, 0.03, 61)
    ]
    assert max(needed) < 33.5 * (sd / margin) ** 2
    assert more_queries(-0.004, sd, 0, margin=margin) == more_queries(0.004, sd, 0, margin=margin)
