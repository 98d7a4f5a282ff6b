"""VOC's average precision, against published numbers and a plain loop."""

import numpy as np
import pytest

from jaxnets.scores.objects import ImageDetections, ImageTruth
from jaxnets.scores.voc import voc_average_precision
from tests.golden.detection_sets import random_set
from tests.scores.test_detection import found, one, records

pytestmark = pytest.mark.host

# sample_2 of https://github.com/rafaelpadilla/Object-Detection-Metrics: x, y, width and
# height in pixels of 7 images; detections have a score in front.
OBJECTS = [
    [(25, 16, 38, 56), (129, 123, 41, 62)],
    [(123, 11, 43, 55), (38, 132, 59, 45)],
    [(16, 14, 35, 48), (123, 30, 49, 44), (99, 139, 47, 47)],
    [(53, 42, 40, 52), (154, 43, 31, 34)],
    [(59, 31, 44, 51), (48, 128, 34, 52)],
    [(36, 89, 52, 76), (62, 58, 44, 67)],
    [(28, 31, 55, 63), (58, 67, 50, 58)],
]
FOUND = [
    [(0.88, 5, 67, 31, 48), (0.70, 119, 111, 40, 67), (0.80, 124, 9, 49, 67)],
    [(0.71, 64, 111, 64, 58), (0.54, 26, 140, 60, 47), (0.74, 19, 18, 43, 35)],
    [
        (0.18, 109, 15, 77, 39),
        (0.67, 86, 63, 46, 45),
        (0.38, 160, 62, 36, 53),
        (0.91, 105, 131, 47, 47),
        (0.44, 18, 148, 40, 44),
    ],
    [
        (0.35, 83, 28, 28, 26),
        (0.78, 28, 68, 42, 67),
        (0.45, 87, 89, 25, 39),
        (0.14, 10, 155, 60, 26),
    ],
    [
        (0.62, 50, 38, 28, 46),
        (0.44, 95, 11, 53, 28),
        (0.95, 29, 131, 72, 29),
        (0.23, 29, 163, 72, 29),
    ],
    [(0.45, 43, 48, 74, 38), (0.84, 17, 155, 29, 35), (0.43, 95, 110, 25, 42)],
    [(0.48, 16, 20, 101, 88), (0.95, 33, 116, 37, 49)],
]


def corners(rows, *, inclusive):
    x, y, width, height = np.array(rows, float).T
    last = 1 if inclusive else 0
    return np.stack([y, x, y + height + last, x + width + last], axis=1)


def sample(*, inclusive=True):
    truth = [
        ImageTruth(corners(rows, inclusive=inclusive), np.zeros(len(rows), int))
        for rows in OBJECTS
    ]
    detections = [
        ImageDetections(
            corners([row[1:] for row in rows], inclusive=inclusive),
            np.array([row[0] for row in rows]),
            np.zeros(len(rows), int),
        )
        for rows in FOUND
    ]
    return truth, detections, 1


@pytest.mark.parametrize(
    ("inclusive", "threshold", "points", "expected"),
    [
        (True, 0.3, "11", 0.26839826839826836),
        (True, 0.3, "all", 0.24568668046928915),
        (False, 0.3, "11", 0.268398),
        (False, 0.3, "all", 0.2253968),
        (True, 0.5, "11", 0.0303030),
        (True, 0.5, "all", 0.0222222),
    ],
)
def test_the_sample_scores_as_published(inclusive, threshold, points, expected):
    result = voc_average_precision(
        *sample(inclusive=inclusive), threshold=threshold, points=points
    )
    digits = 1e-15 if len(str(expected)) > 12 else 1e-6
    assert result.mean == pytest.approx(expected, abs=digits)
    assert result.objects.tolist() == [15]


def by_loop(truth, detections, label, threshold):
    """Recall and precision after each detection that counts, one at a time."""
    rows = [
        (-score, image, place)
        for image, row in enumerate(detections)
        for place, score in enumerate(row.scores)
        if row.labels[place] == label
    ]
    taken, right, wrong, curve = set(), 0, 0, []
    total = sum(((t.labels == label) & ~t.ignore).sum() for t in truth)
    for _, image, place in sorted(rows):
        box, best, nearest = detections[image].boxes[place], -1.0, None
        for k, other in enumerate(truth[image].boxes):
            sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
            shared = sides.clip(0).prod()
            whole = (box[2:] - box[:2]).prod() + (other[2:] - other[:2]).prod() - shared
            if truth[image].labels[k] == label and shared / whole > best:
                best, nearest = shared / whole, k
        if best > threshold and truth[image].ignore[nearest]:
            continue
        new = best > threshold and (image, nearest) not in taken
        taken.add((image, nearest) if new else None)
        right, wrong = right + new, wrong + (not new)
        curve.append((right / total if total else np.nan, right / (right + wrong)))
    return np.array(curve).reshape(-1, 2).T


def test_curves_are_those_of_a_plain_loop():
    for seed in range(12):
        truth, detections, classes = records(random_set(seed))
        result = voc_average_precision(truth, detections, classes)
        for label, curve in enumerate(result.curves):
            recall, precision = by_loop(truth, detections, label, 0.5)
            np.testing.assert_allclose(curve.recall, recall)
            np.testing.assert_allclose(curve.precision, precision)
            assert (np.diff(curve.score) <= 0).all()


def test_difficult_objects_do_not_count_and_the_overlap_must_be_above():
    box, half = [0, 0, 10, 10], [0, 0, 10, 5]
    hard = one(box, ignore=np.array([True]))
    found_twice = [found([box, box], [0.9, 0.8])]
    result = voc_average_precision([hard], found_twice, 1)
    assert result.mean is None
    assert result.curves[0].precision.size == 0
    assert voc_average_precision([one(box)], [found([half], [1])], 1).mean == 0
    # A second detection of an object is wrong, even if another one is near enough.
    pair = ImageTruth(np.array([box, [0, 1, 10, 11]], float), np.zeros(2, int))
    result = voc_average_precision([pair], found_twice, 2)
    assert result.curves[0].precision.tolist() == [1, 0.5]
    np.testing.assert_array_equal(result.per_class, [0.5, np.nan])
