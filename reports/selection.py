"""Selection: what is known of some queries as soon as a reader has chosen them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from harness.arrays import Indices, Values
from harness.statistics import Interval, mean_interval
from reports.highlight import words

_WORDS = 6
_LEAST_COUNT = 2


class Selection(NamedTuple):
    """Some queries beside all others.

    Attributes:
        n: queries chosen.
        inside: mean of the metric with its 95 % t-interval.
        outside: the same of all others; None where everything is chosen.
        words: that tell the chosen from the others, most telling first.
    """

    n: int
    inside: Interval
    outside: Interval | None
    words: tuple[str, ...]


def describe(values: Values, rows: Indices, texts: Sequence[str]) -> Selection | None:
    """Return what is known of the chosen queries; None where there are none.

    Args:
        values: float64 [n_queries], the metric, or a difference of it.
        rows: of the chosen queries.
        texts: of all queries, parallel to `values`.
    """
    chosen = np.zeros(len(values), dtype=np.bool_)
    chosen[rows] = True
    if not chosen.any():
        return None
    return Selection(
        n=int(chosen.sum()),
        inside=mean_interval(values[chosen]),
        outside=None if chosen.all() else mean_interval(values[~chosen]),
        words=telling_words(
            [text for text, mine in zip(texts, chosen.tolist(), strict=True) if mine],
            [text for text, mine in zip(texts, chosen.tolist(), strict=True) if not mine],
        ),
    )


def telling_words(inside: Sequence[str], outside: Sequence[str]) -> tuple[str, ...]:
    """Return the words that tell some texts from others, by class-based TF-IDF.

    With tf the word's share of its class, A the mean number of words of the two classes and f its
    count in both: tf * log(1 + A / f) (Grootendorst 2022).

    >>> telling_words(["dose of aspirin", "aspirin dose"], ["fever and cough", "dose of syrup"])
    ('aspirin', 'dose')
    """
    mine = Counter(word for text in inside for word in words(text))
    other = Counter(word for text in outside for word in words(text))
    mean = (mine.total() + other.total()) / 2
    weight = {
        word: count / mine.total() * np.log1p(mean / (count + other[word]))
        for word, count in mine.items()
        if count >= min(_LEAST_COUNT, len(inside))
        if _is_more_frequent(count, mine.total(), other[word], other.total())
    }
    return tuple(sorted(weight, key=lambda word: (-weight[word], word))[:_WORDS])


def _is_more_frequent(count: int, total: int, other: int, other_total: int) -> bool:
    return count * max(other_total, 1) > other * total
