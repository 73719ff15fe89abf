"""Severe losses: how many queries lose their answer, against the most that may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

from harness.arrays import Clusters, Values
from harness.decision.situation import Option, Situation
from harness.statistics.distributions import largest_share
from harness.statistics.inferiority import CONFIDENCE, SevereLosses, cap_losses
from harness.statistics.units import design_effect
from harness.statistics.verdicts import more_in_words

_STEP, _MOST_STEPS = 1.1, 50  # up to about a hundred times the queries


def capped_losses(
    by_seed: Sequence[Values],
    clusters: Sequence[Clusters | None],
    *,
    cap: float,
    confidence: float = CONFIDENCE,
) -> list[SevereLosses]:
    """Test the cap on each collection, for the training seed that loses most.

    Args:
        by_seed: per collection, float64 [n_queries, n_seeds].
        clusters: per collection.
        cap: largest share that may lose half a point or more.
        confidence: of the upper bound.
    """
    return [
        max(
            cap_losses(
                values,
                cap=cap,
                confidence=confidence,
                design_effect=float(design_effect(each.mean(axis=1, keepdims=True), group)[0]),
            )
            for values in each.T
        )
        for each, group in zip(by_seed, clusters, strict=True)
    ]


def is_beyond(losses: SevereLosses, cap: float) -> bool:
    """Tell whether the true share is provably above the cap, by its exact one-sided bound."""
    return _smallest_share(losses.severe, losses.n) > cap


def more_for_cap(losses: SevereLosses, cap: float) -> int:
    """Return the queries that would settle the cap if the share seen is the true one."""
    n = losses.n
    share = losses.severe / n
    for steps in range(_MOST_STEPS):
        many = ceil(n * _STEP**steps)
        above = largest_share(share * many, many, confidence=CONFIDENCE)
        if above <= cap or _smallest_share(share * many, many) > cap:
            return many - n
    return ceil(n * _STEP**_MOST_STEPS) - n


def with_cap(situation: Situation) -> Situation:
    """Return the situation with the options barred, or cautioned, by the cap for every change."""
    if situation.spec.severe_losses_any_change is None:
        return situation
    return replace(
        situation, options=tuple(_capped(situation, option) for option in situation.options)
    )


def _capped(situation: Situation, option: Option) -> Option:
    cap = situation.spec.severe_losses_any_change
    if cap is None or option.shortens == situation.baseline:  # which has a cap of its own
        return option
    by_seed = option.by_seed or tuple(values[:, None] for values in option.differences)
    clusters = [situation.clusters_of(place) for place in range(len(by_seed))]
    losses = capped_losses(by_seed, clusters, cap=cap)
    worst = max(losses, key=lambda each: each.upper)
    text = (
        f"{worst.severe / worst.n:.1%} of the queries ({worst.severe:,} of {worst.n:,}) lose 0.5 "
        f"or more, in truth up to {worst.upper:.1%}; the cap is {cap:.1%}."
    )
    if any(is_beyond(each, cap) for each in losses):
        return replace(option, harmful=(text,))
    if worst.within_cap:
        return option
    more = more_for_cap(worst, cap)
    if more:
        text += f" About {more_in_words(more)} would settle it."
    return replace(option, cautions=(*option.cautions, text))


def _smallest_share(severe: float, n: float) -> float:
    """Return the exact one-sided lower bound of the share of severe losses."""
    return 1 - largest_share(n - severe, n, confidence=CONFIDENCE)
