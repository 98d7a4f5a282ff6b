"""What a detector is scored on: the objects of images, and what was detected there.

Both are one small record an image, in NumPy, without padding. An evaluator appends a
record of each kind for every image, also where there is no object or no detection:
`truth_of_batch` and `detections_of_batch` make them of what a model and a feed return.
Boxes are [y0, x0, y1, x1] in pixels with exclusive ends, so that a side is the
difference of two numbers. Labels count the classes from 0, without a background.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxnets import run_lengths
from jaxnets.run_lengths import RunLengths

Overlap: TypeAlias = Literal["boxes", "masks"]
"""What overlaps are computed of."""


class ImageTruth(NamedTuple):
    """The annotated objects of one image."""

    boxes: Float[np.ndarray, "n 4"]
    labels: Int[np.ndarray, " n"]
    # Neither counted nor a mistake if detected: COCO's crowds, VOC's difficult objects.
    ignore: Bool[np.ndarray, " n"] | None = None  # None: no object
    area: Float[np.ndarray, " n"] | None = None  # pixels; None: of masks, else of boxes
    masks: Sequence[RunLengths] | None = None


class ImageDetections(NamedTuple):
    """What a model detected in one image, in any order."""

    boxes: Float[np.ndarray, "n 4"]
    scores: Float[np.ndarray, " n"]  # any finite numbers; the order counts
    labels: Int[np.ndarray, " n"]
    masks: Sequence[RunLengths] | None = None


def truth_of_batch(
    boxes: Float[np.ndarray, "b n 4"],
    labels: Int[np.ndarray, "b n"],
    present: Bool[np.ndarray, "b n"],
    ignore: Bool[np.ndarray, "b n"] | None = None,
    masks: Bool[np.ndarray, "b n h w"] | None = None,
) -> list[ImageTruth]:
    """Returns the objects of each image of a padded batch.

    Args:
        boxes: [y0, x0, y1, x1] in pixels.
        labels: From 0.
        present: False marks padding, which may hold anything.
        ignore: Crowds or difficult objects. None: there is none.
        masks: In the size of the image. None: boxes only.
    """
    return [
        ImageTruth(
            boxes[i, rows],
            labels[i, rows],
            None if ignore is None else ignore[i, rows],
            None,
            None if masks is None else [*map(run_lengths.encode, masks[i, rows])],
        )
        for i, rows in enumerate(present)
    ]


def detections_of_batch(
    boxes: Float[np.ndarray, "b n 4"],
    scores: Float[np.ndarray, "b n"],
    labels: Int[np.ndarray, "b n"],
    present: Bool[np.ndarray, "b n"],
    masks: Bool[np.ndarray, "b n h w"] | None = None,
) -> list[ImageDetections]:
    """Returns the detections in each image of a padded batch.

    Args:
        boxes: [y0, x0, y1, x1] in pixels.
        scores: Any finite numbers; the order counts.
        labels: From 0, without a background.
        present: False marks padding, which may hold anything.
        masks: In the size of the image. None: boxes only.
    """
    return [
        ImageDetections(
            boxes[i, rows],
            scores[i, rows],
            labels[i, rows],
            None if masks is None else [*map(run_lengths.encode, masks[i, rows])],
        )
        for i, rows in enumerate(present)
    ]


class Objects(NamedTuple):
    """The objects or detections of all images, one after the other."""

    image: Int[np.ndarray, " n"]
    label: Int[np.ndarray, " n"]
    boxes: Float[np.ndarray, "n 4"]
    area: Float[np.ndarray, " n"]  # in pixels
    ignore: Bool[np.ndarray, " n"]  # False for detections
    score: Float[np.ndarray, " n"]  # 0 for truth
    masks: Sequence[RunLengths]  # empty if boxes are compared

    def at(self, index: np.ndarray) -> "Objects":
        """Returns the objects at these positions."""
        masks = [self.masks[i] for i in index.tolist()] if self.masks else []
        return Objects(*(column[index] for column in self[:-1]), masks=masks)


def gathered(
    truth: Sequence[ImageTruth],
    detections: Sequence[ImageDetections],
    classes: int,
    of: Overlap,
) -> tuple[Objects, Objects]:
    """Returns all objects and all detections, after checking them.

    Args:
        truth: One record an image.
        detections: One record an image, in the same order.
        classes: Number of classes.
        of: Which areas count, and whether masks are needed.

    Raises:
        ValueError: If the numbers of images differ, a label is outside of [0, classes),
            a number is not finite, a box is turned over, or masks are missing.
    """
    if len(truth) != len(detections):
        raise ValueError(
            f"{len(truth)} images have a truth and {len(detections)} have detections: "
            "give one record of each kind an image, with no rows where there is nothing"
        )
    return (
        _joined("object", truth, classes, of),
        _joined("detection", detections, classes, of),
    )


def _joined(
    kind: str,
    rows: Sequence[ImageTruth] | Sequence[ImageDetections],
    classes: int,
    of: Overlap,
) -> Objects:
    """All objects or detections in one table."""
    for image, row in enumerate(rows):
        _check_shapes(kind, image, row, of)
    lengths = [len(row.labels) for row in rows]
    image = np.repeat(np.arange(len(rows)), lengths)
    boxes = _column([row.boxes for row in rows], np.float64, (4,))
    masks = [mask for row in rows for mask in row.masks or ()] if of == "masks" else []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    ignore, score = np.zeros(len(boxes), bool), np.zeros(len(boxes))
    if kind == "object":
        every = [row for row in rows if isinstance(row, ImageTruth)]
        area = _column([_area(row) for row in every], np.float64)
        flags = [
            np.zeros(len(row.labels)) if row.ignore is None else row.ignore
            for row in every
        ]
        ignore = _column(flags, bool)
    else:
        if masks:
            area = run_lengths.areas(masks).astype(np.float64)
        values = [row.scores for row in rows if isinstance(row, ImageDetections)]
        score = _column(values, np.float64)
    label = _column([row.labels for row in rows], np.int64)
    made = Objects(image, label, boxes, area, ignore, score, masks)
    _check_values(kind, made, classes)
    return made


def _area(row: ImageTruth) -> np.ndarray:
    """The area that decides which range an object is in."""
    if row.area is not None:
        return row.area
    if row.masks is not None:
        return run_lengths.areas(row.masks)
    return np.prod(row.boxes[:, 2:].astype(np.float64) - row.boxes[:, :2], axis=1)


def _column(
    values: Sequence[np.ndarray], dtype: Any, shape: tuple[int, ...] = ()
) -> np.ndarray:
    return np.concatenate([np.zeros((0, *shape), dtype), *values]).astype(dtype)


def _check_shapes(
    kind: str, image: int, row: ImageTruth | ImageDetections, of: Overlap
) -> None:
    """Every column of a record has as many rows as it has labels."""
    rows = len(row.labels)
    for name, value in row._asdict().items():
        if value is None:
            continue
        shape = (len(value),) if name == "masks" else np.shape(value)
        if shape != ((rows, 4) if name == "boxes" else (rows,)):
            raise ValueError(
                f"image {image}: `{name}` of the {kind}s has the shape {shape}, and "
                f"there are {rows} labels"
            )
    if of == "masks" and rows and row.masks is None:
        raise ValueError(f"image {image}: the {kind}s have no masks; compare boxes")


def _check_values(kind: str, table: Objects, classes: int) -> None:
    """Labels, boxes, areas and scores are possible; the first that is not is named."""
    boxes, labels = table.boxes, table.label
    checks = {
        f"a label outside of 0 to {classes - 1}": (labels < 0) | (labels >= classes),
        "a box that is not finite": ~np.isfinite(boxes).all(axis=1),
        "a box that is turned over": (boxes[:, 2:] < boxes[:, :2]).any(axis=1),
        "an area that is not finite": ~np.isfinite(table.area),
        "a score that is not finite": ~np.isfinite(table.score),
    }
    for what, bad in checks.items():
        if bad.any():
            index = int(np.argmax(bad))
            image = int(table.image[index])
            place = index - int(np.searchsorted(table.image, image))
            raise ValueError(
                f"image {image}, {kind} {place} has {what}: label {labels[index]}, box "
                f"[y0, x0, y1, x1] = {boxes[index].tolist()}, area {table.area[index]}"
                + (f", score {table.score[index]}" if kind == "detection" else "")
            )
