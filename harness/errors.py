"""The one exception for expected mistakes, and the exit codes of the command line."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell sees. 1 and 5 are for gates alone; a crash is never 1."""

    OK = 0
    GATE_FAILED = 1
    USAGE = 2
    DATA = 3
    STAGE = 4
    INCONCLUSIVE = 5


class HarnessError(Exception):
    """An expected mistake, told in full sentences and shown without a traceback.

    Every problem reads *where: what is wrong, got what. The fix.* What a terminal would obey or not
    show, in the words of a user or a file, is spelled as Python spells it, and a word that is
    longer than any file name is cut.

    Args:
        problems: one sentence, or all that are known at once.
        exit_code: what the command line returns.
        tracebacks: of mistakes that nobody expected, which are shown too.
    """

    def __init__(
        self, problems: str | Iterable[str], *, exit_code: ExitCode, tracebacks: Iterable[str] = ()
    ) -> None:
        listed = [problems] if isinstance(problems, str) else problems
        # Long words are cut, such as a name that somebody pasted a text into.
        self.problems = [
            re.sub(_LONG_WORD, lambda word: f"{word[0][:_KEPT]}…", visible(problem))
            for problem in listed
        ]
        self.exit_code = exit_code
        self.tracebacks = [inert(each) for each in tracebacks]
        super().__init__("\n".join(self.problems))

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in the place of a traceback."""
        return [*self.tracebacks, *(f"HarnessError: {problem}" for problem in self.problems)]


class UnwritableError(HarnessError):
    """Nothing more can be written, so that no work can continue."""


def usage_error(message: str) -> HarnessError:
    """Return the error of a mistake in a suite or a command: exit code 2."""
    return HarnessError(message, exit_code=ExitCode.USAGE)


def cannot_write(place: str, error: Exception, *, instead: str) -> UnwritableError:
    """Return the error of a full disk or a missing permission: exit code 4.

    Args:
        place: a path, or words with one.
        error: of the operating system.
        instead: what else a user may name, such as "another folder".
    """
    got = getattr(error, "strerror", None) or f"{error} (disk full?)"
    return UnwritableError(
        f"{place}: cannot write, got {got}. Free space, fix permissions, or name {instead}.",
        exit_code=ExitCode.STAGE,
    )


def visible(text: str) -> str:
    r"""Return a text whose characters can all be seen; ends of lines stay.

    >>> visible("a\x1b[31m b\u200b")
    'a\\x1b[31m b\\u200b'
    """
    return "".join(
        each if each.isprintable() or each == "\n" else repr(each)[1:-1] for each in text
    )


def inert(text: str) -> str:
    r"""Return a text in which nothing is obeyed by a terminal; tabs and ends of lines stay.

    Control characters, and those that turn the direction of what follows, are spelled as Python
    spells them.

    >>> inert("a\x1b]0;title\x07 b\u202e c\u200d d")
    'a\\x1b]0;title\\x07 b\\u202e c\u200d d'
    """
    return text.translate(_OBEYED)


_DIRECTIONS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_OBEYED = {
    code: repr(chr(code))[1:-1]
    for code in (*range(0x20), *range(0x7F, 0xA0), *_DIRECTIONS)
    if chr(code) not in "\n\t"
}


_LONG_WORD = r"[^\s/]{256,}"
_KEPT = 100


def first_of(names: Sequence[str], *, most: int = 5) -> str:
    """Return names for a sentence, the first few of many.

    >>> first_of(["a", "b", "c"], most=1)
    'a and 2 more'
    """
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, a regular one, in the singular or plural.

    >>> counted(1, "document"), counted(1200, "query"), counted(0, "loss")
    ('1 document', '1,200 queries', '0 losses')
    """
    stem, ending = (noun[:-1], "ies") if noun.endswith("ry") else (noun, "s")
    ending = "es" if noun.endswith("ss") else ending
    return f"{count:,} {noun if count == 1 else stem + ending}"


def no_such(what: str, name: str, known: Iterable[str]) -> str:
    """Return that nothing of a kind has a name, with the nearest one that something has.

    >>> no_such("candidate", "bm26", ["bm25", "dense"])
    "no candidate 'bm26'. Did you mean 'bm25'?"
    """
    shown = name if len(name) <= _KEPT else f"{name[:_KEPT]}…"
    return f"no {what} '{shown}'.{did_you_mean(name, known)}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known word, or the list of known words.

    >>> did_you_mean("modle", ["model", "truncate"])
    " Did you mean 'model'?"
    >>> did_you_mean("zzz", ["model", "truncate"])
    " Known: 'model', 'truncate'."
    """
    choices = sorted(known)
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if near:
        return f" Did you mean '{near[0]}'?"
    return " Known: " + ", ".join(f"'{choice}'" for choice in choices) + "." if choices else ""


def is_panic(error: BaseException) -> bool:
    """Tell whether this is a panic of Rust code in a library, which is no `Exception`."""
    return type(error).__name__ == "PanicException"


def about(estimate: float) -> str:
    """Return an estimated number with three significant digits.

    >>> about(65), about(482_561)
    ('65', '483,000')
    """
    return f"{float(f'{estimate:.3g}'):,.0f}"


def sufficing(count: float) -> str:
    """Return an estimated number that is enough, rounded up to two significant digits.

    >>> sufficing(65), sufficing(1_213), sufficing(11_941)
    ('65', '1,300', '12,000')
    """
    step = 10 ** max(0, len(str(math.ceil(count))) - 2)
    return f"{math.ceil(count / step) * step:,}"
