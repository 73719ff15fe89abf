"""Every rule has a case that it blocks, one that it passes and one that is inconclusive.

`must_pass` and the exact costs of `at_most` have no inconclusive case: nothing is sampled.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from gate_suites import GateSuite, gate_suite, lowered
from scipy.stats import binom

from harness.errors import ExitCode, HarnessError
from harness.gates.baseline import make_baseline
from harness.gates.ci import append_summary, cut_to_bytes, junit_xml, workflow_commands
from harness.gates.evaluate import crashed, evaluate
from harness.gates.exact import judge_times, judge_training
from harness.gates.planning import plan_gates, warnings_of
from harness.gates.report import GateReport, GateResult, LostQuery, State, conclude
from harness.gates.rules import Column, Levels, answer, reason, see, simultaneous_levels
from harness.gates.targets import find_targets
from harness.results.gathering import gather_costs
from harness.results.values import Cost, Costs
from harness.statistics.inferiority import queries_for_non_inferiority
from harness.suite.gates import RULES, AtLeast, Better, NoWorse, Sampled
from harness.suite.load import load_suite
from reports import formats, gate_view

QUALITY = '[gates.quality]\nrule = "no_worse"\n'
SAME = [1] * 300


def judged(suite: GateSuite, later: Sequence[int] | None = None) -> GateReport:
    """Store the baseline of a suite, change the run in use, and judge the gates."""
    stored = make_baseline(suite.plan())
    if later is not None:
        suite.ranks("used", later)
    plan = suite.plan()
    return evaluate(plan, find_targets(plan), stored, gather_costs(plan))


def only(report: GateReport) -> GateResult:
    [finding] = report.findings
    return finding


def refused(suite: GateSuite) -> str:
    with pytest.raises(HarnessError) as caught:
        find_targets(suite.plan())
    assert caught.value.exit_code is ExitCode.USAGE
    return str(caught.value)


# ---------------------------------------------------------------------------------- the rules


@pytest.mark.parametrize(
    ("lost", "state"), [(0, State.PASS), (18, State.FAIL), (3, State.INCONCLUSIVE)]
)
def test_no_worse_passes_no_change_blocks_3_points_and_can_not_tell_half_a_point_at_300_queries(
    tmp_path: Path, lost: int, state: State
):
    suite = gate_suite(tmp_path, QUALITY, ranks={"used": SAME})
    found = only(judged(suite, lowered(300, lost=lost)))
    assert found.state is state
    assert found.difference == pytest.approx(-0.5 * lost / 300)
    assert found.n == 300


def test_queries_of_one_cluster_do_not_fail_a_gate_that_single_ones_would():
    gate = NoWorse(rule="no_worse")
    values = np.repeat(np.repeat([-0.1, 0.0, 0.05], [7, 7, 6]), 20)[:, None]
    clusters = np.repeat(np.arange(20), 20)
    assert answer(see(values, gate, Levels()), gate).state(0) is State.FAIL
    together = see(values, gate, Levels(), clusters)
    assert answer(together, gate).state(0) is State.INCONCLUSIVE
    assert together.mean == pytest.approx(see(values, gate, Levels()).mean)


def test_slices_of_the_same_clusters_cost_nothing():
    clusters = np.repeat(np.arange(30), 2)
    values = np.linspace(-1, 1, 30)
    halves = [Column(np.arange(start, 60, 2), values) for start in (0, 1)]
    together = simultaneous_levels(halves, n_queries=60, seed=1, clusters=clusters)
    apart = simultaneous_levels(halves, n_queries=60, seed=1)
    assert together[0].interval == pytest.approx(0.95, abs=0.005)
    assert apart[0].interval > 0.97


def test_identical_rankings_pass_a_margin_of_a_point_from_265_queries_on():
    gate = NoWorse(rule="no_worse")
    states = []
    for n in (264, 265):
        seen = see(np.zeros((n, 1)), gate, Levels())
        states.append(answer(seen, gate).state(0))
    assert states == [State.INCONCLUSIVE, State.PASS]


def test_a_rare_total_loss_that_a_t_bound_overlooks_does_not_pass():
    gate = NoWorse(rule="no_worse", margin=0.01)
    differences = np.zeros((200, 1))
    seen = see(differences, gate, Levels())
    assert seen.low[0] == 0  # the t-interval alone would pass
    assert answer(seen, gate).state(0) is State.INCONCLUSIVE


@pytest.mark.parametrize("shape", [[0.0], [-0.004], [0.02, -0.012], [0.02] * 15 + [-0.5]])
@pytest.mark.parametrize("n", [16, 48, 160])
def test_as_many_more_queries_as_a_gate_names_settle_it(shape: list[float], n: int):
    gate = NoWorse(rule="no_worse", margin=0.01)
    seen = see(np.resize(shape, n)[:, None], gate, Levels())
    state = answer(seen, gate).state(0)
    assert state is State.INCONCLUSIVE
    said = reason(state, gate, seen=seen, n=n, levels=Levels())
    named = re.search(r"About ([\d,]+) more quer(?:y|ies) would settle it", said)
    assert named is not None
    more = -(-int(named[1].replace(",", "")) // len(shape)) * len(shape)
    later = see(np.resize(shape, n + more)[:, None], gate, Levels())
    assert answer(later, gate).state(0) is not State.INCONCLUSIVE


def test_a_gate_names_no_queries_where_they_alone_settle_nothing():
    gate = Better(rule="better", gain=0.01)
    seen = see(np.resize([0.0, 0.02], 40)[:, None], gate, Levels())
    assert answer(seen, gate).state(0) is State.INCONCLUSIVE
    said = reason(State.INCONCLUSIVE, gate, seen=seen, n=40, levels=Levels())
    assert said == "A gain of more than 0.01 is neither shown nor excluded."


def test_a_certain_loss_within_the_margin_passes():
    gate = NoWorse(rule="no_worse", margin=0.03)
    seen = see(np.full((1000, 1), -0.01), gate, Levels())
    assert answer(seen, gate).state(0) is State.PASS


def test_a_loss_below_half_the_margin_is_never_blocked():
    gate = NoWorse(rule="no_worse", margin=0.01)
    differences = np.r_[np.full(40, -0.1), np.zeros(960)][:, None]  # -0.004, certain
    seen = see(differences, gate, Levels())
    assert seen.high[0] < 0
    assert answer(seen, gate).state(0) is not State.FAIL


@pytest.mark.parametrize(
    ("first", "later", "state"),
    [
        (lowered(300, lost=60), SAME, State.PASS),
        (SAME, SAME, State.FAIL),
        (lowered(300, lost=2), SAME, State.INCONCLUSIVE),
    ],
)
def test_better_passes_a_gain_blocks_the_same_and_can_not_tell_two_queries(
    tmp_path: Path, first: list[int], later: list[int], state: State
):
    suite = gate_suite(tmp_path, '[gates.more]\nrule = "better"\n', ranks={"used": first})
    assert only(judged(suite, later)).state is state


def test_better_by_a_gain_needs_more_than_the_gain():
    gate = Better(rule="better", gain=0.05)
    columns = np.full((100, 3), [0.06, 0.05, 0.04])
    answers = answer(see(columns, gate, Levels()), gate)
    assert [answers.state(place) for place in range(3)] == [State.PASS, State.FAIL, State.FAIL]


@pytest.mark.parametrize(
    ("lost", "state"), [(6, State.PASS), (120, State.FAIL), (60, State.INCONCLUSIVE)]
)
def test_at_least_compares_the_interval_of_the_mean_with_the_value(
    tmp_path: Path, lost: int, state: State
):
    gates = '[gates.floor]\nrule = "at_least"\nvalue = 0.91\n'
    suite = gate_suite(tmp_path, gates, ranks={"used": lowered(300, lost=lost)})
    found = only(judged(suite))
    assert found.state is state
    assert found.baseline is None
    assert found.low is not None
    assert found.low <= 1 - lost / 600 <= (found.high or 0) <= 1


def test_at_least_needs_no_stored_baseline(tmp_path: Path):
    gates = '[gates.floor]\nrule = "at_least"\nvalue = 0.9\n'
    plan = gate_suite(tmp_path, gates, ranks={"used": SAME}).plan()
    assert evaluate(plan, find_targets(plan), None, gather_costs(plan)).state is State.PASS


def cost_gate(tmp_path: Path, cost: str, value: float, *, candidate: str = "words") -> GateResult:
    suite = gate_suite(tmp_path, "", ranks={"used": SAME[:60]})
    text = suite.path.read_text()
    more = f"""
