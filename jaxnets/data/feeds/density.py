"""Images whose likelihood is asked for: how grey becomes black and white, by name.

- `static`: every pixel is 1 with the probability that is its brightness, drawn once.
  What is drawn follows from the seed, the split and the image's position in it.
- `dynamic`: drawn anew for every training step. Validation and test are `static`.
- `threshold`: 1 where a byte is 128 or more.
- `none`: the bytes.

Numbers under different names are numbers about different data, and never compared.
"""

import dataclasses
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import UInt8

from jaxnets.data.dataset import DataError, Dataset, Split, checked, enough
from jaxnets.data.feeds.base import Feed, ordered, shuffled
from jaxnets.data.feeds.prefetch import prefetched
from jaxnets.data.generated.draws import uniforms
from jaxnets.ops.augment import Transform
from jaxnets.ops.distributions import Likelihood
from jaxnets.ops.pixels import dequantised, drawn_pixels
from jaxnets.types import CodeBatch, ImageBatch

Binarise: TypeAlias = Literal["static", "dynamic", "threshold", "none"]

_BLOCK = 1000  # images that are drawn from one stream of random numbers
_JUDGED = 100  # images in a batch for the bound of many samples


class DensityFeeds(NamedTuple):
    """The feeds of a data set, for models of its density."""

    dataset: Dataset  # as it is looked at, binarised or not
    train: Feed
    validation: Feed
    test: Feed
    judged: Feed  # the first of the test images, for what takes long

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        height, width, channels = self.train.prepared.image.shape[1:]
        return height, width, channels


def density_feeds(
    dataset: Dataset,
    likelihood: Likelihood,
    *,
    batch_size: int,
    seed: int,
    binarise: Binarise,
    binarise_seed: int = 0,
    judged: int = 500,
) -> DensityFeeds:
    """Checked images in [0, 1]: shuffled to train on, in order to evaluate.

    Args:
        dataset: With columns `image`, in bytes, and `label`.
        likelihood: What is to be asked about them. Bytes for a density are
            dequantised: in training anew in every step, in evaluation always alike.
        batch_size: Of training; evaluation takes 256 at a time, or fewer.
        seed: Of the order, and of what is drawn in every step.
        binarise: See the top of this module.
        binarise_seed: Of what is drawn once.
        judged: How many test images the bound of many samples is computed of.

    Raises:
        DataError: If anything is wrong with the data, there is a single test image, or
            a likelihood of black and white is asked about grey.
    """
    if likelihood.binary == (binarise == "none"):
        needs = "static, dynamic or threshold" if likelihood.binary else "none"
        raise DataError(
            f"the {likelihood.name} likelihood is one of "
            f"{'black and white' if likelihood.binary else 'bytes'}: it needs "
            f"--binarise {needs}, not {binarise}"
        )
    checked(dataset, batch_size=batch_size)
    enough(dataset, test=2)
    if judged > len(dataset.test):
        print(  # noqa: T201 - part of what a run says at its start
            f"{dataset.name}: the bound is computed of all {len(dataset.test)} test "
            f"images; --judged asks for {judged}",
            flush=True,
        )
    once = binarised(dataset, binarise, binarise_seed)
    fixed = dequantised if likelihood.density else None
    fresh: Transform | None = drawn_pixels if binarise == "dynamic" else fixed
    source = dataset if binarise == "dynamic" else once
    train = shuffled(
        source.train, ImageBatch, batch_size=batch_size, seed=seed, transform=fresh
    )
    few = once.test.take(np.arange(min(judged, len(once.test))))
    validation, test, some = (
        ordered(part, ImageBatch, batch_size=min(size, len(part)), transform=fixed)
        for part, size in ((once.validation, 256), (once.test, 256), (few, _JUDGED))
    )
    if len(train.columns) < len(source.train.columns):  # some are read from the disk
        train = prefetched(train)
    return DensityFeeds(once, train, validation, test, some)


def binarised(dataset: Dataset, binarise: Binarise, seed: int = 0) -> Dataset:
    """The data set with bytes of 0 or 255; `dynamic` is as `static` here."""
    if binarise == "none":
        return dataset
    splits = {}
    for name in ("train", "validation", "test"):
        split: Split = getattr(dataset, name)
        pixels = np.asarray(split.columns["image"][np.arange(len(split))])
        if binarise == "threshold":
            light = pixels >= 128
        else:
            light = _drawn(pixels, f"binarised {seed} {name}")
        columns = {**split.columns, "image": light.astype(np.uint8) * np.uint8(255)}
        splits[name] = Split(columns, split.ids)
    return dataclasses.replace(dataset, **splits)


def _drawn(pixels: UInt8[np.ndarray, "n h w c"], name: str) -> np.ndarray:
    light = np.empty(pixels.shape, bool)
    for start in range(0, len(pixels), _BLOCK):
        block = pixels[start : start + _BLOCK]
        threshold = uniforms(f"{name} {start // _BLOCK}", block.shape) * 255
        light[start : start + _BLOCK] = threshold < block
    return light


def codes(code: np.ndarray) -> Feed:
    """One pass over codes that a model is to decode, `[n, *z]`."""
    split = Split({"code": np.asarray(code, np.float32)})
    return ordered(split, CodeBatch, batch_size=min(_JUDGED, len(code)))
