"""RawCollection: what a source holds, before a split is chosen and before anything is checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.arrays import Indices
from harness.collection.packed import Bytes, HashIndex, PackedIds, index_of
from harness.collection.passages import Chunking
from harness.collection.texts import normalise, without_markup
from harness.errors import ExitCode, HarnessError, did_you_mean
from harness.hashing import digest, text_hashes

NO_LINES = np.empty(0, dtype=np.int32)  # where a line would not say of which file
_HASH_BYTES = 16
NO_TEXT = np.zeros(_HASH_BYTES, dtype=np.uint8)  # what stands for the hash of an empty text
ALL = "all"  # the split that holds the judgements of all others


class Reading(NamedTuple):
    """How a source is read.

    Attributes:
        clusters: key or column that names the cluster of every query; None where none is read.
        columns: of a file, which column holds what, as (our name, column).
        apart: the documents of pairs lie elsewhere.
        files: they are files, which the pairs name.
        split: of a task of mteb, which alone is read; None where the suite names none.
        into: an empty folder in which documents are packed while they are read; None for memory.
    """

    clusters: str | None = None
    columns: tuple[tuple[str, str], ...] = ()
    apart: bool = False
    files: bool = False
    split: str | None = None
    into: Path | None = None


PLAIN = Reading()


class MtebTask(NamedTuple):
    """What mteb says of the task that a source is.

    Attributes:
        name: of the task.
        kind: its type in mteb's word, such as "Reranking".
        subset: of its data; "default" where it has one alone.
        main_score: the metric that mteb scores it by, as mteb writes it.
        instruction: what its queries ask for, as models with instructions are given it.
        languages: of the subset, such as "deu-Latn".
        excludes_identical_ids: mteb never counts the document whose id is the query's.
    """

    name: str
    kind: str
    subset: str
    main_score: str
    instruction: str
    languages: tuple[str, ...]
    excludes_identical_ids: bool


@dataclass(frozen=True)
class RawTexts:
    """Documents or queries in the order of their file, repeated ids included.

    Attributes:
        file: where they come from, for messages.
        ids, texts: parallel.
        lines: int32 [n], the line of each in `file`; empty where a line means nothing.
        clusters: of queries, the value of the cluster column, parallel; empty where none is read.
    """

    file: str
    ids: Sequence[str] = field(repr=False)
    texts: Sequence[str] = field(repr=False)
    lines: npt.NDArray[np.int32] = field(repr=False)
    clusters: tuple[str, ...] = field(default=(), repr=False)

    def place(self, row: int) -> str:
        """Return ``file:line`` of a row."""
        return f"{self.file}:{self.lines[row]}" if len(self.lines) else self.file

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """The first row of each id."""
        if isinstance(self.ids, PackedIds):
            return _PackedRows(self.ids)
        return dict(zip(reversed(self.ids), range(len(self.ids) - 1, -1, -1), strict=True))

    def find(self, keys: Sequence[str]) -> Indices:
        """Return the first row of each id, int64 [n]; -1 where there is none."""
        if isinstance(self.ids, PackedIds):
            return self.ids.by_hash.find(text_hashes(keys))
        return np.fromiter((self.rows.get(key, -1) for key in keys), np.int64, len(keys))

    @cached_property
    def ascending(self) -> Indices:
        """The first row of each id, int64, in the order of the ids, by code point."""
        if isinstance(self.ids, PackedIds):
            return self.ids.ascending
        ids = sorted(self.rows)
        return np.fromiter(map(self.rows.__getitem__, ids), np.int64, len(ids))

    @cached_property
    def repeated(self) -> list[tuple[int, int]]:
        """The rows whose id an earlier row has, and the first with that id."""
        if isinstance(self.ids, PackedIds):
            again, firsts = self.ids.by_hash.repeated()
            return list(zip(again.tolist(), firsts.tolist(), strict=True))
        if len(self.rows) == len(self.ids):
            return []
        rows = ((row, self.rows[key]) for row, key in enumerate(self.ids))
        return [(row, first) for row, first in rows if row != first]

    @cached_property
    def normal_forms(self) -> Bytes:
        """A hash of each normalised text, uint8 [n, 16]; the empty text's is zeros."""
        held = bytearray()
        for text in self.texts:
            held += _short_hash(normalise(text))
        return np.frombuffer(held, dtype=np.uint8).reshape(-1, _HASH_BYTES)

    @cached_property
    def by_normal_form(self) -> HashIndex:
        """The rows that have each of `normal_forms`."""
        return index_of(self.normal_forms)

    @cached_property
    def bare_forms(self) -> Bytes:
        """As `normal_forms`, of the texts without markup; the same array where none has any."""
        forms = self.normal_forms
        for row, text in enumerate(self.texts):
            if (bare := without_markup(text)) is not text:
                forms = forms.copy() if forms is self.normal_forms else forms
                forms[row] = np.frombuffer(_short_hash(normalise(bare)), dtype=np.uint8)
        return forms


