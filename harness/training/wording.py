"""Wording: what of a question is its content, whatever its spelling, prompt or polite wrapper."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_POSSESSIVE = re.compile(r"(?<=\w)['\u2019\u02bc]s\b")
# A number with its separators, one sign of Chinese or Japanese, a run of letters, or what ends a
# sentence or a label. "3kg" and "3 kg" are the same two words.
_TOKEN = re.compile(
    r"\d+(?:[.,]\d+)*|[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W\d_]+"
    r"|[?!.:;\n\u00bf\u00a1\u3002\uff1a\u2013\u2014()\[\]{}<>|\"\u201c\u201d\u00ab\u00bb]|\s-+\s"
)
_THOUSANDS = re.compile(r"(?<=\d)[.,](?=\d{3}(?:\D|$))")
_LETTERS = {"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", "æ": "ae", "œ": "oe", "\u0131": "i"}
_FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"

_DIGITS = (
    ("0", "zero cero null"),
    ("2", "ii two dos zwei deux"),
    ("3", "iii three tres drei trois"),
    ("4", "iv four cuatro vier quatre"),
    ("5", "five cinco funf cinq"),
    ("6", "vi six seis sechs"),
    ("7", "vii seven siete sieben sept"),
    ("8", "viii eight ocho acht huit"),
    ("9", "ix nine nueve neun neuf"),
    ("10", "ten diez zehn dix"),
    ("11", "xi eleven elf onze"),
    ("12", "xii twelve doce zwolf douze"),
    ("13", "xiii thirteen dreizehn"),
    ("14", "xiv fourteen vierzehn"),
    ("15", "xv fifteen quince"),
    ("16", "xvi sixteen"),
    ("17", "xvii seventeen"),
    ("18", "xviii eighteen"),
    ("19", "xix nineteen"),
    ("20", "xx twenty veinte zwanzig vingt"),
    ("30", "thirty treinta trente"),
    ("40", "forty cuarenta vierzig"),
    ("50", "fifty cincuenta"),
    ("60", "sixty sesenta sechzig"),
    ("70", "seventy setenta siebzig"),
    ("80", "eighty ochenta achtzig"),
    ("90", "ninety noventa neunzig"),
    ("100", "hundred cien hundert cent"),
    ("1000", "thousand mil tausend mille"),
    ("1000000", "million millon millionen"),
    ("1st", "first primero primera erste ersten"),
    ("2nd", "second segundo segunda zweite zweiten"),
    ("3rd", "third tercero tercera dritte dritten"),
    ("0.5", "half"),
    ("x2", "double twice"),
)
_NUMBERS = {word: digits for digits, words in _DIGITS for word in words.split()}
# Single letters that are words or endings; any other names a kind, as in "hepatitis B", and so do
# these behind "type".
_SMALL_WORDS = frozenset("a i s t d m e y o u l")
_KINDS = frozenset({"type", "typ", "tipo", "group", "class", "vitamin", "hepatitis"})


def singular(word: str) -> str:
    """Return a word without the s of a plural, as rough as telling two words apart needs.

    >>> [singular(word) for word in ("boxes", "therapies", "gouts", "virus", "process")]
    ['box', 'therapy', 'gout', 'virus', 'process']
    """
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    return word[:-2] if word.endswith(("sses", "xes", "zes", "ches", "shes")) else word[:-1]


def _listed(words: str) -> frozenset[str]:
    """Return words as `read` returns them."""
    return frozenset(map(singular, words.split()))


# Words around a question that ask for the answer and say nothing of it.
OPENERS = _listed(
    """a an the of to for about if whether there i im we me us my our you your u it this that is
    hi hello hey dear good morning afternoon evening sir madam greetings everyone all folks team
    guys anyone anybody someone somebody please pls plz kindly could can would will may might ll d
    ve tell know like want need wish wonder wondering wondered curious ask asking asked question
    quick query explain help give let find out hoping hope trying be so just really sorry excuse
    looking understand learn answer following next search
    hola buenos buenas dias tardes buen favor por podria podrias puede puedes decir decirme
    dime digame quisiera querria quiero gustaria saber me usted si pregunta tengo una un estimado
    estimados necesito
    hallo guten tag morgen abend liebe lieber bitte konnten konnen konntest kannst sie du ihr mir
    uns sagen erklaren ich mochte wurde gerne gern wissen frage eine habe wir ob mal hatte
    bonjour bonsoir salut pouvez pourriez vous dire moi je voudrais savoir s il te plait
    ciao buongiorno puoi potresti dirmi vorrei sapere per favore ola gostaria poderia"""
)
CLOSED = _listed(
    """please pls plz kindly thanks thank thx ty you u so much very many lot lots a in advance
    cheers regards best kind appreciate appreciated appreciation would be any help i know anyone
    anybody tia sincerely for your the time answer answers
    gracias muchas por favor adelantado antemano saludos un saludo de
    danke vielen dank bitte im voraus schon gruss grusse viele liebe mit freundlichen grussen
    merci beaucoup s il vous plait d avance cordialement grazie mille obrigado obrigada"""
)
# What a prompt ends with, before the question itself.
LABELS = _listed(
    """query question q search input text sentence claim passage pregunta consulta frage anfrage
    suche requete"""
)
# Words without a topic: what a question keeps when its topic is exchanged.
_PLAIN = OPENERS | _listed(
    """what which who whom whose when where why how do does did done are was were been being am
    has have had having and or but nor not no than then as at by from in into on onto off over
    under with without within between among through during before after above below up down its
    their his her hers they them he she him these those some any each every other such only own
    same too also more most less least much many should shall must one ones s t because while
    get got make made use used using
    que cual cuales quien quienes cuando donde como cuanto cuantos cuanta cuantas el la los las lo
    en y o del al con para sin sobre entre se su sus es son fue era fueron ser esta estan ha han
    hay no mas muy le les
    was wer wen wem wann wo warum wieso wie welche welcher welches welchen der die das den dem des
    ein einer eines einem einen und oder in im an am auf aus bei mit nach von vom zu zum zur fur
    uber unter durch ist sind war waren wird werden wurde wurden hat haben hatten sich nicht es er
    quoi quel quelle quels quelles qui ou et le du au aux dans sur avec pour est sont etait"""
)


class Question(NamedTuple):
    """A text as its words.

    Attributes:
        words: in order; folded, in the singular, numbers as digits.
        breaks: places of words that a sentence, a line, a label or a bracket ends before.
    """

    words: tuple[str, ...]
    breaks: frozenset[int]


class _Folding(dict[int, str | None]):
    """What each sign becomes when accents and invisible signs go; found once for each sign."""

    def __missing__(self, code: int) -> str | None:
        sign = chr(code)
        kept: str | None = _LETTERS.get(sign, sign)
        joining = unicodedata.combining(sign)
        # Accents, and the vowel points of Hebrew and Arabic; not what makes another letter, such as
        # the Japanese voicing mark (8) or the signs of Indic scripts (7, 9).
        is_accent = joining >= 200 or 10 <= joining <= 36
        is_variation = 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF
        if is_accent or is_variation or sign in _FILLERS or unicodedata.category(sign) == "Cf":
            kept = None
        self[code] = kept
        return kept


_FOLDING = _Folding({0x640: None})  # the Arabic stretching line


def fold(text: str) -> str:
    r"""Return a text without case, accents, compatibility forms and invisible signs.

    >>> fold("Caf\u00e9 Stra\u00dfe"), fold("go\u200dut\u00ad")
    ('cafe strasse', 'gout')
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).casefold()
        text = unicodedata.normalize("NFD", text).translate(_FOLDING)
        text = unicodedata.normalize("NFC", text)
    return _CONTROL.sub("", text.casefold())


