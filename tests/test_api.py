"""The front door: what a notebook user builds, runs, reads and sees."""

from __future__ import annotations

import html
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import write_beir

import harness
from harness.errors import ExitCode

ROOT = Path(__file__).parents[1]
PAIRS = {
    "returned my order, money?": "How to get your money back after returning an order",
    "forgot passwords": "Reset a forgotten password",
    "invoice for an order": "Download invoices and receipts of past orders",
    "delivery of a parcel": "When will my parcel be delivered",
    "changing my shipping address": "Change the address that we ship to",
    "cancel subscriptions": "Cancelling a subscription before it renews",
}
DOCUMENTS = {"d1": "apple pie", "d2": "pear tart", "d3": "plum cake"}
QUERIES = {"q1": "pie", "q2": "tart"}
_RELEVANT = "Relevant is 1 or more."
JUDGED = {"q1": {"d1": 2, "d3": 0}, "q2": {"d2": 1}}


def suite_of(collection: Any, **more: Any) -> harness.Suite:
    """Return a suite of one lexical candidate on one collection."""
    tables = {"candidates": {"words": {"kind": "bm25"}}, "baseline": "words", **more}
    return harness.Suite(
        "small",
        collections={"notes": collection},
        metrics=["ndcg@10"],
        progress=False,
        **tables,
    )


def keys(suite: harness.Suite) -> list[str | None]:
    """Return the key of every stage."""
    made = suite.plan().made
    return [stage.key(made.store) for stage in made.stages]


def problems(collection: Any, **more: Any) -> tuple[list[str], ExitCode]:
    """Return what a suite is refused for."""
    with pytest.raises(harness.HarnessError) as caught:
        suite_of(collection, **more)
    return caught.value.problems, caught.value.exit_code


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test work in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def test_runs_and_vectors_are_given_as_frames_and_read_as_their_files_are() -> None:
    collection = {"documents": DOCUMENTS, "queries": QUERIES, "judgements": JUDGED}
    run = pd.DataFrame(
        [("q1", "d1", 2.0), ("q1", "d2", 1.0), ("q2", "d3", 3.0), ("q2", "d2", 2.0)],
        columns=["query_id", "document_id", "score"],
    )
    vectors = {
        "documents": pd.DataFrame(np.eye(3, dtype=np.float32), index=list(DOCUMENTS)),
        "queries": pd.DataFrame(np.eye(3, dtype=np.float32)[[0, 2]], index=list(QUERIES)),
    }
    given = {"theirs": {"run": run}, "mine": {"vectors": vectors}, "words": {"kind": "bm25"}}
    suite = suite_of(collection, candidates=given)
    found = suite.run().scores.set_index("candidate")["mean"]
    assert found["theirs"] == pytest.approx((1 + 1 / np.log2(3)) / 2)
    assert found["mine"] == pytest.approx((1 + 1 / np.log2(3)) / 2)
    run.to_csv("run.csv", index=False)
    for side, frame in vectors.items():
        np.save(f"{side}.npy", frame.to_numpy())
        Path(f"{side}.ids.txt").write_text("".join(f"{key}\n" for key in frame.index))
    files = {
        "theirs": {"run": "run.csv"},
        "mine": {"vectors": {side: f"{side}.npy" for side in vectors}},
        "words": {"kind": "bm25"},
    }
    left = [stage.label for stage, _ in suite_of(collection, candidates=files).plan().made.left()]
    assert left
    assert not any("mine" in label for label in left)


def test_frames_are_given_by_collection_and_what_no_file_can_hold_is_refused() -> None:
    run = pd.DataFrame([("q1", "d1", 2.0)], columns=["query_id", "document_id", "score"])
    texts = {"documents": DOCUMENTS, "queries": QUERIES, "judgements": JUDGED}
    suite = harness.Suite(
        "two",
        candidates={"words": {"kind": "bm25"}, "theirs": {"run": {"one": run, "other": run}}},
        collections={"one": texts, "other": texts},
        metrics=["ndcg@10"],
        baseline="words",
        progress=False,
    )
    assert "misses 1 of 2 judged queries" in " ".join(suite.plan().warnings)
    mixed = pd.DataFrame({"query_id": ["q1", b"q"], "document_id": ["d1", 2], "score": [1, 2]})
    found, code = problems(texts, candidates={"words": {"run": mixed}})
    assert (code, len(found)) == (ExitCode.USAGE, 1)
    assert found[0].startswith("candidates['words']['run']: no file can hold it (")


