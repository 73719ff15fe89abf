"""Prefix search: on a GPU, vectors are uploaded once and searched at several widths.

On a CPU each width is searched alone: one product of matrices read off at each width was tried
there, and selecting the documents took what the product saved (`benchmarks/search.py`, C4).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from harness.arrays import Rows
from harness.retrieval.device_search import search_on, upload
from harness.retrieval.embeddings import Embeddings
from harness.retrieval.search import Search, search
from harness.runs.run import Run
from harness.stage import Context, Keyed, Work
from harness.store import Store


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


def together(searches: Sequence[Search], store: Store, *, device: str) -> list[SearchPrefixes]:
    """Return the searches that differ in their width alone, together; on a CPU none."""
    if device == "cpu":
        return []
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
    sides: Sequence[tuple[Embeddings, Embeddings]],
    depth: int,
    forbidden: Rows | None,
    *,
    device: str,
) -> list[Run]:
    """Return the runs of several searches, each equal to that of `search`.

    Args:
        sides: documents and queries of each, the same vectors at ascending widths.
        depth: ranks.
        forbidden: int32 [n_queries], a row that the query must not be given, or -1; or None.
        device: torch's name of it.
    """
    if any(shard.dtype.itemsize > 4 for shard in sides[-1][0].shards):  # float32 may not hold them
        return [search(*pair, depth=depth, forbidden=forbidden, device=device) for pair in sides]
    resident = upload(sides[-1][0], device)
    return [
        search_on(device, *pair, depth=depth, forbidden=forbidden, resident=resident)
        for pair in sides
    ]
