"""Run files: TREC's format in and out, and the files that ranx writes."""

from __future__ import annotations

import gzip
import json
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.errors import ExitCode, HarnessError
from harness.run import Run, rank_entries

_PROBLEMS_SHOWN = 20
_IDS_SHOWN = 3
_TREC_FIELDS = 6
_TOO_LARGE = 2.0**128 - 2.0**103  # from here on a number rounds to an infinite float32
_TABLE_SUFFIXES = (".json", ".lz4", ".parquet", ".parq")
_UNREADABLE = (OSError, EOFError, ValueError, RuntimeError, zlib.error)

# Line or row in the file, query id, document id, score as found.
_Entry = tuple[int, str, str, Any]


class ImportedRun(NamedTuple):
    """A run read from a file, restricted to the collection, and what the restriction left out.

    Attributes:
        run: rows of the collection.
        unknown_documents: results dropped because the collection has no such document; the results
            below them move up, as if the other system had searched this collection.
        missing_queries: ids of the collection's queries without any result; they score 0.
        unknown_queries: ids in the file that the collection does not have, in file order; ignored.
    """

    run: Run
    unknown_documents: int
    missing_queries: tuple[str, ...]
    unknown_queries: tuple[str, ...]


class _Entries(NamedTuple):
    """All results of a file as parallel columns; unknown ids have the rows after the known ones."""

    lines: npt.NDArray[np.int64]
    queries: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]


def read_run(
    path: Path, *, query_ids: Sequence[str], document_ids: Sequence[str], depth: int
) -> ImportedRun:
    """Read the run that another system wrote and put it into our total order.

    `.json`, `.lz4` and `.parquet` are the formats of `ranx.Run.save`; every other file is TREC's
    `qid Q0 docid rank score tag`, compressed if it ends in `.gz`. The rank column is ignored, as
    in trec_eval: the scores decide, tied ones by document id.

    Args:
        path: the file.
        query_ids: of the collection, ascending.
        document_ids: of the collection, ascending.
        depth: ranks to keep.

    Raises:
        HarnessError: the file cannot be read, has malformed lines or a document twice for a query
            (all at once), or nothing in it belongs to the collection.
    """
    query_rows = {text: row for row, text in enumerate(query_ids)}
    document_rows = {text: row for row, text in enumerate(document_ids)}
    problems: list[str] = []
    try:
        entries = _entries(path, query_rows, document_rows, problems)
    except _UNREADABLE as error:
        problem = f"{path}: cannot be read as a run, got {error}. Check the path and the format."
        raise HarnessError(problem, exit_code=ExitCode.DATA) from error
    problems += _duplicates(path, entries, list(query_rows), list(document_rows))
    if problems:
        raise HarnessError(_shortened(path, problems), exit_code=ExitCode.DATA)
    asked = entries.queries < len(query_ids)
    known = asked & (entries.documents < len(document_ids))
    if not known.any():
        raise HarnessError(_no_match(path, asked, query_rows, query_ids), exit_code=ExitCode.DATA)
    run = rank_entries(
        entries.queries[known],
        entries.documents[known],
        entries.scores[known],
        n_queries=len(query_ids),
        depth=depth,
    )
    found = np.bincount(entries.queries[known], minlength=len(query_ids))
    return ImportedRun(
        run=run,
        unknown_documents=int(np.count_nonzero(asked & ~known)),
        missing_queries=tuple(query_ids[row] for row in np.flatnonzero(found == 0).tolist()),
        unknown_queries=tuple(query_rows)[len(query_ids) :],
    )


def write_run(
    path: Path, run: Run, *, query_ids: Sequence[str], document_ids: Sequence[str], tag: str
) -> None:
    """Write a run as TREC lines from which trec_eval restores exactly our order.

    Nine significant digits identify a float32, and trec_eval puts ties into our order again. A
    query without results has no line (trec_eval counts it as 0 with `-c`).

    Raises:
        HarnessError: an id or the tag is empty or contains white space, which separates the fields.
    """
    used = [document_ids[row] for row in np.unique(run.documents[run.documents >= 0]).tolist()]
    wrong = [text for text in (tag, *query_ids, *used) if text.split() != [text]]
    if wrong:
        raise HarnessError(
            f"{path}: a TREC run cannot hold a name that is empty or contains white space, got "
            f"{_sample(wrong)}. Rename it.",
            exit_code=ExitCode.DATA,
        )
    with path.open("w", encoding="utf-8", newline="\n") as handle:
        for query, rows, scores in zip(query_ids, run.documents, run.scores, strict=True):
            results = zip(rows[rows >= 0].tolist(), scores.tolist(), strict=False)
            for place, (row, value) in enumerate(results, start=1):
                handle.write(f"{query} Q0 {document_ids[row]} {place} {value:.9g} {tag}\n")


