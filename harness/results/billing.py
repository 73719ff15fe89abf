"""Billing: what providers take of a query's time, and what they charge, by what was answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.plan.plan import Plan
from harness.retrieval.latency import timing
from harness.retrieval.remote import RemoteEncode, RemoteQuery
from harness.retrieval.remote_reranking import RemoteRescore
from harness.retrieval.search import Search


def at_providers(plan: Plan, name: str, collection: str) -> dict[str, Any]:
    """Return the fields of `Cost` that are about providers; none where all runs here."""
    store = plan.store
    steps = plan.steps[name, collection]
    waited_for = [step for step in steps if step is not None and step.pays]
    remote = [step for step in waited_for if isinstance(step, RemoteQuery | RemoteRescore)]
    leaves = plan.scored[name, collection].run_stage.leaves
    sides = [leaf.space.documents for leaf in leaves if isinstance(leaf, Search)]
    corpora = [side for side in dict.fromkeys(sides) if isinstance(side, RemoteEncode)]
    if not waited_for and not corpora:
        return {}
    waited = timing(waited_for, store)
    queries = [
        step.encode.usd(store, texts=1_000_000)
        if isinstance(step, RemoteQuery)
        else step.scorer.usd_per_million(store, depth=step.depth)
        for step in remote
    ]
    models = [*(side.model for side in corpora), *(step.model for step in remote)]
    prices = [f"{each.name} {each.bill.sentence}" for each in models if each.bill.price]
    return {
        "network_ms_p50": None if waited is None else float(np.median(waited.milliseconds)),
        # What a retriever of one's own costs is not known.
        "usd_per_million_queries": _sum(queries) if len(remote) == len(waited_for) else None,
        "usd_per_corpus": _sum([side.usd(store) for side in corpora]) if remote else None,
        "prices": list(dict.fromkeys(prices)),
    }


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
