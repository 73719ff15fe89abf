"""Downloads: what a results folder holds, as one file each."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from reports.lookup import PER_QUERY, reading


class Download(NamedTuple):
    """A file that can be taken away; `content` makes it when it is asked for.

    Attributes:
        label: what it is.
        name: of the file.
        path: file or folder in the results folder.
        mime: its type.
    """

    label: str
    name: str
    path: Path
    mime: str

    def content(self) -> bytes:
        """Return the bytes of the file; a folder becomes a zip, the Parquet table a CSV."""
        if self.path.is_dir():
            return _zipped(self.path)
        if self.path.name == PER_QUERY:
            return _as_csv(self.path)
        return self.path.read_bytes()


def downloads(folder: Path) -> Iterator[Download]:
    """Yield what a results folder has to take away."""
    stem = folder.name
    for label, name, path, mime in (
        ("Report, HTML", f"{stem}.html", "report.html", "text/html"),
        ("Summary, Markdown", f"{stem}.md", "summary.md", "text/markdown"),
        ("Every query, CSV", f"{stem}-queries.csv", PER_QUERY, "text/csv"),
        ("Results, JSON", f"{stem}.json", "results.json", "application/json"),
        ("Gates, JUnit XML", f"{stem}-junit.xml", "junit.xml", "application/xml"),
        ("Runs, TREC", f"{stem}-runs.zip", "runs", "application/zip"),
        ("Results for MTEB, JSON", f"{stem}-mteb.zip", "mteb", "application/zip"),
        ("Diagnosis, JSON", f"{stem}-diagnosis.json", "diagnosis.json", "application/json"),
    ):
        if (folder / path).exists():
            yield Download(label, name, folder / path, mime)


def _zipped(folder: Path) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, path.relative_to(folder.parent))
    return sink.getvalue()


def _as_csv(path: Path) -> bytes:
    import pyarrow.csv
    import pyarrow.parquet as pq

    with reading(path):
        table = pq.read_table(path)
    plain = table.cast(_without_dictionaries(table.schema))
    sink = io.BytesIO()
    pyarrow.csv.write_csv(plain, sink)
    return sink.getvalue()


def _without_dictionaries(schema: Any) -> Any:
    import pyarrow as pa

    return pa.schema(
        [
            (
                field.name,
                field.type.value_type if pa.types.is_dictionary(field.type) else field.type,
            )
            for field in schema
        ]
    )
