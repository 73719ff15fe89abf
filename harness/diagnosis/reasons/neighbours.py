"""Neighbours: copies, hubs, and relevant documents that lie far apart."""

from __future__ import annotations

import numpy as np

from harness.arrays import Flags, Rows
from harness.diagnosis.hubs import count_hubs
from harness.diagnosis.reasons.signs import Proof, Reason, Signs, Trial, nothing
from harness.diagnosis.reasons.trials import prove
from harness.diagnosis.subject import Sides, Subject
from harness.retrieval.embeddings import Embeddings, unit_length
from harness.retrieval.search import search
from harness.runs.run import Run, rank

_HUBS = 0.3
_COVERED = 0.25
_ALIKE = 0.5


def find_copies(subject: Subject) -> Signs | None:
    """Tell which queries have a relevant document of which there is a copy that is not relevant.

    Copies have almost the same words, see `find_twins`. A copy costs a rank, so the failure is that
    the relevant document is not the first. Flags: the texts of the documents. It is at work where
    the copy stands above the relevant document. The trial merges copies in the results.
    """
    twins, relevant = subject.facts.twins, subject.facts.relevant
    shows, at_work = nothing(subject), nothing(subject)
    found: dict[int, tuple[int, int]] = {}
    places = [{row: rank for rank, row in enumerate(rows, 1)} for rows in subject.top.tolist()]
    ranks = subject.after.ranks
    for query, document in zip(*map(np.ndarray.tolist, relevant), strict=True):
        for other in twins.of(document):
            if subject.facts.is_relevant(query, other) or other == subject.forbids(query):
                continue
            shows[query] = True
            place = places[query].get(other)
            if place is not None and (ranks[query] == 0 or place < ranks[query]):
                at_work[query] = True
                found.setdefault(query, (document, other))
    if not shows.any():
        return None
    ids = subject.collection.document_ids

    def evidence(row: int) -> str:
        document, other = found[row]
        held = subject.run.documents[row].tolist()
        mine = f"at rank {held.index(document) + 1}" if document in held else "beyond the run"
        return (
            f"{ids[other]}, at rank {places[row][other]}, has the words of the relevant "
            f"{ids[document]}, {mine}."
        )

    return Signs(subject.findable, shows, not_first(subject), evidence, at_work)


def not_first(subject: Subject) -> Flags:
    """Tell whose best relevant document is not the first."""
    failed: Flags = subject.findable & ~subject.after.within(1)
    return failed


def try_collapse(subject: Subject, signs: Signs) -> Trial:  # noqa: ARG001  a trial is asked alike
    """Let a copy count as the relevant document that it repeats, for all queries."""

    def judge() -> list[Proof]:
        run = subject.run
        documents = np.array(run.documents)
        twin = np.isin(documents, subject.facts.twins.rows)
        for query in np.flatnonzero(twin.any(axis=1)).tolist():
            documents[query] = _collapse(subject, query, documents[query], twin[query])
        ranks = np.arange(documents.shape[1], 0, -1, dtype=np.float64)
        collapsed = rank(documents, np.broadcast_to(ranks, documents.shape), depth=run.depth)
        rows = np.arange(subject.n_queries)
        return [
            prove(
                subject,
                rows,
                collapsed,
                change="copies collapsed into one document",
                failed=not_first(subject),
                within=1,
            )
        ]

    return Trial((), judge)


def _collapse(subject: Subject, query: int, documents: Rows, twin: Flags) -> Rows:
    """Name every copy after the relevant document that it repeats, and keep the first of each.

    Args:
        subject: the candidate.
        query: whose ranking it is.
        documents: int32 [depth].
        twin: bool [depth], which of them have a twin.
    """
    facts, named = subject.facts, documents.copy()
    for place in np.flatnonzero(twin).tolist():
        document = int(documents[place])
        if not facts.is_relevant(query, document):
            others = facts.twins.of(document)
            repeated = (other for other in others if facts.is_relevant(query, other))
            named[place] = next(repeated, document)
    first = np.sort(np.unique(named, return_index=True)[1])
    left = np.full_like(named, -1)
    left[: len(first)] = named[first]
    return left


