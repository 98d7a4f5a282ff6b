"""Maps of segments, one number a pixel: boxes and masks of the objects in them."""

import dataclasses
import functools
import hashlib
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int8


def segment_boxes(
    segments: Int8[np.ndarray, "n h w"], objects: int
) -> Float[np.ndarray, "n objects 4"]:
    """The box [y0, x0, y1, x1] around each segment, in pixels; 0 where there is none.

    Args:
        segments: 0 for the ground, k + 1 for the object at k.
        objects: How many boxes an image gets.
    """
    boxes = np.zeros((len(segments), objects, 4), np.float32)
    for k in range(objects):
        mask = segments == k + 1
        for axis, (first, last) in ((2, (0, 2)), (1, (1, 3))):
            line = mask.any(axis=axis)
            boxes[:, k, first] = line.argmax(axis=1)
            boxes[:, k, last] = line.shape[1] - line[:, ::-1].argmax(axis=1)
        boxes[:, k] *= mask.any(axis=(1, 2))[:, None]
    return boxes


def instance_masks(
    segments: Int8[np.ndarray, "*b h w"], objects: int = 4
) -> Bool[np.ndarray, "*b objects h w"]:
    """One mask an object, from the column `segments`; all False for padding.

    Args:
        segments: 0 for the ground, k + 1 for the object at k.
        objects: How many masks an image gets.
    """
    numbers = np.arange(1, objects + 1, dtype=segments.dtype)
    return segments[..., None, :, :] == numbers[:, None, None]


@dataclasses.dataclass(frozen=True)
class SegmentMasks:
    """A column of masks that are read from a map of segments: `[n, h, w]` an image.

    Attributes:
        segments: 0 for the ground, k + 1 for the object at k; `[images, h, w]`.
        objects: Masks of an image.
    """

    segments: Int8[np.ndarray, "images h w"]
    objects: int

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.segments)

    def __getitem__(self, index: Any, /) -> Bool[np.ndarray, "..."]:
        """The masks of the images at these positions, `[*index.shape, n, h, w]`."""
        return instance_masks(self.segments[index], self.objects)

    def rows_at(self, index: np.ndarray, /) -> "SegmentMasks":
        """The masks of some of the images, in this order."""
        return SegmentMasks(self.segments[index], self.objects)

    @functools.cached_property
    def digest(self) -> str:
        """A SHA-256 of the segments."""
        about = f"{self.objects} {self.segments.shape} ".encode()
        content = np.ascontiguousarray(self.segments).data
        return hashlib.sha256(about + bytes(content)).hexdigest()
