"""Remote: vectors that a provider is asked for, each answer stored as it arrives.

The unit of reuse is the text, as elsewhere in the store; what is stored is what one request
brought. So a run that is killed asks for nothing again but what was on its way. The sample whose
latency is told is asked first, one by one: its answers are stored like all others.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from harness.artifact import Artifact
from harness.collection.packed import content_hashes
from harness.environment import today
from harness.errors import ExitCode, HarnessError
from harness.hashing import digest
from harness.models import Side
from harness.providers.asking import Asking, Spending, ask_each
from harness.providers.embedding import Embedder, Fetched
from harness.providers.http import Server, readable
from harness.providers.remote import SECONDS, Remote, Spent
from harness.retrieval.embeddings import ALL_ROWS, Embeddings
from harness.retrieval.encoding import Clock, Encode
from harness.retrieval.latency import EncodeQuery, sample_rows
from harness.retrieval.shards import Known, Places, read_known
from harness.stage import Context, InputMissingError, Work, unkeyed
from harness.store import Store

# The kind of artifact: paid for, and never pruned.
VECTORS = "api-vectors"

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

        seconds = asked_alone(
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

    def embeddings(self, store: Store, *, normalised: bool, rows: slice = ALL_ROWS) -> Embeddings:
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
                f"{self.label}: {self.model.place} returned vectors of {sorted(widths)} "
                "dimensions. Set dimensions, and check that one model answers.",
                exit_code=ExitCode.STAGE,
            )
        width = widths.pop() if widths else self.model.facts.full_width or 1
        starts = dict(zip(owners, np.cumsum([0, *map(len, arrays)]).tolist(), strict=False))
        places = np.array([starts.get(owner, 0) for owner in found.owners.tolist()]) + found.rows
        places[found.blank] = sum(map(len, arrays))
        return Embeddings(
            shards=[*arrays, np.zeros((1, width), dtype=np.float32)],
            places=places[self.texts.places[rows]].astype(np.int64),
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
        return paid_for([answer for kind in kinds for answer in store.list(kind)])

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


class AskedElsewhere(ABC):
    """What a step has that a provider answers: it is billed, and runs where the model is."""

    pays = True

    @property
    @abstractmethod
    def model(self) -> Remote:
        """What is asked."""

    @property
    def _device(self) -> str:
        return self.model.place

    def also_keyed(self) -> tuple[object, ...]:
        """Return nothing: no package here has a part in it."""
        return ()


@dataclass(frozen=True, eq=False)
class RemoteQuery(AskedElsewhere, EncodeQuery):
    """Step: one query to a provider's embedder, the network included."""

    device: str = field(metadata=unkeyed("the model's key holds where it runs"))
    encode: RemoteEncode

    @property
    def model(self) -> Remote:
        """The embedder."""
        return self.encode.model

    def run(self, context: Context) -> None:
        """Ask for the sample, and store how long each query took."""
        again = self.artifact(context.store) is not None
        rows = sample_rows(len(self.collection.queries))
        seconds = self.encode.ask_alone(context, rows, again=again)
        self.keep(context.store, [1000 * each for each in seconds], asked=len(rows))


def asked_alone(
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


def paid_for(answers: Sequence[Artifact]) -> Spent:
    """Return what stored answers cost."""
    return Spent(
        sum(answer.meta["tokens"] for answer in answers),
        sum(answer.meta["searches"] for answer in answers),
    )
