"""Asking a language model: real clients against a real server that is rude in every way."""

from __future__ import annotations

import email.utils
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from language_server import (
    KEY,
    LanguageServer,
    Reply,
    Request,
    extract,
    failure,
    questions,
    serving,
)

from harness.errors import ExitCode, HarnessError
from harness.providers import asking
from harness.providers.asking import Backoff, Limits, Spending, Unanswered
from harness.store import Store
from harness.suite.training import GenerateSpec
from harness.synthetic.asking import Answers, ask_all
from harness.synthetic.clients import open_client, setup_problems
from harness.synthetic.prompt import Prompt

NO_LIMITS = Limits(requests=None, tokens=None)
PROVIDERS = ("anthropic", "openai")
PASSAGES = tuple(f"Subject {number} is green. It weighs {number} kilograms." for number in range(6))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait hundredths of a second before a conversation is tried again, and keep the key ready."""
    monkeypatch.setattr(asking, "BACKOFF", Backoff(first_seconds=0.01, attempts=4))
    monkeypatch.setenv("THE_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def spec_of(provider: str, base_url: str | None, **more: Any) -> GenerateSpec:
    said = {"key_variable": "THE_KEY", "timeout_seconds": 10.0, **more}
    return GenerateSpec(
        provider=provider,
        model="a-model",
        base_url=base_url,
        passages=10,
        **said,
    )


@dataclass(frozen=True)
class Asked:
    """What came of asking."""

    answers: Answers
    left: Unanswered
    budget: Spending
    told: list[int]

    def questions(self, passage: str) -> tuple[str, ...] | None:
        return self.answers.questions(passage)


def ask(
    server: LanguageServer,
    store: Store,
    *,
    provider: str = "openai",
    passages: tuple[str, ...] = PASSAGES,
    limits: Limits = NO_LIMITS,
    **more: Any,
) -> Asked:
    """Ask a server for the questions of passages."""
    spec = spec_of(provider, server.base_url(provider), **more)
    answers = Answers(store, provider, spec.model, spec.answer_tokens, Prompt(3, "things"))
    budget = Spending(limits)
    told: list[int] = []
    with open_client(spec, where="here") as client:
        left = ask_all(
            passages, answers, client, budget, concurrency=spec.concurrency, advance=told.append
        )
    return Asked(answers, left, budget, told)


def first_time(reply: Reply) -> Callable[[Request], Reply]:
    """Return a behaviour: this reply to the first request, well-formed answers to the others."""
    return lambda request: reply if request.number == 1 else extract(request)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_passage_is_answered_and_every_answer_is_stored(provider: str, store: Store) -> None:
    with serving() as server:
        asked = ask(server, store, provider=provider)
        again = ask(server, store, provider=provider)
    assert asked.left == Unanswered()
    assert asked.told == [1] * 6
    assert len(server.requests) == asked.budget.requests == 6
    assert again.budget == Spending(NO_LIMITS)
    for passage in PASSAGES:
        found = asked.questions(passage)
        assert found is not None
        assert len(found) == 2
        (answer,) = asked.answers.of(passage)
        assert answer.model == "a-model"
        assert answer.output_tokens == len(answer.text) // 4 + 1
    spent = [answer.tokens for passage in PASSAGES for answer in asked.answers.of(passage)]
    assert asked.budget.tokens == sum(spent)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_key_goes_to_the_server_alone_and_the_domain_and_the_passage_too(
    provider: str, store: Store
) -> None:
    with serving() as server:
        ask(server, store, provider=provider, passages=PASSAGES[:1])
    (request,) = server.requests
    told = request.headers.get("x-api-key") or request.headers["authorization"]
    assert told.removeprefix("Bearer ") == KEY
    assert request.passage == PASSAGES[0]
    assert "The collection: things" in request.turns[0]["content"]
    assert "3 different questions" in request.turns[0]["content"]
    stored = [path.read_text() for path in store.root.rglob("*") if path.is_file()]
    assert stored
    assert not any(KEY in text for text in stored)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_server_that_asks_to_wait_is_given_its_time_by_all(provider: str, store: Store) -> None:
    arrived: list[float] = []

    def behave(request: Request) -> Reply:
        arrived.append(time.monotonic())
        return first_time(failure(429, "slow down", retry_after="0.4"))(request)

    with serving(behave) as server:
        asked = ask(server, store, provider=provider, concurrency=1)
    assert asked.left.failed == {}
    assert len(server.requests) == 7
    assert arrived[1] - arrived[0] >= 0.4


def test_a_server_that_serves_a_few_at_a_time_serves_everybody_in_the_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "BACKOFF", Backoff(first_seconds=0.01, attempts=6))
    turned_away: list[str] = []
    served: list[str] = []
    changed = threading.Condition()

    def behave(request: Request) -> Reply:
        """Serve the first passage last, and turn it away twice before each of the others."""
        with changed:
            if request.passage != PASSAGES[0]:
                changed.wait_for(lambda: len(turned_away) >= 2 * len(served) + 2)
                served.append(request.passage)
            elif len(served) < 5:
                turned_away.append(request.passage)
                changed.notify_all()
                return failure(429, "wait for your turn", retry_after="0.05")
        return extract(request)

    with serving(behave) as server:
        asked = ask(server, store, concurrency=6)
    assert asked.left == Unanswered()
    assert len(turned_away) > 6  # more often than a server that is silent would be asked
    assert asked.budget.requests == 6


def test_a_server_may_tell_the_time_to_wait_as_a_date(store: Store) -> None:
    date = email.utils.formatdate(time.time() + 1.5, usegmt=True)
    started = time.monotonic()
    with serving(first_time(failure(503, "soon", retry_after=date))) as server:
        asked = ask(server, store, passages=PASSAGES[:1])
    assert asked.questions(PASSAGES[0])
    assert time.monotonic() - started > 0.4  # a date has whole seconds


def test_a_wait_of_an_hour_ends_the_asking_and_says_so(store: Store) -> None:
    with serving(lambda _: failure(429, "daily limit", retry_after="3600")) as server:
        asked = ask(server, store, concurrency=1)
    assert asked.left.stop == "server"
    assert asked.left.reason == "HTTP 429, daily limit, and to wait 3,600 s"
    assert len(server.requests) == 1


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "reply",
    [
        failure(500, "oops"),
        failure(529, "overloaded"),
        Reply(body=b'{"id": "cut of'),
        Reply(body=b"<html>a proxy</html>", headers={"content-type": "text/html"}),
        Reply(body=b"{}"),
    ],
    ids=["500", "529", "broken JSON", "HTML", "another protocol"],
)
def test_what_may_pass_is_tried_again(provider: str, reply: Reply, store: Store) -> None:
    with serving(first_time(reply)) as server:
        asked = ask(server, store, provider=provider)
    assert asked.left == Unanswered()
    assert len(server.requests) == 7
    # What was turned away costs nothing; what came back broken may have been paid for.
    assert asked.budget.requests == (6 if reply.status >= 500 else 7)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_request_that_takes_too_long_is_tried_again(provider: str, store: Store) -> None:
    slow = Reply(extract_text(PASSAGES[0]), seconds=0.6)
    with serving(first_time(slow)) as server:
        asked = ask(server, store, provider=provider, passages=PASSAGES[:1], timeout_seconds=0.2)
    assert asked.questions(PASSAGES[0])
    assert len(server.requests) == 2


def extract_text(passage: str) -> str:
    return json.dumps({"questions": [f"what is {passage[:9]}"]})


def test_a_passage_that_never_gets_an_answer_leaves_the_others_alone(store: Store) -> None:
    def behave(request: Request) -> Reply:
        return failure(500, "poison") if "Subject 3" in request.passage else extract(request)

    with serving(behave) as server:
        asked = ask(server, store)
    assert asked.left == Unanswered({3: "HTTP 500, poison"})
    assert len(server.requests) == 5 + 4
    assert asked.questions(PASSAGES[3]) is None


def test_a_server_that_is_down_ends_the_asking_early(store: Store) -> None:
    with serving() as server:
        gone = server.base_url("openai")
    passages = tuple(f"passage {number}" for number in range(50))
    spec = spec_of("openai", gone)
    answers = Answers(store, "openai", spec.model, spec.answer_tokens, Prompt(3, ""))
    budget = Spending(NO_LIMITS)
    with open_client(spec, where="here") as client:
        left = ask_all(passages, answers, client, budget, concurrency=2, advance=lambda _: None)
    assert left.stop == "server"
    assert left.reason.startswith("no connection")
    assert budget.requests < 20


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_is_told_once_and_never_shown(provider: str, status: int, store: Store) -> None:
    # Some servers repeat the key that they refuse.
    with (
        serving(lambda _: failure(status, f"bad key {KEY} given")) as server,
        pytest.raises(HarnessError) as caught,
    ):
        ask(server, store, provider=provider, concurrency=1)
    assert caught.value.exit_code == ExitCode.STAGE
    assert str(caught.value) == (
        f"here: {provider} refuses the request, got HTTP {status}, bad key *** given. "
        "Set THE_KEY to a valid key."
    )
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert len(server.requests) == 1


def test_a_model_that_the_server_does_not_have_is_not_asked_for_twice(store: Store) -> None:
    with (
        serving(lambda _: failure(404, "no model 'a-model'")) as server,
        pytest.raises(HarnessError, match=r"got HTTP 404, no model 'a-model'\. Check model and"),
    ):
        ask(server, store, concurrency=1)
    assert len(server.requests) == 1


def test_money_that_is_spent_is_no_reason_to_wait(store: Store) -> None:
    body = json.dumps({"error": {"message": "pay first", "code": "insufficient_quota"}}).encode()
    with (
        serving(lambda _: Reply(status=429, body=body)) as server,
        pytest.raises(HarnessError, match="pay first"),
    ):
        ask(server, store, concurrency=1)
    assert len(server.requests) == 1


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "bad",
    [Reply("Here are your questions: 1. What?"), Reply('{"questions": ["What', cut=True)],
    ids=["prose", "cut"],
)
def test_an_answer_that_can_not_be_read_is_asked_for_once_more(
    provider: str, bad: Reply, store: Store
) -> None:
    def behave(request: Request) -> Reply:
        return bad if len(request.turns) == 1 else questions("What is green?")

    with serving(behave) as server:
        asked = ask(server, store, provider=provider, passages=PASSAGES[:1])
        ask(server, store, provider=provider, passages=PASSAGES[:1])
    assert asked.questions(PASSAGES[0]) == ("What is green?",)
    assert len(server.requests) == 2
    repair = server.requests[1].turns
    assert [turn["role"] for turn in repair] == ["user", "assistant", "user"]
    assert repair[1]["content"] == bad.text


def test_an_answer_that_can_not_be_read_twice_is_left_to_a_later_run(store: Store) -> None:
    with serving(lambda _: Reply("")) as server:
        asked = ask(server, store, passages=PASSAGES[:2])
        assert len(server.requests) == 4
        server.behave = extract
        again = ask(server, store, passages=PASSAGES[:2])
        ask(server, store, passages=PASSAGES[:2])
    assert asked.questions(PASSAGES[0]) is not None  # what is stored since
    assert asked.left == Unanswered()
    assert again.budget.requests == 2
    assert len(server.requests) == 6


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_refusal_is_not_argued_with(provider: str, store: Store) -> None:
    with serving(lambda _: Reply("I would rather not.", refused=True)) as server:
        asked = ask(server, store, provider=provider, passages=PASSAGES[:1])
    assert asked.questions(PASSAGES[0]) is None
    assert len(server.requests) == 1


def test_requests_beyond_the_budget_are_not_made(store: Store) -> None:
    with serving() as server:
        asked = ask(server, store, limits=Limits(requests=4, tokens=None))
        rest = ask(server, store, limits=Limits(requests=4, tokens=None))
    assert asked.left.stop == "budget"
    assert rest.left.stop is None
    assert asked.budget.requests == 4
    assert len(server.requests) == 6
    assert [asked.questions(passage) is not None for passage in PASSAGES] == [True] * 6


def test_tokens_beyond_the_budget_are_not_asked_for(store: Store) -> None:
    with serving() as server:
        one = ask(server, store, passages=PASSAGES[:1]).budget.tokens
        asked = ask(server, store, limits=Limits(None, 2000), concurrency=4)
    assert asked.left.stop == "budget"
    assert one < asked.budget.tokens <= 2000
    assert len(server.requests) == 1 + asked.budget.requests


def test_a_budget_gives_back_what_a_request_did_not_use() -> None:
    budget = Spending(Limits(requests=None, tokens=100))
    assert budget.reserve(80)
    budget.settle(80, 10)
    assert budget.reserve(80)
    budget.settle(80, 80)
    assert not budget.reserve(20)
    assert budget.tokens == 90


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_requests_are_on_their_way_than_the_suite_says(
    concurrency: int, store: Store
) -> None:
    together = threading.Barrier(concurrency, timeout=60)

    def behave(request: Request) -> Reply:
        together.wait()  # for as many as there may be
        return Reply(extract(request).text, seconds=0.03)

    passages = tuple(f"passage number {number}" for number in range(12))
    with serving(behave) as server:
        ask(server, store, passages=passages, concurrency=concurrency)
    assert server.most_at_once == concurrency


def test_without_a_key_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    spec = spec_of("anthropic", None, key_variable=None)
    (problem,) = setup_problems(spec)
    assert problem == (
        "the environment has no key in ANTHROPIC_API_KEY. Set it; a suite never holds a key."
    )
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    assert list(setup_problems(spec)) == []


def test_without_the_extra_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with (
        pytest.raises(HarnessError) as caught,
        open_client(spec_of("anthropic", None), where="here"),
    ):
        pass
    assert caught.value.exit_code == ExitCode.USAGE
    assert str(caught.value) == (
        "here: the provider needs the package 'anthropic', which is not installed. "
        "Install it: pip install 'embedding-harness[synthetic]'."
    )


def test_the_key_of_a_provider_is_not_sent_to_another_address(
    monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving() as server:
        ask(server, store, passages=PASSAGES[:1], key_variable=None)
    assert KEY not in str(server.requests[0].headers)


def test_a_client_does_not_show_its_key() -> None:
    with open_client(spec_of("openai", "http://127.0.0.1:9"), where="here") as client:
        assert KEY not in repr(client)


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_asking import ask_address
ask_address(sys.argv[2], Path(sys.argv[3]))
"""


