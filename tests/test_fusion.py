from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import plan_of, run_suite, write_beir, write_suite
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.results.gathering import gather
from harness.retrieval.fusion import constant_lists, fuse, weightings
from harness.runs.run import Run, rank_entries
from harness.store import Store
from harness.suite.kinds.fuse import Fuse

Lists = list[dict[int, float]]  # each query's documents and scores


def run_of(lists: Lists, *, depth: int = 100) -> Run:
    entries = [(query, *entry) for query, found in enumerate(lists) for entry in found.items()]
    columns = np.array(entries, dtype=np.float64).reshape(-1, 3)
    queries, documents = columns[:, :2].T.astype(np.int64)
    return rank_entries(queries, documents, columns[:, 2], n_queries=len(lists), depth=depth)


def rrf(k: int = 60) -> Fuse:
    return Fuse(fuse=["a", "b"], method="rrf", k=k)


def wsum(weights: list[float] | None = None) -> Fuse:
    return Fuse(fuse=["a", "b"], method="wsum", weights=weights)


def by_definition(members: list[Lists], k: int) -> list[list[int]]:
    """Return reciprocal rank fusion worked out in fractions: ties by the larger row."""
    rankings = []
    for query in range(len(members[0])):
        sums: dict[int, Fraction] = {}
        for member in members:
            order = sorted(member[query], key=lambda row: (-member[query][row], -row))
            for place, row in enumerate(order, start=1):
                sums[row] = sums.get(row, Fraction(0)) + Fraction(1, k + place)
        rounded = {row: np.float32(float(total)) for row, total in sums.items()}
        rankings.append(sorted(rounded, key=lambda row: (-rounded[row], -row)))
    return rankings


def ranked(run: Run) -> list[list[int]]:
    return [[row for row in rows if row >= 0] for rows in run.documents.tolist()]


found = st.dictionaries(
    st.integers(0, 12), st.sampled_from([0.0, 0.25, 0.5, 1.0, -1.0, 7.0]), max_size=8
)


@settings(max_examples=60, deadline=None)
@given(
    members=st.integers(1, 3).flatmap(
        lambda n: st.lists(st.lists(found, min_size=n, max_size=n), min_size=2, max_size=3)
    ),
    k=st.sampled_from([1, 10, 60]),
)
def test_reciprocal_rank_fusion_is_the_sum_of_reciprocal_ranks(members: list[Lists], k: int):
    fused = fuse([run_of(member) for member in members], rrf(k))
    wanted = by_definition(members, k)
    assert ranked(fused) == [rows[: fused.depth] for rows in wanted]


def test_reciprocal_rank_fusion_gives_the_scores_of_the_formula():
    a, b = [{1: 9.0, 2: 5.0}], [{2: 0.3, 3: 0.2}]
    fused = fuse([run_of(a), run_of(b)], rrf())
    assert fused.documents.tolist() == [[2, 1]]
    wanted = [1 / 62 + 1 / 61, 1 / 61]
    assert np.allclose(fused.scores, [wanted], atol=1e-7)


def test_documents_that_tie_in_a_member_are_fused_by_our_order():
    a = [{1: 0.5, 2: 0.5, 3: 0.5, 4: 0.5}]
    fused = fuse([run_of(a), run_of(a)], rrf())
    assert fused.documents.tolist() == [[4, 3, 2, 1]]


def test_documents_with_the_same_fused_score_are_ordered_by_the_larger_row():
    fused = fuse([run_of([{1: 2.0, 8: 1.0}]), run_of([{8: 2.0, 1: 1.0}])], rrf())
    assert fused.documents.tolist() == [[8, 1]]


def test_the_weighted_sum_is_worked_out_from_scores_scaled_to_one():
    a = [{1: 30.0, 2: 20.0, 3: 10.0}]  # 1, 1/2, 0
    b = [{3: 0.9, 1: 0.5, 4: 0.1}]  # 1, 1/2, 0
    fused = fuse([run_of(a), run_of(b)], wsum([0.75, 0.25]))
    assert fused.documents.tolist() == [[1, 2, 3]]
    assert np.allclose(fused.scores, [[0.75 + 0.125, 0.375, 0.25]])


def test_without_weights_all_members_weigh_alike():
    a, b = [{1: 30.0, 2: 20.0, 3: 10.0}], [{3: 0.9, 1: 0.5, 4: 0.1}]
    runs = [run_of(a), run_of(b)]
    alike, halves = fuse(runs, wsum()), fuse(runs, wsum([0.5, 0.5]))
    assert alike.documents.tolist() == halves.documents.tolist() == [[1, 3, 2]]
    assert np.allclose(alike.scores, [[0.75, 0.5, 0.25]])


@pytest.mark.parametrize("spec", [rrf(), wsum()])
def test_a_query_that_a_member_does_not_answer_is_answered_by_the_other(spec: Fuse):
    a: Lists = [{1: 2.0, 2: 1.0}, {}, {}]
    b: Lists = [{}, {5: 2.0, 4: 1.0}, {}]
    fused = fuse([run_of(a), run_of(b)], spec)
    assert ranked(fused) == [[1, 2], [5, 4], []]
    assert (fused.scores[fused.documents < 0] == 0).all()


@pytest.mark.parametrize("spec", [rrf(), wsum()])
def test_members_without_a_common_document_are_merged(spec: Fuse):
    a, b = [{1: 2.0, 2: 1.5, 3: 1.0}], [{6: 20.0, 5: 15.0, 4: 10.0}]
    fused = fuse([run_of(a), run_of(b, depth=6)], spec)
    assert ranked(fused) == [[6, 1, 5]]


