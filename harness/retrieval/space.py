"""Space: the vectors with which a candidate represents one collection, encoded here or given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from harness.arrays import Indices
from harness.collection.packed import Bytes, PackedTexts, content_hashes, hashed, index_of
from harness.errors import ExitCode, HarnessError
from harness.hashing import file_digest
from harness.retrieval.embeddings import ALL_ROWS, Embeddings
from harness.stage import Keyed, keyed_by, unkeyed
from harness.store import Store
from harness.suite.table import Similarity

_SCAN_ROWS = 65_536
# Largest product of single values whose sums float32 still holds, and smallest value or product.
_HUGE_PRODUCT, _TINY_PRODUCT = 1e38, 1e-30


class VectorSource(Protocol):
    """Vectors of one side of a collection."""

    def key(self, store: Store) -> str | None:
        """Return their content key; None while they cannot be known."""

    def embeddings(self, store: Store, *, normalised: bool, rows: slice = ALL_ROWS) -> Embeddings:
        """Return those of some rows, one row a text; what holds others is not fetched."""


class Coarser(Protocol):
    """What a search stores in place of its documents' vectors, such as codes of 8 bits."""

    @property
    def key(self) -> str:
        """Key of how they are derived from the vectors."""

    def stored(self, documents: Embeddings) -> Embeddings:
        """Return the vectors as they are read back."""


@dataclass(frozen=True, eq=False)
class Space(Keyed):
    """Both sides of a collection in one vector space.

    Attributes:
        documents, queries: the two sides.
        similarity: "cosine" or "dot".
        width: leading dimensions that are used; None takes all. A truncation is always normalised.
        coarser: what documents are stored as once they are truncated; None for the vectors. Queries
            stay as they are.
    """

    documents: VectorSource
    queries: VectorSource
    similarity: Similarity
    width: int | None = None
    coarser: Coarser | None = None

    def read(self, store: Store, *, rows: slice = ALL_ROWS) -> tuple[Embeddings, Embeddings]:
        """Return the documents of some rows and all queries, ready for the inner product.

        Raises:
            HarnessError: the two sides differ in width, or are narrower than asked.
        """
        normalised = self.similarity == "cosine"
        documents = self.documents.embeddings(store, normalised=normalised, rows=rows)
        queries = self.queries.embeddings(store, normalised=normalised)
        if documents.width != queries.width:
            raise HarnessError(
                f"documents have {documents.width} dimensions and queries {queries.width}. "
                "Give vectors of one model.",
                exit_code=ExitCode.DATA,
            )
        if self.width is not None and self.width > documents.width:
            raise HarnessError(
                f"truncate = {self.width}: the vectors have {documents.width} dimensions. "
                f"Give at most {documents.width}.",
                exit_code=ExitCode.USAGE,
            )
        if self.width is not None:
            documents, queries = documents.truncated(self.width), queries.truncated(self.width)
        return documents if self.coarser is None else self.coarser.stored(documents), queries


