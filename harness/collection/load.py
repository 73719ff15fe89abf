"""Load a collection from a source string, such as ``beir:<folder>`` or ``pairs:<file>``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.collection import Collection, Judgements, corpus
from harness.collection.audit import blocking_problems
from harness.collection.beir import beir_files, read_beir
from harness.collection.folder import FOLDER, files_below, read_folder
from harness.collection.hub import hub_files, read_hub
from harness.collection.ir_datasets_source import ir_datasets_files, read_ir_datasets
from harness.collection.mteb_task import read_task, shortlist_rows
from harness.collection.packed import places_of, take
from harness.collection.pairs import read_pairs
from harness.collection.passages import cut_documents
from harness.collection.problem import NO_QUERIES
from harness.collection.python_source import python_files, read_python
from harness.collection.raw import PLAIN, RawCollection, RawSplit, Reading
from harness.collection.reading import existing
from harness.collection.trec import read_trec, trec_files
from harness.errors import ExitCode, HarnessError, did_you_mean
from harness.urls import path_of

# Queries that have a relevant document in common make a cluster.
BY_DOCUMENT = "document"


class Source(NamedTuple):
    """A kind of source.

    Attributes:
        form: how it is written, for messages.
        read: from what stands behind the colon, and how it is read.
        files: every file that `read` looks at, so that what was read is found again where none has
            changed; none where it cannot be known.
    """

    form: str
    read: Callable[[str, Reading], RawCollection]
    files: Callable[[str], Sequence[Path]] = lambda _: ()


def _python(name: str, how: Reading) -> RawCollection:
    if how.clusters is not None:
        raise HarnessError(
            f"clusters = {how.clusters!r}: a python: source has no columns. "
            f'Use clusters = "{BY_DOCUMENT}" or none.',
            exit_code=ExitCode.USAGE,
        )
    return read_python(name)


# The one place that lists kinds of sources.
SOURCES = {
    "beir": Source(
        "beir:<folder>",
        lambda rest, how: read_beir(path_of(rest), clusters=how.clusters, into=how.into),
        lambda rest: beir_files(path_of(rest)),
    ),
    "pairs": Source(
        "pairs:<file.csv, .tsv, .parquet or .jsonl>",
        lambda rest, how: read_pairs(path_of(rest), how),
        lambda rest: [existing(path_of(rest))],
    ),
    # Its questions lie apart, as pairs.
    FOLDER: Source(
        "folder:<folder>",
        lambda rest, _: read_folder(path_of(rest)),
        lambda rest: files_below(path_of(rest)),
    ),
    "trec": Source(
        "trec:<folder>",
        lambda rest, how: read_trec(path_of(rest), how),
        lambda rest: trec_files(path_of(rest)),
    ),
    "hf": Source("hf:<dataset>[/<subset>] or hf:<folder>[/<subset>]", read_hub, hub_files),
    "ir_datasets": Source("ir_datasets:<id>", read_ir_datasets, ir_datasets_files),
    "python": Source(
        "python:stdlib or python:<installed package>",
        _python,
        lambda rest: [*python_files(rest)],
    ),
    "mteb": Source("mteb:<task>[/<subset>]", lambda rest, how: read_task(rest, how.split)),
}


def load_raw(source: str, how: Reading = PLAIN) -> RawCollection:
    """Read everything that a source holds: the corpus, and all splits.

    Args:
        source: as in `SOURCES`; or ``corpus:<file or BEIR folder>``, documents alone.
        how: it is read.

    Raises:
        HarnessError: the kind of source is unknown, or its input is missing or broken.
    """
    kind, colon, rest = source.partition(":")
    if kind in SOURCES and rest:
        by_document = how.clusters == BY_DOCUMENT
        return SOURCES[kind].read(rest, how._replace(clusters=None) if by_document else how)
    if kind == corpus.CORPUS:
        return corpus.read_corpus(path_of(rest), columns=dict(how.columns), into=how.into)
    if kind == "synthetic":
        problem = (
            f"source {source!r}: only queries by people are scored; synthetic queries are for "
            "training. Declare them in a table [training.<name>]."
        )
    elif kind in SOURCES:
        problem = f"source {source!r}: nothing after the colon. Write {SOURCES[kind].form}."
    elif colon:
        problem = f"source {source!r}: unknown kind {kind!r}.{did_you_mean(kind, SOURCES)}"
    else:
        kinds = "; ".join(each.form for each in SOURCES.values())
        problem = f"source {source!r}: no kind before a colon. Write one of {kinds}."
    raise HarnessError(problem, exit_code=ExitCode.USAGE)


def build(
    raw: RawCollection,
    *,
    name: str,
    split: str,
    exclude_identical_ids: bool = False,
    clusters: str | None = None,
    unjudged: bool = False,
) -> Collection:
    """Return the collection of one split: ids ascending, queries with a relevant document.

    A judged document that is not in the corpus gets row -1. A judgement of a query that does not
    exist, or that has no relevant document, is left out; `audit` reports them. Where nothing at all
    is judged, `unjudged` takes all queries.

    Raises:
        HarnessError: there is no such split, or it has no corpus, no usable query, an id with two
            texts or a pair with two grades, or all queries are in one cluster.
    """
    part = raw.split(split)
    unjudged = unjudged and not len(part.judgements) and bool(part.queries.ids)
    found = [p for p in blocking_problems(raw, split) if p.severity == "error"]
    errors = [p.message for p in found if not (unjudged and p.check == NO_QUERIES)]
    if errors:
        raise HarnessError(errors, exit_code=ExitCode.DATA)
    rows = raw.documents.ascending
    query_ids = tuple(sorted(part.queries.rows if unjudged else part.relevant))
    document_ids, documents = (take(x, rows) for x in (raw.documents.ids, raw.documents.texts))
    return Collection(
        name=name,
        split=split,
        document_ids=document_ids,
        documents=documents,
        query_ids=query_ids,
        queries=tuple(part.queries.texts[part.queries.rows[key]] for key in query_ids),
        judgements=replace(
            _judgements(part, query_ids, document_ids),
            shortlists=shortlist_rows(part, query_ids, document_ids, apart=exclude_identical_ids),
        ),
        clusters=None if clusters is None else _clusters(part, query_ids, clusters),
        exclude_identical_ids=exclude_identical_ids,
        licence=raw.licence,
        passages=None if raw.cut is None else cut_documents(document_ids, documents, raw.cut),
    )


def _clusters(part: RawSplit, query_ids: tuple[str, ...], column: str) -> npt.NDArray[np.int64]:
    """Return the number of each query's cluster, int64 [n_queries]."""
    if column == BY_DOCUMENT:
        numbers = _joined_by_documents(part, query_ids)
    else:
        named = [part.queries.clusters[part.queries.rows[key]] for key in query_ids]
        numbers = np.unique(named, return_inverse=True)[1].astype(np.int64)
    if len(query_ids) > 1 and len(np.unique(numbers)) == 1:
        raise HarnessError(
            f"clusters = {column!r}: all {len(query_ids)} queries are in one cluster, so nothing "
            "can be compared. Name a finer column, or none.",
            exit_code=ExitCode.DATA,
        )
    return numbers


