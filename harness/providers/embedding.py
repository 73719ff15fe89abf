"""Embedding: texts to vectors by a provider, in batches within its limits, checked as they come.

A text that is too long is cut by the provider where it does so, and here where it refuses it. An
empty text is never sent, since providers refuse it; its vector is all zeros.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.arrays import Vectors
from harness.providers.asking import Asking
from harness.providers.http import AnswerError, RefusedError, Server, token_estimate
from harness.providers.remote import MOST_INPUTS, OWN_INPUTS, Remote, billed, requests_of
from harness.providers.table import Embedding, PerSide, ServedFacts, ToEmbed, facts_of
from harness.stage import unkeyed

_LEAST_BYTES = 256  # of a text; what is refused and shorter is not too long
_SHORTER = 0.75


@dataclass(frozen=True)
class Fetched:
    """The vectors of a batch.

    Attributes:
        vectors: float32 [n, width].
        tokens: billed; estimated where the server does not say.
        seconds: of the request that was answered.
        cut: texts that were cut here, since the server refused them whole.
    """

    vectors: Vectors
    tokens: int
    seconds: float
    cut: int = 0


@dataclass(frozen=True, eq=False)
class Embedder(Remote):
    """A bi-encoder at a provider.

    Attributes:
        sent_width: that is asked for; None takes what the server gives.
        input_types: of both sides, as they are sent; "" sends none.
    """

    sent_width: int | None
    input_types: PerSide = field(metadata=unkeyed("what encodes a side holds its own"))

    @property
    def api(self) -> Embedding:
        """How its provider embeds."""
        if self.entry.embedding is None:
            raise TypeError(f"{self.provider} does not embed")
        return self.entry.embedding

    @property
    def facts(self) -> ServedFacts:
        """What is known of it."""
        return facts_of(self.api.models, self.model)

    def batches(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """Return rows of texts for one request each, in order, within the provider's limits."""
        own = self.base_url is not None and self.facts == ServedFacts()
        most = min(self.api.inputs, OWN_INPUTS if own else MOST_INPUTS)
        room = self.facts.request_tokens or self.api.tokens
        return requests_of(map(self.tokens, texts), most=most, room=room)

    def tokens(self, text: str) -> int:
        """Return how many tokens of a text are billed, at most."""
        return max(1, min(token_estimate(text), self.facts.text_tokens or token_estimate(text)))

    def is_too_long(self, text: str) -> bool:
        """Tell whether a text likely exceeds what the model reads: four bytes make a token."""
        limit = self.facts.text_tokens
        return limit is not None and len(text.encode("utf-8", "surrogatepass")) > 4 * limit

    def fetch(
        self,
        server: Server,
        asking: Asking,
        texts: Sequence[str],
        *,
        input_type: str,
        width: int | None,
    ) -> Fetched:
        """Return the vectors of a batch.

        A batch that the server refuses is halved; one text that it refuses is cut by a quarter
        until it is taken.

        Args:
            server: as `served` gives it.
            asking: is patient with it.
            texts: none of them empty.
            input_type: of the side; "" sends none.
            width: that the vectors must have; None where it is not known.

        Raises:
            BusyError: there is no answer in all attempts.
            HarnessError: exit code 4, the server refuses what it is asked.
        """
        most = sum(map(self.tokens, texts))
        ask = partial(self._ask, server, tuple(texts), input_type, width)
        try:
            return asking.get(ask, most=most)
        except RefusedError:
            if len(texts) == 1:
                shorter = self._shorter(texts[0])
                if shorter is None:
                    raise
                found = self.fetch(server, asking, [shorter], input_type=input_type, width=width)
                return Fetched(found.vectors, found.tokens, found.seconds, cut=1)
        half = len(texts) // 2
        parts = [
            self.fetch(server, asking, some, input_type=input_type, width=width)
            for some in (texts[:half], texts[half:])
        ]
        return Fetched(
            np.concatenate([part.vectors for part in parts]),
            sum(part.tokens for part in parts),
            sum(part.seconds for part in parts),
            sum(part.cut for part in parts),
        )

    def _shorter(self, text: str) -> str | None:
        """Return a text without its last quarter; None where it cannot be too long."""
        limit = self.facts.text_tokens or _LEAST_BYTES  # a token has a byte or more
        if len(text.encode("utf-8", "surrogatepass")) <= limit:
            return None
        return text[: int(_SHORTER * len(text))]

    def _ask(
        self, server: Server, texts: tuple[str, ...], input_type: str, width: int | None
    ) -> Fetched:
        api = self.api
        body = api.body(ToEmbed(self.model, texts, input_type, self.sent_width))
        estimate = sum(map(self.tokens, texts))
        started = time.perf_counter()

        def read(found: Any) -> Fetched:
            answer = api.read(found)
            vectors = _ordered(answer.vectors, answer.places, count=len(texts), width=width)
            seconds = time.perf_counter() - started
            return Fetched(vectors, billed(answer.tokens, estimate=estimate), seconds)

        return server.post(api.path.format(model=self.model), body, read)


def _ordered(
    found: Sequence[Any], places: Sequence[Any] | None, *, count: int, width: int | None
) -> Vectors:
    """Return vectors in the order of their texts, float32 [count, width].

    Raises:
        AnswerError: they are too few or many, of another width, or hold what is no number.
    """
    if len(found) != count:
        raise AnswerError(f"{len(found)} vectors for {count} texts")
    order = list(range(count)) if places is None else list(places)
    if sorted(order) != list(range(count)):
        raise AnswerError("an index of a vector is missing or duplicated")
    rows = [_numbers(each) for each in found]
    widths = {len(row) for row in rows}
    if len(widths) > 1 or 0 in widths or (width is not None and widths != {width}):
        wanted = "" if width is None else f" and not {width:,}"
        raise AnswerError(f"vectors of {sorted(widths)} dimensions{wanted}")
    vectors = np.empty((count, *rows[0].shape), dtype=np.float32)
    with np.errstate(over="ignore"):
        vectors[order] = np.stack(rows)
    if not np.isfinite(vectors).all():
        raise AnswerError("a vector with NaN or infinite values")
    return vectors


def _numbers(vector: Any) -> npt.NDArray[np.floating]:
    """Return the numbers of one vector, which some servers give as Base64 of float32."""
    if isinstance(vector, str):
        try:
            return np.frombuffer(base64.b64decode(vector, validate=True), dtype="<f4")
        except binascii.Error:
            raise AnswerError("a vector that is not Base64") from None
    numbers = np.asarray(vector, dtype=np.float64)
    if numbers.ndim != 1:
        raise AnswerError("a vector that is not a list of numbers")
    return numbers
