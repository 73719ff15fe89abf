"""Judgements: retrieved documents that are likely relevant, and queries that are documents."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.collection import NO_GRADE
from harness.collection.texts import normalise
from harness.diagnosis.reasons.neighbours import not_first
from harness.diagnosis.reasons.signs import Proof, Reason, Signs, Trial, nothing, short
from harness.diagnosis.reasons.trials import prove
from harness.diagnosis.subject import Subject
from harness.retrieval.reranking import CrossEncoderScorer
from harness.runs.run import rank

_AS_GOOD = 0.95


def find_likely_relevant(subject: Subject) -> Signs | None:
    """Tell which queries get an unjudged document that looks as relevant as their relevant one.

    A cross-encoder that does better than what it reranks must have scored both, and give the
    unjudged one at least 0.95 of the relevant one's probability. Words alone cannot tell: what
    shares most words with a query is often about the right thing and answers another question.
    Flags: the cross-encoder's scores of the documents returned. There is no trial.
    """
    for scorer in subject.scorers:
        signs = _by_cross_encoder(subject, scorer)
        if signs is not None:
            return signs
    return None


def _unjudged(subject: Subject) -> npt.NDArray[np.bool_]:
    """Tell which of the first k documents have no judgement of any grade."""
    grades = subject.collection.judgements.grades_of(subject.top)
    unjudged: npt.NDArray[np.bool_] = (subject.top >= 0) & (grades == NO_GRADE)
    return unjudged


def _by_cross_encoder(subject: Subject, scorer: CrossEncoderScorer) -> Signs | None:
    asked = np.concatenate([subject.best[:, None], subject.top], axis=1)
    real = asked >= 0
    pairs = np.stack([np.nonzero(real)[0], asked[real]], axis=1).astype(np.int32)
    found = np.full(asked.shape, np.nan)
    found[real] = scorer.known_scores(subject.store, pairs)
    known = np.isfinite(found)
    chance = 1 / (1 + np.exp(-np.where(known, found, -np.inf).clip(-500, 500)))
    rivals = np.where(_unjudged(subject) & known[:, 1:], chance[:, 1:], -1.0)
    eligible = subject.findable & known[:, 0] & (rivals.max(axis=1) >= 0)
    if not eligible.any():
        return None
    shows = eligible & (rivals.max(axis=1) >= _AS_GOOD * chance[:, 0])
    best = rivals.argmax(axis=1)

    def evidence(row: int) -> str:
        other = subject.top[row, best[row]]
        scores = found[row, best[row] + 1], found[row, 0]
        return (
            f"{scorer.name} gives the unjudged {subject.collection.document_ids[other]} "
            f"{scores[0]:.2f} and the relevant document {scores[1]:.2f}: "
            f"'{short(subject.collection.documents[other])}'."
        )

    return Signs(eligible, shows, subject.missed, evidence)


def find_self_matches(subject: Subject) -> Signs | None:
    """Tell which queries stand as a document in the corpus that is not relevant to them.

    Flags: the texts. The trial takes these documents out of the results.
    """
    texts = {normalise(text): row for row, text in enumerate(subject.collection.documents)}
    shows = nothing(subject)
    twins: dict[int, int] = {}
    for row, text in enumerate(subject.collection.queries):
        twin = texts.get(normalise(text), -1)
        if twin >= 0 and subject.findable[row] and not subject.facts.is_relevant(row, twin):
            shows[row] = twin != subject.forbids(row)
            twins[row] = twin
    if not shows.any():
        return None

    def evidence(row: int) -> str:
        return (
            f"The document {subject.collection.document_ids[twins[row]]} is the query's own text."
        )

    return Signs(subject.findable, shows, not_first(subject), evidence)


def try_without_leaks(subject: Subject, signs: Signs) -> Trial:
    """Take the query's own text out of its results, for all queries."""

    def judge() -> list[Proof]:
        documents = np.array(subject.run.documents)
        texts = subject.collection.documents
        for row in np.flatnonzero(signs.shows):
            mine = normalise(subject.collection.queries[row])
            own = [
                document >= 0 and normalise(texts[document]) == mine for document in documents[row]
            ]
            documents[
                row,
                np.array(own)
                & ~subject.facts.are_relevant(documents[[row]], queries=np.array([row]))[0],
            ] = -1
        run = rank(documents, subject.run.scores, depth=subject.run.depth)
        rows = np.arange(subject.n_queries)
        change = "the query's own text removed"
        return [prove(subject, rows, run, change=change, failed=not_first(subject), within=1)]

    return Trial((), judge)


UNJUDGED = Reason(
    key="unjudged",
    title="Likely relevant, but not judged",
    says="an unjudged document among the first {k} looks as relevant as the relevant one",
    lever="fix the data",
    detect=find_likely_relevant,
)
LEAK = Reason(
    key="self-match",
    title="The query itself is in the corpus",
    says="a document that is not relevant is the query's own text",
    lever="fix the data",
    detect=find_self_matches,
    trial=try_without_leaks,
    failure="the relevant document not first",
)
