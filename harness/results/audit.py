"""Audit: everything about a suite's collections that makes its scores wrong or doubtful."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.collection.problem import Problem
from harness.plan.plan import make_plan
from harness.results.gathering import cuts
from harness.results.training import realism_in_words
from harness.results.values import Cut
from harness.stage import Context
from harness.store import Store
from harness.suite.inputs import errors_of, read_inputs
from harness.suite.spec import Suite


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        problems: by collection, errors first.
        sizes: documents and judged queries of each collection without an error.
        cuts: share of texts that each model reads only in part; empty if there are errors.
        warnings: about candidates, such as a BM25 that the texts do not suit; empty likewise.
    """

    problems: Mapping[str, tuple[Problem, ...]]
    sizes: Mapping[str, tuple[int, int]]
    cuts: tuple[Cut, ...]
    warnings: tuple[str, ...] = ()

    @property
    def has_errors(self) -> bool:
        """Whether a run would refuse a collection."""
        return any(errors_of(found) for found in self.problems.values())


def audit_suite(suite: Suite, store: Store) -> Audit:
    """Check all collections, and, where they hold, the lengths of their texts for each model.

    Raises:
        HarnessError: a collection or a model cannot be read.
    """
    inputs = read_inputs(suite, store)
    sizes = {
        name: (len(collection.documents), len(collection.queries))
        for name, collection in inputs.collections.items()
    }
    problems = inputs.problems
    if any(errors_of(found) for found in problems.values()):
        return Audit(problems, sizes, ())
    del inputs  # the plan reads its own
    plan = make_plan(suite, store, device="cpu", hub="later")
    for sides in plan.lengths.values():
        for side in sides:
            if side.key(store) is not None and not side.is_done(store):
                side.run(Context(store))
    warnings = (*plan.planner.warnings, *realism_in_words(plan))
    return Audit(problems, sizes, tuple(cuts(plan)), warnings)
