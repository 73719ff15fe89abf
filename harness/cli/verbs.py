"""The command line: every verb calls one function, prints what it returns, exits with a code."""

from __future__ import annotations

import json
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import typer
import typer.core

from harness.environment import __version__
from harness.errors import ExitCode, HarnessError, inert, is_panic
from harness.standard_streams import guard

if TYPE_CHECKING:
    from harness.api import Suite

# typer carries a click of its own in some versions and uses the installed one in others.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__bases__[0])

_TERMINATED = 143  # 128 and the number of SIGTERM, as shells tell it
_INTERRUPTED = 130  # typer returns it for Ctrl-C, and may raise instead in other versions

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
Offline = Annotated[bool, typer.Option("--offline", help="Ask no model hub and no provider.")]
BaselineFile = Annotated[
    Path | None,
    typer.Option("--baseline", help="The stored baseline. Default: ./baselines/NAME.parquet"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
SuiteFiles = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[SUITE]...", help="Default: those of ./*.toml and ./suites/*.toml."),
]


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

baselines = typer.Typer(
    no_args_is_help=True, help="The stored per-query scores that gates compare with."
)
app.add_typer(baselines, name="baseline")
stores = typer.Typer(no_args_is_help=True, help="What is stored: show it, check it, make room.")
app.add_typer(stores, name="store")


def open_suite(
    file: Path,
    *,
    store: Path | None = None,
    results: Path | None = None,
    device: str = "cpu",
    offline: bool = False,
    as_json: bool = False,
) -> Suite:
    """Read a suite file, to be run as the options say; standard output is for JSON alone.

    Raises:
        HarnessError: exit code 2, with every problem of the file.
    """
    from harness.api import load
    from harness.progress import make_console

    opened = load(file, store=store, results=results, device=device, offline=offline)
    opened.console = make_console(stderr=as_json)
    return opened


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
    suite: SuiteFile, store: StoreFolder = None, device: Device = "auto", as_json: Json = False
) -> None:
    """Print the candidates, the stages, what is cached and what is left; run nothing.

    Example: harness plan suites/quickstart.toml
    """
    from harness.api.gates import margin_warnings
    from harness.api.steps import warn
    from reports import plan_view

    opened = open_suite(suite, store=store, device=device)
    made = opened.plan().made
    if as_json:
        typer.echo(json.dumps(plan_view.as_json(made), indent=1))
        return
    opened.console.print(plan_view.render(made))
    warn(opened, margin_warnings(made))


@app.command()
def audit(suite: SuiteFile, store: StoreFolder = None, as_json: Json = False) -> None:
    """Check the collections of a suite: ids, texts, judgements, overlap, texts that are cut.

    Exits with 3 if a collection has an error that would make scores wrong.

    Example: harness audit suites/quickstart.toml
    """
    from reports import audit_view

    opened = open_suite(suite, store=store)
    found = opened.audit()
    if as_json:
        typer.echo(json.dumps(audit_view.as_json(found), indent=1))
    else:
        opened.console.print(audit_view.render(found))
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
    from harness.api.steps import say
    from reports import terminal

    opened = open_suite(
        suite, store=store, results=results, device=device, offline=offline, as_json=as_json
    )
    found = opened.run(time_again=time_again)
    if as_json:
        typer.echo(found.values.model_dump_json(indent=1))
    else:
        opened.console.print(terminal.summary(found.values, found.stored.costs))
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
) -> None:
    """Train one candidate of a suite, with what it is made of, and nothing else.

    Can be killed at any moment; the same command goes on from the last checkpoint.

    Example: harness train suites/quickstart.toml tuned
    """
    open_suite(suite, store=store, device=device, offline=offline).train(candidate)


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
    opened = open_suite(suite, store=store, offline=True)
    written = opened.export(candidate, folder)
    opened.console.print(f"{written}", highlight=False, markup=False)


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
    must be judged first as CSV. What fails is left out, with a warning; it exits with 4 then.

    Example: harness decide suites/quickstart.toml
    """
    from reports import decision_view

    opened = open_suite(
        suite, store=store, results=results, device=device, offline=offline, as_json=as_json
    )
    found = opened.decide()
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        opened.console.print(decision_view.render(found), highlight=False)
    _raise_failed(found.failed)


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
    ids to use as slices, and documents to judge as CSV; the report shows it too. What fails is left
    out, and it exits with 4 then.

    Example: harness diagnose suites/quickstart.toml
    """
    from harness.api.steps import say
    from reports import diagnosis_view

    opened = open_suite(
        suite, store=store, results=results, device=device, offline=offline, as_json=as_json
    )
    found = opened.diagnose()
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        opened.console.print(diagnosis_view.render(found, found.texts), highlight=False)
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


@stores.command("show")
def store_show(suites: SuiteFiles = None, store: StoreFolder = None, as_json: Json = False) -> None:
    """Print what is stored, how much and how old it is, and which suites here need it.

    Example: harness store show
    """
    typer.echo("Looking at the store and at the suites here …", err=True)
    from harness.output.pruning import held, needs, suites_of
    from harness.progress import make_console
    from harness.store import Store, default_store
    from reports import store_view

    opened = Store(store or default_store())
    known: dict[str, set[Path]] = {}
    for suite in suites_of(suites or []):
        try:
            known[suite.name] = needs(suite, opened.root)
        except HarnessError as error:
            typer.echo("\n".join(error.problems), err=True)
    found = held(opened, known)
    if as_json:
        typer.echo(json.dumps(store_view.as_json(found), indent=1))
        return
    make_console().print(store_view.render(opened.root, found, list(known)), highlight=False)


@stores.command("verify")
def store_verify(store: StoreFolder = None, as_json: Json = False) -> None:
    """Read every file of the store and compare it with its checksum.

    Exits with 4 where something is damaged. A run makes again what it needs of that.

    Example: harness store verify
    """
    from harness.output.pruning import damaged
    from harness.store import Store, default_store

    opened = Store(store or default_store())
    count = sum(1 for _ in opened.entries())
    found = [f"{entry.kind}/{entry.key}" for entry in damaged(opened)]
    if as_json:
        typer.echo(json.dumps({"artifacts": count, "damaged": found}, indent=1))
    else:
        for name in found:
            typer.echo(f"{name} is damaged.")
        typer.echo(f"store {opened.root}: {len(found):,} of {count:,} artifacts are damaged.")
    if found:
        raise typer.Exit(int(ExitCode.STAGE))


@stores.command("prune")
def store_prune(
    suites: SuiteFiles = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", help="Only what is older, such as 30d or 12h.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", help="The oldest first, until so much is left: 20GB.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without, it is listed.")] = False,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """List what no suite here needs; with --yes, remove it.

    Refuses while a run uses the store. Checkpoints of trainings go by age alone; what
    language models and providers answered stays.

    Example: harness store prune --older-than 30d
    """
    typer.echo("Looking at the store and at the suites here …", err=True)
    from contextlib import nullcontext

    from harness.output.pruning import (
        bytes_of,
        held,
        needs,
        prune,
        seconds_of,
        suites_of,
        unneeded,
    )
    from harness.store import Store, default_store
    from reports import store_view

    opened = Store(store or default_store())
    asked = suites_of(suites or [])
    if not asked:
        raise HarnessError(
            "no suite here, in ./*.toml or ./suites/*.toml, so that nothing would be needed. "
            "Name the suites whose results are to stay.",
            exit_code=ExitCode.USAGE,
        )
    age = None if older_than is None else seconds_of(older_than)
    size = None if to is None else bytes_of(to)
    with opened.discarding() if yes else nullcontext():
        known = {suite.name: needs(suite, opened.root) for suite in asked}
        chosen = unneeded(held(opened, known), older_than=age, to=size)
        if yes:
            prune(opened, chosen)
    if as_json:
        listed = {"removed": yes, **store_view.listed(chosen)}
        typer.echo(json.dumps(listed, indent=1))
    else:
        typer.echo(store_view.pruned(opened.root, chosen, removed=yes))


if __name__ == "__main__":
    main()
