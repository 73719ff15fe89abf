"""Packing: documents packed in files while they are read, so that memory holds some at a time."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self, overload

import numpy as np
import numpy.typing as npt

from harness.arrays import Indices, Rows
from harness.collection.packed import Bytes, HashIndex, PackedIds, PackedTexts, index_of, pack
from harness.errors import ExitCode, HarnessError
from harness.hashing import text_hashes
from harness.shared_store import SharedStore, store_at
from harness.store import Store

_AT_ONCE = 8192  # documents
_GAP = 256  # documents that are fetched with others rather than asking twice
_MOST_RUNS = 512  # of documents that are fetched apart from all others
_SIDES = ("ids", "texts")
_COLUMNS: dict[str, tuple[npt.DTypeLike, tuple[int, ...]]] = {
    "body": (np.uint8, ()),
    "ends": (np.int64, ()),
    "hashes": (np.uint8, (16,)),
}


def pack_documents(
    rows: Iterable[tuple[str, str, int]], folder: Path
) -> tuple[PackedIds, PackedTexts, Rows]:
    """Write documents to a folder, and return their ids, their texts, and the line of each.

    Args:
        rows: id, text and line of each.
        folder: `packed_documents` finds the ids and texts there.

    Raises:
        OSError: it cannot be written.
    """
    lines, left = array("i"), iter(rows)
    with ExitStack() as opened:
        ids, texts = (_Packer(opened, folder, side) for side in _SIDES)
        while some := list(islice(left, _AT_ONCE)):
            ids.add([row[0] for row in some])
            texts.add([row[1] for row in some])
            lines.extend(row[2] for row in some)
    body, ends, hashes = (np.load(_file(folder, "ids", part), mmap_mode="r") for part in _COLUMNS)
    by_hash = index_of(hashes)
    ascending, again = _ascending(body, ends), by_hash.repeated()[0]
    if len(again):
        ascending = ascending[~np.isin(ascending, again)]
    save_array(_file(folder, "ids", "sorted"), by_hash.hashes)
    save_array(_file(folder, "ids", "order"), by_hash.rows)
    save_array(_file(folder, "ids", "ascending"), ascending)
    found = packed_documents(lambda name: np.load(folder / f"{name}.npy", mmap_mode="r"))
    return *found, np.array(lines, dtype=np.int32)


def packed_documents(
    read: Callable[[str], npt.NDArray[Any]], place: StoredDocuments | None = None
) -> tuple[PackedIds, PackedTexts]:
    """Return the ids and texts that `pack_documents` has written.

    Args:
        read: returns an array by the name of its file.
        place: of the files in a store; None where they lie in none.
    """

    def plain(side: str, part: str) -> npt.NDArray[Any]:
        """Return a mapped array without numpy's memmap, which travels to a worker as a copy."""
        return read(f"documents.{side}.{part}").view(np.ndarray)

    ids, texts = ([plain(side, part) for part in _COLUMNS] for side in _SIDES)
    by_hash = HashIndex(plain("ids", "sorted"), plain("ids", "order"))
    rows = np.arange(len(ids[1]))
    homes = [None if place is None else place._replace(side=side) for side in _SIDES]
    return (
        PackedIds(ids[0], ids[1], ids[2], rows, by_hash, plain("ids", "ascending"), home=homes[0]),
        PackedTexts(texts[0], texts[1], texts[2], rows, home=homes[1]),
    )


class StoredDocuments(NamedTuple):
    """Where documents lie that `pack_documents` has written.

    Attributes:
        store: URL, or whole path of its folder.
        kind, key: of the artifact.
        side: "ids" or "texts".
    """

    store: str
    kind: str
    key: str
    side: str = ""

    def open(self, rows: Indices) -> PackedTexts:
        """Return some rows of one side; what lies at a URL is fetched where it is read.

        Raises:
            HarnessError: exit code 4, they are not there.
        """
        store = _store(self.store)
        if isinstance(store, SharedStore) and not (store.root / self.kind / self.key).is_dir():
            return DistantTexts(self, rows)
        return replace(self.whole(), rows=rows)

    def whole(self) -> PackedTexts:
        """Return one side of them, after all were fetched; a process opens them once.

        Raises:
            HarnessError: exit code 4, they are not there.
        """
        return _opened(self._replace(side=""))[_SIDES.index(self.side)]

    def read(self, part: str, runs: Sequence[tuple[int, int]]) -> list[npt.NDArray[Any]]:
        """Return some runs of an array of this side, which alone are fetched.

        Raises:
            HarnessError: exit code 4, they are not there.
        """
        store, name = _store(self.store), f"documents.{self.side}.{part}"
        if isinstance(store, SharedStore):
            found = store.ranges(self.kind, self.key, name, runs)
            if found is not None:
                return found
        raise _missing(self)


