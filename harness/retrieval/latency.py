"""Latency: milliseconds of each step of a query, measured one query at a time after a warm-up.

A candidate's latency is the sum of its steps for the same query, so what two candidates share is
measured once: a cross-encoder scores as many documents whoever found them. A timing belongs to a
device: it is stored under the device's name. A timing of a busy machine says nothing about the
step: it is marked, no rule uses it, and it is measured again once the machine is quiet.
"""

from __future__ import annotations

import os
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.artifact import Artifact
from harness.collection import Collection
from harness.environment import device_name, today
from harness.retrieval.encoding import Encode
from harness.retrieval.engine import best_engine, engine_package
from harness.retrieval.reranking import CrossEncoderScorer, Scorer
from harness.retrieval.run_stage import RunStage
from harness.retrieval.space import Space
from harness.stage import Context, Keyed, StoredStage, Work, keyed_by, unkeyed
from harness.store import Store

SAMPLE = 40
_WARM_UP = 3
_WARM_SECONDS = 0.1  # that a warm-up takes, or one query
_ENOUGH = 20  # queries; fewer say nothing about a 95th percentile
_AT_LEAST = 5
_NARROW = 0.05  # half the 95% interval of the median, to the median
_SHARE = 0.1  # of a run that timing more than enough queries may take
_CHEAP_SECONDS = 0.25  # that a sample may take whatever its share
_MOST_SECONDS = 300.0

_FRESH_SECONDS = 0.25  # that a calibration speaks for
_LOOPS = 25  # of a calibration, of about a millisecond each
_LEAST_CPU = 0.9  # share of its own time that a loop gets on a quiet machine
_WIDEST = 2.0  # of the slowest tenth of the loops against their median
_LEAST_CPU_OF_QUERIES = 0.8  # what queries on the processor use of the time that they take
_MOST_LOAD = 1.5  # runnable processes to a processor
_RETRY_SECONDS = 120.0  # a machine that is busy stays so for a while

Ask = Callable[[int], object]
Milliseconds = npt.NDArray[np.float64]


class Prepared(NamedTuple):
    """A step ready to be timed: what does it for a query's row, and the bytes that it searches."""

    ask: Ask
    index_bytes: int


class Calibration(NamedTuple):
    """How evenly a fixed piece of work ran, which needs one processor and nothing else.

    Attributes:
        cpu_share: processor time against wall time; less than 1 where others were running.
        spread: the slowest tenth of the loops against the median of all.
        load: runnable processes to a processor, over the last minute.
    """

    cpu_share: float
    spread: float
    load: float

    def problems(self) -> Iterator[str]:
        """Yield what shows that others use the machine."""
        if self.cpu_share < _LEAST_CPU:
            yield f"a test loop got the processor for {self.cpu_share:.0%} of its time"
        if self.spread > _WIDEST:
            yield f"the test loop took up to {self.spread:.1f} times as long"
        if self.load > _MOST_LOAD:
            yield f"load {self.load:.1f} per processor"


def calibrate() -> Calibration:
    """Time a loop some 25 times: about 50 ms on a quiet machine."""
    wall, cpu = [], []
    for _ in range(_LOOPS):
        started, used = time.perf_counter(), time.thread_time()
        sum(number * number for number in range(15_000))
        cpu.append(time.thread_time() - used)
        wall.append(time.perf_counter() - started)
    slowest = float(np.percentile(wall, 90) / np.median(wall))
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return Calibration(sum(cpu) / sum(wall), slowest, load)


@cache
def is_quiet() -> bool:
    """Tell whether nobody else used the machine when this process first asked."""
    return not list(calibrate().problems())


