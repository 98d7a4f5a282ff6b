import json
import unicodedata

import numpy as np
import pytest

from jaxnets.data import text
from jaxnets.data.dataset import DataError, Dataset, Feature, Split
from jaxnets.data.files.sentences import as_texts
from jaxnets.data.text import Vocabulary, VocabularyError, padded, tokenized, vocabulary
from jaxnets.ops.decoding import END, PAD, START, UNKNOWN

pytestmark = pytest.mark.host

SENTENCES = ["A dog, a cat.", "The dog isn't (quite) a cat!", "Well-known: 50% of it"]


def test_words_by_hand():
    assert text.words("Don't stop, Anne-Marie! 3.5%") == [
        *["don't", "stop", ",", "anne-marie", "!", "3", ".", "5", "%"]
    ]
    assert text.words("<pad> <unk>") == ["<", "pad", ">", "<", "unk", ">"]
    assert text.joined(["hello", ",", "(", "big", ")", "world", "!"]) == (
        "hello, (big) world!"
    )


def random_texts(count):
    random = np.random.default_rng(0)
    letters = list("aB1é' -_.,;:!?()[]{}\"%$#@&<>/\\\t\nßİΣ中\u0301🙂\u2019“”")
    for _ in range(count):
        yield "".join(random.choice(letters, random.integers(0, 30)))


def test_words_come_back_from_their_sentence():
    for sentence in [*SENTENCES, *random_texts(600)]:
        tokens = text.words(sentence)
        assert text.words(text.joined(tokens)) == tokens, sentence


def test_characters_come_back_exactly():
    texts = list(random_texts(500))
    made = vocabulary(texts, level="character")
    for sentence in texts:
        composed = unicodedata.normalize("NFC", sentence)
        assert made.decode(made.encode(sentence)) == composed
        assert made.decode(made.encode(sentence, ends=False)) == composed


def test_a_decomposed_text_has_the_numbers_of_the_composed_one():
    for level in ("word", "character"):
        made = vocabulary(["Café: नमस्ते, İş!"], level=level)
        apart = unicodedata.normalize("NFD", "Café: नमस्ते, İş!")
        assert made.encode(apart) == made.encode("Café: नमस्ते, İş!")
        assert UNKNOWN not in made.encode(apart)
        assert all(unicodedata.is_normalized("NFC", token) for token in made.tokens)


def test_a_vocabulary_of_decomposed_words_is_refused():
    with pytest.raises(VocabularyError, match="splits texts otherwise; train again"):
        Vocabulary((*text.SPECIAL, "cafe\u0301"), "word")


def test_a_vocabulary_is_sorted_by_count_then_name_whatever_the_order():
    made = vocabulary(SENTENCES)
    assert made.tokens[:4] == ("<pad>", "<start>", "<end>", "<unk>")
    assert made.tokens[4:7] == ("a", "cat", "dog")
    assert list(made.tokens[7:]) == sorted(made.tokens[7:])
    assert vocabulary(SENTENCES[::-1]) == made
    assert len(set(made.tokens)) == len(made)


def test_minimum_and_largest():
    assert vocabulary(SENTENCES, minimum=2).tokens[4:] == ("a", "cat", "dog")
    assert vocabulary(SENTENCES, minimum=3).tokens[4:] == ("a",)
    assert vocabulary(SENTENCES, largest=6).tokens[4:] == ("a", "cat")
    with pytest.raises(VocabularyError, match="no word is there 9 times"):
        vocabulary(SENTENCES, minimum=9)


def test_encode_and_decode_by_hand():
    made = vocabulary(["a b b", "c"])
    assert made.tokens[4:] == ("b", "a", "c")
    assert made.encode("A b zebra") == [START, 5, 4, UNKNOWN, END]
    assert made.encode("c", ends=False) == [6]
    assert made.decode([START, 5, 4, UNKNOWN, END, 6, PAD]) == "a b <unk>"
    assert made.decode(np.array([PAD, 6], np.int32)) == "c"
    for bad in (-1, 7, 4.5):
        with pytest.raises(VocabularyError, match="is not in"):
            made.decode([bad])


def test_a_text_cannot_smuggle_in_a_special_token():
    made = vocabulary(["pad start end unk < >"])
    inner = made.encode("<pad> <start> <end> <unk>", ends=False)
    assert not {PAD, START, END, UNKNOWN} & set(inner)
    assert made.decode(inner).replace(" ", "") == "<pad><start><end><unk>"


@pytest.mark.parametrize("level", ["word", "character"])
def test_saved_and_loaded_is_the_same(tmp_path, level):
    made = vocabulary(SENTENCES, level=level)
    made.save(tmp_path / "vocabulary.json")
    back = Vocabulary.load(tmp_path / "vocabulary.json")
    assert back == made
    assert back.digest == made.digest
    assert [p.name for p in tmp_path.iterdir()] == ["vocabulary.json"]


