"""Asymmetric candidates: what a cheaper model for queries costs, and where it does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import plan_of, run_suite, save_bert, save_static, write_suite
from model_server import serving
from situations import option, situation

from harness.decision.gather import gather_situation
from harness.decision.rules import decide
from harness.decision.situation import Action, OptionCost
from harness.diagnosis.diagnose import plan_diagnosis, read_diagnosis
from harness.errors import HarnessError
from harness.models.weights import find_weights
from harness.plan.execute import execute
from harness.plan.plan import Plan, make_plan
from harness.results.gathering import gather, gather_costs
from harness.stage import Silent
from harness.store import Store
from harness.suite.load import load_suite

SUITE = """
baseline = "large"
collections.small.source = "beir:{beir}"
[candidates.large]
model = "{large}"
[candidates.asymmetric]
from = "large"
query_model = "{small}"
[candidates.named]
from = "large"
query_model = "small"
[candidates.small]
model = "{small}"
prompts = {{ query = "bo bu " }}
[candidates.root]
model = "{large}"
query_model = {{ model = "{small}" }}
[candidates.alien]
from = "large"
query_model = "{alien}"
[candidates."asymmetric/8"]
from = "asymmetric"
truncate = 8
[candidates.int8]
from = "asymmetric"
quantize = "int8"
[candidates.asked-int8]
from = "large-int8"
query_model = "{small}"
[candidates.large-int8]
from = "large"
quantize = "int8"
[candidates.hybrid]
fuse = ["asymmetric", "small"]
[candidates.reranked]
from = "asymmetric"
rerank = {{ candidate = "large", depth = 10 }}
"""


def save_family(folder: Path) -> tuple[Path, Path]:
    """Save static embeddings, and the same with a little noise: two models of one space."""
    import torch
    from sentence_transformers import SentenceTransformer

    large = save_static(folder / "large", seed=1)
    model = SentenceTransformer(str(large), device="cpu")
    matrix = model[0].embedding.weight
    with torch.no_grad():
        matrix += 0.1 * torch.randn(matrix.shape, generator=torch.Generator().manual_seed(1))
    model.save_pretrained(str(folder / "small"), create_model_card=False)
    return large, folder / "small"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, beir: Path) -> Plan:
    """Return a finished plan of two models of one space, and one of another."""
    here = tmp_path_factory.mktemp("asymmetric")
    large, small = save_family(here)
    alien = save_static(here / "alien", seed=7)
    text = SUITE.format(beir=beir, large=large, small=small, alien=alien)
    return run_suite(write_suite(here / "suite.toml", text), Store(here / "store"))


def vectors(plan: Plan, name: str) -> list[np.ndarray]:
    sides = plan.planner.space(name, "small").read(plan.store)
    return [np.array(each.block(0, len(each))) for each in sides]


def run_of(plan: Plan, name: str) -> np.ndarray:
    return np.array(plan.scored[name, "small"].run_stage.result(plan.store).documents)


def test_queries_are_of_one_model_and_documents_of_the_other(plan: Plan):
    documents, queries = vectors(plan, "asymmetric")
    assert np.array_equal(documents, vectors(plan, "large")[0])
    assert not np.allclose(queries, vectors(plan, "large")[1])
    order = np.argsort(-(queries @ documents.T), axis=1, kind="stable")[:, :10]
    assert np.array_equal(run_of(plan, "asymmetric")[:, :10], order)


def test_documents_are_encoded_once(plan: Plan):
    encoded = [each.label for each in plan.stages if each.label.startswith("encode documents")]
    assert len(encoded) == 2  # of the large and of the small model


def test_beside_model_it_is_a_root_of_the_same_vectors(plan: Plan):
    assert np.array_equal(run_of(plan, "root"), run_of(plan, "asymmetric"))
    assert plan.suite.candidates["root"].parents == ()


def test_a_candidate_may_be_named_with_its_settings(plan: Plan):
    assert np.array_equal(vectors(plan, "named")[1], vectors(plan, "small")[1])
    assert plan.planner.dense("named").query_side.prompts[0] == "bo bu "


@pytest.mark.parametrize("name", ["asymmetric/8", "int8", "asked-int8"])
def test_what_shortens_it_keeps_its_queries(plan: Plan, name: str):
    width = vectors(plan, name)[1].shape[1]
    asked = vectors(plan, "asymmetric")[1][:, :width]
    asked = asked / np.linalg.norm(asked, axis=1, keepdims=True)
    assert np.allclose(vectors(plan, name)[1], asked, atol=1e-6)


def test_codes_do_not_depend_on_the_order_of_the_two_changes(plan: Plan):
    assert np.array_equal(run_of(plan, "int8"), run_of(plan, "asked-int8"))


def test_models_that_share_no_space_are_told(plan: Plan):
    told = [each for each in gather(plan).warnings if "do not share a vector space" in each]
    assert len(told) == 1
    assert told[0].startswith("'alien': on small the vectors of one query by ")


def test_its_latency_and_prompt_are_those_of_the_query_model(plan: Plan):
    results, costs = gather(plan), {each.candidate: each for each in gather_costs(plan).costs}
    by_name = {each.name: each for each in results.candidates}
    assert by_name["named"].query_prompt == "bo bu "
    assert plan.steps["asymmetric", "small"][0] != plan.steps["large", "small"][0]
    assert plan.steps["asymmetric/8", "small"][0] == plan.steps["asymmetric", "small"][0]
    assert costs["asymmetric"].bytes_per_document == costs["large"].bytes_per_document
    edges = {(each.candidate, each.reference) for each in results.comparisons}
    assert {("asymmetric", "large"), ("asymmetric/8", "asymmetric")} <= edges


def test_it_is_a_compression_to_decide_on(plan: Plan):
    options = {each.name: each for each in gather_situation(plan, gather_costs(plan)).options}
    asked = options["asymmetric"]
    assert (asked.action, asked.shortens) == (Action.ASK_BY_LESS, "large")
    assert options["asymmetric/8"].shortens == "large"
    assert options["root"].action is Action.SWITCH


def test_it_is_diagnosed(plan: Plan):
    asked = plan.suite.diagnosis.model_copy(update={"candidates": ["asymmetric"]})
    suite = plan.suite.model_copy(update={"diagnosis": asked})
    made = plan_diagnosis(replace(plan, suite=suite))
    execute(replace(plan, stages=made.stages), progress=Silent())
    [found, *_] = read_diagnosis(made).candidates
    assert (found.candidate, found.n) == ("asymmetric", 20)


@pytest.mark.parametrize(
    ("milliseconds", "action"), [(2.0, Action.ASK_BY_LESS), (10.0, Action.KEEP)]
)
def test_it_is_taken_where_it_loses_nothing_and_saves_time(milliseconds: float, action: Action):
    asked = option(
        "asked",
        np.zeros(2000),
        Action.ASK_BY_LESS,
        shortens="base",
        left="queries encoded by small",
        cost=OptionCost(query_ms_p95=milliseconds, bytes_per_document=64),
    )
    base = OptionCost(query_ms_p95=10.0, bytes_per_document=64)
    found = decide(situation(asked, baseline_cost=base), suite="small")
    assert found.action is action
    said = "Have queries encoded by small: use 'asked' ("
    assert found.sentence.startswith(said) == (action is Action.ASK_BY_LESS)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('from = "words"\nquery_model = "{small}"', "'words' compares no vectors."),
        ('from = "large"\nquery_model = "words"', "'words' is a candidate of the kind 'bm25'."),
        ('from = "large"\nquery_model = "{narrow}"', "has vectors of 8 dimensions, and the docu"),
        ('from = "large"\nquery_model = {{ dtype = "auto" }}', "'model' is missing."),
        ('from = "large"\nquery_model = {{ model = "{small}", x = 1 }}', "unknown key 'x' in 'qu"),
        ('from = "asked"\nfinetune = {{ data = ["small:train"] }}', "'asked' has another model"),
    ],
)
def test_what_does_not_fit_is_refused(
    table: str, message: str, tmp_path: Path, beir: Path, store: Store
):
    large, small = save_family(tmp_path)
    narrow = save_static(tmp_path / "narrow", seed=2, dimension=8)
    text = f"""
