"""Regions: sets of texts among which failures are looked for, drawn before any score is seen.

They are topics (see `topics`), texts that share attributes, and texts that share words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.arrays import Flags, Indices, Integers, Values, Vectors
from harness.diagnosis.topics import Leaves, Points, balls, nodes, plain_nodes, points_of
from harness.diagnosis.words import Terms, count_terms
from harness.retrieval.embeddings import unit_length

RegionKind = Literal["node", "ball", "attribute", "word"]
REGION_KINDS: tuple[RegionKind, ...] = ("node", "ball", "attribute", "word")

SMALLEST = 15  # members; fewer say nothing
_SMALLEST_SHARE = 0.004
LARGEST_SHARE = 0.3
_COARSE = 0.04  # share of all texts in a topic that attributes are looked at within
WITHIN = ", within a topic"
_FIFTH = 0.2  # share of the texts that count as short, and as long, in pairs and within topics
_STEP = 1.1  # ratio of the sizes of two thresholds that are both scanned, at least
_MOST_WORDS = 400  # in pairs: the most frequent; pairs of rare words are too small anyway


@dataclass(frozen=True, eq=False)
class Ordered:
    """An attribute with an order, such as a length.

    Attributes:
        values: float64 [n], NaN where it is not known.
        phrase: what a text within a threshold is, with {} for the threshold.
        unit: of the values, singular.
    """

    values: Values
    phrase: str
    unit: str

    def at_most(self, limit: float) -> str:
        """Return the texts up to a threshold, in words."""
        return self.phrase.format(f"at most {self._count(limit)}")

    def at_least(self, limit: float) -> str:
        """Return the texts from a threshold on, in words."""
        return self.phrase.format(f"{self._count(limit)} or more")

    def _count(self, limit: float) -> str:
        return f"{limit:,g} {self.unit}{'' if limit == 1 else 's'}"


Attributes = Mapping[str, Flags | Ordered]


class Cell(NamedTuple):
    """Texts with the same attributes.

    Attributes:
        rows: ascending.
        predicate: what they share, in words.
    """

    rows: Indices
    predicate: str


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
        kinds: int [n_regions], place in `REGION_KINDS`.
        predicates: of each region: attributes or words, "" for nodes and balls.
        order: int64 [n], row of the text in each column.
        points: float64 [n, axes], by row, where distances are taken.
        texts, terms: by row.
        limits: that the regions keep.
    """

    members: Any
    kinds: npt.NDArray[np.int8]
    predicates: tuple[str, ...] = field(repr=False)
    topics: Sequence[Indices] = field(repr=False)
    order: Indices = field(repr=False)
    points: Points = field(repr=False)
    texts: Sequence[str] = field(repr=False)
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
    topics: list[Indices] = []
    if limits.smallest <= limits.largest:
        for each in [space, *([] if beside is None else [_both(neutral, beside, seed=seed)])]:
            for node in nodes(each.leaves):
                if limits.smallest <= each.leaves.weights[node].sum() <= limits.largest:
                    drawn.add(each.rows(node), "node")
        for ball in balls(space.leaves, **limits._asdict()):
            drawn.add(space.rows(ball), "ball")
        weights = space.leaves.weights
        topics += [
            space.rows(node)
            for node in plain_nodes(space.leaves)
            if given and weights[node].sum() >= _COARSE * n
        ]
        for rows, predicate in attribute_cells(given, topics, **limits._asdict()):
            drawn.add(rows, "attribute", predicate)
        for rows, predicate in word_cells(terms, **limits._asdict()):
            drawn.add(rows, "word", predicate)
    return Regions(
        members=drawn.matrix(),
        kinds=np.array(drawn.kinds, dtype=np.int8),
        predicates=tuple(drawn.predicates),
        topics=topics,
        order=order,
        points=space.points,
        texts=texts,
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
        points = points_of(distinct)
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


class _Drawn:
    """Regions as they are drawn: each set of members once, the first name that it was given."""

    def __init__(self, order: Indices, limits: RegionSizes) -> None:
        self.kinds: list[int] = []
        self.predicates: list[str] = []
        self._columns = np.argsort(order)
        self._limits = limits
        self._members: dict[bytes, npt.NDArray[np.int32]] = {}

    def add(self, rows: Indices, kind: RegionKind, predicate: str = "") -> None:
        """Keep a region, unless its size is not allowed or the same members are there."""
        if not self._limits.smallest <= len(rows) <= self._limits.largest:
            return
        columns = np.sort(self._columns[rows]).astype(np.int32)
        key = columns.tobytes()
        if key not in self._members:
            self._members[key] = columns
            self.kinds.append(REGION_KINDS.index(kind))
            self.predicates.append(predicate)

    def matrix(self) -> Any:
        """Return the members as CSR [n_regions, n]."""
        from scipy.sparse import csr_array

        members = list(self._members.values())
        ends = np.concatenate([[0], np.cumsum([len(each) for each in members], dtype=np.int64)])
        columns = np.concatenate([np.zeros(0, dtype=np.int32), *members])
        ones = np.ones(len(columns), dtype=np.float32)
        return csr_array((ones, columns, ends), shape=(len(members), len(self._columns)))


def attribute_cells(
    attributes: Attributes, topics: Sequence[Indices], *, smallest: int, largest: int
) -> Iterator[Cell]:
    """Yield each attribute, each pair of them, each within each topic, and each threshold.

    In pairs and within topics an ordered attribute is its lowest and its highest fifth.

    Args:
        attributes: by name, of n texts.
        topics: rows of each, ascending.
        smallest: rows of a cell, at least.
        largest: rows beyond a threshold, at most.
    """
    cells = [cell for name in sorted(attributes) for cell in _plain(name, attributes[name])]
    yield from cells
    yield from _pairs(cells, smallest=smallest)
    for rows, name in cells:
        for topic in topics:
            both = np.intersect1d(rows, topic, assume_unique=True)
            if smallest <= len(both) < len(topic):
                yield Cell(both, f"{name}{WITHIN}")
    for name in sorted(attributes):
        attribute = attributes[name]
        if isinstance(attribute, Ordered):
            yield from _thresholds(attribute, smallest=smallest, largest=largest)


def _plain(name: str, attribute: Flags | Ordered) -> list[Cell]:
    if not isinstance(attribute, Ordered):
        return [Cell(np.flatnonzero(attribute), name)]
    values = attribute.values
    known = values[~np.isnan(values)]
    if not len(known) or known.min() == known.max():
        return []
    low, high = np.quantile(known, [_FIFTH, 1 - _FIFTH], method="inverted_cdf")
    return [
        Cell(np.flatnonzero(values <= low), attribute.at_most(low)),
        Cell(np.flatnonzero(values >= high), attribute.at_least(high)),
    ]


def _thresholds(attribute: Ordered, *, smallest: int, largest: int) -> Iterator[Cell]:
    """Yield the texts beyond each threshold, from both ends, while they are few enough.

    Thresholds that add less than a tenth of the texts are left out.
    """
    values = attribute.values
    limits = np.unique(values[~np.isnan(values)])
    for ends, name, low in (
        (limits, attribute.at_most, True),
        (limits[::-1], attribute.at_least, False),
    ):
        taken = 0
        for limit in ends.tolist():
            rows = np.flatnonzero(values <= limit if low else values >= limit)
            if len(rows) > largest:
                break
            if len(rows) >= max(smallest, _STEP * taken):
                taken = len(rows)
                yield Cell(rows, name(limit))


def word_cells(terms: Terms, *, smallest: int, largest: int) -> Iterator[Cell]:
    """Yield each stemmed word and bigram in an allowed number of texts, and each pair of them."""
    present = terms.counts.tocsc()
    counts = np.diff(present.indptr)
    places = np.flatnonzero((counts >= smallest) & (counts <= largest))
    cells = [
        Cell(
            np.sort(present.indices[present.indptr[place] : present.indptr[place + 1]]).astype(
                np.int64
            ),
            f"'{terms.shown[place]}'",
        )
        for place in places.tolist()
    ]
    yield from cells
    frequent = np.argsort(-counts[places], kind="stable")[:_MOST_WORDS]
    yield from _pairs([cells[place] for place in np.sort(frequent)], smallest=smallest)


def _pairs(cells: Sequence[Cell], *, smallest: int) -> Iterator[Cell]:
    """Yield the intersections of two cells each that are smaller than both."""
    if len(cells) < 2:
        return
    from scipy.sparse import csr_array

    ends = np.concatenate([[0], np.cumsum([len(cell.rows) for cell in cells])])
    columns = np.concatenate([cell.rows for cell in cells])
    shape = (len(cells), int(columns.max(initial=-1)) + 1)  # no cell may hold a row
    table: Any = csr_array((np.ones(len(columns), dtype=np.int32), columns, ends), shape=shape)
    together = (table @ table.T).toarray()
    for first, second in combinations(range(len(cells)), 2):
        size = together[first, second]
        if smallest <= size < min(together[first, first], together[second, second]):
            rows = np.intersect1d(cells[first].rows, cells[second].rows, assume_unique=True)
            yield Cell(rows, f"{cells[first].predicate} and {cells[second].predicate}")
