"""The map of the queries: what its colours, names and caption say, and what a cluster is worth."""

from __future__ import annotations

import numpy as np
import pytest
from diagnoses import candidate, cluster, finding

from harness.diagnosis.values import Topic
from reports import diagnosis_figures, diagnosis_tables, plots
from reports.failed import Failed

N = 400


def failed(n: int = N) -> Failed:
    draw = np.random.default_rng(0)
    return Failed(
        query_ids=tuple(f"q{row}" for row in range(n)),
        stages=("retrieved",) * n,
        ranks=np.ones(n, dtype=np.int64),
        losses=draw.random(n),
        misses=np.zeros(n, dtype=bool),
        reasons=((),) * n,
        places=draw.normal(size=(n, 2)),
        clusters=("",) * n,
    )


CLUSTERS = [
    cluster(key=f"c{number + 1}", title=f"about {number}", members=[f"q{number}", f"q{number + 9}"])
    for number in range(2)
]
TOPICS = [Topic(collection="small", title="treatments for …", n=90, x=9.0, y=9.0)]


def names(plot: plots.Plot) -> list[str]:
    return [each.text for each in plot.figure.layout.annotations]


def test_points_have_the_colour_of_their_metric_and_clusters_and_topics_their_names():
    rows = failed()
    colours = diagnosis_figures.metric_colours(1 - rows.losses, metric="ndcg@10")
    plot = plots.query_map(rows, colours, CLUSTERS, TOPICS, "c2")
    points = plot.figure.data[0]
    assert points.marker.color == pytest.approx((1 - rows.losses).round(3))
    assert sorted(points.customdata.tolist()) == list(range(N))
    assert any("c1 about 0" in text for text in names(plot))
    assert any("treatments for" in text for text in names(plot))
    assert plot.caption.startswith("Colours: ndcg@10. Boxes: clusters by topic")
    assert "the members of c2" in plot.caption


def test_a_cluster_has_one_look_on_the_map_and_in_the_table():
    plot = plots.query_map(failed(), None, CLUSTERS, [])
    drawn = {trace.name.split()[0]: trace.marker.color for trace in plot.figure.data}
    for number, each in enumerate(CLUSTERS):
        assert drawn[each.key] == diagnosis_figures.cluster_look(number)[0]


def test_the_caption_tells_only_what_is_drawn():
    rows = failed()
    colours = diagnosis_figures.metric_colours(1 - rows.losses, metric="ndcg@10")
    plot = plots.query_map(rows, colours, [], [])
    assert plot.caption == (
        "Colours: ndcg@10. Neighbours are alike; distances far apart mean little."
    )


def test_many_points_lie_on_shades_of_where_they_are_dense():
    rows = failed(2_500)
    colours = diagnosis_figures.metric_colours(1 - rows.losses, metric="ndcg@10")
    plot = plots.query_map(rows, colours, [], [])
    assert plot.figure.data[0].type == "contour"
    assert "Shades: where queries are many." in plot.caption


def test_few_queries_have_no_map():
    few = failed(150)
    assert not list(plots.losses(candidate(), few, "ndcg@10", []))


def test_a_cluster_says_what_to_do_and_what_it_is_worth():
    one = candidate(findings=[finding(lever="chunking", status="confirmed")])
    assert diagnosis_tables.advice(cluster(), one, "ndcg@10") == (
        "Split long documents into passages (the answer lies beyond the limit; measured on all "
        "queries: +0.023 ndcg@10). If it scored like the rest: +0.230 ndcg@10 overall."
    )
    tried = finding(reason="leak", lever="deduplicate", status="supported")
    untried = finding(
        reason="words", lever="fine-tune", status="supported", recoverable=None, title="Words"
    )
    both = candidate(findings=[tried, untried])
    strongest = cluster(reasons=["words", "leak"])
    assert diagnosis_tables.advice(strongest, both, "ndcg@10").startswith(
        "Fine-tune on pairs like these (words; its gain was not measured). If it scored"
    )
    refuted = candidate(findings=[finding(status="refuted")])
    assert diagnosis_tables.advice(cluster(), refuted, "ndcg@10").startswith(
        "Read its failures for what they share. If it"
    )
