"""Metrics against pytrec_eval and NIST's golden outputs; statistics against scipy."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.collection import Judgements
from harness.runs.metrics import FAMILIES, Metric, score
from harness.runs.run import Run, rank_entries
from harness.runs.trec import read_run
from harness.statistics import mean_interval, paired

GOLDEN = Path(__file__).parents[2] / "shared" / "golden" / "trec_eval"
needs_golden = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason=f"NIST's golden outputs are not at {GOLDEN}"
)

Qrels = Mapping[str, Mapping[str, int]]
Results = Mapping[str, Mapping[str, float]]

# trec_eval's name of each family; its recip_rank has no cutoff.
TREC_NAMES = {
    "ndcg": "ndcg_cut",
    "recall": "recall",
    "mrr": "recip_rank",
    "map": "map_cut",
    "precision": "P",
    "hit_rate": "success",
}

# Families that trec_eval lacks, worked out from the grades by rank of one query.
PLAIN = {
    "rbp": lambda grades, p, level: sum(
        (1 - p) * p**rank for rank, grade in enumerate(grades) if grade >= level
    ),
}
OF_PROMPTS = {"context_precision", "context_recall"}  # in tests/test_context.py
CUTOFFS = (1, 3, 10, 100)
LEVELS = (1, 2)


def by_row(qrels: Qrels, corpus: list[str], query_ids: list[str]):
    """Return judgements by row; a judged document outside the corpus is -1."""
    rows = {document: row for row, document in enumerate(corpus)}
    found = [
        (query_ids.index(query), rows.get(document, -1), grade)
        for query in query_ids
        for document, grade in qrels.get(query, {}).items()
    ]
    return Judgements(*np.array(found, dtype=np.int32).reshape(-1, 3).T)


def as_run(results: Results, corpus: list[str], query_ids: list[str]):
    rows = {document: row for row, document in enumerate(corpus)}
    entries = [
        (query_ids.index(query), rows[document], value)
        for query, found in results.items()
        for document, value in found.items()
    ]
    columns = np.array(entries, dtype=np.float64).reshape(-1, 3).T
    queries, documents = columns[:2].astype(np.int64)
    return rank_entries(queries, documents, columns[2], n_queries=len(query_ids), depth=100)


def first(results: Results, k: int):
    """Cut a run as trec_eval's -M would: by float32 score, then document id, both descending."""

    def best(found: Mapping[str, float]) -> dict[str, float]:
        ordered = sorted(found.items(), key=lambda x: (np.float32(x[1]), x[0]), reverse=True)
        return dict(ordered[:k])

    return {query: best(found) for query, found in results.items()}


def trec_values(qrels: Qrels, results: Results, metric: Metric, query_ids: list[str]):
    """Return pytrec_eval's values; a query that it leaves out scores 0.

    It is not given queries that have negative grades only, over which it crashes (0.5.11), or no
    judgement, after which it misreads the next query (cvangysel/pytrec_eval issue 49).
    """
    qrels = {
        query: grades for query, grades in qrels.items() if max(grades.values(), default=-1) >= 0
    }
    name = TREC_NAMES[metric.family]
    if metric.family == "mrr":
        results, measure, key = first(results, metric.cutoff), name, name
    else:
        measure, key = f"{name}.{metric.cutoff}", f"{name}_{metric.cutoff}"
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {measure}, relevance_level=metric.level)
    found = evaluator.evaluate(results)
    return [found[query][key] if query in found else 0.0 for query in query_ids]


def all_metrics():
    return [
        Metric(family, cutoff, level)
        for family in TREC_NAMES
        for cutoff in CUTOFFS
        for level in LEVELS
        if family != "ndcg" or level == 1
    ]


# Few scores make ties, some of them only in float32; ids sort differently as text and as numbers.
IDS = ["d1", "d10", "d2", "d9", "é", "z", "Ω", "\U0001f600"]
SCORES = [0.0, 0.5, 0.5 + 1e-9, 1.0, 2.5, -1.0, 1e-40]
judged = st.dictionaries(st.sampled_from([*IDS, "gone", "lost"]), st.integers(-2, 3), max_size=10)
returned = st.dictionaries(st.sampled_from(IDS), st.sampled_from(SCORES), max_size=8)
QUERY_IDS = ["q1", "q2", "q3"]


