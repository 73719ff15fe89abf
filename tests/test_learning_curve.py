"""Learning curves: a suite that asks for one trains on parts, measures, and forecasts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import WORDS, plan_of, run_suite, write_beir, write_suite
from small_curves import curve

from harness.errors import ExitCode, HarnessError
from harness.plan.growing import HeldOut, contrastive_entropy
from harness.plan.plan import Plan
from harness.results.gathering import gather, gather_costs
from harness.results.learning_curve import doubling, reach
from harness.results.values import Results
from harness.retrieval.embeddings import Embeddings
from harness.store import Store
from reports import curves, html, markdown

HALF = len(WORDS) // 2


def meanings(count: int) -> list[tuple[int, int, int]]:
    draw = np.random.default_rng(5)
    found: dict[tuple[int, int, int], None] = {}
    while len(found) < count:
        one, two, three = sorted(draw.choice(HALF, 3, replace=False).tolist())
        found[one, two, three] = None
    return list(found)


def collection(folder: Path, *, train: int, dev: int) -> Path:
    """Write a planted task: documents say what queries say, in the other half of the words."""
    texts = meanings(train + 60 + dev)
    queries = {
        f"q{row:03}": " ".join(WORDS[word] for word in words) for row, words in enumerate(texts)
    }
    documents = {
        f"d{row:03}": " ".join(WORDS[HALF + word] for word in words[::-1])
        for row, words in enumerate(texts)
    }
    rows = [(f"q{row:03}", f"d{row:03}", 1) for row in range(len(texts))]
    splits = {"train": rows[:train], "test": rows[train : train + 60], "dev": rows[train + 60 :]}
    return write_beir(
        folder,
        documents=documents,
        queries=queries,
        qrels={split: rows for split, rows in splits.items() if rows},
    )


def suite_of(folder: Path, *, model: Path, train: int = 400, dev: int = 100) -> Path:
    collection(folder / "small", train=train, dev=dev)
    return write_suite(
        folder / "suite.toml",
        f"""
        baseline = "static"
        collections.small.source = "beir:{folder}/small"
        [candidates.static]
        model = "{model}"
        [candidates.tuned]
        from = "static"
        [candidates.tuned.finetune]
        data = "small:train"
        learning_curve = true
        batch_size = 32
        epochs = 4
        learning_rate = 0.03
        """,
    )


@pytest.fixture(scope="module")
def run(static_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Store]:
    folder = tmp_path_factory.mktemp("curve")
    store = Store(folder / "store")
    path = suite_of(folder, model=static_model)
    run_suite(path, store)
    return path, store


@pytest.fixture(scope="module")
def results(run: tuple[Path, Store]) -> Results:
    return gather(plan_of(*run))


def test_the_parts_are_an_eighth_a_quarter_a_half_and_all_and_lie_in_each_other(
    run: tuple[Path, Store],
):
    plan = plan_of(*run)
    parts = plan.growing["tuned"].parts
    assert [part.pairs for part in parts] == [50, 100, 200, 400]
    rows = [set(part.train.data.read(plan.store).rows()) for part in parts]
    assert rows[0] < rows[1] < rows[2] < rows[3]
    assert parts[-1].train is plan.planner.dense("tuned").model


def test_nothing_is_trained_twice_and_a_second_run_does_nothing(run: tuple[Path, Store]):
    path, store = run
    plan = plan_of(path, store)
    assert plan.left() == []
    assert len(store.list("weights")) == 4


def test_held_out_pairs_are_the_dev_split_and_no_training_sees_them(run: tuple[Path, Store]):
    plan = plan_of(*run)
    growing = plan.growing["tuned"]
    assert growing.held_out.name == "small:dev"
    assert len(growing.held_out) == 100
    assert growing.held_out.negatives.shape == (100, 99)
    trained = set(growing.parts[-1].train.data.known.columns["anchor"])
    assert trained.isdisjoint(growing.held_out.queries)


def test_the_curve_falls_where_there_is_something_to_learn(results: Results):
    found = results.learning_curves[0]
    assert [point.pairs for point in found.points] == [0, 50, 100, 200, 400]
    entropies = [point.entropy for point in found.points]
    assert entropies == sorted(entropies, reverse=True)
    assert found.points[-1].score > found.points[0].score + 0.2
    mean = results.score("tuned", "small", "ndcg@10").mean
    assert found.points[-1].score == pytest.approx(mean)
    assert found.forecasts[-1].pairs == 1600
    assert found.forecasts[-1].entropy <= found.forecasts[0].entropy
    assert all(point.score_low <= point.score <= point.score_high for point in found.forecasts)
    assert found.n == 60


def test_without_a_split_for_it_a_tenth_of_the_pairs_is_held_out(
    static_model: Path, tmp_path: Path, store: Store
):
    plan = plan_of(suite_of(tmp_path, model=static_model, train=600, dev=0), store)
    growing = plan.growing["tuned"]
    last = growing.parts[-1]
    assert growing.held_out.name == "a tenth of small:train"
    assert (len(growing.held_out), last.pairs) == (60, 540)
    trained = set(last.train.data.known.columns["anchor"])
    assert trained.isdisjoint(growing.held_out.queries)
    assert last.train is not plan.planner.dense("tuned").model


def test_asking_for_the_curve_changes_nothing_of_the_candidate(
    run: tuple[Path, Store], static_model: Path, tmp_path: Path
):
    _, store = run
    path = suite_of(tmp_path, model=static_model)
    path.write_text(path.read_text("utf-8").replace("learning_curve = true", ""), "utf-8")
    plan = plan_of(path, store)
    assert plan.left() == []
    assert gather(plan).learning_curves == []


@pytest.mark.parametrize(
    ("change", "message", "code"),
    [
        (("batch_size = 32", "batch_size = 64"), "an eighth of 400 rows is 50", ExitCode.DATA),
        (("", ""), "40 held-out pairs (a tenth of small:train) are too few", ExitCode.DATA),
        (
            ('data = "small:train"', 'data = "rated"\nloss = "cosent"'),
            "measured on pairs",
            ExitCode.USAGE,
        ),
    ],
)
def test_a_curve_that_can_not_be_drawn_is_refused_by_the_plan(
    change: tuple[str, str],
    message: str,
    code: ExitCode,
    static_model: Path,
    tmp_path: Path,
    store: Store,
):
    rated = [f"{words[0]} {words[1]},{words[2]},1\n" for words in (WORDS[:3], WORDS[3:6])]
    rows = "".join(f"{one} x,{one} y,1\n" for one in WORDS)
    (tmp_path / "rated.csv").write_text("sentence1,sentence2,label\n" + rows + "".join(rated))
    path = suite_of(tmp_path, model=static_model, dev=0 if change == ("", "") else 100)
    text = path.read_text("utf-8").replace(*change)
    more = f'[training.rated]\nsource = "labelled:{tmp_path}/rated.csv"\n'
    path.write_text(text + more, "utf-8")
    with pytest.raises(HarnessError) as caught:
        plan_of(path, store)
    assert message in str(caught.value)
    assert caught.value.exit_code is code


def test_entropy_is_the_log_of_the_choices_where_nothing_is_told_apart():
    vectors = Embeddings([np.ones((4, 2), dtype=np.float32)], np.arange(4), 2, normalised=True)
    negatives = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]], dtype=np.int32)
    same = contrastive_entropy(vectors.block(0, 4), vectors, negatives, scale=20.0)
    assert same == pytest.approx(np.full(4, np.log(4)))
    apart = Embeddings([np.eye(4, dtype=np.float32)], np.arange(4), 4, normalised=True)
    told = contrastive_entropy(apart.block(0, 4), apart, negatives, scale=20.0)
    assert told == pytest.approx(np.full(4, np.log1p(3 * np.exp(-20.0))), abs=1e-12)


def test_sampled_documents_are_never_relevant_to_the_query():
    queries = ("a", "A ", *(f"q{row}" for row in range(8)))
    documents = ("one", "two", "ONE", *(f"d{row}" for row in range(7)))
    held_out = HeldOut("some", queries, documents)
    for query, rows in zip(queries, held_out.negatives.tolist(), strict=True):
        drawn = {documents[row].lower() for row in rows}
        assert len(drawn) == len(rows) == 7
        if query.strip().lower() == "a":
            assert drawn.isdisjoint({"one", "two"})
    assert held_out.key == HeldOut("other", queries, documents).key
    assert held_out.key != HeldOut("some", queries[::-1], documents).key


@pytest.mark.parametrize(
    ("enough", "words"),
    [
        (None, "does not become likely (P ≥ 0.8) with up to 3,200 pairs (P = 0.30 there)"),
        (None, "extrapolation ends at 4 times the 800 pairs"),
        (100, "already with 100 pairs, the smallest part trained on"),
        (500, "from about 500 of the 800 pairs on"),
        (2000, "with about 2,000 pairs; you have 800"),
    ],
)
def test_the_sentence_says_how_many_pairs_are_enough_and_never_looks_too_far(
    enough: int | None, words: str
):
    assert words in reach(curve(enough=enough))


def test_the_sentence_says_what_twice_the_pairs_would_add():
    assert doubling(curve()) == (
        "Twice the pairs (1,600) would add about +0.020 [\u22120.010, +0.040] ndcg@10 to 'tuned' "
        "(n=60 queries, 100 held-out pairs)."
    )


def test_the_reports_show_the_curve(run: tuple[Path, Store], results: Results):
    plan: Plan = plan_of(*run)
    costs = gather_costs(plan)
    found = results.learning_curves[0]
    table = curves.table(found)
    assert [row[:2] for row in table.rows] == [
        ("0", "the parent"),
        ("50", "trained"),
        ("100", "trained"),
        ("200", "trained"),
        ("400", "trained"),
        ("800", "forecast"),
        ("1,600", "forecast"),
    ]
    assert [trace.name for trace in curves.figure(found).data[:4]] == [
        *("95% band", "fitted", "forecast", "trained"),
    ]
    page = html.render(results, costs, {})
    assert "Learning curve of tuned" in page
    assert markdown.plain(doubling(found)) in markdown.render(results, costs)
    assert Results.model_validate_json(results.model_dump_json()) == results
