from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import WORDS, run_suite, write_beir, write_suite
from situations import decided, option, rule
from test_training import HALF, task, train_stage

from harness.decision.gather import gather_situation
from harness.decision.situation import Action
from harness.errors import HarnessError
from harness.gates.targets import find_targets
from harness.plan.plan import Plan
from harness.results.gathering import gather_costs
from harness.results.training import (
    AcceptedLoss,
    Forgetting,
    Kept,
    forgetting,
    retention_of,
    trained_parts,
    untrained,
)
from harness.stage import Context
from harness.statistics.inferiority import difference_bounds
from harness.store import Store
from harness.suite.load import load_suite

SUITE = """
baseline = "static"
[collections.small]
source = "beir:{beir}"
[collections.one]
source = "beir:{one}"
role = "general"
[collections.two]
source = "beir:{two}"
role = "general"
[training.synonyms]
source = "pairs:{synonyms}"
[candidates.words]
kind = "bm25"
[candidates.static]
model = "{model}"
[candidates.tuned]
from = "static"
finetune = {{ data = "synonyms", leaks = "drop", epochs = 5, learning_rate = 0.5{seeds} }}
[candidates.again]
from = "tuned"
finetune = {{ data = "synonyms", leaks = "drop", batch_size = 8 }}
[candidates."tuned/4"]
from = "tuned"
truncate = 4
[candidates.half]
from = "tuned"
interpolate = 0.5
[candidates.mixed]
fuse = ["words", "half"]
[gates.quality]
rule = "at_least"
value = 0.1
"""


def write(folder: Path, beir: Path, model: Path, *, seeds: str = "") -> Path:
    """Write a suite with a target and two general collections of 80 queries each.

    The general ones ask for the synonyms that the model knows; training teaches others.
    """
    for name, seed in (("one", 31), ("two", 32)):
        known = [*task(80, seed=seed).rows()]
        write_beir(
            folder / name,
            documents={f"d{row:02}": text for row, (_, text) in enumerate(known)},
            queries={f"q{row:02}": text for row, (text, _) in enumerate(known)},
            qrels={"test": [(f"q{row:02}", f"d{row:02}", 1) for row in range(80)]},
        )
    other = {word: WORDS[HALF + (place + 7) % HALF] for place, word in enumerate(WORDS[:HALF])}
    rows = [
        f"{query},{' '.join(other[word] for word in query.split())}\n"
        for query, _ in task(300, seed=1).rows()
    ]
    (folder / "synonyms.csv").write_text("query,document\n" + "".join(rows), "utf-8")
    places = {"one": folder / "one", "two": folder / "two", "synonyms": folder / "synonyms.csv"}
    text = SUITE.format(beir=beir, model=model, seeds=seeds, **places)
    return write_suite(folder / "suite.toml", text)


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory, static_model: Path) -> Path:
    """Return a model that was trained on the synonyms of `task`."""
    store = Store(tmp_path_factory.mktemp("knowing"))
    stage = train_stage(static_model, recipe={"epochs": 5, "learning_rate": 0.05})
    stage.run(Context(store=store))
    return stage.stored(store).path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, beir: Path, knowing: Path) -> Plan:
    folder = tmp_path_factory.mktemp("general")
    return run_suite(write(folder, beir, knowing), Store(folder / "store"))


def test_a_trained_model_answers_for_what_is_made_of_it_and_is_compared_with_what_it_was(
    done: Plan,
):
    suite = done.suite
    parts = {name: [*trained_parts(suite, name)] for name in suite.candidates}
    assert parts == {
        "words": [],
        "static": [],
        "tuned": ["tuned"],
        "again": ["again"],
        "tuned/4": ["tuned"],
        "half": ["half"],
        "mixed": ["half"],
    }
    before = {name: untrained(suite, name) for name in suite.candidates}
    trained = dict.fromkeys(("tuned", "again", "half"), "static")
    assert before == {**dict.fromkeys(suite.candidates), **trained}


def test_forgetting_is_the_mean_over_general_collections_with_the_bounds_of_each(done: Plan):
    found = {each.candidate: each for each in forgetting(done)}
    assert found.keys() == {"tuned", "again", "half"}
    tuned = found["tuned"]
    assert [each.collection for each in tuned.collections] == ["one", "two"]
    differences = [
        done.scored["tuned", place].result(done.store).values["ndcg@10"]
        - done.scored["static", place].result(done.store).values["ndcg@10"]
        for place in ("one", "two")
    ]
    assert tuned.difference == pytest.approx(np.mean([part.mean() for part in differences]))
    for each, part in zip(tuned.collections, differences, strict=True):
        wanted = difference_bounds(part[:, None])
        assert each.low == pytest.approx(max(-1.0, float(wanted.low[0])))
        assert each.high == pytest.approx(min(1.0, float(wanted.high[0])))
    widths = [each.high - each.low for each in tuned.collections]
    assert tuned.high - tuned.low < max(widths)
    assert abs(found["half"].difference) <= abs(tuned.difference)