def test_another_vocabulary_has_another_digest():
    first, second = vocabulary(["a b"]), vocabulary(["b b a"])
    assert sorted(first.tokens) == sorted(second.tokens)
    assert first.digest != second.digest
    letters = vocabulary(["a b"], level="character")
    assert Vocabulary((*first.tokens[:4], "a", "b"), "word").digest != (
        Vocabulary((*first.tokens[:4], "a", "b"), "character").digest
    )
    assert letters.digest != first.digest


def damaged_vocabularies(good):
    value = json.loads(good)

    def but(**changes):
        return json.dumps({**value, **changes})

    tokens = value["tokens"]
    yield "swapped", but(tokens=[*tokens[:4], *tokens[5:], tokens[4]]), "digest differs"
    yield "twice", but(tokens=[*tokens, tokens[-1]]), "is there twice"
    yield "no specials", but(tokens=tokens[1:]), "begins with"
    yield "two words", but(tokens=[*tokens, "two words"]), "is no word"
    yield "upper case", but(tokens=[*tokens, "Upper"]), "is no word"
    yield "empty token", but(tokens=[*tokens, ""]), "is no word"
    yield "numbers", but(tokens=[*tokens, 7]), "no list of strings"
    yield "a dict", but(tokens={"a": 1}), "no list of strings"
    yield "level", but(level="byte"), "has the level"
    yield "level list", but(level=["word"]), "has the level"
    yield "format", but(format="pickle"), "has the format"
    yield "one more key", but(extra=1), "needs exactly|needs"
    yield "digest", but(digest="0" * 64), "digest differs"
    yield "cut off", good[: len(good) // 2], "vocabulary.json"
    yield "empty", "", "is empty"
    yield "a list", "[]", "needs"
    yield "deep", "[" * 100_000, "vocabulary.json"
    yield "nul", good.replace("dog", "d\0g"), "NUL"


def test_damaged_vocabularies_are_refused_by_name(tmp_path):
    path = tmp_path / "vocabulary.json"
    vocabulary(SENTENCES).save(path)
    good = path.read_text()
    names = []
    for name, content, message in damaged_vocabularies(good):
        path.write_text(content)
        with pytest.raises(VocabularyError, match=message) as caught:
            Vocabulary.load(path)
        assert "vocabulary.json" in str(caught.value)
        names.append(name)
    assert len(names) == 18
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(VocabularyError, match="is not UTF-8: byte 0"):
        Vocabulary.load(path)


def test_every_flipped_bit_of_a_stored_vocabulary_is_noticed(tmp_path):
    path = tmp_path / "vocabulary.json"
    made = vocabulary(SENTENCES)
    made.save(path)
    good = bytearray(path.read_bytes())
    silent = 0
    for at in range(len(good)):
        data = bytearray(good)
        data[at] ^= 1 << (at % 8)
        path.write_bytes(data)
        try:
            silent += Vocabulary.load(path) != made  # white space may change
        except VocabularyError:
            continue
    assert silent == 0


def test_padded_by_hand():
    rows = padded([[1, 5, 2], [1, 2], []], 4)
    np.testing.assert_array_equal(rows, [[1, 5, 2, 0], [1, 2, 0, 0], [0, 0, 0, 0]])
    assert rows.dtype == np.int32
    with pytest.raises(DataError, match="row 1 has 5 tokens, more than 3"):
        padded([[1], [1, 5, 6, 7, 2]], 3)
    cut = padded([[1, 5, 6, 7, 2], [5, 6, 7, 8]], 3, truncate=True)
    np.testing.assert_array_equal(cut, [[1, 5, 2], [5, 6, 7]])


def texts(rows):
    return Split({"captions": as_texts(rows)}, [str(row) for row in rows])


def test_tokenized_captions_and_sentences():
    several = Dataset(
        "captions",
        {"captions": Feature((), "object")},
        texts([("a dog", "the dog runs"), ("a cat",)]),
        texts([("a bird",)]),
        texts([("the",)]),
    )
    made = vocabulary(text.texts_of(several.train, "captions"))
    assert "bird" not in made.tokens  # of training alone
    done = tokenized(several, "captions", made)
    feature = done.features["captions"]
    assert feature.shape == (2, 5)
    assert feature.classes == made.tokens
    assert feature.high == len(made) - 1
    first, second = np.asarray(done.train.columns["captions"])
    assert made.decode(first[1]) == "the dog runs"
    assert made.decode(second[0]) == "a cat"
    assert not second[1].any()
    (row,) = np.asarray(done.validation.columns["captions"])
    assert made.decode(row[0]) == "a <unk>"
    with pytest.raises(DataError, match="captions, train, captions: row 1 has 5"):
        tokenized(several, "captions", made, length=4)
    with pytest.raises(DataError, match="no column 'words'"):
        tokenized(several, "words", made)

    single = Dataset(
        "s",
        {"captions": Feature((), "object")},
        *(texts([t]) for t in ["a", "b", "a c"]),
    )
    done = tokenized(single, "captions", vocabulary(["a b c"]), ends=False)
    assert done.features["captions"].shape == (2,)
    np.testing.assert_array_equal(done.test.columns["captions"], [[4, 6]])
