"""What all verbs share: their options, the console, the plan of a suite and its execution."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from harness.plan.plan import Plan

_WIDTH_OF_FILES = 120  # of output that goes to no terminal, in columns

SuiteFile = Annotated[Path, typer.Argument(metavar="SUITE", help="The suite file (TOML).")]
CandidateName = Annotated[
    str, typer.Argument(metavar="CANDIDATE", help="A candidate of the suite.")
]
StoreFolder = Annotated[
    Path | None,
    typer.Option("--store", help="Folder of the store. Default: $HARNESS_STORE, else ./.harness"),
]
Device = Annotated[
    str,
    typer.Option("--device", help="cpu, cuda, cuda:1, or auto: a GPU where there is one."),
]
ResultsFolder = Annotated[
    Path | None, typer.Option("--results", help="Folder for results. Default: ./results/NAME")
]
Offline = Annotated[bool, typer.Option("--offline", help="Never ask a model hub.")]
BaselineFile = Annotated[
    Path | None,
    typer.Option("--baseline", help="The stored baseline. Default: ./baselines/NAME.parquet"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def make_console(*, stderr: bool = False) -> Console:
    """Return where a verb prints: 120 columns wide where nothing tells how wide it is.

    What a user has written is never read as markup or as the name of an emoji.
    """
    from rich.console import Console

    console = Console(stderr=stderr, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_OF_FILES
    return console


def plan_suite(
    suite: Path,
    store: Path | None,
    *,
    device: str,
    offline: bool,
    console: Console,
    candidate: str | None = None,
) -> Plan:
    """Plan a suite; a language model that writes training data is asked first."""
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    console.print(f"Reading {suite} and its collections …", highlight=False, soft_wrap=True)
    from harness.environment import resolve_device
    from harness.plan.execute import prepared
    from harness.plan.plan import make_plan
    from harness.progress import watch
    from harness.store import Store, default_store
    from harness.suite.load import load_suite

    make = partial(
        make_plan,
        load_suite(suite),
        Store(store or default_store()),
        device=resolve_device(device),
        hub="refuse" if offline else "fetch",
    )
    return prepared(make, progress=watch(console), candidate=candidate)


def run_left(made: Plan, console: Console) -> str:
    """Say what is left of a plan, do it, and return how long it was planned to take, or "".

    Raises:
        HarnessError: as of `execute`.
    """
    from harness.plan.execute import execute
    from harness.progress import watch
    from reports import plan_view

    left = made.left()
    console.print(plan_view.in_a_sentence(made, left), highlight=False)
    execute(made, progress=watch(console))
    return plan_view.duration_of(made, left) if left else ""


def finish(
    suite: Path, store: Path | None, *, device: str, offline: bool, console: Console
) -> Plan:
    """Plan a suite, say what is left, do it, and return the finished plan."""
    made = plan_suite(suite, store, device=device, offline=offline, console=console)
    run_left(made, console)
    return made


def results_folder(suite: Path, asked: Path | None, store: Path | None) -> Path:
    """Return the folder of a suite's results: the one asked for, else that of its name.

    Raises:
        HarnessError: exit code 2, results must not take the place of what it holds.
    """
    from harness.output.folder import refuse_folder
    from harness.store import default_store
    from harness.suite.load import load_suite

    read = load_suite(suite)
    folder = asked or Path("results") / read.name
    refuse_folder(folder, read, store=store or default_store())
    return folder


def render_again(folder: Path) -> None:
    """Render the reports with what a verb has just found, where a run has left results."""
    from reports.written import write_reports

    if (folder / "results.json").is_file():
        write_reports(folder)
