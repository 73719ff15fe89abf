"""Asking: many conversations at once, patient with the server, within a budget, paid for once.

The providers' packages can retry by themselves, but a budget that counts every request cannot see
theirs, they wait for two minutes at most, and nothing interrupts them; so they are not asked to.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from typing import Literal, NamedTuple

from harness.environment import today
from harness.hashing import digest
from harness.store import Store
from harness.synthetic.clients import BusyError, Client, conversation_tokens
from harness.synthetic.prompt import (
    Answer,
    Messages,
    Prompt,
    messages_key,
    read_questions,
    readable,
)

_TYPES = {"text": str, "ending": str, "input_tokens": int, "output_tokens": int, "model": str}
_LONGEST_WAIT = 600.0  # seconds; a server that asks for more is asked again another day
_FAILURES_IN_A_ROW = 3


@dataclass(frozen=True)
class Answers:
    """The stored answers of one model to the conversations of one prompt.

    A passage has rounds: it is asked about, and once more where the answer cannot be read. Where
    that cannot be read either, a later process tries another round; this one does not.
    The address of the server is no part of the key: a model that moves is not paid for again.

    Attributes:
        store: where they lie.
        provider, model: who answers.
        answer_tokens: limit of an answer.
        prompt: what is asked.
        tried: passages of which a round ended in this process.
    """

    store: Store
    provider: str
    model: str
    answer_tokens: int
    prompt: Prompt
    tried: set[str] = field(default_factory=set, compare=False)

    @property
    def _kind(self) -> str:
        return "answers/" + digest("model", self.provider, self.model, self.answer_tokens)

    def put(self, passage: str, messages: Messages, answer: Answer) -> None:
        """Store an answer to the conversation that `next_messages` gave."""
        key = _key(messages, len(self._rounds(passage)) - (len(messages) > 1))
        meta = {"answer": asdict(answer), "date": today()}
        # What is there is unusable, or it would not be asked for.
        self.store.put(self._kind, key, arrays={}, meta=meta, replaces=True)
        self.tried.add(passage)

    def of(self, passage: str) -> Iterator[Answer]:
        """Yield the stored answers about a passage, of each round the first and the repair."""
        for answers in self._rounds(passage):
            yield from answers

    def next_messages(self, passage: str) -> Messages | None:
        """Return the conversation that is still to be held about a passage; None if it is done.

        An answer that cannot be read is asked for once more, a refusal is not.
        """
        rounds = self._rounds(passage)
        if not rounds:
            return self.prompt.ask(passage)
        last = rounds[-1]
        if self._is_final(last[-1]):
            return None
        if len(last) == 1:
            return self.prompt.ask_again(passage, last[0].text)
        return None if passage in self.tried else self.prompt.ask(passage)

    def is_tried(self, passage: str) -> bool:
        """Tell whether a whole round about a passage is stored."""
        rounds = self._rounds(passage)
        return bool(rounds) and (len(rounds[0]) > 1 or self._is_final(rounds[0][0]))

    def questions(self, passage: str) -> tuple[str, ...] | None:
        """Return the questions to a passage; None where no stored answer can be read."""
        read = (self._questions(answer) for answer in self.of(passage))
        return next((questions for questions in read if questions is not None), None)

    def _rounds(self, passage: str) -> list[list[Answer]]:
        """Return the stored answers about a passage, round by round."""
        rounds: list[list[Answer]] = []
        asked = self.prompt.ask(passage)
        while (first := self._get(asked, len(rounds))) is not None:
            rounds.append([first])
            if self._is_final(first):
                break
            second = self._get(self.prompt.ask_again(passage, first.text), len(rounds) - 1)
            if second is None:
                break
            rounds[-1].append(second)
            if self._is_final(second):
                break
        return rounds

    def _get(self, messages: Messages, number: int) -> Answer | None:
        """Return the stored answer to a conversation of a round; None where none can be used.

        Answers that were stored unread may be of any type; they count as absent.
        """
        artifact = self.store.get(self._kind, _key(messages, number))
        said = None if artifact is None else artifact.meta.get("answer")
        if not isinstance(said, dict) or {key: type(said[key]) for key in said} != _TYPES:
            return None
        return Answer(**{**said, "text": readable(said["text"])})

    def _is_final(self, answer: Answer) -> bool:
        """Tell whether nothing more is asked after an answer."""
        return answer.ending == "refused" or self._questions(answer) is not None

    def _questions(self, answer: Answer) -> tuple[str, ...] | None:
        return read_questions(answer.text, count=self.prompt.count)


def _key(messages: Messages, number: int) -> str:
    """Return the content key of a conversation of a round, from 0."""
    key = messages_key(messages)
    return digest("round", number, key) if number else key


class Backoff(NamedTuple):
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


class Limits(NamedTuple):
    """What may be spent, over all runs; None for no limit.

    Attributes:
        requests: that were answered, or may have been before they failed.
        tokens: input and output.
    """

    requests: int | None
    tokens: int | None


@dataclass
class TokenBudget:
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
    """Passages that are not done, and why.

    Attributes:
        failed: row of each passage that got no answer in all attempts, and the last reason.
        stop: what ended the asking early: "budget"; "server", which is not there or asks for a
            long wait; None where every passage was tried.
        reason: the server's last one, or "".
    """

    failed: dict[int, str] = field(default_factory=dict)
    stop: Literal["budget", "server"] | None = None
    reason: str = ""


def ask_all(
    passages: Sequence[str],
    answers: Answers,
    client: Client,
    budget: TokenBudget,
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
    return asking.left


class _StoppedError(Exception):
    """The asking has ended; what is not begun is left."""


class _Asking:
    """What the threads share."""

    def __init__(self, answers: Answers, client: Client, budget: TokenBudget) -> None:
        self.answers = answers
        self.client = client
        self.budget = budget
        self.stopped = threading.Event()
        self.left = Unanswered()
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
                self.left.failed[row] = str(error)
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
            self.budget.settle(most, used)
        return answer

    def _sleep(self, seconds: float) -> None:
        if self.stopped.wait(seconds):
            raise _StoppedError

    def _end(self, stop: Literal["budget", "server"], reason: str) -> None:
        if not self.stopped.is_set():
            self.left.stop, self.left.reason = stop, reason
        self.stopped.set()
