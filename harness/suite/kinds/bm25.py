"""BM25: the lexical root."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from harness.suite.kinds.kind import Root

# Those of Snowball's stemmers; not all have stop words.
Language = Literal[
    "english",
    "none",
    "bigrams",
    "arabic",
    "armenian",
    "basque",
    "catalan",
    "danish",
    "dutch",
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
        k1, b: as in Lucene.
        language: chooses stemmer and stop words; "none" takes the words as they are. "bigrams" cuts
            scripts that write no spaces between words (Chinese, Japanese, Thai, …), and Korean,
            into pairs of characters, and takes all other words as they are.
    """

    word: ClassVar[str] = "bm25"
    can_search: ClassVar[bool] = True
    finds_by: ClassVar[Literal["words", "vectors"] | None] = "words"

    kind: Literal["bm25"]
    k1: float = Field(default=1.5, ge=0)
    b: float = Field(default=0.75, ge=0, le=1)
    language: Language = "english"

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        return f"BM25, k1 {self.k1:g}, b {self.b:g}"

    @property
    def word_language(self) -> Language:
        """The language that chooses stemmer and stop words."""
        return self.language
