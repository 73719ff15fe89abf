"""Prompts that known families were trained with, instructions in them, and old folders' markers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from harness.models.folder import Folder

# Where the instruction of a collection stands in a query's prompt.
PLACE = "{instruction}"

# The form of E5-instruct and Qwen3: one sentence on the task, then the query.
_INSTRUCT = re.compile(r"Instruct: (?P<instruction>.+?)(?P<end>\nQuery: ?)", re.DOTALL)


class KnownPrompts(NamedTuple):
    """What a family puts before its texts, as its model card says; "" for nothing."""

    query: str
    document: str


class Template(NamedTuple):
    """A prompt in which an instruction stands, and the instruction that it came with."""

    prompt: str
    instruction: str


# Matched against the last part of a reference, in this order.
_FAMILIES = (
    (r"(multilingual-)?e5-.*instruct", KnownPrompts(f"Instruct: {PLACE}\nQuery: ", "")),
    (r"(multilingual-)?e5-(small|base|large)", KnownPrompts("query: ", "passage: ")),
    (
        r"bge-(small|base|large)-en",
        KnownPrompts("Represent this sentence for searching relevant passages: ", ""),
    ),
    (r"nomic-embed-text", KnownPrompts("search_query: ", "search_document: ")),
    (r"qwen3-embedding", KnownPrompts(f"Instruct: {PLACE}\nQuery:", "")),
)


def known_prompts(reference: str) -> KnownPrompts | None:
    """Return the prompts of the family that a model's name suggests, or None.

    >>> known_prompts("intfloat/e5-small-v2")
    KnownPrompts(query='query: ', document='passage: ')
    """
    name = reference.rstrip("/").rsplit("/", 1)[-1].lower()
    return next((known for pattern, known in _FAMILIES if re.match(pattern, name)), None)


def role_markers(
    folder: Folder, declared: Mapping[str, Any], prompts: Mapping[str, str]
) -> dict[str, str]:
    """Return what sentence-transformers puts before the texts of a model of PyLate or of ColBERT's
    own code: their marker of the role, and a prompt after it.
    """
    if folder.modules is None:
        said = folder.table("artifact.metadata")
        marks = (said.get("query_token_id") or "[unused0]", said.get("doc_token_id") or "[unused1]")
        return {"query": f"{marks[0]} ", "document": f"{marks[1]} "}
    found = {}
    for role in ("query", "document"):
        if f"{role}_prefix" in declared:
            mark = str(declared[f"{role}_prefix"] or "")
            found[role] = mark + prompts.get(role, "").removeprefix(mark)
    return found


def template_of(prompt: str) -> Template | None:
    r"""Return a prompt of the form that instruction models declare as a template, or None.

    >>> template_of("Instruct: Find the answer\nQuery:")
    Template(prompt='Instruct: {instruction}\nQuery:', instruction='Find the answer')
    """
    found = _INSTRUCT.fullmatch(prompt)
    if found is None:
        return None
    return Template(f"Instruct: {PLACE}{found['end']}", found["instruction"])
