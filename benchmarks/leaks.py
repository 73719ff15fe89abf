"""Plant rewritten scored queries among clean training rows, and count what the leak guard catches.

Run: python benchmarks/leaks.py DATA, a folder with the BEIR collections scifact, pubmedqa, medquad
and xquad/en, es, de. Writes leaks.md. Clean splits are counted too, and how long 200,000 made rows
against 5,000 queries take.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from harness.collection import Collection, Judgements
from harness.training.leaks import Leak, find_leaks

PLANTED = 400
SHOWN = 8
WORDS, OFFSET = 100_000, 3  # of the made language
Change = Callable[[str, np.random.Generator], str]


class Pairs(NamedTuple):
    """Judged pairs as texts, with the id of the document."""

    queries: list[str]
    documents: list[str]
    ids: list[str]

    def of_articles(self, articles: set[str]) -> Pairs:
        """Return the pairs whose document is of some articles."""
        rows = [row for row, key in enumerate(self.ids) if key.split("-")[0] in articles]
        return Pairs(*([side[row] for row in rows] for side in self))


def read_pairs(folder: Path, split: str) -> Pairs:
    """Read the judged pairs of a split."""

    def texts(name: str) -> dict[str, str]:
        with (folder / name).open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        return {str(r["_id"]): f"{r.get('title') or ''} {r['text']}".strip() for r in rows}

    queries, documents = texts("queries.jsonl"), texts("corpus.jsonl")
    judged = pd.read_csv(folder / "qrels" / f"{split}.tsv", sep="\t", dtype=str)
    judged = judged[judged["score"].astype(float) > 0]
    return Pairs(
        [queries[key] for key in judged["query-id"]],
        [documents[key] for key in judged["corpus-id"]],
        list(judged["corpus-id"]),
    )


def scored(pairs: Pairs) -> Collection:
    """Return pairs as a collection that models are scored on."""
    queries, documents = list(dict.fromkeys(pairs.queries)), list(dict.fromkeys(pairs.documents))
    places = {text: row for row, text in enumerate(queries)}
    pages = {text: row for row, text in enumerate(documents)}
    both = zip(pairs.queries, pairs.documents, strict=True)
    judged = sorted({(places[query], pages[document]) for query, document in both})
    rows, columns = (np.array(side, dtype=np.int32) for side in zip(*judged, strict=True))
    return Collection(
        name="planted",
        split="test",
        document_ids=tuple(f"d{row:07}" for row in range(len(documents))),
        documents=tuple(documents),
        query_ids=tuple(f"q{row:07}" for row in range(len(queries))),
        queries=tuple(queries),
        judgements=Judgements(rows, columns, np.ones(len(rows), dtype=np.int32)),
    )


# ---------------------------------------------------------------------------------- the changes


def around(before: str, after: str = "") -> Change:
    """Return a change that puts texts around a query."""
    return lambda text, _: f"{before}{text}{after}"


def one_of(*changes: Change) -> Change:
    """Return a change that draws another change."""
    return lambda text, rng: changes[int(rng.integers(len(changes)))](text, rng)


def in_word(change: Change, *, longest: bool) -> Change:
    """Return a change of the longest word, or of any of three letters or more."""

    def changed(text: str, rng: np.random.Generator) -> str:
        words = text.split()
        fit = [row for row, word in enumerate(words) if len(word) > 2 and word.isalpha()]
        if not fit:
            return text
        row = max(fit, key=lambda r: len(words[r])) if longest else int(rng.choice(fit))
        words[row] = change(words[row], rng)
        return " ".join(words)

    return changed


def typo(word: str, rng: np.random.Generator) -> str:
    """Swap two letters, leave one out, double one or exchange one."""
    at = int(rng.integers(1, len(word) - 1))
    match int(rng.integers(4)):
        case 0:
            return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        case 1:
            return word[:at] + word[at + 1 :]
        case 2:
            return word[: at + 1] + word[at:]
        case _:
            return word[:at] + "abcdefghijklmnopqrstuvwxyz"[int(rng.integers(26))] + word[at + 1 :]


def sprinkled(signs: str, letters: str) -> Change:
    """Return a change that puts a sign behind letters."""
    return lambda text, rng: "".join(
        c + (signs[int(rng.integers(len(signs)))] if c.lower() in letters else "") for c in text
    )


def shuffled(text: str, rng: np.random.Generator) -> str:
    """Put the words into another order."""
    return " ".join(rng.permutation(text.split()))


def renumbered(text: str, rng: np.random.Generator) -> str:
    """Ask about another year."""
    return f"{text.rstrip(' ?.')} in {1990 + int(rng.integers(30))}?"


def thinned(text: str, _: np.random.Generator) -> str:
    """Leave the first function word out."""
    words = text.split()
    small = {"the", "a", "of", "in", "is", "are", "la", "el", "de", "der", "die", "das"}
    at = next((row for row, word in enumerate(words) if word.lower() in small), None)
    return text if at is None else " ".join(words[:at] + words[at + 1 :])


CHANGES: dict[str, Change] = {
    "exact": around(""),
    "case, space, punctuation": lambda text, _: f"  {text.upper()} !",
    "word order": shuffled,
    "accents": sprinkled("\u0301\u0308\u0327", "aeiounc"),
    "zero-width joiners, soft hyphens": sprinkled("\u200d\u200b\u00ad\u2060\ufeff", "aeiou"),
    "short prompts": one_of(
        around("query: "), around("search_query: "), around("Q: "), around("task: search | query: ")
    ),
    "instruction prompts": one_of(
        around(
            "Instruct: Given a web search query, retrieve relevant passages that answer the "
            "query\nQuery: "
        ),
        around("Represent this sentence for searching relevant passages: "),
        around("Given a question, retrieve documents that help to answer it. Question: "),
        around("<|user|> Find the text that answers the following. ", " <|assistant|>"),
    ),
    "polite wrappers": one_of(
        around("Could you please tell me: "),
        around("I would like to know ", ", thanks"),
        around("Hi, ", " Many thanks in advance!"),
        around("My manager wants an answer by Friday. ", " Any pointers?"),
        around("Does anyone here know: ", " Cheers, Sam"),
        around("Good morning! A colleague asked me this: "),
        around("Sorry to bother you again - ", " Thank you so much for your help"),
    ),
    "polite wrappers, es": one_of(
        around("Hola, \u00bfpodr\u00eda decirme por favor: ", " Muchas gracias"),
        around("Quisiera saber lo siguiente: "),
    ),
    "polite wrappers, de": one_of(
        around("Hallo, k\u00f6nnen Sie mir bitte sagen: ", " Vielen Dank im Voraus"),
        around("Eine kurze Frage an alle: "),
    ),
    "function word left out": thinned,
    "typo in the longest word": in_word(typo, longest=True),
    "typo in any word": in_word(typo, longest=False),
    "plural of the longest word": in_word(lambda word, _: f"{word}s", longest=True),
    "plural of any word": in_word(lambda word, _: f"{word}s", longest=False),
    "prompt, wrapper and typo": lambda text, rng: (
        f"Query: could you tell me {in_word(typo, longest=True)(text, rng)} Thanks!"
    ),
}


# --------------------------------------------------------------------------------- the counting


def caught(clean: Pairs, test: Pairs, change: Change, *, seed: int = 7) -> str:
    """Return the shares of planted rows found, in per cent: with another document, the same."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(test.queries), min(PLANTED, len(test.queries)), replace=False)
    planted = [change(test.queries[row], rng) for row in rows]
    others = rng.permutation(len(clean.documents))[np.arange(len(rows)) % len(clean.documents)]
    documents = [clean.documents[row] for row in others] + [test.documents[row] for row in rows]
    found = find_leaks(
        [*clean.queries, *planted, *planted], [*clean.documents, *documents], scored(test)
    )
    every = len(clean.queries) + 2 * len(rows)
    hits = np.bincount([leak.row for leak in found], minlength=every) > 0
    other, same = hits[len(clean.queries) :].reshape(2, -1).mean(axis=1)
    return f"{100 * other:.0f} / {100 * same:.0f}"


