"""Layouts: what the rows of a file mean, and the training data that they become."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, get_args

from harness.collection.reading import BrokenInput, Record, excerpt, whole_number
from harness.collection.tables import known_id
from harness.collection.texts import normalise
from harness.suite.training import Layout, TrainingSpec
from harness.training.columns import number_at, text_at, unfolded
from harness.training.data import Origin, TrainingData, distinct

_STS_MOST = 5.0
_NLI = {
    **dict.fromkeys(("entailment", "e", "0"), "entailment"),
    **dict.fromkeys(("neutral", "n", "1"), "neutral"),
    **dict.fromkeys(("contradiction", "c", "2"), "contradiction"),
    **dict.fromkeys(("-", "-1", ""), "no label"),
}


class SourceRows(NamedTuple):
    """Rows of a source, their values by our names of the columns.

    Attributes:
        records: the rows; several negatives are ``negative_1``, ``negative_2``, …
        spec: the suite's table.
        origin: of the rows.
        broken: takes what is wrong with them.
    """

    records: Sequence[Record]
    spec: TrainingSpec
    origin: Origin
    broken: BrokenInput

    def texts(self, *names: str) -> list[tuple[str, ...]]:
        """Return these columns of every row."""
        return [tuple(text_at(row, name, self.broken) for name in names) for row in self.records]

    def dropping(self, reasons: Iterable[str]) -> Origin:
        """Return the origin with one dropped row for each reason."""
        return replace(self.origin, dropped=Counter(self.origin.dropped) + Counter(reasons))


class Meaning(NamedTuple):
    """How a layout is read.

    Attributes:
        needed: our names of the columns that must be there.
        optional: of those that may.
        make: turns the rows into training data.
    """

    needed: tuple[str, ...]
    make: Callable[[SourceRows], TrainingData]
    optional: tuple[str, ...] = ()


def _pairs(rows: SourceRows) -> TrainingData:
    pairs = [
        pair for row in rows.records for pair in unfolded(row, ("query", "document"), rows.broken)
    ]
    return distinct("pairs", pairs, origin=rows.origin)


def _paraphrases(rows: SourceRows) -> TrainingData:
    return distinct("pairs", rows.texts("sentence1", "sentence2"), origin=rows.origin)


def _triplets(rows: SourceRows) -> TrainingData:
    """Read a query, a positive and its negatives; FlagEmbedding's lists give a row for each way."""
    names = [name for name in rows.records[0].values if name.startswith("negative")]
    found = [
        row
        for record in rows.records
        for row in unfolded(record, ("query", "document", *names), rows.broken)
    ]
    return distinct("triplets", found, origin=rows.origin)


def _labelled(rows: SourceRows) -> TrainingData:
    labels = [_binary(row, rows.broken) for row in rows.records]
    sentences = rows.texts("sentence1", "sentence2")
    return distinct("labelled", sentences, origin=rows.origin, labels=labels)


def _scored(rows: SourceRows) -> TrainingData:
    scores = [number_at(row, "score", rows.broken) for row in rows.records]
    sentences = rows.texts("sentence1", "sentence2")
    return distinct("scored", sentences, origin=rows.origin, labels=scores)


def _sts(rows: SourceRows) -> TrainingData:
    """Read similarity judgements from 0 to 5 as scores from 0 to 1."""
    scores = [
        number_at(row, "score", rows.broken, least=0.0, most=_STS_MOST) / _STS_MOST
        for row in rows.records
    ]
    sentences = rows.texts("sentence1", "sentence2")
    return distinct("scored", sentences, origin=rows.origin, labels=scores)


