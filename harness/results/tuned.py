"""Tuned: which held-out data chose checkpoints, and whether training did better on them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from harness.plan.plan import Plan
from harness.stage import Stage
from harness.store import Store
from harness.suite.spec import Suite
from harness.training.finetune import Train


def tuned_on(suite: Suite, name: str) -> list[str]:
    """Return the data that chose checkpoints of a candidate and of all that it is made of."""
    spec = suite.candidates[name]
    own = getattr(spec.recipe, "dev", None)
    before = [data for other in spec.needs for data in tuned_on(suite, other)]
    return list(dict.fromkeys([*before, *([own] if own is not None else [])]))


def warnings(plan: Plan, stages: Collection[Stage] | None = None) -> Iterator[str]:
    """Yield a sentence for each candidate that did no better on its dev data than its parent.

    Args:
        plan: of the suite.
        stages: finished ones, whose trainings are told of; None where the whole plan is finished.
    """
    for name in plan.suite.candidates:
        found = [
            stage
            for stage in map(plan.planner.training, plan.planner.replicas.names[name])
            if isinstance(stage, Train) and stage.dev is not None
            if stages is None or stage in stages
        ]
        yield from no_better(name, found, plan.store)


def no_better(name: str, trained: Sequence[Train], store: Store) -> Iterator[str]:
    """Yield a sentence if the kept checkpoint of a training did no better on dev than its parent.

    Args:
        name: of the candidate.
        trained: its trainings, one for each seed, all with dev data.
        store: where they lie.
    """
    told = [stage.stored(store).meta["dev"] for stage in trained]
    worse = [dev for dev in told if dev["best"] <= dev["before"]]
    if worse:
        found = min(worse, key=lambda dev: dev["best"] - dev["before"])
        many = f" in {len(worse)} of {len(told)} trainings" if len(told) > 1 else ""
        yield (
            f"candidate '{name}': training made it no better{many} on '{trained[0].spec.dev}', "
            f"which chose its checkpoint: {found['measure']} {found['best']:.3f} at best, "
            f"{found['before']:.3f} before (n={found['n']:,}). Lower learning_rate, or train on "
            "other data."
        )
