"""Names: which published model or task a name stands for, and lists of names in a sentence."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence

from harness.errors import ExitCode, HarnessError

_NEAR = 0.6  # as in `harness.errors.did_you_mean`


def matching(name: str, known: Collection[str]) -> tuple[str, ...]:
    """Return the hub ids that a name can stand for: the same, in other case, or by its last part.

    >>> matching("all-minilm-l6-v2", ["sentence-transformers/all-MiniLM-L6-v2"])
    ('sentence-transformers/all-MiniLM-L6-v2',)
    """
    if name in known:
        return (name,)
    folded = name.replace("__", "/").casefold()
    whole = tuple(each for each in known if each.casefold() == folded)
    return whole or tuple(each for each in known if _last_part(each) == _last_part(folded))


def find_model(name: str, known: Collection[str]) -> str:
    """Return the hub id that a name stands for.

    Raises:
        HarnessError: exit code 2, there is none, or more than one.
    """
    found = matching(name, known)
    if len(found) == 1:
        return found[0]
    if found:
        problem = f"may be any of {', '.join(found)}. Name one in full."
    else:
        by_part = {_last_part(each): each for each in known}
        near = nearest(_last_part(name), by_part)
        hint = f"Did you mean '{by_part[near]}'?" if near else "Name it as it is on the hub."
        problem = f"has no published result among {len(known)} models. {hint}"
    raise HarnessError(f"model '{name}' {problem}", exit_code=ExitCode.USAGE)


def nearest(word: str, known: Collection[str]) -> str | None:
    """Return the most similar known word, or None where none is similar.

    There can be thousands, so that `harness.errors.did_you_mean`, which then lists them, does not
    serve here.
    """
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=_NEAR)
    return near[0] if near else None


def listed(names: Sequence[str], *, most: int = 5) -> str:
    """Return names for a sentence, the first few of many.

    >>> listed(["a", "b", "c"], most=1)
    'a and 2 more'
    """
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def counted(number: int, thing: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "model"), counted(2, "model")
    ('1 model', '2 models')
    """
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _last_part(name: str) -> str:
    return re.split(r"[/:]", name.rstrip("/"))[-1].casefold()
