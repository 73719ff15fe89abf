"""Lexical search: BM25 by bm25s, every matching document scored, one total order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.collection import Collection
from harness.environment import package_version
from harness.hashing import digest
from harness.run import Run, rank
from harness.run_stage import RunStage
from harness.stage import Context
from harness.store import Store
from harness.suite import Bm25


@dataclass(frozen=True, eq=False)
class LexicalSearch(RunStage):
    """Stage: a BM25 run; documents without any word of the query are not returned.

    Attributes:
        spec: parameters of BM25.
        collection: what is searched.
        depth: ranks.
        forbidden: int32 [n_queries], rows that queries must not be given, or None.
    """

    spec: Bm25
    collection: Collection
    depth: int
    forbidden: Any

    @property
    def label(self) -> str:
        """What is done."""
        return f"search with {self.name}"

    def key(self, store: Store) -> str:  # noqa: ARG002
        """Key of the run."""
        return digest(
            "bm25",
            1,
            package_version("bm25s"),
            self.spec.model_dump(),
            self.collection.documents_key,
            self.collection.queries_key,
            self.depth,
            self.forbidden,
        )

    def produce(self, context: Context) -> Run:
        """Index the documents and score them for every query."""
        collection = self.collection
        index = Bm25Index(self.spec, collection.documents)
        depth = min(self.depth, len(collection.documents))
        rows = np.full((len(collection.queries), depth), -1, dtype=np.int32)
        scores = np.zeros(rows.shape, dtype=np.float32)
        with context.progress.task(self.label, total=len(rows), unit="queries") as advance:
            for number, values in enumerate(index.score_all(collection.queries)):
                if self.forbidden is not None and self.forbidden[number] >= 0:
                    values[self.forbidden[number]] = 0
                matching = np.flatnonzero(values > 0).astype(np.int32)
                if len(matching) > depth:
                    least = np.partition(values[matching], -depth)[-depth]
                    matching = matching[values[matching] >= least]
                best = rank(matching[None], values[matching][None], depth=depth)
                rows[number, : best.depth] = best.documents[0]
                scores[number, : best.depth] = best.scores[0]
                advance(1)
        return Run(documents=rows, scores=scores)


@dataclass(frozen=True, eq=False)
class LexicalScorer:
    """Scores given documents by BM25.

    Attributes:
        spec: parameters of BM25.
        collection: whose texts.
    """

    spec: Bm25
    collection: Collection

    def scores(self, store: Store, top: npt.NDArray[np.int32]) -> npt.NDArray[np.floating]:  # noqa: ARG002
        """Return [n_queries, m] scores of each query's documents; of row -1 anything."""
        index = Bm25Index(self.spec, self.collection.documents)
        scores = np.zeros(top.shape, dtype=np.float32)
        for row in np.flatnonzero((top >= 0).any(axis=1)).tolist():
            scores[row] = index.score(self.collection.queries[row])[top[row]]
        return scores


class Bm25Index:
    """Documents indexed by bm25s, scored one query at a time.

    Args:
        spec: parameters of BM25.
        documents: texts.
    """

    def __init__(self, spec: Bm25, documents: tuple[str, ...]) -> None:
        import bm25s
        import Stemmer

        self.n_documents = len(documents)
        self._stemmer = Stemmer.Stemmer(spec.language) if spec.language != "none" else None
        self._stopwords = "en" if spec.language == "english" else []
        tokens = self._tokenize(documents, return_ids=True)
        self._index: Any = None
        if any(tokens.ids):
            self._index = bm25s.BM25(k1=spec.k1, b=spec.b, method="lucene")
            self._index.index(tokens, show_progress=False)

    @property
    def index_bytes(self) -> int:
        """Bytes of the score matrix; the vocabulary is not counted."""
        if self._index is None:
            return 0
        parts = (self._index.scores[name] for name in ("data", "indices", "indptr"))
        return sum(int(part.nbytes) for part in parts)

    def score(self, query: str) -> npt.NDArray[np.float32]:
        """Return the score of every document, float32 [n_documents]; 0 where no word matches."""
        return next(self.score_all([query]))

    def score_all(self, queries: Sequence[str]) -> Iterator[npt.NDArray[np.float32]]:
        """Yield what `score` returns for each query; many are split into words faster at once."""
        for words in self._tokenize(queries, return_ids=False):
            vocabulary = self._index.vocab_dict if self._index is not None else {}
            known = [word for word in words if word in vocabulary]
            if known:
                yield self._index.get_scores(known)
            else:
                yield np.zeros(self.n_documents, dtype=np.float32)

    def _tokenize(self, texts: Sequence[str], *, return_ids: bool) -> Any:
        import bm25s

        return bm25s.tokenize(
            list(texts),
            stopwords=self._stopwords,
            stemmer=self._stemmer,
            return_ids=return_ids,
            show_progress=False,
        )