class _PackedRows(Mapping[str, int]):
    """The first row of each of some packed ids, in the order that a dict has them in."""

    def __init__(self, ids: PackedIds) -> None:
        self._ids = ids

    def __getitem__(self, key: str) -> int:
        (row,) = self._ids.by_hash.find(text_hashes([key])).tolist()
        if row < 0:
            raise KeyError(key)
        return int(row)

    def __len__(self) -> int:
        return len(self._ids.ascending)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids.take(self._ids.by_hash.lasts()))


def _short_hash(text: str) -> bytes:
    if not text:
        return NO_TEXT.tobytes()
    body = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(body, digest_size=_HASH_BYTES).digest()


@dataclass(frozen=True)
class RawJudgements:
    """The judgements of one split by id, in the order of their file.

    Attributes:
        file: where they come from, for messages.
        query_ids, document_ids: parallel.
        grades: int32 [n].
        lines: int32 [n], as in `RawTexts`.
    """

    file: str
    query_ids: tuple[str, ...] = field(repr=False)
    document_ids: tuple[str, ...] = field(repr=False)
    grades: npt.NDArray[np.int32] = field(repr=False)
    lines: npt.NDArray[np.int32] = field(repr=False)

    def __len__(self) -> int:
        return len(self.query_ids)

    def place(self, row: int) -> str:
        """Return ``file:line`` of a row."""
        return f"{self.file}:{self.lines[row]}" if len(self.lines) else self.file


@dataclass(frozen=True)
class RawSplit:
    """One split: its judgements, and the queries that they may name.

    Attributes:
        queries: shared by all splits where the source keeps one file of queries.
        judgements: of this split.
        shortlists: the documents that alone are ranked for each query, by ids; None where each
            query searches the whole corpus.
    """

    queries: RawTexts
    judgements: RawJudgements
    shortlists: Mapping[str, tuple[str, ...]] | None = field(default=None, repr=False)

    @cached_property
    def relevant(self) -> Mapping[str, tuple[str, ...]]:
        """The ids of the relevant documents (grade >= 1) of each query that exists and has any."""
        found: dict[str, list[str]] = {}
        judged = self.judgements
        for row in np.flatnonzero(judged.grades >= 1):
            query = judged.query_ids[row]
            if query in self.queries.rows:
                found.setdefault(query, []).append(judged.document_ids[row])
        return {query: tuple(dict.fromkeys(documents)) for query, documents in found.items()}


@dataclass(frozen=True)
class RawCollection:
    """What a source holds: documents, and queries and judgements per split.

    Attributes:
        source: the source string, for messages.
        documents: the corpus, common to all splits.
        splits: by name.
        licence: as the source states it, or "".
        notes: what the reader left out, merged or chosen, in sentences with a count.
        hashed: whether the source names no splits, so that a hash of each query chose its own.
        key: content key of everything that the audit reads; None where nothing is remembered.
        cut: how documents are cut into the passages that are searched; None where they are searched
            whole.
        task: of mteb, which it is; None for all other sources.
    """

    source: str
    documents: RawTexts
    splits: Mapping[str, RawSplit]
    licence: str = ""
    notes: tuple[str, ...] = ()
    hashed: bool = False
    key: str | None = None
    cut: Chunking | None = None
    task: MtebTask | None = None

    def split(self, name: str) -> RawSplit:
        """Return a split by its name.

        Raises:
            HarnessError: the source has no such split.
        """
        if name not in self.splits:
            known = [*self.splits, ALL]
            raise HarnessError(
                f"{self.source}: no split {name!r}.{did_you_mean(name, known)}",
                exit_code=ExitCode.DATA,
            )
        return self.splits[name]

    def undivided(self) -> RawCollection:
        """Return the collection with the judgements of all its splits in one, named "all"."""
        parts = list(self.splits.values())
        if ALL in self.splits or not parts:
            return self
        shared = all(part.queries is parts[0].queries for part in parts)
        queries = [parts[0].queries] if shared else [part.queries for part in parts]
        judged = [part.judgements for part in parts]
        together = RawSplit(
            RawTexts(
                file=_files(each.file for each in queries),
                ids=tuple(key for each in queries for key in each.ids),
                texts=tuple(text for each in queries for text in each.texts),
                lines=_lines(queries),
                clusters=tuple(cluster for each in queries for cluster in each.clusters),
            ),
            RawJudgements(
                file=_files(each.file for each in judged),
                query_ids=tuple(key for each in judged for key in each.query_ids),
                document_ids=tuple(key for each in judged for key in each.document_ids),
                grades=np.concatenate([each.grades for each in judged]),
                lines=_lines(judged),
            ),
        )
        key = None if self.key is None else digest(self.key, ALL)
        return replace(self, splits={ALL: together}, key=key)


def _files(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _lines(parts: Sequence[RawTexts] | Sequence[RawJudgements]) -> npt.NDArray[np.int32]:
    """Return the lines of parts of one file; none where a line would not say of which file."""
    one_file = len({part.file for part in parts}) == 1
    return np.concatenate([part.lines for part in parts if one_file] or [NO_LINES])
