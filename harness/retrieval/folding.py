"""Folding: a run over passages as one over the documents that they are of.

The best passage of a document stands for it, with its score (MaxP, Dai and Callan 2019), so that
passages of any length are compared on judgements of documents.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from harness.arrays import Rows
from harness.retrieval.run_stage import RunStage
from harness.runs.run import Run, rank
from harness.stage import Context
from harness.store import Store


def fold(run: Run, documents: Rows, *, depth: int, forbidden: Rows | None = None) -> Run:
    """Return the documents of a run's passages, each where its best passage stands.

    >>> run = Run(np.array([[4, 3, 0]], np.int32), np.array([[9, 8, 7]], np.float32))
    >>> fold(run, np.array([0, 0, 0, 1, 1], np.int32), depth=2).documents
    array([[1, 0]], dtype=int32)

    Args:
        run: rows of passages.
        documents: int32 [n_passages], the document of each.
        depth: ranks to keep.
        forbidden: int32 [n_queries], documents that queries must not be given, or None.
    """
    found = np.where(run.documents >= 0, documents[run.documents], np.int32(-1))
    order = np.argsort(found, axis=1, kind="stable")  # of one document the best passage first
    ascending = np.take_along_axis(found, order, axis=1)
    is_best = np.ones(found.shape, dtype=bool)
    is_best[:, 1:] = ascending[:, 1:] != ascending[:, :-1]
    if forbidden is not None:
        is_best &= ascending != forbidden[:, None]
    scores = np.take_along_axis(run.scores, order, axis=1)
    there_are = int(documents.max(initial=-1)) + 1
    return rank(np.where(is_best, ascending, -1), scores, depth=min(depth, there_are))


@dataclass(frozen=True, eq=False)
class FoldPassages(RunStage):
    """Stage: the run over documents.

    Attributes:
        searched: the run over passages.
        documents: int32 [n_passages], the document of each.
        depth: ranks.
        forbidden: int32 [n_queries], documents that queries must not be given, or None.
    """

    searched: RunStage
    documents: Rows = field(repr=False)
    depth: int
    forbidden: Rows | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """What is done."""
        return f"best passages of {self.name}"

    @property
    def leaves(self) -> tuple[RunStage, ...]:
        """The stages that retrieve passages."""
        return self.searched.leaves

    def produce(self, context: Context) -> Run:
        """Fold the stored run."""
        run = self.searched.result(context.store)
        return fold(run, self.documents, depth=self.depth, forbidden=self.forbidden)

    def passages(self, store: Store) -> Rows:
        """Return the best passage of each result, int32 [n_queries, k]; -1 in an empty place."""
        run, found = self.searched.result(store), self.result(store).documents
        passages = np.full(found.shape, -1, dtype=np.int32)
        owners = np.where(run.documents >= 0, self.documents[run.documents], np.int32(-1))
        for row in range(len(found)):
            # Written from the last to the first, so that the best of a document stays.
            best = dict(
                zip(owners[row, ::-1].tolist(), run.documents[row, ::-1].tolist(), strict=True)
            )
            passages[row] = [best[each] if each >= 0 else -1 for each in found[row].tolist()]
        return passages
