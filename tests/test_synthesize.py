"""Synthetic queries from passages to training data: what is kept, dropped, told and marked."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command_line import harness, start
from conftest import plan_of, write_beir, write_suite
from language_server import KEY, Reply, Request, failure, questions, serving

from harness.collection.load import build, load_raw
from harness.errors import ExitCode, HarnessError
from harness.output.files import write_outputs
from harness.plan.dense import Hub
from harness.plan.execute import execute, prepared
from harness.plan.plan import Plan, make_plan
from harness.providers import asking
from harness.providers.asking import Backoff
from harness.results.gathering import gather, gather_costs
from harness.stage import Context, Silent
from harness.store import Store
from harness.suite.load import load_suite
from harness.suite.training import GenerateSpec
from harness.synthetic.filters import DUPLICATE, RoundTrip
from harness.synthetic.synthesize import NOT_FOUND, Synthesize
from harness.training.finetune import Train


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "BACKOFF", Backoff(first_seconds=0.01, attempts=2))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def stage_of(beir: Path, base_url: str = "http://127.0.0.1:9/v1", **more: Any) -> Synthesize:
    said: dict[str, Any] = {"passages": 20, "timeout_seconds": 10.0, **more}
    spec = GenerateSpec(provider="openai", model="a-model", base_url=base_url, **said)
    collection = build(load_raw(f"beir:{beir}"), name="small", split="test")
    return Synthesize("asked", spec, collection, None, "", offline=False)


def first_words(request: Request) -> Reply:
    """Answer with the first words of the passage, and with its last."""
    words = request.passage.split()
    return questions(" ".join(words[:3]), words[-1])


def test_pairs_of_a_question_and_its_whole_passage_come_out_marked_synthetic(
    beir: Path, store: Store
) -> None:
    with serving(first_words) as server:
        stage = stage_of(beir, server.base_url("openai"))
        assert stage.data(store) is None
        stage.run(Context(store))
    data = stage.data(store)
    assert data is not None
    assert data.shape == "pairs"
    assert data.synthetic
    assert len(data) > 20
    for question, passage in data.rows():
        assert passage in stage.collection.documents
        assert question in passage
    (origin,) = data.origins
    assert origin.name == "asked"
    assert origin.source == "a-model on passages of small"
    assert origin.kept == len(data)
    assert origin.read == origin.kept + sum(origin.dropped.values())
    assert stage.is_done(store)
    assert len(server.requests) == 20


def test_the_plan_tells_requests_and_tokens_and_then_nothing(beir: Path, store: Store) -> None:
    with serving(first_words) as server:
        stage = stage_of(beir, server.base_url("openai"), passages=50)
        before = stage.work(store)
        stage.run(Context(store))
    assert before.requests == 50
    billed = [len(json.dumps(request.body["messages"])) // 4 for request in server.requests]
    assert sum(billed) < before.tokens < 3 * sum(billed)
    assert stage.work(store).requests == 0


def test_more_passages_ask_only_for_those_that_are_new(beir: Path, store: Store) -> None:
    with serving(first_words) as server:
        stage_of(beir, server.base_url("openai"), passages=10).run(Context(store))
        more = stage_of(beir, server.base_url("openai"), passages=25)
        assert more.work(store).requests == 15
        more.run(Context(store))
    assert len(server.requests) == 25


def test_neither_address_nor_budget_is_part_of_the_key(beir: Path, store: Store) -> None:
    one = stage_of(beir)
    same = stage_of(beir, "http://127.0.0.1:10/v1", max_requests=9, max_tokens=9, concurrency=9)
    assert one.key(store) == same.key(store)
    others = [
        stage_of(beir, passages=21),
        stage_of(beir, per_passage=2),
        stage_of(beir, domain="words"),
        stage_of(beir, answer_tokens=99),
    ]
    assert len({one.key(store), *(other.key(store) for other in others)}) == 5


def test_a_budget_that_is_spent_stops_and_says_what_is_left(beir: Path, store: Store) -> None:
    with serving(first_words) as server:
        stage = stage_of(beir, server.base_url("openai"), max_requests=7, concurrency=1)
        with pytest.raises(HarnessError) as caught:
            stage.run(Context(store))
        assert caught.value.exit_code == ExitCode.STAGE
        assert "the budget is spent (7 requests, " in str(caught.value)
        assert "13 of 20 passages have no stored answer" in str(caught.value)
        assert "Raise max_requests or max_tokens, or set passages = 7 to" in str(caught.value)
        with pytest.raises(HarnessError, match="the budget is spent"):
            stage.run(Context(store))
        assert len(server.requests) == 7  # it holds over all runs
        stage_of(beir, server.base_url("openai"), passages=7, max_requests=7).run(Context(store))
        stage_of(beir, server.base_url("openai"), max_requests=20).run(Context(store))
    assert len(server.requests) == 20


def test_offline_nobody_is_asked_and_what_is_missing_is_told(beir: Path, store: Store) -> None:
    with serving(first_words) as server:
        stage_of(beir, server.base_url("openai"), passages=15).run(Context(store))
        stage = replace(stage_of(beir, server.base_url("openai")), offline=True)
        with pytest.raises(HarnessError) as caught:
            stage.run(Context(store))
        assert str(caught.value) == (
            "ask a-model for the queries of 'asked': 5 of 20 passages have no stored answer, and "
            "no requests are sent offline. Run without --offline (in Python: offline=False)."
        )
        # What is stored is enough for fewer, even where they were not judged yet.
        replace(stage, spec=stage.spec.model_copy(update={"passages": 12})).run(Context(store))
    assert len(server.requests) == 15


def test_everything_that_is_dropped_is_counted(beir: Path, store: Store) -> None:
    def behave(request: Request) -> Reply:
        match request.number:
            case 1:
                return Reply('{"questions": []}')
            case 2:
                return Reply("No.", refused=True)
            case 3 | 4:
                return Reply("prose")  # and again, when asked again
            case 5 | 6:
                return questions("the same question", "another one")
            case _:
                return questions(f"question {request.number}")

    with serving(behave) as server:
        stage = stage_of(beir, server.base_url("openai"), passages=10, concurrency=1)
        stage.run(Context(store))
    assert stage.stored(store).meta["dropped"] == {
        DUPLICATE: 2,
        "passages that answer no question": 1,
        "passages that the model refused": 1,
        "passages with an unreadable answer": 1,
    }
    dropped = Counter(question.dropped for question in stage.questions(store))
    assert dropped == {None: 7, DUPLICATE: 2}


def test_one_passage_in_a_hundred_may_stay_without_an_answer(tmp_path: Path, store: Store) -> None:
    documents = {f"d{row:03}": f"word{row} is a word" for row in range(120)}
    beir = write_beir(
        tmp_path / "many",
        documents=documents,
        queries={"q": "word"},
        qrels={"test": [("q", "d000", 1)]},
    )

    def behave(request: Request) -> Reply:
        poison = {"word7 is a word", "word9 is a word"} if several else {"word7 is a word"}
        return failure(500, "oops") if request.passage in poison else first_words(request)

    with serving(behave) as server:
        stage = stage_of(beir, server.base_url("openai"), passages=120)
        several = True
        with pytest.raises(HarnessError, match="2 of 120 passages have no stored answer, the serv"):
            stage.run(Context(store))
        several = False
        stage.run(Context(store))
    assert stage.stored(store).meta["dropped"]["passages without an answer"] == 1


def test_a_server_that_is_down_is_told_with_what_is_left(beir: Path, store: Store) -> None:
    with pytest.raises(HarnessError) as caught:
        stage_of(beir).run(Context(store))
    assert caught.value.exit_code == ExitCode.STAGE
    assert "the server stopped answering, got no connection" in str(caught.value)
    assert "20 of 20 passages have no stored answer" in str(caught.value)


def test_no_query_that_is_worth_keeping_is_an_error(beir: Path, store: Store) -> None:
    with (
        serving(lambda _: Reply('{"questions": []}')) as server,
        pytest.raises(HarnessError) as caught,
    ):
        stage_of(beir, server.base_url("openai")).run(Context(store))
    assert caught.value.exit_code == ExitCode.DATA
    assert "no query is left to train on (20 passages that answer no question)" in str(caught.value)


@pytest.mark.parametrize("candidate", ["words", "static", "cut"])
def test_a_question_that_does_not_find_its_passage_is_dropped(
    candidate: str, beir: Path, static_model: Path, store: Store, tmp_path: Path
) -> None:
    path = write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "static"
        collections.small.source = "beir:{beir}"
        [candidates.static]
        model = "{static_model}"
        [candidates.cut]
        from = "static"
        truncate = 8
        [candidates.words]
        kind = "bm25"
        """,
    )
    planner = plan_of(path, store).planner
    collection = planner.collections["small"]
    trip = RoundTrip(planner.run_stage(candidate, "small"), collection, k=3)

    def behave(request: Request) -> Reply:
        # The words of a passage find it, in any order; those of another one do not.
        other = next(text for text in collection.documents if text != request.passage)
        words = " ".join([*request.passage.split()[::-1], "and", "so"])
        return questions(words, f"{other} {request.number}")

    with serving(behave) as server:
        stage = replace(
            stage_of(beir, server.base_url("openai"), passages=12, concurrency=1), round_trip=trip
        )
        assert stage.key(store) != replace(stage, round_trip=None).key(store)
        assert stage.key(store) != replace(stage, round_trip=replace(trip, k=4)).key(store)
        stage.run(Context(store))
    found = [question for question in stage.questions(store) if question.dropped is None]
    lost = [question for question in stage.questions(store) if question.dropped == NOT_FOUND]
    assert sum(question.text.endswith("so") for question in found) >= 8
    assert sum(question.text[-1].isdigit() for question in lost) >= 8
    assert len(found) < 16
    # The corpus is encoded once, for this and for the suite.
    if candidate != "words":
        assert planner.encodes("static", "small")[0].is_done(store)


