"""Passages: the part of a document that shares most with the query."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from harness.diagnosis.lexicon import WORD, Lexicon, terms_of


class Passage(NamedTuple):
    """A window of words.

    Attributes:
        start, stop: characters.
        first, of: its number among the windows of the text, and how many there are.
    """

    start: int
    stop: int
    number: int
    of: int


def best_passage(lexicon: Lexicon, query: int, text: str, *, words: int) -> Passage | None:
    """Return the first window that holds the most of a query's words, weighted by their idf.

    Windows overlap by half. A word counts once, however often it stands there: where the head of
    a document has all of the query's words, no later passage is better.

    Args:
        lexicon: of the collection.
        query: row.
        text: of a document.
        words: in a window.

    Returns:
        None where the text has no word of the query.
    """
    spans, weights, kinds = _matches(lexicon, query, text)
    if not kinds.size:
        return None
    step = max(words // 2, 1)
    n_windows = max(1, -(-(len(spans) - words) // step) + 1)
    totals = np.zeros(n_windows)
    for kind in np.unique(kinds[:, 1]):
        places = kinds[kinds[:, 1] == kind, 0]
        # A word at place p stands in the windows that start in (p - words, p].
        held = np.zeros(n_windows, dtype=bool)
        for place in places:
            held[max(0, -(-(place - words + 1) // step)) : place // step + 1] = True
        totals[held] += weights[kind]
    best = int(totals.argmax())
    inside = spans[best * step : best * step + words]
    return Passage(inside[0][0], inside[-1][1], best, n_windows)


def _matches(
    lexicon: Lexicon, query: int, text: str
) -> tuple[list[tuple[int, int]], dict[int, float], np.ndarray]:
    """Return the words' spans, the weight of each term, and [n, 2] of (word, term) that match."""
    wanted = {int(term): float(lexicon.idf[term]) for term in terms_of(lexicon.queries, query)}
    spans, matches = [], []
    for place, match in enumerate(WORD.finditer(text)):
        spans.append(match.span())
        term = lexicon.term_of(match.group().lower())
        if term in wanted:
            matches.append((place, term))
    return spans, wanted, np.array(matches, dtype=np.int64).reshape(-1, 2)
