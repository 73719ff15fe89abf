"""What a diagnosis of the same runs adds to a decision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from conftest import run_suite, write_beir, write_suite
from situations import decided, option, rule

from harness.decision.gather import gather_failures
from harness.decision.situation import Action, Failures, Recoverable
from harness.diagnosis.diagnose import plan_diagnosis
from harness.plan.execute import execute
from harness.plan.plan import Plan
from harness.stage import Silent
from harness.store import Store

CHUNKS = Recoverable("chunking", 0.023, ("The answer lies beyond the limit",))
HYBRID = Recoverable("hybrid", 0.041, ("Rare words are ignored",))

REVERSALS = {
    ("better", "base"): ("3 would turn it.",),
    ("base", "better"): ("on another collection it is behind.",),
    ("base", "worse"): ("9 would turn it.",),
}


def test_recoverable_points_are_evidence_that_decides_nothing():
    failures = Failures(n=400, recoverable=(HYBRID, CHUNKS))
    found = decided(option("other", 0.0), failures=failures)
    decides, evidence = rule(found, "failures")
    assert not decides
    assert evidence == (
        "Recoverable ndcg@10 of 'base', each remedy measured alone (n=400): fusion +0.041, "
        "chunking +0.023."
    )
    assert found.action is decided(option("other", 0.0)).action


def test_without_a_diagnosis_nothing_is_said_of_failures():
    assert "failures" not in {each.name for each in decided(option("other", 0.0)).rules}


def test_a_lever_that_was_not_tried_is_the_next_experiment():
    failures = Failures(n=400, recoverable=(HYBRID, CHUNKS))
    kept = {"n": 4000, "failures": failures}
    worse = option("worse", np.full(400, -0.1))
    assert decided(worse, **kept).experiment == (
        "Fuse 'base' with BM25: the diagnosis of 'base' measured +0.041 for it (Rare words are "
        "ignored)."
    )
    fused = option("fused", np.full(400, -0.1), Action.FUSE)
    tried = {"base": frozenset({"fuse"})}
    assert decided(fused, tried=tried, **kept).experiment.startswith("Index the documents in chun")


def test_the_diagnosis_of_the_chosen_candidate_is_evidence_and_its_lever_the_next_experiment():
    chosen = Failures(n=400, recoverable=(HYBRID,), supported={"fine-tune": ("Length bias",)})
    tried = {"b": frozenset({"truncate"})}
    found = decided(option("b", 0.2), tried=tried, failures=Failures(n=400, others={"b": chosen}))
    assert rule(found, "failures")[1] == (
        "The diagnosis of 'base' (n=400) found no reason that has a remedy. Recoverable ndcg@10 of "
        "'b', each remedy measured alone (n=400): fusion +0.041. Supported reason: Length bias "
        "points to fine-tuning (not tried on 'b')."
    )
    assert found.experiment.startswith("Fuse 'b' with BM25: the diagnosis of 'b' measured +0.041")


def test_a_lever_below_the_worthwhile_gain_is_not_proposed():
    failures = Failures(n=400, recoverable=(Recoverable("chunking", 0.002, ()),))
    found = decided(option("worse", np.full(400, -0.1)), failures=failures)
    assert "chunks" not in found.experiment


def test_a_verdict_that_rests_on_a_reversible_difference_is_marked():
    failures = Failures(n=400, reversals=REVERSALS)
    found = decided(option("better", 0.1), option("worse", -0.1), failures=failures)
    assert found.candidate == "better"
    assert found.notes == ["3 would turn it."]
    kept = decided(option("worse", np.full(400, -0.1)), failures=failures)
    assert kept.candidate == "base"
    assert "9 would turn it." in kept.notes


def test_a_diagnosis_of_other_judgements_is_not_used(
    tmp_path: Path, beir: Path, static_model: Path, store: Store
):
    def plan(judgements: str = "") -> Plan:
        text = f"""
        baseline = "static"
        [collections.small]
        source = "beir:{beir}"
        {judgements}
        [candidates.static]
        model = "{static_model}"
        [candidates.words]
        kind = "bm25"
        """
        return run_suite(write_suite(tmp_path / "suite.toml", text), store)

    made = plan()
    assert gather_failures(made) == Failures()
    execute(replace(made, stages=plan_diagnosis(made).stages), progress=Silent())
    assert gather_failures(made).n == 20
    more = tmp_path / "more.csv"
    more.write_text("query_id,document_id,grade\nq00,d01,1\n", "utf-8")
    assert gather_failures(plan(f'judgements = "{more}"')) == Failures()


def test_a_difference_that_few_judgements_turn_is_told(tmp_path: Path, store: Store):
    folder = write_beir(
        tmp_path / "pair",
        documents={f"d{row}": f"{word} word{row}" for row, word in enumerate("abcdefgh")},
        queries={f"q{row}": f"word{row}" for row in range(8)},
        qrels={"test": [(f"q{row}", f"d{row}", 1) for row in range(8)]},
    )
    run = tmp_path / "run.trec"
    lines = [f"q{row} Q0 d{(row + 1) % 8} 1 2.0 other\n" for row in range(8)]
    run.write_text("".join(lines), "utf-8")
    suite = write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "other"
        [collections.pair]
        source = "beir:{folder}"
        [candidates.words]
        kind = "bm25"
        [candidates.other]
        run = "{run}"
        """,
    )
    made = run_suite(suite, store)
    execute(replace(made, stages=plan_diagnosis(made).stages), progress=Silent())
    [sentence] = gather_failures(made).reversals["words", "other"]
    assert sentence.startswith("On pair, 'words' leads 'other' by 1.000 ndcg@10")
