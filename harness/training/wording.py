# ruff: noqa: RUF001 - the lists hold Cyrillic words
"""Wording: what of a question is its content, whatever its spelling, prompt or polite wrapper."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

from harness.collection.texts import without_markup

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_ESCAPED = re.compile(r"\\[nrt](?![a-z])")
_POSSESSIVE = re.compile(r"(?<=\w)['\u2019\u02bc]s\b")
_NOT = re.compile(
    r"\b(?:do|does|did|is|are|was|were|ca|could|wo|would|should|have|has|had|must|need)"
    r"n['\u2019\u02bc]?t\b|\bcannot\b"
)
_SIGNS = "\u3040-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # hiragana and Han, one a word
# Vowel signs of Indic and South-East Asian scripts, which Python takes for no letters.
_VOWELS = "".join(
    chr(code) for code in range(0x900, 0x1D00) if unicodedata.category(chr(code)) in ("Mn", "Mc")
)
# A number with its separators ("1990s" and "1a" are one, "3kg" is "3 kg"), a sign of Chinese or
# Japanese, "C++", a run of letters, or what ends a clause, a sentence or a label.
_TOKEN = re.compile(
    r"\d+(?:[.,]\d+)*(?:[saeioy](?![^\W_]))?"
    rf"|[{_SIGNS}]"
    r"|(?<!\w)[a-z](?:\+\+?|#)(?!\w)"
    rf"|[^\W\d_{_SIGNS}](?:[^\W\d_{_SIGNS}]|[{_VOWELS}])*"
    r"|[,?!.:;\n\u00bf\u00a1\u3001\u3002\uff1a\u0964\u061f\u2013\u2014()\[\]{}<>|\"\u201c-\u201f"
    r"\u00ab\u00bb\u300c-\u300f]|\s-+\s"
)
_THOUSANDS = re.compile(r"(?<=\d)[.,](?=\d{3}(?:\D|$))")
_LETTERS = {"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", "æ": "ae", "œ": "oe", "\u0131": "i"}
# Letters that look like Latin ones, where they stand in one word with these.
_LOOKALIKES = str.maketrans("авеєкмнорстухіјѕһԁԛԝαεηικνορτυ", "abeekmhopctyxijshdqwaenikvoptu")
_LATIN = re.compile("[a-z]")
_SENTENCE = frozenset("?!.;\n\u3002\u0964\u061f|")
_CHEERS = 6  # words of a closing with a name
_NEAR = 3  # words of the shortest prompt
_WHOLE = 5  # words of a question that is one whatever stands before it
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
    ("1000", "thousand mil tausend"),
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
_ROMAN = {"i": "1", "v": "5", "x": "10", "one": "1"}  # behind a kind


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


# Words behind which a single letter or a Roman numeral names a kind.
_KINDS = _listed(
    """type typ tipo group gruppe grupo class klasse clase vitamin vitamina hepatitis hemophilia
    haemophilia influenza factor grade stage phase fase level part plan category schedule"""
)
# Words around a question that ask for the answer and say nothing of it.
OPENERS = _listed(
    """a an the of to for about on in if whether there i im we me us my our you your u it this that
    is hi hello hey dear good morning afternoon evening sir madam greetings everyone all folks team
    guys anyone anybody someone somebody please pls plz kindly could can would will may might ll d
    ve do know tell like want need wish wonder wondering wondered curious ask asking asked question
    quick query explain help give let find out hoping hope trying be so just really sorry excuse
    looking understand learn answer following next search here today
    hola buenos buenas dias tardes buen favor por podria podrias puede puedes decir decirme
    dime digame quisiera querria quiero gustaria saber me usted si pregunta tengo una un estimado
    estimados necesito sobre
    hallo guten tag morgen abend liebe lieber bitte konnten konnen konntest kannst sie du ihr mir
    uns sagen erklaren ich mochte wurde gerne gern wissen frage eine habe wir ob mal hatte uber
    weiss jemand
    bonjour bonsoir salut pouvez pourriez vous dire moi je voudrais savoir s il te plait me nous
    est ce que sur aimerais
    ciao buongiorno buonasera puoi puo potresti potrebbe dirmi vorrei sapere per favore mi scusi
    salve ola bom dia boa tarde gostaria poderia pode voce dizer me eu queria
    hoi goedemorgen goedendag kunt kun je u mij vertellen alstublieft alsjeblieft ik wil graag weten
    здравствуите привет добрыи день подскажите скажите пожалуиста можете ли вы мне я хочу хотел бы
    узнать знает кто нибудь помогите
    请 問 问 想 知 道 告 诉 訴 我 你 您 好 一 下 帮 能 吗 可 以 す み ま せ ん"""
)
# Of these, words that elsewhere may be what a question is about: "morning sickness", "US visa".
_TOPICAL = _listed(
    """good morning afternoon evening sir madam everyone all folks team guys anyone someone question
    quick query explain help find search looking learn answer following next today us it
    dias tardes favor pregunta tag morgen abend liebe lieber frage bonjour buongiorno bom dia boa
    tarde answer wish hope hoping dear ok hey"""
)
_GREETINGS = _listed(
    """hi hello hey dear good sorry ok okay thanks thank please hola buenos buenas hallo guten liebe
    bonjour salut ciao buongiorno ola bom boa hoi здравствуите привет"""
)
# Words of a prompt to a model.
_PROMPT = _listed(
    """represent representation retrieve retrieving retrieval searching passage document text
    sentence relevant web given instruct instruction task information info article page content
    user human supporting evidence reply"""
)
CLOSED = _listed(
    """please pls plz kindly thanks thank thx ty you u so much very many lot lots a in advance
    cheers regards best kind appreciate appreciated appreciation would be any help i know anyone
    anybody tia sincerely for your the time answer answers
    gracias muchas muchisimas por favor adelantado antemano saludos un saludo de
    danke vielen dank bitte im voraus schon gruss grusse viele liebe mit freundlichen grussen
    merci beaucoup s il vous te plait d avance cordialement grazie mille obrigado obrigada
    dank bedankt alvast alstublieft alsjeblieft спасибо заранее большое пожалуиста
    谢 謝 了 请 お 願 い し ま す あ り が と う ご ざ"""
)
# One of these makes closing words thanks: "the response time" ends in none.
_THANKS = _listed(
    """please pls plz kindly thanks thank thx ty cheers regards appreciate appreciated tia sincerely
    gracias favor saludos saludo danke dank bitte grusse gruss grussen merci plait cordialement
    grazie obrigado obrigada bedankt alstublieft alsjeblieft спасибо пожалуиста 谢 謝 願 う"""
)
# What a prompt ends with, before the question itself.
LABELS = _listed(
    """question query q search input text sentence claim passage pregunta consulta frage anfrage
    suche requete domanda pergunta vraag вопрос запрос"""
)
# The last words of an opening that lead to what is asked; the first half may stand alone.
_ARTICLES = _listed("a an the about on el la los las un una sobre der die das ein eine uber le les")
_JOINTS = _ARTICLES | _listed(
    """of to for if whether that me you please pls is know de si que favor ob dass mir uns bitte
    sagen wissen sur moi plait di se che favore om mij weten мне пожалуиста 问 問 我"""
)
_ALONE = _ARTICLES | _listed("me us you please pls mir bitte favor moi plait")
# Words that open a question, by what they ask for; those without one may ask for anything.
_ASKS = {
    word: kind
    for kind, words in (
        ("", "what which que cual welche welcher welches quoi quel quelle quali quale qual"),
        ("", "que wat welk какои какая какие что 什 哪 何"),
        ("when", "when cuando wann quand quando wanneer когда"),
        ("where", "where donde wo woher wohin dove onde waar где куда откуда"),
        ("who", "who whom whose quien quienes wer wen wem wessen qui chi quem кто 谁 誰"),
        ("why", "why warum wieso weshalb pourquoi perche waarom почему зачем"),
        ("how", "how como wie comment hoe как"),
        ("how many", "many much cuantos cuantas cuanto cuanta viele viel wieviel combien quanti"),
        ("how many", "quante quantos quantas hoeveel сколько 几 幾"),
    )
    for word in map(singular, words.split())
}
_STARTS = frozenset(_ASKS) | _listed(
    """is are was were do does did can could will would should has have had may must
    es son fue era hay esta estan puede ist sind war waren hat haben gibt kann est sont e sao foi
    ha"""
)
# Words that narrow a question: "in Spain", "if pregnant", "during two summers".
_NARROWING = _listed(
    """in for during among with without at on after before when while if since from by under within
    unless until regarding concerning per
    en para durante con sin antes despues tras bei im am fur wahrend mit ohne nach vor seit unter
    dans pour pendant avec sans chez nel durante con senza dopo voor tijdens met zonder в на для при
    во с без"""
)
_ASKING = _listed(
    """i we me us you anyone asked asks ask know knows tell wonder wondering question answer explain
    find yo nos me saber ich wir mir uns wissen frage je nous savoir vorrei sapere вы мне я"""
)
# A question with one of these is the opposite of the question without.
_NEGATIONS = _listed(
    """not no nor never without non none nobody neither
    sin nunca jamas ni nadie ningun ninguna nicht kein keine keinen keiner keinem keines ohne nie
    niemals pas sans jamais aucun aucune senza mai nao sem nem niet geen nooit zonder не нет без ни
    никогда 不 没 沒 無 无 非 未"""
)
_PAIRS = """
    before/after over/under above/below more/less more/fewer most/least from/to on/off up/down
    antes/despues mas/menos desde/hasta vor/nach uber/unter mehr/weniger avant/apres plus/moins
    prima/dopo piu/meno antes/depois mais/menos voor/na meer/minder до/после 上/下 前/后 前/後"""
_OPPOSITES = tuple(tuple(pair.split("/")) for pair in _PAIRS.split())
# Words without a topic: what a question keeps when its topic is exchanged.
_PLAIN = (
    (OPENERS - _TOPICAL)
    | frozenset(_ASKS)
    | _STARTS
    | _NEGATIONS
    | frozenset(word for pair in _OPPOSITES for word in pair if word.isascii())
    | _listed(
        """what which who whom whose when where why how do does did done are was were been being am
    has have had having and or but nor not no than then as at by from in into on onto off over
    under with without within between among through during before after above below up down its
    their his her hers they them he she him these those some any each every other such only own
    same too also more most less least much many should shall must one ones s t because while
    get got make made use used using type typ tipo
    que cual cuales quien quienes cuando donde como cuanto cuantos cuanta cuantas el la los las lo
    en y o del al con para sin sobre entre se su sus es son fue era fueron ser esta estan ha han
    hay no mas muy le les
    was wer wen wem wann wo warum wieso wie welche welcher welches welchen der die das den dem des
    ein einer eines einem einen und oder in im an am auf aus bei mit nach von vom zu zum zur fur
    uber unter durch ist sind war waren wird werden wurde wurden hat haben hatten sich nicht es er
    quoi quel quelle quels quelles qui ou et le du au aux dans sur avec pour est sont etait
    il lo la gli le uno una di da del della dei delle degli nel nella con su tra fra e ed sono era
    che cosa si o os as do da dos das no na nos nas em um uma com ao foi sao
    de het een van dat die zijn werd op aan uit ze is en
    и в на с по к у о от до за из что это как был была были есть или для при его ее их а но же
    的 了 在 是 有 和 与 吗 呢 吧 么 麼 什 怎 样 个 這 这 那 之
    は が を に で と の も か や へ ね よ た て る い な ら れ"""
    )
)


class Wording(NamedTuple):
    """A text as its words.

    Attributes:
        words: in order; folded, in the singular, numbers as digits.
        signs: what stands before a word, by its place: the ends of a sentence, a label or a clause,
            and brackets.
    """

    words: tuple[str, ...]
    signs: Mapping[int, str] = {}

    def is_broken(self, place: int) -> bool:
        """Tell whether more than a comma stands before a word."""
        return bool(self.signs.get(place, "").strip(",\u3001"))


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
        if unicodedata.category(sign) == "Nd":
            kept = str(unicodedata.decimal(sign))
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


def read(text: str) -> Wording:
    """Return the words of a text.

    >>> read("Query: free cash flows in 2,018?").words
    ('query', 'free', 'cash', 'flow', 'in', '2018')
    >>> read("<b>What&#39;s</b> type II?").words
    ('what', 'type', '2')
    """
    words: list[str] = []
    signs: dict[int, str] = {}
    folded = fold(_ESCAPED.sub("\n", without_markup(text)))
    for token in _TOKEN.findall(_NOT.sub(" not ", _POSSESSIVE.sub("", folded))):
        if token[0].isalpha():
            is_kind = bool(words) and words[-1] in _KINDS
            words.append((is_kind and _ROMAN.get(token)) or _word(token))
        elif token[0].isdigit():
            words.append(sys.intern(_THOUSANDS.sub("", token).replace(",", ".")))
        else:
            signs[len(words)] = signs.get(len(words), "") + token
    return Wording(tuple(words), signs)


@cache
def _word(token: str) -> str:
    """Return what a word is compared as; every text shares one copy of it."""
    word = token
    if not token.isascii() and _LATIN.search(token):
        word = token.translate(_LOOKALIKES)
    return sys.intern(_NUMBERS.get(word) or singular(word))


COMMON = _PLAIN | OPENERS | LABELS | CLOSED | _PROMPT  # words that are no slip of another


def is_plain(word: str) -> bool:
    """Tell whether a word says nothing about the topic."""
    return word in _PLAIN


def topic(words: Iterable[str]) -> frozenset[str]:
    """Return the words that say what a text is about."""
    return frozenset(word for word in words if word not in _PLAIN)


def marks(words: tuple[str, ...]) -> frozenset[str]:
    """Return what tells two questions apart that share every other word: numbers and kinds.

    >>> sorted(marks(read("Hepatitis B of type A in two years since 1990, in C++").words))
    ['1990', '2', 'a', 'b', 'c++']
    """
    return frozenset(word for place, word in enumerate(words) if _is_mark(words, place))


def _is_mark(words: tuple[str, ...], place: int) -> bool:
    word = words[place]
    if not word.isascii() or (word.isalpha() and len(word) > 1):
        return False
    if len(word) > 1 or word.isdigit() or word not in _SMALL_WORDS:
        return True
    before = words[place - 1] if place else ""
    ends = word == "a" and 0 < place == len(words) - 1  # no article
    return before in _KINDS or before[-1:].isdigit() or ends


def agree(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Tell whether two texts have each other's numbers and kinds."""
    return marks(one).issubset(other) and marks(other).issubset(one)