def _entries(
    path: Path, query_rows: dict[str, int], document_rows: dict[str, int], problems: list[str]
) -> _Entries:
    """Read a file into columns; unknown ids are added to the mappings, mistakes to `problems`."""
    lines, queries, documents = array("q"), array("q"), array("q")
    scores = array("d")
    for line, query, document, found in _rows(path, problems):
        value = _number(found)
        if value is None:
            problem = f"the score is not a finite 32-bit number, got {found!r}. Correct it."
            problems.append(f"{_where(path, line)}: {problem}")
        else:
            lines.append(line)
            queries.append(query_rows.setdefault(query, len(query_rows)))
            documents.append(document_rows.setdefault(document, len(document_rows)))
            scores.append(value)
        if len(problems) > _PROBLEMS_SHOWN:
            break
    return _Entries(
        np.array(lines, dtype=np.int64),
        np.array(queries, dtype=np.int64),
        np.array(documents, dtype=np.int64),
        np.array(scores, dtype=np.float64),
    )


def _rows(path: Path, problems: list[str]) -> Iterator[_Entry]:
    match path.suffix:
        case ".json":
            content = json.loads(path.read_text("utf-8"), object_pairs_hook=_without_repetition)
            yield from _nested_rows(content)
        case ".lz4":
            from ranx.io import load_lz4

            yield from _nested_rows(load_lz4(str(path)))
        case ".parquet" | ".parq":
            yield from _parquet_rows(path)
        case _:
            yield from _trec_rows(path, problems)


def _trec_rows(path: Path, problems: list[str]) -> Iterator[_Entry]:
    open_text = gzip.open if path.suffix == ".gz" else open
    with open_text(path, "rt", encoding="utf-8-sig") as handle:
        for line, text in enumerate(handle, start=1):
            fields = text.split()
            if len(fields) >= _TREC_FIELDS:  # trec_eval takes the rest of the line as the tag
                yield line, fields[0], fields[2], fields[4]
            elif fields:
                wanted = f"expected 'qid Q0 docid rank score tag', got {len(fields)} fields"
                problems.append(f"{_where(path, line)}: {wanted}. Complete the line.")


def _nested_rows(content: Any) -> Iterator[_Entry]:
    if not isinstance(content, dict) or not all(isinstance(x, dict) for x in content.values()):
        raise ValueError("something else than {query: {document: score}}")
    results = (
        (q, document, score) for q, found in content.items() for document, score in found.items()
    )
    for row, (query, document, score) in enumerate(results, start=1):
        yield row, str(query), str(document), score


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object; the standard library keeps the last of two equal keys silently."""
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key '{twice}' twice in one object")
    return content


def _parquet_rows(path: Path) -> Iterator[_Entry]:
    """Yield the rows of ranx's table, which ranx itself cannot read under pandas 3."""
    import pandas as pd

    table = pd.read_parquet(path, columns=["q_id", "doc_id", "score"])
    columns = (table["q_id"].astype(str), table["doc_id"].astype(str), table["score"])
    for row, (query, document, score) in enumerate(zip(*columns, strict=True), start=1):
        yield row, query, document, score


def _number(found: Any) -> float | None:
    try:
        value = float(found)
    except (TypeError, ValueError):
        return None
    return value if abs(value) < _TOO_LARGE else None  # no NaN is smaller than anything


def _duplicates(
    path: Path, entries: _Entries, query_ids: Sequence[str], document_ids: Sequence[str]
) -> list[str]:
    """Name both places of every document that a query has twice."""
    order = np.lexsort((entries.lines, entries.documents, entries.queries))
    lines, queries, documents = (column[order] for column in entries[:3])
    again = 1 + np.flatnonzero((np.diff(queries) == 0) & (np.diff(documents) == 0))
    return [
        f"{_where(path, lines[i])}: query '{query_ids[queries[i]]}' has document "
        f"'{document_ids[documents[i]]}' again, first at {lines[i - 1]}. Keep one of them."
        for i in again[: _PROBLEMS_SHOWN + 1]
    ]


def _shortened(path: Path, problems: list[str]) -> list[str]:
    if len(problems) <= _PROBLEMS_SHOWN:
        return problems
    more = f"{path}: there are more problems than these {_PROBLEMS_SHOWN}. Correct them first."
    return [*problems[:_PROBLEMS_SHOWN], more]


def _no_match(
    path: Path,
    asked: npt.NDArray[np.bool_],
    query_rows: Mapping[str, int],
    query_ids: Sequence[str],
) -> str:
    """Say whether queries or documents are the ones that do not match."""
    if asked.any():
        return (
            f"{path}: none of its documents for these queries is in the collection. Use the ids of "
            "the collection's documents."
        )
    found = _sample(list(query_rows)[len(query_ids) :])
    return (
        f"{path}: none of its queries is in the collection, got {found}; the collection has "
        f"{_sample(query_ids)}. Use the ids of the collection's queries."
    )


def _sample(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_IDS_SHOWN]) or "none"
    return f"{shown}, … ({len(names)})" if len(names) > _IDS_SHOWN else shown


def _where(path: Path, line: int) -> str:
    return f"{path}: row {line}" if path.suffix in _TABLE_SUFFIXES else f"{path}:{line}"
