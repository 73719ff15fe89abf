"""Pipeline: a reranker that brings up what has nothing to do with the query, and wrong prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from harness.arrays import Rows
from harness.diagnosis.reasons.reason import (
    Proof,
    Reason,
    Signs,
    encode_others,
    encoded,
    encoder,
    look,
    prove,
    search_with,
)
from harness.diagnosis.subject import Queries, Subject
from harness.models.prompts import PLACE, known_prompts
from harness.models.weights import Weights
from harness.providers.table import NOTHING, PerSide
from harness.retrieval.embeddings import Embeddings
from harness.retrieval.encoding import Encode
from harness.retrieval.remote import RemoteEncode
from harness.retrieval.reranking import rerank
from harness.retrieval.search import score_pairs
from harness.runs.run import rank
from harness.stage import Context

_FAR, _NEAR = 50, 3
_OVERLAP = 0.1
_SHALLOWER = (20, 50)
_ASKED = 1000  # queries are short: so many cost seconds, and show a loss of two points
_POOL_QUERIES, _POOL_DOCUMENTS = 60, 10


def find_phantoms(subject: Subject) -> Signs | None:
    """Tell where the reranker's first three hold one from far below without a shared word.

    Flags: the documents returned, so it is a symptom. The trial reranks fewer documents.
    """
    stage = subject.reranker
    if stage is None or stage.depth <= _FAR:
        return None
    top = subject.run.documents[:, :_NEAR]
    before = stage.first.result(subject.store).ranks_of(top)
    wrong = (top >= 0) & ~subject.facts.are_relevant(top)
    queries, places = np.nonzero(wrong & (before > _FAR))
    phantom = np.zeros(top.shape, dtype=bool)
    covered = subject.facts.lexicon.coverage(queries, top[queries, places])
    phantom[queries, places] = covered < _OVERLAP

    def see(row: int) -> str | bool:
        place = int(phantom[row].argmax())
        return bool(phantom[row, place]) and (
            f"The reranker puts {subject.collection.document_ids[top[row, place]]} at rank "
            f"{place + 1}, from rank {before[row, place]}; it shares hardly any words with the "
            "query."
        )

    return look(subject, see)


def try_shallower(subject: Subject, signs: Signs, _context: Context) -> list[Proof]:
    """Rerank fewer documents, for all queries, by the scores that are known from reranking more."""
    stage, run = subject.reranker, subject.run
    if stage is None:
        return []
    first, proofs = stage.first.result(subject.store), []
    for depth in _SHALLOWER:
        if depth < stage.depth:
            places = run.ranks_of(first.documents[:, :depth]) - 1
            less = rerank(first, np.take_along_axis(run.scores, places, axis=1))
            change = f"{depth} documents reranked instead of {stage.depth}"
            proofs.append(prove(subject, signs, less, change=change))
    return proofs


class Variant(NamedTuple):
    """Another way to tell a model which side a text is of.

    Attributes:
        query, document: how a side is encoded so.
        words: what is changed, for people.
    """

    query: Encode
    document: Encode
    words: str


def find_prompts(subject: Subject) -> Signs:
    """Flag every query: a prompt concerns the whole candidate, and only the trial counts.

    The trial gives all queries, or a sample drawn without their scores, another prompt.
    """
    to_try = any(True for _ in variants(subject))
    return look(subject, lambda _: to_try)


def variants(subject: Subject) -> Iterator[Variant]:
    """Yield other prompts to try, and other input types of a provider's model."""
    query, document = encoder(subject, "query"), encoder(subject, "document")
    if query is None or document is None:
        return
    if isinstance(query, RemoteEncode) and isinstance(document, RemoteEncode):
        yield from _other_types(query, document)
    for (asked, told), why in _other_prompts(subject, query, document).items():
        other = "" if told == document.prompt else f", {told!r}"
        yield Variant(
            replace(query, prompt=asked),
            replace(document, prompt=told),
            f"{why} ({asked!r}{other})",
        )


def _other_types(query: RemoteEncode, document: RemoteEncode) -> Iterator[Variant]:
    """Yield the input types that the provider documents, and those of the other side."""
    used = PerSide(query.input_type, document.input_type)
    documented = PerSide(_documented(query).query, _documented(document).document)
    others = {
        documented: "input types as the provider documents",
        PerSide(used.document, used.document): "queries with the input type of documents",
        PerSide(used.query, used.query): "documents with the input type of queries",
    }
    others.pop(used, None)
    for types, why in others.items():
        told = "" if types.document == used.document else f", {types.document!r}"
        yield Variant(
            replace(query, input_type=types.query),
            replace(document, input_type=types.document),
            f"{why} ({types.query!r}{told})",
        )


def _documented(encode: RemoteEncode) -> PerSide:
    return encode.model.facts.input_types or encode.model.api.input_types


