"""Parts: what of a stage a worker does alone, and how the parts become what one machine makes.

A part is what one machine takes at a time too: a shard of texts, 1,024 pairs, a range of documents.
So the numbers of a part, down to their last bits, do not depend on who computes it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from harness.artifact import Artifact
from harness.collection.packed import content_hashes
from harness.hashing import digest
from harness.retrieval.encoding import Encode
from harness.retrieval.index import BuildIndex, SearchIndex
from harness.retrieval.lengths import CountTokens
from harness.retrieval.lexical import LexicalSearch
from harness.retrieval.lexical_parts import (
    Bm25Part,
    Statistics,
    Words,
    split_into_words,
    statistics_of,
    words_of_queries,
)
from harness.retrieval.maxsim import TokenSearch
from harness.retrieval.precision import AutoDtype
from harness.retrieval.prefix_search import SearchPrefixes, search_prefixes
from harness.retrieval.remote import RemoteEncode
from harness.retrieval.remote_reranking import RemoteScorer
from harness.retrieval.reranking import SHARD_PAIRS, Pairs, ScorePairs
from harness.retrieval.run_stage import RunStage
from harness.retrieval.search import Search, search
from harness.retrieval.shards import is_stored, portions, read_known
from harness.retrieval.space import GivenVectors, VectorSource
from harness.retrieval.sparse import SparseSearch
from harness.runs.run import Run, rank
from harness.stage import Context, InputMissingError, Stage
from harness.store import Store
from harness.training.mining import MineNegatives
from harness.training.weights import WeightsStage

_WHOLE = (
    BuildIndex,
    MineNegatives,
    SearchIndex,
    SparseSearch,
    TokenSearch,
    WeightsStage,
)
_FEWEST_ROWS, MOST_ROWS = 1024, 65_536  # of a part that is a range of rows
# Where a stage has many shards, a worker takes some at once: the driver hands out 1,000 parts a
# second, and a GPU waits for texts where a part begins. What a killed worker has stored stays.
_MOST_PORTIONS, _PARTS_A_WORKER = 8, 16
_PARTIAL, _WORDS, _STATISTICS = "partial-runs", "bm25-words", "bm25-statistics"
_COUNTS = "partial-counts"
_SHOWN = 60  # characters of a text


class StagePart(Protocol):
    """A piece of a stage, for one worker; to do it twice does no harm."""

    @property
    def size(self) -> int:
        """Units that it counts for in the progress."""

    def do(self, stage: Any, context: Context) -> None:
        """Make it and store it, unless it is stored."""

    def about(self, stage: Any) -> str:
        """Say which texts are in it, in the middle of a sentence; "" where it is all of them."""


class Division(NamedTuple):
    """A stage in parts.

    Attributes:
        unit: of the parts' sizes.
        first: to be done before the others, or nothing.
        parts: in any order, by anyone.
    """

    unit: str
    first: Sequence[StagePart]
    parts: Sequence[StagePart]


def leaves(stage: Stage) -> bool:
    """Tell whether workers run a stage, and not the driver.

    What asks a service stays, since the keys for that are the driver's, and so do what is timed and
    what takes neither model nor vectors.
    """
    match stage:
        case RemoteEncode():
            return False
        case ScorePairs():
            return not isinstance(stage.scorer, RemoteScorer)
    return isinstance(stage, (CountTokens, Encode, LexicalSearch, Search, SearchPrefixes, *_WHOLE))


def divide(stage: Stage, store: Store, *, workers: int) -> Division:
    """Return what is left of a stage that `leaves`, in parts for so many workers."""
    match stage:
        case CountTokens():
            bounds = _bounds(len(stage.encode.texts.distinct), workers)
            return Division("texts", [], [CountRows(*each) for each in bounds])
        case Encode():
            first = [Settle()] if _is_open(stage.dtype, store) else []
            parts = [] if first else _encodings(stage, store, workers=workers)
            return Division("texts", first, parts)
        case ScorePairs():
            first = [Settle()] if _is_open(stage.scorer.dtype, store) else []
            return Division("pairs", first, [] if first else _scorings(stage, store))
        case LexicalSearch():
            ranges = _lexical(stage, workers=workers)
            left = [each for each in ranges[0].every if not each.is_done(stage, store)]
            return Division("documents", left, ranges)
        case Search() | SearchPrefixes():
            return Division("documents", [], _searches(stage, store, workers=workers))
    return Division("stages", [], [Whole()])


def join_parts(stage: Stage, store: Store, parts: Sequence[StagePart]) -> None:
    """Make the result of a stage of what its parts have stored, where that is not the result."""
    if isinstance(stage, CountTokens):
        counted = [part for part in parts if isinstance(part, CountRows)]
        stage.put(store, np.concatenate([rows.counts(stage, store) for rows in counted]))
        for rows in counted:
            store.remove(_COUNTS, rows.counts_key(stage, store))
    ranges = [part for part in parts if isinstance(part, SearchRows)]
    if not ranges or not isinstance(stage, LexicalSearch | Search | SearchPrefixes):
        return
    context = Context(store)
    for each in _left(stage, store):
        found = [store.get(_PARTIAL, part.partial_key(each, store)) for part in ranges]
        whole = [artifact for artifact in found if artifact is not None]
        if len(whole) < len(found):
            raise InputMissingError(f"{each.label}: a part of it is not in the store")
        runs = [Run(part.array("documents"), part.array("scores")) for part in whole]
        seconds = sum(float(part.meta["seconds"]) for part in whole)
        each.put(context, reduce(lambda one, other: merge(one, other, each.depth), runs), seconds)
        for part in ranges:
            store.remove(_PARTIAL, part.partial_key(each, store))
            if isinstance(part, SearchWords):
                for kind in (_WORDS, _STATISTICS):
                    store.remove(kind, part.words.words_key(each))


def merge(one: Run, other: Run, depth: int) -> Run:
    """Return the best of two runs over other documents, in the one total order.

    It is associative, and no order of the parts changes it: equal scores are put in order by row.
    """
    documents = np.concatenate([one.documents, other.documents], axis=1)
    scores = np.concatenate([one.scores, other.scores], axis=1)
    return rank(documents, scores, depth=depth)


@dataclass(frozen=True)
class Whole:
    """A stage that is not divided."""

    size: int = 1

    def do(self, stage: Stage, context: Context) -> None:
        """Run it."""
        if not stage.is_done(context.store):
            stage.run(context)

    def about(self, stage: Stage) -> str:  # noqa: ARG002
        """Return "": it is all."""
        return ""


@dataclass(frozen=True)
class Settle:
    """The choice of an engine and precision, which all parts rest on."""

    size: int = 0

    def do(self, stage: Encode | ScorePairs, context: Context) -> None:
        """Try what may be taken, and store the choice."""
        if isinstance(stage, Encode):
            stage.settle(context)
        else:
            stage.scorer.settle(context, stage.pairs(context.store))

    def about(self, stage: Encode | ScorePairs) -> str:  # noqa: ARG002
        """Name it."""
        return "the choice of its precision"


@dataclass(frozen=True)
class CountRows:
    """A range of distinct texts whose tokens are counted.

    Attributes:
        start, stop: of them.
    """

    start: int
    stop: int

    @property
    def size(self) -> int:
        """Texts."""
        return self.stop - self.start

    def counts_key(self, stage: CountTokens, store: Store) -> str:
        """Return the key of their counts."""
        return digest("partial counts", stage.ready_key(store), self.start, self.stop)

    def do(self, stage: CountTokens, context: Context) -> None:
        """Count, and store the counts under a key of their own."""
        store = context.store
        if stage.is_done(store) or store.get(_COUNTS, self.counts_key(stage, store)) is not None:
            return
        counts = stage.count(store, slice(self.start, self.stop))
        store.put(_COUNTS, self.counts_key(stage, store), arrays={"tokens": counts}, meta={})

    def counts(self, stage: CountTokens, store: Store) -> npt.NDArray[np.int32]:
        """Return the stored counts, int32 [n]."""
        found = store.get(_COUNTS, self.counts_key(stage, store))
        if found is None:
            raise InputMissingError(f"{stage.label}: {self.about(stage)} were not counted")
        counts: npt.NDArray[np.int32] = found.array("tokens")
        return counts

    def about(self, stage: CountTokens) -> str:  # noqa: ARG002
        """Name them by their numbers."""
        return f"the distinct texts {self.start + 1:,} to {self.stop:,}"


@dataclass(frozen=True)
class EncodeShards:
    """Shards of texts that one worker encodes; each is stored as soon as it is done.

    Attributes:
        numbers: of the shards.
        size: texts whose vectors are to be made.
        owners: keys of the stored shards that hold the vectors of their other texts.
    """

    numbers: tuple[int, ...]
    size: int
    owners: tuple[str, ...]

    def do(self, stage: Encode, context: Context) -> None:
        """Encode those that are not stored."""
        kind = stage.kind(context.store)
        shards = [stage.texts.shards[number] for number in self.numbers]
        left = [each for each in shards if not is_stored(context.store, kind, each.key)]
        known = read_known(context.store, kind, self.owners)
        stage.encode(context, list(portions(left, known)))

    def about(self, stage: Encode) -> str:
        """Name them by the first one."""
        first = stage.texts.shards[self.numbers[0]]
        row = sum(len(each.texts) for each in stage.texts.shards[: self.numbers[0]])
        shown = " ".join(first.texts[0].split())[:_SHOWN]
        return f"the {self.size:,} texts from number {row + 1:,} of the distinct ones, '{shown} …'"


@dataclass(frozen=True)
class ScoreSome:
    """Pairs that are scored together.

    Attributes:
        pairs: int32 [n, 2], rows of query and document.
        tried: int32 [m, 2], of the whole stage, on which it is tried whether ids can be joined.
    """

    pairs: Pairs
    tried: Pairs

    @property
    def size(self) -> int:
        """Pairs."""
        return len(self.pairs)

    def do(self, stage: ScorePairs, context: Context) -> None:
        """Score them, if they are not stored."""
        if stage.scorer.shard(context.store, self.pairs) is None:
            stage.scorer.score(context, self.pairs, tried=self.tried, label=stage.label)

    def about(self, stage: ScorePairs) -> str:
        """Name them by the first query and document."""
        collection, (query, document) = stage.scorer.collection, self.pairs[0].tolist()
        return (
            f"the {self.size:,} pairs from query '{collection.query_ids[query]}' with "
            f"document '{collection.document_ids[document]}'"
        )


@dataclass(frozen=True)
class SearchRows:
    """A range of documents, in which the nearest of each query are searched.

    Attributes:
        start, stop: rows.
    """

    start: int
    stop: int

    @property
    def size(self) -> int:
        """Documents."""
        return self.stop - self.start

    def partial_key(self, search: RunStage, store: Store) -> str:
        """Return the key of what is found there."""
        return digest("partial run", search.ready_key(store), self.start, self.stop)

    def do(self, stage: Search | SearchPrefixes, context: Context) -> None:
        """Search, and store the runs of the range under keys of their own."""
        store = context.store
        left = [
            each
            for each in _left(stage, store)
            if store.get(_PARTIAL, self.partial_key(each, store)) is None
        ]
        if not left:
            return
        started = time.perf_counter()
        forbidden = left[0].forbidden
        if forbidden is not None:
            inside = (forbidden >= self.start) & (forbidden < self.stop)
            forbidden = np.where(inside, forbidden - self.start, -1).astype(np.int32)
        sides = [each.space.read(store, rows=slice(self.start, self.stop)) for each in left]
        depth, device = left[0].depth, context.device
        if len(left) > 1:
            runs = search_prefixes(sides, depth, forbidden, device=device)
        else:
            runs = [search(*sides[0], depth=depth, forbidden=forbidden, device=device)]
        seconds = (time.perf_counter() - started) / len(left)
        for each, run in zip(left, runs, strict=True):
            rows_of = np.where(run.documents < 0, -1, run.documents + self.start)
            self._put(each, store, Run(rows_of.astype(np.int32), run.scores), seconds)

    def _put(self, search: RunStage, store: Store, run: Run, seconds: float) -> None:
        """Store what one search has found in the range."""
        arrays = {"documents": run.documents, "scores": run.scores}
        key, meta = self.partial_key(search, store), {"seconds": seconds}
        store.put(_PARTIAL, key, arrays=arrays, meta=meta)

    def about(self, stage: Stage) -> str:  # noqa: ARG002
        """Name them by their rows."""
        return f"documents {self.start + 1:,} to {self.stop:,}"


@dataclass(frozen=True)
class SplitWords:
    """A range of documents that is split into words, for BM25.

    Attributes:
        start, stop: rows.
    """

    start: int
    stop: int
    size: int = 0  # the search of the range counts it

    def words_key(self, stage: LexicalSearch) -> str:
        """Return the key of the words."""
        hashes = content_hashes(stage.collection.documents[self.start : self.stop])
        spec = (stage.spec.language, *stage.also_keyed())
        return digest("bm25 words", hashes, stage.collection.queries_key, *spec)

    def is_done(self, stage: LexicalSearch, store: Store) -> bool:
        """Tell whether words and statistics are stored."""
        key = self.words_key(stage)
        return all(store.seen(kind, key) is not None for kind in (_WORDS, _STATISTICS))

    def do(self, stage: LexicalSearch, context: Context) -> None:
        """Split them; store the words, and what the ranges need of one another."""
        store, key = context.store, self.words_key(stage)
        if self.is_done(stage, store):
            return
        kept = words_of_queries(stage.spec, stage.collection.queries)
        documents = stage.collection.documents[self.start : self.stop]
        words = split_into_words(stage.spec, documents, kept)
        found = statistics_of(words, len(kept))
        store.put(_WORDS, key, arrays=words._asdict(), meta={})
        meta = {"documents": found.documents, "length": found.length}
        store.put(_STATISTICS, key, arrays={"frequencies": found.frequencies}, meta=meta)

    def words(self, stage: LexicalSearch, store: Store) -> Words:
        """Return the stored words."""
        artifact = self._stored(_WORDS, stage, store)
        return Words(*(artifact.array(name) for name in Words._fields))

    def statistics(self, stage: LexicalSearch, store: Store) -> Statistics:
        """Return the stored statistics."""
        artifact = self._stored(_STATISTICS, stage, store)
        documents, length = (int(artifact.meta[name]) for name in ("documents", "length"))
        return Statistics(documents, length, artifact.array("frequencies"))

    def _stored(self, kind: str, stage: LexicalSearch, store: Store) -> Artifact:
        found = store.get(kind, self.words_key(stage))
        if found is None:
            raise InputMissingError(f"{stage.label}: {self.about(stage)} were not split into words")
        return found

    def about(self, stage: LexicalSearch) -> str:  # noqa: ARG002
        """Name them by their rows."""
        return f"documents {self.start + 1:,} to {self.stop:,}"


@dataclass(frozen=True)
class SearchWords(SearchRows):
    """A range of documents, in which BM25 searches by the statistics of all ranges.

    Attributes:
        every: the ranges, this one too.
    """

    every: tuple[SplitWords, ...]

    @property
    def words(self) -> SplitWords:
        """The words of the range."""
        return SplitWords(self.start, self.stop)

    def do(self, stage: LexicalSearch, context: Context) -> None:  # type: ignore[override]
        """Search, and store the run of the range under a key of its own."""
        store = context.store
        if stage.is_done(store) or store.get(_PARTIAL, self.partial_key(stage, store)) is not None:
            return
        started, spec = time.perf_counter(), stage.spec
        kept = words_of_queries(spec, stage.collection.queries)
        whole = context.shared(
            ("statistics", stage.ready_key(store), self.every),
            lambda: reduce(Statistics.merged, (e.statistics(stage, store) for e in self.every)),
            size=lambda found: found.frequencies.nbytes,
        )
        index = Bm25Part(spec, kept, self.words.words(stage, store), whole)
        run = stage.ranked(index, start=self.start)
        self._put(stage, store, run, time.perf_counter() - started)


def _is_open(dtype: object, store: Store) -> bool:
    return isinstance(dtype, AutoDtype) and dtype.chosen(store) is None


def _encodings(stage: Encode, store: Store, *, workers: int) -> list[StagePart]:
    number_of = {shard.key: number for number, shard in enumerate(stage.texts.shards)}
    portions = stage.portions(store)
    at_once = max(1, min(_MOST_PORTIONS, len(portions) // (_PARTS_A_WORKER * workers)))
    parts: list[StagePart] = []
    for start in range(0, len(portions), at_once):
        some = portions[start : start + at_once]
        drafts = [draft for portion in some for draft in portion.drafts]
        owners = tuple(sorted({owner for draft in drafts for owner in draft.lenders}))
        size = sum(len(portion.texts) for portion in some)
        numbers = tuple(number_of[draft.shard.key] for draft in drafts)
        parts.append(EncodeShards(numbers, size, owners))
    return parts


def _scorings(stage: ScorePairs, store: Store) -> list[StagePart]:
    missing = stage.scorer.missing(store, stage.pairs(store))
    tried = stage.scorer.tried(missing)
    return [
        ScoreSome(missing[start : start + SHARD_PAIRS], tried)
        for start in range(0, len(missing), SHARD_PAIRS)
    ]


def _searches(stage: Search | SearchPrefixes, store: Store, *, workers: int) -> list[StagePart]:
    ranges = ranges_of(_left(stage, store)[0], store, workers=workers)
    return [Whole(ranges[0].size)] if len(ranges) == 1 else list(ranges)


def _lexical(stage: LexicalSearch, *, workers: int) -> list[SearchWords]:
    bounds = _bounds(len(stage.collection.documents), workers)
    every = tuple(SplitWords(*each) for each in bounds)
    return [SearchWords(*each, every=every) for each in bounds]


def _bounds(count: int, workers: int) -> list[tuple[int, int]]:
    """Return the first row and the one after the last of ranges for so many workers."""
    rows = min(MOST_ROWS, max(_FEWEST_ROWS, -(-count // workers)))
    return [(start, min(start + rows, count)) for start in range(0, count, rows)]


def ranges_of(search: Search, store: Store, *, workers: int) -> list[SearchRows]:
    """Return the ranges of its documents; one where what is stored of them is no plain vector."""
    count = count_vectors(search.space.documents, store)
    if search.space.coarser is not None:
        return [SearchRows(0, count)]
    return [SearchRows(*each) for each in _bounds(count, workers)]


def count_vectors(side: VectorSource, store: Store) -> int:
    """Return how many vectors one side of a space has, without reading them where that is known."""
    match side:
        case Encode():
            return len(side.texts.items)
        case GivenVectors():
            return len(side.wanted)
    return len(side.embeddings(store, normalised=False))


def _left(stage: Stage, store: Store) -> list[Any]:
    searches = stage.searches if isinstance(stage, SearchPrefixes) else (stage,)
    return [each for each in searches if not each.is_done(store)]
