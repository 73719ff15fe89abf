"""Columns: which column of a table holds what, under any of the names that are usual for it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType

from harness.collection.reading import BrokenInput, listed
from harness.errors import did_you_mean

# Given the file and the names of its columns, returns those to read by our names; notes a problem
# and returns none if they do not fit.
Choose = Callable[[str, Sequence[str]], dict[str, str]]
# Which column of a file holds what, by our name of it: what a user says in `columns = {…}`.
Said = Mapping[str, str]
# Our name of a column comes first, then what it is called elsewhere, the usual ones first.
NAMES: Mapping[str, tuple[str, ...]] = {
    "query": ("query", "anchor", "question", "search_term", "search_query", "query_text"),
    "document": (
        *("document", "positive", "pos", "answer", "passage", "response", "text"),
        *("document_text", "doc_text", "passage_text", "page_text"),
    ),
    "query_id": ("query_id", "qid", "q_id", "queryid"),
    "document_id": (
        *("document_id", "doc_id", "docid", "docno", "did", "corpus_id", "passage_id", "pid"),
    ),
    "grade": ("grade", "relevance", "rel", "judgement", "judgment", "rating"),
    "rank": ("rank", "position"),
    "negative": ("negative", "neg", "hard_negative", "negative_1"),
    "sentence1": ("sentence1", "sentence_1", "sentence_a", "text1", "question1", "anchor", "query"),
    "sentence2": (
        *("sentence2", "sentence_2", "sentence_b", "text2", "question2", "positive", "document"),
    ),
    "score": ("score", "similarity_score", "similarity", "sim", "relatedness_score", "label"),
    "distance": ("distance", "_distance", "dist"),
    "label": ("label", "labels", "gold_label", "is_duplicate"),
    "premise": ("premise", "sentence1"),
    "hypothesis": ("hypothesis", "sentence2"),
    "clicks": ("clicks", "click_count"),
    "impressions": ("impressions", "views"),
    "text": ("text", "sentence", "document", "passage", "content", "contents"),
    "split": ("split",),
}
KNOWN_NAMES = frozenset(name for names in NAMES.values() for name in names)
_IDS = ("_id", "id", "url")  # of documents or queries, in a file of nothing else
_NEGATIVE = re.compile(r"(hard_)?neg(ative)?_[0-9]+")


def columns(
    needed: Sequence[str],
    optional: Sequence[str],
    broken: BrokenInput,
    said: Said | None = None,
) -> Choose:
    """Return the choice of columns; an absent or double one is noted.

    Args:
        needed: our names of those that must be there.
        optional: of those that may.
        broken: takes the problems.
        said: as in `find_columns`; None where the user has no place to say it.
    """

    def choose(file: str, names: Sequence[str]) -> dict[str, str]:
        every = find_columns((*needed, *optional), names, said or {})
        found = {name: given[0] for name, given in every.items() if given}
        broken.doubts += _choices(file, found, names, said)
        lacking = lacking_columns(needed, every, said or {})
        twice = sorted({name for name in found.values() if list(names).count(name) > 1})
        if said is None:
            for name in lacking:
                broken.add(file, absent(name, names))
        elif lacking:
            broken.add(file, unnamed(lacking, every, names, said))
        for name in twice:
            broken.add(file, f"column {name!r} occurs twice. Rename one.")
        return {} if lacking or twice else found

    return choose


def _choices(
    file: str, found: dict[str, str], names: Sequence[str], said: Said | None
) -> Iterator[str]:
    """Yield where several columns could be the one that is meant."""
    for name, column in found.items():
        if name in (said or {}):
            continue
        others = [
            each for each in names if plain_name(each) in NAMES.get(name, ()) and each != column
        ]
        others = [each for each in others if each not in found.values()]
        if others and plain_name(column) != name:
            fix = f"Rename the right one to '{name}'."
            if said is not None:
                fix = f"If it is not, say columns = {{ {name} = {in_quotes(others[0])} }}."
            yield (
                f"{file}: {column!r} is read as the {name}, but {listed(others)} could be it, too. "
                f"{fix}"
            )


def judgement_columns(broken: BrokenInput) -> Choose:
    """Return the choice of the columns of judgements; a "score" or "label" may be the grade."""
    choose_any = columns(("query_id", "document_id"), ("grade", "score"), broken)

    def choose(file: str, names: Sequence[str]) -> dict[str, str]:
        found = choose_any(file, names)
        grade = found.pop("grade", None) or found.pop("score", None)
        if found and grade is None:
            broken.add(file, absent("grade", names))
        return {**found, "grade": grade} if found and grade is not None else {}

    return choose


def text_columns(
    side: str, more: Sequence[str], broken: BrokenInput, said: Said | None = None
) -> Choose:
    """Return the choice of an ``id`` and a ``text``, as BEIR calls them, of documents or queries.

    Args:
        side: "document" or "query".
        more: columns that are read where they are.
        broken: takes the problems.
        said: as in `columns`. It is said of another file too, where the id may have another name.
    """
    key = f"{side}_id"

    def choose(file: str, names: Sequence[str]) -> dict[str, str]:
        known = {plain_name(each): each for each in reversed(names)}
        ids = next((known[each] for each in (*NAMES[key], *_IDS) if each in known), key)
        usual = dict.fromkeys((side, "text", *NAMES[side], *NAMES["text"]))
        text = next((known[each] for each in usual if each in known), "text")
        if said is not None:
            text = said.get(side, text)
            ids = said[key] if said.get(key) in names else ids
            if text not in names:
                others = [each for each in names if each != ids]
                broken.add(file, unnamed([side], {side: []}, others, said))
                return {}
        found = columns((ids, text), more, broken)(file, names)
        return {{ids: "id", text: "text"}.get(name, name): each for name, each in found.items()}

    return choose


def plain_name(name: object) -> str:
    """Return the name of a column as names are compared: ``Query-ID`` is ``query_id``."""
    return re.sub(r"[\s-]+", "_", str(name).strip().lower())


def find_columns(
    wanted: Iterable[str], names: Sequence[str], said: Said = MappingProxyType({})
) -> dict[str, list[str]]:
    """Return the columns that hold what is wanted, by our name; one that is absent has none.

    A name that we do not know has no others. Only "negative" may have several columns. What the
    user says comes first, and a column that is said to be one thing is no other.

    >>> find_columns(["query", "negative"], ["Question", "negative_1", "negative_2"])
    {'query': ['Question'], 'negative': ['negative_1', 'negative_2']}
    >>> find_columns(["query", "document"], ["question", "text"], {"document": "question"})
    {'query': [], 'document': ['question']}
    """
    taken = set(said.values())
    lowered = {plain_name(name): name for name in reversed(names) if name not in taken}
    found: dict[str, list[str]] = {}
    for name in wanted:
        if name in said:
            found[name] = [said[name]] if said[name] in names else []
            continue
        exact = [name] if name in names and name not in taken else []
        usual = NAMES.get(name, (plain_name(name),))
        others = [lowered[other] for other in usual if other in lowered]
        found[name] = (exact or others)[:1]
    if "negative" in found:
        more = [name for low, name in lowered.items() if _NEGATIVE.fullmatch(low)]
        found["negative"] = sorted({*found["negative"], *more}, key=list(names).index)
    return found


def lacking_columns(
    needed: Iterable[str], found: Mapping[str, Sequence[str]], said: Said
) -> list[str]:
    """Return what is needed, or said to be in the file, and has no column there."""
    return [name for name in found if not found[name] and (name in needed or name in said)]


def unnamed(
    lacking: Sequence[str],
    found: Mapping[str, Sequence[str]],
    names: Sequence[str],
    said: Said,
) -> str:
    """Return the sentence for absent columns; it ends with the line of the suite that names them.

    Args:
        lacking: what has no column.
        found: the columns of everything that can be read, by our name, as `find_columns` tells.
        names: all columns of the file.
        said: as in `find_columns`.
    """
    if any(len(str(other).split()) > 3 for other in names):  # texts: the names are missing
        return absent(lacking[0], names)
    parts = []
    for name in lacking:
        usual = [f"'{other}'" for other in NAMES.get(name, ())[1:]]
        also = f" (or {', '.join(usual)})" if usual else ""
        parts.append(f"{said[name]!r} for '{name}'" if name in said else f"'{name}'{also}")
    line = columns_line(found, names, needed=lacking)
    return f"no column {' and no '.join(parts)}, got {listed(names)}. Say which is which: {line}"


def columns_line(
    found: Mapping[str, Sequence[str]], names: Sequence[str], *, needed: Iterable[str] = ()
) -> str:
    """Return ``columns = {…}`` as a suite could say it: what is found, and guesses for the rest.

    >>> log = ["search_term", "clicked_url", "page_text", "clicks", "timestamp"]
    >>> columns_line(find_columns(["query", "document", "document_id", "grade"], log), log)
    'columns = { query = "search_term", document = "page_text", document_id = "clicked_url", \
grade = "clicks" }'
    """
    chosen = {name: columns[0] for name, columns in found.items() if columns}
    left = [name for name in names if name not in chosen.values()]
    # An id before the text: "page_url" has a word of both.
    for name in sorted(found, key=lambda each: not each.endswith("_id")):
        likely = max(left, key=lambda each: _likeness(name, each), default="")
        if name not in chosen and likely and _likeness(name, likely):
            chosen[name] = likely
            left.remove(likely)
    for name in needed:
        if name not in chosen:
            chosen[name] = left.pop(0) if left else "…"
    said = ", ".join(f"{name} = {in_quotes(chosen[name])}" for name in found if name in chosen)
    return f"columns = {{ {said} }}"


# Words in the name of a column that tell what it holds.
_WORDS = {
    "query": "query|queries|question|search|term|keywords?|phrase|q",
    "document": "document|doc|text|page|content|body|passage|answer|article|product|item|snippet",
    "grade": "grade|clicks?|count|rating|label|score|relevance",
    "split": "split|fold|subset|partition",
    "clicks": "clicks?|count",
    "text": "text|content|body|sentence",
}
_ADDRESSES = frozenset({"url", "uri", "link", "href", "sku", "asin", "slug"})


def _likeness(name: str, column: str) -> int:
    """Return how well the name of a column fits what is meant; 0 where nothing speaks for it."""
    words = set(plain_name(column).split("_"))
    side = name.removesuffix("_id")
    known = sum(bool(re.fullmatch(_WORDS.get(side, side), word)) for word in words)
    if side != name:
        is_address = side == "document" and not words.isdisjoint(_ADDRESSES)
        return 1 + known if is_address or ("id" in words and known) else 0
    is_typo = bool(get_close_matches(plain_name(column), NAMES.get(name, (name,)), 1, 0.75))
    return 0 if words & {*_ADDRESSES, "id", "time", "date"} else known + is_typo


def in_quotes(text: str) -> str:
    """Return a text in quotes, as TOML has it."""
    return json.dumps(text, ensure_ascii=False)


def absent(name: str, names: Sequence[str]) -> str:
    """Return the sentence for a column that is not there under any of its names."""
    others = [f"'{other}'" for other in NAMES.get(name, ())[1:]]
    also = f" (or {', '.join(others)})" if others else ""
    hint = did_you_mean(name, names)
    fix = hint if "Did you mean" in hint else f" Rename the column to '{name}'."
    if any(len(str(other).split()) > 3 for other in names):  # texts: the names are missing
        fix = f"{fix} If the first line is data, add a header line."
    return f"no column '{name}'{also}, got {listed(names)}.{fix}"
