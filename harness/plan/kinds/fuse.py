"""Fuse: one ranking out of several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from harness.collection import Collection
from harness.plan.candidates import Builder, Steps
from harness.retrieval.fusion import FuseRuns, TunedFusion, TuneWeights
from harness.retrieval.run_stage import RunStage
from harness.store import Store
from harness.suite.kinds.fuse import Fuse


class FuseBuilder(Builder[Fuse]):
    """One ranking out of several."""

    def problems(self) -> Iterator[str]:
        """Warn where the split that the weights are found on gives scored queries away."""
        yield from ()
        if self.spec.dev is not None:
            told = self.planner.guard.check(self.planner.sources.read([self.spec.dev]), "allow")
            self.planner.warnings += [f"'{self.name}': {each}" for each in told.allowed]

    def run(self, collection: Collection) -> FuseRuns:
        """Return the fusion of the members' runs."""
        label, members = self.label(collection), self._members(collection.name)
        if self.spec.dev is None:
            return FuseRuns(label, self.spec, members)
        return TunedFusion(label, self.spec, members, self._tuning(self.spec.dev))

    def steps(self, collection: Collection) -> Steps:
        """Return the members' steps, shared ones once."""
        members = (self.planner.steps(other, collection.name) for other in self.spec.fuse)
        return tuple(dict.fromkeys(step for steps in members for step in steps))

    def family(self, store: Store) -> None:
        """Return None: it is a mixture of families."""

    def _members(self, place: str) -> tuple[RunStage, ...]:
        return tuple(self.planner.run_stage(other, place) for other in self.spec.fuse)

    def _tuning(self, dev: str) -> TuneWeights:
        planner = self.planner
        metric = planner.suite.deciding_metric
        members = tuple(planner.judged_run(other, dev) for other in self.spec.fuse)
        return TuneWeights(self.name, members, replace(planner.judged(dev), name=dev), metric)
