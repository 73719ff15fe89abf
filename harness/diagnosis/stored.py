"""Stored: parts of a diagnosis as keyed stages, so that a second look computes nothing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from harness.hashing import digest
from harness.stage import Context, StoredStage
from harness.store import Store
from harness.value import Value

T = TypeVar("T", bound=Value)
Arrays = Mapping[str, npt.NDArray[Any]]

_VALUE = "value.json"


@cache
def code_key() -> str:
    """Return a key of this package's code: what another version found is never shown as its own."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    return digest("diagnosis", [file.read_bytes() for file in files])


@dataclass(frozen=True)
class Made(Generic[T]):
    """What a stage made.

    Attributes:
        value: stored as JSON.
        arrays: beside it, by name.
    """

    value: T
    arrays: Arrays = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class StoredValue(StoredStage, Generic[T]):
    """A stage whose result is one value, with arrays beside it."""

    value: ClassVar[type[Value]]

    @abstractmethod
    def make(self, context: Context) -> Made[T]:
        """Work the value out."""

    def run(self, context: Context) -> None:
        """Work the value out and store it."""
        key = self.ready_key(context.store)
        made = self.make(context)
        with context.store.writing(self.kind, key, meta={"label": self.label}) as folder:
            (folder / _VALUE).write_text(made.value.model_dump_json(), "utf-8")
            for name, array in made.arrays.items():
                np.save(folder / f"{name}.npy", array)

    def result(self, store: Store) -> T:
        """Return the stored value."""
        text = (self.stored(store).path / _VALUE).read_text("utf-8")
        found: T = self.value.model_validate_json(text)  # type: ignore[assignment]  # of this stage
        return found
