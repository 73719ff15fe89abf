"""Reading: training data from the suite's sources, with all problems reported at once."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple, TypeVar, get_args

from harness.collection import Collection
from harness.collection.columns import Choose, find_columns, lacking_columns, unnamed
from harness.collection.hub import open_split, place_of, rows_of
from harness.collection.reading import (
    BrokenInput,
    Record,
    excerpt,
    existing,
    number_of,
    read_lines,
    suffix_of,
    text_of,
    whole_number,
)
from harness.collection.tables import known_id, read_records
from harness.collection.texts import normalise
from harness.errors import ExitCode, HarnessError, did_you_mean
from harness.suite.inputs import Inputs
from harness.suite.spec import Suite
from harness.suite.training import Layout, TrainingSpec
from harness.training.data import Origin, Shape, TrainingData, distinct, merge

LAYOUTS: tuple[Layout, ...] = get_args(Layout)
# Which layout a Hugging Face dataset has, by its columns: the first whose columns are all there.
_GUESSED: tuple[Layout, ...] = (
    *("clicks", "triplets", "labelled", "scored", "pairs", "paraphrases", "texts"),
)
_STS_MOST = 5.0
_BINARY = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0}
_NLI = {
    **dict.fromkeys(("entailment", "e", "0"), "entailment"),
    **dict.fromkeys(("neutral", "n", "1"), "neutral"),
    **dict.fromkeys(("contradiction", "c", "2"), "contradiction"),
    **dict.fromkeys(("-", "-1", ""), "no label"),
}


_Label = TypeVar("_Label")


class NotAskedError(HarnessError):
    """Training data that a language model is to write first."""


class TrainingSources:
    """The data that a suite's recipes name, each read once.

    Args:
        suite: the question.
        inputs: its collections.
        asked: returns the queries that a language model wrote, by the name of their table; None
            while it was not asked.
    """

    def __init__(
        self, suite: Suite, inputs: Inputs, *, asked: Callable[[str], TrainingData | None]
    ) -> None:
        self._suite = suite
        self._inputs = inputs
        self._asked = asked
        self._read: dict[str, TrainingData] = {}

    def read(self, names: Iterable[str]) -> TrainingData:
        """Return the data of these names as one.

        Raises:
            NotAskedError: a language model is to be asked first.
            HarnessError: exit code 2 for a source of an unknown kind or shapes that do not mix, 3
                for data that cannot be read or are empty.
        """
        return merge([self._one(name) for name in names])

    def _one(self, name: str) -> TrainingData:
        if name not in self._read:
            collection, colon, split = name.partition(":")
            if colon:
                found = self._inputs.split(collection, split)
                source = self._suite.collections[collection].source
                self._read[name] = relevant_pairs(found, source=source)
            elif self._suite.training[name].passages_of is not None:
                asked = self._asked(name)
                if asked is None:
                    raise NotAskedError(
                        f"the queries of '{name}' are not generated yet; a run generates them "
                        "first.",
                        exit_code=ExitCode.DATA,
                    )
                self._read[name] = asked
            else:
                self._read[name] = read_training(
                    name,
                    self._suite.training[name],
                    place=self._suite.locate_source(self._suite.training[name].source),
                )
        return self._read[name]


def relevant_pairs(collection: Collection, *, source: str = "") -> TrainingData:
    """Return every query of a collection's split with each document judged relevant to it."""
    judged = collection.judgements
    chosen = (judged.grades >= 1) & (judged.documents >= 0)
    rows = zip(judged.queries[chosen].tolist(), judged.documents[chosen].tolist(), strict=True)
    pairs = [
        (collection.queries[query], collection.documents[document]) for query, document in rows
    ]
    origin = Origin(
        name=f"{collection.name}:{collection.split}",
        source=source,
        licence=collection.licence,
        read=len(pairs),
    )
    return distinct("pairs", pairs, origin=origin)


def read_training(name: str, spec: TrainingSpec, *, place: str | None = None) -> TrainingData:
    """Read a table of training data.

    Args:
        name: the suite's name of it.
        spec: the table.
        place: its source with a file that is located; None takes the source as it is.

    Raises:
        HarnessError: exit code 2 for a mistake in the table, 3 for data that are broken or empty.
    """
    kind, _, rest = (place or spec.source).partition(":")
    if problem := _spec_problem(spec, kind, rest):
        raise HarnessError(f"training data '{name}': {problem}", exit_code=ExitCode.USAGE)
    broken = BrokenInput()
    if kind == "hf":
        layout, records = _read_dataset(rest, spec, broken)
    else:
        layout = next(each for each in LAYOUTS if each == kind)
        records = list(_read_file(Path(rest).expanduser(), layout, spec, broken))
    data = None
    if records:
        chosen = records
        if kind != "hf" and spec.split is not None:
            chosen = [row for row in records if row.values["split"] == spec.split]
        elsewhere = len(records) - len(chosen)
        origin = Origin(
            name=name,
            source=spec.source,
            licence=spec.licence,
            synthetic=spec.synthetic,
            read=len(records),
            dropped={"in another split": elsewhere} if elsewhere else {},
        )
        if chosen:
            data = MEANINGS[layout].make(SourceRows(chosen, spec, origin, broken))
    broken.raise_if_any()
    if data is None or not len(data):
        dropped = data.origins[0].dropped if data is not None else {}
        reasons = ", ".join(f"{n} {reason}" for reason, n in dropped.items())
        raise HarnessError(
            f"{spec.source}: {len(records)} rows, but none is left to train on"
            f"{f' ({reasons})' if reasons else ''}. Check the file.",
            exit_code=ExitCode.DATA,
        )
    return data