def find_hubs(subject: Subject) -> Signs | None:
    """Tell where hubs take three tenths of the wrong places among the first k.

    A hub is returned for more queries than the Poisson law of its mean would allow once in a
    thousand documents. It counts only where it is not relevant and has hardly a word of the query:
    many questions about one thing make the documents about it frequent, which is no fault. Flags:
    the documents returned, so it is a symptom. The trial centres all vectors.
    """
    strange = _strangers(subject)
    hubs = count_hubs(subject.top, strange, n_documents=len(subject.collection.documents))
    if not hubs.rows.size:
        return None
    is_hub = np.isin(subject.top, hubs.rows) & strange
    shows = is_hub.sum(axis=1) >= np.maximum(_HUBS * subject.wrong.sum(axis=1), 1)
    shows &= subject.findable
    counts = dict(zip(hubs.rows.tolist(), hubs.counts.tolist(), strict=True))

    def evidence(row: int) -> str:
        mine = subject.top[row][is_hub[row]]
        worst = max(mine.tolist(), key=lambda document: counts[document])
        return (
            f"{len(mine)} of {int(subject.wrong[row].sum())} wrong documents are hubs; "
            f"{subject.collection.document_ids[worst]} is returned for {counts[worst]} of "
            f"{subject.n_queries} queries that have nothing to do with it."
        )

    return Signs(subject.findable, shows, subject.missed, evidence)


def _strangers(subject: Subject) -> Flags:
    """Tell which of the first k documents are wrong and have hardly a word of the query."""
    queries, places = np.nonzero(subject.wrong)
    covered = subject.facts.lexicon.coverage(queries, subject.top[queries, places])
    strange = np.zeros(subject.top.shape, dtype=bool)
    strange[queries, places] = covered < _COVERED
    return strange


def try_centring(subject: Subject, signs: Signs) -> Trial | None:  # noqa: ARG001  asked alike
    """Subtract each side's mean from its vectors, for all queries."""
    if subject.vectors is None or subject.is_reranked:
        return None

    def judge() -> list[Proof]:
        rows = np.arange(subject.n_queries)
        return [prove(subject, rows, _centred_run(subject), change="vectors centred")]

    return Trial((), judge)


def _centred_run(subject: Subject) -> Run:
    if subject.vectors is None:
        raise TypeError(f"{subject.candidate} searches no vectors")
    centred = Sides(*map(_centre, subject.vectors))
    return search(*centred, depth=subject.run.depth, forbidden=subject.forbidden)


def _centre(vectors: Embeddings) -> Embeddings:
    held = unit_length(vectors.block(0, len(vectors)))
    centred = unit_length(held - held.mean(axis=0))
    return Embeddings([centred], np.arange(len(centred)), centred.shape[1], normalised=False)


def find_aspects(subject: Subject) -> Signs | None:
    """Tell which queries have relevant documents that the space holds far apart.

    Likeness is the cosine above that of random documents. The failure is that not all of them are
    among the first k. Flags: the vectors of the relevant documents. There is no trial.
    """
    if subject.vectors is None:
        return None
    relevant = subject.facts.relevant
    counts = np.bincount(relevant.queries, minlength=subject.n_queries)
    eligible = counts >= 2
    if not eligible.any():
        return None
    places = subject.ranks_in_run()
    inside = np.bincount(
        relevant.queries[(places > 0) & (places <= subject.k)], minlength=subject.n_queries
    )
    failed = eligible & (inside < np.minimum(counts, subject.k))
    usual = subject.usual_cosine
    likeness = np.ones(subject.n_queries)
    bounds = np.searchsorted(relevant.queries, np.arange(subject.n_queries + 1))
    for row in np.flatnonzero(eligible):
        mine = relevant.documents[bounds[row] : bounds[row + 1]]
        vectors = unit_length(subject.vectors.documents.take(mine))
        total = float(np.square(vectors.sum(axis=0)).sum())
        mean = (total - len(mine)) / (len(mine) * (len(mine) - 1))
        likeness[row] = (mean - usual) / max(1 - usual, 1e-6)
    shows = eligible & (likeness < _ALIKE)
    if not shows.any():
        return None

    def evidence(row: int) -> str:
        return (
            f"{counts[row]} relevant documents whose likeness is {likeness[row]:.2f}; "
            f"{inside[row]} of them among the first {subject.k}."
        )

    return Signs(eligible, shows, failed, evidence)


COPIES = Reason(
    key="near-duplicate",
    title="A copy stands in for the relevant document",
    says="another document has nearly the same words as the relevant one and is not judged so",
    lever="deduplicate",
    detect=find_copies,
    trial=try_collapse,
    failure="the relevant document not first",
)
HUBS = Reason(
    key="hub",
    title="Hubs crowd the relevant document out",
    says="documents that come back for very many queries take a good part of the wrong places",
    lever="centring",
    detect=find_hubs,
    trial=try_centring,
    symptom=True,
)
ASPECTS = Reason(
    key="multi-aspect",
    title="Relevant documents of different kinds",
    says="the relevant documents lie far apart in the space",
    lever="multi-vector",
    detect=find_aspects,
    failure="not all relevant documents among the first {k}",
)
