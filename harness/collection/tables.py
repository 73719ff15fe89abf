"""Read the rows of CSV, TSV, JSON lines and Parquet files as records."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.collection.reading import (
    BrokenInput,
    Record,
    missing,
    read_json_lines,
    read_lines,
)

# Given the file and the names of its columns, returns those to read; notes a problem and returns
# none if they do not fit.
Choose = Callable[[str, Sequence[str]], Sequence[str]]


def columns(needed: Sequence[str], optional: Sequence[str], broken: BrokenInput) -> Choose:
    """Return the choice of columns by their exact names; an absent or double one is noted."""

    def choose(file: str, names: Sequence[str]) -> list[str]:
        absent = [name for name in needed if name not in names]
        known = [name for name in (*needed, *optional) if name in names]
        twice = sorted({name for name in known if names.count(name) > 1})
        for name in absent:
            broken.add(file, missing("column", name, names))
        for name in twice:
            broken.add(file, f"column {name!r} is there twice. Rename one.")
        return [] if absent or twice else known

    return choose


def read_records(
    path: Path, broken: BrokenInput, *, choose: Choose, header: Sequence[str] = ()
) -> Iterator[Record]:
    """Yield the rows of a file; what is wrong with it is noted.

    Args:
        path: the file; its ending says its kind.
        broken: takes the problems.
        choose: which columns of a table to read. JSON lines have no columns: each line is yielded
            whole.
        header: names of the columns of a CSV or TSV file that has no header line.
    """
    suffix = path.suffix.lower()
    match suffix:
        case ".csv" | ".tsv":
            delimiter = "," if suffix == ".csv" else "\t"
            return read_table(path, broken, delimiter=delimiter, choose=choose, header=header)
        case ".jsonl":
            return read_json_lines(path, broken)
        case ".parquet":
            return _read_parquet(path, broken, choose)
    known = ".csv, .tsv, .jsonl, .parquet"
    broken.add(path, f"unknown kind of file {suffix!r}. Save it as one of {known}.")
    return iter(())


def read_table(
    path: Path, broken: BrokenInput, *, delimiter: str, choose: Choose, header: Sequence[str] = ()
) -> Iterator[Record]:
    """Yield the rows of a CSV or TSV file; what is wrong with it is noted."""
    lines = (line for _, line in read_lines(path, broken))
    # strict: a quote left open would otherwise swallow the rest of the file without a word.
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    file, line = str(path), 1
    with _long_fields():
        try:
            names = list(header) or next(rows, [])
            if not names or not choose(file, names):
                return
            line = rows.line_num + 1
            for row in rows:
                if len(row) == len(names):
                    yield Record(file, line, dict(zip(names, row, strict=True)))
                elif row:
                    what = f"{len(names)} fields are needed, got {len(row)}. Quote the texts."
                    broken.add(f"{file}:{line}", what)
                line = rows.line_num + 1  # a quoted text may span several lines
        except csv.Error as error:
            what = f"not a valid table ({error}). Close the quotes, and double those inside."
            broken.add(f"{file}:{line}", what)


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let a field hold a whole document: csv stops at 131,072 characters otherwise."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _read_parquet(path: Path, broken: BrokenInput, choose: Choose) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
        columns = list(choose(str(path), table.schema_arrow.names))
        line = 0
        for batch in table.iter_batches(columns=columns) if columns else ():
            for values in batch.to_pylist():
                line += 1
                yield Record(str(path), line, values)
    except (OSError, pa.ArrowException) as error:
        broken.add(path, f"cannot be read ({error}). Check the file.")
