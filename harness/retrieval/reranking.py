"""Reranking: the union of pairs is scored once; each candidate orders its own top by the scores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from harness.artifact import Artifact
from harness.collection import Collection
from harness.collection.packed import content_hashes
from harness.environment import device_name, operations_per_second
from harness.errors import ExitCode, HarnessError
from harness.hashing import digest
from harness.models.batches import batches
from harness.models.crossencoder import CrossEncoder
from harness.models.engines import Arithmetic
from harness.models.source import ModelSource
from harness.models.tokens import token_counts
from harness.retrieval.encoding import AHEAD, Clock
from harness.retrieval.precision import AutoDtype, agreement_of_scores, known_dtype, words_of
from harness.retrieval.run_stage import RunStage
from harness.retrieval.search import score_pairs
from harness.retrieval.space import Space
from harness.runs.run import Run
from harness.stage import Context, InputMissingError, Keyed, Work, unkeyed
from harness.store import Store

SHARD_PAIRS = 1024
_TRIED = 8  # pairs on which joining ids is tried

Pairs = npt.NDArray[np.int32]


def rerank(first: Run, scores: npt.NDArray[np.floating]) -> Run:
    """Order each query's top documents by new scores; what lies below keeps its place and order.

    Args:
        first: the first stage's run.
        scores: [n_queries, depth] new scores of the first `depth` documents.

    Returns:
        a run as deep as `first`; below the reranked, scores go on downwards, mostly in steps of 1.
    """
    depth = scores.shape[1]
    top = first.documents[:, :depth]
    fresh = np.where(top < 0, -np.inf, scores.astype(np.float32))
    order = np.lexsort((-top, -fresh), axis=1)
    documents = np.array(first.documents)
    documents[:, :depth] = np.take_along_axis(top, order, axis=1)
    result = np.zeros(documents.shape, dtype=np.float32)
    result[:, :depth] = np.take_along_axis(fresh, order, axis=1)
    # A lowest score below any that occurs, and steps that stay distinct in float32.
    lowest = np.where(top < 0, np.inf, fresh).min(axis=1, initial=np.inf)
    lowest = np.floor(np.where(np.isfinite(lowest), lowest, 0))
    steps = np.maximum(1, 2 * np.spacing(np.abs(lowest)))
    places = np.arange(1, documents.shape[1] - depth + 1)
    result[:, depth:] = lowest[:, None] - steps[:, None] * places
    return Run(documents=documents, scores=np.where(documents < 0, 0, result).astype(np.float32))


class StoredScorer(Protocol):
    """Scores given documents by what is encoded of them anyway (a cascade)."""

    def key(self, store: Store) -> str | None:
        """Return the content key of the scores; None while an input does not exist yet."""

    def scores(self, store: Store, top: npt.NDArray[np.int32]) -> npt.NDArray[np.floating]:
        """Return [n_queries, depth] scores of each query's documents; of row -1 anything."""

    def ready(
        self, store: Store, top: npt.NDArray[np.int32]
    ) -> tuple[Callable[[int], object], int]:
        """Return what scores the documents of one query's row, and the bytes of all documents."""


@dataclass(frozen=True, eq=False)
class SpaceScorer(Keyed):
    """Scorer: the similarity in a space that is encoded anyway (a cascade of bi-encoders)."""

    space: Space

    def scores(self, store: Store, top: npt.NDArray[np.int32]) -> npt.NDArray[np.floating]:
        """Return [n_queries, depth] similarities of each query's documents; of row -1 anything."""
        documents, queries = self.space.read(store)
        return score_pairs(documents, queries.block(0, len(queries)), top)

    def ready(
        self, store: Store, top: npt.NDArray[np.int32]
    ) -> tuple[Callable[[int], object], int]:
        """Return what scores the documents of one query's row, and the bytes of all documents."""
        documents, queries = self.space.read(store)
        asked = queries.block(0, len(queries))
        return (
            lambda row: score_pairs(documents, asked[row : row + 1], top[row : row + 1]),
            len(documents) * documents.width * asked.itemsize,
        )


