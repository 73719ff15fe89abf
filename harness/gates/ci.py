"""CI: the report of the gates as JUnit XML, for GitHub and for GitLab."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

from harness.errors import ExitCode, inert
from harness.gates.report import GateReport, GateResult, State

# What XML 1.0 cannot hold, even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

SUMMARY_BYTES = 2**20  # what GitHub shows of one step
_CUT = "\n\n(Truncated at GitHub's limit; gate.md is complete.)\n"


def junit_xml(report: GateReport) -> str:
    """Return one testsuite for each collection and one testcase for each gate and slice.

    What blocks is a failure, a crash an error; what is inconclusive, not gated or only warned of
    is skipped with its message.
    """
    root = ET.Element("testsuites", {"name": _text(report.suite), **_counts(report.findings)})
    for collection in dict.fromkeys(finding.collection for finding in report.findings):
        findings = [each for each in report.findings if each.collection == collection]
        suite = ET.SubElement(root, "testsuite", {"name": _text(collection), **_counts(findings)})
        for finding in findings:
            _add_case(suite, finding)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add_case(suite: ET.Element, finding: GateResult) -> None:
    where = _text(f"{finding.collection}.{finding.rule}")
    case = ET.SubElement(suite, "testcase", name=_text(finding.place), classname=where)
    message, mark = _text(f"{finding.state}: {finding.told}"), _mark(finding)
    if mark is None:
        ET.SubElement(case, "system-out").text = message
        return
    node = ET.SubElement(case, mark, message=message)
    if mark != "skipped":
        node.set("type", str(finding.state))
    lost = (f"{q.query}: {q.baseline:.3f} -> {q.candidate:.3f}  {q.text}" for q in finding.worst)
    node.text = _text("\n".join(lost)) or None


def _mark(finding: GateResult) -> str | None:
    """Return the element that marks a testcase; None where it passes."""
    if finding.state is State.ERROR:
        return "error"
    if finding.exit_code is not ExitCode.OK:
        return "failure"
    return None if finding.state is State.PASS else "skipped"


def _counts(findings: list[GateResult]) -> dict[str, str]:
    marks = [_mark(finding) for finding in findings]
    counts = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    return {
        "tests": str(len(marks)),
        **{name: str(marks.count(mark)) for name, mark in counts.items()},
    }


def _text(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)


def workflow_commands(report: GateReport) -> Iterator[str]:
    """Yield a workflow command for every finding that does not pass, and for every warning.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    for finding in report.findings:
        if finding.state is not State.PASS:
            level = "warning" if finding.exit_code is ExitCode.OK else "error"
            title = f"{finding.place} on {finding.collection}: {finding.state}"
            yield f"::{level} title={_property(title)}::{_escaped(finding.told)}"
    for warning in report.all_warnings:
        yield f"::warning title={_property(report.suite)}::{_escaped(warning)}"


_GAUGES = {
    "value": "Mean of the candidate, or its cost.",
    "difference": "Candidate minus stored baseline.",
    "n": "Queries.",
}


def openmetrics(report: GateReport) -> str:
    """Return the numbers of every gate as OpenMetrics text, which GitLab compares by branch.

    https://prometheus.io/docs/specs/om/open_metrics_spec
    """
    lines = []
    for name, told in _GAUGES.items():
        family = f"harness_gate_{name}"
        lines += [f"# TYPE {family} gauge", f"# HELP {family} {told}"]
        for finding in report.findings:
            number = getattr(finding, name)
            if number is not None and math.isfinite(number):
                lines.append(f"{family}{{{_labels(report.suite, finding)}}} {number:.6g}")
    return "\n".join([*lines, "# EOF"]) + "\n"


def _labels(suite: str, finding: GateResult) -> str:
    labels = {
        "suite": suite,
        "gate": finding.gate,
        "slice": finding.slice or "",
        "collection": finding.collection,
        "candidate": finding.candidate,
        "asked": finding.asked,
    }
    escaped = {
        key: inert(text).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        for key, text in labels.items()
    }
    return ",".join(f'{key}="{text}"' for key, text in escaped.items())


def append_summary(path: Path, markdown: str) -> None:
    """Append Markdown to the file that `$GITHUB_STEP_SUMMARY` names, cut below GitHub's limit."""
    before = path.stat().st_size if path.exists() else 0
    with path.open("a", encoding="utf-8") as file:
        file.write(cut_to_bytes(markdown, SUMMARY_BYTES - before - 1))


def cut_to_bytes(text: str, size: int) -> str:
    """Return text of at most `size` bytes of UTF-8, with a note where it was cut.

    >>> len(cut_to_bytes("ä" * 100, 99).encode()) <= 99
    True
    """
    whole, note = text.encode(), len(_CUT.encode())
    if len(whole) <= size:
        return text
    kept = whole[: max(0, size - note)].decode(errors="ignore")
    return kept + _CUT if size >= note else ""


def _escaped(text: str) -> str:
    return inert(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
