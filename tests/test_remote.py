"""Models at providers: real requests to a local server of each protocol, which misbehaves."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import start
from conftest import plan_of, sentences, write_beir, write_suite
from model_server import (
    KEY,
    ModelServer,
    Reply,
    Request,
    failure,
    relevance,
    serving,
    slow,
    vector,
)
from test_app import opened

from harness.diagnosis.explain import explain_losses
from harness.diagnosis.subject import plan_subject
from harness.diagnosis.view import Facts
from harness.errors import ExitCode, HarnessError
from harness.plan.execute import StagesFailedError, execute
from harness.plan.plan import Plan, make_plan
from harness.providers import asking
from harness.providers.asking import Backoff
from harness.results.gathering import gather, gather_costs
from harness.stage import Context, Silent
from harness.store import Store
from harness.suite.load import load_suite

__all__ = ["opened"]  # a fixture

# Each with a model of known width, so that the server is asked for it where that can be asked.
EMBEDDERS = {
    "openai": ("openai:any", "/v1", {}),
    "cohere": ("cohere:embed-v4.0", "/v2", {"input_type": "search_query"}),
    "voyage": ("voyage:voyage-4-lite", "/v1", {"input_type": "query"}),
    "gemini": ("gemini:gemini-embedding-001", "/v1beta", {"taskType": "RETRIEVAL_QUERY"}),
    "jina": ("jina:jina-embeddings-v3", "/v1", {"task": "retrieval.query"}),
}
RERANKERS = {
    "openai": ("openai:any-reranker", "/v1"),
    "cohere": ("cohere:rerank-v3.5", "/v2"),
    "voyage": ("voyage:rerank-2.5", "/v1"),
    "jina": ("jina:jina-reranker-v2", "/v1"),
}
TEXTS = sentences(60, seed=12, words=8)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait hundredths of a second before a request is tried again, and keep the key ready."""
    monkeypatch.setattr(asking, "BACKOFF", Backoff(first_seconds=0.01, attempts=4))
    monkeypatch.setenv("THE_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Return 60 documents and 20 queries, the first three words of one document each."""
    return collection(tmp_path / "beir")


def collection(folder: Path, documents: list[str] | None = None) -> Path:
    listed = TEXTS if documents is None else documents
    return write_beir(
        folder,
        documents={f"d{row:02}": text for row, text in enumerate(listed)},
        queries={f"q{row:02}": " ".join(TEXTS[row].split()[:3]) for row in range(20)},
        qrels={"test": [(f"q{row:02}", f"d{row:02}", 1) for row in range(20)]},
    )


def suite_of(texts: Path, body: str) -> Path:
    head = f'baseline = "words"\ncollections.small.source = "beir:{texts}"\n'
    return write_suite(
        texts.parent / "suite.toml", head + '[candidates.words]\nkind = "bm25"\n' + body
    )


def finished(path: Path, store: Store) -> Plan:
    """Run a suite file, and return its plan."""
    plan = make_plan(load_suite(path), store, device="cpu", hub="fetch")
    execute(plan, progress=Silent())
    return plan


def embedder(server: ModelServer, provider: str = "openai", **more: Any) -> str:
    model, path, _ = EMBEDDERS[provider]
    said = {"model": model, "base_url": server.url + path, "key_variable": "THE_KEY", **more}
    lines = (f"{key} = {json.dumps(value)}" for key, value in said.items())
    return "\n".join(["[candidates.api]", *lines, ""])


def reranker(server: ModelServer, provider: str, *, parent: str = "words", **more: Any) -> str:
    model, path = RERANKERS[provider]
    said = {"model": model, "base_url": server.url + path, "key_variable": "THE_KEY", **more}
    lines = (f"rerank.{key} = {json.dumps(value)}" for key, value in said.items())
    return "\n".join(["[candidates.reranked]", f'from = "{parent}"', *lines, ""])


def vectors_of(plan: Plan, side: int) -> Any:
    encode = plan.planner.encodes("api", "small")[side]
    read = encode.embeddings(plan.store, normalised=False)
    return read.block(0, len(read))


def doubled(server: ModelServer) -> dict[tuple[str, str], int]:
    """Return what was answered more than once."""
    return {pair: count for pair, count in Counter(server.answered).items() if count > 1}


def queries() -> list[str]:
    return [" ".join(text.split()[:3]) for text in TEXTS[:20]]


@pytest.mark.parametrize("provider", EMBEDDERS)
def test_vectors_are_those_of_the_texts_with_the_input_type_of_their_side(
    provider: str, texts: Path, store: Store
) -> None:
    with serving() as server:
        plan = finished(suite_of(texts, embedder(server, provider)), store)
        again = plan_of(plan.suite.path, store)
    asked = [request for request in server.requests if request.texts[0] in queries()]
    assert asked
    for key, value in EMBEDDERS[provider][2].items():
        bodies = [request.body.get("requests", [request.body])[0] for request in asked]
        assert {body[key] for body in bodies} == {value}
    side = dict.fromkeys(EMBEDDERS[provider][2].values())
    found, width = vectors_of(plan, 1), vectors_of(plan, 1).shape[1]
    expected = [vector(text, width=width, side=next(iter(side), "")) for text in queries()]
    assert np.array_equal(found, np.float32(expected))
    assert doubled(server) == {}
    assert not again.left()
    assert all(KEY in " ".join(request.headers.values()) for request in server.requests)


@pytest.mark.parametrize("provider", RERANKERS)
def test_scores_are_those_of_the_pairs(provider: str, texts: Path, store: Store) -> None:
    with serving() as server:
        plan = finished(suite_of(texts, reranker(server, provider, depth=10)), store)
    run = plan.planner.run_stage("reranked", "small").result(store)
    first = plan.planner.run_stage("words", "small").result(store)
    for row, query in enumerate(queries()):
        top = [place for place in first.documents[row, :10].tolist() if place >= 0]
        order = sorted(top, key=lambda place: (-np.float32(relevance(query, TEXTS[place])), -place))
        assert run.documents[row, : len(top)].tolist() == order
    assert doubled(server) == {}


def broken(answer: Any) -> Any:
    """Take one vector away."""
    return {**answer, "data": answer["data"][1:]}


def widened(answer: Any) -> Any:
    for each in answer["data"][:1]:
        each["embedding"] = each["embedding"] + [1.0]
    return answer


def all_narrower(answer: Any) -> Any:
    for each in answer["data"]:
        each["embedding"] = each["embedding"][:-1]
    return answer


def with_nan(answer: Any) -> Any:
    answer["data"][0]["embedding"][0] = float("nan")
    return answer


def with_null(answer: Any) -> Any:
    answer["data"][0]["embedding"][0] = None
    return answer


def twice_the_same(answer: Any) -> Any:
    for each in answer["data"]:
        each["index"] = 0
    return answer


def spoiled(spoil: Callable[[Any], Any]) -> Callable[[Reply], Reply]:
    return lambda reply: replace(reply, spoil=spoil)


MISBEHAVIOUR: dict[str, Callable[[Reply], Reply]] = {
    "429": lambda _: failure(429, "slow down"),
    "429 that says when": lambda _: failure(429, "slow down", retry_after="0.05"),
    "500": lambda _: failure(500, "oops"),
    "truncated JSON": lambda reply: replace(reply, cut=40),
    "no JSON": lambda _: Reply(body=b"<html>"),
    "too few": spoiled(broken),
    "one too wide": spoiled(widened),
    "NaN": spoiled(with_nan),
    "null": spoiled(with_null),
    "one index for all": spoiled(twice_the_same),
    "a list": spoiled(lambda _: []),
    "slow": lambda reply: replace(reply, seconds=1.0),
    "hangs up": lambda reply: replace(reply, hangs_up=True),
}


RIGHT: list[np.ndarray] = []  # of a server that never misbehaves


@pytest.mark.parametrize("what", MISBEHAVIOUR)
def test_a_server_that_misbehaves_twice_gives_right_vectors_in_the_end(
    what: str, texts: Path, store: Store
) -> None:
    if not RIGHT:  # the texts are the same
        with serving() as right:
            plan = finished(suite_of(texts, embedder(right)), Store(texts.parent / "other"))
            RIGHT.append(vectors_of(plan, 0))
    seen: Counter[tuple[str, ...]] = Counter()

    def behave(request: Request, reply: Reply) -> Reply:
        seen[request.texts] += 1
        return (
            MISBEHAVIOUR[what](reply)
            if seen[request.texts] <= 2 and len(request.texts) > 1
            else reply
        )

    with serving(behave) as server:
        plan = finished(suite_of(texts, embedder(server, timeout_seconds=0.4)), store)
    assert np.array_equal(vectors_of(plan, 0), RIGHT[0])


def test_vectors_in_another_order_are_put_in_theirs(texts: Path, store: Store) -> None:
    def shuffle(answer: Any) -> Any:
        return {**answer, "data": answer["data"][::-1]}

    with serving(lambda _, reply: replace(reply, spoil=shuffle)) as server:
        plan = finished(suite_of(texts, embedder(server)), store)
    assert np.array_equal(vectors_of(plan, 0), np.float32([vector(text) for text in TEXTS]))


def test_a_server_that_asks_to_wait_is_given_its_time(texts: Path, store: Store) -> None:
    arrived: list[float] = []

    def behave(request: Request, reply: Reply) -> Reply:
        arrived.append(time.monotonic())
        return failure(429, "slow down", retry_after="0.4") if request.number == 1 else reply

    with serving(behave) as server:
        finished(suite_of(texts, embedder(server)), store)
    assert arrived[1] - arrived[0] >= 0.4


def test_what_always_fails_ends_with_a_sentence_and_the_same_command_goes_on(
    texts: Path, store: Store
) -> None:
    def behave(request: Request, reply: Reply) -> Reply:
        return spoiled(all_narrower)(reply) if TEXTS[40] in request.texts else reply

    with serving(behave) as server:
        suite = suite_of(texts, embedder(server))
        with pytest.raises(StagesFailedError) as caught:
            finished(suite, store)
        server.behave = lambda _, reply: reply
        finished(suite, store)
    assert caught.value.exit_code == ExitCode.STAGE
    [problem] = caught.value.problems
    assert "vectors of [31] dimensions and not 32" in problem
    assert "rerun the command to resume" in problem
    assert doubled(server).keys() <= {("", text) for text in TEXTS}


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_is_told_without_the_key(status: int, texts: Path, store: Store) -> None:
    def behave(request: Request, _: Reply) -> Reply:
        return failure(status, f"no such thing for {request.headers['authorization']}")

    with serving(behave) as server, pytest.raises(StagesFailedError) as caught:
        finished(suite_of(texts, embedder(server)), store)
    told = str(caught.value) + "".join(caught.value.tracebacks)
    assert f"HTTP {status}" in told
    assert KEY not in told
    assert KEY[-8:] not in told


def test_no_file_holds_the_key(texts: Path, store: Store) -> None:
    def behave(request: Request, reply: Reply) -> Reply:
        return replace(
            reply, spoil=lambda answer: {**answer, "model": request.headers["authorization"]}
        )

    with serving(behave) as server:
        body = embedder(server) + reranker(server, "jina", parent="api", depth=5)
        plan = finished(suite_of(texts, body), store)
    results = gather(plan).model_dump_json() + gather_costs(plan).model_dump_json()
    assert KEY not in results
    files = [path.read_bytes() for path in store.root.rglob("*") if path.is_file()]
    assert files
    assert not any(KEY.encode() in body for body in files)


def test_a_key_goes_to_another_address_only_where_the_suite_says_so(
    texts: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving() as server:
        body = embedder(server).replace('key_variable = "THE_KEY"\n', "")
        finished(suite_of(texts, body), store)
    assert not any("authorization" in request.headers for request in server.requests)


def test_a_missing_key_is_told_before_anything_is_asked(
    texts: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("THE_KEY")
    with serving() as server:
        suite = load_suite(suite_of(texts, embedder(server)))
        with pytest.raises(HarnessError, match="no key in THE_KEY") as caught:
            make_plan(suite, store, device="cpu", hub="fetch")
        planned = make_plan(suite, store, device="cpu", hub="later")
    assert caught.value.exit_code == ExitCode.USAGE
    assert any("no key in THE_KEY" in text for text in planned.planner.warnings)
    assert server.requests == []


def test_offline_reads_what_is_stored_and_asks_nobody(texts: Path, store: Store) -> None:
    with serving() as server:
        suite = suite_of(texts, embedder(server))
        with pytest.raises(StagesFailedError, match="no requests are sent offline"):
            execute(plan_of(suite, store), progress=Silent())
        assert server.requests == []
        finished(suite, store)
        before = len(server.requests)
        execute(plan_of(suite, store), progress=Silent())
        assert len(server.requests) == before


def test_the_full_width_is_fetched_once_and_cut_here(texts: Path, store: Store) -> None:
    more = '[candidates.cut]\nfrom = "api"\ntruncate = 256\n'
    with serving() as server:
        body = embedder(server, model="openai:text-embedding-3-small", dimensions=512) + more
        plan = finished(suite_of(texts, body), store)
        twin = body.replace("[candidates.api]", "[candidates.wide]").replace(
            "dimensions = 512\n", ""
        )
        before = len(server.requests)
        finished(suite_of(texts, body + twin.replace(more, "")), store)
    assert {request.body["dimensions"] for request in server.requests} == {1536}
    assert len(server.requests) == before
    widths = {each.name: each.dimension for each in gather(plan).candidates}
    assert widths["api"] == 512
    assert widths["cut"] == 256
    assert vectors_of(plan, 0).shape == (60, 1536)


def test_each_text_is_paid_once_and_a_changed_document_alone_is_asked_for(
    texts: Path, tmp_path: Path, store: Store
) -> None:
    changed = [*TEXTS[:-1], "an entirely new document"]
    with serving() as server:
        finished(suite_of(texts, embedder(server)), store)
        before = len(server.answered)
        other = collection(tmp_path / "later" / "beir", changed)
        finished(suite_of(other, embedder(server)), store)
    assert server.answered[before:] == [("", "an entirely new document")]


def test_a_budget_is_never_exceeded_and_what_it_paid_for_is_kept(texts: Path, store: Store) -> None:
    with serving() as server:
        suite = suite_of(texts, embedder(server, price=1000.0, budget_usd=0.2))
        with pytest.raises(StagesFailedError, match=r"budget_usd = 0\.2") as caught:
            finished(suite, store)
        tokens = sum(len(text) // 3 + 1 for _, text in server.answered)
        assert tokens * 1000 / 1e6 <= 0.2
        assert tokens  # the queries of the sample
        finished(suite_of(texts, embedder(server, price=1000.0, budget_usd=20.0)), store)
    assert "Raise budget_usd" in str(caught.value)
    assert doubled(server) == {}


def test_empty_and_overlong_texts_are_counted_and_told(tmp_path: Path, store: Store) -> None:
    documents = [*TEXTS[:58], "", "long " * 9000]

    def behave(request: Request, reply: Reply) -> Reply:
        too_long = any(len(text) > 30_000 for text in request.texts)
        return failure(400, "maximum context length is 8192 tokens") if too_long else reply

    with serving(behave) as server:
        body = embedder(server, model="openai:text-embedding-3-small")
        plan = finished(suite_of(collection(tmp_path / "beir", documents), body), store)
    warnings = [text for text in plan.planner.warnings if "'api'" in text]
    assert any("1 document of small is empty" in text for text in warnings)
    assert any("about 1 document of small exceed the 8,192 tokens" in text for text in warnings)
    assert not any("" in request.texts for request in server.requests)
    found = vectors_of(plan, 0)
    assert not found[58].any()
    assert np.array_equal(
        found[:58], np.float32([vector(text, width=1536) for text in documents[:58]])
    )
    assert found[59].any()


def test_a_server_that_takes_fewer_texts_at_once_is_given_fewer(texts: Path, store: Store) -> None:
    def behave(request: Request, reply: Reply) -> Reply:
        return failure(422, "batch size > maximum 8") if len(request.texts) > 8 else reply

    with serving(behave) as server:
        plan = finished(suite_of(texts, embedder(server)), store)
    assert np.array_equal(vectors_of(plan, 0), np.float32([vector(text) for text in TEXTS]))
    assert doubled(server) == {}


def test_costs_are_those_that_were_billed_and_latency_is_told_to_hold_the_network(
    texts: Path, store: Store
) -> None:
    with serving(slow(0.005)) as server:
        body = embedder(server, price=2.0) + reranker(server, "cohere", parent="api", depth=10)
        plan = finished(suite_of(texts, body), store)
    costs = {cost.candidate: cost for cost in gather_costs(plan).costs}
    billed = sum(len(text) // 3 + 1 for text in TEXTS)
    asked = sum(len(text) // 3 + 1 for text in queries())
    api, reranked = costs["api"], costs["reranked"]
    assert api.usd_per_corpus == pytest.approx(billed * 2 / 1e6)
    assert api.usd_per_million_queries == pytest.approx(asked / 20 * 2)
    assert reranked.usd_per_million_queries == pytest.approx(asked / 20 * 2 + 2000)
    assert api.network_ms_p50 is not None
    assert api.network_ms_p50 >= 5
    assert api.parameters is None
    assert api.query_n == 20
    assert costs["words"].network_ms_p50 is None
    assert api.device == f"{server.url.removeprefix('http://')} (network)"


def test_queries_are_timed_one_by_one_over_one_connection_and_paid_once(
    texts: Path, store: Store
) -> None:
    with serving() as server:
        finished(suite_of(texts, embedder(server)), store)
    single = [request for request in server.requests if len(request.texts) == 1]
    assert [request.texts[0] for request in single] != []
    assert {request.texts[0] for request in single} == set(queries())
    assert doubled(server) == {}


REFUSED = {
    'model = "openai:x"\ndtype = "float16"': "'dtype' is for local models",
    'model = "openai:x"\nmax_length = 512': "'max_length' is for local models",
    'model = "cohere:embed-english-v3.0"\ndimensions = 256': "1,024 dimensions and no others",
    'model = "openai:text-embedding-3-small"\ndimensions = 2000': "Give at most 1536",
    'model = "openai:x"\nbudget_usd = 1.0': "no price of 'openai:x' is known",
    'model = "openai:x"\nbase_url = "ftp://h"': "'base_url' is the http or https address",
    'model = "openai:x"\nkey_variable = "sk-12"': "A suite never holds a key",
    'model = "openai:x"\ninput_types = { query = "q" }': "Use prompts",
    'model = "openai:"': "names no model",
    'from = "words"\nrerank = { model = "gemini:x" }': "'gemini' has no rerankers",
    'from = "words"\nrerank = { model = "openai:x" }': "Set base_url",
    'from = "words"\nrerank = { model = "cohere:x", dtype = "auto" }': "'dtype' is for local "
    "models",
    'from = "words"\nrerank = { model = "cohere:x", finetune = {} }': "'finetune' needs local "
    "weights",
    'from = "there"\nfinetune = { data = "small:train" }': "runs at a provider, so",
    'from = "there"\ninterpolate = 0.5': "nothing to interpolate",
}


@pytest.mark.parametrize("table", REFUSED)
def test_what_makes_no_sense_at_a_provider_is_refused(table: str, texts: Path) -> None:
    there = '[candidates.there]\nmodel = "openai:text-embedding-3-small"\n'
    with pytest.raises(HarnessError) as caught:
        load_suite(suite_of(texts, f"{there}[candidates.x]\n{table}\n"))
    assert REFUSED[table] in str(caught.value)
    assert caught.value.exit_code == ExitCode.USAGE


def test_a_plan_tells_requests_tokens_and_money(texts: Path, store: Store) -> None:
    from reports import plan_view

    body = '[candidates.api]\nmodel = "openai:text-embedding-3-large"\n'
    plan = make_plan(load_suite(suite_of(texts, body)), store, device="cpu", hub="later")
    told = plan_view.in_a_sentence(plan, plan.left())
    assert "2 requests to providers" in told
    assert "USD)" in told
    assert plan_view.as_json(plan)["usd"] > 0


def sides_matter(request: Request, reply: Reply) -> Reply:
    """Read what is said to be a query backwards."""
    is_query = request.body["input_type"] == "search_query"
    read = [text[::-1] if is_query else text for text in request.texts]
    answer = {**reply.answer, "embeddings": {"float": [vector(text, width=64) for text in read]}}
    return replace(reply, answer=answer)


def test_the_input_type_of_the_wrong_side_is_found(tmp_path: Path, store: Store) -> None:
    backwards = [text[::-1] for text in TEXTS[:40]]
    folder = write_beir(
        tmp_path / "beir",
        documents={f"d{row:02}": text for row, text in enumerate(TEXTS)},
        queries={f"q{row:02}": text for row, text in enumerate(backwards)},
        qrels={"test": [(f"q{row:02}", f"d{row:02}", 1) for row in range(40)]},
    )
    with serving(sides_matter) as server:
        right = embedder(server, "cohere", model="cohere:of-unknown-width")
        wrong = right.replace("[candidates.api]", "[candidates.wrong]")
        wrong += 'input_types = { query = "search_document" }\n'
        plan = finished(suite_of(folder, right + wrong), store)
        context, facts = Context(store=store), Facts(plan.collections["small"])
        found = {
            name: {
                each.reason: each
                for each in explain_losses(plan_subject(plan, name, facts), context).findings
            }
            for name in ("api", "wrong")
        }
    finding = found["wrong"]["prompt"]
    assert finding.status == "confirmed"
    assert "input types as the provider documents ('search_query')" in finding.sentence
    assert found["api"].get("prompt") is None or found["api"]["prompt"].status != "confirmed"


def stored_pairs(root: Path) -> int:
    """Return how many texts and pairs have an answer in a store."""
    vectors = sum(len(np.load(path)) for path in root.glob("api-vectors/*/*/*/hashes.npy"))
    return vectors + sum(len(np.load(path)) for path in root.glob("api-scores/*/*/pairs.npy"))


def killed(folder: Path, kills: int, *, how: signal.Signals = signal.SIGKILL) -> None:
    """Stop a run at random moments: nothing that was stored is asked for again."""
    moments, in_flight = random.Random(7), 0
    with serving(slow(0.02)) as server:
        body = embedder(server, model="cohere:embed-v4.0", base_url=f"{server.url}/v2")
        body += reranker(server, "voyage", parent="api", depth=10)
        suite = suite_of(collection(folder / "beir"), body)
        undisturbed = folder / "undisturbed"
        finished(suite, Store(undisturbed))
        server.answered.clear()
        root = folder / "killed"
        for _ in range(kills):
            before = len(server.requests)
            process = start("run", suite, "--store", root, "--device", "cpu", cwd=folder)
            wanted = before + moments.randrange(1, 12)
            while len(server.requests) < wanted and process.is_alive():
                time.sleep(0.005)
            time.sleep(moments.uniform(0, 0.04))
            with suppress(ProcessLookupError):  # it has ended
                os.kill(process.pid, how)
            process.join()
            time.sleep(0.1)  # what the server still answers is noted
            in_flight += len(server.answered) - stored_pairs(root) - in_flight
        assert how == signal.SIGKILL or not in_flight
        finished(suite, Store(root))
        # What was answered to a process that was dead by then is all that was asked twice.
        again = sum(count - 1 for count in Counter(server.answered).values())
        assert again <= in_flight
    first, second = (plan_of(suite, Store(place)) for place in (undisturbed, root))
    assert not [stage.label for stage, _ in second.left() if not stage.label.startswith("time ")]
    assert gather(first) == gather(second)


def test_a_killed_run_pays_for_nothing_that_was_stored(tmp_path: Path) -> None:
    killed(tmp_path, 3)


def test_an_interrupted_run_waits_for_what_is_paid(tmp_path: Path) -> None:
    killed(tmp_path, 3, how=signal.SIGINT)


@pytest.mark.slow
def test_thirty_kills_pay_for_nothing_that_was_stored(tmp_path: Path) -> None:
    killed(tmp_path, 30)
