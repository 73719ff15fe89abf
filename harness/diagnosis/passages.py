"""Passages: which part of a document shares most with the query."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from harness.diagnosis.lexicon import Lexicon, terms_of
from harness.diagnosis.text import INDEXED_WORDS


@dataclass(frozen=True, eq=False)
class Passages:
    """A document in windows of words that overlap by half.

    Attributes:
        shares: float64 [n_windows], how much of the query each holds, weighted by idf: a word
            counts once, however often it stands there.
        step, width: words from one window to the next, and in each.
        words: of the whole document.
    """

    shares: npt.NDArray[np.float64]
    step: int
    width: int
    words: int

    @cached_property
    def best(self) -> int:
        """Number of the first window with the largest share."""
        return int(self.shares.argmax())

    @property
    def first(self) -> int:
        """Number of the best window's first word, from 0."""
        return self.best * self.step

    @property
    def stop(self) -> int:
        """Number of the first word behind the best window."""
        return min(self.first + self.width, self.words)

    def before(self, word: int) -> Passages:
        """Return the windows that start before a word; always the first."""
        n_windows = max(1, -(-word // self.step))
        return Passages(self.shares[:n_windows], self.step, self.width, self.words)

    def lead(self, word: int) -> float:
        """Return how much more of the query the best window holds than any before a word."""
        return float(self.shares[self.best] - self.before(word).shares.max())


def read_passages(lexicon: Lexicon, query: int, document: int, *, words: int) -> Passages | None:
    """Weigh the windows of a document by a query.

    Args:
        lexicon: of the collection.
        query: row.
        document: row.
        words: in a window.

    Returns:
        None where the document has no word of the query.
    """
    wanted = terms_of(lexicon.queries, query)
    sequence = lexicon.sequence[lexicon.bounds[document] : lexicon.bounds[document + 1]]
    terms = lexicon.stems[sequence]
    places = np.flatnonzero(np.isin(terms, wanted))
    if not len(places):
        return None
    step = max(words // 2, 1)
    n_windows = max(1, -(-(len(sequence) - words) // step) + 1)
    # The word at place p stands in the windows that start in (p - words, p].
    lowest = np.maximum(0, -(-(places - words + 1) // step))
    highest = np.minimum(places // step, n_windows - 1)
    totals = np.zeros(n_windows)
    for term in np.unique(terms[places]):
        mine = terms[places] == term
        edges = np.zeros(n_windows + 1)
        np.add.at(edges, lowest[mine], 1)
        np.add.at(edges, highest[mine] + 1, -1)
        totals[np.cumsum(edges)[:-1] > 0] += lexicon.idf[term]
    return Passages(totals / lexicon.idf[wanted].sum(), step, words, len(sequence))


def cut_out(text: str, passages: Passages) -> str:
    """Return the best passage's part of its text."""
    spans = [match.span() for match in INDEXED_WORDS.finditer(text)]
    return text[spans[passages.first][0] : spans[min(passages.stop, len(spans)) - 1][1]]


def count_words(text: str) -> int:
    """Return how many words of the lexicon a text has."""
    return len(INDEXED_WORDS.findall(text))
