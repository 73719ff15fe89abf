"""Reading an answer: the questions in it, or None where it is not what was asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_LONGEST = 400  # characters; what is longer is no question
_LONGEST_ANSWER = 200_000  # characters that are looked at
_MOST_READ = 2_000_000  # characters that are parsed of one answer, in all attempts together
_FAILED, _TOO_DEEP = 2_000, 20_000  # characters that a failed attempt counts for, at least


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
            texts = [" ".join(question.split()) for question in questions if _is_text(question)]
            return tuple(text for text in texts if 0 < len(text) <= _LONGEST)[:count]
    return None


def _is_text(text: str) -> bool:
    """Tell whether a text can be written: JSON's escapes can spell half of a character."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _values(text: str) -> Iterator[Any]:
    """Yield every JSON object and list that starts somewhere in a text, the first one first.

    Each bracket is an attempt, so brackets within brackets are read again and again: an answer ends
    for us where `_MOST_READ` characters are read.
    """
    decoder = json.JSONDecoder()
    text = text[:_LONGEST_ANSWER]
    left = _MOST_READ
    for start, character in enumerate(text):
        if character not in "{[":
            continue
        try:
            value, end = decoder.raw_decode(text, start)
            left -= end - start
            yield value
        except json.JSONDecodeError as error:
            left -= max(error.pos - start, _FAILED)
        except (ValueError, RecursionError):  # a number of too many digits
            left -= _TOO_DEEP
        if left <= 0:
            return