@dataclass(frozen=True, eq=False)
class CrossEncoderScorer(Keyed):
    """Scorer: a cross-encoder's stored scores of pairs of texts.

    A pair is known by the content of its two texts, so scores are found again in any collection.

    Attributes:
        name: for people.
        model: the cross-encoder.
        dtype: of weights and arithmetic by torch, another engine, or how these are chosen.
        max_length: as it is run.
        collection: whose texts.
    """

    name: str = field(metadata=unkeyed("for people"))
    model: ModelSource
    dtype: Arithmetic | AutoDtype
    max_length: int | None
    collection: Collection = field(
        metadata=unkeyed("a model reads texts alone", "judgements", "exclude_identical_ids")
    )

    def kind(self, store: Store) -> str | None:
        """Folder of this model's scores in the store."""
        model = self.key_without(store, "collection")
        return None if model is None else f"pair-scores/{model}"

    def chances(self, scores: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Return scores as probabilities: a cross-encoder gives their logits."""
        chances: npt.NDArray[np.floating] = 1 / (1 + np.exp(-scores))
        return chances

    def work_of(self, pairs: int, store: Store) -> Work:
        """Return what it is to score so many pairs."""
        weights = self.model.weights(store)
        if weights is None or weights.encoder_parameters is None:
            return Work(pairs=pairs, seconds=None)
        limit = self.max_length or weights.max_length or 512
        documents = self.collection.documents
        length = min(limit, sum(map(len, documents)) / max(len(documents), 1) / 4 + 20)
        return Work(
            pairs=pairs,
            seconds=pairs * length * 2 * weights.encoder_parameters / operations_per_second(),
        )

    def load(self, context: Context) -> CrossEncoder:
        """Return the loaded cross-encoder."""
        return self._load(context, known_dtype(self.dtype, context.store))

    def _load(self, context: Context, dtype: Arithmetic) -> CrossEncoder:
        weights = self.model.weights(context.store)
        if weights is None:
            raise InputMissingError("the cross-encoder's weights do not exist yet")
        length, device = self.max_length, context.device

        def load() -> CrossEncoder:
            if isinstance(dtype, str):
                return CrossEncoder(weights, device=device, dtype=dtype, max_length=length)
            model = CrossEncoder(weights, device=device, max_length=length)
            model.run_by(dtype, context.store)
            return model

        return context.model(("cross-encoder", weights.key, dtype, length, device), load)

    @cached_property
    def _hashes(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        """Content hashes of queries and documents, uint64 [n, 2]."""
        sides = (self.collection.queries, self.collection.documents)
        queries, documents = (content_hashes(texts).view(np.uint64) for texts in sides)
        return queries, documents

    def pair_hashes(self, pairs: Pairs) -> npt.NDArray[np.void]:
        """Return the content hash of (query row, document row) pairs, 32-byte void [n]."""
        queries, documents = self._hashes
        joined = np.concatenate([queries[pairs[:, 0]], documents[pairs[:, 1]]], axis=1)
        return np.ascontiguousarray(joined).view("V32").reshape(-1)

    def known(self, store: Store) -> tuple[npt.NDArray[np.void], npt.NDArray[np.float32]]:
        """Return the hashes and scores of all stored pairs of this model, sorted by hash."""
        kind = self.kind(store)
        artifacts = store.list(kind) if kind else []
        if not artifacts:
            return np.empty(0, dtype="V32"), np.empty(0, dtype=np.float32)
        hashes = np.concatenate([artifact.array("pairs") for artifact in artifacts])
        scores = np.concatenate([artifact.array("scores") for artifact in artifacts])
        order = np.argsort(hashes, kind="stable")
        return hashes[order], scores[order]

    def scores(self, store: Store, top: npt.NDArray[np.int32]) -> npt.NDArray[np.floating]:
        """Return [n_queries, depth] stored scores; of row -1, 0.

        Raises:
            InputMissingError: a pair was never scored.
        """
        real = top >= 0
        pairs = np.stack([np.nonzero(real)[0], top[real]], axis=1).astype(np.int32)
        scores = np.zeros(top.shape, dtype=np.float32)
        scores[real] = self.known_scores(store, pairs)
        if np.isnan(scores).any():
            raise InputMissingError("a pair has no stored score")
        return scores

    def known_scores(self, store: Store, pairs: Pairs) -> npt.NDArray[np.float32]:
        """Return the stored scores of (query row, document row) pairs, NaN where there is none."""
        hashes, values = self.known(store)
        found: npt.NDArray[np.float32] = np.full(len(pairs), np.nan, dtype=np.float32)
        if len(hashes):
            wanted = self.pair_hashes(pairs)
            places = np.searchsorted(hashes, wanted).clip(max=len(hashes) - 1)
            known = hashes[places] == wanted
            found[known] = values[places[known]]
        return found

    def missing(self, store: Store, pairs: Pairs) -> Pairs:
        """Return those (query row, document row) pairs that have no score, equal texts once."""
        hashes = self.pair_hashes(pairs)
        _, first = np.unique(hashes, return_index=True)
        fresh = first[~np.isin(hashes[first], self.known(store)[0])]
        return pairs[np.sort(fresh)]

    def score_missing(self, context: Context, pairs: Pairs, *, label: str) -> None:
        """Score the pairs that have no score yet, shard by shard.

        Raises:
            HarnessError: the model gives NaN.
        """
        self.settle(context, pairs)
        missing = self.missing(context.store, pairs)
        if len(missing):
            self.score(context, missing, tried=self.tried(missing), label=label)

    def settle(self, context: Context, pairs: Pairs) -> None:
        """Choose the precision and engine on a sample of pairs, where that is open."""
        if isinstance(self.dtype, AutoDtype):
            some = pairs[
                np.linspace(0, len(pairs) - 1, min(self.dtype.sample, len(pairs)))
                .round()
                .astype(int)
            ]
            self.dtype.settle(context, partial(self._sample, context, some), agreement_of_scores)

    def tried(self, missing: Pairs) -> Pairs:
        """Return those pairs on which it is tried whether ids can be joined."""
        return missing[:: max(len(missing) // _TRIED, 1)]

    def score(self, context: Context, missing: Pairs, *, tried: Pairs, label: str) -> None:
        """Score pairs, shard by shard.

        Raises:
            HarnessError: the model gives NaN.
        """
        model = self.load(context)
        score = self._scoring(model, missing, tried)
        ahead = AHEAD if context.device.startswith("cuda") else 1
        with (
            context.progress.task(label, total=len(missing), unit="pairs") as advance,
            ThreadPoolExecutor(max_workers=1) as writer,
        ):
            written: deque[Future[None]] = deque()
            clock = Clock()
            for start in range(0, len(missing), SHARD_PAIRS):
                shard = missing[start : start + SHARD_PAIRS]
                found, read = score(shard)
                if len(written) == ahead:
                    written.popleft().result()
                written.append(writer.submit(self._put, context, shard, found, read, clock, label))
                advance(len(shard))
            for each in written:
                each.result()

    def shard(self, store: Store, pairs: Pairs) -> Artifact | None:
        """Return the stored scores of pairs that were scored together, or None."""
        kind = self.kind(store)
        return None if kind is None else store.get(kind, _shard_key(self.pair_hashes(pairs)))

    def _texts(self, pairs: Pairs) -> list[tuple[str, str]]:
        queries, documents = self.collection.queries, self.collection.documents
        return [(queries[query], documents[document]) for query, document in pairs.tolist()]

    def _scoring(
        self, model: CrossEncoder, pairs: Pairs, tried: Pairs
    ) -> Callable[[Pairs], tuple[Callable[[], npt.NDArray[np.float32]], int]]:
        """Return what scores some of these pairs: how to wait for them, and the tokens read.

        Each text is tokenised once where pairs can be joined as ids.
        """
        feed = model.feed(self._texts(tried))
        if feed is None:
            return partial(self._score_plainly, model)
        distinct = [np.unique(rows) for rows in pairs.T]
        sides = (self.collection.queries, self.collection.documents)
        queries, documents = (
            feed.feed.tokenise([side[row] for row in rows.tolist()])
            for side, rows in zip(sides, distinct, strict=True)
        )

        def score(some: Pairs) -> tuple[Callable[[], npt.NDArray[np.float32]], int]:
            rows = np.stack(
                [np.searchsorted(d, r) for d, r in zip(distinct, some.T, strict=True)], axis=1
            )
            tokens = feed.join(queries, documents, rows)
            return model.score_tokens(tokens, feed=feed), len(tokens.ids)

        return score

    def _score_plainly(
        self, model: CrossEncoder, pairs: Pairs
    ) -> tuple[Callable[[], npt.NDArray[np.float32]], int]:
        """Score pairs by the model's own way from texts to scores."""
        texts = self._texts(pairs)
        queries, documents = zip(*texts, strict=True)
        tokens = token_counts(model.weights, queries) + token_counts(model.weights, documents)
        limit = self.max_length or model.weights.max_length
        lengths = np.minimum(tokens, limit or tokens.max())
        scores = np.empty(len(pairs), dtype=np.float32)
        for rows in batches(lengths, tokens=model.batch_tokens):
            scores[rows] = model.score([texts[row] for row in rows])
        return lambda: scores, int(tokens.sum())

    def _sample(self, context: Context, some: Pairs, dtype: Arithmetic) -> npt.NDArray[np.float32]:
        """Return the scores of a sample of the pairs in a precision."""
        if not len(some):
            return np.empty(0, dtype=np.float32)
        return self._scoring(self._load(context, dtype), some, self.tried(some))(some)[0]()

    def _put(
        self,
        context: Context,
        shard: Pairs,
        found: Callable[[], npt.NDArray[np.float32]],
        read: int,
        clock: Clock,
        label: str,
    ) -> None:
        scores, seconds = found(), clock.lap()
        if not np.isfinite(scores).all():
            raise HarnessError(
                f"{label}: the model returns NaN or infinite scores. "
                'Check the weights, or use dtype = "float32".',
                exit_code=ExitCode.STAGE,
            )
        kind = self.kind(context.store)
        if kind is None:
            raise InputMissingError(f"{label}: the weights do not exist yet")
        hashes = self.pair_hashes(shard)
        context.store.put(
            kind,
            _shard_key(hashes),
            arrays={"pairs": hashes, "scores": scores},
            meta={
                "pairs": len(shard),
                "tokens": read,
                "seconds": seconds,
                "engine": words_of(known_dtype(self.dtype, context.store)),
                "device": device_name(context.device),
            },
        )


def _shard_key(hashes: npt.NDArray[np.void]) -> str:
    return digest("pairs", hashes.view(np.uint8))


Scorer = CrossEncoderScorer | StoredScorer


@dataclass(frozen=True, eq=False)
class Rerank(RunStage):
    """Stage: a candidate's run, reranked.

    Attributes:
        first: the first stage.
        scorer: a cross-encoder's stored scores, or another candidate's stored vectors.
        depth: documents that are scored again.
    """

    first: RunStage
    scorer: Scorer
    depth: int

    @property
    def label(self) -> str:
        """What is done."""
        return f"rerank for {self.name}"

    @property
    def leaves(self) -> tuple[RunStage, ...]:
        """The stages that retrieve what is reranked."""
        return self.first.leaves

    def produce(self, context: Context) -> Run:
        """Order the first stage's documents by the scorer."""
        first = self.first.result(context.store)
        return rerank(first, self.scorer.scores(context.store, first.documents[:, : self.depth]))


@dataclass(frozen=True, eq=False)
class ScorePairs(Keyed):
    """Stage: the scores of all pairs that any candidate of a cross-encoder asks for, each once.

    Attributes:
        scorer: the cross-encoder on a collection.
        asked: every first stage that is reranked with it, and how deep.
    """

    scorer: CrossEncoderScorer
    asked: Sequence[tuple[RunStage, int]]

    @property
    def label(self) -> str:
        """What is done."""
        return f"score pairs of {self.scorer.collection.name} with {self.scorer.name}"

    def missing(self, store: Store) -> Pairs | None:
        """Return pairs without a score, int32 [n, 2]; None while a first stage is missing."""
        if not all(stage.is_done(store) for stage, _ in self.asked):
            return None
        return self._unscored(store, self.asked)

    def _unscored(self, store: Store, asked: Sequence[tuple[RunStage, int]]) -> Pairs:
        parts = []
        for stage, depth in asked:
            top = stage.result(store).documents[:, :depth]
            queries, ranks = np.nonzero(top >= 0)
            parts.append(np.stack([queries, top[queries, ranks]], axis=1))
        union = np.unique(np.concatenate(parts), axis=0).astype(np.int32)
        return self.scorer.missing(store, union)

    def is_done(self, store: Store) -> bool:
        """Tell whether every pair has a score."""
        missing = self.missing(store)
        return missing is not None and len(missing) == 0

    def work(self, store: Store) -> Work:
        """Return the pairs to score: exactly, or at most while first stages are missing."""
        missing = self.missing(store)
        if missing is not None:
            pairs = len(missing)
        else:
            pairs = len(self.scorer.collection.queries) * sum(depth for _, depth in self.asked)
        return self.scorer.work_of(pairs, store)

    def run(self, context: Context) -> None:
        """Score the missing pairs of the first stages that are stored: others may have failed."""
        self.scorer.score_missing(context, self.pairs(context.store), label=self.label)

    def pairs(self, store: Store) -> Pairs:
        """Return the pairs without a score, int32 [n, 2], of the first stages that are stored.

        Raises:
            InputMissingError: none is.
        """
        asked = [(stage, depth) for stage, depth in self.asked if stage.is_done(store)]
        if not asked:
            raise InputMissingError(f"{self.label}: no first stage is in the store")
        return self._unscored(store, asked)
