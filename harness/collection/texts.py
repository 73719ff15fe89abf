"""Two things every source and check must do alike: compare texts, and put them into splits."""

from __future__ import annotations

import hashlib
import unicodedata


def normalise(text: str) -> str:
    r"""Return the text as we compare it: NFKC, casefolded, runs of whitespace as one space.

    >>> normalise("  What is\tX? ") == normalise("what is x?")
    True
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


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
