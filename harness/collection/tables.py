"""Tables: the rows of delimited files, JSON lines and Parquet as records, columns by any name."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.collection.columns import KNOWN_NAMES, NAMES, Choose, columns, plain_name
from harness.collection.reading import (
    BrokenInput,
    Record,
    existing,
    file_problem,
    identifier_of,
    read_json_lines,
    read_lines,
    suffix_of,
    whole_number,
)
from harness.urls import RemotePath

Line = tuple[int, str]
_DELIMITERS = {".csv": ",;\t|", ".tsv": "\t,;|", ".txt": "\t,;|"}  # the usual one first
_KINDS = ".csv, .tsv, .jsonl, .parquet"
JSON_ENDINGS = frozenset({".jsonl", ".ndjson", ".json"})
TABLE_ENDINGS = frozenset(
    {*_DELIMITERS, *JSON_ENDINGS, ".parquet"}
)  # files that are read, by their ending
_LONGEST_RECORD = 10_000  # lines: no text that is quoted over more is looked for


def read_records(
    path: Path, broken: BrokenInput, *, choose: Choose, header: Sequence[str] = ()
) -> Iterator[Record]:
    """Yield the rows of a file, their values by our names; what is wrong with it is noted.

    Args:
        path: the file; its ending says its kind, and that of a compression may follow (``.gz``).
        broken: takes the problems.
        choose: which columns to read.
        header: names of the columns of a delimited file that has no header line.
    """
    path = existing(path)
    match suffix_of(path):
        case ".csv" | ".tsv" | ".txt":
            return read_table(path, broken, choose=choose, header=header)
        case ".jsonl" | ".ndjson" | ".json":
            return renamed(read_json_lines(path, broken), choose)
        case ".parquet" if path.suffix.lower() == ".parquet":
            return read_parquet(path, broken, choose)
    problem = file_problem(path)
    if not problem or path.is_dir():
        problem = f"unknown kind of file {path.suffix!r}. Save it as one of {_KINDS}."
    broken.add(path, problem)
    return iter(())


def renamed(records: Iterable[Record], choose: Choose) -> Iterator[Record]:
    """Yield records with our names; each line of JSON may have keys of its own."""
    known: dict[tuple[str, ...], dict[str, str]] = {}
    for record in records:
        names = tuple(record.values)
        if names not in known:
            known[names] = choose(record.place if known else record.file, names)
        if found := known[names]:
            values = {name: record.values[column] for name, column in found.items()}
            yield record._replace(values=values)


def read_table(
    path: Path, broken: BrokenInput, *, choose: Choose, header: Sequence[str] = ()
) -> Iterator[Record]:
    """Yield the rows of a delimited file; what is wrong with it is noted.

    Commas, semicolons, tabs or bars separate the fields, as the first line shows. Where tabs do,
    quotes are text unless a field needs them.
    """
    with _long_fields():
        # Excel says in a line ``sep=;`` what separates the fields.
        lines = (
            (number, line)
            for number, line in read_lines(path, broken)
            if number > 1 or not re.fullmatch(r'"?sep=."?\s*', line)
        )
        first = next(lines, None)
        if first is None:
            if not broken:
                broken.add(path, "is empty, got no header line. Write the columns and their rows.")
            return
        delimiter = delimiter_of(first[1], usual=_DELIMITERS.get(suffix_of(path), ",;\t|"))
        if delimiter == "\t":
            rows = _tab_rows(_chained(first, lines))
        else:
            rows = _quoted_rows(path, _chained(first, lines), delimiter, broken)
        yield from _records(path, rows, broken, choose, header)


def _records(
    path: Path,
    rows: Iterator[tuple[int, list[str]]],
    broken: BrokenInput,
    choose: Choose,
    header: Sequence[str],
) -> Iterator[Record]:
    names = list(header) or [name.strip() for name in next(rows, (1, [""]))[1]]
    found = choose(str(path), names)
    if not found:
        return
    places = {name: names.index(column) for name, column in found.items()}
    for line, row in rows:
        if row in ([], [""]):
            continue
        if len(row) < len(names) or any(row[len(names) :]):
            what = f"{len(names)} fields are needed, got {len(row)}. Quote the texts."
            broken.add(path, what, line=line, cause="number of fields")
        else:
            yield Record(str(path), line, {name: row[place] for name, place in places.items()})


def delimiter_of(line: str, *, usual: str) -> str:
    """Return what separates the fields of a header line, or of a first row.

    The delimiter that gives most names that we know, then most fields, then the usual one.

    >>> delimiter_of("query;document;notes, if any", usual=",;|")
    ';'
    """

    def gain(delimiter: str) -> tuple[int, int]:
        cells = _cells(line, delimiter)
        return sum(plain_name(cell) in KNOWN_NAMES for cell in cells), len(cells)

    return max(usual, key=gain)


def cells_of(line: str) -> list[str]:
    """Return the fields of a line, by whatever separates them."""
    return _cells(line, delimiter_of(line, usual="\t,;|"))


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter, strict=True), [""])
    except csv.Error:
        return line.rstrip("\r\n").split(delimiter)


def _chained(first: Line, lines: Iterator[Line]) -> Iterator[Line]:
    yield first
    yield from lines


def _quoted_rows(
    path: Path, lines: Iterator[Line], delimiter: str, broken: BrokenInput
) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a file whose texts are quoted where they must be, each with its line.

    A text that begins with a quote of its own would swallow the rows up to the next one: where each
    line of such a text could be a row by itself the file is refused.
    """
    taken: list[Line] = []

    def text() -> Iterator[str]:
        for number, line in lines:
            taken.append((number, line))
            yield line

    # strict: a quote left open would otherwise swallow the rest of the file without a word.
    rows = csv.reader(text(), delimiter=delimiter, strict=True)
    width = 0
    try:
        for row in rows:
            width = width or len(row)
            if len(taken) > 1 and len(row) == width:
                _check_swallowed(path, taken, delimiter, width, broken)
            if taken:
                yield taken[0][0], row
            taken.clear()
    except csv.Error as error:
        what = f"not a valid table ({error}). Close the quotes, and double those inside."
        broken.add(path, what, line=taken[0][0] if taken else 1)


