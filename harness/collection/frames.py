"""Texts that Python gives: DataFrames or mappings, read by the readers of files.

So they are checked in the same way and have the same content keys as the same texts in files. In
messages an argument, such as ``collections['claims']['documents']``, stands for the file, and the
place of a row, from 0 as in ``.iloc``, for the line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.collection.beir import documents_of, queries_of
from harness.collection.columns import Choose, Said, judgement_columns, text_columns
from harness.collection.pairs import pair_columns, pairs_of
from harness.collection.qrels import judgements_of, read_judgements
from harness.collection.raw import RawCollection, RawSplit, RawTexts
from harness.collection.reading import BrokenInput, Record, identifier_of

if TYPE_CHECKING:
    import pandas as pd

GIVEN = "frames"  # the kind of source that these collections state
_SIDES = ("documents", "queries", "judgements")
TEXTS = frozenset({*_SIDES, "pairs"})


def read_values(
    values: Mapping[str, Any],
    *,
    name: str,
    split: str,
    clusters: str | None = None,
    columns: Said | None = None,
) -> RawCollection:
    """Read a collection from its texts.

    Args:
        values: `documents`, `queries` and `judgements`, or `pairs`, which may have their corpus
            in `documents`. Each is a DataFrame with the columns of the same file, under any of
            their usual names; documents and queries may be a mapping from id to text, judgements
            one from query id to {document id: grade}.
        name: of the collection.
        split: of judgements that have no column of splits.
        clusters: column of the queries or pairs that names their cluster, or "document", or None.
        columns: which column of the pairs holds what, where it has no usual name.

    Raises:
        HarnessError: exit code 3, with everything that is missing or broken.
    """
    broken = BrokenInput()
    labels = {key: f"collections[{name!r}][{key!r}]" for key in (*_SIDES, "pairs")}
    column = None if clusters == "document" else clusters
    if "pairs" in values:
        return _pairs(values, labels, column, columns or {}, broken)
    if columns:
        broken.add(labels["queries"], "'columns' names those of pairs. Rename the columns here.")
    for key in _SIDES:
        if key not in values:
            broken.add(labels[key], "is missing. Give a DataFrame or a mapping.")
    broken.raise_if_any()
    more = () if column is None else (column,)
    documents = documents_of(
        labels["documents"],
        _texts(values["documents"], labels["documents"], "document", ("title",), broken),
        broken,
    )
    queries = queries_of(
        labels["queries"],
        _texts(values["queries"], labels["queries"], "query", more, broken),
        column,
        broken,
    )
    parts = _by_split(values["judgements"], labels["judgements"], split, broken)
    splits = {
        each: RawSplit(queries, judgements_of(labels["judgements"], records, broken))
        for each, records in parts.items()
    }
    broken.raise_if_any()
    source = f"{GIVEN}:{name}"
    return RawCollection(source, documents, splits, notes=tuple(broken.doubts))


def read_grades(given: Any, label: str) -> RawCollection:
    """Read judgements that come without texts, as a collection whose texts are the ids.

    Args:
        given: a DataFrame, {query: {document: grade}}, or the path of a table with a header, of
            TREC's ``qid 0 docid grade``, or of such a mapping as JSON.
        label: stands in messages for what is no file.

    Raises:
        HarnessError: exit code 3, it cannot be read.
    """
    broken = BrokenInput()
    file = str(given) if isinstance(given, str | Path) else label
    if isinstance(given, str | Path):
        judgements = read_judgements([Path(given)], broken)
    else:
        parts = _by_split(given, file, "all", broken)
        records = (record for part in parts.values() for record in part)
        judgements = judgements_of(file, records, broken)
    broken.raise_if_any()

    def texts(ids: Sequence[str]) -> RawTexts:
        distinct = tuple(dict.fromkeys(ids))
        return RawTexts(file, distinct, distinct, np.zeros(len(distinct), dtype=np.int32))

    split = RawSplit(texts(judgements.query_ids), judgements)
    return RawCollection(f"{GIVEN}:{file}", texts(judgements.document_ids), {"all": split})


def _pairs(
    values: Mapping[str, Any],
    labels: Mapping[str, str],
    clusters: str | None,
    said: Said,
    broken: BrokenInput,
) -> RawCollection:
    """Read a collection from a frame of pairs, and perhaps one of documents."""
    label, apart = labels["pairs"], "documents" in values
    if others := sorted(set(values) - {"pairs", "documents"}):
        broken.add(label, f"comes without {' and '.join(others)}. Keep one form.")
    choose = pair_columns(clusters, broken, said=said, apart=apart)
    records = records_of(values["pairs"], label, choose, broken)
    broken.raise_if_any()
    found = pairs_of(label, records, clusters, broken, apart=apart)
    if not apart:
        return found
    corpus = labels["documents"]
    texts = _texts(values["documents"], corpus, "document", ("title",), broken, said)
    documents = documents_of(corpus, texts, broken)
    broken.raise_if_any()
    return replace(found, documents=documents)


def _texts(
    given: Any,
    label: str,
    side: str,
    more: Sequence[str],
    broken: BrokenInput,
    said: Said | None = None,
) -> Iterable[Record]:
    """Yield an id and a text of each row, by the names of BEIR's files."""
    if isinstance(given, Mapping) and not is_frame(given):
        return (
            Record(label, row, {"id": each, "text": text})
            for row, (each, text) in enumerate(given.items())
        )
    return records_of(given, label, text_columns(side, more, broken, said), broken)


