"""Compression: the smallest vectors that provably lose nothing that matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

from harness.arrays import Values
from harness.decision.severe import capped_losses, is_beyond, more_for_cap
from harness.decision.situation import Option, OptionCost, Situation
from harness.statistics.inferiority import (
    CONFIDENCE,
    bounds,
    queries_for_non_inferiority,
)
from harness.statistics.seeds import seed_spread, seeded_bounds
from harness.statistics.units import design_effect

Outcome = Literal["passes", "fails", "open"]


@dataclass(frozen=True)
class Shortening:
    """A compression against the vectors that it shortens or makes coarser.

    Attributes:
        option: the compression.
        outcome: "passes" where the loss is provably below the margin and severe losses are rare
            enough on every collection, "fails" where one of the two is provably not so on one of
            them, else "open".
        low: the lowest one-sided bound of the difference over the collections.
        difference: the lowest mean difference over the collections.
        severe_upper: the largest upper bound of the share of severe losses.
        n: queries of the smallest collection.
        more_queries: about how many more would settle an open one.
        confidence: of each one-sided bound.
    """

    option: Option
    outcome: Outcome
    low: float
    difference: float
    severe_upper: float
    n: int
    more_queries: int
    confidence: float = CONFIDENCE


def smallest(tested: Sequence[Shortening], full: OptionCost) -> Shortening | None:
    """Return the compression that passes with the fewest bytes, fewer than the full vectors take.

    Args:
        tested: as of `shortenings`.
        full: what the full vectors cost.
    """

    def size(cost: OptionCost) -> float:
        return inf if cost.bytes_per_document is None else cost.bytes_per_document

    passed = [each for each in tested if each.outcome == "passes" if not is_larger(each, full)]
    return min(reversed(passed), key=lambda each: size(each.option.cost), default=None)


def is_larger(tested: Shortening, full: OptionCost) -> bool:
    """Tell whether a compression takes as many bytes as the full vectors, which it keeps too."""
    mine, whole = tested.option.cost.bytes_per_document, full.bytes_per_document
    return mine is not None and whole is not None and mine >= whole


def shortenings(situation: Situation, full: Option | None) -> list[Shortening]:
    """Return the compressions of a candidate, from the mildest, up to the first that does not pass.

    Tested in this order, each at the full level, the chance of any wrong pass stays at the level.
    Precisions are series of their own, so that int8 is tested whatever a truncation loses; several
    series share the level alike (Bonferroni).

    Args:
        situation: with the compressions among its options.
        full: the option whose vectors are shortened; None for the baseline.
    """
    name = situation.baseline if full is None else full.name
    found = [
        option
        for option in situation.options
        if option.shortens == name and not option.barred and not option.unmeasured
    ]
    found.sort(key=lambda each: (-(each.width or 0), -(each.cost.bytes_per_document or 0)))
    series: dict[str, list[Option]] = {}
    for option in found:
        series.setdefault(option.series, []).append(option)
    confidence = 1 - (1 - CONFIDENCE) / len(series) if len(series) > 1 else CONFIDENCE
    tested: list[Shortening] = []
    for options in series.values():
        for option in options:
            tested.append(_test(situation, option, full, confidence=confidence))
            if tested[-1].outcome != "passes":
                break
    return tested


def _test(
    situation: Situation, option: Option, full: Option | None, *, confidence: float
) -> Shortening:
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
            bounds(values.mean(axis=1, keepdims=True), confidence=confidence, clusters=group),
            [seed_spread(values, clusters=group)],
        )
        for values, group in zip(by_seed, clusters, strict=True)
    ]
    losses = capped_losses(by_seed, clusters, cap=spec.severe_losses, confidence=confidence)
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
        confidence=confidence,
    )


def _by_seed(option: Option, full: Option | None, place: int) -> Values:
    """Return a compression minus its full vectors for each seed, float64 [n_queries, n_seeds]."""
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
