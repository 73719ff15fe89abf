"""Lexical parts: BM25 of some documents by the statistics of all, for a corpus in pieces.

A piece is split into words once, of which those of the queries are kept. The statistics of pieces,
how many documents hold a word and how long they are, add up in any order to those of the corpus;
with them a document has, to the last bit, the scores that bm25s gives it in an index of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.retrieval.lexical import Bm25Index, tokenize
from harness.suite.kinds.bm25 import Bm25


class Words(NamedTuple):
    """The words of queries in a piece of the corpus.

    Attributes:
        numbers: int32 [n], which word each document holds, of one document after the other.
        counts: int32 [n], how often.
        ends: int64 [n_documents], where each document ends in these.
        lengths: int64 [n_documents], all words of each.
    """

    numbers: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]


class Statistics(NamedTuple):
    """What the score of a document takes from the others.

    Attributes:
        documents: how many there are.
        length: words of all together.
        frequencies: int64 [n_words], documents that hold each word.
    """

    documents: int
    length: int
    frequencies: npt.NDArray[np.int64]

    def merged(self, other: Statistics) -> Statistics:
        """Return those of both pieces."""
        return Statistics(
            self.documents + other.documents,
            self.length + other.length,
            self.frequencies + other.frequencies,
        )


def words_of_queries(spec: Bm25, queries: Sequence[str]) -> list[str]:
    """Return the distinct words of queries, ascending."""
    return sorted({word for words in tokenize(spec, queries, return_ids=False) for word in words})


def split_into_words(spec: Bm25, documents: Sequence[str], kept: Sequence[str]) -> Words:
    """Return the words of documents, of which some are kept."""
    tokens = tokenize(spec, documents, return_ids=True)
    places = np.full(len(tokens.vocab), -1, dtype=np.int32)
    for place, word in enumerate(kept):
        if word in tokens.vocab:
            places[tokens.vocab[word]] = place
    lengths = np.array([len(document) for document in tokens.ids], dtype=np.int64)
    flat = np.fromiter((n for each in tokens.ids for n in each), np.int64, lengths.sum())
    numbers, rows = places[flat], np.repeat(np.arange(len(lengths)), lengths)
    pairs = rows[numbers >= 0] * len(kept) + numbers[numbers >= 0]
    pairs, counts = np.unique(pairs, return_counts=True)
    rows, numbers = np.divmod(pairs, max(len(kept), 1))
    ends = np.cumsum(np.bincount(rows, minlength=len(lengths)))
    return Words(numbers.astype(np.int32), counts.astype(np.int32), ends, lengths)


def statistics_of(words: Words, kept: int) -> Statistics:
    """Return the statistics of a piece, of which so many words were kept."""
    frequencies = np.bincount(words.numbers, minlength=kept)
    return Statistics(len(words.lengths), int(words.lengths.sum()), frequencies)


class Bm25Part(Bm25Index):
    """Some documents of an index, with the scores that they have in the whole of it.

    Args:
        spec: parameters of BM25.
        kept: words that are searched.
        part: of these documents.
        whole: of all documents.
    """

    def __init__(self, spec: Bm25, kept: Sequence[str], part: Words, whole: Statistics) -> None:
        import bm25s
        from bm25s.scoring import _score_idf_lucene, _score_tfc_lucene
        from scipy.sparse import csc_array

        self.n_documents = len(part.ends)
        self._spec = spec
        self._index = bm25s.BM25(k1=spec.k1, b=spec.b, method="lucene")
        # As bm25s computes them for one document and word after the other, in the same types.
        idf = [_score_idf_lucene(n, N=whole.documents) for n in whole.frequencies.tolist()]
        sizes = np.diff(part.ends, prepend=0)
        tfc = _score_tfc_lucene(
            part.counts.astype(np.float32),
            np.repeat(part.lengths, sizes),
            np.float64(whole.length) / whole.documents,
            spec.k1,
            spec.b,
        )
        scores = (np.array(idf, dtype=np.float32)[part.numbers] * tfc).astype(np.float32)
        places = (np.repeat(np.arange(len(sizes), dtype=np.int32), sizes), part.numbers)
        matrix = csc_array((scores, places), shape=(len(sizes), len(kept)))
        self._index.nonoccurrence_array = None
        self._index.vocab_dict = {word: number for number, word in enumerate(kept)}
        self._index.scores = {
            "data": matrix.data,
            "indices": matrix.indices,
            "indptr": matrix.indptr,
            "num_docs": len(sizes),
        }
