"""Properties that hold for every input, found by hypothesis."""

import tempfile
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.collection import NO_GRADE, Judgements
from harness.runs.metrics import FAMILIES, Metric, score
from harness.runs.run import rank, rank_entries
from harness.runs.trec import read_run, write_run
from harness.statistics import mean_interval, paired

N_QUERIES, N_DOCUMENTS = 3, 9
METRICS = [
    Metric(name, k, parameter=family.parameter and family.parameter.usual)
    for name, family in FAMILIES.items()
    for k in (1, 3, 20)
]
TOKENS = np.ones(N_DOCUMENTS, dtype=np.int64)

float32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
scores = st.one_of(float32, st.sampled_from([0.0, -0.0, 0.5, 1.0]))
pairs = st.tuples(st.integers(0, N_QUERIES - 1), st.integers(0, N_DOCUMENTS - 1))
entries = st.dictionaries(pairs, scores, max_size=25)
grades = st.dictionaries(pairs, st.integers(-1, 3), max_size=25)
differences = hnp.arrays(
    np.float64,
    st.tuples(st.integers(2, 40), st.integers(1, 3)),
    elements=st.floats(-1, 1, width=16),
)


def flat_run(found: dict[tuple[int, int], float], *, depth: int = 20):
    columns = np.array([(*pair, score) for pair, score in found.items()]).reshape(-1, 3).T
    queries, documents = columns[:2].astype(np.int64)
    return rank_entries(queries, documents, columns[2], n_queries=N_QUERIES, depth=depth)


def judgements(found: dict[tuple[int, int], int]):
    rows = np.array([(*pair, grade) for pair, grade in sorted(found.items())], dtype=np.int32)
    return Judgements(*rows.reshape(-1, 3).T)


@given(entries, st.randoms())
def test_order_of_the_entries_changes_no_run(found: dict, random: object):
    shuffled = list(found.items())
    random.shuffle(shuffled)
    assert flat_run(dict(shuffled)).documents.tolist() == flat_run(found).documents.tolist()


@given(entries, st.integers(0, 12))
def test_both_ways_to_rank_agree_with_python(found: dict, depth: int):
    table = np.full((N_QUERIES, N_DOCUMENTS), -1, dtype=np.int32)
    values = np.zeros((N_QUERIES, N_DOCUMENTS))
    for (query, document), value in found.items():
        table[query, document], values[query, document] = document, value
    dense, flat = rank(table, values, depth=depth), flat_run(found, depth=depth)
    for query in range(N_QUERIES):
        mine = {document: value for (q, document), value in found.items() if q == query}
        expected = sorted(mine, key=lambda document: (mine[document], document))[::-1][:depth]
        for run in (dense, flat):
            row = run.documents[query]
            assert row[row >= 0].tolist() == expected
            assert run.scores[query][row >= 0].tolist() == [mine[d] for d in expected]
            assert (row[len(expected) :] == -1).all()


