"""Answers of a server that is broken, careless or hostile: none crashes, none is paid for twice."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from language_server import KEY, LanguageServer, Reply, Request, extract, failure, serving
from test_asking import PASSAGES, Asked, ask, spec_of

from harness.errors import HarnessError
from harness.providers import asking, http
from harness.providers.asking import Backoff, Limits, Spending
from harness.store import Store
from harness.synthetic.asking import Answers
from harness.synthetic.prompt import Answer, Prompt, messages_key, read_questions

ONE = PASSAGES[:1]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "BACKOFF", Backoff(first_seconds=0.01, attempts=3))
    monkeypatch.setenv("THE_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def said(text: str = '{"questions": ["What is green?"]}', **more: Any) -> dict[str, Any]:
    """Return an answer in OpenAI's protocol, some of its parts replaced."""
    message = {"role": "assistant", "content": text, **more.pop("message", {})}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "a-model",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18},
        **more,
    }


def said_by_anthropic(text: str = '{"questions": ["What is green?"]}', **more: Any) -> Any:
    return {
        "id": "1",
        "type": "message",
        "role": "assistant",
        "model": "a-model",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 9, "output_tokens": 9},
        **more,
    }


def body(value: Any) -> Reply:
    return Reply(body=json.dumps(value).encode())


def always(server: LanguageServer, store: Store, **more: Any) -> Asked:
    return ask(server, store, passages=ONE, **more)


ODD = {
    "a number": said(message={"content": 5}),
    "a truth value": said(message={"content": True}),
    "a list of numbers": said(message={"content": [1, 2]}),
    "an object": said(message={"content": {"a": 1}}),
    "no message": said(choices=[{"index": 0, "message": None, "finish_reason": "stop"}]),
    "no choice": said(choices=[]),
    "choices of text": said(choices="none"),
    "half a character": said("\ud800 no"),
    "brackets": said("[" * 100_000),
    "objects": said('{"a":' * 100_000),
    "prose": said("Here they are: what is green?"),
    "null": said(message={"content": None}),
    "numbers as text": said("1 2 3"),
    "a list": [1, 2],
    "a text": "hello",
    "nothing": None,
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_answer_stops_nobody_and_a_healthy_server_is_asked_again(
    odd: Any, store: Store
) -> None:
    with serving(lambda _: body(odd)) as server:
        first = always(server, store)
        server.behave = extract
        again = always(server, store)
        before = len(server.requests)
        always(server, store)
    assert first.budget.requests <= 3
    assert again.questions(ONE[0])
    assert len(server.requests) == before  # what could be read is not paid for twice


@pytest.mark.parametrize("refusal", [0, 5, [], ["no"], {"a": 1}, False])
def test_a_refusal_that_is_no_text_does_not_hide_the_answer(refusal: Any, store: Store) -> None:
    with serving(lambda _: body(said(message={"refusal": refusal}))) as server:
        asked = always(server, store)
    assert asked.questions(ONE[0]) == ("What is green?",)
    assert len(server.requests) == 1


def test_an_answer_in_parts_is_read(store: Store) -> None:
    parts = [{"type": "text", "text": '{"questions": '}, {"type": "text", "text": '["What?"]}'}]
    with serving(lambda _: body(said(message={"content": parts}))) as server:
        asked = always(server, store)
    assert asked.questions(ONE[0]) == ("What?",)


def test_half_a_character_takes_its_question_with_it_and_no_other(store: Store) -> None:
    assert read_questions(r'["What is \ud800?", "What is \ud83d\ude00?"]', count=3) == (
        "What is \U0001f600?",
    )
    with serving(lambda _: body(said('{"questions": ["What is \ud800?"]}'))) as server:
        asked = always(server, store)
    assert asked.questions(ONE[0]) == ("What is \ufffd?",)


USAGES = {
    "strings": {"prompt_tokens": "9", "completion_tokens": "x", "total_tokens": ""},
    "nulls": {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None},
    "empty": {},
    "none": None,
    "a list": [1],
    "negative": {"prompt_tokens": -5, "completion_tokens": -5, "total_tokens": -10},
    "huge": {"prompt_tokens": 10**30, "completion_tokens": 1, "total_tokens": 1},
    "zero": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
}


@pytest.mark.parametrize("usage", USAGES.values(), ids=USAGES)
def test_an_answer_with_an_odd_bill_is_kept_and_its_tokens_are_estimated(
    usage: Any, store: Store
) -> None:
    renamed = usage
    if isinstance(usage, dict):
        names = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}
        renamed = {names[key]: usage[key] for key in usage if key in names}
    with serving(lambda _: body(said(usage=usage))) as server:
        asked = always(server, store)
    with serving(lambda _: body(said_by_anthropic(usage=renamed))) as other:
        theirs = always(other, store, provider="anthropic")
    for each in (asked, theirs):
        assert each.questions(ONE[0]) == ("What is green?",)
        (answer,) = each.answers.of(ONE[0])
        assert 50 < answer.input_tokens < 2000
        assert 1 <= answer.output_tokens < 50
        assert each.budget.requests == 1
    assert len(server.requests) == len(other.requests) == 1