def _other_prompts(subject: Subject, query: Encode, document: Encode) -> dict[tuple[str, str], str]:
    """Return other prompts of (query, document) to try, and why each, in words."""
    used = (query.prompt, document.prompt)
    if isinstance(query, RemoteEncode):
        documented = query.model.facts.prompts
        variants = {(documented.query, documented.document): "as the provider documents"}
        variants[NOTHING.query, NOTHING.document] = "no prompt"
    else:
        variants = _of_weights(query, used, query.model.weights(subject.store))
    if query.model is not document.model:  # whose prompt is its own matter
        variants = {(asked, document.prompt): why for (asked, _), why in variants.items()}
    instruction = query.texts.instruction
    if instruction is not None and instruction in query.prompt:
        variants["", document.prompt] = "no instruction"
    variants.pop(used, None)
    return variants


def _of_weights(
    query: Encode, used: tuple[str, str], weights: Weights | None
) -> dict[tuple[str, str], str]:
    """Return prompts that a model's files and name suggest, and why each, in words."""
    if weights is None:
        return {}
    declared = (weights.prompts.get("query", ""), weights.prompts.get("document", ""))
    known = known_prompts(weights.reference)
    variants = {declared: "as the model declares", ("", ""): "no prompt"}
    if all(used):
        variants[used[1], used[0]] = "query and document prompt swapped"
    instruction = query.texts.instruction
    if known is not None and (instruction is not None or PLACE not in known.query):
        asked = known.query.replace(PLACE, instruction or "")
        variants[asked, known.document] = "as models of this name were trained"
    return variants


def try_prompts(subject: Subject, signs: Signs, context: Context) -> list[Proof]:
    """Ask a sample of queries with each other prompt.

    Another prompt of the documents would mean to encode the whole corpus; it is tried on the
    relevant and the first ten documents of fewer queries, against the same few as they are.
    """
    query, document = encoder(subject, "query"), encoder(subject, "document")
    if query is None or document is None:
        return []
    drawn = subject.sample(np.flatnonzero(subject.findable), most=_ASKED)
    texts = subject.collection
    tried: list[tuple[str, Queries, Rows | None]] = []
    encodes: list[Encode] = []
    for variant in variants(subject):
        is_same = variant.document.space_key(subject.store) == document.space_key(subject.store)
        rows = drawn if is_same else drawn[:_POOL_QUERIES]
        pool: Rows | None = None
        if not is_same:
            relevant = subject.facts.relevant
            mine = relevant.documents[np.isin(relevant.queries, rows)]
            first = subject.run.documents[rows, :_POOL_DOCUMENTS].reshape(-1)
            pool = np.unique(np.concatenate([mine, first[first >= 0]]))
        tried.append((variant.words, rows, pool))
        some = [texts.queries[row] for row in rows]
        encodes.append(encode_others(variant.query, some, what="queries with another prompt"))
        if pool is not None:
            some = [texts.documents[row] for row in pool]
            what = "documents with another prompt"
            encodes.append(encode_others(variant.document, some, what=what))
    vectors = iter(encoded(subject, context, *encodes))
    proofs = []
    for change, rows, pool in tried:
        if pool is None:
            run = search_with(subject, rows, next(vectors))
            proofs.append(prove(subject, signs, run, change=change, rows=rows))
        else:
            sides = (next(vectors), next(vectors))
            proofs.append(_prove_in_pool(subject, rows, sides, pool, change=change))
    return proofs


def _prove_in_pool(
    subject: Subject, rows: Queries, sides: Sequence[Embeddings], pool: Rows, *, change: str
) -> Proof:
    """Search the pool with other prompts on both sides, queries first, and as they are."""
    queries, documents = sides
    everything = np.tile(np.arange(len(pool), dtype=np.int32), (len(rows), 1))
    own = subject.searched
    before = score_pairs(own.documents, own.queries.take(rows), pool[everything])
    after = score_pairs(documents, queries.block(0, len(rows)), everything)
    runs = [rank(pool[everything], scores, depth=subject.run.depth) for scores in (before, after)]
    old, new = (subject.score(rows, run) for run in runs)
    was_found, is_found = (subject.hits(rows, run, k=subject.k) for run in runs)
    return Proof(change, rows, new - old, is_found & ~was_found)


PHANTOM = Reason(
    key="phantom-hit",
    title="The reranker promotes irrelevant documents",
    says="the top three hold a document from beyond rank 50 that shares hardly any words",
    lever="fix the pipeline",
    detect=find_phantoms,
    trial=try_shallower,
    symptom=True,
)
PROMPT = Reason(
    key="prompt",
    title="Another prompt scores better",
    says="",
    lever="fix the pipeline",
    detect=find_prompts,
    trial=try_prompts,
    whole=True,
)
