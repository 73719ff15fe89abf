"""Stored: parts of a diagnosis as keyed stages, so that a second look computes nothing."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import numpy as np

from harness.arrays import Arrays
from harness.hashing import code_digest
from harness.stage import Context, StoredStage
from harness.store import Store
from harness.value import Value

ValueT = TypeVar("ValueT", bound=Value)

_VALUE = "value.json"


@dataclass(frozen=True, eq=False)
class StoredValue(StoredStage, Generic[ValueT]):
    """A stage whose result is one value, stored as JSON, with arrays beside it.

    It reads nothing but its fields, so that its key forgets nothing.
    """

    value: ClassVar[type[Value]]

    def also_keyed(self) -> tuple[object, ...]:
        """Return a key of our code: what another version found is never shown as its own."""
        return (code_digest(Path(__file__).parent),)

    @abstractmethod
    def make(self, context: Context) -> tuple[ValueT, Arrays]:
        """Work the value out, and the arrays by name."""

    def run(self, context: Context) -> None:
        """Work the value out and store it."""
        key = self.ready_key(context.store)
        value, arrays = self.make(context)
        with context.store.writing(self.kind, key, meta={"label": self.label}) as folder:
            (folder / _VALUE).write_text(value.model_dump_json(), "utf-8")
            for name, array in arrays.items():
                np.save(folder / f"{name}.npy", array)

    def result(self, store: Store) -> ValueT:
        """Return the stored value."""
        text = (self.stored(store).path / _VALUE).read_text("utf-8")
        found: ValueT = self.value.model_validate_json(text)  # type: ignore[assignment]  # of this stage
        return found
