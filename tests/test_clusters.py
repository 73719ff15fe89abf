"""Clusters: planted slices are found, noise is not."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from harness.diagnosis.clusters import FoundCluster, Scan, distinctive_terms, scan
from harness.diagnosis.failures import failure_cluster
from harness.diagnosis.lexicon import read_words
from harness.diagnosis.regions import (
    Ordered,
    Regions,
    attribute_cells,
    draw_regions,
    mean_beside,
)
from harness.diagnosis.scan import draw_permutations, scan_regions
from harness.diagnosis.topics import points_of, smooth
from harness.diagnosis.words import count_terms

N = 600
TOPICS = 12


def world(n: int = N, *, seed: int = 1, noise: float = 0.3) -> Any:
    """Return vectors around topics, texts that name them, and the topic of each."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(TOPICS, 24))
    topic = np.arange(n) % TOPICS
    vectors = centres[topic] + noise * draw.normal(size=(n, 24))
    texts = [
        f"topic{chr(97 + each)} item{row} colour{draw.integers(4)}"
        for row, each in enumerate(topic)
    ]
    return vectors.astype(np.float32), texts, topic


def failing(inside: Any, *, seed: int = 2, p: float = 0.8) -> Any:
    """Return losses of 0 and 1: queries inside fail with probability p, others with 0.2."""
    draw = np.random.default_rng(seed)
    return (draw.random(len(inside)) < np.where(inside, p, 0.2)).astype(float)


def find_clusters(
    vectors: Any, losses: Any, texts: list[str], *, attributes: Any = None, groups: Any = None
) -> Scan:
    """Draw the regions of some texts, and scan them."""
    drawn = draw_regions(vectors, texts, attributes=attributes, seed=7)
    return scan(drawn, losses, groups=groups, seed=7)


def f1(found: FoundCluster, inside: Any) -> float:
    return f1_of(found.members, inside)


def f1_of(members: Any, inside: Any) -> float:
    return float(2 * inside[members].sum() / (len(members) + inside.sum()))


@pytest.fixture(scope="module")
def regions() -> Regions:
    """Regions of the usual world."""
    vectors, texts, _ = world()
    return draw_regions(vectors, texts, seed=7)


def test_a_topic_that_fails_is_found_with_its_members_and_its_name(regions: Regions):
    _, _, topic = world()
    losses = failing(topic == 3)
    [found] = scan(regions, losses, seed=7).clusters
    assert f1(found, topic == 3) > 0.95
    assert found.name.terms[0] == "topicd"
    assert "topicd" in found.name.title
    assert found.region == "topic"
    assert found.p_adjusted == pytest.approx(1 / 2001)
    assert found.stability > 0.75
    assert found.ratio.low > 1.5
    assert found.loss == pytest.approx(losses[found.members].mean())
    others = np.setdiff1d(np.arange(N), found.members)
    assert losses.mean() - found.impact == pytest.approx(losses[others].mean())


def test_typical_members_fail_and_the_success_does_not(regions: Regions):
    _, _, topic = world()
    losses = failing(topic == 3)
    [found] = scan(regions, losses, seed=7).clusters
    assert len(found.typical) == 3
    assert (losses[list(found.typical)] == 1).all()
    assert found.success is not None
    assert losses[found.success] == 0
    assert {*found.typical, found.success} <= set(found.members.tolist())


def test_a_term_tells_two_sides_apart_by_how_often_not_by_how_many_texts_they_have():
    ours = ["boiling water"] * 20 + ["cold water"] * 10
    theirs = ["cold water"] * 80 + ["boiling water"] * 10
    terms = count_terms([*ours, *theirs])
    inside = np.arange(120) < 30
    assert distinctive_terms(terms, inside, ~inside) == ("boiling",)
    assert distinctive_terms(terms, ~inside, inside) == ("cold",)


