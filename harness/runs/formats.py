"""Formats: the results in a run file of TREC's or any other format, one by one."""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from harness.collection.columns import KNOWN_NAMES, Choose, columns, plain_name
from harness.collection.frames import is_frame, records_of
from harness.collection.reading import (
    BrokenInput,
    Record,
    existing,
    file_problem,
    identifier_of,
    number_of,
    read_lines,
    suffix_of,
)
from harness.collection.tables import cells_of, read_parquet, read_records, read_table

ScoreKind = Literal["similarity", "distance", "ranks"]
_SHOWN_CHARACTERS = 40
_TREC_FIELDS = 6
_TABLE_SUFFIXES = (".json", ".jsonl", ".ndjson", ".lz4", ".parquet", ".parq")
UNREADABLE = (OSError, EOFError, TypeError, ValueError, RuntimeError, zlib.error)
_FIELD = re.compile(r"[^ \t\r\n\f\v]+")  # str.split would also split at spaces that do not break
_RANK = re.compile(r"[0-9]{1,9}")
_KNOWN_FORMATS = (
    "'qid Q0 docid rank score tag' (TREC), 'qid docid rank' or 'qid docid rank score' (MS MARCO), "
    "or a header with 'query_id', 'document_id' and 'score'"
)


class RunEntry(NamedTuple):
    """One result: line or row, ids, the score as found, and the rank where it is a whole number."""

    line: int
    query: str
    document: str
    score: Any
    rank: int | None = None


class GivenRun(NamedTuple):
    """A run in memory: {query: {document: score}}, or a DataFrame with the columns of a table.

    Attributes:
        label: stands in messages for the file.
        content: the run.
    """

    label: str
    content: Any

    def __str__(self) -> str:
        return self.label


def run_entries(
    source: Path | GivenRun, known: Container[str], scores: ScoreKind | None, broken: BrokenInput
) -> Iterator[RunEntry]:
    """Yield the results of a file of any format, or of a run in memory; mistakes go to `broken`.

    Args:
        source: what is read.
        known: ids of queries, which tell the split where a file has several.
        scores: what the suite says of them.
        broken: takes the problems.

    Raises:
        TypeError: the content is no run; one of `UNREADABLE`, as all that reading raises.
    """
    if not isinstance(source, GivenRun):
        return _rows(source, known, scores, broken)
    if isinstance(source.content, Mapping) and not is_frame(source.content):
        return _nested_rows(source.content)
    choose = _run_columns(scores, broken)
    return _record_rows(records_of(source.content, source.label, choose, broken), broken)


def is_typed(path: Path | GivenRun) -> bool:
    """Tell whether a number is one where it is read, and a text is none."""
    return isinstance(path, GivenRun) or suffix_of(path) in _TABLE_SUFFIXES


def _rows(
    path: Path, known: Container[str], scores: ScoreKind | None, broken: BrokenInput
) -> Iterator[RunEntry]:
    path = existing(path)
    problem = file_problem(path)
    if problem:
        broken.add(path, problem)
        return
    match suffix_of(path):
        case ".json":
            text = "".join(line for _, line in read_lines(path, broken))
            content = json.loads(text, object_pairs_hook=_without_repetition) if text else None
            yield from _nested_rows(_of_mteb(content, known))
        case ".lz4":
            from ranx.io import load_lz4

            yield from _nested_rows(load_lz4(str(path)))
        case ".parquet" | ".parq" | ".jsonl" | ".ndjson":
            yield from _table_rows(path, scores, broken)
        case _:
            first = next((text for _, text in read_lines(path, BrokenInput()) if text.strip()), "")
            names = {plain_name(cell) for cell in cells_of(first)}
            if len(names & KNOWN_NAMES) > 1:
                yield from _table_rows(path, scores, broken)
            else:
                yield from _text_rows(path, broken)


def _text_rows(path: Path, broken: BrokenInput) -> Iterator[RunEntry]:
    """Yield the lines of TREC's format, or of MS MARCO's, whose rank takes the place of a score."""
    before: dict[str, int] = {}
    for line, text in read_lines(path, broken):
        fields = _FIELD.findall(text)
        if len(fields) >= _TREC_FIELDS and (what := _misplaced(fields)):
            broken.add(path, what, line=line, cause="white space in an id")
        elif len(fields) >= _TREC_FIELDS:  # white space is no harm in the tag, which is last
            yield RunEntry(line, fields[0], fields[2], fields[4], _whole(fields[3]))
        elif len(fields) in (3, 4) and _RANK.fullmatch(fields[2]):
            query, document, rank = fields[:3]
            if len(fields) == 3 and int(rank) <= before.get(query, -1):
                what = f"third column is no rank, which grows within a query, got {rank}"
                what = f"{what}. Write {_KNOWN_FORMATS}."
                broken.add(path, what, line=line, cause="no rank")
            before[query] = int(rank)
            score = fields[3] if len(fields) > 3 else f"-{rank}"
            yield RunEntry(line, query, document, score, int(rank))
        elif fields:
            what = f"got {len(fields)} fields, expected {_KNOWN_FORMATS}. Complete the line."
            broken.add(path, what, line=line, cause="number of fields")


