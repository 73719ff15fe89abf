"""Runs on a cluster: time, bytes and memory against what the plan says, and where it stops scaling.

    python benchmarks/cluster.py run 10000 100000 --workers 0 1 2
    python benchmarks/cluster.py simulate

`run` writes corpora of made-up words and random vectors, runs BM25, a static model and a search in
the vectors on them without latency, in one process (0 workers) or on Ray on this machine, and
prints a row for each. `simulate` gives the scheduler a Ray whose clock is virtual, with workers
that are slow, die, and get uneven parts. The findings are in `cluster.md`.
"""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAYON_NUM_THREADS", "1")

import argparse
import itertools
import json
import shutil
import sys
import tempfile
import threading
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import psutil

QUERIES, WORDS, VOCABULARY, WIDTH = 200, 40, 50_000, 256
SUITE = """
name = "scale"
metrics = ["ndcg@10"]
baseline = "bm25"
collections.corpus.source = "beir:{folder}"
candidates.bm25.kind = "bm25"
candidates.static.model = "{model}"
candidates.given.vectors = {{ documents = "{folder}/d.npy", queries = "{folder}/q.npy" }}
"""


def write_corpus(folder: Path, documents: int) -> Path:
    """Write documents of words as frequent as in a language, queries of words of one each, and
    random vectors of both.
    """
    draw = np.random.default_rng(5)
    words = np.array([f"w{number:x}" for number in range(VOCABULARY)])
    chances = 1 / np.arange(1, VOCABULARY + 1)
    (folder / "qrels").mkdir(parents=True)
    asked: list[str] = []
    with (folder / "corpus.jsonl").open("w") as corpus:
        for start in range(0, documents, 10_000):
            rows = min(10_000, documents - start)
            drawn = words[draw.choice(VOCABULARY, (rows, WORDS), p=chances / chances.sum())]
            for row, text in enumerate(drawn):
                corpus.write(f'{{"_id": "d{start + row:08}", "text": "{" ".join(text)}"}}\n')
            if not asked:
                asked = [" ".join(text[:5]) for text in drawn[:QUERIES]]
    with (folder / "queries.jsonl").open("w") as queries:
        queries.writelines(f'{{"_id": "q{n}", "text": "{q}"}}\n' for n, q in enumerate(asked))
    lines = ["query-id\tcorpus-id\tscore", *(f"q{n}\td{n:08}\t1" for n in range(QUERIES))]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    for name, rows, form in (("d", documents, "d{:08}"), ("q", len(asked), "q{}")):
        shape = (rows, WIDTH)
        made = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, shape)
        for start in range(0, rows, 10_000):
            made[start : start + 10_000] = draw.normal(size=(min(10_000, rows - start), WIDTH))
        made.flush()
        ids = "".join(f"{form.format(row)}\n" for row in range(rows))
        (folder / f"{name}.ids.txt").write_text(ids)
    return folder


class Peaks:
    """The largest memory of this process, of each worker and of all that belongs to Ray, files that
    are mapped apart; and the seconds of a CPU that they used.
    """

    def __init__(self) -> None:
        self.driver, self.worker, self.ray = 0, 0, 0
        self.cpu: dict[str, dict[int, float]] = {"driver": {}, "workers": {}, "ray": {}}
        self._ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            self._see()

    def _see(self) -> None:
        own, ray = psutil.Process(), 0
        self.driver = max(self.driver, self._look(own, "driver"))
        for child in own.children(recursive=True):
            try:
                if "".join(child.cmdline()).startswith("ray::Worker"):
                    self.worker = max(self.worker, self._look(child, "workers"))
                else:
                    ray += self._look(child, "ray")
            except psutil.Error:
                continue
        self.ray = max(self.ray, ray)

    def _look(self, process: psutil.Process, role: str) -> int:
        self.cpu[role][process.pid] = sum(process.cpu_times()[:2])
        found = process.memory_info()
        return int(found.rss - found.shared)

    def spent(self) -> dict[str, dict[int, float]]:
        """Return the seconds so far, of each process of each role."""
        self._see()
        return {role: dict(each) for role, each in self.cpu.items()}

    def close(self) -> None:
        """Stop watching."""
        self._ended.set()


def _more(
    before: dict[str, dict[int, float]], after: dict[str, dict[int, float]]
) -> dict[str, list[float]]:
    """Return the seconds of a CPU between two times, of each process of each role."""
    return {
        role: [round(end - before[role].get(pid, 0), 2) for pid, end in ends.items()]
        for role, ends in after.items()
        if role != "ray" and ends
    }


