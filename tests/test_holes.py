"""Holes: a lead is suspect where the list ahead was judged and the other was not."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from conftest import write_beir, write_suite
from situations import cut, decided, differences, option, rule
from typer.testing import CliRunner

from harness.cli import app
from harness.collection import Collection, Judgements
from harness.decision.holes import QUEUE, Holes, Pair, find_holes, to_judge
from harness.decision.situation import Action, Option
from harness.decision.verdict import Decision
from harness.runs.metrics import parse_metric, score
from harness.runs.run import Run, rank

METRIC = parse_metric("ndcg@10")
N, DOCUMENTS, DEPTH = 100, 600, 40


class World(NamedTuple):
    """What is relevant in truth, bool [n, documents], and what two systems return."""

    truth: np.ndarray
    base: Run
    other: Run


def world(*, base: float = 2.5, other: float, seed: int = 0) -> World:
    rng = np.random.default_rng(seed)
    truth = np.zeros((N, DOCUMENTS), dtype=bool)
    for row in truth:
        row[rng.permutation(DOCUMENTS)[: rng.integers(1, 16)]] = True
    runs = []
    for quality in (base, other):
        scores = truth * quality + rng.normal(size=truth.shape)
        first = np.argsort(-scores, axis=1)[:, :DEPTH].astype(np.int32)
        runs.append(rank(first, np.take_along_axis(scores, first, axis=1), depth=DEPTH))
    return World(truth, *runs)


def pool(run: Run, depth: int) -> set[tuple[int, int]]:
    rows = run.documents[:, :depth].tolist()
    return {(query, document) for query, row in enumerate(rows) for document in row}


def judged(found: World, pairs: set[tuple[int, int]], *, positives: bool = False) -> Judgements:
    queries, documents = np.array(sorted(pairs), dtype=np.int32).T
    grades = found.truth[queries, documents].astype(np.int32)
    kept = grades > 0 if positives else np.ones(len(grades), dtype=bool)
    return Judgements(queries[kept], documents[kept], grades[kept])


class Seen(NamedTuple):
    """The difference as judged, and what holes say of it."""

    difference: float
    holes: Holes

    @property
    def is_open(self) -> bool:
        return self.holes.shift != 0 and self.difference * (self.difference + self.holes.shift) <= 0


def seen(found: World, judgements: Judgements) -> Seen:
    values = [
        score(run, judgements, [METRIC], n_queries=N).values["ndcg@10"].mean()
        for run in (found.base, found.other)
    ]
    collection = Collection(
        name="c",
        split="test",
        query_ids=tuple(map(str, range(N))),
        queries=("q",) * N,
        document_ids=tuple(map(str, range(DOCUMENTS))),
        documents=("d",) * DOCUMENTS,
        judgements=judgements,
    )
    ahead = "other" if values[1] > values[0] else "base"
    runs = {"base": found.base, "other": found.other}
    return Seen(
        float(values[1] - values[0]),
        find_holes(runs, collection, METRIC, baseline="base", ahead=ahead),
    )


@pytest.mark.parametrize("other", [3.0, 2.5, 2.0])
@pytest.mark.parametrize("positives", [False, True])
def test_pool_of_the_baseline_leaves_its_lead_open(other: float, *, positives: bool):
    found = world(other=other)
    result = seen(found, judged(found, pool(found.base, 10), positives=positives))
    assert result.difference < 0
    assert result.is_open
    assert len(result.holes.queue) > 100


@pytest.mark.parametrize("positives", [False, True])
def test_pool_of_the_candidate_leaves_its_lead_open(*, positives: bool):
    found = world(other=2.0)
    result = seen(found, judged(found, pool(found.other, 10), positives=positives))
    assert result.difference > 0
    assert result.is_open


@pytest.mark.parametrize("other", [3.0, 2.5, 2.0])
def test_lists_that_are_judged_alike_are_never_open(other: float):
    found = world(other=other)
    both = {depth: pool(found.base, depth) | pool(found.other, depth) for depth in (3, 5, 10)}
    relevant = set(zip(*(part.tolist() for part in np.nonzero(found.truth)), strict=True))
    one_each = {(query, int(np.flatnonzero(row)[0])) for query, row in enumerate(found.truth)}
    for pairs, positives in (
        (both[10], False),
        (both[5], True),
        (both[3], False),
        (relevant, True),
        (one_each, True),
    ):
        result = seen(found, judged(found, pairs, positives=positives))
        assert result.holes.shift == 0


def test_much_worse_candidate_is_settled_by_one_queue():
    found = world(other=0.5)
    pairs = pool(found.base, 10)
    first = seen(found, judged(found, pairs))
    assert first.is_open
    queue = to_judge([first.holes.queue], seed=1)
    assert len(queue) == QUEUE
    again = seen(found, judged(found, pairs | {(query, row) for query, row, _ in queue}))
    assert not again.is_open


def test_better_candidate_is_asked_about_until_it_leads():
    found = world(other=3.0)
    pairs = {pair for pair in pool(found.base, 10) if found.truth[pair]}
    for _ in range(8):
        result = seen(found, judged(found, pairs, positives=False))
        if result.difference > 0:
            break
        assert result.is_open
        pairs |= {(query, row) for query, row, _ in to_judge([result.holes.queue], seed=1)}
    assert result.difference > 0


def test_queue_is_drawn_at_random_and_ordered_by_rank():
    pairs = [
        Pair(query, document, document % 10 + 1) for query in range(80) for document in range(10)
    ]
    drawn = to_judge([pairs, pairs[:5]], seed=1)
    assert len(drawn) == len(set(drawn)) == QUEUE
    assert [pair.rank for pair in drawn] == sorted(pair.rank for pair in drawn)
    assert len({pair.query for pair in drawn}) > 70


def holed(name: str, mean: float | np.ndarray, shift: float, **others: object) -> Option:
    queue = [Pair(row, row, 1) for row in range(40)]
    return option(name, mean, holes=(Holes((0.95, 0.05), shift, queue),), **others)


def test_open_lead_of_the_baseline_asks_for_judgements_and_does_not_keep():
    found = decided(holed("b", -0.2, 0.3))
    assert (found.action, found.candidate) == (Action.FIX_DATA, None)
    assert found.sentence == "Switch: open. Judge these 40 documents first: to-judge.c0.csv."
    assert "".join(found.warnings) == (
        "'b': \u22120.200 as judged, possibly +0.100; 5% of its first results are judged, 95% of "
        "the baseline's."
    )
    assert found.to_judge[0].options == ["b"]
    assert "up to 2 times as often as judged ones at the same rank" in rule(found, "unjudged")[1]
    assert found.experiment.startswith("Fill in the grade column")


def test_every_kind_that_could_win_is_open_with_its_evidence():
    values = np.clip(differences(-0.2, seed=1), -0.9, 0.9)
    below = values - 0.1
    found = decided(
        holed("b", values, 0.3, unmeasured=("The p95 latency is not measured.",)),
        holed("b/64", below, 0.5, action=Action.TRUNCATE, shortens="b", width=64),
        option("mix", 0.012, Action.FUSE),
        option("tuned", -0.2, Action.FINE_TUNE),
    )
    assert found.sentence == (
        "Switch, fuse, truncate: open. Fine-tune: no. Judge these 40 documents first: "
        "to-judge.c0.csv."
    )
    assert {each.candidate: each.reply for each in found.options} == {
        "b": "open",
        "b/64": "open",
        "mix": "open",
        "tuned": "no",
    }
    decided_by, evidence = rule(found, "unjudged")
    assert decided_by
    for said in (
        "'b': \u2212",
        "'b/64': \u2212",
        "possible for 'mix'",
    ):
        assert said in evidence
    assert found.to_judge[0].options == ["b"]
    full = holed("b", values, 0.3)
    failing = decided(full, cut("b/64", below, 64, of="b"))
    assert failing.sentence.startswith("Switch: open. Truncate: no. Judge")
    exact = decided(full, cut("base/64", np.zeros(400), 64))
    assert exact.sentence.startswith("Switch, truncate: open. Judge")


def test_open_lead_of_the_candidate_is_not_recommended():
    assert decided(holed("b", 0.2, -0.3)).action is Action.FIX_DATA


def test_lead_that_holes_cannot_turn_stands():
    assert decided(holed("b", -0.2, 0.1)).action is Action.KEEP
    assert decided(holed("b", 0.2, -0.1)).action is Action.SWITCH


def test_option_that_is_judged_and_better_is_recommended_beside_one_that_is_open():
    found = decided(option("a", 0.1), holed("b", -0.2, 0.3))
    assert (found.action, found.candidate) == (Action.SWITCH, "a")
    assert any(
        line.startswith("'b': \u22120.200 as judged, possibly +0.100") for line in found.warnings
    )


def test_queue_of_a_pool_is_written_and_read_back(tmp_path: Path):
    rng = np.random.default_rng(1)
    documents = [f"d{row:03}" for row in range(400)]
    queries = [f"q{row:03}" for row in range(60)]
    lists = {
        name: {query: rng.permutation(documents)[:10].tolist() for query in queries}
        for name in ("base", "other")
    }
    judgements = [
        (query, document, int(place == 1))
        for query in queries
        for place, document in enumerate(lists["base"][query])
    ]
    folder = write_beir(
        tmp_path / "pool",
        documents={document: f"text of {document}" for document in documents},
        queries={query: f"question {query}" for query in queries},
        qrels={"test": judgements},
    )
    for name, found in lists.items():
        lines = [
            f"{query} Q0 {document} {place + 1} {10 - place} {name}\n"
            for query, row in found.items()
            for place, document in enumerate(row)
        ]
        (tmp_path / f"{name}.trec").write_text("".join(lines), "utf-8")
    text = f"""
    baseline = "base"
    [collections.pool]
    source = "beir:{folder}"
    [candidates.base]
    run = "{tmp_path}/base.trec"
    [candidates.other]
    run = "{tmp_path}/other.trec"
    """
    results = tmp_path / "results"
    store, where = tmp_path / "store", str(results)

    def decide(more: str = "") -> Decision:
        suite = write_suite(
            tmp_path / "s.toml", text.replace("[candidates.base]", f"{more}\n[candidates.base]")
        )
        asked = ["decide", str(suite), "--store", str(store), "--results", where, "--offline"]
        made = CliRunner().invoke(app, asked)
        assert made.exit_code == 0, made.output
        return Decision.model_validate_json((results / "decision.json").read_text("utf-8"))

    first = decide()
    file = results / "to-judge.pool.csv"
    assert first.action is Action.FIX_DATA
    assert str(file) in first.sentence
    rows = file.read_text("utf-8").splitlines()
    assert rows[0] == "query_id,document_id,grade,query,document,why"
    assert len(rows) - 1 == first.to_judge[0].documents == QUEUE
    filled = tmp_path / "filled.csv"
    filled.write_text(
        "\n".join([rows[0], *(row.replace(",,", ",0,", 1) for row in rows[1:])]), "utf-8"
    )
    second = decide(f'judgements = "{filled}"')
    assert second.action is Action.KEEP
    assert not file.exists()
