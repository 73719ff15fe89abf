"""Fuse: one ranking out of several."""

from __future__ import annotations

from harness.collection import Collection
from harness.plan.candidates import Builder, Steps
from harness.retrieval.fusion import FuseRuns
from harness.store import Store
from harness.suite.kinds.fuse import Fuse


class FuseBuilder(Builder[Fuse]):
    """One ranking out of several."""

    def run(self, collection: Collection) -> FuseRuns:
        """Return the fusion of the members' runs."""
        members = (self.planner.run_stage(other, collection.name) for other in self.spec.fuse)
        return FuseRuns(self.label(collection), self.spec, tuple(members))

    def steps(self, collection: Collection) -> Steps:
        """Return the members' steps, shared ones once."""
        members = (self.planner.steps(other, collection.name) for other in self.spec.fuse)
        return tuple(dict.fromkeys(step for steps in members for step in steps))

    def family(self, store: Store) -> None:
        """Return None: it is a mixture of families."""
