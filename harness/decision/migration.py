"""Migration: what it takes, once, to serve a candidate in the baseline's place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from harness.decision.situation import Migration
from harness.plan.plan import Plan
from harness.retrieval.encoding import Encode
from harness.retrieval.latency import Step
from harness.retrieval.lexical import LexicalQuery
from harness.retrieval.remote import RemoteEncode
from harness.store import Store


class _Index(NamedTuple):
    """What a step of answering a query searches.

    Attributes:
        key: of the documents as they are searched; no query has a part in it.
        vectors: where those of the documents come from; None of words.
        size: bytes, or None where they were not measured.
    """

    key: tuple[object, ...]
    vectors: Any
    size: int | None


def migration(plan: Plan, name: str) -> Migration | None:
    """Return what a candidate takes beside the baseline's index; None where that index serves it.

    A reranker, another side for queries or other weights of a fusion search the same index. A
    truncation or quantisation builds one of the vectors that are stored, and embeds nothing.

    Args:
        plan: finished.
        name: of a candidate.
    """
    suite, store = plan.suite, plan.store
    places = suite.collections_of("target")
    corpora: list[Any] = []
    sizes: list[int | None] = []
    for place in places:
        used, wanted = (list(_indexes(plan, each, place)) for each in (suite.baseline, name))
        known = {index.key for index in used}
        embedded = {_key(index.vectors, store) for index in used}
        new = {index.key: index for index in wanted if index.key not in known}
        sizes += [index.size for index in new.values()]
        found = {_key(index.vectors, store): index.vectors for index in new.values()}
        corpora += [each for key, each in found.items() if key and key not in embedded]
    if not sizes:
        return None
    here = sum(len(plan.collections[place].documents) for place in places)
    documents = suite.prices.documents if suite.prices else here
    times = documents / here
    size = _sum(sizes)
    index_bytes = None if size is None else round(size * times)
    if not corpora:
        return Migration(documents=documents, index_bytes=index_bytes)
    effort = [_effort(each, store) for each in corpora]
    tokens, seconds = _sum([each.tokens for each in effort]), _sum([e.seconds for e in effort])
    hours = None if seconds is None else seconds * times / 3600
    money, currency = _money(plan, corpora, hours, times=times)
    return Migration(
        documents=documents,
        embeds=True,
        tokens=None if tokens is None else round(tokens * times),
        hours=hours,
        tokens_per_second=tokens / seconds if tokens and seconds else None,
        device=", ".join(dict.fromkeys(each.device for each in effort if each.device)),
        money=money,
        currency=currency,
        index_bytes=index_bytes,
    )


def _money(
    plan: Plan, corpora: Sequence[Any], hours: float | None, *, times: float
) -> tuple[float | None, str]:
    """Return what providers bill, or what the hours of a device cost; None where that is open."""
    remote = [each for each in corpora if isinstance(each, RemoteEncode)]
    prices, billed = plan.suite.prices, _sum([each.usd(plan.store) for each in remote])
    if len(remote) == len(corpora):
        return (None, "") if billed is None else (billed * times, "USD")
    if prices is None or hours is None or remote:
        return None, ""
    return hours * prices.device_hour, prices.currency


def _indexes(plan: Plan, name: str, collection: str) -> Iterator[_Index]:
    """Yield what is searched to answer a query."""
    store = plan.store
    for step in plan.steps[name, collection]:
        if step is None:
            continue
        if isinstance(step, LexicalQuery):
            yield _Index(("words", step.key(store)), None, _bytes(step, store))
            continue
        space = getattr(step, "space", None) or getattr(
            getattr(step, "scorer", None), "space", None
        )
        if space is None:
            continue
        built, coarser = getattr(step, "built", None), getattr(space, "coarser", None)
        key = (
            _key(space.documents, store),
            getattr(space, "width", None),
            coarser.key if coarser else None,
            built.key(store) if built else None,
        )
        yield _Index(key, space.documents, _bytes(step, store))


def _bytes(step: Step, store: Store) -> int | None:
    artifact = step.artifact(store)
    found: int | None = None if artifact is None else artifact.meta["index_bytes"]
    return found


def _key(vectors: Any, store: Store) -> str:
    return "" if vectors is None else str(vectors.key(store))


class _Effort(NamedTuple):
    """What embedding a corpus took: tokens, seconds of one device, and which; None if not known."""

    tokens: float | None
    seconds: float | None
    device: str


def _effort(vectors: Any, store: Store) -> _Effort:
    """Return what embedding all distinct texts of a corpus takes at the rate that was measured."""
    found = [each.meta for each in vectors.timings(store)] if isinstance(vectors, Encode) else []
    if not found:
        return _Effort(None, None, "")
    mine = [meta for meta in found if meta["device"] == found[0]["device"]]
    times = len(vectors.texts.distinct) / max(1, sum(meta["texts"] for meta in mine))
    tokens = sum(meta["tokens"] for meta in mine) * times
    return _Effort(tokens or None, sum(meta["seconds"] for meta in mine) * times, mine[0]["device"])


def _sum(values: list[Any]) -> Any:
    """Return the sum; None where one is not known, or there is none."""
    return sum(values) if values and None not in values else None
