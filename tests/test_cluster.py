"""The stages of a plan on workers: in parts, in any order, with kills, the same bytes."""

from __future__ import annotations

import os
import pickle
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from conftest import plan_of, run_suite, sentences, write_beir, write_suite
from test_kill import outcome

from harness.cluster import parts, pool
from harness.cluster.forecast import forecast
from harness.cluster.parts import EncodeShards, divide, join_parts, leaves, merge
from harness.cluster.pool import Cluster, Wanted, place_of_rates
from harness.cluster.worker import PartOutcome, Worker, signature
from harness.collection.packed import PackedTexts, content_hashes, pack
from harness.errors import ExitCode, HarnessError
from harness.plan.execute import StagesFailedError, execute
from harness.plan.rates import record, record_start
from harness.retrieval.encoding import SHARD_MAX, Encode
from harness.retrieval.lexical import LexicalSearch
from harness.runs.run import Run, rank
from harness.stage import Context, Silent, Stage
from harness.store import Store

TEXTS = sentences(2500, seed=3, words=8)
# An encoder that counts what it is given.
CODE = """
import os
import time
import zlib
from pathlib import Path
import numpy as np


class Encoder:
    def encode(self, texts):
        if "fail" in os.environ.get("HARNESS_TEST", "") and len(texts) > 100:
            raise ZeroDivisionError("no such luck")
        if "slow" in os.environ.get("HARNESS_TEST", ""):
            time.sleep(len(texts) / 500)
        with Path(__file__).with_name("seen.txt").open("a") as log:
            log.write(f"{len(texts)}\\n")
        words = [[zlib.crc32(word.encode()) % 32 for word in text.split()] for text in texts]
        return np.stack([np.bincount(row, minlength=32) for row in words]).astype("float32")
"""


