"""The situation of a small finished plan: actions, costs, bars, health and headroom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import run_suite, write_suite, write_vectors

from harness.decision.gather import action_of, gather_situation, unshortened
from harness.decision.rules import decide
from harness.decision.situation import Action, Option, Situation
from harness.plan.plan import Plan
from harness.results import comparison, gathering
from harness.results.comparison import Sizes, compare
from harness.results.gathering import gather, gather_costs
from harness.runs.metrics import Scorecard
from harness.store import Store

SUITE = """
baseline = "{baseline}"
[collections.notes]
source = "beir:{folder}"
[candidates.bm25]
kind = "bm25"
[candidates.a]
vectors = {{ documents = "{here}/a.docs.npy", queries = "{here}/a.queries.npy" }}
[candidates."a/4"]
from = "a"
truncate = 4
[candidates."a/2"]
from = "a/4"
truncate = 2
[candidates.b]
vectors = {{ documents = "{here}/b.docs.npy", queries = "{here}/b.queries.npy" }}
[candidates."b/2"]
from = "b"
truncate = 2
[candidates.hybrid]
fuse = ["bm25", "a"]
[candidates.cascade]
from = "bm25"
rerank = {{ candidate = "a", depth = 10 }}
[candidates.static]
model = "{model}"
[candidates.prompted]
model = "{model}"
prompts = {{ query = "ba " }}
[candidates.imported]
run = "{here}/imported.trec"
[candidates.tuned]
from = "static"
finetune = {{ data = "notes:train", batch_size = 8{leaks} }}
[candidates."tuned/8"]
from = "tuned"
truncate = 8
[candidates.both]
fuse = ["bm25", "tuned"]
{more}
"""
MORE = """
[budgets]
bytes_per_document = 20
[prices]
device_hour = 2.0
gb_month = 0.5
documents = 1_000_000
queries_per_month = 0
"""


def write(
    folder: Path, beir: Path, model: Path, *, baseline: str, more: str = "", leaks: str = ""
) -> Path:
    """Write the suite with its vectors and its run."""
    for name, seed in (("a", 1), ("b", 2)):
        rng = np.random.default_rng(seed)
        for part, letter, count in (("docs", "d", 60), ("queries", "q", 20)):
            ids = [f"{letter}{row:02}" for row in range(count)]
            write_vectors(folder / f"{name}.{part}.npy", rng.normal(size=(count, 8)), ids)
    lines = [f"q{row:02} Q0 d{row:02} 1 1.0 x\n" for row in range(20)]
    (folder / "imported.trec").write_text("".join(lines))
    text = SUITE.format(
        baseline=baseline, folder=beir, here=folder, model=model, more=more, leaks=leaks
    )
    return write_suite(folder / "suite.toml", text)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, beir: Path, static_model: Path) -> Plan:
    folder = tmp_path_factory.mktemp("gather")
    path = write(folder, beir, static_model, baseline="a", more=MORE)
    return run_suite(path, Store(folder / "store"))


@pytest.fixture(scope="module")
def found(plan: Plan) -> Situation:
    return gather_situation(plan, gather_costs(plan))


def the(found: Situation, name: str) -> Option:
    [option] = [each for each in found.options if each.name == name]
    return option


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("bm25", Action.SWITCH),
        ("a/4", Action.TRUNCATE),
        ("a/2", Action.TRUNCATE),
        ("b", Action.SWITCH),
        ("b/2", Action.SWITCH),
        ("hybrid", Action.FUSE),
        ("cascade", Action.RERANK),
        ("static", Action.SWITCH),
        ("imported", Action.SWITCH),
        ("tuned", Action.FINE_TUNE),
        ("tuned/8", Action.FINE_TUNE),
        ("both", Action.FINE_TUNE),
    ],
)
def test_action_is_the_costliest_change_on_the_way(found: Situation, name: str, action: Action):
    assert the(found, name).action is action


@pytest.mark.parametrize(
    ("baseline", "name", "action"),
    [
        ("static", "prompted", Action.FIX_PIPELINE),
        ("static", "tuned/8", Action.FINE_TUNE),
        ("tuned", "tuned/8", Action.TRUNCATE),
        ("tuned", "static", Action.SWITCH),
        ("tuned", "both", Action.FUSE),
        ("a/4", "a/2", Action.TRUNCATE),
        ("a/4", "a", Action.SWITCH),
        ("hybrid", "bm25", Action.SWITCH),
        ("cascade", "hybrid", Action.FUSE),
    ],
)
def test_action_is_seen_from_the_baseline(plan: Plan, baseline: str, name: str, action: Action):
    suite = plan.suite.model_copy(update={"baseline": baseline})
    assert action_of(suite, plan, name) is action


def test_truncation_shortens_the_full_vectors_or_the_baseline(found: Situation, plan: Plan):
    assert [the(found, name).shortens for name in ("a/4", "a/2", "b/2", "b")] == [
        "a",
        "a",
        "b",
        None,
    ]
    assert the(found, "a/2").width == 2
    from_short = plan.suite.model_copy(update={"baseline": "a/4"})
    assert unshortened(from_short, "a/2") == "a/4"
    assert unshortened(from_short, "b/2") == "b"


def test_differences_average_to_those_of_the_results(found: Situation, plan: Plan):
    results = gather(plan)
    assert found.metric == "ndcg@10"
    assert found.n_queries == 20
    for option in found.options:
        mean = results.score(option.name, "notes", "ndcg@10").mean
        base = results.score("a", "notes", "ndcg@10").mean
        assert option.differences[0].mean() == pytest.approx(mean - base)


def test_budget_bars_what_exceeds_it_and_the_baseline_is_told(found: Situation):
    assert the(found, "a/4").over_budget == ()
    assert the(found, "b").over_budget == (
        "The index size of 32 bytes per document exceeds the budget of 20 bytes per document.",
    )
    assert found.baseline_over_budget == (
        "The index size of 32 bytes per document exceeds the budget of 20 bytes per document.",
    )


def test_money_is_that_of_memory_where_nobody_asks(found: Situation):
    cost = the(found, "b").cost
    assert cost.bytes_per_document == 32
    if cost.query_ms_p95 is not None:
        assert cost.money_per_month == pytest.approx(0.5 * 32 * 1_000_000 / 1e9)


def test_training_minutes_belong_to_all_that_is_made_of_it(found: Situation):
    minutes = the(found, "tuned").cost.training_minutes
    assert minutes is not None
    assert minutes > 0
    assert the(found, "both").cost.training_minutes == minutes
    assert the(found, "tuned/8").cost.training_minutes == minutes
    assert the(found, "static").cost.training_minutes is None


def test_headroom_and_health_come_from_the_runs(found: Situation):
    assert found.gap is not None
    assert found.gap.achieved + found.gap.ordering_loss + found.gap.first_stage_loss == (
        pytest.approx(1)
    )
    assert found.gap.depth == 100
    assert found.health.missing == 0
    assert found.health.contradiction is not None
    assert found.health.contradiction.contradicted <= found.health.contradiction.agreed


def test_candidates_with_vectors_are_known(found: Situation):
    assert found.with_vectors == {"a", "a/4", "a/2", "b", "b/2", "static", "prompted"} | {
        "tuned",
        "tuned/8",
    }


def test_same_plan_gives_the_same_decision(plan: Plan, found: Situation):
    again = gather_situation(plan, gather_costs(plan))
    first, second = (decide(each, suite="small").model_dump_json() for each in (found, again))
    assert first == second


def test_training_on_the_test_queries_bars(tmp_path: Path, beir: Path, static_model: Path):
    leaky = tmp_path / "leaky"
    leaky.mkdir()
    for file in ("corpus.jsonl",):
        (leaky / file).write_text((beir / file).read_text())
    queries = (beir / "queries.jsonl").read_text()
    copies = [line.replace('"q0', '"z0') for line in queries.splitlines()[:10]]
    (leaky / "queries.jsonl").write_text(queries + "\n".join(copies) + "\n")
    (leaky / "qrels").mkdir()
    (leaky / "qrels" / "test.tsv").write_text((beir / "qrels" / "test.tsv").read_text())
    train = [f"z0{row}\td0{row}\t1\n" for row in range(10)]
    (leaky / "qrels" / "train.tsv").write_text(
        (beir / "qrels" / "train.tsv").read_text() + "".join(train)
    )
    path = write(tmp_path, leaky, static_model, baseline="static", leaks=', leaks = "allow"')
    plan = run_suite(path, Store(tmp_path / "store"))
    found = gather_situation(plan, gather_costs(plan))
    for name in ("tuned", "tuned/8", "both"):
        [sentence] = the(found, name).leaked
        assert sentence == (
            "'tuned' was trained on test queries: 'notes:train' leaks 7 of 20 scored "
            "queries of 'notes' (7 by the same text)."
        )
    assert the(found, "hybrid").leaked == ()
    leaks = {each.name: len(each.leaks) for each in gather(plan).candidates}
    assert leaks == {**dict.fromkeys(leaks, 0), "tuned": 1}


def test_comparisons_are_made_once(plan: Plan, monkeypatch: pytest.MonkeyPatch):
    first = gather(plan)
    assert first.comparisons

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("compared again")

    monkeypatch.setattr(comparison, "paired", refuse)
    again = gather(plan)
    assert again == first
    assert again.model_dump_json() == first.model_dump_json()


def test_comparisons_are_made_again_for_other_values_sizes_seeds_or_code(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    [collection, *_] = plan.collections
    cards = {
        name: plan.scored[name, collection].result(plan.store) for name in plan.suite.candidates
    }
    metric, edges = plan.suite.parsed_metrics()[0], gathering.edges(plan)
    how: dict[str, Any] = {"collection": "c", "seed": 1, "sizes": Sizes(gain=0.0, margin=0.01)}
    store = Store(tmp_path / "compared")

    def stored(cards: dict[str, Scorecard] = cards, **other: Any) -> int:
        """Return how many are stored after a comparison."""
        compare(cards, edges, [metric], **{**how, **other}, store=store)
        return len(store.list("comparisons"))

    changed = {
        name: replace(card, values={**card.values, str(metric): card.values[str(metric)] / 2})
        for name, card in cards.items()
    }
    clusters = np.arange(cards[edges[0][0]].n_queries)
    assert [
        stored(),
        stored(changed),
        stored(seed=2),
        stored(collection="d"),
        stored(sizes=Sizes(gain=0.0, margin=0.02)),
        stored(clusters=clusters),
    ] == [1, 2, 3, 4, 5, 6]
    assert stored() == 6
    monkeypatch.setattr(comparison, "code_digest", lambda *_: "other")
    assert stored() == 7
