"""Options: what several verbs take, and a suite opened as they say."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from harness.errors import ExitCode, HarnessError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from harness.api import Suite

SuiteFile = Annotated[Path, typer.Argument(metavar="SUITE", help="The suite file (TOML).")]
SuiteOrResults = Annotated[
    Path, typer.Argument(metavar="SUITE|RESULTS", help="A suite file, or a results folder.")
]
CandidateName = Annotated[
    str, typer.Argument(metavar="CANDIDATE", help="A candidate of the suite.")
]
StoreFolder = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="FOLDER|URL",
        help="Store folder or URL. Default: $HARNESS_STORE, else ./.harness",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device", metavar="DEVICE", help="cpu, cuda, cuda:1, or auto: a GPU if there is one."
    ),
]
ResultsFolder = Annotated[
    Path | None,
    typer.Option("--results", metavar="FOLDER", help="Results folder. Default: ./results/NAME"),
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Never contact a model hub or a provider.")
]
BaselineFile = Annotated[
    Path | None,
    typer.Option(
        "--baseline",
        metavar="FILE",
        help="The stored baseline. Default: ./baselines/NAME.parquet",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        metavar="N",
        min=2,
        help="Try the suite on a sample of each collection: N queries, the documents judged for "
        "them, and others, up to 20 N documents in all. Verbs that write results write them to "
        "./results/NAME.limit-N.",
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print only results and errors.")]
Verbose = Annotated[
    bool,
    typer.Option(
        "-v",
        "--verbose",
        help="Print each stage's time and store path, and tracebacks of failures.",
    ),
]
On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="ray|ray://HOST:PORT",
        help="Let the workers of a Ray cluster compute: that of $RAY_ADDRESS, else one that is "
        "started on this machine; or the one at an address.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        help="With --on. Default: one for each GPU or CPU of the cluster.",
    ),
]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-worker",
        metavar="GPUS",
        help="With --on. Default: 1 where --device is a GPU.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Verbs(typer.core.TyperGroup):
    """Verbs: help in plain words, and the EOFError of a library is not taken for Ctrl-D."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options of the group itself."""
        return _in_plain_words(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a verb."""
        found = super().get_command(ctx, cmd_name)
        if found is not None:
            _in_plain_words(found.get_params(ctx))
        return found

    def invoke(self, ctx: Any) -> Any:
        """Run a verb."""
        try:
            return super().invoke(ctx)
        except EOFError as error:
            raise RuntimeError("a file ended too early") from error


def _in_plain_words(parameters: list[Any]) -> list[Any]:
    """Let flags and arguments show no type, and arguments no braces around their names."""
    for each in parameters:
        if getattr(each, "is_flag", False):
            each.metavar = ""
        elif each.param_type_name == "argument":
            name = each.metavar + ("..." if each.nargs != 1 else "")
            shown = [name if each.required else f"[{name}]"]
            each.get_usage_pieces = lambda *_, shown=shown: shown
            each.display_type_rich = lambda **_: None
    return parameters


def open_suite(  # noqa: PLR0913 - the options of the verbs
    file: Path,
    *,
    store: str | None = None,
    results: Path | None = None,
    device: str = "cpu",
    offline: bool = False,
    as_json: bool = False,
    limit: int | None = None,
    quiet: bool = False,
    verbose: bool = False,
) -> Suite:
    """Read a suite file with the options applied; with `as_json`, standard output is JSON alone.

    Raises:
        HarnessError: exit code 2, with every problem of the file, or quiet and verbose at once.
    """
    if quiet and verbose:
        raise HarnessError(
            "--quiet and --verbose contradict each other. Drop one.", exit_code=ExitCode.USAGE
        )
    from harness.api import load
    from harness.progress import make_console

    opened = load(file, store=store, results=results, device=device, offline=offline, limit=limit)
    opened.console = make_console(stderr=as_json, quiet=quiet)
    if verbose:
        logger = logging.getLogger("harness")
        logger.setLevel(logging.DEBUG)
        logger.addHandler(_Shown(opened.console))
    return opened


def show(what: RenderableType, *, stderr: bool = False, highlight: bool = False) -> None:
    """Print what a verb has found, however quiet it is."""
    from harness.progress import make_console

    make_console(stderr=stderr).print(what, highlight=highlight)


class _Shown(logging.Handler):
    """Prints what the packages log where a suite shows its progress."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        self._console.print(self.format(record), highlight=False, soft_wrap=True)
