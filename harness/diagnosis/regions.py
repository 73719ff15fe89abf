"""Regions: sets of texts among which failures are looked for, drawn before any score is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.arrays import Indices, Integers, Vectors
from harness.diagnosis.lattice import Attributes, Ordered, attribute_cells, word_cells
from harness.diagnosis.topics import Leaves, Points, balls, nodes, plain_nodes, prepare
from harness.diagnosis.words import Terms, count_terms
from harness.retrieval.embeddings import unit_length

RegionKind = Literal["node", "ball", "attribute", "word"]
KINDS: tuple[RegionKind, ...] = ("node", "ball", "attribute", "word")

SMALLEST = 15  # members; fewer say nothing
_SMALLEST_SHARE = 0.004
LARGEST_SHARE = 0.3
_COARSE = 0.04  # share of all texts in a topic that attributes are looked at within


class RegionSizes(NamedTuple):
    """How many texts a region may hold."""

    smallest: int
    largest: int


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions of one set of texts; they depend on no score and serve every candidate.

    The columns of `members` are the texts in an order of their own, by vector and text, so that
    nothing that is drawn over them depends on the order in a file.

    Attributes:
        members: CSR float32 [n_regions, n], 1 for a member.
        kinds: int [n_regions], place in `KINDS`.
        predicates: of each region: attributes or words, "" for nodes and balls.
        order: int64 [n], row of the text in each column.
        points: float64 [n, axes], by row, where distances are taken.
        terms: of the texts, by row.
        limits: that the regions keep.
    """

    members: Any
    kinds: npt.NDArray[np.int8]
    predicates: tuple[str, ...] = field(repr=False)
    order: Indices = field(repr=False)
    points: Points = field(repr=False)
    terms: Terms = field(repr=False)
    limits: RegionSizes

    @property
    def n(self) -> int:
        """How many texts there are."""
        return len(self.order)

    def rows(self, region: int) -> Indices:
        """Return the members of a region, ascending."""
        start, stop = self.members.indptr[region : region + 2]
        return np.sort(self.order[self.members.indices[start:stop]])


def draw_regions(
    neutral: Vectors,
    texts: Sequence[str],
    *,
    beside: Vectors | None = None,
    attributes: Attributes | None = None,
    language: str = "english",
    common: frozenset[str] = frozenset(),
    seed: int,
) -> Regions:
    """Draw the regions of a set of texts: topics, cells of attributes, and texts that share words.

    Nothing depends on the order of the texts.

    Args:
        neutral: float [n, dim], vectors of an encoder that is not under test.
        texts: n of them.
        beside: float [n, dim], what belongs to each text, such as the mean of its relevant
            documents' vectors, zero where there is none: the nodes of both together are drawn too.
        attributes: by name; an ordered one is scanned for a threshold.
        language: of the words, as in `count_terms`.
        common: words that name nothing, as in `count_terms`.
        seed: of the micro-clusters of a large set.

    Raises:
        ValueError: not one vector and one value of every attribute for each text.
    """
    n, given = len(texts), dict(attributes or {})
    columns: list[Any] = [neutral, *([] if beside is None else [beside])]
    columns += [each.values if isinstance(each, Ordered) else each for each in given.values()]
    if any(len(column) != n for column in columns):
        raise ValueError(f"{n} texts need as many vectors and values of each attribute")
    limits = RegionSizes(
        max(SMALLEST, int(np.ceil(_SMALLEST_SHARE * n))), int(np.ceil(LARGEST_SHARE * n))
    )
    space = _Space(neutral, seed=seed)
    terms = count_terms(texts, language=language, common=common)
    order = np.lexsort((np.array(texts, dtype=np.str_), space.places)).astype(np.int64)
    drawn = _Drawn(order, limits)
    if limits.smallest <= limits.largest:
        for each in [space, *([] if beside is None else [_both(neutral, beside, seed=seed)])]:
            for node in nodes(each.leaves):
                if limits.smallest <= each.leaves.weights[node].sum() <= limits.largest:
                    drawn.add(each.rows(node), "node", "")
        for ball in balls(space.leaves, **limits._asdict()):
            drawn.add(space.rows(ball), "ball", "")
        topics = _coarse(space) if given else []
        for rows, predicate in attribute_cells(given, topics, **limits._asdict()):
            drawn.add(rows, "attribute", predicate)
        for rows, predicate in word_cells(terms, **limits._asdict()):
            drawn.add(rows, "word", predicate)
    return Regions(
        members=drawn.matrix(),
        kinds=np.array(drawn.kinds, dtype=np.int8),
        predicates=tuple(drawn.predicates),
        order=order,
        points=space.points,
        terms=terms,
        limits=limits,
    )


