"""Effects: what each option would gain and lose, in the family of all options."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from harness.arrays import Values
from harness.decision.situation import Option, Situation
from harness.hashing import digest
from harness.statistics.distributions import normal_quantile, t_probability, t_quantile
from harness.statistics.families import max_t
from harness.statistics.pairs import Interval, mean_interval, severe_losses
from harness.statistics.posterior import MacroLimits, macro_difference, macro_limits
from harness.statistics.power import CONFIDENCE
from harness.statistics.seeds import seed_spreads, seeded_draws
from harness.statistics.units import design_effect, estimate, macro_estimate, units
from harness.statistics.unseen import with_phantom


class LikelyLoss(NamedTuple):
    """The mean difference on one collection, where it is likely a loss, with its 95% interval."""

    collection: str
    interval: Interval
    n: int


@dataclass(frozen=True)
class Effect:
    """The gain of one option over the baseline, macro mean over the collections.

    Attributes:
        difference: mean.
        low, high: 95% interval, simultaneous over all options.
        ceiling: the most that the gain can be with 95% confidence: the upper end of the interval,
            or the one-sided bound with a phantom query that gains everything where that is higher.
        likely: the gain at which `p_adjusted` would be one half: what is left of `difference` once
            the selection among all options is counted.
        p_worthwhile: posterior probability that the gain is at least the worthwhile one.
        p_adjusted: the same, adjusted for the number of options (max-T over the joint posterior):
            where no option gains as much, the chance that any reaches 1 - x is about x. Close to
            `p_worthwhile` where there is one option.
        p_harm: posterior probability that the loss is more than the margin.
        sd: standard deviation of the per-query differences, the largest over the collections.
        design_effect: of the clusters of queries, the largest over the collections; 1 without any.
        draws: float64 [draws], the posterior, drawn with the same weights for all options.
        confidence: that the interval has by itself; higher, the more options there are.
        severe, rescued: queries of all collections that lose, or gain, 0.5 or more.
        losing: the collections on which a loss is likely, where there are several.

    Where an option was trained with several seeds, everything but `sd` is about another query and
    another seed.
    """

    option: Option
    difference: float
    low: float
    high: float
    ceiling: float
    likely: float
    p_worthwhile: float
    p_adjusted: float
    p_harm: float
    sd: float
    draws: Values = field(repr=False)
    confidence: float
    severe: int
    rescued: int
    losing: tuple[LikelyLoss, ...] = ()
    design_effect: float = 1.0

    @property
    def shift(self) -> float:
        """What plausible relevance of unjudged documents would add to the difference."""
        holes = self.option.holes
        return sum(each.shift for each in holes) / len(holes) if holes else 0.0

    @property
    def could_turn(self) -> bool:
        """Whether plausible relevance of unjudged documents turns the sign of the difference."""
        return self.shift != 0 and self.difference * (self.difference + self.shift) <= 0


def measure(situation: Situation) -> list[Effect]:
    """Return the effect of every option, the most probable worthwhile gain first."""
    options = situation.options
    if not options:
        return []
    columns = [
        np.stack([option.differences[place] for option in options], axis=1)
        for place in range(len(situation.collections))
    ]
    clusters = [situation.clusters_of(place) for place in range(len(columns))]
    samples = [units(part, group) for part, group in zip(columns, clusters, strict=True)]
    over = macro_estimate([estimate(sample) for sample in samples])
    seeds = [flips_of(situation, name) for name in situation.collections]
    macro = macro_difference(columns, seeds=seeds, clusters=clusters)
    if len(columns) == 1:
        found = max_t(columns[0], seed=seeds[0], clusters=clusters[0])
        limits = MacroLimits(found.low, found.high, found.critical)
    else:
        limits = macro_limits(samples, over, macro.draws)
    low, high = limits.low, limits.high
    confidence = 1 - 2 * t_probability(-limits.critical, over.dof)
    # Each collection is given one more query, which gains everything, as in `difference_bounds`:
    # few queries that all tie do not show that none gains.
    mean, se, dof = macro_estimate([estimate(with_phantom(sample, 1)) for sample in samples])
    phantom = mean + t_quantile(CONFIDENCE, dof) * se
    by_seed = seed_spreads(over, [option.seed_means for option in options])
    for place, spread in enumerate(by_seed):
        low[place], high[place] = spread.widened(low[place], high[place], confidence)
        above = spread.widen(phantom[place] - spread.difference, 2 * CONFIDENCE - 1)
        phantom[place] = spread.difference + above
    low, high = np.clip(low, -1, 1), np.clip(high, -1, 1)  # a metric lies between 0 and 1
    ceiling = np.clip(np.maximum(high, phantom), -1, 1)
    draws = seeded_draws(
        macro.draws, [spread.means for spread in by_seed], seed=_seed(situation, "training seeds")
    )
    inflation = [design_effect(part, group) for part, group in zip(columns, clusters, strict=True)]
    sd = np.max([part.std(axis=0, ddof=min(1, len(part) - 1)) for part in columns], axis=0)
    adjusted = _adjusted(draws, gain=situation.spec.gain, dof=over.dof)
    # An estimate of one query stands for others, and says nothing of how much it loses itself.
    exact = [
        part for part, guessed in zip(columns, situation.estimated, strict=True) if not guessed
    ] or [np.zeros((1, len(options)))]
    severe, rescued = (
        np.sum([severe_losses(sign * part) for part in exact], axis=0) for sign in (1, -1)
    )
    effects = [
        Effect(
            option=option,
            difference=float(macro.difference[place]),
            low=float(low[place]),
            high=float(high[place]),
            ceiling=float(ceiling[place]),
            likely=float(adjusted.likely[place]),
            p_worthwhile=float((draws[:, place] >= situation.spec.gain).mean()),
            p_adjusted=float(adjusted.probability[place]),
            p_harm=float((draws[:, place] < -situation.spec.margin).mean()),
            sd=float(sd[place]),
            draws=draws[:, place],
            confidence=confidence,
            severe=int(severe[place]),
            rescued=int(rescued[place]),
            losing=tuple(_losing(situation, option)),
            design_effect=float(max(effect[place] for effect in inflation)),
        )
        for place, option in enumerate(options)
    ]
    return sorted(
        effects,
        key=lambda each: (
            *(-each.p_adjusted, -each.p_worthwhile, -each.difference),
            each.option.name,
        ),
    )


class _Adjusted(NamedTuple):
    """Of each option, the adjusted probability of a worthwhile gain and the likely gain."""

    probability: Values
    likely: Values


def _adjusted(draws: Values, *, gain: float, dof: float) -> _Adjusted:
    """Count the selection of an option among all: single-step max-T over the joint posterior.

    A draw overstates an option where it lies above the truth, so the draws are mirrored at the mean
    and studentised. The best of ten options that gain nothing looks well by chance, which the
    largest of ten such deviations shows; options that move together count as fewer. The draws vary
    less than t, by (n - 1) / (n + 1) and in the tails, so that a distance counts by its t.
    """
    mean, spread = draws.mean(axis=0), draws.std(axis=0)
    above = np.divide(mean - draws, spread, out=np.zeros_like(draws), where=spread > 0)
    largest = np.sort(above.max(axis=1))
    t = np.divide(
        mean - gain, spread, out=np.where(mean >= gain, np.inf, -np.inf), where=spread > 0
    )
    tails = [t_probability(float(value), dof) for value in t * np.sqrt(dof / (dof + 2))]
    distance = np.array([normal_quantile(tail) for tail in tails])
    reached = np.searchsorted(largest, distance, side="right") / len(largest)
    return _Adjusted(reached, mean - float(np.median(largest)) * spread)


def _losing(situation: Situation, option: Option) -> Iterator[LikelyLoss]:
    """Yield the collections on which an option likely loses, where there are several."""
    for place, values in enumerate(option.differences if len(option.differences) > 1 else ()):
        found = estimate(units(values[:, None], situation.clusters_of(place)))
        mean, se = float(found.mean[0]), float(found.se[0])
        likely = se == 0 or t_probability(-mean / se, found.dof) >= situation.spec.lean
        if mean < 0 and likely:
            interval = mean_interval(values, clusters=situation.clusters_of(place))
            bounded = Interval(mean, max(-1.0, interval.low), min(1.0, interval.high))
            yield LikelyLoss(situation.collections[place], bounded, len(values))


def flips_of(situation: Situation, collection: str) -> int:
    """Return the seed of a collection, that of a run's comparisons: the intervals are the same."""
    return int(digest("sign flips", situation.seed, collection, situation.metric), 16)


def _seed(situation: Situation, collection: str) -> int:
    return int(digest("decision", situation.seed, collection, situation.metric), 16)
