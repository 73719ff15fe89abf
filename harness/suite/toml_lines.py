"""Where each key of a TOML text stands: the standard library's parser keeps no positions."""

from __future__ import annotations

import re
import tomllib
from typing import Any

Path = tuple[str, ...]

_WORD = r"""(?:[\w-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_PATH = rf"(?P<path>{_WORD}(?:\s*\.\s*{_WORD})*)"
_HEADER = re.compile(rf"^\s*\[\s*{_PATH}\s*\]\s*(#.*)?$")
_KEY = re.compile(rf"^\s*{_PATH}\s*=")
# Text over several lines may look like anything; strings on one line and comments are matched so
# that quotes inside them open nothing.
_LEXEMES = re.compile(
    r'''(?P<long>"""(?:[^\\]|\\.)*?"{3,5}|\'{3}.*?\'{3,5})'''
    r"""|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|\#[^\n]*""",
    re.DOTALL,
)


def key_lines(text: str) -> dict[Path, int]:
    r"""Return the line, counted from 1, on which each table and key of a TOML text begins.

    Keys inside an inline table stand on the line of that table's key.

    >>> key_lines('name = "x"\n[candidates."a/1"]\nfrom = "a"')
    {('name',): 1, ('candidates',): 2, ('candidates', 'a/1'): 2, ('candidates', 'a/1', 'from'): 3}
    """
    lines: dict[Path, int] = {}
    table: Path = ()
    # Of a string over several lines only the line breaks are kept.
    text = _LEXEMES.sub(lambda it: "\n" * it[0].count("\n") if it["long"] else it[0], text)
    for number, line in enumerate(text.split("\n"), start=1):
        if header := _HEADER.match(line):
            table = _parse(header["path"])
            path = table
        elif key := _KEY.match(line):
            path = table + _parse(key["path"])
        else:
            continue
        for end in range(1, len(path) + 1):
            lines.setdefault(path[:end], number)
    return lines


def line_of(lines: dict[Path, int], path: Path) -> int:
    """Return the line of a key, or of the nearest table or key around it; 1 for the file."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return 1


def _parse(dotted: str) -> Path:
    try:
        node: Any = tomllib.loads(f"{dotted} = 0")
    except tomllib.TOMLDecodeError:
        return (dotted,)
    path: list[str] = []
    while isinstance(node, dict):
        [(key, node)] = node.items()
        path.append(key)
    return tuple(path)
