"""Mining: the stage that searches the training queries and keeps hard negatives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from harness.arrays import Rows
from harness.collection import Collection, Judgements
from harness.collection.texts import normalise
from harness.errors import ExitCode, HarnessError
from harness.retrieval.encoding import Encode
from harness.retrieval.reranking import CrossEncoderScorer
from harness.retrieval.run_stage import RunStage
from harness.retrieval.search import Search
from harness.stage import Context, Stage, StoredStage, Work, unkeyed
from harness.store import Store
from harness.suite.training import HardNegativesSpec
from harness.training.data import TrainingData
from harness.training.negatives import Pool, choose, fill


class PairScorer(Protocol):
    """What scores given documents as the first stage does."""

    def scores(self, store: Store, top: Rows) -> npt.NDArray[np.floating]:
        """Return [n_queries, m] scores of each query's documents; of row -1 anything."""


@dataclass(frozen=True, eq=False)
class MineNegatives(StoredStage):
    """Stage: hard negatives of training pairs.

    Attributes:
        name: the candidate that is trained, for people.
        pairs: whose negatives.
        relevant: all pairs that are known; some may not be trained on, and none is a negative.
        spec: which documents are taken.
        collection: the queries that are searched, and the documents.
        first: the run of these queries, as deep as the range of ranks.
        scorer: scores the pairs' own documents alike.
        judge: a cross-encoder with a second opinion, or None.
        seed: of the documents that fill short lists.
    """

    kind = "negatives"

    name: str = field(metadata=unkeyed("for people"))
    pairs: TrainingData
    relevant: TrainingData
    spec: HardNegativesSpec = field(
        metadata=unkeyed(
            "`first` and `judge` are theirs",
            *("candidate", "filter.model", "filter.revision", "filter.max_length"),
        )
    )
    collection: Collection = field(
        metadata=unkeyed("`relevant` holds what is known", "judgements", "exclude_identical_ids")
    )
    first: RunStage
    scorer: PairScorer
    judge: CrossEncoderScorer | None
    seed: int

    @property
    def label(self) -> str:
        """What is done."""
        return f"mine negatives for {self.name} with {self.first.name}"

    def inputs(self) -> Iterator[Stage]:
        """Yield the stages that must be done before, in order."""
        if isinstance(self.first, Search):
            for side in (self.first.space.documents, self.first.space.queries):
                if isinstance(side, Encode):
                    yield side
        yield self.first

    def work(self, store: Store) -> Work:  # noqa: ARG002
        """Return the pairs that a cross-encoder judges, at least."""
        if self.judge is None:
            return Work(seconds=len(self.pairs) / 5000)
        return Work(pairs=len(self.pairs) * (1 + self.spec.per_query), seconds=None)

    def run(self, context: Context) -> None:
        """Choose the negatives and store them, with what every rule dropped.

        Raises:
            HarnessError: there are fewer documents than negatives are asked for.
        """
        key = self.ready_key(context.store)
        places = self._places
        chosen = choose(
            self._pool(context.store),
            per_query=self.spec.per_query,
            ceiling=self.spec.ceiling,
            margin=self.spec.margin,
            judge=None if self.judge is None else _Judge(self, self.judge, context),
        )
        mined = (chosen.rows >= 0).sum(axis=1)
        try:
            rows = fill(
                chosen.rows,
                lambda pair: self._relevant_rows(int(places[pair, 0])),
                n_documents=len(self.collection.documents),
                seed=self.seed,
            )
        except ValueError as error:
            raise HarnessError(
                f"{self.label}: {error} of {self.spec.per_query} negatives. Lower per_query.",
                exit_code=ExitCode.DATA,
            ) from None
        context.store.put(
            self.kind,
            key,
            arrays={"negatives": rows, "mined": mined.astype(np.int32)},
            meta={
                "pairs": len(rows),
                "found": chosen.found,
                "dropped": chosen.dropped,
                "mined": int(mined.sum()),
                "random": int(rows.size - mined.sum()),
                "pairs_without": int((mined == 0).sum()),
            },
        )

    def texts(self, store: Store) -> list[tuple[str, ...]]:
        """Return the negatives of each pair, hardest first."""
        rows = self.stored(store).array("negatives").tolist()
        documents = self.collection.documents
        return [tuple(documents[row] for row in mine) for mine in rows]

    @cached_property
    def _rows(self) -> tuple[dict[str, int], dict[str, int]]:
        """The first row of each text as it reads: of queries, and of documents."""
        return _first_rows(self.collection.queries), _first_rows(self.collection.documents)

    @cached_property
    def _places(self) -> Rows:
        """int32 [n_pairs, 2], rows of each pair's query and document in the collection."""
        return np.array([self._place(*pair) for pair in _pairs(self.pairs)], dtype=np.int32)

    def _place(self, query: str, document: str) -> tuple[int, int]:
        """Return the rows of two texts; -1 for one that is not there."""
        queries, documents = self._rows
        return queries.get(normalise(query), -1), documents.get(normalise(document), -1)

    @cached_property
    def _texts(self) -> npt.NDArray[np.int64]:
        """int64 [n_documents], the first row that reads the same."""
        rows = self._rows[1]
        return np.array([rows[normalise(text)] for text in self.collection.documents])

    @cached_property
    def _relevant(self) -> dict[int, set[int]]:
        """The texts (first rows) that are relevant to each query, and those that read like it."""
        relevant: dict[int, set[int]] = {}
        for pair in _pairs(self.relevant):
            query, document = self._place(*pair)
            if query >= 0 and document >= 0:
                relevant.setdefault(query, set()).add(document)
        for query, texts in relevant.items():
            same = self._rows[1].get(normalise(self.collection.queries[query]))
            if same is not None:
                texts.add(same)
        return relevant

    def _relevant_rows(self, query: int) -> set[int]:
        """Return all rows that a query must not be given."""
        return {row for text in self._relevant[query] for row in self._alike[text]}

    @cached_property
    def _alike(self) -> dict[int, list[int]]:
        """All rows of each text, by its first row."""
        alike: dict[int, list[int]] = {}
        for row, text in enumerate(self._texts.tolist()):
            alike.setdefault(text, []).append(row)
        return alike

    def _pool(self, store: Store) -> Pool:
        run = self.first.result(store)
        queries = self._places[:, 0]
        low, high = self.spec.range
        found = run.documents[queries, low - 1 : high]
        known = [(query, text, 1) for query, texts in self._relevant.items() for text in texts]
        relevant = Judgements(*np.array(known, dtype=np.int32).reshape(-1, 3).T)
        return Pool(
            documents=found,
            scores=run.scores[queries, low - 1 : high],
            positive_scores=self._positive_scores(store),
            relevant=relevant.grades_of(self._texts[found], queries=queries) > 0,
            texts=self._texts,
        )

    def _positive_scores(self, store: Store) -> npt.NDArray[np.float32]:
        """Return float32 [n_pairs], as a run rounds scores."""
        table, columns = _by_query(self._places, n_queries=len(self.collection.queries))
        scores = self.scorer.scores(store, table)
        return scores[self._places[:, 0], columns].astype(np.float32)


