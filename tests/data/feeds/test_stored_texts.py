"""Texts and pairs in the store, beside what they were before: lists in memory."""

import json
import random
import shutil
import unicodedata

import jax
import numpy as np
import pytest

from jaxnets.data.dataset import DataError
from jaxnets.data.feeds import characters, paired_words, pairs, streams
from jaxnets.data.files import blocks
from jaxnets.data.files.blocks import TextFile
from jaxnets.data.files.problems import DataWarning, FileError
from jaxnets.data.files.reading import line_feeds, read_text
from jaxnets.data.files.sentences import in_three, sentence_pairs, text_files
from jaxnets.data.generated.corpus import Corpus
from jaxnets.data.text import texts_of, tokenized, vocabulary, words

quiet = pytest.mark.filterwarnings("ignore::jaxnets.data.files.problems.DataWarning")
LETTERS = [
    "a",
    "b",
    "e\u0301",
    "\u0301",
    "é",
    "\r\n",
    "\n",
    "\n\n",
    "\r",
    "한",
    "\u1100",
]
LETTERS += ["\u1161", "\u11a8", "春", "😀", " ", "x"]


@pytest.fixture(autouse=True)
def _everything_is_long(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXNETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(characters, "SMALL", 0)
    monkeypatch.setattr(paired_words, "SMALL", 0)


def odd_text(seed, length=400):
    return "".join(random.Random(seed).choices(LETTERS, k=length)) + "\nthe end\n"


def batches(feed):
    prepare, steps = jax.jit(feed.prepare), range(min(feed.length + 1, 12))
    made = [prepare(feed.columns, feed.fetch(step)) for step in steps]
    return [jax.tree.map(np.asarray, batch) for batch in made]


def same_feeds(one, other):
    for name in ("train", "validation", "test"):
        left, right = getattr(one, name), getattr(other, name)
        assert left.length == right.length
        for a, b in zip(batches(left), batches(right), strict=True):
            jax.tree.map(np.testing.assert_array_equal, a, b)
            assert [x.dtype for x in a] == [x.dtype for x in b]


def same_text(stored, plain):
    """Compares with the lists of integers that a text in memory once was."""
    text = Corpus(*(unicodedata.normalize("NFC", part) for part in plain))
    known = vocabulary([text.train], level="character")
    options = {"batch_size": 2, "steps": 5, "seed": 3, "context": 4}
    feeds = streams.character_feeds(stored, **options)
    assert not feeds.train.columns  # read from the disk
    assert feeds.vocabulary == known
    train, validation, test = (
        np.array(known.encode(part, ends=False), np.int32) for part in text
    )
    twin = streams.TextFeeds(
        known,
        streams.streams(train, batch_size=2, steps=5, seed=3),
        streams.windows(validation, context=4),
        streams.windows(test, context=4),
        known.decode(train[:64]),
    )
    same_feeds(feeds, twin)
    same_tokens(characters.coded(text), stored)
    for name in ("train", "validation", "test"):  # so that runs resume
        assert getattr(feeds, name).identity == getattr(twin, name).identity
    assert feeds.beginning == twin.beginning


def same_tokens(one, other):
    assert one.vocabulary == other.vocabulary
    for left, right in zip(one[1:], other[1:], strict=True):
        np.testing.assert_array_equal(left.ids, right.ids)
        assert left[1:] == right[1:]


@quiet
@pytest.mark.parametrize("block", [5, 2**22])
def test_a_stored_file_has_the_batches_of_one_in_memory(tmp_path, monkeypatch, block):
    monkeypatch.setattr(blocks, "BLOCK", block)
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf" + odd_text(block).encode())
    written = streams.named_text(str(path))
    same_text(written, in_three(line_feeds(read_text(path))))
    same_tokens(streams.named_text(str(path)), written)


@quiet
@pytest.mark.parametrize("names", [["a", "b"], ["train", "val"], ["a"]])
def test_a_stored_folder_is_cut_between_paragraphs(tmp_path, names):
    for i, name in enumerate(names):
        text = odd_text(i) if len(names) > 1 else "one long paragraph\n" * 20
        (tmp_path / f"{name}.txt").write_bytes(text.encode())
    (tmp_path / "bad.txt").write_bytes(b"\xff\n")
    with pytest.raises(DataError, match="--skip-bad leaves the bad ones out"):
        streams.named_text(str(tmp_path))
    assert not list(tmp_path.glob(".jaxnets/*"))
    splits = text_files(tmp_path, skip_bad=True).splits.values()
    plain = ["\n\n".join(texts_of(split, "text")) for split in splits]
    with pytest.warns(DataWarning) as said:
        text_files(tmp_path, skip_bad=True)
    made = []
    for _ in range(2):  # written, and read
        with pytest.warns(DataWarning) as again:
            made.append(streams.named_text(str(tmp_path), skip_bad=True))
        assert [str(w.message) for w in again] == [str(w.message) for w in said]
    same_text(made[0], plain)
    same_tokens(*made)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc\xff" * 9,
        "é".encode() * 9 + b"\xc3",
        b"\xef\xbb\xbf" + b"ab\r\n" * 5 + b"\xff",
        b"ab\r\n" * 9 + b"\0 \0" + b"ab\r\n" * 9,
        b"\0" * 3 + b"\xff",
        b"old\rMac\r" * 9,
        "ab".encode("utf-16"),
        b"PK\x03\x04" + b"." * 99 + b"word/document.xml",
        b"\x1f\x8b zipped",
    ],
)
@pytest.mark.parametrize("block", [64, 67])
def test_a_file_in_blocks_has_the_faults_of_a_whole_one(
    tmp_path, monkeypatch, content, block
):
    monkeypatch.setattr(blocks, "BLOCK", block)
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(FileError) as whole:
        line_feeds(read_text(path))
    with pytest.raises(FileError) as parts:
        list(TextFile(path).blocks())
    assert str(parts.value) == str(whole.value)


