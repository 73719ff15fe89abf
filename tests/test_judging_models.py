"""Models that grade beside people: asked once, checked, and never believed without people."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import harness
from conftest import sentences, write_beir, write_suite
from language_server import Reply, Request, grade, serving
from test_judging_rounds import METRIC, N, collection, ranked

from harness.collection import NO_GRADE, Judgements
from harness.errors import HarnessError
from harness.judging.bias import bias_by_candidate, bias_by_grade
from harness.judging.design import design
from harness.judging.estimates import Sample, estimate_difference, prefix_scores
from harness.judging.graders import GradePrompt
from harness.judging.judges import agreements, weighted_kappa
from harness.judging.rounds import Round, open_round
from harness.suite.load import load_suite

EMPTY = np.empty(0, dtype=np.int32)
NOTHING = Judgements(EMPTY, EMPTY, EMPTY)


def unjudged_round(file: Path, *, model: int | None = None) -> Round:
    """Open a round on texts without judgements; the model gives every pair one grade."""
    return open_round(
        {"old": ranked(1), "new": ranked(2)},
        replace(collection(), judgements=NOTHING),
        METRIC,
        baseline="old",
        seed=13,
        file=file,
        model=None if model is None else lambda pairs: np.full(len(pairs), model, dtype=np.int32),
    )


def answer(file: Path, found: Round, grades: list[str]) -> None:
    """Answer the first pairs."""
    header, *rows = csv.reader(found.next_as_csv(len(grades)).splitlines(keepends=True))
    filled = [[*row[:2], said, *row[3:]] for row, said in zip(rows, grades, strict=True)]
    with file.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([header, *filled])


@pytest.mark.parametrize(
    "text", ["2", '{"grade": true}', '{"grade": 2.0}', '{"grade": 4}', '{"grade": "2"}', ""]
)
def test_what_is_no_grade_is_not_read(text: str):
    assert GradePrompt("").read(text) is None


def test_a_model_alone_leans_and_settles_nothing(tmp_path: Path):
    [found] = unjudged_round(tmp_path / "none.csv", model=1).differences()
    assert (found.settled, found.difference, found.judged) == ("open", None, 0)
    assert "They settle nothing" in found.sentence
    assert f"0 human and {found.pairs:,} model grades" in found.sentence


def test_a_sample_that_has_begun_goes_on_when_a_model_comes(tmp_path: Path):
    file = tmp_path / "notes.csv"
    first = unjudged_round(file)
    answer(file, first, ["1"] * 30)
    found = unjudged_round(file, model=1)
    assert (found.sample, found.judged) == (first.sample, 30)
    fresh = unjudged_round(tmp_path / "other.csv", model=1)
    assert fresh.sample != first.sample


def test_skipped_pairs_are_answered_and_bad_queries_left_out(tmp_path: Path):
    file = tmp_path / "notes.csv"
    answer(file, unjudged_round(file), ["1", "skip", "Bad query", "0", "1"])
    found = unjudged_round(file)
    assert (found.judged >= 5, found.n_queries) == (True, N - 1)
    [one] = found.differences()
    assert (one.skipped, one.bad_queries) == (1, 1)
    assert "1 skipped, 1 bad query left out" in one.source
    bad = found.collection.query_ids[int(np.flatnonzero(found.bad)[0])]
    assert not any(row[0] == bad for row in csv.reader(found.next_as_csv(999).splitlines()[1:]))


def test_the_bias_of_a_judge_is_found():
    # The judge calls every document relevant that "new" returns first, and no other.
    rng = np.random.default_rng(7)
    runs = {"old": ranked(1), "new": ranked(2)}
    plan = design(runs, [("old", "new")], METRIC, NOTHING, rng=rng)
    truth = rng.random(plan.documents.shape) < 0.3
    ranks = runs["new"].ranks_of(plan.documents)
    judge = np.where(plan.documents >= 0, ((ranks >= 1) & (ranks <= 2)), NO_GRADE).astype(np.int32)
    grades = np.where(plan.documents >= 0, truth, NO_GRADE).astype(np.int32)
    sample = Sample.after(plan, plan.n_pairs)
    scores = prefix_scores(plan, list(runs.values()), METRIC, grades, fill=np.maximum(0, judge))
    old, new = bias_by_candidate(sample, list(runs), scores, None)
    assert old.high is not None
    assert new.low is not None
    assert old.high < 0 < new.low
    no, yes = bias_by_grade(sample.chances, grades, judge, None)
    assert (no.grade, yes.grade) == (0, 1)
    assert no.relevant == pytest.approx((judge[grades == 0] >= 1).mean())


@pytest.mark.parametrize("alike", [False, True])
def test_values_that_stand_for_paired_differences_have_the_same_interval(*, alike: bool):
    runs = {"old": ranked(1), "new": ranked(2)}
    rng = np.random.default_rng(3)
    plan = design(runs, [("old", "new")], METRIC, NOTHING, rng=rng)
    grades = (rng.random(plan.documents.shape) < (0 if alike else 0.3)).astype(np.int32)
    scores = prefix_scores(plan, list(runs.values()), METRIC, grades, fill=np.zeros_like(grades))
    found = estimate_difference(Sample.after(plan, 60), scores[..., 1] - scores[..., 0])
    values = found.as_differences()
    half = 2.0096 * values.std(ddof=1) / np.sqrt(N)  # t of 49 degrees
    assert values.mean() == pytest.approx(found.difference)
    widest = max(found.high - found.difference, found.difference - found.low)
    assert half == pytest.approx(widest, rel=1e-3)


def test_clusters_widen_the_interval():
    runs = {"old": ranked(1), "new": ranked(2)}
    rng = np.random.default_rng(3)
    plan = design(runs, [("old", "new")], METRIC, NOTHING, rng=rng)
    clusters = np.arange(N) // 5
    difference = np.repeat(np.where(rng.random(N // 5) < 0.5, 0.2, -0.2), 5)
    prefix = np.tile(difference[:, None], plan.sizes.shape[1] + 1)
    sample = Sample.after(plan, plan.n_pairs)
    alone, grouped = (estimate_difference(sample, prefix, clusters=c) for c in (None, clusters))
    assert grouped.se > 2 * alone.se


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a collection of 16 documents and 5 queries, of which the three words are the start."""
    documents = sentences(16, seed=12, words=8)
    return write_beir(
        tmp_path_factory.mktemp("beir") / "few",
        documents={f"d{row:02}": text for row, text in enumerate(documents)},
        queries={f"q{row:02}": text[:8] for row, text in enumerate(documents[:5])},
        qrels={"test": [(f"q{row:02}", f"d{row:02}", 1) for row in range(5)]},
    )


