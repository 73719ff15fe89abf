"""`harness judge`: a file that people grade, a batch at a time."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from command_line import harness
from conftest import write_suite

from harness.collection import Collection, Judgements
from harness.errors import HarnessError
from harness.judging import BATCH
from harness.judging.rounds import Round, open_round, scheduled_looks
from harness.runs.metrics import parse_metric
from harness.runs.run import Run

N, DOCUMENTS = 50, 40
METRIC = parse_metric("ndcg@5")


def collection() -> Collection:
    rows = np.arange(N, dtype=np.int32)
    return Collection(
        name="notes",
        split="test",
        document_ids=tuple(f"d{row:02}" for row in range(DOCUMENTS)),
        documents=tuple(f"text\n{row}" for row in range(DOCUMENTS)),
        query_ids=tuple(f"q{row:02}" for row in range(N)),
        queries=tuple(f"question {row}" for row in range(N)),
        judgements=Judgements(rows, rows % DOCUMENTS, np.ones(N, dtype=np.int32)),
    )


def ranked(seed: int) -> Run:
    lists = np.argsort(np.random.default_rng(seed).random((N, DOCUMENTS)), axis=1)[:, :5]
    return Run(lists.astype(np.int32), np.tile(np.arange(5, 0, -1, dtype=np.float32), (N, 1)))


def opened(file: Path, *, other: int = 2) -> Round:
    runs = {"old": ranked(1), "new": ranked(other)}
    return open_round(runs, collection(), METRIC, baseline="old", seed=13, file=file)


def rows_of(file: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(file.read_text("utf-8"))))


def write(file: Path, rows: list[list[str]]) -> None:
    sink = io.StringIO()
    csv.writer(sink).writerows(rows)
    file.write_text(sink.getvalue(), "utf-8")


def fill_in(file: Path, text: str, grade: str = "1") -> None:
    """Append a batch to a file, each row with a grade."""
    header, *rows = csv.reader(text.splitlines(keepends=True))
    old = rows_of(file) if file.exists() else [header]
    write(file, [*old, *([*row[:2], grade, *row[3:]] for row in rows)])


def test_the_first_batch_is_the_beginning_of_the_order_and_names_no_candidate(tmp_path: Path):
    found = opened(tmp_path / "none.csv")
    rows = list(csv.DictReader(found.next_as_csv(BATCH).splitlines(keepends=True)))
    assert len(rows) == BATCH
    assert found.judged == 0
    query, place = found.plan.order[0][0], found.plan.order[1][0]
    assert rows[0]["query_id"] == f"q{query:02}"
    assert rows[0]["document_id"] == f"d{found.plan.documents[query, place]:02}"
    assert not any(name in row["why"] for row in rows for name in ("old", "new"))
    [first] = found.differences()
    assert (first.difference, first.settled) == (None, "open")


def test_grades_are_read_back_and_the_next_batch_follows(tmp_path: Path):
    file = tmp_path / "notes.csv"
    fill_in(file, opened(file).next_as_csv(BATCH))
    found = opened(file)
    assert found.judged == BATCH
    [one] = found.differences()
    assert one.judged == BATCH
    assert one.low is not None
    asked = {tuple(row[:2]) for row in rows_of(file)}
    new = {tuple(row[:2]) for row in csv.reader(found.next_as_csv(BATCH).splitlines())}
    assert len(asked & new) == 1  # the header


def test_grades_below_an_empty_one_wait_for_it(tmp_path: Path):
    file = tmp_path / "notes.csv"
    fill_in(file, opened(file).next_as_csv(BATCH))
    rows = rows_of(file)
    rows[11][2] = ""
    write(file, rows)
    found = opened(file)
    assert found.judged == 10
    assert found.next_as_csv(1).splitlines()[1].startswith(",".join(rows[11][:2]))


def test_grades_of_other_candidates_are_known_and_a_new_sample_begins(tmp_path: Path):
    file = tmp_path / "notes.csv"
    first = opened(file)
    fill_in(file, first.next_as_csv(BATCH))
    other = opened(file, other=3)
    assert other.sample != first.sample
    assert other.judged == 0
    assert len(other.plan.known.grades) >= BATCH
    fill_in(file, other.next_as_csv(7), grade="0")
    again = opened(file, other=3)
    assert (again.sample, again.judged) == (other.sample, 7)


def test_all_pairs_of_all_batches_settle_or_ask_for_queries(tmp_path: Path):
    file = tmp_path / "notes.csv"
    fill_in(file, opened(file).next_as_csv(10_000))
    found = opened(file)
    assert found.judged == found.plan.n_pairs
    [one] = found.differences()
    assert one.needed is None
    assert "it takes more queries" in one.sentence or one.settled != "open"


def test_the_order_of_all_candidates_takes_more_than_the_comparisons_with_the_baseline(
    tmp_path: Path,
):
    file, runs = tmp_path / "notes.csv", {"old": ranked(1), "new": ranked(2), "third": ranked(3)}
    [first] = opened(file).differences()
    assert (first.needed, opened(file).order()) == (None, None)

    def round_of_three() -> Round:
        return open_round(runs, collection(), METRIC, baseline="old", seed=13, file=file)

    assert round_of_three().order() is None  # nothing is judged
    fill_in(file, round_of_three().next_as_csv(BATCH))
    found = round_of_three()
    order = found.order()
    assert order is not None
    assert (order.candidates, order.comparisons, order.settled) == (3, 3, 0)
    most = max(each.needed or 0 for each in found.differences())
    assert order.needed is None or order.needed >= most
    assert "0 of 3 comparisons settled" in order.sentence


@pytest.mark.parametrize("grade", ["yes", "4", "9" * 20])
def test_a_grade_that_is_none_is_refused_with_its_line(tmp_path: Path, grade: str):
    file = tmp_path / "notes.csv"
    fill_in(file, opened(file).next_as_csv(2), grade=grade)
    with pytest.raises(HarnessError, match=f"2: grade '{grade}' is not a whole number from 0 to 3"):
        opened(file)


def test_a_file_that_a_spreadsheet_saved_with_semicolons_is_read(tmp_path: Path):
    file = tmp_path / "notes.csv"
    fill_in(file, opened(file).next_as_csv(3))
    with file.open("r+", encoding="utf-8", newline="") as handle:
        rows = list(csv.reader(handle))
        handle.seek(0)
        handle.truncate()
        csv.writer(handle, delimiter=";").writerows(rows)
    assert opened(file).judged == 3


def test_a_file_without_its_columns_is_refused(tmp_path: Path):
    file = tmp_path / "notes.csv"
    file.write_text("query_id,document_id,why\nq1,d1,x\n")
    with pytest.raises(HarnessError, match="no column 'grade'"):
        opened(file)


def test_it_is_looked_at_after_each_doubling():
    assert scheduled_looks(40) == [40]
    assert scheduled_looks(1000) == [60, 120, 240, 480, 960, 1000]


def test_the_verb_writes_a_batch_and_reads_it(tmp_path: Path, beir: Path, static_model: Path):
    suite = write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "static"
        collections.small.source = "beir:{beir}"
        [candidates.static]
        model = "{static_model}"
        [candidates.words]
        kind = "bm25"
        """,
    )
    done = harness("judge", suite, "--offline", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [found] = json.loads(done.stdout)["differences"]
    assert found["judged"] == 0
    [file] = tmp_path.glob("results/*.judging/small.csv")
    said = harness("judge", suite, "--offline", cwd=tmp_path).stdout
    assert "small: no grades yet. Enter 0 to 3, skip or bad query in the column 'grade' of " in said
    assert said.endswith(
        f"{file.relative_to(tmp_path)}. "
        f"The collection's own {found['known']} judgements count as known.\n"
    )
    rows = rows_of(file)
    assert len(rows) - 1 == min(BATCH, found["pairs"])
    for row in rows[1:]:
        row[2] = "0"
    write(file, rows)
    done = harness("judge", suite, "--offline", cwd=tmp_path)
    assert f"{len(rows) - 1} human grades" in done.stdout
    [page], [summary] = (
        tmp_path.glob(f"results/*/{name}") for name in ("report.html", "summary.md")
    )
    for text in (page.read_text("utf-8"), summary.read_text("utf-8")):
        assert f"n={found['n']} queries, {len(rows) - 1} human grades" in text
        assert "Scores appear when" in text
