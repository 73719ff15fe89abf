"""Slice worlds: queries of which a known slice fails, without any model.

Texts come in topics within super-topics, around a common mean as in most encoders; ten attributes
and a length are independent of them. A query outside the slice fails with a probability of its own,
0.25 on average, one inside with a stated one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from harness.diagnosis.regions import Ordered

Plant = Literal[
    "topic", "subtopic", "super", "attribute", "attribute x super", "two", "threshold", "none"
]
PLANTS: tuple[Plant, ...] = (
    "topic",
    "subtopic",
    "super",
    "attribute",
    "attribute x super",
    "two",
    "threshold",
)
_SUPERS, _TOPICS = 8, 45
_SUBSPACE, _DIMENSION = 40, 256
_NAMES = ("words", "about", "filler", "plain", "other", "common")


@dataclass(frozen=True, eq=False)
class World:
    """Queries with what is known about them.

    Attributes:
        vectors: float32 [n, dim].
        texts: each names its topic among other words.
        attributes: by name, bool [n], and one with an order.
        losses: float64 [n] of 0 and 1.
        slices: rows of each planted slice, bool [n] each.
        keywords: the word that names each slice, "" where texts do not.
    """

    vectors: Any
    texts: list[str]
    attributes: dict[str, Any]
    losses: Any
    slices: list[Any]
    keywords: list[str]


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries before anything fails; drawn once for several plants."""

    vectors: Any
    texts: list[str]
    attributes: dict[str, Any]
    topic: Any
    group: Any
    sub: Any


def queries(n: int, *, seed: int) -> Queries:
    """Draw the queries of one world."""
    draw = np.random.default_rng([seed, n])
    supers = draw.normal(size=(_SUPERS, _SUBSPACE))
    group_of = draw.integers(_SUPERS, size=_TOPICS)
    group_of[:_SUPERS] = np.arange(_SUPERS)
    centres = supers[group_of] + 0.7 * draw.normal(size=(_TOPICS, _SUBSPACE))
    topic = draw.choice(_TOPICS, size=n, p=draw.dirichlet(np.full(_TOPICS, 4.0)))
    sub = draw.random(n) < 0.35
    shifts = 0.6 * draw.normal(size=(_TOPICS, _SUBSPACE))
    points = centres[topic] + sub[:, None] * shifts[topic] + 0.35 * draw.normal(size=(n, _SUBSPACE))
    basis = np.linalg.qr(draw.normal(size=(_DIMENSION, _SUBSPACE)))[0]
    mean = 6 * draw.normal(size=_DIMENSION) / np.sqrt(_DIMENSION)
    vectors = mean + points @ basis.T + 0.05 * draw.normal(size=(n, _DIMENSION))
    prevalence = np.concatenate([[0.08, 0.12, 0.15], draw.uniform(0.05, 0.5, size=7)])
    attributes: dict[str, Any] = {
        f"attribute {number}": draw.random(n) < share for number, share in enumerate(prevalence)
    }
    # A draw of its own, so that the rest of a world is as it was without the length.
    lengths = np.random.default_rng([seed, n, 1]).lognormal(2.3, 0.45, size=n).round()
    attributes["length"] = Ordered(lengths, "a query of {}", "word")
    return Queries(
        vectors=vectors.astype(np.float32),
        texts=[_text(draw, *place) for place in zip(topic, group_of[topic], sub, strict=True)],
        attributes=attributes,
        topic=topic,
        group=group_of[topic],
        sub=sub,
    )


def plant(drawn: Queries, kind: Plant, *, p: float, seed: Sequence[int]) -> World:
    """Let a slice of the queries fail with probability `p`."""
    draw = np.random.default_rng([*seed, 7])
    slices, keywords = _slices(drawn, kind, draw)
    n = len(drawn.topic)
    chance = draw.beta(2, 6, size=n)
    for rows in slices:
        chance[rows] = p
    return World(
        vectors=drawn.vectors,
        texts=drawn.texts,
        attributes=drawn.attributes,
        losses=(draw.random(n) < chance).astype(np.float64),
        slices=slices,
        keywords=keywords,
    )


def _slices(drawn: Queries, kind: Plant, draw: Any) -> tuple[list[Any], list[str]]:
    sizes = np.bincount(drawn.topic, minlength=_TOPICS)
    subs = np.bincount(drawn.topic[drawn.sub], minlength=_TOPICS)
    topics = draw.permutation(np.flatnonzero((sizes >= 25) & (subs >= 25)))
    first, second = topics[:2].tolist()
    inside = drawn.group == draw.integers(_SUPERS)
    attribute = drawn.attributes[f"attribute {draw.integers(3)}"]  # of 8, 12 and 15%
    found: dict[Plant, tuple[list[Any], list[str]]] = {
        "topic": ([drawn.topic == first], [_topic_word(first)]),
        "subtopic": ([(drawn.topic == first) & drawn.sub], [_sub_word(first)]),
        "super": ([inside], [_group_word(int(drawn.group[inside][0]))]),
        "attribute": ([attribute], [""]),
        "attribute x super": ([_within(drawn, inside, draw)], [""]),
        "two": (
            [drawn.topic == first, drawn.topic == second],
            [_topic_word(first), _topic_word(second)],
        ),
        "threshold": ([_beyond(drawn.attributes["length"].values, draw)], [""]),
        "none": ([], []),
    }
    return found[kind]


def _beyond(lengths: Any, draw: Any) -> Any:
    """Return the shortest or the longest queries, 2 to 12% of them."""
    share = draw.uniform(0.02, 0.12)
    if draw.random() < 0.5:
        return lengths <= np.quantile(lengths, share)
    return lengths >= np.quantile(lengths, 1 - share)


def _within(drawn: Queries, inside: Any, draw: Any) -> Any:
    """Return the queries inside a super-topic that have one attribute, 25 or more of them."""
    flags_of = [each for each in drawn.attributes.values() if not isinstance(each, Ordered)]
    both = [flags & inside for flags in flags_of]
    fit = [rows for rows in both if rows.sum() >= 25]
    return fit[draw.integers(len(fit))]


def _text(draw: Any, topic: int, group: int, sub: bool) -> str:  # noqa: FBT001
    words = [*draw.choice(_NAMES, size=4), *(f"w{each}" for each in draw.integers(300, size=3))]
    words += [word for word in (_topic_word(topic), _group_word(group)) if draw.random() < 0.7]
    words += [_sub_word(topic)] if sub and draw.random() < 0.7 else []
    return " ".join(draw.permutation(words))


def _topic_word(topic: int) -> str:
    return f"topic{chr(97 + topic // 26)}{chr(97 + topic % 26)}"


def _sub_word(topic: int) -> str:
    return f"sub{chr(97 + topic // 26)}{chr(97 + topic % 26)}"


def _group_word(group: int) -> str:
    return f"super{chr(97 + group)}"
