"""Options: what several verbs take, and a suite opened as they say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.api import Suite

SuiteFile = Annotated[Path, typer.Argument(metavar="SUITE", help="The suite file (TOML).")]
SuiteOrResults = Annotated[
    Path, typer.Argument(metavar="SUITE|RESULTS", help="A suite file, or a results folder.")
]
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
Offline = Annotated[bool, typer.Option("--offline", help="Never ask a model hub or a provider.")]
BaselineFile = Annotated[
    Path | None,
    typer.Option("--baseline", help="The stored baseline. Default: ./baselines/NAME.parquet"),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        metavar="N",
        min=2,
        help="Try the suite on N queries of each collection, and documents for them. Results go "
        "to ./results/NAME.limit-N.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def open_suite(
    file: Path,
    *,
    store: Path | None = None,
    results: Path | None = None,
    device: str = "cpu",
    offline: bool = False,
    as_json: bool = False,
    limit: int | None = None,
) -> Suite:
    """Read a suite file, to be run as the options say; standard output is for JSON alone.

    Raises:
        HarnessError: exit code 2, with every problem of the file.
    """
    from harness.api import load
    from harness.progress import make_console

    opened = load(file, store=store, results=results, device=device, offline=offline, limit=limit)
    opened.console = make_console(stderr=as_json)
    return opened
