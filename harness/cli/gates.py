"""The verbs of gates: gate, and baseline save, accept and show."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import (
    BaselineFile,
    Device,
    Json,
    Offline,
    ResultsFolder,
    StoreFolder,
    SuiteFile,
    make_console,
    plan_suite,
    render_again,
    results_folder,
    run_left,
)

if TYPE_CHECKING:
    from rich.console import Console

    from harness.gates.baseline import StoredBaseline
    from harness.gates.report import GateReport
    from harness.gates.targets import Target
    from harness.plan.plan import Plan
    from harness.suite.spec import Suite

baselines = typer.Typer(
    no_args_is_help=True, help="The stored per-query scores that gates compare with."
)


def gate(  # noqa: PLR0913, PLR0917 - the options of the verb
    suite: SuiteFile,
    baseline: BaselineFile = None,
    replay: Annotated[
        bool,
        typer.Option("--replay", help="Gate nothing: measure each gate's false alarms and power."),
    ] = False,
    junit_xml: Annotated[
        Path | None, typer.Option("--junit-xml", help="Write the JUnit XML here, too.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Write the Markdown here, too.")
    ] = None,
    store: StoreFolder = None,
    results: ResultsFolder = None,
    device: Device = "auto",
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Judge the gates of a suite: pass, fail or inconclusive, against the stored baseline.

    Runs what is left of the suite first, and writes gate.json, junit.xml and gate.md before it
    exits: 0 nothing blocks, 1 a gate failed, 5 inconclusive where the gate must not be, 2 a
    mistake, 3 the baseline belongs to other data. An unchanged pipeline passes, however few the
    queries; a change that they cannot judge is inconclusive.

    Example: harness gate suites/quickstart.toml
    """
    from harness.gates.targets import find_targets

    console = make_console(stderr=as_json)
    folder = results_folder(suite, results, store)
    made = plan_suite(suite, store, device=device, offline=offline, console=console)
    targets = find_targets(made)
    if replay:
        _replay(made, targets, console, as_json=as_json)
        return
    report = _judged(
        made,
        targets,
        baseline,
        console=console,
        folder=folder,
        copies={"junit.xml": junit_xml, "gate.md": markdown},
    )
    if as_json:
        typer.echo(report.model_dump_json(indent=1))
    raise typer.Exit(report.exit_code)


def _judged(
    made: Plan,
    targets: tuple[Target, ...],
    given: Path | None,
    *,
    console: Console,
    folder: Path,
    copies: dict[str, Path | None],
) -> GateReport:
    """Judge the gates and write every file, also where judging breaks off."""
    from harness.gates.evaluate import crashed, evaluate
    from harness.results.gathering import gather_costs
    from reports import gate_view

    try:
        for warning in made.planner.warnings:
            console.print(f"Warning: {warning}", highlight=False, markup=False)
        stored = _comparable(made, targets, given, console)
        run_left(made, console)
        report = evaluate(made, targets, stored, gather_costs(made))
    except Exception as error:
        _write_gates(made, crashed(made, targets, error), folder, copies)
        raise
    _write_gates(made, report, folder, copies)
    console.print(gate_view.render(report), highlight=False)
    return report


def _comparable(
    made: Plan, targets: tuple[Target, ...], given: Path | None, console: Console
) -> StoredBaseline | None:
    """Read the stored baseline if a gate needs it, and say what so many queries can show."""
    from harness.gates.baseline import check_comparable, file_of
    from harness.gates.baseline_file import baseline_path, read_baseline
    from harness.gates.planning import plan_gates

    if not any(target.is_relative for target in targets):
        return None
    path = baseline_path(made.suite.name, given)
    stored = read_baseline(path, suite_file=file_of(made.suite))
    _refuse_other_suite(stored, path, made.suite)
    check_comparable(stored, path, made, targets)
    for each in plan_gates(made, targets, stored):
        console.print(each.sentence, highlight=False, markup=False)
    return stored


def _refuse_other_suite(stored: StoredBaseline, path: Path, suite: Suite) -> None:
    """Raise if a baseline was stored by another suite file of the same name.

    Raises:
        HarnessError: exit code 2.
    """
    from harness.errors import ExitCode, HarnessError
    from harness.output.folder import other_suite

    other = other_suite(stored.about.file, path.parent.resolve(), suite)
    if other is not None:
        raise HarnessError(
            f"{path}: the baseline of another suite file with the name '{suite.name}', {other}. "
            "Rename one of the suites (name = …), or name another file with --baseline.",
            exit_code=ExitCode.USAGE,
        )


