"""Shortlists: a run of each query's own list of documents, as in reranking tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from harness.arrays import Rows
from harness.retrieval.run_stage import RunStage
from harness.runs.run import Run, rank
from harness.stage import Context
from harness.store import Store


class ListScorer(Protocol):
    """Scores given documents by what is known of them."""

    def key(self, store: Store) -> str | None:
        """Return the content key of the scores; None while an input does not exist yet."""

    def scores(self, store: Store, top: Rows) -> npt.NDArray[np.floating]:
        """Return [n_queries, m] scores of each query's documents; of row -1 anything."""


@dataclass(frozen=True, eq=False)
class RankShortlists(RunStage):
    """Stage: a run of each query's shortlist, every document of it with its exact score.

    Attributes:
        scorer: of a query's documents.
        collection_key: of the ids, whose order breaks ties.
        shortlists: int32 [n_queries, longest], ending in -1.
        depth: ranks.
    """

    scorer: ListScorer
    collection_key: str
    shortlists: Rows
    depth: int

    @property
    def label(self) -> str:
        """What is done."""
        return f"rank the shortlists with {self.name}"

    def produce(self, context: Context) -> Run:
        """Score and order the documents."""
        scores = self.scorer.scores(context.store, self.shortlists)
        real = np.where(self.shortlists < 0, 0, scores)
        return rank(self.shortlists, real, depth=self.depth)


@dataclass(frozen=True, eq=False)
class KeepShortlists(RunStage):
    """Stage: another run without what stands on no query's shortlist.

    Attributes:
        whole: the run.
        shortlists: int32 [n_queries, longest], ending in -1.
        depth: ranks.
    """

    whole: RunStage
    shortlists: Rows
    depth: int

    @property
    def label(self) -> str:
        """What is done."""
        return f"keep the shortlists of {self.name}"

    def produce(self, context: Context) -> Run:
        """Produce the other run, which no candidate has for its own, and leave documents out."""
        run = self.whole.produce(context)
        lists = zip(run.documents, self.shortlists, strict=True)
        documents = [np.where(np.isin(ranked, mine), ranked, -1) for ranked, mine in lists]
        return rank(np.array(documents, dtype=np.int32), run.scores, depth=self.depth)
