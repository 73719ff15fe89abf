"""Lexicon: which words stand in which texts of a collection, and the acronyms that it defines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from harness.arrays import Counts, Indices, Integers, Rows, Values
from harness.collection.texts import normalise
from harness.diagnosis.words import (
    ACRONYMS,
    COMPOUNDS,
    DEFINED_ACRONYMS,
    INDEXED_WORDS,
    function_words,
)

_BLOCK = 8192  # pairs that are compared at a time
_EVERYWHERE = 0.2  # share of the documents that hold a word of no topic, at least
_EVEN = 0.5  # its residual idf in bits, at most
_REACH = 120  # characters before a bracket that are looked at
_LONGEST = 8  # words of a long form in a query


@dataclass(frozen=True, eq=False)
class Lexicon:
    """Words of documents and queries.

    Attributes:
        sequence: int32 [all words of all documents], in order, as numbers of distinct words.
        bounds: int64 [n_documents + 1], where each document starts in `sequence`.
        documents, queries: CSR float32 [n, n_terms] of zeros and ones, over stemmed words that
            are no function words.
        idf: float64 [n_terms], log(1 + (N - df + 0.5) / (df + 0.5)) as BM25 weighs them.
        terms: the stems.
        numbers: of the distinct words.
        stems: int64 [distinct words], which term each word has; -1 for function words.
    """

    sequence: Rows
    bounds: Indices
    documents: Any
    queries: Any
    idf: Values
    terms: tuple[str, ...]
    numbers: Mapping[str, int]
    stems: Indices

    def term_of(self, word: str) -> int:
        """Return the term of a word in lower case; -1 for function words and unknown ones."""
        number = self.numbers.get(word)
        return -1 if number is None else int(self.stems[number])

    @cached_property
    def document_frequency(self) -> Counts:
        """Documents that each term stands in, int64 [n_terms]."""
        return np.bincount(self.documents.indices, minlength=len(self.terms))

    @property
    def lengths(self) -> Counts:
        """Words of each document, int64 [n_documents]."""
        return np.diff(self.bounds)

    @cached_property
    def common(self) -> frozenset[str]:
        """The words of the documents that name no topic, in any language.

        Those of the language's list; where no list fits, those that stand in many documents and
        are spread over them as chance would, since a word of a topic comes back in its document
        (residual idf, Church & Gale 1995).
        """
        words = tuple(self.numbers)
        uses = np.bincount(self.sequence, minlength=len(words))
        listed = function_words(dict(zip(words, uses.tolist(), strict=True)))
        if listed:
            return listed
        n, df = max(len(self.lengths), 1), self.document_frequency
        known = self.stems >= 0
        counts = np.bincount(self.stems[known], weights=uses[known], minlength=len(df))
        expected = -np.expm1(-counts / n)
        everywhere = df >= _EVERYWHERE * n
        even = np.log2(np.maximum(expected, 1e-12) / np.maximum(df / n, 1e-12)) < _EVEN
        named = np.append(everywhere & even, False)
        return frozenset(words[place] for place in np.flatnonzero(named[self.stems]))

    def coverage(self, queries: Integers, documents: Integers) -> Values:
        """Return how much of each query stands in its document, float64 [m] between 0 and 1.

        A term counts as much as its idf; a query without terms is covered by nothing.
        """
        total = self.queries @ self.idf
        shared = np.zeros(len(queries))
        for start in range(0, len(queries), _BLOCK):
            part = slice(start, start + _BLOCK)
            both = self.queries[queries[part]].multiply(self.documents[documents[part]])
            shared[part] = both @ self.idf
        found: Values = shared / np.maximum(total[queries], 1e-9)
        return found

    def shared_terms(self, query: int, document: int) -> list[int]:
        """Return the terms that stand in both, the rarest first."""
        both = np.intersect1d(terms_of(self.queries, query), terms_of(self.documents, document))
        order = np.argsort(-self.idf[both], kind="stable")
        return [int(term) for term in both[order]]

    def missing_terms(self, query: int, document: int) -> list[str]:
        """Return the query's terms that the document lacks, the rarest first."""
        left = np.setdiff1d(terms_of(self.queries, query), terms_of(self.documents, document))
        return [self.terms[term] for term in left[np.argsort(-self.idf[left], kind="stable")]]