def _spec_problem(spec: TrainingSpec, kind: str, rest: str) -> str:
    if kind != "hf" and kind not in LAYOUTS:
        return f"unknown kind of source {kind!r}.{did_you_mean(kind, [*LAYOUTS, 'hf'])}"
    if not rest:
        return f"source {spec.source!r} names nothing after the colon. Write '{kind}:<file>'."
    if spec.layout is not None and kind != "hf":
        return f"'layout' is for a Hugging Face dataset, and the source says '{kind}'. Remove it."
    if spec.min_clicks is not None and "clicks" not in {kind, spec.layout}:
        return f"'min_clicks' belongs to a click log, got '{kind}'. Write 'clicks:<file>'."
    if spec.header and suffix_of(Path(rest)) not in {".csv", ".tsv", ".txt"}:
        return "'columns' names those of a CSV or TSV file without a header line. Remove it."
    return _role_problem(spec, kind)


def _role_problem(spec: TrainingSpec, kind: str) -> str:
    """Return which of the columns that the suite names no layout of the source has."""
    layouts = [each for name, each in MEANINGS.items() if kind in {name, "hf"}]
    known = {name for each in layouts for name in (*each.needed, *each.optional)}
    for name in spec.said:
        if name not in {*known, "split"}:
            hint = did_you_mean(name, sorted({*known, "split"}))
            return f"'columns' of '{kind}' has no '{name}'.{hint}"
    return ""


def _read_file(
    path: Path, layout: Layout, spec: TrainingSpec, broken: BrokenInput
) -> Iterator[Record]:
    if layout == "texts" and suffix_of(path) == ".txt":
        lines = read_lines(existing(path), broken)
        return (Record(str(path), number, {"text": line}) for number, line in lines)
    choose = _places(layout, spec, broken)
    return read_records(path, broken, choose=choose, header=spec.header)


def _places(layout: Layout, spec: TrainingSpec, broken: BrokenInput) -> Choose:
    """Return the choice of the columns that the layout reads, by our names."""
    meaning = MEANINGS[layout]
    needed = (*meaning.needed, *(("split",) if spec.split is not None else ()))

    def choose(file: str, names: Sequence[str]) -> dict[str, str]:
        found = find_columns((*needed, *meaning.optional), names, spec.said)
        lacking = lacking_columns(needed, found, spec.said)
        if lacking:
            broken.add(file, unnamed(lacking, found, names, spec.said))
        return {
            name if len(columns) == 1 else f"{name}_{number}": column
            for name, columns in found.items()
            if not lacking
            for number, column in enumerate(columns, start=1)
        }

    return choose


