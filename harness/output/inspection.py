"""Inspection: texts, judgements and rankings as tables from which a single query is cheap to fetch.

Every table is sorted by its first columns, and its row groups are small, so that their statistics
lead a reader to the few that hold a query or a document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from harness.arrays import Rows
from harness.collection import NO_GRADE, Collection
from harness.runs.metrics import Scorecard
from harness.runs.run import Run

if TYPE_CHECKING:
    import pyarrow as pa

DEPTH = 100  # ranks that are kept for looking; the whole run lies in runs/
QUERIES, DOCUMENTS = "queries.parquet", "documents.parquet"
JUDGEMENTS, TOP = "judgements.parquet", "top.parquet"
_TEXTS_IN_GROUP, _ROWS_IN_GROUP = 256, 10_000

Runs = Callable[[str], Iterable[tuple[str, Run]]]
# For a candidate, a collection and a run: the shared terms of each query's documents, as text; None
# where the candidate is no sparse encoder.
TermsOf = Callable[[str, str, Run], Iterable[list[str]] | None]
# For a candidate and a collection: the best passage of each result, as rows of the passages.
PassagesOf = Callable[[str, str], Rows]


def write_inspection(
    folder: Path,
    collections: Mapping[str, Collection],
    runs: Runs,
    *,
    terms: TermsOf | None = None,
    passages: PassagesOf | None = None,
) -> None:
    """Write the tables of finished runs.

    * `queries.parquet`: collection, query_id, text.
    * `documents.parquet`: collection, document_id, text, of the documents that are judged or among
      the first `DEPTH` of any run, and of the best passages of these.
    * `judgements.parquet`: collection, query_id, document_id, grade; the id is null where a judged
      document is not in the corpus.
    * `top.parquet`: candidate, collection, query_id, rank from 1 to `DEPTH`, document_id, score,
      and grade, null where nobody judged; and terms, the weightiest that query and document
      share, where the suite has a sparse encoder, null for other candidates; and passage, the id
      of the best one, where any collection has passages, null in others.

    Args:
        folder: exists.
        collections: by name.
        runs: gives (candidate, run) of every candidate on a collection, of which one at a time is
            in memory.
        terms: of the first `DEPTH` of a run; None where no candidate has any.
        passages: of collections that have any; None where none has.
    """
    _write(
        folder / TOP,
        (
            _top(texts, name, run, terms, passages)
            for texts in collections.values()
            for name, run in runs(texts.name)
        ),
        rows=_ROWS_IN_GROUP,
    )
    _write(folder / QUERIES, map(_queries, collections.values()), rows=_TEXTS_IN_GROUP)
    _write(
        folder / DOCUMENTS,
        (_documents(texts, runs(texts.name), passages) for texts in collections.values()),
        rows=_TEXTS_IN_GROUP,
    )
    _write(folder / JUDGEMENTS, map(_judgements, collections.values()), rows=_ROWS_IN_GROUP)


def write_per_query(
    path: Path, cards: Iterable[tuple[str, Collection, Scorecard]], metrics: Sequence[str]
) -> None:
    """Write one row per candidate, collection, metric and query.

    Args:
        path: of the Parquet file.
        cards: candidate, collection and scorecard.
        metrics: which values.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for name, texts, card in cards:
        n, judged = card.n_queries, texts.judgements
        relevant = np.bincount(judged.queries[judged.grades >= 1], minlength=n)
        for metric in metrics:
            columns = {
                "candidate": _same(name, n),
                "collection": _same(texts.name, n),
                "split": _same(texts.split, n),
                "query_id": pa.array(texts.query_ids),
                "metric": _same(metric, n),
                "value": pa.array(np.array(card.values[metric])),
                "judged_at_10": pa.array(np.array(card.judged_at_10)),
                "relevant": pa.array(relevant),
                "missing": pa.array(np.array(card.missing)),
            }
            tables.append(pa.table(columns))
    pq.write_table(pa.concat_tables(tables).unify_dictionaries(), path, compression="zstd")


