"""Regression: the gates of a suite as one assertion of a test."""

from __future__ import annotations

import unittest
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.api.steps import Place
from harness.api.suite import Suite, load
from harness.errors import ExitCode, HarnessError, no_such

if TYPE_CHECKING:
    from harness.api.views import GateReport
    from harness.gates.report import GateResult


def assert_no_regression(
    suite: Suite | Place,
    *,
    gate: str | None = None,
    baseline: Place | None = None,
    inconclusive: Literal["skip", "fail"] = "skip",
) -> GateReport:
    """Evaluate the gates of a suite and raise what they say where one fails; for pytest.

    Args:
        suite: a suite, or the path of its file.
        gate: name of the only gate that counts; None takes all.
        baseline: file of the stored baseline; None takes ./baselines/NAME.parquet.
        inconclusive: where no gate fails but one is inconclusive, or all have fewer queries than
            their `min_queries`, "skip" skips the test (`unittest.SkipTest`, which pytest
            shows as skipped) and "fail" fails it. A gate whose `on_inconclusive` is "fail" fails
            it either way.

    Returns:
        The report of all gates.

    Raises:
        AssertionError: a gate failed, or could not be evaluated; a sentence for each. A gate with
            level = "warn" never fails a test.
        HarnessError: there is no such gate or answer, or what `Suite.gate` raises.
    """
    if inconclusive not in {"skip", "fail"}:
        raise HarnessError(
            f"inconclusive: neither 'skip' nor 'fail', got {inconclusive!r}.",
            exit_code=ExitCode.USAGE,
        )
    opened = suite if isinstance(suite, Suite) else load(Path(suite), progress=False)
    if gate is not None and gate not in opened.spec.gates:
        where = opened.spec.where("gates")
        raise HarnessError(
            f"{where}: {no_such('gate', gate, opened.spec.gates)}", exit_code=ExitCode.USAGE
        )
    report = opened.gate(baseline)
    asked = [each for each in report.findings if gate in {None, each.gate}]
    unsure = [each for each in asked if each.level == "error" and each.state == "inconclusive"]
    if all(each.state == "not gated" for each in asked):
        unsure = asked
    failed = [each for each in asked if each.exit_code is not ExitCode.OK]
    if inconclusive == "fail":
        failed += [each for each in unsure if each not in failed]
    if failed:
        raise AssertionError(_told(opened.name, failed))
    if unsure:
        raise unittest.SkipTest(_told(opened.name, unsure))
    return report


def _told(suite: str, findings: Sequence[GateResult]) -> str:
    lines = [
        f"  {each.place} on {each.collection}, {each.candidate}: {each.state}. {each.told}"
        for each in findings
    ]
    return "\n".join([f"gates of {suite}:", *lines])
