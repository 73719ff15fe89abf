"""Forecast: what more training pairs would bring, from trainings on a part of them.

Two steps, as in Fang et al. (SIGIR 2024). The held-out contrastive entropy falls with the number of
pairs by a power law, which a ranking metric does not. And the metric rises as the entropy falls, by
a relation that the same trainings show. Both are fitted again in every draw of a Bayesian bootstrap
over held-out pairs and over queries, so that the band knows how sure each step is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from harness.arrays import Clusters, Values
from harness.statistics.posterior import posterior_interval, posterior_means

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


HORIZON = 4  # times the largest number of pairs; beyond it power laws of few points mislead
CURVE_DRAWS = 2000
_GRID = 48

# Of a loss: how much one training differs from another by its seed and by which pairs are in its
# part. Three seeds on medical questions differ by 0.3%; this errs on the wide side, for four
# points and three parameters leave one residual, too few to learn it from.
TRAINING_NOISE = 0.01


@dataclass(frozen=True)
class Trainings:
    """What trainings on growing parts of the same pairs reached.

    Attributes:
        sizes: float64 [k], pairs of each, ascending.
        losses: float64 [n_held_out, k], entropy of each held-out pair after each training.
        parent_losses: float64 [n_held_out], before any training.
        scores: for each collection float64 [n_queries, k], the metric after each training.
        parent_scores, baseline_scores: for each collection float64 [n_queries].
        clusters: for each collection the queries that belong together, or None.
    """

    sizes: Values
    losses: Values = field(repr=False)
    parent_losses: Values = field(repr=False)
    scores: tuple[Values, ...] = field(repr=False)
    parent_scores: tuple[Values, ...] = field(repr=False)
    baseline_scores: tuple[Values, ...] = field(repr=False)
    clusters: tuple[Clusters | None, ...] = field(repr=False)


class Band(NamedTuple):
    """Values with the 95% band of each; arrays of one shape."""

    mean: Values
    low: Values
    high: Values


@dataclass(frozen=True)
class Forecast:
    """The fitted curve, and what it says up to the horizon.

    Attributes:
        seen: float64 [k + 1], the metric after each training and, last, of the
            parent, as it was measured.
        seen_worthwhile: float64 [k + 1], as `p_worthwhile`.
        law: of the entropy.
        sizes: float64 [g], numbers of pairs from the smallest that was trained on to the horizon.
        losses: the entropy there.
        scores: the metric there, macro mean over the collections.
        p_worthwhile: probability that the gain over the baseline is at least the worthwhile one.
        doubled: [1], what twice the largest number of pairs would add to what the largest gives.
        enough: the smallest number of pairs of `sizes` from which the gain is likely, or None.
    """

    seen: Band
    seen_worthwhile: Values
    law: PowerLaw
    sizes: Values
    losses: Band
    scores: Band
    p_worthwhile: Values
    doubled: Band
    enough: float | None


def forecast(
    trainings: Trainings, *, gain: float, level: float, seed: int, draws: int = CURVE_DRAWS
) -> Forecast:
    """Fit the curve and tell what more pairs would bring.

    Args:
        trainings: at least three sizes.
        gain: over the baseline, that is worthwhile.
        level: probability from which it is likely.
        seed: of the draws.
        draws: of the bootstrap.

    Raises:
        ValueError: fewer than three sizes.
    """
    known = trainings.sizes
    last = HORIZON * known[-1]
    steps = np.ceil(np.geomspace(known[0], last, _GRID)[1:-1])
    sizes = np.unique(np.concatenate([known, [2 * known[-1], last], steps]))
    everything = np.column_stack([trainings.losses, trainings.parent_losses])
    mean, spread = everything.mean(axis=0), everything.std(axis=0, ddof=1)
    noise = TRAINING_NOISE * mean[:-1]
    weights = 1 / (np.square(spread[:-1]) / len(everything) + np.square(noise))
    drawn = posterior_means(everything, seed=seed, draws=draws)
    generator = np.random.Generator(np.random.Philox(key=seed + 1))
    drawn[:, :-1] += generator.normal(size=(draws, len(known))) * noise
    laws = fit_power_laws(known, drawn[:, :-1], weights=weights)
    law = fit_power_law(known, mean[:-1], weights=weights)
    points = _macro_draws(trainings, seed=seed, draws=draws)
    scores = _scores(laws.at(sizes), laws.at(known), drawn[:, -1], points)
    best = _scores(law.at(sizes)[None], law.at(known)[None], mean[-1:], _macro(trainings))[0]
    likely = (scores - points[:, -1:] >= gain).mean(axis=0)
    more = scores[:, _place(sizes, 2 * known[-1])] - scores[:, _place(sizes, known[-1])]
    enough = np.flatnonzero(likely >= level)
    doubled = best[[_place(sizes, 2 * known[-1])]] - best[[_place(sizes, known[-1])]]
    return Forecast(
        seen=Band(_macro(trainings)[0, :-1], *posterior_interval(points[:, :-1])),
        seen_worthwhile=(points[:, :-1] - points[:, -1:] >= gain).mean(axis=0),
        law=law,
        sizes=sizes,
        losses=Band(law.at(sizes), *posterior_interval(laws.at(sizes))),
        scores=Band(best, *posterior_interval(scores)),
        p_worthwhile=likely,
        doubled=Band(doubled, *posterior_interval(more[:, None])),
        enough=float(sizes[enough[0]]) if len(enough) else None,
    )


def _place(sizes: Values, size: float) -> int:
    return int(np.flatnonzero(sizes == size)[0])


def _columns(trainings: Trainings) -> list[Values]:
    """Return for each collection [n_queries, k + 2]: each training, the parent, the baseline."""
    parts = zip(trainings.scores, trainings.parent_scores, trainings.baseline_scores, strict=True)
    return [np.column_stack(part) for part in parts]


def _macro(trainings: Trainings) -> Values:
    """Return the macro means, float64 [1, k + 2]."""
    columns = [part.mean(axis=0, keepdims=True) for part in _columns(trainings)]
    means: Values = np.mean(columns, axis=0)
    return means


def _macro_draws(trainings: Trainings, *, seed: int, draws: int) -> Values:
    """Return draws of the macro means, float64 [draws, k + 2]."""
    parts = zip(_columns(trainings), trainings.clusters, strict=True)
    drawn = [
        posterior_means(part, seed=seed + 2 + place, draws=draws, clusters=clusters)
        for place, (part, clusters) in enumerate(parts)
    ]
    means: Values = np.mean(drawn, axis=0)
    return means


def _scores(losses: Values, known: Values, parent: Values, points: Values) -> Values:
    """Return the metric at losses, by the monotone relation of the trainings and the parent.

    Between what was seen the relation is linear from point to point, once scores that fall with the
    entropy are pooled. Beyond the lowest entropy it goes on with the slope of all trainings: that
    of the last two alone would be mostly noise.

    Args:
        losses: float64 [draws, g], where the metric is wanted.
        known: float64 [draws, k], fitted losses of the trainings, falling.
        parent: float64 [draws], the parent's loss.
        points: float64 [draws, k + 2], scores of the trainings, the parent and the baseline.
    """
    trained = points[:, : known.shape[1]]
    x = known - known.mean(axis=1, keepdims=True)
    below = np.maximum(np.square(x).sum(axis=1), np.finfo(float).tiny)
    slopes = np.minimum((x * trained).sum(axis=1) / below, 0.0)
    found = np.empty(losses.shape)
    for row in range(len(losses)):
        entropies = np.append(known[row], parent[row])
        order = np.argsort(entropies, kind="stable")
        entropies = entropies[order]
        level = _falling(np.append(trained[row], points[row, -2])[order])
        found[row] = np.interp(losses[row], entropies, level)
        beyond = np.minimum(losses[row] - entropies[0], 0.0)
        found[row] += slopes[row] * beyond
    return np.clip(found, 0.0, 1.0)


def _falling(values: Values) -> Values:
    """Return the nearest sequence that never rises: pool adjacent violators, all weighted alike.

    >>> _falling(np.array([0.5, 0.6, 0.3])).round(2).tolist()
    [0.55, 0.55, 0.3]
    """
    blocks: list[tuple[float, int]] = []
    for value in values.tolist():
        total, count = value, 1
        while blocks and total / count > blocks[-1][0] / blocks[-1][1]:
            before = blocks.pop()
            total, count = total + before[0], count + before[1]
        blocks.append((total, count))
    return np.concatenate([np.full(count, total / count) for total, count in blocks])
