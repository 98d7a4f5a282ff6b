import gc
import threading
import time
from typing import NamedTuple

import jax
import numpy as np
import pytest
from jaxtyping import Array

from jaxnets.data.dataset import DataError, Split
from jaxnets.data.feeds.base import ordered, shuffled
from jaxnets.data.feeds.prefetch import closed, prefetched

LABELS = np.arange(23, dtype=np.int32)


class Numbers(NamedTuple):
    image: Array
    label: Array
    mask: Array


class Slow:
    """A column on a pretended disk; counts what is read, and may hold a bad row."""

    def __init__(self, bad=None, seconds=0.0, error=DataError):
        self.bad, self.seconds, self.error = bad, seconds, error
        self.read, self.reading, self.most = [], 0, 0
        self.lock = threading.Lock()

    def __len__(self):
        return 23

    def __getitem__(self, index):
        with self.lock:
            self.reading += 1
            self.most = max(self.most, self.reading)
            self.read.append(tuple(index.tolist()))
        # The later a step, the earlier it is ready: order must not come from timing.
        time.sleep(self.seconds * (1 + int(index[0]) % 3))
        with self.lock:
            self.reading -= 1
        if self.bad is not None and self.bad in index:
            raise self.error(f"example {self.bad} is bad")
        return np.stack([index, index**2], -1).astype(np.float32)


def feed_of(column, kind=shuffled, **options):
    split = Split({"image": column, "label": LABELS})
    return kind(split, Numbers, batch_size=5, **options)


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    leaves = list(zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
    assert len(leaves) == 3  # positions, step, images
    for one, other in leaves:
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("ahead", [1, 3, 8])
def test_every_order_of_access_gives_the_same_values(workers, ahead):
    plain = feed_of(Slow(), seed=3)
    steps = [*range(12), 100, 101, 102, 5, 5, 4, 7, 1_000_000, 0]
    feed = prefetched(
        feed_of(Slow(seconds=0.0005), seed=3), ahead=ahead, workers=workers
    )
    for step in steps:
        same(feed.fetch(step), plain.fetch(step))
    assert feed.identity == plain.identity
    closed(feed)


def test_batches_are_those_of_the_feed():
    plain, ahead = feed_of(Slow(), ordered), prefetched(feed_of(Slow(), ordered))
    assert len(list(ahead)) == 5
    for a, b in zip(ahead, plain, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.label, b.label)
        np.testing.assert_array_equal(a.mask, b.mask)


def test_evaluation_reads_nothing_past_its_end():
    column = Slow()
    feed = prefetched(feed_of(column, ordered), ahead=4)
    for step in range(feed.length):
        feed.fetch(step)
    closed(feed)
    assert len(column.read) == 5
    assert sorted(column.read)[-1] == (20, 21, 22, 0, 0)


def test_steps_are_fetched_ahead_and_side_by_side():
    column = Slow(seconds=0.02)
    feed = prefetched(feed_of(column, seed=0), ahead=3, workers=3)
    feed.fetch(0)
    deadline = time.monotonic() + 5
    while len(column.read) < 4 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert len(column.read) == 4  # 0 and three more, before anybody asked for them
    assert column.most == 3
    closed(feed)


@pytest.mark.parametrize(
    ("error", "raised"), [(DataError, DataError), (OSError, RuntimeError)]
)
def test_only_the_step_that_needs_a_bad_example_raises_and_is_named(error, raised):
    feed = prefetched(feed_of(Slow(bad=11, error=error), ordered), ahead=4, workers=2)
    feed.fetch(0)
    feed.fetch(1)
    with pytest.raises(raised, match=r"step 2\b.*example 11 is bad") as info:
        feed.fetch(2)
    assert isinstance(info.value.__cause__, error)
    feed.fetch(3)  # the feed goes on
    with pytest.raises(raised, match="step 2"):
        feed.fetch(2)
    closed(feed)


def threads():
    return {t for t in threading.enumerate() if t.name.startswith("prefetch")}


def wait_for_no_threads(before):
    deadline = time.monotonic() + 5
    while threads() - before and time.monotonic() < deadline:
        time.sleep(0.01)
    return not threads() - before


def test_threads_end_when_the_feed_is_closed():
    before, plain = threads(), feed_of(Slow(seconds=0.01), seed=0)
    feed = prefetched(plain, ahead=8, workers=3)
    feed.fetch(0)
    assert threads() - before
    again = closed(feed)
    assert not threads() - before
    same(feed.fetch(4), plain.fetch(4))  # still right, only no longer ahead
    assert again.fetch is plain.fetch
    assert closed(again) is again


def test_threads_end_when_the_feed_is_dropped():
    before = threads()
    feed = prefetched(feed_of(Slow(seconds=0.01), seed=0), workers=3)
    feed.fetch(0)
    assert threads() - before
    del feed
    gc.collect()
    assert wait_for_no_threads(before)


@pytest.mark.parametrize("wrong", [{"ahead": 0}, {"workers": 0}])
def test_nothing_ahead_or_nobody_working_is_refused(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        prefetched(feed_of(Slow(), seed=0), **wrong)