def suite_of(path: Path, beir: Path, model: Path, base_url: str, *, more: str = "") -> Path:
    """Write a suite with a candidate that is trained on synthetic queries, and one made of it."""
    return write_suite(
        path,
        f"""
        baseline = "static"
        collections.small.source = "beir:{beir}"
        [training.asked]
        source = "synthetic:small"
        [training.asked.generate]
        provider = "openai"
        model = "a-model"
        base_url = "{base_url}"
        passages = 30
        {more}
        [candidates.tuned]
        from = "static"
        finetune = {{ data = "asked", batch_size = 8, leaks = "drop" }}
        [candidates.cut]
        from = "tuned"
        truncate = 4
        [candidates.static]
        model = "{model}"
        """,
    )


def planned(path: Path, store: Store, *, hub: Hub = "fetch") -> Plan:
    """Return the plan of a suite whose language model was asked."""
    make = partial(make_plan, load_suite(path), store, device="cpu", hub=hub)
    return prepared(make, progress=Silent())


def test_a_suite_asks_first_and_its_results_say_what_is_synthetic(
    beir: Path, static_model: Path, store: Store, tmp_path: Path
) -> None:
    with serving(first_words) as server:
        path = suite_of(
            tmp_path / "suite.toml",
            beir,
            static_model,
            server.base_url("openai"),
            more='round_trip = { candidate = "static", k = 20 }\nlog = "log.csv"',
        )
        log = tmp_path / "log.csv"
        log.write_text("query,clicks\n" + "reset,1\n" * 19)
        with pytest.raises(HarnessError, match=r"log.csv: a log needs 20 queries or more, got 19"):
            plan_of(path, store)
        log.write_text("query,clicks\n" + "reset password,1\nhow to reset?,2\n" * 30)
        before = plan_of(path, store)
        assert [stage.label for stage in before.waits_for()] == [
            "ask a-model for the queries of 'asked'"
        ]
        assert sum(work.requests for _, work in before.left()) == 30
        assert (
            "'tuned': the queries of 'asked' are not generated yet; a run generates them "
            "first." in (before.planner.warnings)
        )
        plan = planned(path, store)
    assert len(server.requests) == 30
    assert plan.waits_for() == []
    execute(plan, progress=Silent())
    assert plan_of(path, store).left() == []
    found = gather(plan)
    marked = {candidate.name: candidate.synthetic for candidate in found.candidates}
    assert marked == {"static": False, "tuned": True, "cut": True}
    (tuned,) = (candidate for candidate in found.candidates if candidate.name == "tuned")
    assert tuned.change == "multiple-negatives on asked, 1 epochs (synthetic)"
    (warning,) = (text for text in found.warnings if "synthetic queries" in text)
    asked, model = plan.planner.asks["asked"].data(store), plan.planner.dense("tuned").model
    assert asked is not None
    assert isinstance(model, Train)
    # Those that give a scored query away are dropped after the asking.
    (origin,) = model.data.origins
    assert origin.kept < len(asked)
    assert f"'tuned' is trained on synthetic queries: {origin.kept} of 60 of 'asked'" in warning
    assert "gives away a scored query" in warning
    assert "'asked' (a-model on passages of small) are kept; dropped: " in warning
    assert warning.endswith("None is scored.")
    (compared,) = (text for text in found.warnings if text.startswith("Synthetic queries"))
    assert f"of 'asked' (n={len(asked):,}) and the log log.csv (n=60) differ in length" in compared
    assert "words against 2.5 (difference [" in compared
    assert "against 50% (difference" in compared
    write_outputs(plan, found, gather_costs(plan), tmp_path / "results")
    written = pd.read_parquet(tmp_path / "results" / "synthetic" / "asked.parquet")
    assert written["dropped"].isna().sum() == len(asked)
    # Every number of the headline is over people's queries.
    assert {score.n for score in found.scores} == {20}


