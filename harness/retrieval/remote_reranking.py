"""Remote reranking: scores of pairs that a provider is asked for, as `remote` asks for vectors.

The unit of reuse is the pair of texts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.artifact import Artifact
from harness.environment import today
from harness.hashing import digest
from harness.providers.asking import Asking, ask_each
from harness.providers.http import Server, readable
from harness.providers.remote import SECONDS, Remote, Spent
from harness.providers.reranking import Reranker, ScoredDocuments
from harness.retrieval.latency import RescoreQuery, sample_rows
from harness.retrieval.remote import AskedElsewhere, asked_alone, paid_for
from harness.retrieval.reranking import CrossEncoderScorer, Pairs
from harness.stage import Context, Work, unkeyed
from harness.store import Store

# The kind of artifact: paid for, and never pruned.
SCORES = "api-scores"


@dataclass(frozen=True, eq=False)
class RemoteScorer(CrossEncoderScorer):
    """Scorer: a provider's stored scores of pairs of texts."""

    model: Reranker

    def kind(self, store: Store) -> str:
        """Folder of this model's scores in the store."""
        return f"{SCORES}/{self.model.key(store)}"

    def load(self, context: Context) -> Any:  # noqa: ARG002
        """Raise: the model is not here."""
        raise TypeError(f"{self.model.name} runs at {self.model.place}")

    def chances(self, scores: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Return the scores: providers give them from 0 to 1."""
        chances: npt.NDArray[np.floating] = np.clip(scores, 0.0, 1.0)
        return chances

    def work_of(self, pairs: int, store: Store) -> Work:  # noqa: ARG002
        """Return what so many pairs cost at most, before it is known which they are."""
        queries, documents = self.collection.queries, self.collection.documents
        if not pairs:
            return Work()
        requests = max(-(-pairs // self.model.api.documents), min(len(queries), pairs))
        tokens = pairs * (_mean_tokens(self.model, queries) + _mean_tokens(self.model, documents))
        return Work(
            pairs=pairs,
            seconds=requests * SECONDS / self.model.concurrency,
            requests=requests,
            tokens=round(tokens),
            usd=self.model.usd(Spent(round(tokens), requests)) or 0.0,
        )

    def score_missing(self, context: Context, pairs: Pairs, *, label: str) -> None:
        """Ask for the scores of pairs that have none.

        Raises:
            HarnessError: as of `RemoteEncode.run`.
        """
        store, model = context.store, self.model
        missing = self._without_blank(store, self.missing(store, pairs))
        if not len(missing):
            return
        model.refuse_offline(label, f"{len(missing):,} pairs have no stored score")
        requests = self._requests(missing)
        budget = model.budget(label, spent=self.spent(store), needed=self._needed(requests))
        with (
            model.served(label) as server,
            context.progress.task(label, total=len(requests), unit="requests") as advance,
        ):

            def finish(row: int, asking: Asking) -> None:
                self._keep(store, requests[row], self._fetch(server, asking, requests[row]))

            left = ask_each(
                len(requests), finish, budget, concurrency=model.concurrency, advance=advance
            )
        missing = self.missing(store, pairs)
        if len(missing):
            model.refuse_rest(label, f"{len(missing):,} pairs have no stored score", left)

    def ask_alone(
        self, context: Context, tops: Mapping[int, npt.NDArray[np.int32]], *, again: bool
    ) -> list[float]:
        """Ask for the scores of whole queries one by one, and return the seconds of each.

        Args:
            context: of the run.
            tops: documents of each query's row.
            again: although they are timed.
        """
        store = context.store
        pairs = {
            query: self._distinct(np.array([(query, document) for document in top], dtype=np.int32))
            for query, top in tops.items()
            if len(top)
        }
        fresh = {query: self.missing(store, each) for query, each in pairs.items()}
        stored = {query for query, each in fresh.items() if len(each) < len(pairs[query])}
        label = f"score pairs of {self.collection.name} with {self.name}"

        def ask(server: Server, asking: Asking, query: int) -> float:
            total = 0.0
            for request in self._requests(self._without_blank(store, pairs[query])):
                got = self._fetch(server, asking, request)
                total += got.seconds
                depth = len(pairs[query])
                self._keep(store, request, got, alone=depth, again=again or query in stored)
            return total

        seconds = asked_alone(
            context,
            self.model,
            list(pairs),
            label=label,
            known={} if again else self._seconds(store, pairs),
            stored=set() if again else stored,
            budget=lambda each: self.model.budget(
                label,
                spent=self.spent(store),
                needed=self._needed(
                    [request for query in each for request in self._requests(pairs[query])]
                ),
            ),
            ask=ask,
        )
        return [seconds[query] for query in pairs if query in seconds]

    def usd_per_million(self, store: Store, *, depth: int) -> float | None:
        """Return what a million queries cost by what was billed, at so many documents."""
        answers = self._answers(store)
        pairs = sum(answer.meta["pairs"] for answer in answers)
        if not pairs:
            return None
        tokens = sum(answer.meta["tokens"] for answer in answers) / pairs * depth
        searches = -(-depth // self.model.api.documents)
        return self.model.bill.usd(tokens=tokens * 1e6, searches=searches * 1e6)

    def spent(self, store: Store) -> Spent:
        """Return what was billed for anything that the model was asked, in any run."""
        return paid_for(self._answers(store))

    def _answers(self, store: Store) -> list[Artifact]:
        return store.list(self.kind(store))

    def _distinct(self, pairs: Pairs) -> Pairs:
        """Return pairs without those whose texts are those of an earlier one."""
        _, first = np.unique(self.pair_hashes(pairs), return_index=True)
        distinct: Pairs = pairs[np.sort(first)]
        return distinct

    def _requests(self, pairs: Pairs) -> list[Pairs]:
        """Return pairs as requests of one query each, within the provider's limits."""
        found = []
        for query in dict.fromkeys(pairs[:, 0].tolist()):
            mine = pairs[pairs[:, 0] == query]
            texts = [self.collection.documents[row] for row in mine[:, 1].tolist()]
            rows = self.model.requests(self.collection.queries[query], texts)
            found += [mine[some] for some in rows]
        return found

    def _needed(self, requests: Sequence[Pairs]) -> Spent:
        tokens = sum(
            self.model.tokens(query, document)
            for request in requests
            for query, document in self._texts(request)
        )
        return Spent(tokens, len(requests))

    def _fetch(self, server: Server, asking: Asking, request: Pairs) -> ScoredDocuments:
        queries, documents = zip(*self._texts(request), strict=True)
        texts = [readable(document) for document in documents]
        return self.model.fetch(server, asking, readable(queries[0]), texts)

    def _without_blank(self, store: Store, pairs: Pairs) -> Pairs:
        """Return the pairs without empty documents, which score 0 and are not sent."""
        blank = np.array([not document.strip() for _, document in self._texts(pairs)], dtype=bool)
        if blank.any():
            fresh = self.missing(store, pairs[blank])
            if len(fresh):
                zeros = np.zeros(len(fresh), dtype=np.float32)
                self._keep(store, fresh, ScoredDocuments(zeros, 0, 0.0), sent=0)
        sent: Pairs = pairs[~blank]
        return sent

    def _keep(
        self,
        store: Store,
        request: Pairs,
        got: ScoredDocuments,
        *,
        alone: int | None = None,
        again: bool = False,
        sent: int = 1,
    ) -> None:
        """Store scores; `alone` is the depth to which the query was asked by itself."""
        hashes = self.pair_hashes(request)
        meta = {
            "pairs": len(request) if sent else 0,
            "tokens": got.tokens,
            "searches": sent,
            "seconds": got.seconds,
            "alone": alone,
            "device": self.model.place,
            "date": today(),
        }
        key = digest("pairs", hashes.view(np.uint8), time.time_ns() if again else None)
        store.put(self.kind(store), key, arrays={"pairs": hashes, "scores": got.scores}, meta=meta)

    def _seconds(self, store: Store, pairs: Mapping[int, Pairs]) -> dict[int, float]:
        """Return the seconds of the queries that were asked alone, as deep as these, by row."""
        asked = {
            (self.pair_hashes(each)[0].tobytes()[:16], len(each)): query
            for query, each in pairs.items()
        }
        found: dict[int, float] = {}
        for answer in self._answers(store):
            if answer.meta["alone"] is not None:
                place = (answer.array("pairs")[0].tobytes()[:16], answer.meta["alone"])
                if place in asked:
                    query = asked[place]
                    found[query] = found.get(query, 0.0) + answer.meta["seconds"]
        return found


@dataclass(frozen=True, eq=False)
class RemoteRescore(AskedElsewhere, RescoreQuery):
    """Step: one query's first-stage documents to a provider's reranker, the network included."""

    device: str = field(metadata=unkeyed("the model's key holds where it runs"))
    scorer: RemoteScorer

    @property
    def model(self) -> Remote:
        """The reranker."""
        return self.scorer.model

    def run(self, context: Context) -> None:
        """Ask for the sample, and store how long each query took."""
        again = self.artifact(context.store) is not None
        top = self.first.result(context.store).documents[:, : self.depth]
        rows = sample_rows(len(self.collection.queries))
        tops = {row: top[row][top[row] >= 0] for row in rows}
        seconds = self.scorer.ask_alone(context, tops, again=again)
        self.keep(context.store, [1000 * each for each in seconds], asked=len(rows))


def _mean_tokens(model: Reranker, texts: Sequence[str]) -> float:
    return sum(model.tokens("", text) for text in texts) / max(len(texts), 1)