def _nli(rows: SourceRows) -> TrainingData:
    """Read inferences: what a premise entails is its positive, what contradicts it a negative.

    A premise with several of each gives as many triplets as the longer side has, each hypothesis
    used. One without both gives none.
    """
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    first: dict[str, str] = {}
    dropped: list[str] = []
    for row in rows.records:
        premise = text_at(row, "premise", rows.broken)
        hypothesis = text_at(row, "hypothesis", rows.broken)
        label = _inference(row, rows.broken)
        if label in {"neutral", "no label"}:
            dropped.append(label)
        else:
            form = normalise(premise)
            first.setdefault(form, premise)
            groups[form][label].append(hypothesis)
    triplets: list[tuple[str, str, str]] = []
    for form, sides in groups.items():
        positives, negatives = sides["entailment"], sides["contradiction"]
        if not positives or not negatives:
            dropped += ["no entailment and contradiction of one premise"] * sum(
                map(len, sides.values())
            )
            continue
        triplets += [
            (first[form], positives[n % len(positives)], negatives[n % len(negatives)])
            for n in range(max(len(positives), len(negatives)))
        ]
    return distinct("triplets", triplets, origin=rows.dropping(dropped))


def _clicks(rows: SourceRows) -> TrainingData:
    """Read a click log: the clicks of a pair are added up before the fewest are asked for."""
    clicks: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], tuple[str, str]] = {}
    for row, (query, document) in zip(rows.records, rows.texts("query", "document"), strict=True):
        n = number_at(row, "clicks", rows.broken, least=0)
        if row.values.get("impressions") is not None:
            shown = number_at(row, "impressions", rows.broken, least=0)
            if n > shown:
                what = f"{n:g} clicks of {shown:g} impressions. Fix or remove the row."
                rows.broken.add(row.file, what, line=row.line, cause="clicks above impressions")
        form = (normalise(query), normalise(document))
        first.setdefault(form, (query, document))
        clicks[form] += n  # type: ignore[assignment]  # a sum of numbers, whole or not
    fewest = rows.spec.min_clicks or 1
    kept = [first[form] for form, n in clicks.items() if n >= fewest]
    merged = ["same pair, clicks added"] * (len(rows.records) - len(clicks))
    few = [f"fewer than {fewest} clicks"] * (len(clicks) - len(kept))
    return distinct("pairs", kept, origin=rows.dropping(merged + few))


def _texts(rows: SourceRows) -> TrainingData:
    return distinct("texts", rows.texts("text"), origin=rows.origin)


def _binary(row: Record, broken: BrokenInput) -> float:
    known = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0}
    label = known.get(_label(row))
    if label is None:
        got = excerpt(row.values["label"])
        what = f"'label' must be 0 or 1, got {got}. Fix or remove the row."
        broken.add(row.file, what, line=row.line, cause="label")
    return label or 0.0


def _inference(row: Record, broken: BrokenInput) -> str:
    label = _NLI.get(_label(row))
    if label is None:
        got = excerpt(row.values["label"])
        known = "'entailment', 'neutral' or 'contradiction' (or 0, 1, 2)"
        what = f"'label' must be {known}, got {got}. Fix or remove the row."
        broken.add(row.file, what, line=row.line, cause="label")
    return label or "no label"


def _label(row: Record) -> str:
    """Return a label in lower case; pandas writes 1.0 for 1 where a row has none."""
    value = row.values["label"]
    return whole_number(value) or known_id(str(value).strip().lower(), _NLI)


MEANINGS: Mapping[Layout, Meaning] = {
    "pairs": Meaning(("query", "document"), _pairs),
    "triplets": Meaning(("query", "document", "negative"), _triplets),
    "scored": Meaning(("sentence1", "sentence2", "score"), _scored),
    "labelled": Meaning(("sentence1", "sentence2", "label"), _labelled),
    "nli": Meaning(("premise", "hypothesis", "label"), _nli),
    "sts": Meaning(("sentence1", "sentence2", "score"), _sts),
    "clicks": Meaning(("query", "document", "clicks"), _clicks, ("impressions",)),
    "paraphrases": Meaning(("sentence1", "sentence2"), _paraphrases),
    "texts": Meaning(("text",), _texts),
}
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
