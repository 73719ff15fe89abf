from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.retrieval.embeddings import Embeddings, unit_length

Array = npt.NDArray[Any]


def embeddings(vectors: Array, *cuts: int, places: list[int] | None = None) -> Embeddings:
    """Return vectors cut into shards, of which `places` names the rows."""
    rows = np.arange(len(vectors)) if places is None else np.array(places, dtype=np.int64)
    return Embeddings(np.split(vectors, cuts), rows, width=vectors.shape[1], normalised=False)


def draw(*shape: int) -> Array:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@given(
    cuts=st.lists(st.integers(0, 20), max_size=4).map(sorted),
    places=st.lists(st.integers(0, 19), min_size=1, max_size=40),
    data=st.data(),
)
def test_rows_are_those_of_the_shards_in_one_piece(
    cuts: list[int], places: list[int], data: st.DataObject
):
    vectors = draw(20, 3)
    stored = embeddings(vectors, *cuts, places=places)
    assert len(stored) == len(places)
    rows = np.array(data.draw(st.lists(st.integers(0, len(places) - 1))), dtype=np.int64)
    assert stored.take(rows).tolist() == vectors[np.array(places)[rows]].tolist()
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(places))] * 2)))
    assert stored.block(start, stop).tolist() == vectors[places[start:stop]].tolist()


def test_rows_of_the_same_text_share_one_vector():
    stored = embeddings(draw(2, 3), places=[1, 0, 1, 1])
    block = stored.block(0, 4)
    assert (block[[0, 2, 3]] == draw(2, 3)[1]).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_vectors_are_read_as_float32(dtype: type):
    block = embeddings(draw(5, 3).astype(dtype), 2).block(0, 5)
    assert block.dtype == np.float32
    assert np.allclose(block, draw(5, 3), atol=2e-3)


def test_vectors_may_lie_in_files(tmp_path: Path):
    np.save(tmp_path / "a.npy", draw(6, 3))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    stored = Embeddings([mapped], np.arange(6), width=3, normalised=False)
    block = stored.block(1, 4)
    assert (block == draw(6, 3)[1:4]).all()
    block[:] = 0  # what is read is a copy
    assert (stored.block(1, 4) == draw(6, 3)[1:4]).all()


def test_a_truncation_is_the_slice_and_then_scaled_to_unit_length():
    stored = embeddings(draw(30, 8), 7, 19)
    cut = stored.truncated(3).block(0, 30)
    wanted = draw(30, 8)[:, :3].astype(np.float64)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    assert cut.shape == (30, 3)
    assert np.allclose(cut, wanted, atol=1e-7)
    assert not np.allclose(cut, unit_length(draw(30, 8))[:, :3], atol=1e-3)


def test_a_truncation_of_a_truncation_is_the_narrower_one():
    stored = embeddings(draw(9, 8))
    twice = stored.truncated(6).truncated(2).block(0, 9)
    assert twice.tobytes() == stored.truncated(2).block(0, 9).tobytes()


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(1, 6)),
        elements=st.floats(-(2.0**50), 2.0**50, width=32),
    )
)
def test_unit_length_is_reached_from_any_length_but_zero(vectors: Array):
    scaled = unit_length(vectors)
    assert scaled.dtype == np.float32
    zero = (vectors == 0).all(axis=1)
    assert (scaled[zero] == 0).all()
    large = np.abs(vectors).max(axis=1) > 1e-15
    assert np.allclose(np.linalg.norm(scaled[large], axis=1), 1, atol=1e-5)
    assert np.isfinite(scaled).all()


def test_a_row_is_scaled_to_the_same_bits_in_any_block():
    stored = embeddings(draw(50, 33)).truncated(31)
    whole = stored.block(0, 50)
    for row in range(50):
        assert stored.block(row, row + 1).tobytes() == whole[row].tobytes()