@dataclass
class Seconds:
    """How long each stage took, by its label; and for how long driver and workers used a CPU."""

    run: Any
    peaks: Peaks
    stages: dict[str, dict[str, Any]]

    def __call__(self, stage: Any, context: Any) -> None:
        """Run a stage."""
        started, before = time.perf_counter(), self.peaks.spent()
        self.run(stage, context)
        took = time.perf_counter() - started
        if took > 0.5:
            used = _more(before, self.peaks.spent())
            self.stages[stage.label] = {"seconds": round(took, 1), **used}


def run(documents: int, workers: int, folder: Path, model: str) -> dict[str, Any]:
    """Run a suite on so many documents, and return what it took against its forecast."""
    from harness.cluster.forecast import forecast
    from harness.cluster.pool import Cluster, Wanted, place_of_rates
    from harness.hashing import digest
    from harness.plan.execute import execute, run_here
    from harness.plan.plan import make_plan
    from harness.plan.rates import seconds_to_start
    from harness.retrieval.latency import Step
    from harness.stage import Silent
    from harness.store import Store
    from harness.suite.load import load_suite

    peaks = Peaks()
    suite = folder / f"{documents}.toml"
    suite.write_text(SUITE.format(folder=folder / str(documents), model=model))
    store, started = Store(folder / f"store-{documents}-{workers}"), time.perf_counter()
    plan = make_plan(load_suite(suite), store, device="cpu", hub="refuse")
    reading = time.perf_counter() - started
    wanted = Wanted("ray", workers or 1)
    stages = [each for each in plan.stages if not isinstance(each, Step)]
    expected = forecast(replace(plan, stages=tuple(stages)), wanted)
    load = os.getloadavg()[0]
    started, used = time.perf_counter(), peaks.spent()
    if workers == 0:
        timed = Seconds(run_here, peaks, {})
        execute(plan, progress=Silent(), stages=stages, run=timed)
    else:
        with closing(Cluster(wanted, plan, say=print)) as cluster:
            timed = Seconds(cluster.run, peaks, {})
            execute(plan, progress=Silent(), stages=stages, run=timed)
    seconds = time.perf_counter() - started
    spent = _more(used, peaks.spent())
    peaks.close()
    runs = [scored.stages[0].run_stage.result(store) for scored in plan.scored.values()]
    return {
        "documents": documents,
        "workers": workers,
        "load": load,
        "reading": reading,
        "seconds": seconds,
        "start": workers and seconds_to_start(None, **place_of_rates(wanted, plan)),
        "cpu": spent,
        "stages": timed.stages,
        "expected": expected.seconds,
        "shares": {each.label: each.seconds for each in expected.shares},
        "ray_bytes": peaks.ray,
        "worker_bytes": peaks.worker,
        "worker_bound": expected.worker_bytes,
        "driver_bytes": peaks.driver,
        "driver_bound": expected.driver_bytes,
        "store_bytes": sum(entry.size for entry in store.entries()),
        "written_bound": sum(each.written or 0 for each in expected.shares),
        "result": digest(*(array for each in runs for array in (each.documents, each.scores)))[:8],
    }


class LostError(Exception):
    """A worker has died."""


class VirtualRay(ModuleType):
    """What the scheduler uses of Ray, on a clock of its own.

    Args:
        driver_seconds: that the driver takes for each answer.
    """

    def __init__(self, driver_seconds: float) -> None:
        super().__init__("ray")
        self.now, self.lost = 0.0, 0
        self._driver_seconds = driver_seconds
        self.exceptions = SimpleNamespace(RayActorError=LostError)

    def wait(self, references: list[Any], *, timeout: float) -> tuple[list[Any], list[Any]]:
        """Let time pass until the first answer is there."""
        if not references:
            self.now += timeout
            return [], []
        first = min(references, key=lambda each: each.at)
        self.now = max(self.now, first.at) + self._driver_seconds
        return [first], []

    def get(self, reference: Any) -> Any:
        """Return an answer, or raise that its worker has died."""
        if reference.is_lost:
            raise LostError("it died")
        return SimpleNamespace(failed=False, key=None, seconds=0.0, loading=0.0)


@dataclass(eq=False)
class Answer:
    """What a worker answers, and when."""

    at: float
    is_lost: bool = False