@dataclass(frozen=True)
class _Judge:
    """Asks a cross-encoder: a negative's probability stays below a share of the positive's."""

    stage: MineNegatives
    scorer: CrossEncoderScorer
    context: Context

    def __call__(self, pairs: npt.NDArray[np.intp], documents: Rows) -> Any:
        """Tell which of the documents are not relevant to the queries of these pairs."""
        places, spec = self.stage._places, self.stage.spec.filter
        if spec is None:
            raise TypeError("no filter is asked for")
        queries = places[pairs, 0]
        own = self._probabilities(np.stack([queries, places[pairs, 1]], axis=1))
        other = self._probabilities(np.stack([queries, documents], axis=1))
        return other <= spec.ceiling * own

    def _probabilities(self, pairs: Rows) -> npt.NDArray[np.float64]:
        """Return the scores as probabilities: shares of raw scores, which may be below 0, mean
        nothing.
        """
        self.scorer.score_missing(self.context, pairs, label=f"judge negatives, {self.stage.name}")
        scores = self.scorer.known_scores(self.context.store, pairs)
        return 1 / (1 + np.exp(-scores.astype(np.float64)))


def searched(pairs: TrainingData, corpora: Sequence[Collection]) -> Collection:
    """Return the collection in which negatives of pairs are mined.

    Of one collection's judgements it is that split itself. Pairs from elsewhere are searched in
    the documents of all collections that they come from, and their own; without any collection,
    the distinct documents of the pairs are all there is.

    Args:
        pairs: columns anchor and positive.
        corpora: the collections that pairs come from.
    """
    queries, documents = pairs.columns["anchor"], pairs.columns["positive"]
    known = [text for corpus in corpora for text in corpus.documents]
    more = _unknown(documents, known)
    if len(corpora) == 1 and not more and not _unknown(queries, corpora[0].queries):
        return corpora[0]
    asked, found = _unknown(queries, ()), (*known, *more)
    nothing = np.empty(0, dtype=np.int32)
    return Collection(
        name=where(pairs),
        split="train",
        # Of one length, so that ids ascend with the rows, as everywhere.
        document_ids=tuple(f"d{row:09}" for row in range(len(found))),
        documents=found,
        query_ids=tuple(f"q{row:09}" for row in range(len(asked))),
        queries=tuple(asked),
        judgements=Judgements(nothing, nothing, nothing),
    )


def where(pairs: TrainingData) -> str:
    """Return where pairs come from, for people."""
    return " and ".join(dict.fromkeys(origin.name for origin in pairs.origins))


def _pairs(data: TrainingData) -> Iterator[tuple[str, str]]:
    return zip(data.columns["anchor"], data.columns["positive"], strict=True)


def _unknown(texts: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the texts that read like none of the known, each once."""
    seen = {normalise(text) for text in known}
    fresh: dict[str, str] = {}
    for text in texts:
        form = normalise(text)
        if form not in seen:
            fresh.setdefault(form, text)
    return list(fresh.values())


def _first_rows(texts: Sequence[str]) -> dict[str, int]:
    rows: dict[str, int] = {}
    for row, text in enumerate(texts):
        rows.setdefault(normalise(text), row)
    return rows


def _by_query(pairs: Rows, *, n_queries: int) -> tuple[Rows, npt.NDArray[np.intp]]:
    """Return the documents of pairs as one list for each query, and each pair's place in its list.

    Returns:
        int32 [n_queries, m], lists end in -1; and [n_pairs].
    """
    queries = pairs[:, 0]
    order = np.argsort(queries, kind="stable")
    columns = np.empty(len(pairs), dtype=np.intp)
    columns[order] = np.arange(len(pairs)) - np.searchsorted(queries[order], queries[order])
    table = np.full((n_queries, columns.max(initial=-1) + 1), -1, dtype=np.int32)
    table[queries, columns] = pairs[:, 1]
    return table, columns
