"""Grades: a file that people fill in, row by row from the top, and what stands in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.collection import NO_GRADE, Collection, Judgements
from harness.collection.columns import columns
from harness.collection.judged import BAD_QUERY, SKIP
from harness.collection.reading import BrokenInput
from harness.collection.tables import read_records

HIGHEST = 3  # grade of language models, and of people where the collection has no higher one


class Graded(NamedTuple):
    """One row of the file that is filled in.

    Attributes:
        query, document: ids.
        grade: None where it is skipped, or the query is bad.
        bad: the query is no question that anybody could judge documents for.
        sample: names the draws that the row belongs to.
    """

    query: str
    document: str
    grade: int | None
    bad: bool
    sample: str


def read_grades(file: Path, collection: Collection) -> list[Graded]:
    """Return the rows of a file that are filled in, in their order; none where there is no file.

    Raises:
        HarnessError: exit code 3, with every row that is wrong.
    """
    if not file.exists():
        return []
    queries, documents = set(collection.query_ids), set(collection.document_ids)
    highest = max(HIGHEST, int(collection.judgements.grades.max(initial=0)))
    broken = BrokenInput()
    found: list[Graded] = []
    choose = columns(("query_id", "document_id", "grade", "why"), (), broken)
    for record in read_records(file, broken, choose=choose):
        query, document, said, why = (
            str(record.values.get(name) or "").strip()
            for name in ("query_id", "document_id", "grade", "why")
        )
        is_number = said.isascii() and said.isdigit() and len(said) < 10 and int(said) <= highest
        if said and not is_number and said.lower() not in {SKIP, BAD_QUERY}:
            what = (
                f"grade {said!r} is not a whole number from 0 to {highest}. Write one, '{SKIP}', "
                f"'{BAD_QUERY}', or nothing."
            )
            broken.add(file, what, line=record.line, cause="grade")
        elif said and query in queries and document in documents:
            sample = why.removeprefix("Sample ").partition(".")[0]
            grade = int(said) if is_number else None
            found.append(Graded(query, document, grade, said.lower() == BAD_QUERY, sample))
    broken.raise_if_any()
    return found


def as_judgements(collection: Collection, graded: Sequence[Graded]) -> Judgements:
    """Return the rows that have a grade as judgements, of equal pairs the last one."""
    queries = {key: row for row, key in enumerate(collection.query_ids)}
    documents = {key: row for row, key in enumerate(collection.document_ids)}
    rows = {(queries[e.query], documents[e.document]): e.grade for e in graded}
    kept = sorted((*pair, grade) for pair, grade in rows.items() if grade is not None)
    found = np.array(kept, dtype=np.int32).reshape(-1, 3)
    return Judgements(found[:, 0], found[:, 1], found[:, 2])


def with_judgements(collection: Collection, first: Judgements) -> Judgements:
    """Return some grades and the judgements of a collection, before which they come."""
    theirs = collection.judgements
    one = first.grades_of(theirs.documents[:, None], queries=theirs.queries)[:, 0]
    kept = one == NO_GRADE
    parts = [
        np.concatenate(each)
        for each in (
            (first.queries, theirs.queries[kept]),
            (first.documents, theirs.documents[kept]),
            (first.grades, theirs.grades[kept]),
        )
    ]
    order = np.argsort(parts[0], kind="stable")
    return Judgements(*(each[order] for each in parts))
