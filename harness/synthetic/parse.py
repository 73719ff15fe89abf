"""Reading an answer: the questions in it, or None where it is not what was asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_LONGEST = 400  # characters; what is longer is no question


def read_questions(answer: str, *, count: int) -> tuple[str, ...] | None:
    r"""Return the first `count` questions of an answer; None where it holds no list of questions.

    Models wrap the object in prose or in a code fence, or give the list alone; that is read too.
    An empty list is an answer: the passage answers no question.

    >>> read_questions('Sure!\n```json\n{"questions": ["What is x?"]}\n```', count=3)
    ('What is x?',)
    >>> read_questions('{"questions": ["What is', count=3) is None
    True
    """
    for value in _values(answer):
        questions = value.get("questions") if isinstance(value, dict) else value
        if isinstance(questions, list) and all(isinstance(each, str) for each in questions):
            texts = (" ".join(question.split()) for question in questions)
            return tuple(text for text in texts if 0 < len(text) <= _LONGEST)[:count]
    return None


def _values(text: str) -> Iterator[Any]:
    """Yield every JSON object and list that starts somewhere in a text, the first one first."""
    decoder = json.JSONDecoder()
    for start, character in enumerate(text):
        if character in "{[":
            try:
                yield decoder.raw_decode(text, start)[0]
            except (ValueError, RecursionError):
                continue
