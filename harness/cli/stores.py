"""The verbs of the store: show, verify, prune."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Json, StoreFolder, Verbs
from harness.errors import ExitCode

SuiteFiles = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="SUITE",
        help="Suites to keep. Default: the TOML files of this folder and of ./suites.",
    ),
]

stores = typer.Typer(cls=Verbs, no_args_is_help=True, help="Show, verify or prune the store.")


@stores.command("show")
def store_show(suites: SuiteFiles = None, store: StoreFolder = None, as_json: Json = False) -> None:
    """List stored artifacts by kind: number, size, age, and the suites that need them.

    Example: harness store show
    """
    typer.echo("Reading the store and its suites …", err=True)
    from harness.api import open_store
    from harness.progress import make_console
    from reports import store_view

    opened = open_store(store)
    found = opened.show(*(suites or []))
    if found.attrs["problems"]:
        typer.echo("\n".join(found.attrs["problems"]), err=True)
    if as_json:
        typer.echo(json.dumps(store_view.as_json(found), indent=1))
        return
    make_console().print(store_view.render(opened.store.name, found), highlight=False)


@stores.command("verify")
def store_verify(store: StoreFolder = None, as_json: Json = False) -> None:
    """Verify every stored file against its checksum.

    Exits with 4 if something is damaged; runs recompute damaged artifacts that
    they need.

    Example: harness store verify
    """
    from harness.api import open_store

    opened = open_store(store)
    read = opened.verify()
    found = read["artifact"][read["damaged"].astype(bool)].tolist()
    if as_json:
        typer.echo(json.dumps({"artifacts": len(read), "damaged": found}, indent=1))
    else:
        for name in found:
            typer.echo(f"{name} is damaged.")
        said = f"{len(found):,} of {len(read):,} artifacts are damaged."
        typer.echo(f"store {opened.store.name}: {said}")
    if found:
        raise typer.Exit(int(ExitCode.STAGE))


@stores.command("prune")
def store_prune(
    suites: SuiteFiles = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="AGE",
            help="Only artifacts older than this, such as 30d or 12h.",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="SIZE", help="Oldest first, down to this size, such as 20GB."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it, only list.")] = False,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """List artifacts that no suite here needs; with --yes, remove them.

    Refuses while a run uses the store. Checkpoints of trainings go by age alone;
    what language models and providers answered stays.

    Example: harness store prune --older-than 30d
    """
    typer.echo("Reading the store and its suites …", err=True)
    from harness.api import open_store
    from reports import store_view

    opened = open_store(store)
    chosen = opened.prune(*(suites or []), older_than=older_than, to=to, yes=yes)
    if as_json:
        listed = {"removed": yes, **store_view.chosen_as_json(chosen)}
        typer.echo(json.dumps(listed, indent=1))
    else:
        typer.echo(store_view.pruned(opened.store.name, chosen, removed=yes))
