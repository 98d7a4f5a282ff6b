"""The three feeds of a set of annotated objects, checked before the first step."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxnets.data.dataset import DataError, Dataset, Feature, Split
from jaxnets.data.feeds.base import Feed
from jaxnets.data.feeds.splits import fed
from jaxnets.data.files.objects import Masks
from jaxnets.data.files.problems import noted
from jaxnets.data.shapes.segments import SegmentMasks
from jaxnets.ops.augment import Transform, chain, normalize
from jaxnets.ops.geometry import without_slivers
from jaxnets.types import DetectionBatch, Key

COLUMNS = ("image", "boxes", "label", "present", "ignore")  # of a set of objects
SMALL, LARGE = 32**2, 96**2  # areas in pixels where COCO's ranges meet
OVERLAPS = (0.3, 0.5, 0.7)  # intersections over union that are counted
_COMPARED = 5000  # images whose objects are compared with each other
_BLOCK = 250  # of them at a time


class ObjectFeeds(NamedTuple):
    """The feeds of a set of annotated objects: of `DetectionBatch`."""

    dataset: Dataset
    train: Feed
    validation: Feed
    test: Feed
    size: tuple[int, int]  # height and width of the images that the network sees


class ObjectStatistics(NamedTuple):
    """Counts, areas and overlaps of the objects of a split."""

    images: int
    objects: int  # without those that are ignored
    ignored: int
    most: int  # objects in one image
    without: int  # images that show no object
    small: float  # share of the objects whose area is COCO's small, at most 32^2
    medium: float  # 32^2 to 96^2; a limit counts on both sides, as COCO has it
    large: float  # 96^2 or more
    overlapping: Mapping[float, float]  # IoU to the share of pairs with more of it

    def __str__(self) -> str:
        """Two lines of text."""
        ranges = {"small": self.small, "medium": self.medium, "large": self.large}
        areas = ", ".join(f"{name} {share:.1%}" for name, share in ranges.items())
        pairs = ", ".join(f"{s:.1%} above {t:g}" for t, s in self.overlapping.items())
        return (
            f"{self.images:,} images, {self.objects:,} objects ({self.most} at most in "
            f"one), {self.ignored:,} ignored, {self.without:,} images without any\n"
            f"areas as COCO counts them: {areas}; IoU of pairs in one image: {pairs}"
        )


def object_feeds(
    dataset: Dataset,
    *,
    batch_size: int,
    seed: int,
    augmentation: Sequence[Transform] = (),
    masks: bool = False,
    largest: int = 64,
) -> ObjectFeeds:
    """Checked, normalised images with their objects: shuffled to train, else in order.

    Objects of which augmentation leaves less than a pixel are no longer `present`. A
    box that was cropped or rotated may be larger than the rest of its mask, because
    boxes move without looking at masks; `jaxnets.ops.geometry.tightened` shrinks them.
    Prints for every split how many objects there are.

    Args:
        dataset: With the columns `COLUMNS`, as `named_objects` gives them; others are
            not sent.
        batch_size: Of training.
        seed: Of order and augmentation.
        augmentation: What to do to a training batch, before it is normalised.
        masks: Also send `masks`; the data set needs that column.
        largest: Images of a batch of evaluation, or fewer.

    Raises:
        DataError: If anything is wrong with the data; see `check_objects`.
    """
    check_objects(dataset, masks=masks)
    for name, split in dataset.splits.items():
        first, *rest = str(object_statistics(split)).split("\n")
        noted(f"{dataset.name}, {name}", first)
        if name == "train":
            noted(f"{dataset.name}, {name}", *rest)
    normalised = normalize(dataset.mean, dataset.std)
    train, validation, test = fed(
        _sent(dataset, masks=masks),
        _batch,
        batch_size=batch_size,
        seed=seed,
        transform=chain(*augmentation, _drop_slivers, normalised),
        fixed=normalised,
        largest=largest,
    )
    height, width = dataset.train.columns["image"][:1].shape[1:3]
    return ObjectFeeds(dataset, train, validation, test, (height, width))


def check_objects(dataset: Dataset, *, masks: bool = False) -> None:
    """Refuses annotations that a training step would accept silently.

    Images without an object are allowed.

    Args:
        dataset: With the columns `COLUMNS`.
        masks: Also look at the column `masks`.

    Raises:
        DataError: With a count and the first example of each kind: boxes that are not
            finite, negative, outside of the image, or empty or turned over; labels
            beyond the classes; masks of another size than the images, and objects
            without one. Also if a column is missing or the training images show no
            object.
    """
    wanted = (*COLUMNS, "masks") if masks else COLUMNS
    if missing := [name for name in wanted if name not in dataset.features]:
        raise DataError(
            f"{dataset.name}: has no column {', '.join(missing)}; a set of objects has "
            f"{', '.join(wanted)}"
        )
    _check_shapes(dataset, masks=masks)
    faults = [
        f"\n  {name}: {fault}"
        for name, split in dataset.splits.items()
        for fault in _faults(split, dataset, masks=masks)
    ]
    if faults:
        raise DataError(
            f"{dataset.name}: annotations cannot be used:{''.join(faults)}\n"
            "boxes are [y0, x0, y1, x1] in pixels, with y0 < y1 and x0 < x1"
        )
    present, ignore = (dataset.train.columns[k][:] for k in ("present", "ignore"))
    if not (present & ~ignore).any():
        raise DataError(f"{dataset.name}: no training image shows an object")


def object_statistics(split: Split) -> ObjectStatistics:
    """Counts, areas and overlaps of the objects of a split.

    Areas are those of the masks of generated images. For files they are those of the
    boxes, because drawing every mask takes long. Overlaps are of the first 5,000
    images.

    Args:
        split: Of a set of objects.
    """
    columns = split.columns
    boxes = np.asarray(columns["boxes"][:], np.float64)
    present = np.asarray(columns["present"][:])
    ignored = present & np.asarray(columns["ignore"][:])
    counted = present & ~ignored
    area, objects = (boxes[..., 2:] - boxes[..., :2]).prod(-1), int(counted.sum())
    drawn = columns.get("masks")
    if isinstance(drawn, SegmentMasks):
        area = _areas(drawn.segments, drawn.objects)
    of = area[counted]
    share = lambda which: float(which.mean()) if objects else 0.0
    return ObjectStatistics(
        images=len(boxes),
        objects=objects,
        ignored=int(ignored.sum()),
        most=int(present.sum(axis=1).max(initial=0)),
        without=int((~present.any(axis=1)).sum()),
        small=share(of <= SMALL),
        medium=share((of >= SMALL) & (of <= LARGE)),
        large=share(of >= LARGE),
        overlapping=_overlapping(boxes[:_COMPARED], counted[:_COMPARED]),
    )


def _areas(
    segments: Int[np.ndarray, "n h w"], objects: int
) -> Int[np.ndarray, "n objects"]:
    """Pixels of each object."""
    numbers = range(1, objects + 1)
    return np.stack([(segments == k).sum(axis=(1, 2)) for k in numbers], 1)


def _overlapping(
    boxes: Float[np.ndarray, "images n 4"], counted: Bool[np.ndarray, "images n"]
) -> dict[float, float]:
    """Which share of the pairs of objects in one image overlaps more than that."""
    above, pairs = np.zeros(len(OVERLAPS), int), 0
    for i in range(0, len(boxes), _BLOCK):
        some, real = boxes[i : i + _BLOCK], counted[i : i + _BLOCK]
        low = np.maximum(some[:, :, None, :2], some[:, None, :, :2])
        high = np.minimum(some[:, :, None, 2:], some[:, None, :, 2:])
        both = np.clip(high - low, 0, None).prod(-1)
        area = (some[..., 2:] - some[..., :2]).prod(-1)
        union = area[:, :, None] + area[:, None] - both
        pair = np.triu(real[:, :, None] & real[:, None], 1)
        pairs += int(pair.sum())
        above += [int((pair & (both > t * union)).sum()) for t in OVERLAPS]
    return dict(zip(OVERLAPS, (above / max(pairs, 1)).tolist(), strict=True))


def _check_shapes(dataset: Dataset, *, masks: bool) -> None:
    features = dataset.features
    image, (most, *_) = features["image"].shape, features["boxes"].shape
    wanted = {"boxes": (most, 4), **dict.fromkeys(COLUMNS[2:], (most,))}
    if masks:
        wanted["masks"] = (most, *image[:2])
    for name, shape in wanted.items():
        columns = [split.columns[name] for split in dataset.splits.values()]
        shapes = {features[name].shape, *(column[:0].shape[1:] for column in columns)}
        if other := shapes - {shape}:
            raise DataError(
                f"{dataset.name}: the column {name} has rows of {min(other)}, not "
                f"{shape}: images are {image[0]} x {image[1]} pixels with {most} "
                "objects at most"
            )


def _faults(split: Split, dataset: Dataset, *, masks: bool) -> list[str]:
    """A line for each kind of fault: how many, and the first."""
    boxes = np.asarray(split.columns["boxes"][:])
    label = np.asarray(split.columns["label"][:])
    present = np.asarray(split.columns["present"][:])
    height, width, _ = dataset.features["image"].shape
    classes = len(dataset.classes)
    finite = np.isfinite(boxes).all(-1)
    low, high = boxes[..., :2], boxes[..., 2:]
    outside = (high > [height or 0, width or 0]).any(-1)
    kinds = {
        "boxes are not finite": ~finite,
        "boxes have a negative edge": finite & (boxes < 0).any(-1),
        f"boxes reach out of the image of {height} x {width} pixels": finite & outside,
        "boxes are empty or turned over": finite & (high <= low).any(-1),
        f"labels are not 0 to {classes - 1}": (label < 0) | (label >= classes),
    }
    if masks and isinstance(drawn := split.columns["masks"], Masks):
        counts = present & ~np.asarray(split.columns["ignore"][:])
        kinds["objects have a box and no outline"] = counts & ~drawn.outlined
    lines = []
    for what, bad in kinds.items():
        places = np.argwhere(bad & present)
        if len(places):
            i, k = places[0].tolist()
            name = split.ids[i] if split.ids is not None else i
            lines.append(
                f"{len(places):,} of {int(present.sum()):,} {what}; the first is "
                f"object {k} of example {name}: box {boxes[i, k].tolist()}, label "
                f"{label[i, k]}"
            )
    return lines


def _sent(dataset: Dataset, *, masks: bool) -> Dataset:
    """The data set with the columns that are sent to the device.

    Masks that are read from segments are sent as these: a byte a pixel, however many
    objects there are.
    """
    features = {name: dataset.features[name] for name in COLUMNS}
    splits = {}
    for name, split in dataset.splits.items():
        columns = {c: split.columns[c] for c in COLUMNS}
        if masks and isinstance(drawn := split.columns["masks"], SegmentMasks):
            columns["segments"] = drawn.segments
            shape = drawn.segments.shape[1:]
            features["segments"] = Feature(shape, "int8", 0, drawn.objects)
        elif masks:
            columns["masks"] = split.columns["masks"]
            features["masks"] = dataset.features["masks"]
        known = {c: about for c, about in split.known.items() if c in columns}
        splits[name] = Split(columns, split.ids, known)
    return dataclasses.replace(dataset, features=features, **splits)


def _batch(*, segments: Array | None = None, **rows: Any) -> DetectionBatch:
    """What a feed fills: masks come from segments where there are some."""
    if segments is not None:
        numbers = jnp.arange(1, rows["boxes"].shape[1] + 1)
        rows["masks"] = segments[:, None] == numbers.reshape(1, -1, 1, 1)
    return DetectionBatch(**rows)


def _drop_slivers(key: Key, batch: DetectionBatch) -> DetectionBatch:
    del key
    return without_slivers(batch)
