"""Execute: run what a plan has left, in order, in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from harness.errors import ExitCode, HarnessError
from harness.plan import Plan
from harness.rates import record
from harness.stage import Context, Progress, Stage
from harness.training.checkpoints import remove_finished


def prepared(make: Callable[[], Plan], *, progress: Progress, candidate: str | None = None) -> Plan:
    """Return a plan with all of its stages, asking language models for training data first.

    What is trained on their queries can be planned only when these are there.

    Args:
        make: makes the plan, from what the store holds by then.
        progress: where the asking is told.
        candidate: the only one that is to be trained, and nobody is asked for what others learn
            from; None for all.

    Raises:
        HarnessError: as of `Synthesize.run`, or exit code 2, no such candidate.
    """
    plan = make()
    asks = plan.waits_for(candidate)
    if not asks:
        return plan
    _run(asks, plan, progress)
    return make()


def execute(plan: Plan, *, progress: Progress, stages: Iterable[Stage] | None = None) -> None:
    """Run every stage that is not done, or every one of some.

    A stage stores its result whole or not at all, so this can be killed at any moment and called
    again.

    Raises:
        HarnessError: exit code 4, the store can not be written or a stage failed.
    """
    _run(plan.stages if stages is None else stages, plan, progress)


def _run(stages: Iterable[Stage], plan: Plan, progress: Progress) -> None:
    context = Context(store=plan.store, device=plan.device, progress=progress)
    plan.store.check_writable()
    remove_finished(plan.store)
    for stage in stages:
        if stage.is_done(plan.store):
            continue
        work, started = stage.work(plan.store), time.perf_counter()
        try:
            stage.run(context)
        except MemoryError as error:
            raise HarnessError(
                f"{stage.label}: out of memory. Free memory, or use a smaller model or max_length.",
                exit_code=ExitCode.STAGE,
            ) from error
        seconds = time.perf_counter() - started
        record(stage, work, seconds, store=plan.store, device=plan.device)
