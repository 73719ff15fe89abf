"""What is stored: read again, resumed after a kill, and reused where few texts have changed."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from encoding import MINILM, STATIC, cosines, encode, encode_afresh, encode_stage, stdlib
from ratio import Limit, Row, Took, in_child, race, timed

from harness.models.weights import find_weights
from harness.stage import Context
from harness.store import Store

STORED, KILLED, KILLS = 100_000, 5_000, 20


def numbered_texts(count: int, words: int) -> list[str]:
    """Return distinct texts of some words each."""
    found = " ".join(stdlib().documents).split()
    generator = np.random.default_rng(0)
    starts = generator.integers(0, len(found) - words, count).tolist()
    return [f"{row} " + " ".join(found[at : at + words]) for row, at in enumerate(starts)]


def warm() -> Iterator[Row]:
    """C10: vectors read again by another process."""
    with tempfile.TemporaryDirectory() as folder:
        store, cache = Path(folder) / "store", Path(folder) / "cache"
        texts = numbered_texts(STORED, 12)
        stored = encode(Context(Store(store)), find_weights(STATIC), texts)
        _by_mteb(cache, texts, stored)
        yield race(
            f"read {STORED:,} x {stored.shape[1]} stored vectors by their texts, in a new process, "
            "imports left out",
            "mteb's CachedEmbeddingWrapper",
            ours=lambda: in_child(read_stored, store, environment=os.environ),
            peer=lambda: in_child(read_by_mteb, cache, environment=os.environ),
            same=lambda a, b: bool(np.allclose(a, b, rtol=1e-4, atol=1e-3)),
            target=10.0,
            rounds=3,
        )


def read_stored(folder: str) -> Took:
    """Read the vectors of all texts from the store of an earlier process."""
    texts, weights = numbered_texts(STORED, 12), find_weights(STATIC)

    def read() -> np.ndarray:
        stage = encode_stage(weights, texts)
        return stage.embeddings(Store(Path(folder)), normalised=False).block(0, len(texts))

    return _summed(read)


def read_by_mteb(folder: str) -> Took:
    """Read them from mteb's cache."""
    texts = numbered_texts(STORED, 12)
    return _summed(lambda: _by_mteb(Path(folder), texts, None))


def _summed(read: Callable[[], np.ndarray]) -> Took:
    """Return the sums of the columns, of which a position counts."""
    took = timed(read)
    places = np.linspace(1, 2, len(took.found))
    return took._replace(found=(places @ took.found.astype(np.float64)).tolist())


def _by_mteb(folder: Path, texts: list[str], vectors: np.ndarray | None) -> Any:
    """Encode texts with a model that gives these vectors, by way of mteb's cache."""
    from datasets import Dataset
    from mteb.models.cache_wrappers import CachedEmbeddingWrapper
    from torch.utils.data import DataLoader

    from suites import task_metadata

    class Given:
        mteb_model_meta = None

        def encode(self, *_: Any, **__: Any) -> np.ndarray:
            if vectors is None:
                raise LookupError("not in the cache")
            return vectors

    model = CachedEmbeddingWrapper(Given(), folder)
    loader = DataLoader(Dataset.from_dict({"text": texts}))
    return timed(
        lambda: model.encode(
            loader, task_metadata=task_metadata("Made"), hf_split="test", hf_subset="default"
        )
    ).found


class Counting:
    """Progress that counts what is done where another process sees it."""

    def __init__(self, done: Any) -> None:
        self._done = done

    @contextmanager
    def task(self, label: str, *, total: int, unit: str) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        """Open a task."""

        def advance(count: int) -> None:
            self._done.value += count

        yield advance


def killed() -> Iterator[Row]:
    """C11: kill -9 at random moments, and what is lost."""
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["storing", "torch", "sentence_transformers"])
    texts, weights = numbered_texts(KILLED, 60), find_weights(STATIC)
    shards = encode_stage(weights, texts).texts.shards
    starts = np.cumsum([0, *(len(shard.texts) for shard in shards[:-1])])
    generator = np.random.default_rng(0)
    lost, wrong = [], 0
    with tempfile.TemporaryDirectory() as folder:
        context = Context(Store(Path(folder) / "whole"))
        whole = encode(context, weights, texts)
        lasted = _encoding(processes, Path(folder) / "timed", None)[1]
        for number in range(KILLS):
            store = Store(Path(folder) / f"{number}")
            moment = float(generator.uniform(0.05, 0.95)) * lasted
            done, _ = _encoding(processes, store.root, moment)
            begun = int((starts < done).sum())
            lost.append(begun - len(shards) + len(encode_stage(weights, texts).missing(store)))
            context.store = store
            wrong += int((encode(context, weights, texts) != whole).any(axis=1).sum())
    yield Row(
        f"kill -9 at {KILLS} random moments of encoding {len(texts):,} texts, static, in "
        f"{len(shards)} shards, then resume",
        "none timed (mteb's cache is saved once, at the end of a call)",
        seconds=[lasted],
        limits=(
            Limit(max(lost), 1, "shards begun and lost"),
            Limit(wrong, 0, "wrong vectors"),
        ),
    )


def _encoding(processes: Any, folder: Path, moment: float | None) -> tuple[int, float]:
    """Encode in a process that is killed after some seconds; None lets it end.

    Returns:
        the texts that it had encoded, and its seconds.
    """
    begun, done = processes.Event(), processes.Value("q", 0, lock=False)
    process = processes.Process(target=encode_in_child, args=(folder, begun, done))
    process.start()
    begun.wait()
    started = time.perf_counter()
    process.join(moment)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    elif process.exitcode:
        sys.exit(f"a process that encodes has failed with {process.exitcode}")
    return done.value, time.perf_counter() - started


def encode_in_child(folder: Path, begun: Any, done: Any) -> None:
    """Encode the texts into a store, once all is loaded."""
    stage = encode_stage(find_weights(STATIC), numbered_texts(KILLED, 60))
    context = Context(Store(folder), progress=Counting(done))
    stage.load(context)
    stage.missing(context.store)
    begun.set()
    stage.run(context)


def changed() -> Iterator[Row]:
    """C15: one text in a hundred has changed."""
    yield _changed(STATIC, 10_000, "static")
    yield _changed(MINILM, 500, "MiniLM")


def _changed(reference: str, count: int, name: str) -> Row:
    weights, texts = find_weights(reference), numbered_texts(count, 60)
    versions = (_with_changes(texts, number) for number in itertools.count())
    current = texts
    with tempfile.TemporaryDirectory() as folder:
        known, fresh = Context(Store(Path(folder))), Context(Store(Path(folder)))
        encode(known, weights, texts)
        encode_stage(weights, texts).load(fresh)

        def ours() -> Took:
            nonlocal current
            current = next(versions)
            return timed(lambda: encode(known, weights, current))

        return race(
            f"encode {count:,} texts (of 100,000), {name}, {count // 100} of them changed",
            "ours, all into an empty store",
            ours=ours,
            peer=lambda: encode_afresh(fresh, weights, current),
            same=lambda a, b: cosines(a, b).min() >= 0.99999,
            target=80.0,
            rounds=3,
        )


def _with_changes(texts: list[str], number: int) -> list[str]:
    """Return the texts with one word more in every hundredth."""
    return [
        f"{text} changed{number}" if row % 100 == number % 100 else text
        for row, text in enumerate(texts)
    ]
