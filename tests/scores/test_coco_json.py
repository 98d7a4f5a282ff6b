"""Objects and detections go out as COCO's JSON and come back."""

import json

import numpy as np
import pytest

from jaxnets import run_lengths
from jaxnets.scores.coco_json import (
    annotations_of,
    read_annotations,
    read_results,
    results_of,
)
from jaxnets.scores.detection import average_precision
from tests.golden.detection_sets import random_set
from tests.scores.test_detection import numbers, records

pytestmark = pytest.mark.host


def written(seed, *, masks, of="boxes"):
    """A set, and what a file of its objects and one of its detections hold."""
    value = random_set(seed)
    truth, detections, classes = records(value, masks=masks)
    names, sizes = [f"class {c}" for c in range(classes)], [(3 * value["side"],) * 2]
    annotations = annotations_of(truth, names, sizes * len(truth))
    files = json.dumps([annotations, results_of(detections, of=of)])
    return truth, detections, names, *json.loads(files)


def same(have, expected, fields):
    for mine, other in zip(have, expected, strict=True):
        for name in fields:
            np.testing.assert_array_equal(getattr(mine, name), getattr(other, name))


@pytest.mark.parametrize("of", ["boxes", "masks"])
def test_a_round_trip_changes_nothing(of):
    for seed in range(4):
        masks = of == "masks"
        truth, detections, names, annotations, rows = written(seed, masks=masks, of=of)
        have = read_annotations(annotations, masks=masks)
        assert have.classes == names
        same(have.truth, truth, ("boxes", "labels", "ignore", "area"))
        found = read_results(rows, have)
        same(found, detections, ("scores", "labels"))
        if masks:
            for mine, other in zip(have.truth + found, truth + detections, strict=True):
                texts = [
                    [*map(run_lengths.to_string, r.masks or ())] for r in (mine, other)
                ]
                assert texts[0] == texts[1]
        else:
            same(found, detections, ("boxes",))
        scores = average_precision(have.truth, found, len(names), of=of)
        expected = average_precision(truth, detections, len(names), of=of)
        assert numbers(scores) == numbers(expected)


def test_ids_begin_with_1_and_boxes_are_x_y_width_height():
    _, detections, _, annotations, rows = written(2, masks=False)
    for part in annotations.values():
        assert [row["id"] for row in part] == list(range(1, len(part) + 1))
    assert min(row["category_id"] for row in rows) >= 1
    y0, x0, y1, x1 = next(d.boxes[0] for d in detections if len(d.labels))
    assert rows[0]["bbox"] == [x0, y0, x1 - x0, y1 - y0]


SQUARE = [[2, 2, 12, 2, 12, 12, 2, 12]]


def small(**changes):
    """A file with gaps in its ids, whose order is not that of the ids."""
    row = {"id": 7, "image_id": 9, "category_id": 90, "bbox": [2, 2, 10, 10]}
    return {
        "images": [
            {"id": 9, "height": 20, "width": 20, "file_name": "a.png"},
            {"id": 3, "height": 20, "width": 20, "file_name": "b.png"},
        ],
        "annotations": [{**row, "segmentation": SQUARE, **changes}],
        "categories": [{"id": 90, "name": "dog"}, {"id": 5, "name": "cat"}],
    }


def test_ids_may_have_gaps_and_polygons_are_drawn():
    have = read_annotations(small(), masks=True)
    assert (have.classes, have.class_ids, have.image_ids) == (
        ["cat", "dog"],
        [5, 90],
        [3, 9],
    )
    assert [row.labels.tolist() for row in have.truth] == [[], [1]]
    mask = run_lengths.decode(have.truth[1].masks[0])
    assert mask[2:12, 2:12].all()
    assert mask.sum() == have.truth[1].area[0] == 100
    counts = {"size": [20, 20], "counts": have.truth[1].masks[0].counts.tolist()}
    rows = [{"image_id": 9, "category_id": 90, "score": 0.5, "segmentation": counts}]
    found = read_results(rows, have)
    assert found[1].boxes.tolist() == [[2, 2, 12, 12]]
    again = results_of(found, of="masks", image_ids=[3, 9], class_ids=[5, 90])
    assert (again[0]["image_id"], again[0]["category_id"]) == (9, 90)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"image_id": 1}, "annotation number 0: no image 1"),
        ({"category_id": 1}, "annotation number 0: no category 1"),
        ({"bbox": [1, 2, 3]}, r"annotation number 0 has the box \[1, 2, 3\]"),
        ({"segmentation": []}, "segmentation of annotation 7 is neither"),
        ({"segmentation": {"size": [20, 20], "counts": [3]}}, "add up to 20 x 20"),
    ],
)
def test_wrong_annotations_are_named(changes, what):
    with pytest.raises(ValueError, match=what):
        read_annotations(small(**changes), masks=True)


def test_wrong_files_and_results_are_named():
    value = small()
    for broken, what in (
        ({**value, "images": None}, "has images, annotations"),
        (
            {**value, "images": value["images"] * 2},
            "an id of kind image is there twice",
        ),
        ({**value, "categories": [{"name": "a"}]}, "category has no whole number"),
    ):
        with pytest.raises(ValueError, match=what):
            read_annotations(broken)
    have = read_annotations(value)
    row = {"image_id": 9, "category_id": 90, "score": 0.5, "bbox": [1, 2, 3, 4]}
    masked = {**row, "segmentation": {"size": [20, 20], "counts": [400]}}
    for rows, what in (
        ([{**row, "image_id": 8}], "result number 0: no image 8"),
        ([{k: v for k, v in row.items() if k != "score"}], "has no score"),
        ([{k: v for k, v in row.items() if k != "bbox"}], "has no bbox"),
        ([row, masked], "1 of 2 results have masks"),
    ):
        with pytest.raises(ValueError, match=what):
            read_results(rows, have)
    with pytest.raises(ValueError, match="2 images have 1 ids"):
        results_of(read_results([row], have), image_ids=[1])
    with pytest.raises(ValueError, match="image 2 have no masks"):
        results_of(read_results([row], have), of="masks")
    with pytest.raises(ValueError, match="1 sizes"):
        annotations_of(have.truth, have.classes, [(20, 20)])
