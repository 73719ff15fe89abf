"""Effect: what a change does to queries that show a reason, beyond what it does to others.

Queries that are chosen because they failed improve under almost any change (regression to the
mean), so the failed ones that show a reason are compared with failed ones that do not, and the
others with others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from harness.arrays import Flags, Values
from harness.diagnosis.contrast import contrast
from harness.diagnosis.reasons.signs import Proof, Signs
from harness.statistics import Interval
from harness.statistics.distributions import t_quantile

FEWEST = 5  # queries of a control, at least


class Excess(NamedTuple):
    """What a change does to the queries on which it was tried.

    Attributes:
        tried: queries that show the reason.
        failed, recovered: of these, that failed, and that the change recovers.
        control_failed, control_recovered: of the failed queries that could show it and do not.
        p: that the change recovers those that show it no more often than the control, Fisher's
            exact test, one-sided; 1 where there are too few of the control to compare.
        gain: mean gain of the metric over `tried`, beyond that of the control, with its interval.
    """

    tried: int
    failed: int
    recovered: int
    control_failed: int
    control_recovered: int
    p: float
    gain: Interval


def effect(signs: Signs, proof: Proof, *, confidence: float) -> Excess:
    """Compare what a change does to the queries that show a reason with what it does to others.

    Args:
        signs: of the reason.
        proof: of the change.
        confidence: of the interval.
    """
    mine, failed = signs.flagged[proof.rows], signs.failed[proof.rows]
    control = signs.eligible[proof.rows] & ~mine
    among = signs.eligible[proof.rows] & failed
    table = contrast(mine[among], proof.recovered[among], alternative="greater")
    return Excess(
        tried=int(mine.sum()),
        failed=table.chosen,
        recovered=table.chosen_with,
        control_failed=table.others,
        control_recovered=table.others_with,
        p=table.p if table.others >= FEWEST and table.chosen else 1.0,
        gain=_excess(proof.gains, mine, control, failed, confidence=confidence),
    )


def _excess(
    gains: Values, mine: Flags, control: Flags, failed: Flags, *, confidence: float
) -> Interval:
    """Return the mean gain of some queries beyond a control that fails as often as they do.

    Failed queries and others are compared apart and put together by their shares (Welch's interval
    of a stratified difference). Nothing is taken off where a control has fewer than `FEWEST`.
    """
    n = int(mine.sum())
    if n < 2:
        return Interval(float(gains[mine].sum()), -np.inf, np.inf)
    usual = float(gains[mine].var(ddof=1))
    mean, terms = 0.0, []
    for stratum in (failed, ~failed):
        ours, theirs = gains[mine & stratum], gains[control & stratum]
        if not len(ours):
            continue
        share = len(ours) / n
        mean += share * float(ours.mean())
        spread = float(ours.var(ddof=1)) if len(ours) > 1 else usual
        terms.append((share**2 * spread / len(ours), max(len(ours) - 1, 1)))
        if len(theirs) >= FEWEST:
            mean -= share * float(theirs.mean())
            terms.append((share**2 * float(theirs.var(ddof=1)) / len(theirs), len(theirs) - 1))
    variance = sum(term for term, _ in terms)
    if variance == 0:
        return Interval(mean, mean, mean)
    dof = variance**2 / sum(term**2 / free for term, free in terms)
    half = t_quantile((1 + confidence) / 2, dof) * variance**0.5
    return Interval(mean, mean - half, mean + half)
