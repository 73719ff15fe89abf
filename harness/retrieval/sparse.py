"""Sparse search: every document that shares a term with the query, by the sum of products."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.arrays import Rows
from harness.environment import vector_memory
from harness.models.ragged import Ragged
from harness.models.tokens import load_tokenizer
from harness.retrieval.latency import Prepared, Step
from harness.retrieval.ragged import RaggedSpace, StoredRows
from harness.retrieval.run_stage import SpaceSearch
from harness.runs.run import Run, rank_entries
from harness.stage import Context
from harness.store import Store
from harness.suite.table import Similarity

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_POSTING_BYTES = 64  # of a posting while it is searched: as read, by document, and by term
_QUERIES = 64  # searched at a time


class SharedTerm(NamedTuple):
    """A term of both query and document, and what it adds to the score."""

    term: str
    score: float


@dataclass(frozen=True, eq=False)
class SparseSpace(RaggedSpace):
    """Both sides of a collection as weighted terms.

    Attributes:
        similarity: "dot" or "cosine".
    """

    similarity: Similarity

    def matrix(self, rows: Ragged, *, width: int | None = None) -> csr_array:
        """Return the weights of texts as they are compared, float64 [n, width].

        Args:
            rows: their terms.
            width: terms beyond are left out; None takes all.
        """
        from scipy.sparse import csr_array

        terms, weights = rows.values["term"], rows.values["weight"].astype(np.float64)
        columns = max(int(terms.max(initial=-1)) + 1, width or 0)
        found = csr_array(
            (weights, terms, np.concatenate([[0], rows.ends])), shape=(len(rows), columns)
        )
        if self.similarity == "cosine":
            norms = np.sqrt(found.multiply(found).sum(axis=1))
            found.data /= np.repeat(np.where(norms > 0, norms, 1), rows.sizes)
        return found if width is None else found[:, :width]

    def ready(
        self, store: Store, top: Rows
    ) -> tuple[Callable[[int], npt.NDArray[np.float64]], int]:
        """Return what scores the documents of one query's row, and the bytes of all documents."""
        documents, queries = self.read(store)

        def ask(row: int) -> npt.NDArray[np.float64]:
            some = documents.take(top[row].clip(min=0))
            query = queries.take(np.array([row]))
            width = int(max(each.values["term"].max(initial=-1) for each in (some, query))) + 1
            found: Any = self.matrix(query, width=width) @ self.matrix(some, width=width).T
            scores: npt.NDArray[np.float64] = found.toarray()[0]
            return scores

        return ask, documents.bytes

    def shared(self, store: Store, run: Run, *, most: int) -> Iterator[list[list[SharedTerm]]]:
        """Yield for each query the terms that it shares with each of its documents.

        A term without a word in the tokenizer's vocabulary has its number for a name.

        Args:
            store: where both sides lie.
            run: of this space.
            most: terms of a document, those that add most to its score, the greatest first.
        """
        weights = self.documents.model.weights(store)
        tokenizer = load_tokenizer(weights) if weights is not None else None
        documents, queries = self.read(store)
        for row, ranked in enumerate(run.documents):
            query = self.matrix(queries.take(np.array([row])))
            asked = query.toarray()[0]
            some = self.matrix(documents.take(ranked[ranked >= 0]), width=len(asked))
            products = some.data * asked[some.indices]
            told = []
            for start, end in pairwise(some.indptr.tolist()):
                order = start + np.argsort(-products[start:end], kind="stable")[:most]
                found = zip(some.indices[order].tolist(), products[order].tolist(), strict=True)
                told.append([SharedTerm(_word(tokenizer, t), add) for t, add in found if add > 0])
            yield told


def _word(tokenizer: Any, term: int) -> str:
    """Return a term as it is written, without what its tokenizer marks the start of a word by."""
    if tokenizer is None or tokenizer.id_to_token(term) is None:
        return f"#{term}"
    word = tokenizer.decode([term], skip_special_tokens=False).strip()
    return str(word or tokenizer.id_to_token(term))


@dataclass(frozen=True, eq=False)
class SparseSearch(SpaceSearch):
    """Stage: a run by exact search; a document without any term of the query is not returned.

    Products and sums are those of float64, over a query's terms in the order of the vocabulary, so
    that a score does not depend on what else is searched.
    """

    space: SparseSpace

    def produce(self, context: Context) -> Run:
        """Search."""
        documents, queries = self.space.read(context.store)
        most = vector_memory() // _POSTING_BYTES
        return search_sparse(
            self.space, documents, queries, depth=self.depth, forbidden=self.forbidden, most=most
        )


def search_sparse(
    space: SparseSpace,
    documents: StoredRows,
    queries: StoredRows,
    *,
    depth: int,
    forbidden: Rows | None = None,
    most: int,
) -> Run:
    """Return the `depth` best documents of each query, best first.

    Args:
        space: how they are compared.
        documents: of the collection.
        queries: of the collection.
        depth: ranks to return.
        forbidden: int32 [n_queries], a row that the query must not be given, or -1.
        most: postings that are held at a time; the result does not depend on it.
    """
    depth = min(depth, len(documents))
    entries: list[tuple[npt.NDArray[Any], ...]] = []
    asked = space.matrix(queries.take(np.arange(len(queries))))
    for start, block in documents.blocks(most):
        postings = space.matrix(block, width=asked.shape[1]).T.tocsr()
        for first in range(0, len(queries), _QUERIES):
            found = asked[first : first + _QUERIES] @ postings
            for row in range(found.shape[0]):
                query = first + row
                some = slice(*found.indptr[row : row + 2])
                rows = found.indices[some] + start
                scores = found.data[some].astype(np.float32)
                kept = scores > 0
                if forbidden is not None:
                    kept &= rows != forbidden[query]
                if kept.sum() > depth:
                    kept &= scores >= np.partition(scores[kept], -depth)[-depth]
                entries.append((np.full(kept.sum(), query), rows[kept], scores[kept]))
    columns = [np.concatenate(column) for column in zip(*entries, strict=True)]
    best = rank_entries(*columns, n_queries=len(queries), depth=depth)
    short = ((0, 0), (0, depth - best.depth))
    return Run(np.pad(best.documents, short, constant_values=-1), np.pad(best.scores, short))


@dataclass(frozen=True, eq=False)
class SearchPostings(Step):
    """Step: one query against the postings of all documents, by term, as a server holds them."""

    doing = "searching"

    space: SparseSpace
    depth: int

    def prepare(self, context: Context) -> Prepared:
        """Build the index: float32 weights and int32 rows by term, and where each term begins."""
        documents, queries = self.space.read(context.store)
        postings = self.space.matrix(documents.take(np.arange(len(documents)))).T.tocsr()
        index = postings.astype(np.float32)
        asked = queries.take(np.arange(len(queries)))
        rows = self.space.matrix(asked, width=index.shape[0]).astype(np.float32)
        last = min(self.depth, index.shape[1]) - 1

        def ask(row: int) -> object:
            scores = (rows[[row]] @ index).toarray()[0]
            return np.argpartition(-scores, last)[: last + 1]

        size = index.data.nbytes + index.indices.nbytes + index.indptr.nbytes
        return Prepared(ask, size)
