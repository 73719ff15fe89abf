"""Quantised vectors: documents in fewer bits a dimension, searched with queries in float32.

The codes are a function of the stored vectors, as a truncation is a slice of them, so nothing is
stored for them. They are those of sentence-transformers' `quantize_embeddings` calibrated on the
corpus, and of FAISS's scalar quantiser: the steps of a dimension go from the least to the largest
value of the documents, and a code stands for the middle of its step. A document's score is the
inner product of the query, as it is, with what the document's code stands for (asymmetric, as in
FAISS's scalar and product quantisers); decoded vectors are not normalised again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.arrays import Vectors
from harness.hashing import digest
from harness.retrieval.embeddings import Embeddings
from harness.retrieval.engine import best_engine
from harness.retrieval.latency import Prepared, SearchQuery
from harness.retrieval.reranking import Rerank
from harness.runs.run import Run
from harness.stage import Context
from harness.suite.kinds.quantize import BITS, Precision

_BLOCK_ROWS = 65_536
_LEVELS = 255  # steps of 8 bits
_LARGEST_FP16 = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Codec:
    """How vectors become codes and are read back.

    Attributes:
        precision: of the codes.
        low, high: float32 [dim], the range of each dimension; of "int8" alone.
    """

    precision: Precision
    low: Vectors = field(repr=False)
    high: Vectors = field(repr=False)

    def decoded(self, vectors: Vectors) -> Vectors:
        """Return what the codes of vectors stand for, float32 [n, dim].

        >>> codec = Codec("int8", np.float32([0, -1]), np.float32([1, 1]))
        >>> codec.decoded(np.float32([[0.5, 2.0]])).round(3).tolist()  # 2.0 is beyond the range
        [[0.5, 1.003999948501587]]
        >>> Codec("binary", *np.zeros((2, 2), np.float32)).decoded(np.float32([[0.2, -3.0]]))
        array([[ 1., -1.]], dtype=float32)
        """
        if self.precision == "binary":
            return np.where(vectors > 0, np.float32(1), np.float32(-1))
        if self.precision == "fp16":
            within = vectors.clip(-_LARGEST_FP16, _LARGEST_FP16)
            return within.astype(np.float16).astype(np.float32)
        step = (self.high - self.low) / np.float32(_LEVELS)
        codes = np.floor((vectors - self.low) / np.where(step > 0, step, np.float32(1)))
        middles = codes.clip(0, _LEVELS) + np.float32(0.5)
        found: Vectors = (self.low + middles * step).astype(np.float32)
        return found


@dataclass(frozen=True)
class Quantized(Embeddings):
    """Vectors that are read as their codes stand for.

    Attributes:
        codec: with the ranges of all rows.
    """

    codec: Codec

    def finished(self, vectors: Vectors) -> Vectors:
        """Return what the codes of vectors stand for."""
        return self.codec.decoded(super().finished(vectors))

    @property
    def whole(self) -> None:
        """None: what codes stand for is in no array."""
        return None

    @property
    def _is_as_stored(self) -> bool:
        return False

    def truncated(self, width: int) -> Embeddings:
        """Return codes of the first `width` dimensions, normalised before."""
        plain = Embeddings(self.shards, self.places, width, normalised=True)
        return quantized(plain, self.codec.precision)

    def alike(self, others: Embeddings) -> Embeddings:
        """Return vectors of other texts in the same codes."""
        return _coded(others, self.codec)


def quantized(vectors: Embeddings, precision: Precision) -> Quantized:
    """Return vectors in codes, with ranges of their own rows."""
    ends = np.zeros((2, vectors.width), dtype=np.float32)
    if precision == "int8":
        ends = np.array([[np.inf], [-np.inf]], dtype=np.float32).repeat(vectors.width, axis=1)
        for start in range(0, len(vectors), _BLOCK_ROWS):
            block = vectors.block(start, min(start + _BLOCK_ROWS, len(vectors)))
            ends[0] = np.minimum(ends[0], block.min(axis=0))
            ends[1] = np.maximum(ends[1], block.max(axis=0))
    return _coded(vectors, Codec(precision, ends[0], ends[1]))


def code_bytes(precision: Precision, width: int) -> int:
    """Return the bytes of one vector's code."""
    return -(-width * BITS[precision] // 8)


def _coded(vectors: Embeddings, codec: Codec) -> Quantized:
    return Quantized(vectors.shards, vectors.places, vectors.width, vectors.normalised, codec)


@dataclass(frozen=True)
class Quantizer:
    """The coarser side of a space: its documents in codes."""

    precision: Precision

    @property
    def key(self) -> str:
        """Key of the codes."""
        return digest("quantized", 2 if self.precision == "int8" else 1, self.precision)

    def stored(self, documents: Embeddings) -> Quantized:
        """Return documents in codes, with ranges of these documents."""
        return quantized(documents, self.precision)


@dataclass(frozen=True, eq=False)
class Rescore(Rerank):
    """Stage: a search by codes or an index, whose first documents the full vectors order again.

    Attributes:
        kept: ranks of the run; fewer than are scored again.
    """

    kept: int

    @property
    def label(self) -> str:
        """What is done."""
        return f"rescore for {self.name}"

    def run(self, context: Context) -> None:
        """Search, which no candidate has for a run of its own, and order again."""
        if not self.first.is_done(context.store):
            self.first.run(context)
        super().run(context)

    def produce(self, context: Context) -> Run:
        """Order the documents again and keep the first."""
        run = super().produce(context)
        return Run(run.documents[:, : self.kept], run.scores[:, : self.kept])


@dataclass(frozen=True, eq=False)
class SearchCodes(SearchQuery):
    """Step: one query against the codes of all documents, in the index that holds them.

    FAISS's scalar quantiser for "fp16" and "int8"; for "binary" its product quantiser with a code
    of 8 signs, which sums a query by tables. Without FAISS, or on a GPU, the decoded vectors are
    searched, and the bytes are those of the codes nevertheless.
    """

    precision: Precision

    def prepare(self, context: Context) -> Prepared:
        """Build the index."""
        if best_engine() != "faiss-cpu":
            decoded = super().prepare(context)
            width = self.space.read(context.store)[0].width
            return decoded._replace(index_bytes=self._bytes(width))
        documents, queries = self.space.read(context.store)
        vectors = documents.block(0, len(documents))
        asked = queries.block(0, len(queries))
        width, depth = documents.width, min(self.depth, len(vectors))
        index, columns = _index(self.precision, width)
        padded = np.zeros((len(asked), columns), dtype=np.float32)
        padded[:, :width] = asked
        if columns > width:
            vectors = np.pad(vectors, ((0, 0), (0, columns - width)), constant_values=-1)
        if not index.is_trained:
            index.train(vectors)
        index.add(vectors)
        return Prepared(lambda row: index.search(padded[row : row + 1], depth), self._bytes(width))

    def _bytes(self, width: int) -> int:
        """Return the bytes of all codes; of ranges, which all documents share, none."""
        return len(self.collection.documents) * code_bytes(self.precision, width)


def _index(precision: Precision, width: int) -> tuple[Any, int]:
    """Return an empty FAISS index, and the width that it takes."""
    import faiss

    if precision != "binary":
        kinds = faiss.ScalarQuantizer
        kind = kinds.QT_8bit if precision == "int8" else kinds.QT_fp16
        return faiss.IndexScalarQuantizer(width, kind, faiss.METRIC_INNER_PRODUCT), width
    bytes_each = -(-width // 8)
    index = faiss.IndexPQ(8 * bytes_each, bytes_each, 8, faiss.METRIC_INNER_PRODUCT)
    signs = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32)
    faiss.copy_array_to_vector(np.tile(2 * signs - 1, (bytes_each, 1)).ravel(), index.pq.centroids)
    index.is_trained = True
    return index, 8 * bytes_each