candidates.words.kind = "bm25"
[gates.small]
rule = "at_most"
candidate = "{candidate}"
cost = "{cost}"
value = {value}
"""
    suite.path.write_text(text + more)
    return only(judged(suite))


@pytest.mark.parametrize(("value", "state"), [(1e6, State.PASS), (1, State.FAIL)])
def test_bytes_are_exact_so_they_pass_or_block(tmp_path: Path, value: float, state: State):
    found = cost_gate(tmp_path, "bytes_per_document", value)
    assert found.state is state
    assert found.value is not None


def test_bytes_that_nobody_knows_never_pass(tmp_path: Path):
    found = cost_gate(tmp_path, "bytes_per_document", 1e6, candidate="used")
    assert found.state is State.FAIL


@pytest.mark.parametrize(("value", "state"), [(1e6, State.PASS), (0, State.FAIL)])
def test_latency_on_this_device_passes_or_blocks(tmp_path: Path, value: float, state: State):
    found = cost_gate(tmp_path, "query_ms_p95", value)
    assert found.state is state
    assert "ms, n=" in found.measured
    assert "measured" not in found.model_dump()
    assert found.value is None  # a time is never the same twice


def test_latency_that_was_not_measured_here_is_inconclusive(tmp_path: Path):
    found = cost_gate(tmp_path, "query_ms_p95", 1e6, candidate="used")
    assert found.state is State.INCONCLUSIVE
    assert "another system" in found.reason


def test_latency_of_another_device_is_inconclusive(tmp_path: Path):
    suite = gate_suite(tmp_path, "", ranks={"used": SAME[:60]})
    suite.path.write_text(
        suite.path.read_text()
        + 'candidates.words.kind = "bm25"\n[gates.fast]\nrule = "at_most"\n'
        + 'candidate = "words"\ncost = "query_ms_p95"\nvalue = 1e6\n'
    )
    plan = suite.plan()
    costs = gather_costs(plan)
    elsewhere = costs.model_copy(
        update={"costs": [c.model_copy(update={"device": "a fast one"}) for c in costs.costs]}
    )
    found = only(evaluate(plan, find_targets(plan), None, elsewhere))
    assert found.state is State.INCONCLUSIVE
    assert "a fast one" in found.told


def test_a_p95_that_four_slow_queries_of_40_put_above_the_limit_is_inconclusive():
    times = np.r_[np.full(36, 5.0), np.full(4, 15.0)]
    assert judge_times(times, 10).state is State.INCONCLUSIVE
    assert judge_times(times, 20).state is State.PASS
    assert judge_times(times, 4).state is State.FAIL


@pytest.mark.parametrize("n", [5, 20, 40])
def test_the_lower_bound_of_the_p95_holds_19_times_of_20(n: int):
    """Exactly, of any distribution: a time is within the true p95 with a chance of 0.95."""
    blocks = [
        judge_times(np.r_[np.full(within, 1.0), np.full(n - within, 2.0)], 1.0).state is State.FAIL
        for within in range(n + 1)
    ]
    assert any(blocks)
    assert binom.pmf(np.arange(n + 1), n, 0.95)[blocks].sum() <= 0.05
    draws = np.random.default_rng(7).exponential(-1 / math.log(0.05), size=(100, n))
    for times in draws:  # other times than two
        assert (judge_times(times, 1.0).state is State.FAIL) == blocks[int((times <= 1.0).sum())]


def test_training_minutes_of_what_was_never_trained_are_none(tmp_path: Path):
    found = cost_gate(tmp_path, "training_minutes", 0)
    assert (found.state, found.value) == (State.PASS, 0.0)


TRAINED = """
name = "trained"
baseline = "base"
metrics = ["mrr@10"]
collections.notes.source = "beir:notes"
candidates.base.model = "base"
candidates.words.kind = "bm25"
[candidates.tuned]
from = "base"
finetune = { data = "notes:train" }
[candidates.guided]
from = "base"
finetune = { data = "notes:train", loss = "gist", guide = "tuned" }
[candidates.mined]
from = "base"
finetune = { data = "notes:train", hard_negatives = { candidate = "tuned" } }
[candidates.short]
from = "tuned"
truncate = 64
[candidates.fused]
fuse = ["words", "tuned"]
[candidates.cascade]
from = "words"
rerank = { candidate = "short" }
[candidates.reranker]
from = "words"
rerank = { model = "cross", finetune = { data = "notes:train" } }
[candidates.both]
from = "fused"
rerank = { model = "cross", finetune = { data = "notes:train" } }
[candidates.halfway]
from = "tuned"
interpolate = 0.5
[candidates.untrained]
from = "words"
rerank = { model = "cross" }
"""


@pytest.mark.parametrize(
    ("candidate", "minutes"),
    [
        *[("base", 0), ("words", 0), ("untrained", 0), ("tuned", 100), ("reranker", 100)],
        *[("short", 100), ("fused", 100), ("cascade", 100), ("halfway", 100)],
        *[("guided", 200), ("mined", 200), ("both", 200)],
    ],
)
def test_training_minutes_count_every_training_that_a_candidate_needs(
    tmp_path: Path, candidate: str, minutes: float
):
    path = tmp_path / "suite.toml"
    path.write_text(TRAINED)
    suite = load_suite(path)
    trained = {name for name, spec in suite.candidates.items() if spec.recipe is not None}
    nothing = {key: None for key, field in Cost.model_fields.items() if field.is_required()}
    costs = Costs(
        costs=[
            Cost.model_validate(
                {
                    **nothing,
                    "candidate": name,
                    "collection": "notes",
                    "query_n": 0,
                    "training_seconds": 6000.0 if name in trained else None,
                }
            )
            for name in suite.candidates
        ]
    )
    assert judge_training(suite, candidate, costs, limit=minutes).state is State.PASS
    if minutes:
        found = judge_training(suite, candidate, costs, limit=minutes - 1)
        assert (found.state, found.measured) == (State.FAIL, f"{minutes:.2f} minutes.")
        assert judge_training(suite, candidate, Costs(costs=[]), limit=1e9).state is State.FAIL


GOLDEN = '[gates.golden]\nrule = "must_pass"\nk = 2\nqueries = ["q00000", "q00001"]\n'


@pytest.mark.parametrize(
    ("ranks", "state"), [([2, 1], State.PASS), ([3, 1], State.FAIL), ([0, 1], State.FAIL)]
)
def test_must_pass_is_exact(tmp_path: Path, ranks: list[int], state: State):
    found = only(judged(gate_suite(tmp_path, GOLDEN, ranks={"used": ranks})))
    assert found.state is state
    assert ("q00000" in found.reason) == (state is State.FAIL)


def test_must_pass_fails_for_a_query_that_is_not_there(tmp_path: Path):
    found = only(judged(gate_suite(tmp_path, GOLDEN, ranks={"used": [1]})))
    assert found.state is State.FAIL
    assert "does not judge q00001" in found.reason


def test_must_pass_reads_a_file_of_ids(tmp_path: Path):
    ids = tmp_path / "ids.txt"
    ids.write_text("q00001\n\n  q00000 \n")
    gates = f'[gates.golden]\nrule = "must_pass"\nk = 1\nfile = "{ids}"\n'
    suite = gate_suite(tmp_path, gates, ranks={"used": [2, 1]})
    assert only(judged(suite)).reason.endswith("in the top 1: q00000.")
    ids.unlink()
    assert "cannot be read (No such file or directory)" in refused(suite)


# ----------------------------------------------------------------------- too few, none, no number


def test_fewer_than_min_queries_are_not_gated_and_the_effect_that_would_show_is_told(
    tmp_path: Path,
):
    suite = gate_suite(tmp_path, QUALITY, ranks={"used": SAME[:40], "other": lowered(40, lost=9)})
    found = only(judged(suite, lowered(40, lost=30)))
    assert found.state is State.NOT_GATED
    assert "40 queries, fewer than min_queries = 50" in found.reason
    assert "is not reliably detected (power under 0.80)" in found.reason
    assert found.exit_code is ExitCode.OK


def test_a_score_that_is_not_a_number_is_a_failure(tmp_path: Path):
    suite = gate_suite(tmp_path, QUALITY, ranks={"used": SAME})
    plan = suite.plan()
    stored = make_baseline(plan)
    stored.scores["notes"].values["mrr@10"][7] = np.nan
    found = only(evaluate(plan, find_targets(plan), stored, gather_costs(plan)))
    assert found.state is State.FAIL
    assert "1 of 300 scores are not a number" in found.reason


def test_a_query_that_returns_nothing_counts_as_lost(tmp_path: Path):
    suite = gate_suite(tmp_path, QUALITY, ranks={"used": SAME})
    found = only(judged(suite, [0] * 12 + [1] * 288))
    assert found.state is State.FAIL
    assert [lost.query for lost in found.worst][:2] == ["q00000", "q00001"]


def test_the_gate_of_another_candidate_compares_it_with_the_stored_one(tmp_path: Path):
    gates = QUALITY + 'candidate = "other"\n'
    suite = gate_suite(tmp_path, gates, ranks={"used": SAME, "other": lowered(300, lost=18)})
    assert only(judged(suite)).state is State.FAIL


def test_each_collection_is_judged_by_itself(tmp_path: Path):
    suite = gate_suite(tmp_path, QUALITY, ranks={"used": SAME}, collections=("notes", "mails"))
    stored = make_baseline(suite.plan())
    suite.ranks("used", lowered(300, lost=30), collection="mails")
    plan = suite.plan()
    report = evaluate(plan, find_targets(plan), stored, gather_costs(plan))
    assert {f.collection: f.state for f in report.findings} == {
        "notes": State.PASS,
        "mails": State.FAIL,
    }
    assert report.exit_code == 1


# --------------------------------------------------------------------------------------- slices

SLICES = """
[slices.how]
collection = "notes"
matching = "^how"
[slices.what]
collection = "notes"
matching = "^what"
[gates.how]
rule = "no_worse"
slice = "how"
[gates.what]
rule = "no_worse"
slice = "what"
"""


def test_a_loss_on_one_slice_blocks_that_slice_alone(tmp_path: Path):
    suite = gate_suite(tmp_path, SLICES, ranks={"used": [1] * 600})
    worse = [0 if row % 20 == 0 else 1 for row in range(600)]  # "how" queries are even
    report = judged(suite, worse)
    assert {f.slice: f.state for f in report.findings} == {"how": State.FAIL, "what": State.PASS}
    assert {f.n for f in report.findings} == {300}
    assert {f.limit for f in report.findings} == {0.03}


def test_slices_by_id_and_by_file_are_the_same_queries(tmp_path: Path):
    ids = [f"q{row:05}" for row in range(0, 120, 2)]
    (tmp_path / "ids.txt").write_text("\n".join(ids))
    gates = f"""
