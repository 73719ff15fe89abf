from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import sentences, write_suite

from harness.errors import ExitCode, HarnessError
from harness.models.source import Given
from harness.models.weights import find_weights
from harness.plan.plan import make_plan
from harness.retrieval import precision
from harness.retrieval.encoding import Encode, Texts
from harness.retrieval.precision import (
    AutoDtype,
    agreement_of_scores,
    agreement_of_vectors,
    precision_on,
)
from harness.stage import Context
from harness.store import Store
from harness.suite.load import load_suite
from reports import plan_view

TEXTS = tuple(sentences(30, seed=1))


def auto(model: Path) -> AutoDtype:
    return AutoDtype("small", Given(find_weights(str(model))), None)


def stage(model: Path, dtype: str | AutoDtype) -> Encode:
    given = Given(find_weights(str(model)))
    return Encode("small", given, "document", "", dtype, None, Texts("some", TEXTS))


def noisy(scale: float, *, rows: int = 200, seed: int = 0) -> tuple[Any, Any]:
    """Return vectors, and the same with noise of this size beside their own."""
    draw = np.random.default_rng(seed)
    exact = draw.standard_normal((rows, 64)).astype(np.float32)
    return exact, exact + scale * draw.standard_normal(exact.shape).astype(np.float32)


@pytest.mark.parametrize(
    ("scale", "is_close"), [(0.0, True), (0.0005, True), (0.02, False), (0.1, False)]
)
def test_vectors_agree_while_cosines_and_neighbours_do(scale: float, is_close: bool):  # noqa: FBT001
    found = agreement_of_vectors(*noisy(scale))
    assert found.is_close == is_close
    assert 0 <= found.order <= 1


def test_neighbours_that_change_are_seen_where_every_cosine_is_high():
    exact, rough = noisy(0.02)
    exact, rough = exact + 20, rough + 20  # all texts point in one direction, as of some models
    found = agreement_of_vectors(exact, rough)
    assert found.cosine > precision.LEAST_COSINE
    assert found.order < precision.LEAST_ORDER
    assert not found.is_close


def test_numbers_that_are_none_agree_with_nothing():
    exact, rough = noisy(0)
    rough[3, 5] = np.inf
    with np.errstate(invalid="ignore"):
        assert not agreement_of_vectors(exact, rough).is_close
        assert not agreement_of_scores(exact[:, 5], rough[:, 5]).is_close


def test_scores_agree_while_their_order_does():
    scores = np.linspace(-3, 3, 100, dtype=np.float32)
    assert agreement_of_scores(scores, scores + np.float32(1e-4)).is_close
    swapped = scores.copy()
    swapped[:40] = swapped[:40][::-1]
    assert not agreement_of_scores(scores, swapped).is_close
    assert agreement_of_scores(scores[:1], scores[:1]).is_close
    assert not agreement_of_scores(scores, np.zeros_like(scores)).is_close


def test_the_type_is_tried_once_stored_and_known_by_its_name(bert_model: Path, store: Store):
    open_stage = stage(bert_model, auto(bert_model))
    assert open_stage.key(store) is None
    assert not open_stage.is_done(store)
    assert open_stage.work(store).texts == len(TEXTS)
    assert auto(bert_model).words(store) == "small: chosen by a probe on first use"
    open_stage.run(Context(store=store))
    assert auto(bert_model).chosen(store) == "float16"
    assert open_stage.is_done(store)
    assert open_stage.key(store) == stage(bert_model, "float16").key(store)
    assert stage(bert_model, "float16").is_done(store)
    said = auto(bert_model).words(store)
    assert said.startswith("small: float16. Of 30 texts against float32, float16: cosine ")

    def never(_: str) -> Any:
        raise AssertionError("it is tried again")

    auto(bert_model).settle(Context(store=store), never, agreement_of_vectors)


