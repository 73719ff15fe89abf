"""Read a folder in BEIR's layout as hubs have it, or in FlagEmbedding's variant of it.

BEIR: `corpus.jsonl` {_id, title, text}, `queries.jsonl` {_id, text}, and `qrels/<split>.tsv` with
the header ``query-id corpus-id score``; each may be a table of another kind and lie elsewhere, as
`layout` says. FlagEmbedding (its evaluation README, "Custom Dataset"): `corpus.jsonl` {id, title,
text}, `<split>_queries.jsonl` {id, text} and `<split>_qrels.jsonl` {qid, docid, relevance}; there a
query id belongs to its split. Each file may be compressed (``.gz``, ``.bz2``, ``.xz``, ``.zst``).
`META.json` may state a licence.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from harness.collection.columns import text_columns
from harness.collection.layout import as_one, label_of, layout_of
from harness.collection.packing import pack_documents
from harness.collection.qrels import judgements_of, read_judgements
from harness.collection.raw import RawCollection, RawSplit, RawTexts
from harness.collection.reading import (
    BrokenInput,
    Record,
    folder_problem,
    identifier_of,
    read_json_lines,
    suffix_of,
    text_of,
)
from harness.collection.tables import JSON_ENDINGS, read_records, renamed


def read_beir(
    folder: Path, *, clusters: str | None = None, into: Path | None = None
) -> RawCollection:
    """Read all splits of a folder.

    Title and text of a document are joined as mteb does: ``(title + " " + text).strip()``.

    Args:
        folder: of the files.
        clusters: key of every query that names its cluster, or None.
        into: as in `Reading`.

    Raises:
        HarnessError: anything in the folder is missing or broken; all problems at once.
    """
    broken = BrokenInput()
    if problem := folder_problem(folder):
        broken.add(folder, problem)
    broken.raise_if_any()
    parts = layout_of(folder, broken)
    documents = read_documents(parts.documents, broken, into=into)
    queries = {name: read_queries(files, clusters, broken) for name, files in parts.queries.items()}
    splits = {
        name: RawSplit(
            queries.get(name) or queries[""],
            read_judgements(files, broken)
            if files
            else judgements_of(str(folder / "qrels"), (), broken),
        )
        for name, files in parts.judgements.items()
    }
    licence = _read_licence(folder / "META.json", broken)
    broken.raise_if_any()
    notes = tuple(broken.doubts)
    return RawCollection(f"beir:{folder}", documents, splits, licence, notes)


def beir_files(folder: Path) -> list[Path]:
    """Return every file that `read_beir` looks at."""
    meta = folder / "META.json"
    return [*layout_of(folder, BrokenInput()).files, *([meta] if meta.is_file() else [])]


def read_documents(
    files: Sequence[Path], broken: BrokenInput, *, into: Path | None = None
) -> RawTexts:
    """Return the documents of a table or its shards."""
    records = (
        record for path in files for record in _texts_of(path, "document", ("title",), broken)
    )
    return as_one(documents_of(label_of(files), records, broken, into=into), files)


def read_queries(files: Sequence[Path], clusters: str | None, broken: BrokenInput) -> RawTexts:
    """Return the queries of a table or its shards."""
    more = () if clusters is None else (clusters,)
    records = (record for path in files for record in _texts_of(path, "query", more, broken))
    return as_one(queries_of(label_of(files), records, clusters, broken), files)


def _texts_of(path: Path, side: str, more: Sequence[str], broken: BrokenInput) -> Iterator[Record]:
    """Yield the records of a file; JSON lines have BEIR's keys, or others of the usual names."""
    choose = text_columns(side, more, broken)
    if suffix_of(path) not in JSON_ENDINGS:
        return read_records(path, broken, choose=choose)
    records = read_json_lines(path, broken)
    first = next(records, None)
    if first is None:
        return iter(())
    records = chain([first], records)
    is_usual = "text" in first.values and not {"_id", "id"}.isdisjoint(first.values)
    named = text_columns(side, more, BrokenInput())(str(path), tuple(first.values))
    return renamed(records, choose) if named and not is_usual else records


def documents_of(
    file: str, records: Iterable[Record], broken: BrokenInput, *, into: Path | None = None
) -> RawTexts:
    """Return the documents that records of an id, a text and perhaps a title are.

    Args:
        file: of the records, for messages.
        records: are read once.
        broken: takes the problems.
        into: as in `Reading`.
    """

    def text(record: Record) -> str:
        title = text_of(record, "title", broken) if record.values.get("title") else ""
        if title and record.values.get("text", "") is None:
            return title.strip()
        return f"{title} {text_of(record, 'text', broken)}".strip()

    rows = ((_text_id(record, broken), text(record), record.line) for record in records)
    return _texts(file, list(rows)) if into is None else RawTexts(file, *pack_documents(rows, into))


def queries_of(
    file: str, records: Iterable[Record], clusters: str | None, broken: BrokenInput
) -> RawTexts:
    """Return the queries that records of an id, a text and perhaps a cluster are."""
    given = list(records)
    rows = [
        (_text_id(record, broken), text_of(record, "text", broken), record.line) for record in given
    ]
    if clusters is None:
        return _texts(file, rows)
    named = tuple(identifier_of(record, clusters, broken) for record in given)
    return replace(_texts(file, rows), clusters=named)


def _text_id(record: Record, broken: BrokenInput) -> str:
    key = "id" if "id" in record.values and "_id" not in record.values else "_id"
    return identifier_of(record, key, broken)


def _texts(file: str, rows: list[tuple[str, str, int]]) -> RawTexts:
    return RawTexts(
        file=file,
        ids=tuple(row[0] for row in rows),
        texts=tuple(row[1] for row in rows),
        lines=np.array([row[2] for row in rows], dtype=np.int32),
    )


def _read_licence(path: Path, broken: BrokenInput) -> str:
    if not path.is_file():
        return ""
    try:
        meta = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        broken.add(path, "not valid JSON in UTF-8. Fix or remove the file.")
        return ""
    stated = (meta.get("licence") or meta.get("license")) if isinstance(meta, dict) else None
    return stated if isinstance(stated, str) else ""