class DistantTexts(PackedTexts):
    """Packed texts at a URL, of which those that are read are fetched, and checked by their hashes.

    Where they lie too far apart, because the ids are not in the order of the file, all are fetched,
    once for each machine.
    """

    home: StoredDocuments

    def __init__(self, home: StoredDocuments, rows: Indices) -> None:
        object.__setattr__(self, "home", home)
        object.__setattr__(self, "rows", rows)

    def __getattr__(self, name: str) -> Any:
        """Return a field that was not fetched: that of all texts."""
        if name not in {"body", "ends", "all_hashes"}:
            raise AttributeError(name)
        return getattr(self.home.whole(), name)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Self: ...
    def __getitem__(self, place: int | slice) -> str | Self:
        """Return one text, or some of them that stay where they are."""
        if isinstance(place, slice):
            return self._at(self.rows[place])
        return self._fetched(self.rows[[place]])[0]

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self.rows), _AT_ONCE):
            yield from self._fetched(self.rows[first : first + _AT_ONCE])

    @property
    def hashes(self) -> Bytes:
        """One hash a text, uint8 [n, 16]."""
        runs, places = _runs(self.rows)
        if len(runs) > _MOST_RUNS:
            return self.all_hashes[self.rows]
        return np.concatenate(self.home.read("hashes", runs))[places]

    def _at(self, rows: Indices) -> Self:
        return type(self)(self.home, rows)

    def _fetched(self, rows: Indices) -> Sequence[str]:
        """Return the texts of some rows, at least one."""
        runs, places = _runs(rows)
        if len(runs) > _MOST_RUNS:
            return replace(self.home.whole(), rows=rows)
        read = self.home.read
        stops = read("ends", [(max(start - 1, 0), stop) for start, stop in runs])
        bounds = [
            each if start else np.append(0, each)
            for (start, _), each in zip(runs, stops, strict=True)
        ]
        bodies = read("body", [(each[0], each[-1]) for each in bounds])
        ends = np.cumsum(np.concatenate([np.diff(each) for each in bounds]))
        hashes = np.concatenate(read("hashes", runs))[places]
        texts = [*PackedTexts(np.concatenate(bodies), ends, hashes, places)]
        if not np.array_equal(text_hashes(texts), hashes):
            raise _missing(self.home)
        return texts


def _runs(rows: Indices) -> tuple[list[tuple[int, int]], Indices]:
    """Return rows as runs, each from its first to the one after its last, that hold few others; and
    the place of each row among those of all runs.
    """
    known = np.unique(rows)
    last = np.append(np.flatnonzero(np.diff(known) > _GAP), len(known) - 1)
    starts, stops = known[np.append(0, last[:-1] + 1)], known[last] + 1
    before = np.cumsum(stops - starts) - (stops - starts)
    run = np.searchsorted(starts, rows, side="right") - 1
    return [*zip(starts.tolist(), stops.tolist(), strict=True)], before[run] + rows - starts[run]


@cache
def _store(place: str) -> Store:
    return store_at(place)


@cache
def _opened(place: StoredDocuments) -> tuple[PackedIds, PackedTexts]:
    found = _store(place.store).get(place.kind, place.key)
    if found is None:
        raise _missing(place)
    return packed_documents(found.array, place)


def _missing(place: StoredDocuments) -> HarnessError:
    return HarnessError(
        f"store {place.store}: {place.kind}/{place.key} with the documents is not there, or is "
        "damaged. Give all machines the same store, and rerun the command, which makes it again.",
        exit_code=ExitCode.STAGE,
    )


def save_array(file: Path, values: npt.NDArray[Any]) -> None:
    """Write an array; unlike `numpy.save` it notices a disk that is full as a file is closed."""
    with _growing(file, values.dtype, values.shape[1:]) as grow:
        grow(values)


class _Packer:
    """The files of ids or of texts."""

    def __init__(self, opened: ExitStack, folder: Path, side: str) -> None:
        self._grow = [
            opened.enter_context(_growing(_file(folder, side, part), *form))
            for part, form in _COLUMNS.items()
        ]
        self._size = 0

    def add(self, texts: Sequence[str]) -> None:
        """Write some more."""
        body, ends = pack(texts)
        columns: tuple[npt.NDArray[Any], ...] = (body, ends + self._size, text_hashes(texts))
        for grow, values in zip(self._grow, columns, strict=True):
            grow(values)
        self._size += len(body)


@contextmanager
def _growing(
    file: Path, dtype: npt.DTypeLike, width: tuple[int, ...]
) -> Iterator[Callable[[npt.NDArray[Any]], None]]:
    """Give a function that appends rows to a ``.npy`` file."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False}
    count = 0

    def grow(rows: npt.NDArray[Any]) -> None:
        nonlocal count
        handle.write(np.ascontiguousarray(rows).data)
        count += len(rows)

    with file.open("wb") as handle:
        # A header has room for any number of rows.
        np.lib.format.write_array_header_1_0(handle, {**header, "shape": (0, *width)})
        yield grow
        handle.seek(0)
        np.lib.format.write_array_header_1_0(handle, {**header, "shape": (count, *width)})


def _ascending(body: Bytes, ends: Indices) -> Indices:
    """Return packed texts in ascending order, by code point: int64 [n], the first of equal ones
    first.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    starts = np.append(0, ends)
    parts = [None, pa.py_buffer(starts), pa.py_buffer(body)]
    texts = pa.Array.from_buffers(pa.large_binary(), len(ends), parts)  # UTF-8 keeps their order
    return np.asarray(pc.sort_indices(texts).to_numpy().astype(np.int64, copy=False))


def _file(folder: Path, side: str, part: str) -> Path:
    return folder / f"documents.{side}.{part}.npy"