def test_offline_a_run_is_refused_before_any_other_work(
    beir: Path, static_model: Path, store: Store, tmp_path: Path
) -> None:
    with serving(first_words) as server:
        path = suite_of(tmp_path / "suite.toml", beir, static_model, server.base_url("openai"))
        with pytest.raises(HarnessError, match="30 of 30 passages have no stored answer"):
            planned(path, store, hub="refuse")
        assert server.requests == []
        planned(path, store)
        assert planned(path, store, hub="refuse").waits_for() == []
    assert len(server.requests) == 30


def test_data_of_people_and_of_a_model_may_be_mixed_and_the_mark_stays(
    beir: Path, static_model: Path, store: Store, tmp_path: Path
) -> None:
    with serving(first_words) as server:
        path = suite_of(tmp_path / "suite.toml", beir, static_model, server.base_url("openai"))
        path.write_text(
            path.read_text().replace('data = "asked"', 'data = ["small:train", "asked"]')
        )
        model = planned(path, store).planner.dense("tuned").model
    assert isinstance(model, Train)
    assert [origin.synthetic for origin in model.data.origins] == [False, True]
    assert model.data.data.synthetic


def test_a_table_that_no_candidate_trains_on_costs_nothing(
    beir: Path, static_model: Path, store: Store, tmp_path: Path
) -> None:
    path = suite_of(tmp_path / "suite.toml", beir, static_model, "http://127.0.0.1:9/v1")
    path.write_text(path.read_text().replace('data = "asked"', 'data = "small:train"'))
    assert planned(path, store).waits_for() == []


