"""Verdicts: what a user may conclude from a comparison, and how many queries an answer takes."""

from __future__ import annotations

import math
from enum import StrEnum

from harness.errors import sufficing
from harness.statistics.inferiority import queries_for_non_inferiority, queries_for_sign
from harness.statistics.pairs import Interval
from harness.statistics.power import ALPHA, POWER


class Verdict(StrEnum):
    """The four answers to "is the candidate better than the reference?"."""

    BETTER = "better"
    EQUIVALENT = "equivalent"
    WORSE = "worse"
    INCONCLUSIVE = "inconclusive"


def verdict(interval: Interval, bounds: Interval, *, margin: float, gain: float) -> Verdict:
    """Return what the intervals of a difference allow to conclude.

    A margin is a difference that the user said not to care about, so equivalence comes before a
    sign: a difference of 0.3 points that is certain, and certain to be below a margin of 1, is no
    reason to act. The rules in order, the first that holds:

    1. better: the interval lies at or above the worthwhile gain, even if that is within the margin.
    2. equivalent: both one-sided bounds lie within the margin (TOST at 5%), whatever the sign. In
       a family they are simultaneous ones, so that 5% holds for any false one of them.
    3. better: the interval lies above 0. The gain is real; whether it is worthwhile is open, which
       `interval.low >= gain` and P(difference >= gain) tell.
    4. worse: the interval lies below 0.
    5. inconclusive.

    >>> tiny = Interval(0.003, 0.001, 0.005)
    >>> str(verdict(tiny, Interval(0.003, -0.004, 0.008), margin=0.01, gain=0.01))
    'equivalent'

    Args:
        interval: 95% of the difference, simultaneous where several candidates are judged.
        bounds: 95% one-sided bounds with phantoms, of `difference_bounds`, simultaneous as well.
        margin: difference that does not matter, positive.
        gain: smallest gain that is worth a change, positive.
    """
    if interval.low >= gain:
        return Verdict.BETTER
    if -margin < bounds.low and bounds.high < margin:
        return Verdict.EQUIVALENT
    if interval.low > 0:
        return Verdict.BETTER
    if interval.high < 0:
        return Verdict.WORSE
    return Verdict.INCONCLUSIVE


def more_queries(
    difference: float,
    sd: float,
    n: int,
    *,
    margin: float,
    alpha: float = ALPHA,
    skewness: float = 0.0,
    design_effect: float = 1.0,
) -> int:
    """Return about how many more queries an inconclusive comparison takes to be conclusive.

    The cheaper of two ways, each with a power of 0.80 if the difference seen is the true one: to
    show its sign, or to show that it is within the margin (each bound with 0.90, so that both hold
    with 0.80). Either counts rare losses not yet seen, so that two queries with the same gain do
    not promise that a third settles it. An estimate: the difference seen is uncertain, which is why
    it was inconclusive. Finite for every difference.

    >>> more_queries(0.1, 0.0, 2, margin=0.01)
    31

    Args:
        difference: mean difference seen.
        sd: standard deviation of the per-query differences.
        n: queries asked so far.
        margin: difference that does not matter, positive.
        alpha: level of the interval and of each bound, smaller in a family.
        skewness: of the per-query differences.
        design_effect: of clusters, as `design_effect` measures it.

    Returns:
        0 where so many were asked already: something other than queries keeps it open, such as the
        spread of training seeds.
    """
    distance = abs(difference)
    ways = []
    if distance > 0:
        against = math.copysign(1, difference) * skewness
        ways.append(
            queries_for_sign(
                sd, distance, alpha=alpha, skewness=against, design_effect=design_effect
            )
        )
    if distance < margin:
        ways.append(
            queries_for_non_inferiority(
                sd,
                margin,
                difference=-distance,
                alpha=alpha,
                power=(1 + POWER) / 2,
                design_effect=design_effect,
            )
        )
    return max(0, min(ways) - n)


def signed(value: float) -> str:
    """Return a difference with its sign and three decimals; what rounds to zero has no sign.

    >>> signed(0.0411), signed(-0.0221), signed(-0.0001)
    ('+0.041', '\u22120.022', '0.000')
    """
    text = f"{value:+.3f}"
    return "0.000" if float(text) == 0 else text.replace("-", "\u2212")


def more_in_words(count: int) -> str:
    """Return an estimated number of further queries with its noun.

    >>> more_in_words(1), more_in_words(1213)
    ('1 more query', '1,300 more queries')
    """
    return f"{sufficing(count)} more {'query' if count == 1 else 'queries'}"
