"""Gates on collections in which people graded a part of the pairs, and nothing else is judged."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from gate_suites import GateSuite, gate_suite

import harness
from harness.errors import HarnessError
from harness.gates.baseline import read_baseline, runs_before
from harness.gates.evaluate import evaluate
from harness.gates.report import GateResult, State
from harness.gates.targets import find_targets
from harness.judging.judged import stored_name
from harness.judging.rounds import open_round
from harness.plan.plan import make_plan
from harness.results.gathering import gather_costs
from harness.store import Store

N = 120
GATES = """
[gates.quality]
rule = "no_worse"
margin = 0.1
[gates.level]
rule = "at_least"
value = 0.6
"""


@pytest.fixture
def suite(tmp_path: Path) -> GateSuite:
    made = gate_suite(tmp_path, GATES, ranks={"used": [1] * N})
    (tmp_path / "notes" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n")
    return made


def loaded(suite: GateSuite) -> harness.Suite:
    results = suite.folder / "results"
    return harness.load(
        suite.path, store=suite.folder / ".harness", results=results, progress=False
    )


def fill_in(file: Path, *, most: int = 10_000) -> None:
    """Grade the first open pairs as the collection was judged: each query has one answer."""
    header, *rows = csv.reader(file.read_text("utf-8").splitlines(keepends=True))
    graded = sum(bool(row[2]) for row in rows)
    with file.open("w", encoding="utf-8", newline="") as handle:
        filled = [
            [*row[:2], row[2] or str(int(row[0][1:] == row[1][1:])), *row[3:]]
            for row in rows[: graded + most]
        ]
        csv.writer(handle).writerows([header, *filled, *rows[graded + most :]])


def test_grades_gate_what_nothing_else_judges(suite: GateSuite, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(suite.folder)
    with pytest.raises(HarnessError, match="judge SUITE"):
        loaded(suite).gate()
    loaded(suite).judge()
    loaded(suite).save_baseline()
    quality, level = loaded(suite).gate().findings
    assert (quality.state, quality.reason[:18]) == (State.PASS, "No ranking changed")
    assert (level.state, "0 human grades" in level.reason) == (State.INCONCLUSIVE, True)

    suite.ranks("used", [3] * 60 + [1] * (N - 60))
    thin = loaded(suite).gate()
    assert (thin.state, thin.exit_code) == (State.INCONCLUSIVE, 0)
    assert all(each.reason.startswith("Too thin") for each in thin.findings)

    loaded(suite).judge(batch=10_000)
    file = suite.folder / "results.judging" / "notes.csv"
    fill_in(file, most=30)
    _, few = loaded(suite).gate().findings
    assert (few.state, "fewer than min_queries = 50" in few.reason) == (State.INCONCLUSIVE, True)
    fill_in(file)
    report = loaded(suite).gate()
    quality, level = report.findings
    assert quality.state is State.FAIL
    assert quality.difference == pytest.approx(-1 / 3)
    assert (quality.value, quality.baseline, quality.worst) == (None, None, [])
    assert quality.source.startswith(f"n={N} queries, ")
    assert "human grades" in quality.source
    # Nobody grades again what ranks as before: it is known since the first batch, or not at all.
    assert level.low is not None
    assert level.high is not None
    assert level.low < 2 / 3 < level.high
    stored = json.loads((suite.folder / "results" / "gate.json").read_text("utf-8"))
    assert stored["findings"][0]["source"] == quality.source
    comment = (suite.folder / "results" / "gate.md").read_text("utf-8")
    assert f"Estimated from grades ({quality.source})" in comment
    for name in ("report.html", "summary.md"):  # nothing was run: there are no scores
        page = (suite.folder / "results" / name).read_text("utf-8")
        assert "No candidate has a score of its own" in page
        assert "Gates of small: FAIL" in page
    assert loaded(suite).replay() == []

    # A model that finds everything relevant sees no loss; alone it lets nothing pass.
    quality, _ = beside_a_model(suite, file)
    assert (quality.state, quality.model_alone) == (State.FAIL, State.PASS)
    assert "The model's grades alone would have said pass: 0.000" in quality.reason
    assert "model grades" in quality.source
    for alone in beside_a_model(suite, suite.folder / "none.csv"):
        assert (alone.state, alone.model_alone) == (State.INCONCLUSIVE, State.PASS)
        assert "A model's grades alone, which decide nothing, say pass" in alone.reason


def beside_a_model(suite: GateSuite, file: Path) -> list[GateResult]:
    """Evaluate the gates by a file of grades beside a model that finds every pair relevant."""
    stored = read_baseline(suite.folder / "baselines" / "small.parquet", suite_file="")
    spec = loaded(suite).spec.with_unjudged()
    plan = make_plan(spec, Store(suite.folder / ".harness"), device="cpu", hub="refuse")
    opened = open_round(
        {
            "used": plan.scored["used", "notes"].run_stage.result(plan.store),
            stored_name("used"): runs_before(stored, plan)["notes"],
        },
        plan.collections["notes"],
        spec.deciding_metric,
        baseline="used",
        seed=spec.seed,
        file=file,
        model=lambda pairs: np.ones(len(pairs), dtype=np.int32),
    )
    costs = gather_costs(plan)
    return evaluate(plan, find_targets(plan), stored, costs, rounds={"notes": opened}).findings
