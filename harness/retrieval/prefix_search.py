"""Prefix search: the same vectors searched at several widths, in one pass over them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.arrays import Rows
from harness.environment import vector_memory
from harness.retrieval.device_search import search_on, upload
from harness.retrieval.embeddings import Embeddings
from harness.retrieval.proposal import Proposal, propose
from harness.retrieval.search import (
    Search,
    more_than,
    search,
    settle,
    vector_bytes,
)
from harness.runs.run import Run
from harness.stage import Context, Keyed, Work
from harness.store import Store

PairsOfSides = Sequence[tuple[Embeddings, Embeddings]]


@dataclass(frozen=True, eq=False)
class SearchPrefixes(Keyed):
    """Stage: the runs of several searches that differ in their width alone.

    Attributes:
        searches: of the same vectors, at ascending widths.
    """

    searches: tuple[Search, ...]

    @property
    def label(self) -> str:
        """What is done."""
        return f"search {len(self.searches)} widths of {self.searches[-1].name}"

    def is_done(self, store: Store) -> bool:
        """Tell whether at most one search is left, which does its work itself."""
        return sum(not search.is_done(store) for search in self.searches) <= 1

    def work(self, store: Store) -> Work:  # noqa: ARG002
        """Return nothing to wait for."""
        return Work()

    def run(self, context: Context) -> None:
        """Search at every width that is left, and store the runs."""
        left = [search for search in self.searches if not search.is_done(context.store)]
        sides = [search.space.read(context.store) for search in left]
        started = time.perf_counter()
        runs = search_prefixes(sides, left[0].depth, left[0].forbidden, device=context.device)
        seconds = (time.perf_counter() - started) / len(left)
        for each, run in zip(left, runs, strict=True):
            each.put(context, run, seconds)


def together(searches: Sequence[Search], store: Store) -> list[SearchPrefixes]:
    """Return the searches that differ in their width alone, together, if there are several."""
    groups: dict[object, dict[int, Search]] = {}
    for each in searches:
        space = each.space
        if space.coarser is None:
            sides = [side.key(store) or id(side) for side in (space.documents, space.queries)]
            place = (*sides, each.collection_key, each.depth)
            groups.setdefault(place, {}).setdefault(space.width or 2**31, each)
    return [
        SearchPrefixes(tuple(group[width] for width in sorted(group)))
        for group in groups.values()
        if len(group) > 1
    ]


def search_prefixes(
    sides: PairsOfSides, depth: int, forbidden: Rows | None, *, device: str = "cpu"
) -> list[Run]:
    """Return the runs of several searches, each equal to that of `search`.

    Args:
        sides: documents and queries of each, the same vectors at ascending widths.
        depth: ranks.
        forbidden: int32 [n_queries], a row that the query must not be given, or -1; or None.
        device: torch's name of it.
    """
    documents, queries = (replace(side, normalised=False) for side in sides[-1])
    held = all(shard.dtype.itemsize <= 4 for shard in documents.shards)  # float32 may not hold more
    if device != "cpu" and held:
        resident = upload(documents, device)
        return [
            search_on(device, *pair, depth=depth, forbidden=forbidden, resident=resident)
            for pair in sides
        ]
    if device == "cpu" and held and vector_bytes(documents) <= vector_memory():
        documents = documents.in_memory()
        sides = [
            (replace(documents, width=each.width, normalised=each.normalised), asked)
            for each, asked in sides
        ]
        runs = _in_one_pass(documents, queries.in_memory(), sides, depth, forbidden)
        if runs is not None:
            return runs
    return [search(*pair, depth=depth, forbidden=forbidden, device=device) for pair in sides]


def _in_one_pass(
    documents: Embeddings,
    queries: Embeddings,
    sides: PairsOfSides,
    depth: int,
    forbidden: Rows | None,
) -> list[Run] | None:
    """Propose at all widths by products of the vectors as they are stored, and settle each width.

    Args:
        documents: as they are stored, in memory.
        queries: as they are stored, in memory.
        sides: views of the same documents, and the queries.
        depth: ranks.
        forbidden: int32 [n_queries], or None.

    Returns:
        the runs; None where float32 cannot hold the squares of some prefix.
    """
    depth = min(depth, len(documents))
    if forbidden is None:
        forbidden = np.full(len(queries), -1, dtype=np.int32)
    scales, lengths = [], []
    for side, _ in sides:
        mine = side.divisors
        theirs = replace(queries, width=side.width, normalised=side.normalised).divisors
        if mine is None or theirs is None:
            return None
        scales.append(1 / mine)
        lengths.append(theirs)
    proposals = propose(
        documents,
        queries.block(0, len(queries)),
        more_than(depth),
        widths=[side.width for side, _ in sides],
        scales=np.stack(scales),
    )
    runs = []
    for (side, asked), proposal, sizes in zip(sides, proposals, lengths, strict=True):
        longest = 1.0 if side.normalised else proposal.longest
        scaled = Proposal(proposal.rows, proposal.last / sizes, longest)
        runs.append(_settled(side, asked, scaled, depth, forbidden))
    return runs


def _settled(
    documents: Embeddings, queries: Embeddings, proposal: Proposal, depth: int, forbidden: Rows
) -> Run:
    """Settle a proposal; queries for which it may be too short are searched alone."""
    asked = queries.block(0, len(queries))
    run, safe = settle(documents, asked, proposal, depth=depth, forbidden=forbidden)
    left = np.flatnonzero(~safe)
    if len(left):
        again = search(documents, queries.rows(left), depth=depth, forbidden=forbidden[left])
        run.documents[left], run.scores[left] = again.documents, again.scores
    return run
