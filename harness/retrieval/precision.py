"""Precision: what a model computes in on a GPU, half where that stays exact.

Half precision is several times as fast there. Whether it changes what is found depends on the
weights, so each model is tried on a sample of the collection's own texts against float32, once:
the choice is stored, and is part of the key of all that the model computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.environment import device_name, today
from harness.errors import HarnessError
from harness.models.source import ModelSource
from harness.stage import Context, InputMissingError, Keyed, unkeyed
from harness.store import Artifact, Store

SAMPLE_TEXTS = 256  # texts, or pairs, on which a type is tried
HALVES = ("float16", "bfloat16")  # float16 rounds eight times finer, bfloat16 holds larger numbers
LEAST_COSINE = 0.999
LEAST_ORDER = 0.98

_KIND = "precision"
_NEAREST = 10


class Agreement(NamedTuple):
    """How close what a model computes in one precision is to another.

    Attributes:
        cosine: the lowest between the two vectors of a text; of scores, their correlation. NaN
            where a number is infinite or none.
        order: share of what both rank alike, from 0 to 1.
        what: they rank, for people.
    """

    cosine: float
    order: float
    what: str

    @property
    def is_close(self) -> bool:
        """Whether the other type may stand in."""
        return self.cosine >= LEAST_COSINE and self.order >= LEAST_ORDER

    @property
    def words(self) -> str:
        """The figures, in a few words."""
        return f"cosine {self.cosine:.5f} at least, {self.order:.1%} of {self.what} alike"


def agreement_of_vectors(
    exact: npt.NDArray[np.float32], rough: npt.NDArray[np.float32]
) -> Agreement:
    """Compare vectors [n, dim] of the same texts, and the nearest ten of each among the others.

    >>> agreement_of_vectors(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)).is_close
    True
    """
    one, other = _unit(exact), _unit(rough)
    cosines = (one * other).sum(axis=1)
    count = min(_NEAREST, len(one) - 1)
    shared = [
        len(np.intersect1d(mine, theirs))
        for mine, theirs in zip(_nearest(one, count), _nearest(other, count), strict=True)
    ]
    order = float(np.mean(shared)) / count if count > 0 else 1.0
    return Agreement(float(cosines.min(initial=1.0)), order, "the ten nearest")


def agreement_of_scores(
    exact: npt.NDArray[np.float32], rough: npt.NDArray[np.float32]
) -> Agreement:
    """Compare scores [n] of the same pairs, and the order of each two of them.

    >>> scores = np.array([0.3, 0.1, 0.2], dtype=np.float32)
    >>> agreement_of_scores(scores, -scores).order
    0.0
    """
    one, other = (each.astype(np.float64) - each.mean(dtype=np.float64) for each in (exact, rough))
    both = np.linalg.norm(one) * np.linalg.norm(other)
    cosine = float(one @ other / both) if both > 0 else float(np.array_equal(one, other))
    rows, columns = np.triu_indices(len(one), k=1)
    signs = (np.sign(each[rows] - each[columns]) for each in (one, other))
    same = np.equal(*signs)
    return Agreement(cosine, float(same.mean()) if len(same) else 1.0, "all pairs of scores")


@dataclass(frozen=True, eq=False)
class AutoDtype(Keyed):
    """The precision that a model computes in on a GPU, which is tried when it is first used.

    Attributes:
        name: of the model, for people.
        model: whose numbers.
        max_length: tokens.
    """

    name: str = field(metadata=unkeyed("for people"))
    model: ModelSource
    max_length: int | None

    def content_key(self, store: Store) -> str | None:
        """Return the chosen type: what it computes is known by it as if the suite had named it."""
        return self.chosen(store)

    def chosen(self, store: Store) -> str | None:
        """Return the chosen type; None until it was tried. Static embeddings only add."""
        weights = self.model.weights(store)
        if weights is not None and weights.is_static:
            return "float32"
        found = self._stored(store)
        return None if found is None else str(found.meta["dtype"])

    def words(self, store: Store) -> str:
        """Return what is known of the choice, for people."""
        found = self._stored(store)
        if found is None:
            chosen = self.chosen(store)
            return f"{self.name}: {chosen or 'chosen by a probe on first use'}"
        return f"{self.name}: {found.meta['dtype']}. {found.meta['why']}"

    def settle(
        self,
        context: Context,
        compute: Callable[[str], npt.NDArray[np.float32]],
        agreement: Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32]], Agreement],
    ) -> None:
        """Try the types and store the first that is close enough to float32, unless that is known.

        Args:
            context: of the run.
            compute: vectors or scores of a sample, in a precision.
            agreement: of two such answers.
        """
        if self.chosen(context.store) is not None:
            return
        exact = compute("float32")
        tried: list[str] = []
        chosen = "float32"
        for dtype in HALVES if len(exact) else ():
            try:
                found = agreement(exact, compute(dtype))
            except HarnessError as error:
                tried.append(f"{dtype} fails: {error}")
                continue
            tried.append(f"{dtype}: {found.words}")
            if found.is_close:
                chosen = dtype
                break
        limits = f"needed: cosine {LEAST_COSINE}, {LEAST_ORDER:.0%}"
        why = f"Of {len(exact)} texts against float32, {'; '.join(tried) or 'none'} ({limits})."
        key = self.key(context.store)
        if key is None:
            raise InputMissingError(f"{self.name}: the weights do not exist yet")
        meta: dict[str, Any] = {
            "label": f"precision of {self.name}",
            "dtype": chosen,
            "why": why,
            "device": device_name(context.device),
            "date": today(),
        }
        context.store.put(_KIND, key, arrays={}, meta=meta)

    def _stored(self, store: Store) -> Artifact | None:
        key = self.key(store)
        return None if key is None else store.get(_KIND, key)


def known_dtype(dtype: str | AutoDtype, store: Store) -> str:
    """Return a precision, or the one that was chosen.

    Raises:
        InputMissingError: none was chosen yet.
    """
    found = dtype.chosen(store) if isinstance(dtype, AutoDtype) else dtype
    if found is None:
        raise InputMissingError("the precision was not chosen yet")
    return found


def precision_on(dtype: str, device: str) -> str:
    """Return a suite's precision as it is meant on a device: "auto" on a CPU is float32."""
    return "float32" if dtype == "auto" and not device.startswith("cuda") else dtype


def choices(stages: Any, store: Store) -> Iterator[str]:
    """Yield what is known of each precision that stages leave open, each model once."""
    holders = (
        getattr(owner, "dtype", None) for stage in stages for owner in (stage, _scorer(stage))
    )
    yield from dict.fromkeys(
        dtype.words(store) for dtype in holders if isinstance(dtype, AutoDtype)
    )


def _scorer(stage: Any) -> Any:
    return getattr(stage, "scorer", None)


def _unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(norms > 0, norms, 1)


def _nearest(unit: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
    """Return the rows of the `count` nearest others of each vector, int64 [n, count]."""
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    return np.argsort(-cosines, axis=1, kind="stable")[:, :count]
