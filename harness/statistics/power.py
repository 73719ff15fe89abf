"""Power: what a number of queries can show, and how many it takes to show it."""

from __future__ import annotations

import math

from harness.arrays import Values
from harness.statistics.distributions import normal_quantile, t_quantile

ALPHA, POWER = 0.05, 0.80


def minimum_detectable(se: Values, *, alpha: float = ALPHA, power: float = POWER) -> Values:
    """Return the true difference that a two-sided test would find with the given power.

    (z_{1 - alpha / 2} + z_power) * se, which is 2.80 sd / sqrt(n) by default. A standard error over
    clusters contains their design effect.

    Args:
        se: float64 [n_pairs], standard errors of mean differences.
        alpha: two-sided level of the test.
        power: chance to find the difference.
    """
    detectable: Values = (normal_quantile(1 - alpha / 2) + normal_quantile(power)) * se
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
    return _queries(alpha / 2, power, sd / abs(effect), design_effect)


def queries_for_margin(
    sd: float,
    margin: float,
    *,
    difference: float = 0.0,
    alpha: float = ALPHA,
    power: float = POWER,
    design_effect: float = 1.0,
) -> int:
    """Return how many queries show by a one-sided test that less than a margin is lost.

    The bound with the phantom loss takes more: `inferiority.queries_for_non_inferiority`.

    Args:
        sd: standard deviation of per-query differences.
        margin: loss that is accepted, positive.
        difference: true mean difference, above -margin.
        alpha: one-sided level; 0.025 for a two-sided interval of 95 %.
        power: chance to show it.
        design_effect: of clusters, as `design_effect` measures it.

    Raises:
        ValueError: the true difference is at the margin or beyond it.

    >>> queries_for_margin(0.2, 0.01), queries_for_margin(0.2, 0.01, alpha=0.025)
    (2475, 3142)
    """
    distance = margin + difference
    if distance <= 0:
        raise ValueError(f"a true difference of {difference} is not above the margin -{margin}")
    return _queries(alpha, power, sd / distance, design_effect)


def _queries(tail: float, power: float, noise: float, design_effect: float) -> int:
    """Return the smallest n >= (t_{1 - tail} + t_power)^2 noise^2, of t with n - 1 degrees."""
    n = max(2, math.ceil(((normal_quantile(1 - tail) + normal_quantile(power)) * noise) ** 2))
    while n < ((t_quantile(1 - tail, n - 1) + t_quantile(power, n - 1)) * noise) ** 2:
        n += 1
    return math.ceil(n * design_effect)
