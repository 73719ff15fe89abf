"""Comparison: a candidate against the baseline or its parent, query by query."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from harness import statistics
from harness.arrays import Clusters, Values
from harness.environment import package_version
from harness.errors import ExitCode, HarnessError
from harness.hashing import code_digest, digest
from harness.runs.metrics import Metric, Scorecard
from harness.statistics import Interval, PairedTests, paired
from harness.statistics.distributions import t_probability
from harness.statistics.families import FamilyTests, max_t, one_sided, real_gains
from harness.statistics.inferiority import Bounds, difference_bounds
from harness.statistics.pairs import TailRisk, tail_risk
from harness.statistics.posterior import macro_difference, macro_limits, posterior_differences
from harness.statistics.power import ALPHA
from harness.statistics.seeds import (
    SeedSpread,
    seed_spread,
    seed_spreads,
    seeded_bounds,
    seeded_draws,
    seeded_family,
    seeded_pairs,
)
from harness.statistics.units import design_effect, estimate, macro_estimate, units
from harness.statistics.unseen import cautious, skewness
from harness.statistics.verdicts import Verdict, more_queries, verdict
from harness.store import Store

Role = Literal["baseline", "parent", "pair"]
Edge = tuple[str, str, Role]

Unseen = Literal["", "losses", "gains", "losses and gains"]

_COMPARISONS = "comparisons"
_UNSEEN: dict[tuple[bool, bool], Unseen] = {
    (False, False): "",
    (True, False): "losses",
    (False, True): "gains",
    (True, True): "losses and gains",
}


@dataclass(frozen=True)
class Comparison:
    """The paired difference of two candidates in one metric on one collection.

    The two means carry no interval of their own: whether two such intervals overlap does not
    answer whether the candidates differ, the interval of the difference does. Every field is a
    plain, finite value, so `dataclasses.asdict` is its JSON form.

    Attributes:
        candidate: the one that is judged.
        reference: the baseline, the candidate's parent or, of every two runs, the one that was
            given first, by `role`.
        role: what the reference is to the candidate.
        collection: name.
        metric: text, such as `ndcg@10`.
        n: judged queries.
        candidate_mean, reference_mean: over all judged queries.
        difference: candidate minus reference.
        low, high: its 95% t-interval. Where one of the two was trained with several seeds it is
            for another query and another seed, and so is everything that follows but the counts of
            queries; where with one, the comparison judges that checkpoint and not the training.
        p: two-sided sign-flip permutation p of this comparison alone.
        family_low, family_high: 95% interval that holds for all candidates with this role, metric
            and collection together (max-T), within -1 and 1.
        p_adjusted: p for the same family: the chance that any of it looks so different by luck.
        p_holm: Holm's adjustment, a check that assumes nothing about dependence.
        verdict: "better", "equivalent" within the margin, "worse", or "inconclusive", by intervals
            and bounds of the family; never better or worse where `p_adjusted` is 0.05 or more.
        more_queries: about how many more would make an inconclusive comparison conclusive, else 0;
            also 0 where more queries alone would not.
        p_gain: posterior probability of a gain that is worthwhile.
        p_loss: posterior probability of a loss beyond the margin.
        wins, ties, losses: of the candidate; a difference below 0.001 is a tie.
        effect_size: d_z, difference / standard deviation of the per-query differences.
        mde: smallest true difference that so many queries show with 80% power, by `p_adjusted`;
            at most 1.
        severe: share of queries that lose 0.5 or more.
        worst_decile: mean difference of the tenth of the queries that lose most.
        u_risk: mean difference with losses counted twice; negative where they outweigh the gains.
        t_risk: `u_risk` in standard errors; below -2 the risk is significant.
        seeds: trainings whose mean is compared.
        sd_seeds: standard deviation of their mean differences; 0 where there is one.
        unseen: "losses", "gains" or "losses and gains" where so few queries may hide rare large
            ones (`statistics.unseen`): the intervals are widened on that side and p is raised.
    """

    candidate: str
    reference: str
    role: Role
    collection: str
    metric: str
    n: int
    candidate_mean: float
    reference_mean: float
    difference: float
    low: float
    high: float
    p: float
    family_low: float
    family_high: float
    p_adjusted: float
    p_holm: float
    verdict: Verdict
    more_queries: int
    p_gain: float
    p_loss: float
    wins: int
    ties: int
    losses: int
    effect_size: float
    mde: float
    severe: float
    worst_decile: float
    u_risk: float
    t_risk: float
    seeds: int = 1
    sd_seeds: float = 0.0
    unseen: Unseen = ""


@dataclass(frozen=True)
class Overall:
    """A candidate against the baseline over several collections, each of which counts the same.

    Attributes:
        candidate, reference, metric: as of a `Comparison`.
        collections: how many.
        n: queries of all of them.
        difference: mean over the collections of the mean differences.
        low, high: its 95% interval by the stratified bootstrap, which holds for all candidates
            together: about these collections, not about others like them.
        p_gain: posterior probability that it is a worthwhile gain.
        p_loss: posterior probability that it is a loss beyond the margin.
        gains: collections with a real gain; with 95% confidence there are at least so many (Dror
            et al. 2017).
        losses: the same of losses.
    """

    candidate: str
    reference: str
    metric: str
    collections: int
    n: int
    difference: float
    low: float
    high: float
    p_gain: float
    p_loss: float
    gains: list[str]
    losses: list[str]


class Sizes(NamedTuple):
    """Differences that matter, of the suite's ``[decision]``.

    Attributes:
        gain: smallest gain that is worth a change.
        margin: loss that does not matter.
    """

    gain: float
    margin: float


def compare(
    scorecards: Mapping[str, Scorecard],
    edges: Sequence[Edge],
    metrics: Sequence[Metric],
    *,
    collection: str,
    seed: int,
    sizes: Sizes,
    clusters: Clusters | None = None,
    store: Store | None = None,
) -> tuple[Comparison, ...]:
    """Compare the two candidates of every edge in every metric, on one collection.

    The sign flips depend on the seed, the collection's name and the metric alone, so that adding a
    candidate changes no other comparison but for what is said of the whole family.

    Args:
        scorecards: by candidate, over the same queries.
        edges: (candidate, reference, role).
        metrics: of the scorecards.
        collection: name.
        seed: of the suite.
        sizes: what gain and what loss matter.
        clusters: int [n_queries], queries that belong together; None where all are independent.
        store: what the same code found about the same values is read from it, else written.

    Returns:
        For each metric in order, one comparison per edge in order.

    Raises:
        HarnessError: the collection has fewer than two judged queries.
        KeyError: an edge or a metric is not in the scorecards.
    """
    if not edges or not metrics:
        return ()
    from harness.suite.inputs import FEWEST_QUERIES  # what reads results loads no collection

    n = scorecards[edges[0][0]].n_queries
    if n < FEWEST_QUERIES:
        raise HarnessError(
            f"collection '{collection}': a paired comparison needs {FEWEST_QUERIES} judged "
            f"queries or more, got {n}. Add queries with judgements.",
            exit_code=ExitCode.DATA,
        )
    names = list(dict.fromkeys(name for edge in edges for name in edge[:2]))
    values = [[scorecards[name].of_each_seed(str(metric)) for name in names] for metric in metrics]
    code = code_digest(Path(__file__), Path(statistics.__file__).parent)
    libraries = [package_version(name) for name in ("numpy", "scipy")]
    asked = (names, edges, [str(metric) for metric in metrics], collection, seed, sizes)
    key = digest("comparisons", code, libraries, values, asked, clusters)
    stored = store.get(_COMPARISONS, key) if store else None
    if stored is not None:
        return tuple(
            Comparison(**{**each, "verdict": Verdict(each["verdict"])})
            for each in stored.meta["comparisons"]
        )
    found: dict[tuple[str, Edge], Comparison] = {}
    for metric in map(str, metrics):
        flips = int(digest("sign flips", seed, collection, metric), 16)
        for role in dict.fromkeys(role for *_, role in edges):
            family = [edge for edge in edges if edge[2] == role]
            pairs = [_by_seed(scorecards, edge, metric) for edge in family]
            tested = _test(pairs, seed=flips, clusters=clusters)
            for at, edge in enumerate(family):
                means = [float(np.mean(scorecards[name].values[metric])) for name in edge[:2]]
                found[metric, edge] = _comparison(
                    edge, collection, metric, means, tested, at, sizes
                )
    ordered = tuple(found[str(metric), edge] for metric in metrics for edge in edges)
    if store:
        with suppress(HarnessError):  # a store that cannot be written remembers nothing
            meta = {"comparisons": [asdict(each) for each in ordered]}
            store.put(_COMPARISONS, key, arrays={}, meta=meta)
    return ordered


def compare_overall(
    scorecards: Mapping[str, Mapping[str, Scorecard]],
    edges: Sequence[Edge],
    metrics: Sequence[Metric],
    *,
    seed: int,
    sizes: Sizes,
    clusters: Mapping[str, Clusters | None],
) -> Iterator[Overall]:
    """Compare the two candidates of every edge in every metric, over all collections.

    Args:
        scorecards: by collection, then by candidate.
        edges: (candidate, reference, role).
        metrics: of the scorecards.
        seed: of the suite.
        sizes: what gain and what loss matter.
        clusters: of each collection, as in `compare`.
    """
    names = list(scorecards)
    for metric in map(str, metrics) if edges else ():
        pairs = [[_by_seed(cards, edge, metric) for edge in edges] for cards in scorecards.values()]
        columns = [_means(part) for part in pairs]
        seeds = [int(digest("sign flips", seed, name, metric), 16) for name in names]
        grouped = [clusters[name] for name in names]
        macro = macro_difference(columns, seeds=seeds, clusters=grouped)
        # A training is one on all collections: its means over them vary from seed to seed.
        by_training = [
            np.mean([part[at].mean(axis=0) for part in pairs], axis=0) for at in range(len(edges))
        ]
        key = int(digest("seeds", seed, metric), 16)
        draws = seeded_draws(macro.draws, by_training, seed=key)
        low, high = _overall_bounds(columns, grouped, macro.draws, by_training)
        tests = [
            seeded_pairs(
                paired(_means(part), seed=key, clusters=group), _spreads(part, clusters=group)
            )
            for part, key, group in zip(pairs, seeds, grouped, strict=True)
        ]
        p = np.stack([test.p for test in tests])
        difference = np.stack([test.difference for test in tests])
        gains = real_gains(one_sided(p, difference))
        losses = real_gains(one_sided(p, -difference))
        for at, (candidate, reference, _) in enumerate(edges):
            yield Overall(
                candidate=candidate,
                reference=reference,
                metric=metric,
                collections=len(names),
                n=sum(map(len, columns)),
                difference=float(macro.difference[at]),
                low=float(low[at]),
                high=float(high[at]),
                p_gain=float((draws[:, at] >= sizes.gain).mean()),
                p_loss=float((draws[:, at] < -sizes.margin).mean()),
                gains=[name for name, gain in zip(names, gains[:, at], strict=True) if gain],
                losses=[name for name, loss in zip(names, losses[:, at], strict=True) if loss],
            )


def _overall_bounds(
    columns: Sequence[Values],
    clusters: Sequence[Clusters | None],
    draws: Values,
    by_training: Sequence[Values],
) -> tuple[Values, Values]:
    """Return the simultaneous bounds of all candidates, as `decide` has them."""
    samples = [units(part, group) for part, group in zip(columns, clusters, strict=True)]
    over = macro_estimate([estimate(sample) for sample in samples])
    limits = macro_limits(samples, over, draws)
    confidence = 1 - 2 * t_probability(-limits.critical, over.dof)
    widened = [
        spread.widened(low, high, confidence)
        for spread, low, high in zip(
            seed_spreads(over, by_training), limits.low, limits.high, strict=True
        )
    ]
    low, high = np.clip(np.array(widened), -1, 1).T
    return low, high


class _Tested(NamedTuple):
    """What is known of a family of paired differences, each over the same columns."""

    alone: PairedTests
    family: FamilyTests
    bounds: Bounds
    risk: TailRisk
    draws: Values
    design_effect: Values
    skewness: Values
    spreads: Sequence[SeedSpread]


def _by_seed(cards: Mapping[str, Scorecard], edge: Edge, metric: str) -> Values:
    """Return the differences of an edge for each training seed, float64 [n_queries, n_seeds]."""
    return cards[edge[0]].of_each_seed(metric) - cards[edge[1]].of_each_seed(metric)


def _means(pairs: Sequence[Values]) -> Values:
    """Return the mean over the seeds of each query and pair, float64 [n_queries, n_pairs]."""
    return np.stack([pair.mean(axis=1) for pair in pairs], axis=1)


def _spreads(pairs: Sequence[Values], *, clusters: Clusters | None) -> list[SeedSpread]:
    return [seed_spread(pair, clusters=clusters) for pair in pairs]


def _test(pairs: Sequence[Values], *, seed: int, clusters: Clusters | None) -> _Tested:
    columns, spreads = _means(pairs), _spreads(pairs, clusters=clusters)
    stretched = [spread.stretched(columns[:, at]) for at, spread in enumerate(spreads)]
    drawn = posterior_differences(columns, seed=seed, clusters=clusters)
    family = max_t(np.stack(stretched, axis=1), seed=seed, clusters=clusters)
    limits = difference_bounds(columns, clusters=clusters, critical=family.one_sided)
    return _Tested(
        alone=seeded_pairs(paired(columns, seed=seed, clusters=clusters), spreads),
        family=seeded_family(family, spreads, cautious(units(columns, clusters))),
        bounds=seeded_bounds(limits, spreads),
        risk=tail_risk(columns, clusters=clusters),
        draws=seeded_draws(drawn, [spread.means for spread in spreads], seed=seed),
        design_effect=design_effect(columns, clusters),
        skewness=skewness(columns),
        spreads=spreads,
    )


def _comparison(
    edge: Edge,
    collection: str,
    metric: str,
    means: Sequence[float],
    tested: _Tested,
    at: int,
    sizes: Sizes,
) -> Comparison:
    candidate, reference, role = edge
    alone, family, risk = tested.alone, tested.family, tested.risk
    answer = _verdict(tested, at, sizes)
    return Comparison(
        candidate=candidate,
        reference=reference,
        role=role,
        collection=collection,
        metric=metric,
        n=alone.n,
        candidate_mean=means[0],
        reference_mean=means[1],
        difference=float(alone.difference[at]),
        low=max(-1.0, float(alone.low[at])),
        high=min(1.0, float(alone.high[at])),
        p=float(alone.p[at]),
        family_low=max(-1.0, float(family.low[at])),
        family_high=min(1.0, float(family.high[at])),
        p_adjusted=float(family.p_adjusted[at]),
        p_holm=float(family.p_holm[at]),
        verdict=answer,
        more_queries=_more_queries(tested, at, sizes) if answer is Verdict.INCONCLUSIVE else 0,
        p_gain=float((tested.draws[:, at] >= sizes.gain).mean()),
        p_loss=float((tested.draws[:, at] < -sizes.margin).mean()),
        wins=int(alone.wins[at]),
        ties=int(alone.ties[at]),
        losses=int(alone.losses[at]),
        effect_size=float(alone.effect_size[at]),
        mde=min(1.0, float(family.mde[at])),
        severe=float(risk.severe[at]),
        worst_decile=float(risk.worst_decile[at]),
        u_risk=float(risk.u_risk[at]),
        t_risk=float(risk.t_risk[at]),
        seeds=len(tested.spreads[at].means),
        sd_seeds=tested.spreads[at].sd_seeds,
        unseen=_UNSEEN[bool(alone.unseen_losses[at]), bool(alone.unseen_gains[at])],
    )


def _verdict(tested: _Tested, at: int, sizes: Sizes) -> Verdict:
    """Return the answer that interval and p of the family agree on.

    They may not where queries are few: two queries with the same gain have an interval of no width
    and p = 0.5.
    """
    family, limits = tested.family, tested.bounds
    difference = float(family.difference[at])
    answer = verdict(
        Interval(difference, float(family.low[at]), float(family.high[at])),
        Interval(difference, float(limits.low[at]), float(limits.high[at])),
        margin=sizes.margin,
        gain=sizes.gain,
    )
    has_a_side = answer in {Verdict.BETTER, Verdict.WORSE}
    return Verdict.INCONCLUSIVE if has_a_side and family.p_adjusted[at] >= ALPHA else answer


def _more_queries(tested: _Tested, at: int, sizes: Sizes) -> int:
    alone, family = tested.alone, tested.family
    # The family's level; of a handful of queries, where none is reached, that of Bonferroni.
    reached = 2 * t_probability(-family.critical, max(1, alone.n - 1))
    rare = bool(alone.unseen_losses[at] or alone.unseen_gains[at])
    return more_queries(
        float(alone.difference[at]),
        float(alone.sd[at]),
        alone.n,
        margin=sizes.margin,
        alpha=min(ALPHA, max(reached, ALPHA / len(family.difference))),
        skewness=float(tested.skewness[at]) if rare else 0.0,
        design_effect=float(tested.design_effect[at]),
    )
