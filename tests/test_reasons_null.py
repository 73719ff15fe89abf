"""Failures without a reason are given none: real texts, and failures drawn without a look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conftest import write_vectors
from planted import World, ids_of, run_world

from harness.collection.python_source import read_python
from harness.diagnosis.explain import explain_losses
from harness.diagnosis.findings import MANY, Case, ExcessEffect, best_effect, explain
from harness.diagnosis.reasons import neighbours, words
from harness.diagnosis.reasons.reason import Proof, Reason, Signs
from harness.diagnosis.subject import Subject, plan_subject
from harness.diagnosis.values import Finding
from harness.diagnosis.view import Facts
from harness.plan.plan import Plan
from harness.stage import Context

N, DOCUMENTS, DIMENSION = 240, 600, 48
FAILING = 0.3
SEEDS, ALLOWED = 20, 3  # more than 3 of 20 at a rate of 5% is a chance of 1.6%


@cache
def docstrings() -> World:
    """Return functions of the standard library and their first sentences, in a space of words.

    The vectors of the queries are those of their texts: some fail, for reasons of their own.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    raw = read_python("stdlib")
    split = raw.splits["test"]
    asked = list(split.relevant.items())[:N]
    wanted = [document for _, found in asked for document in found]
    rows = {key: row for row, key in enumerate(dict.fromkeys([*wanted, *raw.documents.ids]))}
    held = dict(zip(raw.documents.ids, raw.documents.texts, strict=True))
    texts = [held[key] for key in list(rows)[:DOCUMENTS]]
    sentences = dict(zip(split.queries.ids, split.queries.texts, strict=True))
    queries = [sentences[key] for key, _ in asked]
    words_of = TfidfVectorizer(sublinear_tf=True, min_df=2)
    space = TruncatedSVD(DIMENSION, random_state=0)
    vectors = space.fit_transform(words_of.fit_transform(texts))
    return World(
        documents=texts,
        queries=queries,
        document_vectors=vectors,
        query_vectors=space.transform(words_of.transform(queries)),
        relevant=[[rows[document] for document in found] for _, found in asked],
    )


def strayed(seed: int) -> np.ndarray:
    """Return query vectors near their documents, but for random ones that point anywhere."""
    made, draw = docstrings(), np.random.default_rng([seed, 3])
    own = made.document_vectors[[rows[0] for rows in made.relevant]]
    near = own + 0.02 * draw.normal(size=own.shape)
    lost = draw.random(N) < FAILING
    near[lost] = draw.normal(size=(int(lost.sum()), DIMENSION)) * own.std(axis=0) + own.mean(axis=0)
    return near


def demoted(seed: int) -> str:
    """Return a run that finds all documents, but for random queries that find theirs too late."""
    made, draw = docstrings(), np.random.default_rng([seed, 4])
    unit = made.document_vectors / np.linalg.norm(made.document_vectors, axis=1, keepdims=True)
    lines = []
    for query, key in enumerate(ids_of(range(N))):
        relevant = made.relevant[query]
        order = np.argsort(-(unit @ unit[relevant[0]]), kind="stable")[:40]
        order = [row for row in order.tolist() if row not in relevant]
        place = 12 if draw.random() < FAILING else int(draw.integers(0, 3))
        order[place:place] = relevant
        lines += [
            f"{key} Q0 d{row:04} {rank} {100 - rank} x\n" for rank, row in enumerate(order, 1)
        ]
    return "".join(lines)


