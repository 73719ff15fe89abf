"""Precision: what a model computes in, and by which engine, the fastest that stays exact.

On a GPU half precision is several times as fast. Whether it changes what is found depends on the
weights, so each model is tried on a sample of the collection's own texts against float32, once.
On a CPU the engines that are installed, and bfloat16 where it has that, are tried and timed in the
same way. The choice is stored, and is part of the key of all that the model computes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from harness.environment import device_name, has_bfloat16, today
from harness.errors import HarnessError
from harness.models.engines import Arithmetic, Engine, installed, is_installed
from harness.models.source import ModelSource
from harness.models.weights import Weights
from harness.stage import Context, InputMissingError, Keyed, unkeyed
from harness.store import Store
from harness.suite.table import Dtype, EngineChoice

PROBED = 256  # texts, or pairs, on which a type is tried
TIMED = 64  # the same on a CPU, where each engine computes them three times
WORTH = 4096  # texts, or pairs, below which exporting a model costs more than an engine wins
HALVES = ("float16", "bfloat16")  # float16 rounds eight times finer, bfloat16 holds larger numbers
LEAST_COSINE = 0.999
EXACT_COSINE = 1 - 1e-5  # of another engine in float32
LEAST_ORDER = 0.98

_GAIN = 1.1  # in speed, without which torch remains
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
    def is_exact(self) -> bool:
        """Whether another engine may, of the same type."""
        return self.cosine >= EXACT_COSINE and self.order >= LEAST_ORDER

    @property
    def words(self) -> str:
        """The figures, in a few words."""
        return f"cosine at least {self.cosine:.5f}, {self.order:.1%} of {self.what} alike"


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


class StoredResult(Protocol):
    """What a model has computed by torch in float32."""

    def kind(self, store: Store) -> str | None:
        """Folder of it in the store."""


@dataclass(frozen=True, eq=False)
class AutoDtype(Keyed):
    """What a model computes in, and by which engine, which is tried when it is first used.

    Attributes:
        name: of the model, for people.
        model: whose numbers.
        max_length: tokens.
        tried: the reference, and what may take its place.
        fastest: take the fastest of these that is close enough, as on a CPU; else the first.
        texts: about how many texts, or pairs, the suite has for the model.
        kept: where its numbers lie if torch computed them in float32.
    """

    name: str = field(metadata=unkeyed("for people"))
    model: ModelSource
    max_length: int | None
    tried: tuple[Arithmetic, ...] = field(
        default=("float32", *HALVES), metadata=unkeyed("the choice is stored")
    )
    fastest: bool = field(default=False, metadata=unkeyed("the choice is stored"))
    texts: int = field(default=0, metadata=unkeyed("decides whether it is worth a try"))
    kept: tuple[StoredResult, ...] = field(
        default=(), metadata=unkeyed("decides whether anything is tried")
    )

    def content_key(self, store: Store) -> str | None:
        """Return the choice: what it computes is known by it as if the suite had named it."""
        found = self.chosen(store)
        return None if found is None else key_of(found)

    def chosen(self, store: Store) -> Arithmetic | None:
        """Return the choice; None until it was tried. Static embeddings only add.

        On a CPU torch stays where little is to do, and where it has computed something before: what
        is stored is never computed again because a faster engine is there.
        """
        weights = self.model.weights(store)
        if weights is not None and weights.is_static:
            return "float32"
        found = self._stored(store)
        if found is not None:
            return {key_of(each): each for each in self.tried}[found["dtype"]]
        if self.fastest and (self.texts < WORTH or self._is_kept(store)):
            return self.tried[0]
        return None

    @property
    def sample(self) -> int:
        """Texts, or pairs, on which it is tried."""
        return TIMED if self.fastest else PROBED

    def words(self, store: Store) -> str | None:
        """Return what is known of the choice, for people; None where there was none to make."""
        found, chosen = self._stored(store), self.chosen(store)
        if found is not None and chosen is not None:
            return f"{self.name} runs on {self._name(chosen)}. {found['why']}"
        if chosen is None:
            return f"{self.name}: a probe on first use chooses engine and precision"
        if not self.fastest:
            return f"{self.name} runs on {chosen}"
        if self.texts < WORTH or not self._is_kept(store):
            return None
        return f"{self.name} runs on {words_of(chosen)}, as in stored results"

    def settle(
        self,
        context: Context,
        compute: Callable[[Arithmetic], npt.NDArray[np.float32]],
        agreement: Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32]], Agreement],
    ) -> None:
        """Try what may be taken and store the choice, unless that is known.

        Args:
            context: of the run.
            compute: vectors or scores of a sample, with the model loaded in an arithmetic.
            agreement: of two such answers.
        """
        if self.chosen(context.store) is not None:
            return
        chosen = reference = self.tried[0]
        label = f"compare engines and precisions of {self.name}"
        with context.progress.task(label, total=len(self.tried), unit="options") as advance:
            exact, usual = self._computed(compute, reference)
            advance(1)
            best, said = usual / _GAIN, []
            for each in self.tried[1:] if len(exact) else ():
                try:
                    rough, seconds = self._computed(compute, each)
                except HarnessError as error:
                    said.append(f"{self._name(each)} fails: {error}")
                    continue
                finally:
                    advance(1)
                found = agreement(exact, rough)
                fits = found.is_close if _is_half(each) else found.is_exact
                speed = usual / seconds if self.fastest else 0.0
                said.append(self._found(each, found, fits=fits, speed=speed))
                if not fits:
                    continue
                if not self.fastest:
                    chosen = each
                    break
                if seconds < best:
                    chosen, best = each, seconds
        why = f"On {len(exact)} texts, {'; '.join(said) or 'nothing was tried'}."
        self._store(context, chosen, why)

    def _computed(
        self, compute: Callable[[Arithmetic], npt.NDArray[np.float32]], how: Arithmetic
    ) -> tuple[npt.NDArray[np.float32], float]:
        """Return the numbers of the sample, and the seconds of computing it with a loaded model.

        The better of two, since others may use the machine.
        """
        numbers, seconds = compute(how), []
        for _ in range(2 if self.fastest else 0):
            started = time.perf_counter()
            compute(how)
            seconds.append(time.perf_counter() - started)
        return numbers, min(seconds, default=0.0)

    def _name(self, arithmetic: Arithmetic) -> str:
        return words_of(arithmetic) if self.fastest else key_of(arithmetic)

    def _found(self, tried: Arithmetic, found: Agreement, *, fits: bool, speed: float) -> str:
        """Return what came of a try, for people; a speed of 0 does not count."""
        other = f"{self._name(tried)} {'agrees with' if fits else 'differs from'}"
        said = f"{other} {self._name(self.tried[0])}"
        if not fits or not speed:
            cosine = LEAST_COSINE if _is_half(tried) else EXACT_COSINE
            said += f" ({found.words}; needed: {cosine}, {LEAST_ORDER:.0%})"
        if fits and speed:
            said += f" at {speed:.2f} times its speed ({_GAIN} needed)"
        return said

    def _store(self, context: Context, chosen: Arithmetic, why: str) -> None:
        key = self.key(context.store)
        if key is None:
            raise InputMissingError(f"{self.name}: the weights do not exist yet")
        meta = {
            "label": f"precision of {self.name}",
            "dtype": key_of(chosen),
            "why": why,
            "device": device_name(context.device),
            "date": today(),
        }
        # A choice that is there and cannot be used here, as of an engine that is gone, is replaced.
        context.store.put(self._kind, key, arrays={}, meta=meta, replaces=True)

    @property
    def _kind(self) -> str:
        if not self.fastest:
            return "precision"
        return f"engines/{'auto' if any(map(_is_half, self.tried)) else 'float32'}"

    def _stored(self, store: Store) -> Mapping[str, Any] | None:
        """Return what is stored of the choice, unless it cannot be used here."""
        key = self.key(store)
        found = None if key is None else store.get(self._kind, key)
        usable = found is not None and found.meta["dtype"] in map(key_of, self.tried)
        return found.meta if found is not None and usable else None

    def _is_kept(self, store: Store) -> bool:
        kinds = (each.kind(store) for each in self.kept)
        return any(kind is not None and store.names(kind) for kind in kinds)


def arithmetics(dtype: Dtype, engine: EngineChoice, device: str) -> tuple[Arithmetic, ...]:
    """Return what a suite lets a model be computed in on a device: one, or several to try.

    The first is what the others are compared with.

    Args:
        dtype: as a suite gives it. On a CPU "auto" is float32, beside which bfloat16 is tried where
            the CPU computes that and the engine is open, too.
        engine: as a suite gives it.
        device: torch's name.
    """
    if device.startswith("cuda"):
        return ("float32", *HALVES) if dtype == "auto" else (dtype,)
    named = "float32" if dtype == "auto" else dtype
    if engine == "torch" or (engine == "auto" and named != "float32"):
        return (named,)
    if engine != "auto":
        return (Engine(engine, named),)
    engines = installed()
    halves: list[Arithmetic] = []
    if dtype == "auto" and has_bfloat16():
        halves = ["bfloat16", *(Engine(name, "bfloat16") for name in engines if name == "openvino")]
    return ("float32", *(Engine(name) for name in engines), *halves)


def open_or_named(
    tried: tuple[Arithmetic, ...],
    name: str,
    model: ModelSource,
    max_length: int | None,
    *,
    texts: int,
    kept: tuple[StoredResult, ...],
) -> Arithmetic | AutoDtype:
    """Return what is tried where it is one, else what chooses; the arguments are `AutoDtype`'s."""
    if len(tried) == 1:
        return tried[0]
    fastest = "float16" not in tried
    return AutoDtype(name, model, max_length, tried, fastest, texts, kept)


