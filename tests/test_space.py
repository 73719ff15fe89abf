from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_vectors

from harness.errors import ExitCode, HarnessError
from harness.retrieval.space import GivenVectors, Space, pair_problems
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
        "nan": (
            given_vectors(tmp_path / "nan.npy", VECTORS * np.nan),
            "4 of 4 vectors (a, b, c, …) hold NaN or infinite",
        ),
        "twice": (given_vectors(tmp_path / "twice.npy", ids=("a", *IDS[:3])), "duplicate id"),
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
    assert pair_problems(wide, wide) == []
    [problem] = pair_problems(wide, narrow)
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


def saved(path: Path, array: Any, *, ids: tuple[str, ...] = IDS) -> GivenVectors:
    """Save an array with the type that it has."""
    np.save(path, array)
    path.with_suffix(".ids.txt").write_text("".join(f"{key}\n" for key in ids), "utf-8")
    return GivenVectors(path, ids)


def unit(array: Any) -> Any:
    wide = array.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("factor", "dtype"),
    [
        *((factor, np.float32) for factor in (1e20, 1e-30, 1e37, 1e-38)),
        *((factor, np.float64) for factor in (1e300, 1e-300, 1e20, 1e-30)),
        (1e3, np.float16),
    ],
)
def test_cosine_has_no_scale(tmp_path: Path, store: Store, factor: float, dtype: Any):
    source = saved(tmp_path / "v.npy", (VECTORS.astype(np.float64) * factor).astype(dtype))
    assert source.problems() == []
    read = source.embeddings(store, normalised=True)
    assert np.allclose(read.block(0, 4), unit(VECTORS), atol=2e-3 if dtype is np.float16 else 1e-6)
    narrow = read.truncated(2).block(0, 4)
    assert np.allclose(narrow, unit(VECTORS[:, :2]), atol=2e-3)


def test_one_row_of_another_scale_leaves_the_bits_of_the_others_alone(tmp_path: Path, store: Store):
    usual = saved(tmp_path / "usual.npy", VECTORS).embeddings(store, normalised=True).block(0, 4)
    mixed = VECTORS.astype(np.float64)
    mixed[2] *= 1e200
    read = saved(tmp_path / "mixed.npy", mixed).embeddings(store, normalised=True).block(0, 4)
    assert read[[0, 1, 3]].tobytes() == usual[[0, 1, 3]].tobytes()
    assert np.allclose(read[2], usual[2])


def test_vectors_without_a_direction_are_counted_and_named(tmp_path: Path):
    vectors = VECTORS.copy()
    vectors[[1, 3]] = 0
    source = given_vectors(tmp_path / "zero.npy", vectors)
    [problem] = source.problems()
    assert "2 of 4 vectors (b, d) are all zeros and have no direction to compare" in problem
    assert source.problems(similarity="dot") == []
    assert GivenVectors(source.path, IDS, ("x", "", "x", " ")).problems() == []
    assert GivenVectors(source.path, ("a", "c")).problems() == []


def test_dot_products_that_float32_cannot_hold_are_refused(tmp_path: Path):
    usual = given_vectors(tmp_path / "usual.npy")
    huge = saved(tmp_path / "huge.npy", VECTORS.astype(np.float64) * 1e300)
    [problem] = huge.problems(similarity="dot")
    assert "4 of 4 vectors (a, b, c, …) exceed float32" in problem
    large = given_vectors(tmp_path / "large.npy", VECTORS * np.float32(1e30))
    small = given_vectors(tmp_path / "small.npy", VECTORS * np.float32(1e-30))
    assert pair_problems(usual, large, similarity="dot") == []
    assert pair_problems(large, small, similarity="dot") == []
    [problem] = pair_problems(large, large, similarity="dot")
    assert "dot products overflow float32" in problem
    [problem] = pair_problems(small, small, similarity="dot")
    assert "dot products vanish in float32" in problem
    assert pair_problems(small, small, similarity="cosine") == []
    tiny = saved(tmp_path / "tiny.npy", VECTORS.astype(np.float64) * 1e-44)
    [problem] = pair_problems(tiny, large, similarity="dot")  # though the products are usual
    assert "dot products vanish in float32" in problem


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_a_byte_a_dimension_is_read_as_a_number_and_packed_bits_are_explained(
    tmp_path: Path, store: Store, dtype: Any
):
    source = saved(tmp_path / "v.npy", VECTORS.astype(dtype))
    assert source.problems() == []
    assert source.embeddings(store, normalised=False).block(0, 4).tolist() == VECTORS.tolist()
    [doubt] = source.warnings()
    assert "one number per dimension, 3 in all" in doubt
    assert "numpy.unpackbits" in doubt
    assert given_vectors(tmp_path / "float.npy").warnings() == []


