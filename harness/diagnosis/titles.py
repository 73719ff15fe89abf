"""Titles: what some texts are about, in phrases that stand in the most central of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from harness.arrays import Flags, Values
from harness.diagnosis.words import NEGATIONS, READ_WORDS, Terms, stemmer

_PHRASES = 2
_LONGEST = 7  # words of a phrase
# What a phrase pays for each word, for one of few texts, and for an end before a content word.
_A_WORD, _A_STRAY, _A_CUT = 0.04, 0.25, 0.2
_PAIR = 0.5  # of the weight of two words in a row, against that of one
_HELD = 0.1  # of its share, what a word weighs that stands everywhere
_FEW = 0.1  # share of the texts that hold a word which names them, at least
_LEAST = 0.1  # score of a phrase that says anything
_SECOND = 0.3  # of the score of the first phrase that a second one must have
_OPEN = 2 / 3  # share of the places of a phrase that the same function word follows
_PARTICLES = 2  # words that follow a phrase
_FAINT = 0.15  # of the highest weight, below which a word neither begins nor ends a phrase
_QUESTIONS = frozenset({"how", "why"})
_FOLLOWING = frozenset(
    {"about", "at", "by", "for", "from", "in", "into", "of", "on", "to", "up", "with"}
)
# Verbs of asking: what is asked comes after them.
_ASKING = frozenset({"know", "like", "need", "sure", "tell", "think", "want", "wonder"})
_CLAUSES = re.compile(r"[^\n.!?;:,()\"\u201c\u201d]+")


class _Word(NamedTuple):
    """A word of a text.

    Attributes:
        shown: as written, in lower case where it only begins a sentence.
        stem: of the word in lower case.
    """

    shown: str
    stem: str


_Clause = tuple[_Word, ...]


def title(texts: Sequence[str], terms: Terms, *, inside: Flags, around: Flags) -> str:
    """Return a phrase or two that say what some texts are about; "" where no word does.

    A phrase is taken from the texts as it stands there. It weighs as much as its words and pairs of
    words: the share of the texts that hold each, times how much more often they do than the texts
    around them and than all texts. Phrases begin and end with a content word or a negation; a
    function word that nearly always follows stays, with what varies left open: "genetic changes
    related to …".

    Args:
        texts: the most central of those inside, the nearest to their middle first.
        terms: of all texts.
        inside: bool [n], the texts to name.
        around: bool [n], those to tell them from.
    """
    weighed = _weigh(terms, inside, around)
    stem = stemmer(terms.language)
    clauses = [clause for text in texts for clause in _clauses(text, stem)]
    found: list[str] = []
    used: set[str] = set()
    least = _LEAST
    for _ in range(_PHRASES):
        best = _best(clauses, weighed, used)
        if best is None or best.score <= least:
            break
        found.append(_opened(best.words, clauses))
        used |= {word.stem for word in best.words}
        least = _SECOND * best.score
    return "; ".join(found)


@dataclass(frozen=True)
class _Weights:
    """What words say about the texts that are to be named.

    Attributes:
        of: weight of each term, one or two stems.
        content: stems that are no function words.
        function: stems that are.
        least: what a word must weigh more than to begin or end a phrase.
    """

    of: Mapping[tuple[str, ...], float]
    content: frozenset[str]
    function: frozenset[str]
    least: float

    def may_end(self, word: _Word) -> bool:
        """Tell whether a phrase may begin or end with a word."""
        return word.stem not in _ASKING and self.of.get((word.stem,), 0.0) > self.least


def _weigh(terms: Terms, inside: Flags, around: Flags) -> _Weights:
    def shares(rows: Flags) -> Values:
        part = terms.counts[np.flatnonzero(rows)]
        held = np.bincount(part.indices, minlength=terms.counts.shape[1])
        return np.asarray((held + 0.5) / (int(rows.sum()) + 1.0))

    ours = shares(inside)
    contrast = 0.5 * (np.log(ours / shares(around)) + np.log(ours / shares(np.ones_like(inside))))
    weights = np.where(ours >= _FEW, ours * (np.maximum(contrast, 0) + _HELD), 0)
    of: dict[tuple[str, ...], float] = {}
    content, function = set(), set()
    for place, stems in enumerate(terms.stems):
        if len(stems) == 2:
            of[stems] = _PAIR * float(weights[place])
        elif terms.content[place]:
            content.add(stems[0])
            of[stems] = float(weights[place])
        else:
            function.add(stems[0])
            if NEGATIONS.fullmatch(terms.shown[place]):
                of[stems] = float(weights[place])
    most = max((weight for term, weight in of.items() if len(term) == 1), default=0.0)
    return _Weights(of, frozenset(content), frozenset(function), _FAINT * most)


class _Phrase(NamedTuple):
    """Words of a text in a row, and how well they name all texts."""

    score: float
    words: _Clause


def _best(clauses: Sequence[_Clause], weights: _Weights, used: set[str]) -> _Phrase | None:
    """Return the phrase of the highest score; that of the more central text where two are equal."""
    best = None
    seen: set[tuple[tuple[str, ...], str]] = set()
    for clause in clauses:
        for words, after in _windows(clause, weights):
            stems = tuple(word.stem for word in words)
            if (stems, after) in seen:
                continue
            seen.add((stems, after))
            score = _score(stems, after, weights, used)
            if best is None or score > best.score + 1e-9:
                best = _Phrase(score, words)
    return best


def _windows(clause: _Clause, weights: _Weights) -> Iterator[tuple[_Clause, str]]:
    """Yield the phrases of a clause, and the stem after each, "" at the end."""
    ends = [place for place, word in enumerate(clause) if weights.may_end(word)]
    questions = [place for place, word in enumerate(clause) if word.stem in _QUESTIONS]
    for start in ends + questions:
        for stop in ends:
            words = clause[start : stop + 1]
            if start <= stop < start + _LONGEST and any(
                word.stem in weights.content for word in words
            ):
                yield words, clause[stop + 1].stem if stop + 1 < len(clause) else ""


def _score(stems: tuple[str, ...], after: str, weights: _Weights, used: set[str]) -> float:
    whole = (*stems, after) if after in _FOLLOWING else stems  # as it will be shown
    terms = {(stem,) for stem in stems} | set(pairwise(whole))
    gained = sum(weights.of.get(term, 0.0) for term in terms if used.isdisjoint(term))
    strays = sum(
        stem not in weights.function and weights.of.get((stem,), 0.0) <= 0 for stem in stems
    )
    is_cut = bool(after) and after not in weights.function  # its noun may follow
    return gained - _A_WORD * len(stems) - _A_STRAY * strays - _A_CUT * is_cut


def _opened(words: _Clause, clauses: Sequence[_Clause]) -> str:
    """Return a phrase as text, with the function words that nearly always follow its last word."""
    shown = [word.shown for word in words]
    last, is_open = words[-1].stem, False
    for _ in range(_PARTICLES):
        places = [
            clause[place + 1 : place + 3]
            for clause in clauses
            for place, word in enumerate(clause)
            if word.stem == last
        ]
        after = Counter(part[0] for part in places if part)
        word, count = after.most_common(1)[0] if after else (None, 0)
        if word is None or word.stem not in _FOLLOWING or count < _OPEN * len(places):
            break
        is_open = sum(len(part) == 2 for part in places if part[:1] == (word,)) >= _OPEN * count
        shown.append(word.shown)
        last = word.stem
    return " ".join(shown) + (" …" if is_open else "")


def _clauses(text: str, stem: Callable[[list[str]], list[str]]) -> Iterator[_Clause]:
    for clause in _CLAUSES.findall(text):
        words = READ_WORDS.findall(clause)
        shown = [
            word.lower() if clause.isupper() or (number == 0 and word[1:].islower()) else word
            for number, word in enumerate(words)
        ]
        stems = stem([word.lower() for word in words])
        yield tuple(map(_Word, shown, stems))
