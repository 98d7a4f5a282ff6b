import numpy as np
import pytest

from jaxnets.data.dataset import DataError
from jaxnets.data.feeds.texts import (
    effects,
    labelled_text_feeds,
    labelled_texts,
    without_each_word,
)
from jaxnets.data.files.problems import DataWarning
from jaxnets.data.generated import reviews
from jaxnets.ops.decoding import UNKNOWN
from jaxnets.scores.tokens import words

LINES = [("good film", 1), ("bad film", 0), ("good good cast", 1), ("bad plot", 0)]


def written(path, lines):
    path.write_text("".join(f"{text}\t{label}\n" for text, label in lines))
    return str(path)


@pytest.fixture
def folder(tmp_path):
    written(tmp_path / "train.tsv", LINES * 4)
    written(tmp_path / "dev.tsv", [("good unheard", 1)])
    written(tmp_path / "test.tsv", [("bad bad bad bad film", 0), ("good", 1)])
    return f"{tmp_path}/"


@pytest.mark.filterwarnings("ignore::jaxnets.data.files.problems.DataWarning")
def test_a_folder_has_its_own_splits(folder):
    data = labelled_texts(folder)
    assert [len(split) for split in data.splits.values()] == [16, 1, 2]
    assert data.classes == ("0", "1")
    feeds = labelled_text_feeds(data, batch_size=4, seed=0, minimum=5, length=4)
    assert set(feeds.vocabulary.tokens[4:]) == {"good", "bad", "film"}
    validation, test = feeds.validation(0), feeds.test(0)
    good = feeds.vocabulary.tokens.index("good")
    assert validation.token[0].tolist() == [good, UNKNOWN, 0, 0]
    assert (test.token[0] != 0).all()  # cut to four words
    assert test.label[:2].tolist() == [0, 1]
    assert int(test.mask.sum()) == 2


def test_splits_are_held_out_of_one_file(tmp_path):
    data = labelled_texts(written(tmp_path / "all.tsv", LINES * 10))
    assert [len(split) for split in data.splits.values()] == [32, 4, 4]


def test_what_is_no_text_and_label_is_named(tmp_path):
    path = tmp_path / "bad.tsv"
    path.write_text("good\t1\nwithout a label\nbad\t0\n")
    with pytest.raises(DataError, match=r"bad\.tsv, line 2"):
        labelled_texts(str(path))
    with pytest.raises(DataError):
        labelled_texts(str(tmp_path / "none.tsv"))


@pytest.mark.filterwarnings("ignore::jaxnets.data.files.problems.DataWarning")
def test_each_word_is_left_out_once_and_its_effect_is_what_is_lost(folder):
    feeds = labelled_text_feeds(labelled_texts(folder), batch_size=4, seed=0)
    token, left = without_each_word(feeds.test, 9)
    assert [row[row != 0].tolist() for row in token] == [
        [*4 * [feeds.vocabulary.tokens.index("bad")], token[0, 4]],
        [feeds.vocabulary.tokens.index("good")],
    ]  # two texts, and none of the rows that fill up the batch
    assert left.examples == 2 * 6
    rows = np.asarray(left(0).token)[:12].reshape(2, 6, 5)
    np.testing.assert_array_equal(rows[:, 0], token)
    for place in range(5):
        kept = np.arange(5) != place
        np.testing.assert_array_equal(rows[:, 1 + place, kept], token[:, kept])
        assert not rows[:, 1 + place, place].any()
    logits = np.log(np.array([[[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]]))
    added, verdict = effects(logits)
    np.testing.assert_allclose(added, [[0.3, 0.7]])
    assert verdict.tolist() == [0]


def long_texts(tmp_path, count):
    """Of 100 training texts 96 have 70 words, the others 90."""
    lines = [
        (f"{('fine', 'dull')[i % 2]} " * (90 if i < count else 70), i % 2)
        for i in range(100)
    ]
    for name, part in (("train", lines), ("dev", lines[:20]), ("test", lines[20:40])):
        written(tmp_path / f"{name}.tsv", part)
    return labelled_texts(f"{tmp_path}/")


def test_long_texts_are_cut_at_the_95th_percentile_and_counted(tmp_path, capsys):
    data = long_texts(tmp_path, 2)
    feeds = labelled_text_feeds(data, batch_size=4, seed=0)
    said = capsys.readouterr().out
    assert "texts are cut to 70 words, by the 95th percentile" in said
    assert "--words 90 cuts none" in said
    assert "train: left out 2 of 100 (2.0 %): the rest of texts with more" in said
    assert feeds.test(0).token.shape[1] == 70
    asked = labelled_text_feeds(data, batch_size=4, seed=0, length=90)
    assert asked.test(0).token.shape[1] == 90


def test_short_texts_are_never_cut(capsys, monkeypatch):
    monkeypatch.setattr(reviews, "SIZES", {"train": 64, "validation": 16, "test": 32})
    feeds = labelled_text_feeds(labelled_texts("reviews"), batch_size=4, seed=0)
    longest = max(len(words(t)) for t in feeds.dataset.train.columns["text"][:])
    assert feeds.train(0).token.shape[1] >= longest
    assert "cut" not in capsys.readouterr().out


def test_texts_of_unknown_words_are_a_warning(tmp_path):
    written(tmp_path / "train.tsv", LINES * 4)
    written(tmp_path / "dev.tsv", [("good film", 1)])
    written(tmp_path / "test.tsv", [("muy bien", 1), ("bad plot", 0)])
    with pytest.warns(
        DataWarning, match=r"test, text: left out 2 of 4 \(50.0 %\): words"
    ):
        labelled_text_feeds(labelled_texts(f"{tmp_path}/"), batch_size=4, seed=0)
