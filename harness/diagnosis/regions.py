"""Regions: sets of queries among which failures are looked for, drawn before any score is seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.diagnosis.topics import Points, Rows, cells, prepare, tree_nodes
from harness.diagnosis.words import Terms, count_terms
from harness.embeddings import Vectors

Flags = npt.NDArray[np.bool_]

SMALLEST = 15  # members; fewer say nothing
SMALLEST_SHARE = 0.004
LARGEST_SHARE = 0.3
CELLS = 25


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions of one set of texts; they depend on no score and serve every candidate.

    Attributes:
        members: CSR [n_regions, n] of ones.
        predicates: of each region: the attributes in words, "" for a node of the tree.
        places: int64 [n], place of each text in an order that is that of no file.
        points: float64 [n, axes], where distances are taken.
        terms: of the texts.
        texts: themselves.
    """

    members: Any
    predicates: tuple[str, ...]
    places: Rows
    points: Points
    terms: Terms
    texts: tuple[str, ...] = field(repr=False)

    @property
    def n(self) -> int:
        """How many texts there are."""
        return len(self.places)

    @cached_property
    def sizes(self) -> npt.NDArray[np.float64]:
        """Members of each region, float64 [n_regions]."""
        sizes: npt.NDArray[np.float64] = np.diff(self.members.indptr).astype(np.float64)
        return sizes

    def rows(self, region: int) -> Rows:
        """Return the members of a region, ascending."""
        start, stop = self.members.indptr[region : region + 2]
        rows: Rows = np.sort(self.members.indices[start:stop]).astype(np.int64)
        return rows


def draw_regions(
    neutral: Vectors,
    texts: Sequence[str],
    *,
    attributes: Mapping[str, Flags] | None = None,
    seed: int,
) -> Regions:
    """Draw the regions of a set of texts.

    Texts with equal vectors are one point of the tree: no node parts them. Nothing depends on the
    order of the texts.

    Args:
        neutral: float [n, dim], vectors of an encoder that is not under test.
        texts: n of them.
        attributes: by name, bool [n]; words of the texts are added to them.
        seed: of k-means.

    Raises:
        ValueError: not one vector and one value of every attribute for each text.
    """
    given = dict(attributes or {})
    if len(neutral) != len(texts) or any(len(flags) != len(texts) for flags in given.values()):
        raise ValueError(f"{len(texts)} texts need as many vectors and values of each attribute")
    distinct, places = np.unique(np.asarray(neutral), axis=0, return_inverse=True)
    places = places.reshape(-1)
    order = np.lexsort((np.asarray(texts, dtype=object).astype(str), places))
    points = prepare(distinct)
    terms = count_terms(texts)
    sizes = np.bincount(places, minlength=len(distinct))
    limits = _limits(len(texts))
    drawn = _Drawn(limits)
    owner = _Owners(places)
    for node in tree_nodes(points, seed=seed):
        if limits[0] <= sizes[node].sum() <= limits[1]:
            drawn.add(owner.rows(node), "")
    predicates = {**given, **_word_predicates(terms, limits)}
    cell = cells(points, count=CELLS, seed=seed)[places]
    for rows, predicate in _lattice(predicates, cell, smallest=limits[0]):
        drawn.add(rows, predicate)
    return Regions(
        members=drawn.matrix(len(texts)),
        predicates=tuple(drawn.predicates),
        places=np.argsort(order),
        points=points[places],
        terms=terms,
        texts=tuple(texts),
    )


class _Owners:
    """Which texts share each distinct point."""

    def __init__(self, places: Rows) -> None:
        self._rows = np.argsort(places, kind="stable")
        self._ends = np.concatenate([[0], np.cumsum(np.bincount(places))])

    def rows(self, points: Rows) -> Rows:
        """Return the texts of some points, ascending."""
        spans = [self._rows[self._ends[point] : self._ends[point + 1]] for point in points.tolist()]
        return np.sort(np.concatenate(spans))


class _Drawn:
    """Regions as they are drawn: each set of members once, of allowed sizes."""

    def __init__(self, limits: tuple[int, int]) -> None:
        self.predicates: list[str] = []
        self._limits = limits
        self._rows: list[Rows] = []
        self._seen: set[bytes] = set()

    def add(self, rows: Rows, predicate: str) -> None:
        """Keep a region, unless its size is not allowed or the same members are there."""
        if not self._limits[0] <= len(rows) <= self._limits[1]:
            return
        key = rows.tobytes()
        if key not in self._seen:
            self._seen.add(key)
            self._rows.append(rows)
            self.predicates.append(predicate)

    def matrix(self, n: int) -> Any:
        """Return the members as CSR [n_regions, n]."""
        from scipy.sparse import csr_array

        ends = np.concatenate([[0], np.cumsum([len(rows) for rows in self._rows], dtype=np.int64)])
        columns = np.concatenate([np.zeros(0, dtype=np.int64), *self._rows])
        return csr_array((np.ones(len(columns)), columns, ends), shape=(len(self._rows), n))


def _limits(n: int) -> tuple[int, int]:
    return max(SMALLEST, int(np.ceil(SMALLEST_SHARE * n))), int(LARGEST_SHARE * n)


def _word_predicates(terms: Terms, limits: tuple[int, int]) -> dict[str, Flags]:
    """Return the words and bigrams that stand in an allowed number of texts."""
    present = terms.counts.tocsc()
    counts = np.diff(present.indptr)
    found = {}
    for column in np.flatnonzero((counts >= limits[0]) & (counts <= limits[1])).tolist():
        flags = np.zeros(present.shape[0], dtype=bool)
        flags[present.indices[present.indptr[column] : present.indptr[column + 1]]] = True
        found[f"'{terms.shown[column]}'"] = flags
    return found


def _lattice(
    predicates: Mapping[str, Flags], cell: Rows, *, smallest: int
) -> Iterator[tuple[Rows, str]]:
    """Yield (rows, words) of each predicate, each pair, and each predicate within a cell."""
    if not predicates:
        return
    from scipy.sparse import csr_array

    names = list(predicates)
    table = csr_array(np.stack([predicates[name] for name in names]).astype(np.int32))
    together = (table @ table.T).toarray()
    lists = [table.indices[table.indptr[i] : table.indptr[i + 1]] for i in range(len(names))]
    rows = [np.sort(each).astype(np.int64) for each in lists]
    for name, each in zip(names, rows, strict=True):
        yield each, name
    for first, second in combinations(range(len(names)), 2):
        if together[first, second] >= smallest:
            both = np.intersect1d(rows[first], rows[second], assume_unique=True)
            yield both, f"{names[first]} and {names[second]}"
    for name, each in zip(names, rows, strict=True):
        counts = np.bincount(cell[each])
        for number in np.flatnonzero(counts >= smallest).tolist():
            yield each[cell[each] == number], f"{name} in one of {CELLS} topics"
