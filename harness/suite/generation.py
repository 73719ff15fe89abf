"""Generation: which language model writes queries to passages, and for how much, in the suite."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field

from harness.suite.table import Spec


class RoundTripSpec(Spec):
    """Which synthetic queries are kept: those for which a candidate finds their passage.

    Attributes:
        candidate: by BM25 or with a model's vectors.
        k: the passage is to be among so many first.
    """

    candidate: str
    k: int = Field(default=10, ge=1, le=1000)


class GenerateSpec(Spec):
    """``generate`` of a source ``synthetic:<collection>``: which language model asks what.

    Attributes:
        provider: whose protocol the server speaks; any OpenAI-compatible server is "openai".
        model: as the server names it.
        base_url: of the server; None takes the provider's own.
        key_variable: environment variable that holds the key; None takes ANTHROPIC_API_KEY or
            OPENAI_API_KEY, and none at all with a `base_url`.
        domain: what the collection is about, for the prompt.
        passages: how many, by a hash of their text; more of them keep those of fewer.
        per_passage: queries of each.
        answer_tokens: limit of one answer.
        max_requests, max_tokens: the budget over all runs, of what is answered; None for no limit.
        concurrency: requests at a time.
        timeout_seconds: of one request.
        round_trip: which queries are kept; None keeps those whose passage no candidate finds too.
    """

    provider: Literal["anthropic", "openai"]
    model: str = Field(min_length=1)
    base_url: str | None = None
    key_variable: str | None = None
    domain: str = ""
    passages: int = Field(ge=1)
    per_passage: int = Field(default=3, ge=1, le=10)
    answer_tokens: int = Field(default=1024, ge=64)
    max_requests: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    concurrency: int = Field(default=4, ge=1, le=64)
    timeout_seconds: float = Field(default=60.0, gt=0)
    round_trip: RoundTripSpec | None = None


def server_problems(spec: GenerateSpec) -> Iterator[tuple[str, str]]:
    """Yield (key, message) for what may not be; what may hold a key is never repeated."""
    if spec.key_variable is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", spec.key_variable):
        message = "'key_variable' is the name of an environment variable, such as MY_API_KEY, got"
        yield "key_variable", f"{message} something else. A suite never holds a key."
    if spec.base_url is None:
        return
    address = urlsplit(spec.base_url)
    if address.scheme not in {"http", "https"} or not address.hostname:
        yield "base_url", "'base_url' is the http or https address of a server, got something else."
    elif address.username is not None:
        yield "base_url", "'base_url' holds a user's name. Use key_variable for what is secret."
