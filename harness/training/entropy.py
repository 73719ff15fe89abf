"""Contrastive entropy: how surely a model tells a held-out pair's document from sampled others.

It falls with more training pairs by a power law, which ranking metrics do not (Fang et al., SIGIR
2024), so that learning curves are fitted on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from harness.arrays import Vectors
from harness.collection.texts import normalise
from harness.hashing import digest
from harness.retrieval.embeddings import Embeddings
from harness.retrieval.encoding import Texts
from harness.retrieval.search import score_pairs
from harness.retrieval.space import Space
from harness.stage import Context, StoredStage, unkeyed
from harness.store import Store

NEGATIVES = 256
SCALE = 20.0  # of cosines, as in the multiple-negatives loss
_SEED = 256


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Relevant pairs that no training sees, with documents of other pairs to tell them from.

    Attributes:
        name: where they come from, for people.
        queries, documents: parallel texts.
    """

    name: str = field(metadata=unkeyed("for people"))
    queries: tuple[str, ...] = field(repr=False)
    documents: tuple[str, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.queries)

    @cached_property
    def sides(self) -> tuple[Texts, Texts]:
        """Documents and queries, to encode."""
        return Texts(self.name, self.documents), Texts(self.name, self.queries)

    @cached_property
    def negatives(self) -> npt.NDArray[np.int32]:
        """int32 [n, m] rows of other documents for each pair, m at most 256, drawn once for all.

        None reads like a document of the same query, and none stands twice for a pair.
        """
        forms = [normalise(text) for text in self.documents]
        firsts = {form: row for row, form in reversed(list(enumerate(forms)))}
        pool = np.array(sorted(firsts.values()), dtype=np.int32)
        places = {int(row): place for place, row in enumerate(pool)}
        relevant: dict[str, set[int]] = {}
        for query, form in zip(self.queries, forms, strict=True):
            relevant.setdefault(normalise(query), set()).add(places[firsts[form]])
        most = max(map(len, relevant.values()))
        count = min(NEGATIVES, len(pool) - most)
        generator = np.random.Generator(np.random.Philox(key=_SEED))
        drawn = np.empty((len(self), max(count, 0)), dtype=np.int32)
        for row, query in enumerate(self.queries):
            order = generator.random(len(pool))
            order[list(relevant[normalise(query)])] = np.inf
            drawn[row] = pool[np.argpartition(order, count - 1)[:count]] if count > 0 else []
        return drawn

    @property
    def key(self) -> str:
        """Content key of the pairs and what is drawn for them."""
        texts = (self.sides[0].items, self.sides[1].items)
        return digest("held out", 1, *texts, self.negatives)


@dataclass(frozen=True, eq=False)
class MeasureEntropy(StoredStage):
    """Stage: the entropy of every held-out pair under one model.

    Attributes:
        name: the model, for people.
        space: the model's vectors of both sides of the held-out pairs.
        held_out: the pairs.
    """

    kind = "entropies"

    name: str = field(metadata=unkeyed("for people"))
    space: Space
    held_out: HeldOut

    @property
    def label(self) -> str:
        """What is done."""
        return f"measure the entropy of {self.name} on {self.held_out.name}"

    def also_keyed(self) -> tuple[object, ...]:
        """Return the scale of cosines."""
        return (SCALE,)

    def run(self, context: Context) -> None:
        """Measure and store."""
        documents, queries = self.space.read(context.store)
        values = contrastive_entropy(
            queries.block(0, len(queries)),
            documents,
            self.held_out.negatives,
            scale=SCALE if self.space.similarity == "cosine" else 1.0,
        )
        context.store.put(
            self.kind,
            self.ready_key(context.store),
            arrays={"entropy": values},
            meta={"label": self.label},
        )

    def result(self, store: Store) -> npt.NDArray[np.float64]:
        """Return the stored entropies, float64 [n_pairs]."""
        values: npt.NDArray[np.float64] = self.stored(store).array("entropy")
        return values


def contrastive_entropy(
    queries: Vectors, documents: Embeddings, negatives: npt.NDArray[np.int32], *, scale: float
) -> npt.NDArray[np.float64]:
    """Return -log of the share that each pair's own document has among itself and its negatives.

    Args:
        queries: float32 [n, dim].
        documents: n rows, each the document of the query in the same row.
        negatives: int32 [n, m] rows of `documents`.
        scale: what similarities are multiplied by.

    Returns:
        float64 [n]; log(m + 1) where nothing is told apart, near 0 where all is.
    """
    own = np.arange(len(queries), dtype=np.int32)[:, None]
    scores = scale * score_pairs(documents, queries, np.concatenate([own, negatives], axis=1))
    highest = scores.max(axis=1)
    total = np.exp(scores - highest[:, None]).sum(axis=1)
    entropy: npt.NDArray[np.float64] = np.log(total) + highest - scores[:, 0]
    return entropy
