"""Facts: what a diagnosis knows about a collection, whatever the candidate; each found once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from harness.collection import Collection, Judgements
from harness.diagnosis.acronyms import Acronyms, read_acronyms
from harness.diagnosis.duplicates import Twins, find_twins
from harness.diagnosis.lexicon import Lexicon, read_words
from harness.diagnosis.standing import Relevant, findable_pairs


@dataclass(frozen=True, eq=False)
class Facts:
    """A collection as the diagnoses of all its candidates see it.

    Attributes:
        collection: texts and judgements.
        level: the lowest grade that is relevant.
        language: of the words, "english", or "none" for no stemming and no function words.
    """

    collection: Collection
    level: int = 1
    language: str = "english"

    @cached_property
    def relevant(self) -> Relevant:
        """The relevant pairs that can be found."""
        return findable_pairs(self.collection, level=self.level)

    @cached_property
    def _as_judgements(self) -> Judgements:
        """The same, each of grade 1."""
        return Judgements(*self.relevant, np.ones(len(self.relevant.queries), dtype=np.int32))

    def are_relevant(
        self, documents: npt.NDArray[np.int32], *, queries: npt.NDArray[np.intp] | None = None
    ) -> npt.NDArray[np.bool_]:
        """Tell which documents of a ranking, [n, k], are relevant to their query.

        Args:
            documents: rows; -1 is an empty place.
            queries: int [n], whose ranking each is; None where they are all queries in order.
        """
        found: npt.NDArray[np.bool_] = self._as_judgements.grades_of(documents, queries=queries) > 0
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
        return read_words(
            self.collection.documents, self.collection.queries, language=self.language
        )

    @cached_property
    def acronyms(self) -> Acronyms:
        """The acronyms that documents define."""
        return read_acronyms(self.collection.documents)

    @cached_property
    def twins(self) -> Twins:
        """Documents of nearly the same words."""
        return find_twins(self.collection.documents)
