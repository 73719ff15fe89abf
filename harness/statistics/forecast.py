"""Forecast: what more training pairs would bring, from trainings on a part of them.

Two steps, as in Fang et al. (SIGIR 2024). The held-out contrastive entropy falls with the number of
pairs by a power law, which a ranking metric does not. And the metric rises as the entropy falls, by
a relation that the same trainings show. Both are fitted again in every draw of a Bayesian bootstrap
over held-out pairs and over queries, so that the band knows how sure each step is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from harness.arrays import Clusters, Values
from harness.statistics.posterior import posterior_interval, posterior_means
from harness.statistics.power_law import PowerLaw, fit_power_law, fit_power_laws

HORIZON = 4  # times the largest number of pairs; beyond it power laws of few points mislead
DRAWS = 2000
_GRID = 48

# Of a loss: how much one training differs from another by its seed and by which pairs are in its
# part. Three seeds on medical questions differ by 0.3 %; this errs on the wide side, for four
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


@dataclass(frozen=True)
class Forecast:
    """The fitted curve, and what it says up to the horizon.

    Attributes:
        seen, seen_low, seen_high: float64 [k + 1], the metric after each training and, last, of the
            parent, as it was measured.
        seen_worthwhile: float64 [k + 1], as `p_worthwhile`.
        law: of the entropy.
        sizes: float64 [g], numbers of pairs from the smallest that was trained on to the horizon.
        losses, losses_low, losses_high: the entropy there, with its 95 % band.
        scores, scores_low, scores_high: the metric there, macro mean over the collections.
        p_worthwhile: probability that the gain over the baseline is at least the worthwhile one.
        doubled, doubled_low, doubled_high: what twice the largest number of pairs would add to what
            the largest gives.
        enough: the smallest number of pairs of `sizes` from which the gain is likely, or None.
    """

    seen: Values
    seen_low: Values
    seen_high: Values
    seen_worthwhile: Values
    law: PowerLaw
    sizes: Values
    losses: Values
    losses_low: Values
    losses_high: Values
    scores: Values
    scores_low: Values
    scores_high: Values
    p_worthwhile: Values
    doubled: float
    doubled_low: float
    doubled_high: float
    enough: float | None


def forecast(
    trainings: Trainings, *, gain: float, level: float, seed: int, draws: int = DRAWS
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
    sizes = _grid(known)
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
    seen_low, seen_high = posterior_interval(points[:, :-1])
    losses_low, losses_high = posterior_interval(laws.at(sizes))
    scores_low, scores_high = posterior_interval(scores)
    doubled_low, doubled_high = posterior_interval(more[:, None])
    return Forecast(
        seen=_macro(trainings)[0, :-1],
        seen_low=seen_low,
        seen_high=seen_high,
        seen_worthwhile=(points[:, :-1] - points[:, -1:] >= gain).mean(axis=0),
        law=law,
        sizes=sizes,
        losses=law.at(sizes),
        losses_low=losses_low,
        losses_high=losses_high,
        scores=best,
        scores_low=scores_low,
        scores_high=scores_high,
        p_worthwhile=likely,
        doubled=float(best[_place(sizes, 2 * known[-1])] - best[_place(sizes, known[-1])]),
        doubled_low=float(doubled_low[0]),
        doubled_high=float(doubled_high[0]),
        enough=float(sizes[enough[0]]) if len(enough) else None,
    )


def _grid(known: Values) -> Values:
    """Return the numbers of pairs that are looked at: those trained on, and on to the horizon."""
    last = HORIZON * known[-1]
    steps = np.geomspace(known[0], last, _GRID)
    return np.unique(np.concatenate([known, [2 * known[-1], last], np.ceil(steps[1:-1])]))


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
