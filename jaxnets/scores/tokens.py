"""Words, marks and characters of texts in any script.

Every character has a kind, which follows from its Unicode category; a word is a pattern
of kinds. Combining marks (accents, vowel signs, harakat, tone marks, variation
selectors) and joiners stay with the character in front of them, as in the grapheme
clusters of Unicode Standard Annex #29, https://www.unicode.org/reports/tr29. Departure:
a word may hold an apostrophe or a hyphen, as English and French write them.

Scripts that do without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese and their
relatives) show no words: each of their characters is a token. BLEU does the same with
Chinese (the tokenizer `zh` of Post's sacrebleu).
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable

# One letter a kind, so that a text becomes a string of kinds of the same length.
SPACE, LETTER, UNSPACED, MARK, JOINER = " ", "a", "c", "m", "z"
INSIDE, FLAG, SYMBOL, WIDE, OTHER = "'", "r", "s", "w", "."

_TOKEN = re.compile(
    r"a[amz]*(?:'a[amz]*)*"  # a word, with apostrophes and hyphens inside
    r"|[cw'.][mz]*"  # one character
    r"|rr?[mz]*"  # a flag: two regional indicators
    r"|s[mz]*(?:(?<=z)s[mz]*)*"  # a symbol, or an emoji of several with joiners
    r"|[mz]+"  # marks without a letter
)
_ALONE = re.compile(r"[cw][mz]*")
_ASCII = re.compile(r"\w+(?:['\-]\w+)*|[^\w\s]")  # `_TOKEN` without kinds: faster

_BEFORE = frozenset(".,;:!?)]}»”%…،؛؟।॥")  # no space in front of these
_AFTER = frozenset("([{«“$£€#@")  # nor behind these

# Within words: apostrophes, hyphens, Catalan's raised dot, Hebrew's geresh, gershayim.
_INSIDE = frozenset("'-\u2019\u2010\u2011\u00b7\u05f3\u05f4")
# Seen by nobody: soft hyphens, marks of direction, word joiners, byte-order marks.
_INVISIBLE = dict.fromkeys(
    (
        0xAD,
        0x61C,
        0x200E,
        0x200F,
        *range(0x202A, 0x202F),
        *range(0x2060, 0x2070),
        0xFEFF,
    )
)
# Extend the character in front of them without being marks: the non-joiner, halfwidth
# voiced sound marks, skin tones, and the tags in the flags of regions.
_EXTENDING = frozenset(
    map(
        chr,
        [0x200C, 0xFF9E, 0xFF9F, *range(0x1F3FB, 0x1F400), *range(0xE0020, 0xE0080)],
    )
)
# First and last code points of scripts without spaces between words, and of what is
# set among them; see `_kind` for what of it is a letter.
_WITHOUT_SPACES = (
    *(
        (0x0E00, 0x0EFF),
        (0x1000, 0x109F),
        (0x1780, 0x17FF),
    ),  # Thai, Lao, Burmese, Khmer
    *((0x1950, 0x19DF), (0x1A20, 0x1AAF), (0x1B00, 0x1B7F)),  # Tai, Balinese
    *((0x2E80, 0x312F), (0x31A0, 0x9FFF)),  # radicals, kana, bopomofo, Han
    *(
        (0xA980, 0xA9DF),
        (0xA9E0, 0xA9FF),
        (0xAA60, 0xAADF),
    ),  # Javanese, Burmese, Tai Viet
    *((0xF900, 0xFAFF), (0xFE10, 0xFE1F), (0xFE30, 0xFE4F)),  # compatibility, vertical
    *((0xFF00, 0xFF0F), (0xFF1A, 0xFF20), (0xFF3B, 0xFF40)),  # full-width punctuation
    *((0xFF5B, 0xFF9F), (0x1AFF0, 0x1B16F), (0x20000, 0x3FFFD)),  # half-width kana, Han
)
_FIRST = [first for first, _ in _WITHOUT_SPACES]


def words(text: str) -> list[str]:
    """Returns words in lower case, and punctuation marks and symbols one by one.

    `words("Don't stop, Anne-Marie!") == ["don't", "stop", ",", "anne-marie", "!"]`,
    `words("ไทย") == ["ไ", "ท", "ย"]`. The text is normalised to NFC, so that composed
    and decomposed accents are equal. Any white space separates, line and paragraph
    separators and the zero-width space included. Characters that nobody sees are left
    out. No special token can come out of a text: its angle brackets are symbols.
    """
    if text.isascii():
        return _ASCII.findall(text.lower())
    composed = unicodedata.normalize("NFC", text.translate(_INVISIBLE))
    lower = unicodedata.normalize("NFC", composed.lower())
    return [lower[m.start() : m.end()] for m in _TOKEN.finditer(kinds(lower))]


def characters(text: str) -> list[str]:
    """Returns every code point of the text in NFC, white space included.

    Code points, not grapheme clusters: bits per character then mean what publications
    mean, and vocabularies stay small in scripts with many marks.
    """
    return list(unicodedata.normalize("NFC", text))


def joined(tokens: Iterable[str]) -> str:
    """Returns words as a sentence: `words(joined(words(text))) == words(text)`.

    Spaces stand between tokens, but not in front of a full stop, behind a bracket, or
    within scripts that do without. Where the text had other spaces is lost.
    """
    made, before = "", ""
    for token in tokens:
        made += token if not made or _tight(before, token) else f" {token}"
        before = token
    return made


def spaced(text: str) -> str:
    """Returns the text with spaces around each character of a script without spaces."""
    return _spread(text) if not text.isascii() else text


def is_word(token: str) -> bool:
    """Whether a token of `words` is a word or a number, not punctuation or a symbol."""
    return kinds(token[:1]) in (LETTER, UNSPACED)


def kinds(text: str) -> str:
    """Returns the kind of each character; a string of the same length."""
    return text.translate(_KINDS)


class _Kinds(dict[int, str]):
    """The kind of each code point, computed when it is first met."""

    def __missing__(self, point: int) -> str:
        self[point] = kind = _kind(chr(point))
        return kind


_KINDS = _Kinds()


def _kind(character: str) -> str:
    category, point = unicodedata.category(character), ord(character)
    place = bisect_right(_FIRST, point) - 1
    unspaced = place >= 0 and point <= _WITHOUT_SPACES[place][1]
    if character.isspace() or character == "\u200b":  # Thai sets it between words
        return SPACE
    if category.startswith("M") or character in _EXTENDING:
        return MARK
    if character == "\u200d":
        return JOINER
    if character in _INSIDE:
        return INSIDE
    if 0x1F1E6 <= point <= 0x1F1FF:
        return FLAG
    if character.isalnum() or character == "_":
        return UNSPACED if unspaced else LETTER
    if category in ("So", "Sm"):
        return SYMBOL
    return WIDE if unspaced else OTHER


def _tight(before: str, token: str) -> bool:
    """Whether no space stands between two tokens."""
    last, first = kinds(before[0]), kinds(token[0])
    if first in (MARK, JOINER):  # it would become a part of the token before
        return False
    if token in _BEFORE or before in _AFTER or WIDE in (last, first):
        return True
    return last == first == UNSPACED


def _spread(text: str) -> str:
    pieces, end = [], 0
    for match in _ALONE.finditer(kinds(text)):
        start = match.start()
        pieces += [text[end:start], f" {text[start : match.end()]} "]
        end = match.end()
    return "".join([*pieces, text[end:]])