def ask_address(address: str, root: Path) -> None:
    """Ask for many passages, one at a time; run in a process that is killed."""
    spec = spec_of("openai", address, key_variable=None)
    answers = Answers(Store(root), "openai", spec.model, spec.answer_tokens, Prompt(3, ""))
    with open_client(spec, where="here") as client:
        ask_all(MANY, answers, client, Spending(NO_LIMITS), concurrency=2, advance=lambda _: None)


MANY = tuple(f"Passage {number} is about number {number}." for number in range(30))


@pytest.fixture
def steady() -> Iterator[LanguageServer]:
    with serving(lambda request: Reply(extract(request).text, seconds=0.05)) as server:
        yield server


def test_what_is_killed_goes_on_without_paying_twice(
    tmp_path: Path, steady: LanguageServer
) -> None:
    here = str(Path(__file__).parent)
    arguments = [here, steady.base_url("openai"), str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-c", KILLED, *arguments], cwd=Path(here).parent)
    while len(steady.requests) < 10:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    stored = {path.name for path in (tmp_path / "answers").glob("*/*")}
    assert len(stored) >= 8  # all but those on their way
    before = len(steady.requests)
    ask_address(steady.base_url("openai"), tmp_path)
    assert len(steady.requests) - before == len(MANY) - len(stored)
    assert len({path.name for path in (tmp_path / "answers").glob("*/*")}) == len(MANY)
