"""Measure the shape of the code: sizes, layers, circles, one-use helpers, files from key to effect.

    python benchmarks/house.py                      the tree as it lies here
    python benchmarks/house.py b3213fc .            commits and folders, side by side

A commit is read from `git archive`; nothing is checked out. Counted in `harness/` alone:

* code lines: those with a token that is no comment and no docstring.
* layers: modules on the longest chain of imports, each loaded by the one before; imports inside
  functions and under TYPE_CHECKING are left out.
* circles: groups of modules that import each other, directly or through others, wherever the
  import stands.
* one-use helpers: functions whose name begins with one underscore, and is read exactly once in
  their module outside their own body; methods and nested functions are left out.
* longest chain of packages: the same for what stands directly in `harness/`.
* files that read a key: modules with a line that matches its expression in `KEYS`: the table that
  declares it, and whatever reads it or the value that carries it, up to the last effect. A proxy:
  a value that goes on under a local name is not followed.
* files to add something: those that a recipe of CONTRIBUTING names, where `tests/test_recipes.py`
  shows that it names them all.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import tarfile
import tempfile
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
# How code says each key, or the value that carries it, between the suite and the effect.
KEYS = {
    "truncate": r"\bTruncate\b|\.truncate\b",
    "finetune.max_steps": r"\bmax_steps\b",
    "hard_negatives.ceiling": r"(spec|filter)\.ceiling\b|ceiling: float = |\bceiling=[cs]",
    "metrics": r"\bparsed_metrics\b",
    "decision.gain": r"(decision|situation\.spec|sizes)\.gain\b|gain: float = Field\(default=0\.01",
    "diagnosis.k": r"\bdiagnosis\.k\b|\bk_of\b|\bsubject\.k\b",
    "gates.margin": r"\baccepted_loss\b|\btarget\.limit\b",
}
SHORT = 8  # lines


class Module(NamedTuple):
    """A module of the harness."""

    name: str
    text: str
    tree: ast.Module


def modules(root: Path) -> dict[str, Module]:
    """Return every module by its name."""
    found = {}
    for path in sorted((root / "harness").rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        text = path.read_text("utf-8")
        found[name] = Module(name, text, ast.parse(text))
    return found


def code_lines(module: Module) -> int:
    """Return the lines that hold code."""
    said = {
        line
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type not in silent and token.type != tokenize.ENDMARKER:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - said)


def imports(module: Module, known: Mapping[str, Module], *, loading: bool) -> set[str]:
    """Return the modules that one imports; only those that loading it loads, if wanted."""
    found = set()
    for node in _nodes(module.tree, loading=loading):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else node.module for name in inner]
        found.update(name for name in names if name in known and name != module.name)
    return found


def _nodes(node: ast.AST, *, loading: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        unloaded = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not (loading and (later or unloaded)):
            yield child
            yield from _nodes(child, loading=loading)


def circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """Return the groups of modules that reach each other."""
    reach = {name: _reached(graph, name) for name in graph}
    groups = {frozenset(o for o in reach[n] if n in reach[o]) for n in graph if n in reach[n]}
    return [set(group) for group in groups]


def _reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    left = list(graph[start])
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += graph[name]
    return found


def layers(graph: Mapping[str, set[str]]) -> int:
    """Return how many modules stand on the longest chain; a circle counts once."""
    depth: dict[str, int] = {}

    def measure(name: str, above: frozenset[str]) -> int:
        if name not in depth:
            below = [measure(n, above | {name}) for n in graph[name] if n not in above | {name}]
            depth[name] = 1 + max(below, default=0)
        return depth[name]

    return max(measure(name, frozenset()) for name in graph)


def _of_packages(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    def owner(name: str) -> str:
        return ".".join(name.split(".")[:2])

    found: dict[str, set[str]] = {}
    for name, others in graph.items():
        found.setdefault(owner(name), set()).update(map(owner, others))
    return {name: others - {name} for name, others in found.items()}


def floors(root: Path) -> str:
    """Return the floors that the layer test enforces."""
    path = root / "tests" / "test_layers.py"
    for node in ast.parse(path.read_text("utf-8")).body if path.exists() else ():
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id == "LAYERS":
            return str(len(ast.literal_eval(node.value)))
    return "-"


def one_use(module: Module) -> list[int]:
    """Return the lines of each private function of a module that is used once."""
    reads = Counter(
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Name | ast.Attribute)
    )
    found = []
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef) and re.match(r"_[^_]", node.name):
            own = sum(isinstance(n, ast.Name) and n.id == node.name for n in ast.walk(node))
            if reads[node.name] - own == 1:
                found.append((node.end_lineno or node.lineno) - node.lineno + 1)
    return found


def measure(root: Path) -> dict[str, str]:
    """Return the column of one tree."""
    known = modules(root)
    everywhere = {name: imports(each, known, loading=False) for name, each in known.items()}
    loaded = {name: imports(each, known, loading=True) for name, each in known.items()}
    functions = [
        node
        for each in known.values()
        for node in ast.walk(each.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    helpers = [lines for each in known.values() for lines in one_use(each)]
    column = {
        "files": len(known),
        "modules beside the packages": len(list((root / "harness").glob("*.py"))),
        "lines": sum(each.text.count("\n") for each in known.values()),
        "code lines": sum(map(code_lines, known.values())),
        "layers (longest chain of imports)": layers(loaded),
        "longest chain of packages": layers(_of_packages(everywhere)),
        "floors (tests/test_layers.py)": floors(root),
        "circles": len(circles(everywhere)),
        "functions": len(functions),
        "one-use private functions": len(helpers),
        f"of them at most {SHORT} lines": sum(lines <= SHORT for lines in helpers),
    }
    for key, pattern in KEYS.items():
        column[f"files that read {key}"] = sum(
            re.search(pattern, each.text) is not None for each in known.values()
        )
    return {name: str(value) for name, value in column.items()}


def touched(root: Path) -> dict[str, str]:
    """Return how many files each recipe of CONTRIBUTING edits; tests/test_recipes.py follows it."""
    if not (root / "tests" / "test_recipes.py").exists():
        return {}
    text = (root / "CONTRIBUTING.md").read_text("utf-8")
    rows = re.findall(r"^\| ([^|]+) \| (.+) \|$", text, re.MULTILINE)
    files = {
        name: set(re.findall(r"`((?:harness|tests)/[\w/<>]+\.py)`", cell)) for name, cell in rows
    }
    return {f"files to add {name}": str(len(each)) for name, each in files.items() if each}


def tree_of(name: str, scratch: Path) -> Path:
    """Return a folder as it is, and a commit unpacked into a scratch folder."""
    if Path(name).is_dir():
        return Path(name)
    command = ["git", "-C", str(ROOT), "archive", name]
    packed = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    if packed.returncode:
        raise SystemExit(f"{name}: no folder and no commit. {packed.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(scratch / name, filter="data")
    return scratch / name


def main() -> None:
    """Print a table with a column for each commit or folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "trees", nargs="*", default=[str(ROOT)], help="commits or folders; this tree if none"
    )
    names = parser.parse_args().trees
    with tempfile.TemporaryDirectory() as scratch:
        trees = [tree_of(name, Path(scratch)) for name in names]
        columns = [{**measure(tree), **touched(tree)} for tree in trees]
    heads = ["this tree" if Path(name).is_dir() else name for name in names]
    print("| | " + " | ".join(heads) + " |")
    print("| --- |" + " ---: |" * len(heads))
    for row in dict.fromkeys(row for column in columns for row in column):
        print(f"| {row} | " + " | ".join(column.get(row, "-") for column in columns) + " |")


if __name__ == "__main__":
    main()
