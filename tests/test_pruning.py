"""What no suite needs is found, and removed whole; what a suite needs stays."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import command_line
import numpy as np
import pytest
from conftest import plan_of, run_suite, write_suite

from harness.api import open_store
from harness.errors import ExitCode, HarnessError
from harness.output import pruning
from harness.output.pruning import damaged, held, needs, prune, unneeded
from harness.results.gathering import gather
from harness.store import Entry, Store
from harness.suite.load import load_suite


@pytest.fixture
def suite(tmp_path: Path, beir: Path, static_model: Path, cross_encoder: Path) -> Path:
    return write_suite(
        tmp_path / "small.toml",
        f"""
        baseline = "static"
        collections.small.source = "beir:{beir}"
        candidates.lexical.kind = "bm25"
        candidates.static.model = "{static_model}"
        candidates.reranked = {{ from = "static", rerank = {{ model = "{cross_encoder}" }} }}
        """,
    )


@pytest.fixture
def full(suite: Path, store: Store) -> Store:
    """Return a store with what a suite needs, and an artifact that nobody does."""
    gather(run_suite(suite, store))
    store.put("runs", "f" * 32, arrays={"scores": np.zeros(9)}, meta={})
    return store


def left_over(store: Store, *suites: Path, **limits: float) -> list[Entry]:
    known = {str(path): needs(load_suite(path), store) for path in suites}
    return unneeded(held(store, known), **limits)  # type: ignore[arg-type]


def names(entries: list[Entry]) -> set[str]:
    return {f"{entry.kind}/{entry.key}" for entry in entries}


def test_only_what_no_suite_needs_is_left_over(full: Store, suite: Path):
    assert names(left_over(full, suite)) == {"runs/" + "f" * 32}
    with full.discarding():
        prune(full, left_over(full, suite))
    assert plan_of(suite, full).left() == []
    assert full.get("runs", "f" * 32) is None


def test_a_suite_whose_artifacts_are_pruned_computes_those_again_and_no_others(
    full: Store, suite: Path, tmp_path: Path, beir: Path
):
    text = f"""
        baseline = "lexical"
        collections.small.source = "beir:{beir}"
        candidates.lexical.kind = "bm25"
        candidates.other = {{ kind = "bm25", k1 = 0.5 }}
        """
    other = write_suite(tmp_path / "other.toml", text)
    run_suite(other, full)
    before = names(list(full.entries()))
    gone = left_over(full, other)
    with full.discarding():
        prune(full, gone)
    assert plan_of(other, full).left() == []
    left = {stage.label for stage, _ in plan_of(suite, full).left()}
    assert left
    assert not any("lexical" in label for label in left)
    gather(run_suite(suite, full))
    assert before - {"runs/" + "f" * 32} <= names(list(full.entries()))


def test_age_and_size_limit_what_goes_and_the_oldest_goes_first(store: Store):
    for number in range(4):
        store.put("runs", f"{number}" * 32, arrays={"scores": np.zeros(1000)}, meta={})
        written = time.time() - number * 86_400
        for path in (store.root / "runs" / (f"{number}" * 32)).iterdir():
            os.utime(path, (written, written))
    store.put("rates", "a" * 32, arrays={}, meta={})
    store.put("answers/of-a-model", "b" * 32, arrays={}, meta={})
    found = held(store, {})
    keys = [entry.key[0] for entry in unneeded(found)]
    assert keys == ["3", "2", "1", "0"]
    old = unneeded(found, older_than=1.5 * 86_400)
    assert [entry.key[0] for entry in old] == ["3", "2"]
    total = sum(each.entry.size for each in found)
    assert [entry.key[0] for entry in unneeded(found, to=total - 1)] == ["3"]
    assert unneeded(found, to=total) == []


def test_checkpoints_go_by_age_alone_and_not_while_they_are_in_use(store: Store):
    folder = store.root / "staging" / f"training-{'c' * 32}"
    folder.mkdir(parents=True)
    (folder / "whole.json").write_text("{}")
    os.utime(folder / "whole.json", (0, 0))
    assert unneeded(held(store, {})) == []
    chosen = unneeded(held(store, {}), older_than=60.0)
    assert [entry.kind for entry in chosen] == ["checkpoints"]
    needed = held(store, {"small": {folder}})
    assert unneeded(needed, older_than=60.0) == []
    prune(store, chosen)
    assert not folder.exists()


def test_a_kill_in_the_middle_leaves_a_whole_store(
    full: Store, suite: Path, monkeypatch: pytest.MonkeyPatch
):
    entries = list(full.entries())
    whole = names(entries)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("harness.scratch.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            prune(full, entries[:3])
    gone = names(entries[:1])
    assert names(list(full.entries())) == whole - gone
    assert list(damaged(full)) == []
    run_suite(suite, full)
    assert plan_of(suite, full).left() == []


def test_nothing_is_removed_while_a_run_uses_the_store(full: Store):
    running = Store(full.root)
    running.lease()
    with pytest.raises(HarnessError, match="a run is using it") as caught, full.discarding():
        pass
    assert caught.value.exit_code is ExitCode.STAGE
    del running
    with full.discarding():
        pass


def test_planted_damage_is_found_and_counted(full: Store):
    assert list(damaged(full)) == []
    vectors = next(full.root.glob("embeddings/*/*/vectors.npy"))
    body = bytearray(vectors.read_bytes())
    body[-1] ^= 1
    vectors.write_bytes(body)
    (full.root / "runs" / ("f" * 32) / "meta.json").unlink()
    key = vectors.parent.name
    found = names(list(damaged(full)))
    assert found == {f"embeddings/{vectors.parents[1].name}/{key}", "runs/" + "f" * 32}


def harness(*arguments: object, cwd: Path) -> tuple[int, str, str]:
    done = command_line.harness("store", *arguments, "--store", "store", cwd=cwd)
    return done.returncode, done.stdout, done.stderr


def test_the_verbs_show_verify_and_prune(full: Store, suite: Path):
    folder = suite.parent
    assert full.root == folder / "store"
    code, said, _ = harness("show", cwd=folder)
    assert code == 0
    assert "no suite here" in said
    assert "Suites here: " in said
    assert harness("verify", cwd=folder)[0] == 0
    before = names(list(full.entries()))
    code, said, _ = harness("prune", cwd=folder)
    assert code == 0
    assert "To remove them, add --yes." in said
    assert names(list(full.entries())) == before
    code, said, _ = harness("prune", "--yes", "--json", cwd=folder)
    assert code == 0
    assert json.loads(said)["artifacts"] == ["runs/" + "f" * 32]
    assert before - names(list(full.entries())) == {"runs/" + "f" * 32}
    next(full.root.glob("runs/*/scores.npy")).write_bytes(b"damaged")
    code, said, _ = harness("verify", cwd=folder)
    assert code == 4
    assert "1 of " in said


def test_prune_refuses_where_it_cannot_know_what_is_needed(full: Store, suite: Path):
    folder = suite.parent
    suite.write_text(suite.read_text() + "\nmodle = 1\n")
    code, _, said = harness("prune", "--yes", cwd=folder)
    assert code == 2
    assert "modle" in said
    suite.unlink()
    code, _, said = harness("prune", "--yes", cwd=folder)
    assert code == 2
    assert "no suite in" in said
    assert full.get("runs", "f" * 32) is not None


@pytest.mark.parametrize("option", [("--older-than", "30"), ("--to", "much")])
def test_limits_that_are_none_are_refused(suite: Path, option: tuple[str, str]):
    code, _, said = harness("prune", *option, cwd=suite.parent)
    assert code == 2
    assert f"'{option[1]}' is not " in said
    assert pruning.seconds_of("2w") == 14 * 86_400


def test_python_opens_the_store_as_the_command_line_does(
    full: Store, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    opened = open_store(full.root)
    shown, read = opened.show(), opened.verify()
    assert shown.attrs == {"suites": ["small"], "problems": []}
    assert shown["bytes"].sum() == sum(each.entry.size for each in held(full, {}))
    assert ["small"] in shown["suites"].tolist()
    assert len(read) == len(list(full.entries()))
    assert not read["damaged"].any()
    with pytest.raises(HarnessError, match="not an age"):
        opened.prune(suite, older_than="old")
    for yes in (False, True):
        assert opened.prune(suite, yes=yes)["artifact"].tolist() == ["runs/" + "f" * 32]
    assert opened.prune(suite).empty
    (next(full.entries()).path / "meta.json").write_text("{}", "utf-8")
    assert opened.verify()["damaged"].sum() == 1
