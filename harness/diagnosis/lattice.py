"""Lattice: sets of texts that share attributes or words, drawn before any score is seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from harness.arrays import Flags, Indices, Values
from harness.diagnosis.words import Terms

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
                yield Cell(both, f"{name}, within a topic")
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
    """Yield each stemmed word and bigram that stands in an allowed number of texts, and each pair.

    Args:
        terms: of the texts.
        smallest: texts of a cell, at least.
        largest: texts of a word's cell, at most.
    """
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
