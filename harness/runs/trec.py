"""Run files: TREC's format in and out, and what other systems and libraries write."""

from __future__ import annotations

import json
import re
import zlib
from array import array
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

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
from harness.collection.tables import (
    KNOWN_NAMES,
    Choose,
    cells_of,
    columns,
    known_id,
    plain_name,
    read_parquet,
    read_records,
    read_table,
)
from harness.collection.texts import has_space
from harness.errors import ExitCode, HarnessError
from harness.runs.run import Run, rank_entries

ScoreKind = Literal["similarity", "distance", "ranks"]

_IDS_SHOWN = 3
_SHOWN_CHARACTERS = 40
_TREC_FIELDS = 6
_FEWEST_STEPS = 10  # from one result to the next that all rise: by chance once in a thousand
_TOO_LARGE = 2.0**128 - 2.0**103  # from here on a number rounds to an infinite float32
_TABLE_SUFFIXES = (".json", ".jsonl", ".ndjson", ".lz4", ".parquet", ".parq")
_UNREADABLE = (OSError, EOFError, TypeError, ValueError, RuntimeError, zlib.error)
_FIELD = re.compile(r"[^ \t\r\n\f\v]+")  # str.split would also split at spaces that do not break
_RANK = re.compile(r"[0-9]{1,9}")
_KNOWN_FORMATS = (
    "'qid Q0 docid rank score tag' (TREC), 'qid docid rank' or 'qid docid rank score' (MS MARCO), "
    "or a header with 'query_id', 'document_id' and 'score'"
)


class _Entry(NamedTuple):
    """One result: line or row, ids, the score as found, and the rank where it is a whole number."""

    line: int
    query: str
    document: str
    score: Any
    rank: int | None = None


class ImportedRun(NamedTuple):
    """A run read from a file, restricted to the collection, and what the restriction left out.

    Attributes:
        run: rows of the collection.
        unknown_documents: results dropped because the collection has no such document; the results
            below them move up, as if the other system had searched this collection.
        missing_queries: ids of the collection's queries without any result; they score 0.
        unknown_queries: ids in the file that the collection does not have, in file order; ignored.
        contradicted: queries whose rank column contradicts the scores, which decide.
    """

    run: Run
    unknown_documents: int
    missing_queries: tuple[str, ...]
    unknown_queries: tuple[str, ...]
    contradicted: int = 0


class _Entries(NamedTuple):
    """All results of a file as parallel columns; unknown ids have the rows after the known ones."""

    lines: npt.NDArray[np.int64]
    queries: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    ranks: npt.NDArray[np.int64]


def read_run(
    path: Path,
    *,
    query_ids: Sequence[str],
    document_ids: Sequence[str],
    depth: int,
    scores: ScoreKind | None = None,
) -> ImportedRun:
    """Read the run that another system wrote and put it into our total order.

    `.json` and `.lz4` are the formats of `ranx.Run.save`, `.json` also that of mteb's predictions;
    Parquet, JSON lines, CSV and TSV have columns of the usual names; every other file is TREC's
    `qid Q0 docid rank score tag` or MS MARCO's `qid docid rank`. The scores decide, as in
    trec_eval, tied ones by document id. A file whose rank column contradicts the scores of most
    queries, or without one whose scores rise down every list, is refused unless `scores` says what
    is so.

    Args:
        path: the file.
        query_ids: of the collection, ascending.
        document_ids: of the collection, ascending.
        depth: ranks to keep.
        scores: what the scores are: "similarity", larger is better; "distance", smaller is better;
            "ranks", the rank column decides. None takes similarities that nothing contradicts.

    Raises:
        HarnessError: the file cannot be read, has malformed lines or a document twice for a query
            (all at once), nothing in it belongs to the collection, or its ranks contradict its
            scores.
    """
    query_rows = {text: row for row, text in enumerate(query_ids)}
    document_rows = {text: row for row, text in enumerate(document_ids)}
    entries, contradicted = _checked(path, query_rows, document_rows, scores)
    return _imported(
        path,
        entries,
        query_rows,
        n_documents=len(document_ids),
        query_ids=query_ids,
        depth=depth,
        contradicted=contradicted,
    )


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


class WholeRun(NamedTuple):
    """A run with all documents that it holds.

    Attributes:
        imported: the run; its rows are those of `document_ids`.
        document_ids: of the run and of the judgements, ascending.
    """

    imported: ImportedRun
    document_ids: tuple[str, ...]


