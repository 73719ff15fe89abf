"""Titles: does one read from a cluster's title alone which intent its questions have?

Two collections of short questions with labelled intents: banking77 (its test split) and CLINC150
(Larson et al. 2019, CC BY 3.0; its test split), whose data_full.json, from
https://github.com/clinc/oos-eval, is the first argument. In each repetition two intents fail, as in
`banking77.py`; what the scan finds of them is named. Every title is judged by hand against
the intent's name, in banking77_titles.csv and clinc150_titles.csv: yes where one reads this intent
from the title alone and could not take it for another of the collection; no for a part of it, a
wider theme, and a neighbour's. The parameters of titles were set on banking77 and on the training
questions of five of the ten domains of CLINC150; two rules were checked on the other five.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from pathlib import Path

import banking77
import numpy as np
from banking77 import QUESTIONS, SEED, SPACES, Questions

from harness.diagnosis.regions import draw_regions

HERE = Path(__file__).parent
TABLE = HERE / "titles.md"
NAMED_IN = ("all-MiniLM-L6-v2", "potion-base-8M, static")
MUST_HOLD = 0.9
DASHES = "|" + " --- |" * 4


def clinc(path: Path) -> Questions:
    """Read the questions of the test split that have an intent."""
    rows = json.loads(path.read_text("utf-8"))["test"]
    names, intents = np.unique([intent for _, intent in rows], return_inverse=True)
    return Questions([text for text, _ in rows], intents, names.tolist())


def titles(questions: Questions, space: str) -> list[tuple[str, str]]:
    """Return the intent and the title of every planted intent that is found."""
    vectors = banking77.encode(questions.texts, SPACES[space])
    regions = draw_regions(vectors, questions.texts, seed=SEED)
    return banking77.score(questions, regions, p=0.75).titles


def write_list(path: Path, found: list[tuple[str, str, str]]) -> Counter[tuple[str, str]]:
    """Write (space, intent, title) to be judged, and count (space, judgement).

    Judgements of the same intent and title stay.
    """
    judged = {}
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as lines:
            judged = {(row["intent"], row["title"]): row["judged"] for row in csv.DictReader(lines)}
    counts: Counter[tuple[str, str]] = Counter()
    with path.open("w", encoding="utf-8", newline="") as sink:
        writer = csv.writer(sink, lineterminator="\n")
        writer.writerow(["space", "intent", "title", "judged"])
        for space, intent, title in sorted(found):
            judgement = judged.get((intent, title), "")
            counts[space, judgement] += 1
            writer.writerow([space, intent, title, judgement])
    return counts


def row(name: str, space: str, counts: Counter[tuple[str, str]]) -> str:
    """Return the row of the table for a collection and a neutral space."""
    yes, no, left = (counts[space, said] for said in ("yes", "no", ""))
    held = f"{yes} = {yes / max(1, yes + no):.0%}"
    return f"| {name} | {space} | {yes + no + left} of 60 | {held} |"


def page(lines: list[str]) -> str:
    """Return the page that is kept beside the benchmark."""
    about = " ".join((__doc__ or "").split())
    head = ["| collection | neutral space | intents found | title holds the intent |", DASHES]
    text = f"# Titles\n\nWritten by `python benchmarks/titles.py data_full.json`. {about}\n\n"
    return text + "\n".join([*head, *lines]) + "\n"


def main() -> None:
    """Write both lists and the table; fail where a title is not judged, or too few hold."""
    collections = {}
    if QUESTIONS.is_file():
        collections["banking77"] = banking77.read_questions(QUESTIONS)
    if sys.argv[1:]:
        collections["clinc150"] = clinc(Path(sys.argv[1]))
    lines, problems = [], []
    for name, questions in collections.items():
        found = [(space, *each) for space in NAMED_IN for each in titles(questions, space)]
        counts = write_list(HERE / f"{name}_titles.csv", found)
        for space in NAMED_IN:
            lines.append(row(name, space, counts))
            print(lines[-1], flush=True)
            yes, no = counts[space, "yes"], counts[space, "no"]
            if counts[space, ""]:
                problems.append(f"{name}, {space}: {counts[space, '']} titles are not judged")
            elif yes < MUST_HOLD * (yes + no):
                problems.append(f"{name}, {space}: {yes} of {yes + no} titles hold the intent")
    if len(collections) == 2:
        TABLE.write_text(page(lines), "utf-8")
    if problems:
        raise SystemExit("; ".join(problems))


if __name__ == "__main__":
    main()