@pytest.mark.parametrize(
    ("ours", "theirs", "names"),
    [
        ("what will be about the insulin around", "which one is it of diabetes", ("insulin",)),
        ("was ist die Dosis von dem", "wie lange dauert es bei einer Grippe", ("dosis",)),
        ("or will be about around", "is it of", ()),
    ],
)
def test_function_words_name_nothing(ours: str, theirs: str, names: tuple[str, ...]):
    terms = count_terms([ours] * 20 + [theirs] * 80, language="none")
    inside = np.arange(100) < 20
    words = {word for term in distinctive_terms(terms, inside, ~inside) for word in term.split()}
    assert set(names) <= words
    assert bool(words) == bool(names)


def test_function_words_of_a_language_without_a_list_are_those_that_stand_evenly():
    draw = np.random.default_rng(2)
    topics = [f"topik{number} " * 3 for number in range(4)]
    documents = [
        f"ta {topics[row % 4]} ni {'ko ' * draw.integers(0, 2)} zan{row} lir{row}"
        for row in range(80)
    ]
    common = read_words(documents, [], language="none").common
    assert common == {"ta", "ni", "ko"}


def test_a_word_of_few_members_is_a_stray():
    ours = ["insulin dose"] * 38 + ["insulin epidermolytic"] * 2
    terms = count_terms([*ours, *["flu season"] * 160])
    inside = np.arange(200) < 40
    assert "epidermolytic" not in " ".join(distinctive_terms(terms, inside, ~inside))


def test_a_cluster_without_a_content_word_is_named_by_a_query():
    _, _, topic = world()
    vectors, _, _ = world()
    texts = ["" if each == 3 else f"it is {each}" for each in topic]
    losses = failing(topic == 3)
    [found] = find_clusters(vectors, losses, texts).clusters
    assert found.name == ("", ())
    queries = [f"how {row}" for row in range(N)]
    stored = failure_cluster(
        found,
        mode="loss",
        reference=None,
        ids=queries,
        texts=queries,
        exemplars=[],
    )
    assert stored.label == [f"such as “how {found.typical[0]}”"]


def test_terms_are_counted_by_stem_and_shown_as_written_most_often():
    terms = count_terms(["Transfers failed", "transfer failing", "transfer fails", "x"])
    assert terms.stems == (("fail",), ("transfer",), ("transfer", "fail"))
    assert terms.shown == ("failed", "transfer", "transfer failing")


def test_two_topics_are_two_clusters_that_share_no_query(regions: Regions):
    _, _, topic = world()
    losses = failing(np.isin(topic, [3, 8]))
    found = scan(regions, losses, seed=7).clusters
    members = np.concatenate([each.members for each in found])
    assert len(np.unique(members)) == len(members)
    assert max(f1(each, topic == 3) for each in found) > 0.9
    assert max(f1(each, topic == 8) for each in found) > 0.9
    assert [each.impact for each in found] == sorted((each.impact for each in found), reverse=True)


def test_an_attribute_across_topics_is_found_and_named():
    vectors, texts, _ = world()
    flags = np.random.default_rng(4).random(N) < 0.1
    given = {"a number": flags, "short": np.random.default_rng(5).random(N) < 0.3}
    [found] = find_clusters(vectors, failing(flags), texts, attributes=given).clusters
    assert (found.region, found.predicate) == ("attribute", "a number")
    assert set(found.members) == set(np.flatnonzero(flags))


def test_an_attribute_within_a_topic_is_found():
    vectors, texts, topic = world()
    flags = np.random.default_rng(4).random(N) < 0.5
    inside = flags & (topic < 1)
    given = {"a number": flags}
    losses = failing(inside, p=0.95)
    [found] = find_clusters(vectors, losses, texts, attributes=given).clusters
    assert re.fullmatch("a number, in a topic with “topica .+”", found.predicate)
    assert f1(found, inside) > 0.9


