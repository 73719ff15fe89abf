"""Latency: what a busy machine measures is marked, used by no rule, and measured again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from conftest import plan_of, run_suite, write_suite

from harness.decision.gather import cost_of
from harness.gates.exact import judge_cost
from harness.gates.report import State
from harness.gates.targets import find_targets
from harness.plan.execute import execute
from harness.plan.plan import Plan
from harness.results.gathering import gather, gather_costs
from harness.results.values import Cost, Costs
from harness.retrieval import latency
from harness.retrieval.latency import Calibration, Pace, Step, TimeAgain, calibrate
from harness.stage import Silent
from harness.store import Store
from reports import terminal, wording

Machine = Callable[[Calibration], None]

QUIET = Calibration(cpu_share=1.0, spread=1.1, load=0.2)
BUSY = Calibration(cpu_share=0.4, spread=6.0, load=6.0)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return what sets the state of the machine."""

    def be(found: Calibration) -> None:
        latency.is_quiet.cache_clear()
        monkeypatch.setattr(latency, "calibrate", lambda: found)
        monkeypatch.setattr(latency, "_RETRY_SECONDS", 0.0)
        monkeypatch.setattr(latency, "_LEAST_CPU_OF_QUERIES", 0.0)

    return be


@pytest.fixture
def suite(tmp_path: Path, beir: Path, static_model: Path) -> Path:
    return write_suite(
        tmp_path / "suite.toml",
        f'baseline = "base"\ncollections.small.source = "beir:{beir}"\n'
        "budgets.query_ms_p95 = 1000\n"
        f'[candidates.base]\nmodel = "{static_model}"\n'
        '[candidates.words]\nkind = "bm25"\n'
        '[candidates.cut]\nfrom = "base"\ntruncate = 4\n'
        '[candidates.both]\nfuse = ["base", "words"]\n'
        '[candidates.again]\nfrom = "both"\nrerank = { candidate = "base", depth = 5 }\n',
    )


def costs(plan: Plan) -> dict[str, Cost]:
    return {cost.candidate: cost for cost in gather_costs(plan).costs}


def steps(plan: Plan) -> list[Step]:
    return [stage for stage in plan.stages if isinstance(stage, Step)]


def test_a_quiet_machine_leaves_no_mark(machine: Machine, suite: Path, store: Store) -> None:
    machine(QUIET)
    plan = run_suite(suite, store)
    for cost in costs(plan).values():
        assert cost.machine == "quiet"
        assert cost.timing_problem is None
        assert cost.query_n == cost.query_asked == 20
        assert cost.settled_ms_p95 == cost.query_ms_p95
    assert plan.left() == []
    assert wording.timings(gather_costs(plan), "small") == []


def test_a_busy_machine_is_marked_and_what_is_derived_inherits_the_mark(
    machine: Machine, suite: Path, store: Store
) -> None:
    machine(QUIET)
    plan = plan_of(suite, store)
    encode = next(step for step in steps(plan) if isinstance(step, latency.EncodeQuery))
    execute(plan, progress=Silent(), stages=[s for s in plan.stages if s is not encode])
    machine(BUSY)
    execute(plan, progress=Silent())
    found = costs(plan)
    marked = {name for name, cost in found.items() if cost.machine == "busy"}
    assert marked == {"base", "cut", "both", "again"}
    for name in marked:
        cost = found[name]
        assert cost.query_ms_p95 is not None
        assert cost.settled_ms_p95 is None
        assert cost.settled_ms_p50 is None
        assert cost_of(plan, Costs(costs=list(found.values())), name).query_ms_p95 is None
        assert f"'{name}' on small (p50 " in str(cost.timing_problem)
        assert "n=20 of 20" in str(cost.timing_problem)
        assert "before: a test loop got the processor for 40% of its time" in str(
            cost.timing_problem
        )
        assert "load 6.0 per processor" in str(cost.timing_problem)
    assert found["words"].settled_ms_p95 is not None


def test_the_mark_is_shown_with_one_sentence_for_all_candidates(
    machine: Machine, suite: Path, store: Store
) -> None:
    from rich.console import Console

    machine(BUSY)
    plan = run_suite(suite, store)
    found = gather_costs(plan)
    (told,) = wording.timings(found, "small")
    assert told.startswith("Latency of all 5 candidates was measured on a busy machine")
    assert "--time-again" in told
    console = Console(width=300, record=True, force_terminal=False, file=StringIO())
    console.print(terminal.summary(gather(plan), found))
    text = console.export_text()
    assert text.count("(busy)") == 5


def test_a_marked_timing_is_measured_again_when_the_machine_is_quiet(
    machine: Machine, suite: Path, store: Store
) -> None:
    machine(BUSY)
    plan = run_suite(suite, store)
    assert plan.left() == []  # it would only be marked again
    machine(QUIET)
    plan = plan_of(suite, store)
    assert {stage for stage, _ in plan.left()} == set(steps(plan))
    execute(plan, progress=Silent())
    assert {cost.machine for cost in costs(plan).values()} == {"quiet"}
    assert plan.left() == []


