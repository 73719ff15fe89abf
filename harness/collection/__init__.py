"""Collection: documents, queries and judgements of one split, pinned by their content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from harness.collection.packed import content_hashes
from harness.collection.passages import SearchedPassages
from harness.hashing import digest, text_hashes
from harness.stage import keyed_by, unkeyed

NO_GRADE = np.iinfo(np.int32).min  # no grade: those of TREC go down to -2


@dataclass(frozen=True, eq=False)
class Judgements:
    """Graded relevance judgements as three parallel arrays, sorted by query row.

    Attributes:
        queries: int32 [n], row of the query in the collection.
        documents: int32 [n], row of the document in the collection; -1 where the judged document
            is not in the corpus (it can never be retrieved and stays in the denominator, as in
            trec_eval).
        grades: int32 [n]; relevant means grade >= 1, everything else is judged not relevant.
        shortlists: int32 [n_queries, longest], the rows of the documents that alone are ranked for
            each query, ascending and ending in -1; None where each searches the whole corpus.
    """

    queries: npt.NDArray[np.int32]
    documents: npt.NDArray[np.int32]
    grades: npt.NDArray[np.int32]
    shortlists: npt.NDArray[np.int32] | None = None

    def grades_of(
        self, documents: npt.NDArray[np.integer], *, queries: npt.NDArray[np.integer] | None = None
    ) -> npt.NDArray[np.int32]:
        """Return the grade of every document of some rankings, int32 [n, k], or `NO_GRADE`.

        >>> judged = Judgements(*(np.array(each, np.int32) for each in ([0, 0], [7, 5], [0, 2])))
        >>> judged.grades_of(np.array([[5, 6, 7, -1]])) >= 0
        array([[ True, False,  True, False]])

        Args:
            documents: [n, k] rows; -1 is an empty place.
            queries: [n], whose ranking each is; None where they are all queries in order.
        """
        rows = np.arange(len(documents)) if queries is None else queries
        keys, grades = self._by_pair
        asked = _pair_keys(rows[:, None], documents)
        places = np.searchsorted(keys, asked)
        found = (keys[places] == asked) & (documents >= 0)
        return np.where(found, grades[places], np.int32(NO_GRADE))

    @cached_property
    def _by_pair(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """One number for each pair, ascending, and its grade; the last is larger than any."""
        keys = np.append(_pair_keys(self.queries, self.documents), np.iinfo(np.int64).max)
        order = np.argsort(keys, kind="stable")
        return keys[order], np.append(self.grades, np.int32(NO_GRADE))[order]


def _pair_keys(
    queries: npt.NDArray[np.integer], documents: npt.NDArray[np.integer]
) -> npt.NDArray[np.int64]:
    keys: npt.NDArray[np.int64] = (queries.astype(np.int64) << 32) + documents
    return keys


@dataclass(frozen=True, eq=False)
class Collection:
    """Documents, and the queries of one split that have at least one relevant document.

    Documents and queries are kept in ascending order of their ids (by code point), so that
    trec_eval's rule for tied scores, document id descending, is simply the larger row first, and so
    that the order of lines in a file changes nothing.

    Attributes:
        name: the suite's name for it.
        split: which judgements.
        document_ids, documents: ids and texts, parallel; those of a large corpus stay packed in the
            store until they are read.
        query_ids, queries: ids and texts, parallel.
        judgements: of these queries only.
        exclude_identical_ids: a document whose id equals the query's is never returned.
        clusters: int64 [n_queries], queries of one number are no independent evidence; None where
            each stands for itself. Tests read it, scores do not: it is no part of any key here.
        licence: as the source states it, or "".
        passages: the pieces of the documents, where these are searched instead.
    """

    name: str = field(metadata=unkeyed("for people"))
    split: str = field(metadata=unkeyed("its queries and judgements are keyed"))
    document_ids: Sequence[str] = field(repr=False, metadata=keyed_by("documents_key"))
    documents: Sequence[str] = field(repr=False, metadata=keyed_by("documents_key"))
    query_ids: tuple[str, ...] = field(repr=False, metadata=keyed_by("queries_key"))
    queries: tuple[str, ...] = field(repr=False, metadata=keyed_by("queries_key"))
    judgements: Judgements = field(repr=False, metadata=keyed_by("judgements_key"))
    exclude_identical_ids: bool = False
    clusters: npt.NDArray[np.int64] | None = field(
        default=None, repr=False, metadata=unkeyed("tests read it, scores do not")
    )
    licence: str = field(default="", metadata=unkeyed("it changes no score"))
    passages: SearchedPassages | None = field(
        default=None, repr=False, metadata=unkeyed("runs are keyed by what they search")
    )

    @cached_property
    def searched(self) -> Collection:
        """What candidates search: itself, or its passages, which nobody judged."""
        if self.passages is None:
            return self
        nothing = np.empty(0, dtype=np.int32)
        return replace(
            self,
            document_ids=self.passages.ids,
            documents=self.passages.texts,
            judgements=Judgements(nothing, nothing, nothing),
            passages=None,
        )

    @cached_property
    def documents_key(self) -> str:
        """Content key of the ids and texts of the documents."""
        return digest("documents", *map(content_hashes, (self.document_ids, self.documents)))

    @cached_property
    def queries_key(self) -> str:
        """Content key of the ids and texts of the queries."""
        return digest("queries", text_hashes(self.query_ids), text_hashes(self.queries))

    @cached_property
    def judgements_key(self) -> str:
        """Content key of the judgements, by row, and of the shortlists where there are any."""
        judged = self.judgements
        lists = [] if judged.shortlists is None else [judged.shortlists]
        return digest("judgements", judged.queries, judged.documents, judged.grades, *lists)

    @cached_property
    def key(self) -> str:
        """Content key of everything that scores depend on; neither path nor name is part of it."""
        return digest(
            "collection",
            self.documents_key,
            self.queries_key,
            self.judgements_key,
            self.exclude_identical_ids,
        )
