"""GitHub: annotations and the step summary of a workflow run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.errors import ExitCode, inert
from harness.gates.report import GateReport, State

SUMMARY_BYTES = 2**20  # what GitHub shows of one step
_CUT = "\n\n(cut here: GitHub shows 1 MiB; the whole is in gate.md)\n"


def workflow_commands(report: GateReport) -> Iterator[str]:
    """Yield a workflow command for every finding that does not pass, and for every warning.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    for finding in report.findings:
        if finding.state is State.PASS:
            continue
        kind = "warning" if finding.exit_code is ExitCode.OK else "error"
        title = f"{finding.place} on {finding.collection}: {finding.state}"
        yield f"::{kind} title={_property(title)}::{_escaped(finding.told)}"
    for warning in report.warnings:
        yield f"::warning title={_property(report.suite)}::{_escaped(warning)}"


def append_summary(path: Path, markdown: str) -> None:
    """Append Markdown to the file that `$GITHUB_STEP_SUMMARY` names, cut below GitHub's limit."""
    before = path.stat().st_size if path.exists() else 0
    with path.open("a", encoding="utf-8") as file:
        file.write(cut(markdown, SUMMARY_BYTES - before - 1))


def cut(text: str, size: int) -> str:
    """Return text of at most `size` bytes of UTF-8, with a note where it was cut.

    >>> len(cut("ä" * 100, 99).encode()) <= 99
    True
    """
    whole = text.encode()
    if len(whole) <= size:
        return text
    room = max(0, size - len(_CUT.encode()))
    kept = whole[:room].decode(errors="ignore")
    return kept + _CUT if size >= len(_CUT.encode()) else ""


def _escaped(text: str) -> str:
    return inert(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
