"""Facts: the few numbers about two candidates that a reader wants first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from harness.arrays import Values
from harness.decision.answers import times
from harness.errors import counted
from harness.results.comparison import Comparison
from harness.statistics import TIE, mean_interval
from harness.statistics.power import minimum_detectable
from reports import formats, reading
from reports.stored import Stored


class Fact(NamedTuple):
    """A number with its label, and what is to be said about it."""

    label: str
    value: str
    said: str


class PairedDifference(NamedTuple):
    """The paired difference of two candidates, second minus first.

    Attributes:
        p, p_gain, p_loss: adjusted, and the probabilities of a worthwhile gain and of a loss beyond
            the margin, where the run tested this pair; else None.
        sd: standard deviation of the per-query differences.
        mde: smallest true difference that so many queries show with a power of 0.80.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float | None
    p_gain: float | None
    p_loss: float | None
    wins: int
    ties: int
    losses: int
    n: int
    sd: float
    mde: float


def gap(first: Values, second: Values, tested: Comparison | None) -> PairedDifference:
    """Return the paired difference of two candidates.

    Args:
        first: float64 [n_queries], values of the reference.
        second: the same of the other.
        tested: what the run says of this pair, or None.
    """
    differences, n = second - first, len(first)
    sd = float(differences.std(ddof=1)) if n > 1 else 0.0
    interval = mean_interval(differences)
    return PairedDifference(
        first=float(first.mean()),
        second=float(second.mean()),
        difference=interval.mean,
        low=tested.family_low if tested else interval.low,
        high=tested.family_high if tested else interval.high,
        p=tested.p_adjusted if tested else None,
        p_gain=tested.p_gain if tested else None,
        p_loss=tested.p_loss if tested else None,
        wins=int(np.count_nonzero(differences >= TIE)),
        ties=int(np.count_nonzero(np.abs(differences) < TIE)),
        losses=int(np.count_nonzero(differences <= -TIE)),
        n=n,
        sd=sd,
        mde=tested.mde if tested else float(minimum_detectable(np.array([sd / math.sqrt(n)]))[0]),
    )


def tested(
    stored: Stored, collection: str, metric: str, *, first: str, second: str
) -> Comparison | None:
    """Return the run's own comparison of the second candidate with the first, if it made one."""
    for found in stored.results.comparisons:
        place = found.collection, found.metric, found.candidate, found.reference
        if place == (collection, metric, second, first):
            return found
    return None


def of_pair(
    stored: Stored,
    found: PairedDifference,
    collection: str,
    metric: str,
    *,
    first: str,
    second: str,
    is_decided: bool = False,
) -> Iterator[Fact]:
    """Yield the facts about two candidates, as far as they are known.

    Beside a verdict on them, whose interval and probability decide, they have none of their own.
    """
    yield _quality(found, metric, is_decided=is_decided)
    if found.p_gain is not None and found.p_loss is not None and not is_decided:
        yield Fact(
            f"P(gain of {stored.results.gain:g} or more)",
            formats.probability(found.p_gain),
            f"a worthwhile gain; P(loss of more than {stored.results.margin:g}) "
            f"{formats.probability(found.p_loss)}",
        )
    yield from _ceiling(stored, collection, first, second)
    yield from _cost(stored, collection, first, second)
    among = ", adjusted for all candidates" if found.p is not None else ""
    yield Fact(
        "minimum detectable effect",
        f"±{formats.mean(found.mde)}",
        f"with n={found.n:,}, power 0.80{among}; sd of differences {formats.mean(found.sd)}",
    )
    yield from _judged(stored, collection, metric, first, second)


def _quality(found: PairedDifference, metric: str, *, is_decided: bool) -> Fact:
    chance = "" if found.p is None or is_decided else f", {formats.p_equals(found.p)}"
    gained = formats.difference(found.difference, found.low, found.high)
    gained = formats.signed(found.difference) if is_decided else gained
    return Fact(
        f"{metric}, A → B",
        f"{formats.mean(found.first)} → {formats.mean(found.second)}",
        f"{gained}{chance}, n={found.n:,}; {counted(found.wins, 'win')}, "
        f"{counted(found.ties, 'tie')}, {counted(found.losses, 'loss')}",
    )


def _ceiling(stored: Stored, collection: str, first: str, second: str) -> Iterator[Fact]:
    metric = f"recall@{stored.results.depth}"
    found = reading.scores_of(stored.results, collection, metric)
    if first in found and second in found:
        a, b = found[first], found[second]
        interval = formats.with_interval(b.mean, b.low, b.high).partition(" ")[2]
        yield Fact(
            f"{metric}, A → B",
            f"{formats.mean(a.mean)} → {formats.mean(b.mean)}",
            f"ceiling of any reranker; B {interval} n={b.n:,}",
        )


def _cost(stored: Stored, collection: str, first: str, second: str) -> Iterator[Fact]:
    found = {c.candidate: c for c in stored.costs.costs if c.collection == collection}
    a, b = found.get(first), found.get(second)
    if a is None or b is None:
        return
    size = (
        f"{formats.size(a.bytes_per_document)} → {formats.size(b.bytes_per_document)} per document"
    )
    title = "query p95, A → B"
    busy = [cost.candidate for cost in (a, b) if cost.timing_problem]
    remote = [cost.candidate for cost in (a, b) if cost.network_ms_p50 is not None]
    if busy:
        one = f", {busy[0]}" if len(busy) == 1 else ""
        yield Fact(title, "not comparable", f"timed on a busy machine{one}; {size}")
    elif a.query_ms_p95 and b.query_ms_p95 and not remote and a.device != b.device:
        yield Fact(title, "not comparable", f"timed on different devices; {size}")
    elif a.query_ms_p95 and b.query_ms_p95:
        first_ms, second_ms = map(formats.milliseconds, (a.query_ms_p95, b.query_ms_p95))
        where = f"on {a.device}" if a.device else "device unknown"
        where = f"network included for {' and '.join(remote)}" if remote else where
        ratio = times(b.query_ms_p95 / a.query_ms_p95)
        yield Fact(title, f"{first_ms} → {second_ms} ms", f"{ratio} A's; {size}; {where}")
    elif a.bytes_per_document or b.bytes_per_document:
        yield Fact(
            "bytes per document, A → B",
            f"{formats.size(a.bytes_per_document)} → {formats.size(b.bytes_per_document)}",
            "latency was not measured for both",
        )


def _judged(
    stored: Stored, collection: str, metric: str, first: str, second: str
) -> Iterator[Fact]:
    found = reading.scores_of(stored.results, collection, metric)
    if first in found and second in found:
        a, b = found[first].judged_at_10, found[second].judged_at_10
        yield Fact(
            "judged@10, A → B",
            f"{formats.share(a)} → {formats.share(b)}",
            "share of the top ten that is judged; if B's is lower, B may be better than it scores",
        )
