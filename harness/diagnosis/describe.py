"""Describe: what a scan found, as stored values with ids in the place of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from harness.arrays import Indices, Values
from harness.collection import Collection
from harness.diagnosis.clusters import FoundCluster
from harness.diagnosis.reasons.signs import short
from harness.diagnosis.values import Exemplar, FailureCluster, Mode
from harness.runs.run import Run

SHOWN = 10  # documents of an exemplar

ExemplarRole = Literal["typical", "worst", "success"]


def failure_cluster(
    found: FoundCluster,
    *,
    number: int,
    mode: Mode,
    reference: str | None,
    ids: Sequence[str],
    texts: Sequence[str] = (),
    exemplars: Sequence[Exemplar],
) -> FailureCluster:
    """Return a found cluster as a stored value; its reasons are still to be told.

    Args:
        found: by the scan.
        number: among the clusters of its scan, from 1.
        mode: what the losses of the scan were.
        reference: the other candidate of a difference.
        ids: of the texts that were scanned.
        texts: the same, one of which names a cluster that no content word does.
        exemplars: queries that stand for it.
    """
    best = 0.0 if mode == "difference" else 1.0
    return FailureCluster(
        key=f"c{number}",
        mode=mode,
        reference=reference,
        region=found.region,
        predicate=found.predicate,
        label=list(found.label) or [_like(texts[row]) for row in found.typical[:1] if texts],
        inside=list(found.inside),
        n=len(found.members),
        share=len(found.members) / len(ids),
        mean=best - found.loss,
        rest=best - found.rest,
        ratio=found.ratio.value,
        ratio_low=found.ratio.low,
        ratio_high=found.ratio.high,
        p_adjusted=found.p_adjusted,
        impact=found.impact,
        stability=found.stability,
        reasons=[],
        exemplars=list(exemplars),
        members=[ids[row] for row in found.members],
    )


def _like(text: str) -> str:
    return f"such as “{short(text)}”"


def query_exemplars(
    found: FoundCluster, losses: Values, *, collection: Collection, run: Run
) -> list[Exemplar]:
    """Return queries that stand for a cluster of queries, with what came back.

    Three typical failures, the failure with the worst margin, and a success close by.

    Args:
        found: cluster of queries.
        losses: float64 [n_queries], of the scan.
        collection: of the queries.
        run: what the candidate returned.
    """
    chosen: dict[int, ExemplarRole] = dict.fromkeys(found.typical, "typical")
    failing = found.members[losses[found.members] > losses.mean()]
    shown = {row: _exemplar(row, "worst", collection=collection, run=run) for row in failing}
    others = [each for row, each in shown.items() if row not in chosen]
    worst = max(others, key=_badness, default=None)
    exemplars = [_exemplar(row, "typical", collection=collection, run=run) for row in chosen]
    if worst is not None:
        exemplars.append(worst)
    if found.success is not None:
        exemplars.append(_exemplar(found.success, "success", collection=collection, run=run))
    return exemplars


def document_exemplars(
    found: FoundCluster, documents: Indices, *, collection: Collection, run: Run
) -> list[Exemplar]:
    """Return queries that miss typical documents of a cluster of documents.

    Args:
        found: cluster of documents.
        documents: int [n], row in the collection of each document that was scanned.
        collection: of the documents.
        run: what the candidate returned.
    """
    exemplars = []
    for row in found.typical:
        asked = [
            _exemplar(int(query), "typical", collection=collection, run=run)
            for query in _queries_of(int(documents[row]), collection)
        ]
        if asked:
            exemplars.append(max(asked, key=_badness))
    return exemplars


def _queries_of(document: int, collection: Collection) -> Indices:
    judged = collection.judgements
    rows: Indices = judged.queries[(judged.documents == document) & (judged.grades > 0)]
    return rows


def _badness(exemplar: Exemplar) -> tuple[float, float]:
    rank = float("inf") if exemplar.rank is None else float(exemplar.rank)
    return (rank, exemplar.margin or 0.0)


def _exemplar(query: int, role: ExemplarRole, *, collection: Collection, run: Run) -> Exemplar:
    returned = run.documents[query]
    returned = returned[returned >= 0]
    relevant = set(_relevant(query, collection))
    ranks = [rank for rank, row in enumerate(returned.tolist()) if row in relevant]
    margin = None
    if ranks:
        last = min(SHOWN, len(returned)) - 1
        margin = float(run.scores[query, last] - run.scores[query, ranks[0]])
    return Exemplar(
        query=collection.query_ids[query],
        role=role,
        retrieved=[collection.document_ids[row] for row in returned[:SHOWN]],
        relevant=[collection.document_ids[row] for row in sorted(relevant)],
        rank=ranks[0] + 1 if ranks else None,
        margin=margin,
    )


def _relevant(query: int, collection: Collection) -> Iterator[int]:
    judged = collection.judgements
    start, stop = np.searchsorted(judged.queries, [query, query + 1])
    for document, grade in zip(
        judged.documents[start:stop].tolist(), judged.grades[start:stop].tolist(), strict=True
    ):
        if grade > 0 and document >= 0:
            yield document