@dataclass(frozen=True, eq=False)
class GivenVectors(Keyed):
    """Vectors in a ``.npy`` file [n, dim], with one id a line in ``<stem>.ids.txt`` beside it.

    Attributes:
        path: of the ``.npy`` file.
        wanted: the collection's ids, in row order; the file may hold more.
        texts: of these ids, or nothing: only of an empty one may the vector be zeros.
    """

    path: Path = field(metadata=keyed_by("_content"))
    wanted: Sequence[str]
    texts: Sequence[str] = field(
        default=(), metadata=unkeyed("they decide what is refused, not what is read")
    )

    @cached_property
    def _content(self) -> tuple[str, str]:
        return file_digest(self.path), file_digest(ids_path(self.path))

    def embeddings(
        self,
        store: Store,  # noqa: ARG002
        *,
        normalised: bool,
        rows: slice = ALL_ROWS,
    ) -> Embeddings:
        """Return the vectors of the wanted ids of some rows, memory-mapped."""
        array, places = open_vectors(self.path), self._places[rows]
        if (places < 0).any():
            raise KeyError(f"{self.path}: no vector of an id that is wanted")
        return Embeddings(
            shards=[array],
            places=places,
            width=array.shape[1],
            normalised=normalised,
        )

    @cached_property
    def _places(self) -> Indices:
        """The row of the vector of each wanted id, int64 [n]; -1 where there is none."""
        ids = _read_ids(ids_path(self.path))
        return index_of(ids.all_hashes).find(content_hashes(self.wanted))

    @cached_property
    def _largest(self) -> npt.NDArray[np.float64]:
        """The largest absolute value of each row, float64 [n]; NaN where a row holds one."""
        array = open_vectors(self.path)
        parts = [np.empty(0)]
        for start in range(0, len(array), _SCAN_ROWS):
            rows = np.asarray(array[start : start + _SCAN_ROWS])
            ends = (rows.max(axis=1, initial=0), rows.min(axis=1, initial=0))
            parts.append(np.maximum(ends[0], -ends[1].astype(np.float64)))
        return np.concatenate(parts)

    def reach(self) -> float:
        """Return the largest absolute value of any vector."""
        return float(self._largest.max(initial=0))

    def problems(self, *, similarity: Similarity = "cosine") -> list[str]:
        """Return what is wrong with the files, each problem a sentence.

        Args:
            similarity: by dot product, float32 must hold the vectors as they are.
        """
        problems: list[str] = []
        array, ids = None, None
        try:
            ids = _read_ids(ids_path(self.path))
        except HarnessError as error:
            problems += error.problems
        try:
            array = open_vectors(self.path)
        except HarnessError as error:
            problems = [*error.problems, *problems]
        if ids is None:
            return problems
        ids_file, by_hash = ids_path(self.path), index_of(ids.all_hashes)
        if array is not None and len(ids) != len(array):
            problems.append(
                f"{ids_file}: {len(ids)} ids for {len(array)} vectors. Write one per line."
            )
        elif array is not None:
            problems += self._value_problems(ids, similarity)
        again = [ids[row] for row in np.unique(by_hash.repeated()[1])]
        if again:
            problems.append(f"{ids_file}: duplicate id, {_some(again)}. Keep one vector for each.")
        lacking = by_hash.find(content_hashes(self.wanted)) < 0
        absent = sorted({self.wanted[row] for row in np.flatnonzero(lacking).tolist()})
        if absent:
            problems.append(
                f"{ids_file}: {len(absent):,} of {len(self.wanted):,} ids of the collection have "
                f"no vector ({_some(absent)}). Encode them too."
            )
        return problems

    def _value_problems(self, ids: PackedTexts, similarity: Similarity) -> Iterator[str]:
        """Yield which vectors have no direction, or no place in float32."""
        infinite = ~np.isfinite(self._largest)
        if infinite.any():
            yield (
                f"{self.path}: {_rows_of(infinite, ids)} hold NaN or infinite values. "
                "Encode those texts again."
            )
        if similarity == "dot":
            beyond = ~infinite & (self._largest > np.finfo(np.float32).max)
            if beyond.any():
                yield (
                    f"{self.path}: {_rows_of(beyond, ids)} exceed float32, in which dot products "
                    "are searched. Scale all vectors down by one factor."
                )
            return
        zero = self._largest == 0
        rows = np.flatnonzero(zero)
        if len(rows):
            wanted = index_of(content_hashes(self.wanted)).find(ids.all_hashes[rows])
            zero[rows] = [
                place >= 0 and not (self.texts and not self.texts[place].strip())
                for place in wanted.tolist()
            ]
        if zero.any():
            yield (
                f"{self.path}: {_rows_of(zero, ids)} are all zeros and have no direction to "
                "compare. Encode those texts again."
            )

    def warnings(self) -> list[str]:
        """Return what is doubtful about files without a problem."""
        array = open_vectors(self.path)
        if array.dtype.kind == "f":
            return []
        doubt = (
            f"{self.path}: {array.dtype} is read as one number per dimension, {array.shape[1]} "
            "in all, without quantisation ranges. If these are packed bits (binary, ubinary), "
            "save numpy.unpackbits(x.view(numpy.uint8), axis=1) instead."
        )
        return [doubt]


