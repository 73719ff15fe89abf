"""Bounded: an HTTP client whose requests end by a deadline and whose bodies end by a size.

A client's own time-out is the time between two bytes: a server that sends a byte now and then holds
such a request for ever.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

LONGEST_BODY = 4 * 1024 * 1024  # bytes; an answer of 100,000 tokens is a tenth of it


class UnwantedBodyError(ValueError):
    """A body that is too long, or compressed: not read."""


class Deadline:
    """The end of one request: its connection is shut down, whatever it waits for.

    Attributes:
        seconds: from the start of the request.
        is_over: whether it has passed.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.is_over = False
        self._connection: socket.socket | None = None
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the time run while the block does."""
        timer = threading.Timer(self.seconds, self._end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            with self._lock:
                if self._connection is not None:
                    self._connection.close()
                    self._connection = None

    def watch(self, connection: socket.socket) -> None:
        """Shut this connection down at the end; a duplicate, since TLS takes the original over."""
        with self._lock:
            self._connection = connection.dup()
        if self.is_over:
            self._end()

    def _end(self) -> None:
        self.is_over = True
        with self._lock, suppress(OSError):
            if self._connection is not None:
                self._connection.shutdown(socket.SHUT_RDWR)


class BoundedHttp:
    """Hooks that bound the requests of a package's HTTP client, each in its own thread."""

    def __init__(self) -> None:
        self._local = threading.local()

    @contextmanager
    def within(self, seconds: float) -> Iterator[Deadline]:
        """Bound the request of the block, which one thread makes."""
        deadline = Deadline(seconds)
        self._local.deadline = deadline
        try:
            with deadline.running():
                yield deadline
        finally:
            self._local.deadline = None

    def client(self, package: ModuleType) -> Any:
        """Return an HTTP client for a provider's package.

        It follows no redirect, which would take the passages to an address that nobody chose.
        """
        hooks = {"request": [self._before], "response": [self._after]}
        return package.DefaultHttpxClient(follow_redirects=False, event_hooks=hooks)

    def _before(self, request: Any) -> None:
        """Ask for a plain body, and for a connection of its own, which is watched."""
        request.headers["accept-encoding"] = "identity"
        request.headers["connection"] = "close"
        deadline: Deadline | None = getattr(self._local, "deadline", None)

        def trace(name: str, info: Mapping[str, Any]) -> None:
            if name == "connection.connect_tcp.complete" and deadline is not None:
                deadline.watch(info["return_value"].get_extra_info("socket"))

        request.extensions = {**request.extensions, "trace": trace}

    def _after(self, response: Any) -> None:
        """Let the body end at `LONGEST_BODY`."""
        import httpx2

        class Bounded(httpx2.SyncByteStream):
            """The body, up to its bound."""

            def __init__(self, stream: Any) -> None:
                self._stream = stream

            def __iter__(self) -> Iterator[bytes]:
                left = LONGEST_BODY
                for chunk in self._stream:
                    left -= len(chunk)
                    if left < 0:
                        raise UnwantedBodyError(f"a body of more than {LONGEST_BODY:,} bytes")
                    yield chunk

            def close(self) -> None:
                self._stream.close()

        if response.headers.get("content-encoding", "identity") != "identity":
            raise UnwantedBodyError("a compressed body, which was not asked for")
        response.stream = Bounded(response.stream)
