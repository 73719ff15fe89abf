"""Synthesize: the stage that turns passages into pairs of a synthetic query and its passage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.collection import Collection
from harness.environment import today
from harness.errors import ExitCode, HarnessError
from harness.hashing import text_hashes
from harness.providers.asking import Spending, Unanswered
from harness.stage import Context, StoredStage, Work, keyed_by, unkeyed
from harness.store import Store
from harness.suite.training import GenerateSpec
from harness.synthetic import filters
from harness.synthetic.asking import Answers, ask_for
from harness.synthetic.clients import conversation_tokens
from harness.synthetic.filters import RoundTrip
from harness.synthetic.prompt import Prompt, messages_key
from harness.synthetic.realism import FEWEST_LOGGED, QueryLog, Realism, compare_with_log
from harness.training.data import Origin, TrainingData, distinct

NOT_FOUND = "its passage is not found"

_TABLE = "questions.parquet"
_TOKENS_PER_QUESTION = 25  # of an answer
_SECONDS_PER_REQUEST = 2.0
_MOST_UNANSWERED = 0.01  # share of passages that may be left out


class Question(NamedTuple):
    """A question that the language model wrote, its whole passage, and why it is not trained on."""

    text: str
    passage: str
    dropped: str | None


@dataclass(frozen=True, eq=False)
class Synthesize(StoredStage):
    """Stage: questions of a language model to passages of a collection, those worth keeping.

    Attributes:
        name: of the training data.
        spec: who is asked, for how much.
        collection: whose passages.
        round_trip: keeps the questions that find their passage; None keeps all.
        licence: of the queries, as the suite states it; "" takes that of the collection.
        offline: never ask anybody.
        log: real queries that the synthetic ones are compared with; None for none.
    """

    kind = "synthetic"

    name: str = field(metadata=unkeyed("for people"))
    spec: GenerateSpec = field(
        metadata=unkeyed(
            "neither address nor budget changes an answer; the round trip is a field",
            *("base_url", "key_variable", "max_requests", "max_tokens", "price", "concurrency"),
            *("timeout_seconds", "round_trip", "log"),
        )
    )
    collection: Collection = field(metadata=keyed_by("passages"))
    round_trip: RoundTrip | None
    licence: str = field(metadata=unkeyed("it changes no question"))
    offline: bool = field(metadata=unkeyed("what is answered is the same"))
    log: QueryLog | None = field(default=None, metadata=unkeyed("the queries are compared with it"))

    @property
    def label(self) -> str:
        """What is done."""
        return f"ask {self.spec.model} for the queries of '{self.name}'"

    @cached_property
    def passages(self) -> tuple[str, ...]:
        """Distinct passages, in an order that depends on their texts alone."""
        return choose_passages(self.collection.documents, self.spec.passages)

    def also_keyed(self) -> tuple[object, ...]:
        """Return the words of the prompt."""
        prompt = self._prompt
        return (messages_key(prompt.ask(""), system=prompt.system),)

    def work(self, store: Store) -> Work:
        """Return the requests that are left, and about how many tokens they take."""
        answers = self._answers(store)
        left = [answers.next_messages(passage) for passage in self.passages]
        asked = [
            conversation_tokens(messages, system=self._prompt.system)
            for messages in left
            if messages is not None
        ]
        tokens = sum(asked) + len(asked) * self.spec.per_passage * _TOKENS_PER_QUESTION
        return Work(
            requests=len(asked),
            tokens=tokens,
            usd=self.spec.usd(tokens),
            seconds=len(asked) * _SECONDS_PER_REQUEST / self.spec.concurrency,
        )

    def run(self, context: Context) -> None:
        """Ask for what is not stored, judge the questions, and store all of them.

        Raises:
            HarnessError: exit code 2, the package or the key is missing; 3, no question is worth
                keeping; 4, the budget is spent, the server refuses or gives no answers, or
                `offline` and an answer is missing.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        answers = self._answers(context.store)
        self._ask(context, answers)
        questions = self._judged(context, answers)
        counts = self._counts(answers, questions)
        if all(question.dropped for question in questions):
            told = ", ".join(f"{count:,} {what}" for what, count in counts.items())
            raise HarnessError(
                f"{self.label}: no query is left to train on ({told}). "
                "Check the model, the domain and the round trip; rerunning asks again for "
                "unreadable answers.",
                exit_code=ExitCode.DATA,
            )
        meta = {
            "provider": self.spec.provider,
            "model": self.spec.model,
            "passages": len(self.passages),
            "dropped": counts,
            "date": today(),
        }
        with context.store.writing(self.kind, self.ready_key(context.store), meta=meta) as folder:
            rows = [each._asdict() for each in questions]
            schema = pa.schema([(name, pa.string()) for name in Question._fields])
            table = pa.Table.from_pylist(rows, schema=schema)
            pq.write_table(table, folder / _TABLE, compression="zstd")

    def questions(self, store: Store) -> list[Question]:
        """Return all questions that were written, each with why it is dropped."""
        import pyarrow.parquet as pq

        return [Question(**row) for row in pq.read_table(self.table(store)).to_pylist()]

    def realism(self, store: Store) -> Realism | None:
        """Return how far the kept queries are from those of the log; None before they are there.

        Also None without a log, and where hardly any query is kept.
        """
        if self.log is None or self.artifact(store) is None:
            return None
        kept = [each.text for each in self.questions(store) if each.dropped is None]
        if len(kept) < FEWEST_LOGGED:
            return None
        return compare_with_log(self.name, kept, self.log)

    def table(self, store: Store) -> Path:
        """Return the Parquet file of all questions."""
        return self.stored(store).path / _TABLE

    def data(self, store: Store) -> TrainingData | None:
        """Return the pairs to train on; None before the stage is done."""
        artifact = self.artifact(store)
        if artifact is None:
            return None
        questions = self.questions(store)
        origin = Origin(
            name=self.name,
            source=f"{self.spec.model} on passages of {self.collection.name}",
            licence=self.licence or self.collection.licence,
            synthetic=True,
            read=len(questions),
            dropped=artifact.meta["dropped"],
        )
        kept = [(each.text, each.passage) for each in questions if each.dropped is None]
        return distinct("pairs", kept, origin=origin)

    @property
    def _prompt(self) -> Prompt:
        return Prompt(self.spec.per_passage, self.spec.domain)

    def _answers(self, store: Store) -> Answers:
        spec = self.spec
        return Answers(store, spec.provider, spec.model, spec.answer_tokens, self._prompt)

    def _ask(self, context: Context, answers: Answers) -> None:
        """Ask for every answer that is not stored."""
        left = self._left(answers)
        if self.offline:
            left = [text for text in left if not answers.is_tried(text)]
        if not left:
            return
        if self.offline:
            fix = "Run without --offline (in Python: offline=False)."
            raise self._failed(f"{self._told(left)}, and no requests are sent offline. {fix}")
        found, budget = ask_for(
            *(left, self.passages, answers, self.spec, context),
            where=self.label,
            label=self.label,
            unit="passages",
        )
        # One that was answered and cannot be read is dropped, and counted; a later run asks again.
        silent = [text for text in self._left(answers) if not answers.is_tried(text)]
        if silent:
            self._refuse(found, silent, budget)

    def _left(self, answers: Answers) -> list[str]:
        return [text for text in self.passages if answers.next_messages(text) is not None]

    def _refuse(self, found: Unanswered, left: Sequence[str], budget: Spending) -> None:
        """Raise if too much is left."""
        told = self._told(left)
        goes_on = "Answers so far are stored; rerun the command to resume."
        if found.stop == "budget":
            first = self.passages.index(left[0])
            fewer = f", or set passages = {first} to train on stored answers" if first else ""
            raise self._failed(
                f"the budget is spent ({budget.requests:,} requests, {budget.tokens:,} tokens); "
                f"{told}. Raise max_requests or max_tokens{fewer}."
            )
        if found.stop == "server":
            raise self._failed(
                f"the server stopped answering, got {found.reason}; {told}. {goes_on}"
            )
        if len(left) > _MOST_UNANSWERED * len(self.passages):
            reason = next(iter(found.failed.values()))
            raise self._failed(f"{told}, the server failed each time, got {reason}. {goes_on}")

    def _told(self, left: Sequence[str]) -> str:
        return f"{len(left):,} of {len(self.passages):,} passages have no stored answer"

    def _failed(self, what: str) -> HarnessError:
        return HarnessError(f"{self.label}: {what}", exit_code=ExitCode.STAGE)

    def _judged(self, context: Context, answers: Answers) -> list[Question]:
        """Return every question that was written, with why it is dropped."""
        written = [
            Question(text, passage, None)
            for passage in self.passages
            for text in answers.questions(passage) or ()
        ]
        reasons = filters.reasons_to_drop(
            [each.passage for each in written], [each.text for each in written]
        )
        judged = [
            each._replace(dropped=reason) for each, reason in zip(written, reasons, strict=True)
        ]
        left = [row for row, each in enumerate(judged) if each.dropped is None]
        if self.round_trip is not None and left:
            asked = [judged[row].text for row in left]
            found = self.round_trip.finds(context, asked, [judged[row].passage for row in left])
            for row in (row for row, is_found in zip(left, found, strict=True) if not is_found):
                judged[row] = judged[row]._replace(dropped=NOT_FOUND)
        return judged

    def _counts(self, answers: Answers, questions: Sequence[Question]) -> dict[str, int]:
        """Return how many passages gave nothing and how many questions are dropped, and why."""
        counts = Counter(each.dropped for each in questions if each.dropped is not None)
        for passage in self.passages:
            endings = [answer.ending for answer in answers.of(passage)]
            found = answers.questions(passage)
            if found is not None:
                counts["passages that answer no question"] += not found
            elif "refused" in endings:
                counts["passages that the model refused"] += 1
            elif endings:
                counts["passages with an unreadable answer"] += 1
            else:
                counts["passages without an answer"] += 1
        return dict(sorted((+counts).items()))


def choose_passages(texts: Sequence[str], count: int) -> tuple[str, ...]:
    """Return distinct texts, the `count` with the smallest hashes; more keep those of fewer.

    >>> choose_passages(["b", "a", "", "b"], 1) == choose_passages(["a", "b"], 2)[:1]
    True
    """
    distinct_texts = list(dict.fromkeys(text for text in texts if text.strip()))
    order = np.lexsort(text_hashes(distinct_texts).T[::-1])
    return tuple(distinct_texts[row] for row in order[:count])
