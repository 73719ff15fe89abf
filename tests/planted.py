"""Collections and vectors with a planted reason for failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from conftest import run_suite, write_beir, write_suite, write_vectors

from harness.diagnosis.explain import Explanation, explain_losses
from harness.diagnosis.subject import plan_subject
from harness.diagnosis.values import Finding
from harness.diagnosis.view import Facts
from harness.plan.plan import Plan
from harness.stage import Context
from harness.store import Store

DIMENSION = 64


def words(seed: int, count: int) -> list[str]:
    """Return distinct made-up words without digits."""
    draw = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    made: dict[str, None] = {}
    while len(made) < count:
        made["".join(draw.choice(letters, 8))] = None
    return list(made)


@dataclass
class World:
    """A collection in the making: query i asks for document i, and other documents stand around.

    A query finds its document first unless its vector is changed.

    Attributes:
        documents, queries: texts.
        document_vectors, query_vectors: float [n, DIMENSION].
        relevant: of each query, rows of documents.
    """

    documents: list[str]
    queries: list[str]
    document_vectors: np.ndarray
    query_vectors: np.ndarray
    relevant: list[list[int]] = field(default_factory=list)

    def lose(self, queries: Sequence[int]) -> None:
        """Point queries away from their documents, each to another place."""
        draw = np.random.default_rng(7)
        self.query_vectors[list(queries)] = draw.normal(size=(len(queries), DIMENSION))


def world(n_queries: int = 60, n_documents: int = 300, *, seed: int = 1) -> World:
    """Return a world in which nothing fails: a query has two of the ten words of its document."""
    draw = np.random.default_rng(seed)
    vocabulary = np.array(words(seed, 800))
    documents = [" ".join(draw.choice(vocabulary, 10)) for _ in range(n_documents)]
    vectors = draw.normal(size=(n_documents, DIMENSION))
    return World(
        documents=documents,
        queries=[" ".join(text.split()[:3]) for text in documents[:n_queries]],
        document_vectors=vectors,
        query_vectors=vectors[:n_queries] + draw.normal(size=(n_queries, DIMENSION)) * 0.1,
        relevant=[[row] for row in range(n_queries)],
    )


def run_world(made: World, folder: Path, more: str = "", *, vectors: bool = True) -> Plan:
    """Write a world as a collection with given vectors, and run it with BM25."""
    ids = [f"d{row:04}" for row in range(len(made.documents))]
    asked = [f"q{row:04}" for row in range(len(made.queries))]
    source = write_beir(
        folder / "beir",
        documents=dict(zip(ids, made.documents, strict=True)),
        queries=dict(zip(asked, made.queries, strict=True)),
        qrels={
            "test": [
                (asked[query], ids[row], 1)
                for query, rows in enumerate(made.relevant)
                for row in rows
            ]
        },
    )
    given = ""
    if vectors:
        write_vectors(folder / "d.npy", made.document_vectors, ids)
        write_vectors(folder / "q.npy", made.query_vectors, asked)
        given = f"""
        [candidates.given]
        vectors = {{ documents = "{folder}/d.npy", queries = "{folder}/q.npy" }}
        """
    suite = write_suite(
        folder / "suite.toml",
        f"""
        baseline = "words"
        collections.c.source = "beir:{source}"
        [candidates.words]
        kind = "bm25"
        {given}
        {more}
        """,
    )
    return run_suite(suite, Store(folder / "store"))


def explain(plan: Plan, candidate: str = "given", *, k: int | None = None) -> Explanation:
    """Diagnose a candidate of the planted collection."""
    subject = plan_subject(plan, candidate, Facts(plan.collections["c"]), k=k)
    return explain_losses(subject, Context(store=plan.store))


def findings(found: Explanation) -> Mapping[str, Finding]:
    """Return the findings by reason."""
    return {each.reason: each for each in found.findings}


def told(found: Explanation) -> dict[str, str]:
    """Return the reasons that are confirmed or supported, with their status."""
    return {
        each.reason: each.status
        for each in found.findings
        if each.status in {"confirmed", "supported"}
    }


def ids_of(rows: Sequence[int]) -> list[str]:
    """Return the ids of queries."""
    return [f"q{row:04}" for row in rows]
