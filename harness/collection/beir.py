"""Read a folder in BEIR's layout, or in FlagEmbedding's variant of it.

BEIR: `corpus.jsonl` {_id, title, text}, `queries.jsonl` {_id, text}, and `qrels/<split>.tsv` with
the header ``query-id corpus-id score``, or in TREC's four columns ``qid 0 docid grade``.
FlagEmbedding (its evaluation README, "Custom Dataset"): `corpus.jsonl` {id, title, text},
`<split>_queries.jsonl` {id, text} and `<split>_qrels.jsonl` {qid, docid, relevance}; there a query
id belongs to its split. Each file may be compressed (``.gz``, ``.bz2``, ``.xz``, ``.zst``).
`META.json` may state a licence.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.collection.raw import RawCollection, RawJudgements, RawSplit, RawTexts
from harness.collection.reading import (
    PACKED,
    BrokenInput,
    Record,
    excerpt,
    existing,
    folder_problem,
    grade_of,
    identifier_of,
    is_grade,
    listed,
    read_json_lines,
    read_lines,
    suffix_of,
    text_of,
    unpacked_name,
)
from harness.collection.tables import (
    KNOWN_NAMES,
    cells_of,
    judgement_columns,
    plain_name,
    read_records,
    read_table,
)

_HEADER = ("query-id", "corpus-id", "score")
_TREC_FIELDS = 4
_OTHER_QRELS = frozenset({".csv", ".txt", ".trec", ".qrels", ".qrel"})


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
    if problem := folder_problem(folder):
        broken.add(folder, problem)
    broken.raise_if_any()
    corpus = existing(folder / "corpus.jsonl")
    documents = documents_of(str(corpus), read_json_lines(corpus, broken), broken)
    names = _flag_embedding_splits(folder)
    if names and not (folder / "qrels").is_dir():
        splits = {
            name: _read_flag_embedding_split(folder, name, clusters, broken) for name in names
        }
    else:
        splits = _read_beir_splits(folder, clusters, broken)
    licence = _read_licence(folder / "META.json", broken)
    broken.raise_if_any()
    notes = tuple(broken.doubts)
    return RawCollection(f"beir:{folder}", documents, splits, licence, notes)


def _flag_embedding_splits(folder: Path) -> list[str]:
    suffixes = ("_queries.jsonl", "_qrels.jsonl")
    return sorted(
        {
            unpacked_name(path.name).removesuffix(suffix)
            for suffix in suffixes
            for packed in ("", *PACKED)
            for path in folder.glob(f"[!.]*{suffix}{packed}")
        }
    )


def _read_flag_embedding_split(
    folder: Path, name: str, clusters: str | None, broken: BrokenInput
) -> RawSplit:
    qrels = existing(folder / f"{name}_qrels.jsonl")
    records = read_records(qrels, broken, choose=judgement_columns(broken))
    return RawSplit(
        queries=_read_queries(folder / f"{name}_queries.jsonl", clusters, broken),
        judgements=judgements_of(str(qrels), records, broken),
    )


def _read_beir_splits(
    folder: Path, clusters: str | None, broken: BrokenInput
) -> dict[str, RawSplit]:
    queries = _read_queries(folder / "queries.jsonl", clusters, broken)
    files: dict[str, Path] = {}
    given = [path for path in (folder / "qrels").glob("[!.]*") if path.is_file()]
    usual = [path for path in given if suffix_of(path) == ".tsv"]  # BEIR's own kind
    for path in sorted(usual or [path for path in given if suffix_of(path) in _OTHER_QRELS]):
        name = Path(unpacked_name(path.name)).stem
        if name in files:
            what = f"judges split {name!r}, as {files[name].name} does. Keep one of the two."
            broken.add(path, what)
        files.setdefault(name, path)
    if not files:
        header = " ".join(_HEADER)
        others = sorted(path.name for path in (folder / "qrels").glob("[!.]*"))
        got = f", got {listed(others)}" if others else ""
        broken.add(folder / "qrels", f"no <split>.tsv{got}. Write one with the header '{header}'.")
    return {
        name: RawSplit(queries, judgements_of(str(path), _read_qrels(path, broken), broken))
        for name, path in files.items()
    }


def documents_of(file: str, records: Iterable[Record], broken: BrokenInput) -> RawTexts:
    """Return the documents that records of an id, a text and perhaps a title are."""

    def text(record: Record) -> str:
        title = text_of(record, "title", broken) if record.values.get("title") else ""
        if title and record.values.get("text", "") is None:
            return title.strip()
        return f"{title} {text_of(record, 'text', broken)}".strip()

    rows = [(_text_id(record, broken), text(record), record.line) for record in records]
    return _texts(file, rows)


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


def _read_queries(path: Path, clusters: str | None, broken: BrokenInput) -> RawTexts:
    path = existing(path)
    return queries_of(str(path), read_json_lines(path, broken), clusters, broken)


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


def _read_qrels(path: Path, broken: BrokenInput) -> Iterator[Record]:
    """Yield the judgements of a table with a header, or those of TREC: ``qid 0 docid grade``."""
    first = next((line for _, line in read_lines(path, BrokenInput()) if line.strip()), "")
    trec = _trec_fields(first)
    if len(trec) == _TREC_FIELDS and is_grade(trec[3]):
        yield from _trec_qrels(path, broken)
    elif first and not any(plain_name(cell) in KNOWN_NAMES for cell in cells_of(first)):
        needed, got = "\\t".join(_HEADER), excerpt(first.rstrip("\r\n"))
        what = f"the first line must be '{needed}', or each line 'qid 0 docid grade' as in TREC"
        broken.add(path, f"{what}, got {got}. Write the header.", line=1)
    else:
        yield from read_table(path, broken, choose=judgement_columns(broken))


def _trec_fields(line: str) -> list[str]:
    fields = line.strip("\r\n").split("\t")
    return fields if len(fields) == _TREC_FIELDS else line.split()


def _trec_qrels(path: Path, broken: BrokenInput) -> Iterator[Record]:
    for number, line in read_lines(path, broken):
        fields = _trec_fields(line)
        if len(fields) == _TREC_FIELDS:
            values = {"query_id": fields[0], "document_id": fields[2], "grade": fields[3]}
            yield Record(str(path), number, values)
        elif fields:
            what = f"four fields are needed, 'qid 0 docid grade', got {excerpt(line.strip())}."
            fix = "Fix or remove the line."
            broken.add(path, f"{what} {fix}", line=number, cause="number of fields")


def judgements_of(file: str, records: Iterable[Record], broken: BrokenInput) -> RawJudgements:
    """Return the judgements that records of query_id, document_id and grade are."""
    rows = [
        (
            identifier_of(record, "query_id", broken),
            identifier_of(record, "document_id", broken),
            grade_of(record, "grade", broken),
            record.line,
        )
        for record in records
    ]
    return RawJudgements(
        file=file,
        query_ids=tuple(row[0] for row in rows),
        document_ids=tuple(row[1] for row in rows),
        grades=np.array([row[2] for row in rows], dtype=np.int32),
        lines=np.array([row[3] for row in rows], dtype=np.int32),
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
