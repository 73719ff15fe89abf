"""Load a collection from a source string: ``beir:``, ``pairs:`` or ``python:``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.collection import Collection, Judgements
from harness.collection.beir import read_beir
from harness.collection.identity import blocking_problems
from harness.collection.pairs import read_pairs
from harness.collection.python_source import read_python
from harness.collection.raw import RawCollection, RawSplit
from harness.errors import ExitCode, HarnessError, did_you_mean

SOURCES = {
    "beir": "beir:<folder>",
    "pairs": "pairs:<file.csv, .tsv, .parquet or .jsonl>",
    "python": "python:stdlib or python:<installed package>",
}


def load_raw(source: str) -> RawCollection:
    """Read everything that a source holds: the corpus, and all splits.

    Args:
        source: as in `SOURCES`.

    Raises:
        HarnessError: the kind of source is unknown, or its input is missing or broken.
    """
    kind, colon, rest = source.partition(":")
    match kind:
        case "beir" if rest:
            return read_beir(Path(rest).expanduser())
        case "pairs" if rest:
            return read_pairs(Path(rest).expanduser())
        case "python" if rest:
            return read_python(rest)
    if kind == "synthetic":
        problem = (
            f"source {source!r}: what is scored are queries of people; those that a model writes "
            "are for training. Declare them in a table [training.<name>]."
        )
    elif kind in SOURCES:
        problem = f"source {source!r}: nothing after the colon. Write {SOURCES[kind]}."
    elif colon:
        problem = f"source {source!r}: unknown kind {kind!r}.{did_you_mean(kind, SOURCES)}"
    else:
        kinds = "; ".join(SOURCES.values())
        problem = f"source {source!r}: no kind before a colon. Write one of {kinds}."
    raise HarnessError(problem, exit_code=ExitCode.USAGE)


def build(
    raw: RawCollection, *, name: str, split: str, exclude_identical_ids: bool = False
) -> Collection:
    """Return the collection of one split: ids ascending, queries with a relevant document.

    A judged document that is not in the corpus gets row -1. A judgement of a query that does not
    exist, or that has no relevant document, is left out; `audit` reports them.

    Raises:
        HarnessError: there is no such split, or it has no corpus, no usable query, an id with two
            texts or a pair with two grades.
    """
    errors = [p.message for p in blocking_problems(raw, split) if p.severity == "error"]
    if errors:
        raise HarnessError(errors, exit_code=ExitCode.DATA)
    part = raw.split(split)
    document_ids = tuple(sorted(raw.documents.rows))
    query_ids = tuple(sorted(part.relevant))
    return Collection(
        name=name,
        split=split,
        document_ids=document_ids,
        documents=tuple(raw.documents.texts[raw.documents.rows[key]] for key in document_ids),
        query_ids=query_ids,
        queries=tuple(part.queries.texts[part.queries.rows[key]] for key in query_ids),
        judgements=_judgements(part, query_ids, document_ids),
        exclude_identical_ids=exclude_identical_ids,
        licence=raw.licence,
    )


def _judgements(
    part: RawSplit, query_ids: tuple[str, ...], document_ids: tuple[str, ...]
) -> Judgements:
    query_rows = {key: row for row, key in enumerate(query_ids)}
    document_rows = {key: row for row, key in enumerate(document_ids)}
    judged = part.judgements
    # As a dict of triples, so that a judgement given twice counts once, unknown documents included.
    triples = dict.fromkeys(
        zip(judged.query_ids, judged.document_ids, judged.grades.tolist(), strict=True)
    )
    rows = sorted(
        (query_rows[query], document_rows.get(document, -1), grade)
        for query, document, grade in triples
        if query in query_rows
    )
    queries, documents, grades = np.array(rows, dtype=np.int32).T
    return Judgements(queries=queries, documents=documents, grades=grades)
