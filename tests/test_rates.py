"""Estimates of time start from what stages took on this device before."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import write_suite

from harness.models.source import Given
from harness.models.weights import find_weights
from harness.plan import execute as executing
from harness.plan.execute import execute
from harness.plan.plan import Plan, make_plan
from harness.plan.rates import corrected, record
from harness.progress import took
from harness.retrieval.encoding import Encode, Texts
from harness.retrieval.lexical import LexicalSearch
from harness.stage import Silent, Work
from harness.store import Store
from harness.suite.load import load_suite
from reports import plan_view


def encode(model: Path, *, max_length: int | None = None) -> Encode:
    return Encode(
        name="m",
        model=Given(find_weights(str(model))),
        role="document",
        prompt="",
        dtype="float32",
        max_length=max_length,
        texts=Texts("c", ("a",)),
    )


def planned(tmp_path: Path, beir: Path, static_model: Path, store: Store) -> Plan:
    path = write_suite(
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
    return make_plan(load_suite(path), store, device="cpu", hub="refuse")


def test_an_estimate_is_corrected_by_what_the_same_model_took(static_model: Path, store: Store):
    stage, work = encode(static_model), Work(texts=100, seconds=10.0)
    assert corrected(stage, work, store=store, device="cpu") == work
    record(stage, work, 40.0, store=store, device="cpu")
    found = corrected(stage, Work(texts=1000, seconds=100.0), store=store, device="cpu")
    assert found == Work(texts=1000, seconds=400.0, measured=True)


def test_what_runs_again_counts_twice_as_much(static_model: Path, store: Store):
    stage, work = encode(static_model), Work(seconds=10.0)
    record(stage, work, 40.0, store=store, device="cpu")
    record(stage, work, 10.0, store=store, device="cpu")
    found = corrected(stage, work, store=store, device="cpu")
    assert found.seconds == pytest.approx(10.0 * (0.5 * 40 + 10) / (0.5 * 10 + 10))


def test_another_model_of_the_same_kind_is_expected_to_be_as_fast(
    static_model: Path, bert_model: Path, store: Store, tmp_path: Path
):
    work = Work(seconds=10.0)
    record(encode(static_model), work, 40.0, store=store, device="cpu")
    record(encode(bert_model), work, 20.0, store=store, device="cpu")
    again = corrected(encode(static_model), work, store=store, device="cpu")
    assert again.seconds == 40.0
    other = tmp_path / "other"
    other.mkdir()
    for path in static_model.rglob("*"):
        if path.is_file():
            (other / path.relative_to(static_model)).parent.mkdir(parents=True, exist_ok=True)
            (other / path.relative_to(static_model)).write_bytes(path.read_bytes())
    assert corrected(encode(other), work, store=store, device="cpu").seconds == 40.0
    assert corrected(encode(bert_model), work, store=store, device="cpu").seconds == 20.0
    assert not corrected(encode(bert_model), work, store=store, device="cuda").measured


def test_nothing_is_made_of_stages_that_take_no_time_or_of_a_store_that_cannot_be_written(
    static_model: Path, store: Store, tmp_path: Path
):
    stage = encode(static_model)
    record(stage, Work(seconds=0.5), 0.9, store=store, device="cpu")
    record(stage, Work(seconds=None), 60.0, store=store, device="cpu")
    assert store.list("rates") == []
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    record(stage, Work(seconds=5.0), 60.0, store=Store(blocked), device="cpu")


def test_a_run_is_what_the_next_plan_expects_and_no_key_changes(
    tmp_path: Path, beir: Path, static_model: Path, store: Store, monkeypatch: pytest.MonkeyPatch
):
    plan = planned(tmp_path, beir, static_model, store)
    keys = [stage.key(store) for stage in plan.stages]
    assert not any(work.measured for _, work in plan.left())
    assert plan_view.duration_of(plan, plan.left()).endswith("on an idle cpu")
    seconds = iter(range(0, 10_000, 30))  # every stage takes half a minute
    monkeypatch.setattr(executing.time, "perf_counter", lambda: float(next(seconds)))
    monkeypatch.setattr(LexicalSearch, "work", lambda *_: Work(seconds=3.0))
    searches = [stage for stage in plan.stages if isinstance(stage, LexicalSearch)]
    execute(plan, progress=Silent(), stages=searches)
    store.remove("runs", searches[0].ready_key(store))
    again = planned(tmp_path, beir, static_model, store)
    [found] = [work for stage, work in again.left() if isinstance(stage, LexicalSearch)]
    assert found.measured
    assert found.seconds is not None
    assert found.seconds >= 30.0
    assert [stage.key(store) for stage in again.stages] == keys


def test_an_estimate_that_was_measured_is_one_number(
    tmp_path: Path, beir: Path, static_model: Path, store: Store
):
    plan = planned(tmp_path, beir, static_model, store)
    left = [(plan.stages[0], Work(texts=9, seconds=90.0, measured=True))]
    said = plan_view.duration_of(plan, left)
    assert said.startswith("About 1 min 3")
    assert said.endswith("from earlier runs on this cpu")
    said = plan_view.duration_of(plan, [(plan.stages[0], Work(texts=9, seconds=90.0))])
    assert said.startswith("Between ")
    assert "Planned: between " in took(said, seconds=4.0)
    assert took("", seconds=4.0).startswith("Took 4 s (")
