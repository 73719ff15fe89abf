from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.retrieval.device_search import search_on, sum_as_numpy, upload
from harness.retrieval.embeddings import Embeddings, unit_length
from harness.retrieval.engine import best_engine, engine_package
from harness.retrieval.kernels import keep_best
from harness.retrieval.prefix_search import search_prefixes
from harness.retrieval.search import score_pairs, search
from harness.runs.run import Run

Array = npt.NDArray[Any]
BLOCKS = (1, 7, 64, 10_000)


def embeddings(vectors: Array, *, normalised: bool = False) -> Embeddings:
    places = np.arange(len(vectors), dtype=np.int64)
    shards = [vectors.astype(np.float32)]
    return Embeddings(shards, places, width=vectors.shape[1], normalised=normalised)


def brute_force(
    documents: Embeddings, queries: Embeddings, *, depth: int, forbidden: Array | None = None
) -> Run:
    """Return the ranking by the definition: every inner product, one sort, ties by larger row."""
    vectors = documents.block(0, len(documents)).astype(np.float64)
    depth = min(depth, len(vectors))
    rows = np.full((len(queries), depth), -1, dtype=np.int32)
    scores = np.zeros((len(queries), depth), dtype=np.float32)
    for number, query in enumerate(queries.block(0, len(queries)).astype(np.float64)):
        exact = (vectors * query).sum(axis=1).astype(np.float32)
        order = [
            row
            for row in sorted(range(len(vectors)), key=lambda row: (-exact[row], -row))
            if forbidden is None or row != forbidden[number]
        ][:depth]
        rows[number, : len(order)] = order
        scores[number, : len(order)] = exact[order]
    return Run(rows, scores)


def same(one: Run, other: Run) -> bool:
    """Tell whether two runs are equal bit for bit."""
    scores = (one.scores + np.float32(0), other.scores + np.float32(0))  # -0.0 is written as 0.0
    return (
        one.documents.tobytes() == other.documents.tobytes()
        and scores[0].tobytes() == scores[1].tobytes()
    )


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def tied(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(-1, 2, size=shape)


def duplicated() -> Array:
    """Return 500 copies of one good vector among others, so that they cross the border."""
    vectors = draw(540, 8, seed=5)
    vectors[20:520] = np.abs(vectors[0])
    return vectors


def near_tied() -> Array:
    """Return vectors that differ by about the precision of float32."""
    return draw(12, seed=6)[None] + 1e-7 * draw(120, 12, seed=7)


def of_many_lengths(low: float, high: float) -> Array:
    exponents = np.random.default_rng(8).uniform(low, high, size=(120, 1))
    return draw(120, 12, seed=9) * 10**exponents


CASES: dict[str, tuple[Array, Array, bool]] = {
    "random": (draw(120, 12), draw(5, 12, seed=1), True),
    "one dimension": (draw(120, 1), draw(5, 1, seed=1), True),
    "tied": (tied(120, 4), tied(6, 4, seed=1), False),
    "duplicated": (duplicated(), np.abs(draw(3, 8, seed=1)), True),
    "all the same": (np.ones((120, 3)), draw(3, 3), True),
    "zero documents": (np.vstack([np.zeros((80, 6)), draw(40, 6)]), draw(4, 6, seed=1), True),
    "zero queries": (draw(120, 6), np.zeros((2, 6)), True),
    "near-tied": (near_tied(), draw(4, 12, seed=1), True),
    "lengths that vary": (of_many_lengths(-3, 3), draw(4, 12, seed=1), False),
    "tiny lengths": (of_many_lengths(-22, -18), 1e-20 * draw(4, 12, seed=1), False),
    "large lengths": (of_many_lengths(15, 18), 1e15 * draw(4, 12, seed=1), False),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("depth", [1, 10, 5000])
def test_the_run_is_that_of_brute_force_whatever_the_block_size(case: str, depth: int):
    documents, queries = (embeddings(side, normalised=CASES[case][2]) for side in CASES[case][:2])
    wanted = brute_force(documents, queries, depth=depth)
    for block_rows in BLOCKS:
        found = search(documents, queries, depth=depth, block_rows=block_rows)
        assert same(found, wanted), block_rows


vectors = st.integers(1, 5).flatmap(
    lambda width: st.tuples(
        *(
            hnp.arrays(
                np.float32,
                st.tuples(st.integers(1, rows), st.just(width)),
                elements=st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0]) | st.floats(-9, 9, width=16),
            )
            for rows in (60, 4)
        )
    )
)


@settings(max_examples=150, deadline=None)
@given(
    sides=vectors,
    depth=st.integers(1, 70),
    block_rows=st.integers(1, 70),
    normalised=st.booleans(),
    data=st.data(),
)
def test_any_vectors_are_ranked_as_by_brute_force(
    *,
    sides: tuple[Array, Array],
    depth: int,
    block_rows: int,
    normalised: bool,
    data: st.DataObject,
):
    documents, queries = (embeddings(side, normalised=normalised) for side in sides)
    rows = st.integers(-1, len(documents) - 1)
    forbidden = np.array([data.draw(rows) for _ in range(len(queries))], dtype=np.int32)
    wanted = brute_force(documents, queries, depth=depth, forbidden=forbidden)
    found = search(
        documents,
        queries,
        depth=depth,
        forbidden=forbidden,
        block_rows=block_rows,
    )
    assert same(found, wanted)