baseline = "large"
collections.small.source = "beir:{beir}"
candidates.words.kind = "bm25"
candidates.large.model = "{large}"
[candidates.asked]
from = "large"
query_model = "{small}"
[candidates.wrong]
{table.format(small=small, narrow=narrow)}
"""
    with pytest.raises(HarnessError) as error:
        plan_of(write_suite(tmp_path / "suite.toml", text), store)
    assert message in str(error.value)


API = """
baseline = "large"
collections.small.source = "beir:{beir}"
[candidates.large]
model = "voyage:voyage-4-large"
base_url = "{url}"
price = 0.12
[candidates.lite]
from = "large"
query_model = {{ model = "voyage:voyage-4-lite", base_url = "{url}", price = 0.02 }}
[candidates.root]
model = "voyage:voyage-4-large"
base_url = "{url}"
price = 0.12
query_model = {{ model = "voyage:voyage-4-lite", base_url = "{url}", price = 0.02 }}
"""


def test_two_models_of_a_provider_are_asked_each_for_its_side(
    beir: Path, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        text = API.format(beir=beir, url=f"{server.url}/v1")
        suite = load_suite(write_suite(tmp_path / "suite.toml", text))
        plan = make_plan(suite, store, device="cpu", hub="fetch")
        execute(plan, progress=Silent())
    by_model: dict[str, set[str]] = {}
    for request in server.requests:
        kind = f"{request.body['model']} {request.body['input_type']}"
        by_model.setdefault(kind, set()).update(request.texts)
    assert {kind: len(texts) for kind, texts in by_model.items()} == {
        "voyage-4-large document": 60,
        "voyage-4-large query": 20,
        "voyage-4-lite query": 20,
    }
    costs = {each.candidate: each for each in gather_costs(plan).costs}
    assert costs["lite"].usd_per_corpus == costs["large"].usd_per_corpus
    large, lite, root = (costs[name].usd_per_million_queries for name in ("large", "lite", "root"))
    assert large is not None
    assert (lite, root) == (pytest.approx(large / 6), pytest.approx(large / 6))
    assert not [each for each in gather(plan).warnings if "space" in each]


def test_a_router_answers_queries_with_the_weights_of_their_branch(tmp_path: Path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Router

    folders = save_static(tmp_path / "static", seed=1), save_bert(tmp_path / "bert", seed=2)
    query, document = (list(SentenceTransformer(str(each), device="cpu")) for each in folders)
    router = Router.for_query_document(query_modules=query, document_modules=document)
    SentenceTransformer(modules=[router], device="cpu").save_pretrained(
        str(tmp_path / "routed"), create_model_card=False
    )
    whole, *branches = (find_weights(str(each)) for each in (tmp_path / "routed", *folders))
    assert whole.query_parameters == branches[0].parameters
    assert whole.parameters == sum(each.parameters or 0 for each in branches)
    assert branches[1].query_parameters == branches[1].parameters
