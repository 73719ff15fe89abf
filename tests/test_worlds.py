"""Planted worlds: the decision is right where the right answer is known."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from harness.store import Store

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def worlds() -> ModuleType:
    """Return the benchmark, as a module."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import worlds
    finally:
        sys.path.remove(str(BENCHMARKS))
    return worlds


def test_nine_of_ten_simulated_worlds_are_decided_right(worlds: ModuleType):
    judged = worlds.judge(worlds.simulated(seeds=(1,)))
    assert len(judged) >= 40
    assert sum(each.is_right for each in judged) >= worlds.TARGET * len(judged)
    wrong = [each.decision.sentence for each in judged if each.is_confident_wrong]
    assert wrong == []


def test_table_that_is_kept_has_no_confident_mistake_with_few_queries():
    rows = (BENCHMARKS / "worlds.md").read_text().splitlines()
    worlds = [row for row in rows if row.count("|") == 7 and "---" not in row]
    wrong = [row for row in worlds if "**wrong**" in row]
    assert len(worlds) >= 40
    assert len(wrong) <= 0.1 * len(worlds)
    assert [row for row in wrong if "| recommended |" in row] == []


@pytest.mark.slow
def test_nine_of_ten_real_worlds_are_decided_right(worlds: ModuleType, tmp_path: Path):
    if not worlds.SHARED.is_dir():
        pytest.skip("../shared with real collections is not there")
    judged = worlds.judge(worlds.real(Store(tmp_path)))
    assert sum(each.is_right for each in judged) >= worlds.TARGET * len(judged)
    assert [each.world.name for each in judged if each.is_confident_wrong] == []