@pytest.mark.parametrize(
    ("direction", "p", "least"),
    [
        (1, 0.8, 0.75),
        (-1, 0.55, 0.6),
        # Both directions and both shares are above.
        pytest.param(-1, 0.8, 0.75, marks=pytest.mark.slow),
        pytest.param(1, 0.55, 0.6, marks=pytest.mark.slow),
    ],
)
def test_a_threshold_of_a_length_is_found_and_named(direction: int, p: float, least: float):
    vectors, texts, _ = world(1600)
    lengths = np.random.default_rng(6).poisson(11, 1600).astype(float)
    limit = 17 if direction == 1 else 5
    inside = lengths >= limit if direction == 1 else lengths <= limit
    given = {"length": Ordered(lengths, "a query of {}", "word")}
    scores = []
    for seed in range(3):
        losses = failing(inside, p=p, seed=seed)
        found = find_clusters(vectors, losses, texts, attributes=given).clusters
        best = max(found, key=lambda each: f1(each, inside), default=None)
        scores.append(0.0 if best is None else f1(best, inside))
        if p == 0.8 and best is not None:
            expected = "a query of 17 words or more" if direction == 1 else "of at most 5 words"
            assert expected in best.predicate
    assert np.mean(scores) >= least


def test_unknown_values_lie_beyond_no_threshold():
    values = np.where(np.arange(100) < 50, np.nan, np.arange(100))
    cells = attribute_cells({"a": Ordered(values, "of {}", "word")}, [], smallest=5, largest=30)
    assert all(row >= 50 for cell in cells for row in cell.rows)


def test_attributes_that_no_text_has_are_no_cells():
    nobody = {name: np.zeros(100, dtype=bool) for name in ("a", "b")}
    cells = attribute_cells(nobody, [], smallest=5, largest=30)
    assert [cell for cell in cells if len(cell.rows)] == []


def test_a_word_names_a_slice_where_vectors_say_nothing():
    vectors, texts, _ = world()
    inside = np.random.default_rng(4).random(N) < 0.08
    texts = [f"{text} refunded" if each else text for text, each in zip(texts, inside, strict=True)]
    [found] = find_clusters(vectors, failing(inside), texts).clusters
    assert (found.region, found.predicate) == ("attribute", "'refunded'")


@pytest.mark.parametrize("kind", ["a flag", "thresholds"])
def test_noise_is_reported_in_about_one_of_twenty_runs(kind: str):
    vectors, texts, _ = world(240)
    draw = np.random.default_rng(6)
    given: dict[str, Any] = {"a number": np.arange(240) % 5 == 0}
    if kind == "thresholds":
        given = {
            name: Ordered(draw.lognormal(size=240).round(2), name + " of {}", "word")
            for name in "abc"
        }
    drawn = draw_regions(vectors, texts, attributes=given, seed=7)
    runs, alarms = 300, 0
    for run in range(runs):
        losses = (np.random.default_rng([9, run]).random(240) < 0.25).astype(float)
        alarms += bool(scan_regions(drawn, losses, permutations=99, seed=run).regions)
    assert 0.01 * runs < alarms <= 0.08 * runs


def test_losses_that_move_together_are_no_cluster_if_their_groups_are_told():
    vectors, texts, topic = world(240, noise=0.1)
    groups = np.arange(240) // 48 * TOPICS + topic  # four or so questions of one document
    drawn = draw_regions(vectors, texts, seed=7)
    told, untold = 0, 0
    for run in range(60):
        documents = np.random.default_rng([9, run]).random(groups.max() + 1) < 0.25
        losses = documents[groups].astype(float)
        told += bool(scan_regions(drawn, losses, groups=groups, permutations=99, seed=run).regions)
        untold += bool(scan_regions(drawn, losses, permutations=99, seed=run).regions)
    assert told <= 9  # 5% of 60, and three standard errors
    assert untold > 20


def test_groups_of_other_sizes_keep_their_losses_together():
    groups = np.repeat(np.arange(60), np.arange(60) % 3 + 1)
    scores = (np.arange(60) % 4 == 0).astype(float)[groups]
    [block] = draw_permutations(scores, groups, permutations=50, seed=[1])
    by_group = [block[groups == group] for group in range(60)]
    assert all((np.ptp(rows, axis=0) < 1e-6).all() for rows in by_group)
    assert np.ptp(block, axis=0).min() > 0.9


