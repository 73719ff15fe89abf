"""Scope: the queries that a reader goes through one after the other, and in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from harness.arrays import Indices, Values
from harness.diagnosis.values import CandidateDiagnosis
from harness.statistics import TIE, Interval, mean_interval
from reports.beside import Slice
from reports.highlight import words

ALL, WORSE, BETTER = "all queries", "B worse than A", "B better than A"
_WORDS, _LEAST_COUNT = 6, 2  # that tell a selection
A_ZERO, B_ZERO = "A scores 0", "B scores 0"
DIFFERENCE, GAIN, LOSS, CLUSTER = "largest difference", "largest gain", "largest loss", "cluster"
ORDERS = (DIFFERENCE, GAIN, LOSS, CLUSTER)


@dataclass(frozen=True)
class Scopes:
    """What can be gone through, by name; clusters and slices come after the usual ones.

    Attributes:
        query_ids: of the collection, in its order.
        first: float64 [n_queries], values of A.
        second: the same of B.
        lists: queries of clusters and slices by name.
    """

    query_ids: tuple[str, ...] = field(repr=False)
    first: Values = field(repr=False)
    second: Values = field(repr=False)
    lists: Mapping[str, Sequence[str]] = field(repr=False)

    @property
    def names(self) -> list[str]:
        """Every scope."""
        return [ALL, WORSE, BETTER, A_ZERO, B_ZERO, *self.lists]

    def queries(self, name: str, *, order: str = DIFFERENCE) -> list[str]:
        """Return the ids of a scope, sorted; if no query differs, the lowest score comes first."""
        difference = self.second - self.first
        is_inside = {
            ALL: np.ones(len(difference), dtype=np.bool_),
            WORSE: difference <= -TIE,
            BETTER: difference >= TIE,
            A_ZERO: self.first == 0,
            B_ZERO: self.second == 0,
        }.get(name)
        if is_inside is None:
            members = frozenset(self.lists[name])
            is_inside = np.array([query in members for query in self.query_ids], dtype=np.bool_)
        sought = difference if difference.any() else self.first - 1
        by = {GAIN: -sought, LOSS: sought, CLUSTER: self._cluster}.get(order, -np.abs(sought))
        sorted_ = np.lexsort((-np.abs(sought), by))
        return [self.query_ids[row] for row in sorted_[is_inside[sorted_]].tolist()]

    @property
    def _cluster(self) -> Indices:
        """The place of each query's first cluster or slice in `lists`; one in none comes last."""
        place = {
            query: number
            for number, members in reversed(list(enumerate(self.lists.values())))
            for query in members
        }
        return np.array([place.get(query, len(self.lists)) for query in self.query_ids])


def cluster_scope(key: str, candidate: str) -> str:
    """Return the name of a failure cluster as a scope."""
    return f"cluster {key} of {candidate}"


def slice_scope(name: str) -> str:
    """Return the name of a stored slice as a scope."""
    return f"slice {name}"


def lists(
    diagnosed: Sequence[CandidateDiagnosis], slices: Sequence[Slice]
) -> dict[str, Sequence[str]]:
    """Return the queries of every cluster of queries and of every slice, by the scope's name."""
    found: dict[str, Sequence[str]] = {}
    for one in diagnosed:
        for cluster in one.clusters:
            if cluster.mode != "documents":
                found[cluster_scope(cluster.key, one.candidate)] = cluster.members
    for each in slices:
        found[slice_scope(each.name)] = each.queries
    return found


def matching(queries: Sequence[str], texts: Mapping[str, str], words: str) -> list[str]:
    """Return the queries whose text or id has some words in it, in the order given.

    >>> matching(["q1", "q2"], {"q1": "What is Glaucoma?", "q2": "Fever"}, "glau")
    ['q1']
    """
    sought = " ".join(words.split()).casefold()
    if not sought:
        return list(queries)
    return [
        query
        for query in queries
        if sought in texts.get(query, "").casefold() or sought == query.casefold()
    ]


class Selection(NamedTuple):
    """Some queries beside all others.

    Attributes:
        n: queries chosen.
        inside: mean of the metric with its 95% t-interval.
        outside: the same of all others; None where everything is chosen.
        words: that tell the chosen from the others, most telling first.
    """

    n: int
    inside: Interval
    outside: Interval | None
    words: tuple[str, ...]


def describe_selection(values: Values, rows: Indices, texts: Sequence[str]) -> Selection | None:
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
        if count * max(other.total(), 1) > other[word] * mine.total()
    }
    return tuple(sorted(weight, key=lambda word: (-weight[word], word))[:_WORDS])