@pytest.mark.parametrize(
    ("array", "fix"),
    [
        (VECTORS.astype(np.float16).view(np.uint16), "x.view(numpy.float16)"),
        (VECTORS.astype(np.float16).view(np.int16), "torch.bfloat16"),
        (VECTORS.astype(np.float16).view("V2"), "torch.bfloat16"),
        (VECTORS.astype(np.int32), "x.astype(numpy.float32)"),
        (VECTORS > 2, "x.astype(numpy.float32)"),
        (VECTORS.astype(np.complex64), "x.astype(numpy.float32)"),
        (VECTORS.astype(str), "x.astype(numpy.float32)"),
        (VECTORS[:, :0], "one row per text"),
        (VECTORS[None], "one row per text"),
        (np.float32(1), "one row per text"),
    ],
)
def test_what_is_no_number_a_dimension_is_refused_with_the_way_to_make_it_so(
    tmp_path: Path, array: Any, fix: str
):
    [problem] = [each for each in saved(tmp_path / "v.npy", array).problems() if "v.npy" in each]
    assert "expected a float array [n, dim], got" in problem
    assert fix in problem


def test_the_order_of_bytes_and_of_memory_is_the_files_own_affair(tmp_path: Path, store: Store):
    for name, array in (("big", VECTORS.astype(">f4")), ("fortran", np.asfortranarray(VECTORS))):
        source = saved(tmp_path / f"{name}.npy", array)
        assert source.problems() == []
        assert source.embeddings(store, normalised=False).block(0, 4).tolist() == VECTORS.tolist()


def npy(header: str) -> bytes:
    """Return a .npy file with a header of one's own."""
    body = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body + VECTORS.tobytes()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the file is empty"),
        (b"PK\x03\x04 and more", "an archive (.npz)"),
        (b"no array", "not a .npy array"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-4, 3)}"), "not a .npy array"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (40, 3)}"), "not a .npy array"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': True}"), "not a .npy array"),
        (npy("{'descr': 'nope', 'fortran_order': False, 'shape': (4, 3)}"), "not a .npy array"),
        (npy("{'descr': '<f4', 'fortran_order': 1, 'shape': (4, 3)}"), "not a .npy array"),
        (npy("True"), "not a .npy array"),
        (npy("no python ("), "not a .npy array"),
        (npy("__import__('os').system('true')"), "not a .npy array"),
        (b"\x93NUMPY", "not a .npy array"),
        (b"\x93NUMPY\x09\x00", "not a .npy array"),
    ],
)
def test_a_damaged_file_of_vectors_is_one_sentence(tmp_path: Path, body: bytes, said: str):
    source = given_vectors(tmp_path / "v.npy")
    source.path.write_bytes(body)
    [problem] = source.problems()
    assert problem.startswith(f"{source.path}: ")
    assert said in problem


def test_all_that_is_wrong_with_ids_is_said_at_once(tmp_path: Path):
    source = given_vectors(tmp_path / "v.npy", ids=("a", "a", "c", "c"), wanted=("a", "b", "d"))
    twice, absent = source.problems()
    assert "duplicate id, a, c" in twice
    assert "2 of 3 ids of the collection have no vector (b, d)" in absent
    ids = source.path.with_suffix(".ids.txt")
    ids.write_bytes("é\n".encode("latin-1"))
    source.path.write_bytes(b"")
    empty, latin = source.problems()
    assert "the file is empty" in empty
    assert latin == (
        f"{ids}: not UTF-8, got the byte 0xe9 at offset 0. Save the ids as UTF-8, one per line."
    )


def test_an_id_may_hold_what_only_python_takes_for_the_end_of_a_line(tmp_path: Path, store: Store):
    ids = ("a\u2028b", "c\x85", "d\x0b", "e\x1cf")
    source = given_vectors(tmp_path / "v.npy", ids=ids, wanted=ids[::-1])
    assert source.problems() == []
    assert source.embeddings(store, normalised=False).block(0, 4).tolist() == VECTORS[::-1].tolist()
    file = source.path.with_suffix(".ids.txt")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert source.problems() == []


@pytest.mark.parametrize("path", ["", "x" * 20_000, "a\0b", "."])
def test_a_path_that_can_be_no_file_is_a_sentence(path: str):
    problems = GivenVectors(Path(path), IDS).problems()
    assert all("Vectors are <name>.npy beside <name>.ids.txt." in each for each in problems)
    assert problems
    assert max(map(len, problems)) < 600
