"""Clusters: planted slices are found, noise is not."""

from __future__ import annotations

import numpy as np
import pytest

from harness.diagnosis.clusters import find_clusters


def world(n: int = 600, *, topics: int = 12, seed: int = 1):
    """Return vectors around topics, texts that name them, and the topic of each."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(topics, 24))
    topic = np.arange(n) % topics
    vectors = centres[topic] + 0.3 * draw.normal(size=(n, 24))
    texts = [f"topic{chr(97 + each)} item {draw.integers(1000)}" for each in topic]
    return vectors.astype(np.float32), texts, topic


def test_a_topic_that_fails_is_found_with_its_members_and_its_name():
    vectors, texts, topic = world()
    losses = np.where(topic == 3, 0.9, 0.1) + np.random.default_rng(2).uniform(-0.1, 0.1, 600)
    found = find_clusters(vectors, losses, texts, seed=7)
    assert len(found.clusters) == 1
    assert set(topic[found.clusters[0].members]) == {3}
    assert found.clusters[0].label[0] == "topicd"
    assert found.clusters[0].impact == pytest.approx(losses.mean() - losses[topic != 3].mean())
