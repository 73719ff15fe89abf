"""Fusion: one run out of several, by their ranks or, with ranx, by their scores."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.hashing import digest
from harness.run import Run, rank
from harness.run_stage import RunStage
from harness.stage import Context
from harness.store import Store
from harness.suite import Fuse

# ranx's compiled code knows no empty list of results: every list carries this entry, scored 0 and
# dropped afterwards.
_NOTHING = "-1"


def fuse(runs: Sequence[Run], spec: Fuse) -> Run:
    """Fuse runs over the same queries.

    The weighted sum reads scores, scaled to 0-1 a query, by ranx. Reciprocal rank fusion reads
    ranks alone, which our runs hold as arrays: ranx would first build dictionaries of text.

    Returns:
        a run as deep as the deepest of `runs`.
    """
    depth = max(run.depth for run in runs)
    return _by_rank(runs, spec.k, depth) if spec.method == "rrf" else _by_score(runs, spec, depth)


def _by_rank(runs: Sequence[Run], k: int, depth: int) -> Run:
    """Sum 1 / (k + rank) over the runs."""
    documents = np.concatenate([run.documents for run in runs], axis=1)
    gains = np.concatenate([1 / (k + 1 + np.arange(run.depth)) for run in runs])
    order = np.argsort(documents, axis=1, kind="stable")
    ascending = np.take_along_axis(documents, order, axis=1)
    ordered = np.where(ascending >= 0, gains[order], 0.0)
    first = np.ones(documents.shape, dtype=bool)
    first[:, 1:] = ascending[:, 1:] != ascending[:, :-1]
    sums = np.add.reduceat(ordered.reshape(-1), np.flatnonzero(first))
    scores = np.zeros(documents.shape)
    scores[first] = sums
    return rank(np.where(first, ascending, -1), scores, depth=depth)


def _by_score(runs: Sequence[Run], spec: Fuse, depth: int) -> Run:
    import ranx

    given = [_to_ranx(run) for run in runs]
    weights = spec.weights or [1.0 / len(runs)] * len(runs)
    with warnings.catch_warnings():
        # numba says so of a loop counter, where it compiles ranx's functions for the first time.
        warnings.filterwarnings("ignore", message="unsafe cast from uint64 to int64")
        fused = ranx.fuse(given, norm="min-max", method="wsum", params={"weights": weights})
    return _from_ranx(fused, n_queries=len(runs[0].documents), depth=depth)


def _to_ranx(run: Run) -> Any:
    import ranx

    results = {}
    for query, (rows, scores) in enumerate(zip(run.documents, run.scores, strict=True)):
        kept = int((rows >= 0).sum())
        names, values = map(str, rows[:kept].tolist()), map(float, scores[:kept])
        results[f"{query}"] = dict(zip(names, values, strict=True)) or {_NOTHING: 0.0}
    return ranx.Run(results)


def _from_ranx(fused: Any, *, n_queries: int, depth: int) -> Run:
    lists = fused.to_dict()
    width = max(len(entries) for entries in lists.values())
    rows: npt.NDArray[np.int32] = np.full((n_queries, width), -1, dtype=np.int32)
    scores = np.zeros((n_queries, width))
    for query, entries in lists.items():
        rows[int(query), : len(entries)] = [int(row) for row in entries]
        scores[int(query), : len(entries)] = list(entries.values())
    return rank(rows, scores, depth=depth)


@dataclass(frozen=True, eq=False)
class FuseRuns(RunStage):
    """Stage: the fusion of other candidates' runs.

    Attributes:
        spec: how.
        members: the runs, in the order of ``spec.fuse``.
    """

    spec: Fuse
    members: tuple[RunStage, ...]

    @property
    def label(self) -> str:
        """What is done."""
        return f"fuse for {self.name}"

    def key(self, store: Store) -> str | None:
        """Key of the run."""
        keys = [member.key(store) for member in self.members]
        if None in keys:
            return None
        spec = self.spec
        how = ("rrf", spec.k) if spec.method == "rrf" else ("wsum", spec.weights)
        return digest("fuse", 1, keys, *how)

    def produce(self, context: Context) -> Run:
        """Fuse the stored runs."""
        return fuse([member.result(context.store) for member in self.members], self.spec)
