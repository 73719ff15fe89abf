"""Approximate indexes: exactness at the limit, determinism, bytes, the decision, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import plan_of, run_suite, write_beir, write_suite, write_vectors
from situations import differences, option, situation

from harness.decision.gather import gather_situation, unshortened
from harness.decision.rules import decide
from harness.decision.situation import Action, OptionCost
from harness.diagnosis.diagnose import plan_diagnosis, read_diagnosis
from harness.errors import HarnessError
from harness.plan.execute import execute
from harness.plan.plan import Plan
from harness.results.gathering import gather, gather_costs
from harness.retrieval.embeddings import Embeddings, unit_length
from harness.retrieval.index import build
from harness.retrieval.search import search
from harness.stage import Silent
from harness.store import Store
from harness.suite.kinds.index import IndexSpec
from harness.suite.load import load_suite

faiss = pytest.importorskip("faiss")

WIDTH, N = 16, 400
TYPES = ("hnsw", "ivf", "ivfpq", "rabitq")
SUITE = """
baseline = "full"
collections.small = {{ source = "beir:{here}/beir", exclude_identical_ids = true }}
[candidates.bm25]
kind = "bm25"
[candidates.full]
vectors = {{ documents = "{here}/d.npy", queries = "{here}/q.npy" }}
similarity = "{similarity}"
[candidates.hnsw]
from = "full"
index = {{ type = "hnsw", ef_search = 400 }}
[candidates."hnsw, ef 100"]
from = "full"
index = {{ type = "hnsw", m = 4, ef_construction = 8, ef_search = 100 }}
[candidates.ivf]
from = "full"
index = {{ type = "ivf", lists = 10, probes = 10 }}
[candidates."ivf, 1 probe"]
from = "full"
index = {{ type = "ivf", lists = 10, probes = 1 }}
[candidates.ivfpq]
from = "full"
index = {{ type = "ivfpq", pq = 4 }}
[candidates.rabitq]
from = "full"
index = {{ type = "rabitq" }}
[candidates."rabitq, rescored"]
from = "full"
index = {{ type = "rabitq" }}
rescore = 4
[candidates."full/8"]
from = "full"
truncate = 8
[candidates."full/8, hnsw"]
from = "full/8"
index = {{ type = "hnsw", ef_search = 400 }}
[candidates.int8]
from = "full"
quantize = "int8"
[candidates."int8, ivf"]
from = "int8"
index = {{ type = "ivf", lists = 5, probes = 5 }}
[candidates."int8, ivf, rescored"]
from = "int8"
index = {{ type = "ivf", lists = 5, probes = 5 }}
rescore = 4
[candidates.hybrid]
fuse = ["hnsw", "bm25"]
[candidates.cascade]
from = "ivf"
rerank = {{ candidate = "full/8", depth = 10 }}
"""


def world(here: Path, similarity: str) -> Plan:
    """Return a finished plan of 400 given vectors, two of them equal, one of them a query's."""
    draw = np.random.default_rng(3)
    documents = draw.normal(size=(N, WIDTH)) * np.linspace(2, 0.5, WIDTH)
    documents[7] = documents[3]
    queries = documents[:60] + draw.normal(size=(60, WIDTH))
    ids = [f"d{row:03}" for row in range(N)]
    asked = ["d005", *(f"q{row:03}" for row in range(1, 60))]  # the first may not find itself
    write_beir(
        here / "beir",
        documents={key: f"words of document {key}" for key in ids},
        queries={key: f"words of query {key}" for key in asked},
        qrels={"test": [(key, ids[row], 1) for row, key in enumerate(asked)]},
    )
    write_vectors(here / "d.npy", documents, ids)
    write_vectors(here / "q.npy", queries, asked)
    text = SUITE.format(here=here, similarity=similarity)
    return run_suite(write_suite(here / "suite.toml", text), Store(here / "store"))


