"""The gates as one assertion of a test."""

from __future__ import annotations

import subprocess
import sys
import unittest
from pathlib import Path

import pytest
from gate_suites import GateSuite, gate_suite, lowered

import harness
from harness.errors import HarnessError

SAME = [1] * 300
GATES = """
[gates.quality]
rule = "no_worse"
[gates.size]
rule = "at_most"
cost = "parameters"
value = 0
"""


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateSuite:
    made = gate_suite(tmp_path / "work", GATES, ranks={"used": SAME, "other": lowered(300, lost=6)})
    made.store_baseline()
    monkeypatch.chdir(made.folder)
    monkeypatch.setenv("HARNESS_STORE", str(made.folder / ".harness"))
    return made


def test_an_unchanged_pipeline_passes_and_returns_the_report(suite: GateSuite):
    report = harness.assert_no_regression(suite.path, gate="quality")
    assert {each.gate: each.state for each in report.findings}["quality"] == "pass"


def test_a_regression_raises_what_the_gate_says(suite: GateSuite):
    suite.later(lowered(300, lost=18))
    with pytest.raises(AssertionError, match=r"quality on notes, used: fail\. It loses 0\.03,"):
        harness.assert_no_regression(harness.load(suite.path, progress=False))


def test_one_gate_by_name_leaves_the_others_out(suite: GateSuite):
    suite.later(lowered(300, lost=18))
    with pytest.raises(AssertionError) as caught:
        harness.assert_no_regression(suite.path, gate="quality")
    assert "size on" not in str(caught.value)
    with pytest.raises(HarnessError, match="no gate 'qualty'"):
        harness.assert_no_regression(suite.path, gate="qualty")
    with pytest.raises(HarnessError, match="neither 'skip' nor 'fail', got 'pass'"):
        harness.assert_no_regression(suite.path, inconclusive="pass")  # type: ignore[arg-type]


def test_inconclusive_skips_or_fails(suite: GateSuite):
    suite.later(lowered(300, lost=3))
    with pytest.raises(unittest.SkipTest, match="inconclusive"):
        harness.assert_no_regression(suite.path, gate="quality")
    with pytest.raises(AssertionError, match="inconclusive"):
        harness.assert_no_regression(suite.path, gate="quality", inconclusive="fail")
    text = suite.path.read_text().replace('"no_worse"\n', '"no_worse"\non_inconclusive = "fail"\n')
    suite.path.write_text(text)
    with pytest.raises(AssertionError, match="inconclusive"):
        harness.assert_no_regression(suite.path, gate="quality")


def test_gates_with_too_few_queries_skip_and_what_only_warns_passes(suite: GateSuite):
    few = suite.path.read_text().replace('"no_worse"\n', '"no_worse"\nmin_queries = 301\n')
    suite.later(lowered(300, lost=18))
    warns = suite.path.read_text().replace('"no_worse"\n', '"no_worse"\nlevel = "warn"\n')
    suite.path.write_text(few)
    with pytest.raises(unittest.SkipTest, match="not gated"):
        harness.assert_no_regression(suite.path, gate="quality")
    suite.path.write_text(warns)
    report = harness.assert_no_regression(suite.path, gate="quality")
    assert {each.gate: each.state for each in report.findings}["quality"] == "fail"


def test_pytest_shows_it_as_skipped(suite: GateSuite):
    suite.later(lowered(300, lost=3))
    (suite.folder / "test_it.py").write_text(
        "import harness\n\ndef test_it():\n"
        f"    harness.assert_no_regression({str(suite.path)!r}, gate='quality')\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "test_it.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=suite.folder)
    assert done.returncode == 0, done.stdout
    assert "1 skipped" in done.stdout
    assert "quality on notes, used: inconclusive" in done.stdout
