"""HTTP: requests that end by a deadline, servers' errors, and keys that no message holds.

A request ends by a deadline and its body by a size: a client's own time-out is the time between two
bytes, and a server that sends one now and then holds it for ever.
"""

from __future__ import annotations

import base64
import email.utils
import os
import re
import socket
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np

from harness.errors import ExitCode, HarnessError

T = TypeVar("T")

LONGEST_BODY = 4 * 1024 * 1024  # bytes; an answer of 100,000 tokens is a tenth of it

_LONGEST_QUOTE = 300  # characters of a server's message
_SECRET = 8  # characters of a key that are worth hiding; keys such as "EMPTY" are none
_MASK = "***"
_LETTER = re.compile(
    r"(?:%|\\x)([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|&#x([0-9a-fA-F]{1,5});|&#([0-9]{1,6});|"
    r"[^\s\u200b-\u200d\u2060\ufeff]"
)
_REFUSED = {400, 413, 422}
_ASK_AGAIN = {408, 409, 425, 429}  # and everything from 500


class BusyError(Exception):
    """No answer this time: too many requests, a server's error, a time-out. Ask again later.

    Attributes:
        wait: seconds that the server asks for, or None.
        maybe_billed: the request may have been worked on all the same.
    """

    def __init__(
        self, reason: str, *, wait: float | None = None, maybe_billed: bool = False
    ) -> None:
        super().__init__(reason)
        self.wait = wait
        self.maybe_billed = maybe_billed


class RefusedError(HarnessError):
    """The server refuses what is asked, such as a text that is too long; asking again is no use."""


class AnswerError(ValueError):
    """An answer with the wrong content, such as too few vectors; the message says so."""


class UnwantedBodyError(ValueError):
    """A body that is too long, or compressed: not read."""


class Deadline:
    """The end of one request: its connection is shut down, whatever it waits for."""

    def __init__(self) -> None:
        self.is_over = False
        self._connection: socket.socket | None = None
        self._lock = threading.Lock()

    def watch(self, connection: socket.socket) -> None:
        """Shut this connection down at the end; a duplicate, since TLS takes the original over."""
        self.close()
        with self._lock:
            self._connection = connection.dup()
        if self.is_over:
            self.end()

    def end(self) -> None:
        """Shut the connection down."""
        self.is_over = True
        with self._lock, suppress(OSError):
            if self._connection is not None:
                self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Release the connection, which stays open."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