def open_vectors(path: Path) -> npt.NDArray[Any]:
    """Return the array of a ``.npy`` file, memory-mapped: numbers [n, dim].

    Raises:
        HarnessError: exit code 3, there is no such file or it holds no such array.
    """
    try:
        with path.open("rb") as handle:
            magic = handle.read(6)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    if not magic:
        raise _refused(f"{path}: the file is empty. Save the array with numpy.save.")
    if magic.startswith(b"PK"):
        raise _refused(
            f"{path}: not a .npy array, got an archive (.npz). Save the one array with numpy.save."
        )
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # noqa: BLE001 - numpy raises whatever a damaged header leads to
        said = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise _refused(
            f"{path}: not a .npy array, got {said[:200]}. Save it with numpy.save."
        ) from None
    fix = _dtype_fix(array.dtype)
    if array.ndim != 2 or 0 in array.shape or fix is not None:
        raise _refused(
            f"{path}: expected a float array [n, dim], got {array.dtype} {array.shape}. "
            f"{fix or 'Save one row per text.'}"
        )
    return array


def _dtype_fix(dtype: np.dtype[Any]) -> str | None:
    """Return how numbers of a type become vectors; None where they are read as they are."""
    if dtype.kind == "f" or dtype in (np.int8, np.uint8):
        return None
    if dtype.kind in "uiV" and dtype.itemsize == 2:
        return (
            "If these are the bits of float16 or bfloat16, save the numbers: "
            "x.view(numpy.float16).astype(numpy.float32), or with torch "
            "torch.from_numpy(x.view(numpy.int16)).view(torch.bfloat16).float().numpy()."
        )
    return "Save numbers: x.astype(numpy.float32)."


def pair_problems(
    documents: GivenVectors, queries: GivenVectors, *, similarity: Similarity = "cosine"
) -> list[str]:
    """Return what is wrong between two files that are right on their own."""
    widths = [open_vectors(side.path).shape[1] for side in (documents, queries)]
    if widths[0] != widths[1]:
        one = f"{documents.path} has {widths[0]} dimensions and {queries.path} {widths[1]}."
        return [f"{one} Give vectors of one model."]
    reaches = (documents.reach(), queries.reach())
    largest = reaches[0] * reaches[1]
    vanishes = min(largest, *reaches) <= _TINY_PRODUCT
    if similarity == "dot" and (vanishes or largest >= _HUGE_PRODUCT / widths[0]):
        way = "vanish in" if vanishes else "overflow"
        one = f"values of {documents.path} reach {documents.reach():.3g}"
        other = f"those of {queries.path} {queries.reach():.3g}"
        return [f"{one} and {other}: dot products {way} float32. Scale all by one factor."]
    return []


def ids_path(path: Path) -> Path:
    """Return the file of ids that belongs to a ``.npy`` file."""
    return path.with_suffix(".ids.txt") if path.name else path


def _unreadable(path: Path, error: OSError | ValueError) -> HarnessError:
    """Return the refusal of a file of vectors or ids that cannot be opened."""
    found = f"cannot be read ({getattr(error, 'strerror', error)})"
    reason = "no such file" if isinstance(error, FileNotFoundError) else found
    shown = str(path) if len(str(path)) <= 200 else f"{str(path)[:200]}…"
    return _refused(f"{shown}: {reason}. Vectors are <name>.npy beside <name>.ids.txt.")


def _read_ids(path: Path) -> PackedTexts:
    """Return the ids of a file, one a line.

    Raises:
        HarnessError: exit code 3, there is no such file or it is no text in UTF-8.
    """
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(
            f"{path}: not UTF-8, got the byte 0x{error.object[error.start]:02x} at offset "
            f"{error.start:,}. Save the ids as UTF-8, one per line."
        ) from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    return hashed(*_lines(text))


def _lines(text: str) -> tuple[Bytes, Indices]:
    """Return the lines of a text packed; an id may hold other marks that end a line elsewhere."""
    body = np.frombuffer(text.encode(), dtype=np.uint8)
    stops = np.flatnonzero(body == ord("\n"))
    if text and not text.endswith("\n"):
        stops = np.append(stops, len(body))
    return body[body != ord("\n")], stops - np.arange(len(stops))


def _rows_of(marked: npt.NDArray[np.bool_], ids: Sequence[str]) -> str:
    """Return how many rows are marked, and the ids of the first: the subject of a sentence."""
    rows = np.flatnonzero(marked)
    return f"{len(rows):,} of {len(ids):,} vectors ({_some([ids[row] for row in rows[:4]])})"


def _some(names: Sequence[str]) -> str:
    """Return the first three names, and a sign that there are more."""
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _refused(problem: str) -> HarnessError:
    return HarnessError(problem, exit_code=ExitCode.DATA)
