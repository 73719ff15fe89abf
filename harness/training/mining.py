"""Mining: the stage that finds hard negatives, and the examples that a training learns from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from harness.arrays import Flags, Rows
from harness.collection import Collection, Judgements
from harness.collection.texts import normalise
from harness.errors import ExitCode, HarnessError
from harness.hashing import text_hashes
from harness.retrieval.encoding import Encode
from harness.retrieval.reranking import CrossEncoderScorer
from harness.retrieval.run_stage import RunStage
from harness.retrieval.search import VectorSearch
from harness.stage import Context, Keyed, Stage, StoredStage, Work, unkeyed
from harness.store import Store
from harness.suite.training import HardNegativesSpec
from harness.training.data import Origin, Shape, TrainingData
from harness.training.negatives import Pool, choose_negatives, fill


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
        searches = [leaf for leaf in self.first.leaves if isinstance(leaf, VectorSearch)]
        for search in searches:
            for side in (search.space.documents, search.space.queries):
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
        chosen = choose_negatives(
            self._pool(context.store),
            per_query=self.spec.per_query,
            ceiling=self.spec.ceiling,
            margin=self.spec.margin,
            judge=None if self.judge is None else partial(self._unlike, context, self.judge),
        )
        mined = (chosen.rows >= 0).sum(axis=1)
        alike: dict[int, list[int]] = {}  # all rows of each text, by its first row
        for row, text in enumerate(self._texts.tolist()):
            alike.setdefault(text, []).append(row)
        try:
            rows = fill(
                chosen.rows,
                lambda pair: {
                    row for text in self._relevant[int(places[pair, 0])] for row in alike[text]
                },
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
        queries, documents = self._places.T
        order = np.argsort(queries, kind="stable")
        columns = np.empty(len(queries), dtype=np.intp)  # each pair's place in its query's list
        columns[order] = np.arange(len(queries)) - np.searchsorted(queries[order], queries[order])
        shape = len(self.collection.queries), columns.max(initial=-1) + 1
        lists = np.full(shape, -1, dtype=np.int32)
        lists[queries, columns] = documents
        scores = self.scorer.scores(store, lists)[queries, columns]
        rounded: npt.NDArray[np.float32] = scores.astype(np.float32)
        return rounded

    def _unlike(
        self,
        context: Context,
        judge: CrossEncoderScorer,
        pairs: npt.NDArray[np.intp],
        documents: Rows,
    ) -> Flags:
        """Tell which of the documents a cross-encoder takes for irrelevant to these pairs' queries.

        Their probability stays below a share of that of the pair's own document. Shares of raw
        scores, which may be below 0, mean nothing.
        """
        if self.spec.filter is None:
            raise TypeError("no filter is asked for")
        own = self._places[pairs]
        other = np.stack([own[:, 0], documents], axis=1)
        probable = []
        for asked in (own, other):
            judge.score_missing(context, asked, label=f"judge negatives, {self.name}")
            scores = judge.known_scores(context.store, asked)
            probable.append(1 / (1 + np.exp(-scores.astype(np.float64))))
        unlike: Flags = probable[1] <= self.spec.filter.ceiling * probable[0]
        return unlike


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


@dataclass(frozen=True, eq=False)
class Examples(Keyed):
    """Rows of training data; their negatives exist once they are mined.

    Attributes:
        data: all rows that there are.
        negatives: the stage that mines them, of pairs; None takes the rows as they are.
        rows: int64 [n], those that are trained on, ascending; None takes all.
    """

    data: TrainingData
    negatives: MineNegatives | None = None
    rows: npt.NDArray[np.int64] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.data) if self.rows is None else len(self.rows)

    @property
    def shape(self) -> Shape:
        """What a row is before mining."""
        return self.data.shape

    @property
    def taught(self) -> tuple[Shape, int]:
        """What a row is once its negatives are mined, and how many of them it has."""
        if self.negatives is None:
            return self.data.shape, self.data.negatives
        return "triplets", self.negatives.spec.per_query

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Where the rows come from."""
        return self.data.origins

    @cached_property
    def known(self) -> TrainingData:
        """The rows as far as they are known before mining."""
        return self.data if self.rows is None else self.data.take(self.rows)

    def read(self, store: Store) -> TrainingData:
        """Return the rows with their negatives.

        Raises:
            InputMissingError: they are not mined yet.
        """
        if self.negatives is None:
            return self.known
        mined = self.data.with_negatives(self.negatives.texts(store))
        return mined if self.rows is None else mined.take(self.rows)

    def expected_texts(self) -> list[str]:
        """Return texts as many and as long as will be read, as far as that is known before."""
        texts = list(self.known.texts())
        if self.negatives is not None:
            texts += self.negatives.spec.per_query * list(self.known.columns["positive"])
        return texts

    def part(self, numerator: int, denominator: int) -> Examples:
        """Return a share of the rows, the same on every machine.

        A hash of the first text orders the rows, so that the rows of one query stay together and a
        smaller share lies within every larger one.
        """
        order = by_hash(next(iter(self.known.columns.values())))
        count = len(order) * numerator // denominator
        return self.only(np.sort(order[:count]))

    def only(self, rows: npt.NDArray[np.int64]) -> Examples:
        """Return some of the rows, by their numbers here."""
        return replace(self, rows=rows if self.rows is None else self.rows[rows])


def by_hash(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the numbers of texts in the order of their hashes; equal texts stand together."""
    hashes = text_hashes(normalise(text) for text in texts)
    words = np.ascontiguousarray(hashes).view(">u8")
    return np.lexsort((np.arange(len(words)), words[:, 1], words[:, 0])).astype(np.int64)
