"""BM25: the lexical root."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from harness.suite.kinds.kind import Root

# Those of Snowball's stemmers; not all have stop words.
Language = Literal[
    "auto",
    "english",
    "none",
    "bigrams",
    "arabic",
    "armenian",
    "basque",
    "catalan",
    "czech",
    "danish",
    "dutch",
    "esperanto",
    "estonian",
    "finnish",
    "french",
    "german",
    "greek",
    "hindi",
    "hungarian",
    "indonesian",
    "irish",
    "italian",
    "lithuanian",
    "nepali",
    "norwegian",
    "persian",
    "polish",
    "portuguese",
    "romanian",
    "russian",
    "serbian",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
    "yiddish",
]


class Bm25(Root):
    """``kind = "bm25"``: the lexical root.

    Attributes:
        k1: of Lucene's formula; Lucene's default is 1.2.
        b: of Lucene's formula, with its default.
        language: chooses stemmer and stop words; "auto" detects it in each collection. "none" takes
            the words as they are. "bigrams" cuts scripts that write no spaces between words
            (Chinese, Japanese, Thai, …), and Korean, into pairs of characters, and takes all other
            words as they are.
    """

    word: ClassVar[str] = "bm25"
    can_search: ClassVar[bool] = True
    finds_by: ClassVar[Literal["words", "vectors"] | None] = "words"

    kind: Literal["bm25"]
    k1: float = Field(default=1.5, ge=0)
    b: float = Field(default=0.75, ge=0, le=1)
    language: Language = "auto"

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        language = "" if self.language in ("auto", "english", "none") else f", {self.language}"
        return f"BM25, k1 {self.k1:g}, b {self.b:g}{language}"


class KnownLanguage(Bm25):
    """The same, whose language is known: of English, the default, a key holds nothing."""

    language: Language = "english"
