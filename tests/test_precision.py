from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import plan_of, run_suite, sentences, write_suite

from harness.errors import ExitCode, HarnessError
from harness.models import engines
from harness.models.engines import Arithmetic, Engine, EngineName
from harness.models.source import Given
from harness.models.weights import find_weights
from harness.plan.plan import make_plan
from harness.retrieval import precision
from harness.retrieval.encoding import Encode, Texts
from harness.retrieval.precision import (
    AutoDtype,
    agreement_of_scores,
    agreement_of_vectors,
    arithmetics,
)
from harness.stage import Context
from harness.store import Store
from harness.suite.load import load_suite
from reports import plan_view

TEXTS = tuple(sentences(30, seed=1))


def auto(model: Path) -> AutoDtype:
    return AutoDtype("small", Given(find_weights(str(model))), None)


def stage(model: Path, dtype: Arithmetic | AutoDtype) -> Encode:
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
    assert (
        auto(bert_model).words(store) == "small: a probe on first use chooses engine and precision"
    )
    open_stage.run(Context(store=store))
    assert auto(bert_model).chosen(store) == "float16"
    assert open_stage.is_done(store)
    assert open_stage.key(store) == stage(bert_model, "float16").key(store)
    assert stage(bert_model, "float16").is_done(store)
    said = auto(bert_model).words(store)
    assert said.startswith(
        "small runs on float16. On 30 texts, float16 agrees with float32 (cosine at least "
    )

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
    found = "fails" if how == "raises" else "differs from float32"
    assert f"small runs on {chosen}. On 200 texts, float16 {found}" in said
    assert ("fails: no kernel" if how == "raises" else "cosine at least -1.00000") in said
    assert ("needed: 0.999, 98%)" in said) == (how == "differs" or chosen != "float32")


def test_static_embeddings_only_add_and_stay_as_they_are(static_model: Path, store: Store):
    dtype = auto(static_model)
    assert dtype.chosen(store) == "float32"
    assert stage(static_model, dtype).key(store) == stage(static_model, "float32").key(store)


def on_cpu(model: Path, **options: Any) -> AutoDtype:
    """Return the choice among torch and two engines, of enough texts to be worth it."""
    tried = ("float32", Engine("openvino"), Engine("onnx"))
    usual: dict[str, Any] = {"tried": tried, "fastest": True, "texts": precision.WORTH}
    return replace(auto(model), **{**usual, **options})


