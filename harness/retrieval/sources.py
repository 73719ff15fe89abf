"""Sources: where a search in use is asked, one query at a time.

What is asked: ``{"query": "…", "k": 100}``. What answers: ``{"ids": […], "scores": […]}``; a larger
score is better.
"""

from __future__ import annotations

import json
import os
import queue
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from harness.collection import Collection
from harness.models import in_mteb
from harness.models.own import Code, as_array, failed_at_run, is_of_mteb
from harness.providers.asking import Asking, Limits, Spending, StoppedError
from harness.providers.http import AnswerError, ApiKey, BusyError, Server, open_server
from harness.stage import Keyed, unkeyed

_LONGEST_ANSWER = 16 * 1024 * 1024  # bytes
_SECONDS_TO_END = 5.0  # of a thread that waits for a command that was killed
_QUOTED = 300  # characters of what a command says
_GOES_ON = "Answers so far are stored; rerun the command to resume."


class Returned(NamedTuple):
    """What a retriever returned for one query.

    Attributes:
        ids: of documents.
        scores: of each, larger is better.
        seconds: that it took.
        first: it was the first one of its process or connection, which had to load.
        tokens: 0; nothing is billed.
    """

    ids: list[str]
    scores: list[float]
    seconds: float
    first: bool
    tokens: int = 0


AskOne = Callable[[str, int], Returned]


@dataclass(frozen=True, eq=False)
class RetrieverSource(Keyed, ABC):
    """Where a search in use is asked."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it runs, for people, in the place of a device."""

    @abstractmethod
    def opened(self, label: str, collection: Collection) -> AbstractContextManager[AskOne]:
        """Give what asks it while the block runs.

        Raises:
            HarnessError: exit code 4, it does not answer, or not as it should.
        """

    def corpus_key(self, collection: Collection) -> str:  # noqa: ARG002
        """Return the content key of the documents where it is given them; else ""."""
        return ""

    def refuse_offline(self, label: str) -> None:
        """Raise if it may not be asked."""


@dataclass(frozen=True, eq=False)
class CommandSource(RetrieverSource):
    """A command, started once, that answers a line of JSON with a line of JSON.

    Attributes:
        command: split as a shell splits words; no shell runs it.
        said_version: that the user changes to ask it again.
        timeout_seconds: of one answer, the start of the command included.
        folder: that it runs in.
    """

    command: str
    said_version: str
    timeout_seconds: float = field(metadata=unkeyed("it changes no answer"))
    folder: Path = field(metadata=unkeyed("the command says what is run"))

    @property
    def place(self) -> str:
        """The program."""
        return f"{Path(shlex.split(self.command)[0]).name} (own retriever)"

    @contextmanager
    def opened(self, label: str, collection: Collection) -> Iterator[AskOne]:  # noqa: ARG002
        """Run the command while the block runs."""
        with tempfile.TemporaryFile() as said:
            process = _Process(self, label, said)
            try:
                yield process.ask
            finally:
                process.stop()


@dataclass(frozen=True, eq=False)
class UrlSource(RetrieverSource):
    """A server that answers a POST of JSON with JSON.

    Attributes:
        url: of the server.
        said_version: that the user changes to ask it again.
        key_variable: of the environment, with a bearer token; None for a server that asks for none.
        timeout_seconds: of one answer.
        offline: never ask.
    """

    url: str
    said_version: str
    key_variable: str | None = field(metadata=unkeyed("a key changes no answer"))
    timeout_seconds: float = field(metadata=unkeyed("it changes no answer"))
    offline: bool = field(metadata=unkeyed("what is stored is the same"))

    @property
    def place(self) -> str:
        """The server's address."""
        return f"{urlsplit(self.url).netloc.rpartition('@')[2]} (network)"

    def refuse_offline(self, label: str) -> None:
        """Raise if nobody may be asked.

        Raises:
            HarnessError: exit code 4.
        """
        if self.offline:
            raise failed_at_run(
                f"{label}: no requests are sent offline. Run without --offline (in Python: "
                "offline=False)."
            )

    @contextmanager
    def opened(self, label: str, collection: Collection) -> Iterator[AskOne]:  # noqa: ARG002
        """Open a connection while the block runs; it is patient with the server."""
        key = ApiKey.read(self.key_variable)
        with open_server(
            self.url,
            who=f"{label}: {self.place}",
            key=key,
            headers={"authorization": f"Bearer {key.value}"} if key.value else {},
            timeout_seconds=self.timeout_seconds,
            longest_body=_LONGEST_ANSWER,
            keeps_open=True,
        ) as server:
            server.connect()
            asking = Asking(Spending(Limits(None, None)))

            def ask(query: str, k: int) -> Returned:
                try:
                    return asking.get(partial(_from_server, server, query, k), most=0)
                except (BusyError, StoppedError) as error:
                    reason = asking.left.reason or str(error)
                    raise failed_at_run(
                        f"{label}: {self.place} did not answer, got {reason}. {_GOES_ON}"
                    ) from None

            yield ask


