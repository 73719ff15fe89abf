from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import DIMENSION, plan_of, run_suite, save_bert, save_static, write_suite
from test_training import train_stage

from harness.errors import ExitCode, HarnessError
from harness.models.source import Given
from harness.models.weights import find_weights
from harness.results.gathering import gather
from harness.stage import Context
from harness.store import Store
from harness.suite.load import load_suite
from harness.training.finetune import Interpolation

SUITE = """
baseline = "base"
collections.small.source = "beir:{beir}"
[candidates.base]
model = "{model}"
[candidates.tuned]
from = "base"
finetune = {{ data = "small:train", batch_size = 8, seeds = 2 }}
[candidates.between]
from = "tuned"
interpolate = 0.25
[candidates."between/4"]
from = "between"
truncate = 4
"""


def tensors(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    found = sorted(folder.rglob("*.safetensors"))
    return {name: value for file in found for name, value in load_file(str(file)).items()}


@pytest.mark.parametrize("model", ["static_model", "bert_model"])
def test_every_tensor_lies_on_the_line_between_the_two_models(
    model: str, request: pytest.FixtureRequest, store: Store
):
    tuned = train_stage(request.getfixturevalue(model), recipe={"learning_rate": 0.002})
    between = Interpolation("between", tuned.parent, tuned, 0.25)
    assert between.key(store) is None
    for stage in (tuned, between):
        stage.run(Context(store=store))
    start, end = tuned.parent.weights(store), tuned.weights(store)
    mixed = between.weights(store)
    assert start is not None
    assert end is not None
    assert mixed is not None
    assert (mixed.layout, mixed.prompts) == (end.layout, end.prompts)
    assert (mixed.dimension, mixed.max_length) == (end.dimension, end.max_length)
    before, after, found = (tensors(each.folder) for each in (start, end, mixed))
    assert found.keys() == after.keys()
    moved = 0
    for name, value in found.items():
        assert np.allclose(value, 0.75 * before[name] + 0.25 * after[name], atol=1e-6)
        moved += not np.allclose(before[name], after[name], atol=1e-6)
    assert moved > 0


def test_the_share_changes_the_key_and_the_name_does_not(static_model: Path, store: Store):
    tuned = train_stage(static_model)
    tuned.run(Context(store=store))
    keys = [
        Interpolation(name, tuned.parent, tuned, share).key(store)
        for name, share in (("a", 0.5), ("b", 0.5), ("a", 0.6))
    ]
    assert keys[0] == keys[1] != keys[2]


def test_weights_of_another_architecture_or_width_are_refused(tmp_path: Path, store: Store):
    parts = {name: tmp_path / name for name in ("static", "wide", "bert")}
    for folder in parts.values():
        folder.mkdir()
    ends = [
        Given(find_weights(str(path)))
        for path in (
            save_static(parts["static"], seed=1),
            save_static(parts["wide"], seed=1, dimension=2 * DIMENSION),
            save_bert(parts["bert"], seed=1),
        )
    ]
    for other in ends[1:]:
        stage = Interpolation("between", ends[0], other, 0.5)
        with pytest.raises(HarnessError, match="differ in name or shape") as caught:
            stage.run(Context(store=store))
        assert caught.value.exit_code is ExitCode.STAGE
        assert not stage.is_done(store)


def test_an_interpolated_candidate_follows_the_seeds_and_can_be_truncated(
    tmp_path: Path, beir: Path, static_model: Path, store: Store
):
    path = write_suite(tmp_path / "suite.toml", SUITE.format(beir=beir, model=static_model))
    plan = run_suite(path, store)
    for name in ("between", "between/4"):
        keys = {stage.run_stage.key(store) for stage in plan.scored[name, "small"].stages}
        assert len(keys) == 2
    [found] = [each for each in gather(plan).candidates if each.name == "between"]
    assert found.change == "0.25 of the trained weights, 0.75 of before"
    assert (found.kind, found.dimension) == ("interpolate", DIMENSION)
    assert plan_of(path, store).left() == []


def test_only_a_trained_candidate_can_be_interpolated(
    tmp_path: Path, beir: Path, static_model: Path
):
    text = SUITE.format(beir=beir, model=static_model)
    path = write_suite(tmp_path / "suite.toml", text.replace('from = "tuned"', 'from = "base"'))
    with pytest.raises(HarnessError, match="'base' is not trained here"):
        load_suite(path)