def _read_dataset(
    identifier: str, spec: TrainingSpec, broken: BrokenInput
) -> tuple[Layout, list[Record]]:
    """Read a dataset of the Hugging Face hub, or a local folder of files in its layout."""
    place, file = place_of(identifier), f"hf:{identifier}"
    dataset = open_split(place, spec.split or "train")
    names = tuple(dataset.column_names)
    fitting = (
        each
        for each in _GUESSED
        if all(find_columns(MEANINGS[each].needed, names, spec.said).values())
    )
    if {"premise", "hypothesis", "label"} <= {name.lower() for name in names}:
        layout: Layout | None = spec.layout or "nli"
    else:
        layout = spec.layout or next(fitting, None)
    if layout is None:
        got = ", ".join(repr(name) for name in names)
        raise HarnessError(
            f'{file}: its columns fit no layout, got {got}. Say layout = "…", one of '
            f"{', '.join(repr(each) for each in LAYOUTS)}.",
            exit_code=ExitCode.DATA,
        )
    choose = _places(layout, spec.model_copy(update={"split": None}), broken)
    return layout, [*rows_of(file, dataset, choose)]


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
        """Return these columns of every row; a text that is absent is empty."""
        return [tuple(self.text(row, name) for name in names) for row in self.records]

    def text(self, row: Record, name: str) -> str:
        """Return a text of a row; one that is absent is empty."""
        return "" if row.values.get(name) is None else text_of(row, name, self.broken)

    def unfolded(self, *names: str) -> list[tuple[str, ...]]:
        """Return these columns of every row, a row for each way to take one text of every list."""
        found: list[tuple[str, ...]] = []
        for row in self.records:
            values = [row.values.get(name) for name in names]
            found += product(
                *(
                    [
                        self.text(row._replace(values={name: item}), name)
                        for item in (value if isinstance(value, list) else [value])
                    ]
                    for name, value in zip(names, values, strict=True)
                )
            )
        return found

    def number(
        self, row: Record, name: str, *, least: float = -math.inf, most: float = math.inf
    ) -> float:
        """Return a number of a row within its range; a problem is noted otherwise."""
        value = row.values.get(name)
        number = number_of(value)
        if number is not None and least <= number <= most:
            return number
        low = f" of {least:g} or more" if math.isinf(most) else f" from {least:g} to {most:g}"
        limits = "" if math.isinf(least) else low
        what = f"'{name}' must be a number{limits}, got {excerpt(value)}. Fix or remove the row."
        self.broken.add(row.file, what, line=row.line, cause=f"{name} no number")
        return 0.0

    def label(self, row: Record, known: Mapping[str, _Label], *, allowed: str) -> _Label | None:
        """Return what the label of a row means; a problem is noted for an unknown one."""
        value = row.values["label"]
        # pandas writes 1.0 for 1 where a row has none
        name = whole_number(value) or known_id(str(value).strip().lower(), _NLI)
        if name not in known:
            what = f"'label' must be {allowed}, got {excerpt(value)}. Fix or remove the row."
            self.broken.add(row.file, what, line=row.line, cause="label")
        return known.get(name)

    def made(
        self,
        shape: Shape,
        texts: Sequence[tuple[str, ...]],
        *,
        labels: Sequence[float] | None = None,
        dropped: Iterable[str] = (),
    ) -> TrainingData:
        """Return these texts as training data, with one dropped row for each reason."""
        lost = Counter(self.origin.dropped) + Counter(dropped)
        return distinct(shape, texts, origin=replace(self.origin, dropped=lost), labels=labels)


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


def _nli(rows: SourceRows) -> TrainingData:
    """Read inferences: what a premise entails is its positive, what contradicts it a negative.

    A premise with several of each gives as many triplets as the longer side has, each hypothesis
    used. One without both gives none.
    """
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    first: dict[str, str] = {}
    dropped: list[str] = []
    allowed = "'entailment', 'neutral' or 'contradiction' (or 0, 1, 2)"
    for row in rows.records:
        premise, hypothesis = rows.text(row, "premise"), rows.text(row, "hypothesis")
        label = rows.label(row, _NLI, allowed=allowed) or "no label"
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
    return rows.made("triplets", triplets, dropped=dropped)


def _clicks(rows: SourceRows) -> TrainingData:
    """Read a click log: the clicks of a pair are added up before the fewest are asked for."""
    clicks: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], tuple[str, str]] = {}
    for row, (query, document) in zip(rows.records, rows.texts("query", "document"), strict=True):
        n = rows.number(row, "clicks", least=0)
        if row.values.get("impressions") is not None:
            shown = rows.number(row, "impressions", least=0)
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
    return rows.made("pairs", kept, dropped=merged + few)


MEANINGS: Mapping[Layout, Meaning] = {
    "pairs": Meaning(
        ("query", "document"),
        lambda rows: rows.made("pairs", rows.unfolded("query", "document")),
    ),
    # FlagEmbedding's lists of negatives give a row for each way.
    "triplets": Meaning(
        ("query", "document", "negative"),
        lambda rows: rows.made(
            "triplets",
            rows.unfolded(
                "query",
                "document",
                *(name for name in rows.records[0].values if name.startswith("negative")),
            ),
        ),
    ),
    "scored": Meaning(
        ("sentence1", "sentence2", "score"),
        lambda rows: rows.made(
            "scored",
            rows.texts("sentence1", "sentence2"),
            labels=[rows.number(row, "score") for row in rows.records],
        ),
    ),
    "labelled": Meaning(
        ("sentence1", "sentence2", "label"),
        lambda rows: rows.made(
            "labelled",
            rows.texts("sentence1", "sentence2"),
            labels=[rows.label(row, _BINARY, allowed="0 or 1") or 0.0 for row in rows.records],
        ),
    ),
    "nli": Meaning(("premise", "hypothesis", "label"), _nli),
    "sts": Meaning(
        ("sentence1", "sentence2", "score"),
        lambda rows: rows.made(
            "scored",
            rows.texts("sentence1", "sentence2"),
            labels=[
                rows.number(row, "score", least=0.0, most=_STS_MOST) / _STS_MOST
                for row in rows.records
            ],
        ),
    ),
    "clicks": Meaning(("query", "document", "clicks"), _clicks, ("impressions",)),
    "paraphrases": Meaning(
        ("sentence1", "sentence2"),
        lambda rows: rows.made("pairs", rows.texts("sentence1", "sentence2")),
    ),
    "texts": Meaning(("text",), lambda rows: rows.made("texts", rows.texts("text"))),
}