@dataclass(frozen=True, eq=False)
class CodeSource(RetrieverSource):
    """A search of a user's own code: ``index(documents)``, then ``search(query, k)``; or mteb's.

    Attributes:
        code: that makes it.
        device: torch's name of the device.
    """

    code: Code
    device: str = field(metadata=unkeyed("its arguments say where it computes"))

    @property
    def place(self) -> str:
        """The code."""
        return f"{self.code.name} (own retriever)"

    def corpus_key(self, collection: Collection) -> str:
        """Return the content key of the documents, which it indexes."""
        return collection.documents_key

    @contextmanager
    def opened(self, label: str, collection: Collection) -> Iterator[AskOne]:
        """Index the documents and give the search."""
        code = self.code
        with code.running(label):
            made = code.make(self.device)
        search = getattr(made, "search", made)
        index = getattr(made, "index", None)
        if not callable(search):
            raise failed_at_run(
                f"{label}: {code.name} returns no search, got an object of the class "
                f"'{type(made).__name__}' without 'search'. Give it index(documents), where "
                "documents is {id: text}, and search(query, k), which returns (ids, scores)."
            )
        ids, texts = list(collection.document_ids), list(collection.documents)
        with code.running(label):
            if index is not None and is_of_mteb(index):
                in_mteb.index(index, ids, texts)
            elif index is not None:
                index(dict(zip(ids, texts, strict=True)))

        def ask(query: str, k: int) -> Returned:
            started = time.perf_counter()
            with code.running(label):
                if is_of_mteb(search):
                    found, scores = in_mteb.search(search, query, k)
                else:
                    found, scores = search(query, k)
                seconds = time.perf_counter() - started
                body = {"ids": list(found), "scores": as_array(scores).tolist()}
            try:
                return Returned(*_read(body), seconds, first=False)
            except AnswerError as error:
                raise failed_at_run(f"{label}: {code.name}: {error}. Fix it there.") from None

        yield ask


class _SilentError(Exception):
    """A command gives no answer; the message says what it did instead."""