def read_whole_run(
    source: Path | GivenRun,
    *,
    query_ids: Sequence[str],
    judged: Sequence[str],
    depth: int,
    scores: ScoreKind | None = None,
) -> WholeRun:
    """Read a run of which no collection says what documents there are, as `read_run` does.

    Args:
        source: a file of any of its formats, or a run in memory.
        query_ids: that are judged, ascending.
        judged: ids of the documents that are judged.
        depth: ranks to keep.
        scores: as of `read_run`.

    Raises:
        HarnessError: as of `read_run`.
    """
    query_rows = {text: row for row, text in enumerate(query_ids)}
    document_rows = {text: row for row, text in enumerate(judged)}
    entries, contradicted = _checked(source, query_rows, document_rows, scores)
    document_ids = tuple(sorted(document_rows))
    places = np.empty(len(document_ids), dtype=np.int64)
    places[[document_rows[text] for text in document_ids]] = np.arange(len(document_ids))
    imported = _imported(
        source,
        entries._replace(documents=places[entries.documents]),
        query_rows,
        n_documents=len(document_ids),
        query_ids=query_ids,
        depth=depth,
        contradicted=contradicted,
    )
    return WholeRun(imported, document_ids)


def _checked(
    source: Path | GivenRun,
    query_rows: dict[str, int],
    document_rows: dict[str, int],
    scores: ScoreKind | None,
) -> tuple[_Entries, int]:
    """Return the results of a run, larger scores better, and how many queries contradict that.

    Unknown ids are added to the mappings.
    """
    broken = BrokenInput()
    try:
        entries = _entries(source, query_rows, document_rows, scores, broken)
    except _UNREADABLE as error:
        broken.add(source, f"cannot be read as a run ({_reason(error)}). Check the file.")
        broken.raise_if_any()
        raise
    _note_duplicates(source, entries, list(query_rows), list(document_rows), broken)
    contradicted = _check_ranks(source, entries, scores, broken)
    broken.raise_if_any()
    if scores == "distance":
        entries = entries._replace(scores=-entries.scores)
    elif scores == "ranks":
        entries = entries._replace(scores=-entries.ranks.astype(np.float64))
    return entries, contradicted


def _imported(
    source: Path | GivenRun,
    entries: _Entries,
    query_rows: Mapping[str, int],
    *,
    n_documents: int,
    query_ids: Sequence[str],
    depth: int,
    contradicted: int,
) -> ImportedRun:
    """Return the results for the queries, of the first documents by row, in our order."""
    asked = entries.queries < len(query_ids)
    known = asked & (entries.documents < n_documents)
    if not known.any():
        raise HarnessError(_no_match(source, asked, query_rows, query_ids), exit_code=ExitCode.DATA)
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
        contradicted=contradicted,
    )


def write_run(
    path: Path, run: Run, *, query_ids: Sequence[str], document_ids: Sequence[str], tag: str
) -> None:
    """Write a run as TREC lines from which trec_eval restores exactly our order.

    Nine significant digits identify a float32, and trec_eval puts ties into our order again. A
    query without results has no line (trec_eval counts it as 0 with `-c`). White space separates
    the fields, so ids that have some are escaped, as `escaped` does; `read_run` restores them.

    Raises:
        HarnessError: the tag is empty or contains white space.
    """
    if tag.split() != [tag]:
        raise HarnessError(
            f"{path}: the tag of a TREC run cannot be empty or contain white space, got {tag!r}. "
            "Rename it.",
            exit_code=ExitCode.DATA,
        )
    queries, documents = escaped(query_ids), escaped(document_ids)
    with path.open("w", encoding="utf-8", newline="\n") as handle:
        for query, rows, scores in zip(queries, run.documents, run.scores, strict=True):
            results = zip(rows[rows >= 0].tolist(), scores.tolist(), strict=False)
            handle.write(
                "".join(
                    f"{query} Q0 {documents[row]} {place} {value:.9g} {tag}\n"
                    for place, (row, value) in enumerate(results, start=1)
                )
            )


def escaped(ids: Sequence[str]) -> Sequence[str]:
    """Return ids as a TREC file can hold them.

    Where any has white space, it and the sign % are written as %20 and %25, in all of them.

    >>> escaped(["a b", "5%"]), escaped(["ab", "5%"])
    (['a%20b', '5%25'], ['ab', '5%'])
    """
    if not any(has_space(text) for text in ids):
        return ids
    return [re.sub(r"[\s%]", lambda found: quote(found[0], safe=""), text) for text in ids]