@settings(max_examples=150, deadline=None)
@given(
    qrels=st.dictionaries(st.sampled_from(QUERY_IDS), judged),
    results=st.dictionaries(st.sampled_from(QUERY_IDS), returned),
)
def test_values_equal_pytrec_eval_on_tied_graded_partial_and_degenerate_runs(
    qrels: dict[str, dict[str, int]], results: dict[str, dict[str, float]]
):
    corpus = sorted(IDS)
    run, judgements = as_run(results, corpus, QUERY_IDS), by_row(qrels, corpus, QUERY_IDS)
    card = score(run, judgements, all_metrics(), n_queries=3)
    for metric in all_metrics():
        expected = trec_values(qrels, results, metric, QUERY_IDS)
        assert card.values[str(metric)] == pytest.approx(expected, abs=1e-9), str(metric)
    assert card.missing.tolist() == [not results.get(query) for query in QUERY_IDS]


def test_every_metric_has_an_independent_engine():
    assert {*TREC_NAMES, *PLAIN, *OF_PROMPTS} == set(FAMILIES)


@pytest.mark.parametrize("family", PLAIN)
@settings(max_examples=50, deadline=None)
@given(
    qrels=st.dictionaries(st.sampled_from(QUERY_IDS), judged),
    results=st.dictionaries(st.sampled_from(QUERY_IDS), returned),
)
def test_values_equal_those_worked_out_query_by_query(
    family: str, qrels: dict[str, dict[str, int]], results: dict[str, dict[str, float]]
):
    corpus = sorted(IDS)
    run, judgements = as_run(results, corpus, QUERY_IDS), by_row(qrels, corpus, QUERY_IDS)
    takes = FAMILIES[family].parameter
    for cutoff in CUTOFFS:
        for level in LEVELS if FAMILIES[family].has_level else (1,):
            metric = Metric(family, cutoff, level, takes.usual if takes else None)
            values = score(run, judgements, [metric], n_queries=3).values[str(metric)]
            for query, value, rows in zip(QUERY_IDS, values, run.documents, strict=True):
                found = [qrels.get(query, {}).get(corpus[row], 0) for row in rows if row >= 0]
                expected = PLAIN[family](found[:cutoff], metric.parameter, level)
                assert value == pytest.approx(expected, abs=1e-12), str(metric)


def test_values_equal_pytrec_eval_on_many_queries_of_very_different_sizes():
    rng = np.random.default_rng(5)
    corpus = sorted(f"d{i}" for i in range(600))
    query_ids = sorted(f"q{i}" for i in range(120))
    qrels = {
        query: dict(
            zip(
                rng.permutation([*corpus, *(f"gone{i}" for i in range(40))])[:size].tolist(),
                rng.integers(-1, 4, size).tolist(),
                strict=True,
            )
        )
        for query, size in zip(query_ids, rng.geometric(0.02, 120).clip(1, 600), strict=True)
    }
    results = {
        query: {d: float(rng.integers(0, 30)) for d in rng.permutation(corpus)[:100].tolist()}
        for query in query_ids[:110]
    }
    run, judgements = as_run(results, corpus, query_ids), by_row(qrels, corpus, query_ids)
    card = score(run, judgements, all_metrics(), n_queries=120)
    for metric in all_metrics():
        expected = trec_values(qrels, results, metric, query_ids)
        assert card.values[str(metric)] == pytest.approx(expected, abs=1e-9), str(metric)


def test_relevance_level_changes_no_ndcg_of_trec_eval():
    """Why `ndcg@10-l2` is refused: trec_eval accepts -l2 and computes the same number."""
    qrels = {"q": {"a": 3, "b": 1, "c": 2}}
    results = {"q": {"b": 3.0, "a": 2.0, "c": 1.0}}
    values = [
        pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10"}, relevance_level=level).evaluate(
            results
        )["q"]["ndcg_cut_10"]
        for level in (1, 2, 3)
    ]
    assert values[0] == values[1] == values[2]


def golden_values(name: str):
    """Return {measure: {topic or "all": value}} of one of NIST's outputs."""
    found: dict[str, dict[str, str]] = {}
    for line in (GOLDEN / name).read_text().splitlines():
        measure, topic, value = line.split()[:3]
        found.setdefault(measure, {})[topic] = value
    return found


