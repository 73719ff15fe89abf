"""The command line: every verb calls one function, prints what it returns, exits with a code."""

from __future__ import annotations

import json
import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, NoReturn, cast

import typer

from harness.cli.baselines import baselines
from harness.cli.new import new
from harness.cli.options import (
    BaselineFile,
    CandidateName,
    Device,
    GpusPerWorker,
    Json,
    Limit,
    Offline,
    On,
    Quiet,
    ResultsFolder,
    StoreFolder,
    SuiteFile,
    SuiteOrResults,
    Verbose,
    Verbs,
    Workers,
    open_suite,
    show,
)
from harness.cli.stores import stores
from harness.cli.streams import guard
from harness.environment import __version__
from harness.errors import ExitCode, HarnessError, inert, is_panic

# typer carries a click of its own in some versions and uses the installed one in others.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__bases__[0])

_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # that ask a process to end
_SIGNALLED = 128  # and the number of the signal: the exit code, as shells tell it


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Keep, switch, fine-tune, rerank or truncate? Evidence about an embedding model on your "
    "own data.",
)

app.command()(new)
app.add_typer(baselines, name="baseline")
app.add_typer(stores, name="store")


def main() -> NoReturn:
    """Run the command line; an expected error prints no traceback, a crash never exits 1.

    Ctrl-C and SIGTERM raise the one exception that all libraries know for that, and where a command
    fails after it, the exit code is that of the signal, whatever they raise instead.
    """
    guard()
    ends: list[int] = []

    def end(number: int, _: object) -> NoReturn:
        ends.append(number)
        raise KeyboardInterrupt

    _on_signals(end)
    try:
        _refuse_undecodable(sys.argv[1:])
        code = int(app(standalone_mode=False) or ExitCode.OK)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - `_exit_code` raises what it does not know
        code = _SIGNALLED if ends else _exit_code(error)
    finally:
        _on_signals(signal.SIG_DFL)  # the next one ends the process at once
    if code and ends:
        code = _SIGNALLED + ends[0]
    if code in {_SIGNALLED + each for each in _SIGNALS}:
        typer.echo("Stopped. Finished stages are stored; rerun the command to resume.", err=True)
    sys.exit(code)


def _on_signals(handler: Any) -> None:
    """Set what happens where the process is asked to end."""
    for each in _SIGNALS:
        signal.signal(each, handler)


def _exit_code(error: BaseException) -> int:
    """Return the exit code of what a verb raises, after it was told."""
    match error:
        case _UsageError():
            error.show()
            return int(ExitCode.USAGE)
        case HarnessError():
            for each in (*error.tracebacks, *error.problems):
                typer.echo(each, err=True)
            return int(error.exit_code)
        case KeyboardInterrupt() | typer.Abort():
            return _SIGNALLED + signal.SIGINT
    if not isinstance(error, Exception) and not is_panic(error):
        raise error
    typer.echo(inert("".join(traceback.format_exception(error))), err=True)
    return int(ExitCode.STAGE)


def _refuse_undecodable(arguments: list[str]) -> None:
    """Raise if an argument has bytes that no file of results could hold as text."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise HarnessError(
                f"argument {argument!r}: has bytes that are not UTF-8. Rename the file or folder.",
                exit_code=ExitCode.USAGE,
            ) from None


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Hold the options that belong to no verb."""


