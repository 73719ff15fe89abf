"""View: a collection in its neutral space, with the regions that serve all of its candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from harness.arrays import Indices, Vectors
from harness.collection import Collection
from harness.diagnosis.attributes import document_attributes, head, query_attributes
from harness.diagnosis.facts import Facts
from harness.diagnosis.neutral import Neutral, Source
from harness.diagnosis.regions import Regions, draw_regions, mean_beside
from harness.stage import Stage, keyed_by, unkeyed
from harness.store import Store


@dataclass(frozen=True, eq=False)
class View:
    """A collection as its diagnoses see it; everything is worked out once.

    Attributes:
        collection: texts and judgements.
        neutral: the space.
        level: the lowest grade that is relevant.
        language: of the words, as in `Facts`.
        store: where vectors lie.
        seed: of k-means.
    """

    collection: Collection = field(metadata=keyed_by("_collection"))
    neutral: Neutral = field(metadata=keyed_by("_neutral"))
    level: int
    language: str
    store: Store = field(metadata=unkeyed("where the vectors lie"))
    seed: int

    @property
    def _collection(self) -> tuple[object, ...]:
        collection = self.collection
        return collection, collection.clusters, collection.name  # its name is in the sentences

    @property
    def _neutral(self) -> tuple[object, ...]:
        return self.query_source, self.document_source

    @cached_property
    def facts(self) -> Facts:
        """What is known whatever the candidate."""
        return Facts(self.collection, self.level, self.language)

    @cached_property
    def relevant_documents(self) -> Indices:
        """Rows of the documents that are relevant to any query, ascending."""
        return np.unique(self.facts.relevant.documents).astype(np.int64)

    @cached_property
    def query_source(self) -> Source:
        """The queries in the neutral space."""
        return self.neutral.queries(self.collection)

    @cached_property
    def document_source(self) -> Source:
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
        relevant = self.facts.relevant
        places = np.searchsorted(self.relevant_documents, relevant.documents)
        queries = self.collection.queries
        return draw_regions(
            self.query_vectors,
            [head(text) for text in queries],
            beside=mean_beside(self.document_vectors, relevant.queries, places, n=len(queries)),
            attributes=query_attributes(self.collection),
            language=self.language,
            common=self.facts.lexicon.common,
            seed=self.seed,
        )

    @cached_property
    def document_regions(self) -> Regions:
        """Regions of the relevant documents; the words are those that they begin with."""
        texts = tuple(self.collection.documents[row] for row in self.relevant_documents.tolist())
        return draw_regions(
            self.document_vectors,
            [head(text) for text in texts],
            attributes=document_attributes(texts),
            language=self.language,
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
