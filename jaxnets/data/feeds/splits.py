"""The feeds of a data set's three splits: one to train on, two to evaluate."""

from collections.abc import Callable
from typing import Any

from jaxnets.data.dataset import Dataset, Split, checked
from jaxnets.data.feeds.base import Feed, ordered, shuffled
from jaxnets.data.feeds.prefetch import prefetched
from jaxnets.ops.augment import Transform


def fed(
    dataset: Dataset,
    batch_type: Callable[..., Any],
    *,
    batch_size: int,
    seed: int,
    transform: Transform | None = None,
    fixed: Transform | None = None,
    largest: int = 256,
) -> tuple[Feed, Feed, Feed]:
    """Shuffled batches of train, ordered ones of validation and test.

    Columns that are read from the disk are fetched ahead.

    Args:
        dataset: Columns named as the fields of `batch_type`; looked through first.
        batch_type: The `NamedTuple` to fill.
        batch_size: Of training.
        seed: Of order and augmentation.
        transform: What is done to a training batch.
        fixed: What is done to a batch of evaluation.
        largest: Rows of a batch of evaluation; of a smaller split, as many eights as it
            fills.

    Raises:
        DataError: If anything is wrong with the data; see `checked`.
    """
    checked(dataset, batch_size=batch_size)
    train = shuffled(
        dataset.train,
        batch_type,
        batch_size=batch_size,
        seed=seed,
        transform=transform,
    )
    validation, test = (
        ordered(part, batch_type, batch_size=_eights(part, largest), transform=fixed)
        for part in (dataset.validation, dataset.test)
    )
    if len(train.columns) < len(dataset.train.columns):  # some are read from the disk
        return prefetched(train), prefetched(validation), prefetched(test)
    return train, validation, test


def _eights(split: Split, largest: int) -> int:
    return min(largest, -(-len(split) // 8) * 8)