@pytest.fixture(scope="module", params=["cosine", "dot"])
def either(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Plan:
    """Return the plan for each similarity."""
    return world(tmp_path_factory.mktemp("index"), request.param)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Return the plan by cosine."""
    return world(tmp_path_factory.mktemp("index"), "cosine")


def run_of(plan: Plan, name: str) -> Any:
    return plan.scored[name, "small"].run_stage.result(plan.store)


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("hnsw", "full"),
        ("ivf", "full"),
        ("full/8, hnsw", "full/8"),
        ("int8, ivf", "int8"),
        ("int8, ivf, rescored", "full"),
    ],
)
def test_index_that_visits_everything_is_exact_search(either: Plan, name: str, exact: str):
    one, other = run_of(either, name), run_of(either, exact)
    assert one.documents.tolist() == other.documents.tolist()
    assert one.scores.tolist() == other.scores.tolist()


def test_no_index_returns_the_forbidden_document(either: Plan):
    for name in either.suite.candidates:
        row = either.collections["small"].query_ids.index("d005")
        assert 5 not in run_of(either, name).documents[row].tolist(), name


def test_scores_are_those_of_the_vectors_and_the_codes_of_what_is_found(plan: Plan):
    run, full = run_of(plan, "ivf, 1 probe"), run_of(plan, "full")
    known = {
        (query, document): score
        for query, pairs in enumerate(zip(full.documents, full.scores, strict=True))
        for document, score in zip(*pairs, strict=True)
    }
    found = [
        (known[query, document], score)
        for query, pairs in enumerate(zip(run.documents, run.scores, strict=True))
        for document, score in zip(*pairs, strict=True)
        if (query, document) in known
    ]
    assert len(found) > 500
    assert all(mine == exact for mine, exact in found)
    for name in ("ivfpq", "rabitq"):
        codes = run_of(plan, name)
        assert (np.diff(codes.scores, axis=1)[codes.documents[:, 1:] >= 0] <= 0).all()


@pytest.mark.parametrize("kind", TYPES)
def test_two_builds_are_equal_and_another_seed_is_not(kind: Any):
    vectors = unit_length(np.random.default_rng(1).normal(size=(900, 32)).astype(np.float32))
    spec = IndexSpec(type=kind)
    one, again, other = (
        faiss.serialize_index(build(vectors, spec, seed=seed)) for seed in (13, 13, 14)
    )
    assert one.tobytes() == again.tobytes()
    assert one.tobytes() != other.tobytes()


def test_number_of_threads_and_silence_of_the_build(capfd: pytest.CaptureFixture[str]):
    vectors = unit_length(np.random.default_rng(1).normal(size=(900, 32)).astype(np.float32))
    before = faiss.omp_get_max_threads()
    built = []
    for threads in (1, 2):
        faiss.omp_set_num_threads(threads)
        built.append(faiss.serialize_index(build(vectors, IndexSpec(type="ivfpq"), seed=1)))
        assert faiss.omp_get_max_threads() == threads
    faiss.omp_set_num_threads(before)
    assert built[0].tobytes() == built[1].tobytes()
    assert "WARNING" not in "".join(capfd.readouterr())


def test_searches_of_one_index_share_its_build(plan: Plan):
    stage = plan.planner.run_stage("ivf", "small")
    one, other = stage.built, plan.planner.run_stage("ivf, 1 probe", "small").built
    assert one.key(plan.store) == other.key(plan.store)
    assert len(plan.store.list("indexes")) == 7
    # No query has a part in it.
    changed = replace(one, documents=replace(one.documents, queries=stage.space.queries))
    assert changed.key(plan.store) != one.key(plan.store)
    assert one.documents.queries is one.documents.documents


def test_bytes_are_those_of_the_index(plan: Plan):
    costs = {cost.candidate: cost for cost in gather_costs(plan).costs}
    bytes_of = {name: cost.bytes_per_document for name, cost in costs.items()}
    assert bytes_of["hnsw"] > bytes_of["full"] + 2 * 4 * 32  # a graph beside the vectors
    assert bytes_of["full"] < bytes_of["ivf"] < bytes_of["full"] + 16
    assert bytes_of["int8, ivf"] < bytes_of["full"]
    assert bytes_of["int8, ivf, rescored"] == bytes_of["int8, ivf"] + 4 * WIDTH
    assert all(
        (cost.index_seconds is not None) == ("index" in plan.suite.candidates[name].word)
        for name, cost in costs.items()
        if name not in {"hybrid", "cascade"}
    )


def test_recall_is_of_the_exact_search(plan: Plan):
    found = {each.candidate: each for each in gather(plan).recalls}
    assert set(found) == {name for name, spec in plan.suite.candidates.items() if spec.compresses}
    assert found["hnsw"].mean == found["ivf"].mean == found["int8, ivf"].mean == 1
    assert 0.05 < found["ivf, 1 probe"].mean < 0.9
    assert found["full/8, hnsw"].parent == "full/8"
    assert (found["ivf"].n, found["ivf"].k) == (60, 100)
    one, other = run_of(plan, "ivf, 1 probe").documents, run_of(plan, "full").documents
    shares = [len(set(mine) & set(exact)) / 100 for mine, exact in zip(one, other, strict=True)]
    assert found["ivf, 1 probe"].mean == pytest.approx(np.mean(shares))


def test_results_plan_and_decision_know_the_kind(plan: Plan):
    result = {each.name: each for each in gather(plan).candidates}["hnsw, ef 100"]
    assert (result.kind, result.parents, result.dimension) == ("index", ["full"], WIDTH)
    assert result.change == "HNSW index (m 4, ef_construction 8, ef_search 100)"
    options = {each.name: each for each in gather_situation(plan, gather_costs(plan)).options}
    assert options["ivf"].action is Action.INDEX
    assert options["full/8, hnsw"].left == "8 dimensions, HNSW index"
    assert options["full/8, hnsw"].shortens == "full"
    assert [options[name].indexed for name in ("ivf", "int8")] == [True, False]
    assert options["ivf"].series != options["ivf, 1 probe"].series
    suite = plan.suite.model_copy(update={"baseline": "hnsw"})
    assert unshortened(suite, "ivf") is None
    assert unshortened(suite, "ivfpq") == "hnsw"


def indexed(name: str, values: Any, *, bytes_each: float, ms: float | None, **more: Any) -> Any:
    return option(
        name,
        values,
        Action.INDEX,
        shortens="base",
        width=64,
        left="HNSW index",
        indexed=True,
        series=name,
        cost=OptionCost(bytes_per_document=bytes_each, query_ms_p95=ms),
        **more,
    )


def tiny_loss() -> np.ndarray:
    return differences(-0.0005, sd=0.03, n=2000, seed=3)


FULL = OptionCost(bytes_per_document=256, query_ms_p95=10.0)


def test_index_that_saves_time_alone_is_recommended_and_says_so():
    asked = situation(indexed("hnsw", tiny_loss(), bytes_each=512, ms=4.0), baseline_cost=FULL)
    decision = decide(asked, suite="small")
    assert (decision.action, decision.candidate) == (Action.INDEX, "hnsw")
    assert decision.sentence == "Search through HNSW index: use 'hnsw' (recommended)."
    assert decision.price.startswith("The loss is at most")
    assert decision.price.endswith(
        "for 2 times the index size, at 0.4 times the p95 latency (10.0 to 4.00 ms); no "
        "budget is set."
    )


@pytest.mark.parametrize(
    ("ms", "says"),
    [
        (9.5, "It saves no bytes, and less than a tenth of the latency: 9.5 instead of 10 ms"),
        (None, "It saves no bytes, and its latency is not measured."),
    ],
)
def test_index_that_saves_nothing_is_not_recommended(ms: float | None, says: str):
    asked = situation(indexed("hnsw", tiny_loss(), bytes_each=512, ms=ms), baseline_cost=FULL)
    decision = decide(asked, suite="small")
    assert decision.action is Action.KEEP
    assert "no compression that passes saves anything" in decision.price
    [evidence] = [each.evidence for each in decision.rules if each.name == "compression"]
    assert says in evidence


def test_index_that_loses_too_much_is_not_recommended():
    values = differences(-0.1, n=2000)
    asked = situation(indexed("hnsw", values, bytes_each=512, ms=1.0), baseline_cost=FULL)
    assert decide(asked, suite="small").action is not Action.INDEX


def test_bytes_come_before_time():
    small = option(
        "int8",
        tiny_loss(),
        Action.COMPRESS,
        shortens="base",
        width=64,
        left="int8",
        series="int8",
        cost=OptionCost(bytes_per_document=64, query_ms_p95=10.0),
    )
    fast = indexed("hnsw", tiny_loss(), bytes_each=512, ms=1.0)
    asked = situation(small, fast, baseline_cost=FULL)
    assert decide(asked, suite="small").candidate == "int8"


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('from = "bm25"\nindex = { type = "hnsw" }', "'bm25' has no vectors to index"),
        ('from = "full"\nindex = { type = "flat" }', "'index.type' must be 'hnsw', 'ivf', 'ivfpq'"),
        ('from = "full"\nindex = { m = 32 }', "'type' is missing"),
        ('from = "full"\nindex = { type = "hnsw", m = 1 }', "'index.m' must be at least 2, got 1"),
        ('from = "full"\nindex = { type = "hnsw", probes = 4 }', "'probes' is no parameter of"),
        ('from = "full"\nindex = { type = "ivf", nprobe = 4 }', "unknown key 'nprobe' in 'index'"),
        ('from = "full"\nindex = { type = "ivf", lists = 4, probes = 5 }', "5 probes of 4 lists"),
        ('from = "full"\nindex = { type = "hnsw" }\nrescore = 4', "orders by them already"),
        ('from = "int8"\nindex = { type = "ivfpq" }', "'int8' is quantised already, and 'ivfpq'"),
        ('from = "hnsw"\nindex = { type = "ivf" }', "'hnsw' is searched through an index"),
        ('from = "hnsw"\ntruncate = 8', "Start from 'full', and index the result."),
        ('from = "hnsw"\nquantize = "int8"', "'hnsw' is searched through an index"),
    ],
)
def test_what_cannot_be_indexed_is_refused(tmp_path: Path, table: str, problem: str):
    text = SUITE.format(here=tmp_path, similarity="cosine") + f"\n[candidates.x]\n{table}\n"
    with pytest.raises(HarnessError) as raised:
        load_suite(write_suite(tmp_path / "suite.toml", text))
    assert any(problem in each for each in raised.value.problems), raised.value.problems


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("type = 'ivf', lists = 401", "lists = 401 for 400 documents. Give fewer lists."),
        ("type = 'ivfpq', pq = 5", "pq = 5 does not divide 16 dimensions"),
    ],
)
def test_plan_refuses_what_the_corpus_does_not_allow(plan: Plan, table: str, problem: str):
    text = (plan.store.root.parent / "suite.toml").read_text("utf-8")
    path = plan.store.root.parent / "other.toml"
    path.write_text(f'{text}\n[candidates.x]\nfrom = "full"\nindex = {{ {table} }}\n', "utf-8")
    with pytest.raises(HarnessError) as raised:
        plan_of(path, plan.store)
    assert any(problem in each for each in raised.value.problems), raised.value.problems


def test_plan_warns_of_few_training_points_and_of_a_search_wider_than_ef(plan: Plan):
    warnings = "\n".join(plan.planner.warnings)
    assert "'ivf':" not in warnings
    assert (
        "'ivf, 1 probe': a query visits about 40 documents on 'small', fewer than the 100"
        in warnings
    )
    path = plan.store.root.parent / "few.toml"
    text = (plan.store.root.parent / "suite.toml").read_text("utf-8")
    text += (
        '[candidates.x]\nfrom = "full"\nindex = { type = "ivf", lists = 20 }\n'
        '[candidates.y]\nfrom = "full"\nindex = { type = "hnsw", ef_search = 40 }\n'
    )
    path.write_text(text, "utf-8")
    warnings = "\n".join(plan_of(path, plan.store).planner.warnings)
    assert "'x': 20 lists of 400 documents on 'small' are trained on fewer than the 39" in warnings
    assert "'y': 100 ranks are searched, and FAISS keeps at least as many" in warnings


def test_faiss_without_rabitq_is_told_by_the_plan(plan: Plan, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(faiss, "IndexIVFRaBitQ")
    with pytest.raises(HarnessError, match="the installed FAISS has no RaBitQ index"):
        plan_of(plan.store.root.parent / "suite.toml", plan.store)


def test_indexed_model_is_timed_diagnosed_and_mined_with(
    tmp_path: Path, beir: Path, static_model: Path, store: Store
):
    suite = write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "fast"
        collections.small.source = "beir:{beir}"
        [candidates.a]
        model = "{static_model}"
        [candidates.fast]
        from = "a"
        index = {{ type = "hnsw" }}
        [candidates.codes]
        from = "a"
        index = {{ type = "rabitq" }}
        rescore = 2
        [candidates.tuned]
        from = "a"
        [candidates.tuned.finetune]
        data = "small:train"
        batch_size = 8
        max_steps = 2
        hard_negatives = {{ candidate = "codes", range = [1, 10], per_query = 1 }}
        """,
    )
    plan = run_suite(suite, store)
    costs = {cost.candidate: cost for cost in gather_costs(plan).costs}
    assert all(costs[name].query_ms_p95 for name in ("a", "fast", "codes"))
    [mined] = gather(plan).mined
    assert mined.search == "codes on small:train"
    made = plan_diagnosis(plan)
    execute(replace(plan, stages=made.stages), progress=Silent())
    [fast, *_] = read_diagnosis(made).candidates
    assert (fast.candidate, fast.n) == ("fast", 20)


def test_exact_search_of_the_same_vectors_agrees_at_any_depth():
    vectors = unit_length(np.random.default_rng(2).normal(size=(300, 24)).astype(np.float32))
    held = Embeddings([vectors], np.arange(300), 24, normalised=False)
    index = build(vectors, IndexSpec(type="hnsw"), seed=1)
    index.hnsw.efSearch = 300
    rows = index.search(vectors[:50], 300)[1]
    exact = search(held, held.rows(np.arange(50)), depth=300).documents
    assert [set(found) for found in rows.tolist()] == [set(found) for found in exact.tolist()]
