"""Neighbours: copies, hubs, and relevant documents that lie far apart."""

from __future__ import annotations

import numpy as np

from harness.arrays import Flags, Rows
from harness.diagnosis.reasons.reason import Proof, Reason, Signs, look, not_first, prove
from harness.diagnosis.space import count_hubs
from harness.diagnosis.subject import Sides, Subject
from harness.retrieval.embeddings import Embeddings, unit_length
from harness.retrieval.search import search
from harness.runs.run import rank
from harness.stage import Context

_HUBS = 0.3
_COVERED = 0.25
_ALIKE = 0.5


def find_copies(subject: Subject) -> Signs:
    """Tell which queries have a relevant document of which there is a copy that is not relevant.

    Copies have almost the same words, see `find_twins`. A copy costs a rank, so the failure is that
    the relevant document is not the first. Flags: the texts of the documents. It is at work where
    the copy stands above the relevant document. The trial merges copies in the results.
    """
    facts, ids, ranks = subject.facts, subject.collection.document_ids, subject.after.ranks

    def see(row: int) -> str | bool:
        copies = [
            (document, other)
            for document in facts.relevant_to(row).tolist()
            for other in facts.twins.of(document)
            if not facts.is_relevant(row, other) and other != subject.forbids(row)
        ]
        top = subject.top[row].tolist() if copies else []
        for document, other in copies:
            if other in top and (ranks[row] == 0 or top.index(other) + 1 < ranks[row]):
                held = subject.run.documents[row].tolist()
                mine = (
                    f"at rank {held.index(document) + 1}"
                    if document in held
                    else f"not in the first {len(held):,}"
                )
                return (
                    f"{ids[other]}, at rank {top.index(other) + 1}, has the words of the relevant "
                    f"{ids[document]}, {mine}."
                )
        return bool(copies)

    return look(subject, see, failed=not_first(subject), harm=True)


def try_collapse(subject: Subject, signs: Signs, _context: Context) -> list[Proof]:
    """Let a copy count as the relevant document that it repeats, for all queries."""
    documents = np.array(subject.run.documents)
    twin = np.isin(documents, subject.facts.twins.rows)
    for query in np.flatnonzero(twin.any(axis=1)).tolist():
        documents[query] = _collapse(subject, query, documents[query], twin[query])
    ranks = np.arange(documents.shape[1], 0, -1, dtype=np.float64)
    run = rank(documents, np.broadcast_to(ranks, documents.shape), depth=subject.run.depth)
    return [prove(subject, signs, run, change="copies collapsed into one document", within=1)]


def _collapse(subject: Subject, query: int, documents: Rows, twin: Flags) -> Rows:
    """Name every copy after the relevant document that it repeats, and keep the first of each.

    `documents` is its ranking, and `twin` tells which of them have one, [depth] both.
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


def find_hubs(subject: Subject) -> Signs:
    """Tell where hubs take three tenths of the wrong places among the first k.

    A hub is returned for more queries than the Poisson law of its mean would allow once in a
    thousand documents. It counts only where it is not relevant and has hardly a word of the query:
    many questions about one thing make the documents about it frequent, which is no fault. Flags:
    the documents returned, so it is a symptom. The trial centres all vectors.
    """
    queries, places = np.nonzero(subject.wrong)
    strange = np.zeros(subject.top.shape, dtype=bool)
    covered = subject.facts.lexicon.coverage(queries, subject.top[queries, places])
    strange[queries, places] = covered < _COVERED
    hubs = count_hubs(subject.top, strange, n_documents=len(subject.collection.documents))
    counts = dict(zip(hubs.rows.tolist(), hubs.counts.tolist(), strict=True))

    def see(row: int) -> str | bool:
        mine = [each for each in subject.top[row][strange[row]].tolist() if each in counts]
        wrong = int(subject.wrong[row].sum())
        if len(mine) < max(_HUBS * wrong, 1):
            return False
        worst = max(mine, key=counts.__getitem__)
        return (
            f"{len(mine):,} of {wrong:,} wrong documents are hubs; "
            f"{subject.collection.document_ids[worst]} is returned for {counts[worst]:,} of "
            f"{subject.n_queries:,} queries to which it is not relevant and whose words it hardly "
            "has."
        )

    return look(subject, see)


def try_centring(subject: Subject, signs: Signs, _context: Context) -> list[Proof]:
    """Subtract each side's mean from its vectors, for all queries."""
    if subject.vectors is None or subject.stage is not subject.first:
        return []
    centred = []
    for side in subject.vectors:
        held = unit_length(side.block(0, len(side)))
        moved = unit_length(held - held.mean(axis=0))
        rows = np.arange(len(moved))
        centred.append(Embeddings([moved], rows, moved.shape[1], normalised=False))
    run = search(*Sides(*centred), depth=subject.run.depth, forbidden=subject.forbidden)
    return [prove(subject, signs, run, change="vectors centred")]


def find_aspects(subject: Subject) -> Signs | None:
    """Tell which queries have relevant documents that the space holds far apart.

    Likeness is the cosine above that of random documents. The failure is that not all of them are
    among the first k. Flags: the vectors of the relevant documents. There is no trial.
    """
    relevant, usual = subject.facts.relevant, subject.usual_cosine
    if subject.vectors is None:
        return None
    documents = subject.vectors.documents
    places = relevant.ranks_in(subject.run)
    counts, inside = (
        np.bincount(queries, minlength=subject.n_queries)
        for queries in (relevant.queries, relevant.queries[(places > 0) & (places <= subject.k)])
    )
    failed = (counts >= 2) & (inside < np.minimum(counts, subject.k))

    def see(row: int) -> str | bool | None:
        mine = subject.facts.relevant_to(row)
        if len(mine) < 2:
            return None
        vectors = unit_length(documents.take(mine))
        total = float(np.square(vectors.sum(axis=0)).sum())
        mean = (total - len(mine)) / (len(mine) * (len(mine) - 1))
        likeness = (mean - usual) / max(1 - usual, 1e-6)
        return likeness < _ALIKE and (
            f"{counts[row]} relevant documents whose likeness is {likeness:.2f}; "
            f"{inside[row]} of them among the first {subject.k}."
        )

    return look(subject, see, failed=failed)


COPIES = Reason(
    key="near-duplicate",
    title="Near-duplicate of the relevant document",
    says="a near-duplicate of the relevant document is unjudged or judged irrelevant",
    lever="deduplicate",
    detect=find_copies,
    trial=try_collapse,
    failure="the relevant document is not first",
    harm="a copy ranks above the relevant document",
)
HUBS = Reason(
    key="hub",
    title="Hubness",
    says="documents returned for very many queries take many of the wrong places",
    lever="centring",
    detect=find_hubs,
    trial=try_centring,
    symptom=True,
    of_words="k1 and b",
)
ASPECTS = Reason(
    key="multi-aspect",
    title="Multi-aspect relevance",
    says="the relevant documents are far apart in the vector space",
    lever="multi-vector",
    detect=find_aspects,
    failure="not all relevant documents in the top {k}",
)
