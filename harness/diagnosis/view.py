"""View: a collection as the diagnoses of all its candidates see it; everything is found once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from harness.arrays import Flags, Indices, Rows, Values, Vectors
from harness.collection import Collection, Judgements
from harness.diagnosis.duplicates import Twins, find_twins
from harness.diagnosis.lexicon import Acronyms, Lexicon, read_acronyms, read_words
from harness.diagnosis.neutral import Neutral, NeutralSource
from harness.diagnosis.regions import Attributes, Ordered, Regions, draw_regions, mean_beside
from harness.diagnosis.standing import Relevant, findable_pairs
from harness.diagnosis.words import ACRONYMS, DIGITS, NEGATIONS, head
from harness.stage import Stage, keyed_by, unkeyed
from harness.store import Store


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known about a collection whatever the candidate.

    Attributes:
        collection: texts and judgements.
        level: the lowest grade that is relevant.
        language: of the words, "english", or "none" for no stemming and no function words.
    """

    collection: Collection = field(metadata=keyed_by("_collection"))
    level: int = 1
    language: str = "english"

    @property
    def _collection(self) -> tuple[object, ...]:
        collection = self.collection
        return collection, collection.clusters, collection.name  # its name is in the sentences

    @cached_property
    def relevant(self) -> Relevant:
        """The relevant pairs that can be found."""
        return findable_pairs(self.collection, level=self.level)

    @cached_property
    def _bounds(self) -> Indices:
        every = np.arange(len(self.collection.queries) + 1)
        return np.searchsorted(self.relevant.queries, every)

    def relevant_to(self, query: int) -> Rows:
        """Return the relevant documents of a query that can be found."""
        return self.relevant.documents[self._bounds[query] : self._bounds[query + 1]]

    @cached_property
    def _as_judgements(self) -> Judgements:
        return Judgements(*self.relevant, np.ones(len(self.relevant.queries), dtype=np.int32))

    def are_relevant(self, documents: Rows, *, queries: Indices | None = None) -> Flags:
        """Tell which documents of a ranking, [n, k], are relevant to their query.

        Args:
            documents: rows; -1 is an empty place.
            queries: int [n], whose ranking each is; None where they are all queries in order.
        """
        found: Flags = self._as_judgements.grades_of(documents, queries=queries) > 0
        return found

    @cached_property
    def _relevant_set(self) -> frozenset[tuple[int, int]]:
        queries, documents = self.relevant
        return frozenset(zip(queries.tolist(), documents.tolist(), strict=True))

    def is_relevant(self, query: int, document: int) -> bool:
        """Tell whether a document is relevant to a query."""
        return (query, document) in self._relevant_set

    @cached_property
    def lexicon(self) -> Lexicon:
        """The words of documents and queries."""
        texts = self.collection
        return read_words(texts.documents, texts.queries, language=self.language)

    @cached_property
    def acronyms(self) -> Acronyms:
        """The acronyms that documents define."""
        return read_acronyms(self.collection.documents)

    @cached_property
    def twins(self) -> Twins:
        """Documents of nearly the same words."""
        return find_twins(self.collection.documents)


