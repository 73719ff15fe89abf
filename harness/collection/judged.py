"""Judgements made later: a table, such as a filled-in queue, that comes before those of the source.

Columns `query_id`, `document_id` and `grade`; other columns are not read. A row without a grade is
not judged yet and is left out, as is one that a person skipped, and all of a bad query.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.collection.columns import judgement_columns
from harness.collection.raw import RawCollection, RawJudgements
from harness.collection.reading import BrokenInput, grade_of, identifier_of
from harness.collection.tables import known_id, read_records, read_table
from harness.hashing import digest

SKIP, BAD_QUERY = "skip", "bad query"  # what may stand in the place of a grade


class Judged(NamedTuple):
    """A collection with more judgements, and how many.

    Attributes:
        raw: the collection.
        added: pairs that had no judgement.
        changed: pairs that had another grade.
        same: pairs that had the same.
        ungraded: rows without a grade, which are left out.
    """

    raw: RawCollection
    added: int
    changed: int
    same: int
    ungraded: int


class _Row(NamedTuple):
    query: str
    document: str
    grade: int
    line: int


def add_judgements(raw: RawCollection, split: str, path: Path) -> Judged:
    """Return a collection with the judgements of a file before those of one split.

    Raises:
        HarnessError: exit code 3: the file cannot be read, names a query that the split does not
            judge (does not have, where it judges nothing) or a document that is not in the corpus,
            or contradicts itself; all at once.
    """
    part = raw.split(split)
    broken = BrokenInput()
    found: dict[tuple[str, str], _Row] = {}
    asked: Container[str] = set(part.judgements.query_ids) or part.queries.rows
    where = "judged in this split" if part.judgements else f"in {part.queries.file}"
    bad: set[str] = set()
    ungraded = 0
    choose = judgement_columns(broken)
    read = read_records if path.suffix else read_table
    for record in read(path, broken, choose=choose):
        grade = record.values["grade"]
        said = "" if grade is None else str(grade).strip().lower()
        if said in {"", SKIP, BAD_QUERY}:
            ungraded += 1
            if said == BAD_QUERY:
                bad.add(known_id(identifier_of(record, "query_id", broken), part.queries.rows))
            continue
        row = _Row(
            known_id(identifier_of(record, "query_id", broken), part.queries.rows),
            known_id(identifier_of(record, "document_id", broken), raw.documents.rows),
            grade_of(record, "grade", broken),
            record.line,
        )
        if row.query and row.query not in asked:
            what = f"query {row.query!r} is not {where}. Correct the id."
            broken.add(record.file, what, line=record.line, cause="unknown query")
        if row.document and row.document not in raw.documents.rows:
            what = f"document {row.document!r} is not in {raw.documents.file}. Correct the id."
            broken.add(record.file, what, line=record.line, cause="unknown document")
        first = found.setdefault((row.query, row.document), row)
        if first.grade != row.grade:
            what = f"query {row.query!r} and document {row.document!r} are judged {row.grade}"
            what = f"{what}, and {first.grade} in line {first.line}. Keep one."
            broken.add(record.file, what, line=record.line, cause="two grades")
    broken.raise_if_any()
    ungraded += sum(query in bad for query, _ in found)
    found = {pair: row for pair, row in found.items() if pair[0] not in bad}
    return _merged(raw, split, path, found, ungraded=ungraded)


def _merged(
    raw: RawCollection,
    split: str,
    path: Path,
    found: Mapping[tuple[str, str], _Row],
    *,
    ungraded: int,
) -> Judged:
    part = raw.split(split)
    old = part.judgements
    grades = old.grades.tolist()
    before = dict(zip(zip(old.query_ids, old.document_ids, strict=True), grades, strict=True))
    lines = old.lines.tolist() if len(old.lines) else [0] * len(old)
    kept = [
        _Row(query, document, grade, int(line))
        for query, document, grade, line in zip(
            old.query_ids, old.document_ids, grades, lines, strict=True
        )
        if (query, document) not in found
    ]
    rows = kept + list(found.values())
    merged = RawJudgements(
        file=f"{old.file} and {path}",
        query_ids=tuple(row.query for row in rows),
        document_ids=tuple(row.document for row in rows),
        grades=np.array([row.grade for row in rows], dtype=np.int32),
        lines=np.empty(0, dtype=np.int32),  # of two files
    )
    splits = {**raw.splits, split: replace(part, judgements=merged)}
    changed = sum(1 for pair, row in found.items() if before.get(pair, row.grade) != row.grade)
    added = sum(1 for pair in found if pair not in before)
    same = len(found) - added - changed
    said = (merged.file, merged.query_ids, merged.document_ids, merged.grades)
    key = None if raw.key is None else digest(raw.key, split, said)
    return Judged(replace(raw, splits=splits, key=key), added, changed, same, ungraded)