def _misplaced(fields: list[str]) -> str:
    """Return why the fields of a TREC line may stand elsewhere than they seem to; "" if not.

    White space in an id moves the others on. trec_eval ignores the rank, so that any number will
    do, and would read the wrong field as the score.
    """
    if not _RANK.fullmatch(fields[3]) and number_of(fields[3]) is None:
        what = f"got {in_short(fields[3])} where the rank is expected"
        fix = "Write a whole number there, or 0 where nothing is ranked"
    elif len(fields) > _TREC_FIELDS and number_of(fields[5]) is not None:
        what = f"got {len(fields)} fields, so that {in_short(fields[4])} or {in_short(fields[5])}"
        what, fix = f"{what} may be the score", "Write a tag that is one word and no number"
    else:
        return ""
    return f"{what} (qid Q0 docid rank score tag). {fix}, and white space within an id as %20."


def _table_rows(path: Path, scores: ScoreKind | None, broken: BrokenInput) -> Iterator[RunEntry]:
    """Yield the rows of a table; one without scores is read by its ranks."""
    choose = _run_columns(scores, broken)
    match suffix_of(path):
        case ".parquet" | ".parq":
            records = read_parquet(path, broken, choose)
        case ".jsonl" | ".ndjson":
            records = read_records(path, broken, choose=choose)
        case _:
            records = read_table(path, broken, choose=choose)
    yield from _record_rows(records, broken)


def _record_rows(records: Iterable[Record], broken: BrokenInput) -> Iterator[RunEntry]:
    for record in records:
        values = record.values
        query = identifier_of(record, "query_id", broken)
        document = identifier_of(record, "document_id", broken)
        rank = values.get("rank")
        value = number_of(rank)
        score = values.get("score", None if value is None else -value)
        yield RunEntry(record.line, query, document, score, _whole(rank))


def _whole(rank: Any) -> int | None:
    """Return a rank that is a whole number, also one that was written as 1.0; else None."""
    if isinstance(rank, str) and _RANK.fullmatch(rank):
        return int(rank)
    value = number_of(rank)
    return int(value) if value is not None and value.is_integer() and 0 <= value < 1e9 else None


def _run_columns(scores: ScoreKind | None, broken: BrokenInput) -> Choose:
    optional = ("score", "rank", "distance")
    choose_any = columns(("query_id", "document_id"), optional, broken)

    def choose(file: str, names: Sequence[str]) -> dict[str, str]:
        found = choose_any(file, names)
        distance = found.pop("distance", None)
        if "score" in found or not found or (distance is None and "rank" in found):
            return found
        if distance is not None and scores is not None:
            return {**found, "score": distance}
        got = ", ".join(repr(name) for name in names)
        if distance is None:
            broken.add(file, f"no column 'score' or 'rank', got {got}. Rename the column.")
        else:
            what = f"no column 'score', and some systems call a similarity {distance!r}, too"
            fix = 'Write scores = "distance" beside run (smaller is better) or "similarity".'
            broken.add(file, f"{what}. {fix}")
        return {}

    return choose


def _of_mteb(content: Any, known: Container[str]) -> Any:
    """Return the results in a file of mteb's predictions; other content as it is.

    It is ``{subset: {split: {query: {document: score}}}}`` beside the name of the model. Of several
    splits the one is taken whose queries the collection has.
    """
    if not isinstance(content, dict) or "mteb_model_meta" not in content:
        return content
    parts = {
        f"{subset}/{split}": results
        for subset, splits in content.items()
        if subset != "mteb_model_meta" and isinstance(splits, dict)
        for split, results in splits.items()
        if isinstance(results, dict)
    }
    if not parts:
        raise TypeError("mteb's predictions for another task than retrieval")
    fitting = [name for name, results in parts.items() if any(query in known for query in results)]
    if len(fitting) > 1:
        got = " and ".join(repr(name) for name in fitting)
        raise TypeError(f"mteb's predictions for {got}, each with queries of the collection")
    return parts[fitting[0] if fitting else next(iter(parts))]


def _nested_rows(content: Any) -> Iterator[RunEntry]:
    if not isinstance(content, Mapping) or not all(
        isinstance(each, Mapping) for each in content.values()
    ):
        raise TypeError("something else than {query: {document: score}}")
    results = (
        (q, document, score) for q, found in content.items() for document, score in found.items()
    )
    for row, (query, document, score) in enumerate(results, start=1):
        yield RunEntry(row, str(query), str(document), score)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object; the standard library keeps the last of two equal keys silently."""
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise TypeError(f"the key '{twice}' twice in one object")
    return content


def why_unreadable(error: Exception) -> str:
    """Return why a file is no run, in our own words."""
    if isinstance(error, TypeError):
        return f"got {error}"
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON, {error.msg} in line {error.lineno}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return "damaged, or in another format than its ending says"


def in_short(found: Any) -> str:
    """Return what was found in place of a number, in_short for a message."""
    shown = repr(found) if not isinstance(found, int) or abs(found) < 10**40 else "a huge integer"
    return shown if len(shown) < _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}…"
