"""Truncation: the shortest vectors that provably lose nothing that matters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.arrays import Values
from harness.decision.severe import capped_losses, is_beyond, more_for_cap
from harness.decision.situation import Option, Situation
from harness.statistics.inferiority import (
    bounds,
    queries_for_non_inferiority,
)
from harness.statistics.seeds import seed_spread, seeded_bounds
from harness.statistics.units import design_effect

Outcome = Literal["passes", "fails", "open"]


@dataclass(frozen=True)
class Shortening:
    """A truncation against the full vectors that it shortens.

    Attributes:
        option: the truncation.
        outcome: "passes" where the loss is provably below the margin and severe losses are rare
            enough on every collection, "fails" where one of the two is provably not so on one of
            them, else "open".
        low: the lowest one-sided bound of the difference over the collections.
        difference: the lowest mean difference over the collections.
        severe_upper: the largest upper bound of the share of severe losses.
        n: queries of the smallest collection.
        more_queries: about how many more would settle an open one.
    """

    option: Option
    outcome: Outcome
    low: float
    difference: float
    severe_upper: float
    n: int
    more_queries: int


def shortenings(situation: Situation, full: Option | None) -> list[Shortening]:
    """Return the truncations of a candidate, from the widest, up to the first that does not pass.

    Tested in this order, each at the full level, the chance of any wrong pass stays at the level.

    Args:
        situation: with the truncations among its options.
        full: the option whose vectors are shortened; None for the baseline.
    """
    name = situation.baseline if full is None else full.name
    found = [
        option
        for option in situation.options
        if option.shortens == name and not option.barred and not option.unmeasured
    ]
    tested: list[Shortening] = []
    for option in sorted(found, key=lambda option: -(option.width or 0)):
        tested.append(_test(situation, option, full))
        if tested[-1].outcome != "passes":
            break
    return tested


def _test(situation: Situation, option: Option, full: Option | None) -> Shortening:
    by_seed = [_by_seed(option, full, place) for place in range(len(option.differences))]
    pairs = [values.mean(axis=1) for values in by_seed]
    spec = situation.spec
    clusters = [situation.clusters_of(place) for place in range(len(pairs))]
    inflation = [
        float(design_effect(values[:, None], group)[0])
        for values, group in zip(pairs, clusters, strict=True)
    ]
    found = [
        seeded_bounds(
            bounds(values.mean(axis=1, keepdims=True), clusters=group),
            [seed_spread(values, clusters=group)],
        )
        for values, group in zip(by_seed, clusters, strict=True)
    ]
    losses = capped_losses(by_seed, clusters, cap=spec.severe_losses)
    low = min(float(each.low[0]) for each in found)
    if low > -spec.margin and all(loss.within_cap for loss in losses):
        outcome: Outcome = "passes"
    elif any(float(each.high[0]) < -spec.margin for each in found) or any(
        is_beyond(loss, spec.severe_losses) for loss in losses
    ):
        outcome = "fails"
    else:
        outcome = "open"
    return Shortening(
        option=option,
        outcome=outcome,
        low=low,
        difference=min(float(each.difference[0]) for each in found),
        severe_upper=max(loss.upper for loss in losses),
        n=min(map(len, pairs)),
        more_queries=max(
            *(
                _more(values, spec.margin, effect)
                for values, effect in zip(pairs, inflation, strict=True)
            ),
            *(more_for_cap(loss, spec.severe_losses) for loss in losses),
        ),
    )


def _by_seed(option: Option, full: Option | None, place: int) -> Values:
    """Return a truncation minus its full vectors for each seed, float64 [n_queries, n_seeds]."""
    mine = option.by_seed[place] if option.by_seed else option.differences[place][:, None]
    if full is None:
        return mine
    whole = full.by_seed[place] if full.by_seed else full.differences[place][:, None]
    return mine - whole


def _more(values: Values, margin: float, inflation: float) -> int:
    """Return the queries that would show the margin if the loss seen is the true one, or half it.

    A loss at or beyond the margin is never shown to be below it; half the margin is assumed then.
    """
    seen = max(min(float(values.mean()), 0.0), -margin / 2)
    needed = queries_for_non_inferiority(
        float(values.std()), margin, difference=seen, design_effect=inflation
    )
    return max(1, needed - len(values))
