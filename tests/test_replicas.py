from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import plan_of, run_suite, write_suite

from harness.errors import HarnessError
from harness.plan.plan import Plan
from harness.results.gathering import gather, gather_costs
from harness.store import Store
from harness.suite.load import load_suite

SUITE = """
baseline = "static"
collections.small.source = "beir:{beir}"
[candidates.static]
model = "{model}"
[candidates.words]
kind = "bm25"
[candidates.tuned]
from = "static"
finetune = {{ data = "small:train", batch_size = 8, epochs = 2, learning_rate = 0.05{seeds} }}
[candidates."tuned/4"]
from = "tuned"
truncate = 4
[candidates.cascade]
from = "words"
rerank = {{ candidate = "tuned/4", depth = 10 }}
[candidates.mixed]
fuse = ["words", "tuned"]
"""


def suite_file(folder: Path, beir: Path, model: Path, *, seeds: str = ", seeds = 3") -> Path:
    return write_suite(folder / "suite.toml", SUITE.format(beir=beir, model=model, seeds=seeds))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, beir: Path, static_model: Path) -> Plan:
    folder = tmp_path_factory.mktemp("seeds")
    return run_suite(suite_file(folder, beir, static_model), Store(folder / "store"))


def test_what_is_made_of_a_seeded_candidate_is_made_of_it_seed_by_seed(done: Plan):
    for name in ("tuned", "tuned/4", "cascade", "mixed"):
        stages = done.scored[name, "small"].stages
        keys = {stage.run_stage.key(done.store) for stage in stages}
        assert len(stages) == len(keys) == 3
    for name in ("static", "words"):
        assert len(done.scored[name, "small"].stages) == 1


def test_a_seeded_candidate_scores_the_mean_over_its_seeds_of_each_query(done: Plan):
    scored = done.scored["tuned", "small"]
    card = scored.result(done.store)
    each = [stage.result(done.store).values["ndcg@10"] for stage in scored.stages]
    assert np.array_equal(card.values["ndcg@10"], np.mean(each, axis=0))
    assert np.array_equal(card.of_each_seed("ndcg@10"), np.stack(each, axis=1))
    assert np.array_equal(scored.first(done.store).values["ndcg@10"], each[0])


def test_results_tell_the_seeds_the_mean_of_each_and_a_wider_interval(done: Plan):
    found = gather(done)
    seeds = {each.name: each.seeds for each in found.candidates}
    assert seeds == {
        "static": [],
        "words": [],
        **{name: [13, 14, 15] for name in ("tuned", "tuned/4", "cascade", "mixed")},
    }
    score = found.score("tuned", "small", "ndcg@10")
    assert len(score.by_seed) == 3
    assert np.mean(score.by_seed) == pytest.approx(score.mean)
    assert found.score("static", "small", "ndcg@10").by_seed == []


def test_training_seconds_are_those_of_all_seeds_and_a_query_is_timed_once(done: Plan):
    [cost] = [each for each in gather_costs(done).costs if each.candidate == "tuned"]
    stages = [done.planner.dense(name).model for name in done.planner.replicas.names["tuned"]]
    seconds = [stage.artifact(done.store).meta["seconds"] for stage in stages]  # type: ignore[union-attr]
    assert cost.training_seconds == pytest.approx(sum(seconds))
    timed = [stage.label for stage in done.stages if stage.label.startswith("time")]
    assert not [label for label in timed if "seed" in label]


def test_asking_for_more_seeds_trains_only_those(done: Plan, beir: Path, static_model: Path):
    folder = done.store.root.parent
    alone = plan_of(suite_file(folder, beir, static_model, seeds=""), done.store)
    assert alone.left() == []
    more = plan_of(suite_file(folder, beir, static_model, seeds=", seeds = 4"), done.store)
    trained = [stage.label for stage, _ in more.left() if stage.label.startswith("fine-tune")]
    assert trained == ["fine-tune tuned, seed 4"]


def test_a_broken_recipe_is_told_once_and_warnings_too(
    tmp_path: Path, beir: Path, static_model: Path, store: Store
):
    path = suite_file(tmp_path, beir, static_model, seeds=", seeds = 3, matryoshka = [17]")
    with pytest.raises(HarnessError) as caught:
        plan_of(path, store)
    assert len(caught.value.problems) == 1
    plan = plan_of(suite_file(tmp_path, beir, static_model), store)
    assert len([text for text in plan.planner.warnings if "'tuned/4'" in text]) == 1


def test_a_replica_never_takes_the_name_of_a_candidate(
    tmp_path: Path, beir: Path, static_model: Path, store: Store
):
    path = suite_file(tmp_path, beir, static_model)
    path.write_text(path.read_text("utf-8") + '[candidates."tuned, seed 2"]\nkind = "bm25"\n')
    plan = plan_of(path, store)
    assert plan.planner.replicas.names["tuned"] == ("tuned", "tuned, seed 2'", "tuned, seed 3")


def test_two_numbers_of_seeds_in_one_suite_are_refused(
    tmp_path: Path, beir: Path, static_model: Path
):
    path = suite_file(tmp_path, beir, static_model)
    other = """
    [candidates.other]
    from = "static"
    finetune = { data = "small:train", batch_size = 8, seeds = 2 }
    """
    path.write_text(path.read_text("utf-8") + other)
    with pytest.raises(HarnessError, match="the same number"):
        load_suite(path)
