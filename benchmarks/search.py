"""Exact search with a settled order against FAISS's flat index and mteb's chunks."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from ratio import Limit, Row, Took, in_child, race, timed

from harness.retrieval.embeddings import Embeddings, unit_length
from harness.retrieval.prefix_search import search_prefixes
from harness.retrieval.search import search

WIDTHS = (64, 128, 256, 512, 768)
MEMORY = "64MB"  # that a search from disk may hold


def vectors(rows: int, width: int, *, seed: int = 0) -> np.ndarray:
    """Return random vectors of unit length, float32 [rows, width]."""
    generator = np.random.default_rng(seed)
    return unit_length(generator.standard_normal((rows, width), dtype=np.float32))


def embeddings(array: np.ndarray, *, normalised: bool = True) -> Embeddings:
    """Return an array as the vectors of as many texts."""
    return Embeddings([array], np.arange(len(array)), array.shape[1], normalised=normalised)


def sets_agree(some: np.ndarray, others: np.ndarray) -> bool:
    """Return whether the documents of all queries are the same but for a float32 tie in 1,000."""
    differing = sum(len(set(a) - set(b)) for a, b in zip(some, others, strict=True))
    return differing <= some.size / 1000


def one_width() -> Iterator[Row]:
    """C3: one width, cosine."""
    stored, asked = vectors(100_000, 768), vectors(1_000, 768, seed=1)
    documents, queries = embeddings(stored), embeddings(asked)
    for depth in (100, 1_000):
        ours = partial(_documents, documents, queries, depth)
        for name, peer, target in (
            ("faiss.normalize_L2, then IndexFlatIP.add and search", _by_faiss, 0.9),
            ("mteb's chunked_full_corpus_search, unit vectors given", mteb_search, 1.5),
        ):
            yield race(
                f"search 100,000 x 768 by cosine, 1,000 queries, k = {depth:,}, settled",
                name,
                ours=ours,
                peer=partial(peer, stored, asked, depth),
                same=sets_agree,
                target=target,
                rounds=3,
            )


def _by_faiss(stored: np.ndarray, asked: np.ndarray, depth: int) -> np.ndarray:
    import faiss

    scaled = [np.array(side, order="C") for side in (stored, asked)]
    for side in scaled:
        faiss.normalize_L2(side)
    index = faiss.IndexFlatIP(stored.shape[1])
    index.add(scaled[0])
    return index.search(scaled[1], depth)[1]


def _documents(documents: Embeddings, queries: Embeddings, depth: int) -> np.ndarray:
    return search(documents, queries, depth=depth).documents


def mteb_search(stored: np.ndarray, asked: np.ndarray, depth: int) -> np.ndarray:
    """Return the documents that mteb finds by chunks of 50,000, given the vectors.

    That it reads and arranges the texts, which takes longer than the search, is left out.

    Returns:
        int64 [n_queries, depth], best first.
    """
    import torch
    from datasets import Dataset
    from mteb.models import search_wrappers

    from suites import task_metadata

    corpus = Dataset.from_dict({"id": [f"{row}" for row in range(len(stored))]})
    starts = iter(range(0, len(stored), 50_000))

    def encode(*_: Any, **__: Any) -> torch.Tensor:
        start = next(starts)
        return torch.from_numpy(np.array(stored[start : start + 50_000]))

    with mock.patch.object(search_wrappers, "create_dataloader"):
        found = search_wrappers.chunked_full_corpus_search(
            task_corpus=corpus,
            corpus_chunk_size=50_000,
            query_idx_to_id={row: f"{row}" for row in range(len(asked))},
            query_embeddings=torch.from_numpy(asked),
            task_metadata=task_metadata("Made"),
            hf_subset="default",
            hf_split="test",
            top_k=depth,
            encode_kwargs={"show_progress_bar": False},
            encode_fn=encode,
            similarity_fn=lambda a, b: a @ b.T,
            search_k_offset=1,
        )
    return np.array(
        [[int(name) for _, name in sorted(heap, reverse=True)] for heap in found.values()]
    )


def five_widths() -> Iterator[Row]:
    """C4: five widths of the same vectors."""
    stored, asked = vectors(100_000, 768), vectors(1_000, 768, seed=1)
    documents, queries = embeddings(stored), embeddings(asked)
    sides = [(documents.truncated(width), queries.truncated(width)) for width in WIDTHS]
    for depth, target in ((100, 4.0), (1_000, 2.5)):
        yield race(
            f"search 100,000 x 768 at widths {', '.join(map(str, WIDTHS))}, 1,000 queries, "
            f"k = {depth:,}, settled",
            "five times the slice, faiss.normalize_L2, IndexFlatIP.add and search",
            ours=partial(_at_widths, sides, depth),
            peer=partial(_faiss_at_widths, stored, asked, depth),
            same=sets_agree,
            target=target,
            rounds=3,
        )


def _at_widths(
    sides: list[tuple[Embeddings, Embeddings]], depth: int, device: str = "cpu"
) -> np.ndarray:
    runs = search_prefixes(sides, depth, None, device=device)
    return np.concatenate([run.documents for run in runs])


def _faiss_at_widths(stored: np.ndarray, asked: np.ndarray, depth: int) -> np.ndarray:
    return np.concatenate([_by_faiss(stored[:, :w], asked[:, :w], depth) for w in WIDTHS])


def from_disk() -> Iterator[Row]:
    """C5: more vectors than a search may hold."""
    rows, width = 349_525, 768
    environment = {**os.environ, "HARNESS_MEMORY": MEMORY}
    peaks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        path = write_vectors(Path(folder) / "vectors.npy", rows, width)

        def ours() -> Took:
            took = in_child(stream, path, environment=environment)
            peaks.append(took.found["peak_mb"])
            return took

        row = race(
            f"search a file of 1.07 GB (of 4 GB), {rows:,} x {width}, 200 queries, k = 100, with "
            f"HARNESS_MEMORY={MEMORY}",
            "mteb's chunked_full_corpus_search, vectors given",
            ours=ours,
            peer=lambda: in_child(stream_by_mteb, path, environment=environment),
            same=lambda a, b: sets_agree(np.array(a["documents"]), np.array(b["documents"])),
            target=2.0,
            rounds=3,
        )
    limit = Limit(
        max(peaks),
        256,
        "MB beyond the libraries', the file's mapped pages included (1,024 for 4 GB)",
    )
    yield Row(row.workload, row.peer, row.seconds, row.ratios, row.cpu_ratios, 2.0, (limit,))


def write_vectors(path: Path, rows: int, width: int) -> Path:
    """Write random vectors of unit length, block by block."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, width))
    for start in range(0, rows, 50_000):
        stop = min(start + 50_000, rows)
        array[start:stop] = vectors(stop - start, width, seed=start + 2)
    array.flush()
    return path


