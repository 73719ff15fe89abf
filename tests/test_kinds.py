"""A kind of candidate is one thing: its table, its builder, and nobody else who asks for it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from harness.plan.kinds import BUILDERS
from harness.suite.kinds import ASKED, KINDS, PREFIXED
from harness.suite.kinds.kind import Compression

ROOT = Path(__file__).parents[1]
ALL = {*KINDS.values(), *PREFIXED.values(), *ASKED.values()}


def asked(tree: ast.Module) -> Iterator[str]:
    """Yield the tables of candidates that a module tests a value against."""
    tables = {kind.__name__ for kind in ALL}
    kinds = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("harness.suite.kinds.")
        for alias in node.names
        if alias.name in tables
    }
    for node in ast.walk(tree):
        tested: list[ast.AST] = []
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            tested = [node.args[1]]
        elif isinstance(node, ast.MatchClass):
            tested = [node.cls]
        for part in tested:
            names = {each.id for each in ast.walk(part) if isinstance(each, ast.Name)}
            yield from names & kinds


def test_every_kind_has_a_table_a_builder_and_a_word_of_its_own():
    assert set(BUILDERS) == ALL
    assert len({kind.word for kind in ALL}) == len(ALL)


def test_no_other_module_asks_what_kind_a_candidate_is():
    found = {
        str(file.relative_to(ROOT)): sorted(asked(ast.parse(file.read_text("utf-8"))))
        for package in ("harness", "reports")
        for file in (ROOT / package).rglob("*.py")
        if file.parent.name != "kinds"
    }
    assert {file: names for file, names in found.items() if names} == {}


def test_compressions_say_what_they_leave():
    shorter = [kind for kind in KINDS.values() if issubclass(kind, Compression)]
    assert [kind.word for kind in shorter] == ["truncate", "quantize", "index", "query model"]
    assert [kind.compresses for kind in shorter] == [True, True, True, False]
    assert all(kind.has_vectors for kind in shorter)