def test_a_forbidden_row_is_removed_before_the_cut():
    documents = embeddings(np.eye(5) * [[5], [4], [3], [2], [1]])
    queries = embeddings(np.ones((2, 5)))
    forbidden = np.array([0, -1], dtype=np.int32)
    run = search(documents, queries, depth=3, forbidden=forbidden)
    assert run.documents.tolist() == [[1, 2, 3], [0, 1, 2]]


def test_a_list_without_its_forbidden_row_is_short_where_all_documents_are_asked_for():
    forbidden = np.array([1], dtype=np.int32)
    run = search(embeddings(np.eye(3)), embeddings(np.ones((1, 3))), depth=9, forbidden=forbidden)
    assert run.documents.tolist() == [[2, 0, -1]]
    assert run.scores.tolist() == [[1, 1, 0]]


def test_ties_go_to_the_larger_row_even_where_hundreds_tie_at_the_border():
    documents = embeddings(np.ones((1000, 4)), normalised=True)
    run = search(documents, embeddings(np.ones((1, 4)), normalised=True), depth=10)
    assert run.documents.tolist() == [list(range(999, 989, -1))]


def test_the_order_of_queries_changes_nothing():
    documents, queries = embeddings(draw(300, 8)), draw(20, 8, seed=1)
    whole = search(documents, embeddings(queries), depth=10)
    for number in range(20):
        alone = search(documents, embeddings(queries[number : number + 1]), depth=10)
        assert alone.documents.tobytes() == whole.documents[number].tobytes()
        assert alone.scores.tobytes() == whole.scores[number].tobytes()


def test_a_truncation_searches_the_slice_scaled_to_unit_length():
    documents, queries = draw(200, 16), draw(5, 16, seed=1)
    run = search(embeddings(documents).truncated(4), embeddings(queries).truncated(4), depth=20)
    cut = [unit_length(side[:, :4].astype(np.float32)) for side in (documents, queries)]
    wanted = brute_force(embeddings(cut[0]), embeddings(cut[1]), depth=20)
    assert same(run, wanted)


def test_no_queries_make_an_empty_run():
    run = search(embeddings(draw(5, 3)), embeddings(np.empty((0, 3))), depth=2)
    assert run.documents.shape == run.scores.shape == (0, 2)


def test_a_pair_has_the_same_bits_in_any_company(monkeypatch: pytest.MonkeyPatch):
    documents, queries = embeddings(draw(300, 33)), draw(7, 33, seed=1).astype(np.float32)
    rows = np.random.default_rng(2).integers(0, 300, size=(7, 50)).astype(np.int32)
    whole = score_pairs(documents, queries, rows)
    for settle_bytes in (1, 8 * 33 * 20, 8 * 33 * 120):
        monkeypatch.setattr("harness.retrieval.search._SETTLE_BYTES", settle_bytes)
        assert score_pairs(documents, queries, rows).tobytes() == whole.tobytes()
    for query, column in ((0, 0), (3, 17), (6, 49)):
        row = rows[query : query + 1, column : column + 1]
        alone = score_pairs(documents, queries[query : query + 1], row)
        assert alone[0, 0] == whole[query, column]


def test_without_an_engine_named_the_best_installed_one_is_taken():
    assert best_engine() in {"faiss-cpu", "faiss-gpu", "torch"}
    assert best_engine().partition("-")[0] == engine_package().partition("-")[0]


@pytest.mark.parametrize("normalised", [True, False])
def test_a_device_gives_the_run_of_the_cpu_to_the_last_bit(
    monkeypatch: pytest.MonkeyPatch, *, normalised: bool
):
    draw = np.random.default_rng(3)
    vectors = draw.normal(size=(900, 33)).astype(np.float32) * (1 if normalised else 200)
    vectors[100:300] = vectors[0]  # more ties than a proposal holds
    vectors[5] = 0
    asked = draw.normal(size=(40, 33)).astype(np.float32)
    asked[0] = vectors[0]
    documents, queries = (embeddings(each, normalised=normalised) for each in (vectors, asked))
    forbidden = np.arange(-1, 39, dtype=np.int32)
    expected = search(documents, queries, depth=50, forbidden=forbidden)
    for rows, memory in ((65_536, 2**30), (100, 1)):  # resident, and part by part
        monkeypatch.setattr("harness.retrieval.device_search._UPLOAD_ROWS", rows)
        monkeypatch.setattr("harness.retrieval.device_search._BYTES_ON_CPU", memory)
        found = search_on("cpu", documents, queries, depth=50, forbidden=forbidden)
        assert same(found, expected)


