"""Retriever: what a search in use returns, each answer stored with its date as it arrives.

A run that is killed asks again for nothing but what was on its way, and no answer that is stored is
asked for again, until the suite gives the retriever another version.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.arrays import Rows
from harness.artifact import Artifact
from harness.collection import Collection
from harness.collection.packed import content_hashes
from harness.environment import today
from harness.errors import HarnessError
from harness.hashing import digest
from harness.models.own import failed_at_run
from harness.providers.http import readable
from harness.retrieval.latency import SAMPLE, Prepared, Step, sample_rows
from harness.retrieval.run_stage import RunStage
from harness.retrieval.sources import RetrieverSource, Returned
from harness.runs.run import Run, rank_entries
from harness.stage import Context, InputMissingError, Work, unkeyed
from harness.store import Store

_FEWEST_KNOWN = 10  # answers of which none holds a document of the collection: it is another one
_LEAST_TIMED = 5  # answers; with fewer, the first of a process are timed, too


@dataclass(frozen=True, eq=False)
class AskRetriever(RunStage):
    """Stage: the answers of a retriever, restricted to the collection and in the total order.

    Attributes:
        source: that is asked.
        collection: whose queries, and whose documents it should return.
        depth: ranks.
        asked: ranks that it is asked for.
        forbidden: int32 [n_queries], rows that queries must not be given, or None.
    """

    source: RetrieverSource
    collection: Collection = field(
        metadata=unkeyed("a search reads texts alone", "judgements", "exclude_identical_ids")
    )
    depth: int
    asked: int
    forbidden: Rows | None

    @property
    def label(self) -> str:
        """What is done."""
        return f"ask the retriever of {self.name}"

    def kind_of_answers(self, store: Store) -> str:
        """Folder of the answers in the store: those of other queries of the same retriever, too."""
        source = self.source.key(store)
        return f"answers/{digest(source, self.asked, self.source.corpus_key(self.collection))}"

    def answers(self, store: Store) -> list[Artifact | None]:
        """Return the stored answer of each query, or None."""
        kind = self.kind_of_answers(store)
        return [store.get(kind, key) for key in self._query_keys()]

    def work(self, store: Store) -> Work:
        """Return the queries that are left."""
        left = sum(answer is None for answer in self.answers(store))
        return Work(requests=left, seconds=None if left else 0.0)

    def produce(self, context: Context) -> Run:
        """AskOne for what is not stored, and rank what was answered.

        Raises:
            HarnessError: exit code 4, it does not answer, or of another collection.
        """
        self._ask(context)
        return self._ranked(context.store)

    def put(self, context: Context, run: Run, seconds: float) -> None:
        """Store the run, with its date and what was odd about the answers."""
        answers = self._whole(context.store)
        known = set(self.collection.document_ids)
        found = [_ids(answer) for answer in answers]
        context.store.put(
            self.kind,
            self.ready_key(context.store),
            arrays={"documents": run.documents, "scores": run.scores},
            meta={
                "label": self.label,
                "seconds": seconds,
                "device": self.source.place,
                "dates": sorted({str(answer.meta["date"]) for answer in answers}),
                "unknown": sum(each not in known for ids in found for each in ids),
                "empty": sum(not known.intersection(ids) for ids in found),
            },
        )

    def milliseconds(self, store: Store) -> list[float]:
        """Return what the answers of the sample took, in its order.

        The first of a process, which loads, counts only where there are few others.
        """
        answers = self._whole(store)
        metas = [answers[row].meta for row in sample_rows(len(answers))]
        later = [1000 * meta["seconds"] for meta in metas if not meta["first"]]
        few = len(later) < _LEAST_TIMED
        return [1000 * meta["seconds"] for meta in metas] if few else later

    def _query_keys(self) -> list[str]:
        return [row.tobytes().hex() for row in content_hashes(self.collection.queries)]

    def _whole(self, store: Store) -> list[Artifact]:
        answers = [answer for answer in self.answers(store) if answer is not None]
        if len(answers) < len(self.collection.queries):
            raise InputMissingError(f"{self.label}: answers are missing")
        return answers

    def _ask(self, context: Context) -> None:
        store, kind = context.store, self.kind_of_answers(context.store)
        queries, keys = self.collection.queries, self._query_keys()
        left = {
            key: query
            for key, query in zip(keys, queries, strict=True)
            if store.get(kind, key) is None
        }
        if not left:
            return
        self.source.refuse_offline(self.label)
        known, is_known, strange = set(self.collection.document_ids), False, 0
        with (
            self.source.opened(self.label, self.collection) as ask,
            context.progress.task(self.label, total=len(left), unit="queries") as advance,
        ):
            for key, query in left.items():
                answer = ask(readable(query), self.asked)
                is_known = is_known or not known.isdisjoint(answer.ids)
                strange += bool(answer.ids)
                if strange >= _FEWEST_KNOWN and not is_known:
                    raise self._strangers(answer.ids)
                self._keep(store, key, answer)
                advance(1)

    def _strangers(self, ids: Sequence[str]) -> HarnessError:
        return failed_at_run(
            f"{self.label}: {self.source.place} returns no document of '{self.collection.name}', "
            f"got {ids[0]!r}. Make it search this collection and return its ids, and change the "
            "version to query it again."
        )

    def _keep(self, store: Store, key: str, answer: Returned) -> None:
        arrays: dict[str, npt.NDArray[Any]] = {
            "ids": np.frombuffer(json.dumps(answer.ids).encode(), dtype=np.uint8),
            "scores": np.array(answer.scores, dtype=np.float64),
        }
        meta = {
            "seconds": answer.seconds,
            "first": answer.first,
            "device": self.source.place,
            "date": today(),
        }
        store.put(self.kind_of_answers(store), key, arrays=arrays, meta=meta)

    def _ranked(self, store: Store) -> Run:
        rows = {identifier: row for row, identifier in enumerate(self.collection.document_ids)}
        queries, documents, scores = [], [], []
        for query, answer in enumerate(self._whole(store)):
            forbidden = -1 if self.forbidden is None else int(self.forbidden[query])
            found = answer.array("scores").tolist()
            for identifier, score in zip(_ids(answer), found, strict=True):
                row = rows.get(identifier, -1)
                if row >= 0 and row != forbidden:
                    queries.append(query)
                    documents.append(row)
                    scores.append(score)
        if not documents:
            strange = next((ids for each in self._whole(store) if (ids := _ids(each))), ["nothing"])
            raise self._strangers(strange)
        return rank_entries(
            np.array(queries, dtype=np.int64),
            np.array(documents, dtype=np.int32),
            np.array(scores, dtype=np.float64),
            n_queries=len(self.collection.queries),
            depth=self.depth,
        )


@dataclass(frozen=True, eq=False)
class RetrieverQuery(Step):
    """Step: one query to the retriever, as long as it took when it was asked, network included."""

    doing = "asking"
    pays = True

    device: str = field(metadata=unkeyed("the retriever computes"))
    asked: AskRetriever

    @property
    def _device(self) -> str:
        return self.asked.source.place

    def also_keyed(self) -> tuple[object, ...]:
        """Return nothing: no package here has a part in it."""
        return ()

    def prepare(self, context: Context) -> Prepared:  # noqa: ARG002
        """Raise: its time is that of its answers."""
        raise TypeError(f"{self.name} is asked once")

    def run(self, context: Context) -> None:
        """Store how long the answers took; the bytes of its index are not known."""
        times, asked = self.asked.milliseconds(context.store), len(self.collection.queries)
        self.keep(context.store, times, asked=min(SAMPLE, asked), index_bytes=None)


def _ids(answer: Artifact) -> list[str]:
    ids: list[str] = json.loads(answer.array("ids").tobytes())
    return ids