@pytest.mark.parametrize(
    ("said", "instead", "told"),
    [
        ("synthetic:small", "synthetic:smal", "no collection 'smal'. Did you mean 'small'?"),
        (
            "synthetic:small",
            "pairs:x.csv",
            "'generate' is for a source 'synthetic:<collection>', got 'pairs:x.csv'. Remove one.",
        ),
        (
            'source = "synthetic:small"',
            'source = "synthetic:small"\nsplit = "train"',
            "'split' is for data that are read, not for synthetic queries. Remove it.",
        ),
        ("passages = 30", "", "'passages' is missing. Add it."),
        ("passages", "pasages", "unknown key 'pasages' in 'generate'. Did you mean 'passages'?"),
        ("30", "0", "'generate.passages' must be at least 1, got 0."),
        ('"http', '"ftp', "'base_url' is the http or https address of a server, got something"),
        ("http://", "http://me:secret@", "'base_url' holds a user's name. Use key_variable for"),
        ("30", '30\nkey_variable = "sk-secret"', "'key_variable' is the name of an environment"),
        (
            "30",
            '30\nround_trip = { candidate = "statik" }',
            "no candidate 'statik'. Did you mean 'static'?",
        ),
        (
            "30",
            '30\nround_trip = { candidate = "cut" }',
            "'cut' cannot search for new queries before training. Name a candidate with",
        ),
    ],
)
def test_a_mistake_in_the_table_is_told_with_its_line_and_no_secret(
    said: str, instead: str, told: str, beir: Path, static_model: Path, tmp_path: Path
) -> None:
    path = suite_of(tmp_path / "suite.toml", beir, static_model, "http://127.0.0.1:9/v1")
    path.write_text(path.read_text().replace(said, instead, 1))
    with pytest.raises(HarnessError) as caught:
        load_suite(path)
    assert caught.value.exit_code == ExitCode.USAGE
    assert "training data 'asked': " in str(caught.value)
    assert told in str(caught.value)
    assert "secret" not in str(caught.value).replace("what is secret", "")