def _entries(
    path: Path | GivenRun,
    query_rows: dict[str, int],
    document_rows: dict[str, int],
    scores: ScoreKind | None,
    broken: BrokenInput,
) -> _Entries:
    """Read a file into columns; unknown ids are added to the mappings, mistakes to `broken`."""
    lines, queries, documents, ranks = array("q"), array("q"), array("q"), array("q")
    values = array("d")
    query_names, document_names = _names(query_rows), _names(document_rows)
    if isinstance(path, GivenRun):
        rows = _given_rows(path, scores, broken)
    else:
        rows = _rows(path, set(query_rows), scores, broken)
    typed = _is_typed(path)
    for line, query, document, found, rank in rows:
        value = None if typed and isinstance(found, str) else number_of(found)
        if value is None or abs(value) >= _TOO_LARGE:
            what = f"the score is not a finite 32-bit number, got {_shown(found)}. Correct it."
            broken.add(_file(path), what, line=line, cause="no score")
            continue
        query = known_id(query_names.get(query, query), query_rows)  # noqa: PLW2901
        document = known_id(document_names.get(document, document), document_rows)  # noqa: PLW2901
        lines.append(line)
        queries.append(query_rows.setdefault(query, len(query_rows)))
        documents.append(document_rows.setdefault(document, len(document_rows)))
        values.append(value)
        ranks.append(-1 if rank is None else rank)
    return _Entries(
        np.array(lines, dtype=np.int64),
        np.array(queries, dtype=np.int64),
        np.array(documents, dtype=np.int64),
        np.array(values, dtype=np.float64),
        np.array(ranks, dtype=np.int64),
    )


def _is_typed(path: Path | GivenRun) -> bool:
    """Tell whether a number is one where it is read, and a text is none."""
    return isinstance(path, GivenRun) or suffix_of(path) in _TABLE_SUFFIXES


def _given_rows(given: GivenRun, scores: ScoreKind | None, broken: BrokenInput) -> Iterator[_Entry]:
    if isinstance(given.content, Mapping) and not is_frame(given.content):
        return _nested_rows(given.content)
    return _record_rows(
        records_of(given.content, given.label, _run_columns(scores, broken), broken), broken
    )


def _names(rows: Mapping[str, int]) -> dict[str, str]:
    """Return the ids by what `write_run` writes for them; none where it writes them as they are."""
    ids = list(rows)
    names = escaped(ids)
    return {} if names is ids else dict(zip(names, ids, strict=True))


def _rows(
    path: Path, known: Container[str], scores: ScoreKind | None, broken: BrokenInput
) -> Iterator[_Entry]:
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


def _text_rows(path: Path, broken: BrokenInput) -> Iterator[_Entry]:
    """Yield the lines of TREC's format, or of MS MARCO's, whose rank takes the place of a score."""
    before: dict[str, int] = {}
    for line, text in read_lines(path, broken):
        fields = _FIELD.findall(text)
        if len(fields) >= _TREC_FIELDS and (what := _misplaced(fields)):
            broken.add(path, what, line=line, cause="white space in an id")
        elif len(fields) >= _TREC_FIELDS:  # white space is no harm in the tag, which is last
            yield _Entry(line, fields[0], fields[2], fields[4], _whole(fields[3]))
        elif len(fields) in (3, 4) and _RANK.fullmatch(fields[2]):
            query, document, rank = fields[:3]
            if len(fields) == 3 and int(rank) <= before.get(query, -1):
                what = f"third column is no rank, which grows within a query, got {rank}"
                what = f"{what}. Write {_KNOWN_FORMATS}."
                broken.add(path, what, line=line, cause="no rank")
            before[query] = int(rank)
            score = fields[3] if len(fields) > 3 else f"-{rank}"
            yield _Entry(line, query, document, score, int(rank))
        elif fields:
            what = f"got {len(fields)} fields, expected {_KNOWN_FORMATS}. Complete the line."
            broken.add(path, what, line=line, cause="number of fields")


def _misplaced(fields: list[str]) -> str:
    """Return why the fields of a TREC line may stand elsewhere than they seem to; "" if not.

    White space in an id moves the others on. trec_eval ignores the rank, so that any number will
    do, and would read the wrong field as the score.
    """
    if not _RANK.fullmatch(fields[3]) and number_of(fields[3]) is None:
        what = f"got {_shown(fields[3])} where the rank is expected"
        fix = "Write a whole number there, or 0 where nothing is ranked"
    elif len(fields) > _TREC_FIELDS and number_of(fields[5]) is not None:
        what = f"got {len(fields)} fields, so that {_shown(fields[4])} or {_shown(fields[5])}"
        what, fix = f"{what} may be the score", "Write a tag that is one word and no number"
    else:
        return ""
    return f"{what} (qid Q0 docid rank score tag). {fix}, and white space within an id as %20."


def _table_rows(path: Path, scores: ScoreKind | None, broken: BrokenInput) -> Iterator[_Entry]:
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


def _record_rows(records: Iterable[Record], broken: BrokenInput) -> Iterator[_Entry]:
    for record in records:
        values = record.values
        query = identifier_of(record, "query_id", broken)
        document = identifier_of(record, "document_id", broken)
        rank = values.get("rank")
        value = number_of(rank)
        score = values.get("score", None if value is None else -value)
        yield _Entry(record.line, query, document, score, _whole(rank))


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


