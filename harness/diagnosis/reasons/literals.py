"""Literals: numbers that must be matched to the digit, and words that turn a meaning round."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.arrays import Flags, Rows
from harness.diagnosis.reasons.reason import (
    Proof,
    Reason,
    Signs,
    encode_others,
    encoded,
    encoder,
    look,
    search_with,
)
from harness.diagnosis.subject import Queries, Subject
from harness.diagnosis.words import DIGITS, INDEXED_WORDS, NEGATIONS, NUMBERS
from harness.retrieval.embeddings import Embeddings
from harness.runs.run import Run
from harness.stage import Context

_SAME = 0.97  # cosine of a query and the same with another number
_UNCHANGED = 0.8  # Jaccard of the first k with and without the negation


def find_numbers(subject: Subject) -> Signs:
    """Tell where a number of the query stands in its document.

    Flags: the texts of query and relevant document. It is at work where the first wrong document
    lacks the number. The trial changes the number in the query.
    """
    texts, wrong = subject.collection.documents, _first_wrong(subject)

    def see(row: int) -> str | bool:
        asked = dict.fromkeys(NUMBERS.findall(subject.collection.queries[row]))
        held = set(NUMBERS.findall(texts[subject.best[row]])) if asked else set()
        shared = [number for number in asked if number in held]
        if not shared or wrong[row] < 0:
            return bool(shared)
        other = set(NUMBERS.findall(texts[wrong[row]]))
        absent = [number for number in shared if number not in other]
        return not absent or (
            f"Query and relevant document have {', '.join(absent)}; the first wrong document, "
            f"{subject.collection.document_ids[wrong[row]]}, does not."
        )

    return look(subject, see, harm=True)


def _first_wrong(subject: Subject) -> Rows:
    """Return the best ranked document that is not relevant, int32 [n_queries]; -1 for none."""
    place = subject.wrong.argmax(axis=1)
    found = subject.top[np.arange(len(place)), place]
    return np.where(subject.wrong.any(axis=1), found, -1).astype(np.int32)


def swap_digits(text: str) -> str:
    """Return the text with other numbers of the same shape.

    >>> swap_digits("2019 and 5%")
    '5342 and 8%'
    """
    return DIGITS.sub(lambda digit: str((int(digit[0]) + 3) % 10), text)


def try_swapped_numbers(subject: Subject, signs: Signs, context: Context) -> list[Proof]:
    """Ask the failed queries with other numbers: a model that reads numbers moves."""

    def moved(rows: Queries, vectors: Embeddings, _run: Run) -> Flags:
        before, after = subject.searched.queries.take(rows), vectors.block(0, len(rows))
        norms = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
        cosines = (before * after).sum(axis=1) / np.maximum(norms, 1e-12)
        return np.asarray(cosines <= _SAME)

    return _sensitivity(
        subject,
        signs,
        context,
        swap_digits,
        moved,
        what="queries with other numbers",
        change=f"with other numbers the query keeps a cosine above {_SAME:g}",
    )


def find_negations(subject: Subject) -> Signs:
    """Tell which queries exclude something.

    Flags: the query's text. It is at work where the first wrong document has what is excluded. The
    trial drops the negation from the query.
    """
    lexicon, wrong = subject.facts.lexicon, _first_wrong(subject)

    def see(row: int) -> str | bool:
        text = subject.collection.queries[row]
        match = NEGATIONS.search(text)
        if match is None or wrong[row] < 0:
            return match is not None
        held = set(INDEXED_WORDS.findall(subject.collection.documents[wrong[row]].lower()))
        after = INDEXED_WORDS.findall(text[match.end() :].lower())
        content = [word for word in after if lexicon.term_of(word) >= 0]
        words = [word for word in content[:3] if word in held]
        return not words or (
            f"The query says '{match[0]}' before '{words[0]}', which the first wrong document, "
            f"{subject.collection.document_ids[wrong[row]]}, has."
        )

    return look(subject, see, harm=True)


def drop_negation(text: str) -> str:
    """Return the text without its first negation.

    >>> drop_negation("cars without airbags")
    'cars airbags'
    """
    return " ".join(NEGATIONS.sub("", text, count=1).split())


def try_without_negation(subject: Subject, signs: Signs, context: Context) -> list[Proof]:
    """Ask the failed queries without the negating word: a model that reads it moves."""

    def moved(rows: Queries, _vectors: Embeddings, run: Run) -> Flags:
        before, after = (top.tolist() for top in (subject.top[rows], run.documents[:, : subject.k]))
        sets = [({*a} - {-1}, {*b} - {-1}) for a, b in zip(before, after, strict=True)]
        return np.array([len(a & b) / max(len(a | b), 1) < _UNCHANGED for a, b in sets])

    return _sensitivity(
        subject,
        signs,
        context,
        drop_negation,
        moved,
        what="queries without their negation",
        change="without the negation the first documents stay the same",
    )


def _sensitivity(
    subject: Subject,
    signs: Signs,
    context: Context,
    change_text: Callable[[str], str],
    moved: Callable[[Queries, Embeddings, Run], Flags],
    *,
    what: str,
    change: str,
) -> list[Proof]:
    """Change the failed queries where it should matter, and count those that do not move."""
    encode = encoder(subject, "query")
    rows = subject.sample(signs.failures)
    if encode is None or not len(rows):
        return []
    texts = [change_text(subject.collection.queries[row]) for row in rows]
    [vectors] = encoded(subject, context, encode_others(encode, texts, what=what))
    run = search_with(subject, rows, vectors)
    return [
        Proof(
            change=change,
            rows=rows,
            gains=subject.score(rows, run) - subject.scores[rows],
            recovered=subject.hits(rows, run, k=subject.k),
            unmoved=int((~moved(rows, vectors, run)).sum()),
        )
    ]


NUMBER = Reason(
    key="number",
    title="Numbers are not distinguished",
    says="the query has a number that the relevant document has too",
    lever="hybrid",
    detect=find_numbers,
    trial=try_swapped_numbers,
    harm="the first wrong document lacks a number of the query",
    of_words="rerank",
)
NEGATION = Reason(
    key="negation",
    title="Negation is ignored",
    says="the query excludes something",
    lever="rerank",
    detect=find_negations,
    trial=try_without_negation,
    harm="the first wrong document has what is excluded",
)
