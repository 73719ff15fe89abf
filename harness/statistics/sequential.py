"""Sequential: evidence about a mean difference that may be looked at after every query.

A fixed-sample interval keeps its error rate for one look. A test martingale keeps it for any number
of looks: under the hypothesis it is a fair or losing bet, which ever exceeds 1 / alpha with a
probability of at most alpha (Ville's inequality). The bets are those of Waudby-Smith & Ramdas 2024,
"Estimating means of bounded random variables by betting", for differences in [-1, 1].
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from harness.arrays import Values

_MOST_BET = 0.9  # of what could be lost at once
_PRIOR = 0.25  # variance before any query is seen
_STEPS = 400  # means that a bound is looked for among


class Evidence(NamedTuple):
    """What the queries so far say against two hypotheses; each is an e-value, the largest so far.

    Attributes:
        of_no_loss: against a loss of the margin or more.
        of_loss: against a loss of half the margin or less.
    """

    of_no_loss: float
    of_loss: float


def evidence(differences: Values, margin: float) -> Evidence:
    """Return the evidence of some differences, in the order in which they were seen.

    >>> found = evidence(np.full(300, 0.01), margin=0.02)
    >>> found.of_no_loss > 20, found.of_loss > 1
    (True, False)

    Args:
        differences: float64 [n], in [-1, 1].
        margin: loss that is accepted, from 0 to 1.
    """
    against_loss = _wealth(differences, np.array([-margin]))
    against_none = _wealth(-differences, np.array([margin / 2]))
    return Evidence(*(math.exp(each.max(initial=0.0)) for each in (against_loss, against_none)))


def lower_bound(differences: Values, *, alpha: float) -> float:
    """Return what the true mean is not below, with an error of at most alpha over all looks.

    >>> 0.0 < lower_bound(np.full(300, 0.05), alpha=0.05) < 0.05
    True
    """
    means = np.linspace(-1, 1, _STEPS + 1)[1:]
    excluded = _wealth(differences, means).max(axis=0, initial=0.0) >= math.log(1 / alpha)
    kept = np.flatnonzero(~excluded)
    return float(means[kept[0]]) if len(kept) else 1.0


def _wealth(differences: Values, means: Values) -> Values:
    """Return the log of the wealth after each query of who bets that the mean is above each mean.

    Args:
        differences: [n].
        means: [m], of the hypothesis that the true mean is at most this.

    Returns:
        [n, m].
    """
    gains = differences[:, None] - means
    seen = np.arange(1, len(gains) + 1)[:, None]
    mean = np.cumsum(gains, axis=0) / (seen + 1)
    spread = np.maximum((np.cumsum(gains**2, axis=0) + _PRIOR) / (seen + 1) - mean**2, 1e-9)
    stakes = np.zeros_like(gains)  # each is chosen before its query is seen
    stakes[1:] = (mean / (spread + mean**2))[:-1]
    most = _MOST_BET / (1 + means)
    found: Values = np.cumsum(np.log1p(np.clip(stakes, 0, most) * gains), axis=0)
    return found
