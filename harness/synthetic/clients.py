"""Client: Anthropic's and OpenAI's own packages behind one verb, and what their errors mean.

The key is read from the environment and given to the package alone: it is in no content key, no
file and no message. A request ends by a deadline and its body by a size: a package's own time-out
is the time between two bytes, and a server that sends one now and then holds it for ever.
"""

from __future__ import annotations

import base64
import email.utils
import importlib
import importlib.util
import os
import re
import socket
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from harness.errors import ExitCode, HarnessError
from harness.suite.training import GenerateSpec
from harness.synthetic.prompt import SYSTEM, Answer, Ending, Messages, readable

KEY_VARIABLES = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}
LONGEST_BODY = 4 * 1024 * 1024  # bytes; an answer of 100,000 tokens is a tenth of it

_LONGEST_QUOTE = 300  # characters of a server's message
_LONGEST_NAME = 200  # characters of a model's name
_MOST_TOKENS = 10**9  # of one answer; a server that bills more is mistaken
_SECRET = 8  # characters of a key that are worth hiding; keys such as "EMPTY" are none
_MASK = "***"
_LETTER = re.compile(
    r"(?:%|\\x)([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|&#x([0-9a-fA-F]{1,5});|&#([0-9]{1,6});|"
    r"[^\s\u200b-\u200d\u2060\ufeff]"
)
_ASK_AGAIN = {408, 409, 425, 429}  # and everything from 500
_ENDINGS: dict[str, Ending] = {
    "max_tokens": "cut",
    "length": "cut",
    "refusal": "refused",
    "content_filter": "refused",
}


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


class _UnwantedBodyError(ValueError):
    """A body that is too long, or compressed: not read."""


class _Deadline:
    """The end of one request: its connection is shut down, whatever it waits for."""

    def __init__(self) -> None:
        self.is_over = False
        self._connection: socket.socket | None = None
        self._lock = threading.Lock()

    def watch(self, connection: socket.socket) -> None:
        """Shut this connection down at the end; a duplicate, since TLS takes the original over."""
        with self._lock:
            self._connection = connection.dup()
        if self.is_over:
            self.end()

    def end(self) -> None:
        self.is_over = True
        with self._lock, suppress(OSError):
            if self._connection is not None:
                self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


class _BoundedHttp:
    """Hooks that bound the requests of a package's HTTP client, each in its own thread."""

    def __init__(self) -> None:
        self._local = threading.local()

    @contextmanager
    def within(self, seconds: float) -> Iterator[_Deadline]:
        """Bound the request of the block, which one thread makes, from its start."""
        self._local.deadline = deadline = _Deadline()
        timer = threading.Timer(seconds, deadline.end)
        timer.daemon = True
        timer.start()
        try:
            yield deadline
        finally:
            self._local.deadline = None
            timer.cancel()
            deadline.close()

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
        deadline: _Deadline | None = getattr(self._local, "deadline", None)

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
                        raise _UnwantedBodyError(f"a body of more than {LONGEST_BODY:,} bytes")
                    yield chunk

            def close(self) -> None:
                self._stream.close()

        if response.headers.get("content-encoding", "identity") != "identity":
            raise _UnwantedBodyError("a compressed body, which was not asked for")
        response.stream = Bounded(response.stream)


def setup_problems(spec: GenerateSpec) -> Iterator[str]:
    """Yield what is missing before anything can be asked: the package, the key."""
    if importlib.util.find_spec(spec.provider) is None:
        yield (
            f"the provider needs the package '{spec.provider}', which is not installed. "
            "Install it: pip install 'embedding-harness[synthetic]'."
        )
    variable = _key_variable(spec)
    if variable is not None and not os.environ.get(variable):
        yield f"the environment holds no key in {variable}. Set it; a suite never holds a key."


def _key_variable(spec: GenerateSpec) -> str | None:
    """Return the variable that holds the key; None for a server of one's own without a key.

    So the key of a provider is sent to another address only where the suite says so.
    """
    if spec.key_variable is not None or spec.base_url is not None:
        return spec.key_variable
    return KEY_VARIABLES[spec.provider]


