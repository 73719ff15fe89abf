"""Fusion: one run out of several, by their ranks or by their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

from harness.collection import Collection
from harness.retrieval.run_stage import RunStage
from harness.runs.context import document_tokens
from harness.runs.metrics import Metric, score
from harness.runs.run import Run, rank
from harness.stage import Context, StoredStage, unkeyed
from harness.suite.kinds.fuse import Fuse

_MOST = 300  # weightings that are tried


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


def weightings(members: int) -> list[tuple[float, ...]]:
    """Return the weights that are tried: all that sum to 1, in even steps, at most 300.

    Those nearest to equal weights come first.

    >>> weightings(2)[:3]
    [(0.5, 0.5), (0.45, 0.55), (0.55, 0.45)]
    """
    steps = next(
        (each for each in (20, 10, 5, 4, 3, 2) if comb(each + members - 1, members - 1) <= _MOST), 1
    )
    bars = combinations(range(steps + members - 1), members - 1)
    cuts = (np.diff([-1, *places, steps + members - 1]) - 1 for places in bars)
    found = [tuple((cut / steps).tolist()) for cut in cuts]
    return sorted(found, key=lambda each: (round(float(np.var(each)), 12), each))


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

    spec: Fuse = field(metadata=unkeyed("`members` are their runs", "fuse", "dev"))
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


@dataclass(frozen=True, eq=False)
class TuneWeights(StoredStage):
    """Stage: the weights of a weighted sum that score best on a split that is not compared.

    Attributes:
        name: the candidate, for people.
        members: the runs on that split.
        collection: the split.
        metric: which decides.
    """

    kind = "fusions"

    name: str = field(metadata=unkeyed("for people"))
    members: tuple[RunStage, ...]
    collection: Collection
    metric: Metric

    @property
    def label(self) -> str:
        """What is done."""
        return f"tune the weights of {self.name} on {self.collection.name}"

    def run(self, context: Context) -> None:
        """Try all weightings, and store the best with its score, and the score of equal ones."""
        key = self.ready_key(context.store)
        runs = [member.result(context.store) for member in self.members]
        gains = [scaled(run) for run in runs]
        tried = weightings(len(runs))
        judged = self.collection
        tokens = document_tokens(judged.documents) if self.metric.in_tokens else None
        means = []
        with context.progress.task(self.label, total=len(tried), unit="weightings") as advance:
            for weights in tried:
                sums = [weight * gain for weight, gain in zip(weights, gains, strict=True)]
                card = score(
                    _summed(runs, sums),
                    judged.judgements,
                    (self.metric,),
                    n_queries=len(judged.queries),
                    tokens=tokens,
                )
                means.append(float(card.values[str(self.metric)].mean()))
                advance(1)
        best = int(
            np.argmax(np.round(means, 12))
        )  # the first of equals is nearest to equal weights
        meta = {
            "label": self.label,
            "weights": list(tried[best]),
            "score": means[best],
            "equal": means[0],
            "queries": len(judged.queries),
        }
        context.store.put(self.kind, key, arrays={}, meta=meta)


@dataclass(frozen=True, eq=False)
class TunedFusion(FuseRuns):
    """Stage: a weighted sum whose weights were found on another split.

    Attributes:
        tuning: what finds them.
    """

    tuning: TuneWeights

    def produce(self, context: Context) -> Run:
        """Fuse the stored runs with the weights that were found."""
        weights = self.tuning.stored(context.store).meta["weights"]
        spec = self.spec.model_copy(update={"weights": weights})
        return fuse([member.result(context.store) for member in self.members], spec)
