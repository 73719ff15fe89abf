"""Losses: the smallest vectors that lose nothing that matters, and the cap on severe losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import Literal

from harness.arrays import Clusters, Values
from harness.decision.situation import Action, Option, OptionCost, Situation
from harness.statistics.distributions import largest_share
from harness.statistics.inferiority import (
    SevereLosses,
    cap_losses,
    difference_bounds,
    queries_for_non_inferiority,
)
from harness.statistics.power import CONFIDENCE
from harness.statistics.seeds import seed_spread, seeded_bounds
from harness.statistics.units import design_effect
from harness.statistics.verdicts import more_in_words

_STEP, _MOST_STEPS = 1.1, 50  # up to about a hundred times the queries
_FASTER = 0.9  # times the latency: what repeated timings of a quiet machine differ by is less


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
        cap: largest share that may lose 0.5 or more.
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
    n, share = losses.n, losses.severe / losses.n
    for steps in range(_MOST_STEPS):
        many = ceil(n * _STEP**steps)
        above = largest_share(share * many, many, confidence=CONFIDENCE)
        if above <= cap or _smallest_share(share * many, many) > cap:
            return many - n
    return ceil(n * _STEP**_MOST_STEPS) - n


def with_cap(situation: Situation) -> Situation:
    """Return the situation with the options excluded, or cautioned, by the cap for every change."""
    cap = situation.spec.severe_losses_any_change
    if cap is None:
        return situation
    options = tuple(_capped(situation, option, cap) for option in situation.options)
    return replace(situation, options=options)


def _capped(situation: Situation, option: Option, cap: float) -> Option:
    if option.shortens == situation.baseline:  # which has a cap of its own
        return option
    if any(situation.estimated):
        text = "How many queries lose 0.5 or more is not known from grades of a part of the pairs."
        return replace(option, cautions=(*option.cautions, text))
    clusters = [situation.clusters_of(place) for place in range(len(option.differences))]
    losses = capped_losses(option.each_seed, clusters, cap=cap)
    worst = max(losses, key=lambda each: each.upper)
    text = (
        f"{worst.severe / worst.n:.1%} of the queries ({worst.severe:,} of {worst.n:,}) lose 0.5 "
        f"or more, with 95% confidence at most {worst.upper:.1%}; the cap is {cap:.1%}."
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


@dataclass(frozen=True)
class Shortening:
    """A compression against the vectors that it shortens, makes coarser or searches by an index.

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
    outcome: Literal["passes", "fails", "open"]
    low: float
    difference: float
    severe_upper: float
    n: int
    more_queries: int
    confidence: float = CONFIDENCE


def to_take(tested: Sequence[Shortening], full: OptionCost) -> Shortening | None:
    """Return the compression to take, or None.

    That is the one that passes with the fewest bytes, fewer than the full vectors take. Where none
    saves bytes it is the fastest index, or smaller query encoder, that passes: an HNSW or IVF index
    holds the vectors themselves, and saves time alone; the encoder may save money instead.

    Args:
        tested: as of `shortenings`.
        full: what the full vectors cost.
    """

    def size(tested: Shortening) -> float:
        size = tested.option.cost.bytes_per_document
        return inf if size is None else size

    passed = [each for each in tested if each.outcome == "passes"]
    smaller = [each for each in passed if not is_larger(each, full)]
    if smaller:
        return min(reversed(smaller), key=size)
    faster = [each for each in passed if is_faster(each, full) or is_cheaper(each, full)]
    return min(faster, key=lambda each: each.option.cost.query_ms_p95 or inf, default=None)


def is_larger(tested: Shortening, full: OptionCost) -> bool:
    """Tell whether a compression takes as many bytes as the full vectors, which it keeps too."""
    mine, whole = tested.option.cost.bytes_per_document, full.bytes_per_document
    return mine is not None and whole is not None and mine >= whole


def is_faster(tested: Shortening, full: OptionCost) -> bool:
    """Tell whether an index, or a smaller query encoder, answers in clearly less time.

    The encoding of the query is included.
    """
    mine, whole = tested.option.cost.query_ms_p95, full.query_ms_p95
    if not saves_time(tested.option) or mine is None or whole is None:
        return False
    return mine <= _FASTER * whole


def is_cheaper(tested: Shortening, full: OptionCost) -> bool:
    """Tell whether a provider bills clearly less for the queries of a smaller query encoder."""
    mine, whole = tested.option.cost.usd_per_million_queries, full.usd_per_million_queries
    if tested.option.action is not Action.ASK_BY_LESS or not whole:
        return False
    return mine is not None and mine <= _FASTER * whole


def saves_time(option: Option) -> bool:
    """Tell whether a compression is there to save time rather than bytes."""
    return option.indexed or option.action is Action.ASK_BY_LESS


def shortenings(situation: Situation, full: Option | None) -> list[Shortening]:
    """Return the compressions of a candidate, from the mildest, up to the first that does not pass.

    Tested in this order, each at the full level, the chance of any wrong pass stays at the level.
    Precisions and indexes are series of their own, so that int8 is tested whatever a truncation
    loses; several series share the level alike (Bonferroni).

    Args:
        situation: with the compressions among its options.
        full: the option whose vectors are shortened; None for the baseline.
    """
    name = situation.baseline if full is None else full.name
    found = [
        option
        for option in situation.options
        if option.shortens == name and not option.excluded and not option.unmeasured
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
    by_seed, spec = option.each_seed, situation.spec
    if full is not None:
        by_seed = tuple(mine - whole for mine, whole in zip(by_seed, full.each_seed, strict=True))
    clusters = [situation.clusters_of(place) for place in range(len(by_seed))]
    losses = capped_losses(by_seed, clusters, cap=spec.severe_losses, confidence=confidence)
    needed = [more_for_cap(loss, spec.severe_losses) for loss in losses]
    found = []
    for values, group in zip(by_seed, clusters, strict=True):
        means = values.mean(axis=1, keepdims=True)
        limits = difference_bounds(means, confidence=confidence, clusters=group)
        found.append(seeded_bounds(limits, [seed_spread(values, clusters=group)]))
        # A loss at or beyond the margin is never shown to be below it; half of it is assumed then.
        queries = queries_for_non_inferiority(
            float(means.std()),
            spec.margin,
            difference=max(min(float(means.mean()), 0.0), -spec.margin / 2),
            design_effect=float(design_effect(means, group)[0]),
        )
        needed.append(max(1, queries - len(values)))
    low = min(float(each.low[0]) for each in found)
    is_lost = any(float(each.high[0]) < -spec.margin for each in found)
    if any(situation.estimated):  # what a single query loses is not known
        losses = []
        outcome: Literal["passes", "fails", "open"] = "fails" if is_lost else "open"
    elif low > -spec.margin and all(loss.within_cap for loss in losses):
        outcome = "passes"
    elif is_lost or any(is_beyond(loss, spec.severe_losses) for loss in losses):
        outcome = "fails"
    else:
        outcome = "open"
    return Shortening(
        option=option,
        outcome=outcome,
        low=low,
        difference=min(float(each.difference[0]) for each in found),
        severe_upper=max((loss.upper for loss in losses), default=1.0),
        n=min(map(len, by_seed)),
        more_queries=max(needed),
        confidence=confidence,
    )
