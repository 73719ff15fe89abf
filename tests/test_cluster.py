"""The stages of a plan on workers: in parts, in any order, with kills, the same bytes."""

from __future__ import annotations

import os
import pickle
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import plan_of, run_suite, sentences, write_beir, write_suite

from harness.cluster import parts, pool
from harness.cluster.forecast import shares_of
from harness.cluster.parts import EncodeShards, divide, join_parts, leaves, merge
from harness.cluster.pool import Cluster, Wanted
from harness.cluster.worker import PartOutcome, Worker, signature
from harness.errors import ExitCode, HarnessError
from harness.plan.execute import StagesFailedError, execute
from harness.retrieval.encoding import Encode
from harness.runs.run import Run, rank
from harness.stage import Context, Silent, Stage
from harness.store import Store

TEXTS = sentences(2500, seed=3, words=8)
# An encoder that counts what it is given.
CODE = """
import os
import zlib
from pathlib import Path
import numpy as np


class Encoder:
    def encode(self, texts):
        if "fail" in os.environ.get("HARNESS_TEST", "") and len(texts) > 100:
            raise ZeroDivisionError("no such luck")
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
    kinds = {"embeddings", "pair-scores", "runs", "scorecards"}
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
        made = divide(stage, context.store, workers=3).parts
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
    shares = {share.label: share for share in shares_of(plan, workers=3)}
    assert shares["encode documents of small with bert"].parts > 3
    assert shares["encode documents of small with bert"].bytes == 2500 * (4 * 16 + 16)
    execute(plan, progress=Silent(), run=shuffled(5))
    assert arrays(other) == arrays(local)
    assert not list(other.names("partial-runs"))
    assert plan_of(suite, other).left() == []


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


def test_what_is_no_cluster_is_refused():
    with pytest.raises(HarnessError, match="--on spark: is no cluster"):
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
