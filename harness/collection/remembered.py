"""Remembered collections: large files are parsed and audited once, and found again in the store.

What was read is stored under a key of the bytes of its files. Most readers pack documents into the
store while they read, so that memory never holds the texts and ids of all. The digest of a file is
remembered too, with the file's size, times and inode, as git does in its index. A task of mteb is
stored under its name and mteb's version, which names the revision of its data.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import lru_cache
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.arrays import Arrays
from harness.artifact import Artifact
from harness.collection import Collection
from harness.collection.audit import audit
from harness.collection.corpus import CORPUS, corpus_files
from harness.collection.language import Detected, detect_language
from harness.collection.load import SOURCES, load_raw
from harness.collection.mteb_task import SOURCE as MTEB
from harness.collection.mteb_task import task_place
from harness.collection.packed import PackedIds, pack, unpack
from harness.collection.packing import (
    StoredDocuments,
    pack_documents,
    packed_documents,
    save_array,
)
from harness.collection.passages import Chunking
from harness.collection.problem import Problem
from harness.collection.raw import (
    PLAIN,
    MtebTask,
    RawCollection,
    RawJudgements,
    RawSplit,
    RawTexts,
    Reading,
)
from harness.environment import package_version
from harness.errors import HarnessError, UnwritableError
from harness.hashing import code_digest, digest, file_digest
from harness.store import Store
from harness.urls import RemotePath, path_of

# Smaller sources are read faster than they are found in the store.
FEWEST_BYTES = 4_000_000
_MANY = 100  # files of one source

_COLLECTIONS, _AUDITS, _LANGUAGES, _FILES = "collections", "audits", "languages", "files"
# A file that was written within the resolution of its times may change again without a trace.
_RESOLUTION_NS = 2_000_000_000


def read_raw(source: str, how: Reading = PLAIN, *, store: Store) -> RawCollection:
    """Return what `load_raw` returns; a large one from the store where its files are unchanged.

    A store that cannot be written remembers nothing.

    Raises:
        HarnessError: as of `load_raw`.
    """
    key = _key(source, how, store)
    if key is None:
        return load_raw(source, how)
    found = store.get(_COLLECTIONS, key)
    if found is None:
        meta: dict[str, Any] = {}
        with (
            suppress(UnwritableError, _ChangedError),
            store.writing(_COLLECTIONS, key, meta=meta) as folder,
        ):
            raw = load_raw(source, how._replace(into=folder))
            _check_unchanged(key, _key(source, how, store))
            meta.update(_put(raw, folder))
            del raw  # the same lies in the store, where it needs no memory
        found = store.get(_COLLECTIONS, key)
    if found is None:
        raw = load_raw(source, how)
        return replace(raw, key=key) if key == _key(source, how, store) else raw
    place = store.name if "://" in store.name else str(store.root.absolute())
    return replace(_unpacked(found, StoredDocuments(place, _COLLECTIONS, key)), key=key)


class _ChangedError(Exception):
    """Files changed while they were read."""


def _check_unchanged(before: str, after: str | None) -> None:
    if before != after:
        raise _ChangedError


def audited(raw: RawCollection, split: str, *, store: Store) -> tuple[Problem, ...]:
    """Return what `audit` finds, from the store where it has looked at the same before."""
    if raw.key is None:
        return audit(raw, split)
    key = digest("audit", _code(), raw.key, split)
    stored = store.get(_AUDITS, key)
    if stored is not None:
        return tuple(
            Problem(**{**each, "examples": tuple(each["examples"])})
            for each in stored.meta["problems"]
        )
    # What the audit works out of each document is not held longer.
    found = audit(replace(raw, documents=replace(raw.documents)), split)
    with suppress(HarnessError):
        store.put(_AUDITS, key, arrays={}, meta={"problems": [asdict(each) for each in found]})
    return found


def language_of(collection: Collection, *, store: Store) -> Detected:
    """Return what `detect_language` tells of the documents, each collection's once."""
    key = digest("language", _code(), collection.documents_key)
    stored = store.get(_LANGUAGES, key)
    if stored is not None:
        return Detected(*stored.meta["found"])
    found = detect_language(collection.documents)
    with suppress(HarnessError):
        store.put(_LANGUAGES, key, arrays={}, meta={"found": found})
    return found


