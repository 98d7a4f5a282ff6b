"""Average precision of detection, against pycocotools and arithmetic by hand."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from jaxnets import run_lengths
from jaxnets.scores.detection import (
    average_precision,
    curve,
    per_class,
    summary,
)
from jaxnets.scores.objects import (
    ImageDetections,
    ImageTruth,
    detections_of_batch,
    truth_of_batch,
)
from tests.golden.detection_sets import of_case, random_set

pytestmark = pytest.mark.host

GOLDEN = Path(__file__).parents[1] / "golden"
SETS = json.loads((GOLDEN / "detection.json").read_text())
CASES = json.loads((GOLDEN / "average_precision.json").read_text())["cases"]
LIVE = importlib.util.find_spec("pycocotools") is not None


def table(rows, key, shape=(-1,)):
    return np.array([row[key] for row in rows]).reshape(shape)


def drawn(rows, side):
    made = []
    for y0, x0, y1, x1 in (row["box"] for row in rows):
        corners = [x0, y0, x1, y0, x1, y1, x0, y1]
        made.append(run_lengths.from_polygons([corners], (3 * side, 3 * side)))
    return made


def records(value, *, masks=False):
    """The records of a random set, image by image."""
    truth, detections = [], []
    for image in range(value["images"]):
        own = [row for row in value["truth"] if row["image"] == image]
        found = [row for row in value["detections"] if row["image"] == image]
        truth.append(
            ImageTruth(
                table(own, "box", (-1, 4)).astype(float),
                table(own, "label").astype(int),
                table(own, "crowd").astype(bool),
                table(own, "area").astype(float),
                drawn(own, value["side"]) if masks else None,
            )
        )
        detections.append(
            ImageDetections(
                table(found, "box", (-1, 4)).astype(float),
                table(found, "score").astype(float),
                table(found, "label").astype(int),
                drawn(found, value["side"]) if masks else None,
            )
        )
    return truth, detections, value["classes"]


def numbers(result):
    """A summary with pycocotools' -1 where there is nothing to score."""
    return [-1 if value is None else value for value in summary(result).values()]


@pytest.mark.parametrize("name", CASES)
def test_small_cases_score_as_in_pycocotools(name):
    result = average_precision(*records(of_case(CASES[name])))
    assert numbers(result) == pytest.approx(CASES[name]["stats"], abs=1e-12)


@pytest.mark.parametrize(("of", "step"), [("boxes", 1), ("masks", 10)])
def test_random_sets_score_as_in_pycocotools(of, step):
    for seed, expected in enumerate(SETS[of]):
        sets = records(random_set(seed * step), masks=of == "masks")
        have = numbers(average_precision(*sets, of=of))
        assert have == pytest.approx(expected, abs=1e-12), seed


@pytest.mark.skipif(not LIVE, reason="pycocotools is not installed")
@pytest.mark.parametrize("of", ["boxes", "masks"])
def test_every_precision_and_recall_is_that_of_pycocotools(of):
    from tests.golden.detection import coco_numbers

    for seed in range(1000, 1020):
        value = random_set(seed)
        result = average_precision(*records(value, masks=of == "masks"), of=of)
        kind = {"boxes": "bbox", "masks": "segm"}[of]
        expected, whole = coco_numbers(value, kind)
        assert numbers(result) == pytest.approx(expected, abs=1e-12)
        for name, key in (("precision", "precision"), ("recall", "recall")):
            have = np.nan_to_num(getattr(result, name), nan=-1)
            np.testing.assert_allclose(have, whole[key], rtol=0, atol=1e-12)
        np.testing.assert_allclose(np.nan_to_num(result.score), whole["scores"].clip(0))


def one(box, label=0, **more):
    boxes = np.array([box], float)
    return ImageTruth(boxes, np.array([label]), **more)


def found(boxes, scores, labels=None):
    boxes = np.array(boxes, float).reshape(-1, 4)
    labels = np.zeros(len(boxes), int) if labels is None else np.array(labels)
    return ImageDetections(boxes, np.array(scores, float), labels)


def test_a_range_without_objects_has_no_score():
    truth, detections = [one([0, 0, 20, 20])], [found([[0, 0, 20, 20]], [0.5])]
    result = average_precision(truth, detections, 3)
    have = summary(result)
    assert [have[k] for k in ("ap", "ap_small", "ar_small")] == pytest.approx([1] * 3)
    assert have["ap_medium"] is have["ap_large"] is have["ar_large"] is None
    assert result.objects.tolist() == [[1, 1, 0, 0], [0] * 4, [0] * 4]
    np.testing.assert_allclose(per_class(result), [1, np.nan, np.nan])
    empty = [ImageTruth(np.zeros((0, 4)), np.zeros(0, int))]
    for detected in (found([], []), detections[0]):
        assert set(summary(average_precision(empty, [detected], 1)).values()) == {None}