def false_years(clean: Pairs, test: Pairs) -> float:
    """Return the share of rows found that differ from a scored query in the year alone."""
    rng = np.random.default_rng(3)
    asked = test._replace(queries=[renumbered(text, rng) for text in test.queries])
    other = [
        text[:-5] + str(int(text[-5:-1]) + 31) + "?" if text[-5:-1].isdigit() else text
        for text in asked.queries[:PLANTED]
    ]
    found = find_leaks(
        [*clean.queries, *other], [*clean.documents, *clean.documents[: len(other)]], scored(asked)
    )
    return 100 * sum(leak.row >= len(clean.queries) for leak in found) / len(other)


def splits(data: Path) -> Iterator[tuple[str, Pairs, Pairs]]:
    """Yield names, rows to train on and rows that are scored, of splits that share no document."""
    for language in ("en", "es", "de"):
        pairs = read_pairs(data / "xquad" / language, "test")
        pages = list(dict.fromkeys(key.split("-")[0] for key in pairs.ids))
        sides = [pairs.of_articles(set(pages[start::2])) for start in (0, 1)]
        yield f"xquad/{language} by article", sides[0], sides[1]
    for name, one in (("medquad", "train"), ("scifact", "train"), ("pubmedqa", "dev")):
        folder = data / name
        yield f"{name}, {one} and test", read_pairs(folder, one), read_pairs(folder, "test")


