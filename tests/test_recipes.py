"""The recipes of CONTRIBUTING, each followed in a copy of the tree: these files and no others."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import WORDS

ROOT = Path(__file__).parents[1]
COPIED = ("harness", "reports", "tests", "pyproject.toml", "README.md", "CONTRIBUTING.md")


# One interpreter, which imports the copy once, and ends with the first code that is not 0.
IN_TURN = """
import sys
from harness.cli import main

for command in sys.argv[1:]:
    sys.argv = ["harness", *command.split()]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
"""


@dataclass
class Tree:
    """A copy of the repository that records what each recipe touches."""

    root: Path
    touched: dict[str, set[str]] = field(default_factory=dict)

    def edit(self, recipe: str, path: str, before: str, after: str) -> None:
        """Put `after` in the only place of `before`, or in front of it if it ends in a line end."""
        text = (self.root / path).read_text("utf-8")
        assert text.count(before) == 1, f"{path} has {text.count(before)} times {before!r}"
        new = after + before if after.endswith("\n") else after
        (self.root / path).write_text(text.replace(before, new), "utf-8")
        self.touched.setdefault(recipe, set()).add(path)

    def add(self, recipe: str, path: str, text: str) -> None:
        """Add a file."""
        assert not (self.root / path).exists()
        (self.root / path).write_text(text, "utf-8")
        self.touched.setdefault(recipe, set()).add(path)

    def harness(self, *commands: str, folder: Path, code: int = 0) -> str:
        """Run commands of the copy in a folder, one after the other; return what they printed."""
        return self.python("-c", IN_TURN, *commands, folder=folder, code=code)

    def python(self, *args: str, folder: Path | None = None, code: int = 0) -> str:
        """Run Python with the copy alone on its path, compiling nothing; return what it printed."""
        env = {**os.environ, "PYTHONPATH": str(self.root), "COLUMNS": "200", "NO_COLOR": "1"}
        env["NUMBA_DISABLE_JIT"] = "1"
        done = subprocess.run(
            [sys.executable, *args],
            cwd=folder or self.root,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


def copied(folder: Path) -> Tree:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            # What is compiled already is valid in a copy, for each file that keeps its time.
            leave = shutil.ignore_patterns("*.png", "test_recipes.py", "goldens")
            shutil.copytree(source, folder / name, ignore=leave)
        else:
            shutil.copy(source, folder / name)
    return Tree(folder)


METRIC = """    "f1": Family(
        definition="harmonic mean of precision and recall",
        of_ranks=_ranx("f1"),
    ),
"""
FBETA = '''def _f_beta(judged: Ids, ranked: Ids, metric: Metric) -> Values:
    """Return the weighted harmonic mean of precision and recall."""
    found, square = hits(judged, ranked, metric).sum(axis=1), (metric.parameter or 1.0) ** 2
    relevant = (judged[:, :, 1] >= metric.level).sum(axis=1)
    values: Values = (1 + square) * found / np.maximum(1, square * relevant + metric.cutoff)
    return values


'''
FBETA_ROW = """    "fbeta": Family(
        definition="weighted harmonic mean of precision and recall, written fbeta(2)@10",
        of_ranks=_f_beta,
        parameter=Parameter("beta", above=0, below=100, usual=2),
    ),
"""
SOURCE = '''"""Cards: a file with a question and its answer, tab-separated, a line."""

from pathlib import Path

import numpy as np

from harness.collection.raw import RawCollection, RawJudgements, RawSplit, RawTexts


def read_cards(path: Path) -> RawCollection:
    """Read a file of cards; all are in the split "test"."""
    rows = [line.split("\\t") for line in path.read_text("utf-8").splitlines()]
    numbers = np.arange(1, len(rows) + 1, dtype=np.int32)
    queries = tuple(f"q{number:03}" for number in numbers)
    documents = tuple(f"d{number:03}" for number in numbers)
    file = str(path)
    return RawCollection(
        f"cards:{path}",
        RawTexts(file, documents, tuple(row[1] for row in rows), numbers),
        {
            "test": RawSplit(
                RawTexts(file, queries, tuple(row[0] for row in rows), numbers),
                RawJudgements(file, queries, documents, np.ones(len(rows), np.int32), numbers),
            )
        },
    )
'''
REASON = '''"""Shouting: the query is written in capitals."""

from __future__ import annotations

from harness.diagnosis.reasons.reason import Reason, Signs, look
from harness.diagnosis.subject import Subject


def find_shouting(subject: Subject) -> Signs:
    """Flag the queries in capitals."""
    queries = subject.collection.queries
    return look(subject, lambda row: queries[row].isupper() and "It is in capitals.")


SHOUTING = Reason(
    key="shouting",
    title="Queries in capitals",
    says="the query is written in capitals",
    lever="expansion",
    detect=find_shouting,
)
'''
RULE = '''class Equivalent(SampledGate):
    """``rule = "equivalent"``: neither more nor less than the margin from the stored baseline."""

    asks = "{asked} within {limit} of the baseline"
    states = "margin"
    relative = True

    rule: Literal["equivalent"]
    margin: float = Field(gt=0, lt=1)


'''

ANSWER = """        case Equivalent():
            passes = (seen.low > -spec.margin) & (seen.high < spec.margin)
            fails = (seen.high <= -spec.margin) | (seen.low >= spec.margin)
