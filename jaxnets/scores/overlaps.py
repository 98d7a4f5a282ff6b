"""Which detections meet which objects: overlaps of pairs, and the greedy assignment.

Only pairs of one image are formed, and of one class where asked, so that the work
grows with the pairs and not with images times classes. No loop runs over pairs.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxnets import run_lengths
from jaxnets.scores.objects import Objects, Overlap

_BLOCK = 2**20  # pairs whose boxes are compared at once: bounds the memory


class Pairs(NamedTuple):
    """Pairs of a detection and an object that overlap, sorted by detection.

    Of one detection they are in rising order of overlap, and with equal overlap in the
    order of the objects, so that the last one is the best.
    """

    detection: Int[np.ndarray, " pairs"]
    truth: Int[np.ndarray, " pairs"]
    overlap: Float[np.ndarray, " pairs"]  # in (0, 1]


def groups(table: Objects, classes: int) -> Int[np.ndarray, " n"]:
    """Returns one number for the image and the class of each object."""
    return table.image * classes + table.label


def pairs(
    detections: Objects,
    truth: Objects,
    least: float | int,
    of: Overlap,
    *,
    classes: int | None,
) -> Pairs:
    """Returns the pairs of one image whose overlap is at least `least`.

    The overlap is intersection over union. With an ignored object (a crowd) it is
    intersection over the area of the detection. Where nothing is shared it is 0.

    Args:
        detections: Of all images.
        truth: Of all images.
        least: Pairs with less overlap are left out, and those without any.
        of: What the overlap is computed of.
        classes: Number of classes, to form pairs of one class only. None: of any two.
    """
    own, other = detections.image, truth.image
    if classes is not None:
        own, other = groups(detections, classes), groups(truth, classes)
    order = np.argsort(other, kind="stable")
    first = np.searchsorted(other[order], own, side="left")
    count = np.searchsorted(other[order], own, side="right") - first
    has = np.flatnonzero(count)  # most detections have no object of their class
    blocks = np.cumsum(count[has]) // _BLOCK
    shapes = [_shapes(table, of) for table in (detections, truth)]
    floor = least if of == "boxes" else 0
    parts = []
    for block in np.split(has, np.flatnonzero(np.diff(blocks)) + 1):
        many = count[block]
        i = np.repeat(block, many)
        within = np.arange(i.size) - np.repeat(np.cumsum(many) - many, many)
        j = order[np.repeat(first[block], many) + within]
        left, right = shapes[0].boxes[i].T, shapes[1].boxes[j].T
        sides = np.minimum(left[2:], right[2:]) - np.maximum(left[:2], right[:2])
        shared = np.prod(np.maximum(sides, 0), axis=0)
        overlap = _overlap(
            shared, shapes[0].area[i], shapes[1].area[j], truth.ignore[j]
        )
        keep = (overlap > 0) & (overlap >= floor)
        parts.append((i[keep], j[keep], overlap[keep]))
    i, j, overlap = (np.concatenate(column) for column in zip(*parts, strict=True))
    if of == "masks":
        pixels = run_lengths.paired_intersection(detections.masks, truth.masks, i, j)
        shared = pixels.astype(np.float64)
        overlap = _overlap(
            shared, shapes[0].area[i], shapes[1].area[j], truth.ignore[j]
        )
    keep = np.flatnonzero((overlap > 0) & (overlap >= least))
    keep = keep[np.lexsort((j[keep], overlap[keep], i[keep]))]
    return Pairs(i[keep], j[keep], overlap[keep])


class _Shapes(NamedTuple):
    """What overlaps are computed from."""

    boxes: np.ndarray  # [n, 4]: without a common pixel, masks have none either
    area: np.ndarray  # [n]: of the boxes or masks themselves


def _shapes(table: Objects, of: Overlap) -> _Shapes:
    if of == "masks":
        area = run_lengths.areas(table.masks).astype(np.float64)
        return _Shapes(run_lengths.boxes(table.masks), area)
    boxes = table.boxes
    return _Shapes(boxes, np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))


def _overlap(
    shared: np.ndarray, own: np.ndarray, other: np.ndarray, crowd: np.ndarray
) -> np.ndarray:
    """Overlaps from areas; 0 where nothing is shared."""
    whole = np.where(crowd, own, own + other - shared)
    return np.divide(shared, whole, out=np.zeros(shared.shape), where=shared > 0)


class Rounds(NamedTuple):
    """Pairs in the order of a greedy assignment, to be assigned for many thresholds.

    Round r holds the pairs of the r-th detection of every image and class, counting
    only detections with a pair. ImageDetections of a round share no object.
    """

    pairs: Pairs  # sorted by round
    bounds: Int[np.ndarray, " rounds_and_one"]  # where each round begins


def rounds(near: Pairs, group: Int[np.ndarray, " n"]) -> Rounds:
    """Returns the pairs by rounds.

    Args:
        near: Pairs whose detections are sorted by group, then by falling score.
        group: The image and class of each detection, as a number in rising order.
    """
    new = np.diff(near.detection, prepend=-1) > 0
    number = np.cumsum(new) - 1  # of the detection of each pair, without gaps
    of_group = group[near.detection[new]]
    turn = np.arange(of_group.size) - np.searchsorted(of_group, of_group)
    turn = turn[number]
    order = np.argsort(turn, kind="stable")
    bounds = np.searchsorted(turn[order], np.arange(turn.max(initial=-1) + 2))
    return Rounds(Pairs(*(column[order] for column in near)), bounds)


def assigned(
    by_round: Rounds,
    thresholds: Float[np.ndarray, " k"],
    ignored: Bool[np.ndarray, " t"],
    crowd: Bool[np.ndarray, " t"],
    detections: int,
) -> Int[np.ndarray, "n k"]:
    """Returns the object of each detection for each threshold; -1: it has none.

    ImageDetections choose in the order of their scores, within each image and class. A
    detection takes the free object with the largest overlap, of several the last one,
    and an ignored object only if no other is left. Crowds are never used up.

    Args:
        by_round: The pairs that may be assigned.
        thresholds: Least overlaps.
        ignored: Objects that do not count.
        crowd: Objects that many detections may have.
        detections: Number of detections.
    """
    found, bounds = by_round
    assignment = np.full((detections, thresholds.size), -1, np.int64)
    taken = np.zeros((ignored.size, thresholds.size), bool)
    place = np.arange(found.truth.size) + found.truth.size * ~ignored[found.truth]
    for begin, end in pairwise(bounds.tolist()):
        truth, own = found.truth[begin:end], found.detection[begin:end]
        first = np.flatnonzero(np.diff(own, prepend=-1))
        free = found.overlap[begin:end, None] >= thresholds
        free &= crowd[truth, None] | ~taken[truth]
        rank = np.where(free, place[begin:end, None], -1)
        best = np.maximum.reduceat(rank, first, axis=0)
        row, column = np.nonzero(best >= 0)
        chosen = found.truth[best[row, column] % found.truth.size]
        assignment[own[first][row], column] = chosen
        taken[chosen, column] = True
    return assignment
