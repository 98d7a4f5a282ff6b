import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxnets.data.dataset import DataError, Dataset, Feature, Split
from jaxnets.data.feeds.base import order, ordered, shuffled
from jaxnets.data.feeds.images import image_feeds, loaded_size
from jaxnets.data.generated.digits import digits
from jaxnets.data.pictures import channel_statistics
from jaxnets.ops import augment
from jaxnets.ops.augment import CHOICES, SHARES, padded_crop
from jaxnets.types import ImageBatch

N = 10
SPLIT = Split(
    {
        "image": np.arange(N * 4, dtype=np.uint8).reshape(N, 2, 2, 1),
        "label": np.arange(N, dtype=np.int64),
    }
)


def labels(feed, steps):
    return [list(map(int, feed(step).label)) for step in steps]


def test_every_example_comes_once_an_epoch():
    feed = shuffled(SPLIT, ImageBatch, batch_size=4, seed=0)
    flat = [label for batch in labels(feed, range(10)) for label in batch]
    for epoch in range(4):
        assert sorted(flat[epoch * N : (epoch + 1) * N]) == list(range(N))
    assert flat[:N] != flat[N : 2 * N]


def test_batches_are_a_function_of_seed_and_step():
    one = shuffled(SPLIT, ImageBatch, batch_size=4, seed=3)
    again = shuffled(SPLIT, ImageBatch, batch_size=4, seed=3)
    assert labels(one, [7, 2, 5]) == labels(again, [7, 2, 5])  # in any order
    other = shuffled(SPLIT, ImageBatch, batch_size=4, seed=4)
    assert labels(one, range(5)) != labels(other, range(5))


def test_the_order_never_changes():
    # Raw Philox words: another order would make every recorded run irreproducible.
    assert list(order(0, 0, 10)) == [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]
    assert list(order(1, 5, 6)) == [3, 5, 1, 2, 0, 4]


def test_an_order_is_uniform_over_permutations():
    found = [tuple(order(seed, 0, 3)) for seed in range(1200)]
    counts = [found.count(one) for one in set(found)]
    assert len(counts) == 6
    assert min(counts) > 140  # 200 expected, five standard deviations are 64


def test_the_last_batch_is_padded_and_masked():
    feed = ordered(SPLIT, ImageBatch, batch_size=4)
    batches = list(feed)
    assert [int(batch.mask.sum()) for batch in batches] == [4, 4, 2]
    assert all(batch.image.shape == (4, 2, 2, 1) for batch in batches)
    real = [int(x) for b in batches for x, m in zip(b.label, b.mask, strict=True) if m]
    assert real == list(range(N))
    np.testing.assert_array_equal(batches[-1].image[2:], 0)


def test_bytes_become_numbers_between_0_and_1():
    batch = ordered(SPLIT, ImageBatch, batch_size=10)(0)
    assert batch.image.dtype == jnp.float32
    assert batch.label.dtype == jnp.int32
    expected = np.arange(40, dtype=np.float32).reshape(10, 2, 2, 1) / 255
    np.testing.assert_allclose(batch.image, expected, rtol=1e-6)


def test_augmentation_is_a_function_of_seed_and_step():
    data = digits()

    def feed(seed):
        feeds = image_feeds(
            data, batch_size=8, seed=seed, augmentation=[padded_crop(2)]
        )
        return feeds.train

    one, again = feed(0), feed(0)
    np.testing.assert_array_equal(one(3).image, again(3).image)
    assert not np.array_equal(one(3).image, feed(1)(3).image)


def test_training_images_are_normalised():
    feeds = image_feeds(digits(), batch_size=1292, seed=0)
    image = feeds.train(0).image
    np.testing.assert_allclose([image.mean(), image.std()], [0, 1], atol=1e-5)


def colours(count=24, size=(32, 24)):
    """Images that no two pixels of are alike, in three equal splits."""
    random = np.random.default_rng(0)
    columns = {
        "image": random.integers(0, 256, (count, *size, 3)).astype(np.uint8),
        "label": np.arange(count, dtype=np.int64) % 2,
    }
    features = {
        "image": Feature((*size, 3), "uint8", 0, 255),
        "label": Feature((), "int64", 0, 1, ("a", "b")),
    }
    split = Split(columns, [str(i) for i in range(count)])
    parts = (split.take(np.arange(i, count, 3)) for i in range(3))
    mean, std = channel_statistics(columns["image"])
    return Dataset("colours", features, *parts, mean, std)


