"""Retrievers in use: real commands and a real server that misbehave, asked once each."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import start
from conftest import plan_of, run_suite, sentences, write_beir, write_suite

from harness.errors import ExitCode, HarnessError
from harness.plan.execute import StagesFailedError, execute
from harness.plan.plan import Plan, make_plan
from harness.providers import asking
from harness.providers.asking import Backoff
from harness.results.gathering import gather_costs
from harness.stage import Silent
from harness.store import Store
from harness.suite.load import load_suite

TEXTS = sentences(60, seed=12, words=8)
QUERIES = [" ".join(text.split()[:3]) for text in TEXTS[:20]]

# What all retrievers here return: documents by the words that they share with the query.
SEARCH = """
import json, os, pathlib, sys, time

HERE = pathlib.Path(__file__).parent
DOCUMENTS = {
    row["_id"]: row["text"]
    for row in map(json.loads, (HERE / "beir" / "corpus.jsonl").read_text("utf-8").splitlines())
}


def search(query, k):
    words = set(query.split())
    found = sorted(
        ((len(words & set(text.split())), name) for name, text in DOCUMENTS.items()), reverse=True
    )[:k]
    return {"ids": [name for _, name in found], "scores": [score for score, _ in found]}
"""
COMMAND = (
    SEARCH
    + """
how = sys.argv[1] if len(sys.argv) > 1 else ""
print("ready", file=sys.stderr, flush=True)
for number, line in enumerate(sys.stdin):
    asked = json.loads(line)
    with (HERE / "asked.txt").open("a", encoding="utf-8") as file:
        file.write(asked["query"] + "\\n")
    answer = search(asked["query"], asked["k"])
    if how == "dies" and number == 3:
        sys.exit("out of memory")
    if how == "breaks":
        sys.exit("out of memory")
    if how == "hangs":
        time.sleep(60)
    if how == "slow":
        time.sleep(0.2)
    if how == "chatty":
        print("loading the model")
    if how == "nan":
        answer["scores"][0] = float("nan")
    if how == "twice":
        answer["ids"][1] = answer["ids"][0]
    if how == "short":
        answer["scores"].pop()
    if how == "strange":
        answer["ids"] = ["x" + name for name in answer["ids"]]
    if how == "partly":
        answer["ids"][5] = "unknown"
    if how == "empty" and number % 2:
        answer = {"ids": [], "scores": []}
    print(json.dumps(answer), flush=True)
"""
)
CODE = (
    SEARCH
    + """

class Search:
    def index(self, documents):
        assert documents == DOCUMENTS

    def search(self, query, k):
        found = search(query, k)
        return found["ids"], found["scores"]


class OfMteb:
    def index(self, corpus, *, task_metadata, hf_split, hf_subset, encode_kwargs, num_proc):
        assert dict(zip(corpus["id"], corpus["text"])) == DOCUMENTS

    def search(self, queries, *, task_metadata, hf_split, hf_subset, top_k, encode_kwargs,
               top_ranked=None, num_proc):
        found = [search(query, top_k) for query in queries["text"]]
        return {
            name: dict(zip(each["ids"], each["scores"])) for name, each in zip(queries["id"], found)
        }


def plain():
    return lambda query, k: tuple(search(query, k).values())


class Broken:
    def search(self, query, k):
        raise LookupError("no index")


class Nan:
    def search(self, query, k):
        return ["d00"], [float("inf")]
