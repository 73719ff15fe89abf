"""Answers of a language model: each is paid for once and stored under the key of its content."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from harness.environment import today
from harness.hashing import digest
from harness.store import Store
from harness.synthetic.parse import read_questions
from harness.synthetic.prompt import Messages, Prompt, messages_key

Ending = Literal["whole", "cut", "refused"]


@dataclass(frozen=True)
class Answer:
    """What came back for one conversation.

    Attributes:
        text: what the model said.
        ending: "whole"; "cut" at the limit of tokens; "refused" by the model or a content filter.
        input_tokens, output_tokens: as billed; estimated where the server does not tell.
        model: as the server names it.
    """

    text: str
    ending: Ending
    input_tokens: int
    output_tokens: int
    model: str

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True)
class Answers:
    """The stored answers of one model to the conversations of one prompt.

    The address of the server is no part of the key: a model that moves is not paid for again.

    Attributes:
        store: where they lie.
        provider, model: who answers.
        answer_tokens: limit of an answer.
        prompt: what is asked.
    """

    store: Store
    provider: str
    model: str
    answer_tokens: int
    prompt: Prompt

    @property
    def _kind(self) -> str:
        return "answers/" + digest("model", self.provider, self.model, self.answer_tokens)

    def get(self, messages: Messages) -> Answer | None:
        """Return the stored answer to a conversation, or None."""
        artifact = self.store.get(self._kind, messages_key(messages))
        return None if artifact is None else Answer(**artifact.meta["answer"])

    def put(self, messages: Messages, answer: Answer) -> None:
        """Store an answer."""
        meta = {"answer": asdict(answer), "date": today()}
        self.store.put(self._kind, messages_key(messages), arrays={}, meta=meta)

    def of(self, passage: str) -> Iterator[Answer]:
        """Yield the stored answers about a passage: the first, and the one to the repair."""
        first = self.get(self.prompt.ask(passage))
        if first is not None:
            yield first
            second = self.get(self.prompt.ask_again(passage, first.text))
            if second is not None and self._questions(first) is None:
                yield second

    def next_messages(self, passage: str) -> Messages | None:
        """Return the conversation that is still to be held about a passage; None if it is done.

        An answer that can not be read is asked for once more; a refusal is not.
        """
        found = list(self.of(passage))
        if not found:
            return self.prompt.ask(passage)
        if len(found) == 1 and found[0].ending != "refused" and self._questions(found[0]) is None:
            return self.prompt.ask_again(passage, found[0].text)
        return None

    def questions(self, passage: str) -> tuple[str, ...] | None:
        """Return the questions to a passage; None where no stored answer can be read."""
        read = (self._questions(answer) for answer in self.of(passage))
        return next((questions for questions in read if questions is not None), None)

    def _questions(self, answer: Answer) -> tuple[str, ...] | None:
        return read_questions(answer.text, count=self.prompt.count)
