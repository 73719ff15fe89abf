"""Training: what is reported of trained candidates, and of weighted sums whose weights were found.

What training forgot on general collections, which hard negatives it was trained against, which
held-out data chose its checkpoints, and which synthetic queries it learned from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from harness.arrays import Clusters, Values
from harness.retrieval.fusion import FuseRuns, TunedFusion, constant_lists
from harness.stage import Stage
from harness.statistics.distributions import t_quantile
from harness.statistics.seeds import seed_spreads
from harness.statistics.units import estimate, macro_estimate, units
from harness.statistics.unseen import with_phantom
from harness.statistics.verdicts import signed
from harness.store import Store
from harness.suite.spec import Suite, lineage
from harness.value import Value

if TYPE_CHECKING:
    from harness.plan.plan import Plan
    from harness.training.data import Origin
    from harness.training.finetune import Train


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
        low, high: one-sided 95% bounds, with a phantom query that loses or gains everything.
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
        low, high: its one-sided 95% bounds.
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
        differences = [
            tuned.of_each_seed(metric) - before.of_each_seed(metric) for tuned, before in cards
        ]
        kept = [
            Kept(place, len(values), *_measure([values], [group]))
            for place, values, group in zip(general, differences, groups, strict=True)
        ]
        mean = _measure(differences, groups)
        outcome = retention_of(mean[1], mean[2], kept, limits)
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


def retention_of(low: float, high: float, kept: Sequence[Kept], limits: AcceptedLoss) -> Retention:
    """Return what bounds of the mean and of each collection show.

    Every single claim is made at its full level: that nothing is forgotten takes all of them, and
    that something is takes one.
    """
    if low > -limits.mean and all(each.low > -limits.each for each in kept):
        return "keeps"
    if high < -limits.mean or any(each.high < -limits.each for each in kept):
        return "forgets"
    return "open"


def _measure(
    differences: Sequence[Values], clusters: Sequence[Clusters | None]
) -> tuple[float, float, float]:
    """Return the mean over the collections and its one-sided bounds.

    Each collection has one more query, which loses or gains everything, as in `difference_bounds`.
    The seeds are those of the same trainings on every collection, so their means are averaged.
    """
    samples = [
        units(each.mean(axis=1, keepdims=True), group)
        for each, group in zip(differences, clusters, strict=True)
    ]
    found = macro_estimate([estimate(sample) for sample in samples])
    means = np.mean([estimate(units(each)).mean for each in differences], axis=0)
    [whole] = seed_spreads(found, [means])
    ends = []
    for sign in (-1, 1):  # over queries alone
        bound = macro_estimate([estimate(with_phantom(sample, sign)) for sample in samples])
        critical = sign * t_quantile(_CONFIDENCE, bound.dof)
        ends.append(float(bound.mean[0]) + critical * float(bound.se[0]))
    low, high = whole.widened(ends[0], ends[1], 2 * _CONFIDENCE - 1)
    return whole.difference, max(-1.0, low), min(1.0, high)


def forgetting_in_words(found: Forgetting) -> str:
    """Return what is known of a trained model's forgetting, as one sentence."""
    places = ", ".join(f"'{each.collection}'" for each in found.collections)
    limit, mean, alone = f"{found.limits.mean:g}", "", ""
    if len(found.collections) > 1:
        worst = min(found.collections, key=lambda each: each.low)
        limit += f", and {found.limits.each:g} on any one"
        mean = f", mean of {len(found.collections)}"
        alone = f", {signed(worst.low)} on '{worst.collection}' alone"
    told = {
        "keeps": f"it forgets less than accepted ({limit})",
        "forgets": f"it forgets more than accepted ({limit})",
        "open": f"it may forget more than accepted ({limit})",
    }
    return (
        f"'{found.candidate}' against '{found.reference}' on {places}: {found.metric} "
        f"{signed(found.difference)}, at worst {signed(found.low)}{alone} (n={found.n:,}{mean}, "
        f"one-sided {_CONFIDENCE:.0%}); {told[found.outcome]}."
    )


_REASONS = {
    "relevant": "relevant, or read like a relevant one",
    "ceiling": "above the ceiling",
    "margin": "within the margin",
    "duplicate": "repeated",
    "filter": "relevant to the filter's cross-encoder",
    "not needed": "not needed",
}


class MinedNegatives(Value):
    """The hard negatives that one candidate was trained against.

    Attributes:
        candidate: that was trained.
        search: what found them.
        ranks: of the search that were looked at, first and last.
        pairs: of query and relevant document.
        found: documents at these ranks, over all pairs.
        dropped: how many of them were not taken, by reason.
        mined: negatives that were taken.
        random: documents drawn at random where fewer than asked for were left.
        pairs_without: pairs with random documents alone.
    """

    candidate: str
    search: str
    ranks: tuple[int, int]
    pairs: int
    found: int
    dropped: dict[str, int]
    mined: int
    random: int
    pairs_without: int


def mined_negatives(plan: Plan) -> Iterator[MinedNegatives]:
    """Yield what was mined for every candidate of a finished plan that is trained on it."""
    for name in plan.suite.candidates:
        examples = plan.planner.builder(name).examples()
        stage = examples.negatives if examples is not None else None
        if stage is None:
            continue
        meta = stage.stored(plan.store).meta
        first, last = stage.spec.range
        counts = ("pairs", "found", "dropped", "mined", "random", "pairs_without")
        yield MinedNegatives(
            candidate=name,
            search=stage.first.name,
            ranks=(first, last),
            **{count: meta[count] for count in counts},
        )


