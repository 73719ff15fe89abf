"""Instructions: what a collection asks for, in the prompts of models that read it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import plan_of, run_suite, write_suite

from harness.diagnosis.reasons.pipeline import _other_prompts
from harness.errors import HarnessError
from harness.plan.plan import Plan
from harness.results.gathering import gather
from harness.store import Store
from harness.training.finetune import Train

TEMPLATE = "Instruct: {instruction}\nQuery: "
SUITE = """
baseline = "plain"
[collections.one]
source = "beir:{beir}"
instruction = "ba be"
[collections.two]
source = "beir:{beir}"
split = "train"
instruction = "bo bu"
[candidates.plain]
model = "{model}"
prompts = {{ query = "", document = "" }}
[candidates.instructed]
model = "{model}"
prompts = {{ query = "Instruct: {{instruction}}\\nQuery: " }}
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, beir: Path, bert_model: Path) -> Plan:
    """Return a finished plan of two collections with an instruction each."""
    here = tmp_path_factory.mktemp("instructed")
    text = SUITE.format(beir=beir, model=bert_model)
    return run_suite(write_suite(here / "suite.toml", text), Store(here / "store"))


def prompts(plan: Plan, name: str, place: str) -> tuple[str, str]:
    documents, queries = plan.planner.encodes(name, place)
    return queries.prompt, documents.prompt


def test_each_collection_has_its_own_prompt(plan: Plan):
    assert prompts(plan, "instructed", "one") == ("Instruct: ba be\nQuery: ", "bi bo ")
    assert prompts(plan, "instructed", "two") == ("Instruct: bo bu\nQuery: ", "bi bo ")
    assert prompts(plan, "plain", "one") == ("", "")
    keys = {
        plan.planner.encodes("instructed", each)[1].space_key(plan.store)
        for each in plan.collections
    }
    assert len(keys) == 2
    timed = plan.steps["instructed", "two"][0]
    assert timed.encode.prompt == "Instruct: bo bu\nQuery: "  # type: ignore[union-attr]


def test_results_show_the_prompt_of_each_collection(plan: Plan):
    by_name = {each.name: each for each in gather(plan).candidates}
    assert by_name["instructed"].query_prompt == TEMPLATE
    assert by_name["instructed"].query_prompts == {
        "one": "Instruct: ba be\nQuery: ",
        "two": "Instruct: bo bu\nQuery: ",
    }
    assert by_name["plain"].query_prompts == {}


def declaring(folder: Path, model: Path, prompt: str | None) -> Path:
    """Save a copy of a model that declares another query prompt, or none."""
    shutil.copytree(model, folder)
    file = folder / "config_sentence_transformers.json"
    config = json.loads(file.read_text("utf-8"))
    config["prompts"] = {} if prompt is None else {"query": prompt, "document": ""}
    file.write_text(json.dumps(config), "utf-8")
    return folder


def test_a_declared_instruction_gives_way_to_that_of_the_collection(
    tmp_path: Path, beir: Path, bert_model: Path, store: Store
):
    qwen = declaring(tmp_path / "qwen", bert_model, "Instruct: search the web\nQuery:")
    text = SUITE.format(beir=beir, model=qwen).replace('instruction = "bo bu"', "")
    text += f'[candidates.declared]\nmodel = "{qwen}"\n'
    text = text.replace('query = "Instruct: {instruction}', 'query = "Instruct: anything')
    plan = plan_of(write_suite(tmp_path / "suite.toml", text), store)
    assert prompts(plan, "declared", "one")[0] == "Instruct: ba be\nQuery:"
    assert prompts(plan, "declared", "two")[0] == "Instruct: search the web\nQuery:"


def test_a_known_template_is_used_where_a_collection_has_an_instruction(
    tmp_path: Path, beir: Path, bert_model: Path, store: Store
):
    known = declaring(tmp_path / "multilingual-e5-large-instruct", bert_model, None)
    text = SUITE.format(beir=beir, model=known) + f'[candidates.known]\nmodel = "{known}"\n'
    plan = plan_of(write_suite(tmp_path / "suite.toml", text), store)
    assert prompts(plan, "known", "one") == ("Instruct: ba be\nQuery: ", "")
    assert not [each for each in plan.planner.warnings if "were trained with prompts" in each]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'instruction = "bo bu"',
            "",
            'holds {instruction}, but none is set. Add instruction = "…" to [collections.two].',
        ),
        ('document = ""', 'document = "{instruction}"', "{instruction} is for queries"),
    ],
)
def test_what_is_missing_is_told(
    old: str, new: str, message: str, tmp_path: Path, beir: Path, bert_model: Path, store: Store
):
    text = SUITE.format(beir=beir, model=bert_model)
    assert old in text
    with pytest.raises(HarnessError) as error:
        plan_of(write_suite(tmp_path / "suite.toml", text.replace(old, new)), store)
    assert message in str(error.value)


def test_an_instruction_that_nobody_uses_is_told(
    tmp_path: Path, beir: Path, bert_model: Path, store: Store
):
    text = SUITE.format(beir=beir, model=bert_model).replace("{instruction}", "find")
    plan = plan_of(write_suite(tmp_path / "suite.toml", text), store)
    told = [each for each in plan.planner.warnings if "no candidate uses its instruction" in each]
    assert [each.partition(":")[0] for each in told] == ["collection 'one'", "collection 'two'"]


TRAINED = """
[candidates.tuned]
from = "instructed"
finetune = {{ data = [{data}], epochs = 1, batch_size = 8, leaks = "allow" }}
"""


def test_training_reads_the_instruction_of_its_data(
    tmp_path: Path, beir: Path, bert_model: Path, store: Store
):
    text = SUITE.format(beir=beir, model=bert_model).replace('split = "train"', "")
    path = write_suite(tmp_path / "suite.toml", text + TRAINED.format(data='"two:train"'))
    train = plan_of(path, store).planner.dense("tuned").model
    assert isinstance(train, Train)
    assert train.prompts == ("Instruct: bo bu\nQuery: ", "bi bo ")
    both = TRAINED.format(data='"one:train", "two:train"')
    with pytest.raises(HarnessError, match="collections with different instructions"):
        plan_of(write_suite(tmp_path / "suite.toml", text + both), store)


def test_the_probe_of_prompts_tries_no_instruction(plan: Plan):
    from types import SimpleNamespace

    documents, queries = plan.planner.encodes("instructed", "one")
    subject = SimpleNamespace(store=plan.store)
    tried = _other_prompts(subject, queries, documents)  # type: ignore[arg-type]
    assert tried["", "bi bo "] == "no instruction"
    assert ("ba be ", "bi bo ") in tried  # as the model declares
