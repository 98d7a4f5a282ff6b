"""Average precision of object detection, as PASCAL VOC defines it.

Everingham et al., "The PASCAL visual object classes challenge: a retrospective", 2015,
https://doi.org/10.1007/s11263-014-0733-5, section 3.2: a detection is right if its
overlap with the nearest object of its class is above one half, and no detection of a
higher score has that object. Objects marked difficult do not count, and to detect one
is no mistake.

VOC's boxes include their last pixel, so that its program adds 1 to all sides. Boxes
here have exclusive ends: xmin - 1, ymin - 1, xmax, ymax. Their plain sides and overlaps
are the same numbers.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxnets.scores.detection import Curve
from jaxnets.scores.objects import ImageDetections, ImageTruth, gathered
from jaxnets.scores.overlaps import pairs


class VocPrecision(NamedTuple):
    """Average precision of each class, and the curves that it is computed from."""

    per_class: Float[np.ndarray, " classes"]  # in [0, 1]; NaN for one without objects
    curves: list[Curve]  # of each class, a point a detection, precision as it is
    objects: Int[np.ndarray, " classes"]  # how many count

    @property
    def mean(self) -> float | None:
        """The mean over classes with objects; None if there is no object at all."""
        there = self.per_class[~np.isnan(self.per_class)]
        return float(there.mean()) if there.size else None


def voc_average_precision(
    truth: Sequence[ImageTruth],
    detections: Sequence[ImageDetections],
    classes: int,
    *,
    threshold: float | int = 0.5,
    points: Literal["all", "11"] = "all",
) -> VocPrecision:
    """Returns the average precision of each class as VOC computes it.

    Args:
        truth: One record an image; `ignore` marks difficult objects.
        detections: One record an image, in the same order.
        classes: Number of classes.
        threshold: The overlap that a match must exceed.
        points: "all": the area under the monotone curve, as from 2010 on. "11": the
            mean of the best precisions at recalls 0, .1, ..., 1, as until 2009.

    Raises:
        ValueError: If a record is wrong (`gathered` names what may be).
    """
    objects, found = gathered(truth, detections, classes, "boxes")
    ignored = objects.ignore
    # Difficult objects are no crowds: the overlap with them is the plain one.
    plain = objects._replace(ignore=np.zeros(len(ignored), bool))
    near = pairs(found, plain, 0, "boxes", classes=classes)
    # The nearest object is the last pair of a detection; of equally near ones VOC takes
    # the first.
    order = np.lexsort((-near.truth, near.overlap, near.detection))
    last = order[np.flatnonzero(np.diff(near.detection, append=-1))]
    nearest = np.full(found.label.size, -1)
    enough = last[near.overlap[last] > threshold]
    nearest[near.detection[enough]] = near.truth[enough]

    ranked = np.lexsort((-found.score, found.label))
    nearest = nearest[ranked]
    matched = nearest >= 0
    first = np.zeros(nearest.size, bool)
    first[np.unique(nearest, return_index=True)[1]] = True
    void = matched & np.append(ignored, False)[nearest]
    hit = matched & first & ~void
    bounds = np.searchsorted(found.label[ranked], np.arange(classes + 1))
    counts = np.bincount(objects.label[~ignored], minlength=classes)
    curves, scores = [], np.full(classes, np.nan)
    for c in range(classes):
        own = np.arange(bounds[c], bounds[c + 1])
        own = own[~void[own]]
        right = np.cumsum(hit[own])
        precision = right / np.arange(1, own.size + 1)
        recall = right / counts[c] if counts[c] else np.full(own.size, np.nan)
        curves.append(Curve(recall, precision, found.score[ranked[own]]))
        if counts[c]:
            scores[c] = _area(curves[c], points)
    return VocPrecision(scores, curves, counts)


def _area(curve: Curve, points: Literal["all", "11"]) -> float:
    """One number for a curve."""
    recall = np.concatenate([[0], curve.recall])
    best = np.maximum.accumulate(np.concatenate([curve.precision, [0]])[::-1])[::-1]
    if points == "all":
        return float(np.sum(np.diff(recall) * best[:-1]))
    place = np.searchsorted(curve.recall, np.linspace(0, 1, 11), side="left")
    return float(best[place].mean())