def mining_in_words(mined: MinedNegatives) -> str:
    """Return what was taken and dropped, in a sentence."""
    first, last = mined.ranks
    dropped = ", ".join(
        f"{count:,} {_REASONS.get(reason, reason)}"
        for reason, count in mined.dropped.items()
        if count
    )
    drawn = (
        f" {mined.random:,} more are drawn at random where fewer were left"
        f" ({mined.pairs_without:,} pairs have these alone)."
        if mined.random
        else ""
    )
    return (
        f"'{mined.candidate}' is trained against {mined.mined:,} hard negatives of {mined.pairs:,} "
        f"pairs, of {mined.found:,} documents at ranks {first} to {last} of {mined.search} "
        f"(left out: {dropped or 'none'}).{drawn}"
    )


def tuned_on(suite: Suite, name: str) -> list[str]:
    """Return the data that chose the checkpoints of a candidate and of its dependencies."""
    spec = suite.candidates[name]
    own = getattr(spec.recipe, "dev", None)
    before = [data for other in spec.needs for data in tuned_on(suite, other)]
    return list(dict.fromkeys([*before, *([own] if own is not None else [])]))


def dev_warnings(plan: Plan, stages: Collection[Stage] | None = None) -> Iterator[str]:
    """Yield a sentence for each candidate that did no better on its dev data than its parent.

    Args:
        plan: of the suite.
        stages: finished ones, whose trainings are told of; None where the whole plan is finished.
    """
    from harness.training.finetune import Train

    for name in plan.suite.candidates:
        found = [
            stage
            for stage in map(plan.planner.training, plan.planner.replicas.names[name])
            if isinstance(stage, Train) and stage.dev is not None
            if stages is None or stage in stages
        ]
        yield from no_better(name, found, plan.store)


def no_better(name: str, trained: Sequence[Train], store: Store) -> Iterator[str]:
    """Yield a sentence if the kept checkpoint of a training did no better on dev than its parent.

    Args:
        name: of the candidate.
        trained: its trainings, one for each seed, all with dev data.
        store: where they lie.
    """
    told = [stage.stored(store).meta["dev"] for stage in trained]
    worse = [dev for dev in told if dev["best"] <= dev["before"]]
    if worse:
        found = min(worse, key=lambda dev: dev["best"] - dev["before"])
        many = f" in {len(worse)} of {len(told)} trainings" if len(told) > 1 else ""
        yield (
            f"'{name}': training did not improve it{many} on '{trained[0].spec.dev}', "
            f"which selected its checkpoint: {found['measure']} {found['best']:.3f} at best, "
            f"{found['before']:.3f} before (n={found['n']:,}). Lower learning_rate, or train on "
            "other data."
        )


def synthetic_origins(plan: Plan, name: str) -> tuple[Origin, ...]:
    """Return the synthetic data that a candidate itself is trained on."""
    examples = plan.planner.builder(name).examples()
    return tuple(each for each in examples.origins if each.synthetic) if examples else ()


def is_synthetic(plan: Plan, name: str) -> bool:
    """Tell whether a candidate, or any that it needs, is trained on synthetic queries."""
    return any(synthetic_origins(plan, each) for each in lineage(plan.suite, name))


def synthetic_warnings(plan: Plan) -> Iterator[str]:
    """Yield a sentence for each table of synthetic queries, with who is trained on it."""
    trained: dict[tuple[str, int], list[str]] = {}
    origins: dict[tuple[str, int], Origin] = {}
    for name in plan.suite.candidates:
        for origin in synthetic_origins(plan, name):
            same = (origin.name, origin.kept)
            trained.setdefault(same, []).append(f"'{name}'")
            origins.setdefault(same, origin)
    for same, names in trained.items():
        origin = origins[same]
        are = "is" if len(names) == 1 else "are"
        who = f"candidate{'s' if len(names) > 1 else ''} {', '.join(names)} {are}"
        counts = ", ".join(f"{count:,} {what}" for what, count in origin.dropped.items())
        dropped = f"; dropped: {counts}" if counts else ""
        yield (
            f"{who} trained on synthetic queries: {origin.kept:,} of {origin.read:,} of "
            f"'{origin.name}' ({origin.source}) are kept{dropped}. None is scored."
        )
    yield from realism_in_words(plan)


def realism_in_words(plan: Plan) -> Iterator[str]:
    """Yield a sentence for each table of synthetic queries that is compared with a query log."""
    for ask in plan.planner.asks.values():
        found = ask.realism(plan.store)
        if found is not None:
            yield found.sentence


def _found_weights(plan: Plan) -> Iterator[str]:
    """Yield the weights that were found, and where."""
    stages = {name: stage.run_stage for (name, _), stage in plan.scored.items()}
    for name, run in stages.items():
        if isinstance(run, TunedFusion):
            found, tuning = run.tuning.stored(plan.store).meta, run.tuning
            weights = zip(found["weights"], run.spec.fuse, strict=True)
            shares = ", ".join(f"{weight:g} for {member}" for weight, member in weights)
            yield (
                f"'{name}': the weights {shares} were found on {tuning.collection.name} "
                f"(n={found['queries']:,}): {tuning.metric} {found['score']:.3f} there, "
                f"{found['equal']:.3f} with equal weights."
            )


def fusion_warnings(plan: Plan) -> Iterator[str]:
    """Yield the weights that were found, and where one had only scores of one value to scale."""
    yield from _found_weights(plan)
    for (name, collection), stage in plan.scored.items():
        run = stage.run_stage
        if not isinstance(run, FuseRuns) or run.spec.method != "wsum":
            continue
        for other, member in zip(run.spec.fuse, run.members, strict=True):
            constant = constant_lists(member.result(plan.store))
            if constant:
                queries = len(plan.collections[collection].queries)
                yield (
                    f"'{name}' on '{collection}': '{other}' returns one result, or equal scores, "
                    f"for {constant} of {queries} queries. These scores are scaled to 1."
                )
