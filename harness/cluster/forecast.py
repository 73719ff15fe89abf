"""Forecast: what of a plan workers do, what they move to and from the store, hold, and cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness.cluster.parts import MOST_ROWS, count_vectors, divide, leaves, ranges_of
from harness.cluster.pool import Wanted, place_of_rates
from harness.collection.packed import PackedTexts, size_of
from harness.environment import cpu_threads, gpu_speed, vector_memory
from harness.plan.plan import Plan
from harness.plan.rates import SECONDS_TO_LOAD, corrected, seconds_to_start, weights_of
from harness.retrieval.encoding import Encode
from harness.retrieval.lengths import CountTokens
from harness.retrieval.lexical import LexicalSearch
from harness.retrieval.prefix_search import SearchPrefixes
from harness.retrieval.reranking import SHARD_PAIRS, ScorePairs
from harness.retrieval.search import Search
from harness.retrieval.space import GivenVectors, open_vectors
from harness.stage import Stage, Work
from harness.store import Store

_HASH_BYTES = 16  # of a text
_RANK_BYTES = 8  # of a document in a run, and of its score
_POSTING_BYTES = 8  # of a word in a document
_CHARACTERS = 4  # of a word, or fewer
# As docs/scale.md measures them, rounded up.
_PROCESS_BYTES = 1_000_000_000  # Python and the libraries, with what they read and free
_ROW_BYTES = 300  # of a document in a worker: its id, and its place among the distinct texts
_WORD_BYTES = 40  # of a document that is split into words
_SENT_BYTES = 100  # of a document in the plan: its hashes, and its place among the distinct texts
_DOCUMENT_BYTES = 150  # of the driver, while it reads and audits one that lies in the store
_HELD_BYTES = 1_000  # the same of one that it holds, its text apart


class Share(NamedTuple):
    """A stage that workers do.

    Attributes:
        label: of the stage.
        parts: in which it is done, at most.
        read: bytes that workers fetch from the store, at most; None where nothing is known.
        written: bytes that they write to it, at most; None where nothing is known.
        seconds: that it takes all of them together, roughly; None where nothing is known.
    """

    label: str
    parts: int
    read: int | None
    written: int | None
    seconds: float | None


class ClusterForecast(NamedTuple):
    """What a plan takes on a cluster.

    Attributes:
        workers: processes.
        shares: stages that they do.
        stay: stages that the driver does.
        sent: bytes that each machine is sent once, at most: the plan, and texts that do not lie in
            the store.
        start: seconds in which the workers start.
        seconds: of that, of loading models, and of all stages whose time is known, one after the
            other.
        usd: what the workers cost in that time; None where no price is given.
        worker_bytes: memory of a worker, at most, files that are mapped apart.
        driver_bytes: memory of the driver, so too.
    """

    workers: int
    shares: Sequence[Share]
    stay: int
    sent: int
    start: float
    seconds: float
    usd: float | None
    worker_bytes: int
    driver_bytes: int


def forecast(plan: Plan, wanted: Wanted, *, usd_per_hour: float | None = None) -> ClusterForecast:
    """Return what is left of a plan on a cluster; None of its machines is asked.

    Args:
        plan: of the suite.
        wanted: the cluster; without a number of workers, one for each CPU of this machine.
        usd_per_hour: price of a worker.
    """
    workers, store = wanted.workers or cpu_threads(), plan.store
    left = [(stage, stage.work(store)) for stage in plan.stages if not stage.is_done(store)]
    shares: list[Share] = []
    start = seconds_to_start(None, **place_of_rates(wanted, plan))
    seconds, loaded = start, set[tuple[bool, str]]()
    for stage, work in left:
        there, weights = leaves(stage), weights_of(stage, store)
        if there:
            shares.append(_share(stage, work, plan, wanted, workers))
            seconds += shares[-1].seconds or 0.0
        else:
            here = corrected(stage, work, store=store, device=plan.device)
            seconds += here.seconds or 0.0
        if weights is not None and (there, weights.key) not in loaded:
            loaded.add((there, weights.key))
            where = place_of_rates(wanted, plan)
            seconds += seconds_to_start(weights, **where) if there else SECONDS_TO_LOAD
    collections = [each.searched for each in plan.collections.values()]
    documents = sum(len(each.documents) for each in collections)
    held_here = [each.documents for each in collections if not _stored_bytes(each.documents)]
    texts = sum(map(size_of, held_here))
    held = [_held(stage, store, workers) for stage, _ in left if leaves(stage)]
    models = [each.parameters or 0 for each in plan.planner.found_weights() if each is not None]
    return ClusterForecast(
        workers=workers,
        shares=shares,
        stay=len(left) - len(shares),
        sent=texts + _SENT_BYTES * documents,
        start=start,
        seconds=seconds,
        usd=None if usd_per_hour is None else usd_per_hour * workers * seconds / 3600,
        worker_bytes=_PROCESS_BYTES
        + 4 * max(models, default=0)
        + max(held, default=0)
        + vector_memory() // workers // 16  # tokens, see `Context.shared`
        + _ROW_BYTES * documents,
        driver_bytes=_PROCESS_BYTES
        + texts
        + _HELD_BYTES * sum(map(len, held_here))
        + _DOCUMENT_BYTES * documents,
    )


def _share(stage: Stage, work: Work, plan: Plan, wanted: Wanted, workers: int) -> Share:
    parts, store = len(_parts(stage, plan.store, workers)), plan.store
    read, written = None, None
    match stage:
        case Encode():
            weights = stage.model.weights(store)
            if weights is not None and weights.dimension is not None:
                read = _stored_bytes(stage.texts.distinct)
                written = work.texts * (4 * weights.dimension + _HASH_BYTES)
        case ScorePairs():
            read, written = 0, work.pairs * (2 * _HASH_BYTES + 4)
        case LexicalSearch():
            texts, queries = stage.collection.documents, len(stage.collection.queries)
            words = size_of(texts) // _CHARACTERS * _POSTING_BYTES
            read = _stored_bytes(texts) + words
            written = words + _runs(queries, stage.depth, parts)
        case Search() | SearchPrefixes():
            search = _widest(stage)
            documents, queries = (
                count_vectors(side, store)
                for side in (search.space.documents, search.space.queries)
            )
            searches = len(stage.searches) if isinstance(stage, SearchPrefixes) else 1
            written = _runs(queries, search.depth, parts) * searches
            if (width := _width(search, store)) is not None:
                read = 4 * width * (documents + parts * queries)
    seconds = _seconds(stage, work, plan, wanted)
    seconds = None if seconds is None else seconds / max(1, min(parts, workers))
    return Share(stage.label, parts, read, written, seconds)


def _stored_bytes(texts: Sequence[str]) -> int:
    """Return the bytes of texts that workers read in the store; 0 of those that travel."""
    return size_of(texts) if isinstance(texts, PackedTexts) and texts.home is not None else 0


def _seconds(stage: Stage, work: Work, plan: Plan, wanted: Wanted) -> float | None:
    """Return how long one worker takes: at the rates of workers, else at those of this process."""
    seen = corrected(stage, work, **place_of_rates(wanted, plan))
    if seen.measured or work.seconds is None:
        return seen.seconds
    if plan.device == "cpu" and isinstance(stage, Encode | ScorePairs) and wanted.gpus("cpu"):
        return work.seconds * gpu_speed(wanted.gpus("cpu"))
    return corrected(stage, work, store=plan.store, device=plan.device).seconds


def _parts(stage: Stage, store: Store, workers: int) -> Sequence[object]:
    """Return what stands for each part; their number alone is of interest."""
    match stage:
        case Encode():
            if stage.model.weights(store) is None:
                return stage.texts.shards
            return divide(stage, store, workers=workers).parts or stage.missing(store)
        case ScorePairs():
            return range(-(-stage.work(store).pairs // SHARD_PAIRS))
        case CountTokens() | LexicalSearch():
            division = divide(stage, store, workers=workers)
            return [*division.first, *division.parts]
        case Search() | SearchPrefixes():
            return ranges_of(_widest(stage), store, workers=workers)
    return [stage]


def _held(stage: Stage, store: Store, workers: int) -> int:
    """Return the bytes that a worker holds for a part, its model apart."""
    match stage:
        case CountTokens() | Encode() | ScorePairs():
            return 0
        case LexicalSearch():
            documents = stage.collection.documents
            rows = min(MOST_ROWS, -(-len(documents) // workers))
            words = size_of(documents) / max(len(documents), 1) / _CHARACTERS
            return int(_WORD_BYTES * words * rows)
        case Search() | SearchPrefixes():
            search = _widest(stage)
            width, ranges = _width(search, store), ranges_of(search, store, workers=workers)
            if width is not None and search.space.coarser is None:
                return min(4 * width * ranges[0].size, vector_memory() // workers)
    return vector_memory() // workers


def _widest(stage: Search | SearchPrefixes) -> Search:
    return stage.searches[-1] if isinstance(stage, SearchPrefixes) else stage


def _width(search: Search, store: Store) -> int | None:
    """Return the stored width of the vectors of a search, where it is known."""
    side = search.space.documents
    if isinstance(side, GivenVectors):
        return int(open_vectors(side.path).shape[1])
    weights = side.model.weights(store) if isinstance(side, Encode) else None
    return None if weights is None else weights.dimension


def _runs(queries: int, depth: int, parts: int) -> int:
    """Return the bytes of the runs of each part, and of the one that they are joined to."""
    return queries * depth * _RANK_BYTES * (parts + (parts > 1))
