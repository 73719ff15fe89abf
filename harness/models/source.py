"""Source: where a model's weights come from, which may not exist yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from harness.models.weights import Weights
from harness.stage import Keyed
from harness.store import Store


class ModelSource(Protocol):
    """Where a model's weights come from: they exist already, or training makes them."""

    def weights(self, store: Store) -> Weights | None:
        """Return the weights; None while they do not exist."""


@dataclass(frozen=True, eq=False)
class Given(Keyed):
    """Weights that exist before the suite runs; None until a hub's model is downloaded."""

    given: Weights | None

    def key(self, store: Store) -> str | None:  # noqa: ARG002
        """Return the content key of the weights."""
        return None if self.given is None else self.given.key

    def weights(self, store: Store) -> Weights | None:  # noqa: ARG002
        """Return them."""
        return self.given