def remembered_digest(path: Path, *, store: Store) -> str:
    """Return `file_digest` of a file, without reading it where it is unchanged.

    It is unchanged where device, inode, size, and the times of its content and of its inode are.
    A file that has changed within the resolution of these times is never remembered, as in git.
    One at a URL is told by the checksum of its service.
    """
    return path.digest() if isinstance(path, RemotePath) else _remembered([path], store)[0]


def _digests(files: Sequence[Path], store: Store) -> list[str]:
    """Return `remembered_digest` of each file; of many, what is remembered of all together."""
    if len(files) > _MANY and not isinstance(files[0], RemotePath):
        return _remembered(files, store)
    return [remembered_digest(path, store=store) for path in files]


def _remembered(paths: Sequence[Path], store: Store) -> list[str]:
    key = digest("files", *map(os.path.abspath, paths))
    stored, before = store.get(_FILES, key), [_state(path) for path in paths]
    if stored is not None and stored.meta["states"] == before:
        return list(stored.meta["digests"])
    newest = max(each for state in before for each in state[-2:])
    is_settled = time.time_ns() - newest > _RESOLUTION_NS
    read = _read_once if is_settled else _read
    found = [read(path, *state) for path, state in zip(paths, before, strict=True)]
    if is_settled and [_state(path) for path in paths] == before:
        with suppress(HarnessError, OSError):
            meta = {"states": before, "digests": found}
            store.put(_FILES, key, arrays={}, meta=meta, replaces=True)
    return found


def _read(path: Path, *_: int) -> str:
    return file_digest(path)


_read_once = lru_cache(1024)(_read)  # of each state, for every store of this process


def _state(path: Path) -> list[int]:
    status = path.stat()
    return [
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,  # no program can set it back
    ]


def _key(source: str, how: Reading, store: Store) -> str | None:
    """Return the key of what a source holds; None where it is read each time."""
    kind, _, rest = source.partition(":")
    if kind == MTEB and rest and not task_place(rest).code:
        return digest("collection", _code(), source, how, package_version("mteb"))
    files = _files_of(source)
    if sum(path.stat().st_size for path in files) < FEWEST_BYTES:
        return None
    named = [[str(path), found] for path, found in zip(files, _digests(files, store), strict=True)]
    return digest("collection", _code(), source, how, named)


def _code() -> str:
    """Return the key of the code that reads and audits."""
    return code_digest(Path(__file__).parent)


def _files_of(source: str) -> list[Path]:
    """Return every file that the reader of a source looks at; none where it cannot be known."""
    kind, _, rest = source.partition(":")
    found: Sequence[Path] = ()
    with suppress(OSError, ValueError):
        if kind == CORPUS:
            found = corpus_files(path_of(rest))
        elif kind in SOURCES and rest:
            found = SOURCES[kind].files(rest)
        return sorted(path for path in found if path.is_file())
    return []


