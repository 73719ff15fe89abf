"""Space: the vectors with which a candidate represents one collection, encoded here or given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from harness.embeddings import Embeddings
from harness.errors import ExitCode, HarnessError
from harness.hashing import digest, file_digest
from harness.store import Store


class VectorSource(Protocol):
    """Vectors of one side of a collection."""

    def key(self, store: Store) -> str | None:
        """Return their content key; None while they can not be known."""

    def embeddings(self, store: Store, *, normalised: bool) -> Embeddings:
        """Return them, one row a text."""


@dataclass(frozen=True, eq=False)
class Space:
    """Both sides of a collection in one vector space.

    Attributes:
        documents, queries: the two sides.
        similarity: "cosine" or "dot".
        width: leading dimensions that are used; None takes all. A truncation is always normalised.
    """

    documents: VectorSource
    queries: VectorSource
    similarity: Literal["cosine", "dot"]
    width: int | None = None

    def key(self, store: Store) -> str | None:
        """Key of the vectors of both sides as searched."""
        sides = (self.documents.key(store), self.queries.key(store))
        return None if None in sides else digest("vectors", *sides, self.similarity, self.width)

    def read(self, store: Store) -> tuple[Embeddings, Embeddings]:
        """Return documents and queries, ready for the inner product.

        Raises:
            HarnessError: the two sides differ in width, or are narrower than asked.
        """
        normalised = self.similarity == "cosine"
        documents = self.documents.embeddings(store, normalised=normalised)
        queries = self.queries.embeddings(store, normalised=normalised)
        if documents.width != queries.width:
            raise HarnessError(
                f"documents have {documents.width} dimensions and queries {queries.width}. "
                "Give vectors of one model.",
                exit_code=ExitCode.DATA,
            )
        if self.width is None:
            return documents, queries
        if self.width > documents.width:
            raise HarnessError(
                f"truncate = {self.width}: the vectors have {documents.width} dimensions. "
                f"Give at most {documents.width}.",
                exit_code=ExitCode.USAGE,
            )
        return documents.truncated(self.width), queries.truncated(self.width)


@dataclass(frozen=True, eq=False)
class GivenVectors:
    """Vectors in a ``.npy`` file [n, dim], with one id a line in ``<stem>.ids.txt`` beside it.

    Attributes:
        path: of the ``.npy`` file.
        wanted: the collection's ids, in row order; the file may hold more.
    """

    path: Path
    wanted: tuple[str, ...]

    @cached_property
    def _key(self) -> str:
        return digest(
            "given", file_digest(self.path), file_digest(ids_path(self.path)), self.wanted
        )

    def key(self, store: Store) -> str:  # noqa: ARG002
        """Return the content key of the files and of the ids that are read."""
        return self._key

    def embeddings(self, store: Store, *, normalised: bool) -> Embeddings:  # noqa: ARG002
        """Return the vectors of the wanted ids, memory-mapped."""
        array = np.load(self.path, mmap_mode="r")
        return Embeddings(
            shards=[array],
            places=_places(ids_path(self.path), self.wanted),
            width=array.shape[1],
            normalised=normalised,
        )

    def problems(self) -> list[str]:
        """Return what is wrong with the files, each problem a sentence."""
        ids_file = ids_path(self.path)
        missing = [path for path in (self.path, ids_file) if not path.is_file()]
        if missing:
            return [
                f"{path}: no such file. Vectors are <name>.npy beside <name>.ids.txt."
                for path in missing
            ]
        try:
            array = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError) as error:
            return [f"{self.path}: not a .npy array, got {error}. Save it with numpy.save."]
        ids = _read_ids(ids_file)
        problems = []
        if array.ndim != 2 or array.dtype.kind != "f":
            problems.append(
                f"{self.path}: expected a float array [n, dim], got {array.dtype} {array.shape}."
            )
        elif len(ids) != len(array):
            problems.append(
                f"{ids_file}: {len(ids)} ids for {len(array)} vectors. Write one a line."
            )
        elif not np.isfinite(array).all():
            problems.append(f"{self.path}: holds NaN or infinite values. Encode those texts again.")
        if len(set(ids)) < len(ids):
            problems.append(f"{ids_file}: an id stands twice. Keep one vector for each.")
        absent = sorted(set(self.wanted) - set(ids))
        if absent:
            shown = ", ".join(absent[:3])
            problems.append(
                f"{ids_file}: {len(absent)} of {len(self.wanted)} ids of the collection have no "
                f"vector ({shown}, …). Encode them too."
            )
        return problems


def width_problems(documents: GivenVectors, queries: GivenVectors) -> list[str]:
    """Return what is wrong between two files that are right on their own."""
    widths = [np.load(side.path, mmap_mode="r").shape[1] for side in (documents, queries)]
    if widths[0] == widths[1]:
        return []
    one = f"{documents.path} has {widths[0]} dimensions and {queries.path} {widths[1]}."
    return [f"{one} Give vectors of one model."]


def ids_path(path: Path) -> Path:
    """Return the file of ids that belongs to a ``.npy`` file."""
    return path.with_suffix(".ids.txt")


def _read_ids(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def _places(path: Path, wanted: Sequence[str]) -> npt.NDArray[np.int64]:
    place = {identifier: row for row, identifier in enumerate(_read_ids(path))}
    return np.array([place[identifier] for identifier in wanted], dtype=np.int64)