def engine_problems(
    dtype: Dtype, engine: EngineChoice, device: str, weights: Weights | None
) -> Iterator[str]:
    """Yield what is wrong with the engine that a suite names for a model."""
    if engine == "auto" or engine == "torch":  # noqa: PLR1714 - mypy reads this
        return
    if device.startswith("cuda"):
        yield (
            f'engine = "{engine}" computes on a CPU, but the device is {device}. Use --device cpu '
            '(in Python: device="cpu"), or engine = "auto".'
        )
    if not is_installed(engine):
        yield f"engine = \"{engine}\" is not installed: pip install 'embedding-harness[{engine}]'"
    if dtype == "float16" or (dtype == "bfloat16" and engine == "onnx"):
        yield f'engine = "{engine}" does not compute in {dtype}. Use dtype = "float32".'
    if weights is not None and weights.is_static:
        yield (
            f"'{weights.reference}' is static: its vectors are sums, with no transformer for "
            f'engine = "{engine}". Remove it.'
        )


def key_of(arithmetic: Arithmetic) -> str:
    """Return what an arithmetic is in keys."""
    return arithmetic if isinstance(arithmetic, str) else arithmetic.key


def known_dtype(dtype: Arithmetic | AutoDtype, store: Store) -> Arithmetic:
    """Return an arithmetic, or the one that was chosen.

    Raises:
        InputMissingError: none was chosen yet.
    """
    found = dtype.chosen(store) if isinstance(dtype, AutoDtype) else dtype
    if found is None:
        raise InputMissingError("the precision was not chosen yet")
    return found


def words_of(arithmetic: Arithmetic) -> str:
    """Return the engine and its type, for people."""
    return f"torch in {arithmetic}" if isinstance(arithmetic, str) else str(arithmetic)


def _is_half(arithmetic: Arithmetic) -> bool:
    return (arithmetic if isinstance(arithmetic, str) else arithmetic.dtype) in HALVES


def choices(stages: Any, store: Store) -> Iterator[str]:
    """Yield what is known of each precision that stages leave open, each model once."""
    owners = (owner for stage in stages for owner in (stage, getattr(stage, "scorer", None)))
    holders = (getattr(owner, "dtype", None) for owner in owners)
    words = (dtype.words(store) for dtype in holders if isinstance(dtype, AutoDtype))
    yield from dict.fromkeys(each for each in words if each is not None)


def _unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(norms > 0, norms, 1)


def _nearest(unit: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
    """Return the rows of the `count` nearest others of each vector, int64 [n, count]."""
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    return np.argsort(-cosines, axis=1, kind="stable")[:, :count]
