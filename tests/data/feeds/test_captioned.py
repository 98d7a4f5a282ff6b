"""Captioned images as batches, and what words of a caption point at."""

import dataclasses
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxnets.data.dataset import DataError, Dataset, Feature, Split
from jaxnets.data.feeds import captions as module
from jaxnets.data.feeds.captions import (
    SHAPES_LONGEST,
    caption_feeds,
    kept_feeds,
    some_captions,
    with_features,
)
from jaxnets.data.feeds.named_captions import Captions, named_captions
from jaxnets.data.files.problems import DataWarning
from jaxnets.data.shapes.captions import write
from jaxnets.data.shapes.grammar import read, read_words
from jaxnets.data.shapes.pointing import coverage, described, named_objects, pointing
from jaxnets.data.shapes.scenes import (
    COLOURS,
    FORMS,
    SIZES,
    TEXTURES,
    SceneObject,
    scene,
)
from jaxnets.ops.decoding import END, PAD, UNKNOWN
from jaxnets.types import CaptionBatch

pytestmark = pytest.mark.filterwarnings("ignore:toy. left out")

TEXTS = [("a cat", "the cat sat"), ("one dog",), ("a dog", "two", "a big red dog")]


@pytest.fixture
def captions():
    rng = np.random.default_rng(0)

    def split(name, count):
        image = rng.integers(0, 256, (count, 4, 4, 3), np.uint8)
        return Split({"image": image}, [f"{name} {i}" for i in range(count)])

    data = Dataset(
        "toy",
        {"image": Feature((4, 4, 3), "uint8", 0, 255)},
        split("train", 3),
        split("validation", 2),
        split("test", 2),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    texts = {"train": TEXTS, "validation": TEXTS[:2], "test": TEXTS[:2]}
    return Captions(data, texts, data)


def test_an_image_comes_with_each_of_its_captions_and_no_other(captions):
    feeds = caption_feeds(captions, longest=5, batch_size=3, seed=0)
    seen = {i: set() for i in range(3)}
    images = captions.dataset.train.columns["image"]
    for step in range(40):
        batch = feeds.train(step)
        for image, row in zip(np.asarray(batch.image), batch.caption, strict=True):
            pixels = np.round((image * 0.25 + 0.5) * 255)
            which = [i for i in range(3) if np.array_equal(images[i], pixels)]
            (caption,) = row
            seen[which[0]].add(feeds.vocabulary.decode(caption))
    # The longest is cut to what fits, without an end.
    assert seen == {
        0: set(TEXTS[0]),
        1: {"one dog"},
        2: {"a dog", "two", "a big red dog"},
    }
    cut = feeds.train.columns["caption"][2, 2]
    assert list(cut) == feeds.vocabulary.encode("a big red dog")[:5]
    assert cut[-1] != 2


def test_words_are_learned_from_the_training_split_alone(captions):
    """Others are `<unk>`, in validation as in use."""
    held = [("an okapi", "the cat sat"), ("one dog",)]
    texts = {"train": TEXTS, "validation": held, "test": held}
    feeds = caption_feeds(
        captions._replace(texts=texts), longest=5, batch_size=3, seed=0
    )
    plain = caption_feeds(captions, longest=5, batch_size=3, seed=0)
    assert feeds.vocabulary == plain.vocabulary


def test_images_that_would_not_fit_into_memory_are_not_generated():
    with pytest.raises(DataError, match=r"--generated 10,000,000 .* at most 68,719,"):
        named_captions("shapes", 4096, generated=10_000_000)


@pytest.mark.parametrize(
    ("file", "skip_bad", "flags"),
    [
        ("c.csv", True, "--captions and --skip-bad"),
        ("c.csv", False, "--captions"),
        (None, True, "--skip-bad"),
    ],
)
def test_what_a_folder_alone_has_is_refused_for_generated_images(file, skip_bad, flags):
    with pytest.raises(DataError, match=f"^{flags}: for files of a folder"):
        named_captions("shapes", 16, file, 10, skip_bad=skip_bad)


def test_a_word_that_is_unknown_is_one_word_of_the_picture(captions):
    """Split as text, `<unk>` is three, and every later word gets another one's map."""
    feeds = caption_feeds(captions, longest=5, batch_size=3, seed=0, minimum=2)
    numbers = {token: i for i, token in enumerate(feeds.vocabulary.tokens)}
    unknown, a, dog = UNKNOWN, numbers["a"], numbers["dog"]
    row = np.array([a, unknown, dog, unknown, END, PAD])
    assert feeds.words(row) == ["a", "<unk>", "dog", "<unk>"]
    assert feeds.words(row[:4]) == ["a", "<unk>", "dog", "<unk>"]
    assert feeds.words(row[4:]) == []


def test_which_caption_follows_from_seed_and_step(captions):
    made = [
        [
            np.asarray(
                caption_feeds(captions, longest=6, batch_size=3, seed=s).train(t)[1]
            )
            for t in range(6)
        ]
        for s in (0, 0, 1)
    ]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])
    feeds = caption_feeds(captions, longest=6, batch_size=3, seed=0)
    first = [feeds.vocabulary.decode(row) for row in feeds.test(0).caption[:2]]
    assert first == ["a cat", "one dog"]