@dataclass(frozen=True)
class Client:
    """What answers conversations, from several threads at once; `open_client` makes it.

    Attributes:
        spec: provider, model and address.
        where: begins its messages.
        package: of the provider.
        key: never shown.
        connection: the package's own client.
        http: bounds its requests.
    """

    spec: GenerateSpec
    where: str
    package: ModuleType = field(repr=False)
    key: str = field(repr=False)
    connection: Any = field(repr=False)
    http: _BoundedHttp = field(repr=False)

    def ask(self, messages: Messages) -> Answer:
        """Return the answer to a conversation, without the key should the server repeat it.

        Where the server bills no tokens, or what is no number, they are estimated.

        Raises:
            BusyError: there is none this time.
            HarnessError: exit code 4, asking again would not help.
        """
        turns = [{"role": role, "content": text} for role, text in messages]
        is_anthropic = self.spec.provider == "anthropic"
        with self._told_errors():
            found, text, ending = (self._anthropic if is_anthropic else self._openai)(turns)
            usage = getattr(found, "usage", None)
            kinds = ("input", "output") if is_anthropic else ("prompt", "completion")
            billed: list[Any] = [getattr(usage, f"{kind}_tokens", None) for kind in kinds]
            read, written = billed
            if not (_is_count(read) and _is_count(written) and read):
                read, written = conversation_tokens(messages), token_estimate(text)
            named = getattr(found, "model", None)
            named = named if isinstance(named, str) and named else self.spec.model
            return Answer(
                text=self._without_key(readable(text)),
                ending=ending,
                input_tokens=read,
                output_tokens=written,
                model=self._without_key(readable(named))[:_LONGEST_NAME],
            )

    def _anthropic(self, turns: list[dict[str, str]]) -> tuple[Any, str, Ending]:
        found = self.connection.messages.create(
            model=self.spec.model,
            max_tokens=self.spec.answer_tokens,
            system=SYSTEM,
            messages=turns,
        )
        text = "".join(block.text for block in found.content if block.type == "text")
        return found, text, _ending(found.stop_reason)

    def _openai(self, turns: list[dict[str, str]]) -> tuple[Any, str, Ending]:
        # OpenAI's newer models know only the new word, and many other servers only the old one.
        limit = "max_tokens" if self.spec.base_url else "max_completion_tokens"
        found = self.connection.chat.completions.create(
            model=self.spec.model,
            messages=[{"role": "system", "content": SYSTEM}, *turns],
            **{limit: self.spec.answer_tokens},
        )
        choice = found.choices[0]
        refusal = getattr(choice.message, "refusal", None)
        if isinstance(refusal, str) and refusal:
            return found, refusal, "refused"
        content = choice.message.content
        if not isinstance(content, str | None):  # some servers give it in parts
            parts = [part["text"] for part in content]
            if not parts or not all(isinstance(part, str) for part in parts):
                raise ValueError("a message whose content is no text")
            content = "".join(parts)
        return found, content or "", _ending(choice.finish_reason)

    @contextmanager
    def _told_errors(self) -> Iterator[None]:
        """Turn the package's errors into ours; none keeps the request, which holds the key."""
        late = f"no answer within {self.spec.timeout_seconds:g} s"
        with self.http.within(self.spec.timeout_seconds) as deadline:
            try:
                yield
            except self.package.APITimeoutError:
                raise BusyError(late, maybe_billed=True) from None
            except self.package.APIConnectionError as error:
                reason = self._quoted(f"no connection, {error.__cause__ or error}")
                raise BusyError(late if deadline.is_over else reason, maybe_billed=True) from None
            except self.package.APIStatusError as error:
                raise self._from_status(error) from None
            except _UnwantedBodyError as error:
                raise BusyError(str(error), maybe_billed=True) from None
            except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
                # The packages pass on what is no JSON, or is no answer of this protocol; a body
                # without a length just ends where the connection is shut down.
                reason = late if deadline.is_over else "an answer that is not of its protocol"
                raise BusyError(reason, maybe_billed=True) from None

    def _from_status(self, error: Any) -> Exception:
        status: int = error.status_code
        body = error.body  # in either protocol
        inner = body.get("error", body) if isinstance(body, dict) else body
        message = inner.get("message") if isinstance(inner, dict) else inner
        if not isinstance(message, str) or not message:
            message = error.response.reason_phrase or "no message"
        told = self._quoted(f"HTTP {status}, {message}")
        said = error.response.text
        if (status in _ASK_AGAIN or status >= 500) and "insufficient_quota" not in said:
            return BusyError(told, wait=_seconds_to_wait(error.response.headers))
        variable = _key_variable(self.spec)
        if 300 <= status < 400:
            fix = "It sends requests to another address. Set base_url to it if it is yours."
        elif status not in {401, 403}:
            fix = "Check model and base_url."
        elif variable is None:
            fix = "Name the variable of the environment that holds its key with key_variable."
        else:
            fix = f"Set {variable} to a valid key."
        return HarnessError(
            f"{self.where}: {self.spec.provider} refuses the request, got {told}. {fix}",
            exit_code=ExitCode.STAGE,
        )

    def _quoted(self, text: str) -> str:
        """Return a server's words, short, on one line, and without the key should it repeat it."""
        plain = self._without_key(readable(text))
        words = " ".join((plain.replace(self.key, _MASK) if self.key else plain).split())
        shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in words)
        return shown[:_LONGEST_QUOTE].rstrip(". ")

    def _without_key(self, text: str) -> str:
        """Return a text in which no piece of `_SECRET` characters of the key can be read.

        A server may repeat it as it is, percent-encoded, in the escapes of JSON or HTML, in
        hexadecimal or Base64, or with spaces, dashes or line ends in between.
        """
        if len(self.key) < _SECRET:
            return text
        body = self.key.encode("utf-8", "surrogateescape")
        # Base64 reads three bytes at a time: words before the key move it.
        coded = [base64.b64encode(bytes(lead) + body)[4:-4].decode() for lead in range(3)]
        spellings = [self.key, body.hex(), body.hex().upper(), *coded]
        text = _masked(text, spellings, len)
        plain = ["".join(filter(str.isalnum, each)) for each in spellings]
        return _masked(text, plain, str.isalnum)


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