@dataclass(frozen=True, eq=False)
class View:
    """A collection in its neutral space, with the regions that serve all of its candidates.

    Attributes:
        facts: about the collection.
        neutral: the space.
        store: where vectors lie.
        seed: of k-means.
    """

    facts: Facts
    neutral: Neutral = field(metadata=keyed_by("_neutral"))
    store: Store = field(metadata=unkeyed("where the vectors lie"))
    seed: int

    @property
    def _neutral(self) -> tuple[object, ...]:
        return self.query_source, self.document_source

    @property
    def collection(self) -> Collection:
        """Texts and judgements."""
        return self.facts.collection

    @cached_property
    def relevant_documents(self) -> Indices:
        """Rows of the documents that are relevant to any query, ascending."""
        return np.unique(self.facts.relevant.documents).astype(np.int64)

    @cached_property
    def query_source(self) -> NeutralSource:
        """The queries in the neutral space."""
        return self.neutral.queries(self.collection)

    @cached_property
    def document_source(self) -> NeutralSource:
        """The relevant documents in the neutral space."""
        return self.neutral.documents(self.collection, self.relevant_documents)

    @property
    def stages(self) -> Sequence[Stage]:
        """What makes the vectors."""
        return [*self.query_source.stages, *self.document_source.stages]

    @cached_property
    def query_vectors(self) -> Vectors:
        """Neutral vectors of the queries, float32 [n_queries, dim]."""
        return self.query_source.vectors(self.store)

    @cached_property
    def document_vectors(self) -> Vectors:
        """Neutral vectors of `relevant_documents`."""
        return self.document_source.vectors(self.store)

    @cached_property
    def query_regions(self) -> Regions:
        """Regions of the queries, by themselves and beside their relevant documents."""
        relevant, queries = self.facts.relevant, self.collection.queries
        places = np.searchsorted(self.relevant_documents, relevant.documents)
        return self._regions(
            self.query_vectors,
            queries,
            query_attributes(self.collection),
            beside=mean_beside(self.document_vectors, relevant.queries, places, n=len(queries)),
        )

    @cached_property
    def document_regions(self) -> Regions:
        """Regions of the relevant documents; the words are those that they begin with."""
        texts = tuple(self.collection.documents[row] for row in self.relevant_documents.tolist())
        length = Ordered(_words(texts), "a document of {}", "word")
        return self._regions(self.document_vectors, texts, {"length of the document": length})

    def _regions(
        self,
        vectors: Vectors,
        texts: Sequence[str],
        attributes: Attributes,
        *,
        beside: Vectors | None = None,
    ) -> Regions:
        return draw_regions(
            vectors,
            [head(text) for text in texts],
            beside=beside,
            attributes=attributes,
            language=self.facts.language,
            common=self.facts.lexicon.common,
            seed=self.seed,
        )

    @cached_property
    def groups(self) -> Indices | None:
        """Which queries belong together, int64 [n_queries]; None where all are alone.

        Where the collection does not say it, those that ask for the same document do; a query with
        several relevant documents goes with the first of them.
        """
        if self.collection.clusters is not None:
            return self.collection.clusters
        relevant = self.facts.relevant
        first = np.full(len(self.collection.queries), -1, dtype=np.int64)
        first[relevant.queries[::-1]] = relevant.documents[::-1]
        alone = -1 - np.arange(len(first))
        groups: Indices = np.where(first >= 0, first, alone)
        return None if len(np.unique(groups)) == len(groups) else groups


def query_attributes(collection: Collection) -> Attributes:
    """Return what is true of queries whatever a candidate returns, by name; not their words."""
    queries = collection.queries
    judged = collection.judgements
    relevant = (judged.grades >= 1) & (judged.documents >= 0)
    owners, rows = judged.queries[relevant], judged.documents[relevant]
    shortest = np.full(len(queries), np.inf)
    np.minimum.at(shortest, owners, _words(collection.documents)[rows])
    shortest[np.isinf(shortest)] = np.nan
    counts = np.bincount(owners, minlength=len(queries)).astype(np.float64)

    def matching(pattern: re.Pattern[str]) -> Flags:
        return np.array([pattern.search(text) is not None for text in queries], dtype=bool)

    return {
        "length of the query": Ordered(_words(queries), "a query of {}", "word"),
        "length of the relevant document": Ordered(shortest, "a relevant document of {}", "word"),
        "number of relevant documents": Ordered(counts, "{}", "relevant document"),
        "a number": matching(DIGITS),
        "a negation": matching(NEGATIONS),
        "an acronym": matching(ACRONYMS),
    }


def _words(texts: Sequence[str]) -> Values:
    return np.array([len(text.split()) for text in texts], dtype=np.float64)
