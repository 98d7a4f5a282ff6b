import unicodedata

import numpy as np
import pytest

from jaxnets.data.dataset import DataError
from jaxnets.data.feeds.streams import (
    character_feeds,
    chosen_prompt,
    named_text,
    prompts,
    streams,
    windows,
)
from jaxnets.data.files.problems import DataWarning
from jaxnets.data.generated.corpus import Corpus
from jaxnets.data.text import vocabulary
from jaxnets.ops.decoding import PAD, UNKNOWN

TEXT = np.arange(1, 124, dtype=np.int32)  # every token says where it stands


@pytest.fixture(scope="module")
def feed():
    return streams(TEXT, batch_size=3, steps=5, seed=4)


@pytest.fixture(scope="module")
def batches(feed):
    return [feed(step) for step in range(3 * feed.length)]


def test_a_row_goes_on_where_it_ended(feed, batches):
    assert feed.length == 7
    for epoch in range(3):
        part = batches[epoch * 7 : (epoch + 1) * 7]
        rows = np.concatenate([b.token for b in part], axis=1)
        assert (np.diff(rows, axis=1) == 1).all()  # without a gap
        assert len(np.unique(rows)) == rows.size  # nothing twice
        assert rows.size == feed.examples * 5
        for b in part:
            np.testing.assert_array_equal(b.target, b.token + 1)
            assert b.mask.all()


def test_only_the_first_batch_of_an_epoch_is_fresh(feed, batches):
    first = [bool(b.fresh.all()) for b in batches]
    assert [bool(b.fresh.any()) for b in batches] == first
    assert first == [step % 7 == 0 for step in range(21)]


def test_epochs_cut_elsewhere_and_the_batch_is_a_function_of_seed_and_step(batches):
    begins = {int(batches[7 * epoch].token[0, 0]) for epoch in range(3)}
    assert len(begins) > 1
    again = streams(TEXT, batch_size=3, steps=5, seed=4)
    np.testing.assert_array_equal(again(9).token, batches[9].token)
    other = streams(TEXT, batch_size=3, steps=5, seed=5)
    assert (other(9).token != batches[9].token).any()
    assert other.identity != again.identity


def test_every_token_but_the_first_is_predicted_once():
    feed = windows(TEXT, context=7, span=10, batch_size=4)
    seen = []
    for batch in feed:
        token, target = np.asarray(batch.token), np.asarray(batch.target)
        counted = (target != PAD) & np.asarray(batch.mask)[:, None]
        np.testing.assert_array_equal(target[counted], token[counted] + 1)
        seen += target[counted].tolist()
        for row in np.flatnonzero(batch.mask):
            real = token[row][token[row] != PAD]
            assert (np.diff(real) == 1).all()
            warm = real[: np.argmax(real == target[row][counted[row]][0] - 1)]
            assert len(warm) == min(7, real[0] + len(warm) - 1)
    assert sorted(seen) == list(range(2, 124))
    assert (feed.length, feed.examples) == (4, 13)


@pytest.mark.filterwarnings("ignore::jaxnets.data.files.problems.DataWarning")
def test_the_vocabulary_is_that_of_training():
    text = Corpus("abba" * 9, "abc" * 3, "aé")
    feeds = character_feeds(text, batch_size=2, steps=4, seed=0, context=4)
    assert set(feeds.vocabulary.tokens[4:]) == {"a", "b"}
    (batch,) = feeds.validation
    assert int((batch.target == UNKNOWN).sum()) == 3
    (batch,) = prompts(feeds.vocabulary, "ba", rows=3)
    np.testing.assert_array_equal(batch.token, [[5, 4]] * 3)


def test_files_are_cut_at_nine_tenths_and_odd_ones_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"0123456789\r\n" * 100)
    text = named_text(str(path))
    assert [len(part) for part in text] == [990, 55, 55]
    assert "".join(text) == "0123456789\n" * 100
    path.write_text("a")
    with pytest.raises(DataError, match="a part of the text is empty"):
        named_text(str(path))
    with pytest.raises(DataError, match=r"none\.txt"):
        named_text(str(tmp_path / "none.txt"))


def test_any_text_file_and_a_folder_of_them_are_texts(tmp_path):
    (tmp_path / "book.md").write_text("0123456789" * 10)
    assert named_text(str(tmp_path / "book.md")).train == "0123456789" * 9
    folder = tmp_path / "books"
    folder.mkdir()
    for name in ("train", "val", "test"):
        (folder / f"{name}.txt").write_text(f"{name} one.\n\n{name} two.\n")
    assert named_text(f"{folder}/")[1:] == (
        "val one.\n\nval two.",
        "test one.\n\ntest two.",
    )


