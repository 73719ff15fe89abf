"""Remote: vectors and scores that a provider is asked for, each answer stored as it arrives.

The unit of reuse is the text, or the pair of texts, as elsewhere in the store; what is stored is
what one request brought. So a run that is killed asks for nothing again but what was on its way.
The sample whose latency is told is asked first, one by one: its answers are stored like all others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from harness.collection.packed import content_hashes
from harness.environment import today
from harness.errors import ExitCode, HarnessError
from harness.hashing import digest
from harness.models.biencoder import Side
from harness.providers.asking import Asking, Spending, ask_each
from harness.providers.embedding import Embedder, Fetched
from harness.providers.http import Server, readable
from harness.providers.remote import SECONDS, Remote, Spent
from harness.providers.reranking import Reranker, ScoredDocuments
from harness.retrieval.embeddings import Embeddings
from harness.retrieval.encoding import Clock, Encode
from harness.retrieval.latency import EncodeQuery, RescoreQuery, sample_rows
from harness.retrieval.reranking import CrossEncoderScorer, Pairs
from harness.retrieval.shards import Known, Places, read_known
from harness.stage import Context, InputMissingError, Work, unkeyed
from harness.store import Artifact, Store

# Kinds of artifacts that are paid for, and are never pruned.
VECTORS, SCORES = "api-vectors", "api-scores"

_FEWEST_TIMED = 5  # queries of the sample; with fewer, some that are stored are asked again

H = TypeVar("H", bound=Hashable)


class _Found(NamedTuple):
    """Where the vectors of the distinct texts are stored.

    Attributes:
        known: of the whole space.
        owners, rows: int64 [n], as of `Known`; -1 where there is none.
        blank: bool [n], texts that are never sent.
    """

    known: Known
    owners: Places
    rows: Places
    blank: npt.NDArray[np.bool_]

    @property
    def left(self) -> list[int]:
        """The texts to ask for."""
        rows: list[int] = np.flatnonzero((self.owners < 0) & ~self.blank).tolist()
        return rows


@dataclass(frozen=True, eq=False)
class RemoteEncode(Encode):
    """Stage: the vectors of one side of a collection by a provider.

    Attributes:
        model: at the provider.
        input_type: that it is told of the side; "" for none.
    """

    model: Embedder
    role: Side = field(metadata=unkeyed("prompt and input type are all that the server is told"))
    input_type: str = ""

    def is_done(self, store: Store) -> bool:
        """Tell whether every text has its vector in the store."""
        return not self._found(store).left

    def work(self, store: Store) -> Work:
        """Return the requests that are left, and what they cost at most."""
        texts = self._inputs(self._found(store).left)
        needed = self._needed(texts)
        return Work(
            texts=len(texts),
            seconds=needed.searches * SECONDS / self.model.concurrency,
            requests=needed.searches,
            tokens=needed.tokens,
            usd=self.model.usd(needed) or 0.0,
        )

    def run(self, context: Context) -> None:
        """Ask for the vectors that are not stored.

        Raises:
            HarnessError: exit code 2, the environment holds no key; 4, the budget is spent, the
                server refuses or gives no answers, or nobody may be asked.
        """
        store, model = context.store, self.model
        found = self._found(store)
        if not found.left:
            return
        model.refuse_offline(self.label, self._told(found))
        texts = self._inputs(found.left)
        batches = list(model.batches(texts))
        budget = model.budget(self.label, spent=self.spent(store), needed=self._needed(texts))
        width, clock, lock = self._width(found.known), Clock(), threading.Lock()
        with (
            model.served(self.label) as server,
            context.progress.task(self.label, total=len(batches), unit="requests") as advance,
        ):

            def finish(row: int, asking: Asking) -> None:
                rows = batches[row]
                got = self._fetch(server, asking, [texts[place] for place in rows], width)
                with lock:
                    seconds = clock.lap()
                self.keep(store, [found.left[place] for place in rows], got, seconds=seconds)

            left = ask_each(
                len(batches), finish, budget, concurrency=model.concurrency, advance=advance
            )
        found = self._found(store)
        if found.left:
            model.refuse_rest(self.label, self._told(found), left)

    def ask_alone(self, context: Context, rows: Sequence[int], *, again: bool) -> list[float]:
        """Ask for some texts one by one, and return the seconds of each.

        Args:
            context: of the run.
            rows: of the texts.
            again: although they are timed.
        """
        places = self.texts.places[np.array(rows, dtype=np.int64)].tolist()
        found = self._found(context.store)
        texts = dict(zip(places, self._inputs(places), strict=True))
        width = self._width(found.known)
        stored = {place for place in places if found.owners[place] >= 0}

        def ask(server: Server, asking: Asking, place: int) -> float:
            got = self._fetch(server, asking, [texts[place]], width)
            twice = place in stored
            self.keep(context.store, [place], got, seconds=got.seconds, alone=True, again=twice)
            return got.seconds

        seconds = _asked_alone(
            context,
            self.model,
            places,
            label=self.label,
            known={} if again else self._seconds(found),
            stored=set() if again else stored,
            budget=lambda each: self.model.budget(
                self.label,
                spent=self.spent(context.store),
                needed=self._needed([texts[place] for place in each]),
            ),
            ask=ask,
        )
        return [seconds[place] for place in places if place in seconds]

    def keep(
        self,
        store: Store,
        places: Sequence[int],
        got: Fetched,
        *,
        seconds: float,
        alone: bool = False,
        again: bool = False,
    ) -> None:
        """Store the vectors of some distinct texts.

        Args:
            store: where.
            places: of the texts.
            got: their vectors.
            seconds: since the answer before.
            alone: whether `got.seconds` is the time of one text.
            again: they are stored already, and paid again.
        """
        hashes = content_hashes([self.texts.distinct[place] for place in places])
        meta = {
            "texts": len(places),
            "tokens": got.tokens,
            "searches": 1,
            "seconds": seconds,
            "alone": got.seconds if alone else None,
            "cut": got.cut,
            "device": self.model.place,
            "date": today(),
        }
        key = digest("texts", hashes, time.time_ns() if again else None)
        arrays: dict[str, npt.NDArray[Any]] = {"vectors": got.vectors, "hashes": hashes}
        store.put(self._kind(store), key, arrays=arrays, meta=meta)

    def load(self, context: Context) -> Any:  # noqa: ARG002
        """Raise: the model is not here."""
        raise TypeError(f"{self.model.name} runs at {self.model.place}")

    def embeddings(self, store: Store, *, normalised: bool) -> Embeddings:
        """Return the stored vectors, one row a text; of an empty text all zeros.

        Raises:
            HarnessError: exit code 4, the server has changed the width of its vectors.
        """
        found = self._found(store)
        if found.left:
            raise InputMissingError(f"{self.label}: {self._told(found)}")
        owners = list(dict.fromkeys(found.owners[found.owners >= 0].tolist()))
        arrays: list[npt.NDArray[Any]] = [
            found.known.shards[owner].array("vectors") for owner in owners
        ]
        widths = {array.shape[1] for array in arrays}
        if len(widths) > 1:
            raise HarnessError(
                f"{self.label}: {self.model.place} gave vectors of {sorted(widths)} dimensions. "
                "Set dimensions, and check that one model answers.",
                exit_code=ExitCode.STAGE,
            )
        width = widths.pop() if widths else self.model.facts.full_width or 1
        starts = dict(zip(owners, np.cumsum([0, *map(len, arrays)]).tolist(), strict=False))
        places = np.array([starts.get(owner, 0) for owner in found.owners.tolist()]) + found.rows
        places[found.blank] = sum(map(len, arrays))
        return Embeddings(
            shards=[*arrays, np.zeros((1, width), dtype=np.float32)],
            places=places[self.texts.places].astype(np.int64),
            width=width,
            normalised=normalised,
        )

    def timings(self, store: Store) -> list[Artifact]:
        """Return what the answers brought, whose metadata says how long they took."""
        found = self._found(store)
        return [found.known.shards[owner] for owner in np.unique(found.owners[found.owners >= 0])]

    def usd(self, store: Store, *, texts: int | None = None) -> float | None:
        """Return what texts like these cost by what was billed; None where no price is known.

        Args:
            store: where the answers lie.
            texts: how many; None takes all distinct ones.
        """
        answers = self.timings(store)
        answered = sum(answer.meta["texts"] for answer in answers)
        tokens = sum(answer.meta["tokens"] for answer in answers)
        wanted = len(self.texts.distinct) if texts is None else texts
        return self.model.bill.usd(tokens=tokens / max(answered, 1) * wanted, searches=wanted)

    def spent(self, store: Store) -> Spent:
        """Return what was billed for anything that the model was asked, in any run."""
        folder = f"{VECTORS}/{self.model.key(store)}"
        kinds = (f"{folder}/{name}" for name in store.names(folder))
        return _billed([answer for kind in kinds for answer in store.list(kind)])

    def counts(self) -> tuple[int, int]:
        """Return how many texts are empty, and how many likely exceed what the model reads."""
        texts = [self.prompt + text for text in self.texts.items]
        return (
            sum(not text.strip() for text in texts),
            sum(self.model.is_too_long(text) for text in texts),
        )

    def _kind(self, store: Store) -> str:
        return f"{VECTORS}/{self.model.key(store)}/{self.space_key(store)}"

    def _found(self, store: Store) -> _Found:
        distinct = self.texts.distinct
        blank = np.array([not (self.prompt + text).strip() for text in distinct], dtype=bool)
        known = read_known(store, self._kind(store))
        return _Found(known, *known.find(content_hashes(distinct)), blank)

    def _inputs(self, places: Sequence[int]) -> list[str]:
        return [readable(self.prompt + self.texts.distinct[place]) for place in places]

    def _needed(self, texts: Sequence[str]) -> Spent:
        requests = sum(1 for _ in self.model.batches(texts))
        return Spent(sum(map(self.model.tokens, texts)), requests)

    def _fetch(
        self, server: Server, asking: Asking, texts: Sequence[str], width: int | None
    ) -> Fetched:
        return self.model.fetch(server, asking, texts, input_type=self.input_type, width=width)

    def _width(self, known: Known) -> int | None:
        wanted = self.model.sent_width or self.model.facts.full_width
        return wanted or (known.shards[0].array("vectors").shape[1] if known.shards else None)

    def _seconds(self, found: _Found) -> dict[int, float]:
        """Return the seconds of the distinct texts that were asked for alone, by their place."""
        shards = found.known.shards
        return {
            place: shards[owner].meta["alone"]
            for place, owner in enumerate(found.owners.tolist())
            if owner >= 0 and shards[owner].meta["alone"] is not None
        }

    def _told(self, found: _Found) -> str:
        return f"{len(found.left):,} of {len(self.texts.distinct):,} texts have no stored vector"


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

        seconds = _asked_alone(
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
        return _billed(self._answers(store))

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


def _asked_alone(
    context: Context,
    model: Remote,
    sample: Sequence[H],
    *,
    label: str,
    known: Mapping[H, float],
    stored: set[H],
    budget: Callable[[Sequence[H]], Spending],
    ask: Callable[[Server, Asking, H], float],
) -> dict[H, float]:
    """Return the seconds of a sample that is asked one by one over one connection.

    What is stored is not asked again, unless too few are timed.

    Args:
        context: of the run.
        model: that is asked.
        sample: in order.
        label: for people.
        known: seconds of those that were asked alone before.
        stored: those with an answer, timed or not.
        budget: that is left, for some of the sample.
        ask: asks for one and stores the answer.
    """
    seconds = {each: known[each] for each in sample if each in known}
    wanted = [each for each in dict.fromkeys(sample) if each not in stored]
    few = _FEWEST_TIMED - len(seconds) - len(wanted)
    if few > 0:
        wanted += [each for each in dict.fromkeys(sample) if each in stored - known.keys()][:few]
    if not wanted:
        return seconds
    model.refuse_offline(label, f"{len(wanted):,} queries of the sample are not stored")
    left_to_spend = budget(wanted)
    with (
        model.served(label, keeps_open=True) as server,
        context.progress.task(label, total=len(wanted), unit="queries") as advance,
    ):
        server.connect()

        def finish(row: int, asking: Asking) -> None:
            seconds[wanted[row]] = ask(server, asking, wanted[row])

        left = ask_each(len(wanted), finish, left_to_spend, concurrency=1, advance=advance)
    silent = [each for each in wanted if each not in seconds]
    if silent:
        model.refuse_rest(label, f"{len(silent):,} queries of the sample are not stored", left)
    return seconds


@dataclass(frozen=True, eq=False)
class RemoteQuery(EncodeQuery):
    """Step: one query to a provider's embedder, the network included."""

    pays = True

    device: str = field(metadata=unkeyed("the model's key holds where it runs"))
    encode: RemoteEncode

    @property
    def model(self) -> Remote:
        """The embedder."""
        return self.encode.model

    @property
    def _device(self) -> str:
        return self.model.place

    def also_keyed(self) -> tuple[object, ...]:
        """Return nothing: no package here has a part in it."""
        return ()

    def run(self, context: Context) -> None:
        """Ask for the sample, and store how long each query took."""
        again = self.artifact(context.store) is not None
        rows = sample_rows(len(self.collection.queries))
        seconds = self.encode.ask_alone(context, rows, again=again)
        self.keep(context.store, [1000 * each for each in seconds], asked=len(rows))


