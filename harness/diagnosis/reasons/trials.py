"""Trials: scoring what a changed text, vector or order would have returned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from harness.arrays import Rows, Values
from harness.collection import Judgements
from harness.diagnosis.reasons.signs import Proof
from harness.diagnosis.subject import Subject
from harness.retrieval.embeddings import Embeddings
from harness.retrieval.encoding import Encode, Texts
from harness.retrieval.lexical import Bm25Index, LexicalSearch
from harness.retrieval.search import Search, search
from harness.runs.context import document_tokens
from harness.runs.metrics import score
from harness.runs.run import Run, rank

Queries = npt.NDArray[np.intp]


def prove(
    subject: Subject,
    rows: Queries,
    run: Run,
    *,
    change: str,
    failed: npt.NDArray[np.bool_] | None = None,
    within: int | None = None,
) -> Proof:
    """Compare what a change returns with what was returned.

    Args:
        subject: the candidate as it is.
        rows: int [m], the queries tried.
        run: [m, …], what the change returns for them.
        change: in a few words.
        failed: bool [n_queries], what counts as a failure before; None takes the misses.
        within: rank that recovers one; None takes k.
    """
    values = score_rows(subject, rows, run)
    missed = subject.missed if failed is None else failed
    found = hits(subject, rows, run, k=within or subject.k)
    return Proof(
        change=change,
        rows=rows,
        gains=values - subject.scores[rows],
        recovered=missed[rows] & found,
    )


def score_rows(subject: Subject, rows: Queries, run: Run) -> Values:
    """Return the metric of some queries in another run, float64 [m]."""
    if not len(rows):
        return np.zeros(0)
    collection = subject.collection
    tokens = document_tokens(collection.documents) if subject.metric.in_tokens else None
    judged = some_judgements(collection.judgements, rows, n_queries=subject.n_queries)
    card = score(run, judged, [subject.metric], n_queries=len(rows), tokens=tokens)
    return card.values[str(subject.metric)]


def some_judgements(judged: Judgements, rows: Queries, *, n_queries: int) -> Judgements:
    """Return the judgements of some queries, ascending rows, which become 0, 1, ...."""
    place = np.full(n_queries, -1, dtype=np.int32)
    place[rows] = np.arange(len(rows))
    kept = place[judged.queries] >= 0
    return Judgements(place[judged.queries[kept]], judged.documents[kept], judged.grades[kept])


def hits(subject: Subject, rows: Queries, run: Run, *, k: int) -> npt.NDArray[np.bool_]:
    """Tell which queries have a relevant document among the first k of another run, bool [m]."""
    top = run.documents[:, :k]
    found: npt.NDArray[np.bool_] = np.any(subject.facts.are_relevant(top, queries=rows), axis=1)
    return found


def raised(
    subject: Subject, rows: Queries, documents: Sequence[Rows], scores: Sequence[Values]
) -> Run:
    """Return the run of some queries if some documents had better scores.

    A document keeps its own score where that is better.

    Args:
        subject: the candidate.
        rows: int [m].
        documents: rows, for each query, of those with another score.
        scores: theirs.
    """
    width = max((len(part) for part in documents), default=0)
    depth = subject.run.depth
    held = np.full((len(rows), depth + width), -1, dtype=np.int32)
    values = np.zeros(held.shape)
    for place, row in enumerate(rows):
        mine = {
            int(document): float(value)
            for document, value in zip(
                subject.run.documents[row], subject.run.scores[row], strict=True
            )
            if document >= 0
        }
        for document, value in zip(documents[place], scores[place], strict=True):
            mine[int(document)] = max(mine.get(int(document), -np.inf), float(value))
        held[place, : len(mine)] = list(mine)
        values[place, : len(mine)] = list(mine.values())
    return rank(held, values, depth=depth)


def encoder(subject: Subject, side: str) -> Encode | None:
    """Return the stage that encodes one side, or None where the model is not at hand."""
    if not isinstance(subject.stage, Search):
        return None
    source = subject.stage.space.queries if side == "query" else subject.stage.space.documents
    return source if isinstance(source, Encode) else None


def encode_others(
    encode: Encode, texts: Sequence[str], *, what: str, prompt: str | None = None
) -> Encode:
    """Return the stage that encodes other texts with the same model, side and prompt."""
    source = f"{encode.texts.source} ({what})"
    return replace(
        encode,
        texts=Texts(source, tuple(texts)),
        prompt=encode.prompt if prompt is None else prompt,
    )


def read_side(subject: Subject, encode: Encode) -> Embeddings:
    """Return freshly encoded vectors as the candidate's search would read them."""
    stage = subject.stage
    if not isinstance(stage, Search):
        raise TypeError(f"{subject.candidate} searches no vectors")
    read = replace(stage.space, documents=encode, queries=encode).read(subject.store)[1]
    if subject.vectors is None or encode.role == "query":
        return read
    return subject.vectors.documents.alike(read)


def search_with(subject: Subject, rows: Queries, queries: Embeddings) -> Run:
    """Return what other vectors of some queries find among the candidate's documents."""
    if subject.vectors is None:
        raise TypeError(f"{subject.candidate} searches no vectors")
    forbidden = None if subject.forbidden is None else subject.forbidden[rows]
    return search(subject.vectors.documents, queries, depth=subject.run.depth, forbidden=forbidden)


def search_words(
    subject: Subject, stage: LexicalSearch, rows: Queries, texts: Sequence[str]
) -> Run:
    """Return what other texts of some queries find by BM25."""
    index = Bm25Index(stage.spec, subject.collection.documents)
    found = []
    for row, values in zip(rows, index.score_all(texts), strict=True):
        if stage.forbidden is not None and stage.forbidden[row] >= 0:
            values[stage.forbidden[row]] = 0
        found.append(np.where(values > 0, values, 0))
    scores = np.array(found).reshape(len(rows), -1)
    documents = np.where(scores > 0, np.arange(scores.shape[1]), -1).astype(np.int32)
    return rank(documents, scores, depth=subject.run.depth)