def test_importing_takes_less_than_three_tenths_of_a_second_and_loads_nothing() -> None:
    code = "import sys; before = set(sys.modules); import harness; print(set(sys.modules) - before)"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3
    assert not {"numpy", "pandas", "pydantic", "harness.api"} & set(eval(done.stdout))  # noqa: S307


def test_every_public_name_is_there_and_completed() -> None:
    assert {*harness.__all__} <= {*dir(harness)}
    for name in harness.__all__:
        assert getattr(harness, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = harness.lod


def test_texts_in_frames_and_in_files_have_the_same_keys(tmp_path: Path) -> None:
    rows = [(q, d, grade) for q, graded in JUDGED.items() for d, grade in graded.items()]
    folder = write_beir(
        tmp_path / "beir", documents=DOCUMENTS, queries=QUERIES, qrels={"test": rows}
    )
    in_files = keys(suite_of({"source": f"beir:{folder}"}))
    assert None not in in_files
    frames = {
        "documents": pd.DataFrame({"docno": DOCUMENTS.keys(), "text": DOCUMENTS.values()}),
        "queries": pd.DataFrame({"qid": QUERIES.keys(), "query": QUERIES.values()}),
        "judgements": pd.DataFrame(rows, columns=["qid", "docno", "relevance"]),
    }
    assert keys(suite_of(frames)) == in_files
    as_in_beir = {
        "documents": pd.read_json(folder / "corpus.jsonl", lines=True),
        "queries": pd.read_json(folder / "queries.jsonl", lines=True),
        "judgements": pd.read_csv(folder / "qrels" / "test.tsv", sep="\t"),
    }
    assert keys(suite_of(as_in_beir)) == in_files
    mapped = {"documents": DOCUMENTS, "queries": QUERIES, "judgements": JUDGED}
    assert keys(suite_of(mapped)) == in_files


def test_pairs_in_a_frame_and_in_a_file_have_the_same_keys(tmp_path: Path) -> None:
    frame = pd.DataFrame({"question": PAIRS.keys(), "answer": PAIRS.values()})
    frame.to_csv(tmp_path / "faq.csv", index=False)
    in_file = keys(suite_of({"source": f"pairs:{tmp_path / 'faq.csv'}"}))
    assert keys(suite_of({"pairs": frame})) == in_file


def test_pairs_in_frames_have_named_columns_and_a_corpus_as_in_files(tmp_path: Path) -> None:
    log = pd.DataFrame(
        {"Suchwort": PAIRS.keys(), "clicked_url": range(len(PAIRS)), "clicks": [2] * len(PAIRS)}
    )
    pages = pd.DataFrame({"url": range(len(PAIRS)), "text": PAIRS.values()})
    log.to_csv(tmp_path / "log.csv", index=False)
    pages.to_csv(tmp_path / "pages.csv", index=False)
    columns = {"query": "Suchwort", "document_id": "clicked_url", "grade": "clicks"}
    in_files = {
        "source": f"pairs:{tmp_path / 'log.csv'}",
        "corpus": tmp_path / "pages.csv",
        "columns": columns,
    }
    in_frames = {"pairs": log, "documents": pages, "columns": columns}
    assert keys(suite_of(in_frames)) == keys(suite_of(in_files))


def test_integer_ids_missing_values_and_splits_are_read_as_in_files() -> None:
    suite = suite_of(
        {
            "documents": pd.DataFrame(
                {"id": [1, 2, 3], "title": ["A", None, "C"], "text": ["apple", "pear", "plum"]}
            ),
            "queries": pd.DataFrame({"id": np.array([7, 8, 9]), "text": ["a", "b", "c"]}),
            "judgements": pd.DataFrame(
                {
                    "query_id": [7.0, 8.0, 9.0],
                    "document_id": ["1", "2", "3"],
                    "grade": [1, 1, 1],
                    "split": ["test", "test", "train"],
                }
            ),
        }
    )
    found = suite.plan().made.collections["notes"]
    assert (found.document_ids, found.query_ids) == (("1", "2", "3"), ("7", "8"))
    assert list(found.documents) == ["A apple", "pear", "C plum"]


def test_what_is_wrong_with_frames_names_the_argument_and_the_row() -> None:
    told, code = problems(
        {
            "documents": pd.DataFrame({"id": ["d1", None], "text": ["a", "b"]}),
            "queries": {"q1": 7},
            "judgements": {"q1": {"d1": "high"}},
        }
    )
    assert code is ExitCode.DATA
    where = "suite 'small': collections['notes']"
    assert told == [
        f"{where}['documents']:1: 'id' is null. Fill it in or remove the row.",
        f"{where}['queries']:0: 'text' must be a text, got 7. Store the column as text.",
        f"{where}['judgements']:0: 'grade' must be an integer grade, got 'high'. {_RELEVANT}",
    ]


def test_missing_and_unfit_arguments_are_told_at_once() -> None:
    told, _ = problems({"documents": ["a text"]})
    assert [text.partition("]: ")[2] for text in told] == [
        "is missing. Give a DataFrame or a mapping.",
        "is missing. Give a DataFrame or a mapping.",
    ]
    told, _ = problems({"documents": ["a text"], "queries": QUERIES, "judgements": ["q1"]})
    assert [text.partition("]: ")[2] for text in told] == [
        "must be a DataFrame or a mapping, got list. Give one of them.",
        "must be a DataFrame or a mapping, got list. Give one of them.",
    ]
    told, _ = problems({"pairs": pd.DataFrame({"query": ["a"]})})
    assert "no column 'document'" in told[0]


def test_an_id_with_two_texts_is_refused_like_in_files() -> None:
    frame = pd.DataFrame({"id": ["d1", "d1"], "text": ["apple", "pear"]})
    suite = suite_of({"documents": frame, "queries": {"q1": "apple"}, "judgements": JUDGED})
    with pytest.raises(harness.HarnessError, match="occurs again with another text") as caught:
        suite.plan()
    assert caught.value.exit_code is ExitCode.DATA
    assert "collections['notes']['documents']:1" in caught.value.problems[0]


def test_mistakes_in_tables_are_those_of_a_file() -> None:
    mapped = {"documents": DOCUMENTS, "queries": QUERIES, "judgements": JUDGED}
    told, code = problems({**mapped, "splitt": "test"}, candidates={"a": {"modle": "x"}})
    assert code is ExitCode.USAGE
    assert "suite 'small': collection 'notes': unknown key 'splitt'. Did you mean 'split'?" in told
    assert any("candidate 'a': unknown key 'modle'" in text for text in told)


def test_tuples_and_paths_are_lists_and_texts(tmp_path: Path) -> None:
    suite = suite_of(
        {"documents": DOCUMENTS, "queries": QUERIES, "judgements": JUDGED},
        candidates={
            "words": {"kind": "bm25"},
            "other": {"run": tmp_path / "x.trec"},
            "both": {"fuse": ("words", "other")},
        },
    )
    assert suite.spec.said["candidates"]["other"]["run"] == f"{tmp_path / 'x.trec'}"
    assert suite.spec.candidates["both"].parents == ("words", "other")
    told, _ = problems(pd.DataFrame({"query": ["a"]}), candidates={"words": {"run": np.ones(3)}})
    assert len(told) == 2
    assert all("must be" in text for text in told)


@pytest.fixture
def suite(tmp_path: Path, beir: Path, static_model: Path) -> harness.Suite:
    """Return a suite of a model, its truncation and words, whose question is no markup."""
    (tmp_path / "small.toml").write_text(
        f"""
        name = "small"
        question = "Is <b>a</b> & b [bold]better[/bold]?"
        metrics = ["ndcg@10", "recall@20"]
        baseline = "static"
        collections.notes.source = "beir:{beir}"
        candidates.static.model = "{static_model}"
        candidates.words.kind = "bm25"
        candidates.cut = {{ from = "static", truncate = 4 }}
        gates.quality = {{ rule = "no_worse", margin = 0.02, min_queries = 10 }}
        """,
        "utf-8",
    )
    return harness.load("small.toml", device="cpu", offline=True, progress=False)


def test_a_suite_is_run_decided_diagnosed_gated_and_opened_again(suite: harness.Suite) -> None:
    with pytest.raises(harness.HarnessError, match="no results yet"):
        harness.open("results/small")
    assert not suite.plan().stages.cached.any()
    results = suite.run()
    assert suite.plan().stages.cached.all()
    assert {*results.scores.metric} == {"ndcg@10", "recall@20"}
    assert len(results.scores) == 6
    assert {*results.comparisons.role} == {"baseline", "parent"}
    assert len(results.costs) == 3
    means = results.per_query.query("metric == 'ndcg@10'").groupby("candidate")["value"].mean()
    scored = results.scores.query("metric == 'ndcg@10'").set_index("candidate")["mean"]
    assert np.allclose(means[scored.index].to_numpy(), scored.to_numpy())
    assert results.report.is_file()

    for name in ("decision", "diagnosis", "gate"):
        with pytest.raises(harness.HarnessError, match=f"no {name} yet"):
            getattr(results, name)
    suite.save_baseline()
    found = {"decision": suite.decide(), "diagnosis": suite.diagnose(), "gate": suite.gate()}
    opened = harness.open("results/small")
    for name, value in found.items():
        assert getattr(opened, name).model_dump_json() == value.model_dump_json()
        stored = json.loads((opened.folder / f"{name}.json").read_text("utf-8"))
        assert json.loads(value.model_dump_json()) == stored
        assert str(value)
        assert repr(value)
    shown = [suite, suite.plan(), opened, *found.values(), opened.diagnosis]
    pages = [each._repr_html_() for each in shown]
    assert all(page.count("<") > 4 and "<b>a</b>" not in page for page in pages)
    assert "Is &lt;b&gt;a&lt;/b&gt; &amp; b [bold]better[/bold]?" in pages[2]
    printed = " ".join(str(found["decision"]).split())
    assert printed.startswith(found["decision"].sentence)


def test_an_audit_is_shown_with_its_problems() -> None:
    twice = {**DOCUMENTS, "d4": "apple pie"}
    found = suite_of({"documents": twice, "queries": QUERIES, "judgements": JUDGED}).audit()
    assert not found.has_errors
    assert repr(found) == "Audit of notes: 1 problem"
    for shown in (str(found), found._repr_html_()):
        assert "collections['notes']['documents']:3" in html.unescape(shown)


def test_a_notebook_shows_the_problems_of_an_error_without_a_traceback() -> None:
    error = harness.HarnessError(["a: wrong.", "b: wrong."], exit_code=ExitCode.DATA)
    assert error._render_traceback_() == ["HarnessError: a: wrong.", "HarnessError: b: wrong."]


def test_figures_are_those_of_the_report_and_a_wrong_name_is_told(suite: harness.Suite) -> None:
    results = suite.run()
    for name in results.figures:
        figure = results.figure(name)
        assert figure.data
        assert figure.layout.title.text
    with pytest.raises(harness.HarnessError, match="Did you mean 'differences'"):
        results.figure("diferences")
    with pytest.raises(harness.HarnessError, match="no collection 'x'"):
        results.figure("tree", collection="x")


def test_a_suite_in_code_and_one_in_a_file_do_not_share_a_folder(suite: harness.Suite) -> None:
    suite.run()
    mapped = {"documents": DOCUMENTS, "queries": QUERIES, "judgements": JUDGED}
    with pytest.raises(harness.HarnessError, match="results of another suite file"):
        suite_of(mapped).run()


def test_progress_is_shown_unless_it_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    mapped = {"documents": DOCUMENTS, "queries": QUERIES, "judgements": JUDGED}
    suite_of(mapped).run()
    assert capsys.readouterr().out == ""
    shown = harness.Suite(
        "shown",
        candidates={"words": {"kind": "bm25"}},
        collections={"notes": mapped},
        metrics=["ndcg@10"],
        baseline="words",
    )
    shown.run()
    assert "Reading suite 'shown' and its collections" in capsys.readouterr().out


PAGES = """
import doctest, os, sys

options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
for number, page in enumerate(sys.argv[1:]):
    os.chdir(f"{number}")
    found = doctest.testfile(page, module_relative=False, optionflags=options)
    assert found.attempted > 5, page
    assert found.failed == 0, page
    os.chdir("..")
"""


def test_what_the_pages_show_of_python_is_what_it_does() -> None:
    pages = [ROOT / "docs" / name for name in ("python-api.md", "ci.md")]
    faq = pd.DataFrame({"query": PAIRS.keys(), "document": PAIRS.values()})
    for number in range(len(pages)):
        Path(f"{number}").mkdir()
        faq.to_csv(f"{number}/faq.csv", index=False)
    done = subprocess.run(
        [sys.executable, "-c", PAGES, *pages],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},  # ranx would compile for 15 seconds
    )
    assert done.returncode == 0, done.stdout + done.stderr