def _by_split(given: Any, label: str, split: str, broken: BrokenInput) -> dict[str, list[Record]]:
    """Return the judgements of each split."""
    if isinstance(given, Mapping) and not is_frame(given):
        return {split: list(_judged(given, label, broken))}
    choose_any = judgement_columns(broken)

    def choose(file: str, names: Sequence[str]) -> dict[str, str]:
        found = choose_any(file, names)
        return {**found, "split": "split"} if found and "split" in names else found

    parts: dict[str, list[Record]] = {}
    for record in records_of(given, label, choose, broken):
        named = dict(record.values)
        part = identifier_of(record, "split", broken) if "split" in named else split
        parts.setdefault(part, []).append(record)
    return parts or {split: []}


def _judged(given: Mapping[Any, Any], label: str, broken: BrokenInput) -> Iterator[Record]:
    row = 0
    for query, graded in given.items():
        if not isinstance(graded, Mapping):
            got = type(graded).__name__
            what = f"query {query!r} needs {{document id: grade}}, got {got}. Write a mapping."
            broken.add(label, what, cause="no mapping")
            continue
        for document, grade in graded.items():
            values = {"query_id": query, "document_id": document, "grade": grade}
            yield Record(label, row, {key: _plain(value) for key, value in values.items()})
            row += 1


def records_of(given: Any, label: str, choose: Choose, broken: BrokenInput) -> Iterable[Record]:
    """Yield the rows of a DataFrame, their values by our names."""
    if not is_frame(given):
        got = type(given).__name__
        broken.add(label, f"must be a DataFrame or a mapping, got {got}. Give one of them.")
        return ()
    frame: pd.DataFrame = given
    found = choose(label, [str(each) for each in frame.columns])
    if not found:
        return ()
    by_name = dict(zip(map(str, frame.columns), frame.columns, strict=True))
    columns = [frame[by_name[name]] for name in found.values()]
    cells = [
        [
            _plain(value) if there else None
            for value, there in zip(column, column.notna(), strict=True)
        ]
        for column in columns
    ]
    rows = zip(*cells, strict=True)
    return (
        Record(label, row, dict(zip(found, values, strict=True))) for row, values in enumerate(rows)
    )


def _plain(value: Any) -> Any:
    """Return a scalar of numpy as Python's own."""
    return value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value


def is_frame(given: Any) -> bool:
    """Tell whether something is a DataFrame, without importing pandas."""
    return hasattr(given, "columns") and hasattr(given, "iloc")
