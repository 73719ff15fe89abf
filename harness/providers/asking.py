"""Asking: many requests at once, patient with the server, within a budget.

A client could retry by itself, but a budget that counts every request cannot see its retries, it
waits for two minutes at most, and nothing interrupts it; so it is not asked to.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, TypeVar

from harness.providers.http import BusyError

_LONGEST_WAIT = 600.0  # seconds; a server that asks for more is asked again another day
_FAILURES_IN_A_ROW = 3


class Billed(Protocol):
    """An answer, which says how many tokens are billed for it."""

    @property
    def tokens(self) -> int:
        """Of the request and of the answer."""


A = TypeVar("A", bound=Billed)


class Backoff(NamedTuple):
    """How long to wait before a request is tried again, where the server does not tell.

    Attributes:
        first_seconds: before the second attempt; doubled each time.
        longest_seconds: at most.
        attempts: of one request, the first one included.
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


class Limits(NamedTuple):
    """What may be spent, over all runs; None for no limit.

    Attributes:
        requests: that were answered, or may have been before they failed.
        tokens: input and output.
    """

    requests: int | None
    tokens: int | None


@dataclass
class Spending:
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

    def settle(self, reserved: int, used: int | None) -> None:
        """Put what a request used in the place of what it was promised.

        None is a request that was turned away: it counts as if it had not been made.
        """
        with self._changed:
            self._promised -= reserved
            self.tokens += used or 0
            self.requests -= used is None
            self._changed.notify_all()

    def _has_room(self, tokens: int) -> bool:
        limits, promised = self.limits, self.tokens + self._promised + tokens
        return (limits.requests is None or self.requests < limits.requests) and (
            limits.tokens is None or promised <= limits.tokens
        )


@dataclass
class Unanswered:
    """What is not done, and why.

    Attributes:
        failed: row of each that got no answer in all attempts, and the last reason.
        stop: what ended the asking early: "budget"; "server", which is not there or asks for a
            long wait; None where everything was tried.
        reason: the server's last one, or "".
    """

    failed: dict[int, str] = field(default_factory=dict)
    stop: Literal["budget", "server"] | None = None
    reason: str = ""


def ask_each(
    count: int,
    finish: Callable[[int, Asking], None],
    budget: Spending,
    *,
    concurrency: int,
    advance: Callable[[int], None],
) -> Unanswered:
    """Finish every row, and store each answer as it arrives.

    Rows are begun in their order. What is on its way when the asking ends, or when it is
    interrupted, is waited for and stored: it is paid for.

    Args:
        count: rows.
        finish: asks for what a row needs with `Asking.get`, and stores it.
        budget: that all share.
        concurrency: rows at a time.
        advance: called with 1 for each row that is done.

    Raises:
        HarnessError: exit code 4, the server refuses, or the store cannot be written.
    """
    asking = Asking(budget)
    with ThreadPoolExecutor(max_workers=concurrency) as pool:
        try:
            for future in as_completed(
                pool.submit(asking.finish, row, finish) for row in range(count)
            ):
                if future.result():
                    advance(1)
        except BaseException:
            asking.stopped.set()
            pool.shutdown(cancel_futures=True)
            raise
    return asking.left


class StoppedError(Exception):
    """The asking has ended; what is not begun is left."""


class Asking:
    """What the threads share: the budget, the server's wish to wait, and the end.

    Args:
        budget: never exceeded.

    Attributes:
        left: what is not done.
        stopped: nothing more is begun.
    """

    def __init__(self, budget: Spending) -> None:
        self.left = Unanswered()
        self.stopped = threading.Event()
        self._budget = budget
        self._lock = threading.Lock()
        self._arrived = 0
        self._failures_in_a_row = 0
        self._not_before = 0.0

    def finish(self, row: int, finish: Callable[[int, Asking], None]) -> bool:
        """Do what is left of a row; tell if it is done."""
        try:
            finish(row, self)
        except BusyError as error:
            with self._lock:
                self.left.failed[row] = str(error)
                self._failures_in_a_row += 1
                if self._failures_in_a_row >= _FAILURES_IN_A_ROW:
                    self._end("server", str(error))
        except StoppedError:
            return False
        except BaseException:
            self.stopped.set()  # before this thread takes the next row
            raise
        else:
            return True
        return False

    def get(self, ask: Callable[[], A], *, most: int) -> A:
        """Return an answer, in as many attempts as it may take.

        An attempt does not count where the server tells when to come back and answers others
        meanwhile: the turn of this one comes.

        Args:
            ask: makes one request.
            most: tokens that it can take.

        Raises:
            BusyError: there is none in all attempts.
        """
        attempt, arrived = 1, self._arrived
        while True:
            try:
                answer = self._attempt(ask, most)
            except BusyError as error:
                wait = error.wait
                if wait is not None and wait > _LONGEST_WAIT:
                    self._end("server", f"{error}, and to wait {wait:,.0f} s")
                    raise StoppedError from None
                if wait is not None and self._arrived > arrived:
                    attempt, arrived = 0, self._arrived
                if attempt == BACKOFF.attempts:
                    raise
            else:
                with self._lock:
                    self._arrived += 1
                    self._failures_in_a_row = 0
                return answer
            if wait is not None:
                with self._lock:  # it holds for all: the others would be turned away as well
                    self._not_before = max(self._not_before, time.monotonic() + wait)
            self._sleep(BACKOFF.seconds(attempt if wait is None else 1))
            attempt += 1

    def _attempt(self, ask: Callable[[], A], most: int) -> A:
        while (wait := self._not_before - time.monotonic()) > 0:
            self._sleep(wait)
        if self.stopped.is_set():
            raise StoppedError
        if not self._budget.reserve(most):
            self._end("budget", "")
            raise StoppedError
        used: int | None = None
        try:
            answer = ask()
            used = answer.tokens
        except BusyError as error:
            used = most if error.maybe_billed else None
            raise
        finally:
            self._budget.settle(most, used)
        return answer

    def _sleep(self, seconds: float) -> None:
        if self.stopped.wait(seconds):
            raise StoppedError

    def _end(self, stop: Literal["budget", "server"], reason: str) -> None:
        if not self.stopped.is_set():
            self.left.stop, self.left.reason = stop, reason
        self.stopped.set()