def read_words(documents: Sequence[str], queries: Sequence[str], *, language: str) -> Lexicon:
    """Split and count the words of a collection.

    Args:
        documents: texts.
        queries: texts.
        language: "english", or "none" for no stemming and no function words.
    """
    numbers: dict[str, int] = {}
    sides = []
    for texts in (documents, queries):
        parts = [
            np.array([numbers.setdefault(word, len(numbers)) for word in words], dtype=np.int32)
            for words in map(INDEXED_WORDS.findall, map(str.lower, texts))
        ]
        bounds = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        sides.append((np.concatenate([np.empty(0, dtype=np.int32), *parts]), bounds))
    terms, stems = _stems(list(numbers), language)
    tables = [_presence(stems[sequence], bounds, len(terms)) for sequence, bounds in sides]
    df = np.bincount(tables[0].indices, minlength=len(terms))
    return Lexicon(
        sequence=sides[0][0],
        bounds=sides[0][1],
        documents=tables[0],
        queries=tables[1],
        idf=np.log1p((len(documents) - df + 0.5) / (df + 0.5)),
        terms=terms,
        numbers=numbers,
        stems=stems,
    )


def _stems(words: list[str], language: str) -> tuple[tuple[str, ...], Indices]:
    """Return the distinct stems, and which of them each word has: -1 for function words."""
    if language == "none":
        return tuple(words), np.arange(len(words))
    import Stemmer
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    stems: dict[str, int] = {}
    found = [
        -1 if word in ENGLISH_STOP_WORDS else stems.setdefault(stem, len(stems))
        for word, stem in zip(words, Stemmer.Stemmer(language).stemWords(words), strict=True)
    ]
    return tuple(stems), np.array(found, dtype=np.int64)


def _presence(terms: Indices, bounds: Indices, n_terms: int) -> Any:
    """Return CSR float32 [n_texts, n_terms], 1 where a term stands in a text.

    Args:
        terms: of all words of all texts, in order; -1 for none.
        bounds: where each text starts in `terms`, and the end.
        n_terms: columns.
    """
    from scipy.sparse import csr_array

    kept = np.flatnonzero(terms >= 0)
    held = (np.ones(len(kept), np.float32), terms[kept].astype(np.int32))
    table = csr_array((*held, np.searchsorted(kept, bounds)), shape=(len(bounds) - 1, n_terms))
    table.sum_duplicates()
    table.data[:] = 1
    return table


def terms_of(table: Any, row: int) -> Rows:
    """Return the terms of one text."""
    terms: Rows = table.indices[table.indptr[row] : table.indptr[row + 1]]
    return terms


class Form(NamedTuple):
    """An acronym and its long form, in lower case."""

    short: str
    long: str


class Acronyms(NamedTuple):
    """What the texts of a collection define.

    Attributes:
        by_short: the long form that is defined most often for each acronym.
        by_long: the acronym that is defined most often for each long form.
    """

    by_short: Mapping[str, str]
    by_long: Mapping[str, str]

    def abbreviated(self, text: str) -> Form | None:
        """Return the first known acronym of a text."""
        found = (short for short in ACRONYMS.findall(text) if short in self.by_short)
        return next((Form(short, self.by_short[short]) for short in found), None)

    def written_out(self, text: str) -> Form | None:
        """Return the longest known long form in a text."""
        words = COMPOUNDS.findall(normalise(text))
        for length in range(min(_LONGEST, len(words)), 1, -1):
            for start in range(len(words) - length + 1):
                long = " ".join(words[start : start + length])
                if long in self.by_long:
                    return Form(self.by_long[long], long)
        return None


def read_acronyms(texts: Sequence[str]) -> Acronyms:
    """Return the acronyms whose long form stands before them (Schwartz & Hearst 2003).

    >>> read_acronyms(["Low density lipoprotein (LDL) is bad.", "See (NASA)."]).by_short
    {'LDL': 'low density lipoprotein'}
    """
    found: Counter[Form] = Counter()
    for text in texts:
        for match in DEFINED_ACRONYMS.finditer(text):
            long = _long_form(match[1], text[max(0, match.start() - _REACH) : match.start()])
            if long:
                found[Form(match[1], normalise(long))] += 1
    by_short: dict[str, str] = {}
    by_long: dict[str, str] = {}
    for form, _ in sorted(found.items(), key=lambda item: (-item[1], item[0])):
        by_short.setdefault(form.short, form.long)
        by_long.setdefault(form.long, form.short)
    return Acronyms(by_short, by_long)


def _long_form(short: str, before: str) -> str | None:
    """Return the words just before a bracket that spell an acronym, or None.

    The letters are matched from the right; the first must begin a word. The long form has at most
    min(n + 5, 2 n) words for n letters, and more than one.
    """
    words = list(COMPOUNDS.finditer(before))[-min(len(short) + 5, 2 * len(short)) :]
    if not words:
        return None
    text = before[words[0].start() :].rstrip()
    place = len(text)
    for number, letter in reversed(list(enumerate(short.lower()))):
        place -= 1
        while place >= 0 and (
            text[place].lower() != letter
            or (number == 0 and place > 0 and text[place - 1].isalnum())
        ):
            place -= 1
        if place < 0:
            return None
    long = text[place:]
    return long if " " in long else None
