"""Runs of any systems are compared by the statistics of a suite, whatever form they have."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import harness
from harness.errors import ExitCode, HarnessError

METRICS = ["ndcg@10", "recall@5"]
Lists = dict[str, dict[str, Any]]


def made(seed: int) -> Lists:
    """Return 15 of 30 documents for each of 40 queries; the lower the seed, the better."""
    draw = np.random.default_rng(seed)
    found: Lists = {}
    for query in range(40):
        scores = draw.random(30)
        scores[query % 30] += 1.0 / seed
        order = np.argsort(-scores)[:15]
        found[f"q{query}"] = {f"d{row}": float(scores[row]) for row in order}
    return found


RUNS = {"a": made(9), "b": made(2), "c": made(1)}
GRADES: Lists = {f"q{query}": {f"d{query % 30}": 1, "d7": 0} for query in range(40)}
GRADES["q7"] = GRADES["q37"] = {"d7": 2}


def table(lists: Lists, *names: str) -> pd.DataFrame:
    rows = [(query, each, value) for query, found in lists.items() for each, value in found.items()]
    return pd.DataFrame(rows, columns=list(names))


def test_the_numbers_are_those_of_a_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    suite = harness.Suite(
        "small",
        candidates={
            name: {"run": table(run, "query_id", "document_id", "score")}
            for name, run in RUNS.items()
        },
        collections={
            "judgements": {
                "documents": {f"d{row}": f"document {row}" for row in range(30)},
                "queries": {query: f"query {query}" for query in GRADES},
                "judgements": GRADES,
            }
        },
        metrics=METRICS,
        baseline="a",
        progress=False,
    )
    results = suite.run()
    found = harness.compare(RUNS, GRADES, metrics=METRICS, baseline="a")
    assert list(map(asdict, found.pairs)) == list(map(asdict, results.stored.results.comparisons))
    columns = ["candidate", "metric", "mean", "low", "high", "n"]
    pd.testing.assert_frame_equal(found.scores[columns], results.scores[columns])
    keys = ["candidate", "metric", "query_id"]
    mine, theirs = (
        each[[*keys, "value"]].astype(dict.fromkeys(keys, str)).set_index(keys).sort_index()
        for each in (found.per_query, results.per_query)
    )
    pd.testing.assert_frame_equal(mine, theirs)


def test_every_two_runs_are_one_family():
    found = harness.compare(RUNS, GRADES, metrics=METRICS)
    pairs = [("b", "a"), ("c", "a"), ("c", "b")]
    assert [(each.candidate, each.reference) for each in found.pairs] == pairs * 2
    assert {each.role for each in found.pairs} == {"pair"}
    alone = harness.compare({name: RUNS[name] for name in "ab"}, GRADES)
    assert found.pairs[0].p == pytest.approx(alone.pairs[0].p, abs=0.005)
    assert found.pairs[0].p_adjusted >= alone.pairs[0].p_adjusted
    assert found.pairs[0].difference == alone.pairs[0].difference
    frame = found.comparisons
    assert {"difference", "family_low", "p_adjusted", "mde", "verdict"} <= set(frame.columns)


def test_every_form_of_runs_and_judgements_gives_the_same(tmp_path: Path):
    expected = harness.compare(RUNS, GRADES).pairs
    lines = table(RUNS["a"], "q", "d", "s").itertuples(index=False)
    trec = "".join(f"{query} Q0 {each} 1 {score!r} tag\n" for query, each, score in lines)
    (tmp_path / "a.trec").write_text(trec)
    (tmp_path / "b.json").write_text(json.dumps(RUNS["b"]))
    table(RUNS["c"], "qid", "docno", "score").to_parquet(tmp_path / "c.parquet")
    graded = table(GRADES, "q", "d", "g").itertuples(index=False)
    (tmp_path / "qrels").write_text("".join(f"{q} 0 {d} {g}\n" for q, d, g in graded))
    (tmp_path / "qrels.json").write_text(json.dumps(GRADES))
    paths = {"a": str(tmp_path / "a.trec"), "b": tmp_path / "b.json", "c": tmp_path / "c.parquet"}
    frames = {name: table(run, "q_id", "doc_id", "score") for name, run in RUNS.items()}
    for runs, judgements in (
        (paths, str(tmp_path / "qrels")),
        (frames, table(GRADES, "q_id", "doc_id", "score")),
        (RUNS, tmp_path / "qrels.json"),
    ):
        assert harness.compare(runs, judgements).pairs == expected


def test_a_query_without_results_scores_0_and_one_without_a_relevant_document_is_left_out():
    part = {query: found for query, found in RUNS["b"].items() if query != "q3"}
    found = harness.compare({"a": RUNS["a"], "b": part}, {**GRADES, "q9": {"d1": 0}})
    assert found.warnings == (
        "1 of 40 judged queries have no relevant document and are left out.",
        "run 'b' misses 1 of 39 judged queries (q3, …), which score 0.",
    )
    values = found.per_query.set_index(["candidate", "query_id"])["value"]
    assert values["b", "q3"] == 0
    assert ("b", "q9") not in values.index


def test_it_is_shown_as_text_html_tables_and_a_figure():
    found = harness.compare({**RUNS, "<x>_1": RUNS["c"]}, GRADES, metrics=METRICS)
    assert repr(found).startswith("b against a: ndcg@10 ")
    text, page = str(found), found._repr_html_()
    for part in ("Differences in recall@5", "c against b", "p is adjusted for 6 comparisons"):
        assert part in text
        assert part in page
    assert "&lt;x&gt;" in page
    assert "<x>" not in page
    assert "| &lt;x>\\_1 against c | " in found.markdown
    assert r"$<$x$>$\_1 against c & " in found.latex
    assert found.latex.count(r"\begin{tabular}") == 3
    figure = found.figure("recall@5")
    assert figure.layout.xaxis.title.text == "difference in recall@5"
    assert len(figure.layout.yaxis.ticktext) == 6
    with pytest.raises(HarnessError, match="no metric 'map@5'"):
        found.figure("map@5")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"runs": {"a": RUNS["a"]}}, "needs two runs and one metric at least, got 1 of runs"),
        ({"baseline": "d"}, "no run 'd'"),
        ({"metrics": ["context_recall@2000t"]}, "needs the texts of the documents"),
        ({"metrics": ["ndgc@10"]}, "unknown name 'ndgc'"),
        ({"runs": {"a": RUNS["a"], "b": {"q1": 1}}}, r"runs\['b'\]: cannot be read as a run"),
        (
            {"runs": {"a": RUNS["a"], "b": {"q1": {"d1": "high"}}}},
            r"runs\['b'\]: row:1: the score is not a finite 32-bit number, got 'high'",
        ),
        (
            {"runs": {"a": RUNS["a"], "b": table(RUNS["b"], "query", "document", "value")}},
            r"runs\['b'\]: no column 'query_id'",
        ),
        ({"runs": {"a": RUNS["a"], "b": 3}}, r"runs\['b'\]: must be a DataFrame or a mapping"),
        ({"runs": {"a": RUNS["a"], "b": {"x": {"d1": 1.0}}}}, r"runs\['b'\]: none of its queries"),
        ({"judgements": {"q1": {"d1": "yes"}}}, "judgements:0: 'grade' must be an integer grade"),
        ({"judgements": 3}, "judgements: must be a DataFrame or a mapping, got int"),
        ({"judgements": "absent.qrels"}, "absent.qrels: cannot be read"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: dict[str, Any], message: str):
    with pytest.raises(HarnessError, match=message) as caught:
        harness.compare(**{"runs": RUNS, "judgements": GRADES, **arguments})
    assert caught.value.exit_code in {ExitCode.USAGE, ExitCode.DATA}


def test_scores_that_are_distances_are_turned_where_that_is_said():
    turned = {
        name: {
            query: {each: -score for each, score in found.items()} for query, found in run.items()
        }
        for name, run in RUNS.items()
    }
    found = harness.compare(turned, GRADES, scores="distance")
    assert found.pairs == harness.compare(RUNS, GRADES).pairs


def test_it_loads_no_torch():
    code = (
        "import sys, harness\n"
        "run = {f'q{n}': {'d1': 0.5, 'd2': 0.4} for n in range(5)}\n"
        "harness.compare({'a': run, 'b': run}, {f'q{n}': {'d2': 1} for n in range(5)})\n"
        "assert not {'torch', 'sentence_transformers', 'mteb', 'plotly'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
