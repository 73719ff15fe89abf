"""The verbs of the store: show what it holds, check it, make room."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Json, StoreFolder
from harness.errors import ExitCode, HarnessError

SuiteFiles = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[SUITE]...", help="Default: those of ./*.toml and ./suites/*.toml."),
]

stores = typer.Typer(no_args_is_help=True, help="What is stored: show it, check it, make room.")


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

    Refuses while a run uses the store. Checkpoints of trainings go by age alone; answers of
    language models stay.

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
        listed = {"removed": yes, **store_view.chosen_as_json(chosen)}
        typer.echo(json.dumps(listed, indent=1))
    else:
        typer.echo(store_view.pruned(opened.root, chosen, removed=yes))
