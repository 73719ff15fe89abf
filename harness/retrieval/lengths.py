"""Lengths: how many texts a model reads only in part, because they exceed its token limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from harness.collection.packed import size_of
from harness.models.tokens import token_counts
from harness.retrieval.encoding import CHARACTERS_A_SECOND, Encode
from harness.stage import Context, InputMissingError, StoredStage, Work, unkeyed
from harness.store import Store


@dataclass(frozen=True, eq=False)
class CountTokens(StoredStage):
    """Stage: the token counts of one side of a collection, prompt included.

    Attributes:
        encode: texts, model, prompt and limit.
    """

    kind = "lengths"

    encode: Encode = field(
        metadata=unkeyed("they change no number of tokens", "role", "dtype", "max_length")
    )

    @property
    def label(self) -> str:
        """What is done."""
        return self.encode.label.replace("encode", "count tokens in", 1)

    def work(self, store: Store) -> Work:  # noqa: ARG002
        """Return a usual time."""
        return Work(seconds=size_of(self.encode.texts.items) / CHARACTERS_A_SECOND)

    def run(self, context: Context) -> None:
        """Count, and store the counts of the distinct texts."""
        self.put(context.store, self.count(context.store))

    def count(self, store: Store, rows: slice = slice(None)) -> npt.NDArray[np.int32]:
        """Return the tokens of some of the distinct texts, int32 [n].

        Raises:
            InputMissingError: the weights do not exist yet.
        """
        weights = self.encode.model.weights(store)
        if weights is None:
            raise InputMissingError(f"{self.label}: the weights do not exist yet")
        return token_counts(
            weights, [self.encode.prompt + text for text in self.encode.texts.distinct[rows]]
        )

    def put(self, store: Store, counts: npt.NDArray[np.int32]) -> None:
        """Store the counts of all distinct texts."""
        key, meta = self.ready_key(store), {"label": self.label}
        store.put(self.kind, key, arrays={"tokens": counts}, meta=meta)

    def share_cut(self, store: Store) -> float | None:
        """Return the share of texts longer than the limit; None without a limit or counts."""
        weights = self.encode.model.weights(store)
        artifact = self.artifact(store)
        if weights is None or artifact is None:
            return None
        limit = self.encode.max_length or weights.max_length
        if limit is None or weights.is_static:
            return None
        counts = artifact.array("tokens")[self.encode.texts.places]
        return float(np.mean(counts > limit))


def counts_of(encodes: Sequence[Encode], store: Store) -> tuple[CountTokens, ...]:
    """Return the stages that count the tokens of texts; none for static models, which read all."""
    models = [each.model.weights(store) for each in encodes]
    if all(weights is not None and weights.is_static for weights in models):
        return ()
    return tuple(CountTokens(each) for each in encodes)
