"""Retriever: a search in use, asked query by query."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import ClassVar

from pydantic import Field, JsonValue

from harness.suite.kinds.kind import KeyProblem, RestOfSuite, Root
from harness.suite.kinds.own import place_problems
from harness.suite.table import Spec
from harness.suite.training import server_problems

_WAYS = ("command", "url", "factory")


class RetrieverSpec(Spec):
    """How the search in production is queried, in one of three ways.

    Attributes:
        command: answers lines of JSON on stdin with lines of JSON on stdout; run without a shell.
        url: answers a POST of JSON with JSON.
        factory: of your own search, as for an encoder; needs `version`.
        arguments: passed to the factory.
        version: change it to query everything again.
        k: ranks requested; None takes the depth of the suite.
        key_variable: environment variable that holds the bearer token of a server.
        timeout_seconds: of one answer.
    """

    command: str | None = None
    url: str | None = None
    factory: str | None = None
    arguments: dict[str, JsonValue] = {}
    version: str = ""
    k: int | None = Field(default=None, ge=1)
    key_variable: str | None = None
    timeout_seconds: float = Field(default=60.0, gt=0)

    @property
    def base_url(self) -> str | None:
        """The address, by the name that other servers' tables give it."""
        return self.url


class Retriever(Root):
    """``retriever = {…}``: what the search in production returns."""

    word: ClassVar[str] = "retriever"
    weightless: ClassVar[str] = (
        "is an external search without weights to train. Name a 'model' or 'finetune' candidate."
    )
    refused: ClassVar[Mapping[str, str]] = {
        key: f"'{key}' belongs to the table of the retriever: retriever = {{ {key} = … }}."
        for key in ("version", "arguments", "k", "timeout_seconds", "key_variable")
    }

    retriever: RetrieverSpec

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        how = self.retriever
        version = f", version {how.version}" if how.version else ""
        return f"retriever {how.command or how.url or how.factory}{version}"

    def problems(self, suite: RestOfSuite) -> Iterator[KeyProblem]:
        """Yield what is wrong between this table and the rest of the file."""
        yield from super().problems(suite)
        yield from ((("retriever",), message) for message in self._problems())

    def _problems(self) -> Iterator[str]:
        how = self.retriever
        given = [way for way in _WAYS if getattr(how, way) is not None]
        if len(given) != 1:
            got = " and ".join(f"'{way}'" for way in given) or "none"
            yield f"give one of 'command', 'url' and 'factory', got {got}."
            return
        for key, message in server_problems(how):
            yield message.replace("base_url", "url") if key == "base_url" else message
        if how.url is None and how.key_variable is not None:
            yield "'key_variable' is for a server. A command reads its environment itself."
        if how.factory is None and how.arguments:
            yield "'arguments' are for a factory. Remove them."
        yield from _command_problems(how.command)
        if how.factory is not None:
            yield from (message for _, message in place_problems(how.factory))
            if not how.version:
                yield "'version' is missing: it identifies your code. Add it."


def _command_problems(command: str | None) -> Iterator[str]:
    try:
        words = ["none"] if command is None else shlex.split(command)
    except ValueError as error:
        yield f"'command' cannot be split into words, got '{error}'. Close the quotes."
    else:
        if not words:
            yield "'command' is empty. Name a program."