def test_features_are_computed_once_and_take_the_images_place(
    captions, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path)
    (tmp_path / "features").mkdir()
    calls = []

    def encode(image):
        calls.append(1)
        return image.astype("float32").reshape(len(image), 2, 8, 3).sum(2)

    for _ in range(2):
        changed = with_features(captions, encode, {"network": "toy"}, batch_size=2)
    assert len(calls) == 1  # traced once, by the first of the two
    found = changed.dataset.train.columns["image"]
    images = captions.dataset.train.columns["image"]
    np.testing.assert_allclose(found, images.reshape(3, 2, 8, 3).astype(float).sum(2))
    feeds = caption_feeds(changed, longest=5, batch_size=3, seed=0)
    assert feeds.train(0).image.shape == (3, 2, 3)
    assert changed.pictures is captions.pictures


@pytest.fixture
def flickr(captions):
    """Twenty images of five captions: of 4 to 12 words, of one with 40."""
    rng = np.random.default_rng(0)
    rows = [
        tuple(" ".join(f"w{k}" for k in range(n)) for n in (4, 6, 8, 10, 12))
        for _ in range(20)
    ]
    rows[3] = (*rows[3][:4], " ".join(f"x{k}" for k in range(40)))
    image = rng.integers(0, 256, (20, 4, 4, 3), np.uint8)
    train = Split({"image": image}, [f"train {i}" for i in range(20)])
    data = dataclasses.replace(captions.dataset, name="flickr", train=train)
    held = [("w1 w2 new w3",), ("w4 w5 w6",)]
    texts = {"train": rows, "validation": held, "test": held[1:] * 2}
    return Captions(data, texts, data)


def test_the_length_follows_from_the_captions_of_a_file_and_each_rule_counts(
    flickr, capsys
):
    with pytest.warns(DataWarning) as caught:
        feeds = caption_feeds(
            *(flickr,),
            **{"longest": None, "batch_size": 4, "seed": 0},
            **{"minimum": 2, "each": 3, "wordy": True},
        )
    assert feeds.longest == 14  # twelve words, start and end
    assert feeds.train.columns["caption"].shape == (20, 5, 14)
    assert capsys.readouterr().out.splitlines() == [
        "flickr: captions are learned up to 14 tokens, the 95th percentile; --longest "
        "changes it",
        "flickr: left out 1 of 100 (1.0 %): training captions have more than 14 "
        "tokens: their ends are cut; --longest 42 cuts none",
        "flickr: left out 40 of 828 (4.8 %): words of the training captions are there "
        "less than 2 times: <unk>; --minimum 1 learns all",
    ]
    assert [str(w.message) for w in caught] == [
        "flickr: left out 40 of 100 (40.0 %): training captions are not among the "
        "longest 3 of their image; --no-wordy learns all",
        "flickr: left out 1 of 7 (14.3 %): words of the validation captions are in no "
        "training caption: <unk>; --minimum 1",
    ]


def test_the_generated_captions_have_the_length_they_always_had(flickr, capsys):
    pictures = dataclasses.replace(flickr.dataset, name="shapes")
    feeds = caption_feeds(
        flickr._replace(pictures=pictures), longest=None, batch_size=4, seed=0
    )
    assert feeds.longest == SHAPES_LONGEST == 22
    assert capsys.readouterr().out == ""


def test_what_a_checkpoint_keeps_stands_in_for_the_training_data(flickr):
    with pytest.warns(DataWarning, match="validation"):
        feeds = caption_feeds(flickr, longest=None, batch_size=4, seed=0)
    kept = json.loads(json.dumps(feeds.kept))
    again = kept_feeds(kept, side=4, batches=5, with_encoder=lambda captions: captions)
    assert again is not None
    assert again.kept == feeds.kept == kept
    assert (again.train.length, again.longest) == (5, 14)
    content = io.BytesIO()
    Image.fromarray(np.full((6, 4, 3), 200, np.uint8)).save(content, "PNG")
    one, same = (f.one(content.getvalue())(0) for f in (feeds, again))
    np.testing.assert_array_equal(one.image, same.image)
    np.testing.assert_allclose(one.image, (200 / 255 - 0.5) / 0.25, rtol=1e-5)
    assert kept_feeds({"vocabulary": kept["vocabulary"]}, 4, 5, lambda c: c) is None


def thing(colour, form, size="small", texture="plain", y=0.5, x=0.5):
    return SceneObject(
        FORMS.index(form),
        COLOURS.index(colour),
        SIZES.index(size),
        TEXTURES.index(texture),
        y,
        x,
    )


SCENE = (thing("red", "circle", x=0.2), thing("blue", "star", "large", x=0.8))


