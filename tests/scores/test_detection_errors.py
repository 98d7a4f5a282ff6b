"""The breakdown of errors, against tidecv and a case by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxnets.scores import detection
from jaxnets.scores.detection import average_precision, summary
from jaxnets.scores.detection_errors import KINDS, error_breakdown
from jaxnets.scores.objects import ImageDetections, ImageTruth
from tests.golden.detection_sets import random_set
from tests.scores.test_detection import records

pytestmark = pytest.mark.host

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/detection.json").read_text())[
    "tide"
]
SHORT = dict(zip(KINDS, ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"), strict=True))


@pytest.mark.parametrize("seed", GOLDEN)
def test_counts_and_gains_are_those_of_tidecv(seed, monkeypatch):
    # Its recalls are i / 100, those of COCO 0.01 i: a few of them round differently.
    monkeypatch.setattr(detection, "RECALLS", np.arange(101) / 100)
    truth, detections, classes = records(random_set(int(seed)))
    truth = [ImageTruth(t.boxes[~t.ignore], t.labels[~t.ignore]) for t in truth]
    have, golden = error_breakdown(truth, detections, classes), GOLDEN[seed]
    assert have.precision == pytest.approx(golden["ap"], abs=1e-9)
    assert have.counts == {kind: golden["counts"][SHORT[kind]] for kind in KINDS}
    gains = {kind: max(gain, 0) for kind, gain in have.gains.items()}
    expected = {kind: golden["gains"][SHORT[kind]] for kind in KINDS}
    assert gains == pytest.approx(expected, abs=1e-9)


def test_one_error_of_each_kind():
    # Ten objects of class 0 side by side, one of class 1; detections from the surest.
    corner = np.arange(10) * 50.0
    objects = np.stack([corner, corner, corner + 20, corner + 20], axis=1)
    truth = [ImageTruth(objects, np.array([0] * 9 + [1]))]
    shifted = objects + np.array([0, 10, 0, 10])  # overlap 1/3
    boxes = [
        objects[0],  # right
        objects[0] + np.array([0, 1, 0, 1]),  # the same again: overlap .9
        objects[1],  # as class 1
        shifted[2],  # the place
        shifted[3],  # as class 1: both
        [900, 0, 920, 20],  # nothing is near
    ]
    labels, scores = np.array([0, 0, 1, 0, 1, 0]), np.linspace(0.9, 0.4, 6)
    have = error_breakdown(truth, [ImageDetections(np.array(boxes), scores, labels)], 2)
    assert have.counts == dict(
        zip(KINDS, (1, 1, 1, 1, 1, 7), strict=True)  # 10 - right, class and place
    )
    assert (have.true_positives, have.objects) == (1, 10)
    # One right of 9 objects: recalls 0 to .11 of the 101; class 1 has none right.
    assert have.precision == pytest.approx(12 / 101 / 2)
    # A second one of nine is right, after one right and one duplicate: 2 of 3 ...
    assert have.gains["place"] == pytest.approx((12 + 11 * 2 / 3 - 12) / 101 / 2)
    # ... and the object of another class repairs the list of its own class.
    assert have.gains["class"] == pytest.approx(11 * 2 / 3 / 101 / 2)
    assert have.gains["duplicate"] == have.gains["background"] == 0


def test_perfect_detections_have_no_error_and_no_objects_no_precision():
    truth, _, classes = records(random_set(4))
    perfect = [
        ImageDetections(t.boxes, np.linspace(0.9, 0.1, len(t.labels)), t.labels)
        for t in (row._replace(ignore=None) for row in truth)
    ]
    have = error_breakdown([t._replace(ignore=None) for t in truth], perfect, classes)
    assert not any(have.counts.values())
    assert have.precision == pytest.approx(1)
    empty = ImageTruth(np.zeros((0, 4)), np.zeros(0, int))
    have = error_breakdown([empty] * len(truth), perfect, classes)
    assert have.precision is None
    assert set(have.gains.values()) == {None}
    assert have.counts["background"] == sum(len(t.labels) for t in truth)


@pytest.mark.parametrize("seed", range(0, 12, 2))
def test_precision_is_that_of_coco_and_masks_of_boxes_break_down_alike(seed):
    truth, detections, classes = records(random_set(seed), masks=True)
    result = average_precision(truth, detections, classes, of="masks")
    have = error_breakdown(truth, detections, classes, of="masks")
    expected = summary(result)["ap50"]
    assert have.precision == (None if expected is None else pytest.approx(expected))
    assert have.objects == result.objects[:, 0].sum()


@pytest.mark.parametrize("pair", [(0.5, 0.5), (0.5, 0), (1.1, 0.1), (0.1, 0.5)])
def test_thresholds_out_of_order_are_refused(pair):
    with pytest.raises(ValueError, match="in this order"):
        error_breakdown([], [], 1, foreground=pair[0], background=pair[1])