@pytest.mark.parametrize("width", [*range(1, 20), 127, 128, 129, 300, 384, 768, 1000, 4096])
def test_products_of_pairs_are_summed_to_the_bits_of_numpy(width: int):
    documents, queries = (
        np.random.default_rng(seed).lognormal(size=(9, width)).astype(np.float32) for seed in (1, 2)
    )
    found = score_pairs(embeddings(documents), queries, np.arange(9, dtype=np.int32)[:, None])
    assert (found[:, 0] == (documents.astype(np.float64) * queries).sum(axis=1)).all()


@pytest.mark.parametrize("width", [*range(1, 20), 127, 128, 129, 300, 384, 768, 1000, 1024])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_on_a_device_have_the_bits_of_numpys(width: int, dtype: Any):
    terms = np.random.default_rng(width).lognormal(size=(20, 3, width)).astype(dtype)
    assert (sum_as_numpy(torch.from_numpy(terms)).numpy() == terms.sum(axis=2)).all()


@pytest.mark.parametrize("memory", ["1GB", "1KB"])
@pytest.mark.parametrize("device", ["cpu", "one that is like a GPU"])
def test_several_widths_in_one_pass_are_the_runs_of_each_alone(
    monkeypatch: pytest.MonkeyPatch, memory: str, device: str
):
    monkeypatch.setenv("HARNESS_MEMORY", memory)
    vectors = draw(2500, 96).astype(np.float32)
    vectors[100:300] = vectors[0]  # more ties than a proposal holds
    vectors[7], vectors[8, :16] = 0, 0  # a document without length, and one in a short prefix
    asked = draw(140, 96, seed=1).astype(np.float32)
    asked[0] = vectors[0]
    documents = Embeddings(
        [vectors[:900], vectors[900:]], np.arange(2500)[::-1], 96, normalised=False
    )
    queries = embeddings(asked)
    sides = [(documents.truncated(width), queries.truncated(width)) for width in (16, 33, 96)]
    sides[-1] = (documents, queries)  # by dot product
    forbidden = np.arange(-1, 139, dtype=np.int32)
    expected = [search(*each, depth=20, forbidden=forbidden) for each in sides]
    if device != "cpu":
        monkeypatch.setattr(
            "harness.retrieval.prefix_search.search_on",
            lambda _, *pair, **options: search_on("cpu", *pair, **options),
        )
        monkeypatch.setattr(
            "harness.retrieval.prefix_search.upload", lambda stored, _: upload(stored, "cpu")
        )
    found = search_prefixes(sides, 20, forbidden, device=device)
    assert all(same(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_widths_whose_squares_leave_float32_are_searched_one_by_one(scale: float):
    documents, queries = embeddings(scale * draw(300, 12)), embeddings(draw(4, 12, seed=1))
    sides = [(documents.truncated(width), queries.truncated(width)) for width in (4, 12)]
    found = search_prefixes(sides, 5, None)
    expected = [search(*each, depth=5) for each in sides]
    assert all(same(one, other) for one, other in zip(found, expected, strict=True))


@settings(max_examples=150, deadline=None)
@given(
    scores=hnp.arrays(
        np.float32,
        st.integers(1, 300),
        elements=st.sampled_from([-1.0, 0.0, 0.5]) | st.floats(-9, 9, width=16),
    ),
    data=st.data(),
)
def test_the_best_entries_are_kept_whatever_their_order_and_ties(
    scores: Array, data: st.DataObject
):
    count = data.draw(st.integers(1, len(scores)))
    k = data.draw(st.integers(1, count))
    kept, rows = scores.copy(), np.arange(len(scores), dtype=np.int32)
    least = keep_best(kept, rows, np.empty_like(scores), count, k)
    best = np.sort(scores[:count])[::-1][:k]
    assert (np.sort(kept[:k])[::-1] == best).all()
    assert least == best[-1]
    assert len(set(rows[:k].tolist())) == k
    assert (scores[rows[:k]] == kept[:k]).all()


def test_few_queries_kept_at_a_time_change_nothing(monkeypatch: pytest.MonkeyPatch):
    documents, queries = embeddings(draw(3000, 8)), embeddings(draw(30, 8, seed=1))
    whole = search(documents, queries, depth=40)
    monkeypatch.setattr("harness.retrieval.proposal._KEPT_BYTES", 8 * 7 * 250)
    assert same(search(documents, queries, depth=40), whole)


def test_a_file_of_vectors_is_searched_without_staying_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    np.save(tmp_path / "vectors.npy", draw(500, 8).astype(np.float32))
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    documents, queries = embeddings(mapped), embeddings(draw(3, 8, seed=1))
    whole = search(documents, queries, depth=5)
    documents = Embeddings([mapped], np.arange(500), 8, normalised=False)
    monkeypatch.setenv("HARNESS_MEMORY", "0")
    assert same(search(documents, queries, depth=5, block_rows=60), whole)
    monkeypatch.setenv("HARNESS_MEMORY", "much")
    with pytest.raises(HarnessError, match="got 'much'"):
        search(documents, queries, depth=5)
