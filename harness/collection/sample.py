"""Sample: a part of a source, small enough for a first look at a suite."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from harness.collection.packed import take
from harness.collection.raw import RawCollection, RawJudgements, RawSplit, RawTexts
from harness.hashing import digest, text_hashes

DOCUMENTS_PER_QUERY = 20


def sample(raw: RawCollection, queries: int) -> RawCollection:
    """Return the collection with at most so many queries a split, and documents for them.

    The documents are those judged or listed for these queries, and others up to 20 times
    `queries`. Both are chosen by a hash of the id, so that a larger sample holds a smaller one.

    Args:
        raw: the whole.
        queries: with a relevant document, of each split.
    """
    drawn = {name: _lowest(tuple(part.relevant), queries) for name, part in raw.splits.items()}
    splits = {name: _only(part, set(drawn[name])) for name, part in raw.splits.items()}
    judged = {key for part in splits.values() for key in part.judgements.document_ids}
    lists = [part.shortlists.values() for part in splits.values() if part.shortlists is not None]
    judged |= {key for each in lists for documents in each for key in documents}
    present = judged & raw.documents.rows.keys()
    most = DOCUMENTS_PER_QUERY * queries
    others = [key for key in raw.documents.rows if key not in present]
    kept = present.union(_lowest(others, max(most - len(present), 0)))
    return replace(
        raw,
        documents=_texts(raw.documents, _rows_of(raw.documents.ids, kept)),
        splits=splits,
        key=None if raw.key is None else digest(raw.key, "sample", queries),
    )


def with_queries(raw: RawCollection, split: str, queries: frozenset[str]) -> RawCollection:
    """Return the collection with only some queries in a split."""
    key = None if raw.key is None else digest(raw.key, "queries", split, sorted(queries))
    splits = {**raw.splits, split: _only(raw.split(split), queries)}
    return replace(raw, splits=splits, key=key)


def shuffled(ids: Sequence[str]) -> list[str]:
    """Return ids in the order of a hash of each, which is unrelated to it."""
    order = np.argsort(text_hashes(ids)[:, :8].copy().view(np.uint64).reshape(-1), kind="stable")
    return [ids[row] for row in order]


def _lowest(ids: Sequence[str], count: int) -> list[str]:
    return list(ids) if len(ids) <= count else shuffled(ids)[:count]


def _only(part: RawSplit, queries: AbstractSet[str]) -> RawSplit:
    """Return a split of some queries, with their judgements."""
    judged, lists = part.judgements, part.shortlists
    rows = _rows_of(judged.query_ids, queries)
    return RawSplit(
        _texts(part.queries, _rows_of(part.queries.ids, queries)),
        RawJudgements(
            file=judged.file,
            query_ids=tuple(judged.query_ids[row] for row in rows),
            document_ids=tuple(judged.document_ids[row] for row in rows),
            grades=judged.grades[rows],
            lines=judged.lines[rows] if len(judged.lines) else judged.lines,
        ),
        None if lists is None else {key: lists[key] for key in lists if key in queries},
    )


def _rows_of(ids: Sequence[str], kept: AbstractSet[str]) -> npt.NDArray[np.int64]:
    return np.array([row for row, key in enumerate(ids) if key in kept], dtype=np.int64)


def _texts(texts: RawTexts, rows: npt.NDArray[np.int64]) -> RawTexts:
    return replace(
        texts,
        ids=tuple(texts.ids[row] for row in rows),
        texts=take(texts.texts, rows),
        lines=texts.lines[rows] if len(texts.lines) else texts.lines,
        clusters=tuple(texts.clusters[row] for row in rows) if texts.clusters else (),
    )
