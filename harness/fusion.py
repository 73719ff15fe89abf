"""Fusion: one run out of several, by ranx."""

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

    Reciprocal rank fusion reads ranks alone, so ranx is given scores that strictly decrease with
    our rank: its own sort leaves ties open. The weighted sum reads scores, scaled to 0-1 a query.

    Returns:
        a run as deep as the deepest of `runs`.
    """
    import ranx

    by_rank = spec.method == "rrf"
    given = [_to_ranx(run, by_rank=by_rank) for run in runs]
    with warnings.catch_warnings():
        # numba says so of a loop counter, while it compiles ranx's reciprocal rank fusion.
        warnings.filterwarnings("ignore", message="unsafe cast from uint64 to int64")
        if by_rank:
            fused = ranx.fuse(given, norm=None, method="rrf", params={"k": spec.k})
        else:
            weights = spec.weights or [1.0 / len(runs)] * len(runs)
            fused = ranx.fuse(given, norm="min-max", method="wsum", params={"weights": weights})
    return _from_ranx(fused, n_queries=len(runs[0].documents), depth=max(run.depth for run in runs))


def _to_ranx(run: Run, *, by_rank: bool) -> Any:
    import ranx

    results = {}
    for query, (rows, scores) in enumerate(zip(run.documents, run.scores, strict=True)):
        kept = int((rows >= 0).sum())
        values = np.arange(kept, 0, -1) if by_rank else scores[:kept]
        entries = dict(zip(map(str, rows[:kept].tolist()), map(float, values), strict=True))
        results[f"{query}"] = entries or {_NOTHING: 0.0}
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