def _ending(reason: Any) -> Ending:
    return _ENDINGS.get(reason, "whole") if isinstance(reason, str) else "whole"


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MOST_TOKENS


@contextmanager
def open_client(spec: GenerateSpec, *, where: str) -> Iterator[Client]:
    """Give the client of a provider while the block runs.

    Raises:
        HarnessError: exit code 2, the package or the key is missing.
    """
    problems = [f"{where}: {problem}" for problem in setup_problems(spec)]
    if problems:
        raise HarnessError(problems, exit_code=ExitCode.USAGE)
    package = importlib.import_module(spec.provider)
    variable = _key_variable(spec)
    key = os.environ[variable] if variable else ""
    http = _BoundedHttp()
    make = package.Anthropic if spec.provider == "anthropic" else package.OpenAI
    with make(
        api_key=key or "no key",
        base_url=spec.base_url,
        timeout=spec.timeout_seconds,
        max_retries=0,  # ours count for the budget, and one server's wish to wait holds for all
        http_client=http.client(package),
    ) as connection:
        yield Client(spec, where, package, key, connection, http)


def token_estimate(text: str) -> int:
    """Return about how many tokens a text has, rather too many: three bytes make one.

    >>> token_estimate("twelve bytes")
    4
    """
    return -(-len(text.encode("utf-8", "surrogatepass")) // 3)


def conversation_tokens(messages: Messages) -> int:
    """Return about how many tokens a conversation has, the system's part included."""
    return token_estimate(SYSTEM + "".join(message.text for message in messages))


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
