"""Asking: many conversations at once, patient with the server, within a budget, paid for once."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Literal

from harness.synthetic.answers import Answer, Answers
from harness.synthetic.clients import BusyError, Client, conversation_tokens
from harness.synthetic.prompt import Messages

_LONGEST_WAIT = 600.0  # seconds; a server that asks for more is asked again another day
_FAILURES_IN_A_ROW = 3


@dataclass(frozen=True)
class Backoff:
    """How long to wait before a conversation is tried again, where the server does not tell.

    Attributes:
        first_seconds: before the second attempt; doubled each time.
        longest_seconds: at most.
        attempts: of one conversation, the first one included.
    """

    first_seconds: float = 1.0
    longest_seconds: float = 60.0
    attempts: int = 6

    def seconds(self, attempt: int) -> float:
        """Return a random time between half and all of what is due after an attempt, from 1."""
        due = min(self.longest_seconds, self.first_seconds * 2.0 ** (attempt - 1))
        # Chance keeps those that failed together from coming back together; it changes no result.
        return due * random.uniform(0.5, 1.0)  # noqa: S311


BACKOFF = Backoff()


@dataclass(frozen=True)
class Limits:
    """What may be spent, over all runs; None for no limit.

    Attributes:
        requests: that were answered, or may have been before they failed.
        tokens: input and output.
    """

    requests: int | None
    tokens: int | None


@dataclass
class Budget:
    """What is spent and what is promised to requests on their way, shared by threads.

    Attributes:
        limits: never exceeded.
        requests, tokens: spent.
    """

    limits: Limits
    requests: int = 0
    tokens: int = 0

    def __post_init__(self) -> None:
        self._promised = 0
        self._changed = threading.Condition()

    def reserve(self, tokens: int) -> bool:
        """Promise a request and the most tokens that it can take; False if they are not there.

        Waits while a request on its way may give back some of what it was promised.
        """
        with self._changed:
            while not self._has_room(tokens):
                if self._promised == 0:
                    return False
                self._changed.wait()
            self.requests += 1
            self._promised += tokens
            return True

    def settle(self, reserved: int, used: int) -> None:
        """Put what a request used in the place of what it was promised."""
        with self._changed:
            self._promised -= reserved
            self.tokens += used
            self._changed.notify_all()

    def give_back(self, reserved: int) -> None:
        """Take back the promise to a request that was turned away, as if it had not been made."""
        with self._changed:
            self._promised -= reserved
            self.requests -= 1
            self._changed.notify_all()

    def _has_room(self, tokens: int) -> bool:
        limits, promised = self.limits, self.tokens + self._promised + tokens
        return (limits.requests is None or self.requests < limits.requests) and (
            limits.tokens is None or promised <= limits.tokens
        )


@dataclass(frozen=True)
class Unanswered:
    """Passages that are not done, and why.

    Attributes:
        failed: row of each passage that got no answer in all attempts, and the last reason.
        stop: what ended the asking early: "budget"; "server", which is not there or asks for a
            long wait; None where every passage was tried.
        reason: the server's last one, or "".
    """

    failed: dict[int, str]
    stop: Literal["budget", "server"] | None
    reason: str


def ask_all(
    passages: Sequence[str],
    answers: Answers,
    client: Client,
    budget: Budget,
    *,
    concurrency: int,
    advance: Callable[[int], None],
) -> Unanswered:
    """Hold every conversation that is still to be held, and store each answer as it arrives.

    Passages are begun in their order. What is on its way when the asking ends, or when it is
    interrupted, is waited for and stored: it is paid for.

    Raises:
        HarnessError: exit code 4, the server refuses, or the store can not be written.
    """
    asking = _Asking(answers, client, budget)
    with ThreadPoolExecutor(max_workers=concurrency) as pool:
        try:
            for future in as_completed(
                pool.submit(asking.finish, row, text) for row, text in enumerate(passages)
            ):
                if future.result():
                    advance(1)
        except BaseException:
            asking.stopped.set()
            pool.shutdown(cancel_futures=True)
            raise
    return Unanswered(asking.failed, asking.stop, asking.reason)


class _StoppedError(Exception):
    """The asking has ended; what is not begun is left."""


class _Asking:
    """What the threads share."""

    def __init__(self, answers: Answers, client: Client, budget: Budget) -> None:
        self.answers = answers
        self.client = client
        self.budget = budget
        self.stopped = threading.Event()
        self.stop: Literal["budget", "server"] | None = None
        self.reason = ""
        self.failed: dict[int, str] = {}
        self._lock = threading.Lock()
        self._arrived = 0
        self._failures_in_a_row = 0
        self._not_before = 0.0

    def finish(self, row: int, passage: str) -> bool:
        """Hold the conversations about a passage that are not stored yet; tell if all are."""
        try:
            while (messages := self.answers.next_messages(passage)) is not None:
                self.answers.put(passage, messages, self._ask(messages))
                with self._lock:
                    self._arrived += 1
                    self._failures_in_a_row = 0
        except BusyError as error:
            with self._lock:
                self.failed[row] = str(error)
                self._failures_in_a_row += 1
                if self._failures_in_a_row >= _FAILURES_IN_A_ROW:
                    self._end("server", str(error))
        except _StoppedError:
            return False
        except BaseException:
            self.stopped.set()  # before this thread takes the next passage
            raise
        else:
            return True
        return False

    def _ask(self, messages: Messages) -> Answer:
        """Return the answer, in as many attempts as it may take.

        An attempt does not count where the server tells when to come back and answers others
        meanwhile: the turn of this one comes.
        """
        attempt, arrived = 1, self._arrived
        while True:
            try:
                return self._attempt(messages)
            except BusyError as error:
                wait = error.wait
                if wait is not None and wait > _LONGEST_WAIT:
                    self._end("server", f"{error}, and to wait {wait:,.0f} s")
                    raise _StoppedError from None
                if wait is not None and self._arrived > arrived:
                    attempt, arrived = 0, self._arrived
                if attempt == BACKOFF.attempts:
                    raise
            if wait is not None:
                with self._lock:  # it holds for all: the others would be turned away as well
                    self._not_before = max(self._not_before, time.monotonic() + wait)
            self._sleep(BACKOFF.seconds(attempt if wait is None else 1))
            attempt += 1

    def _attempt(self, messages: Messages) -> Answer:
        while (wait := self._not_before - time.monotonic()) > 0:
            self._sleep(wait)
        most = conversation_tokens(messages) + self.answers.answer_tokens
        if self.stopped.is_set():
            raise _StoppedError
        if not self.budget.reserve(most):
            self._end("budget", "")
            raise _StoppedError
        used: int | None = None
        try:
            answer = self.client.ask(messages)
            used = answer.tokens
        except BusyError as error:
            used = most if error.maybe_billed else None
            raise
        finally:
            if used is None:
                self.budget.give_back(most)
            else:
                self.budget.settle(most, used)
        return answer

    def _sleep(self, seconds: float) -> None:
        if self.stopped.wait(seconds):
            raise _StoppedError

    def _end(self, stop: Literal["budget", "server"], reason: str) -> None:
        if not self.stopped.is_set():
            self.stop, self.reason = stop, reason
        self.stopped.set()