def test_a_file_that_changes_while_it_is_read_is_no_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n")
    file = TextFile(path)
    assert list(file.lines()) == ["one", "two"]
    for other in ("one\nTwo\n", "one\n", "", "one\ntwo\nthree\n"):
        path.write_text(other)
        with pytest.raises(DataError, match="has changed while it was read"):
            list(file.lines())


def numbers_file(path):
    """Pairs of several lengths, rare words, and empty lines."""
    draw = random.Random(0)
    names = [
        "Eins",
        "zwei",
        "drei,",
        "VIER!",
        "fünf",
        "sechs-sieben",
        "春眠",
        "e\u0301",
    ]
    lines = []
    for i in range(300):
        sides = [" ".join(draw.choices(names, k=draw.randint(1, 9))) for _ in "ab"]
        lines.append(f"{sides[0]} {i % 60}\t{sides[1]}\tby me" if i % 50 else "")
    path.write_text("en\tde\tby\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def twin_pairs(path, longest, minimum, largest, held_out):
    """The data set that lists of words become, one pair after the other."""
    dataset = sentence_pairs(path)
    short = {}
    for name, split in dataset.splits.items():
        sides = zip(texts_of(split, "source"), texts_of(split, "target"), strict=True)
        fits = [max(len(words(a)), len(words(b))) <= longest for a, b in sides]
        kept = np.flatnonzero(fits)
        if name != "train" and len(kept) > held_out:
            kept = kept[np.linspace(0, len(kept) - 1, held_out).astype(int)]
        short[name] = split.take(kept)
    dataset = type(dataset)(dataset.name, dataset.features, **short)
    known = {
        side: vocabulary(
            texts_of(dataset.train, side), minimum=minimum, largest=largest
        )
        for side in ("source", "target")
    }
    dataset = tokenized(dataset, "source", known["source"], ends=False)
    return tokenized(dataset, "target", known["target"]), known


@quiet
@pytest.mark.parametrize("limits", [(9, 1, 10_000, 8), (6, 2, 30, 100)])
def test_stored_pairs_have_the_batches_of_those_in_memory(
    tmp_path, monkeypatch, capsys, limits
):
    path = numbers_file(tmp_path / "a.tsv")
    options = dict(
        zip(("longest", "minimum", "largest", "held_out"), limits, strict=True)
    )
    dataset, known = twin_pairs(path, **options)
    twin = pairs.pair_feeds(
        pairs.Pairs(dataset, known["source"], known["target"], {}), batch_size=8, seed=1
    )
    capsys.readouterr()
    said = []
    for small in (2**20, 0, 0):  # in memory; written; read
        monkeypatch.setattr(paired_words, "SMALL", small)
        made = pairs.word_pairs(path, **options)
        feeds = pairs.pair_feeds(made, batch_size=8, seed=1)
        assert bool(feeds.train.columns) == bool(small)
        assert (made.source, made.target) == (known["source"], known["target"])
        assert made.dataset.features == dataset.features
        same_feeds(feeds, twin)
        if small:
            assert made.dataset.digest == dataset.digest
        said.append((sorted(capsys.readouterr().out.split("\n")), made.wanted))
    assert said[0] == said[1] == said[2]
    assert any("lines are empty" in line for line in said[0][0])
    assert any("is a header, no pair" in line for line in said[0][0])


def starts(path):
    """What a start with a text, or with pairs, gives."""
    if path.suffix == ".tsv":
        made = pairs.word_pairs(path, longest=9, minimum=1)
        return made.dataset.train.columns["source"][:3].tolist()
    return np.array(streams.named_text(str(path)).train.ids[:9]).tolist()


@pytest.fixture(params=["a.txt", "a.tsv"])
def kept(tmp_path, request):
    """A file that a first start has stored, and the entry."""
    path = tmp_path / request.param
    if path.suffix == ".tsv":
        numbers_file(path)
    else:
        path.write_text("0123456789" * 20)
    starts(path)
    (entry,) = (tmp_path / ".jaxnets").iterdir()
    return path, entry


def not_read(*_, **__):
    raise AssertionError("the text was read again")


@quiet
def test_a_later_start_reads_the_digest_alone_and_sees_a_change(kept, monkeypatch):
    path, entry = kept
    with monkeypatch.context() as patched:
        patched.setattr(TextFile, "blocks", not_read)
        first = starts(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"2", b"3"))  # as long as before
    assert starts(path) != first
    (other,) = entry.parent.iterdir()
    assert other != entry  # which was of what the file no longer holds


