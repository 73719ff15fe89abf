"""Fusion: one run out of several, by their ranks or by their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from harness.retrieval.run_stage import RunStage
from harness.runs.run import Run, rank
from harness.stage import Context, unkeyed
from harness.suite.kinds.fuse import Fuse


def fuse(runs: Sequence[Run], spec: Fuse) -> Run:
    """Fuse runs over the same queries.

    The weighted sum reads scores, scaled to 0-1 a query; reciprocal rank fusion reads ranks alone.

    Returns:
        a run as deep as the deepest of `runs`.
    """
    shapes = [run.documents.shape for run in runs]
    if spec.method == "rrf":
        gains = [np.broadcast_to(1 / (spec.k + 1 + np.arange(n[1])), n) for n in shapes]
    else:
        weights = spec.weights or [1.0 / len(runs)] * len(runs)
        gains = [weight * scaled(run) for weight, run in zip(weights, runs, strict=True)]
    return _summed(runs, gains)


def scaled(run: Run) -> npt.NDArray[np.float64]:
    """Return the scores of each query scaled to 0-1, float64 [n_queries, k].

    All scores of a query with one result, or with equal scores, are 1: a document that was found is
    never worth as little as one that was not. So does OpenSearch; ranx gives 0.
    """
    scores = run.scores.astype(np.float64)
    found = run.documents >= 0
    low = np.min(scores, axis=1, keepdims=True, where=found, initial=np.inf)
    high = np.max(scores, axis=1, keepdims=True, where=found, initial=-np.inf)
    spread = np.where(high > low, high - low, 1.0)
    with np.errstate(invalid="ignore"):  # a query without results has neither
        return np.where(found, np.where(high > low, (scores - low) / spread, 1.0), 0.0)


def constant_lists(run: Run) -> int:
    """Return how many queries have results of one score, or one result: nothing to scale by."""
    scores = np.where(run.documents >= 0, run.scores, run.scores[:, :1])
    return int(np.count_nonzero((run.documents[:, 0] >= 0) & (np.ptp(scores, axis=1) == 0)))


def _summed(runs: Sequence[Run], gains: Sequence[npt.NDArray[np.float64]]) -> Run:
    """Sum what each document gains over the runs."""
    depth = max(run.depth for run in runs)
    documents = np.concatenate([run.documents for run in runs], axis=1)
    order = np.argsort(documents, axis=1, kind="stable")
    ascending = np.take_along_axis(documents, order, axis=1)
    found = np.take_along_axis(np.concatenate(gains, axis=1), order, axis=1)
    ordered = np.where(ascending >= 0, found, 0.0)
    first = np.ones(documents.shape, dtype=bool)
    first[:, 1:] = ascending[:, 1:] != ascending[:, :-1]
    sums = np.add.reduceat(ordered.reshape(-1), np.flatnonzero(first))
    scores = np.zeros(documents.shape)
    scores[first] = sums
    return rank(np.where(first, ascending, -1), scores, depth=depth)


@dataclass(frozen=True, eq=False)
class FuseRuns(RunStage):
    """Stage: the fusion of other candidates' runs.

    Attributes:
        spec: how.
        members: the runs, in the order of ``spec.fuse``.
    """

    spec: Fuse = field(metadata=unkeyed("`members` are their runs", "fuse"))
    members: tuple[RunStage, ...]

    @property
    def label(self) -> str:
        """What is done."""
        return f"fuse for {self.name}"

    @property
    def leaves(self) -> tuple[RunStage, ...]:
        """The stages that retrieve for the members."""
        return tuple(leaf for member in self.members for leaf in member.leaves)

    def produce(self, context: Context) -> Run:
        """Fuse the stored runs."""
        return fuse([member.result(context.store) for member in self.members], self.spec)