def made(rows: int, *, seed: int) -> Pairs:
    """Return questions of words as common as those of a language, with documents."""
    rng = np.random.default_rng(seed)
    spelt = np.random.default_rng(0)  # one language for all
    names = [
        "".join(chr(97 + n) for n in spelt.integers(26, size=4 + row % 7)) for row in range(WORDS)
    ]

    def texts(words: int) -> list[str]:
        # Zipf's law with Mandelbrot's offset, by its inverse distribution.
        drawn = (WORDS ** rng.random((rows, words)) * OFFSET).astype(int) % WORDS
        return [" ".join(names[n] for n in row) for row in drawn]

    return Pairs(texts(9), texts(40), [str(row) for row in range(rows)])


def timed(train: Pairs, collection: Collection) -> tuple[float, tuple[Leak, ...]]:
    """Return the seconds of CPU that a search takes, and what it finds."""
    start = time.process_time()
    found = find_leaks(train.queries, train.documents, collection)
    return time.process_time() - start, found


def main(data: Path) -> None:
    """Print and write the tables."""
    named = list(splits(data))
    lines = [
        "# What the leak guard catches",
        "",
        f"{PLANTED} scored queries, rewritten, among rows of",
    ]
    lines[-1] += " another split; share found, in per cent, with another document / with the same."
    planted = [each for each in named if each[0].split()[0].rstrip(",") != "medquad"]
    lines += ["", "| change | " + " | ".join(name for name, *_ in planted) + " |"]
    lines += ["| --- |" + " ---: |" * len(planted)]
    for changed, change in CHANGES.items():
        cells = [caught(one, two, change) for _, one, two in planted]
        lines.append(f"| {changed} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    cells = [f"{false_years(one, two):.0f}" for _, one, two in planted]
    lines.append("| **false alarms**: another year | " + " | ".join(cells) + " |")
    lines += ["", "| split | training rows | scored queries | rows found | seconds of CPU |"]
    lines += ["| --- | ---: | ---: | ---: | ---: |"]
    for name, one, two in [*named, ("made", made(200_000, seed=1), made(5_000, seed=2))]:
        collection = scored(two)
        seconds, found = timed(one, collection)
        sizes = f"{len(one.queries):,} | {len(collection.queries):,} | {len(found)}"
        lines.append(f"| {name} | {sizes} | {seconds:.1f} |")
        print(lines[-1], flush=True)
        for leak in found[:SHOWN]:  # to be read: are they the same question?
            print(f"    {leak.how}: {leak.text[:90]!r} = {collection.queries[leak.query][:90]!r}")
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