@pytest.fixture
def suite(
    tmp_path: Path, static_model: Path, bert_model: Path, cross_encoder: Path, sparse_model: Path
) -> Path:
    """Write a suite whose documents make several shards, and 2,000 pairs."""
    write_beir(
        tmp_path / "beir",
        documents={f"d{row:04}": text for row, text in enumerate(TEXTS)},
        queries={f"q{row:02}": " ".join(text.split()[:3]) for row, text in enumerate(TEXTS[:60])},
        qrels={"test": [(f"q{row:02}", f"d{row:04}", 1) for row in range(60)]},
    )
    (tmp_path / "own.py").write_text(CODE)
    return write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "words"
        collections.small.source = "beir:beir"
        [candidates]
        words = {{ kind = "bm25" }}
        own = {{ factory = "own.py:Encoder", version = "1" }}
        bert = {{ model = "{bert_model}" }}
        static = {{ model = "{static_model}" }}
        sparse = {{ sparse = "{sparse_model}" }}
        short = {{ from = "bert", truncate = 8 }}
        codes = {{ from = "short", quantize = "int8" }}
        reranked = {{ from = "words", rerank = {{ model = "{cross_encoder}", depth = 40 }} }}
        hybrid = {{ fuse = ["words", "bert"] }}
        """,
    )


def arrays(store: Store) -> dict[str, bytes]:
    """Return the bytes of every array of a store that must not depend on who made it."""
    kinds = {"embeddings", "lengths", "pair-scores", "runs", "scorecards"}
    return {
        f"{entry.kind}/{entry.key}/{path.name}": path.read_bytes()
        for entry in store.entries()
        if entry.kind.partition("/")[0] in kinds
        for path in entry.path.glob("*.npy")
    }


def shuffled(seed: int) -> Callable[[Stage, Context], None]:
    """Return what runs a stage in parts that travel, in any order, each in a context of its own."""
    moments = random.Random(seed)

    def run(stage: Stage, context: Context) -> None:
        if not leaves(stage):
            stage.run(context)
            return
        first = divide(stage, context.store, workers=3).first
        for some in (lambda: first, lambda: divide(stage, context.store, workers=3).parts):
            made = some()
            for part in moments.sample(made, len(made)):
                there, own = pickle.loads(pickle.dumps((stage, part)))  # noqa: S301
                for _ in range(2):  # twice does no harm
                    own.do(there, Context(Store(context.store.root)))
        join_parts(stage, context.store, made)

    return run


def test_parts_in_any_order_make_what_one_machine_makes(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(parts, "_FEWEST_ROWS", 100)
    local, other = Store(tmp_path / "local"), Store(tmp_path / "other")
    run_suite(suite, local)
    plan = plan_of(suite, other)
    found = forecast(plan, Wanted("ray", 3), usd_per_hour=2)
    shares = {share.label: share for share in found.shares}
    assert shares["encode documents of small with bert"].parts > 3
    assert shares["encode documents of small with bert"].written == 2500 * (4 * 16 + 16)
    assert shares["search with words on small"].parts == 6
    assert found.usd == pytest.approx(2 * 3 * found.seconds / 3600)
    where = place_of_rates(Wanted("ray", 3), plan)
    record_start(None, found.start + 100, **where)
    stage = next(stage for stage in plan.stages if isinstance(stage, LexicalSearch))
    record(stage, stage.work(other), 600, **where)
    again = forecast(plan, Wanted("ray", 3))
    longer = {share.label: share for share in again.shares}["search with words on small"]
    assert longer.seconds == pytest.approx(200)  # of three workers
    more = 100 + longer.seconds - (shares[longer.label].seconds or 0)
    assert again.seconds == pytest.approx(found.seconds + more)
    assert again.start == found.start + 100
    elsewhere = forecast(plan, Wanted("ray://other:10001", 3))
    assert elsewhere.seconds == pytest.approx(found.seconds)
    execute(plan, progress=Silent(), run=shuffled(5))
    assert arrays(other) == arrays(local)
    beside = {"partial-counts", "partial-runs", "bm25-words", "bm25-statistics"}
    assert not beside & {entry.kind for entry in other.entries()}
    assert plan_of(suite, other).left() == []


def test_packed_texts_travel_once_however_many_slices_there_are():
    cloudpickle = pytest.importorskip("ray.cloudpickle", reason="the 'ray' extra is not installed")
    body, ends = pack(TEXTS)
    texts = PackedTexts(body, ends, content_hashes(TEXTS), np.arange(len(TEXTS)))
    slices = [texts[start : start + 100] for start in range(0, 2500, 100)]
    assert [list(each) for each in slices][3] == TEXTS[300:400]  # they have been read
    buffers: list[pickle.PickleBuffer] = []
    sent = cloudpickle.dumps(slices, protocol=5, buffer_callback=buffers.append)
    assert len(sent) + sum(each.raw().nbytes for each in buffers) < len(body) + 80 * len(TEXTS)
    assert list(pickle.loads(sent, buffers=buffers)[3]) == TEXTS[300:400]  # noqa: S301


def test_partial_runs_merge_in_any_order_to_the_best():
    draw = np.random.default_rng(2)
    documents = np.tile(np.arange(60, dtype=np.int32), (4, 1))
    scores = draw.integers(0, 8, (4, 60)).astype(np.float32)  # with many ties
    ranges = [slice(at, at + 20) for at in (0, 20, 40)]
    thirds = [rank(documents[:, each], scores[:, each], depth=15) for each in ranges]
    wanted = rank(documents, scores, depth=15)
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        one, other, last = (thirds[number] for number in order)
        for found in (
            merge(merge(one, other, 15), last, 15),
            merge(one, merge(other, last, 15), 15),
        ):
            assert isinstance(found, Run)
            assert np.array_equal(found.documents, wanted.documents)
            assert np.array_equal(found.scores, wanted.scores)


def test_a_worker_of_another_version_is_refused_with_all_that_differs():
    pool._check_versions([{"host": "one", "process": "7", **signature()}])
    odd = {"host": "far", "process": "8", **signature(), "numpy": "1.0", "code of harness": "0"}
    with pytest.raises(HarnessError) as caught:
        pool._check_versions([odd])
    assert caught.value.exit_code == ExitCode.USAGE
    assert len(caught.value.problems) == 2
    assert "worker on far: numpy is 1.0, and here" in str(caught.value)


def test_a_cluster_that_does_not_start_is_started_once(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "ray", None)
    imported = pool._imported
    plan = plan_of(suite, Store(tmp_path / "store"))
    started: list[str] = []
    cluster = Cluster(Wanted("ray", 2), plan, say=started.append)
    monkeypatch.setattr(pool, "_imported", lambda wanted: started.append("") or imported(wanted))
    with pytest.raises(StagesFailedError, match="a cluster needs Ray") as caught:
        execute(plan, progress=Silent(), run=cluster.run)
    assert caught.value.exit_code == ExitCode.USAGE
    assert len(caught.value.problems) == len(started) == 1


def test_what_is_no_cluster_is_refused():
    with pytest.raises(HarnessError, match="--on spark: is not a cluster"):
        Wanted("spark")
    with pytest.raises(HarnessError, match="at least 1"):
        Wanted("ray", 0)


def test_a_part_that_fails_names_its_texts(
    suite: Path, store: Store, monkeypatch: pytest.MonkeyPatch
):
    stages = plan_of(suite, store).stages
    stage = next(s for s in stages if isinstance(s, Encode) and s.label.endswith("small with own"))
    monkeypatch.setenv("HARNESS_TEST", "fail")
    part = next(p for p in divide(stage, store, workers=2).parts if p.size > 100)
    assert isinstance(part, EncodeShards)
    worker = Worker(str(store.root), "cpu", beside=1, threads=torch.get_num_threads())
    worker._stages = [stage]
    outcome = worker.do([], 0, part)
    assert isinstance(outcome, PartOutcome)
    error = pool._failure(stage, part, outcome)
    assert "no such luck" in str(error)
    first = stage.texts.shards[part.numbers[0]].texts[0]
    assert f"It happened in the {part.size:,} texts from number" in str(error)
    assert first[:60] in str(error)


class Killing:
    """Progress that kills a worker by its process id, once some parts of a stage are done."""

    def __init__(self, label: str, kill: Callable[[], None]) -> None:
        self._label, self._kill = label, kill
        self.killed = 0

    @contextmanager
    def task(self, label: str, *, total: int, unit: str) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        def advance(_: int) -> None:
            if label.startswith(self._label) and self.killed == 0:
                self.killed += 1
                self._kill()

        yield advance


def encoded(folder: Path) -> int:
    """Return the texts that the own encoder was given."""
    return sum(map(int, (folder / "seen.txt").read_text().split()))


@pytest.mark.slow
def test_a_worker_that_is_killed_changes_no_byte_and_costs_one_shard(suite: Path, tmp_path: Path):
    ray = pytest.importorskip("ray", reason="the 'ray' extra is not installed")
    local, other = Store(tmp_path / "local"), Store(tmp_path / "other")
    run_suite(suite, local)
    once = encoded(tmp_path)
    (tmp_path / "seen.txt").unlink()
    plan = plan_of(suite, other)
    said: list[str] = []
    with closing(Cluster(Wanted("ray", 2), plan, say=said.append)) as cluster:

        def kill() -> None:
            about: dict[str, Any] = ray.get(cluster._workers[0].about.remote())
            os.kill(int(about["process"]), signal.SIGKILL)

        progress = Killing("encode documents of small with own", kill)
        execute(plan, progress=progress, run=cluster.run)
    assert progress.killed == 1
    assert "2 workers, each on cpu." in said
    assert arrays(other) == arrays(local)
    assert encoded(tmp_path) <= once + 1024
    assert not ray.is_initialized()


@pytest.mark.slow
def test_what_fails_on_a_worker_comes_back_and_stops_what_needs_it_alone(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("ray", reason="the 'ray' extra is not installed")
    monkeypatch.setenv("HARNESS_TEST", "fail")
    plan = plan_of(suite, Store(tmp_path / "store"))
    with (
        closing(Cluster(Wanted("ray", 2), plan, say=lambda _: None)) as cluster,
        pytest.raises(StagesFailedError, match="no such luck"),
    ):
        execute(plan, progress=Silent(), run=cluster.run)
    left = {stage.label for stage, _ in plan.left()}
    assert "encode documents of small with own" in left
    assert "encode documents of small with bert" not in left


HARNESS = Path(sys.executable).parent / "harness"
KILLS = 10
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Give what starts `harness run` with results of its own; it is killed where the test fails."""
    pytest.importorskip("ray", reason="the 'ray' extra is not installed")
    with ExitStack() as started:

        def run(
            suite: Path, place: Path, *, store: str | None = None, on: str | None = "ray"
        ) -> subprocess.Popen[str]:
            """Run on two workers of a cluster, or in one process."""
            where = ["--store", store or str(place / "store"), "--results", str(place / "results")]
            more = ["--on", on, "--workers", "2"] if on else []
            process = subprocess.Popen(
                [str(HARNESS), "run", str(suite), "--offline", *where, *more],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            started.enter_context(process)
            started.callback(process.kill)
            return process

        yield run


def ended(process: subprocess.Popen[str]) -> str:
    """Wait until a run ends well, and return what it said."""
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said


def workers_of(
    process: subprocess.Popen[str], parent: psutil.Process | None = None
) -> list[psutil.Process]:
    """Wait until the workers of a run are there, below another process than its own or it."""
    while process.poll() is None:
        found = []
        for each in (parent or psutil.Process(process.pid)).children(recursive=True):
            with suppress(psutil.Error):
                if "".join(each.cmdline()).startswith("ray::Worker"):
                    found.append(each)
        if len(found) == 2:
            return found
        time.sleep(0.05)
    raise AssertionError(ended(process))


def left_running(family: list[psutil.Process], *, seconds: float = 30) -> list[psutil.Process]:
    """Return which processes still run after some seconds."""
    return psutil.wait_procs(family, timeout=seconds)[1]


@pytest.mark.slow
def test_ten_workers_killed_at_random_moments_change_no_byte_and_cost_a_shard_each(
    suite: Path, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HARNESS_TEST", "slow")
    ended(start(suite, tmp_path / "local", on=None))
    once = encoded(tmp_path)
    moments = random.Random(7)
    for number in range(KILLS):
        (tmp_path / "seen.txt").unlink()
        process = start(suite, tmp_path / f"killed{number}")
        workers = workers_of(process)
        time.sleep(moments.uniform(0, 10))
        moments.choice(workers).send_signal(signal.SIGKILL)
        ended(process)
        assert outcome(tmp_path / f"killed{number}") == outcome(tmp_path / "local")
        assert encoded(tmp_path) <= once + SHARD_MAX


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_ends_leaves_nothing_running_and_goes_on_from_the_store(
    suite: Path,
    tmp_path: Path,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    how: signal.Signals,
):
    monkeypatch.setenv("HARNESS_TEST", "slow")
    ended(start(suite, tmp_path / "local", on=None))
    once = encoded(tmp_path)
    (tmp_path / "seen.txt").unlink()
    process = start(suite, tmp_path / "stopped")
    workers = workers_of(process)
    while not (tmp_path / "seen.txt").exists():
        time.sleep(0.05)
    time.sleep(2)
    # Ray's own agents end a minute or more after a driver that could not end them.
    all_of_it = psutil.Process(process.pid).children(recursive=True)
    family = workers if how == signal.SIGKILL else all_of_it
    process.send_signal(how)
    said, _ = process.communicate(timeout=60)
    assert left_running(family) == []
    store = Store(tmp_path / "stopped" / "store")
    with store.discarding():  # no lease is held
        pass
    if how != signal.SIGKILL:
        assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[how]
        assert said.endswith("Finished stages are stored; rerun the command to resume.\n")
    assert encoded(tmp_path) < once
    ended(start(suite, tmp_path / "stopped"))
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "local")
    assert encoded(tmp_path) <= once + 2 * SHARD_MAX  # what both workers had in hand


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 4])
def test_a_driver_that_ends_while_ray_starts_leaves_nothing_running(
    suite: Path, tmp_path: Path, start: Start, seconds: float
):
    process = start(suite, tmp_path)
    assert process.stdout is not None
    while "Starting the workers" not in process.stdout.readline():
        assert process.poll() is None
    time.sleep(seconds)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 143, said
    assert said.endswith("Finished stages are stored; rerun the command to resume.\n")
    assert left_running(family) == []
    assert list((tmp_path / "store" / "staging").glob("*")) == []