"""
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait hundredths of a second before a request is tried again."""
    monkeypatch.setattr(asking, "BACKOFF", Backoff(first_seconds=0.01, attempts=4))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a collection, a command and code that search it."""
    write_beir(
        tmp_path / "beir",
        documents={f"d{row:02}": text for row, text in enumerate(TEXTS)},
        queries={f"q{row:02}": text for row, text in enumerate(QUERIES)},
        qrels={"test": [(f"q{row:02}", f"d{row:02}", 1) for row in range(20)]},
    )
    (tmp_path / "command.py").write_text(COMMAND, "utf-8")
    (tmp_path / "code.py").write_text(CODE, "utf-8")
    return tmp_path


def suite_of(folder: Path, more: str = "", **said: Any) -> Path:
    keys = ", ".join(f"{key} = {json.dumps(value)}" for key, value in said.items())
    head = 'baseline = "words"\ncollections.small.source = "beir:beir"\n'
    body = f'[candidates.words]\nkind = "bm25"\n[candidates.own]\nretriever = {{ {keys} }}\n'
    return write_suite(folder / "suite.toml", head + body + more)


def command(how: str = "", **said: Any) -> dict[str, Any]:
    return {"command": f"'{sys.executable}' command.py {how}", "timeout_seconds": 30.0, **said}


def asked(folder: Path) -> list[str]:
    file = folder / "asked.txt"
    return file.read_text("utf-8").splitlines() if file.exists() else []


def failure(path: Path, store: Store) -> str:
    with pytest.raises(StagesFailedError) as caught:
        run_online(path, store)
    assert caught.value.exit_code == ExitCode.STAGE
    return str(caught.value)


def run_online(path: Path, store: Store) -> Plan:
    plan = make_plan(load_suite(path), store, device="cpu", hub="fetch")
    execute(plan, progress=Silent())
    return plan


def assert_right(plan: Plan) -> None:
    """Compare the run with a search by hand, in our order: score, then the larger id."""
    run = plan.planner.run_stage("own", "small").result(plan.store)
    for query, found, scores in zip(QUERIES, run.documents, run.scores, strict=True):
        shared = [len(set(query.split()) & set(text.split())) for text in TEXTS]
        order = sorted(range(60), key=lambda row: (shared[row], row), reverse=True)
        assert found[:60].tolist() == order
        assert scores[:60].tolist() == [shared[row] for row in order]


def test_a_command_is_asked_each_query_once(folder: Path, store: Store):
    path = suite_of(folder, **command())
    plan_of(path, store)
    assert asked(folder) == []
    plan = run_suite(path, store)
    assert_right(plan)
    assert sorted(asked(folder)) == sorted(set(QUERIES))
    assert run_suite(path, store).left() == []
    assert len(asked(folder)) == len(set(QUERIES))
    run_suite(suite_of(folder, **command(version="2")), store)
    assert Counter(asked(folder)) == Counter([*set(QUERIES), *set(QUERIES)])


def test_latency_is_the_retrievers_own(folder: Path, store: Store):
    plan = run_suite(suite_of(folder, **command("slow")), store)
    cost = next(cost for cost in gather_costs(plan).costs if cost.candidate == "own")
    assert cost.query_ms_p50 is not None
    assert cost.query_ms_p50 > 200
    assert cost.network_ms_p50 == cost.query_ms_p50
    assert cost.device == f"{Path(sys.executable).name} (own retriever)"
    assert cost.bytes_per_document is None
    assert cost.parameters is None
    assert cost.usd_per_million_queries is None


def test_a_command_that_dies_is_started_once_more(folder: Path, store: Store):
    assert_right(run_suite(suite_of(folder, **command("dies")), store))
    counts = Counter(asked(folder))
    assert set(counts) == set(QUERIES)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("breaks", "its end with exit code 1, and on stderr 'out of memory'"),
        ("hangs", "nothing within 1 s, and on stderr 'ready'"),
        ("chatty", "'loading the model', which is not JSON. Print one answer per line"),
        ("nan", "a score that is NaN, infinite or not a number"),
        ("twice", "the document 'd"),
        ("short", '"ids" and "scores" that are not two lists of one length'),
        ("strange", "returns no document of 'small', got 'xd"),
    ],
)
def test_wrong_answers_are_refused_in_a_sentence(how: str, told: str, folder: Path, store: Store):
    limit = 1.0 if how == "hangs" else 30.0
    message = failure(suite_of(folder, **command(how, timeout_seconds=limit)), store)
    assert told in message
    assert "ask the retriever of own on small" in message


def test_a_program_that_is_not_there_is_told(folder: Path, store: Store):
    message = failure(suite_of(folder, command="no-such-program --fast"), store)
    assert "cannot be started, got No such file or directory: 'no-such-program'" in message


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("partly", "returned 20 results not in the corpus"),
        ("empty", "returned nothing from the collection for 10 of 20 queries, which score 0"),
    ],
)
def test_odd_answers_are_counted_and_how_to_ask_again_is_told(
    how: str, told: str, folder: Path, store: Store
):
    path = suite_of(folder, **command(how))
    run_suite(path, store)
    [warning] = [each for each in plan_of(path, store).planner.warnings if "retriever" in each]
    assert told in warning
    assert "change retriever.version to query it again" in warning


def test_a_killed_run_asks_no_query_twice(folder: Path, store: Store):
    path = suite_of(folder, **command("slow"))
    for _ in range(3):
        seen = len(asked(folder))
        run = start("run", path, "--store", store.root, cwd=folder)
        deadline = time.monotonic() + 120
        while len(asked(folder)) < min(seen + 4, len(set(QUERIES))):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        run.kill()
        run.join()
        time.sleep(0.5)  # its command sees the end of its input
    plan = run_suite(path, store)
    assert_right(plan)
    counts = Counter(asked(folder))
    on_their_way = sum(count - 1 for count in counts.values())
    assert on_their_way <= 3  # one for each kill


@dataclass
class Service:
    """A search server.

    Attributes:
        url: of it.
        bodies: that were posted.
        headers: of the last one.
        faults: of the first requests, each a status, headers and a body; None sends nothing.
    """

    url: str = ""
    bodies: list[Any] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    faults: list[tuple[int, dict[str, str], bytes] | None] = field(default_factory=list)


@contextmanager
def serving(search: Callable[[str, int], Any]) -> Iterator[Service]:
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(404, {}, b"")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            service.headers = dict(self.headers)
            if service.faults:
                fault = service.faults.pop(0)
                if fault is None:
                    self.close_connection = True
                    return
                self.answer(*fault)
                return
            service.bodies.append(body)
            found = search(body["query"], body["k"])
            self.answer(200, {}, json.dumps(found).encode())

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}/search"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()


def by_words(query: str, k: int) -> dict[str, Any]:
    words = set(query.split())
    rows = ((len(words & set(text.split())), f"d{row:02}") for row, text in enumerate(TEXTS))
    found = sorted(rows, reverse=True)[:k]
    return {"ids": [name for _, name in found], "scores": [score for score, _ in found]}


def test_a_server_is_asked_each_query_once_and_patiently(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SEARCH_KEY", "a-secret-of-mine")
    with serving(by_words) as service:
        service.faults = [(503, {}, b"busy"), (429, {"retry-after": "0.01"}, b"{}"), None]
        path = suite_of(folder, url=service.url, key_variable="SEARCH_KEY", k=60)
        plan = run_online(path, store)
        assert_right(plan)
        assert sorted(body["query"] for body in service.bodies) == sorted(set(QUERIES))
        assert {body["k"] for body in service.bodies} == {60}
        assert service.headers["authorization"] == "Bearer a-secret-of-mine"
        assert run_online(path, store).left() == []
    for file in folder.rglob("*"):
        assert not file.is_file() or b"a-secret-of-mine" not in file.read_bytes()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ((500, {}, b"no index"), "HTTP 500, no index"),
        ((404, {}, b"gone"), "HTTP 404, gone"),
        (None, "no connection"),
        ((200, {}, b'{"ids": ["d0'), "not of its protocol"),
        ((200, {}, b'{"ids": ["d01"], "scores": [NaN]}'), "NaN, infinite or not a number"),
        ((200, {}, b"[1]"), 'an answer without "ids" and "scores"'),
        ((429, {"retry-after": "7200"}, b"{}"), "to wait 7,200 s"),
    ],
)
def test_a_server_that_never_answers_right_is_told(
    fault: Any, told: str, folder: Path, store: Store
):
    with serving(by_words) as service:
        service.faults = [fault] * 100
        assert told in failure(suite_of(folder, url=service.url), store)


def test_what_was_answered_before_a_server_broke_off_is_not_left(folder: Path, store: Store):
    def breaks(query: str, k: int) -> Any:
        return {"ids": None} if len(service.bodies) > 7 else by_words(query, k)

    with serving(breaks) as service:
        path = suite_of(folder, url=service.url)
        failure(path, store)
    answered = {body["query"] for body in service.bodies[:7]}
    stage = plan_of(path, store).planner.run_stage("own", "small")
    assert stage.work(store).requests == len(set(QUERIES) - answered)


def test_nobody_is_asked_offline(folder: Path, store: Store):
    with serving(by_words) as service:
        path = suite_of(folder, url=service.url)
        with pytest.raises(StagesFailedError, match="no requests are sent offline"):
            run_suite(path, store)
        assert service.bodies == []


@pytest.mark.parametrize("name", ["Search", "OfMteb", "plain"])
def test_code_of_ones_own_is_asked_whatever_protocol_it_follows(
    name: str, folder: Path, store: Store
):
    plan = run_suite(suite_of(folder, factory=f"code.py:{name}", version="1"), store)
    assert_right(plan)
    assert plan_of(plan.suite.path, store).left() == []


@pytest.mark.parametrize(
    ("name", "told"),
    [("Broken", "got LookupError: no index"), ("Nan", "a score that is NaN, infinite")],
)
def test_code_that_fails_is_told_with_its_place(name: str, told: str, folder: Path, store: Store):
    message = failure(suite_of(folder, factory=f"code.py:{name}", version="1"), store)
    assert told in message
    assert "code.py" in message


def test_the_querys_own_document_is_never_returned(folder: Path, store: Store):
    write_beir(
        folder / "same",
        documents={f"d{row:02}": text for row, text in enumerate(TEXTS)},
        queries={f"d{row:02}": QUERIES[row] for row in range(20)},
        qrels={"test": [(f"d{row:02}", f"d{row + 1:02}", 1) for row in range(20)]},
    )
    path = suite_of(folder, **command())
    text = path.read_text("utf-8").replace(
        'collections.small.source = "beir:beir"',
        'collections.small = { source = "beir:same", exclude_identical_ids = true }',
    )
    path.write_text(text, "utf-8")
    plan = run_suite(path, store)
    run = plan.planner.run_stage("own", "small").result(store)
    assert not (run.documents == np.arange(20)[:, None]).any()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, "give one of 'command', 'url' and 'factory', got none"),
        ({"command": "a", "url": "http://x"}, "got 'command' and 'url'"),
        ({"command": "a 'b"}, "cannot be split"),
        ({"command": " "}, "Name a program"),
        ({"url": "ftp://x"}, "'url' is the http or https address"),
        ({"factory": "code.py:Search"}, "'version' is missing"),
        ({"command": "a", "key_variable": "KEY"}, "is for a server"),
        ({"factory": "gone.py:Search", "version": "1"}, "no file"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
    said: dict[str, Any], told: str, folder: Path, store: Store
):
    with pytest.raises(HarnessError) as caught:
        plan_of(suite_of(folder, **said), store)
    assert caught.value.exit_code == ExitCode.USAGE
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("truncate = 8", "has no vectors to truncate"),
        ('quantize = "int8"', "has no vectors to quantize"),
        ('finetune = { data = "small" }', "is an external search without weights"),
    ],
)
def test_what_makes_no_sense_of_a_retriever_is_refused(
    more: str, told: str, folder: Path, store: Store
):
    with pytest.raises(HarnessError, match=told):
        plan_of(suite_of(folder, f'[candidates.x]\nfrom = "own"\n{more}\n', **command()), store)
