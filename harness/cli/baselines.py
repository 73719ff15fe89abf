"""The verbs of the stored baseline, which gates compare with."""

from __future__ import annotations

import typer

from harness.cli.options import (
    BaselineFile,
    Device,
    Json,
    Offline,
    StoreFolder,
    SuiteFile,
    Verbs,
    open_suite,
)

baselines = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    help="Save, accept or show the stored baseline that gates compare with.",
)


@baselines.command("save")
def baseline_save(
    suite: SuiteFile,
    baseline: BaselineFile = None,
    store: StoreFolder = None,
    device: Device = "auto",
    offline: Offline = False,
) -> None:
    """Store the per-query scores of the suite's baseline candidate for gates.

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
    """Replace the stored baseline with the current pipeline, after an intended change.

    Example: harness baseline accept suites/quickstart.toml
    """
    opened = open_suite(suite, store=store, device=device, offline=offline)
    opened.save_baseline(baseline, accept=True)


@baselines.command("show")
def baseline_show(suite: SuiteFile, baseline: BaselineFile = None, as_json: Json = False) -> None:
    """Print the stored baseline: the candidate, its scores, the spread of differences.

    Example: harness baseline show suites/quickstart.toml
    """
    from harness.api.gates import refuse_other_suite
    from harness.gates import baseline_path
    from harness.gates.baseline import file_of, read_baseline
    from harness.progress import make_console
    from harness.suite.load import load_suite
    from reports import gate_view

    asked = load_suite(suite)
    path = baseline_path(asked.name, baseline)
    stored = read_baseline(path, suite_file=file_of(asked))
    refuse_other_suite(stored, path, asked)
    if as_json:
        typer.echo(stored.about.model_dump_json(indent=1))
        return
    make_console().print(gate_view.baseline(stored), highlight=False)
