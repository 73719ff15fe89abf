"""RerankProtocol: scores of a query's documents by a provider, in requests within its limits."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.providers.asking import Asking
from harness.providers.http import AnswerError, Server, token_estimate
from harness.providers.remote import Remote, billed, requests_of
from harness.providers.table import RerankProtocol, ServedFacts, ToRank, facts_of


@dataclass(frozen=True)
class ScoredDocuments:
    """The scores of some of a query's documents.

    Attributes:
        scores: float32 [n].
        tokens: billed; estimated where the server does not say.
        seconds: of the request that was answered.
    """

    scores: npt.NDArray[np.float32]
    tokens: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Reranker(Remote):
    """A reranker at a provider."""

    @property
    def api(self) -> RerankProtocol:
        """How its provider reranks."""
        if self.entry.reranking is None:
            raise TypeError(f"{self.provider} does not rerank")
        return self.entry.reranking

    @property
    def facts(self) -> ServedFacts:
        """What is known of it."""
        return facts_of(self.api.models, self.model)

    def tokens(self, query: str, document: str) -> int:
        """Return how many tokens a pair takes, at most; the query counts in each."""
        count = token_estimate(query) + token_estimate(document)
        return max(1, min(count, self.facts.text_tokens or count))

    def requests(self, query: str, documents: Sequence[str]) -> Iterator[list[int]]:
        """Return rows of documents for one request each, in order, within the limits."""
        counts = (self.tokens(query, document) for document in documents)
        return requests_of(counts, most=self.api.documents, room=self.api.tokens)

    def fetch(
        self, server: Server, asking: Asking, query: str, documents: Sequence[str]
    ) -> ScoredDocuments:
        """Return the scores of documents, of which none is empty.

        Raises:
            BusyError: there is no answer in all attempts.
            HarnessError: exit code 4, the server refuses what it is asked.
        """
        most = sum(self.tokens(query, document) for document in documents)
        return asking.get(partial(self._ask, server, query, tuple(documents), most), most=most)

    def _ask(
        self, server: Server, query: str, documents: tuple[str, ...], estimate: int
    ) -> ScoredDocuments:
        started = time.perf_counter()

        def read(found: Any) -> ScoredDocuments:
            answer = self.api.read(found)
            scores = _placed(answer.scores, answer.places, count=len(documents))
            seconds = time.perf_counter() - started
            return ScoredDocuments(scores, billed(answer.tokens, estimate=estimate), seconds)

        return server.post(self.api.path, self.api.body(ToRank(self.model, query, documents)), read)


def _placed(found: Sequence[Any], places: Sequence[Any], *, count: int) -> npt.NDArray[np.float32]:
    """Return scores in the order of the documents, float32 [count].

    Raises:
        AnswerError: they are too few or many, or no numbers.
    """
    if sorted(places) != list(range(count)):
        raise AnswerError(f"{len(found)} scores for {count} documents")
    scores = np.empty(count, dtype=np.float32)
    scores[list(places)] = np.asarray(found, dtype=np.float64)
    if not np.isfinite(scores).all():
        raise AnswerError("a score that is NaN or infinite")
    return scores
