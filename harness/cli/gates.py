"""The verbs of gates: gate, and baseline save, accept and show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import (
    BaselineFile,
    Device,
    Json,
    Offline,
    ResultsFolder,
    StoreFolder,
    SuiteFile,
    open_suite,
)

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
    from reports import gate_view

    opened = open_suite(
        suite, store=store, results=results, device=device, offline=offline, as_json=as_json
    )
    if replay:
        rows = opened.replay()
        if as_json:
            typer.echo(json.dumps([row.model_dump() for row in rows], indent=1))
        else:
            opened.console.print(gate_view.replayed(rows), highlight=False)
        return
    report = opened.gate(baseline, junit_xml=junit_xml, markdown=markdown)
    opened.console.print(gate_view.render(report), highlight=False)
    if as_json:
        typer.echo(report.model_dump_json(indent=1))
    raise typer.Exit(report.exit_code)


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
    open_suite(suite, store=store, device=device, offline=offline).save_baseline(baseline)


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
    opened = open_suite(suite, store=store, device=device, offline=offline)
    opened.save_baseline(baseline, accept=True)


@baselines.command("show")
def baseline_show(suite: SuiteFile, baseline: BaselineFile = None, as_json: Json = False) -> None:
    """Print what is stored: the candidate, its scores, the spread of differences.

    Example: harness baseline show suites/quickstart.toml
    """
    from harness.gates.baseline import baseline_path, file_of, read_baseline
    from harness.progress import make_console
    from harness.suite.load import load_suite
    from reports import gate_view

    asked = load_suite(suite)
    stored = read_baseline(baseline_path(asked.name, baseline), suite_file=file_of(asked))
    if as_json:
        typer.echo(stored.about.model_dump_json(indent=1))
        return
    make_console().print(gate_view.baseline(stored), highlight=False)