def suite_file(folder: Path, beir: Path, static_model: Path, judging: str) -> Path:
    return write_suite(
        folder / "suite.toml",
        f"""
        baseline = "static"
        collections.small.source = "beir:{beir}"
        [candidates.static]
        model = "{static_model}"
        [candidates.words]
        kind = "bm25"
        [judging]
        {judging}
        """,
    )


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "give one of 'candidate', 'model', 'language_model', got none"),
        ('candidate = "words"', "'words' scores no pairs"),
        ('candidate = "word"', "Did you mean 'words'?"),
        (
            'language_model = { provider = "openai", model = "m", base_url = "x" }',
            "'base_url' is the http or https address",
        ),
    ],
)
def test_what_cannot_judge_is_refused(
    tmp_path: Path, beir: Path, static_model: Path, table: str, said: str
):
    path = suite_file(tmp_path, beir, static_model, table)
    with pytest.raises(HarnessError, match=said.replace("?", r"\?")):
        load_suite(path)


def test_a_language_model_is_asked_once_and_recorded(tmp_path: Path, few: Path, static_model: Path):
    pytest.importorskip("openai")

    def first_badly(asked: Request) -> Reply:
        return Reply("so so") if len(asked.turns) == 1 and asked.number % 3 else grade(asked)

    with serving(first_badly) as server:
        table = (
            f'language_model = {{ provider = "openai", model = "m", base_url = '
            f'"{server.base_url("openai")}", temperature = 0.5 }}'
        )
        path = suite_file(tmp_path, few, static_model, table)
        done = harness("judge", path, "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        asked = len(server.requests)
        assert {each.body["temperature"] for each in server.requests} == {0.5}
        again = harness("judge", path, "--json", cwd=tmp_path)
        assert len(server.requests) == asked
    about = json.loads(done.stdout)["models"]["small"]
    assert about["grades"] == about["pairs"] > 0
    assert about["name"] == "m (openai, temperature 0.5)"
    assert "Answer with" in about["prompt"]
    assert json.loads(again.stdout) == json.loads(done.stdout)
    [stored] = tmp_path.glob("results/*/judging.json")
    assert json.loads(stored.read_text("utf-8")) == json.loads(done.stdout)


@pytest.mark.parametrize("reply", [Reply("no"), Reply('{"grade": 9}'), Reply("x", refused=True)])
def test_pairs_without_an_answer_are_said_and_people_go_on(
    tmp_path: Path, few: Path, static_model: Path, reply: Reply
):
    pytest.importorskip("openai")
    with serving(lambda _: reply) as server:
        url = server.base_url("openai")
        table = f'language_model = {{ provider = "openai", model = "m", base_url = "{url}" }}'
        done = harness("judge", suite_file(tmp_path, few, static_model, table), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "have no grade of m" in " ".join(done.stdout.split())
    assert "no grades yet" in " ".join(done.stdout.split())


def test_the_budget_holds_over_all_runs(tmp_path: Path, beir: Path, static_model: Path):
    pytest.importorskip("openai")
    with serving(grade) as server:
        table = (
            f'language_model = {{ provider = "openai", model = "m", base_url = '
            f'"{server.base_url("openai")}", max_requests = 3, price = 2.0 }}'
        )
        path = suite_file(tmp_path, beir, static_model, table)
        before = " ".join(harness("judge", path, "--dry-run", cwd=tmp_path).stdout.split())
        assert re.search(r"stages to run .* Then at most [\d,]+ pairs are to be graded", before)
        assert harness("run", path, cwd=tmp_path).returncode == 0
        dry = " ".join(harness("judge", path, "--dry-run", cwd=tmp_path).stdout.split())
        assert (len(server.requests), list(tmp_path.glob("results/*.judging"))) == (0, [])
        told = re.search(
            r"grades [\d,]+ pairs\. Still to do: 3 requests to a language model "
            r"\(about ([\d,]+) tokens, at most (0\.\d+) USD\)\. About 2 s\. "
            r"The budget of m is 3 requests over all runs: "
            r"max_requests and max_tokens in \[judging\] language_model change it\.",
            dry,
        )
        assert told is not None, dry
        tokens = int(told[1].replace(",", ""))
        assert float(told[2]) == pytest.approx(tokens * 2 / 1e6, rel=0.1)
        first = " ".join(harness("judge", path, cwd=tmp_path).stdout.split())
        assert told[0] in first
        again = " ".join(harness("judge", path, cwd=tmp_path).stdout.split())
        for said in (first, again):
            assert "the budget is spent (3 requests" in said
        assert "pairs: nothing left to do." in again
    assert len(server.requests) == 3


def test_grades_decide_and_are_shown(tmp_path: Path, beir: Path, static_model: Path):
    pytest.importorskip("openai")
    with serving(grade) as server:
        url = server.base_url("openai")
        table = f'language_model = {{ provider = "openai", model = "m", base_url = "{url}" }}'
        path = suite_file(tmp_path, beir, static_model, table)
        harness("judge", path, "-n", "500", cwd=tmp_path)
        [file] = tmp_path.glob("results/*.judging/small.csv")
        header, *rows = csv.reader(file.read_text("utf-8").splitlines(keepends=True))
        with file.open("w", encoding="utf-8", newline="") as handle:
            graded = [[*row[:2], str(number % 2), *row[3:]] for number, row in enumerate(rows)]
            csv.writer(handle).writerows([header, *graded])
        assert harness("judge", path, cwd=tmp_path).returncode == 0
    done = harness("decide", path, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    decision = json.loads(done.stdout)
    assert f"{len(rows):,} human and {len(rows):,} model grades" in decision["warnings"][0]
    assert harness("run", path, cwd=tmp_path).returncode == 0
    [report] = tmp_path.glob("results/*/report.html")
    assert "What the grades show so far" in report.read_text("utf-8")
    assert (report.parent / "decision.json").is_file()
    [summary] = tmp_path.glob("results/*/summary.md")
    assert "human and" in summary.read_text("utf-8")


def test_a_collection_is_judged_from_nothing(tmp_path: Path, beir: Path, static_model: Path):
    folder = tmp_path / "data"
    shutil.copytree(beir, folder)
    shutil.rmtree(folder / "qrels")
    path = write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "static"
        collections.small.source = "beir:{folder}"
        [candidates.static]
        model = "{static_model}"
        [candidates.words]
        kind = "bm25"
        """,
    )
    refused = harness("run", path, cwd=tmp_path)
    assert refused.returncode == 3
    assert "`harness judge SUITE` chooses which" in " ".join(refused.stderr.split())
    assert harness("judge", path, "-n", "500", cwd=tmp_path).returncode == 0
    few = harness("decide", path, cwd=tmp_path)
    assert few.returncode == 3
    assert "nothing is judged, and too few pairs are graded" in " ".join(few.stderr.split())
    [file] = tmp_path.glob("results/*.judging/small.csv")
    header, *rows = csv.reader(file.read_text("utf-8").splitlines(keepends=True))
    with file.open("w", encoding="utf-8", newline="") as handle:
        graded = [[*row[:2], str(number % 2), *row[3:]] for number, row in enumerate(rows)]
        csv.writer(handle).writerows([header, *graded])
    done = harness("decide", path, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{len(rows):,} human grades" in json.loads(done.stdout)["warnings"][0]


def test_kappa_is_that_of_an_independent_engine():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(5)
    one = rng.integers(0, 4, 200)
    two = np.where(rng.random(200) < 0.6, one, rng.integers(0, 4, 200))
    expected = metrics.cohen_kappa_score(one, two, weights="quadratic")
    assert weighted_kappa(np.stack([one, two], axis=1)) == pytest.approx(expected)


def test_judges_are_compared_on_pairs_that_both_graded():
    rng = np.random.default_rng(5)
    pairs = [(f"q{row // 3}", f"d{row}") for row in range(120)]
    grades = rng.integers(0, 4, 120).tolist()
    ann = dict(zip(pairs, map(str, grades), strict=True))
    ben = {pair: "skip" if row % 2 else ann[pair] for row, pair in enumerate(pairs)}
    cat = dict(list(ann.items())[:20])  # of 7 queries
    [found] = agreements({"ben": ben, "ann": ann, "cat": cat})
    assert (found.judges, found.pairs, found.kappa) == (("ann", "ben"), 60, 1.0)
    assert found.sentence == "ann and ben: weighted kappa 1.00 [1.00, 1.00] on 60 pairs"