def test_a_decomposed_text_is_composed(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(unicodedata.normalize("NFD", "é" * 100), encoding="utf-8")
    assert set("".join(named_text(str(path)))) == {"é"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            ("ça" * 99).encode("latin-1"),
            r"a\.txt: is not UTF-8: byte 0 is wrong.*iconv",
        ),
        (("ab" * 99).encode("utf-16"), r"a\.txt: is not UTF-8: byte 0.*UTF-16"),
        (b"old\rMac\r" * 99, r"a\.txt: has lines that end at a carriage return.*`tr "),
    ],
    ids=["Latin-1", "UTF-16", "Mac"],
)
def test_texts_in_other_forms_are_refused_with_the_remedy(tmp_path, content, message):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        named_text(str(tmp_path / "a.txt"))


def test_a_prompt_of_unknown_characters_is_refused_and_some_are_named():
    known = vocabulary(["abc é"], level="character")
    with pytest.raises(DataError, match="'мама' has unknown characters only"):
        prompts(known, "мама", rows=2)
    with pytest.warns(
        DataWarning, match="does not have 'z', so the network reads <unk>"
    ):
        (batch,) = prompts(known, "abz", rows=2)
    assert (np.asarray(batch.token)[:, 2] == UNKNOWN).all()
    (batch,) = prompts(known, "e\u0301", rows=1)  # as macOS may type it
    assert batch.token.shape == (1, 1)
    assert UNKNOWN not in np.asarray(batch.token)


def test_the_default_prompt_is_one_that_the_text_has(capsys):
    feeds = character_feeds(
        Corpus("春眠不觉晓。\n" * 20, "春眠" * 9, "不觉" * 9),
        batch_size=2,
        steps=4,
        seed=0,
    )
    assert chosen_prompt(feeds, None) == "春眠不觉"
    assert (
        "--prompt: '春眠不觉', the beginning of the training" in capsys.readouterr().out
    )
    assert chosen_prompt(feeds, "晓") == "晓"
    english = feeds._replace(vocabulary=vocabulary(["The "], level="character"))
    assert chosen_prompt(english, None) == "The "
    assert not capsys.readouterr().out


def test_unknown_characters_of_the_text_are_counted(capsys):
    text = Corpus("ab" * 40, "ab" * 19 + "ax", "ab" * 10)
    character_feeds(text, batch_size=2, steps=4, seed=0)
    said = capsys.readouterr().out
    assert "the validation text: left out 1 of 40 (2.5 %): characters that" in said
    assert "the test text" not in said
    with pytest.warns(DataWarning, match="the test text: left out 3 of 20"):
        character_feeds(
            text._replace(test="xyz" + "a" * 17), batch_size=2, steps=4, seed=0
        )


def test_a_text_that_is_too_short_is_refused():
    streams(TEXT[:21], batch_size=3, steps=5, seed=0)
    with pytest.raises(DataError, match="smaller --batch-size or --steps"):
        streams(TEXT[:20], batch_size=3, steps=5, seed=0)
    with pytest.raises(DataError, match="nothing to predict"):
        windows(TEXT[:1], context=3)
    with pytest.raises(DataError, match="one character or more"):
        prompts(vocabulary(["a"], level="character"), "", rows=1)


def test_bad_files_of_a_folder_may_be_left_out_and_nothing_else(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("one\n\n" * 40)
    (tmp_path / "b.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match="--skip-bad leaves the bad ones out"):
        named_text(str(tmp_path))
    with pytest.warns(DataWarning, match=r"1 problems, 40 examples left(.|\n)*b\.txt"):
        assert named_text(str(tmp_path), skip_bad=True).test == "one\n\none"
    for name in ("corpus", f"{tmp_path}/a.txt", "tiny_shakespeare"):
        with pytest.raises(DataError, match="--skip-bad leaves out parts of a user's"):
            named_text(name, skip_bad=True)


def test_a_folder_may_be_called_like_a_file(tmp_path):
    (tmp_path / "my.txt").mkdir()
    (tmp_path / "my.txt" / "a.txt").write_text("one\n\n" * 40)
    assert named_text(str(tmp_path / "my.txt")).test == "one\n\none"