@dataclass(frozen=True, eq=False)
class RemoteRescore(RescoreQuery):
    """Step: one query's first-stage documents to a provider's reranker, the network included."""

    pays = True

    device: str = field(metadata=unkeyed("the model's key holds where it runs"))
    scorer: RemoteScorer

    @property
    def model(self) -> Remote:
        """The reranker."""
        return self.scorer.model

    @property
    def _device(self) -> str:
        return self.model.place

    def also_keyed(self) -> tuple[object, ...]:
        """Return nothing: no package here has a part in it."""
        return ()

    def run(self, context: Context) -> None:
        """Ask for the sample, and store how long each query took."""
        again = self.artifact(context.store) is not None
        top = self.first.result(context.store).documents[:, : self.depth]
        rows = sample_rows(len(self.collection.queries))
        tops = {row: top[row][top[row] >= 0] for row in rows}
        seconds = self.scorer.ask_alone(context, tops, again=again)
        self.keep(context.store, [1000 * each for each in seconds], asked=len(rows))


def _billed(answers: Sequence[Artifact]) -> Spent:
    return Spent(
        sum(answer.meta["tokens"] for answer in answers),
        sum(answer.meta["searches"] for answer in answers),
    )


def _mean_tokens(model: Reranker, texts: Sequence[str]) -> float:
    return sum(model.tokens("", text) for text in texts) / max(len(texts), 1)