def differ(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Tell whether two texts that share nearly every word are two questions.

    They are if one has a word about a topic, a number, a kind, a negation or an opposite that the
    other lacks, or asks for something else, such as the place instead of the time.

    >>> gout = read("Where does gout occur in women?").words
    >>> differ(gout, read("When does gout occur in women?").words)
    True
    >>> differ(gout, read("Where did the gout of women occur?").words)
    False
    """
    about = topic(one)
    negations = [sum(word in _NEGATIONS for word in words) % 2 for words in (one, other)]
    if about != topic(other) or not agree(one, other) or negations[0] != negations[1]:
        return True
    mine, theirs = set(one) - set(other), set(other) - set(one)
    if any(
        {left, right} <= mine | theirs and (left in mine) != (right in mine)
        for left, right in _OPPOSITES
    ):
        return True
    if len(about) <= 1:
        small = _ARTICLES - _listed("about on sobre uber")
        return set(one) - small != set(other) - small
    asks = [{_ASKS[word] for word in words if word in _ASKS} for words in (one, other)]
    return "" not in asks[0] | asks[1] and asks[0] != asks[1]


def trimmed(question: Wording) -> tuple[str, ...]:
    """Return the words without a polite wrapper; the same where little would be left.

    >>> trimmed(read("Hi, could you please tell me: what causes gout? Many thanks!"))
    ('what', 'cause', 'gout')
    >>> trimmed(read("morning sickness response time"))
    ('morning', 'sickness', 'response', 'time')
    """
    words, first, last = question.words, 0, len(question.words)
    while first < last and words[first] in OPENERS:
        first += 1
    while first and not _leads(question, first):
        first -= 1
    while last > first and words[last - 1] in CLOSED and not _is_mark(words[:last], last - 1):
        last -= 1
    if not _THANKS.intersection(words[last:]):
        last = len(words)
    kept = words[first:last]
    return kept if len(topic(kept)) >= 2 else words


def _leads(question: Wording, first: int) -> bool:
    """Tell whether an opening may end before a word: not before that of "morning sickness"."""
    words = question.words
    starts = first < len(words) and words[first] in _STARTS
    return starts or first in question.signs or words[first - 1] in _JOINTS


def is_wrapper(question: Wording, first: int, *, of: tuple[str, ...]) -> bool:
    """Tell whether what stands before a word leaves the meaning of the question from there on.

    A prompt that ends in a break, or a polite opening. Anything else, if a whole question begins
    there and what stands before does not narrow it, as "in children with asthma" would.

    Args:
        question: the text.
        first: place of the word.
        of: words of the question, of which those of the text may be others in another order.
    """
    words, about = question.words, len(topic(of))
    breaks = [place for place in question.signs if place < first and question.is_broken(place)]
    lead = words[max(breaks, default=0) : first]
    if not lead:
        return True
    is_numbered = lead[0] in LABELS and bool(marks(lead))  # "question 12 ..."
    opens = all(word in OPENERS or word in _PROMPT or word in LABELS for word in lead)
    asks = not _ASKING.isdisjoint(lead)
    narrows = lead[0] in _NARROWING and not opens and not asks
    if question.is_broken(first):
        is_sentence = not _SENTENCE.isdisjoint(question.signs[first])
        return (is_sentence or not narrows) and (about >= 2 or opens or lead[-1] in LABELS)
    negates = not asks and not _NEGATIONS.isdisjoint(lead)
    if narrows or negates or (marks(lead) and not is_numbered):
        return False
    starts = words[first : first + 1] == of[:1] and of[0] in _STARTS
    if opens or is_numbered:
        joints = _ALONE if about < 2 else _JOINTS | LABELS
        if len(lead) == 1:  # "search engine"
            joints = _ARTICLES if about < 2 else _JOINTS
        is_prompt = about >= 2 and len(lead) >= _NEAR and lead[-1] in _PROMPT
        return starts or is_numbered or is_prompt or lead[-1] in joints or first in question.signs
    if lead[0] in _GREETINGS and first in question.signs and about >= 2:
        return True
    is_whole = about >= 2 and len(of) >= _WHOLE
    return is_whole and (lead[-1] in ("that", "dass") or (starts and lead[-1] not in _ASKS))


def is_thanks(words: tuple[str, ...]) -> bool:
    """Tell whether what stands behind a question is thanks: "Cheers, Sam", no "thanks to Sam"."""
    thanks = not _THANKS.isdisjoint(words[:2]) and len(words) <= _CHEERS and "to" not in words
    closes = all(word in CLOSED for word in words) and not _THANKS.isdisjoint(words)
    return not words or thanks or closes


def is_new(question: Wording, last: int) -> bool:
    """Tell whether what stands from a word on is a new sentence, and narrows nothing before it.

    "How do I sort a list? I use Python", but not "How do I sort a list (in Python)?"
    """
    ends = not _SENTENCE.isdisjoint(question.signs.get(last, ""))
    narrows = last < len(question.words) and question.words[last] in _NARROWING
    return ends or (question.is_broken(last) and not narrows)
