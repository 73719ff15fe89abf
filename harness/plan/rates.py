"""Rates: how long stages took on this device, which the estimates of later plans start from.

An estimate counts operations at a rate that is guessed. What a stage of the same model took here,
against its estimate, corrects it; else what another model of the same kind took. Workers of a
cluster have rates of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.environment import device_name
from harness.errors import HarnessError
from harness.hashing import digest
from harness.models.weights import Weights
from harness.retrieval.encoding import Encode
from harness.retrieval.latency import EncodeQuery, RescoreQuery, TimeAgain
from harness.retrieval.reranking import CrossEncoderScorer, ScorePairs
from harness.stage import Stage, Work
from harness.store import Store
from harness.training.finetune import Train
from harness.training.reranker import TrainReranker

# Until they were seen, as docs/scale.md measures them: of workers, and of a model on one.
SECONDS_TO_OPEN, SECONDS_TO_LOAD = 8.0, 8.0
_KIND = "rates"
_FEWEST_SECONDS = 1.0  # shorter stages say little and change no estimate
_KEPT = 0.5  # of what is known, when a stage of the same kind has run again


def corrected(
    stage: Stage, work: Work, *, store: Store, device: str, cluster: str | None = None
) -> Work:
    """Return what a stage has left, with its time at the rate that was seen.

    Args:
        stage: to be done.
        work: what it has to do, with the estimate that no rate has corrected.
        store: where rates are kept.
        device: that it will run on.
        cluster: whose workers run it, as the user names it; None for this process.
    """
    if not work.seconds:
        return work
    for key in _keys(stage, store, _place(device, cluster)):
        found = store.get(_KIND, key)
        if found is not None:
            rate = found.meta["seconds"] / found.meta["estimated"]
            return work._replace(seconds=work.seconds * rate, measured=True)
    return work


def record(
    stage: Stage,
    work: Work,
    seconds: float,
    *,
    store: Store,
    device: str,
    cluster: str | None = None,
) -> None:
    """Remember how long a stage took against its estimate; newer stages count more.

    Args:
        stage: just done.
        work: what it had to do, with the estimate that no rate has corrected.
        seconds: that it took; of workers, all together.
        store: where rates are kept; one that cannot be written keeps none.
        device: that it ran on.
        cluster: as of `corrected`.
    """
    if not work.seconds or max(work.seconds, seconds) < _FEWEST_SECONDS:
        return
    place = _place(device, cluster)
    for key in _keys(stage, store, place):
        found = store.get(_KIND, key)
        before = {"seconds": 0.0, "estimated": 0.0} if found is None else found.meta
        meta: dict[str, Any] = {
            "label": stage.label,
            "device": ", ".join(place),
            "seconds": _KEPT * before["seconds"] + seconds,
            "estimated": _KEPT * before["estimated"] + work.seconds,
        }
        if not _put(store, key, meta):
            return


def seconds_to_start(weights: Weights | None, *, store: Store, device: str, cluster: str) -> float:
    """Return how long workers took to start, or to load a model, when that was last seen.

    Args:
        weights: of the model; None for the workers themselves.
        store: where that is kept.
        device: of a worker.
        cluster: as of `corrected`.
    """
    found = store.get(_KIND, _start_key(weights, _place(device, cluster)))
    if found is not None:
        return float(found.meta["seconds"])
    return SECONDS_TO_OPEN if weights is None else SECONDS_TO_LOAD


def record_start(
    weights: Weights | None, seconds: float, *, store: Store, device: str, cluster: str
) -> None:
    """Remember what `seconds_to_start` returns; a store that cannot be written keeps nothing."""
    place = _place(device, cluster)
    label = "start of the workers" if weights is None else "load a model"
    meta = {"label": label, "device": ", ".join(place), "seconds": seconds}
    _put(store, _start_key(weights, place), meta)


def weights_of(stage: Stage, store: Store) -> Weights | None:
    """Return those of the model that a stage loads; None where it loads none that is known."""
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
    found: Weights | None = None if model is None else model.weights(store)
    return found


def _put(store: Store, key: str, meta: dict[str, Any]) -> bool:
    """Keep a rate, and tell whether the store can be written."""
    try:
        store.put(_KIND, key, arrays={}, meta=meta, replaces=True)
    except (HarnessError, OSError):
        return False
    return True


def _place(device: str, cluster: str | None) -> tuple[str, ...]:
    return (device_name(device),) if cluster is None else (device_name(device), cluster)


def _start_key(of: Weights | None, place: tuple[str, ...]) -> str:
    return digest("start", 1, *place, None if of is None else of.key)


def _keys(stage: Stage, store: Store, place: tuple[str, ...]) -> Iterator[str]:
    """Yield the keys of a stage's rates, that of the same model first."""
    if isinstance(stage, TimeAgain):
        stage = stage.step
    weights = weights_of(stage, store)
    name = type(stage).__name__
    if weights is not None:
        yield digest("rate", 2, name, *place, weights.key)
    yield digest("rate", 2, name, *place, None if weights is None else weights.is_static)
