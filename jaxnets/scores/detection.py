"""Average precision of object detection and segmentation, as COCO defines it.

Lin et al., "Microsoft COCO: common objects in context", 2014,
https://arxiv.org/abs/1405.0312; the definition is the evaluation code,
`cocoeval.py` of https://github.com/cocodataset/cocoapi, whose numbers these are.

Departures: a set without objects in a range of areas has no score there (NaN, None in a
summary), where the original says -1. The first number of the summary is of the largest
limit of detections, where the original always takes 100. No id is special, where the
original never matches an annotation of id 0. Of no area the overlap is 0.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxnets.scores.objects import (
    ImageDetections,
    ImageTruth,
    Objects,
    Overlap,
    gathered,
)
from jaxnets.scores.overlaps import assigned, groups, pairs, rounds

Number: TypeAlias = float | int
THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
RECALLS = np.linspace(0, 1, 101)
LIMITS = (1, 10, 100)
AREAS: Mapping[str, tuple[Number, Number]] = {
    "all": (0, 1e10),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}
"""Ranges of the area in pixels, closed on both sides: 1024 is small and medium."""


class AveragePrecision(NamedTuple):
    """What a detector reached, for every threshold, class, range and limit.

    NaN stands where there is no object of a class in a range: it has no score.
    """

    precision: Float[np.ndarray, "thresholds recalls classes areas limits"]
    score: Float[
        np.ndarray, "thresholds recalls classes areas limits"
    ]  # at that recall
    recall: Float[np.ndarray, "thresholds classes areas limits"]
    objects: Int[np.ndarray, "classes areas"]  # how many count
    thresholds: tuple[float, ...]  # least overlaps
    areas: tuple[str, ...]  # names of the ranges
    limits: tuple[int, ...]  # most detections an image and class, rising


class Curve(NamedTuple):
    """Precision and recall of one class, as detections of lower scores are added."""

    recall: Float[np.ndarray, " n"]  # in [0, 1], rising
    precision: Float[np.ndarray, " n"]  # in [0, 1]
    score: Float[np.ndarray, " n"]  # of the last detection that was added


def average_precision(
    truth: Sequence[ImageTruth],
    detections: Sequence[ImageDetections],
    classes: int,
    *,
    of: Overlap = "boxes",
    thresholds: Sequence[Number] = THRESHOLDS,
    limits: Sequence[int] = LIMITS,
    areas: Mapping[str, tuple[Number, Number]] = AREAS,
) -> AveragePrecision:
    """Returns precision and recall of detections as COCO's evaluation computes them.

    `summary` makes the usual numbers of them, `per_class` those of each class.

    Args:
        truth: One record an image.
        detections: One record an image, in the same order.
        classes: Number of classes.
        of: Compare boxes or masks.
        thresholds: Least overlaps of a match, in (0, 1].
        limits: How many detections of an image and class count, at most: those with
            the highest scores.
        areas: Ranges of areas that are scored apart, in pixels. Objects outside are
            ignored, and detections outside are no mistakes.

    Raises:
        ValueError: If there is no image, threshold, limit or range, or a record is
            wrong (`gathered` names what may be), or a threshold is out of range.
    """
    if not truth or not thresholds or not areas or not limits or min(limits) < 1:
        raise ValueError(
            "average precision needs one image, threshold, range of areas and limit of "
            f"1 or more; there are {len(truth)} images, limits {list(limits)}"
        )
    if not all(0 < threshold <= 1 for threshold in thresholds):
        raise ValueError(
            f"thresholds are above 0 and at most 1, not {list(thresholds)}"
        )
    limits = tuple(sorted(set(limits)))
    objects, found = gathered(truth, detections, classes, of)
    found, rank = top_scored(found, classes, limits[-1])
    least = np.minimum(np.array(thresholds, np.float64), 1 - 1e-10)
    near = pairs(found, objects, least.min(), of, classes=classes)
    turns = rounds(near, groups(found, classes))
    selections = list(_selections(found, rank, classes, limits))
    sizes = (len(least), classes, len(areas), len(limits))
    precision = np.full((len(least), RECALLS.size, *sizes[1:]), np.nan)
    score, recall = precision.copy(), np.full(sizes, np.nan)
    counts = np.zeros((classes, len(areas)), np.int64)
    for a, (low, high) in enumerate(areas.values()):
        ignored = objects.ignore | (objects.area < low) | (objects.area > high)
        outside = (found.area < low) | (found.area > high)
        counts[:, a] = np.bincount(objects.label[~ignored], minlength=classes)
        match = assigned(turns, least, ignored, objects.ignore, found.label.size)
        hit, counted = true_positives(match, ignored, outside)
        for c, m, own in selections:
            if total := int(counts[c, a]):
                at = (..., c, a, m)
                precision[at], score[at], recall[at] = _curves(
                    hit[own], counted[own], found.score[own], total
                )
    names = tuple(areas)
    kept = tuple(float(t) for t in thresholds)
    return AveragePrecision(precision, score, recall, counts, kept, names, limits)


def summary(result: AveragePrecision) -> dict[str, float | None]:
    """Returns the numbers that papers report, in [0, 1]; None: there is no object.

    `ap`, `ap50` and `ap75` are means over classes, `ap` over the thresholds as well,
    of the first range and the largest limit. `ap_small` and so on are of the other
    ranges. `ar_1` and so on are mean recalls by limit, `ar_small` and so on by range.
    A threshold that was not computed is left out.
    """
    made = {"ap": _mean(result.precision[..., 0, -1])}
    for threshold in (0.5, 0.75):
        (index,) = np.nonzero(np.isclose(result.thresholds, threshold))
        if index.size:
            value = _mean(result.precision[index, ..., 0, -1])
            made[f"ap{round(100 * threshold)}"] = value
    for a, name in enumerate(result.areas[1:], 1):
        made[f"ap_{name}"] = _mean(result.precision[..., a, -1])
    for m, limit in enumerate(result.limits):
        made[f"ar_{limit}"] = _mean(result.recall[..., 0, m])
    for a, name in enumerate(result.areas[1:], 1):
        made[f"ar_{name}"] = _mean(result.recall[..., a, -1])
    return made


def per_class(
    result: AveragePrecision, *, threshold: Number | None = None
) -> Float[np.ndarray, " classes"]:
    """Returns the average precision of each class; NaN for one without objects.

    Args:
        result: Of `average_precision`; its first range and largest limit count.
        threshold: Least overlap. None: the mean over all of them.
    """
    chosen = result.precision[..., 0, -1]
    if threshold is not None:
        chosen = chosen[[_place(result, threshold)]]
    return chosen.mean(axis=(0, 1))


def curve(result: AveragePrecision, label: int, *, threshold: Number = 0.5) -> Curve:
    """Returns precision at 101 recalls from 0 to 1, made monotone as COCO does.

    Recalls that the detector did not reach have precision 0 and score 0. Without an
    object of the class all precisions are NaN.

    Args:
        result: Of `average_precision`; its first range and largest limit count.
        label: The class.
        threshold: Least overlap.

    Raises:
        ValueError: If the threshold was not computed.
    """
    place = _place(result, threshold)
    at = (place, slice(None), label, 0, -1)
    return Curve(RECALLS, result.precision[at], result.score[at])


def top_scored(
    detections: Objects, classes: int, limit: int
) -> tuple[Objects, Int[np.ndarray, " n"]]:
    """Returns the detections with the highest scores, and their ranks from 0.

    They are sorted by image and class, then by falling score. Ties stay in order. A
    rank counts the detections of one image and class.

    Args:
        detections: Of all images.
        classes: Number of classes.
        limit: ImageDetections that an image and class may have.
    """
    group = groups(detections, classes)
    order = np.lexsort((-detections.score, group))
    group = group[order]
    rank = np.arange(group.size) - np.searchsorted(group, group)
    keep = rank < limit
    return detections.at(order[keep]), rank[keep]


def true_positives(
    match: Int[np.ndarray, "n k"],
    ignored: Bool[np.ndarray, " t"],
    outside: Bool[np.ndarray, " n"],
) -> tuple[Bool[np.ndarray, "n k"], Bool[np.ndarray, "n k"]]:
    """Returns which detections are true positives, and which count at all.

    Args:
        match: Objects by detection and threshold, of `assigned`.
        ignored: Objects that do not count; what they are matched with does not either.
        outside: ImageDetections that do not count if they match nothing.
    """
    matched = match >= 0
    void = matched & np.append(ignored, False)[match]
    counted = ~void & (matched | ~outside[:, None])
    return matched & ~void, counted


def interpolated(
    hit: Bool[np.ndarray, " n"], counted: Bool[np.ndarray, " n"], objects: int
) -> Float[np.ndarray, " recalls"]:
    """Returns precision at COCO's recalls for one class and threshold.

    Args:
        hit: Which detections are true positives, in falling order of their scores.
        counted: Which ones count.
        objects: Number of objects, 1 or more.
    """
    scores = np.zeros(hit.size)
    return _curves(hit[:, None], counted[:, None], scores, objects)[0][0]


def _selections(
    found: Objects, rank: np.ndarray, classes: int, limits: Sequence[int]
) -> Iterator[tuple[int, int, np.ndarray]]:
    """A class, the place of a limit, and the detections of both by falling score."""
    order = np.lexsort((-found.score, found.label))  # ties: images in their order
    bounds = np.searchsorted(found.label[order], np.arange(classes + 1))
    for c in range(classes):
        own = order[bounds[c] : bounds[c + 1]]
        for m, limit in enumerate(limits):
            yield c, m, own[rank[own] < limit]


def _curves(
    hit: np.ndarray, counted: np.ndarray, scores: np.ndarray, objects: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision and score at each recall, and the last recall, by threshold."""
    precision = np.zeros((hit.shape[1], RECALLS.size))
    score = precision.copy()
    if not len(hit):
        return precision, score, np.zeros(hit.shape[1])
    right = np.cumsum(hit.T, axis=1, dtype=np.float64)
    total = np.cumsum(counted.T, axis=1, dtype=np.float64)
    recall = right / objects
    exact = right / (total + np.spacing(1))
    monotone = np.maximum.accumulate(exact[:, ::-1], axis=1)[:, ::-1]
    for k, row in enumerate(recall):
        place = np.searchsorted(row, RECALLS, side="left")
        reached = int(np.searchsorted(place, row.size))
        precision[k, :reached] = monotone[k, place[:reached]]
        score[k, :reached] = scores[place[:reached]]
    return precision, score, recall[:, -1]


def _mean(values: np.ndarray) -> float | None:
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else None


def _place(result: AveragePrecision, threshold: Number) -> int:
    (index,) = np.nonzero(np.isclose(result.thresholds, threshold))
    if not index.size:
        raise ValueError(
            f"the threshold {threshold} was not computed; there are {result.thresholds}"
        )
    return int(index[0])
