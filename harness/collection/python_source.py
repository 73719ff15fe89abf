"""Build a collection from Python source on this machine: docstring sentence to function.

Real text that needs no download. A query is the first sentence of a function's docstring, its
document the function without docstrings; the corpus holds the documents of all splits.

Splits are by module, so that code of one module is never in two: a stable hash of the top-level
module (`json`), or of the module one level below a package (`numpy.linalg`), 67% train, 6% dev,
27% test of the modules. Sentences of fewer than three words, and those of more than five
functions ("Constructor for the class."), say too little about one function and are left out. A
sentence or a function's text that occurs in two splits would leak between them and is left out of
both; within a split, functions with one sentence are all relevant to it, and functions with one
text are one document, because no model can tell twins apart and none should lose by their order.

The result depends on the version of the interpreter or package alone, its last digit included:
parts of the standard library that distributions leave out or package apart are not read.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import sysconfig
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.collection.raw import RawCollection, RawJudgements, RawSplit, RawTexts
from harness.collection.texts import normalise, stable_split
from harness.errors import ExitCode, HarnessError, did_you_mean

_SKIPPED = frozenset({"test", "tests", "__pycache__"})
# What Linux distributions leave out of the standard library or package apart.
_ELSEWHERE = frozenset(
    {"distutils", "ensurepip", "idlelib", "lib2to3", "macholib", "tkinter", "turtledemo", "venv"}
)
_LEAST_WORDS = 3
_MOST_FUNCTIONS = 5
_WORD = re.compile(r"[^\W\d_]{2,}")


class _Pair(NamedTuple):
    split: str
    function: Function
    query: str
    document: str


def read_python(name: str) -> RawCollection:
    """Read the standard library (``stdlib``) or an installed package, without importing it.

    Raises:
        HarnessError: there is no such package, or it has no documented Python function.
    """
    roots = _roots(name)
    if name == "stdlib":
        prefix, licence = "", "PSF-2.0"
    else:
        prefix, licence = name, _package_licence(name)
    # Where both pkg/a.py and pkg/a/ exist, the folder is read first and is what Python imports.
    functions: dict[str, tuple[str, Function]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # parsing warns of other people's escape sequences
        for root in roots:
            for module, function in _functions_below(root, prefix=prefix):
                functions.setdefault(function.name, (module, function))
    pairs = _without_leaks(list(functions.values()))
    if not pairs:
        raise HarnessError(
            f"python:{name}: no function with a docstring of {_LEAST_WORDS} words or more. "
            "Name a package that is written in Python.",
            exit_code=ExitCode.DATA,
        )
    return _collect(f"python:{name}", pairs, licence)


def python_files(name: str) -> Iterator[Path]:
    """Yield the files that `read_python` reads."""
    for root in _roots(name):
        yield from _python_files(root)


def _roots(name: str) -> list[Path]:
    """Return the package's folders, or the file of a module that is no package."""
    if name == "stdlib":
        return [Path(sysconfig.get_path("stdlib"))]
    try:
        # find_spec imports the parent of a dotted name, so such names are refused.
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
    except ValueError:  # a module without a spec, such as __main__
        spec = None
    if spec is None:
        from importlib.metadata import packages_distributions

        known = [*packages_distributions(), "stdlib"]
        hint = did_you_mean(name, known)
        fix = hint if "Did you mean" in hint else " Install it, or use 'python:stdlib'."
        raise HarnessError(
            f"python:{name}: no top-level package of this name is installed.{fix}",
            exit_code=ExitCode.DATA,
        )
    if spec.submodule_search_locations is not None:
        return [Path(place) for place in sorted(spec.submodule_search_locations)]
    return [Path(spec.origin)] if spec.origin and spec.origin.endswith(".py") else []