def margin_warnings(made: Plan) -> list[str]:
    """Return what the stored baseline says of the margins of a plan, where one lies as usual."""
    from harness.errors import HarnessError
    from harness.gates.baseline import file_of
    from harness.gates.baseline_file import baseline_path, read_baseline
    from harness.gates.planning import plan_gates, warnings_of
    from harness.gates.targets import find_targets

    path = baseline_path(made.suite.name, None)
    if not made.suite.gates or not path.is_file():
        return []
    try:
        stored = read_baseline(path, suite_file=file_of(made.suite))
        return warnings_of(plan_gates(made, find_targets(made), stored))
    except HarnessError as error:
        return list(error.problems)  # a plan runs nothing, so that it refuses nothing either


def _write_gates(
    made: Plan, report: GateReport, folder: Path, copies: dict[str, Path | None]
) -> None:
    from harness.gates.github import append_summary, workflow_commands
    from harness.gates.junit import junit_xml
    from harness.output.files import add_output, add_verdict
    from reports import gate_view

    texts = {
        "gate.json": report.model_dump_json(indent=1),
        "junit.xml": junit_xml(report),
        "gate.md": gate_view.markdown(report),
    }
    add_verdict(made, folder, "gate", texts)
    for name, path in copies.items():
        if path is not None:
            add_output(path, texts[name])
    render_again(folder)
    if os.environ.get("GITHUB_STEP_SUMMARY"):
        append_summary(Path(os.environ["GITHUB_STEP_SUMMARY"]), texts["gate.md"])
    if os.environ.get("GITHUB_ACTIONS"):
        for command in workflow_commands(report):
            typer.echo(command, err=True)  # GitHub reads both streams; this one never holds JSON


def _replay(made: Plan, targets: tuple[Target, ...], console: Console, *, as_json: bool) -> None:
    from harness.gates.replay import replay
    from reports import gate_view

    run_left(made, console)
    rows = replay(made, targets)
    if as_json:
        typer.echo(json.dumps([row.model_dump() for row in rows], indent=1))
        return
    console.print(gate_view.replayed(rows), highlight=False)


@baselines.command("save")
def baseline_save(
    suite: SuiteFile,
    baseline: BaselineFile = None,
    store: StoreFolder = None,
    device: Device = "auto",
    offline: Offline = False,
) -> None:
    """Store the per-query scores of the suite's baseline candidate, to gate against.

    Runs what is left of the suite first. Never replaces what is stored.

    Example: harness baseline save suites/quickstart.toml
    """
    _store_baseline(suite, baseline, store, device=device, offline=offline, replace=False)


@baselines.command("accept")
def baseline_accept(
    suite: SuiteFile,
    baseline: BaselineFile = None,
    store: StoreFolder = None,
    device: Device = "auto",
    offline: Offline = False,
) -> None:
    """Replace the stored baseline by the pipeline as it is now, after a change that is meant.

    Example: harness baseline accept suites/quickstart.toml
    """
    _store_baseline(suite, baseline, store, device=device, offline=offline, replace=True)


@baselines.command("show")
def baseline_show(suite: SuiteFile, baseline: BaselineFile = None, as_json: Json = False) -> None:
    """Print what is stored: the candidate, its scores, the spread of differences.

    Example: harness baseline show suites/quickstart.toml
    """
    from harness.gates.baseline import file_of
    from harness.gates.baseline_file import baseline_path, read_baseline
    from harness.suite.load import load_suite
    from reports import gate_view

    asked = load_suite(suite)
    stored = read_baseline(baseline_path(asked.name, baseline), suite_file=file_of(asked))
    if as_json:
        typer.echo(stored.about.model_dump_json(indent=1))
        return
    make_console().print(gate_view.baseline(stored), highlight=False)


def _store_baseline(
    suite: Path,
    given: Path | None,
    store: Path | None,
    *,
    device: str,
    offline: bool,
    replace: bool,
) -> None:
    from harness.gates.baseline import accepted, file_of, make_baseline
    from harness.gates.baseline_file import (
        baseline_path,
        read_baseline,
        refuse_to_replace,
        write_baseline,
    )
    from harness.gates.planning import plan_gates, warnings_of
    from harness.gates.targets import find_targets
    from harness.output.folder import suite_file
    from reports import gate_view

    console = make_console()
    made = plan_suite(suite, store, device=device, offline=offline, console=console)
    targets = find_targets(made) if made.suite.gates else ()
    path = baseline_path(made.suite.name, given)
    old = read_baseline(path, suite_file=file_of(made.suite)) if replace else None
    if old is not None:
        _refuse_other_suite(old, path, made.suite)
    else:
        refuse_to_replace(path, suite_file=file_of(made.suite))
    run_left(made, console)
    new = make_baseline(made, file=suite_file(path.parent, made.suite))
    new = accepted(new, old) if old else new
    write_baseline(path, new)
    console.print(gate_view.baseline(new), highlight=False)
    for warning in (*made.planner.warnings, *warnings_of(plan_gates(made, targets, new))):
        console.print(f"Warning: {warning}", highlight=False, markup=False)
    console.print(f"\nBaseline: {path}", highlight=False, soft_wrap=True)
