"""Encoding: texts to vectors once, in batches of like length, in shards that survive a kill."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.arrays import Vectors
from harness.artifact import Artifact
from harness.collection.packed import content_hashes, index_of, take
from harness.environment import device_name, operations_per_second, today
from harness.errors import ExitCode, HarnessError
from harness.hashing import digest
from harness.models import Side
from harness.models.batches import batches
from harness.models.biencoder import BiEncoder
from harness.models.engines import Arithmetic
from harness.models.feed import Feed, Tokens
from harness.models.ragged import RaggedEncoder
from harness.models.source import ModelSource
from harness.models.tokens import token_counts
from harness.models.weights import Weights
from harness.retrieval.embeddings import ALL_ROWS, Embeddings
from harness.retrieval.precision import AutoDtype, agreement_of_vectors, known_dtype, words_of
from harness.retrieval.shards import (
    Draft,
    Portion,
    TextShard,
    find_shard,
    is_stored,
    join_shards,
    portions,
    read_known,
)
from harness.stage import Context, InputMissingError, Keyed, Work, keyed_by, unkeyed
from harness.store import Store

# A shard ends where the hash of a text says so, about every SHARD_MEAN texts. So the same texts
# make the same shards whatever stands before them, and a shard of which no text is known has the
# same vectors, down to their batches, whatever was encoded earlier. See `harness.retrieval.shards`.
SHARD_MEAN = 512
SHARD_MAX = 1024

CHARACTERS_A_SECOND = 2e6  # that one thread splits into tokens; a static model does little else
AHEAD = 4  # shards on their way through a GPU, and as many that are tokenised for it


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts of one side of a collection; equal texts are encoded once.

    Attributes:
        source: the collection, for people.
        items: all texts, in row order.
        instruction: of the collection, for prompts that hold one; None where it has none.
    """

    source: str = field(metadata=unkeyed("for people"))
    items: Sequence[str] = field(metadata=keyed_by("_hashes"))
    instruction: str | None = field(default=None, metadata=unkeyed("the prompt is keyed"))

    @cached_property
    def _hashes(self) -> npt.NDArray[np.uint8]:
        """uint8 [n, 16], of each text."""
        return content_hashes(self.items)

    @cached_property
    def _unique(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Rows of the first occurrence of each text, ascending; and each row's place among them."""
        firsts, places = np.unique(index_of(self._hashes).firsts(), return_inverse=True)
        return firsts, places

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """int64 [n], where each row's text stands among the distinct texts."""
        return self._unique[1]

    @cached_property
    def distinct(self) -> Sequence[str]:
        """The distinct texts, in order of first occurrence."""
        return take(self.items, self._unique[0])

    @cached_property
    def shards(self) -> tuple[TextShard, ...]:
        """The distinct texts in shards with content keys."""
        hashes = self._hashes[self._unique[0]]
        return tuple(
            TextShard(
                digest("texts", hashes[start:stop]), self.distinct[start:stop], hashes[start:stop]
            )
            for start, stop in shard_bounds(hashes)
        )


def shard_bounds(hashes: npt.NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of the shards of texts with these hashes, uint8 [n, 16]."""
    marks = hashes[:, :4].copy().view(np.uint32)[:, 0] % SHARD_MEAN == 0
    start = 0
    for end in [*(np.flatnonzero(marks) + 1).tolist(), len(hashes)]:
        while start < end:
            stop = min(end, start + SHARD_MAX)
            yield start, stop
            start = stop


@dataclass(frozen=True, eq=False)
class Encode(Keyed):
    """Stage: the vectors of one side of a collection by one model, at full width.

    Attributes:
        name: for people.
        model: whose vectors.
        role: which side.
        prompt: put before every text, to the byte.
        dtype: of weights and arithmetic by torch, another engine, or how these are chosen.
        max_length: tokens; None takes the model's own limit.
        texts: to encode.
    """

    name: str = field(metadata=unkeyed("for people"))
    model: ModelSource
    role: Side
    prompt: str
    dtype: Arithmetic | AutoDtype
    max_length: int | None
    texts: Texts

    @property
    def label(self) -> str:
        """What is done."""
        side = "queries" if self.role == "query" else "documents"
        return f"encode {side} of {self.texts.source} with {self.name}"

    def space_key(self, store: Store) -> str | None:
        """Key of everything but the texts: two vectors of one space key can be compared."""
        return self.key_without(store, "texts")

    def missing(self, store: Store) -> list[TextShard]:
        """Return the shards that are not in the store."""
        kind = self.kind(store)
        store.bring_metadata(kind, (shard.key for shard in self.texts.shards))
        return [shard for shard in self.texts.shards if not is_stored(store, kind, shard.key)]

    def is_done(self, store: Store) -> bool:
        """Tell whether every shard is in the store."""
        return self.space_key(store) is not None and not self.missing(store)

    def work(self, store: Store) -> Work:
        """Return the texts to encode and, from the size of the model, the time."""
        weights = self.model.weights(store)
        if weights is None:
            return Work(texts=len(self.texts.distinct), seconds=None)
        lengths = [len(text) for portion in self.portions(store) for text in portion.texts]
        return Work(texts=len(lengths), seconds=estimate_seconds(weights, lengths, self.max_length))

    def run(self, context: Context) -> None:
        """Encode the missing shards, one after the other."""
        self.settle(context)
        self.encode(context, self.portions(context.store))

    def settle(self, context: Context) -> None:
        """Choose the precision and engine, where that is open."""
        if isinstance(self.dtype, AutoDtype):
            compute = partial(self._sample, context, self.dtype.sample)
            self.dtype.settle(context, compute, agreement_of_vectors)

    def encode(self, context: Context, portions: Sequence[Portion]) -> None:
        """Encode some of the texts and store their shards."""
        for portion in portions:
            if not portion.texts:  # all are known from other shards
                self._put(context, portion, None, 0, 0.0)
        missing = [portion for portion in portions if portion.texts]
        if not missing:
            return
        model = self.load(context)
        feed = model.feed(role=self.role, prompt=self.prompt)
        total = sum(len(portion.texts) for portion in missing)
        ahead = AHEAD if context.device.startswith("cuda") else 1
        with (
            context.progress.task(self.label, total=total, unit="texts") as advance,
            ThreadPoolExecutor(max_workers=1) as writer,
        ):
            written: deque[Future[None]] = deque()
            clock = Clock()
            for portion, tokens, saved in _tokenised(context, missing, feed, ahead=ahead):
                if isinstance(model, BiEncoder) and feed is not None and tokens is not None:
                    found = model.encode_tokens(tokens, feed=feed, role=self.role, advance=advance)
                    read = int(tokens.lengths.sum())
                else:
                    found, read = self._encode(model, portion.texts, advance)
                if len(written) == ahead:
                    written.popleft().result()
                lap = partial(clock.lap, saved)
                written.append(writer.submit(self._finish, context, portion, found, read, lap))
            for each in written:
                each.result()

    def load(self, context: Context) -> BiEncoder | RaggedEncoder:
        """Return the loaded model."""
        return self._load(context, known_dtype(self.dtype, context.store))

    def _load(self, context: Context, dtype: Arithmetic) -> BiEncoder:
        weights, length, device = self._weights(context.store), self.max_length, context.device

        def load() -> BiEncoder:
            if isinstance(dtype, str):
                return BiEncoder(weights, device=device, dtype=dtype, max_length=length)
            model = BiEncoder(weights, device=device, max_length=length)
            model.run_by(dtype, context.store)
            return model

        return context.model(("bi-encoder", weights.key, dtype, length, device), load)

    def _sample(self, context: Context, sample: int, dtype: Arithmetic) -> Vectors:
        """Return the vectors of some of the texts in a precision."""
        model, texts = self._load(context, dtype), self.texts.distinct
        rows = np.linspace(0, len(texts) - 1, min(sample, len(texts))).round().astype(int)
        some = [texts[row] for row in rows]
        feed = model.feed(role=self.role, prompt=self.prompt)
        if feed is None:
            return model.encode(some, role=self.role, prompt=self.prompt)
        tokens = feed.tokenise(some)
        return model.encode_tokens(tokens, feed=feed, role=self.role, advance=lambda _: None)()

    def embeddings(self, store: Store, *, normalised: bool, rows: slice = ALL_ROWS) -> Embeddings:
        """Return the stored vectors of some rows, one row a text; only their shards are read."""
        kind, wanted = self.kind(store), self.texts.places[rows]
        ends = np.cumsum([len(shard.texts) for shard in self.texts.shards])
        owners, owner = np.unique(np.searchsorted(ends, wanted, side="right"), return_inverse=True)
        shards = [self.texts.shards[number] for number in owners.tolist()]
        store.bring(kind, (shard.key for shard in shards))
        found = [find_shard(store, kind, shard.key) for shard in shards]
        stored = [shard for shard in found if shard is not None]
        if len(stored) < len(shards):
            raise InputMissingError(f"{self.label}: {len(shards) - len(stored)} shards are missing")
        arrays, places = join_shards(stored)
        sizes = np.diff(ends, prepend=0)[owners]
        skipped = (ends[owners] - np.cumsum(sizes))[owner]  # texts of shards that are not read
        return Embeddings(
            shards=arrays,
            places=places[wanted - skipped],
            width=arrays[0].shape[1],
            normalised=normalised,
        )

    def timings(self, store: Store) -> list[Artifact]:
        """Return the stored shards, whose metadata says how long they took and where."""
        kind = self.kind(store)
        found = (store.seen(kind, shard.key) for shard in self.texts.shards)
        return [artifact for artifact in found if artifact is not None and artifact.meta["texts"]]

    def kind(self, store: Store) -> str:
        """Folder of the vectors in the store."""
        return f"embeddings/{self.space_key(store)}"

    def portions(self, store: Store) -> list[Portion]:
        """Return what is left to encode, as it is encoded together."""
        missing = self.missing(store)
        return list(portions(missing, read_known(store, self.kind(store)))) if missing else []

    def _weights(self, store: Store) -> Weights:
        weights = self.model.weights(store)
        if weights is None:
            raise InputMissingError(f"{self.label}: the weights do not exist yet")
        return weights

    def _encode(
        self, model: BiEncoder | RaggedEncoder, texts: Sequence[str], advance: Callable[[int], None]
    ) -> tuple[Callable[[], Any], int]:
        """Return vectors by the model's own way from text to vector, and how many tokens were
        read.
        """
        weights = model.weights
        counts = token_counts(weights, [self.prompt + text for text in texts])
        lengths = np.minimum(counts, self.max_length or weights.max_length or counts.max())
        parts, order = [], []
        for rows in batches(lengths, tokens=model.batch_tokens):
            some = [texts[row] for row in rows]
            parts.append(model.encode(some, role=self.role, prompt=self.prompt))
            order.append(rows)
            advance(len(rows))
        found = self._in_order(parts, np.argsort(np.concatenate(order)))
        return lambda: found, int(lengths.sum())

    def _in_order(self, parts: list[Any], order: npt.NDArray[np.int64]) -> Any:
        """Return what batches of texts gave, one after the other, in another order."""
        return np.concatenate(parts)[order]

    def _finish(
        self,
        context: Context,
        portion: Portion,
        found: Callable[[], Any],
        read: int,
        lap: Callable[[], float],
    ) -> None:
        """Wait for vectors and store them.

        Raises:
            HarnessError: exit code 4, the model fails, or gives no numbers.
        """
        made = found()
        seconds = lap()
        if not np.isfinite(self._numbers(made)).all():
            raise HarnessError(
                f"{self.label}: the model returns NaN or infinite vectors. "
                'Check the weights, or use dtype = "float32".',
                exit_code=ExitCode.STAGE,
            )
        self._put(context, portion, made, read, seconds)

    def _numbers(self, made: Any) -> Any:
        """Return the array of the numbers that texts got."""
        return made

    def _put(
        self, context: Context, portion: Portion, made: Any, read: int, seconds: float
    ) -> None:
        """Store the result of a portion's texts; None where it has none."""
        start = 0
        for draft in portion.drafts:
            count = len(draft.new)
            share = count / max(len(portion.texts), 1)
            meta = {
                "texts": count,
                "tokens": round(share * read),
                "seconds": share * seconds,
                "engine": words_of(known_dtype(self.dtype, context.store)),
                "device": device_name(context.device),
                "date": today(),
            }
            self._keep(context.store, draft, made, start, meta)
            start += count

    def _keep(
        self, store: Store, draft: Draft, made: Any, start: int, meta: dict[str, Any]
    ) -> None:
        """Store a shard, of whose new texts the first is the `start`-th of what was made."""
        vectors = np.empty((0, 0), dtype=np.float32) if made is None else made
        draft.put(store, self.kind(store), vectors[start : start + len(draft.new)], meta)


class Clock:
    """The seconds between one shard's vectors and the next one's."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self, more: float = 0.0) -> float:
        """Return the seconds since the last call, and some more."""
        last, self._last = self._last, time.perf_counter()
        return self._last - last + more


def _tokenised(
    context: Context, portions: Sequence[Portion], feed: Feed | None, *, ahead: int
) -> Iterator[tuple[Portion, Tokens | None, float]]:
    """Yield texts, tokens made beside, and the seconds that another model's tokens took it."""
    if feed is None:
        yield from ((portion, None, 0.0) for portion in portions)
        return

    def tokenise(texts: Sequence[str]) -> tuple[Tokens, float]:
        key, clock, watch = (feed.key, digest("texts", content_hashes(texts))), Clock(), Clock()
        tokens, took = context.shared(
            key, lambda: (feed.tokenise(texts), watch.lap()), size=lambda found: found[0].ids.nbytes
        )
        return tokens, max(0.0, took - clock.lap())

    # The tokenizer itself computes in parallel: a second thread turns its answers into arrays.
    with ThreadPoolExecutor(max_workers=min(ahead, 2)) as beside:
        left = iter(portions)
        coming = deque(
            (portion, beside.submit(tokenise, portion.texts))
            for portion in itertools.islice(left, ahead)
        )
        while coming:
            portion, tokens = coming.popleft()
            found, saved = tokens.result()
            coming.extend(
                (each, beside.submit(tokenise, each.texts)) for each in itertools.islice(left, 1)
            )
            yield portion, found, saved


def estimate_seconds(
    weights: Weights, lengths: Sequence[int], max_length: int | None
) -> float | None:
    """Return roughly how long encoding texts of so many characters takes from the model's size.

    A token costs two operations a weight of the encoder (the embedding table is a look-up); four
    characters make a token.
    """
    if weights.encoder_parameters is None or not lengths:
        return None if lengths else 0.0
    limit = max_length or weights.max_length
    if limit is None:
        return sum(lengths) / CHARACTERS_A_SECOND
    tokens = sum(min(length / 4, limit) for length in lengths)
    return 2 * weights.encoder_parameters * tokens / operations_per_second()
