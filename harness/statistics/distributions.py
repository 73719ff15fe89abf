"""Distributions: the quantiles that the tests share; scipy is imported on first use."""

from __future__ import annotations


def t_quantile(probability: float, dof: float) -> float:
    """Return the quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(dof, probability))


def t_probability(value: float, dof: float) -> float:
    """Return the probability that Student's t is at most a value."""
    from scipy.special import stdtr

    return float(stdtr(dof, value))


def normal_quantile(probability: float) -> float:
    """Return the quantile of the standard normal distribution."""
    from scipy.special import ndtri

    return float(ndtri(probability))


def largest_share(count: float, n: float, *, confidence: float) -> float:
    """Return the exact one-sided upper bound of a share, `count` of `n` seen (Clopper & Pearson).

    Both may be fractions: an effective number of queries (Korn & Graubard 1998).

    >>> round(largest_share(0, 149, confidence=0.95), 4)  # no event: about 3 / n
    0.0199
    """
    from scipy.special import betaincinv

    return 1.0 if count >= n else float(betaincinv(count + 1, n - count, confidence))