@pytest.mark.parametrize(
    ("caption", "pairs"),
    [
        ("a red circle", [(1, 0), (2, 0)]),
        ("there is a shape and a large blue star", [(6, 1), (7, 1), (8, 1)]),
        ("the star is large and blue", [(1, 1), (3, 1), (5, 1)]),
        ("a small disc in red left of a star", [(1, 0), (2, 0), (4, 0), (8, 1)]),
        ("right of a red shape is a star", [(3, 0), (7, 1)]),
        ("two shapes, one of them is a red circle", [(8, 0), (9, 0)]),
        ("a plain object", []),  # both are
        ("two plain shapes", []),  # it is about several
        ("a green circle", []),  # it is not so
        ("a red a red", []),  # it is no sentence
    ],
)
def test_words_that_describe_a_certain_object(caption, pairs):
    assert named_objects(caption, SCENE) == pairs


def test_every_phrase_has_its_words_and_reading_is_as_before():
    for i in range(60):
        for text, claim in write(scene("words", i), f"words {i}"):
            found = read_words(text)
            assert found is not None
            assert found[0] == claim == read(text)
            assert len(found[1]) == len(claim.phrases)
            places = [word for words in found[1] for word in words]
            assert len(places) == len(set(places))
            # A phrase that says something has a word for each attribute, or more.
            for phrase, words in zip(claim.phrases, found[1], strict=True):
                assert len(words) >= phrase.what.attributes + phrase.also.attributes


def test_attention_in_a_box_by_hand():
    # 4x4 cells of 2 pixels; a box of 3x2 pixels covers one cell and half of another.
    covered = coverage(np.array([2.0, 4.0, 5.0, 6.0]), (4, 4), 8)
    expected = np.zeros((4, 4))
    expected[1, 2], expected[2, 2] = 1.0, 0.5
    np.testing.assert_allclose(covered, expected)

    columns = {name: np.zeros((2, 4), np.int32) for name in ("label", "colour")}
    columns |= {name: np.zeros((2, 4), np.int32) for name in ("size", "texture")}
    boxes = np.zeros((2, 4, 4), np.float32)
    boxes[:, 0] = [2, 4, 5, 6]
    split = Split(
        {
            **columns,
            "centre": np.zeros((2, 4, 2), np.float32),
            "present": np.array([[True, False, False, False]] * 2),
            "boxes": boxes,
            "image": np.zeros((2, 8, 8, 3), np.uint8),
            "held_out": np.array([False, True]),
        }
    )
    weights = np.full((2, 3, 4, 4), 1 / 16)
    weights[0, 2] = 0  # before `circle`: half inside, half on the cell that is half in
    weights[0, 2, 1, 2] = weights[0, 2, 2, 2] = 0.5
    seen = pointing(["a red circle", "a blue circle"], weights, split)
    assert seen.words == 2  # of the caption that is true
    assert seen.area == pytest.approx(1.5 / 16)
    assert seen.inside == pytest.approx((1.5 / 16 + 0.75) / 2)

    found = described(
        ["a red circle", "a blue circle"],
        [("a red circle", "a small red circle"), ("a circle", "a disc")],
        split,
        weights,
    )
    assert (found["true"], found["true_known"], found["true_held_out"]) == (0.5, 1, 0)
    assert (found["attributes"], found["attributes_references"]) == (2, 7 / 4)


def test_captions_come_again_only_when_all_have_come():
    tokens = np.zeros((3, 4, 2), np.int32)
    tokens[0, :, 0] = [1, 2, 3, 4]
    tokens[1, :2, 0] = [5, 6]
    tokens[2, 0, 0] = 7
    batch = CaptionBatch(
        jnp.zeros((3, 2, 2, 3)), jnp.asarray(tokens), jnp.ones(3, bool)
    )
    draw, seen = jax.jit(some_captions(3)), set()
    for number in range(30):
        rows = np.asarray(draw(jax.random.key(number), batch).caption[:, :, 0])
        assert len(set(rows[0].tolist())) == 3
        assert sorted(set(rows[1].tolist())) == [5, 6]
        assert rows[2].tolist() == [7, 7, 7]
        seen.add(tuple(rows[0].tolist()))
    assert {first for first, *_ in seen} == {1, 2, 3, 4}
    assert len(seen) > 10


def test_the_wordiest_captions_are_the_longest_ones_and_ties_are_drawn():
    lengths = np.array([[2, 4, 1, 3], [3, 3, 3, 1], [2, 0, 0, 0]])
    tokens = np.where(np.arange(4) < lengths[:, :, None], 9, PAD)
    tokens[:, :, 0] = np.where(lengths > 0, [10, 11, 12, 13], PAD)
    batch = CaptionBatch(
        jnp.zeros((3, 2, 2, 3)), jnp.asarray(tokens), jnp.ones(3, bool)
    )
    draw = jax.jit(some_captions(2, wordy=True))
    rows = [
        np.asarray(draw(jax.random.key(number), batch).caption[:, :, 0])
        for number in range(30)
    ]
    assert {tuple(row[0]) for row in rows} == {(11, 13)}
    pairs = {frozenset(row[1].tolist()) for row in rows}
    assert pairs == {frozenset(p) for p in ((10, 11), (10, 12), (11, 12))}
    assert {tuple(row[2]) for row in rows} == {(10, 10)}


def test_generated_sets_without_captions_are_refused_by_what_they_are():
    with pytest.raises(DataError, match="shapes/crowded is boxes, not captions as"):
        named_captions("shapes/crowded", 64)
