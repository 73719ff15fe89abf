"""Spelling: words that nobody else writes, and the words that they may be a slip of."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from harness.training.wording import is_plain

_SHORT = 3  # letters of the shortest word that is taken for a slip
_LONG = 9  # letters from which two slips are looked for
_MANY = 30  # words that share letters with one
_ENDINGS = ("e", "n")  # of a word that is another form of one; -s is off already


class Spelling:
    """Finds the words of a list that a word may be a slip of.

    By the words that are left when letters are taken out (Garbe's SymSpell): two words that are one
    edit apart have one in common, so that the list is never gone through.

    Args:
        words: that may be meant.
        known: words that somebody writes on purpose: two of these are two words.

    Attributes:
        meanings: of each word that is asked for, as `meant` finds them.
    """

    def __init__(self, words: Iterable[str], known: Collection[str]) -> None:
        self._known = known
        self._words = {word for word in words if word.isalpha() and len(word) > 1}
        self.meanings = _Meanings(self)
        self._left: dict[str, list[str]] = {}
        for word in sorted(self._words):
            for part in _without(word, _edits(word)):
                self._left.setdefault(part, []).append(word)

    def meant(self, word: str) -> list[str]:
        """Return the words that may be meant, the nearest first; none for a word of the list.

        Where many words are a letter away, as among codes, only a function word may be meant.

        >>> Spelling(["leukemia", "anemia"], known=["leukemia", "anemia"]).meant("luekemia")
        ['leukemia']
        >>> Spelling(["panther"], known=["panther"]).meant("pantherss")
        ['panther']
        """
        if word in self._words or len(word) < _SHORT or not word.isalpha() or is_plain(word):
            return []
        return self._near(word)

    def _near(self, word: str) -> list[str]:
        # Most words are known, and then only a word that nobody writes may be meant: one slip.
        edits = 1 if word in self._known else _edits(word)
        near = {
            other
            for part in _without(word, edits)
            for other in self._left.get(part, ())
            if self._may_be(word, other)
        }
        if len(near) > _MANY:
            near = {other for other in near if is_plain(other)}
        found = [(distance(word, other), other) for other in near]
        is_known = word in self._known
        limit = {other: 1 if is_known else max(edits, _edits(other)) for other in near}
        return [other for far, other in sorted(found) if far <= limit[other]]

    def _may_be(self, word: str, other: str) -> bool:
        if max(len(word), len(other)) <= _SHORT and not is_plain(other):
            return False  # "NBC" is no slip of "NBA"
        if word not in self._known or (other not in self._known and len(other) >= _LONG // 2):
            return True
        short, long = sorted((word, other), key=len)
        return len(short) > 4 and long.startswith(short) and long[len(short) :] in _ENDINGS


class _Meanings(dict[str, list[str]]):
    """What each word may mean, found once."""

    def __init__(self, spelling: Spelling) -> None:
        super().__init__()
        self._spelling = spelling

    def __missing__(self, word: str) -> list[str]:
        found = self[word] = self._spelling.meant(word)
        return found


def distance(one: str, other: str) -> int:
    """Return how many letters are added, left out, exchanged or swapped with the next.

    >>> distance("waht", "what"), distance("gout", "gouts"), distance("gout", "goat")
    (1, 1, 1)
    """
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        older, before, row = before, row, [i]
        for j, wanted in enumerate(other, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]


def _edits(word: str) -> int:
    return 1 if len(word) < _LONG else 2


def _without(word: str, edits: int) -> set[str]:
    """Return the word and what is left of it without one letter, or up to two."""
    found = {word}
    for _ in range(edits):
        found |= {part[:i] + part[i + 1 :] for part in found for i in range(len(part))}
    return found