def golden_run(qrels_name: str, run_name: str, depth: int) -> tuple[Run, Judgements, list[str]]:
    qrels: dict[str, dict[str, int]] = {}
    for line in (GOLDEN / qrels_name).read_text().splitlines():
        topic, _, document, grade = line.split()
        qrels.setdefault(topic, {})[document] = int(grade)
    returned_ids = {line.split()[2] for line in (GOLDEN / run_name).read_text().splitlines()}
    corpus = sorted(returned_ids.union(*qrels.values()))
    topics = sorted(qrels)
    imported = read_run(GOLDEN / run_name, query_ids=topics, document_ids=corpus, depth=depth)
    return imported.run, by_row(qrels, corpus, topics), topics


def metrics_of_golden(golden: Mapping[str, Mapping[str, str]], depth: int, level: int):
    """Return {trec_eval's measure: our metric}; its recip_rank and map reach down the whole run."""
    measures = {"recip_rank": Metric("mrr", depth, level), "map": Metric("map", depth, level)}
    for family, prefix in TREC_NAMES.items():
        for measure in golden:
            name, _, cutoff = measure.rpartition("_")
            if name == prefix and cutoff.isdigit():
                levelled = 1 if family == "ndcg" else level
                measures[measure] = Metric(family, int(cutoff), levelled)
    return measures


@needs_golden
@pytest.mark.parametrize(
    ("output", "qrels", "results", "depth", "level"),
    [
        ("out.test.aq", "qrels.test", "results.test", 1000, 1),
        ("out.test.aqc", "qrels.test", "results.trunc", 1000, 1),
        ("out.test.aqcM", "qrels.test", "results.trunc", 100, 1),
        ("out.test.aql", "qrels.rel_level", "results.test", 1000, 2),
    ],
)
def test_values_equal_the_official_output_of_trec_eval(
    output: str, qrels: str, results: str, depth: int, level: int
):
    golden = golden_values(output)
    run, judgements, topics = golden_run(qrels, results, depth)
    measures = metrics_of_golden(golden, depth, level)
    assert len(measures) == 2 + 4 * 9 + 3  # recip_rank, map; four families at nine cutoffs; success
    card = score(run, judgements, list(measures.values()), n_queries=len(topics))
    for measure, metric in measures.items():
        values = card.values[str(metric)]
        for topic, value in zip([*topics, "all"], [*values, values.mean()], strict=True):
            # trec_eval prints no line of its own for a topic that the run lacks.
            assert f"{value:.4f}" == golden[measure].get(topic, "0.0000"), (measure, topic)


def test_interval_equals_scipy():
    values = np.random.default_rng(0).beta(0.5, 0.5, 80)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert mean_interval(values, confidence=0.9)[1:] == pytest.approx(tuple(expected), abs=1e-12)


def test_paired_interval_equals_scipy():
    a, b = np.random.default_rng(1).random((2, 50))
    tests = paired((a - b)[:, None], seed=0, permutations=10)
    expected = scipy.stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (tests.low[0], tests.high[0]) == pytest.approx(tuple(expected), abs=1e-12)
    assert tests.sd[0] == pytest.approx(np.std(a - b, ddof=1), abs=1e-12)


@pytest.mark.parametrize("case", range(6))
def test_p_equals_the_exact_one_of_scipy(case: int):
    """Ten queries have 1,024 sign patterns, all of which scipy visits; three cases have ties."""
    rng = np.random.default_rng(case)
    differences = rng.normal(0.4, 1, 10) if case < 3 else rng.choice([-0.5, 0, 0.1, 0.5], 10)
    exact = scipy.stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    tests = paired(differences[:, None], seed=case, permutations=200_000)
    assert tests.p[0] == pytest.approx(exact, abs=0.005)


def test_minimum_detectable_effect_has_the_promised_power():
    """Power of the two-sided test with known sd at the detectable difference, from scipy."""
    tests = paired(np.random.default_rng(2).normal(size=(400, 1)), seed=0, permutations=10)
    standard_errors = tests.mde[0] / (tests.sd[0] / np.sqrt(400))
    upper = scipy.stats.norm.sf(scipy.stats.norm.ppf(0.975) - standard_errors)
    assert upper == pytest.approx(0.8, abs=1e-9)
