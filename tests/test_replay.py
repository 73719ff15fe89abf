"""A replay measures the gate's own error rates; here the planted truth is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from gate_suites import gate_suite, lowered

from harness.gates.replay import Replayed, _Pool, _see, plant, replay, wilson
from harness.gates.rules import Levels, answer
from harness.gates.targets import find_targets
from harness.suite.gates import NoWorse

QUALITY = '[gates.quality]\nrule = "no_worse"\n'


def replayed(tmp_path: Path, gates: str, ranks: dict[str, Sequence[int]], n: int = 500):
    plan = gate_suite(tmp_path, gates, ranks=ranks).plan()
    return replay(plan, find_targets(plan), replays=n)


def at(rows: list[Replayed], planted: float) -> Replayed:
    return next(row for row in rows if row.planted == pytest.approx(planted))


def test_equal_quality_is_rarely_blocked_and_three_points_nearly_always(tmp_path: Path):
    other = [2 if row % 10 == 0 else 1 for row in range(600)]
    rows = replayed(tmp_path, QUALITY, {"used": [1] * 600, "other": other})
    assert [row.planted for row in rows] == pytest.approx([0, -0.005, -0.01, -0.03])
    assert at(rows, 0).fails.share <= 0.03
    assert at(rows, -0.01).passes.share <= 0.06
    assert at(rows, -0.03).fails.share >= 0.95
    assert {row.donor for row in rows} == {"other"}
    for row in rows:
        total = row.passes.share + row.fails.share + row.inconclusive.share
        assert total == pytest.approx(1)
        assert row.passes.low <= row.passes.share <= row.passes.high


def test_without_another_candidate_nothing_differs_and_losses_are_queries_that_lose_all(
    tmp_path: Path,
):
    rows = replayed(tmp_path, QUALITY, {"used": [1] * 300})
    assert at(rows, 0).passes.share == 1
    assert at(rows, 0).donor is None
    assert at(rows, -0.03).passes.share == 0


def test_the_gates_own_candidate_gives_the_differences(tmp_path: Path):
    ranks = {"used": [1] * 100, "near": lowered(100, lost=1), "far": lowered(100, lost=50)}
    rows = replayed(tmp_path, QUALITY + 'candidate = "far"\n', ranks, n=50)
    assert {row.donor for row in rows} == {"far"}


def test_better_passes_a_planted_gain_and_not_equal_quality(tmp_path: Path):
    other = [3 if row % 4 == 0 else 1 for row in range(800)]
    rows = replayed(tmp_path, '[gates.more]\nrule = "better"\n', {"used": [1] * 800, "o": other})
    assert at(rows, 0).passes.share <= 0.05
    assert at(rows, 0.03).passes.share >= 0.7


def test_at_least_blocks_a_mean_three_points_below_and_at_the_value_hardly_ever(tmp_path: Path):
    gates = '[gates.floor]\nrule = "at_least"\nvalue = 0.8\n'
    rows = replayed(tmp_path, gates, {"used": lowered(900, lost=180)})
    assert at(rows, 0.1).passes.share == 1
    assert at(rows, 0.0).fails.share <= 0.05
    assert at(rows, -0.03).fails.share >= 0.5


def test_exact_gates_and_those_with_too_few_queries_are_not_replayed(tmp_path: Path):
    gates = QUALITY + '[gates.golden]\nrule = "must_pass"\nqueries = ["q00001"]\n'
    assert replayed(tmp_path, gates, {"used": [1] * 40}) == []


def test_the_same_replay_twice_gives_the_same_rates(tmp_path: Path):
    ranks = {"used": [1] * 80, "other": lowered(80, lost=9)}
    first = replayed(tmp_path / "a", QUALITY, ranks, n=60)
    assert replayed(tmp_path / "b", QUALITY, ranks, n=60) == first


@pytest.mark.parametrize("planted", [0.05, 0.0, -0.01, -0.1, -0.3])
def test_the_planted_difference_is_the_true_one(planted: float):
    rng = np.random.default_rng(17)
    own = rng.random(400)
    sizes = np.where(rng.random(400) < 0.3, rng.random(400), 0) * own
    pool = _Pool(sizes, own, "other")
    rows = rng.integers(400, size=(400, 500))
    found = plant(sizes[rows], own[rows], planted, chance=rng.random(rows.shape), pool=pool)
    assert found is not None
    assert found.mean() == pytest.approx(planted, abs=0.002)
    assert np.abs(found).max() <= 1


def test_what_can_not_be_lost_is_not_planted():
    pool = _Pool(np.zeros(10), np.full(10, 0.01), None)
    cells = np.zeros((10, 5))
    assert plant(cells, cells, -0.03, chance=cells, pool=pool) is None
    assert plant(cells, cells, 0.03, chance=cells, pool=pool) is None


@pytest.mark.parametrize("sd_seeds", [0.0, 0.02])
def test_a_gate_over_several_seeds_cries_wolf_as_rarely(sd_seeds: float):
    sizes = np.random.default_rng(1).random(400) * 0.2
    pool = _Pool(sizes, np.full(400, 0.5), None, seeds=3, sd_seeds=sd_seeds)
    draw = np.random.default_rng(2)
    gate = NoWorse(rule="no_worse", margin=0.02)
    values = np.where(draw.random((400, 1000)) < 0.5, -sizes[:, None], sizes[:, None])
    seen = _see(values, gate, Levels(), pool, draw)
    se_queries = np.sqrt((sizes**2).mean() / 400)
    assert seen.mean.std() == pytest.approx(np.hypot(se_queries, sd_seeds / 3**0.5), rel=0.1)
    answers = answer(seen, gate)
    assert answers.fails.mean() <= 0.05  # with three seeds their variance is hardly known
    # Equal quality passes where the seeds agree, and is not told apart from a loss where not.
    assert (answers.passes.mean() > 0.7) == (not sd_seeds)


def test_the_interval_of_a_rate_is_wilsons():
    rate = wilson(8, 400)
    assert (rate.low, rate.high) == pytest.approx((0.01017, 0.03897), abs=1e-4)
    assert wilson(0, 400).low == 0
    assert wilson(400, 400).high == 1


def test_a_gate_over_clusters_cries_wolf_as_rarely_as_one_over_queries(tmp_path: Path):
    other = [2 if (row // 10) % 4 == 0 else 1 for row in range(1000)]
    suite = gate_suite(tmp_path, QUALITY, ranks={"used": [1] * 1000, "other": other})
    queries = tmp_path / "notes" / "queries.jsonl"
    rows = [json.loads(line) for line in queries.read_text().splitlines()]
    lines = [json.dumps({**row, "day": place // 10}) for place, row in enumerate(rows)]
    queries.write_text("\n".join(lines))
    alone = suite.plan()
    clustered = 'collections."notes".clusters = "day"\ncollections."notes".source'
    text = suite.path.read_text().replace('collections."notes".source', clustered)
    suite.path.write_text(text)
    together = suite.plan()
    found = {
        name: at(replay(plan, find_targets(plan)), 0)
        for name, plan in (("alone", alone), ("together", together))
    }
    assert found["together"].fails.share <= 0.05
    assert found["together"].inconclusive.share >= found["alone"].inconclusive.share