def test_crops_of_larger_images_are_the_loop():
    """Pillow cuts the same windows; evaluation sees the middle, 7/8 of each side."""
    data, seed, step = colours(), 5, 3
    mean, std = np.array(data.mean), np.array(data.std)
    feeds = image_feeds(
        data,
        batch_size=8,
        seed=seed,
        augmentation=CHOICES["imagenet"](data.side),
        share=SHARES["imagenet"],
    )
    assert feeds.side == 21
    size = (28, 21)
    got, images = feeds.train(step), data.train.columns["image"]
    rows = order(seed, step, 8)
    np.testing.assert_array_equal(got.label, data.train.columns["label"][rows])
    key = jax.random.fold_in(jax.random.key(seed), step)
    draw = jax.random.fold_in(key, 0)
    shapes = (8, 32, 24), (0.08, 1.0), (3 / 4, 4 / 3), 10
    windows = jax.jit(lambda key: augment._random_windows(key, *shapes))(draw)
    mirrored = jax.random.bernoulli(jax.random.fold_in(key, 1), 0.5, (8,))
    assert 0 < mirrored.sum() < 8
    for i, (y0, x0, y1, x1) in enumerate(np.asarray(windows)):
        for channel in range(3):
            cut = images[rows[i], y0:y1, x0:x1, channel].astype(np.float32) / 255
            made = Image.fromarray(cut).resize(size[::-1], Image.Resampling.BILINEAR)
            want = np.asarray(made)[:, :: -1 if mirrored[i] else 1]
            want = (want - mean[channel]) / std[channel]
            np.testing.assert_allclose(got.image[i, ..., channel], want, atol=1e-4)
    middle = data.validation.columns["image"][:, 2:30, 1:22] / 255
    seen = feeds.validation(0).image
    np.testing.assert_allclose(seen, (middle - mean) / std, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "augment", "loaded"),
    [
        ((224,), "imagenet", (256,)),
        ((224, 112), "imagenet", (256, 128)),
        ((224,), "resized", (224,)),
        ((), "flips", ()),
    ],
)
def test_images_are_loaded_larger_than_the_network_sees_them(size, augment, loaded):
    assert loaded_size(size, augment) == loaded


def test_crops_of_larger_images_need_a_size():
    with pytest.raises(DataError, match="give --size 224"):
        loaded_size((), "imagenet")


class Lazy:
    """A column that is not in memory."""

    def __init__(self, rows):
        self.rows, self.asked = rows, []

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        self.asked.append(np.asarray(index))
        return self.rows[index]


def test_a_column_that_is_not_in_memory_gives_the_same_batches():
    lazy = Split({**SPLIT.columns, "image": Lazy(SPLIT.columns["image"])})
    for make in (shuffled, ordered):
        options = {"seed": 1} if make is shuffled else {}
        a = make(SPLIT, ImageBatch, batch_size=4, **options)
        b = make(lazy, ImageBatch, batch_size=4, **options)
        assert set(b.columns) == {"label"}
        for step in range(3):
            real = a(step).mask
            np.testing.assert_array_equal(a(step).image[real], b(step).image[real])


def test_a_part_of_a_lazy_split_reads_only_that():
    lazy = Lazy(SPLIT.columns["image"])
    part = Split({"image": lazy, "label": SPLIT.columns["label"]}).take(
        np.array([7, 3])
    )
    assert len(part) == 2
    np.testing.assert_array_equal(part.columns["image"][np.array([1])], lazy.rows[[3]])


@pytest.mark.parametrize("size", [0, -1, 11])
def test_a_batch_that_does_not_fit_is_refused(size):
    with pytest.raises(DataError, match="batch"):
        shuffled(SPLIT, ImageBatch, batch_size=size, seed=0)


def test_a_feed_is_traced_into_a_step():
    feed = shuffled(SPLIT, ImageBatch, batch_size=4, seed=0)

    def step(total, fetched):
        return total + feed.prepare(feed.columns, fetched).label.sum(), None

    rows = [feed.fetch(i) for i in range(5)]
    stacked = jax.tree.map(lambda *x: np.stack(x), *rows)
    total, _ = jax.lax.scan(step, jnp.int32(0), stacked)
    assert total == 2 * sum(range(N))


def test_text_does_not_reach_the_device():
    words = Split({"caption": np.array(["a", "b"])})
    with pytest.raises(DataError, match="column caption holds text"):
        ordered(words, dict, batch_size=1)


def test_augmentation_follows_from_the_step():
    """One row a batch, the same for many steps: only the draws differ."""
    one = SPLIT.take(np.array([3]))
    noise = lambda key, batch: batch._replace(image=jax.random.normal(key, (3,)))
    feed = shuffled(one, ImageBatch, batch_size=1, seed=0, transform=noise)
    drawn = [tuple(np.asarray(feed(step).image)) for step in (0, 1, 2, 1)]
    assert len(set(drawn)) == 3
    assert drawn[1] == drawn[3]


def test_a_channel_that_never_varies_becomes_zero_and_is_named(capsys):
    image = np.random.default_rng(0).integers(0, 256, (9, 4, 4, 3), dtype=np.uint8)
    image[..., 2] = 255
    split = Split({"image": image, "label": np.zeros(9, np.int32)})
    features = {
        "image": Feature((4, 4, 3), "uint8", 0, 255),
        "label": Feature((), "int32", 0, 0, ("a",)),
    }
    known = channel_statistics(image)
    feeds = image_feeds(
        Dataset("cells", features, split, split, split, *known), batch_size=8, seed=0
    )
    assert "cells: of 3 image channels, 2 (counted" in capsys.readouterr().out
    batch = np.asarray(feeds.train(0).image)
    assert np.isfinite(batch).all()
    assert (batch[..., 2] == 0).all()
    assert batch[..., 0].std() > 0.5
