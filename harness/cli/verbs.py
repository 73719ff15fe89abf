"""The command line: every verb calls one function, prints what it returns, exits with a code."""

from __future__ import annotations

import json
import signal
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import typer
import typer.core

from harness import __version__
from harness.cli.gates import baselines, gate, margin_warnings
from harness.cli.options import (
    CandidateName,
    Device,
    Json,
    Offline,
    ResultsFolder,
    StoreFolder,
    SuiteFile,
    finish,
    make_console,
    plan_suite,
    render_again,
    results_folder,
    run_left,
)
from harness.errors import ExitCode, HarnessError
from harness.standard_streams import guard

if TYPE_CHECKING:
    from rich.console import Console

    from harness.plan.plan import Plan
    from harness.results.values import Costs, Results
    from reports.diagnosis_tables import Texts

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
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Keep, switch, fine-tune, rerank or truncate? Evidence about an embedding model on your "
    "own data.",
)

app.add_typer(baselines, name="baseline")


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
    except Exception:  # noqa: BLE001 - the traceback is shown; only the exit code is ours
        traceback.print_exc()
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
    suite: SuiteFile, store: StoreFolder = None, device: Device = "auto", as_json: Json = False
) -> None:
    """Print the candidates, the stages, what is cached and what is left; run nothing.

    Example: harness plan suites/quickstart.toml
    """
    from harness.environment import resolve_device
    from harness.plan.plan import make_plan
    from harness.store import Store, default_store
    from harness.suite.load import load_suite
    from reports import plan_view

    made = make_plan(
        load_suite(suite),
        Store(store or default_store()),
        device=resolve_device(device),
        hub="later",
    )
    if as_json:
        typer.echo(json.dumps(plan_view.as_json(made), indent=1))
        return
    console = make_console()
    console.print(plan_view.render(made))
    for warning in margin_warnings(made):
        console.print(f"Warning: {warning}", highlight=False, markup=False)


@app.command()
def audit(suite: SuiteFile, store: StoreFolder = None, as_json: Json = False) -> None:
    """Check the collections of a suite: ids, texts, judgements, overlap, texts that are cut.

    Exits with 3 if a collection has an error that would make scores wrong.

    Example: harness audit suites/quickstart.toml
    """
    from harness.results.audit import audit_suite
    from harness.store import Store, default_store
    from harness.suite.load import load_suite
    from reports import audit_view

    found = audit_suite(load_suite(suite), Store(store or default_store()))
    if as_json:
        typer.echo(json.dumps(audit_view.as_json(found), indent=1))
    else:
        make_console().print(audit_view.render(found))
    if found.has_errors:
        raise typer.Exit(int(ExitCode.DATA))


