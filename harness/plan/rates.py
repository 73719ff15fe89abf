"""Rates: how long stages took on this device, which the estimates of later plans start from.

An estimate counts operations at a rate that is guessed. What a stage of the same model took here,
against its estimate, corrects it; else what another model of the same kind took.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.environment import device_name
from harness.errors import HarnessError
from harness.hashing import digest
from harness.retrieval.encoding import Encode
from harness.retrieval.latency import EncodeQuery, RescoreQuery, TimeAgain
from harness.retrieval.reranking import CrossEncoderScorer, ScorePairs
from harness.stage import Stage, Work
from harness.store import Store
from harness.training.finetune import Train
from harness.training.reranker import TrainReranker

_KIND = "rates"
_FEWEST_SECONDS = 1.0  # shorter stages say little and change no estimate
_KEPT = 0.5  # of what is known, when a stage of the same kind has run again


def corrected(stage: Stage, work: Work, *, store: Store, device: str) -> Work:
    """Return what a stage has left, with its time at the rate that was seen on this device."""
    if not work.seconds:
        return work
    for key in _keys(stage, store, device):
        found = store.get(_KIND, key)
        if found is not None:
            rate = found.meta["seconds"] / found.meta["estimated"]
            return work._replace(seconds=work.seconds * rate, measured=True)
    return work


def record(stage: Stage, work: Work, seconds: float, *, store: Store, device: str) -> None:
    """Remember how long a stage took against its estimate; newer stages count more.

    Args:
        stage: just done.
        work: what it had to do, with the estimate that no rate has corrected.
        seconds: that it took.
        store: where rates are kept; one that cannot be written keeps none.
        device: that it ran on.
    """
    if not work.seconds or max(work.seconds, seconds) < _FEWEST_SECONDS:
        return
    for key in _keys(stage, store, device):
        found = store.get(_KIND, key)
        before = {"seconds": 0.0, "estimated": 0.0} if found is None else found.meta
        meta: dict[str, Any] = {
            "label": stage.label,
            "device": device_name(device),
            "seconds": _KEPT * before["seconds"] + seconds,
            "estimated": _KEPT * before["estimated"] + work.seconds,
        }
        try:
            store.put(_KIND, key, arrays={}, meta=meta, replaces=True)
        except (HarnessError, OSError):
            return


def _keys(stage: Stage, store: Store, device: str) -> Iterator[str]:
    """Yield the keys of a stage's rates, that of the same model first."""
    if isinstance(stage, TimeAgain):
        stage = stage.step
    place = (type(stage).__name__, device_name(device))
    model: Any = None
    match stage:
        case Encode():
            model = stage.model
        case EncodeQuery():
            model = stage.encode.model
        case Train():
            model = stage.parent
        case TrainReranker():
            model = stage.base
        case ScorePairs() | RescoreQuery() if isinstance(stage.scorer, CrossEncoderScorer):
            model = stage.scorer.model
    weights = None if model is None else model.weights(store)
    if weights is not None:
        yield digest("rate", 1, *place, weights.key)
    yield digest("rate", 1, *place, None if weights is None else weights.is_static)
