"""Stage: one keyed piece of work of a plan, and what it needs while it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

from harness.store import Artifact, Store

T = TypeVar("T")


class Work(NamedTuple):
    """What a stage has left to do.

    Attributes:
        texts: to encode.
        pairs: of query and document to score with a cross-encoder, at most.
        seconds: rough estimate, or None where nothing is known.
        requests: to a language model.
        tokens: that these cost, both ways, roughly.
        measured: whether `seconds` rests on what such a stage took on this device before.
    """

    texts: int = 0
    pairs: int = 0
    seconds: float | None = 0.0
    requests: int = 0
    tokens: int = 0
    measured: bool = False


class InputMissingError(LookupError):
    """What a stage reads is not stored: the stage that makes it has failed, or was not run."""


class Stage(Protocol):
    """One piece of work whose result is addressed by a key of its inputs alone."""

    @property
    def label(self) -> str:
        """What is done, in a few words."""

    def key(self, store: Store) -> str | None:
        """Return the key of the result; None while an input does not exist yet."""

    def is_done(self, store: Store) -> bool:
        """Tell whether the whole result is in the store."""

    def work(self, store: Store) -> Work:
        """Return what is left to do."""

    def run(self, context: Context) -> None:
        """Do what is left and store it."""


def _remembered(key: Callable[[Any, Store], str | None]) -> Callable[[Any, Store], str | None]:
    """Return a method that works a key out once for each stage and store.

    A key asks for the keys of its inputs, and these for theirs: in a chain of candidates that is
    quadratic, and cubic for the whole plan. A key that is known stays, None may become one.
    """

    @wraps(key)
    def known(stage: Any, store: Store) -> str | None:
        keys: dict[Path, str] = stage.__dict__.setdefault("_keys", {})
        if store.root not in keys:
            found = key(stage, store)
            if found is None:
                return None
            keys[store.root] = found
        return keys[store.root]

    return known


@dataclass(frozen=True, eq=False)
class StoredStage(ABC):
    """What stages share whose result is one artifact: it is done when the artifact is there."""

    kind: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let every stage remember its key."""
        super().__init_subclass__(**kwargs)
        if "key" in cls.__dict__:
            setattr(cls, "key", _remembered(cls.__dict__["key"]))  # noqa: B010 - mypy knows no other

    @property
    @abstractmethod
    def label(self) -> str:
        """What is done, in a few words."""

    @abstractmethod
    def key(self, store: Store) -> str | None:
        """Return the key of the artifact; None while an input does not exist yet."""

    @abstractmethod
    def run(self, context: Context) -> None:
        """Make the artifact and store it."""

    def work(self, store: Store) -> Work:  # noqa: ARG002
        """Return nothing to wait for, which is true of most stages."""
        return Work()

    def artifact(self, store: Store) -> Artifact | None:
        """Return the stored artifact, or None."""
        key = self.key(store)
        return None if key is None else store.get(self.kind, key)

    def is_done(self, store: Store) -> bool:
        """Tell whether the artifact is stored."""
        return self.artifact(store) is not None

    def ready_key(self, store: Store) -> str:
        """Return the key.

        Raises:
            InputMissingError: an input does not exist yet; the plan's order is wrong.
        """
        key = self.key(store)
        if key is None:
            raise InputMissingError(f"{self.label}: an input does not exist yet")
        return key

    def stored(self, store: Store) -> Artifact:
        """Return the stored artifact.

        Raises:
            InputMissingError: it is not there; the stage was not run.
        """
        artifact = self.artifact(store)
        if artifact is None:
            raise InputMissingError(f"{self.label}: not in the store")
        return artifact


class Progress(Protocol):
    """Where long work tells how far it is."""

    def task(
        self, label: str, *, total: int, unit: str
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Open a task; the function given back is called with the number of units just done."""


class Silent:
    """Progress that nobody watches."""

    @contextmanager
    def task(self, label: str, *, total: int, unit: str) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        """Open a task that tells nobody."""
        yield lambda _: None


@dataclass
class Context:
    """What running stages share: the store, the device, progress, and the model in memory.

    Attributes:
        device: "cpu", "cuda", "cuda:1", …
    """

    store: Store
    device: str = "cpu"
    progress: Progress = field(default_factory=Silent)
    _loaded: tuple[Hashable, Any] | None = None

    def model(self, key: Hashable, load: Callable[[], T]) -> T:
        """Return the model of that key; only the last one is kept in memory."""
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # free the old one before the new one is loaded
            self._loaded = (key, load())
        model: T = self._loaded[1]
        return model
