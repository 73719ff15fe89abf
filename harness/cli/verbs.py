"""The command line: every verb calls one function, prints what it returns, exits with a code."""

from __future__ import annotations

import json
import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, NoReturn, cast

import typer
import typer.core

from harness.cli.baselines import baselines
from harness.cli.new import new
from harness.cli.options import (
    BaselineFile,
    CandidateName,
    Device,
    Json,
    Limit,
    Offline,
    Quiet,
    ResultsFolder,
    StoreFolder,
    SuiteFile,
    SuiteOrResults,
    Verbose,
    open_suite,
    show,
)
from harness.cli.stores import stores
from harness.cli.streams import guard
from harness.environment import __version__
from harness.errors import ExitCode, HarnessError, inert, is_panic

# typer carries a click of its own in some versions and uses the installed one in others.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__bases__[0])

_TERMINATED = 143  # 128 and the number of SIGTERM, as shells tell it
_INTERRUPTED = 130  # typer returns it for Ctrl-C, and may raise instead in other versions


class _Verbs(typer.core.TyperGroup):
    """The verbs; typer takes the EOFError of a library for Ctrl-D, which nothing here asks for."""

    def invoke(self, ctx: Any) -> Any:
        """Run a verb."""
        try:
            return super().invoke(ctx)
        except EOFError as error:
            raise RuntimeError("a file ended too early") from error


app = typer.Typer(
    cls=_Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Keep, switch, fine-tune, rerank or truncate? Evidence about an embedding model on your "
    "own data.",
)

app.command()(new)
app.add_typer(baselines, name="baseline")
app.add_typer(stores, name="store")


def main() -> NoReturn:
    """Run the command line; an expected mistake is told without a traceback, a crash is never 1."""
    guard()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        _refuse_undecodable(sys.argv[1:])
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except _UsageError as error:
        error.show()
        sys.exit(int(ExitCode.USAGE))
    except HarnessError as error:
        for each in error.tracebacks:
            typer.echo(each, err=True)
        for problem in error.problems:
            typer.echo(problem, err=True)
        sys.exit(int(error.exit_code))
    except _TerminatedError:
        code = _TERMINATED
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        typer.echo(inert(traceback.format_exc()), err=True)
        sys.exit(int(ExitCode.STAGE))
    if code in {_INTERRUPTED, _TERMINATED}:
        typer.echo("Stopped. What is finished is stored; the same command goes on.", err=True)
    sys.exit(int(code or ExitCode.OK))


class _TerminatedError(BaseException):
    """Raised where the process is asked to end, so that every block cleans up."""


def _terminate(*_: object) -> NoReturn:
    raise _TerminatedError


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
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hold the options that belong to no verb."""


@app.command()
def plan(
    suite: SuiteFile,
    store: StoreFolder = None,
    device: Device = "auto",
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Print the candidates, the stages, what is cached and what is left; run nothing.

    Example: harness plan suites/quickstart.toml
    """
    from harness.api.gates import margin_warnings
    from harness.api.steps import warn
    from reports import plan_view

    opened = open_suite(suite, store=store, device=device, limit=limit)
    made = opened.plan().made
    if as_json:
        typer.echo(json.dumps(plan_view.as_json(made), indent=1))
        return
    opened.console.print(plan_view.render(made))
    warn(opened, margin_warnings(made))


@app.command()
def audit(
    suite: SuiteFile, store: StoreFolder = None, limit: Limit = None, as_json: Json = False
) -> None:
    """Check the collections of a suite: ids, texts, judgements, overlap, texts that are cut.

    Exits with 3 if a collection has an error that would make scores wrong.

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
        typer.Option("--time-again", help="Measure the latency again, where it is stored too."),
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Run a suite: encode, search, rerank, score, compare, and write the report.

    Can be killed at any moment; the same command resumes. Where a candidate fails on a
    collection, the results of the others are written, and it exits with 4.

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
    found = opened.run(time_again=time_again)
    if as_json:
        typer.echo(found.values.model_dump_json(indent=1))
    else:
        show(terminal.summary(found.values, found.stored.costs), highlight=True)
        say(opened, f"\nReport: {found.report}")
        say(opened, f"In the browser: harness app {found.folder}")
    opened.console.print(found.took, highlight=False)
    _raise_failed(found.failed)


def _raise_failed(failed: list[str]) -> None:
    """Raise if stages failed, after what they have left is shown.

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
    """Train one candidate of a suite, with what it is made of, and nothing else.

    Can be killed at any moment; the same command goes on from the last checkpoint.

    Example: harness train suites/quickstart.toml tuned
    """
    open_suite(
        suite, store=store, device=device, offline=offline, quiet=quiet, verbose=verbose
    ).train(candidate)