def _queries(texts: Collection) -> pa.Table:
    import pyarrow as pa

    return pa.table(
        {
            "collection": _same(texts.name, len(texts.query_ids)),
            "query_id": pa.array(texts.query_ids, pa.string()),
            "text": pa.array(texts.queries, pa.string()),
        }
    )


def _documents(
    texts: Collection, runs: Iterable[tuple[str, Run]], passages: PassagesOf | None
) -> pa.Table:
    import pyarrow as pa

    is_seen = np.zeros(len(texts.document_ids) + 1, dtype=np.bool_)  # row -1 is the last
    is_seen[texts.judgements.documents] = True
    best: set[int] = set()
    for name, run in runs:
        is_seen[run.documents[:, :DEPTH]] = True
        if passages is not None and texts.passages is not None:
            best.update(np.unique(passages(name, texts.name)[:, :DEPTH]).tolist())
    kept = np.flatnonzero(is_seen[:-1]).tolist()
    shown = [(texts.document_ids[row], texts.documents[row]) for row in kept]
    if texts.passages is not None:
        cut = texts.passages
        shown = sorted([*shown, *((cut.ids[row], cut.texts[row]) for row in best - {-1})])
    return pa.table(
        {
            "collection": _same(texts.name, len(shown)),
            "document_id": pa.array([key for key, _ in shown], pa.string()),
            "text": pa.array([text for _, text in shown], pa.string()),
        }
    )


def _judgements(texts: Collection) -> pa.Table:
    import pyarrow as pa

    judged = texts.judgements
    return pa.table(
        {
            "collection": _same(texts.name, len(judged.grades)),
            "query_id": _ids(texts.query_ids, judged.queries),
            "document_id": _ids(texts.document_ids, judged.documents),
            "grade": pa.array(judged.grades, pa.int32()),
        }
    )


def _top(
    texts: Collection, name: str, run: Run, terms: TermsOf | None, passages: PassagesOf | None
) -> pa.Table:
    import pyarrow as pa

    queries, ranks = np.nonzero(run.documents[:, :DEPTH] >= 0)
    documents = run.documents[queries, ranks]
    grades = texts.judgements.grades_of(documents[:, None], queries=queries)[:, 0]
    more: dict[str, Any] = {}
    if terms is not None:
        told = terms(name, texts.name, Run(run.documents[:, :DEPTH], run.scores[:, :DEPTH]))
        column: list[str | None] = [None] * len(queries)
        if told is not None:
            column = [each for query in told for each in query]
        more["terms"] = pa.array(column, pa.string())
    if passages is not None:
        cut = texts.passages
        best = np.full(len(queries), -1)
        if cut is not None:
            best = passages(name, texts.name)[queries, ranks]
        more["passage"] = _ids(() if cut is None else cut.ids, best)
    return pa.table(
        {
            "candidate": _same(name, len(queries)),
            "collection": _same(texts.name, len(queries)),
            "query_id": _ids(texts.query_ids, queries),
            "rank": pa.array(ranks + 1, pa.int16()),
            "document_id": _ids(texts.document_ids, documents),
            "score": pa.array(run.scores[queries, ranks], pa.float32()),
            "grade": pa.array(grades, pa.int32(), mask=grades == NO_GRADE),
            **more,
        }
    )


def _same(text: str, count: int) -> pa.Array:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), [text])


def _ids(ids: Sequence[str], rows: npt.NDArray[Any]) -> pa.Array:
    """Return the ids of rows; null for row -1."""
    import pyarrow as pa

    return pa.array((None if row < 0 else ids[row] for row in rows.tolist()), pa.string())


def _write(path: Path, tables: Iterable[pa.Table], *, rows: int) -> None:
    """Write tables one after the other, so that only one is in memory."""
    import pyarrow.parquet as pq

    writer: pq.ParquetWriter | None = None
    try:
        for table in tables:
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table, row_group_size=rows)
    finally:
        if writer is not None:
            writer.close()