@app.command()
def plan(  # noqa: PLR0913, PLR0917 - the options of the verb
    suite: SuiteFile,
    store: StoreFolder = None,
    device: Device = "auto",
    limit: Limit = None,
    on: On = None,
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = None,
    usd_per_hour: Annotated[
        float | None,
        typer.Option(
            "--usd-per-hour", metavar="USD", min=0, help="With --on. Price of a worker for an hour."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Dry run: show candidates, stages, and what is cached or still to do.

    Example: harness plan suites/quickstart.toml
    """
    from harness.api.gates import margin_warnings
    from harness.api.steps import wanted_of, warn
    from reports import plan_view

    wanted = wanted_of(on, workers, gpus_per_worker)
    opened = open_suite(suite, store=store, device=device, limit=limit)
    made = opened.plan().made
    found = None
    if wanted is not None:
        from harness.cluster.forecast import forecast

        found = forecast(made, wanted, usd_per_hour=usd_per_hour)
    if as_json:
        typer.echo(json.dumps(plan_view.as_json(made, found), indent=1))
        return
    opened.console.print(plan_view.render(made))
    if found is not None:
        opened.console.print(plan_view.on_cluster(found))
    warn(opened, margin_warnings(made))


@app.command()
def audit(
    suite: SuiteFile, store: StoreFolder = None, limit: Limit = None, as_json: Json = False
) -> None:
    """Check a suite's collections: ids, texts, judgements, overlap, truncation.

    Exits with 3 if an error in a collection would make scores wrong.

    Example: harness audit suites/quickstart.toml
    """
    from reports import audit_view

    opened = open_suite(suite, store=store, limit=limit)
    found = opened.audit()
    if as_json:
        typer.echo(json.dumps(audit_view.as_json(found), indent=1))
    else:
        opened.console.print(audit_view.render(found))
    if found.has_errors:
        raise typer.Exit(int(ExitCode.DATA))


@app.command()
def run(  # noqa: PLR0913, PLR0917 - the options of the verb
    suite: SuiteFile,
    store: StoreFolder = None,
    results: ResultsFolder = None,
    device: Device = "auto",
    offline: Offline = False,
    limit: Limit = None,
    time_again: Annotated[
        bool,
        typer.Option("--time-again", help="Measure latency again, even if stored."),
    ] = False,
    on: On = None,
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Run a suite: encode, search, rerank, score, compare, and write the report.

    Can be interrupted; rerun to resume. If a candidate fails on a collection,
    the results of the others are written, and the exit code is 4.

    Example: harness run suites/quickstart.toml
    """
    from harness.api.steps import say
    from reports import terminal

    opened = open_suite(
        suite,
        store=store,
        results=results,
        device=device,
        offline=offline,
        as_json=as_json,
        limit=limit,
        quiet=quiet,
        verbose=verbose,
    )
    found = opened.run(
        time_again=time_again, on=on, workers=workers, gpus_per_worker=gpus_per_worker
    )
    if as_json:
        typer.echo(found.values.model_dump_json(indent=1))
    else:
        show(terminal.summary(found.values, found.stored.costs), highlight=True)
        say(opened, f"\nReport: {found.report}")
        say(opened, f"In the browser: harness app {found.folder}")
    opened.console.print(found.took, highlight=False)
    _raise_failed(found.failed)


def _raise_failed(failed: list[str]) -> None:
    """Raise if stages failed, after the remaining results are shown.

    Raises:
        HarnessError: exit code 4.
    """
    if failed:
        raise HarnessError(failed, exit_code=ExitCode.STAGE)


@app.command()
def train(
    suite: SuiteFile,
    candidate: CandidateName,
    store: StoreFolder = None,
    device: Device = "auto",
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train one candidate and its dependencies.

    Can be interrupted; rerun to resume from the last checkpoint.

    Example: harness train suites/quickstart.toml tuned
    """
    open_suite(
        suite, store=store, device=device, offline=offline, quiet=quiet, verbose=verbose
    ).train(candidate)


@app.command()
def export(
    place: SuiteOrResults,
    out: Annotated[
        str,
        typer.Argument(metavar="OUT", help="Output folder or file; for MLflow, a tracking URI."),
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="model, atlas, markdown, latex, mteb, trec or mlflow.",
            show_default=False,
        ),
    ],
    candidate: Annotated[
        str | None,
        typer.Option(
            "--candidate", metavar="NAME", help="Candidate whose model or atlas to export."
        ),
    ] = None,
    store: StoreFolder = None,
    results: ResultsFolder = None,
) -> None:
    """Export a trained model, tables, runs, scores or vectors for other tools.

    For one candidate of a suite: model, a sentence-transformers folder with a
    model card; atlas, a Parquet file of texts, vectors and coordinates for
    embedding-atlas. For results: markdown and latex, tables of the candidates;
    mteb, scores for mteb's ResultCache; trec, runs and judgements; mlflow, one
    run per candidate.

    Example: harness export suites/quickstart.toml models/tuned --to model --candidate tuned
    """
    from harness.api import open_results
    from harness.api.exports import OF_CANDIDATE, OF_RESULTS, check_form

    check_form(to, {**OF_CANDIDATE, **OF_RESULTS})
    if to in OF_CANDIDATE:
        if candidate is None:
            raise HarnessError(
                f"--to {to}: exports one candidate. Name it with --candidate.",
                exit_code=ExitCode.USAGE,
            )
        open_suite(place, store=store, offline=True).export(candidate, out, to=to)
    else:
        open_results(_results_of(place, results)).export(out, to=to)
    typer.echo(out)


@app.command()
def decide(  # noqa: PLR0913, PLR0917 - the options of the verb
    suite: SuiteFile,
    store: StoreFolder = None,
    results: ResultsFolder = None,
    device: Device = "auto",
    offline: Offline = False,
    limit: Limit = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Apply the decision rules and print the verdict with its evidence.

    Runs the rest of the suite first. Writes decision.json, decision.md and, if
    documents must be judged first, a CSV of them. Failed stages are left out
    with a warning, and the exit code is 4.

    Example: harness decide suites/quickstart.toml
    """
    from reports import decision_view

    opened = open_suite(
        suite,
        store=store,
        results=results,
        device=device,
        offline=offline,
        as_json=as_json,
        limit=limit,
        quiet=quiet,
        verbose=verbose,
    )
    found = opened.decide()
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        show(decision_view.render(found))
    _raise_failed(found.failed)


@app.command()
def judge(  # noqa: PLR0913, PLR0917 - the options of the verb
    suite: SuiteFile,
    batch: Annotated[
        int,
        typer.Option(
            "--batch", "-n", metavar="N", min=1, help="Pairs to ask for of each collection."
        ),
    ] = 60,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Ask nobody and write nothing: print how many requests the suite's model would "
            "get, with price and time.",
        ),
    ] = False,
    store: StoreFolder = None,
    results: ResultsFolder = None,
    device: Device = "auto",
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Choose which documents to grade next, and say what the grades so far settle.

    Runs what is left of the suite first. Writes the next pairs of query and document as a CSV
    beside the results folder, to be graded from the top, and reads back what is graded in it.
    The model in [judging] grades first, within its budget, once its price and time are printed.

    Example: harness judge suites/quickstart.toml
    """
    opened = open_suite(
        suite,
        store=store,
        results=results,
        device=device,
        offline=offline,
        as_json=as_json,
        quiet=quiet,
        verbose=verbose,
    )
    found = opened.judge(batch=batch, dry_run=dry_run)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        typer.echo("\n".join(found.sentences))


@app.command()
def diagnose(  # noqa: PLR0913, PLR0917 - the options of the verb
    suite: SuiteFile,
    store: StoreFolder = None,
    results: ResultsFolder = None,
    device: Device = "auto",
    offline: Offline = False,
    limit: Limit = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Explain where and why candidates fail, what would help, and data-quality issues.

    Runs the rest of the suite first. Writes diagnosis.json, diagnosis.parquet,
    query ids to use as slices, and a CSV of documents to judge; the report
    includes it. Failed stages are left out, and the exit code is 4.

    Example: harness diagnose suites/quickstart.toml
    """
    from harness.api.steps import say
    from reports import diagnosis_view
    from reports.stored import read_results

    opened = open_suite(
        suite,
        store=store,
        results=results,
        device=device,
        offline=offline,
        as_json=as_json,
        limit=limit,
        quiet=quiet,
        verbose=verbose,
    )
    found = opened.diagnose()
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        show(diagnosis_view.render(found, found.texts, found.results))
        if missing := read_results(opened.folder).undiagnosed:
            say(opened, f"\n{missing}")
        say(opened, f"\nReport: {opened.folder / 'report.html'}")
    _raise_failed(found.failed)


@app.command()
def gate(  # noqa: PLR0913, PLR0917 - the options of the verb
    suite: SuiteFile,
    baseline: BaselineFile = None,
    replay: Annotated[
        bool,
        typer.Option(
            "--replay",
            help="Skip gating; estimate each gate's false-alarm rate and power.",
        ),
    ] = False,
    junit_xml: Annotated[
        Path | None,
        typer.Option("--junit-xml", metavar="FILE", help="Also write the JUnit XML here."),
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", help="Also write the Markdown here."),
    ] = None,
    openmetrics: Annotated[
        Path | None,
        typer.Option(
            "--openmetrics", metavar="FILE", help="Also write OpenMetrics text here, for GitLab."
        ),
    ] = None,
    store: StoreFolder = None,
    results: ResultsFolder = None,
    device: Device = "auto",
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Evaluate the suite's gates against the stored baseline: pass, fail or inconclusive.

    Runs the rest of the suite first, and writes gate.json, junit.xml and
    gate.md. Exit codes: 0 nothing blocks, 1 a gate failed, 2 usage error, 3 the
    baseline belongs to different data, 4 a stage failed, 5 inconclusive where the
    suite forbids it. An unchanged pipeline passes with any number of queries.

    Example: harness gate suites/quickstart.toml
    """
    from reports import gate_view

    opened = open_suite(
        suite,
        store=store,
        results=results,
        device=device,
        offline=offline,
        as_json=as_json,
        quiet=quiet,
        verbose=verbose,
    )
    if replay:
        rows = opened.replay()
        if as_json:
            typer.echo(json.dumps([row.model_dump() for row in rows], indent=1))
        else:
            show(gate_view.replayed(rows))
        return
    report = opened.gate(baseline, junit_xml=junit_xml, markdown=markdown, openmetrics=openmetrics)
    show(gate_view.render(report), stderr=as_json)
    if as_json:
        typer.echo(report.model_dump_json(indent=1))
    raise typer.Exit(report.exit_code)


@app.command(name="audit-score")
def audit_score(
    value: Annotated[float, typer.Option("--value", metavar="MEAN", help="The mean, from 0 to 1.")],
    n: Annotated[int, typer.Option("--n", metavar="N", help="Number of queries behind the mean.")],
    target: Annotated[
        float | None,
        typer.Option("--target", metavar="MEAN", help="The true mean must exceed this."),
    ] = None,
    reference_value: Annotated[
        float | None,
        typer.Option(
            "--reference-value",
            metavar="MEAN",
            help="Instead of a target: another system's mean on the same queries.",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            metavar="METRIC",
            help="For example ndcg@10: assumes its largest measured sd.",
        ),
    ] = None,
    sd: Annotated[
        float | None,
        typer.Option(
            "--sd",
            metavar="SD",
            help="Standard deviation of per-query values, or of differences from a reference.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Test whether a published mean over n queries meets a target.

    Needs no suite. Prints 95% intervals of the true mean, says which one decides,
    and how many queries are needed. Exit codes: 0 above the target, 1 below, 5 not
    resolvable.

    Example: harness audit-score --value 0.71 --n 80 --target 0.70
    """
    from harness.gates import score
    from harness.progress import make_console
    from reports import score_view

    found = score.audit_score(
        value, n, target=target, reference_value=reference_value, metric=metric, sd=sd
    )
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        make_console().print(score_view.render(found), highlight=False)
    raise typer.Exit(found.exit_code)


@app.command()
def report(
    place: SuiteOrResults,
    results: ResultsFolder = None,
    *,
    interactive: Annotated[
        bool,
        typer.Option("--interactive", help="Figures to hover over and zoom; 4.8 MB more."),
    ] = False,
) -> None:
    """Render stored results again: one self-contained HTML page, and Markdown.

    Reads only the results folder. The page includes everything that run, decide,
    diagnose and gate have written there.

    Example: harness report suites/quickstart.toml
    """
    from reports.written import write_reports

    written = write_reports(_results_of(place, results), interactive=interactive)
    for problem in written.unreadable:
        typer.echo(f"Warning: {problem}", err=True)
    typer.echo(f"{written.html}\n{written.markdown}")


def _results_of(place: Path, given: Path | None) -> Path:
    """Return the results folder of a suite file, the usual or a given one; a folder is one itself.

    Raises:
        HarnessError: exit code 2, there is no such suite, or results of another one lie there.
    """
    from harness.output.folder import refuse_results_of_another
    from harness.suite.load import load_suite

    if not place.exists() and place.suffix != ".toml":
        raise HarnessError(
            f"{place}: neither a results folder nor a suite file. Name one of them.",
            exit_code=ExitCode.USAGE,
        )
    if place.is_dir():
        return given or place
    suite = load_suite(place)
    folder = given or Path("results") / suite.name
    refuse_results_of_another(folder, suite)
    return folder


@app.command()
def schema() -> None:
    """Print the JSON Schema of suite files, for completion and checks in an editor.

    Example: harness schema > suite.schema.json
    """
    from harness.suite.schema import suite_schema

    typer.echo(json.dumps(suite_schema(), indent=1))


@app.command(name="app")
def serve_app(
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="A results folder, or a parent of several.")
    ] = Path("results"),
    address: Annotated[
        str,
        typer.Option(
            "--address",
            metavar="ADDRESS",
            help="Bind address; 0.0.0.0 exposes the app to your network.",
        ),
    ] = "localhost",
    port: Annotated[
        int, typer.Option("--port", metavar="PORT", help="Port to listen on.", min=1, max=65535)
    ] = 8501,
    opens_browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
) -> None:
    """Open stored results in the browser: decide, compare, inspect failures and queries.

    Computes nothing and never changes the results; judgements and slices go into
    files beside them. Listens on localhost by default.

    Example: harness app results/quickstart
    """
    from reports.app.serve import require_free, serve, url
    from reports.stored import find_judged, find_results

    if results.is_file():
        raise HarnessError(
            f"{results}: a results folder is needed, got a file. Name the folder, such as "
            "results/quickstart.",
            exit_code=ExitCode.USAGE,
        )
    if not results.is_dir():
        raise HarnessError(
            f"{results}: no such results folder. Name one, or create it: harness run SUITE",
            exit_code=ExitCode.USAGE,
        )
    require_free(address, port)
    waits = not find_results(results) and not find_judged(results)
    shows = f"waits for results in {results} (harness run SUITE)" if waits else f"shows {results}"
    typer.echo(f"{url(address, port)} {shows}; press Ctrl+C to stop.")
    raise typer.Exit(serve(results, address=address, port=port, opens_browser=opens_browser))


if __name__ == "__main__":
    main()