def read(text: str) -> Question:
    """Return the words of a text.

    >>> read("Query: free cash flows in 2,018?").words
    ('query', 'free', 'cash', 'flow', 'in', '2018')
    """
    words: list[str] = []
    breaks: set[int] = set()
    for token in _TOKEN.findall(_POSSESSIVE.sub("", fold(text))):
        if token[0].isalpha():
            words.append(_NUMBERS.get(token) or singular(token))
        elif token[0].isdigit():
            words.append(_THOUSANDS.sub("", token))
        else:
            breaks.add(len(words))
    return Question(tuple(words), frozenset(breaks))


def is_plain(word: str) -> bool:
    """Tell whether a word says nothing about the topic."""
    return word in _PLAIN


def is_opening(word: str) -> bool:
    """Tell whether a word may stand before a question without changing it."""
    return word in OPENERS


def marks(words: tuple[str, ...]) -> frozenset[str]:
    """Return what tells two questions apart that share every other word: numbers, letters, "non".

    >>> sorted(marks(read("Hepatitis B of type A in two years since 1990").words))
    ['1990', '2', 'a', 'b']
    """
    return frozenset(
        word
        for before, word in zip(("", *words), words, strict=False)
        if not word.isalpha()
        or word == "non"
        or (len(word) == 1 and word.isascii() and (word not in _SMALL_WORDS or before in _KINDS))
    )


def trimmed(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words without a polite wrapper; the same where little would be left.

    >>> trimmed(read("Hi, could you please tell me: what causes gout? Many thanks!").words)
    ('what', 'cause', 'gout')
    """
    first, last = 0, len(words)
    while first < last and is_opening(words[first]):
        first += 1
    while last > first and words[last - 1] in CLOSED:
        last -= 1
    kept = words[first:last]
    return kept if sum(not is_plain(word) for word in kept) >= 2 else words
