"""Exports: results, and what belongs to one candidate, in the formats of other tools."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ExitCode, HarnessError, no_such

if TYPE_CHECKING:
    from harness.plan.plan import Plan
    from reports.stored import Stored

# What can be exported, with what the place of the export is.
OF_CANDIDATE: Mapping[str, str] = {"model": "folder", "atlas": "file"}
OF_RESULTS: Mapping[str, str] = {
    "markdown": "file",
    "latex": "file",
    "mteb": "folder",
    "trec": "folder",
    "mlflow": "tracking URI or folder",
}


def check_form(to: str, known: Mapping[str, str]) -> None:
    """Raise if there is no such export.

    Raises:
        HarnessError: exit code 2.
    """
    if to not in known:
        raise HarnessError(no_such("export", to, known), exit_code=ExitCode.USAGE)


def export_candidate(plan: Plan, candidate: str, place: Path, *, to: str) -> None:
    """Write what belongs to one candidate.

    Args:
        plan: of the suite.
        candidate: name.
        place: where it is written.
        to: of `OF_CANDIDATE`.
    """
    from harness.output.atlas import write_atlas
    from harness.output.export import export

    if to == "model":
        export(plan, candidate, place)
    else:
        write_atlas(plan, candidate, place)


def export_results(stored: Stored, place: str, *, to: str) -> None:
    """Write what a results folder holds.

    Args:
        stored: the folder, read.
        place: where it is written.
        to: of `OF_RESULTS`.
    """
    from harness.output import exchange
    from harness.output.files import add_output
    from reports import leaderboard

    check_form(to, OF_RESULTS)
    results, costs, folder = stored.results, stored.costs, stored.folder
    match to:
        case "markdown" | "latex":
            text = leaderboard.written(leaderboard.of_results(results, costs), to)
            add_output(Path(place), text)
        case "mteb":
            exchange.write_mteb(folder, Path(place))
        case "trec":
            exchange.write_trec(results, folder, Path(place))
        case _:
            exchange.log_to_mlflow(results, costs, folder, place)