def test_the_order_of_queries_changes_nothing():
    vectors, texts, topic = world(240)
    losses = failing(topic < 2, p=0.7) + np.round(np.random.default_rng(3).random(240), 2)
    flags = np.arange(240) % 7 == 0
    turn = np.random.default_rng(5).permutation(240)
    one = find_clusters(vectors, losses, texts, attributes={"a": flags}, groups=topic)
    other = find_clusters(
        vectors[turn],
        losses[turn],
        [texts[row] for row in turn],
        attributes={"a": flags[turn]},
        groups=topic[turn],
    )
    assert _told(one, np.arange(240)) == _told(other, turn)


def _told(found: Scan, rows: Any) -> Any:
    return [
        (sorted(rows[each.members].tolist()), each.predicate, each.p_adjusted, each.name)
        for each in found.clusters
    ]


def test_the_same_call_gives_the_same_clusters(regions: Regions):
    _, _, topic = world()
    losses = failing(topic < 3, p=0.6)
    first, second = (scan(regions, losses, seed=7) for _ in range(2))
    assert _told(first, np.arange(N)) == _told(second, np.arange(N))
    assert [each.stability for each in first.clusters] == [
        each.stability for each in second.clusters
    ]


def test_an_exploratory_scan_reports_what_a_strict_one_does_and_more(regions: Regions):
    _, _, topic = world()
    strict, exploratory = 0, 0
    for seed in range(8):
        losses = failing(topic == 3, p=0.45, seed=seed)
        found = [
            scan_regions(regions, losses, discovery=discovery, permutations=199, seed=7).regions
            for discovery in ("strict", "exploratory")
        ]
        strict, exploratory = strict + bool(found[0]), exploratory + bool(found[1])
    assert strict < exploratory


def test_a_difference_finds_queries_that_lose_though_the_mean_gains(regions: Regions):
    _, _, topic = world()
    draw = np.random.default_rng(3)
    change = draw.normal(0.05, 0.2, size=N)
    change[topic == 5] -= 0.4
    assert change.mean() > 0
    [found] = scan(regions, -change, mode="difference", seed=7).clusters
    assert f1(found, topic == 5) > 0.9
    stored = failure_cluster(
        found,
        mode="difference",
        reference="other",
        ids=[f"q{row}" for row in range(N)],
        texts=[""] * N,
        exemplars=[],
    )
    assert stored.mean == pytest.approx(change[found.members].mean())
    assert stored.mean < 0 < stored.rest


@pytest.mark.parametrize("loss", [0.0, 0.5, 1.0])
def test_a_constant_loss_has_no_clusters(regions: Regions, loss: float):
    found = scan(regions, np.full(N, loss), seed=7)
    assert found.clusters == ()
    assert "would not stand out" in found.detectable


def test_twenty_queries_are_too_few_and_it_says_so():
    vectors, texts, topic = world(20)
    found = find_clusters(vectors, failing(topic == 1), texts)
    assert found.clusters == ()
    assert found.detectable == "20 texts are too few to search for clusters of 15 or more."


def test_queries_with_one_vector_have_no_topics_and_still_have_words():
    _, texts, topic = world()
    vectors = np.ones((N, 8), dtype=np.float32)
    [found] = find_clusters(vectors, failing(topic == 3), texts).clusters
    assert found.predicate == "'topicd'"


def test_zero_vectors_are_a_topic_like_any_other():
    vectors, texts, topic = world()
    vectors[topic == 4] = 0
    [found] = find_clusters(vectors, failing(topic == 4), texts).clusters
    assert f1(found, topic == 4) > 0.9


def test_equal_vectors_are_never_parted():
    vectors, texts, _ = world()
    doubled = np.concatenate([vectors, vectors])
    drawn = draw_regions(doubled, [*texts, *(f"{text} again" for text in texts)], seed=7)
    topics = [drawn.rows(place) for place in np.flatnonzero(drawn.kinds == 0)]
    assert len(topics) > 20
    assert all(set(rows % N) == set(rows[rows < N]) for rows in topics)


