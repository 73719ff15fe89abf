"""Titles: what some texts are about, in phrases that stand in the most central of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np

from harness.arrays import Flags, Values
from harness.diagnosis.words import NEGATIONS, READ_WORDS, Terms, stemmer

_PHRASES = 2
_LONGEST = 14  # words of a phrase
# What a phrase gains by standing for the whole of the most central text, and what it pays for each
# word, for one of few texts, for an end before its object or its noun, and for a second clause.
_CENTRAL, _A_WORD, _A_STRAY = 1.0, 0.045, 0.3
_AN_OBJECT, _A_NOUN, _A_CLAUSE = 0.06, 0.15, 0.5
_PAIR = 0.4  # of the weight of two words in a row and of a word that asks, against one word
_HELD = 0.1  # of its share, what a word weighs that stands everywhere
_FEW = 0.08  # share of the texts that hold a word which names them, at least
_TYPICAL = 0.4  # share from which on it is no stray at all
_LEAST = 0.1  # score of a phrase that says anything
_SECOND = 0.35  # of the score of the first phrase that a second one must have
_RARE = 0.5  # of that share, below which it is one of many
_ALWAYS = 2 / 3  # share of the places of a word that the same particle follows
_FAINT = 0.12  # of the highest weight, below which a word neither begins nor ends a phrase
_NEGATION = "\u00ac"  # any negation: one word in all its forms
_QUESTIONS = frozenset({"how", "when", "where", "who", "why"})  # may begin a phrase
_BEFORE = _QUESTIONS | {"what", "which"}  # belong to the word after them: "how many", "what name"
_PARTICLES = frozenset(
    {"about", "at", "by", "for", "from", "in", "into", "of", "off", "on", "out", "to", "up", "with"}
)
_JOINING = frozenset({"and", "becaus", "but", "if", "sinc", "so", "then"})
# Verbs of asking name nothing: what is asked comes after them.
_ASKING = frozenset(
    {"help", "know", "let", "like", "need", "sure", "tell", "think", "want", "wonder"}
)
# Negations without their apostrophe, which `NEGATIONS` leaves out: "cant" is a word, too.
_UNWRITTEN = re.compile(
    r"cannot|(?:ca|could|did|do|does|has|have|is|was|wo|would)nt", re.IGNORECASE
)
_IZE = re.compile("iz$")
_I = re.compile(r"I\b")
_CLAUSES = re.compile(r"[^\n.!?;:,()\"\u201c\u201d]+")


class _Word(NamedTuple):
    """A word of a text.

    Attributes:
        shown: as written, in lower case where it only begins a sentence.
        stem: of the word in lower case; one for all negations.
    """

    shown: str
    stem: str


_Clause = tuple[_Word, ...]


class _Phrase(NamedTuple):
    """Words of a text in a row.

    Attributes:
        words: as they stand.
        is_open: what follows varies.
        worth: what its place in its text adds to what its words say.
    """

    words: _Clause
    is_open: bool
    worth: float

    @property
    def text(self) -> str:
        """The phrase, for people."""
        return " ".join(word.shown for word in self.words) + (" …" if self.is_open else "")


def title(texts: Mapping[str, float], terms: Terms, *, inside: Flags, around: Flags) -> str:
    """Return a phrase or two that say what some texts are about; "" where no word does.

    A phrase is taken from the texts as it stands there. It weighs as much as its words and pairs of
    words, the share of the texts that hold each, times how much more often they do than the texts
    around them and than all texts; and the more, the more of a central text it is. All negations
    are one word, and content. What varies is left open: "genetic changes related to …".

    Args:
        texts: the most central of those inside, each with how central it is, from 0 to 1.
        terms: of all texts.
        inside: bool [n], the texts to name.
        around: bool [n], those to tell them from.
    """
    weights = _weigh(terms, inside, around)
    phrases = _Phrases(texts, weights, terms.language)
    found: list[str] = []
    used: set[str] = set()
    least = _LEAST
    for _ in range(_PHRASES):
        best = max(phrases.all, key=lambda each: _score(each, weights, used), default=None)
        if best is None or _score(best, weights, used) <= least:
            break
        found.append(best.text)
        least = _SECOND * _score(best, weights, used)
        used |= {word.stem for word in best.words if weights.is_said(word.stem)}
    return "; ".join(found)


@dataclass(frozen=True)
class _Weights:
    """What words say about the texts that are to be named.

    Attributes:
        of: weight of each term, one or two stems.
        typical: of each stem, how near the texts that hold it are to `_TYPICAL`, at most 1.
        function: stems of function words.
        least: what a word must weigh more than to begin or end a phrase.
    """

    of: Mapping[tuple[str, ...], float]
    typical: Mapping[str, float]
    function: frozenset[str]
    least: float

    def is_content(self, stem: str) -> bool:
        """Tell whether a word alone says something."""
        return stem not in self.function and stem != _NEGATION

    def is_said(self, stem: str) -> bool:
        """Tell whether a word need not be said twice: content, or one that asks."""
        return self.is_content(stem) or stem in _QUESTIONS

    def names(self, stem: str) -> bool:
        """Tell whether a word says something about enough of the texts."""
        return self.is_content(stem) and self.of.get((stem,), 0.0) > 0

    def naming(self, stem: str) -> float:
        """Return how far a word says something that most of the texts share, at most 1."""
        return self.typical[stem] if self.names(stem) and not self.varies(stem) else 0.0

    def varies(self, stem: str) -> bool:
        """Tell whether a content word stands in few of the texts."""
        return self.is_content(stem) and self.typical.get(stem, 0.0) < _RARE

    def may_end(self, stem: str) -> bool:
        """Tell whether a phrase may begin or end with a word."""
        return self.of.get((stem,), 0.0) > self.least


def _weigh(terms: Terms, inside: Flags, around: Flags) -> _Weights:
    from scipy.sparse import csr_array

    merged = [
        tuple(map(_merged, stems, shown.split()))
        for stems, shown in zip(terms.stems, terms.shown, strict=True)
    ]
    places = {term: place for place, term in enumerate(dict.fromkeys(merged))}
    columns = np.array([places[term] for term in merged], dtype=np.int64)
    counts: Any = terms.counts
    table = csr_array(
        (np.ones_like(counts.data), columns[counts.indices], counts.indptr.copy()),
        shape=(counts.shape[0], len(places)),
    )
    table.sum_duplicates()

    def shares(rows: Flags) -> Values:
        held = np.bincount(table[np.flatnonzero(rows)].indices, minlength=len(places))
        return np.asarray((held + 0.5) / (int(rows.sum()) + 1.0))

    ours = shares(inside)
    contrast = 0.5 * (np.log(ours / shares(around)) + np.log(ours / shares(np.ones_like(inside))))
    weights = np.where(ours >= _FEW, ours * (np.maximum(contrast, 0) + _HELD), 0)
    content = {
        term for term, is_content in zip(merged, terms.content, strict=True) if is_content
    } | {(_NEGATION,)}
    content -= {(stem,) for stem in _ASKING}
    function = frozenset(term[0] for term in places if len(term) == 1 and term not in content)
    of = {
        term: float(weights[place]) * (_PAIR if len(term) == 2 or term[0] in _QUESTIONS else 1)
        for term, place in places.items()
        if len(term) == 2 or term in content or term[0] in _QUESTIONS
    }
    words = {term[0]: place for term, place in places.items() if len(term) == 1}
    named = [words[stem] for stem in words if (stem,) in content]
    # Of texts that share little, a word that most of them lack is typical already.
    typical = ours / min(_TYPICAL, max(ours[named], default=1.0))
    return _Weights(
        of,
        {stem: min(1.0, float(typical[place])) for stem, place in words.items()},
        function,
        _FAINT * max(weights[named], default=0.0),
    )


class _Phrases:
    """The phrases of some texts.

    Attributes:
        all: each once, as it stands in the most central text.
    """

    def __init__(self, texts: Mapping[str, float], weights: _Weights, language: str) -> None:
        self._weights = weights
        stem = stemmer(language)
        names = frozenset(chain.from_iterable(map(_names, texts)))
        clauses = {text: list(_clauses(text, stem, weights.function, names)) for text in texts}
        self._after: dict[tuple[str, ...], Counter[str]] = {}
        for clause in chain.from_iterable(clauses.values()):
            stems = [word.stem for word in clause]
            for place in range(len(stems)):
                after = stems[place + 1] if place + 1 < len(stems) else ""
                self._after.setdefault((stems[place],), Counter())[after] += 1
                if place:
                    pair = (stems[place - 1], stems[place])
                    self._after.setdefault(pair, Counter())[after] += 1
        found: dict[str, _Phrase] = {}
        for text, central in texts.items():
            content = sum(weights.is_content(word.stem) for part in clauses[text] for word in part)
            for clause in clauses[text]:
                for phrase in self._of(clause, central / max(content, 1)):
                    key = " ".join(word.stem for word in phrase.words)
                    if key not in found or phrase.worth > found[key].worth:
                        found[key] = phrase
        self.all: Sequence[_Phrase] = tuple(found.values())

    def _of(self, clause: _Clause, central: float) -> Iterator[_Phrase]:
        """Yield the phrases of a clause, each worth `central` for each word that is typical."""
        stems = [word.stem for word in clause]
        for start in self._starts(stems):
            if self._joins(stems, start + 1):
                continue  # "company and want to …"
            for stop in self._stops(stems):
                part = stems[start:stop]
                if any(map(self._weights.names, part)) and len(part) <= _LONGEST:
                    is_open = self._is_open(stems, start, stop)
                    cuts = 0.0 if is_open else self._cut(stems, stop)
                    cuts += _A_CLAUSE * sum(
                        self._joins(stems, place) for place in range(start + 1, stop - 1)
                    )
                    worth = _CENTRAL * central * sum(map(self._weights.naming, part)) - cuts
                    yield _Phrase(clause[start:stop], is_open, worth)

    def _starts(self, stems: Sequence[str]) -> Iterator[int]:
        """Yield where a phrase may begin: with a question or a negation, where one is before it."""
        for place, stem in enumerate(stems):
            if self._weights.may_end(stem) or stem in _QUESTIONS:
                *_, second, first = ("", "", *stems[:place])  # before it
                if second == _NEGATION and first in self._weights.function:
                    yield place - 2  # "isn't my card working"
                else:
                    yield place - (first == _NEGATION or first in _BEFORE)

    def _stops(self, stems: Sequence[str]) -> Iterator[int]:
        """Yield where a phrase may end: with a word that weighs, its particles, or the clause."""
        stops = {len(stems)}
        for place, stem in enumerate(stems):
            if self._weights.may_end(stem) and stem != _NEGATION:
                stop = place + 1
                while stop < len(stems) and self._follows(stems[stop - 1], stems[stop]):
                    stop += 1
                stops.add(stop)
        yield from sorted(stops)

    def _follows(self, stem: str, particle: str) -> bool:
        """Tell whether a particle belongs to the word before it: "top up", "related to"."""
        after = self._after[stem,]
        return particle in _PARTICLES and after[particle] >= _ALWAYS * after.total()

    def _is_open(self, stems: Sequence[str], start: int, stop: int) -> bool:
        """Tell whether a phrase nearly always continues, each time with another word."""
        if stop == len(stems) or stop < start + 2:
            return False
        after = self._after[stems[stop - 2], stems[stop - 1]]
        ends_open = stems[stop - 1] in _PARTICLES or self._weights.varies(stems[stop])
        return ends_open and after[""] <= (1 - _ALWAYS) * after.total()

    def _cut(self, stems: Sequence[str], stop: int) -> float:
        """Return what it costs to end before a noun, or before the object of a verb."""
        if stop == len(stems):
            return 0.0
        if self._weights.is_content(stems[stop]):
            return _A_NOUN
        is_joined = stems[stop] in _JOINING
        return _AN_OBJECT * (
            not is_joined and any(map(self._weights.names, stems[stop : stop + 3]))
        )

    def _joins(self, stems: Sequence[str], place: int) -> bool:
        """Tell whether a word joins a clause to the one before it."""
        if place + 1 >= len(stems):
            return False
        return stems[place] in _JOINING and stems[place + 1] in self._weights.function


def _score(phrase: _Phrase, weights: _Weights, used: set[str]) -> float:
    """Return how well a phrase says what is not yet said."""
    stems = [word.stem for word in phrase.words]
    if used.issuperset(stem for stem in stems if weights.names(stem)):
        return 0.0
    terms = {(stem,) for stem in stems} | set(pairwise(stems))
    gained = sum(weights.of.get(term, 0.0) for term in terms if used.isdisjoint(term))
    strays = sum(1 - weights.typical.get(stem, 0) for stem in stems if weights.is_content(stem))
    return gained + phrase.worth - _A_WORD * len(stems) - _A_STRAY * strays


def _clauses(
    text: str,
    stem: Callable[[list[str]], list[str]],
    function: frozenset[str],
    names: frozenset[str],
) -> Iterator[_Clause]:
    """Yield the clauses of a text; what is a name keeps its capital where it begins a clause."""
    for clause in _CLAUSES.findall(text):
        words = READ_WORDS.findall(clause)
        stems = list(map(_merged, stem([word.lower() for word in words]), words))
        shown = [
            word.lower()
            if clause.isupper()
            or (number == 0 and word[1:].islower() and word not in names)
            or (stems[number] in function and not _I.match(word))
            else word
            for number, word in enumerate(words)
        ]
        yield tuple(map(_Word, shown, stems))


def _names(text: str) -> Iterator[str]:
    """Yield the words with a capital that does not only begin a clause."""
    for clause in _CLAUSES.findall(text):
        yield from (word for word in READ_WORDS.findall(clause)[1:] if word[:1].isupper())


def _merged(stem: str, word: str) -> str:
    """Return the stem of a word; one for all negations, and one for both spellings of "-ize".

    >>> _merged("recogniz", "recognized"), _merged("don't", "Don't") == _merged("no", "no")
    ('recognis', True)
    """
    if NEGATIONS.fullmatch(word) or _UNWRITTEN.fullmatch(word):
        return _NEGATION
    return _IZE.sub("is", stem)
