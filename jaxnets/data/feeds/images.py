"""The three feeds of a data set, ready for an experiment."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxnets.data.dataset import DataError, Dataset
from jaxnets.data.feeds.base import Feed
from jaxnets.data.feeds.splits import fed
from jaxnets.data.pictures import constant_channels
from jaxnets.ops.augment import (
    SHARES,
    Transform,
    central_crop,
    chain,
    normalize,
)
from jaxnets.types import ImageBatch


class Feeds(NamedTuple):
    """The feeds of a data set's three splits."""

    dataset: Dataset
    train: Feed
    validation: Feed
    test: Feed
    side: int  # of the images that the network sees, the shorter one, in pixels


def loaded_size(size: Sequence[int], augment: str) -> tuple[int, ...]:
    """Size at which images are loaded, so that the network sees another one.

    Args:
        size: Side, or height and width, of the images that the network sees; as
            `labelled_images` takes it.
        augment: Name of the augmentation; those in `SHARES` cut from larger images.

    Raises:
        DataError: If the augmentation needs a size, and there is none.
    """
    share = SHARES.get(augment, 1.0)
    if share < 1 and not size:
        raise DataError(
            f"--augment {augment} cuts images of --size from larger ones: give --size "
            "224, for example, or use --augment resized, which needs no size"
        )
    return tuple(round(side / share) for side in size)


def image_feeds(
    dataset: Dataset,
    *,
    batch_size: int,
    seed: int,
    augmentation: Sequence[Transform] = (),
    share: float = 1.0,
) -> Feeds:
    """Checked, normalised images: shuffled to train on, in order to evaluate.

    Args:
        dataset: With columns `image`, in bytes, and `label`.
        batch_size: Of training; evaluation takes 256 at a time, or fewer.
        seed: Of order and augmentation.
        augmentation: What to do to a training batch, before it is normalised.
        share: Of the images' sides, what the network sees. Evaluation cuts it out of
            the middle; the augmentation must return images of that size.

    Raises:
        DataError: If anything is wrong with the data; see `checked`.
    """
    normalised = normalize(dataset.mean, dataset.std)
    change = chain(*augmentation, normalised)
    fixed = normalised if share == 1 else chain(central_crop(share), normalised)
    train, validation, test = fed(
        dataset,
        ImageBatch,
        batch_size=batch_size,
        seed=seed,
        transform=change,
        fixed=fixed,
    )
    if note := constant_channels(dataset):
        print(note, flush=True)  # noqa: T201 - part of what a run says at its start
    return Feeds(dataset, train, validation, test, round(dataset.side * share))
