"""Forecast: what of a plan workers do, in how many parts, and what they write to the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness.cluster.parts import count_vectors, leaves, ranges_of
from harness.plan.plan import Plan
from harness.retrieval.encoding import Encode
from harness.retrieval.prefix_search import SearchPrefixes
from harness.retrieval.reranking import SHARD_PAIRS, ScorePairs
from harness.retrieval.search import Search
from harness.stage import Stage, Work
from harness.store import Store

_HASH_BYTES = 16  # of a text
_RANK_BYTES = 8  # of a document in a run, and of its score


class Share(NamedTuple):
    """A stage that workers do.

    Attributes:
        label: of the stage.
        parts: in which it is done, at most.
        bytes: that workers write to the store, at most; None where nothing is known.
        seconds: that it takes all of them together, roughly; None where nothing is known.
    """

    label: str
    parts: int
    bytes: int | None
    seconds: float | None


def shares_of(plan: Plan, *, workers: int) -> Sequence[Share]:
    """Return what is left for so many workers; the other stages stay with the driver."""
    left = ((stage, work) for stage, work in plan.left() if leaves(stage))
    return [_share(stage, work, plan.store, workers) for stage, work in left]


def _share(stage: Stage, work: Work, store: Store, workers: int) -> Share:
    parts, size = 1, None
    match stage:
        case Encode():
            weights = stage.model.weights(store)
            shards = stage.texts.shards if weights is None else stage.missing(store)
            parts = len(shards)
            if weights is not None and weights.dimension is not None:
                size = work.texts * (4 * weights.dimension + _HASH_BYTES)
        case ScorePairs():
            parts = -(-work.pairs // SHARD_PAIRS)
            size = work.pairs * (2 * _HASH_BYTES + 4)
        case Search() | SearchPrefixes():
            searches = stage.searches if isinstance(stage, SearchPrefixes) else (stage,)
            parts = len(ranges_of(searches[0], store, workers=workers))
            queries = count_vectors(searches[0].space.queries, store)
            ranks = queries * searches[0].depth * len(searches)
            size = ranks * _RANK_BYTES * (parts + (parts > 1))  # of each part, and joined
    seconds = None if work.seconds is None else work.seconds / max(1, min(parts, workers))
    return Share(stage.label, parts, size, seconds)
