"""Lookup: texts, rankings and values of single queries, read from a results folder when asked for.

The tables are sorted and their row groups are small (`harness.output.inspection`), so a query costs
the few groups that hold it, however large the collection is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harness.arrays import Values
from harness.errors import ExitCode, HarnessError
from harness.output.inspection import DOCUMENTS, JUDGEMENTS, QUERIES, TOP
from reports.stored import renewal

PER_QUERY = "per_query.parquet"
TABLES = (QUERIES, DOCUMENTS, JUDGEMENTS, TOP, PER_QUERY)


_TEXT, _WHOLE, _REAL = "text", "whole numbers", "numbers"
_COLUMNS = {
    QUERIES: {"collection": _TEXT, "query_id": _TEXT, "text": _TEXT},
    DOCUMENTS: {"collection": _TEXT, "document_id": _TEXT, "text": _TEXT},
    JUDGEMENTS: {
        "collection": _TEXT,
        "query_id": _TEXT,
        "document_id": _TEXT,
        "grade": _WHOLE,
    },
    TOP: {
        "candidate": _TEXT,
        "collection": _TEXT,
        "query_id": _TEXT,
        "document_id": _TEXT,
        "rank": _WHOLE,
        "score": _REAL,
        "grade": _WHOLE,
    },
    PER_QUERY: {
        "candidate": _TEXT,
        "collection": _TEXT,
        "query_id": _TEXT,
        "metric": _TEXT,
        "value": _REAL,
        "judged_at_10": _REAL,
    },
}
_MAY_BE_NULL = {JUDGEMENTS: {"document_id"}, TOP: {"grade"}}


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever the bytes of a damaged table do to its readers into one sentence.

    Raises:
        HarnessError: exit code 3, the block failed.
    """
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:  # pyarrow raises its own, Python's and the system's
        what = "no such file" if isinstance(error, FileNotFoundError) else _first_line(error)
        raise HarnessError(
            f"{path}: damaged, got {what}. {renewal(path.parent)}",
            exit_code=ExitCode.DATA,
        ) from error


def _first_line(error: Exception) -> str:
    said = str(error).strip().splitlines()
    return f"{type(error).__name__} ({said[0][:200]})" if said else type(error).__name__


def _check_columns(path: Path) -> None:
    """Refuse a table whose columns are not those that are written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    is_of = {
        _TEXT: lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
        _WHOLE: pa.types.is_integer,
        _REAL: pa.types.is_floating,
    }
    for name, wanted in _COLUMNS[path.name].items():
        kind = schema.field(name).type  # KeyError where it is missing
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not is_of[wanted](plain):
            raise ValueError(f"column '{name}' holds {plain} instead of {wanted}")


def _check_values(path: Path, table: Any) -> None:
    """Refuse a null where none is written."""
    for name in set(_COLUMNS[path.name]) & set(table.column_names):
        if table[name].null_count and name not in _MAY_BE_NULL.get(path.name, ()):
            raise ValueError(f"column '{name}' holds a null")


class Ranked(NamedTuple):
    """A document that a candidate returned; its grade is None where nobody judged it.

    Of a sparse encoder, `terms` are the weightiest that query and document share. Where passages
    are searched, `passage` is the id of its best one.
    """

    rank: int
    document: str
    score: float
    grade: int | None
    terms: str = ""
    passage: str = ""


class QueryScores(NamedTuple):
    """A metric of every candidate on one collection, query by query.

    Attributes:
        query_ids: in the collection's order.
        values_of: by candidate, float64 [n_queries].
        judged_at_10: by candidate, float64 [n_queries].
    """

    query_ids: tuple[str, ...]
    values_of: Mapping[str, Values]
    judged_at_10: Mapping[str, Values]


class Lookup:
    """The tables of a results folder.

    Args:
        folder: of a finished run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def _top(self) -> _Groups:
        return _Groups(self.folder / TOP, ("candidate", "collection", "query_id"))

    @cached_property
    def _documents(self) -> _Groups:
        return _Groups(self.folder / DOCUMENTS, ("collection", "document_id"))

    @cached_property
    def _queries(self) -> dict[str, dict[str, str]]:
        import pyarrow.parquet as pq

        path = self.folder / QUERIES
        with reading(path):
            _check_columns(path)
            table = pq.read_table(path)
            _check_values(path, table)
            columns = [table[name].to_pylist() for name in ("collection", "query_id", "text")]
        found: dict[str, dict[str, str]] = {}
        for collection, query, text in zip(*columns, strict=True):
            found.setdefault(collection, {})[query] = text
        return found

    @cached_property
    def _judged(self) -> _Groups:
        return _Groups(self.folder / JUDGEMENTS, ("collection", "query_id"))

    def queries(self, collection: str) -> dict[str, str]:
        """Return the text of every judged query, in the collection's order."""
        return self._queries.get(collection, {})

    def judgements(self, collection: str, query: str) -> dict[str, int]:
        """Return the grade of every judged document of a query that is in the corpus."""
        rows = self._judged.rows((collection, query))
        return {row["document_id"]: row["grade"] for row in rows if row["document_id"] is not None}

    def outside(self, collection: str, query: str) -> int:
        """Return how many relevant documents of a query are not in the corpus."""
        rows = self._judged.rows((collection, query))
        return sum(1 for row in rows if row["document_id"] is None and row["grade"] >= 1)

    def ranking(self, candidate: str, collection: str, query: str) -> list[Ranked]:
        """Return what a candidate returned for a query, as far as it is stored, best first."""
        rows = self._top.rows((candidate, collection, query))
        return [
            Ranked(
                row["rank"],
                row["document_id"],
                row["score"],
                row["grade"],
                str(row.get("terms") or ""),
                str(row.get("passage") or ""),
            )
            for row in sorted(rows, key=lambda row: int(row["rank"]))
        ]

    def documents(self, collection: str, ids: Iterable[str]) -> dict[str, str]:
        """Return the texts of documents; one whose text is not stored is absent."""
        wanted = [(collection, document) for document in dict.fromkeys(ids)]
        return {row["document_id"]: row["text"] for row in self._documents.any_of(wanted)}

    def scores(self, collection: str, metric: str) -> QueryScores:
        """Return a metric of every candidate on a collection, query by query."""
        import pyarrow.parquet as pq

        path = self.folder / PER_QUERY
        with reading(path):
            _check_columns(path)
            table = pq.read_table(
                path,
                columns=["candidate", "query_id", "value", "judged_at_10"],
                filters=[("collection", "==", collection), ("metric", "==", metric)],
            )
            _check_values(path, table)
            names = table["candidate"].combine_chunks().dictionary_encode()
            places = names.indices.to_numpy()
            values, judged = table["value"].to_numpy(), table["judged_at_10"].to_numpy()
            known = names.dictionary.to_pylist()
            ids = table["query_id"].to_pylist()
            _check_scores(places, ids, values, judged)
        rows = {name: np.flatnonzero(places == place) for place, name in enumerate(known)}
        first = next(iter(rows.values()), np.empty(0, np.int64))
        return QueryScores(
            tuple(ids[row] for row in first.tolist()),
            {name: values[mine] for name, mine in rows.items() if len(mine)},
            {name: judged[mine] for name, mine in rows.items() if len(mine)},
        )