def _package_licence(name: str) -> str:
    from importlib.metadata import metadata, packages_distributions

    if name in sys.stdlib_module_names:
        return "PSF-2.0"
    distributions = packages_distributions().get(name)
    if not distributions:
        return ""
    stated = metadata(distributions[0])
    # A key that is absent is None, or an error where the package importlib_metadata is installed.
    keys = [key for key in ("License-Expression", "License") if key in stated]
    expression = next((stated[key] for key in keys if stated[key]), "")
    if expression and "\n" not in expression:
        return expression
    classifiers = stated.get_all("Classifier") or []
    return "; ".join(c.rpartition(" :: ")[2] for c in classifiers if c.startswith("License ::"))


def _functions_below(root: Path, *, prefix: str) -> Iterator[tuple[str, Function]]:
    """Yield each function with the module that decides its split."""
    for path in _python_files(root):
        below = path.relative_to(root).with_suffix("").parts if path != root else ()
        parts = [part for part in (prefix, *below) if part]
        if parts[-1] == "__init__":
            parts.pop()
        # stdlib_module_names is the same on all platforms; distributions add modules of their own.
        if not prefix and (parts[0] not in sys.stdlib_module_names or _ELSEWHERE & {*parts}):
            continue
        try:
            with tokenize.open(path) as handle:
                found = functions_of(handle.read(), module=".".join(parts))
        except (SyntaxError, ValueError, RecursionError):
            continue  # not this interpreter's Python: templates, files for Python 2
        for function in found:
            yield ".".join(parts[: 2 if prefix else 1]), function


def _python_files(root: Path) -> Iterator[Path]:
    """Yield the importable files by name, those of tests excepted."""
    if root.is_file():
        yield root
        return
    for path in sorted(root.iterdir(), key=lambda path: path.name):
        if path.stem in _SKIPPED or not path.stem.isidentifier():
            continue
        if path.is_dir():
            yield from _python_files(path)
        elif path.suffix == ".py":
            yield path


def _without_leaks(functions: list[tuple[str, Function]]) -> list[_Pair]:
    pairs = [
        _Pair(
            stable_split(module, train_percent=67, dev_percent=6),
            function,
            normalise(function.sentence),
            normalise(function.code),
        )
        for module, function in functions
        if len(_WORD.findall(function.sentence)) >= _LEAST_WORDS
        and not function.sentence.startswith(">>>")
    ]
    times = Counter(pair.query for pair in pairs)
    query_splits: dict[str, set[str]] = {}
    document_splits: dict[str, set[str]] = {}
    for pair in pairs:
        query_splits.setdefault(pair.query, set()).add(pair.split)
        document_splits.setdefault(pair.document, set()).add(pair.split)
    return [
        pair
        for pair in pairs
        if times[pair.query] <= _MOST_FUNCTIONS
        and len(query_splits[pair.query]) == 1
        and len(document_splits[pair.document]) == 1
    ]


def _collect(source: str, pairs: list[_Pair], licence: str) -> RawCollection:
    queries: dict[str, Function] = {}
    documents: dict[str, Function] = {}
    judged: dict[str, dict[tuple[str, str], None]] = {}
    for pair in pairs:
        query = queries.setdefault(pair.query, pair.function)
        document = documents.setdefault(pair.document, pair.function)
        judged.setdefault(pair.split, {})[f"q/{query.name}", document.name] = None
    query_texts = _texts(source, {f"q/{f.name}": f.sentence for f in queries.values()})
    return RawCollection(
        source=source,
        documents=_texts(source, {f.name: f.code for f in documents.values()}),
        splits={
            name: RawSplit(
                query_texts,
                RawJudgements(
                    file=source,
                    query_ids=tuple(query for query, _ in judged[name]),
                    document_ids=tuple(document for _, document in judged[name]),
                    grades=np.ones(len(judged[name]), dtype=np.int32),
                    lines=np.zeros(0, dtype=np.int32),
                ),
            )
            for name in sorted(judged)
        },
        licence=licence,
    )


def _texts(source: str, texts: dict[str, str]) -> RawTexts:
    no_lines = np.zeros(0, dtype=np.int32)
    return RawTexts(source, tuple(texts), tuple(texts.values()), no_lines)


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
