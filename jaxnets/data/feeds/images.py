"""The three feeds of a data set, ready for an experiment."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxnets.data.dataset import Dataset
from jaxnets.data.feeds.base import Feed
from jaxnets.data.feeds.splits import fed
from jaxnets.data.pictures import constant_channels
from jaxnets.ops.augment import Transform, chain, normalize
from jaxnets.types import ImageBatch


class Feeds(NamedTuple):
    """The feeds of a data set's three splits."""

    dataset: Dataset
    train: Feed
    validation: Feed
    test: Feed


def image_feeds(
    dataset: Dataset,
    *,
    batch_size: int,
    seed: int,
    augmentation: Sequence[Transform] = (),
) -> Feeds:
    """Checked, normalised images: shuffled to train on, in order to evaluate.

    Args:
        dataset: With columns `image`, in bytes, and `label`.
        batch_size: Of training; evaluation takes 256 at a time, or fewer.
        seed: Of order and augmentation.
        augmentation: What to do to a training batch, before it is normalised.

    Raises:
        DataError: If anything is wrong with the data; see `checked`.
    """
    fixed = normalize(dataset.mean, dataset.std)
    change = chain(*augmentation, fixed)
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
    return Feeds(dataset, train, validation, test)
