"""Read a folder in BEIR's layout, or in FlagEmbedding's variant of it.

BEIR: `corpus.jsonl` {_id, title, text}, `queries.jsonl` {_id, text}, and `qrels/<split>.tsv` with
the header ``query-id corpus-id score``. FlagEmbedding (its evaluation README, "Custom Dataset"):
`corpus.jsonl` {id, title, text}, `<split>_queries.jsonl` {id, text} and `<split>_qrels.jsonl` {qid,
docid, relevance}; there a query id belongs to its split. `META.json` may state a licence.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.collection.raw import RawCollection, RawJudgements, RawSplit, RawTexts
from harness.collection.reading import (
    BrokenInput,
    Record,
    excerpt,
    grade_of,
    identifier_of,
    read_json_lines,
    read_lines,
    text_of,
)
from harness.errors import did_you_mean

_HEADER = ("query-id", "corpus-id", "score")


def read_beir(folder: Path, *, clusters: str | None = None) -> RawCollection:
    """Read all splits of a folder.

    Title and text of a document are joined as mteb does: ``(title + " " + text).strip()``.

    Args:
        folder: of the files.
        clusters: key of every query that tells its cluster, or None.

    Raises:
        HarnessError: anything in the folder is missing or broken; all of it is told at once.
    """
    broken = BrokenInput()
    _check_folder(folder, broken)
    broken.raise_if_any()
    documents = _read_documents(folder / "corpus.jsonl", broken)
    names = _flag_embedding_splits(folder)
    if names and not (folder / "qrels").is_dir():
        splits = {
            name: _read_flag_embedding_split(folder, name, clusters, broken) for name in names
        }
    else:
        splits = _read_beir_splits(folder, clusters, broken)
    licence = _read_licence(folder / "META.json", broken)
    broken.raise_if_any()
    return RawCollection(f"beir:{folder}", documents, splits, licence)


def _check_folder(folder: Path, broken: BrokenInput) -> None:
    if folder.is_dir():
        return
    if folder.exists():
        broken.add(folder, "a folder is needed, got a file. Name the folder that it lies in.")
    elif folder.parent.is_dir():
        near = [path.name for path in folder.parent.iterdir() if path.is_dir()]
        broken.add(folder, f"no such folder.{did_you_mean(folder.name, near)}")
    else:
        broken.add(folder, f"no such folder, nor {str(folder.parent)!r}. Check the path.")


def _flag_embedding_splits(folder: Path) -> list[str]:
    suffixes = ("_queries.jsonl", "_qrels.jsonl")
    return sorted(
        {
            path.name.removesuffix(suffix)
            for suffix in suffixes
            for path in folder.glob(f"[!.]*{suffix}")
        }
    )


def _read_flag_embedding_split(
    folder: Path, name: str, clusters: str | None, broken: BrokenInput
) -> RawSplit:
    qrels = folder / f"{name}_qrels.jsonl"
    keys = ("qid", "docid", "relevance")
    return RawSplit(
        queries=_read_queries(folder / f"{name}_queries.jsonl", clusters, broken),
        judgements=_judgements(qrels, read_json_lines(qrels, broken), keys, broken),
    )


def _read_beir_splits(
    folder: Path, clusters: str | None, broken: BrokenInput
) -> dict[str, RawSplit]:
    queries = _read_queries(folder / "queries.jsonl", clusters, broken)
    files = sorted((folder / "qrels").glob("[!.]*.tsv"))
    if not files:
        header = " ".join(_HEADER)
        broken.add(folder / "qrels", f"no <split>.tsv. Write one with the header '{header}'.")
    return {
        path.stem: RawSplit(queries, _judgements(path, _read_qrels(path, broken), _HEADER, broken))
        for path in files
    }


def _read_documents(path: Path, broken: BrokenInput) -> RawTexts:
    def text(record: Record) -> str:
        title = text_of(record, "title", broken) if record.values.get("title") else ""
        return f"{title} {text_of(record, 'text', broken)}".strip()

    rows = [
        (_text_id(record, broken), text(record), record.line)
        for record in read_json_lines(path, broken)
    ]
    return _texts(path, rows)


def _read_queries(path: Path, clusters: str | None, broken: BrokenInput) -> RawTexts:
    records = list(read_json_lines(path, broken))
    rows = [
        (_text_id(record, broken), text_of(record, "text", broken), record.line)
        for record in records
    ]
    if clusters is None:
        return _texts(path, rows)
    named = tuple(identifier_of(record, clusters, broken) for record in records)
    return replace(_texts(path, rows), clusters=named)


def _text_id(record: Record, broken: BrokenInput) -> str:
    key = "id" if "id" in record.values and "_id" not in record.values else "_id"
    return identifier_of(record, key, broken)


def _texts(path: Path, rows: list[tuple[str, str, int]]) -> RawTexts:
    return RawTexts(
        file=str(path),
        ids=tuple(row[0] for row in rows),
        texts=tuple(row[1] for row in rows),
        lines=np.array([row[2] for row in rows], dtype=np.int32),
    )


def _read_qrels(path: Path, broken: BrokenInput) -> Iterator[Record]:
    lines = read_lines(path, broken)
    _, header = next(lines, (1, ""))
    if tuple(header.rstrip("\r\n").split("\t")) != _HEADER:
        needed = "\\t".join(_HEADER)
        got = excerpt(header.rstrip("\r\n"))
        broken.add(f"{path}:1", f"the first line must be '{needed}', got {got}. Write it.")
        return
    for number, line in lines:
        fields = line.rstrip("\r\n").split("\t")
        if len(fields) == len(_HEADER):
            yield Record(str(path), number, dict(zip(_HEADER, fields, strict=True)))
        elif line.strip():
            what = f"three fields with tabs between are needed, got {excerpt(line.strip())}."
            broken.add(f"{path}:{number}", f"{what} Fix or remove the line.")


def _judgements(
    path: Path, records: Iterable[Record], keys: tuple[str, str, str], broken: BrokenInput
) -> RawJudgements:
    query, document, grade = keys
    rows = [
        (
            identifier_of(record, query, broken),
            identifier_of(record, document, broken),
            grade_of(record, grade, broken),
            record.line,
        )
        for record in records
    ]
    return RawJudgements(
        file=str(path),
        query_ids=tuple(row[0] for row in rows),
        document_ids=tuple(row[1] for row in rows),
        grades=np.array([row[2] for row in rows], dtype=np.int32),
        lines=np.array([row[3] for row in rows], dtype=np.int32),
    )


def _read_licence(path: Path, broken: BrokenInput) -> str:
    if not path.is_file():
        return ""
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        broken.add(path, f"not valid JSON ({error}). Fix or remove the file.")
        return ""
    stated = (meta.get("licence") or meta.get("license")) if isinstance(meta, dict) else None
    return stated if isinstance(stated, str) else ""
