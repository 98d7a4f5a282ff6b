"""Why a detector loses average precision: kinds of errors, and what each one costs.

Bolya, Foley, Hays & Hoffman, "TIDE: a general toolbox for identifying object detection
errors", 2020, https://arxiv.org/abs/2008.08115, sections 2.2 and 2.3. A wrong
detection has one kind of error, the first that applies of place, class, duplicate,
background and both, as in the authors' program, https://github.com/dbolya/tide. The
cost of a kind is the precision gained by correcting all errors of that kind alone.

Departures, all as COCO does: classes without objects are left out of the mean, the
limit of detections holds for an image and class, and of equal overlaps the later object
is taken. A gain below 0 is reported as it is.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxnets.scores.detection import interpolated, top_scored, true_positives
from jaxnets.scores.objects import ImageDetections, ImageTruth, Overlap, gathered
from jaxnets.scores.overlaps import Pairs, assigned, groups, pairs, rounds

KINDS = ("class", "place", "both", "duplicate", "background", "missed")


class ErrorBreakdown(NamedTuple):
    """How often each kind of error happens, and what it costs.

    - class: the overlap with an object of another class is large enough;
    - place: the overlap with an object of its class is too small;
    - both: class and place are wrong;
    - duplicate: a detection of a higher score has the object;
    - background: there is no object near;
    - missed: an object without a detection whose class or place could be corrected.
    """

    precision: float | None  # average precision at `foreground`; None: no object
    counts: dict[str, int]  # by kind
    gains: dict[str, float | None]  # precision that correcting one kind adds
    true_positives: int
    objects: int  # that count


def error_breakdown(
    truth: Sequence[ImageTruth],
    detections: Sequence[ImageDetections],
    classes: int,
    *,
    of: Overlap = "boxes",
    foreground: float | int = 0.5,
    background: float | int = 0.1,
    limit: int = 100,
) -> ErrorBreakdown:
    """Returns the kinds of errors of a detector and what each one costs.

    Args:
        truth: One record an image. ImageDetections of ignored objects are no errors.
        detections: One record an image, in the same order.
        classes: Number of classes.
        of: Compare boxes or masks.
        foreground: Least overlap of a right detection.
        background: An overlap up to which there is nothing near.
        limit: Most detections of an image and class.

    Raises:
        ValueError: If not 0 < background < foreground <= 1, or a record is wrong
            (`gathered` names what may be).
    """
    if not 0 < background < foreground <= 1:
        raise ValueError(
            f"background {background} and foreground {foreground} must be above 0, in "
            "this order, and at most 1"
        )
    objects, found = gathered(truth, detections, classes, of)
    found, _ = top_scored(found, classes, limit)
    near = pairs(found, objects, background, of, classes=None)
    same = found.label[near.detection] == objects.label[near.truth]
    turns = rounds(_chosen(near, same), groups(found, classes))
    crowd = objects.ignore
    least = np.array([foreground], np.float64)
    match = assigned(turns, least, crowd, crowd, found.label.size)
    hit, counted = (
        flags[:, 0]
        for flags in true_positives(match, crowd, np.zeros(found.label.size, bool))
    )
    used = np.zeros(crowd.size, bool)
    used[match[hit, 0]] = True

    real = ~crowd[near.truth]  # a crowd explains no error
    own = _best(_chosen(near, same & real), found.label.size)
    other = _best(_chosen(near, ~same & real), found.label.size)
    kinds = _kinds(counted & ~hit, own.overlap, other.overlap, foreground, background)
    target = np.where(kinds["class"], other.truth, own.truth)
    repairable = np.flatnonzero(kinds["class"] | kinds["place"])
    usable = np.zeros(crowd.size, bool)
    usable[target[repairable]] = True
    missed = ~crowd & ~used & ~usable

    repairs = _repairs(repairable, target, used, found.score)
    total = np.bincount(objects.label[~crowd], minlength=classes)
    there = np.flatnonzero(total)
    whole = _mean_precision(found.label, found.score, hit, counted, total, there)
    gains: dict[str, float | None] = {}
    for name in KINDS:
        label, right, kept, left = found.label, hit, counted, total
        if name == "missed":
            left = total - np.bincount(objects.label[missed], minlength=classes)
        else:
            fixed = kinds[name] & repairs
            label = np.where(fixed, np.append(objects.label, 0)[target], label)
            right, kept = hit | fixed, counted & (fixed | ~kinds[name])
        better = _mean_precision(label, found.score, right, kept, left, there)
        gains[name] = None if whole is None or better is None else better - whole
    kinds["missed"] = missed
    counts = {name: int(kinds[name].sum()) for name in KINDS}
    return ErrorBreakdown(whole, counts, gains, int(hit.sum()), int(total.sum()))


class _Nearest(NamedTuple):
    """The object with the largest overlap, of each detection."""

    truth: np.ndarray  # [n]; -1: there is none
    overlap: np.ndarray  # [n]


def _chosen(near: Pairs, keep: np.ndarray) -> Pairs:
    return Pairs(*(column[keep] for column in near))


def _best(near: Pairs, detections: int) -> _Nearest:
    """The last pair of each detection is the one with the largest overlap."""
    last = np.flatnonzero(np.diff(near.detection, append=-1))
    made = _Nearest(np.full(detections, -1), np.zeros(detections))
    made.truth[near.detection[last]] = near.truth[last]
    made.overlap[near.detection[last]] = near.overlap[last]
    return made


def _kinds(
    wrong: np.ndarray,
    own: np.ndarray,
    other: np.ndarray,
    foreground: float | int,
    background: float | int,
) -> dict[str, np.ndarray]:
    """Which wrong detections have which kind of error: the first whose rule holds."""
    rules = {
        "place": (own >= background) & (own < foreground),
        "class": other >= foreground,
        "duplicate": own >= foreground,
        "background": np.maximum(own, other) <= background,
        "both": np.ones(wrong.size, bool),
    }
    kinds = {}
    for name, rule in rules.items():
        kinds[name] = wrong & rule
        wrong = wrong & ~rule
    return kinds


def _repairs(
    repairable: np.ndarray, target: np.ndarray, used: np.ndarray, score: np.ndarray
) -> np.ndarray:
    """Which detections a repair makes right: one an object, of the highest score."""
    ranked = repairable[np.argsort(-score[repairable], kind="stable")]
    aims, first = np.unique(target[ranked], return_index=True)
    made = np.zeros(score.size, bool)
    made[ranked[first[~used[aims]]]] = True
    return made


def _mean_precision(
    label: np.ndarray,
    score: np.ndarray,
    hit: np.ndarray,
    counted: np.ndarray,
    objects: np.ndarray,
    there: np.ndarray,
) -> float | None:
    """The mean over classes that have objects or counted detections."""
    values = []
    for c in there.tolist():
        own = np.flatnonzero((label == c) & counted)
        own = own[np.argsort(-score[own], kind="stable")]
        if objects[c]:
            curve = interpolated(hit[own], counted[own], int(objects[c]))
            values.append(float(curve.mean()))
        elif own.size:
            values.append(0.0)
    return sum(values) / len(values) if values else None
