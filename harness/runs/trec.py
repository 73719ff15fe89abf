"""Run files: those of other systems into our order, and TREC's format out."""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from harness.collection.reading import BrokenInput, number_of
from harness.collection.tables import known_id
from harness.collection.texts import has_space
from harness.errors import ExitCode, HarnessError
from harness.runs.formats import (
    UNREADABLE,
    GivenRun,
    ScoreKind,
    in_short,
    is_typed,
    run_entries,
    why_unreadable,
)
from harness.runs.run import Run, rank_entries

_IDS_SHOWN = 3
_FEWEST_STEPS = 10  # from one result to the next that all rise: by chance once in a thousand
_TOO_LARGE = 2.0**128 - 2.0**103  # from here on a number rounds to an infinite float32


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
    except UNREADABLE as error:
        broken.add(source, f"cannot be read as a run ({why_unreadable(error)}). Check the file.")
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
    typed = is_typed(path)
    rows = run_entries(path, set(query_rows), scores, broken)
    for line, query, document, found, rank in rows:
        value = None if typed and isinstance(found, str) else number_of(found)
        if value is None or abs(value) >= _TOO_LARGE:
            what = f"the score is not a finite 32-bit number, got {in_short(found)}. Correct it."
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


def _names(rows: Mapping[str, int]) -> dict[str, str]:
    """Return the ids by what `write_run` writes for them; none where it writes them as they are."""
    ids = list(rows)
    names = escaped(ids)
    return {} if names is ids else dict(zip(names, ids, strict=True))


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
    return f"{path}: row" if is_typed(path) else str(path)