def _check_scores(places: Any, ids: Sequence[str], values: Values, judged: Values) -> None:
    """Refuse what no metric gives, and candidates that are not scored on the same queries."""
    for name, found in (("value", values), ("judged_at_10", judged)):
        if not np.isfinite(found).all():
            raise ValueError(f"column '{name}' holds a value that is not a number")
        if len(found) and not (found.min() >= 0 and found.max() <= 1 + 1e-9):
            raise ValueError(f"column '{name}' holds a value that is not between 0 and 1")
    each = np.array(ids, dtype=object)
    mine = [each[places == place] for place in np.unique(places)]
    if any(len(other) != len(mine[0]) or (other != mine[0]).any() for other in mine):
        raise ValueError("the candidates have different queries")


class _Groups:
    """A sorted Parquet file, and the first key of each of its row groups.

    Rows of one key may lie in two groups that follow each other.

    Args:
        path: the file.
        columns: by which it is sorted within a block; blocks of equal leading columns come in the
            order in which they were written.
    """

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        import pyarrow.parquet as pq

        self.path = path
        self._columns = columns
        self._blocks: dict[tuple[str, ...], list[tuple[str, str, int]]] = {}
        with reading(path):
            _check_columns(path)
            self._metadata = pq.read_metadata(path)
            self._read_bounds()

    def _read_bounds(self) -> None:
        names = [self._metadata.schema.column(i).name for i in range(len(self._metadata.schema))]
        places = [names.index(column) for column in self._columns]
        for number in range(self._metadata.num_row_groups):
            group = self._metadata.row_group(number)
            if not group.num_rows:
                continue
            *leading, last = (group.column(place).statistics for place in places)
            block = tuple(str(bound.min) for bound in leading)
            self._blocks.setdefault(block, []).append((str(last.min), str(last.max), number))

    def rows(self, key: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return the rows of one key."""
        return self.any_of([key])

    def any_of(self, keys: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
        """Return the rows whose key is one of these."""
        import pyarrow.parquet as pq

        wanted: dict[int, set[str]] = {}
        for key in keys:
            for number in self._holding(key):
                wanted.setdefault(number, set()).add(key[-1])
        if not wanted:
            return []
        with reading(self.path), pq.ParquetFile(self.path, metadata=self._metadata) as file:
            return [
                row for number in sorted(wanted) for row in self._kept(file, number, wanted[number])
            ]

    def _kept(self, file: Any, number: int, ids: set[str]) -> list[dict[str, Any]]:
        import pyarrow as pa
        import pyarrow.compute as pc

        table = file.read_row_group(number)
        _check_values(self.path, table)
        is_wanted = pc.is_in(table[self._columns[-1]], value_set=pa.array(sorted(ids)))
        rows: list[dict[str, Any]] = table.filter(is_wanted).to_pylist()
        return rows

    def _holding(self, key: tuple[str, ...]) -> list[int]:
        """Return the groups whose bounds include a key."""
        groups = self._blocks.get(key[:-1], [])
        last = bisect_right(groups, key[-1], key=lambda group: group[0])
        return [number for low, high, number in groups[:last] if low <= key[-1] <= high]
