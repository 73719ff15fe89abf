"""Reading: training data from the suite's sources, with everything that is wrong told at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.collection import Collection
from harness.collection.reading import BrokenInput, Record, existing, read_lines, suffix_of
from harness.collection.tables import Choose, absent, find_columns, read_records, renamed
from harness.errors import ExitCode, HarnessError, did_you_mean
from harness.suite.inputs import Inputs
from harness.suite.spec import Suite
from harness.suite.training import Layout, TrainingSpec
from harness.training.data import Origin, TrainingData, distinct, merge
from harness.training.layouts import LAYOUTS, MEANINGS, SourceRows

# Which layout a Hugging Face dataset has, by its columns: the first whose columns are all there.
_GUESSED: tuple[Layout, ...] = (
    *("clicks", "triplets", "labelled", "scored", "pairs", "paraphrases", "texts"),
)


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
                for data that can not be read or are empty.
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
                        f"the queries of '{name}' are not asked for yet; a run asks first.",
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
    problem = _spec_problem(spec, kind, rest)
    if problem:
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
            f"{spec.source}: {len(records)} rows, and none is left to train on"
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
    if spec.columns and suffix_of(Path(rest)) not in {".csv", ".tsv", ".txt"}:
        return "'columns' names those of a CSV or TSV file without a header line. Remove it."
    return ""


def _read_file(
    path: Path, layout: Layout, spec: TrainingSpec, broken: BrokenInput
) -> Iterator[Record]:
    if layout == "texts" and suffix_of(path) == ".txt":
        lines = read_lines(existing(path), broken)
        return (Record(str(path), number, {"text": line}) for number, line in lines)
    choose = _places(layout, spec, broken)
    return read_records(path, broken, choose=choose, header=spec.columns)


def _places(layout: Layout, spec: TrainingSpec, broken: BrokenInput) -> Choose:
    """Return the choice of the columns that the layout reads, by our names."""
    meaning = MEANINGS[layout]
    needed = (*meaning.needed, *(("split",) if spec.split is not None else ()))

    def choose(file: str, names: Sequence[str]) -> dict[str, str]:
        found = find_columns((*needed, *meaning.optional), names)
        lacking = [name for name in needed if not found[name]]
        for name in lacking:
            broken.add(file, absent(name, names))
        return {} if lacking else dict(_numbered(found))

    return choose


def _numbered(found: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    for name, columns in found.items():
        for number, column in enumerate(columns, start=1):
            yield (name if len(columns) == 1 else f"{name}_{number}"), column


def _read_dataset(
    identifier: str, spec: TrainingSpec, broken: BrokenInput
) -> tuple[Layout, list[Record]]:
    """Read a dataset of the Hugging Face hub, or a local folder of files in its layout."""
    dataset = _load_dataset(identifier, spec.split or "train")
    names = tuple(dataset.column_names)
    layout = spec.layout or _guessed(names)
    file = f"hf:{identifier}"
    if layout is None:
        got = ", ".join(repr(name) for name in names)
        raise HarnessError(
            f'{file}: its columns fit no layout, got {got}. Say layout = "…", one of '
            f"{', '.join(repr(each) for each in LAYOUTS)}.",
            exit_code=ExitCode.DATA,
        )
    choose = _places(layout, spec.model_copy(update={"split": None}), broken)
    rows = (Record(file, number, row) for number, row in enumerate(dataset, start=1))
    return layout, [*renamed(rows, choose)]


def _load_dataset(identifier: str, split: str) -> Any:
    from datasets import load_dataset

    parts = identifier.split("/")
    subset = "/".join(parts[2:]) if len(parts) > 2 and not Path(identifier).exists() else None
    path = identifier if subset is None else "/".join(parts[:2])
    try:
        return load_dataset(path, name=subset, split=split)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise HarnessError(
            f"hf:{identifier}: can not be loaded ({reason}). Check the id, its subset and split, "
            "and the network; or save it as a file and name that.",
            exit_code=ExitCode.DATA,
        ) from error


def _guessed(names: Sequence[str]) -> Layout | None:
    lowered = {name.lower() for name in names}
    if {"premise", "hypothesis", "label"} <= lowered:
        return "nli"
    for layout in _GUESSED:
        if all(find_columns(MEANINGS[layout].needed, names).values()):
            return layout
    return None