class BoundedHttp:
    """Hooks that bound the requests of an HTTP client, each in its own thread.

    Args:
        longest_body: in bytes; None takes `LONGEST_BODY`.
        keeps_open: ask over one connection, as a client in production does; for one thread alone.
    """

    def __init__(self, *, longest_body: int | None = None, keeps_open: bool = False) -> None:
        self._local = threading.local()
        self._longest = longest_body
        self._keeps_open = keeps_open
        self._kept: socket.socket | None = None

    @contextmanager
    def within(self, seconds: float) -> Iterator[Deadline]:
        """Bound the request of the block, which one thread makes, from its start."""
        self._local.deadline = deadline = Deadline()
        if self._kept is not None:
            deadline.watch(self._kept)
        timer = threading.Timer(seconds, deadline.end)
        timer.daemon = True
        timer.start()
        try:
            yield deadline
        finally:
            self._local.deadline = None
            timer.cancel()
            deadline.close()

    def client(self, make: Callable[..., Any]) -> Any:
        """Return an HTTP client.

        It follows no redirect, which would take the texts to an address that nobody chose.

        Args:
            make: of httpx, or of a package whose own client is one.
        """
        hooks = {"request": [self._before], "response": [self._after]}
        return make(follow_redirects=False, event_hooks=hooks)

    def close(self) -> None:
        """Let go of the connection that is kept open."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _before(self, request: Any) -> None:
        """Ask for a plain body, and for a connection of its own, which is watched."""
        request.headers["accept-encoding"] = "identity"
        if not self._keeps_open:
            request.headers["connection"] = "close"
        deadline: Deadline | None = getattr(self._local, "deadline", None)

        def trace(name: str, info: Mapping[str, Any]) -> None:
            if name == "connection.connect_tcp.complete" and deadline is not None:
                connection = info["return_value"].get_extra_info("socket")
                deadline.watch(connection)
                if self._keeps_open:
                    self.close()
                    self._kept = connection.dup()

        request.extensions = {**request.extensions, "trace": trace}

    def _after(self, response: Any) -> None:
        """Let the body end at its bound."""
        import httpx2

        longest = LONGEST_BODY if self._longest is None else self._longest

        class Bounded(httpx2.SyncByteStream):
            """The body, up to its bound."""

            def __init__(self, stream: Any) -> None:
                self._stream = stream

            def __iter__(self) -> Iterator[bytes]:
                left = longest
                for chunk in self._stream:
                    left -= len(chunk)
                    if left < 0:
                        raise UnwantedBodyError(f"a body of more than {longest:,} bytes")
                    yield chunk

            def close(self) -> None:
                self._stream.close()

        if response.headers.get("content-encoding", "identity") != "identity":
            raise UnwantedBodyError("a compressed body, which was not asked for")
        response.stream = Bounded(response.stream)


@dataclass(frozen=True)
class ApiKey:
    """A key that the environment holds, and what servers say without it.

    Attributes:
        variable: of the environment; None for a server that asks for none.
        value: never shown; "" where there is none.
    """

    variable: str | None
    value: str = field(repr=False)

    @classmethod
    def read(cls, variable: str | None) -> ApiKey:
        """Return the key in a variable of the environment."""
        return cls(variable, os.environ.get(variable, "") if variable is not None else "")

    def problems(self) -> Iterator[str]:
        """Yield why no request can be made with it."""
        if self.variable is None:
            return
        if not self.value:
            told = "Set it; a suite never holds a key."
            yield f"the environment has no key in {self.variable}. {told}"
        elif not (self.value.isascii() and self.value.isprintable()):
            yield f"the key in {self.variable} has characters no header allows. Set it on one line."

    def quoted(self, text: str) -> str:
        """Return a server's words, short, on one line, and without the key should it repeat it."""
        plain = self.hidden_in(readable(text))
        words = " ".join((plain.replace(self.value, _MASK) if self.value else plain).split())
        shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in words)
        return shown[:_LONGEST_QUOTE].rstrip(". ")

    def hidden_in(self, text: str) -> str:
        """Return a text in which no piece of `_SECRET` characters of the key can be read.

        A server may repeat it as it is, percent-encoded, in the escapes of JSON or HTML, in
        hexadecimal or Base64, or with spaces, dashes or line ends in between.
        """
        if len(self.value) < _SECRET:
            return text
        body = self.value.encode("utf-8", "surrogateescape")
        # Base64 reads three bytes at a time: words before the key move it.
        coded = [base64.b64encode(bytes(lead) + body)[4:-4].decode() for lead in range(3)]
        spellings = [self.value, body.hex(), body.hex().upper(), *coded]
        text = _masked(text, spellings, len)
        plain = ["".join(filter(str.isalnum, each)) for each in spellings]
        return _masked(text, plain, str.isalnum)


def refused(
    response: Any, body: Any, *, who: str, key: ApiKey, settings: str
) -> BusyError | HarnessError:
    """Return the error of a response that is no answer: try again, or mend what is asked.

    Args:
        response: with a status other than 200.
        body: of it, as read.
        who: refuses, to begin a message with, such as "encode documents: openai".
        key: that the request was made with.
        settings: to look at, such as "model and base_url".
    """
    status: int = response.status_code
    inner = body.get("error", body) if isinstance(body, dict) else body
    message = inner
    if isinstance(inner, dict):
        message = next((inner[name] for name in ("message", "detail") if inner.get(name)), None)
    if not isinstance(message, str) or not message:
        message = response.reason_phrase or "no message"
    told = key.quoted(f"HTTP {status}, {message}")
    if (status in _ASK_AGAIN or status >= 500) and "insufficient_quota" not in response.text:
        return BusyError(told, wait=_seconds_to_wait(response.headers))
    if 300 <= status < 400:
        fix = "It redirects to another address. Set base_url to that address if it is yours."
    elif status not in {401, 403}:
        fix = f"Check {settings}."
    elif key.variable is None:
        fix = "Name the variable of the environment that holds its key with key_variable."
    else:
        fix = f"Set {key.variable} to a valid key."
    kind = RefusedError if status in _REFUSED else HarnessError
    return kind(f"{who} refuses the request, got {told}. {fix}", exit_code=ExitCode.STAGE)