def test_a_synthetic_table_needs_its_settings(tmp_path: Path) -> None:
    path = write_suite(
        tmp_path / "suite.toml",
        """
        baseline = "words"
        collections.small.source = "beir:x"
        training.asked.source = "synthetic:small"
        candidates.words.kind = "bm25"
        """,
    )
    with pytest.raises(
        HarnessError, match=r"asked': 'generate' is missing\. Name the language model"
    ):
        load_suite(path)


def test_what_is_scored_can_not_be_synthetic(tmp_path: Path, store: Store) -> None:
    path = write_suite(
        tmp_path / "suite.toml",
        """
        baseline = "words"
        collections.small.source = "synthetic:small"
        candidates.words.kind = "bm25"
        """,
    )
    with pytest.raises(HarnessError, match="only queries by people are scored") as caught:
        plan_of(path, store)
    assert caught.value.exit_code == ExitCode.USAGE


def test_the_command_line_asks_tells_and_never_shows_the_key(
    beir: Path, static_model: Path, tmp_path: Path
) -> None:
    def command(*arguments: object) -> tuple[int, str]:
        done = harness(
            *(*arguments, "--store", tmp_path / "store"),
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "120", "THE_KEY": KEY},
        )
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    refusing = True

    def behave(request: Request) -> Reply:
        return failure(401, f"no such key: {KEY}") if refusing else first_words(request)

    with serving(behave) as server:
        url, key = server.base_url("openai"), 'key_variable = "THE_KEY"'
        suite = suite_of(tmp_path / "suite.toml", beir, static_model, url, more=key)
        people = 'finetune = { data = "small:train", batch_size = 8, leaks = "drop" }'
        suite.write_text(f"{suite.read_text()}\n[candidates.people]\nfrom = 'static'\n{people}\n")
        code, told = command("plan", suite)
        assert code == 0
        assert "ask a-model for the queries of 'asked' (30 requests)" in told
        assert "30 requests to a language model (about " in told
        code, told = command("run", suite)
        assert code == ExitCode.STAGE
        assert "got HTTP 401, no such key: ***. Set THE_KEY to a valid key." in told
        assert KEY not in told
        refusing = False
        asked = len(server.requests)
        code, told = command("train", suite, "people")
        assert code == 0, told
        assert len(server.requests) == asked  # for what another candidate learns from
        code, told = command("train", suite, "tuned")
        assert code == 0, told
        assert "ask a-model for the queries of 'asked': 30 passages" in told
        assert "fine-tune tuned" in told
        assert len(server.requests) == asked + 30
        code, told = command("run", suite)
        assert code == 0, told
        assert len(server.requests) == asked + 30
        assert "Warning: candidate 'tuned' is trained on synthetic queries" in told
    results = tmp_path / "results" / "small"
    for name in ("report.html", "summary.md", "results.json", "manifest.json"):
        text = (results / name).read_text()
        assert KEY not in text
        assert name == "manifest.json" or "trained on synthetic queries" in text
    assert (results / "synthetic" / "asked.parquet").is_file()
    code, told = command("run", suite, "--offline")
    assert code == 0, told


def test_an_interrupt_stores_what_is_on_its_way_and_says_so(
    beir: Path, static_model: Path, store: Store, tmp_path: Path
) -> None:
    def behave(request: Request) -> Reply:
        return replace(first_words(request), seconds=0.3)

    with serving(behave) as server:
        suite = suite_of(tmp_path / "suite.toml", beir, static_model, server.base_url("openai"))
        err = tmp_path / "err"
        process = start("run", suite, "--store", store.root, err=err)
        while len(server.requests) < 9:
            assert process.is_alive()
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
        process.join()
    assert process.exitcode == 130
    assert err.read_text() == "Stopped. Finished stages are stored; rerun the command to resume.\n"
    assert len(server.requests) < 20
    assert len(list(store.root.glob("answers/*/*"))) == len(server.requests)
