"""Execute: run what a plan has left, in order, in this process."""

from __future__ import annotations

from harness.errors import ExitCode, HarnessError
from harness.plan import Plan
from harness.stage import Context, Progress


def execute(plan: Plan, *, progress: Progress) -> None:
    """Run every stage that is not done.

    A stage stores its result whole or not at all, so this can be killed at any moment and called
    again.

    Raises:
        HarnessError: exit code 4, the store can not be written or a stage failed.
    """
    context = Context(store=plan.store, device=plan.device, progress=progress)
    plan.store.check_writable()
    for stage in plan.stages:
        if stage.is_done(plan.store):
            continue
        try:
            stage.run(context)
        except MemoryError as error:
            raise HarnessError(
                f"{stage.label}: out of memory. Free memory, or use a smaller model or max_length.",
                exit_code=ExitCode.STAGE,
            ) from error
