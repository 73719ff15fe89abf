"""Literals: numbers that must be matched to the digit, and words that turn a meaning round."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.arrays import Rows
from harness.diagnosis.reasons.signs import Proof, Reason, Signs, Trial, nothing, sample
from harness.diagnosis.reasons.trials import (
    encode_others,
    encoder,
    hits,
    read_side,
    score_rows,
    search_with,
)
from harness.diagnosis.subject import Subject
from harness.diagnosis.text import DIGITS, INDEXED_WORDS, NEGATIONS, NUMBERS

_SAME = 0.97  # cosine of a query and the same with another number
_UNCHANGED = 0.8  # Jaccard of the first k with and without the negation


def find_numbers(subject: Subject) -> Signs | None:
    """Tell where a number of the query stands in its document.

    Flags: the texts of query and relevant document. It is at work where the first wrong document
    lacks the number. The trial changes the number in the query.
    """
    shows, at_work = nothing(subject), nothing(subject)
    numbers: dict[int, str] = {}
    wrong = _first_wrong(subject)
    for row in np.flatnonzero(subject.findable):
        asked = dict.fromkeys(NUMBERS.findall(subject.collection.queries[row]))
        if not asked:
            continue
        held = set(NUMBERS.findall(subject.collection.documents[subject.best[row]]))
        shared = [number for number in asked if number in held]
        if not shared:
            continue
        shows[row] = True
        if wrong[row] >= 0:
            other = set(NUMBERS.findall(subject.collection.documents[wrong[row]]))
            absent = [number for number in shared if number not in other]
            at_work[row] = bool(absent)
            numbers[int(row)] = ", ".join(absent)
    if not shows.any():
        return None

    def evidence(row: int) -> str:
        other = subject.collection.document_ids[wrong[row]]
        return (
            f"Query and relevant document have {numbers[row]}; the first wrong document, "
            f"{other}, does not."
        )

    return Signs(subject.findable, shows, subject.missed, evidence, at_work)


def _first_wrong(subject: Subject) -> Rows:
    """Return the best ranked document that is not relevant, int32 [n_queries]; -1 for none."""
    held = subject.wrong.any(axis=1)
    place = subject.wrong.argmax(axis=1)
    found = subject.top[np.arange(len(place)), place]
    return np.where(held, found, -1).astype(np.int32)


def swap_digits(text: str) -> str:
    """Return the text with other numbers of the same shape.

    >>> swap_digits("2019 and 5%")
    '5342 and 8%'
    """
    return DIGITS.sub(lambda digit: str((int(digit[0]) + 3) % 10), text)


def try_swapped_numbers(subject: Subject, signs: Signs) -> Trial | None:
    """Ask the failed queries with other numbers: a model that reads numbers moves."""
    return _sensitivity(
        subject,
        signs,
        swap_digits,
        what="queries with other numbers",
        change=f"other numbers in the query: cosine above {_SAME:g}",
        by_ranking=False,
    )


def find_negations(subject: Subject) -> Signs | None:
    """Tell which queries exclude something.

    Flags: the query's text. It is at work where the first wrong document has what is excluded. The
    trial drops the negation from the query.
    """
    shows, at_work = nothing(subject), nothing(subject)
    wrong = _first_wrong(subject)
    negated: dict[int, tuple[str, str]] = {}
    for row in np.flatnonzero(subject.findable):
        text = subject.collection.queries[row]
        match = NEGATIONS.search(text)
        if match is None:
            continue
        shows[row] = True
        if wrong[row] < 0:
            continue
        after = _content_words(subject, text[match.end() :])
        held = set(INDEXED_WORDS.findall(subject.collection.documents[wrong[row]].lower()))
        words = [word for word in after[:3] if word in held]
        at_work[row] = bool(words)
        if words:
            negated[int(row)] = (match[0], words[0])
    if not shows.any():
        return None

    def evidence(row: int) -> str:
        cue, word = negated[row]
        other = subject.collection.document_ids[wrong[row]]
        return (
            f"The query says '{cue}' before '{word}', which the first wrong document, {other}, has."
        )

    return Signs(subject.findable, shows, subject.missed, evidence, at_work)


def _content_words(subject: Subject, text: str) -> list[str]:
    return [
        word
        for word in INDEXED_WORDS.findall(text.lower())
        if subject.facts.lexicon.term_of(word) >= 0
    ]


def drop_negation(text: str) -> str:
    """Return the text without its first negation.

    >>> drop_negation("cars without airbags")
    'cars airbags'
    """
    return " ".join(NEGATIONS.sub("", text, count=1).split())


def try_without_negation(subject: Subject, signs: Signs) -> Trial | None:
    """Ask the failed queries without the negating word: a model that reads it moves."""
    return _sensitivity(
        subject,
        signs,
        drop_negation,
        what="queries without their negation",
        change="the negation dropped: the first documents stay the same",
        by_ranking=True,
    )


def _sensitivity(
    subject: Subject,
    signs: Signs,
    change_text: Callable[[str], str],
    *,
    what: str,
    change: str,
    by_ranking: bool,
) -> Trial | None:
    """Change the failed queries where it should matter, and count those that do not move."""
    encode = encoder(subject, "query")
    rows = sample(subject, signs.failures)
    if encode is None or not len(rows):
        return None
    texts = [change_text(subject.collection.queries[row]) for row in rows]
    changed = encode_others(encode, texts, what=what)

    def judge() -> list[Proof]:
        vectors = read_side(subject, changed)
        run = search_with(subject, rows, vectors)
        if by_ranking:
            moved = _likeness(subject.top[rows], run.documents[:, : subject.k]) < _UNCHANGED
        else:
            moved = _cosines(subject, rows, vectors.block(0, len(rows))) <= _SAME
        proof = Proof(
            change=change,
            rows=rows,
            gains=score_rows(subject, rows, run) - subject.scores[rows],
            recovered=hits(subject, rows, run, k=subject.k),
            unmoved=int((~moved).sum()),
        )
        return [proof]

    return Trial((changed,), judge)


def _likeness(one: Rows, two: Rows) -> np.ndarray:
    """Return the Jaccard index of each row's sets of documents."""
    sets = [({*a.tolist()} - {-1}, {*b.tolist()} - {-1}) for a, b in zip(one, two, strict=True)]
    return np.array([len(a & b) / max(len(a | b), 1) for a, b in sets])


def _cosines(subject: Subject, rows: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    if subject.vectors is None:
        raise TypeError(f"{subject.candidate} searches no vectors")
    before = subject.vectors.queries.take(rows)
    norms = np.linalg.norm(before, axis=1) * np.linalg.norm(vectors, axis=1)
    cosines: np.ndarray = (before * vectors).sum(axis=1) / np.maximum(norms, 1e-12)
    return cosines


NUMBER = Reason(
    key="number",
    title="Numbers are read as any number",
    says="the query has a number that the relevant document has too",
    lever="hybrid",
    detect=find_numbers,
    trial=try_swapped_numbers,
)
NEGATION = Reason(
    key="negation",
    title="Negation is not read",
    says="the query excludes something",
    lever="rerank",
    detect=find_negations,
    trial=try_without_negation,
)
