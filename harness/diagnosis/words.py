"""Words: what a diagnosis takes for words, numbers, negations and acronyms, and terms of texts.

Several patterns of a kind differ on purpose, each with its reason. What training takes for the same
question (`training.wording`, `training.leaks`) is stricter about spelling and scripts, and has its
own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from harness.arrays import Flags

# As bm25s splits texts: what shares a word here shares one there.
INDEXED_WORDS = re.compile(r"(?u)\b\w\w+\b")
# Of labels and predicates, which people read: one letter is a word too, "_" is none, and "don't"
# stays whole.
READ_WORDS = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
# Of a long form, which an acronym abbreviates with its hyphens: "low-density lipoprotein".
COMPOUNDS = re.compile(r"\w[\w'-]*")

DIGITS = re.compile(r"\d")
# Anything with a digit: a number, a date, a version, a part number.
NUMBERS = re.compile(r"(?<![\w.])\w*\d[\w.,:/-]*(?<![.,:/-])")

NEGATIONS = re.compile(
    r"\b(?:not|no|without|except|excluding|never|non-|other than)\b(?!\s+(?:only|longer|matter))"
    r"|\b\w+n['\u2019]t\b",
    re.IGNORECASE,
)

_SHORT = r"[A-Z][A-Z0-9]{1,6}"
ACRONYMS = re.compile(rf"\b{_SHORT}\b")
DEFINED_ACRONYMS = re.compile(rf"\(({_SHORT})s?\)")

_SHORT_QUERY = 200  # characters; a claim or a question, not a whole document as query
_LEAST = 2  # texts that a term must stand in to be kept
_COVERED = 0.15  # of the running text that the function words of its language are, at least
# Nouns and verbs in the English list of scikit-learn (Nothman et al. 2018).
_CONTENT = {
    *("amount", "bill", "bottom", "call", "computer", "cry", "describe", "detail", "empty", "fill"),
    *("find", "fire", "front", "full", "interest", "mill", "move", "name", "serious", "side"),
    *("sincere", "system", "thick", "thin", "top"),
}


@dataclass(frozen=True)
class Terms:
    """Which stemmed words and bigrams stand in which texts.

    Attributes:
        counts: CSR int [n_texts, n_terms].
        shown: of each term, the form that stands most often in the texts.
        stems: of each term, its one or two stems.
        content: bool [n_terms], which have no function word and are not numbers alone.
        language: of the stemmer, or "none".
    """

    counts: Any
    shown: tuple[str, ...]
    stems: tuple[tuple[str, ...], ...]
    content: Flags
    language: str


def stemmer(language: str) -> Callable[[list[str]], list[str]]:
    """Return what stems words in lower case; of language "none" they stay as they are."""
    import Stemmer

    return list if language == "none" else Stemmer.Stemmer(language).stemWords


def count_terms(
    texts: Sequence[str],
    *,
    language: str = "english",
    common: frozenset[str] = frozenset(),
) -> Terms:
    """Count stemmed words and bigrams.

    Args:
        texts: any.
        language: of the stemmer, or "none" for words as they are.
        common: function words of a larger text that these belong to, in lower case.
    """
    from scipy.sparse import csr_array

    stem_words = stemmer(language)
    forms: dict[tuple[str, ...], Counter[str]] = {}
    per_text: list[Counter[tuple[str, ...]]] = []
    for text in texts:
        words = READ_WORDS.findall(text.lower())
        stems = stem_words(words)
        found: Counter[tuple[str, ...]] = Counter()
        for word, root in zip(words, stems, strict=True):
            found[(root,)] += 1
            forms.setdefault((root,), Counter())[word] += 1
        for (first, second), roots in zip(pairwise(words), pairwise(stems), strict=True):
            found[roots] += 1
            forms.setdefault(roots, Counter())[f"{first} {second}"] += 1
        per_text.append(found)
    in_texts = Counter(term for found in per_text for term in found)
    kept = sorted(term for term, count in in_texts.items() if count >= _LEAST)
    places = {term: place for place, term in enumerate(kept)}
    rows, columns, values = [], [], []
    for row, found in enumerate(per_text):
        for term, count in found.items():
            if term in places:
                rows.append(row)
                columns.append(places[term])
                values.append(count)
    shape = (len(texts), len(kept))
    counts = csr_array((np.array(values, dtype=np.int64), (rows, columns)), shape=shape)
    counts.sort_indices()
    shown = tuple(
        min(forms[term].items(), key=lambda item: (-item[1], item[0]))[0] for term in kept
    )
    uses = {
        word: count
        for term, each in forms.items()
        if len(term) == 1
        for word, count in each.items()
    }
    empty = set(stem_words(sorted(common | function_words(uses, language=language))))
    content = [empty.isdisjoint(t) and not all(map(str.isnumeric, t)) for t in kept]
    return Terms(counts, shown, tuple(kept), np.array(content, dtype=bool), language)


def function_words(uses: Mapping[str, int], *, language: str = "none") -> frozenset[str]:
    """Return the function words of each language that a text seems to be written in.

    Args:
        uses: how often each word of the text stands in it.
        language: one that it is known to be written in, or "none".
    """
    total = max(sum(uses.values()), 1)
    return frozenset[str]().union(
        *(
            words
            for name, words in _stop_lists().items()
            if name == language or sum(uses.get(word, 0) for word in words) >= _COVERED * total
        )
    )


@cache
def _stop_lists() -> Mapping[str, frozenset[str]]:
    """Return the stop words of bm25s by language, the English ones with those of scikit-learn."""
    from bm25s import stopwords
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    lists = {
        name.removeprefix("STOPWORDS_").lower(): frozenset(getattr(stopwords, name))
        for name in dir(stopwords)
        if name.startswith("STOPWORDS_")
    }
    english = (lists.pop("en") | lists.pop("en_plus") | ENGLISH_STOP_WORDS) - _CONTENT
    return {**lists, "english": english}


def head(text: str, *, characters: int = _SHORT_QUERY) -> str:
    """Return the beginning of a text, cut between words: its words stand for what it is about.

    >>> head("one two three", characters=9)
    'one two'
    """
    if len(text) <= characters:
        return text
    return (
        text[: characters + 1].rsplit(maxsplit=1)[0]
        if " " in text[:characters]
        else text[:characters]
    )


def short(text: str, *, length: int = 60) -> str:
    """Return the beginning of a text for a sentence, on one line.

    >>> short("a  b c", length=4)
    'a b…'
    """
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1].rstrip()}…"