@app.command()
def export(
    place: SuiteOrResults,
    out: Annotated[
        str, typer.Argument(metavar="OUT", help="The folder or file to write; MLflow's URI.")
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to", help="model, atlas, markdown, latex, mteb, trec or mlflow.", show_default=False
        ),
    ],
    candidate: Annotated[
        str | None,
        typer.Option("--candidate", metavar="NAME", help="Whose model, or whose atlas."),
    ] = None,
    store: StoreFolder = None,
    results: ResultsFolder = None,
) -> None:
    """Write results for other tools: a trained model, tables, runs, scores, vectors.

    Of one candidate of a suite: model, a folder that sentence-transformers loads, with a card that
    the model hub reads; atlas, a Parquet file of texts, vectors and coordinates for
    embedding-atlas. Of results: markdown and latex, tables of the candidates; mteb, scores that
    mteb's ResultCache reads; trec, runs and judgements; mlflow, a run for each candidate.

    Example: harness export suites/quickstart.toml models/tuned --to model --candidate tuned
    """
    from harness.api import open_results
    from harness.api.exports import OF_CANDIDATE, OF_RESULTS, check_form

    check_form(to, {**OF_CANDIDATE, **OF_RESULTS})
    if to in OF_CANDIDATE:
        if candidate is None:
            raise HarnessError(
                f"--to {to}: of one candidate. Name it with --candidate.", exit_code=ExitCode.USAGE
            )
        open_suite(place, store=store, offline=True).export(candidate, out, to=to)
    else:
        open_results(results or _results_of(place)).export(out, to=to)
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
    """Weigh the candidates by written rules and print the verdict with its evidence.

    Runs what is left of the suite first, and writes decision.json, decision.md, and documents that
    must be judged first as CSV. What fails is left out, with a warning; it exits with 4 then.

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
        int, typer.Option("--batch", "-n", min=1, help="Pairs to ask for of each collection.")
    ] = 60,
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
    found = opened.judge(batch=batch)
    if as_json:
        typer.echo(json.dumps([each.model_dump() for each in found], indent=1))
    else:
        typer.echo("\n".join(each.sentence for each in found))


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
    """Explain where candidates fail, why, what would help, and what is doubtful about the data.

    Runs what is left of the suite first. Writes diagnosis.json, diagnosis.parquet, lists of query
    ids to use as slices, and documents to judge as CSV; the report shows it too. What fails is left
    out, and it exits with 4 then.

    Example: harness diagnose suites/quickstart.toml
    """
    from harness.api.steps import say
    from reports import diagnosis_view

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
        show(diagnosis_view.render(found, found.texts))
        say(opened, f"\nReport: {opened.folder / 'report.html'}")
    _raise_failed(found.failed)


@app.command()
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
    openmetrics: Annotated[
        Path | None,
        typer.Option("--openmetrics", help="Write an OpenMetrics text file here, for GitLab."),
    ] = None,
    store: StoreFolder = None,
    results: ResultsFolder = None,
    device: Device = "auto",
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
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
    value: Annotated[float, typer.Option("--value", help="The mean, from 0 to 1.")],
    n: Annotated[int, typer.Option("--n", help="Queries that it is the mean of.")],
    target: Annotated[
        float | None, typer.Option("--target", help="What the true mean must be above.")
    ] = None,
    reference_value: Annotated[
        float | None,
        typer.Option(
            "--reference-value",
            help="Instead of a target: the mean of another system on the same queries.",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", help="Such as ndcg@10: assumes the largest sd measured for it."),
    ] = None,
    sd: Annotated[
        float | None,
        typer.Option(
            "--sd",
            help="Standard deviation of per-query values; of differences with a reference.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell whether a published or claimed mean of n queries shows that a target is met.

    Needs no suite: prints the 95 % intervals of the true mean, what decides, and how many queries
    would be needed. Exits with 0 resolvable and above, 1 resolvable and below, 5 not resolvable.

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
        bool, typer.Option("--interactive", help="Figures to hover over and zoom; 4.8 MB more.")
    ] = False,
) -> None:
    """Render stored results again: one HTML page that needs no server, and Markdown.

    Reads the results folder alone: no store, no model, no collection. The page shows what any verb
    has written there: run, decide, diagnose, gate.

    Example: harness report suites/quickstart.toml
    """
    from reports.written import write_reports

    written = write_reports(results or _results_of(place), interactive=interactive)
    for path in written:
        typer.echo(str(path))


def _results_of(place: Path) -> Path:
    """Return the results folder of a suite file; a folder is one itself."""
    from harness.suite.load import load_suite

    if not place.exists() and place.suffix != ".toml":
        raise HarnessError(
            f"{place}: no such results folder, and no suite file. Name one of them.",
            exit_code=ExitCode.USAGE,
        )
    return place if place.is_dir() else Path("results") / load_suite(place).name


@app.command()
def schema() -> None:
    """Print the JSON Schema of a suite file, for completion and checks in an editor.

    Example: harness schema > suite.schema.json
    """
    from harness.suite.schema import suite_schema

    typer.echo(json.dumps(suite_schema(), indent=1))


@app.command(name="app")
def serve_app(
    results: Annotated[
        Path, typer.Argument(metavar="[RESULTS]", help="A results folder, or a folder of several.")
    ] = Path("results"),
    address: Annotated[
        str, typer.Option("--address", help="To listen on; 0.0.0.0 is everybody's network.")
    ] = "localhost",
    port: Annotated[int, typer.Option("--port", help="Of the address.", min=1, max=65535)] = 8501,
    opens_browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
) -> None:
    """Open stored results in the browser: decide, compare, look at failures and single queries.

    Computes nothing and writes nothing into the results; judgements and slices go into files
    beside them. Listens on this machine alone unless told otherwise.

    Example: harness app results/quickstart
    """
    from reports.app.serve import require_free, serve, url

    if not results.is_dir():
        raise HarnessError(
            f"{results}: no such results folder. Name one, or make it with: harness run SUITE",
            exit_code=ExitCode.USAGE,
        )
    require_free(address, port)
    typer.echo(f"{url(address, port)} shows {results}; Ctrl+C ends it.")
    raise typer.Exit(serve(results, address=address, port=port, opens_browser=opens_browser))


if __name__ == "__main__":
    main()