def test_empty_texts_have_no_words_to_be_named_by():
    vectors, texts, topic = world()
    texts = ["" if each == 3 else text for text, each in zip(texts, topic, strict=True)]
    [found] = find_clusters(vectors, failing(topic == 3), texts).clusters
    assert found.name.terms == ()


def test_one_vector_and_one_loss_for_each_text_are_asked_for(regions: Regions):
    with pytest.raises(ValueError, match="3 texts need as many vectors"):
        draw_regions(np.zeros((2, 4), np.float32), ["a", "b", "c"], seed=1)
    with pytest.raises(ValueError, match="600 texts need as many losses"):
        scan(regions, np.zeros(3), seed=1)


def test_the_smallest_topics_that_would_be_found_are_told(regions: Regions):
    losses = failing(np.zeros(N, dtype=bool))
    sentence = scan(regions, losses, seed=7).detectable
    assert sentence.startswith(f"With 600 queries (mean loss {losses.mean():.2f}), a topical ")
    expected = [losses.mean() + step / 3 * (1 - losses.mean()) for step in (2, 1)]
    sizes = [int(each) for each in re.findall(r"at least (\d+) queries", sentence)]
    assert 15 <= sizes[0] < sizes[1] <= 180
    assert all(f"with a mean loss of {each:.2f}" in sentence for each in expected)


def test_a_topic_of_the_size_that_is_told_is_found_four_times_in_five(regions: Regions):
    _, _, topic = world()
    inside = topic == 3
    found, losses = 0, np.zeros(0)
    for seed in range(25):
        rate = 0.2 + 0.34  # at which 50 of 600 are told to be enough
        draw = np.random.default_rng([4, seed])
        losses = (draw.random(N) < np.where(inside, rate, 0.2)).astype(float)
        searched = scan_regions(regions, losses, permutations=199, seed=seed).regions
        found += any(f1_of(each.members, inside) > 0.5 for each in searched)
    assert 0.6 <= found / 25 <= 1


def test_many_points_become_micro_clusters(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("harness.diagnosis.topics.LARGEST_TREE", 1000)
    monkeypatch.setattr("harness.diagnosis.topics.MICRO_CLUSTERS", 200)
    vectors, texts, topic = world(2400)
    [found] = find_clusters(vectors, failing(topic == 3), texts).clusters
    assert f1(found, topic == 3) > 0.95


def test_what_belongs_to_the_queries_shows_a_slice_that_their_own_vectors_do_not():
    vectors, texts, _ = world()
    kind = np.random.default_rng(5).integers(12, size=N)  # of document, whatever the topic
    documents, _, topic = world(seed=3)
    places = np.array([np.flatnonzero(topic == each)[0] for each in range(12)])[kind]
    beside = mean_beside(documents, np.arange(N), places, n=N)
    texts = [text.split()[1] for text in texts]
    losses = failing(kind == 4)
    alone = scan(draw_regions(vectors, texts, seed=7), losses, seed=7).clusters
    both = scan(draw_regions(vectors, texts, beside=beside, seed=7), losses, seed=7).clusters
    assert max((f1(each, kind == 4) for each in alone), default=0.0) < 0.5
    assert max(f1(each, kind == 4) for each in both) > 0.5


def test_the_mean_beside_a_text_is_that_of_its_unit_vectors():
    vectors = np.array([[2.0, 0], [0, 4]], dtype=np.float32)
    means = mean_beside(vectors, np.array([0, 0, 2]), np.array([0, 1, 1]), n=3)
    assert means.tolist() == [[0.5, 0.5], [0, 0], [0, 1]]


def test_smoothing_draws_neighbours_together():
    vectors, _, topic = world()
    points = points_of(vectors)
    before, after = points / np.linalg.norm(points, axis=1)[:, None], smooth(points, neighbours=5)
    spread = [
        np.mean([each[topic == one].std(axis=0).sum() for one in range(TOPICS)])
        for each in (before, after)
    ]
    assert spread[1] < 0.7 * spread[0]
