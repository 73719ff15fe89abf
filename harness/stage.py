"""Stage: one piece of work of a plan, its key, and what it needs while it runs."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np
from pydantic import BaseModel

from harness.artifact import Artifact
from harness.environment import vector_memory
from harness.hashing import digest
from harness.store import Store

T = TypeVar("T")


class Work(NamedTuple):
    """What a stage has left to do.

    Attributes:
        texts: to encode.
        pairs: of query and document to score with a cross-encoder, at most.
        seconds: rough estimate, or None where nothing is known.
        requests: to a language model, or to a provider of embeddings or rerankings.
        tokens: that these cost, both ways, roughly.
        usd: what the requests cost at a provider's price, at most.
        measured: whether `seconds` rests on what such a stage took on this device before.
    """

    texts: int = 0
    pairs: int = 0
    seconds: float | None = 0.0
    requests: int = 0
    tokens: int = 0
    usd: float = 0.0
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


def unkeyed(reason: str, *names: str) -> dict[str, Any]:
    """Return the metadata of a dataclass field that no key holds, for this reason.

    Args:
        reason: why what is left out changes no result.
        names: fields of the field's value that are left out, such as "filter.model"; none for the
            whole value.
    """
    return {"unkeyed": reason, "names": names}


def keyed_by(attribute: str) -> dict[str, Any]:
    """Return the metadata of a dataclass field for which another attribute stands in the key."""
    return {"keyed by": attribute}


class Keyed:
    """A dataclass whose key follows from its fields; `unkeyed` and `keyed_by` are the exceptions.

    Attributes:
        version: raised where equal fields come to give another result, as with a new default.
    """

    version: ClassVar[int] = 1

    def key(self, store: Store) -> str | None:
        """Return the key; None while an input does not exist yet.

        It is worked out once for each store. A key asks for the keys of its inputs, and these for
        theirs: in a chain of candidates that is quadratic, and cubic for the whole plan.
        """
        keys: dict[Path, str] = self.__dict__.setdefault("_keys", {})
        if store.root not in keys:
            found = self.key_without(store)
            if found is None:
                return None
            keys[store.root] = found
        return keys[store.root]

    def key_without(self, store: Store, *names: str) -> str | None:
        """Return the key of all fields but these; None while an input does not exist yet."""
        try:
            parts = _fields(self, store, names)
            return digest(type(self).__name__, self.version, parts, _part(self.also_keyed(), store))
        except InputMissingError:
            return None

    def content_key(self, store: Store) -> str | None:
        """Return what stands for this in the keys of what reads it: its key, for most."""
        return self.key(store)

    def also_keyed(self) -> tuple[object, ...]:
        """Return what decides the result beside the fields, such as the version of a library."""
        return ()


def _fields(value: Any, store: Store, without: Sequence[str]) -> dict[str, Any]:
    """Return what the fields of a dataclass are in a key, apart from some."""
    parts = {}
    for each in fields(value):
        names: tuple[str, ...] = each.metadata.get("names", ())
        if each.name in without or ("unkeyed" in each.metadata and not names):
            continue
        found = getattr(value, each.metadata.get("keyed by", each.name))
        parts[each.name] = _part(found, store, (*names, *_below(each.name, without)))
    return parts


def _part(value: Any, store: Store, without: Sequence[str] = ()) -> Any:
    """Return what a value is in a key: plain values, or a key of its own.

    Raises:
        InputMissingError: it does not exist yet.
        TypeError: of a type for which this is not known; a path says nothing of what lies there.
    """
    found: Any = value
    match value:
        case Keyed():
            found = value.key_without(store, *without) if without else value.content_key(store)
            if found is None:
                raise InputMissingError(type(value).__name__)
        case Enum():
            found = _part(value.value, store)
        case BaseModel():
            # What is left at its default is left out: a key of the suite that is added later
            # changes nothing.
            found = value.model_dump(exclude=_nested(without), exclude_defaults=True)
        case Mapping():
            found = {name: _part(each, store) for name, each in value.items()}
        case tuple() | list():
            found = [_part(each, store) for each in value]
        case None | bool() | int() | float() | np.ndarray() | Sequence():  # of characters, texts
            pass
        case _ if isinstance(getattr(value, "key", None), str) and not without:
            found = value.key
        case _ if is_dataclass(value):
            found = _fields(value, store, without)
        case _:
            raise TypeError(
                f"a key cannot hold a {type(value).__name__}: mark the field `keyed_by` its "
                "content, or `unkeyed`"
            )
    return found


def _below(name: str, names: Sequence[str]) -> list[str]:
    """Return the rest of dotted names that begin with a name.

    >>> _below("filter", ["filter.model", "seeds"])
    ['model']
    """
    return [each.removeprefix(f"{name}.") for each in names if each.startswith(f"{name}.")]


def _nested(names: Sequence[str]) -> dict[str, Any]:
    """Return dotted names as pydantic takes them.

    >>> _nested(["seeds", "filter.model", "filter.revision"])
    {'seeds': True, 'filter': {'model': True, 'revision': True}}
    """
    heads = dict.fromkeys(name.partition(".")[0] for name in names)
    return {head: _nested(_below(head, names)) or True for head in heads}


@dataclass(frozen=True, eq=False)
class StoredStage(Keyed, ABC):
    """What stages share whose result is one artifact: it is done when the artifact is there."""

    kind: ClassVar[str]

    @property
    @abstractmethod
    def label(self) -> str:
        """What is done, in a few words."""

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
    """Where long work shows its progress."""

    def task(
        self, label: str, *, total: int, unit: str
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Open a task; the function given back is called with the number of units just done."""


class Silent:
    """Progress that nobody watches."""

    @contextmanager
    def task(self, label: str, *, total: int, unit: str) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        """Open a task that is not shown."""
        yield lambda _: None


@dataclass
class Context:
    """What running stages share: the store, the device, progress, the model and tokens in memory.

    Attributes:
        device: "cpu", "cuda", "cuda:1", …
        began: when running did, by `time.perf_counter`.
    """

    store: Store
    device: str = "cpu"
    progress: Progress = field(default_factory=Silent)
    began: float = field(default_factory=time.perf_counter)
    _loaded: tuple[Hashable, Any] | None = None
    _shared: dict[Hashable, Any] = field(default_factory=dict, repr=False)
    _shared_bytes: int = 0
    _sharing: Lock = field(default_factory=Lock)

    def model(self, key: tuple[Hashable, ...], load: Callable[[], T]) -> T:
        """Return the model of that key, which begins with its kind; only the last one is kept."""
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # free the old one before the new one is loaded
            with self.progress.task(f"load a {key[0]}", total=1, unit="models") as advance:
                self._loaded = (key, load())
                advance(1)
        model: T = self._loaded[1]
        return model

    def shared(self, key: Hashable, make: Callable[[], T], *, size: Callable[[T], int]) -> T:
        """Return what stages of several models read alike, kept while there is memory for it.

        Args:
            key: of the content.
            make: it.
            size: of it in bytes; what goes beyond a sixteenth of `vector_memory` is not kept.
        """
        with self._sharing:
            if key in self._shared:
                found: T = self._shared[key]
                return found
        made = make()
        with self._sharing:
            if self._shared_bytes + size(made) <= vector_memory() // 16:
                self._shared_bytes += size(made)
                self._shared[key] = made
        return made