[slices.file]
collection = "notes"
file = "{tmp_path / "ids.txt"}"
[slices.ids]
collection = "notes"
queries = {json.dumps(ids)}
[gates.file]
rule = "at_least"
value = 0.5
slice = "file"
[gates.ids]
rule = "at_least"
value = 0.5
slice = "ids"
"""
    plan = gate_suite(tmp_path, gates, ranks={"used": SAME}).plan()
    one, other = find_targets(plan)
    assert one.rows.tolist() == other.rows.tolist() == list(range(0, 120, 2))


def test_a_slice_of_queries_that_do_not_exist_is_refused_with_its_line(tmp_path: Path):
    gates = SLICES.replace('matching = "^how"', 'queries = ["q00001", "q0001"]')
    message = refused(gate_suite(tmp_path, gates, ranks={"used": SAME}))
    assert ": slice 'how': 'notes' has no judged query 'q0001'. Did you mean" in message
    gates = SLICES.replace('"^how"', '"^why"')
    assert "no query of 'notes' matches '^why'" in refused(
        gate_suite(tmp_path / "b", gates, ranks={"used": SAME})
    )


def test_disjoint_slices_cost_about_as_much_as_bonferroni_and_equal_ones_nothing():
    rng = np.random.default_rng(3)
    values = rng.normal(size=400)
    halves = [Column(np.arange(0, 200), values[:200]), Column(np.arange(200, 400), values[200:])]
    apart = simultaneous_levels(halves, n_queries=400, seed=5)
    assert all(abs(level.interval - 0.975) < 0.003 for level in apart)
    assert all(abs(level.bound - 0.975) < 0.003 for level in apart)
    again = simultaneous_levels([halves[0], halves[0]], n_queries=400, seed=5)
    assert all(abs(level.interval - 0.95) < 0.006 for level in again)
    assert simultaneous_levels(halves, n_queries=400, seed=5) == apart


def test_slices_without_any_difference_do_not_disturb_the_others():
    rng = np.random.default_rng(3)
    one = Column(np.arange(100), rng.normal(size=100))
    ties = Column(np.arange(100, 200), np.zeros(100))
    levels = simultaneous_levels([one, ties], n_queries=200, seed=5)
    assert all(abs(level.interval - 0.95) < 0.01 for level in levels)


def test_ten_slices_of_equal_quality_are_blocked_together_in_at_most_one_run_of_forty():
    gate = NoWorse(rule="no_worse", margin=0.03, slice="any")
    rng = np.random.default_rng(11)
    blocked = 0
    for trial in range(300):
        values = rng.choice([-0.5, 0.0, 0.5], p=[0.1, 0.8, 0.1], size=600)
        columns = [Column(np.arange(s, 600, 10), values[s::10]) for s in range(10)]
        levels = simultaneous_levels(columns, n_queries=600, seed=trial, permutations=500)
        fails = [
            answer(see(c.values[:, None], gate, level), gate).fails[0]
            for c, level in zip(columns, levels, strict=True)
        ]
        blocked += any(fails)
    assert blocked / 300 <= 0.05


# ------------------------------------------------------------------------- what the file may say


def gate_problems(tmp_path: Path, text: str) -> list[str]:
    suite = gate_suite(tmp_path, text, ranks={"used": [1]}, collections=("notes", "mails"))
    first = suite.path.read_text().count("\n") - text.count("\n")
    with pytest.raises(HarnessError) as caught:
        load_suite(suite.path)
    assert caught.value.exit_code is ExitCode.USAGE
    found = [
        problem.removeprefix(f"{suite.path}:").split(":", 1) for problem in caught.value.problems
    ]
    return [f"{int(line) - first}:{message}" for line, message in found]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "[gates.a]\nrule = 'no_wrse'\n",
            "2: gate 'a': no rule 'no_wrse'. Did you mean 'no_worse'?",
        ),
        (
            "[gates.a]\nmargin = 0.1\n",
            (
                "1: gate 'a': 'rule' is missing. Add one of 'no_worse', 'better', 'at_least', "
                "'at_most', 'must_pass'."
            ),
        ),
        (
            "[gates.a]\nrule = 'no_worse'\nmargn = 0.1\n",
            "3: gate 'a': unknown key 'margn'. Did you mean 'margin'?",
        ),
        (
            "[gates.a]\nrule = 'no_worse'\nmetric = 'mrr@5'\n",
            (
                "3: gate 'a': the suite has no metric 'mrr@5'. Did you mean 'mrr@10'? Or add it to "
                "'metrics'."
            ),
        ),
        (
            "[gates.a]\nrule = 'better'\ncandidate = 'usd'\n",
            "3: gate 'a': no candidate 'usd'. Did you mean 'used'?",
        ),
        (
            "[gates.a]\nrule = 'better'\ncollection = 'note'\n",
            "3: gate 'a': no collection 'note'. Did you mean 'notes'?",
        ),
        (
            "[gates.a]\nrule = 'at_most'\ncost = 'ms'\nvalue = 1\n",
            (
                "3: gate 'a': 'cost' must be 'query_ms_p95', 'bytes_per_document', 'parameters' or "
                "'training_minutes', got 'ms'."
            ),
        ),
        (
            "[gates.a]\nrule = 'must_pass'\nqueries = ['q']\n",
            "1: gate 'a': there are several collections. Say which with 'collection'.",
        ),
        (
            "[gates.a]\nrule = 'must_pass'\ncollection = 'notes'\n",
            "1: gate 'a': give one of 'queries', 'file', got none.",
        ),
        (
            "[slices.s]\ncollection = 'notes'\nmatching = '('\n",
            (
                "3: slice 's': 'matching' is no regular expression, got '(': missing ), "
                "unterminated subpattern at position 0. Correct it."
            ),
        ),
        (
            "[slices.s]\ncolection = 'notes'\ncollection = 'notes'\nfile = 'x'\n",
            "2: slice 's': unknown key 'colection'. Did you mean 'collection'?",
        ),
        (
            (
                "[slices.s]\ncollection = 'notes'\nfile = 'x'\n[gates.a]\nrule = 'better'\n"
                "slice = 's'\ncollection = 'mails'\n"
            ),
            "7: gate 'a': slice 's' is of 'notes', got 'mails'. Remove one.",
        ),
        ("[gates]\na = 3\n", "2: gate 'a': a gate is a table, got 3. Write { … }."),
    ],
)
def test_each_mistake_in_a_gate_is_told_with_its_line_and_the_fix(
    tmp_path: Path, text: str, problem: str
):
    assert gate_problems(tmp_path, text) == [problem]


def test_a_suite_without_gates_or_with_a_k_beyond_the_runs_is_refused(tmp_path: Path):
    assert "no gates. Add a table" in refused(gate_suite(tmp_path / "a", "", ranks={"used": [1]}))
    deep = GOLDEN.replace("k = 2", "k = 5000")
    assert "Give at most" in refused(gate_suite(tmp_path / "b", deep, ranks={"used": [1, 1]}))


def test_a_gate_that_is_off_is_not_evaluated(tmp_path: Path):
    report = judged(gate_suite(tmp_path, QUALITY + 'level = "off"\n', ranks={"used": SAME}))
    assert (report.findings, report.exit_code) == ([], 0)


def advised(text: str) -> float:
    """Return the margin that a sentence advises."""
    [margin] = re.findall(r"margin = ([0-9.]+[0-9])", text)
    return float(margin)


def warning_of(suite: GateSuite) -> str:
    plan = suite.plan()
    [planned] = plan_gates(plan, find_targets(plan), make_baseline(plan))
    return planned.warning


def test_a_margin_that_few_queries_can_not_show_is_warned_of_with_one_number_of_queries(
    tmp_path: Path,
):
    ranks = {"used": SAME, "other": lowered(300, lost=150, to=0)}  # sd 0.5, MDE 0.081
    suite = gate_suite(tmp_path, QUALITY, ranks=ranks)
    text = warning_of(suite)
    assert "A changed pipeline of equal quality could not pass" not in text  # 265 would do
    assert "would be inconclusive more than 1 time in 5" in text
    needed = queries_for_non_inferiority(float(np.std([0.0, 1.0] * 150, ddof=1)), 0.01)
    assert f"needs {needed} queries, got 300. Judge {needed - 300} more, or set" in text
    suite.path.write_text(f"{suite.path.read_text()}margin = {advised(text)}\n")
    assert warning_of(suite) == ""


def test_the_margin_that_is_advised_passes_an_equal_pipeline_in_four_of_five_cases(tmp_path: Path):
    ranks = {"used": SAME, "other": lowered(300, lost=150, to=0)}
    suite = gate_suite(tmp_path, QUALITY, ranks=ranks)
    gate = NoWorse(rule="no_worse", margin=advised(warning_of(suite)))
    draws = np.random.default_rng(5).choice([-0.5, 0.5], size=(300, 2000))
    passed = answer(see(draws, gate, Levels()), gate).passes.mean()
    assert 0.77 < passed < 0.85


def test_a_gate_that_no_change_can_pass_says_so(tmp_path: Path):
    suite = gate_suite(tmp_path, QUALITY, ranks={"used": SAME[:200]})
    assert warning_of(suite).startswith(
        "A changed pipeline of equal quality could not pass: a margin of 0.01 needs 265 queries, "
        "got 200. Judge 65 more, or set margin = 0.014."
    )
    plan = suite.plan()
    planned = plan_gates(plan, find_targets(plan), make_baseline(plan))
    assert "stored without another candidate" in planned[0].sentence
    assert warnings_of(planned)[0].startswith("gate 'quality' on 'notes': A changed pipeline")


# ----------------------------------------------------------------------- an unchanged pipeline


@pytest.mark.parametrize("n", [2, 40, 80, 264, 300])
def test_an_unchanged_pipeline_passes_with_any_number_of_queries(tmp_path: Path, n: int):
    ranks = {"used": lowered(n, lost=n // 3), "other": lowered(n, lost=n // 2, to=0)}
    found = only(judged(gate_suite(tmp_path, QUALITY, ranks=ranks)))
    assert found.state is State.PASS
    assert found.reason.startswith("No ranking changed: an exact result, no inference.")
    assert (found.difference, found.low, found.high, found.bound) == (0.0, None, None, None)
    shown = gate_view.markdown(report_of(found))
    assert "[" not in shown.split("| PASS |")[1].split("|")[5]


def test_other_rankings_with_the_same_scores_pass_and_are_told_apart(tmp_path: Path):
    suite = gate_suite(tmp_path, QUALITY, ranks={"used": SAME[:60]})
    stored = make_baseline(suite.plan())
    run = suite.folder / "used-notes.trec"
    run.write_text(
        run.read_text().replace(" j3 ", " x ").replace(" j4 ", " j3 ").replace(" x ", " j4 ")
    )
    plan = suite.plan()
    found = only(evaluate(plan, find_targets(plan), stored, gather_costs(plan)))
    assert found.state is State.PASS
    assert found.reason.startswith("No query's mrr@10 changed: an exact")


def test_a_slice_that_did_not_change_passes_beside_one_that_did(tmp_path: Path):
    suite = gate_suite(tmp_path, SLICES, ranks={"used": [1] * 60})
    worse = [0 if row % 4 == 0 else 1 for row in range(60)]  # "how" queries are even
    states = {each.slice: each for each in judged(suite, worse).findings}
    assert states["what"].state is State.PASS
    assert "No query's mrr@10 changed" in states["what"].reason
    assert states["how"].state is not State.PASS


def test_an_unchanged_collection_passes_beside_one_that_changed(tmp_path: Path):
    suite = gate_suite(tmp_path, QUALITY, ranks={"used": SAME[:60]}, collections=("notes", "mails"))
    stored = make_baseline(suite.plan())
    suite.ranks("used", lowered(60, lost=30, to=0), collection="mails")
    plan = suite.plan()
    report = evaluate(plan, find_targets(plan), stored, gather_costs(plan))
    states = {each.collection: each.state for each in report.findings}
    assert states == {"notes": State.PASS, "mails": State.FAIL}


def test_an_unchanged_pipeline_is_not_better_and_says_why(tmp_path: Path):
    suite = gate_suite(tmp_path, '[gates.more]\nrule = "better"\n', ranks={"used": SAME[:60]})
    found = only(judged(suite))
    assert (found.state, found.reason[:19]) == (State.FAIL, "No ranking changed:")


def test_the_margin_that_an_inconclusive_gate_names_passes_when_it_is_set(tmp_path: Path):
    suite = gate_suite(tmp_path, f"{QUALITY}margin = 0.01\n", ranks={"used": SAME[:80]})
    stored = make_baseline(suite.plan())
    suite.ranks("used", lowered(80, lost=2))
    plan = suite.plan()
    found = only(evaluate(plan, find_targets(plan), stored, gather_costs(plan)))
    assert found.state is State.INCONCLUSIVE
    margin = advised(found.reason)
    suite.path.write_text(suite.path.read_text().replace("0.01", str(margin)))
    plan = suite.plan()
    assert only(evaluate(plan, find_targets(plan), stored, gather_costs(plan))).state is State.PASS


def test_the_interval_that_is_shown_is_the_one_that_decides(tmp_path: Path):
    found = only(judged(gate_suite(tmp_path, QUALITY, ranks={"used": SAME}), lowered(300, lost=3)))
    assert found.bound is not None
    low, high = found.interval or (0, 0)
    assert (low, high) == (found.bound, found.high)
    assert f"[{formats.signed(low)}, {formats.signed(high)}]" in gate_view.markdown(
        report_of(found)
    )
    assert f"A loss of up to {-low:.4f} is possible" in found.reason


# ------------------------------------------------------------------------------------ the outputs


def finding(state: State = State.FAIL, **changes: object) -> GateResult:
    fields: dict[str, object] = {
        "gate": "quality|*",
        "rule": "no_worse",
        "level": "error",
        "on_inconclusive": "warn",
        "candidate": "used",
        "collection": "notes <b>",
        "slice": None,
        "asked": "mrr@10",
        "state": state,
        "reason": "It loses 0.03.\nAnd more: 5%, a\x00b.",
        "n": 300,
        "limit": 0.01,
        **changes,
    }
    return GateResult.model_validate(fields)


def report_of(*findings: GateResult) -> GateReport:
    return conclude(findings, suite="small", baseline="used")


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([finding(State.PASS)], 0),
        ([finding(State.PASS), finding(State.FAIL)], 1),
        ([finding(State.FAIL, level="warn")], 0),
        ([finding(State.INCONCLUSIVE)], 0),
        ([finding(State.INCONCLUSIVE, on_inconclusive="fail")], 5),
        ([finding(State.INCONCLUSIVE, on_inconclusive="fail", level="warn")], 0),
        ([finding(State.INCONCLUSIVE, on_inconclusive="fail"), finding(State.FAIL)], 1),
        ([finding(State.NOT_GATED, on_inconclusive="fail")], 0),
        ([finding(State.ERROR)], 4),
    ],
)
def test_the_exit_code_is_that_of_the_worst_answer_that_blocks(
    findings: list[GateResult], code: int
):
    assert report_of(*findings).exit_code == code


def test_the_xml_has_a_failure_an_error_and_a_skip_and_can_be_read_whatever_the_names():
    report = report_of(
        finding(State.PASS),
        finding(State.FAIL, worst=[LostQuery(query="q&1", text="<x>", baseline=1, candidate=0)]),
        finding(State.INCONCLUSIVE, slice="s"),
        finding(State.ERROR),
        finding(State.FAIL, level="warn"),
        finding(State.INCONCLUSIVE, on_inconclusive="fail", collection="mails"),
    )
    root = ET.fromstring(junit_xml(report))  # noqa: S314 - our own text
    assert {k: root.get(k) for k in ("tests", "failures", "errors", "skipped")} == {
        "tests": "6",
        "failures": "2",
        "errors": "1",
        "skipped": "2",
    }
    suites = root.findall("testsuite")
    assert [suite.get("name") for suite in suites] == ["notes <b>", "mails"]
    kinds = [child.tag for case in root.iter("testcase") for child in case]
    assert kinds == ["system-out", "failure", "skipped", "error", "skipped", "failure"]
    failure = root.find(".//failure")
    assert failure is not None
    assert "q&1: 1.000 -> 0.000  <x>" in (failure.text or "")


def test_the_markdown_shows_names_as_they_are_and_is_found_again_by_its_marker():
    lost = LostQuery(query="a|b", text="<script>", baseline=1, candidate=0)
    text = gate_view.markdown(report_of(finding(worst=[lost])))
    assert text.startswith("<!-- harness:gate -->\n## Gates of small: FAIL (1 fail)")
    assert "quality\\|\\*" in text
    assert "notes &lt;b>" in text
    assert "a\\|b" in text
    assert "<script>" not in text


def test_workflow_commands_are_one_line_each_and_escaped():
    commands = list(workflow_commands(report_of(finding(), finding(State.INCONCLUSIVE))))
    title = "title=quality|* on notes <b>%3A fail"
    assert commands[0].startswith(f"::error {title}::It loses 0.03.%0AAnd more: 5%25, a")
    assert commands[1].startswith("::warning ")
    assert not list(workflow_commands(report_of(finding(State.PASS))))


def test_a_summary_stays_below_the_limit_with_a_note(tmp_path: Path):
    path = tmp_path / "summary.md"
    append_summary(path, "short\n")
    append_summary(path, "ü" * 2**20)
    text = path.read_text("utf-8")
    assert path.stat().st_size < 2**20
    assert text.startswith("short\nü")
    assert text.endswith("gate.md is complete.)\n")
    append_summary(path, "more")
    assert path.stat().st_size < 2**20
    assert cut_to_bytes("short", 100) == "short"


def test_a_crash_is_an_error_of_every_gate_and_never_a_failure(tmp_path: Path):
    plan = gate_suite(tmp_path, QUALITY, ranks={"used": SAME}).plan()
    report = crashed(plan, find_targets(plan), ValueError("it broke"))
    assert (report.state, report.exit_code) == (State.ERROR, 4)
    assert only(report).reason == "Not evaluated: it broke"
    refused = HarnessError("other documents", exit_code=ExitCode.DATA)
    assert crashed(plan, find_targets(plan), refused).exit_code == 3


def test_the_same_suite_twice_gives_the_same_bytes(tmp_path: Path):
    texts = []
    for place in ("a", "b"):
        gates = SLICES + QUALITY + GOLDEN
        suite = gate_suite(tmp_path / place, gates, ranks={"used": SAME})
        report = judged(suite, lowered(300, lost=7))
        texts.append(report.model_dump_json())
    assert texts[0] == texts[1]


def test_at_least_is_a_sampled_gate_without_a_bound():
    gate = AtLeast(rule="at_least", value=0.5)
    assert see(np.full((60, 1), 0.7), gate, Levels()).bound[0] == -np.inf


@pytest.mark.parametrize("rule", [name for name in RULES if RULES[name] in get_args(Sampled)])
def test_every_rule_on_a_metric_has_its_answer_and_its_sentence(rule: str):
    numbers = {"margin": 0.05, "gain": 0.05, "value": 0.05}
    fields = RULES[rule].model_fields
    spec = RULES[rule](rule=rule, **{k: v for k, v in numbers.items() if k in fields})
    seen = see(np.full((300, 1), 0.9), spec, Levels())
    state = answer(seen, spec).state(0)
    assert state is State.PASS or not spec.relative
    assert reason(state, spec, seen=seen, n=300, levels=Levels())
    assert spec.asks.format(asked="ndcg@10", limit=spec.limit, n=300)
