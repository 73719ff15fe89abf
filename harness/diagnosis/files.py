"""Files of a diagnosis: one row per query as Parquet, lists of query ids, and tables for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.collection import Collection
from harness.diagnosis.values import DataHealth, Diagnosis, LossStage

UNJUDGED_COLUMNS = ("query_id", "document_id", "grade", "query", "document", "why")
TO_ADD_COLUMNS = ("document_id", "cluster", "document", "query")


@dataclass(frozen=True)
class QueryRows:
    """What a diagnosis says of each query of a candidate on a collection, parallel columns.

    Attributes:
        query_ids: in the collection's order.
        stages: where each query ended.
        ranks: exact rank of the best relevant document, from 1; None where there is none.
        losses: float64 [n], 1 minus the deciding metric.
        misses: bool [n], no relevant document within k.
        reasons: keys of the findings that each query shows.
        places: float64 [n, 2], coordinates in the neutral space, for a map.
        clusters: key of the failure cluster that holds the query, or "".
    """

    candidate: str
    collection: str
    query_ids: Sequence[str] = field(repr=False)
    stages: Sequence[LossStage] = field(repr=False)
    ranks: Sequence[int | None] = field(repr=False)
    losses: npt.NDArray[np.float64] = field(repr=False)
    misses: npt.NDArray[np.bool_] = field(repr=False)
    reasons: Sequence[Sequence[str]] = field(repr=False)
    places: npt.NDArray[np.float64] = field(repr=False)
    clusters: Sequence[str] = field(repr=False)


def diagnosis_files(
    diagnosis: Diagnosis,
    rows: Iterable[QueryRows],
    texts: Mapping[str, Collection],
    name: Mapping[str, str],
) -> dict[str, str | bytes]:
    """Return every file of a diagnosis by its path in the folder of results.

    * `diagnosis.json`, `diagnosis.parquet` (one row per candidate, collection and query)
    * `slices/<collection>.<candidate>.<cluster or reason>.txt`, query ids
    * `unjudged.<collection>.csv`, to be filled in; `to-add.<collection>.<candidate>.csv`, passages
      to write queries for

    Args:
        diagnosis: of a suite.
        rows: of the same.
        texts: its collections by name.
        name: a file name's part for each candidate and collection.
    """
    found: dict[str, str | bytes] = {
        "diagnosis.json": diagnosis.model_dump_json(indent=1),
        "diagnosis.parquet": rows_as_parquet(rows),
    }
    found |= {f"slices/{file}": text for file, text in slices(diagnosis, name).items()}
    for health in diagnosis.data:
        if health.unjudged:
            collection = texts[health.collection]
            queries = dict(zip(collection.query_ids, collection.queries, strict=True))
            documents = dict(zip(collection.document_ids, collection.documents, strict=True))
            found[f"unjudged.{name[health.collection]}.csv"] = unjudged_as_csv(
                health, queries, documents
            )
    for one in diagnosis.candidates:
        coverage = one.training.coverage if one.training else []
        wanted = [(key, each.cluster) for each in coverage for key in each.to_add]
        if wanted:
            collection = texts[one.collection]
            documents = dict(zip(collection.document_ids, collection.documents, strict=True))
            passages = ((key, cluster, documents[key], "") for key, cluster in wanted)
            stem = f"{name[one.collection]}.{name[one.candidate]}"
            found[f"to-add.{stem}.csv"] = _table(TO_ADD_COLUMNS, passages)
    return found


def rows_as_parquet(rows: Iterable[QueryRows]) -> bytes:
    """Return one row per candidate, collection and query, as the bytes of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.string()
    types = {
        "candidate": text,
        "collection": text,
        "query_id": text,
        "stage": text,
        "rank": pa.int32(),
        "loss": pa.float64(),
        "miss": pa.bool_(),
        "reasons": pa.list_(text),
        "x": pa.float64(),
        "y": pa.float64(),
        "cluster": text,
    }
    schema = pa.schema(list(types.items()))
    tables = []
    for part in rows:
        n = len(part.query_ids)
        columns: list[Any] = [[part.candidate] * n, [part.collection] * n, part.query_ids]
        columns += [part.stages, part.ranks, part.losses, part.misses]
        columns += [[list(keys) for keys in part.reasons], *part.places.T, part.clusters]
        held = dict(zip(types, columns, strict=True))
        tables.append(pa.Table.from_pydict(held, schema=schema))
    sink = io.BytesIO()
    pq.write_table(pa.concat_tables([schema.empty_table(), *tables]), sink, compression="zstd")
    return sink.getvalue()


def slices(diagnosis: Diagnosis, name: Mapping[str, str]) -> dict[str, str]:
    """Return the query ids of every cluster and finding, one a line, by file name.

    Each file can be the `file` of a ``[slices.<name>]`` of the suite.
    """

    def lines(ids: Iterable[str]) -> str:
        return "".join(f"{key}\n" for key in ids)

    found: dict[str, str] = {}
    for one in diagnosis.candidates:
        stem = f"{name[one.collection]}.{name[one.candidate]}"
        for cluster in one.clusters:
            if cluster.mode != "documents":
                found[f"{stem}.{cluster.key}.txt"] = lines(cluster.members)
        for finding in one.findings:
            if finding.queries:
                found[f"{stem}.{finding.reason}.txt"] = lines(finding.queries)
    return found


def unjudged_as_csv(
    health: DataHealth, queries: Mapping[str, str], documents: Mapping[str, str]
) -> str:
    """Return the queue of likely relevant documents as CSV, with an empty column for the grade.

    Filled in, it is read back by ``judgements`` of the collection.
    """
    rows = (
        (each.query, each.document, "", queries[each.query], documents[each.document], each.why)
        for each in health.unjudged
    )
    return _table(UNJUDGED_COLUMNS, rows)


def is_answered(path: Path) -> bool:
    """Tell whether a reader has filled in or changed one of the CSVs that ask for answers."""
    return answers_of(path) != []


def with_answers(path: Path, new: str) -> str:
    """Return a new CSV that asks for answers, with the rows of the old one that have them first.

    An old one with other columns than ours, such as a spreadsheet saves it, is left as it is.
    """
    answers = answers_of(path)
    if answers is None:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    header, *rows = csv.reader(io.StringIO(new)) if new else [_columns(path)]
    pairs = {tuple(row[:2]) for row in answers}
    return _table(header, [*answers, *(row for row in rows if tuple(row[:2]) not in pairs)])


def _columns(path: Path) -> tuple[str, ...]:
    return TO_ADD_COLUMNS if path.name.startswith("to-add.") else UNJUDGED_COLUMNS


def answers_of(path: Path) -> list[list[str]] | None:
    """Return the rows with an answer; None where the file does not have our columns."""
    columns = _columns(path)
    asked = columns.index("grade" if "grade" in columns else "query")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
    except (OSError, ValueError, csv.Error):
        return None
    if tuple(header) != tuple(columns) or any(len(row) != len(columns) for row in rows):
        return None
    return [row for row in rows if row[asked].strip()]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return sink.getvalue()