def test_the_first_number_follows_the_largest_limit():
    # The right detection is the second: with a limit of one it is not counted.
    truth = [one([0, 0, 20, 20])]
    detections = [found([[0, 0, 20, 20], [50, 50, 60, 60]], [0.8, 0.9])]
    for limits, expected in (((1,), 0), ((1, 2), 0.5), ((50, 10, 1), 0.5)):
        result = average_precision(truth, detections, 1, limits=limits)
        have = summary(result)
        assert have["ap"] == pytest.approx(expected)
        assert have["ar_1"] == 0
        assert result.limits == tuple(sorted(limits))


def test_precision_and_recall_by_hand():
    # Right, wrong, right, of three objects: precision 1, 1/2, 2/3; recall 1/3, 2/3.
    corners = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]]
    truth = [ImageTruth(np.array(corners, float), np.zeros(3, int))]
    boxes = [corners[0], [90, 90, 99, 99], corners[1]]
    detections = [found(boxes, [0.9, 0.8, 0.7])]
    result = average_precision(truth, detections, 1)
    have = curve(result, 0, threshold=0.5)
    expected = np.select([have.recall <= 1 / 3, have.recall <= 2 / 3], [1, 2 / 3], 0)
    np.testing.assert_allclose(have.precision, expected)
    scores = np.select([have.recall <= 1 / 3, have.recall <= 2 / 3], [0.9, 0.7], 0)
    np.testing.assert_allclose(have.score, scores)
    assert per_class(result, threshold=0.5)[0] == pytest.approx(expected.mean())
    with pytest.raises(ValueError, match="was not computed"):
        curve(result, 0, threshold=0.3)


def test_of_equally_near_objects_the_later_one_is_taken():
    # The first detection is as near to both; the second one fits one of them only.
    both = np.array([[0, 2, 10, 12], [0, 8, 10, 18]], float)
    truth = [ImageTruth(both, np.zeros(2, int))]
    for second, expected in ((both[0], 1), (both[1], 51 / 101)):
        detections = [found([[0, 5, 10, 15], second], [0.9, 0.8])]
        result = average_precision(truth, detections, 1)
        assert summary(result)["ap50"] == pytest.approx(expected)


def test_scores_matter_by_their_order_only_and_doubling_a_set_changes_nothing():
    for seed in range(0, 20, 2):  # without ties
        truth, detections, classes = records(random_set(seed))
        expected = average_precision(truth, detections, classes)
        squeezed = [d._replace(scores=d.scores**3 - 5) for d in detections]
        have = average_precision(truth, squeezed, classes)
        np.testing.assert_array_equal(have.precision, expected.precision)
        twice = average_precision(truth * 2, detections * 2, classes)
        assert numbers(twice) == pytest.approx(numbers(expected), abs=1e-12)
        order = np.random.default_rng(seed).permutation(len(truth)).tolist()
        mixed = [[rows[i] for i in order] for rows in (truth, detections)]
        have = average_precision(mixed[0], mixed[1], classes)
        np.testing.assert_array_equal(have.precision, expected.precision)


def test_masks_give_the_area_where_none_is_written():
    # A thin cross in a large box: small by its mask.
    mask = np.zeros((64, 64), bool)
    mask[31:33], mask[:, 31:33] = True, True
    masks = [run_lengths.encode(mask)]
    truth = [one([0, 0, 64, 64], masks=masks)]
    detections = [found([[0, 0, 64, 64]], [1])._replace(masks=masks)]
    for of in ("boxes", "masks"):
        counts = average_precision(truth, detections, 1, of=of).objects
        assert counts.tolist() == [[1, 1, 0, 0]]
    bare = [row._replace(masks=None) for row in truth]
    counts = average_precision(bare, detections, 1).objects
    assert counts.tolist() == [[1, 0, 1, 0]]


def test_boxes_of_no_area_overlap_with_nothing():
    truth, detections = [one([5, 5, 5, 9])], [found([[5, 5, 5, 9]], [1])]
    assert summary(average_precision(truth, detections, 1))["ap"] == 0


def test_the_size_of_a_block_changes_nothing(monkeypatch):
    sets = records(random_set(3))
    whole = average_precision(*sets)
    monkeypatch.setattr("jaxnets.scores.overlaps._BLOCK", 5)
    np.testing.assert_array_equal(average_precision(*sets).precision, whole.precision)


