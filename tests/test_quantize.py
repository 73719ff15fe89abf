"""Quantised vectors: codes, searches, bytes, the decision, and what a suite may not say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import plan_of, run_suite, write_suite, write_vectors
from situations import differences, option, situation

from harness.decision.gather import gather_situation, unshortened
from harness.decision.rules import decide
from harness.decision.situation import Action, OptionCost, Situation
from harness.diagnosis.diagnose import plan_diagnosis, read_diagnosis
from harness.errors import HarnessError
from harness.plan.execute import execute
from harness.plan.plan import Plan
from harness.results.gathering import gather, gather_costs
from harness.retrieval.embeddings import Embeddings
from harness.retrieval.quantized import quantized
from harness.stage import Silent
from harness.store import Store
from harness.suite.load import load_suite

WIDTH = 12
SUITE = """
baseline = "full"
collections.small.source = "beir:{beir}"
[candidates.bm25]
kind = "bm25"
[candidates.full]
vectors = {{ documents = "{here}/d.npy", queries = "{here}/q.npy" }}
[candidates.int8]
from = "full"
quantize = "int8"
[candidates.binary]
from = "full"
quantize = "binary"
[candidates.rescored]
from = "full"
quantize = "binary"
rescore = 3
[candidates."full/8"]
from = "full"
truncate = 8
[candidates."full/8, int8"]
from = "full/8"
quantize = "int8"
[candidates."int8/8"]
from = "int8"
truncate = 8
[candidates.hybrid]
fuse = ["int8", "bm25"]
[candidates.cascade]
from = "bm25"
rerank = {{ candidate = "int8", depth = 10 }}
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, beir: Path) -> Plan:
    """Return a finished plan of given vectors, 60 documents and 20 queries near their answers."""
    here = tmp_path_factory.mktemp("quantized")
    draw = np.random.default_rng(3)
    documents = draw.normal(size=(60, WIDTH)) * np.linspace(2, 0.5, WIDTH)
    queries = documents[:20] + draw.normal(size=(20, WIDTH))
    write_vectors(here / "d.npy", documents, [f"d{row:02}" for row in range(60)])
    write_vectors(here / "q.npy", queries, [f"q{row:02}" for row in range(20)])
    suite = write_suite(here / "suite.toml", SUITE.format(beir=beir, here=here))
    return run_suite(suite, Store(here / "store"))


@pytest.fixture(scope="module")
def found(plan: Plan) -> Situation:
    """Return the situation of the plan."""
    return gather_situation(plan, gather_costs(plan))


def vectors_of(values: Any) -> Embeddings:
    values = np.asarray(values, dtype=np.float32)
    return Embeddings([values], np.arange(len(values)), values.shape[1], normalised=False)


def run_of(plan: Plan, name: str) -> Any:
    return plan.scored[name, "small"].run_stage.result(plan.store)


def test_int8_errs_by_half_a_step_at_most():
    values = np.random.default_rng(0).normal(size=(300, 7)).astype(np.float32)
    read = quantized(vectors_of(values), "int8").block(0, 300)
    steps = np.ptp(values, axis=0) / 255
    assert (np.abs(read - values) <= steps / 2 + 1e-6).all()
    assert max(len(np.unique(column)) for column in read.T) <= 256


def test_codes_are_those_of_sentence_transformers_calibrated_on_the_corpus():
    from sentence_transformers.util.quantization import quantize_embeddings

    draw = np.random.default_rng(4)
    corpus, others = (draw.normal(size=(n, 24)).astype(np.float32) for n in (200, 50))
    for vectors in (corpus, others):
        low, high = corpus.min(axis=0), corpus.max(axis=0)
        codes = quantize_embeddings(vectors, "uint8", calibration_embeddings=corpus)
        middles = low + (codes + np.float32(0.5)) * ((high - low) / np.float32(255))
        read = quantized(vectors_of(corpus), "int8").alike(vectors_of(vectors))
        assert (read.block(0, len(vectors)) == middles).all()
        signs = quantized(vectors_of(vectors), "binary").block(0, len(vectors))
        packed = quantize_embeddings(vectors, "ubinary")
        assert (np.packbits(signs > 0, axis=1) == packed).all()


def test_dimension_of_one_value_is_read_as_it_is():
    assert quantized(vectors_of([[3.0], [3.0]]), "int8").block(0, 2).tolist() == [[3.0], [3.0]]


def test_binary_keeps_signs_and_fp16_keeps_what_16_bits_hold():
    values = [[0.1, -2.0, 0.0]]
    assert quantized(vectors_of(values), "binary").block(0, 1).tolist() == [[1, -1, -1]]
    half = quantized(vectors_of([[0.1, 1e9]]), "fp16").block(0, 1)
    assert half.tolist() == [[float(np.float16(0.1)), 65504.0]]


