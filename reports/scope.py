"""Scope: the queries that a reader goes through one after the other, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.arrays import Values
from harness.diagnosis.values import CandidateDiagnosis
from harness.statistics import TIE
from reports.beside import Slice

ALL, WORSE, BETTER = "all queries", "B worse than A", "B better than A"
A_ZERO, B_ZERO = "A scores 0", "B scores 0"


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

    def queries(self, name: str) -> list[str]:
        """Return the ids of a scope: by difference where it is about one, else in their order."""
        if name in self.lists:
            return list(self.lists[name])
        difference = self.second - self.first
        order = np.arange(len(self.query_ids))
        if name == WORSE:
            order = np.argsort(difference, kind="stable")
            order = order[difference[order] <= -TIE]
        elif name == BETTER:
            order = np.argsort(-difference, kind="stable")
            order = order[difference[order] >= TIE]
        elif name == A_ZERO:
            order = np.flatnonzero(self.first == 0)
        elif name == B_ZERO:
            order = np.flatnonzero(self.second == 0)
        return [self.query_ids[row] for row in order.tolist()]


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
