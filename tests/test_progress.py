from __future__ import annotations

import json
import os
from pathlib import Path

import command_line
import pytest
from rich.table import Table
from rich.text import Text

from harness.errors import ExitCode, HarnessError, inert
from harness.progress import Bars, make_console

HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b5m\x7f\u202e"
OBEYED = {chr(code) for code in (*range(32), *range(127, 160), 0x202E)} - {"\n", "\t"}

SUITE = r"""
name = "small"
question = "Which \u001b[2J one?"
metrics = ["ndcg@10"]
baseline = "lexical"

[collections.notes]
source = "beir:notes"

[candidates.lexical]
kind = "bm25"

[candidates.other]
kind = "bm25"
k1 = 2.0

[gates.found]
rule = "must_pass"
queries = ["q1"]
k = 1

[gates.good]
rule = "at_least"
value = 0.99
min_queries = 5
"""


def test_a_console_prints_no_control_character_of_a_text(capsys: pytest.CaptureFixture[str]):
    console = make_console()
    table = Table("name", title=HOSTILE)
    table.add_row(Text(HOSTILE, style="red"))
    for each in (HOSTILE, Text(f"a\tb {HOSTILE}\nc"), table):
        console.print(each)
    said = capsys.readouterr().out
    assert OBEYED.isdisjoint(said)
    assert said.count(r"\x1b[2J\x9b5m") >= 3


def test_a_bar_within_a_bar_is_left_to_the_outer_one():
    bars = Bars(make_console(quiet=True))
    with bars.task("outer", total=2, unit="texts") as advance:
        with bars.task("inner", total=1, unit="models") as inner:
            inner(1)
        advance(2)
    with bars.task("next", total=1, unit="texts") as advance:
        advance(1)


def test_signs_that_languages_need_stay():
    text = "क\u200dष 95% \u200f\u05d0 👩\u200d💻\nnext\tcell"
    assert inert(text) == text


def test_a_traceback_is_told_without_what_a_terminal_obeys():
    error = HarnessError("x", exit_code=ExitCode.STAGE, tracebacks=[f"ValueError: {HOSTILE}"])
    assert OBEYED.isdisjoint(error.tracebacks[0])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a suite whose texts and questions would clear the screen."""
    folder = tmp_path / "notes"
    (folder / "qrels").mkdir(parents=True)
    rows = range(40)
    texts = [{"_id": f"d{row}", "text": f"note {row} {HOSTILE} w{row % 7}"} for row in rows]
    queries = [{"_id": f"q{row}", "text": f"{HOSTILE} note w{row % 7}"} for row in rows]
    for name, lines in (("corpus", texts), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    judged = "".join(f"q{row}\td{row}\t1\n" for row in rows)
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    (tmp_path / "small.toml").write_text(SUITE)
    return tmp_path


def test_no_verb_prints_a_control_character_of_the_data(project: Path):
    actions = {**os.environ, "GITHUB_ACTIONS": "1", "COLUMNS": "120"}
    for verb in ("audit", "plan", "run", "decide", "diagnose", "gate"):
        done = command_line.harness(verb, "small.toml", cwd=project, env=actions)
        assert done.returncode in {0, 1}, done.stderr
        assert OBEYED.isdisjoint(done.stdout + done.stderr), verb
        if verb == "run":
            assert r"\x1b[2J" in done.stdout
    for file in (project / "results" / "small").glob("*.md"):
        assert OBEYED.isdisjoint(file.read_text()), file