def _put(raw: RawCollection, folder: Path) -> dict[str, Any]:
    """Write a collection to a folder as arrays, and return what else is to be known of it.

    The documents may lie there already.
    """
    documents = raw.documents
    if not isinstance(documents.ids, PackedIds):
        pack_documents(zip(documents.ids, documents.texts, repeat(0), strict=False), folder)
    queries = list({id(part.queries): part.queries for part in raw.splits.values()}.values())
    arrays: dict[str, npt.NDArray[Any]] = {"documents.lines": documents.lines}
    for number, texts in enumerate(queries):
        arrays.update(_texts_packed(f"queries-{number}", texts))
    for number, part in enumerate(raw.splits.values()):
        name, judged = f"judgements-{number}", part.judgements
        arrays.update(_list_packed(f"{name}.queries", judged.query_ids))
        arrays.update(_list_packed(f"{name}.documents", judged.document_ids))
        arrays.update({f"{name}.grades": judged.grades, f"{name}.lines": judged.lines})
        if part.shortlists is not None:
            arrays.update(_list_packed(f"{name}.asked", list(part.shortlists)))
            arrays.update(_list_packed(f"{name}.ranked", [*chain(*part.shortlists.values())]))
            sizes = [len(each) for each in part.shortlists.values()]
            arrays[f"{name}.sizes"] = np.array(sizes, dtype=np.int64)
    for name, values in arrays.items():
        save_array(folder / f"{name}.npy", values)
    places = [id(texts) for texts in queries]
    return {
        "source": raw.source,
        "licence": raw.licence,
        "notes": list(raw.notes),
        "hashed": raw.hashed,
        "cut": raw.cut,
        "documents": raw.documents.file,
        "queries": [texts.file for texts in queries],
        "splits": [
            [
                name,
                places.index(id(part.queries)),
                part.judgements.file,
                part.shortlists is not None,
            ]
            for name, part in raw.splits.items()
        ],
        "task": None if raw.task is None else raw.task._asdict(),
    }


def _unpacked(found: Artifact, place: StoredDocuments) -> RawCollection:
    meta = found.meta
    task: dict[str, Any] | None = meta["task"]
    ids, texts = packed_documents(found.array, place)
    queries = [
        _texts_unpacked(found, f"queries-{number}", file)
        for number, file in enumerate(meta["queries"])
    ]
    return RawCollection(
        source=meta["source"],
        documents=RawTexts(meta["documents"], ids, texts, found.array("documents.lines")),
        splits={
            name: RawSplit(
                queries[place],
                RawJudgements(
                    file=file,
                    query_ids=_list_unpacked(found, f"judgements-{number}.queries"),
                    document_ids=_list_unpacked(found, f"judgements-{number}.documents"),
                    grades=found.array(f"judgements-{number}.grades"),
                    lines=found.array(f"judgements-{number}.lines"),
                ),
                _lists_unpacked(found, f"judgements-{number}") if listed else None,
            )
            for number, (name, place, file, listed) in enumerate(meta["splits"])
        },
        licence=meta["licence"],
        notes=tuple(meta["notes"]),
        hashed=meta["hashed"],
        cut=None if meta["cut"] is None else Chunking(*meta["cut"]),
        task=None if task is None else MtebTask(**{**task, "languages": tuple(task["languages"])}),
    )


def _lists_unpacked(found: Artifact, name: str) -> dict[str, tuple[str, ...]]:
    """Return each query's documents."""
    ranked = iter(_list_unpacked(found, f"{name}.ranked"))
    sizes = found.array(f"{name}.sizes").tolist()
    asked = _list_unpacked(found, f"{name}.asked")
    return {key: tuple(islice(ranked, n)) for key, n in zip(asked, sizes, strict=True)}


def _texts_packed(name: str, texts: RawTexts) -> Arrays:
    return {
        **_list_packed(f"{name}.ids", texts.ids),
        **_list_packed(f"{name}.texts", texts.texts),
        **_list_packed(f"{name}.clusters", texts.clusters),
        f"{name}.lines": texts.lines,
    }


def _texts_unpacked(found: Artifact, name: str, file: str) -> RawTexts:
    return RawTexts(
        file=file,
        ids=_list_unpacked(found, f"{name}.ids"),
        texts=_list_unpacked(found, f"{name}.texts"),
        lines=found.array(f"{name}.lines"),
        clusters=_list_unpacked(found, f"{name}.clusters"),
    )


def _list_packed(name: str, texts: Sequence[str]) -> Arrays:
    body, ends = pack(texts)
    return {f"{name}.body": body, f"{name}.ends": ends}


def _list_unpacked(found: Artifact, name: str) -> tuple[str, ...]:
    return unpack(found.array(f"{name}.body"), found.array(f"{name}.ends"))
