"""Lexicon: which stemmed words stand in which texts of a collection, and how rare each is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.arrays import Integers
from harness.diagnosis.text import INDEXED_WORDS
from harness.diagnosis.words import function_words

_BLOCK = 8192  # pairs that are compared at a time
_EVERYWHERE = 0.2  # share of the documents that hold a word of no topic, at least
_EVEN = 0.5  # its residual idf in bits, at most


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

    sequence: npt.NDArray[np.int32]
    bounds: npt.NDArray[np.int64]
    documents: Any
    queries: Any
    idf: npt.NDArray[np.float64]
    terms: tuple[str, ...]
    numbers: Mapping[str, int]
    stems: npt.NDArray[np.int64]

    def term_of(self, word: str) -> int:
        """Return the term of a word in lower case; -1 for function words and unknown ones."""
        number = self.numbers.get(word)
        return -1 if number is None else int(self.stems[number])

    @cached_property
    def document_frequency(self) -> npt.NDArray[np.int64]:
        """Documents that each term stands in, int64 [n_terms]."""
        return np.bincount(self.documents.indices, minlength=len(self.terms))

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
        n, df = max(len(self.bounds) - 1, 1), self.document_frequency
        known = self.stems >= 0
        counts = np.bincount(self.stems[known], weights=uses[known], minlength=len(df))
        expected = -np.expm1(-counts / n)
        everywhere = df >= _EVERYWHERE * n
        even = np.log2(np.maximum(expected, 1e-12) / np.maximum(df / n, 1e-12)) < _EVEN
        named = np.append(everywhere & even, False)
        return frozenset(words[place] for place in np.flatnonzero(named[self.stems]))

    def coverage(self, queries: Integers, documents: Integers) -> npt.NDArray[np.float64]:
        """Return how much of each query stands in its document, float64 [m] between 0 and 1.

        A term counts as much as its idf; a query without terms is covered by nothing.
        """
        total = self.queries @ self.idf
        shared = np.zeros(len(queries))
        for start in range(0, len(queries), _BLOCK):
            part = slice(start, start + _BLOCK)
            both = self.queries[queries[part]].multiply(self.documents[documents[part]])
            shared[part] = both @ self.idf
        found: npt.NDArray[np.float64] = shared / np.maximum(total[queries], 1e-9)
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
    sides = [_number_words(texts, numbers) for texts in (documents, queries)]
    words = list(numbers)
    terms, term_of = _stems(words, language)
    tables = [_presence(sequence, bounds, term_of, len(terms)) for sequence, bounds in sides]
    df = np.bincount(tables[0].indices, minlength=len(terms))
    idf = np.log1p((len(documents) - df + 0.5) / (df + 0.5))
    return Lexicon(
        sequence=sides[0][0],
        bounds=sides[0][1],
        documents=tables[0],
        queries=tables[1],
        idf=idf,
        terms=terms,
        numbers=numbers,
        stems=term_of,
    )


def _number_words(
    texts: Sequence[str], numbers: dict[str, int]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Return all words as numbers, in order, and where each text starts among them."""
    parts = [
        np.array([numbers.setdefault(word, len(numbers)) for word in words], dtype=np.int32)
        for words in map(INDEXED_WORDS.findall, map(str.lower, texts))
    ]
    bounds = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return np.concatenate([np.empty(0, dtype=np.int32), *parts]), bounds


def _stems(words: list[str], language: str) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
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


def _presence(
    sequence: npt.NDArray[np.int32],
    bounds: npt.NDArray[np.int64],
    term_of: npt.NDArray[np.int64],
    n_terms: int,
) -> Any:
    """Return CSR float32 [n_texts, n_terms], 1 where a term stands in a text."""
    terms = term_of[sequence]
    kept = np.flatnonzero(terms >= 0)
    return _ones(terms[kept].astype(np.int32), np.searchsorted(kept, bounds), n_terms)


def _ones(columns: npt.NDArray[np.int32], bounds: npt.NDArray[np.int64], width: int) -> Any:
    """Return CSR float32 [n, width], 1 in the columns listed for each row between its bounds."""
    from scipy.sparse import csr_array

    data = np.ones(len(columns), dtype=np.float32)
    table = csr_array((data, columns, bounds), shape=(len(bounds) - 1, width))
    table.sum_duplicates()
    table.data[:] = 1
    return table


def terms_of(table: Any, row: int) -> npt.NDArray[np.int32]:
    """Return the terms of one text."""
    terms: npt.NDArray[np.int32] = table.indices[table.indptr[row] : table.indptr[row + 1]]
    return terms