"""
SENTENCE = """        case Equivalent():
            return f"The interval is compared with {spec.margin:g} on both sides."
"""
SUITE = """
name = "small"
metrics = ["f1@10", "fbeta(2)@10", "ndcg@10"]
baseline = "bm25"
[collections.notes]
source = "cards:notes.txt"
[candidates.bm25]
kind = "bm25"
[candidates.half]
run = "half.trec"
[gates.same]
rule = "equivalent"
metric = "fbeta(2)@10"
candidate = "half"
margin = 0.05
"""
KIND_TABLE = '''"""Echo: the parent fused with itself."""

from typing import ClassVar, Literal

from harness.suite.kinds.kind import Derived


class Echo(Derived):
    """``echo = true``: the parent fused with itself, which changes nothing."""

    word: ClassVar[str] = "echo"

    echo: Literal[True]

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        return "fused with itself"
'''
KIND_BUILDER = '''"""Echo: the parent fused with itself."""

from harness.collection import Collection
from harness.plan.candidates import Builder, Steps
from harness.retrieval.fusion import FuseRuns
from harness.suite.kinds.echo import Echo
from harness.suite.kinds.fuse import Fuse


class EchoBuilder(Builder[Echo]):
    """The parent fused with itself."""

    def run(self, collection: Collection) -> FuseRuns:
        """Return the fusion of the parent's run with itself."""
        run = self.planner.run_stage(self.spec.parent, collection.name)
        return FuseRuns(self.label(collection), Fuse(fuse=["one", "other"]), (run, run))

    def steps(self, collection: Collection) -> Steps:
        """Return the parent's steps."""
        return self.planner.steps(self.spec.parent, collection.name)