def _nested_rows(content: Any) -> Iterator[_Entry]:
    if not isinstance(content, Mapping) or not all(
        isinstance(each, Mapping) for each in content.values()
    ):
        raise TypeError("something else than {query: {document: score}}")
    results = (
        (q, document, score) for q, found in content.items() for document, score in found.items()
    )
    for row, (query, document, score) in enumerate(results, start=1):
        yield _Entry(row, str(query), str(document), score)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object; the standard library keeps the last of two equal keys silently."""
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise TypeError(f"the key '{twice}' twice in one object")
    return content


def _reason(error: Exception) -> str:
    """Return why a file is no run, in our own words."""
    if isinstance(error, TypeError):
        return f"got {error}"
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON, {error.msg} in line {error.lineno}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return "damaged, or in another format than its ending says"


def _shown(found: Any) -> str:
    shown = repr(found) if not isinstance(found, int) or abs(found) < 10**40 else "a huge integer"
    return shown if len(shown) < _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}…"


def _check_ranks(
    path: Path | GivenRun, entries: _Entries, scores: ScoreKind | None, broken: BrokenInput
) -> int:
    """Return how many queries have ranks that contradict the scores; most of them are a problem.

    Neighbours by rank are compared: a query contradicts where more scores rise than fall.
    """
    unranked = bool((entries.ranks < 0).all())
    places = entries.lines if unranked else entries.ranks
    order = np.lexsort((places, entries.queries))
    queries, ranks = entries.queries[order], places[order]
    values = entries.scores[order]
    if scores == "ranks" and (entries.ranks < 0).any():
        what = 'scores = "ranks", and not every result has a whole number as rank. Add them.'
        broken.add(path, what)
    pairs = (np.diff(queries) == 0) & (np.diff(ranks) > 0) & (ranks[:-1] >= 0)
    steps = np.sign(np.diff(values))[pairs]
    owners = queries[1:][pairs]
    if unranked:  # the order of rows is no rank, but may be that of distances
        if scores is None and (steps >= 0).all() and (steps > 0).sum() >= _FEWEST_STEPS:
            broken.add(
                path,
                f"the scores of all {len(np.unique(owners))} queries rise from the first result "
                'to the last, as distances do. Write scores = "distance" beside run (smaller is '
                'better) or scores = "similarity".',
            )
        return 0
    rising = np.bincount(owners, weights=steps, minlength=1)
    ranked = int(np.count_nonzero(rising))
    wrong = int(np.count_nonzero(rising < 0 if scores == "distance" else rising > 0))
    moves = np.bincount(owners, weights=np.abs(steps), minlength=1)
    upward = np.bincount(owners, weights=np.diff(entries.documents[order])[pairs] > 0, minlength=1)
    several = np.bincount(owners, minlength=1) > 0
    tied = int(np.count_nonzero((moves == 0) & (upward > 0)))  # not in our own order of ties
    lists = int(np.count_nonzero(several))
    if scores is None and tied * 2 > lists:
        broken.add(
            path,
            f"in {tied} of {lists} queries all scores are equal, while the rank column gives "
            "another order than document ids. Write "
            'scores = "ranks" beside run (the rank column decides) or '
            'scores = "similarity" (equal scores are ordered by document id).',
        )
    if scores is None and wrong * 2 > ranked:
        broken.add(
            path,
            f"in {wrong} of {ranked} queries the rank column contradicts the scores: the smallest "
            'comes first, as distances do. Write scores = "distance" beside run (smaller is '
            'better), scores = "ranks" (the rank column decides) or scores = "similarity".',
        )
    return wrong if scores in (None, "distance") else 0


def _note_duplicates(
    path: Path | GivenRun,
    entries: _Entries,
    query_ids: Sequence[str],
    document_ids: Sequence[str],
    broken: BrokenInput,
) -> None:
    """Note both places of every document that a query has twice."""
    order = np.lexsort((entries.lines, entries.documents, entries.queries))
    lines, queries, documents = (column[order] for column in entries[:3])
    again = 1 + np.flatnonzero((np.diff(queries) == 0) & (np.diff(documents) == 0))
    for i in again.tolist():
        what = (
            f"query '{query_ids[queries[i]]}' has document '{document_ids[documents[i]]}' again, "
            f"first at {lines[i - 1]}. Keep one of them."
        )
        broken.add(_file(path), what, line=int(lines[i]), cause="document twice")


def _no_match(
    path: Path | GivenRun,
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


def _file(path: Path | GivenRun) -> str:
    return f"{path}: row" if _is_typed(path) else str(path)