class _Process:
    """A command while it is asked; it is started when it is needed, and again where it ended.

    Args:
        source: the command.
        label: begins messages.
        said: file that holds what it prints on stderr.
    """

    def __init__(self, source: CommandSource, label: str, said: IO[bytes]) -> None:
        self._source = source
        self._label = label
        self._running: subprocess.Popen[bytes] | None = None
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._said = said
        self._is_fresh = True
        self._beside: list[threading.Thread] = []

    def ask(self, query: str, k: int) -> Returned:
        """Return an answer; a command that ends or says nothing is started once more.

        Raises:
            HarnessError: exit code 4, there is none, or it is none.
        """
        try:
            try:
                return self._answer(query, k)
            except _SilentError:
                self.stop()
                return self._answer(query, k)
        except (_SilentError, AnswerError) as error:
            raise failed_at_run(
                f"{self._label}: {self._source.place} did not answer {_quoted(query)}, got "
                f"{error}. {_GOES_ON}"
            ) from None

    def _answer(self, query: str, k: int) -> Returned:
        running = self._running or self._start()
        line = json.dumps({"query": query, "k": k}).encode() + b"\n"
        started = time.perf_counter()
        self._begin(_write, running.stdin, line)
        try:
            found = self._lines.get(timeout=self._source.timeout_seconds)
        except queue.Empty:
            limit = self._source.timeout_seconds
            raise _SilentError(f"nothing within {limit:g} s{self._last_words()}") from None
        seconds, first = time.perf_counter() - started, self._is_fresh
        if not found:
            code = running.wait()
            raise _SilentError(f"its end with exit code {code}{self._last_words()}")
        self._is_fresh = False
        try:
            body = json.loads(found)
        except (ValueError, RecursionError):
            words = _quoted(found.decode("utf-8", "replace").strip())
            raise AnswerError(
                f"{words}, which is not JSON. Print one answer per line, and all else to stderr"
            ) from None
        return Returned(*_read(body), seconds, first)

    def _start(self) -> subprocess.Popen[bytes]:
        source = self._source
        try:
            running = subprocess.Popen(  # noqa: S603  the suite names it, and no shell reads it
                shlex.split(source.command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                cwd=source.folder,
                start_new_session=True,
            )
        except OSError as error:
            raise failed_at_run(
                f"{self._label}: the command cannot be started, got {error.strerror}: "
                f"'{error.filename}'. Check command, which runs in the folder of the suite file."
            ) from None
        self._running, self._is_fresh, self._lines = running, True, queue.Queue()
        self._begin(_pass_on, running.stdout, self._lines)
        return running

    def _begin(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do something in a thread: a command that stands still would hold this one."""
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._beside = [each for each in self._beside if each.is_alive()] + [thread]
        thread.start()

    def stop(self) -> None:
        """End the command and all that it started."""
        if self._running is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._running.pid, signal.SIGKILL)
            self._running.wait()
            for thread in self._beside:
                thread.join(_SECONDS_TO_END)
            for pipe in (self._running.stdin, self._running.stdout):
                with suppress(OSError):  # what it did not read is lost
                    pipe.close()  # type: ignore[union-attr]  # both are pipes
            self._running, self._beside = None, []

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = self._said.read()[-4096:].decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f", and on stderr {_quoted(last)}" if last else ""


def _pass_on(stdout: IO[bytes], lines: queue.Queue[bytes]) -> None:
    """Pass on lines as they come, and b"" at the end."""
    with suppress(ValueError, OSError):
        while line := stdout.readline(_LONGEST_ANSWER):
            lines.put(line)
    lines.put(b"")


def _write(stdin: IO[bytes], line: bytes) -> None:
    with suppress(ValueError, OSError):  # it has ended, which is told by its silence
        stdin.write(line)
        stdin.flush()


def _from_server(server: Server, query: str, k: int) -> Returned:
    started = time.perf_counter()
    ids, scores = server.post("", {"query": query, "k": k}, _read)
    return Returned(ids, scores, time.perf_counter() - started, first=False)


def _read(body: Any) -> tuple[list[str], list[float]]:
    """Return the ids and scores of an answer.

    Raises:
        AnswerError: it is none.
    """
    if not isinstance(body, dict) or not {"ids", "scores"} <= body.keys():
        raise AnswerError('an answer without "ids" and "scores"')
    ids, scores = body["ids"], body["scores"]
    if not isinstance(ids, list) or not isinstance(scores, list) or len(ids) != len(scores):
        raise AnswerError('"ids" and "scores" that are not two lists of one length')
    names = [str(each) if type(each) is int else each for each in ids]
    if not all(isinstance(each, str) for each in names):
        raise AnswerError("an id that is not a string")
    numbers = [float(each) for each in scores if type(each) in {int, float}]
    if len(numbers) < len(scores) or not np.isfinite(np.array(numbers, dtype=np.float32)).all():
        raise AnswerError("a score that is NaN, infinite or not a number")
    twice = next((each for each in names if names.count(each) > 1), None)
    if twice is not None:
        raise AnswerError(f"the document {_quoted(twice)} twice")
    return names, numbers


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _QUOTED else f"{text[:_QUOTED]}…")
