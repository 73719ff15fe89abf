"""Power: what a number of queries can show, and how many it takes to show it."""

from __future__ import annotations

import math

from harness.arrays import Values
from harness.statistics.distributions import normal_quantile, t_quantile

ALPHA, POWER = 0.05, 0.80
CONFIDENCE = 0.95  # of every interval, bound and family, unless it says another


def minimum_detectable(se: Values) -> Values:
    """Return the true difference that a two-sided test at 0.05 would find with a power of 0.80.

    (z_{1 - alpha / 2} + z_power) * se, which is 2.80 sd / sqrt(n). A standard error over
    clusters contains their design effect.

    Args:
        se: float64 [n_pairs], standard errors of mean differences.
    """
    detectable: Values = (normal_quantile(1 - ALPHA / 2) + normal_quantile(POWER)) * se
    return detectable


def queries_for_effect(
    sd: float,
    effect: float,
    *,
    alpha: float = ALPHA,
    power: float = POWER,
    design_effect: float = 1.0,
) -> int:
    """Return how many queries find a true difference with a two-sided test and the given power.

    The smallest n >= (t_{1 - alpha / 2} + t_power)^2 (sd / effect)^2, of t with n - 1 degrees.

    Args:
        sd: standard deviation of per-query differences.
        effect: true mean difference, not 0.
        alpha: two-sided level.
        power: chance to find it.
        design_effect: of clusters, as `design_effect` measures it.

    Raises:
        ValueError: the effect is 0, which no number of queries finds.

    >>> queries_for_effect(0.2, 0.01)
    3142
    """
    if effect == 0:
        raise ValueError("no number of queries finds a difference of 0")
    tail, noise = alpha / 2, sd / abs(effect)
    n = max(2, math.ceil(((normal_quantile(1 - tail) + normal_quantile(power)) * noise) ** 2))
    while n < ((t_quantile(1 - tail, n - 1) + t_quantile(power, n - 1)) * noise) ** 2:
        n += 1
    return math.ceil(n * design_effect)