@dataclass
class Pace:
    """What the steps that one run times share: the last calibration, and how long they took.

    Attributes:
        began: when the run did, by `time.perf_counter`.
        spent: seconds of timing so far.
    """

    began: float
    spent: float = 0.0
    _found: Calibration | None = None
    _at: float = 0.0

    def calibration(self) -> Calibration:
        """Return the last calibration, or a new one if it is old: steps may take a millisecond."""
        if self._found is None or time.perf_counter() - self._at > _FRESH_SECONDS:
            self._found, self._at = calibrate(), time.perf_counter()
        return self._found

    def affords(self, seconds: float) -> bool:
        """Tell whether a step that has taken some seconds may time more queries than it needs."""
        run = time.perf_counter() - self.began
        return seconds <= _CHEAP_SECONDS or self.spent + seconds <= _SHARE * run


class Timing(NamedTuple):
    """What the steps of an answer took together.

    Attributes:
        milliseconds: float64 [n], over the queries that every step timed.
        asked: queries that were to be timed.
        state: "quiet"; "busy", of no use for a comparison; "unknown", stored by a version that did
            not look at the machine.
        reasons: why it is busy, with the figures.
    """

    milliseconds: Milliseconds
    asked: int
    state: Literal["quiet", "busy", "unknown"]
    reasons: tuple[str, ...]


def sample_rows(n_queries: int) -> list[int]:
    """Return the rows of the queries that are timed, spread evenly, in a fixed shuffled order."""
    count = min(SAMPLE, n_queries)
    rows = np.linspace(0, n_queries - 1, count).round().astype(int)
    order: list[int] = np.random.default_rng(0).permutation(rows).tolist()
    return order


@dataclass(frozen=True, eq=False)
class Step(StoredStage):
    """Stage: one step of answering a query, timed on a sample of the collection's queries.

    Attributes:
        name: for people.
        collection: whose queries.
        device: torch's name of the device.
        pays: it asks over the network for what is stored as it arrives, so it runs before what asks
            for the rest.
    """

    kind = "latency"
    doing: ClassVar[str]
    pays: ClassVar[bool] = False

    name: str = field(metadata=unkeyed("for people"))
    collection: Collection = field(metadata=unkeyed("what is timed holds its texts"))
    device: str = field(metadata=keyed_by("_device"))

    @property
    def label(self) -> str:
        """What is done."""
        return f"time {self.doing} with {self.name}"

    @property
    def _device(self) -> str:
        return device_name(self.device)

    def also_keyed(self) -> tuple[object, ...]:
        """Return the package that searches."""
        return (engine_package(),)

    @abstractmethod
    def prepare(self, context: Context) -> Prepared:
        """Load what the step needs."""

    def work(self, store: Store) -> Work:  # noqa: ARG002
        """Return a usual time."""
        return Work(seconds=2.0)

    def is_done(self, store: Store) -> bool:
        """Tell whether a timing is stored that holds: one of a busy machine waits for a quiet one.

        So does one that is stored without a word about the machine.
        """
        artifact = self.artifact(store)
        if artifact is None or _state(artifact) == "quiet":
            return artifact is not None
        age = time.time() - artifact.meta.get("at", 0.0)
        return 0 <= age < _RETRY_SECONDS or not is_quiet()

    def again_at(self, store: Store) -> float | None:
        """Return from when on a quiet machine times it again, in seconds since 1970, or None."""
        artifact = self.artifact(store)
        if artifact is None or _state(artifact) == "quiet":
            return None
        again: float = artifact.meta.get("at", 0.0) + _RETRY_SECONDS
        return again

    def run(self, context: Context) -> None:
        """Time the sample, the first queries twice, and store it with how busy the machine was.

        A timing of a busy machine never takes the place of one of a quiet machine.
        """
        store, key = context.store, self.ready_key(context.store)
        pace = context.shared(Pace, lambda: Pace(context.began), size=lambda _: 0)
        ask, index_bytes = self.prepare(context)
        rows = sample_rows(len(self.collection.queries))
        with context.progress.task(self.label, total=len(rows), unit="queries") as advance:
            times, reasons = _timed(ask, rows, advance, pace, on_cpu=self.device == "cpu")
        old = store.get(self.kind, key)
        if old is not None and _state(old) == "quiet" and reasons:
            return
        self.keep(store, times, asked=len(rows), index_bytes=index_bytes, busy=reasons)

    def keep(
        self,
        store: Store,
        times: Sequence[float],
        *,
        asked: int,
        index_bytes: int | None = 0,
        busy: Sequence[str] = (),
    ) -> None:
        """Store the milliseconds of queries.

        Args:
            store: where.
            times: of each query.
            asked: queries that were to be timed.
            index_bytes: that are searched; None where they are not known.
            busy: what shows that the machine was busy.
        """
        meta = {
            "label": self.label,
            "index_bytes": index_bytes,
            "device": self._device,
            "date": today(),
            "at": time.time(),
            "asked": asked,
            "busy": list(busy),
        }
        arrays = {"milliseconds": np.array(times)}
        store.put(self.kind, self.ready_key(store), arrays=arrays, meta=meta, replaces=True)


