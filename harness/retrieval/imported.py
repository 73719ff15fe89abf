"""Imported runs: what any other system returned, as a candidate like any other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from harness.collection import Collection
from harness.collection.reading import existing
from harness.hashing import digest, file_digest
from harness.retrieval.run_stage import RunStage
from harness.runs.run import Run, rank
from harness.runs.trec import ImportedRun, ScoreKind, read_run
from harness.stage import Context
from harness.store import Store


@dataclass(frozen=True, eq=False)
class ImportRun(RunStage):
    """Stage: a run file, restricted to the collection and put into the total order.

    Attributes:
        path: of the file.
        collection: whose ids it speaks of.
        depth: ranks.
        forbidden: int32 [n_queries], rows that queries must not be given, or None.
        scores: what the scores are, as `read_run` takes it.
    """

    path: Path
    collection: Collection
    depth: int
    forbidden: Any
    scores: ScoreKind | None = None

    @property
    def label(self) -> str:
        """What is done."""
        return f"read run {self.path}"

    @cached_property
    def imported(self) -> ImportedRun:
        """The file's run, one rank deeper where the query itself is to be removed."""
        return read_run(
            self.path,
            query_ids=self.collection.query_ids,
            document_ids=self.collection.document_ids,
            depth=self.depth + (self.forbidden is not None),
            scores=self.scores,
        )

    @cached_property
    def _key(self) -> str:
        sides = (self.collection.documents_key, self.collection.queries_key)
        how = (self.depth, self.forbidden, *([self.scores] if self.scores else []))
        return digest("imported", 1, file_digest(existing(self.path)), *sides, *how)

    def key(self, store: Store) -> str:  # noqa: ARG002
        """Key of the file's content and the ids."""
        return self._key

    def produce(self, context: Context) -> Run:  # noqa: ARG002
        """Read the file."""
        run = self.imported.run
        if self.forbidden is None:
            return run
        documents = np.where(run.documents == self.forbidden[:, None], -1, run.documents)
        return rank(documents, run.scores, depth=self.depth)