@pytest.mark.parametrize("spec", [rrf(), wsum()])
def test_a_fusion_is_as_deep_as_its_deepest_member(spec: Fuse):
    rows = {row: float(row) for row in range(1, 6)}
    fused = fuse([run_of([rows], depth=5), run_of([{9: 1.0, 8: 0.5}], depth=2)], spec)
    assert fused.depth == 5


@pytest.mark.parametrize("spec", [rrf(), wsum()])
def test_members_that_answer_nothing_at_all_fuse_to_nothing(spec: Fuse):
    nothing: Lists = [{}, {}]
    assert ranked(fuse([run_of(nothing), run_of(nothing)], spec)) == [[], []]


def test_a_single_result_or_equal_scores_are_scaled_to_one():
    one = fuse([run_of([{1: 3.0}]), run_of([{2: 2.0, 3: 1.0}])], wsum())
    assert one.documents.tolist() == [[2, 1]]
    assert np.allclose(one.scores, [[0.5, 0.5]])
    equal = fuse([run_of([{1: -3.0, 4: -3.0}]), run_of([{4: 2.0, 3: 1.0}])], wsum())
    assert equal.documents.tolist() == [[4, 1]]
    assert np.allclose(equal.scores, [[1.0, 0.5]])


def test_queries_without_a_spread_of_scores_are_counted():
    assert constant_lists(run_of([{1: 3.0}, {1: 2.0, 2: 2.0}, {1: 2.0, 2: 1.0}, {}])) == 2


spread = st.dictionaries(st.integers(0, 12), st.floats(-5, 5, width=32), min_size=2, max_size=8)


@settings(max_examples=60, deadline=None)
@given(a=spread, b=spread, weight=st.sampled_from([0.1, 0.5, 2.0]))
def test_the_weighted_sum_is_that_of_its_definition(
    a: dict[int, float], b: dict[int, float], weight: float
):
    """As ranx's min-max and wsum, but for lists of equal scores, which are 1 and not 0 here."""

    def by_hand(entries: dict[int, float]) -> dict[int, float]:
        low, high = min(entries.values()), max(entries.values())
        return {row: (x - low) / (high - low) if high > low else 1.0 for row, x in entries.items()}

    fused = fuse([run_of([a]), run_of([b])], wsum([weight, 1.0]))
    left, right = by_hand(a), by_hand(b)
    for row, value in zip(fused.documents[0].tolist(), fused.scores[0].tolist(), strict=True):
        if row >= 0:
            wanted = weight * left.get(row, 0.0) + right.get(row, 0.0)
            assert value == pytest.approx(wanted, abs=1e-5)


def test_all_weightings_in_even_steps_are_tried_and_few():
    assert [len(weightings(n)) for n in (2, 3, 4, 5, 6, 8)] == [21, 231, 286, 126, 252, 120]
    for n in (2, 3, 5):
        assert all(abs(sum(weights) - 1) < 1e-12 for weights in weightings(n))
        assert np.ptp(weightings(n)[0]) <= 1 / n


@pytest.fixture
def half_right(tmp_path: Path) -> Path:
    """Return a suite of one run that is right and one that is wrong, on test and on dev."""
    ids = [f"d{n}" for n in range(10)]
    queries = {f"{split}{n}": f"{split} {n}" for split in ("dev", "test") for n in range(10)}
    write_beir(
        tmp_path / "beir",
        documents={key: f"text {key}" for key in ids},
        queries=queries,
        qrels={split: [(f"{split}{n}", ids[n], 1) for n in range(10)] for split in ("dev", "test")},
    )
    for name, shift in (("right", 0), ("wrong", 1)):
        lines = [
            f"{split}{n} Q0 {ids[(n + shift + rank) % 10]} {rank + 1} {3 - rank} x\n"
            for split in ("dev", "test")
            for n in range(10)
            for rank in range(2)
        ]
        (tmp_path / f"{name}.trec").write_text("".join(lines))
    return write_suite(
        tmp_path / "suite.toml",
        """
        baseline = "wrong"
        collections.small.source = "beir:beir"
        candidates.right.run = "right.trec"
        candidates.wrong.run = "wrong.trec"
        [candidates.both]
        fuse = ["wrong", "right"]
        method = "wsum"
        """,
    )


def test_weights_are_found_on_dev_and_told(half_right: Path, store: Store):
    with half_right.open("a") as file:
        file.write('dev = "small:dev"\n')
    plan = run_suite(half_right, store)
    means = {
        name: plan.scored[name, "small"].result(store).values["ndcg@10"].mean()
        for name in ("right", "both")
    }
    assert means["both"] == means["right"] == 1
    # Equal weights tie both firsts: of nine queries the wrong one has the larger row.
    equal = (9 / np.log2(3) + 1) / 10
    told = (
        "'both': the weights 0.45 for wrong, 0.55 for right were found on small:dev (n=10): "
        f"ndcg@10 1.000 there, {equal:.3f} with equal weights."
    )
    assert told in gather(plan).warnings
    assert all(stage.is_done(store) for stage in plan_of(half_right, store).stages)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('dev = "small:test"', "is the split that 'small' is scored on"),
        ('dev = "small"', "without a split"),
        ('dev = "small:dev"\nweights = [1, 2]', "none may be given beside it"),
        ('dev = "small:other"', "other"),
    ],
)
def test_weights_are_never_found_on_what_is_scored(
    half_right: Path, store: Store, line: str, message: str
):
    with half_right.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(HarnessError, match=message) as refused:
        plan_of(half_right, store)
    assert refused.value.exit_code in {2, 3}
