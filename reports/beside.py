"""Beside: what a reader adds to results, in files of its own next to the folder.

A run replaces its results folder as a whole, so nothing that people made may lie in it. Both kinds
of file are read by a suite: judgements by ``[collections.<name>] judgements = "<file>"``, a slice
by ``[slices.<name>] file = "<file>"``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from harness.errors import ExitCode, HarnessError
from harness.output.files import add_output, slugs
from harness.output.history import beside

COLUMNS = ("query_id", "document_id", "grade")
_NAME_LENGTH = 60


class Judgement(NamedTuple):
    """A grade that a reader gave to a document for a query; 0 is not relevant."""

    query: str
    document: str
    grade: int


class Slice(NamedTuple):
    """Queries that a reader looks at by themselves."""

    name: str
    path: Path
    queries: tuple[str, ...]


def judgements_file(folder: Path, collection: str) -> Path:
    """Return where the reader's judgements of a collection lie."""
    return beside(folder, "judgements") / f"{_slug(collection)}.csv"


def read_judgements(folder: Path, collection: str) -> dict[tuple[str, str], int]:
    """Return the reader's grades by (query, document).

    Raises:
        HarnessError: exit code 3, the file is not such a table.
    """
    path = judgements_file(folder, collection)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, str(error)) from error
    reader = csv.DictReader(io.StringIO(text))
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise _unreadable(path, f"the columns {', '.join(reader.fieldnames or ()) or 'of no row'}")
    found = {}
    for row in reader:
        try:
            found[row["query_id"], row["document_id"]] = int(row["grade"])
        except (TypeError, ValueError) as error:
            raise _unreadable(path, f"grade {row['grade']!r} in line {reader.line_num}") from error
    return found


def store_judgement(folder: Path, collection: str, judgement: Judgement) -> None:
    """Store a grade; a later one of the same query and document replaces it.

    Raises:
        HarnessError: the file cannot be read or written.
    """
    _rewrite(folder, collection, {(judgement.query, judgement.document): judgement.grade})


def forget(folder: Path, collection: str, query: str, document: str) -> None:
    """Take a grade back.

    Raises:
        HarnessError: the file cannot be read or written.
    """
    _rewrite(folder, collection, {(query, document): None})


def as_csv(grades: Mapping[tuple[str, str], int]) -> str:
    """Return grades as the table that a suite reads."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((query, document, grade) for (query, document), grade in grades.items())
    return sink.getvalue()


def save_slice(folder: Path, collection: str, name: str, queries: Sequence[str]) -> Path:
    """Store queries under a name, one id a line; the same name again replaces them.

    Raises:
        HarnessError: exit code 2, no name, no query or an id that spans lines; exit code 4, the
            file cannot be written.
    """
    clean = " ".join(name.split())[:_NAME_LENGTH]
    if not clean or not queries:
        what = "no name" if not clean else "no query"
        raise HarnessError(
            f"slice '{clean}': {what}. Select queries and give them a name.",
            exit_code=ExitCode.USAGE,
        )
    if wrong := [key for key in queries if [key.strip()] != key.splitlines()]:
        raise HarnessError(
            f"slice '{clean}': query id {wrong[0]!r} does not fit into a file of one id a line. "
            "Rename the query.",
            exit_code=ExitCode.USAGE,
        )
    path = _slices(folder, collection) / f"{_slug(clean)}.txt"
    add_output(path, "".join(f"{query}\n" for query in queries))
    return path


def read_slices(folder: Path, collection: str) -> list[Slice]:
    """Return the stored slices of a collection, by name."""
    found = []
    for path in sorted(_slices(folder, collection).glob("*.txt")):
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue  # no file of ours
        found.append(Slice(path.stem, path, tuple(line for line in lines if line)))
    return found


def _rewrite(folder: Path, collection: str, changes: Mapping[tuple[str, str], int | None]) -> None:
    path = judgements_file(folder, collection)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):  # two windows may judge at once
        grades: dict[tuple[str, str], int | None] = {**read_judgements(folder, collection)}
        grades.update(changes)
        kept = {pair: grade for pair, grade in grades.items() if grade is not None}
        add_output(path, as_csv(kept))


def _slices(folder: Path, collection: str) -> Path:
    return beside(folder, "slices") / _slug(collection)


def _slug(name: str) -> str:
    [slug] = slugs([name]).values()
    return slug if slug.strip(".") else "_"


def _unreadable(path: Path, what: str) -> HarnessError:
    return HarnessError(
        f"{path}: no table of judgements, got {what}. It needs the columns {', '.join(COLUMNS)}; "
        "correct or remove it.",
        exit_code=ExitCode.DATA,
    )
