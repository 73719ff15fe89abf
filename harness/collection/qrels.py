"""Read judgements from files of any usual kind, such as those of BEIR and TREC.

Tables with a header (``query-id corpus-id score`` or other usual names) and without one, three
columns ``qid docid grade`` or TREC's four ``qid 0 docid grade``; JSON lines, Parquet, and the JSON
of ranx, ``{qid: {docid: grade}}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from harness.collection.columns import KNOWN_NAMES, judgement_columns, plain_name
from harness.collection.layout import as_one, label_of
from harness.collection.raw import RawJudgements
from harness.collection.reading import (
    BrokenInput,
    Record,
    excerpt,
    existing,
    grade_of,
    identifier_of,
    is_grade,
    read_lines,
    suffix_of,
)
from harness.collection.tables import cells_of, read_records, read_table

# The columns of a file without a header; TREC's second one, an iteration, is not read.
_FORMS = {3: "qid docid grade", 4: "qid 0 docid grade"}


def read_judgements(files: Sequence[Path], broken: BrokenInput) -> RawJudgements:
    """Return the judgements of one split from its file, or from the shards of one."""
    records = (record for path in files for record in _records(path, broken))
    return as_one(judgements_of(label_of(files), records, broken), files)


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


def _records(path: Path, broken: BrokenInput) -> Iterator[Record]:
    path = existing(path)
    choose = judgement_columns(broken)
    match suffix_of(path):
        case ".json" if (nested := _nested(path)) is not None:
            yield from nested
        case ".parquet" | ".jsonl" | ".ndjson" | ".json":
            yield from read_records(path, broken, choose=choose)
        case _:
            first = next((line for _, line in read_lines(path, BrokenInput()) if line.strip()), "")
            if (form := _form_of(first)) is not None:
                yield from _plain(path, *form, broken)
            elif first and not any(plain_name(cell) in KNOWN_NAMES for cell in cells_of(first)):
                got = excerpt(first.rstrip("\r\n"))
                what = (
                    "the first line must be 'query-id\\tcorpus-id\\tscore', or each line "
                    f"'{_FORMS[4]}' as in TREC or '{_FORMS[3]}', got {got}. Write the header."
                )
                broken.add(path, what, line=1)
            else:
                yield from read_table(path, broken, choose=choose)


def _form_of(line: str) -> tuple[str | None, int] | None:
    r"""Return what separates the fields of a line without names, and how many there are.

    >>> _form_of("q1\td 1\t2"), _form_of("q1 0 d1 2"), _form_of("qid docid grade")
    (('\t', 3), (None, 4), None)
    """
    for delimiter in ("\t", ",", ";", None):
        fields = line.strip("\r\n").split(delimiter)
        if len(fields) in _FORMS and is_grade(fields[-1]):
            return delimiter, len(fields)
    return None


def _plain(path: Path, delimiter: str | None, width: int, broken: BrokenInput) -> Iterator[Record]:
    for number, line in read_lines(path, broken):
        fields = line.strip("\r\n").split(delimiter)
        fields = fields if len(fields) == width else line.split()
        if len(fields) == width:
            query, *_, document, grade = fields
            values = {"query_id": query, "document_id": document, "grade": grade}
            yield Record(str(path), number, values)
        elif fields:
            got = excerpt(line.strip())
            what = f"{width} fields are needed, '{_FORMS[width]}', got {got}."
            broken.add(path, f"{what} Fix or remove the line.", line=number, cause="fields")


def _nested(path: Path) -> list[Record] | None:
    """Return the judgements of ``{query: {document: grade}}``; None where JSON has another form."""
    try:
        content = json.loads("".join(line for _, line in read_lines(path, BrokenInput())))
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not all(isinstance(x, dict) for x in content.values()):
        return None
    pairs = ((query, pair) for query, graded in content.items() for pair in graded.items())
    return [
        Record(str(path), row, {"query_id": query, "document_id": document, "grade": grade})
        for row, (query, (document, grade)) in enumerate(pairs, start=1)
    ]