def mean_beside(vectors: Vectors, owners: Integers, places: Integers, *, n: int) -> Vectors:
    """Return the mean of the unit vectors that belong to each text, zero where none does.

    Args:
        vectors: float [m, dim], such as of relevant documents.
        owners: int [pairs], a text,
        places: int [pairs], and a vector that belongs to it.
        n: texts.

    Returns:
        float32 [n, dim].
    """
    from scipy.sparse import csr_array

    table: Any = csr_array((np.ones(len(owners)), (owners, places)), shape=(n, len(vectors)))
    counts = np.maximum(np.bincount(owners, minlength=n), 1)
    means: Vectors = (table @ unit_length(vectors) / counts[:, None]).astype(np.float32)
    return means


class _Space:
    """Texts as the leaves of trees: those with equal vectors are one point, which no tree parts.

    Attributes:
        places: int64 [n], the point of each text, in the order of the vectors.
        points: float64 [n, axes].
        leaves: of the trees.
    """

    def __init__(self, vectors: Vectors, *, seed: int) -> None:
        distinct, places = np.unique(vectors, axis=0, return_inverse=True)
        self.places: Indices = places.reshape(-1)
        points = prepare(distinct)
        self.points = points[self.places]
        self.leaves = Leaves(points, np.bincount(self.places), seed=seed)
        leaf = self.leaves.places[self.places]
        self._rows = np.argsort(leaf, kind="stable")
        self._ends = np.concatenate([[0], np.cumsum(self.leaves.weights)])

    def rows(self, leaves: Indices) -> Indices:
        """Return the texts of some leaves, ascending."""
        if len(self._rows) == len(self.leaves.weights):
            return np.sort(self._rows[leaves])
        spans = [self._rows[self._ends[leaf] : self._ends[leaf + 1]] for leaf in leaves.tolist()]
        return np.sort(np.concatenate(spans))


def _both(neutral: Vectors, beside: Vectors, *, seed: int) -> _Space:
    """Return the space of the texts and what belongs to them, which weigh the same."""
    order = np.lexsort(np.asarray(neutral).T)  # sums must not depend on the order of the texts
    sides = []
    for side in (neutral, beside):
        unit = unit_length(side)
        centred = unit - unit[order].mean(axis=0)
        sides.append(centred / max(float(np.sqrt((centred[order] ** 2).mean())), 1e-12))
    return _Space(np.hstack(sides).astype(np.float32), seed=seed)


def _coarse(space: _Space) -> list[Indices]:
    """Return the texts of the larger nodes, to look at attributes within."""
    fewest = _COARSE * len(space.places)
    weights = space.leaves.weights
    return [space.rows(node) for node in plain_nodes(space.leaves) if weights[node].sum() >= fewest]


class _Drawn:
    """Regions as they are drawn: each set of members once, the first name that it was given."""

    def __init__(self, order: Indices, limits: RegionSizes) -> None:
        self.kinds: list[int] = []
        self.predicates: list[str] = []
        self._columns = np.argsort(order)
        self._limits = limits
        self._members: dict[bytes, npt.NDArray[np.int32]] = {}

    def add(self, rows: Indices, kind: RegionKind, predicate: str) -> None:
        """Keep a region, unless its size is not allowed or the same members are there."""
        if not self._limits.smallest <= len(rows) <= self._limits.largest:
            return
        columns = np.sort(self._columns[rows]).astype(np.int32)
        key = columns.tobytes()
        if key not in self._members:
            self._members[key] = columns
            self.kinds.append(KINDS.index(kind))
            self.predicates.append(predicate)

    def matrix(self) -> Any:
        """Return the members as CSR [n_regions, n]."""
        from scipy.sparse import csr_array

        members = list(self._members.values())
        ends = np.concatenate([[0], np.cumsum([len(each) for each in members], dtype=np.int64)])
        columns = np.concatenate([np.zeros(0, dtype=np.int32), *members])
        ones = np.ones(len(columns), dtype=np.float32)
        return csr_array((ones, columns, ends), shape=(len(members), len(self._columns)))
