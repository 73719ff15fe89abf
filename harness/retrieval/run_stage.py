"""RunStage: a stage whose result is a stored run."""

from __future__ import annotations

import time
from abc import abstractmethod
from dataclasses import dataclass, field

from harness.arrays import Rows
from harness.environment import device_name
from harness.runs.run import Run
from harness.stage import Context, Keyed, StoredStage, unkeyed
from harness.store import Store


@dataclass(frozen=True, eq=False)
class RunStage(StoredStage):
    """What all ways to retrieve share: the run is produced once and stored under its key.

    Attributes:
        name: the candidate, for people.
    """

    kind = "runs"

    name: str = field(metadata=unkeyed("for people"))

    @property
    def leaves(self) -> tuple[RunStage, ...]:
        """The stages that retrieve: itself, or what it reranks or fuses."""
        return (self,)

    @abstractmethod
    def produce(self, context: Context) -> Run:
        """Work the run out."""

    def run(self, context: Context) -> None:
        """Produce the run and store it."""
        self.ready_key(context.store)
        started = time.perf_counter()
        run = self.produce(context)
        self.put(context, run, time.perf_counter() - started)

    def put(self, context: Context, run: Run, seconds: float) -> None:
        """Store the run, which took so many seconds."""
        context.store.put(
            self.kind,
            self.ready_key(context.store),
            arrays={"documents": run.documents, "scores": run.scores},
            meta={
                "label": self.label,
                "seconds": seconds,
                "device": device_name(context.device),
            },
        )

    def result(self, store: Store) -> Run:
        """Return the stored run."""
        artifact = self.stored(store)
        return Run(documents=artifact.array("documents"), scores=artifact.array("scores"))


@dataclass(frozen=True, eq=False)
class SpaceSearch(RunStage):
    """Stage: a run by search in a space, exact or not.

    Attributes:
        space: both sides.
        collection_key: of the ids, whose order breaks ties.
        depth: ranks.
        forbidden: int32 [n_queries], rows that queries must not be given, or None.
    """

    space: Keyed
    collection_key: str
    depth: int
    forbidden: Rows | None

    @property
    def label(self) -> str:
        """What is done."""
        return f"search with {self.name}"
