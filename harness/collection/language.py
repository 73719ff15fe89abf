"""Language: what a collection is written in, from a sample of its documents."""

from __future__ import annotations

import math
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from harness.errors import ExitCode, HarnessError

# Scripts without spaces between words: Thai, Lao, Tibetan, Burmese, Khmer, kana, Han.
UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_IS_UNSPACED = re.compile(f"[{UNSPACED}]")
_NO_LANGUAGE = "zxx"  # such as made-up words
_KOREAN = "ko"  # spaces stand between words with their particles, which only pairs take apart
_MOST_UNSPACED = 0.1
_SAMPLED = 200  # documents
_READ = 400  # characters of each
_SURE = 0.9  # probability of a document's language, below which it tells nothing
_MAJORITY = 0.6

# ISO 639-1 codes of the languages that Snowball has a stemmer for.
_STEMMED = {
    "ar": "arabic",
    "hy": "armenian",
    "eu": "basque",
    "ca": "catalan",
    "cs": "czech",
    "da": "danish",
    "nl": "dutch",
    "en": "english",
    "eo": "esperanto",
    "et": "estonian",
    "fi": "finnish",
    "fr": "french",
    "de": "german",
    "el": "greek",
    "hi": "hindi",
    "hu": "hungarian",
    "id": "indonesian",
    "ga": "irish",
    "it": "italian",
    "lt": "lithuanian",
    "ne": "nepali",
    "nb": "norwegian",
    "nn": "norwegian",
    "no": "norwegian",
    "fa": "persian",
    "pl": "polish",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "es": "spanish",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
    "yi": "yiddish",
}


class Detected(NamedTuple):
    """What a sample of documents is written in.

    Attributes:
        language: as BM25 names it: of a stemmer; "bigrams" for scripts that need pairs of
            characters; "none" for other languages, and for several; "english" if nothing shows it.
        documents: of the sample that say so; 0 if none does.
        sample: its size.
    """

    language: str
    documents: int
    sample: int


def needs_bigrams(documents: Sequence[str]) -> Detected | None:
    """Return what a sample says of documents in scripts without spaces; None of all others."""
    sample = _sample(documents)
    unspaced = sum(2 * len(_IS_UNSPACED.findall(text)) > len(text) for text in sample)
    if unspaced <= _MOST_UNSPACED * len(sample):
        return None
    return Detected("bigrams", unspaced, len(sample))


def _sample(documents: Sequence[str]) -> Sequence[str]:
    return documents[:: max(1, math.ceil(len(documents) / _SAMPLED))]


@cache
def _identifier() -> Any:
    """Return py3langid's model, which takes half a second to unpack."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    try:
        return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    except OSError as error:
        raise HarnessError(
            f"the language of the documents: cannot write to {tempfile.gettempdir()}, got "
            f"{error.strerror or error}. Free space there, or set language in the BM25 candidate.",
            exit_code=ExitCode.STAGE,
        ) from error


def detect_language(documents: Sequence[str]) -> Detected:
    """Tell what documents are written in, by py3langid on 200 of them at most.

    Raises:
        HarnessError: exit code 4, py3langid cannot unpack its model into the temporary folder.
    """
    unspaced, sample = needs_bigrams(documents), _sample(documents)
    if unspaced is not None:
        return unspaced
    identifier = _identifier()
    told = [identifier.classify(text[:_READ]) for text in sample]
    sure = Counter(str(code) for code, p in told if p >= _SURE and code != _NO_LANGUAGE)
    if not sure or 2 * sure.total() < len(sample):
        return Detected("english", 0, len(sample))
    code, count = sure.most_common(1)[0]
    if count < _MAJORITY * sure.total():
        return Detected("none", sure.total(), len(sample))
    if code == _KOREAN:
        return Detected("bigrams", count, len(sample))
    return Detected(_STEMMED.get(code, "none"), count, len(sample))
