"""Training pairs: the relevant (query, document) pairs of a collection's split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from harness.collection import Collection
from harness.hashing import digest, text_hashes


@dataclass(frozen=True)
class Pairs:
    """Distinct relevant pairs of texts, in the order of their ids.

    Attributes:
        queries, documents: parallel texts.
    """

    queries: Sequence[str] = field(repr=False)
    documents: Sequence[str] = field(repr=False)

    def __len__(self) -> int:
        return len(self.queries)

    @cached_property
    def key(self) -> str:
        """Content key of the pairs in their order."""
        return digest("pairs", text_hashes(self.queries), text_hashes(self.documents))


def relevant_pairs(collection: Collection) -> Pairs:
    """Return every query with each document judged relevant to it; equal pairs once."""
    judged = collection.judgements
    chosen = (judged.grades >= 1) & (judged.documents >= 0)
    rows = zip(judged.queries[chosen].tolist(), judged.documents[chosen].tolist(), strict=True)
    pairs = dict.fromkeys(
        (collection.queries[query], collection.documents[document]) for query, document in rows
    )
    return Pairs([query for query, _ in pairs], [document for _, document in pairs])