def alarms(plan: Plan, names: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return every reason that is confirmed of some candidates, with its sentence."""
    facts, context = Facts(plan.collections["c"]), Context(store=plan.store)
    return [
        (name, finding.reason, finding.sentence)
        for name in names
        for finding in explain_losses(plan_subject(plan, name, facts), context).findings
        if finding.status == "confirmed"
    ]


def test_no_reason_is_confirmed_of_queries_that_stray_at_random(tmp_path: Path):
    names = [f"stray{seed}" for seed in range(SEEDS)]
    text = ""
    for seed, name in enumerate(names):
        write_vectors(tmp_path / f"{name}.npy", strayed(seed), ids_of(range(N)))
        text += f"""
        [candidates.{name}]
        vectors = {{ documents = "{tmp_path}/d.npy", queries = "{tmp_path}/{name}.npy" }}
        """
    found = alarms(run_world(docstrings(), tmp_path, text), names)
    assert len({name for name, *_ in found}) <= ALLOWED, found


def test_no_reason_is_confirmed_of_documents_that_are_demoted_at_random(tmp_path: Path):
    names = [f"late{seed}" for seed in range(SEEDS)]
    text = ""
    for seed, name in enumerate(names):
        (tmp_path / f"{name}.trec").write_text(demoted(seed), "utf-8")
        text += f'\n[candidates.{name}]\nrun = "{tmp_path}/{name}.trec"\n'
    found = alarms(run_world(docstrings(), tmp_path, text), names)
    assert len({name for name, *_ in found}) <= ALLOWED, found


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """Return a candidate whose failures are real."""
    plan = run_world(docstrings(), tmp_path_factory.mktemp("real"))
    found = plan_subject(plan, "given", Facts(plan.collections["c"]))
    assert 40 < found.missed.sum() < 200
    return found


def judged(subject: Subject, reason: Reason, signs: Signs, proofs: list[Proof]) -> Finding:
    """Return what becomes of one reason alone."""
    [finding] = explain(subject, [Case(reason, signs, best_effect(reason, signs, proofs))])
    return finding


@pytest.mark.parametrize(
    "reason",
    [words.IGNORED, replace(words.IGNORED, alone=True), neighbours.HUBS],
    ids=["fusion", "fusion alone", "centring"],
)
def test_flags_that_mean_nothing_are_not_confirmed_by_a_change_that_helps(
    subject: Subject, reason: Reason
):
    confirmed, recoverable = 0, []
    for seed in range(60):
        flags = np.random.default_rng([seed, 5]).random(N) < FAILING
        signs = Signs(subject.findable, flags & subject.findable, subject.missed, lambda _: "")
        assert reason.trial is not None
        proofs = reason.trial(subject, signs, Context(store=subject.store))
        finding = judged(subject, reason, signs, proofs)
        confirmed += finding.status == "confirmed"
        recoverable.append(finding.recoverable)
    assert confirmed <= 7  # more than 7 of 60 at a rate of 5% is a chance of 1%
    # What the change gives to failures of any reason is not this one's.
    assert abs(np.mean(recoverable)) < 0.005


def effect(failed: np.ndarray, shows: np.ndarray, proof: Proof) -> ExcessEffect:
    signs = Signs(np.ones_like(failed), shows, failed, lambda _: "")
    found = best_effect(words.IGNORED, signs, [proof])
    assert found is not None
    return found


def test_a_gain_is_that_beyond_a_control_that_fails_as_often():
    failed = np.arange(100) % 4 == 0
    shows = np.arange(100) < 40
    gains = np.where(failed, 0.5, -0.1) + np.where(shows & failed, 0.2, 0.0)
    proof = Proof("a change", np.arange(100), gains, failed)
    found = effect(failed, shows, proof)
    # A quarter of those with the reason fail, and gain 0.2 more than the others that fail.
    assert found.found.gain == pytest.approx(0.25 * 0.2)
    assert (found.found.tried, found.found.failed, found.found.control_failed) == (40, 10, 15)


def test_too_small_a_control_takes_nothing_off_and_compares_nothing():
    failed = np.ones(20, dtype=bool)
    shows = np.arange(20) < 17
    proof = Proof("a change", np.arange(20), np.full(20, 0.3), failed)
    found = effect(failed, shows, proof)
    assert found.found.gain == pytest.approx(0.3)
    assert found.p == 1


@pytest.mark.parametrize(("each", "status"), [(MANY, "confirmed"), (MANY - 1, "not significant")])
def test_a_trial_alone_confirms_on_enough_queries(subject: Subject, each: int, status: str):
    """As many hits as misses show it, so there is no contrast; the change recovers those alone."""
    missed, hit = np.flatnonzero(subject.missed), np.flatnonzero(~subject.missed)
    shown, control = missed[:each], missed[each : 2 * each]
    flags = np.zeros(N, dtype=bool)
    flags[shown] = flags[hit[:each]] = True
    eligible = flags.copy()
    eligible[control] = eligible[hit[each : 2 * each]] = True
    rows = np.sort(np.concatenate([shown, hit[:each], control]))
    helped = np.isin(rows, shown)
    proof = Proof("texts mended", rows, np.where(helped, 0.5, 0.0), helped)
    signs = Signs(eligible, flags, subject.missed, lambda _: "")
    reason = replace(words.IGNORED, alone=True)
    assert judged(subject, reason, signs, [proof]).status == status
    assert judged(subject, words.IGNORED, signs, [proof]).status == "not significant"


@pytest.mark.parametrize(
    ("symptom", "among", "status"),
    [
        (False, "misses", "supported"),
        (True, "misses", "associated"),
        (False, "hits", "more frequent among hits"),
        (True, "hits", "more frequent among hits"),
    ],
)
def test_a_clear_contrast_is_never_called_not_significant(
    subject: Subject, among: str, status: str, *, symptom: bool
):
    flags = subject.missed if among == "misses" else subject.findable & ~subject.missed
    signs = Signs(subject.findable, flags | (np.arange(N) < 30), subject.missed, lambda _: "")
    reason = replace(words.IGNORED, symptom=symptom)
    found = judged(subject, reason, signs, [])
    assert (found.status, found.p_adjusted < 0.001) == (status, True)
    assert found.failure == "no relevant document in the top 10"
