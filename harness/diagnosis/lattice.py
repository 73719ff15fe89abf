"""Lattice: sets of texts that share attributes or words, drawn before any score is seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.diagnosis.topics import Rows
from harness.diagnosis.words import Terms

Flags = npt.NDArray[np.bool_]

_MOST_WORDS = 400  # in pairs: the most frequent; pairs of rare words are too small anyway


class Cell(NamedTuple):
    """Texts with the same attributes.

    Attributes:
        rows: ascending.
        predicate: what they share, in words.
    """

    rows: Rows
    predicate: str


def attribute_cells(
    attributes: Mapping[str, Flags], topics: Sequence[Rows], *, smallest: int
) -> Iterator[Cell]:
    """Yield each attribute, each pair of them, and each within each topic.

    Args:
        attributes: by name, bool [n].
        topics: rows of each, ascending.
        smallest: rows of a cell.
    """
    cells = [Cell(np.flatnonzero(flags), name) for name, flags in sorted(attributes.items())]
    yield from cells
    yield from _pairs(cells, smallest=smallest)
    for rows, name in cells:
        for topic in topics:
            both = np.intersect1d(rows, topic, assume_unique=True)
            if smallest <= len(both) < len(topic):
                yield Cell(both, f"{name}, within a topic")


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
    table: Any = csr_array((np.ones(len(columns), dtype=np.int32), columns, ends))
    together = (table @ table.T).toarray()
    for first, second in combinations(range(len(cells)), 2):
        size = together[first, second]
        if smallest <= size < min(together[first, first], together[second, second]):
            rows = np.intersect1d(cells[first].rows, cells[second].rows, assume_unique=True)
            yield Cell(rows, f"{cells[first].predicate} and {cells[second].predicate}")
