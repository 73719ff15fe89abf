"""Filters: which questions are no use for training, by their words and by a round trip."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from harness.collection import Collection
from harness.collection.texts import normalise
from harness.errors import ExitCode, HarnessError
from harness.retrieval.encoding import Encode, Texts
from harness.retrieval.lexical import LexicalSearch
from harness.retrieval.run_stage import RunStage
from harness.retrieval.search import VectorSearch
from harness.stage import Context, Keyed, keyed_by, unkeyed
from harness.training.similarity import SAME_QUERY, similar

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_RUN = 4  # words
_SHORT = 5  # words; so few are what one types, also where they stand in the passage
_COPIED = 0.75  # share of a question's runs of words that the passage holds
_POINTS_AT_TEXT = re.compile(
    r"\b(?:this|the|above|given|provided)\s+(?:\w+\s+)?"
    r"(?:passage|text|excerpt|paragraph|article|document|snippet|abstract|author|authors)\b"
)

COPY = "copies the passage"
POINTS = "speaks of the passage itself"
DUPLICATE = "duplicate"
NEAR_DUPLICATE = "near duplicate"


def reasons_to_drop(passages: Sequence[str], questions: Sequence[str]) -> list[str | None]:
    """Return for every question why it is dropped, or None if it is kept.

    A duplicate is the text of an earlier question apart from case and punctuation, a near duplicate
    nearly its words, whatever the passage: one question with two passages would teach each as the
    other's negative.

    Args:
        passages: of each question.
        questions: parallel.

    >>> passage = "Aspirin thins the blood and lowers a fever."
    >>> asked = ["Does aspirin help against fever?", "does aspirin help against fever"]
    >>> reasons_to_drop([passage] * 3, [*asked, "Aspirin thins the blood and lowers what?"])
    [None, 'duplicate', 'copies the passage']
    """
    found: list[str | None] = []
    texts: set[str] = set()
    near = similar(questions, questions, at_least=SAME_QUERY)
    alike: dict[int, list[int]] = {}  # the earlier questions that are one with a question
    for left, right in zip(near.left.tolist(), near.right.tolist(), strict=True):
        if left < right:
            alike.setdefault(right, []).append(left)
    for row, (passage, question) in enumerate(zip(passages, questions, strict=True)):
        plain = " ".join(_words(question))
        if plain in texts:
            found.append(DUPLICATE)
        elif any(found[other] is None for other in alike.get(row, ())):
            found.append(NEAR_DUPLICATE)
        elif _POINTS_AT_TEXT.search(normalise(question)):
            found.append(POINTS)
        elif _is_copy(question, passage):
            found.append(COPY)
        else:
            found.append(None)
            texts.add(plain)
    return found


def _words(text: str) -> list[str]:
    return _WORD.findall(normalise(text))


def _is_copy(question: str, passage: str) -> bool:
    """Tell whether a question is its passage, or nearly all its runs of words stand there."""
    words, source = _words(question), _words(passage)
    runs, there = (
        {tuple(each[start : start + _RUN]) for start in range(len(each) - _RUN + 1)}
        for each in (words, source)
    )
    return words == source or (len(words) > _SHORT and len(runs & there) >= _COPIED * len(runs))


@dataclass(frozen=True, eq=False)
class RoundTrip(Keyed):
    """Whether a candidate finds the passages of questions, by its own search of the collection.

    A question is worth training on if its passage can be found with it.

    Attributes:
        stage: how the candidate searches the collection for the collection's own queries.
        collection: whose passages.
        k: ranks that are looked at.
    """

    stage: RunStage = field(metadata=keyed_by("_search"))
    collection: Collection = field(metadata=unkeyed("the search holds its documents"))
    k: int

    def finds(
        self, context: Context, questions: Sequence[str], passages: Sequence[str]
    ) -> list[bool]:
        """Return for every question whether a document with its passage's text is found for it."""
        stage = self._asking(tuple(questions))
        if isinstance(stage, VectorSearch):
            for side in (stage.space.documents, stage.space.queries):
                if isinstance(side, Encode):
                    side.run(context)
        if not stage.is_done(context.store):
            stage.run(context)
        rows: dict[str, list[int]] = {}
        for row, text in enumerate(self.collection.documents):
            rows.setdefault(text, []).append(row)
        found = stage.result(context.store).documents
        pairs = zip(passages, found, strict=True)
        return [bool(np.isin(rows[passage], ranked).any()) for passage, ranked in pairs]

    @property
    def _search(self) -> RunStage:
        """The search, whatever is asked."""
        return self._asking(("",))

    def _asking(self, questions: tuple[str, ...]) -> RunStage:
        """Return the candidate's search for other queries, to the depth that matters here."""
        name, stage = f"{self.stage.name}, round trip", self.stage
        changed: dict[str, Any]
        if isinstance(stage, LexicalSearch):
            ids = tuple(f"{row:09}" for row in range(len(questions)))
            changed = {"collection": replace(stage.collection, query_ids=ids, queries=questions)}
        elif isinstance(stage, VectorSearch) and isinstance(stage.space.queries, Encode):
            texts = Texts(self.collection.name, questions)
            queries = replace(stage.space.queries, texts=texts, name=name)
            changed = {
                "space": replace(stage.space, queries=queries),
                "collection_key": self.collection.documents_key,
            }
        else:
            raise HarnessError(
                f"round_trip: {stage.name} only ranks given lists of documents, so it cannot "
                "search for new queries. Remove round_trip.",
                exit_code=ExitCode.USAGE,
            )
        return replace(stage, name=name, depth=self.k, forbidden=None, **changed)
