"""Passages: the part of a document that shares most with the query."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from harness.diagnosis.lexicon import WORD, Lexicon, terms_of


class Passage(NamedTuple):
    """A window of words.

    Attributes:
        first, stop: number of its first word, and of the first behind it.
        words: of the whole text.
        number, of: of the window among those of the text.
    """

    first: int
    stop: int
    words: int
    number: int
    of: int


def best_passage(lexicon: Lexicon, query: int, document: int, *, words: int) -> Passage | None:
    """Return the first window that holds the most of a query's words, weighted by their idf.

    Windows overlap by half. A word counts once, however often it stands there: where the head of
    a document has all of the query's words, no later passage is better.

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
    best = int(totals.argmax())
    stop = min(best * step + words, len(sequence))
    return Passage(best * step, stop, len(sequence), best, n_windows)


def cut_out(text: str, passage: Passage) -> str:
    """Return the passage's part of its text."""
    spans = [match.span() for match in WORD.finditer(text)]
    return text[spans[passage.first][0] : spans[min(passage.stop, len(spans)) - 1][1]]


def count_words(text: str) -> int:
    """Return how many words of the lexicon a text has."""
    return len(WORD.findall(text))
