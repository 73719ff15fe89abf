"""Risk: what the mean hides, the queries that become worse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.arrays import Clusters, Counts, Values
from harness.statistics.sums import SAME, finite
from harness.statistics.units import estimate, units

SEVERE = 0.5  # a query that loses as much has lost its answer
LARGEST_RISK = 100.0


@dataclass(frozen=True)
class TailRisk:
    """Risk of several pairs over the same queries; all arrays are [n_pairs].

    Attributes:
        u_risk: mean of the differences with losses counted 1 + alpha times (URisk, Wang, Bennett &
            Collins-Thompson 2012); negative where losses outweigh gains.
        t_risk: u_risk / its standard error (TRisk, Dincer, Macdonald & Ounis 2014): below -2 the
            risk, above 2 the reward is significant. Cut at -+`LARGEST_RISK`; 0 where u_risk is 0.
        severe: share of queries that lose `SEVERE` or more.
        worst_decile: mean difference of the tenth of the queries that lose most, rounded up.
    """

    u_risk: Values
    t_risk: Values
    severe: Values
    worst_decile: Values


def tail_risk(
    differences: Values, *, alpha: float = 1.0, clusters: Clusters | None = None
) -> TailRisk:
    """Return the risk of switching from the reference to the candidate, for every pair.

    One gain of 0.4 and one loss of 0.3 that counts double:

    >>> risk = tail_risk(np.array([[0.4], [-0.3]]))
    >>> round(float(risk.u_risk[0]), 3), float(risk.worst_decile[0])
    (-0.1, -0.3)

    Args:
        differences: float64 [n_queries, n_pairs], candidate minus reference, finite.
        alpha: additional weight of a loss.
        clusters: int [n_queries], queries that belong together, for the standard error.

    Raises:
        ValueError: no query, or a difference that is NaN or infinite.
    """
    differences = finite(differences)
    weighted = np.where(differences < 0, (1 + alpha) * differences, differences)
    u_risk, se, _ = estimate(units(weighted, clusters))
    unlimited = np.divide(u_risk, se, out=np.copysign(np.inf, u_risk), where=se > 0)
    worst = -(-len(differences) // 10)
    decile = np.sort(np.partition(differences, worst - 1, axis=0)[:worst], axis=0)
    return TailRisk(
        u_risk=u_risk,
        t_risk=np.where(u_risk == 0, 0.0, np.clip(unlimited, -LARGEST_RISK, LARGEST_RISK)),
        severe=severe_losses(differences) / len(differences),
        worst_decile=decile.mean(axis=0),
    )


def severe_losses(differences: Values) -> Counts:
    """Count the queries that lose `SEVERE` or more, in each column."""
    return np.asarray(np.count_nonzero(differences <= -SEVERE + SAME, axis=0))
