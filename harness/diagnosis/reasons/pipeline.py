"""Pipeline: a reranker that brings up what has nothing to do with the query, and wrong prompts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from harness.arrays import Rows
from harness.diagnosis.reasons.signs import Proof, Reason, Signs, Trial, sample
from harness.diagnosis.reasons.trials import (
    Queries,
    encode_others,
    encoder,
    hits,
    prove,
    read_side,
    score_rows,
    search_with,
)
from harness.diagnosis.subject import Subject
from harness.models.prompts import known_prompts
from harness.retrieval.encoding import Encode
from harness.retrieval.reranking import Rerank, rerank
from harness.retrieval.search import score_pairs
from harness.runs.run import Run, rank

_FAR, _NEAR = 50, 3
_OVERLAP = 0.1
_SHALLOWER = (20, 50)
_ASKED = 1000  # queries are short: so many cost seconds, and show a loss of two points
_POOL_QUERIES, _POOL_DOCUMENTS = 60, 10


def find_phantoms(subject: Subject) -> Signs | None:
    """Tell where the reranker's first three hold one from far below without a shared word.

    Flags: the documents returned, so it is a symptom. The trial reranks fewer documents.
    """
    stage = subject.stage
    if not isinstance(stage, Rerank) or stage.depth <= _FAR:
        return None
    first = stage.first.result(subject.store)
    top = subject.run.documents[:, :_NEAR]
    wrong = (top >= 0) & ~subject.facts.are_relevant(top)
    before = first.ranks_of(top)
    queries, places = np.nonzero(wrong & (before > _FAR))
    covered = subject.facts.lexicon.coverage(queries, top[queries, places])
    phantom = np.zeros(top.shape, dtype=bool)
    phantom[queries, places] = covered < _OVERLAP
    shows = phantom.any(axis=1) & subject.findable
    if not shows.any():
        return None

    def evidence(row: int) -> str:
        place = int(phantom[row].argmax())
        return (
            f"The reranker puts {subject.collection.document_ids[top[row, place]]} at rank "
            f"{place + 1}, from rank {before[row, place]}; it shares hardly a word with the query."
        )

    return Signs(subject.findable, shows, subject.missed, evidence)


def try_shallower(subject: Subject, signs: Signs) -> Trial | None:  # noqa: ARG001  asked alike
    """Rerank fewer documents, for all queries."""
    stage = subject.stage
    if not isinstance(stage, Rerank):
        return None

    def judge() -> list[Proof]:
        first, rows = stage.first.result(subject.store), np.arange(subject.n_queries)
        return [
            prove(
                subject,
                rows,
                _rerank_less(subject, first, depth),
                change=f"{depth} documents reranked instead of {stage.depth}",
            )
            for depth in _SHALLOWER
            if depth < stage.depth
        ]

    return Trial((), judge)


def _rerank_less(subject: Subject, first: Run, depth: int) -> Run:
    """Rerank the first few documents by the scores that are known from reranking more."""
    top = first.documents[:, :depth]
    scores = np.take_along_axis(subject.run.scores, subject.run.ranks_of(top) - 1, axis=1)
    return rerank(first, scores)


def find_prompts(subject: Subject) -> Signs | None:
    """Flag every query: a prompt concerns the whole candidate, and only the trial counts.

    The trial gives all queries, or a sample drawn without their scores, another prompt.
    """
    if encoder(subject, "query") is None or not prompt_variants(subject):
        return None
    return Signs(subject.findable, subject.findable, subject.missed, lambda _: "")


def prompt_variants(subject: Subject) -> dict[tuple[str, str], str]:
    """Return other prompts of (query, document) to try, and why each, in words."""
    query, document = encoder(subject, "query"), encoder(subject, "document")
    weights = None if query is None else query.model.weights(subject.store)
    if query is None or document is None or weights is None:
        return {}
    used = (query.prompt, document.prompt)
    declared = (weights.prompts.get("query", ""), weights.prompts.get("document", ""))
    known = known_prompts(weights.reference)
    variants = {declared: "as the model declares", ("", ""): "no prompt"}
    if all(used):
        variants[used[1], used[0]] = "query and document prompt swapped"
    if known is not None and "{task}" not in known.query:
        variants[known.query, known.document] = "as models of this name were trained"
    variants.pop(used, None)
    return variants


def try_prompts(subject: Subject, signs: Signs) -> Trial | None:  # noqa: ARG001  asked alike
    """Ask a sample of queries with each other prompt.

    Another prompt of the documents would mean to encode the whole corpus; it is tried on the
    relevant and the first ten documents of fewer queries, against the same few as they are.
    """
    query, document = encoder(subject, "query"), encoder(subject, "document")
    if query is None or document is None:
        return None
    drawn = sample(subject, np.flatnonzero(subject.findable), most=_ASKED)
    encodes: list[Encode] = []
    judges: list[Callable[[], Proof]] = []
    for (asked, told), why in prompt_variants(subject).items():
        change = f"{why} ({asked!r}" + (f", {told!r})" if told != document.prompt else ")")
        rows = drawn if told == document.prompt else drawn[:_POOL_QUERIES]
        texts = [subject.collection.queries[row] for row in rows]
        changed = encode_others(query, texts, what="queries with another prompt", prompt=asked)
        encodes.append(changed)
        if told == document.prompt:
            judges.append(partial(_judge_queries, subject, rows, changed, change))
            continue
        pool = _pool(subject, rows)
        others = encode_others(
            document,
            [subject.collection.documents[row] for row in pool],
            what="documents with another prompt",
            prompt=told,
        )
        encodes.append(others)
        judges.append(partial(_judge_both, subject, rows, (changed, others), pool, change))
    return Trial(tuple(encodes), lambda: [judge() for judge in judges])


def _judge_queries(subject: Subject, rows: Queries, changed: Encode, change: str) -> Proof:
    """Search the whole corpus with another prompt of the queries."""
    run = search_with(subject, rows, read_side(subject, changed))
    return prove(subject, rows, run, change=change)


def _pool(subject: Subject, rows: Queries) -> Rows:
    """Return the relevant and the first documents of some queries, ascending."""
    relevant = subject.facts.relevant
    mine = relevant.documents[np.isin(relevant.queries, rows)]
    first = subject.run.documents[rows, :_POOL_DOCUMENTS].reshape(-1)
    pool: Rows = np.unique(np.concatenate([mine, first[first >= 0]]))
    return pool


def _judge_both(
    subject: Subject, rows: Queries, changed: tuple[Encode, Encode], pool: Rows, change: str
) -> Proof:
    """Search the pool with other prompts on both sides, and as they are."""
    if subject.vectors is None:
        raise TypeError(f"{subject.candidate} searches no vectors")
    queries, documents = (read_side(subject, encode) for encode in changed)
    everything = np.tile(np.arange(len(pool), dtype=np.int32), (len(rows), 1))
    scores = score_pairs(documents, queries.block(0, len(rows)), everything)
    before = score_pairs(
        subject.vectors.documents, subject.vectors.queries.take(rows), pool[everything]
    )
    runs = [rank(pool[everything], values, depth=subject.run.depth) for values in (before, scores)]
    values = [score_rows(subject, rows, run) for run in runs]
    found = [hits(subject, rows, run, k=subject.k) for run in runs]
    return Proof(change, rows, values[1] - values[0], found[1] & ~found[0])


PHANTOM = Reason(
    key="phantom-hit",
    title="The reranker brings up what has nothing to do with the query",
    says="the first three documents hold one from beyond rank 50 that shares hardly a word",
    lever="fix the pipeline",
    detect=find_phantoms,
    trial=try_shallower,
    symptom=True,
)
PROMPT = Reason(
    key="prompt",
    title="Another prompt does better",
    says="",
    lever="fix the pipeline",
    detect=find_prompts,
    trial=try_prompts,
    whole=True,
)