@app.command()
def run(
    suite: SuiteFile,
    store: StoreFolder = None,
    results: ResultsFolder = None,
    device: Device = "auto",
    offline: Offline = False,
    time_again: Annotated[
        bool,
        typer.Option("--time-again", help="Measure the latency again, where it is stored too."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a suite: encode, search, rerank, score, compare, and write the report.

    Can be killed at any moment; the same command goes on where it was. Where a candidate fails on a
    collection, the results of the others are written, and it exits with 4.

    Example: harness run suites/quickstart.toml
    """
    started = time.monotonic()
    console = make_console(stderr=as_json)
    folder = results_folder(suite, results, store)
    made = plan_suite(suite, store, device=device, offline=offline, console=console)

    from harness.plan.execute import StagesFailedError
    from harness.plan.partial import partial

    planned = ""
    failed: list[str] = []
    try:
        planned = run_left(made.with_times_again() if time_again else made, console)
    except StagesFailedError as error:
        made, failed = partial(made, error)
        for each in error.tracebacks:
            typer.echo(each, err=True)
    console.print("Comparing the candidates and writing the report …", highlight=False)

    from harness.results.gathering import gather, gather_costs
    from reports import plan_view, terminal

    found, costs = gather(made, failed=failed), gather_costs(made)
    _write_results(made, found, costs, folder, console=console)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        console.print(terminal.summary(found, costs))
        console.print(f"\nReport: {folder / 'report.html'}", highlight=False, soft_wrap=True)
        console.print(f"In the browser: harness app {folder}", highlight=False, soft_wrap=True)
    console.print(plan_view.took(planned, seconds=time.monotonic() - started), highlight=False)
    if failed:
        raise HarnessError(failed, exit_code=ExitCode.STAGE)


@app.command()
def train(
    suite: SuiteFile,
    candidate: CandidateName,
    store: StoreFolder = None,
    device: Device = "auto",
    offline: Offline = False,
) -> None:
    """Train one candidate of a suite, with what it is made of, and nothing else.

    Can be killed at any moment; the same command goes on from the last checkpoint.

    Example: harness train suites/quickstart.toml tuned
    """
    from harness.plan.execute import execute
    from harness.progress import watch
    from harness.results.tuned import warnings
    from reports import training_view

    console = make_console()
    made = plan_suite(
        suite, store, device=device, offline=offline, console=console, candidate=candidate
    )
    stages = made.makes(candidate)
    left = made.works(stage for stage in stages if not stage.is_done(made.store))
    console.print(training_view.in_a_sentence(candidate, left), highlight=False, markup=False)
    execute(made, progress=watch(console), stages=stages)
    console.print(training_view.trained(made, stages), highlight=False)
    for warning in warnings(made, stages):
        console.print(f"Warning: {warning}", highlight=False, markup=False)


@app.command()
def export(
    suite: SuiteFile,
    candidate: CandidateName,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Absent or empty.")],
    store: StoreFolder = None,
) -> None:
    """Copy a trained candidate out, as a folder that sentence-transformers loads, with a card.

    Example: harness export suites/quickstart.toml tuned models/tuned
    """
    from harness.output.export import export as export_weights

    console = make_console()
    made = plan_suite(
        suite, store, device="cpu", offline=True, console=console, candidate=candidate
    )
    console.print(f"{export_weights(made, candidate, folder)}", highlight=False, markup=False)


@app.command()
def decide(
    suite: SuiteFile,
    store: StoreFolder = None,
    results: ResultsFolder = None,
    device: Device = "auto",
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Weigh the candidates by written rules and print the verdict with its evidence.

    Runs what is left of the suite first, and writes decision.json, decision.md, and documents that
    must be judged first as CSV.

    Example: harness decide suites/quickstart.toml
    """
    from harness.decision.gather import gather_situation
    from harness.decision.holes import queue_as_csv
    from harness.decision.rules import decide as decide_suite
    from harness.decision.soundness import queue
    from harness.output.files import add_verdict, is_current, slugs
    from harness.results.gathering import gather, gather_costs
    from reports import decision_view

    console = make_console(stderr=as_json)
    folder = results_folder(suite, results, store)
    made = finish(suite, store, device=device, offline=offline, console=console)
    names = slugs(made.collections)
    queues = {name: str(folder / f"to-judge.{slug}.csv") for name, slug in names.items()}
    situation = gather_situation(made, gather_costs(made), queues=queues)
    found = decide_suite(situation, suite=made.suite.name)
    if (folder / "results.json").is_file() and not is_current(made, folder):
        _write_results(made, gather(made), gather_costs(made), folder, console=console)
    texts = {
        "decision.json": found.model_dump_json(indent=1),
        "decision.md": decision_view.markdown(found),
    }
    for asked in found.to_judge:
        place = situation.collections.index(asked.collection)
        pairs = queue(situation, place, asked.options)
        listed = made.collections[asked.collection]
        texts[Path(asked.file).name] = queue_as_csv(pairs, listed, names=asked.options)
    add_verdict(made, folder, "decide", texts)
    render_again(folder)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
        return
    console.print(decision_view.render(found), highlight=False)


@app.command()
def diagnose(
    suite: SuiteFile,
    store: StoreFolder = None,
    results: ResultsFolder = None,
    device: Device = "auto",
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Explain where candidates fail, why, what would help, and what is doubtful about the data.

    Runs what is left of the suite first. Writes diagnosis.json, diagnosis.parquet, lists of query
    ids to use as slices, and documents to judge as CSV; the report shows it too.

    Example: harness diagnose suites/quickstart.toml
    """
    from harness.diagnosis.diagnose import check_diagnosis, plan_diagnosis, read_diagnosis
    from harness.output.files import is_current, write_diagnosis
    from harness.results.gathering import gather, gather_costs
    from reports import diagnosis_view

    console = make_console(stderr=as_json)
    folder = results_folder(suite, results, store)
    made = plan_suite(suite, store, device=device, offline=offline, console=console)
    check_diagnosis(made)
    run_left(made, console)
    looked = plan_diagnosis(made)
    run_left(replace(made, stages=looked.stages), console)
    found = read_diagnosis(looked)
    if is_current(made, folder):
        write_diagnosis(looked, found, folder)
        render_again(folder)
    else:
        _write_results(made, gather(made), gather_costs(made), folder, console=console)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
        return
    console.print(diagnosis_view.render(found, _texts(made)), highlight=False)
    console.print(f"\nReport: {folder / 'report.html'}", highlight=False, soft_wrap=True)


def _write_results(
    made: Plan, found: Results, costs: Costs, folder: Path, *, console: Console
) -> None:
    """Write the whole folder: results, the diagnosis where one is stored, and the reports."""
    from harness.diagnosis.diagnose import find_diagnosis, read_diagnosis
    from harness.output.files import write_diagnosis, write_outputs
    from reports.written import write_reports

    def finish_folder(new: Path) -> None:
        looked = find_diagnosis(made)
        if looked is not None:
            write_diagnosis(looked, read_diagnosis(looked), new)
        write_reports(new)

    for stale in write_outputs(made, found, costs, folder, finish=finish_folder):
        console.print(stale, highlight=False, soft_wrap=True)


def _texts(made: Plan) -> dict[str, Texts]:
    from reports.diagnosis_tables import Texts

    return {
        name: Texts(
            dict(zip(each.query_ids, each.queries, strict=True)),
            dict(zip(each.document_ids, each.documents, strict=True)),
        )
        for name, each in made.collections.items()
    }


app.command()(gate)


@app.command()
def report(
    place: Annotated[
        Path, typer.Argument(metavar="SUITE|RESULTS", help="A suite file, or a results folder.")
    ],
    results: ResultsFolder = None,
) -> None:
    """Render stored results again: one HTML page that needs no server, and Markdown.

    Reads the results folder alone: no store, no model, no collection. The page shows what any verb
    has written there: run, decide, diagnose, gate.

    Example: harness report suites/quickstart.toml
    """
    from reports.written import write_reports

    written = write_reports(results or _results_of(place))
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
