"""JUnit: the report of the gates as the XML that every CI system shows."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from harness.errors import ExitCode
from harness.gates.report import GateReport, GateResult, State

# What XML 1.0 can not hold, even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


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
    case = ET.SubElement(
        suite,
        "testcase",
        name=_text(finding.place),
        classname=_text(f"{finding.collection}.{finding.rule}"),
    )
    message = _text(f"{finding.state}: {finding.told}")
    kind = _kind(finding)
    if kind is None:
        ET.SubElement(case, "system-out").text = message
        return
    node = ET.SubElement(case, kind, message=message)
    if kind != "skipped":
        node.set("type", str(finding.state))
    if finding.worst:
        lost = (
            f"{q.query}: {q.baseline:.3f} -> {q.candidate:.3f}  {q.text}" for q in finding.worst
        )
        node.text = _text("\n".join(lost))


def _kind(finding: GateResult) -> str | None:
    if finding.state is State.ERROR:
        return "error"
    if finding.exit_code is not ExitCode.OK:
        return "failure"
    return None if finding.state is State.PASS else "skipped"


def _counts(findings: list[GateResult]) -> dict[str, str]:
    kinds = [_kind(finding) for finding in findings]
    return {
        "tests": str(len(kinds)),
        "failures": str(kinds.count("failure")),
        "errors": str(kinds.count("error")),
        "skipped": str(kinds.count("skipped")),
    }


def _text(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
