"""Lexical search: BM25 by bm25s, every matching document scored, one total order."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.collection import Collection
from harness.collection.language import UNSPACED, needs_bigrams
from harness.collection.packed import size_of
from harness.collection.remembered import language_of
from harness.environment import package_version
from harness.retrieval.latency import Prepared, Step
from harness.retrieval.run_stage import RunStage
from harness.runs.run import Run, rank
from harness.stage import Context, Keyed, Work, unkeyed
from harness.store import Store
from harness.suite.kinds.bm25 import Bm25, KnownLanguage

# Languages whose stop words bm25s has.
_WITH_STOP_WORDS = frozenset(
    {
        *("danish", "dutch", "english", "french", "german", "italian", "norwegian"),
        *("portuguese", "russian", "spanish", "swedish", "turkish"),
    }
)
_CHARACTERS_A_SECOND = 3e6  # that are split into words
_HANGUL = "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"  # spaces stand between words with particles
_PAIRED = re.compile(f"[{UNSPACED}{_HANGUL}]+")
_BIGRAM_OR_WORD = rf"(?u)[{UNSPACED}{_HANGUL}]{{1,2}}|\b\w\w+\b"


def in_bigrams(text: str) -> str:
    """Return a text with each run of characters of such scripts as overlapping pairs.

    >>> in_bigrams("iPhone\u624b\u673a\u58f3")
    'iPhone \u624b\u673a \u673a\u58f3 '
    """

    def pairs(found: re.Match[str]) -> str:
        run = found[0]
        return f" {' '.join(run[n : n + 2] for n in range(max(len(run) - 1, 1)))} "

    return _PAIRED.sub(pairs, unicodedata.normalize("NFKC", text))


def with_language(spec: Bm25, collection: Collection, *, store: Store) -> Bm25:
    """Return the parameters with the language of a collection where it is to be detected."""
    parameters = spec.model_dump()
    if spec.language == "auto":
        parameters["language"] = language_of(collection, store=store).language
    return KnownLanguage(**parameters)


def language_problem(spec: Bm25, documents: Sequence[str]) -> str:
    """Return what is wrong where BM25 would take whole sentences for words; "" where it does not.

    Args:
        spec: as the suite gives it.
        documents: texts.
    """
    if spec.language in ("auto", "bigrams") or (found := needs_bigrams(documents)) is None:
        return ""
    return (
        f"language = {spec.language!r}, but {found.documents} of a sample of {found.sample} "
        "documents have no spaces between words (Chinese, Japanese, Thai, …): BM25 would treat "
        "whole sentences as words. "
        'Write language = "bigrams", or remove it.'
    )


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
    collection: Collection = field(
        metadata=unkeyed("a search reads texts alone", "judgements", "exclude_identical_ids")
    )
    depth: int
    forbidden: npt.NDArray[np.int32] | None

    @property
    def label(self) -> str:
        """What is done."""
        return f"search with {self.name}"

    def also_keyed(self) -> tuple[object, ...]:
        """Return the version of bm25s."""
        return (package_version("bm25s"),)

    def work(self, store: Store) -> Work:  # noqa: ARG002
        """Return a usual time: that of the words, and of the scores of all pairs."""
        documents, queries = len(self.collection.documents), len(self.collection.queries)
        words = size_of(self.collection.documents) / _CHARACTERS_A_SECOND
        return Work(seconds=words + documents * queries / 2e7)

    def produce(self, context: Context) -> Run:
        """Index the documents and score them for every query."""
        index = Bm25Index(self.spec, self.collection.documents)
        total = len(self.collection.queries)
        with context.progress.task(self.label, total=total, unit="queries") as advance:
            return self.ranked(index, advance=advance)

    def ranked(
        self, index: Bm25Index, *, start: int = 0, advance: Callable[[int], None] = lambda _: None
    ) -> Run:
        """Return the best of the documents of an index for every query.

        Args:
            index: of all documents, or of some that follow one another.
            start: row of the first one.
            advance: told after each query.
        """
        collection, stop = self.collection, start + index.n_documents
        depth = min(self.depth, len(collection.documents))
        rows = np.full((len(collection.queries), depth), -1, dtype=np.int32)
        scores = np.zeros(rows.shape, dtype=np.float32)
        for number, values in enumerate(index.score_all(collection.queries)):
            if self.forbidden is not None and start <= self.forbidden[number] < stop:
                values[self.forbidden[number] - start] = 0
            matching = np.flatnonzero(values > 0).astype(np.int32)
            if len(matching) > depth:
                least = np.partition(values[matching], -depth)[-depth]
                matching = matching[values[matching] >= least]
            best = rank(matching[None] + np.int32(start), values[matching][None], depth=depth)
            rows[number, : best.depth] = best.documents[0]
            scores[number, : best.depth] = best.scores[0]
            advance(1)
        return Run(documents=rows, scores=scores)


@dataclass(frozen=True, eq=False)
class LexicalScorer(Keyed):
    """Scores given documents by BM25.

    Attributes:
        spec: parameters of BM25.
        collection: whose texts.
    """

    spec: Bm25
    collection: Collection = field(
        metadata=unkeyed("a search reads texts alone", "judgements", "exclude_identical_ids")
    )

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

    def __init__(self, spec: Bm25, documents: Sequence[str]) -> None:
        import bm25s

        self.n_documents = len(documents)
        self._spec = spec
        tokens = tokenize(spec, documents, return_ids=True)
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
        for words in tokenize(self._spec, queries, return_ids=False):
            vocabulary = self._index.vocab_dict if self._index is not None else {}
            known = [word for word in words if word in vocabulary]
            if known:
                yield self._index.get_scores(known)
            else:
                yield np.zeros(self.n_documents, dtype=np.float32)


def tokenize(spec: Bm25, texts: Sequence[str], *, return_ids: bool) -> Any:
    """Return the words of texts, as bm25s returns them."""
    import bm25s
    import Stemmer

    plain, bigrams = spec.language in {"none", "bigrams"}, spec.language == "bigrams"
    return bm25s.tokenize(
        [in_bigrams(text) for text in texts] if bigrams else list(texts),
        **({"token_pattern": _BIGRAM_OR_WORD} if bigrams else {}),
        stopwords=spec.language if spec.language in _WITH_STOP_WORDS else [],
        stemmer=None if plain else Stemmer.Stemmer(spec.language),
        return_ids=return_ids,
        show_progress=False,
    )


@dataclass(frozen=True, eq=False)
class LexicalQuery(Step):
    """Step: one query through BM25."""

    doing = "searching"

    collection: Collection = field(
        metadata=unkeyed("a search reads texts alone", "judgements", "exclude_identical_ids")
    )
    spec: Bm25
    depth: int

    def prepare(self, context: Context) -> Prepared:  # noqa: ARG002
        """Index the documents."""
        index = Bm25Index(self.spec, self.collection.documents)
        last = min(self.depth, index.n_documents) - 1

        def ask(row: int) -> object:
            return np.argpartition(-index.score(self.collection.queries[row]), last)[: last + 1]

        return Prepared(ask, index.index_bytes)
