"""What the spread of training seeds does to comparisons, decisions, truncations and gates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import run_suite
from situations import decided, differences, option, situation
from test_replicas import suite_file

from harness.decision.effects import measure
from harness.decision.situation import Action, Option
from harness.gates.rules import Levels, answer, see
from harness.results.comparison import Comparison, Sizes, compare, compare_overall
from harness.results.gathering import gather
from harness.runs.metrics import Metric, Scorecard
from harness.statistics.seeds import seed_spread, seeded_draws
from harness.store import Store
from harness.suite.gates import NoWorse

NDCG = Metric("ndcg", 10)
N = 300


def card(values: np.ndarray) -> Scorecard:
    """Return a scorecard of values [n] or [n, seeds]."""
    by_seed = values if values.ndim == 2 else values[:, None]
    return Scorecard(
        values={"ndcg@10": by_seed.mean(axis=1)},
        judged_at_10=np.ones(len(values)),
        missing=np.zeros(len(values), dtype=bool),
        by_seed={"ndcg@10": by_seed} if by_seed.shape[1] > 1 else {},
    )


def cards(*, seeds: tuple[float, ...] = (-0.03, 0.0, 0.03)) -> dict[str, Scorecard]:
    """Return a base, a candidate that gains 0.04, and the same with a spread over its seeds."""
    draw = np.random.default_rng(3)
    base = np.clip(draw.normal(0.5, 0.15, N), 0, 1)
    gain = differences(0.04, sd=0.15, n=N)
    return {
        "base": card(base),
        "once": card(base + gain),
        "tuned": card((base + gain)[:, None] + np.array(seeds)),
        "tuned/64": card((base + gain)[:, None] + np.array(seeds) - 0.001),
    }


def compared(found: dict[str, Scorecard], *names: str, of: str = "base") -> list[Comparison]:
    edges = [(name, of, "baseline") for name in names]
    return [*compare(found, edges, [NDCG], collection="c", seed=1, sizes=Sizes(0.01, 0.01))]


def test_a_comparison_of_seeds_has_the_interval_and_p_of_queries_and_seeds():
    found = cards()
    once, tuned = compared(found, "once", "tuned")
    wanted = seed_spread(
        found["tuned"].by_seed["ndcg@10"] - found["base"].values["ndcg@10"][:, None]
    ).interval()
    assert tuned.difference == pytest.approx(once.difference)
    assert (tuned.low, tuned.high) == pytest.approx((wanted.low, wanted.high))
    assert (tuned.seeds, once.seeds) == (3, 1)
    assert (tuned.sd_seeds, once.sd_seeds) == (pytest.approx(0.03), 0)
    assert once.p_adjusted < 0.01
    assert once.p < 0.001
    assert min(tuned.p, tuned.p_adjusted) > 0.05
    assert tuned.family_low < once.family_low
    assert tuned.family_high > once.family_high
    assert (once.verdict, tuned.verdict) == ("better", "inconclusive")
    assert tuned.p_gain < once.p_gain
    assert tuned.mde > once.mde


def test_seeds_that_agree_change_nothing():
    once, tuned = compared(cards(seeds=(0.0, 0.0, 0.0)), "once", "tuned")
    for name in ("low", "high", "p", "p_adjusted", "family_low", "p_gain", "mde", "verdict"):
        assert getattr(tuned, name) == pytest.approx(getattr(once, name))


def test_one_candidate_with_seeds_does_not_change_what_is_said_of_the_others():
    alone, _ = compared(cards(seeds=(0.0, 0.0, 0.0)), "once", "tuned")
    beside, _ = compared(cards(), "once", "tuned")
    assert (alone.low, alone.high, alone.p) == (beside.low, beside.high, beside.p)
    assert alone.p_adjusted == pytest.approx(beside.p_adjusted, abs=0.01)
    assert alone.family_low == pytest.approx(beside.family_low, abs=0.001)


def test_two_candidates_of_the_same_seeds_are_compared_seed_by_seed():
    """What a truncation loses is the same in every seed, however much the seeds differ."""
    [edge] = compared(cards(), "tuned/64", of="tuned")
    assert edge.sd_seeds < 1e-6
    assert edge.high - edge.low < 0.02  # 300 queries alike: one unseen loss or gain, and no seeds
    assert edge.difference == pytest.approx(-0.001)


def test_over_collections_the_means_of_one_training_vary_together():
    found = cards()
    edges = [("once", "base", "baseline"), ("tuned", "base", "baseline")]
    once, tuned = compare_overall(
        {"one": found, "two": found},
        edges,
        [NDCG],
        seed=1,
        sizes=Sizes(0.01, 0.01),
        clusters={"one": None, "two": None},
    )
    assert tuned.high - tuned.low > 3 * (once.high - once.low)
    assert once.gains == ["one", "two"]
    assert tuned.gains == []


def test_p_of_a_family_finds_a_training_that_gains_nothing_in_one_of_twenty():
    """The seeds of a recipe that is worth nothing spread around 0; a checkpoint is not a recipe."""
    draw = np.random.default_rng(11)
    seeded, naive = [], []
    for _ in range(400):
        values = draw.normal(0, 0.15, (60, 1)) + draw.normal(0, 0.03, (1, 3))
        spread = seed_spread(values)
        seeded.append(spread.p < 0.05)
        naive.append(seed_spread(values.mean(axis=1, keepdims=True)).p < 0.05)
    assert np.mean(seeded) < 0.07
    assert np.mean(naive) > 0.1


def trained(
    name: str, values: np.ndarray, action: Action = Action.FINE_TUNE, **more: Any
) -> Option:
    """Return an option of per-query differences [n, seeds]."""
    return option(name, values.mean(axis=1), action, by_seed=(values,), **more)


def test_a_decision_counts_what_another_seed_could_bring():
    gain = differences(0.05, n=400)
    sure = trained("tuned", gain[:, None] + np.array([-0.001, 0.0, 0.001]))
    lucky = trained("tuned", gain[:, None] + np.array([-0.05, 0.0, 0.05]))
    [steady], [shaky] = (measure(situation(each)) for each in (sure, lucky))
    assert steady.difference == pytest.approx(shaky.difference)
    assert shaky.p_worthwhile < 0.95 < steady.p_worthwhile
    assert shaky.low < 0 < steady.low
    assert shaky.ceiling > steady.ceiling
    assert shaky.p_harm > steady.p_harm
    found = decided(sure)
    assert (found.action, found.strength) == (Action.FINE_TUNE, "recommended")
    assert decided(lucky).strength != "recommended"


def test_what_shares_its_seeds_with_another_option_is_told_apart_from_it():
    """Both have the luck of the same trainings: their difference has none."""
    gain, seeds = differences(0.05, n=400)[:, None], np.array([-0.05, 0.0, 0.05])
    tuned = trained("tuned", gain + seeds)
    more = trained("tuned+rerank", gain + seeds + 0.02, Action.RERANK)
    found = {each.option.name: each for each in measure(situation(tuned, more))}
    gap = found["tuned+rerank"].draws - found["tuned"].draws
    assert gap.std() < 0.001


@pytest.mark.parametrize(
    ("loss", "outcome"), [((0.0, 0.0, 0.0), "passes"), ((-0.03, 0.0, 0.03), "is open")]
)
def test_a_truncation_is_tested_seed_by_seed(loss: tuple[float, ...], outcome: str):
    gain = np.repeat(differences(0.06, sd=0.1, n=600)[:, None], 3, axis=1)
    full = trained("tuned", gain)
    cut = trained(
        "tuned/64",
        gain + np.array(loss) - 0.0005,
        Action.TRUNCATE,
        shortens="tuned",
        width=64,
    )
    [evidence] = [each.evidence for each in decided(full, cut).rules if each.name == "compression"]
    assert f"'tuned/64' {outcome}" in evidence


def test_a_gate_on_a_trained_candidate_counts_what_another_seed_could_lose():
    gate = NoWorse(rule="no_worse", margin=0.02)
    values = differences(0.0, sd=0.02, n=400)[:, None] + np.array([-0.02, 0.0, 0.02])
    seen = see(values.mean(axis=1, keepdims=True), gate, Levels())
    assert str(answer(seen, gate).state(0)) == "pass"
    of_seeds = [values.mean(axis=0)]
    wide = see(values.mean(axis=1, keepdims=True), gate, Levels(), seeds=of_seeds)
    assert str(answer(wide, gate).state(0)) == "inconclusive"
    half = seed_spread(values).interval()
    assert (wide.low[0], wide.high[0]) == pytest.approx((half.low, half.high))


def test_columns_of_different_numbers_of_seeds_are_not_drawn_together():
    with pytest.raises(ValueError, match=r"\[2, 3\] seeds"):
        seeded_draws(np.zeros((10, 2)), [np.zeros(2), np.zeros(3)], seed=1)


def test_a_finished_suite_says_how_many_trainings_each_comparison_is_of(
    tmp_path: Path, beir: Path, static_model: Path, store: Store
):
    found = gather(run_suite(suite_file(tmp_path, beir, static_model), store))
    seeds = {(each.candidate, each.reference): each.seeds for each in found.comparisons}
    assert seeds["tuned", "static"] == seeds["mixed", "words"] == seeds["tuned/4", "tuned"] == 3
    assert seeds["words", "static"] == 1
