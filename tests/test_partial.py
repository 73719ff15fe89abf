"""A candidate or collection that fails at run time takes no other results with it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import harness
from conftest import WORDS, full_disk, plan_of, write_beir, write_suite, write_vectors
from safetensors.numpy import load_file, save_file

from harness.diagnosis.diagnose import plan_diagnosis, read_diagnosis
from harness.errors import ExitCode, HarnessError
from harness.plan.execute import StagesFailedError, execute
from harness.plan.partial import Partial, partial
from harness.results.gathering import gather, gather_costs
from harness.stage import Context, Silent, Work
from harness.store import Store


def save_broken(folder: Path, static_model: Path, word: str) -> Path:
    """Return a static model whose vector of one word is no number."""
    shutil.copytree(static_model, folder)
    (weights,) = folder.rglob("model.safetensors")
    tensors = load_file(weights)
    (tokenizer,) = folder.rglob("tokenizer.json")
    vocabulary = json.loads(tokenizer.read_text())["model"]["vocab"]
    for tensor in tensors.values():
        tensor[vocabulary[word]] = np.nan
    save_file(tensors, weights)
    return folder


@pytest.fixture
def suite(tmp_path: Path, static_model: Path) -> Path:
    """Return a suite in which 'broken' fails on 'second', and 'gone' everywhere once its files
    are removed.
    """
    first, second = WORDS[:4], WORDS[4:8]
    for name, words in (("first", first), ("second", second)):
        write_beir(
            tmp_path / name,
            documents={f"d{row}": f"{word} {words[0]}" for row, word in enumerate(words)},
            queries={f"q{row}": word for row, word in enumerate(words)},
            qrels={"test": [(f"q{row}", f"d{row}", 1) for row in range(4)]},
        )
    broken = save_broken(tmp_path / "broken", static_model, second[2])
    for place in (f"{side}-{name}" for side in "dq" for name in ("first", "second")):
        write_vectors(
            tmp_path / f"{place}.npy", np.eye(4), [f"{place[0]}{row}" for row in range(4)]
        )
    return write_suite(
        tmp_path / "small.toml",
        f"""
        baseline = "words"
        collections.first.source = "beir:{tmp_path}/first"
        collections.second.source = "beir:{tmp_path}/second"
        [candidates.words]
        kind = "bm25"
        [candidates.broken]
        model = "{broken}"
        [candidates.short]
        from = "broken"
        truncate = 4
        [candidates.given.vectors]
        documents = "{tmp_path}/d-{{collection}}.npy"
        queries = "{tmp_path}/q-{{collection}}.npy"
        [candidates.both]
        fuse = ["words", "given"]
        """,
    )


def left_of(suite: Path, store: Store, *, gone: bool = False) -> Partial:
    plan = plan_of(suite, store)
    for path in suite.parent.glob("d-*.npy") if gone else ():
        path.unlink()
    with pytest.raises(StagesFailedError) as caught:
        execute(plan, progress=Silent())
    return partial(plan, caught.value)


def test_a_collection_on_which_a_candidate_fails_leaves_the_others(suite: Path, store: Store):
    plan, failed = left_of(suite, store)
    assert [*plan.collections] == ["first"]
    assert [*plan.suite.candidates] == ["words", "broken", "short", "given", "both"]
    assert failed[0] == "Collection 'second' is left out: 'broken', 'short' failed on it."
    assert "the model returns NaN or infinite vectors" in failed[1]
    results = gather(plan, failed=failed)
    assert {score.collection for score in results.scores} == {"first"}
    assert results.failed == failed
    assert len(gather_costs(plan).costs) == 5


def test_a_candidate_that_fails_everywhere_is_left_out_with_those_that_need_it(
    suite: Path, store: Store
):
    plan, failed = left_of(suite, store, gone=True)
    assert [*plan.suite.candidates] == ["words", "broken", "short"]
    assert "Candidate 'given' failed and is left out of all comparisons." in failed
    assert "Candidate 'both', which needs 'given', failed" in failed[1]
    assert {each.candidate for each in gather(plan, failed=failed).comparisons} == {
        "broken",
        "short",
    }


def test_what_a_diagnosis_names_and_is_left_out_stops_no_other(suite: Path, store: Store):
    asked = 'candidates = ["given", "words"]\nreferences = ["both"]\nneutral = "given"\n'
    suite.write_text(suite.read_text() + f"[diagnosis]\n{asked}")
    plan, failed = left_of(suite, store, gone=True)
    assert any("'given' failed" in each for each in failed)
    looked = plan_diagnosis(plan)
    execute(replace(plan, stages=looked.stages), progress=Silent())
    found = read_diagnosis(looked)
    assert {each.candidate for each in found.candidates} == {"words"}


def test_where_the_baseline_fails_everywhere_the_failure_is_raised(suite: Path, store: Store):
    suite.write_text(suite.read_text().replace('baseline = "words"', 'baseline = "given"'))
    with pytest.raises(StagesFailedError, match=r"d-first\.npy"):
        left_of(suite, store, gone=True)


class Faulty:
    """A stage that fails as nobody expected."""

    label = "compute x"

    def __init__(self, error: Exception) -> None:
        self._error = error

    def key(self, store: Store) -> None:
        """Have no result."""

    def is_done(self, store: Store) -> bool:  # noqa: ARG002
        return False

    def work(self, store: Store) -> Work:  # noqa: ARG002
        return Work()

    def run(self, context: Context) -> None:  # noqa: ARG002
        raise self._error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("boom"), "compute x: ValueError (boom). See the traceback."),
        (MemoryError(), "compute x: out of memory. Free memory, or use a smaller model or "),
        (RuntimeError("CUDA out of memory."), "compute x: out of memory on the device."),
        (KeyError("x"), "compute x: KeyError ('x'). See the traceback."),
        (HarnessError("x: bad.", exit_code=ExitCode.DATA), "x: bad."),
    ],
)
def test_whatever_a_stage_raises_the_others_run(
    suite: Path, store: Store, error: Exception, said: str
):
    plan = plan_of(suite, store)
    words = plan.scored["words", "first"]
    with pytest.raises(StagesFailedError) as caught:
        execute(
            plan,
            progress=Silent(),
            stages=[Faulty(error), words.run_stage, *words.stages, Faulty(error)],
        )
    assert caught.value.problems[0].startswith(said)
    assert len(caught.value.problems) == 1
    assert bool(caught.value.tracebacks) == (not isinstance(error, MemoryError | HarnessError))
    assert all(stage.is_done(store) for stage in words.stages)


def test_a_full_disk_ends_the_run_at_once(suite: Path, store: Store):
    plan = plan_of(suite, store)
    with full_disk(after_bytes=200), pytest.raises(HarnessError, match="cannot write") as caught:
        execute(plan, progress=Silent())
    assert not isinstance(caught.value, StagesFailedError)


def test_the_command_writes_what_worked_says_what_failed_and_exits_with_4(
    suite: Path, tmp_path: Path
):
    run = harness("run", suite, "--offline", cwd=tmp_path)
    assert run.returncode == ExitCode.STAGE
    sentence = "Collection 'second' is left out: 'broken', 'short' failed on it."
    assert sentence in run.stderr
    assert f"Failed: {sentence}" in run.stdout
    folder = tmp_path / "results" / "small"
    assert json.loads((folder / "results.json").read_text())["failed"][0] == sentence
    assert sentence in (folder / "summary.md").read_text().replace("\\", "")
    assert "Incomplete: parts of the suite failed" in (folder / "report.html").read_text()


def test_a_decision_and_a_diagnosis_are_of_what_worked_and_say_what_failed(
    suite: Path, tmp_path: Path
):
    sentence = "Collection 'second' is left out: 'broken', 'short' failed on it."
    folder = tmp_path / "results" / "small"
    decided = harness("decide", suite, "--offline", cwd=tmp_path)
    assert decided.returncode == ExitCode.STAGE
    assert f"! {sentence}" in decided.stdout
    assert "NaN" in decided.stderr
    decision = json.loads((folder / "decision.json").read_text())
    assert decision["warnings"][0] == sentence
    assert decision["n"] == 4
    diagnosed = harness("diagnose", suite, "--offline", cwd=tmp_path)
    assert diagnosed.returncode == ExitCode.STAGE
    assert sentence in diagnosed.stderr
    diagnosis = json.loads((folder / "diagnosis.json").read_text())
    assert {each["collection"] for each in diagnosis["candidates"]} == {"first"}
    assert json.loads((folder / "results.json").read_text())["failed"][0] == sentence
    assert (folder / "decision.json").exists()


def test_the_same_command_completes_the_results_once_the_cause_is_gone(
    suite: Path, static_model: Path, tmp_path: Path
):
    assert harness("run", suite, "--offline", cwd=tmp_path).returncode == ExitCode.STAGE
    assert harness("decide", suite, "--offline", cwd=tmp_path).returncode == ExitCode.STAGE
    shutil.rmtree(tmp_path / "broken")
    shutil.copytree(static_model, tmp_path / "broken")
    assert harness("run", suite, "--offline", cwd=tmp_path).returncode == ExitCode.OK
    folder = tmp_path / "results" / "small"
    assert not (folder / "decision.json").exists()
    found = json.loads((folder / "results.json").read_text())
    assert found["failed"] == []
    assert [each["name"] for each in found["collections"]] == ["first", "second"]
