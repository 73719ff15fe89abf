"""Interpolate: weights between a trained model and its parent."""

from __future__ import annotations

from dataclasses import replace

from harness.plan.candidates import DenseBuilder
from harness.plan.dense import DenseModel
from harness.suite.kinds.interpolate import Interpolate
from harness.training.finetune import Interpolation


class InterpolateBuilder(DenseBuilder[Interpolate]):
    """Weights between a trained model and its parent."""

    def dense(self) -> DenseModel:
        """Return the trained model with mixed weights."""
        tuned = self.planner.dense(self.spec.parent)
        [origin] = self.planner.suite.candidates[self.spec.parent].parents
        before = self.planner.dense(origin)
        if tuned.model is None or before.model is None:
            raise TypeError(f"{self.spec.parent} has no weights")
        mixed = Interpolation(self.name, before.model, tuned.model, self.spec.interpolate)
        return replace(tuned, owner=self.name, model=mixed)