def padded(rows, name, value, shape=()):
    """A column of a batch with padding in front, between and behind."""
    made = np.full((len(rows), 40, *shape), value)
    for target, row in zip(made, rows, strict=True):
        values = getattr(row, name)
        if name == "masks":
            values = [run_lengths.decode(mask) for mask in values]
        for place, one_value in zip((1, 2, *range(5, 38)), values, strict=False):
            target[place] = one_value
    return made


def test_padding_of_a_batch_counts_nowhere():
    for seed in (3, 5):
        value = random_set(seed)
        truth, detections, classes = records(value, masks=True)
        truth = [row._replace(area=None) for row in truth]
        batches = []
        for rows in (truth, detections):
            ones = [row._replace(labels=np.ones(len(row.labels))) for row in rows]
            batches.append(
                {
                    "boxes": padded(rows, "boxes", np.nan, (4,)),
                    "labels": padded(rows, "labels", -7),
                    "present": padded(ones, "labels", 0).astype(bool),
                    "masks": padded(rows, "masks", True, (3 * value["side"],) * 2),
                }
            )
        own = truth_of_batch(**batches[0], ignore=padded(truth, "ignore", True))
        scores = padded(detections, "scores", np.nan)
        found = detections_of_batch(**batches[1], scores=scores)
        for of in ("boxes", "masks"):
            have = average_precision(own, found, classes, of=of)
            expected = average_precision(truth, detections, classes, of=of)
            np.testing.assert_array_equal(have.precision, expected.precision)
    boxes = [batches[0]["boxes"], batches[0]["labels"], batches[0]["present"]]
    assert {(row.ignore, row.masks) for row in truth_of_batch(*boxes)} == {(None, None)}


BOX = [0, 0, 9, 9]


@pytest.mark.parametrize(
    ("truth", "detections", "what"),
    [
        ([one(BOX)], [], "1 images have a truth and 0 have detections"),
        ([one(BOX, 2)], [found([], [])], "object 0 has a label outside of 0 to 1"),
        ([one(BOX, -1)], [found([], [])], "object 0 has a label outside of 0 to 1"),
        (
            [one(BOX)],
            [found([BOX, BOX], [1, np.nan])],
            "image 0, detection 1 has a score that is not finite",
        ),
        ([one([9, 0, 0, 9])], [found([], [])], "object 0 has a box that is turned"),
        ([one([0, 0, np.inf, 9])], [found([], [])], "box that is not finite"),
        ([one(BOX, area=np.array([np.nan]))], [found([], [])], "area that is not"),
        ([one(BOX, ignore=np.zeros(2, bool))], [found([], [])], "`ignore` of the obj"),
        ([one(BOX)], [found([BOX], [0.5, 0.4])], "`scores` of the detections has the"),
        ([one(BOX, masks=[])], [found([], [])], "`masks` of the objects has the shape"),
        ([], [], "needs one image"),
    ],
)
def test_wrong_input_is_named(truth, detections, what):
    with pytest.raises(ValueError, match=what):
        average_precision(truth, detections, 2)


def test_missing_masks_and_wrong_options_are_named():
    truth, detections = [one(BOX)], [found([BOX], [1])]
    with pytest.raises(ValueError, match="image 0: the objects have no masks"):
        average_precision(truth, detections, 1, of="masks")
    for wrong in ({"limits": ()}, {"limits": (0, 1)}, {"thresholds": ()}):
        with pytest.raises(ValueError, match="needs one image"):
            average_precision(truth, detections, 1, **wrong)
    for threshold in (0, 1.5, np.nan):
        with pytest.raises(ValueError, match="above 0 and at most 1"):
            average_precision(truth, detections, 1, thresholds=[0.5, threshold])


@pytest.mark.parametrize("of", ["boxes", "masks"])
def test_images_without_objects_or_detections_are_scored(of):
    mask = [run_lengths.encode(np.ones((9, 9), bool))]
    some = one(BOX, masks=mask), found([BOX], [1])._replace(masks=mask)
    none = one(BOX)._replace(boxes=np.zeros((0, 4)), labels=np.zeros(0, int))
    for truth, detections, ap, ar in (
        ([some[0], none], [some[1], found([], [])], 1, 1),
        ([some[0]], [found([], [])], 0, 0),
        ([none], [some[1]], None, None),
        ([none], [found([], [])], None, None),
    ):
        have = summary(average_precision(truth, detections, 1, of=of))
        assert (have["ap"], have["ar_100"]) == (ap and pytest.approx(ap), ar)