@pytest.mark.parametrize("reason", [5, [], {}, ["length"], None])
def test_an_ending_that_is_no_word_costs_nothing(reason: Any, store: Store) -> None:
    with serving(lambda _: body(said_by_anthropic(stop_reason=reason))) as server:
        asked = always(server, store, provider="anthropic")
    assert asked.questions(ONE[0]) == ("What is green?",)
    assert len(server.requests) == 1


def test_requests_are_counted_where_no_tokens_are_billed() -> None:
    budget = Spending(Limits(requests=3, tokens=None))
    allowed = 0
    for _ in range(1000):
        if budget.reserve(10):
            allowed += 1
            budget.settle(10, 0)
    assert allowed == 3


def test_a_request_that_was_turned_away_is_none() -> None:
    budget = Spending(Limits(requests=1, tokens=10))
    assert budget.reserve(10)
    budget.settle(10, None)
    assert budget == Spending(Limits(requests=1, tokens=10))
    assert budget.reserve(10)


def test_a_server_that_bills_nothing_is_bounded_by_the_requests(store: Store) -> None:
    free = said(usage={"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})
    with serving(lambda _: body(free)) as server:
        asked = ask(server, store, limits=Limits(requests=3, tokens=None))
    assert asked.left.stop == "budget"
    assert len(server.requests) == 3


@pytest.mark.parametrize("where", ["headers", "body"])
def test_a_server_that_drips_is_left_at_the_time_limit(where: str, store: Store) -> None:
    def behave(request: Request) -> Reply:
        if request.number > 1:
            return extract(request)
        seconds = 0.1 if where == "headers" else 0.005  # of 150 and of some 5,000 bytes
        return Reply(body=json.dumps(said("x" * 5000)).encode(), drip_seconds=seconds)

    started = time.monotonic()
    with serving(behave) as server:
        asked = always(server, store, timeout_seconds=1.5)
        seconds = time.monotonic() - started
    assert asked.questions(ONE[0])
    assert len(server.requests) == 2
    assert seconds < 15  # the whole answer takes longer


def test_a_server_that_always_drips_is_told_as_late(store: Store) -> None:
    drip = Reply(body=json.dumps(said()).encode(), drip_seconds=0.05)
    with serving(lambda _: drip) as server:
        asked = always(server, store, timeout_seconds=0.3)
    assert asked.left.failed == {0: "no answer within 0.3 s"}


def test_a_body_is_read_up_to_its_bound(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "LONGEST_BODY", 100_000)
    with serving(lambda _: body(said("x" * 10_000_000))) as server:
        asked = always(server, store)
    assert asked.left.failed == {0: "a body of more than 100,000 bytes"}


def test_a_compressed_body_is_not_unpacked(store: Store) -> None:
    import gzip

    packed = gzip.compress(b"x" * 10_000_000)
    with serving(lambda _: Reply(body=packed, headers={"content-encoding": "gzip"})) as server:
        asked = always(server, store)
    assert "compressed" in asked.left.failed[0]


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_redirect_is_not_followed(provider: str, store: Store) -> None:
    with serving() as other:
        place = {"location": other.base_url(provider) + "/elsewhere"}
        away = Reply(status=307, headers=place, body=b"{}")
        with (
            serving(lambda _: away) as server,
            pytest.raises(
                HarnessError, match=r"got HTTP 307.*Set base_url to that address if it is yours"
            ),
        ):
            always(server, store, provider=provider, concurrency=1)
        assert other.requests == []
    assert len(server.requests) == 1


def echoes() -> Iterator[tuple[str, str]]:
    yield "as it is", KEY
    yield "percent-encoded", "".join(f"%{ord(letter):02X}" for letter in KEY)
    yield "quoted", quote(KEY, safe="")
    yield "in two pieces", f"{KEY[:9]} and then {KEY[9:]}"
    yield "with spaces", " ".join(KEY)
    yield "with joiners", "\u200d".join(KEY)
    yield "in escapes", "".join(f"\\u{ord(letter):04x}" for letter in KEY)
    yield "long", "x" * 50 + KEY + "x" * 50
    yield "in HTML", "".join(f"&#{ord(letter)};" for letter in KEY)
    yield "in hexadecimal HTML", "".join(f"&#x{ord(letter):x};" for letter in KEY)
    yield "with dashes", "-".join(KEY)
    yield "in lines", "\u2028".join(KEY)
    yield "full-width", "".join(chr(ord(letter) + 0xFEE0) for letter in KEY)
    yield "in hexadecimal", KEY.encode().hex()
    for lead in ("", "a", "user:"):
        yield f"in Base64 after {lead!r}", b64encode(f"{lead}{KEY}".encode()).decode()


@pytest.mark.parametrize("echo", dict(echoes()).values(), ids=dict(echoes()))
def test_a_key_that_the_server_repeats_is_not_stored(echo: str, store: Store) -> None:
    text = f'{{"questions": ["What is {echo} for?", "What is green?"]}}'
    with serving(lambda _: body(said(text, model=f"model {echo}"))) as server:
        asked = always(server, store)
    found = asked.questions(ONE[0])
    assert found is not None
    assert found[1] == "What is green?"
    (answer,) = asked.answers.of(ONE[0])
    files = [path.read_text("utf-8") for path in store.root.rglob("*") if path.is_file()]
    for each in (*files, *found, answer.text, answer.model):
        assert KEY[:9] not in each.replace(" ", "")
        assert KEY[9:] not in each.replace(" ", "")
        assert echo not in each
    assert "***" in answer.text
    assert "***" in answer.model


@pytest.mark.parametrize("echo", dict(echoes()).values(), ids=dict(echoes()))
def test_a_key_that_the_server_repeats_in_an_error_is_not_shown(echo: str, store: Store) -> None:
    with (
        serving(lambda _: failure(400, f"bad \x1b[31m {echo}")) as server,
        pytest.raises(HarnessError) as caught,
    ):
        always(server, store, concurrency=1)
    told = str(caught.value)
    assert echo not in told
    assert "\x1b" not in told
    assert "***" in told


def test_a_placeholder_for_a_key_takes_no_words_away(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", "green")
    with serving() as server:
        asked = always(server, store)
    (answer,) = asked.answers.of(ONE[0])
    assert "green" in answer.text


@pytest.mark.parametrize(
    "stored",
    [
        {"text": 5},
        {"text": ["a"]},
        {"text": None},
        {"ending": {}},
        {"input_tokens": "9"},
        {"model": None},
        {"more": 1},
    ],
)
def test_what_was_stored_unread_is_asked_again(stored: Any, store: Store) -> None:
    good: dict[str, Any] = {
        "text": "[]",
        "ending": "whole",
        "input_tokens": 1,
        "output_tokens": 1,
        "model": "m",
    }
    spec = spec_of("openai", None)
    answers = Answers(store, "openai", spec.model, spec.answer_tokens, Prompt(3, "things"))
    key = messages_key(answers.prompt.ask(ONE[0]), system=answers.prompt.system)
    store.put(answers._kind, key, arrays={}, meta={"answer": {**good, **stored}})
    assert list(answers.of(ONE[0])) == []
    with serving() as server:
        asked = always(server, store)
    assert asked.questions(ONE[0])
    assert len(server.requests) == 1


def test_half_a_character_that_was_stored_is_read(store: Store) -> None:
    spec = spec_of("openai", None)
    answers = Answers(store, "openai", spec.model, spec.answer_tokens, Prompt(3, "things"))
    half = Answer('\ud800 {"questions": ["What?"]}', "whole", 1, 1, "m")
    answers.put(ONE[0], answers.prompt.ask(ONE[0]), half)
    assert answers.questions(ONE[0]) == ("What?",)


def test_what_is_asked_of_one_server_after_another_is_paid_once(store: Store) -> None:
    """Each of many behaviours spoils some passages; the rest of them is never asked for again."""
    odd = list(ODD.values())
    passages = tuple(f"Subject {number} is green." for number in range(len(odd)))

    def behave(request: Request) -> Reply:
        number = int(request.passage.split()[1])
        return body(odd[number]) if number % 2 else extract(request)

    with serving(behave) as server:
        ask(server, store, passages=passages, limits=Limits(requests=100, tokens=None))
        server.behave = extract
        ask(server, store, passages=passages)
    asked = Counter(int(request.passage.split()[1]) for request in server.requests)
    assert all(asked[number] == 1 for number in range(0, len(odd), 2))
    answers = Answers(store, "openai", "a-model", 1024, Prompt(3, "things"))
    assert all(answers.questions(passage) for passage in passages)


def test_reading_is_bounded_whatever_the_brackets() -> None:
    for opening in ("[", "{", '{"a":', "[[1],", '["', "[1" + "0" * 50, "[" + "9" * 5000):
        started = time.process_time()
        assert read_questions(opening * (100_000 // len(opening)), count=3) is None
        assert time.process_time() - started < 5
