"""Read (query, document) rows, such as a click log, from CSV, TSV, Parquet or JSON lines.

Columns: `query` and `document`, and where they exist `grade` (an integer, else 1), `split`,
`query_id`, `document_id`, and the cluster column that the suite names; each under any of its usual
names, or the one that the suite says. Others are not read. The corpus is every distinct document;
where it lies apart, `document_id` is needed and `document` is not read.

Without ids, an id is a hash of the text: one query text is one query, however many documents it
has. Without splits, a hash of the normalised query text decides: 70% train, 10% dev, 20% test,
so that a query never falls in two splits, on any machine and whatever rows are added; where nothing
learns from the file, all of it is scored. A pair that is given twice keeps its largest grade.

A grade that is said to be in a column whose name has "click" in it is a count: the counts of a pair
are added up, 1 or more is relevant, and the sum is the grade.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.collection.columns import Choose, Said, columns, find_columns, in_quotes, plain_name
from harness.collection.raw import (
    PLAIN,
    RawCollection,
    RawJudgements,
    RawSplit,
    RawTexts,
    Reading,
)
from harness.collection.reading import (
    BrokenInput,
    Record,
    grade_of,
    identifier_of,
    text_of,
)
from harness.collection.tables import read_records
from harness.collection.texts import normalise, stable_split
from harness.errors import counted

# What `columns` of a collection may name.
ROLES = ("query", "document", "document_id", "query_id", "grade", "split")
_LARGEST = 2**31 - 1  # of a grade
# Columns that name the file of a question, beside the usual names of an id, the usual one first.
_OF_FILES = ("file", "path", "file_name", "filename", "file_path", "document", "page", "passage")
# What may be the grade, and may as well be anything else.
_LIKE_GRADES = frozenset({"score", "label", "clicks", "click_count"})


class _Pair(NamedTuple):
    query_id: str
    document_id: str
    query: str
    document: str
    grade: int
    split: str
    cluster: str
    line: int


def read_pairs(path: Path, how: Reading = PLAIN) -> RawCollection:
    """Read a file of pairs.

    Args:
        path: of the file.
        how: it is read; where the documents lie apart none is returned.

    Raises:
        HarnessError: the file is missing, empty, of an unknown kind or broken; all problems
            at once.
    """
    broken = BrokenInput()
    choose = pair_columns(how.clusters, broken, said=dict(how.columns), apart=how.apart)
    if how.files:
        choose = _file_columns(how, broken)
    records = read_records(path, broken, choose=choose)
    return pairs_of(str(path), records, how.clusters, broken, apart=how.apart)


def pairs_of(
    file: str,
    records: Iterable[Record],
    clusters: str | None,
    broken: BrokenInput,
    *,
    apart: bool = False,
) -> RawCollection:
    """Return the collection that records of pairs are; without documents if they lie apart.

    Raises:
        HarnessError: there is no pair, or anything is broken; all problems at once.
    """
    given, pairs = [], []
    for record in records:
        given.append(record)
        if record.values["query"] or record.values["document_id" if apart else "document"]:
            pairs.append(_pair(record, clusters, broken, apart=apart))
    named: dict[str, _Pair] = {}
    for pair in pairs:
        other = named.setdefault(pair.query_id, pair)
        if other.cluster != pair.cluster:
            got = f"{pair.cluster!r}, and {other.cluster!r} on line {other.line}"
            what = f"a query is in one cluster, got {got}. Give it one."
            broken.add(file, what, line=pair.line, cause="clusters")
    broken.raise_if_any()
    if not pairs:
        broken.add(file, "no rows. Add pairs of a query and a document.")
        broken.raise_if_any()
    notes = [*broken.doubts, *_notes(file, given, pairs)]
    queries = _distinct(file, ((pair.query_id, pair.query, pair.line) for pair in pairs))
    if clusters is not None:
        first = {pair.query_id: pair.cluster for pair in reversed(pairs)}
        queries = replace(queries, clusters=tuple(first[key] for key in queries.ids))
    texts = [] if apart else pairs
    documents = _distinct(file, ((pair.document_id, pair.document, pair.line) for pair in texts))
    by_split: dict[str, list[_Pair]] = {}
    for pair in pairs:
        by_split.setdefault(pair.split, []).append(pair)
    counts = any("clicks" in record.values for record in given)
    splits = {
        name: RawSplit(queries, _judgements(file, by_split[name], counts=counts))
        for name in sorted(by_split)
    }
    hashed = not any("split" in record.values for record in given)
    return RawCollection(f"pairs:{file}", documents, splits, notes=tuple(notes), hashed=hashed)


def pair_columns(
    clusters: str | None, broken: BrokenInput, *, said: Said, apart: bool = False
) -> Choose:
    """Return the choice of the columns of pairs; what may be a grade and is not read is noted.

    Counts of clicks are "clicks" there, in place of a "grade".
    """
    needed = ("query", "document_id" if apart else "document")
    optional = [each for each in ROLES if each not in (*needed, "document" if apart else "")]
    here = {name: column for name, column in said.items() if name in (*needed, *optional)}
    more = () if clusters is None else (clusters,)
    choose_any = columns((*dict.fromkeys((*needed, *more)),), optional, broken, here)

    def choose(file: str, names: Sequence[str]) -> dict[str, str]:
        found = choose_any(file, names)
        near = [name for name in names if plain_name(name) in _LIKE_GRADES]
        if found and near and "grade" not in found:
            what = f"{near[0]!r} is ignored, and each pair counts as relevant (grade 1)"
            line = f"columns = {{ grade = {in_quotes(near[0])} }}"
            broken.doubts.append(f"{file}: {what}. If it holds grades, say {line}.")
        if "click" in plain_name(said.get("grade", "")) and "grade" in found:
            found["clicks"] = found.pop("grade")
        return found

    return choose


def _file_columns(how: Reading, broken: BrokenInput) -> Choose:
    """Return the choice of the columns of pairs whose documents are files."""

    def choose(file: str, names: Sequence[str]) -> dict[str, str]:
        said, known = dict(how.columns), {plain_name(each): each for each in reversed(names)}
        column = next((known[name] for name in _OF_FILES if name in known), None)
        if column is not None and not find_columns(["document_id"], names, said)["document_id"]:
            said.setdefault("document_id", column)
        return pair_columns(how.clusters, broken, said=said, apart=True)(file, names)

    return choose


def _notes(file: str, records: list[Record], pairs: list[_Pair]) -> Iterator[str]:
    """Yield what was left out, merged or chosen for the user, with its count."""
    blank = len(records) - len(pairs)
    if blank:
        yield f"{file}: {counted(blank, 'row')} without query and document. Left out."
    distinct = len({(pair.query_id, pair.document_id, pair.split) for pair in pairs})
    if distinct < len(pairs):
        what = f"{counted(len(pairs) - distinct, 'row')} with a repeated pair"
        counts = "clicks" in records[0].values
        kept = "Their clicks are summed" if counts else "The largest grade is kept"
        yield f"{file}: {what}. {kept}."
    if "clicks" in records[0].values:
        clicked = len({(pair.query_id, pair.document_id) for pair in pairs if pair.grade > 0})
        yield (
            f"{file}: clicks are the grades of {counted(clicked, 'pair')}: 1 or more is relevant, "
            "and graded metrics such as nDCG weight documents by clicks."
        )
    ungraded = sum(map(_has_no_grade, records))
    if ungraded:
        yield f"{file}: {counted(ungraded, 'row')} without a grade. Each counts as relevant."


def _grade_key(record: Record) -> str:
    return "clicks" if "clicks" in record.values else "grade"


def _has_no_grade(record: Record) -> bool:
    return record.values.get(_grade_key(record), 0) in (None, "")


def _pair(record: Record, clusters: str | None, broken: BrokenInput, *, apart: bool) -> _Pair:
    values, graded = record.values, _grade_key(record)
    query = text_of(record, "query", broken)
    document = "" if apart else text_of(record, "document", broken)

    def optional_id(key: str, text: str) -> str:
        """Return ``q-`` or ``d-`` and a hash where none is given: no query's is a document's."""
        if key in values:
            return identifier_of(record, key, broken)
        body = text.encode("utf-8", "surrogatepass")
        return f"{key[0]}-{hashlib.blake2b(body, digest_size=8).hexdigest()}"

    return _Pair(
        query_id=optional_id("query_id", query),
        document_id=optional_id("document_id", document),
        query=query,
        document=document,
        grade=1
        if graded not in values or _has_no_grade(record)
        else grade_of(record, graded, broken),
        split=identifier_of(record, "split", broken)
        if "split" in values
        else stable_split(normalise(query), train_percent=70, dev_percent=10),
        cluster="" if clusters is None else identifier_of(record, clusters, broken),
        line=record.line,
    )


def _distinct(file: str, rows: Iterator[tuple[str, str, int]]) -> RawTexts:
    first_lines: dict[tuple[str, str], int] = {}
    for key, text, line in rows:
        first_lines.setdefault((key, text), line)
    return RawTexts(
        file=file,
        ids=tuple(key for key, _ in first_lines),
        texts=tuple(text for _, text in first_lines),
        lines=np.array(list(first_lines.values()), dtype=np.int32),
    )


def _judgements(file: str, pairs: list[_Pair], *, counts: bool) -> RawJudgements:
    kept: dict[tuple[str, str], _Pair] = {}
    for pair in pairs:
        key = (pair.query_id, pair.document_id)
        if counts and key in kept:
            total = min(kept[key].grade + pair.grade, _LARGEST)
            kept[key] = kept[key]._replace(grade=total)
        elif key not in kept or pair.grade > kept[key].grade:
            kept[key] = pair
    return RawJudgements(
        file=file,
        query_ids=tuple(query for query, _ in kept),
        document_ids=tuple(document for _, document in kept),
        grades=np.array([pair.grade for pair in kept.values()], dtype=np.int32),
        lines=np.array([pair.line for pair in kept.values()], dtype=np.int32),
    )
