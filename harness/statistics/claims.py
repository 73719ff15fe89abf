"""Claims: what a mean says whose per-query values are not at hand, by its n alone or with an sd.

Each p is two-sided, twice the smaller tail. An interval holds every target that its p does not
reject, so that the two never disagree.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from harness.statistics.distributions import t_probability
from harness.statistics.power import ALPHA

# The p of (mean, n, target).
PValue = Callable[[float, int, float], float]

_MOST = 10**12  # queries
_HALVINGS = 60
_FUZZ = 1e-9  # of a count that is worked out from a mean


class Span(NamedTuple):
    """Both ends of an interval."""

    low: float
    high: float


def bounded_p(mean: float, n: int, target: float) -> float:
    """Return a p that holds for any distribution of values between 0 and 1 with the target as mean.

    The smaller of Hoeffding's bound (1963, theorem 1: exp(-n kl(mean, target))) and Bentkus's
    (2004: e times the binomial tail), as Bates et al. (2021, "Distribution-free, risk-controlling
    prediction sets") combine them.

    >>> round(bounded_p(1.0, 10, 0.7), 4)  # nothing is more extreme: 2 * 0.7 ** 10
    0.0565
    """
    from scipy.special import bdtr, rel_entr

    if mean < target:
        mean, target = 1 - mean, 1 - target
    if mean == target:
        return 1.0
    divergence = rel_entr(mean, target) + rel_entr(1 - mean, 1 - target)
    binomial = bdtr(math.ceil(n * (1 - mean) - _FUZZ), n, 1 - target)
    return min(1.0, 2 * float(min(math.exp(-n * divergence), math.e * binomial)))


def share_p(mean: float, n: int, target: float) -> float:
    """Return the exact binomial p of a share of n queries, each of which counts 0 or 1.

    Its interval is that of Clopper & Pearson (1934).

    >>> round(share_p(0.8, 10, 0.5), 4)  # 8 or more of 10 coins: 2 * 56 / 1024
    0.1094
    """
    from scipy.special import betainc

    if mean < target:
        mean, target = 1 - mean, 1 - target
    count = mean * n
    return min(1.0, 2 * float(betainc(count, n - count + 1, target))) if count else 1.0


def spread_p(sd: float) -> PValue:
    """Return the p of the t-test for values of a standard deviation.

    >>> round(spread_p(0.2)(0.4, 3, 0.0), 4)  # t = 3.4641 of 2 degrees
    0.0742
    """

    def p(mean: float, n: int, target: float) -> float:
        if n < 2 or mean == target:
            return 1.0
        return 2 * t_probability(-abs(mean - target) * math.sqrt(n) / sd, n - 1)

    return p


def claimed_interval(p: PValue, mean: float, n: int, *, alpha: float = ALPHA) -> Span:
    """Return the targets between 0 and 1 that a mean of n queries does not reject.

    >>> low, high = claimed_interval(share_p, 0.0, 149, alpha=0.1)
    >>> low, round(high, 4)  # no event: about 3 / n
    (0.0, 0.0199)
    """

    def end(rejected: float) -> float:
        kept = mean
        if p(mean, n, rejected) > alpha:
            return rejected
        for _ in range(_HALVINGS):
            middle = (kept + rejected) / 2
            kept, rejected = (middle, rejected) if p(mean, n, middle) > alpha else (kept, middle)
        return kept

    return Span(end(0.0) if mean > 0 else 0.0, end(1.0) if mean < 1 else 1.0)


def smallest_p(n: int, target: float, *, above: bool) -> float:
    """Return the smallest p that any result of n queries between 0 and 1 could have.

    That of n perfect queries (or of n that score 0, below the target), whose chance is at most
    target ** n by whatever distribution has that mean.

    >>> round(smallest_p(10, 0.7, above=True), 4)
    0.0565
    """
    return min(1.0, float(2 * (target if above else 1 - target) ** n))


def queries_to_resolve(p: PValue, mean: float, target: float) -> int | None:
    """Return the fewest queries whose same mean rejects the target; None where none of 10^12 do.

    >>> queries_to_resolve(spread_p(0.2), 0.71, 0.70)
    1540
    """

    def resolves(n: int) -> bool:
        floor = smallest_p(n, target, above=mean > target)
        return max(p(mean, n, target), floor) <= ALPHA

    few, many = 0, 1
    while not resolves(many):
        few, many = many, 2 * many
        if many > _MOST:
            return None
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if resolves(middle) else (middle, many)
    return many
