"""Comparison: a candidate against the baseline or its parent, query by query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.errors import ExitCode, HarnessError
from harness.hashing import digest
from harness.metrics import Metric, Scorecard
from harness.statistics import PairedTests, paired
from harness.statistics.arrays import Values
from harness.statistics.families import max_t

Role = Literal["baseline", "parent"]
Edge = tuple[str, str, Role]

_FEWEST_QUERIES = 2


@dataclass(frozen=True)
class Comparison:
    """The paired difference of two candidates in one metric on one collection.

    The two means carry no interval of their own: whether two such intervals overlap does not
    answer whether the candidates differ, the interval of the difference does. Every field is a
    plain, finite value, so `dataclasses.asdict` is its JSON form.

    Attributes:
        candidate: the one that is judged.
        reference: the baseline or the candidate's parent, by `role`.
        role: what the reference is to the candidate.
        collection: name.
        metric: text, such as `ndcg@10`.
        n: judged queries.
        candidate_mean, reference_mean: over all judged queries.
        difference: candidate minus reference.
        low, high: its 95 % t-interval.
        p: two-sided sign-flip permutation p of this comparison alone.
        p_adjusted: the same for the family of all candidates with this role, metric and
            collection (max-T): the chance that any of them looks so different by luck.
        wins, ties, losses: of the candidate; a difference below 0.001 is a tie.
        effect_size: d_z, difference / standard deviation of the per-query differences.
        mde: smallest true difference that so many queries show with 80 % power.
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
    p_adjusted: float
    wins: int
    ties: int
    losses: int
    effect_size: float
    mde: float


def compare(
    scorecards: Mapping[str, Scorecard],
    edges: Sequence[Edge],
    metrics: Sequence[Metric],
    *,
    collection: str,
    seed: int,
) -> tuple[Comparison, ...]:
    """Compare the two candidates of every edge in every metric, on one collection.

    The sign flips depend on the seed, the collection's name and the metric alone, so that adding a
    candidate changes no other comparison.

    Args:
        scorecards: by candidate, over the same queries.
        edges: (candidate, reference, role).
        metrics: of the scorecards.
        collection: name.
        seed: of the suite.

    Returns:
        For each metric in order, one comparison per edge in order.

    Raises:
        HarnessError: the collection has fewer than two judged queries.
        KeyError: an edge or a metric is not in the scorecards.
    """
    if not edges or not metrics:
        return ()
    n = scorecards[edges[0][0]].n_queries
    if n < _FEWEST_QUERIES:
        raise HarnessError(
            f"collection '{collection}': a paired comparison needs {_FEWEST_QUERIES} judged "
            f"queries or more, got {n}. Add queries with judgements.",
            exit_code=ExitCode.DATA,
        )
    found = []
    for metric in map(str, metrics):
        values = {name: card.values[metric] for name, card in scorecards.items()}
        pairs = [values[candidate] - values[reference] for candidate, reference, _ in edges]
        key = int(digest("sign flips", seed, collection, metric), 16)
        differences = np.stack(pairs, axis=1)
        tests = paired(differences, seed=key)
        adjusted = _adjusted(differences, [role for *_, role in edges], seed=key)
        means = {name: float(per_query.mean()) for name, per_query in values.items()}
        found += [
            _comparison(edge, collection, metric, means, tests, adjusted, pair)
            for pair, edge in enumerate(edges)
        ]
    return tuple(found)


def _adjusted(differences: Values, roles: list[Role], *, seed: int) -> Values:
    """Return p adjusted within each role's family, float64 [n_edges]."""
    adjusted = np.ones(len(roles))
    for role in set(roles):
        members = [place for place, other in enumerate(roles) if other == role]
        adjusted[members] = max_t(differences[:, members], seed=seed).p_adjusted
    return adjusted


def _comparison(
    edge: Edge,
    collection: str,
    metric: str,
    means: Mapping[str, float],
    tests: PairedTests,
    adjusted: Values,
    pair: int,
) -> Comparison:
    candidate, reference, role = edge
    return Comparison(
        candidate=candidate,
        reference=reference,
        role=role,
        collection=collection,
        metric=metric,
        n=tests.n,
        candidate_mean=means[candidate],
        reference_mean=means[reference],
        difference=float(tests.difference[pair]),
        low=float(tests.low[pair]),
        high=float(tests.high[pair]),
        p=float(tests.p[pair]),
        p_adjusted=float(adjusted[pair]),
        wins=int(tests.wins[pair]),
        ties=int(tests.ties[pair]),
        losses=int(tests.losses[pair]),
        effect_size=float(tests.effect_size[pair]),
        mde=float(tests.mde[pair]),
    )
