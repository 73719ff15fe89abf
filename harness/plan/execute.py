"""Execute: run what a plan has left, in order, in this process."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterable

from harness.errors import ExitCode, HarnessError, UnwritableError, is_panic
from harness.plan.plan import Plan
from harness.plan.rates import record
from harness.stage import Context, InputMissingError, Progress, Stage
from harness.training.checkpoints import remove_finished

_log = logging.getLogger(__name__)


class StagesFailedError(HarnessError):
    """Some stages failed, with the problems of each; all that do not need them have run."""


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
    execute(plan, progress=progress, stages=asks)
    return make()


def run_here(stage: Stage, context: Context) -> None:
    """Run a stage in this process, and remember how long it took."""
    work, started = stage.work(context.store), time.perf_counter()
    stage.run(context)
    seconds = time.perf_counter() - started
    record(stage, work, seconds, store=context.store, device=context.device)


def execute(
    plan: Plan,
    *,
    progress: Progress,
    stages: Iterable[Stage] | None = None,
    run: Callable[[Stage, Context], None] = run_here,
) -> None:
    """Run every stage that is not done, or every one of some, each as `run` does.

    A stage stores its result whole or not at all, so this can be killed at any moment and called
    again. A stage that fails stops those that need its result, and no others.

    Raises:
        UnwritableError: exit code 4, at once.
        StagesFailedError: all that failed, after everything else.
    """
    store = plan.store
    store.check_writable()
    remove_finished(store)
    context = Context(store=store, device=plan.device, progress=progress)
    problems: list[str] = []
    tracebacks: list[str] = []
    codes: set[ExitCode] = set()
    for stage in plan.stages if stages is None else stages:
        try:
            if stage.is_done(store):
                _log.info("%s: stored in %s", stage.label, store.root)
            else:
                started = time.perf_counter()
                run(stage, context)
                seconds = time.perf_counter() - started
                _log.info("%s: took %.1f s, stored in %s", stage.label, seconds, store.root)
            continue
        except UnwritableError:
            raise
        except HarnessError as error:
            problems += error.problems
            _log.debug("%s: failed", stage.label, exc_info=True)
            codes.add(error.exit_code)
            tracebacks += error.tracebacks
        except MemoryError:
            fix = "Free memory, or use a smaller model or max_length."
            problems.append(f"{stage.label}: out of memory. {fix}")
            codes.add(ExitCode.STAGE)
        except BaseException as error:
            if not isinstance(error, Exception) and not is_panic(error):
                raise
            if problems and isinstance(error, InputMissingError):
                continue
            problems.append(f"{stage.label}: {_fault(error)}")
            tracebacks.append(traceback.format_exc())
            codes.add(ExitCode.STAGE)
        context = Context(store=store, device=plan.device, progress=progress)  # frees the model
    if problems:
        code = codes.pop() if len(codes) == 1 else ExitCode.STAGE
        raise StagesFailedError(dict.fromkeys(problems), exit_code=code, tracebacks=tracebacks)


def _fault(error: BaseException) -> str:
    """Return a sentence about a mistake that nobody expected."""
    if "out of memory" in str(error).lower():  # torch has an exception for each kind of device
        return "out of memory on the device. Use a smaller model or max_length, or another device."
    said = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}{f' ({said})' if said else ''}. See the traceback."
