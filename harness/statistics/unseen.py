"""Unseen: rare large losses and gains that so few queries may not have shown yet.

Where 2% of the queries lose most of their score and the others gain a little, half of all samples
of 30 queries hold no loss at all, and Student's t, sign flips and the bootstrap call them a gain.
No test can know what it did not see, but a metric is bounded: one query can lose or gain 1 at most.
So where a sample gives reason to expect it, the end of the interval is that of the sample and one
more query (the phantom) that loses or gains everything.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from harness.arrays import Flags, Values
from harness.statistics.distributions import t_probability
from harness.statistics.units import SAME, Estimate, Units, column_sums, deviations, estimate

WORST = 1.0  # the most that one query can lose or gain, of a metric between 0 and 1

# The phantom changes nothing where differences are symmetric and as large as between two models.
# It is due where one of these holds, with the smallest thresholds that keep that so by simulation:
_SKEWED = 0.1  # skewness / sqrt(n), which is what the error of a t-interval grows with
_LOPSIDED = 3.0  # and the largest deviation on that side is so many times that on the other
_NARROW = 2.0  # one query's worst is more than so many sd * sqrt(n)
_ONE_SIDED = 1.5  # the same, where the largest loss is below a third of the largest gain
FEWEST = 6  # units whose sign flips can reach 0.05


class Cautious(NamedTuple):
    """Means over queries whose errors allow for losses and gains not yet seen.

    Attributes:
        found: as the sample has them.
        n_units: queries, or clusters of them.
        losses, gains: bool [n_columns], where a rare large one may be unseen.
        with_loss, with_gain: `found`, with the phantom in those columns.
    """

    found: Estimate
    n_units: int
    losses: Flags
    gains: Flags
    with_loss: Estimate
    with_gain: Estimate

    def low(self, critical: float) -> Values:
        """Return the lower ends, `critical` standard errors below the means."""
        return np.minimum(*(_end(each, -critical) for each in (self.found, self.with_loss)))

    def high(self, critical: float) -> Values:
        """Return the upper ends."""
        return np.maximum(*(_end(each, critical) for each in (self.found, self.with_gain)))

    def added(self, critical: float) -> Values:
        """Return how much the phantom adds to the longer half of the intervals; 0 without it."""
        half = np.maximum(
            self.found.mean - self.low(critical), self.high(critical) - self.found.mean
        )
        alone = self.found.mean - _end(self.found, -critical)
        added: Values = np.subtract(half, alone, out=np.zeros_like(half), where=half > alone)
        return added

    @property
    def raised(self) -> Flags:
        """Where the phantom speaks against the sign of the mean, so that p has to rise.

        Never where units are so few that no p reaches 0.05 anyway.
        """
        mean = self.found.mean
        if self.n_units < FEWEST:
            return np.zeros_like(mean, dtype=np.bool_)
        return np.asarray((self.losses & (mean > 0)) | (self.gains & (mean < 0)))

    @property
    def least_p(self) -> Values:
        """Two-sided p by Student's t with the phantom where it is against the sign; 0 elsewhere."""
        p, t = np.zeros_like(self.found.mean), self.t
        for column in np.flatnonzero(self.raised):
            p[column] = 2 * t_probability(-float(t[column]), self.found.dof)
        return p

    @property
    def t(self) -> Values:
        """The multiple of the standard errors at which an end is 0, of means other than 0."""
        ts = []
        for loss, gain in ((self.found, self.found), (self.with_loss, self.with_gain)):
            above = self.found.mean > 0
            mean, se = np.where(above, loss.mean, -gain.mean), np.where(above, loss.se, gain.se)
            ts.append(np.divide(mean, se, out=np.full_like(mean, np.inf), where=se > 0))
        t: Values = np.maximum(np.minimum(*ts), 0)
        return t


def cautious(sample: Units) -> Cautious:
    """Return means and standard errors that allow for losses and gains not yet seen."""
    found = estimate(sample)
    losses, gains = _unseen(sample, found, -1), _unseen(sample, found, 1)
    return Cautious(
        found=found,
        n_units=len(sample.sizes),
        losses=losses,
        gains=gains,
        with_loss=_where(losses, estimate(with_phantom(sample, -1)), found),
        with_gain=_where(gains, estimate(with_phantom(sample, 1)), found),
    )


def with_phantom(sample: Units, sign: int) -> Units:
    """Return the units and one more of average size, whose queries gain (1) or lose (-1) all."""
    size = sample.sizes.mean()
    phantom = np.full((1, sample.sums.shape[1]), sign * WORST * size)
    return Units(np.concatenate([sample.sums, phantom]), np.append(sample.sizes, size))


def shown_from(sd: float, skewness: float) -> float:
    """Return the number of queries from which on no rare large loss can be unseen.

    Args:
        sd: standard deviation of per-query differences; 0 gives no end.
        skewness: of them, negative where large losses are rarer than large gains.
    """
    narrow = (WORST / (_ONE_SIDED * sd)) ** 2 if sd > 0 else math.inf
    return max(narrow, (min(0.0, skewness) / _SKEWED) ** 2)


def skewness(differences: Values) -> Values:
    """Return the skewness along the queries, the first axis; 0 where all values are the same."""
    residuals = differences - differences.mean(axis=0)
    spread = (residuals**2).mean(axis=0) ** 1.5
    cubes = (residuals**3).mean(axis=0)
    found: Values = np.divide(cubes, spread, out=np.zeros_like(cubes), where=spread > SAME**3)
    return found


def _unseen(sample: Units, found: Estimate, sign: int) -> Flags:
    """Return in which columns rare large gains (1) or losses (-1) may be unseen.

    Never where all differences are 0: there is no claim that they could turn.
    """
    count = len(sample.sizes)
    residuals = sign * deviations(sample, found.mean)
    squares = column_sums(residuals**2)
    cubes = column_sums(residuals**3)
    beyond, behind = residuals.max(axis=0), -residuals.min(axis=0)
    skewed = (cubes > _SKEWED * squares**1.5) & (beyond >= _LOPSIDED * behind)
    # sd * sqrt(n), of the sums of units
    spread = np.sqrt(count / max(1, count - 1) * squares)
    worst = WORST * sample.sizes.mean()
    sums = sign * sample.sums
    one_sided = _LOPSIDED * sums.max(axis=0) <= -sums.min(axis=0)
    narrow = (worst > _NARROW * spread) | ((worst > _ONE_SIDED * spread) & one_sided)
    return np.asarray((skewed | narrow) & (sample.sums != 0).any(axis=0))


def _where(flags: Flags, one: Estimate, other: Estimate) -> Estimate:
    return Estimate(
        np.where(flags, one.mean, other.mean), np.where(flags, one.se, other.se), other.dof
    )


def _end(found: Estimate, critical: float) -> Values:
    half = np.zeros_like(found.se)
    np.multiply(found.se, critical, out=half, where=found.se > 0)
    end: Values = found.mean + half
    return end