@dataclass(frozen=True, eq=False)
class TimeAgain(Keyed):
    """Stage: time a step that may be timed already."""

    step: Step

    @property
    def label(self) -> str:
        """What is done."""
        return f"{self.step.label} again"

    def is_done(self, store: Store) -> bool:  # noqa: ARG002
        """Return False: that is what is asked for."""
        return False

    def work(self, store: Store) -> Work:
        """Return what the timing takes."""
        return self.step.work(store)

    def run(self, context: Context) -> None:
        """Time the step."""
        self.step.run(context)


def _timed(
    ask: Ask, rows: list[int], advance: Callable[[int], None], pace: Pace, *, on_cpu: bool
) -> tuple[list[float], list[str]]:
    """Return the milliseconds of each query, and what shows that the machine was busy.

    After `_ENOUGH` queries a narrow interval of the median ends the sample, and so does a tenth of
    the run; sooner, a busy machine. The first call of each shape is slow on a GPU, so all are
    asked before.
    """
    before = pace.calibration()
    started = time.perf_counter()
    for asked, row in enumerate(rows):
        if (
            asked
            and on_cpu
            and (asked == _WARM_UP or time.perf_counter() - started > _WARM_SECONDS)
        ):
            break
        ask(row)
    times: list[float] = []
    began, used = time.perf_counter(), time.process_time()
    for row in rows:
        started = time.perf_counter()
        ask(row)
        times.append(1000 * (time.perf_counter() - started))
        advance(1)
        spent = time.perf_counter() - began
        busy = any(before.problems()) or (time.process_time() - used) < spent / 2
        enough = _AT_LEAST if busy or spent > _MOST_SECONDS else _ENOUGH
        if len(times) >= enough and (_is_narrow(times) or not pace.affords(spent)):
            break
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    problems = {f"before: {each}" for each in before.problems()}
    pace.spent += wall
    problems |= {f"after: {each}" for each in pace.calibration().problems()}
    if on_cpu and wall > 0.05 and cpu < _LEAST_CPU_OF_QUERIES * wall:
        problems.add(f"the queries used the processor for {cpu / wall:.0%} of their time")
    if len(times) < min(len(rows), _ENOUGH):
        problems.add(f"{len(times)} of {len(rows)} queries were timed in {wall:.0f} s")
    return times, sorted(problems)


