"""Asking: many conversations at once, each stored as it arrives and paid for once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

from harness.environment import today
from harness.hashing import digest
from harness.providers.asking import Asking, Limits, Spending, Unanswered, ask_each
from harness.providers.http import readable
from harness.stage import Context
from harness.store import Store
from harness.suite.training import LanguageModelSpec
from harness.synthetic.clients import Client, conversation_tokens, open_client
from harness.synthetic.prompt import Answer, Asks, Messages, messages_key

_TYPES = {"text": str, "ending": str, "input_tokens": int, "output_tokens": int, "model": str}


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
        temperature: that is asked for; None leaves it to the server.
        tried: passages of which a round ended in this process.
    """

    store: Store
    provider: str
    model: str
    answer_tokens: int
    prompt: Asks
    temperature: float | None = None
    tried: set[str] = field(default_factory=set, compare=False)

    @property
    def _kind(self) -> str:
        asked = (self.provider, self.model, self.answer_tokens)
        more = () if self.temperature is None else (self.temperature,)
        return "answers/" + digest("model", *asked, *more)

    def put(self, passage: str, messages: Messages, answer: Answer) -> None:
        """Store an answer to the conversation that `next_messages` gave."""
        key = self._key(messages, len(self._rounds(passage)) - (len(messages) > 1))
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
        """Return what was written for a passage; None where no stored answer can be read."""
        read = (self.prompt.read(answer.text) for answer in self.of(passage))
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
        artifact = self.store.get(self._kind, self._key(messages, number))
        said = None if artifact is None else artifact.meta.get("answer")
        if not isinstance(said, dict) or {key: type(said[key]) for key in said} != _TYPES:
            return None
        return Answer(**{**said, "text": readable(said["text"])})

    def _is_final(self, answer: Answer) -> bool:
        """Tell whether nothing more is asked after an answer."""
        return answer.ending == "refused" or self.prompt.read(answer.text) is not None

    def _key(self, messages: Messages, number: int) -> str:
        """Return the content key of a conversation of a round, from 0."""
        key = messages_key(messages, system=self.prompt.system)
        return digest("round", number, key) if number else key


def spent_on(every: Sequence[str], answers: Answers, spec: LanguageModelSpec) -> Spending:
    """Return the budget and what of it is spent on the stored answers about some passages."""
    spent = [answer for passage in every for answer in answers.of(passage)]
    limits = Limits(spec.max_requests, spec.max_tokens)
    return Spending(limits, len(spent), sum(answer.tokens for answer in spent))


def ask_for(
    left: Sequence[str],
    every: Sequence[str],
    answers: Answers,
    spec: LanguageModelSpec,
    context: Context,
    *,
    where: str,
    label: str,
    unit: str,
) -> tuple[Unanswered, Spending]:
    """Ask for the answers that are not stored, and return what is not done and what is spent.

    Args:
        left: the passages to ask about.
        every: all passages of the same purpose; their stored answers count for the budget.
        answers: where they are stored.
        spec: who is asked, for how much.
        context: shows the progress.
        where: begins the message about a missing package or key.
        label: of the progress.
        unit: what a passage is, in the plural.

    Raises:
        HarnessError: exit code 2, the package or the key is missing; 4, the server refuses, or the
            store cannot be written.
    """
    budget = spent_on(every, answers, spec)
    with (
        open_client(spec, where=where, temperature=answers.temperature) as client,
        context.progress.task(label, total=len(left), unit=unit) as advance,
    ):
        found = ask_all(
            left, answers, client, budget, concurrency=spec.concurrency, advance=advance
        )
    return found, budget


def ask_all(
    passages: Sequence[str],
    answers: Answers,
    client: Client,
    budget: Spending,
    *,
    concurrency: int,
    advance: Callable[[int], None],
) -> Unanswered:
    """Hold every conversation that is still to be held, and store each answer as it arrives.

    Passages are begun in their order, as of `ask_each`.

    Raises:
        HarnessError: exit code 4, the server refuses, or the store cannot be written.
    """
    system = answers.prompt.system

    def finish(row: int, asking: Asking) -> None:
        passage = passages[row]
        while (messages := answers.next_messages(passage)) is not None:
            most = conversation_tokens(messages, system=system) + answers.answer_tokens
            asked = partial(client.ask, messages, system=system)
            answers.put(passage, messages, asking.get(asked, most=most))

    return ask_each(len(passages), finish, budget, concurrency=concurrency, advance=advance)
