"""Own: vectors and scores of models whose code is not the harness's, stored like all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.arrays import Vectors
from harness.models.own import Code, OwnCrossEncoder, OwnEncoder
from harness.retrieval.encoding import Encode
from harness.retrieval.reranking import CrossEncoderScorer, Pairs
from harness.retrieval.shards import read_known
from harness.stage import Context, Work
from harness.store import Store


@dataclass(frozen=True, eq=False)
class OwnEncode(Encode):
    """Stage: the vectors of one side of a collection by an encoder of somebody's own."""

    model: Code

    def work(self, store: Store) -> Work:
        """Return the texts that are left, and the time at the rate that is stored."""
        left = sum(len(portion.texts) for portion in self.portions(store))
        stored = [each.meta for each in read_known(store, self.kind(store)).shards]
        texts = sum(meta["texts"] for meta in stored)
        seconds = left * sum(meta["seconds"] for meta in stored) / texts if texts else None
        return Work(texts=left, seconds=seconds if left else 0.0)

    def load(self, context: Context) -> OwnEncoder:  # type: ignore[override]
        """Return the encoder, which may not change the width of what is stored."""
        make = partial(OwnEncoder, self.model, label=self.label, device=context.device)
        key = ("custom encoder", self.model.key(context.store), context.device)
        encoder = context.model(key, make)
        stored = read_known(context.store, self.kind(context.store)).shards
        if stored:
            encoder.width = stored[0].array("vectors").shape[1]
        return encoder

    def _encode(
        self, model: Any, texts: Sequence[str], advance: Callable[[int], None]
    ) -> tuple[Callable[[], Vectors], int]:
        """Return vectors; how many tokens were read is not known."""
        vectors = model.encode(texts, role=self.role, prompt=self.prompt, label=self.label)
        advance(len(texts))
        return lambda: vectors, 0


@dataclass(frozen=True, eq=False)
class OwnScorer(CrossEncoderScorer):
    """Scorer: the stored scores of pairs by a cross-encoder of somebody's own."""

    model: Code

    def chances(self, scores: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Return scores from 0 to 1 as they are, others as logits."""
        within = bool(((scores >= 0) & (scores <= 1)).all())
        return scores if within else super().chances(scores)

    def work_of(self, pairs: int, store: Store) -> Work:  # noqa: ARG002
        """Return the pairs; how long they take is not known."""
        return Work(pairs=pairs, seconds=None if pairs else 0.0)

    def load(self, context: Context) -> OwnCrossEncoder:  # type: ignore[override]
        """Return the cross-encoder."""
        label, device = f"score with {self.name}", context.device
        make = partial(OwnCrossEncoder, self.model, label=label, device=device)
        return context.model(("custom cross-encoder", self.model.key(context.store), device), make)

    def _score_plainly(
        self, model: Any, pairs: Pairs
    ) -> tuple[Callable[[], npt.NDArray[np.float32]], int]:
        """Score pairs; how many tokens were read is not known."""
        scores = model.score(self._texts(pairs), label=f"score with {self.name}")
        return lambda: scores, 0