def test_other_seeds_widen_the_bounds(tmp_path: Path, beir: Path, knowing: Path, done: Plan):
    path = write(tmp_path, beir, knowing, seeds=", seeds = 3")
    plan = run_suite(path, done.store)
    alone, seeded = (next(iter(forgetting(each))) for each in (done, plan))
    spread = [
        plan.scored["tuned", place].result(plan.store).of_each_seed("ndcg@10").mean(axis=0)
        for place in ("one", "two")
    ]
    assert np.std(np.mean(spread, axis=0)) > 0
    assert seeded.low < alone.difference < seeded.high


def test_general_collections_take_no_part_in_the_decision_and_gates(done: Plan):
    found = gather_situation(done, gather_costs(done))
    assert found.collections == ("small",)
    assert found.n_queries == 20
    assert [target.collection for target in find_targets(done)] == ["small"]


def test_what_forgets_is_excluded_with_everything_that_is_made_of_it(done: Plan):
    found = gather_situation(done, gather_costs(done))
    [tuned] = [each for each in found.forgetting if each.candidate == "tuned"]
    assert tuned.outcome == "forgets"
    excluded = {each.name: each.forgotten for each in found.options}
    assert excluded["tuned"] == excluded["tuned/4"]
    assert "it forgets more than accepted (0.02" in excluded["tuned"][0]
    assert excluded["words"] == ()


def kept(low: float, high: float) -> Kept:
    return Kept("c", 300, (low + high) / 2, low, high)


@pytest.mark.parametrize(
    ("low", "high", "each", "outcome"),
    [
        (-0.019, 0.01, [(-0.049, 0.02)], "keeps"),
        (-0.021, 0.01, [(-0.049, 0.02)], "open"),
        (-0.019, 0.01, [(-0.01, 0.02), (-0.051, 0.02)], "open"),
        (-0.04, -0.021, [(-0.04, -0.021)], "forgets"),
        (-0.019, 0.01, [(0.02, 0.04), (-0.08, -0.051)], "forgets"),
    ],
)
def test_every_collection_must_keep_and_one_can_forget(
    low: float, high: float, each: list[tuple[float, float]], outcome: str
):
    parts = [kept(*ends) for ends in each]
    assert retention_of(low, high, parts, AcceptedLoss(mean=0.02, each=0.05)) == outcome


def seen(outcome: str, *, share: float = 1.0) -> Forgetting:
    return Forgetting(
        candidate="tuned",
        reference="base",
        share=share,
        metric="ndcg@10",
        difference=-0.03,
        low=-0.05,
        high=-0.01,
        outcome=outcome,  # type: ignore[arg-type]
        collections=(Kept("wiki", 300, -0.03, -0.05, -0.01),),
        limits=AcceptedLoss(mean=0.02, each=0.05),
    )


def test_a_tuned_model_that_keeps_is_recommended_and_one_that_forgets_is_not():
    good = option("tuned", 0.2, Action.FINE_TUNE, trained=("tuned",))
    found = decided(good, forgetting=(seen("keeps"),))
    assert (found.action, found.strength) == (Action.FINE_TUNE, "recommended")
    assert "it forgets less than accepted" in rule(found, "forgetting")[1]

    bad = option("tuned", 0.2, Action.FINE_TUNE, trained=("tuned",), forgotten=("It forgets.",))
    found = decided(bad, forgetting=(seen("forgets"),))
    assert found.action is not Action.FINE_TUNE
    assert found.experiment.startswith(
        'Add a candidate with from = "tuned" and interpolate = 0.5: averaging its weights with'
    )
    lower = decided(bad, forgetting=(seen("forgets", share=0.5),)).experiment
    assert lower == "Lower interpolate of 'tuned' below 0.5."


def test_what_may_forget_is_leaned_to_at_most_and_the_sentence_says_why():
    text = "Whether 'tuned' forgets is open."
    caution = option("tuned", 0.2, Action.FINE_TUNE, trained=("tuned",), cautions=(text,))
    found = decided(caution, forgetting=(seen("open"),))
    assert (found.action, found.strength) == (Action.FINE_TUNE, "weak")
    assert text in found.warnings
    assert found.experiment.endswith("or judge more queries of the general collections.")


def test_without_a_general_collection_the_rule_says_that_nothing_is_known():
    good = option("tuned", 0.2, Action.FINE_TUNE, trained=("tuned",))
    found = decided(good)
    assert (found.action, found.strength) == (Action.FINE_TUNE, "recommended")
    assert rule(found, "forgetting")[1].startswith("Not measured: no collection has role")
    assert not [each for each in decided(option("b", 0.2)).rules if each.name == "forgetting"]


def test_a_suite_needs_a_collection_to_decide_on(tmp_path: Path, beir: Path, static_model: Path):
    path = write(tmp_path, beir, static_model)
    text = path.read_text("utf-8").replace(f'"beir:{beir}"', f'"beir:{beir}"\nrole = "general"')
    path.write_text(text, "utf-8")
    with pytest.raises(HarnessError, match="so none can decide"):
        load_suite(path)
