"""Sentences: a language model says what clusters are about; without it they keep their titles."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import write_beir, write_suite
from language_server import Reply, Request, failure, serving
from rich.console import Console

from harness.diagnosis.diagnose import DiagnosisPlan, plan_diagnosis, read_diagnosis
from harness.diagnosis.sentences import LONGEST, SentencePrompt
from harness.diagnosis.values import CandidateDiagnosis
from harness.plan.dense import Hub
from harness.plan.execute import execute
from harness.plan.plan import make_plan
from harness.stage import Silent
from harness.store import Store
from harness.suite.load import load_suite
from reports.diagnosis_tables import CollectionTexts
from reports.diagnosis_view import render

SENTENCE = "Customers ask why a card payment was declined."
DECLINED = "why was my card payment declined in {}"
OTHERS = ("how do I cook {} for dinner", "when does the train to {} leave", "is {} a good film")
PLACES = (
    *("Rome", "Paris", "Oslo", "Bonn", "Lima", "Quito", "Cairo", "Delhi", "Tokyo", "Seoul"),
    *("Perth", "Sofia", "Riga", "Turin", "Lyon", "Porto", "Kyoto", "Hanoi", "Accra", "Dakar"),
)


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reach the local server only."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def diagnosed(tmp_path: Path, static_model: Path, store: Store) -> Callable[[str], DiagnosisPlan]:
    """Return what diagnoses a run that loses all queries about declined payments."""
    lost = [DECLINED.format(place) for place in PLACES]
    others = [each.format(place) for each in OTHERS for place in PLACES]
    queries = {f"q{row:03}": text for row, text in enumerate([*lost, *others])}
    folder = write_beir(
        tmp_path / "planted",
        documents={f"d{key[1:]}": f"an answer to {text}" for key, text in queries.items()},
        queries=queries,
        qrels={"test": [(key, f"d{key[1:]}", 1) for key in queries]},
    )
    run = tmp_path / "run.trec"
    found = {key: "d030" if text in lost else f"d{key[1:]}" for key, text in queries.items()}
    run.write_text("".join(f"{key} Q0 {at} 1 2.0 x\n" for key, at in found.items()), "utf-8")

    def diagnose(address: str, hub: Hub = "fetch") -> DiagnosisPlan:
        text = f"""
        baseline = "run"
        [collections.planted]
        source = "beir:{folder}"
        [candidates.run]
        run = "{run}"
        [candidates.static]
        model = "{static_model}"
        [diagnosis]
        candidates = ["run"]
        neutral = "static"
        """
        if address:
            text += f"""
            language_model = {{ provider = "openai", model = "a-model", base_url = "{address}" }}
            """
        suite = load_suite(write_suite(tmp_path / "suite.toml", text))
        plan = make_plan(suite, store, device="cpu", hub=hub)
        execute(plan, progress=Silent())
        made = plan_diagnosis(plan)
        execute(replace(plan, stages=made.stages), progress=Silent())
        return made

    return diagnose


def found_in(made: DiagnosisPlan) -> CandidateDiagnosis:
    [one] = read_diagnosis(made).candidates
    assert one.clusters
    return one


def test_each_cluster_has_a_sentence_that_is_marked_and_paid_once(
    diagnosed: Callable[[str], DiagnosisPlan],
):
    with serving(lambda _: Reply(json.dumps({"sentence": SENTENCE}))) as server:
        made = diagnosed(server.base_url("openai"))
        one = found_in(made)
        assert len(server.requests) == len(one.clusters)
        asked = [request.turns[0]["content"] for request in server.requests]
        assert any("\n- why was my card payment declined in Rome\n" in each for each in asked)
        assert found_in(diagnosed(server.base_url("openai"))) == one
        assert len(server.requests) == len(one.clusters)
    assert made.is_asked
    [cluster, *_] = one.clusters
    assert (cluster.sentence, cluster.sentence_by) == (SENTENCE, "a-model")
    assert "declined" in cluster.title
    assert one.warnings == []
    console = Console(width=200, file=io.StringIO())
    with console.capture() as shown:
        console.print(render(read_diagnosis(made), {"planted": CollectionTexts({}, {})}, None))
    text = shown.get()
    assert f"c1  {SENTENCE} [a-model]" in text
    assert f"Its words: {cluster.title}; " in text


@pytest.mark.parametrize(
    "said",
    ["No idea.", '{"sentence": "Two\\nlines."}', json.dumps({"sentence": "long " * LONGEST}), ""],
)
def test_a_bad_answer_leaves_the_title_and_a_note(
    said: str, diagnosed: Callable[[str], DiagnosisPlan]
):
    with serving(lambda _: Reply(said)) as server:
        one = found_in(diagnosed(server.base_url("openai")))
        asked = len(server.requests)
        assert asked == 2 * len(one.clusters)  # each once more
        assert found_in(diagnosed(server.base_url("openai"))) == one
        assert len(server.requests) == asked
    assert one.clusters[0].sentence == ""
    assert "declined" in one.clusters[0].title
    [note] = one.warnings
    assert "a-model gave no sentence of one line and at most 160 characters" in note


def test_a_second_answer_that_is_good_counts(diagnosed: Callable[[str], DiagnosisPlan]):
    def behave(request: Request) -> Reply:
        return Reply("Sorry?" if len(request.turns) == 1 else json.dumps({"sentence": SENTENCE}))

    with serving(behave) as server:
        one = found_in(diagnosed(server.base_url("openai")))
    assert {cluster.sentence for cluster in one.clusters} == {SENTENCE}
    assert one.warnings == []


def test_a_server_that_refuses_takes_nothing_from_the_diagnosis(
    diagnosed: Callable[[str], DiagnosisPlan],
):
    with serving(lambda _: failure(401, "no such key")) as server:
        made = diagnosed(server.base_url("openai"))
    one = found_in(made)
    assert made.is_done
    assert not made.is_asked
    [note] = one.warnings
    assert "without a sentence of a-model" in note
    assert "no such key" in note
    with serving(lambda _: Reply(json.dumps({"sentence": SENTENCE}))) as server:
        again = found_in(diagnosed(server.base_url("openai")))
    assert again.clusters[0].sentence == SENTENCE
    assert again.warnings == []


def test_offline_nobody_is_asked(diagnosed: Callable[..., DiagnosisPlan]):
    with serving() as server:
        one = found_in(diagnosed(server.base_url("openai"), hub="refuse"))
    assert server.requests == []
    [note] = one.warnings
    assert note.endswith("without a sentence of a-model: no requests are sent offline.")


def test_nobody_is_asked_unless_the_suite_names_a_model(
    diagnosed: Callable[[str], DiagnosisPlan],
):
    made = diagnosed("")
    assert made.sentences == ()
    assert found_in(made).clusters[0].sentence == ""


def test_a_sentence_is_read_out_of_prose():
    assert SentencePrompt().read(f'Sure: {{"sentence": " {SENTENCE} "}}') == (SENTENCE,)
    assert SentencePrompt().read('{"sentence": "…"}') is None
    assert SentencePrompt().read('{"title": "x"}') is None
