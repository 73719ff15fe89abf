"""Power law: how a loss falls with the number of examples, by weighted least squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from harness.arrays import Values

FEWEST_SIZES = 3
# The exponents that are tried. Learning curves of retrieval lie between 0.05 and 1.
_EXPONENTS = np.geomspace(0.02, 4.0, 400)


@dataclass(frozen=True)
class PowerLaw:
    """The law L(n) = a n^-b + c.

    Attributes:
        a: what more examples can take away, at one example; 0 where nothing falls.
        b: how fast it falls.
        c: what stays, however many examples there are.
    """

    a: float
    b: float
    c: float

    def at(self, sizes: Values) -> Values:
        """Return the loss at numbers of examples."""
        losses: Values = self.a * np.power(sizes, -self.b) + self.c
        return losses


class Laws(NamedTuple):
    """Power laws of many draws, each float64 [draws]; `reach` is a at the largest size fitted."""

    reach: Values
    b: Values
    c: Values
    largest: float

    def at(self, sizes: Values) -> Values:
        """Return the losses, float64 [draws, n_sizes]."""
        scaled = np.power(np.asarray(sizes) / self.largest, -self.b[:, None])
        losses: Values = self.reach[:, None] * scaled + self.c[:, None]
        return losses


def fit_power_law(sizes: Values, losses: Values, *, weights: Values) -> PowerLaw:
    """Fit a n^-b + c with a >= 0 and c >= 0: a loss neither rises with examples nor is negative.

    >>> sizes = np.array([1000.0, 2000.0, 4000.0, 8000.0])
    >>> law = fit_power_law(sizes, 5 * sizes**-0.3 + 0.5, weights=np.ones(4))
    >>> round(law.b, 2), round(law.c, 1)
    (0.3, 0.5)

    Args:
        sizes: float64 [n], distinct and positive.
        losses: float64 [n].
        weights: float64 [n], 1 / SE^2 of each loss.
    """
    laws = fit_power_laws(sizes, np.asarray(losses)[None], weights=weights)
    b = float(laws.b[0])
    return PowerLaw(float(laws.reach[0] * laws.largest**b), b, float(laws.c[0]))


def fit_power_laws(sizes: Values, losses: Values, *, weights: Values) -> Laws:
    """Fit one law to each row of losses, float64 [draws, n].

    For a given exponent the law is linear in a and c, which then have a closed form (variable
    projection, Golub and Pereyra 1973). So the exponents are tried one by one and the best is
    kept: four points leave a search by gradients in a long valley, and this ends everywhere alike.

    Raises:
        ValueError: fewer than three sizes, one that is not positive, or two that are the same.
    """
    sizes, losses = np.asarray(sizes, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    if len(sizes) < FEWEST_SIZES or (sizes <= 0).any() or len(np.unique(sizes)) < len(sizes):
        raise ValueError(f"a power law takes three positive sizes or more, got {sizes.tolist()}")
    shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
    largest = float(sizes.max())
    best = np.full(len(losses), np.inf)
    reach, rate, floor = (np.zeros(len(losses)) for _ in range(3))
    for exponent in _EXPONENTS:
        x = np.power(sizes / largest, -exponent)
        a, c = _nonnegative_line(x, losses, shares)
        error = np.square(losses - a[:, None] * x - c[:, None]) @ shares
        better = error < best
        best[better], rate[better] = error[better], exponent
        reach[better], floor[better] = a[better], c[better]
    return Laws(reach, rate, floor, largest)


def _nonnegative_line(x: Values, y: Values, shares: Values) -> tuple[Values, Values]:
    """Return slope and intercept of y [draws, n] on x [n], neither below 0."""
    mean_x, mean_y = x @ shares, y @ shares
    slope = ((y - mean_y[:, None]) * (x - mean_x)) @ shares / (np.square(x - mean_x) @ shares)
    slope = np.maximum(slope, 0.0)
    intercept = mean_y - slope * mean_x
    through_zero = (y * x) @ shares / (np.square(x) @ shares)
    slope = np.where(intercept < 0, np.maximum(through_zero, 0.0), slope)
    return slope, np.maximum(intercept, 0.0)
