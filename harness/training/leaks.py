"""Leaks: training examples that tell a model the answer to a query that it is scored on."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from harness.collection import Collection
from harness.collection.texts import normalise
from harness.training.similarity import (
    SAME_ANSWER,
    SAME_DOCUMENT,
    SAME_QUERY,
    Spelling,
    distance,
    similar,
    similar_words,
)
from harness.training.wording import (
    COMMON,
    Wording,
    agree,
    differ,
    is_new,
    is_plain,
    is_thanks,
    is_wrapper,
    marks,
    read,
    topic,
    trimmed,
)

How = Literal[
    "the same text",
    "the same words",
    "almost the same words",
    "the same words within a longer text",
    "the same answer",
]
_QUESTION = 300  # words of the longest text that is read as a question, with its prompt
_HEADING = 80  # the same among documents
_SLIPS = 3  # misspelt words of one text
_SPELLINGS = 6  # ways to correct one text
_NEAR = 3  # words around a piece that may belong to it


@dataclass(frozen=True)
class Leak:
    """One training example and the scored query that it gives away.

    Attributes:
        row: of the training example.
        text: of the example that matches the query: its own query, or its document.
        query: row of the query in the scored collection.
        how: what they share: "the same text" as `normalise` writes it; "the same words" in any
            order; "almost the same words"; "the same words within a longer text", such as a prompt
            or a polite request; "the same answer" where they are less alike and a relevant document
            is the same.
        similarity: of the two texts, from 0 to 1, without what is wrapped around them.
    """

    row: int
    text: str
    query: int
    how: How
    similarity: float


class _Match(NamedTuple):
    """A training text and a scored query that are alike; one question, or nearly so."""

    text: int
    query: int
    similarity: float
    is_same: bool


class _Reading(NamedTuple):
    """One way to read a text: with its spelling corrected, or without a polite wrapper.

    Attributes:
        text: row of the text.
        question: its words.
        corrected: words of the question that the text misspells.
    """

    text: int
    question: Wording
    corrected: frozenset[str] = frozenset()


def find_leaks(
    queries: Sequence[str], documents: Sequence[str], scored: Collection
) -> tuple[Leak, ...]:
    """Return the training examples that give away a query of a scored collection.

    Two texts are compared by the weight of the words that both have, as a share of the weight of
    all words of either (weighted Jaccard). A word weighs log(1 + texts / texts with it), so that
    "What are the treatments for" counts for little and the name of the disease for much: templates
    that differ in the one word that matters are different questions. Two texts at or above
    `SAME_QUERY` are one question. From `SAME_ANSWER` on they are one if a relevant document is the
    same too, such as a claim and its negation about one abstract.

    Two texts at or above `SAME_QUERY` are still two questions where one has a word about a topic, a
    number, a kind ("hepatitis B") or a negation that the other lacks, or asks for a time instead of
    a place, see `wording.differ`; they are one again if a relevant document is the same.

    Words are compared without case, accents, markup, invisible signs and the s of a plural. A word
    that no document and no other question has may be a slip of one that is a letter away (two, of
    nine letters and more). Polite wrappers are taken off. A text that has the other in one piece
    gives it away as well, behind a prompt or a polite opening and before thanks or a new sentence,
    see `wording.is_wrapper`.

    Every pair above the limits is found, by prefix filtering (Bayardo et al. 2007): such texts
    share one of their rarest words. `benchmarks/leaks.md` has what is caught and what is not.

    Args:
        queries: of the training examples.
        documents: the relevant document of each, parallel.
        scored: the collection.

    Returns:
        By training row; of each row the most similar query.
    """
    if not queries or not scored.queries:
        return ()
    answers: list[list[str]] = [[] for _ in scored.queries]  # texts of the relevant documents
    judged = scored.judgements
    chosen = (judged.grades >= 1) & (judged.documents >= 0)
    for query, document in zip(judged.queries[chosen], judged.documents[chosen], strict=True):
        answers[query].append(scored.documents[document])
    wanted = [read(text) for text in scored.queries]
    # Of a long document without its signs, which nobody reads.
    pages = [
        page if len(page.words) <= _HEADING else Wording(page.words)
        for page in map(read, dict.fromkeys(documents))
    ]
    relevant = {text for texts in answers for text in texts}
    known = {word for page in (*pages, *map(read, relevant)) for word in page.words}
    best: dict[int, Leak] = {}
    for side in (queries, documents):
        rows: dict[str, list[int]] = {}
        for row, text in enumerate(side):
            rows.setdefault(text, []).append(row)
        distinct = list(rows)
        asked = pages if side is documents else [read(text) for text in distinct]
        for match in _alike(asked, wanted, known, followed=side is queries):
            text = distinct[match.text]
            for row in rows[text]:
                if row in best and match.similarity <= best[row].similarity:
                    continue
                if match.is_same:
                    how = _how(text, scored.queries[match.query])
                elif any(
                    normalise(documents[row]) == normalise(each)
                    or len(similar([documents[row]], [each], at_least=SAME_DOCUMENT).left)
                    for each in answers[match.query]
                ):
                    how = "the same answer"
                else:
                    continue
                best[row] = Leak(row, text, match.query, how, match.similarity)
    return tuple(best[row] for row in sorted(best))


def _alike(
    asked: Sequence[Wording], wanted: Sequence[Wording], known: set[str], *, followed: bool
) -> Iterator[_Match]:
    """Yield the training texts and scored queries that may be one question, and how alike they are.

    Args:
        asked: training texts.
        wanted: scored queries.
        known: words of the documents.
        followed: whether a query may be followed by another sentence; in a document that is its
            heading, with the answer below.
    """
    common = Counter(word for question in asked for word in set(question.words))
    ours = Counter(word for question in wanted for word in set(question.words))
    # Without a document that uses a word, three questions do: slips are not repeated.
    spelt = known | {word for word, n in common.items() if n + ours[word] >= 3}
    spelling = Spelling(ours, known=spelt | COMMON)
    longest = _QUESTION if followed else _HEADING
    left = [
        each
        for row, question in enumerate(asked)
        for each in _read(row, question, spelling if len(question.words) <= longest else None)
    ]
    right = [each for row, question in enumerate(wanted) for each in _read(row, question)]
    near = similar_words(
        [each.question.words for each in left],
        [each.question.words for each in right],
        at_least=SAME_ANSWER,
    )
    for one, other, similarity in zip(*map(np.ndarray.tolist, near), strict=True):
        words, others = left[one].question.words, right[other].question.words
        if agree(words, others) and left[one].corrected.issubset(others):
            mended = _mended(words, others, spelt)
            is_near = similarity >= SAME_QUERY or set(mended) == set(others)
            is_same = is_near and not differ(mended, others)
            yield _Match(left[one].text, right[other].text, similarity, is_same)
    asking, scored = [each.question for each in left], [each.question for each in right]
    held = [*_holding(asking, scored, followed=followed)]
    if followed:  # a scored query may stand in a prompt as well, and words may be run together
        held += [(one, other) for other, one in _holding(scored, asking, followed=True)]
        held += _joined(asking, scored)
    for one, other in held:
        yield _Match(left[one].text, right[other].text, 1.0, is_same=True)


def _mended(words: tuple[str, ...], others: tuple[str, ...], spelt: set[str]) -> tuple[str, ...]:
    """Return the words with a slip corrected to a word of the others that they lack.

    That finds the slips in function words, which look like too many other words.
    """
    lacking = [word for word in dict.fromkeys(others) if word not in words]
    slips = {word for word in words if word not in others and word not in spelt}
    if not lacking or not 0 < len(slips) <= _SLIPS:
        return words
    meant = {
        slip: word
        for slip in slips
        for word in lacking
        if len(slip) > 1 and slip.isalpha() and word.isalpha() and distance(slip, word) == 1
    }
    return tuple(meant.get(word, word) for word in words)


def _joined(asked: Sequence[Wording], wanted: Sequence[Wording]) -> Iterator[tuple[int, int]]:
    """Yield the texts that are a scored query with other spaces or hyphens."""
    rows: dict[str, list[int]] = {}
    for row, question in enumerate(wanted):
        if question.words:
            rows.setdefault("".join(question.words), []).append(row)
    for row, question in enumerate(asked):
        for other in rows.get("".join(question.words), ()):
            if agree(question.words, wanted[other].words):
                yield row, other


def _read(row: int, question: Wording, spelling: Spelling | None = None) -> Iterator[_Reading]:
    """Yield the ways to read a text; without a spelling as it is written."""
    for way in _corrected(question, spelling) if spelling else (question,):
        corrected = frozenset(way.words).difference(question.words)
        yield _Reading(row, way, corrected)
        core = trimmed(way)
        if core != way.words:
            yield _Reading(row, Wording(core), corrected)


def _corrected(question: Wording, spelling: Spelling) -> Iterator[Wording]:
    """Yield the text as it is written, and as it may be meant."""
    yield question
    if not any(map(spelling.meant, question.words)):
        return
    choices = [spelling.meant(word) or [word] for word in question.words]
    if sum(each != [word] for each, word in zip(choices, question.words, strict=True)) > _SLIPS:
        return  # another language, or no language
    ways = itertools.islice(itertools.product(*choices), _SPELLINGS)
    yield from (Wording(way, question.signs) for way in ways if way != question.words)


def _holding(
    asked: Sequence[Wording], wanted: Sequence[Wording], *, followed: bool
) -> Iterator[tuple[int, int]]:
    """Yield the texts that have a scored query in one piece, with the row of the query."""
    topics = [topic(question.words) for question in wanted]
    common: Counter[str] = Counter()
    for question in asked:
        common.update(set(question.words))
    by_rarest: dict[str, list[int]] = {}
    for query, about in enumerate(topics):
        if about:
            rarest = min(about, key=lambda word: (common[word], word))
            by_rarest.setdefault(rarest, []).append(query)
    for row, question in enumerate(asked):
        if len(question.words) > (_QUESTION if followed else _HEADING):
            continue
        words = set(question.words)
        for word in words & by_rarest.keys():
            for query in by_rarest[word]:
                if words.issuperset(topics[query]) and _holds(
                    question, wanted[query], followed=followed
                ):
                    yield row, query


def _holds(text: Wording, query: Wording, *, followed: bool) -> bool:
    """Tell whether a text is a query with something around it that leaves its meaning.

    The words of the query stand together, in any order, with nothing about another topic among
    them. What stands before is a wrapper, see `is_wrapper`. What stands after is a new sentence, or
    thanks.
    """
    piece = _piece(text, query)
    if piece is None:
        return False
    first, last = piece
    after = text.words[last:]
    if not is_thanks(after):
        is_followed = followed and len(topic(query.words)) > 1 and is_new(text, last)
        if not is_followed or (len(after) <= _NEAR and marks(after)):
            return False
    return is_wrapper(text, first, of=query.words)


def _piece(text: Wording, query: Wording) -> tuple[int, int] | None:
    """Return where the words of a query stand together in a text, start and end, or None."""
    words = set(query.words)
    span = _span(text.words, {word for word in words if not is_plain(word)})
    if span is None:
        return None
    first, last = span
    while first > 0 and text.words[first - 1] in words and not text.is_broken(first):
        first -= 1
    while last < len(text.words) and text.words[last] in words and not text.is_broken(last):
        last += 1
    found, missing = text.words[first:last], words.difference(text.words[first:last])
    is_same = (
        not differ(found, query.words)
        and len(found) <= len(query.words) + 1
        and all(word in words or is_plain(word) for word in found)
        and len(missing) <= len(words) // 4
        # "is chronic X inherited" is no "is X inherited".
        and missing.isdisjoint(text.words[max(0, first - _NEAR) : first])
    )
    return (first, last) if is_same else None


def _span(words: Sequence[str], needed: set[str]) -> tuple[int, int] | None:
    """Return the start and the end of the shortest piece that has every needed word, the last."""
    places: dict[str, int] = {}
    best: tuple[int, int] | None = None
    for place, word in enumerate(words):
        if word in needed:
            places[word] = place
            if len(places) == len(needed):
                start = min(places.values())
                if best is None or place + 1 - start <= best[1] - best[0]:
                    best = (start, place + 1)
    return best


def _how(text: str, query: str) -> How:
    """Return what two texts that are one question share."""
    if normalise(text) == normalise(query):
        return "the same text"
    words, others = set(read(text).words), set(read(query).words)
    if words == others:
        return "the same words"
    return "the same words within a longer text" if words > others else "almost the same words"