def test_a_timing_is_not_tried_again_at_once(
    machine: Machine, suite: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(BUSY)
    run_suite(suite, store)
    machine(QUIET)
    monkeypatch.setattr(latency, "_RETRY_SECONDS", 120.0)
    assert plan_of(suite, store).left() == []


def test_times_are_measured_again_on_request_and_a_good_one_is_kept(
    machine: Machine, suite: Path, store: Store
) -> None:
    machine(QUIET)
    plan = run_suite(suite, store)
    before = costs(plan)
    again = plan.with_times_again()
    assert {type(stage) for stage, _ in again.left()} == {TimeAgain}
    execute(again, progress=Silent())
    after = costs(plan)
    assert all(after[name].query_ms_p50 != before[name].query_ms_p50 for name in after)
    machine(BUSY)
    execute(again, progress=Silent())
    assert costs(plan) == after


def test_a_timing_of_an_older_version_is_unknown_and_measured_again(
    machine: Machine, suite: Path, store: Store
) -> None:
    machine(QUIET)
    plan = run_suite(suite, store)
    for step in steps(plan):
        artifact = step.stored(store)
        meta = {k: v for k, v in artifact.meta.items() if k not in {"busy", "asked", "at", "files"}}
        times = np.array(artifact.array("milliseconds"))
        store.remove(step.kind, str(step.key(store)))
        store.put(step.kind, str(step.key(store)), arrays={"milliseconds": times}, meta=meta)
    found = gather_costs(plan)
    assert {cost.machine for cost in found.costs} == {"unknown"}
    assert wording.timings(found, "small") == [
        "The machine's load during the latency measurement is unknown."
    ]
    assert {stage for stage, _ in plan.left()} == set(steps(plan))


def test_a_cross_encoder_is_timed_once_for_all_first_stages(
    machine: Machine, suite: Path, store: Store, cross_encoder: Path
) -> None:
    machine(QUIET)
    with suite.open("a") as file:
        for first in ("base", "words"):
            file.write(f'[candidates.ce_{first}]\nfrom = "{first}"\n')
            file.write(f'rerank = {{ model = "{cross_encoder}", depth = 5 }}\n')
        file.write('[candidates.deeper]\nfrom = "words"\n')
        file.write(f'rerank = {{ model = "{cross_encoder}", depth = 6 }}\n')
    plan = run_suite(suite, store)
    timed = [step for step in steps(plan) if isinstance(step, latency.RescoreQuery)]
    assert len({step.key(store) for step in timed}) == len(timed) == 3  # "again" and two depths
    assert all(cost.query_ms_p50 is not None for cost in costs(plan).values())


def test_the_median_is_known_well_enough_or_not() -> None:
    rng = np.random.default_rng(0)
    assert latency._is_narrow((10 + 0.5 * rng.random(20)).tolist())
    assert not latency._is_narrow((10 + 0.5 * rng.random(19)).tolist())
    assert not latency._is_narrow((1 + 9 * rng.random(40)).tolist())


def test_costs_of_an_older_version_are_read(machine: Machine, suite: Path, store: Store) -> None:
    machine(QUIET)
    cost = next(iter(costs(run_suite(suite, store)).values()))
    old = cost.model_dump(exclude={"query_asked", "machine", "busy"})
    assert Cost.model_validate_json(json.dumps(old)).machine == "unknown"


def test_a_gate_does_not_rest_on_a_marked_timing(
    machine: Machine, suite: Path, store: Store
) -> None:
    machine(BUSY)
    with suite.open("a") as file:
        file.write('[gates.fast]\nrule = "at_most"\ncandidate = "base"\n')
        file.write('cost = "query_ms_p95"\nvalue = 1e6\n')
    plan = run_suite(suite, store)
    (target,) = find_targets(plan)
    found = judge_cost(plan, target, gather_costs(plan))
    assert found.state is State.INCONCLUSIVE
    assert "Timed on a busy machine" in found.told


def test_a_loop_on_a_loaded_machine_shows_it() -> None:
    """More processes than processors: the loop gets no more than its share."""
    import os
    import subprocess
    import sys

    burn = "while True: pass"
    count = 3 * (os.cpu_count() or 1)
    processes = [subprocess.Popen([sys.executable, "-c", burn]) for _ in range(count)]
    try:
        time.sleep(0.5)
        found = [any(calibrate().problems()) for _ in range(4)]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert sum(found) >= 3


def test_slow_queries_end_the_sample_and_too_few_of_them_are_marked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(latency, "calibrate", lambda: QUIET)
    monkeypatch.setattr(latency, "_CHEAP_SECONDS", 0.05)
    rows = list(range(40))

    def wait(_: int) -> None:
        time.sleep(0.01)

    pace = Pace(time.perf_counter())
    times, reasons = latency._timed(wait, rows, lambda _: None, pace, on_cpu=False)
    assert len(times) < 40
    assert reasons
    assert "of 40 queries" in " ".join(reasons) or len(times) >= 20

    def work(_: int) -> None:
        ends = time.thread_time() + 0.01
        while time.thread_time() < ends:
            pass

    times, reasons = latency._timed(work, rows, lambda _: None, pace, on_cpu=True)
    assert 20 <= len(times) < 40 or reasons


def test_a_tenth_of_a_run_is_for_more_queries_than_are_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wide interval of the median asks for all queries, where a run has the time."""
    found: list[int] = []
    monkeypatch.setattr(latency, "calibrate", lambda: found.append(1) or QUIET)
    monkeypatch.setattr(latency, "_CHEAP_SECONDS", 0.0)
    monkeypatch.setattr(latency, "_FRESH_SECONDS", 1e9)
    monkeypatch.setattr(time, "process_time", time.perf_counter)  # whatever else runs here

    def uneven(row: int) -> None:
        time.sleep(0.001 * (row % 10))

    rows = list(range(40))
    hasty, patient = Pace(time.perf_counter()), Pace(time.perf_counter() - 1e4)
    for pace, n in ((hasty, 20), (patient, 40)):
        times, reasons = latency._timed(uneven, rows, lambda _: None, pace, on_cpu=True)
        assert (len(times), reasons) == (n, [])
        assert pace.spent >= sum(times) / 1000
    assert len(found) == 2  # a run's steps share a calibration
