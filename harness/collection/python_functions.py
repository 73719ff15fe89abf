"""Take the documented functions out of one Python source: first sentence, and code without it."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

_SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\betc)(?<!\bvs)[.!?](?=\s)")
_BLANK_LINE = re.compile(r"\n\s*\n")

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Function(NamedTuple):
    """A documented function.

    Attributes:
        name: dotted, with the module's; ``#2`` follows the second of the same name.
        sentence: the first of its docstring, on one line.
        code: decorators, signature and body, as far left as it goes; no docstring in it, not even
            of functions inside, which would give their queries away.
    """

    name: str
    sentence: str
    code: str


def functions_of(source: str, *, module: str) -> list[Function]:
    r"""Return the functions of a module that have both a docstring and code.

    Methods and functions inside functions are among them.

    Args:
        source: with ``\n`` line ends.
        module: its dotted name.

    Raises:
        SyntaxError, ValueError, RecursionError: it does not parse.

    >>> functions_of('def f(x):\n    "Add one. More."\n    return x + 1', module="m")
    [Function(name='m.f', sentence='Add one.', code='def f(x):\n    return x + 1')]
    """
    # ast counts lines by "\n"; str.splitlines would also split at form feeds.
    lines = source.split("\n")
    documented = [
        (name, node, docstring)
        for name, node in _definitions(ast.parse(source).body, module)
        if (docstring := _own_lines_docstring(node, lines)) is not None
    ]
    omitted = {
        number
        for _, _, docstring in documented
        for number in range(docstring.lineno, (docstring.end_lineno or 0) + 1)
    }
    named = Counter[str]()
    found = []
    for name, node, docstring in documented:
        if isinstance(node, ast.ClassDef) or len(node.body) == 1:
            continue
        named[name] += 1
        unique = name if named[name] == 1 else f"{name}#{named[name]}"
        sentence = first_sentence(ast.literal_eval(docstring.value))
        found.append(Function(unique, sentence, _code(node, lines, omitted)))
    return found


def first_sentence(docstring: str) -> str:
    r"""Return the first sentence on one line: up to a full stop or a blank line.

    >>> first_sentence("Read, e.g. a\n    file. Then close it.")
    'Read, e.g. a file.'
    """
    paragraph = " ".join(_BLANK_LINE.split(docstring.strip(), maxsplit=1)[0].split())
    end = _SENTENCE_END.search(paragraph)
    return paragraph[: end.end()] if end else paragraph


def _definitions(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, _Definition]]:
    """Walk statements only: expressions hold no definitions and are most of the tree."""
    for node in body:
        if isinstance(node, _Definition):
            name = f"{prefix}.{node.name}"
            yield name, node
            yield from _definitions(node.body, name)
            continue
        for part in ("body", "orelse", "finalbody"):
            yield from _definitions(getattr(node, part, []), prefix)
        for part in ("handlers", "cases"):
            for branch in getattr(node, part, []):
                yield from _definitions(branch.body, prefix)


def _own_lines_docstring(node: _Definition, lines: list[str]) -> ast.Expr | None:
    """Return the docstring if it shares no line with code, so that its lines can be left out."""
    first = node.body[0]
    if not (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        return None
    starts_line = not lines[first.lineno - 1][: first.col_offset].strip()
    ends_line = len(node.body) == 1 or node.body[1].lineno > (first.end_lineno or 0)
    return first if starts_line and ends_line else None


def _code(node: _Definition, lines: list[str], omitted: set[int]) -> str:
    start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    kept = [
        lines[number - 1]
        for number in range(start, (node.end_lineno or start) + 1)
        if number not in omitted
    ]
    # textwrap.dedent would stop at a multi-line string that starts further left.
    indent = kept[0][: len(kept[0]) - len(kept[0].lstrip())]
    return "\n".join(line.removeprefix(indent) for line in kept).rstrip()