def _is_narrow(times: list[float]) -> bool:
    """Tell whether the median is known well, by its distribution-free 95% interval."""
    if len(times) < _ENOUGH:
        return False
    ordered, half = sorted(times), 0.98 * len(times) ** 0.5
    middle = len(times) / 2
    low, high = (
        ordered[max(int(middle - half), 0)],
        ordered[min(int(middle + half), len(times) - 1)],
    )
    return (high - low) / 2 <= _NARROW * ordered[len(times) // 2]


def _state(artifact: Artifact) -> Literal["quiet", "busy", "unknown"]:
    busy = artifact.meta.get("busy")
    return "unknown" if not isinstance(busy, list) else "busy" if busy else "quiet"


def timing(steps: Iterable[Step | None], store: Store) -> Timing | None:
    """Return what all steps of an answer took; None if one is not timed.

    What one step's machine was busy with marks the whole.

    Args:
        steps: None stands for a step that another system did.
        store: where the timings lie.
    """
    steps = list(steps)
    total = total_milliseconds(steps, store)
    if total is None:
        return None
    found = [artifact for step in steps if step and (artifact := step.artifact(store))]
    states = {_state(artifact) for artifact in found}
    state: Literal["quiet", "busy", "unknown"] = (
        "busy" if "busy" in states else "unknown" if "unknown" in states else "quiet"
    )
    reasons = [str(each) for artifact in found for each in artifact.meta.get("busy") or ()]
    asked = max(int(artifact.meta.get("asked", 0)) for artifact in found)
    return Timing(total, max(asked, len(total)), state, tuple(dict.fromkeys(reasons)))


def total_milliseconds(steps: Iterable[Step | None], store: Store) -> Milliseconds | None:
    """Return the milliseconds of each timed query through all steps; None if one is not timed.

    Args:
        steps: None stands for a step that another system did.
        store: where the timings lie.

    Returns:
        float64 [n], over the queries that every step timed.
    """
    artifacts = [step.artifact(store) if step else None for step in steps]
    times = [artifact.array("milliseconds") for artifact in artifacts if artifact is not None]
    if not times or len(times) < len(artifacts):
        return None
    n = min(map(len, times))
    total: Milliseconds = np.sum([values[:n] for values in times], axis=0)
    return total


@dataclass(frozen=True, eq=False)
class EncodeQuery(Step):
    """Step: one query through a bi-encoder, or another model that encodes texts."""

    doing = "encoding a query"

    encode: Encode

    def prepare(self, context: Context) -> Prepared:
        """Load the model."""
        encode = self.encode
        model = encode.load(context)
        texts = self.collection.queries
        return Prepared(
            lambda row: model.encode([texts[row]], role="query", prompt=encode.prompt), 0
        )


@dataclass(frozen=True, eq=False)
class SearchQuery(Step):
    """Step: one query against all documents, held in memory as a server would."""

    doing = "searching"

    space: Space
    depth: int

    def prepare(self, context: Context) -> Prepared:
        """Build the index."""
        documents, queries = self.space.read(context.store)
        asked = queries.block(0, len(queries))
        vectors = documents.block(0, len(documents))
        depth = min(self.depth, len(vectors))
        engine = best_engine()
        if engine == "torch":
            import torch

            matrix = torch.from_numpy(vectors).to(context.device).T

            def ask(row: int) -> object:
                query = torch.from_numpy(asked[row]).to(context.device)
                return torch.topk(query @ matrix, depth).indices.cpu()

            return Prepared(ask, vectors.nbytes)
        import faiss

        index: Any = faiss.IndexFlatIP(vectors.shape[1])
        if engine == "faiss-gpu":
            index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
        index.add(vectors)
        return Prepared(lambda row: index.search(asked[row : row + 1], depth), vectors.nbytes)


@dataclass(frozen=True, eq=False)
class RescoreQuery(Step):
    """Step: one query's first-stage documents through the second model of a reranker."""

    doing = "reranking"

    first: RunStage = field(metadata=unkeyed("as many documents take as long, whoever found them"))
    scorer: Scorer
    depth: int

    def prepare(self, context: Context) -> Prepared:
        """Load the cross-encoder, or the vectors of a cascade."""
        top = self.first.result(context.store).documents[:, : self.depth]
        scorer = self.scorer
        if not isinstance(scorer, CrossEncoderScorer):
            return Prepared(*scorer.ready(context.store, top))
        model = scorer.load(context)
        texts = self.collection

        def ask(row: int) -> object:
            pairs = [(texts.queries[row], texts.documents[item]) for item in top[row] if item >= 0]
            return model.score(pairs) if pairs else None

        return Prepared(ask, 0)
