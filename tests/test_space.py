from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_vectors

from harness.errors import ExitCode, HarnessError
from harness.space import GivenVectors, Space, width_problems
from harness.store import Store

VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3) + 1
IDS = ("a", "b", "c", "d")


def given_vectors(
    path: Path, vectors: Any = VECTORS, *, ids: tuple[str, ...] = IDS, wanted: tuple[str, ...] = IDS
) -> GivenVectors:
    return GivenVectors(write_vectors(path, vectors, ids), wanted)


def test_vectors_are_read_in_the_order_of_the_collection(tmp_path: Path, store: Store):
    source = given_vectors(tmp_path / "v.npy", wanted=("c", "a"))
    stored = source.embeddings(store, normalised=False)
    assert source.problems() == []
    assert stored.block(0, 2).tolist() == VECTORS[[2, 0]].tolist()


def test_the_key_is_that_of_the_content_wherever_the_files_lie(tmp_path: Path, store: Store):
    (tmp_path / "other").mkdir()
    usual = given_vectors(tmp_path / "v.npy").key(store)
    assert given_vectors(tmp_path / "other" / "w.npy").key(store) == usual
    different = [
        given_vectors(tmp_path / "1.npy", VECTORS + 1),
        given_vectors(tmp_path / "2.npy", ids=("b", "a", "c", "d")),
        given_vectors(tmp_path / "3.npy", wanted=("a", "b")),
    ]
    assert len({usual, *(source.key(store) for source in different)}) == 4


def test_every_problem_of_the_files_is_told(tmp_path: Path):
    absent = GivenVectors(tmp_path / "none.npy", IDS)
    assert absent.problems() == [
        f"{tmp_path}/{name}: no such file. Vectors are <name>.npy beside <name>.ids.txt."
        for name in ("none.npy", "none.ids.txt")
    ]
    broken = given_vectors(tmp_path / "broken.npy")
    broken.path.write_text("no array")
    assert "not a .npy array" in broken.problems()[0]
    cases = {
        "flat": (
            given_vectors(tmp_path / "flat.npy", VECTORS[0]),
            "expected a float array [n, dim]",
        ),
        "ids": (given_vectors(tmp_path / "ids.npy", ids=IDS[:3]), "3 ids for 4 vectors"),
        "nan": (given_vectors(tmp_path / "nan.npy", VECTORS * np.nan), "holds NaN or infinite"),
        "twice": (given_vectors(tmp_path / "twice.npy", ids=("a", *IDS[:3])), "stands twice"),
        "more": (given_vectors(tmp_path / "more.npy", wanted=(*IDS, "e")), "1 of 5 ids"),
    }
    for source, message in cases.values():
        assert any(message in problem for problem in source.problems()), message


def test_whole_numbers_and_pickles_are_no_vectors(tmp_path: Path):
    source = given_vectors(tmp_path / "v.npy")
    np.save(source.path, VECTORS.astype(np.int64))
    assert "expected a float array" in source.problems()[0]
    np.save(source.path, np.array([{"a": 1}] * 4), allow_pickle=True)
    assert "not a .npy array" in source.problems()[0]


def test_both_sides_must_have_the_same_width(tmp_path: Path, store: Store):
    wide = given_vectors(tmp_path / "wide.npy")
    narrow = given_vectors(tmp_path / "narrow.npy", VECTORS[:, :2])
    assert width_problems(wide, wide) == []
    [problem] = width_problems(wide, narrow)
    assert "wide.npy has 3 dimensions" in problem
    assert "narrow.npy 2. Give vectors of one model." in problem
    with pytest.raises(HarnessError, match="documents have 3 dimensions and queries 2") as caught:
        Space(wide, narrow, "cosine").read(store)
    assert caught.value.exit_code is ExitCode.DATA


def test_cosine_is_read_at_unit_length_and_dot_as_it_is(tmp_path: Path, store: Store):
    side = given_vectors(tmp_path / "v.npy")
    for read in Space(side, side, "cosine").read(store):
        assert np.allclose(np.linalg.norm(read.block(0, 4), axis=1), 1)
    for read in Space(side, side, "dot").read(store):
        assert read.block(0, 4).tolist() == VECTORS.tolist()


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_a_truncation_is_at_unit_length_whatever_the_similarity(
    tmp_path: Path, store: Store, similarity: Any
):
    side = given_vectors(tmp_path / "v.npy")
    for read in Space(side, side, similarity, width=2).read(store):
        wanted = VECTORS[:, :2] / np.linalg.norm(VECTORS[:, :2], axis=1, keepdims=True)
        assert np.allclose(read.block(0, 4), wanted)


def test_a_truncation_may_not_be_wider_than_the_vectors(tmp_path: Path, store: Store):
    side = given_vectors(tmp_path / "v.npy")
    with pytest.raises(HarnessError, match=r"truncate = 4: the vectors have 3 dimensions"):
        Space(side, side, "cosine", width=4).read(store)


def test_the_key_of_a_space_holds_similarity_width_and_which_side_is_which(
    tmp_path: Path, store: Store
):
    one = given_vectors(tmp_path / "1.npy")
    other = given_vectors(tmp_path / "2.npy", VECTORS + 1)
    spaces = [
        Space(one, other, "cosine"),
        Space(other, one, "cosine"),
        Space(one, other, "dot"),
        Space(one, other, "cosine", width=2),
        Space(one, other, "cosine", width=3),
    ]
    assert len({space.key(store) for space in spaces}) == 5
