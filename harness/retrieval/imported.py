"""Imported runs: what any other system returned, as a candidate like any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.collection import Collection
from harness.collection.passages import SEPARATOR
from harness.collection.reading import existing
from harness.hashing import file_digest
from harness.retrieval.run_stage import RunStage
from harness.runs.formats import ScoreKind
from harness.runs.run import Run, rank
from harness.runs.trec import ImportedRun, read_run
from harness.stage import Context, keyed_by, unkeyed


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

    path: Path = field(metadata=keyed_by("_content"))
    collection: Collection = field(
        metadata=unkeyed("a search reads texts alone", "judgements", "exclude_identical_ids")
    )
    depth: int
    forbidden: npt.NDArray[np.int32] | None
    scores: ScoreKind | None = None

    @property
    def label(self) -> str:
        """What is done."""
        return f"read run {self.path}"

    @cached_property
    def imported(self) -> ImportedRun:
        """The file's run, one rank deeper where the query itself is to be removed."""
        return self._read(self.collection.document_ids)

    def _read(self, document_ids: Sequence[str]) -> ImportedRun:
        return read_run(
            self.path,
            query_ids=self.collection.query_ids,
            document_ids=document_ids,
            depth=self.depth + (self.forbidden is not None),
            scores=self.scores,
        )

    @cached_property
    def _content(self) -> str:
        return file_digest(existing(self.path))

    def produce(self, context: Context) -> Run:  # noqa: ARG002
        """Read the file."""
        run = self.imported.run
        if self.forbidden is None:
            return run
        documents = np.where(run.documents == self.forbidden[:, None], -1, run.documents)
        return rank(documents, run.scores, depth=self.depth)


class ImportPassages(ImportRun):
    """As `ImportRun`, where passages are searched: the file may name whole documents, too.

    The first passage of a document stands for one.
    """

    @cached_property
    def imported(self) -> ImportedRun:
        """The file's run over passages."""
        ids = self.collection.document_ids
        first: dict[str, int] = {}
        for row, key in enumerate(ids):
            first.setdefault(key.rpartition(SEPARATOR)[0], row)
        found = self._read((*ids, *first))
        rows = np.array([*range(len(ids)), *first.values(), -1], dtype=np.int32)  # -1 stays
        return found._replace(run=Run(rows[found.run.documents], found.run.scores))