@pytest.mark.parametrize(
    ("fails", "chosen"),
    [(["float16"], "bfloat16"), (["float16", "bfloat16"], "float32")],
)
@pytest.mark.parametrize("how", ["raises", "differs"])
def test_a_type_that_fails_is_passed_over_with_a_sentence(
    bert_model: Path, store: Store, fails: list[str], chosen: str, how: str
):
    exact, _ = noisy(0)

    def compute(dtype: str) -> Any:
        if dtype in fails and how == "raises":
            raise HarnessError("no kernel of this type", exit_code=ExitCode.STAGE)
        return exact * (-1 if dtype in fails else 1)

    dtype = auto(bert_model)
    dtype.settle(Context(store=store), compute, agreement_of_vectors)
    assert dtype.chosen(store) == chosen
    said = dtype.words(store)
    assert f"small: {chosen}. Of 200 texts against float32, float16" in said
    assert ("fails: no kernel" if how == "raises" else "cosine -1.00000 at least") in said
    assert "(needed: cosine 0.999, 98%)" in said


def test_static_embeddings_only_add_and_stay_as_they_are(static_model: Path, store: Store):
    dtype = auto(static_model)
    assert dtype.chosen(store) == "float32"
    assert stage(static_model, dtype).key(store) == stage(static_model, "float32").key(store)


@pytest.mark.parametrize(
    ("dtype", "device", "meant"),
    [
        ("auto", "cpu", "float32"),
        ("auto", "cuda:1", "auto"),
        ("bfloat16", "cpu", "bfloat16"),
        ("float32", "cuda", "float32"),
    ],
)
def test_on_a_cpu_auto_is_float32(dtype: str, device: str, meant: str):
    assert precision_on(dtype, device) == meant


def test_a_plan_for_a_gpu_says_that_the_types_are_open_and_one_for_a_cpu_says_nothing(
    bert_model: Path, cross_encoder: Path, beir: Path, tmp_path: Path, store: Store
):
    text = (
        f'baseline = "a"\n[collections.c]\nsource = "beir:{beir}"\n'
        f'[candidates.a]\nmodel = "{bert_model}"\n'
        f'[candidates.r]\nfrom = "a"\nrerank = {{ model = "{cross_encoder}", depth = 5 }}\n'
    )
    file = write_suite(tmp_path / "suite.toml", text)
    plans = {
        device: make_plan(load_suite(file), store, device=device, hub="refuse")
        for device in ("cpu", "cuda")
    }
    said = {device: plan_view.as_json(plan)["dtypes"] for device, plan in plans.items()}
    assert said["cpu"] == []
    assert said["cuda"] == [
        "a: chosen by a probe on first use",
        f"{cross_encoder}: chosen by a probe on first use",
    ]
    json.dumps(plan_view.as_json(plans["cuda"]))


def test_a_whole_run_with_open_types_ends_in_the_results_of_the_chosen_ones(
    bert_model: Path, cross_encoder: Path, beir: Path, tmp_path: Path, store: Store
):
    """The device of the context is the CPU: what a GPU would run is its reference."""
    from harness.plan.execute import execute
    from harness.stage import Silent

    text = (
        f'baseline = "a"\n[collections.c]\nsource = "beir:{beir}"\n'
        '[candidates.a]\nmodel = "{model}"\n{dtype}\n'
        '[candidates.r]\nfrom = "a"\nrerank = {{ model = "{cross}", depth = 5{also} }}\n'
    )
    keys = []
    for name, dtype, also in (
        ("auto", "", ""),
        ("named", 'dtype = "float16"', ', dtype = "float16"'),
    ):
        filled = text.replace("{model}", str(bert_model)).replace("{cross}", str(cross_encoder))
        filled = filled.replace("{dtype}", dtype).replace("{also}", also)
        filled = filled.replace("{{", "{").replace("}}", "}")
        file = write_suite(tmp_path / f"{name}.toml", filled)
        plan = make_plan(load_suite(file), store, device="cuda", hub="refuse")
        object.__setattr__(plan, "device", "cpu")
        wanted = [each for each in plan.stages if "time " not in each.label]
        if name == "named":
            assert all(each.is_done(store) for each in wanted)
        execute(plan, progress=Silent(), stages=wanted)
        keys.append([each.key(store) for each in wanted])
    assert keys[0] == keys[1]
    assert None not in keys[0]