@quiet
def test_a_flipped_bit_is_seen_and_mended(kept):
    path, entry = kept
    first = starts(path)
    name = "train.source" if path.suffix == ".tsv" else "train"
    column = entry / f"{name}.npy"
    content = bytearray(column.read_bytes())
    content[-3] ^= 1
    column.write_bytes(content)
    with pytest.warns(UserWarning, match=r"is damaged: train\S* does not have its SHA"):
        assert starts(path) == first
    assert starts(path) == first


@quiet
def test_what_a_killed_start_leaves_is_not_used(kept, monkeypatch):
    path, entry = kept
    first = starts(path)
    entry.rename(entry.with_name(f"{entry.name}-0123.part"))
    (entry.parent / f"{entry.name}-0123.part" / "train.npy").write_bytes(b"half")
    assert starts(path) == first
    assert json.loads((entry / "manifest.json").read_text())["manifest"]["notes"]


@quiet
def test_what_would_fill_the_disk_is_refused_with_both_numbers(kept, monkeypatch):
    path, entry = kept
    shutil.rmtree(entry)
    full = type(shutil.disk_usage(path.parent))(1000, 991, 9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(DataError, match=r"take [\d,]+ bytes, and .* has 9 free: make"):
        starts(path)
    assert not list(entry.parent.iterdir())


@quiet
def test_two_texts_in_a_folder_keep_an_entry_each(kept):
    path, entry = kept
    other = path.with_name(f"other{path.suffix}")
    other.write_bytes(path.read_bytes())
    starts(other)
    assert len(list(entry.parent.iterdir())) == 2