'''
KIND_SUITE = """
[candidates.echo]
from = "half"
echo = true
"""
HAS_KINDS = (ROOT / "harness" / "plan" / "kinds").is_dir()


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Return a copy in which every recipe was followed."""
    tree = copied(tmp_path_factory.mktemp("grown"))
    metrics, oracles = "harness/runs/metrics.py", "tests/test_oracles.py"
    tree.edit("a metric", metrics, '    "rbp": Family(\n', METRIC)
    plain = '    "f1": lambda grades, p, level: 0.0,\n'
    tree.edit("a metric", oracles, '    "rbp": lambda grades', plain)
    tree.edit("a metric with a parameter", metrics, "# The one place that lists metrics", FBETA)
    tree.edit("a metric with a parameter", metrics, '    "rbp": Family(\n', FBETA_ROW)
    plain = '    "fbeta": lambda grades, beta, level: 0.0,\n'
    tree.edit("a metric with a parameter", oracles, '    "rbp": lambda grades', plain)

    load = "harness/collection/load.py"
    tree.add("a source of collections", "harness/collection/cards.py", SOURCE)
    imported = "from harness.collection.cards import read_cards\n"
    tree.edit("a source of collections", load, "from harness.collection.audit", imported)
    row = '    "cards": Source("cards:<file>", lambda rest, clusters: read_cards(Path(rest))),\n'
    tree.edit("a source of collections", load, '    "pairs": Source(', row)

    catalogue = "harness/diagnosis/reasons/__init__.py"
    tree.add("a reason for failures", "harness/diagnosis/reasons/shouting.py", REASON)
    tree.edit("a reason for failures", catalogue, "    words,\n", "    shouting,\n")
    line = "    shouting.SHOUTING,\n"
    tree.edit("a reason for failures", catalogue, "    judgements.LEAK,\n", line)

    spec, rules, rule = "harness/suite/gates.py", "harness/gates/rules.py", "a rule of gates"
    tree.edit(rule, spec, "class AtLeast(SampledGate)", RULE)
    tree.edit(rule, spec, "Sampled = NoWorse |", "Sampled = Equivalent | NoWorse |")
    names = "import AtLeast, Better, NoWorse, Sampled"
    tree.edit(rule, rules, names, "import AtLeast, Better, Equivalent, NoWorse, Sampled")
    tree.edit(rule, rules, "        case AtLeast():\n            passes", ANSWER)
    tree.edit(rule, rules, "        case AtLeast():\n            if", SENTENCE)

    if HAS_KINDS:
        for folder, text in (("suite", KIND_TABLE), ("plan", KIND_BUILDER)):
            tree.add("a kind of candidate", f"harness/{folder}/kinds/echo.py", text)
        tables, builders = "harness/suite/kinds/__init__.py", "harness/plan/kinds/__init__.py"
        line = "from harness.suite.kinds.echo import Echo\n"
        both = "from harness.plan.kinds.echo import EchoBuilder\n" + line
        tree.edit("a kind of candidate", tables, "from harness.suite.kinds.fuse import", line)
        tree.edit("a kind of candidate", builders, "from harness.suite.kinds.fuse import", both)
        tree.edit("a kind of candidate", tables, '    "fuse": Fuse,\n', '    "echo": Echo,\n')
        line = "    Echo: EchoBuilder,\n"
        tree.edit("a kind of candidate", builders, "    Fuse: FuseBuilder,\n", line)
    return tree


def test_each_recipe_names_the_files_that_it_takes_and_no_other(grown: Tree):
    rows = re.findall(
        r"^\| ([^|]+) \| (.+) \|$", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.M
    )
    named = {
        name: {path.replace("<name>", "*") for path in re.findall(r"`([\w/<>]+\.py)`", text)}
        for name, text in rows
    }
    for recipe, touched in grown.touched.items():
        new = {path for path in touched if not (ROOT / path).exists()}
        files = {f"{Path(path).parent}/*.py" if path in new else path for path in touched}
        assert files == named[recipe], recipe


def test_what_was_added_is_scored_reported_diagnosed_and_gated(grown: Tree, tmp_path: Path):
    asks = [" ".join(WORDS[row : row + 3]) for row in range(60)]
    asks = [text.upper() if row % 2 else text for row, text in enumerate(asks)]
    cards = "".join(f"{text}\tthe {text.lower()}\n" for text in asks)
    (tmp_path / "notes.txt").write_text(cards, "utf-8")
    missed = (f"q{row + 1:03} Q0 d{(row + row % 2) % 60 + 1:03} 1 1 x\n" for row in range(60))
    (tmp_path / "half.trec").write_text("".join(missed), "utf-8")
    (tmp_path / "small.toml").write_text(SUITE + KIND_SUITE * HAS_KINDS, "utf-8")
    verbs = ("diagnose", "baseline save", "gate")
    said = grown.harness(*(f"{verb} small.toml" for verb in verbs), folder=tmp_path, code=1)
    assert "fbeta(2)@10 within 0.05 of the baseline" in said
    assert "The interval is compared with 0.05 on both sides." in said
    results = read(tmp_path, "results")
    means = {row["metric"]: row["mean"] for row in results["scores"] if row["candidate"] == "half"}
    # Every other query finds its only answer, among ten: precision 0.1 and recall 1.
    assert means["f1@10"] == pytest.approx(0.5 * 2 * 0.1 / 1.1)
    assert means["fbeta(2)@10"] == pytest.approx(0.5 * 5 * 0.1 / 1.4)

    if HAS_KINDS:
        kinds = {row["name"]: row["kind"] for row in results["candidates"]}
        assert kinds["echo"] == "echo"
        of_echo = [row["mean"] for row in results["scores"] if row["candidate"] == "echo"]
        of_half = [row["mean"] for row in results["scores"] if row["candidate"] == "half"]
        assert of_echo == of_half

    found = read(tmp_path, "diagnosis")
    assert "the query is written in capitals" in json.dumps(found)
    page = (tmp_path / "results/small/report.html").read_text("utf-8")
    assert all(text in page for text in ("f1@10", "fbeta(2)@10", "Queries in capitals"))


def test_mistakes_name_what_was_added(grown: Tree, tmp_path: Path):
    wrong = SUITE.replace("f1@10", "f@10").replace("(2)@10", "(200)@10").replace("cards:", "card:")
    (tmp_path / "small.toml").write_text(wrong.replace("equivalent", "equivalnt"), "utf-8")
    said = grown.harness("plan small.toml", folder=tmp_path, code=2)
    assert "Did you mean 'f1'?" in said
    assert "beta 200 is not possible. It lies between 0 and 100: write 'fbeta(2)@10'." in said
    assert "no rule 'equivalnt'. Did you mean 'equivalent'?" in said
    (tmp_path / "small.toml").write_text(SUITE.replace("cards:", "card:"), "utf-8")
    said = grown.harness("plan small.toml", folder=tmp_path, code=2)
    assert "unknown kind 'card'. Did you mean 'cards'?" in said


def test_a_half_added_metric_fails_the_tests_or_does_not_load(tmp_path: Path):
    tree = copied(tmp_path)
    tree.edit("a metric", "harness/runs/metrics.py", '    "rbp": Family(\n', METRIC)
    test = "tests/test_oracles.py::test_every_metric_has_an_independent_engine"
    assert "f1" in tree.python("-m", "pytest", "-q", "-p", "no:cacheprovider", test, code=1)
    line = '        of_ranks=_ranx("f1"),\n'
    path = tree.root / "harness/runs/metrics.py"
    path.write_text(path.read_text("utf-8").replace(line, ""), "utf-8")
    said = tree.python("-c", "import harness.runs.metrics", code=1)
    assert "one of of_ranks and of_prompt computes a metric" in said


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / f"results/small/{name}.json").read_text("utf-8"))