def test_ranges_are_those_of_the_documents_whatever_is_asked():
    codes = quantized(vectors_of([[0.0], [1.0]]), "int8")
    beyond = codes.alike(vectors_of([[7.0]])).block(0, 1).item()
    assert beyond == pytest.approx(255.5 / 255, abs=1e-6)  # the middle of the last step
    assert codes.rows(np.array([1])).block(0, 1).item() == pytest.approx(1, abs=0.501 / 255)


def test_run_orders_documents_by_what_their_codes_stand_for(plan: Plan):
    documents, queries = plan.planner.space("full", "small").read(plan.store)
    floats = documents.block(0, 60)
    low, high = floats.min(axis=0), floats.max(axis=0)
    codes = np.floor((floats - low) / (high - low) * 255).clip(0, 255) + 0.5
    scores = queries.block(0, 20) @ (low + codes * (high - low) / 255).T
    best = run_of(plan, "int8").documents[:, :10]
    assert (best == np.argsort(-scores, axis=1)[:, :10]).mean() > 0.98
    signs = queries.block(0, 20) @ np.where(floats > 0, 1, -1).T
    assert (run_of(plan, "binary").documents[:, 0] == signs.argmax(axis=1)).all()


def test_order_of_truncation_and_quantisation_does_not_matter(plan: Plan):
    one, other = (plan.planner.run_stage(name, "small") for name in ("int8/8", "full/8, int8"))
    assert one.key(plan.store) == other.key(plan.store)
    assert one.key(plan.store) != plan.planner.run_stage("full/8", "small").key(plan.store)


def test_rescored_run_has_the_order_of_the_full_vectors(plan: Plan):
    # 3 times the depth is more than the corpus, so that nothing is missed.
    full, rescored = run_of(plan, "full"), run_of(plan, "rescored")
    assert rescored.documents.tolist() == full.documents.tolist()
    assert run_of(plan, "binary").documents.tolist() != full.documents.tolist()


def test_bytes_are_those_of_the_codes_and_of_the_vectors_that_are_kept(plan: Plan):
    costs = {cost.candidate: cost for cost in gather_costs(plan).costs}
    assert {name: costs[name].bytes_per_document for name in ("full", "int8", "int8/8")} == {
        "full": 4 * WIDTH,
        "int8": WIDTH,
        "int8/8": 8,
    }
    assert costs["binary"].bytes_per_document == 2  # 12 bits, in whole bytes
    assert costs["rescored"].bytes_per_document == 2 + 4 * WIDTH
    assert all(costs[name].query_ms_p95 is None for name in ("int8", "rescored"))  # given vectors


def test_faiss_searches_the_same_codes(plan: Plan):
    pytest.importorskip("faiss")
    from harness.retrieval.quantized import _index

    documents, queries = plan.planner.space("binary", "small").read(plan.store)
    index, columns = _index("binary", WIDTH)
    padded = [
        np.pad(side.block(0, len(side)), ((0, 0), (0, columns - WIDTH)), constant_values=value)
        for side, value in ((documents, -1), (queries, 0))
    ]
    index.add(padded[0])
    scores, _ = index.search(padded[1], 5)
    assert np.allclose(scores, run_of(plan, "binary").scores[:, :5], atol=1e-5)


def test_results_and_plan_name_the_kind_and_its_parent(plan: Plan):
    result = {each.name: each for each in gather(plan).candidates}["rescored"]
    assert (result.kind, result.parents, result.dimension) == ("quantize", ["full"], WIDTH)
    assert result.change == "binary vectors, top 3 times the depth rescored"


def test_quantised_candidates_are_compressions_of_the_full_vectors(found: Situation):
    options = {each.name: each for each in found.options}
    assert {name: options[name].shortens for name in ("int8", "rescored", "int8/8")} == {
        "int8": "full",
        "rescored": "full",
        "int8/8": "full",
    }
    assert (options["int8"].action, options["int8/8"].action) == (Action.COMPRESS, Action.TRUNCATE)
    assert options["int8/8"].left == "int8, 8 dimensions"
    assert {name: options[name].series for name in ("full/8", "int8/8", "binary")} == {
        "full/8": "",
        "int8/8": "int8",
        "binary": "binary",
    }


def test_quantised_baseline_is_no_compression_of_a_truncation(plan: Plan):
    suite = plan.suite.model_copy(update={"baseline": "full/8"})
    assert unshortened(suite, "int8/8") == "full/8"
    assert unshortened(suite, "int8") is None


def tiny_loss(n: int = 2000) -> np.ndarray:
    return differences(-0.0005, sd=0.03, n=n, seed=3)


def coded(name: str, values: Any, series: str, *, bytes_each: float) -> Any:
    cost = OptionCost(bytes_per_document=bytes_each)
    return option(
        name,
        values,
        Action.COMPRESS,
        shortens="base",
        width=64,
        left=series,
        series=series,
        cost=cost,
    )