def stream(path: str) -> Took:
    """Search a file of vectors, in a process of its own."""
    return _measured(path, lambda stored, asked: _documents(stored, asked, 100))


def stream_by_mteb(path: str) -> Took:
    """Search a file of vectors as mteb does."""
    import torch  # noqa: F401 the libraries are loaded before memory is measured
    from mteb.models import search_wrappers  # noqa: F401

    def by_mteb(stored: Embeddings, asked: Embeddings) -> np.ndarray:
        return mteb_search(stored.shards[0], asked.shards[0], 100)

    return _measured(path, by_mteb)


def _measured(path: str, find: Callable[[Embeddings, Embeddings], np.ndarray]) -> Took:
    """Return the documents found, and the peak of memory beyond what the libraries take."""
    some = embeddings(vectors(2_000, 768))
    find(some, embeddings(vectors(200, 768, seed=1)))  # loads the libraries
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", "utf-8")  # the peak starts anew
    stored = np.load(path, mmap_mode="r")
    asked = vectors(200, 768, seed=1)
    took = timed(lambda: find(embeddings(stored, normalised=False), embeddings(asked)).tolist())
    peak = _memory("VmHWM") - before
    return took._replace(found={"documents": took.found, "peak_mb": peak})


def _memory(name: str) -> float:
    """Return a size of /proc/self/status in MB."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def on_gpu(device: str = "cuda", rows: int = 1_000_000, count: int = 2_000) -> Iterator[Row]:
    """G5: one width, from main memory and on the GPU already."""
    from harness.retrieval.device_search import search_on, upload

    stored, asked = vectors(rows, 768), vectors(count, 768, seed=1)
    documents, queries = embeddings(stored, normalised=False), embeddings(asked, normalised=False)
    resident = upload(documents, device)
    peer_name, peer = _gpu_peer(device)
    for depth in (100, 1_000):
        workload = f"search {rows:,} x 768 (of 10 M), {count:,} queries, k = {depth:,}, settled"
        yield race(
            f"{workload}, from main memory",
            peer_name,
            ours=lambda d=depth: search(documents, queries, depth=d, device=device).documents,
            peer=partial(peer, stored, asked, depth),
            same=sets_agree,
            target=1.0,
            rounds=3,
        )
        if resident is None:
            continue
        yield race(
            f"{workload}, vectors on the GPU",
            f"{peer_name}, from main memory",
            ours=lambda d=depth: (
                search_on(
                    device, documents, queries, depth=d, forbidden=None, resident=resident
                ).documents
            ),
            peer=partial(peer, stored, asked, depth),
            same=sets_agree,
            target=3.0,
            rounds=3,
        )


def widths_on_gpu(device: str = "cuda", rows: int = 1_000_000) -> Iterator[Row]:
    """G6: five widths of the same vectors."""
    stored, asked = vectors(rows, 768), vectors(2_000, 768, seed=1)
    documents, queries = embeddings(stored), embeddings(asked)
    sides = [(documents.truncated(width), queries.truncated(width)) for width in WIDTHS]
    peer_name, peer = _gpu_peer(device)

    def five() -> np.ndarray:
        return np.concatenate(
            [
                peer(unit_length(stored[:, :width]), unit_length(asked[:, :width]), 100)
                for width in WIDTHS
            ]
        )

    yield race(
        f"search {rows:,} x 768 (of 10 M) at five widths, 2,000 queries, k = 100, settled",
        f"five times {peer_name}, truncating included",
        ours=partial(_at_widths, sides, 100, device=device),
        peer=five,
        same=sets_agree,
        target=2.0,
        rounds=2,
    )


def from_disk_on_gpu(device: str = "cuda", rows: int = 2_700_000) -> Iterator[Row]:
    """G7: vectors that are read from disk for every search."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_vectors(Path(folder) / "vectors.npy", rows, 384)
        stored = np.load(path, mmap_mode="r")
        asked = embeddings(vectors(1_000, 384, seed=1), normalised=False)
        documents = embeddings(stored, normalised=False)
        size = path.stat().st_size / 1e9

        def ours() -> Took:
            _forget(path)
            return timed(lambda: search(documents, asked, depth=100, device=device).documents)

        def read() -> Took:
            _forget(path)
            return timed(lambda: _read(path))

        yield race(
            f"search a file of {size:.1f} GB (of 154 GB), {rows:,} x 384, 1,000 queries, k = 100, "
            "not in the page cache",
            "reading the file, one thread",
            ours=ours,
            peer=read,
            same=lambda found, _: found.shape == (1_000, 100),
            target=0.7,
            rounds=2,
        )