def _joined_by_documents(part: RawSplit, query_ids: tuple[str, ...]) -> npt.NDArray[np.int64]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    places: dict[str, int] = {}
    rows, columns = [], []
    for row, query in enumerate(query_ids):
        for document in part.relevant[query]:
            rows.append(row)
            columns.append(len(query_ids) + places.setdefault(document, len(places)))
    size = len(query_ids) + len(places)
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(size, size))
    _, numbers = connected_components(graph, directed=False)
    return np.asarray(numbers[: len(query_ids)], dtype=np.int64)


def _judgements(
    part: RawSplit, query_ids: tuple[str, ...], document_ids: Sequence[str]
) -> Judgements:
    query_rows = {key: row for row, key in enumerate(query_ids)}
    judged = part.judgements
    # As a dict of triples, so that a judgement given twice counts once, unknown documents included.
    triples = dict.fromkeys(
        zip(judged.query_ids, judged.document_ids, judged.grades.tolist(), strict=True)
    )
    found = places_of(document_ids, [document for _, document, _ in triples]).tolist()
    rows = sorted(
        (query_rows[query], row, grade)
        for (query, _, grade), row in zip(triples, found, strict=True)
        if query in query_rows
    )
    queries, documents, grades = np.array(rows, dtype=np.int32).reshape(-1, 3).T
    return Judgements(queries=queries, documents=documents, grades=grades)
