"""Forgetting: what a trained model lost on general collections that it was not trained for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from harness.arrays import Clusters, Values
from harness.runs.metrics import Scorecard
from harness.statistics.distributions import t_quantile
from harness.statistics.seeds import SeedSpread
from harness.statistics.units import Units, estimate, macro_estimate, units
from harness.statistics.unseen import with_phantom
from harness.suite.spec import Suite

if TYPE_CHECKING:
    from harness.plan.plan import Plan

Retention = Literal["keeps", "forgets", "open"]

_CONFIDENCE = 0.95  # of each one-sided bound


class AcceptedLoss(NamedTuple):
    """Losses that are accepted on general collections.

    Attributes:
        mean: over all of them.
        each: on any one.
    """

    mean: float
    each: float


@dataclass(frozen=True)
class Kept:
    """A trained model against its parent on one general collection.

    Attributes:
        n: judged queries.
        difference: of the means in the deciding metric, trained minus parent.
        low, high: one-sided 95 % bounds, with a phantom query that loses or gains everything.
    """

    collection: str
    n: int
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Forgetting:
    """A trained model against its parent over all general collections, each of which counts alike.

    Attributes:
        candidate: the trained model.
        reference: the model that training started from.
        share: of the trained weights; less than 1 where they are interpolated.
        metric: the deciding one.
        difference: mean over the collections.
        low, high: its one-sided 95 % bounds.
        outcome: "keeps" where less than the margin is provably lost in the mean, and less than the
            limit on every collection; "forgets" where more is provably lost in one of the two; else
            "open".
        collections: each by itself.
        limits: what is accepted.
    """

    candidate: str
    reference: str
    share: float
    metric: str
    difference: float
    low: float
    high: float
    outcome: Retention
    collections: tuple[Kept, ...]
    limits: AcceptedLoss

    @property
    def n(self) -> int:
        """Judged queries of all general collections."""
        return sum(each.n for each in self.collections)


def forgetting(plan: Plan) -> tuple[Forgetting, ...]:
    """Return what every trained candidate of a finished plan forgot; none without a collection."""
    suite = plan.suite
    general = suite.collections_of("general")
    metric = str(suite.deciding_metric)
    limits = AcceptedLoss(suite.decision.forgetting, suite.decision.forgetting_each)
    found = []
    for name in suite.candidates if general else ():
        reference = untrained(suite, name)
        if reference is None:
            continue
        cards = [
            [plan.scored[each, place].result(plan.store) for each in (name, reference)]
            for place in general
        ]
        groups = [plan.collections[place].clusters for place in general]
        differences = [_by_seed(tuned, before, metric) for tuned, before in cards]
        kept = [
            _kept(place, values, group)
            for place, values, group in zip(general, differences, groups, strict=True)
        ]
        mean = _measure(differences, groups)
        outcome = judge(mean[1], mean[2], kept, limits)
        share = getattr(suite.candidates[name], "interpolate", 1.0)
        found.append(
            Forgetting(name, reference, share, metric, *mean, outcome, tuple(kept), limits)
        )
    return tuple(found)


def untrained(suite: Suite, name: str) -> str | None:
    """Return the model that a trained candidate was made from; None of one that is not trained."""
    spec = suite.candidates[name]
    if not spec.changes_weights:
        return None
    [parent] = spec.parents
    return untrained(suite, parent) or parent


def trained_parts(suite: Suite, name: str) -> Iterator[str]:
    """Yield the trained models that answer for a candidate, each itself and not what it is from."""
    spec = suite.candidates[name]
    if spec.changes_weights:
        yield name
        return
    for other in spec.needs:
        yield from trained_parts(suite, other)


def judge(low: float, high: float, kept: Sequence[Kept], limits: AcceptedLoss) -> Retention:
    """Return what bounds of the mean and of each collection show.

    Every single claim is made at its full level: that nothing is forgotten takes all of them, and
    that something is takes one.
    """
    if low > -limits.mean and all(each.low > -limits.each for each in kept):
        return "keeps"
    if high < -limits.mean or any(each.high < -limits.each for each in kept):
        return "forgets"
    return "open"


def _by_seed(one: Scorecard, other: Scorecard, metric: str) -> Values:
    """Return differences of each seed, float64 [n_queries, n_seeds]."""
    return one.of_each_seed(metric) - other.of_each_seed(metric)


def _kept(collection: str, differences: Values, clusters: Clusters | None) -> Kept:
    return Kept(collection, len(differences), *_measure([differences], [clusters]))


def _measure(
    differences: Sequence[Values], clusters: Sequence[Clusters | None]
) -> tuple[float, float, float]:
    """Return the mean over the collections and its one-sided bounds.

    Each collection has one more query, which loses or gains everything, as in `bounds`. The seeds
    are those of the same trainings on every collection, so their means are averaged.
    """
    samples = [
        units(each.mean(axis=1, keepdims=True), group)
        for each, group in zip(differences, clusters, strict=True)
    ]
    found = macro_estimate([estimate(sample) for sample in samples])
    whole = SeedSpread(
        difference=float(found.mean[0]),
        means=np.mean([estimate(units(each)).mean for each in differences], axis=0),
        se_queries=float(found.se[0]),
        dof_queries=found.dof,
    )
    low, high = (_end(samples, sign) for sign in (-1, 1))
    low, high = whole.widened(low, high, 2 * _CONFIDENCE - 1)
    return whole.difference, max(-1.0, low), min(1.0, high)


def _end(samples: Sequence[Units], sign: int) -> float:
    """Return a one-sided bound of the mean over queries alone, with a phantom on each sample."""
    found = macro_estimate([estimate(with_phantom(sample, sign)) for sample in samples])
    return float(found.mean[0]) + sign * t_quantile(_CONFIDENCE, found.dof) * float(found.se[0])


def in_words(found: Forgetting) -> str:
    """Return what is known of a trained model's forgetting, as one sentence."""
    places = ", ".join(f"'{each.collection}'" for each in found.collections)
    limit, mean, alone = f"{found.limits.mean:g}", "", ""
    if len(found.collections) > 1:
        worst = min(found.collections, key=lambda each: each.low)
        limit += f", and {found.limits.each:g} on any one"
        mean = f", mean of {len(found.collections)}"
        alone = f", {worst.low:+.3f} on '{worst.collection}' alone"
    told = {
        "keeps": f"it forgets less than what is accepted ({limit})",
        "forgets": f"it forgets more than what is accepted ({limit})",
        "open": f"whether it forgets more than what is accepted ({limit}) is open",
    }
    return (
        f"'{found.candidate}' against '{found.reference}' on {places}: {found.metric} "
        f"{found.difference:+.3f}, at worst {found.low:+.3f}{alone} (n={found.n:,}{mean}, "
        f"one-sided {_CONFIDENCE:.0%}); {told[found.outcome]}."
    )