def test_smallest_compression_that_passes_is_recommended_whatever_another_series_loses():
    options = (
        coded("int8", tiny_loss(), "int8", bytes_each=64),
        coded("fp16", tiny_loss(), "fp16", bytes_each=128),
        coded("binary", differences(-0.1, n=2000), "binary", bytes_each=8),
    )
    asked = situation(*options, baseline_cost=OptionCost(bytes_per_document=256))
    decision = decide(asked, suite="small")
    assert (decision.action, decision.candidate) == (Action.COMPRESS, "int8")
    assert decision.sentence == "Compress to int8: use 'int8' (recommended)."
    assert decision.price.startswith("The loss is at most")
    [evidence] = [each.evidence for each in decision.rules if each.name == "compression"]
    assert "'binary' loses too much" in evidence
    assert "one-sided 98.3%" in evidence


def test_rescored_codes_that_save_no_bytes_are_not_recommended():
    asked = situation(
        coded("rescored", tiny_loss(), "binary", bytes_each=264),
        baseline_cost=OptionCost(bytes_per_document=256),
    )
    decision = decide(asked, suite="small")
    assert decision.action is not Action.COMPRESS
    [evidence] = [each.evidence for each in decision.rules if each.name == "compression"]
    assert evidence.endswith("It saves no bytes.")


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('from = "bm25"\nquantize = "int8"', "'bm25' has no vectors to quantize"),
        ('from = "hybrid"\nquantize = "int8"', "'hybrid' has no vectors to quantize"),
        ('from = "cascade"\nquantize = "int8"', "'cascade' has no vectors to quantize"),
        ('from = "full"\nquantize = "int4"', "'quantize' must be 'fp16', 'int8' or 'binary'"),
        ('from = "full"\nquantize = "fp16"\nrescore = 4', "full vectors order documents as fp16"),
        ('from = "full"\nquantize = "int8"\nrescore = 0', "'rescore' must be at least 1, got 0"),
        ('from = "int8"\nquantize = "binary"', "'int8' is quantised already. Quantise 'full'"),
        ('from = "int8/8"\nquantize = "binary"', "'int8/8' is quantised already"),
        ('from = "full/8, int8"\ntruncate = 10', "10 dimensions of 'full/8, int8', which has 8"),
        ('from = "int8"\nfinetune = { data = "small:train" }', "'int8' has no weights to train"),
    ],
)
def test_what_cannot_be_quantised_is_refused(tmp_path: Path, beir: Path, table: str, problem: str):
    text = f"{SUITE.format(beir=beir, here=tmp_path)}\n[candidates.x]\n{table}\n"
    with pytest.raises(HarnessError) as raised:
        load_suite(write_suite(tmp_path / "suite.toml", text))
    assert any(problem in each for each in raised.value.problems), raised.value.problems


def test_signs_of_a_dot_product_are_doubted(
    tmp_path: Path, beir: Path, static_model: Path, store: Store
):
    suite = write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "a"
        collections.small.source = "beir:{beir}"
        [candidates.a]
        model = "{static_model}"
        similarity = "dot"
        [candidates.signs]
        from = "a"
        quantize = "binary"
        """,
    )
    assert any("signs lose" in text for text in plan_of(suite, store).planner.warnings)


def test_quantised_model_is_trained_from_timed_diagnosed_and_mined_with(
    tmp_path: Path, beir: Path, static_model: Path, store: Store
):
    suite = write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "codes"
        collections.small.source = "beir:{beir}"
        [candidates.a]
        model = "{static_model}"
        [candidates.codes]
        from = "a"
        quantize = "binary"
        rescore = 2
        [candidates.int8]
        from = "a"
        quantize = "int8"
        [candidates.tuned]
        from = "a"
        [candidates.tuned.finetune]
        data = "small:train"
        batch_size = 8
        max_steps = 2
        hard_negatives = {{ candidate = "int8", range = [1, 10], per_query = 1 }}
        """,
    )
    plan = run_suite(suite, store)
    costs = {cost.candidate: cost for cost in gather_costs(plan).costs}
    assert all(costs[name].query_ms_p95 for name in ("a", "codes", "int8"))
    [mined] = gather(plan).mined
    assert mined.search == "int8 on small:train"
    made = plan_diagnosis(plan)
    execute(replace(plan, stages=made.stages), progress=Silent())
    [codes, *_] = read_diagnosis(made).candidates
    assert (codes.candidate, codes.n) == ("codes", 20)
    # Rescoring is part of a search: no reranker is to blame.
    assert {each.stage for each in codes.stages} <= {"retrieved", "rerankable", "absent"}
    assert codes.gap.depth == 100