class VirtualWorker:
    """A worker that takes one part after the other, at a speed, and dies now and then.

    Args:
        ray: whose clock it follows.
        speed: against a usual one.
        lives: seconds from one death to the next.
        restart: seconds until it is back, and its model is loaded.
    """

    def __init__(self, ray: VirtualRay, speed: float, lives: Any, restart: float) -> None:
        self._ray, self._speed, self._lives, self._restart = ray, speed, lives, restart
        self._free, self._dies = restart, restart + next(lives)
        self.do = SimpleNamespace(remote=self._do)
        self.about = SimpleNamespace(remote=self._about)

    def _do(self, _stages: Any, _stage: int, part: Any) -> Answer:
        self._free = max(self._free, self._ray.now) + part.seconds / self._speed
        if self._free <= self._dies:
            return Answer(self._free)
        self._ray.lost += 1
        return Answer(max(self._dies, self._ray.now), is_lost=True)

    def _about(self) -> Answer:
        self._free = self._ray.now + self._restart
        self._dies = self._free + next(self._lives)
        return Answer(self._free)


@dataclass(frozen=True)
class TimedPart:
    """A part that takes so many seconds."""

    seconds: float
    size: int = 1

    def about(self, _: Any) -> str:
        """Name nothing."""
        return ""


def simulate(parts: int, workers: int, **odd: float) -> tuple[float, float, int]:
    """Return the hours that the scheduler takes, the best possible, and how many workers died.

    Args:
        parts: of a stage.
        workers: of the cluster.
        odd: `mean`, seconds of a part; `spread`, of the logarithm of its time; `slow`, the share of
            workers at half speed; `life`, hours from one death of a worker to the next.
    """
    from harness.cluster.pool import Cluster, Wanted
    from harness.stage import Silent

    draw = np.random.default_rng(3)
    ray = VirtualRay(DRIVER_SECONDS)
    spread = odd.get("spread", 0.1)
    seconds = odd["mean"] * np.exp(draw.normal(-(spread**2) / 2, spread, parts))

    def lives() -> Any:
        while True:
            yield draw.exponential(3600 * odd["life"]) if "life" in odd else np.inf

    slow = draw.random(workers) < odd.get("slow", 0)
    stage = SimpleNamespace(label="parts", key=lambda _: None)
    plan: Any = SimpleNamespace(stages=[stage], device="cpu")
    cluster = Cluster(Wanted("ray", workers), plan, say=lambda _: None)
    cluster._workers = [VirtualWorker(ray, 0.5 if each else 1, lives(), 30) for each in slow]
    before = sys.modules.get("ray")
    sys.modules["ray"] = ray
    context: Any = SimpleNamespace(progress=Silent(), store=None)
    try:
        cluster._do(stage, [TimedPart(each) for each in seconds.tolist()], context, unit="parts")
    finally:
        sys.modules.pop("ray")
        if before is not None:
            sys.modules["ray"] = before
    best = seconds.sum() / (workers - slow.sum() / 2) / 3600
    return ray.now / 3600, best, ray.lost


DRIVER_SECONDS = 0.0008  # of CPU, on two workers that do nothing


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("documents", type=int, nargs="+")
    running.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    running.add_argument("--model", default="package:wordllama")
    running.add_argument("--folder", type=Path)
    commands.add_parser("simulate")
    asked = parser.parse_args()
    if asked.command == "simulate":
        print("parts, seconds each, workers, odd: hours, of the best possible, deaths")
        sizes = itertools.product([2_000, 20_000], [60.0, 1.0, 0.1], [8, 64, 512])
        for parts, mean, workers in sizes:
            for odd in (
                {},
                {"slow": 0.1},
                {"life": 4.0},
                {"spread": 1.0},
                {"slow": 0.1, "life": 4.0, "spread": 1.0},
            ):
                hours, best, lost = simulate(parts, workers, mean=mean, **odd)
                print(f"{parts}, {mean}, {workers}, {odd}: {hours:.4f}, {best / hours:.2f}, {lost}")
        return
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="cluster-"))
    for documents in asked.documents:
        if not (folder / str(documents)).exists():
            write_corpus(folder / str(documents), documents)
        for workers in asked.workers:
            print(json.dumps(run(documents, workers, folder, asked.model)), flush=True)
            shutil.rmtree(folder / f"store-{documents}-{workers}")


if __name__ == "__main__":
    main()
