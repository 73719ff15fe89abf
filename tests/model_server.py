"""A local server that speaks the protocols of embedding and reranking providers, for tests.

Its vectors are real: counts of hashed words, so that texts that share words are similar. Run as a
script it serves at a port until it is killed:

    python tests/model_server.py 8124
"""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

KEY = "sk-test-0123456789-abcdefghij"
WIDTH = 32


@dataclass(frozen=True)
class Request:
    """What the server was asked.

    Attributes:
        number: of the request, from 1.
        path: of the protocol.
        headers: in lower case.
        texts: to embed, or the documents to score.
        query: of the documents, or "".
        body: as it was sent.
    """

    number: int
    path: str
    headers: Mapping[str, str]
    texts: tuple[str, ...]
    query: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Reply:
    """What the server answers.

    Attributes:
        answer: a well-formed one, spoiled by `spoil`; None sends `body` as it is.
        spoil: changes the answer before it is written.
        cut: of the bytes, how many are sent of those that are announced; None sends all.
        seconds: until the answer.
        hangs_up: the connection is closed without one.
    """

    status: int = 200
    answer: Any = None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    spoil: Callable[[Any], Any] = lambda answer: answer
    cut: int | None = None
    seconds: float = 0.0
    hangs_up: bool = False


Behave = Callable[[Request, Reply], Reply]


def well(_: Request, reply: Reply) -> Reply:
    """Answer as the protocol says."""
    return reply


def first_times(count: int, change: Callable[[Reply], Reply]) -> Behave:
    """Return a behaviour that spoils the first answers."""
    return lambda request, reply: change(reply) if request.number <= count else reply


def failure(status: int, message: str, **headers: str) -> Reply:
    """Return an error as the providers tell it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps({"error": {"message": message}, "message": message})
    return Reply(status=status, body=body.encode(), headers=named)


def vector(text: str, *, width: int = WIDTH, side: str = "") -> list[float]:
    """Return counts of hashed words, with a small share of the side that was said."""
    numbers = np.zeros(width)
    for word in [*text.lower().split(), text]:
        digest = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest()
        numbers[int.from_bytes(digest, "big") % width] += 1.0
    if side:
        numbers[sum(map(ord, side)) % width] += 0.2
    return [float(each) for each in np.float32(numbers)]


def relevance(query: str, document: str) -> float:
    """Return the share of a query's words that a document has."""
    asked, told = set(query.lower().split()), set(document.lower().split())
    return round(len(asked & told) / max(len(asked), 1), 4)


class ModelServer:
    """The server, with what it was asked.

    Args:
        behave: what it answers; called in the thread of the request.
        port: 0 takes a free one.
        width: of vectors, where the request asks for none.

    Attributes:
        requests: in the order of their arrival.
        answered: (query or input type, text) of whole answers that were sent.
    """

    def __init__(self, behave: Behave = well, *, port: int = 0, width: int = WIDTH) -> None:
        self.behave = behave
        self.width = width
        self.requests: list[Request] = []
        self.answered: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """What a suite takes as `base_url`."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def serve(self) -> None:
        """Serve until `shutdown`."""
        self._server.serve_forever(poll_interval=0.01)

    def shutdown(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def reply(self, path: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> Reply:
        """Note the request and return what is answered."""
        texts, query = _asked(path, body)
        with self._lock:
            number = len(self.requests) + 1
            request = Request(number, path, headers, texts, query, body)
            self.requests.append(request)
        reply = self.behave(request, Reply(answer=_answer(request, self.width)))
        time.sleep(reply.seconds)
        return reply

    def note(self, body: Mapping[str, Any], path: str) -> None:
        """Note that a whole answer was sent: this is what a provider bills."""
        texts, query = _asked(path, body)
        with self._lock:
            self.answered += [(query or _side(body), text) for text in texts]


@contextmanager
def serving(behave: Behave = well, *, width: int = WIDTH) -> Iterator[ModelServer]:
    """Serve in a thread while the block runs."""
    server = ModelServer(behave, width=width)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()


def _asked(path: str, body: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    if path.endswith("/rerank"):
        return tuple(body["documents"]), body["query"]
    if path.endswith(":batchEmbedContents"):
        parts = [each["content"]["parts"] for each in body["requests"]]
        return tuple(part[0]["text"] for part in parts), ""
    return tuple(body["texts"] if "texts" in body else body["input"]), ""


def _side(body: Mapping[str, Any]) -> str:
    """Return the input type that a request tells, or ""."""
    first = body["requests"][0] if "requests" in body else body
    return next((first[each] for each in ("input_type", "task", "taskType") if each in first), "")


def _answer(request: Request, usual: int) -> dict[str, Any]:
    """Return the answer in the protocol of the path; three characters count as a token."""
    body, texts = request.body, request.texts
    tokens = sum(len(text) // 3 + 1 for text in texts)
    if request.query:
        pairs = [
            {"index": row, "relevance_score": relevance(request.query, text)}
            for row, text in enumerate(texts)
        ]
        pairs.sort(key=lambda each: -each["relevance_score"])
        if "truncation" in body:  # Voyage
            return {"object": "list", "data": pairs, "usage": {"total_tokens": tokens}}
        return {"results": pairs, "meta": {}, "usage": {"total_tokens": tokens}}
    first = body["requests"][0] if "requests" in body else body
    names = ("dimensions", "output_dimension", "outputDimensionality")
    width = next((first[name] for name in names if name in first), usual)
    side = _side(body)
    vectors = [vector(text, width=width, side=side) for text in texts]
    if "requests" in body:
        return {"embeddings": [{"values": each} for each in vectors]}
    if "texts" in body:
        billed = {"billed_units": {"input_tokens": tokens}}
        return {"id": "1", "embeddings": {"float": vectors}, "texts": texts, "meta": billed}
    data = [
        {"object": "embedding", "index": row, "embedding": each} for row, each in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": body["model"], "usage": usage}


def _handler(server: ModelServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """One connection."""

        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self) -> None:
            """Say that there is nothing, and keep the connection."""
            self.send_response(404)
            self.send_header("content-length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            """Answer in the protocol of the path."""
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = server.reply(self.path, headers, body)
            if reply.hangs_up:
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True
                return
            content = reply.body
            if reply.answer is not None:
                content = json.dumps(reply.spoil(reply.answer)).encode()
            try:
                self.send_response(reply.status)
                for name, value in {"content-type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                if reply.status == 200 and reply.cut is None:
                    server.note(body, self.path)
                self.wfile.write(content[: reply.cut])
                if reply.cut is not None:
                    self.close_connection = True
            except ConnectionError:
                self.close_connection = True  # who asked has gone

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    return Handler


def slow(seconds: float) -> Behave:
    """Return a behaviour that takes its time."""
    return lambda _, reply: replace(reply, seconds=seconds)


if __name__ == "__main__":
    ModelServer(port=int(sys.argv[1])).serve()