@pytest.mark.slow
def test_ray_over_a_store_at_s3_gives_the_results_of_one_machine(
    suite: Path, tmp_path: Path, start: Start, s3: str
):
    ended(start(suite, tmp_path / "local", on=None))
    url = f"{s3}/{tmp_path.name}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
        ended(start(suite, tmp_path / "ray", store=url))
        assert outcome(tmp_path / "ray") == outcome(tmp_path / "local")
        patch.setenv("HARNESS_CACHE", str(tmp_path / "other"))
        said = ended(start(suite, tmp_path / "again", store=url, on=None))
        assert "cached: nothing to encode, train or score" in said
        assert outcome(tmp_path / "again") == outcome(tmp_path / "local")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """Give the address of a cluster that others have started, for clients of Ray."""
    pytest.importorskip("ray", reason="the 'ray' extra is not installed")
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        port, gate = (each.getsockname()[1] for each in (one, other))
    asked = ["--port", port, "--ray-client-server-port", gate, "--num-cpus", 2]
    log = (tmp_path / "cluster.log").open("w")
    head = subprocess.Popen(
        [str(HARNESS.with_name("ray")), "start", "--head", "--block", *map(str, asked)],
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "HARNESS_TEST": "slow"},
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    with log, head:
        try:
            yield f"ray://127.0.0.1:{gate}"
        finally:
            family = psutil.Process(head.pid).children(recursive=True)
            head.terminate()
            for each in left_running(family):
                each.kill()


@pytest.mark.slow
def test_a_cluster_at_an_address_gives_the_results_of_one_machine_and_keeps_no_worker(
    suite: Path, tmp_path: Path, start: Start, cluster: str
):
    ended(start(suite, tmp_path / "local", on=None))
    (tmp_path / "seen.txt").unlink()
    process = start(suite, tmp_path / "ray", on=cluster)
    workers = workers_of(process, psutil.Process())
    while not (tmp_path / "seen.txt").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert left_running(workers) == []
    assert "2 workers, each on cpu." in ended(start(suite, tmp_path / "ray", on=cluster))
    assert outcome(tmp_path / "ray") == outcome(tmp_path / "local")
