"""Recall: how much of what its parent finds a compression finds too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from harness.arrays import Values
from harness.runs.run import Run
from harness.statistics import mean_interval
from harness.value import Value

if TYPE_CHECKING:
    from harness.plan.plan import Plan

_RECALLED = 100  # ranks at which a compression is compared with its parent


class Recall(Value):
    """How much of what a compression's parent finds first the compression finds too.

    The parent of an index searches the same vectors exactly.

    Attributes:
        k: ranks that are compared.
        mean: share of the parent's first k documents that are among its own first k, mean over the
            queries, with its 95% t-interval.
        n: queries.
    """

    candidate: str
    parent: str
    collection: str
    k: int
    mean: float
    low: float
    high: float
    n: int


def recalls(plan: Plan) -> Iterator[Recall]:
    """Yield how much of its parent's first documents each compression finds, mean over seeds."""
    for name, spec in plan.suite.candidates.items():
        for parent in spec.parents if spec.compresses else ():
            for place, collection in plan.collections.items():
                pairs = zip(
                    plan.scored[name, place].stages, plan.scored[parent, place].stages, strict=True
                )
                shares = [
                    _share_found(*(each.run_stage.result(plan.store) for each in pair))
                    for pair in pairs
                ]
                interval = mean_interval(np.mean(shares, axis=0), clusters=collection.clusters)
                yield Recall(
                    candidate=name,
                    parent=parent,
                    collection=place,
                    k=_RECALLED,
                    mean=interval.mean,
                    low=max(0.0, interval.low),
                    high=min(1.0, interval.high),
                    n=len(collection.queries),
                )


def _share_found(found: Run, wanted: Run) -> Values:
    """Return the share of one run's first documents among the other's, float64 [n_queries]."""
    first = np.array(wanted.documents[:, :_RECALLED])
    ranks = found.ranks_of(first)
    there = (ranks > 0) & (ranks <= _RECALLED)
    shares: Values = there.sum(axis=1) / np.maximum((first >= 0).sum(axis=1), 1)
    return shares
