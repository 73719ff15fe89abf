"""The verb that writes a first suite."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import StoreFolder
from harness.errors import ExitCode, HarnessError, inert

if TYPE_CHECKING:
    from rich.console import RenderableType

    from harness.api.new import NewSuite


def new(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="A file of queries and documents, such as a click log; a folder of documents; a "
            "BEIR, TREC or hub dataset folder; or a source, such as hf:mteb/scifact.",
        ),
    ] = None,
    questions: Annotated[
        Path | None,
        typer.Option(
            "--questions",
            metavar="FILE",
            help="For a folder of documents: a table of questions and files.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Suite file to write. Default: ./NAME.toml, after the data",
        ),
    ] = None,
    store: StoreFolder = None,
) -> None:
    """Read and check your data, and write a first suite with candidates that run here.

    Prompts for missing arguments at a terminal. Overwrites nothing.

    Example: harness new clicks.csv
    """
    from harness.api.new import needs_questions, new_suite, source_of
    from harness.progress import make_console

    can_ask = sys.stdin.isatty()
    if data is None:
        if not can_ask:
            raise HarnessError(
                "harness new: no data. Name a file or a folder: harness new clicks.csv",
                exit_code=ExitCode.USAGE,
            )
        data = typer.prompt("Your data: a file (CSV, Parquet, JSON lines) or a folder")
    source = source_of(data)
    if questions is None and can_ask and needs_questions(source):
        questions = Path(typer.prompt("The file of questions, with the columns question and file"))
    typer.echo(inert(f"Reading {source} …"), err=True)
    made = new_suite(data, questions=questions, out=out, store=store)
    make_console().print(_shown(made), highlight=False, soft_wrap=True)


def _shown(made: NewSuite) -> RenderableType:
    """Return the audit, the candidates, and the next commands with their time."""
    from rich.console import Group
    from rich.text import Text

    from reports import audit_view

    suite = made.plan.made.suite
    names = ", ".join(
        f"{name} (baseline)" if name == suite.baseline else name for name in suite.candidates
    )
    tried, limit, what = made.plan, "", "all queries"
    if made.sample is not None:
        tried, limit, what = made.sample, " --limit 200", "a sample of 200 queries"
    lines = [f"harness run {made.path}{limit}", f"harness decide {made.path}"]
    width = max(map(len, lines))
    return Group(
        audit_view.render(made.audit),
        Text(),
        Text(f"Candidates: {names}"),
        *(Text(f"Commented out: {each}") for each in made.left_out),
        Text(),
        Text(f"Wrote {made.path}. Next:", style="bold"),
        Text(f"  {lines[0]:<{width}}  # {what}: {tried.takes}"),
        Text(f"  {lines[1]:<{width}}  # the verdict on all queries: {made.plan.takes}"),
    )
