from __future__ import annotations

from pathlib import Path

import pytest
from conftest import plan_of, sentences, write_beir, write_suite

from harness.errors import ExitCode, HarnessError
from harness.store import Store
from harness.training.data import Origin, TrainingData, distinct, merge
from harness.training.finetune import Train

SUITE = """
baseline = "static"
collections.small.source = "beir:{folder}"
[training.logs]
source = "pairs:{folder}/logs.csv"
[candidates.static]
model = "{model}"
[candidates.tuned]
from = "static"
finetune = {{ data = {data}, batch_size = 4{leaks} }}
"""


def write(folder: Path, model: Path, *, leaks: str = "", data: str = '"small:train"') -> Path:
    """Write 40 pairs to train on, of which two give away a query of the ten that are scored."""
    texts = sentences(60, seed=21, words=9)
    texts = [text + f" {number}" for number, text in enumerate(texts)]
    queries = {f"q{row:02}": text for row, text in enumerate(texts[:50])}
    queries["q20"] = queries["q03"].upper() + " "
    queries["q21"] = f"{queries['q04']}?"
    write_beir(
        folder / "small",
        documents={f"d{row:02}": f"about {text}" for row, text in enumerate(texts[:50])},
        queries=queries,
        qrels={
            "test": [(f"q{row:02}", f"d{row:02}", 1) for row in range(10)],
            "train": [(f"q{row:02}", f"d{row:02}", 1) for row in range(10, 50)],
        },
    )
    rows = [f"{text},answer {text}\n" for text in [*texts[50:], queries["q05"]]]
    (folder / "small" / "logs.csv").write_text("query,document\n" + "".join(rows), "utf-8")
    text = SUITE.format(folder=folder / "small", model=model, leaks=leaks, data=data)
    return write_suite(folder / "suite.toml", text)


def trained_on(path: Path, store: Store) -> TrainingData:
    model = plan_of(path, store).planner.dense("tuned").model
    assert isinstance(model, Train)
    return model.data.known


def test_a_training_that_gives_queries_away_is_refused_with_both_places_and_the_fix(
    tmp_path: Path, static_model: Path, store: Store
):
    with pytest.raises(HarnessError) as caught:
        plan_of(write(tmp_path, static_model), store)
    assert caught.value.exit_code is ExitCode.DATA
    [problem] = caught.value.problems
    queries = tmp_path / "small" / "queries.jsonl"
    assert problem.startswith(f"{tmp_path}/suite.toml:")
    for part in (
        "'tuned': 'small:train' leaks 2 of 10 scored queries of 'small'",
        "(1 by the same text, 1 by the same words): ",
        f"({queries}:4) has the same text as ",
        f"(small:train, 'q20', {queries}:21)",
        f"({queries}:5) has the same words as ",
        f"(small:train, 'q21', {queries}:22)",
        'Set leaks = "drop" to train without these rows, or leaks = "allow"',
    ):
        assert part in problem


def test_dropping_leaks_trains_on_the_other_rows_and_says_so(
    tmp_path: Path, static_model: Path, store: Store
):
    path = write(tmp_path, static_model, leaks=', leaks = "drop"')
    data = trained_on(path, store)
    assert len(data) == 38
    [origin] = data.origins
    assert (origin.read, origin.kept) == (40, 38)
    assert origin.dropped == {"gives away a scored query": 2}
    [told] = [text for text in plan_of(path, store).planner.warnings if "left out" in text]
    assert told.startswith(
        "'tuned': 2 of 40 training rows are left out because they repeat 2 of the 10 scored "
        "queries of 'small' (1 by "
    )


def test_allowed_leaks_mark_the_candidate(tmp_path: Path, static_model: Path, store: Store):
    path = write(tmp_path, static_model, leaks=', leaks = "allow"')
    assert len(trained_on(path, store)) == 40
    [sentence] = plan_of(path, store).planner.leaked["tuned"]
    assert "leaks 2 of 10 scored queries" in sentence


def test_a_table_of_training_data_is_compared_too(tmp_path: Path, static_model: Path, store: Store):
    both = '["small:train", "logs"]'
    with pytest.raises(HarnessError, match=r"leak 3 of 10 .* \(logs\)"):
        plan_of(write(tmp_path, static_model, data=both), store)
    path = write(tmp_path / "again", static_model, data=both, leaks=', leaks = "drop"')
    data = trained_on(path, store)
    assert [(each.name, each.kept) for each in data.origins] == [("small:train", 38), ("logs", 10)]
    assert len(data) == 48


def test_data_without_a_row_that_gives_nothing_away_are_refused(
    tmp_path: Path, static_model: Path, store: Store
):
    path = write(tmp_path, static_model, data='"logs"', leaks=', leaks = "drop"')
    logs = tmp_path / "small" / "logs.csv"
    head, *_, leaking = logs.read_text("utf-8").splitlines()
    logs.write_text(f"{head}\n{leaking}\n", "utf-8")
    with pytest.raises(HarnessError, match="Nothing is left to train on"):
        plan_of(path, store)


def test_rows_of_merged_data_know_their_origin():
    parts = [
        distinct("pairs", rows, origin=Origin(name, read=len(rows)))
        for name, rows in (
            ("one", [("a", "b"), ("c", "d")]),
            ("two", [("a", "b"), ("e", "f")]),
        )
    ]
    data = merge(parts)
    assert [data.origin_of(row).name for row in range(3)] == ["one", "one", "two"]
    left = data.without({0, 2}, because="leaks")
    assert list(left.rows()) == [("c", "d")]
    assert [(each.kept, each.dropped.get("leaks", 0)) for each in left.origins] == [(1, 1), (0, 1)]