def _forget(path: Path) -> None:
    """Drop a file from the page cache."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _read(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        block = bytearray(2**24)
        while file.readinto(block):
            pass


def _gpu_peer(device: str) -> tuple[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]]:
    """Return FAISS on a GPU where it runs, else torch."""
    import torch

    try:
        import faiss

        if faiss.get_num_gpus() > 0:
            resources = faiss.StandardGpuResources()

            def by_faiss(stored: np.ndarray, asked: np.ndarray, depth: int) -> np.ndarray:
                inner = faiss.METRIC_INNER_PRODUCT
                return faiss.knn_gpu(resources, asked, stored, depth, metric=inner)[1]

            return "faiss.knn_gpu", by_faiss
    except (ImportError, RuntimeError):
        pass
    torch.backends.cuda.matmul.allow_tf32 = False

    def by_torch(stored: np.ndarray, asked: np.ndarray, depth: int) -> np.ndarray:
        queries = torch.from_numpy(asked).to(device)
        parts = []
        for start in range(0, len(stored), 131_072):
            block = torch.from_numpy(stored[start : start + 131_072]).to(device)
            top = torch.topk(queries @ block.T, min(depth, len(block)))
            parts.append((top.values, top.indices + start))
        values, rows = (torch.cat(each, 1) for each in zip(*parts, strict=True))
        return rows.gather(1, torch.topk(values, depth).indices).cpu().numpy()

    return "torch float32, products and topk by blocks (no FAISS on this GPU)", by_torch
