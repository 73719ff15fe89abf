"""Sequential gates: errors under constant looking, and what is asked no more."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gate_suites import GateSuite, gate_suite, lowered
from hypothesis import given
from hypothesis import strategies as st

from harness.gates.report import State
from harness.gates.sequential import looks, state_of
from harness.statistics.sequential import evidence, lower_bound

N = 400
GATE = """
[gates.quality]
rule = "no_worse"
margin = 0.1
metric = "mrr@10"
sequential = true
"""


def drawn(population: str, mean: float, *, n: int, generator: np.random.Generator) -> np.ndarray:
    """Return differences in [-1, 1] of a true mean."""
    if population == "rare losses":
        return -(generator.random(n) < -mean).astype(float)
    if population == "coins":  # a query is won or lost whole
        return np.where(generator.random(n) < (1 + mean) / 2, 1.0, -1.0)
    return np.where(generator.random(n) < 0.6, 0.0, generator.normal(mean / 0.4, 0.2, n)).clip(
        -1, 1
    )


@pytest.mark.parametrize("population", ["rare losses", "coins", "model swaps"])
@pytest.mark.parametrize("margin", [0.02, 0.1])
def test_looking_all_the_time_errs_no_more_often_than_it_says(population: str, margin: float):
    generator, errors = np.random.default_rng(11), {State.PASS: 0, State.FAIL: 0}
    for _ in range(400):
        for mean, wrong in ((-margin, State.PASS), (-margin / 2, State.FAIL)):
            found = evidence(drawn(population, mean, n=500, generator=generator), margin)
            errors[wrong] += state_of(found, family=1) is wrong
    # Three standard errors of a share of 400 above 5% and 2.5%.
    assert errors[State.PASS] / 400 <= 0.05 + 0.033
    assert errors[State.FAIL] / 400 <= 0.025 + 0.024


def test_a_lower_bound_covers_at_every_look():
    generator = np.random.default_rng(12)
    missed = sum(
        lower_bound(drawn("model swaps", 0.05, n=300, generator=generator), alpha=0.05) > 0.05
        for _ in range(400)
    )
    assert missed / 400 <= 0.05 + 0.033


@given(st.integers(1, 3000))
def test_every_look_has_more_queries_and_the_last_has_all(n: int):
    found = list(looks(n))
    assert found == sorted(set(found))
    assert found[-1] == n
    assert len(found) <= 22


@pytest.fixture
def suite(tmp_path: Path) -> GateSuite:
    made = gate_suite(
        tmp_path / "work", GATE, ranks={"used": [1] * N, "other": lowered(N, lost=40)}
    )
    made.store_baseline()
    return made


def result(suite: GateSuite) -> dict[str, object]:
    (found,) = json.loads((suite.folder / "results/small/gate.json").read_text("utf-8"))["findings"]
    return found


def test_what_is_clearly_worse_or_as_good_stops_early(suite: GateSuite):
    suite.ranks("used", lowered(N, lost=160, to=10))
    done = suite.call("gate", suite.path)
    assert done.returncode == 1, done.stdout
    found = result(suite)
    assert found["state"] == "fail"
    assert found["n"] < N / 2
    assert "a loss of 0.05 or less is excluded" in str(found["reason"])
    assert f"of {N} queries" in done.stdout
    suite.ranks("used", lowered(N, lost=4))
    done = suite.call("gate", suite.path)
    assert done.returncode == 0, done.stdout
    assert result(suite)["state"] == "pass"
    assert result(suite)["n"] < N / 2
    rates = json.loads(suite.call("gate", suite.path, "--replay", "--json").stdout)
    at_margin = next(row for row in rates if row["planted"] == pytest.approx(-0.1))
    assert at_margin["passes"]["low"] <= 0.05


def test_what_lies_between_is_asked_whole_and_stays_open(suite: GateSuite):
    text = suite.path.read_text("utf-8")
    suite.path.write_text(text.replace("margin = 0.1", "margin = 0.02"), "utf-8")
    suite.ranks("used", lowered(N, lost=12, to=2))
    done = suite.call("gate", suite.path)
    assert done.returncode == 0
    found = result(suite)
    assert (found["state"], found["n"]) == ("inconclusive", N)
    assert f"Open after all {N} queries" in str(found["reason"])


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ('[gates.more]\nrule = "better"\n', "it reads all queries, but sequential gates stop"),
        ('[collections.notes]\nclusters = "document"\n', "clustered queries are dependent"),
    ],
)
def test_what_cannot_stop_early_is_refused(suite: GateSuite, more: str, told: str):
    text = suite.path.read_text("utf-8")
    if "clusters" in more:
        source = f'collections."notes".source = "beir:{suite.folder / "notes"}"\n'
        text = text.replace(source, source + 'collections."notes".clusters = "document"\n')
        more = ""
    suite.path.write_text(text + more, "utf-8")
    done = suite.call("gate", suite.path)
    assert done.returncode == 2
    assert told in done.stderr
