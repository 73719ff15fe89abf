"""A local server that speaks Anthropic's and OpenAI's protocols, for tests and for a try by hand.

It is no language model: its questions are made from a passage's own words by fixed patterns. Run
as a script it serves at a port until it is killed:

    python tests/language_server.py 8123
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-test-0123456789"
_COMMON = re.compile(
    r"about|above|after|also|among|because|been|before|being|between|both|cannot|could|does|each|"
    r"from|have|having|here|into|more|most|much|only|other|over|same|should|such|than|that|their|"
    r"them|then|there|these|they|this|those|through|under|until|were|what|when|where|which|while|"
    r"will|with|would|your"
)


@dataclass(frozen=True)
class Request:
    """What the server was asked.

    Attributes:
        number: of the request, from 1.
        path: of the protocol.
        headers: in lower case.
        passage: in the first turn.
        turns: of the conversation, without the system's part.
    """

    number: int
    path: str
    headers: Mapping[str, str]
    passage: str
    turns: list[dict[str, str]]
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Reply:
    """What the server answers.

    Attributes:
        text: of the model; None answers with `body` alone.
        cut: the model stopped at its limit of tokens.
        refused: the model declines.
        seconds: until the answer.
        drip_seconds: between two bytes of the answer, its headers included; 0 sends it at once.
    """

    text: str | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: bool = False
    refused: bool = False
    seconds: float = 0.0
    drip_seconds: float = 0.0


Behave = Callable[[Request], Reply]


def failure(status: int, message: str, **headers: str) -> Reply:
    """Return an error as both protocols tell it."""
    body = json.dumps({"type": "error", "error": {"type": "error", "message": message}})
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=status, body=body.encode(), headers=named)


def questions(*texts: str) -> Reply:
    """Return a well-formed answer."""
    return Reply(json.dumps({"questions": texts}))


def grade(request: Request) -> Reply:
    """Answer with a grade: how many words of the query the document has, 3 at most."""
    query, document = (
        set(_content(re.search(rf"<{tag}>\n(.*?)\n</{tag}>", text, re.DOTALL)[1]))  # type: ignore[index]
        for text in [request.turns[0]["content"]]
        for tag in ("query", "document")
    )
    return Reply(json.dumps({"grade": min(3, len(query & document))}))


def extract(request: Request) -> Reply:
    """Answer with as many questions as asked for, made from the passage's own words."""
    shape = re.search(r'\{"questions": \[(.*?)\]\}', request.turns[0]["content"])
    count = shape[1].count("…") if shape else 3
    return questions(*extracted(request.passage, count))


def extracted(passage: str, count: int) -> list[str]:
    """Return questions of one pattern each about words of a passage, the rare and long ones."""
    sentences = [part for part in re.split(r"(?<=[.!?])\s+", passage) if part.strip()]
    often = Counter(_content(passage))
    made = []
    for number, sentence in enumerate(sentences or [passage]):
        words = list(dict.fromkeys(_content(sentence)))
        words.sort(key=lambda word: (-often[word], -len(word)))
        if not words:
            continue
        first, second, *_ = [*words, *words]
        patterns = (
            " ".join(words[:4]),
            f"what is known about {first} and {second}",
            f"how does {first} change {second}",
        )
        made.append(patterns[number % len(patterns)])
    return made[:count]


def _content(text: str) -> list[str]:
    words = re.findall(r"[^\W\d_][\w-]*", text.lower())
    return [word for word in words if len(word) > 3 and not _COMMON.fullmatch(word)]


class LanguageServer:
    """The server, with what it was asked.

    Args:
        behave: what it answers; called in the thread of the request.
        port: 0 takes a free one.

    Attributes:
        requests: in the order of their arrival.
        most_at_once: requests that were worked on at the same time.
    """

    def __init__(self, behave: Behave = extract, *, port: int = 0) -> None:
        self.behave = behave
        self.requests: list[Request] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True

    @property
    def address(self) -> str:
        """What Anthropic's client takes as base URL."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def base_url(self, provider: str) -> str:
        """Return the base URL for a provider's client."""
        return self.address + ("/v1" if provider == "openai" else "")

    def serve(self) -> None:
        """Serve until `shutdown`."""
        self._server.serve_forever(poll_interval=0.01)

    def shutdown(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> Reply:
        """Note the request and return what is answered."""
        turns = [turn for turn in body["messages"] if turn["role"] != "system"]
        found = re.search(r"<passage>\n(.*?)\n</passage>", turns[0]["content"], re.DOTALL)
        with self._lock:
            number = len(self.requests) + 1
            request = Request(number, path, headers, found[1] if found else "", turns, body)
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        reply = self.behave(request)
        time.sleep(reply.seconds)
        with self._lock:
            self._at_once -= 1
        return reply


@contextmanager
def serving(behave: Behave = extract) -> Iterator[LanguageServer]:
    """Serve in a thread while the block runs."""
    server = LanguageServer(behave)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()


def _handler(server: LanguageServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """One connection."""

        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            """Answer in the protocol of the path."""
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = server.answer(self.path, headers, body)
            content = reply.body if reply.text is None else _encoded(self.path, body, reply)
            if reply.drip_seconds:
                self.wfile = _Dripping(self.wfile, reply.drip_seconds)
            try:
                self.send_response(reply.status)
                for name, value in {"content-type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except ConnectionError:
                self.close_connection = True  # who asked has gone

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    return Handler


class _Dripping:
    """A file that lets a byte through now and then."""

    def __init__(self, file: Any, seconds: float) -> None:
        self._file = file
        self._seconds = seconds

    def write(self, content: bytes) -> int:
        """Write byte after byte."""
        for place in range(len(content)):
            self._file.write(content[place : place + 1])
            time.sleep(self._seconds)
        return len(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _encoded(path: str, body: Mapping[str, Any], reply: Reply) -> bytes:
    """Return a model's answer in the protocol of a path; four characters count as a token."""
    used = (len(json.dumps(body["messages"])) // 4, len(reply.text or "") // 4 + 1)
    if path == "/v1/messages":
        reason = "refusal" if reply.refused else "max_tokens" if reply.cut else "end_turn"
        told: dict[str, Any] = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": [{"type": "text", "text": reply.text}],
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": {"input_tokens": used[0], "output_tokens": used[1]},
        }
    elif path == "/v1/chat/completions":
        reason = "content_filter" if reply.refused else "length" if reply.cut else "stop"
        message = {"role": "assistant", "content": reply.text}
        told = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": {
                "prompt_tokens": used[0],
                "completion_tokens": used[1],
                "total_tokens": sum(used),
            },
        }
    else:
        raise ValueError(path)
    return json.dumps(told).encode()


if __name__ == "__main__":
    LanguageServer(port=int(sys.argv[1])).serve()