class Machine:
    """What computes a sample, in as many seconds as is said, with noise where it is said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
        self.seconds, self.now, self.computed = seconds, 0.0, []
        self.rough: dict[str, float] = {}
        monkeypatch.setattr(precision.time, "perf_counter", lambda: self.now)

    def compute(self, how: Arithmetic) -> Any:
        name = how if isinstance(how, str) else how.name
        if name not in self.seconds:
            raise HarnessError(f"{name} cannot compute it", exit_code=ExitCode.STAGE)
        self.computed.append(name)
        self.now += self.seconds[name]
        return noisy(self.rough.get(name, 0.0))[1]


@pytest.mark.parametrize(
    ("seconds", "rough", "chosen"),
    [
        ({"float32": 3, "openvino": 1, "onnx": 2}, {}, Engine("openvino")),
        ({"float32": 3, "openvino": 2, "onnx": 1}, {}, Engine("onnx")),
        ({"float32": 3, "openvino": 2.9, "onnx": 3.1}, {}, "float32"),  # not worth it
        ({"float32": 3, "openvino": 1, "onnx": 2}, {"openvino": 0.02}, Engine("onnx")),
        ({"float32": 3, "onnx": 2}, {}, Engine("onnx")),  # the other fails
        ({"float32": 3}, {}, "float32"),
    ],
)
def test_the_fastest_engine_that_is_exact_is_taken_on_a_cpu(
    bert_model: Path,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    seconds: dict[str, float],
    rough: dict[str, float],
    chosen: Arithmetic,
):
    machine, choice = Machine(monkeypatch, **seconds), on_cpu(bert_model)
    machine.rough = rough
    assert choice.chosen(store) is None
    choice.settle(Context(store=store), machine.compute, agreement_of_vectors)
    assert choice.chosen(store) == chosen
    said = choice.words(store) or ""
    assert said.startswith(f"small runs on {precision.words_of(chosen)}. On 200 texts, openvino")
    assert ("openvino cannot compute it" in said) == ("openvino" not in seconds)
    for name in seconds.keys() & {"openvino", "onnx"}:
        if name in rough:
            assert f"{Engine(name)} differs from torch in float32 (cosine" in said
        else:
            faster = f"{seconds['float32'] / seconds[name]:.2f} times its speed (1.1 needed)"
            assert f"{Engine(name)} agrees with torch in float32 at {faster}" in said
    machine.computed.clear()
    choice.settle(Context(store=store), machine.compute, agreement_of_vectors)
    assert machine.computed == []
    assert stage(bert_model, choice).key(store) == stage(bert_model, chosen).key(store)


def test_few_texts_are_computed_by_torch_and_nothing_is_tried(bert_model: Path, store: Store):
    choice = on_cpu(bert_model, texts=precision.WORTH - 1)
    assert choice.chosen(store) == "float32"
    assert choice.words(store) is None
    assert stage(bert_model, choice).key(store) == stage(bert_model, "float32").key(store)


def test_what_torch_has_computed_is_never_computed_again_by_a_faster_engine(
    bert_model: Path, store: Store
):
    plain = stage(bert_model, "float32")
    choice = on_cpu(bert_model, kept=(plain,))
    assert choice.chosen(store) is None
    plain.run(Context(store=store))
    assert choice.chosen(store) == "float32"
    assert stage(bert_model, choice).is_done(store)
    assert choice.words(store) == "small runs on torch in float32, as in stored results"


def test_an_engine_that_is_gone_is_replaced_by_another_choice(
    bert_model: Path, store: Store, monkeypatch: pytest.MonkeyPatch
):
    machine = Machine(monkeypatch, float32=3, openvino=1, onnx=2)
    on_cpu(bert_model).settle(Context(store=store), machine.compute, agreement_of_vectors)
    left = on_cpu(bert_model, tried=("float32", Engine("onnx")))
    assert left.chosen(store) is None
    left.settle(Context(store=store), machine.compute, agreement_of_vectors)
    assert left.chosen(store) == Engine("onnx")
    assert on_cpu(bert_model).chosen(store) == Engine("onnx")  # it stays where more is installed


def test_another_major_version_of_an_engine_is_another_key_and_a_minor_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
):
    keys = []
    for version in ("2026.4.1", "2026.5.0", "2027.0.0"):
        monkeypatch.setattr(engines, "package_version", lambda _, found=version: found)
        keys.append(Engine("openvino").key)
    assert keys == ["float32 openvino 2026", "float32 openvino 2026", "float32 openvino 2027"]


@pytest.mark.parametrize(
    ("dtype", "engine", "device", "meant"),
    [
        ("auto", "auto", "cpu", ("float32",)),
        ("auto", "auto", "cuda:1", ("float32", "float16", "bfloat16")),
        ("bfloat16", "auto", "cpu", ("bfloat16",)),
        ("float32", "torch", "cuda", ("float32",)),
        ("auto", "openvino", "cpu", (Engine("openvino"),)),
        ("bfloat16", "openvino", "cpu", (Engine("openvino", "bfloat16"),)),
    ],
)
def test_what_a_suite_names_is_taken(
    dtype: Any, engine: Any, device: str, meant: tuple[Arithmetic, ...]
):
    assert arithmetics(dtype, engine, device) == meant


@pytest.mark.parametrize(
    ("has_bfloat16", "dtype", "engine", "tried"),
    [
        (False, "auto", "auto", ("float32", Engine("openvino"), Engine("onnx"))),
        (True, "float32", "auto", ("float32", Engine("openvino"), Engine("onnx"))),
        (
            True,
            "auto",
            "auto",
            (
                *("float32", Engine("openvino"), Engine("onnx")),
                *("bfloat16", Engine("openvino", "bfloat16")),
            ),
        ),
        (True, "auto", "torch", ("float32",)),
    ],
)
def test_on_a_cpu_the_engines_that_are_installed_are_tried_and_bfloat16_where_it_computes_that(
    monkeypatch: pytest.MonkeyPatch,
    has_bfloat16: bool,  # noqa: FBT001
    dtype: Any,
    engine: Any,
    tried: tuple[Arithmetic, ...],
):
    monkeypatch.setattr(precision, "installed", lambda: ["openvino", "onnx"])
    monkeypatch.setattr(precision, "has_bfloat16", lambda: has_bfloat16)
    assert arithmetics(dtype, engine, "cpu") == tried


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
        "a: a probe on first use chooses engine and precision",
        f"{cross_encoder}: a probe on first use chooses engine and precision",
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


SUITE = """
baseline = "a"
collections.c.source = "beir:{beir}"
candidates.a = {{ model = "{model}", engine = "{engine}" }}
candidates.r = {{ from = "a", rerank = {{ model = "{cross}", depth = 5, engine = "{engine}" }} }}
"""


@pytest.mark.parametrize("name", ["openvino", "onnx"])
def test_a_whole_run_chooses_an_engine_and_ends_in_the_results_of_naming_it(
    bert_model: Path,
    cross_encoder: Path,
    beir: Path,
    tmp_path: Path,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    name: EngineName,
):
    if not engines.is_installed(name):
        pytest.skip(f"the '{name}' extra is not installed")
    monkeypatch.setattr(precision, "installed", lambda: [name])
    monkeypatch.setattr(precision, "WORTH", 0)
    monkeypatch.setattr(precision, "_GAIN", 1e-9)  # any speed will do
    plans = {}
    for engine in ("auto", name):
        text = SUITE.format(beir=beir, model=bert_model, cross=cross_encoder, engine=engine)
        plans[engine] = run_suite(write_suite(tmp_path / f"{engine}.toml", text), store)
    keys = [[stage.key(store) for stage in plan.stages] for plan in plans.values()]
    assert keys[0] == keys[1]
    assert None not in keys[0]
    said = plan_view.as_json(plans["auto"])["dtypes"]
    assert [line.partition(" in float32. On ")[0] for line in said] == [
        f"{model} runs on {name} {engines.Engine(name).version}" for model in ("a", cross_encoder)
    ]
    [encode, *_] = [each for each in plans["auto"].stages if isinstance(each, Encode)]
    assert encode.timings(store)[0].meta["engine"] == str(Engine(name))


@pytest.mark.parametrize(
    ("more", "device", "said"),
    [
        ("", "cpu", "is not installed: pip install 'embedding-harness[onnx]'"),
        ("", "cuda", "computes on a CPU, but the device is cuda"),
        (', dtype = "bfloat16"', "cpu", "does not compute in bfloat16"),
    ],
)
def test_an_engine_that_cannot_be_used_is_told_before_anything_runs(
    bert_model: Path,
    beir: Path,
    tmp_path: Path,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    more: str,
    device: str,
    said: str,
):
    monkeypatch.setattr(precision, "is_installed", lambda _: False)
    text = (
        f'baseline = "a"\ncollections.c.source = "beir:{beir}"\n'
        f'candidates.a = {{ model = "{bert_model}", engine = "onnx"{more} }}\n'
    )
    file = write_suite(tmp_path / "suite.toml", text)
    with pytest.raises(HarnessError, match=re.escape(said)) as caught:
        make_plan(load_suite(file), store, device=device, hub="refuse")
    assert caught.value.exit_code is ExitCode.USAGE


def test_an_engine_for_static_embeddings_is_told(
    static_model: Path, beir: Path, tmp_path: Path, store: Store
):
    text = (
        f'baseline = "a"\ncollections.c.source = "beir:{beir}"\n'
        f'candidates.a = {{ model = "{static_model}", engine = "onnx" }}\n'
    )
    with pytest.raises(HarnessError, match="its vectors are sums"):
        plan_of(write_suite(tmp_path / "suite.toml", text), store)