def _check_swallowed(
    path: Path, taken: list[Line], delimiter: str, width: int, broken: BrokenInput
) -> None:
    if width < 2 or not all(_is_row(line, delimiter, width) for _, line in taken):
        return
    last = taken[-1][0]
    if width > 2 or len(taken) > 2:
        fix = "Double literal quotes and quote the field, or save as JSON lines."
        what = (
            f"a quote opens here and closes on line {last}, and each line between is a row. {fix}"
        )
        broken.add(path, what, line=taken[0][0], cause="quote over rows")
    else:
        broken.doubts.append(
            f"{path}:{taken[0][0]}: a quoted text continues to line {last}, which could be a row "
            "of its own. Check that the quotes are not part of the texts."
        )


def _is_row(line: str, delimiter: str, width: int) -> bool:
    """Tell whether a line could be a row: as many fields, the first not empty, none indented."""
    cells = line.rstrip("\r\n").split(delimiter)
    indented = any(cell[:1].isspace() for cell in cells)
    return len(cells) == width and bool(cells[0]) and not indented


def _tab_rows(lines: Iterator[Line]) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a file with tabs, each with its line.

    Logs write texts as they are; spreadsheets quote those with tabs, quotes or line breaks. A line
    with all its fields is a row, unless it opens a quoted text whose next lines have not.
    """
    width, all_quoted = 0, False
    ahead: deque[Line] = deque()
    while line := ahead.popleft() if ahead else next(lines, None):
        cells = _split(line)
        if '"' in line[1]:
            if not width:
                all_quoted = all(re.fullmatch(r'"[^"]*"', cell) for cell in cells)
            cells = _unquoted(line, lines, ahead, width, all_quoted=all_quoted)
        width = width or len(cells)
        yield line[0], cells


def _split(line: Line) -> list[str]:
    return line[1].rstrip("\r\n").split("\t")


def _unquoted(
    line: Line, lines: Iterator[Line], ahead: deque[Line], width: int, *, all_quoted: bool
) -> list[str]:
    """Return the fields of a line with quotes; more lines are taken where a quoted text has them.

    Args:
        line: with its number.
        lines: those that follow what is in `ahead`.
        ahead: lines that were looked at already.
        width: fields of a row; 0 for the header.
        all_quoted: the header has quotes around each name, so that all quotes are those of fields.
    """
    cells, taken = _split(line), [line]
    may_be_row = len(cells) == width and not all_quoted
    quoted = _parsed(taken)
    while quoted is None:
        following = ahead.popleft() if ahead else next(lines, None)
        ended = following is None or len(taken) == _LONGEST_RECORD
        if ended or (may_be_row and following and _is_row(following[1], "\t", width)):
            quoted = []
        if following is not None:
            taken.append(following)
            if quoted is None and '"' in following[1]:
                quoted = _parsed(taken)
    if not quoted or (len(quoted) != width and len(cells) == width):
        ahead.extendleft(reversed(taken[1:]))
        return cells
    if len(taken) == 1 and len(cells) == len(quoted) and not all_quoted:
        # A field in quotes that needs none, such as a searched phrase, has them as text.
        pairs = zip(cells, quoted, strict=True)
        return [inside if '""' in cell[1:-1] else cell for cell, inside in pairs]
    return quoted


def _parsed(lines: list[Line]) -> list[str] | None:
    """Return the fields of quoted lines; none if they are not valid, None while a quote is open."""
    try:
        return next(csv.reader((text for _, text in lines), delimiter="\t", strict=True), [])
    except csv.Error as error:
        return None if "unexpected end" in str(error) else []


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let a field hold a whole document: csv stops at 131,072 characters otherwise."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def read_parquet(path: Path, broken: BrokenInput, choose: Choose) -> Iterator[Record]:
    """Yield the rows of a Parquet file; what is wrong with it is noted."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    problem = file_problem(path)
    if problem:
        broken.add(path, problem)
        return
    try:
        table = pq.ParquetFile(path.open("rb") if isinstance(path, RemotePath) else path)
        found = choose(str(path), table.schema_arrow.names)
        line = 0
        wanted = list(dict.fromkeys(found.values()))
        for batch in table.iter_batches(columns=wanted) if found else ():
            for values in batch.to_pylist():
                line += 1
                row = {name: values[column] for name, column in found.items()}
                yield Record(str(path), line, row)
    except (OSError, ValueError, OverflowError, pa.ArrowException):
        broken.add(path, "damaged, or not a Parquet file. Write it again.")


def read_ids(path: Path, broken: BrokenInput) -> list[str]:
    """Return the query ids of a side file: one a line, or the column of a table."""
    path = existing(path)
    choose = columns(("query_id",), (), broken)
    if suffix_of(path) in {".jsonl", ".ndjson", ".json", ".parquet"}:
        records = read_records(path, broken, choose=choose)
    else:
        first = next((line for _, line in read_lines(path, BrokenInput())), "")
        names = {plain_name(cell) for cell in cells_of(first)}
        if names.isdisjoint(NAMES["query_id"]):
            return [text for _, line in read_lines(path, broken) if (text := line.strip())]
        records = read_table(path, broken, choose=choose)
    return [identifier_of(record, "query_id", broken) for record in records]


def known_id(key: str, known: Container[str]) -> str:
    """Return an id as a collection has it: pandas writes 7.0 for 7 where a row has none.

    >>> known_id("7.0", {"7"}), known_id("7.0", {"7.0"}), known_id("x", {"7"})
    ('7', '7.0', 'x')
    """
    if not re.fullmatch(r"[0-9]{1,15}\.0", key) or key in known:
        return key
    whole = whole_number(float(key))
    return whole if whole in known else key
