"""Judgements: retrieved documents that are likely relevant, and queries that are documents."""

from __future__ import annotations

import numpy as np

from harness.collection import NO_GRADE
from harness.collection.texts import normalise
from harness.diagnosis.reasons.reason import Proof, Reason, Signs, look, not_first, prove
from harness.diagnosis.subject import Judge, Subject
from harness.diagnosis.words import short
from harness.runs.run import rank
from harness.stage import Context

_AS_GOOD = 0.95


def find_likely_relevant(subject: Subject) -> Signs | None:
    """Tell which queries get an unjudged document that looks as relevant as their relevant one.

    A cross-encoder that does better than what it reranks must have scored both, and give the
    unjudged one at least 0.95 of the relevant one's probability. Words alone cannot tell: what
    shares most words with a query is often about the right thing and answers another question.
    Flags: the cross-encoder's scores of the documents returned. There is no trial.
    """
    found = (_by_cross_encoder(subject, judge) for judge in subject.good_judges)
    return next((signs for signs in found if signs.eligible.any()), None)


def _by_cross_encoder(subject: Subject, judge: Judge) -> Signs:
    asked = np.concatenate([subject.best[:, None], subject.top], axis=1)
    real = asked >= 0
    pairs = np.stack([np.nonzero(real)[0], asked[real]], axis=1).astype(np.int32)
    found = np.full(asked.shape, np.nan)
    found[real] = judge.scorer.known_scores(subject.store, pairs)
    known = np.isfinite(found)
    chance = 1 / (1 + np.exp(-np.where(known, found, -np.inf).clip(-500, 500)))
    grades = subject.collection.judgements.grades_of(subject.top)
    unjudged = (subject.top >= 0) & (grades == NO_GRADE)
    rivals = np.where(unjudged & known[:, 1:], chance[:, 1:], -1.0)

    def see(row: int) -> str | bool | None:
        best = int(rivals[row].argmax())
        if not known[row, 0] or rivals[row, best] < 0:
            return None
        if rivals[row, best] < _AS_GOOD * chance[row, 0]:
            return False
        other = subject.top[row, best]
        return (
            f"{judge.scorer.name} gives the unjudged {subject.collection.document_ids[other]} "
            f"{found[row, best + 1]:.2f} and the relevant document {found[row, 0]:.2f}: "
            f"'{short(subject.collection.documents[other])}'."
        )

    return look(subject, see)


def find_self_matches(subject: Subject) -> Signs:
    """Tell which queries stand as a document in the corpus that is not relevant to them.

    Flags: the texts. The trial takes these documents out of the results.
    """
    texts = {normalise(text): row for row, text in enumerate(subject.collection.documents)}

    def see(row: int) -> str | bool:
        twin = texts.get(normalise(subject.collection.queries[row]), -1)
        if twin < 0 or twin == subject.forbids(row) or subject.facts.is_relevant(row, twin):
            return False
        return f"The document {subject.collection.document_ids[twin]} is the query's own text."

    return look(subject, see, failed=not_first(subject))


def try_without_leaks(subject: Subject, signs: Signs, _context: Context) -> list[Proof]:
    """Take the query's own text out of its results, for all queries."""
    documents = np.array(subject.run.documents)
    relevant = subject.facts.are_relevant(documents)
    texts = subject.collection.documents
    for row in np.flatnonzero(signs.shows):
        mine = normalise(subject.collection.queries[row])
        own = [document >= 0 and normalise(texts[document]) == mine for document in documents[row]]
        documents[row, np.array(own) & ~relevant[row]] = -1
    run = rank(documents, subject.run.scores, depth=subject.run.depth)
    return [prove(subject, signs, run, change="the query's own text removed", within=1)]


UNJUDGED = Reason(
    key="unjudged",
    title="Likely relevant, but unjudged",
    says="an unjudged document in the top {k} looks as relevant as the relevant one",
    lever="fix the data",
    detect=find_likely_relevant,
)
LEAK = Reason(
    key="self-match",
    title="The query itself is in the corpus",
    says="a document not judged relevant has the query's own text",
    lever="fix the data",
    detect=find_self_matches,
    trial=try_without_leaks,
    failure="the relevant document is not first",
)
