"""Two things every source and check must do alike: compare texts, and put them into splits."""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata

_MARKUP = re.compile(r"[<&*_#`\[~]")
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,1000}>|<!--.*?-->", re.DOTALL)
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*\)")
_MARKDOWN = re.compile(r"^#{1,6}\s|\*{1,3}|`{1,3}|~~", re.MULTILINE)
_UNDERSCORED = re.compile(r"(?<!\w)(_{1,3})(?=\S)([^_\n]+)(?<=\S)\1(?!\w)")


def normalise(text: str) -> str:
    r"""Return the text as we compare it: NFKC, casefolded, runs of whitespace as one space.

    >>> normalise("  What is\tX? ") == normalise("what is x?")
    True
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def without_markup(text: str) -> str:
    r"""Return the text without HTML's tags and entities and Markdown's signs.

    >>> without_markup("<p>Reset **the** [page](a.html) &amp; go</p>").split()
    ['Reset', 'the', 'page', '&', 'go']
    """
    if not _MARKUP.search(text):
        return text
    text = html.unescape(_TAG.sub(" ", text))
    return _UNDERSCORED.sub(r"\2", _MARKDOWN.sub("", _LINK.sub(r"\1", text)))


def visible_id(text: str) -> str:
    """Return an id as a reader sees it: NFC, without zero-width characters and outer white space.

    >>> visible_id(" cafe\u0301\u200b") == visible_id("caf\u00e9")
    True
    """
    if text.isascii() and text.split() == [text]:
        return text
    kept = "".join(each for each in text if unicodedata.category(each) != "Cf")
    return " ".join(unicodedata.normalize("NFC", kept).split())


def has_space(text: str) -> bool:
    """Tell whether an id contains white space, which separates the fields of a TREC file."""
    return text.split() != [text]


def stable_split(text: str, *, train_percent: int, dev_percent: int) -> str:
    """Return ``train``, ``dev`` or ``test`` by a hash of the text alone, on every machine the same.

    Python's own ``hash`` differs from process to process.

    >>> stable_split("json", train_percent=67, dev_percent=6)
    'train'
    """
    body = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    percent = int.from_bytes(body, "big") % 100
    if percent < train_percent:
        return "train"
    return "dev" if percent < train_percent + dev_percent else "test"
