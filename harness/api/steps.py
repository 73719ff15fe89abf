"""Steps: what the verbs of a suite share, and where they tell how far they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from harness.api.suite import Suite
    from harness.output.receipts import Receipt
    from harness.plan.plan import Plan
    from harness.results.values import Costs, Results
    from harness.store import Store


def receipt_of(suite: Suite) -> Receipt:
    """Return what is remembered of the suite; to be called before any of its files is read."""
    from harness.output.receipts import Receipt

    return Receipt(
        suite.spec.path,
        store=suite.store,
        results=suite.folder,
        device=suite.device,
        offline=suite.offline,
    )


def planner(suite: Suite, store: Store, *, hub: str) -> Callable[[], Plan]:
    """Return what plans all stages of a suite, from what the store holds by then."""
    from harness.environment import resolve_device
    from harness.plan.dense import Hub
    from harness.plan.plan import make_plan

    device = resolve_device(suite.device)
    return partial(make_plan, suite.spec, store, device=device, hub=cast("Hub", hub))


def prepare(suite: Suite, candidate: str | None = None) -> Plan:
    """Plan all stages; a language model that writes training data is asked first.

    Args:
        suite: with all options.
        candidate: the only one to train; None for all.
    """
    source = suite.spec.path if suite.spec.has_file else f"suite '{suite.name}'"
    say(suite, f"Reading {source} and its collections …")  # before anything that takes a second
    if suite.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    from harness.plan.execute import prepared
    from harness.progress import watch
    from harness.store import Store

    store = Store(suite.store)
    store.lease()
    make = planner(suite, store, hub="refuse" if suite.offline else "fetch")
    return prepared(make, progress=watch(suite.console), candidate=candidate)


def run_left(suite: Suite, made: Plan) -> str:
    """Say what is left of a plan, do it, and return how long it was planned to take, or "".

    Raises:
        HarnessError: as of `execute`.
    """
    from harness.plan.execute import execute
    from harness.progress import watch
    from reports import plan_view

    left = made.left()
    suite.console.print(plan_view.in_a_sentence(made, left), highlight=False)
    execute(made, progress=watch(suite.console))
    return plan_view.duration_of(made, left) if left else ""


def say(suite: Suite, line: str) -> None:
    """Print a line where the suite shows its progress, whatever its width."""
    suite.console.print(line, highlight=False, soft_wrap=True)


def warn(suite: Suite, warnings: Iterable[str]) -> None:
    """Print warnings where the suite shows its progress."""
    for warning in warnings:
        suite.console.print(f"Warning: {warning}", highlight=False, markup=False)


def refuse_folder(suite: Suite) -> None:
    """Raise if results must not take the place of what the results folder holds.

    Raises:
        HarnessError: exit code 2.
    """
    from harness.output.folder import refuse_folder as refuse

    refuse(suite.folder, suite.spec, store=suite.store)


def write_results(suite: Suite, made: Plan, found: Results, costs: Costs) -> None:
    """Write the whole folder: results, the diagnosis where one is stored, and the reports."""
    from harness.diagnosis.diagnose import find_diagnosis, read_diagnosis
    from harness.output.files import write_diagnosis, write_outputs
    from reports.written import write_reports

    def finish_folder(new: Path) -> None:
        looked = find_diagnosis(made)
        if looked is not None:
            write_diagnosis(looked, read_diagnosis(looked), new)
        write_reports(new)

    for stale in write_outputs(made, found, costs, suite.folder, finish=finish_folder):
        say(suite, stale)


def render_again(suite: Suite) -> None:
    """Render the reports with what a verb has just found, where a run has left results."""
    from reports.written import write_reports

    if (suite.folder / "results.json").is_file():
        write_reports(suite.folder)
