import numpy as np
import pytest

from jaxnets.data.corpus import Corpus
from jaxnets.data.dataset import DataError
from jaxnets.data.streams import character_feeds, named_text, prompts, streams, windows
from jaxnets.data.text import PAD, UNKNOWN, vocabulary

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


def test_a_text_that_is_too_short_is_refused():
    streams(TEXT[:21], batch_size=3, steps=5, seed=0)
    with pytest.raises(DataError, match="smaller --batch-size or --steps"):
        streams(TEXT[:20], batch_size=3, steps=5, seed=0)
    with pytest.raises(DataError, match="nothing to predict"):
        windows(TEXT[:1], context=3)
    with pytest.raises(DataError, match="one character, please"):
        prompts(vocabulary(["a"], level="character"), "", rows=1)
