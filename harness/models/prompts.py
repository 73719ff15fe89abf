"""Prompts that known families of models were trained with, to warn where one was forgotten."""

from __future__ import annotations

import re
from typing import NamedTuple


class KnownPrompts(NamedTuple):
    """What a family puts before its texts, as its model card says; "" for nothing."""

    query: str
    document: str


# Matched against the last part of a reference, in this order.
_FAMILIES = (
    (r"e5-.*instruct", KnownPrompts("Instruct: {task}\nQuery: ", "")),
    (r"(multilingual-)?e5-(small|base|large)", KnownPrompts("query: ", "passage: ")),
    (
        r"bge-(small|base|large)-en",
        KnownPrompts("Represent this sentence for searching relevant passages: ", ""),
    ),
    (r"nomic-embed-text", KnownPrompts("search_query: ", "search_document: ")),
    (r"qwen3-embedding", KnownPrompts("Instruct: {task}\nQuery:", "")),
)


def known_prompts(reference: str) -> KnownPrompts | None:
    """Return the prompts of the family that a model's name suggests, or None.

    >>> known_prompts("intfloat/e5-small-v2")
    KnownPrompts(query='query: ', document='passage: ')
    """
    name = reference.rstrip("/").rsplit("/", 1)[-1].lower()
    return next((known for pattern, known in _FAMILIES if re.match(pattern, name)), None)