@settings(deadline=None)  # it writes files
@given(entries.filter(bool), st.integers(1, 12))
def test_written_run_is_read_back_exactly(found: dict, depth: int):
    run = flat_run(found, depth=depth)
    ids = {
        "query_ids": tuple(f"q{i}" for i in range(N_QUERIES)),
        "document_ids": tuple("abcdefghi"),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.trec")
        write_run(path, run, **ids, tag="property")
        back = read_run(path, **ids, depth=depth).run
    assert back.documents.tolist() == run.documents.tolist()
    assert back.scores.tobytes() == run.scores.tobytes()


@settings(deadline=None)
@given(entries, grades)
def test_values_lie_between_zero_and_one_and_grow_with_the_cutoff(found: dict, graded: dict):
    card = score(flat_run(found), judgements(graded), METRICS, n_queries=N_QUERIES, tokens=TOKENS)
    assert all(((v >= 0) & (v <= 1 + 1e-12)).all() for v in card.values.values())
    assert ((card.judged_at_10 >= 0) & (card.judged_at_10 <= 1)).all()
    for family in ("recall", "mrr", "map", "hit_rate"):
        short, middle, long = (card.values[f"{family}@{k}"] for k in (1, 3, 20))
        assert (short <= middle + 1e-12).all()
        assert (middle <= long + 1e-12).all()


@settings(deadline=None)
@given(grades)
def test_ranking_by_grade_is_ideal(graded: dict):
    found = {pair: float(grade) for pair, grade in graded.items()}
    card = score(flat_run(found), judgements(graded), METRICS, n_queries=N_QUERIES, tokens=TOKENS)
    for query in range(N_QUERIES):
        relevant = any(grade > 0 for (q, _), grade in graded.items() if q == query)
        for name in ("ndcg@1", "ndcg@3", "ndcg@20", "recall@20", "mrr@20", "map@20"):
            assert abs(card.values[name][query] - relevant) < 1e-12


@settings(deadline=None)
@given(entries, grades, st.permutations(range(N_QUERIES)))
def test_queries_are_scored_one_by_one(found: dict, graded: dict, order: list[int]):
    """Renumbering the queries renumbers their values and changes nothing else."""
    before = score(flat_run(found), judgements(graded), METRICS, n_queries=N_QUERIES, tokens=TOKENS)
    moved_run = flat_run({(order[q], d): value for (q, d), value in found.items()})
    moved_grades = judgements({(order[q], d): grade for (q, d), grade in graded.items()})
    after = score(moved_run, moved_grades, METRICS, n_queries=N_QUERIES, tokens=TOKENS)
    for name, values in before.values.items():
        assert after.values[name][order].tolist() == values.tolist()


@settings(deadline=None)
@given(differences, st.integers(0, 2**128 - 1))
def test_paired_test_is_antisymmetric_and_bounded(d: np.ndarray, seed: int):
    there = paired(d, seed=seed, permutations=200)
    back = paired(-d, seed=seed, permutations=200)
    assert (there.p == back.p).all()
    assert ((there.p >= 1 / 201) & (there.p <= 1)).all()
    assert (there.difference == -back.difference).all()
    assert (there.low == -back.high).all()
    assert (there.wins == back.losses).all()
    assert (there.wins + there.ties + there.losses == len(d)).all()
    assert (there.low <= there.difference).all()
    assert (there.difference <= there.high).all()
    assert (there.mde >= 0).all()
    assert np.isfinite(there.effect_size).all()


@settings(deadline=None)
@given(differences, st.sampled_from([0.5, 2.0, 1024.0]))
def test_unit_of_the_metric_changes_no_p(d: np.ndarray, factor: float):
    """But where rare large losses or gains may be unseen: how large depends on the unit."""
    once, scaled = (paired(x, seed=1, permutations=200) for x in (d, d * factor))
    plain = ~np.any(
        [x for each in (once, scaled) for x in (each.unseen_losses, each.unseen_gains)], axis=0
    )
    assert (once.p == scaled.p)[plain].all()


@given(hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1)))
def test_interval_holds_its_mean(values: np.ndarray):
    mean, low, high = mean_interval(values)
    assert low <= mean <= high


asked_lists = hnp.arrays(np.int32, (5, 3), elements=st.integers(-1, N_DOCUMENTS + 2))
whose = hnp.arrays(np.int64, 5, elements=st.integers(0, N_QUERIES - 1))


@given(grades, asked_lists, whose)
def test_grades_of_rankings_are_those_of_a_dictionary(found: dict, documents: object, rows: object):
    found |= {(1, -1): 2}  # judged, and not in the corpus
    graded = judgements(found).grades_of(documents, queries=rows)
    for row, query in enumerate(rows.tolist()):
        own = [document if document < 0 else (query, document) for document in documents[row]]
        assert graded[row].tolist() == [found.get(pair, NO_GRADE) for pair in own]
    every = documents[:N_QUERIES]
    in_order = judgements(found).grades_of(every, queries=np.arange(N_QUERIES))
    assert judgements(found).grades_of(every).tolist() == in_order.tolist()


@given(entries, asked_lists, whose)
def test_ranks_in_a_run_are_those_of_a_list(found: dict, documents: object, rows: object):
    run = flat_run(found, depth=4)
    ranks = run.ranks_of(documents, queries=rows)
    for row, query in enumerate(rows.tolist()):
        listed = [document for document in run.documents[query].tolist() if document >= 0]
        expected = [listed.index(each) + 1 if each in listed else 0 for each in documents[row]]
        assert ranks[row].tolist() == expected