@dataclass(frozen=True)
class Server:
    """A server that answers JSON with JSON, from several threads at once; `open_server` gives it.

    Attributes:
        url: before the path of a request.
        who: begins its messages.
        key: that is sent.
        timeout_seconds: of one request.
        connection: an HTTP client that sends the key.
        http: bounds its requests.
    """

    url: str
    who: str
    key: ApiKey
    timeout_seconds: float
    connection: Any = field(repr=False)
    http: BoundedHttp = field(repr=False)

    def connect(self) -> None:
        """Open the connection that is kept, so that no timed request waits for it."""
        import httpx2

        with self.http.within(self.timeout_seconds), suppress(httpx2.HTTPError, ValueError):
            self.connection.get(self.url)

    def post(self, path: str, body: Mapping[str, Any], read: Callable[[Any], T]) -> T:
        """Return what is read of the answer to a request.

        Args:
            path: below the URL.
            body: of the request.
            read: raises ValueError, TypeError, LookupError or AttributeError where the answer is
                not of its protocol.

        Raises:
            BusyError: there is none this time.
            HarnessError: exit code 4, asking again would not help.
        """
        import httpx2

        late = f"no answer within {self.timeout_seconds:g} s"
        with self.http.within(self.timeout_seconds) as deadline:
            try:
                response = self.connection.post(f"{self.url}{path}", json=body)
                if response.status_code != 200:
                    raise refused(
                        response,
                        _json_or_text(response),
                        who=self.who,
                        key=self.key,
                        settings="model, base_url and the other settings",
                    ) from None
                return read(response.json())
            except httpx2.TimeoutException:
                raise BusyError(late, maybe_billed=True) from None
            except httpx2.TransportError as error:
                reason = self.key.quoted(f"no connection, {error or type(error).__name__}")
                raise BusyError(late if deadline.is_over else reason, maybe_billed=True) from None
            except UnwantedBodyError as error:
                raise BusyError(str(error), maybe_billed=True) from None
            except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
                told = self.key.quoted(str(error)) if isinstance(error, AnswerError) else ""
                reason = f"an answer that is not of its protocol{told and f' ({told})'}"
                raise BusyError(late if deadline.is_over else reason, maybe_billed=True) from None


@contextmanager
def open_server(
    url: str,
    *,
    who: str,
    key: ApiKey,
    headers: Mapping[str, str],
    timeout_seconds: float,
    longest_body: int,
    keeps_open: bool = False,
) -> Iterator[Server]:
    """Give a server while the block runs.

    Args:
        url: before the path of a request.
        who: begins messages.
        key: of the environment.
        headers: of every request, with the key.
        timeout_seconds: of one request.
        longest_body: of an answer, in bytes.
        keeps_open: as of `BoundedHttp`.

    Raises:
        HarnessError: exit code 2, the environment holds no key.
    """
    import httpx2

    problems = [f"{who}: {problem}" for problem in key.problems()]
    if problems:
        raise HarnessError(problems, exit_code=ExitCode.USAGE)
    http = BoundedHttp(longest_body=longest_body, keeps_open=keeps_open)
    make = partial(httpx2.Client, headers=headers, timeout=timeout_seconds)
    with http.client(make) as connection:
        try:
            yield Server(url.rstrip("/"), who, key, timeout_seconds, connection, http)
        finally:
            http.close()


def _json_or_text(response: Any) -> Any:
    try:
        return response.json()
    except ValueError:
        return response.text[:_LONGEST_QUOTE]


def readable(text: str) -> str:
    r"""Return a text that can be written: halves of characters, which JSON can spell, replaced.

    >>> readable("a \ud83d\ude00 \ud800") == "a \U0001f600 \ufffd"
    True
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def token_estimate(text: str) -> int:
    """Return about how many tokens a text has, rather too many: three bytes make one.

    >>> token_estimate("twelve bytes")
    4
    """
    return -(-len(text.encode("utf-8", "surrogatepass")) // 3)


def _masked(text: str, secrets: list[str], keep: Callable[[str], object]) -> str:
    """Return a text without the pieces of secrets, read by the characters that are kept."""
    pieces = {
        secret[start : start + _SECRET]
        for secret in secrets
        for start in range(len(secret) - _SECRET + 1)
    }
    if not pieces:
        return text
    spelled = [each for each in _LETTER.finditer(text) if keep(_letter(each))]
    plain = "".join(map(_letter, spelled))
    hidden = np.zeros(len(spelled) + 1, dtype=np.int8)
    for start in range(len(plain) - _SECRET + 1):
        if plain[start : start + _SECRET] in pieces:
            hidden[start : start + _SECRET] = 1
    edges = np.flatnonzero(np.diff(hidden, prepend=0)).tolist()
    for first, end in reversed(list(zip(edges[::2], edges[1::2], strict=True))):
        text = text[: spelled[first].start()] + _MASK + text[spelled[end - 1].end() :]
    return text


def _letter(spelled: re.Match[str]) -> str:
    """Return the character that was spelled, in its usual width."""
    code = spelled[1] or spelled[2] or spelled[3]
    letter = chr(int(code, 16)) if code else chr(int(spelled[4])) if spelled[4] else spelled[0]
    usual = unicodedata.normalize("NFKC", letter)
    return usual if len(usual) == 1 else letter


def _seconds_to_wait(headers: Any) -> float | None:
    """Return the seconds of a Retry-After header, given in seconds or as a date."""
    told = headers.get("retry-after", "")
    try:
        return max(0.0, float(told))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(told).timestamp() - time.time())
    except ValueError:
        return None
