"""Each reason is found where it is planted, and nothing is told where it is not."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import numpy as np
import pytest
from conftest import WORDS, write_vectors
from planted import DIMENSION, World, explain, findings, ids_of, run_world, told, words, world

from harness.diagnosis import reasons
from harness.diagnosis.lexicon import read_acronyms
from harness.diagnosis.reasons import REASONS
from harness.diagnosis.reasons.reason import Reason
from harness.diagnosis.values import proven_first
from harness.retrieval.reranking import Rerank

LOST = list(range(0, 60, 3))


def test_nothing_is_told_where_nothing_fails(tmp_path: Path):
    found = explain(run_world(world(), tmp_path))
    assert told(found) == {}
    assert {stage.stage for stage in found.stages} == {"retrieved"}


def test_random_failures_have_no_reason(tmp_path: Path):
    made = world(n_queries=120)
    made.lose(np.random.default_rng(3).choice(120, 40, replace=False).tolist())
    plan = run_world(made, tmp_path)
    found = explain(plan)
    assert told(found) == {}
    # Fusion with BM25 helps, since every query has words of its document, whatever its failure.
    fused = findings(found)["lexical-evidence-ignored"].counterfactual
    assert fused is not None
    assert fused.recovered == fused.failed > 30


def test_vocabulary_mismatch(tmp_path: Path):
    made = world()
    made.lose(LOST)
    others = words(99, 200)
    for row in LOST:
        made.queries[row] = f"{others[row]} {others[row + 1]} {others[row + 2]}"
    plan = run_world(made, tmp_path)
    found = explain(plan)
    finding = findings(found)["vocabulary-mismatch"]
    assert finding.status == "supported"
    assert finding.lever == "fine-tune"
    assert findings(explain(plan, "words"))["vocabulary-mismatch"].lever == "hybrid"
    assert set(finding.queries) == set(ids_of(LOST))
    assert (finding.misses, finding.misses_with, finding.hits_with) == (20, 20, 0)
    assert others[0] in finding.evidence["q0000"]
    assert finding.low > 1
    assert "lexical-evidence-ignored" not in told(found)


def rare_words_are_lost() -> World:
    """Return a world in which queries with a rare word fail, and those with common ones do not."""
    made = world()
    common = words(96, 12)
    draw = np.random.default_rng(8)
    made.documents = [f"{text} {' '.join(draw.choice(common, 3))}" for text in made.documents]
    for row in set(range(60)) - set(LOST):
        made.queries[row] = " ".join(made.documents[row].split()[-3:])
    made.lose(LOST)
    return made


def test_ignored_rare_words_are_confirmed_by_fusion(tmp_path: Path):
    found = explain(run_world(rare_words_are_lost(), tmp_path))
    finding = findings(found)["lexical-evidence-ignored"]
    assert finding.status == "confirmed"
    assert set(finding.queries) <= set(ids_of(LOST))
    assert finding.recoverable is not None
    assert finding.recoverable > 0.1
    tried = finding.counterfactual
    assert tried is not None
    assert tried.recovered == tried.failed == len(finding.queries) > 15
    assert finding.recoverable == pytest.approx(tried.gain * tried.tried / 60)


def test_copies_cost_a_rank_and_collapsing_them_gives_it_back(tmp_path: Path):
    made = world()
    for row in LOST:  # a copy that stands before the document it repeats
        made.documents[100 + row] = made.documents[row]
        made.document_vectors[100 + row] = made.query_vectors[row]
    found = explain(run_world(made, tmp_path))
    finding = findings(found)["near-duplicate"]
    assert finding.status == "confirmed"
    assert set(finding.queries) == set(ids_of(LOST))
    assert finding.lever == "deduplicate"
    # The second rank gives 1 / log2(3).
    assert finding.recoverable == pytest.approx((1 - 1 / np.log2(3)) / 3)
    assert "d0100, at rank 1" in finding.evidence["q0000"]
    assert set(told(found)) == {"near-duplicate"}


def test_hubs_are_confirmed_by_centring(tmp_path: Path):
    made = world()
    cone, noise = np.eye(DIMENSION)[0] * 12, np.random.default_rng(4).normal(size=(60, DIMENSION))
    made.query_vectors = cone + 0.4 * made.document_vectors[:60] + 0.9 * noise
    made.document_vectors += cone
    made.document_vectors[280:295] = cone + noise[:15] * 0.1  # at the heart of the cone
    found = explain(run_world(made, tmp_path))
    finding = findings(found)["hub"]
    assert finding.status == "confirmed"
    assert finding.lever == "centring"
    assert finding.recoverable is not None
    assert finding.recoverable > 0.1
    assert found.space is not None
    assert set(found.space.hubs[:5]) <= {f"d{row:04}" for row in range(280, 295)}
    assert found.space.mean_cosine > 0.5
    assert "narrow cone" in " ".join(found.space.sentences)


def test_relevant_documents_that_lie_apart(tmp_path: Path):
    made = world()
    for row in range(60):
        made.relevant[row] = [row, 100 + row]
        if row not in LOST:
            made.document_vectors[100 + row] = made.document_vectors[row] + 0.1
    found = explain(run_world(made, tmp_path))
    finding = findings(found)["multi-aspect"]
    assert finding.status == "supported"
    assert set(finding.queries) == set(ids_of(LOST))
    assert "not all relevant documents" in finding.sentence


def test_numbers_that_the_first_wrong_document_lacks(tmp_path: Path):
    made = world()
    for row in LOST:
        number = 1000 + 7 * row
        made.queries[row] += f" {number}"
        made.documents[row] += f" {number}"
        made.query_vectors[row] = np.random.default_rng(row).normal(size=DIMENSION)
    finding = findings(explain(run_world(made, tmp_path)))["number"]
    assert finding.status == "supported"  # given vectors cannot be encoded again
    assert set(finding.queries) <= set(ids_of(LOST))
    assert len(finding.queries) > 15
    assert "1042" in finding.evidence["q0006"]


def test_negation(tmp_path: Path):
    made = world(n_documents=400)
    other = words(98, 60)
    for place, row in enumerate(LOST):
        made.queries[row] += f" without {other[row]}"
        crowd = range(100 + 12 * place, 112 + 12 * place)  # what is excluded crowds the answer out
        made.query_vectors[row] = made.document_vectors[crowd[0]]
        for document in crowd:
            made.documents[document] += f" {other[row]}"
            made.document_vectors[document] = made.document_vectors[crowd[0]]
    finding = findings(explain(run_world(made, tmp_path)))["negation"]
    assert finding.status == "supported"
    assert set(finding.queries) == set(ids_of(LOST))
    assert f"'without' before '{other[0]}'" in finding.evidence["q0000"]


def test_acronyms_on_one_side_are_found_and_expanded_for_bm25(tmp_path: Path):
    made = world()
    for row in LOST:
        short = f"{'ABCDEFGHIJKLMNOPQRST'[row // 3]}QX"
        long = f"{short[0].lower()}limo quando xerus"
        made.documents[200 + row] = f"Of {long} ({short}) there is much."
        sides = (f"Nothing but {long} helps.", f"what is {short}")
        if row % 2:  # the query writes out what the document abbreviates
            sides = (f"Nothing but {short} helps.", f"what is {long}")
        made.documents[row], made.queries[row] = sides
    made.lose(LOST)
    plan = run_world(made, tmp_path)
    finding = findings(explain(plan))["acronym"]
    assert set(finding.queries) <= set(ids_of(LOST))
    assert len(finding.queries) > 15
    assert "The query says CQX, the relevant document only 'climo" in finding.evidence["q0006"]
    assert "The query says 'dlimo quando xerus'" in finding.evidence["q0009"]
    # BM25 finds the documents that define the acronym; with both forms it finds the others too.
    by_words = findings(explain(plan, "words"))["acronym"]
    assert by_words.counterfactual is not None
    assert by_words.counterfactual.gain >= 0


def test_acronyms_are_read_as_schwartz_and_hearst_do():
    known = read_acronyms(
        [
            "Low density lipoprotein (LDL) and then LDLs.",
            "The low-density lipoprotein (LDL) again; low density lipoprotein (LDL).",
            "See the agency (NASA), one (I), and Heat shock protein (HSP70).",
        ]
    )
    assert known.by_short["LDL"] == "low density lipoprotein"
    assert "NASA" not in known.by_short
    assert known.by_long["low-density lipoprotein"] == "LDL"
    assert known.written_out("Is low density lipoprotein bad?") == (
        "LDL",
        "low density lipoprotein",
    )
    assert known.abbreviated("Is LDL bad?") == ("LDL", "low density lipoprotein")
    assert known.abbreviated("Is HDL bad?") is None


def test_own_text_in_the_corpus(tmp_path: Path):
    made = world()
    for row in LOST:
        made.documents[200 + row] = made.queries[row].upper()
        made.document_vectors[200 + row] = made.query_vectors[row]
    found = explain(run_world(made, tmp_path))
    finding = findings(found)["self-match"]
    assert finding.status == "confirmed"
    assert finding.lever == "fix the data"
    assert finding.recoverable == pytest.approx((1 - 1 / np.log2(3)) / 3)
    assert "d0200" in finding.evidence["q0000"]


def test_unjudged_documents_that_a_good_cross_encoder_prefers(tmp_path: Path, cross_encoder: Path):
    made = world(n_documents=100)
    draw = np.random.default_rng(3)
    made.documents = [" ".join(draw.choice(WORDS, 6)) for _ in range(100)]
    made.queries = [" ".join(draw.choice(WORDS, 3)) for _ in range(60)]
    for row in range(60):  # twelve documents stand before the relevant one: any order is better
        others = [(row + step) % 100 for step in range(1, 13)]
        made.query_vectors[row] = sum(made.document_vectors[other] for other in others)
        made.query_vectors[row] += 0.5 * made.document_vectors[row]
    plan = run_world(
        made,
        tmp_path,
        f"""
        [candidates.again]
        from = "given"
        rerank = {{ model = "{cross_encoder}", depth = 30 }}
        """,
    )
    found = explain(plan)
    finding = findings(found)["unjudged"]
    assert finding.lever == "fix the data"
    stage = plan.planner.run_stage("again", "c")
    assert isinstance(stage, Rerank)
    top = plan.planner.run_stage("given", "c").result(plan.store).documents
    scores = stage.scorer.scores(plan.store, np.array(top[:, :30]))
    chance = 1 / (1 + np.exp(-scores.astype(float)))
    own = [list(top[row, :30]).index(row) if row in top[row, :30] else -1 for row in range(60)]
    wanted = {
        row
        for row in range(60)
        if own[row] >= 10 and chance[row, :10].max() >= 0.95 * chance[row, own[row]]
    }
    assert set(finding.queries) == set(ids_of(sorted(wanted)))
    assert "gives the unjudged d" in next(iter(finding.evidence.values()))


def test_a_cross_encoder_that_does_harm_is_not_believed(tmp_path: Path, cross_encoder: Path):
    made = world(n_queries=20)
    more = f"""
    [candidates.again]
    from = "given"
    rerank = {{ model = "{cross_encoder}", depth = 30 }}
    """
    assert "unjudged" not in findings(explain(run_world(made, tmp_path, more)))


def test_length_bias(tmp_path: Path):
    made = world()
    crowd = np.random.default_rng(2).normal(size=DIMENSION)
    for row in range(200, 300):
        made.documents[row] += " " + made.documents[row - 100]
        made.document_vectors[row] = crowd + made.document_vectors[row] * 0.1
    for row in LOST:
        made.documents[row] = made.documents[row][:26]
        made.query_vectors[row] = crowd
    finding = findings(explain(run_world(made, tmp_path)))["length-bias"]
    assert finding.status == "supported"
    assert set(finding.queries) == set(ids_of(LOST))
    assert "shortest fifth" in finding.evidence["q0000"]


def test_position(tmp_path: Path):
    made = world()
    filler = words(77, 400)
    for row in range(60):
        around = " ".join(np.random.default_rng(row).choice(filler, 300))
        parts = (around, made.queries[row]) if row in LOST else (made.queries[row], around)
        made.documents[row] = " ".join(parts)
    made.lose(LOST)
    finding = findings(explain(run_world(made, tmp_path)))["position"]
    assert finding.status == "supported"
    assert set(finding.queries) == set(ids_of(LOST))


def test_phantom_hits_are_confirmed_by_reranking_less(tmp_path: Path):
    made = world(n_documents=300)
    plain = made.query_vectors / np.linalg.norm(made.query_vectors, axis=1, keepdims=True)
    documents = made.document_vectors / np.linalg.norm(made.document_vectors, axis=1, keepdims=True)
    order = np.argsort(-(plain @ documents.T), axis=1)
    second = np.array(made.query_vectors)
    for row in LOST:  # the second space prefers what the first one puts at ranks 60 to 75
        crowd = documents[order[row, 60:75]].sum(axis=0)
        second[row] = plain[row] + 1.3 * (crowd - (crowd @ plain[row]) * plain[row])
    asked = ids_of(range(60))
    write_vectors(tmp_path / "second.npy", second, asked)
    plan = run_world(
        made,
        tmp_path,
        f"""
        [candidates.second]
        vectors = {{ documents = "{tmp_path}/d.npy", queries = "{tmp_path}/second.npy" }}
        [candidates.again]
        from = "given"
        rerank = {{ candidate = "second", depth = 100 }}
        """,
    )
    found = explain(plan, "again")
    finding = findings(found)["phantom-hit"]
    assert finding.status == "confirmed"
    assert set(finding.queries) <= set(ids_of(LOST))
    assert len(finding.queries) > 15
    assert finding.counterfactual is not None
    assert finding.counterfactual.change == "20 documents reranked instead of 100"
    assert {stage.stage: stage.n for stage in found.stages}["rerank-harm"] >= 15


@pytest.mark.parametrize("candidate", ["words", "mixed", "file", "again", "given"])
def test_every_kind_of_candidate_is_explained(tmp_path: Path, candidate: str):
    made = world(n_queries=20)
    made.lose(range(0, 20, 2))
    made.documents[150] = " "
    run = tmp_path / "run.trec"
    run.write_text("".join(f"q{row:04} Q0 d{row:04} 1 1.0 x\n" for row in range(0, 20, 3)), "utf-8")
    plan = run_world(
        made,
        tmp_path,
        f"""
        [candidates.mixed]
        fuse = ["given", "words"]
        [candidates.file]
        run = "{run}"
        [candidates.again]
        from = "given"
        rerank = {{ candidate = "given", depth = 60 }}
        """,
    )
    found = explain(plan, candidate)
    assert sum(stage.n for stage in found.stages) == 20
    assert (found.space is None) == (candidate in {"words", "mixed", "file"})
    assert found.findings == proven_first(found.findings)  # as every page shows them
    for finding in found.findings:
        assert set(finding.evidence) == set(finding.queries)
        assert finding.sentence
        assert finding.low <= finding.odds_ratio <= finding.high
        finding.model_validate_json(finding.model_dump_json())


def test_all_misses_are_explained_without_a_contrast(tmp_path: Path):
    made = world(n_queries=20)
    made.query_vectors = -made.query_vectors
    found = explain(run_world(made, tmp_path))
    assert found.subject.missed.all()
    assert not any(each.status == "supported" for each in found.findings)
    assert found.gap.achieved == 0


@pytest.mark.parametrize("n_documents", [14, 300])
def test_few_documents_say_nothing_about_truncation(tmp_path: Path, n_documents: int):
    made = world(n_queries=8, n_documents=n_documents)
    made.document_vectors[:, 12:] = 0  # of 64 dimensions
    found = explain(run_world(made, tmp_path))
    assert found.space is not None
    said = " ".join(found.space.sentences)
    few = n_documents == 14
    assert (found.space.effective_rank is None) == ("effective rank" not in said) == few
    assert ("truncation should cost little" in said) != few


def test_every_reason_that_is_written_is_looked_for():
    modules = pkgutil.iter_modules(reasons.__path__, f"{reasons.__name__}.")
    written = {
        each.key
        for module in modules
        for each in vars(importlib.import_module(module.name)).values()
        if isinstance(each, Reason)
    }
    assert written == {each.key for each in REASONS}
