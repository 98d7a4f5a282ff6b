# ruff: noqa: RUF001 - letters of many scripts look alike
import re
import unicodedata

import numpy as np
import pytest

from jaxnets.scores import tokens
from jaxnets.scores.bleu import sacrebleu
from jaxnets.scores.captions import plain

pytestmark = pytest.mark.host

BY_HAND = {
    "Cafe\u0301 \u0130stanbul": ["caf\u00e9", "i\u0307stanbul"],
    "नमस्ते दुनिया।": ["नमस्ते", "दुनिया", "।"],
    "தமிழ் মেঘ": ["தமிழ்", "মেঘ"],
    "שָׁלוֹם, צה״ל": ["שָׁלוֹם", ",", "צה״ל"],
    "مَرْحَبًا می\u200cخواهم؟": ["مَرْحَبًا", "می\u200cخواهم", "؟"],
    "한국어 말": ["한국어", "말"],
    "\u1112\u1161\u11ab": ["한"],  # decomposed as macOS writes file names
    "ที่นี่ดี": ["ที่", "นี่", "ดี"],
    "你好，世界。iPhone15发布": [*"你好，世界。", "iphone15", *"发布"],
    "コーヒー ﾊﾞｽ": [*"コーヒー", "ﾊﾞ", "ｽ"],
    "👩\u200d👩\u200d👧👍🏽🇩🇪🇫🇷#️⃣❤️\u200d🔥": [
        *["👩\u200d👩\u200d👧", "👍🏽", "🇩🇪", "🇫🇷", "#️⃣", "❤️\u200d🔥"]
    ],
    "co\u00adop \ufeffa\u200eb": ["coop", "ab"],
    "a\u2028b\x85c\x0cd\x1ce\u200bf": ["a", "b", "c", "d", "e", "f"],
    "ΣΑΣ ΑΣ": ["σας", "ας"],
}


@pytest.mark.parametrize("text", BY_HAND)
def test_words_of_many_scripts_by_hand(text):
    assert tokens.words(text) == BY_HAND[text]
    assert tokens.words(unicodedata.normalize("NFD", text)) == BY_HAND[text]


BLOCKS = [  # first and last code point: Latin, Greek, Hebrew, Arabic, Devanagari, ...
    *((0x20, 0x7F), (0x80, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x74F)),
    *((0x900, 0x9FF), (0xB80, 0xBFF), (0xD00, 0xD7F), (0xE00, 0xEFF), (0xF00, 0xFFF)),
    *((0x1000, 0x109F), (0x1100, 0x11FF), (0x1780, 0x17FF), (0x1B00, 0x1B7F)),
    *((0x2000, 0x20F0), (0x2190, 0x21FF), (0x3000, 0x312F), (0x4E00, 0x4E4F)),
    *((0xAC00, 0xAC4F), (0xF900, 0xFB5F), (0xFE00, 0xFEFF), (0xFF00, 0xFFEE)),
    *((0x1F1E6, 0x1F1FF), (0x1F300, 0x1F64F), (0xE0020, 0xE007F), (0x20000, 0x2000F)),
]


def strings_of_scripts(count):
    random = np.random.default_rng(0)
    between = list(" .,(-'#\u2019\u200d\u200c\u0301\u3099\ufe0f。")
    for _ in range(count):
        chosen = random.choice(BLOCKS, random.integers(1, 4))
        points = [random.integers(*chosen[i % len(chosen)], 6) for i in range(3)]
        letters = [*map(chr, np.concatenate(points)), *random.choice(between, 5)]
        yield "".join(random.permutation(letters))


def test_words_come_back_from_their_sentence_in_every_script():
    seen = set()
    for text in strings_of_scripts(600):
        made = tokens.words(text)
        sentence = tokens.joined(made)
        assert tokens.words(sentence) == made, ascii(text)
        assert unicodedata.is_normalized("NFC", sentence)
        assert all(tokens.words(token) == [token] for token in made)
        seen.update(tokens.kinds(text))
    assert seen == set(" acmz'rsw.")


def test_a_mark_stays_with_whatever_stands_in_front_of_it():
    for text in strings_of_scripts(300):
        seen = [
            c for c in text if unicodedata.category(c) != "Cf" or c in "\u200c\u200d"
        ]
        kinds = tokens.kinds(" " + unicodedata.normalize("NFC", "".join(seen)))
        alone = [t for t in tokens.words("".join(seen)) if tokens.kinds(t[0]) in "mz"]
        assert len(alone) == len(re.findall(" [mz]", kinds)), ascii(text)


def test_plain_ascii_is_split_as_any_other_text():
    random = np.random.default_rng(1)
    for _ in range(300):
        text = "".join(map(chr, random.integers(1, 128, 30)))
        assert tokens.words(f"{text} é") == [*tokens.words(text), "é"], ascii(text)


def test_scripts_without_spaces_are_joined_without():
    for text in (
        "你好，世界。",
        "コーヒーを飲む。",
        "ที่นี่",
        "ភាសាខ្មែរ",
        "ພາສາລາວ",
        "မြန်မာ",
    ):
        assert tokens.joined(tokens.words(text)) == text
        assert tokens.spaced(text).split() == tokens.words(text)


def test_bleu_counts_the_characters_of_scripts_without_spaces():
    # By hand: of 6 characters 5 are right, of 5 pairs 4, of 4 threes 3, of 3 fours 2.
    value = sacrebleu(["我喜欢喝茶。"], [["他喜欢喝茶。"]])
    assert value == pytest.approx(100 * (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25)
    assert plain("ที่นี่, नमस्ते!") == ["ที่", "นี่", "नमस्ते"]
